"""What every device must do, whatever it is made of: one suite over dots and a flow bench, on `model` and `wire`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from labthermo import Query, Response, Station, Status
from labthermo.device import Device, channels_of
from labthermo.errors import LimitError, QueryError

EXAMPLES = Path(__file__).parents[2] / "examples"
UL = 1e-6 / 60.0


@dataclass(frozen=True)
class Case:
    """A kind of device, and questions that suit it.

    knobs, inputs: (3,), ascending; other: a knob that `knobs` may leave out, and two values of it; beyond: a knob's and
    an input's value outside their limits; small: to which knobs, inputs come back; rising: of the first reading.
    """

    knobs: dict[str, float]
    inputs: np.ndarray
    other: tuple[str, float, float]
    beyond: tuple[str, float, float]
    small: float
    rising: bool
    readings: tuple[list[str], list[tuple[str, str]]]


DOTS = Case(
    knobs={"p1": 0.01, "l2": -0.03, "r5": 0.02},
    inputs=np.array([0.9e-3, 1.8e-3, 2.7e-3]),
    other=("p4", 0.005, 0.0),
    beyond=("p1", 0.061, 3.1e-3),
    small=1e-6,
    rising=True,
    readings=(["y"], [("i_lo", "A")]),
)
VESSEL = Case(
    knobs={"b": 100 * UL},
    inputs=np.array([2.0, 6.0, 20.0]) * UL,
    other=("b", 90 * UL, 100 * UL),
    beyond=("b", 201 * UL, 201 * UL),
    small=1e-11,
    rising=False,
    readings=(["well"], []),
)


@pytest.fixture(scope="module", params=[(c, b) for c in ("dots", "vessel") for b in ("model", "wire")], ids="-".join)
def opened(request, edited, tmp_path_factory) -> Iterator[tuple[Case, Station]]:
    kind, backend = request.param
    path, case = (edited(), DOTS) if kind == "dots" else (vessel(tmp_path_factory.mktemp("vessel")), VESSEL)
    with Station(path, backend) as station:
        yield case, station


def vessel(folder: Path) -> Path:
    """The inhibited well, whose knobs hold when it is parked, as those of the dots do; and not so patient."""
    text = (EXAMPLES / "inhibited_well" / "station.yaml").read_text(encoding="utf-8")
    for old, new in (("knobs: zero}", "knobs: hold}"), ("tolerance: 3 mOD", "tolerance: 8 mOD"), ("20 min", "10 min")):
        assert old in text
        text = text.replace(old, new)
    (folder / "station.yaml").write_text(text, encoding="utf-8")
    (folder / "well.yaml").write_text((EXAMPLES / "inhibited_well" / "well.yaml").read_text(encoding="utf-8"))
    return folder / "station.yaml"


@pytest.fixture
def case(opened) -> Case:
    return opened[0]


@pytest.fixture
def station(opened) -> Station:
    return opened[1]


@pytest.fixture
def device(station) -> Device:
    return station.device


def test_channels_come_by_kind_with_units_and_limits(case, device):
    kinds = [c.kind for c in device.channels]
    assert kinds == sorted(kinds, key=["input", "knob", "output", "node"].index)
    assert len({c.name for c in device.channels}) == len(kinds)
    assert [c.name for c in channels_of(device, "output")] == case.readings[0]
    assert [(c.name, c.unit) for c in channels_of(device, "node")] == case.readings[1]
    for c in device.channels:
        if c.kind in ("input", "knob"):
            assert c.rests or c.minimum < 0
            assert c.minimum < c.maximum > 0
            assert 0 < c.max_step < math.inf
            assert 0 < c.slew < math.inf
            assert c.resolution < c.max_step


def test_a_response_has_one_row_an_input_and_reads_back_what_was_set(case, device):
    r = device.query(Query(case.knobs, case.inputs))
    assert len(r) == 3
    nodes = len(case.readings[1])
    for array, width in ((r.outputs, 1), (r.nodes, nodes), (r.sigma, 1), (r.node_sigma, nodes), (r.inputs, 1)):
        assert array.shape == (3, width)
        assert np.isfinite(array).all()
    assert (r.sigma > 0).all()
    assert r.settle_time.shape == (3,)
    assert (r.settle_time > 0).all()
    assert r.status == 3 * (Status.SETTLED,)
    assert r.inputs[:, 0] == pytest.approx(case.inputs, abs=min(1e-7, 0.01 * case.inputs[0]))
    assert set(r.knobs) == {c.name for c in channels_of(device, "knob")}
    assert {name: r.knobs[name] for name in case.knobs} == pytest.approx(case.knobs, abs=case.small)


def test_rows_come_in_the_order_asked(case, device):
    up, down = (device.query(Query(case.knobs, order)) for order in (case.inputs, case.inputs[::-1]))
    spread = 6 * float(up.sigma.max())
    assert np.ptp(up.outputs) > 2 * spread
    assert up.outputs[:, 0] == pytest.approx(down.outputs[::-1, 0], abs=spread)
    if case.rising:
        assert up.nodes[-1, 0] > up.nodes[0, 0]  # more bias, more current out of the sample


def test_inputs_may_be_flat_or_a_column_or_one_number(case, device):
    shapes = (case.inputs, case.inputs[:, None], case.inputs[0])
    flat, column, one = (device.query(Query({}, shape)) for shape in shapes)
    assert flat.outputs.shape == column.outputs.shape == (3, 1)
    assert one.outputs.shape == (1, 1)


def test_knobs_left_out_keep_their_value_even_when_parked(case, device):
    name, there, back_again = case.other
    first = case.inputs[:1]
    stood = device.query(Query(case.knobs, first)).knobs
    assert device.query(Query({name: there}, first)).knobs == pytest.approx({**stood, name: there}, abs=case.small)
    device.park()
    device.park()
    back = device.query(Query({name: back_again}, first)).knobs
    assert {n: back[n] for n in case.knobs} == pytest.approx(case.knobs, abs=case.small)


@pytest.mark.parametrize("reset", ["hold", "park"])
def test_either_reset_gives_the_same_answer_on_a_device_with_one_state(case, device, reset):
    first = device.query(Query(case.knobs, case.inputs, reset="hold"))
    again = device.query(Query(case.knobs, case.inputs, reset=reset))
    assert again.outputs == pytest.approx(first.outputs, abs=6 * float(first.sigma.max()))


def test_what_does_not_fit_is_refused_in_one_line(case, device):
    knob, high, far = case.beyond
    inputs = case.inputs
    for query, error in (
        (Query({knob: high}, inputs), LimitError),
        (Query({knob: math.nan}, inputs), LimitError),
        (Query({"p99": 0.0}, inputs), QueryError),
        (Query({}, [inputs[0], far]), LimitError),
        (Query({}, [inputs[0], math.inf]), QueryError),
        (Query({}, [[inputs[0], inputs[0]]]), QueryError),
        (Query({}, inputs, reset="twist"), QueryError),
        (Query({}, inputs, nudge=np.zeros((3, 7))), QueryError),
        (Query({}, inputs, after=[1.0]), QueryError),
        (Query({}), QueryError),
    ):
        with pytest.raises(error) as refused:
            device.query(query)
        assert "\n" not in str(refused.value)


def test_a_nudge_moves_the_output_where_there_is_a_current_source_and_is_refused_elsewhere(case, station):
    nudge = np.full((3, 1), 1e-11)  # A into some 3.3 Mohm
    if station.backend != "model":
        with pytest.raises(QueryError, match="no current source"):
            station.device.query(Query(case.knobs, case.inputs, nudge=nudge))
        return
    if not case.rising:
        with pytest.raises(QueryError, match="nothing can be injected there"):
            station.device.query(Query(case.knobs, case.inputs, nudge=nudge))
        return
    with pytest.raises(QueryError, match="nothing can be injected there"):
        station.device.query(Query(case.knobs, case.inputs, nudge=np.full((3, 2), 1e-11)))
    free = station.device.query(Query(case.knobs, case.inputs, reset="park"))
    nudged = station.device.query(Query(case.knobs, case.inputs, nudge=nudge, reset="park"))
    rise = nudged.outputs - free.outputs
    assert np.all((rise > 15e-6) & (rise < 45e-6))


def test_a_stream_gives_the_batch_in_parts_one_input_each_on_a_bench(case, station):
    parts = list(station.device.stream(Query(case.knobs, case.inputs)))
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
