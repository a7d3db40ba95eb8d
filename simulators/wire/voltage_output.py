"""The output of a source meter that sources volts: level, range, relay, off state and the current limit in force."""

from __future__ import annotations

from simulators.wire.metrology import Ranges
from simulators.wire.world import World

RELAY_TIME = 15e-3  # s, 2400 user's manual p. 13-9, 2450 reference manual p. 2-82
SETTLING = 200e-6  # s
DISCONNECTED = ("HIMP", "GUAR")  # a guard is a source of 0 A: as good as open


class VoltageOutput:
    """What stands between a personality and the world; it remembers, and tells the world of each change.

    `level` (V) is programmed and stays so while the output is off; `index` is the range, `auto` whether it follows.
    """

    def __init__(self, port: str, ranges: Ranges, world: World, *, overrange: float, overshoot: float) -> None:
        """overrange: full scales that a range reaches. overshoot: V, at most, when the range changes while on."""
        self._port = port
        self._world = world
        self._overshoot = overshoot
        self._shocks = world.random(f"{port.partition('.')[0]}.overshoot")
        self._overrange = overrange
        self.ranges = ranges
        self.level, self.index, self.auto = 0.0, 0, True
        self.on, self.off_state = False, "NORM"

    def reset(self, index: int) -> None:
        """Go to 0 V on range `index`, ranging by itself, and off in the normal way; then call :meth:`switch_off`."""
        self.level, self.index, self.auto = 0.0, index, True
        self.on, self.off_state = False, "NORM"

    def highest(self) -> float:
        """The highest voltage that may be programmed now, V."""
        return self.ranges[len(self.ranges) - 1 if self.auto else self.index].full_scale * self._overrange

    def switch_on(self, limit: float) -> None:
        """Close the relay at the programmed level, with a current limit (A)."""
        if self.on:
            return
        self.on = True
        self._world.limit_current(self._port, limit)
        self._drive()
        self._world.connect(self._port, True)
        if self.off_state in DISCONNECTED:
            self._world.wait(RELAY_TIME)

    def switch_off(self, limit: float) -> None:
        """Go to the off state: disconnected, or held at 0 V with this current limit (A)."""
        self.on = False
        if self.off_state in DISCONNECTED:
            self._world.connect(self._port, False)
            return
        self._world.limit_current(self._port, limit)
        self._world.drive(self._port, 0.0, 0.0)
        self._world.connect(self._port, True)

    def limit(self, current: float) -> None:
        """Limit the current (A) from now on, if the output is on."""
        if self.on:
            self._world.limit_current(self._port, current)

    def go_to(self, level: float) -> None:
        """Program a level (V) that fits into :meth:`highest`."""
        if self.auto:
            index = self.ranges.holding(level, overrange=self._overrange)
            assert index is not None
            self.change_range(index)
        self.level = level
        if self.on:
            self._drive()

    def change_range(self, index: int) -> None:
        """Change the range; with the output on the terminals see an overshoot."""
        if index == self.index:
            return
        self.index = index
        if self.on:
            shock = self._overshoot * self._shocks.uniform(0.2, 1.0) * self._shocks.choice((-1.0, 1.0))
            self._world.drive(self._port, self.level, self.level + shock)
            self._world.wait(SETTLING)
            self._drive()

    def actual(self) -> float:
        """What the level really is, with this range's errors, V."""
        return self.ranges.distort(self.level, self.index)

    def _drive(self) -> None:
        self._world.drive(self._port, self.level, self.actual())
