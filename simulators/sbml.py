"""SBML models: a chemist's own reaction network, read into a :class:`~simulators.network.Network`.

SBML Level 2 and Level 3 Core (Hucka et al., J. Integr. Bioinform. 16, 20190021 (2019)), parsed and checked by libSBML
(Bornstein et al., Bioinformatics 24, 880 (2008)), which comes with the extra ``labthermo[sbml]``. A model that uses
what a network of clamped and free concentrations cannot be (events, rules for rates, time in a formula) is refused.
"""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labthermo.yaml_file import suggest
from simulators.conductors import EXTREMES, FUNCTIONS, Affine, Formula, Parameter
from simulators.network import Network
from simulators.processes import Edge, Reaction

Floats = NDArray[np.float64]
AVOGADRO = 6.02214076e23  # 1/mol, exact (SI 2019)
PREDEFINED = {"substance": "mole", "volume": "litre", "time": "second"}  # SBML Level 2: what these units are
OURS = {"substance": "mol", "volume": "L", "time": "s"}


@dataclass(frozen=True)
class SbmlModel:
    """An SBML model, read.

    Attributes
    ----------
    network: its free species (reservoirs, volume in L), clamped species (terminals, or feeds at their initial
        concentration) and reactions. Concentrations in mol/L, times in s, rates in mol/(L s); the parameters of the
        rate laws and the knobs keep the model's own units.
    inputs: (n_terminals,), mol/L: the initial concentrations of the terminals.
    knobs: (n_knobs,), in the model's units: the values the knobs have in the model.
    start: (n_free,), mol/L: the initial concentrations of the reservoirs.
    labels: one for each process of the network, in order: the reaction's id; of a reaction between compartments,
        which is one process in each, ``id in compartment``.
    names: for every node and knob, what the model calls it: its `name`, or its id if it has none.
    assumed: what the model leaves open and how it was read, one sentence each.
    """

    network: Network
    inputs: Floats
    knobs: Floats
    start: Floats
    labels: tuple[str, ...]
    names: Mapping[str, str]
    assumed: tuple[str, ...]


def read_sbml(path_or_text: str | Path, knobs: Sequence[str] = (), terminals: Sequence[str] = ()) -> SbmlModel:
    """Read an SBML model.

    Parameters
    ----------
    path_or_text: a file, or the model itself (text that begins with ``<``).
    knobs: ids of constant parameters that become the network's knobs, in this order. A reaction's local parameter
        ``k`` is called ``reaction_k``.
    terminals: ids of boundary or constant species that become the network's terminals, in this order. All other
        species that nothing changes are held at their initial concentration.

    A species node has the species' id, with ``_`` behind it where the id is a word of the formula language (``exp``,
    ``lambda``). Function definitions, assignment rules and initial assignments are worked in; a compartment's size
    enters the rate laws as a number. What a reaction takes from or gives to a clamped species of another compartment
    is counted only where the reaction is a transfer of one species. Where the model declares no unit, or one that is
    no mole, volume or time, its numbers are taken as mol, L and s, and `assumed` says so.

    Several species that react between compartments are one process in each. The network does not know that these run
    at one rate: the steady state of a model in which only such reactions keep a total may be called ``unsettled``.

    Raises
    ------
    ImportError: libSBML is not installed.
    ValueError: the model is not valid, lacks a value, or has something that a network cannot express; the element's
        id and what to do.
    """
    try:
        import libsbml  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError("reading SBML needs libSBML: uv pip install 'labthermo[sbml]'") from None
    document = _valid_document(libsbml, path_or_text)
    model = document.getModel()
    _refuse(model)
    _check_knobs(model, knobs)
    _work_in(libsbml, document)
    return _Reader(libsbml, model, tuple(knobs), tuple(terminals)).read()


def _valid_document(libsbml: Any, path_or_text: str | Path) -> Any:
    if isinstance(path_or_text, str) and path_or_text.lstrip().startswith("<"):
        where, text = "the SBML text", path_or_text.lstrip()
    else:
        where, text = str(path_or_text), Path(path_or_text).read_text(encoding="utf-8")
    document = libsbml.readSBMLFromString(text)
    # units that do not match are the modeller's affair: the numbers count
    document.setConsistencyChecks(libsbml.LIBSBML_CAT_UNITS_CONSISTENCY, False)
    document.setConsistencyChecks(libsbml.LIBSBML_CAT_MODELING_PRACTICE, False)
    if document.getNumErrors(libsbml.LIBSBML_SEV_ERROR) + document.getNumErrors(libsbml.LIBSBML_SEV_FATAL) == 0:
        document.checkConsistency()
    for index in range(document.getNumErrors()):
        error = document.getError(index)
        if error.isError() or error.isFatal():
            # the rule's own text comes first, what is wrong here after its reference
            detail = re.split(r"Reference: L\dV\d Sections? [\d., and]*", " ".join(error.getMessage().split()))
            what = ": ".join([error.getShortMessage(), *detail[1:]])
            raise ValueError(f"{where}, line {error.getLine()}: not valid SBML, rule {error.getErrorId()}: {what}")
    if document.getModel() is None:
        raise ValueError(f"{where} has no model")
    if document.getLevel() < 2:
        raise ValueError(f"{where} is SBML Level 1; save it as Level 2 or 3")
    for index in range(document.getNumPlugins() if document.getLevel() > 2 else 0):
        package = document.getPlugin(index).getPackageName()
        # libSBML's own name for the functions that Level 3 Version 2 Core has
        if package != "l3v2extendedmath" and document.getPackageRequired(package):
            raise ValueError(f"{where} needs the SBML package {package!r}; flatten the model to Level 3 Core")
    if document.getNumUnknownPackages():
        raise ValueError(f"{where} uses the package {document.getUnknownPackageURI(0)}; save it as Level 3 Core")
    return document


def _refuse(model: Any) -> None:
    """Raise for whatever makes the model more than constant rate laws between concentrations."""
    if model.getNumEvents():
        event = model.getEvent(0).getIdAttribute()
        raise ValueError(f"event {event!r}: a network has no events; remove it, or turn a knob instead")
    for rule in model.getListOfRules():
        if rule.isRate():
            raise ValueError(
                f"rate rule for {rule.getVariable()!r}: write it as a reaction, or make {rule.getVariable()!r} constant"
            )
        if rule.isAlgebraic():
            raise ValueError("an algebraic rule: solve it for one symbol and write an assignment rule")
        if model.getCompartment(rule.getVariable()) is not None:
            raise ValueError(f"compartment {rule.getVariable()!r} has a rule; give it a constant size")
        if model.getSpeciesReference(rule.getVariable()) is not None:
            raise ValueError(f"stoichiometry {rule.getVariable()!r} has a rule; make it a number")
    for compartment in model.getListOfCompartments():
        if not compartment.getConstant():
            raise ValueError(f"compartment {compartment.getId()!r} is not constant; set constant='true'")
    for species in model.getListOfSpecies():
        if species.isSetSpatialSizeUnits():
            raise ValueError(f"species {species.getId()!r} has spatialSizeUnits; declare its compartment's units")
    for reaction in model.getListOfReactions():
        where = f"reaction {reaction.getId()!r}"
        if reaction.isSetFast() and reaction.getFast():
            raise ValueError(f"{where} is fast; give it a large rate constant and set fast='false'")
        law = reaction.getKineticLaw()
        if law is None or law.getMath() is None:
            raise ValueError(f"{where} has no kinetic law; give it one")
        if law.isSetTimeUnits() or law.isSetSubstanceUnits():
            raise ValueError(f"{where}: its kinetic law has units of its own; use the model's")
        for reference in (*reaction.getListOfReactants(), *reaction.getListOfProducts()):
            if reference.isSetStoichiometryMath():
                what = f"the stoichiometry of {reference.getSpecies()!r}"
                raise ValueError(f"{where}: {what} is a formula; write a number")


def _check_knobs(model: Any, knobs: Sequence[str]) -> None:
    """Raise for a knob that is no constant parameter, or that an initial assignment reads only once."""
    known = [parameter.getId() for parameter in model.getListOfParameters()]
    for reaction in model.getListOfReactions():
        law = reaction.getKineticLaw()
        local = law.getListOfLocalParameters() if law.getLevel() > 2 else law.getListOfParameters()
        known += [f"{reaction.getId()}_{parameter.getId()}" for parameter in local]
    for index, knob in enumerate(knobs):
        if knob not in known:
            raise ValueError(f"knob {knob!r}: the model has no such parameter; {suggest(knob, known)}")
        if knob in knobs[:index]:
            raise ValueError(f"knob {knob!r} is named twice; name it once")
        if model.getAssignmentRule(knob) is not None or model.getInitialAssignment(knob) is not None:
            raise ValueError(f"knob {knob!r} is computed by the model; choose a parameter that it is computed from")
        if knob in (model.getConversionFactor(), *(s.getConversionFactor() for s in model.getListOfSpecies())):
            raise ValueError(f"knob {knob!r} is a conversion factor; choose another parameter")
    for assignment in model.getListOfInitialAssignments():
        for knob in knobs:
            if knob in _names_below(model, assignment.getMath()):
                raise ValueError(
                    f"initial assignment of {assignment.getSymbol()!r} reads knob {knob!r} only once; "
                    "make it an assignment rule, or choose another knob"
                )


def _names_below(model: Any, node: Any) -> set[str]:
    """Every id that a formula reads, through assignment rules too."""
    names: set[str] = set()
    waiting = [node]
    while waiting:
        node = waiting.pop()
        waiting += [node.getChild(index) for index in range(node.getNumChildren())]
        name = node.getName() if node.isName() else None
        if name and name not in names:
            names.add(name)
            rule = model.getAssignmentRule(name)
            if rule is not None:
                waiting.append(rule.getMath())
    return names


def _work_in(libsbml: Any, document: Any) -> None:
    """Let libSBML replace function definitions, initial assignments and local parameters by what they stand for."""
    model = document.getModel()
    document.expandFunctionDefinitions()
    document.expandInitialAssignments()
    if model.getNumInitialAssignments():  # what libSBML could not compute is still there
        symbol = model.getInitialAssignment(0).getSymbol()
        raise ValueError(f"the initial assignment of {symbol!r} cannot be computed; write it as a number")
    promotion = libsbml.ConversionProperties()
    promotion.addOption("promoteLocalParameters", True)
    if document.convert(promotion) != libsbml.LIBSBML_OPERATION_SUCCESS:
        raise ValueError("the local parameters of the kinetic laws cannot be renamed; make them global")


@dataclass
class _Names:
    """What the text of one formula names, in the order in which it appears."""

    nodes: dict[str, None] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)  # name in the text: id in the model


class _Reader:
    """One model on its way into a network: what stands in it, by id, and its formulas as text.

    SBML counts a reaction's rate in substance/time; the amount of a species changes by the sum over reactions of
    stoichiometry x conversion factor x rate (Level 3 Core specification, `KineticLaw`). Over a compartment's volume
    that is a rate in mol/(L s).
    """

    def __init__(self, libsbml: Any, model: Any, knobs: tuple[str, ...], terminals: tuple[str, ...]) -> None:
        self.libsbml = libsbml
        self.model = model
        self.knobs = knobs
        self.terminals = terminals
        self.notes: dict[str, None] = {}
        self.species = {species.getId(): species for species in model.getListOfSpecies()}
        self.compartments = {compartment.getId(): compartment for compartment in model.getListOfCompartments()}
        self.parameters = {parameter.getId(): parameter for parameter in model.getListOfParameters()}
        self.reactions = {reaction.getId(): reaction for reaction in model.getListOfReactions()}
        self.rules = {rule.getVariable(): rule.getMath() for rule in model.getListOfRules()}
        self.references = {
            reference.getIdAttribute(): reference
            for reaction in self.reactions.values()
            for reference in (*reaction.getListOfReactants(), *reaction.getListOfProducts())
            if reference.getIdAttribute()
        }
        if model.getNumConstraints():
            self.notes[f"the model's {model.getNumConstraints()} constraints are not watched"] = None
        self.words = _words([*self.species, *self.parameters])
        self.time = self._unit("the model's time", "time", model.getTimeUnits())
        self.litres = {name: self._litres(compartment) for name, compartment in self.compartments.items()}
        self.moles = {name: self._moles(species) for name, species in self.species.items()}

    def read(self) -> SbmlModel:
        changes = {name: self._changes(reaction) for name, reaction in self.reactions.items()}
        free = {species for change in changes.values() for species in change if not self._clamped(species)}
        processes: list[Edge | Reaction] = []
        labels: list[str] = []
        nodes: dict[str, None] = {}
        parameters: set[str] = set()
        for name, change in changes.items():
            for process, label, names in self._processes(name, change):
                processes.append(process)
                labels.append(label)
                nodes |= names.nodes | dict.fromkeys(species for species in change if species in free)
                parameters |= set(names.parameters.values())
        self._check_use(free, nodes, parameters)
        volumes = {name: self.litres[self.species[name].getCompartment()] for name in self.species if name in free}
        held = [name for name in self.species if name in nodes and name not in free and name not in self.terminals]
        titles = {self.words[name]: self.species[name].getName() or name for name in self.species if name in nodes}
        return SbmlModel(
            network=Network(
                reservoirs={self.words[name]: volume for name, volume in volumes.items()},
                terminals=[self.words[name] for name in self.terminals],
                knobs=self.knobs,
                processes=processes,
                feeds={self.words[name]: self._initial(name) for name in held},
            ),
            inputs=np.array([self._initial(name) for name in self.terminals], dtype=float),
            knobs=np.array([self._value(knob) for knob in self.knobs], dtype=float),
            start=np.array([self._initial(name) for name in volumes], dtype=float),
            labels=tuple(labels),
            names=titles | {knob: self.parameters[knob].getName() or knob for knob in self.knobs},
            assumed=tuple(self.notes),
        )

    def _check_use(self, free: set[str], nodes: Mapping[str, None], parameters: set[str]) -> None:
        if not free:
            raise ValueError("no reaction of the model changes a free species; there is nothing to simulate")
        clamped = [name for name in nodes if name not in free]
        for index, name in enumerate(self.terminals):
            if name in free:
                raise ValueError(f"terminal {name!r} is a free species; set boundaryCondition='true' in the model")
            if name not in clamped:
                raise ValueError(f"terminal {name!r} is no clamped species of a kinetic law; {suggest(name, clamped)}")
            if name in self.terminals[:index]:
                raise ValueError(f"terminal {name!r} is named twice; name it once")
        for knob in self.knobs:
            if knob not in parameters:
                raise ValueError(f"knob {knob!r} is read by no kinetic law; {suggest(knob, parameters)}")

    # --- species and their units

    def _clamped(self, name: str) -> bool:
        """Reactions do not change it."""
        return self.species[name].getBoundaryCondition() or self.species[name].getConstant()

    def _initial(self, name: str) -> float:
        """Initial concentration, mol/L."""
        species = self.species[name]
        place = species.getCompartment()
        if species.isSetInitialConcentration():
            value = species.getInitialConcentration() * self.moles[name] / self._litres_per_unit(place)
        elif species.isSetInitialAmount():
            value = species.getInitialAmount() * self.moles[name] / self.litres[place]
        else:
            value = math.nan
        if not math.isfinite(value):
            raise ValueError(f"species {name!r} has no initial value; set its initialConcentration or initialAmount")
        return value

    def _litres_per_unit(self, place: str) -> float:
        return self.litres[place] / self.compartments[place].getSize()

    def _litres(self, compartment: Any) -> float:
        """A compartment's size in L."""
        name, size = compartment.getId(), compartment.getSize()
        if not (math.isfinite(size) and size > 0):
            raise ValueError(f"compartment {name!r} has size {size}; give it a positive one")
        unit = compartment.getUnits() or self.model.getVolumeUnits()
        if compartment.getSpatialDimensionsAsDouble() != 3:
            self.notes[f"compartment {name!r} is no volume; its size is taken as L"] = None
            return size
        return size * self._unit(f"compartment {name!r}", "volume", unit)

    def _moles(self, species: Any) -> float:
        """The unit of a species' amount in mol."""
        own = species.getSubstanceUnits()
        what = f"species {species.getId()!r}" if own else "the model's substance"
        return self._unit(what, "substance", own or self.model.getSubstanceUnits())

    def _unit(self, what: str, kind: str, name: str) -> float:
        """Size of the model's unit `name` in mol, L or s; 1 with a note if it is undeclared or another quantity."""
        libsbml, level, version = self.libsbml, self.model.getLevel(), self.model.getVersion()
        if not name and level == 2:
            name = kind
        definition = self.model.getUnitDefinition(name) if name else None
        if definition is None and name:
            word = libsbml.UnitKind_forName(PREDEFINED.get(name, name) if level == 2 else name)
            if word != libsbml.UNIT_KIND_INVALID:
                definition = libsbml.UnitDefinition(level, version)
                unit = definition.createUnit()
                unit.initDefaults()
                unit.setKind(word)
        if definition is not None:
            si = libsbml.UnitDefinition.convertToSI(definition)
            if si.getNumUnits() == 1:
                unit = si.getUnit(0)
                size = (unit.getMultiplier() * 10.0 ** unit.getScale()) ** unit.getExponentAsDouble()
                dimension = (libsbml.UnitKind_toString(unit.getKind()), unit.getExponentAsDouble())
                known = {
                    ("substance", "mole", 1.0): 1.0,
                    ("substance", "item", 1.0): 1.0 / AVOGADRO,
                    ("volume", "metre", 3.0): 1e3,
                    ("time", "second", 1.0): 1.0,
                }
                if (kind, *dimension) in known:
                    # a litre is the cube of 0.1 m, whose last digit is wrong
                    return float(f"{size * known[kind, *dimension]:.15g}")
        said = f"has the unit {name!r}, which is no {kind}" if name else "has no unit"
        self.notes[f"{what} {said}; its numbers are taken as {OURS[kind]}"] = None
        return 1.0

    # --- reactions

    def _changes(self, reaction: Any) -> dict[str, float]:
        """Net stoichiometry of a reaction, mol per unit of its rate law, without species that rules set."""
        net: dict[str, float] = {}
        for sign, references in ((-1.0, reaction.getListOfReactants()), (1.0, reaction.getListOfProducts())):
            for reference in references:
                name, number = reference.getSpecies(), reference.getStoichiometry()
                if not math.isfinite(number):
                    where = f"reaction {reaction.getId()!r}"
                    raise ValueError(f"{where}: the stoichiometry of {name!r} has no value; give it a number")
                factor = self.species[name].getConversionFactor() or self.model.getConversionFactor()
                number *= self._value(factor) if factor else 1.0
                net[name] = net.get(name, 0.0) + sign * number * self.moles[name]
        return {name: number for name, number in net.items() if number != 0.0 and name not in self.rules}

    def _processes(self, name: str, change: Mapping[str, float]) -> Iterator[tuple[Edge | Reaction, str, _Names]]:
        """A reaction's processes, each with its label and what its law names.

        A transfer of one species into one of another compartment is an Edge, whose rate in mol/s leaves one and enters
        the other; any other reaction between compartments is a Reaction in each.
        """
        math_ = self.reactions[name].getKineticLaw().getMath()
        read = self._read(math_, f"reaction {name!r}").nodes
        # a clamped species counts where the law reads it: elsewhere nothing depends on it
        change = {s: moles for s, moles in change.items() if not self._clamped(s) or s in read}
        free = [species for species in change if not self._clamped(species)]
        places = dict.fromkeys(self.species[species].getCompartment() for species in free)
        ends = sorted(change, key=lambda species: change[species])
        if len(ends) == 2 and free and change[ends[0]] == -change[ends[1]]:
            first, second = ends
            if self.species[first].getCompartment() != self.species[second].getCompartment():
                law, reads, names = self._law(name, None, (first, second), change[second] / self.time)
                yield Edge(self.words[first], self.words[second], law, reads), name, names
                return
        for place in places:
            there = {s: moles for s, moles in change.items() if self.species[s].getCompartment() == place}
            # counted in the substance unit of the first free species, so that its stoichiometry is the model's number
            unit = self.moles[next(species for species in free if species in there)]
            law, reads, names = self._law(name, place, tuple(there), unit / self.time)
            stoichiometry = {self.words[species]: moles / unit for species, moles in there.items()}
            yield Reaction(stoichiometry, law, reads), name if len(places) == 1 else f"{name} in {place}", names

    def _law(
        self, name: str, place: str | None, nodes: tuple[str, ...], moles: float
    ) -> tuple[Formula, tuple[str, ...], _Names]:
        """A reaction's law: mol/(L s) in a compartment, mol/s for `place` None; what it reads besides `nodes`.

        moles: mol/s for a rate of one in the model's units.
        """
        where = f"reaction {name!r}"
        names = _Names()
        above, below = self._factors(self.reactions[name].getKineticLaw().getMath())
        scale = moles if place is None else moles / self.litres[place]
        sized = [index for index, factor in enumerate(above) if factor.isName() and factor.getName() == place]
        if place is not None and sized:  # "compartment * rate": the volume cancels
            del above[sized[0]]
            scale = moles / self._litres_per_unit(place)
        text = " * ".join(self._text(factor, names, where) for factor in above) or "1.0"
        text += "".join(f" / {self._text(factor, names, where)}" for factor in below)
        if scale != 1.0:
            text += f" * {scale!r}"
        reads = tuple(self.words[species] for species in names.nodes if species not in nodes)
        values: dict[str, Parameter] = {
            word: Affine(0.0, {parameter: 1.0}) if parameter in self.knobs else self._value(parameter)
            for word, parameter in names.parameters.items()
        }
        try:
            law = Formula(text, (*(self.words[species] for species in nodes), *reads), values)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        return law, reads, names

    def _factors(self, node: Any) -> tuple[list[Any], list[Any]]:
        """What a formula is the product of, and what that product is divided by."""
        if node.getType() == self.libsbml.AST_TIMES:
            above: list[Any] = []
            below: list[Any] = []
            for index in range(node.getNumChildren()):
                more, less = self._factors(node.getChild(index))
                above += more
                below += less
            return above, below
        if node.getType() == self.libsbml.AST_DIVIDE:
            above, below = self._factors(node.getChild(0))
            return above, [*below, node.getChild(1)]
        return [node], []

    def _read(self, node: Any, where: str) -> _Names:
        """What a formula names."""
        names = _Names()
        self._text(node, names, where)
        return names

    def _value(self, parameter: str) -> float:
        value = self.parameters[parameter].getValue()
        if not math.isfinite(value):
            raise ValueError(f"parameter {parameter!r} has the value {value}; give it a finite one")
        return value

    # --- formulas

    def _text(self, node: Any, names: _Names, where: str) -> str:
        """A formula, in the model's units, as text over nodes (mol/L) and parameters."""
        libsbml, kind = self.libsbml, node.getType()
        if node.isNumber():
            return _number(node.getValue(), where)
        if kind == libsbml.AST_NAME_AVOGADRO:
            return repr(AVOGADRO)
        if kind == libsbml.AST_NAME_TIME:
            raise ValueError(f"{where} reads the time; a network's laws do not change: make it a knob")
        if kind == libsbml.AST_NAME:
            return self._named(node.getName(), names, where)
        if kind == libsbml.AST_CONSTANT_PI:
            return repr(math.pi)
        if kind == libsbml.AST_CONSTANT_E:
            return repr(math.e)
        children = [node.getChild(index) for index in range(node.getNumChildren())]
        if kind == libsbml.AST_FUNCTION_PIECEWISE:
            return self._piecewise(children, names, where)
        arguments = [self._text(child, names, where) for child in children]
        text = self._applied(kind, arguments)
        if text is None:
            raise ValueError(
                f"{where}: {libsbml.formulaToL3String(node)!r} is no function that a network's formula has; "
                "write it with + - * / ^ exp ln log10 sqrt tanh abs min max"
            )
        return text

    def _named(self, name: str, names: _Names, where: str) -> str:
        if name in self.rules:
            return self._text(self.rules[name], names, f"{where}, rule for {name!r}")
        if name in self.species:
            names.nodes[name] = None
            species = self.species[name]
            place = species.getCompartment()
            litres = self.litres[place] if species.getHasOnlySubstanceUnits() else self._litres_per_unit(place)
            units = litres / self.moles[name]  # the model's number for 1 mol/L
            return self.words[name] if units == 1.0 else f"({self.words[name]} * {units!r})"
        if name in self.parameters:
            names.parameters[self.words[name]] = name
            return self.words[name]
        if name in self.compartments:
            return _number(self.compartments[name].getSize(), where)
        if name in self.references:
            return _number(self.references[name].getStoichiometry(), where)
        return self._text(self.reactions[name].getKineticLaw().getMath(), names, f"{where}, rate of {name!r}")

    def _applied(self, kind: int, a: list[str]) -> str | None:
        """An operator or a function of `a`; None if a formula's text cannot say it."""
        libsbml = self.libsbml
        if kind == libsbml.AST_PLUS:
            return f"({' + '.join(a)})" if a else "0.0"
        if kind == libsbml.AST_TIMES:
            return f"({' * '.join(a)})" if a else "1.0"
        if kind == libsbml.AST_MINUS:
            return f"(-{a[0]})" if len(a) == 1 else f"({a[0]} - {a[1]})"
        if kind == libsbml.AST_DIVIDE:
            return f"({a[0]} / {a[1]})"
        if kind in (libsbml.AST_POWER, libsbml.AST_FUNCTION_POWER):
            return f"({a[0]} ** {a[1]})"
        if kind == libsbml.AST_FUNCTION_ROOT:  # degree, argument
            return f"sqrt({a[-1]})" if len(a) == 1 or a[0] == "2.0" else f"({a[1]} ** (1.0 / {a[0]}))"
        if kind == libsbml.AST_FUNCTION_LOG:  # base, argument
            return f"log10({a[-1]})" if len(a) == 1 or a[0] == "10.0" else f"(log({a[1]}) / log({a[0]}))"
        functions = {
            libsbml.AST_FUNCTION_LN: "log",
            libsbml.AST_FUNCTION_EXP: "exp",
            libsbml.AST_FUNCTION_TANH: "tanh",
            libsbml.AST_FUNCTION_ABS: "abs",
            libsbml.AST_FUNCTION_MIN: "min",
            libsbml.AST_FUNCTION_MAX: "max",
        }
        if kind in functions:  # of one argument, min and max are that argument
            return a[0] if len(a) == 1 and functions[kind] in EXTREMES else f"{functions[kind]}({', '.join(a)})"
        return None

    def _piecewise(self, children: list[Any], names: _Names, where: str) -> str:
        """``piecewise(x, x > y, y)`` and its three mirror images, which are max or min; anything else is refused."""
        libsbml = self.libsbml
        larger = {
            libsbml.AST_RELATIONAL_GT: True,
            libsbml.AST_RELATIONAL_GEQ: True,
            libsbml.AST_RELATIONAL_LT: False,
            libsbml.AST_RELATIONAL_LEQ: False,
        }
        if len(children) == 3 and children[1].getType() in larger and children[1].getNumChildren() == 2:
            condition = children[1]
            first, last, left, right = (
                self._text(node, names, where)
                for node in (children[0], children[2], condition.getChild(0), condition.getChild(1))
            )
            if (first, last) in ((left, right), (right, left)):
                return f"{'max' if larger[condition.getType()] == (first == left) else 'min'}({first}, {last})"
        raise ValueError(f"{where}: a piecewise that is no maximum or minimum; write it with max and min")


def _words(ids: Sequence[str]) -> dict[str, str]:
    """For every id its name in a formula's text: itself, or with ``_`` behind it where the text's language uses it."""
    words: dict[str, str] = {}
    for name in ids:
        word = name
        while keyword.iskeyword(word) or word in {*FUNCTIONS, *EXTREMES} or (word != name and word in ids):
            word += "_"
        words[name] = word
    return words


def _number(value: float, where: str) -> str:
    if not math.isfinite(value):
        raise ValueError(f"{where}: the number {value} in a formula; write a finite one")
    return repr(float(value)) if value >= 0 else f"({float(value)!r})"
