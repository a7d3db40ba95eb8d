"""Branches of steady states: hysteresis loops, the states that several starts reach, and the folds where a state ends.

Folds are found by pseudo-arclength continuation (Keller, in Applications of Bifurcation Theory (1977), p. 359): the
branch F(u, p) = 0 in one input p is followed by its arclength, not by p, so it is followed round a fold, where dF/du is
singular, onto its unstable part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg
from scipy.optimize import brentq, minimize_scalar

from simulators.network import Network, SteadyState

Floats = NDArray[np.float64]
End = Literal["span", "closed", "negative", "points", "stuck"]

STEP = 1e-6  # of the span: the difference that dF/dp is taken over; see _Curve.slopes
SHORTEST = 1e-9  # arclength step below which the branch is given up
TURN = 0.15  # rad: how far the branch may turn in one step


@dataclass(frozen=True)
class Hysteresis:
    """A sweep of the inputs and the sweep back, both with their rows in the order of the inputs.

    gap: (batch,), V (mol/L for concentrations): the largest difference of any free node between the two.
    """

    up: SteadyState
    down: SteadyState
    gap: Floats


@dataclass(frozen=True)
class StableStates:
    """The stable states that several starts reached at one input.

    potentials: (n_states, n_free), V or mol/L, in the order in which the starts found them.
    share: (n_states,), the part of the starts that ended there; sums to less than 1 where some did not settle.
    reached: (n_starts,), which state each start reached, -1 where it did not settle.
    """

    potentials: Floats
    share: Floats
    reached: NDArray[np.int64]


@dataclass(frozen=True)
class Branch:
    """One branch of steady states, in the order in which it is passed.

    direction: the input that changes: a terminal (V or mol/L), a knob (its unit) or a reservoir (injected, A or mol/s).
    values: (n_points,), of that input; potentials: (n_points, n_free), V or mol/L; stable: (n_points,), bool (False at
        a fold itself).
    folds: indices of the points that are folds; start: index of the state that it was followed from.
    ended: why the branch ends, at its first and its last point: at the end of the ``span``; ``closed``, back at its
        start; ``negative``, at a concentration below 0; ``points``, as many as were asked for; ``stuck`` where no step
        was short enough (a kink of a tabulated law, or another branch that crosses this one).
    """

    direction: str
    values: Floats
    potentials: Floats
    stable: NDArray[np.bool_]
    folds: NDArray[np.int64]
    start: int
    ended: tuple[End, End]


def hysteresis(
    net: Network,
    inputs: ArrayLike,
    knobs: ArrayLike | None = None,
    start: ArrayLike | None = None,
    injected: ArrayLike | None = None,
) -> Hysteresis:
    """Follow the steady state down the rows of `inputs` from `start`, and back up again from where that ended.

    Arguments as for :meth:`Network.steady_state`; rows of `knobs` and `injected` belong to rows of `inputs`.

    Raises
    ------
    ValueError: fewer than two rows.
    """
    rows = np.array(inputs, dtype=float, ndmin=2)
    if len(rows) < 2:
        raise ValueError(f"inputs have {len(rows)} rows; give at least 2 to sweep over")
    up = net.steady_state(rows, knobs, start, injected, carry=True)
    back = net.steady_state(rows[::-1], up.knobs[::-1], up.potentials[-1], up.injected[::-1], carry=True)
    down = SteadyState(**{name: array[::-1] for name, array in vars(back).items()})
    return Hysteresis(up, down, np.abs(up.potentials - down.potentials).max(axis=1, initial=0.0))


def multistability(
    net: Network,
    inputs: ArrayLike,
    starts: ArrayLike,
    knobs: ArrayLike | None = None,
    injected: ArrayLike | None = None,
    within: float = 1e-6,
) -> list[StableStates]:
    """The distinct stable states that relaxation reaches from `starts` (k, n_free), V or mol/L, one answer per input.

    within: two states are one if each node agrees to this fraction of its size (of the largest potential difference in
    the network, for potentials). States that none of the starts leads to are not found.

    Raises
    ------
    ValueError: `starts` of the wrong shape, or `within` not above 0.
    """
    begin = np.array(starts, dtype=float, ndmin=2)
    if begin.ndim != 2 or begin.shape[1] != len(net.reservoirs) or len(begin) == 0:
        raise ValueError(f"starts have shape {begin.shape}; expected (k, {len(net.reservoirs)}) with k of 1 or more")
    if not within > 0:
        raise ValueError(f"within is {within}; give a fraction above 0, such as 1e-6")
    rows = np.array(inputs, dtype=float, ndmin=2)
    k = len(begin)

    def each(array: ArrayLike | None) -> Floats | None:
        """The array with k rows for each of its own, if it has one for each input."""
        given = None if array is None else np.array(array, dtype=float, ndmin=2)
        return given if given is None or len(given) == 1 else np.repeat(given, k, axis=0)

    found = net.steady_state(
        np.repeat(rows, k, axis=0), each(knobs), np.tile(begin, (len(rows), 1)), each(injected)
    )  # fmt: skip
    out = []
    for b in range(len(rows)):
        part = slice(b * k, (b + 1) * k)
        ends, settled = found.potentials[part], found.stable[part]
        scale = within * _sizes(net, ends[settled], rows[b : b + 1])
        states: list[Floats] = []
        reached = np.full(k, -1, dtype=np.int64)
        for s in np.flatnonzero(settled):
            known = (m for m, state in enumerate(states) if np.all(np.abs(ends[s] - state) <= scale))
            reached[s] = next(known, len(states))
            if reached[s] == len(states):
                states.append(ends[s])
        counts = np.bincount(reached[reached >= 0], minlength=len(states))
        out.append(StableStates(np.array(states).reshape(-1, len(net.reservoirs)), counts / k, reached))
    return out


def folds(
    net: Network,
    state: SteadyState,
    direction: str,
    span: tuple[float, float],
    row: int = 0,
    longest: float = 0.05,
    max_points: int = 2000,
) -> Branch:
    """Follow the branch through one row of `state` both ways while the input `direction` changes, and find its folds.

    direction: a terminal, a knob, or a reservoir whose injected current changes. span: the values between which that
    input is followed, in its unit. longest: the longest step, in units in which the span, and the size of every node,
    are 1. max_points: at most so many points each way.

    Potentials at a fold are good to about 1e-8 of their size, its input to round-off. A pair of folds is found between
    any points where the branch shows signs of turning; where one might hide in less than a step, make `longest`
    smaller. Conserved totals are held. Where another branch crosses (a symmetric network), this one is followed on.

    Raises
    ------
    ValueError: an unknown or ambiguous `direction`, a row that does not exist or is no steady state, a `span` that does
        not hold the state's own input, `longest` outside 0..1.
    """
    low, high = span
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ValueError(f"span is {span}; give two finite values of {direction!r}, the lower one first")
    if not 0 < longest <= 1:
        raise ValueError(f"longest is {longest}; give a step above 0, at most 1 (the whole span)")
    if not 0 <= row < len(state.potentials):
        raise ValueError(f"row is {row}; the state has rows 0 to {len(state.potentials) - 1}")
    curve = _Curve(net, state, row, direction, low, high)
    origin = curve.correct(curve.origin, np.eye(curve.size)[-1], 0.0)
    if origin is None or np.abs(origin - curve.origin).max() > 1e-3:
        raise ValueError(
            f"row {row} of state is no steady state (verdict {state.verdict[row]}): start from one that is settled"
        )
    tangent = curve.tangent(origin, np.eye(curve.size)[-1])
    ahead, last = _follow(curve, origin, tangent, longest, max_points)
    if last == "closed":
        behind, first = [(origin, tangent)], last
    else:
        behind, first = _follow(curve, origin, -tangent, longest, max_points)
    points = [(point, -along) for point, along in behind[:0:-1]] + ahead
    begin = len(behind) - 1
    placed, where, begin = _with_folds(curve, points, begin)
    whole = np.array(placed)
    stable = curve.stable(whole)
    stable[where] = False
    return Branch(
        direction, low + (high - low) * whole[:, -1], whole[:, :-1] * curve.scale, stable,
        np.array(where, dtype=np.int64), begin, (first, last),
    )  # fmt: skip


def fold_distance(branch: Branch) -> tuple[float, float]:
    """How far the input can go down (<= 0) and up (>= 0) from the branch's start before the state ends in a fold.

    In the input's unit; -inf or inf where the branch has no fold that way within its span.
    """
    here = branch.values[branch.start]
    if branch.start in branch.folds:
        return 0.0, 0.0
    before = branch.folds[branch.folds < branch.start]
    after = branch.folds[branch.folds > branch.start]
    if "closed" in branch.ended:  # the start is both ends: what lies before it is met last
        before = after
    down = float(branch.values[before[-1]] - here) if len(before) else -np.inf
    up = float(branch.values[after[0]] - here) if len(after) else np.inf
    return down, up


class _Curve:
    """The curve F(u, p) = 0 in z = (u/scale, (p - low)/(high - low)), with the conserved totals of its origin."""

    def __init__(self, net: Network, state: SteadyState, row: int, direction: str, low: float, high: float) -> None:
        places = [
            (field, names.index(direction))
            for field, names in (
                ("inputs", net.terminals), ("knobs", net.knobs), ("injected", tuple(net.reservoirs)),
            )
            if direction in names
        ]  # fmt: skip
        if len(places) != 1:
            known = ", ".join((*net.terminals, *net.knobs, *net.reservoirs))
            what = "names a node and a knob: rename one" if places else f"is no terminal, knob or reservoir: {known}"
            raise ValueError(f"direction {direction!r} {what}")
        self.net, self.low, self.width = net, low, high - low
        self.field, self.column = places[0]
        self.state = SteadyState(**{name: array[row : row + 1] for name, array in vars(state).items()})
        value = float(getattr(self.state, self.field)[0, self.column])
        if not low <= value <= high:
            raise ValueError(f"span is {low} to {high}; the state has {direction!r} at {value}: let the span hold it")
        self.scale = self._reach(value)
        self.size = len(self.scale) + 1
        self.origin = np.append(self.state.potentials[0] / self.scale, (value - low) / self.width)
        # L, with L dF = 0 whatever the potentials: L C u is conserved
        free = net._layout.stoichiometry[: len(self.scale)].toarray()
        largest = np.abs(free).max(axis=0, initial=0.0)
        free = free[:, largest > 0] / largest[largest > 0]
        laws = linalg.null_space(free.T, rcond=1e-10).T if net._layout.n_moieties else np.zeros((0, len(self.scale)))
        self.laws = laws * net.capacity * self.scale
        self.laws /= np.abs(self.laws).max(axis=1, keepdims=True, initial=0.0)
        self.chemical = net.concentrations[: len(self.scale)]

    def _reach(self, value: float) -> Floats:
        """How large each free node becomes, (n_free,), V or mol/L, seen by sweeping the input from `value` each way."""
        seen, inputs = [self.state.potentials], []
        start = self.state.potentials if self.state.stable[0] else None  # nothing relaxes from an unstable state
        for end in (self.low, self.low + self.width):
            rows = {name: np.repeat(array, 9, axis=0) for name, array in vars(self.state).items()}
            rows[self.field][:, self.column] = np.linspace(value, end, 9)
            found = self.net.steady_state(rows["inputs"], rows["knobs"], start, rows["injected"], carry=True)
            seen.append(found.potentials[found.stable])
            inputs.append(rows["inputs"])
        return _sizes(self.net, np.vstack(seen), np.vstack(inputs))

    def at(self, points: Floats) -> SteadyState:
        """The points (k, size) as states of the network."""
        rows = {name: np.repeat(array, len(points), axis=0) for name, array in vars(self.state).items()}
        rows["potentials"] = points[:, :-1] * self.scale
        rows[self.field][:, self.column] = self.low + self.width * points[:, -1]
        return SteadyState(**rows)

    def flows(self, points: Floats) -> Floats:
        """F at the points (k, size), (k, n_free), A or mol/s."""
        state = self.at(points)
        return self.net.node_currents(state)[:, : len(self.scale)] + state.injected

    def slopes(self, z: Floats) -> tuple[Floats, Floats]:
        """(F with the conserved totals' excess, its derivatives by z), each row divided by its largest derivative.

        dF/dp is a central difference over 2e-6 of the span. It only sets how fast the corrector converges: neither the
        curve nor its folds, which are where dF/du alone is singular, depend on it.
        """
        ends = np.vstack([z, z, z])
        ends[1, -1] += STEP
        ends[2, -1] -= STEP
        here, after, before = self.flows(ends)
        jacobian = self.net.jacobian(self.at(z[None]))[0] * self.scale
        matrix = np.column_stack([jacobian, (after - before) / (2.0 * STEP)])
        size = np.abs(matrix).max(axis=1)
        size[size == 0.0] = 1.0
        totals = self.laws @ (z - self.origin)[:-1]
        return (
            np.concatenate([here / size, totals]),
            np.vstack([matrix / size[:, None], np.column_stack([self.laws, np.zeros(len(self.laws))])]),
        )

    def correct(self, z: Floats, along: Floats, length: float) -> Floats | None:
        """The curve's point with along.(point - z) = length, by Newton's method from z + length*along, or None."""
        point = z + length * along
        previous = np.inf
        for _ in range(12):
            force, matrix = self.slopes(point)
            if not (np.isfinite(force).all() and np.isfinite(matrix).all()):
                return None
            excess = along @ (point - z) - length
            # least squares: with conserved totals there are more equations than unknowns, and all can hold
            step = np.linalg.lstsq(np.vstack([matrix, along]), -np.append(force, excess))[0]
            point = point + step
            moved = float(np.abs(step).max())
            if moved < 1e-10 or (moved < 1e-8 and moved > 0.5 * previous):  # round-off is as far as Newton gets
                return point
            previous = moved
        return None

    def tangent(self, z: Floats, like: Floats) -> Floats:
        """The curve's unit tangent at z, on the side of `like`."""
        tangent = np.linalg.svd(self.slopes(z)[1])[2][-1]
        return tangent if tangent @ like >= 0 else -tangent

    def stable(self, points: Floats) -> NDArray[np.bool_]:
        """Which of the points (k, size) are stable: every relaxation rate decays."""
        if self.size == 1:
            return np.ones(len(points), dtype=bool)
        return self.net.spectrum(self.at(points)).real.max(axis=1, initial=-np.inf) < 0.0


Point = tuple[Floats, Floats]  # on the curve, and its tangent there


def _follow(curve: _Curve, origin: Floats, tangent: Floats, longest: float, max_points: int) -> tuple[list[Point], End]:
    """Points of the curve from `origin` on, the origin included, and why there are no more."""
    points = [(origin, tangent)]
    step = 0.1 * longest
    while len(points) < max_points:
        z, along = points[-1]
        new = curve.correct(z, along, step)
        ahead = along if new is None else curve.tangent(new, along)
        if new is None or along @ ahead < np.cos(2.0 * TURN) or np.linalg.norm(new - z) > 1.5 * step:
            step *= 0.5
            if step < SHORTEST:
                return points, "stuck"
            continue
        if not 0.0 <= new[-1] <= 1.0:  # the last point is on the edge itself
            edge = min(max(new[-1], 0.0), 1.0)
            fixed = np.eye(curve.size)[-1]
            part = (edge - z[-1]) / (new[-1] - z[-1])
            guess = z + part * (new - z)
            guess[-1] = edge
            landed = curve.correct(guess, fixed, 0.0)
            if landed is not None and np.linalg.norm(landed - guess) <= step and part > 0.0:
                points.append((landed, curve.tangent(landed, along)))
            return points, "span"
        if np.any(curve.chemical & (new[:-1] < -1e-9)):
            return points, "negative"
        # back at the origin, which lies within this step and runs the same way
        passed = along @ (origin - z)
        near = np.linalg.norm(origin - z - passed * along) < 0.5 * step
        if len(points) > 3 and 0.0 < passed <= step and near and tangent @ along > 0.9:
            points.append((origin, tangent))
            return points, "closed"
        points.append((new, ahead))
        turned = float(np.arccos(min(along @ ahead, 1.0)))
        step = min(longest, step * min(2.0, max(0.5, TURN / max(turned, 1e-3))))
    return points, "points"


def _with_folds(curve: _Curve, points: list[Point], begin: int) -> tuple[list[Floats], list[int], int]:
    """The points with every fold put in its place, the folds' indices and that of point `begin`.

    At a fold dp/ds changes its sign, s being the arclength. Where |dp/ds| has a minimum at a point, the minimum is
    looked for: between two folds closer than a step dp/ds has the other sign.
    """
    speed = np.array([along[-1] for _, along in points])
    found: dict[int, list[Floats]] = {}  # after which point

    def sought(k: int) -> tuple[Callable[[float], float], Callable[[float], Floats | None]]:
        z, along = points[k]

        def place(length: float) -> Floats | None:
            return curve.correct(z, along, length)

        def dpds(length: float) -> float:
            new = place(length)
            return np.nan if new is None else float(curve.tangent(new, along)[-1])

        return dpds, place

    def fold(k: int, start: float, stop: float) -> None:
        dpds, place = sought(k)
        length = float(brentq(dpds, start, stop, xtol=1e-12))  # type: ignore[arg-type]
        new = place(length)
        if new is not None:
            at = k
            while at + 2 < len(points) and points[k][1] @ (points[at + 1][0] - points[k][0]) < length:
                at += 1
            found.setdefault(at, []).append(new)

    def dips(k: int) -> bool:
        """Whether |dp/ds| is least at point k + 1, and the branch turns enough thereabouts to take it to 0."""
        turns = sum(float(np.linalg.norm(points[i + 1][1] - points[i][1])) for i in (k, k + 1))
        return bool(abs(speed[k]) >= abs(speed[k + 1]) <= abs(speed[k + 2]) and abs(speed[k + 1]) < 2.0 * turns)

    for k in range(len(points) - 1):
        z, along = points[k]
        if speed[k] * speed[k + 1] < 0:
            fold(k, 0.0, float(along @ (points[k + 1][0] - z)))
        elif k + 2 < len(points) and speed[k + 1] * speed[k + 2] > 0 and dips(k):
            dpds, _ = sought(k)
            sign, stop = np.sign(speed[k + 1]), float(along @ (points[k + 2][0] - z))
            # the slope of dp/ds at the bottom is 0: nothing is gained below the square root of round-off
            least = minimize_scalar(
                lambda s, f=dpds, c=sign: c * f(s), bounds=(0.0, stop), method="bounded", options={"xatol": 1e-6 * stop}
            )
            if least.fun < 0:
                fold(k, 0.0, float(least.x))
                fold(k, float(least.x), stop)
    for k in range(len(points)):  # the branch may start at a fold
        if speed[k] == 0.0:
            found.setdefault(k, []).append(points[k][0])
    out: list[Floats] = []
    where: list[int] = []
    start = begin
    for k, (z, along) in enumerate(points):
        if k == begin:
            start = len(out)
        exact = speed[k] == 0.0
        if exact:
            where.append(len(out))
        out.append(z)
        if not exact:
            for new in sorted(found.get(k, []), key=lambda fold, z=z, along=along: float(along @ (fold - z))):
                where.append(len(out))
                out.append(new)
    return out, where, start


def _sizes(net: Network, potentials: Floats, inputs: Floats) -> Floats:
    """What counts as a whole change of each free node, (n_free,), V or mol/L.

    potentials: (k, n_free), inputs: (m, n_terminals), of states that the network takes.
    The largest difference of potential in the network; the largest value of a concentration, at least a thousandth of
    the largest of all.
    """
    n = len(net.reservoirs)
    chemical = net.concentrations
    feeds = np.tile(np.array(list(net.feeds.values()), dtype=float), (len(inputs), 1))
    clamped = np.hstack([inputs, feeds])
    free = np.abs(potentials).max(axis=0, initial=0.0)
    volts = np.concatenate([potentials[:, ~chemical[:n]].ravel(), clamped[:, ~chemical[n:]].ravel()])
    moles = np.concatenate([free[chemical[:n]], np.abs(clamped[:, chemical[n:]]).ravel()]).max(initial=0.0)
    spread = float(volts.max() - volts.min()) if len(volts) else 0.0
    volt, mole = spread if spread > 0 else 1.0, moles if moles > 0 else 1.0
    return np.where(chemical[:n], np.maximum(free, 1e-3 * mole), volt)
