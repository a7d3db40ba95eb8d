"""What happens to the computer: a second program, one that is stopped or killed, a clock that is set.

The bench is served by a process of its own and judges by its own log. The disk that is full and the locked database are
in tests/unit/labthermo, `kill -9` in mid-training in test_crash.py.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from labthermo import Query, Station, Status
from labthermo.config import load_station
from labthermo.errors import BackendError, OwnershipError
from labthermo.records.journal import Journal
from labthermo.safety import watchdog as watchdog_module
from simulators.wire.control import ControlClient

STATION = Path(__file__).parents[2] / "examples" / "sine" / "station.yaml"
WATCHED = ("knobs: hold}", "knobs: hold, watchdog: 500 ms}")


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "labthermo", *words]


@pytest.fixture(scope="module")
def bench(serve: Callable[..., AbstractContextManager[str]]) -> Iterator[str]:
    """The control address of a bench whose time is the wall's."""
    with serve(STATION) as address:
        yield address


@pytest.fixture
def control(bench: str) -> Iterator[ControlClient]:
    client = ControlClient(bench)
    yield client
    client.close()


@dataclass
class Owner:
    """A program that measures and measures."""

    process: subprocess.Popen[str]
    folder: Path
    errors: Path

    def points(self) -> int:
        journal = Journal.open(self.folder, writable=False)
        try:
            return journal.count()
        finally:
            journal.close()


@contextmanager
def measuring(station: Path, bench: str, runs: Path) -> Iterator[Owner]:
    words = ("iv_curve", str(station), "-p", "points=5000", "--bench", bench, "--runs", str(runs))
    with (runs / "errors.txt").open("w") as errors:
        process = subprocess.Popen(command("run", *words), stdout=subprocess.PIPE, stderr=errors, text=True)
    assert process.stdout is not None
    try:
        owner = Owner(process, runs / process.stdout.readline().split()[1], runs / "errors.txt")
        wait_until(lambda: owner.points() >= 3)
        yield owner
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_one_program_at_a_time_even_while_it_is_stopped_and_another_after_it_has_died(
    bench: str, control: ControlClient, tmp_path: Path
) -> None:
    with measuring(STATION, bench, tmp_path) as owner:
        pid = owner.process.pid

        def check_refused() -> None:
            with pytest.raises(OwnershipError, match=rf"is held by process {pid}, started 20\d\d-\d\d-\d\d") as error:
                Station(STATION, "wire", bench=bench).open()
            assert "\n" not in str(error.value)

        check_refused()
        owner.process.send_signal(signal.SIGSTOP)
        time.sleep(0.2)  # what was under way on the bench comes to its end
        points, moves = owner.points(), len(control.read_log())
        check_refused()
        assert (owner.points(), len(control.read_log())) == (points, moves)
        owner.process.send_signal(signal.SIGCONT)
        wait_until(lambda: owner.points() >= points + 3)
        owner.process.send_signal(signal.SIGKILL)
        owner.process.wait()
    with Station(STATION, "wire", bench=bench) as station:  # the lock of the dead is nobody's
        assert station.device.query(Query(inputs=[[1e-3]])).status == (Status.SETTLED,)


@pytest.mark.parametrize("signum", [signal.SIGSTOP, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_what_has_stopped_answering_is_ended_and_made_safe(
    edited: Callable[..., Path],
    bench: str,
    control: ControlClient,
    tmp_path: Path,
    judge: Callable[..., Any],
    signum: signal.Signals,
) -> None:
    """By its watchdog, with a heartbeat of 0.5 s."""
    station = edited(WATCHED)
    with measuring(station, bench, tmp_path) as owner:
        owner.process.send_signal(signum)
        stopped = time.monotonic()
        time.sleep(0.05)
        first, messages = len(control.read_log()), control.messages()
        wait_until(lambda: control.messages() > messages)
        print(f"\nfirst command {(time.monotonic() - stopped) / 0.5:.1f} heartbeats after {signum.name}")
        wait_until(lambda: not drain_is_on(control))
        owner.process.wait(10)
        assert owner.process.returncode == -signal.SIGKILL
        log = control.read_log()
        x = [e.at_sample for e in log if e.channel == "x" and e.quantity == "voltage"]
        assert x[-1] == 0.0
        assert (log[-1].port, log[-1].quantity, log[-1].actual) == ("drain.output", "connected", 0.0)
        assert {e.channel for e in log[first:] if e.quantity == "voltage"} <= {"x"}  # gates hold
        assert judge(load_station(station), log, first).step <= 1.0
        wait_until(lambda: "safe: inputs at zero" in owner.errors.read_text())
        said = owner.errors.read_text()
        assert f"process {owner.process.pid} " in said
        assert "NOT SAFE" not in said


def drain_is_on(control: ControlClient) -> bool:
    states = [e.actual for e in control.read_log() if (e.port, e.quantity) == ("drain.output", "connected")]
    return bool(states[-1])


def test_a_watchdog_that_does_not_start_keeps_the_bench_cold(
    edited: Callable[..., Path], bench: str, control: ControlClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog_module.sys, "executable", "/bin/false")
    first = len(control.read_log())
    with pytest.raises(BackendError, match=r"the watchdog did not start .*watchdog: off"):
        Station(edited(WATCHED), "wire", bench=bench).open()
    assert not any(e.actual for e in control.read_log()[first:] if e.quantity == "connected")


def test_a_clock_that_is_set_in_mid_run_changes_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a day forward, then two back: durations come from the monotonic clock or the bench, never from the date."""
    with Station(STATION, "wire") as station:
        run = station.run(tmp_path, {"procedure": "by hand", "parameters": {}}, run_id="run")
        true = time.time
        answers = []
        for shift in (0.0, 86_400.0, -86_400.0):
            monkeypatch.setattr(time, "time", lambda shift=shift: true() + shift)
            answers.append(run.query(Query(inputs=[[2e-3]])))
        monkeypatch.undo()
        run.close()
    assert all(answer.status == (Status.SETTLED,) for answer in answers)
    assert max(answer.settle_time[0] for answer in answers) < 10.0
    spread = max(abs(answer.outputs - answers[0].outputs)[0, 0] for answer in answers)
    assert spread < 10e-6
    journal = Journal.open(tmp_path / "run", writable=False)
    try:
        assert [point.number for point in journal.points()] == [0, 1, 2]
    finally:
        journal.close()
