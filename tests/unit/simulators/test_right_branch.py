"""The answer is the stable state that relaxation reaches: random NDC networks against LSODA, on every branch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from simulators import laws
from simulators.conductors import BlockingLevel, GaussianNdc, Linear
from simulators.network import Network
from simulators.processes import Edge

E = laws.ELEMENTARY_CHARGE
UNIT_T = 1.0 / laws.BOLTZMANN_EV  # the temperature at which kT/e is 1 V
LONG = 0.2  # s, two hundred of the slowest lead's time constants (3 pF, 3 nS: 1 ms)


def reciprocal(n: int, seed: int) -> Network:
    """Every node on a lead to x or lo (10 to 100 nS), 3 n NDC edges (0.1 to 1 uS, 0.1 to 0.3 V) between the nodes."""
    rng = np.random.default_rng([n, seed])
    nodes = [f"n{i}" for i in range(n)]
    edges = [Edge(str(rng.choice(["x", "lo"])), node, Linear(10 ** rng.uniform(-8, -7))) for node in nodes]
    for _ in range(3 * n):
        a, b = rng.choice(n, 2, replace=False)
        law = GaussianNdc(10 ** rng.uniform(-7, -6), rng.uniform(0.1, 0.3), 1e-7 * rng.uniform(0, 0.05))
        edges.append(Edge(nodes[a], nodes[b], law))
    return Network({node: 1e-12 for node in nodes}, ["x", "lo"], edges)


def levered(n: int, seed: int) -> Network:
    """Leads of 3 to 30 nS, n dots that block (kT 20 to 60 meV), whose levels the leads move: not reciprocal."""
    rng = np.random.default_rng([n, seed, 1])
    nodes = [f"n{i}" for i in range(n)]
    edges = [Edge(str(rng.choice(["x", "lo"])), node, Linear(10 ** rng.uniform(-8.5, -7.5))) for node in nodes]
    for _ in range(n):
        a, b = rng.choice(n, 2, replace=False)
        kt = rng.uniform(0.02, 0.06)
        low = kt * rng.uniform(-2, 5)
        left, slow = 10 ** rng.uniform(-1, 0) * 1e-6 * kt / E, 10 ** rng.uniform(-3, -1)
        levers = (0.2 * rng.random(), 0.2 * rng.random())
        levels = (low, low + kt * rng.uniform(5, 10))
        law = BlockingLevel(levels, (left, left), (left, left * slow), kt * UNIT_T, levers)
        edges.append(Edge(nodes[a], nodes[b], law))
    capacities = {node: 1e-12 * 10 ** rng.uniform(-0.5, 0.5) for node in nodes}
    return Network(capacities, ["x", "lo"], edges)


# --- the same physics, written again in numpy


def linear(ua: np.ndarray, ub: np.ndarray, p: np.ndarray) -> np.ndarray:
    return p[0] * (ua - ub)


def gaussian(ua: np.ndarray, ub: np.ndarray, p: np.ndarray) -> np.ndarray:
    return (ua - ub) * (p[2] + p[0] * np.exp(-(((ua - ub) / p[1]) ** 2)))


def blocking(ua: np.ndarray, ub: np.ndarray, p: np.ndarray) -> np.ndarray:
    """physics.md, section 2: occupations of (empty, conducting, blocked) by rates in and out of both leads."""
    kt, shift = laws.BOLTZMANN_EV * p[6], p[7] * ua + p[8] * ub
    x_l, x_r = (ua - shift - p[:2]) / kt, (ub - shift - p[:2]) / kt
    filled_l = 1 / (1 + np.exp(-x_l))  # not scipy's expit: complex numbers, too
    enter = p[2:4] * filled_l + p[4:6] / (1 + np.exp(-x_r))
    leave = p[2:4] / (1 + np.exp(x_l)) + p[4:6] / (1 + np.exp(x_r))
    weight = np.array([leave[0] * leave[1], enter[0] * leave[1], enter[1] * leave[0]])
    state = weight / weight.sum(axis=0)
    return E * np.sum(p[2:4] * (state[0] * filled_l - state[1:] / (1 + np.exp(x_l))), axis=0)


LAWS: dict[type, Callable[..., np.ndarray]] = {Linear: linear, GaussianNdc: gaussian, BlockingLevel: blocking}


class Reference:
    """du/dt and its Jacobian (by complex steps, exact to round-off), and where LSODA goes."""

    def __init__(self, net: Network) -> None:
        nodes = [*net.reservoirs, *net.terminals]
        self.n = len(net.reservoirs)
        capacity = np.array(list(net.reservoirs.values()))
        self.groups = []
        for kind, law in LAWS.items():
            which = [k for k, p in enumerate(net.processes) if isinstance(p.law, kind)]
            if not which:
                continue
            a = np.array([nodes.index(net.processes[k].first) for k in which])
            b = np.array([nodes.index(net.processes[k].second) for k in which])
            values = np.array([net.base[net.parameter_rows(k)] for k in which]).T
            ends = np.eye(len(nodes))
            into = ((ends[b] - ends[a])[:, : self.n] / capacity).T  # (n, edges): what a current does to du/dt
            self.groups.append((law, a, b, values, into, ends[a][:, : self.n], ends[b][:, : self.n]))
        assert sum(len(group[1]) for group in self.groups) == len(net.processes)

    def slope(self, u: np.ndarray, clamped: np.ndarray) -> np.ndarray:
        """du/dt, (n,), V/s."""
        v = np.concatenate([u, clamped])
        return sum(into @ law(v[a], v[b], p) for law, a, b, p, into, _, _ in self.groups)

    def jacobian(self, u: np.ndarray, clamped: np.ndarray) -> np.ndarray:
        """(n, n), 1/s."""
        v, step = np.concatenate([u, clamped]), 1e-30j
        out = np.zeros((self.n, self.n))
        for law, a, b, p, into, at_a, at_b in self.groups:
            by_a, by_b = law(v[a] + step, v[b], p).imag / 1e-30, law(v[a], v[b] + step, p).imag / 1e-30
            out += (into * by_a) @ at_a + (into * by_b) @ at_b
        return out

    def end(self, clamped: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, bool]:
        """Where LSODA is after a long time, and whether it rests there (to 1e-7 V by what is left of du/dt)."""
        u = start
        for duration in (LONG, 30 * LONG):
            u = solve_ivp(
                lambda _, u: self.slope(u, clamped), (0.0, duration), u, method="LSODA",
                jac=lambda _, u: self.jacobian(u, clamped), rtol=1e-8, atol=1e-10, t_eval=[duration],
            ).y[:, -1]  # fmt: skip
            left = np.linalg.lstsq(self.jacobian(u, clamped), self.slope(u, clamped), rcond=None)[0]
            if np.abs(left).max() < 1e-7:
                return u, True
        return u, False


@dataclass
class Count:
    compared: int = 0
    wrong: int = 0  # settled elsewhere than LSODA, or settled where LSODA does not rest
    missed: int = 0  # not settled where LSODA rests
    restless: int = 0  # neither rests
    unstable: int = 0  # called settled or stable with an eigenvalue on the right
    branches: int = 0  # networks in which other starts end elsewhere


def compare(family: Callable[[int, int], Network], n: int, seeds: range, inputs: int) -> Count:
    """Steady states from 0 V against LSODA, inputs x in -1.5 to 1.5 V."""
    count = Count()
    for seed in seeds:
        net, rng = family(n, seed), np.random.default_rng([seed, 9])
        clamped = np.column_stack([rng.uniform(-1.5, 1.5, inputs), np.zeros(inputs)])
        state, reference = net.steady_state(clamped), Reference(net)
        assert np.array_equal(state.stable, state.verdict == "settled")
        for row in range(inputs):
            found, rests = reference.end(clamped[row], np.zeros(n))
            count.compared += 1
            if state.stable[row]:
                rates = np.linalg.eigvals(reference.jacobian(state.potentials[row], clamped[row]))
                count.unstable += rates.real.max() > 1e-9 * np.abs(rates).max()
                count.wrong += not (rests and np.abs(state.potentials[row] - found).max() < 1e-6)
            else:
                count.missed += rests
                count.restless += not rests
        other = net.steady_state(clamped, start=rng.uniform(-1.5, 1.5, (inputs, n)))
        both = state.stable & other.stable
        count.branches += np.abs(state.potentials - other.potentials)[both].max(initial=0.0) > 1e-3
    return count


@pytest.mark.parametrize(
    ("family", "n", "networks"), [(reciprocal, 8, 10), (reciprocal, 32, 4), (levered, 8, 8), (levered, 32, 3)]
)
def test_a_few_networks_end_where_lsoda_does(family: Callable[[int, int], Network], n: int, networks: int):
    count = compare(family, n, range(1000, 1000 + networks), 8)
    assert count.compared == 8 * networks
    assert (count.wrong, count.missed, count.unstable) == (0, 0, 0), count
    if family is reciprocal:
        assert count.branches >= networks // 3  # else there would be nothing to get wrong


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("family", "n", "inputs"), [(reciprocal, 8, 20), (reciprocal, 32, 20), (levered, 8, 20), (levered, 32, 2)]
)
def test_many_questions_end_where_lsoda_does(family: Callable[[int, int], Network], n: int, inputs: int):
    """2000 of a hundred networks; 200 of the large levered ones, of which LSODA does a few a second."""
    count = compare(family, n, range(100), inputs)
    assert count.compared == 100 * inputs
    assert count.unstable == 0, count
    assert count.wrong + count.missed <= inputs / 10, count  # 99.9 %
    assert count.branches >= (50 if family is reciprocal else 5)  # else there would be nothing to get wrong
