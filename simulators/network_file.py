"""The device file: a network as designed, written by people, with units, lever arms, vessels and pump lines."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from labthermo.errors import StationFileError
from labthermo.quantity import Volts, quantity
from labthermo.yaml_file import Document, Keys, Section, read_yaml, suggest, validate
from simulators import conductors
from simulators.charge_sensor import charge_sensor
from simulators.conductors import Affine, Conductor, Decades, Parameter
from simulators.network import Network
from simulators.processes import Edge, Flow, Process, Reaction, description, nodes_read

Carriers = Literal["electrons", "holes", "positive", "molecules"]
Value = TypeVar("Value")
Weight = TypeVar("Weight")

SOLVENT = "solvent"  # where plain buffer comes from
WASTE = "waste"  # where liquid goes that no vessel takes


@dataclass(frozen=True)
class NetworkFile:
    """A device file, read.

    Attributes
    ----------
    network: the network as designed.
    carriers: ``electrons``: an instrument's voltage is minus the potential u; ``holes``, ``positive``: it is u;
        ``molecules``: nothing but vessels, and nodes are concentrations.
    labels: one name for each process of the network, in order, e.g. ``dot3``, ``y-lo`` or ``stock-well1``.
    path, text: where the file was read from, and the whole of it.
    gates: rows of knobs that lie side by side on the chip, in order.
    activations: label of a reaction -> its activation energy, J/mol; of what does not change with temperature, none.
    """

    network: Network
    carriers: Carriers
    labels: tuple[str, ...]
    path: Path
    text: str
    gates: tuple[tuple[str, ...], ...] = ()
    activations: Mapping[str, float] = field(default_factory=dict)


class Shaped(Section, Generic[Value, Weight]):
    """A parameter: a plain value, or one that knobs move.

    ``by`` adds weight times knob to the value; ``decades`` multiplies it by ten for every so many volts of knob.
    """

    value: Value
    by: dict[str, Weight] = Field(default={})
    decades: dict[str, Volts] = Field(default={})

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, data: Any) -> Any:
        return data if isinstance(data, dict) else {"value": data}

    @field_validator("decades")
    @classmethod
    def _not_zero(cls, decades: dict[str, float]) -> dict[str, float]:
        for knob, volts in decades.items():
            if volts == 0:
                raise ValueError(f"0 V per decade for {knob!r}; write the voltage that gives a factor of ten")
        return decades

    @model_validator(mode="after")
    def _one_shape(self) -> Shaped[Value, Weight]:
        if self.by and self.decades:
            raise ValueError("has both by and decades; a parameter moves one way or the other")
        return self


def _plain_word(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _knob_as_rate(value: Any) -> Any:
    """A knob's name alone: the knob is the rate."""
    return {"value": 0.0, "by": {value: 1.0}} if isinstance(value, str) and re.match(r"[A-Za-z_{]", value) else value


Word = Annotated[str, BeforeValidator(_plain_word)]
Ratio = Annotated[float, quantity("")]
Siemens = Annotated[float, quantity("S", above=0)]
Conductance = Shaped[Siemens, Annotated[float, quantity("S/V")]]
Resistance = Shaped[Annotated[float, quantity("ohm", above=0)], Annotated[float, quantity("ohm/V")]]
Leak = Shaped[Annotated[float, quantity("S", minimum=0)], Annotated[float, quantity("S/V")]]
Width = Shaped[Annotated[float, quantity("V", above=0)], Ratio]
Level = Shaped[Annotated[float, quantity("eV")], Annotated[float, quantity("eV/V")]]
Coupling = Shaped[Annotated[float, quantity("eV", above=0)], Annotated[float, quantity("eV/V")]]
Charge = Shaped[Ratio, Annotated[float, quantity("1/V")]]
Rate = Shaped[Annotated[float, quantity("1/s", above=0)], Annotated[float, quantity("1/s/V")]]
Strength = Shaped[Annotated[float, quantity("", above=0)], Annotated[float, quantity("1/V")]]
Kelvin = Annotated[float, quantity("K", above=0)]
Lever = Annotated[float, quantity("eV/V", minimum=0, maximum=1)]
Litres = Annotated[float, quantity("L", above=0)]
FlowRate = Shaped[Annotated[float, quantity("L/s", minimum=0)], Ratio]  # by: pumps' knobs are flows too
Concentration = Annotated[float, quantity("mol/L", minimum=0)]
Affinity = Annotated[float, quantity("mol/L", above=0)]  # a Michaelis, inhibition or dissociation constant
Activation = Annotated[float, quantity("J/mol", minimum=0, maximum=1e6)]  # of all rates together, so keq stays
Equilibrium = Annotated[float, quantity("", above=0)]
FirstOrder = Annotated[float, quantity("1/s", above=0)]
SecondOrder = Annotated[float, quantity("L/mol/s", above=0)]
Stoichiometry = dict[str, Ratio]


class _Process(Section):
    """What every process has; ``for: {k: [1, 2]}`` repeats it with ``{k}`` replaced in every name."""

    repeat: dict[str, tuple[Word, ...]] = Field(default={}, alias="for", max_length=1)
    name: str = ""


class FlowSection(_Process):
    """Liquid pumped from a feed, a vessel or the solvent into a vessel or to waste."""

    flow: tuple[Word, Word]
    rate: Annotated[FlowRate, BeforeValidator(_knob_as_rate)]


class _OnEdge(_Process):
    """A law that stands between two nodes. reads: the further nodes that it depends on."""

    edge: tuple[Word, Word]
    reads: tuple[Word, ...] = ()


class _InReaction(_Process):
    """A law that stands in one vessel; it reads the nodes of the reaction in their order, then `reads`."""

    reaction: Stoichiometry = Field(min_length=1)
    reads: tuple[Word, ...] = ()


class _InEither(_Process):
    """A law that stands between two nodes (mol/s) or in one vessel (mol/(L s))."""

    edge: tuple[Word, Word] | None = None
    reaction: Stoichiometry | None = Field(default=None, min_length=1)
    reads: tuple[Word, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _one_place(cls, data: Any) -> Any:
        # before the fields, because units depend on it
        if isinstance(data, dict) and (data.get("edge") is None) == (data.get("reaction") is None):
            raise ValueError("a process of this law takes edge or reaction; give one of them")
        return data


class LinearSection(_OnEdge):
    law: Literal["Linear"]
    conductance: Conductance | None = None
    resistance: Annotated[float, quantity("ohm", above=0)] | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> LinearSection:
        if (self.conductance is None) == (self.resistance is None):
            raise ValueError("a Linear process takes conductance or resistance; give one of them")
        return self


class GaussianNdcSection(_OnEdge):
    law: Literal["GaussianNdc"]
    conductance: Conductance
    width: Width
    leak: Leak = Leak(value=0.0)


class LevelSection(_OnEdge):
    law: Literal["SingleLevel", "SpinfulLevel", "LandauerLevel"]
    level: Level
    gamma_left: Rate
    gamma_right: Rate
    temperature: Kelvin
    lead_levers: tuple[Lever, Lever] = (0.0, 0.0)
    node_levers: tuple[Lever, ...] = ()


class BlockingLevelSection(_OnEdge):
    law: Literal["BlockingLevel"]
    levels: tuple[Level, Level]
    gamma_left: tuple[Rate, Rate]
    gamma_right: tuple[Rate, Rate]
    temperature: Kelvin
    lead_levers: tuple[Lever, Lever] = (0.0, 0.0)
    node_levers: tuple[Lever, ...] = ()


class SerialDoubleDotSection(_OnEdge):
    law: Literal["SerialDoubleDot"]
    levels: tuple[Level, Level]
    coupling: Coupling
    gamma_left: Rate
    gamma_right: Rate
    temperature: Kelvin
    left_levers: tuple[Lever, ...] = (0.0, 0.0)
    right_levers: tuple[Lever, ...] = (0.0, 0.0)


class MetallicIslandSection(_OnEdge):
    law: Literal["MetallicIsland"]
    resistance_left: Resistance
    resistance_right: Resistance
    charging_energy: Coupling
    gate_charge: Charge
    temperature: Kelvin
    lead_levers: tuple[Lever, Lever] = (0.5, 0.5)
    node_levers: tuple[Lever, ...] = ()


class ChargeSensorSection(_OnEdge):
    """A point contact beside two dots (:func:`simulators.charge_sensor.charge_sensor`)."""

    law: Literal["ChargeSensor"]
    conductance: Conductance
    steps: tuple[Strength, Strength]
    potentials: tuple[Level, Level]
    charging: tuple[Coupling, Coupling]
    mutual: Coupling
    temperature: Kelvin


class CurveSection(_OnEdge):
    """A measured characteristic, point by point; its numbers stand in the device file, so that records are whole."""

    law: Literal["Curve"]
    voltages: tuple[Volts, ...]
    currents: tuple[Annotated[float, quantity("A")], ...]
    scale: Strength = Shaped(value=1.0)


class ExchangeSection(_OnEdge):
    law: Literal["Exchange"]
    rate: Annotated[FlowRate, BeforeValidator(_knob_as_rate)]


class _Enzyme(_InEither):
    """What the one-substrate enzymes share; keq and km_product left out: irreversible."""

    vmax: float
    km_substrate: Affinity
    activation: Activation = 0.0
    km_product: Affinity = math.inf
    keq: Equilibrium = math.inf

    @field_validator("vmax", mode="before")
    @classmethod
    def _in_its_unit(cls, value: Any, info: ValidationInfo) -> float:
        return quantity(_per_power(0, info), above=0)(value)


class MichaelisMentenSection(_Enzyme):
    law: Literal["MichaelisMenten"]


class SubstrateInhibitionSection(_Enzyme):
    law: Literal["SubstrateInhibition"]
    ki: Affinity


class PartialInhibitionSection(_Enzyme):
    law: Literal["PartialInhibition"]
    kss: Affinity
    b: Annotated[float, quantity("", minimum=0)]


class OrderedBiBiSection(_InReaction):
    """keb, keqb, kox left out: no such dead end."""

    law: Literal["OrderedBiBi"]
    k1: SecondOrder
    k1r: FirstOrder
    k2: SecondOrder
    k2r: FirstOrder
    k3: FirstOrder
    k4: FirstOrder
    k4r: SecondOrder
    keq: Equilibrium
    keb: Affinity = math.inf
    keqb: Affinity = math.inf
    kox: Affinity = math.inf
    activation: Activation = 0.0


class MassActionSection(_InEither):
    """forward: per power of the first `substrates` nodes read; reverse: per power of the others."""

    law: Literal["MassAction"]
    substrates: int = Field(default=1, ge=1)
    forward: float
    reverse: float = 0.0
    activation: Activation = 0.0

    @field_validator("forward", mode="before")
    @classmethod
    def _per_substrate(cls, value: Any, info: ValidationInfo) -> float:
        return quantity(_per_power(info.data.get("substrates", 1), info), above=0)(value)

    @field_validator("reverse", mode="before")
    @classmethod
    def _per_product(cls, value: Any, info: ValidationInfo) -> float:
        ends = info.data.get("reaction") or info.data.get("edge") or ()
        products = len(ends) + len(info.data.get("reads", ())) - info.data.get("substrates", 1)
        return quantity(_per_power(max(products, 0), info), minimum=0)(value)


class FormulaSection(_InEither):
    """parameters: bare numbers, in SI units and mol/L; bends_over left out: a law of concentrations."""

    law: Literal["Formula"]
    expression: str
    nodes: tuple[str, ...]
    parameters: dict[str, Shaped[float, float]] = Field(default={})
    bends_over: Annotated[float, quantity("V", above=0)] = math.inf


def _per_power(order: int, info: ValidationInfo) -> str:
    """The unit of a rate divided by so many concentrations: mol/(L s) of a reaction, mol/s of an edge."""
    litres, moles = order - (1 if info.data.get("reaction") is not None else 0), order - 1
    powers = [("L", litres), ("mol", -moles)]
    above = ["*".join(f"{u}**{n}" if n > 1 else u for u, n in powers if n > 0)]
    below = [f"{u}**{-n}" if n < -1 else u for u, n in powers if n < 0]
    return "/".join([above[0] or "1", *below, "s"])


LawSection = Annotated[
    LinearSection
    | GaussianNdcSection
    | LevelSection
    | BlockingLevelSection
    | SerialDoubleDotSection
    | MetallicIslandSection
    | ChargeSensorSection
    | CurveSection
    | ExchangeSection
    | MichaelisMentenSection
    | SubstrateInhibitionSection
    | PartialInhibitionSection
    | OrderedBiBiSection
    | MassActionSection
    | FormulaSection,
    Field(discriminator="law"),
]
# the tags have spaces, so that they are never taken for keys of the file
ProcessSection = Annotated[
    Annotated[FlowSection, Tag("a flow")] | Annotated[LawSection, Tag("a law")],
    Discriminator(lambda data: "a flow" if isinstance(data, dict) and "flow" in data else "a law"),
]


class VesselSection(Section):
    """A stirred vessel. Its nodes are ``vessel.species``."""

    volume: Litres
    species: tuple[Word, ...] = Field(min_length=1)


class NetworkSection(Section):
    """The whole device file.

    feeds: stock solutions on pumps, species -> mol/L; what a stock does not list, it does not hold.
    """

    carriers: Carriers
    reservoirs: dict[str, Annotated[float, quantity("F", above=0)]] = Field(default={})
    vessels: dict[str, VesselSection] = Field(default={})
    terminals: tuple[Word, ...] = ()
    feeds: dict[str, dict[str, Concentration]] = Field(default={})
    knobs: tuple[Word, ...] = ()
    gates: tuple[tuple[Word, ...], ...] = Field(default=(), description="rows of knobs that lie side by side")
    processes: tuple[ProcessSection, ...] = Field(min_length=1)

    @property
    def capacities(self) -> dict[str, float]:
        """Free node -> capacitance (F) or volume (L)."""
        wells = {f"{name}.{s}": vessel.volume for name, vessel in self.vessels.items() for s in vessel.species}
        return {**self.reservoirs, **wells}

    @property
    def stocks(self) -> dict[str, float]:
        """Constant node -> mol/L."""
        return {f"{name}.{s}": value for name, stock in self.feeds.items() for s, value in stock.items()}

    @property
    def nodes(self) -> tuple[str, ...]:
        return (*self.capacities, *self.terminals, *self.stocks)

    def species(self, vessel: str) -> set[str]:
        """What a vessel, a stock or an inlet (terminals named ``inlet.species``) holds."""
        return {node.removeprefix(f"{vessel}.") for node in self.nodes if node.startswith(f"{vessel}.")}


def read_network(path: str | Path) -> NetworkFile:
    """Read and check a device file: YAML, or an SBML model (``.xml``, ``.sbml``) as it stands.

    Raises
    ------
    StationFileError: anything wrong with it, in one line with file, line and key.
    """
    if Path(path).suffix in {".xml", ".sbml"}:
        return _read_sbml(Path(path))
    document = read_yaml(path)
    file = validate(document, NetworkSection)
    for keys, complaint in _complaints(file):
        raise document.error(keys, complaint)
    processes: list[Process] = []
    labels: list[str] = []
    activations: dict[str, float] = {}
    for index, section in enumerate(file.processes):
        for names in _repetitions(section):
            processes.append(_process(document, index, section, names))
            labels.append(_label(section, processes[-1], names))
            if activation := getattr(section, "activation", 0.0):
                activations[labels[-1]] = activation
            for keys, complaint in _process_complaints(file, section, processes[-1], labels):
                raise document.error(("processes", index, *keys), complaint)
    for keys, complaint in _unused(file, processes):
        raise document.error(keys, complaint)
    try:
        network = Network(file.capacities, file.terminals, processes, file.knobs, feeds=file.stocks)
    except ValueError as error:
        raise document.error((), str(error)) from None
    return NetworkFile(network, file.carriers, tuple(labels), document.path, document.text, file.gates, activations)


def _read_sbml(path: Path) -> NetworkFile:
    """An SBML model as a device: no knobs and no terminals; what nothing changes is held where the model has it."""
    from simulators.sbml import read_sbml  # libSBML is an optional dependency

    try:
        text = path.read_text(encoding="utf-8")
        model = read_sbml(text)
    except (OSError, ValueError, ImportError) as error:
        raise StationFileError(f"{path}: {error}") from None
    return NetworkFile(model.network, "molecules", model.labels, path, text)


def _complaints(file: NetworkSection) -> Iterator[tuple[Keys, str]]:
    if file.carriers == "molecules":
        if file.reservoirs:
            yield ("reservoirs",), "molecules are held in vessels (L), not in capacitances (F); write them as vessels"
        if not file.vessels:
            yield ("vessels",), "is missing; add it"
    else:
        for kind in ("reservoirs", "terminals"):
            if not getattr(file, kind):
                yield (kind,), "is missing; add it, or write carriers: molecules for a device of vessels and pumps"
    seen: set[str] = set()
    kinds = ("reservoirs", "vessels", "terminals", "feeds", "knobs")
    for kind in kinds:
        for name in getattr(file, kind):
            if name in seen:
                yield (kind,), f"{name!r} stands twice among {', '.join(kinds[:-1])} and knobs; rename one"
            seen.add(name)
    placed: set[str] = set()
    for row, gates in enumerate(file.gates):
        for gate in gates:
            if gate not in file.knobs:
                yield ("gates", row), f"no knob {gate!r}; {suggest(gate, file.knobs)}"
            if gate in placed:
                yield ("gates", row), f"{gate!r} stands twice; a gate lies in one place"
            placed.add(gate)
    for kind in ("vessels", "feeds"):
        for name, content in getattr(file, kind).items():
            keys: Keys = (kind, name)
            if name in (SOLVENT, WASTE):
                yield keys, f"{name!r} is where liquid comes from or goes that no vessel holds; rename this one"
            held = content.species if isinstance(content, VesselSection) else tuple(content)
            if not held:
                yield keys, f"holds nothing; list its species, or let the line come from {SOLVENT!r}"
            for species in held:
                if held.count(species) > 1:
                    yield (*keys, "species"), f"{species!r} stands twice; remove one"
                if f"{name}.{species}" in file.terminals:
                    yield ("terminals",), f"'{name}.{species}' is also in {kind}; rename one"
            for word in (name, *held):
                if "." in word:
                    yield keys, f"{word!r} holds a dot, which parts a vessel from a species; rename it"


def _repetitions(process: _Process) -> Iterator[dict[str, str]]:
    """What to replace in the names, once for each repetition: ``{"{k}": "1"}``."""
    if not process.repeat:
        yield {}
    for variable, values in process.repeat.items():
        for value in values:
            yield {f"{{{variable}}}": value}


def _replaced(text: str, names: Mapping[str, str]) -> str:
    for placeholder, value in names.items():
        text = text.replace(placeholder, value)
    return text


def _process(document: Document, index: int, section: ProcessSection, names: Mapping[str, str]) -> Process:
    if isinstance(section, FlowSection):
        first, second = (_replaced(vessel, names) for vessel in section.flow)
        rate = _parameter(section.rate, names)
        return Flow(None if first == SOLVENT else first, None if second == WASTE else second, rate)
    try:
        law = _law(section, names)
    except ValueError as error:
        raise document.error(("processes", index), str(error)) from None
    reads = tuple(_replaced(node, names) for node in section.reads)
    ends = None if isinstance(section, _InReaction) else section.edge
    if ends is not None:
        return Edge(_replaced(ends[0], names), _replaced(ends[1], names), law, reads)
    stoichiometry = {} if isinstance(section, _OnEdge) else section.reaction or {}
    return Reaction({_replaced(node, names): nu for node, nu in stoichiometry.items()}, law, reads)


def _parameter(parameter: Shaped[float, float], names: Mapping[str, str]) -> Parameter:
    if parameter.decades:
        return Decades(parameter.value, {_replaced(k, names): 1 / volts for k, volts in parameter.decades.items()})
    if parameter.by:
        return Affine(parameter.value, {_replaced(k, names): weight for k, weight in parameter.by.items()})
    return parameter.value


def _law(section: LawSection, names: Mapping[str, str]) -> Conductor:
    """The law, whose fields have the names of the section's keys."""

    def built(value: Any) -> Any:
        if isinstance(value, Shaped):
            return _parameter(value, names)
        if isinstance(value, tuple):
            return tuple(built(item) for item in value)
        if isinstance(value, dict):
            return {key: built(item) for key, item in value.items()}
        return value

    if isinstance(section, LinearSection) and section.resistance is not None:
        return conductors.Linear(1 / section.resistance)
    if isinstance(section, ChargeSensorSection):
        names_of = ("conductance", "steps", "potentials", "charging", "mutual", "temperature")
        return charge_sensor(**{name: built(getattr(section, name)) for name in names_of})
    law = getattr(conductors, section.law)
    return law(**{spec.name: built(getattr(section, spec.name)) for spec in fields(law)})


def _label(section: ProcessSection, process: Process, names: Mapping[str, str]) -> str:
    if section.name:
        return _replaced(section.name, names)
    if isinstance(process, Edge):
        return " ".join([f"{process.first}-{process.second}", *names.values()])
    if isinstance(process, Flow):
        return f"{process.first or SOLVENT}-{process.second or WASTE}"
    return description(process)


def _process_complaints(
    file: NetworkSection, section: ProcessSection, process: Process, labels: list[str]
) -> Iterator[tuple[Keys, str]]:
    """What is wrong with one process, with keys inside its section."""
    if isinstance(process, Flow):
        yield from _flow_complaints(file, process)
    else:
        where = "edge" if isinstance(process, Edge) else "reaction"
        ends = (process.first, process.second) if isinstance(process, Edge) else tuple(process.stoichiometry)
        what = "reservoir or terminal" if isinstance(process, Edge) and not file.vessels else "node"
        for key, nodes in ((where, ends), ("reads", process.reads)):
            for node in nodes:
                if node not in file.nodes:
                    yield (key,), f"no {what} {node!r}; {suggest(node, file.nodes)}"
        if isinstance(process, Edge) and process.first == process.second:
            yield (where,), f"joins {process.first!r} to itself; name two nodes"
        if isinstance(process, Reaction):
            yield from _reaction_complaints(process)
        fewest, most = conductors.node_count(process.law)
        read = nodes_read(process)
        if not fewest <= len(read) <= most:
            wanted = f"{fewest}" if fewest == most else f"{fewest} to {most}"
            yield ("reads",), f"its law reads {wanted} nodes, not {len(read)} ({', '.join(read)}); correct reads"
    for parameter, knob in _knobs_of(process):
        if knob not in file.knobs:
            yield (parameter,), f"no knob {knob!r}; {suggest(knob, file.knobs)}"
    if labels[-1] in labels[:-1] and section.name:
        what = f"{labels[-1]!r} is another process's name; name each differently, with {{k}} where repeated"
        yield ("name",), what


def _flow_complaints(file: NetworkSection, flow: Flow) -> Iterator[tuple[Keys, str]]:
    inlets = {node.rpartition(".")[0] for node in file.terminals if "." in node}
    donors = (*file.vessels, *file.feeds, *inlets, SOLVENT)
    if flow.first is not None and flow.first not in donors:
        yield ("flow",), f"nothing flows from {flow.first!r}; {suggest(flow.first, donors)}"
    if flow.second is not None and flow.second not in file.vessels:
        yield ("flow",), f"nothing flows to {flow.second!r}; {suggest(flow.second, (*file.vessels, WASTE))}"
    if flow.first == flow.second:
        ends = f"{flow.first or SOLVENT!r} to {flow.second or WASTE!r}"
        yield ("flow",), f"goes from {ends}; name two vessels, or one"
    if flow.first is not None and flow.second is not None:
        for species in sorted(file.species(flow.first) - file.species(flow.second)):
            yield ("flow",), f"carries {species!r}, which {flow.second!r} does not hold; add it to its species"


def _reaction_complaints(reaction: Reaction) -> Iterator[tuple[Keys, str]]:
    vessels = {node.rpartition(".")[0] for node in reaction.stoichiometry}
    if len(vessels) > 1:
        yield ("reaction",), f"stands in {' and '.join(sorted(vessels))}; a reaction stands in one vessel"
    for node, nu in reaction.stoichiometry.items():
        if nu == 0:
            yield ("reaction",), f"{node!r} neither reacts nor is made; name it under reads"
    if isinstance(reaction.law, conductors.ENZYMES):
        # an enzyme's law tells its nodes apart by their order alone
        substrates = 2 if isinstance(reaction.law, conductors.OrderedBiBi) else 1
        for place, (node, nu) in enumerate(reaction.stoichiometry.items()):
            if (nu > 0) != (place >= substrates):
                first = f"{substrates} substrate{'s' if substrates > 1 else ''}"
                yield ("reaction",), f"{node!r} is out of order; name the {first} (below 0), then products (above 0)"


def _unused(file: NetworkSection, processes: list[Process]) -> Iterator[tuple[Keys, str]]:
    joined: set[str] = set()
    read: set[str] = set()
    for process in processes:
        if isinstance(process, Flow):
            ends = {end for end in (process.first, process.second) if end is not None}
            joined |= ends | {node for node in file.nodes if node.rpartition(".")[0] in ends}
        else:
            joined |= {process.first, process.second} if isinstance(process, Edge) else {*process.stoichiometry}
            read |= {*process.reads}
    for nodes in (joined, read):
        nodes |= {node.rpartition(".")[0] for node in nodes}
    for kind in ("reservoirs", "vessels", "terminals", "feeds"):
        for name in getattr(file, kind):
            # a law may read a clamped node that nothing else touches, such as a lead that gates a dot
            if name not in joined and not (kind in ("terminals", "feeds") and name in read):
                yield (kind, name), f"no process joins {name!r} to anything; add one or remove it"
    turned = {knob for process in processes for _, knob in _knobs_of(process)}
    for knob in file.knobs:
        if knob not in turned:
            yield ("knobs",), f"no process is moved by {knob!r}; add it to one or remove it"


def _knobs_of(process: Process) -> Iterator[tuple[str, str]]:
    """(parameter's name, knob) for every knob that moves the process."""
    if isinstance(process, Flow):
        rows: list[tuple[str, Parameter]] = [("rate", process.parameter)]
    else:
        rows = [(name, value) for name, _, value in conductors.flat_parameters(process.law)]
    for name, value in rows:
        if isinstance(value, Affine | Decades):
            for knob in value.weights:
                yield name, knob
