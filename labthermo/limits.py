"""A station's channels, and the check of every value against their limits. Pure: nothing here moves anything."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from labthermo.channel import Channel, Kind
from labthermo.config import InputSection, StationConfig
from labthermo.device import Query
from labthermo.errors import LimitError, QueryError
from labthermo.quantity import format_quantity


def device_channels(config: StationConfig) -> tuple[Channel, ...]:
    """The channels of a station's device: inputs, knobs, outputs, nodes, each in the file's order."""
    device = config.device
    channels: list[Channel] = []
    settable: tuple[tuple[Kind, Iterable[str]], ...] = (("input", device.inputs), ("knob", device.knobs))
    for kind, sections in settable:
        for name in sections:
            limits = config.limits_of(name)
            low, high, step, slew = map(float, (limits.min, limits.max, limits.max_step, limits.slew))
            section = device.inputs[name] if kind == "input" else device.knobs[name]
            rests = section.of.quantity == "rate"
            noise = float(device.flow_noise) if rests else 0.0
            channel = Channel(name, kind, section.of.unit, low, high, step, slew, rests=rests, noise=noise)
            if isinstance(section, InputSection):
                channel = replace(channel, window=_plain(section.window), spacing=section.spacing)
            channels.append(channel)
    channels += [
        Channel(name, "output", section.of.unit, window=_plain(section.window), falling=section.sense == "falling")
        for name, section in device.outputs.items()
    ]
    channels += [Channel(name, "node", section.of.unit) for name, section in device.nodes.items()]
    return tuple(channels)


def _plain(window: tuple[float, float] | None) -> tuple[float, float] | None:
    return None if window is None else (float(window[0]), float(window[1]))


def check_value(channel: Channel, value: float) -> float:
    """`value` as a float, if it is finite and within the channel's limits.

    Raises
    ------
    LimitError: it is not; nothing was moved. QueryError: it is no number at all.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise QueryError(f"{channel.name}: {value!r} is not a number of {channel.unit}; nothing was moved") from None
    if not math.isfinite(number):
        raise LimitError(f"{channel.name}: {number} is not a finite value; nothing was moved")
    if not channel.minimum <= number <= channel.maximum and not (channel.rests and number == 0.0):
        low, high = (format_quantity(v, channel.unit) for v in (channel.minimum, channel.maximum))
        raise LimitError(
            f"{channel.name}: {format_quantity(number, channel.unit, 6)} is outside its limits {low} to {high}; "
            "nothing was moved; ask for less, or change the station file's limits"
        )
    return number


def check_knobs(knobs: Mapping[str, float], channels: Iterable[Channel]) -> dict[str, float]:
    """Knob values, each known and within its limits.

    Raises
    ------
    QueryError: an unknown knob. LimitError: a value outside its limits.
    """
    known = {c.name: c for c in channels if c.kind == "knob"}
    for name in knobs:
        if name not in known:
            raise QueryError(f"no knob {name!r}; this device has {', '.join(known) or 'none'}")
    return {name: check_value(known[name], value) for name, value in knobs.items()}


def check_query(
    query: Query, channels: Sequence[Channel], *, nudged: bool = False
) -> tuple[NDArray[np.float64], dict[str, float]]:
    """The inputs, (batch, n_inputs), and knobs of a query, all within limits.

    nudged: the device has current sources at its outputs and nodes.

    Raises
    ------
    QueryError: no input, a wrong shape or name, an unknown reset, a nudge. LimitError: a value outside its limits.
    Nothing was moved.
    """
    columns = [c for c in channels if c.kind == "input"]
    inputs = query.input_array(columns)
    if len(inputs) == 0:
        raise QueryError("a query needs at least one input")
    if query.nudge is not None and not nudged:
        raise QueryError("this device has no current source at its outputs; leave nudge out")
    if query.reset not in ("hold", "park", "each"):
        raise QueryError(f"reset {query.reset!r} is not known; it is hold, park or each")
    query.delays(len(inputs))
    if query.reset == "each" and query.after is not None:
        raise QueryError("reset each lets every input settle at zero first; leave it or after out")
    knobs = check_knobs(query.knobs, channels)
    for column, channel in enumerate(columns):
        for value in (inputs[:, column].min(), inputs[:, column].max()):
            check_value(channel, value)
    return inputs, knobs
