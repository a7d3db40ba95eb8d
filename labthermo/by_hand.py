"""One channel by hand, a run's end, and the red button: what `labthermo get, set, watch, stop` and `safe` do."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from labthermo.bench_device import BenchDevice
from labthermo.errors import InstrumentError, QueryError, RecordError
from labthermo.limits import device_channels
from labthermo.quantity import format_quantity, parse_quantity
from labthermo.records.journal import Journal
from labthermo.records.owner import owner_of
from labthermo.station import Station, lock_of

PATIENCE = 10.0  # s that a holder has to reach the safe state itself, before the red button ends it
LONG_PATIENCE = 60.0  # s that a run has for it, with slow ramps


def read_channels(station: Station, device: BenchDevice, name: str | None) -> list[str]:
    """Every channel, or the one named, as ``y = 251.3 µV``. A lead whose output is off says so.

    Raises
    ------
    QueryError: an unknown channel.
    """
    channels = device_channels(station.config)
    if name is not None and name not in (c.name for c in channels):
        raise QueryError(f"no channel {name!r}; there are {', '.join(c.name for c in channels)}")
    lines = []
    for channel in channels if name is None else [c for c in channels if c.name == name]:
        if not device.is_connected(channel.name):
            lines.append(f"{channel.name} = off")
            continue
        reading = device.read(channel.name)
        text = format_quantity(reading.value, channel.unit) if reading.flag != "overflow" else "overflow"
        lines.append(f"{channel.name} = {text}{' (compliance)' if reading.flag == 'compliance' else ''}")
    return lines


def move_channel(station: Station, name: str, value: str) -> str:
    """Move an input or knob through Guard and leave it there; what it reads back.

    Raises
    ------
    QueryError, ParameterError, LimitError: not a channel that can be set, not a voltage, or beyond its limits; then
    no instrument was opened, or nothing moved. BackendError: an element that is set by hand is not confirmed.
    """
    settable = {c.name: c for c in device_channels(station.config) if c.kind in ("input", "knob")}
    if name not in settable:
        raise QueryError(f"no input or knob {name!r}; there are {', '.join(settable)}")
    target = parse_quantity(value, settable[name].unit)
    station.require_confirmed()
    with station.by_hand() as device:
        reached = device.guard.move({name: target})[name]
    return f"{name} = {format_quantity(reached, settable[name].unit)}"


def home_pump(station: Station, pump: str) -> str:
    """Take an operator's word that a pump's syringe is full, and let the pump count from here.

    Raises
    ------
    QueryError: no such pump. InstrumentError: the station file has no `syringe_volume` for it, or it is pumping.
    OwnershipError: somebody else holds the bench.
    """
    with station.by_hand() as device:
        volume = device.home(pump)
    return f"{pump} is full: {format_quantity(volume, 'L')}"


def stop_run(folder: Path) -> None:
    """Ask the process that goes on with a run to stop, and wait until it has let go of it, in its safe state.

    Raises
    ------
    RecordError: there is no such run, nobody goes on with it, or it is another user's.
    InstrumentError: it has not stopped after a while.
    """
    Journal.open(folder, writable=False).close()
    holder = Journal.holder(folder)
    if holder is None:
        raise RecordError(f"nobody goes on with {folder.name}; `labthermo show {folder.name}` says how it ended")
    try:
        os.kill(holder.pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    except PermissionError:
        raise RecordError(f"{folder.name} is run by another user, {holder}; ask them to stop it") from None
    deadline = time.monotonic() + LONG_PATIENCE
    while Journal.holder(folder) == holder:
        if time.monotonic() > deadline:
            raise InstrumentError(
                f"{folder.name} has not stopped after {LONG_PATIENCE:.0f} s ({holder}); `labthermo safe STATION` ends "
                "it and makes the bench safe"
            )
        time.sleep(0.05)


def make_safe(station: Station, zero_knobs: bool) -> list[str]:
    """End whoever holds the instruments, then go to the safe state. What failed, one sentence each."""
    for address in station.addresses():
        _end_holder(address)
    with station.by_hand() as device:
        return device.guard.make_safe(zero_knobs or None) + device.guard.release()


def _end_holder(address: str) -> None:
    holder = owner_of(lock_of(address))
    if holder is None or holder.pid == os.getpid():
        return
    for signum in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(holder.pid, signum)
        deadline = time.monotonic() + PATIENCE
        while holder.alive and time.monotonic() < deadline:
            time.sleep(0.05)
        if not holder.alive:
            return
    raise InstrumentError(f"{address} is held by {holder}, which does not end; switch the instruments off by hand")
