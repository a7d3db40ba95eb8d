"""A flow station's twin and its mismatch: pumps are off as a whole, gradients by rates are exact, readings refit it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labthermo.config import load_station
from labthermo.expressivity import find_ndc
from simulators.mismatch import PUMP, Mismatch
from simulators.network_file import read_network
from simulators.processes import Flow
from simulators.twin import build_twin

EXAMPLES = Path(__file__).parents[3] / "examples"
UL_PER_MIN = 1e-6 / 60.0
KNOBS = np.array([41.78, 52.49, 47.25, 14.33, 2.0, 90.0, 47.54]) * UL_PER_MIN
INPUTS = np.array([[0.5], [5.0], [20.0], [49.0]]) * UL_PER_MIN


R1 = np.array([16.5, 33.0, 1.0]) * UL_PER_MIN  # device R1's check point
LINES = np.array([[a, b] for a in (0.5, 50.0) for b in (0.5, 50.0)]) * UL_PER_MIN


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


def test_the_rate_falls_beyond_the_concentration_of_the_formula_and_never_in_the_control():
    """S* = sqrt(Kb (Kia + A) Keb/Ka) (devices.md, section 2); and the rate is what the well's own balance says."""
    config = load_station(EXAMPLES / "ldh_one_well" / "station.yaml")
    falls = []
    for control in (False, True):
        twin = build_twin(config, control)
        ((label, substrate, amounts, rate),) = twin.reaction_curves(R1, LINES)
        assert label.startswith("ldh in well, rate against pyruvate at nadh ")
        assert (substrate, amounts.shape, rate.shape) == ("pyruvate", (121,), (121,))
        nadh = twin.respond(R1[None], LINES[2:3])[0, 0] / (6220.0 * 0.55)
        used = 2e-3 * 16.5 / 150.5 - nadh
        own = 20e-3 * 50.5 / 150.5 - used
        assert np.interp(own, amounts, rate) == pytest.approx(150.5 * UL_PER_MIN / 200e-6 * used, rel=2e-3)
        falls.append(find_ndc(amounts, rate, 0.0))
        if not control:
            peak = np.sqrt(100e-6 * (1e-6 + nadh) * 101e-6 / 5e-6)
    (region,) = falls[0]
    assert region.start == pytest.approx(peak, rel=0.07)
    assert region.stop == pytest.approx(amounts[-1], rel=0.02)  # of the control: the same feeds
    assert falls[1] == []


def test_conductors_have_no_rates():
    config = load_station(EXAMPLES / "sine" / "station.yaml")
    sine = build_twin(config)
    assert sine.reaction_curves(np.zeros(len(config.device.knobs)), np.array([[1e-3]])) == []
