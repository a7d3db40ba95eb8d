"""Where a trainer may turn the knobs: the box that the channels' limits leave, as a unit cube."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from labthermo.channel import Channel
from labthermo.errors import ParameterError

Floats = NDArray[np.float64]

CENTRAL = 0.6  # of each knob's range, from which starts are drawn


class KnobSpace:
    """The knobs of a device, each mapped from its limits to 0..1.

    channels: the device's; only its knobs count. low, high: (n,), SI.

    Raises
    ------
    ParameterError: the device has no knob, or one without limits.
    """

    def __init__(self, channels: Sequence[Channel]) -> None:
        knobs = [c for c in channels if c.kind == "knob"]
        if not knobs:
            raise ParameterError("this device has no knob to train; wire one under `knobs` in the station file")
        self.names = tuple(c.name for c in knobs)
        self.low = np.array([c.minimum for c in knobs], dtype=float)
        self.high = np.array([c.maximum for c in knobs], dtype=float)
        for name, low, high in zip(self.names, self.low, self.high, strict=True):
            if not (np.isfinite(low) and np.isfinite(high) and low < high):
                raise ParameterError(f"{name} has no range to train in ({low} to {high}); set its limits")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def width(self) -> Floats:
        """(n,), SI, from one limit to the other."""
        return self.high - self.low

    def values(self, unit: Floats) -> Floats:
        """Knob values (n,), SI, of a point; what is outside the cube is brought to its wall."""
        return np.clip(self.low + np.clip(unit, 0.0, 1.0) * self.width, self.low, self.high)

    def named(self, unit: Floats) -> dict[str, float]:
        """Knob values of a point, as a query takes them."""
        return {name: float(v) for name, v in zip(self.names, self.values(unit), strict=True)}

    def unit(self, knobs: Mapping[str, float]) -> Floats:
        """The point of these knob values, (n,)."""
        return (np.array([knobs[name] for name in self.names]) - self.low) / self.width

    def draw(self, rng: np.random.Generator) -> Floats:
        """A random start, (n,), in the middle of the ranges."""
        return 0.5 + CENTRAL * (rng.random(len(self)) - 0.5)
