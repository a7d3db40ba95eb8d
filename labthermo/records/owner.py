"""Who holds a thing, host-wide: a lock file that the system frees when its holder dies, and a note of who that is."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from labthermo.errors import OwnershipError, RecordError

_SAME_START = 1.0  # s: how far two readings of one process's start time may lie apart


@dataclass(frozen=True)
class Owner:
    """A process that holds something.

    Attributes
    ----------
    pid: its process id on this host.
    started: when it started, in s since 1970 (UTC).
    """

    pid: int
    started: float

    @property
    def alive(self) -> bool:
        """Whether that very process still runs: not a later one with its id, nor a zombie of it."""
        import psutil

        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < _SAME_START
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def __str__(self) -> str:
        started = datetime.fromtimestamp(self.started, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"process {self.pid}, started {started}"


class Ownership:
    """This process's hold on one thing, until :meth:`release` or the end of the process, however it ends."""

    def __init__(self, path: Path, thing: str) -> None:
        """Take `thing` by the lock file `path`; the note of who holds it lies beside it.

        Raises
        ------
        OwnershipError: another holder has it; the message gives its pid and start time.
        RecordError: the lock file cannot be written.
        """
        import psutil
        from filelock import FileLock, Timeout

        self._note = _note_of(path)
        self._lock = FileLock(path, timeout=0, mode=0o666, thread_local=False)
        try:
            self._lock.acquire()
        except Timeout:
            holder = owner_of(path) or "a process that has just started"
            raise OwnershipError(f"{thing} is held by {holder}; wait until it ends, or stop it") from None
        except OSError as error:
            raise RecordError(f"{thing} cannot be locked ({error}); make {path.parent} writable") from None
        process = psutil.Process()
        try:
            with contextlib.suppress(PermissionError):  # another user's file from before: it is open to all already
                path.chmod(0o666)
            unfinished = self._note.with_suffix(f".{process.pid}")
            unfinished.write_text(json.dumps({"pid": process.pid, "started": process.create_time()}))
            os.replace(unfinished, self._note)  # the last holder's note may be another user's
        except OSError as error:
            self._lock.release()
            raise RecordError(f"{thing} cannot be locked ({error}); free some disk space") from None

    def release(self) -> None:
        """Let go. Releasing twice does nothing."""
        if self._lock.is_locked:
            with contextlib.suppress(OSError):
                self._note.unlink(missing_ok=True)
            self._lock.release()


def share_folder(folder: Path) -> None:
    """Make a folder in which every user of this host may lock: an instrument knows no users.

    Not sticky: in a sticky folder Linux lets nobody open another user's lock file (fs.protected_regular).

    Raises
    ------
    RecordError: it cannot be made.
    """
    try:
        folder.mkdir(exist_ok=True)
        if folder.stat().st_uid == os.getuid():
            folder.chmod(0o777)
    except OSError as error:
        raise RecordError(f"{folder} cannot be made ({error}); make it a folder that all may write to") from None


def owner_of(path: Path) -> Owner | None:
    """The living process that holds the lock file `path`, or None."""
    try:
        note = json.loads(_note_of(path).read_text())
        owner = Owner(int(note["pid"]), float(note["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return owner if owner.alive else None


def _note_of(path: Path) -> Path:
    return path.with_name(path.name + ".owner")
