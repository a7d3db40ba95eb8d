"""The calibrated twin on the numerical device: it learns what the nominal model does not know, and can be restored."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from labthermo import Query, Station, Status
from labthermo.channel import Channel
from labthermo.config import load_station
from labthermo.device import Response
from labthermo.training.calibrated_twin import CalibratedTwin
from labthermo.training.task import Task, make_task
from labthermo.twin import Twin

STATION = Path(__file__).parents[4] / "examples" / "sine" / "station.yaml"


def trainer_and_device(seed: int, control: bool = False):
    station = Station(load_station(STATION).with_seed(seed), "model", control=control)
    station.open()
    task = make_task("sine", station.device.channels)
    return CalibratedTwin(station.device.channels, task, station.twin(), seed), station.device, task


def go(trainer: CalibratedTwin, device, budget: int = 1000, number: int = 0) -> int:
    while (ask := trainer.ask()) is not None and number < budget:
        response = device.query(replace(ask.query, number=number))
        number += len(response)
        trainer.tell(response)
    return number


@pytest.mark.parametrize("seed", [0, 1])
def test_it_learns_a_sine_on_a_hidden_sample_and_the_nominal_model_does_not_transfer(seed: int) -> None:
    trainer, device, task = trainer_and_device(seed)
    naive = trainer.screened()
    knobs = [c.name for c in device.channels if c.kind == "knob"]
    grid = Query(knobs=dict(zip(knobs, map(float, naive), strict=True)), inputs=task.score_inputs)
    transferred = task.score(device.query(grid).outputs)
    used = go(trainer, device)
    trained = task.score(device.query(replace(grid, knobs=trainer.result())).outputs)
    # devices.md: transfer .23 to .68 of the amplitude; ours here depends on the start
    assert transferred > 0.05
    assert trained < 0.03  # read noise alone is 0.01
    assert used < 1000


def test_the_control_stays_at_its_floor() -> None:
    trainer, device, task = trainer_and_device(0, control=True)
    go(trainer, device)
    scored = device.query(Query(knobs=trainer.result(), inputs=task.score_inputs))
    floor, error = task.floor(), 0.01 / np.sqrt(len(task.score_inputs))
    assert floor is not None
    assert task.score(scored.outputs) >= floor - 3 * error


def test_a_restored_trainer_asks_exactly_what_the_lost_one_would_have() -> None:
    trainer, device, _ = trainer_and_device(2)
    number = 0
    for _ in range(7):
        ask = trainer.ask()
        assert ask is not None
        assert trainer.ask() is ask  # the same one until told
        response = device.query(replace(ask.query, number=number))
        number += len(response)
        saved = json.loads(json.dumps(trainer.state()))
        twin, other_device, _ = trainer_and_device(2)
        twin.restore(saved)
        copy = twin.ask()
        assert copy is not None
        assert (copy.id, copy.phase, copy.query.knobs) == (ask.id, ask.phase, ask.query.knobs)
        assert np.array_equal(np.asarray(copy.query.inputs), np.asarray(ask.query.inputs))
        trainer.tell(response)
        twin.tell(response)
        assert json.dumps(trainer.state()) == json.dumps(twin.state())
        other_device.close()


def test_unreadable_answers_are_data() -> None:
    """Overflowed and abandoned readings are left out, and training still gets there."""
    trainer, device, task = trainer_and_device(1)
    rng = np.random.default_rng(0)
    number = 0
    while (ask := trainer.ask()) is not None and number < 1000:
        response = device.query(replace(ask.query, number=number))
        number += len(response)
        lost = rng.random(len(response)) < 0.15
        outputs = np.where(lost[:, None], np.nan, response.outputs)
        status = tuple(Status.OVERFLOW if bad else s for bad, s in zip(lost, response.status, strict=True))
        trainer.tell(replace(response, outputs=outputs, status=status))
    grid = Query(knobs=trainer.result(), inputs=task.score_inputs)
    assert task.score(device.query(grid).outputs) < 0.05


def test_knobs_stay_within_their_limits() -> None:
    trainer, device, _ = trainer_and_device(6)
    limits = {c.name: (c.minimum, c.maximum) for c in device.channels if c.kind == "knob"}
    number = 0
    while (ask := trainer.ask()) is not None and number < 400:
        assert all(limits[n][0] <= v <= limits[n][1] for n, v in ask.query.knobs.items())
        response = device.query(replace(ask.query, number=number))
        number += len(response)
        trainer.tell(response)


def flow_trainer(tmp_path: Path, noise: str) -> tuple[CalibratedTwin, Twin, list[Channel]]:
    folder = STATION.parents[1] / "ldh_two_wells"
    (tmp_path / "two_wells.yaml").write_text((folder / "two_wells.yaml").read_text())
    text = (folder / "station.yaml").read_text()
    path = tmp_path / f"{noise.split()[0]}.yaml"
    path.write_text(text.replace("  model: two_wells.yaml", f"  model: two_wells.yaml\n  flow_noise: {noise}"))
    with Station(load_station(path), "model") as station:
        channels, twin = list(station.device.channels), station.twin()
    return CalibratedTwin(channels, make_task("sine", channels), twin, 1), twin, channels


R2_RATES = np.array([41.78, 52.49, 47.25, 14.33, 1.0, 99.0, 47.54]) * 1e-6 / 60.0  # n1 e1 b1 n2 e2 b2 t12, L/s


def monte_carlo(twin: Twin, knobs: np.ndarray, inputs: np.ndarray, noise: float) -> np.ndarray:
    """Outputs of 400 settings whose pumps are all a little off, (400, n_inputs)."""
    rng, n = np.random.default_rng(3), len(inputs)
    rows = knobs * (1.0 + noise * rng.standard_normal((400, n, len(knobs))))
    moved = inputs * (1.0 + noise * rng.standard_normal((400, n, 1)))
    return twin.respond(rows.reshape(-1, len(knobs)), moved.reshape(-1, 1))[:, 0].reshape(400, n)


def test_what_pumps_do_to_a_reading_is_in_its_sigma(tmp_path: Path) -> None:
    trainer, twin, _ = flow_trainer(tmp_path, "1 %")
    inputs = np.geomspace(0.5, 50.0, 9)[:, None] * 1e-6 / 60.0
    spread = monte_carlo(twin, R2_RATES, inputs, 0.01).std(axis=0)
    asked = Response(
        outputs=np.zeros((9, 1)), nodes=np.empty((9, 0)), sigma=np.full((9, 1), 2e-3), node_sigma=np.empty((9, 0)),
        settle_time=np.zeros(9), status=(Status.SETTLED,) * 9, inputs=inputs, knobs={},
    )  # fmt: skip
    found = trainer._with_flow_noise(R2_RATES, asked).sigma[:, 0]
    assert spread.max() > 4e-3
    assert found == pytest.approx(np.hypot(2e-3, spread), rel=0.12)


class TwoWays:
    """y = a + b^2, whatever the input: a, whose pump is noisy, and b, whose pump is not, can make the same answer."""

    def jacobian(self, knobs: np.ndarray, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        a, b = knobs.T
        return (a + b**2)[:, None], np.stack([np.ones_like(a), 2.0 * b], axis=1)[:, None, :]


def test_of_two_ways_to_the_target_it_takes_the_one_that_noisy_pumps_spoil_less() -> None:
    found = {}
    for noise in (0.0, 0.2):
        channels = [
            Channel("x", "input", "V", 0.0, 1.0),
            Channel("a", "knob", "L/s", 0.0, 2.0, noise=noise),
            Channel("b", "knob", "L/s", 0.0, 2.0),
        ]
        x, one = np.linspace(0.0, 1.0, 40)[:, None], np.ones((40, 1))
        trainer = CalibratedTwin(channels, Task("one", x, one, x, one, 1.0), cast(Twin, TwoWays()), 1)
        a, b = trainer._improve(np.array([0.5, 0.6]))
        assert a + b**2 == pytest.approx(1.0, abs=0.02)
        assert trainer._twin_error(np.array([a, b])) == pytest.approx(np.hypot(a + b**2 - 1.0, noise * a), abs=5e-3)
        found[noise] = a
    assert found[0.0] > 0.3
    assert found[0.2] < 0.05
