"""Is this computer ready, and is this station's file in order? Looks only; moves and changes nothing."""

from __future__ import annotations

import platform
import re
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from labthermo import plugins
from labthermo.check import Check
from labthermo.errors import StationFileError

OLDEST_PYTHON = (3, 11)
LEAST_DISK = 1e9
"""Free bytes where runs are written."""


def check_environment(station: Path | None = None, runs: Path | None = None, bench: str | None = None) -> list[Check]:
    """Look at Python, the libraries, our packages, the disk and, if given, a station file and its instruments.

    Parameters
    ----------
    station: a station file. Its instruments are asked who they are: on ``real`` those at its addresses, unless somebody
        holds them; on ``wire`` those of a twin that is started for it.
    bench: control address of a served bench, whose instruments are asked instead.
    runs: where runs are written; by default ``runs/`` beside the station file, or in the present folder.

    Never raises on what it finds: that is what the checks say.
    """
    checks = [_python(), *_libraries(), *_packages(), *_plugins()]
    checks.append(_disk(runs or (station.parent if station else Path.cwd()) / "runs"))
    if station is not None:
        checks += _station(station, bench)
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


def _station(path: Path, bench: str | None) -> Iterator[Check]:
    from labthermo.config import load_station
    from labthermo.roll_call import call_real, call_simulated
    from labthermo.wiring import manual_elements
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
    for element in manual_elements(config):
        yield Check(f"set by hand for {element.channel}", True, f"{element.setting}, with {element.knob}")
    unknown = [s.driver for s in config.instruments.values() if s.driver not in known]
    if bench is not None or (config.backend == "wire" and not unknown):
        yield from call_simulated(config, bench)
    elif config.backend == "real":
        yield from call_real(config)


def _refused(name: str, error: StationFileError) -> Check:
    found, _, advice = str(error).rpartition("; ")
    return Check(name, False, found or advice, advice if found else "correct the file")
