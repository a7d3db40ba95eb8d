"""Any quantum dot in sequential tunnelling: the Pauli master equation on charge states, and its table for a network.

H = sum_k eps_k n_k + U_k n_k (n_k - 1)/2 + sum_{k<m} U_km n_k n_m, n_k = 0 ... g_k electrons in level k. A lead adds or
removes one electron at a time (Beenakker, Phys. Rev. B 44, 1646 (1991); with degenerate levels Bonet,
Deshmukh and Ralph, Phys. Rev. B 65, 045317 (2002)), with the golden-rule rates

    n_k -> n_k + 1:  sum_l rate_lk (g_k - n_k) f((D - u_l)/kT_l)
    n_k + 1 -> n_k:  sum_l rate_lk (n_k + 1) [1 - f((D - u_l)/kT_l)],    D = eps_k + U_k n_k + sum_m U_km n_m

where D is the addition energy in eV. The stationary probabilities are the null vector of these rates.

Potentials are u = mu/e in volts (of the carriers), currents in amperes, counted positive out of the lead into the dot.
Valid for hbar*rate << kT and levels that are not coherently coupled: no cotunnelling, no broadening, no tunnelling from
level to level.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from simulators.conductors import Table
from simulators.laws import BOLTZMANN_EV, ELEMENTARY_CHARGE

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MAX_STATES = 4096
SMALLEST_PIVOT = 1e-200  # of the largest rate: what doubles lose below 1e-308 is then lost below 1e-100


@dataclass(frozen=True)
class MasterSolution:
    """The stationary state of a dot; `...` is the shape of the batch.

    currents: (..., n_leads), A, out of each lead into the dot; heats: (..., n_leads), W, out of each lead into the
    dot, of carriers counted from the lead's own potential; occupations: (..., n_levels), mean number of electrons;
    probabilities: (..., n_states), in the order of `Dot.states`.
    """

    currents: Floats
    heats: Floats
    occupations: Floats
    probabilities: Floats


class Dot:
    """A dot: levels, the energies between their electrons, and the leads and gates around them.

    levels: (n_levels,), eV, at zero gates and leads. rates: (n_leads, n_levels), 1/s, >= 0, for one electron into one
    empty state of the level; every level needs a lead. temperature: K, > 0, one number or (n_leads,).
    charging: (n_levels,), eV, U between electrons of one level. mutual: (n_levels, n_levels), eV, symmetric with zero
    diagonal. degeneracy: (n_levels,), >= 1, 2 for spin: the charge states of a degenerate level stand for its
    spin-resolved states, which share one energy and one rate and so are equally probable at equal charge.
    gate_levers: (n_levels, n_gates), eV/V: a positive gate voltage *lowers* a level by lever * V. lead_levers:
    (n_levels, n_leads), eV/V: a lead's potential *raises* it. Left out, energies and levers are zero, degeneracies one.

    Raises ValueError for shapes that do not fit, values out of range, and more than 4096 states. A point
    takes at most n_states**3/3 multiplications: microseconds for 16 states, seconds for 4096.
    """

    def __init__(
        self,
        levels: ArrayLike,
        rates: ArrayLike,
        temperature: ArrayLike,
        *,
        charging: ArrayLike | None = None,
        mutual: ArrayLike | None = None,
        degeneracy: ArrayLike | None = None,
        gate_levers: ArrayLike | None = None,
        lead_levers: ArrayLike | None = None,
    ) -> None:
        self.levels = _array("levels", levels, "eV", (None,))
        n_levels = len(self.levels)
        if n_levels == 0:
            raise ValueError("levels must name at least one level (eV), got none; give a dot one or more levels")
        self.rates = _array("rates", rates, "1/s", (None, n_levels))
        n_leads = len(self.rates)
        if n_leads == 0 or self.rates.min() < 0 or not (self.rates.max(axis=0) > 0).all():
            raise ValueError(
                f"rates must be >= 0 1/s with at least one lead > 0 for every level, got {self.rates.tolist()} 1/s; "
                "leave out a level that no lead reaches: its occupation never changes"
            )
        each = np.full(n_leads, temperature) if np.ndim(temperature) == 0 else temperature
        self.temperature = _array("temperature", each, "K", (n_leads,))
        if self.temperature.min() <= 0:
            raise ValueError(
                f"temperature must be > 0 K, got {self.temperature.tolist()} K; for the limit of zero give a small one"
            )
        zeros = np.zeros(n_levels)
        self.charging = _array("charging", zeros if charging is None else charging, "eV", (n_levels,))
        pairs = np.zeros((n_levels, n_levels)) if mutual is None else mutual
        self.mutual = _array("mutual", pairs, "eV", (n_levels, n_levels))
        if not np.array_equal(self.mutual, self.mutual.T) or np.diag(self.mutual).any():
            raise ValueError(
                f"mutual must be symmetric with zero diagonal, got {self.mutual.tolist()} eV; the energy between "
                "electrons of the same level is `charging`"
            )
        counts = _array("degeneracy", np.ones(n_levels) if degeneracy is None else degeneracy, "states", (n_levels,))
        if (counts < 1).any() or (counts != np.floor(counts)).any():
            raise ValueError(
                f"degeneracy must be whole numbers >= 1, got {counts.tolist()}; 1 is a spinless level, 2 a spinful one"
            )
        n_states = math.prod(int(count) + 1 for count in counts)
        if n_states > MAX_STATES:
            raise ValueError(
                f"degeneracy and levels give {n_states} charge states, the limit is {MAX_STATES}; leave out levels far "
                "from the leads' potentials, or join equal ones into one degenerate level"
            )
        self.degeneracy: Integers = counts.astype(np.int64)
        levers = np.zeros((n_levels, 0)) if gate_levers is None else gate_levers
        self.gate_levers = _array("gate_levers", levers, "eV/V", (n_levels, None))
        levers = np.zeros((n_levels, n_leads)) if lead_levers is None else lead_levers
        self.lead_levers = _array("lead_levers", levers, "eV/V", (n_levels, n_leads))

    @cached_property
    def states(self) -> Integers:
        """Occupation numbers of the charge states, (n_states, n_levels); the last level counts fastest."""
        return np.array(list(np.ndindex(*(self.degeneracy + 1))), dtype=np.int64).reshape(-1, len(self.levels))

    @cached_property
    def _transitions(self) -> tuple[Integers, Floats]:
        """Every addition of one electron.

        (n, 3): state before, state after, level. (n, 3): addition energy without eps_k (eV), number of empty states
        of the level before, number of its electrons after.
        """
        strides = np.append(np.cumprod((self.degeneracy + 1)[:0:-1])[::-1], 1)
        ends, numbers = [], []
        for k, stride in enumerate(strides):
            before = np.flatnonzero(self.states[:, k] < self.degeneracy[k])
            n = self.states[before, k]
            energy = self.charging[k] * n + self.states[before] @ self.mutual[k]
            ends.append(np.column_stack((before, before + stride, np.full_like(before, k))))
            numbers.append(np.column_stack((energy, self.degeneracy[k] - n, n + 1)))
        return np.concatenate(ends).astype(np.int64), np.concatenate(numbers).astype(np.float64)

    def solve(self, potentials: ArrayLike, gates: ArrayLike | None = None) -> MasterSolution:
        """The stationary state at every point of a batch.

        potentials: (..., n_leads), V. gates: (..., n_gates), V, zero if left out. The batch shapes are broadcast.
        At equal potentials and temperatures the probabilities are the Gibbs distribution and no current flows.
        Currents are exact to rounding, which is 1e-16 of the largest rate times the largest energy over kT. The answer
        is right at any temperature: where products of Fermi functions leave the range of a double, the point is solved
        in logarithms, which is slower. Raises ValueError for shapes that do not fit and numbers that are not finite.
        """
        n_leads, n_gates = len(self.rates), self.gate_levers.shape[1]
        u = _points("potentials", potentials, n_leads)
        v = _points("gates", np.zeros(n_gates) if gates is None else gates, n_gates)
        try:
            shape = np.broadcast_shapes(u.shape[:-1], v.shape[:-1])
        except ValueError:
            raise ValueError(
                f"potentials {u.shape} V and gates {v.shape} V must have batch shapes that broadcast; give both the "
                "same shape but for the last axis"
            ) from None
        shifted = np.broadcast_to(
            self.levels - v @ self.gate_levers.T + u @ self.lead_levers.T, (*shape, len(self.levels))
        )
        ends, numbers = self._transitions
        currents, heats, probabilities = _solve(
            np.ascontiguousarray(shifted).reshape(-1, len(self.levels)),
            np.ascontiguousarray(np.broadcast_to(u, (*shape, n_leads))).reshape(-1, n_leads),
            BOLTZMANN_EV * self.temperature,
            self.rates,
            ends,
            numbers,
            len(self.states),
        )
        return MasterSolution(
            currents.reshape(*shape, n_leads),
            heats.reshape(*shape, n_leads),
            (probabilities @ self.states).reshape(*shape, len(self.levels)),
            probabilities.reshape(*shape, len(self.states)),
        )

    def stability_diagram(
        self, x: ArrayLike, y: ArrayLike, along_x: ArrayLike, along_y: ArrayLike, origin: ArrayLike | None = None
    ) -> MasterSolution:
        """The dot over two axes, each a direction in the space of leads and gates; results are (len(y), len(x), ...).

        x, y: V. along_x, along_y: (n_leads + n_gates,), by how much each lead and then each gate moves per volt of
        the axis: for two leads and two gates (0, 0, 1, 0) is the first gate, (.5, -.5, 0, 0) a symmetric bias and
        (0, 0, 1, -1) a detuning. origin: (n_leads + n_gates,), V, where x = y = 0; zero if left out.
        """
        n_leads = len(self.rates)
        total = n_leads + self.gate_levers.shape[1]
        one, two = _array("along_x", along_x, "V/V", (total,)), _array("along_y", along_y, "V/V", (total,))
        start = _array("origin", np.zeros(total) if origin is None else origin, "V", (total,))
        columns, rows = _array("x", x, "V", (None,)), _array("y", y, "V", (None,))
        points = start + columns[None, :, None] * one + rows[:, None, None] * two
        return self.solve(points[..., :n_leads], points[..., n_leads:])


@dataclass(frozen=True)
class Deviation:
    """How far a table is from its master equation: measured at 16 points of every cell, not proven.

    absolute: A. relative: to the largest current in the table.
    """

    absolute: float
    relative: float


def tabulate(
    dot: Dot, span: tuple[float, float], points: int = 101, gates: ArrayLike | None = None
) -> tuple[Table, Deviation]:
    """A dot between two nodes as a conductor of a network, and how far its currents are from `dot.solve`.

    span: V, the lowest and the highest potential of both nodes. points: >= 2 per axis; a step of kT/4e errs by about
    1e-3 of the largest current, and the error falls as the square of the step. gates: (n_gates,), V, where they stand.
    A gate that moves all levels together can be given to the table afterwards, as `level=Affine(0.0, {knob: -lever})`.
    Lead levers that all levels share become the table's `lead_levers`, and the span is then that of u - level shift;
    others are tabulated as they are, which is right as long as the table's own level is not moved.

    The first lead is the edge's first node. The table is linear on triangles with one side along u_a = u_b, where it
    is exactly zero, and between grid points no slope has a sign that the grid's own differences do not have.

    Raises ValueError unless the dot has two leads of one temperature (else current flows at equal potentials), or for
    a span or number of points out of range.
    """
    low, high = float(span[0]), float(span[1])
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(
            f"span must be (lowest, highest) with lowest < highest, got ({low}, {high}) V; swap or widen it"
        )
    if points < 2:
        raise ValueError(f"points must be >= 2 per axis, got {points}; a step of kT/4e errs by about 1e-3")
    if len(dot.rates) != 2:
        raise ValueError(f"rates must be those of 2 leads for a conductor of two nodes, got {len(dot.rates)} leads")
    if dot.temperature[0] != dot.temperature[1]:
        raise ValueError(
            f"temperature must be the same in both leads, got {dot.temperature.tolist()} K: a conductor of a network "
            "carries no current at equal potentials; use Dot.solve for thermoelectric currents"
        )
    lead_levers = (0.0, 0.0)
    if (dot.lead_levers == dot.lead_levers[0]).all():
        lead_levers = (float(dot.lead_levers[0, 0]), float(dot.lead_levers[0, 1]))
        dot = Dot(
            dot.levels,
            dot.rates,
            dot.temperature,
            charging=dot.charging,
            mutual=dot.mutual,
            degeneracy=dot.degeneracy,
            gate_levers=dot.gate_levers,
        )
    quarters = 4 * (points - 1) + 1
    exact = _square(dot, np.linspace(low, high, quarters), gates)
    currents = exact[::4, ::4].copy()
    worst = float(np.abs(_between(currents) - exact).max())
    largest = float(np.abs(currents).max())
    rows = tuple(tuple(row) for row in currents.tolist())
    table = Table(tuple(np.linspace(low, high, points).tolist()), rows, lead_levers=lead_levers)
    return table, Deviation(worst, worst / largest if largest > 0 else 0.0)


def _square(dot: Dot, grid: Floats, gates: ArrayLike | None) -> Floats:
    """Currents out of the first lead, (n, n) over (u_a, u_b), A.

    Between leads of one temperature no current flows against its bias: what rounding says otherwise is zero.
    """
    potentials = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1)
    currents = dot.solve(potentials, gates).currents[..., 0]
    return np.where(currents * np.sign(grid[:, None] - grid) > 0, currents, 0.0)


def _between(currents: Floats) -> Floats:
    """The table of (n, n) on a grid four times as fine, linear on triangles split along (1, 1)."""
    n = 4 * (len(currents) - 1) + 1
    at = np.minimum(np.arange(n) // 4, len(currents) - 2)
    fraction = (np.arange(n) - 4 * at) / 4
    i, j = at[:, None], at[None, :]
    x, y = fraction[:, None], fraction[None, :]
    corner, far = currents[i, j], currents[i + 1, j + 1]
    below = corner + x * (currents[i + 1, j] - corner) + y * (far - currents[i + 1, j])
    above = corner + y * (currents[i, j + 1] - corner) + x * (far - currents[i, j + 1])
    return np.where(x >= y, below, above)


def _array(name: str, values: ArrayLike, unit: str, shape: tuple[int | None, ...]) -> Floats:
    """A read-only array of finite numbers with this shape (None: any length). Raises ValueError."""
    array = np.array(values, dtype=np.float64)
    if array.ndim != len(shape) or any(n is not None and n != m for n, m in zip(shape, array.shape, strict=True)):
        expected = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
        raise ValueError(f"{name} must have the shape {expected}, got {array.shape} ({unit}); see Dot for the axes")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {array.tolist()} {unit}; leave out what is infinitely far")
    array.flags.writeable = False
    return array


def _points(name: str, values: ArrayLike, n: int) -> Floats:
    """(..., n) finite volts. Raises ValueError."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0 or array.shape[-1] != n:
        raise ValueError(
            f"{name} must have the shape (..., {n}), got {array.shape} (V); put the {name} on the last axis"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {array[~np.isfinite(array)][0]} V; check what computes them")
    return array


@njit(cache=True)
def _fermi(x):
    """f = 1/(1+exp(x)) and 1-f, both accurate, without overflow."""
    z = math.exp(-abs(x))
    if x >= 0.0:
        return z / (1.0 + z), 1.0 / (1.0 + z)
    return 1.0 / (1.0 + z), z / (1.0 + z)


@njit(cache=True)
def _log_fermi(x):
    """ln f and ln(1-f), f = 1/(1+exp(x))"""
    rest = math.log1p(math.exp(-abs(x)))
    return -max(x, 0.0) - rest, min(x, 0.0) - rest


@njit(cache=True)
def _log_add(a, b):
    """ln(exp(a) + exp(b))"""
    if a < b:
        a, b = b, a
    if b == -np.inf:
        return a
    return a + math.log1p(math.exp(b - a))


@njit(cache=True)
def _null_vector(q, p):
    """Stationary probabilities p of the rates q[i, j] from i to j (largest about 1); q is overwritten.

    State reduction of Grassmann, Taksar and Heyman, Oper. Res. 33, 1107 (1985): the last state n is taken out,
    q_ij += q_in q_nj / sum_{k<n} q_nk, until one is left. There is no subtraction and the diagonal is not read, so
    every p_i is accurate relative to itself. False, and no answer, if a state's way out is below SMALLEST_PIVOT.
    """
    n_states = len(p)
    for n in range(n_states - 1, 0, -1):
        way_out = 0.0
        for j in range(n):
            way_out += q[n, j]
        if way_out < SMALLEST_PIVOT:
            return False
        for i in range(n):
            if q[i, n] > 0.0:
                share = q[i, n] / way_out
                q[i, n] = share
                for j in range(n):
                    q[i, j] += share * q[n, j]
    p[0] = 1.0
    total = 1.0
    for n in range(1, n_states):
        p[n] = 0.0
        for i in range(n):
            p[n] += p[i] * q[i, n]
        total += p[n]
    for n in range(n_states):
        p[n] /= total
    return math.isfinite(total)


@njit(cache=True)
def _null_vector_of_logs(q, p):
    """The same reduction with q[i, j] the logarithms of the rates (-inf: none); p is filled with probabilities.

    Every transition has a rate both ways, however small, so there is always a way out and one answer.
    """
    n_states = len(p)
    for n in range(n_states - 1, 0, -1):
        way_out = -np.inf
        for j in range(n):
            way_out = _log_add(way_out, q[n, j])
        for i in range(n):
            if q[i, n] > -np.inf:
                q[i, n] -= way_out
                for j in range(n):
                    if q[n, j] > -np.inf:
                        q[i, j] = _log_add(q[i, j], q[i, n] + q[n, j])
    p[0] = 0.0
    total = 0.0
    for n in range(1, n_states):
        p[n] = -np.inf
        for i in range(n):
            p[n] = _log_add(p[n], p[i] + q[i, n])
        total = _log_add(total, p[n])
    for n in range(n_states):
        p[n] = math.exp(p[n] - total)


@njit(cache=True)
def _solve(levels, potentials, kt, rates, ends, numbers, n_states):
    """Currents (batch, n_leads) in A, heats (batch, n_leads) in W, probabilities (batch, n_states).

    levels: (batch, n_levels), eV; potentials: (batch, n_leads), V; kt: (n_leads,), eV; rates: (n_leads, n_levels);
    ends, numbers: `Dot._transitions`.
    """
    batch, n_leads = potentials.shape
    currents = np.zeros((batch, n_leads))
    heats = np.zeros((batch, n_leads))
    probabilities = np.empty((batch, n_states))
    q = np.empty((n_states, n_states))
    into = np.empty((len(ends), n_leads))
    out = np.empty((len(ends), n_leads))
    largest = rates.max()
    for b in range(batch):
        p = probabilities[b]
        q[:] = 0.0
        for t in range(len(ends)):
            before, after, k = ends[t]
            for lead in range(n_leads):
                f, e = _fermi((levels[b, k] + numbers[t, 0] - potentials[b, lead]) / kt[lead])
                into[t, lead] = rates[lead, k] / largest * numbers[t, 1] * f
                out[t, lead] = rates[lead, k] / largest * numbers[t, 2] * e
                q[before, after] += into[t, lead]
                q[after, before] += out[t, lead]
        if not _null_vector(q, p):
            q[:] = -np.inf
            for t in range(len(ends)):
                before, after, k = ends[t]
                for lead in range(n_leads):
                    if rates[lead, k] > 0.0:
                        f, e = _log_fermi((levels[b, k] + numbers[t, 0] - potentials[b, lead]) / kt[lead])
                        rate = math.log(rates[lead, k] / largest)
                        q[before, after] = _log_add(q[before, after], rate + math.log(numbers[t, 1]) + f)
                        q[after, before] = _log_add(q[after, before], rate + math.log(numbers[t, 2]) + e)
            _null_vector_of_logs(q, p)
        for t in range(len(ends)):
            before, after, k = ends[t]
            for lead in range(n_leads):
                # I_l = e sum (in - out); each electron brings the heat D - u_l from its lead
                flow = ELEMENTARY_CHARGE * largest * (p[before] * into[t, lead] - p[after] * out[t, lead])
                currents[b, lead] += flow
                heats[b, lead] += flow * (levels[b, k] + numbers[t, 0] - potentials[b, lead])
    return currents, heats, probabilities
