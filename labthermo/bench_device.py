"""A device made of instruments: every set-point through Guard, every answer by evidence."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from labthermo.channel import Channel
from labthermo.clock import Clock
from labthermo.config import Settle
from labthermo.device import Query, Response, Status
from labthermo.errors import QueryError
from labthermo.limits import check_knobs, check_values
from labthermo.safety.guard import Guard, TripError
from labthermo.settling import NoiseEstimate, settle
from labthermo.wiring import LeadLine, VoltageLine, Wiring

WATCH = 5  # watching reads are this many times shorter than the reading that counts

_FLAGS: dict[str, Status] = {"overflow": Status.OVERFLOW, "compliance": Status.COMPLIANCE}


class BenchDevice:
    """Queries through instruments: the `real` and `wire` backends alike.

    A device query is one input, settled, and one reading of every output and node at their integration times.
    The short readings that watch it settle are not averaged in.
    """

    def __init__(
        self, channels: tuple[Channel, ...], wiring: Wiring, guard: Guard, clock: Clock, settling: Settle
    ) -> None:
        self._channels = channels
        self._wiring = wiring
        self._guard = guard
        self._clock = clock
        self._settling = settling
        self._noise = {
            line.channel.name: NoiseEstimate(line.meter_sigma(line.integration / WATCH))
            for line in (*wiring.outputs, *wiring.nodes)
            if isinstance(line, VoltageLine)
        }
        self._closed = False

    @property
    def channels(self) -> tuple[Channel, ...]:
        return self._channels

    @property
    def guard(self) -> Guard:
        """The guard of this device, for moves by hand."""
        return self._guard

    def stream(self, query: Query) -> Iterator[Response]:
        """Check the whole query, move the knobs, then answer input by input.

        Raises
        ------
        QueryError, LimitError: the query does not fit or leaves the limits; nothing was moved.
        """
        columns = [c for c in self._channels if c.kind == "input"]
        inputs = query.input_array(columns)
        if query.nudge is not None:
            raise QueryError("this device has no current source at its outputs; leave nudge out")
        if query.reset not in ("hold", "park"):
            raise QueryError(f"reset {query.reset!r} is not known; it is hold or park")
        knobs = check_knobs(query.knobs, self._channels)
        check_values(inputs, self._channels)
        names = [c.name for c in columns]
        reached: dict[str, float] = {}
        for row in inputs:
            try:
                if not reached:
                    if query.reset == "park":
                        self._guard.move(dict.fromkeys(names, 0.0))
                    present = {line.channel.name: line.read_back() for line in self._wiring.knobs}
                    reached = {**present, **self._guard.move(knobs)}
                back = self._guard.move(dict(zip(names, map(float, row), strict=True)))
            except TripError:
                yield self._empty(Status.TRIPPED, row, knobs)
                continue
            yield self._measure(np.array([[back[name] for name in names]]), reached)

    def query(self, query: Query) -> Response:
        return Response.join(list(self.stream(query)))

    def park(self) -> None:
        self._guard.make_safe()

    def close(self) -> None:
        """Go to the safe state and disconnect the leads. Closing twice does nothing."""
        if not self._closed:
            self._closed = True
            self._guard.make_safe()
            self._guard.release()

    def _measure(self, inputs: NDArray[np.float64], knobs: dict[str, float]) -> Response:
        since = self._clock.now()
        rules = self._settling
        status: Status = Status.SETTLED
        waited = 0.0
        for line in self._wiring.outputs:
            watched = settle(
                lambda line=line: line.read(line.integration / WATCH),
                self._clock,
                since,
                self._noise[line.channel.name],
                rules.tolerance,
                rules.confidence,
                rules.timeout,
            )
            waited = max(waited, watched.time)
            if watched.flag != "ok":
                status = _FLAGS[watched.flag]
            elif not watched.settled and status == Status.SETTLED:
                status = Status.UNSETTLED
        values, sigmas = {}, {}
        for line in (*self._wiring.outputs, *self._wiring.nodes):
            name = line.channel.name
            reading = line.read() if isinstance(line, LeadLine) else line.read(line.integration)
            if reading.flag != "ok":
                status = _FLAGS[reading.flag]
            values[name] = reading.value
            sigmas[name] = self._sigma(line)
        outputs = [line.channel.name for line in self._wiring.outputs]
        nodes = [line.channel.name for line in self._wiring.nodes]
        return Response(
            outputs=np.array([[values[n] for n in outputs]]),
            nodes=np.array([[values[n] for n in nodes]]).reshape(1, len(nodes)),
            sigma=np.array([[sigmas[n] for n in outputs]]),
            node_sigma=np.array([[sigmas[n] for n in nodes]]).reshape(1, len(nodes)),
            settle_time=np.array([waited]),
            status=(status,),
            inputs=inputs,
            knobs=knobs,
        )

    def _sigma(self, line: VoltageLine | LeadLine) -> float:
        """Of one reading that counts: for a voltage what the watching reads have shown, averaged as white noise."""
        if isinstance(line, LeadLine):
            return line.sigma()
        watched = self._noise[line.channel.name].sigma(np.empty(0))
        return max(watched / math.sqrt(WATCH), line.meter_sigma(line.integration))

    def _empty(self, status: Status, row: NDArray[np.float64], knobs: dict[str, float]) -> Response:
        n_out, n_nodes = len(self._wiring.outputs), len(self._wiring.nodes)
        nothing, none = np.full((1, n_out), np.nan), np.full((1, n_nodes), np.nan)
        return Response(nothing, none, nothing, none, np.array([0.0]), (status,), row[None, :], knobs)

