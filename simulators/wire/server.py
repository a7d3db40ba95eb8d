"""TCP servers and serial ports for the instruments of a bench, all on one event loop.

One loop means that no two instruments touch the shared world at once. The loop runs in a daemon thread
(:class:`Servers`), so that a program and its simulated bench can share a process; :meth:`Servers.call` lets the
program's own thread look at the world without a race.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar, runtime_checkable

from simulators.wire.scpi import LINE_CAP, bytes_missing
from simulators.wire.serial_port import SerialPersonality, SerialPort
from simulators.wire.trickle import send_in_pieces

_T = TypeVar("_T")
_TALK = "talk to a client"


@runtime_checkable
class Responder(Protocol):
    """Anything that answers messages in its own time: see :class:`simulators.faults.FaultyInstrument`."""

    async def respond(self, message: bytes) -> bytes | None:
        """Execute one message; its reply with a newline, or None. ConnectionError cuts the line."""
        ...


class Personality(Protocol):
    """Anything that answers messages: see :class:`simulators.wire.scpi.ScpiPersonality`."""

    def handle(self, message: bytes) -> bytes | None:
        """Execute one message (without its newline); its reply with a newline, or None."""
        ...


async def serve(
    personality: Personality | Responder,
    port: int = 0,
    host: str = "127.0.0.1",
    clients: set[asyncio.StreamWriter] | None = None,
) -> asyncio.Server:
    """Serve one instrument at `host`; port 0 takes a free one. Many may connect: they are in `clients` meanwhile."""
    connected = set() if clients is None else clients
    hang_up: Callable[[], None] | None = getattr(getattr(personality, "personality", personality), "hang_up", None)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _name_this_task()
        if not getattr(personality, "admit", lambda: True)():
            # closed with a reset, as if nobody had ever listened
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return
        connected.add(writer)

        async def send(part: bytes) -> None:
            writer.write(part)
            await writer.drain()

        # A reply and the next query would wait for each other's acknowledgement for 40 ms with Nagle's algorithm.
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while True:
                message = await _message(reader)
                if isinstance(personality, Responder):
                    reply = await personality.respond(message)
                else:
                    reply = personality.handle(message)
                if reply is not None:
                    await send_in_pieces(reply, send)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has gone, perhaps in mid-message: its own business
        finally:
            if hang_up is not None:  # what a client left half said is dropped
                hang_up()
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            connected.discard(writer)

    return await asyncio.start_server(talk, host, port, limit=LINE_CAP)


def _name_this_task() -> None:
    task = asyncio.current_task()
    if task is not None:
        task.set_name(_TALK)


async def _message(reader: asyncio.StreamReader) -> bytes:
    """The next message without its newline, a binary block in it included; one that is too long comes cut."""
    message = b""
    while True:
        try:
            message += await reader.readuntil(b"\n")
        except asyncio.LimitOverrunError as overrun:
            message = (message + await reader.readexactly(overrun.consumed))[: LINE_CAP + 1]
            continue
        missing = 0 if len(message) > LINE_CAP else bytes_missing(message[:-1])
        if not missing:
            return message[:-1]
        if len(message) + missing > LINE_CAP:
            await reader.readexactly(missing - 1)
            message = message.ljust(LINE_CAP + 1, b"\0")
        else:
            message += await reader.readexactly(missing - 1)


class Servers:
    """The servers of a bench, on a loop in a daemon thread.

    Example
    -------
    with Servers({"dmm": Keysight34465APersonality("dmm", world)}) as servers:
        instrument = Keysight34465A("dmm", servers.addresses["dmm"])
    """

    def __init__(self, personalities: Mapping[str, Personality | Responder], *, host: str = "127.0.0.1") -> None:
        self._personalities = dict(personalities)
        self._host = host
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._servers: dict[str, asyncio.Server] = {}
        self._ports: dict[str, SerialPort] = {}
        self._clients: set[asyncio.StreamWriter] = set()

    def start(self) -> None:
        """Open every server; when this returns, clients can connect."""
        if self._loop is not None:
            raise RuntimeError("these servers are already running")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="simulated bench", daemon=True)
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
        except BaseException:
            self.stop()
            raise

    @property
    def addresses(self) -> dict[str, str]:
        """Where each instrument listens, as a VISA resource name; a serial one at ``ASRL/dev/pts/3::INSTR``."""
        sockets = {
            name: "TCPIP0::{}::{}::SOCKET".format(*server.sockets[0].getsockname()[:2])
            for name, server in self._servers.items()
        }
        return sockets | {name: port.address for name, port in self._ports.items()}

    def call(self, function: Callable[[], _T]) -> _T:
        """Run `function` on the loop's thread, between two commands, and return its result."""
        if self._loop is None:
            raise RuntimeError("these servers are not running")

        async def run() -> _T:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    def stop(self) -> None:
        """Close every server and connection, and end the thread. Stopping twice does nothing."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        self._loop = self._thread = None
        asyncio.run_coroutine_threadsafe(self._close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def __enter__(self) -> Servers:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def _open(self) -> None:
        for name, responder in self._personalities.items():
            instrument = getattr(responder, "personality", responder)
            if isinstance(instrument, SerialPersonality):
                self._ports[name] = SerialPort(instrument, responder)
            else:
                self._servers[name] = await serve(responder, host=self._host, clients=self._clients)

    async def _close(self) -> None:
        def talks() -> list[asyncio.Task[object]]:
            return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]

        for port in self._ports.values():
            await port.close()
        self._ports.clear()
        # A task of any other name is accepting a connection. Python 3.11 forgets to close that if its server has gone.
        while any(task.get_name() != _TALK for task in talks()):
            await asyncio.sleep(0)
        for server in self._servers.values():
            server.close()
        self._servers.clear()
        for writer in self._clients:
            writer.transport.abort()  # ends its talk without cancelling it, which asyncio would print
        await asyncio.gather(*talks())
