"""One holder on this host, of whatever user, and none for longer than it lives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labthermo.errors import OwnershipError
from labthermo.records.owner import Ownership, owner_of, share_folder

HOLD = """
import sys, time
from pathlib import Path
from labthermo.records.owner import Ownership
held = Ownership(Path(sys.argv[1]), "gates")
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def lock() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as scratch:  # not below pytest's own folder, which is for one user
        os.chmod(scratch, 0o755)
        share_folder(Path(scratch) / "locks")
        yield Path(scratch) / "locks" / "gates.lock"


def test_a_second_process_is_refused_with_the_owners_pid_and_a_dead_owners_lock_is_free(lock: Path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(OwnershipError, match=rf"gates is held by process {holder.pid}, started 20\d\d-"):
            Ownership(lock, "gates")
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        assert owner_of(lock) is None
        held = Ownership(lock, "gates")
        owner = owner_of(lock)
        assert owner is not None
        assert owner.pid == os.getpid()
        held.release()
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def test_a_later_process_with_the_same_id_is_not_the_owner(lock: Path):
    held = Ownership(lock, "gates")
    note = lock.with_name(lock.name + ".owner")
    note.write_text(json.dumps({"pid": os.getpid(), "started": time.time() - 1e6}))
    assert owner_of(lock) is None
    held.release()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_is_refused_and_may_take_what_was_let_go(lock: Path):
    def as_nobody() -> str:
        """What a process of another user finds."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setgid(65534)
                os.setuid(65534)
                try:
                    Ownership(lock, "gates")
                    found = "taken"
                except Exception as error:
                    found = f"{type(error).__name__}: {error}"
                os.write(writer, found.encode())
            finally:
                os._exit(0)
        os.close(writer)
        os.waitpid(child, 0)
        with os.fdopen(reader) as stream:
            return stream.read()

    held = Ownership(lock, "gates")
    assert f"OwnershipError: gates is held by process {os.getpid()}" in as_nobody()
    held.release()
    assert as_nobody() == "taken"
    assert Ownership(lock, "gates").release() is None  # and so may we again
