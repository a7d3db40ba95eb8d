"""A pseudo-terminal for an instrument with a serial line, on the same event loop as the TCP servers.

The client opens the slave's path as it would open ``/dev/ttyUSB0``. The server keeps the slave open itself, so that the
line outlives its clients; what is sent while nobody reads is lost once the terminal's buffer is full, as on a line
without handshake. Baud rates are accepted and have no effect.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from collections import deque
from typing import Any, Protocol, runtime_checkable

from simulators.wire.scpi import LINE_CAP
from simulators.wire.trickle import send_in_pieces

GAP = 0.5  # s of wall time: a message that is broken off for longer is forgotten
PATIENCE = 1.0  # s of wall time for a client to make room for a reply


@runtime_checkable
class SerialPersonality(Protocol):
    """An instrument on a serial line: it says itself where a message ends.

    reply_end: the bytes with which each of its replies ends.
    """

    reply_end: bytes

    def split(self, received: bytearray) -> bytes | None:
        """Take the first whole message off `received`; None while it is incomplete."""
        ...

    def handle(self, message: bytes) -> bytes | None:
        """Execute one message; its reply, or None."""
        ...


class SerialPort:
    """One pseudo-terminal. Made, and used, on the event loop."""

    def __init__(self, personality: SerialPersonality, responder: Any) -> None:
        """responder: what executes a message: the personality itself, or a bad line around it (`respond`)."""
        self._personality = personality
        self._responder = responder
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        self._received = bytearray()
        self._last = 0.0
        self._waiting: deque[bytes] = deque()
        self._talk: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._master, self._receive)

    @property
    def address(self) -> str:
        """The port as a VISA resource name."""
        return f"ASRL{self.path}::INSTR"

    def _receive(self) -> None:
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._master, LINE_CAP)
            now = self._loop.time()
            if now - self._last > GAP:
                self._received.clear()
            self._last = now
            self._received += data
        while self._received and (message := self._personality.split(self._received)) is not None:
            self._waiting.append(message)
        if len(self._received) > LINE_CAP:
            self._received.clear()
        if self._waiting and (self._talk is None or self._talk.done()):
            self._talk = self._loop.create_task(self._answer())

    async def _answer(self) -> None:
        while self._waiting:
            message = self._waiting.popleft()
            try:
                if hasattr(self._responder, "respond"):
                    reply = await self._responder.respond(message)
                else:
                    reply = self._responder.handle(message)
            except ConnectionError:  # the line is cut: on a serial line the reply is simply lost
                reply = None
            if reply is not None:
                await send_in_pieces(reply, self._send)

    async def _send(self, reply: bytes) -> None:
        deadline = self._loop.time() + PATIENCE
        while reply and self._loop.time() < deadline:
            try:
                reply = reply[os.write(self._master, reply) :]
            except BlockingIOError:
                await asyncio.sleep(1e-3)

    async def close(self) -> None:
        """Close the terminal; whoever has it open finds the line dead."""
        self._loop.remove_reader(self._master)
        if self._talk is not None and not self._talk.done():
            self._talk.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._talk
        os.close(self._master)
        os.close(self._slave)
