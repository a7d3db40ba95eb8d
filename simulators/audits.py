"""Thermodynamic audits of a steady state: conservation, dissipation, entropy production, relaxation, detailed balance.

A steady state away from equilibrium dissipates P = sum of I_e A_e over its processes, each current times its affinity,
and produces entropy at the rate sum of P_e/T_e >= 0 (Schnakenberg, Rev. Mod. Phys. 48, 571 (1976)). An edge that
carries charge has the affinity u_a - u_b (V); a reaction -sum nu_i mu_i = R T ln(K prod c_i^-nu_i) (J/mol), K its
equilibrium constant.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulators.conductors import ENZYMES, Conductor, Formula, MassAction, OrderedBiBi
from simulators.network import Network, SteadyState
from simulators.processes import Edge, Flow, Reaction, description, nodes_read

Floats = NDArray[np.float64]

GAS_CONSTANT = 8.31446261815324  # J/(mol K), exact since 2019
ROOM = 298.15  # K
REFERENCE = 1e-3  # mol/L: the concentrations that an equilibrium is looked for near
SETTLED = 1e-3  # of the largest move: what counts as settled unless `within` says otherwise


@dataclass(frozen=True)
class Audit:
    """What a batch of steady states conserves, dissipates and takes; one row per input.

    conservation: (batch,), the largest net flow into any free node over the largest flow of its kind (A or mol/s); 0
        where nothing flows.
    dissipation: (batch,), W: what all processes turn into heat, but for flows of liquid; by_process: (batch,
        n_processes), W. inf where a reaction makes what is absent (0 mol/L).
    entropy: (batch,), W/K: entropy production.
    slowest: (batch,), s, the slowest time constant of small deviations; settling: (batch,), s, from the start until
        settled (nan where it was not followed that far).
    stored: (batch,), J: energy C u^2/2 of the electrical reservoirs, less that of the start.
    energy: (batch,), J, per inference: dissipation x settling time + stored energy.
    reasons: why an array holds nan, and what was left out.

    All but `conservation` are nan in rows that did not settle.
    """

    conservation: Floats
    dissipation: Floats
    by_process: Floats
    entropy: Floats
    slowest: Floats
    settling: Floats
    stored: Floats
    energy: Floats
    reasons: tuple[str, ...]


def audit(
    net: Network,
    state: SteadyState,
    temperature: float | None = None,
    within: float | None = None,
    start: ArrayLike | None = None,
) -> Audit:
    """Audit every row of `state`.

    temperature: K, of the processes whose law states none; by default the one that the other laws state, if they agree,
    else 298.15 K. within: V or mol/L, a node this close counts as settled; by default a thousandth of the largest move
    of any node in the batch. start: where the inference begins, (n_free,) or (batch, n_free), default 0.

    Energies of irreversible laws are unknown: their dissipation, and the totals, are nan. The heat of a Formula between
    potentials is known all the same, I (u_a - u_b), and negative where the formula drives current against its bias.

    Raises
    ------
    ValueError: `temperature` or `within` not above 0.
    """
    if temperature is not None and not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature is {temperature} K; give a finite one above 0 K, or None for that of the laws")
    settled = state.stable
    currents = net.currents(state)
    values = _values(net, state)
    resolved = np.array([net.resolved(row) for row in state.knobs]).reshape(len(values), len(net.parameters))
    kelvin = _temperatures(net, resolved, temperature)
    by_process = np.full(currents.shape, np.nan)
    reasons: list[str] = []
    counted = np.ones(len(net.processes), dtype=bool)
    for p, process in enumerate(net.processes):
        if isinstance(process, Flow):
            counted[p] = False
            reasons.append(f"process {p} ({description(process)}) carries liquid: what mixing dissipates is left out")
            continue
        affinity = _affinity(net, p, values, resolved, kelvin[:, p])
        if isinstance(affinity, str):
            reasons.append(f"process {p} ({description(process)}) {affinity}: dissipation and entropy are nan")
            continue
        with np.errstate(invalid="ignore"):  # a current of 0 against an infinite affinity does nothing
            by_process[:, p] = np.where(currents[:, p] == 0.0, 0.0, currents[:, p] * affinity)
    by_process[~settled] = np.nan
    dissipation = by_process[:, counted].sum(axis=1)
    entropy = (by_process / kelvin)[:, counted].sum(axis=1)
    dissipation[~settled] = entropy[~settled] = np.nan

    slowest = np.where(settled, net.time_constants(state), np.nan) if len(values) else np.zeros(0)
    begin = np.broadcast_to(np.zeros(1) if start is None else np.asarray(start, dtype=float), state.potentials.shape)
    if within is None:
        moved = np.abs(state.potentials - begin)[settled].max(initial=0.0)
        within = SETTLED * float(moved) if moved > 0 else 1.0
    settling = net.settling_time(state, within, begin)
    settling[~settled] = np.nan
    electrical = ~net.concentrations[: len(net.reservoirs)]
    stored = (0.5 * net.capacity * (state.potentials**2 - begin**2))[:, electrical].sum(axis=1)
    stored[~settled] = np.nan
    if not settled.all():
        reasons.append(f"{int((~settled).sum())} of {len(settled)} rows did not settle: they are nan")
    return Audit(
        _conservation(net, state, currents, values), dissipation, by_process, entropy, slowest, settling, stored,
        dissipation * settling + stored, tuple(reasons),
    )  # fmt: skip


def predicted_settling_time(net: Network, state: SteadyState, tolerance: float) -> Floats:
    """Time for a small deviation to shrink to `tolerance` of itself, tau ln(1/tolerance), (batch,), s.

    tau is the slowest time constant; what :meth:`Network.settling_time` follows from afar, this predicts from near.
    inf where a state is not stable.

    Raises
    ------
    ValueError: `tolerance` outside 0..1.
    """
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance is {tolerance}; give a fraction between 0 and 1, such as 0.001")
    return np.where(state.stable, net.time_constants(state) * math.log(1.0 / tolerance), np.inf)


def detailed_balance(net: Network, knobs: ArrayLike | None = None, potential: float = 0.0) -> Floats:
    """Current of every process at equilibrium over its largest driven one, (n_processes,): 0 if physics allows the law.

    At equilibrium all potentials are `potential` (V), and all concentrations such that every reaction rests.
    Equilibrium constants that contradict each other round a cycle (Wegscheider 1901) have no such point: the currents
    at the nearest one show it. Driven: at 32 random potentials and concentrations around equilibrium. 0 where neither
    carries any; nan for flows of liquid, and for reactions whose equilibrium constant is not known or not finite.
    """
    feeds = tuple(net.feeds)
    open_net = Network(net.reservoirs, (*net.terminals, *feeds), net.processes, net.knobs).with_values(
        net.base, net.weights
    )
    row = np.zeros(len(net.knobs)) if knobs is None else np.asarray(knobs, dtype=float)
    resolved = net.resolved(row)
    nodes = _nodes(net)
    chemical = net.concentrations
    equations: list[Floats] = []
    constants: list[float] = []
    known = np.zeros(len(net.processes), dtype=bool)
    for p, process in enumerate(net.processes):
        if isinstance(process, Flow):
            continue
        if isinstance(process, Edge) and not chemical[nodes.index(process.first)]:
            known[p] = True
            continue
        reaction = _reaction(net, p, resolved[None])
        if not isinstance(reaction, str):
            orders, constant = reaction
            equations.append(np.array([orders.get(node, 0.0) for node in nodes]))
            constants.append(math.log(constant[0]))
            known[p] = True
    logs = np.zeros(len(nodes))
    if equations:
        matrix = np.array(equations)
        wanted = np.array(constants) - matrix.sum(axis=1) * math.log(REFERENCE)
        logs = np.linalg.lstsq(matrix, wanted)[0]
    rest = np.where(chemical, REFERENCE * np.exp(logs), potential)

    scale = net.bends_over(row)
    away = np.random.default_rng(0).normal(size=(32, len(nodes)))
    drive = 10.0 ** np.linspace(-0.5, 1.5, 32)[:, None] * (scale if math.isfinite(scale) else 1.0)
    driven = np.where(chemical, rest * np.exp(away), potential + drive * away)
    found = np.abs(open_net.currents(_posed(open_net, np.vstack([rest, driven]), row)))
    largest = found[1:].max(axis=0)
    ratio = np.divide(found[0], largest, out=np.where(found[0] > 0, np.inf, 0.0), where=largest > 0)
    ratio[~known] = np.nan
    return ratio


def _nodes(net: Network) -> tuple[str, ...]:
    return (*net.reservoirs, *net.terminals, *net.feeds)


def _values(net: Network, state: SteadyState) -> Floats:
    """The value of every node, (batch, n_nodes), V or mol/L."""
    feeds = np.tile(np.array(list(net.feeds.values()), dtype=float), (len(state.inputs), 1))
    return np.hstack([state.potentials, state.inputs, feeds])


def _posed(net: Network, values: Floats, knobs: Floats) -> SteadyState:
    """Any values (batch, n_nodes) of a network without feeds, dressed as a state to ask for its currents."""
    batch, n = len(values), len(net.reservoirs)
    zero = np.zeros(batch)
    return SteadyState(
        np.ascontiguousarray(values[:, :n]), np.full(batch, "unsettled"), zero, zero > 0,
        np.ascontiguousarray(values[:, n:]), np.tile(knobs, (batch, 1)), np.zeros((batch, n)), zero, zero,
        np.zeros((batch, n)),
    )  # fmt: skip


def _parameter(net: Network, p: int, field: str, resolved: Floats) -> Floats | None:
    """One parameter of process p at each row of `resolved` (batch, n_parameters), or None if its law has no such."""
    rows = net.parameter_rows(p)
    for column, (_, name, _) in enumerate(net.parameters[rows], start=rows.start):
        if name == field:
            return resolved[:, column]
    return None


def _temperatures(net: Network, resolved: Floats, temperature: float | None) -> Floats:
    """Temperature of every process, (batch, n_processes), K."""
    stated = [_parameter(net, p, "temperature", resolved) for p in range(len(net.processes))]
    if temperature is None:
        every = {float(t) for column in stated if column is not None for t in column}
        temperature = every.pop() if len(every) == 1 else ROOM
    fill = np.full(len(resolved), temperature)
    return np.array([fill if t is None else t for t in stated]).reshape(len(stated), len(resolved)).T


def _affinity(net: Network, p: int, values: Floats, resolved: Floats, kelvin: Floats) -> Floats | str:
    """What drives process p, (batch,), V or J/mol, or why it is not known."""
    process = net.processes[p]
    assert not isinstance(process, Flow)
    nodes = _nodes(net)
    if isinstance(process, Edge) and not net.concentrations[nodes.index(process.first)]:
        return values[:, nodes.index(process.first)] - values[:, nodes.index(process.second)]
    reaction = _reaction(net, p, resolved)
    if isinstance(reaction, str):
        return reaction
    orders, constant = reaction
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(constant)
        for node, nu in orders.items():
            # round-off may leave what is used up a hair below nothing
            logs = logs - nu * np.log(np.maximum(values[:, nodes.index(node)], 0.0))
    return GAS_CONSTANT * kelvin * logs


def _reaction(net: Network, p: int, resolved: Floats) -> tuple[dict[str, float], Floats] | str:
    """(node -> nu, equilibrium constant (batch,)) of what process p makes of what, or why it has no affinity."""
    process = net.processes[p]
    assert not isinstance(process, Flow)
    law = process.law
    made = {process.first: -1.0, process.second: 1.0} if isinstance(process, Edge) else dict(process.stoichiometry)
    if isinstance(law, Formula):
        return "is a Formula, of whose equilibrium nothing is known"
    keq = _parameter(net, p, "keq", resolved)
    forward, reverse = (_parameter(net, p, field, resolved) for field in ("forward", "reverse"))
    if isinstance(law, MassAction) and forward is not None and reverse is not None:
        keq = np.divide(forward, reverse, out=np.full(len(forward), math.inf), where=reverse > 0)
    if keq is None:
        keq = np.ones(len(resolved))  # what conducts between equals rests at equal concentrations
    if not np.all(np.isfinite(keq) & (keq > 0)):
        return "is irreversible"
    balanced = _balanced(law, nodes_read(process))
    if balanced is None:
        return "has a law that reads no product"
    if {n: nu for n, nu in balanced.items() if nu} != {n: nu for n, nu in made.items() if nu}:
        return "has a stoichiometry at which its law is not at rest in equilibrium"
    return made, keq


def _balanced(law: Conductor, reads: tuple[str, ...]) -> dict[str, float] | None:
    """Node -> nu such that the law is at rest where prod c^nu is its equilibrium constant."""
    if isinstance(law, MassAction):
        signs = [-1.0] * law.substrates + [1.0] * (len(reads) - law.substrates)
    elif isinstance(law, OrderedBiBi):
        signs = [-1.0, -1.0, 1.0, 1.0]
    elif isinstance(law, ENZYMES) and len(reads) < 2:
        return None
    else:
        signs = [-1.0, 1.0]
    out: Counter[str] = Counter()
    for node, nu in zip(reads, signs, strict=False):
        out[node] += nu  # type: ignore[assignment]
    return dict(out)


def _conservation(net: Network, state: SteadyState, currents: Floats, values: Floats) -> Floats:
    """Largest net flow into a free node over the largest flow of its kind, (batch,)."""
    n = len(net.reservoirs)
    nodes = _nodes(net)
    chemical = net.concentrations
    largest = np.zeros((2, len(values)))
    for kind in (0, 1):
        of_kind = chemical[:n] == bool(kind)
        largest[kind] = np.abs(state.injected[:, of_kind]).max(axis=1, initial=0.0)
    for p, process in enumerate(net.processes):
        flow = np.abs(currents[:, p])
        kind = 1
        if isinstance(process, Flow):  # what it carries in, and what overflows for it
            held = [
                i for i, node in enumerate(nodes)
                for vessel, clamped in ((process.first, True), (process.second, False))
                if vessel is not None and (node == vessel or node.startswith(f"{vessel}.")) and (clamped or i < n)
            ]  # fmt: skip
            flow = flow * np.abs(values[:, held]).max(axis=1, initial=0.0)
        elif isinstance(process, Reaction):
            flow = flow * max(abs(nu) for nu in process.stoichiometry.values())
        else:
            kind = int(chemical[nodes.index(process.first)])
        largest[kind] = np.maximum(largest[kind], flow)
    excess = np.abs(net.node_currents(state)[:, :n] + state.injected)
    size = np.where(chemical[:n], largest[1][:, None], largest[0][:, None])
    return np.divide(excess, size, out=np.where(excess > 0, np.inf, 0.0), where=size > 0).max(axis=1, initial=0.0)
