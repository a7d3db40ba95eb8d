"""The process that watches a program with an open station: ``python -m labthermo.watchman`` (started by it).

When the program has been silent for a heartbeat, or has ended without saying that it is done, it is killed, so that
its locks are free; the station is opened anew, its instruments are read, and inputs ramped to zero from where they are;
leads are disconnected, gates hold (design: the safe state). What was done is said on standard error.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import sys
import time
from pathlib import Path
from typing import Any

from labthermo import plugins
from labthermo.by_hand import make_safe
from labthermo.config import load_station
from labthermo.errors import OwnershipError
from labthermo.safety.watchdog import DONE, READY
from labthermo.station import Station

LONGEST_DEATH = 10.0
"""Seconds that a killed process may take to be gone."""


def watch(stream: int, heartbeat: float) -> str | None:
    """Read beats from the file descriptor `stream` until they end; why that is no good end, or None if it is."""
    last = b""
    while True:
        if not select.select([stream], [], [], heartbeat)[0]:
            return f"did not answer for {heartbeat:g} s"
        data = os.read(stream, 4096)
        if not data:
            return "ended without bringing the bench to its safe state"
        last = (last + data)[-len(DONE) :]
        if last == DONE:
            return None


def end(pid: int, started: float) -> None:
    """Kill a process and wait until it is gone. started: s since the epoch; a later one may have its number."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if process.create_time() == started:
            process.kill()
            deadline = time.monotonic() + LONGEST_DEATH
            while time.monotonic() < deadline and process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                time.sleep(1e-3)


def main() -> None:
    """Load what will be needed, say so, watch, and act once."""
    import psutil

    asked: dict[str, Any] = json.loads(sys.argv[1])
    pid = int(asked["pid"])
    started = psutil.Process(pid).create_time()
    config = load_station(Path(asked["station"]))
    first = b""
    while not first.endswith(b"\n"):  # not one byte more: beats come after it
        byte = os.read(0, 1)
        if not byte:
            return
        first += byte
    for section in config.instruments.values():
        plugins.load("labthermo.instruments", section.driver)
    for module in json.loads(first):
        with contextlib.suppress(Exception):  # what cannot be loaded alone is loaded when it is needed
            importlib.import_module(module)
    plugins.load("labthermo.simulators", "device_file")(config.device_file)
    print(READY, flush=True)
    reason = watch(0, asked["heartbeat"])
    if reason is None:
        return
    end(pid, started)
    say(f"process {pid} {reason}; it was ended, and the safe state is gone to")
    try:
        station = Station(config, asked["backend"], bench=asked["bench"], confirmed="by the program that was watched")
        failures = make_safe(station, False)
    except OwnershipError as error:  # `labthermo safe` was faster, or another run
        say(f"{error}; it has the bench now")
        return
    except Exception as error:
        failures = [" ".join(str(error).split())]
    for failure in failures:
        say(f"NOT SAFE  {failure}")
    say("look at the bench at once" if failures else "safe: inputs at zero, leads disconnected")


def say(what: str) -> None:
    """To whoever reads the standard error of the program that was watched, if anybody still does."""
    with contextlib.suppress(OSError):
        print(f"labthermo watchdog: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
