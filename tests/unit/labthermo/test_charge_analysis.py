"""Diamonds and honeycombs: what was put in comes out within its error, and where there is nothing, nothing is found."""

from __future__ import annotations

import numpy as np
import pytest

from labthermo.charge_analysis import Estimate, find_addition_lines, find_diamonds

ALPHA, SHARE, PERIOD = 0.08, 0.35, 0.030
GATE, BIAS = np.linspace(-0.04, 0.05, 70), np.linspace(-3e-3, 3e-3, 55)


def diamonds(noise=0.0, seed=0, offset=0.0):
    """Current beyond the edges of ideal diamonds, 1 uS, rounded over 20 uV."""
    v, u = GATE[:, None], BIAS[None, :]
    level = np.array([ALPHA * (PERIOD * n + 0.007 - v) + SHARE * u for n in range(-4, 5)])  # of each addition, eV
    low, high = np.minimum(u, 0.0), np.maximum(u, 0.0)
    open_by = np.minimum(high - level, level - low).max(axis=0)
    flow = np.sign(u) * 1e-6 * 20e-6 * np.logaddexp(0.0, open_by / 20e-6)
    return flow + offset + noise * np.random.default_rng(seed).standard_normal(flow.shape)


def holds(estimate: Estimate | None, truth: float, relative: float):
    assert estimate is not None
    assert estimate.value == pytest.approx(truth, rel=relative)
    assert abs(estimate.value - truth) < 5 * max(estimate.sigma, 0.004 * truth)
    assert estimate.sigma < relative * truth


@pytest.mark.parametrize("seed", range(4))
def test_diamonds_give_lever_arm_shares_and_energy(seed):
    found = find_diamonds(GATE, BIAS, diamonds(2e-12, seed, offset=4e-11), 2e-12)
    assert found is not None
    holds(found.lever_arm, ALPHA, 0.02)
    holds(found.source_share, SHARE, 0.02)
    holds(found.other_share, 1 - ALPHA - SHARE, 0.02)
    holds(found.rising, ALPHA / SHARE, 0.03)
    holds(found.falling, ALPHA / (1 - SHARE), 0.03)
    holds(found.period, PERIOD, 0.01)
    holds(found.addition, ALPHA * PERIOD, 0.03)
    assert len(found.edges) >= 6


def test_a_charge_jump_costs_some_edges_and_not_the_slopes():
    flow = diamonds(2e-12)
    flow[33:] = np.roll(diamonds(2e-12, 1), 9, axis=0)[33:]
    found = find_diamonds(GATE, BIAS, flow, 2e-12)
    assert found is not None
    holds(found.lever_arm, ALPHA, 0.05)


def test_a_fine_noisy_grid_is_no_worse():
    gate = np.linspace(-0.04, 0.05, 280)
    flow = np.array([np.interp(gate, GATE, column) for column in diamonds().T]).T
    found = find_diamonds(gate, BIAS, flow + 2e-11 * np.random.default_rng(5).standard_normal(flow.shape), 2e-11)
    assert found is not None
    holds(found.lever_arm, ALPHA, 0.03)
    holds(found.period, PERIOD, 0.01)


def test_unread_points_are_left_out():
    flow = diamonds(2e-12)
    flow[np.random.default_rng(3).random(flow.shape) < 0.01] = np.nan
    found = find_diamonds(GATE, BIAS, flow, 2e-12)
    assert found is not None
    holds(found.lever_arm, ALPHA, 0.05)


def test_one_diamond_has_slopes_but_no_period():
    chosen = (GATE > -0.021) & (GATE < 0.006)
    found = find_diamonds(GATE[chosen], BIAS, diamonds(2e-12)[chosen], 2e-12)
    assert found is not None
    holds(found.lever_arm, ALPHA, 0.05)
    assert found.period is None
    assert found.addition is None


@pytest.mark.parametrize("seed", range(5))
def test_no_diamonds_in_noise_or_in_a_resistor(seed):
    noise = 2e-12 * np.random.default_rng(seed).standard_normal((len(GATE), len(BIAS)))
    assert find_diamonds(GATE, BIAS, noise, 2e-12) is None
    assert find_diamonds(GATE, BIAS, noise + 1e-6 * BIAS, 2e-12) is None


def test_no_diamonds_where_nothing_was_read():
    assert find_diamonds(GATE, BIAS, np.full((len(GATE), len(BIAS)), np.nan), 2e-12) is None


CROSS, SPACING, MUTUAL = 0.22, 0.034, 0.007
X, Y = np.linspace(0.0, 0.1, 51), np.linspace(0.0, 0.1, 45)


def honeycomb(noise=0.0, seed=0, background=0.0):
    """A signal that steps down at lines x + CROSS y = const, which shift by MUTUAL at lines of the other dot."""
    x, y = X[None, :], Y[:, None]
    other = 1.0 / (1.0 + np.exp(-(y + 0.3 * x - np.array([0.03, 0.07, 0.11])[:, None, None]) / 1.2e-3))
    lines = 0.015 + SPACING * np.arange(4)[:, None, None] + MUTUAL * other.sum(axis=0)
    own = (1.0 / (1.0 + np.exp(-(x + CROSS * y - lines) / 1.2e-3))).sum(axis=0)
    return 1.0 - 0.1 * own - background * (x + y) + noise * np.random.default_rng(seed).standard_normal(own.shape)


@pytest.mark.parametrize("seed", range(4))
def test_addition_lines_give_cross_lever_spacing_and_mutual_shift(seed):
    found = find_addition_lines(X, Y, honeycomb(1e-3, seed, background=1.0), 1e-3)
    assert found is not None
    holds(found.cross, CROSS, 0.05)
    holds(found.spacing, SPACING, 0.01)
    holds(found.mutual, MUTUAL, 0.05)


def test_rising_steps_and_unread_rows_are_no_matter():
    signal = -honeycomb(1e-3)
    signal[7] = np.nan
    signal[20, ::3] = np.nan
    found = find_addition_lines(X, Y, signal, 1e-3)
    assert found is not None
    holds(found.cross, CROSS, 0.05)


def test_a_single_line_has_a_slope_but_no_spacing():
    chosen = X < 0.04
    signal = honeycomb(1e-3)[:18, chosen]
    found = find_addition_lines(X[chosen], Y[:18], signal, 1e-3)
    assert found is not None
    assert found.spacing is None
    assert found.mutual is None


@pytest.mark.parametrize("seed", range(5))
def test_no_lines_in_noise_or_in_a_slope(seed):
    noise = 1e-3 * np.random.default_rng(seed).standard_normal((len(Y), len(X)))
    assert find_addition_lines(X, Y, noise, 1e-3) is None
    assert find_addition_lines(X, Y, noise + X - 0.4 * Y[:, None], 1e-3) is None
    assert find_addition_lines(X, Y, np.full(noise.shape, np.nan), 1e-3) is None
    noise[:, ::2] = np.nan
    assert find_addition_lines(X, Y, noise, 1e-3) is None
