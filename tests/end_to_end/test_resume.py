"""`kill -9` and `labthermo resume`: no acknowledged query is lost, asked twice or changed."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import astuple
from pathlib import Path
from typing import Any

from labthermo.records.journal import Journal

STATION = Path(__file__).parents[2] / "examples" / "sine" / "station.yaml"


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "labthermo", *words]


def train(runs: Path, backend: str, seed: int) -> list[str]:
    words = ("train", str(STATION), "--task", "sine", "--backend", backend, "--seed", str(seed), "--runs", str(runs))
    return command(*words)


def start(runs: Path, backend: str, seed: int) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(train(runs, backend, seed), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first.startswith("run "), first
    return process, runs / first.split()[1]


def committed(folder: Path) -> list[Any]:
    """Everything a reader sees in the journal, less the wall time of each point."""
    journal = Journal.open(folder, writable=False)
    try:
        return [repr(astuple(point)[:-1]) for point in journal.points()]
    finally:
        journal.close()


def kill_after(process: subprocess.Popen[str], folder: Path, points: int) -> list[Any]:
    """Kill when at least `points` are committed, and give what was committed before the kill."""
    deadline = time.monotonic() + 120
    seen: list[Any] = []
    while len(seen) < points and process.poll() is None and time.monotonic() < deadline:
        seen = committed(folder)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return seen


def resume(runs: Path, folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        command("resume", folder.name, "--runs", str(runs)), capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"run {folder.name}\n")
    return json.loads((folder / "summary.json").read_text())


def test_on_model_a_killed_and_resumed_run_is_bit_identical(tmp_path: Path) -> None:
    whole, folder = start(tmp_path / "whole", "model", 1)
    whole.communicate(timeout=240)
    assert whole.returncode == 0
    expected = committed(folder)
    broken, torn = start(tmp_path / "torn", "model", 1)
    seen = kill_after(broken, torn, 13)
    assert 0 < len(seen) < len(expected)
    summary = resume(tmp_path / "torn", torn)
    assert committed(torn) == expected
    assert summary["rmse"] == json.loads((folder / "summary.json").read_text())["rmse"]


def test_on_wire_nothing_acknowledged_is_lost_or_repeated(tmp_path: Path) -> None:
    process, folder = start(tmp_path, "wire", 1)
    seen = kill_after(process, folder, random.randint(3, 110))
    assert seen, "the kill came before the first point"
    summary = resume(tmp_path, folder)
    after = committed(folder)
    assert after[: len(seen)] == seen
    journal = Journal.open(folder, writable=False)
    try:
        assert [p.number for p in journal.points()] == list(range(len(after)))
        assert journal.outcome == "finished"
        assert len(journal.events("resumed")) == 1
        scored = journal.points("score")
    finally:
        journal.close()
    assert len(scored) == 201
    assert len({p.inputs_asked for p in scored}) == 201
    assert summary["rmse"] <= 0.05
    assert (folder / "report.html").is_file()
