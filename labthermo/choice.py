"""What a procedure is asked to use: channels, spans, values to hold, a reading; checked before anything moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labthermo.channel import Channel, Kind
from labthermo.device import Query, Response, Status
from labthermo.errors import ParameterError
from labthermo.quantity import format_quantity, parse_quantity

Floats = NDArray[np.float64]


def choose(channels: Sequence[Channel], kinds: Sequence[Kind], name: str, asking: str) -> tuple[int, Channel]:
    """Place and channel of this name among those of `kinds` (in that order); the first one where `name` is empty.

    Raises
    ------
    ParameterError: there is none; `asking` is the procedure and its parameter, such as ``iv_curve: input``.
    """
    known = [c for kind in kinds for c in channels if c.kind == kind]
    for place, channel in enumerate(known):
        if name in ("", channel.name):
            return place, channel
    there = ", ".join(c.name for c in known) or "none"
    wanted = " or ".join(kinds) + (f" {name!r}" if name else " for it")
    raise ParameterError(f"{asking}: the device has no {wanted}; there are {there}")


def ends(channel: Channel, start: float | None, stop: float | None, asking: str) -> tuple[float, float]:
    """Both ends of a sweep in either direction, in the channel's unit; by default those of its window or its limits.

    Raises
    ------
    ParameterError: they are the same, or not within the channel's limits.
    """
    window = channel.window or (channel.minimum, channel.maximum)
    first, last = window[0] if start is None else start, window[1] if stop is None else stop
    if first == last:
        raise ParameterError(f"{asking}: both are {format_quantity(first, channel.unit)}; choose two values")
    for value in (first, last):
        check(channel, value, asking)
    return first, last


def span(channel: Channel, start: float | None, stop: float | None, asking: str) -> tuple[float, float]:
    """As :func:`ends`, in ascending order.

    Raises
    ------
    ParameterError: they are not in ascending order, or not within the channel's limits.
    """
    window = channel.window or (channel.minimum, channel.maximum)
    low, high = window[0] if start is None else start, window[1] if stop is None else stop
    if not low < high:
        volts = " to ".join(format_quantity(v, channel.unit) for v in (low, high))
        raise ParameterError(f"{asking}: {volts} is no ascending sweep; choose two values")
    return ends(channel, start, stop, asking)


def check(channel: Channel, value: float, asking: str) -> float:
    """`value`, in the channel's unit, if it is within the channel's limits.

    Raises
    ------
    ParameterError: it is not.
    """
    if not channel.minimum <= value <= channel.maximum and not (channel.rests and value == 0.0):
        low, high, asked = (format_quantity(v, channel.unit) for v in (channel.minimum, channel.maximum, value))
        raise ParameterError(f"{asking}: {asked} is outside the limits {low} to {high} of {channel.name}; ask for less")
    return value


@dataclass(frozen=True)
class Held:
    """Where the channels stand that a procedure does not sweep: every input, and those knobs that it moves at all."""

    inputs: Floats
    knobs: dict[str, float]


def held(channels: Sequence[Channel], text: str, asking: str) -> Held:
    """From text such as ``x=1 mV, p1=-5 mV``: inputs that it does not name are at 0, knobs stay where they are.

    Raises
    ------
    ParameterError: not name=value, no such input or knob, a wrong unit, or beyond its limits.
    """
    columns = {c.name: k for k, c in enumerate(c for c in channels if c.kind == "input")}
    inputs, knobs = np.zeros(len(columns)), {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, equals, value = (p.strip() for p in part.partition("="))
        if not (name and equals):
            raise ParameterError(f"{asking}: {part!r} is not name=value, as in 'x=1 mV, p1=-5 mV'")
        _, channel = choose(channels, ["input", "knob"], name, asking)
        try:
            number = check(channel, parse_quantity(value, channel.unit), asking)
        except ParameterError as error:
            said = str(error)
            raise ParameterError(said if said.startswith(asking) else f"{asking}: {name}: {said}") from None
        if name in columns:
            inputs[columns[name]] = number
        else:
            knobs[name] = number
    return Held(inputs, knobs)


def line(channels: Sequence[Channel], channel: Channel, values: Floats, stand: Held) -> list[Query]:
    """Queries that take an input or a knob through `values`, in order: one batch for an input, one each for a knob."""
    if channel.kind == "knob":
        return [Query({**stand.knobs, channel.name: float(v)}, stand.inputs[None, :]) for v in values]
    column = [c.name for c in channels if c.kind == "input"].index(channel.name)
    rows = np.tile(stand.inputs, (len(values), 1))
    rows[:, column] = values
    return [Query(stand.knobs, rows)]


@dataclass(frozen=True)
class Readout:
    """One reading of a device: its channel, and its place among nodes and outputs (nodes first)."""

    place: int
    channel: Channel

    def of(self, response: Response) -> tuple[Floats, Floats]:
        """Values and standard deviations, each (batch,), in the channel's unit; values NaN where nothing settled."""
        values = np.hstack([response.nodes, response.outputs])[:, self.place]
        sigma = np.hstack([response.node_sigma, response.sigma])[:, self.place]
        return np.where([s is Status.SETTLED for s in response.status], values, np.nan), sigma


def readout(channels: Sequence[Channel], name: str, asking: str) -> Readout:
    """The node or output of this name; the first node, or else the first output, where it is empty.

    Raises
    ------
    ParameterError: there is none.
    """
    return Readout(*choose(channels, ["node", "output"], name, asking))


def readouts(channels: Sequence[Channel], names: str, asking: str) -> list[Readout]:
    """Nodes and outputs by their names, separated by commas; all of them where `names` is empty.

    Raises
    ------
    ParameterError: there is no such one, or none at all.
    """
    wanted = [n.strip() for n in names.split(",") if n.strip()]
    wanted = wanted or [c.name for kind in ("node", "output") for c in channels if c.kind == kind] or [""]
    return [readout(channels, name, asking) for name in wanted]
