"""A stirred vessel that is filled and then left to itself: the product over time, and the constants behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from labthermo.channel import Channel
from labthermo.errors import ParameterError
from labthermo.kinetics import fit_progress
from labthermo.quantity import format_quantity, quantity
from labthermo.run import Run
from procedures.feeding import Feed, Feeding, Floats, Fraction, Rate, absorptivity, dose_error, figure


class ProgressCurve(Feeding):
    """Settle with substrate in the flow, stop every pump, and read the product at given times.

    Before that the blank is read with buffer alone. The substrate at the start follows from what was fed less the
    product that is there already; it has to pass its optimum on the way for Ki to show.
    """

    name: ClassVar[str] = "progress_curve"

    stock: Annotated[float, quantity("mol/L", above=0)] = Field(description="substrate in its syringe")
    flow: Rate = Field(default=120e-6 / 60.0, description="of substrate and buffer together, before the stop")
    share: Fraction = Field(default=0.2, description="of substrate in that flow")
    duration: Annotated[float, quantity("s", above=0)] = Field(default=600.0, description="from the stop")
    points: Annotated[int, Field(ge=8, le=10_000)] = Field(default=61, description="readings, 8 to 10000")
    product: str = Field(default="", description="species that is read; default: the only one that absorbs")
    pump_error: Annotated[float, quantity("", above=0)] = Field(default=0.0105, description="of each pump, relative")
    gain_error: Annotated[float, quantity("", above=0)] = Field(default=0.0033, description="of the photometer")

    def count(self, channels: Sequence[Channel]) -> int:
        self._plan(channels)
        return 2 + self.points

    def execute(self, run: Run) -> None:
        feed, substrate, times = self._plan(run.device.channels)
        self._check_flow(run, feed, (substrate, self.flow - substrate, self.flow + self.other))
        optical, _, product = absorptivity(run, feed.read.channel.name, self.product)
        buffer = self.flow - substrate
        blank = run.query(feed.query(0.0, self.flow, self.name), purpose="blank")
        filled = run.query(feed.query(substrate, buffer, self.name), purpose="filled")
        stopped = run.query(feed.query(0.0, 0.0, self.name, after=times), purpose=self.name)
        zero = float(feed.of(blank)[0])
        made = (feed.of(stopped) - zero) / optical
        at = stopped.settle_time
        sigma = self._sigma(stopped, feed) / optical
        there = float(feed.of(filled)[0] - zero) / optical
        fed = self.stock * substrate / (self.flow + self.other)
        start = fed - there
        fit = fit_progress(
            at, made - there, sigma, start, self.confidence,
            start_error=fed * dose_error(self.pump_error, substrate, buffer, self.other),
            gain_error=self.gain_error,
        )  # fmt: skip
        curves = [{"label": "read", "x": at, "y": made, "sigma": np.full(len(at), sigma), "join": False}]
        if fit is not None:
            fine = np.linspace(0.0, float(at[-1]), 201)
            curves.append({"label": "fit", "x": fine, "y": fit[1](fine) + there})
        figure(run, f"{product} after the pumps have stopped", ("time", "s"), (product, "mol/L"), curves)
        if fit is None:
            run.event(self.name, determined=False, message="this curve does not determine Vmax, Km and Ki; let it run "
                      "longer, from more substrate")  # fmt: skip
            return
        vmax, km, ki = fit[0]
        run.event("table", title="Substrate inhibition",
                  columns=["constant", f"value and {self.confidence:.3g} interval"],
                  rows=[["Vmax", str(vmax)], ["Km", str(km)], ["Ki", str(ki)]])  # fmt: skip
        message = f"from {format_quantity(start, 'mol/L', 3)} of substrate: Vmax {vmax}, Km {km}, Ki {ki}"
        run.event(self.name, determined=True, vmax=vmax.plain(), km=km.plain(), ki=ki.plain(), start=start,
                  message=message)  # fmt: skip

    def _plan(self, channels: Sequence[Channel]) -> tuple[Feed, float, Floats]:
        """Pumps, the rate of substrate (L/s) before the stop, and when to read, s."""
        feed = self._feed(channels)
        if feed.buffer is None:
            raise ParameterError(f"{self.name}: buffer: flow that the device makes up cannot be stopped; name a pump")
        substrate = self.share * self.flow
        feed.query(substrate, self.flow - substrate, f"{self.name}: share, flow")
        return feed, substrate, np.linspace(0.0, self.duration, self.points)
