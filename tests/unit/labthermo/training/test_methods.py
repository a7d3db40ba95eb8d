"""Every method on the numerical device: what it reaches, that it stays within the limits, and that it can be killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labthermo import Query, Station, Status
from labthermo.config import load_station
from labthermo.errors import InstrumentError, ParameterError
from labthermo.records.journal import Journal
from labthermo.run import Run
from labthermo.training.loop import Plan, train
from labthermo.training.methods import METHODS, Material, make_trainer
from labthermo.training.task import make_task

EXAMPLES = Path(__file__).parents[4] / "examples"
MODEL_FREE = ("spsa", "cma_es", "nelder_mead")
CHEAP = tuple(name for name in METHODS if name != "calibrated_twin")  # that one has a test file of its own


@pytest.fixture
def xor(tmp_path: Path) -> Path:
    """Device C, its hidden node read as well: asymmetric propagation needs every free node."""
    text = (EXAMPLES / "xor" / "station.yaml").read_text()
    meter = "{of: dmm2.voltage, at: h, via: {gain: 1000, overload: 5 V}, integration: 20 ms}"
    text = text.replace("  nodes:\n", f"  nodes:\n    h: {meter}\n").replace("noise: {y:", "noise: {h: 0 V/Hz**0.5, y:")
    second = "  dmm2: {driver: keysight34465a, address: 'TCPIP0::192.168.8.20::5025::SOCKET'}\n"
    text = text.replace("instruments:\n", f"instruments:\n{second}")
    (tmp_path / "two_dots.yaml").write_text((EXAMPLES / "xor" / "two_dots.yaml").read_text())
    path = tmp_path / "station.yaml"
    path.write_text(text)
    return path


def open_model(path: Path, seed: int) -> Station:
    return Station(load_station(path).with_seed(seed), "model")


@pytest.mark.parametrize("method", [name for name in CHEAP if name != "reservoir"])  # that one trains no device
def test_it_learns_stays_within_limits_and_takes_failures_for_data(method: str, xor: Path) -> None:
    """A tenth of all answers is lost; the error still falls well below that of the best start."""
    with open_model(xor, 3) as station:
        device = station.device
        task = make_task("xor", device.channels)
        trainer = make_trainer(method, Material(task, device, station.twin(), 3))
        limits = {c.name: (c.minimum, c.maximum) for c in device.channels if c.kind == "knob"}
        rng = np.random.default_rng(1)
        number, errors = 0, []
        while (ask := trainer.ask()) is not None and number < 1500:
            assert all(limits[n][0] <= v <= limits[n][1] for n, v in ask.query.knobs.items())
            response = device.query(replace(ask.query, number=number))
            number += len(response)
            lost = rng.random(len(response)) < 0.1
            progress = trainer.tell(
                replace(
                    response,
                    outputs=np.where(lost[:, None], np.nan, response.outputs),
                    nodes=np.where(lost[:, None], np.nan, response.nodes),
                    status=tuple(Status.ABANDONED if bad else s for bad, s in zip(lost, response.status, strict=True)),
                )
            )
            if progress is not None:
                errors.append(progress.rmse)
        assert min(errors) < 0.5 * errors[0]
        knobs = trainer.result()
        scored = task.score(device.query(Query(knobs=knobs, inputs=task.score_inputs, reset="park")).outputs)
        assert scored < 0.6 * errors[0]


class Killed(BaseException):
    """Stands for SIGKILL: nothing that catches errors may catch it."""


def recorded(
    path: Path, folder: Path, plan: Plan, seed: int, kills: Iterator[int], sessions: list[int] | None = None
) -> tuple[list[tuple[Any, ...]], str, float | None]:
    """A run, killed and resumed at the n-th commit for every n of `kills`; its points, last trainer state and score.

    sessions: is given the number of commits of each session.
    """
    with open_model(path, seed) as station:
        # no ablation: it does not ask the device
        journal = station.new_journal(folder, {**plan.header(), "control": True}, "run")
    while True:
        left = next(kills, None)
        commits = 0

        def count(*_: object, left: int | None = left) -> None:
            nonlocal commits
            commits += 1
            if left is not None and commits > left:
                raise Killed

        with open_model(path, seed) as station:
            run = Run(station.device, journal, on_point=count)
            save = journal.save_trainer

            def saving(state: Any, save=save, count=count) -> None:
                save(state)
                count()

            journal.save_trainer = saving
            try:
                outcome = train(run, plan, station.twin(), station.twin)
            except Killed:
                if sessions is not None:
                    sessions.append(commits)
                journal.close()
                journal = Journal.open(folder / "run")
                continue
            points = [
                (p.number, p.purpose, p.knobs, p.inputs, p.nudge, p.outputs, p.nodes, p.status)
                for p in journal.points()
            ]
            text = json.dumps([list(map(repr, p)) for p in points])
            state = json.dumps(journal.trainer_state())
            journal.close()
            if sessions is not None:
                sessions.append(commits)
            return [text], state, outcome.rmse


def check_kills(method: str, path: Path, folder: Path, points: int) -> None:
    with open_model(path, 5) as station:
        plan = Plan(make_task("xor", station.device.channels), method, 420, 5)
    commits: list[int] = []
    whole = recorded(path, folder / "whole", plan, 5, iter([]), commits)
    rng = np.random.default_rng(0)
    for k in range(points):
        kill, sessions = int(rng.integers(0, commits[0])), []
        broken = recorded(path, folder / f"broken{k}", plan, 5, iter([kill]), sessions)
        assert len(sessions) == 2  # it was killed, and resumed
        assert broken == whole


@pytest.mark.parametrize("method", CHEAP)
def test_a_killed_run_equals_the_uninterrupted_one_bit_for_bit(method: str, xor: Path, tmp_path: Path) -> None:
    check_kills(method, xor, tmp_path, 1)


def test_drift_references_count_and_survive_a_kill(xor: Path, tmp_path: Path) -> None:
    with open_model(xor, 5) as station:
        plan = Plan(make_task("xor", station.device.channels), "nelder_mead", 150, 5, reference_every=40)
    whole = recorded(xor, tmp_path / "whole", plan, 5, iter([]))
    journal = Journal.open(tmp_path / "whole" / "run", writable=False)
    counts = journal.purposes()
    assert counts["drift"] == 3
    assert 130 < journal.queries() <= 150
    first, *later = (p for p in journal.points() if p.number == 0 or p.purpose == "drift")
    assert {p.inputs_asked for p in later} == {first.inputs_asked}
    assert all(p.knobs_asked == first.knobs_asked for p in later)
    (said,) = journal.events("drift")
    assert said.detail["largest"] < 5.0  # nothing drifts here
    journal.close()
    at = later[0].number
    for kill in (at, at + 5, at + 10):  # commits are points and saved states: about here
        assert recorded(xor, tmp_path / f"broken{kill}", plan, 5, iter([kill])) == whole


def test_a_run_with_a_charge_jump_killed_and_resumed_equals_the_uninterrupted_one(tmp_path: Path) -> None:
    text = (EXAMPLES / "xor" / "crosstalk.yaml").read_text()
    jump = "hidden: {charge_jumps: [{of: dot1, shift: 100 ueV, query: 34}], crosstalk: 20 %}"
    assert "hidden: {crosstalk: 20 %}" in text
    (tmp_path / "two_dots.yaml").write_text((EXAMPLES / "xor" / "two_dots.yaml").read_text())
    path = tmp_path / "station.yaml"
    path.write_text(text.replace("hidden: {crosstalk: 20 %}", jump))
    with open_model(path, 1) as station:
        plan = Plan(make_task("xor", station.device.channels), "calibrated_twin", 150, 1, reference_every=50)
    whole = recorded(path, tmp_path / "whole", plan, 1, iter([]))
    journal = Journal.open(tmp_path / "whole" / "run", writable=False)
    assert journal.events("jump")
    assert journal.purposes()["check"] > 0
    numbers = [p.number for p in journal.points() if p.purpose == "check"]
    journal.close()
    for kill in (numbers[0] + 12, numbers[-1] + 14):  # commits are points and saved states: about here
        assert recorded(path, tmp_path / f"broken{kill}", plan, 1, iter([kill])) == whole


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("method", METHODS)
def test_a_run_killed_at_fifty_points_equals_the_uninterrupted_one(method: str, xor: Path, tmp_path: Path) -> None:
    check_kills(method, xor, tmp_path, 50)


def test_what_does_not_fit_a_method_is_refused_in_one_line(xor: Path) -> None:
    with open_model(EXAMPLES / "xor" / "station.yaml", 1) as station:
        task = make_task("xor", station.device.channels)
        material = Material(task, station.device, station.twin(), 1)
        with pytest.raises(ParameterError, match="no method 'magic'"):
            make_trainer("magic", material)
        with pytest.raises(ParameterError, match="every free node, and 1 of this device's are not read"):
            make_trainer("asymmetric_propagation", material)

        class Bench:
            channels = station.device.channels

        for method in ("equilibrium_propagation", "asymmetric_propagation", "coupled_learning"):
            with pytest.raises(ParameterError, match="no current source there"):
                make_trainer(method, replace(material, device=Bench()))
        with pytest.raises(ParameterError, match="only --backend model has"):
            make_trainer("adjoint", replace(material, device=Bench()))


def test_where_nothing_can_be_read_it_stops_and_goes_on_when_that_is_mended(xor: Path, tmp_path: Path) -> None:
    with open_model(xor, 1) as station:
        plan = Plan(make_task("xor", station.device.channels), "nelder_mead", 64, 1)
        journal = station.new_journal(tmp_path, plan.header(), "run")
        run = Run(station.device, journal)
        stream = station.device.stream
        station.device.stream = lambda query: (
            replace(part, outputs=np.nan * part.outputs, status=(Status.ABANDONED,) * len(part))
            for part in stream(query)
        )
        with pytest.raises(InstrumentError, match="none of the last 24 inputs could be answered"):
            train(run, plan, station.twin(), station.twin)
        assert journal.queries() == 24  # three batches: 20 and more
        assert journal.purposes().get("score") is None
        station.device.stream = stream
        outcome = train(run, plan, station.twin(), station.twin)
        assert journal.queries() == 64
        assert outcome.rmse is not None
        run.close()
