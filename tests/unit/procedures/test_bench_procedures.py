"""sweep, ndc_map, settling_time, hysteresis, health_check: what they ask, find and refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labthermo import Station
from labthermo.errors import ParameterError
from labthermo.procedure import make
from procedures.health_check import HealthCheck
from procedures.hysteresis import Hysteresis, compare
from procedures.ndc_map import NdcMap
from procedures.settling_time import SettlingTime
from procedures.sweep import Sweep

SINE = Path(__file__).parents[3] / "examples" / "sine" / "station.yaml"


@pytest.fixture(scope="module")
def channels():
    with Station(SINE, "model") as station:
        return station.device.channels


@pytest.mark.parametrize(
    ("procedure", "values", "message"),
    [
        (Sweep, {"x": "y"}, "sweep: x: the device has no input or knob 'y'; there are x, p1"),
        (Sweep, {"x_stop": "9 mV"}, "sweep: x_start, x_stop: 9 mV is outside the limits -200 µV to 3 mV of x"),
        (Sweep, {"x_stop": "9 A"}, "sweep: x_stop: '9 A' is not in V"),
        (Sweep, {"x_start": "1 mV", "x_stop": "1 mV"}, "both are 1 mV"),
        (Sweep, {"y": "x"}, "sweep: y: the device has no input or knob 'x'"),
        (Sweep, {"y_stop": "1 mV"}, "none is named"),
        (Sweep, {"readings": "y, z"}, "sweep: readings: the device has no node or output 'z'"),
        (Sweep, {"hold": "p1"}, "sweep: hold: 'p1' is not name=value"),
        (Sweep, {"hold": "p1=1 V"}, "sweep: hold: 1 V is outside the limits -60 mV to 60 mV of p1"),
        (Sweep, {"hold": "p1=1 A"}, "sweep: hold: p1: '1 A' is not in V"),
        (NdcMap, {"gate": "x"}, "ndc_map: gate: the device has no knob 'x'"),
        (NdcMap, {"bias_start": "3 mV", "bias_stop": "1 mV"}, "is no ascending sweep"),
        (SettlingTime, {"stop": "0.9 mV"}, "settling_time: start, stop: both are 900 µV"),
        (Hysteresis, {"channel": "i_lo"}, "hysteresis: channel: the device has no input or knob 'i_lo'"),
        (HealthCheck, {"gates": "p1, q"}, "health_check: gates: no gate 'q'"),
        (HealthCheck, {"bias": "9 mV"}, "health_check: bias: 9 mV is outside the limits"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_opened(channels, procedure, values, message):
    with pytest.raises(ParameterError) as error:
        make(procedure, values).count(channels)
    assert message in str(error.value)


def test_a_map_of_two_knobs_at_a_bias_is_the_record_turned_the_right_way(measure):
    found = measure(SINE, Sweep(x="p1", x_start="10 mV", x_stop="-10 mV", x_points=4, y="l1", y_points=3,
                                readings="y", hold="x=2 mV, p2=5 mV"))  # fmt: skip
    (figure,) = found["figure"]
    points = found["points"]
    assert (figure["x_name"], figure["y_name"], figure["z_name"], figure["z_unit"]) == ("p1", "l1", "y", "V")
    assert figure["x"] == pytest.approx([10e-3, 10e-3 / 3, -10e-3 / 3, -10e-3])
    assert [p.knobs["p1"] for p in points[:8]] == pytest.approx([*figure["x"], *figure["x"][::-1]])  # to and fro
    assert {(p.inputs[0], p.knobs["p2"]) for p in points} == {(2e-3, 5e-3)}
    for p in points:
        row, column = figure["y"].index(p.knobs["l1"]), figure["x"].index(p.knobs["p1"])
        assert figure["z"][row][column] == p.outputs[0]


def test_a_curve_there_and_back(measure):
    found = measure(SINE, Sweep(x_points=5, both=True))
    assert [f["y_name"] for f in found["figure"]] == ["i_lo", "y"]
    there, back = found["figure"][1]["curves"]
    assert (there["label"], back["label"]) == ("y there", "y back")
    values = [p.outputs[0] for p in found["points"]]
    assert there["y"] == values[:5]
    assert back["y"] == values[:4:-1]


def test_ndc_is_found_in_the_device_and_not_in_its_control(measure):
    recipe = NdcMap(gate_points=3, bias_points=21)
    found = measure(SINE, recipe)["ndc_map"][0]
    assert {r["gate"] for r in found["regions"]} == {-60e-3, 0.0, 60e-3}
    for r in found["regions"]:
        assert r["drop"] > 0 < r["stop"] - r["start"]
        assert r["confidence"] >= 0.95
    assert found["message"].startswith("NDC at 3 of 3 values of p1")
    control = measure(SINE, recipe, control=True)["ndc_map"][0]
    assert control["regions"] == []
    assert control["message"].startswith("no NDC in i_lo at any of 3 values of p1")


def test_settling_times_are_those_of_the_record(measure):
    found = measure(SINE, SettlingTime(steps=40, start=1e-3, stop=2e-3))
    times = np.array([p.settle_time for p in found["points"]])[1:]
    said = found["settling_time"][0]
    assert said["median"] == np.median(times)
    assert said["worst"] == times.max() >= said["99 %"] >= said["median"]
    assert said["unsettled"] == 0
    places = [p.inputs[0] for p in found["points"]]
    assert places[::4] == [1e-3] * 11
    assert places[1::4] == [2e-3] * 10
    assert all(1e-3 <= p <= 2e-3 for p in places)


def test_a_device_with_two_states_is_called_bistable_where_it_has_them(measure, latch):
    found = measure(latch, Hysteresis(points=41))["hysteresis"][0]
    ((start, stop, size),) = found["spans"]
    assert start == pytest.approx(0.449e-3, abs=26e-6)
    assert stop == pytest.approx(0.574e-3, abs=26e-6)
    assert size == pytest.approx(-0.4e-3, rel=0.1)  # coming from below it is on the lower branch
    assert found["bistable"] is True
    assert "from 450 µV to" in found["message"] or "from 475 µV to" in found["message"]


def test_a_device_with_one_state_has_no_memory(measure):
    for seed in range(3):
        found = measure(SINE, Hysteresis(points=15, seed=seed, random=False))["hysteresis"][0]
        assert (found["memory"], found["bistable"], found["spans"]) == (False, False, [])


def test_a_lag_is_no_second_state():
    """In random order a lagging device is met anywhere between its two ways."""
    rng = np.random.default_rng(1)
    places = np.linspace(0.0, 1.0, 30)
    up = places + rng.normal(0, 1e-3, (4, 30))
    found = {"up": up - 0.1, "down": up + 0.1, "random": places + rng.uniform(-0.08, 0.08, (4, 30))}
    loop = compare(places, found, 1e-3, 0.0, 0.99)
    assert len(loop.spans) == 1
    assert loop.spans[0][:2] == (0.0, 1.0)
    assert loop.either is not None
    assert loop.either < 0.8


def test_noise_is_rarely_taken_for_memory():
    """At 99 % over all places together: of 200 noisy pairs about two."""
    rng = np.random.default_rng(2)
    wrong = 0
    for _ in range(200):
        found = {kind: rng.normal(0.0, 1.0, (3, 20)) for kind in ("up", "down")}
        wrong += bool(compare(np.arange(20.0), found, 1.0, 0.0, 0.99).spans)
    assert wrong <= 8


def test_a_healthy_bench_is_healthy(measure):
    found = measure(SINE, HealthCheck(gates="p1, l1", load=3.6e6))
    said = found["health_check"][0]
    assert (said["bad"], said["look"]) == (0, 0)
    verdicts = {check["what"]: check["verdict"] for check in said["checks"]}
    assert verdicts["y: gain"] == "good"
    assert verdicts["p1: action"] == "good"
    assert verdicts["p1: leakage"] == "-"  # the model has no instruments
    assert found["points"][-1].knobs["l1"] == 0.0  # every gate is back


def test_a_wrong_gain_shows(measure):
    said = measure(SINE, HealthCheck(gates="none", load=36e6))["health_check"][0]
    (gain,) = (check for check in said["checks"] if check["what"] == "y: gain")
    assert gain["verdict"] == "BAD"
    assert "station file" in gain["advice"]
