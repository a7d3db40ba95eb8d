"""The watchdog, as the program sees it that is watched: a process beside it, to which it must keep talking.

While the program lives it sends a beat four times a heartbeat, from a thread of its own: it falls silent when it is
stopped, swapped out, killed, or a library holds the interpreter. What the other process then does is in
:mod:`labthermo.watchman`. A loop that never ends is not noticed; what waits for an instrument has deadlines.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

from labthermo.errors import BackendError

BEATS = 4
"""In one heartbeat."""
PATIENCE = 60.0
"""Seconds that the watchdog has to start."""
READY, DONE = "ready", b"done\n"


class Watchdog:
    """A running watchdog for one open station, until :meth:`dismiss` or the end of this process."""

    def __init__(
        self, station: Path, backend: str, bench: str | None, heartbeat: float, imports: Iterable[str] = ()
    ) -> None:
        """Start it; when this returns it is ready to open the station within one heartbeat.

        station: the file; bench: the control address of the bench that it is attached to; heartbeat: s; imports: the
        modules that opening the station took, so that they are loaded beforehand.

        Raises
        ------
        BackendError: it did not start.
        """
        self._heartbeat = heartbeat
        words = {"station": str(station), "backend": backend, "bench": bench, "heartbeat": heartbeat}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "labthermo.watchman", json.dumps({**words, "pid": os.getpid()})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for the program, and not for who watches it
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._over = threading.Event()
        try:
            self._process.stdin.write(json.dumps(list(imports)).encode() + b"\n")
            if not select.select([self._process.stdout], [], [], PATIENCE)[0]:
                raise OSError(f"it was not ready within {PATIENCE:g} s")
            if self._process.stdout.readline().strip() != READY.encode():
                raise OSError(f"it ended with code {self._process.wait(PATIENCE)}")
        except OSError as error:
            self._process.kill()
            self._reap()
            what = f"the watchdog did not start ({error}); nothing was energised"
            raise BackendError(f"{what}; mend that, or write `watchdog: off` under device.stop") from None
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def dismiss(self) -> None:
        """All is well: the station is parked, and nobody need watch it any more. Twice does nothing."""
        if self._over.is_set():
            return
        self._over.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            self._process.stdin.write(DONE)  # type: ignore[union-attr]
        self._reap()

    def _reap(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):
                stream.close()
        self._process.wait(PATIENCE)

    def _beat(self) -> None:
        while not self._over.wait(self._heartbeat / BEATS):
            try:
                self._process.stdin.write(b".")  # type: ignore[union-attr]
            except OSError:  # it is dead: then nothing watches, and the run goes on as it would without one
                return
