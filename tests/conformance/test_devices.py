"""What every device must do, whatever it is made of: one suite over `model` and `wire`."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from labthermo import Query, Response, Station, Status
from labthermo.device import Device, channels_of
from labthermo.errors import LimitError, QueryError

KNOBS = {"p1": 0.01, "l2": -0.03, "r5": 0.02}
INPUTS = np.array([0.9e-3, 1.8e-3, 2.7e-3])


@pytest.fixture(scope="module", params=["model", "wire"])
def station(request, edited) -> Iterator[Station]:
    with Station(edited(), request.param) as opened:
        yield opened


@pytest.fixture
def device(station) -> Device:
    return station.device


def test_channels_come_by_kind_with_units_and_limits(device):
    kinds = [c.kind for c in device.channels]
    assert kinds == sorted(kinds, key=["input", "knob", "output", "node"].index)
    assert len({c.name for c in device.channels}) == len(kinds)
    assert [c.name for c in channels_of(device, "output")] == ["y"]
    assert [(c.name, c.unit) for c in channels_of(device, "node")] == [("i_lo", "A")]
    for c in device.channels:
        if c.kind in ("input", "knob"):
            assert c.minimum < 0 < c.maximum
            assert 0 < c.max_step < math.inf
            assert 0 < c.slew < math.inf
            assert c.resolution < c.max_step


def test_a_response_has_one_row_an_input_and_reads_back_what_was_set(device):
    r = device.query(Query(KNOBS, INPUTS))
    assert len(r) == 3
    for array, width in ((r.outputs, 1), (r.nodes, 1), (r.sigma, 1), (r.node_sigma, 1), (r.inputs, 1)):
        assert array.shape == (3, width)
        assert np.isfinite(array).all()
    assert (r.sigma > 0).all()
    assert r.settle_time.shape == (3,)
    assert (r.settle_time > 0).all()
    assert r.status == 3 * (Status.SETTLED,)
    assert r.inputs[:, 0] == pytest.approx(INPUTS, abs=1e-7)
    assert set(r.knobs) == {c.name for c in channels_of(device, "knob")}
    assert {name: r.knobs[name] for name in KNOBS} == pytest.approx(KNOBS, abs=1e-6)


def test_rows_come_in_the_order_asked(device):
    up, down = (device.query(Query(KNOBS, order)) for order in (INPUTS, INPUTS[::-1]))
    spread = 6 * float(up.sigma.max())
    assert np.ptp(up.outputs) > 2 * spread
    assert up.outputs[:, 0] == pytest.approx(down.outputs[::-1, 0], abs=spread)
    assert up.nodes[-1, 0] > up.nodes[0, 0]  # more bias, more current out of the sample


def test_inputs_may_be_flat_or_a_column_or_one_number(device):
    flat, column, one = (device.query(Query({}, shape)) for shape in (INPUTS, INPUTS[:, None], INPUTS[0]))
    assert flat.outputs.shape == column.outputs.shape == (3, 1)
    assert one.outputs.shape == (1, 1)


def test_knobs_left_out_keep_their_value_even_when_parked(device):
    device.query(Query(KNOBS, INPUTS[:1]))
    assert device.query(Query({"p4": 0.005}, INPUTS[:1])).knobs == pytest.approx(
        {**dict.fromkeys((c.name for c in channels_of(device, "knob")), 0.0), **KNOBS, "p4": 0.005}, abs=1e-6
    )
    device.park()
    device.park()
    back = device.query(Query({"p4": 0.0}, INPUTS[:1])).knobs
    assert {name: back[name] for name in KNOBS} == pytest.approx(KNOBS, abs=1e-6)


@pytest.mark.parametrize("reset", ["hold", "park"])
def test_either_reset_gives_the_same_answer_on_a_device_with_one_state(device, reset):
    first = device.query(Query(KNOBS, INPUTS, reset="hold"))
    again = device.query(Query(KNOBS, INPUTS, reset=reset))
    assert again.outputs == pytest.approx(first.outputs, abs=6 * float(first.sigma.max()))


@pytest.mark.parametrize(
    ("query", "error"),
    [
        (Query({"p1": 0.061}, INPUTS), LimitError),
        (Query({"p1": math.nan}, INPUTS), LimitError),
        (Query({"p99": 0.0}, INPUTS), QueryError),
        (Query({}, [1e-3, 3.1e-3]), LimitError),
        (Query({}, [1e-3, math.inf]), QueryError),
        (Query({}, [[1e-3, 1e-3]]), QueryError),
        (Query({}, INPUTS, reset="twist"), QueryError),
        (Query({}, INPUTS, nudge=np.zeros((3, 7))), QueryError),
        (Query({}), QueryError),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(device, query, error):
    with pytest.raises(error) as refused:
        device.query(query)
    assert "\n" not in str(refused.value)


def test_a_nudge_moves_the_output_where_there_is_a_current_source_and_is_refused_elsewhere(station):
    nudge = np.full((3, 1), 1e-11)  # A into some 3.3 Mohm
    if station.backend != "model":
        with pytest.raises(QueryError, match="no current source"):
            station.device.query(Query(KNOBS, INPUTS, nudge=nudge))
        return
    with pytest.raises(QueryError, match="nothing can be injected there"):
        station.device.query(Query(KNOBS, INPUTS, nudge=np.full((3, 2), 1e-11)))
    free = station.device.query(Query(KNOBS, INPUTS, reset="park"))
    nudged = station.device.query(Query(KNOBS, INPUTS, nudge=nudge, reset="park"))
    rise = nudged.outputs - free.outputs
    assert np.all((rise > 15e-6) & (rise < 45e-6))


def test_a_stream_gives_the_batch_in_parts_one_input_each_on_a_bench(station):
    parts = list(station.device.stream(Query(KNOBS, INPUTS)))
    assert [len(part) for part in parts] == ([3] if station.backend == "model" else [1, 1, 1])
    assert len(Response.join(parts)) == 3


def test_closing_twice_does_nothing(edited, request):
    for backend in ("model", "wire"):
        station = Station(edited(), backend)
        device = station.open().device
        device.query(Query(inputs=[1e-3]))
        device.close()
        device.close()
        station.close()
        station.close()
