"""A device file becomes the network that it describes, and every mistake in it points at its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labthermo.errors import StationFileError
from simulators.conductors import (
    Affine,
    BlockingLevel,
    Curve,
    Decades,
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
)
from simulators.network_file import read_network
from simulators.processes import Edge, Flow, Reaction

EXAMPLE = Path(__file__).parents[3] / "examples" / "sine" / "ndc_dots.yaml"
ENZYMES = Path(__file__).parents[3] / "examples" / "ldh_two_wells" / "two_wells.yaml"

# The trained check point of the reference device: (plunger, left barrier, right barrier) of each dot, in V.
CHECK_POINT = np.array(
    [-22.2, -49.9, 18.3, 23.7, -36.7, -25.4, 15.6, -18.1, -26.0, -16.6, -67.3, -37.2, 10.1, -21.1, -52.5]
) * 1e-3  # fmt: skip


def test_example_is_the_reference_device():
    file = read_network(EXAMPLE)
    assert file.carriers == "electrons"
    assert file.labels == ("y-lo", "dot1", "dot2", "dot3", "dot4", "dot5")
    assert file.text == EXAMPLE.read_text()
    assert file.network.reservoirs == {"y": 10e-12}
    assert file.network.terminals == ("x", "lo")
    assert file.network.knobs == tuple(f"{letter}{k}" for k in range(1, 6) for letter in "plr")
    assert file.network.processes[0] == Edge("y", "lo", Linear(1 / 3.6e6))
    assert file.network.processes[3] == Edge(
        "x",
        "y",
        BlockingLevel(
            levels=(Affine(1.68e-3, {"p3": -0.05}), Affine(2.33e-3, {"p3": -0.046})),
            gamma_left=(Decades(1e9, {"l3": 1 / 0.15}), Decades(1e9, {"l3": 1 / 0.15})),
            gamma_right=(Decades(1e9, {"r3": 1 / 0.15}), Decades(5e7, {"r3": 1 / 0.15})),
            temperature=1.5,
        ),
    )


def test_example_reaches_its_known_error_at_the_check_point():
    network = read_network(EXAMPLE).network
    phase = np.linspace(0, 2 * np.pi, 201)
    inputs = np.column_stack([np.linspace(0.90e-3, 2.70e-3, 201), np.zeros(201)])
    potentials = network.steady_state(inputs, CHECK_POINT).potentials[:, 0]
    error = (potentials - (0.260e-3 + 0.130e-3 * np.sin(phase))) / 0.130e-3
    assert np.sqrt(np.mean(error**2)) == pytest.approx(0.0021, abs=0.0002)


LAWS = """
carriers: positive
reservoirs: {h: 1 pF, Y2: 2 pF}
terminals: [x, 0]
knobs: [g]
processes:
  - {edge: [x, h], law: Linear, conductance: {value: 1 uS, by: {g: 2 uS/V}}}
  - {edge: [h, Y2], law: GaussianNdc, conductance: 1 uS, width: 200 mV, leak: 100 nS}
  - {edge: [h, Y2], law: GaussianNdc, conductance: 1 uS, width: 200 mV}
  - edge: [Y2, 0]
    for: {side: [a, 2]}
    law: SingleLevel
    level: 1 meV
    gamma_left: {value: 1 GHz, decades: {g: -100 mV}}
    gamma_right: 2e9 1/s
    temperature: 100 mK
    lead_levers: [0.1, 100 meV/V]
"""


def test_every_law(tmp_path):
    path = tmp_path / "laws.yaml"
    path.write_text(LAWS)
    file = read_network(path)
    level = SingleLevel(1e-3, Decades(1e9, {"g": pytest.approx(-10.0)}), 2e9, 0.1, (0.1, 0.1))
    assert [process.law for process in file.network.processes] == [
        Linear(Affine(1e-6, {"g": 2e-6})),
        GaussianNdc(1e-6, 0.2, 1e-7),
        GaussianNdc(1e-6, 0.2, 0.0),
        level,
        level,
    ]
    assert file.labels == ("x-h", "h-Y2", "h-Y2", "Y2-0 a", "Y2-0 2")


DOTS = """
carriers: holes
reservoirs: {h: 1 pF}
terminals: [x, lo, gate]
knobs: [g]
processes:
  - edge: [x, h]
    reads: [gate]
    law: SpinfulLevel
    level: {value: 1 meV, by: {g: -50 meV/V}}
    gamma_left: 1 GHz
    gamma_right: 2 GHz
    temperature: 1 K
    node_levers: [20 meV/V]
  - edge: [x, h]
    law: SerialDoubleDot
    levels: [1 meV, {value: 2 meV, by: {g: -0.1 eV/V}}]
    coupling: {value: 1 ueV, decades: {g: 50 mV}}
    gamma_left: 1 GHz
    gamma_right: 2 GHz
    temperature: 1 K
    left_levers: [0.1, 0]
    right_levers: [0, 0.1]
  - {edge: [h, lo], law: LandauerLevel, level: 1 meV, gamma_left: 1 GHz, gamma_right: 2 GHz, temperature: 1 K}
  - edge: [h, lo]
    reads: [gate]
    law: MetallicIsland
    resistance_left: 100 kohm
    resistance_right: 1 Mohm
    charging_energy: 1 meV
    gate_charge: {value: 10 %, by: {g: 20 1/V}}
    temperature: 1 K
    lead_levers: [0.4, 0.4]
    node_levers: [0.2]
  - {edge: [h, lo], law: Curve, voltages: [-10 mV, 0, 10 mV], currents: [-1 nA, 0, 2 nA], scale: {value: 2, by: {g: 3}}}
  - edge: [h, lo]
    law: Formula
    expression: g*(a - b) + c*0
    nodes: [a, b, c]
    parameters: {g: {value: 1.0e-6, by: {g: 2.0e-6}}}
    bends_over: 1 mV
    reads: [gate]
"""


def test_every_dot(tmp_path):
    path = tmp_path / "dots.yaml"
    path.write_text(DOTS)
    file = read_network(path)
    assert file.network.processes == (
        Edge(
            "x",
            "h",
            SpinfulLevel(Affine(1e-3, {"g": -0.05}), 1e9, 2e9, 1.0, node_levers=(0.02,)),
            reads=("gate",),
        ),
        Edge(
            "x",
            "h",
            SerialDoubleDot(
                (1e-3, Affine(2e-3, {"g": -0.1})), Decades(1e-6, {"g": 20.0}), 1e9, 2e9, 1.0, (0.1, 0.0), (0.0, 0.1)
            ),
        ),
        Edge("h", "lo", LandauerLevel(1e-3, 1e9, 2e9, 1.0)),
        Edge(
            "h",
            "lo",
            MetallicIsland(1e5, 1e6, 1e-3, Affine(0.1, {"g": 20.0}), 1.0, (0.4, 0.4), (0.2,)),
            reads=("gate",),
        ),
        Edge("h", "lo", Curve((-0.01, 0.0, 0.01), (-1e-9, 0.0, 2e-9), Affine(2.0, {"g": 3.0}))),
        Edge(
            "h",
            "lo",
            Formula("g*(a - b) + c*0", ("a", "b", "c"), {"g": Affine(1e-6, {"g": 2e-6})}, bends_over=1e-3),
            reads=("gate",),
        ),
    )
    assert file.network.steady_state([[5e-3, 0.0, 0.0]], [0.0]).verdict == ["settled"]


LIQUID = """
carriers: molecules
vessels:
  a: {volume: 100 uL, species: [s, p]}
  b: {volume: 1 mL, species: [s, p, i]}
terminals: [inlet.s]
feeds: {stock: {s: 3 mM, p: 1 uM}}
knobs: [q, pump]
processes:
  - {flow: [stock, a], rate: {value: 10 uL/min, by: {q: 50 %}}}
  - {flow: [inlet, b], rate: 6 mL/min}
  - {flow: [a, b], rate: pump}
  - {flow: [b, waste], rate: 1 uL/s}
  - {edge: [a.s, b.s], law: Exchange, rate: 1 uL/s}
  - {edge: [a.p, b.p], law: Exchange, rate: q}
  - {edge: [a.s, b.p], law: MichaelisMenten, vmax: 1 nmol/s, km_substrate: 2 mM, km_product: 3 mM, keq: 100}
  - {reaction: {a.s: -1, a.p: 1}, law: MichaelisMenten, vmax: 1 uM/s, km_substrate: 2 mM}
  - {reaction: {a.s: -1, a.p: 2}, law: SubstrateInhibition, vmax: 1 uM/s, km_substrate: 2 mM, ki: 5 uM}
  - {reaction: {a.s: -1}, reads: [a.p], law: PartialInhibition, vmax: 1 mM/min, km_substrate: 2 mM, kss: 1 mM, b: 20 %}
  - {reaction: {b.s: -1}, law: MassAction, forward: 0.06 1/min}
  - {for: {v: [a, b]}, reaction: {"{v}.s": -1, "{v}.p": 1}, law: MassAction, forward: 2 1/s, reverse: 0.5 1/s}
  - {reaction: {b.s: -1, b.i: -1, b.p: 1}, law: MassAction, substrates: 2, forward: 5 1/mM/s, reverse: 7 1/s}
  - {edge: [a.p, b.p], law: MassAction, forward: 1 uL/s, reverse: 2 uL/s}
  - {reaction: {a.s: -1}, law: Formula, expression: k*S*S, nodes: [S], parameters: {k: 2.5}}
"""


def test_every_process_of_vessels(tmp_path):
    path = tmp_path / "liquid.yaml"
    path.write_text(LIQUID)
    file = read_network(path)
    network = file.network
    assert file.carriers == "molecules"
    assert network.reservoirs == {"a.s": 1e-4, "a.p": 1e-4, "b.s": 1e-3, "b.p": 1e-3, "b.i": 1e-3}
    assert network.terminals == ("inlet.s",)
    assert network.feeds == {"stock.s": 3e-3, "stock.p": 1e-6}
    reversible = MassAction(2.0, 1, 0.5)
    assert network.processes == (
        Flow("stock", "a", Affine(pytest.approx(1e-5 / 60), {"q": 0.5})),
        Flow("inlet", "b", pytest.approx(1e-4)),
        Flow("a", "b", Affine(0.0, {"pump": 1.0})),
        Flow("b", None, 1e-6),
        Edge("a.s", "b.s", Exchange(1e-6)),
        Edge("a.p", "b.p", Exchange(Affine(0.0, {"q": 1.0}))),
        Edge("a.s", "b.p", MichaelisMenten(1e-9, 2e-3, 3e-3, 100.0)),
        Reaction({"a.s": -1, "a.p": 1}, MichaelisMenten(1e-6, 2e-3)),
        Reaction({"a.s": -1, "a.p": 2}, SubstrateInhibition(1e-6, 2e-3, 5e-6)),
        Reaction({"a.s": -1}, PartialInhibition(pytest.approx(1e-3 / 60), 2e-3, 1e-3, 0.2), ("a.p",)),
        Reaction({"b.s": -1}, MassAction(pytest.approx(0.001))),
        Reaction({"a.s": -1, "a.p": 1}, reversible),
        Reaction({"b.s": -1, "b.p": 1}, reversible),
        Reaction({"b.s": -1, "b.i": -1, "b.p": 1}, MassAction(pytest.approx(5e3), 2, 7.0)),
        Edge("a.p", "b.p", MassAction(1e-6, 1, 2e-6)),
        Reaction({"a.s": -1}, Formula("k*S*S", ("S",), {"k": 2.5})),
    )
    assert file.labels[:5] == ("stock-a", "inlet-b", "a-b", "b-waste", "a.s-b.s")
    assert file.labels[10:13] == ("b.s -> nothing", "a.s -> a.p", "b.s -> b.p")
    state = network.steady_state([[1e-3]], np.array([5.0, 8.0]) * 1e-6 / 60)
    assert state.verdict == ["settled"]


def test_the_enzyme_of_the_example_has_its_constants_in_mol_and_litres():
    law = read_network(ENZYMES).network.processes[-1]
    assert isinstance(law, Reaction)
    assert law.law == OrderedBiBi(
        k1=5e7, k1r=50, k2=5e6, k2r=500, k3=500, k4=500, k4r=3.333333333e6, keq=2.5e4, keb=101e-6
    )
    assert law.stoichiometry == {"well2.nadh": -1, "well2.pyruvate": -1, "well2.lactate": 1, "well2.nad": 1}
    assert law.reads == ("well2.ldh",)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("law: Linear", "law: Liner", ":13: processes[0].law: 'Liner' is unknown; did you mean 'Linear'?"),
        ("law: Linear", "", ":12: processes[0].law: is missing"),
        ("resistance: 3.6", "resistanse: 3.6", ":14: processes[0].resistanse: unknown key; did you mean 'resistance'?"),
        ("resistance: 3.6 Mohm", "resistance: 0", ":14: processes[0].resistance: 0 Ω is out of bounds"),
        ("resistance: 3.6 Mohm", "", ":12: processes[0]: a Linear process takes conductance or resistance"),
        ("[y, lo] ", "[y, low] ", ":12: processes[0].edge: no reservoir or terminal 'low'; did you mean 'lo'?"),
        ("[y, lo] ", "[y, y] ", ":12: processes[0].edge: joins 'y' to itself"),
        ('"p{k}": -0.050', '"q{k}": -0.050', ":20: processes[1].levels: no knob 'q1'"),
        ('"p{k}": -0.050', '"p{j}": -0.050', ":20: processes[1].levels: no knob 'p{j}'"),
        ("-0.050 eV/V", "-0.050 eV", ":21: processes[1].levels[0].by.p{k}: '-0.050 eV' is not in eV/V"),
        ("1.68 meV", "1.68 mV", ":21: processes[1].levels[0].value: '1.68 mV' is not in eV"),
        ("150 mV}", "0 mV}", ":24: processes[1].gamma_left[0].decades: 0 V per decade for 'l{k}'"),
        ("name: dot{k}", "name: dot", ":17: processes[1].name: 'dot' is another process's name"),
        ("electrons  ", "electron  ", ":4: carriers: 'electron' is not allowed here; did you mean 'electrons'?"),
        ("{y: 10 pF}", "{y: 10 pF, z: 1 pF}", ":6: reservoirs.z: no process joins 'z' to anything"),
        ("[x, lo]", "[x, lo, y]", ":7: terminals: 'y' stands twice"),
        ("[p1,", "[p1, p0,", ":8: knobs: no process is moved by 'p0'"),
        ("1.5 K", "-1.5 K", ":29: processes[1].temperature: -1.5 K is out of bounds; it must be above 0 K"),
        (", 4, 5]}", ", 4, 5], j: [1]}", ":16: processes[1].for: "),
        (
            '{"l{k}": 150 mV}',
            '{"l{k}": 150 mV}, by: {r1: 1}',
            ":24: processes[1].gamma_left[0]: has both by and decades",
        ),
    ],
)
def test_mistakes_point_at_their_line(tmp_path, old, new, expected):
    text = EXAMPLE.read_text()
    assert old in text
    path = tmp_path / "device.yaml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(StationFileError) as caught:
        read_network(path)
    assert str(caught.value).removeprefix(str(path)).startswith(expected)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "old", "new", "expected"),
    [
        (DOTS, "reads: [gate]", "reads: [gats]", ":8: processes[0].reads: no reservoir or terminal 'gats'; did you"),
        (DOTS, "    reads: [gate]\n", "", ":7: processes[0].reads: its law reads 3 nodes, not 2 (x, h); correct reads"),
        (DOTS, "left_levers: [0.1, 0]", "left_levers: [0.1]", ":15: processes[1]: left_levers has 1 and right_levers"),
        (DOTS, "levers: [0.1, 0]", "levers: [0.1 eV, 0]", ":22: processes[1].left_levers[0]: '0.1 eV' is not in eV/V"),
        (DOTS, "resistance_left: 100", "resistance_left: -100", ":28: processes[3].resistance_left: -100 kΩ is out"),
        (DOTS, "[-10 mV, 0, 10 mV]", "[-10 mV, 0, -1 mV]", ":35: processes[4]: voltages go from 0.0 V to -0.001 V"),
        (DOTS, "g*(a - b)", "g*(a - d)", ":36: processes[5]: expression names 'd'; known are a, b, c, g"),
        (DOTS, "carriers: holes", "carriers: molecules", ":3: reservoirs: molecules are held in vessels (L)"),
        (DOTS, "reservoirs: {h: 1 pF}", "", ":1: reservoirs: is missing; add it, or write carriers: molecules"),
        (DOTS, "terminals: [x, lo, gate]", "", ":1: terminals: is missing; add it, or write carriers: molecules"),
        (DOTS, "[x, lo, gate]", "[x, lo, gate, far]", ":4: terminals.far: no process joins 'far' to anything"),
        (LIQUID, "[a, b], rate: pump", "[a, c], rate: pump", ":12: processes[2].flow: nothing flows to 'c'; known: a"),
        (LIQUID, "[a, b], rate: pump", "[a, stock], rate: pump", ":12: processes[2].flow: nothing flows to 'stock'"),
        (LIQUID, "[stock, a]", "[stoc, a]", ":10: processes[0].flow: nothing flows from 'stoc'; did you mean 'stock'?"),
        (LIQUID, "[b, waste]", "[waste, b]", ":13: processes[3].flow: nothing flows from 'waste'"),
        (LIQUID, "[a, b], rate: pump", "[b, a], rate: pump", ":12: processes[2].flow: carries 'i', which 'a' does not"),
        (LIQUID, "[a, b], rate: pump", "[a, a], rate: pump", ":12: processes[2].flow: goes from 'a' to 'a'; name two"),
        (LIQUID, "[b, waste]", "[solvent, waste]", ":13: processes[3].flow: goes from 'solvent' to 'waste'; name two"),
        (LIQUID, "rate: pump", "rate: pumb", ":12: processes[2].rate: no knob 'pumb'; did you mean 'pump'?"),
        (LIQUID, "by: {q: 50 %}", "by: {q: 50 uL}", ":10: processes[0].rate.by.q: '50 uL' has a unit where a plain"),
        (LIQUID, "rate: 6 mL/min", "rate: 6 mL", ":11: processes[1].rate: '6 mL' is not in L/s"),
        (LIQUID, "rate: 6 mL/min", "rate: -6 mL/min", ":11: processes[1].rate: -6 mL/min is out of bounds"),
        (LIQUID, "vmax: 1 nmol/s", "vmax: 1 nM/s", ":16: processes[6].vmax: '1 nM/s' is not in mol/s"),
        (LIQUID, "vmax: 1 uM/s", "vmax: 1 umol/s", ":17: processes[7].vmax: '1 umol/s' is not in mol/L/s"),
        (LIQUID, "5 1/mM/s", "5 1/s", ":22: processes[12].forward: '5 1/s' is not in L/mol/s"),
        (LIQUID, "forward: 1 uL/s", "forward: 1 1/s", ":23: processes[13].forward: '1 1/s' is not in L/s"),
        (LIQUID, "reverse: 7 1/s", "reverse: 7 1/mM/s", ":22: processes[12].reverse: '7 1/mM/s' is not in 1/s"),
        (LIQUID, "reaction: {b.s: -1},", "reaction: {b.s: -1}, edge: [a.s, b.s],", ":20: processes[10]: a process of"),
        (LIQUID, "reaction: {b.s: -1},", "", ":20: processes[10]: a process of this law takes edge or reaction"),
        (LIQUID, "{b.s: -1}", "{}", ":20: processes[10].reaction: "),
        (LIQUID, "{b.s: -1}", "{b.t: -1}", ":20: processes[10].reaction: no node 'b.t'; did you mean"),
        (LIQUID, "{b.s: -1}", "{b.s: -1, a.p: 1}", ":20: processes[10].reaction: stands in a and b; a reaction"),
        (LIQUID, "{b.s: -1}", "{b.s: -1, b.p: 0}", ":20: processes[10].reaction: 'b.p' neither reacts nor is made"),
        (LIQUID, "{a.s: -1, a.p: 1}", "{a.p: 1, a.s: -1}", ":17: processes[7].reaction: 'a.p' is out of order; name"),
        (LIQUID, "[s, p]}", "[s, s, p]}", ":4: vessels.a.species: 's' stands twice"),
        (LIQUID, "  a: {volume", "  a.x: {volume", ":4: vessels.a.x: 'a.x' holds a dot"),
        (LIQUID, "feeds: {stock", "feeds: {solvent", ":7: feeds.solvent: 'solvent' is where liquid comes from"),
        (LIQUID, "{s: 3 mM, p: 1 uM}", "{}", ":7: feeds.stock: holds nothing"),
        (LIQUID, "s: 3 mM", "s: 3 mmol", ":7: feeds.stock.s: '3 mmol' is not in mol/L"),
        (LIQUID, "s: 3 mM", "s: -3 mM", ":7: feeds.stock.s: -3 mmol/L is out of bounds; it must be at least"),
        (LIQUID, "{stock: {", "{old: {s: 1}, stock: {", ":7: feeds.old: no process joins 'old' to anything"),
        (LIQUID, "terminals:", "  c: {volume: 1 L, species: [s]}\nterminals:", ":6: vessels.c: no process joins 'c'"),
        (LIQUID, "feeds: {stock", "feeds: {a", ":7: feeds: 'a' stands twice among reservoirs, vessels"),
        (LIQUID, "[inlet.s]", "[inlet.s, a.s]", ":6: terminals: 'a.s' is also in vessels; rename one"),
        (LIQUID, "volume: 100 uL", "volume: 0 uL", ":4: vessels.a.volume: 0 L is out of bounds; it must be above 0 L"),
        (LIQUID, "molecules", "positive", ":1: reservoirs: is missing"),
        (LIQUID, "knobs: [q, pump]", "knobs: [q, pump, r]", ":8: knobs: no process is moved by 'r'"),
        (LIQUID, "law: Exchange", "law: Linear", ":14: processes[4].rate: unknown key"),
    ],
)  # fmt: skip
def test_mistakes_in_dots_and_vessels_point_at_their_line(tmp_path, text, old, new, expected):
    assert old in text
    path = tmp_path / "device.yaml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(StationFileError) as caught:
        read_network(path)
    assert str(caught.value).removeprefix(str(path)).startswith(expected)
    assert "\n" not in str(caught.value)


def test_molecules_need_a_vessel(tmp_path):
    path = tmp_path / "device.yaml"
    path.write_text("carriers: molecules\nterminals: [x]\nprocesses:\n  - {flow: [x, waste], rate: 1 uL/s}\n")
    with pytest.raises(StationFileError, match=r":1: vessels: is missing; add it"):
        read_network(path)


def test_an_enzyme_of_two_substrates_wants_them_first(tmp_path):
    path = tmp_path / "device.yaml"
    old = '"well{w}.pyruvate": -1, "well{w}.lactate": 1'
    new = '"well{w}.lactate": 1, "well{w}.pyruvate": -1'
    text = ENZYMES.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(StationFileError, match=r"processes\[6\].reaction: 'well1.lactate' is out of order; name the 2"):
        read_network(path)
