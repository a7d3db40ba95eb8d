"""The Bench: one simulated world that all its instruments share, with its own clock and its own log.

Every volt that an instrument puts out arrives here, moves the potentials of the sample, and is written down with
its time; every reading comes from here. The log judges the code under test: it knows nothing of Guard.
Bench time is virtual: readings take their reading time, and `wait` lets time pass, at no wall time.
"""

from __future__ import annotations

import heapq
import itertools
import math
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labthermo import plugins
from labthermo.config import StationConfig
from labthermo.faults import (
    ComplianceFault,
    LeakFault,
    OverflowFault,
    SampleFault,
    StuckFault,
    SwappedFault,
    read_fault,
)
from simulators.disturbances import Disturbance, disturbance
from simulators.faults import Chance, FaultyInstrument, inject
from simulators.flow_bench import FlowBench
from simulators.hidden_truth import HiddenTruth
from simulators.network import Network
from simulators.network_file import read_network
from simulators.sample import Chain, Sample, build_sample, temperatures_of
from simulators.wire.control import ControlPort
from simulators.wire.keithley2400 import Keithley2400Personality
from simulators.wire.keithley2450 import Keithley2450Personality
from simulators.wire.keithley2600 import make_2614b, make_2636b
from simulators.wire.keysight34465a import Keysight34465APersonality
from simulators.wire.lakeshore336 import LakeShore336Personality
from simulators.wire.ne1000 import Ne1000Personality
from simulators.wire.qdac2 import Qdac2Personality
from simulators.wire.server import Servers
from simulators.wire.spectramax import SpectraMaxPersonality
from simulators.wire.world import Imperfections, LogEntry, World
from simulators.wire.yokogawa_gs200 import YokogawaGs200Personality

Floats = NDArray[np.float64]

PERSONALITIES: dict[str, Callable[[str, World], Any]] = {
    "qdac2": Qdac2Personality,
    "keysight34465a": Keysight34465APersonality,
    "keithley2450": Keithley2450Personality,
    "keithley2614b": make_2614b,
    "keithley2636b": make_2636b,
    "keithley2400": Keithley2400Personality,
    "gs200": YokogawaGs200Personality,
    "lakeshore336": LakeShore336Personality,
    "ne1000": Ne1000Personality,
    "spectramax": SpectraMaxPersonality,
}


def personality_names() -> list[str]:
    """Drivers that have a simulated instrument: ours, and those of other packages (``labthermo.personalities``)."""
    return [*PERSONALITIES, *plugins.names("labthermo.personalities")]


def find_personality(driver: str) -> Any:
    """What makes the simulated instrument of a driver, from its name and the world; None if there is none."""
    if driver in PERSONALITIES or driver not in plugins.names("labthermo.personalities"):
        return PERSONALITIES.get(driver)
    return plugins.load("labthermo.personalities", driver)


CONTROL = "control port"  # no instrument has a space in its name
BEYOND = 1e30  # V or A: more than any range holds
CABLE_CAPACITANCE = 100e-12  # F, of a lead whose source is disconnected or limiting


@dataclass(frozen=True)
class _Line:
    """What is behind a source's connector."""

    channel: str
    kind: str  # "knob", "input" or "lead"
    at: str  # the network's knob or terminal
    scale: float  # device volts per instrument volt, the true one
    offset: float  # device volts
    nominal: float  # device volts per instrument volt, as the station file has it


@dataclass
class _Tap:
    """What is before a voltmeter's connector: a node, an amplifier and its filter."""

    at: str
    scale: float
    offset: float
    noise: float
    time_constant: float
    overload: float
    filtered: float = 0.0


class Bench:
    """The simulated world of a station; a :class:`simulators.wire.world.World` for its instruments.

    Not thread-safe: touch it on the servers' loop (:meth:`simulators.wire.server.Servers.call`).
    """

    def __init__(self, config: StationConfig, control: bool = False, real_time: bool = False) -> None:
        simulation = config.simulation
        if simulation.hidden.charge_jumps:
            raise config.error(
                ("simulation", "hidden", "charge_jumps"),
                "come with a query's number, which a bench does not know; use --backend model, or a fault of the kind "
                "jump on a gate",
            )
        self._started = time.monotonic() if real_time else None
        self.imperfections = Imperfections(
            noise=not simulation.noiseless, offsets=simulation.offsets, quantisation=simulation.quantisation
        )
        self.log: list[LogEntry] = []
        self._seed = simulation.seed
        self._streams: dict[str, np.random.Generator] = {}
        self._sample: Sample = build_sample(config, control)
        self._truth = HiddenTruth(self._sample, config, control).network()
        self._time = 0.0
        self.temperatures = temperatures_of(config)
        sign = self._sample.sign
        errors = self.random("wiring")
        self._sources: dict[str, _Line] = {}
        device = config.device
        wanted = 1.0 if simulation.offsets else 0.0
        for name, section in device.knobs.items():
            scale = section.via.scale
            self._sources[section.of.port] = _Line(name, "knob", name, scale, section.via.offset, scale)
        for name, section in device.inputs.items():
            nominal = section.via.scale * sign
            divided = section.via.divider != 1.0
            gain = 1.0 + wanted * divided * Chain.INPUT_GAIN * float(errors.standard_normal())
            offset = section.via.offset * sign
            self._sources[section.of.port] = _Line(name, "input", section.at, nominal * gain, offset, nominal)
        self._taps: dict[str, _Tap] = {}
        for name, section in (*device.outputs.items(), *device.nodes.items()):
            via = section.via
            if section.of.quantity == "current":
                self._sources[section.of.port] = _Line(name, "lead", section.at, sign, 0.0, sign)
                continue
            amplified = via.scale != 1.0
            gain = 1.0 + wanted * amplified * Chain.VOLTAGE_GAIN * float(errors.standard_normal())
            offset = via.offset + wanted * amplified * Chain.VOLTAGE_OFFSET * float(errors.standard_normal())
            self._taps[section.of.port] = _Tap(
                at=section.at,
                scale=via.scale * gain * sign,
                offset=offset * sign,
                noise=simulation.noise_of(name) if self.imperfections.noise else 0.0,
                time_constant=1.0 / (2.0 * math.pi * via.bandwidth) if via.bandwidth else 0.0,
                overload=via.overload or math.inf,
            )
        self._volts = dict.fromkeys(self._sources, 0.0)  # actual, at the connector
        self._connected = {port: line.kind != "lead" for port, line in self._sources.items()}
        self._limits = dict.fromkeys(self._sources, math.inf)
        self._limiting: dict[str, float] = {}
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._ports = {
            name: section.of.port
            for name, section in (*device.inputs.items(), *device.knobs.items(), *device.outputs.items(),
                                  *device.nodes.items())
        }  # fmt: skip
        self._disturbances: dict[str, list[tuple[SampleFault, Disturbance]]] = {}
        self._seen: dict[str, float] = {}  # at the sample, where something disturbs it
        self._stuck: set[str] = set()
        self._leaks: dict[str, float] = {}
        self._beyond: dict[str, float] = {}
        self._caps: dict[str, float] = {}
        self._networks: dict[frozenset[str], Network] = {}
        self._u = dict.fromkeys((*self._sample.network.reservoirs, *self._sample.network.terminals), 0.0)
        self._at_rest = False
        for tap in self._taps.values():
            tap.filtered = (self._u[tap.at] + tap.offset) * tap.scale
        self._compile()

    # what instruments ask

    def now(self) -> float:
        return self._time

    def wait(self, duration: float) -> None:
        if duration > 0:
            self._advance(duration)

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

    def drive(self, port: str, programmed: float, actual: float) -> None:
        line = self._sources.get(port)
        at_sample = programmed if line is None else programmed * line.nominal + line.offset
        if port in self._stuck:
            actual = self._volts[port]
        self._note(port, "voltage", programmed, actual, at_sample)
        if line is not None and self._volts[port] != actual:
            self._volts[port] = actual
            self._at_rest = False

    def connect(self, port: str, on: bool) -> None:
        self._note(port, "connected", float(on), float(on), float(on))
        if port in self._sources and self._connected[port] != on:
            self._connected[port] = on
            self._limiting.pop(port, None)
            self._at_rest = False

    def limit_current(self, port: str, limit: float) -> None:
        self._note(port, "limit", limit, limit, limit)
        if port in self._sources:
            self._limits[port] = limit
            self._limiting.pop(port, None)
            self._at_rest = False

    def measure_voltage(self, port: str, aperture: float) -> float:
        tap = self._taps.get(port)
        means = self._advance(aperture)
        if port in self._beyond:
            return self._beyond[port]
        if port in self._sources:
            return self._voltage_at(port)
        if tap is None:
            return 0.0  # nothing is plugged in
        noise = tap.noise / math.sqrt(2.0 * aperture) * self.random(f"{port}.noise").standard_normal()
        volts = means[port] + noise * tap.scale
        return min(max(volts, -tap.overload), tap.overload)

    def _voltage_at(self, port: str) -> float:
        """What a source sees at its own connector, V: what it gives, or what the sample is at where it lets go."""
        line = self._sources[port]
        if line.kind == "knob" or (self._connected[port] and port not in self._limiting):
            return self._volts[port]
        return (self._u[line.at] - line.offset) / line.scale

    def measure_current(self, port: str, aperture: float) -> tuple[float, bool]:
        self._advance(aperture)
        line = self._sources.get(port)
        if line is None or line.kind != "lead" or not self._connected[port]:
            return self._leaks.get(port, 0.0), False
        if port in self._beyond:
            return self._beyond[port], False
        if port in self._limiting:
            return self._limiting[port] * self._sample.sign, True
        return self._lead_current(line.at) * self._sample.sign, False

    def pump(self, port: str, programmed: float, actual: float, lasts: float) -> None:
        self._note(port, "flow", programmed, actual, programmed)  # nothing here is fed by a pump

    def temperature(self, port: str) -> float:
        return self.temperatures.get(port, 0.0)  # 0: no sensor is plugged in

    def absorbance(self, port: str, wavelength: float) -> float:
        return 0.0  # nothing is in the light

    def truth(self) -> dict[str, float]:
        """What perfect instruments would read with the sources as they are, once the sample is at rest, by channel.

        Potentials (V) and currents of leads (A) in the device's own sign, for a judge; no time passes.
        """
        network, clamps, knobs, injected, start, free = self._world()
        state = network.steady_state(clamps, knobs, start, injected)
        return {
            r.name: float(
                -network.terminal_currents(state, r.at)[0]
                if r.weights is None
                else state.potentials[0, free.index(r.at)]
            )
            for r in self._sample.readings
        }

    # what goes wrong

    def schedule(self, delay: float, action: Callable[[], None]) -> None:
        """Do `action` when `delay` s of bench time have passed; now, if that is 0."""
        if delay > 0:
            heapq.heappush(self._agenda, (self._time + delay, next(self._order), action))
        else:
            action()

    def instrument_of(self, channel: str) -> str:
        """The instrument of a device channel. KeyError: there is no such channel."""
        return self._ports[channel].partition(".")[0]

    def begin(self, fault: SampleFault) -> None:
        """A fault of the sample or its wiring begins."""
        port = self._ports[fault.on]
        self._at_rest = False
        match fault:
            case StuckFault():
                self._stuck.add(port)
            case SwappedFault():
                self._swap(port, self._ports[fault.other])
            case LeakFault():
                self._leaks[port] = fault.current
            case OverflowFault():
                self._beyond[port] = -BEYOND if fault.sign == "-" else BEYOND
            case ComplianceFault():
                self._caps[port] = fault.limit
            case _:
                line = self._sources.get(port)
                here = 0.0 if line is None else self._at_sample(port, line)
                self._disturbances.setdefault(port, []).append(
                    (fault, disturbance(fault, here, self._time, self.random))
                )

    def end(self, fault: SampleFault) -> None:
        """A fault is over: what was stuck follows with its next move, a charge jumps back."""
        port = self._ports[fault.on]
        self._at_rest = False
        self._stuck.discard(port)
        self._leaks.pop(port, None)
        self._beyond.pop(port, None)
        self._caps.pop(port, None)
        if isinstance(fault, SwappedFault):
            self._swap(port, self._ports[fault.other])
        if port in self._disturbances:
            self._disturbances[port] = [each for each in self._disturbances[port] if each[0] is not fault]

    def _swap(self, one: str, other: str) -> None:
        """Exchange what is behind two connectors."""
        self._sources[one], self._sources[other] = self._sources[other], self._sources[one]

    def _disturbed(self, port: str, volts: float) -> float:
        """What the sample has (or shows) in place of `volts`."""
        for _, change in self._disturbances.get(port, ()):
            volts = change(volts, self._time)
        return volts

    def _at_sample(self, port: str, line: _Line) -> float:
        """What a source gives the sample."""
        return self._disturbed(port, self._volts[port] * line.scale + line.offset)

    def _look_for_changes(self) -> None:
        """Whether a disturbance has moved something since time last passed."""
        for port in self._disturbances:
            if (line := self._sources.get(port)) is not None:
                volts = self._at_sample(port, line)
                self._at_rest = self._at_rest and self._seen.get(port) == volts
                self._seen[port] = volts

    # the physics behind

    def _compile(self) -> None:
        """Compile (or load) the kernels now: an instrument that compiles at its first query runs into a timeout."""
        clamps = np.zeros((1, len(self._truth.terminals)))
        self._truth.currents(self._truth.steady_state(clamps))
        self._truth.relax(clamps, [1e-9])

    def _note(self, port: str, quantity: str, programmed: float, actual: float, at_sample: float) -> None:
        line = self._sources.get(port)
        channel = line.channel if line else ""
        self.log.append(LogEntry(self._time, port, channel, quantity, programmed, actual, at_sample))

    def _clamped_volts(self) -> dict[str, float]:
        """Potentials of all terminals that a source holds."""
        held = {}
        for port, line in self._sources.items():
            if line.kind != "knob" and self._connected[port] and port not in self._limiting:
                held[line.at] = self._at_sample(port, line)
        return held

    def _world(self) -> tuple[Network, Floats, Floats, Floats, Floats, list[str]]:
        """The network as things stand, with its clamps, knobs, injected currents, start, and free nodes."""
        sample = self._sample
        off = {
            line.at
            for port, line in self._sources.items()
            if line.kind != "knob" and (not self._connected[port] or port in self._limiting)
        }
        key = frozenset(off)
        if key not in self._networks:
            self._networks[key] = _floating(self._truth, [t for t in self._truth.terminals if t in off])
        network = self._networks[key]
        held = self._clamped_volts()
        free = list(network.reservoirs)
        clamps = np.array([[held.get(name, 0.0) for name in network.terminals]])
        knobs = np.zeros(len(network.knobs))
        for port, line in self._sources.items():
            if line.kind == "knob":
                knobs[network.knobs.index(line.at)] = self._at_sample(port, line)
        injected = np.zeros(len(free))
        injected[: len(sample.injected)] = sample.injected
        for port, current in self._limiting.items():
            injected[free.index(self._sources[port].at)] += current
        start = np.array([self._u[name] for name in free])
        for name, volts in zip(network.terminals, clamps[0], strict=True):
            self._u[name] = float(volts)
        return network, clamps, knobs, injected, start, free

    def _lead_current(self, terminal: str) -> float:
        """Current out of a held lead at the present potentials, A, in the carriers' sign."""
        network, clamps, knobs, injected, start, _ = self._world()
        state = network.steady_state(clamps, knobs, start, injected)
        return float(network.terminal_currents(state, terminal)[0])

    def _advance(self, duration: float) -> dict[str, float]:
        """Let time pass, with what is planned for it; the mean voltage at every voltmeter's connector meanwhile."""
        end = self._time + duration
        if not self._agenda or self._agenda[0][0] > end:
            return self._let_pass(duration)
        means = dict.fromkeys(self._taps, 0.0)
        while True:
            planned = bool(self._agenda) and self._agenda[0][0] <= end
            part = (self._agenda[0][0] if planned else end) - self._time
            if part > 0:
                for port, mean in self._let_pass(part).items():
                    means[port] += mean * part / duration
            if not planned:
                return means
            heapq.heappop(self._agenda)[2]()

    def _let_pass(self, duration: float) -> dict[str, float]:
        if self._disturbances:
            self._look_for_changes()
        if not self._at_rest:
            self._choose_limits()
        means = dict.fromkeys(self._taps, 0.0)
        if self._at_rest:
            self._filter(duration, self._u, duration, means)
        else:
            network, clamps, knobs, injected, start, free = self._world()
            times = duration * np.concatenate([[0.0], 2.0 ** np.arange(-12.0, 1.0)])
            path = network.relax(clamps, times, knobs, start, injected, tolerance=1e-4)[0]
            for step in range(1, len(times)):
                middle = 0.5 * (path[step - 1] + path[step])
                during = dict(zip(free, middle, strict=True))
                self._filter(times[step] - times[step - 1], during, duration, means)
            end = network.steady_state(clamps, knobs, path[-1], injected)
            near = np.all(np.abs(end.potentials[0] - path[-1]) < 1e-8)
            self._at_rest = bool(near and end.verdict[0] == "settled")
            final = end.potentials[0] if self._at_rest else path[-1]
            self._u.update(zip(free, map(float, final), strict=True))
        self._time += duration
        return means

    def _filter(self, step: float, during: dict[str, float], total: float, means: dict[str, float]) -> None:
        """Every amplifier's low pass over a step with constant input; adds to the means over `total`."""
        for port, tap in self._taps.items():
            target = self._disturbed(port, during[tap.at] + tap.offset) * tap.scale
            if tap.time_constant == 0.0:
                tap.filtered = target
                means[port] += target * step / total
                continue
            decay = math.exp(-step / tap.time_constant)
            away = tap.filtered - target
            means[port] += (target * step + away * tap.time_constant * (1.0 - decay)) / total
            tap.filtered = target + away * decay

    def _choose_limits(self) -> None:
        """Let a source limit its current where holding its voltage would take more than it may give."""
        for port, line in self._sources.items():
            limit = min(self._limits[port], self._caps.get(port, math.inf))
            if line.kind != "lead" or not self._connected[port] or math.isinf(limit):
                continue
            self._limiting.pop(port, None)
            current = self._lead_current(line.at)
            if abs(current) > limit:
                self._limiting[port] = math.copysign(limit, current)


def _floating(network: Network, terminals: list[str]) -> Network:
    """The same network with some terminals free, on the capacitance of their cable."""
    if not terminals:
        return network
    reservoirs = {**network.reservoirs, **dict.fromkeys(terminals, CABLE_CAPACITANCE)}
    rest = [name for name in network.terminals if name not in terminals]
    rebuilt = Network(reservoirs, rest, network.processes, network.knobs)
    return rebuilt.with_values(network.base, network.weights)


class WireTwin:
    """A running bench: its servers, its addresses, and a clock that waits in bench time."""

    def __init__(self, bench: Bench | FlowBench, instruments: dict[str, FaultyInstrument]) -> None:
        self.bench = bench
        self._instruments = instruments
        port = ControlPort(bench, instruments, lambda: self.addresses)
        self._servers = Servers({**instruments, CONTROL: port})
        self._servers.start()

    @property
    def addresses(self) -> dict[str, str]:
        """Instrument name -> VISA resource on loopback."""
        return {name: address for name, address in self._servers.addresses.items() if name != CONTROL}

    @property
    def control(self) -> str:
        """HOST:PORT of the control port (:mod:`simulators.wire.control`)."""
        return ":".join(self._servers.addresses[CONTROL].split("::")[1:3])

    def now(self) -> float:
        """Bench time, s."""
        return self._servers.call(self.bench.now)

    def sleep(self, duration: float) -> None:
        """Let bench time pass, s."""
        self._servers.call(lambda: self.bench.wait(duration))

    def read_log(self) -> list[LogEntry]:
        """The Bench's own log so far, a copy."""
        return self._servers.call(lambda: list(self.bench.log))

    def messages(self) -> int:
        """How many messages all instruments have been sent so far."""
        return self._servers.call(lambda: sum(each.messages for each in self._instruments.values()))

    def inject(self, on: str, kind: str, **detail: Any) -> None:
        """Inject a fault on an instrument or a channel; `detail` are the keys of :mod:`labthermo.faults`.

        Raises
        ------
        ValueError: it does not exist, or cannot be had there.
        """
        fault = read_fault({"on": on, "kind": kind, **detail})
        self._servers.call(lambda: inject(fault, self._instruments, self.bench))

    def risk(self, instrument: str, chance: Chance) -> None:
        """Let every reply of an instrument go wrong by chance; see :class:`simulators.faults.Chance`."""
        self._servers.call(lambda: self._instruments[instrument].risk(chance))

    def close(self) -> None:
        """Stop serving. Closing twice does nothing."""
        self._servers.stop()


def build_wire_twin(config: StationConfig, control: bool = False, real_time: bool = False) -> WireTwin:
    """Start the wire twin of a station in this process. control: its NDC-off sample. real_time: readings and ramps
    take their time on the wall, too.

    Raises
    ------
    StationFileError: a driver that has no simulated instrument.
    """
    fluids = read_network(config.device_file).carriers == "molecules"
    bench = FlowBench(config, control, real_time) if fluids else Bench(config, control, real_time)
    instruments = {}
    for name, section in config.instruments.items():
        make = find_personality(section.driver)
        if make is None:
            what = f"{section.driver!r} has no simulated instrument; there are {', '.join(personality_names())}"
            raise config.error(("instruments", name, "driver"), what)
        personality = make(name, bench)
        if isinstance(personality, Ne1000Personality):
            size = float(section.options.get("syringe_volume") or math.inf)
            personality.install(size, valves=bool(section.options.get("refill_rate")))
        instruments[name] = FaultyInstrument(personality, bench, bench.random(f"{name}.faults"))
    for index, fault in enumerate(config.simulation.faults):
        try:
            inject(fault, instruments, bench)
        except ValueError as error:
            raise config.error(("simulation", "faults", index, "kind"), str(error)) from None
    return WireTwin(bench, instruments)
