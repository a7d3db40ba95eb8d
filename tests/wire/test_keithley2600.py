"""The Keithley 2614B and 2636B: stock drivers, unmodified, over sockets; and what the manual says of the instrument."""

from __future__ import annotations

import contextlib
import io
import math
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qcodes.dataset import LinSweep
from qcodes.instrument_drivers.Keithley import Keithley2614B, Keithley2636B
from qcodes.parameters import ParameterBase

from instruments.keithley2600 import Keithley2614B as AdapterFor2614B
from instruments.keithley2600 import Keithley2636B as AdapterFor2636B
from instruments.transport import open_resource
from labthermo import Query, Station
from labthermo.config import load_station
from labthermo.errors import ComplianceError, InstrumentError, LimitError, ReadbackError
from labthermo.instrument import SourceMeter
from simulators.bench import build_wire_twin
from simulators.faults import Chance
from simulators.wire.keithley2600 import make_2614b, make_2636b
from simulators.wire.world import Imperfections

STOCK = {"pair": Keithley2614B, "fine": Keithley2636B}


@pytest.fixture
def open_driver(bench) -> Iterator[Callable[..., Any]]:
    with contextlib.ExitStack() as stack:

        def make(name: str) -> Any:
            resource: Any = open_resource(bench.addresses[name], timeout=2.0)
            driver: Any = STOCK[name]
            with contextlib.redirect_stdout(io.StringIO()):
                opened = driver(f"stock_{name}", None, resource=resource, timeout=2.0, device_clear=False)
            stack.callback(opened.close)
            return opened

        yield make


@pytest.fixture
def open_pymeasure(bench) -> Iterator[Callable[[str], Any]]:
    from pymeasure.instruments.keithley import Keithley2600

    with contextlib.ExitStack() as stack:

        def make(name: str) -> Any:
            ends: Any = {"read_termination": "\n", "write_termination": "\n"}
            with pytest.warns(FutureWarning, match="not known whether this device support SCPI"):
                opened = Keithley2600(bench.addresses[name], visa_library="@py", timeout=2000, **ends)
            stack.callback(opened.adapter.close)
            return opened

        yield make


@pytest.fixture
def make_world(bench) -> Any:
    def make(imperfections: Imperfections = bench.world.imperfections, seed: int = 1) -> Any:
        return type(bench.world)(imperfections=imperfections, seed=seed)

    return make


def parameters_of(module: Any) -> Iterator[ParameterBase]:
    yield from module.parameters.values()
    for child in module.submodules.values():
        yield from parameters_of(child)


def ask(personality: Any, message: str) -> str:
    reply = personality.handle(message.encode())
    return "" if reply is None else reply.decode()[:-1]


def number(personality: Any, expression: str) -> float:
    return float(ask(personality, f"print({expression})"))


# ------------------------------------------------------------------------------------------------------- QCoDeS, stock


@pytest.mark.parametrize("name", STOCK)
def test_snapshot_and_every_getter_are_answered_and_leave_no_error(name, bench, open_driver):
    driver = open_driver(name)
    bench.world.conductance |= {f"{name}.smua": 1e-9, f"{name}.smub": 1e-9}
    for channel in driver.channels:
        channel.timetrace_npts(4)
        channel.timetrace_dt(0.05)
        channel.setup_fastsweep(LinSweep(channel.volt, 0.0, 0.1, 3))
    snapshot = driver.snapshot(update=True)
    assert snapshot["parameters"]["IDN"]["value"]["serial"] == f"SIM-{name}"
    assert snapshot["submodules"]["smua"]["parameters"]["limiti"]["value"] == 0.1
    asked = 0
    for parameter in parameters_of(driver):
        if parameter.gettable:
            parameter.get()
            asked += 1
    assert asked > 50
    assert not bench.personalities[name].errors


@pytest.mark.parametrize("name", STOCK)
def test_qcodes_sets_everything_and_reads_it_back(name, bench, open_driver):
    smu = open_driver(name).smub
    for parameter, value in {
        "mode": "voltage",
        "nplc": 0.1,
        "four_wire_measurement": True,
        "sourcerange_v": 2,
        "source_autorange_v_enabled": False,
        "measurerange_i": 1e-6,
        "measure_autorange_i_enabled": False,
        "sourcerange_i": 1e-3,
        "source_autorange_i_enabled": True,
        "limitv": 5.0,
        "limiti": 1e-8,
        "output": True,
    }.items():
        smu.parameters[parameter](value)
        assert smu.parameters[parameter].get() == value, parameter
    smu.mode("current")
    smu.measurerange_v(20)
    assert smu.measurerange_v() == 20
    smu.mode("voltage")
    assert smu.measurerange_v() == 2  # what is sourced is measured on the source's range
    assert bench.world.limits[f"{name}.smub"] == 1e-8
    assert not bench.personalities[name].errors


def test_qcodes_sources_a_voltage_or_a_current_and_sees_the_limits(bench, open_driver):
    smu = open_driver("pair").smua
    bench.world.conductance["pair.smua"] = 1e-6
    smu.limiti(1e-6)
    smu.volt(0.5)
    smu.output(True)
    assert smu.volt() == pytest.approx(0.5)
    assert smu.curr() == pytest.approx(0.5e-6)
    assert smu.curr.measurement_status == "No error occured."
    assert smu.res() == pytest.approx(1e6)
    smu.volt(2.0)
    assert smu.curr() == pytest.approx(1e-6)
    assert smu.curr.measurement_status == "Reached current compliance limit."
    smu.volt(0.0)
    smu.mode("current")
    smu.limitv(1.0)
    smu.curr(-3e-7)
    assert smu.volt() == pytest.approx(-0.3)
    assert smu.volt.measurement_status == "No error occured."
    smu.curr(5e-6)
    assert smu.volt() == pytest.approx(1.0)
    assert smu.volt.measurement_status == "Reached voltage compliance limit."
    smu.output(False)
    assert not smu.output()
    assert not bench.personalities["pair"].errors


@pytest.mark.parametrize(("start", "stop"), [(-0.2, 0.3), (0.3, -0.2)])
def test_qcodes_fast_sweep_runs_in_the_instrument_in_both_directions(start, stop, bench, open_driver):
    smu = open_driver("pair").smua
    bench.world.conductance["pair.smua"] = 2e-9
    smu.setup_fastsweep(LinSweep(smu.volt, start, stop, 11, delay=0.01))
    before = bench.world.time
    assert smu.fastsweep() == pytest.approx(2e-9 * np.linspace(start, stop, 11), rel=1e-6)
    assert bench.world.time - before > 11 * (0.01 + 0.02)
    driven = [value for value in bench.world.driven("pair.smua") if abs(value) <= 0.3]
    assert driven[-1] == pytest.approx(stop)
    assert not bench.personalities["pair"].errors


@pytest.mark.parametrize("mode", ["VI", "VIfourprobe"])
def test_qcodes_fast_sweep_of_a_current(mode, bench, open_driver):
    smu = open_driver("fine").smub
    bench.world.conductance["fine.smub"] = 1e-6
    smu.setup_fastsweep(LinSweep(smu.curr, -1e-6, 1e-6, 5), mode=mode)
    assert smu.fastsweep() == pytest.approx(np.linspace(-1, 1, 5), rel=1e-6, abs=1e-9)
    assert smu.four_wire_measurement() is (mode == "VIfourprobe")
    assert not bench.personalities["fine"].errors


def test_qcodes_fast_sweep_of_two_channels(bench, open_driver):
    driver = open_driver("pair")
    bench.world.conductance |= {"pair.smua": 1e-9, "pair.smub": 1e-9}
    driver.smua.setup_fastsweep(LinSweep(driver.smua.volt, 0, 0.1, 4), LinSweep(driver.smub.volt, 0, 0.2, 3))
    assert driver.smua.fastsweep() == pytest.approx(np.tile(1e-9 * np.linspace(0, 0.1, 4), (3, 1)), abs=1e-15)
    assert bench.world.driven("pair.smub")[-3:] == pytest.approx([0, 0.1, 0.2])
    driver.smua.setup_fastsweep(LinSweep(driver.smua.volt, 0, 0.1, 4), measure_inner_channel=False)
    assert driver.smua.fastsweep() == pytest.approx([0.2e-9] * 4)  # measured on the other channel
    assert not bench.personalities["pair"].errors


@pytest.mark.parametrize(("mode", "value"), [("current", 0.1e-9), ("voltage", 0.1)])
def test_qcodes_time_trace_takes_its_time(mode, value, bench, open_driver):
    smu = open_driver("fine").smua
    bench.world.conductance["fine.smua"] = 1e-9
    smu.volt(0.1)
    smu.output(True)
    smu.nplc(0.1)
    smu.timetrace_npts(20)
    smu.timetrace_dt(0.01)
    smu.timetrace_mode(mode)
    before = bench.world.time
    assert smu.timetrace() == pytest.approx([value] * 20)
    assert bench.world.time - before == pytest.approx(0.2, abs=0.02)
    assert smu.time_axis()[-1] == pytest.approx(0.19)
    assert not bench.personalities["fine"].errors


def test_qcodes_display_and_reset(bench, open_driver):
    driver = open_driver("pair")
    driver.display_settext("cold")
    assert driver.ask("display.gettext()") == "cold"
    driver.display_clear()
    driver.display_normal()
    driver.exit_key()
    driver.smua.volt(1.5)
    driver.smua.reset()
    driver.reset()
    assert bench.world.voltages["pair.smua"] == 0
    assert not bench.personalities["pair"].errors


def test_qcodes_has_no_10_ma_range_on_a_2636b(open_driver):
    """A slip in the driver's table: 10 uA stands there twice."""
    smu = open_driver("fine").smua
    with pytest.raises(ValueError, match=r"0\.01 is not in"):
        smu.measurerange_i(10e-3)


# ----------------------------------------------------------------------------------------------------- PyMeasure, stock


def test_pymeasure_sources_measures_and_shuts_down(bench, open_pymeasure, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    meter = open_pymeasure("pair")
    channel = meter.ChB
    bench.world.conductance["pair.smub"] = 1e-3
    channel.apply_voltage(voltage_range=2, compliance_current=0.05)
    channel.measure_current(nplc=0.1, current=1e-3, auto_range=False)
    channel.source_voltage = 0.25
    channel.source_output = "ON"
    assert channel.voltage == pytest.approx(0.25)
    assert channel.current == pytest.approx(0.25e-3)
    assert channel.resistance == pytest.approx(1e3)
    assert (channel.source_mode, channel.source_output, channel.wires_mode) == ("voltage", "ON", "2")
    assert channel.compliance_current == 0.05
    channel.shutdown()
    channel.apply_current(compliance_voltage=1.0)
    channel.measure_voltage()
    channel.source_current = 1e-4
    channel.source_output = "ON"
    assert channel.voltage == pytest.approx(0.1)
    channel.shutdown()
    assert channel.source_output == "OFF"
    assert meter.next_error[0] == 0


def test_pymeasure_sends_a_limit_of_10_na_as_zero(bench, open_pymeasure):
    """``%f``: the instrument refuses 0, and its limit stays at 100 mA."""
    channel = open_pymeasure("fine").ChA
    channel.compliance_current = 10e-9
    assert channel.compliance_current == 0.1
    assert bench.personalities["fine"].errors[0][0] == 1102


# ------------------------------------------------------------------------------------------- by the reference manual


def test_reset_state_is_that_of_the_manual(make_world):
    world = make_world()
    smu = make_2636b("smu", world)
    for expression, value in {
        "smua.source.func": 1,
        "smua.source.output": 0,
        "smua.source.limiti": 0.1,
        "smua.source.limitv": 20,
        "smua.source.offmode": 0,
        "smua.source.offlimiti": 1e-3,
        "smua.source.autorangev": 1,
        "smua.source.lowrangei": 1e-9,
        "smua.measure.autorangei": 1,
        "smua.measure.lowrangei": 100e-12,
        "smua.measure.nplc": 1,
        "smua.measure.count": 1,
        "smua.measure.analogfilter": 1,
        "smua.measure.filter.type": 1,
        "smua.sense": 0,
        "smua.nvbuffer1.appendmode": 0,
        "format.asciiprecision": 6,
        "format.data": 1,
    }.items():
        assert number(smu, expression) == value, expression
    assert ask(smu, "print(smua.source.compliance)") == "false"
    ask(smu, "smua.source.limiti=1e-6 smua.source.offmode=2 format.data=2 smua.source.levelv=3 smub.measure.nplc=5")
    ask(smu, "*RST")
    assert number(smu, "smua.source.limiti") == 0.1
    assert number(smu, "smua.source.levelv + smua.source.offmode + smub.measure.nplc") == 1
    assert not smu.errors


def test_numbers_are_printed_as_the_instrument_does(make_world):
    smu = make_2614b("smu", make_world(Imperfections(noise=False, offsets=False)))
    assert ask(smu, "print(10, smua.source.limiti, true, nil, 'text')") == "1.00000e+01\t1.00000e-01\ttrue\tnil\ttext"
    ask(smu, "format.asciiprecision = 10")
    assert ask(smu, "print(1/3)") == "3.333333333e-01"
    assert ask(smu, "printnumber(1, 2)") == "1.000000000e+00, 2.000000000e+00"
    ask(smu, "format.data = format.REAL64 format.byteorder = format.BIGENDIAN")
    assert smu.handle(b"printnumber(1.5)") == b"#0" + np.array([1.5], ">f8").tobytes() + b"\n"
    assert ask(smu, "for n = 1, 2 do print(n) end") == "1.000000000e+00\n2.000000000e+00"


def test_what_does_not_fit_is_refused_and_the_value_stays(make_world):
    world = make_world()
    smu = make_2614b("smu", world)
    for message, code in (
        ("smua.source.limiti = 0", 1102),
        ("smua.source.limiti = 9e-9", 1102),
        ("smua.source.limiti = 2", 1101),
        ("smua.source.levelv = 203", 1101),
        ("smua.source.levelv = -203", 1102),
        ("smua.source.levelv = 0/0", 1101),
        ("smua.source.levelv = '1'", -104),
        ("smua.source.levelv = nil", -104),
        ("smua.measure.nplc = 26", 1101),
        ("smua.source.offmode = 1.5", -222),
        ("smua.measure.rangei = 1.6", 1101),
        ("smua.source.compliance = true", -203),
        ("smua.source.level = 1", -286),
        ("smua.source = 1", -286),
        ("smuc.source.levelv = 1", -286),
        ("smua.source.levelv == 1", -285),
        ("*FOO", -285),
    ):
        assert ask(smu, message) == ""
        assert [smu.errors.popleft()[0], len(smu.errors)] == [code, 0], message
    assert number(smu, "smua.source.limiti") == 0.1
    assert number(smu, "smua.source.levelv") == 0
    assert not [entry for entry in world.log if entry[1] == "drive" and entry[3] != 0]


def test_only_a_runtime_error_ends_a_script(make_world):
    smu = make_2614b("smu", make_world())
    assert ask(smu, "smua.source.limiti = 0 print('on')") == "on"
    assert ask(smu, "print('a') nothing.there = 1 print('b')") == "a"
    assert [code for code, _ in smu.errors] == [1102, -286]
    assert number(smu, "errorqueue.count") == 2
    assert ask(smu, "print(errorqueue.next())").split("\t")[1] == "Parameter too small"
    code, message, severity, node = ask(smu, "print(errorqueue.next())").split("\t")
    assert (float(code), float(severity), float(node)) == (-286, 20, 1)
    assert message == "TSP Runtime error at line 1: attempt to index global 'nothing' (a nil value)"
    assert ask(smu, "print(errorqueue.next())").split("\t")[1] == "Queue Is Empty"


def test_status_bytes_and_common_commands(make_world):
    smu = make_2614b("smu", make_world())
    assert ask(smu, "*ESR?") == "128"
    assert ask(smu, "*ESR?") == "0"
    ask(smu, "*ESE 16")
    ask(smu, "x = = 1")
    assert ask(smu, "*STB?") == "36"
    assert ask(smu, "*esr?") == "16"
    ask(smu, "*CLS")
    assert ask(smu, "*STB?") == "0"
    assert [ask(smu, query) for query in ("*OPC?", "*TST?", "*ESE?", "*SRE?")] == ["1", "0", "16", "0"]
    ask(smu, "*OPC")
    assert ask(smu, "*ESR?") == "1"
    smu.reboot()
    assert ask(smu, "*ESR?") == "128"
    assert ask(smu, "print(x)") == "nil"


def test_output_off_states_let_go_or_clamp(make_world):
    world = make_world()
    smu = make_2636b("smu", world)
    port = "smu.smua"
    assert (world.connected[port], world.voltages[port], world.limits[port]) == (True, 0.0, 1e-3)  # NORMAL
    ask(smu, "smua.source.offlimiti = 2e-6")
    assert world.limits[port] == 2e-6
    ask(smu, "smua.source.limiti = 1e-8 smua.source.levelv = 0.1 smua.source.output = 1")
    assert (world.connected[port], world.voltages[port], world.limits[port]) == (True, 0.1, 1e-8)
    ask(smu, "smua.source.output = 0")
    assert (world.connected[port], world.voltages[port], world.limits[port]) == (True, 0.0, 2e-6)
    ask(smu, "smua.source.offmode = smua.OUTPUT_ZERO")
    assert (world.connected[port], world.voltages[port], world.limits[port]) == (True, 0.0, 1e-8)
    ask(smu, "smua.source.output = 1 smua.source.output = smua.OUTPUT_HIGH_Z")
    assert not world.connected[port]
    assert number(smu, "smua.source.offmode") == 2
    before = world.time
    ask(smu, "smua.source.output = 1")
    assert world.connected[port]
    assert world.time - before == pytest.approx(15e-3)
    assert not smu.errors


def test_a_level_beyond_a_fixed_range_is_an_error_only_with_the_output_on(make_world):
    world = make_world()
    smu = make_2614b("smu", world)
    ask(smu, "smua.source.rangev = 0.2 smua.source.levelv = 1")
    assert not smu.errors
    assert number(smu, "smua.source.autorangev") == 0
    ask(smu, "smua.source.output = 1")
    assert smu.errors.pop()[0] == -221
    assert number(smu, "smua.source.output") == 0
    ask(smu, "smua.source.levelv = 0.202 smua.source.output = 1")
    assert world.voltages["smu.smua"] == 0.202
    ask(smu, "smua.source.levelv = 0.203")
    assert smu.errors.pop()[0] == -221
    assert number(smu, "smua.source.levelv") == 0.202
    ask(smu, "smua.source.autorangev = 1 smua.source.levelv = 0.203")
    assert number(smu, "smua.source.rangev") == 2


def test_a_range_change_overshoots_only_with_the_output_on(make_world):
    world = make_world()
    smu = make_2614b("smu", world)
    ask(smu, "smua.source.rangev = 2 smua.source.rangev = 20")
    assert set(world.driven("smu.smua")) == {0.0}
    ask(smu, "smua.source.output = 1 smua.source.rangev = 2")
    shocks = [abs(value) for value in world.driven("smu.smua") if value]
    assert len(shocks) == 1
    assert 0.06 <= shocks[0] <= 0.3


def test_compliance_is_seen_with_the_reading(make_world):
    world = make_world()
    world.conductance["smu.smua"] = 1e-6
    smu = make_2614b("smu", world)
    ask(smu, "smua.source.limiti = 1e-7 smua.source.levelv = 0.05 smua.source.output = 1")
    together = "print(smua.measure.i(), smua.source.compliance)"
    assert ask(smu, together).split("\t") == [f"{0.05e-6:.16e}", "false"]
    ask(smu, "smua.source.levelv = 0.5")
    assert ask(smu, together).split("\t") == [f"{1e-7:.16e}", "true"]
    assert number(smu, "status.measurement.instrument.smua.condition") == 2
    ask(smu, "smua.source.limitp = 1e-9")  # 1 nW at 0.5 V is 2 nA
    ask(smu, "smua.source.levelv = 0.5")
    assert number(smu, "smua.measure.i()") == pytest.approx(2e-9)


def test_overflow_of_a_fixed_range(make_world):
    world = make_world()
    world.conductance["smu.smua"] = 1e-6
    smu = make_2636b("smu", world)
    ask(smu, "smua.measure.rangei = 50e-9 smua.source.levelv = 0.11 smua.source.output = 1")
    assert number(smu, "smua.measure.rangei") == 100e-9
    assert number(smu, "smua.measure.i()") == 9.91e37
    assert number(smu, "status.measurement.instrument.smua.condition") == 128
    ask(smu, "smua.measure.autorangei = 1")
    assert number(smu, "smua.measure.i()") == pytest.approx(110e-9)
    assert number(smu, "smua.measure.rangei") == 1e-6


def test_the_2636b_measures_in_100_pa_and_the_2614b_does_not(make_world):
    world = make_world(Imperfections(noise=False, offsets=False))
    world.conductance |= {"fine.smua": 1e-9, "coarse.smua": 1e-9}
    for name, make, scale, step in (("fine", make_2636b, 100e-12, 0.1e-15), ("coarse", make_2614b, 100e-9, 100e-15)):
        smu = make(name, world)
        ask(smu, "smua.source.levelv = 0.0123456789 smua.source.output = 1 format.asciiprecision = 16")
        reading = number(smu, "smua.measure.i()")
        assert number(smu, "smua.measure.rangei") == scale
        assert reading / step == pytest.approx(round(reading / step), abs=1e-6)
        assert reading == pytest.approx(12.345e-12, abs=step)
        assert number(smu, "smua.source.rangei") == max(scale, 1e-9)


def test_each_range_has_errors_of_its_own_within_the_data_sheet(make_world):
    readings = {}
    for seed in range(3):
        world = make_world(Imperfections(noise=False, quantisation=False), seed=seed)
        smu = make_2636b("smu", world)
        ask(smu, "smua.source.output = 1")
        for scale in (1e-9, 1e-6):
            ask(smu, f"smua.measure.rangei = {scale}")
            readings[seed, scale] = number(smu, "smua.measure.i()")
    assert len(set(readings.values())) == 6
    assert all(0 < abs(readings[seed, 1e-9]) <= 240e-15 for seed in range(3))
    assert all(abs(readings[seed, 1e-6]) <= 400e-12 for seed in range(3))


def test_noise_falls_with_the_integration_time_which_bench_time_pays(make_world):
    world = make_world(Imperfections(offsets=False, quantisation=False))
    smu = make_2614b("smu", world)
    ask(smu, "smua.measure.rangei = 1e-6")
    spread = {}
    for cycles in (1, 25):
        ask(smu, f"smua.measure.nplc = {cycles} smua.measure.count = 300 smua.measure.i(smua.nvbuffer1)")
        before = world.time
        ask(smu, "smua.measure.count = 1 smua.measure.i()")
        assert world.time - before == pytest.approx(cycles * 0.02 + 0.5e-3)
        readings = [float(x) for x in ask(smu, "printbuffer(1, 300, smua.nvbuffer1)").split(", ")]
        spread[cycles] = np.std(readings)
    assert spread[1] == pytest.approx(25e-12 / 6, rel=0.2)
    assert spread[25] == pytest.approx(spread[1] / 5, rel=0.3)
    assert not smu.errors


def test_buffers_store_append_and_are_made(make_world):
    world = make_world()
    world.conductance["smu.smua"] = 1e-9
    smu = make_2614b("smu", world)
    ask(smu, "smua.source.output = 1 smua.measure.count = 2")
    ask(smu, "smua.source.levelv = 0.1 smua.measure.iv(smua.nvbuffer1, smua.nvbuffer2)")
    assert number(smu, "smua.nvbuffer1.readings[2]") == pytest.approx(1e-10)
    assert number(smu, "smua.nvbuffer2[1]") == pytest.approx(0.1)
    assert ask(smu, "print(smua.nvbuffer1[3])") == "nil"
    ask(smu, "smua.measure.i(smua.nvbuffer1)")
    assert number(smu, "smua.nvbuffer1.n") == 2  # it was cleared first
    ask(smu, "smua.nvbuffer1.appendmode = 1 smua.measure.i(smua.nvbuffer1)")
    assert number(smu, "smua.nvbuffer1.n") == 4
    made = ask(smu, "b = smua.makebuffer(3) smua.measure.i(b) printbuffer(1, b.n, b, b.sourcevalues)").split(", ")
    assert [float(value) for value in made] == pytest.approx([1e-10, 0.1] * 2)
    ask(smu, "b.appendmode = 1 smua.measure.i(b)")
    assert smu.errors.pop()[0] == -223
    ask(smu, "c = smua.makebuffer(1e9)")
    assert smu.errors.pop()[0] == 1101
    ask(smu, "printbuffer(1, 9, smua.nvbuffer1)")
    assert smu.errors.pop()[0] == 1101
    ask(smu, "smua.nvbuffer1.clear() print(smua.nvbuffer1.n)")
    assert not smu.errors


def test_scripts_are_loaded_over_lines_named_and_run_later(make_world):
    smu = make_2614b("smu", make_world())
    for line in ("loadscript double", "function twice(x)", "return 2 * x", "end", "print(twice(21))", "endscript"):
        assert ask(smu, line) == ""
    assert float(ask(smu, "double()")) == 42
    assert float(ask(smu, "double.run()")) == 42
    assert float(ask(smu, "print(twice(4))")) == 8
    for line in ("loadandrunscript", "print('now')"):
        assert ask(smu, line) == ""
    assert ask(smu, "endscript") == "now"
    assert ask(smu, "script.run()") == "now"
    ask(smu, "loadscript broken")
    ask(smu, "x = = 1")
    ask(smu, "endscript")
    assert smu.errors.pop()[0] == -285
    assert ask(smu, "script.delete('double') print(double)") == "nil"
    ask(smu, "loadscript")
    ask(smu, "abort")
    assert ask(smu, "*OPC?") == "1"


def test_a_client_that_dies_in_mid_script_leaves_the_instrument_usable(bench):
    _, host, port, _ = bench.addresses["pair"].split("::")
    with socket.create_connection((host, int(port)), 2.0) as client:
        client.sendall(b"loadscript\nprint(1)\n*OPC?\n")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(10) == b""
    with socket.create_connection((host, int(port)), 2.0) as client:
        client.sendall(b"*OPC?\n")
        assert client.recv(10) == b"1\n"


# --------------------------------------------------------------------------------------------------------- our adapter

ADAPTERS = {"pair": AdapterFor2614B, "fine": AdapterFor2636B}


@pytest.fixture
def open_adapter(bench) -> Iterator[Callable[..., Any]]:
    with contextlib.ExitStack() as stack:

        def make(name: str, address: str | None = None, **options: Any) -> Any:
            adapter = ADAPTERS[name](name, address or bench.addresses[name], **options)
            stack.callback(adapter.close)
            return adapter

        yield make


def prepared(open_adapter: Callable[..., Any], name: str, scale: float, limit: float, channel: str = "smua") -> Any:
    smu = open_adapter(name, source_range=2.0)
    smu.prepare_current_range(scale, channel)
    smu.set_compliance(limit, channel)
    smu.set_voltage(channel, 0.0)
    return smu


@pytest.mark.parametrize("name", ADAPTERS)
def test_opening_identifies_and_changes_nothing(name, bench, open_adapter, capsys, caplog):
    personality = bench.personalities[name]
    personality.handle(b"smua.source.levelv = 0.5 smua.source.output = 1 smub.source.limiti = 1e-6")
    values = [dict(channel._values) for channel in personality._channels]
    log = list(bench.world.log)
    adapter = open_adapter(name)
    assert isinstance(adapter, SourceMeter)
    assert adapter.identity.simulated
    assert adapter.rebooted
    assert adapter.output_is_on("smua")
    assert not adapter.output_is_on("smub")
    adapter.close()
    adapter.close()
    assert (bench.world.log, [dict(channel._values) for channel in personality._channels]) == (log, values)
    assert not personality.errors
    assert not caplog.records
    assert capsys.readouterr().out == ""


def test_the_wrong_model_is_refused(bench, open_adapter):
    with pytest.raises(InstrumentError, match=r"expected a 2614B, found .* Model 2636B"):
        open_adapter("pair", bench.addresses["fine"])
    with pytest.raises(InstrumentError, match="no 6 V source range"):
        open_adapter("pair", source_range=6.0)


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize("channel", ["smua", "smub"])
def test_it_sources_and_measures_on_either_channel(name, channel, bench, open_adapter):
    smu = prepared(open_adapter, name, 1e-6, 1e-7, channel)
    other = "smub" if channel == "smua" else "smua"
    seen = len(bench.world.log)
    bench.world.conductance[f"{name}.{channel}"] = 1e-7
    smu.output_on(channel)
    smu.set_voltage(channel, 0.5)
    assert bench.world.voltages[f"{name}.{channel}"] == 0.5
    assert smu.voltage(channel) == 0.5
    reading = smu.measure_current(0.02, channel)
    assert (reading.value, reading.flag) == (pytest.approx(5e-8), "ok")
    assert smu.voltage_span(channel) == (-2.02, 2.02)
    assert smu.voltage_resolution(channel) == 50e-6
    assert not [entry for entry in bench.world.log[seen:] if entry[2].endswith(other)]
    assert not bench.personalities[name].errors
    with pytest.raises(LimitError, match="nothing was set"):
        smu.set_voltage(channel, 2.03)
    with pytest.raises(InstrumentError, match="smuc"):
        smu.set_voltage("smuc", 0.0)


@pytest.mark.parametrize(("name", "limit"), [("pair", 10e-9), ("fine", 10e-9), ("fine", 0.25e-9)])
def test_a_compliance_reaches_the_world_exactly_and_is_flagged(name, limit, bench, open_adapter):
    smu = prepared(open_adapter, name, limit, limit)
    assert smu.compliance() == limit
    bench.world.conductance[f"{name}.smua"] = 1e-6
    smu.set_voltage("smua", -1.0)
    smu.output_on()
    assert bench.world.limits[f"{name}.smua"] == limit
    reading = smu.measure_current(0.02)
    assert (reading.value, reading.flag) == (pytest.approx(-limit), "compliance")
    smu.set_voltage("smua", 0.0)
    assert smu.measure_current(0.02).flag == "ok"


@pytest.mark.parametrize("limit", [5e-9, 0.0, -10e-9, 2.0, math.nan, math.inf])
def test_a_compliance_that_cannot_be_had_is_an_error_and_the_output_stays_off(limit, bench, open_adapter):
    smu = prepared(open_adapter, "pair", 1e-6, 1e-7)
    with pytest.raises(ComplianceError, match="limit"):
        smu.set_compliance(limit)
    assert not smu.output_is_on()
    assert bench.world.connected["pair.smua"] is False
    assert smu.compliance() == 1e-7
    assert not bench.personalities["pair"].errors


def test_off_is_high_impedance_and_never_a_clamp(bench, open_adapter):
    smu = prepared(open_adapter, "fine", 1e-9, 1e-9)
    port = "fine.smua"
    assert bench.world.connected[port] is False
    smu.set_voltage("smua", 0.3)
    smu.output_on()
    before = len(bench.world.log)
    smu.output_off()
    assert [entry[1:] for entry in bench.world.log[before:]] == [("connect", port, 0.0)]
    with pytest.raises(InstrumentError, match="off"):
        smu.measure_current(0.02)
    assert bench.world.connected["fine.smub"] is True  # the other channel was not touched: it is as it was found
    smu.output_off("smub")
    assert bench.world.connected["fine.smub"] is False


def test_ranges_are_the_smallest_that_hold_and_change_only_with_the_output_off(bench, open_adapter):
    smu = prepared(open_adapter, "fine", 1e-9, 1e-9)
    for current, scale in ((80e-12, 100e-12), (-1e-9, 1e-9), (2e-9, 10e-9), (5e-3, 10e-3), (1.2, 1.5)):
        smu.prepare_current_range(current)
        assert number(bench.personalities["fine"], "smua.measure.rangei") == scale
    for current in (1.6, math.nan):
        with pytest.raises(InstrumentError, match="no range holds"):
            smu.prepare_current_range(current)
    smu.output_on()
    with pytest.raises(InstrumentError, match="only with the output off"):
        smu.prepare_current_range(1e-9)


def test_an_output_found_on_is_taken_over_only_if_it_is_as_we_leave_it(bench, open_adapter):
    smu = prepared(open_adapter, "pair", 1e-6, 1e-7)
    smu.set_voltage("smua", 1.5)
    smu.output_on()
    smu.close()
    again = open_adapter("pair")
    assert again.voltage_span("smua") == (-2.02, 2.02)
    again.set_voltage("smua", 1.4)
    assert bench.world.voltages["pair.smua"] == 1.4
    bench.personalities["pair"].handle(b"smub.source.output = 1")  # by hand, autoranging, NORMAL when off
    stranger = open_adapter("pair")
    with pytest.raises(InstrumentError, match="switch it off by hand"):
        stranger.set_voltage("smub", 0.1)
    stranger.output_off("smub")
    stranger.set_voltage("smub", 0.1)


def test_a_current_beyond_the_range_is_overflow(bench, open_adapter):
    smu = prepared(open_adapter, "pair", 1e-7, 1e-6)
    bench.world.conductance["pair.smua"] = 1e-6
    smu.set_voltage("smua", 0.5)
    smu.output_on()
    reading = smu.measure_current(0.02)
    assert (math.isnan(reading.value), reading.flag) == (True, "overflow")


@pytest.mark.parametrize(("integration_time", "cycles"), [(0.02, 1), (0.03, 1.5), (1.0, 25), (1e-9, 0.001)])
def test_it_integrates_for_at_most_the_asked_time(integration_time, cycles, bench, open_adapter):
    smu = prepared(open_adapter, "pair", 1e-7, 1e-7)
    smu.output_on()
    smu.measure_current(integration_time)
    before = bench.world.time
    smu.measure_current(integration_time)
    assert bench.world.time - before == pytest.approx(cycles / 50 + 0.5e-3)


@pytest.mark.parametrize(("name", "scale"), [("fine", 1e-9), ("pair", 1e-7)])
def test_noise_is_what_the_adapter_says(name, scale, make_bench):
    bench = make_bench(Imperfections(noise=True, offsets=False, quantisation=False))
    smu = ADAPTERS[name](name, bench.addresses[name])
    smu.prepare_current_range(scale)
    smu.set_compliance(scale)
    smu.set_voltage("smua", 0.0)
    smu.output_on()
    values = [smu.measure_current(0.02).value for _ in range(400)]
    smu.close()
    assert np.std(values) == pytest.approx(smu.current_noise(0.02), rel=0.12)


def test_what_it_does_not_do_is_told_with_the_instruments_own_words(bench, open_adapter):
    smu = prepared(open_adapter, "pair", 1e-6, 1e-7)
    bench.personalities["pair"].handle(b"smua.source.rangev = 0.2")  # behind our back
    smu.output_on()
    with pytest.raises(ReadbackError, match=r"1 V but reads back 0 V.*-221,Settings conflict"):
        smu.set_voltage("smua", 1.0)


def test_a_silent_reboot_is_noticed_before_the_next_set(bench, open_adapter):
    smu = prepared(open_adapter, "pair", 1e-6, 1e-7)
    smu.output_on()
    smu.set_voltage("smua", 0.5)
    bench.servers.call(bench.personalities["pair"].reboot)
    with pytest.raises(InstrumentError, match="switched off and on"):
        smu.set_voltage("smua", 0.6)
    assert bench.world.voltages["pair.smua"] == 0
    with pytest.raises(InstrumentError, match="off"):
        smu.measure_current(0.02)


# ----------------------------------------------------------------------------------------------- on the Bench itself

SINE = Path(__file__).parents[2] / "examples" / "sine"


@pytest.fixture
def station_file(edited) -> Path:
    """The sine example with a 2636B in the lead instead of the 2450."""
    return edited(("driver: keithley2450,", "driver: keithley2636b,"), ("drain.current", "drain.smub.current"))


def test_ten_nanoamperes_in_the_station_file_are_ten_nanoamperes_on_the_bench(station_file):
    with Station(station_file) as station:
        response = station.device.query(Query(inputs=[[1.8e-3]]))
        log = [entry for entry in station.world.read_log() if entry.port == "drain.smub"]
        assert response.status == ("settled",)
    told = [(entry.quantity, entry.programmed) for entry in log]
    assert ("connected", 0.0) in told  # before anything else it lets go
    prepared = told[told.index(("connected", 0.0)) :]
    assert prepared.index(("limit", 10e-9)) < prepared.index(("connected", 1.0))
    assert {value for quantity, value in prepared if quantity == "limit"} == {10e-9}
    assert {value for quantity, value in prepared if quantity == "voltage"} == {0.0}


def test_the_2636b_sees_the_current_that_the_2450_sees(station_file):
    found = {}
    for path in (station_file, SINE / "station.yaml"):
        with Station(path) as station:
            response = station.device.query(Query(inputs=np.linspace(0.9e-3, 2.7e-3, 3)))
            found[path.parent.name] = response.nodes[:, 0]
    fine, coarse = found.values()
    assert np.abs(coarse).max() > 1e-10
    assert fine == pytest.approx(coarse, rel=2e-3, abs=60e-12)  # the 2450's offset may be 50 pA


@pytest.fixture
def lead(station_file, tell) -> Iterator[tuple[Any, Any]]:
    """The bench with a bias of 2 mV on the device, and our adapter to the lead's SMU, on at 0 V."""
    twin = build_wire_twin(load_station(station_file))
    tell(twin.addresses["gates"], "sour24:volt -0.2")
    smu = AdapterFor2636B("drain", twin.addresses["drain"], timeout=0.05)
    smu.prepare_current_range(10e-9, "smub")
    smu.set_compliance(10e-9, "smub")
    smu.set_voltage("smub", 0.0)
    smu.output_on("smub")
    twin.sleep(10.0)
    yield twin, smu
    smu.close()
    twin.close()


def test_a_bad_line_never_makes_a_wrong_current(lead):
    """Every fifth reply is spoiled, wrong digits included; a reading is right, or it is an error."""
    twin, smu = lead
    right = {}
    for volts in (0.0, -1.5e-3):
        smu.set_voltage("smub", volts)
        twin.sleep(10.0)
        right[volts] = smu.measure_current(0.02, "smub").value
    assert abs(right[0.0]) > 100e-12
    assert abs(right[-1.5e-3] - right[0.0]) > 10e-12
    twin.risk("drain", Chance(0.2, seed=5, delay=0.1))
    for k in range(30):
        volts = (k % 2) * -1.5e-3
        smu.set_voltage("smub", volts)
        assert smu.voltage("smub") == pytest.approx(volts, abs=5e-6)
        assert smu.compliance("smub") == 10e-9
        twin.sleep(10.0)
        reading = smu.measure_current(0.02, "smub")
        assert (reading.value, reading.flag) == (pytest.approx(right[volts], abs=3e-12), "ok")
    assert len(smu.incidents) > 10
    twin.risk("drain", Chance(0.0))


def test_what_befalls_the_lead_is_a_flag_of_the_reading(lead):
    twin, smu = lead
    right = smu.measure_current(0.02, "smub")
    assert (abs(right.value) > 100e-12, right.flag) == (True, "ok")
    twin.inject("i_lo", "compliance", limit=20e-12, count=1)
    reading = smu.measure_current(0.02, "smub")
    assert (abs(reading.value), reading.flag) == (pytest.approx(20e-12, abs=4e-12), "compliance")
    twin.inject("i_lo", "overflow", count=1)
    reading = smu.measure_current(0.02, "smub")
    assert (math.isnan(reading.value), reading.flag) == (True, "overflow")
    twin.sleep(10.0)
    again = smu.measure_current(0.02, "smub")
    assert (again.value, again.flag) == (pytest.approx(right.value, abs=3e-12), "ok")


def test_a_current_is_sourced_into_the_sample_up_to_the_voltage_limit(lead):
    """A source of current is where the Bench says the sample takes it, or at its voltage limit."""
    twin, smu = lead
    holds = smu.measure_current(0.02, "smub").value  # what it takes to hold the lead at 0 V
    smu.output_off("smub")
    resource: Any = open_resource(twin.addresses["drain"], timeout=5.0)
    try:
        for line in (f"leveli = {0.5 * holds}", "limitv = 0.1", "func = smub.OUTPUT_DCAMPS", "output = 1"):
            resource.write(f"smub.source.{line}")
        resource.write("delay(10) smub.measure.autorangev = 1")
        amps, volts = map(float, resource.query("print(smub.measure.iv())").split("\t"))
        assert amps == pytest.approx(0.5 * holds, abs=5e-12)
        assert 20e-6 < abs(volts) < 3e-3  # between 0 V and the bias
        assert resource.query("print(smub.source.compliance)").strip() == "false"
        resource.write("smub.source.limitv = 0.02 smub.source.leveli = 1e-3 delay(10)")
        assert float(resource.query("print(smub.measure.v())")) == pytest.approx(0.02, rel=0.05)
        assert resource.query("print(smub.source.compliance)").strip() == "true"
        assert float(resource.query("print(errorqueue.count)")) == 0
    finally:
        resource.close()
