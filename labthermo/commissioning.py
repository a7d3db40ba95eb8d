"""Which adapters have met their hardware: a checklist that an operator walks through, and the record of it.

The record is ``commissioning.json`` beside the station file, one entry for each walk: who, when, and of which
instrument the driver, model, serial number and firmware. An adapter counts as commissioned for exactly these; new
firmware or another specimen wants a new walk. A rehearsal on a simulated instrument is recorded as such and never
counts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from labthermo.errors import BackendError, InstrumentError, ParameterError, RecordError
from labthermo.instrument import (
    GateDac,
    Identity,
    Instrument,
    Monitor,
    PlateReader,
    SourceMeter,
    SyringePump,
    VoltageSource,
    Voltmeter,
)
from labthermo.quantity import format_quantity

if TYPE_CHECKING:
    from labthermo.config import StationConfig
    from labthermo.station import Station

FILE = "commissioning.json"
Ask = Callable[[str], str]
"""Puts a question to the operator and returns the answer."""


@dataclass(frozen=True)
class Commissioning:
    """One walk through the checklist.

    Attributes
    ----------
    driver: as in the station file. maker, model, serial, firmware: as the instrument said.
    who, when: the operator's name; UTC, ISO 8601.
    rehearsal: whether it was walked on a simulated instrument; then it does not count.
    checklist: the questions, all answered with yes.
    """

    driver: str
    maker: str
    model: str
    serial: str
    firmware: str
    who: str
    when: str
    rehearsal: bool
    checklist: tuple[str, ...]

    def covers(self, driver: str, identity: Identity) -> bool:
        """Whether it counts for this adapter on this very instrument with this firmware."""
        return not self.rehearsal and (driver, *asdict(identity).values()) == (
            self.driver,
            self.maker,
            self.model,
            self.serial,
            self.firmware,
        )


def read_commissionings(folder: Path) -> list[Commissioning]:
    """All walks recorded in a lab folder, oldest first.

    Raises
    ------
    RecordError: the file is there and cannot be read.
    """
    path = folder / FILE
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return [Commissioning(**{**entry, "checklist": tuple(entry["checklist"])}) for entry in entries]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RecordError(
            f"{path} cannot be read ({error}); restore it, or move it away and commission again"
        ) from None


def find_commissioning(folder: Path, driver: str, identity: Identity) -> Commissioning | None:
    """The latest walk that counts for this adapter on this very instrument, or None.

    Raises
    ------
    RecordError: as :func:`read_commissionings`.
    """
    return next((c for c in reversed(read_commissionings(folder)) if c.covers(driver, identity)), None)


def checklist(instrument: Instrument, config: StationConfig) -> list[str]:
    """The questions for an open instrument, each to be answered with yes. It is read, and nothing is moved.

    config: the station's, whose channels the questions name.
    """
    identity = instrument.identity
    questions = [
        f"Does the label or menu of the instrument say {identity.maker} {identity.model}, serial number "
        f"{identity.serial}, firmware {identity.firmware}?",
        "Is the sample disconnected, and will it stay so until the last question?",
    ]
    if isinstance(instrument, VoltageSource):
        channel = next(iter(instrument.source_channels()))
        low, high = (format_quantity(volts, "V") for volts in instrument.voltage_span(channel))
        now = format_quantity(instrument.voltage(channel), "V", 6)
        questions += [
            f"Does the instrument show {now} for {channel}, on a range that reaches from {low} to {high}?",
        ]
    device = config.device
    wired = [channel for channel, s in {**device.inputs, **device.knobs}.items() if s.of.instrument == instrument.name]
    if wired:
        questions += [
            f"With a voltmeter at {wired[0]}: did `labthermo set {config.path} {wired[0]} VALUE` bring it to the "
            "value, with its sign, and back to 0 V?",
            "Was a value beyond the limits of the station file refused, and did the voltmeter stay still?",
        ]
    if isinstance(instrument, GateDac):
        questions.append(
            "With a resistor of known value from a gate's output to ground: is the current that the instrument "
            "measures for it right within its data sheet, with the sign of a current out of the instrument?"
        )
    if isinstance(instrument, SourceMeter):
        questions += [
            "With a resistor of known value at the output: is its current read within the data sheet, with its sign?",
            "With the output off: does a voltmeter on it float instead of being held at 0 V?",
            "With the output shorted: did the current stay at the compliance, and did the reading say so?",
        ]
    if isinstance(instrument, Voltmeter):
        questions += [
            "With a known voltage at the input: does `labthermo get` read it within the data sheet, with its sign?",
            "With more than the range at the input: does it read overflow, and no number?",
        ]
    if isinstance(instrument, SyringePump):
        low, high = (format_quantity(rate, "L/s") for rate in instrument.rate_span())
        questions += [
            f"Does the pump show the diameter of the syringe that is in it, for which it gives {low} to {high}?",
            "With water on a balance: did ten minutes at a set rate give that volume within 1 %, out of the syringe?",
            "With the plunger held back: did the pump stall, and did the program say so?",
        ]
        if instrument.refill_rate:
            questions.append(
                "Withdrawing, set at the pump's keypad: does the syringe fill from its bottle without a bubble, and "
                "does a beaker of water at the vessel's line keep its weight?"
            )
    if isinstance(instrument, Monitor):
        channel = instrument.monitor_channels()[0]
        questions += [
            f"Does the instrument show for its input {channel} what `labthermo watch` reads, in "
            f"{instrument.monitor_unit(channel)}?",
            "With that sensor unplugged: is no number read?",
        ]
    if isinstance(instrument, PlateReader):
        questions += [
            "With a plate of known absorbances: does every well read its value within the data sheet, a1 as A1?",
            "With a well above 3 OD: does it read overflow, and no number?",
            "With the drawer and then the lid open: is no number read?",
        ]
    return [
        *questions,
        "With the cable to the computer pulled out while it is read: did the program say so at once or within its "
        "timeout, and does it work again with the cable back?",
        "Switched off and on: was it noticed, and did nothing move before you said so?",
    ]


def walk(station: Station, name: str, ask: Ask, rehearsal: bool = False) -> str:
    """Walk an operator through the checklist of a station's instrument and record it; what was recorded, in one line.

    The instrument is opened to be read before the first question and after the last one, and let go of in between, so
    that the operator can use it. Only ``yes`` or ``y`` is a yes.

    Raises
    ------
    BackendError: the instrument is simulated and this is no rehearsal. ParameterError: no such instrument, a question
    not answered with yes, or no name given; then nothing is recorded. InstrumentError: it does not answer, or another
    one answers in the end. RecordError: the record cannot be read or written.
    """
    folder = station.config.path.parent
    entries = [asdict(entry) for entry in read_commissionings(folder)]  # a broken file is found out before the walk
    with station.instrument(name) as instrument:
        identity = instrument.identity
        if identity.simulated and not rehearsal:
            raise BackendError(
                f"{name} is simulated (serial number {identity.serial}); there is nothing to commission; "
                "give --rehearsal to try the checklist"
            )
        questions = checklist(instrument, station.config)
    who = ask("Who are you?").strip()
    if not who:
        raise ParameterError("a record needs a name; nothing was recorded")
    for number, question in enumerate(questions, start=1):
        if ask(f"{number}/{len(questions)} {question} (yes/no)").strip().lower() not in ("y", "yes"):
            raise ParameterError(f"question {number} was not answered with yes; nothing was recorded")
    with station.instrument(name) as instrument:
        if instrument.identity != identity:
            raise InstrumentError(f"{name} was {identity} and is now {instrument.identity}; nothing was recorded")
    when = datetime.now(UTC).isoformat(timespec="seconds")
    driver = station.config.instruments[name].driver
    entry = Commissioning(
        driver, **asdict(identity), who=who, when=when, rehearsal=rehearsal, checklist=tuple(questions)
    )
    _write(folder / FILE, [*entries, asdict(entry)])
    what = f"{name}, {identity.model} {identity.serial}, firmware {identity.firmware}, by {who} at {when}"
    return f"rehearsed (this does not count): {what}" if rehearsal else f"commissioned: {what}"


def _write(path: Path, entries: list[dict[str, object]]) -> None:
    """Replace the file whole, so that it is never half written."""
    new = path.with_name(path.name + ".new")
    try:
        with new.open("w", encoding="utf-8") as file:
            json.dump(entries, file, indent=2, ensure_ascii=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise RecordError(f"{path} cannot be written ({error.strerror}); make its folder writable") from None
