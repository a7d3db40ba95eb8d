"""How long the device takes to settle after a step of one input, against what its design makes one expect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from labthermo.channel import Channel
from labthermo.choice import Held, choose, ends, held
from labthermo.device import Query, Status
from labthermo.procedure import Procedure
from labthermo.quantity import format_quantity, quantity
from labthermo.run import Run


class SettlingTime(Procedure):
    """Step an input and take the time until the device counts as settled: median, 99 %, worst.

    Every second step is from one end of the range to the other; those between go to places drawn at random. The time
    is from the set-point to the reading that decided, by the rule and the tolerance of the station file: what the
    station waits, not the device's time constant, which is never longer than a part of it.
    """

    name: ClassVar[str] = "settling_time"

    input: str = Field(default="", description="input to step; default: the first")
    start: Annotated[float, quantity("V")] | None = Field(default=None, description="default: low end of the window")
    stop: Annotated[float, quantity("V")] | None = Field(default=None, description="default: high end of the window")
    steps: Annotated[int, Field(ge=4, le=10_000)] = Field(default=100, description="4 to 10000")
    seed: Annotated[int, Field(ge=0)] = Field(default=0, description="of the places drawn at random")
    hold: str = Field(default="", description="where others stand, such as 'p1=-5 mV'")

    def count(self, channels: Sequence[Channel]) -> int:
        self._plan(channels)
        return self.steps + 1

    def execute(self, run: Run) -> None:
        column, stepped, values, stand = self._plan(run.device.channels)
        rows = np.tile(stand.inputs, (len(values), 1))
        rows[:, column] = values
        response = run.query(Query(stand.knobs, rows), purpose=self.name)
        settled = np.array([s is Status.SETTLED for s in response.status])[1:]
        steps = np.abs(np.diff(response.inputs[:, column]))
        times = response.settle_time[1:]
        design = run.journal.header.get("time_constant")
        known = settled & np.isfinite(times)
        figures: dict[str, float] = {}
        if known.any():
            figures = {
                n: float(np.quantile(times[known], q)) for n, q in (("median", 0.5), ("99 %", 0.99), ("worst", 1))
            }
        levels = {"time constant by design": float(design)} if design else {}
        levels |= figures
        run.event(
            "figure",
            kind="curves",
            title=f"Settling time over the size of a step of {stepped.name}",
            curves=[{"label": "settled", "x": steps[known].tolist(), "y": times[known].tolist(), "join": False}],
            levels=levels, log=True,
            x_name=f"step of {stepped.name}", x_unit=stepped.unit, y_name="settling time", y_unit="s",
        )  # fmt: skip
        run.event(self.name, input=stepped.name, unsettled=int(np.sum(~settled)), time_constant=design, **figures,
                  message=_sentence(figures, int(np.sum(~settled)), self.steps, stepped, design))  # fmt: skip

    def _plan(self, channels: Sequence[Channel]) -> tuple[int, Channel, np.ndarray, Held]:
        """Column and channel of the input, where it goes (V), the first place being no step yet, where others stand."""
        column, stepped = choose(channels, ["input"], self.input, f"{self.name}: input")
        start, stop = ends(stepped, self.start, self.stop, f"{self.name}: start, stop")
        places = np.random.default_rng(self.seed).uniform(min(start, stop), max(start, stop), self.steps + 1)
        places[0::4], places[1::4] = start, stop
        return column, stepped, places, held(channels, self.hold, f"{self.name}: hold")


def _sentence(figures: dict[str, float], unsettled: int, steps: int, stepped: Channel, design: float | None) -> str:
    if not figures:
        return f"none of {steps} steps of {stepped.name} settled; allow more time or a wider tolerance"
    median, most, worst = (format_quantity(v, "s", 3) for v in figures.values())
    said = f"after a step of {stepped.name} the median settling time is {median}, 99 % of {steps} steps settled"
    said += f" within {most}, the slowest in {worst}"
    if design:
        times = figures["median"] / design
        said += f"; the slowest time constant by design is {format_quantity(design, 's', 3)}, of which the median is"
        said += f" {times:.3g} times"
    return said + (f"; {unsettled} did not settle in time" if unsettled else "")
