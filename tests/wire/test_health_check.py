"""What the health check says of a bench with something wrong, on the wire."""

from __future__ import annotations

import pytest

from labthermo import Station
from labthermo.config import load_station
from procedures.health_check import HealthCheck

QUICK = {"repeats": 4, "bias_points": 3, "gate_points": 3}


@pytest.fixture
def check(edited, tmp_path):
    def run(fault: str, **values):
        path = edited(("  mismatch: 10 %", f"  mismatch: 10 %\n  faults: [{fault}]"))
        with Station(load_station(path), "wire") as station, station.run(tmp_path, {}) as started:
            HealthCheck(**QUICK, **values).execute(started)
            (said,) = started.journal.events("health_check")
            leaks = [e.detail for e in started.journal.events("leakage")]
        return {"leaks": leaks} | {c["what"]: c for c in said.detail["checks"]}

    return run


def test_a_gate_that_leaks_below_the_trip_is_found_with_its_current(check):
    found = check("{on: p1, kind: leak, current: 0.5 nA}", gates="p1, p2", max_leakage=0.2e-9)
    assert found["p1: leakage"]["verdict"] == "BAD"
    assert [abs(k["current"]) for k in found["leaks"] if k["knob"] == "p1"] == pytest.approx([0.5e-9] * 2, abs=0.15e-9)
    assert found["p2: leakage"]["verdict"] == "good"


def test_a_gate_that_trips_ends_the_check_and_is_named(check):
    found = check("{on: p1, kind: leak, current: 3 nA}", gates="p1, p2")
    assert found["p1: leakage"]["verdict"] == "BAD"
    assert "tripped" in found["p1: leakage"]["found"]
    assert "p2: leakage" not in found


def test_a_gate_without_a_line_has_no_effect(check):
    found = check("{on: p1, kind: stuck}", gates="p1, p2")
    assert (found["p1: action"]["verdict"], found["p1: action"]["found"]) == ("look", "no effect on any reading")
    assert found["p2: action"]["verdict"] == "good"


def test_a_short_is_found_before_the_gates_are(check):
    found = check("{on: i_lo, kind: compliance, limit: 10 pA}", gates="none")
    assert found["x to i_lo: continuity"]["verdict"] == "BAD"
    assert "short" in found["x to i_lo: continuity"]["advice"]
