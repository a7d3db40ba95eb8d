"""Data sets: splits, pooling, the user's own IDX files, and what a computer makes of them."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from labthermo.channel import Channel
from labthermo.errors import TaskError
from labthermo.training import datasets
from labthermo.training.datasets import baselines, pooled
from labthermo.training.task import Task, make_task

EXAMPLE = Path(__file__).parents[4] / "examples" / "digits"


def crossbar(inputs: int, outputs: int) -> list[Channel]:
    return [
        *(Channel(f"x{k}", "input", "V", 0.0, 2e-3, window=(0.5e-3, 1.5e-3)) for k in range(inputs)),
        *(Channel(f"y{k}", "output", "V", window=(100e-6, 200e-6)) for k in range(outputs)),
    ]


def classes(targets: np.ndarray) -> np.ndarray:
    assert np.array_equal(np.unique(targets), [100e-6, 200e-6])
    assert np.array_equal((targets > 150e-6).sum(axis=1), np.ones(len(targets)))
    return targets.argmax(axis=1)


def test_digits_are_split_1437_to_360_with_every_digit_in_proportion() -> None:
    task = make_task("digits", crossbar(16, 10), seed=2)
    assert task.inputs.shape == (1437, 16)
    assert task.score_inputs.shape == (360, 16)
    assert np.bincount(classes(task.score_targets)).min() >= 34
    assert task.inputs.min() >= 0.5e-3
    assert task.inputs.max() <= 1.5e-3
    assert task.amplitude == pytest.approx(50e-6)
    assert (task.floor(), task.floor_accuracy()) == (None, None)
    assert task.accuracy(task.score_targets) == 1.0
    assert task.accuracy(np.roll(task.score_targets, 1, axis=1)) == 0.0
    again = make_task("digits", crossbar(16, 10), seed=2)
    assert np.array_equal(again.inputs, task.inputs)
    assert not np.array_equal(make_task("digits", crossbar(16, 10), seed=3).inputs, task.inputs)
    fewer = make_task("digits:200", crossbar(16, 10), seed=2)
    assert np.array_equal(fewer.targets, task.targets[:200])
    assert np.array_equal(fewer.score_targets, task.score_targets)


def test_iris_has_four_inputs_and_three_outputs() -> None:
    task = make_task("iris", crossbar(4, 3))
    assert (task.inputs.shape, task.score_inputs.shape) == ((112, 4), (38, 4))
    assert sorted(np.bincount(classes(task.score_targets))) == [12, 13, 13]
    assert all(share > 0.85 for share in baselines(task).values())


def test_blocks_are_as_nearly_square_as_can_be_and_every_image_is_as_bright() -> None:
    image = np.arange(64.0).reshape(1, 8, 8)
    four = pooled(image, 4)
    assert four[0] == pytest.approx(np.array([13.5, 17.5, 45.5, 49.5]) / 31.5)
    eight = pooled(image, 8)  # four rows of two
    assert eight[0] == pytest.approx(np.array([5.5, 9.5, 21.5, 25.5, 37.5, 41.5, 53.5, 57.5]) / 31.5)
    assert pooled(image, 64)[0] * 31.5 == pytest.approx(np.arange(64.0))
    assert pooled(np.random.default_rng(0).random((5, 28, 28)), 16).mean(axis=1) == pytest.approx(np.ones(5))
    assert not pooled(np.zeros((1, 8, 8)), 4).any()
    with pytest.raises(TaskError, match="13 x 1 blocks, and the images have 8 x 8 pixels"):
        pooled(image, 13)


@pytest.mark.parametrize(
    ("text", "inputs", "outputs", "complaint"),
    [
        ("digits", 16, 9, "digits needs 10 outputs; the device has 9"),
        ("iris", 3, 3, "iris needs 4 inputs; the device has 3"),
        ("digits:5", 16, 10, "images to train on are 20 to 1437"),
        ("digits:many", 16, 10, "no task 'digits:many'"),
        ("mnist:", 16, 10, "needs a folder; write mnist:FOLDER"),
        ("mnist:/nowhere", 16, 10, "/nowhere/train-labels-idx1-ubyte.gz: cannot be read"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(text: str, inputs: int, outputs: int, complaint: str) -> None:
    with pytest.raises(TaskError) as caught:
        make_task(text, crossbar(inputs, outputs))
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def write_idx(path: Path, array: np.ndarray) -> str:
    """An IDX file of unsigned bytes, packed; its SHA-256."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_idx_files_are_read_as_published_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    known = {}
    for part, n in (("train", 1500), ("t10k", 1100)):
        labels = rng.integers(0, 10, n)
        images = np.zeros((n, 28, 28))
        images[np.arange(n), 2 * labels + 4, 14] = 255.0  # each class its own row
        known[f"{part}-labels-idx1-ubyte.gz"] = write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", labels)
        known[f"{part}-images-idx3-ubyte.gz"] = write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", images)
    with pytest.raises(TaskError, match="is not the file that was published: its SHA-256 is"):
        make_task(f"fashion_mnist:{tmp_path}", crossbar(28, 10))
    monkeypatch.setitem(datasets.CHECKSUMS, "fashion_mnist", known)
    task = make_task(f"fashion_mnist:{tmp_path}", crossbar(49, 10))
    assert (task.inputs.shape, task.score_inputs.shape) == ((1000, 49), (1000, 49))
    assert baselines(task)["logistic regression"] < 1.0  # rows are pooled by four
    # 28 inputs make 7 rows of 4 columns; a dot lies in one column
    assert (make_task(f"fashion_mnist:{tmp_path}", crossbar(28, 10)).inputs > 0.6e-3).sum(axis=1).max() == 1


def test_published_checksums_are_of_four_different_files_each() -> None:
    every = [value for files in datasets.CHECKSUMS.values() for value in files.values()]
    assert len(set(every)) == 8
    assert all(len(bytes.fromhex(value)) == 32 for value in every)


def test_baselines_are_those_of_the_same_inputs() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 120)
    inputs = rng.random((120, 2)) + labels[:, None]
    targets = np.where(labels[:, None] == np.arange(2), 1.0, 0.0)
    easy = Task("t", inputs[:80], targets[:80], inputs[80:], targets[80:], 0.5, classes=True)
    assert min(baselines(easy).values()) > 0.85
    shuffled = Task("t", inputs[:80], targets[:80], inputs[80:], rng.permutation(targets[80:]), 0.5, classes=True)
    assert max(baselines(shuffled).values()) < 0.8
    with pytest.raises(TaskError, match="no classes with an output each"):
        baselines(make_task("sine", [*crossbar(1, 1)]))


def test_the_example_s_files_are_what_its_script_makes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, EXAMPLE / "make_files.py", "--out", tmp_path], check=True, timeout=60)
    for name in ("crossbar.yaml", "station.yaml"):
        assert (tmp_path / name).read_text() == (EXAMPLE / name).read_text()
