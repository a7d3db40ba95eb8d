"""Which waits on the wall the stock drivers meet: those of docs/decisions/0002-virtual-time.md, and no other."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest

from labthermo import Query, Station

EXAMPLES = Path(__file__).parents[2] / "examples"
WAITS = {
    "instruments/serial_line.py:drain": 2e-3,  # ours, while a port is opened
    "plate_reading/molecular_devices/backend.py:send_command": 1e-3,
}
"""End of the file's path and function -> the longest single wait there, s."""


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[float]]:
    """Every sleep of this process, by file and function."""
    found: dict[str, list[float]] = defaultdict(list)
    sleep, pause = time.sleep, asyncio.sleep

    def note(duration: float) -> None:
        frame = sys._getframe(2).f_code
        if duration > 0:
            found[f"{frame.co_filename}:{frame.co_name}"].append(duration)

    def noted_sleep(duration: float) -> None:
        note(duration)
        sleep(duration)

    def noted_pause(duration: float, result: object = None) -> object:
        note(duration)
        return pause(duration, result)

    monkeypatch.setattr(time, "sleep", noted_sleep)
    monkeypatch.setattr(asyncio, "sleep", noted_pause)
    return found


@pytest.mark.parametrize(("example", "knobs", "inputs", "met"), [
    ("inhibited_well", {"b": 1e-6}, [[1e-6], [2e-6]], set(WAITS)), ("sine", {"p1": 5e-3}, [[1e-3], [2e-3]], set()),
])  # fmt: skip
def test_no_driver_waits_longer_than_its_page_says(example, knobs, inputs, met, slept):
    with Station(EXAMPLES / example / "station.yaml", "wire") as station:
        began = station.clock.now()
        response = station.device.query(Query(knobs, inputs))
        assert {str(s) for s in response.status} == {"settled"}
        assert station.clock.now() - began > (2000.0 if met else 0.1)  # bench time, of which none is waited for
    assert {end for end in WAITS for where in slept if where.endswith(end)} == met
    for where, durations in slept.items():
        longest = [limit for end, limit in WAITS.items() if where.endswith(end)]
        assert longest, f"{where} waits {max(durations)} s"
        assert max(durations) <= longest[0]
