"""Evidence that a device computes more than a monotone function (training.md, section 1)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def monotone_fit(x: ArrayLike, y: ArrayLike, increasing: bool = True) -> Floats:
    """Least-squares monotone fit of y (n,) against x (n,) or (n, n_inputs); equal x get one value.

    One input: isotonic regression. Several: monotone in every input (componentwise order), by the dual of the
    projection onto that cone: f = y - A^T l with l >= 0 and rows e_i - e_j of A wherever x_i <= x_j; meant for up to
    some hundred distinct inputs.
    """
    xs, ys = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if xs.ndim == 1 or xs.shape[1] == 1:
        from sklearn.isotonic import IsotonicRegression

        xs = xs.reshape(-1)
        return IsotonicRegression(increasing=increasing, out_of_bounds="clip").fit(xs, ys).predict(xs)
    from scipy.optimize import nnls

    points, group, count = np.unique(xs, axis=0, return_inverse=True, return_counts=True)
    sign = 1.0 if increasing else -1.0
    mean = sign * np.bincount(group.ravel(), ys) / count
    below = np.all(points[:, None, :] <= points[None, :, :], axis=2) & ~np.eye(len(points), dtype=bool)
    rows = np.argwhere(below)
    order = np.zeros((len(rows), len(points)))
    order[np.arange(len(rows)), rows[:, 0]] = 1.0
    order[np.arange(len(rows)), rows[:, 1]] = -1.0
    weight = np.sqrt(count)
    multipliers, _ = nnls((order / weight).T, mean * weight)
    fit = mean - (order.T @ multipliers) / count
    return sign * fit[group.ravel()]


def monotone_floor(x: ArrayLike, y: ArrayLike, increasing: bool = True) -> float:
    """RMSE of the best monotone answer on exactly these points: no device without NDC can do better.

    x: (n,) or (n, n_inputs), y: (n,), any units; the result is in the unit of y.
    """
    return float(np.sqrt(np.mean((monotone_fit(x, y, increasing) - np.asarray(y, dtype=float)) ** 2)))


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
