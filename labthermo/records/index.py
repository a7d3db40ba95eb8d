"""Searching: the list of all runs in a folder, kept in `index.sqlite` and rebuilt from the journals at will."""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

from labthermo.errors import LabThermoError
from labthermo.records.journal import FILE, Journal

INDEX = "index.sqlite"


@dataclass(frozen=True)
class RunSummary:
    """One line of the list of runs.

    Attributes
    ----------
    id: name of the run and of its folder.
    created: when it began, ISO 8601, UTC.
    kind, subject: ``task`` or ``procedure``, and which.
    backend: ``real``, ``wire`` or ``model``; `simulated` is false for ``real`` alone.
    queries: device queries made; scoring does not count.
    rmse: newest score, or else the best one on the way, as a fraction of the amplitude; None where there is none.
    outcome: as in the journal (``finished``, ``stopped``, ``failed: ...``, ``running``); ``interrupted`` if the
        process that ran it died; ``damaged: ...`` if there is no readable journal, and then the rest is empty.
    """

    id: str
    created: str = ""
    kind: str = ""
    subject: str = ""
    backend: str = ""
    simulated: bool = True
    queries: int = 0
    rmse: float | None = None
    outcome: str = "damaged"


def list_runs(runs: Path) -> list[RunSummary]:
    """All runs in the folder `runs`, newest first; damaged ones last. A folder that is not there has none.

    Only journals that changed since the last time are read; what cannot be read is listed as damaged.
    """
    runs = Path(runs)
    try:
        folders = sorted(f for f in runs.iterdir() if f.is_dir() and not f.name.startswith("."))
    except OSError:
        return []
    stamps = {folder.name: _stamp(folder) for folder in folders}
    known = _load(runs)
    fresh = {
        folder.name: known[folder.name][1]
        if folder.name in known and known[folder.name][0] == stamps[folder.name]
        else _summarise(folder)
        for folder in folders
    }
    kept = {name: (stamps[name], summary) for name, summary in fresh.items() if not _damaged(summary)}
    if kept != known:
        _save(runs, kept)
    listed = [replace(s, outcome=outcome_now(runs / name, s.outcome)) for name, s in fresh.items()]
    return sorted(listed, key=lambda s: (not _damaged(s), s.created, s.id), reverse=True)


def newest_rmse(journal: Journal) -> float | None:
    """The error of the newest fit, or else the best one reported on the way; None where there is none."""
    for kind, names in (("fit", ("rmse",)), ("progress", ("best", "rmse"))):
        for event in reversed(journal.events(kind)):
            for name in names:
                value = event.detail.get(name)
                if isinstance(value, int | float) and math.isfinite(value):
                    return float(value)
    return None


def outcome_now(folder: Path, outcome: str) -> str:
    """The outcome in the journal of `folder`, but ``interrupted`` for a run that no living process goes on with."""
    return "interrupted" if outcome == "running" and Journal.holder(folder) is None else outcome


def _summarise(folder: Path) -> RunSummary:
    try:
        journal = Journal.open(folder, writable=False)
        try:
            header = journal.header
            kind = next((k for k in ("task", "procedure") if header.get(k)), "")
            return RunSummary(
                id=folder.name,
                created=str(header.get("created", "")),
                kind=kind,
                subject=str(header.get(kind, "")),
                backend=str(header.get("backend", "")),
                simulated=header.get("backend") != "real",
                queries=journal.queries(),
                rmse=newest_rmse(journal),
                outcome=journal.outcome,
            )
        finally:
            journal.close()
    except LabThermoError as error:
        return RunSummary(id=folder.name, outcome=f"damaged: {error}")


def _damaged(summary: RunSummary) -> bool:
    return summary.outcome.startswith("damaged")


def _stamp(folder: Path) -> str:
    """What changes whenever the journal does."""
    marks = []
    for name in (FILE, f"{FILE}-wal"):
        try:
            status = (folder / name).stat()
            marks.append(f"{status.st_size}@{status.st_mtime_ns}" if status.st_size else "-")
        except OSError:
            marks.append("-")
    return " ".join(marks)


def _load(runs: Path) -> dict[str, tuple[str, RunSummary]]:
    """What the index knows: run -> (stamp, summary). Nothing if there is no index, or none that can be read."""
    names = [field.name for field in fields(RunSummary)]
    try:
        with _open(runs, "ro") as connection:
            rows = connection.execute(f"SELECT stamp, {', '.join(names)} FROM runs").fetchall()
    except sqlite3.Error:
        return {}
    known = {}
    for stamp, *values in rows:
        summary = RunSummary(**dict(zip(names, values, strict=True)))
        known[summary.id] = (stamp, replace(summary, simulated=bool(summary.simulated)))
    return known


def _save(runs: Path, kept: dict[str, tuple[str, RunSummary]]) -> None:
    """Write the index anew. It is only a shortcut: where it cannot be written, the next list is slower."""
    with contextlib.suppress(sqlite3.Error, OSError):
        try:
            _rewrite(runs, kept)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            (runs / INDEX).unlink()
            _rewrite(runs, kept)


def _rewrite(runs: Path, kept: dict[str, tuple[str, RunSummary]]) -> None:
    with _open(runs, "rwc") as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("DROP TABLE IF EXISTS runs")
        connection.execute(
            "CREATE TABLE runs (stamp TEXT NOT NULL, id TEXT PRIMARY KEY, created TEXT NOT NULL, kind TEXT NOT NULL,"
            " subject TEXT NOT NULL, backend TEXT NOT NULL, simulated INTEGER NOT NULL, queries INTEGER NOT NULL,"
            " rmse REAL, outcome TEXT NOT NULL) STRICT"
        )
        connection.executemany(
            "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(stamp, *astuple(summary)) for stamp, summary in kept.values()],
        )
        connection.execute("COMMIT")


@contextlib.contextmanager
def _open(runs: Path, mode: str) -> Iterator[sqlite3.Connection]:
    uri = f"{(runs / INDEX).absolute().as_uri()}?mode={mode}"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=2.0, isolation_level=None)) as connection:
        yield connection
