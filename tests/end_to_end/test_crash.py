"""`kill -9` of a training attached to a bench that lives on, then `resume`: the sample and the record survive.

Judged by the Bench's own log and by the journal. The default run kills a few times, the slow one forty times.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest

from labthermo.config import load_station
from labthermo.limits import device_channels
from labthermo.records.journal import Journal
from labthermo.station import Station
from labthermo.training.loop import Plan
from labthermo.training.methods import Material, make_trainer
from simulators.wire.control import ControlClient
from simulators.wire.world import LogEntry

STATION = Path(__file__).parents[2] / "examples" / "sine" / "station.yaml"


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "labthermo", *words]


@pytest.fixture(scope="module")
def bench(serve: Callable[..., AbstractContextManager[str]]) -> Iterator[str]:
    """The control address of a bench in a process of its own."""
    with serve(STATION, "--seed", "1", "--virtual-time") as address:
        yield address


def check_log(log: list[LogEntry]) -> None:
    """No step above max_step, no slew above slew, compliance before every connection; over the whole life."""
    channels = {c.name: c for c in device_channels(load_station(STATION)) if c.kind in ("input", "knob")}
    last: dict[str, LogEntry] = {}
    limit = 0.0
    ours = False  # a 2450 wakes up with its terminals clamped, until the adapter asks for high impedance
    for entry in log:
        if entry.quantity == "limit" and entry.channel == "i_lo":
            limit = entry.programmed
        elif entry.quantity == "connected" and entry.channel == "i_lo":
            ours |= not entry.programmed
            assert not (ours and entry.programmed) or limit == pytest.approx(10e-9), entry
        elif entry.quantity == "voltage" and entry.channel in channels:
            before, channel = last.get(entry.channel), channels[entry.channel]
            if before is not None:
                step = abs(entry.at_sample - before.at_sample)
                assert step <= channel.max_step * (1 + 1e-9), (before, entry)
                allowed = channel.slew * (entry.time - before.time)
                assert step <= allowed * (1 + 1e-9) + 1e-12, (before, entry)
            last[entry.channel] = entry


def committed(folder: Path) -> list[str]:
    journal = Journal.open(folder, writable=False)
    try:
        return [repr(astuple(point)) for point in journal.points()]
    finally:
        journal.close()


def check_trainer(folder: Path) -> None:
    """A trainer restored from the journal has, byte for byte, the state that was committed last."""
    journal = Journal.open(folder, writable=False)
    try:
        header, saved = journal.header, journal.trainer_state()
    finally:
        journal.close()
    if saved is None:
        return
    with Station(load_station(STATION), "model") as station:
        plan = Plan.of(header)
        trainer = make_trainer(plan.method, Material(plan.task, station.device, station.twin(), plan.seed))
        trainer.restore(saved["trainer"])
        assert json.dumps(trainer.state()) == json.dumps(saved["trainer"])


def attack(bench: str, runs: Path, kills: int) -> dict[str, Any]:
    """Train, kill at random moments, resume, until `kills` are spent; then let the last run end. Its summary."""
    rng = random.Random(kills)
    base = ("--bench", bench, "--runs", str(runs))
    seed, done, folder, seen = 0, 0, None, []
    while True:
        if folder is None:
            words = command("train", str(STATION), "--task", "sine", "--backend", "wire", "--seed", str(seed), *base)
        else:
            words = command("resume", folder.name, *base)
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first.startswith("run "), first + process.communicate()[1]
        folder = runs / first.split()[1]
        try:
            process.wait(rng.uniform(0.0, 9.0) if done < kills else 240)
        except subprocess.TimeoutExpired:
            assert done < kills, "the last run did not end"
            process.send_signal(signal.SIGKILL)
            done += 1
        _, errors = process.communicate()
        now = committed(folder)
        assert now[: len(seen)] == seen, "an acknowledged point was lost or changed"
        seen = now
        check_trainer(folder)
        assert process.returncode in (0, -signal.SIGKILL), errors
        journal = Journal.open(folder, writable=False)
        try:
            assert [p.number for p in journal.points()] == list(range(len(now)))
            finished = journal.outcome == "finished"  # also where the kill came between the last commit and the report
            if finished:
                assert len({p.inputs_asked for p in journal.points("score")}) == journal.count("score") == 201
        finally:
            journal.close()
        if finished:
            show = subprocess.run(
                command("show", folder.name, "--runs", str(runs)),
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
            summary = json.loads(show.stdout)
            assert summary["rmse"] <= 0.05
            if done >= kills:
                return summary
            seed, folder, seen = seed + 1, None, []


def check_bench(bench: str) -> None:
    control = ControlClient(bench)
    try:
        check_log(control.read_log())
    finally:
        control.close()


def test_a_killed_procedure_goes_on_on_the_bench_that_lived_on(bench: str, tmp_path: Path) -> None:
    base = ("--bench", bench, "--runs", str(tmp_path))
    words = command("run", "iv_curve", str(STATION), "-p", "points=15", "--backend", "wire", *base)
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first.startswith("run "), first + process.communicate()[1]
    folder = tmp_path / first.split()[1]
    while not len(seen := committed(folder)) > 4 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(seen) < 30, "it was over before it was killed"
    seen = committed(folder)
    done = subprocess.run(command("resume", folder.name, *base), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert committed(folder)[: len(seen)] == seen
    journal = Journal.open(folder, writable=False)
    try:
        assert [p.number for p in journal.points()] == list(range(30))
        assert [e.kind for e in journal.events()] == ["resumed", "iv", "iv", "usage"] or len(seen) >= 15
    finally:
        journal.close()
    check_bench(bench)


def test_a_few_kills(bench: str, tmp_path: Path) -> None:
    attack(bench, tmp_path, 3)
    check_bench(bench)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_forty_kills(bench: str, tmp_path: Path) -> None:
    began = time.monotonic()
    summary = attack(bench, tmp_path, 40)
    check_bench(bench)
    print(f"40 kills in {time.monotonic() - began:.0f} s, last rmse {summary['rmse']:.4f}")
