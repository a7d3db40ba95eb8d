"""A station: the lab bench of one file; opens, checks, composes and closes everything."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from labthermo import plugins
from labthermo.bench_device import BenchDevice
from labthermo.clock import Clock, RealClock, VirtualClock
from labthermo.config import Backend, StationConfig, load_station
from labthermo.device import Device
from labthermo.errors import BackendError
from labthermo.instrument import Instrument
from labthermo.limits import device_channels
from labthermo.run import Run, new_run_id, run_folder
from labthermo.safety.guard import Guard
from labthermo.twin import Twin
from labthermo.wiring import connect

if TYPE_CHECKING:
    from labthermo.records.journal import Journal, Point


class Station:
    """The bench of a station file, on one backend.

    path: the station file, or one already loaded. backend: ``real``, ``wire`` or ``model``; None takes the file's.
    control: the NDC-off sample of the same design, for simulated backends only.

    Use it as a context: leaving it parks the device and closes every instrument, whatever happened inside.

    Raises
    ------
    StationFileError: the file is wrong. InstrumentError: an instrument does not answer or is another one.
    BackendError: `real` met a simulated instrument, `wire` a real one, or `control` was asked of `real`.
    OwnershipError: another process holds an instrument.
    """

    def __init__(
        self, path: str | Path | StationConfig, backend: Backend | None = None, *, control: bool = False
    ) -> None:
        self.config = path if isinstance(path, StationConfig) else load_station(path)
        self.backend: Backend = backend or self.config.backend
        self.control = control
        if control and self.backend == "real":
            raise BackendError("the NDC-off control is another sample, which a real bench does not have")
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

    def open(self) -> Station:
        """Open everything; on failure what was opened is closed again."""
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
        self.close()

    def twin(self) -> Twin:
        """A fresh differentiable twin of the device as designed."""
        return plugins.load("labthermo.simulators", "twin")(self.config, self.control)

    def run(
        self,
        runs: Path,
        header: Mapping[str, Any],
        *,
        run_id: str | None = None,
        on_point: Callable[[Point], None] | None = None,
    ) -> Run:
        """Start a recorded run in a new folder of `runs`. header: what the caller wants kept beside the station's own."""
        from labthermo.records.journal import Journal

        journal = Journal.create(run_folder(runs, run_id or new_run_id()), {**self.header(), **header})
        return Run(self.device, journal, on_point=on_point)

    def resume(self, journal: Journal, *, on_point: Callable[[Point], None] | None = None) -> Run:
        """Go on with a run whose journal is open for writing."""
        return Run(self.device, journal, on_point=on_point)

    def header(self) -> dict[str, Any]:
        """What a record must say about this station: file texts, backend, instruments, seed, versions, channels."""
        from importlib.metadata import version

        packages = ("labthermo", "numpy", "scipy", "numba", "qcodes", "qcodes-contrib-drivers", "pyvisa", "pyvisa-py")
        return {
            "backend": self.backend,
            "simulated": self.simulated,
            "control": self.control,
            "station_path": str(self.config.path.resolve()),
            "station": {
                self.config.path.name: self.config.text,
                self.config.device_file.name: self.config.device_file.read_text(encoding="utf-8"),
            },
            "simulation_seed": self.config.simulation.seed if self.simulated else None,
            "instruments": self.identities,
            "versions": {name: version(name) for name in packages},
            "channels": [asdict(channel) for channel in device_channels(self.config)],
        }

    def _open_model(self) -> Device:
        return plugins.load("labthermo.simulators", "model")(self.config, self.control)

    def _open_bench(self) -> Device:
        config = self.config
        addresses = {name: section.address for name, section in config.instruments.items()}
        if self.backend == "wire":
            self.world = plugins.load("labthermo.simulators", "wire")(config, self.control)
            self._stack.callback(self.world.close)
            addresses, self._clock = self.world.addresses, self.world
        instruments: dict[str, Instrument] = {}
        for name, section in config.instruments.items():
            self._own(name, addresses[name])
            adapter = plugins.load("labthermo.instruments", section.driver)
            instrument: Instrument = adapter(name, addresses[name], timeout=section.timeout)
            self._stack.callback(instrument.close)
            self._check_identity(name, instrument)
            instruments[name] = instrument
            self.identities[name] = {**asdict(instrument.identity), "address": addresses[name]}
        carriers = plugins.load("labthermo.simulators", "device_file")(config.device_file).carriers
        channels = device_channels(config)
        wiring = connect(config, channels, instruments, -1.0 if carriers == "electrons" else 1.0)
        limits = config.device.limits
        guard = Guard(wiring, self._clock, limits.pairs, limits.leakage, config.device.stop.knobs == "zero")
        for line in (*wiring.outputs, *wiring.nodes):
            if hasattr(line, "prepare"):
                line.prepare()  # meters only: nothing is energised
        device = BenchDevice(channels, wiring, guard, self._clock, config.device.settle)
        self._stack.callback(device.close)
        guard.energise()
        return device

    def _own(self, name: str, address: str) -> None:
        """Hold the instrument host-wide, so that no second process talks to it."""
        from labthermo.records.owner import Ownership

        folder = Path(tempfile.gettempdir()) / "labthermo-locks"
        folder.mkdir(exist_ok=True)
        safe = "".join(c if c.isalnum() else "_" for c in address)
        ownership = Ownership(folder / f"{safe}.lock", f"{name} ({address})")
        self._stack.callback(ownership.release)

    def _check_identity(self, name: str, instrument: Instrument) -> None:
        serial = instrument.identity.serial
        if self.backend == "real" and instrument.identity.simulated:
            raise BackendError(
                f"{name} is simulated (serial number {serial}); the backend real talks to real instruments only: "
                "correct its address, or use --backend wire"
            )
        if self.backend == "wire" and not instrument.identity.simulated:
            raise BackendError(f"{name} has serial number {serial}, which no simulated instrument has; nothing was set")
