"""What happens to a voltage at the sample behind everybody's back: drift, jumps, telegraph noise, hysteresis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from labthermo.faults import DriftFault, Fault, HysteresisFault, JumpFault, TelegraphFault


class Disturbance(Protocol):
    """Changes a voltage; the same question at the same time has the same answer."""

    def __call__(self, volts: float, time: float) -> float:
        """What becomes of `volts` (V, at the sample) at `time` (s, bench time)."""
        ...


class Drift:
    """`rate` (V/s) from `start` (s) on."""

    def __init__(self, rate: float, start: float) -> None:
        self._rate, self._start = rate, start

    def __call__(self, volts: float, time: float) -> float:
        return volts + self._rate * (time - self._start)


class Jump:
    """A step of `size` (V) that stays."""

    def __init__(self, size: float) -> None:
        self._size = size

    def __call__(self, volts: float, time: float) -> float:
        return volts + self._size


class Telegraph:
    """Two levels, 0 and `size` (V), left after exponentially distributed times with the mean `dwell` (s)."""

    def __init__(self, size: float, dwell: float, start: float, dice: np.random.Generator) -> None:
        self._size, self._dwell, self._dice = size, dwell, dice
        self._up = False
        self._until = start + dice.exponential(dwell)

    def __call__(self, volts: float, time: float) -> float:
        while time >= self._until:
            self._up = not self._up
            self._until += self._dice.exponential(self._dwell)
        return volts + self._size * self._up


class Play:
    """Hysteresis as the play of a gear (Prandtl-Ishlinskii): what follows lags by up to half the `width` (V)."""

    def __init__(self, width: float, here: float) -> None:
        self._half, self._at = 0.5 * width, here

    def __call__(self, volts: float, time: float) -> float:
        self._at = min(max(self._at, volts - self._half), volts + self._half)
        return self._at


def disturbance(fault: Fault, here: float, time: float, dice: Callable[[str], np.random.Generator]) -> Disturbance:
    """What a fault of the sample does from `time` (s) on to a voltage that is `here` (V) now."""
    match fault:
        case DriftFault():
            return Drift(fault.rate, time)
        case JumpFault():
            return Jump(fault.size)
        case TelegraphFault():
            return Telegraph(fault.size, fault.dwell, time, dice(f"{fault.on}.telegraph"))
        case HysteresisFault():
            return Play(fault.width, here)
        case _:
            raise TypeError(f"{fault!r} is no disturbance of a voltage")
