"""Faults: what a line and an instrument do to a lab at night, injected on purpose (:mod:`labthermo.faults`).

Counted in replies, so that a test says exactly which one is hit; or by bench time; or by chance, from a seed.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from labthermo.faults import (
    REPLIES,
    DelayedFault,
    Fault,
    LineFault,
    OwnFault,
    RandomFault,
    ReplyFault,
    ReplyKind,
    SampleFault,
    SlowFault,
)
from simulators.wire.trickle import Trickle


@dataclass(frozen=True)
class Chance:
    """Every reply goes wrong with this `probability` (0 to 1), in one of `kinds` (drawn alike), from `seed` on."""

    probability: float
    kinds: tuple[ReplyKind, ...] = REPLIES
    seed: int = 0
    delay: float = 0.1  # s, of a late one

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"a probability is 0 to 1, not {self.probability}")
        if not self.kinds or not set(self.kinds) <= set(REPLIES):
            raise ValueError(f"faults of a reply are {', '.join(REPLIES)}, not {', '.join(self.kinds) or 'none'}")


class FaultyWorld(Protocol):
    """What faults need of the bench: its time against wall time, and the sample. Only what is used need be there."""

    def catch_up(self) -> None:
        """Let bench time pass that has passed outside."""
        ...

    def ahead(self) -> float:
        """How long, s of wall time, a reply must wait for a reading that takes its time."""
        ...

    def now(self) -> float:
        """Bench time, s."""
        ...

    def wait(self, duration: float) -> None:
        """Let bench time pass, s."""
        ...

    def schedule(self, delay: float, action: Callable[[], None]) -> None:
        """Do `action` when `delay` s of bench time have passed."""
        ...

    def instrument_of(self, channel: str) -> str:
        """The instrument of a device channel. KeyError: there is no such channel."""
        ...

    def begin(self, fault: SampleFault) -> None:
        """A fault of the sample or its wiring begins."""
        ...

    def end(self, fault: SampleFault) -> None:
        """It is over."""
        ...


class FaultyInstrument:
    """A personality on a bad line. Faults by count come one after another; those by time whenever they are due."""

    def __init__(self, personality: Any, world: FaultyWorld, dice: np.random.Generator | None = None) -> None:
        self.personality = personality
        self._end: bytes = getattr(personality, "reply_end", b"\n")  # a serial instrument has its own
        self._serial = hasattr(personality, "reply_end")
        self._world = world
        self._queue: deque[Fault] = deque()
        self._begun = False  # the first in the queue
        self._good, self._bad = 0, 0
        self._by_time: list[Fault] = []  # under way
        self._chance, self._dice = Chance(0.0), np.random.default_rng(0) if dice is None else dice
        self.spoiled = 0  # replies, by chance
        self.messages = 0  # that it has been sent

    def risk(self, chance: Chance) -> None:
        """From now on every reply is at risk; a probability of 0 ends it."""
        self._chance, self._dice = chance, np.random.default_rng(chance.seed)

    def inject(self, fault: Fault) -> None:
        """Plan a fault. One by count begins when those before it are over.

        Raises
        ------
        ValueError: this instrument cannot have it.
        """
        kind: str = fault.kind  # pyright: ignore[reportAttributeAccessIssue]
        if isinstance(fault, OwnFault) and not hasattr(self.personality, f"fault_{kind}"):
            own = [name.removeprefix("fault_") for name in dir(self.personality) if name.startswith("fault_")]
            what = f"beside those of every instrument it has {', '.join(own)}" if own else "it has none of its own"
            raise ValueError(f"{fault.on} cannot have the fault {kind!r}; {what}")
        if self._serial and kind in ("refused", "rejected"):
            raise ValueError(f"{fault.on} cannot have the fault {kind!r}: on a serial line there is no such thing")
        if fault.by_time:
            self._schedule(fault)
        else:
            self._queue.append(fault)

    def forget(self) -> None:
        """End the fault under way that comes by count, and those planned after it."""
        if self._begun:
            self._stop(self._queue[0])
        self._queue.clear()
        self._begun = False
        self._good = self._bad = 0

    def admit(self) -> bool:
        """Whether a new connection may stay."""
        refused = next((f for f in self._acting() if isinstance(f, LineFault) and f.kind == "refused"), None)
        if refused is not None:
            self._spend(refused)
        return refused is None

    async def respond(self, message: bytes) -> bytes | None:
        """Execute one message and answer as the faults at hand have it."""
        self._world.catch_up()
        self.messages += 1
        if not (self._queue or self._by_time or self._chance.probability):
            return await self._execute(message)
        acting = self._acting()
        for fault in acting:
            if isinstance(fault, LineFault) and fault.kind == "torn":
                self._spend(fault)
                raise ConnectionResetError("a fault was injected here")
            if isinstance(fault, LineFault) and fault.kind == "rejected" and _sets(message):
                self._spend(fault)
                return None
        reply = await self._execute(message, [fault for fault in acting if isinstance(fault, SlowFault)])
        if reply is None:
            return None
        for fault in acting:
            if isinstance(fault, ReplyFault | DelayedFault):
                self._spend(fault)
                delay = fault.delay if isinstance(fault, DelayedFault) else 0.0
                return await _spoil(reply, fault.kind, delay, self._dice, self._end)
        if self._queue and not self._begun:
            self._good += 1
        elif self._queue and self._queue[0].lasting:
            self._spend(self._queue[0])
        at_risk = not self._queue or isinstance(self._queue[0], RandomFault)
        if at_risk and self._dice.random() < self._chance.probability:
            self.spoiled += 1
            kind = self._chance.kinds[self._dice.integers(len(self._chance.kinds))]
            return await _spoil(reply, kind, self._chance.delay, self._dice, self._end)
        return reply

    async def _execute(self, message: bytes, slow: Sequence[SlowFault] = ()) -> bytes | None:
        began, bench_time = time.perf_counter(), self._world.now() if slow else 0.0
        reply = self.personality.handle(message)
        for fault in slow:
            self._world.wait((fault.factor - 1.0) * (self._world.now() - bench_time))
            await asyncio.sleep((fault.factor - 1.0) * (time.perf_counter() - began))
        if (ahead := self._world.ahead()) > 0:
            await asyncio.sleep(ahead)
        return reply

    def _acting(self) -> list[Fault]:
        """The faults under way, the first of the queue begun if it is its turn."""
        if self._queue and not self._begun and self._good >= (self._queue[0].after or 0):
            self._begun = True
            fault = self._queue[0]
            self._start(fault)
            if isinstance(fault, LineFault) and fault.kind == "reboot":
                self._begun = False  # so that a second one reboots again
                self._spend(fault)
        return [*self._by_time, *([self._queue[0]] if self._begun else [])]

    def _spend(self, fault: Fault) -> None:
        """A fault has acted once; the first of the queue may be over with that."""
        if not self._queue or fault is not self._queue[0]:
            return
        self._bad += 1
        if self._bad >= fault.times:
            self._queue.popleft()
            self._good = self._bad = 0
            self._begun = False
            self._stop(fault)

    def _schedule(self, fault: Fault) -> None:
        def start() -> None:
            self._by_time.append(fault)
            self._start(fault)
            if fault.lasts is not None:
                self._world.schedule(fault.lasts, stop)

        def stop() -> None:
            self._by_time.remove(fault)
            self._stop(fault)

        self._world.schedule(fault.at or 0.0, start)

    def _start(self, fault: Fault) -> None:
        match fault:
            case LineFault(kind="reboot"):
                self.personality.reboot()
            case RandomFault():
                self._chance = Chance(fault.chance, fault.kinds, delay=fault.delay)
            case OwnFault():
                getattr(self.personality, f"fault_{fault.kind}")(True, fault)
            case SampleFault():
                self._world.begin(fault)
            case _:
                pass

    def _stop(self, fault: Fault) -> None:
        match fault:
            case RandomFault():
                self._chance = Chance(0.0)
            case OwnFault():
                getattr(self.personality, f"fault_{fault.kind}")(False, fault)
            case SampleFault():
                self._world.end(fault)
            case _:
                pass


def inject(fault: Fault, instruments: Mapping[str, FaultyInstrument], world: FaultyWorld) -> None:
    """Plan a fault on the instrument, or on the instrument of the channel, that it names.

    Raises
    ------
    ValueError: there is none, or it cannot have this fault.
    """
    try:
        name = world.instrument_of(fault.on) if isinstance(fault, SampleFault) else fault.on
        instrument = instruments[name]
    except KeyError:
        raise ValueError(f"no fault on {fault.on!r}; there are {', '.join(instruments)}") from None
    instrument.inject(fault)


def _sets(message: bytes) -> bool:
    """Whether a message only sets something: it asks for no answer, in SCPI or TSP."""
    return b"?" not in message and b"print" not in message


async def _spoil(reply: bytes, kind: str, delay: float, dice: np.random.Generator, end: bytes) -> bytes | None:
    body = reply.removesuffix(end)
    if kind == "silent":
        return None
    if kind == "late":
        await asyncio.sleep(delay)
        return reply
    if kind == "trickle":
        slowly = Trickle(reply)
        slowly.pause = delay / len(reply)
        return slowly
    if kind == "reset":
        raise ConnectionResetError("a fault was injected here")
    if kind == "truncated":
        return body[: len(body) // 2] + end
    if kind == "empty":
        return end
    if kind == "garbled":
        return bytes(b ^ 0x15 for b in body).replace(end, b"?") + end
    if kind == "digit":
        places = [place for place, byte in enumerate(body) if chr(byte).isdigit()]
        if places:
            place = places[dice.integers(len(places))]
            other = (body[place] - ord("0") + int(dice.integers(1, 10))) % 10
            body = body[:place] + b"%d" % other + body[place + 1 :]
        return body + end
    return reply + reply  # doubled
