"""The simulated world as its instruments see it: volts in, volts and amperes out, nothing else."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from labthermo.config import StationConfig, load_station
from labthermo.device import Query
from simulators.bench import Bench
from simulators.model_device import build_model_device

STATION = Path(__file__).parents[3] / "examples" / "sine" / "station.yaml"
CHECK_POINT = np.array(
    [-22.2, -49.9, 18.3, 23.7, -36.7, -25.4, 15.6, -18.1, -26.0, -16.6, -67.3, -37.2, 10.1, -21.1, -52.5]
) * 1e-3  # fmt: skip
NAMES = [f"{c}{k}" for k in range(1, 6) for c in "plr"]
X, Y, LO = "gates.ch24", "dmm.input", "drain.output"
DIVIDER, GAIN = 100.0, 1000.0


def station(**simulation: object) -> StationConfig:
    config = load_station(STATION)
    return config.model_copy(update={"simulation": config.simulation.model_copy(update=simulation)})


def clean(**more: object) -> StationConfig:
    return station(**{"mismatch": 0.0, "noise": {"*": 0.0}, "offsets": False, "quantisation": False, **more})


def without_input_current(config: StationConfig) -> StationConfig:
    y = config.device.outputs["y"]
    y = y.model_copy(update={"via": y.via.model_copy(update={"input_current": 0.0})})
    device = config.device.model_copy(update={"outputs": {"y": y}})
    return config.model_copy(update={"device": device})


def give(bench: Bench, port: str, volts: float) -> None:
    bench.drive(port, volts, volts)


def tuned(config: StationConfig, x: float = 1.8e-3, control: bool = False) -> Bench:
    """A bench at the check point, its lead held at 0 V, its input at u = x, at rest."""
    bench = Bench(config, control)
    for k, volts in enumerate(CHECK_POINT):
        give(bench, f"gates.ch{k + 1:02d}", float(volts))
    bench.limit_current(LO, 10e-9)
    bench.connect(LO, True)
    set_input(bench, x)
    return bench


def set_input(bench: Bench, x: float) -> None:
    give(bench, X, -x * DIVIDER)  # electrons: the instrument's voltage is -u
    bench.wait(0.05)


def potential(bench: Bench, aperture: float = 0.02) -> float:
    """y as its instruments give it, u."""
    return -bench.measure_voltage(Y, aperture) / GAIN


def current(bench: Bench, aperture: float = 0.02) -> float:
    value, limiting = bench.measure_current(LO, aperture)
    assert not limiting
    return value


@pytest.mark.parametrize("mismatch", [0.0, 0.1])
@pytest.mark.parametrize("control", [False, True])
def test_at_rest_the_bench_reads_what_the_model_says(mismatch: float, control: bool):
    """Imperfections off: to 1e-6 of full scale, potentials and currents, for the same hidden sample."""
    config = without_input_current(clean(mismatch=mismatch, seed=5))
    inputs = np.array([0.9e-3, 1.5e-3, 2.1e-3, 2.7e-3])
    knobs = dict(zip(NAMES, CHECK_POINT.tolist(), strict=True))
    expected = build_model_device(config, control).query(Query(knobs=knobs, inputs=inputs))
    bench = tuned(config, inputs[0], control)
    for k, x in enumerate(inputs):
        set_input(bench, float(x))
        assert potential(bench) == pytest.approx(expected.outputs[k, 0], abs=1e-6 * 260e-6)
        # carriers are electrons: they flow out of the sample, so a positive current flows out of the source
        assert current(bench) == pytest.approx(expected.nodes[k, 0], abs=1e-6 * 100e-12)
        assert current(bench) > 30e-12


def test_the_preamplifiers_input_current_loads_the_node():
    loaded, free = tuned(clean()), tuned(without_input_current(clean()))
    expected = build_model_device(clean()).query(
        Query(knobs=dict(zip(NAMES, CHECK_POINT.tolist(), strict=True)), inputs=[1.8e-3])
    )
    assert potential(loaded) == pytest.approx(expected.outputs.item(), abs=1e-6 * 260e-6)
    assert 1e-7 < abs(potential(loaded) - potential(free)) < 2.5e-7


def test_a_gate_moves_the_potential_and_the_lead_current():
    """A positive gate voltage lowers the level of dot 2 (electrons), a negative one raises it."""
    bench = tuned(clean())
    y, i = potential(bench), current(bench)
    answers = {}
    for move in (-0.02, 0.02):
        give(bench, "gates.ch04", float(CHECK_POINT[3]) + move)
        bench.wait(0.05)
        answers[move] = potential(bench), current(bench)
        assert abs(answers[move][0] - y) > 1e-6
        # what leaves through the lead is y over 3.6 Mohm
        assert answers[move][1] == pytest.approx(answers[move][0] / 3.6e6, rel=1e-6)
    assert i == pytest.approx(y / 3.6e6, rel=1e-6)
    give(bench, "gates.ch04", float(CHECK_POINT[3]))
    bench.wait(0.05)
    assert potential(bench) == pytest.approx(y, abs=1e-10)


def test_electrons_turn_the_sign_of_both_voltage_and_current():
    """A dot pulled far below the window by a positive gate conducts for either sign of u, and V = -u everywhere."""
    bench = Bench(clean())
    bench.limit_current(LO, 10e-9)
    bench.connect(LO, True)
    for gate, shut in ((-0.06, True), (0.04, False)):
        for k in range(5):
            give(bench, f"gates.ch{3 * k + 1:02d}", gate)
        give(bench, X, -0.05)  # 0.5 mV of u at the sample: the instrument is negative
        bench.wait(0.1)
        volts = bench.measure_voltage(Y, 0.02)
        amps, _ = bench.measure_current(LO, 0.02)
        if shut:  # levels 3 meV higher than at rest: nothing gets through but the meter's own 50 fA
            assert abs(amps) < 1e-13
        else:
            assert volts < -0.05  # y follows x up in u, down in V
            assert amps > 5e-12  # the source gives charge that the negative input draws
            give(bench, X, 0.05)
            bench.wait(0.1)
            assert bench.measure_voltage(Y, 0.02) > 0.05
            assert bench.measure_current(LO, 0.02)[0] < -5e-12


def test_the_preamplifier_lags_behind_a_step_and_is_over_it_after_20_ms():
    bench = tuned(clean(), 0.9e-3)
    low = potential(bench)
    give(bench, X, -1.4e-3 * DIVIDER)
    early = potential(bench, 1e-3)
    late_bench_time = bench.now()
    bench.wait(0.02)
    late = potential(bench)
    assert bench.now() == pytest.approx(late_bench_time + 0.04)
    assert late - low > 50e-6
    tau = 1 / (2 * math.pi * 100)  # 1.6 ms; the node itself takes 35 us
    expected = 1 - tau / 1e-3 * (1 - math.exp(-1e-3 / tau))
    assert 0.9 * expected < (early - low) / (late - low) < expected
    set_input(bench, 1.4e-3)
    bench.wait(1.0)
    assert potential(bench) == pytest.approx(late, abs=1e-5 * (late - low))


def test_compliance_limits_the_current_and_lets_the_lead_float():
    bench = tuned(clean())
    held, flowing = potential(bench), current(bench)
    assert flowing > 60e-12
    bench.limit_current(LO, 20e-12)
    bench.wait(0.5)
    value, limiting = bench.measure_current(LO, 0.02)
    assert limiting
    assert value == pytest.approx(20e-12, rel=1e-9)  # the sign of what it would have been
    floating = potential(bench)
    assert floating > held + 20e-6  # less is drawn, so y rises towards x
    bench.limit_current(LO, 10e-9)
    bench.wait(0.5)
    assert current(bench) == pytest.approx(flowing, rel=1e-6)
    assert potential(bench) == pytest.approx(held, abs=1e-9)


def test_compliance_keeps_the_sign_of_the_current():
    bench = tuned(clean())
    for gate in range(5):
        give(bench, f"gates.ch{3 * gate + 1:02d}", 0.04)
    set_input(bench, -0.2e-3)
    assert current(bench) < -1e-12
    bench.limit_current(LO, 1e-12)
    bench.wait(0.1)
    value, limiting = bench.measure_current(LO, 0.02)
    assert (value, limiting) == (pytest.approx(-1e-12), True)


def test_an_unconnected_lead_carries_no_current():
    bench = tuned(without_input_current(clean()))
    bench.connect(LO, False)
    bench.wait(5.0)
    assert bench.measure_current(LO, 0.02) == (0.0, False)
    assert potential(bench) == pytest.approx(1.8e-3, rel=1e-3)  # nothing flows, so y floats up to x
    bench.connect(LO, True)
    bench.wait(0.1)
    assert current(bench) > 60e-12
    assert Bench(clean()).measure_current(LO, 0.02) == (0.0, False)  # leads start unconnected


def test_an_overloaded_amplifier_stays_at_its_rail():
    bench = tuned(without_input_current(clean()))
    bench.connect(LO, False)
    set_input(bench, 20e-3)
    bench.wait(1e5)  # a blocked dot charges the cable slowly
    assert bench.measure_voltage(Y, 0.02) == -5.0  # 20 mV times 1000 would be -20 V


def test_ports_that_lead_nowhere_are_quiet():
    bench = tuned(clean())
    y = potential(bench)
    give(bench, "gates.ch20", 1.0)
    bench.wait(0.05)
    assert potential(bench) == pytest.approx(y, abs=1e-12)
    assert bench.measure_voltage("dmm.rear", 0.02) == 0.0
    assert bench.measure_current("gates.ch01", 0.02) == (0.0, False)


def test_time_passes_in_readings_and_waits_only():
    bench = Bench(clean())
    assert bench.now() == 0.0
    give(bench, X, 0.1)
    bench.connect(LO, True)
    assert bench.now() == 0.0
    bench.wait(0.3)
    bench.measure_voltage(Y, 0.02)
    bench.measure_current(LO, 0.04)
    assert bench.now() == pytest.approx(0.36)
    bench.wait(0.0)
    bench.wait(-1.0)
    assert bench.now() == pytest.approx(0.36)


def test_the_log_says_when_what_and_what_the_sample_saw():
    bench = Bench(clean())
    bench.wait(0.25)
    bench.drive(X, -0.18, -0.1801)
    bench.drive("gates.ch04", 0.02, 0.0201)
    bench.drive("gates.ch20", 0.5, 0.5)
    bench.connect(LO, True)
    bench.limit_current(LO, 1e-8)
    x, p2, spare, on, limit = bench.log
    assert (x.time, x.port, x.channel, x.quantity) == (0.25, X, "x", "voltage")
    assert (x.programmed, x.actual) == (-0.18, -0.1801)
    assert x.at_sample == pytest.approx(1.8e-3, rel=1e-12)  # behind 1:100, in the carriers' sign
    assert (p2.channel, p2.programmed, p2.actual, p2.at_sample) == ("p2", 0.02, 0.0201, 0.02)
    assert (spare.port, spare.channel) == ("gates.ch20", "")
    assert (on.quantity, on.port, on.programmed) == ("connected", LO, 1.0)
    assert (limit.quantity, limit.programmed) == ("limit", 1e-8)


def test_the_sample_sees_what_is_there_and_not_what_was_asked():
    bench = tuned(clean(), 0.9e-3)
    bench.drive(X, -0.09, -0.14)
    bench.wait(0.05)
    assert potential(bench) == pytest.approx(potential(tuned(clean(), 1.4e-3)), abs=1e-10)


def test_noise_is_the_sample_amplifiers_and_repeats_with_its_seed():
    noisy = station(mismatch=0.0, offsets=False, seed=3)
    bench, again, other = tuned(noisy), tuned(noisy), tuned(station(mismatch=0.0, offsets=False, seed=4))
    readings = np.array([potential(bench) for _ in range(400)])
    assert np.std(readings) == pytest.approx(1.3e-6, rel=0.12)  # 260 nV/Hz**0.5 over 20 ms
    assert np.mean(readings) == pytest.approx(potential(tuned(clean())), abs=4 * 1.3e-6 / 20)
    assert [potential(again) for _ in range(5)] == list(readings[:5])
    assert potential(other) != readings[0]
    longer = np.std([potential(again, 0.2) for _ in range(200)])
    assert longer == pytest.approx(1.3e-6 / math.sqrt(10), rel=0.17)


def test_offsets_stay_put_and_are_of_their_stated_size():
    exact = tuned(clean())
    off = [tuned(clean(offsets=True, seed=seed)) for seed in range(4)]
    away = np.array([potential(b) - potential(exact) for b in off])
    assert len(set(away)) == 4
    assert 1e-6 < np.abs(away).max() < 60e-6
    assert potential(off[0]) == pytest.approx(potential(exact) + away[0], abs=1e-12)


def test_mismatch_is_the_same_hidden_sample_as_on_model():
    """The wire twin and the model of one seed are one device (offsets aside)."""
    first, second = (potential(tuned(clean(mismatch=0.1, seed=s))) for s in (1, 2))
    assert abs(first - second) > 1e-6


def test_the_control_never_turns_back():
    bench = tuned(clean(mismatch=0.1), 0.0, control=True)
    path = []
    for x in np.linspace(0, 2.9e-3, 30):
        set_input(bench, float(x))
        path.append(potential(bench))
    assert np.diff(path).min() > -1e-10
