"""How active an enzyme stock is: the same flow with and without it, at rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from labthermo.channel import Channel
from labthermo.kinetics import Interval
from labthermo.quantity import format_quantity, quantity
from labthermo.run import Run
from procedures.feeding import Feed, Feeding, Rate, absorptivity, dose_error, figure

UNIT = 1e-6 / 60.0  # mol/s: one unit of enzyme turns over a micromole a minute


class ActivityAssay(Feeding):
    """Read with the enzyme in the flow and with buffer in its place, in turn, and take the rate from the difference.

    The pump named `substrate` is the enzyme's here; all others stand as `hold` says. The activity is that under
    these very conditions, not the largest the enzyme can have.
    """

    name: ClassVar[str] = "activity_assay"

    flow: Rate = Field(default=40e-6 / 60.0, description="of enzyme and buffer together")
    enzyme: Rate = Field(default=20e-6 / 60.0, description="flow of the enzyme, in its turn")
    repeats: Annotated[int, Field(ge=2, le=100)] = Field(default=3, description="of each, 2 to 100")
    product: str = Field(default="", description="species that is read; default: the only one that absorbs")
    gain_error: Annotated[float, quantity("", above=0)] = Field(default=0.0033, description="of the photometer")
    pump_error: Annotated[float, quantity("", above=0)] = Field(default=0.0105, description="of each pump, relative")

    def count(self, channels: Sequence[Channel]) -> int:
        self._plan(channels)
        return 2 * self.repeats

    def execute(self, run: Run) -> None:
        feed = self._plan(run.device.channels)
        for enzyme in (0.0, self.enzyme):
            self._check_flow(run, feed, (enzyme, self.flow - enzyme, self.flow + self.other))
        optical, _, species = absorptivity(run, feed.read.channel.name, self.product)
        read = np.full((self.repeats, 2), np.nan)
        sigma = 0.0
        for k in range(self.repeats):
            for column, enzyme in enumerate((0.0, self.enzyme)):
                query = feed.query(enzyme, self.flow - enzyme, self.name)
                response = run.query(query, purpose="with" if enzyme else "without")
                read[k, column] = feed.of(response)[0]
                sigma = self._sigma(response, feed)
        change = read[:, 1] - read[:, 0]
        turns = np.arange(1, self.repeats + 1)
        figure(run, f"Absorbance of {species} with and without enzyme", ("turn", ""), (feed.read.channel.name, "OD"),
               [{"label": "without", "x": turns, "y": read[:, 0]}, {"label": "with", "x": turns, "y": read[:, 1]}],
               )  # fmt: skip
        if not np.isfinite(change).any():
            run.event(self.name, determined=False, message="nothing settled on both sides; allow more time")
            return
        total = self.flow + self.other
        mean = float(np.nanmean(change))
        scatter = sigma * math.sqrt(2.0 / np.isfinite(change).sum())
        z = NormalDist().inv_cdf(0.5 + self.confidence / 2.0)
        factor = total / optical / self.volume * total / self.enzyme / UNIT * 1e-3  # U/mL of the stock per OD
        activity = abs(mean) * factor
        pumps = dose_error(self.pump_error, self.enzyme, self.flow - self.enzyme, self.other, power=2)
        error = z * math.hypot(scatter * factor, activity * math.hypot(self.gain_error, pumps))
        found = Interval(activity, activity - error, activity + error, "")
        way = "made" if mean > 0 else "used up"
        rate = abs(mean) * total / optical / self.volume
        run.event("table", title="Activity", columns=["what", "found"], rows=[
            ["change of absorbance", f"{format_quantity(mean, 'OD', 3)}"],
            [f"{species} {way} in the vessel", f"{rate:.3g} mol/L/s"],
            ["activity of the stock", f"{activity:.3g} U/mL ({found.low:.3g} to {found.high:.3g})"],
        ])  # fmt: skip
        sure = abs(mean) > z * scatter
        run.event(self.name, determined=sure, activity=found.plain(), rate=rate,
                  message=f"{activity:.3g} U/mL ({found.low:.3g} to {found.high:.3g}) under these conditions: "
                  f"{species} is {way} at {rate:.3g} mol/L/s"
                  + ("" if sure else "; that is not more than noise: use more enzyme or repeats"))  # fmt: skip

    def _plan(self, channels: Sequence[Channel]) -> Feed:
        feed = self._feed(channels)
        for enzyme in (0.0, self.enzyme):
            feed.query(enzyme, self.flow - enzyme if feed.buffer else 0.0, f"{self.name}: enzyme, flow")
        return feed
