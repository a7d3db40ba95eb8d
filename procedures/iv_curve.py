"""I-V curve of the device as seen from one input, in both sweep directions, with its NDC regions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from labthermo.channel import Channel
from labthermo.device import Query, Status, channels_of
from labthermo.errors import ParameterError
from labthermo.expressivity import find_ndc
from labthermo.procedure import Procedure
from labthermo.quantity import format_quantity, quantity
from labthermo.run import Run


class IvCurve(Procedure):
    """Sweep one input up and down and read a current (or a voltage); knobs and other inputs stay where they are.

    The NDC regions of each direction are those whose drop is larger than noise would make at the stated confidence.
    What is seen is the whole path from the input to the reading, load included; it is the device's own NDC only as
    far as the load line allows (training.md, section 1).
    """

    name: ClassVar[str] = "iv_curve"

    input: str = Field(default="", description="input to sweep; default: the first")
    reading: str = Field(default="", description="node or output to read; default: the first node, else output")
    start: Annotated[float, quantity("V")] | None = Field(default=None, description="default: low end of the window")
    stop: Annotated[float, quantity("V")] | None = Field(default=None, description="default: high end of the window")
    points: Annotated[int, Field(ge=5, le=10_000)] = Field(default=61, description="per direction, 5 to 10000")
    confidence: Annotated[float, quantity("", above=0, maximum=0.9999)] = Field(
        default=0.95, description="of an NDC region"
    )

    def count(self, channels: Sequence[Channel]) -> int:
        self._plan(channels)
        return 2 * self.points

    def execute(self, run: Run) -> None:
        inputs = channels_of(run.device, "input")
        column, swept, place, read, start, stop = self._plan(run.device.channels)
        bias = np.linspace(start, stop, self.points)
        for label, values in (("up", bias), ("down", bias[::-1])):
            asked = np.zeros((self.points, len(inputs)))
            asked[:, column] = values
            response = run.query(Query(inputs=asked), purpose=f"iv {label}")
            table = np.hstack([response.nodes, response.outputs])[:, place]
            sigma = np.hstack([response.node_sigma, response.sigma])[:, place]
            good = np.array([s is Status.SETTLED for s in response.status]) & np.isfinite(table)
            regions = find_ndc(values[good], table[good], sigma[good], self.confidence) if good.sum() > 2 else []
            run.event(
                "iv",
                label=f"{swept.name} to {read.name}, swept {label}",
                voltage=response.inputs[:, column].tolist(),
                current=table.tolist(),
                sigma=sigma.tolist(),
                source="measured",
                regions=[{"start": r.start, "stop": r.stop, "confidence": r.confidence} for r in regions],
            )

    def _plan(self, channels: Sequence[Channel]) -> tuple[int, Channel, int, Channel, float, float]:
        """Column and channel of the input, place and channel of the reading (nodes first), start and stop (V)."""
        column, swept = _pick([c for c in channels if c.kind == "input"], self.input, "input")
        readings = [c for kind in ("node", "output") for c in channels if c.kind == kind]
        place, read = _pick(readings, self.reading, "node or output")
        window = swept.window or (swept.minimum, swept.maximum)
        start = window[0] if self.start is None else self.start
        stop = window[1] if self.stop is None else self.stop
        if start == stop:
            raise ParameterError(f"iv_curve: start and stop are both {format_quantity(start, 'V')}; choose two values")
        for name, value in (("start", start), ("stop", stop)):
            if not swept.minimum <= value <= swept.maximum:
                low, high = format_quantity(swept.minimum, "V"), format_quantity(swept.maximum, "V")
                raise ParameterError(
                    f"iv_curve: {name}: {format_quantity(value, 'V')} is outside the limits {low} to {high} of"
                    f" {swept.name}; ask for less"
                )
        return column, swept, place, read, start, stop


def _pick(channels: Sequence[Channel], name: str, what: str) -> tuple[int, Channel]:
    if not name and channels:
        return 0, channels[0]
    for k, channel in enumerate(channels):
        if channel.name == name:
            return k, channel
    raise ParameterError(f"iv_curve: no {what} {name!r}; there are {', '.join(c.name for c in channels) or 'none'}")
