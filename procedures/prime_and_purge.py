"""Fill every line with its liquid, then rinse the vessel with buffer until the photometer shows no change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from labthermo.channel import Channel
from labthermo.choice import choose
from labthermo.device import Query, Status
from labthermo.errors import ParameterError
from labthermo.procedure import Procedure
from labthermo.quantity import format_quantity, quantity
from labthermo.run import Run
from procedures.feeding import Rate, figure

STILL = 4.0  # standard deviations of a reading


class PrimeAndPurge(Procedure):
    """Run each pump in turn for the volume of its line, then buffer alone, and watch the absorbance.

    The rinse is over when two neighbouring fifths of its readings do not differ; if they do at its end, it says so.
    """

    name: ClassVar[str] = "prime_and_purge"

    volume: Annotated[float, quantity("L", above=0)] = Field(default=300e-6, description="of each line, tubing and tip")
    rate: Rate = Field(default=100e-6 / 60.0, description="of priming; each pump's highest where that is less")
    buffer: str = Field(description="pump that rinses")
    rinse: Annotated[float, quantity("L", above=0)] = Field(
        default=2e-3, description="of buffer, five vessels at least"
    )
    points: Annotated[int, Field(ge=10, le=10_000)] = Field(
        default=20, description="readings of the rinse, 10 to 10000"
    )

    def count(self, channels: Sequence[Channel]) -> int:
        pumps, _ = self._plan(channels)
        return len(pumps) + self.points

    def execute(self, run: Run) -> None:
        channels = run.device.channels
        pumps, buffer = self._plan(channels)
        inputs = [c.name for c in channels if c.kind == "input"]
        outputs = [c for c in channels if c.kind == "output"]
        rest = {c.name: 0.0 for c in channels if c.kind == "knob"}

        def alone(pump: Channel, rate: float, times: list[float]) -> Query:
            row = [rate if name == pump.name else 0.0 for name in inputs]
            knobs = {**rest, pump.name: rate} if pump.kind == "knob" else rest
            return Query(knobs, [row] * len(times), after=times)

        rows: list[list[str]] = []
        for pump in pumps:
            rate = min(self.rate, pump.maximum)
            response = run.query(alone(pump, rate, [self.volume / rate]), purpose="prime")
            lasted = float(response.settle_time[0])
            rows.append([pump.name, format_quantity(rate * lasted, "L", 3), format_quantity(lasted, "s", 3)])
        rate = min(self.rate, buffer.maximum)
        times = np.linspace(0.0, self.rinse / rate, self.points)
        response = run.query(alone(buffer, rate, times.tolist()), purpose="rinse")
        good = [s is Status.TIMED for s in response.status]
        read = np.where(np.array(good)[:, None], response.outputs, np.nan)
        rows.append(
            [f"{buffer.name}, rinsing", format_quantity(self.rinse, "L", 3), format_quantity(times[-1], "s", 3)]
        )
        figure(run, "Absorbance while buffer rinses", ("time", "s"), (outputs[0].name, "OD"),
               [{"label": c.name, "x": response.settle_time, "y": read[:, k]} for k, c in enumerate(outputs)],
               )  # fmt: skip
        run.event("table", title="Volumes", columns=["pump", "volume", "time"], rows=rows)
        fifth = self.points // 5
        last, before = (
            np.array([np.mean(part[np.isfinite(part)]) if np.isfinite(part).any() else np.nan for part in rinse.T])
            for rinse in (read[-fifth:], read[-2 * fifth : -fifth])
        )
        error = np.nanmedian(response.sigma, axis=0) * (2.0 / fifth) ** 0.5
        clean = bool(np.all(np.abs(last - before) <= STILL * error))
        shown = ", ".join(f"{c.name} {format_quantity(float(v), 'OD', 3)}" for c, v in zip(outputs, last, strict=True))
        run.event(self.name, clean=clean, blank=last.tolist(),
                  message=f"{len(pumps)} lines primed; " + (f"clean, {shown}" if clean else
                  f"not clean yet: it moves or is beyond the range ({shown}); rinse more"))  # fmt: skip

    def _plan(self, channels: Sequence[Channel]) -> tuple[list[Channel], Channel]:
        """All pumps, and the one that rinses."""
        pumps = [c for c in channels if c.rests]
        if not pumps or not any(c.unit == "OD" for c in channels):
            raise ParameterError(f"{self.name}: the device has no pumps or no photometer; this is for a flow bench")
        return pumps, choose(pumps, ["knob", "input"], self.buffer, f"{self.name}: buffer")[1]
