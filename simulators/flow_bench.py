"""The flow bench: stirred vessels fed by syringe pumps and read by a photometer, with its own clock and its own log.

The same for molecules as :class:`simulators.bench.Bench` is for charges. Every rate that a pump gives arrives here and
is written down with its time; concentrations follow the network's own relaxation; every absorbance comes from here.
With a dead volume or a mixing time, a photometer sees what left its vessel earlier (plug flow), and lags (first order).
A pump's rate is off by the noise of the station file, drawn anew every :data:`PULSE` s of bench time and whenever it is
set. A flow that ends by itself (an empty syringe) ends here at its time, whoever looks.
"""

from __future__ import annotations

import heapq
import itertools
import math
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labthermo.config import Light, StationConfig
from labthermo.faults import SampleFault
from simulators.hidden_truth import HiddenTruth
from simulators.sample import build_sample, temperatures_of
from simulators.wire.world import Imperfections, LogEntry

Floats = NDArray[np.float64]

PATH = 16  # steps in which a photometer that lags is followed
PULSE = 300.0  # s of bench time between two draws of the pumps' noise
BAND = 5e-9  # m: a photometer's light this far from the station's wavelength is of another colour


@dataclass
class _Feed:
    """A pump at work. at: the network's knob; programmed, actual: L/s; ends: bench time, s; noise: relative."""

    channel: str
    at: str
    actual: float = 0.0
    ends: float = math.inf
    noise: float = 0.0


@dataclass(frozen=True)
class _Tap:
    """Where a photometer looks: OD per mol/L of every node, and its light."""

    weights: Floats
    light: Light
    vessel: str = ""


@dataclass
class _Tube:
    """Between a vessel and its photometer. volumes, values: L that had left the vessel, and its OD then, ascending;
    seen: OD, what the photometer's cell shows."""

    volumes: list[float]
    values: list[float]
    seen: float = 0.0


class FlowBench:
    """The simulated world of a flow station; a :class:`simulators.wire.world.World` for its instruments.

    Not thread-safe: touch it on the servers' loop (:meth:`simulators.wire.server.Servers.call`).
    """

    def __init__(self, config: StationConfig, control: bool = False, real_time: bool = False) -> None:
        simulation = config.simulation
        noisy = not simulation.noiseless
        self.imperfections = Imperfections(
            noise=noisy, offsets=simulation.offsets, quantisation=simulation.quantisation
        )
        self.log: list[LogEntry] = []
        self._started = time.monotonic() if real_time else None
        self._seed = simulation.seed
        self._streams: dict[str, np.random.Generator] = {}
        self._flow_noise = simulation.flow_noise if noisy else 0.0
        self._time = 0.0
        self._plans: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = itertools.count()
        sample = build_sample(config, control)
        self._network = HiddenTruth(sample, config, control).network()
        device = config.device
        sections = {**device.inputs, **device.knobs}
        self._feeds = {
            section.of.port: _Feed(name, getattr(section, "at", "") or name) for name, section in sections.items()
        }
        self._taps = {
            section.of.port: _Tap(reading.weights, reading.light, reading.at)
            for reading, section in zip(sample.readings, device.outputs.values(), strict=False)
            if reading.light is not None and reading.weights is not None
        }
        liquids = simulation.liquids
        self._dead, self._mixing = liquids.dead_volume, liquids.mixing_time
        self._tubes = {port: _Tube([0.0], [0.0]) for port in self._taps} if self._dead or self._mixing else {}
        if unknown := liquids.decay.keys() - self._network.feeds.keys():
            there = ", ".join(self._network.feeds)
            raise config.error(
                ("simulation", "liquids", "decay", min(unknown)), f"is not in a syringe; there are {there}"
            )
        self._decay, self._fresh = dict(liquids.decay), dict(self._network.feeds)
        self._concentrations: Floats = np.zeros(len(self._network.reservoirs))
        self.temperatures = temperatures_of(config)
        self._clamps: Floats = np.zeros((1, len(self._network.terminals)))
        self._network.relax(self._clamps, [1.0], np.zeros(len(self._network.knobs)))  # compile, or load, now

    # what instruments ask

    def now(self) -> float:
        return self._time

    def wait(self, duration: float) -> None:
        end = self._time + duration
        while self._time < end:
            changing = self._flow_noise or self._decay
            pulse = (math.floor(self._time / PULSE) + 1) * PULSE if changing else math.inf
            planned = self._plans[0][0] if self._plans else math.inf
            until = min(end, pulse, planned, *(feed.ends for feed in self._feeds.values()))
            self._advance(max(until, self._time))
            if planned <= self._time:
                heapq.heappop(self._plans)[2]()
            for port, feed in self._feeds.items():
                if feed.ends <= self._time:
                    feed.actual, feed.ends = 0.0, math.inf
                    self._note(port, feed.channel, 0.0, 0.0)
            if self._time >= pulse:
                for port, feed in self._feeds.items():
                    feed.noise = self._draw(port)
                if self._decay:
                    left = {name: self._fresh[name] * math.exp(-k * self._time) for name, k in self._decay.items()}
                    self._network = self._network.with_feeds(left)

    def schedule(self, delay: float, action: Callable[[], None]) -> None:
        """Do `action` when `delay` s of bench time have passed; now, if that is 0."""
        if delay > 0:
            heapq.heappush(self._plans, (self._time + delay, next(self._serial), action))
        else:
            action()

    def instrument_of(self, channel: str) -> str:
        """A flow bench has no faults of the sample (KeyError), only those of its instruments and lines."""
        raise KeyError(channel)

    def begin(self, fault: SampleFault) -> None:
        raise KeyError(fault.on)

    def end(self, fault: SampleFault) -> None:
        raise KeyError(fault.on)

    def catch_up(self) -> None:
        """In real time: let the time pass that has passed outside since the last message."""
        if self._started is not None:
            self.wait(time.monotonic() - self._started - self._time)

    def ahead(self) -> float:
        """In real time: how long a reply must wait until its reading would be over, s."""
        return 0.0 if self._started is None else max(0.0, self._time - (time.monotonic() - self._started))

    def random(self, stream: str) -> np.random.Generator:
        if stream not in self._streams:
            self._streams[stream] = np.random.default_rng([self._seed, 3, zlib.crc32(stream.encode())])
        return self._streams[stream]

    def pump(self, port: str, programmed: float, actual: float, lasts: float) -> None:
        feed = self._feeds.get(port)
        self._note(port, feed.channel if feed else "", programmed, actual)
        if feed is not None:
            feed.actual, feed.ends = max(actual, 0.0), self._time + lasts  # a check valve: drawn from a bottle
            feed.noise = self._draw(port)

    def temperature(self, port: str) -> float:
        return self.temperatures.get(port, 0.0)  # 0: no sensor is plugged in

    def absorbance(self, port: str, wavelength: float) -> float:
        tap = self._taps.get(port)
        if tap is None:
            return math.nan  # nothing is there
        if abs(wavelength - tap.light.wavelength) > BAND:
            return tap.light.blank
        if port in self._tubes:
            return self._tubes[port].seen + tap.light.blank
        return float(self._concentrations @ tap.weights) + tap.light.blank

    def drive(self, port: str, programmed: float, actual: float) -> None:
        self.log.append(LogEntry(self._time, port, "", "voltage", programmed, actual, actual))

    def connect(self, port: str, on: bool) -> None:
        self.log.append(LogEntry(self._time, port, "", "connected", float(on), float(on), float(on)))

    def limit_current(self, port: str, limit: float) -> None:
        self.log.append(LogEntry(self._time, port, "", "limit", limit, limit, limit))

    def measure_voltage(self, port: str, aperture: float) -> float:
        self.wait(aperture)
        return 0.0  # no voltage is anywhere near

    def measure_current(self, port: str, aperture: float) -> tuple[float, bool]:
        self.wait(aperture)
        return 0.0, False

    # what is true

    def concentrations(self) -> dict[str, float]:
        """Concentration of every node now, mol/L."""
        return dict(zip(self._network.reservoirs, map(float, self._concentrations), strict=True))

    def _advance(self, until: float) -> None:
        duration = until - self._time
        if duration > 0.0:
            rates = np.zeros(len(self._network.knobs))
            for feed in self._feeds.values():
                rates[self._network.knobs.index(feed.at)] = feed.actual * (1.0 + feed.noise)
            start = self._concentrations
            times = np.linspace(0.0, duration, PATH + 1 if self._tubes else 2)
            path = self._network.relax(self._clamps, times, rates, start, tolerance=1e-4)
            self._concentrations = path[0, -1]
            if self._tubes:
                self._fill_tubes(times, path[0], rates)
        self._time = until

    def _fill_tubes(self, times: Floats, path: Floats, rates: Floats) -> None:
        """Let what overflows run through each tube to its photometer. times: (n,), s; path: (n, n_nodes)."""
        waste = self._network.overflow(rates)
        for port, tube in self._tubes.items():
            tap = self._taps[port]
            flow = waste.get(tap.vessel, 0.0)
            left = tube.volumes[-1] + flow * times
            true = path @ tap.weights
            if self._dead and flow > 0.0:
                tube.volumes += left[1:].tolist()
                tube.values += true[1:].tolist()
                arriving = np.interp(left - self._dead, tube.volumes, tube.values)
                keep = max(0, int(np.searchsorted(tube.volumes, left[-1] - self._dead)) - 1)
                del tube.volumes[:keep], tube.values[:keep]
            elif self._dead:
                arriving = np.full(len(times), float(np.interp(left[-1] - self._dead, tube.volumes, tube.values)))
            else:
                arriving = true
            for step, value in zip(np.diff(times), 0.5 * (arriving[1:] + arriving[:-1]), strict=True):
                tube.seen += (value - tube.seen) * (-math.expm1(-step / self._mixing) if self._mixing else 1.0)
            if not self._mixing:
                tube.seen = float(arriving[-1])

    def _draw(self, port: str) -> float:
        return self._flow_noise * float(self.random(f"{port}.flow").standard_normal()) if self._flow_noise else 0.0

    def _note(self, port: str, channel: str, programmed: float, actual: float) -> None:
        self.log.append(LogEntry(self._time, port, channel, "flow", programmed, actual, programmed))
