"""What the simulated instruments do to the world, by their manuals; asked without a wire in between."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simulators.wire.keithley2450 import Keithley2450Personality
from simulators.wire.keysight34465a import DC_VOLTAGE, Keysight34465APersonality
from simulators.wire.qdac2 import VOLTAGE, Qdac2Personality
from simulators.wire.world import Imperfections

ONLY_OFFSETS = Imperfections(noise=False, offsets=True, quantisation=False)
ONLY_STEPS = Imperfections(noise=False, offsets=False, quantisation=True)


@pytest.fixture
def make_world(bench) -> Any:
    def make(imperfections: Imperfections = bench.world.imperfections, seed: int = 1) -> Any:
        return type(bench.world)(imperfections=imperfections, seed=seed)

    return make


def ask(personality: Any, message: str) -> str:
    reply = personality.handle(message.encode())
    return "" if reply is None else reply.decode()[:-1]


# ------------------------------------------------------------------------------------------------------------ QDAC-II


def test_qdac_starts_connected_at_zero_and_resets_to_zero(make_world):
    world = make_world()
    qdac = Qdac2Personality("gates", world)
    assert all(world.connected[f"gates.ch{n:02d}"] and world.voltages[f"gates.ch{n:02d}"] == 0 for n in range(1, 25))
    ask(qdac, "sour1:rang low")
    ask(qdac, "sour1:volt 0.5")
    ask(qdac, "*rst")
    assert world.voltages["gates.ch01"] == 0
    assert ask(qdac, "sour1:rang?") == "HIGH"


def test_qdac_quantises_to_25_bits_of_the_range(make_world):
    world = make_world(ONLY_STEPS)
    qdac = Qdac2Personality("gates", world)
    ask(qdac, "sour1:volt 0.1234567891")
    ask(qdac, "sour2:rang low")
    ask(qdac, "sour2:volt 0.1234567891")
    for port, span in (("gates.ch01", 20), ("gates.ch02", 4)):
        steps = world.voltages[port] / (span / 2**25)
        assert steps == pytest.approx(round(steps), abs=1e-6)
        assert abs(world.voltages[port] - 0.1234567891) <= span / 2**26
    assert world.voltages["gates.ch01"] != world.voltages["gates.ch02"]


def test_qdac_offsets_are_each_channels_own_and_within_the_data_sheet(make_world):
    world = make_world(ONLY_OFFSETS)
    Qdac2Personality("gates", world)
    offsets = np.array([world.voltages[f"gates.ch{n:02d}"] for n in range(1, 25)])
    assert len(set(offsets)) == 24
    assert 0 < np.abs(offsets).max() <= VOLTAGE["HIGH"].offset_limit


def test_qdac_refuses_what_does_not_fit(make_world):
    world = make_world()
    qdac = Qdac2Personality("gates", world)
    for message, code in (
        ("sour1:volt 10.1", -222),
        ("sour25:volt 1", -114),
        ("sour1:list:volt 1,11", -222),
        ("sour1:sine:freq 10", -113),
        ("*opc?;*idn?", -113),
    ):
        assert ask(qdac, message) == ""
        assert qdac.errors.pop() == code
    ask(qdac, "sour1:volt 5")
    ask(qdac, "sour1:rang low")
    assert qdac.errors.pop() == -221
    ask(qdac, "sour1:volt:mode list")
    ask(qdac, "sour1:volt 0")
    assert qdac.errors.pop() == -221
    assert world.voltages["gates.ch01"] == 5


def test_qdac_queries_no_errors_and_all_errors(make_world):
    qdac = Qdac2Personality("gates", make_world())
    assert ask(qdac, "syst:err:all?") == '0, "No error"'
    ask(qdac, "x")
    ask(qdac, "sour1:volt 11")
    assert ask(qdac, "syst:err:coun?") == "2"
    assert ask(qdac, "syst:err:all?") == '-113, "Undefined header",-222, "Data out of range"'
    assert ask(qdac, "syst:err:coun?") == "0"


# ------------------------------------------------------------------------------------------------------------- 34465A


@pytest.mark.parametrize(("voltage", "reply"), [(0.121, "+9.90000000E+37"), (-5.0, "-9.90000000E+37")])
def test_dmm_overload_of_either_sign(voltage, reply, make_world):
    world = make_world(ONLY_STEPS)
    dmm = Keysight34465APersonality("dmm", world)
    world.voltages["dmm.input"] = voltage
    assert ask(dmm, "VOLT:RANG 0.1;:READ?") == reply


def test_dmm_autoranges_with_its_hysteresis(make_world):
    world = make_world()
    dmm = Keysight34465APersonality("dmm", world)
    for voltage, scale in ((0.05, 0.1), (0.11, 0.1), (0.13, 1), (0.11, 1), (0.09, 0.1), (1100.0, 1000)):
        world.voltages["dmm.input"] = voltage
        ask(dmm, "READ?")
        assert float(ask(dmm, "VOLT:RANG?")) == scale


def test_dmm_reset_state_and_reading_time(make_world):
    world = make_world()
    dmm = Keysight34465APersonality("dmm", world)
    ask(dmm, "VOLT:RANG 1;NPLC 1;ZERO:AUTO OFF;:SAMP:COUN 3")
    before = world.time
    assert len(ask(dmm, "READ?").split(",")) == 3
    assert world.time - before == pytest.approx(3 * (0.02 + 0.4e-3))
    ask(dmm, "*RST")
    query = "VOLT:NPLC?;:VOLT:RANG:AUTO?;:VOLT:ZERO:AUTO?;:VOLT:IMP:AUTO?;:SAMP:COUN?;:TRIG:SOUR?"
    assert ask(dmm, query) == "+1.00000000E+01;1;1;0;+1;IMM"
    before = world.time
    ask(dmm, "READ?")
    assert world.time - before == pytest.approx(0.4 + 0.4e-3)  # autozero doubles 10 power line cycles


def test_dmm_resolution_follows_range_and_integration_time(make_world):
    dmm = Keysight34465APersonality("dmm", make_world())
    assert float(ask(dmm, "VOLT:RANG 10;NPLC 1;RES?")) == pytest.approx(3e-6)
    assert float(ask(dmm, "VOLT:RES 1E-6;NPLC?")) == 10
    assert float(ask(dmm, "VOLT:NPLC 0.5;NPLC?")) == 1
    ask(dmm, "VOLT:NPLC 101")
    assert dmm.errors.pop() == -222


def test_dmm_offset_is_static_and_within_one_year_accuracy(make_world):
    readings = []
    for seed in range(20):
        world = make_world(ONLY_OFFSETS, seed)
        dmm = Keysight34465APersonality("dmm", world)
        world.voltages["dmm.input"] = 1.0
        ask(dmm, "VOLT:RANG 1")
        readings.append(float(ask(dmm, "READ?")))
        assert float(ask(dmm, "READ?")) == readings[-1]
    limit = DC_VOLTAGE[1].gain_limit + DC_VOLTAGE[1].offset_limit
    errors = np.array(readings) - 1
    assert len(set(readings)) == 20
    assert 0.1 * limit < np.abs(errors).max() <= limit


# --------------------------------------------------------------------------------------------------------------- 2450


def test_smu_reset_clamps_to_zero_volts(make_world):
    world = make_world()
    smu = Keithley2450Personality("drain", world)
    ask(smu, ":SOUR:VOLT 1;:OUTP ON")
    assert (world.voltages["drain.output"], world.connected["drain.output"]) == (1, True)
    ask(smu, "*RST")
    assert (world.voltages["drain.output"], world.connected["drain.output"]) == (0, True)
    query = ":OUTP?;:OUTP:SMOD?;:SOUR:FUNC?;:SENS:FUNC?;:SOUR:VOLT?;:SOUR:VOLT:ILIM?;:SENS:CURR:RANG:AUTO?"
    assert ask(smu, query) == '0;NORM;VOLT;"CURR:DC";0.000000E+00;1.050000E-04;1'


@pytest.mark.parametrize(("state", "connected"), [("NORM", True), ("ZERO", True), ("HIMP", False), ("GUAR", False)])
def test_smu_output_off_states(state, connected, make_world):
    world = make_world()
    smu = Keithley2450Personality("drain", world)
    ask(smu, f":SOUR:VOLT 1;:OUTP ON;:OUTP:SMOD {state};:OUTP OFF")
    assert world.connected["drain.output"] is connected
    assert world.voltages["drain.output"] == (0 if connected else 1)
    assert ask(smu, ":SOUR:VOLT?") == "1.000000E+00"


def test_smu_relay_takes_its_time_and_nothing_is_measured_while_it_is_open(make_world):
    world = make_world()
    smu = Keithley2450Personality("drain", world)
    ask(smu, ":OUTP:SMOD HIMP")
    assert ask(smu, ":MEAS?") == ""
    assert smu.errors.pop() == -221
    before = world.time
    ask(smu, ":OUTP ON")
    assert world.time - before == pytest.approx(15e-3)


def test_smu_range_change_overshoots_only_with_the_output_on(make_world):
    world = make_world()
    smu = Keithley2450Personality("drain", world)
    ask(smu, ":OUTP:SMOD HIMP;:SOUR:VOLT:RANG 2;:SOUR:VOLT:RANG 0.2;:SOUR:VOLT:RANG 2;:SOUR:VOLT 0.1;:OUTP ON")
    assert world.driven("drain.output") == [0.0, 0.1]
    ask(smu, ":SOUR:VOLT:RANG 20")
    shock, settled = world.driven("drain.output")[2:]
    assert settled == 0.1
    assert 0.04 < abs(shock - 0.1) <= 0.25
    ask(smu, ":SOUR:VOLT:RANG:AUTO ON;:SOUR:VOLT 0.11")  # autorange goes back to 200 mV
    assert len(world.driven("drain.output")) == 4 + 3


def test_smu_limit_and_range_rules(make_world):
    world = make_world()
    smu = Keithley2450Personality("drain", world)
    ask(smu, ":SENS:CURR:RANG 1e-4;:SOUR:VOLT:ILIM 1e-8")
    assert smu.errors.pop() == -221
    ask(smu, ":SENS:CURR:RANG 1e-6;:SOUR:VOLT:ILIM 1e-8")
    assert ask(smu, ":SOUR:VOLT:ILIM?") == "1.000000E-08"
    ask(smu, ":SENS:CURR:RANG 1e-4")
    assert smu.errors.pop() == -221
    assert ask(smu, ":SENS:CURR:RANG?") == "1.000000E-06"
    for message in (":SOUR:VOLT:ILIM 1e-10", ":SOUR:VOLT:ILIM 1.06", ":SOUR:VOLT 211"):
        ask(smu, message)
        assert smu.errors.pop() == -222


def test_smu_trips_and_measures_in_compliance(make_world):
    world = make_world()
    smu = Keithley2450Personality("drain", world)
    world.conductance["drain.output"] = 1e-3
    ask(smu, ":SOUR:VOLT 1;:SOUR:VOLT:ILIM 1e-6;:OUTP ON")
    assert ask(smu, ":SOUR:VOLT:ILIM:TRIP?") == "1"
    assert float(ask(smu, ":MEAS?")) == pytest.approx(1e-6)
    ask(smu, ":SOUR:VOLT 0.0001")
    assert ask(smu, ":SOUR:VOLT:ILIM:TRIP?") == "0"


def test_smu_sweep_aborts_at_its_limit_and_ends_off(make_world):
    world = make_world()
    smu = Keithley2450Personality("drain", world)
    world.conductance["drain.output"] = 1e-6
    ask(smu, ":SOUR:VOLT:ILIM 5e-7;:SOUR:SWE:VOLT:LIN 0,1,11,1e-3,1,BEST,ON,OFF,'defbuffer2'")
    ask(smu, ":INIT;*WAI")
    assert int(ask(smu, ":TRAC:ACT? 'defbuffer2'")) == 7
    data = [float(x) for x in ask(smu, ":TRAC:DATA? 1, 7, 'defbuffer2', SOUR, READ").split(",")]
    assert data[::2] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert data[1::2] == pytest.approx([0, 1e-7, 2e-7, 3e-7, 4e-7, 5e-7, 5e-7])
    assert ask(smu, ":OUTP?") == "0"
    ask(smu, ":SOUR:SWE:VOLT:LIN 0,1,3,0,1,BEST,OFF,ON;:INIT")
    assert ask(smu, ":TRAC:ACT?") == "5"


def test_smu_measures_voltage_and_resistance(make_world):
    world = make_world()
    smu = Keithley2450Personality("drain", world)
    world.conductance["drain.output"] = 1e-6
    ask(smu, ":SOUR:VOLT 0.5;:OUTP ON")
    assert float(ask(smu, ':SENS:FUNC "VOLT";:READ?')) == pytest.approx(0.5)
    assert float(ask(smu, ":SENS:FUNC 'RES';:READ?")) == pytest.approx(1e6)
    ask(smu, ":SENS:FUNC 'TEMP'")
    assert smu.errors.pop() == -224


def test_smu_changing_the_source_function_switches_the_output_off(make_world):
    world = make_world()
    smu = Keithley2450Personality("drain", world)
    ask(smu, ":OUTP ON;:SOUR:FUNC CURR")
    assert ask(smu, ":OUTP?") == "0"
    ask(smu, ":OUTP ON")
    assert smu.errors.pop() == -221
