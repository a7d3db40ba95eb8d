"""The durable, append-only truth about one run: an SQLite file that survives `kill -9` at any moment.

What a method has returned from is on disk (WAL, ``synchronous=FULL``). Structured values are kept as JSON text
in which floats read back as they were, to the last bit; NaN and infinities are written ``NaN`` and ``Infinity``,
as JSON5 has them. Arrays and tuples come back as lists.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from labthermo.device import Query, Response, Status
from labthermo.errors import RecordError
from labthermo.records.owner import Owner, Ownership, owner_of

FILE = "journal.sqlite"
LOCK = "journal.lock"
BACKENDS = ("real", "wire", "model")
UNCOUNTED = ("score", "evidence")  # the first word of a purpose
"""Of points that are no device queries of a budget: scoring on the hold-out grid, and what is asked for evidence."""

_APPLICATION = 0x6C746A31  # "ltj1", in the file's own header
_VERSION = 1
_BUSY_TIMEOUT = 5.0  # s that a commit waits for someone else's lock on the file
_SCHEMA = """
CREATE TABLE header (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE settings (
    id INTEGER PRIMARY KEY,
    knobs_asked TEXT NOT NULL,
    knobs TEXT NOT NULL,
    reset TEXT NOT NULL
) STRICT;
CREATE TABLE points (
    number INTEGER PRIMARY KEY CHECK (number >= 0),
    purpose TEXT NOT NULL,
    settings INTEGER NOT NULL REFERENCES settings (id),
    inputs_asked TEXT NOT NULL,
    nudge TEXT,
    inputs TEXT NOT NULL,
    outputs TEXT NOT NULL,
    nodes TEXT NOT NULL,
    sigma TEXT NOT NULL,
    node_sigma TEXT NOT NULL,
    settle_time TEXT NOT NULL,
    status TEXT NOT NULL,
    time REAL NOT NULL
) STRICT;
CREATE INDEX points_by_purpose ON points (purpose, number);
CREATE TABLE events (id INTEGER PRIMARY KEY, time REAL NOT NULL, kind TEXT NOT NULL, detail TEXT NOT NULL) STRICT;
CREATE TABLE trainer (id INTEGER PRIMARY KEY CHECK (id = 1), state TEXT NOT NULL) STRICT;
CREATE TABLE outcome (id INTEGER PRIMARY KEY CHECK (id = 1), text TEXT NOT NULL) STRICT;
"""


@dataclass(frozen=True)
class Point:
    """One input, settled and read: what was asked and what came back. SI values throughout.

    Attributes
    ----------
    number: its place in the run, from 0.
    purpose: why it was asked, e.g. ``train`` or ``score``.
    knobs_asked, knobs: knob name -> value asked, and value read back.
    inputs_asked, inputs: in the order of the device's input channels.
    nudge: currents injected at the outputs, in A; None for none.
    reset: where the input started from: ``hold``, ``park`` or ``each``.
    outputs, sigma: readings and their standard deviations, in the order of the output channels.
    nodes, node_sigma: the same for every further node.
    settle_time: s; NaN where nothing settled.
    time: when it was committed, in s since 1970 (UTC).
    """

    number: int
    purpose: str
    knobs_asked: Mapping[str, float]
    knobs: Mapping[str, float]
    inputs_asked: tuple[float, ...]
    inputs: tuple[float, ...]
    nudge: tuple[float, ...] | None
    reset: str
    outputs: tuple[float, ...]
    nodes: tuple[float, ...]
    sigma: tuple[float, ...]
    node_sigma: tuple[float, ...]
    settle_time: float
    status: Status
    time: float


@dataclass(frozen=True)
class Event:
    """Something that happened in a run: its place (from 1), time (s since 1970, UTC), kind and details."""

    number: int
    time: float
    kind: str
    detail: dict[str, Any]


class Journal:
    """The record of one run. Made by :meth:`create` or :meth:`open`; may be called from any thread.

    Every writing method raises RecordError when what it was given could not be made durable; then nothing of it
    is in the journal.
    """

    def __init__(self, folder: Path, connection: sqlite3.Connection, ownership: Ownership | None) -> None:
        self.folder = folder
        self.header: dict[str, Any] = {}
        self._connection = connection
        self._ownership = ownership
        self._lock = threading.RLock()
        self._writer: int | None = None  # the thread whose transaction is open
        self._spoiled: BaseException | None = None

    @classmethod
    def create(cls, folder: Path, header: Mapping[str, Any]) -> Journal:
        """Start the journal of a new run in `folder`, which must not exist yet.

        `header` says what is needed to do the run again: station file text, versions, seed, ``backend`` (one of
        real, wire, model; required), task or procedure, method, budget, command. ``channels`` (a list of
        name, kind, unit) gives reports their units. ``simulated`` follows from the backend, ``created`` is added.

        Raises
        ------
        RecordError: the folder exists already or cannot be written, or the header is wrong.
        OwnershipError: another process is just making the same run.
        """
        folder = Path(folder)
        texts = {name: _encode(value, f"header {name}") for name, value in _complete(header, folder).items()}
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            raise RecordError(f"{folder} exists already; resume that run, or name the new one differently") from None
        except OSError as error:
            raise RecordError(f"{folder} cannot be made ({error}); make its parent writable") from None
        journal = cls._connect(folder, Ownership(folder / LOCK, f"run {folder.name}"), "rwc")
        try:
            journal._start_log()
            with journal.transaction():
                for statement in _SCHEMA.split(";\n"):
                    journal._write(statement)
                journal._write(f"PRAGMA application_id = {_APPLICATION}")
                journal._write(f"PRAGMA user_version = {_VERSION}")
                for name, text in texts.items():
                    journal._write("INSERT INTO header VALUES (?, ?)", (name, text))
            _sync_folder(folder)
            _sync_folder(folder.parent)
            journal._load_header()
        except BaseException:
            journal.close()
            raise
        return journal

    @classmethod
    def open(cls, folder: Path, *, writable: bool = True) -> Journal:
        """Open the journal of an earlier run, to go on with it or (``writable=False``) only to read it.

        Any number of processes may read while one writes.

        Raises
        ------
        RecordError: there is no journal in `folder`, or it is damaged or none of ours.
        OwnershipError: `writable`, and another process has it open for writing.
        """
        folder = Path(folder)
        if not (folder / FILE).is_file():
            raise RecordError(f"{folder} has no {FILE}; name the folder of a run")
        ownership = Ownership(folder / LOCK, f"run {folder.name}") if writable else None
        journal = cls._connect(folder, ownership, "rw" if writable else "ro")
        try:
            journal._check()
            journal._make_durable()
            journal._load_header()
        except BaseException:
            journal.close()
            raise
        return journal

    @staticmethod
    def holder(folder: Path) -> Owner | None:
        """The living process that has the run in `folder` open for writing, or None."""
        return owner_of(Path(folder) / LOCK)

    @property
    def outcome(self) -> str:
        """``running`` until it is finished, then ``finished``, ``stopped`` or ``failed: ...``."""
        rows = self._read("SELECT text FROM outcome")
        return rows[0][0] if rows else "running"

    @property
    def in_transaction(self) -> bool:
        """Whether this thread has a :meth:`transaction` open, so that what it wrote is not durable yet."""
        return self._writer == threading.get_ident()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything written within durable together, or nothing of it. May be nested."""
        with self._lock:
            if self.in_transaction:
                try:
                    yield
                except BaseException as error:
                    self._spoiled = error
                    raise
                return
            if self._ownership is None:
                raise RecordError(f"{self._name} was opened for reading; open it writable to add to it")
            self._execute("BEGIN IMMEDIATE")
            self._writer, self._spoiled = threading.get_ident(), None
            try:
                yield
                if self._spoiled is not None:
                    raise RecordError(
                        f"{self._name}: part of a transaction failed ({self._spoiled}); none of it is kept"
                    )
                self._execute("COMMIT")
            finally:
                self._writer = None
                if self._connection.in_transaction:
                    self._execute("ROLLBACK")

    def append(self, query: Query, response: Response, purpose: str = "train") -> None:
        """Record the rows of `response` as the answer to `query`; incidents and surroundings are events. All or none.

        Rows are numbered from ``query.number``, or from :meth:`last_number` + 1.

        Raises
        ------
        RecordError: they could not be made durable, do not fit each other, or a number is taken.
        """
        batch = len(response)
        asked = _rows(query.inputs, batch, "inputs asked")
        nudges = [None] * batch if query.nudge is None else _rows(query.nudge, batch, "nudge")
        columns = [
            _rows(getattr(response, name), batch, name)
            for name in ("inputs", "outputs", "nodes", "sigma", "node_sigma")
        ]
        settle_times = [json.dumps(value) for value in _column(response.settle_time, batch, "settle times")]
        settings = (_encode(query.knobs, "knobs asked"), _encode(response.knobs, "knobs read back"), query.reset)
        now = time.time()
        with self.transaction():
            first = self.last_number() + 1 if query.number is None else query.number
            key = self._settings(settings)
            for row in range(batch):
                self._write(
                    "INSERT INTO points VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        first + row,
                        purpose,
                        key,
                        asked[row],
                        nudges[row],
                        *(column[row] for column in columns),
                        settle_times[row],
                        str(response.status[row]),
                        now,
                    ),
                )
            for incident in response.incidents:
                self.event("line", message=incident)
            if response.surroundings:
                self.event("surroundings", number=first + batch - 1, monitors=response.surroundings)
            self._write("DELETE FROM outcome")

    def points(self, purpose: str | None = None, after: int = -1) -> list[Point]:
        """The points in order: all, or those of one purpose, or those whose number is above `after`."""
        where, values = _of_purpose(purpose)
        where, values = f"{where} AND number > ?", (*values, after)
        rows = self._read(
            "SELECT number, purpose, settings, inputs_asked, nudge, inputs, outputs, nodes, sigma, node_sigma,"
            f" settle_time, status, time FROM points WHERE {where} ORDER BY number",
            values,
        )
        # after the points: another process may be writing, and a point's settings are committed with it or before
        known: dict[int, tuple[dict[str, float], dict[str, float], str]] = {}
        for key, asked, back, reset in self._read(
            "SELECT id, knobs_asked, knobs, reset FROM settings"
            f" WHERE id IN (SELECT settings FROM points WHERE {where})",
            values,
        ):
            known[key] = (_floats_by_name(asked), _floats_by_name(back), reset)
        points = []
        for number, why, key, asked, nudge, inputs, outputs, nodes, sigma, node_sigma, settle_time, status, at in rows:
            knobs_asked, knobs, reset = known[key]
            points.append(
                Point(
                    number=number,
                    purpose=why,
                    knobs_asked=knobs_asked,
                    knobs=knobs,
                    inputs_asked=_floats(asked),
                    inputs=_floats(inputs),
                    nudge=None if nudge is None else _floats(nudge),
                    reset=reset,
                    outputs=_floats(outputs),
                    nodes=_floats(nodes),
                    sigma=_floats(sigma),
                    node_sigma=_floats(node_sigma),
                    settle_time=float(json.loads(settle_time)),
                    status=Status(status),
                    time=at,
                )
            )
        return points

    def count(self, purpose: str | None = None) -> int:
        """How many points there are, of one purpose or of all."""
        where, values = _of_purpose(purpose)
        return self._read(f"SELECT count(*) FROM points WHERE {where}", values)[0][0]

    def queries(self) -> int:
        """How many device queries were made: all points but those that only score, or are asked for evidence."""
        return sum(number for purpose, number in self.purposes().items() if is_counted(purpose))

    def purposes(self) -> dict[str, int]:
        """Purpose -> number of points, most frequent first."""
        return dict(self._read("SELECT purpose, count(*) FROM points GROUP BY purpose ORDER BY 2 DESC, 1"))

    def statuses(self) -> dict[str, int]:
        """Status -> number of points, most frequent first."""
        return dict(self._read("SELECT status, count(*) FROM points GROUP BY status ORDER BY 2 DESC, 1"))

    def settle_times(self) -> np.ndarray:
        """The settle times (s) of all points, (n,); NaN where nothing settled."""
        return np.array([float(json.loads(t)) for (t,) in self._read("SELECT settle_time FROM points ORDER BY number")])

    def last_time(self) -> float | None:
        """When the last point or event was written, in s since 1970 (UTC); None if there is none."""
        return self._read("SELECT max(time) FROM (SELECT time FROM points UNION ALL SELECT time FROM events)")[0][0]

    def last_number(self) -> int:
        """The number of the last point, -1 if there is none."""
        return self._read("SELECT coalesce(max(number), -1) FROM points")[0][0]

    def save_trainer(self, state: Mapping[str, Any]) -> None:
        """Keep a trainer's state (plain data with text keys) in place of the last one."""
        text = _encode(state, "trainer state")
        with self.transaction():
            self._write("INSERT OR REPLACE INTO trainer VALUES (1, ?)", (text,))

    def trainer_state(self) -> dict[str, Any] | None:
        """The newest trainer state, None if none was saved."""
        rows = self._read("SELECT state FROM trainer")
        return self._decode(rows[0][0]) if rows else None

    def event(self, kind: str, /, **detail: Any) -> None:
        """Record that something happened; `detail` is plain data."""
        text = _encode(detail, f"event {kind}")
        with self.transaction():
            self._write("INSERT INTO events (time, kind, detail) VALUES (?, ?, ?)", (time.time(), kind, text))

    def events(self, kind: str | None = None) -> list[Event]:
        """The events in order, of one kind or of all."""
        where, values = ("kind = ?", (kind,)) if kind is not None else ("1", ())
        rows = self._read(f"SELECT id, time, kind, detail FROM events WHERE {where} ORDER BY id", values)
        return [Event(number, at, what, self._decode(detail)) for number, at, what, detail in rows]

    def finish(self, outcome: str) -> None:
        """Say how the run ended: ``finished``, ``stopped`` or ``failed: ...``. A further point makes it run again.

        Raises
        ------
        RecordError: any other text.
        """
        outcome = " ".join(outcome.split())
        if outcome not in ("finished", "stopped") and not outcome.startswith("failed: "):
            raise RecordError(f"a run cannot end as '{outcome}'; say finished, stopped or 'failed: ...'")
        with self.transaction():
            self._write("INSERT OR REPLACE INTO outcome VALUES (1, ?)", (outcome,))

    def close(self) -> None:
        """Close the file and let go of the run. Closing twice does nothing."""
        with self._lock:
            self._connection.close()
            if self._ownership is not None:
                self._ownership.release()

    @property
    def _name(self) -> str:
        return f"run {self.folder.name}"

    @classmethod
    def _connect(cls, folder: Path, ownership: Ownership | None, mode: str) -> Journal:
        uri = f"{(folder / FILE).absolute().as_uri()}?mode={mode}"
        if mode == "ro" and not os.access(folder, os.W_OK) and not _has_log(folder):
            uri += "&immutable=1"  # an archived run on a read-only disk: no room for SQLite's shared memory
        try:
            connection = sqlite3.connect(
                uri, uri=True, timeout=_BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as error:
            if ownership is not None:
                ownership.release()
            raise RecordError(f"{folder / FILE} cannot be opened ({error}); check the folder's permissions") from None
        return cls(folder, connection, ownership)

    def _start_log(self) -> None:
        kept = self._execute("PRAGMA journal_mode = WAL")[0][0]
        if kept != "wal":
            raise RecordError(f"{self.folder} is on a disk without write-ahead logging ({kept}); use a local disk")
        self._make_durable()

    def _make_durable(self) -> None:
        self._execute("PRAGMA synchronous = FULL")
        self._execute("PRAGMA foreign_keys = ON")

    def _check(self) -> None:
        """Raise RecordError unless the file is a whole journal of a version that we read."""
        path = self.folder / FILE
        try:
            application = self._connection.execute("PRAGMA application_id").fetchone()[0]
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            faults = [row[0] for row in self._connection.execute("PRAGMA integrity_check(1)")]
        except sqlite3.OperationalError as error:
            raise RecordError(f"{path} cannot be read ({error}); check its permissions") from None
        except sqlite3.DatabaseError as error:
            raise RecordError(f"{path} is damaged or no labthermo journal ({error}); restore it from a copy") from None
        if application != _APPLICATION:
            raise RecordError(f"{path} is no labthermo journal; name the folder of a run")
        if version != _VERSION:
            raise RecordError(
                f"{path} has format {version}, this labthermo reads {_VERSION}; use the one that wrote it"
            )
        if faults != ["ok"]:
            fault = " ".join(str(faults[0]).split())
            raise RecordError(f"{path} is damaged ({fault}); restore it from a copy")

    def _load_header(self) -> None:
        self.header = {name: self._decode(text) for name, text in self._read("SELECT name, value FROM header")}

    def _settings(self, settings: tuple[str, str, str]) -> int:
        """The key of these settings: the last one's if they are the same, else a new one."""
        last = self._read("SELECT id, knobs_asked, knobs, reset FROM settings ORDER BY id DESC LIMIT 1")
        if last and last[0][1:] == settings:
            return last[0][0]
        self._write("INSERT INTO settings (knobs_asked, knobs, reset) VALUES (?, ?, ?)", settings)
        return self._read("SELECT max(id) FROM settings")[0][0]

    def _write(self, statement: str, values: Sequence[Any] = ()) -> None:
        if self._spoiled is not None:
            raise RecordError(f"{self._name}: nothing more can be written in this transaction ({self._spoiled})")
        try:
            self._execute(statement, values)
        except BaseException as error:
            self._spoiled = error
            raise

    def _read(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock:
            return self._execute(statement, values)

    def _execute(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            return self._connection.execute(statement, values).fetchall()
        except (sqlite3.Error, OverflowError, UnicodeError) as error:
            doing = "read" if statement.startswith(("SELECT", "PRAGMA")) else "written"
            advice = "check free disk space and who else has it open"
            raise RecordError(f"{self._name} cannot be {doing} ({error}); {advice}") from error

    def _decode(self, text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            raise RecordError(f"{self._name} holds damaged text ({error}); restore it from a copy") from None


def _complete(header: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    backend = header.get("backend")
    if backend not in BACKENDS:
        raise RecordError(
            f"run {folder.name}: header says backend {backend!r}; it must be one of {', '.join(BACKENDS)}"
        )
    simulated = backend != "real"
    if header.get("simulated", simulated) != simulated:
        raise RecordError(f"run {folder.name}: header says simulated={header['simulated']} with backend {backend}")
    created = datetime.now(UTC).isoformat(timespec="milliseconds")
    return {"created": created, **header, "simulated": simulated}


def is_counted(purpose: str) -> bool:
    """Whether points of this purpose are device queries of a budget."""
    return purpose.split(" ")[0] not in UNCOUNTED


def _encode(value: Any, what: str) -> str:
    try:
        return json.dumps(value, default=_plain, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise RecordError(f"{what} cannot be recorded ({error}); give numbers, text, lists and mappings") from None


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"no plain data: {type(value).__name__}")


def _rows(values: ArrayLike, batch: int, what: str) -> list[str]:
    """One JSON text per row of `values`, (batch, n) or, with one column or one row, 1-D."""
    array = np.asarray(values, dtype=float)
    if array.ndim == 1 and (batch == 1 or array.size == batch):
        array = array.reshape(batch, -1)
    if array.ndim != 2 or len(array) != batch:
        raise RecordError(f"{what} have shape {array.shape}, the response has {batch} rows; nothing was recorded")
    return [json.dumps(row) for row in array.tolist()]


def _column(values: ArrayLike, batch: int, what: str) -> list[float]:
    array = np.asarray(values, dtype=float)
    if array.shape != (batch,):
        raise RecordError(f"{what} have shape {array.shape}, the response has {batch} rows; nothing was recorded")
    return array.tolist()


def _of_purpose(purpose: str | None) -> tuple[str, tuple[str, ...]]:
    return ("1", ()) if purpose is None else ("purpose = ?", (purpose,))


def _floats(text: str) -> tuple[float, ...]:
    return tuple(map(float, json.loads(text)))


def _floats_by_name(text: str) -> dict[str, float]:
    return {name: float(value) for name, value in json.loads(text).items()}


def _has_log(folder: Path) -> bool:
    log = folder / f"{FILE}-wal"
    return log.exists() and log.stat().st_size > 0


def _sync_folder(folder: Path) -> None:
    """Make new entries of `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
