"""The differentiable twin: exact derivatives, and a re-fit that finds what a sample hides."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from labthermo.config import StationConfig, load_station
from labthermo.device import Query
from simulators.model_device import build_model_device
from simulators.twin import NetworkTwin, build_twin

STATION = Path(__file__).parents[3] / "examples" / "sine" / "station.yaml"
CHECK_POINT = np.array(
    [-22.2, -49.9, 18.3, 23.7, -36.7, -25.4, 15.6, -18.1, -26.0, -16.6, -67.3, -37.2, 10.1, -21.1, -52.5]
) * 1e-3  # fmt: skip
NAMES = [f"{c}{k}" for k in range(1, 6) for c in "plr"]
INPUTS = np.linspace(0.9e-3, 2.7e-3, 9)
SIGMA = 1.3e-6  # V, of one reading of y
CURRENT_SIGMA = 0.5e-12  # A, of one reading of i_lo


def station(**simulation: object) -> StationConfig:
    config = load_station(STATION)
    return config.model_copy(update={"simulation": config.simulation.model_copy(update=simulation)})


def settings(rng: np.random.Generator, count: int) -> np.ndarray:
    """Knob settings (count, 15) about the check point, within the limits."""
    moved = CHECK_POINT + rng.normal(size=(count, 15)) * np.tile([8e-3, 20e-3, 20e-3], 5)
    return np.clip(moved, np.tile([-0.06, -0.15, -0.15], 5), np.tile([0.06, 0.09, 0.09], 5))


def measured(config: StationConfig, knobs: np.ndarray, control: bool = False):
    """Knobs (batch, 15), inputs (batch, 1) and noisy readings (batch, 2) of a sample, nine inputs a setting."""
    device = build_model_device(config, control)
    readings = []
    for setting in knobs:
        r = device.query(Query(knobs=dict(zip(NAMES, setting.tolist(), strict=True)), inputs=INPUTS, reset="park"))
        assert np.allclose(np.hstack([r.sigma, r.node_sigma]), sigmas(len(INPUTS)), rtol=1e-9)
        readings.append(np.hstack([r.outputs, r.nodes]))
    return np.repeat(knobs, len(INPUTS), axis=0), np.tile(INPUTS, len(knobs))[:, None], np.vstack(readings)


def sigmas(batch: int) -> np.ndarray:
    return np.tile([SIGMA, CURRENT_SIGMA], (batch, 1))


@pytest.mark.parametrize("size", [0.0, 0.7])
def test_jacobian_by_knobs_equals_differences(size: float):
    twin = build_twin(station())
    rng = np.random.default_rng(1)
    twin.coordinates = size * rng.standard_normal(len(twin.names))
    knobs = settings(rng, 9)
    outputs, found = twin.jacobian(knobs, INPUTS[:, None])
    assert found.shape == (9, 1, 15)
    assert np.array_equal(outputs, twin.respond(knobs, INPUTS[:, None])[:, :1])
    for k in range(15):
        step = np.zeros(15)
        step[k] = 1e-6
        up, down = twin.respond(knobs + step, INPUTS[:, None]), twin.respond(knobs - step, INPUTS[:, None])
        expected = (up - down)[:, 0] / 2e-6
        assert np.abs(found[:, 0, k] - expected).max() <= 1e-6 * np.abs(found).max()


def test_at_zero_the_twin_is_the_design():
    """And knows nothing of the station's hidden truth."""
    knobs, inputs = np.tile(CHECK_POINT, (9, 1)), INPUTS[:, None]
    clean = build_model_device(station(mismatch=0.0, noise={"*": 0.0}, offsets=False))
    r = clean.query(Query(knobs=dict(zip(NAMES, CHECK_POINT.tolist(), strict=True)), inputs=INPUTS))
    expected = np.hstack([r.outputs, r.nodes])
    for config in (station(seed=1), station(seed=2, mismatch=0.3)):
        assert build_twin(config).respond(knobs, inputs) == pytest.approx(expected, rel=1e-9)


def fitted(seed: int, control: bool = False) -> tuple[NetworkTwin, StationConfig, np.random.Generator, float]:
    config = station(seed=seed)
    rng = np.random.default_rng([seed, 99])
    knobs, inputs, readings = measured(config, settings(rng, 16), control)
    twin = build_twin(config, control)
    chi = twin.refit(knobs, inputs, readings, sigmas(len(knobs)), iterations=40)
    return twin, config, rng, chi


@pytest.mark.parametrize(("seed", "control"), [(7, False), (12, False), (3, True)])
def test_refit_predicts_settings_that_it_has_not_seen(seed: int, control: bool):
    twin, config, rng, chi = fitted(seed, control)
    assert 0.6 < chi < 1.05  # 1 less the share that 63 coordinates take from 288 readings
    knobs, inputs, readings = measured(config, settings(rng, 6), control)
    misfit = (twin.respond(knobs, inputs) - readings) / sigmas(len(knobs))
    design = (build_twin(config, control).respond(knobs, inputs) - readings) / sigmas(len(knobs))
    assert np.sqrt(np.mean(misfit**2)) < 2.0  # of one reading's noise, which is in it
    assert np.sqrt(np.mean(misfit**2)) < 0.1 * np.sqrt(np.mean(design**2))


def test_refit_narrows_what_the_data_know_and_leaves_the_rest_at_its_prior():
    twin, _, _, _ = fitted(7)
    table = twin.parameters()
    assert list(table) == list(twin.names)
    estimates, priors, widths = np.array(list(table.values())).T
    assert np.all(priors == 1.0)
    assert np.all((widths > 0) & (widths <= 1.0 + 1e-9))
    assert widths.min() < 0.2
    assert np.mean(estimates**2) < 4.0  # stays within its prior
    before = build_twin(station()).parameters()
    assert all(value == (0.0, 1.0, 1.0) for value in before.values())


def test_readings_that_are_missing_are_left_out():
    config = station(seed=7)
    rng = np.random.default_rng(0)
    knobs, inputs, readings = measured(config, settings(rng, 3))
    holes = readings.copy()
    holes[::3, 0] = np.nan
    holes[1::4, 1] = np.nan
    twin = build_twin(config)
    assert twin.refit(knobs, inputs, holes, sigmas(27)) < 2.0
    assert np.all(np.isfinite(twin.coordinates))
    untouched = build_twin(config)
    assert untouched.refit(knobs, inputs, np.full_like(readings, np.nan), sigmas(27)) == 0.0
    assert np.all(untouched.coordinates == 0.0)


def test_state_and_restore_are_exact():
    config = station(seed=7)
    rng = np.random.default_rng(0)
    knobs, inputs, readings = measured(config, settings(rng, 3))
    twin = build_twin(config)
    twin.refit(knobs, inputs, readings, sigmas(27))
    other = build_twin(config)
    other.restore(json.loads(json.dumps(twin.state())))
    assert np.array_equal(other.coordinates, twin.coordinates)
    other.condition(knobs, inputs, readings, sigmas(27))
    assert other.parameters() == twin.parameters()
    assert np.array_equal(other.respond(knobs, inputs), twin.respond(knobs, inputs))
    # and goes on as the other would
    assert other.refit(knobs, inputs, readings, sigmas(27)) == twin.refit(knobs, inputs, readings, sigmas(27))
    assert np.array_equal(other.coordinates, twin.coordinates)


def test_conductor_curves_show_ndc_except_in_the_control():
    for control in (False, True):
        twin = build_twin(station(), control)
        curves = twin.conductor_curves(CHECK_POINT, 3e-3)
        assert len(curves) == 5
        assert len({label for label, _, _ in curves}) == 5
        for _, bias, flow in curves:
            assert bias.shape == flow.shape == (121,)
            assert (bias[0], bias[-1], flow[0]) == (0.0, 3e-3, 0.0)
        falls = [np.diff(flow).min() < -1e-3 * flow.max() for _, _, flow in curves]
        assert any(falls) is not control
