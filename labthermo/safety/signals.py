"""Ctrl-C and SIGTERM: heard at once, but never in the middle of a talk with an instrument.

An exception in mid-query would leave the reply in the socket, and the next query, of the way to the safe state, would
be answered with it. So a signal that comes within :func:`shielded` waits until its end.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ECHO = 1.0  # s; one Ctrl-C often comes twice, from the terminal and from the program that started us

_depth = 0
_pending: int | None = None
_heard_at = -math.inf


class Stopped(KeyboardInterrupt):
    """A signal asked the program to stop. code: the exit code by convention, 128 + the signal's number."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.code = 128 + signum


def _hear(signum: int, _frame: FrameType | None = None) -> None:
    global _pending, _heard_at
    if _depth:
        _pending = signum
        return
    _pending = None
    now = time.monotonic()
    if now - _heard_at >= ECHO:
        _heard_at = now
        raise Stopped(signum)


@contextmanager
def shielded() -> Iterator[None]:
    """Let no signal interrupt the block; one that came is raised, as :class:`Stopped`, at its end, however it ends."""
    global _depth
    if not _in_main_thread():
        yield  # Python runs signal handlers in the main thread only
        return
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if _depth == 0 and _pending is not None:
            _hear(_pending)


@contextmanager
def deaf() -> Iterator[None]:
    """Ignore further signals: for the way to the safe state, which is gone once and to its end."""
    if not _in_main_thread():
        yield
        return
    before = {s: signal.signal(s, signal.SIG_IGN) for s in SIGNALS}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """While the block runs, SIGINT and SIGTERM raise :class:`Stopped`, outside :func:`shielded` blocks.

    May be nested. In a thread other than the main one it does nothing: no signal interrupts that.
    """
    global _heard_at
    if not _in_main_thread() or signal.getsignal(signal.SIGINT) is _hear:
        yield
        return
    _heard_at = -math.inf
    before = {s: signal.signal(s, _hear) for s in SIGNALS}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
