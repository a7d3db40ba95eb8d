"""When is a reading settled: evidence from the readings themselves, at a stated confidence."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Protocol

import numpy as np

from labthermo.clock import Clock
from labthermo.instrument import Flag, Reading

EXTRAPOLATION = 1.2  # remaining drift per change over the window, see settle()
LEAST = 4  # readings in the window
WAIT = 2.0  # slowest time constants to wait at least
MEMORY = 0.99  # what is left of a window's weight after the next one


class Foresight(Protocol):
    """What the design says about how long a device needs."""

    def forget(self) -> None:
        """The device may be anywhere."""
        ...

    def wait(self, setting: Mapping[str, float]) -> float:
        """How long, s, nothing is to be believed after a move to this setting of all inputs and knobs."""
        ...

    def elapse(self, setting: Mapping[str, float], seconds: float) -> None:
        """So long it has been at this setting."""
        ...


@dataclass(frozen=True)
class SameWait:
    """A :class:`Foresight` that knows nothing of the design: `least` s after every move."""

    least: float

    def forget(self) -> None:
        """It remembers nothing."""

    def wait(self, setting: Mapping[str, float]) -> float:
        """Always the same, s."""
        return self.least

    def elapse(self, setting: Mapping[str, float], seconds: float) -> None:
        """It remembers nothing."""


class NoiseEstimate:
    """Standard deviation of one reading, pooled over the last windows seen, never below what the meter adds."""

    def __init__(self, floor: float) -> None:
        self._floor = floor
        self._sum, self._freedom = 0.0, 0.0

    def learn(self, window: np.ndarray) -> None:
        """Add the scatter of a settled window of readings about its own line."""
        n = len(window)
        if n >= LEAST:
            line = np.polynomial.Polynomial.fit(np.arange(n), window, 1)
            self._sum = MEMORY * self._sum + float(np.sum((window - line(np.arange(n))) ** 2))
            self._freedom = MEMORY * self._freedom + n - 2

    def sigma(self, window: np.ndarray | None = None) -> float:
        """From all that was learnt and the present window's differences, which a slow drift does not inflate."""
        total, freedom = self._sum, self._freedom
        if window is not None:
            differences = np.diff(window)
            total += 0.5 * float(np.sum(differences**2))
            freedom += len(differences)
        return max(self._floor, math.sqrt(total / freedom) if freedom else 0.0)


@dataclass(frozen=True)
class Settled:
    """settled: whether the evidence suffices; time: s from the set-point to the decision; flag: of the last reading."""

    settled: bool
    time: float
    flag: Flag


def settle(
    read: Callable[[], Reading],
    clock: Clock,
    since: float,
    noise: NoiseEstimate,
    tolerance: float,
    confidence: float,
    timeout: float,
    slowest: float = 0.0,
    least: float = 0.0,
) -> Settled:
    """Read until the extrapolated remaining drift is below `tolerance` with `confidence`, or until `timeout`.

    read: takes one short reading; since: `clock` time of the set-point, s; tolerance: in the reading's unit;
    slowest: the longest time constant, s, that the device has by design; least: time since the set-point, s, before
    which nothing is decided, and for half of which nothing is read: an answer that goes through an extremum on its way
    stands still there, and is none.

    The window is the later half of the time since the set-point. With D the difference of the means of its two halves
    and s its standard error, the remaining drift is taken to be at most 1.2 (|D| + z s). For an exponential of time
    constant tau watched for a time t, remaining/D = 1/(exp(3t/8tau) - exp(t/8tau)): 1.2 at t = 2 tau and less after.
    What is slower than half the time waited is seen by its D = t/4tau of what remains, and overlooked where that is
    below the tolerance: so nothing is decided before 2 `slowest`, and an overflow may pass until then.
    """
    z = NormalDist().inv_cdf(0.5 + confidence / 2.0)
    if least > 0.0:
        clock.sleep(max(0.0, since + 0.5 * least - clock.now()))
    times: list[float] = []
    values: list[float] = []
    while True:
        reading = read()
        elapsed = clock.now() - since
        ripe = elapsed >= max(WAIT * slowest, least)
        if reading.flag == "ok":
            times.append(elapsed)
            values.append(reading.value)
        elif ripe or elapsed >= timeout:
            return Settled(False, elapsed, reading.flag)
        else:
            times, values = [], []
            clock.sleep(max(WAIT * slowest, least) / 32.0)  # what fails at once takes no time by itself
        window = np.array(values[bisect_right(times, elapsed / 2.0) :])
        if len(window) >= LEAST:
            half = len(window) // 2
            drift = abs(float(window[-half:].mean() - window[:half].mean()))
            error = z * noise.sigma(window) * math.sqrt(2.0 / half)
            if ripe and EXTRAPOLATION * (drift + error) <= tolerance:
                noise.learn(window)
                return Settled(True, elapsed, "ok")
            if EXTRAPOLATION * error < tolerance / 4.0:
                clock.sleep(elapsed / 64.0)  # noise is no matter: a slow relaxation needs no denser readings
        if elapsed >= timeout:
            return Settled(False, elapsed, "ok")
        if elapsed < least:
            clock.sleep(elapsed / 32.0)  # nothing hangs on these yet: some ten are enough
