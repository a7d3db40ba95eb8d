"""What readings of a stirred flow vessel say about its enzyme: substrate inhibition, and where a scan jumps.

Haldane and Andrews: v = Vmax S / (Km + S + S^2/Ki). A vessel of volume V through which F flows has the dilution rate
D = F/V, and at rest D (feed - S) = v(S), with the product P = feed - S. Concentrations mol/L, rates mol/L/s. Every
interval is that of a least-squares fit made linear in the logarithms of the constants.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labthermo.quantity import format_quantity

VAGUE = 30.0  # of an interval's half width in its logarithm, at which it says nothing: 13 decades

Floats = NDArray[np.float64]


FARTHEST = 1e4  # by this factor a constant may move from where its fit starts; beyond, it is not determined


@dataclass(frozen=True)
class Interval:
    """A value and its confidence interval from `low` to `high`, in `unit` (empty for a ratio)."""

    value: float
    low: float
    high: float
    unit: str

    def __str__(self) -> str:
        value, low, high = (format_quantity(x, self.unit, 3) for x in (self.value, self.low, self.high))
        return f"{value} ({low} to {high})"

    def plain(self) -> list[float]:
        """value, low, high, for a record."""
        return [self.value, self.low, self.high]


def inhibited_rate(substrate: ArrayLike, vmax: float, km: float, ki: float) -> Floats:
    """v (mol/L/s) of a substrate-inhibited enzyme."""
    s = np.asarray(substrate, dtype=float)
    return vmax * s / (km + s + s**2 / ki)


def product_at_rest(feed: ArrayLike, dilution: ArrayLike, vmax: float, km: float, ki: float) -> Floats:
    """P (mol/L) of a vessel at rest with feed (mol/L) at a dilution rate (1/s); one state of them where there are two.

    By bisection of D (feed - S) - v(S), which is positive at S = 0 and negative at S = feed.
    """
    total, d = np.broadcast_arrays(np.asarray(feed, dtype=float), np.asarray(dilution, dtype=float))
    low, high = np.zeros(total.shape), total.copy()
    for _ in range(52):
        middle = 0.5 * (low + high)
        left = d * (total - middle) > inhibited_rate(middle, vmax, km, ki)
        low, high = np.where(left, middle, low), np.where(left, high, middle)
    return total - 0.5 * (low + high)


@dataclass(frozen=True)
class Assumed:
    """What a fit takes for known, and how well: relative standard deviations, all normal.

    stock: error of a pump that gives the substrate, buffer: of the one that gives the buffer; gain: of the photometer
    with its path and extinction; flow_noise: of every pump from reading to reading.
    """

    stock: float
    buffer: float
    gain: float
    flow_noise: float


@dataclass(frozen=True)
class Inhibition:
    """Constants of a substrate-inhibited enzyme, each with its interval. blank: OD. chi_squared: a degree of freedom.

    curve: from substrate and buffer rates (L/s) to the absorbance that the fit expects, OD.
    """

    vmax: Interval
    km: Interval
    ki: Interval
    blank: float
    chi_squared: float
    curve: Callable[[Floats, Floats], Floats]

    @property
    def optimum(self) -> float:
        """Substrate concentration with the highest rate, sqrt(Km Ki), mol/L."""
        return float(np.sqrt(self.km.value * self.ki.value))


def fit_dose_response(
    substrate: ArrayLike,
    buffer: ArrayLike,
    absorbance: ArrayLike,
    sigma: float,
    *,
    stock: float,
    volume: float,
    absorptivity: float,
    assumed: Assumed,
    other: float = 0.0,
    confidence: float = 0.95,
) -> Inhibition | None:
    """Vmax, Km and Ki from the absorbance of the product at rest; None where the readings do not determine them.

    substrate, buffer: (n,), L/s, rates as asked; some with substrate 0, which tell the blank. absorbance: (n,), OD,
    NaN where nothing was read; sigma: OD, of one reading. stock: mol/L; volume: L; absorptivity: OD per mol/L of
    product; other: L/s, of solvent that flows in besides.

    The dose is known only as well as the pumps: their errors, the photometer's and the blank are fitted along, held
    by what is `assumed` of them, and the intervals hold their part. Flow noise counts as far as it can be seen.
    """
    from scipy.optimize import least_squares

    s, b, read = (np.asarray(a, dtype=float) for a in (substrate, buffer, absorbance))
    known = np.isfinite(read)
    s, b, read = s[known], b[known], read[known]
    if len(read) < 6:
        return None

    def expected(theta: Floats, s: Floats, b: Floats) -> Floats:
        vmax, km, ki = np.exp(theta[:3])
        dose = s * (1.0 + theta[4])
        flow = dose + b * (1.0 + theta[5]) + other
        product = product_at_rest(stock * dose / flow, flow / volume, vmax, km, ki)
        return theta[3] + (1.0 + theta[6]) * absorptivity * product

    prior = np.array([assumed.stock, assumed.buffer, assumed.gain])
    spread = np.full(len(read), sigma)

    def misfit(theta: Floats) -> Floats:
        return np.concatenate([(read - expected(theta, s, b)) / spread, theta[4:] / prior])

    flow = s + b + other
    product = np.maximum(read - read[s == 0].mean() if (s == 0).any() else read - read.min(), 0.0) / absorptivity
    rate, left = product * flow / volume, np.maximum(stock * s / flow - product, 0.0)
    best = None
    peak = max(float(rate.max()), 1e-30)
    optimum = max(float(left[np.argmax(rate)]), 1e-9)
    for ratio in (0.1, 1.0, 10.0):  # Km/Ki, with the optimum and the peak that are seen
        km = optimum * np.sqrt(ratio)
        start = np.array([*np.log([peak * (1.0 + 2.0 * np.sqrt(ratio)), km, km / ratio]), read.min(), 0.0, 0.0, 0.0])
        found = least_squares(misfit, start, x_scale=[0.1, 0.1, 0.1, sigma, *prior], max_nfev=200)
        if best is None or found.cost < best.cost:
            best = found
    assert best is not None
    for _ in range(2):  # noise of the flows, as far as this curve shows it
        shift = 1e-4
        by_s = (expected(best.x, s * (1 + shift), b) - expected(best.x, s * (1 - shift), b)) / (2 * shift)
        by_b = (expected(best.x, s, b * (1 + shift)) - expected(best.x, s, b * (1 - shift))) / (2 * shift)
        spread[:] = np.sqrt(sigma**2 + assumed.flow_noise**2 * (by_s**2 + by_b**2))
        best = least_squares(misfit, best.x, x_scale=[0.1, 0.1, 0.1, sigma, *prior], max_nfev=200)
    if not best.success or np.linalg.cond(best.jac) > 1e12:
        return None
    errors = np.sqrt(np.diag(np.linalg.inv(best.jac.T @ best.jac)))
    z = NormalDist().inv_cdf(0.5 + confidence / 2.0)
    if not np.all(z * errors[:3] < VAGUE):
        return None
    theta = best.x
    vmax, km, ki = _constants(theta, errors, z)
    free = len(read) - 4
    return Inhibition(
        vmax,
        km,
        ki,
        blank=float(theta[3]),
        chi_squared=float(np.sum(misfit(theta)[: len(read)] ** 2)) / free,
        curve=lambda s, b: expected(theta, s, b),
    )


def fit_progress(
    times: ArrayLike,
    product: ArrayLike,
    sigma: float,
    substrate: float,
    confidence: float = 0.95,
    *,
    start_error: float,
    gain_error: float,
) -> tuple[tuple[Interval, Interval, Interval], Callable[[Floats], Floats]] | None:
    """Vmax, Km, Ki from product (mol/L) over time (s) in a closed vessel that starts with `substrate` (mol/L), and the
    curve of the fit; None where the readings do not determine them. sigma: mol/L, of one reading. start_error:
    standard deviation of `substrate`, mol/L; gain_error: of the photometer, relative; both are fitted along.

    The rate law integrated (Haldane 1930): with x of the substrate used up,
    Vmax t = x + Km ln(S0/(S0 - x)) + (S0^2 - (S0 - x)^2)/(2 Ki).
    """
    from scipy.optimize import least_squares

    t, p = np.asarray(times, dtype=float), np.asarray(product, dtype=float)
    known = np.isfinite(t) & np.isfinite(p)
    t, p = t[known], p[known]
    if len(t) < 6 or substrate <= 0.0:
        return None
    share = np.concatenate([[0.0], 1.0 - np.geomspace(1.0, 1e-6, 400)[1:]])

    def curve(theta: Floats, at: Floats) -> Floats:
        vmax, km, ki = np.exp(theta[:3])
        start = substrate * np.exp(theta[4] * start_error / substrate)
        used = start * share
        taken = (used - km * np.log1p(-share) + (start**2 - (start - used) ** 2) / (2.0 * ki)) / vmax
        return theta[3] + np.exp(theta[5] * gain_error) * np.interp(at, taken, used)

    def misfit(theta: Floats) -> Floats:
        return np.concatenate([(p - curve(theta, t)) / sigma, theta[4:]])

    rate = max(float(np.nanmax(np.gradient(p, t))), 1e-12)
    best = None
    for part in (0.03, 0.3):
        km = part * substrate
        first = np.array([*np.log([3.0 * rate, km, km]), p[0], 0.0, 0.0])
        far = np.array([*np.full(3, math.log(FARTHEST)), np.inf, np.inf, np.inf])
        found = least_squares(
            misfit, first, bounds=(first - far, first + far), x_scale=[0.1, 0.1, 0.1, sigma, 1.0, 1.0], max_nfev=500
        )
        if best is None or found.cost < best.cost:
            best = found
    assert best is not None
    if not best.success or best.active_mask.any() or np.linalg.cond(best.jac) > 1e10:
        return None
    errors = np.sqrt(np.diag(np.linalg.inv(best.jac.T @ best.jac)))
    z = NormalDist().inv_cdf(0.5 + confidence / 2.0)
    if not np.all(z * errors[:3] < VAGUE):
        return None
    theta = best.x
    return _constants(theta, errors, z), lambda at: curve(theta, at)


def _constants(theta: Floats, errors: Floats, z: float) -> tuple[Interval, Interval, Interval]:
    """Vmax, Km, Ki from their logarithms and the standard deviations of these."""
    low, value, high = (np.exp(theta[:3] + side * z * errors[:3]).tolist() for side in (-1.0, 0.0, 1.0))
    vmax, km, ki = (Interval(*each) for each in zip(value, low, high, ("mol/L/s", "mol/L", "mol/L"), strict=True))
    return vmax, km, ki


def fit_line(x: ArrayLike, y: ArrayLike, sigma: float, confidence: float = 0.95) -> tuple[Interval, Interval]:
    """Slope and intercept (without units) of a straight line through (x, y), y with standard deviation `sigma`.

    Raises
    ------
    ValueError: fewer than two points apart.
    """
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    known = np.isfinite(a) & np.isfinite(b)
    a, b = a[known], b[known]
    if len(a) < 2 or np.ptp(a) == 0.0:
        raise ValueError("a line needs two points apart")
    scale = float(np.abs(a).max())
    columns = np.column_stack([a / scale, np.ones(len(a))])
    found, *_ = np.linalg.lstsq(columns, b, rcond=None)
    errors = sigma * np.sqrt(np.diag(np.linalg.inv(columns.T @ columns)))
    z = NormalDist().inv_cdf(0.5 + confidence / 2.0)
    slope, intercept = (
        Interval(float(v / f), float((v - z * e) / f), float((v + z * e) / f), "")
        for v, e, f in zip(found, errors, (scale, 1.0), strict=True)
    )
    return slope, intercept


def steepest(places: ArrayLike, readings: ArrayLike) -> float:
    """Where, in the order of a scan, neighbouring readings differ most: between the two. NaN with nothing read."""
    x, y = np.asarray(places, dtype=float), np.asarray(readings, dtype=float)
    known = np.isfinite(y)
    x, y = x[known], y[known]
    if len(y) < 2:
        return float("nan")
    k = int(np.argmax(np.abs(np.diff(y))))
    return float(0.5 * (x[k] + x[k + 1]))


def to_rate_zero(rates: Sequence[float], places: Sequence[float], step: float) -> tuple[float, float]:
    """Where a scan would jump if it were endlessly slow, and its standard deviation.

    A scan passes a fold at the rate r and jumps late by a distance that grows as r^(2/3) (Jung, Gray, Roy and Mandel,
    Phys. Rev. Lett. 65, 1873 (1990)). step: between places, which limits how well each is known; where they
    scatter more about that law than by steps, that scatter counts.
    """
    x = np.asarray(rates, dtype=float) ** (2.0 / 3.0)
    y = np.asarray(places, dtype=float)
    columns = np.column_stack([np.ones(len(x)), x / x.max()])
    found, *_ = np.linalg.lstsq(columns, y, rcond=None)
    freedom = len(y) - 2
    scatter = float(np.sum((y - columns @ found) ** 2)) / freedom if freedom > 0 else 0.0
    covariance = np.linalg.inv(columns.T @ columns) * max(step**2 / 12.0, scatter)
    return float(found[0]), float(np.sqrt(covariance[0, 0]))


def gap_at_rest(rates: Sequence[float], gaps: Floats, sigma: float) -> tuple[float, float]:
    """How far up and down scans would differ if they were endlessly slow, and its standard deviation.

    gaps: (n_rates, n_places), up less down, NaN where nothing was read; sigma: of one reading. A lag is as large as
    the scan is fast, a second state is not: the mean over the places goes to rate 0 along a line.
    """
    if gaps.shape[1] == 0 or not np.isfinite(gaps).any(axis=1).all():
        return 0.0, sigma
    r = np.asarray(rates, dtype=float)
    columns = np.column_stack([np.ones(len(r)), r / r.max()])
    found, *_ = np.linalg.lstsq(columns, np.nanmean(gaps, axis=1), rcond=None)
    least = int(np.isfinite(gaps).sum(axis=1).min())
    covariance = np.linalg.inv(columns.T @ columns) * 2.0 * sigma**2 / least
    return float(found[0]), float(np.sqrt(covariance[0, 0]))
