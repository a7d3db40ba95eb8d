"""The 2400: two stock drivers over real sockets, its manual's rules, and our adapter beside the drivers' defects."""

from __future__ import annotations

import contextlib
import math
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from pymeasure.instruments.keithley import Keithley2400 as PyMeasure2400
from pymeasure.instruments.keithley import Keithley2450 as PyMeasure2450
from qcodes.instrument_drivers.Keithley import Keithley2400 as Qcodes2400

from instruments.keithley2400 import Keithley2400
from instruments.transport import open_resource, pymeasure_driver, qcodes_driver
from labthermo import Query, Station, Status
from labthermo.errors import ComplianceError, InstrumentError, LimitError
from labthermo.instrument import SourceMeter
from simulators.wire.keithley2400 import MEASURE_CURRENT, Keithley2400Personality
from simulators.wire.world import Imperfections

PORT = "smu.output"


def ask(smu: Keithley2400Personality, message: str) -> str:
    return (smu.handle(message.encode()) or b"").decode().strip()


@pytest.fixture
def stock(bench) -> Iterator[Callable[..., Any]]:
    """A stock driver over its own session, closed in the end."""
    with contextlib.ExitStack() as stack:

        def make(driver: Any, name: str = "smu") -> Any:
            resource = open_resource(bench.addresses[name], timeout=1.0)
            stack.callback(resource.close)
            how = qcodes_driver if driver is Qcodes2400 else pymeasure_driver
            made = how(driver)(f"stock_{driver.__name__}_{id(resource)}", resource)
            if driver is Qcodes2400:
                stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def smu(bench) -> Iterator[Keithley2400]:
    adapter = Keithley2400("smu", bench.addresses["smu"], source_range=2.0)
    yield adapter
    adapter.close()


def prepare(smu: Keithley2400, scale: float = 1e-6, limit: float = 1e-7) -> Keithley2400:
    smu.prepare_current_range(scale)
    smu.set_compliance(limit)
    smu.set_voltage("output", 0.0)
    return smu


# ------------------------------------------------------------------------------------------------ PyMeasure's driver

PROPERTIES = sorted(
    name
    for name in dir(PyMeasure2400)
    if isinstance(getattr(PyMeasure2400, name), property) and not name.startswith("_")
)
READ_ONLY = {"id", "complete", "options", "status", "next_error", "error", "buffer_data"}


def test_pymeasure_every_property_is_answered_and_leaves_no_error(bench, stock):
    driver, personality = stock(PyMeasure2400), bench.personalities["smu"]
    bench.world.conductance[PORT] = 1e-6
    driver.source_voltage = 0.5
    driver.source_enabled = True
    driver.resistance_mode_auto_enabled = False  # the simulated instrument has no auto ohms
    driver.config_buffer(2)
    driver.start_buffer()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # half of them are deprecated names of the others
        values = {name: getattr(driver, name) for name in PROPERTIES}
    assert len(values) > 75
    assert values["voltage"] == values["mean_voltage"] == pytest.approx(0.5)
    assert values["current"] == values["max_current"] == pytest.approx(0.5e-6)
    assert values["resistance"] == pytest.approx(1e6)
    assert values["buffer_points"] == 2
    assert values["next_error"][0] == 0
    assert not personality.errors


SETTINGS = {
    "source_mode": "voltage", "source_delay": 0.01, "source_delay_auto_enabled": True, "auto_zero_enabled": False,
    "output_off_state": "disconnected", "auto_output_off_enabled": False, "filter_enabled": True, "filter_count": 5,
    "repeat_filter_enabled": False, "current_range": 1.05e-5, "current_range_auto_enabled": True, "current_nplc": 0.1,
    "compliance_current": 1e-5, "source_current": 1e-6, "source_current_range": 1e-6,
    "source_current_range_auto_enabled": True, "voltage_range_auto_enabled": False, "voltage_nplc": 2,
    "compliance_voltage": 10, "source_voltage_range": 2.1, "source_voltage": 0.25,
    "source_voltage_range_auto_enabled": True, "resistance_mode_auto_enabled": True, "resistance_range": 2e4,
    "resistance_range_auto_enabled": True, "resistance_nplc": 1, "buffer_points": 20, "trigger_count": 3,
    "arm_count": 2, "trigger_delay": 0.01, "arm_timer": 0.2, "trigger_source": "trigger_link", "arm_source": "bus",
    "trigger_output_event": "sense", "arm_output_event": "trigger_exit", "trigger_input_line": 3, "arm_input_line": 3,
    "trigger_output_line": 4, "arm_output_line": 4, "display_enabled": False, "wires": 4, "line_frequency": 50,
    "line_frequency_auto_enabled": False, "front_terminals_enabled": False, "source_enabled": True,
}  # fmt: skip


def test_pymeasure_what_is_set_reads_back(bench, stock):
    driver = stock(PyMeasure2400)
    for name, value in SETTINGS.items():
        setattr(driver, name, value)
        assert getattr(driver, name) == (pytest.approx(value) if isinstance(value, float) else value), name
    assert not bench.personalities["smu"].errors


def test_pymeasure_measures_all_ramps_and_shuts_down(bench, stock):
    driver, world = stock(PyMeasure2400), bench.world
    world.conductance[PORT] = 1e-6
    driver.source_voltage_range = 2  # or every change of range is an overshoot
    driver.enable_source()
    driver.ramp_to_voltage(0.3, steps=4, pause=0.0)
    assert [v for v in world.driven(PORT) if v] == pytest.approx([0.1, 0.2, 0.3])
    everything = driver.measure_all()
    assert everything["voltage"] == pytest.approx(0.3)
    assert everything["current"] == pytest.approx(0.3e-6)
    assert everything["resistance"] == pytest.approx(1e6)
    assert everything["time"] > 0
    assert everything["status"] & 1 << 14  # V-Source
    assert math.isclose(driver.source_voltage, 0.3)
    driver.ramp_to_current(1e-6, steps=3, pause=0.0)
    assert driver.source_current == pytest.approx(1e-6)
    driver.beep(500, 0.1)
    driver.auto_zero_once()
    assert driver.check_errors() == []
    driver.shutdown()
    deadline = time.monotonic() + 5  # nothing confirms its last write
    while ask(bench.personalities["smu"], "OUTP?") == "1" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert ask(bench.personalities["smu"], "OUTP?") == "0"
    assert world.voltages[PORT] == 0


def test_pymeasure_fills_its_buffer_and_waits_for_it(bench, stock):
    driver, world = stock(PyMeasure2400), bench.world
    world.conductance[PORT] = 2e-6
    driver.source_voltage = 0.5
    driver.enable_source()
    driver.config_buffer(points=5, delay=0.1)
    assert not driver.is_buffer_full()
    before = world.time
    driver.start_buffer()
    driver.wait_for_buffer(timeout=5, interval=0.01)
    assert world.time - before > 0.5
    data = driver.buffer_data.reshape(5, 5)
    assert data[:, 0] == pytest.approx([0.5] * 5)
    assert data[:, 1] == pytest.approx([1e-6] * 5)
    assert np.isclose(data[:, 2], 9.91e37).all()  # ohms were not measured
    assert data[0, 3] == 0.0
    assert np.all(np.diff(data[:, 3]) > 0.1)
    assert (driver.mean_current, driver.std_current) == (pytest.approx(1e-6), pytest.approx(0, abs=1e-20))
    driver.reset_buffer()
    driver.stop_buffer()
    driver.disable_buffer()
    driver.trigger_on_bus()
    driver.start_buffer()
    driver.trigger()
    driver.sample_continuously()
    driver.trigger_on_external(2)
    assert driver.check_errors() == []


def test_pymeasure_reads_the_current_by_switching_the_output_on_and_ours_never(bench, stock, smu):
    """As the manual has it (p. 17-5): ``MEASure?`` turns the source on, at whatever level is programmed."""
    prepare(smu)
    smu.set_voltage("output", 0.5)
    with pytest.raises(InstrumentError, match="output is off"):
        smu.measure_current(0.02)
    assert bench.world.connected[PORT] is False
    driver = stock(PyMeasure2400)
    assert driver.current == pytest.approx(0.0, abs=1e-12)
    assert bench.world.connected[PORT] is True
    assert bench.world.voltages[PORT] == 0.5


# --------------------------------------------------------------------------------------------------- QCoDeS's driver


def test_qcodes_constructs_snapshots_sets_and_measures(bench, stock):
    driver, world = stock(Qcodes2400), bench.world
    world.conductance[PORT] = 1e-6
    driver.mode("VOLT")
    driver.rangev(2.0)
    driver.compliancei(1e-5)
    driver.volt(0.25)
    driver.output("on")
    driver.output.get()  # without it the driver takes its own "on" for off, and refuses to measure
    snapshot = driver.snapshot(update=True)["parameters"]
    unknown = {name for name, parameter in snapshot.items() if parameter.get("value") is None}
    assert not unknown
    assert (driver.volt(), driver.curr()) == (pytest.approx(0.25), pytest.approx(0.25e-6))
    assert driver.resistance() == pytest.approx(1e6)
    driver.nplci(0.1)
    driver.output(False)
    assert driver.output.get() is False
    assert not bench.personalities["smu"].errors
    driver.reset()
    assert driver.mode() == "VOLT"
    assert ask(bench.personalities["smu"], "SENS:CURR:PROT?") == "+1.050000E-04"


@pytest.mark.parametrize("asked", [10e-9, 100e-9])
def test_qcodes_sends_a_small_compliance_as_zero_and_ours_arrives(asked, bench, stock, smu):
    personality, world = bench.personalities["smu"], bench.world
    heard: list[bytes] = []
    handle = personality.handle
    personality.handle = lambda message: (heard.append(message), handle(message))[1]
    driver = stock(Qcodes2400)
    driver.compliancei(asked)
    assert float(driver.ask("SENS:CURR:PROT?")) == pytest.approx(105e-6)  # what was there before, 1000 times as much
    assert heard[-2] == b"SENS:CURR:PROT 0.000000"
    assert driver.ask("SYST:ERR?") == '+822,"Too small for sense range"'
    driver.output(True)
    assert driver.output.get() is True
    assert world.limits[PORT] == pytest.approx(105e-6)
    driver.output(False)
    assert driver.output.get() is False

    prepare(smu, asked, asked)
    world.conductance[PORT] = 1e-3
    smu.set_voltage("output", 0.5)
    smu.output_on()
    assert world.limits[PORT] == asked
    assert smu.compliance() == pytest.approx(asked)
    reading = smu.measure_current(0.02)
    assert (reading.value, reading.flag) == (pytest.approx(asked), "compliance")
    assert not smu.incidents


def test_pymeasure_truncates_what_ours_refuses(bench, stock, smu):
    """PyMeasure's 2450 truncates, as its 2400 did before 0.16; that one now refuses, and so do we."""
    truncating = stock(PyMeasure2450, "drain")
    truncating.compliance_current = 50.0
    assert truncating.compliance_current == pytest.approx(1.05)
    truncating.compliance_voltage = 1000.0
    assert truncating.compliance_voltage == pytest.approx(210.0)
    truncating.compliance_voltage = math.nan
    assert truncating.compliance_voltage == pytest.approx(-210.0)
    driver = stock(PyMeasure2400)
    for value in (50.0, math.nan):
        with pytest.raises(ValueError, match="not in range"):
            driver.compliance_current = value
    prepare(smu)
    before = list(bench.world.log)
    for value in (50.0, math.nan, math.inf, -1e-7, 0.0):
        with pytest.raises(ComplianceError, match="nothing was set"):
            smu.set_compliance(value)
    for value in (1000.0, math.nan, -math.inf):
        with pytest.raises(LimitError, match="nothing was set"):
            smu.set_voltage("output", value)
    assert smu.compliance() == pytest.approx(1e-7)
    assert bench.world.log == before


# --------------------------------------------------------------------------------------------------- manual's rules


@pytest.fixture
def raw(bench) -> Keithley2400Personality:
    return bench.personalities["smu"]


def test_reset_state_holds_the_sample_at_zero_volts(raw, bench):
    ask(raw, ":SOUR:VOLT 1;:OUTP ON;*RST")
    assert (bench.world.voltages[PORT], bench.world.connected[PORT]) == (0, True)
    assert bench.world.limits[PORT] == pytest.approx(0.005 * 100e-6)
    state = ask(
        raw, ":OUTP?;:OUTP:SMOD?;:SOUR:FUNC?;:SENS:FUNC?;:SOUR:VOLT?;:SENS:CURR:PROT?;:SENS:CURR:RANG?;RANG:AUTO?"
    )
    assert state == '0;NORM;VOLT;"CURR:DC";+0.000000E+00;+1.050000E-04;+1.050000E-04;1'


def test_nothing_is_read_with_the_output_off_unless_it_switches_itself(raw, bench):
    ask(raw, ":OUTP:SMOD HIMP")
    assert ask(raw, "READ?") == ""
    assert raw.errors.pop() == 803
    assert ask(raw, "FETC?") == ""
    assert raw.errors.pop() == -230
    ask(raw, ":SOUR:CLE:AUTO ON;:SOUR:VOLT 0.5")
    assert len(ask(raw, "READ?").split(",")) == 5
    assert [on for _, kind, _, on in bench.world.log if kind == "connect"][-2:] == [1.0, 0.0]


def test_compliance_and_range_rules(raw, bench):
    ask(raw, ":SENS:CURR:RANG 1e-3")  # beyond the compliance range of 105 uA
    assert raw.errors.pop() == 824
    ask(raw, ":SENS:CURR:PROT 1e-3;RANG 1e-3;PROT 0.9e-6")  # under 0.1 % of the range
    assert raw.errors.pop() == 822
    ask(raw, ":SENS:CURR:RANG 1e-6")
    ask(raw, ":SENS:CURR:PROT 1e-8")
    assert not raw.errors
    ask(raw, ":SENS:CURR:PROT 0.9e-9")
    assert raw.errors.pop() == 822
    ask(raw, ":SENS:CURR:PROT 1.06")
    assert raw.errors.pop() == -222
    ask(raw, "*RST;:SENS:CURR:PROT 1;:SOUR:VOLT 100")
    assert raw.errors.pop() == 826
    ask(raw, "*RST;:SOUR:VOLT 100;:SENS:CURR:PROT 1")
    assert raw.errors.pop() == 826


def test_a_fixed_range_limits_before_a_higher_compliance(raw, bench):
    bench.world.conductance[PORT] = 1e-3
    ask(raw, ":SENS:CURR:RANG 1e-6;:SOUR:VOLT 0.1;:OUTP ON")
    assert bench.world.limits[PORT] == pytest.approx(1.05e-6)
    volts, amperes, ohms, _, status = map(float, ask(raw, "READ?").split(","))
    assert (volts, amperes, ohms) == (0.1, pytest.approx(1.05e-6), 9.91e37)
    assert int(status) & 1 << 16
    assert not int(status) & 1 << 3
    assert ask(raw, ":SENS:CURR:PROT:TRIP?") == "1"


@pytest.mark.parametrize(("state", "connected"), [("NORM", True), ("ZERO", True), ("HIMP", False), ("GUAR", False)])
def test_output_off_states(state, connected, raw, bench):
    ask(raw, f":SOUR:VOLT 1;:OUTP ON;:OUTP:SMOD {state};:OUTP OFF")
    assert bench.world.connected[PORT] is connected
    assert ask(raw, ":SOUR:VOLT?") == "+1.000000E+00"


def test_a_staircase_sweep_into_the_buffer(raw, bench):
    bench.world.conductance[PORT] = 1e-6
    ask(raw, ":SOUR:VOLT:STAR 0;STOP 0.4;STEP 0.1;MODE SWE;:TRIG:COUN 5;:TRAC:POIN 5;FEED:CONT NEXT;:OUTP ON;:INIT")
    assert ask(raw, "TRAC:POIN:ACT?;:STAT:MEAS?") == "5;576"
    data = [float(x) for x in ask(raw, ":FORM:ELEM CURR,VOLT;:TRAC:DATA?").split(",")]
    assert data[::2] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert data[1::2] == pytest.approx([0, 1e-7, 2e-7, 3e-7, 4e-7])


def test_autorange_stays_within_the_compliance_range(raw, bench):
    for conductance, scale in ((1e-9, 1e-6), (5e-6, 10e-6), (50e-6, 100e-6), (1e-3, 100e-6)):
        bench.world.conductance[PORT] = conductance
        ask(raw, ":SOUR:VOLT 1;:OUTP ON;:READ?")
        assert float(ask(raw, ":SENS:CURR:RANG?")) == pytest.approx(1.05 * scale)


# ------------------------------------------------------------------------------------------------------ the adapter


def test_adapter_opens_without_moving_anything(bench):
    bench.personalities["smu"].handle(b":SOUR:VOLT 0.5;:OUTP ON")
    before = list(bench.world.log)
    adapter = Keithley2400("smu", bench.addresses["smu"])
    assert isinstance(adapter, SourceMeter)
    assert "2400" in adapter.identity.model
    assert adapter.identity.simulated
    with pytest.raises(InstrumentError, match="by hand"):  # autorange: not a state of ours
        adapter.set_voltage("output", 0.0)
    adapter.close()
    adapter.close()
    assert bench.world.log == before


def test_adapter_sources_measures_and_lets_go(bench, smu):
    prepare(smu)
    bench.world.conductance[PORT] = 1e-7
    assert bench.world.connected[PORT] is False
    smu.set_voltage("output", 0.5)
    smu.output_on()
    reading = smu.measure_current(0.02)
    assert (reading.value, reading.flag) == (pytest.approx(5e-8), "ok")
    driven = len(bench.world.driven(PORT))
    smu.output_off()
    assert bench.world.connected[PORT] is False
    assert len(bench.world.driven(PORT)) == driven
    with pytest.raises(InstrumentError, match="output is off"):  # though a reading is there to be fetched
        smu.measure_current(0.02)
    assert not smu.incidents
    assert not bench.personalities["smu"].errors


def test_adapter_ranges_stay_fixed_and_change_only_off(bench, smu):
    prepare(smu)
    smu.output_on()
    for voltage in (0.001, 0.1, 2.1, 0.0):
        smu.set_voltage("output", voltage)
    assert bench.world.driven(PORT)[-4:] == [0.001, 0.1, 2.1, 0.0]  # no overshoot in between
    with pytest.raises(InstrumentError, match="output off"):
        smu.prepare_current_range(1e-3)
    smu.output_off()
    smu.prepare_current_range(1e-3)  # from a compliance of 100 nA, which would forbid it
    with pytest.raises(ComplianceError, match=r"beyond the 0\.001 A measuring range"):
        smu.set_compliance(2e-3)
    with pytest.raises(ComplianceError, match=r"0\.1 %"):
        smu.set_compliance(1e-7)
    smu.set_compliance(1e-4)
    smu.prepare_current_range(1e-7)
    assert float(ask(bench.personalities["smu"], ":SENS:CURR:RANG?")) == pytest.approx(1.05e-6)


def test_adapter_takes_over_its_own_state(bench, smu):
    prepare(smu)
    smu.set_voltage("output", 0.5)
    smu.output_on()
    smu.close()
    again = Keithley2400("smu", bench.addresses["smu"], source_range=20.0)
    assert again.output_is_on()
    again.set_voltage("output", 0.4)
    assert again.voltage_span("output") == (-2.1, 2.1)
    again.close()


@pytest.mark.parametrize(("integration_time", "cycles"), [(0.02, 1), (0.05, 2.5), (10, 10), (1e-6, 0.01)])
def test_adapter_integrates_for_at_most_the_asked_time(integration_time, cycles, bench, smu):
    prepare(smu).output_on()
    smu.measure_current(integration_time)
    before = bench.world.time
    smu.measure_current(integration_time)
    assert bench.world.time - before == pytest.approx(3 * cycles / 50 + 2e-3, abs=1e-4)


def test_adapter_noise_is_what_it_says(make_bench):
    bench = make_bench(Imperfections(noise=True, offsets=False, quantisation=False))
    smu = Keithley2400("smu", bench.addresses["smu"])
    smu.prepare_current_range(1e-6)
    smu.output_on()
    values = [smu.measure_current(0.002).value for _ in range(600)]
    smu.close()
    assert np.std(values) == pytest.approx(smu.current_noise(0.002), rel=0.12)


def test_adapter_and_instrument_have_the_same_ranges():
    from instruments.keithley2400 import CURRENT_NOISE

    assert {r.full_scale: r.noise for r in MEASURE_CURRENT} == CURRENT_NOISE


def test_a_station_holds_its_lead_with_ten_nanoamperes_on_the_bench(edited):
    """Through Guard, on the simulated sample; the Bench's own log says what arrived, and when."""
    path = edited(("keithley2450", "keithley2400"), ("leakage: {of: gates, max: 1 nA, blank: 50 ms}", "pairs: []"))
    with Station(path, "wire") as station:
        response = station.device.query(Query(inputs=np.array([[1e-3]])))
        log = [e for e in station.world.read_log() if e.port == "drain.output" and e.time > 0]
    assert response.status == (Status.SETTLED,)
    assert np.isfinite(response.nodes).all()
    assert [e.actual for e in log if e.quantity == "limit"] == [10e-9]
    connected = next(n for n, e in enumerate(log) if e.quantity == "connected" and e.actual)
    assert "limit" in {e.quantity for e in log[:connected]}  # before the output went on
