"""Any channel that can be set against any that can be read, over one axis or two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from labthermo.channel import Channel
from labthermo.choice import Held, Readout, choose, ends, held, line, readouts
from labthermo.errors import ParameterError
from labthermo.procedure import Procedure
from labthermo.quantity import parse_quantity
from labthermo.run import Run

Floats = NDArray[np.float64]
Line = tuple[int, str, NDArray[np.intp], Held]  # its place along y, direction, places along x, where the others stand


class Sweep(Procedure):
    """Sweep an input or knob, at every value of a second one if asked, and read nodes and outputs.

    Without `y` it is a curve, with it a map. Other inputs stand at zero and other knobs where they are, but for those
    that `hold` names. Start may be above stop.
    """

    name: ClassVar[str] = "sweep"

    x: str = Field(default="", description="input or knob to sweep; default: the first input")
    x_start: str = Field(default="", description="with its unit; default: low end of the window, or of the limits")
    x_stop: str = Field(default="", description="with its unit; default: high end")
    x_points: Annotated[int, Field(ge=2, le=10_000)] = Field(default=51, description="2 to 10000")
    y: str = Field(default="", description="input or knob to step; default: none")
    y_start: str = Field(default="", description="as x_start")
    y_stop: str = Field(default="", description="as x_stop")
    y_points: Annotated[int, Field(ge=2, le=10_000)] = Field(default=21, description="2 to 10000; with y only")
    readings: str = Field(default="", description="nodes and outputs to draw, with commas; default: all (all are kept)")
    both: bool = Field(default=False, description="sweep x there and back at every y")
    snake: bool = Field(default=True, description="every second line the other way, if not both")
    hold: str = Field(default="", description="where others stand, such as 'x=1 mV, p1=-5 mV'")

    def count(self, channels: Sequence[Channel]) -> int:
        _, xs, _, ys, *_ = self._plan(channels)
        return len(xs) * len(ys) * len(self._labels())

    def execute(self, run: Run) -> None:
        channels = run.device.channels
        x, xs, y, ys, drawn, stand = self._plan(channels)
        tables = {
            (label, r.channel.name): np.full((len(ys), len(xs)), np.nan)
            for label in self._labels()
            for r in drawn
        }  # fmt: skip
        sigmas = {key: np.full(table.shape, np.nan) for key, table in tables.items()}
        for row, label, order, others in self._lines(len(xs), y, ys, stand, channels):
            at = 0
            for query in line(channels, x, xs[order], others):
                response = run.query(query, purpose=f"{self.name} {label}".strip())
                columns = order[at : at + len(response)]
                at += len(response)
                for r in drawn:
                    key = (label, r.channel.name)
                    tables[key][row, columns], sigmas[key][row, columns] = r.of(response)
        for r in drawn:
            if y is None:
                self._curve(run, x, xs, r, tables, sigmas)
            else:
                self._maps(run, x, xs, y, ys, r, tables)

    def _labels(self) -> tuple[str, ...]:
        return ("there", "back") if self.both else ("",)

    def _lines(
        self, points: int, y: Channel | None, ys: Floats, stand: Held, channels: Sequence[Channel]
    ) -> Iterator[Line]:
        order = np.arange(points)
        for row, value in enumerate(ys):
            others = stand
            if y is not None and y.kind == "knob":
                others = Held(stand.inputs, {**stand.knobs, y.name: float(value)})
            elif y is not None:
                inputs = stand.inputs.copy()
                inputs[[c.name for c in channels if c.kind == "input"].index(y.name)] = value
                others = Held(inputs, stand.knobs)
            for number, label in enumerate(self._labels()):
                back = number == 1 if self.both else self.snake and row % 2 == 1
                yield row, label, order[::-1] if back else order, others

    def _curve(self, run: Run, x: Channel, xs: Floats, r: Readout, tables: dict, sigmas: dict) -> None:
        name = r.channel.name
        run.event(
            "figure",
            kind="curves",
            title=f"{name} over {x.name}",
            curves=[
                {"label": f"{name} {label}".strip(), "x": xs.tolist(), "y": tables[label, name][0].tolist(),
                 "sigma": sigmas[label, name][0].tolist()}
                for label in self._labels()
            ],
            x_name=x.name, x_unit=x.unit, y_name=name, y_unit=r.channel.unit,
        )  # fmt: skip

    def _maps(self, run: Run, x: Channel, xs: Floats, y: Channel, ys: Floats, r: Readout, tables: dict) -> None:
        for label in self._labels():
            run.event(
                "figure",
                kind="map",
                title=f"{r.channel.name} over {x.name} and {y.name}{', ' if label else ''}{label}",
                x=xs.tolist(), y=ys.tolist(), z=tables[label, r.channel.name].tolist(),
                x_name=x.name, x_unit=x.unit, y_name=y.name, y_unit=y.unit,
                z_name=r.channel.name, z_unit=r.channel.unit,
            )  # fmt: skip

    def _plan(self, channels: Sequence[Channel]) -> tuple[Channel, Floats, Channel | None, Floats, list[Readout], Held]:
        """x and its values, y (None for a curve) and its values, what is drawn, where the others stand."""
        _, x = choose(channels, ["input", "knob"], self.x, f"{self.name}: x")
        xs = self._values(x, "x", self.x_start, self.x_stop, self.x_points)
        y, ys = None, np.zeros(1)
        if self.y:
            _, y = choose([c for c in channels if c is not x], ["input", "knob"], self.y, f"{self.name}: y")
            ys = self._values(y, "y", self.y_start, self.y_stop, self.y_points)
        elif self.y_start or self.y_stop:
            raise ParameterError(f"{self.name}: y: y_start and y_stop are for a channel y, and none is named")
        drawn = readouts(channels, self.readings, f"{self.name}: readings")
        return x, xs, y, ys, drawn, held(channels, self.hold, f"{self.name}: hold")

    def _values(self, channel: Channel, axis: str, start: str, stop: str, points: int) -> Floats:
        read: list[float | None] = []
        for name, text in (("start", start), ("stop", stop)):
            try:
                read.append(parse_quantity(text, channel.unit) if text else None)
            except ParameterError as error:
                raise ParameterError(f"{self.name}: {axis}_{name}: {error}") from None
        first, last = ends(channel, read[0], read[1], f"{self.name}: {axis}_start, {axis}_stop")
        return np.linspace(first, last, points)
