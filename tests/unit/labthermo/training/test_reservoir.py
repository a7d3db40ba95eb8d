"""Reservoir computing: what a linear read-out makes of a device that is not trained, and why it proves nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from labthermo import Query, Station
from labthermo.config import load_station
from labthermo.records.report import write_report
from labthermo.run import Run
from labthermo.training.knob_space import KnobSpace
from labthermo.training.loop import Plan, train
from labthermo.training.reservoir import Reservoir
from labthermo.training.task import make_task

EXAMPLES = Path(__file__).parents[4] / "examples"


@pytest.fixture
def read_whole(tmp_path: Path) -> Path:
    """Device B with every branch read."""
    text = (EXAMPLES / "hidden_nodes" / "station.yaml").read_text()
    meters = "".join(
        f"    h{k}: {{of: dmm{k}.voltage, via: {{gain: 1000, overload: 5 V}}, integration: 20 ms}}\n"
        for k in range(1, 5)
    )
    boxes = "".join(
        f"  dmm{k}: {{driver: keysight34465a, address: 'TCPIP0::192.168.8.{30 + k}::5025::SOCKET'}}\n"
        for k in range(1, 5)
    )
    text = text.replace("  nodes:\n", f"  nodes:\n{meters}").replace("instruments:\n", f"instruments:\n{boxes}")
    text = text.replace("noise: {y:", "noise: {h1: 0 V/Hz**0.5, h2: 0 V/Hz**0.5, h3: 0 V/Hz**0.5, h4: 0 V/Hz**0.5, y:")
    (tmp_path / "branches.yaml").write_text((EXAMPLES / "hidden_nodes" / "branches.yaml").read_text())
    (tmp_path / "station.yaml").write_text(text)
    return tmp_path / "station.yaml"


def test_a_read_out_passes_the_floor_behind_a_monotone_device(read_whole: Path, tmp_path: Path) -> None:
    with Station(load_station(read_whole), "model", control=True) as station:
        task = make_task("sine", station.device.channels)
        plan = Plan(task, "reservoir", 100, 1)
        journal = station.new_journal(tmp_path, {**plan.header(), "control": True}, "run")
        outcome = train(Run(station.device, journal), plan, station.twin(), station.twin)
        assert outcome.rmse is not None
        assert outcome.rmse < 0.3 < 0.705
        assert outcome.floor is None  # that of the device does not bind its read-out
        assert journal.queries() == 33
        assert not journal.events("control")
        journal.finish("finished")
        journal.close()
    page = write_report(tmp_path / "run").read_text()
    assert "no evidence for NDC" in page
    assert "beats" not in page


def test_it_asks_once_and_remembers(read_whole: Path) -> None:
    with Station(load_station(read_whole), "model") as station:
        device = station.device
        task, space = make_task("sine", device.channels), KnobSpace(device.channels)
        first = Reservoir(space, task, 3)
        ask = first.ask()
        assert ask is not None
        assert Reservoir(space, task, 4).result() != first.result() == ask.query.knobs
        progress = first.tell(device.query(ask.query))
        assert progress is not None
        assert first.ask() is None
        second = Reservoir(space, task, 3)
        second.restore(json.loads(json.dumps(first.state())))
        assert second.ask() is None
        other = device.query(Query(knobs=first.result(), inputs=task.score_inputs, reset="park"))
        assert np.array_equal(first.read_out(other), second.read_out(other))
        assert task.score(first.read_out(other)) == pytest.approx(progress.rmse, abs=0.1)
