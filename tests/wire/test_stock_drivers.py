"""The drivers that others maintain, unmodified, over real sockets: snapshot, every getter, set and measure."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from qcodes.instrument import VisaInstrument
from qcodes.instrument_drivers.Keithley import Keithley2450
from qcodes.instrument_drivers.Keysight import Keysight34465A
from qcodes.parameters import ParameterBase
from qcodes_contrib_drivers.drivers.QDevil.QDAC2 import QDac2

DRIVERS: dict[str, type[VisaInstrument]] = {"gates": QDac2, "dmm": Keysight34465A, "drain": Keithley2450}


@pytest.fixture
def open_driver(bench) -> Iterator[Callable[..., Any]]:
    with contextlib.ExitStack() as stack:

        def make(name: str) -> Any:
            from instruments.transport import open_resource

            resource: Any = open_resource(bench.addresses[name], timeout=1.0)
            maker: Any = DRIVERS[name]
            with contextlib.redirect_stdout(io.StringIO()):
                driver = maker(f"stock_{name}", None, resource=resource, timeout=1.0, device_clear=False)
            stack.callback(driver.close)
            return driver

        yield make


def parameters_of(module: Any) -> Iterator[ParameterBase]:
    yield from module.parameters.values()
    for child in module.submodules.values():
        if hasattr(child, "parameters"):
            yield from parameters_of(child)


@pytest.mark.parametrize("name", DRIVERS)
def test_every_getter_of_the_driver_is_answered_and_leaves_no_error(name, bench, open_driver):
    driver = open_driver(name)
    if name == "drain":
        for submodule in driver.submodules.values():
            if "user_number" in submodule.parameters:
                submodule.user_number(1)  # without it the driver asks for DELay:USERNone?
            if "sweep_axis" in submodule.parameters:
                submodule.sweep_setup(0, 0.01, 3)
        driver.output_enabled(True)
        for submodule in driver.submodules.values():
            if "sweep" in submodule.parameters:
                submodule.sweep.setpoints = (driver.source.sweep_axis,)
    if name == "dmm":
        driver.timetrace_dt(0.5)  # *RST is 10 PLC with autozero: 0.4 s a reading
        driver.timetrace_npts(3)
    asked = 0
    for parameter in parameters_of(driver):
        if parameter.gettable:
            parameter.get()
            asked += 1
            if name == "drain":
                driver.output_enabled(True)  # a sweep ends with the output off
    assert asked > 25
    assert int(driver.ask("SYST:ERR?").split(",")[0]) == 0
    assert not bench.personalities[name].errors


@pytest.mark.parametrize("name", ["gates", "dmm"])
def test_snapshot_asks_everything_and_leaves_no_error(name, bench, open_driver):
    driver = open_driver(name)
    snapshot = driver.snapshot(update=True)
    assert snapshot["parameters"]["IDN"]["value"]["serial"].startswith("SIM")
    assert not bench.personalities[name].errors


def test_the_2450_driver_asks_for_a_user_delay_without_a_number(bench, open_driver):
    """A defect of the driver that every snapshot meets: ``DELay:USERNone?`` is answered by nothing, as in the lab."""
    driver = open_driver("drain")
    driver.timeout(0.05)
    driver.snapshot(update=True)
    assert set(bench.personalities["drain"].errors) == {-113}


def test_qdac_sets_reads_and_measures(bench, open_driver):
    qdac = open_driver("gates")
    bench.world.conductance["gates.ch03"] = 1e-9
    qdac.ch03.dc_constant_V(0.25)
    assert qdac.ch03.dc_constant_V() == 0.25  # a write is done when the next query is answered
    assert bench.world.voltages["gates.ch03"] == 0.25
    assert qdac.ch03.read_current_A() == pytest.approx([0.25e-9])
    assert qdac.channel(24).dc_constant_V() == 0.0
    assert qdac.n_errors() == 0
    assert qdac.errors() == '0, "No error"'
    assert qdac.mac().count("-") == 5
    qdac.write("nonsense:header 3")
    assert qdac.n_errors() == 1
    assert "-113" in qdac.errors()


def test_qdac_measures_many_contacts_in_one_query(bench, open_driver):
    qdac = open_driver("gates")
    arrangement = qdac.arrange(contacts={"p1": 1, "p2": 2})
    bench.world.conductance |= {"gates.ch01": 1e-9, "gates.ch02": 2e-9}
    arrangement.set_virtual_voltages({"p1": 0.1, "p2": 0.1})
    assert arrangement.currents_A(current_range="low") == pytest.approx([1e-10, 2e-10])


@pytest.mark.parametrize("as_text", [True, False])
def test_qdac_list_upload_in_text_or_binary_drives_every_step(as_text, bench, open_driver):
    qdac = open_driver("gates")
    qdac._no_binary_values = as_text
    voltages = [0.0, 0.25, -0.5, 0.01]
    assert b"\n" in np.float32(0.01).tobytes()  # a newline inside of the block must not end the message
    context = qdac.ch05.dc_list(voltages=voltages, dwell_s=1e-3, repetitions=2)
    assert context.points() == 4
    assert context.values_V() == pytest.approx(voltages)
    before = bench.world.time
    context.start()
    assert context.cycles_remaining() == 0
    assert bench.world.driven("gates.ch05")[-8:] == pytest.approx(voltages * 2)
    assert bench.world.time - before == pytest.approx(8e-3)
    assert not bench.personalities["gates"].errors


def test_qdac_stepped_list_moves_once_per_internal_trigger(bench, open_driver):
    qdac = open_driver("gates")
    trigger = qdac.allocate_trigger()
    context = qdac.ch01.dc_list(voltages=[0.1, 0.2, 0.3], stepped=True)
    context.start_on(trigger)
    for expected in (0.1, 0.2, 0.3):
        qdac.trigger(trigger)
        assert qdac.ch01.dc_last_V() == pytest.approx(expected)


def test_qdac_sweep(bench, open_driver):
    qdac = open_driver("gates")
    sweep = qdac.ch02.dc_sweep(start_V=-0.1, stop_V=0.1, points=5, dwell_s=2e-3)
    sweep.start()
    assert qdac.ch02.dc_last_V() == pytest.approx(0.1)
    assert bench.world.driven("gates.ch02")[-5:] == pytest.approx([-0.1, -0.05, 0, 0.05, 0.1])
    assert sweep.time_s() == pytest.approx(1e-2)


def test_dmm_measures_and_takes_a_time_trace(bench, open_driver):
    dmm = open_driver("dmm")
    bench.world.voltages["dmm.input"] = 0.123456789
    assert dmm.volt() == pytest.approx(0.123456789, abs=1e-15)
    dmm.NPLC(1.0)
    dmm.autozero("OFF")
    dmm.timetrace_npts(5)
    dmm.timetrace_dt(0.1)
    before = bench.world.time
    assert dmm.timetrace() == pytest.approx([0.123456789] * 5)
    assert bench.world.time - before == pytest.approx(0.5)
    bench.world.voltages["dmm.input"] = -13.0
    dmm.range(10)
    assert dmm.volt() == -float("inf")


def test_2450_sources_measures_and_sweeps_into_its_buffer(bench, open_driver):
    smu = open_driver("drain")
    bench.world.conductance["drain.output"] = 1e-6
    smu.sense_function("current")
    smu.source_function("voltage")
    smu.source.limit(1e-4)
    smu.source.voltage(0.5)
    smu.output_enabled(True)
    assert smu.sense.current() == pytest.approx(0.5e-6)
    assert bench.world.voltages["drain.output"] == 0.5
    assert smu.source.limit_tripped() is False
    smu.source.sweep_setup(0, 1, 5)
    assert smu.sense.sweep() == pytest.approx([0, 0.25e-6, 0.5e-6, 0.75e-6, 1e-6])
    assert smu.source.sweep_axis() == pytest.approx([0, 0.25, 0.5, 0.75, 1.0])
    assert not bench.personalities["drain"].errors


def test_2450_buffer_elements(bench, open_driver):
    smu = open_driver("drain")
    bench.world.conductance["drain.output"] = 1e-6
    with smu.buffer("mine", size=20) as buffer:
        buffer.elements(["measurement", "source_value", "measurement_unit", "date", "source_value_status"])
        smu.source.voltage(0.5)
        smu.output_enabled(True)
        smu.sense.current()
        reading, source, unit, date, _status = buffer.get_last_reading().split(",")
        assert float(reading) == pytest.approx(0.5e-6)
        assert (float(source), unit, date) == (0.5, "Amp DC", "01/01/1970")
        assert buffer.number_of_readings() == 1
        assert buffer.size() == 20
        buffer.clear_buffer()
        assert buffer.number_of_readings() == 0
