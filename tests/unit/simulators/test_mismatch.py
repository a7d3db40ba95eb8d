"""A sample's deviations from its design: zero is the design, ratios hold where they must, gradients are exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labthermo.config import Unknowns
from simulators.conductors import Affine, BlockingLevel, Decades, GaussianNdc, Linear, SingleLevel
from simulators.mismatch import Mismatch
from simulators.network import Network
from simulators.network_file import read_network

EXAMPLE = Path(__file__).parents[3] / "examples" / "sine" / "ndc_dots.yaml"


def mixed() -> Network:
    """One of every law, with linear and exponential knobs, some knobs on several parameters."""
    dot = BlockingLevel(
        levels=(Affine(0.10, {"p": -0.05, "l": -0.01}), Affine(0.28, {"p": -0.046})),
        gamma_left=(Decades(1e11, {"l": 1 / 0.15}), Decades(1e11, {"l": 1 / 0.15})),
        gamma_right=(Decades(1e11, {"r": 1 / 0.15}), Decades(5e9, {"r": 1 / 0.15})),
        temperature=300.0,
        lead_levers=(0.1, 0.05),
    )
    edges = [
        ("x", "h", dot),
        ("h", "y", GaussianNdc(Affine(3e-9, {"p": 1e-9}), 0.2, 1e-9)),
        ("x", "y", SingleLevel(Affine(0.05, {"p": -0.05}), 1e10, Decades(1e10, {"r": 2.0}), 300.0)),
        ("y", "lo", Linear(Decades(5e-9, {"l": 0.5}))),
    ]
    return Network({"h": 1e-12, "y": 1e-12}, ["x", "lo"], edges=edges, knobs=["p", "l", "r"])


def test_zero_is_the_design():
    for net in (mixed(), read_network(EXAMPLE).network):
        drawn = Mismatch(net, 0.1)
        sample = drawn.apply(np.zeros(len(drawn.names)))
        assert np.array_equal(sample.base, net.base)
        assert np.array_equal(sample.weights, net.weights)
        assert len(set(drawn.names)) == len(drawn.names)


def test_sizes_are_those_of_the_reference_device():
    """devices.md: levels +-1.3 kT in common and +-0.65 kT each; rates, resistors and levers 10 %."""
    net = read_network(EXAMPLE).network
    drawn = Mismatch(net, 0.1)
    kt = 8.617e-5 * 1.5
    rng = np.random.default_rng(0)
    base, weights = [], []
    for _ in range(2000):
        sample = drawn.apply(rng.standard_normal(len(drawn.names)))
        base.append(sample.base)
        weights.append(sample.weights)
    rows = {name: k for k, name in enumerate(net.parameters)}
    base, weights = np.array(base), np.array(weights)
    low, high = base[:, rows[1, "levels", 0]], base[:, rows[1, "levels", 1]]
    assert np.mean(low) == pytest.approx(1.68e-3, rel=0.01)
    assert np.std(low) / kt == pytest.approx(np.hypot(1.3, 0.65), rel=0.05)
    assert np.std(high) / kt == pytest.approx(np.hypot(1.3, 0.65), rel=0.05)
    assert np.std(high - low) / kt == pytest.approx(np.sqrt(2) * 0.65, rel=0.05)
    other = base[:, rows[2, "levels", 0]]
    assert abs(np.corrcoef(low, other)[0, 1]) < 0.1
    for key in ((0, "conductance", None), (1, "gamma_left", 0), (1, "gamma_right", 1)):
        assert np.std(np.log(base[:, rows[key]])) == pytest.approx(0.1, rel=0.05)
    own = weights[:, rows[1, "levels", 0], net.knobs.index("p1")]
    assert np.median(own) == pytest.approx(-0.05, rel=0.01)
    assert np.std(np.log(-own)) == pytest.approx(0.1, rel=0.05)
    for fixed in ((1, "temperature", None), (1, "lead_levers", 0)):
        assert np.ptp(base[:, rows[fixed]]) == 0.0


@pytest.mark.parametrize("tied", [False, True])
def test_nothing_changes_sign_or_kind(tied: bool):
    net = mixed()
    drawn = Mismatch(net, 0.3, tied_rates=tied)
    rng = np.random.default_rng(1)
    scaled = [k for k, (p, field, _) in enumerate(net.parameters) if field not in ("level", "levels", "lead_levers")]
    for _ in range(50):
        sample = drawn.apply(3 * rng.standard_normal(len(drawn.names)))
        assert np.all(sample.base[scaled] > 0)
        assert np.array_equal(np.sign(sample.weights), np.sign(net.weights))
        assert sample.terminals == net.terminals
        assert sample.knobs == net.knobs


@pytest.mark.parametrize("unknowns", [Unknowns(), Unknowns(crosstalk=0.2, lead_levers=0.05, temperature=0.1)])
def test_pull_back_equals_differences(unknowns: Unknowns):
    net = mixed()
    drawn = Mismatch(net, 0.1, unknowns=unknowns, gates=[["l", "p", "r"]])
    rng = np.random.default_rng(2)
    knobs = rng.uniform(-0.1, 0.1, (5, 3))
    inputs = np.column_stack([np.linspace(0.1, 0.5, 5), np.zeros(5)])
    by_node, by_flow = rng.normal(size=(5, 2)), 1e9 * rng.normal(size=(5, 4))

    def loss(z: np.ndarray) -> np.ndarray:
        sample = drawn.apply(z)
        state = sample.steady_state(inputs, knobs)
        assert set(state.verdict) == {"settled"}
        return np.sum(by_node * state.potentials, axis=1) + np.sum(by_flow * sample.currents(state), axis=1)

    for size in (0.0, 1.0):
        z = size * rng.standard_normal(len(drawn.names))
        sample = drawn.apply(z)
        state = sample.steady_state(inputs, knobs)
        found = drawn.pull_back(z, sample, sample.adjoint(state, by_node, by_flow), knobs)
        expected = np.empty_like(found)
        for k in range(len(z)):
            step = np.zeros_like(z)
            step[k] = 1e-5
            expected[:, k] = (loss(z + step) - loss(z - step)) / 2e-5
        assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()
        assert np.all(np.abs(expected).max(axis=0) > 0)  # every coordinate does something


def test_neighbours_act_on_each_others_place_and_farther_gates_less():
    net = mixed()
    drawn = Mismatch(net, 0.1, unknowns=Unknowns(crosstalk=0.2), gates=[["l", "p", "r"]])
    z = np.zeros(len(drawn.names))
    z[drawn.names.index("crosstalk of l at p")] = 1.5
    z[drawn.names.index("crosstalk of r at l")] = -1.0
    at_own_place = {knob: net.weights[:, column] for column, knob in enumerate(net.knobs)}
    weights = dict(zip(net.knobs, drawn.apply(z).weights.T, strict=True))
    assert weights["p"] == pytest.approx(at_own_place["p"])
    assert weights["l"] == pytest.approx(at_own_place["l"] + 1.5 * 0.2 * at_own_place["p"])
    assert weights["r"] == pytest.approx(at_own_place["r"] - 0.2**2 * at_own_place["l"])
    assert sum(name.startswith("crosstalk") for name in drawn.names) == 6


def test_a_barrier_keeps_the_ratio_of_the_rates_that_it_moves():
    net = mixed()
    drawn = Mismatch(net, 0.3)
    rows = {name: k for k, name in enumerate(net.parameters)}
    rng = np.random.default_rng(3)
    for _ in range(20):
        sample = drawn.apply(rng.standard_normal(len(drawn.names)))
        ratios = []
        for barrier in (-0.15, 0.0, 0.09):
            values = sample.resolved([0.0, barrier, barrier])
            ratios.append(
                [values[rows[0, side, 0]] / values[rows[0, side, 1]] for side in ("gamma_left", "gamma_right")]
            )
        assert np.ptp(ratios, axis=0) == pytest.approx([0, 0], abs=1e-9)
        # the ratio itself is off, and the barrier's lever too
        assert ratios[0][0] != pytest.approx(1.0, abs=1e-3)
        assert sample.weights[rows[0, "gamma_left", 0], 1] != net.weights[rows[0, "gamma_left", 0], 1]


def test_tied_rates_stay_equal_for_any_sample_and_any_knob():
    net = read_network(EXAMPLE).network.without_ndc()
    drawn = Mismatch(net, 0.3, tied_rates=True)
    rows = {name: k for k, name in enumerate(net.parameters)}
    rng = np.random.default_rng(4)
    for _ in range(20):
        sample = drawn.apply(2 * rng.standard_normal(len(drawn.names)))
        values = sample.resolved(rng.uniform(-0.1, 0.09, len(net.knobs)))
        for process in range(1, 6):
            for side in ("gamma_left", "gamma_right"):
                assert values[rows[process, side, 0]] == values[rows[process, side, 1]]
        first = [values[rows[process, "gamma_left", 0]] for process in range(1, 6)]
        assert len(set(first)) == 5  # dots differ from each other all the same


def test_untied_control_would_have_ndc_again():
    """The reason for tied_rates: without it, equal rates drift apart and the control could pass."""
    net = read_network(EXAMPLE).network.without_ndc()
    drawn = Mismatch(net, 0.1)
    values = drawn.apply(np.random.default_rng(5).standard_normal(len(drawn.names))).base
    rows = {name: k for k, name in enumerate(net.parameters)}
    assert values[rows[1, "gamma_right", 0]] != values[rows[1, "gamma_right", 1]]
