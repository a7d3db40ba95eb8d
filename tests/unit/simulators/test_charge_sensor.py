"""The charge sensor against its own sum over states, and in a device file."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from simulators import Edge, Network
from simulators.charge_sensor import MOST, charge_sensor
from simulators.conductors import Affine
from simulators.network_file import read_network

KT = 8.617333262e-5 * 1.0
LEVERS = ((0.06, 0.012), (0.015, 0.055))


def network():
    law = charge_sensor(
        1e-6,
        (0.1, 0.07),
        (
            Affine(-1e-3, {"p": LEVERS[0][0], "q": LEVERS[0][1]}),
            Affine(-1.2e-3, {"p": LEVERS[1][0], "q": LEVERS[1][1]}),
        ),
        (2e-3, 2.2e-3),
        0.5e-3,
        1.0,
    )
    return Network({"s": 1e-12}, ["x", "lo"], [Edge("x", "lo", law), Edge("x", "s", law)], ["p", "q"])


def expected(p, q):
    mu = [base + own * p + other * q for base, (own, other) in zip((-1e-3, -1.2e-3), LEVERS, strict=True)]
    total = taken = 0.0
    for i, j in itertools.product(range(MOST + 1), repeat=2):
        energy = 1e-3 * i * (i - 1) + 1.1e-3 * j * (j - 1) + 0.5e-3 * i * j - mu[0] * i - mu[1] * j
        weight = math.exp(-energy / KT)
        total, taken = total + weight, taken + weight * (0.1 * i + 0.07 * j)
    return 1e-6 * (1 - taken / total)


@pytest.mark.parametrize("gates", [(0.0, 0.0), (0.017, 0.02), (0.05, 0.03), (0.12, 0.12), (-0.02, 0.12), (0.055, 0.06)])
def test_conductance_is_the_average_over_charge_states(gates):
    net = network()
    state = net.steady_state(np.array([[1e-3, 0.0]]), np.array(gates))
    assert net.currents(state)[0, 0] == pytest.approx(1e-3 * expected(*gates), rel=1e-9)


def test_it_stays_finite_over_the_gates_of_the_example_and_beyond():
    net = network()
    gates = np.array(list(itertools.product((-0.2, 0.0, 0.2), repeat=2)))
    state = net.steady_state(np.tile([[1e-3, 0.0]], (len(gates), 1)), gates)
    assert np.isfinite(net.currents(state)).all()
    assert (net.currents(state)[:, 0] > 0).all()


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"temperature is 0\.0 K"):
        charge_sensor(1e-6, (0.1, 0.1), (0.0, 0.0), (1e-3, 1e-3), 1e-4, 0.0)
    with pytest.raises(ValueError, match=r"steps take 1\.2 of the conductance"):
        charge_sensor(1e-6, (0.2, 0.2), (0.0, 0.0), (1e-3, 1e-3), 1e-4, 1.0)


def test_a_device_file_holds_one(tmp_path):
    path = tmp_path / "dots.yaml"
    path.write_text("""carriers: electrons
reservoirs: {s: 1 pF}
terminals: [x, lo]
knobs: [p, q]
processes:
  - {edge: [x, s], law: Linear, resistance: 1 kohm}
  - edge: [s, lo]
    law: ChargeSensor
    conductance: 1 uS
    steps: [0.1, 0.07]
    potentials: [{value: -1 meV, by: {p: 0.06 eV/V}}, {value: -1.2 meV, by: {q: 0.055 eV/V}}]
    charging: [2 meV, 2.2 meV]
    mutual: 0.5 meV
    temperature: 1 K
""")
    net = read_network(path).network
    assert ("parameters", "p") in [name[1:] for name in net.parameters]
    assert np.count_nonzero(net.weights) == 2
