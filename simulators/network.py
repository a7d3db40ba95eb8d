"""A thermodynamic network: free reservoirs and clamped terminals, joined by processes that knobs can shape."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labthermo.safety.signals import shielded
from simulators import conductors, kernels
from simulators.conductors import Conductor, without_ndc
from simulators.processes import Edge, Flow, Process
from simulators.structure import lay_out

Floats = NDArray[np.float64]
VERDICTS = np.array(["settled", "oscillating", "unsettled"])
LN10 = float(np.log(10.0))

# One call of a parallel kernel at a time: not every threading layer of numba stands two.
_PARALLEL = threading.Lock()
_PARALLEL_WORK = 100_000  # rows times processes from which threads pay for their start


def _run(kernel: Callable[..., Any], *arguments: Any) -> Any:
    """Run a compiled kernel. A Ctrl-C waits for its end: numba turns an exception raised inside into a SystemError."""
    with shielded():
        return kernel(*arguments)


@dataclass(frozen=True)
class SteadyState:
    """Where relaxation ended, one row per input.

    potentials: (batch, n_free), V (mol/L for concentrations), in the order of the network's reservoirs; of a limit
        cycle, a point on it.
    verdict: (batch,) of ``settled``, ``oscillating``, ``unsettled``.
    residual: (batch,), A (mol/s): the largest net flow into any free node.
    stable: (batch,), bool: the end state is a stable fixed point (for what is conserved, or cut off from all that could
        move it, at its own total).
    inputs (batch, n_terminals), knobs (batch, n_knobs), injected (batch, n_free): what it is the answer to.
    time: (batch,), s: how far the relaxation was followed before Newton took over; not a settling time.
    period: (batch,), s, and amplitude: (batch, n_free), half of each node's swing, of a limit cycle; nan and 0 else.
    """

    potentials: Floats
    verdict: NDArray[np.str_]
    residual: Floats
    stable: NDArray[np.bool_]
    inputs: Floats
    knobs: Floats
    injected: Floats
    time: Floats
    period: Floats
    amplitude: Floats


@dataclass(frozen=True)
class Gradients:
    """Derivatives of one function, or of several, at a batch of steady states (see :meth:`Network.adjoint`).

    base: (batch, n_parameters), by the base value of each parameter.
    linear: (batch, n_parameters), by the linear form sum(weight*knob) inside each parameter.
    knobs: (batch, n_knobs). inputs: (batch, n_terminals). injected: (batch, n_free).
    With several functions there is one more axis, after the batch.
    """

    base: Floats
    linear: Floats
    knobs: Floats
    inputs: Floats
    injected: Floats


class Network:
    """Reservoirs, terminals, knobs and the processes between them.

    Parameters
    ----------
    reservoirs: free node -> capacitance (F; or volume, L, for a concentration node), > 0. The nodes of a vessel are
        named ``vessel.species``.
    terminals: clamped nodes, in the order of the columns of `inputs`.
    processes: :class:`Edge`, :class:`Flow` and :class:`Reaction`; `edges` takes (first, second, law) tuples as a
        shorthand.
    knobs: names of what a lab can turn, in the order of the columns of `knobs`.
    feeds: nodes clamped at a constant, such as the stock solution on a pump (mol/L): not among the inputs.

    Raises
    ------
    ValueError: an unknown node or knob, a repeated name, a capacitance that is not positive, or a parameter that is
        not finite.

    All arrays are SI, but for volumes (L), concentrations (mol/L) and flows of liquid (L/s); ``inputs`` is (batch,
    n_terminals), ``knobs`` (n_knobs,) or (batch, n_knobs), ``start`` and ``injected`` (n_free,) or (batch, n_free),
    default 0. The answer of :meth:`steady_state` is the stable state that relaxation from `start` reaches (physics.md,
    section 1), so `start` is part of the question.
    """

    def __init__(
        self,
        reservoirs: Mapping[str, float],
        terminals: Sequence[str],
        processes: Sequence[Process] = (),
        knobs: Sequence[str] = (),
        edges: Sequence[tuple[str, str, Conductor]] = (),
        feeds: Mapping[str, float] | None = None,
    ) -> None:
        self.reservoirs = dict(reservoirs)
        self.terminals = tuple(terminals)
        self.knobs = tuple(knobs)
        self.feeds = dict(feeds or {})
        self.processes: tuple[Process, ...] = (*processes, *(Edge(*edge) for edge in edges))
        _check_names("node", (*self.reservoirs, *self.terminals, *self.feeds))
        _check_names("knob", self.knobs)
        for name, capacity in self.reservoirs.items():
            if not (np.isfinite(capacity) and capacity > 0):
                raise ValueError(f"reservoir {name!r} has capacity {capacity}; it must be positive and finite")
        for name, value in self.feeds.items():
            if not np.isfinite(value):
                raise ValueError(f"feed {name!r} is {value}; it must be finite")
        clamped = (*self.terminals, *self.feeds)
        self._layout, self._base, self._weights = lay_out(self.reservoirs, clamped, self.knobs, self.processes)
        self._feeds = np.array(list(self.feeds.values()), dtype=float)
        self._values = self._valued()
        self._bends = self._bending()

    @property
    def parameters(self) -> tuple[tuple[int, str, Any], ...]:
        """(process index, field, index or key within the field, or None) of every parameter, in flat order."""
        return self._layout.names

    @property
    def exponential(self) -> NDArray[np.bool_]:
        """Which parameters move exponentially with their knobs (:class:`Decades`), (n_parameters,)."""
        return self._layout.exponential

    @property
    def base(self) -> Floats:
        """Base value of every parameter, (n_parameters,), a copy."""
        return self._base.copy()

    @property
    def weights(self) -> Floats:
        """Weight of every knob in every parameter, (n_parameters, n_knobs), a copy."""
        return self._weights.copy()

    @property
    def capacity(self) -> Floats:
        """Capacitance (F) or volume (L) of every reservoir, (n_free,), a copy."""
        return np.array(list(self.reservoirs.values()), dtype=float)

    @property
    def concentrations(self) -> NDArray[np.bool_]:
        """Which nodes (reservoirs, terminals, feeds) are concentrations, (n_nodes,)."""
        return self._layout.concentration.copy()

    def with_values(self, base: Floats, weights: Floats) -> Network:
        """The same network with other parameter values (flat arrays as in `base` and `weights`).

        `processes` of the result still shows the values it was built with: the flat arrays are what counts.
        """
        other = object.__new__(Network)
        other.__dict__.update(self.__dict__)
        other.__dict__.pop("_steady_bend", None)
        other._base, other._weights = np.array(base, dtype=float), np.array(weights, dtype=float)
        other._values = other._valued()
        return other

    def with_feeds(self, feeds: Mapping[str, float]) -> Network:
        """The same network with other concentrations (mol/L) of some feeds.

        Raises
        ------
        ValueError: there is no such feed.
        """
        if unknown := feeds.keys() - self.feeds.keys():
            raise ValueError(f"no feed {', '.join(sorted(unknown))}; there are {', '.join(self.feeds) or 'none'}")
        other = object.__new__(Network)
        other.__dict__.update(self.__dict__)
        other.__dict__.pop("_steady_bend", None)
        other.feeds = {**self.feeds, **feeds}
        other._feeds = np.array(list(other.feeds.values()), dtype=float)
        return other

    def without_ndc(self) -> Network:
        """The ablation: the same network, knobs and all, whose conductors cannot show NDC."""
        processes = [p if isinstance(p, Flow) else replace(p, law=without_ndc(p.law)) for p in self.processes]
        return Network(self.reservoirs, self.terminals, processes, self.knobs, feeds=self.feeds)

    def steady_state(
        self,
        inputs: ArrayLike,
        knobs: ArrayLike | None = None,
        start: ArrayLike | None = None,
        injected: ArrayLike | None = None,
        carry: bool = False,
        tolerance: float = 0.1,
        max_steps: int = 4000,
    ) -> SteadyState:
        """Follow the relaxation from `start` to where it ends.

        carry: each row after the first starts where the one before it ended (a sweep), not from `start`.
        tolerance: local error of the relaxation as a fraction of the voltage over which the conductors bend (for a
        concentration, of a fiftieth of its value); only the choice of branch depends on it, the end state is polished
        by Newton to round-off.
        """
        clamped, k, u0, j, batch = self._question(inputs, knobs, start, injected)
        n = len(self.reservoirs)
        potentials, amplitude, verdict = np.empty((batch, n)), np.zeros((batch, n)), np.empty(batch, dtype=np.int64)
        residual, time, period = np.empty(batch), np.empty(batch), np.empty(batch)
        asked = (*self._packed, u0, clamped, k, j, self._natural(k))
        found = (potentials, verdict, residual, time, period, amplitude)
        if carry or batch * (len(self.processes) + n) < _PARALLEL_WORK:
            _run(kernels.steady_states, *asked, carry, tolerance, max_steps, 0, batch, *found)
        else:
            with _PARALLEL:
                _run(kernels.steady_states_parallel, *asked, tolerance, max_steps, min(batch, 64), *found)
        for b in np.flatnonzero(verdict == kernels.UNPROVEN).tolist():
            stable = self._stable_by_eigenvalues(potentials[b], _row(clamped, b), _row(k, b))
            verdict[b] = kernels.SETTLED if stable else kernels.UNSETTLED
        return SteadyState(
            potentials, VERDICTS[verdict], residual, verdict == kernels.SETTLED,
            _rows(clamped, batch)[:, : len(self.terminals)], _rows(k, batch), _rows(j, batch), time, period, amplitude,
        )  # fmt: skip

    def relax(
        self,
        inputs: ArrayLike,
        times: ArrayLike,
        knobs: ArrayLike | None = None,
        start: ArrayLike | None = None,
        injected: ArrayLike | None = None,
        tolerance: float = 1e-6,
    ) -> Floats:
        """Potentials at `times` (s, ascending, >= 0) after `start`, (batch, n_times, n_free)."""
        t = np.atleast_1d(np.asarray(times, dtype=float))
        if not np.all(np.isfinite(t)) or np.any(np.diff(t) < 0) or np.any(t < 0):
            raise ValueError("times must be finite, ascending and not negative")
        clamped, k, u0, j, batch = self._question(inputs, knobs, start, injected)
        return _run(
            kernels.relaxations, *self._packed, u0, clamped, k, j, self._natural(k), tolerance, t,
            batch,
        )  # fmt: skip

    def settling_time(
        self, state: SteadyState, within: float, start: ArrayLike | None = None, tolerance: float = 1e-5
    ) -> Floats:
        """When the relaxation from `start` has come within `within` (V or mol/L) of `state` to stay, (batch,), s.

        Followed for 200 slowest time constants at most; nan where that was not enough, or where nothing settled.
        """
        if not within > 0:
            raise ValueError(f"within is {within}; give a positive difference, V or mol/L")
        clamped, k, u0, j, _ = self._question(state.inputs, state.knobs, start, state.injected)
        slowest = self.time_constants(state)
        horizon = np.where(state.stable & np.isfinite(slowest), 200.0 * np.abs(slowest), 0.0)
        horizon = np.maximum(horizon, np.where(state.stable, 10.0 * state.time, 0.0))
        return _run(
            kernels.settling_times, *self._packed, u0, clamped, k, j, self._natural(k),
            state.potentials, within, horizon, tolerance,
        )  # fmt: skip

    def time_constants(self, state: SteadyState) -> Floats:
        """Slowest time constant of small deviations from `state`, (batch,), s; inf or negative where unstable."""
        if not self.reservoirs:
            return np.zeros(len(state.potentials))
        slowest = self.spectrum(state).real.max(axis=1)
        with np.errstate(divide="ignore"):
            return -1.0 / slowest

    def spectrum(self, state: SteadyState) -> NDArray[np.complex128]:
        """Relaxation rates at `state`: eigenvalues of C^-1 J, (batch, n_free - moieties), 1/s, slowest first.

        Negative real parts decay. The zeros of conserved moieties are left out.
        """
        values = np.linalg.eigvals(self.jacobian(state) / self.capacity[:, None]).astype(np.complex128)
        conserved = self._layout.n_moieties
        if conserved:
            values = np.take_along_axis(values, np.argsort(np.abs(values), axis=1)[:, conserved:], axis=1)
        return np.take_along_axis(values, np.argsort(-values.real, axis=1), axis=1)

    def jacobian(self, state: SteadyState) -> Floats:
        """Derivatives of the net flow into every free node by every free node, (batch, n_free, n_free), A/V or L/s."""
        clamped, k, _, _, _ = self._question(state.inputs, state.knobs, None, None)
        return _run(kernels.jacobians, *self._packed, state.potentials, clamped, k)

    def currents(self, state: SteadyState) -> Floats:
        """Current of every process at `state`, (batch, n_processes): A, positive from first to second node; of a
        reaction mol/s, of a flow L/s."""
        layout = self._layout
        flows = layout.row < 0
        rates = self._rates(state)
        out = rates[:, layout.row] * layout.volume
        if flows.any():
            rows = [first for p, (first, _) in enumerate(self._parameter_spans) if flows[p]]
            out[:, flows] = np.maximum(self._resolve(state.knobs)[:, rows], 0.0)
        return out

    def node_currents(self, state: SteadyState) -> Floats:
        """What the processes bring to every node (reservoirs, terminals, feeds), (batch, n_nodes), A or mol/s.

        What a clamped node gets, its surroundings take away; liquid that overflows is lost to every node.
        """
        return (self._layout.stoichiometry @ self._rates(state).T).T

    def terminal_currents(self, state: SteadyState, terminal: str) -> Floats:
        """Net current out of `terminal` into the network, (batch,), A or mol/s."""
        return -self.node_currents(state)[:, self._node(terminal)]

    def terminal_weights(self, terminal: str) -> Floats:
        """(n_processes,): what one unit of each process's current takes from `terminal` (or a reservoir).

        +1 where an edge takes from it, -1 where it gives; of a reaction, minus the stoichiometry.

        Raises
        ------
        ValueError: no such node, or liquid flows through it (what it carries depends on the concentrations).
        """
        node = self._node(terminal)
        layout = self._layout
        column = layout.stoichiometry[[node]].toarray()[0]
        for p, process in enumerate(self.processes):
            ends = (process.first, process.second) if isinstance(process, Flow) else ()
            if any(end is not None and (terminal == end or terminal.startswith(f"{end}.")) for end in ends):
                raise ValueError(f"process {p} carries liquid through {terminal!r}: use terminal_currents")
        return np.where(layout.row >= 0, -column[layout.row] / layout.volume, 0.0)

    def gradient(self, state: SteadyState, cotangent: ArrayLike) -> dict[tuple[int, str] | str, Floats]:
        """dL/d(parameter base values, knobs, inputs, injected) for dL/d(potentials) = `cotangent` (batch, n_free).

        Keys are (process index, field name) with arrays (batch, ...) shaped like the field, and ``"knobs"``
        (batch, n_knobs), ``"inputs"`` (batch, n_terminals), ``"injected"`` (batch, n_free). A parameter with knobs
        is differentiated by its base value. Adjoint method: one transposed solve (physics.md, section 1).
        """
        flat = self.adjoint(state, cotangent)
        out: dict[tuple[int, str] | str, Floats] = {
            key: flat.base[:, first] if scalar else flat.base[:, first:stop]
            for key, (first, stop, scalar) in self._fields.items()
        }
        out["knobs"], out["inputs"], out["injected"] = flat.knobs, flat.inputs, flat.injected
        return out

    def adjoint(
        self, state: SteadyState, by_node: ArrayLike | None = None, by_current: ArrayLike | None = None
    ) -> Gradients:
        """Derivatives of L = sum(by_node*potentials) + sum(by_current*currents) at `state`, as flat arrays.

        by_node: (batch, n_free) or (n_free,); by_current: (batch, n_processes) or (n_processes,).
        Rows whose verdict is not ``settled`` have no meaningful derivative. Conserved totals are held.
        """
        found = self._pull_back(
            state,
            None if by_node is None else np.atleast_2d(np.asarray(by_node, dtype=float))[:, None, :],
            None if by_current is None else np.atleast_2d(np.asarray(by_current, dtype=float))[:, None, :],
        )
        return Gradients(found.base[:, 0], found.linear[:, 0], found.knobs[:, 0], found.inputs[:, 0],
                         found.injected[:, 0])  # fmt: skip

    def sensitivities(self, state: SteadyState) -> Gradients:
        """Derivatives of every free node by everything: arrays (batch, n_free, ...), as Levenberg-Marquardt needs.

        One factorisation and n_free transposed solves a row.
        """
        return self._pull_back(state, np.eye(len(self.reservoirs))[None], None)

    def parameter_rows(self, process: int) -> slice:
        """Where one process's parameters stand in the flat arrays."""
        first, stop = self._parameter_spans[process]
        return slice(first, stop)

    def resolved(self, knobs: ArrayLike) -> Floats:
        """Every parameter's value at these knobs (n_knobs,), (n_parameters,)."""
        return self._resolve(np.atleast_2d(np.asarray(knobs, dtype=float)))[0]

    def bends_over(self, knobs: ArrayLike | None = None) -> float:
        """Smallest potential difference over which any conductor bends at these knobs ((n_knobs,) or rows), V.

        kT/e of dots, the widths of NDC peaks; inf for resistors and chemistry.
        """
        rows = np.zeros((1, len(self.knobs))) if knobs is None else np.atleast_2d(np.asarray(knobs, dtype=float))
        return self._natural(rows)

    def _natural(self, knobs: Floats) -> float:
        if self._steady_bend is not None:
            return self._steady_bend
        columns, units, always = self._bends
        return min(always, _least(self._resolve(knobs)[:, columns] * units))

    @cached_property
    def _steady_bend(self) -> float | None:
        """What the conductors bend over, V; None where that moves with knobs."""
        columns, units, always = self._bends
        return None if self._weights[columns].any() else min(always, _least(self._base[columns] * units))

    def _bending(self) -> tuple[NDArray[np.int64], Floats, float]:
        """Parameters that set where conductors bend, their units (V), and the smallest that is fixed, V."""
        columns, units, always = [], [], np.inf
        for p, process in enumerate(self.processes):
            if isinstance(process, Flow):
                continue
            always = min(always, conductors.bend(process.law))
            by = conductors.bends_by(process.law)
            if by is not None:
                columns.append(self._fields[p, by[0]][0])
                units.append(by[1])
        return np.array(columns, dtype=np.int64), np.array(units), always

    def overflow(self, knobs: ArrayLike) -> dict[str, float]:
        """Waste flow of every vessel that liquid flows into, L/s, at these knobs (n_knobs,).

        0 where as much or more is passed on as flows in: such a vessel runs dry.
        """
        row = np.atleast_2d(np.asarray(knobs, dtype=float))
        values = _run(kernels.parameters, *self._values, row)[0, len(self._base) :]
        return {vessel: float(q) for (vessel, _, _), q in zip(self._layout.waste, values, strict=True)}

    def inflow(self, knobs: ArrayLike) -> dict[str, float]:
        """All that flows into every vessel, L/s, at these knobs (n_knobs,), make-up flows included."""
        row = np.atleast_2d(np.asarray(knobs, dtype=float))
        values = _run(kernels.parameters, *self._values, row)[0]
        found: dict[str, float] = {}
        for (process, _, _), rate in zip(self._layout.names, values[: len(self._base)], strict=True):
            flow = self.processes[process]
            if isinstance(flow, Flow) and flow.second is not None:
                found[flow.second] = found.get(flow.second, 0.0) + max(0.0, float(rate))
        return found

    @cached_property
    def _parameter_spans(self) -> tuple[tuple[int, int], ...]:
        owners = [process for process, _, _ in self._layout.names]
        stops = np.searchsorted(owners, np.arange(len(self.processes)), side="right")
        starts = np.searchsorted(owners, np.arange(len(self.processes)), side="left")
        return tuple(zip(starts.tolist(), stops.tolist(), strict=True))

    @cached_property
    def _fields(self) -> dict[tuple[int, str], tuple[int, int, bool]]:
        """(process, field) -> (first column, column after the last, whether it is a single number)."""
        out: dict[tuple[int, str], tuple[int, int, bool]] = {}
        for column, (process, name, index) in enumerate(self._layout.names):
            first = out.get((process, name), (column, 0, False))[0]
            out[process, name] = (first, column + 1, index is None)
        return out

    def _node(self, name: str) -> int:
        nodes = (*self.reservoirs, *self.terminals, *self.feeds)
        if name not in nodes:
            raise ValueError(f"{name!r} is no node of this network; it has {', '.join(self.terminals)}")
        return nodes.index(name)

    def _rates(self, state: SteadyState) -> Floats:
        clamped, k, _, _, _ = self._question(state.inputs, state.knobs, None, None)
        return _run(kernels.rates, *self._packed, state.potentials, clamped, k)

    def _pull_back(self, state: SteadyState, by_node: Floats | None, by_current: Floats | None) -> Gradients:
        """Derivatives of k functions: by_node (batch or 1, k, n_free), by_current (batch or 1, k, n_processes)."""
        layout = self._layout
        given = by_node if by_node is not None else by_current
        functions = 1 if given is None else given.shape[1]
        if by_node is None:
            by_node = np.zeros((1, functions, len(self.reservoirs)))
        by_rate = np.zeros((1, functions, layout.n_rows))
        laws = layout.row >= 0
        if by_current is not None:
            by_rate = np.zeros((len(by_current), functions, layout.n_rows))
            by_rate[:, :, layout.row[laws]] = by_current[:, :, laws] * layout.volume[laws]
        clamped, k, _, _, _ = self._question(state.inputs, state.knobs, None, None)
        by_theta, by_clamp, by_injected = _run(
            kernels.adjoints, *self._packed, state.potentials, clamped, k,
            np.ascontiguousarray(by_node), by_rate,
        )  # fmt: skip
        if by_current is not None and not laws.all():
            rows = [first for p, (first, _) in enumerate(self._parameter_spans) if not laws[p]]
            by_theta[:, :, rows] += by_current[:, :, ~laws] * (self._resolve(state.knobs)[:, None, rows] > 0.0)
        by_base = by_linear = by_theta
        if layout.exponential.any():
            # Decades: theta = base 10^lin, so dtheta/dbase = 10^lin and dtheta/dlin = theta ln 10
            linear = (state.knobs @ (self._weights * layout.exponential[:, None]).T)[:, None, :]
            theta = self._resolve(state.knobs)[:, None, :]
            by_base = by_theta * np.where(layout.exponential, 10.0**linear, 1.0)
            by_linear = by_theta * np.where(layout.exponential, theta * LN10, 1.0)
        return Gradients(
            by_base, by_linear, by_linear @ self._weights, by_clamp[:, :, : len(self.terminals)], by_injected
        )

    def _resolve(self, knobs: Floats) -> Floats:
        """Every parameter at these knobs, (batch, n_parameters)."""
        return _run(kernels.parameters, *self._values, np.ascontiguousarray(knobs))[:, : len(self._base)]

    def _valued(self) -> tuple[NDArray[np.int64], Floats]:
        """The parameters as the kernels read them."""
        row, knob = np.nonzero(self._weights)
        flows = [q for _, flows, _ in self._layout.waste for q in flows]
        signs = [sign for _, _, signs in self._layout.waste for sign in signs]
        counts = [len(flows) for _, flows, _ in self._layout.waste]
        integers = {
            "first": np.searchsorted(row, np.arange(len(self._base) + 1)),
            "knob": knob,
            "exponential": self._layout.exponential,
            "waste_first": np.cumsum([0, *counts]),
            "flow": np.array(flows, dtype=np.int64),
        }
        floats = {"base": self._base, "weight": self._weights[row, knob], "sign": np.array(signs, dtype=float)}
        return kernels.pack_values(integers, floats)

    @property
    def _packed(self) -> tuple[NDArray[np.int64], Floats, NDArray[np.int64], Floats]:
        net = self._layout.net
        net[kernels.FLOWS] = kernels.flows_address(self._layout.frequent)
        return net, self._layout.data, *self._values

    def _question(
        self, inputs: ArrayLike, knobs: ArrayLike | None, start: ArrayLike | None, injected: ArrayLike | None
    ) -> tuple[Floats, Floats, Floats, Floats, int]:
        """Clamps (batch, n_clamped), then knobs, start and injected, each (batch or 1, n), and the batch."""
        clamped = np.array(inputs, dtype=float, ndmin=2, order="C")
        batch = len(clamped)
        if clamped.ndim != 2 or clamped.shape[1] != len(self.terminals):
            raise ValueError(f"inputs have shape {clamped.shape}; expected (batch, {len(self.terminals)})")
        rest = []
        n = len(self.reservoirs)
        for name, value, width in (("knobs", knobs, len(self.knobs)), ("start", start, n), ("injected", injected, n)):
            if value is None:
                rest.append(np.zeros((1, width)))
                continue
            array = np.array(value, dtype=float, ndmin=2, order="C")
            if array.ndim != 2 or array.shape[1] != width or len(array) not in {1, batch}:
                shape = np.shape(value)
                raise ValueError(f"{name} have shape {shape}; expected ({width},) or ({batch}, {width})")
            if not np.isfinite(array).all():
                raise ValueError(f"{name} hold a value that is not finite")
            rest.append(array)
        if not np.isfinite(clamped).all():
            raise ValueError("inputs hold a value that is not finite")
        if self.feeds:
            clamped = np.hstack([clamped, np.broadcast_to(self._feeds, (batch, len(self._feeds)))])
        return clamped, rest[0], rest[1], rest[2], batch

    def _stable_by_eigenvalues(self, potentials: Floats, clamped: Floats, knobs: Floats) -> bool:
        """For networks too large for a dense matrix: the rightmost eigenvalue of C^-1 J, by Arnoldi iteration."""
        from scipy import sparse
        from scipy.sparse.linalg import eigs

        values, column, row_first = _run(
            kernels.sparse_jacobian, *self._packed, potentials[None], clamped[None], knobs[None]
        )
        matrix = sparse.csr_array((values, column, row_first))
        capacity = np.empty(len(self.reservoirs))
        capacity[self._layout.order] = self.capacity
        matrix = sparse.csc_array(sparse.diags_array(1.0 / capacity) @ matrix)
        largest = float(abs(matrix.diagonal()).max())
        # nearest to a point far on the unstable side of the slowest rates that can matter
        nearest = eigs(matrix, k=6, sigma=1e-3 * largest, return_eigenvectors=False)
        return bool(np.real(nearest).max() < 0.0)


def _check_names(kind: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{kind} {name!r} appears twice")
        seen.add(name)


def _least(volts: Floats) -> float:
    """The smallest size that is not 0; inf if there is none."""
    sizes = np.abs(volts)
    return float(np.min(sizes, where=sizes > 0.0, initial=np.inf))


def _row(array: Floats, b: int) -> Floats:
    return array[b if len(array) > 1 else 0]


def _rows(array: Floats, batch: int) -> Floats:
    """The array with one row for each of the batch."""
    return array if len(array) == batch else np.repeat(array, batch, axis=0)
