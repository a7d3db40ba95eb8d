"""A network laid out for the kernels: numbers for names, the pattern of its Jacobian, its conservation laws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.sparse.linalg import splu

from simulators import conductors, kernels, laws
from simulators.conductors import Affine, Decades, Parameter
from simulators.processes import Edge, Flow, Process, Reaction, description, nodes_read

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Layout:
    """All of a network that does not depend on its parameters' values.

    net, data: what the kernels read (:func:`simulators.kernels.pack_structure`). order: (n_free,), the kernels' row of
    each free node. concentration: (n_nodes,). n_moieties: how many totals are conserved. n_rows: how many rates there
    are. names: (process, field, index or key within the field, or None) of every parameter. exponential:
    (n_parameters,), which move by :class:`Decades`. row: (n_processes,), the kernels' row of each Edge and Reaction, -1
    for a Flow. volume: (n_processes,), what turns a law's rate into the process's current: 1, and the vessel's volume
    (L) for a Reaction. stoichiometry: (n_nodes, n_rows), what enters each node (free ones, then clamped) per unit of
    each row's rate. waste: (vessel, flows' parameters, signs) of every overflow. frequent: whether all laws are among
    those that the kernels have compiled first.
    """

    net: Integers
    data: Floats
    order: Integers
    concentration: NDArray[np.bool_]
    n_moieties: int
    n_rows: int
    names: tuple[tuple[int, str, Any], ...]
    exponential: NDArray[np.bool_]
    row: Integers
    volume: Floats
    stoichiometry: sparse.csc_array
    waste: tuple[tuple[str, tuple[int, ...], tuple[float, ...]], ...]
    frequent: bool


@dataclass
class _Row:
    """One rate for the kernels: a law, what it reads, what it feeds (per unit of its rate), where its numbers stand."""

    code: int
    reads: tuple[int, ...]
    feeds: dict[int, float]
    parameter: int
    n_parameters: int
    table: int


@dataclass
class _Builder:
    nodes: dict[str, int]
    capacity: Mapping[str, float]
    knobs: dict[str, int]
    rows: list[_Row] = field(default_factory=list)
    names: list[tuple[int, str, Any]] = field(default_factory=list)
    base: list[float] = field(default_factory=list)
    weights: list[Floats] = field(default_factory=list)
    exponential: list[bool] = field(default_factory=list)
    tables: list[float] = field(default_factory=list)

    def parameter(self, process: int, what: str, name: str, index: Any, value: Parameter, infinite: bool) -> None:
        row = np.zeros(len(self.knobs))
        base = value
        if isinstance(value, Affine | Decades):
            base = value.base
            for knob, weight in value.weights.items():
                if knob not in self.knobs:
                    raise ValueError(f"process {process}, {name}: {knob!r} is no knob of this network")
                if not np.isfinite(weight):
                    message = f"process {process}, {name}: the weight of {knob!r} is {weight}; it must be finite"
                    raise ValueError(message)
                row[self.knobs[knob]] = weight
        number = float(base)  # type: ignore[arg-type]
        if not (np.isfinite(number) or (infinite and number == np.inf)):
            raise ValueError(f"process {process} ({what}): {name} is {number}; it must be finite")
        self.names.append((process, name, index))
        self.base.append(number)
        self.weights.append(row)
        self.exponential.append(isinstance(value, Decades))

    def table(self, numbers: Floats) -> int:
        if len(numbers) == 0:
            return -1
        self.tables.extend(float(x) for x in numbers)
        return len(self.tables) - len(numbers)


def lay_out(
    reservoirs: Mapping[str, float], clamped: Sequence[str], knobs: Sequence[str], processes: Sequence[Process]
) -> tuple[Layout, Floats, Floats]:
    """(layout, base value of every parameter, weight of every knob in every parameter (n_parameters, n_knobs)).

    Raises
    ------
    ValueError: a process that names an unknown node or knob, or joins a node to itself; a law that reads another
        number of nodes; a reaction among vessels of different volume; a flow between vessels that do not hold the same
        species; a parameter that is not finite.
    """
    nodes = {name: i for i, name in enumerate((*reservoirs, *clamped))}
    builder = _Builder(nodes, reservoirs, {name: i for i, name in enumerate(knobs)})
    row = np.full(len(processes), -1, dtype=np.int64)
    volume = np.ones(len(processes))
    flows: list[tuple[int, Flow]] = []
    for p, process in enumerate(processes):
        if isinstance(process, Flow):
            what = description(process)
            flows.append((len(builder.base), process))
            builder.parameter(p, what, "rate", None, process.parameter, False)
            _add_flow(builder, p, process, len(builder.base) - 1)
        else:
            row[p] = len(builder.rows)
            volume[p] = _add_law(builder, p, process)
    waste = _add_waste(builder, flows)
    by_law = sorted(range(len(builder.rows)), key=lambda r: builder.rows[r].code)  # rows of one law stand together
    builder.rows = [builder.rows[r] for r in by_law]
    row[row >= 0] = np.argsort(by_law)[row[row >= 0]]
    stoichiometry = _stoichiometry(builder)
    kinds, concentration = _kinds(nodes, processes)
    net, data, order, n_moieties = _packed(
        builder, reservoirs, kinds, concentration, stoichiometry, len(builder.base) + len(waste)
    )
    layout = Layout(
        net=net,
        data=data,
        order=order,
        concentration=concentration,
        n_moieties=n_moieties,
        n_rows=len(builder.rows),
        names=tuple(builder.names),
        exponential=np.array(builder.exponential, dtype=bool),
        row=row,
        volume=volume,
        stoichiometry=stoichiometry,
        waste=waste,
        frequent=all(r.code in laws.FREQUENT for r in builder.rows),
    )
    base = np.array(builder.base, dtype=float)
    return layout, base, np.array(builder.weights, dtype=float).reshape(len(base), len(knobs))


def _add_law(builder: _Builder, p: int, process: Edge | Reaction) -> float:
    what = description(process)
    read = nodes_read(process)
    for node in read:
        if node not in builder.nodes:
            raise ValueError(f"process {p} ({what}) names {node!r}, which is no node")
    if isinstance(process, Edge) and process.first == process.second:
        raise ValueError(f"process {p} joins {process.first!r} to itself")
    fewest, most = conductors.node_count(process.law)
    if not fewest <= len(read) <= most:
        wanted = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        raise ValueError(f"process {p} ({what}): its law reads {wanted} nodes, not {len(read)} ({', '.join(read)})")
    if len(read) > laws.MAX_READS:
        raise ValueError(f"process {p} ({what}) reads {len(read)} nodes; at most {laws.MAX_READS} can be read")
    volume = 1.0
    if isinstance(process, Edge):
        feeds = {process.first: -1.0, process.second: 1.0}
    else:
        volumes = {builder.capacity[node] for node in process.stoichiometry if node in builder.capacity}
        if len(volumes) > 1:
            amounts = ", ".join(f"{v:g} L" for v in sorted(volumes))
            raise ValueError(
                f"process {p} ({what}) reacts across vessels of {amounts}; a reaction stands in one vessel"
            )
        volume = volumes.pop() if volumes else 1.0
        feeds = {node: nu * volume for node, nu in process.stoichiometry.items()}
    first = len(builder.base)
    infinite = conductors.may_be_infinite(process.law)
    for name, index, value in conductors.flat_parameters(process.law):
        builder.parameter(p, what, name, index, value, name in infinite)
    count = len(builder.base) - first
    if count > laws.MAX_PARAMETERS:
        raise ValueError(f"process {p} ({what}) has {count} parameters; at most {laws.MAX_PARAMETERS} are possible")
    builder.rows.append(
        _Row(
            process.law.code,
            tuple(builder.nodes[node] for node in read),
            {builder.nodes[node]: amount for node, amount in feeds.items()},
            first,
            count,
            builder.table(conductors.constants(process.law)),
        )
    )
    return volume


def _species(builder: _Builder, vessel: str | None) -> dict[str, str]:
    """Species -> node of a vessel; a vessel that is itself a node holds one species without a name."""
    if vessel is None:
        return {}
    if vessel in builder.nodes:
        return {"": vessel}
    return {name[len(vessel) + 1 :]: name for name in builder.nodes if name.startswith(f"{vessel}.")}


def _carried(builder: _Builder, donor: str, receiver: str | None, parameter: int) -> None:
    feeds = {builder.nodes[donor]: -1.0}
    if receiver is not None:
        feeds[builder.nodes[receiver]] = 1.0
    builder.rows.append(_Row(laws.CARRY, (builder.nodes[donor],), feeds, parameter, 1, -1))


def _add_flow(builder: _Builder, p: int, flow: Flow, parameter: int) -> None:
    donor, receiver = _species(builder, flow.first), _species(builder, flow.second)
    if flow.first is None and flow.second is None:
        raise ValueError(f"process {p} is a flow from nothing to nothing")
    if flow.first == flow.second:
        raise ValueError(f"process {p} joins {flow.first!r} to itself")
    for vessel, species in ((flow.first, donor), (flow.second, receiver)):
        if vessel is not None and not species:
            message = f"process {p} ({description(flow)}): no node is named {vessel!r} or {vessel + '.'}species"
            raise ValueError(message)
    for name, node in donor.items():
        if flow.second is not None and name not in receiver:
            message = f"process {p} ({description(flow)}) carries {node!r}, for which {flow.second!r} has no node"
            raise ValueError(message)
        _carried(builder, node, receiver.get(name), parameter)


def _add_waste(
    builder: _Builder, flows: Sequence[tuple[int, Flow]]
) -> tuple[tuple[str, tuple[int, ...], tuple[float, ...]], ...]:
    """Overflow rows of every vessel that something flows into."""
    waste = []
    vessels = dict.fromkeys(flow.second for _, flow in flows if flow.second is not None)
    for vessel in vessels:
        held = [node for node in _species(builder, vessel).values() if node in builder.capacity]
        if not held:
            continue
        sums = [(q, 1.0) for q, flow in flows if flow.second == vessel]
        sums += [(q, -1.0) for q, flow in flows if flow.first == vessel]
        for node in held:
            _carried(builder, node, None, len(builder.base) + len(waste))
        waste.append((vessel, tuple(q for q, _ in sums), tuple(sign for _, sign in sums)))
    return tuple(waste)


def _stoichiometry(builder: _Builder) -> sparse.csc_array:
    entries = [(node, r, amount) for r, row in enumerate(builder.rows) for node, amount in row.feeds.items()]
    node, column, amount = (np.array(x) for x in zip(*entries, strict=True)) if entries else ([], [], [])
    return sparse.csc_array(
        (np.asarray(amount, dtype=float), (np.asarray(node, dtype=int), np.asarray(column, dtype=int))),
        shape=(len(builder.nodes), len(builder.rows)),
    )


def _kinds(nodes: Mapping[str, int], processes: Sequence[Process]) -> tuple[Integers, NDArray[np.bool_]]:
    """Of each node, its kind (potentials are kind 0, each species one more) and whether it is a concentration.

    A node is a concentration if a Flow, a Reaction or an enzyme's law touches it, or an Edge joins it to one.
    """
    chemical: set[str] = set()
    pairs = [(p.first, p.second) for p in processes if isinstance(p, Edge)]
    for process in processes:
        if isinstance(process, Flow):
            for vessel in (process.first, process.second):
                chemical |= {n for n in nodes if vessel is not None and (n == vessel or n.startswith(f"{vessel}."))}
        elif isinstance(process, Reaction):
            chemical |= set(nodes_read(process))
        elif isinstance(process.law, conductors.BIOCHEMICAL):
            chemical |= {process.first, process.second}
    grown = bool(chemical)
    while grown:
        grown = False
        for a, b in pairs:
            if (a in chemical) != (b in chemical):
                chemical |= {a, b}
                grown = True
    kinds: dict[str, int] = {}
    kind = np.zeros(len(nodes), dtype=np.int64)
    for name, i in nodes.items():
        if name in chemical:
            kind[i] = kinds.setdefault(name.rsplit(".", 1)[-1], len(kinds) + 1)
    return kind, kind > 0


def _packed(
    builder: _Builder,
    reservoirs: Mapping[str, float],
    kinds: Integers,
    concentration: NDArray[np.bool_],
    stoichiometry: sparse.csc_array,
    n_theta: int,
) -> tuple[Integers, Floats, Integers, int]:
    n = len(reservoirs)
    capacity = np.array(list(reservoirs.values()), dtype=float)
    moieties = _moieties(stoichiometry[:n], capacity)
    touched = [(fed, read) for row in builder.rows for fed in row.feeds if fed < n for read in row.reads if read < n]
    shared = np.sum([law != 0.0 for law in moieties], axis=0)
    dependents = [int(np.flatnonzero((law != 0.0) & (shared == 1))[0]) for law in moieties]
    touched += [(d, int(j)) for d, law in zip(dependents, moieties, strict=True) for j in np.flatnonzero(law)]
    order, row_first, column = _elimination(n, touched)
    rows = np.repeat(np.arange(n), np.diff(row_first))
    where = {(int(i), int(j)): q for q, (i, j) in enumerate(zip(rows, column, strict=True))}
    place = np.concatenate([order, np.arange(n, len(kinds))])  # node -> the kernels' number

    read_first, fed_first, place_first = [0], [0], [0]
    read_node: list[int] = []
    fed_node: list[int] = []
    fed: list[float] = []
    places: list[int] = []
    for row in builder.rows:
        read_node += [int(place[node]) for node in row.reads]
        for node, amount in row.feeds.items():
            if node < n:
                fed_node.append(int(order[node]))
                fed.append(amount)
                places += [where[int(order[node]), int(order[r])] if r < n else -1 for r in row.reads]
        read_first.append(len(read_node))
        fed_first.append(len(fed))
        place_first.append(len(places))
    moiety_first = [0]
    moiety_place: list[int] = []
    moiety: list[float] = []
    for d, law in zip(dependents, moieties, strict=True):
        for j in np.flatnonzero(law):
            moiety_place.append(where[int(order[d]), int(order[j])])
            moiety.append(float(law[j]))
        moiety_first.append(len(moiety))
    by_row = np.empty(n)
    by_row[order] = capacity
    kind, is_concentration = np.empty_like(kinds), np.empty_like(concentration)
    kind[place], is_concentration[place] = kinds, concentration

    sizes = {
        "N_FREE": n,
        "N_NODES": len(kinds),
        "N_ROWS": len(builder.rows),
        "N_ENTRIES": len(column),
        "N_KINDS": int(kinds.max(initial=0)) + 1,
        "N_MOIETIES": len(moieties),
        "n_theta": n_theta,
    }
    whole = {
        "code": [row.code for row in builder.rows],
        "read_first": read_first,
        "read_node": read_node,
        "fed_first": fed_first,
        "fed_node": fed_node,
        "parameter": [row.parameter for row in builder.rows],
        "own": [row.n_parameters for row in builder.rows],
        "table": [row.table for row in builder.rows],
        "place_first": place_first,
        "place": places,
        "row_first": row_first,
        "column": column,
        "diagonal": [where[i, i] for i in range(n)],
        "mirror": [where[int(j), int(i)] for i, j in zip(rows, column, strict=True)],
        "order": order,
        "concentration": is_concentration,
        "kind": kind,
        "moiety_row": [order[d] for d in dependents],
        "moiety_first": moiety_first,
        "moiety_place": moiety_place,
    }
    floats = {"fed": fed, "capacity": by_row, "moiety": moiety, "tables": builder.tables}
    net, data = kernels.pack_structure(
        sizes,
        {name: np.asarray(values, dtype=np.int64) for name, values in whole.items()},
        {name: np.asarray(values, dtype=float) for name, values in floats.items()},
    )
    return net, data, order, len(moieties)


def _elimination(n: int, touched: Sequence[tuple[int, int]]) -> tuple[Integers, Integers, Integers]:
    """Minimum-degree order of the free nodes and the filled pattern in it: (order, row_first, column).

    SuperLU's symmetric mode orders and analyses a matrix of the same, symmetric pattern whose values cannot cancel.
    """
    if n == 0:
        return np.zeros(0, np.int64), np.zeros(1, np.int64), np.zeros(0, np.int64)
    pairs = {(i, j) for i, j in touched if i != j}
    pairs |= {(j, i) for i, j in pairs}
    i, j = (np.array(x) for x in zip(*pairs, strict=True)) if pairs else (np.zeros(0, int), np.zeros(0, int))
    off = sparse.coo_array((np.full(len(i), -1.0), (i, j)), shape=(n, n))
    degree = np.bincount(np.asarray(i, dtype=int), minlength=n)
    matrix = sparse.csc_array(off + sparse.diags_array(degree + 1.0))
    factors = splu(
        matrix,
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True, "Equil": False},
    )
    order = np.asarray(factors.perm_c, dtype=np.int64)
    if not np.array_equal(factors.perm_r, factors.perm_c):
        raise RuntimeError("the symbolic analysis exchanged rows of a diagonally dominant matrix")
    filled = sparse.csr_array(abs(factors.L) + abs(factors.L).T)
    filled.sort_indices()
    return order, np.asarray(filled.indptr, dtype=np.int64), np.asarray(filled.indices, dtype=np.int64)


def _moieties(stoichiometry: Any, capacity: Floats) -> list[Floats]:
    """Conservation laws sum(law*u) = constant: what no process changes, (n_free,) each, in reduced echelon form.

    The left null space of the stoichiometric matrix (Reder, J. Theor. Biol. 135, 175 (1988)), found in each connected
    group of nodes that no process connects to the outside alone; each law has a first node in no other law.
    """
    n = len(capacity)
    matrix = sparse.csc_array(stoichiometry)
    joined = sparse.csr_array(abs(matrix) @ abs(matrix).T)
    _, group = sparse.csgraph.connected_components(joined, directed=False)
    by_row = sparse.csr_array(matrix)
    out: list[Floats] = []
    members: dict[int, list[int]] = {}
    for node, g in enumerate(group):
        members.setdefault(int(g), []).append(node)
    for nodes in members.values():
        block = by_row[nodes].toarray() if len(nodes) <= kernels.MAX_DENSE else None
        if block is None:  # a large network: only the total can be conserved
            totals = np.asarray(by_row[nodes].sum(axis=0)).ravel()
            null = np.ones((1, len(nodes))) if not totals.any() else np.zeros((0, len(nodes)))
        else:
            used = block[:, np.any(block != 0.0, axis=0)]
            used = np.unique(used / np.abs(used).max(axis=0), axis=1) if used.shape[1] else used
            null = _echelon(linalg.null_space(used.T, rcond=1e-10).T) if used.shape[1] else np.eye(len(nodes))
        for law in null:
            whole = np.zeros(n)
            whole[nodes] = law * capacity[nodes]
            out.append(whole / np.abs(whole).max())
    return out


def _echelon(basis: Floats) -> Floats:
    """The same space with a first node that is 1 in one row and 0 in the others; round-off cleared."""
    rows = basis.copy()
    for k in range(len(rows)):
        best = np.unravel_index(np.argmax(np.abs(rows[k:])), rows[k:].shape)
        rows[[k, k + best[0]]] = rows[[k + best[0], k]]
        rows[k] /= rows[k, best[1]]
        for other in range(len(rows)):
            if other != k:
                rows[other] -= rows[other, best[1]] * rows[k]
    rows[np.abs(rows) < 1e-9] = 0.0
    return rows
