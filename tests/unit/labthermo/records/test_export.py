"""Every format gives back the journal's own numbers, to the last bit, and says which backend they came from."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from labthermo.device import Query, Response, Status
from labthermo.errors import ParameterError, RecordError
from labthermo.records.export import FORMATS, TEXTS, export
from labthermo.records.journal import Journal

CHANNELS = [
    {"name": "x", "kind": "input", "unit": "V"},
    {"name": "p1", "kind": "knob", "unit": "V"},
    {"name": "y", "kind": "output", "unit": "V"},
    {"name": "i_lo", "kind": "node", "unit": "A"},
]
POINTS = 12


def record(
    folder: Path,
    backend: str = "wire",
    channels: list[dict[str, str]] = CHANNELS,
    points: int = POINTS,
    to_and_fro: bool = False,
) -> Path:
    """A run of a 3 by 4 map of x and p1 with irrational readings; the last one overflowed."""
    journal = Journal.create(folder, {"backend": backend, "procedure": "sweep", "channels": channels})
    rng = np.random.default_rng(1)
    for k in range(points):
        back = to_and_fro and k // 4 % 2
        x, p1 = 1e-3 * (3 - k % 4 if back else k % 4) / 7, 0.01 * (k // 4) / 3
        last = k == POINTS - 1
        y = np.array([[math.nan if last else rng.normal() * 1e-4]])
        journal.append(
            Query(knobs={"p1": p1}, inputs=np.array([[x]]), number=k),
            Response(
                outputs=y, nodes=rng.normal(size=(1, 1)) * 1e-11, sigma=np.full((1, 1), 1e-7 / 3),
                node_sigma=np.full((1, 1), 5e-13), settle_time=np.array([0.1 / 3]),
                status=(Status.OVERFLOW if last else Status.SETTLED,), inputs=np.array([[x + 1e-9 / 3]]),
                knobs={"p1": p1 + 1e-6 / 3},
            ),
            "sweep",
        )  # fmt: skip
    journal.event("note", text="a word")
    journal.finish("finished")
    journal.close()
    return folder


def from_csv(path: Path) -> dict[str, np.ndarray]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        name: np.array([row[name] if name in TEXTS else float(row[name] or "nan") for row in rows]) for name in rows[0]
    }


def from_parquet(path: Path) -> dict[str, np.ndarray]:
    import pandas as pd

    table = pd.read_parquet(path)
    assert table.attrs["units"]["i_lo"] == "A"
    assert json.loads(table.attrs["events"])[0]["text"] == "a word"
    return {name: table[name].to_numpy() for name in table}


def from_netcdf(path: Path) -> dict[str, np.ndarray]:
    import xarray

    found = xarray.load_dataset(path)
    assert found["y"].attrs["units"] == "V"
    assert json.loads(found.attrs["header"])["procedure"] == "sweep"
    return {str(name): found[name].to_numpy() for name in found.variables}


def from_qcodes(path: Path) -> dict[str, np.ndarray]:
    from qcodes.dataset import load_by_id
    from qcodes.dataset.sqlite.database import connect

    connection = connect(str(path))
    try:
        found = load_by_id(1, conn=connection)
        assert found.completed
        assert found.sample_name == "wire (simulated)"
        assert json.loads(found.metadata["labthermo_header"])["procedure"] == "sweep"
        assert found.paramspecs["y"].depends_on == "p1, x"  # what varies, so that plottr draws a map
        assert found.description.shapes["y"] == (3, 4)
        assert found.paramspecs["y"].unit == "V"
        columns = found.get_parameter_data()
    finally:
        connection.close()
    return {name: block[name].ravel() for block in columns.values() for name in block}


READERS: dict[str, Callable[[Path], dict[str, np.ndarray]]] = {
    "csv": from_csv,
    "parquet": from_parquet,
    "netcdf": from_netcdf,
    "qcodes": from_qcodes,
}


@pytest.mark.parametrize("to", FORMATS)
def test_what_is_read_back_is_what_the_journal_holds(tmp_path: Path, to: str):
    folder = record(tmp_path / "run")
    found = READERS[to](export(folder, to))
    journal = Journal.open(folder, writable=False)
    points = journal.points()
    journal.close()
    for name, values in {
        "number": [p.number for p in points],
        "x": [p.inputs_asked[0] for p in points],
        "x_read": [p.inputs[0] for p in points],
        "p1": [p.knobs_asked["p1"] for p in points],
        "p1_read": [p.knobs["p1"] for p in points],
        "y": [p.outputs[0] for p in points],
        "y_sigma": [p.sigma[0] for p in points],
        "i_lo": [p.nodes[0] for p in points],
        "i_lo_sigma": [p.node_sigma[0] for p in points],
        "settle_time": [p.settle_time for p in points],
        "time": [p.time for p in points],
    }.items():
        assert np.array_equal(found[name], values, equal_nan=True), name
    assert list(found["status"]) == ["settled"] * (POINTS - 1) + ["overflow"]
    assert set(found["backend"]) == {"wire (simulated)"}
    assert set(found["purpose"]) == {"sweep"}


def test_a_map_swept_to_and_fro_has_straight_lines_in_qcodes(tmp_path: Path):
    found = from_qcodes(export(record(tmp_path / "run", to_and_fro=True), "qcodes"))
    assert found["number"].reshape(3, 4).tolist() == [[0, 1, 2, 3], [7, 6, 5, 4], [8, 9, 10, 11]]
    assert np.all(np.diff(found["x"].reshape(3, 4), axis=1) > 0)
    assert np.all(np.diff(found["p1"].reshape(3, 4), axis=1) == 0)


def test_only_a_real_record_looks_real(tmp_path: Path):
    assert set(from_csv(export(record(tmp_path / "a", "real"), "csv"))["backend"]) == {"real"}
    assert set(from_csv(export(record(tmp_path / "b", "model"), "csv"))["backend"]) == {"model (simulated)"}


@pytest.mark.parametrize("to", FORMATS)
def test_an_older_export_is_replaced(tmp_path: Path, to: str):
    folder = record(tmp_path / "run")
    path = tmp_path / "out"
    path.write_text("old")
    assert export(folder, to, path) == path
    export(folder, to, path)
    assert len(READERS[to](path)["y"]) == POINTS
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "run"]


def test_what_cannot_be_exported_is_said(tmp_path: Path):
    folder = record(tmp_path / "run")
    with pytest.raises(ParameterError, match="'xlsx'; there are qcodes, netcdf, parquet, csv"):
        export(folder, "xlsx")
    with pytest.raises(RecordError, match="choose another place with --out"):
        export(folder, "csv", tmp_path / "no" / "such" / "folder.csv")
    with pytest.raises(RecordError, match="no points"):
        export(record(tmp_path / "empty", points=0), "csv")
    clash = [{**CHANNELS[0], "name": "status"}, *CHANNELS[1:]]
    with pytest.raises(RecordError, match="'status'"):
        export(record(tmp_path / "clash", channels=clash), "csv")
