"""A reply that goes out byte by byte."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Trickle(bytes):
    """A reply whose bytes go out `pause` s (wall time) apart."""

    pause: float = 0.0


async def send_in_pieces(reply: bytes, send: Callable[[bytes], Awaitable[None]]) -> None:
    """Send a reply whole, or as a Trickle wants it."""
    if not isinstance(reply, Trickle):
        await send(reply)
        return
    for at in range(len(reply)):
        await send(reply[at : at + 1])
        await asyncio.sleep(reply.pause)
