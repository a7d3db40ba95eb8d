"""What the photometer shows of nothing, of each input alone, and of a known standard: blank, loopholes, path length."""

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

SEEN = 4.0  # standard deviations that make an absorbance of its own


class BlankAndPath(Feeding):
    """Read buffer alone, then each input at the top of its window with nothing else, then a standard.

    The pump named `substrate` brings the standard. An input that absorbs by itself at this wavelength is a loophole:
    a device without negative differential conductance may pass by it. It is warned about by name.
    """

    name: ClassVar[str] = "blank_and_path"

    stock: Annotated[float, quantity("mol/L", above=0)] = Field(description="standard in its syringe")
    flow: Rate = Field(default=50e-6 / 60.0, description="of standard and buffer together")
    standard: Rate = Field(default=10e-6 / 60.0, description="rate of the standard")
    repeats: Annotated[int, Field(ge=2, le=100)] = Field(default=4, description="readings of each, 2 to 100")
    species: str = Field(default="", description="what the standard is; default: the only one that absorbs")
    pump_error: Annotated[float, quantity("", above=0)] = Field(default=0.0105, description="of each pump, relative")
    gain_error: Annotated[float, quantity("", above=0)] = Field(default=0.0033, description="of the photometer")

    def count(self, channels: Sequence[Channel]) -> int:
        feed = self._plan(channels)
        return self.repeats * (2 + len(_inputs(feed)))

    def execute(self, run: Run) -> None:
        feed = self._plan(run.device.channels)
        buffer = self.flow - self.standard if feed.buffer else 0.0
        self._check_flow(run, feed, (self.standard, buffer, self.standard + buffer + self.other))
        _, path, species = absorptivity(run, feed.read.channel.name, self.species)
        extinction = absorptivity(run, feed.read.channel.name, self.species)[0] / path
        sigma = 0.0

        def measure(standard: float, place: int | None = None) -> float:
            nonlocal sigma
            query = feed.query(standard, self.flow - standard, self.name)
            rows = np.tile(np.asarray(query.inputs), (self.repeats, 1))
            if place is not None:
                rows[:, place] = (feed.inputs[place].window or (0.0, feed.inputs[place].maximum))[1]
            response = run.query(type(query)(query.knobs, rows), purpose=self.name)
            sigma = self._sigma(response, feed)
            return float(np.nanmean(feed.of(response)))

        blank = measure(0.0)
        own = {feed.inputs[k].name: measure(0.0, k) - blank for k in _inputs(feed)}
        shown = measure(self.standard) - blank
        error = sigma * math.sqrt(2.0 / self.repeats)
        z = NormalDist().inv_cdf(0.5 + self.confidence / 2.0)
        total = self.flow + self.other if feed.buffer else self.standard + self.other
        known = self.stock * self.standard / total
        length = shown / (extinction * known)
        pumps = dose_error(self.pump_error, self.standard, total - self.standard - self.other, self.other)
        half = z * abs(length) * math.hypot(error / max(abs(shown), 1e-30), pumps, self.gain_error)
        found = Interval(length, length - half, length + half, "m")
        loopholes = [name for name, change in own.items() if change > SEEN * error]
        names = ["buffer", *own, species]
        values = [blank, *(blank + change for change in own.values()), blank + shown]
        figure(run, "Absorbance of each alone: " + ", ".join(names), ("number", ""), (feed.read.channel.name, "OD"),
               [{"label": "read", "x": np.arange(len(names)), "y": np.array(values), "join": False}])  # fmt: skip
        rows = [["blank", format_quantity(blank, "OD", 3)]]
        rows += [[f"{name} alone, beyond the blank", format_quantity(change, "OD", 3)] for name, change in own.items()]
        rows += [["path length", str(found)], ["by the station file", format_quantity(path, "m", 3)]]
        run.event("table", title="Blank and path", columns=["what", "found"], rows=rows)
        warning = "".join(
            f"; LOOPHOLE: {name} absorbs {format_quantity(own[name], 'OD', 3)} by itself at this wavelength, which no "
            "answer of the device is: read at another wavelength, or list its species under light"
            for name in loopholes
        )
        run.event(self.name, blank=blank, path=found.plain(), own=own, loopholes=loopholes,
                  message=f"blank {format_quantity(blank, 'OD', 3)}, path {found}{warning}")  # fmt: skip

    def _plan(self, channels: Sequence[Channel]) -> Feed:
        feed = self._feed(channels)
        for standard in (0.0, self.standard):
            feed.query(standard, self.flow - standard, f"{self.name}: standard, flow")
        return feed


def _inputs(feed: Feed) -> list[int]:
    """Columns of the inputs that are neither the standard nor the buffer."""
    return [k for k, channel in enumerate(feed.inputs) if channel not in (feed.substrate, feed.buffer)]
