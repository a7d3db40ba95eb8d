"""The GS200: the stock driver over a real socket, the manual's rules, the adapter, and what it cannot do."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from qcodes.instrument_drivers.yokogawa import YokogawaGS200
from qcodes.instrument_drivers.yokogawa.Yokogawa_GS200 import ExtendedEventRegister
from qcodes.parameters import ParameterBase

from instruments.transport import open_resource, qcodes_driver
from instruments.yokogawa_gs200 import YokogawaGs200
from labthermo import Query, Station
from labthermo.errors import ComplianceError, InstrumentError, LimitError, StationFileError
from labthermo.instrument import GateDac, SourceMeter, VoltageSource
from simulators.wire.yokogawa_gs200 import YokogawaGs200Personality

PORT = "bias.output"


def ask(personality: YokogawaGs200Personality, message: str) -> str:
    return (personality.handle(message.encode()) or b"").decode().strip()


@pytest.fixture
def raw(bench) -> YokogawaGs200Personality:
    return bench.personalities["bias"]


@pytest.fixture
def driver(bench) -> Iterator[Any]:
    resource = open_resource(bench.addresses["bias"], timeout=1.0)
    made = qcodes_driver(YokogawaGS200)("stock_bias", resource)
    yield made
    made.close()
    resource.close()


@pytest.fixture
def open_adapter(bench) -> Iterator[Callable[..., YokogawaGs200]]:
    opened: list[YokogawaGs200] = []

    def make(**options: Any) -> YokogawaGs200:
        opened.append(YokogawaGs200("bias", bench.addresses["bias"], **options))
        return opened[-1]

    yield make
    for adapter in opened:
        adapter.close()


def parameters_of(module: Any) -> Iterator[ParameterBase]:
    yield from module.parameters.values()
    for child in module.submodules.values():
        yield from parameters_of(child)


# ------------------------------------------------------------------------------------------------- the stock driver


@pytest.mark.parametrize("mode", ["VOLT", "CURR"])
def test_stock_driver_constructs_snapshots_and_gets_everything(mode, driver, raw):
    driver.source_mode(mode)
    snapshot = driver.snapshot(update=True)
    assert snapshot["parameters"]["IDN"]["value"]["serial"].startswith("SIM")
    other = {"voltage", "voltage_range"} if mode == "CURR" else {"current", "current_range"}  # it refuses these itself
    asked = {
        p.name for p in parameters_of(driver) if p.gettable and p.name not in other and p.get() is not NotImplemented
    }
    assert len(asked) > 20
    assert not raw.errors


def test_stock_driver_sets_what_it_can(driver, raw, bench):
    driver.voltage_range(0.1)
    driver.voltage(0.0123456)
    assert driver.voltage() == pytest.approx(0.012346)  # 1 uV steps
    assert bench.world.connected[PORT] is False
    driver.output("on")
    assert driver.output() == "on"
    assert bench.world.voltages[PORT] == pytest.approx(0.012346)
    driver.auto_range(True)
    driver.voltage(5.0)
    assert (driver.voltage(), driver.voltage_range()) == (5.0, 10.0)
    driver.auto_range(False)
    driver.voltage_limit(5)
    driver.current_limit(0.05)
    assert (driver.voltage_limit(), driver.current_limit()) == (5, 0.05)
    assert bench.world.limits[PORT] == 0.05
    driver.four_wire("on")
    driver.guard("on")
    driver.BNC_out("ready")
    driver.BNC_in("output")
    assert (driver.four_wire(), driver.guard(), driver.BNC_out(), driver.BNC_in()) == ("on", "on", "READ", "OUTP")
    driver.output("off")
    assert driver.output() == "off"
    assert bench.world.connected[PORT] is False
    driver.reset()
    assert driver.voltage() == 0.0
    assert not raw.errors


def test_stock_driver_ramps_in_hardware_and_sees_the_end_of_the_program(driver, raw, bench):
    driver.voltage_range(1)
    driver.on()
    before = bench.world.time
    driver.ramp_rate(0.5)
    driver.ramp_voltage(0.25)
    assert driver.voltage() == 0.25
    assert bench.world.time - before == pytest.approx(0.5)
    path = [volts for volts in bench.world.driven(PORT) if volts]
    assert len(path) == 50
    assert np.allclose(np.diff(path), 0.005)
    driver.ramp_mode("HARDWARE")
    driver.voltage(0.0)
    assert driver.extended_event_register() == ExtendedEventRegister(0)  # the ramp itself has read it
    driver.ramp_step(0.002)
    with pytest.raises(TypeError, match="not settable"):  # a defect of the driver: it nests two holds on one parameter
        driver.ramp_voltage(0.01, ramp_mode="SOFTWARE")
    driver.ramp_mode("SOFTWARE")
    driver.voltage(0.01)
    assert driver.voltage() == pytest.approx(0.01)
    assert bench.world.driven(PORT)[-5:] == pytest.approx([0.002, 0.004, 0.006, 0.008, 0.01])
    assert not raw.errors


def test_stock_driver_programs_steps(driver, raw, bench):
    driver.voltage_range(1)
    driver.on()
    driver.program.interval(0.2)
    driver.program.slope(0.0)
    driver.program.repeat("OFF")
    driver.program.start()
    for level in (0.1, -0.2, 0.3):
        driver.write(f":SOUR:LEV {level:.5e}")
    driver.program.end()
    assert driver.voltage() == 0.0  # nothing has moved yet
    driver.program.save("steps.csv")
    driver.program.load("steps.csv")
    driver.program.run()
    assert ExtendedEventRegister.EOP in driver.extended_event_register()
    assert bench.world.driven(PORT)[-3:] == pytest.approx([0.1, -0.2, 0.3])
    assert driver.program.count() == 1
    driver.program.count(2)
    driver.program.hold()
    driver.program.pause()
    driver.program.cont()
    assert (driver.program.load(), driver.program.count()) == ('"steps.csv"', 2)
    assert not raw.errors


def test_stock_driver_as_a_current_source_answers_and_drives_nothing(driver, raw, bench):
    driver.source_mode("CURR")
    driver.current_range(1e-3)
    driver.current(5e-4)
    driver.on()
    driver.ramp_rate(0.01)
    driver.ramp_current(1e-3)
    assert driver.current() == pytest.approx(1e-3)
    assert bench.world.connected[PORT] is False
    assert set(bench.world.driven(PORT)) == {0.0}
    assert not raw.errors


# --------------------------------------------------------------------------------------------------- manual's rules


def test_errors_and_status(raw):
    assert int(ask(raw, "*ESR?")) == 128  # power on
    for message, code in (
        (":SOUR:LEV 12.1", -222), (":SOUR:RANG 31", -222), (":SOUR:PROT:CURR 0.3", -222), (":PROG:RUN", -221),
        (":PROG:EDIT:END", -221), (":PROG:LOAD 'none'", -224), (":NONSENSE 1", -113), (":OUTP 1;:SOUR:FUNC CURR", -221),
    ):  # fmt: skip
        ask(raw, message)
        assert raw.errors.pop() == code, message
    ask(raw, ":NONSENSE 1")
    assert ask(raw, "*STB?;:SYST:ERR?;:SYST:ERR?") == '4;-113,"Undefined header";0,"No error"'
    ask(raw, ":STAT:ENAB 32;*CLS")
    assert ask(raw, ":SOUR:LEV 1;*STB?;:STAT:EVEN?;EVEN?") == "2;32;0"


def test_a_smaller_range_brings_the_level_down_and_reset_disconnects(raw, bench):
    ask(raw, ":SOUR:LEV 5;:OUTP 1;:SOUR:RANG 1")
    assert ask(raw, ":SOUR:LEV?") == "+1.20000E+00"
    assert bench.world.voltages[PORT] == 1.2
    ask(raw, "*RST")
    assert bench.world.connected[PORT] is False
    assert ask(raw, ":OUTP?;:SOUR:RANG?;:SOUR:LEV?") == "0;+1.00000E+01;+0.00000E+00"


# ------------------------------------------------------------------------------------------------------ the adapter


def test_adapter_is_a_voltage_source_and_measures_nothing(open_adapter):
    source = open_adapter()
    assert isinstance(source, VoltageSource)
    assert not isinstance(source, (GateDac, SourceMeter))
    assert source.measured == frozenset()
    assert source.identity.simulated


def test_adapter_connects_at_zero_on_its_range_with_its_limit(bench, raw, open_adapter):
    source = open_adapter(source_range=0.1)
    assert bench.world.connected[PORT] is False
    source.set_voltage("output", 0.01)
    events = [(kind, value) for _, kind, port, value in bench.world.log if port == PORT]
    connected = events.index(("connect", 1.0))
    assert {value for kind, value in events[:connected] if kind == "drive"} == {0.0}
    assert ("limit", 1e-3) in events[:connected]
    assert bench.world.voltages[PORT] == pytest.approx(0.01)
    assert source.voltage("output") == pytest.approx(0.01)
    assert (source.voltage_span("output"), source.voltage_resolution("output")) == ((-0.12, 0.12), 1e-6)
    assert ask(raw, ":SOUR:RANG?") == "+1.00000E-01"
    for value in (0.1201, math.nan, -math.inf):
        with pytest.raises(LimitError, match="nothing was set"):
            source.set_voltage("output", value)
    assert bench.world.voltages[PORT] == pytest.approx(0.01)
    assert not raw.errors


def test_adapter_keeps_the_range_of_an_output_that_is_on(raw, open_adapter):
    ask(raw, ":SOUR:RANG 10;LEV 0.5;:OUTP 1")
    source = open_adapter(source_range=0.1)
    source.set_voltage("output", 0.6)
    assert source.voltage_span("output") == (-12, 12)
    assert ask(raw, ":SOUR:RANG?") == "+1.00000E+01"


def test_adapter_leaves_a_foreign_state_alone(raw, bench, open_adapter):
    ask(raw, ":SOUR:LEV 0.5")
    source = open_adapter()
    with pytest.raises(InstrumentError, match=r"off at 0\.5; set it to 0"):
        source.set_voltage("output", 0.0)
    assert bench.world.connected[PORT] is False
    ask(raw, "*RST;:SOUR:FUNC CURR;:OUTP 1")
    with pytest.raises(InstrumentError, match="current source"):
        source.set_voltage("output", 0.0)
    with pytest.raises(ComplianceError, match="1 mA to 200 mA"):
        open_adapter(current_limit=1e-6)


def test_adapter_notices_a_reboot_before_it_moves_again(raw, bench, open_adapter):
    source = open_adapter()
    source.set_voltage("output", 0.5)
    bench.servers.call(raw.reboot)
    with pytest.raises(InstrumentError, match="switched off and on"):
        source.set_voltage("output", 0.501)
    assert bench.world.voltages[PORT] == 0.0


# ------------------------------------------------------------------------------------------------------ in a station

GATES = (
    '17::5025::SOCKET"}',
    '17::5025::SOCKET"}\n  bias:  {driver: gs200, address: "TCPIP0::192.168.8.16::5025::SOCKET"}',
)
INPUT = ("of: gates.ch24.voltage", "of: bias.output.voltage")


def test_a_station_ramps_its_input_with_it(edited, judge):
    path = edited(GATES, INPUT, ("leakage: {of: gates, max: 1 nA, blank: 50 ms}", "pairs: []"))
    with Station(path, "wire") as station:
        station.device.query(Query(inputs=np.array([[0.1e-3]])))  # connects it
        first = len(station.world.read_log())
        at_start = [e for e in station.world.read_log() if e.port == PORT]
        connected = next(n for n, e in enumerate(at_start) if e.quantity == "connected" and e.actual)
        assert {e.at_sample for e in at_start[:connected] if e.quantity == "voltage"} == {0.0}
        station.device.query(Query(inputs=np.array([[1.5e-3]])))
        log = station.world.read_log()
        verdict = judge(station.config, log, first)
        assert [e.at_sample for e in log if e.channel == "x" and e.quantity == "voltage"][-1] == pytest.approx(1.5e-3)
    assert verdict.moves > 7
    assert verdict.step <= 1 + 1e-9
    assert verdict.slew <= 1 + 1e-9


def test_a_leakage_rule_on_it_is_refused(edited):
    path = edited(GATES, INPUT, ("leakage: {of: gates,", "leakage: {of: bias,"))
    with pytest.raises(StationFileError, match=r"leakage\.of: bias cannot measure its own leakage"):
        Station(path, "wire").__enter__()
