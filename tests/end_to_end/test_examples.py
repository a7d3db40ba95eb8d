"""The examples: every station file is in order, and the real-data example says what its script measures."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from labthermo import plugins
from labthermo.config import load_station

EXAMPLES = Path(__file__).parents[2] / "examples"
IRIS = EXAMPLES / "iris"


@pytest.mark.parametrize("station", sorted(EXAMPLES.glob("*/station.yaml")), ids=lambda path: path.parent.name)
def test_station_and_device_files_are_in_order(station):
    config = load_station(station)
    assert plugins.load("labthermo.simulators", "device_file")(config.device_file)
    assert config.backend == "wire"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The CSV that the script writes, and its table: header -> one number for each seed."""
    path = tmp_path_factory.mktemp("iris") / "iris.csv"
    command = [sys.executable, IRIS / "make_csv.py", "--out", path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    header, *rows = [re.split(r"\s{2,}", line.strip()) for line in done.stdout.splitlines()[1:]]
    return path, {name: [float(row[k]) for row in rows] for k, name in enumerate(header)}


def stated():
    """Rows of the table in the README: label -> one number for each seed."""
    lines = [line for line in (IRIS / "README.md").read_text().splitlines() if line.startswith("|")]
    rows = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: [float(cell) for cell in row[1:]] for row in rows[2:]}


def row(table, begin):
    (found,) = (values for label, values in table.items() if label.startswith(begin))
    return found


def test_the_csv_is_the_one_that_the_script_makes(made):
    path, _ = made
    assert path.read_bytes() == (IRIS / "iris.csv").read_bytes()
    assert len(path.read_text().splitlines()) == 151


def test_the_readme_states_what_the_script_measures(made):
    table, said = made[1], stated()
    assert row(said, "rising, fitted to the 112") == table["rising, fitted"]
    assert row(said, "rising, fitted to the held-out") == table["rising, bound"]
    assert row(said, "falling") == table["falling, fitted"]
    assert row(said, "polynomial") == table["polynomial"]
    assert all(d < r for d, r in zip(row(said, "the device"), table["rising, bound"], strict=True))


def test_the_device_learns_what_a_rising_curve_cannot(made, tmp_path):
    command = [sys.executable, "-m", "labthermo", "train", IRIS / "station.yaml", "--task", f"csv:{made[0]}"]
    command += ["--backend", "model", "--queries", "300", "--seed", "1", "--runs", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    summary = json.loads(next(tmp_path.glob("*/summary.json")).read_text())
    assert summary["simulated"] is True
    assert summary["queries"] <= 300
    assert summary["rmse"] < 0.9 * summary["floor"] < 0.9 * made[1]["rising, fitted"][0]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_crossbar_learns_digits_over_the_wire(tmp_path):
    """Pooled images, ten outputs: what examples/digits/README.md says, in five minutes of processor time."""
    command = [sys.executable, "-m", "labthermo", "train", EXAMPLES / "digits" / "station.yaml", "--task", "digits:400"]
    command += ["--method", "physics_aware", "--seed", "0", "--queries", "3000", "--runs", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr
    summary = json.loads(next(tmp_path.glob("*/summary.json")).read_text())
    assert summary["backend"] == "wire"
    assert summary["accuracy"] > 0.68
    assert "floor" not in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("example", "task"), [("xor", "xor"), ("sine", "band_pass"), ("rings", "rings")])
def test_what_no_monotone_device_can_do_is_done_with_ndc_and_not_without(example, task, tmp_path):
    """One seed of the table that benchmarks/expressivity.py makes: same design, knobs and budget."""
    command = [sys.executable, "-m", "labthermo", "train", EXAMPLES / example / "station.yaml", "--task", task]
    command += ["--backend", "model", "--seed", "5", "--queries", "1500"]
    found = {}
    for name, words in (("on", []), ("off", ["--control"])):
        runs = ["--runs", tmp_path / name]
        subprocess.run([*command, *words, *runs], check=True, capture_output=True, timeout=600)
        found[name] = json.loads(next((tmp_path / name).glob("*/summary.json")).read_text())
    on, off = found["on"], found["off"]
    assert on["rmse"] < 0.6 * on["floor"]
    assert on["accuracy"] > 0.95
    assert off["rmse"] >= off["floor"] - 0.02  # noise may make an answer a little better than monotone
    assert off["accuracy"] <= off["floor_accuracy"]
