"""What a real range does to a number: a gain and an offset that stay, noise, and a smallest step.

Data sheets give a limit for "% of value + constant"; one instrument has one value of each, for good. It is drawn
once with a third of the limit as its standard deviation, and never exceeds the limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simulators.wire.world import World


@dataclass(frozen=True)
class Range:
    """One range of a source or a meter, as its data sheet has it.

    Attributes
    ----------
    full_scale: V or A.
    resolution: smallest step, V or A.
    gain_limit: relative accuracy, a fraction of the value.
    offset_limit: constant accuracy, V or A.
    noise: RMS, V or A, for the integration time that the personality says.
    """

    full_scale: float
    resolution: float
    gain_limit: float
    offset_limit: float
    noise: float


class Ranges:
    """The ranges of one source or meter, from small to large, with this very instrument's errors."""

    def __init__(self, ranges: Sequence[Range], world: World, name: str) -> None:
        self._ranges = tuple(ranges)
        self._world = world
        self._noise = world.random(f"{name}.noise")
        errors = world.random(f"{name}.offsets")
        self._errors = [(_draw(errors, each.gain_limit), _draw(errors, each.offset_limit)) for each in self._ranges]

    def holding(self, value: float, *, overrange: float = 1.0) -> int | None:
        """The index of the smallest range that holds `value`; None if none does."""
        for index, each in enumerate(self._ranges):
            if abs(value) <= each.full_scale * overrange * (1 + 1e-12):
                return index
        return None

    def __getitem__(self, index: int) -> Range:
        return self._ranges[index]

    def __len__(self) -> int:
        return len(self._ranges)

    def distort(self, value: float, index: int, *, noise: float = 0.0, resolution: float | None = None) -> float:
        """What range `index` makes of `value`: its gain and offset, `noise` times a random number, its steps."""
        kinds = self._world.imperfections
        if kinds.offsets:
            gain, offset = self._errors[index]
            value = value * (1 + gain) + offset
        if kinds.noise and noise > 0:
            value += noise * self._noise.standard_normal()
        if kinds.quantisation:
            step = self._ranges[index].resolution if resolution is None else resolution
            value = round(value / step) * step
        return value


def _draw(generator: np.random.Generator, limit: float) -> float:
    return float(np.clip(generator.normal(0.0, limit / 3), -limit, limit))
