"""The laws of dots, islands, enzymes and tabulated conductors against independent solutions in 50 digits.

The oracles solve the master equations, density matrices and King-Altman schemes behind the closed formulas.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar
from scipy.special import digamma

from simulators import conductors, laws
from simulators.conductors import (
    Affine,
    BlockingLevel,
    Conductor,
    Curve,
    Decades,
    Exchange,
    Formula,
    LandauerLevel,
    Linear,
    MassAction,
    MetallicIsland,
    MichaelisMenten,
    OrderedBiBi,
    PartialInhibition,
    SerialDoubleDot,
    SingleLevel,
    SpinfulLevel,
    SubstrateInhibition,
    Table,
    bend,
    constants,
    equilibrium_constant,
    flat_parameters,
    may_be_infinite,
    node_count,
    reversible,
    without_ndc,
)

E = laws.ELEMENTARY_CHARGE
ONE = 1.0 / E  # a rate that carries 1 A per unit of current in units of e
UNIT_T = 1.0 / laws.BOLTZMANN_EV  # the temperature at which kT/e is 1 V
PER_EV = 1.0 / laws.HBAR_EV  # the rate whose hbar*Gamma is 1 eV

some = settings(max_examples=40, deadline=None, derandomize=True)
many = settings(max_examples=300, deadline=None, derandomize=True)
decades = st.floats(-2, 2)
levers = st.floats(0, 0.4)
energies = st.floats(-25, 25)


def evaluate(law: Conductor, *nodes: float) -> tuple[float, np.ndarray, np.ndarray]:
    """Rate, its derivatives by every node read, and by every parameter."""
    values = np.array([float(value) for _, _, value in flat_parameters(law)])  # type: ignore[arg-type]
    du, dp = np.full(laws.MAX_READS, np.nan), np.full(laws.MAX_PARAMETERS + laws.ROOM, np.nan)
    # the table stands behind another one, as it does in a network
    tables = np.concatenate([[np.nan, np.nan], constants(law)])
    v, n = np.array(nodes), len(nodes)
    rate = laws.rate(law.code, v, n, values, tables, 2, du, dp, True)
    alone = np.full(laws.MAX_READS, np.nan)
    untouched = np.full(laws.MAX_PARAMETERS + laws.ROOM, np.nan)
    assert laws.rate(law.code, v, n, values, tables, 2, alone, untouched, False) == pytest.approx(rate, nan_ok=True)
    np.testing.assert_array_equal(alone, du)
    assert np.all(np.isnan(untouched[: laws.MAX_PARAMETERS]))  # behind them a law may work
    return rate, du[:n], dp[: len(values)]


def rate(law: Conductor, *nodes: float) -> float:
    return evaluate(law, *nodes)[0]


Oracle = Callable[[list[Any], list[Any]], Any]


def compare(law: Conductor, oracle: Oracle, nodes: Sequence[float], scale: float, noise: float = 0.0) -> None:
    """Rate and every derivative against central differences of `oracle(parameters, nodes)` in 50 digits.

    scale: V or mol/L, over which the law bends; noise: A, what the law may always be off.
    """
    found, du, dp = evaluate(law, *nodes)
    rows = flat_parameters(law)
    values = [float(value) for _, _, value in rows]  # type: ignore[arg-type]
    with mpmath.workdps(50):
        p, v = [mpmath.mpf(x) for x in values], [mpmath.mpf(x) for x in nodes]
        expected = float(oracle(p, v))

        def slope(of: list[Any], k: int) -> float:
            if not mpmath.isfinite(of[k]):
                return 0.0
            here, h = of[k], max(abs(of[k]), mpmath.mpf(scale)) * mpmath.mpf("1e-17")
            of[k] = here + h
            up = oracle(p, v)
            of[k] = here - h
            down = oracle(p, v)
            of[k] = here
            return float((up - down) / (2 * h))

        by_node = [slope(v, k) for k in range(len(v))]
        by_parameter = [slope(p, k) for k in range(len(p))]
    furthest = max(map(abs, nodes))
    reach = abs(expected) + sum(map(abs, by_node)) * scale + noise * 1e5
    loss = (
        1
        + (furthest + max((abs(x) for (n, _, _), x in zip(rows, values, strict=True) if "level" in n), default=0))
        / scale
    )
    assert abs(found - expected) <= 1e-13 * reach * loss, (found, expected)
    for k, (mine, theirs) in enumerate(zip(du, by_node, strict=True)):
        assert abs(mine - theirs) <= 1e-10 * reach * loss / scale, (k, mine, theirs)
    for (name, index, _), value, mine, theirs in zip(rows, values, dp, by_parameter, strict=True):
        natural = reach / max(abs(value), 1e-3 * scale)
        if name in {"level", "levels"}:
            natural = reach / scale
        if "levers" in name:
            natural = reach * (furthest / scale + 1e-12)  # the differences have 30 digits
        if name == "gate_charge":
            natural = reach / scale * values[2]
        if not math.isfinite(value):
            natural = 0.0
        assert abs(mine - theirs) <= 1e-10 * loss * max(natural, abs(theirs)), (name, index, mine, theirs)


# --- quantum dots: oracles

KT = 1e-4  # eV, so about 1 K


def lead(x: Any) -> Any:
    return 1 / (1 + mpmath.exp(x))


def temperature_ev(temperature: Any) -> Any:
    return mpmath.mpf(laws.BOLTZMANN_EV) * temperature


def moved(levers: Sequence[Any], v: Sequence[Any]) -> Any:
    return sum(a * u for a, u in zip(levers, v, strict=True))


def spinful_master_equation(p: list[Any], v: list[Any]) -> Any:
    """Empty, up, down."""
    kt = temperature_ev(p[3])
    level = p[0] + moved(p[4:], v)
    fl, fr = lead((level - v[0]) / kt), lead((level - v[1]) / kt)
    into, out = p[1] * fl + p[2] * fr, p[1] * (1 - fl) + p[2] * (1 - fr)
    empty = 1 / (1 + 2 * into / out)
    return mpmath.mpf(E) * 2 * p[1] * empty * (fl - (1 - fl) * into / out)


def density_matrix(p: list[Any], v: list[Any]) -> Any:
    """Stationary (rho_0, rho_L, rho_R, Re rho_LR, Im rho_LR) of two coherently coupled levels, U -> infinity."""
    n = len(v)
    hbar, kt = mpmath.mpf(laws.HBAR_EV), temperature_ev(p[5])
    left, right = p[0] + moved(p[6 : 6 + n], v), p[1] + moved(p[6 + n :], v)
    t, d = p[2] / hbar, (left - right) / hbar
    fl, fr = lead(((left + right) / 2 - v[0]) / kt), lead(((left + right) / 2 - v[1]) / kt)
    al, bl, ar, br = p[3] * fl, p[3] * (1 - fl), p[4] * fr, p[4] * (1 - fr)
    half = (bl + br) / 2
    matrix = mpmath.matrix(
        [
            [1, 1, 1, 0, 0],
            [al, -bl, 0, 0, -2 * t],
            [ar, 0, -br, 0, 2 * t],
            [0, 0, 0, -half, d],
            [0, t, -t, -d, -half],
        ]
    )
    unit = p[3] + p[4]  # rows of one size, for the solver
    for i in range(1, 5):
        for j in range(5):
            matrix[i, j] /= unit
    rho = mpmath.lu_solve(matrix, mpmath.matrix([1, 0, 0, 0, 0]))
    return mpmath.mpf(E) * (al * rho[0] - bl * rho[1])


def digamma_form(p: list[Any], v: list[Any]) -> Any:
    kt, hbar = temperature_ev(p[3]), mpmath.mpf(laws.HBAR_EV)
    level, g = p[0] + moved(p[4:], v), p[1] + p[2]

    def psi(u: Any) -> Any:
        return mpmath.digamma(mpmath.mpf(1) / 2 + mpmath.mpc(hbar * g / 2, level - u) / (2 * mpmath.pi * kt)).imag

    return mpmath.mpf(E) * p[1] * p[2] / (mpmath.pi * g) * (psi(v[1]) - psi(v[0]))


def charge_states(p: list[Any], v: list[Any]) -> Any:
    """A fixed window of charge states, filled from its lower end; current counted at the left junction alone."""
    kt, shift = temperature_ev(p[4]), moved(p[5:], v)

    def both(charge: int) -> list[Any]:
        out = []
        for resistance, u in ((p[0], v[0]), (p[1], v[1])):
            x = (p[2] * (2 * (charge - p[3]) + 1) + shift - u) / kt
            out += [kt * mpmath.mpf(1) / resistance / mpmath.expm1(x) * x, -kt / resistance * x / mpmath.expm1(-x)]
        return out

    weight, total, flow = mpmath.mpf(1), mpmath.mpf(1), mpmath.mpf(0)
    for charge in range(-25, 26):
        in_l, out_l, in_r, out_r = both(charge)
        following = weight * (in_l + in_r) / (out_l + out_r)
        flow += weight * in_l - following * out_l
        weight = following
        total += weight
    return flow / total


# --- quantum dots: against the oracles


def gammas(rates: tuple[float, float]) -> tuple[float, float]:
    return 1e9 * 10.0 ** rates[0], 1e9 * 10.0 ** rates[1]


pair = st.tuples(decades, decades)
three = st.tuples(energies, energies, energies)


@some
@given(energies, pair, levers, levers, levers, three)
def test_spinful_level_equals_its_master_equation(level, rates, a, b, c, u):
    law = SpinfulLevel(level * KT, *gammas(rates), KT * UNIT_T, (a, b), (c,))
    compare(law, spinful_master_equation, [x * KT for x in u], KT)


@some
@given(
    energies, st.floats(-3, 3), decades, pair, st.tuples(levers, levers, levers, levers), st.tuples(energies, energies)
)
def test_serial_double_dot_equals_its_density_matrix(level, detuning, t, rates, a, u):
    hbar_gamma = laws.HBAR_EV * 1e9
    law = SerialDoubleDot(
        (level * KT, level * KT + detuning * hbar_gamma), 10**t * hbar_gamma, *gammas(rates), KT * UNIT_T, a[:2], a[2:]
    )
    # detuning bends over hbar*Gamma, the leads over kT
    compare(law, density_matrix, [x * KT for x in u], KT, noise=1e-17 * E * 1e9)


@some
@given(energies, st.tuples(st.floats(-2, 3), st.floats(-2, 3)), levers, levers, levers, three)
def test_landauer_level_equals_its_digamma_form(level, rates, a, b, c, u):
    gl, gr = (10.0**r * KT * PER_EV for r in rates)
    law = LandauerLevel(level * KT, gl, gr, KT * UNIT_T, (a, b), (c,))
    compare(law, digamma_form, [x * KT for x in u], KT, noise=1e-19 * E * gl * gr / (gl + gr))


@some
@given(st.floats(-3, 3), pair, st.floats(-0.1, 1.5), levers, levers, levers, st.tuples(*[st.floats(-10, 10)] * 3))
def test_metallic_island_equals_its_chain_of_charge_states(ng, rates, ec, a, b, c, u):
    rl, rr = (1e6 * 10.0**r for r in rates)
    law = MetallicIsland(rl, rr, 10.0**ec * KT, ng, KT * UNIT_T, (a, b), (c,))
    compare(law, charge_states, [x * KT for x in u], KT)


DOTS: list[tuple[Conductor, Oracle]] = [
    (SpinfulLevel(2e-4, 1e9, 3e9, KT * UNIT_T, (0.1, 0.2)), spinful_master_equation),
    (SerialDoubleDot((2e-4, 2.01e-4), 1e-6, 1e9, 3e9, KT * UNIT_T, (0.2, 0.1), (0.1, 0.2)), density_matrix),
    (LandauerLevel(2e-4, 1e10, 3e10, KT * UNIT_T, (0.1, 0.2)), digamma_form),
    (MetallicIsland(1e6, 2e6, 5e-4, 0.3, KT * UNIT_T), charge_states),
]


@pytest.mark.parametrize(("law", "oracle"), DOTS, ids=lambda x: type(x).__name__)
@pytest.mark.parametrize("bias", [1e-16, 1e-12, -1e-10, 1e-7])
def test_a_small_bias_loses_no_digits(law, oracle, bias):
    p = [float(value) for _, _, value in flat_parameters(law)]
    with mpmath.workdps(50):
        expected = float(oracle([mpmath.mpf(x) for x in p], [mpmath.mpf(bias), mpmath.mpf(0)]))
    assert rate(law, bias, 0.0) == pytest.approx(expected, rel=1e-12)


# --- quantum dots: reference values


def test_spinful_plateaus():
    """2GL/(2GL+GR) GR and 2GR/(GL+2GR) GL: which lead is high decides which rate counts twice."""
    law = SpinfulLevel(0.0, 3 * ONE, 1 * ONE, UNIT_T)
    assert rate(law, 60.0, -60.0) == pytest.approx(6 / 7, rel=1e-12)
    assert rate(law, -60.0, 60.0) == pytest.approx(-6 / 5, rel=1e-12)


@pytest.mark.parametrize(
    ("left", "right", "level", "gl", "gr", "expected"),
    [(3.0, -1.0, 0.7, 0.5, 0.3, 0.122495484172), (8.0, 0.0, 2.0, 0.1, 0.4, 0.066403563656)],
)
def test_landauer_reference_set(left, right, level, gl, gr, expected):
    """physics.md, section 2, in units of e/hbar x eV."""
    law = LandauerLevel(level, gl * PER_EV, gr * PER_EV, UNIT_T)
    assert rate(law, left, right) / (E * PER_EV) == pytest.approx(expected, abs=1e-12)


@many
@given(st.floats(-2, 3), st.floats(-300, 300), st.floats(-300, 300))
def test_landauer_level_by_scipys_digamma(width, ua, ub):
    g = 10.0**width
    law = LandauerLevel(0.3, 0.25 * g * PER_EV, 0.75 * g * PER_EV, UNIT_T)
    low, high = (digamma(0.5 + (g / 2 + 1j * (0.3 - u)) / (2 * math.pi)).imag for u in (ua, ub))
    expected = 0.1875 / math.pi * (high - low)
    assert rate(law, ua, ub) / (g * E * PER_EV) == pytest.approx(expected, rel=1e-12, abs=3e-15)


def test_a_weakly_coupled_landauer_level_is_the_sequential_one():
    for ua, ub in ((3.0, 0.0), (0.1, -0.1), (-4.0, 1.0)):
        broad = LandauerLevel(0.5, 1e-7 * PER_EV, 3e-7 * PER_EV, UNIT_T, (0.1, 0.2))
        sharp = SingleLevel(0.5, 1e-7 * PER_EV, 3e-7 * PER_EV, UNIT_T, (0.1, 0.2))
        assert rate(broad, ua, ub) == pytest.approx(rate(sharp, ua, ub), rel=1e-6)


def double_dot(detuning: float, t: float = 0.7, gl: float = 2.0, gr: float = 0.5) -> SerialDoubleDot:
    """In units of 1e9/s; at the temperature where they do not matter beside kT."""
    unit = 1e9 * laws.HBAR_EV
    return SerialDoubleDot((detuning * unit / 2, -detuning * unit / 2), t * unit, gl * 1e9, gr * 1e9, 1.0)


@pytest.mark.parametrize("d", [0.0, 0.3, -2.0, 9.0])
@pytest.mark.parametrize(("t", "gl", "gr"), [(0.7, 2.0, 0.5), (5.0, 1.0, 1.0), (0.01, 0.1, 3.0)])
def test_double_dot_at_infinite_bias_is_stoof_and_nazarovs(d, t, gl, gr):
    expected = E * 1e9 * t * t * gr / (t * t * (2 + gr / gl) + gr * gr / 4 + d * d)
    assert rate(double_dot(d, t, gl, gr), 0.1, -0.1) == pytest.approx(expected, rel=1e-12)


def test_double_dot_is_a_lorentzian_in_detuning():
    inverse = [1 / rate(double_dot(d), 0.1, -0.1) for d in range(5)]
    np.testing.assert_allclose(np.diff(inverse, 2), np.diff(inverse, 2)[0], rtol=1e-9)  # 1/I = a + b d^2
    assert inverse[3] > 2 * inverse[0]


def test_double_dot_shows_ndc_where_bias_detunes_it():
    law = SerialDoubleDot((0.0, 0.0), 2e-6, 5e9, 5e9, 0.2, (0.3, 0.0), (0.0, 0.3))
    volts = np.linspace(0, 1e-3, 400)
    curve = np.array([rate(law, v, -v) for v in volts])
    assert curve[-1] < 0.2 * curve.max()
    calm = without_ndc(law)
    assert isinstance(calm, SerialDoubleDot)
    assert calm.left_levers == calm.right_levers == (0.15, 0.15)
    assert np.all(np.diff([rate(calm, v, -v) for v in volts]) >= -1e-12 * curve.max())


KELVIN = 0.002 * UNIT_T  # kT = 2 meV beside Ec = 1 eV: units of the island's own


def island(ng: float, kt: float, rl: float = 1.0, rr: float = 1.0) -> MetallicIsland:
    return MetallicIsland(rl, rr, 1.0, ng, kt * UNIT_T)


def conductance(law: Conductor, bias: float) -> float:
    return rate(law, bias / 2, -bias / 2) / bias


def test_island_conductance_peaks_at_half_the_ohmic_one():
    assert conductance(island(0.5, 0.01, 1.0, 3.0), 1e-9) == pytest.approx(0.5 / 4.0, rel=1e-9)


@pytest.mark.parametrize("x", [0.5, 2.0, 6.0])
def test_island_peak_has_the_shape_of_orthodox_theory(x):
    """G/Ginf = x/(2 sinh x), x = detuning of the level over kT (Kulik and Shekhter; Beenakker 1991)."""
    kt = 0.01
    law = island(0.5 + x * kt / 2, kt)  # the level moves by 2 Ec per gate charge
    assert conductance(law, 1e-9) * 2.0 == pytest.approx(x / (2 * math.sinh(x)), rel=1e-9)


def test_island_blocks_below_twice_its_charging_energy():
    law = island(0.0, 0.004)
    full = rate(law, 2.4, 0.0)
    assert rate(law, 1.8, 0.0) < 1e-8 * full
    assert rate(law, 2.2, 0.0) > 0.2 * full
    onset = brentq(lambda v: rate(law, v, 0.0) - 0.01 * full, 1.5, 2.4)
    assert onset == pytest.approx(2.0, abs=0.02)


@pytest.mark.parametrize("kt", [10.0, 40.0])
def test_hot_island_is_nearly_ohmic(kt):
    """1 - Ec/(3 kT) + O((Ec/kT)^2): the primary thermometer (Pekola et al., Phys. Rev. Lett. 73, 2903 (1994))."""
    got = conductance(island(0.2, kt), 1e-6) * 2.0
    assert got == pytest.approx(1 - 1 / (3 * kt), abs=0.1 / kt**2)
    assert got != pytest.approx(1.0, abs=0.2 / kt)


def test_island_is_periodic_in_its_gate_charge():
    for u in (0.3, 1.7):
        assert rate(island(1000.3, 0.05), u, 0.0) == pytest.approx(rate(island(0.3, 0.05), u, 0.0), rel=1e-9)


def test_island_far_beyond_its_charging_energy_is_ohmic():
    """Even where the window of charge states is cut: a million states carry the bias."""
    law = MetallicIsland(1e6, 2e6, 1e-6, 0.3, 1e-3)
    assert rate(law, 5.0, 0.0) == pytest.approx(5.0 / 3e6, rel=1e-4)


# --- all that is electrical


def any_dot(kt: float, e1: float, e2: float, rates: tuple[float, ...], a: float, b: float, c: float) -> list[Conductor]:
    g, t = [10.0**r * kt * PER_EV for r in rates], kt * UNIT_T
    grid = np.linspace(-30, 30, 13) * kt
    single = SingleLevel(0.0, 1e9, 2e9, 5 * t)
    amperes = [[rate(single, x, y) for y in grid] for x in grid]
    return [
        SingleLevel(e1 * kt, g[0], g[1], t, (a, b), (c,)),
        BlockingLevel((e1 * kt, e2 * kt), (g[0], g[1]), (g[2], g[3]), t, (a, b), (c,)),
        SpinfulLevel(e1 * kt, g[0], g[1], t, (a, b), (c,)),
        SerialDoubleDot((e1 * kt, e2 * kt), g[2] / PER_EV, g[0], g[1], t, (a, b, c), (c, a, b)),
        LandauerLevel(e1 * kt, g[0], g[1], t, (a, b), (c,)),
        MetallicIsland(1e6, 1e7, g[0] / PER_EV, e1, t, (a, b), (c,)),
        Table(tuple(grid), tuple(map(tuple, amperes)), e1 * kt, 2.0, (a, b), (c,)),
        Curve((-2 * kt, -kt, 0.0, kt, 3 * kt), (-1.0, -2.0, 0.0, 3.0, 1.0)),
    ]


four = st.tuples(decades, decades, decades, decades)
everywhere = st.one_of(st.floats(-50, 50), st.floats(-1e4, 1e4))


def nodes_of(law: Conductor, *nodes: float) -> tuple[float, ...]:
    return nodes[: node_count(law)[1]]


@some
@given(everywhere, everywhere, four, levers, levers, levers, everywhere, everywhere, energies)
def test_no_law_overflows_and_current_flows_down(e1, e2, rates, a, b, c, ua, ub, gate):
    for law in any_dot(KT, e1, e2, rates, a, b, c):
        nodes = nodes_of(law, ua * KT, ub * KT, gate * KT)
        value, du, dp = evaluate(law, *nodes)
        assert np.all(np.isfinite([value, *du, *dp])), law
        noise = 1e-14 * E * 10.0 ** max(rates) * KT * PER_EV if isinstance(law, LandauerLevel) else 0.0
        assert value * np.sign(ua - ub) >= -noise, law


@some
@given(everywhere, everywhere, four, levers, levers, levers, everywhere, energies)
def test_equal_potentials_carry_no_current(e1, e2, rates, a, b, c, u, gate):
    for law in any_dot(KT, e1, e2, rates, a, b, c):
        assert rate(law, *nodes_of(law, u * KT, u * KT, gate * KT)) == 0.0, law


@some
@given(energies, energies, four, levers, levers, levers, energies, energies, energies)
def test_a_gate_node_moves_the_level_by_its_lever(e1, e2, rates, a, b, c, ua, ub, gate):
    for law in any_dot(KT, e1, e2, rates, a, b, c)[:2]:
        value, du, dp = evaluate(law, ua * KT, ub * KT, gate * KT)
        shift = c * gate * KT
        if isinstance(law, SingleLevel):
            moved_by_hand = replace(law, level=float(law.level) + shift, node_levers=())  # type: ignore[arg-type]
            by_level = dp[0]
        else:
            assert isinstance(law, BlockingLevel)
            first, second = (float(level) + shift for level in law.levels)  # type: ignore[arg-type]
            moved_by_hand = replace(law, levels=(first, second), node_levers=())
            by_level = dp[0] + dp[1]
        expected, by_lead, _ = evaluate(moved_by_hand, ua * KT, ub * KT)
        size = 1e-11 * (abs(expected) + np.abs(by_lead).max() * KT)
        assert value == pytest.approx(expected, rel=1e-11, abs=size)
        np.testing.assert_allclose(du[:2], by_lead, rtol=1e-10, atol=size / KT)
        assert du[2] == pytest.approx(c * by_level, rel=1e-12)
        assert dp[-1] == pytest.approx(gate * KT * by_level, rel=1e-12)
        assert sum(du) == pytest.approx((a + b + c - 1) * by_level, rel=1e-9, abs=size / KT)  # only differences count


@some
@given(everywhere, everywhere, four, levers, levers, energies, energies, energies)
def test_laws_without_ndc_are_monotone_at_both_leads(e1, e2, rates, a, b, ua, ub, gate):
    """Single, spinful and broadened levels, islands, and what without_ndc makes of a double dot, at any lead lever."""
    for law in any_dot(KT, e1, e2, rates, a, b, 0.3):
        if isinstance(law, BlockingLevel | Curve | Table):
            continue
        _, du, _ = evaluate(without_ndc(law), ua * KT, ub * KT, gate * KT)
        slack = 1e-12 * np.abs(du).max() + 1e-14 * E * PER_EV * 10.0 ** max(rates)
        assert du[0] >= -slack, law
        assert du[1] <= slack, law


def test_a_double_dot_can_show_ndc_at_fixed_detuning():
    """Why its control needs equal levels, not only equal levers."""
    law = SerialDoubleDot((5e-6, -5e-6), 1e-8, 5e9, 5e8, 0.2)
    curve = np.array([rate(law, v, -1e-3) for v in np.linspace(-2e-4, 2e-4, 200)])
    assert curve[-1] < 0.7 * curve.max()
    calm = without_ndc(law)
    assert np.all(np.diff([rate(calm, v, -1e-3) for v in np.linspace(-2e-4, 2e-4, 200)]) >= -1e-12 * curve.max())


# --- enzymes

S, P = 3e-4, 2e-3
concentration = st.floats(-6, -1).map(lambda x: 10.0**x)
constant = st.floats(-6, -1).map(lambda x: 10.0**x)


def enzyme_formula(p: list[Any], v: list[Any], own: int, extra: Callable[[Any], tuple[Any, Any]]) -> Any:
    s, c = v
    more, factor = extra(s)
    return p[0] * (s - c / p[own + 1]) / p[1] / (1 + s / p[1] + c / p[own] + more) * factor


@some
@given(constant, constant, constant, st.floats(0, 3), constant, st.floats(-2, 4), concentration, concentration)
def test_one_substrate_laws_equal_their_formulas(vmax, ks, ki, b, kp, keq, s, c):
    k = 10.0**keq
    compare(MichaelisMenten(vmax, ks, kp, k), lambda p, v: enzyme_formula(p, v, 2, lambda s: (0, 1)), (s, c), s)
    compare(
        SubstrateInhibition(vmax, ks, ki, kp, k),
        lambda p, v: enzyme_formula(p, v, 3, lambda s: (s * s / (p[1] * p[2]), 1)),
        (s, c),
        s,
    )
    compare(
        PartialInhibition(vmax, ks, ki, b, kp, k),
        lambda p, v: enzyme_formula(p, v, 4, lambda s: (0, (1 + p[3] * s / p[2]) / (1 + s / p[2]))),
        (s, c),
        s,
    )


@pytest.mark.parametrize(
    "law",
    [
        MichaelisMenten(2.0, 1e-4, 3e-3, 7.0),
        SubstrateInhibition(2.0, 1e-4, 1e-3, 3e-3, 7.0),
        PartialInhibition(2.0, 1e-4, 1e-3, 0.2, 3e-3, 7.0),
    ],
)
def test_haldane_a_rate_is_zero_at_equilibrium(law):
    assert equilibrium_constant(law) == 7.0
    assert abs(rate(law, 1e-3, 7e-3)) < 1e-15
    assert rate(law, 1e-3, 6.9e-3) > 0 > rate(law, 1e-3, 7.1e-3)
    # and the reverse rate is Haldane's: Vr = Vf Kp/(Ks Keq)
    if isinstance(law, MichaelisMenten):
        assert rate(law, 0.0, 1e6) == pytest.approx(-2.0 * 3e-3 / (1e-4 * 7.0), rel=1e-6)


@pytest.mark.parametrize(
    ("ratio", "peak", "steepest"), [(0.1, 0.6126, -0.02348), (1.0, 0.3333, -0.06160), (10.0, 0.1365, -0.09686)]
)
def test_substrate_inhibition_reference_set(ratio, peak, steepest):
    """physics.md, section 3: Km/Ki, peak over Vmax, steepest slope over Vmax/Km; S* = sqrt(Km Ki)."""
    law = SubstrateInhibition(1.0, 1.0, 1.0 / ratio)
    top = math.sqrt(1.0 / ratio)
    assert evaluate(law, top)[1][0] == pytest.approx(0.0, abs=1e-12)
    assert rate(law, top) == pytest.approx(peak, abs=5e-5)
    worst = minimize_scalar(lambda s: evaluate(law, s)[1][0], bounds=(top, 8 * top), method="bounded")
    assert worst.fun == pytest.approx(steepest, abs=1e-5)
    calm = without_ndc(law)
    assert min(evaluate(calm, s)[1][0] for s in np.linspace(0, 20, 200)) > 0


def test_partial_inhibition_ends_at_b():
    law = PartialInhibition(2.0, 1e-4, 1e-3, 0.2)
    assert rate(law, 1e4) == pytest.approx(0.4, rel=1e-4)
    assert without_ndc(law) == PartialInhibition(2.0, 1e-4, math.inf, 0.2)
    assert rate(without_ndc(law), 1e4) == pytest.approx(2.0, rel=1e-4)


LDH = {
    "k1": 50e6, "k1r": 50.0, "k2": 5e6, "k2r": 500.0, "k3": 500.0, "k4": 500.0, "k4r": 3.3333e6, "keq": 2.5e4,
}  # fmt: skip


def king_altman(p: list[Any], v: list[Any]) -> Any:
    """Stationary E, EA, EAB, EQ and the dead ends EB, EQB, EAI from the matrix of all steps; net flux of E + A."""
    k1, k1r, k2, k2r, k3, k4, k4r, keq, keb, keqb, kox = p
    k3r = k1 * k2 * k3 * k4 / (keq * k1r * k2r * k4r)
    a, b, c, q, sites = v[:5]
    inhibitor = v[5] if len(v) > 5 else mpmath.mpf(0)
    steps = [
        (0, 1, k1 * a, k1r), (1, 2, k2 * b, k2r), (2, 3, k3, k3r * c), (3, 0, k4, k4r * q),
        (0, 4, b / keb, 1), (3, 5, b / keqb, 1), (1, 6, inhibitor / kox, 1),
    ]  # fmt: skip
    matrix = mpmath.zeros(7)
    for i, j, there, back in steps:
        matrix[i, i] -= there
        matrix[j, i] += there
        matrix[j, j] -= back
        matrix[i, j] += back
    for j in range(7):
        matrix[0, j] = 1
    forms = mpmath.lu_solve(matrix, mpmath.matrix([1, 0, 0, 0, 0, 0, 0]))
    return sites * (k1 * a * forms[0] - k1r * forms[1])


@some
@given(
    st.tuples(*[concentration] * 6),
    st.tuples(*[st.floats(-1, 1)] * 7),
    st.tuples(constant, constant, constant),
    st.booleans(),
)
def test_ordered_bi_bi_equals_the_matrix_of_its_enzyme_forms(v, factors, dead, inhibited):
    values = {k: x * 10.0**f for (k, x), f in zip(LDH.items(), (*factors, 0.0), strict=True)}
    law = OrderedBiBi(**values, keb=dead[0], keqb=dead[1], kox=dead[2])
    compare(law, king_altman, v if inhibited else v[:5], min(v))


def test_ordered_bi_bi_is_zero_at_equilibrium_and_peaks_where_devices_md_says():
    law = OrderedBiBi(**LDH, keb=101e-6, kox=30e-6)
    a, b, p = 1e-4, 1e-5, 3e-4
    assert abs(rate(law, a, b, p, 2.5e4 * a * b / p, 1e-6)) < 1e-12 * rate(law, a, b, p, 0.0, 1e-6)
    kia, ka, kb = 1e-6, 5e-6, 1e-4
    for keb, keqb in ((101e-6, math.inf), (math.inf, 1000e-6)):
        law = OrderedBiBi(**LDH, keb=keb, keqb=keqb)
        star = math.sqrt(kb * (kia + a) / (ka / keb + 0.5 * a / keqb))
        assert evaluate(law, a, star, 0.0, 0.0, 1e-6)[1][1] == pytest.approx(
            0.0, abs=1e-12 * rate(law, a, star, 0, 0, 1e-6) / star * 1e3
        )
        assert evaluate(law, a, 3 * star, 0.0, 0.0, 1e-6)[1][1] < 0
        calm = without_ndc(law)
        assert evaluate(calm, a, 3 * star, 0.0, 0.0, 1e-6)[1][1] > 0
    assert rate(law, a, b, 0.0, 0.0, 2e-6) == pytest.approx(2 * rate(law, a, b, 0.0, 0.0, 1e-6), rel=1e-15)
    inhibited = OrderedBiBi(**LDH, kox=30e-6)
    assert rate(inhibited, a, b, 0.0, 0.0, 1e-6, 3e-4) < 0.7 * rate(inhibited, a, b, 0.0, 0.0, 1e-6, 0.0)
    assert rate(inhibited, a, b, 0.0, 0.0, 1e-6, 0.0) == rate(inhibited, a, b, 0.0, 0.0, 1e-6)


@some
@given(constant, constant, st.tuples(*[concentration] * 4), st.integers(1, 4))
def test_mass_action_equals_its_formula(kf, kr, v, substrates):
    def oracle(p: list[Any], v: list[Any]) -> Any:
        return p[0] * mpmath.fprod(v[:substrates]) - p[1] * mpmath.fprod(v[substrates:])

    compare(MassAction(kf, substrates, kr), oracle, v, min(v))


def test_enzyme_decay_and_an_empty_well():
    value, du, dp = evaluate(MassAction(1e-5), 2e-7)
    assert (value, du[0], dp[0]) == (pytest.approx(2e-12), 1e-5, 2e-7)
    value, du, _ = evaluate(MassAction(3.0, 2, 2.0), 0.0, 0.0, 5.0)
    np.testing.assert_allclose([value, *du], [-10.0, 0.0, 0.0, -2.0])


def test_a_trial_step_below_zero_concentration_stays_finite():
    """Newton may step there: no pole at S = -Ks, and the rate pushes back."""
    for law in (
        MichaelisMenten(1.0, 1e-4),
        SubstrateInhibition(1.0, 1e-4, 1e-4),
        PartialInhibition(1.0, 1e-4, 1e-4, 0.1),
    ):
        value, du, _ = evaluate(law, -1e-4)
        assert (value, du[0]) == (pytest.approx(-1.0), pytest.approx(1e4))
    assert math.isfinite(rate(OrderedBiBi(**LDH, keb=1e-4), -1e-6, -1e-4, 1e-3, 1e-3, 1e-6))


def test_diffusive_exchange():
    law = Exchange.diffusive(1e-9, 1e-6, 1e-3)
    assert law.rate == pytest.approx(1e-9)  # 1e-12 m^3/s
    assert rate(law, 3e-3, 1e-3) == pytest.approx(2e-12)
    with pytest.raises(ValueError, match=r"length is -1.0 m"):
        Exchange.diffusive(1e-9, 1e-6, -1.0)


# --- tabulated laws


def test_a_curve_runs_through_its_points_and_on():
    volts, amperes = (-2.0, -1.0, 0.0, 0.5, 1.0, 2.0), (-3.0, -1.0, 0.0, 2.0, 1.0, 1.5)
    law = Curve(volts, amperes, 2.0)
    for v, a in zip(volts, amperes, strict=True):
        assert rate(law, v + 0.25, 0.25) == pytest.approx(2 * a, abs=1e-15)
    for a, b in zip(np.linspace(0.5, 1.0, 50), np.linspace(0.5, 1.0, 50)[1:], strict=False):
        assert rate(law, b, 0.0) <= rate(law, a, 0.0)  # the NDC is where the data have it
    slope = evaluate(law, 2.0, 0.0)[1][0]
    assert rate(law, 5.0, 0.0) == pytest.approx(3.0 + 3 * slope, rel=1e-12)
    falling = Curve((-1.0, 0.0, 1.0, 2.0), (-1.0, 0.0, 2.0, 1.0))
    assert rate(falling, 100.0, 0.0) == pytest.approx(1.0)  # never through zero
    assert reversible(law)


@many
@given(st.floats(-4, 4).filter(lambda v: 1e-3 < v % 0.5 < 0.499), st.floats(0.1, 3))
def test_curve_derivatives(v, scale):
    law = Curve((-2.0, -1.0, 0.0, 0.5, 1.0, 2.0), (-3.0, -1.0, 0.0, 2.0, 1.0, 1.5), scale)
    value, du, dp = evaluate(law, v, 0.0)
    h = 1e-5
    assert du[0] == pytest.approx((rate(law, v + h, 0.0) - rate(law, v - h, 0.0)) / (2 * h), abs=1e-7)
    assert du[1] == -du[0]
    assert dp[0] * scale == pytest.approx(value)


@pytest.mark.parametrize(
    ("volts", "amperes", "message"),
    [
        ((0.0, 1.0), (0.0, 1.0), "equally long"),
        ((-1.0, 1.0, 2.0), (-1.0, 1.0, 2.0), r"add the point \(0 V, 0 A\)"),
        ((-1.0, 0.0, 1.0), (-1.0, 0.1, 1.0), "meter's offset"),
        ((-1.0, 0.0, 1.0), (1.0, 0.0, 1.0), "against the bias"),
        ((-1.0, 0.0, 0.0), (-1.0, 0.0, 1.0), "sort them"),
        ((-1.0, 0.0, math.inf), (-1.0, 0.0, 1.0), "not finite"),
    ],
)
def test_a_curve_that_is_none_is_refused(volts, amperes, message):
    with pytest.raises(ValueError, match=message):
        Curve(volts, amperes)


def tabulated(law: Conductor, span: float, points: int, **more: Any) -> Table:
    grid = np.linspace(-span, span, points)
    return Table(tuple(grid), tuple(tuple(rate(law, x, y) for y in grid) for x in grid), **more)


def test_a_table_converges_to_its_law_with_its_levers():
    law = BlockingLevel((2.0, 12.0), (ONE, ONE), (ONE, 0.02 * ONE), UNIT_T, (0.1, 0.2), (0.3,))
    bare = BlockingLevel((2.0, 12.0), (ONE, ONE), (ONE, 0.02 * ONE), UNIT_T)
    errors = []
    for points in (81, 161):
        table = tabulated(bare, 20.0, points, lead_levers=(0.1, 0.2), node_levers=(0.3,))
        assert node_count(table) == (3, 3)
        where = [(x, y, z) for x in (-3.1, 4.3, 9.7) for y in (-1.2, 0.7, 6.1) for z in (-2.0, 3.3)]
        errors.append(max(abs(rate(table, *v) - rate(law, *v)) for v in where))
    assert errors[0] < 0.01
    assert errors[1] < 0.4 * errors[0]


@many
@given(st.floats(-25, 25), st.floats(-25, 25), st.floats(-3, 3), levers, levers, levers, st.floats(-5, 5))
def test_table_derivatives_and_the_sign_of_its_slopes(ua, ub, level, a, b, c, gate):
    table = tabulated(
        SingleLevel(0.0, ONE, ONE, UNIT_T), 20.0, 21, level=level, scale=1.5, lead_levers=(a, b), node_levers=(c,)
    )
    value, du, dp = evaluate(table, ua, ub, gate)
    assert du[0] >= 0 >= du[1]
    assume(ua != ub)  # where triangles meet in a point there are more slopes than two
    p = [0.0 + level, 1.5, a, b, c]
    h = 1e-7

    def at(values: Sequence[float], nodes: Sequence[float]) -> float:
        moved = Table(table.grid, table.currents, values[0], values[1], (values[2], values[3]), (values[4],))
        return rate(moved, *nodes)

    nodes = [ua, ub, gate]
    for of, mine in ((nodes, du), (p, dp)):
        for k in range(len(of)):
            up, down = list(of), list(of)
            up[k] += h
            down[k] -= h
            plus = at(p, up) if of is nodes else at(up, nodes)
            minus = at(p, down) if of is nodes else at(down, nodes)
            # across an edge of a triangle the slope jumps: then each side has its own
            sides = sorted([(plus - value) / h, (value - minus) / h])
            assert sides[0] - 1e-6 * (1 + gate**2) <= mine[k] <= sides[1] + 1e-6 * (1 + gate**2)


def test_a_table_has_no_answer_to_no_number():
    table = tabulated(SingleLevel(0.0, ONE, ONE, UNIT_T), 5.0, 5)
    values, du, dp = np.array([0.0, 1.0, 0.0, 0.0]), np.zeros(2), np.zeros(4)
    answer = laws.rate(table.code, np.array([np.nan, 0.0]), 2, values, constants(table), 0, du, dp, False)
    assert np.all(np.isnan([answer, *du]))


@pytest.mark.parametrize(
    ("grid", "amperes", "message"),
    [
        ((0.0, 1.0, 3.0), np.zeros((3, 3)), "not uniform"),
        ((0.0, 1.0), [[0.0, -1.0], [1.0, 0.1]], "equal potentials carry none"),
        ((0.0, 1.0), [[0.0, 1.0], [1.0, 0.0]], "against the bias"),
        ((0.0, 1.0), [[0.0, 1.0]], "n x n"),
    ],
)
def test_a_table_that_is_none_is_refused(grid, amperes, message):
    with pytest.raises(ValueError, match=message):
        Table(grid, tuple(map(tuple, amperes)))


# --- formulas


def test_a_formula_equals_the_law_it_writes():
    written = Formula("vmax*S/(km+S+S**2/ki)", ("S",), {"vmax": 2.0, "km": 3e-4, "ki": 1e-3})
    built = SubstrateInhibition(2.0, 3e-4, 1e-3)
    for s in (0.0, 1e-4, 5e-3):
        mine, theirs = evaluate(written, s), evaluate(built, s)
        assert mine[0] == pytest.approx(theirs[0], rel=1e-14)
        np.testing.assert_allclose(mine[1], theirs[1], rtol=1e-12, atol=1e-10)
        np.testing.assert_allclose(mine[2], theirs[2][:3], rtol=1e-12)


@many
@given(st.floats(0.2, 3), st.floats(0.2, 3), st.floats(0.2, 3), st.floats(0.2, 3))
def test_every_operation_of_a_formula(x, y, a, b):
    """Against Python's own arithmetic on mpmath numbers."""
    assume(min(abs(one - other) for one, other in combinations((x, y, a, b), 2)) > 1e-6)  # no corner of min and max
    text = (
        "-exp(-x*a) + log(x + b)/log10(y + 2) - sqrt(abs(a - y) + 0.1)*tanh(x - b) + x**a*y**2 - 2**x "
        "+ min(x, y, a)*max(b, x) - +(a - (b - (x - y)))"
    )
    names = {
        "exp": mpmath.exp, "log": mpmath.log, "log10": mpmath.log10, "sqrt": mpmath.sqrt, "tanh": mpmath.tanh,
        "abs": abs, "min": min, "max": max,
    }  # fmt: skip
    tree = compile(text, "formula", "eval")

    def oracle(p: list[Any], v: list[Any]) -> Any:
        return eval(tree, {"__builtins__": {}}, {**names, "x": v[0], "y": v[1], "a": p[0], "b": p[1]})

    compare(Formula(text, ("x", "y"), {"a": a, "b": b}), oracle, (x, y), 1.0, noise=1e-10)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("S + ", "is no formula"),
        ("S + T", "names 'T'"),
        ("__import__('os')", "only names, numbers"),
        ("S.real", "only names, numbers"),
        ("S if S > 0 else 0", "only names, numbers"),
        ("[S][0]", "only names, numbers"),
        ("exp(S, S)", "only names, numbers"),
        ("min(S)", "only names, numbers"),
        ("True*S", "only names, numbers"),
        ("1j*S", "only names, numbers"),
        ("S % 2", "only names, numbers"),
        ("S+(" * 40 + "S" + ")" * 40, "nested 41 deep"),
        ("S+" * 2000 + "S", "at most 2000"),
        ("(" * 900 + "S" + ")" * 900, "is no formula"),
    ],
)
def test_what_is_no_formula_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        Formula(text, ("S",), {})


def test_names_of_a_formula():
    for nodes, parameters in ((("S", "S"), {}), (("S",), {"S": 1.0}), (("exp",), {}), (("a b",), {})):
        with pytest.raises(ValueError, match="a different name"):
            Formula("1", nodes, parameters)
    with pytest.raises(ValueError, match="split the law"):
        Formula("1", tuple(f"s{k}" for k in range(17)), {})
    law = Formula("-b*S - a", ("S",), {"b": Affine(2.0, {"k": 1.0}), "a": 3.0})
    assert [row[:2] for row in flat_parameters(law)] == [("parameters", "b"), ("parameters", "a")]


def test_a_formula_may_divide_by_zero():
    assert rate(Formula("1/S", ("S",), {}), 0.0) == math.inf
    assert math.isnan(rate(Formula("log(S)", ("S",), {}), -1.0))


# --- what a network asks of a law

EVERY: list[Conductor] = [
    Linear(1.0), *any_dot(KT, 1.0, 2.0, (0.0,) * 4, 0.1, 0.2, 0.3), conductors.GaussianNdc(1.0, 2.0), Exchange(1.0),
    MichaelisMenten(1.0, 1.0), SubstrateInhibition(1.0, 1.0, 1.0), PartialInhibition(1.0, 1.0, 1.0, 0.5),
    OrderedBiBi(**LDH), MassAction(1.0), Formula("S", ("S",), {}),
]  # fmt: skip


@pytest.mark.parametrize("law", EVERY, ids=lambda law: type(law).__name__)
def test_every_law_answers_a_network(law):
    rows = flat_parameters(law)
    assert {name for name, _, _ in rows} <= set(type(law).mismatch)
    assert len(rows) <= laws.MAX_PARAMETERS
    fewest, most = node_count(law)
    assert 1 <= fewest <= most <= laws.MAX_READS
    assert bend(law) > 0
    assert constants(law).dtype == np.float64
    assert may_be_infinite(law) == may_be_infinite(type(law))
    assert may_be_infinite(law) <= {name for name, _, _ in rows}
    for count in (fewest, most):
        value, du, dp = evaluate(law, *np.linspace(1e-4, 2e-4, count))
        assert np.all(np.isfinite([value, *du, *dp]))


def test_what_bends_and_what_is_reversible():
    assert bend(Linear(1.0)) == math.inf
    assert conductors.bends_by(conductors.GaussianNdc(1.0, 2.0)) == ("width", 1.0)
    assert conductors.bends_by(MetallicIsland(1.0, 1.0, 1.0, 0.0, UNIT_T)) == ("temperature", laws.BOLTZMANN_EV)
    assert conductors.bends_by(Linear(1.0)) is None
    assert bend(Curve((-1.0, 0.0, 0.5), (-1.0, 0.0, 1.0))) == 4.0
    assert bend(MichaelisMenten(1.0, 1.0)) == math.inf
    assert bend(Formula("S", ("S",), {}, bends_over=0.1)) == 0.1
    assert not reversible(MichaelisMenten(1.0, 1.0))
    assert reversible(MichaelisMenten(1.0, 1.0, 1.0, 5.0))
    assert not reversible(MassAction(1.0))
    assert reversible(MassAction(1.0, 1, 2.0))
    assert equilibrium_constant(MassAction(4.0, 1, 2.0)) == 2.0
    assert equilibrium_constant(OrderedBiBi(**LDH)) == 2.5e4
    with pytest.raises(TypeError, match="equilibrium constant"):
        equilibrium_constant(Linear(1.0))
    assert node_count(MichaelisMenten(1.0, 1.0)) == (1, 2)
    assert node_count(MichaelisMenten(1.0, 1.0, keq=3.0)) == (2, 2)
    assert node_count(MassAction(1.0, 2, 1.0))[0] == 3


def test_parameters_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"temperature is 0.0 K"):
        SpinfulLevel(0.0, 1.0, 1.0, 0.0)
    with pytest.raises(ValueError, match=r"gamma_left is inf 1/s"):
        LandauerLevel(0.0, math.inf, 1.0, 1.0)
    with pytest.raises(ValueError, match=r"charging_energy is -1.0 eV"):
        MetallicIsland(1.0, 1.0, Affine(-1.0), 0.0, 1.0)
    with pytest.raises(ValueError, match=r"ki is 0.0 mol/L"):
        SubstrateInhibition(1.0, 1.0, 0.0)
    with pytest.raises(ValueError, match=r"k3 is nan 1/s"):
        OrderedBiBi(**{**LDH, "k3": math.nan})
    with pytest.raises(ValueError, match=r"left_levers has 3"):
        SerialDoubleDot((0.0, 0.0), 1.0, 1.0, 1.0, 1.0, (0.0, 0.0, 0.0), (0.0, 0.0))
    with pytest.raises(ValueError, match=r"b is -1.0"):
        PartialInhibition(1.0, 1.0, 1.0, -1.0)
    with pytest.raises(ValueError, match=r"substrates is 0"):
        MassAction(1.0, 0)


# --- ablations


def test_ablations_that_are_none():
    smooth = Curve((-1.0, 0.0, 1.0), (-1.0, 0.0, 2.0))
    assert without_ndc(smooth) == smooth
    table = tabulated(SingleLevel(0.0, ONE, ONE, UNIT_T), 5.0, 5)
    assert without_ndc(table) == table
    blocking = BlockingLevel((2.0, 12.0), (ONE, ONE), (ONE, 0.02 * ONE), UNIT_T)
    for law, reason in (
        (Curve((-1.0, 0.0, 1.0, 2.0), (-1.0, 0.0, 2.0, 1.0)), "data fall"),
        (tabulated(blocking, 30.0, 31), "NDC"),
        (Table(table.grid, table.currents, lead_levers=(1.5, 0.0)), "NDC"),
        (Formula("S", ("S",), {}), "nothing is known"),
        (SubstrateInhibition(1.0, 1.0, Affine(1.0, {"k": 1.0})), "knob on ki"),
        (SerialDoubleDot((Decades(1.0), 0.0), 1.0, 1.0, 1.0, 1.0), "decades"),
    ):
        with pytest.raises(TypeError, match=reason):
            without_ndc(law)


def test_the_control_of_a_double_dot_keeps_every_knob():
    law = SerialDoubleDot((Affine(1e-3, {"p": -0.05}), Affine(2e-3, {"q": -0.04})), 1e-6, 1e9, 1e9, 1.0)
    calm = without_ndc(law)
    assert isinstance(calm, SerialDoubleDot)
    assert calm.levels[0] == calm.levels[1] == Affine(1.5e-3, {"p": -0.025, "q": -0.02})
