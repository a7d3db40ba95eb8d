"""A run that is killed in the middle of a refill, on a bench that lives on; and an operator who fills one by hand."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from labthermo.records.journal import Journal
from simulators.wire.control import ControlClient

WELL = Path(__file__).parents[2] / "examples" / "inhibited_well"
SWEEP = ("-p", "x=s", "-p", "x_points=4", "-p", "hold=b=100 uL/min")
KILLED = """
import os, signal, sys
from instruments.ne1000 import Ne1000
real = Ne1000.{method}
def die(pump):
    {before}
    os.kill(os.getpid(), signal.SIGKILL)
Ne1000.{method} = die
sys.argv[0] = "labthermo"
from labthermo.cli import main
main()
"""


def labthermo(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "labthermo", *words], capture_output=True, text=True, timeout=120, check=False
    )


def labthermo_killed(method: str, before: str, *words: str) -> subprocess.CompletedProcess[str]:
    """As :func:`labthermo`, but it is killed where a pump's `method` would begin, or after `before`."""
    script = KILLED.format(method=method, before=before)
    return subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("well")
    (folder / "well.yaml").write_text((WELL / "well.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    text = (WELL / "station.yaml").read_text(encoding="utf-8")
    whole = "diameter: 26.59e-3"
    text = text.replace(whole, f"{whole}, syringe_volume: 0.0125, refill_rate: 1.0e-4")
    (folder / "station.yaml").write_text(text.replace("timeout: 2 h", "timeout: 1.8 h"), encoding="utf-8")
    return folder / "station.yaml"


@pytest.fixture(scope="module")
def control(station: Path, serve: Callable[..., AbstractContextManager[str]]) -> Iterator[ControlClient]:
    with serve(station, "--virtual-time") as address:
        client = ControlClient(address)
        yield client
        client.close()


def test_a_run_killed_twice_in_a_refill_goes_on_with_the_pumps_own_counts(station, control):
    runs = str(station.parent / "runs")
    killed = labthermo_killed(
        "start_refill",
        "if not real(pump): return 0.0",
        "run",
        "sweep",
        str(station),
        *SWEEP,
        "--bench",
        control.address,
        "--runs",
        runs,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    run_id = killed.stdout.split()[1]
    last = control.read_log()[-1]
    assert last.quantity == "flow"
    assert last.actual < 0.0  # it draws on, with nobody there
    killed = labthermo_killed("finish_refill", "pass", "resume", run_id, "--runs", runs)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = labthermo("resume", run_id, "--runs", runs)
    assert done.returncode == 0, done.stderr
    log = [e for e in control.read_log() if e.quantity == "flow"]
    journal = Journal.open(station.parent / "runs" / run_id, writable=False)
    statuses, refills = journal.statuses(), journal.events("refill")
    journal.close()
    assert statuses == {"settled": 4}
    assert refills
    # no syringe has met an end, nothing was drawn while another pump ran, and each holds what its counts say
    for pump in ("s", "b"):
        mine = [e for e in log if e.channel == pump]
        ends = [*(e.time for e in mine[1:]), control.now()]
        content, least, most = 0.0125, 0.0125, 0.0125
        for entry, end in zip(mine, ends, strict=True):
            content -= entry.actual * (end - entry.time)
            least, most = min(least, content), max(most, content)
            others = [e for e in log if e.channel not in (pump, "") and entry.time < e.time < end]
            assert entry.actual >= 0.0 or not any(e.actual > 0.0 for e in others)
        assert least > 0.0
        assert most <= 0.0125 + 1e-9
    summary = json.loads((station.parent / "runs" / run_id / "summary.json").read_text(encoding="utf-8"))
    assert summary["usage"]["refills"]["b"]["times"] >= 1


def test_an_operator_says_that_a_syringe_is_full(station, control):
    done = labthermo("home", str(station), "b", "--bench", control.address)
    assert (done.returncode, done.stdout) == (0, "b is full: 12.5 mL\n"), done.stderr
