"""One channel by hand, the red button, and what happens after a reboot: on a served bench, judged by its own log."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path

import pytest

from labthermo.records.journal import Journal
from simulators.wire.control import ControlClient
from simulators.wire.world import LogEntry

STATION = str(Path(__file__).parents[2] / "examples" / "sine" / "station.yaml")


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "labthermo", *words]


def labthermo(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def control(serve: Callable[..., AbstractContextManager[str]]) -> Iterator[ControlClient]:
    with serve(STATION, "--virtual-time") as address:
        client = ControlClient(address)
        yield client
        client.close()


def settings(log: list[LogEntry]) -> dict[str, float]:
    """Where every channel was left."""
    return {e.channel: e.at_sample for e in log if e.quantity == "voltage" and e.channel}


def start_training(control: ControlClient, runs: Path) -> tuple[subprocess.Popen[str], Path]:
    words = ("train", STATION, "--task", "sine", "--bench", control.address, "--runs", str(runs))
    process = subprocess.Popen(command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    folder = runs / process.stdout.readline().split()[1]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        journal = Journal.open(folder, writable=False)
        try:
            if journal.last_number() >= 5:
                break
        finally:
            journal.close()
        time.sleep(0.05)
    return process, folder


def test_set_moves_one_channel_through_guard_and_leaves_it_there(control: ControlClient) -> None:
    done = labthermo("set", STATION, "p1", "-12 mV", "--bench", control.address)
    assert (done.returncode, done.stdout) == (0, "p1 = -12 mV\n"), done.stderr
    assert done.stderr == "simulated: the backend is wire\n"
    log = control.read_log()
    moves = [e for e in log if e.channel == "p1" and e.quantity == "voltage"]
    steps = [abs(b.at_sample - a.at_sample) for a, b in pairwise(moves)]
    assert len(steps) >= 6
    assert max(steps) <= 2e-3 * (1 + 1e-9)
    assert settings(log)["p1"] == pytest.approx(-12e-3, abs=1e-6)
    assert labthermo("get", STATION, "p1", "--bench", control.address).stdout == "p1 = -12 mV\n"
    shown = labthermo("get", STATION, "--bench", control.address).stdout.splitlines()
    assert [line.split(" = ")[0] for line in shown[:2]] == ["x", "p1"]
    assert "i_lo = off" in shown
    before = len(control.read_log())
    for bad in (("p1", "1 V"), ("y", "1 mV")):  # beyond the limits, not a channel that can be set
        refused = labthermo("set", STATION, *bad, "--bench", control.address)
        assert refused.returncode == 2
        assert refused.stderr.startswith("labthermo: ")
        assert refused.stderr.count("\n") == 1
    assert len(control.read_log()) == before
    watched = labthermo("watch", STATION, "p1", "--times", "3", "--bench", control.address)
    assert watched.stdout == "p1 = -12 mV\n" * 3


def test_the_red_button_ends_whoever_holds_the_bench_and_makes_it_safe(control: ControlClient, tmp_path: Path) -> None:
    process, folder = start_training(control, tmp_path)
    refused = labthermo("set", STATION, "p1", "0 V", "--bench", control.address)
    assert refused.returncode == 2
    assert f"process {process.pid}, started" in refused.stderr
    done = labthermo("safe", STATION, "--bench", control.address)
    assert done.returncode == 0, done.stdout + done.stderr
    process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    log = control.read_log()
    left = settings(log)
    assert left["x"] == pytest.approx(0.0, abs=1e-7)
    assert any(abs(left[f"p{k}"]) > 1e-4 for k in range(1, 6)), "the gates should hold"
    assert [e.programmed for e in log if e.channel == "i_lo" and e.quantity == "connected"][-1] == 0.0
    journal = Journal.open(folder, writable=False)
    try:
        assert journal.outcome == "stopped"
    finally:
        journal.close()


def test_after_a_reboot_nothing_is_ramped_back_without_rearming(control: ControlClient, tmp_path: Path) -> None:
    process, folder = start_training(control, tmp_path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    control.inject("gates", "reboot")
    words = ("resume", folder.name, "--runs", str(tmp_path))
    refused = labthermo(*words)
    assert refused.returncode == 2
    assert "gates was switched off and on" in refused.stderr
    assert "--rearm" in refused.stderr
    assert "the record has" in refused.stdout
    assert all(abs(v) < 1e-6 for v in settings(control.read_log()).values()), "something was ramped back"
    done = labthermo(*words, "--rearm")
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "summary.json").read_text())["rmse"] <= 0.05
