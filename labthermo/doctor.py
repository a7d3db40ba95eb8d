"""Is this computer ready, and is this station's file in order? Looks only; moves and changes nothing."""

from __future__ import annotations

import platform
import re
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from labthermo import plugins
from labthermo.errors import StationFileError

if TYPE_CHECKING:
    from labthermo.config import StationConfig

OLDEST_PYTHON = (3, 11)
LEAST_DISK = 1e9
"""Free bytes where runs are written."""
PROBE_TIMEOUT = 2.0
"""Seconds that an instrument has to accept a connection."""


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Attributes
    ----------
    name: what was looked at, e.g. ``disk`` or ``instrument gates``.
    ok: whether it will do.
    detail: what was found.
    advice: what to do about it; empty where it is fine.
    """

    name: str
    ok: bool
    detail: str
    advice: str = ""


def check_environment(station: Path | None = None, runs: Path | None = None) -> list[Check]:
    """Look at Python, the libraries, our packages, the disk and, if given, a station file and its instruments.

    Parameters
    ----------
    station: a station file. Its instruments are tried only if its backend is ``real``.
    runs: where runs are written; by default ``runs/`` beside the station file, or in the present folder.

    Never raises on what it finds: that is what the checks say.
    """
    checks = [_python(), *_libraries(), *_packages(), *_plugins()]
    checks.append(_disk(runs or (station.parent if station else Path.cwd()) / "runs"))
    if station is not None:
        checks += _station(station)
    return checks


def _python() -> Check:
    oldest = ".".join(map(str, OLDEST_PYTHON))
    ok = sys.version_info[:2] >= OLDEST_PYTHON
    detail = f"{platform.python_version()} at {sys.executable}"
    return Check("Python", ok, detail, "" if ok else f"use Python {oldest} or newer")


def _libraries() -> Iterator[Check]:
    """Every distribution that labthermo requires, from its own metadata."""
    try:
        required = metadata.requires("labthermo") or []
    except metadata.PackageNotFoundError:
        yield Check("labthermo", False, "not installed", "install it with pip, so that its drivers are found by name")
        return
    yield Check("labthermo", True, metadata.version("labthermo"))
    for requirement in required:
        name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
        if "extra ==" in requirement:
            continue
        try:
            yield Check(name, True, metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Check(name, False, f"not installed ({requirement} is required)", "reinstall labthermo with pip")


def _packages() -> Iterator[Check]:
    for package in plugins.OUR_PACKAGES:
        complaint = plugins.clash(package)
        if complaint is None:
            yield Check(f"package {package}", True, str(plugins.place_of(package)))
        else:
            found, _, advice = complaint.partition("; ")
            yield Check(f"package {package}", False, found, advice)


def _plugins() -> Iterator[Check]:
    for group in ("labthermo.instruments", "labthermo.simulators", "labthermo.procedures"):
        kind, names = group.partition(".")[2], plugins.names(group)
        advice = "" if names else "install labthermo with pip: names come from its entry points"
        yield Check(f"known {kind}", bool(names), ", ".join(names) or "none", advice)


def _disk(runs: Path) -> Check:
    folder = next(folder for folder in (runs, *runs.resolve().parents) if folder.is_dir())
    free = shutil.disk_usage(folder).free
    advice = "" if free >= LEAST_DISK else f"free at least {LEAST_DISK / 1e9:g} GB, or choose another --runs folder"
    return Check("disk", not advice, f"{free / 1e9:.1f} GB free for runs at {runs}", advice)


def _station(path: Path) -> Iterator[Check]:
    from labthermo.config import load_station
    from labthermo.yaml_file import suggest

    try:
        config = load_station(path)
    except StationFileError as error:
        yield _refused("station file", error)
        return
    yield Check("station file", True, f"{path}: backend {config.backend}, device {config.device.model}")
    if "device_file" in plugins.names("labthermo.simulators"):
        try:
            plugins.load("labthermo.simulators", "device_file")(config.device_file)
            yield Check("device file", True, str(config.device_file))
        except StationFileError as error:
            yield _refused("device file", error)
    known = plugins.names("labthermo.instruments")
    for name, instrument in config.instruments.items():
        if instrument.driver not in known:
            advice = suggest(instrument.driver, known)
            yield Check(f"driver of {name}", False, f"{instrument.driver!r} is unknown", advice)
    if config.backend == "real":
        yield from _instruments(config)


def _refused(name: str, error: StationFileError) -> Check:
    found, _, advice = str(error).rpartition("; ")
    return Check(name, False, found or advice, advice if found else "correct the file")


def _instruments(config: StationConfig) -> Iterator[Check]:
    from labthermo.records.owner import owner_of
    from labthermo.station import lock_of

    for name, instrument in config.instruments.items():
        if holder := owner_of(lock_of(instrument.address)):
            advice = "wait until it ends, or end it with `labthermo safe`"
            yield Check(f"instrument {name}", False, f"{instrument.address} is held by {holder}", advice)
            continue
        match = re.fullmatch(r"TCPIP\d*::(.+)::(\d+)::SOCKET", instrument.address, re.IGNORECASE)
        if match is None:
            yield Check(f"instrument {name}", True, f"{instrument.address}: not tried; only TCPIP sockets are")
            continue
        try:
            socket.create_connection((match[1].strip("[]"), int(match[2])), PROBE_TIMEOUT).close()
        except (OSError, OverflowError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
            advice = "check power, cable and address, and that no other program holds it"
            yield Check(f"instrument {name}", False, f"{instrument.address}: {reason}", advice)
        else:
            yield Check(f"instrument {name}", True, f"{instrument.address} accepts connections")
