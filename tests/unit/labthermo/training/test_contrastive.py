"""Asymmetric equilibrium propagation finds the adjoint's gradient where the plain kind is biased: in networks of dots.

The network has three free nodes, all read, and dots between every two of them. A dot's level stands against ground
(or moves with a third node), so the Jacobian is not symmetric.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labthermo import Query, Station
from labthermo.config import load_station
from labthermo.training.contrastive import Contrastive
from labthermo.training.equilibrium_propagation import EquilibriumPropagation
from labthermo.training.knob_space import KnobSpace
from labthermo.training.task import make_task
from simulators.model_device import ModelDevice
from simulators.twin import NetworkTwin

STATION = """
backend: model
instruments:
  gates: {driver: qdac2,          address: "TCPIP0::192.168.8.17::5025::SOCKET"}
  dmm1:  {driver: keysight34465a, address: "TCPIP0::192.168.8.18::5025::SOCKET"}
  dmm2:  {driver: keysight34465a, address: "TCPIP0::192.168.8.19::5025::SOCKET"}
  dmm3:  {driver: keysight34465a, address: "TCPIP0::192.168.8.20::5025::SOCKET"}
device:
  model: mesh.yaml
  inputs:  {x: {of: gates.ch24.voltage, via: {divider: 100}, window: [0.9 mV, 2.7 mV]}}
  outputs: {y: {of: dmm1.voltage, via: {gain: 1000, overload: 5 V}, window: [100 uV, 300 uV], integration: 20 ms}}
  nodes:
    h: {of: dmm2.voltage, via: {gain: 1000, overload: 5 V}, integration: 20 ms}
    k: {of: dmm3.voltage, via: {gain: 1000, overload: 5 V}, integration: 20 ms}
  knobs: {p1: gates.ch01.voltage, p2: gates.ch02.voltage, p3: gates.ch03.voltage}
  limits:
    x: {min: -0.2 mV, max: 3 mV, max_step: 0.2 mV, slew: 50 mV/s}
    "p*": {min: -20 mV, max: 20 mV, max_step: 2 mV, slew: 100 mV/s}
  settle: {tolerance: 1 uV, confidence: 95 %, timeout: 20 s}
  stop: {inputs: zero, knobs: hold}
simulation: {seed: 7, mismatch: 0 %, noise: {h: 0 V/Hz**0.5, k: 0 V/Hz**0.5, y: 0 V/Hz**0.5}}
"""
MESH = """
carriers: electrons
reservoirs: {h: 10 pF, k: 10 pF, y: 10 pF}
terminals: [x, lo]
knobs: [p1, p2, p3]
processes:
  - {edge: [x, h], law: Linear, resistance: 4 Mohm}
  - {edge: [k, lo], law: Linear, resistance: 8 Mohm}
  - {edge: [y, lo], law: Linear, resistance: 4 Mohm}
"""
DOTS = (("h", "k", "y", 0.9, 1.6), ("k", "y", "h", 0.5, 1.2), ("h", "y", "k", 0.9, 1.7))  # ends, third node, meV


def write_station(folder: Path, lead: float, third: float) -> Path:
    """lead: levers of a dot's own two ends, third: of the node that it does not touch, eV/V."""
    dots = "".join(
        f"""
  - name: dot{n}
    edge: [{a}, {b}]
    {f"reads: [{c}]" if third else ""}
    law: BlockingLevel
    levels: [{{value: {one} meV, by: {{p{n}: -0.050 eV/V}}}}, {{value: {two} meV, by: {{p{n}: -0.046 eV/V}}}}]
    gamma_left: [1e9 1/s, 1e9 1/s]
    gamma_right: [1e9 1/s, 5e7 1/s]
    temperature: 1.5 K
    lead_levers: [{lead}, {lead}]
    {f"node_levers: [{third}]" if third else ""}
"""
        for n, (a, b, c, one, two) in enumerate(DOTS, 1)
    )
    (folder / "mesh.yaml").write_text(MESH + dots)
    (folder / "station.yaml").write_text(STATION)
    return folder / "station.yaml"


def measured_gradient(station: Station, start: np.ndarray, rule: EquilibriumPropagation) -> np.ndarray:
    """What the rule makes of the device's own answers, (n_knobs,), by the unit cube.

    Its model knows the offsets and gains of the instruments, as after a calibration: this is about the rule.
    """
    device, twin = station.device, station.twin()
    assert isinstance(device, ModelDevice)
    assert isinstance(twin, NetworkTwin)
    twin.coordinates[-len(device._errors) :] = device._errors
    space = KnobSpace(device.channels)
    trainer = Contrastive(space, make_task("sine", device.channels), start, twin, rule)
    while trainer.gradient is None:
        ask = trainer.ask()
        assert ask is not None
        trainer.tell(device.query(ask.query))
    return trainer.gradient * space.width


def exact_gradient(station: Station, start: np.ndarray) -> np.ndarray:
    """The same by the adjoint of the true device."""
    device = station.device
    assert isinstance(device, ModelDevice)
    task, space = make_task("sine", device.channels), KnobSpace(device.channels)
    knobs = space.named(start)
    answer = device.query(Query(knobs=knobs, inputs=task.inputs, reset="park")).outputs
    by_knobs = device.tangent(knobs, task.inputs).outputs_by_knobs()
    return np.einsum("bo,bok->k", answer - task.targets, by_knobs) * space.width


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize(("lead", "third"), [(0.0, 0.0), (0.1, 0.0), (0.0, 0.3), (0.1, 0.3)])
def test_asymmetric_propagation_is_the_adjoint_where_the_plain_one_is_biased(
    lead: float, third: float, tmp_path: Path
) -> None:
    with Station(load_station(write_station(tmp_path, lead, third)), "model") as station:
        space = KnobSpace(station.device.channels)
        plain, asymmetric, ratio = [], [], []
        for seed in range(4):
            start = space.draw(np.random.default_rng(seed))
            exact = exact_gradient(station, start)
            found = measured_gradient(station, start, EquilibriumPropagation(asymmetric=True))
            asymmetric.append(cosine(found, exact))
            ratio.append(np.linalg.norm(found) / np.linalg.norm(exact))
            plain.append(cosine(measured_gradient(station, start, EquilibriumPropagation()), exact))
        assert min(asymmetric) >= 0.999
        assert ratio == pytest.approx(np.ones(4), abs=0.01)  # not the direction alone
        assert min(plain) < 0.9
        assert max(plain) < 0.999


def test_what_the_network_is_made_of_decides(tmp_path: Path) -> None:
    """With resistors for dots the Jacobian is symmetric, and the plain kind is as good."""
    path = write_station(tmp_path, 0.0, 0.0)
    text = MESH.replace("  - {edge: [x, h], law: Linear, resistance: 4 Mohm}\n", "")
    for n, (a, b) in enumerate((("x", "h"), ("h", "k"), ("k", "y")), 1):
        text += f"  - {{edge: [{a}, {b}], law: Linear, conductance: {{value: 250 nS, by: {{p{n}: 5e-6 S/V}}}}}}\n"
    (tmp_path / "mesh.yaml").write_text(text)
    with Station(load_station(path), "model") as station:
        start = np.array([0.3, 0.6, 0.4])
        found = measured_gradient(station, start, EquilibriumPropagation())
        assert cosine(found, exact_gradient(station, start)) >= 0.9999
