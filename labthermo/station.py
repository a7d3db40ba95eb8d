"""A station: the lab bench of one file; opens, checks, composes and closes everything."""

from __future__ import annotations

import logging
import math
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from labthermo import plugins
from labthermo.balance import BenchBalance, ask_operator
from labthermo.bench_device import BenchDevice
from labthermo.clock import Clock, RealClock, VirtualClock
from labthermo.config import Backend, StationConfig, load_station
from labthermo.device import Device
from labthermo.errors import BackendError, ParameterError, StationFileError
from labthermo.fluidics import refuse_refilled_transfers
from labthermo.instrument import Identity, Instrument
from labthermo.limits import device_channels
from labthermo.loopholes import find_loopholes
from labthermo.run import Run, new_run_id, run_folder
from labthermo.safety.guard import Guard
from labthermo.safety.signals import shielded, stop_on_signals
from labthermo.twin import Twin
from labthermo.wiring import LeadLine, ManualElement, connect, manual_elements
from labthermo.yaml_file import suggest

if TYPE_CHECKING:
    from labthermo.records.journal import Journal, Point
    from labthermo.records.owner import Ownership

log = logging.getLogger("labthermo.instruments")

HEARTBEAT = 1.0
"""Seconds, of the watchdog of a real bench."""
_imported: set[str] = set()  # by opening stations: what a watchdog loads beforehand


class Station:
    """The bench of a station file, on one backend.

    path: the station file, or one already loaded. backend: ``real``, ``wire`` or ``model``; None takes the file's.
    control: the NDC-off sample of the same design, for simulated backends only. bench: control address (``HOST:PORT``)
    of a bench that `labthermo bench` serves, for `wire` to attach to instead of making one in this process. confirmed:
    who or what says that the elements set by hand (`manual:` in the file) are set so; `real` does not open without.

    Use it as a context: leaving it parks the device and closes every instrument, whatever happened inside.

    Raises
    ------
    StationFileError: the file is wrong. InstrumentError: an instrument does not answer or is another one.
    BackendError: `real` met a simulated instrument, `wire` a real one, `control` was asked of `real`, or an element
    that is set by hand was not confirmed.
    OwnershipError: another process holds an instrument.
    """

    def __init__(
        self,
        path: str | Path | StationConfig,
        backend: Backend | None = None,
        *,
        control: bool = False,
        bench: str | None = None,
        confirmed: str = "",
    ) -> None:
        self.config = path if isinstance(path, StationConfig) else load_station(path)
        self.backend: Backend = backend or self.config.backend
        self.control = control
        if control and self.backend == "real":
            raise BackendError("the NDC-off control is another sample, which a real bench does not have")
        if bench is not None and self.backend != "wire":
            raise BackendError(f"a bench to attach to is for the backend wire, not for {self.backend}")
        if bench is not None and control:
            raise BackendError("a served bench has its own sample; give --control to `labthermo bench` instead")
        self.bench = bench
        self.manual = manual_elements(self.config)
        self.confirmed = confirmed
        self.rebooted: list[str] = []
        self._stack = ExitStack()
        self._device: Device | None = None
        self._clock: Clock = RealClock() if self.backend == "real" else VirtualClock()
        self.identities: dict[str, dict[str, str]] = {}
        self.world: Any = None

    @property
    def device(self) -> Device:
        """The device: guarded, but not recorded. Use :meth:`run` to record."""
        if self._device is None:
            raise BackendError("the station is not open; use it as `with Station(...) as station:`")
        return self._device

    @property
    def clock(self) -> Clock:
        """The time that this backend lives in, s."""
        return self._clock

    @property
    def simulated(self) -> bool:
        """True on every backend but `real`."""
        return self.backend != "real"

    def unconfirmed(self) -> tuple[ManualElement, ...]:
        """What is set by hand and still wants an operator's word; nothing on a simulated backend."""
        return () if self.simulated or self.confirmed else self.manual

    def require_confirmed(self) -> None:
        """Refuse to go on with boxes that nobody has looked at.

        Raises
        ------
        BackendError: it names them, and says what to do.
        """
        if missing := self.unconfirmed():
            listed = "; ".join(map(str, missing))
            raise BackendError(f"set by hand and not confirmed: {listed}; look at each, then give --confirmed")

    @contextmanager
    def by_hand(self) -> Iterator[BenchDevice]:
        """Open the instruments only: nothing is energised on the way in, nothing parked on the way out.

        Raises
        ------
        BackendError: the backend is `model`, which has no instruments.
        """
        if self.backend == "model":
            raise BackendError("the backend model has no instruments to read or move by hand; use wire or real")
        with self._stack:
            self._stack.enter_context(stop_on_signals())
            yield self._open_instruments()

    @contextmanager
    def instrument(self, name: str) -> Iterator[Instrument]:
        """Open one instrument alone and hold it meanwhile: to look at it, never to move it. For the doctor.

        Raises
        ------
        ParameterError: no such instrument. BackendError: the backend is `model`. OwnershipError, InstrumentError:
        somebody holds it, or it does not answer.
        """
        known = self.config.instruments
        if name not in known:
            raise ParameterError(f"no instrument {name!r}; {suggest(name, known)}")
        if self.backend == "model":
            raise BackendError("the backend model has no instruments; use wire or real")
        adapter = self._adapter(name, known[name].driver)
        with self._stack:
            address = self._locate()[name]
            self._stack.callback(hold(name, address).release)
            yield self._open_one(name, adapter, address)

    def addresses(self) -> list[str]:
        """Where this station's instruments are, without opening them; none for a bench that this process would make."""
        if self.bench is not None:
            with closing(_load("labthermo.simulators", "attach")(self.bench)) as world:
                return [world.addresses[name] for name in self.config.instruments if name in world.addresses]
        return [s.address for s in self.config.instruments.values()] if self.backend == "real" else []

    def read_settings(self) -> tuple[tuple[str, ...], dict[str, float]]:
        """Names of the inputs, and what every input and knob of the open bench reads back, V at the sample."""
        device = self.device
        names = tuple(c.name for c in device.channels if c.kind == "input")
        return names, device.guard.read() if isinstance(device, BenchDevice) else {}

    def open(self) -> Station:
        """Open everything; on failure what was opened is closed again.

        While it is open, SIGINT and SIGTERM raise :class:`labthermo.safety.signals.Stopped` (a KeyboardInterrupt)
        between two talks with instruments, never in the middle of one.
        """
        if self._device is not None:
            raise BackendError("the station is open already")
        self.require_confirmed()
        self._stack.enter_context(stop_on_signals())
        try:
            self._device = self._open_model() if self.backend == "model" else self._open_bench()
        except BaseException:
            self._stack.close()
            raise
        return self

    def close(self) -> None:
        """Park the device, disconnect, close every instrument. Closing twice does nothing."""
        self._device = None
        self._stack.close()

    def __enter__(self) -> Station:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._device = None
        self._stack.__exit__(kind, error, trace)  # so that an error in closing names the one before it as its context

    def loopholes(self) -> list[str]:
        """How an input could let a device without negative differential conductance pass; a sentence for each."""
        file = _load("labthermo.simulators", "device_file")(self.config.device_file)
        return find_loopholes(self.config, file.network)

    def twin(self) -> Twin:
        """A fresh differentiable twin of the device as designed."""
        return _load("labthermo.simulators", "twin")(self.config, self.control)

    def run(
        self,
        runs: Path,
        header: Mapping[str, Any],
        *,
        run_id: str | None = None,
        on_point: Callable[[Point], None] | None = None,
    ) -> Run:
        """Start a recorded run in a new folder of `runs`. header: what is to be kept beside the station's own."""
        return self.resume(self.new_journal(runs, header, run_id), on_point=on_point)

    def new_journal(self, runs: Path, header: Mapping[str, Any], run_id: str | None = None) -> Journal:
        """The journal of a new run, in a new folder of `runs`, with this station's own header and the caller's."""
        from labthermo.records.journal import Journal

        return Journal.create(run_folder(runs, run_id or new_run_id()), {**self.header(), **header})

    def resume(self, journal: Journal, *, on_point: Callable[[Point], None] | None = None, replay: bool = False) -> Run:
        """Go on with a run whose journal is open for writing; `replay` as in :class:`labthermo.run.Run`."""
        return Run(self.device, journal, on_point=on_point, replay=replay, twin=self.twin)

    def header(self) -> dict[str, Any]:
        """What a record must say about this station: file texts, backend, instruments, seed, versions, channels."""
        from importlib.metadata import version

        from labthermo.stored_twin import device_fingerprint

        packages = ("labthermo", "numpy", "scipy", "numba", "qcodes", "qcodes-contrib-drivers", "pyvisa", "pyvisa-py")
        return {
            "backend": self.backend,
            "simulated": self.simulated,
            "control": self.control,
            "bench": self.bench,
            "station_path": str(self.config.path.resolve()),
            "station": {
                self.config.path.name: self.config.text,
                self.config.device_file.name: self.config.device_file.read_text(encoding="utf-8"),
            },
            "device": device_fingerprint(self.config),
            "simulation_seed": self.config.simulation.seed if self.simulated else None,
            "instruments": self.identities,
            "manual": [asdict(element) for element in self.manual],
            "manual_confirmed": "not asked: simulated" if self.simulated else self.confirmed,
            "versions": {name: version(name) for name in packages},
            "channels": [asdict(channel) for channel in device_channels(self.config)],
            "time_constant": self._slowest,
            "tolerance": self.config.device.settle.tolerance,
            "light": {
                name: section.light.model_dump()
                for name, section in self.config.device.outputs.items()
                if section.light is not None
            },
        }

    def _open_model(self) -> Device:
        return _load("labthermo.simulators", "model")(self.config, self.control)

    def _open_bench(self) -> BenchDevice:
        before = set(sys.modules)
        device = self._open_instruments()
        with shielded():
            _imported.update(set(sys.modules) - before)
            self._start_watchdog()
            device.guard.energise()
            self._stack.callback(device.close)
        return device

    def _start_watchdog(self) -> None:
        """Where instruments outlive this process, another one sees to it that they are not left alone."""
        heartbeat = self.config.device.stop.watchdog
        if heartbeat is None:
            heartbeat = HEARTBEAT if self.backend == "real" else 0.0
        if heartbeat > 0 and (self.backend == "real" or self.bench is not None):
            from labthermo.safety.watchdog import Watchdog

            watchdog = Watchdog(self.config.path.resolve(), self.backend, self.bench, heartbeat, sorted(_imported))
            self._stack.callback(watchdog.dismiss)

    def _open_instruments(self) -> BenchDevice:
        config = self.config
        # whatever may be unknown or held by another is found out before the first instrument is opened
        sections = config.instruments.items()
        adapters = {name: self._adapter(name, section.driver) for name, section in sections}
        file = _load("labthermo.simulators", "device_file")(config.device_file)
        refuse_refilled_transfers(config, file.network)
        addresses = self._locate()
        for name, address in addresses.items():
            self._stack.callback(hold(name, address).release)
        instruments: dict[str, Instrument] = {}
        for name, section in config.instruments.items():
            instruments[name] = self._open_one(name, adapters[name], addresses[name])
            self._check_identity(name, instruments[name])
            self._warn_of_first_meeting(name, section.driver, instruments[name].identity)
            if instruments[name].rebooted:
                self.rebooted.append(name)
            self.identities[name] = {**asdict(instruments[name].identity), "address": addresses[name]}
        sign = -1.0 if file.carriers == "electrons" else 1.0
        wiring = connect(config, device_channels(config), instruments, sign)
        limits = config.device.limits
        guard = Guard(wiring, self._clock, limits.pairs, limits.leakage, config.device.stop.knobs == "zero")
        for line in (*wiring.outputs, *wiring.nodes):
            if not isinstance(line, LeadLine):
                line.prepare()  # meters only: nothing is energised
        balance = BenchBalance(self.world, config.simulation.seed) if self.world is not None else ask_operator
        by_design = config.device.settle.least is None
        foresight = _load("labthermo.simulators", "settling")(config) if by_design else None
        return BenchDevice(wiring, guard, self._clock, config.device.settle, self._slowest, balance, foresight)

    @cached_property
    def _slowest(self) -> float:
        """Of the device as designed, and its amplifiers; s."""
        file = _load("labthermo.simulators", "device_file")(self.config.device_file)
        return slowest_by_design(self.config, file.network)

    def _locate(self) -> dict[str, str]:
        """Where every instrument is; starts the bench, or attaches to it, on the backend wire."""
        config = self.config
        if self.backend != "wire":
            return {name: section.address for name, section in config.instruments.items()}
        start = _load("labthermo.simulators", "attach" if self.bench else "wire")
        with shielded():
            self.world = start(self.bench) if self.bench else start(config, self.control)
            self._stack.callback(self.world.close)
        if missing := config.instruments.keys() - self.world.addresses.keys():
            raise BackendError(f"the bench at {self.bench} has no {', '.join(sorted(missing))}; serve this station")
        self._clock = self.world
        return {name: self.world.addresses[name] for name in config.instruments}

    def _open_one(self, name: str, adapter: Any, address: str) -> Any:
        with shielded():
            section = self.config.instruments[name]
            visa = section.visa if self.backend == "real" else "@py"
            self.config.check_options(name, adapter)
            instrument = adapter(name, address, timeout=section.timeout, visa=visa, **section.options)
            self._stack.callback(instrument.close)
        return instrument

    def _adapter(self, name: str, driver: str) -> Any:
        try:
            return _load("labthermo.instruments", driver)
        except StationFileError as error:
            raise self.config.error(("instruments", name, "driver"), str(error)) from None

    def _warn_of_first_meeting(self, name: str, driver: str, identity: Identity) -> None:
        """An adapter that nobody has commissioned on this very instrument says so, each time it is opened."""
        from labthermo.commissioning import find_commissioning

        if not identity.simulated and find_commissioning(self.config.path.parent, driver, identity) is None:
            log.warning(
                "%s: the adapter %s has not met this %s (serial number %s, firmware %s); check its first readings by "
                "hand, or walk through `labthermo doctor %s --commission %s`",
                name, driver, identity.model, identity.serial, identity.firmware, self.config.path, name,
            )  # fmt: skip

    def _check_identity(self, name: str, instrument: Instrument) -> None:
        serial = instrument.identity.serial
        if self.backend == "real" and instrument.identity.simulated:
            raise BackendError(
                f"{name} is simulated (serial number {serial}); the backend real talks to real instruments only: "
                "correct its address, or use --backend wire"
            )
        if self.backend == "wire" and not instrument.identity.simulated:
            raise BackendError(f"{name} has serial number {serial}, which no simulated instrument has; nothing was set")


def _load(group: plugins.Group, name: str) -> Any:
    """A plugin; a signal waits until it is imported, since Python never repairs an import that was broken off."""
    with shielded():
        return plugins.load(group, name)


def hold(name: str, address: str) -> Ownership:
    """Hold an instrument host-wide until released, so that no second process talks to it.

    Raises
    ------
    OwnershipError: another process has it; the message gives its pid and start time.
    """
    from labthermo.records.owner import Ownership, share_folder

    path = lock_of(address)
    share_folder(path.parent)
    return Ownership(path, f"{name} ({address})")


def lock_of(address: str) -> Path:
    """The lock file of whoever holds the instrument at `address`: one folder for all users of this host."""
    folder = Path(tempfile.gettempdir()) / "labthermo-locks"
    return folder / ("".join(c if c.isalnum() else "_" for c in place_of(address)) + ".lock")


def place_of(address: str) -> str:
    """`address`, but the same for each of the names that one serial port has (``/dev/serial/by-id/...``)."""
    serial = re.fullmatch(r"ASRL(/.+?)(::INSTR)?", address, re.IGNORECASE)
    return f"ASRL{os.path.realpath(serial[1])}::INSTR" if serial else address


def slowest_by_design(config: StationConfig, network: Any) -> float:
    """The longest time constant, s, of the network as designed and of the amplifiers.

    Inputs are in the middle of their windows, voltages of knobs at 0, pumps in the middle of their limits.
    """
    import numpy as np

    device = config.device
    windowed = {s.at: s for s in device.inputs.values() if s.window}
    middles = {name: 0.5 * sum(s.window or ()) for name, s in windowed.items()}
    for name, section in device.knobs.items():
        limits = config.limits_of(name)
        middles[name] = 0.5 * (limits.min + limits.max) if section.of.quantity == "rate" else 0.0
    clamps, knobs = ([middles.get(name, 0.0) for name in names] for names in (network.terminals, network.knobs))
    state = network.steady_state(np.array([clamps]).reshape(1, len(clamps)), np.array(knobs))
    times = [float(network.time_constants(state)[0])]
    for section in (*device.outputs.values(), *device.nodes.values()):
        times += [1.0 / (2.0 * math.pi * section.via.bandwidth)] if section.via.bandwidth else []
    return max(t for t in (*times, 0.0) if math.isfinite(t))
