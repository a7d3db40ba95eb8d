"""The desktop window, off screen: what it runs is recorded and guarded like any other run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from labthermo import Station
from labthermo.limits import device_channels
from labthermo.records.journal import Journal
from procedures.sweep import Sweep

pytest.importorskip("PySide6", reason="the extra `window` is not installed")

STATION = Path(__file__).parents[2] / "examples" / "sine" / "station.yaml"


@pytest.fixture(scope="module")
def application() -> Any:
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    from pymeasure.display.Qt import QtWidgets

    return QtWidgets.QApplication.instance() or QtWidgets.QApplication([])


@pytest.fixture
def opened() -> list[Station]:
    return []


@pytest.fixture
def window(application: Any, opened: list[Station], tmp_path: Path) -> Iterator[Any]:
    from labthermo.desktop_window import ProcedureWindow

    def open_station() -> Station:
        opened.append(Station(STATION, "wire"))
        return opened[-1]

    with Station(STATION, "model") as station:
        channels = device_channels(station.config)
    made = ProcedureWindow(Sweep, channels, open_station, tmp_path, "labthermo window")
    yield made
    made.close()


def wait(application: Any, until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not until():
        assert time.monotonic() < deadline
        application.processEvents()
        time.sleep(0.01)


def outcome(runs: Path) -> tuple[str, int]:
    (folder,) = (path.parent for path in runs.glob("*/journal.sqlite"))
    with closing(Journal.open(folder, writable=False)) as journal:
        return journal.outcome, journal.count()


def test_a_sweep_from_the_window_is_plotted_and_recorded(application, window, tmp_path):
    window.inputs.x_points.setText("5")
    window.inputs.x_stop.setText("2 mV")
    window.queue_button.click()
    wait(application, lambda: not window.manager.is_running())
    assert outcome(tmp_path) == ("finished", 5)
    assert len(list(tmp_path.glob("*/report.html"))) == 1
    (experiment,) = window.manager.experiments.queue
    data = experiment.results.data
    assert data["x (V)"].tolist() == pytest.approx([0.9e-3, 1.175e-3, 1.45e-3, 1.725e-3, 2e-3], abs=1e-6)
    assert data["y (V)"].notna().all()


def test_what_does_not_fit_is_not_queued(application, window, opened, tmp_path):
    window.inputs.x_stop.setText("9 mV")
    window.queue_button.click()
    application.processEvents()
    assert list(window.manager.experiments.queue) == []
    assert (opened, list(tmp_path.iterdir())) == ([], [])


def test_abort_leads_to_the_safe_state_and_a_run_that_can_be_resumed(application, window, opened, tmp_path):
    window.inputs.x_points.setText("400")
    window.queue_button.click()
    wait(application, lambda: any(tmp_path.glob("*/journal.sqlite")) and outcome(tmp_path)[1] > 2)
    window.abort_button.click()
    wait(application, lambda: not window.manager.is_running())
    said, points = outcome(tmp_path)
    assert said == "stopped"
    assert points < 400
    log = opened[0].world.bench.log
    assert (log[-1].port, log[-1].quantity, bool(log[-1].actual)) == ("drain.output", "connected", False)
    assert [e.at_sample for e in log if e.channel == "x" and e.quantity == "voltage"][-1] == 0.0
