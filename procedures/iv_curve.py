"""I-V curve of the device as seen from one input, in both sweep directions, with its NDC regions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from labthermo.channel import Channel
from labthermo.choice import Readout, choose, ends, held, line, readout
from labthermo.device import channels_of
from labthermo.expressivity import find_ndc
from labthermo.procedure import Procedure
from labthermo.quantity import quantity
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
        swept, read, bias = self._plan(run.device.channels)
        stand = held(run.device.channels, "", "")
        for label, values in (("up", bias), ("down", bias[::-1])):
            (query,) = line(run.device.channels, swept, values, stand)
            response = run.query(query, purpose=f"iv {label}")
            column = [c.name for c in channels_of(run.device, "input")].index(swept.name)
            table, sigma = read.of(response)
            good = np.isfinite(table)
            regions = find_ndc(values[good], table[good], sigma[good], self.confidence) if good.sum() > 2 else []
            run.event(
                "iv",
                label=f"{swept.name} to {read.channel.name}, swept {label}",
                voltage=response.inputs[:, column].tolist(),
                current=table.tolist(),
                sigma=sigma.tolist(),
                source="measured",
                regions=[{"start": r.start, "stop": r.stop, "confidence": r.confidence} for r in regions],
            )

    def _plan(self, channels: Sequence[Channel]) -> tuple[Channel, Readout, np.ndarray]:
        """The input, the reading, and the values of the input on the way up, V."""
        _, swept = choose(channels, ["input"], self.input, f"{self.name}: input")
        read = readout(channels, self.reading, f"{self.name}: reading")
        start, stop = ends(swept, self.start, self.stop, f"{self.name}: start, stop")
        return swept, read, np.linspace(start, stop, self.points)
