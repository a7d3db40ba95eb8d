"""Channels from a station file, and the check of every value before anything moves."""

from __future__ import annotations

import math

import pytest

from labthermo.channel import Channel
from labthermo.config import load_station
from labthermo.device import Query
from labthermo.errors import LimitError, QueryError
from labthermo.limits import check_knobs, check_query, check_value, device_channels

X = Channel("x", "input", "V", -0.2e-3, 3e-3)
P = Channel("p1", "knob", "V", -60e-3, 60e-3)


def test_a_stations_channels_come_in_order_with_their_limits(edited):
    channels = device_channels(load_station(edited()))
    assert [c.kind for c in channels] == ["input"] + 15 * ["knob"] + ["output", "node"]
    assert [c.name for c in channels][:4] == ["x", "p1", "l1", "r1"]
    by_name = {c.name: c for c in channels}
    assert by_name["x"].window == (0.9e-3, 2.7e-3)
    assert (by_name["l3"].minimum, by_name["l3"].maximum) == (-0.15, 0.09)
    assert (by_name["p2"].max_step, by_name["p2"].slew) == (2e-3, 0.1)
    assert (by_name["i_lo"].unit, by_name["y"].unit) == ("A", "V")


def test_the_ends_of_a_range_are_allowed_and_the_next_number_is_not():
    for end, beyond in ((P.minimum, -math.inf), (P.maximum, math.inf)):
        assert check_value(P, end) == end
        with pytest.raises(LimitError):
            check_value(P, math.nextafter(end, beyond))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0601, -1.0])
def test_a_refusal_names_channel_value_and_what_was_done(value):
    with pytest.raises(LimitError, match=r"^p1: .*nothing was moved") as error:
        check_value(P, value)
    assert "\n" not in str(error.value)


def test_knobs_must_be_known_numbers_within_limits():
    assert check_knobs({"p1": 0.01}, [X, P]) == {"p1": 0.01}
    for knobs in ({"p2": 0.0}, {"x": 0.0}, {"p1": "much"}, {"p1": None}):
        with pytest.raises(QueryError):
            check_knobs(knobs, [X, P])
    with pytest.raises(LimitError):
        check_knobs({"p1": 0.07}, [X, P])


def test_every_row_of_a_batch_is_checked():
    inputs, knobs = check_query(Query({"p1": 0.01}, [0.0, 3e-3]), [X, P])
    assert inputs.tolist() == [[0.0], [3e-3]]
    assert knobs == {"p1": 0.01}
    for bad in (3.1e-3, -0.3e-3):
        with pytest.raises(LimitError, match=r"^x: "):
            check_query(Query({}, [0.0, bad, 1e-3]), [X, P])


@pytest.mark.parametrize(
    "query",
    [
        Query(),
        Query({}, [math.nan]),
        Query({}, [0.0], nudge=[[0.0]]),
        Query({}, [0.0], reset="twist"),
        Query({"q": 0.0}, [0.0]),
    ],
)
def test_a_query_that_does_not_fit_is_refused(query):
    with pytest.raises(QueryError):
        check_query(query, [X, P])
