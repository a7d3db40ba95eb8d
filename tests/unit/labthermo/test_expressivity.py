"""The monotone floor and the search for NDC: known answers, known dips, and false alarms counted."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labthermo.expressivity import find_ndc, largest_drop, monotone_accuracy, monotone_fit, monotone_floor

PHASE = np.linspace(0, 2 * np.pi, 201)


def test_floor_of_the_sine():
    """On the 201 scored points with both ends, of the amplitude; in the limit of many points 0.7071 and 0.2468."""
    assert monotone_floor(PHASE, np.sin(PHASE)) == pytest.approx(0.7053, abs=5e-5)
    assert monotone_floor(PHASE, np.sin(PHASE), increasing=False) == pytest.approx(0.2514, abs=5e-5)
    assert monotone_floor(PHASE - np.pi, np.sin(PHASE - np.pi)) == pytest.approx(0.2514, abs=5e-5)
    fine = np.linspace(0, 2 * np.pi, 20001)
    assert monotone_floor(fine, np.sin(fine)) == pytest.approx(0.7071, abs=1e-4)
    assert monotone_floor(fine, np.sin(fine), increasing=False) == pytest.approx(0.2468, abs=1e-4)
    assert np.abs(monotone_fit(PHASE - np.pi, np.sin(PHASE - np.pi)) - np.sin(PHASE - np.pi)).max() > 0.5


def test_floor_of_xor():
    """Swing 1: the floor's square is 1/6, whatever order the two equal inputs stand in."""
    assert monotone_floor([0, 1, 1, 2], [0, 1, 1, 0]) ** 2 == pytest.approx(1 / 6)
    assert monotone_floor([2, 1, 0, 1], [0, 1, 0, 1]) ** 2 == pytest.approx(1 / 6)


def test_floor_is_in_the_unit_of_the_answer_and_zero_for_monotone_ones():
    assert monotone_floor(PHASE, 1e-4 * np.sin(PHASE) + 3.0) == pytest.approx(0.7053e-4, rel=1e-4)
    assert monotone_floor(PHASE, np.exp(PHASE)) == 0.0
    assert monotone_floor(PHASE, -PHASE, increasing=False) == 0.0
    shuffled = np.random.default_rng(0).permutation(201)
    assert monotone_floor(PHASE[shuffled], np.sin(PHASE[shuffled])) == pytest.approx(0.7053, abs=5e-5)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=6))
def test_no_monotone_answer_beats_the_floor(y: list[int]):
    """Isotonic regression by its min-max formula: the k-th value is max over i<=k of min over j>=k of mean(y[i..j])."""
    n = len(y)
    best = [max(min(np.mean(y[i : j + 1]) for j in range(k, n)) for i in range(k + 1)) for k in range(n)]
    assert monotone_floor(range(n), y) == pytest.approx(np.sqrt(np.mean((np.array(best) - y) ** 2)), abs=1e-12)
    # and some monotone answers tried by hand
    for steps in itertools.islice(itertools.product([0, 1, 3], repeat=n), 30):
        answer = np.cumsum(steps) + min(y)
        assert np.sqrt(np.mean((answer - np.array(y)) ** 2)) >= monotone_floor(range(n), y) - 1e-12


# --- several inputs


def all_pairs(x: np.ndarray) -> list[tuple[int, int]]:
    """(low, high) of every two points of which one lies below the other, or on it."""
    return [(i, j) for i, j in itertools.permutations(range(len(x)), 2) if (x[i] <= x[j]).all()]


def dual_fit(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The projection onto the cone of monotone answers by its dual: y - A^T l with l >= 0 and rows e_i - e_j of A."""
    from scipy.optimize import nnls

    rows = np.zeros((len(all_pairs(x)), len(x)))
    for k, (i, j) in enumerate(all_pairs(x)):
        rows[k, i], rows[k, j] = 1.0, -1.0
    return y - rows.T @ nnls(rows.T, y)[0]


@pytest.mark.parametrize(("n", "inputs"), [(12, 2), (40, 2), (40, 3), (30, 4)])
def test_fit_of_several_inputs_is_the_projection(n: int, inputs: int):
    rng = np.random.default_rng(n + inputs)
    x = rng.integers(0, 7, (n, inputs)).astype(float)  # some equal points, some equal coordinates
    y = x.sum(axis=1) / 7 + rng.standard_normal(n)
    assert monotone_fit(x, y) == pytest.approx(dual_fit(x, y), abs=1e-7)
    assert monotone_fit(x, y, increasing=False) == pytest.approx(-dual_fit(x, -y), abs=1e-7)
    fit = monotone_fit(x, y)
    assert all(fit[i] <= fit[j] + 1e-12 for i, j in all_pairs(x))


def test_a_column_of_inputs_is_one_input():
    y = np.sin(PHASE)
    twice = np.column_stack([PHASE, PHASE])
    assert monotone_fit(twice, y) == pytest.approx(monotone_fit(PHASE, y), abs=1e-9)


@pytest.mark.parametrize("increasing", [True, False])
@pytest.mark.parametrize("inputs", [1, 2, 3])
def test_no_monotone_answer_classifies_better(inputs: int, increasing: bool):
    """Against every one of the 2^9 labellings that some monotone answer and threshold make."""
    rng = np.random.default_rng(inputs)
    for _ in range(5):
        x = rng.integers(0, 4, (9, inputs)).astype(float)
        wanted = rng.integers(0, 2, 9).astype(bool)
        pairs = [(i, j) if increasing else (j, i) for i, j in all_pairs(x)]
        monotone = [
            labels
            for labels in itertools.product([False, True], repeat=9)
            if all(labels[i] <= labels[j] for i, j in pairs)
        ]
        best = max(np.mean(np.array(labels) == wanted) for labels in monotone)
        assert monotone_accuracy(x, wanted, increasing) == pytest.approx(best)


def test_a_floor_of_many_points_on_a_grid():
    """A disc on 21 x 21 points, against the same with the inputs exchanged, and against its dual's optimality.

    A fit is the projection if what is left sums to nothing over the answer, and to nothing positive over upper sets.
    """
    axis = np.linspace(-1, 1, 21)
    x = np.array(list(itertools.product(axis, axis)))
    y = (np.hypot(*x.T) < 0.6).astype(float)
    fit = monotone_fit(x, y)
    assert abs((y - fit) @ fit) < 1e-8
    steps = sorted(set(np.round(fit, 9)))
    assert all((y - fit)[fit > s].sum() < 1e-8 for s in steps)
    assert monotone_floor(x[:, ::-1], y) == pytest.approx(monotone_floor(x, y))
    rng = np.random.default_rng(0)
    for _ in range(300):  # upper sets at random
        corners = rng.uniform(-1, 1, (rng.integers(1, 5), 2))
        upper = np.any(np.all(x[:, None] >= corners[None], axis=2), axis=1)
        assert (y - fit)[upper].sum() < 1e-8


# --- NDC in measured curves

VOLTS = np.linspace(0, 3e-3, 121)


def peak(v: np.ndarray) -> np.ndarray:
    """1 nA at 1 mV, falling to 0.2 nA at 2 mV, rising again."""
    return 1e-9 * np.interp(v, [0, 1e-3, 2e-3, 3e-3], [0, 1, 0.2, 1.5])


@pytest.mark.parametrize(
    "curve",
    [
        pytest.param(np.zeros(121), id="flat"),
        pytest.param(1e-9 * VOLTS / 3e-3, id="line"),
        pytest.param(1e-9 * np.tanh(VOLTS / 3e-4), id="saturating"),
        pytest.param(np.where(VOLTS < 1.5e-3, 0.0, 1e-9), id="step"),
    ],
)
@pytest.mark.parametrize("sigma", [1e-12, 1e-10])
def test_monotone_curves_raise_few_alarms(curve: np.ndarray, sigma: float):
    """At 95 % no more than 5 % of monotone curves may show NDC; 400 seeds, three standard errors allowed."""
    rng = np.random.default_rng(17)
    alarms = sum(bool(find_ndc(VOLTS, curve + sigma * rng.standard_normal(121), sigma)) for _ in range(400))
    assert alarms / 400 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


def test_unequal_errors_raise_few_alarms():
    rng = np.random.default_rng(18)
    alarms = 0
    for _ in range(400):
        sigma = 1e-12 * 10 ** rng.uniform(-1, 1, 60)
        alarms += bool(find_ndc(np.arange(60.0), sigma * rng.standard_normal(60), sigma))
    assert alarms / 400 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


def test_a_computed_curve_is_certain():
    (region,) = find_ndc(VOLTS, peak(VOLTS), 0.0)
    assert region.start == pytest.approx(1e-3)
    assert region.stop == pytest.approx(2e-3)
    assert region.drop == pytest.approx(0.8e-9)
    assert region.confidence == 1.0


@pytest.mark.parametrize("noise", [1e-12, 1e-11, 5e-11])
def test_a_known_dip_is_found_once_and_where_it_is(noise: float):
    """Up to noise of one sixteenth of the drop: one region, ends within what the noise leaves open, no piecemeal."""
    for seed in range(50):
        rng = np.random.default_rng(seed)
        regions = find_ndc(VOLTS, peak(VOLTS) + noise * rng.standard_normal(121), noise)
        assert len(regions) == 1, seed
        (region,) = regions
        open_ = 8 * noise / 1e-6 + 2.6e-5  # 8 sigma over the smallest slope, 1 uS, and one step
        assert abs(region.start - 1e-3) < open_
        assert abs(region.stop - 2e-3) < open_
        assert abs(region.drop - 0.8e-9) < 8 * noise
        assert region.confidence > 0.95


def test_a_gentle_slope_is_found_although_no_two_neighbours_differ():
    """A fall of 20 sigma spread over 400 points: 0.05 sigma a step."""
    sigma = 1e-12
    v = np.linspace(0, 1, 401)
    rng = np.random.default_rng(2)
    regions = find_ndc(v, -20 * sigma * v + sigma * rng.standard_normal(401), sigma)
    assert len(regions) == 1
    assert regions[0].start < 0.3
    assert regions[0].stop > 0.7


def test_two_dips_are_two_regions():
    v = np.linspace(0, 4 * np.pi, 401)
    clean = find_ndc(v, np.sin(v), 0.0)
    assert [r.start for r in clean] == pytest.approx([np.pi / 2, 5 * np.pi / 2], abs=0.02)
    assert [r.stop for r in clean] == pytest.approx([3 * np.pi / 2, 7 * np.pi / 2], abs=0.02)
    assert [r.drop for r in clean] == pytest.approx([2.0, 2.0], abs=1e-3)
    noisy = find_ndc(v, np.sin(v) + 0.05 * np.random.default_rng(1).standard_normal(401), 0.05)
    assert len(noisy) == 2
    assert [r.start for r in noisy] == pytest.approx([np.pi / 2, 5 * np.pi / 2], abs=0.5)
    assert [r.stop for r in noisy] == pytest.approx([3 * np.pi / 2, 7 * np.pi / 2], abs=0.5)


def test_a_dip_at_either_end_counts():
    (falling,) = find_ndc([0.0, 1.0, 2.0], [3.0, 2.0, 1.0], 0.0)
    assert (falling.start, falling.stop, falling.drop) == (0.0, 2.0, 2.0)
    (late,) = find_ndc([0.0, 1.0, 2.0, 3.0], [0.0, 2.0, 3.0, 1.0], 0.0)
    assert (late.start, late.stop, late.drop) == (2.0, 3.0, 2.0)


def test_order_of_measurement_does_not_matter():
    rng = np.random.default_rng(4)
    noisy = peak(VOLTS) + 1e-11 * rng.standard_normal(121)
    shuffled = rng.permutation(121)
    assert find_ndc(VOLTS[shuffled], noisy[shuffled], 1e-11) == find_ndc(VOLTS, noisy, 1e-11)
    assert find_ndc(VOLTS[::-1], noisy[::-1], np.full(121, 1e-11)) == find_ndc(VOLTS, noisy, 1e-11)


def test_a_higher_bar_leaves_less():
    v = np.linspace(0, 1, 50)
    rng = np.random.default_rng(6)
    i = -7 * v + rng.standard_normal(50)
    found = [len(find_ndc(v, i, 1.0, confidence=c)) for c in (0.5, 0.95, 1 - 1e-12)]
    assert found[0] >= found[1] >= found[2] == 0
    assert found[0] == 1


def test_too_little_data_shows_nothing():
    assert find_ndc([], [], 1.0) == []
    assert find_ndc([1.0], [1.0], 0.0) == []


def test_readings_that_are_not_numbers_are_left_out():
    i = peak(VOLTS)
    i[[5, 50, 120]] = np.nan
    (region,) = find_ndc(VOLTS, i, 0.0)
    assert (region.start, region.stop) == pytest.approx((1e-3, 2e-3))


# --- drops of an answer that should only rise


def test_the_drop_that_stands_out_most_is_found():
    x = np.linspace(0, 1, 50)
    drop = largest_drop(x, np.where(x < 0.5, x, x - 0.3), 0.01)
    assert drop.start[0] < 0.5 <= drop.stop[0]
    assert drop.size == pytest.approx(0.3 - 1 / 49, abs=1e-9)
    assert drop.ratio == pytest.approx(drop.size / (0.01 * np.sqrt(2)))
    assert drop.confidence > 0.999
    assert largest_drop(x, x, 0.01) == largest_drop(x, -x, 0.01, increasing=False)
    assert (largest_drop(x, x, 0.01).size, largest_drop(x, x, 0.01).confidence) == (0.0, 0.0)
    exact = largest_drop(PHASE, np.sin(PHASE), 0.0)
    assert (exact.size, exact.confidence) == (pytest.approx(2.0, abs=1e-3), 1.0)
    rising = largest_drop(PHASE, -np.sin(PHASE), 0.0, increasing=False)
    assert rising.size == pytest.approx(exact.size)
    assert largest_drop(x, x - 1e-14 * np.sin(1e3 * x), 0.0).size == 0.0
    assert largest_drop(x, np.full(50, np.nan), 0.1).size == 0.0
    gaps = np.where(np.arange(201) % 7 == 0, np.nan, np.sin(PHASE))
    assert largest_drop(PHASE, gaps, 0.01).size == pytest.approx(2.0, abs=0.01)


def test_of_several_inputs_only_comparable_points_count():
    corners = [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert largest_drop(corners, [0.0, 1.0, 0.0, 1.0], 0.1).size == 0.0  # (0, 1) and (1, 0) are not comparable
    drop = largest_drop(corners, [0.0, 1.0, 1.0, 0.2], 0.1)
    assert (drop.stop, drop.size) == ((1.0, 1.0), pytest.approx(0.8))


def test_noise_is_rarely_taken_for_a_drop():
    rng = np.random.default_rng(5)
    alarms = sum(largest_drop(VOLTS, rng.standard_normal(121), 1.0).confidence >= 0.95 for _ in range(400))
    assert alarms / 400 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)
