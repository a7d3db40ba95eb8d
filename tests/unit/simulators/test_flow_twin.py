"""A flow station's twin and its mismatch: pumps are off as a whole, gradients by rates are exact, readings refit it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labthermo.config import load_station
from simulators.mismatch import PUMP, Mismatch
from simulators.network_file import read_network
from simulators.processes import Flow
from simulators.twin import build_twin

EXAMPLES = Path(__file__).parents[3] / "examples"
UL_PER_MIN = 1e-6 / 60.0
KNOBS = np.array([41.78, 52.49, 47.25, 14.33, 2.0, 90.0, 47.54]) * UL_PER_MIN
INPUTS = np.array([[0.5], [5.0], [20.0], [49.0]]) * UL_PER_MIN


@pytest.fixture(scope="module")
def twin():
    return build_twin(load_station(EXAMPLES / "ldh_two_wells" / "station.yaml"))


def test_a_pump_is_off_as_a_whole_and_a_make_up_flow_stays_one():
    network = read_network(EXAMPLES / "ldh_two_wells" / "two_wells.yaml").network
    drawn = Mismatch(network, 0.1)
    rng = np.random.default_rng(1)
    flows = [p for p, process in enumerate(network.processes) if isinstance(process, Flow)]
    rates = np.append(KNOBS, 50.0 * UL_PER_MIN)
    gains = []
    for _ in range(200):
        sample = drawn.apply(rng.standard_normal(len(drawn.names)))
        for rate in (rates, 0.5 * rates):
            designed = network.resolved(rate)
            ratio = np.divide(
                sample.resolved(rate),
                designed,
                out=np.full_like(designed, np.nan),
                where=(designed > 1e-15) & np.isfinite(designed),
            )
            gains.append([ratio[network.parameter_rows(p)][0] for p in flows])
        at_top = [sample.resolved(rates)[sample.parameter_rows(p)][0] for p in flows]
        assert min(at_top) >= -1e-20  # a make-up of 50 - 50 uL/min
    once, halved = np.array(gains[::2]), np.array(gains[1::2])
    both = np.isfinite(once)
    assert once[both] == pytest.approx(halved[both])
    assert np.nanstd(np.log(halved), axis=0) == pytest.approx(0.1 * PUMP, rel=0.25)


def test_derivatives_by_the_rates_equal_differences(twin):
    knobs = np.tile(KNOBS, (len(INPUTS), 1))
    outputs, by_knobs = twin.jacobian(knobs, INPUTS)
    assert outputs == pytest.approx(twin.respond(knobs, INPUTS)[:, :1])
    for k in range(len(KNOBS)):
        step = np.zeros(len(KNOBS))
        step[k] = 1e-4 * KNOBS[k]
        up, down = (twin.respond(knobs + sign * step, INPUTS)[:, 0] for sign in (1, -1))
        assert by_knobs[:, 0, k] == pytest.approx((up - down) / (2 * step[k]), rel=1e-3, abs=1e-3 / UL_PER_MIN * 1e-3)


def test_it_learns_another_samples_readings(twin):
    config = load_station(EXAMPLES / "ldh_two_wells" / "station.yaml")
    other = build_twin(config)
    rng = np.random.default_rng(3)
    other.coordinates = 0.7 * rng.standard_normal(len(other.coordinates))
    inputs = 0.5 * 100 ** np.linspace(0, 1, 12)[:, None] * UL_PER_MIN
    knobs = np.tile(KNOBS, (12, 1))
    wanted = other.respond(knobs, inputs)
    before = np.abs(twin.respond(knobs, inputs) - wanted).max()
    fresh = build_twin(config)
    fresh.refit(knobs, inputs, wanted, np.full_like(wanted, 2e-3))
    after = np.abs(fresh.respond(knobs, inputs) - wanted).max()
    assert before > 0.02
    assert after < 2e-3
