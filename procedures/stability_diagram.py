"""Stability diagram: current or charge signal over two gates, and from its lines lever-arm ratios and spacings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from labthermo.channel import Channel
from labthermo.charge_analysis import AdditionLines, Estimate, find_addition_lines
from labthermo.choice import Readout, check, choose, readout, span
from labthermo.device import Query, channels_of
from labthermo.errors import ParameterError
from labthermo.procedure import Procedure
from labthermo.quantity import quantity
from labthermo.run import Run


class StabilityDiagram(Procedure):
    """Map a signal over two gates at one bias; from the honeycomb: cross lever arms, line spacings, mutual shifts.

    The signal is that of a charge sensor, whose steps are the addition lines of the dots. Line by line, to and fro.
    Dot 1 is the one under gate x, dot 2 that under gate y. Ratios of lever arms are all that two gates can tell; for a
    lever arm in eV/V see coulomb_diamonds.
    """

    name: ClassVar[str] = "stability_diagram"

    x: str = Field(default="", description="knob along x, the gate of dot 1; default: the first")
    y: str = Field(default="", description="knob along y, the gate of dot 2; default: the second")
    input: str = Field(default="", description="bias; default: the first input")
    bias: Annotated[float, quantity("V")] | None = Field(default=None, description="default: high end of its window")
    reading: str = Field(default="", description="signal to read; default: the first node, else output")
    x_start: Annotated[float, quantity("V")] | None = Field(default=None, description="default: minimum of x")
    x_stop: Annotated[float, quantity("V")] | None = Field(default=None, description="default: maximum of x")
    x_points: Annotated[int, Field(ge=8, le=2000)] = Field(default=57, description="8 to 2000")
    y_start: Annotated[float, quantity("V")] | None = Field(default=None, description="default: minimum of y")
    y_stop: Annotated[float, quantity("V")] | None = Field(default=None, description="default: maximum of y")
    y_points: Annotated[int, Field(ge=8, le=2000)] = Field(default=57, description="8 to 2000")

    def count(self, channels: Sequence[Channel]) -> int:
        self._plan(channels)
        return self.x_points * self.y_points

    def execute(self, run: Run) -> None:
        x_of, y_of, (column, bias), read, xs, ys = self._plan(run.device.channels)
        asked = np.zeros((1, len(channels_of(run.device, "input"))))
        asked[0, column] = bias
        signal = np.full((self.y_points, self.x_points), np.nan)
        sigmas: list[float] = []
        for row, y in enumerate(ys):
            columns = range(self.x_points) if row % 2 == 0 else range(self.x_points - 1, -1, -1)
            for at in columns:
                knobs = {x_of.name: float(xs[at]), y_of.name: float(y)}
                response = run.query(Query(knobs=knobs, inputs=asked), purpose=self.name)
                (signal[row, at],), (sigma,) = read.of(response)
                if np.isfinite(signal[row, at]):
                    sigmas.append(float(sigma))
        sigma = float(np.median(sigmas)) if sigmas else np.nan
        one = find_addition_lines(xs, ys, signal, sigma)
        two = find_addition_lines(ys, xs, signal.T, sigma)
        lines = [[list(a), list(b)] for a, b in (one.lines if one else ())]
        lines += [[list(a[::-1]), list(b[::-1])] for a, b in (two.lines if two else ())]
        run.event(
            "figure",
            kind="map",
            title=f"Stability diagram: {read.channel.name} over {x_of.name} and {y_of.name}",
            x=xs.tolist(),
            y=ys.tolist(),
            z=signal.tolist(),
            x_name=x_of.name,
            x_unit="V",
            y_name=y_of.name,
            y_unit="V",
            z_name=read.channel.name,
            z_unit=read.channel.unit,
            lines=lines,
        )
        for dot, (own, other, found) in enumerate(((x_of, y_of, one), (y_of, x_of, two)), start=1):
            run.event("stability_diagram", dot=dot, gate=own.name, other=other.name, **_words(dot, found))

    def _plan(
        self, channels: Sequence[Channel]
    ) -> tuple[Channel, Channel, tuple[int, float], Readout, np.ndarray, np.ndarray]:
        """x, y, (column, bias), (place, reading), x values, y values (V)."""
        _, x = choose(channels, ["knob"], self.x, f"{self.name}: x")
        others = [c for c in channels if c is not x]
        _, y = choose(others, ["knob"], self.y, f"{self.name}: y")
        column, driven = choose(channels, ["input"], self.input, f"{self.name}: input")
        read = readout(channels, self.reading, f"{self.name}: reading")
        bias = (driven.window or (0.0, driven.maximum))[1] if self.bias is None else self.bias
        if bias == 0:
            raise ParameterError(f"{self.name}: bias: 0 V drives no current; choose a small value, such as 100 uV")
        check(driven, bias, f"{self.name}: bias")
        x_span = span(x, self.x_start, self.x_stop, f"{self.name}: x_start, x_stop")
        y_span = span(y, self.y_start, self.y_stop, f"{self.name}: y_start, y_stop")
        return x, y, (column, bias), read, np.linspace(*x_span, self.x_points), np.linspace(*y_span, self.y_points)


def _words(dot: int, found: AdditionLines | None) -> dict[str, Any]:
    if found is None:
        why = f"no addition lines of dot {dot} found: is the signal a charge sensor's, is the grid fine enough?"
        return {"found": False, "message": why}
    values: dict[str, Estimate | None] = {"cross": found.cross, "spacing": found.spacing, "mutual": found.mutual}
    said = {"cross": "cross lever arm over own", "spacing": "spacing of lines", "mutual": "shift by the other dot"}
    message = f"dot {dot}: " + ", ".join(f"{said[name]} {estimate or 'not found'}" for name, estimate in values.items())
    return {"found": True, "message": message, **{name: e and asdict(e) for name, e in values.items()}}
