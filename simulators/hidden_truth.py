"""The simulated sample itself: what `wire` and `model` hide, and a twin has to find out.

The design, off by `mismatch` in its own parameters (:class:`simulators.mismatch.Mismatch`), and then what no design
has: crosstalk of gates, levels that follow the leads, warmer electrons, spin, a parasitic resistance, cut edges, charge
jumps, enzymes that have lost activity.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from labthermo.config import StationConfig
from labthermo.yaml_file import Keys, suggest
from simulators.conductors import Affine, BlockingLevel, Formula, Linear, MassAction, Parameter, flat_parameters
from simulators.laws import BOLTZMANN_EV, ELEMENTARY_CHARGE
from simulators.mismatch import Mismatch, crosstalk_matrix, neighbours
from simulators.network import Network
from simulators.processes import Edge, Flow, Reaction
from simulators.sample import Sample

Floats = NDArray[np.float64]

REFERENCE = 298.15  # K: at which the constants of a device file hold
GAS = 8.314462618  # J/(mol K)
# what an enzyme's rate is proportional to, all together (of OrderedBiBi: numerator of fourth order, denominator third)
ACTIVITY = ("vmax", "k1", "k1r", "k2", "k2r", "k3", "k4", "k4r")
RATES = (*ACTIVITY, "forward", "reverse")  # of reactions
CONDUCTING = (
    "conductance",
    "leak",
    "gamma_left",
    "gamma_right",
    "coupling",
    "rate",
    *RATES,
)  # a current goes with them
CUT = 1e-9  # what is left of them where an edge is knocked out: a law still needs a number


class HiddenTruth:
    """The network of one simulated sample, query by query.

    Everything is drawn from the station's simulation seed; an effect that is not asked for changes no draw.
    control: the NDC-off sample, whose levels share their rates.

    Raises
    ------
    StationFileError: `simulation.hidden` names a process that the device file does not have, or asks for crosstalk
        where the device file does not say which gates are neighbours.
    """

    def __init__(self, sample: Sample, config: StationConfig, control: bool = False) -> None:
        for keys, complaint in _complaints(sample, config):
            raise config.error(("simulation", "hidden", *keys), complaint)
        warmer = config.simulation.liquids.warmer
        if warmer and not sample.activations:
            what = f"no reaction of {config.device_file.name} has an `activation` energy; add it, such as 50 kJ/mol"
            raise config.error(("simulation", "liquids", "warmer"), what)
        simulation, hidden = config.simulation, config.simulation.hidden
        design = Mismatch(sample.network, simulation.mismatch, tied_rates=control)
        rng = np.random.default_rng([simulation.seed, 0])
        drawn = design.apply(rng.standard_normal(len(design.names)) * (simulation.mismatch > 0))
        base = drawn.base * _faster(drawn, sample, warmer)
        weights = drawn.weights @ _crosstalk(sample, hidden.crosstalk, simulation.seed)
        levels: dict[str, list[int]] = {label: [] for label in sample.labels}
        for row, (process, field, _) in enumerate(drawn.parameters):
            law = getattr(drawn.processes[process], "law", None)
            if field == "lead_levers":
                base[row] += hidden.lead_levers
            elif field == "temperature" and hasattr(law, "lead_levers"):
                base[row] *= 1.0 + hidden.temperature
            elif law is not None and type(law).mismatch[field] == "level":
                levels[sample.labels[process]].append(row)
            if field in CONDUCTING and sample.labels[process] in hidden.knocked_out:
                base[row] *= CUT
            if field in ACTIVITY:
                base[row] *= hidden.activity
        network = _rebuilt(drawn, sample, hidden.spin, hidden.parasitic, base, weights)
        if simulation.liquids.evaporation > 0.0:
            network = _evaporating(network, simulation.liquids.evaporation)
        self._networks = [network]
        jumps = sorted(hidden.charge_jumps, key=lambda jump: jump.query)
        for jump in jumps:
            base = self._networks[-1].base
            base[levels[jump.of]] += jump.shift
            self._networks.append(network.with_values(base, network.weights))
        self._jumps = np.array([jump.query for jump in jumps], dtype=np.int64)

    def network(self, query: int = 0) -> Network:
        """The sample as the query of this number finds it."""
        return self._networks[int(np.searchsorted(self._jumps, query, side="right"))]

    def changes(self, first: int, stop: int) -> list[int]:
        """Numbers in (first, stop) of the queries that find another sample than the one before them, ascending."""
        return sorted({int(q) for q in self._jumps if first < q < stop})


def _complaints(sample: Sample, config: StationConfig) -> Iterator[tuple[Keys, str]]:
    hidden = config.simulation.hidden
    if hidden.crosstalk and not sample.gates:
        yield ("crosstalk",), f"{config.device_file.name} does not say which gates are neighbours; add `gates` to it"
    edges = [s for s, p in zip(sample.labels, sample.network.processes, strict=True) if isinstance(p, Edge)]
    for name in hidden.parasitic:
        if name not in edges:
            yield ("parasitic", name), f"no edge {name!r}; {suggest(name, edges)}"
    fields = {sample.labels[p] for p, field, _ in sample.network.parameters if field in CONDUCTING}
    cuttable = [s for s, p in zip(sample.labels, sample.network.processes, strict=True) if not isinstance(p, Flow)]
    for k, name in enumerate(hidden.knocked_out):
        if name not in cuttable:
            yield ("knocked_out", k), f"no edge or reaction {name!r}; {suggest(name, cuttable)}"
        elif name not in fields:
            yield ("knocked_out", k), f"the law of {name!r} has no conductance or rate to take away"
    for k, jump in enumerate(hidden.charge_jumps):
        if jump.of not in edges:
            yield ("charge_jumps", k, "of"), f"no edge {jump.of!r}; {suggest(jump.of, edges)}"


def _crosstalk(sample: Sample, size: float, seed: int) -> Floats:
    """(n_knobs, n_knobs): each pair of neighbours between half and one and a half times `size`, never negative."""
    pairs = neighbours(sample.gates, sample.network.knobs)
    share = np.random.default_rng([seed, 4]).uniform(0.5, 1.5, len(pairs))
    return crosstalk_matrix(len(sample.network.knobs), pairs, size, share)


def _rebuilt(
    drawn: Network, sample: Sample, spin: bool, parasitic: dict[str, float], base: Floats, weights: Floats
) -> Network:
    """The network with these values, another law in its dots, and resistances in parallel to some of its edges."""
    processes = [
        replace(p, law=spinful(p.law)) if spin and isinstance(p, Edge) and isinstance(p.law, BlockingLevel) else p
        for p in drawn.processes
    ]
    for name, resistance in parasitic.items():
        edge = drawn.processes[sample.labels.index(name)]
        assert isinstance(edge, Edge)
        processes.append(Edge(edge.first, edge.second, Linear(1.0 / resistance)))
        base, weights = np.append(base, 1.0 / resistance), np.vstack([weights, np.zeros((1, weights.shape[1]))])
    if not (spin or parasitic):
        return drawn.with_values(base, weights)
    rebuilt = Network(drawn.reservoirs, drawn.terminals, processes, drawn.knobs, feeds=drawn.feeds)
    return rebuilt.with_values(base, weights)


def _faster(network: Network, sample: Sample, warmer: float) -> Floats:
    """Factor of each parameter, (n,), `warmer` K above 25 degC: exp(E/R (1/T0 - 1/T)) of rate constants (Arrhenius).

    All rate constants of a law change alike, so its equilibrium, Michaelis and inhibition constants stay; in truth each
    has an enthalpy of its own.
    """
    inverse = (1.0 / REFERENCE - 1.0 / (REFERENCE + warmer)) / GAS
    energies = [
        sample.activations.get(sample.labels[process], 0.0) if field in RATES else 0.0
        for process, field, _ in network.parameters
    ]
    return np.exp(np.array(energies) * inverse)


def _evaporating(network: Network, rate: float) -> Network:
    """With water lost from every vessel at `rate`, L/s: what is dissolved stays, V dc/dt = ... + rate c."""
    vessels = [node for node in network.reservoirs if "." in node]
    reactions = [Reaction({node: 1.0}, MassAction(rate / network.reservoirs[node])) for node in vessels]
    rebuilt = Network(
        network.reservoirs, network.terminals, (*network.processes, *reactions), network.knobs, feeds=network.feeds
    )
    base, weights = rebuilt.base, rebuilt.weights
    old = len(network.base)
    base[:old], weights[:old] = network.base, network.weights
    return rebuilt.with_values(base, weights)


def spinful(law: BlockingLevel) -> Formula:
    """The law of two spin-degenerate levels that exclude each other: a carrier enters each in two ways, leaves in one.

    The three-state rate equation of :class:`BlockingLevel` with doubled rates in (Bonet, Deshmukh and Ralph, Phys.
    Rev. B 65, 045317 (2002)); same parameters in the same order, further nodes not supported.
    """
    names = ("e1", "e2", "l1", "l2", "r1", "r2", "t", "s", "d")
    kt = f"({BOLTZMANN_EV!r}*t)"

    def f(level: str, lead: str) -> str:
        return f"1/(1+exp((e{level}+s*a+d*b-{lead})/{kt}))"

    filled = {(i, lead): f"({f(i, lead)})" for i in "12" for lead in "ab"}
    into = {i: f"2*(l{i}*{filled[i, 'a']}+r{i}*{filled[i, 'b']})" for i in "12"}
    out = {i: f"(l{i}*(1-{filled[i, 'a']})+r{i}*(1-{filled[i, 'b']}))" for i in "12"}
    net = {i: f"2*l{i}*r{i}*({filled[i, 'a']}-{filled[i, 'b']})" for i in "12"}
    expression = (
        f"{ELEMENTARY_CHARGE!r}*({net['1']}*{out['2']}+{net['2']}*{out['1']})"
        f"/({out['1']}*{out['2']}+{into['1']}*{out['2']}+{into['2']}*{out['1']})"
    )
    parameters: dict[str, Parameter] = dict(zip(names, (p for _, _, p in flat_parameters(law)), strict=True))
    kelvin = law.temperature.base if isinstance(law.temperature, Affine) else law.temperature
    return Formula(expression, ("a", "b"), parameters, bends_over=BOLTZMANN_EV * float(kelvin))  # type: ignore[arg-type]
