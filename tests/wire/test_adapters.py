"""The adapters over the stock drivers over real sockets over the personalities."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from instruments.keithley2450 import Keithley2450
from instruments.keysight34465a import Keysight34465A
from instruments.qdac2 import Qdac2
from labthermo.errors import ComplianceError, InstrumentError, LimitError, ReadbackError
from labthermo.instrument import GateDac, SourceMeter, Voltmeter
from simulators.wire.world import Imperfections

ADAPTERS = {"gates": Qdac2, "dmm": Keysight34465A, "drain": Keithley2450}
PROTOCOLS = {"gates": GateDac, "dmm": Voltmeter, "drain": SourceMeter}
MODELS = {"gates": "QDAC-II", "dmm": "34465A", "drain": "2450"}


@pytest.fixture
def open_adapter(bench) -> Iterator[Callable[..., Any]]:
    with contextlib.ExitStack() as stack:

        def make(name: str, address: str | None = None, **options: Any) -> Any:
            adapter = ADAPTERS[name](name, address or bench.addresses[name], **options)
            stack.callback(adapter.close)
            return adapter

        yield make


@pytest.mark.parametrize("name", ADAPTERS)
def test_opening_identifies_and_moves_nothing_and_prints_nothing(name, bench, open_adapter, capsys, caplog):
    personality = bench.personalities[name]
    personality.handle(b"sour3:volt 0.5")
    personality.handle(b":SOUR:VOLT 0.5;:OUTP ON")
    personality.errors.clear()
    before = list(bench.world.log), dict(personality.values)
    adapter = open_adapter(name)
    assert isinstance(adapter, PROTOCOLS[name])
    assert MODELS[name] in adapter.identity.model
    assert adapter.identity.simulated
    personality.values.pop(("display_text", 1), None)  # all that a driver writes: the 34465A's clears the display
    assert (bench.world.log, personality.values) == before
    assert not personality.errors
    assert not caplog.records
    adapter.close()
    adapter.close()
    assert (bench.world.log, personality.values) == before
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ADAPTERS)
def test_the_wrong_instrument_is_refused(name, bench, open_adapter):
    other = "dmm" if name == "gates" else "gates"
    with pytest.raises(InstrumentError) as error:
        open_adapter(name, bench.addresses[other])
    assert all(word in str(error.value) for word in (bench.addresses[other], MODELS[name], MODELS[other]))
    open_adapter(name)


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_instrument_can_be_opened_again_and_twice(name, open_adapter):
    first = open_adapter(name)
    second = open_adapter(name)
    first.close()
    assert second.identity == open_adapter(name).identity


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_stopped_bench_is_an_error_at_once(name, bench, open_adapter):
    adapter = open_adapter(name)
    bench.servers.stop()
    begin = time.monotonic()
    with pytest.raises(InstrumentError, match=name):
        adapter.measure_voltage(0.02) if name == "dmm" else adapter.voltage(adapter.source_channels()[0])
    assert time.monotonic() - begin < 1


# ------------------------------------------------------------------------------------------------------------ QDAC-II


def test_qdac_sets_and_reads_every_channel(bench, open_adapter):
    gates = open_adapter("gates")
    assert gates.source_channels() == tuple(f"ch{number:02d}" for number in range(1, 25))
    for number, channel in enumerate(gates.source_channels(), start=1):
        gates.set_voltage(channel, 0.01 * number)
        assert bench.world.voltages[f"gates.{channel}"] == 0.01 * number
        assert gates.voltage(channel) == pytest.approx(0.01 * number, abs=1e-9)
    with pytest.raises(InstrumentError, match="ch25"):
        gates.set_voltage("ch25", 0.0)


def test_qdac_knows_its_range(bench, open_adapter):
    bench.personalities["gates"].handle(b"sour2:rang low")
    gates = open_adapter("gates")
    assert gates.voltage_span("ch01") == (-10, 10)
    assert gates.voltage_span("ch02") == (-2, 2)
    assert gates.voltage_resolution("ch02") == 4 / 2**25
    gates.set_voltage("ch01", 3.0)
    with pytest.raises(LimitError, match=r"ch02: 3 V is outside its range -2 to 2 V; nothing was set"):
        gates.set_voltage("ch02", 3.0)
    bench.personalities["gates"].handle(b"sour3:rang low")  # behind our back
    with pytest.raises(ReadbackError, match=r"ch03.*3 V.*-222"):
        gates.set_voltage("ch03", 3.0)
    assert bench.world.voltages["gates.ch02"] == bench.world.voltages["gates.ch03"] == 0


def test_qdac_voltage_is_asked_from_the_instrument(bench, open_adapter):
    gates = open_adapter("gates")
    gates.set_voltage("ch01", 0.5)
    bench.servers.call(lambda: bench.personalities["gates"].handle(b"*RST"))  # a silent reboot
    assert gates.voltage("ch01") == 0.0
    gates.set_voltage("ch01", 0.001)
    assert max(bench.world.driven("gates.ch01")[-2:]) == 0.001


def test_qdac_measures_leakage_on_its_sensitive_range(bench, open_adapter):
    gates = open_adapter("gates")
    bench.world.conductance["gates.ch04"] = 1e-9
    gates.set_voltage("ch04", 0.1)
    assert gates.measure_leakage("ch04").value == pytest.approx(1e-10)
    bench.world.conductance["gates.ch04"] = -1e-5
    reading = gates.measure_leakage("ch04")
    assert reading.flag == "overflow"
    assert math.isnan(reading.value)


def test_qdac_set_waits_for_a_finite_slew(bench, open_adapter):
    bench.personalities["gates"].handle(b"sour1:volt:slew 1")
    gates = open_adapter("gates")
    before = bench.world.time
    gates.set_voltage("ch01", 0.1)
    assert bench.world.time - before == pytest.approx(0.1)
    steps = np.diff(bench.world.driven("gates.ch01"))
    assert len(steps) > 50
    assert steps.max() < 0.0025
    assert steps.min() >= 0


# ------------------------------------------------------------------------------------------------------------- 34465A


def test_dmm_measures_on_a_fixed_range_with_a_high_input_resistance(bench, open_adapter):
    dmm, personality = open_adapter("dmm"), bench.personalities["dmm"]
    bench.world.voltages["dmm.input"] = -0.3
    dmm.prepare_voltage_range(0.5)
    reading = dmm.measure_voltage(0.02)
    assert (reading.value, reading.flag) == (pytest.approx(-0.3), "ok")
    state = b"VOLT:RANG?;:VOLT:RANG:AUTO?;:VOLT:IMP:AUTO?;:VOLT:ZERO:AUTO?;:VOLT:NPLC?"
    assert personality.handle(state) == b"+1.00000000E+00;0;1;0;+1.00000000E+00\n"
    bench.world.voltages["dmm.input"] = 1.3
    reading = dmm.measure_voltage(0.02)
    assert reading.flag == "overflow"
    assert math.isnan(reading.value)


@pytest.mark.parametrize(
    ("voltage", "scale"), [(0.0, 0.1), (0.12, 0.1), (0.13, 1), (-1.2, 1), (5, 10), (130, 1000), (1000, 1000)]
)
def test_dmm_takes_the_smallest_range_that_holds(voltage, scale, bench, open_adapter):
    dmm = open_adapter("dmm")
    bench.world.voltages["dmm.input"] = voltage
    dmm.prepare_voltage_range(voltage)
    assert float(bench.personalities["dmm"].handle(b"VOLT:RANG?")) == scale
    assert dmm.measure_voltage(0.02).flag == "ok"


def test_dmm_beyond_its_ranges(open_adapter):
    with pytest.raises(InstrumentError, match="1001 V"):
        open_adapter("dmm").prepare_voltage_range(1001)


@pytest.mark.parametrize(
    ("integration_time", "cycles"), [(0.02, 1), (0.0199, 0.2), (0.2, 10), (1.9, 10), (1e-9, 0.001)]
)
def test_dmm_integrates_for_at_most_the_asked_time(integration_time, cycles, bench, open_adapter):
    dmm = open_adapter("dmm")
    dmm.prepare_voltage_range(1.0)
    dmm.measure_voltage(integration_time)
    before = bench.world.time
    dmm.measure_voltage(integration_time)
    assert bench.world.time - before == pytest.approx(cycles / 50 + 0.4e-3)


@pytest.mark.parametrize("integration_time", [0.0005, 0.02])
def test_dmm_noise_is_what_the_adapter_says(integration_time, make_bench):
    bench = make_bench(Imperfections(noise=True, offsets=False, quantisation=False))
    dmm = Keysight34465A("dmm", bench.addresses["dmm"])
    dmm.prepare_voltage_range(1.0)
    values = [dmm.measure_voltage(integration_time).value for _ in range(600)]
    dmm.close()
    assert np.std(values) == pytest.approx(dmm.voltage_noise(integration_time), rel=0.12)


# --------------------------------------------------------------------------------------------------------------- 2450


def prepared(open_adapter: Callable[..., Any], scale: float = 1e-6, limit: float = 1e-7) -> Any:
    smu = open_adapter("drain", source_range=2.0)
    smu.prepare_current_range(scale)
    smu.set_compliance(limit)
    smu.set_voltage("output", 0.0)
    return smu


def test_smu_sources_and_measures(bench, open_adapter):
    smu = prepared(open_adapter)
    bench.world.conductance["drain.output"] = 1e-7
    smu.output_on()
    smu.set_voltage("output", 0.5)
    assert bench.world.voltages["drain.output"] == 0.5
    assert smu.voltage("output") == 0.5
    reading = smu.measure_current(0.02)
    assert (reading.value, reading.flag) == (pytest.approx(5e-8), "ok")
    assert smu.voltage_span("output") == (-2.1, 2.1)
    assert smu.voltage_resolution("output") == 50e-6
    assert not bench.personalities["drain"].errors


def test_smu_compliance_of_ten_nanoamperes_reaches_the_world_and_is_flagged(bench, open_adapter):
    smu = prepared(open_adapter, 100e-9, 10e-9)
    assert smu.compliance() == pytest.approx(10e-9)
    bench.world.conductance["drain.output"] = 1e-6
    smu.set_voltage("output", -1.0)
    smu.output_on()
    assert bench.world.limits["drain.output"] == 10e-9
    reading = smu.measure_current(0.02)
    assert (reading.value, reading.flag) == (pytest.approx(-10e-9), "compliance")
    smu.set_voltage("output", 1e-3)
    assert smu.measure_current(0.02).flag == "ok"


@pytest.mark.parametrize("limit", [0.5e-9, 2.0, 1e-9, math.nan])
def test_smu_compliance_that_cannot_be_had_is_an_error_and_the_output_stays_off(limit, bench, open_adapter):
    smu = prepared(open_adapter)
    with pytest.raises(ComplianceError, match="limit"):
        smu.set_compliance(limit)
    assert not smu.output_is_on()
    assert bench.world.connected["drain.output"] is False
    assert smu.compliance() == pytest.approx(1e-7)


def test_smu_current_beyond_the_range_is_overflow(bench, open_adapter):
    smu = prepared(open_adapter, 1e-8, 1e-6)
    bench.world.conductance["drain.output"] = 1e-7
    smu.set_voltage("output", 0.5)
    smu.output_on()
    assert smu.measure_current(0.02).flag == "overflow"


def test_smu_off_is_high_impedance_and_never_a_clamp(bench, open_adapter):
    smu = prepared(open_adapter)
    assert bench.world.connected["drain.output"] is False
    smu.set_voltage("output", 0.5)
    smu.output_on()
    driven = len(bench.world.driven("drain.output"))
    smu.output_off()
    assert bench.world.connected["drain.output"] is False
    assert len(bench.world.driven("drain.output")) == driven
    with pytest.raises(InstrumentError, match="off"):
        smu.measure_current(0.02)
    smu.output_off()
    assert smu.voltage("output") == 0.5


@pytest.mark.parametrize("measured_before", [False, True])
def test_smu_off_is_no_doubt_about_the_line_whatever_was_measured_before(measured_before, bench, open_adapter):
    """With the output off the measurement is refused, and a fetch answers with a stale reading, if there is one."""
    smu = prepared(open_adapter)
    smu.set_voltage("output", 0.5)
    if measured_before:
        smu.output_on()
        smu.measure_current(0.02)
        smu.output_off()
    with pytest.raises(InstrumentError, match="its output is off"):
        smu.measure_current(0.02)
    assert not smu.incidents
    assert not bench.personalities["drain"].errors
    smu.output_on()
    assert smu.measure_current(0.02).flag == "ok"


def test_smu_range_never_changes_with_the_output_on(bench, open_adapter):
    smu = prepared(open_adapter)
    smu.output_on()
    with pytest.raises(InstrumentError, match="output off"):
        smu.prepare_current_range(1e-3)
    for voltage in (0.001, 0.01, 0.1, 1.0, 2.1, 0.0):
        smu.set_voltage("output", voltage)
    assert bench.world.driven("drain.output")[-6:] == [0.001, 0.01, 0.1, 1.0, 2.1, 0.0]  # no overshoot in between
    with pytest.raises(LimitError, match=r"5 V is outside its range -2.1 to 2.1 V"):
        smu.set_voltage("output", 5.0)


def test_smu_found_on_is_taken_over_if_it_is_as_left(bench, open_adapter):
    smu = prepared(open_adapter)
    smu.set_voltage("output", 0.5)
    smu.output_on()
    smu.close()
    again = open_adapter("drain", source_range=20.0)
    assert again.output_is_on()
    assert again.voltage_span("output") == (-2.1, 2.1)
    again.set_voltage("output", 0.4)
    assert again.voltage("output") == 0.4


def test_smu_found_on_in_a_foreign_state_is_left_alone_but_can_be_switched_off(bench, open_adapter):
    bench.personalities["drain"].handle(b":SOUR:VOLT 0.5;:OUTP ON")  # autorange
    smu = open_adapter("drain")
    with pytest.raises(InstrumentError, match="by hand"):
        smu.set_voltage("output", 0.0)
    assert bench.world.voltages["drain.output"] == 0.5
    smu.output_off()
    assert bench.world.connected["drain.output"] is False


def test_smu_in_another_command_set_is_refused(bench, open_adapter):
    bench.personalities["drain"].handle(b"*LANG TSP")
    with pytest.raises(InstrumentError, match="SCPI"):
        open_adapter("drain")


@pytest.mark.parametrize(("integration_time", "cycles"), [(0.02, 1), (0.05, 2.5), (10, 10), (1e-6, 0.01)])
def test_smu_integrates_for_at_most_the_asked_time(integration_time, cycles, bench, open_adapter):
    smu = prepared(open_adapter)
    smu.output_on()
    smu.measure_current(integration_time)
    before = bench.world.time
    smu.measure_current(integration_time)
    assert bench.world.time - before == pytest.approx(2 * cycles / 50 + 1e-3)  # autozero doubles it


def test_smu_noise_is_what_the_adapter_says(make_bench):
    bench = make_bench(Imperfections(noise=True, offsets=False, quantisation=False))
    smu = Keithley2450("drain", bench.addresses["drain"])
    smu.prepare_current_range(1e-6)
    smu.output_on()
    values = [smu.measure_current(0.002).value for _ in range(600)]
    smu.close()
    assert np.std(values) == pytest.approx(smu.current_noise(0.002), rel=0.12)


def test_a_set_or_a_reading_is_fast(bench, open_adapter):
    gates, dmm, smu = open_adapter("gates"), open_adapter("dmm"), prepared(open_adapter)
    dmm.prepare_voltage_range(1.0)
    smu.output_on()
    for action in (
        lambda: gates.set_voltage("ch01", 0.1),
        lambda: smu.set_voltage("output", 0.1),
        lambda: dmm.measure_voltage(0.02),
        lambda: smu.measure_current(0.02),
    ):
        action()
        begin = time.perf_counter()
        for _ in range(50):
            action()
        assert (time.perf_counter() - begin) / 50 < 10e-3  # 0.3 ms when the machine is quiet; 44 ms with Nagle
