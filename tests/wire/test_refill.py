"""Syringes that run empty in a long run, and pumps that fill them: judged by the Bench's own log."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from labthermo import Query, Station, Status
from labthermo.config import StationConfig, load_station
from labthermo.errors import InstrumentError, LabThermoError, StationFileError
from labthermo.forecast import forecast
from labthermo.records.journal import Journal
from labthermo.records.report import write_report, write_summary
from labthermo.run import Run
from labthermo.testing import check_device
from simulators.wire.world import LogEntry

WELL = Path(__file__).parents[2] / "examples" / "inhibited_well"
UL_PER_MIN = 1e-6 / 60.0
REFILL = ", refill_rate: 1.0e-4"
LEAST, TIMEOUT = 1200.0, 7200.0  # s, of the station file


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., StationConfig]:
    """The inhibited well with watched syringes. s, b: options of each pump beside its diameter."""

    def make(s: str = "", b: str = "", settle: str = "least: 20 min, timeout: 2 h") -> StationConfig:
        text = (WELL / "station.yaml").read_text(encoding="utf-8")
        for pump, options in {"s": s, "b": b}.items():
            place = f'{pump}::INSTR", options: {{diameter: 26.59e-3'
            assert place in text
            text = text.replace(place, place + options)
        text = text.replace("least: 20 min, timeout: 2 h", settle)
        (tmp_path / "well.yaml").write_text((WELL / "well.yaml").read_text(encoding="utf-8"), encoding="utf-8")
        (tmp_path / "station.yaml").write_text(text, encoding="utf-8")
        return load_station(tmp_path / "station.yaml")

    return make


def flows(log: Sequence[LogEntry], pump: str) -> list[tuple[float, float]]:
    return [(e.time, e.actual) for e in log if e.quantity == "flow" and e.channel == pump]


def rate_at(log: Sequence[LogEntry], pump: str, time: float) -> float:
    """L/s out of a pump at `time`."""
    return next((flow for at, flow in reversed(flows(log, pump)) if at <= time), 0.0)


def volume(log: Sequence[LogEntry], pump: str, end: float, sign: int) -> float:
    """L that a pump moved out (1) or in (-1), as programmed."""
    mine = [e for e in log if e.quantity == "flow" and e.channel == pump]
    until = [*(e.time for e in mine[1:]), end]
    return sum(max(0.0, sign * e.programmed) * (t - e.time) for e, t in zip(mine, until, strict=True))


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    journal = Journal.open(folder, writable=False)
    found = [e.detail for e in journal.events(kind)]
    journal.close()
    return found


QUERY = Query({"b": 100 * UL_PER_MIN}, [[10 * UL_PER_MIN], [30 * UL_PER_MIN], [20 * UL_PER_MIN]])


def test_a_syringe_is_filled_between_two_answers_and_the_device_settles_anew(make, tmp_path):
    config = make(b=f", syringe_volume: 0.0125{REFILL}")
    with Station(config, "wire") as station, station.run(tmp_path / "runs", {}) as run:
        answers: list[float] = []
        clock = station.clock
        run_on = Run(run.device, run.journal, on_point=lambda point: answers.append(clock.now()))
        began = clock.now()
        response = run_on.query(QUERY)
        log = station.world.read_log()
        folder = run.journal.folder
        usage = station.device.usage()
        end = clock.now()
    refills = events(folder, "refill")
    assert refills
    assert response.status == (Status.SETTLED,) * 3
    drawing = [e for e in log if e.quantity == "flow" and e.actual < 0.0]
    assert len(drawing) == len(refills)
    for draw, refill in zip(drawing, refills, strict=True):
        assert draw.channel == "b"  # nothing is withdrawn by a pump without check valves
        begins, ends = began + refill["seconds"] - refill["lasted"], began + refill["seconds"]
        assert begins < draw.time < ends
        # nothing flows into the vessel while it draws, and nothing else moves
        meanwhile = [e for e in log if draw.time < e.time < ends and e.quantity == "flow" and e.actual <= 0.0]
        assert rate_at(log, "s", draw.time) == 0.0
        (stopped,) = [e for e in meanwhile if e.channel == "b"]
        assert stopped.time - draw.time == pytest.approx(refill["volumes"]["b"] / 1e-4, rel=1e-3)
        restart = min(e.time for e in log if e.time > stopped.time and e.actual > 0.0)
        # the rates that were, in one step, before the next question's
        for pump in ("s", "b"):
            after = next(flow for at, flow in flows(log, pump) if at >= restart)
            assert after == pytest.approx(rate_at(log, pump, begins + 1e-6), rel=1e-9)
        # it settles anew: nothing counts from before
        answer = min(t for t in answers if t > ends)
        assert answer - ends >= LEAST
        assert not any(begins < t < ends for t in answers)
    # what was drawn is what was pumped out, to the count's step of 10 uL, and only that was delivered
    drawn = sum(r["volumes"]["b"] for r in refills)
    assert drawn == pytest.approx(volume(log, "b", end, -1), rel=1e-6)
    last = drawing[-1].time
    assert drawn == pytest.approx(volume([e for e in log if e.time <= last], "b", last, 1), abs=1e-5 * len(refills))
    assert usage.delivered["b"] == pytest.approx(volume(log, "b", end, 1), rel=0.01)
    # and all of it is on record
    summary = json.loads(write_summary(folder, {}).read_text(encoding="utf-8"))
    assert summary["usage"]["refills"] == {"b": {"times": len(refills), "volume": pytest.approx(drawn)}}
    assert "Refilled b" in write_report(folder).read_text(encoding="utf-8")


def test_answers_are_those_of_a_bench_that_never_runs_empty(make):
    answers = []
    for options in ("", f", syringe_volume: 0.0125{REFILL}"):
        config = make(b=options).with_simulation(noiseless=True, offsets=False)
        with Station(config, "wire") as station:
            answers.append(station.device.query(QUERY).outputs)
            drawn = [e for e in station.world.read_log() if e.actual < 0.0]
        assert bool(drawn) == bool(options)
    assert answers[1] == pytest.approx(answers[0], abs=3e-3)  # the tolerance


@pytest.mark.parametrize("refill", [REFILL, ""], ids=["refillable", "not refillable"])
def test_all_pumps_that_can_are_filled_in_one_interruption(make, refill):
    config = make(s=f", syringe_volume: 0.015{refill}", b=f", syringe_volume: 0.0125{REFILL}")
    with Station(config, "wire") as station:
        station.device.query(QUERY)
        log = station.world.read_log()
    drawing = {e.channel: [d.time for d in log if d.actual < 0.0 and d.channel == e.channel] for e in log if e.channel}
    assert drawing["s"] == (pytest.approx(drawing["b"], abs=1.0) if refill else [])
    assert drawing["b"]


def test_a_syringe_that_nobody_fills_is_refused_before_anything_moves(make):
    with Station(make(s=", syringe_volume: 0.0028", b=f", syringe_volume: 0.06{REFILL}"), "wire") as station:
        before = station.world.read_log()
        said = (
            r"s: its syringe holds 2.8 mL, and 7.\d* mL could be needed until the answer is there; nothing was moved: "
            r"fill it, then `labthermo home STATION s`, or give the pump check valves, a bottle and the option"
        )
        with pytest.raises(InstrumentError, match=said):
            station.device.query(Query({"b": 50 * UL_PER_MIN}, [[60 * UL_PER_MIN]]))
        assert station.world.read_log() == before
        # little enough is answered, until it would not be any more
        few = Query({"b": 50 * UL_PER_MIN}, [[20 * UL_PER_MIN]])
        assert station.device.query(few).status == (Status.SETTLED,)
        with pytest.raises(InstrumentError, match=r"s: its syringe holds 2\.\d+ mL, and 2\.4\d* mL could be needed"):
            station.device.query(few)
        assert not any(e.actual < 0.0 for e in station.world.read_log())


def test_more_than_a_full_syringe_for_one_answer_is_refused(make):
    with Station(make(b=f", syringe_volume: 0.01{REFILL}"), "wire") as station:
        before = station.world.read_log()
        with pytest.raises(InstrumentError, match=r"b: 12.* mL could be needed .* more than a full syringe of 10 mL"):
            station.device.query(QUERY)
        assert station.world.read_log() == before


def test_a_timed_series_begins_with_a_full_syringe_and_is_never_interrupted(make):
    config = make(b=f", syringe_volume: 0.01{REFILL}")
    knobs, row = {"b": 100 * UL_PER_MIN}, [10 * UL_PER_MIN]
    with Station(config, "wire") as station:
        first = Query(knobs, [row] * 3, after=[600.0, 1200.0, 1800.0])
        station.device.query(first)  # 3 mL
        second = Query(knobs, [[20 * UL_PER_MIN]] * 3, after=[1000.0, 2000.0, 4200.0])  # 7 mL
        response = station.device.query(second)
        assert response.status == (Status.TIMED,) * 3
        log = station.world.read_log()
        (draw,) = [e for e in log if e.actual < 0.0]
        moved = max(e.time for e in log if e.channel == "s")
        assert draw.time < moved <= station.clock.now() - 4200.0 + 1.0
        assert response.settle_time == pytest.approx([1000.0, 2000.0, 4200.0], abs=20.0)
        # to go on with it would interrupt it
        before = station.world.read_log()
        with pytest.raises(InstrumentError, match=r"b: .*a series of timed readings is not interrupted"):
            station.device.query(Query(knobs, [[20 * UL_PER_MIN]] * 2, after=[6000.0, 8000.0]))
        with pytest.raises(InstrumentError, match=r"b: 16.* mL could be needed"):
            station.device.query(Query(knobs, [row] * 2, after=[5000.0, 10000.0]))
        assert station.world.read_log() == before


def test_a_refill_that_fails_names_the_pump_and_every_pump_is_at_rest(make, tmp_path):
    config = make(s=f", syringe_volume: 0.06{REFILL}", b=f", syringe_volume: 0.0125{REFILL}")
    with Station(config, "wire") as station, station.run(tmp_path, {}) as run:
        guard = run.device.guard
        run.query(Query({"b": 100 * UL_PER_MIN}, [[10 * UL_PER_MIN]]))
        station.world.inject("b", "stall", at=20.0)
        with pytest.raises(InstrumentError, match="b: has stalled"):
            guard.refill()
        log = station.world.read_log()
        assert {pump: flows(log, pump)[-1][1] for pump in ("s", "b")} == {"s": 0.0, "b": 0.0}
        with pytest.raises(InstrumentError, match="b: "):
            run.query(QUERY)
        later = station.world.read_log()[len(log) :]
        assert not any(e.actual > 0.0 for e in later)
        folder = run.journal.folder
    assert events(folder, "refill") == []


def test_a_signal_in_a_refill_stops_it_and_the_next_start_knows_what_is_left(make):
    config = make(b=f", syringe_volume: 0.0125{REFILL}")
    with Station(config, "wire") as station:
        device: Any = station.device
        device.query(Query({"b": 100 * UL_PER_MIN}, [[10 * UL_PER_MIN]]))
        clock = device.guard._clock
        sleep, calls = clock.sleep, []

        def interrupted(duration: float) -> None:
            if duration > 10.0:
                calls.append(duration)
                sleep(10.0)
                raise KeyboardInterrupt
            sleep(duration)

        clock.sleep = interrupted
        with pytest.raises(KeyboardInterrupt):
            device.guard.refill()
        clock.sleep = sleep
        assert calls
        log = station.world.read_log()
        assert {pump: flows(log, pump)[-1][1] for pump in ("s", "b")} == {"s": 0.0, "b": 0.0}
        with pytest.raises(InstrumentError, match="b: what its syringe holds is not known; nothing was moved"):
            device.query(QUERY)
        for pump, said in {"well": "no pump 'well'; there are s, b", "s": "s: .* the option syringe_volume"}.items():
            with pytest.raises(LabThermoError, match=said):
                device.home(pump)
        assert device.home("b") == 0.0125
        assert device.query(Query({"b": 100 * UL_PER_MIN}, [[10 * UL_PER_MIN]])).status == (Status.SETTLED,)


def test_a_plan_counts_refills_and_finds_nothing_wrong_with_them(make, tmp_path):
    config = make(b=f", syringe_volume: 0.0125{REFILL}")
    found = forecast(config, "x", lambda run, _: run.query(QUERY), tmp_path)
    assert found.problems == ()
    refills = {t.channel: t.refills for t in found.travels}
    assert refills == {"s": None, "b": 2}
    (buffer,) = [t for t in found.travels if t.channel == "b"]
    assert buffer.lowest == 0.0
    assert buffer.delivered == pytest.approx(found.bench_time * 100 * UL_PER_MIN, rel=0.1)


def test_a_plan_foretells_that_a_run_is_refused_for_want_of_what_it_could_take(make, tmp_path):
    """Less would flow than the syringe holds, but the last answers could take longer than they do by design."""
    for size, refills in ((0.0125, 2), (0.025, 0)):
        config = make(b=f", syringe_volume: {size}")
        found = forecast(config, "x", lambda run, _: run.query(QUERY), tmp_path / str(size))
        (buffer,) = [t for t in found.travels if t.channel == "b"]
        assert buffer.delivered is not None
        assert buffer.delivered < size
        assert buffer.refills == refills
        assert bool(found.problems) == bool(refills)
        with Station(config, "wire") as station:
            if refills:
                with pytest.raises(InstrumentError, match="b: its syringe holds"):
                    station.device.query(QUERY)
            else:
                station.device.query(QUERY)


def test_a_pump_between_two_vessels_is_not_refilled_from_a_vessel(tmp_path):
    for file in (WELL.parent / "ldh_two_wells").glob("*.yaml"):
        text = file.read_text(encoding="utf-8").replace("26.59e-3}", f"26.59e-3, syringe_volume: 0.06{REFILL}}}")
        (tmp_path / file.name).write_text(text, encoding="utf-8")
    with pytest.raises(StationFileError, match="refill_rate: t12 pumps out of well1, and would empty it"):
        Station(tmp_path / "station.yaml", "wire").open()


def test_the_way_to_the_safe_state_stops_a_pump_that_is_drawing_at_once(make):
    """As a watchdog finds it, of a program that was killed in a refill."""
    with Station(make(b=f", syringe_volume: 0.0125{REFILL}"), "wire") as station:
        device: Any = station.device
        device.query(Query({"b": 100 * UL_PER_MIN}, [[10 * UL_PER_MIN]]))
        device.guard.move({"s": 0.0, "b": 0.0})
        (line,) = device._syringes
        line.source.start_refill()
        station.clock.sleep(5.0)
        assert device.guard.read()["b"] == pytest.approx(-1e-4)
        began = station.clock.now()
        assert device.guard.make_safe() == []
        assert station.clock.now() - began < 1.0
        log = station.world.read_log()
        assert [flow for _, flow in flows(log, "b")][-2] < 0.0
        assert flows(log, "b")[-1] == (pytest.approx(began, abs=1.0), 0.0)
        device.home("b")
        assert device.query(Query({"b": 100 * UL_PER_MIN}, [[10 * UL_PER_MIN]])).status == (Status.SETTLED,)
        assert not any(e.actual < 0.0 for e in station.world.read_log()[len(log) :])


@pytest.mark.slow
def test_the_device_conforms(make):
    config = make(s=f", syringe_volume: 0.03{REFILL}", b=f", syringe_volume: 0.03{REFILL}")
    with Station(config, "wire") as station:
        check_device(lambda: station.device)
