"""Entry points are found by name, and a package that only shares our package's name is never imported."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

from labthermo import plugins
from labthermo.errors import ParameterError, StationFileError

REPOSITORY = Path(__file__).parents[3]


def install(folder: Path, name: str, entry_points: str, record: str = "") -> None:
    """What pip leaves of a distribution: its metadata beside its modules."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    (info / "RECORD").write_text(record)
    assert PathDistribution(info).metadata["Name"] == name


def python(code: str, *path: Path) -> str:
    """Standard output of `code` in a new interpreter with `path` in front."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment, cwd=path[0]
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def other_lab(tmp_path, monkeypatch):
    """A small distribution of another lab, installed."""
    (tmp_path / "other_lab_drivers.py").write_text("class Source:\n    volts = 3\n\nimport_error = 1\n")
    (tmp_path / "other_lab_broken.py").write_text("import no_such_module\n")
    install(
        tmp_path,
        "other_lab",
        "[labthermo.instruments]\n"
        "other_lab_source = other_lab_drivers:Source\n"
        "other_lab_broken = other_lab_broken:Source\n"
        "other_lab_gone = other_lab_drivers:Gone\n"
        "[labthermo.procedures]\nother_lab_recipe = other_lab_drivers:Source\n",
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for module in ("other_lab_drivers", "other_lab_broken"):
        sys.modules.pop(module, None)


def test_a_third_party_driver_is_found_by_name(other_lab):
    assert plugins.load("labthermo.instruments", "other_lab_source").volts == 3
    assert "other_lab_source" in plugins.names("labthermo.instruments")
    assert "other_lab_source" not in plugins.names("labthermo.procedures")


@pytest.mark.usefixtures("other_lab")
def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(StationFileError, match=r"^unknown driver 'other_lab_sourse'; did you mean 'other_lab_source'"):
        plugins.load("labthermo.instruments", "other_lab_sourse")
    with pytest.raises(ParameterError, match=r"^unknown procedure 'zzz'; known: .*other_lab_recipe"):
        plugins.load("labthermo.procedures", "zzz")


@pytest.mark.usefixtures("other_lab")
def test_a_driver_that_cannot_be_imported_is_one_line():
    with pytest.raises(
        StationFileError, match="cannot be loaded from other_lab_broken:Source: ModuleNotFoundError: No"
    ):
        plugins.load("labthermo.instruments", "other_lab_broken")
    with pytest.raises(StationFileError, match="cannot be loaded from other_lab_drivers:Gone: AttributeError: "):
        plugins.load("labthermo.instruments", "other_lab_gone")


def test_a_name_claimed_twice_is_refused(other_lab):
    install(other_lab, "third_lab", "[labthermo.instruments]\nother_lab_source = third_lab:Source\n")
    with pytest.raises(
        StationFileError, match=r"claimed by other_lab \(other_lab_drivers:Source\) and third_lab \(thi"
    ):
        plugins.load("labthermo.instruments", "other_lab_source")


def test_our_own_packages_are_ours():
    for package in plugins.OUR_PACKAGES:
        assert plugins.clash(package) is None
        assert plugins.place_of(package) == REPOSITORY / package


def test_a_foreign_package_of_the_same_name_is_refused_and_not_imported(tmp_path):
    (tmp_path / "instruments").mkdir()
    (tmp_path / "instruments" / "__init__.py").write_text("print('IMPORTED')\n")
    (tmp_path / "instruments" / "fancy.py").write_text("class Fancy: pass\n")
    install(tmp_path, "fancy", "[labthermo.instruments]\nfancy = instruments.fancy:Fancy\n")
    code = (
        "from labthermo import errors, plugins\n"
        "try:\n    plugins.load('labthermo.instruments', 'fancy')\n"
        "except errors.StationFileError as error:\n    print(error)\n"
        "print(plugins.clash('simulators'))\n"
    )
    complaint, others = python(code, tmp_path, REPOSITORY).splitlines()
    assert str(tmp_path / "instruments") in complaint
    assert str(REPOSITORY / "instruments") in complaint
    assert "uninstall the other distribution" in complaint
    assert others == "None"


def test_a_distribution_that_wrote_into_our_folder_is_named(tmp_path):
    packages = tmp_path / "site-packages"
    shutil.copytree(REPOSITORY / "labthermo", packages / "labthermo", ignore=shutil.ignore_patterns("__pycache__"))
    (packages / "instruments").mkdir()
    (packages / "instruments" / "__init__.py").touch()
    install(packages, "labthermo", "", "instruments/__init__.py,,\nlabthermo/__init__.py,,\n")
    code = "from labthermo import plugins; print(plugins.clash('instruments'))"
    assert python(code, packages) == "None\n"
    install(packages, "instrumentkit", "", "instruments/__init__.py,,\n")
    complaint = python(code, packages)
    assert str(packages / "instruments") in complaint
    assert "was also written by instrumentkit; uninstall it" in complaint


def test_a_package_that_is_missing_is_named(tmp_path):
    packages = tmp_path / "lib"
    shutil.copytree(REPOSITORY / "labthermo", packages / "labthermo", ignore=shutil.ignore_patterns("__pycache__"))
    code = "from labthermo import plugins; print(plugins.clash('labthermo'), plugins.clash('procedures'))"
    complaint = python(code, packages)
    assert complaint.startswith("None ")
    if "procedures" in complaint and "there is no package" not in complaint:  # an editable install is on the path too
        assert str(packages / "procedures") in complaint
    else:
        assert f"there is no package 'procedures' beside {packages / 'labthermo'}; reinstall" in complaint
