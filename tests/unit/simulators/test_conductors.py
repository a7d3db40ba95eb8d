"""The laws of the conductors against published and independently computed numbers.

Units of the reference sets: kT = e = 1, so a rate of 1 carries a current of 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar

from simulators import laws
from simulators.conductors import (
    Affine,
    BlockingLevel,
    Conductor,
    Decades,
    GaussianNdc,
    Linear,
    SingleLevel,
    constants,
    flat_parameters,
    without_ndc,
)
from simulators.network import Network
from simulators.processes import Edge

E = laws.ELEMENTARY_CHARGE
ONE = 1.0 / E  # a rate that carries 1 A per unit of current in units of e
UNIT_T = 1.0 / laws.BOLTZMANN_EV  # the temperature at which kT/e is 1 V
REFERENCE = BlockingLevel((2.0, 12.0), (ONE, ONE), (ONE, 0.02 * ONE), UNIT_T)


def evaluate(law: Conductor, ua: float, ub: float) -> tuple[float, np.ndarray, np.ndarray]:
    """Current, its derivatives by both potentials, and by every parameter."""
    values = np.array([float(value) for _, _, value in flat_parameters(law)])  # type: ignore[arg-type]
    du, dp = np.full(laws.MAX_READS, np.nan), np.full(laws.MAX_PARAMETERS, np.nan)
    current = laws.rate(law.code, np.array([ua, ub]), 2, values, constants(law), 0, du, dp, True)
    return current, du[:2], dp[: len(values)]


def current(law: Conductor, ua: float, ub: float = 0.0) -> float:
    return evaluate(law, ua, ub)[0]


def blocking(gr2: float) -> BlockingLevel:
    return BlockingLevel((2.0, 12.0), (ONE, ONE), (ONE, gr2 * ONE), UNIT_T)


# --- numbers to check by


def test_the_thermal_peak_of_a_single_level_is_3_52_kt_wide():
    def conductance(level: float) -> float:
        return current(SingleLevel(level, ONE, ONE, UNIT_T), 1e-4, -1e-4) / 2e-4

    peak = conductance(0.0)
    assert peak == pytest.approx(1 / 8, rel=1e-6)  # (e^2/4kT)(Gamma/2)
    half = brentq(lambda level: conductance(level) - peak / 2, 0.5, 5)
    assert 2 * half == pytest.approx(4 * math.acosh(math.sqrt(2)), rel=1e-6)  # 3.5255


def test_single_level_saturates_at_the_series_rate():
    law = SingleLevel(2.0, 3 * ONE, 1 * ONE, UNIT_T)
    assert current(law, 60.0, -60.0) == pytest.approx(3 / 4, rel=1e-12)
    assert current(law, 2.0) == pytest.approx(3 / 4 * (0.5 - 1 / (1 + math.exp(2))), rel=1e-12)


@pytest.mark.parametrize(("bias", "expected"), [(2, 0.1904), (6, 0.4310), (12, 0.3153), (20, 0.0386)])
def test_blocking_level_reference_set(bias: float, expected: float):
    assert current(REFERENCE, bias) == pytest.approx(expected, abs=5e-5)


def test_blocking_level_peak_and_valley():
    found = minimize_scalar(lambda v: -current(REFERENCE, v), bounds=(4, 12), method="bounded")
    assert -found.fun == pytest.approx(0.4364, abs=5e-5)
    assert -found.fun / current(REFERENCE, 24.0) == pytest.approx(11.4, abs=0.05)


def test_blocking_level_plateaus():
    far = BlockingLevel((2.0, 1000.0), (ONE, ONE), (ONE, 0.02 * ONE), UNIT_T)
    assert current(far, 60.0, -40.0) == pytest.approx(0.5, rel=1e-12)  # GL1 GR1/(GL1+GR1)
    assert current(REFERENCE, 100.0, -60.0) == pytest.approx(1 / 26, rel=1e-12)  # 0.038462


@pytest.mark.parametrize(
    ("right", "gr2", "expected"), [(0.0, 0.44, True), (0.0, 0.45, False), (-10.0, 0.495, True), (-10.0, 0.51, False)]
)
def test_blocking_level_threshold_of_ndc(right: float, gr2: float, expected: bool):
    slopes = [evaluate(blocking(gr2), v, right)[1][0] for v in np.linspace(right, 40, 4001)]
    assert bool(min(slopes) < 0) == expected
    curve = [current(blocking(gr2), v, right) for v in np.linspace(right, 40, 4001)]
    assert (max(a - b for a, b in pairwise(curve)) > 1e-13) == expected


def test_gaussian_ndc_slope_and_threshold():
    law = GaussianNdc(2.0, 0.3)
    worst = minimize_scalar(lambda d: evaluate(law, d, 0.0)[1][0], bounds=(0.3, 0.5), method="bounded")
    assert worst.x == pytest.approx(0.3 * math.sqrt(1.5), abs=1e-4)
    assert worst.fun == pytest.approx(-2 * math.exp(-1.5) * 2.0, rel=1e-6)
    at = 0.3 * math.sqrt(1.5)
    assert evaluate(GaussianNdc(2.0, 0.3, 0.4462 * 2.0), at, 0.0)[1][0] < 0
    assert evaluate(GaussianNdc(2.0, 0.3, 0.4463 * 2.0), at, 0.0)[1][0] > 0


def test_only_ratios_to_kt_count():
    hot = BlockingLevel((20.0, 120.0), (ONE, ONE), (ONE, 0.02 * ONE), 10 * UNIT_T)
    for v in (1.0, 6.0, 12.0, 20.0):
        assert current(hot, 10 * v) == pytest.approx(current(REFERENCE, v), rel=1e-12)


# --- against the rate equation, in 180 digits

decades = st.floats(-3, 3)
levers = st.floats(0, 0.3)
# in kT, from deep in thermal equilibrium to far outside of any lab
energies = st.one_of(st.floats(-40, 40), st.floats(-150, 150))
potentials = st.one_of(st.floats(-40, 40), st.floats(-150, 150))
exactly = settings(max_examples=150, deadline=None, derandomize=True)


def occupied(x: Decimal) -> Decimal:
    return 1 / (1 + x.exp())


def master_equation(*p: Decimal) -> Decimal:
    """Stationary current out of the left lead: physics.md's form, from the occupations of the three states."""
    ua, ub = p[9:]
    kt = Decimal(laws.BOLTZMANN_EV) * p[6]
    shift = p[7] * ua + p[8] * ub
    ratios, terms = [], []
    for level, gl, gr in ((p[0], p[2], p[4]), (p[1], p[3], p[5])):
        f_l, f_r = occupied((level + shift - ua) / kt), occupied((level + shift - ub) / kt)
        e_l, e_r = occupied(-(level + shift - ua) / kt), occupied(-(level + shift - ub) / kt)
        ratios.append((gl * f_l + gr * f_r) / (gl * e_l + gr * e_r))
        terms.append((gl, f_l, e_l))
    empty = 1 / (1 + ratios[0] + ratios[1])
    return Decimal(E) * sum(gl * empty * (f_l - w * e_l) for w, (gl, f_l, e_l) in zip(ratios, terms, strict=True))


def single_level(*p: Decimal) -> Decimal:
    ua, ub = p[6:]
    kt = Decimal(laws.BOLTZMANN_EV) * p[3]
    level = p[0] + p[4] * ua + p[5] * ub
    window = occupied((level - ua) / kt) - occupied((level - ub) / kt)
    return Decimal(E) * p[1] * p[2] / (p[1] + p[2]) * window


def gaussian(*p: Decimal) -> Decimal:
    d = p[3] - p[4]
    return d * (p[2] + p[0] * (-((d / p[1]) ** 2)).exp())


def linear(*p: Decimal) -> Decimal:
    return p[0] * (p[1] - p[2])


def compare(law: Conductor, oracle: Callable[..., Decimal], ua: float, ub: float, bend: float) -> None:
    """Value and every derivative against central differences of the law in 180 digits.

    bend: V, over which the law bends. Errors are judged against the current itself and its own slopes, never against
    a global scale, so that the tails count too; only below 1e-100 A may they be anything.
    """
    names = [name for name, _, _ in flat_parameters(law)]
    values = [float(v) for _, _, v in flat_parameters(law)]  # type: ignore[arg-type]
    found, du, dp = evaluate(law, ua, ub)
    with localcontext() as context:
        context.prec = 180
        exact = [Decimal(v) for v in (*values, ua, ub)]
        expected = float(oracle(*exact))
        slopes = []
        for k, value in enumerate(exact):
            h = max(abs(value), Decimal(bend)) * Decimal("1e-40")
            up, down = oracle(*exact[:k], value + h, *exact[k + 1 :]), oracle(*exact[:k], value - h, *exact[k + 1 :])
            slopes.append(float((up - down) / (2 * h)))
    by_potential = abs(slopes[-1]) + abs(slopes[-2])
    reach = abs(expected) + by_potential * bend + 1e-100
    furthest = max(abs(ua), abs(ub))
    # potentials and levels are themselves rounded
    assert abs(found - expected) <= 1e-12 * reach * (1 + furthest / bend), (found, expected)
    for mine, theirs in zip(du, slopes[-2:], strict=True):
        assert abs(mine - theirs) <= 1e-9 * reach / bend, (mine, theirs)
    for name, value, mine, theirs in zip(names, values, dp, slopes, strict=False):
        natural = {
            "level": reach / bend,
            "levels": reach / bend,
            "lead_levers": reach / bend * furthest,
            "temperature": reach / UNIT_T / bend * (1 + furthest / bend),
            "leak": abs(ua - ub),
        }.get(name, reach / value if value else 0.0)
        assert abs(mine - theirs) <= 1e-9 * max(natural, abs(theirs)), (name, mine, theirs)


@exactly
@given(energies, energies, st.tuples(decades, decades, decades, decades), levers, levers, potentials, potentials)
def test_blocking_level_equals_the_rate_equation(e1, e2, rates, a_s, a_d, ua, ub):
    gl1, gl2, gr1, gr2 = (10.0**r * 1e9 for r in rates)
    kt = 1e-4
    law = BlockingLevel((e1 * kt, e2 * kt), (gl1, gl2), (gr1, gr2), kt * UNIT_T, lead_levers=(a_s, a_d))
    compare(law, master_equation, ua * kt, ub * kt, kt)


@exactly
@given(energies, decades, decades, levers, levers, potentials, potentials)
def test_single_level_equals_its_formula(e1, left, right, a_s, a_d, ua, ub):
    kt = 1e-4
    law = SingleLevel(e1 * kt, 10.0**left * 1e9, 10.0**right * 1e9, kt * UNIT_T, lead_levers=(a_s, a_d))
    compare(law, single_level, ua * kt, ub * kt, kt)


@exactly
@given(decades, decades, st.floats(0, 2), st.floats(-20, 20), st.floats(-20, 20))
def test_gaussian_ndc_equals_its_formula(conductance, width, leak, ua, ub):
    w = 10.0**width
    law = GaussianNdc(10.0**conductance, w, leak)
    compare(law, gaussian, ua * w, ub * w, w)


@exactly
@given(decades, potentials, potentials)
def test_linear_equals_ohms_law(conductance, ua, ub):
    compare(Linear(10.0**conductance), linear, ua, ub, 1.0)


# --- limits, symmetry, equilibrium


def any_law(kt: float, e1: float, e2: float, rates: tuple[float, ...], a_s: float, a_d: float) -> list[Conductor]:
    g = [10.0**r * 1e9 for r in rates]
    return [
        Linear(g[0]),
        GaussianNdc(g[0], kt, g[1]),
        SingleLevel(e1 * kt, g[0], g[1], kt * UNIT_T, (a_s, a_d)),
        BlockingLevel((e1 * kt, e2 * kt), (g[0], g[1]), (g[2], g[3]), kt * UNIT_T, (a_s, a_d)),
    ]


four = st.tuples(decades, decades, decades, decades)
everywhere = st.one_of(st.floats(-50, 50), st.floats(-1e6, 1e6))


@exactly
@given(everywhere, everywhere, four, levers, levers, everywhere, everywhere, st.sampled_from([1e-6, 1e-4, 1.0]))
def test_no_law_overflows_anywhere(e1, e2, rates, a_s, a_d, ua, ub, kt):
    for law in any_law(kt, e1, e2, rates, a_s, a_d):
        value, du, dp = evaluate(law, ua * kt, ub * kt)
        assert np.all(np.isfinite([value, *du, *dp])), law


@exactly
@given(everywhere, everywhere, four, levers, levers, everywhere)
def test_equal_potentials_carry_no_current(e1, e2, rates, a_s, a_d, u):
    """Detailed balance, with or without lead levers: both leads see the same level."""
    for law in any_law(1e-4, e1, e2, rates, a_s, a_d):
        assert current(law, u * 1e-4, u * 1e-4) == 0.0, law


@exactly
@given(energies, energies, four, levers, levers, potentials, potentials)
def test_current_flows_from_high_to_low(e1, e2, rates, a_s, a_d, ua, ub):
    for law in any_law(1e-4, e1, e2, rates, a_s, a_d):
        assert current(law, ua * 1e-4, ub * 1e-4) * (ua - ub) >= 0.0, law


@exactly
@given(energies, energies, four, levers, levers, potentials, potentials)
def test_turning_a_conductor_round_turns_its_current(e1, e2, rates, a_s, a_d, ua, ub):
    for law in any_law(1e-4, e1, e2, rates, a_s, a_d):
        turned = law
        if isinstance(law, SingleLevel):
            turned = SingleLevel(law.level, law.gamma_right, law.gamma_left, law.temperature, law.lead_levers[::-1])
        elif isinstance(law, BlockingLevel):
            turned = BlockingLevel(law.levels, law.gamma_right, law.gamma_left, law.temperature, law.lead_levers[::-1])
        there, back = current(law, ua * 1e-4, ub * 1e-4), current(turned, ub * 1e-4, ua * 1e-4)
        size = np.abs(evaluate(law, ua * 1e-4, ub * 1e-4)[1]).max() * 1e-4  # what round-off of a potential can do
        assert there == pytest.approx(-back, rel=1e-9, abs=1e-12 * size + 1e-300), law


@exactly
@given(energies, four, potentials, potentials)
def test_a_single_level_does_not_rectify(e1, rates, ua, ub):
    law = any_law(1e-4, e1, 0.0, rates, 0.0, 0.0)[2]
    there, back = current(law, ua * 1e-4, ub * 1e-4), current(law, ub * 1e-4, ua * 1e-4)
    size = np.abs(evaluate(law, ua * 1e-4, ub * 1e-4)[1]).max() * 1e-4
    assert there == pytest.approx(-back, rel=1e-12, abs=1e-12 * size + 1e-300)


@exactly
@given(st.floats(100, 5000), st.floats(100, 5000), four, st.floats(-20, 20), st.floats(-20, 20))
def test_levels_far_below_both_leads_are_full_and_carry_nothing(d1, d2, rates, ua, ub):
    _, _, single, blocked = any_law(1e-4, -d1, -d2, rates, 0.0, 0.0)
    for law in (single, blocked):
        value, du, dp = evaluate(law, ua * 1e-4, ub * 1e-4)
        assert abs(value) < 1e-30 * E * 1e12
        assert np.all(np.abs(du) < 1e-20)
        assert np.all(np.isfinite(dp))


@exactly
@given(st.floats(100, 5000), st.floats(100, 5000), four, st.floats(-20, 20), st.floats(-20, 20))
def test_levels_far_above_both_leads_are_empty_and_carry_nothing(d1, d2, rates, ua, ub):
    _, _, single, blocked = any_law(1e-4, d1, d2, rates, 0.0, 0.0)
    for law in (single, blocked):
        value, du, dp = evaluate(law, ua * 1e-4, ub * 1e-4)
        assert abs(value) < 1e-30 * E * 1e12
        assert np.all(np.abs(du) < 1e-20)
        assert np.all(np.isfinite(dp))


# --- knobs and signs


def knobbed(law: Conductor, knobs: tuple[str, ...]) -> Network:
    return Network({}, ("a", "b"), [Edge("a", "b", law)], knobs)


def test_a_positive_plunger_lowers_the_level():
    """Lever -0.05 eV/V: at -60 mV a known dot is 3 meV higher and shut, at +60 mV it is 3 meV lower and open."""
    kt = laws.BOLTZMANN_EV * 1.5
    net = knobbed(SingleLevel(Affine(2e-3, {"p": -0.05}), 1e9, 1e9, 1.5), ("p",))
    state = net.steady_state([[1e-3, 0.0]] * 3, knobs=[[-0.06], [0.0], [0.04]])
    shut, rest, open_ = net.currents(state)[:, 0]
    full = E * 0.5e9

    def expected(level: float) -> float:
        return full * (1 / (1 + math.exp((level - 1e-3) / kt)) - 1 / (1 + math.exp(level / kt)))

    assert shut == pytest.approx(expected(5e-3), rel=1e-9)
    assert rest == pytest.approx(expected(2e-3), rel=1e-9)
    assert open_ == pytest.approx(expected(0.0), rel=1e-9)
    assert shut < 1e-9 * full < rest < 1e-3 * full < 0.4 * full < open_


def test_a_barrier_moves_a_rate_by_decades():
    net = knobbed(SingleLevel(-10e-3, 1e9, Decades(1e9, {"r": 1 / 0.15}), 1.5), ("r",))
    rates = net.resolved([-0.15])
    assert rates[2] == pytest.approx(1e8, rel=1e-12)
    assert net.resolved([0.15])[2] == pytest.approx(1e10, rel=1e-12)
    assert net.resolved([0.0])[2] == 1e9
    assert rates[1] == 1e9


# --- the control without NDC

steps = settings(max_examples=600, deadline=None, derandomize=True)


@steps
@given(
    st.floats(-30, 30), st.floats(-30, 30), st.tuples(decades, decades), levers, levers,
    st.floats(-40, 40), st.floats(-40, 40),
)  # fmt: skip
def test_equal_rates_never_show_ndc(e1, e2, rates, a_s, a_d, ua, ub):
    gl, gr = (10.0**r * ONE for r in rates)
    drawn = BlockingLevel((e1, e2), (gl, 7 * gl), (gr, 0.01 * gr), UNIT_T, lead_levers=(a_s, a_d))
    control = without_ndc(drawn)
    assert isinstance(control, BlockingLevel)
    assert control.gamma_left == (gl, gl)
    assert control.gamma_right == (gr, gr)
    assert (control.levels, control.temperature, control.lead_levers) == (drawn.levels, UNIT_T, (a_s, a_d))
    _, du, _ = evaluate(control, ua, ub)
    slack = 1e-12 * (gl + gr) * E
    assert du[0] >= -slack
    assert du[1] <= slack


def test_merely_raising_the_blocking_rate_is_no_control():
    """devices.md: 0.8 GR1 still shows NDC behind a fast left barrier, so the control sets the rates equal."""
    law = BlockingLevel((2.0, 8.0), (20 * ONE, 20 * ONE), (ONE, 0.8 * ONE), UNIT_T)
    slopes = [evaluate(law, v, -10.0)[1][0] for v in np.linspace(-10, 40, 2001)]
    assert min(slopes) < -1e-3
    calm = without_ndc(law)
    assert min(evaluate(calm, v, -10.0)[1][0] for v in np.linspace(-10, 40, 2001)) >= 0.0


def test_barriers_cannot_bring_ndc_back_into_the_control():
    design = BlockingLevel(
        (2.0, 12.0),
        (Decades(ONE, {"l": 1 / 0.15}), Decades(ONE, {"l": 1 / 0.15})),
        (Decades(ONE, {"r": 1 / 0.15}), Decades(0.02 * ONE, {"r": 1 / 0.15})),
        UNIT_T,
    )
    rng = np.random.default_rng(5)
    knobs = rng.uniform(-0.15, 0.09, size=(50, 2))
    volts = np.linspace(0, 40, 401)
    for law, expected in ((design, True), (without_ndc(design), False)):
        net = knobbed(law, ("l", "r"))
        drops = []
        for setting in knobs:
            state = net.steady_state(np.column_stack([volts, 0 * volts]), knobs=setting)
            curve = net.currents(state)[:, 0]
            drops.append(np.max(curve[:-1] - curve[1:]) / curve.max())
        assert bool(max(drops) > 1e-3) == expected
        assert expected or max(drops) < 1e-12


def test_ablation_of_the_other_laws():
    assert without_ndc(Linear(1.0)) == Linear(1.0)
    single = SingleLevel(1.0, ONE, ONE, UNIT_T)
    assert without_ndc(single) == single
    calm = without_ndc(GaussianNdc(2.0, 0.3, 0.1))
    assert calm == GaussianNdc(2.0, 0.3, 1.2)
    assert min(evaluate(calm, d, 0.0)[1][0] for d in np.linspace(-2, 2, 2001)) > 0
    with pytest.raises(TypeError, match="conductance"):
        without_ndc(GaussianNdc(Affine(1.0, {"k": 1.0}), 0.3))


@steps
@given(st.floats(-30, 30), st.tuples(decades, decades), st.floats(0, 1), st.floats(0, 1), potentials, potentials)
def test_a_single_level_is_monotone_even_where_it_follows_its_leads(e1, rates, a_s, a_d, ua, ub):
    law = SingleLevel(e1, 10.0 ** rates[0] * ONE, 10.0 ** rates[1] * ONE, UNIT_T, (a_s, a_d))
    _, du, _ = evaluate(law, ua, ub)
    assert du[0] >= 0.0
    assert du[1] <= 0.0
