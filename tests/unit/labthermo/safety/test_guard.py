"""Guard over instruments in memory: steps, pairs, trips, energising, and the safe state with dead instruments."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labthermo.channel import Channel
from labthermo.clock import VirtualClock
from labthermo.config import LeakageLimit, PairLimit
from labthermo.errors import ComplianceError, InstrumentError, LimitError, QueryError, ReadbackError
from labthermo.safety.guard import Guard, TripError
from labthermo.wiring import LeadLine, SourceLine, Wiring

STEP, SLEW = 2e-3, 0.1
KNOBS = ("a", "b", "c")
PAIRS = (PairLimit(of=("a", "b"), max_difference=0.05), PairLimit(of=("b", "c"), max_difference=0.05))


@pytest.fixture(scope="session")
def make(paper):
    """A guard over an input x, the knobs a, b, c and two leads; and its instruments."""

    def build(clock: VirtualClock | None = None, **options: Any) -> tuple[Guard, dict[str, Any]]:
        clock = clock or VirtualClock()
        notes = {name: paper(name, clock, values={"x": 0.0}) for name in ("source", "smu1", "smu2")}
        notes["gates"] = paper("gates", clock, values=dict.fromkeys(KNOBS, 0.0))

        def line(kind: Any, name: str, source: str) -> SourceLine:
            return SourceLine(Channel(name, kind, "V", -0.2, 0.2, STEP, SLEW, 1e-6), notes[source], name, 1.0, 0.0)

        leads = tuple(
            LeadLine(Channel(name, "node", "A"), notes[name], "output", 10e-9, 0.02, 1.0) for name in ("smu1", "smu2")
        )
        for name in ("smu1", "smu2"):
            notes[name].values = {"output": 0.0}
        wiring = Wiring((line("input", "x", "source"),), tuple(line("knob", n, "gates") for n in KNOBS), (), leads)
        return Guard(wiring, clock, **options), notes

    return build


values = st.fixed_dictionaries({}, optional=dict.fromkeys(KNOBS, st.floats(-0.2, 0.2)))


@given(start=st.tuples(*[st.floats(-0.5, 0.5)] * 3), moves=st.lists(values, max_size=4))
def test_no_move_breaks_a_limit_at_any_moment(make, start, moves):
    guard, notes = make(pairs=PAIRS)
    gates = notes["gates"]
    gates.values.update({name: round(v / gates.step) * gates.step for name, v in zip(KNOBS, start, strict=True)})
    for targets in moves:
        before, past = dict(gates.values), len(gates.log)
        begin = gates.clock.now()
        try:
            reached = guard.move(targets)
        except LimitError:
            assert len(gates.log) == past
            continue
        assert reached == pytest.approx(targets, abs=gates.step)
        here, moment = dict(before), dict.fromkeys(KNOBS, begin)
        for time, _, name, value in gates.log[past:]:
            assert abs(value - here[name]) <= STEP
            assert abs(value - here[name]) <= SLEW * (time - moment[name]) * (1 + 1e-9)
            here[name], moment[name] = round(value / gates.step) * gates.step, time
            for pair in PAIRS:
                p, q = pair.of
                bound = max(pair.max_difference, abs(before[p] - before[q]))
                # where two pairs pull at one channel, one of them may lead by a single step
                assert abs(here[p] - here[q]) <= bound + (STEP if len(targets) > 1 else 0) + 2 * gates.step


def test_a_pair_at_its_limit_moves_together_without_exceeding_it(make):
    guard, notes = make(pairs=PAIRS)
    for way in (0.1, -0.1):
        notes["gates"].values.update(a=0.0, b=0.05, c=0.1)
        notes["gates"].log.clear()
        guard.move({"a": way, "b": 0.05 + way, "c": 0.1 + way})
        here = {"a": 0.0, "b": 0.05, "c": 0.1}
        for _, _, name, value in notes["gates"].log:
            here[name] = value
            assert all(abs(here[p] - here[q]) <= 0.05 + 1e-9 for p, q in itertools.pairwise(KNOBS))


def test_pairs_are_refused_at_the_end_unless_they_come_closer(make):
    guard, notes = make(pairs=PAIRS)
    gates = notes["gates"]
    for targets in ({"a": 0.051}, {"b": -0.06}, {"a": 0.03, "b": -0.03}):
        with pytest.raises(LimitError, match="apart"):
            guard.move(targets)
    assert gates.log == []
    gates.values.update(a=0.15)  # found so
    with pytest.raises(LimitError):
        guard.move({"a": 0.16})
    with pytest.raises(LimitError):
        guard.move({"a": -0.15})
    guard.move({"a": 0.1})
    guard.move({"a": 0.1, "b": 0.05})
    assert gates.values["a"] == pytest.approx(0.1)


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.201, -1.0])
def test_a_refused_value_moves_nothing_not_even_its_neighbours(make, value):
    guard, notes = make()
    with pytest.raises(LimitError):
        guard.move({"a": 0.1, "b": value})
    with pytest.raises(QueryError):
        guard.move({"a": 0.1, "d": 0.0})
    assert notes["gates"].log == []


def test_a_channel_found_outside_its_limits_is_ramped_back_in(make):
    guard, notes = make()
    notes["gates"].values["a"] = 1.0
    guard.move({"a": 0.1})
    path = [1.0, *notes["gates"].sets("a")]
    assert path[-1] == 0.1
    assert all(0 < before - after <= STEP for before, after in itertools.pairwise(path))


def test_a_value_that_is_not_taken_is_an_error(make):
    guard, notes = make()
    notes["gates"].step = 0.5  # all is rounded to zero
    with pytest.raises(ReadbackError, match="a: set to 100 mV but reads back 0 V"):
        guard.move({"a": 0.1})


def test_a_leak_trips_zeroes_and_stays_tripped(make):
    guard, notes = make(leakage=LeakageLimit(of="gates", max=1e-9, blank=0.05))
    gates = notes["gates"]
    guard.move({"x": 0.1, "a": 0.1})
    gates.leaks["b"] = 2e-9
    guard.move({"x": 0.11})  # no gate has moved
    with pytest.raises(TripError, match=r"b leaks 2 nA.*at most 1 nA.*ramped to zero"):
        guard.move({"b": 0.1})
    assert gates.values == dict.fromkeys(KNOBS, 0.0)
    assert notes["source"].values == {"x": 0.0}
    past = len(gates.log)
    for _ in range(2):
        with pytest.raises(TripError, match="re-arm"):
            guard.move({"a": 0.0})
    assert len(gates.log) == past
    guard.arm()
    guard.move({"a": 0.01})


def test_a_trip_says_so_if_zero_was_not_reached(make):
    guard, notes = make(leakage=LeakageLimit(of="gates", max=1e-9, blank=0.05))
    guard.move({"x": 0.1})
    notes["gates"].leaks["b"] = 2e-9
    notes["source"].dies_after = 0
    with pytest.raises(TripError, match=r"failed.*x: source: dead"):
        guard.move({"b": 0.1})
    assert notes["gates"].values["b"] == 0.0


def test_outputs_go_on_last_at_zero_with_their_compliance(make):
    guard, notes = make()
    guard.energise()
    for name in ("smu1", "smu2"):
        assert [what for _, what, _, _ in notes[name].log] == ["range", "set", "limit", "on"]
        assert notes[name].limit == 10e-9


def test_a_compliance_that_is_not_taken_leaves_everything_off(make, monkeypatch):
    guard, notes = make()
    monkeypatch.setattr(notes["smu2"], "set_compliance", lambda current, channel: None)
    with pytest.raises(ComplianceError, match="smu2: asked for a compliance of 10 nA, the instrument has 100 µA"):
        guard.energise()
    assert not notes["smu1"].on
    assert "on" not in [what for _, what, _, _ in notes["smu2"].log]


def test_an_output_found_on_is_taken_over_only_as_it_should_be(make):
    guard, notes = make()
    notes["smu1"].on, notes["smu1"].limit = True, 10e-9
    guard.energise()
    assert [what for _, what, _, _ in notes["smu1"].log] == ["on"]
    guard, notes = make()
    notes["smu1"].on = True
    with pytest.raises(ComplianceError, match="found on"):
        guard.energise()
    guard, notes = make()
    notes["smu1"].on, notes["smu1"].limit, notes["smu1"].values["output"] = True, 10e-9, 0.1
    with pytest.raises(ReadbackError, match="100 mV"):
        guard.energise()
    assert notes["smu1"].log == notes["smu2"].log == []


@pytest.mark.parametrize("zero_knobs", [False, True])
def test_the_safe_state_is_inputs_first_then_gates_as_told_and_once(make, zero_knobs):
    guard, notes = make(zero_knobs_on_stop=zero_knobs)
    guard.move({"x": 0.1, "a": 0.1})
    past = len(notes["source"].log), len(notes["gates"].log)
    assert guard.make_safe() == []
    assert notes["source"].values["x"] == 0.0
    assert notes["gates"].values["a"] == pytest.approx(0.0 if zero_knobs else 0.1)
    if zero_knobs:
        assert notes["gates"].log[past[1]][0] > notes["source"].log[-1][0]
    after = len(notes["source"].log), len(notes["gates"].log)
    assert guard.make_safe() == []
    assert (len(notes["source"].log), len(notes["gates"].log)) == after


@pytest.mark.parametrize("messages", [0, 1, 7, 30])
def test_one_dead_instrument_does_not_stop_the_others(make, messages):
    guard, notes = make(zero_knobs_on_stop=True)
    guard.energise()
    guard.move({"x": 0.1, "a": 0.1})
    notes["source"].dies_after = messages
    notes["smu1"].dies_after = 0
    failures = guard.make_safe() + guard.release()
    assert [failure.split(":")[0] for failure in failures] == ["x", "smu1"]
    assert notes["gates"].values["a"] == 0.0
    assert not notes["smu2"].on


def test_a_driver_may_raise_anything_on_the_way_to_the_safe_state(make, monkeypatch):
    guard, notes = make()

    def broken(*_: object) -> None:
        raise RuntimeError("a driver's own")

    monkeypatch.setattr(notes["source"], "voltage", broken)
    monkeypatch.setattr(notes["smu1"], "output_off", broken)
    assert guard.make_safe() == ["x: a driver's own"]
    assert guard.release() == ["smu1: a driver's own"]


def test_a_death_in_mid_ramp_is_an_error_and_leaves_the_rest_where_it_was(make):
    guard, notes = make()
    notes["gates"].dies_after = 20
    with pytest.raises(InstrumentError, match="dead"):
        guard.move({"a": 0.1})
    assert 0 < notes["gates"].values["a"] < 0.1
    assert notes["source"].log == []
