"""After a crash: what the instruments say, against what the record says, before anything moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from labthermo.errors import RecordError
from labthermo.quantity import format_quantity
from labthermo.records.journal import Journal

TOLERANCE = 1e-6  # V at the sample: finer than any source here resolves behind its divider


@dataclass(frozen=True)
class Difference:
    """A channel that does not read back what the run's last point has. recorded, found: V at the sample."""

    channel: str
    recorded: float
    found: float

    def __str__(self) -> str:
        recorded, found = (format_quantity(v, "V") for v in (self.recorded, self.found))
        return f"{self.channel}: the record has {recorded}, the instrument {found}"


def differences(journal: Journal, inputs: tuple[str, ...], found: Mapping[str, float]) -> list[Difference]:
    """Where the instruments are not as the last committed point left them; nothing if there is no point.

    inputs: names of the input channels, in order; found: what every input and knob reads back, V at the sample.
    """
    last = journal.last_number()
    points = journal.points(after=last - 1)
    if not points:
        return []
    recorded = {**points[-1].knobs, **dict(zip(inputs, points[-1].inputs, strict=True))}
    return [
        Difference(name, value, found[name])
        for name, value in recorded.items()
        if name in found and abs(found[name] - value) > TOLERANCE
    ]


def refuse_rebooted(rebooted: list[str], run: str) -> None:
    """Refuse to ramp anything back after an instrument was switched off and on (design.md, section 8).

    Raises
    ------
    RecordError: `rebooted` names at least one instrument.
    """
    if rebooted:
        raise RecordError(
            f"{', '.join(rebooted)} was switched off and on since {run} was interrupted, and its outputs are at their "
            f"defaults; look at the sample, then `labthermo resume {run} --rearm`"
        )
