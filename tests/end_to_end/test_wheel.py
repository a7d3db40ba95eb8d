"""The wheel holds the four packages with all they need, nothing else, and works where nothing else of ours is."""

from __future__ import annotations

import ast
import configparser
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from labthermo.lab_folder import FILES

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("labthermo", "instruments", "simulators", "procedures")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built from the repository, opened."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def entry_points(wheel, project):
    parser = configparser.ConfigParser(delimiters=("=",))
    parser.read_string(wheel.read(f"labthermo-{project['version']}.dist-info/entry_points.txt").decode())
    return {group: dict(parser[group]) for group in parser.sections()}


def test_only_the_four_packages(wheel, project):
    top = {name.partition("/")[0] for name in wheel.namelist()}
    assert top == {*PACKAGES, f"labthermo-{project['version']}.dist-info"}
    assert not [name for name in wheel.namelist() if name.endswith((".pyc", ".sqlite", ".db")) or "/tests/" in name]


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_whole_and_typed(wheel, package):
    names = set(wheel.namelist())
    assert f"{package}/py.typed" in names
    ours = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / package).rglob("*.py")}
    assert ours <= names
    assert ours


def test_template_and_license(wheel, project):
    assert b"<html" in wheel.read("labthermo/records/report.html.j2").lower()
    info = f"labthermo-{project['version']}.dist-info"
    assert wheel.read(f"{info}/licenses/LICENSE") == (REPOSITORY / "LICENSE").read_bytes()
    metadata = wheel.read(f"{info}/METADATA").decode()
    assert "License-Expression: MIT" in metadata
    assert "Requires-Python: >=3.11" in metadata


def test_what_init_copies_is_the_example_of_the_repository(wheel):
    lab = {name: wheel.read(name) for name in wheel.namelist() if name.startswith("labthermo/lab/")}
    example = [REPOSITORY / "examples" / "sine" / name for name in FILES]
    assert lab == {f"labthermo/lab/{path.name}": path.read_bytes() for path in example}


def test_entry_points_name_what_the_wheel_holds(wheel, project):
    found = entry_points(wheel, project)
    assert found == {"console_scripts": project["scripts"], **project["entry-points"]}
    for target in (target for points in found.values() for target in points.values()):
        module, _, attribute = target.partition(":")
        tree = ast.parse(wheel.read(module.replace(".", "/") + ".py"))
        defined = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
        assert attribute in defined, target


def test_it_works_unpacked_elsewhere(wheel, project, tmp_path):
    wheel.extractall(tmp_path)
    code = (
        "from labthermo import plugins\n"
        "for package in plugins.OUR_PACKAGES:\n"
        "    assert plugins.clash(package) is None, plugins.clash(package)\n"
        "    print(plugins.place_of(package))\n"
        "for group in ('labthermo.instruments', 'labthermo.simulators', 'labthermo.procedures'):\n"
        "    for name in plugins.names(group):\n"
        "        plugins.load(group, name)\n"
        "from labthermo.lab_folder import make_lab_folder\n"
        "from labthermo.config import load_station\n"
        "from pathlib import Path\n"
        "for path in make_lab_folder(Path('my lab')):\n"
        "    print(path.name)\n"
        "load_station(Path('my lab/station.yaml'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    packages = [str(tmp_path / package) for package in PACKAGES]
    assert done.stdout.split() == [*packages, "ndc_dots.yaml", "station.yaml"]
