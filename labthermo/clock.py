"""Time, real or virtual: whoever waits asks a Clock, so a ten-hour assay can be rehearsed in seconds."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """`now()` in seconds since an arbitrary start, `sleep()` in seconds."""

    def now(self) -> float: ...

    def sleep(self, duration: float) -> None: ...


class RealClock:
    """The machine's monotonic clock."""

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, duration: float) -> None:
        time.sleep(max(0.0, duration))


class VirtualClock:
    """A clock that moves only when told: sleeping takes no wall time."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        return self._now

    def sleep(self, duration: float) -> None:
        self._now += max(0.0, duration)
