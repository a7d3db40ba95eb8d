"""Drivers, simulators and procedures by name, from entry points, so that another lab adds its own as a package.

Our top-level packages have plain names, and another distribution may install one of the same name (InstrumentKit
has an `instruments` too). Nothing is imported from them before it is certain that they are ours.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points, packages_distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from labthermo.errors import ParameterError, StationFileError

Group = Literal["labthermo.instruments", "labthermo.simulators", "labthermo.procedures", "labthermo.personalities"]
OUR_PACKAGES = ("labthermo", "instruments", "simulators", "procedures")
_KINDS = {
    "labthermo.instruments": ("driver", StationFileError),
    "labthermo.simulators": ("simulator", StationFileError),
    "labthermo.procedures": ("procedure", ParameterError),
    "labthermo.personalities": ("simulated instrument", StationFileError),
}


def names(group: Group) -> list[str]:
    """The names that :func:`load` knows in a group, sorted."""
    return sorted({point.name for point in entry_points(group=group)})


def load(group: Group, name: str) -> Any:
    """What the entry point `name` of a group stands for: a class or a function.

    Raises
    ------
    StationFileError, or ParameterError for a procedure: the name is unknown, two packages claim it, its package
    is not the one that came with labthermo, or importing it failed.
    """
    kind, problem = _KINDS[group]
    found = {point.value: point for point in entry_points(group=group) if point.name == name}
    if not found:
        from labthermo.yaml_file import suggest

        known = names(group)
        advice = suggest(name, known) if known else "none is installed; install labthermo itself with pip"
        raise problem(f"unknown {kind} {name!r}; {advice}")
    if len(found) > 1:
        raise problem(f"{kind} {name!r} is claimed by {_owners(found.values())}; uninstall one of them")
    point = next(iter(found.values()))
    package = point.module.partition(".")[0]
    if package in OUR_PACKAGES and (complaint := clash(package)):
        raise problem(f"{kind} {name!r} cannot be loaded: {complaint}")
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        raise problem(f"{kind} {name!r} cannot be loaded from {point.value}: {_one_line(error)}") from error


def clash(package: str) -> str | None:
    """Why one of our packages is not the one that came with labthermo, and what to do; None if it is."""
    ours = Path(__file__).resolve().parents[1]
    found = place_of(package)
    if found is None:
        return f"there is no package {package!r} beside {ours / 'labthermo'}; reinstall labthermo"
    if found.parent != ours:
        return (
            f"Python finds the package {package!r} at {found}, but labthermo's own is {ours / package}; "
            "uninstall the other distribution, or install labthermo in an environment of its own"
        )
    if others := [owner for owner in _owners_in(ours).get(package, []) if owner.lower() != "labthermo"]:
        return (
            f"{found} was also written by {', '.join(others)}; uninstall it, then reinstall labthermo, "
            "or install labthermo in an environment of its own"
        )
    return None


def place_of(package: str) -> Path | None:
    """The folder that Python would import a top-level package from, without importing it; None if there is none."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve()
    return Path(spec.origin).resolve() if spec.origin else None


@cache
def _owners_in(folder: Path) -> dict[str, list[str]]:
    """Top-level package -> distributions that have installed files into it; looked up for an installed copy only."""
    installed = folder.name in ("site-packages", "dist-packages")
    return {package: sorted(set(owners)) for package, owners in packages_distributions().items()} if installed else {}


def _owners(points: Any) -> str:
    def owner(point: EntryPoint) -> str:
        return f"{point.dist.name} ({point.value})" if point.dist else point.value

    return " and ".join(sorted(owner(point) for point in points))


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
