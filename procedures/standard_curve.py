"""Absorbance over known concentrations: slope, linearity, and what can just be detected."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from labthermo.channel import Channel
from labthermo.errors import ParameterError
from labthermo.kinetics import Interval, fit_line
from labthermo.quantity import format_quantity, quantity
from labthermo.run import Run
from procedures.feeding import Feed, Feeding, Floats, Rate, absorptivity, dose_error, figure

DETECTED = 3.3  # standard deviations of the blank over the slope (ICH Q2)


class StandardCurve(Feeding):
    """Read a species, such as NADH, at ascending known concentrations and fit a line.

    The pump named `substrate` brings it; nothing else that absorbs or reacts may flow (set `hold`). Compare the slope
    with path times extinction of the station file: its interval holds the errors of pumps and photometer.
    """

    name: ClassVar[str] = "standard_curve"

    stock: Annotated[float, quantity("mol/L", above=0)] = Field(description="species in its syringe")
    flow: Rate = Field(default=50e-6 / 60.0, description="of standard and buffer together")
    start: Annotated[float, quantity("L/s", minimum=0)] = Field(default=0.0, description="lowest rate of the standard")
    stop: Rate = Field(default=10e-6 / 60.0, description="highest rate of the standard")
    points: Annotated[int, Field(ge=3, le=1000)] = Field(default=8, description="in equal steps, 3 to 1000")
    species: str = Field(default="", description="what the standard is; default: the only one that absorbs")
    pump_error: Annotated[float, quantity("", above=0)] = Field(default=0.0105, description="of each pump, relative")
    gain_error: Annotated[float, quantity("", above=0)] = Field(default=0.0033, description="of the photometer")

    def count(self, channels: Sequence[Channel]) -> int:
        self._plan(channels)
        return self.points

    def execute(self, run: Run) -> None:
        feed, rates = self._plan(run.device.channels)
        ends = [(r, self.flow - r if feed.buffer else 0.0) for r in (self.start, self.stop)]
        self._check_flow(run, feed, *((r, b, r + b + self.other) for r, b in ends))
        optical, path, species = absorptivity(run, feed.read.channel.name, self.species)
        read, sigma = np.full(len(rates), np.nan), 0.0
        for k, rate in enumerate(rates):
            response = run.query(feed.query(rate, self.flow - rate, self.name), purpose=self.name)
            read[k], sigma = feed.of(response)[0], self._sigma(response, feed)
        total = self.flow + self.other if feed.buffer else rates + self.other
        known = self.stock * rates / total
        if np.isfinite(read).sum() < 3:
            run.event(self.name, determined=False, message="fewer than three readings settled; allow more time")
            return
        slope, blank = fit_line(known, read, sigma, self.confidence)
        buffer = self.flow - self.stop if feed.buffer else 0.0
        pumps = dose_error(self.pump_error, self.stop, buffer, self.other)
        z = NormalDist().inv_cdf(0.5 + self.confidence / 2.0)
        half = math.hypot(slope.high - slope.value, z * slope.value * math.hypot(pumps, self.gain_error))
        slope = Interval(slope.value, slope.value - half, slope.value + half, "")
        line = slope.value * known + blank.value
        bend = float(np.nanmax(np.abs(read - line)))
        least = DETECTED * sigma / slope.value
        figure(run, f"Standard curve of {species}", (species, "mol/L"), (feed.read.channel.name, "OD"),
               [{"label": "read", "x": known, "y": read, "sigma": np.full(len(read), sigma), "join": False},
                {"label": "line", "x": known, "y": line}])  # fmt: skip
        straight = bend < 4.0 * sigma
        ratio = slope.value / optical
        run.event("table", title="Standard curve", columns=["what", "found"], rows=[
            ["slope", f"{slope.value:.4g} OD/M ({slope.low:.4g} to {slope.high:.4g})"],
            ["by the station file", f"{optical:.4g} OD/M"],
            ["blank", f"{format_quantity(blank.value, 'OD', 3)}"],
            ["largest distance from the line", format_quantity(bend, "OD", 3)],
            ["detection limit", format_quantity(least, "mol/L", 3)],
        ])  # fmt: skip
        run.event(self.name, determined=True, slope=slope.plain(), blank=blank.plain(), straight=straight, bend=bend,
                  detection_limit=least, path=path * ratio,
                  message=f"slope {slope.value:.4g} OD/M, {ratio:.4g} of what the station file says (pumps included); "
                  f"blank {format_quantity(blank.value, 'OD', 3)}; "
                  + ("straight" if straight else f"bent by {format_quantity(bend, 'OD', 3)}: use less, or look for "
                     "stray light and for something that eats it"))  # fmt: skip

    def _plan(self, channels: Sequence[Channel]) -> tuple[Feed, Floats]:
        feed = self._feed(channels)
        if not self.start < self.stop:
            raise ParameterError(f"{self.name}: start, stop: these are no ascending rates")
        lowest = feed.substrate.minimum
        rates = np.linspace(self.start, self.stop, self.points)
        rates = np.where((rates > 0) & (rates < lowest), lowest, rates)
        for rate in rates:
            feed.query(rate, self.flow - rate, f"{self.name}: start, stop, flow")
        return feed, rates
