"""When is a reading settled: evidence from the readings themselves, at a stated confidence."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from labthermo.clock import Clock
from labthermo.instrument import Reading

EXTRAPOLATION = 1.2  # remaining drift per change over the window, see settle()
LEAST = 4  # readings in the window


class NoiseEstimate:
    """Standard deviation of one reading, pooled over all windows seen so far, never below what the meter adds."""

    def __init__(self, floor: float) -> None:
        self._floor = floor
        self._sum, self._freedom = 0.0, 0

    def learn(self, window: np.ndarray) -> None:
        """Add the scatter of a settled window of readings about its own line."""
        n = len(window)
        if n >= LEAST:
            line = np.polynomial.Polynomial.fit(np.arange(n), window, 1)
            self._sum += float(np.sum((window - line(np.arange(n))) ** 2))
            self._freedom += n - 2

    def sigma(self, window: np.ndarray) -> float:
        """From all that was learnt and the present window's differences, which a slow drift does not inflate."""
        differences = np.diff(window)
        total = self._sum + 0.5 * float(np.sum(differences**2))
        freedom = self._freedom + len(differences)
        return max(self._floor, math.sqrt(total / freedom) if freedom else 0.0)


@dataclass(frozen=True)
class Settled:
    """settled: whether the evidence suffices; time: s from the set-point to the decision; flag: of the last reading."""

    settled: bool
    time: float
    flag: str


def settle(
    read: Callable[[], Reading],
    clock: Clock,
    since: float,
    noise: NoiseEstimate,
    tolerance: float,
    confidence: float,
    timeout: float,
) -> Settled:
    """Read until the extrapolated remaining drift is below `tolerance` with `confidence`, or until `timeout`.

    read: takes one short reading; since: `clock` time of the set-point, s; tolerance: in the reading's unit.

    The window is the later half of the time since the set-point. With D the difference of the means of its two halves
    and s its standard error, the remaining drift is taken to be at most 1.2 (|D| + z s). For an exponential of time
    constant tau watched for a time t, remaining/D = 1/(exp(3t/8tau) - exp(t/8tau)): 1.2 at t = 2 tau and less after.
    A relaxation slower than half the time waited is seen by its D, which shrinks with t only as t/4tau.
    """
    z = NormalDist().inv_cdf(0.5 + confidence / 2.0)
    times: list[float] = []
    values: list[float] = []
    while True:
        reading = read()
        now = clock.now()
        if reading.flag != "ok":
            return Settled(False, now - since, reading.flag)
        times.append(now - since)
        values.append(reading.value)
        window = np.array([v for t, v in zip(times, values, strict=True) if t > times[-1] / 2.0])
        if len(window) >= LEAST:
            half = len(window) // 2
            early, late = window[:half], window[-half:]
            error = noise.sigma(window) * math.sqrt(2.0 / half)
            drift = abs(float(late.mean() - early.mean()))
            if EXTRAPOLATION * (drift + z * error) <= tolerance:
                noise.learn(window)
                return Settled(True, now - since, "ok")
        if now - since >= timeout:
            return Settled(False, now - since, "ok")
