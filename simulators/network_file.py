"""The device file: a network as designed, written by people, with units and lever arms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BeforeValidator, Field, field_validator, model_validator

from labthermo.quantity import Volts, quantity
from labthermo.yaml_file import Document, Keys, Section, read_yaml, suggest, validate
from simulators import conductors
from simulators.conductors import Affine, Conductor, Decades, Parameter
from simulators.network import Edge, Network

Carriers = Literal["electrons", "holes", "positive"]
Value = TypeVar("Value")
Weight = TypeVar("Weight")


@dataclass(frozen=True)
class NetworkFile:
    """A device file, read.

    Attributes
    ----------
    network: the network as designed.
    carriers: ``electrons``: an instrument's voltage is minus the potential u; others: it is u.
    labels: one name for each process of the network, in order, e.g. ``dot3`` or ``y-lo``.
    path, text: where the file was read from, and the whole of it.
    """

    network: Network
    carriers: Carriers
    labels: tuple[str, ...]
    path: Path
    text: str


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


Word = Annotated[str, BeforeValidator(_plain_word)]
Siemens = Annotated[float, quantity("S", above=0)]
Conductance = Shaped[Siemens, Annotated[float, quantity("S/V")]]
Leak = Shaped[Annotated[float, quantity("S", minimum=0)], Annotated[float, quantity("S/V")]]
Width = Shaped[Annotated[float, quantity("V", above=0)], Annotated[float, quantity("")]]
Level = Shaped[Annotated[float, quantity("eV")], Annotated[float, quantity("eV/V")]]
Rate = Shaped[Annotated[float, quantity("1/s", above=0)], Annotated[float, quantity("1/s/V")]]
Kelvin = Annotated[float, quantity("K", above=0)]
Lever = Annotated[float, quantity("eV/V", minimum=0, maximum=1)]


class _Process(Section):
    """What every process has; ``for: {k: [1, 2]}`` repeats it with ``{k}`` replaced in every name."""

    edge: tuple[Word, Word]
    repeat: dict[str, tuple[Word, ...]] = Field(default={}, alias="for", max_length=1)
    name: str = ""


class LinearSection(_Process):
    law: Literal["Linear"]
    conductance: Conductance | None = None
    resistance: Annotated[float, quantity("ohm", above=0)] | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> LinearSection:
        if (self.conductance is None) == (self.resistance is None):
            raise ValueError("a Linear process takes conductance or resistance; give one of them")
        return self


class GaussianNdcSection(_Process):
    law: Literal["GaussianNdc"]
    conductance: Conductance
    width: Width
    leak: Leak = Leak(value=0.0)


class SingleLevelSection(_Process):
    law: Literal["SingleLevel"]
    level: Level
    gamma_left: Rate
    gamma_right: Rate
    temperature: Kelvin
    lead_levers: tuple[Lever, Lever] = (0.0, 0.0)


class BlockingLevelSection(_Process):
    law: Literal["BlockingLevel"]
    levels: tuple[Level, Level]
    gamma_left: tuple[Rate, Rate]
    gamma_right: tuple[Rate, Rate]
    temperature: Kelvin
    lead_levers: tuple[Lever, Lever] = (0.0, 0.0)


ProcessSection = Annotated[
    LinearSection | GaussianNdcSection | SingleLevelSection | BlockingLevelSection, Field(discriminator="law")
]


class NetworkSection(Section):
    """The whole device file."""

    carriers: Carriers
    reservoirs: dict[str, Annotated[float, quantity("F", above=0)]] = Field(min_length=1)
    terminals: tuple[Word, ...] = Field(min_length=1)
    knobs: tuple[Word, ...] = ()
    processes: tuple[ProcessSection, ...] = Field(min_length=1)


def read_network(path: str | Path) -> NetworkFile:
    """Read and check a device file.

    Raises
    ------
    StationFileError: anything wrong with it, in one line with file, line and key.
    """
    document = read_yaml(path)
    file = validate(document, NetworkSection)
    for keys, complaint in _complaints(file):
        raise document.error(keys, complaint)
    edges: list[Edge] = []
    labels: list[str] = []
    for index, process in enumerate(file.processes):
        for names in _repetitions(process):
            edges.append(_edge(process, names))
            labels.append(_label(process, names))
            _check_names(document, index, file, edges[-1], labels)
    _check_use(document, file, edges)
    try:
        network = Network(file.reservoirs, file.terminals, edges, file.knobs)
    except ValueError as error:
        raise document.error((), str(error)) from None
    return NetworkFile(network, file.carriers, tuple(labels), document.path, document.text)


def _complaints(file: NetworkSection) -> Iterator[tuple[Keys, str]]:
    seen: set[str] = set()
    for kind in ("reservoirs", "terminals", "knobs"):
        for name in getattr(file, kind):
            if name in seen:
                yield (kind,), f"{name!r} stands twice among reservoirs, terminals and knobs; rename one"
            seen.add(name)


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


def _edge(process: _Process, names: Mapping[str, str]) -> Edge:
    first, second = (_replaced(node, names) for node in process.edge)
    return Edge(first, second, _law(process, names))


def _law(process: _Process, names: Mapping[str, str]) -> Conductor:
    def shaped(parameter: Shaped[float, float]) -> Parameter:
        if parameter.decades:
            return Decades(parameter.value, {_replaced(k, names): 1 / volts for k, volts in parameter.decades.items()})
        if parameter.by:
            return Affine(parameter.value, {_replaced(k, names): weight for k, weight in parameter.by.items()})
        return parameter.value

    def both(pair: tuple[Shaped[float, float], Shaped[float, float]]) -> tuple[Parameter, Parameter]:
        return shaped(pair[0]), shaped(pair[1])

    match process:
        case LinearSection(conductance=None, resistance=float(resistance)):
            return conductors.Linear(1 / resistance)
        case LinearSection(conductance=Shaped() as conductance):
            return conductors.Linear(shaped(conductance))
        case GaussianNdcSection():
            return conductors.GaussianNdc(shaped(process.conductance), shaped(process.width), shaped(process.leak))
        case SingleLevelSection():
            return conductors.SingleLevel(
                level=shaped(process.level),
                gamma_left=shaped(process.gamma_left),
                gamma_right=shaped(process.gamma_right),
                temperature=process.temperature,
                lead_levers=process.lead_levers,
            )
        case BlockingLevelSection():
            return conductors.BlockingLevel(
                levels=both(process.levels),
                gamma_left=both(process.gamma_left),
                gamma_right=both(process.gamma_right),
                temperature=process.temperature,
                lead_levers=process.lead_levers,
            )
    raise TypeError(process)


def _label(process: _Process, names: Mapping[str, str]) -> str:
    if process.name:
        return _replaced(process.name, names)
    ends = "-".join(_replaced(node, names) for node in process.edge)
    return " ".join([ends, *names.values()])


def _check_names(document: Document, index: int, file: NetworkSection, edge: Edge, labels: list[str]) -> None:
    keys: Keys = ("processes", index)
    nodes = [*file.reservoirs, *file.terminals]
    for node in (edge.first, edge.second):
        if node not in nodes:
            raise document.error((*keys, "edge"), f"no reservoir or terminal {node!r}; {suggest(node, nodes)}")
    if edge.first == edge.second:
        raise document.error((*keys, "edge"), f"joins {edge.first!r} to itself; name two nodes")
    for parameter, knob in _knobs_of(edge.law):
        if knob not in file.knobs:
            raise document.error((*keys, parameter), f"no knob {knob!r}; {suggest(knob, file.knobs)}")
    if labels[-1] in labels[:-1] and file.processes[index].name:
        what = f"{labels[-1]!r} is another process's name; name each differently, with {{k}} where repeated"
        raise document.error((*keys, "name"), what)


def _check_use(document: Document, file: NetworkSection, edges: list[Edge]) -> None:
    joined = {node for edge in edges for node in (edge.first, edge.second)}
    for kind in ("reservoirs", "terminals"):
        for node in getattr(file, kind):
            if node not in joined:
                raise document.error((kind, node), f"no process joins {node!r} to anything; add one or remove it")
    turned = {knob for edge in edges for _, knob in _knobs_of(edge.law)}
    for knob in file.knobs:
        if knob not in turned:
            raise document.error(("knobs",), f"no process is moved by {knob!r}; add it to one or remove it")


def _knobs_of(law: Conductor) -> Iterator[tuple[str, str]]:
    """(parameter's name, knob) for every knob that moves the law."""
    for parameter, _, value in conductors.flat_parameters(law):
        if isinstance(value, Affine | Decades):
            for knob in value.weights:
                yield parameter, knob
