"""A run: a device with its journal. Nothing is shown that is not committed."""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from labthermo.bench_device import BenchDevice
from labthermo.device import Device, Query, Response, channels_of
from labthermo.errors import InstrumentError, LabThermoError, ParameterError, QueryError, RecordError
from labthermo.records.journal import Journal, Point
from labthermo.records.replay import Record
from labthermo.twin import Twin

_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Run:
    """A device with its journal: :meth:`query` queries, commits, then returns.

    `on_point` is called with every point after it is committed, for progress and live plots. `replay`: whoever asks
    starts from the beginning of a journal that has points already, as a procedure does that is resumed. What it asks
    is then answered from the record as long as that lasts, and what it has recorded is not recorded again. `twin`
    makes a fresh twin of the device as designed, for procedures that use one.
    """

    def __init__(
        self,
        device: Device,
        journal: Journal,
        *,
        on_point: Callable[[Point], None] | None = None,
        replay: bool = False,
        twin: Callable[[], Twin] | None = None,
    ) -> None:
        self._device = device
        self._twin = twin
        self._journal = journal
        self._on_point = on_point
        self._record = Record(journal) if replay else None
        self._broken: RecordError | None = None
        self._used: dict[str, Any] = {}  # what is recorded already of what this session has used up
        self._closed = False
        if isinstance(device, BenchDevice):
            device.on_refill = lambda refill: journal.event("refill", **asdict(refill))

    @property
    def device(self) -> Device:
        """The device itself: what it answers directly is not recorded."""
        return self._device

    @property
    def journal(self) -> Journal:
        """The record of this run."""
        return self._journal

    def twin(self) -> Twin:
        """A fresh twin of the device as designed.

        Raises
        ------
        ParameterError: this run was made without its station, and has none.
        """
        if self._twin is None:
            raise ParameterError("this run has no twin; make it with Station.run")
        return self._twin()

    def query(self, query: Query, purpose: str = "train") -> Response:
        """Ask the device and commit every part of its answer as it comes; only then hand it on.

        Inputs are numbered on from the journal's last, whatever ``query.number`` says. `purpose` says why they are
        asked; ``score`` is for the hold-out grid, which no budget counts.

        Raises
        ------
        QueryError: the query does not fit the device.
        RecordError: an answer could not be committed: it is not shown, and this run answers no more. Or, in a replay,
        the record has another question in this place.
        """
        if self._broken is not None:
            raise RecordError(f"this run has ended, its record could not be written: {self._broken}")
        if self._journal.in_transaction:
            raise RecordError(
                "a query within a journal transaction would be shown before it is committed; end it first"
            )
        inputs = query.input_array(channels_of(self._device, "input"))
        batch = len(inputs)
        if batch == 0:
            raise QueryError("a query needs at least one input")
        nudge = None if query.nudge is None else np.asarray(query.nudge, dtype=float).reshape(batch, -1)
        first = self._journal.last_number() + 1
        answered: list[Response] = []
        done = 0
        if self._record is not None:
            answered = self._record.answers(self._device, replace(query, inputs=inputs, nudge=nudge), purpose)
            done = len(answered)
            first -= done
            if done == batch:
                return Response.join(answered)
        whole = replace(query, inputs=inputs, nudge=nudge, number=first)
        after = None if query.after is None else np.asarray(query.after, dtype=float)
        # what is left of an interrupted batch starts where the record ends, whatever the batch started from
        rest = whole
        if done:
            left = None if nudge is None else nudge[done:]
            late = None if after is None else after[done:]
            reset = "each" if query.reset == "each" else "hold"
            rest = replace(whole, inputs=inputs[done:], nudge=left, number=first + done, reset=reset, after=late)
        stream = self._device.stream(rest)
        try:
            for part in stream:
                rows = slice(done, done + len(part))
                asked = replace(
                    whole,
                    inputs=inputs[rows],
                    nudge=None if nudge is None else nudge[rows],
                    number=first + done,
                )
                self._commit(asked, part, purpose)
                answered.append(part)
                done += len(part)
        except InstrumentError:
            take = getattr(self._device, "take_incidents", None)  # what a bench has mended before this could not be
            for incident in take() if take is not None else ():
                self._journal.event("line", message=incident)
            raise
        finally:
            close = getattr(stream, "close", None)
            if close is not None:
                close()
        if done != batch:
            raise QueryError(f"the device answered {done} of {batch} inputs; what it answered is in the journal")
        return Response.join(answered)

    def event(self, kind: str, /, **detail: Any) -> None:
        """Record that something happened; see :meth:`Journal.event`. In a replay, what is recorded already stays."""
        if self._record is None or self._record.event(kind) is None:
            self._journal.event(kind, **detail)

    def leakage(self, knob: str) -> float | None:
        """Measure the current (A) out of the source of a knob, where it stands, and record it as an event.

        NaN where it is beyond what the source can measure, None where nothing measures it: a source without a meter,
        or no instruments at all. In a replay, what the record has.

        Raises
        ------
        QueryError: an unknown knob. RecordError: it could not be recorded.
        """
        if self._record is not None:
            known = self._record.event("leakage")
            if known is not None:
                return known.detail["current"]
            self._record.arrive(self._device)
        measure = getattr(self._device, "measure_leakage", None)
        reading = None if measure is None else measure(knob)
        current = None if reading is None else reading.value if reading.flag == "ok" else math.nan
        self._journal.event("leakage", knob=knob, current=current)
        return current

    def weigh(self, pump: str) -> float:
        """Stop a pump and weigh (g) what has come out of it since it was weighed last; recorded as an event.

        On a real bench the operator says what the balance shows; a simulated one knows. In a replay, what the record
        has.

        Raises
        ------
        InstrumentError: there is no balance. QueryError: no such pump. RecordError: it could not be recorded.
        """
        weigh = getattr(self._device, "weigh", None)
        if weigh is None:
            raise InstrumentError("this device has no balance; a pump is weighed on a flow bench")
        if self._record is not None:
            known = self._record.event("weight")
            if known is not None:
                self._record.weighed()
                if not hasattr(self._device, "retrace"):
                    weigh(pump)  # a model has no other memory
                return known.detail["weight"]
            self._record.arrive(self._device)
        weight = float(weigh(pump))
        self._journal.event("weight", pump=pump, weight=weight)
        return weight

    def record_usage(self, of: str = "") -> None:
        """Record as an event what the bench has used up since this was last done, and what for; nothing on a model.

        of: ``training``, or empty for everything else.

        Raises
        ------
        RecordError: it could not be recorded.
        """
        usage = getattr(self._device, "usage", None)
        if usage is not None:
            now = asdict(usage())
            self._journal.event("usage", of=of, **_since(now, self._used))
            self._used = now

    def close(self) -> None:
        """Park the device and close the journal, in this order, once. What fails in parking is recorded and raised."""
        if self._closed:
            return
        self._closed = True
        try:
            self._device.park()
            self.record_usage()
        except LabThermoError as error:
            self._journal.event("park_failed", message=str(error))
            raise
        finally:
            self._journal.close()

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _commit(self, asked: Query, part: Response, purpose: str) -> None:
        last = self._journal.last_number()
        try:
            self._journal.append(asked, part, purpose)
        except RecordError as error:
            self._broken = error
            raise
        if self._on_point is not None:
            for point in self._journal.points(after=last):
                self._on_point(point)


def _since(now: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """What has been added to counts, and to counts by name."""
    return {
        name: _since(value, before.get(name, {})) if isinstance(value, dict) else value - before.get(name, 0)
        for name, value in now.items()
    }


def new_run_id() -> str:
    """A name for a new run, e.g. ``20261123-231502-7f3a``: the time in UTC and four random hex digits."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def run_folder(runs: Path, run_id: str) -> Path:
    """The folder of a run within `runs`.

    Raises
    ------
    ParameterError: `run_id` is not 1 to 64 letters, digits, dots, dashes and underscores, the first a letter or digit.
    """
    if not _RUN_NAME.fullmatch(run_id):
        raise ParameterError(
            f"run name {run_id[:80]!r} is not allowed; use up to 64 letters, digits, '.', '_' and '-', no other first"
        )
    return Path(runs) / run_id
