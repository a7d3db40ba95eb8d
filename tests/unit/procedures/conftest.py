"""A device with two states, and a look at what a procedure has recorded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from labthermo import Station
from labthermo.config import Backend
from labthermo.procedure import Procedure

LATCH = """
carriers: electrons
reservoirs: {y: 10 pF}
terminals: [x, lo]
processes:
  - {edge: [x, y], law: Linear, resistance: 5 Mohm}
  - {edge: [y, lo], law: GaussianNdc, conductance: 1 uS, width: 0.2 mV, leak: 10 nS}
"""
STATION = """
backend: wire
instruments:
  gates: {driver: qdac2,          address: "TCPIP0::192.168.8.17::5025::SOCKET"}
  dmm:   {driver: keysight34465a, address: "TCPIP0::192.168.8.18::5025::SOCKET"}
device:
  model: latch.yaml
  inputs:  {x: {of: gates.ch24.voltage, via: {divider: 100}, window: [0 mV, 1 mV]}}
  outputs: {y: {of: dmm.voltage, via: {gain: 1000, bandwidth: 100 Hz, overload: 5 V}, integration: 20 ms}}
  limits:
    x: {min: -1 mV, max: 2 mV, max_step: 50 uV, slew: 50 mV/s}
  settle: {tolerance: 5 uV, confidence: 95 %, timeout: 20 s}
simulation:
  seed: 7
  mismatch: 0 %
  offsets: false
  noise: {y: 260 nV/Hz**0.5}
"""


@pytest.fixture
def latch(tmp_path: Path) -> Path:
    """The station of a device whose load line crosses its current three times for x from 0.449 to 0.574 mV.

    An NDC conductor behind 5 Mohm: x(y) = y + R y (leak + g exp(-(y/w)^2)) falls between these two turning values.
    """
    (tmp_path / "latch.yaml").write_text(LATCH)
    (tmp_path / "station.yaml").write_text(STATION)
    return tmp_path / "station.yaml"


@pytest.fixture
def measure(tmp_path: Path) -> Callable[..., dict[str, list[dict[str, Any]]]]:
    """Run a procedure; its events by kind, with the points under ``points``."""

    def run(path: Any, procedure: Procedure, backend: Backend = "model", **options: Any) -> dict[str, list[Any]]:
        with Station(path, backend, **options) as station, station.run(tmp_path / "runs", {}) as started:
            procedure.execute(started)
            points = started.journal.points()
            assert len(points) == procedure.count(station.device.channels) or "tripped" in {p.status for p in points}
            found: dict[str, list[Any]] = {"points": points}
            for event in started.journal.events():
                found.setdefault(event.kind, []).append(event.detail)
        return found

    return run
