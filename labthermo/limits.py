"""A station's channels, and the check of every value against their limits. Pure: nothing here moves anything."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from labthermo.channel import Channel
from labthermo.config import StationConfig
from labthermo.errors import LimitError, QueryError
from labthermo.quantity import format_quantity


def device_channels(config: StationConfig) -> tuple[Channel, ...]:
    """The channels of a station's device: inputs, knobs, outputs, nodes, each in the file's order."""
    device = config.device
    channels: list[Channel] = []
    for kind, sections in (("input", device.inputs), ("knob", device.knobs)):
        for name in sections:
            limits = config.limits_of(name)
            window = device.inputs[name].window if kind == "input" else None
            channels.append(
                Channel(name, kind, "V", limits.min, limits.max, limits.max_step, limits.slew, window=window)
            )
    channels += [Channel(name, "output", "V", window=section.window) for name, section in device.outputs.items()]
    channels += [
        Channel(name, "node", "A" if section.of.quantity == "current" else "V")
        for name, section in device.nodes.items()
    ]
    return tuple(channels)


def check_value(channel: Channel, value: float) -> float:
    """`value` as a float, if it is finite and within the channel's limits.

    Raises
    ------
    LimitError: it is not; nothing was moved.
    """
    number = float(value)
    if not math.isfinite(number):
        raise LimitError(f"{channel.name}: {number} is not a finite value; nothing was moved")
    if not channel.minimum <= number <= channel.maximum:
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


def check_values(inputs: NDArray[np.float64], channels: Iterable[Channel]) -> None:
    """Check a batch of inputs, (batch, n_inputs), against the input channels.

    Raises
    ------
    LimitError: a value outside its limits; nothing was moved.
    """
    columns: Sequence[Channel] = [c for c in channels if c.kind == "input"]
    for column, channel in enumerate(columns):
        for value in (inputs[:, column].min(), inputs[:, column].max()) if len(inputs) else ():
            check_value(channel, value)
