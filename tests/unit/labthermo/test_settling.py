"""Settled by evidence: no relaxation is taken for an answer before it is one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from labthermo.clock import VirtualClock
from labthermo.instrument import Reading
from labthermo.settling import NoiseEstimate, Settled, settle

READING = 4.4e-3  # s
NOISE = 2.9e-6  # V, of one short reading of the example's preamplifier
TOLERANCE = 5e-6


def relax(seed: int, swing: float, tau: float, *, slowest: float, timeout: float = 20.0, sigma: float = NOISE):
    """Watch an exponential; what was decided, and how far off the final value it then was."""
    rng, clock = np.random.default_rng(seed), VirtualClock()
    noise = NoiseEstimate(sigma / 3)

    def read() -> Reading:
        clock.sleep(READING)
        return Reading(swing * math.exp(-clock.now() / tau) + sigma * rng.standard_normal())

    decided = settle(read, clock, 0.0, noise, TOLERANCE, 0.95, timeout, slowest)
    return decided, abs(swing) * math.exp(-decided.time / tau)


@pytest.mark.parametrize(
    ("swing", "tau", "slowest"),
    [
        (260e-6, 37e-6, 1.6e-3),  # the example
        (260e-6, 0.02, 1.6e-3),  # ten times slower than designed
        (-1e-3, 0.05, 1.6e-3),
        (20e-6, 0.1, 0.1),  # a small swing hides in the noise: here only the design tells
        (260e-6, 0.3, 0.2),
    ],
)
def test_what_is_called_settled_is_settled(swing, tau, slowest):
    outcomes = [relax(seed, swing, tau, slowest=slowest) for seed in range(500)]
    assert all(decided.settled for decided, _ in outcomes)
    good = np.mean([error <= TOLERANCE for _, error in outcomes])
    assert good >= 0.95
    assert np.median([decided.time for decided, _ in outcomes]) < 0.1 + 12 * tau


@pytest.mark.parametrize(("tau", "timeout"), [(1.0, 0.5), (5.0, 3.0), (100.0, 20.0)])
def test_what_is_still_moving_at_the_timeout_is_unsettled(tau, timeout):
    outcomes = [relax(seed, 300e-6, tau, slowest=tau, timeout=timeout)[0] for seed in range(20)]
    assert not any(decided.settled for decided in outcomes)
    assert all(decided.flag == "ok" for decided in outcomes)
    assert all(timeout <= decided.time < 1.05 * timeout for decided in outcomes)


def test_a_steady_drift_is_never_settled():
    clock = VirtualClock()

    def read() -> Reading:
        clock.sleep(READING)
        return Reading(1e-3 * clock.now())

    assert not settle(read, clock, 0.0, NoiseEstimate(1e-9), TOLERANCE, 0.95, 5.0).settled


def test_noise_alone_costs_readings_and_too_much_noise_is_unsettled():
    calm, rough = (relax(1, 0.0, 1.0, slowest=0.0, sigma=sigma)[0] for sigma in (0.3e-6, 8e-6))
    assert calm.settled
    assert rough.settled
    assert rough.time > 3 * calm.time
    assert not relax(1, 0.0, 1.0, slowest=0.0, sigma=200e-6, timeout=1.0)[0].settled


def test_a_long_wait_needs_few_readings():
    clock, count = VirtualClock(), 0

    def read() -> Reading:
        nonlocal count
        count += 1
        clock.sleep(READING)
        return Reading(1e-3 * math.exp(-clock.now() / 30.0))

    decided = settle(read, clock, 0.0, NoiseEstimate(1e-7), TOLERANCE, 0.95, 600.0, 30.0)
    assert decided.settled
    assert decided.time > 30.0 * math.log(1e-3 / TOLERANCE)
    assert count < 800


@pytest.mark.parametrize(("slowest", "expected"), [(0.0, "overflow"), (0.05, "ok")])
def test_an_overflow_may_pass_within_the_designed_time(slowest, expected):
    clock = VirtualClock()

    def read() -> Reading:
        clock.sleep(READING)
        return Reading(math.nan, "overflow") if clock.now() < 0.05 else Reading(0.0)

    decided = settle(read, clock, 0.0, NoiseEstimate(1e-6), TOLERANCE, 0.95, 5.0, slowest)
    assert decided.flag == expected
    assert decided.settled is (expected == "ok")


def test_a_lasting_overflow_is_reported_soon():
    clock = VirtualClock()

    def read() -> Reading:
        clock.sleep(READING)
        return Reading(math.nan, "overflow")

    decided = settle(read, clock, 0.0, NoiseEstimate(1e-6), TOLERANCE, 0.95, 20.0, 0.1)
    assert decided == Settled(False, decided.time, "overflow")
    assert 0.2 <= decided.time < 0.21


def test_the_noise_estimate_follows_the_noise_and_ignores_a_drift():
    rng = np.random.default_rng(5)
    noise = NoiseEstimate(1e-7)
    assert noise.sigma() == 1e-7
    for sigma in (3e-6, 9e-6):
        for _ in range(400):
            noise.learn(rng.normal(0.0, sigma, 12) + np.linspace(0, 50e-6, 12))
        assert noise.sigma() == pytest.approx(sigma, rel=0.1)
    noise.learn(np.array([1.0, 2.0]))  # too short to tell anything
    assert noise.sigma() == pytest.approx(9e-6, rel=0.1)


def through_a_hollow(least: float) -> tuple[Settled, float]:
    """An answer that stands still for minutes on its way: what is decided, and how far off the end it then was."""
    rng, clock = np.random.default_rng(1), VirtualClock()

    def answer(t: float) -> float:
        return 0.35 - 0.31 * math.exp(-((max(t - 330.0, 0.0) / 150.0) ** 2)) * (1.0 - math.exp(-t / 60.0))

    reads = []

    def read() -> Reading:
        clock.sleep(2.0)
        reads.append(clock.now())
        return Reading(answer(clock.now()) + 2e-3 * rng.standard_normal())

    decided = settle(read, clock, 0.0, NoiseEstimate(2e-3), 4e-3, 0.95, 3600.0, 60.0, least)
    assert reads[0] >= 0.5 * least
    assert len(reads) < 400
    return decided, abs(answer(decided.time) - answer(math.inf))


def test_a_hollow_on_the_way_is_taken_for_rest_unless_the_least_time_leaves_it_behind():
    early, off = through_a_hollow(0.0)
    assert early.settled
    assert off > 0.1  # evidence alone cannot tell: this is why the key is there
    late, off = through_a_hollow(900.0)
    assert late.settled
    assert late.time >= 900.0
    assert off <= 4e-3
