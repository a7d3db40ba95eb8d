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
from labthermo.instrument import TOPPED_UP, Flag, GateDac, Instrument, Reading
from labthermo.limits import check_query
from labthermo.quantity import format_quantity
from labthermo.safety.guard import Guard, TripError
from labthermo.safety.signals import deaf, shielded
from labthermo.settling import WAIT, Foresight, NoiseEstimate, SameWait, settle
from labthermo.wiring import LeadLine, VoltageLine, Wiring

if TYPE_CHECKING:
    from labthermo.records.journal import Point

_FLAGS: dict[Flag, Status] = {
    "overflow": Status.OVERFLOW,
    "compliance": Status.COMPLIANCE,
    "invalid": Status.ABANDONED,
}


RESERVE = 0.02
"""Of a syringe's volume, what is not counted on: a plastic one is up to 1 % off, and readings take time, too."""
RAMPS = 3.0  # full ones, that come before an answer at most: park, knobs, inputs


@dataclass(frozen=True)
class Refill:
    """One refill of all syringes that wanted it.

    seconds: of bench time since the device was opened, at its end; lasted: s, from the pumps' stop to their restart;
    volumes: pump -> L that were drawn.
    """

    seconds: float
    lasted: float
    volumes: dict[str, float]


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

    Before an input whose answer could find a syringe empty, every syringe that can be is filled, with all pumps at rest
    meanwhile, and the device settles anew. Timed readings are never interrupted: there it is filled before the query.
    `on_refill` is told of each refill.
    """

    def __init__(
        self,
        wiring: Wiring,
        guard: Guard,
        clock: Clock,
        settling: Settle,
        slowest: float = 0.0,
        balance: Callable[[str], float] | None = None,
        foresight: Foresight | None = None,
    ) -> None:
        """slowest: the longest time constant, s, that device and amplifiers have by design.

        foresight: how long nothing is to be believed, where the station's `settle.least` leaves that to the design.
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
        self._foresight = foresight or SameWait(settling.least or 0.0)
        self._balance = balance
        self._pumps = [line.channel.name for line in lines if isinstance(line, RateLine)]
        self._rates: dict[str, float] = {}  # L/s, that every pump was last seen to have
        self._metered = self._began = clock.now()
        self._delivered = dict.fromkeys(self._pumps, 0.0)
        self._reads = 0
        self._syringes = [line for line in lines if isinstance(line, RateLine) and line.source.syringe_volume > 0.0]
        self.on_refill: Callable[[Refill], None] | None = None

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
        InstrumentError: among others, a syringe could be empty before the answer is there, and cannot be filled.
        """
        inputs, knobs = check_query(query, self._channels)
        delays = query.delays(len(inputs))
        names = [c.name for c in self._channels if c.kind == "input"]
        reached: dict[str, float] = {}
        settings = [{**knobs, **dict(zip(names, map(float, row), strict=True))} for row in inputs]
        timed = any(delay is not None for delay in delays)
        for k, (row, delay, asked) in enumerate(zip(inputs, delays, settings, strict=True)):
            parked = query.reset == "each" or (query.reset == "park" and not reached)
            try:
                if self._syringes and not (timed and k):
                    stretch = self._stretch(settings[k:] if timed else [asked], delays[k:], query.reset)
                    self._provide(stretch, timed and not parked and self._is_at(asked))
                still = not parked and self._is_at(asked)
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
            except TripError as trip:
                self._forget()
                yield self._tripped(names, trip.surroundings)
                continue
            if not still:
                self._asked.update(asked)
                self._since = self._clock.now()
            self._meter({**reached, **back})
            setting = {**reached, **back}
            if query.reset == "each":
                self._foresight.elapse({**reached, **dict.fromkeys(names, 0.0)}, WAIT * self._slowest)
            least = self._foresight.wait(setting)
            moved = self._clock.now()
            row_read = np.array([[back[name] for name in names]])
            try:
                response = self._measure(row_read, reached, delay, surroundings, least)
            except BaseException:
                self._foresight.forget()  # it has left the setting before, for nobody knows how long
                raise
            self._foresight.elapse(setting, self._clock.now() - moved)
            self._meter({})
            yield response

    def _forget(self) -> None:
        """Nobody knows any more where it stands."""
        self._asked.clear()
        self._foresight.forget()

    def _is_at(self, asked: dict[str, float]) -> bool:
        """Whether inputs and knobs are there already, and have been asked for it."""
        return all(self._asked.get(name) == value for name, value in asked.items())

    def _stretch(
        self, settings: Sequence[dict[str, float]], delays: Sequence[float | None], reset: str
    ) -> list[tuple[dict[str, float], float]]:
        """What is to flow until these are answered: what is asked, and for how long at most, s."""
        found: list[tuple[dict[str, float], float]] = []
        asked, passed = self._asked, self._clock.now() - self._since  # s since the last set-point
        for setting, delay in zip(settings, delays, strict=False):
            if reset == "each" or any(asked.get(name) != value for name, value in setting.items()):
                passed = 0.0
            asked = setting
            if delay is not None:
                lasts = max(0.0, delay - passed)
                passed = max(passed, delay)
            else:
                lasts = self._settling.timeout if self._wiring.outputs else WAIT * self._slowest
                passed += lasts
            found.append((setting, lasts + (WAIT * self._slowest if reset == "each" else 0.0)))
        return found

    def _provide(self, stretch: Sequence[tuple[dict[str, float], float]], continued: bool) -> None:
        """See to it that no syringe runs empty meanwhile. continued: a series of timed readings has begun before.

        Raises
        ------
        InstrumentError: one could, and cannot be filled, or not now; nothing was moved.
        """
        empty = False
        moving = (*self._wiring.inputs, *self._wiring.knobs)
        ramps = RAMPS * max(line.channel.maximum / line.channel.slew for line in moving)
        for line in self._syringes:
            name, size = line.channel.name, line.source.syringe_volume
            with shielded():
                left = line.source.remaining_volume()
            if left.flag != "ok":
                raise InstrumentError(
                    f"{name}: what its syringe holds is not known; nothing was moved: fill it, then `labthermo home "
                    f"STATION {name}`"
                )
            rate, need = max(0.0, line.read_back()), 0.0
            for asked, lasts in stretch:
                before, rate = rate, asked.get(name, rate)
                need += max(before, rate) * ramps + rate * lasts
            if need <= left.value - RESERVE * size:
                continue
            wanted = format_quantity(need, "L", 3)
            holds = f"{name}: its syringe holds {format_quantity(max(left.value, 0.0), 'L', 3)}"
            if line.source.refill_rate == 0.0:
                raise InstrumentError(
                    f"{holds}, and {wanted} could be needed until the answer is there; nothing was moved: fill it, "
                    f"then `labthermo home STATION {name}`, or give the pump check valves, a bottle and the option "
                    "refill_rate"
                )
            if need > (1.0 - TOPPED_UP - RESERVE) * size:
                raise InstrumentError(
                    f"{name}: {wanted} could be needed until the answer is there, more than a full syringe of "
                    f"{format_quantity(size, 'L', 3)} gives; nothing was moved: take a larger syringe, a shorter "
                    "settle.timeout, or a shorter series of timed readings"
                )
            if continued:
                raise InstrumentError(
                    f"{holds}, {wanted} could be needed, and a series of timed readings is not interrupted to fill it; "
                    "nothing was moved: ask for the whole series in one query, which is begun with a full syringe"
                )
            empty = True
        if empty:
            self._refill()

    def _refill(self) -> None:
        began, rates = self._clock.now(), dict(self._rates)
        self._forget()
        self._meter(dict.fromkeys(self._pumps, 0.0))
        volumes = self._guard.refill()
        self._meter(rates)
        now = self._clock.now()
        if self.on_refill is not None:
            self.on_refill(Refill(now - self._began, now - began, volumes))

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
        self._foresight.forget()
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
        self._rates.update({name: max(0.0, rate) for name, rate in rates.items() if name in self._pumps})

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
        self._foresight.forget()
        self._since = self._clock.now()
        return self._balance(pump)

    def home(self, pump: str) -> float:
        """An operator's word that the syringe of a pump, an input or a knob, is full now; the L that it holds then.

        Raises
        ------
        QueryError: there is no such pump. InstrumentError: the station file does not say what its syringe holds, the
        pump runs, or it does not answer.
        """
        for line in self._syringes:
            if line.channel.name == pump:
                with shielded():
                    line.source.home(line.source.syringe_volume)
                return line.source.syringe_volume
        if pump not in self._pumps:
            raise QueryError(f"no pump {pump!r}; there are {', '.join(self._pumps) or 'none'}")
        raise InstrumentError(f"{pump}: what its syringe holds is not known; give its driver the option syringe_volume")

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
        self._forget()
        failures = self._guard.make_safe()
        self._meter({})
        if self._pumps and not failures:
            self._meter(self._guard.read())
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
        least: float,
    ) -> Response:
        """delay: s after the last set-point, at which to read; None: when it has settled, after `least` s or later."""
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
                least,
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

    def _tripped(self, names: list[str], surroundings: dict[str, tuple[float, str]]) -> Response:
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
            surroundings=surroundings,
        )


def _complain(failures: list[str]) -> None:
    if failures:
        raise InstrumentError(f"the safe state was not reached: {'; '.join(failures)}; look at the bench at once")
