"""The committed part of an interrupted run, given out once more to a procedure that starts again from its beginning."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from labthermo.device import Device, Query, Response, Status
from labthermo.errors import RecordError
from labthermo.records.journal import Event, Journal, Point

OF_THE_RUN = frozenset({"line", "loophole", "park_failed", "refill", "resumed", "surroundings", "usage"})
"""Kinds of events that no procedure has recorded: they do not come again."""


class Record:
    """Answers and events of a journal as it is now, in order, each given out once.

    A procedure that asks the same questions whenever it gets the same answers needs nothing else to be resumed.
    """

    def __init__(self, journal: Journal) -> None:
        self._name = journal.folder.name
        self._points = deque(journal.points())
        self._events = deque(e for e in journal.events() if e.kind not in OF_THE_RUN)
        self._past: list[Point] = []

    def answers(self, device: Device, query: Query, purpose: str) -> list[Response]:
        """What the record has of this query, one response a row; empty, or less than all of it, where it ends.

        query: inputs as (batch, n_inputs). The device is brought to where the record's last point left it: a bench
        once, before the first question that it is asked itself; a model, which has no other memory, by asking it all
        again.

        Raises
        ------
        RecordError: the record has another question in this place.
        """
        if not self._past and not self._points:
            return []
        inputs = np.asarray(query.inputs)
        nudge = None if query.nudge is None else np.asarray(query.nudge)
        known: list[Point] = []
        while self._points and len(known) < len(inputs):
            point, row = self._points.popleft(), len(known)
            self._compare(point, query, inputs[row], None if nudge is None else nudge[row], purpose)
            known.append(point)
        self._past += known
        if known and not hasattr(device, "retrace"):
            rows = slice(0, len(known))
            late = None if query.after is None else np.asarray(query.after)[rows]
            device.query(
                Query(
                    query.knobs,
                    inputs[rows],
                    None if nudge is None else nudge[rows],
                    query.reset,
                    known[0].number,
                    late,
                )
            )
        if len(known) < len(inputs):
            self.arrive(device)
        return [as_response([point]) for point in known]

    def arrive(self, device: Device) -> None:
        """Where the record has come to its end, bring a bench to where its last point left it, once."""
        retrace = getattr(device, "retrace", None)
        if self._past and not self._points and retrace is not None:
            retrace(self._past)
        self._past = []

    def weighed(self) -> None:
        """What was pumped until here is in the beaker and off the balance: it is not pumped once more."""
        if self._past:
            self._past[-1] = replace(self._past[-1], status=Status.SETTLED, settle_time=0.0)

    def event(self, kind: str) -> Event | None:
        """The next event of the record, if it is of this kind: it has happened then, and is not recorded again."""
        return self._events.popleft() if self._events and self._events[0].kind == kind else None

    def _compare(self, point: Point, query: Query, row: np.ndarray, nudge: np.ndarray | None, purpose: str) -> None:
        has = (point.purpose, dict(point.knobs_asked), point.inputs_asked, point.nudge, point.reset)
        asks = (
            purpose,
            {name: float(value) for name, value in query.knobs.items()},
            tuple(row.tolist()),
            None if nudge is None else tuple(nudge.tolist()),
            query.reset,
        )
        if has != asks:
            raise RecordError(
                f"{self._name}: the record has {has} as number {point.number} where the procedure now asks {asks}; "
                "it was made by another version: run the procedure again instead"
            )


def as_response(points: Sequence[Point]) -> Response:
    """What the device answered, as it was; at least one point."""
    return Response(
        outputs=np.array([p.outputs for p in points]),
        nodes=np.array([p.nodes for p in points]),
        sigma=np.array([p.sigma for p in points]),
        node_sigma=np.array([p.node_sigma for p in points]),
        settle_time=np.array([p.settle_time for p in points]),
        status=tuple(p.status for p in points),
        inputs=np.array([p.inputs for p in points]),
        knobs=points[-1].knobs,
    )
