"""Lever arms and cross-capacitances, measured by the procedures, against the hidden truth of the simulated sample."""

from __future__ import annotations

from pathlib import Path

import pytest

from labthermo import Query, Station
from labthermo.config import Backend, StationConfig, load_station
from labthermo.procedure import Procedure
from procedures.coulomb_diamonds import CoulombDiamonds
from procedures.stability_diagram import StabilityDiagram
from simulators.bench import Bench
from simulators.hidden_truth import HiddenTruth
from simulators.network import Network
from simulators.sample import build_sample

EXAMPLES = Path(__file__).parents[2] / "examples"
SLOW = [pytest.param(seed, marks=pytest.mark.slow) for seed in range(10, 18)]


def station(example: str, seed: int) -> StationConfig:
    return load_station(EXAMPLES / example / "station.yaml").with_seed(seed)


def truth(config: StationConfig, backend: Backend) -> Network:
    """Of the Bench, or of the model: both draw one sample."""
    if backend == "wire":
        return Bench(config)._truth
    return HiddenTruth(build_sample(config), config).network()


def value(network: Network, field: str, key: str | None = None, knob: str | None = None) -> float:
    row = next(r for r, (_, name, index) in enumerate(network.parameters) if (name, index) == (field, key))
    return float(network.weights[row, network.knobs.index(knob)] if knob else network.base[row])


def measure(config: StationConfig, backend: Backend, procedure: Procedure, folder: Path) -> list[dict]:
    """The procedure's own events."""
    with Station(config, backend) as opened, opened.run(folder, {}) as run:
        procedure.execute(run)
        return [dict(e.detail) for e in run.journal.events() if e.kind == procedure.name]


def within_5_percent(estimate: dict, true: float) -> None:
    assert estimate["value"] == pytest.approx(true, rel=0.05)
    assert estimate["sigma"] < 0.05 * true


def check_diamonds(config: StationConfig, backend: Backend, folder: Path) -> None:
    (found,) = measure(config, backend, CoulombDiamonds(gate_points=46, bias_points=31), folder)
    sample = truth(config, backend)
    energy, weight = value(sample, "charging_energy"), value(sample, "gate_charge", knob="p1")
    assert found["found"], found["message"]
    within_5_percent(found["lever_arm"], 2 * energy * weight)
    within_5_percent(found["addition"], 2 * energy)
    within_5_percent(found["period"], 1 / weight)
    within_5_percent(found["source_share"], 0.40)


def check_honeycomb(config: StationConfig, backend: Backend, folder: Path, points: int = 57) -> None:
    both = measure(config, backend, StabilityDiagram(x_points=points, y_points=points), folder)
    sample = truth(config, backend)
    for found, own, other, potential, charging in zip(both, ("p1", "p2"), ("p2", "p1"), "pq", "uv", strict=True):
        lever = value(sample, "parameters", potential, own)
        assert found["found"], found["message"]
        assert (found["gate"], found["other"]) == (own, other)
        within_5_percent(found["cross"], value(sample, "parameters", potential, other) / lever)
        within_5_percent(found["spacing"], value(sample, "parameters", charging) / lever)
        within_5_percent(found["mutual"], value(sample, "parameters", "m") / lever)


def test_lever_arm_from_diamonds_on_the_wire(tmp_path):
    check_diamonds(station("single_dot", 7), "wire", tmp_path)


@pytest.mark.parametrize("seed", [0, 1, 2, *SLOW])
def test_lever_arm_from_diamonds(seed, tmp_path):
    check_diamonds(station("single_dot", seed), "model", tmp_path)


@pytest.mark.slow
def test_cross_capacitances_from_the_honeycomb_on_the_wire(tmp_path):
    check_honeycomb(station("double_dot", 7), "wire", tmp_path)


@pytest.mark.parametrize("seed", [7, *SLOW])
def test_cross_capacitances_from_the_honeycomb(seed, tmp_path):
    check_honeycomb(station("double_dot", seed), "model", tmp_path)


def test_nothing_is_found_where_there_is_nothing(tmp_path):
    """Bias within the blockade; gates that add no carrier."""
    inside = CoulombDiamonds(bias_start=-0.1e-3, bias_stop=0.1e-3, gate_start=0.0, gate_stop=2e-3, gate_points=8)
    (found,) = measure(station("single_dot", 7), "model", inside, tmp_path / "single")
    assert found["found"] is False
    flat = StabilityDiagram(x_start=-20e-3, x_stop=-10e-3, y_start=-20e-3, y_stop=-10e-3, x_points=12, y_points=12)
    for found in measure(station("double_dot", 7), "model", flat, tmp_path / "double"):
        assert found["found"] is False
        assert "no addition lines" in found["message"]


def test_without_outputs_a_reading_waits_for_what_is_slow_by_design():
    """1 kohm and 100 pF before the dot: nothing watches the current settle."""
    with Station(station("single_dot", 7), "wire") as opened:
        response = opened.device.query(Query(inputs=[[1e-3]]))
    assert response.outputs.shape == response.sigma.shape == (1, 0)
    assert response.settle_time[0] >= 2 * 0.99e-7
