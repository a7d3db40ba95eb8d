"""A device file becomes the network that it describes, and every mistake in it points at its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labthermo.errors import StationFileError
from simulators.conductors import Affine, BlockingLevel, Decades, GaussianNdc, Linear, SingleLevel
from simulators.network import Edge
from simulators.network_file import read_network

EXAMPLE = Path(__file__).parents[3] / "examples" / "sine" / "ndc_dots.yaml"

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


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("law: Linear", "law: Liner", ":12: processes[0].law: 'Liner' is unknown; did you mean 'Linear'?"),
        ("law: Linear", "", ":11: processes[0].law: is missing"),
        ("resistance: 3.6", "resistanse: 3.6", ":13: processes[0].resistanse: unknown key; did you mean 'resistance'?"),
        ("resistance: 3.6 Mohm", "resistance: 0", ":13: processes[0].resistance: 0 Ω is out of bounds"),
        ("resistance: 3.6 Mohm", "", ":11: processes[0]: a Linear process takes conductance or resistance"),
        ("[y, lo] ", "[y, low] ", ":11: processes[0].edge: no reservoir or terminal 'low'; did you mean 'lo'?"),
        ("[y, lo] ", "[y, y] ", ":11: processes[0].edge: joins 'y' to itself"),
        ('"p{k}": -0.050', '"q{k}": -0.050', ":19: processes[1].levels: no knob 'q1'"),
        ('"p{k}": -0.050', '"p{j}": -0.050', ":19: processes[1].levels: no knob 'p{j}'"),
        ("-0.050 eV/V", "-0.050 eV", ":20: processes[1].levels[0].by.p{k}: '-0.050 eV' is not in eV/V"),
        ("1.68 meV", "1.68 mV", ":20: processes[1].levels[0].value: '1.68 mV' is not in eV"),
        ("150 mV}", "0 mV}", ":23: processes[1].gamma_left[0].decades: 0 V per decade for 'l{k}'"),
        ("name: dot{k}", "name: dot", ":16: processes[1].name: 'dot' is another process's name"),
        ("electrons  ", "electron  ", ":4: carriers: 'electron' is not allowed here; did you mean 'electrons'?"),
        ("{y: 10 pF}", "{y: 10 pF, z: 1 pF}", ":6: reservoirs.z: no process joins 'z' to anything"),
        ("[x, lo]", "[x, lo, y]", ":7: terminals: 'y' stands twice"),
        ("[p1,", "[p1, p0,", ":8: knobs: no process is moved by 'p0'"),
        ("1.5 K", "-1.5 K", ":28: processes[1].temperature: -1.5 K is out of bounds; it must be above 0 K"),
        (", 4, 5]}", ", 4, 5], j: [1]}", ":15: processes[1].for: "),
        (
            '{"l{k}": 150 mV}',
            '{"l{k}": 150 mV}, by: {r1: 1}',
            ":23: processes[1].gamma_left[0]: has both by and decades",
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
