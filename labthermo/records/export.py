"""Views of a run for other programs: a QCoDeS database, netCDF, Parquet and CSV, made from its journal alone.

One row per device query, in the order in which they were asked. A settable channel ``x`` has the columns ``x``, the
set-point, and ``x_read``, what the instrument read back; a readable one ``y`` has ``y`` and ``y_sigma``. SI units.
Every file says the backend, so that a simulated record never passes for a real one.
"""

from __future__ import annotations

import io
import json
import math
import os
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labthermo.errors import ParameterError, RecordError
from labthermo.records.journal import Journal

if TYPE_CHECKING:
    from pandas import DataFrame

MOST_SETPOINTS = 3
"""With more varying set-points than this, a QCoDeS dataset is laid out over the number of the query."""
TEXTS = ("run", "backend", "purpose", "reset", "status")
_PLAIN = {"number": "", "time": "s", "settle_time": "s"}


def table_of(journal: Journal) -> DataFrame:
    """Every point of a run as a table.

    Columns: number, run, backend, purpose, reset, status, time (s since 1970, UTC), settle_time (s), then the channels.
    ``attrs``: run, backend, ``units`` (column -> SI unit), ``header`` and ``events`` (the journal's, as JSON).
    """
    import pandas as pd

    points = journal.points()
    header = journal.header
    backend = header["backend"] if header["backend"] == "real" else f"{header['backend']} (simulated)"
    columns: dict[str, Any] = {
        "number": [p.number for p in points],
        "run": [journal.folder.name] * len(points),
        "backend": [backend] * len(points),
        "purpose": [p.purpose for p in points],
        "reset": [p.reset for p in points],
        "status": [str(p.status) for p in points],
        "time": [p.time for p in points],
        "settle_time": [p.settle_time for p in points],
    }
    units = dict(_PLAIN)
    places = dict.fromkeys(("input", "output", "node"), 0)
    for channel in header.get("channels", ()):
        name, kind = channel["name"], channel["kind"]
        if name in columns:
            raise RecordError(f"channel {name!r} has the name of a column of every export; rename it in the station")
        if kind == "knob":
            columns[name] = [p.knobs_asked.get(name, p.knobs.get(name)) for p in points]
            columns[f"{name}_read"] = [p.knobs.get(name) for p in points]
            units[f"{name}_read"] = channel["unit"]
        else:
            k = places[kind]
            places[kind] += 1
            first, second, suffix = {
                "input": ("inputs_asked", "inputs", "read"),
                "output": ("outputs", "sigma", "sigma"),
                "node": ("nodes", "node_sigma", "sigma"),
            }[kind]
            columns[name] = [getattr(p, first)[k] for p in points]
            columns[f"{name}_{suffix}"] = [getattr(p, second)[k] for p in points]
            units[f"{name}_{suffix}"] = channel["unit"]
        units[name] = channel["unit"]
    table = pd.DataFrame({n: pd.Series(v, dtype=_dtype(n)) for n, v in columns.items()})
    events = [{"time": e.time, "kind": e.kind, **e.detail} for e in journal.events()]
    table.attrs = {
        "run": journal.folder.name,
        "backend": backend,
        "units": units,
        "header": json.dumps(header),
        "events": json.dumps(events),
    }
    return table


def export(folder: Path, to: str, path: Path | None = None) -> Path:
    """Write a run in one of :data:`FORMATS`; the file's path. An older export there is replaced, whole or not at all.

    path: default ``<run>.<ending>`` in the run's own folder.

    Raises
    ------
    ParameterError: an unknown format. RecordError: the journal cannot be read, has no points, or the file not written.
    """
    if to not in FORMATS:
        raise ParameterError(f"cannot export to {to!r}; there are {', '.join(FORMATS)}")
    ending, write = FORMATS[to]
    folder = Path(folder)
    journal = Journal.open(folder, writable=False)
    try:
        table = table_of(journal)
    finally:
        journal.close()
    if table.empty:
        raise RecordError(f"{folder.name} has no points to export")
    path = path or folder / f"{folder.name}.{ending}"
    try:
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            unfinished = Path(scratch) / path.name
            write(table, unfinished)
            os.replace(unfinished, path)
    except OSError as error:
        raise RecordError(f"{path} cannot be written ({error}); choose another place with --out") from None
    return path


def _label(column: str) -> str:
    for ending, words in (("_read", ", read back"), ("_sigma", ", standard deviation")):
        if column.endswith(ending):
            return column.removesuffix(ending) + words
    return column.replace("_", " ") if column in _PLAIN else column


def _dtype(column: str) -> str:
    return "int64" if column == "number" else "str" if column in TEXTS else "float64"


def _to_csv(table: DataFrame, path: Path) -> None:
    table.to_csv(path, index=False, float_format="%.17g")


def _to_parquet(table: DataFrame, path: Path) -> None:
    table.to_parquet(path, engine="pyarrow", index=False)  # attrs travel in the file's metadata


def _to_netcdf(table: DataFrame, path: Path) -> None:
    dataset = table.set_index("number").to_xarray()
    units = table.attrs["units"]
    for name in dataset.variables:
        if units.get(name):
            dataset[name].attrs["units"] = units[name]
    dataset.attrs = {key: table.attrs[key] for key in ("run", "backend", "header", "events")}
    dataset.to_netcdf(path, engine="h5netcdf")


def _to_qcodes(table: DataFrame, path: Path) -> None:
    """One dataset in a new database; its set-points are the channels that vary, so that plottr draws them.

    A complete map, each place asked once, is laid out line by line whichever way its lines were swept, with its shape;
    any other run in the order in which it was asked. Stored as arrays: SQLite hands numbers of the type ``numeric`` to
    QCoDeS as text of 15 digits.
    """
    import numpy as np
    from qcodes.dataset import Measurement, load_or_create_experiment
    from qcodes.dataset.sqlite.database import connect

    header = json.loads(table.attrs["header"])
    settable = [c["name"] for c in header.get("channels", ()) if c["kind"] in ("input", "knob")]
    varying = [name for name in settable if len(set(table[name])) > 1]
    varying.sort(key=lambda name: np.count_nonzero(np.diff(table[name].to_numpy())))  # the slow axis first
    setpoints = varying if 1 <= len(varying) <= MOST_SETPOINTS else ["number"]
    places = [table[name].factorize()[0] for name in setpoints]  # in the order of their first appearance
    shape = tuple(int(place.max()) + 1 for place in places)
    grid = len(table) == math.prod(shape) == len(set(zip(*places, strict=True)))
    if grid:
        table = table.iloc[np.lexsort(places[::-1])]
    connection = connect(str(path))
    try:
        subject = header.get("procedure") or header.get("task") or "run"
        experiment = load_or_create_experiment(str(subject), table.attrs["backend"], conn=connection)
        measurement = Measurement(exp=experiment, name=table.attrs["run"])
        for name in (*setpoints, *(c for c in table.columns if c not in setpoints)):
            measurement.register_custom_parameter(
                name, label=_label(name), unit=table.attrs["units"].get(name, ""), paramtype="array",
                setpoints=None if name in setpoints else tuple(setpoints),
            )  # fmt: skip
        if grid:
            measurement.set_shapes({c: shape for c in table.columns if c not in setpoints})
        measurement.write_period = 1e9  # one write, at the end
        with (
            redirect_stdout(io.StringIO()),
            measurement.run(write_in_background=False) as saver,
        ):
            saver.add_result(*((n, table[n].to_numpy("U" if n in TEXTS else None)) for n in table.columns))
        for key in ("header", "events"):
            saver.dataset.add_metadata(f"labthermo_{key}", table.attrs[key])
    finally:
        connection.close()


FORMATS: dict[str, tuple[str, Callable[[Any, Path], None]]] = {
    "qcodes": ("db", _to_qcodes),
    "netcdf": ("nc", _to_netcdf),
    "parquet": ("parquet", _to_parquet),
    "csv": ("csv", _to_csv),
}
"""Format -> ending of its files, and what writes them."""
