"""The table and the lists of docs/stock-drivers.md: every stock driver run, unmodified, on its simulated one.

    python docs/stock_drivers.py [--write]

Prints the page, or writes it. Each driver goes through its paths over the real wire (a socket or a pseudo-terminal)
while every message is heard; tests/wire/test_stock_drivers_page.py does the same and compares.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from instruments.transport import open_resource, pymeasure_driver, qcodes_driver
from labthermo.config import load_station
from simulators.bench import WireTwin, build_wire_twin

PAGE = Path(__file__).with_name("stock-drivers.md")
SINE = Path(__file__).parents[1] / "examples" / "sine"
LIBRARIES = ("qcodes", "qcodes-contrib-drivers", "pymeasure", "NESP-Lib", "pylabrobot")
STEPS = ("construct", "snapshot", "set", "measure", "sweep")
INTRODUCTION = """# Stock drivers on simulated instruments

Written by `docs/stock_drivers.py`, which runs every driver, unmodified, over the real wire; a test does so, too, and
compares. Counted are the different commands of each path, without their numbers: construction; every getter, or a
snapshot; setting; measuring; sweeps, buffers, scripts and programs, where the instrument has them. No query
stays unanswered and no error queue has an entry afterwards, but where a note says so.
"""


@dataclass
class Run:
    """What one driver's paths said to the instrument: `heard[path]`, in order of appearance."""

    instrument: str  # the name of labthermo's driver for it
    driver: str
    note: str = ""
    heard: dict[str, list[str]] = field(default_factory=dict)
    unanswered: int = 0
    errors: int = 0


def snapshot(driver: Any) -> None:
    """Every parameter of a QCoDeS driver, from the instrument."""
    driver.snapshot(update=True)


# ------------------------------------------------------------------------------------------------ the paths of each


def qdac2(driver: Any) -> Iterator[tuple[str, Callable[[], object]]]:
    channel = driver.ch03
    yield "snapshot", lambda: snapshot(driver)
    yield "set", lambda: (channel.dc_constant_V(0.1), channel.dc_slew_rate_V_per_s(100), channel.output_range("low"))
    yield "measure", channel.read_current_A
    yield "sweep", lambda: driver.ch04.dc_list(voltages=[0.0, 0.1, 0.2], dwell_s=1e-3).start()
    yield "sweep", lambda: driver.ch05.dc_sweep(start_V=0, stop_V=0.1, points=5, dwell_s=1e-3).start()


def keysight34465a(driver: Any) -> Iterator[tuple[str, Callable[[], object]]]:
    driver.timetrace_dt(0.5)
    driver.timetrace_npts(3)
    yield "snapshot", lambda: snapshot(driver)
    yield "set", lambda: (driver.range(1), driver.NPLC(1.0), driver.autozero("OFF"), driver.autorange("ON"))
    yield "measure", driver.volt
    yield "sweep", driver.timetrace


def keithley2450(driver: Any) -> Iterator[tuple[str, Callable[[], object]]]:
    for part in driver.submodules.values():
        if "user_number" in part.parameters:
            part.user_number(1)
        if "sweep_axis" in part.parameters:
            part.sweep_setup(0, 0.1, 3)
    yield "snapshot", lambda: snapshot(driver)
    yield "set", lambda: (driver.source_function("voltage"), driver.source.limit(1e-6), driver.source.voltage(0.1))
    yield "set", lambda: (driver.sense_function("current"), driver.sense.nplc(1), driver.output_enabled(True))
    yield "measure", lambda: (driver.sense.current(), driver.source.limit_tripped())
    yield "sweep", lambda: driver.source.sweep_setup(0, 0.1, 3)
    yield "sweep", driver.sense.sweep


def keithley2400_qcodes(driver: Any) -> Iterator[tuple[str, Callable[[], object]]]:
    yield "set", lambda: (driver.mode("VOLT"), driver.sense("CURR"), driver.compliancei(1e-3), driver.volt(0.1))
    yield "set", lambda: (driver.nplci(1), driver.output(1))
    yield "snapshot", lambda: snapshot(driver)
    yield "measure", lambda: (driver.volt(), driver.curr())


def keithley2400_pymeasure(driver: Any) -> Iterator[tuple[str, Callable[[], object]]]:
    yield "set", lambda: setattr(driver, "source_voltage_range", 2)
    yield "set", lambda: (setattr(driver, "compliance_current", 1e-3), driver.enable_source())
    yield "measure", lambda: (driver.measure_all(), driver.check_errors())
    yield "sweep", lambda: driver.ramp_to_voltage(0.2, steps=3, pause=0.0)
    yield "sweep", lambda: (driver.config_buffer(points=3, delay=0.01), driver.start_buffer())
    yield "sweep", lambda: (driver.wait_for_buffer(timeout=5, interval=0.01), driver.buffer_data, driver.shutdown())


def keithley2600_qcodes(driver: Any) -> Iterator[tuple[str, Callable[[], object]]]:
    from qcodes.dataset import LinSweep

    for unit in driver.channels:
        unit.timetrace_npts(3)
        unit.timetrace_dt(0.05)
        unit.setup_fastsweep(LinSweep(unit.volt, 0, 0.1, 3))
    unit, other = driver.channels
    yield "snapshot", lambda: snapshot(driver)
    yield "set", lambda: (unit.mode("voltage"), unit.limiti(1e-6), unit.sourcerange_v(2), unit.volt(0.1))
    yield "set", lambda: (unit.measurerange_i(1e-6), unit.nplc(0.1), unit.output(True), driver.display_settext("on"))
    yield "measure", lambda: (unit.curr(), unit.volt(), unit.res())
    yield "sweep", unit.fastsweep
    yield "sweep", unit.timetrace
    yield "sweep", lambda: unit.setup_fastsweep(LinSweep(unit.volt, 0, 0.1, 3), LinSweep(other.volt, 0, 0.1, 2))
    yield "sweep", unit.fastsweep


def keithley2600_pymeasure(driver: Any) -> Iterator[tuple[str, Callable[[], object]]]:
    unit = driver.ChA
    yield "set", lambda: unit.apply_voltage(voltage_range=2, compliance_current=0.01)
    yield "set", lambda: (setattr(unit, "source_voltage", 0.1), setattr(unit, "source_output", "ON"))
    yield "measure", lambda: (unit.measure_current(), unit.current, unit.voltage, unit.resistance, driver.next_error)
    yield "sweep", lambda: (unit.ramp_to_voltage(0.0, steps=3, pause=0.0), setattr(unit, "source_output", "OFF"))


def yokogawa_gs200(driver: Any) -> Iterator[tuple[str, Callable[[], object]]]:
    yield "snapshot", lambda: snapshot(driver)
    yield "set", lambda: (driver.voltage_range(1), driver.voltage(0.1), driver.current_limit(0.05), driver.output("on"))
    yield "sweep", lambda: (driver.ramp_rate(0.5), driver.ramp_voltage(0.2))


def lakeshore336(driver: Any) -> Iterator[tuple[str, Callable[[], object]]]:
    heater = driver.output_1
    yield "snapshot", lambda: snapshot(driver)
    yield "set", lambda: (driver.A.t_limit(300.0), heater.mode("closed_loop"), heater.P(10), heater.setpoint(4.2))
    yield "set", lambda: (heater.input_channel("B"), heater.output_range("low"))
    yield "measure", lambda: (driver.A.temperature(), driver.A.sensor_status(), heater.output())


def ne1000(pump: Any) -> Iterator[tuple[str, Callable[[], object]]]:
    import nesp_lib

    yield "set", lambda: setattr(pump, "syringe_diameter_mm", 14.57)
    yield "set", lambda: setattr(pump, "pumping_direction", nesp_lib.PumpingDirection.INFUSE)
    yield "set", lambda: (setattr(pump, "pumping_volume_ml", 0.5), setattr(pump, "pumping_rate_ml_per_min", 0.05))
    yield "measure", lambda: (pump.run(wait_while_running=False), pump.running, pump.status)
    yield "measure", lambda: (pump.volume_infused_ml, pump.volume_withdrawn_ml, pump.pumping_rate_ml_per_min)
    yield "measure", lambda: (pump.stop(), pump.stop(), pump.volume_infused_clear())


async def spectramax(reader: Any) -> list[tuple[str, Callable[[], Any]]]:
    from pylabrobot.resources import cor_96_wellplate_360uL_Fb

    return [
        ("set", reader.open),
        ("set", reader.close),
        ("set", lambda: reader.set_temperature(37)),
        ("measure", reader.get_temperature),
        ("measure", lambda: reader.read_absorbance(cor_96_wellplate_360uL_Fb("plate"), [340])),
    ]


# --------------------------------------------------------------------------------------------------------- hearing them


def header(message: bytes, instrument: str) -> list[str]:
    """The commands in a message, without what they are told."""
    text = message.decode("latin-1")
    if instrument.startswith("keithley26"):
        if text.strip().startswith("*"):
            return [text.strip().split()[0]]
        names = re.findall(r"[A-Za-z_]\w*(?:\.\w+)+|print\w*|delay|loadandrunscript|endscript", text)
        return [re.sub(r"smu[ab]", "smuX", name) for name in names]
    if instrument == "ne1000":
        found = re.search(r"\d*([A-Z]{3})", text)
        return [found[1] if found else "(status)"]
    words = [part.split()[0].strip(":").upper() for part in text.split(";") if part.split()]
    return [re.sub(r"\d+", "#", word) for word in words]


class _Ears:
    """Hears every message to one instrument."""

    def __init__(self, personality: Any, run: Run) -> None:
        self._run = run
        self._step = "construct"
        self._deaf_to = b""
        self._personality = personality
        handle = personality.handle

        def hear(message: bytes) -> bytes | None:
            reply = handle(message)
            if message == self._deaf_to:
                self._deaf_to = b""
                return reply
            commands = self._run.heard.setdefault(self._step, [])
            commands += [each for each in header(message, run.instrument) if each not in commands]
            asks = message.rstrip().endswith(b"?") or (b"print(" in message and b"buffer" not in message)
            run.unanswered += bool(asks and reply is None)
            return reply

        personality.handle = hear

    def follow(self, step: str, resource: Any = None) -> None:
        """What comes now belongs to this path; what was written over `resource` before belongs to the one before."""
        if resource is not None:
            self._deaf_to = b"*OPC?"
            resource.query("*OPC?")
        self._step = step

    def stop(self) -> None:
        """Hear no more."""
        del self._personality.handle


def _over_visa(twin: WireTwin, name: str, how: Callable[..., Any], paths: Any, ears: _Ears) -> None:
    resource: Any = open_resource(twin.addresses[name], timeout=2.0)
    with contextlib.ExitStack() as stack, warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # what drivers say about themselves
        stack.callback(resource.close)
        driver = how(f"stock_{name}_{id(resource)}", resource)
        if hasattr(driver, "parameters"):
            stack.callback(driver.close)
        ears.follow("set", resource)
        for step, do in paths(driver):
            ears.follow(step, resource)
            do()
        ears.follow("", resource)
        ears.stop()


def _over_nesp_lib(twin: WireTwin, name: str, paths: Any, ears: _Ears) -> None:
    import nesp_lib

    with nesp_lib.Port(_terminal(twin, name), 19200) as port:
        for step, do in paths(nesp_lib.Pump(port)):
            ears.follow(step)
            do()
    ears.stop()


def _over_pylabrobot(twin: WireTwin, name: str, paths: Any, ears: _Ears) -> None:
    from pylabrobot.plate_reading.molecular_devices import MolecularDevicesSpectraMaxM5Backend

    async def session() -> None:
        reader = MolecularDevicesSpectraMaxM5Backend(_terminal(twin, name))
        await reader.setup()
        for step, do in await paths(reader):
            ears.follow(step)
            await do()
        await reader.stop()

    asyncio.run(session())
    ears.stop()


def _terminal(twin: WireTwin, name: str) -> str:
    return twin.addresses[name].removeprefix("ASRL").removesuffix("::INSTR")


def runs() -> list[Run]:
    """Run every driver against one bench."""
    import pymeasure.instruments.keithley as pymeasure
    from qcodes.instrument_drivers import Keithley as qcodes
    from qcodes.instrument_drivers.Keysight import Keysight34465A
    from qcodes.instrument_drivers.Lakeshore import LakeshoreModel336
    from qcodes.instrument_drivers.yokogawa import YokogawaGS200
    from qcodes_contrib_drivers.drivers.QDevil.QDAC2 import QDac2

    table: list[tuple[str, str, Callable[[WireTwin, str, _Ears], None], str]] = []

    def add(instrument: str, driver: Any, paths: Any, note: str = "") -> None:
        library = "pymeasure" if driver.__module__.startswith("pymeasure") else "qcodes"
        how = pymeasure_driver(driver) if library == "pymeasure" else qcodes_driver(driver)
        title = f"{driver.__name__} ({'qcodes-contrib-drivers' if 'contrib' in driver.__module__ else library})"
        table.append((instrument, title, lambda t, n, ears: _over_visa(t, n, how, paths, ears), note))

    add("qdac2", QDac2, qdac2)
    add("keysight34465a", Keysight34465A, keysight34465a)
    note = "needs `user_number` set first: else a snapshot asks for `DELay:USERNone?`, which nothing answers"
    add("keithley2450", qcodes.Keithley2450, keithley2450, note)
    add("keithley2400", qcodes.Keithley2400, keithley2400_qcodes, "sends a compliance below 1 uA as 0")
    add("keithley2400", pymeasure.Keithley2400, keithley2400_pymeasure)
    add("keithley2614b", qcodes.Keithley2614B, keithley2600_qcodes)
    add("keithley2614b", pymeasure.Keithley2600, keithley2600_pymeasure, "sends a compliance below 1 uA as 0")
    add("keithley2636b", qcodes.Keithley2636B, keithley2600_qcodes, "has no 10 mA and no 100 pA range")
    add("lakeshore336", LakeshoreModel336, lakeshore336)
    add("gs200", YokogawaGS200, yokogawa_gs200)
    table.append(("ne1000", "Pump (NESP-Lib)", lambda t, n, ears: _over_nesp_lib(t, n, ne1000, ears), ""))
    reader = "MolecularDevicesSpectraMaxM5Backend (pylabrobot)"
    table.append(("spectramax", reader, lambda t, n, ears: _over_pylabrobot(t, n, spectramax, ears), ""))
    found = []
    with tempfile.TemporaryDirectory() as folder:
        twin = build_wire_twin(load_station(_station(Path(folder), sorted({row[0] for row in table}))))
        try:
            for instrument, driver, drive, remark in table:
                name = f"a_{instrument}"
                run = Run(instrument, driver, remark)
                personality = twin._instruments[name].personality
                personality.reboot()
                drive(twin, name, _Ears(personality, run))
                run.errors = len(getattr(personality, "errors", ()))
                found.append(run)
        finally:
            twin.close()
    return found


def _station(folder: Path, drivers: list[str]) -> Path:
    """The sine example with one instrument more for each driver, wired to nothing."""
    more = "".join(
        f'  a_{driver}: {{driver: {driver}, address: "TCPIP0::192.0.2.{number}::5025::SOCKET"}}\n'
        for number, driver in enumerate(drivers, start=1)
    )
    text = (SINE / "station.yaml").read_text(encoding="utf-8").replace("\ndevice:\n", f"{more}\ndevice:\n", 1)
    (folder / "station.yaml").write_text(text, encoding="utf-8")
    (folder / "ndc_dots.yaml").write_bytes((SINE / "ndc_dots.yaml").read_bytes())
    return folder / "station.yaml"


def versions() -> str:
    """The libraries whose drivers these are, with their versions."""
    return ", ".join(f"{name} {version(name)}" for name in LIBRARIES)


def page(found: list[Run]) -> str:
    """The whole page."""
    lines = [INTRODUCTION, f"Libraries: {versions()}.", ""]
    lines += [f"| instrument | stock driver | {' | '.join(STEPS)} | note |", "|---|---|" + "---|" * len(STEPS) + "---|"]
    for run in found:
        counts = [str(len(run.heard[step])) if step in run.heard else "" for step in STEPS]
        lines.append(f"| `{run.instrument}` | {run.driver} | {' | '.join(counts)} | {run.note} |")
    for run in found:
        lines += ["", f"## `{run.instrument}`: {run.driver}", ""]
        for step in STEPS:
            if step in run.heard:
                lines.append(f"* {step}: " + " ".join(f"`{command}`" for command in run.heard[step]))
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="The page docs/stock-drivers.md.")
    parser.add_argument("--write", action="store_true", help="write the page instead of printing it")
    write = parser.parse_args().write
    text = page(runs())
    if write:
        PAGE.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
