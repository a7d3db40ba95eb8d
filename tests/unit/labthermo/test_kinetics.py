"""Constants out of readings that were made from known ones, by another way of solving the vessel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.optimize import brentq, curve_fit

from labthermo.kinetics import (
    Assumed,
    fit_dose_response,
    fit_line,
    fit_progress,
    gap_at_rest,
    inhibited_rate,
    product_at_rest,
    steepest,
    to_rate_zero,
)

VMAX, KM, KI = 1e-4, 1.1e-3, 0.8e-3  # mol/L/s, mol/L, mol/L
VOLUME, FLOW, STOCK, OPTICAL = 200e-6, 2e-6, 40e-3, 88.0  # L, L/s, mol/L, OD per mol/L
some = settings(max_examples=50, deadline=None, derandomize=True)


@some
@given(st.floats(1e-5, 3e-2), st.floats(8e-3, 5e-2))
def test_the_product_at_rest_balances_what_is_fed(feed, dilution):
    found = float(product_at_rest(feed, dilution, VMAX, KM, KI))
    left = brentq(lambda s: dilution * (feed - s) - VMAX * s / (KM + s + s * s / KI), 0.0, feed, xtol=1e-18)
    assert found == pytest.approx(feed - left, rel=1e-6, abs=1e-12)


def readings(noise: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    shares = np.concatenate([np.zeros(4), np.geomspace(0.01, 0.5, 24)])
    s = shares * FLOW
    product = product_at_rest(STOCK * shares, FLOW / VOLUME, VMAX, KM, KI)
    read = 0.012 + OPTICAL * product + noise * np.random.default_rng(seed).standard_normal(len(s))
    return s, FLOW - s, read


def fit(noise: float, seed: int, read: np.ndarray | None = None):
    s, b, made = readings(noise, seed)
    read = made if read is None else read
    known = {"stock": STOCK, "volume": VOLUME, "absorptivity": OPTICAL, "assumed": Assumed(0.01, 0.01, 0.003, 1e-3)}
    return fit_dose_response(s, b, read, 2e-3, **known)


def test_without_noise_the_constants_come_out_and_agree_with_a_plain_fit_of_the_rate():
    found = fit(0.0, 0)
    assert found is not None
    assert [found.vmax.value, found.km.value, found.ki.value] == pytest.approx([VMAX, KM, KI], rel=1e-4)
    assert found.blank == pytest.approx(0.012, abs=1e-5)
    s, _, read = readings(0.0, 0)
    product = (read - 0.012)[4:] / OPTICAL
    left = STOCK * s[4:] / FLOW - product
    by_scipy, _ = curve_fit(inhibited_rate, left, product * FLOW / VOLUME, p0=[1e-4, 1e-3, 1e-3])
    assert [found.vmax.value, found.km.value, found.ki.value] == pytest.approx(by_scipy, rel=1e-3)


def test_with_noise_the_truth_is_in_most_intervals_and_a_lost_reading_does_no_harm():
    inside = []
    for seed in range(20):
        s, _, read = readings(2e-3, seed)
        read[7] = np.nan
        found = fit(2e-3, seed, read)
        assert found is not None
        assert 0.3 < found.chi_squared < 2.5
        inside += [i.low <= t <= i.high for i, t in zip((found.vmax, found.km, found.ki), (VMAX, KM, KI), strict=True)]
        assert len(s) == 28
    assert np.mean(inside) > 0.85


def test_readings_that_say_nothing_are_none():
    assert fit(0.0, 0, np.full(28, np.nan)) is None
    flat = fit(0.0, 0, 0.012 + 2e-3 * np.random.default_rng(0).standard_normal(28))
    assert flat is None or flat.ki.high / flat.ki.low > 10.0


def test_the_integrated_law_agrees_with_integration_and_gives_the_constants_back():
    t = np.linspace(0.0, 600.0, 61)
    solved = solve_ivp(
        lambda _, s: -inhibited_rate(s, VMAX, KM, KI), (0, 600), [6e-3], t_eval=t, rtol=1e-10, atol=1e-14
    )
    found = fit_progress(t, 6e-3 - solved.y[0], 1e-6, 6e-3, start_error=1e-6, gain_error=1e-4)
    assert found is not None
    (vmax, km, ki), curve = found
    assert [vmax.value, km.value, ki.value] == pytest.approx([VMAX, KM, KI], rel=1e-2)
    assert curve(t) == pytest.approx(6e-3 - solved.y[0], abs=3e-6)


def test_lines_jumps_and_gaps():
    slope, intercept = fit_line([0.0, 1.0, 2.0], [1.0, 3.0, 5.0], 0.1)
    assert (slope.value, intercept.value) == pytest.approx((2.0, 1.0))
    assert slope.high - slope.value == pytest.approx(1.96 * 0.1 / np.sqrt(2.0), rel=1e-3)
    with pytest.raises(ValueError, match="two points"):
        fit_line([1.0, 1.0], [1.0, 2.0], 0.1)
    assert steepest([0.0, 1.0, 2.0, 3.0], [0.0, np.nan, 0.1, 5.0]) == 2.5
    rates = [1.0, 2.0, 4.0]
    place, error = to_rate_zero(rates, [0.5 + 0.1 * r ** (2 / 3) for r in rates], 0.01)
    assert place == pytest.approx(0.5)
    assert 0.0 < error < 0.01
    _, scattered = to_rate_zero(
        rates, [0.5 + 0.1 * r ** (2 / 3) + e for r, e in zip(rates, (0.02, -0.03, 0.01), strict=True)], 0.01
    )
    assert scattered > 3.0 * error
    lag, sure = gap_at_rest(rates, np.outer(rates, np.ones(9)), 0.1)
    assert abs(lag) < sure
    state, sure = gap_at_rest(rates, np.ones((3, 9)), 0.1)
    assert state == pytest.approx(1.0)
    assert state > 3.0 * sure
