"""Ctrl-C and SIGTERM at any moment: the safe state, once, a readable record, and the right exit code."""
# ruff: noqa: PT012 - what is judged is how a `with Station` ends

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labthermo import Query, Station
from labthermo.records.journal import Journal
from labthermo.safety.signals import Stopped, stop_on_signals

MOMENTS = np.random.default_rng(8).uniform(0.0, 0.5, 12)


def check_safe_once(log: list[Any]) -> None:
    """The input ended at zero, reached once; then the drain was disconnected, once and last; gates held."""
    drain = [bool(e.actual) for e in log if e.time > 0 and (e.port, e.quantity) == ("drain.output", "connected")]
    assert drain[drain.index(True) :] == [True, False]
    assert (log[-1].port, log[-1].quantity) == ("drain.output", "connected")
    places = [n for n, e in enumerate(log) if e.channel == "x" and e.quantity == "voltage"]
    path = [log[n].at_sample for n in places]
    assert path[-1] == 0.0
    if len(path) > 1:
        assert path[-2] != 0.0
    gates = {e.channel: e.at_sample for e in log if e.channel[:1] in ("p", "l", "r") and e.quantity == "voltage"}
    assert any(abs(volts) > 1e-3 for volts in gates.values())


@pytest.mark.parametrize(("number", "delay"), list(enumerate(MOMENTS)))
def test_a_signal_at_any_moment_leads_to_the_safe_state_once(edited, judge, number, delay):
    signum = (signal.SIGINT, signal.SIGTERM)[number % 2]
    echo = number % 3 == 0  # as from a terminal and a launcher at once
    rng = np.random.default_rng(number)
    station = Station(edited())

    def send() -> None:
        for _ in range(2 if echo else 1):
            os.kill(os.getpid(), signum)
            time.sleep(2e-3)

    with pytest.raises(Stopped) as stopped, station:
        names = [c.name for c in station.device.channels if c.kind == "knob"]
        station.device.query(Query({"l1": -0.01}, [1e-3]))
        threading.Timer(delay, send).start()
        while True:
            knobs = dict(zip(names, rng.uniform(-0.04, 0.04, len(names)).tolist(), strict=True))
            station.device.query(Query(knobs, rng.uniform(0.9e-3, 2.7e-3, 5)))
    assert stopped.value.code == 128 + signum
    log = station.world.bench.log
    check_safe_once(log)
    verdict = judge(station.config, log)
    assert verdict.step <= 1.0
    assert verdict.slew <= 1.0


@pytest.mark.parametrize("delay", [0.02, 0.06, 0.1, 0.15])
def test_a_signal_while_it_opens_leaves_nothing_on(edited, delay):
    station = Station(edited())
    timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
    with pytest.raises(Stopped), stop_on_signals():
        timer.start()
        with station:
            time.sleep(1.0)
    if station.world is not None:
        log = station.world.bench.log
        drain = [e.actual for e in log if e.time > 0 and (e.port, e.quantity) == ("drain.output", "connected")]
        assert not drain or not drain[-1]
        assert {e.port for e in log if e.time > 0} <= {"drain.output"}


@pytest.mark.parametrize(
    ("signum", "delay", "times"), [(signal.SIGINT, 0.0, 1), (signal.SIGTERM, 2.0, 1), (signal.SIGINT, 3.0, 2)]
)
def test_a_stopped_training_ends_soon_with_its_code_and_a_readable_record(edited, tmp_path, signum, delay, times):
    words = ("train", str(edited()), "--task", "sine", "--runs", str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-m", "labthermo", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first.startswith("run "), process.communicate()[1]
        time.sleep(delay)
        sent = time.monotonic()
        for _ in range(times):
            process.send_signal(signum)
        _, errors = process.communicate(timeout=15)
        took = time.monotonic() - sent
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 128 + signum, errors
    assert took < 8.0
    assert errors.strip().splitlines()[-1] == "stopped; the device is in its safe state"
    assert "Traceback" not in errors
    journal = Journal.open(Path(tmp_path) / first.split()[1], writable=False)
    try:
        assert journal.outcome == "stopped"
        assert [p.number for p in journal.points()] == list(range(journal.last_number() + 1))
    finally:
        journal.close()


def test_a_run_is_stopped_from_another_process_and_goes_on_later(edited, tmp_path):
    def labthermo(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "labthermo", *words, "--runs", str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)

    words = ("run", "sweep", str(edited()), "-p", "x_points=500", "--runs", str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-m", "labthermo", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        name = first.split()[1]
        done = labthermo("stop", name)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert (done.returncode, process.returncode) == (0, 128 + signal.SIGTERM), done.stderr + errors
    assert done.stdout == f"stopped; to go on: labthermo resume {name} --runs {tmp_path}\n"
    for run, message in ((name, f"nobody goes on with {name}"), ("nothing", "name the folder of a run")):
        again = labthermo("stop", run)
        assert (again.returncode, again.stdout, again.stderr.count("\n")) == (2, "", 1)
        assert message in again.stderr
    journal = Journal.open(tmp_path / name, writable=False)
    try:
        assert journal.outcome == "stopped"
        assert journal.count() < 500
    finally:
        journal.close()
