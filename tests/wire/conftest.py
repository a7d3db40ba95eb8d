"""A small world for the instruments: every port is a resistor to ground that its own source drives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
import pytest

from simulators.wire.keithley2400 import Keithley2400Personality
from simulators.wire.keithley2450 import Keithley2450Personality
from simulators.wire.keithley2600 import make_2614b, make_2636b
from simulators.wire.keysight34465a import Keysight34465APersonality
from simulators.wire.lakeshore336 import LakeShore336Personality
from simulators.wire.qdac2 import Qdac2Personality
from simulators.wire.server import Servers
from simulators.wire.world import Imperfections
from simulators.wire.yokogawa_gs200 import YokogawaGs200Personality

PERFECT = Imperfections(noise=False, offsets=False, quantisation=False)


@dataclass
class ResistorWorld:
    """Sources drive resistors; a meter port shows what the test puts at it. Everything is logged."""

    imperfections: Imperfections = PERFECT
    seed: int = 1
    time: float = 0.0
    voltages: dict[str, float] = field(default_factory=dict)
    connected: dict[str, bool] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    conductance: dict[str, float] = field(default_factory=dict)
    flows: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    absorbances: dict[str, float] = field(default_factory=dict)
    temperatures: dict[str, float] = field(default_factory=dict)
    log: list[tuple[float, str, str, float]] = field(default_factory=list)
    generators: dict[str, np.random.Generator] = field(default_factory=dict)

    def now(self) -> float:
        return self.time

    def wait(self, duration: float) -> None:
        assert duration >= 0
        self.time += duration

    def random(self, stream: str) -> np.random.Generator:
        if stream not in self.generators:
            self.generators[stream] = np.random.default_rng([self.seed, *stream.encode()])
        return self.generators[stream]

    def drive(self, port: str, programmed: float, actual: float) -> None:
        self.voltages[port] = actual
        self.log.append((self.time, "drive", port, actual))

    def connect(self, port: str, on: bool) -> None:
        self.connected[port] = on
        self.log.append((self.time, "connect", port, float(on)))

    def limit_current(self, port: str, limit: float) -> None:
        self.limits[port] = limit
        self.log.append((self.time, "limit", port, limit))

    def measure_voltage(self, port: str, aperture: float) -> float:
        self.wait(aperture)
        voltage, conductance = self.voltages.get(port, 0.0), self.conductance.get(port, 0.0)
        if not self.connected.get(port, True):
            return 0.0
        if abs(voltage) * conductance > (limit := self.limits.get(port, np.inf)):
            return float(np.copysign(limit / conductance, voltage))
        return voltage

    def measure_current(self, port: str, aperture: float) -> tuple[float, bool]:
        self.wait(aperture)
        if not self.connected.get(port, False):
            return 0.0, False
        current = self.voltages.get(port, 0.0) * self.conductance.get(port, 0.0)
        limit = self.limits.get(port, np.inf)
        return float(np.clip(current, -limit, limit)), abs(current) > limit

    def pump(self, port: str, programmed: float, actual: float, lasts: float) -> None:
        self.flows[port] = (programmed, actual, lasts)
        self.log.append((self.time, "pump", port, actual))

    def temperature(self, port: str) -> float:
        return self.temperatures.get(port, 0.0)

    def absorbance(self, port: str, wavelength: float) -> float:
        return self.absorbances.get(port, 0.0)

    def driven(self, port: str) -> list[float]:
        """Every voltage that `port` saw, in order."""
        return [value for _, kind, where, value in self.log if kind == "drive" and where == port]


@dataclass
class Bench:
    """The instruments on their servers, about one world."""

    world: ResistorWorld
    servers: Servers
    personalities: dict[str, object]

    @property
    def addresses(self) -> dict[str, str]:
        return self.servers.addresses


@pytest.fixture
def make_bench() -> Iterator[Callable[..., Bench]]:
    with ExitStack() as stack:

        def make(imperfections: Imperfections = PERFECT, seed: int = 1) -> Bench:
            world = ResistorWorld(imperfections=imperfections, seed=seed)
            personalities = {
                "gates": Qdac2Personality("gates", world),
                "dmm": Keysight34465APersonality("dmm", world),
                "drain": Keithley2450Personality("drain", world),
                "pair": make_2614b("pair", world),
                "fine": make_2636b("fine", world),
                "smu": Keithley2400Personality("smu", world),
                "cryo": LakeShore336Personality("cryo", world),
                "bias": YokogawaGs200Personality("bias", world),
            }
            return Bench(world, stack.enter_context(Servers(personalities)), personalities)

        yield make


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    return make_bench()
