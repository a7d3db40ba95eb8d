"""Ctrl-C and SIGTERM: heard at once, but never in the middle of a talk with an instrument.

An exception in mid-query would leave the reply in the socket, and the next query, of the way to the safe state, would
be answered with it. So a signal that comes within :func:`shielded` waits until its end.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_depth = 0
_pending: int | None = None


class Stopped(KeyboardInterrupt):
    """A signal asked the program to stop. code: the exit code by convention, 128 + the signal's number."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.code = 128 + signum


def _heard(signum: int, _frame: FrameType | None) -> None:
    global _pending
    if _depth:
        _pending = signum
    else:
        raise Stopped(signum)


@contextmanager
def shielded() -> Iterator[None]:
    """Let no signal interrupt the block; one that came is raised, as :class:`Stopped`, at its end."""
    global _depth, _pending
    if threading.current_thread() is not threading.main_thread():
        yield  # Python runs signal handlers in the main thread only
        return
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
    if _depth == 0 and _pending is not None:
        signum, _pending = _pending, None
        raise Stopped(signum)


@contextmanager
def deaf() -> Iterator[None]:
    """Ignore further signals: for the way to the safe state, which is gone once and to its end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {s: signal.signal(s, signal.SIG_IGN) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """While the block runs, SIGINT and SIGTERM raise :class:`Stopped`, outside :func:`shielded` blocks."""
    before = {s: signal.signal(s, _heard) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
