"""A thermodynamic network: free reservoirs and clamped terminals, joined by conductors that knobs can shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labthermo.safety.signals import shielded
from simulators import kernels
from simulators.conductors import Affine, Conductor, Decades, flat_parameters, without_ndc

Floats = NDArray[np.float64]
VERDICTS = ("settled", "oscillating", "unsettled")
LN10 = float(np.log(10.0))


def _run(kernel: Callable[..., Any], *arguments: Any) -> Any:
    """Run a compiled kernel. A Ctrl-C waits for its end: numba turns an exception raised inside into a SystemError."""
    with shielded():
        return kernel(*arguments)


@dataclass(frozen=True)
class Edge:
    """A conductor between two nodes; its current counts from `first` to `second`."""

    first: str
    second: str
    law: Conductor


@dataclass(frozen=True)
class SteadyState:
    """Where relaxation ended, one row per input.

    potentials: (batch, n_free), V, in the order of the network's reservoirs.
    verdict: (batch,) of ``settled``, ``oscillating``, ``unsettled``.
    residual: (batch,), A: the largest net current into any free node.
    stable: (batch,), bool: the end state is a stable fixed point.
    inputs (batch, n_terminals), knobs (batch, n_knobs), injected (batch, n_free): what it is the answer to.
    """

    potentials: Floats
    verdict: NDArray[np.str_]
    residual: Floats
    stable: NDArray[np.bool_]
    inputs: Floats
    knobs: Floats
    injected: Floats


@dataclass(frozen=True)
class Gradients:
    """dL/d(everything) at a batch of steady states, in flat arrays (see :meth:`Network.adjoint`).

    base: (batch, n_parameters), by the base value of each parameter.
    linear: (batch, n_parameters), by the linear form sum(weight*knob) inside each parameter.
    knobs: (batch, n_knobs). inputs: (batch, n_terminals). injected: (batch, n_free).
    """

    base: Floats
    linear: Floats
    knobs: Floats
    inputs: Floats
    injected: Floats


@dataclass(frozen=True)
class _Layout:
    """The network flattened for the kernels: who reads what, and where its parameters stand."""

    code: NDArray[np.int64]
    reads: NDArray[np.int64]
    first: NDArray[np.int64]
    stoich_node: NDArray[np.int64]
    stoich: Floats
    names: tuple[tuple[int, str, int | None], ...]
    exponential: NDArray[np.bool_]


class Network:
    """Reservoirs, terminals, knobs and the processes between them.

    Parameters
    ----------
    reservoirs: free node -> capacitance (F; or volume, L, for a concentration node), > 0.
    terminals: clamped nodes, in the order of the columns of `inputs`.
    processes: the conductors, as :class:`Edge`; `edges` takes (first, second, law) tuples as a shorthand.
    knobs: names of what a lab can turn, in the order of the columns of `knobs`.

    Raises
    ------
    ValueError: an unknown node or knob, a repeated name, a capacitance that is not positive, or a parameter that is
        not finite.

    All arrays are SI; ``inputs`` is (batch, n_terminals), ``knobs`` (n_knobs,) or (batch, n_knobs), ``start`` and
    ``injected`` (n_free,) or (batch, n_free), default 0. The answer of :meth:`steady_state` is the stable state that
    relaxation from `start` reaches (physics.md, section 1), so `start` is part of the question.
    """

    def __init__(
        self,
        reservoirs: Mapping[str, float],
        terminals: Sequence[str],
        processes: Sequence[Edge] = (),
        knobs: Sequence[str] = (),
        edges: Sequence[tuple[str, str, Conductor]] = (),
    ) -> None:
        self.reservoirs = dict(reservoirs)
        self.terminals = tuple(terminals)
        self.knobs = tuple(knobs)
        self.processes = (*processes, *(Edge(*edge) for edge in edges))
        nodes = (*self.reservoirs, *self.terminals)
        for kind, names in (("node", nodes), ("knob", self.knobs)):
            for name in names:
                if names.count(name) > 1:
                    raise ValueError(f"{kind} {name!r} appears twice")
        for name, capacity in self.reservoirs.items():
            if not (np.isfinite(capacity) and capacity > 0):
                raise ValueError(f"reservoir {name!r} has capacity {capacity}; it must be positive and finite")
        self._layout, self._base, self._weights = _flatten(self.processes, nodes, self.knobs)
        self._capacity = np.array(list(self.reservoirs.values()), dtype=float)

    @property
    def parameters(self) -> tuple[tuple[int, str, int | None], ...]:
        """(process index, field, index within a tuple or None) of every parameter, in flat order."""
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

    def with_values(self, base: Floats, weights: Floats) -> Network:
        """The same network with other parameter values (flat arrays as in `base` and `weights`).

        `processes` of the result still shows the values it was built with: the flat arrays are what counts.
        """
        other = object.__new__(Network)
        other.__dict__.update(self.__dict__)
        other.__dict__.pop("_natural_scale", None)
        other._base, other._weights = np.array(base, dtype=float), np.array(weights, dtype=float)
        return other

    def without_ndc(self) -> Network:
        """The ablation: the same network, knobs and all, whose conductors cannot show NDC."""
        processes = [replace(p, law=without_ndc(p.law)) for p in self.processes]
        return Network(self.reservoirs, self.terminals, processes, self.knobs)

    def steady_state(
        self,
        inputs: ArrayLike,
        knobs: ArrayLike | None = None,
        start: ArrayLike | None = None,
        injected: ArrayLike | None = None,
        carry: bool = False,
        tolerance: float = 1e-3,
        max_steps: int = 4000,
    ) -> SteadyState:
        """Follow the relaxation from `start` to where it ends.

        carry: each row after the first starts where the one before it ended (a sweep), not from `start`.
        tolerance: local error of the relaxation as a fraction of the network's voltage scale; only the choice of
        branch depends on it, the end state is polished by Newton to round-off.
        """
        clamped, k, u0, j = self._arrays(inputs, knobs, start, injected)
        potentials, verdict, residual, stable = _run(
            kernels.steady_states,
            *self._structure,
            self._capacity,
            u0,
            clamped,
            self._resolve(k),
            j,
            self._scale(clamped, u0),
            carry,
            tolerance,
            max_steps,
        )
        return SteadyState(potentials, np.array(VERDICTS)[verdict], residual, stable, clamped, k, j)

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
        clamped, k, u0, j = self._arrays(inputs, knobs, start, injected)
        return _run(
            kernels.relaxations,
            *self._structure,
            self._capacity,
            u0,
            clamped,
            self._resolve(k),
            j,
            self._scale(clamped, u0),
            tolerance,
            t,
        )

    def time_constants(self, state: SteadyState) -> Floats:
        """Slowest time constant of small deviations from `state`, (batch,), s; inf or negative where unstable."""
        jacobians = _run(
            kernels.jacobians, *self._structure, state.potentials, state.inputs, self._resolve(state.knobs)
        )
        if not self.reservoirs:
            return np.zeros(len(jacobians))
        slowest = np.linalg.eigvals(jacobians / self._capacity[:, None]).real.max(axis=1)
        with np.errstate(divide="ignore"):
            return -1.0 / slowest

    def currents(self, state: SteadyState) -> Floats:
        """Current of every process at `state`, (batch, n_processes), A, positive from first to second node."""
        layout = self._layout
        return _run(
            kernels.rates,
            layout.code,
            layout.reads,
            layout.first,
            state.potentials,
            state.inputs,
            self._resolve(state.knobs),
        )

    def terminal_currents(self, state: SteadyState, terminal: str) -> Floats:
        """Net current out of `terminal` into the network, (batch,), A."""
        return self.currents(state) @ self.terminal_weights(terminal)

    def terminal_weights(self, terminal: str) -> Floats:
        """(n_processes,): +1 where the process takes from `terminal` (or a reservoir), -1 where it gives."""
        if terminal not in self.terminals and terminal not in self.reservoirs:
            raise ValueError(f"{terminal!r} is no node of this network; it has {', '.join(self.terminals)}")
        return np.array([float(p.first == terminal) - float(p.second == terminal) for p in self.processes])

    def gradient(self, state: SteadyState, cotangent: ArrayLike) -> dict[tuple[int, str] | str, Floats]:
        """dL/d(parameter base values, knobs, inputs, injected) for dL/d(potentials) = `cotangent` (batch, n_free).

        Keys are (process index, field name) with arrays (batch, ...) shaped like the field, and ``"knobs"``
        (batch, n_knobs), ``"inputs"`` (batch, n_terminals), ``"injected"`` (batch, n_free). A parameter with knobs
        is differentiated by its base value. Adjoint method: one transposed solve (physics.md, section 1).
        """
        flat = self.adjoint(state, cotangent)
        columns: dict[tuple[int, str], list[int]] = {}
        scalar: set[tuple[int, str]] = set()
        for column, (process, name, index) in enumerate(self._layout.names):
            columns.setdefault((process, name), []).append(column)
            if index is None:
                scalar.add((process, name))
        out: dict[tuple[int, str] | str, Floats] = {
            key: flat.base[:, where[0]] if key in scalar else flat.base[:, where] for key, where in columns.items()
        }
        out["knobs"], out["inputs"], out["injected"] = flat.knobs, flat.inputs, flat.injected
        return out

    def adjoint(
        self, state: SteadyState, by_node: ArrayLike | None = None, by_current: ArrayLike | None = None
    ) -> Gradients:
        """Derivatives of L = sum(by_node*potentials) + sum(by_current*currents) at `state`, as flat arrays.

        by_node: (batch, n_free) or (n_free,); by_current: (batch, n_processes) or (n_processes,).
        Rows whose verdict is not ``settled`` have no meaningful derivative.
        """
        batch, n_free = state.potentials.shape
        n_processes = len(self.processes)
        node = np.broadcast_to(np.zeros(n_free) if by_node is None else np.asarray(by_node, float), (batch, n_free))
        flow = np.broadcast_to(
            np.zeros(n_processes) if by_current is None else np.asarray(by_current, float),
            (batch, n_processes),
        )
        theta = self._resolve(state.knobs)
        g_theta, g_inputs, g_injected = _run(kernels.adjoints,
            *self._structure, state.potentials, state.inputs, theta, state.injected,
            np.ascontiguousarray(node), np.ascontiguousarray(flow),
        )  # fmt: skip
        exponential = self._layout.exponential
        # Decades: theta = base 10^lin, so dtheta/dbase = 10^lin and dtheta/dlin = theta ln 10
        growth = 10.0 ** (state.knobs @ (self._weights * exponential[:, None]).T)
        by_base = g_theta * np.where(exponential, growth, 1.0)
        by_linear = g_theta * np.where(exponential, theta * LN10, 1.0)
        return Gradients(by_base, by_linear, by_linear @ self._weights, g_inputs, g_injected)

    @property
    def _structure(self) -> tuple[Any, Any, Any, Any, Any]:
        layout = self._layout
        return layout.code, layout.reads, layout.first, layout.stoich_node, layout.stoich

    def parameter_rows(self, process: int) -> slice:
        """Where one process's parameters stand in the flat arrays."""
        return slice(int(self._layout.first[process]), int(self._layout.first[process + 1]))

    def resolved(self, knobs: ArrayLike) -> Floats:
        """Every parameter's value at these knobs (n_knobs,), (n_parameters,)."""
        return self._resolve(np.atleast_2d(np.asarray(knobs, dtype=float)))[0]

    def _resolve(self, knobs: Floats) -> Floats:
        """Every parameter at these knobs, (batch, n_parameters)."""
        linear = _run(kernels.linear_forms, knobs, self._weights)
        exponential = self._layout.exponential
        return np.where(exponential, self._base * 10.0 ** np.where(exponential, linear, 0.0), self._base + linear)

    def _arrays(
        self, inputs: ArrayLike, knobs: ArrayLike | None, start: ArrayLike | None, injected: ArrayLike | None
    ) -> tuple[Floats, Floats, Floats, Floats]:
        clamped = np.array(inputs, dtype=float, ndmin=2)
        if clamped.shape[1] != len(self.terminals):
            raise ValueError(f"inputs have shape {clamped.shape}; expected (batch, {len(self.terminals)})")
        rest = []
        for name, value, width in (
            ("knobs", knobs, len(self.knobs)),
            ("start", start, len(self.reservoirs)),
            ("injected", injected, len(self.reservoirs)),
        ):
            array = np.zeros(width) if value is None else np.asarray(value, dtype=float)
            if array.shape not in {(width,), (1, width), (len(clamped), width)}:
                raise ValueError(f"{name} have shape {array.shape}; expected ({width},) or ({len(clamped)}, {width})")
            rest.append(np.ascontiguousarray(np.broadcast_to(array, (len(clamped), width))))
        for name, array in zip(("inputs", "knobs", "start", "injected"), (clamped, *rest), strict=True):
            if not np.all(np.isfinite(array)):
                raise ValueError(f"{name} hold a value that is not finite")
        return clamped, rest[0], rest[1], rest[2]

    @cached_property
    def _natural_scale(self) -> float:
        """Smallest voltage over which any conductor bends (kT/e or the width of an NDC peak); inf if all are linear."""
        scale = np.inf
        for column, (process, name, _) in enumerate(self._layout.names):
            if name == "temperature":
                scale = min(scale, kernels.BOLTZMANN_EV * self._base[column])
            elif name == "width" and self._layout.code[process] == kernels.GAUSSIAN_NDC:
                scale = min(scale, abs(self._base[column]))
        return float(scale)

    def _scale(self, clamped: Floats, start: Floats) -> Floats:
        """(batch,): the voltage that errors are measured against."""
        together = np.concatenate([clamped, start, np.zeros((len(clamped), 1))], axis=1)
        spread = np.ptp(together, axis=1)
        spread = np.where(spread > 0, spread, np.inf)
        scale = np.minimum(spread, self._natural_scale)
        return np.where(np.isfinite(scale), scale, 1.0)


def _flatten(processes: Sequence[Edge], nodes: Sequence[str], knobs: Sequence[str]) -> tuple[_Layout, Floats, Floats]:
    index = {name: i for i, name in enumerate(nodes)}
    column = {name: i for i, name in enumerate(knobs)}
    names: list[tuple[int, str, int | None]] = []
    base: list[float] = []
    weights: list[Floats] = []
    exponential: list[bool] = []
    first = [0]
    reads = np.zeros((len(processes), 2), dtype=np.int64)
    for p, edge in enumerate(processes):
        for side, node in enumerate((edge.first, edge.second)):
            if node not in index:
                raise ValueError(f"process {p} ({edge.first} -> {edge.second}) names {node!r}, which is no node")
            reads[p, side] = index[node]
        if edge.first == edge.second:
            raise ValueError(f"process {p} joins {edge.first!r} to itself")
        for name, position, parameter in flat_parameters(edge.law):
            row = np.zeros(len(knobs))
            if isinstance(parameter, Affine | Decades):
                for knob, weight in parameter.weights.items():
                    if knob not in column:
                        raise ValueError(f"process {p}, {name}: {knob!r} is no knob of this network")
                    if not np.isfinite(weight):
                        raise ValueError(f"process {p}, {name}: the weight of {knob!r} is {weight}; it must be finite")
                    row[column[knob]] = weight
                base.append(float(parameter.base))
            else:
                base.append(float(parameter))
            if not np.isfinite(base[-1]):
                raise ValueError(
                    f"process {p} ({edge.first} -> {edge.second}): {name} is {base[-1]}; it must be finite"
                )
            names.append((p, name, position))
            weights.append(row)
            exponential.append(isinstance(parameter, Decades))
        first.append(len(names))
    layout = _Layout(
        code=np.array([edge.law.code for edge in processes], dtype=np.int64),
        reads=reads,
        first=np.array(first, dtype=np.int64),
        stoich_node=reads.copy(),
        stoich=np.tile([-1.0, 1.0], (len(processes), 1)),
        names=tuple(names),
        exponential=np.array(exponential, dtype=bool),
    )
    return layout, np.array(base, dtype=float), np.array(weights, dtype=float).reshape(len(base), len(knobs))
