"""Instruments in memory, for what needs no wire: they write down what they are told and when."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from labthermo.clock import VirtualClock
from labthermo.errors import InstrumentError
from labthermo.instrument import Identity, Reading


@dataclass
class Paper:
    """A GateDac, Voltmeter and SourceMeter that is only a note of what happened: (time, what, channel, value)."""

    name: str
    clock: VirtualClock = field(default_factory=VirtualClock)
    step: float = 1e-6
    span: tuple[float, float] = (-10.0, 10.0)
    values: dict[str, float] = field(default_factory=dict)
    leaks: dict[str, float] = field(default_factory=dict)
    shown: Reading = field(default_factory=lambda: Reading(0.0))
    on: bool = False
    limit: float = 1e-4
    dies_after: float = float("inf")  # messages
    log: list[tuple[float, str, str, float]] = field(default_factory=list)
    identity: Identity = field(default_factory=lambda: Identity("Paper", "Note", "SIM-1", "0"))
    measured: frozenset[str] = frozenset()
    rebooted: bool = False
    incidents: deque[str] = field(default_factory=deque)

    def _note(self, what: str, channel: str = "", value: float = 0.0) -> None:
        self.dies_after -= 1
        if self.dies_after < 0:
            raise InstrumentError(f"{self.name}: dead")
        if what:
            self.log.append((self.clock.now(), what, channel, value))

    def close(self) -> None: ...

    def refuse_reboot(self) -> None: ...

    def source_channels(self) -> tuple[str, ...]:
        return tuple(self.values)

    def set_voltage(self, channel: str, voltage: float) -> None:
        self._note("set", channel, voltage)
        self.values[channel] = round(voltage / self.step) * self.step

    def voltage(self, channel: str) -> float:
        self._note("")
        return self.values[channel]

    def voltage_span(self, channel: str) -> tuple[float, float]:
        return self.span

    def voltage_resolution(self, channel: str) -> float:
        return self.step

    def measure_leakage(self, channel: str) -> Reading:
        return Reading(self.leaks.get(channel, 0.0))

    def prepare_current_range(self, current: float, channel: str = "output") -> None:
        self._note("range", "output", current)

    def set_compliance(self, current: float, channel: str = "output") -> None:
        self._note("limit", "output", current)
        self.limit = max(current, 1e-9)

    def compliance(self, channel: str = "output") -> float:
        return self.limit

    def output_on(self, channel: str = "output") -> None:
        self._note("on", "output")
        self.on = True

    def output_off(self, channel: str = "output") -> None:
        self._note("off", "output")
        self.on = False

    def output_is_on(self, channel: str = "output") -> bool:
        return self.on

    def measure_current(self, integration_time: float, channel: str = "output") -> Reading:
        return self.shown

    def current_noise(self, integration_time: float, channel: str = "output") -> float:
        return 1e-12

    def prepare_voltage_range(self, voltage: float) -> None:
        self._note("range", "input", voltage)

    def measure_voltage(self, integration_time: float) -> Reading:
        return self.shown

    def voltage_noise(self, integration_time: float) -> float:
        return 1e-3 * integration_time

    def sets(self, channel: str) -> list[float]:
        """Every value that a channel was set to, in order."""
        return [value for _, what, where, value in self.log if what == "set" and where == channel]


@pytest.fixture(scope="session")
def paper() -> Callable[..., Paper]:
    return Paper
