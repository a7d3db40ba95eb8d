"""Faults: what a line and an instrument do to a lab at night, injected on purpose.

Counted in replies, so that a test says exactly which one is hit. wire.md, "Faults to inject", has the whole list; here
are those of the line, and the silent reboot.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from simulators.wire.scpi import ScpiPersonality

Kind = Literal["silent", "late", "truncated", "empty", "garbled", "doubled", "reset", "reboot"]
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True)
class Fault:
    """One fault of one instrument.

    kind: ``silent`` (no reply), ``late`` (after `delay`), ``truncated``, ``empty``, ``garbled``, ``doubled``, ``reset``
    (the connection is cut instead of a reply), ``reboot`` (silently to ``*RST``, outputs and all, before the message).
    after: good replies before the first bad one; count: how many are bad. delay: s of wall time, for ``late``.
    """

    kind: Kind
    after: int = 0
    count: int = 1
    delay: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no fault {self.kind!r}; there are {', '.join(KINDS)}")
        if self.after < 0 or self.count < 1 or not 0 <= self.delay <= 60:
            raise ValueError("a fault needs after >= 0, count >= 1 and a delay from 0 to 60 s")


class Pace(Protocol):
    """Bench time against wall time."""

    def catch_up(self) -> None:
        """Let bench time pass that has passed outside."""
        ...

    def ahead(self) -> float:
        """How long, s of wall time, a reply must wait for a reading that takes its time."""
        ...


class FaultyInstrument:
    """A personality on a bad line: see :class:`Fault`."""

    def __init__(self, personality: ScpiPersonality, pace: Pace) -> None:
        self.personality = personality
        self._pace = pace
        self._faults: deque[Fault] = deque()
        self._good, self._bad = 0, 0

    def inject(self, fault: Fault) -> None:
        """Queue a fault; it begins when those before it are over."""
        self._faults.append(fault)

    async def respond(self, message: bytes) -> bytes | None:
        """Execute one message and answer as the fault at hand has it."""
        self._pace.catch_up()
        fault = self._faults[0] if self._faults else None
        due = fault is not None and self._good >= fault.after
        if fault is not None and due and fault.kind == "reboot":
            self.personality.reboot()
            self._next(fault)
            fault = None
        reply = self.personality.handle(message)
        if (ahead := self._pace.ahead()) > 0:
            await asyncio.sleep(ahead)
        if reply is None or fault is None:
            return reply
        if not due:
            self._good += 1
            return reply
        self._next(fault)
        return await _spoil(reply, fault)

    def _next(self, fault: Fault) -> None:
        self._bad += 1
        if self._bad >= fault.count:
            self._faults.popleft()
            self._good = self._bad = 0


async def _spoil(reply: bytes, fault: Fault) -> bytes | None:
    body = reply.removesuffix(b"\n")
    if fault.kind == "silent":
        return None
    if fault.kind == "late":
        await asyncio.sleep(fault.delay)
        return reply
    if fault.kind == "reset":
        raise ConnectionResetError("a fault was injected here")
    if fault.kind == "truncated":
        return body[: len(body) // 2] + b"\n"
    if fault.kind == "empty":
        return b"\n"
    if fault.kind == "garbled":
        return bytes(b ^ 0x15 for b in body).replace(b"\n", b"?") + b"\n"
    return reply + reply  # doubled
