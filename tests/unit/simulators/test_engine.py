"""The engine pushed: cycles and spirals, 10,000 nodes, conserved totals, derivatives of every process, odd networks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from scipy import sparse
from scipy.integrate import solve_ivp
from scipy.sparse.linalg import spsolve

from simulators.conductors import Affine, BlockingLevel, Decades, Formula, GaussianNdc, Linear, MassAction
from simulators.network import Network
from simulators.processes import Edge, Flow, Process, Reaction

# --- cycles and spirals: (network, its du/dt written again, inputs, start, how long until it has surely settled)


def spiral(growth: float) -> tuple[Network, Callable[[np.ndarray], list[float]]]:
    """A van der Pol oscillator of two: dv/dt = growth (v - v^3/3) - w, dw/dt = v; it spirals in for growth < 0."""
    edges = [
        Edge("g", "v", Formula("m*(v-v**3/3)-w", ("g", "v", "w"), {"m": growth}, bends_over=1.0), reads=("w",)),
        Edge("g", "w", Formula("v", ("g", "w", "v"), {}, bends_over=1.0), reads=("v",)),
    ]
    net = Network({"v": 1.0, "w": 1.0}, ["g"], edges)
    return net, lambda u: [growth * (u[0] - u[0] ** 3 / 3) - u[1], u[0]]


def gated_peak() -> tuple[Network, Callable[[np.ndarray], list[float]]]:
    """An NDC edge fed through a resistor, whose current a slow second node gates: alone it would be bistable."""
    peak = Formula("(a-b)*(0.02+exp(-((a-b)/0.2)**2))-0.3*s", ("a", "b", "s"), {}, bends_over=0.2)
    gate = Formula("0.02*(-0.32-a-s)", ("lo", "s", "a"), {}, bends_over=0.2)
    edges = [
        Edge("x", "a", Linear(0.3)),
        Edge("a", "lo", peak, reads=("s",)),
        Edge("lo", "s", gate, reads=("a",)),
    ]

    def slope(u: np.ndarray) -> list[float]:
        a, s = u
        return [0.3 * (1.0 - a) - a * (0.02 + np.exp(-((a / 0.2) ** 2))) + 0.3 * s, 0.02 * (-0.32 - a - s)]

    return Network({"a": 1.0, "s": 1.0}, ["x", "lo"], edges), slope


def brusselator() -> tuple[Network, Callable[[np.ndarray], list[float]]]:
    """dX/dt = 1 - 4 X + X^2 Y, dY/dt = 3 X - X^2 Y (Prigogine and Lefever, J. Chem. Phys. 48, 1695 (1968))."""
    processes = [
        Reaction({"X": 1, "Y": -1}, Formula("x*x*y", ("x", "y"), {})),
        Reaction({"X": -1, "Y": 1}, MassAction(3.0)),
        Reaction({"X": -1}, MassAction(1.0)),
        Reaction({"X": 1}, Formula("1+0*x", ("x",), {})),
    ]
    net = Network({"X": 1.0, "Y": 1.0}, [], processes)
    return net, lambda u: [1 - 4 * u[0] + u[0] ** 2 * u[1], 3 * u[0] - u[0] ** 2 * u[1]]


def repressilator() -> tuple[Network, Callable[[np.ndarray], list[float]]]:
    """A ring of three, each made at 20/(1 + before^4) and lost at 1 (Elowitz and Leibler, Nature 403, 335 (2000))."""
    names = ["A", "B", "C"]
    processes: list[Process] = []
    for k, name in enumerate(names):
        made = Formula("20/(1+r**4)+0*p", ("p", "r"), {})
        processes += [Reaction({name: 1}, made, reads=(names[k - 1],)), Reaction({name: -1}, MassAction(1.0))]
    return Network(dict.fromkeys(names, 1.0), [], processes), lambda u: list(20 / (1 + np.roll(u, 1) ** 4) - u)


CYCLES = {
    "weak": (lambda: spiral(0.1), [0.0], [0.5, 0.0], 6.3),
    "round": (lambda: spiral(1.0), [0.0], [0.5, 0.0], 6.7),
    "relaxation": (lambda: spiral(8.0), [0.0], [0.5, 0.0], 15.0),
    "gated NDC": (gated_peak, [1.0, 0.0], [0.0, 0.0], 80.0),
    "brusselator": (brusselator, [], [1.2, 3.0], 7.0),
    "repressilator": (repressilator, [], [1.0, 2.0, 3.0], 6.0),
}


def rows(values: list[float]) -> np.ndarray:
    return np.array(values, dtype=float).reshape(1, len(values))


@pytest.mark.parametrize("name", CYCLES)
def test_period_and_amplitude_of_a_cycle_are_those_of_lsoda(name: str):
    """To 2 %: the reference's period by crossings of its middle, over the last third of some 60 periods."""
    make, inputs, start, about = CYCLES[name]
    net, slope = make()
    state = net.steady_state(rows(inputs), start=start)
    assert state.verdict[0] == "oscillating"
    assert not state.stable[0]
    times = np.linspace(40 * about, 60 * about, 20_001)
    path = solve_ivp(
        lambda _, u: slope(u), (0.0, times[-1]), start, method="LSODA", rtol=1e-10, atol=1e-12, t_eval=times
    ).y
    middle = 0.5 * (path[0].min() + path[0].max())
    before = np.flatnonzero((path[0, :-1] < middle) & (path[0, 1:] >= middle))
    crossing = times[before] + (middle - path[0, before]) / np.diff(path[0])[before] * (times[1] - times[0])
    assert len(crossing) > 10
    assert state.period[0] == pytest.approx(np.diff(crossing).mean(), rel=0.02)
    assert state.amplitude[0] == pytest.approx(0.5 * np.ptp(path, axis=1), rel=0.02)
    # the potentials are a point of the cycle
    gap = np.abs(path.T - state.potentials[0]) / state.amplitude[0]
    assert gap.max(axis=1).min() < 0.02


@pytest.mark.parametrize("loss", [0.001, 0.01, 0.03, 0.3])
def test_a_spiral_that_decays_slowly_is_no_cycle(loss: float):
    """`loss` of the amplitude a turn: growth/2 is the rate, 2 pi a turn."""
    net, _ = spiral(-loss / np.pi)
    state = net.steady_state([[0.0]], start=[0.5, 0.0])
    assert state.verdict[0] != "oscillating"
    if loss >= 0.03:
        assert state.verdict[0] == "settled"
        assert np.abs(state.potentials).max() < 1e-9
        assert net.time_constants(state)[0] == pytest.approx(2 * np.pi / loss, rel=1e-6)


def subcritical() -> Network:
    """dr/dt = r (-0.1 + r^2 - r^4), one turn in 2 pi: rests at 0, and turns at r^2 = (1 + sqrt(0.6))/2 = 0.887."""
    law = "({r})*(-0.1+(x*x+y*y)-(x*x+y*y)**2){turn}"
    along = Formula(law.format(r="x", turn="-y"), ("g", "x", "y"), {}, bends_over=0.3)
    across = Formula(law.format(r="y", turn="+x"), ("g", "y", "x"), {}, bends_over=0.3)
    edges = [Edge("g", "x", along, reads=("y",)), Edge("g", "y", across, reads=("x",))]
    return Network({"x": 1.0, "y": 1.0}, ["g"], edges)


def test_beside_a_cycle_the_basin_decides():
    """The unstable cycle between the two has r^2 = (1 - sqrt(0.6))/2, r = 0.336."""
    state = subcritical().steady_state(np.zeros((4, 1)), start=[[0.2, 0], [0.32, 0], [0.36, 0], [1.2, 0]])
    assert list(state.verdict) == ["settled", "settled", "oscillating", "oscillating"]
    assert list(state.stable) == [True, True, False, False]
    assert np.abs(state.potentials[:2]).max() < 1e-9
    assert state.amplitude[2:] == pytest.approx(np.sqrt((1 + np.sqrt(0.6)) / 2), rel=0.02)
    assert state.period[2:] == pytest.approx(2 * np.pi, rel=0.02)


def test_chaos_is_neither_settled_nor_stable():
    """Lorenz, J. Atmos. Sci. 20, 130 (1963), at 10, 28, 8/3."""
    terms = {"x": "10*(y-x)", "y": "x*(28-z)-y", "z": "x*y-8*z/3"}
    edges = []
    for name, text in terms.items():
        others = tuple(n for n in terms if n != name)
        edges.append(Edge("g", name, Formula(text, ("g", name, *others), {}, bends_over=1.0), reads=others))
    net = Network(dict.fromkeys(terms, 1.0), ["g"], edges)
    state = net.steady_state(np.zeros((5, 1)), start=np.random.default_rng(1).normal(10, 5, (5, 3)))
    assert not state.stable.any()
    assert set(state.verdict) <= {"unsettled", "oscillating"}


ON_THE_POINT = """
from simulators import Edge, Network, conductors
edges = [
    Edge("g", "v", conductors.Formula("v-v**3/3-w", ("g", "v", "w"), {}, bends_over=1.0), reads=("w",)),
    Edge("g", "w", conductors.Formula("v", ("g", "w", "v"), {}, bends_over=1.0), reads=("v",)),
]
print(Network({"v": 1.0, "w": 1.0}, ["g"], edges).steady_state([[0.0]]).stable[0])
"""


def test_exactly_on_an_unstable_point_it_still_answers():
    """In its own process: a kernel cannot be interrupted."""
    done = subprocess.run([sys.executable, "-c", ON_THE_POINT], capture_output=True, text=True, timeout=15, check=True)
    assert done.stdout.split() == ["False"]


@pytest.mark.parametrize(
    "unit",
    [
        1.0,
        1e-3,
        1e-6,
        1e-9,
    ],
)
def test_a_switch_of_two_genes_takes_the_same_side_in_any_unit(unit: float):
    """Each shuts the other off; nothing is there at first and nothing fed, so no input says what a small amount is."""
    processes: list[Process] = []
    for name, other, most in (("A", "B", 3.0), ("B", "A", 3.3)):
        law = Formula("m*s/(1+(r/s)**2)+0*p", ("p", "r"), {"m": most, "s": unit})
        processes += [Reaction({name: 1}, law, reads=(other,)), Reaction({name: -1}, MassAction(1.0))]
    state = Network({"A": 1.0, "B": 1.0}, [], processes).steady_state(np.zeros((1, 0)))
    end = solve_ivp(
        lambda _, u: [3 / (1 + u[1] ** 2) - u[0], 3.3 / (1 + u[0] ** 2) - u[1]], (0, 300), [0, 0],
        method="LSODA", rtol=1e-9, atol=1e-12,
    ).y[:, -1]  # fmt: skip
    assert state.stable[0]
    assert state.potentials[0] / unit == pytest.approx(end, rel=1e-6)


# --- a large network


def grid(side: int, seed: int) -> tuple[Network, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """side x side nodes, NDC edges between neighbours, a weak lead of every node to x or lo; and all as arrays.

    The last four: ends (edges, 2), (conductance, width, leak) (edges, 3), leads (nodes,), lead's terminal (nodes,).
    """
    rng = np.random.default_rng(seed)
    at = np.arange(side * side).reshape(side, side)
    ends = np.concatenate([np.column_stack([at[:, :-1].ravel(), at[:, 1:].ravel()]),
                           np.column_stack([at[:-1].ravel(), at[1:].ravel()])])  # fmt: skip
    m, n = len(ends), side * side
    values = np.column_stack([10 ** rng.uniform(-7, -6, m), rng.uniform(0.1, 0.3, m), 1e-7 * rng.uniform(0, 0.05, m)])
    leads, side_of = 10 ** rng.uniform(-8, -7, n), rng.integers(2, size=n)
    edges = [Edge(("x", "lo")[side_of[i]], f"n{i}", Linear(leads[i])) for i in range(n)]
    edges += [Edge(f"n{a}", f"n{b}", GaussianNdc(*v)) for (a, b), v in zip(ends, values.tolist(), strict=True)]
    return Network({f"n{i}": 1e-12 for i in range(n)}, ["x", "lo"], edges), ends, values, leads, side_of


def grid_flows(u: np.ndarray, clamped: np.ndarray, grid: tuple) -> tuple[np.ndarray, sparse.csc_array]:
    """Net flow into every node, A, and its Jacobian, A/V."""
    _, ends, values, leads, side_of = grid
    n = len(u)
    d = u[ends[:, 0]] - u[ends[:, 1]]
    g, w, leak = values.T
    bell = g * np.exp(-((d / w) ** 2))
    into = sparse.coo_array(
        (np.r_[-np.ones(len(d)), np.ones(len(d))], (np.r_[ends[:, 0], ends[:, 1]], np.tile(np.arange(len(d)), 2))),
        shape=(n, len(d)),
    ).tocsc()
    slope = leak + bell * (1 - 2 * (d / w) ** 2)
    jacobian = -into @ sparse.diags_array(slope) @ into.T - sparse.diags_array(leads)
    return into @ (d * (leak + bell)) + leads * (clamped[side_of] - u), sparse.csc_array(jacobian)


@pytest.mark.slow
def test_ten_thousand_nodes():
    whole = grid(100, 5)
    clamped = np.array([1.5, 0.0])
    state = whole[0].steady_state(clamped)
    assert state.verdict[0] == "settled"
    assert state.stable[0]
    u = state.potentials[0]
    force, jacobian = grid_flows(u, clamped, whole)
    largest = np.abs(whole[0].currents(state)).max()
    assert np.abs(force).max() < 1e-10 * largest
    for _ in range(4):  # Newton from there stays there
        force, jacobian = grid_flows(u, clamped, whole)
        u = u - spsolve(jacobian, force)
    assert np.abs(u - state.potentials[0]).max() < 1e-9
    top = sparse.linalg.eigsh(jacobian, k=1, sigma=0.0, return_eigenvectors=False, v0=np.ones(len(u)))
    assert top[0] < 0.0  # symmetric, equal capacitances


@pytest.mark.slow
def test_four_hundred_nodes_end_where_an_integrator_does():
    whole = grid(20, 6)
    clamped = np.array([1.5, 0.0])
    state = whole[0].steady_state(clamped)
    assert state.stable[0]
    end = solve_ivp(  # BDF takes a sparse Jacobian, LSODA only a dense one
        lambda _, u: 1e12 * grid_flows(u, clamped, whole)[0], (0.0, 1e-2), np.zeros(400), method="BDF",
        jac=lambda _, u: 1e12 * grid_flows(u, clamped, whole)[1], rtol=1e-7, atol=1e-9,
    ).y[:, -1]  # fmt: skip
    assert np.abs(state.potentials[0] - end).max() < 1e-6


# --- derivatives of every kind of process


def vessels() -> Network:
    """Two wells, a pump line into each, one transfer; A + B <-> C in both, an enzyme pair that only turns over."""
    processes: list[Process] = [
        Flow("stock", "w1", "q1"),
        Flow("w1", "w2", Affine(1e-8, {"t": 1.0})),
        Flow(None, "w2", Decades(2e-8, {"d": 1.0})),
        Reaction({"w1.A": -1, "w1.B": -1, "w1.C": 1}, MassAction(Decades(50.0, {"d": 0.5}), 2, 1e-3)),
        Reaction({"w2.A": -1, "w2.B": -1, "w2.C": 1}, Formula("k*a*b/(1+c/ki)", ("a", "b", "c"), {"k": 9, "ki": 2e-3})),
        Reaction({"E": -1, "F": 1}, Formula("0.02*e*a/(1e-3+a)", ("e", "f", "a"), {}), reads=("w1.A",)),
        Reaction({"E": 1, "F": -1}, Formula("k*f", ("e", "f"), {"k": Affine(3e-3, {"t": 1e4})})),
        Reaction({"w2.C": -1}, Formula("5*c*f", ("c", "f"), {}), reads=("F",)),
    ]
    free = {f"{w}.{s}": 2e-4 for w in ("w1", "w2") for s in "ABC"} | {"E": 2e-4, "F": 2e-4}
    return Network(free, ["stock.A", "stock.B"], processes, ["q1", "t", "d"], feeds={"stock.C": 1e-4})


@pytest.mark.parametrize("pumped", [4e-8, 1e-8], ids=["w1 overflows", "w1 runs dry"])
def test_derivatives_of_flows_and_reactions_equal_differences(pumped: float):
    net = vessels()
    inputs, knobs = np.array([[4e-3, 3e-3]]), np.array([[pumped, 1e-8, 0.1]])
    injected, start = np.zeros((1, 8)), np.array([0, 0, 0, 0, 0, 0, 1e-3, 0.5e-3])
    injected[0, :6] = 1e-13
    assert (net.overflow(knobs[0])["w1"] > 0) == (pumped > 2e-8)
    state = net.steady_state(inputs, knobs, start, injected)
    assert state.stable[0]
    assert state.potentials[0, 6:].sum() == pytest.approx(1.5e-3, rel=1e-12)
    rng = np.random.default_rng(4)
    by_node, by_current = rng.normal(size=(1, 8)), rng.normal(size=(1, len(net.processes))) * 1e6
    point = {"base": net.base[None], "knobs": knobs, "inputs": inputs, "injected": injected}

    def answer(**moved: np.ndarray) -> tuple[np.ndarray, float]:
        """Potentials, and the loss of both."""
        other = net.with_values((point | moved)["base"][0], net.weights)
        arguments = point | moved
        found = other.steady_state(arguments["inputs"], arguments["knobs"], start, arguments["injected"])
        assert found.stable[0]
        loss = np.sum(by_node * found.potentials) + np.sum(by_current * other.currents(found))
        return found.potentials[0], float(loss)

    flat, many = net.adjoint(state, by_node, by_current), net.sensitivities(state)
    named = net.gradient(state, by_node)
    only_nodes = net.adjoint(state, by_node)
    assert named[1, "rate"] == pytest.approx(only_nodes.base[:, net.parameter_rows(1).start], rel=1e-12)
    units = {"knobs": [1e-8, 1e-8, 1.0], "inputs": [1e-3, 1e-3], "injected": [1e-11] * 6}
    units["base"] = [b if b != 0 else 1e-8 for b in net.base]
    for name, unit in units.items():
        mine, all_mine = getattr(flat, name)[0], getattr(many, name)[0]
        expected, all_expected = [], []
        for k, size in enumerate(unit):
            high, low = point[name].copy(), point[name].copy()
            high[0, k] += 1e-5 * size
            low[0, k] -= 1e-5 * size
            (u_high, up), (u_low, down) = answer(**{name: high}), answer(**{name: low})
            expected.append((up - down) / 2e-5)
            all_expected.append((u_high - u_low) / 2e-5)
        m = len(unit)
        scaled = mine[:m] * unit
        assert np.abs(scaled - expected).max() <= 1e-5 * np.abs(expected).max(), name
        error = np.abs(all_mine[:, :m] * unit - np.array(all_expected).T)
        assert error.max() <= 1e-5 * np.abs(all_expected).max(), name


# --- conserved totals


def test_a_closed_binding_reaction_reaches_its_equilibrium():
    """A + B <-> C at K = 500 L/mol, three moieties less one reaction; the quadratic for c has one root in range."""
    net = Network(
        {"A": 1e-3, "B": 1e-3, "C": 1e-3}, [], [Reaction({"A": -1, "B": -1, "C": 1}, MassAction(5.0, 2, 0.01))]
    )
    start = np.array([[2e-3, 1e-3, 0.0], [0.0, 0.0, 3e-3], [1e-2, 1e-6, 1e-4]])
    state = net.steady_state(np.zeros((3, 0)), start=start)
    assert state.stable.all()
    a, b = start[:, 0] + start[:, 2], start[:, 1] + start[:, 2]
    s = a + b + 1 / 500.0
    c = 2 * a * b / (s + np.sqrt(s * s - 4 * a * b))
    assert state.potentials == pytest.approx(np.column_stack([a - c, b - c, c]), rel=1e-9)
    assert state.potentials[:, 0] + state.potentials[:, 2] == pytest.approx(a, rel=1e-12)
    assert state.potentials[:, 1] + state.potentials[:, 2] == pytest.approx(b, rel=1e-12)
    rates = net.spectrum(state)
    assert rates.shape == (3, 1)  # two zeros left out
    expected = -(5.0 * (state.potentials[:, 0] + state.potentials[:, 1]) + 0.01)
    assert rates[:, 0].real == pytest.approx(expected, rel=1e-9)


def test_a_futile_cycle_keeps_its_total():
    """S -> P by one enzyme, back by another, both near saturation: v1/v2 = 1 at S = P, and steep around it."""
    laws = [Formula("v*s/(0.05+s)", ("s", "p"), {"v": v}) for v in (1.0, 1.2)]
    both = [Reaction({"S": -1, "P": 1}, laws[0]), Reaction({"P": -1, "S": 1}, laws[1])]
    net = Network({"S": 1.0, "P": 1.0}, [], both)
    state = net.steady_state(np.zeros((3, 0)), start=[[1.0, 0.0], [0.0, 1.0], [0.3, 0.7]])
    assert state.stable.all()
    assert np.ptp(state.potentials, axis=0).max() < 1e-12
    s, p = state.potentials[0]
    assert s + p == pytest.approx(1.0, rel=1e-12)
    forward, back = s / (0.05 + s), 1.2 * p / (0.05 + p)
    assert forward == pytest.approx(back, rel=1e-9)


def test_floating_islands_keep_their_charge():
    """Two islands that nothing joins to the terminals, one of them with NDC; and a part that is joined."""
    capacities = {"a": 1e-12, "b": 3e-12, "c": 2e-15, "d": 1e-9, "e": 1e-12, "y": 1e-12}
    edges = [
        Edge("a", "b", Linear(1e-6)), Edge("c", "d", GaussianNdc(1e-6, 0.2)), Edge("d", "e", Linear(1e-9)),
        Edge("x", "y", Linear(1e-6)),
    ]  # fmt: skip
    net = Network(capacities, ["x"], edges)
    start = np.array([1.0, -1.0, 0.3, 0.1, -0.4, 0.0])
    state = net.steady_state([[0.7]], start=start)
    assert state.stable[0]
    c = np.array(list(capacities.values()))
    for island in (slice(0, 2), slice(2, 5)):
        mean = np.sum(c[island] * start[island]) / c[island].sum()
        assert state.potentials[0, island] == pytest.approx(mean, rel=1e-12)
    assert state.potentials[0, 5] == pytest.approx(0.7, rel=1e-12)
    rates = net.spectrum(state)
    assert rates.shape == (1, 4)
    assert rates.real.max() < 0


# --- batches, orders


def small_grid() -> tuple[Network, np.ndarray, np.ndarray]:
    net = grid(4, 3)[0]
    rng = np.random.default_rng(8)
    return net, np.column_stack([rng.uniform(-2, 2, 3000), np.zeros(3000)]), rng.uniform(-1, 1, (3000, 16))


def test_threads_change_no_bit():
    """3000 rows times 56 processes and nodes: enough for threads; then by chunks and by single rows."""
    net, inputs, start = small_grid()
    whole = net.steady_state(inputs, start=start)
    parts = [net.steady_state(inputs[k : k + 100], start=start[k : k + 100]) for k in range(0, 3000, 100)]
    for name in ("potentials", "verdict", "residual", "time", "stable"):
        assert np.array_equal(getattr(whole, name), np.concatenate([getattr(p, name) for p in parts])), name
    for k in range(0, 3000, 271):
        one = net.steady_state(inputs[k], start=start[k])
        assert np.array_equal(one.potentials[0], whole.potentials[k])
        assert one.time[0] == whole.time[k]


def test_a_carried_sweep_is_its_rows_one_after_another():
    net, inputs, start = small_grid()
    inputs = np.sort(inputs[:40], axis=0)
    sweep = net.steady_state(inputs, start=start[0], carry=True)
    u = start[0]
    for k in range(40):
        one = net.steady_state(inputs[k], start=u)
        u = one.potentials[0]
        assert np.array_equal(u, sweep.potentials[k])


def test_the_order_of_the_reservoirs_does_not_matter():
    net, inputs, start = small_grid()
    order = np.random.default_rng(1).permutation(16)
    names = list(net.reservoirs)
    other = Network({names[k]: net.reservoirs[names[k]] for k in order}, net.terminals, net.processes[::-1])
    inputs, start = inputs[:200], start[:200]
    a, b = net.steady_state(inputs, start=start), other.steady_state(inputs, start=start[:, order])
    assert np.array_equal(a.verdict, b.verdict)
    assert np.abs(a.potentials[:, order] - b.potentials).max() < 1e-10


# --- odd networks


def test_capacitances_over_twelve_decades():
    g = [Edge(f"n{i}", f"n{i + 1}", Linear(1e-6)) for i in range(12)]
    ends = [Edge("x", "n0", Linear(1e-6)), Edge("n12", "lo", Linear(1e-6))]
    net = Network({f"n{i}": 10.0 ** (-18 + i) for i in range(13)}, ["x", "lo"], [*ends, *g])
    state = net.steady_state([[1.0, 0.0]])
    assert state.stable[0]
    assert state.potentials[0] == pytest.approx(1 - np.arange(1, 14) / 14, rel=1e-12)


def test_conductances_over_twelve_decades():
    g = [Edge(f"n{i}", f"n{i + 1}", Linear(10.0**-i)) for i in range(12)]
    net = Network(
        {f"n{i}": 1e-12 for i in range(13)}, ["x", "lo"],
        [Edge("x", "n0", Linear(1.0)), Edge("n12", "lo", Linear(1.0)), *g],
    )  # fmt: skip
    state = net.steady_state([[1.0, 0.0]])
    assert state.stable[0]
    resistance = np.cumsum([1.0, *(10.0**i for i in range(12)), 1.0])
    assert 1 - state.potentials[0] == pytest.approx(resistance[:-1] / resistance[-1], rel=1e-9)


@pytest.mark.parametrize("x", [8.6, -8.6])
def test_a_hundred_thousand_kt_away(x: float):
    """1 K, so kT/e is 86 uV: driven there, or starting there, the node ends where a root finder would say."""
    dot = BlockingLevel((2e-4, 12e-4), (1e9, 1e9), (1e9, 2e7), 1.0)
    net = Network({"y": 1e-12}, ["x", "lo"], [Edge("x", "y", dot), Edge("y", "lo", Linear(1e-8))])
    there = net.steady_state([[x, 0.0]])
    assert there.stable[0]
    current = net.currents(there)[0]
    assert current[0] == pytest.approx(current[1], rel=1e-9)
    assert np.sign(there.potentials[0, 0]) == np.sign(x)
    back, near = net.steady_state([[1e-3, 0.0]], start=[x]), net.steady_state([[1e-3, 0.0]])
    assert back.stable[0]
    assert back.potentials == pytest.approx(near.potentials, rel=1e-9)


def test_nodes_without_processes_keep_their_potential():
    net = Network({"a": 1.0, "b": 1.0}, ["x"], [Edge("x", "a", Linear(1.0))])
    state = net.steady_state([[1.0]], start=[0.0, 3.0])
    assert state.stable[0]
    assert state.potentials[0] == pytest.approx([1.0, 3.0], rel=1e-12)


def test_a_lone_node_keeps_its_potential_as_well():
    state = Network({"a": 1.0}, [], []).steady_state(np.zeros((1, 0)), start=[2.0])
    assert state.potentials[0, 0] == 2.0
    assert state.verdict[0] == "settled"


def test_a_conductance_of_zero_leaves_its_node_where_it_is():
    """Cut off it is at rest wherever it is; with the smallest conductance it is drawn along."""
    law = Linear(Affine(0.0, {"k": 1.0}))
    net = Network({"a": 1.0, "b": 1.0}, ["x"], [Edge("x", "a", Linear(1.0)), Edge("a", "b", law)], ["k"])
    state = net.steady_state([[1.0], [1.0]], [[0.0], [1e-30]], [0.0, 0.5])
    assert state.potentials[0] == pytest.approx([1.0, 0.5], rel=1e-9)
    assert state.potentials[1] == pytest.approx([1.0, 1.0], rel=1e-9)
    assert list(state.stable) == [True, True]


def test_a_width_that_is_all_knob():
    law = GaussianNdc(1e-6, Affine(0.0, {"k": 1.0}))
    net = Network({"y": 1e-12}, ["x", "lo"], [Edge("x", "y", law), Edge("y", "lo", Linear(1e-6))], ["k"])
    plain = Network({"y": 1e-12}, ["x", "lo"], [Edge("x", "y", GaussianNdc(1e-6, 0.2)), net.processes[1]])
    assert net.steady_state([[0.1, 0.0]], [0.2]).potentials == pytest.approx(
        plain.steady_state([[0.1, 0.0]]).potentials, rel=1e-9
    )


@pytest.mark.parametrize("text", ["b-a", "1+b*b", "log(a-b-2)", "1/(a-1)"])
def test_what_runs_away_or_is_no_number_is_unsettled(text: str):
    net = Network({"y": 1.0}, ["x"], [Edge("x", "y", Formula(text, ("a", "b"), {}, bends_over=1.0))])
    state = net.steady_state([[1.0]])
    assert state.verdict[0] == "unsettled"
    assert not state.stable[0]


# --- settling time


def test_settling_time_of_one_resistor():
    net = Network({"y": 2e-12}, ["x"], [Edge("x", "y", Linear(1e-6))])
    state = net.steady_state([[0.5], [0.5], [0.5]])
    for within, tolerance in ((0.1, 1e-5), (1e-3, 1e-5), (1e-7, 1e-9)):
        found = net.settling_time(state, within, tolerance=tolerance)
        assert found == pytest.approx(2e-6 * np.log(0.5 / within), rel=3e-3)
    assert net.settling_time(state, 1.0) == pytest.approx(0.0)


def test_settling_time_of_ndc_equals_the_dense_path():
    """A ring that passes the peak, against `relax` on 4000 times."""
    net = Network(
        {"a": 1e-12, "b": 3e-12}, ["x", "lo"],
        [Edge("x", "a", Linear(1e-7)), Edge("a", "b", GaussianNdc(1e-6, 0.2, 1e-8)), Edge("b", "lo", Linear(1e-7))],
    )  # fmt: skip
    state = net.steady_state([[1.5, 0.0]])
    assert state.stable[0]
    for within in (1e-1, 1e-2, 1e-4):
        found = net.settling_time(state, within)[0]
        times = np.linspace(0, 2 * found, 4001)
        away = np.abs(net.relax([[1.5, 0.0]], times)[0] - state.potentials[0]).max(axis=1)
        last = times[np.flatnonzero(away > within)[-1]]
        assert found == pytest.approx(last, rel=5e-3)
