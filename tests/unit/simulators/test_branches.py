"""Hysteresis, multistability and folds against load lines and the theory of the stirred vessel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar

from simulators.branches import Branch, fold_distance, folds, hysteresis, multistability
from simulators.conductors import Affine, Formula, GaussianNdc, Linear, MassAction, SubstrateInhibition
from simulators.network import Network
from simulators.processes import Flow, Reaction

G, W, LOAD = 1e-6, 0.2, 1e-7


def loaded(load: float = LOAD) -> Network:
    """One node between an NDC edge from x and a load to lo."""
    edges = [("x", "y", GaussianNdc(G, W)), ("y", "lo", Linear(load))]
    return Network({"y": 1e-12}, ["x", "lo"], edges=edges)


def load_line_folds(load: float = LOAD) -> list[tuple[float, float]]:
    """(x, y) where the slope of the NDC edge is -load, by hand: d = x - y, y = i(d)/load."""
    slope = lambda d: G * math.exp(-((d / W) ** 2)) * (1 - 2 * (d / W) ** 2) + load
    bottom = W * math.sqrt(1.5)
    drops = brentq(slope, 0.5 * W, bottom, xtol=1e-15), brentq(slope, bottom, 5 * W, xtol=1e-15)
    heights = [G * d * math.exp(-((d / W) ** 2)) / load for d in drops]
    return sorted((d + y, y) for d, y in zip(drops, heights, strict=True))


def positions(branch: Branch) -> list[tuple[float, ...]]:
    return sorted((float(branch.values[k]), *branch.potentials[k].tolist()) for k in branch.folds)


# --- sweeps


def test_a_sweep_up_and_down_encloses_the_bistable_inputs():
    net = loaded()
    x = np.linspace(0.0, 3.0, 301)
    loop = hysteresis(net, np.column_stack([x, np.zeros(301)]))
    assert loop.up.stable.all()
    assert loop.down.stable.all()
    assert np.array_equal(loop.up.inputs, loop.down.inputs)
    (low, _), (high, _) = load_line_folds()
    inside = (x > low) & (x < high)
    assert np.all(loop.gap[inside] > 0.05)
    assert loop.gap[~inside].max() < 1e-12
    assert 20 < inside.sum() < 280


def test_a_single_valued_network_has_no_gap_and_knobs_sweep_with_the_inputs():
    net = Network(
        {"y": 1e-12}, ["x", "lo"], knobs=["k"],
        edges=[("x", "y", GaussianNdc(G, Affine(W, {"k": 1.0}), 0.6 * G)), ("y", "lo", Linear(LOAD))],
    )  # fmt: skip
    x, k = np.linspace(0, 2, 41), np.linspace(-0.05, 0.3, 41)
    loop = hysteresis(net, np.column_stack([x, 0 * x]), knobs=k[:, None])
    assert loop.gap.max() < 1e-12
    assert np.array_equal(loop.down.knobs[:, 0], k)
    alone = net.steady_state(np.column_stack([x, 0 * x]), knobs=k[:, None])
    assert np.abs(loop.down.potentials - alone.potentials).max() < 1e-12


def test_starts_are_sorted_into_the_states_they_reach():
    net = loaded()
    (low, _), (high, _) = load_line_folds()
    x = 0.5 * (low + high)
    roots = [brentq(lambda y: G * (x - y) * math.exp(-(((x - y) / W) ** 2)) - LOAD * y, *ends, xtol=1e-15)
             for ends in ((0.0, 0.02), (0.1, x - W), (x - W, x))]  # fmt: skip
    starts = np.linspace(0, x, 21)[:, None]
    one, two = multistability(net, [[0.1 * low, 0.0], [x, 0.0]], starts)
    assert one.potentials.shape == (1, 1)
    assert one.share.tolist() == [1.0]
    assert two.potentials[:, 0] == pytest.approx([roots[0], roots[2]], rel=1e-9)
    basin = (starts[:, 0] > roots[1]).astype(int)  # the unstable root parts the basins
    assert np.array_equal(two.reached, basin)
    assert two.share == pytest.approx([1 - basin.mean(), basin.mean()])


def test_what_does_not_settle_is_in_no_basin():
    net = Network({"y": 1e-12}, ["x"], edges=[])
    (answer,) = multistability(net, [[0.0]], [[0.0], [1.0]], injected=[1e-9])
    assert len(answer.potentials) == 0
    assert answer.reached.tolist() == [-1, -1]
    assert answer.share.tolist() == []


# --- folds


@pytest.mark.parametrize("load", [1e-8, LOAD, 4e-7])
def test_folds_stand_where_the_load_equals_the_slope(load: float):
    net = loaded(load)
    expected = load_line_folds(load)
    top = 1.5 * expected[1][0]
    branch = folds(net, net.steady_state([[0.0, 0.0]]), "x", (0.0, top))
    assert positions(branch) == [pytest.approx(fold, rel=1e-7) for fold in expected]
    assert [fold[0] for fold in positions(branch)] == pytest.approx([fold[0] for fold in expected], rel=1e-11)
    assert branch.ended == ("span", "span")
    assert branch.values[-1] == pytest.approx(top, rel=1e-12)
    # every point rests; between the folds, and only there, it is unstable
    balance = G * (branch.values - branch.potentials[:, 0]) * np.exp(
        -(((branch.values - branch.potentials[:, 0]) / W) ** 2)
    ) - load * branch.potentials[:, 0]  # fmt: skip
    assert np.abs(balance).max() < 1e-12 * G
    first, second = branch.folds
    assert branch.stable[:first].all()
    assert not branch.stable[first : second + 1].any()
    assert branch.stable[second + 1 :].all()
    held = branch.stable & (np.abs(np.arange(len(branch.values))[:, None] - branch.folds).min(axis=1) > 1)
    state = net.steady_state(
        np.column_stack([branch.values, 0 * branch.values])[held], start=branch.potentials[held] + 1e-6
    )
    assert np.abs(state.potentials - branch.potentials[held]).max() < 1e-8


@pytest.mark.parametrize(("part", "count"), [(0.999, 2), (1.001, 0)])
def test_folds_exist_just_where_the_load_is_below_the_steepest_slope(part: float, count: int):
    """|min i'| = 2 exp(-3/2) g; just below it the two folds lie within a step of each other."""
    net = loaded(part * 2 * math.exp(-1.5) * G)
    branch = folds(net, net.steady_state([[0.0, 0.0]]), "x", (0.0, 2.0))
    assert len(branch.folds) == count
    assert branch.ended == ("span", "span")


def test_the_distance_to_the_nearest_fold_is_signed():
    net = loaded()
    (low, _), (high, _) = load_line_folds()
    x = 0.5 * (low + high)
    lower, upper = (
        folds(net, net.steady_state([[x, 0.0]], start=[start]), "x", (0.0, 3.0)) for start in (0.0, x)
    )  # fmt: skip
    assert lower.values[lower.start] == upper.values[upper.start] == pytest.approx(x)
    ends = fold_distance(lower), fold_distance(upper)
    # the state next to lo goes on for a high x and ends at the lower fold; the state next to x the other way round
    assert ends[0] == (pytest.approx(low - x), math.inf)
    assert ends[1] == (-math.inf, pytest.approx(high - x))
    middle = brentq(lambda y: G * (x - y) * math.exp(-(((x - y) / W) ** 2)) - LOAD * y, 0.1, x - W, xtol=1e-15)
    start = net.steady_state([[x, 0.0]])
    start.potentials[0, 0], start.stable[0] = middle, False  # the unstable state between them has a fold each way
    assert fold_distance(folds(net, start, "x", (0.0, 3.0))) == pytest.approx((low - x, high - x))


def test_knobs_and_injected_currents_are_followed_too():
    """A knob that is the load, and a current into the node: the folds are known from the load line."""
    edges = [("x", "y", GaussianNdc(G, W)), ("y", "lo", Linear(Affine(0.0, {"load": 1.0})))]
    net = Network({"y": 1e-12}, ["x", "lo"], knobs=["load"], edges=edges)
    x = 0.9
    branch = folds(net, net.steady_state([[x, 0.0]], knobs=[5e-8], start=[x]), "load", (1e-9, 6e-7))
    slope = lambda d: G * math.exp(-((d / W) ** 2)) * ((1 - 2 * (d / W) ** 2) * (x - d) + d)  # of i(d)/(x - d)
    drop = brentq(slope, 0.5 * W, 1.5 * W, xtol=1e-15)
    ((load, y),) = positions(branch)
    assert load == pytest.approx(G * drop * math.exp(-((drop / W) ** 2)) / (x - drop), rel=1e-10)
    assert y == pytest.approx(x - drop, rel=1e-7)
    assert branch.values[[0, -1]] == pytest.approx([1e-9, 1e-9])  # in and out at the same end of the span

    alone = loaded()
    branch = folds(alone, alone.steady_state([[0.8, 0.0]]), "y", (-1e-6, 1e-6))
    # a current J lifts the load line: J = load y - i(x - y) with the same drops
    edge = lambda d: G * d * math.exp(-((d / W) ** 2))
    drops = [sign * (fold[0] - fold[1]) for fold in load_line_folds() for sign in (1, -1)]  # y below x and above
    assert [fold[0] for fold in positions(branch)] == pytest.approx(
        sorted(LOAD * (0.8 - d) - edge(d) for d in drops), rel=1e-9
    )


def test_two_coupled_nodes_have_the_folds_that_the_sweeps_fall_over():
    """Two NDC nodes in a chain, no closed form: where a fine sweep jumps there is a fold, and the reverse."""
    net = Network(
        {"a": 1e-12, "b": 1e-12}, ["x", "lo"],
        edges=[("x", "a", GaussianNdc(G, W)), ("a", "b", GaussianNdc(0.6 * G, 1.5 * W, 0.01 * G)),
               ("a", "lo", Linear(1e-7)), ("b", "lo", Linear(0.5e-7))],
    )  # fmt: skip
    branch = folds(net, net.steady_state([[0.0, 0.0]]), "x", (0.0, 3.0))
    assert branch.ended == ("span", "span")
    x = np.linspace(0, 3, 1501)
    loop = hysteresis(net, np.column_stack([x, 0 * x]))
    values = branch.values[branch.folds]
    for state in (loop.up, loop.down):
        jumps = x[:-1][np.abs(np.diff(state.potentials, axis=0)).max(axis=1) > 0.08]
        assert len(jumps)
        for jump in jumps:
            assert np.min(np.abs(values - jump)) < 2.1e-3
    assert branch.stable.any()
    turns = np.flatnonzero(np.diff(np.sign(np.diff(branch.values))))
    assert len(turns) == len(branch.folds)


def test_a_linear_network_has_no_folds_and_few_points():
    net = Network({"y": 1e-12}, ["x", "lo"], edges=[("x", "y", Linear(1e-6)), ("y", "lo", Linear(3e-6))])
    branch = folds(net, net.steady_state([[0.5, 0.0]]), "x", (0.0, 1.0))
    assert len(branch.folds) == 0
    assert fold_distance(branch) == (-math.inf, math.inf)
    assert branch.potentials[:, 0] == pytest.approx(branch.values / 4, abs=1e-14)
    assert len(branch.values) < 60


def test_an_isolated_branch_is_followed_once_round():
    """(x - 1)^2 + (y - 1)^2 = r^2: a closed curve with folds at x = 1 +- r."""
    circle = Formula("r*r - (x-1)**2 - (y-1)**2", ("x", "y"), {"r": 0.5}, bends_over=0.5)
    net = Network({"y": 1.0}, ["x"], edges=[("x", "y", circle)])
    state = net.steady_state([[1.1]], start=[1.5])
    assert state.verdict[0] == "settled"
    branch = folds(net, state, "x", (0.0, 2.0))
    assert branch.ended == ("closed", "closed")
    assert positions(branch) == [pytest.approx((0.5, 1.0), rel=1e-7), pytest.approx((1.5, 1.0), rel=1e-7)]
    assert fold_distance(branch) == pytest.approx((-0.6, 0.4))


# --- the stirred vessel: dS/dt = D (Sf - S) - v(S)


def vessel(ratio: float) -> Network:
    """Substrate inhibition with vmax = Km = 1 and Ki = Km/ratio in 1 L; feed concentration x, dilution knob D."""
    law = SubstrateInhibition(1.0, 1.0, 1.0 / ratio)
    return Network({"v.S": 1.0}, ["f.S"], [Reaction({"v.S": -1}, law), Flow("f", "v", "D")], knobs=["D"])


def slope(s: float, ratio: float) -> float:
    return (1 - ratio * s**2) / (1 + s + ratio * s**2) ** 2


@pytest.mark.parametrize(("ratio", "steepest"), [(0.1, 0.02348), (1.0, 0.06160), (10.0, 0.09686)])
def test_the_vessel_folds_below_its_steepest_slope_only(ratio: float, steepest: float):
    """Bistable for some feed iff D < |min v'(S)| (physics.md, section 3), to five digits of the minimum by hand."""
    net = vessel(ratio)

    def count(dilution: float) -> int:
        state = net.steady_state([[0.0]], knobs=[dilution])
        branch = folds(net, state, "f.S", (0.0, 100.0), longest=0.02)
        assert branch.ended == ("span", "span")
        for k in branch.folds:  # D = -v'(S) and D (Sf - S) = v, by hand
            s = branch.potentials[k, 0]
            assert -slope(s, ratio) == pytest.approx(dilution, rel=1e-5)
            assert branch.values[k] == pytest.approx(s + s / (1 + s + ratio * s * s) / dilution, rel=1e-10)
        return len(branch.folds)

    low, high = 0.5 * steepest, 1.5 * steepest
    assert count(low) == 2
    assert count(high) == 0
    while high - low > 1e-5 * steepest:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if count(middle) else (low, middle)
    exact = -minimize_scalar(slope, bounds=(0.1, 20.0), args=(ratio,), method="bounded", options={"xatol": 1e-9}).fun
    assert 0.5 * (low + high) == pytest.approx(exact, rel=1.1e-5)
    assert exact == pytest.approx(steepest, abs=1e-5)


def test_the_vessel_remembers_its_feed_below_the_fold_and_not_above():
    net = vessel(1.0)
    feed = np.linspace(0.0, 12.0, 241)[:, None]
    below, above = (hysteresis(net, feed, knobs=[dilution]) for dilution in (0.04, 0.07))
    branch = folds(net, net.steady_state([[0.0]], knobs=[0.04]), "f.S", (0.0, 12.0))
    low, high = sorted(branch.values[branch.folds])
    inside = (feed[:, 0] > low) & (feed[:, 0] < high)
    assert inside.sum() > 5
    assert below.gap[inside].min() > 0.1
    assert below.gap[~inside].max() < 1e-9
    assert above.gap.max() < 1e-9


def test_conserved_totals_are_held_along_the_branch():
    """Schloegl's second model with a conserved catalyst C + D in exchange: folds as without it, totals unchanged."""
    autocatalysis = Formula("k*X*X*X", ("X",), {"k": 1.0})
    processes: list[Any] = [
        Reaction({"X": 1}, Formula("a*k*X*X", ("X", "a"), {"k": 3.0}), reads=("a",)),
        Reaction({"X": -1}, autocatalysis),
        Reaction({"X": -1}, MassAction(2.5)),
        Reaction({"X": 1}, Formula("b + 0*X", ("X",), {"b": 0.3})),
        Reaction({"C": -1, "D": 1}, MassAction(1.0, reverse=2.0)),
    ]
    net = Network({"X": 1.0, "C": 1.0, "D": 1.0}, ["a"], processes)
    state = net.steady_state([[1.0]], start=[0.0, 0.9, 0.0])
    assert state.verdict[0] == "settled"
    branch = folds(net, state, "a", (0.5, 2.0))
    # X^3 - 3 a X^2 + 2.5 X - 0.3 = 0: a(X) = (X^3 + 2.5 X - 0.3)/(3 X^2), folds at its extrema
    extrema = np.roots([1.0, 0.0, -2.5, 0.6])
    expected = sorted(float((x**3 + 2.5 * x - 0.3) / (3 * x**2)) for x in extrema.real if x > 0)
    assert [fold[0] for fold in positions(branch)] == pytest.approx(expected, rel=1e-9)
    assert branch.potentials[:, 1:] == pytest.approx(np.tile([0.6, 0.3], (len(branch.values), 1)), rel=1e-9)


# --- what is refused


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"direction": "q"}, "'q'"),
        ({"span": (1.0, 0.0)}, "span"),
        ({"span": (2.0, 3.0)}, "span"),
        ({"span": (0.0, math.inf)}, "span"),
        ({"row": 1}, "row"),
        ({"longest": 0.0}, "longest"),
    ],
)
def test_a_wrong_question_is_refused_by_name(arguments: dict[str, Any], named: str):
    net = loaded()
    state = net.steady_state([[0.5, 0.0]])
    with pytest.raises(ValueError, match=named):
        folds(net, state, **({"direction": "x", "span": (0.0, 1.0)} | arguments))


def test_what_does_not_rest_has_no_branch():
    net = loaded()
    state = net.steady_state([[0.5, 0.0]])
    state.potentials[0, 0] = 0.25
    with pytest.raises(ValueError, match="no steady state"):
        folds(net, state, "x", (0.0, 1.0))


def test_sweeps_and_starts_of_the_wrong_shape_are_refused():
    net = loaded()
    with pytest.raises(ValueError, match="at least 2"):
        hysteresis(net, [[0.0, 0.0]])
    with pytest.raises(ValueError, match="starts"):
        multistability(net, [[0.0, 0.0]], [[0.0, 0.0]])
    with pytest.raises(ValueError, match="within"):
        multistability(net, [[0.0, 0.0]], [[0.0]], within=0.0)
