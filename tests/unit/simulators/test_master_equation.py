"""The Pauli master equation against an assembly from its definitions, thermal equilibrium and known dots.

Units of most tests: kT = e = 1, so a rate of ONE carries a current of 1 (test_conductors.py has the same).
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators import conductors, laws
from simulators.master_equation import Deviation, Dot, _null_vector, _null_vector_of_logs, tabulate

E = laws.ELEMENTARY_CHARGE
ONE = 1.0 / E
UNIT_T = 1.0 / laws.BOLTZMANN_EV

exactly = settings(max_examples=40, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)


def random_dot(seed: int, spread: float = 20.0, **fixed: Any) -> tuple[Dot, np.ndarray, np.ndarray]:
    """A dot of 1 to 3 leads, 1 to 4 levels and 2 gates, and potentials and gates for it; energies in kT."""
    rng = np.random.default_rng(seed)
    n_leads, n_levels = rng.integers(1, 4), rng.integers(1, 5)
    pairs = np.triu(rng.uniform(-0.2, 1.0, (n_levels, n_levels)) * spread, 1)
    choices: dict[str, Any] = {
        "levels": rng.uniform(-spread, spread, n_levels),
        "rates": ONE * 10 ** rng.uniform(-3, 1, (n_leads, n_levels)),
        "temperature": UNIT_T * rng.uniform(0.5, 2.0, n_leads),
        "charging": rng.uniform(0, spread, n_levels),
        "mutual": pairs + pairs.T,
        "degeneracy": rng.integers(1, 3, n_levels),
        "gate_levers": rng.uniform(0, 0.2, (n_levels, 2)),
        "lead_levers": rng.uniform(0, 0.3, (n_levels, n_leads)),
    }
    dot = Dot(**(choices | fixed))
    return dot, rng.uniform(-spread, spread, n_leads), rng.uniform(-spread, spread, 2)


# --- against an assembly from the definitions: dictionaries of states, energies from H, elimination in many digits


def energy(dot: Dot, state: tuple[int, ...], u: np.ndarray, v: np.ndarray) -> Decimal:
    """H of the module's docstring."""
    total = Decimal(0)
    for k, n in enumerate(state):
        level = Decimal(dot.levels[k])
        for gate, volts in enumerate(v):
            level -= Decimal(dot.gate_levers[k, gate]) * Decimal(volts)
        for lead, volts in enumerate(u):
            level += Decimal(dot.lead_levers[k, lead]) * Decimal(volts)
        total += level * n + Decimal(dot.charging[k]) * (n * (n - 1)) / 2
        for m in range(k):
            total += Decimal(dot.mutual[k, m]) * n * state[m]
    return total


def hops(dot: Dot, u: np.ndarray, v: np.ndarray) -> Iterator[tuple[tuple, tuple, int, Decimal, Decimal]]:
    """(from, to, lead, rate, energy gained by the dot) of every golden-rule transition, one lead and electron each."""
    for state in itertools.product(*(range(g + 1) for g in dot.degeneracy)):
        for k, n in enumerate(state):
            for change in (1, -1):
                other = (*state[:k], n + change, *state[k + 1 :])
                free = int(dot.degeneracy[k]) - n if change == 1 else n
                if free <= 0:
                    continue
                gained = energy(dot, other, u, v) - energy(dot, state, u, v)
                for lead, rates in enumerate(dot.rates):
                    kt = Decimal(laws.BOLTZMANN_EV) * Decimal(dot.temperature[lead])
                    x = (gained - change * Decimal(u[lead])) / kt
                    yield state, other, lead, Decimal(rates[k]) * free / (1 + x.exp()), gained


def assembly(dot: Dot, u: np.ndarray, v: np.ndarray, digits: int) -> tuple[np.ndarray, np.ndarray, dict[tuple, float]]:
    """Currents (A) and heats (W) out of the leads, and the probability of every state."""
    with localcontext() as context:
        context.prec = digits
        context.Emin, context.Emax = -99999999, 99999999
        all_hops = list(hops(dot, u, v))
        order = {state: i for i, state in enumerate(dict.fromkeys(hop[0] for hop in all_hops))}
        size = len(order)
        # dp/dt = 0 for all states but the first, whose equation is sum p = 1
        matrix = [[Decimal(0)] * size + [Decimal(0)] for _ in range(size)]
        for source, target, _, rate, _ in all_hops:
            matrix[order[target]][order[source]] += rate
            matrix[order[source]][order[source]] -= rate
        matrix[0] = [Decimal(1)] * (size + 1)
        for column in range(size):
            pivot = max(range(column, size), key=lambda row: abs(matrix[row][column]))
            matrix[column], matrix[pivot] = matrix[pivot], matrix[column]
            for row in range(column + 1, size):
                factor = matrix[row][column] / matrix[column][column]
                if factor:
                    matrix[row] = [a - factor * b for a, b in zip(matrix[row], matrix[column], strict=True)]
        p = [Decimal(0)] * size
        for row in reversed(range(size)):
            known = sum((matrix[row][k] * p[k] for k in range(row + 1, size)), Decimal(0))
            p[row] = (matrix[row][-1] - known) / matrix[row][row]
        currents, heats = [Decimal(0)] * len(u), [Decimal(0)] * len(u)
        for source, target, lead, rate, gained in all_hops:
            sign = sum(target) - sum(source)
            flow = Decimal(E) * p[order[source]] * rate
            currents[lead] += sign * flow
            heats[lead] += flow * (gained - sign * Decimal(u[lead]))
        found = {state: float(p[i]) for state, i in order.items()}
        return np.array(currents, dtype=float), np.array(heats, dtype=float), found


def compare(dot: Dot, u: np.ndarray, v: np.ndarray, digits: int) -> None:
    found = dot.solve(u, v)
    currents, heats, p = assembly(dot, u, v, digits)
    largest = E * dot.rates.max()
    assert found.currents == pytest.approx(currents, abs=1e-10 * largest, rel=0)
    assert found.heats == pytest.approx(heats, abs=1e-8 * largest, rel=0)  # energies are up to a hundred kT here
    expected = [p[tuple(state)] for state in dot.states.tolist()]
    assert found.probabilities == pytest.approx(expected, abs=1e-10, rel=0)
    assert found.probabilities == pytest.approx(expected, abs=1e-290, rel=1e-9)  # every one to itself
    assert found.occupations == pytest.approx(np.array(expected) @ dot.states, abs=1e-10, rel=0)


@exactly
@given(seeds)
def test_agrees_with_an_assembly_from_the_rates_definitions(seed: int):
    compare(*random_dot(seed), digits=150)


# In blockade, and carrying current past levels hundreds of kT away; all need the logarithms
@pytest.mark.parametrize(("bias", "seed"), [(2.0, 2), (700.0, 42), (700.0, 196), (700.0, 207)])
def test_agrees_where_fermi_functions_leave_the_range_of_doubles(bias: float, seed: int):
    rng = np.random.default_rng(seed)
    dot = Dot(
        rng.uniform(-900, 500, 2),
        ONE * np.array([[1.0, 0.02], [0.3, 2.0]]),
        UNIT_T,
        charging=[0.0, 250.0],
        mutual=[[0.0, 130.0], [130.0, 0.0]],
        degeneracy=[1, 2],
    )
    compare(dot, rng.uniform(-bias, bias, 2), np.zeros(0), digits=2500)


def test_both_null_vectors_agree_and_the_plain_one_says_when_it_cannot():
    rng = np.random.default_rng(3)
    rates = 10.0 ** rng.uniform(-12, 0, (12, 12)) * (rng.random((12, 12)) < 0.5)
    rates += np.diag(np.full(11, 1e-6), 1) + np.diag(np.full(11, 1e-6), -1)
    plain, logs = np.empty(12), np.empty(12)
    assert _null_vector(rates.copy(), plain)
    with np.errstate(divide="ignore"):
        _null_vector_of_logs(np.log(rates), logs)
    assert plain == pytest.approx(logs, rel=1e-12)
    np.fill_diagonal(rates, 0.0)
    assert plain @ rates == pytest.approx(plain * rates.sum(axis=1), rel=1e-12)  # as much comes as goes
    stuck = np.array([[0.0, 1.0], [1e-290, 0.0]])
    assert not _null_vector(stuck, np.empty(2))


# --- equilibrium


def gibbs_logarithms(dot: Dot, u: float, v: np.ndarray) -> np.ndarray:
    """ln of binom(g, n) exp(-(H - u N)/kT), not normalised."""
    kt = laws.BOLTZMANN_EV * dot.temperature[0]
    out = []
    for state in dot.states.tolist():
        ways = math.prod(math.comb(int(g), n) for g, n in zip(dot.degeneracy, state, strict=True))
        h = energy(dot, tuple(state), np.full(len(dot.rates), u), v)
        out.append(math.log(ways) - (float(h) - u * sum(state)) / kt)
    return np.array(out)


@exactly
@given(seeds, st.sampled_from([2.0, 20.0, 60.0]))
def test_equal_potentials_and_temperatures_give_gibbs_and_no_current(seed: int, spread: float):
    dot, u, v = random_dot(seed, spread, temperature=UNIT_T)
    found = dot.solve(np.full(len(u), u[0]), v)
    logs = gibbs_logarithms(dot, u[0], v)
    weights = np.exp(logs - logs.max())
    assert found.probabilities == pytest.approx(weights / weights.sum(), abs=1e-10, rel=0)
    assert found.probabilities == pytest.approx(weights / weights.sum(), abs=1e-290, rel=1e-10)
    largest = E * dot.rates.max()
    assert np.abs(found.currents).max() <= 1e-12 * largest
    assert np.abs(found.heats).max() <= 1e-10 * largest


def test_two_ground_states_far_from_anything_else_share_as_gibbs_says():
    # One electron in either level, 1 kT apart; every way from one to the other costs 1000 kT or 2000 kT
    dot = Dot([-1000.0, -999.0], ONE * np.array([[1.0, 1e-3], [0.2, 1.0]]), UNIT_T, mutual=[[0, 3000], [3000, 0]])
    found = dot.solve([0.0, 0.0])
    p = dict(zip(map(tuple, dot.states.tolist()), found.probabilities, strict=True))
    assert p[1, 0] / p[0, 1] == pytest.approx(math.e, rel=1e-10)
    assert p[1, 0] + p[0, 1] == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("level", [-1e6, -800.0, 800.0, 1e6])
def test_the_coldest_dot_is_full_or_empty(level: float):
    found = Dot([level, level], ONE * np.ones((2, 2)), UNIT_T).solve([0.0, 0.0])
    assert found.occupations == pytest.approx([1.0, 1.0] if level < 0 else [0.0, 0.0], abs=1e-300)
    assert found.currents == pytest.approx([0.0, 0.0], abs=1e-300)


# --- conservation, entropy, spin


@exactly
@given(seeds, st.sampled_from([2.0, 20.0, 300.0]))
def test_charge_and_energy_are_conserved_and_entropy_grows(seed: int, spread: float):
    dot, u, v = random_dot(seed, spread)
    found = dot.solve(u, v)
    largest = E * dot.rates.max()
    assert abs(found.currents.sum()) <= 1e-12 * largest
    assert abs((found.heats + u * found.currents).sum()) <= 1e-12 * largest * 30 * spread
    production = -(found.heats / (laws.BOLTZMANN_EV * dot.temperature)).sum()
    assert production >= -1e-12 * largest * 30 * spread
    assert found.probabilities.sum() == pytest.approx(1.0, rel=1e-12)


def test_entropy_grows_at_a_bias_by_the_heat_of_the_bias():
    dot = Dot([0.5], ONE * np.array([[1.0], [2.0]]), UNIT_T)
    found = dot.solve([3.0, -1.0])
    joule = 4.0 * found.currents[0]
    assert -found.heats.sum() == pytest.approx(joule, rel=1e-12)
    assert joule > 1.0


@exactly
@given(seeds)
def test_a_spinful_level_is_two_levels_that_repel_by_its_charging_energy(seed: int):
    rng = np.random.default_rng(seed)
    level, other, charging, mutual = rng.uniform(-10, 10, 4)
    rates, levers = ONE * 10 ** rng.uniform(-2, 0, (2, 2)), rng.uniform(0, 0.3, (2, 2))
    temperature = UNIT_T * rng.uniform(0.5, 2, 2)
    joined = Dot(
        [level, other],
        rates,
        temperature,
        charging=[charging, 0],
        mutual=[[0, mutual], [mutual, 0]],
        degeneracy=[2, 1],
        lead_levers=levers,
    )
    pairs = [[0, charging, mutual], [charging, 0, mutual], [mutual, mutual, 0]]
    resolved = Dot([level, level, other], rates[:, [0, 0, 1]], temperature, mutual=pairs, lead_levers=levers[[0, 0, 1]])
    u = rng.uniform(-10, 10, (20, 2))
    one, two = joined.solve(u), resolved.solve(u)
    assert one.currents == pytest.approx(two.currents, abs=1e-12, rel=0)
    assert one.heats == pytest.approx(two.heats, abs=1e-11, rel=0)
    assert one.occupations[:, 0] == pytest.approx(two.occupations[:, :2].sum(axis=1), abs=1e-12, rel=0)
    assert one.occupations[:, 1] == pytest.approx(two.occupations[:, 2], abs=1e-12, rel=0)


# --- known dots (physics.md, section 2)


def fermi(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(x))


BIASES = np.random.default_rng(1).uniform(-15, 15, (200, 2))


def test_one_level_is_the_single_level_formula():
    left, right, level = 0.7, 0.2, 1.5
    found = Dot([level], ONE * np.array([[left], [right]]), UNIT_T).solve(BIASES)
    expected = left * right / (left + right) * (fermi(level - BIASES[:, 0]) - fermi(level - BIASES[:, 1]))
    assert found.currents[:, 0] == pytest.approx(expected, abs=1e-10, rel=0)
    assert found.currents[:, 1] == pytest.approx(-expected, abs=1e-10, rel=0)


def test_strong_charging_is_the_spinful_formula():
    left, right, level = 0.7, 0.2, 1.5
    rates = ONE * np.array([[left], [right]])
    dot = Dot([level], rates, UNIT_T, charging=[1e4], degeneracy=[2])
    f_l, f_r = fermi(level - BIASES[:, 0]), fermi(level - BIASES[:, 1])
    expected = 2 * left * right * (f_l - f_r) / (left * (1 + f_l) + right * (1 + f_r))
    assert dot.solve(BIASES).currents[:, 0] == pytest.approx(expected, abs=1e-10, rel=0)
    plateau = dot.solve([[60.0, -60.0], [-60.0, 60.0]]).currents[:, 0]
    expected = [2 * left * right / (2 * left + right), -2 * left * right / (left + 2 * right)]
    assert plateau == pytest.approx(expected, rel=1e-12)


def blocking_dot(right: float = 0.02, **more: Any) -> Dot:
    """The reference set of physics.md."""
    return Dot([2.0, 12.0], ONE * np.array([[1, 1], [1, right]]), UNIT_T, mutual=[[0, 1e4], [1e4, 0]], **more)


def test_strong_mutual_repulsion_is_the_blocking_level():
    gl, gr, ratios, terms = np.array([1.0, 1.0]), np.array([1.0, 0.02]), [], []
    for k, level in enumerate((2.0, 12.0)):
        f_l, f_r = fermi(level - BIASES[:, 0]), fermi(level - BIASES[:, 1])
        into, out = gl[k] * f_l + gr[k] * f_r, gl[k] * (1 - f_l) + gr[k] * (1 - f_r)
        ratios.append(into / out)
        terms.append(gl[k] * f_l - into / out * gl[k] * (1 - f_l))
    expected = (terms[0] + terms[1]) / (1 + ratios[0] + ratios[1])
    found = blocking_dot().solve(BIASES)
    assert found.currents[:, 0] == pytest.approx(expected, abs=1e-10, rel=0)


@pytest.mark.parametrize(("bias", "expected"), [(2, 0.1904), (6, 0.4310), (12, 0.3153), (20, 0.0386)])
def test_blocking_level_reference_set(bias: float, expected: float):
    assert blocking_dot().solve([bias, 0.0]).currents[0] == pytest.approx(expected, abs=5e-5)


def test_coulomb_diamonds_are_as_large_as_charging_energy_and_level_spacing_say():
    # Two spinful levels, U between any two electrons: additions cost U, U + spacing, U
    charging, spacing, lever = 40.0, 15.0, 0.1
    dot = Dot(
        [0.0, spacing],
        ONE * np.ones((2, 2)),
        UNIT_T / 4,
        charging=[charging, charging],
        mutual=[[0, charging], [charging, 0]],
        degeneracy=[2, 2],
        gate_levers=[[lever], [lever]],
    )
    gate = np.linspace(-200, 1700, 7601)
    line = dot.stability_diagram(gate, [0.02], (0, 0, 1), (0.5, -0.5, 0)).currents[0, :, 0]
    peaks = gate[1:-1][(line[1:-1] > line[:-2]) & (line[1:-1] > line[2:])]
    sizes = (charging, charging + spacing, charging)
    assert lever * np.diff(peaks) == pytest.approx(sizes, abs=0.5)  # degeneracy moves a peak by (kT/2) ln 2
    for middle, size in zip((peaks[:-1] + peaks[1:]) / 2, sizes, strict=True):
        bias = np.array([0.9, 1.1]) * size
        inside, outside = dot.stability_diagram([middle], bias, (0, 0, 1), (0.5, -0.5, 0)).currents[:, 0, 0]
        assert inside < 0.01
        assert outside > 0.3


def test_triple_points_of_a_double_dot_are_separated_by_the_mutual_energy():
    mutual, own, cross = 12.0, 0.1, 0.02
    dot = Dot(
        [0.0, 0.0],
        ONE * np.array([[1.0, 0.0], [0.0, 1.0]]),
        UNIT_T,
        mutual=[[0, mutual], [mutual, 0]],
        gate_levers=[[own, cross], [cross, own]],
    )
    gate = np.linspace(-100, 250, 351)
    p = dot.stability_diagram(gate, gate, (0, 0, 1, 0), (0, 0, 0, 1)).probabilities
    index = {tuple(state): i for i, state in enumerate(dot.states.tolist())}
    singles = p[..., index[1, 0]] * p[..., index[0, 1]]
    first = np.unravel_index(np.argmax(singles * p[..., index[0, 0]]), singles.shape)
    second = np.unravel_index(np.argmax(singles * p[..., index[1, 1]]), singles.shape)
    # both levels fall by (own + cross) V; the second point is where they have fallen by U
    for axis in (0, 1):
        assert gate[second[axis]] - gate[first[axis]] == pytest.approx(mutual / (own + cross), abs=2.0)
    corners = p[[0, 0, -1, -1], [0, -1, 0, -1]].argmax(axis=-1)  # rows are the second gate
    assert corners.tolist() == [index[0, 0], index[1, 0], index[0, 1], index[1, 1]]


def test_a_positive_plunger_lowers_the_level_and_a_lead_raises_it():
    dot = Dot([1.0], ONE * np.ones((2, 1)), UNIT_T, gate_levers=[[0.1]], lead_levers=[[0.2, 0.3]])
    same = Dot([1.0 - 0.1 * 7 + 0.2 * 2 - 0.3], ONE * np.ones((2, 1)), UNIT_T)
    assert dot.solve([2.0, -1.0], [7.0]).currents == pytest.approx(same.solve([2.0, -1.0]).currents, rel=1e-12)


@pytest.mark.parametrize("level", [-2.0, 0.0, 0.5, 3.0])
def test_a_hot_lead_sends_carriers_through_levels_above_and_draws_them_below(level: float):
    dot = Dot([level], ONE * np.ones((2, 1)), [2 * UNIT_T, UNIT_T])
    found = dot.solve([0.0, 0.0])
    expected = 0.5 * (1 / (1 + math.exp(level / 2)) - 1 / (1 + math.exp(level)))
    assert found.currents[0] == pytest.approx(expected, abs=1e-12)
    assert np.sign(round(found.currents[0], 12)) == np.sign(level)
    assert found.heats[0] == pytest.approx(level * expected, abs=1e-12)  # from hot to cold on both sides
    assert found.heats[0] >= 0


# --- batches


def test_a_batch_of_any_shape_is_its_points_one_by_one():
    dot, _, _ = random_dot(
        11,
        rates=ONE * np.ones((2, 3)),
        levels=[0.0, 1.0, 2.0],
        temperature=UNIT_T,
        charging=[5.0] * 3,
        mutual=None,
        degeneracy=[1, 2, 1],
        gate_levers=np.eye(3)[:, :2],
        lead_levers=None,
    )
    rng = np.random.default_rng(5)
    u, v = rng.uniform(-5, 5, (4, 1, 2)), rng.uniform(-5, 5, (3, 2))
    found = dot.solve(u, v)
    assert found.currents.shape == found.heats.shape == (4, 3, 2)
    assert found.occupations.shape == (4, 3, 3)
    assert found.probabilities.shape == (4, 3, 12)
    for i, j in itertools.product(range(4), range(3)):
        single = dot.solve(u[i, 0], v[j])
        assert found.currents[i, j].tolist() == single.currents.tolist()
        assert found.probabilities[i, j].tolist() == single.probabilities.tolist()
    assert dot.solve(np.zeros((0, 2)), np.zeros((0, 2))).currents.shape == (0, 2)


def test_a_stability_diagram_is_solve_on_its_two_directions():
    dot, _, _ = random_dot(
        4,
        rates=ONE * np.ones((2, 1)),
        levels=[0.0],
        temperature=UNIT_T,
        charging=[8.0],
        mutual=None,
        degeneracy=[2],
        gate_levers=[[0.1, 0.05]],
        lead_levers=None,
    )
    x, y = [0.0, 20.0, 40.0], [-3.0, 3.0]
    found = dot.stability_diagram(x, y, (0, 0, 1, -1), (0.5, -0.5, 0, 0), origin=(1, 1, 10, 0))
    for (i, bias), (j, detuning) in itertools.product(enumerate(y), enumerate(x)):
        single = dot.solve([1 + bias / 2, 1 - bias / 2], [10 + detuning, -detuning])
        assert found.currents[i, j] == pytest.approx(single.currents, abs=1e-15)
        assert found.occupations[i, j] == pytest.approx(single.occupations, abs=1e-15)


# --- tables


def law_current(table: conductors.Table, ua: float, ub: float) -> float:
    """Current of the table as a network evaluates it."""
    values = np.array([value for _, _, value in conductors.flat_parameters(table)], dtype=float)
    du, dp = np.empty(laws.MAX_READS), np.empty(laws.MAX_PARAMETERS + laws.ROOM)
    tables = conductors.constants(table)
    return laws.rate(table.code, np.array([ua, ub]), 2, values, tables, 0, du, dp, True)


def on_triangles(grid: np.ndarray, currents: np.ndarray, ua: float, ub: float) -> float:
    """Barycentric interpolation in the triangle that holds (ua, ub): corner, opposite corner, and the one between."""
    step = grid[1] - grid[0]
    i, j = (min(int((u - grid[0]) / step), len(grid) - 2) for u in (ua, ub))
    third = (i + 1, j) if ua - grid[i] >= ub - grid[j] else (i, j + 1)
    corners = [(i, j), (i + 1, j + 1), third]
    system = np.array([[1.0, 1.0, 1.0], [grid[a] for a, _ in corners], [grid[b] for _, b in corners]])
    weights = np.linalg.solve(system, [1.0, ua, ub])
    return float(weights @ [currents[a, b] for a, b in corners])


def test_a_table_is_the_dot_to_its_measured_error():
    dot = blocking_dot()
    rng = np.random.default_rng(8)
    errors = []
    for points in (41, 81, 161):
        table, deviation = tabulate(dot, (-4.0, 20.0), points)
        grid, currents = np.asarray(table.grid), np.asarray(table.currents)
        assert np.diag(currents).tolist() == [0.0] * points
        for i, j in rng.integers(0, points, (20, 2)):
            exact = dot.solve([grid[i], grid[j]]).currents[0] if i != j else 0.0
            assert currents[i, j] == pytest.approx(exact, abs=1e-14)
        u = rng.uniform(-4, 20, (1500, 2))
        exact = dot.solve(u).currents[:, 0]
        found = np.array([on_triangles(grid, currents, a, b) for a, b in u])
        assert found == pytest.approx([law_current(table, a, b) for a, b in u], abs=1e-12)
        worst = np.abs(found - exact).max()
        assert 0.3 * deviation.absolute <= worst <= 1.05 * deviation.absolute
        assert deviation.relative == pytest.approx(deviation.absolute / np.abs(currents).max(), rel=1e-12)
        errors.append(deviation.relative)
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.25)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.1)
    assert errors[2] < 2e-3


def test_a_table_has_ndc_where_the_dot_has_it_and_nowhere_else():
    for right, expected in ((0.02, True), (1.0, False)):
        currents = np.asarray(tabulate(blocking_dot(right), (-4.0, 20.0), 49)[0].currents)
        assert (np.diff(currents, axis=0).min() < -1e-12) == expected
        assert np.diff(currents, axis=1).max() <= 1e-12  # the right terminal has none either way


def test_lead_levers_that_all_levels_share_go_to_the_tables_own():
    levers = [[0.1, 0.05], [0.1, 0.05]]
    table, _ = tabulate(blocking_dot(lead_levers=levers), (-4.0, 20.0), 25)
    plain, _ = tabulate(blocking_dot(), (-4.0, 20.0), 25)
    assert tuple(table.lead_levers) == (0.1, 0.05)
    assert np.array_equal(table.currents, plain.currents)
    apart = blocking_dot(lead_levers=[[0.1, 0.05], [0.2, 0.05]])
    table, _ = tabulate(apart, (-4.0, 20.0), 25)
    assert tuple(table.lead_levers) == (0.0, 0.0)
    at = apart.solve([20.0, -4.0]).currents[0]
    assert np.asarray(table.currents)[-1, 0] == pytest.approx(at, rel=1e-12)


def test_a_table_follows_lead_levers_and_a_gate_that_moves_all_levels():
    moved = blocking_dot(lead_levers=[[0.1, 0.05], [0.1, 0.05]], gate_levers=[[0.1], [0.1]])
    table, deviation = tabulate(moved, (-25.0, 25.0), 201)
    shifted = dataclasses.replace(table, level=-0.1 * 30.0)
    rng = np.random.default_rng(2)
    for u in rng.uniform(-12, 18, (300, 2)):
        exact = moved.solve(u, [30.0]).currents[0]
        assert law_current(shifted, *u) == pytest.approx(exact, abs=1.05 * deviation.absolute)


@pytest.mark.parametrize("reach", [8.0, 1e-7])  # the second: currents below the rounding of the open lead's flows
def test_a_table_of_a_dot_with_one_lead_almost_closed_has_no_rounding_against_its_bias(reach: float):
    dot = Dot([0.0, 3.0], ONE * np.array([[1.0, 1.0], [1e-9, 2e-9]]), UNIT_T, mutual=[[0, 5], [5, 0]])
    grid, currents = (np.asarray(x) for x in dataclasses.astuple(tabulate(dot, (-reach, reach), 41)[0])[:2])
    assert (currents * np.sign(grid[:, None] - grid) >= 0).all()
    assert currents.max() > 0
    assert currents.min() < 0


def test_gates_stand_where_they_are_told_while_a_table_is_made():
    dot = blocking_dot(gate_levers=[[0.1], [0.05]])
    table, _ = tabulate(dot, (-4.0, 20.0), 25, gates=[15.0])
    at = dot.solve([8.0, -4.0], [15.0]).currents[0]
    assert np.asarray(table.currents)[12, 0] == pytest.approx(at, rel=1e-12)
    assert abs(at - dot.solve([8.0, -4.0]).currents[0]) > 1e-3


def test_a_table_without_current_has_no_relative_error():
    found = tabulate(Dot([1e4], ONE * np.ones((2, 1)), UNIT_T), (-1.0, 1.0), 3)[1]
    assert found == Deviation(0.0, 0.0)


# --- refusals


ONE_LEVEL: dict[str, Any] = {"levels": [0.0], "rates": [[1e9], [1e9]], "temperature": 1.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"levels": []}, r"levels must name at least one"),
        ({"levels": 0.0}, r"levels must have the shape \(any\), got \(\) \(eV\)"),
        ({"levels": [math.nan]}, r"levels must be finite, got \[nan\] eV"),
        ({"rates": [[1e9, 1e9]]}, r"rates must have the shape \(any, 1\), got \(1, 2\) \(1/s\)"),
        ({"rates": [[-1.0], [1e9]]}, r"rates must be >= 0 1/s .* got \[\[-1.0\]"),
        ({"rates": [[0.0], [0.0]]}, r"at least one lead > 0 for every level"),
        ({"rates": np.zeros((0, 1))}, r"rates must be >= 0 1/s with at least one lead"),
        ({"temperature": 0.0}, r"temperature must be > 0 K, got \[0.0, 0.0\] K"),
        ({"temperature": [1.0] * 3}, r"temperature must have the shape \(2\), got \(3,\) \(K\)"),
        ({"charging": [1.0, 2.0]}, r"charging must have the shape \(1\)"),
        ({"mutual": [[1.0]]}, r"mutual must be symmetric with zero diagonal"),
        ({"degeneracy": [0]}, r"degeneracy must be whole numbers >= 1, got \[0.0\]"),
        ({"degeneracy": [1.5]}, r"degeneracy must be whole numbers"),
        ({"degeneracy": [5000]}, r"5001 charge states, the limit is 4096"),
        ({"gate_levers": [0.1]}, r"gate_levers must have the shape \(1, any\)"),
        ({"lead_levers": [[0.1]]}, r"lead_levers must have the shape \(1, 2\)"),
    ],
)
def test_a_dot_that_cannot_be_is_refused(change: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        Dot(**(ONE_LEVEL | change))


def test_twelve_spinless_levels_are_the_most():
    assert len(Dot(np.zeros(12), np.ones((1, 12)), 1.0).states) == 4096
    with pytest.raises(ValueError, match="8192 charge states"):
        Dot(np.zeros(13), np.ones((1, 13)), 1.0)


def test_points_that_do_not_fit_are_refused():
    dot = Dot(**ONE_LEVEL, gate_levers=[[0.1]])
    with pytest.raises(ValueError, match=r"potentials must have the shape \(..., 2\), got \(3,\)"):
        dot.solve([0.0, 0.0, 0.0])
    with pytest.raises(ValueError, match=r"gates must have the shape \(..., 1\)"):
        dot.solve([0.0, 0.0], 1.0)
    with pytest.raises(ValueError, match=r"potentials must be finite, got inf V"):
        dot.solve([0.0, math.inf])
    with pytest.raises(ValueError, match="batch shapes that broadcast"):
        dot.solve(np.zeros((2, 2)), np.zeros((3, 1)))
    with pytest.raises(ValueError, match=r"along_x must have the shape \(3\)"):
        dot.stability_diagram([0.0], [0.0], (1, 0), (0, 1))


@pytest.mark.parametrize(
    ("change", "span", "points", "message"),
    [
        ({}, (1.0, 0.0), 11, "span must be"),
        ({}, (0.0, 1.0), 1, "points must be >= 2"),
        ({"rates": [[1e9]]}, (0.0, 1.0), 11, "got 1 leads"),
        ({"temperature": [1.0, 2.0]}, (0.0, 1.0), 11, "temperature must be the same"),
    ],
)
def test_tables_that_are_no_conductor_are_refused(change: dict[str, Any], span: Any, points: int, message: str):
    with pytest.raises(ValueError, match=message):
        tabulate(Dot(**(ONE_LEVEL | change)), span, points)
