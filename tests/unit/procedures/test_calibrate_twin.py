"""calibrate_twin: what the twin knows afterwards, that it is stored, that a training starts from it, and refusals."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labthermo import Station
from labthermo.channel import Channel
from labthermo.errors import ParameterError, RecordError
from labthermo.records.journal import Journal
from labthermo.stored_twin import load_twin, store_twin, twin_file
from labthermo.training.loop import Plan, train
from labthermo.training.task import make_task
from procedures.calibrate_twin import CalibrateTwin, find_structure

XOR = Path(__file__).parents[3] / "examples" / "xor"


@pytest.fixture
def station(tmp_path: Path) -> Path:
    for name in ("crosstalk.yaml", "two_dots.yaml"):
        (tmp_path / name).write_text((XOR / name).read_text())
    return tmp_path / "crosstalk.yaml"


def calibrate(path: Path, run_id: str = "fit") -> Journal:
    """A finished calibration; its journal, closed for writing."""
    recipe = CalibrateTwin(queries=48, parity=20)
    with Station(path, "model") as opened, opened.run(path.parent / "runs", {}, run_id=run_id) as run:
        assert recipe.count(opened.device.channels) == 68
        recipe.execute(run)
        run.journal.finish("finished")
    return Journal.open(path.parent / "runs" / run_id, writable=False)


def said(journal: Journal) -> dict[str, Any]:
    return journal.events("calibrate_twin")[-1].detail


def test_a_calibration_foretells_fresh_settings_and_a_training_starts_from_it(station: Path) -> None:
    journal = calibrate(station)
    found = said(journal)
    assert found["doubt"] < 0.1
    assert found["rms"] < 0.15  # of half the window; the design alone is off by more, see below
    assert 0 < found["learnt"] < len(journal.events("table")[1].detail["rows"])
    chi = float(journal.events("table")[0].detail["rows"][0][5])
    assert 0.1 < chi < 3.0  # its doubt is honest
    path = store_twin(journal)
    assert path == twin_file(station)
    with Station(station, "model") as opened:
        parity = [p for p in journal.points() if p.purpose == "parity"]
        knobs = np.array([list(p.knobs_asked.values()) for p in parity])
        design = opened.twin().respond(knobs, np.array([p.inputs for p in parity]))[:, 0]
        assert np.std(design - [p.outputs[0] for p in parity]) / 130e-6 > 2.0 * found["rms"]
        start = load_twin(path, opened.header())
        plan = Plan(make_task("xor", opened.device.channels), "calibrated_twin", 200, 1, asdict(start))
        assert Plan.of(json.loads(json.dumps(plan.header()))).start == asdict(start)
        header = {**plan.header(), "control": True}  # no ablation: it does not ask the device
        with opened.run(station.parent / "runs", header, run_id="train") as run:
            outcome = train(run, plan, opened.twin(), opened.twin)
            assert run.journal.header["start"]["run"] == "fit"
            assert run.journal.purposes().get("calibrate", 0) <= 8  # it starts at the doubt where that ended
        assert outcome.rmse is not None
        assert outcome.rmse < 0.05


def test_a_stored_twin_is_of_one_sample_and_one_wiring(station: Path, tmp_path: Path) -> None:
    path = store_twin(calibrate(station))
    assert path is not None
    header = Station(station, "model").header()
    load_twin(path, header)
    load_twin(path, Station(station, "wire").header())  # the same sample
    for changes, what in (
        ({"simulation_seed": 8}, "another seed"),
        ({"backend": "real", "simulation_seed": None}, "kind of backend"),
    ):
        with pytest.raises(RecordError, match=what):
            load_twin(path, {**header, **changes})
    station.write_text(station.read_text().replace("crosstalk: 20 %}      #", "crosstalk: 30 %}      #"))
    with pytest.raises(RecordError, match="device file or device section; run calibrate_twin again"):
        load_twin(path, Station(station, "model").header())
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(RecordError, match="is not a stored twin"):
        load_twin(tmp_path / "x.json", header)
    with pytest.raises(RecordError, match="cannot be read: No such file"):
        load_twin(tmp_path / "none.json", header)


def test_an_interrupted_calibration_goes_on_as_if_nothing_had_been(station: Path) -> None:
    class Killed(BaseException):
        """Stands for SIGKILL."""

    whole = calibrate(station)
    recipe = CalibrateTwin(queries=48, parity=20)
    seen: list[Any] = []

    def kill(point: Any) -> None:
        seen.append(point)
        if len(seen) == 30:
            raise Killed

    with Station(station, "model") as opened:
        run = opened.run(station.parent / "runs", {}, run_id="broken", on_point=kill)
        with pytest.raises(Killed):
            recipe.execute(run)
        run.journal.close()
    with Station(station, "model") as opened:
        journal = Journal.open(station.parent / "runs" / "broken")
        with opened.resume(journal, replay=True) as run:
            recipe.execute(run)
            assert [replace(p, time=0.0) for p in journal.points()] == [replace(p, time=0.0) for p in whole.points()]
            assert said(journal) == said(whole)


def test_structure_is_found_where_there_is_one_and_not_in_noise() -> None:
    rng = np.random.default_rng(0)
    settings = rng.uniform(-1.0, 1.0, (60, 5))
    names = ["a", "b", "c", "d", "e"]
    assert sum(bool(find_structure(rng.standard_normal(60), settings, names)) for _ in range(100)) <= 3
    found = find_structure(rng.standard_normal(60) + 2.0 * settings[:, 2], settings, names)
    assert len(found) == 1
    assert found[0].startswith("goes with c")
    assert find_structure(rng.standard_normal(60) + 1.0, settings, names)[0].startswith("off by +")


def test_what_does_not_fit_is_refused() -> None:
    x, y = Channel("x", "input", "V", 0.0, 1.0, window=(0.0, 1.0)), Channel("y", "output", "V", window=(0.0, 1.0))
    p = Channel("p", "knob", "V", 0.0, 1.0)
    with pytest.raises(ParameterError, match="no knobs"):
        CalibrateTwin().count([x, y])
    with pytest.raises(ParameterError, match="y has no window"):
        CalibrateTwin().count([x, p, replace(y, window=None)])
    with pytest.raises(ParameterError, match="needs an output"):
        CalibrateTwin().count([x, p])
