"""Audits against Joule heat by hand, Tellegen's theorem, the second law over random networks, and a law that breaks it.

Random conductors are of one size, kT/e = 1 V and currents of about 1 A, so that none hides behind another.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from simulators import laws
from simulators.audits import GAS_CONSTANT, audit, detailed_balance, predicted_settling_time
from simulators.conductors import (
    Affine,
    BlockingLevel,
    Conductor,
    Curve,
    Exchange,
    Formula,
    GaussianNdc,
    LandauerLevel,
    Linear,
    MassAction,
    MetallicIsland,
    MichaelisMenten,
    OrderedBiBi,
    PartialInhibition,
    SerialDoubleDot,
    SingleLevel,
    SpinfulLevel,
    SubstrateInhibition,
    Table,
)
from simulators.network import Network
from simulators.processes import Edge, Flow, Reaction

E = laws.ELEMENTARY_CHARGE
ONE = 1.0 / E
UNIT_T = 1.0 / laws.BOLTZMANN_EV


def electrical_laws(rng: np.random.Generator) -> list[Conductor]:
    """One of every reversible law between two potentials, parameters drawn."""
    level, other = rng.uniform(-4, 4, 2)
    a, b, c, d = ONE * 10 ** rng.uniform(-1, 1, 4)
    levers = (float(rng.uniform(0, 1)), float(rng.uniform(0, 1)))
    grid = np.linspace(-20, 20, 21)
    table = np.tanh(grid[:, None] - grid[None, :]) * np.exp(-0.01 * (grid[:, None] ** 2 + grid[None, :] ** 2))
    return [
        Linear(10 ** rng.uniform(-1, 1)),
        GaussianNdc(1.0, rng.uniform(0.5, 3.0), 0.05),
        SingleLevel(level, a, b, UNIT_T, levers),
        BlockingLevel((level, level + 3.0), (a, b), (c, 0.05 * d), UNIT_T, levers),
        SpinfulLevel(level, a, b, UNIT_T, levers),
        SerialDoubleDot((level, other), 0.05, ONE / 10, ONE / 20, UNIT_T, levers, levers[::-1]),
        LandauerLevel(level, a, b, UNIT_T, levers),
        MetallicIsland(1.0, rng.uniform(0.5, 5.0), rng.uniform(0.2, 2.0), rng.uniform(-1, 1), UNIT_T),
        Curve((-3.0, -1.0, 0.0, 0.5, 1.0, 4.0), (-1.0, -1.2, 0.0, 1.0, 0.2, 0.9)),
        Table(tuple(grid), tuple(map(tuple, table)), level, 1.0, levers),
    ]


def random_electrical(rng: np.random.Generator) -> Network:
    """2 to 6 free nodes, 2 terminals and a feed: a tree of resistors that reaches a terminal, and any conductors."""
    n = int(rng.integers(2, 7))
    nodes, clamped = [f"n{k}" for k in range(n)], ["x", "lo", "fixed"]
    edges: list[Any] = []
    for k, node in enumerate(nodes):
        other = clamped[int(rng.integers(3))] if k == 0 else nodes[int(rng.integers(k))]
        edges.append(Edge(node, other, Linear(10 ** rng.uniform(-2, 0))))
        for law in rng.choice(np.array(electrical_laws(rng), dtype=object), 2, replace=False):
            far = [m for m in (*nodes, *clamped) if m != node]
            ends = [node, far[int(rng.integers(len(far)))]]
            rng.shuffle(ends)
            edges.append(Edge(ends[0], ends[1], law))
    return Network(dict.fromkeys(nodes, 1.0), clamped[:2], edges, feeds={"fixed": float(rng.normal())})


def random_chemical(rng: np.random.Generator) -> Network:
    """Two or three cells of A, B and C that exchange with clamped cells; reversible reactions, and one enzyme edge.

    The equilibrium constants of A -> B, B -> C and A -> C come from energies of A, B, C: no cycle contradicts them.
    """
    cells = [f"v{k}" for k in range(int(rng.integers(2, 4)))]
    energy = dict(zip("ABC", rng.normal(size=3), strict=True))
    processes: list[Any] = []
    for k, cell in enumerate(cells):
        before = "in" if k == 0 else cells[k - 1]
        processes += [Edge(f"{before}.{s}", f"{cell}.{s}", Exchange(10 ** rng.uniform(-2, 0))) for s in "ABC"]
        for s, p in ("AB", "BC", "AC"):
            keq = float(np.exp(energy[s] - energy[p]))
            vmax, ks, kp, ki, b = 10 ** rng.uniform(-1, 1, 5)
            law = [
                MichaelisMenten(vmax, ks, kp, keq),
                SubstrateInhibition(vmax, ks, ki, kp, keq),
                PartialInhibition(vmax, ks, ki, b, kp, keq),
                MassAction(vmax * keq, 1, vmax),
            ][int(rng.integers(4))]
            processes.append(Reaction({f"{cell}.{s}": -1, f"{cell}.{p}": 1}, law))
    keq = float(np.exp(energy["A"] - energy["B"]))
    processes.append(Edge(f"{cells[-1]}.A", "in.B", SubstrateInhibition(1.0, 1.0, 0.3, 2.0, keq)))
    free = [f"{cell}.{s}" for cell in cells for s in "ABC"]
    return Network(dict.fromkeys(free, 1.0), ["in.A", "in.B", "in.C"], processes)


# --- the second law, and what it rests on

thousand = settings(max_examples=500, deadline=None, derandomize=True)


@thousand
@given(st.integers(0, 2**32 - 1))
@example(2708027)  # long steps across a kink of a Table: motionless, and not at rest
def test_electrical_networks_conserve_charge_and_produce_entropy(seed: int):
    rng = np.random.default_rng(seed)
    net = random_electrical(rng)
    inputs = rng.uniform(-8, 8, (2, 2))
    injected = rng.normal(size=(2, len(net.reservoirs)))
    state = net.steady_state(inputs, injected=injected)
    if not state.stable.any():
        return
    found = audit(net, state, within=1e3)  # settled at once: times are tested elsewhere
    held = state.stable
    assert found.reasons == (() if held.all() else ("1 of 2 rows did not settle: they are nan",))
    assert found.conservation[held].max() <= 1e-10
    assert found.by_process[held].min() >= 0.0
    assert found.entropy[held].min() >= 0.0
    # Tellegen: the heat is what terminals, feeds and injected currents bring
    supplied = sum(state.inputs[:, k] * net.terminal_currents(state, t) for k, t in enumerate(net.terminals))
    supplied += net.feeds["fixed"] * net.terminal_currents(state, "fixed") + (injected * state.potentials).sum(axis=1)
    gross = found.by_process.sum(axis=1)[held].max()
    assert np.abs(supplied - found.dissipation)[held].max() <= 1e-10 * gross


@thousand
@given(st.integers(0, 2**32 - 1))
def test_chemical_networks_conserve_matter_and_produce_entropy(seed: int):
    rng = np.random.default_rng(seed)
    net = random_chemical(rng)
    state = net.steady_state(10 ** rng.uniform(-2, 1, (2, 3)), start=10 ** rng.uniform(-2, 1, len(net.reservoirs)))
    held = state.stable
    assert held.any()
    found = audit(net, state, within=1e3)  # settled at once: times are tested elsewhere
    assert found.conservation[held].max() <= 1e-10
    assert found.by_process[held].min() >= -1e-12 * found.dissipation[held].max()
    assert found.entropy[held].min() >= 0.0
    assert found.entropy == pytest.approx(found.dissipation / 298.15, nan_ok=True)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.floats(-3, 3))
def test_every_reversible_law_obeys_detailed_balance(seed: int, potential: float):
    rng = np.random.default_rng(seed)
    edges = [Edge("x", "y", law) for law in electrical_laws(rng)]
    net = Network({"y": 1.0}, ["x"], edges, feeds={"far": 5.0})
    balance = detailed_balance(net, potential=potential)
    assert balance.shape == (len(edges),)
    assert balance.max() <= 1e-12
    assert detailed_balance(random_chemical(rng)).max() <= 1e-12


def test_a_law_that_drives_current_at_zero_bias_is_caught():
    """A thermopower without a heat source: it takes heat from the resistor's side for ever."""
    broken = Formula("g*(a - b) + j", ("a", "b"), {"g": 1e-6, "j": 1e-9})
    sound = Formula("g*(a - b)", ("a", "b"), {"g": 1e-6})
    edges = [Edge("x", "y", broken), Edge("x", "y", sound), Edge("y", "x", Linear(1e-6))]
    net = Network({"y": 1e-12}, ["x"], edges)
    balance = detailed_balance(net)
    assert balance[0] > 1e-6
    assert balance[1:].tolist() == [0.0, 0.0]
    found = audit(net, net.steady_state([[0.0]]))
    assert found.by_process[0, 0] < 0  # work from nothing
    assert found.by_process[0, 1:].min() > 0


def test_equilibrium_constants_that_contradict_each_other_are_caught():
    """A -> B -> C -> A with K = 2 each would turn for ever: 2*2*2 is not 1."""
    cycle = [Reaction({f"v.{s}": -1, f"v.{p}": 1}, MichaelisMenten(1.0, 1.0, 1.0, 2.0)) for s, p in ("AB", "BC", "CA")]
    net = Network(dict.fromkeys(("v.A", "v.B", "v.C"), 1.0), [], cycle)
    assert detailed_balance(net).min() > 1e-3
    sound = [*cycle[:2], replace(cycle[2], law=MichaelisMenten(1.0, 1.0, 1.0, 0.25))]
    assert detailed_balance(Network(net.reservoirs, [], sound)).max() <= 1e-12


# --- by hand


def test_two_resistors_give_joule_heat():
    net = Network({"y": 1e-12}, ["x", "lo"], edges=[("x", "y", Linear(2e-6)), ("y", "lo", Linear(6e-6))])
    state = net.steady_state([[4.0, 0.0], [0.0, 0.0]])
    found = audit(net, state, temperature=4.0, within=1e-3)
    current, r1, r2 = 4.0 * 1.5e-6, 1 / 2e-6, 1 / 6e-6
    assert found.by_process[0] == pytest.approx([current**2 * r1, current**2 * r2], rel=1e-12)
    assert found.dissipation == pytest.approx([current**2 * (r1 + r2), 0.0], rel=1e-12)
    assert found.entropy == pytest.approx(found.dissipation / 4.0)
    assert found.slowest == pytest.approx([1e-12 / 8e-6] * 2)
    # y runs exponentially from 0 to 1 V: within 1 mV after ln(1000) time constants
    assert found.settling[0] == pytest.approx(math.log(1000) * 1e-12 / 8e-6, rel=1e-3)
    assert predicted_settling_time(net, state, 1e-3) == pytest.approx([found.settling[0]] * 2, rel=1e-3)
    assert found.stored == pytest.approx([0.5e-12, 0.0])
    assert found.energy == pytest.approx(found.dissipation * found.settling + found.stored)
    assert found.reasons == ()
    assert audit(net, state).settling[0] == pytest.approx(found.settling[0])  # 1 mV is a thousandth of the move


def test_temperatures_are_those_of_the_laws_at_their_knobs():
    dot = SingleLevel(0.0, 1e9, 1e9, Affine(1.0, {"T": 1.0}))
    net = Network({"y": 1e-12}, ["x", "lo"], knobs=["T"], edges=[("x", "y", dot), ("y", "lo", Linear(1e-7))])
    state = net.steady_state([[1e-3, 0.0]], knobs=[0.5])
    found = audit(net, state)
    assert found.entropy == pytest.approx(found.dissipation / 1.5)  # the resistor's too: no other is stated
    warm = audit(net, state, temperature=300.0)
    assert warm.entropy == pytest.approx(found.by_process @ [1 / 1.5, 1 / 300.0])


def test_a_reaction_dissipates_its_affinity():
    """A -> B in one cell between clamped A and B: v R T ln(Keq A/B), and what the two exchanges lose."""
    volume, q = 2.0, 0.1
    net = Network(
        {"v.A": volume, "v.B": volume}, ["in.A", "in.B"],
        [Reaction({"v.A": -1, "v.B": 1}, MichaelisMenten(1.0, 1.0, 2.0, 5.0)),
         Edge("in.A", "v.A", Exchange(q)), Edge("in.B", "v.B", Exchange(q))],
    )  # fmt: skip
    state = net.steady_state([[1.0, 0.01]])
    a, b = state.potentials[0]
    flux = q * (1.0 - a)  # mol/s
    found = audit(net, state, temperature=310.0)
    expected = GAS_CONSTANT * 310.0 * flux * np.array([math.log(5 * a / b), math.log(1 / a), -math.log(0.01 / b)])
    assert found.by_process[0] == pytest.approx(expected, rel=1e-9)
    # along the chain the affinities add up to that of the whole: RT ln(Keq A_in/B_in)
    assert found.dissipation[0] == pytest.approx(GAS_CONSTANT * 310.0 * flux * math.log(5 * 1.0 / 0.01), rel=1e-9)
    assert found.stored[0] == 0.0


def test_lactate_dehydrogenase_dissipates_by_its_four_reactants_only():
    """devices.md, section 2, BIN, in mol/L; the enzyme is read, not used up."""
    law = OrderedBiBi(50e6, 50.0, 5e6, 500.0, 500.0, 500.0, 3.3333e6, 2.5e4, keb=101e-6)
    species = dict(zip(("A", "B", "P", "Q"), (2e-4, 1e-4, 1e-3, 1e-4), strict=True))
    nu = {"w.A": -1, "w.B": -1, "w.P": 1, "w.Q": 1}
    edges = [Edge(f"in.{s}", f"w.{s}", Exchange(1e-6)) for s in species]
    net = Network(
        {node: 2e-4 for node in nu}, [f"in.{s}" for s in species],
        [Reaction(nu, law, reads=("E",)), *edges], feeds={"E": 1e-8},
    )  # fmt: skip
    state = net.steady_state([list(species.values())], start=list(species.values()))
    found = audit(net, state)
    a, b, p, q = state.potentials[0]
    v = net.currents(state)[0, 0]
    assert v > 0
    assert found.by_process[0, 0] == pytest.approx(v * GAS_CONSTANT * 298.15 * math.log(2.5e4 * a * b / (p * q)))
    assert found.reasons == ()
    assert detailed_balance(net).max() <= 1e-12


def test_what_cannot_be_known_is_nan_and_says_why():
    flow = Flow("f", "v", 0.1)
    irreversible = Reaction({"v.S": -1, "v.P": 1}, SubstrateInhibition(1.0, 1.0, 1.0))
    net = Network({"v.S": 1.0, "v.P": 1.0}, ["f.S", "f.P"], [flow, irreversible])
    state = net.steady_state([[2.0, 0.0]])
    found = audit(net, state)
    assert found.conservation[0] <= 1e-12
    assert np.isnan(found.dissipation[0])
    assert np.isnan(found.entropy[0])
    assert len(found.reasons) == 2
    assert "process 0 (f -> v) carries liquid" in found.reasons[0]
    assert "irreversible" in found.reasons[1]
    assert np.isnan(detailed_balance(net)).all()
    # reversible: the reaction counts, the liquid is left out and named
    law = SubstrateInhibition(1.0, 1.0, 1.0, 1.0, 10.0)
    net = Network(net.reservoirs, net.terminals, [flow, replace(irreversible, law=law)])
    state = net.steady_state([[2.0, 0.0]])
    found = audit(net, state)
    s, p = state.potentials[0]
    rate = net.currents(state)[0, 1]
    assert found.dissipation[0] == pytest.approx(rate * GAS_CONSTANT * 298.15 * math.log(10 * s / p))
    assert len(found.reasons) == 1


def test_a_stoichiometry_that_its_law_does_not_balance_has_no_affinity():
    one = Reaction({"v.A": -2, "v.B": 1}, MassAction(1.0, 1, 1.0))  # reads A once: its rest is not the reaction's
    two = Reaction({"v.A": -1, "v.B": 1}, MassAction(1.0, 2, 1.0), reads=("v.A",))
    net = Network({"v.A": 1.0, "v.B": 1.0}, [], [one, two])
    found = audit(net, net.steady_state(np.zeros((1, 0)), start=[1.0, 0.5]))
    assert np.isnan(found.by_process).all()
    assert len(found.reasons) >= 2
    assert "stoichiometry" in found.reasons[0]


def test_rows_that_do_not_settle_are_nan_but_their_conservation_shows_it():
    net = Network({"y": 1e-12}, ["x"], edges=[("x", "y", Curve((-1.0, 0.0, 1.0), (-1e-9, 0.0, 1e-9)))])
    state = net.steady_state([[0.0], [0.0]], injected=[[0.0], [1e-9]])
    state.potentials[1] += 0.5
    unsettled = replace(state, stable=np.array([True, False]), verdict=np.array(["settled", "unsettled"]))
    found = audit(net, unsettled)
    assert np.isfinite(found.dissipation[0])
    assert np.isnan([found.dissipation[1], found.entropy[1], found.settling[1], found.energy[1]]).all()
    assert found.conservation[0] == 0.0
    assert found.conservation[1] > 0.1
    assert "1 of 2 rows" in found.reasons[-1]


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_an_impossible_temperature_is_refused(temperature: float):
    net = Network({"y": 1e-12}, ["x"], edges=[("x", "y", Linear(1e-6))])
    with pytest.raises(ValueError, match="temperature"):
        audit(net, net.steady_state([[1.0]]), temperature=temperature)


def test_an_impossible_tolerance_is_refused():
    net = Network({"y": 1e-12}, ["x"], edges=[("x", "y", Linear(1e-6))])
    state = net.steady_state([[1.0]])
    with pytest.raises(ValueError, match="tolerance"):
        predicted_settling_time(net, state, 1.0)
    with pytest.raises(ValueError, match="within"):
        audit(net, state, within=0.0)
