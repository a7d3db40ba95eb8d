"""SBML models as networks, against libRoadRunner's CVODE; what a network cannot be is refused."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulators import Affine, Edge, Reaction
from simulators.conductors import Formula
from simulators.sbml import AVOGADRO, SbmlModel, read_sbml

libsbml = pytest.importorskip("libsbml", reason="needs the extra labthermo[sbml]")

MODELS = Path(__file__).parent / "models"
# three models with substrate inhibition: knobs, terminals, times (s), the start as the model has it (mol/L)
CASES = {
    # Andrews, Biotechnol. Bioeng. 10, 707 (1968); mmol, L and hours
    "haldane_chemostat": (("D", "Sf"), (), 3600.0 * np.array([0, 1, 5, 20, 60]), [2e-3, 0.8e-3]),
    # physics.md, section 3: reversible, with the dead end ESS; amounts of umol in uL, two compartments
    "reversible_vessel": (("D",), ("S_feed", "lambda"), np.array([0, 3, 20, 100, 600]), [0, 0]),
    # two enzymes that pass NADH to and fro, each inhibited by its substrate; mmol, L and minutes
    "nadh_cascade": (
        ("fdh_V",), ("formate_out",), 60.0 * np.array([0, 0.2, 2, 10, 40]), [3e-3, 1e-4, 2e-4, 1e-3, 1.5e-4, 5e-5],
    ),
}  # fmt: skip


def read(name: str) -> SbmlModel:
    knobs, terminals, _, _ = CASES[name]
    return read_sbml(MODELS / f"{name}.xml", knobs=knobs, terminals=terminals)


def cvode(source: str, species: dict[str, float], times: Any, changes: dict[str, float] | None = None) -> np.ndarray:
    """libRoadRunner's answer, (n_times, n_species), mol/L; `times` and `changes` in the model's units.

    species: id -> mol/L of one of the model's units. changes: new values, such as ``{"k": 2.0, "[S]": 1.0}``.
    """
    roadrunner = pytest.importorskip("roadrunner", reason="needs libroadrunner")
    runner = roadrunner.RoadRunner(source)
    runner.setIntegrator("cvode")
    for name, value in (("relative_tolerance", 1e-12), ("absolute_tolerance", 1e-15), ("maximum_num_steps", 1_000_000)):
        runner.getIntegrator().setValue(name, value)
    for name, value in (changes or {}).items():
        runner[name] = value
    result = runner.simulate(times=list(times), selections=["time", *(f"[{name}]" for name in species)])
    return np.array(result)[:, 1:] * np.array(list(species.values()))


# --- against CVODE


@pytest.mark.parametrize("name", CASES)
def test_relaxation_agrees_with_cvode(name: str):
    model = read(name)
    times = CASES[name][2]
    unit = {"haldane_chemostat": 3600.0, "reversible_vessel": 1.0, "nadh_cascade": 60.0}[name]
    size = {"haldane_chemostat": 1e-3, "reversible_vessel": 1.0, "nadh_cascade": 1e-3}[name]
    source, species = str(MODELS / f"{name}.xml"), dict.fromkeys(model.network.reservoirs, size)
    expected = cvode(source, species, times / unit)
    found = model.network.relax([model.inputs], times, knobs=model.knobs, start=model.start, tolerance=1e-9)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-15)
    assert np.abs(found[-1] - found[0]).max() > 0.3 * np.abs(found).max()  # it went somewhere
    state = model.network.steady_state([model.inputs], knobs=model.knobs, start=model.start)
    assert state.verdict[0] == "settled"
    ended = cvode(source, species, [0, 1e5 / unit, 1e7 / unit])[-1]
    np.testing.assert_allclose(state.potentials[0], ended, rtol=1e-6, atol=1e-12)


def test_both_branches_of_a_bistable_chemostat_agree_with_cvode():
    model = read("haldane_chemostat")
    starts = np.array([[2e-3, 0.8e-3], [0.5e-3, 4.5e-3]])  # too little biomass is washed out, enough of it stays
    state = model.network.steady_state(np.zeros((2, 0)), knobs=model.knobs, start=starts)
    assert list(state.verdict) == ["settled", "settled"]
    for found, (s, x) in zip(state.potentials, starts * 1e3, strict=True):
        changes = {"[S]": s, "[X]": x}
        ended = cvode(str(MODELS / "haldane_chemostat.xml"), {"S": 1e-3, "X": 1e-3}, [0, 1000, 4000], changes)[-1]
        np.testing.assert_allclose(found, ended, rtol=1e-6, atol=1e-12)
    assert state.potentials[0, 1] < 1e-9
    assert state.potentials[1, 1] > 4e-3


def test_knobs_and_terminals_move_the_model():
    model = read("haldane_chemostat")
    source = str(MODELS / "haldane_chemostat.xml")
    times = [7200.0, 36000.0]
    found = model.network.relax(np.zeros((1, 0)), times, knobs=[0.1, 6.0], start=model.start, tolerance=1e-9)
    expected = cvode(source, {"S": 1e-3, "X": 1e-3}, [0, 2, 10], {"D": 0.1, "Sf": 6.0})
    np.testing.assert_allclose(found[0], expected[1:], rtol=1e-6)
    vessel = read("reversible_vessel")
    assert vessel.network.terminals == ("S_feed", "lambda_")
    found = vessel.network.relax([[3e-3, 1e-3]], [20.0, 200.0], knobs=[0.01], start=vessel.start, tolerance=1e-9)
    changes = {"D": 0.01, "[S_feed]": 3e-3, "[lambda]": 1e-3}
    expected = cvode(str(MODELS / "reversible_vessel.xml"), {"S": 1.0, "P": 1.0}, [0, 20, 200], changes)
    np.testing.assert_allclose(found[0], expected[1:], rtol=1e-6)


def test_the_gradient_by_a_knob_is_the_difference():
    model = read("nadh_cascade")
    net, step = model.network, 1e-4
    cotangent = np.array([[0.0, 0.0, 1.0, 0.0, 1.0, 0.0]])
    state = net.steady_state([model.inputs], knobs=model.knobs, start=model.start)
    up, down = (
        net.steady_state([model.inputs], knobs=model.knobs + d, start=model.start).potentials for d in (step, -step)
    )
    difference = np.sum(cotangent * (up - down)) / (2 * step)
    assert net.gradient(state, cotangent)["knobs"][0, 0] == pytest.approx(difference, rel=1e-5)


# --- what is read


def test_what_is_read():
    model = read("nadh_cascade")
    assert model.network.reservoirs == {
        "pyruvate_out": 2.0, "pyruvate": 0.5, "lactate": 0.5, "formate": 0.5, "NADH": 0.5, "NAD": 0.5,
    }  # fmt: skip
    assert model.network.feeds == {"LDH": pytest.approx(2e-6)}
    assert model.labels == ("uptake", "feed", "ldh", "fdh", "formate_in", "leave")
    assert model.assumed == ()
    np.testing.assert_allclose(model.inputs, [4e-3])
    np.testing.assert_allclose(model.knobs, [0.8])
    uptake, ldh, fdh = (model.network.processes[model.labels.index(name)] for name in ("uptake", "ldh", "fdh"))
    assert isinstance(uptake, Edge)
    assert (uptake.first, uptake.second) == ("pyruvate_out", "pyruvate")
    assert isinstance(ldh, Reaction)
    assert dict(ldh.stoichiometry) == {"pyruvate": -1, "NADH": -1, "lactate": 1, "NAD": 1}
    assert ldh.reads == ("LDH",)
    assert isinstance(fdh, Reaction)
    assert isinstance(fdh.law, Formula)
    parameters = fdh.law.parameters
    assert parameters["fdh_V"] == Affine(0.0, {"fdh_V": 1.0})
    assert (parameters["fdh_Kf"], parameters["fdh_Kif"], parameters["fdh_Kn"]) == (2.0, 6.0, 0.02)
    for name, (_, _, _, start) in CASES.items():
        np.testing.assert_allclose(read(name).start, start, rtol=1e-12)


def test_names_come_back():
    chemostat = read("haldane_chemostat")
    assert chemostat.names == {"S": "substrate", "X": "biomass", "D": "dilution rate", "Sf": "Sf"}
    vessel = read("reversible_vessel")
    assert vessel.names["lambda_"] == "lambda"  # a word of the formula language cannot name a node
    assert set(vessel.names) == {*vessel.network.reservoirs, *vessel.network.terminals, *vessel.network.knobs}


def test_text_is_read_as_the_file_is():
    path = MODELS / "haldane_chemostat.xml"
    model, again = read_sbml(path), read_sbml(path.read_text(encoding="utf-8"))
    assert again.network.processes == model.network.processes
    assert np.array_equal(again.start, model.start)


# --- small models, written here


def plain(change: Callable[[Any], None] | None = None, level: int = 3, version: int = 2) -> str:
    """S -> P in a vessel of 2 L at k S, with a boundary species B, and what `change` does to the libSBML model."""
    document = libsbml.SBMLDocument(level, version)
    model = document.createModel()
    model.setId("plain")
    vessel = model.createCompartment()
    vessel.setId("vessel")
    vessel.setConstant(True)
    vessel.setSpatialDimensions(3)
    vessel.setSize(2.0)
    for name, value, boundary in (("S", 1.0, False), ("P", 0.25, False), ("B", 3.0, True)):
        add_species(model, name, value, boundary)
    add_parameter(model, "k", 0.5)
    add_reaction(model, "r", {"S": -1.0, "P": 1.0}, "vessel * k * S")
    if change is not None:
        change(model)
    return libsbml.writeSBMLToString(document)


def add_species(model: Any, name: str, concentration: float, boundary: bool = False, place: str = "vessel") -> Any:
    species = model.createSpecies()
    species.setId(name)
    species.setCompartment(place)
    species.setInitialConcentration(concentration)
    species.setBoundaryCondition(boundary)
    species.setConstant(False)
    species.setHasOnlySubstanceUnits(False)
    return species


def add_parameter(model: Any, name: str, value: float, constant: bool = True) -> Any:
    parameter = model.createParameter()
    parameter.setId(name)
    parameter.setValue(value)
    parameter.setConstant(constant)
    return parameter


def add_compartment(model: Any, name: str, size: float) -> Any:
    compartment = model.createCompartment()
    compartment.setId(name)
    compartment.setConstant(True)
    compartment.setSpatialDimensions(3)
    compartment.setSize(size)
    return compartment


def add_reaction(
    model: Any, name: str, stoichiometry: dict[str, float], law: str, modifiers: tuple[str, ...] = ()
) -> None:
    reaction = model.createReaction()
    reaction.setId(name)
    reaction.setReversible(False)
    reaction.setFast(False)
    for species, number in stoichiometry.items():
        reference = reaction.createReactant() if number < 0 else reaction.createProduct()
        reference.setSpecies(species)
        reference.setStoichiometry(abs(number))
        reference.setConstant(True)
    for species in modifiers:
        reaction.createModifier().setSpecies(species)
    reaction.createKineticLaw().setMath(libsbml.parseL3Formula(law))


def add_assignment(model: Any, name: str, formula: str, kind: str = "AssignmentRule") -> None:
    rule = getattr(model, f"create{kind}")()
    if kind == "InitialAssignment":
        rule.setSymbol(name)
    elif kind != "AlgebraicRule":
        rule.setVariable(name)
    rule.setMath(libsbml.parseL3Formula(formula))


def law_of(formula: str) -> Callable[[Any], None]:
    """A change that gives the plain model's reaction another law, with B as a modifier."""

    def change(model: Any) -> None:
        reaction = model.getReaction("r")
        reaction.createModifier().setSpecies("B")
        reaction.getKineticLaw().setMath(libsbml.parseL3Formula(formula))

    return change


def unit(model: Any, name: str, kind: str, scale: int = 0, exponent: float = 1, multiplier: float = 1.0) -> None:
    definition = model.createUnitDefinition()
    definition.setId(name)
    part = definition.createUnit()
    part.setKind(libsbml.UnitKind_forName(kind))
    part.setExponent(exponent)
    part.setScale(scale)
    part.setMultiplier(multiplier)


def test_without_units_the_numbers_stand_and_it_says_so():
    model = read_sbml(plain())
    assert model.network.reservoirs == {"S": 2.0, "P": 2.0}
    assert model.network.feeds == {}  # nothing reads B
    np.testing.assert_array_equal(model.start, [1.0, 0.25])
    assert model.assumed == (
        "the model's time has no unit; its numbers are taken as s",
        "compartment 'vessel' has no unit; its numbers are taken as L",
        "the model's substance has no unit; its numbers are taken as mol",
    )
    found = model.network.relax(np.zeros((1, 0)), [0.0, 2.0], start=model.start, tolerance=1e-9)[0]
    np.testing.assert_allclose(found, [[1.0, 0.25], [np.exp(-1), 1.25 - np.exp(-1)]], rtol=1e-7)


def test_units_of_level_2_are_declared_by_its_specification():
    model = read_sbml(plain(level=2, version=4))
    assert model.assumed == ()
    np.testing.assert_array_equal(model.start, [1.0, 0.25])


def test_declared_units_are_converted():
    def change(model: Any) -> None:
        unit(model, "ml", "metre", scale=-2, exponent=3)
        unit(model, "molecules", "item", multiplier=1e15)
        unit(model, "minute", "second", multiplier=60.0)
        model.setSubstanceUnits("molecules")
        model.setVolumeUnits("ml")
        model.setTimeUnits("minute")

    model = read_sbml(plain(change))
    assert model.assumed == ()
    assert model.network.reservoirs == {"S": 2e-3, "P": 2e-3}
    np.testing.assert_allclose(model.start, np.array([1.0, 0.25]) * 1e15 / AVOGADRO / 1e-3, rtol=1e-14)
    found = model.network.relax(np.zeros((1, 0)), [60.0], start=model.start, tolerance=1e-9)[0, 0]
    np.testing.assert_allclose(found[0] / model.start[0], np.exp(-0.5), rtol=1e-7)


def test_units_that_are_no_moles_or_volumes_are_said():
    def change(model: Any) -> None:
        unit(model, "mg", "gram", scale=-3)
        model.setSubstanceUnits("mg")
        model.setTimeUnits("second")
        model.getCompartment("vessel").setSpatialDimensions(2)

    assert read_sbml(plain(change)).assumed == (
        "compartment 'vessel' is no volume; its size is taken as L",
        "the model's substance has the unit 'mg', which is no substance; its numbers are taken as mol",
    )


LAWS = [
    "vessel * (k * S^2 / (1 + sqrt(S)) + root(3, B) * 0.1 - 0.2 * P)",
    "vessel * k * ln(1 + S) * log10(2 + B) * log(3, 2 + S)",
    "k * S * exp(-B) * tanh(S) + abs(P - S) * 0.1 + (1/3) * S",
    "min(S, B, 2 * P) * k + max(S - 0.5, 0) + pi * avogadro * S * 1e-24",
    "piecewise(S, S > P, P) * k + 0.3 * piecewise(B, B >= S, S) + 0.1 * piecewise(S, 2 * P > S, 2 * P)",
    "k * S * extra + 0.1 * r2 + k2",
]


@pytest.mark.parametrize("law", LAWS)
def test_formulas_mean_what_they_mean_in_cvode(law: str):
    def change(model: Any) -> None:
        # what is computed: by a rule, from amounts, from an initial assignment that reads a rule, by another reaction
        add_species(model, "Q", 0.0).setHasOnlySubstanceUnits(True)
        add_species(model, "E", 0.0, boundary=True)
        for name in ("extra", "k2", "start"):
            add_parameter(model, name, 1.0, constant=name == "k2")
        add_assignment(model, "extra", "start + E * Q")
        add_assignment(model, "start", "0.25 * S")
        add_assignment(model, "E", "0.5 + B")
        add_assignment(model, "k2", "0.01 * vessel * B", "InitialAssignment")
        add_assignment(model, "Q", "4 * P + k2", "InitialAssignment")
        add_reaction(model, "r2", {"Q": -0.5, "P": 1.5}, "k2 * Q * E", ("E",))
        law_of(law)(model)
        for name in ("P", "E", "Q"):
            model.getReaction("r").createModifier().setSpecies(name)

    text = plain(change)
    model = read_sbml(text)
    times = [0.0, 0.3, 1.0, 4.0]
    expected = cvode(text, dict.fromkeys(model.network.reservoirs, 1.0), times)
    found = model.network.relax(np.zeros((1, 0)), times, start=model.start, tolerance=1e-9)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_constraints_are_said_not_to_be_watched():
    def change(model: Any) -> None:
        model.createConstraint().setMath(libsbml.parseL3Formula("S < 10"))

    assert read_sbml(plain(change)).assumed[0] == "the model's 1 constraints are not watched"


def test_conversion_factors_local_parameters_and_substance_units_of_one_species():
    def change(model: Any) -> None:
        unit(model, "mmol", "mole", scale=-3)
        model.setSubstanceUnits("mole")
        model.setVolumeUnits("litre")
        model.setTimeUnits("second")
        model.getSpecies("P").setSubstanceUnits("mmol")
        add_parameter(model, "thousand", 1e3)
        model.getSpecies("P").setConversionFactor("thousand")
        local = model.getReaction("r").getKineticLaw().createLocalParameter()
        local.setId("k")  # hides the global k
        local.setValue(0.25)

    text = plain(change)
    model = read_sbml(text, knobs=["r_k"])
    assert model.assumed == ()
    np.testing.assert_allclose(model.start, [1.0, 0.25e-3])
    np.testing.assert_array_equal(model.knobs, [0.25])
    (process,) = model.network.processes
    assert isinstance(process, Reaction)
    assert dict(process.stoichiometry) == pytest.approx({"S": -1.0, "P": 1.0})
    times = [0.0, 1.0, 5.0]
    found = model.network.relax(np.zeros((1, 0)), times, knobs=model.knobs, start=model.start, tolerance=1e-9)[0]
    np.testing.assert_allclose(found, cvode(text, {"S": 1.0, "P": 1e-3}, times), rtol=1e-6)
    with pytest.raises(ValueError, match="knob 'thousand' is a conversion factor"):
        read_sbml(text, knobs=["thousand"])


def test_a_reaction_between_compartments_stands_in_each():
    def change(model: Any) -> None:
        add_compartment(model, "cell", 0.5)
        add_species(model, "S_in", 0.1, place="cell")
        add_species(model, "H", 0.3, place="cell")
        add_species(model, "H_out", 0.2)
        add_reaction(model, "antiport", {"S": -1, "H": -2, "S_in": 1, "H_out": 2}, "0.3 * (S * H - S_in * H_out)")
        add_reaction(model, "leak", {"S_in": -1, "S": 1}, "0.1 * S_in")

    text = plain(change)
    model = read_sbml(text)
    assert model.labels == ("r", "antiport in vessel", "antiport in cell", "leak")
    times = [0.0, 1.0, 5.0, 20.0]
    expected = cvode(text, dict.fromkeys(model.network.reservoirs, 1.0), times)
    found = model.network.relax(np.zeros((1, 0)), times, start=model.start, tolerance=1e-9)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_species_that_a_reaction_gives_back_is_a_feed():
    def change(model: Any) -> None:
        add_species(model, "catalyst", 0.7)
        add_reaction(model, "c", {"S": -1.0, "P": 1.0}, "vessel * catalyst * S")
        for reference in (model.getReaction("c").createReactant(), model.getReaction("c").createProduct()):
            reference.setSpecies("catalyst")
            reference.setStoichiometry(1.0)
            reference.setConstant(True)

    model = read_sbml(plain(change))
    assert model.network.feeds == {"catalyst": 0.7}
    assert list(model.network.reservoirs) == ["S", "P"]


# --- what is refused


def event(model: Any) -> None:
    made = model.createEvent()
    made.setId("boom")
    made.setUseValuesFromTriggerTime(True)
    trigger = made.createTrigger()
    trigger.setMath(libsbml.parseL3Formula("S < 0.1"))
    trigger.setInitialValue(True)
    trigger.setPersistent(True)


def ruled(name: str, formula: str, kind: str) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        if name == "k":
            model.getParameter("k").setConstant(False)
        if name == "vessel":
            model.getCompartment("vessel").setConstant(False)
        add_assignment(model, name, formula, kind)

    return change


def changing_stoichiometry(model: Any) -> None:
    reference = model.getReaction("r").getReactant(0)
    reference.setId("how_many")
    reference.setConstant(False)
    add_assignment(model, "how_many", "1 + B")


REFUSED: list[tuple[Callable[[Any], None], str]] = [
    (event, "event 'boom': a network has no events"),
    (ruled("k", "0.1", "RateRule"), "rate rule for 'k': write it as a reaction"),
    (ruled("", "k - 2 * B", "AlgebraicRule"), "an algebraic rule: solve it"),
    (ruled("vessel", "2 + k", "AssignmentRule"), "compartment 'vessel' has a rule; give it a constant size"),
    (lambda m: m.getCompartment("vessel").setConstant(False), "compartment 'vessel' is not constant"),
    (lambda m: m.getCompartment("vessel").unsetSize(), "compartment 'vessel' has size nan; give it a positive one"),
    (lambda m: m.getSpecies("S").unsetInitialConcentration(), "species 'S' has no initial value"),
    (lambda m: m.getParameter("k").unsetValue(), "parameter 'k' has the value nan"),
    (lambda m: m.getReaction("r").getReactant(0).unsetStoichiometry(), "'r': the stoichiometry of 'S' has no value"),
    (lambda m: m.getReaction("r").unsetKineticLaw(), "reaction 'r' has no kinetic law"),
    (changing_stoichiometry, "stoichiometry 'how_many' has a rule"),
    (law_of("delay(S, 2) * k"), r"reaction 'r': 'delay\(S, 2\)' is no function"),
    (law_of("k * S * sin(B)"), r"reaction 'r': 'sin\(B\)' is no function"),
    (law_of("k * S * rateOf(B)"), r"'rateOf\(B\)' is no function"),
    (law_of("k * S * time"), "reaction 'r' reads the time"),
    (law_of("piecewise(k * S, S > 0.5, 0)"), "reaction 'r': a piecewise that is no maximum or minimum"),
    (law_of("k * S * INF"), "reaction 'r': the number inf in a formula"),
    (law_of("k * nobody"), r"line \d+: not valid SBML, rule 10215: .*nobody"),
    (lambda m: m.removeReaction("r"), "no reaction of the model changes a free species"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_what_a_network_cannot_be_is_refused(change: Callable[[Any], None], message: str):
    read_sbml(plain())
    with pytest.raises(ValueError, match=message):
        read_sbml(plain(change))


def test_level_2_refusals():
    with pytest.raises(ValueError, match="reaction 'r' is fast; give it a large rate constant"):
        read_sbml(plain(lambda model: model.getReaction("r").setFast(True), level=2, version=4))

    def doubled(model: Any) -> None:
        model.getReaction("r").getProduct(0).createStoichiometryMath().setMath(libsbml.parseL3Formula("1 + 1"))

    with pytest.raises(ValueError, match="the stoichiometry of 'P' is a formula; write a number"):
        read_sbml(plain(doubled, level=2, version=4))
    with pytest.raises(ValueError, match="reaction 'r': its kinetic law has units of its own; use the model's"):
        read_sbml(plain(lambda m: m.getReaction("r").getKineticLaw().setTimeUnits("second"), level=2, version=1))
    with pytest.raises(ValueError, match="species 'S' has spatialSizeUnits; declare its compartment's units"):
        read_sbml(plain(lambda m: m.getSpecies("S").setSpatialSizeUnits("litre"), level=2, version=1))
    with pytest.raises(ValueError, match="is SBML Level 1; save it as Level 2 or 3"):
        read_sbml(plain(level=1, version=2))


@pytest.mark.parametrize(
    ("knobs", "terminals", "message"),
    [
        (["kk"], (), "knob 'kk': the model has no such parameter; did you mean 'k'"),
        (["vessel"], (), "knob 'vessel': the model has no such parameter"),
        (["k", "k"], (), "knob 'k' is named twice"),
        (["idle"], (), "knob 'idle' is read by no kinetic law; known: k, seed"),
        (["extra"], (), "knob 'extra' is computed by the model"),
        (["seed"], (), "initial assignment of 'P' reads knob 'seed' only once"),
        ((), ["S"], "terminal 'S' is a free species; set boundaryCondition"),
        ((), ["X"], "terminal 'X' is no clamped species of a kinetic law; did you mean|known: B"),
        ((), ["B", "B"], "terminal 'B' is named twice"),
    ],
)
def test_knobs_and_terminals_that_cannot_be(knobs: list[str], terminals: list[str], message: str):
    def change(model: Any) -> None:
        for name in ("idle", "extra", "seed"):
            add_parameter(model, name, 1.0, constant=name != "extra")
        add_assignment(model, "extra", "2 * seed")
        add_assignment(model, "P", "0.5 * extra", "InitialAssignment")
        law_of("k * S * B * extra")(model)

    read_sbml(plain(change), knobs=["k"], terminals=["B"])
    with pytest.raises(ValueError, match=message):
        read_sbml(plain(change), knobs=knobs, terminals=terminals)


def test_text_that_is_no_sbml():
    with pytest.raises(ValueError, match=r"the SBML text, line \d: not valid SBML"):
        read_sbml("<p>hello</p>")
    with pytest.raises(FileNotFoundError):
        read_sbml("no_such_model.xml")


def test_a_package_that_changes_the_meaning_is_refused():
    package = 'xmlns:comp="http://www.sbml.org/sbml/level3/version1/comp/version1" comp:required="true"'
    text = plain().replace("<sbml ", f"<sbml {package} ", 1)
    with pytest.raises(ValueError, match="needs the SBML package 'comp'; flatten the model"):
        read_sbml(text)


def test_without_libsbml_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "libsbml", None)
    with pytest.raises(ImportError, match=r"uv pip install 'labthermo\[sbml\]'"):
        read_sbml(plain())


def test_a_model_is_a_device_file(tmp_path: Path):
    from labthermo.errors import StationFileError
    from simulators.network_file import read_network

    path = MODELS / "reversible_vessel.xml"
    file = read_network(path)
    assert file.carriers == "molecules"
    assert file.text == path.read_text(encoding="utf-8")
    assert len(file.labels) == len(file.network.processes)
    state = file.network.steady_state(np.zeros((1, 0)), start=read_sbml(path).start)
    assert state.verdict[0] == "settled"
    wrong = tmp_path / "wrong.xml"
    wrong.write_text("<sbml>")
    with pytest.raises(StationFileError, match="wrong"):
        read_network(wrong)
    with pytest.raises(StationFileError, match="nowhere"):
        read_network(tmp_path / "nowhere.xml")
