"""A procedure that is resumed brings the bench back to where it was, judged by the Bench's own log."""

from __future__ import annotations

import pytest

from labthermo import Query, Station
from labthermo.records.journal import Point
from labthermo.run import Run
from procedures.iv_curve import IvCurve


class Stopped(Exception):
    pass


def stop_at(number: int):
    def look(point: Point) -> None:
        if point.number == number:
            raise Stopped

    return look


@pytest.mark.parametrize("moved", [False, True])
def test_a_resumed_sweep_goes_on_from_where_it_was_on_the_way_it_came(edited, judge, tmp_path, moved):
    """Stopped on the way down; meanwhile someone may have moved a gate and parked."""
    sweep = IvCurve(start=0.9e-3, stop=2.7e-3, points=7)
    with Station(edited()) as station:
        station.device.query(Query({"p1": 10e-3}, [0.0]))
        journal = station.new_journal(tmp_path, {})
        with pytest.raises(Stopped):
            sweep.execute(Run(station.device, journal, on_point=stop_at(11)))
        if moved:
            station.device.query(Query({"p1": -5e-3}, [0.0]))
        log = station.world.bench.log
        first = len(log)
        sweep.execute(Run(station.device, journal, replay=True))
        points = journal.points()
        journal.close()
        new = [e for e in log[first:] if e.quantity == "voltage" and e.channel in ("x", "p1")]
        assert judge(station.config, log, first).step <= 1.0
        assert judge(station.config, log, first).slew <= 1.0
        wanted = {p.number: p.inputs[0] for p in points}
    assert [p.number for p in points] == list(range(14))
    assert all(p.knobs["p1"] == pytest.approx(10e-3, abs=1e-6) for p in points)
    path = [e.at_sample for e in new if e.channel == "x"]
    gate = [e.at_sample for e in new if e.channel == "p1"]
    if moved:  # up to the end of the sweep, and back down to where it was, before it goes on
        assert gate[-1] == pytest.approx(10e-3, abs=1e-5)
        assert max(path) == pytest.approx(2.7e-3, abs=1e-6)
        assert path.index(max(path)) > 0
    else:
        assert gate == []
        assert max(path) < wanted[11]
