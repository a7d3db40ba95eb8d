"""A whole station on the wire, judged by the Bench's own log and not by Guard."""
# ruff: noqa: PT012 - what is judged is how a `with Station` ends

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from labthermo import Query, Station, Status
from labthermo.config import load_station
from labthermo.errors import (
    BackendError,
    ComplianceError,
    InstrumentError,
    LimitError,
    OwnershipError,
    QueryError,
    StationFileError,
)
from labthermo.records.owner import Ownership
from labthermo.safety.guard import TripError
from labthermo.station import lock_of
from simulators import bench as bench_module
from simulators.bench import build_wire_twin

PAIR = ("    leakage: {of: gates, max: 1 nA, blank: 50 ms}", "    pairs: [{of: [p1, p2], max_difference: 60 mV}]")


SHORT = ("{driver: ", "{timeout: 300 ms, driver: ")  # of a query: a dead instrument is known for one by its silence


def events(log: list[Any], quantity: str, port: str = "drain.output") -> list[Any]:
    """What happened at a port after the instruments were switched on."""
    return [e for e in log if e.time > 0 and e.quantity == quantity and e.port == port]


def check_stopped_once(log: list[Any]) -> None:
    """Inputs ended at zero, reached once; then the drain was disconnected, once and last; gates held."""
    connected = [bool(e.actual) for e in events(log, "connected")]
    last = max(n for n, on in enumerate(connected) if on)
    assert connected[last:] == [True, False]
    assert (log[-1].quantity, log[-1].port) == ("connected", "drain.output")
    places = [n for n, e in enumerate(log) if e.channel == "x" and e.quantity == "voltage"]
    path = [log[n].at_sample for n in places]
    assert path[-1] == 0.0
    assert len(path) == 1 or path[-2] != 0.0
    assert places[-1] == len(log) - 2 or len(path) == 1


@pytest.fixture(scope="module")
def station(edited) -> Iterator[Station]:
    """One open station, with a pair limit instead of the leakage watch."""
    with Station(edited(PAIR)) as opened:
        yield opened


@pytest.fixture(scope="module")
def guard(station) -> Any:
    return station.device.guard


def test_opening_moves_nothing_and_connects_the_lead_last_at_its_compliance(station):
    log = station.world.read_log()
    on = next(n for n, e in enumerate(log) if e.time > 0 and e.quantity == "connected" and e.actual)
    opening = [e for e in log[:on] if e.time > 0]
    assert {e.port for e in opening} == {"drain.output"}
    assert [e.actual for e in opening if e.quantity == "limit"] == [10e-9]
    assert {e.programmed for e in opening if e.quantity == "voltage"} == {0.0}
    assert not any(e.actual for e in opening if e.quantity == "connected")


def test_random_moves_stay_within_steps_and_slews_and_end_at_their_targets(station, guard, judge):
    rng = np.random.default_rng(3)
    settable = [c for c in station.device.channels if c.kind in ("input", "knob")]
    first = len(station.world.read_log())
    for _ in range(40):
        chosen = [settable[k] for k in rng.choice(len(settable), size=rng.integers(1, 4), replace=False)]
        targets = {c.name: float(rng.uniform(max(c.minimum, -0.03), min(c.maximum, 0.03))) for c in chosen}
        reached = guard.move(targets)
        log = station.world.read_log()
        for c in chosen:
            assert abs(reached[c.name] - targets[c.name]) <= c.resolution
            last = next(e for e in reversed(log) if e.channel == c.name)
            assert abs(last.at_sample - targets[c.name]) <= c.resolution
    verdict = judge(station.config, log, first)
    print(f"largest step / max_step {verdict.step:.6f}, slew / limit {verdict.slew:.6f}, {verdict.moves} steps")
    assert verdict.moves > 400
    assert 0.5 < verdict.step <= 1.0
    assert 0.5 < verdict.slew <= 1.0


@pytest.mark.parametrize(("port", "name", "volts", "target"), [("24", "x", 0.25, 1e-3), ("1", "p1", -0.04, 0.02)])
def test_a_ramp_starts_where_the_instrument_is_and_not_where_it_was_left(
    station, guard, judge, tell, port, name, volts, target
):
    guard.move({name: 0.0})
    tell(station.world.addresses["gates"], f"sour{port}:volt {volts}")
    first = len(station.world.read_log())
    guard.move({name: target})
    log = station.world.read_log()
    behind = next(e for e in reversed(log[:first]) if e.channel == name)
    assert behind.programmed == volts
    limits = station.config.limits_of(name)
    assert len(log) - first >= abs(target - behind.at_sample) / limits.max_step
    verdict = judge(station.config, log, first)
    assert 0.5 < verdict.step <= 1.0
    assert verdict.slew <= 1.0


def test_a_channel_found_outside_its_limits_is_brought_back_in(station, guard, judge, tell):
    tell(station.world.addresses["gates"], "sour4:volt 0.5")  # p2, at most 60 mV
    first = len(station.world.read_log())
    with pytest.raises(LimitError):
        guard.move({"p2": 0.5})
    assert len(station.world.read_log()) == first
    guard.move({"p2": 0.0})
    verdict = judge(station.config, station.world.read_log(), first)
    assert verdict.moves >= 250
    assert verdict.step <= 1.0
    assert verdict.slew <= 1.0


@pytest.mark.parametrize(
    ("query", "error"),
    [
        (Query({"p1": 0.0601}, [1e-3]), LimitError),
        (Query({"p1": 0.01, "p2": -0.06}, [1e-3]), LimitError),  # 70 mV apart
        (Query({"p1": math.nan}, [1e-3]), LimitError),
        (Query({"p1": math.inf}, [1e-3]), LimitError),
        (Query({"p3": 0.01, "p77": 0.0}, [1e-3]), QueryError),
        (Query({"p3": 0.01, "x": 0.0}, [1e-3]), QueryError),
        (Query({"p3": 0.01}, [1e-3, 3.1e-3]), LimitError),
        (Query({"p3": 0.01}, [math.nan]), QueryError),
        (Query({"p3": 0.01}, [[1e-3, 1e-3]]), QueryError),
        (Query({"p3": 0.01}, [1e-3], nudge=[[1e-12]]), QueryError),
        (Query({"p3": 0.01}, [1e-3], reset="twist"), QueryError),
        (Query({"p3": 0.01}), QueryError),
    ],
)
def test_a_refused_query_leaves_no_trace_on_the_bench(station, query, error):
    station.device.guard.move({"p1": 0.0, "p2": 0.0})
    first = len(station.world.read_log())
    with pytest.raises(error) as refused:
        station.device.query(query)
    assert "\n" not in str(refused.value)
    assert len(station.world.read_log()) == first


def test_pairs_hold_at_every_moment(station, guard):
    guard.move({"p1": 0.03, "p2": -0.03})
    first = len(station.world.read_log())
    for way in (0.02, -0.03, 0.0):
        guard.move({"p1": way + 0.03, "p2": way - 0.03})
    here = {"p1": 0.03, "p2": -0.03}
    for e in station.world.read_log()[first:]:
        here[e.channel] = e.at_sample
        assert abs(here["p1"] - here["p2"]) <= 0.06 + 1e-6
    guard.move({"p1": 0.0, "p2": 0.0})


def test_an_open_station_is_not_opened_again(station):
    with pytest.raises(BackendError, match="open already"):
        station.open()


def test_an_error_inside_goes_to_the_safe_state_once(edited, judge):
    station = Station(edited())
    with pytest.raises(RuntimeError, match="mine"), station:
        station.device.query(Query({"p1": 0.01, "l2": -0.02}, [1e-3, 2.5e-3]))
        raise RuntimeError("mine")
    log = station.world.bench.log
    check_stopped_once(log)
    verdict = judge(station.config, log)
    assert verdict.step <= 1.0
    assert verdict.slew <= 1.0
    held = {e.channel: e.at_sample for e in log if e.quantity == "voltage"}
    assert (held["p1"], held["l2"]) == (0.01, -0.02)
    station.close()
    with pytest.raises(BackendError):
        _ = station.device
    assert station.world.bench.log == log


def test_a_recorded_run_parks_and_the_station_does_not_park_again(edited, tmp_path):
    station = Station(edited())
    with station, station.run(tmp_path, {}) as run:
        run.query(Query(inputs=[1e-3]))
    check_stopped_once(station.world.bench.log)


@pytest.mark.parametrize("after", [0, 1, 12, 20])
def test_a_source_that_dies_in_mid_ramp_is_told_and_the_drain_is_still_disconnected(edited, after):
    station = Station(edited(SHORT))
    with pytest.raises(InstrumentError, match=r"safe state was not reached: x: gates .*closed") as error, station:
        station.device.query(Query(inputs=[1e-3]))
        station.world.inject("gates", "reset", after=after, count=10_000)
        station.device.query(Query(inputs=[2.9e-3]))
    assert isinstance(error.value.__context__, InstrumentError)
    log = station.world.bench.log
    assert [bool(e.actual) for e in events(log, "connected")][-2:] == [True, False]
    assert 1e-3 <= events(log, "voltage", "gates.ch24")[-1].at_sample < 2.9e-3


@pytest.mark.parametrize("kind", ["truncated", "empty", "garbled", "doubled"])
def test_a_bad_reply_never_moves_a_gate_in_a_jump(edited, judge, kind):
    station = Station(edited(SHORT))
    with station:
        station.device.query(Query({"p1": 0.01}, [1e-3]))
        station.world.inject("gates", kind, after=7, count=2)
        there = station.device.query(Query({"p1": 0.02}, [2.9e-3]))
        back = station.device.query(Query({"p1": 0.01}, [1e-3]))
        assert there.knobs["p1"] == pytest.approx(0.02, abs=1e-6)
        assert len(there.incidents + back.incidents) >= 1
    verdict = judge(station.config, station.world.bench.log)
    assert verdict.step <= 1.0
    assert verdict.slew <= 1.0
    assert not events(station.world.bench.log, "connected")[-1].actual


def test_after_a_silent_reboot_nothing_moves(edited):
    with Station(edited(PAIR)) as station:
        guard = station.device.guard
        guard.move({"p3": 0.05})
        station.world.inject("gates", "reboot")
        guard.read(["p1"])
        first = len(station.world.read_log())
        for _ in range(2):
            with pytest.raises(InstrumentError, match=r"gates .*switched off and on"):
                guard.move({"p3": 0.06})
        assert not events(station.world.read_log()[first:], "voltage", "gates.ch07")


@pytest.mark.parametrize("after", [0.1, 0.31, 0.77])
def test_a_reboot_in_mid_ramp_is_noticed_before_the_next_step(edited, judge, after):
    """`after`: s of a ramp of one second, in bench time, after which somebody trips over the plug."""
    with Station(edited()) as station:
        check_reboot_in_mid_ramp(station, judge, after)


def check_reboot_in_mid_ramp(station, judge, after):
    station.device.query(Query({"p3": -0.05}, [1e-3]))
    bench, gates = station.world.bench, station.world._instruments["gates"].personality
    ends, wait = bench.now() + after, bench.wait
    first = len(station.world.read_log())

    def wait_and_trip(duration: float) -> None:
        wait(duration)
        if bench.now() > ends and bench.wait is wait_and_trip:
            bench.wait = wait
            gates.reboot()

    bench.wait = wait_and_trip
    with pytest.raises(InstrumentError, match=r"gates .*switched off and on"):
        station.device.query(Query({"p3": 0.05}, [2.9e-3]))
    log = events(station.world.read_log()[first:], "voltage", "gates.ch07")
    dark = next(k for k, entry in enumerate(log) if entry.time >= ends and entry.programmed == 0.0)
    assert dark > 3  # it was on its way
    assert all(entry.programmed == 0.0 for entry in log[dark:])  # and nothing was set any more
    verdict = judge(station.config, log[:dark])
    assert verdict.step <= 1.0


def test_a_set_is_over_when_it_is_confirmed(edited):
    """Two sockets race: a set on one, then a reading on the other, 1000 times; none is of the voltage before."""
    station = Station(edited(SHORT))
    stale = 0
    with station:
        gates, dmm = (station.device._instruments[k] for k in (0, -1))
        assert (gates.name, dmm.name) == ("gates", "dmm")
        bench = station.world.bench
        seen: list[float] = []
        measure = bench.measure_voltage

        def note(port: str, aperture: float) -> float:
            seen.append(bench._volts["gates.ch24"])
            return measure(port, aperture)

        bench.measure_voltage = note
        for k in range(1000):
            volts = 1e-3 * (1 + k % 7)
            gates.set_voltage("ch24", volts)
            dmm.measure_voltage(1e-4)
            stale += abs(seen[-1] - volts) > 4e-4  # less than half of the smallest change
    assert len(seen) == 1000
    assert stale == 0


@pytest.mark.parametrize("lost", ["dmm", "drain"])
def test_a_meter_that_dies_does_not_keep_the_inputs_from_zero(edited, lost):
    station = Station(edited(SHORT))
    with pytest.raises(InstrumentError, match=lost), station:
        station.device.query(Query(inputs=[1e-3]))
        station.world.inject(lost, "reset", count=10_000)
        station.device.query(Query(inputs=[2.5e-3]))
    log = station.world.bench.log
    assert events(log, "voltage", "gates.ch24")[-1].at_sample == 0.0
    if lost == "dmm":
        check_stopped_once(log)


def test_a_compliance_that_cannot_be_had_energises_nothing(edited):
    station = Station(edited(("compliance: 10 nA", "compliance: 100 pA")))
    with pytest.raises(ComplianceError) as error:
        station.open()
    assert "\n" not in str(error.value)
    log = station.world.bench.log
    assert not any(e.actual for e in events(log, "connected"))
    assert {e.port for e in log if e.time > 0} <= {"drain.output"}
    assert lock_of(station.identities["gates"]["address"]).parent.is_dir()


def test_a_leak_trips_and_the_answers_say_so(edited):
    with Station(edited(("max: 1 nA", "max: 1 fA"))) as station:
        r = station.device.query(Query({"p1": 0.01}, [1e-3, 2e-3]))
        assert r.status == (Status.TRIPPED, Status.TRIPPED)
        assert np.isnan(r.outputs).all()
        assert r.inputs.tolist() == [[0.0], [0.0]]
        assert set(r.knobs.values()) == {0.0}
        first = len(station.world.read_log())
        with pytest.raises(TripError, match="p1 leaks"):
            station.device.guard.move({"x": 1e-3})
        assert len(station.world.read_log()) == first
        station.device.guard.arm()
        station.device.guard.move({"x": 1e-3})


def test_an_unknown_driver_is_found_out_before_anything_is_opened(edited):
    station = Station(edited(("driver: keysight34465a,", "driver: nosuch,")))
    with pytest.raises(StationFileError, match="nosuch"):
        station.open()
    assert station.world is None


@pytest.fixture(scope="module")
def elsewhere(edited) -> Iterator[SimpleNamespace]:
    """A bench that stands for someone else's, and a station file that takes its addresses for real ones."""
    config = load_station(edited())
    twin = build_wire_twin(config)
    changes = [(config.instruments[name].address, address) for name, address in twin.addresses.items()]
    yield SimpleNamespace(twin=twin, path=edited(*changes))
    twin.close()


def test_real_refuses_simulated_instruments_and_touches_nothing(elsewhere):
    first = elsewhere.twin.read_log()
    with pytest.raises(BackendError, match="SIM-gates"), Station(elsewhere.path, "real"):
        pytest.fail("opened")
    assert elsewhere.twin.read_log() == first


def test_an_instrument_that_another_holds_is_refused_before_it_is_asked(elsewhere):
    addresses = elsewhere.twin.addresses
    assert lock_of(addresses["drain"]).is_relative_to(tempfile.gettempdir())
    held = Ownership(lock_of(addresses["drain"]), "drain")
    try:
        with pytest.raises(OwnershipError, match=rf"drain .*process {os.getpid()}, started 20"):
            Station(elsewhere.path, "real").open()
    finally:
        held.release()
    with pytest.raises(BackendError):  # the locks of the others were let go
        Station(elsewhere.path, "real").open()


@pytest.mark.parametrize(
    ("old", "new", "error"), [("SIM-", "AB", BackendError), ("QDAC-II", "Toaster", InstrumentError)]
)
def test_wire_refuses_an_instrument_that_is_not_simulated_or_another(edited, monkeypatch, old, new, error):
    make = bench_module.PERSONALITIES["qdac2"]

    def other(name: str, world: Any) -> Any:
        personality = make(name, world)
        personality.identity = personality.identity.replace(old, new)
        return personality

    monkeypatch.setitem(bench_module.PERSONALITIES, "qdac2", other)
    station = Station(edited())
    with pytest.raises(error):
        station.open()
    assert all(e.time == 0 for e in station.world.bench.log)


def test_a_slow_device_is_waited_for_or_called_unsettled(edited):
    slow = [("y: 10 pF", "y: 300 nF")]
    with Station(edited(device=slow)) as station:
        first = station.device.query(Query(inputs=[2.5e-3]))
        assert first.status == (Status.SETTLED,)
        assert 1.5 < first.settle_time[0] < 20.0
        station.clock.sleep(30.0)
        later = station.device.query(Query(inputs=[2.5e-3]))
        assert abs(first.outputs - later.outputs)[0, 0] < 5e-6 + 3 * first.sigma[0, 0]
    with Station(edited(("timeout: 20 s", "timeout: 500 ms"), device=slow)) as station:
        hurried = station.device.query(Query(inputs=[2.5e-3]))
        assert hurried.status == (Status.UNSETTLED,)
        assert 0.5 <= hurried.settle_time[0] < 0.6
        assert abs(hurried.outputs - later.outputs)[0, 0] > 20e-6


def test_an_overloaded_preamplifier_is_overflow_and_no_number(edited, perfect):
    with Station(edited(perfect, ("overload: 5 V", "overload: 20 mV"))) as station:
        r = station.device.query(Query(inputs=[0.0, 2.7e-3]))
        assert r.status == (Status.SETTLED, Status.OVERFLOW)
        assert np.isfinite(r.outputs[0, 0])
        assert np.isnan(r.outputs[1, 0])
        assert np.isfinite(r.nodes).all()


def test_a_lead_at_its_compliance_says_so(edited):
    bypass = ("processes:\n", "processes:\n  - edge: [x, lo]\n    law: Linear\n    resistance: 1 Mohm\n\n")
    with Station(edited(("compliance: 10 nA", "compliance: 2 nA"), device=[bypass])) as station:
        r = station.device.query(Query(inputs=[1e-3, 2.7e-3]))
        assert r.status == (Status.SETTLED, Status.COMPLIANCE)
        assert r.nodes[:, 0] == pytest.approx([1e-9, 2e-9], rel=0.15)
