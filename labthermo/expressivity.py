"""Evidence that a device computes more than a monotone function (training.md, section 1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def monotone_fit(x: ArrayLike, y: ArrayLike, increasing: bool = True) -> Floats:
    """Least-squares monotone fit of y (n,) against x (n,), by isotonic regression; equal x get one value."""
    from sklearn.isotonic import IsotonicRegression

    xs, ys = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    return IsotonicRegression(increasing=increasing, out_of_bounds="clip").fit(xs, ys).predict(xs)


def monotone_floor(x: ArrayLike, y: ArrayLike, increasing: bool = True) -> float:
    """RMSE of the best monotone answer on exactly these points: no device without NDC can do better.

    x, y: (n,), any units; the result is in the unit of y.
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

    v: (n,), V, ascending once sorted; i: (n,), A; sigma: (n,) or a number, A, standard deviation of each reading
    (0 for a computed curve). A region runs from a local maximum to the next local minimum of the monotone pieces of
    the curve; its confidence is that of the drop between its ends against noise, with a Bonferroni factor for the
    number of pairs of points that could have been chosen. Only regions of at least `confidence` are returned.
    """
    from scipy.stats import norm

    order = np.argsort(np.asarray(v, dtype=float), kind="stable")
    volts, amps = np.asarray(v, dtype=float)[order], np.asarray(i, dtype=float)[order]
    errors = np.broadcast_to(np.asarray(sigma, dtype=float), amps.shape)[order]
    pairs = max(1, len(volts) * (len(volts) - 1) // 2)

    def confidence_of(top: int, bottom: int) -> float:
        drop, error = amps[top] - amps[bottom], np.hypot(errors[top], errors[bottom])
        if drop <= 0:
            return 0.0
        return 1.0 if error == 0 else float(max(0.0, 1.0 - pairs * norm.sf(drop / error)))

    regions: list[NdcRegion] = []
    top = bottom = 0
    for k in range(1, len(amps) + 1):
        rising = k == len(amps) or confidence_of_rise(amps, errors, bottom, k, pairs) >= confidence
        if rising or (bottom == top and k < len(amps) and amps[k] > amps[top]):
            sure = confidence_of(top, bottom)
            if sure >= confidence:
                regions.append(NdcRegion(float(volts[top]), float(volts[bottom]), float(amps[top] - amps[bottom]), sure))
            top = bottom = k
        elif amps[k] < amps[bottom]:
            bottom = k
        elif amps[k] > amps[top]:
            top = bottom = k
    return regions


def confidence_of_rise(amps: Floats, errors: Floats, low: int, high: int, pairs: int) -> float:
    """Confidence that the current truly rises from point `low` to point `high`."""
    from scipy.stats import norm

    rise, error = amps[high] - amps[low], np.hypot(errors[low], errors[high])
    if rise <= 0:
        return 0.0
    return 1.0 if error == 0 else float(max(0.0, 1.0 - pairs * norm.sf(rise / error)))
