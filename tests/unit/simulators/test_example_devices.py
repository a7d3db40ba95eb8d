"""The example devices are those of the reference: their check points, through the files that operators edit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labthermo import Station
from simulators.network_file import read_network

EXAMPLES = Path(__file__).parents[3] / "examples"


def test_device_c_computes_xor_at_its_check_point() -> None:
    """devices.md, section 1C: (13.7, 1.4, -1.8) (-4.1, -38.9, -109.1) mV gives .0651 .3252 .3252 .0647 mV."""
    network = read_network(EXAMPLES / "xor" / "two_dots.yaml").network
    knobs = np.array([13.7, 1.4, -1.8, -4.1, -38.9, -109.1]) * 1e-3
    corners = np.array([[0.78, 0.78, 0], [0.78, 3.36, 0], [3.36, 0.78, 0], [3.36, 3.36, 0]]) * 1e-3
    state = network.steady_state(corners, knobs)
    y = state.potentials[:, list(network.reservoirs).index("y")]
    assert y == pytest.approx(np.array([0.0651, 0.3252, 0.3252, 0.0647]) * 1e-3, abs=0.1e-6)
    assert state.stable.all()


@pytest.mark.parametrize(("example", "inputs", "knobs", "reservoirs"), [("xor", 2, 6, 2), ("hidden_nodes", 1, 12, 5)])
def test_the_stations_have_the_channels_of_their_devices(
    example: str, inputs: int, knobs: int, reservoirs: int
) -> None:
    with Station(EXAMPLES / example / "station.yaml", "model") as station:
        kinds = [c.kind for c in station.device.channels]
        assert (kinds.count("input"), kinds.count("knob")) == (inputs, knobs)
        assert len(read_network(station.config.device_file).network.reservoirs) == reservoirs
