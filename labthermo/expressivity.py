"""Evidence that a device computes more than a monotone function (training.md, section 1)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def monotone_fit(x: ArrayLike, y: ArrayLike, increasing: bool = True) -> Floats:
    """Least-squares monotone fit of y (n,) against x (n,) or (n, n_inputs); equal x get one value.

    One input: isotonic regression. Several: monotone in every input (componentwise order), exact, by the recursive
    partitioning of Luss, Rosset and Shahar, Ann. Appl. Stat. 6, 253 (2012): each block is cut where the sum of what
    lies above its mean is largest, until no cut gains. Up to a thousand distinct inputs or so.
    """
    xs, ys = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if xs.ndim == 1 or xs.shape[1] == 1:
        from sklearn.isotonic import IsotonicRegression

        xs = xs.reshape(-1)
        return IsotonicRegression(increasing=increasing, out_of_bounds="clip").fit(xs, ys).predict(xs)
    order, group, count = _order(xs)
    sign = 1.0 if increasing else -1.0
    mean = sign * np.bincount(group, ys) / count
    least = 1e-9 * max(1e-300, float(np.ptp(mean)))  # of round-off
    fit, blocks = np.empty(len(mean)), [np.arange(len(mean))]
    while blocks:
        block = blocks.pop()
        level = np.average(mean[block], weights=count[block])
        gains = count[block] * (mean[block] - level)
        upper = _best_upper_set(order[np.ix_(block, block)], gains)
        if gains[upper].sum() <= least * count[block].sum():
            fit[block] = level
        else:
            blocks += [block[upper], block[~upper]]
    return sign * fit[group]


def monotone_floor(x: ArrayLike, y: ArrayLike, increasing: bool = True) -> float:
    """RMSE of the best monotone answer on exactly these points: no device without NDC can do better.

    x: (n,) or (n, n_inputs), y: (n,), any units; the result is in the unit of y.
    """
    return float(np.sqrt(np.mean((monotone_fit(x, y, increasing) - np.asarray(y, dtype=float)) ** 2)))


def monotone_accuracy(x: ArrayLike, labels: ArrayLike, increasing: bool = True) -> float:
    """Share of points that the best monotone answer with any threshold classifies right: the floor of a classification.

    x: (n,) or (n, n_inputs); labels: (n,) of bool, true where the answer should lie above the threshold.
    """
    xs, high = np.asarray(x, dtype=float), np.asarray(labels, dtype=bool)
    order, group, _ = _order(xs.reshape(len(xs), -1))
    gains = np.bincount(group, np.where(high == increasing, 1.0, -1.0)).astype(np.float64)
    upper = _best_upper_set(order, gains)
    # what is not above is below: right are the wanted ones above and the others below
    return float((gains[upper].sum() + np.sum(high != increasing)) / len(high))


def _order(xs: Floats) -> tuple[NDArray[np.bool_], NDArray[np.int64], Floats]:
    """Which distinct point lies below which in every input, (m, m); the point of each row, (n,); rows of each, (m,)."""
    points, group, count = np.unique(xs, axis=0, return_inverse=True, return_counts=True)
    below = np.all(points[:, None, :] <= points[None, :, :], axis=2) & ~np.eye(len(points), dtype=bool)
    return below, group.ravel(), count.astype(float)


def _best_upper_set(below: NDArray[np.bool_], gains: Floats) -> NDArray[np.bool_]:
    """The set with the largest sum of gains that holds, with a point, all that lies above it, (n,).

    A closure problem: its linear programme has a totally unimodular matrix, so that a vertex is a set.
    """
    from scipy.optimize import linprog
    from scipy.sparse import csr_array

    steps = below.astype(np.float32)
    low, high = np.nonzero(below & (steps @ steps == 0.0))  # others follow from these
    rows = np.arange(len(low))
    values = np.concatenate([np.ones(len(low)), -np.ones(len(low))])
    matrix = csr_array((values, (np.concatenate([rows, rows]), np.concatenate([low, high]))), (len(low), len(gains)))
    scale = float(np.abs(gains).max(initial=0.0)) or 1.0
    if len(low) == 0:
        return gains > 0.0
    found = linprog(-gains / scale, A_ub=matrix, b_ub=np.zeros(len(low)), bounds=(0.0, 1.0), method="highs-ds")
    return np.asarray(found.x) > 0.5


@dataclass(frozen=True)
class Drop:
    """The fall of an answer that should only rise, from inputs `start` to inputs `stop`, no lower in any of them.

    size: in the answer's unit, 0 where it never falls; ratio: over the standard error of the difference; confidence: 0
    to 1, that it is above 0, with Bonferroni's factor for the pairs it was picked from.
    """

    start: tuple[float, ...]
    stop: tuple[float, ...]
    size: float
    ratio: float
    confidence: float


def largest_drop(x: ArrayLike, y: ArrayLike, sigma: ArrayLike, increasing: bool = True) -> Drop:
    """The drop that stands out most from noise; of a falling device (`increasing` false) the rise.

    x: (n,) or (n, n_inputs); y: (n,), NaN where nothing was read; sigma: (n,) or a number, of each answer. Among drops
    of the same significance, and where sigma is 0, the largest.
    """
    ys = np.asarray(y, dtype=float)
    known = np.isfinite(ys)
    xs = np.asarray(x, dtype=float).reshape(len(ys), -1)[known]
    errors = np.broadcast_to(np.asarray(sigma, dtype=float), ys.shape)[known]
    ys = ys[known] if increasing else -ys[known]
    below = np.all(xs[:, None, :] <= xs[None, :, :], axis=2) & ~np.eye(len(xs), dtype=bool)
    falls = np.where(below, ys[:, None] - ys[None, :], 0.0)
    if len(ys):
        falls[falls <= 1e-9 * np.ptp(ys)] = 0.0  # round-off of a computed answer
    if not (falls > 0.0).any():
        return Drop((), (), 0.0, 0.0, 0.0)
    both = np.hypot(errors[:, None], errors[None, :])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(falls > 0.0, falls / both, 0.0)
    best = np.flatnonzero(ratios.ravel() == ratios.max())
    high, low = np.unravel_index(best[np.argmax(falls.ravel()[best])], falls.shape)
    sure = _confidence(float(falls[high, low]), float(errors[high]), float(errors[low]), int(below.sum()))
    size, ratio = float(falls[high, low]), float(ratios[high, low])
    return Drop(tuple(xs[high].tolist()), tuple(xs[low].tolist()), size, ratio, sure)


@dataclass(frozen=True)
class NdcRegion:
    """A stretch of bias where the current falls. start, stop: V; drop: A; confidence: 0 to 1."""

    start: float
    stop: float
    drop: float
    confidence: float


def find_ndc(v: ArrayLike, i: ArrayLike, sigma: ArrayLike, confidence: float = 0.95) -> list[NdcRegion]:
    """Regions of negative differential conductance in a measured I-V curve.

    v: (n,), V, in any order; i: (n,), A, where NaN (nothing read) is left out; sigma: (n,) or a number, A, standard
    deviation of each reading (0 for a computed curve). A region runs from a local maximum to the next local minimum
    of the monotone pieces of the curve; its confidence is that of the drop between its ends against noise, with a
    Bonferroni factor for the number of pairs of points that could have been chosen. Only regions of at least
    `confidence` are returned.
    """
    volts, amps = np.asarray(v, dtype=float), np.asarray(i, dtype=float)
    errors = np.broadcast_to(np.asarray(sigma, dtype=float), amps.shape)
    known = np.isfinite(volts) & np.isfinite(amps)
    order = np.flatnonzero(known)[np.argsort(volts[known], kind="stable")]
    volts, amps, errors = volts[order], amps[order], errors[order]
    pairs = max(1, len(volts) * (len(volts) - 1) // 2)

    regions: list[NdcRegion] = []
    top = bottom = 0
    for k in range(1, len(amps) + 1):
        rising = k == len(amps) or _confidence(amps[k] - amps[bottom], errors[k], errors[bottom], pairs) >= confidence
        if rising or (bottom == top and k < len(amps) and amps[k] > amps[top]):
            sure = _confidence(amps[top] - amps[bottom], errors[top], errors[bottom], pairs)
            if sure >= confidence:
                regions.append(
                    NdcRegion(float(volts[top]), float(volts[bottom]), float(amps[top] - amps[bottom]), sure)
                )
            top = bottom = k
        elif amps[k] < amps[bottom]:
            bottom = k
        elif amps[k] > amps[top]:
            top = bottom = k
    return regions


def _confidence(difference: float, error: float, other: float, pairs: int) -> float:
    """Confidence that a difference of two readings is above 0, having been picked from so many pairs."""
    if difference <= 0:
        return 0.0
    both = math.hypot(error, other)
    if both == 0:
        return 1.0
    return max(0.0, 1.0 - pairs * 0.5 * math.erfc(difference / both / math.sqrt(2.0)))
