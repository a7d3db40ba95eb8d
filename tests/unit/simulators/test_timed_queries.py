"""Readings at given times: the model follows its own relaxation, and the bench agrees with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from labthermo import Query, Station, Status
from labthermo.config import StationConfig, load_station
from labthermo.errors import QueryError

EXAMPLE = Path(__file__).parents[3] / "examples" / "inhibited_well"
UL = 1e-6 / 60.0
TIMES = np.array([0.0, 60.0, 180.0, 420.0])


@pytest.fixture
def quiet(tmp_path: Path) -> StationConfig:
    """The inhibited well without noise, mismatch or offsets."""
    (tmp_path / "well.yaml").write_text((EXAMPLE / "well.yaml").read_text())
    text = (EXAMPLE / "station.yaml").read_text()
    text = text[: text.index("simulation:")] + "simulation: {noise: off, offsets: false, quantisation: false}\n"
    (tmp_path / "station.yaml").write_text(text)
    return load_station(tmp_path / "station.yaml")


def expected(times: np.ndarray) -> np.ndarray:
    """Absorbance of a well that was empty when 30 uL/min of stock and 60 of buffer began to flow."""
    dilution = 90 * UL / 200e-6

    def slope(_: float, c: np.ndarray) -> list[float]:
        v = 1e-4 * c[0] / (1e-3 + c[0] + c[0] ** 2 / 1e-3)
        return [dilution * (40e-3 / 3 - c[0]) - v, v - dilution * c[1]]

    solved = solve_ivp(slope, (0.0, float(times[-1])), [0.0, 0.0], t_eval=times, rtol=1e-9, atol=1e-15)
    return 88.0 * solved.y[1]


@pytest.mark.parametrize("backend", ["model", "wire"])
def test_readings_follow_the_relaxation(backend, quiet):
    with Station(quiet, backend) as station:
        found = station.device.query(Query({"b": 60 * UL}, [[30 * UL]] * 4, after=TIMES))
        again = station.device.query(Query({"b": 60 * UL}, [[30 * UL]], after=[600.0]))  # nothing moved since
    assert set(found.status) == {Status.TIMED}
    assert not found.readable.any()
    late = found.settle_time - TIMES  # a reading takes its time
    assert np.all((late >= 0.0) & (late < 4.0))
    moments = np.append(found.settle_time, again.settle_time)
    assert again.settle_time[0] == pytest.approx(600.0, abs=4.0)
    # the pumps ramp for half a second, and a reader shows four decimals
    assert np.append(found.outputs, again.outputs) == pytest.approx(expected(moments), abs=1.5e-3)


@pytest.mark.parametrize("after", [[1.0, 2.0], [-1.0], [np.nan], 1.0])
def test_times_that_are_none_are_refused(after, quiet):
    with Station(quiet, "model") as station, pytest.raises(QueryError, match="after has to be 1 times"):
        station.device.query(Query({"b": 60 * UL}, [[30 * UL]], after=after))


@pytest.mark.parametrize("backend", ["model", "wire"])
def test_what_was_pumped_is_weighed_and_the_pump_stands(backend, quiet):
    with Station(quiet, backend) as station:
        device = station.device
        device.weigh("b")
        found = device.query(Query({"b": 60 * UL}, [[0.0]], after=[600.0]))
        assert device.weigh("b") == pytest.approx(0.9982 * 0.6 * found.settle_time[0] / 600.0, rel=2e-3)
        assert device.weigh("b") == pytest.approx(0.0, abs=1e-3)
        with pytest.raises(QueryError, match="no pump 'q'; there are s, b"):
            device.weigh("q")
        assert device.query(Query({}, [[0.0]], after=[0.0])).knobs["b"] == 0.0
