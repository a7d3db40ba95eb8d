"""What the procedures of a stirred flow vessel have in common: a substrate and a buffer that share one flow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from labthermo.channel import Channel
from labthermo.choice import Held, Readout, check, choose, held, readout
from labthermo.device import Query, Response, Status
from labthermo.errors import ParameterError
from labthermo.procedure import Procedure
from labthermo.quantity import format_quantity, quantity
from labthermo.run import Run

Floats = NDArray[np.float64]
Rate = Annotated[float, quantity("L/s", above=0)]
Fraction = Annotated[float, quantity("", minimum=0, maximum=1)]
Confidence = Annotated[float, quantity("", above=0, maximum=0.9999)]


@dataclass(frozen=True)
class Feed:
    """A pump of substrate, one of buffer (None where the device file makes up the flow), and how all others stand."""

    substrate: Channel
    buffer: Channel | None
    inputs: tuple[Channel, ...]
    stand: Held
    read: Readout

    def query(self, substrate: float, buffer: float, asking: str, after: ArrayLike | None = None) -> Query:
        """Both at these rates (L/s), read once, or at every time of `after` (s).

        Raises
        ------
        ParameterError: a rate is outside the pump's limits.
        """
        row, knobs = self.stand.inputs.copy(), dict(self.stand.knobs)
        for channel, rate in ((self.substrate, substrate), (self.buffer, buffer)):
            if channel is None:
                continue
            check(channel, rate, asking)
            if channel.kind == "input":
                row[self.inputs.index(channel)] = rate
            else:
                knobs[channel.name] = rate
        times = None if after is None else np.asarray(after, dtype=float)
        return Query(knobs, np.tile(row, (1 if times is None else len(times), 1)), after=times)

    def of(self, response: Response) -> Floats:
        """What was read, (batch,), OD; NaN where it was no number or came too late."""
        values = np.hstack([response.nodes, response.outputs])[:, self.read.place]
        good = [s in (Status.SETTLED, Status.TIMED) for s in response.status]
        return np.where(good, values, np.nan)


class Feeding(Procedure):
    """Fields that name the pumps and what they bring."""

    substrate: str = Field(default="", description="pump of what is varied; default: the first input")
    buffer: str = Field(default="", description="makes up the flow; none: the device does; default: first knob")
    reading: str = Field(default="", description="absorbance to read; default: the first")
    hold: str = Field(default="", description="where other pumps stand, such as 'e=33 uL/min'")
    other: Annotated[float, quantity("L/s", minimum=0)] = Field(
        default=0.0, description="what flows into the vessel besides substrate and buffer"
    )
    volume: Annotated[float, quantity("L", above=0)] = Field(default=200e-6, description="of the vessel")
    confidence: Confidence = Field(default=0.95, description="of every interval")

    def _feed(self, channels: Sequence[Channel]) -> Feed:
        inputs = tuple(c for c in channels if c.kind == "input")
        pumps = [c for c in channels if c.rests]
        if not pumps:
            raise ParameterError(f"{self.name}: the device has no pump; this is for a flow bench")
        _, substrate = choose(pumps, ["input", "knob"], self.substrate, f"{self.name}: substrate")
        buffer = None
        if self.buffer != "none":
            rest = [c for c in pumps if c is not substrate]
            _, buffer = choose(rest, ["knob", "input"], self.buffer, f"{self.name}: buffer")
        optical = [c for c in channels if c.unit == "OD"]
        read = readout(optical, self.reading, f"{self.name}: reading")
        return Feed(substrate, buffer, inputs, held(channels, self.hold, f"{self.name}: hold"), read)

    def _check_flow(self, run: Run, feed: Feed, *settings: tuple[float, float, float]) -> None:
        """Whether all that flows into the vessel, by the device file, is what this procedure reckons with.

        settings: rates of substrate and buffer, and all that is reckoned with there, L/s. A pump that no query names
        stands still.

        Raises
        ------
        ParameterError: it is not: concentrations would be off by that factor.
        """
        channels = run.device.channels
        order = [c.name for kind in ("output", "node") for c in channels if c.kind == kind]  # as a twin has them
        twin, besides = run.twin(), []
        for substrate, buffer, told in settings:
            query = feed.query(substrate, buffer, self.name)
            knobs = [query.knobs.get(c.name, 0.0) for c in channels if c.kind == "knob"]
            flows = twin.inflow(np.array([knobs]), np.asarray(query.inputs))
            flow = float(flows[0, order.index(feed.read.channel.name)])
            if math.isfinite(flow):
                besides.append((flow - told + self.other, flow))
        if all(abs(found - self.other) <= 1e-3 * flow for found, flow in besides):
            return
        least, most = (format_quantity(end(found for found, _ in besides), "L/s") for end in (min, max))
        where = f"{self.name}: by the device file, what flows into {feed.read.channel.name} besides is"
        if least != most:
            raise ParameterError(f"{where} {least} to {most}; name a buffer and hold that keep it constant")
        raise ParameterError(f"{where} {least}, not {format_quantity(self.other, 'L/s')}; give other='{least}'")

    def _sigma(self, response: Response, feed: Feed) -> float:
        """Standard deviation of one reading, OD."""
        table = np.hstack([response.node_sigma, response.sigma])[:, feed.read.place]
        return float(np.nanmedian(table))


def dose_error(each: float, dose: float, buffer: float, other: float, power: int = 1) -> float:
    """Relative standard deviation of dose / flow**power, where the flow is dose + buffer + other (L/s).

    each: of every pump, relative; what is `other` counts as one pump's, which is the worst case.
    """
    flow = dose + buffer + other
    return each * math.hypot(1.0 - power * dose / flow, power * buffer / flow, power * other / flow)


def absorptivity(run: Run, output: str, species: str = "") -> tuple[float, float, str]:
    """OD per mol/L of a species in an output's light by the station file, the path (m), and the species' name.

    Raises
    ------
    ParameterError: no such species there, or more than one and none named.
    """
    light = run.journal.header["light"][output]
    known = light["extinction"]
    if species not in known and (species or len(known) != 1):
        raise ParameterError(f"{output}: which species? {', '.join(known)} absorb there; name one of them")
    name = species or next(iter(known))
    return float(known[name]) * float(light["path"]), float(light["path"]), name


def figure(
    run: Run, title: str, x: tuple[str, str], y: tuple[str, str], curves: list[dict[str, Any]], **more: Any
) -> None:
    """Record curves for the report; x, y: name and unit of each axis; a curve without ``join`` is a line."""
    plain = [{k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in curve.items()} for curve in curves]
    run.event("figure", kind="curves", title=title, curves=plain,
              x_name=x[0], x_unit=x[1], y_name=y[0], y_unit=y[1], **more)  # fmt: skip


def show(value: float, unit: str) -> str:
    """A quantity with three digits; of concentrations in M."""
    return format_quantity(value, unit.replace("mol/L", "M"), 3)
