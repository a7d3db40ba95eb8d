"""What Coulomb diamonds and honeycombs say about a dot: lever arms, addition energies, cross-capacitances.

Pure functions of measured maps. Straight edges are found first and fitted together, so that a stray point, noise or a
charge jump costs one edge and not the answer; where there are too few edges the answer is None, never a guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labthermo.quantity import format_quantity

Floats = NDArray[np.float64]

LEVEL = 0.02  # of the largest current: where the blockade counts as lifted
LEAST = 4  # points that make an edge
NEAR = 10.5  # rows, over which a line is followed to find its direction
ENDS = 0.2  # of a piece of line, at each end, that is not fitted
NARROW = 0.25  # of the tallest: what of a diamond's lowest part is left out, where edges bend


@dataclass(frozen=True)
class Estimate:
    """A value and its standard deviation, both in `unit` (empty for a ratio)."""

    value: float
    sigma: float
    unit: str

    def __str__(self) -> str:
        return f"{format_quantity(self.value, self.unit)} ± {format_quantity(self.sigma, self.unit, 2)}"


@dataclass(frozen=True)
class Diamonds:
    """Coulomb diamonds of bias against one gate, the other lead at 0 V.

    rising, falling: slopes of the edges of either sign, V/V, the falling one's without its sign. lever_arm: of the
    gate, eV/V, 1/(1/rising + 1/falling). source_share: C_S/C, lever_arm/rising. other_share: all that is neither gate
    nor source, 1 - lever_arm - source_share: the drain, and what else stands still. period: of the gate, V; addition:
    energy of one more carrier, eV, lever_arm * period, 2 Ec of a metallic island; the two are None where no two
    edges of one family were seen. edges: (gate, bias) of both ends of every edge used.
    """

    rising: Estimate
    falling: Estimate
    lever_arm: Estimate
    source_share: Estimate
    other_share: Estimate
    period: Estimate | None
    addition: Estimate | None
    edges: tuple[tuple[tuple[float, float], tuple[float, float]], ...]


def find_diamonds(gate: ArrayLike, bias: ArrayLike, current: ArrayLike, sigma: float) -> Diamonds | None:
    """Diamond edges of a map of current, and what follows from them; None if there is no pair of edges.

    gate: (n,), V, and bias: (m,), V, ascending, bias through zero; current: (n, m), A, NaN where nothing was read;
    sigma: of one reading, A. An edge is where the current leaves the blockade by 2 % of the largest or six sigma: a
    contour that is parallel to the true edge, so that slopes and periods do not depend on the choice.
    """
    v, u, flow = (np.asarray(a, dtype=float) for a in (gate, bias, current))
    zero = int(np.argmin(np.abs(u)))
    if not (u[0] < 0 < u[-1]) or len(v) < LEAST or not np.isfinite(flow[:, zero]).any():
        return None
    flow = flow - np.nanmedian(flow[:, zero])
    level = max(6.0 * sigma, LEVEL * float(np.nanpercentile(np.abs(flow), 99)))
    up, down = _onset(u, flow, level), -_onset(-u[::-1], -flow[:, ::-1], level)
    # on a fine and noisy grid neighbours go up and down at random, and points further apart show the edges
    strides = [s for s in (1, 2, 3, 5, 8) if s == 1 or len(v) >= 15 * s]
    runs = max(
        ([*_runs(v, up, s), *_runs(v, down, s)] for s in strides), key=lambda found: sum(len(x) for x, _ in found)
    )
    rising = _parallel([run for run in runs if run[1][-1] > run[1][0]])
    falling = _parallel([run for run in runs if run[1][-1] < run[1][0]])
    if rising is None or falling is None:
        return None
    a, b = rising.slope, Estimate(-falling.slope.value, falling.slope.sigma, "")
    alpha = 1.0 / (1.0 / a.value + 1.0 / b.value)
    by_a, by_b = (alpha / a.value) ** 2, (alpha / b.value) ** 2  # d alpha/da, d alpha/db
    lever = Estimate(alpha, float(np.hypot(by_a * a.sigma, by_b * b.sigma)), "eV/V")
    share = alpha / a.value  # b/(a + b)
    source = Estimate(share, share * (1.0 - share) * float(np.hypot(a.sigma / a.value, b.sigma / b.value)), "")
    period = _period([*rising.distances(), *falling.distances()], float(v[1] - v[0]))
    addition = None
    if period is not None:
        relative = np.hypot(lever.sigma / lever.value, period.sigma / period.value)
        addition = Estimate(alpha * period.value, alpha * period.value * float(relative), "eV")
    other = Estimate(1.0 - alpha - share, float(np.hypot(lever.sigma, source.sigma)), "")
    edges = tuple(((float(x[0]), float(y[0])), (float(x[-1]), float(y[-1]))) for x, y in (*rising.runs, *falling.runs))
    return Diamonds(a, b, lever, source, other, period, addition, edges)


def _onset(u: Floats, flow: Floats, level: float) -> Floats:
    """For each row the lowest u > 0 at which the current passes `level` and stays above it, NaN if it never does."""
    start = int(np.searchsorted(u, 0.0, side="right")) - 1
    found = np.full(len(flow), np.nan)
    for row, values in enumerate(flow):
        with np.errstate(invalid="ignore"):
            above = values[start:] > level
        for k in range(1, len(above)):
            if above[k] and not above[k - 1] and (k + 1 == len(above) or above[k + 1]):
                y0, y1 = values[start + k - 1], values[start + k]
                found[row] = u[start + k - 1] + (u[start + k] - u[start + k - 1]) * (level - y0) / (y1 - y0)
                break
    return found


Run = tuple[Floats, Floats]


def _runs(x: Floats, y: Floats, stride: int) -> list[Run]:
    """The straight runs of a zigzag: ascending or descending from every `stride`-th point to the next, off the corners.

    Without the first and last of these points, and without what is low.
    """
    high = NARROW * float(np.nanmax(np.abs(y))) if np.isfinite(y).any() else np.nan
    change = np.diff(y[::stride])
    with np.errstate(invalid="ignore"):
        direction = np.where(np.isfinite(change), np.sign(change), 0.0)
        tall = np.abs(y) > high
    runs: list[Run] = []
    start = 0
    for k in range(1, len(direction) + 1):
        if k == len(direction) or direction[k] != direction[start]:
            inner = np.arange((start + 1) * stride, (k - 1) * stride + 1)
            inner = inner[tall[inner]]
            # an edge leads towards zero bias; what only jitters does not
            if direction[start] != 0 and len(inner) >= LEAST and abs(y[inner[-1]] - y[inner[0]]) > high:
                runs.append((x[inner], y[inner]))
            start = k
    return runs


@dataclass(frozen=True)
class _Parallel:
    """Parallel edges. crossings: where each meets y = 0."""

    slope: Estimate
    runs: list[Run]
    crossings: list[tuple[bool, float]]

    def distances(self) -> list[float]:
        """Between neighbours on the same side of zero bias."""
        found: list[float] = []
        for side in (True, False):
            places = sorted(place for above, place in self.crossings if above is side)
            found += [b - a for a, b in pairwise(places)]
        return found


def _parallel(runs: list[Run]) -> _Parallel | None:
    """One slope for several runs, each with its own intercept; runs and points that do not fit are left out."""
    if not runs:
        return None
    own = np.array([np.polyfit(x, y, 1)[0] for x, y in runs])
    middle = float(np.median(own))
    runs = [run for run, slope in zip(runs, own, strict=True) if abs(slope - middle) <= 0.3 * abs(middle)]
    if not runs:
        return None
    kept = [np.ones(len(x), dtype=bool) for x, _ in runs]
    slope, sigma = middle, 0.0
    for _ in range(4):
        xs = [x[k] - x[k].mean() for (x, _), k in zip(runs, kept, strict=True)]
        ys = [y[k] - y[k].mean() for (_, y), k in zip(runs, kept, strict=True)]
        weight = sum(float(x @ x) for x in xs)
        slope = sum(float(x @ y) for x, y in zip(xs, ys, strict=True)) / weight
        rest = np.concatenate([y - slope * x for x, y in zip(xs, ys, strict=True)])
        freedom = max(1, len(rest) - len(runs) - 1)
        sigma = float(np.sqrt(rest @ rest / freedom / weight))
        limit = 4.0 * 1.4826 * float(np.median(np.abs(rest))) + 1e-12 * float(np.abs(rest).max(initial=0.0))
        for index, (x, y) in enumerate(runs):
            away = np.abs(y - slope * x - np.median((y - slope * x)[kept[index]]))
            chosen = away <= limit
            kept[index] = chosen if chosen.sum() >= LEAST - 1 else kept[index]
    if len(runs) > 1:  # the scatter from edge to edge, if it says more
        each = np.array([np.polyfit(x[k], y[k], 1)[0] for (x, y), k in zip(runs, kept, strict=True)])
        sigma = max(sigma, float(each.std(ddof=1) / np.sqrt(len(each))))
    crossings = [
        (bool(y.mean() > 0), float(np.median(x[k] - y[k] / slope))) for (x, y), k in zip(runs, kept, strict=True)
    ]
    return _Parallel(Estimate(slope, sigma, ""), runs, crossings)


def _period(distances: list[float], pitch: float) -> Estimate | None:
    """The common period of distances that are small multiples of it (an edge may be missing); one alone: +-pitch."""
    if not distances:
        return None
    found = np.array(distances)
    typical = float(np.median(found[found <= 1.5 * np.percentile(found, 25)]))
    folds = np.maximum(1.0, np.round(found / typical))
    each = found / folds
    scatter = float(each.std(ddof=1)) if len(each) > 1 else pitch
    return Estimate(float(np.median(each)), scatter / float(np.sqrt(len(each))), "V")


@dataclass(frozen=True)
class AdditionLines:
    """The addition lines of one dot in the plane of its own gate and the other one.

    cross: lever arm of the other gate over that of its own, the lines' slope (own volts per volt of the other, without
    sign) and, with gates that act by capacitance alone, C_other/C_own. spacing: V of its own gate between lines at a
    fixed charge of the other dot, U/lever arm. mutual: V by which one more carrier in the other dot shifts them,
    Um/lever arm. The last two are None where no two lines, or no two pieces of a line, were seen.
    lines: (own, other) of both ends of every piece, V.
    """

    cross: Estimate
    spacing: Estimate | None
    mutual: Estimate | None
    lines: tuple[tuple[tuple[float, float], tuple[float, float]], ...]


def find_addition_lines(own: ArrayLike, other: ArrayLike, signal: ArrayLike, sigma: float) -> AdditionLines | None:
    """The addition lines of the dot under gate `own` in a honeycomb; None if there is no line.

    own: (n,), other: (m,), V, ascending and evenly spaced; signal: (m, n), of a charge sensor, NaN where nothing was
    read; sigma: of one reading, in its unit. Lines are where the signal steps fastest along `own`; a smooth background
    (gates acting on the sensor itself) does not matter. For the other dot call it with the map transposed.
    """
    x, y, seen = (np.asarray(a, dtype=float) for a in (own, other, signal))
    if len(x) < 5 or len(y) < LEAST:
        return None
    points = _steps(x, y, seen, sigma)
    if len(points) < LEAST:
        return None
    pitch = float(x[1] - x[0])
    row = float(y[1] - y[0])
    ratio = _direction(points, pitch, row)
    pieces: list[Floats] = []
    straight: list[Floats] = []
    for _ in range(3):
        pieces = _pieces(points, ratio, pitch, row)
        if not pieces:
            return None
        straight = [_inner(piece) for piece in pieces]
        ratio = _common_ratio(straight)
    rest = np.concatenate([_away(piece, ratio) for piece in straight])
    freedom = max(1, len(rest) - len(straight) - 1)
    weight = sum(float(np.sum((p[:, 1] - p[:, 1].mean()) ** 2)) for p in straight)
    sigma_ratio = float(np.sqrt(rest @ rest / freedom / weight))
    each = np.array([_common_ratio([p]) for p in straight if len(p) >= LEAST])
    if len(each) > 1:  # the scatter from piece to piece, if it says more
        sigma_ratio = max(sigma_ratio, float(each.std(ddof=1) / np.sqrt(len(each))))
    places = np.array([float(np.median(p[:, 0] + ratio * p[:, 1])) for p in straight])
    reach = [(float(p[:, 1].min()), float(p[:, 1].max())) for p in pieces]
    spacing = _period([step for step, _ in _to_neighbours(places, reach, same=True, most=np.inf)], pitch)
    mutual = None
    if spacing is not None:
        mutual = _shift(_to_neighbours(places, reach, same=False, most=0.6 * spacing.value), sigma_ratio, pitch)
    lines = tuple(
        ((place - ratio * low, low), (place - ratio * high, high))
        for place, (low, high) in zip(places.tolist(), reach, strict=True)
    )
    return AdditionLines(Estimate(ratio, sigma_ratio, ""), spacing, mutual, lines)


def _steps(x: Floats, y: Floats, signal: Floats, sigma: float) -> Floats:
    """Where the signal steps along x, (n, 2) of (x, y), by the extrema of its slope, those of the commoner sign."""
    slope = np.diff(signal, axis=1)
    read = np.isfinite(slope).sum(axis=1) > len(x) // 4
    y, slope = y[read], slope[read]
    if len(y) == 0:
        return np.empty((0, 2))
    slope = slope - np.nanmedian(slope, axis=1, keepdims=True)
    middle = 0.5 * (x[1:] + x[:-1])
    with np.errstate(invalid="ignore"):
        tallest = {s: float(np.nanmedian(np.nanmax(s * slope, axis=1))) for s in (1.0, -1.0)}
    side = max(tallest, key=lambda s: tallest[s])
    least = max(6.0 * np.sqrt(2.0) * sigma, 0.4 * tallest[side])
    found: list[tuple[float, float]] = []
    for row, values in enumerate(side * slope):
        for k in range(1, len(values) - 1):
            before, here, after = values[k - 1 : k + 2]
            if here > least and here >= before and here > after and min(before, after) > 0:
                low, top, high = np.log((before, here, after))  # a parabola through the logarithms: a bell's own place
                shift = 0.5 * (low - high) / (low - 2.0 * top + high)
                found.append((float(middle[k] + shift * (x[1] - x[0])), float(y[row])))
    return np.array(found).reshape(-1, 2)


def _direction(points: Floats, pitch: float, row: float) -> float:
    """The ratio r for which most pairs of points a few rows apart agree in x + r y to half a pitch.

    Pairs from further away would find the honeycomb's own axes, which are not those of its lines.
    """
    few = points if len(points) <= 1500 else points[np.linspace(0, len(points) - 1, 1500).astype(int)]
    step = few[:, None] - few
    ahead = (step[..., 1] > 1.5 * row) & (step[..., 1] < NEAR * row)
    near = ahead & (np.abs(step[..., 0]) < step[..., 1] + row)
    x, y = step[near].T
    ratios = np.linspace(-0.9, 0.9, 361)
    score = [float(np.exp(-0.5 * ((x + r * y) / (0.5 * pitch)) ** 2).sum()) for r in ratios]
    return float(ratios[int(np.argmax(score))])


def _pieces(points: Floats, ratio: float, pitch: float, row: float) -> list[Floats]:
    """Points that lie on one line and next to each other, most populous line first."""
    left = points
    pieces: list[Floats] = []
    while len(left) >= LEAST:
        t = left[:, 0] + ratio * left[:, 1]
        order = np.sort(t)
        first, last = np.searchsorted(order, t - 0.6 * pitch), np.searchsorted(order, t + 0.6 * pitch)
        best = int(np.argmax(last - first))
        on = np.abs(t - np.median(order[first[best] : last[best]])) < 0.6 * pitch
        if on.sum() < LEAST:
            break
        line = left[on][np.argsort(left[on][:, 1])]
        pieces += np.split(line, np.flatnonzero(np.diff(line[:, 1]) > 3.5 * row) + 1)
        left = left[~on]
    fewest = max(LEAST, 0.3 * max((len(p) for p in pieces), default=0))
    return [p for p in pieces if len(p) >= fewest and np.ptp(p[:, 1]) > 0]


def _inner(piece: Floats) -> Floats:
    """A piece without its ends, which bend towards the triple points."""
    cut = int(ENDS * len(piece))
    return piece[cut : len(piece) - cut]


def _common_ratio(pieces: list[Floats]) -> float:
    top = sum(float((p[:, 1] - p[:, 1].mean()) @ (p[:, 0] - p[:, 0].mean())) for p in pieces)
    return -top / sum(float(np.sum((p[:, 1] - p[:, 1].mean()) ** 2)) for p in pieces)


def _away(piece: Floats, ratio: float) -> Floats:
    t = piece[:, 0] + ratio * piece[:, 1]
    return t - t.mean()


def _to_neighbours(
    places: Floats, reach: list[tuple[float, float]], *, same: bool, most: float
) -> list[tuple[float, float]]:
    """(distance, V of `other` between middles) from each piece to the next: beside it (`same`), or following on it."""
    found: list[tuple[float, float]] = []
    for k, (low, high) in enumerate(reach):
        best, apart = np.inf, 0.0
        for m, (other_low, other_high) in enumerate(reach):
            step = float(places[m] - places[k])
            common = (min(high, other_high) - max(low, other_low)) / max(min(high - low, other_high - other_low), 1e-30)
            follows = common < 0.3 and other_low + other_high > low + high
            beside = common > 0.5
            if 0 < step < min(best, most) and (beside if same else follows):
                best, apart = step, 0.5 * (other_low + other_high - low - high)
        if np.isfinite(best):
            found.append((best, apart))
    return found


def _shift(steps: list[tuple[float, float]], sigma_ratio: float, pitch: float) -> Estimate | None:
    """The common shift of pieces that follow on each other, which the lines' slope has a part in."""
    if not steps:
        return None
    found, apart = np.array(steps).T
    scatter = float(found.std(ddof=1)) if len(found) > 1 else pitch
    sigma = float(np.hypot(scatter / np.sqrt(len(found)), apart.mean() * sigma_ratio))
    return Estimate(float(np.median(found)), sigma, "V")
