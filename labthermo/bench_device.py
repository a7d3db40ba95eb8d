"""A device made of instruments: every set-point through Guard, every answer by evidence."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from labthermo.channel import Channel
from labthermo.clock import Clock
from labthermo.config import Settle
from labthermo.device import Query, Response, Status
from labthermo.errors import InstrumentError, QueryError
from labthermo.fluidics import AbsorbanceLine, RateLine
from labthermo.instrument import Flag, GateDac, Instrument, Reading
from labthermo.limits import check_query
from labthermo.safety.guard import Guard, TripError
from labthermo.safety.signals import deaf, shielded
from labthermo.settling import WAIT, NoiseEstimate, settle
from labthermo.wiring import LeadLine, VoltageLine, Wiring

if TYPE_CHECKING:
    from labthermo.records.journal import Point

_FLAGS: dict[Flag, Status] = {
    "overflow": Status.OVERFLOW,
    "compliance": Status.COMPLIANCE,
    "invalid": Status.ABANDONED,
}


@dataclass(frozen=True)
class Usage:
    """reads: of all meters, those included that only watch; seconds: of bench time; delivered: pump -> L."""

    reads: int
    seconds: float
    delivered: dict[str, float]


class BenchDevice:
    """Queries through instruments: the `real` and `wire` backends alike.

    A device query is one input, settled, and one reading of every output and node at their integration times.
    The short readings that watch it settle are not averaged in.
    """

    def __init__(
        self,
        wiring: Wiring,
        guard: Guard,
        clock: Clock,
        settling: Settle,
        slowest: float = 0.0,
        balance: Callable[[str], float] | None = None,
    ) -> None:
        """slowest: the longest time constant, s, that device and amplifiers have by design.

        balance: weighs what has come out of a pump since it was weighed last, g.
        """
        self._channels = wiring.channels
        self._wiring = wiring
        self._guard = guard
        self._clock = clock
        self._settling = settling
        self._slowest = slowest
        self._noise = {
            line.channel.name: NoiseEstimate(line.meter_sigma(line.watching))
            for line in (*wiring.outputs, *wiring.nodes)
            if not isinstance(line, LeadLine)
        }
        lines = (*wiring.inputs, *wiring.knobs)
        self._sources: dict[int, Instrument] = {id(line.source): line.source for line in lines}
        self._sources |= {id(lead.meter): lead.meter for lead in wiring.leads}
        meters = {id(line.meter): line.meter for line in (*wiring.outputs, *wiring.nodes)}
        meters |= {id(line.monitor): line.monitor for line in wiring.monitors}
        self._instruments: tuple[Instrument, ...] = tuple({**self._sources, **meters}.values())
        self._closed = False
        self._asked: dict[str, float] = {}  # what inputs and knobs were asked last, as far as they are there still
        self._since = 0.0  # when one of them last moved
        self._balance = balance
        self._pumps = [line.channel.name for line in lines if isinstance(line, RateLine)]
        self._rates: dict[str, float] = {}  # L/s, that every pump was last seen to have
        self._metered = self._began = clock.now()
        self._delivered = dict.fromkeys(self._pumps, 0.0)
        self._reads = 0

    @property
    def channels(self) -> tuple[Channel, ...]:
        return self._channels

    @property
    def guard(self) -> Guard:
        """The guard of this device, for moves by hand."""
        return self._guard

    def is_connected(self, name: str) -> bool:
        """Whether a channel can be read: false for a lead whose meter's output is off."""
        leads = [line for line in self._wiring.leads if line.channel.name == name]
        return all(line.is_on() for line in leads)

    def read(self, name: str) -> Reading:
        """One channel as it is now: what an input or knob is set to, or one reading of an output or node.

        Raises
        ------
        QueryError: an unknown channel. InstrumentError: among others, the output of a lead's meter is off.
        """
        for line in (*self._wiring.outputs, *self._wiring.nodes):
            if line.channel.name == name:
                return line.read() if isinstance(line, LeadLine) else line.read(line.integration)
        if name not in (c.name for c in self._channels):
            raise QueryError(f"no channel {name!r}; there are {', '.join(c.name for c in self._channels)}")
        return Reading(self._guard.read([name])[name])

    def measure_leakage(self, name: str) -> Reading | None:
        """The current (A) out of the source of a knob, as it stands; None where that source cannot measure it.

        Raises
        ------
        QueryError: an unknown knob. InstrumentError: it does not answer.
        """
        for line in self._wiring.knobs:
            if line.channel.name == name:
                with shielded():
                    return line.source.measure_leakage(line.port) if isinstance(line.source, GateDac) else None
        raise QueryError(f"no knob {name!r}; there are {', '.join(k.channel.name for k in self._wiring.knobs)}")

    def stream(self, query: Query) -> Iterator[Response]:
        """Check the whole query, move the knobs, then answer input by input.

        Raises
        ------
        QueryError, LimitError: the query does not fit or leaves the limits; nothing was moved.
        """
        inputs, knobs = check_query(query, self._channels)
        delays = query.delays(len(inputs))
        names = [c.name for c in self._channels if c.kind == "input"]
        reached: dict[str, float] = {}
        for row, delay in zip(inputs, delays, strict=True):
            asked = {**knobs, **dict(zip(names, map(float, row), strict=True))}
            parked = query.reset == "each" or (query.reset == "park" and not reached)
            still = not parked and all(self._asked.get(name) == value for name, value in asked.items())
            try:
                if parked:
                    self._guard.move(dict.fromkeys(names, 0.0))
                if not reached:
                    moved = self._guard.move(knobs)
                    rest = [line.channel.name for line in self._wiring.knobs if line.channel.name not in moved]
                    reached = {**self._guard.read(rest), **moved}
                if query.reset == "each":
                    self._clock.sleep(WAIT * self._slowest)
                back = self._guard.move(dict(zip(names, map(float, row), strict=True)))
                surroundings = self._guard.watch()
            except TripError:
                self._asked.clear()
                yield self._tripped(names)
                continue
            if not still:
                self._asked.update(asked)
                self._since = self._clock.now()
            self._meter({**reached, **back})
            response = self._measure(np.array([[back[name] for name in names]]), reached, delay, surroundings)
            self._meter({})
            yield response

    def retrace(self, past: Sequence[Point]) -> None:
        """Bring inputs and knobs, through Guard, to where the last of these answered points left them.

        Nothing moves where they are there still. Else the inputs go, at the last point's knobs, through every turning
        point they went through since the knobs were last moved: a device with a memory may depend on its path.

        After a timed reading the way there is gone again at its own pace, since what is read next depends on it.

        Raises
        ------
        LimitError, ReadbackError, TripError: as :meth:`Guard.move`.
        """
        names = [line.channel.name for line in self._wiring.inputs]
        if past[-1].status is Status.TIMED:
            self._retrace_in_time(past, names)
            return
        knobs = past[-1].knobs
        wanted = {**knobs, **dict(zip(names, past[-1].inputs, strict=True))}
        found = self._guard.read()
        lines = (*self._wiring.inputs, *self._wiring.knobs)
        if all(abs(found[each.channel.name] - wanted[each.channel.name]) <= each.resolution for each in lines):
            return
        since = len(past)
        while since and past[since - 1].knobs == knobs:
            since -= 1
        path = np.array([point.inputs_asked for point in past[since:]])
        ways = np.sign(np.diff(path, axis=0))
        turns = [0, *(k + 1 for k in range(len(ways) - 1) if np.any(ways[k] != ways[k + 1])), len(path) - 1]
        self._guard.move(dict.fromkeys(names, 0.0))
        self._guard.move({**knobs, **past[-1].knobs_asked})  # as asked, where it was asked
        for k in turns:
            self._guard.move(dict(zip(names, map(float, path[k]), strict=True)))

    def _retrace_in_time(self, past: Sequence[Point], names: list[str]) -> None:
        """From the last reading that was not timed on, or from the beginning, every point for as long as it took."""
        first = len(past)
        while first and past[first - 1].status is Status.TIMED:
            first -= 1
        for point in past[max(0, first - 1) :]:
            asked = {**point.knobs_asked, **dict(zip(names, point.inputs_asked, strict=True))}
            if any(self._asked.get(n) != v for n, v in asked.items()):
                self._guard.move({**point.knobs, **asked})
                self._asked.update(asked)
                self._since = self._clock.now()
            self._clock.sleep(max(0.0, self._since + point.settle_time - self._clock.now()))

    def usage(self) -> Usage:
        """What has been used up since it was opened."""
        self._meter({})
        return Usage(self._reads, self._clock.now() - self._began, dict(self._delivered))

    def _meter(self, rates: dict[str, float]) -> None:
        """Count what has flowed until now; from here on pumps run at these rates, L/s."""
        now = self._clock.now()
        for pump, rate in self._rates.items():
            self._delivered[pump] += rate * (now - self._metered)
        self._metered = now
        self._rates.update({name: rate for name, rate in rates.items() if name in self._pumps})

    def weigh(self, pump: str) -> float:
        """Stop a pump, an input or a knob, and weigh (g) what has come out of it since it was weighed last.

        Raises
        ------
        QueryError: there is no such pump. InstrumentError: there is no balance, or the pump does not stop.
        """
        if pump not in self._pumps:
            raise QueryError(f"no pump {pump!r}; there are {', '.join(self._pumps) or 'none'}")
        if self._balance is None:
            raise InstrumentError(f"{pump}: there is no balance to weigh it with")
        self._meter(self._guard.move({pump: 0.0}))
        self._asked[pump] = 0.0
        self._since = self._clock.now()
        return self._balance(pump)

    def take_incidents(self) -> tuple[str, ...]:
        """What went wrong on the lines and was mended since this was last asked."""
        return tuple(each.incidents.popleft() for each in self._instruments for _ in range(len(each.incidents)))

    def query(self, query: Query) -> Response:
        return Response.join(list(self.stream(query)))

    def park(self) -> None:
        """Go to the safe state.

        Raises
        ------
        InstrumentError: it was not reached; the message says what failed.
        """
        self._asked.clear()
        failures = self._guard.make_safe()
        self._meter({})
        if self._pumps and not failures:
            self._rates = {name: rate for name, rate in self._guard.read().items() if name in self._pumps}
        _complain(failures)

    def close(self) -> None:
        """Go to the safe state and disconnect the leads; raises as :meth:`park`. Closing twice does nothing."""
        with deaf():
            if not self._closed:
                failures = self._guard.make_safe() + self._guard.release()
                self._closed = True
                _complain(failures)

    def _measure(
        self,
        inputs: NDArray[np.float64],
        knobs: dict[str, float],
        delay: float | None,
        surroundings: dict[str, tuple[float, str]],
    ) -> Response:
        """delay: s after the last set-point, at which to read; None: when it has settled."""
        since = self._clock.now()
        rules = self._settling
        status: Status = Status.SETTLED
        waited = 0.0
        if delay is not None:
            self._clock.sleep(max(0.0, self._since + delay - since))
            status = Status.TIMED
        for line in self._wiring.outputs if delay is None else ():
            watched = settle(
                lambda line=line: self._look(line, line.watching),
                self._clock,
                since,
                self._noise[line.channel.name],
                rules.tolerance,
                rules.confidence,
                rules.timeout,
                self._slowest,
                rules.least,
            )
            waited = max(waited, watched.time)
            if not watched.settled:
                status = Status.UNSETTLED
        if not self._wiring.outputs and delay is None:  # nothing is watched: wait for what is slow by design
            self._clock.sleep(WAIT * self._slowest)
            waited = self._clock.now() - since
        flags: list[Flag] = []
        values, sigmas = {}, {}
        for line in (*self._wiring.outputs, *self._wiring.nodes):
            name = line.channel.name
            reading = line.read() if isinstance(line, LeadLine) else self._look(line, line.integration)
            if reading.flag != "ok":
                flags.append(reading.flag)
            values[name] = reading.value
            sigmas[name] = self._sigma(line)
        with shielded():
            for source in self._sources.values():
                source.refuse_reboot()  # else what was read may have been read with the source at its defaults
        if delay is not None:
            waited = self._clock.now() - self._since
        outputs = [line.channel.name for line in self._wiring.outputs]
        nodes = [line.channel.name for line in self._wiring.nodes]
        return Response(
            outputs=np.array([[values[n] for n in outputs]]),
            nodes=np.array([[values[n] for n in nodes]]).reshape(1, len(nodes)),
            sigma=np.array([[sigmas[n] for n in outputs]]),
            node_sigma=np.array([[sigmas[n] for n in nodes]]).reshape(1, len(nodes)),
            settle_time=np.array([waited]),
            status=(_FLAGS[flags[0]] if flags else status,),
            inputs=inputs,
            knobs=knobs,
            incidents=self.take_incidents(),
            surroundings=surroundings,
        )

    def _look(self, line: VoltageLine | AbsorbanceLine, integration: float) -> Reading:
        self._reads += 1
        return line.read(integration)

    def _sigma(self, line: VoltageLine | AbsorbanceLine | LeadLine) -> float:
        """Of one reading that counts: for a voltage what the watching reads have shown, averaged as white noise."""
        if isinstance(line, LeadLine):
            return line.sigma()
        watched = self._noise[line.channel.name].sigma()
        return max(watched * math.sqrt(line.watching / line.integration), line.meter_sigma(line.integration))

    def _tripped(self, names: list[str]) -> Response:
        """Nothing was read; inputs and knobs are where the interlock has brought them."""
        back = self._guard.read()
        outputs = np.full((1, len(self._wiring.outputs)), np.nan)
        nodes = np.full((1, len(self._wiring.nodes)), np.nan)
        return Response(
            outputs=outputs,
            nodes=nodes,
            sigma=outputs,
            node_sigma=nodes,
            settle_time=np.array([0.0]),
            status=(Status.TRIPPED,),
            inputs=np.array([[back[name] for name in names]]),
            knobs={name: value for name, value in back.items() if name not in names},
            incidents=self.take_incidents(),
        )


def _complain(failures: list[str]) -> None:
    if failures:
        raise InstrumentError(f"the safe state was not reached: {'; '.join(failures)}; look at the bench at once")
