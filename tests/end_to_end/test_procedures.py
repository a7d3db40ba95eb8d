"""Every registered procedure as a user runs it: run, `kill -9` and resume, export and read back, report.

The default run is frugal: on the model every procedure is killed once, on the wire one is; the slow tests kill each.
"""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import re
import shutil
import signal
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labthermo import plugins
from labthermo.records.export import TEXTS, table_of
from labthermo.records.journal import Journal

EXAMPLES = Path(__file__).parents[2] / "examples"
_LDH = ("buffer=b", "other=100 uL/min")
CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "iv_curve": ("sine", ("points=5",)),
    "coulomb_diamonds": ("single_dot", ("gate_points=8", "bias_points=8")),
    "stability_diagram": ("double_dot", ("x_points=8", "y_points=8")),
    "sweep": ("sine", ("x=p1", "x_points=4", "y=x", "y_points=3", "both=yes")),
    "ndc_map": ("sine", ("gate_points=3", "bias_points=6")),
    "settling_time": ("sine", ("steps=8",)),
    "hysteresis": ("sine", ("points=4", "repeats=2")),
    "dose_response": ("inhibited_well", ("stock=40 mM", "points=10", "blanks=2")),
    "progress_curve": ("inhibited_well", ("stock=40 mM", "points=31")),
    "dilution_scan": ("inhibited_well", ("flows=18 uL/min", "points=8", "paces=2", "dwell=100 s")),
    "pump_calibration": ("inhibited_well", ("pumps=s", "rates=50 uL/min, 100 uL/min")),
    "prime_and_purge": ("inhibited_well", ("points=10", "buffer=b")),
    "activity_assay": (
        "ldh_one_well",
        (
            "buffer=b",
            "other=116.5 uL/min",
            "substrate=e",
            "hold=n=16.5 uL/min, u1=20 uL/min",
            "repeats=2",
        ),
    ),
    "standard_curve": ("ldh_one_well", (*_LDH, "substrate=n", "hold=e=0 uL/min", "stock=2 mM", "points=4")),
    "blank_and_path": ("ldh_one_well", (*_LDH, "substrate=n", "hold=e=0 uL/min", "stock=2 mM", "repeats=2")),
    "calibrate_twin": ("xor", ("queries=12", "parity=8")),
    "health_check": ("sine", ("gates=p1", "gate_points=3", "bias_points=3", "repeats=4", "load=3.6 Mohm")),
}
"""Procedure -> example, and parameters that make it small."""
ENDINGS = {"qcodes": "db", "netcdf": "nc", "parquet": "parquet", "csv": "csv"}


def count_commits(after: Callable[[int], None]) -> Callable[..., Any]:
    """A Journal._execute that says how many commits there have been, each time that one is on disk."""
    original = Journal._execute
    done = 0

    def execute(self: Journal, statement: str, values: Sequence[Any] = ()) -> Any:
        nonlocal done
        answer = original(self, statement, values)
        if statement == "COMMIT":
            done += 1
            after(done)
        return answer

    return execute


def labthermo(*words: str) -> None:
    from labthermo.cli import app

    app(list(words), prog_name="labthermo", standalone_mode=False)


def run_words(name: str, backend: str, runs: Path) -> list[str]:
    example, parameters = CASES[name]
    options = [word for parameter in parameters for word in ("-p", parameter)]
    lab = runs.parent / example
    if not lab.exists():  # a copy: a calibrated twin is stored beside its station
        shutil.copytree(EXAMPLES / example, lab, ignore=shutil.ignore_patterns("runs"))
    station = str(lab / "station.yaml")
    return ["run", name, station, "--backend", backend, "--runs", str(runs), *options]


def run_killed(words: list[str], commit: int) -> None:
    """In a process of its own: the command, killed when this commit is on disk."""

    def kill(done: int) -> None:
        if done == commit:
            os.kill(os.getpid(), signal.SIGKILL)

    counting: Any = count_commits(kill)
    Journal._execute = counting
    labthermo(*words)


def only_run(runs: Path) -> Path:
    (folder,) = (path.parent for path in runs.glob("*/journal.sqlite"))
    return folder


def read(folder: Path) -> tuple[list[Any], list[Any], str]:
    """Points without the wall time of their commit, events but that of resuming, outcome."""
    with closing(Journal.open(folder, writable=False)) as journal:
        points = [repr(astuple(point)[:-1]) for point in journal.points()]
        events = [(e.kind, json.dumps(e.detail)) for e in journal.events() if e.kind != "resumed"]
        return points, events, journal.outcome


def kill_and_resume(name: str, backend: str, runs: Path, commits: int, part: float) -> tuple[list[Any], list[Any]]:
    """What was committed before the kill, and after resuming."""
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["labthermo.cli", "labthermo.station", "labthermo.training.loop"])
    # the first commit is the header, the last two are the outcome and what a bench has used up
    at = min(max(2, round(part * commits)), commits - 2)
    process = context.Process(target=run_killed, args=(run_words(name, backend, runs), at))
    process.start()
    process.join(200)
    assert process.exitcode == -signal.SIGKILL
    before, _, outcome = read(only_run(runs))
    assert outcome == "running"
    labthermo("resume", only_run(runs).name, "--runs", str(runs))
    after, events, outcome = read(only_run(runs))
    assert outcome == "finished"
    assert after[: len(before)] == before
    return after, events


def check_report(folder: Path, backend: str) -> None:
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<figure>" in page
    assert "<svg" in page
    assert "could not be shown" not in page
    assert not re.search(r"""(?:src|href)=["'](?!#|data:)""", page)  # nothing from outside
    assert not re.search(r"url\((?!#)", page)
    assert "SIMULATED" in page
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["backend"], summary["simulated"], summary["outcome"]) == (backend, True, "finished")


def read_export(path: Path, to: str) -> dict[str, np.ndarray]:
    if to == "qcodes":
        return read_qcodes(path)
    if to == "csv":
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        texts = {name: [row[name] for row in rows] for name in rows[0]}
        return {name: np.array(v if name in TEXTS else [float(x or "nan") for x in v]) for name, v in texts.items()}
    if to == "netcdf":
        import xarray

        found = xarray.load_dataset(path)
        return {str(name): found[name].to_numpy() for name in found.variables}
    import pandas as pd

    table = pd.read_parquet(path)
    return {name: table[name].to_numpy() for name in table}


def read_qcodes(path: Path) -> dict[str, np.ndarray]:
    """By number of the query; and with what plottr needs: axes that others depend on, labels, units, a shape."""
    from qcodes.dataset import load_by_id
    from qcodes.dataset.sqlite.database import connect

    connection = connect(str(path))
    try:
        found = load_by_id(1, conn=connection)
        assert found.completed
        columns = found.get_parameter_data()
        specs = found.paramspecs
        shapes = found.description.shapes
    finally:
        connection.close()
    header = json.loads(found.metadata["labthermo_header"])
    units = {c["name"]: c["unit"] for c in header["channels"]}
    for name, block in columns.items():
        axes = specs[name].depends_on_
        assert axes
        assert set(axes) == set(block) - {name}
        assert all(specs[each].label and specs[each].unit == units.get(each, specs[each].unit) for each in block)
        assert not shapes or block[name].shape == shapes[name]
    flat = {name: block[name].ravel() for block in columns.values() for name in block}
    order = np.argsort(flat["number"])
    return {name: values[order] for name, values in flat.items()}


def check_exports(folder: Path) -> None:
    with closing(Journal.open(folder, writable=False)) as journal:
        table = table_of(journal)
    for to, ending in ENDINGS.items():
        labthermo("export", folder.name, "--to", to, "--runs", str(folder.parent))
        found = read_export(folder / f"{folder.name}.{ending}", to)
        assert set(found) == set(table.columns)
        for name in table:
            values = table[name].to_numpy()
            if values.dtype.kind == "f":
                assert np.array_equal(found[name].astype(float), values, equal_nan=True), (to, name)
            else:
                assert found[name].tolist() == values.tolist(), (to, name)


def whole_run(name: str, backend: str, runs: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, int]:
    """A run that nothing disturbs: its folder and the number of its commits."""
    commits = [0]
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "_execute", count_commits(lambda done: commits.append(done)))
        labthermo(*run_words(name, backend, runs))
    return only_run(runs), commits[-1]


def test_every_procedure_is_here():
    assert set(CASES) == set(plugins.names("labthermo.procedures"))


@pytest.mark.parametrize("name", CASES)
def test_on_the_model_killed_and_resumed_is_as_never_killed(name, tmp_path, monkeypatch):
    folder, commits = whole_run(name, "model", tmp_path / "whole", monkeypatch)
    check_report(folder, "model")
    check_exports(folder)
    points, events, _ = read(folder)
    part = np.random.default_rng(len(name)).uniform(0.2, 0.9)
    after = kill_and_resume(name, "model", tmp_path / "torn", commits, part)
    assert after == (points, events)
    check_report(only_run(tmp_path / "torn"), "model")


def check_on_the_wire(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, parts: Sequence[float]) -> None:
    whole, commits = whole_run(name, "wire", folder / "whole", monkeypatch)
    check_report(whole, "wire")
    _, events, _ = read(whole)
    for k, part in enumerate(parts):
        torn = folder / f"torn{k}"
        _, again = kill_and_resume(name, "wire", torn, commits, part)
        assert [kind for kind, _ in again] == [kind for kind, _ in events]
        with closing(Journal.open(whole, writable=False)) as one, closing(Journal.open(only_run(torn))) as other:
            asked = [[(p.purpose, p.knobs_asked, p.inputs_asked, p.reset) for p in j.points()] for j in (one, other)]
        # calibrate_twin chooses by what it reads, and a bench does not read the same noise twice
        assert asked[0] == asked[1] or name == "calibrate_twin"
        check_report(only_run(torn), "wire")


@pytest.mark.parametrize("name", CASES)
def test_on_the_wire(name, tmp_path, monkeypatch):
    check_on_the_wire(name, tmp_path, monkeypatch, [0.4] if name == "iv_curve" else [])


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_on_the_wire_killed_anywhere(name, tmp_path, monkeypatch):
    check_on_the_wire(name, tmp_path, monkeypatch, [0.05, 0.5, 0.95])
    check_exports(only_run(tmp_path / "whole"))
