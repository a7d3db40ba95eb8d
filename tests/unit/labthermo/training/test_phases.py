"""The calibrated twin's rarer phases: probe, check and what it learns beyond its family; each can be killed in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labthermo import Station
from labthermo.config import ChargeJump, StationConfig, load_station
from labthermo.device import Response, Status
from labthermo.training.calibrated_twin import CalibratedTwin
from labthermo.training.evidence import Evidence
from labthermo.training.residual import Residual
from labthermo.training.task import make_task

XOR = Path(__file__).parents[4] / "examples" / "xor" / "crosstalk.yaml"


def changed(seed: int, **hidden: Any) -> StationConfig:
    config = load_station(XOR).with_seed(seed)
    return config.with_simulation(hidden=config.simulation.hidden.model_copy(update=hidden))


def follow(config: StationConfig, budget: int, phases: tuple[str, ...]) -> tuple[list[str], list[tuple[str, Any]]]:
    """Train; at the first ask of each of these phases a trainer restored from JSON must go on exactly like the first.

    Returns the phase of every ask, and the events.
    """
    with Station(config, "model") as station:
        device, task = station.device, make_task("xor", station.device.channels)

        def new() -> CalibratedTwin:
            return CalibratedTwin(device.channels, task, station.twin(), 1)

        trainer, number = new(), 0
        seen: list[str] = []
        events: list[tuple[str, Any]] = []
        while (ask := trainer.ask()) is not None and number < budget:
            copy = None
            if ask.phase in phases and ask.phase not in seen:
                copy = new()
                copy.restore(json.loads(json.dumps(trainer.state())))
                again = copy.ask()
                assert again is not None
                assert (again.id, again.phase, again.query.knobs) == (ask.id, ask.phase, ask.query.knobs)
                assert np.array_equal(np.asarray(again.query.inputs), np.asarray(ask.query.inputs))
            response = device.query(replace(ask.query, number=number))
            number += len(response)
            seen.append(ask.phase)
            trainer.tell(response)
            if copy is not None:
                copy.tell(response)
                assert json.dumps(copy.state()) == json.dumps(trainer.state())
            events += trainer.take_events()
        return seen, events


def test_a_charge_jump_is_checked_at_an_earlier_setting_recorded_and_trained_away() -> None:
    jump = ChargeJump(of="dot1", shift=1e-4, query=34)
    phases, events = follow(changed(1, charge_jumps=(jump,)), 300, ("calibrate", "check", "train"))
    assert "check" in phases
    ((kind, detail),) = events
    assert kind == "jump"
    assert detail["of"].startswith("4:")  # the first dot in the device file, after four resistors
    assert detail["shift"] == pytest.approx(1e-4, rel=0.2)
    assert detail["readings_before"] in range(24, 40)
    assert detail["chi_squared"] > 4.0
    assert phases.index("check") * 4 >= 34  # not before it has happened
    still, nothing = follow(changed(1), 300, ())
    assert not nothing
    assert "train" in still


def test_where_the_twin_is_not_sure_it_probes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labthermo.training.calibrated_twin.CERTAIN", 0.5)  # trained on early
    monkeypatch.setattr("labthermo.training.calibrated_twin.UNSURE", 0.02)
    phases, _ = follow(changed(2), 300, ("probe", "train"))
    first = phases.index("probe")
    assert phases[:first] == ["calibrate"] * first
    assert "train" in phases[first:]


class Flat:
    """A twin that answers 0 to everything."""

    def respond(self, knobs: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        return np.zeros((len(inputs), 1))

    def jacobian(self, knobs: np.ndarray, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((len(inputs), 1)), np.zeros((len(inputs), 1, knobs.shape[1]))


def test_a_residual_is_learnt_near_its_readings_and_vanishes_far_from_them() -> None:
    def missed(knobs: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        return 1e-5 * (np.sin(3.0 * inputs[:, 0]) + knobs[0])

    rng = np.random.default_rng(0)
    evidence, x = Evidence(), np.linspace(0.0, 1.0, 12)[:, None]
    for _ in range(12):
        knobs = rng.uniform(-0.3, 0.3, 2)
        n, readings = len(x), missed(knobs, x) + 1e-7 * rng.standard_normal(len(x))
        sigma = np.full((n, 1), 1e-7)
        evidence.add(
            knobs,
            Response(
                outputs=readings[:, None], nodes=np.empty((n, 0)), sigma=sigma, node_sigma=np.empty((n, 0)),
                settle_time=np.zeros(n), status=(Status.SETTLED,) * n, inputs=x, knobs={},
            ),
        )  # fmt: skip
    residual = Residual(np.ones(2), np.ones(1))
    assert residual.at(np.zeros(2), x)[0].shape == (12, 0)  # nothing is known before
    residual.fit(Flat(), evidence, np.zeros(2))  # type: ignore[arg-type]
    fresh, at = np.array([0.1, -0.1]), np.array([[0.13], [0.55], [0.9]])
    values, slopes = residual.at(fresh, at)
    assert values[:, 0] == pytest.approx(missed(fresh, at), abs=5e-7)
    for k in range(2):
        step = 1e-5 * np.eye(2)[k]
        difference = (residual.at(fresh + step, at)[0] - residual.at(fresh - step, at)[0]) / 2e-5
        assert slopes[:, 0, k] == pytest.approx(difference[:, 0], rel=1e-4, abs=1e-9)
    assert np.abs(residual.at(np.full(2, 50.0), at)[0]).max() < 1e-9


def test_what_the_family_lacks_is_learnt_on_the_way() -> None:
    """300 Mohm across a dot, which the twin knows nothing of."""
    config = changed(0, parasitic={"dot1": 3e8})
    with Station(config, "model") as station:
        device, task = station.device, make_task("xor", station.device.channels)
        trainer, number, lowest = CalibratedTwin(device.channels, task, station.twin(), 1), 0, np.inf
        while (ask := trainer.ask()) is not None and number < 400:
            response = device.query(replace(ask.query, number=number))
            number += len(response)
            progress = trainer.tell(response)
            lowest = progress.best if progress else lowest
    assert lowest < 0.05
