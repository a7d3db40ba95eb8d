"""What each pump really gives: it pumps into a beaker, and the beaker is weighed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from labthermo.balance import DENSITY
from labthermo.channel import Channel
from labthermo.choice import check, choose
from labthermo.device import Query
from labthermo.errors import ParameterError
from labthermo.kinetics import Interval
from labthermo.procedure import Procedure
from labthermo.quantity import parse_quantity, quantity
from labthermo.run import Run
from procedures.feeding import Confidence, figure

ALLOWED = 0.01  # relative: a plastic syringe is within 1 %


class PumpCalibration(Procedure):
    """Let each pump run at some rates into a tared beaker, stop it, and enter what the balance shows.

    The slope of what came out over what was asked is the pump's factor. Put the square root of it on the syringe's
    diameter. The others stand still meanwhile; take the outlet out of the vessel before you start.
    """

    name: ClassVar[str] = "pump_calibration"

    pumps: str = Field(default="", description="with commas; default: all")
    rates: str = Field(
        default="20 %, 50 %, 100 %", description="with commas, in % of each pump's highest rate or in uL/min"
    )
    mass: Annotated[float, quantity("g", above=0)] = Field(default=1.0, description="to collect at each rate, about")
    repeats: Annotated[int, Field(ge=1, le=100)] = Field(default=2, description="of each rate, 1 to 100")
    density: Annotated[float, quantity("g/L", above=0)] = Field(default=DENSITY, description="of what is pumped")
    confidence: Confidence = Field(default=0.95, description="of every interval")

    def count(self, channels: Sequence[Channel]) -> int:
        return self.repeats * sum(len(rates) for _, rates in self._plan(channels))

    def execute(self, run: Run) -> None:
        from scipy.stats import t as student

        pumps = self._plan(run.device.channels)
        inputs = [c.name for c in run.device.channels if c.kind == "input"]
        rest = {c.name: 0.0 for c in run.device.channels if c.kind == "knob"}
        curves, rows, found = [], [], {}
        for pump, rates in pumps:
            run.weigh(pump.name)  # tare: what was pumped before does not count
            pumped, weighed = [], []
            for rate in rates * self.repeats:
                row = [rate if name == pump.name else 0.0 for name in inputs]
                knobs = {**rest, pump.name: rate} if pump.kind == "knob" else rest
                lasts = self.mass / self.density / rate
                response = run.query(Query(knobs, [row], after=[lasts]), purpose=self.name)
                pumped.append(rate * float(response.settle_time[0]))
                weighed.append(run.weigh(pump.name) / self.density)
            ratios = np.array(weighed) / np.array(pumped)
            factor, freedom = float(ratios.mean()), len(ratios) - 1
            half = float(student.ppf(0.5 + self.confidence / 2.0, freedom) * ratios.std(ddof=1) / len(ratios) ** 0.5)
            interval = Interval(factor, factor - half, factor + half, "")
            found[pump.name] = interval.plain()
            curves.append({"label": pump.name, "x": np.array(pumped), "y": np.array(weighed), "join": False})
            verdict = "good" if abs(factor - 1.0) <= ALLOWED else "look"
            rows.append(
                [pump.name, f"{factor:.5g} ({interval.low:.5g} to {interval.high:.5g})", f"{factor**0.5:.5g}", verdict]
            )
        figure(run, "Volume weighed over volume asked", ("asked", "L"), ("weighed", "L"), curves)
        run.event("table", title="Pumps", rows=rows,
                  columns=["pump", "weighed over asked", "factor for the diameter", "verdict"])  # fmt: skip
        worst = max(found, key=lambda name: abs(found[name][0] - 1.0))
        run.event(self.name, factors=found, message=f"{len(found)} pumps weighed; furthest off is {worst}, which gives "
                  f"{found[worst][0]:.4g} of what it is asked")  # fmt: skip

    def _plan(self, channels: Sequence[Channel]) -> list[tuple[Channel, list[float]]]:
        """Which pumps, and the rates of each, L/s."""
        known = [c for c in channels if c.rests]
        if not known:
            raise ParameterError(f"{self.name}: the device has no pump; this is for a flow bench")
        names = [n.strip() for n in self.pumps.split(",") if n.strip()] or [c.name for c in known]
        pumps = [choose(known, ["input", "knob"], name, f"{self.name}: pumps")[1] for name in names]
        texts = [part.strip() for part in self.rates.split(",") if part.strip()]
        plan = [(pump, [self._rate(text, pump) for text in texts]) for pump in pumps]
        for pump, rates in plan:
            if len(rates) * self.repeats < 2 or min(rates) <= 0.0:
                raise ParameterError(
                    f"{self.name}: rates, repeats: two weighings of a flow at least are needed of each pump"
                )
            for rate in rates:
                check(pump, rate, f"{self.name}: rates")
        return plan

    def _rate(self, text: str, pump: Channel) -> float:
        """L/s, from a rate or a share of the pump's highest."""
        try:
            return parse_quantity(text, "") * pump.maximum if text.endswith("%") else parse_quantity(text, "L/s")
        except ParameterError as error:
            raise ParameterError(f"{self.name}: rates: {error}") from None
