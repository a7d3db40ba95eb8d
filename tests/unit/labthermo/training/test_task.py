"""Tasks: grids, floors, and what a user's CSV may get wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labthermo.channel import Channel
from labthermo.errors import TaskError
from labthermo.training.task import make_task

X = Channel("x", "input", "V", -0.2e-3, 3.0e-3, window=(0.9e-3, 2.7e-3))
Y = Channel("y", "output", "V", window=(130e-6, 390e-6))


def test_sine_trains_on_33_points_and_scores_on_201_with_end_points() -> None:
    task = make_task("sine", [X, Y])
    assert len(task.inputs) == 33
    assert len(task.score_inputs) == 201
    assert task.score_inputs[0, 0] == 0.9e-3
    assert task.score_inputs[-1, 0] == pytest.approx(2.7e-3)
    assert task.score_targets.max() == pytest.approx(390e-6)
    assert task.amplitude == pytest.approx(130e-6)
    # training.md, section 1: 201 points with end points, non-decreasing answer
    assert task.floor() == pytest.approx(0.7053, abs=5e-5)
    assert task.score(task.score_targets) == 0.0


def test_it_is_scored_at_as_many_points_as_asked_with_their_own_floor() -> None:
    task = make_task("sine", [X, Y], score_points=41)
    assert len(task.score_inputs) == 41
    assert task.score_inputs[[0, -1], 0] == pytest.approx([0.9e-3, 2.7e-3])
    assert len(task.inputs) == 33
    floor = task.floor()
    assert floor is not None
    assert 0.68 < floor < 0.7053  # of 41 points, a little below
    for text, points in (("xor", 41), ("sine", 10)):
        with pytest.raises(TaskError, match="11 or more, and sine or band_pass"):
            make_task(text, [X, Y], score_points=points)


def test_xor_has_four_corners_and_a_monotone_floor() -> None:
    inputs = [Channel(n, "input", "V", -1e-3, 4e-3, window=(0.78e-3, 3.36e-3)) for n in ("x1", "x2")]
    task = make_task("xor", [*inputs, Y])
    assert len(np.unique(task.score_inputs, axis=0)) == 4
    high = task.score_targets[:, 0] > 260e-6
    differs = task.score_inputs[:, 0] != task.score_inputs[:, 1]
    assert np.array_equal(high, differs)
    # training.md, section 1: MSE 1/6 of the swing squared, so RMSE sqrt(2/3) of half the swing
    assert task.floor() == pytest.approx(np.sqrt(2 / 3), abs=1e-6)
    with pytest.raises(TaskError, match="needs two inputs; the device has 1"):
        make_task("xor", [X, Y])


def test_a_task_needs_windows_and_single_channels() -> None:
    with pytest.raises(TaskError, match="x has no window"):
        make_task("sine", [Channel("x", "input", "V"), Y])
    with pytest.raises(TaskError, match="needs one input; the device has 2"):
        make_task("sine", [X, Channel("x2", "input", "V"), Y])
    with pytest.raises(TaskError, match="no task 'cosine'"):
        make_task("cosine", [X, Y])


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return f"csv:{path}"


def table(rows: int) -> str:
    x = np.linspace(1e-3, 2e-3, rows)
    return "y,comment,x\n" + "".join(f"{float(2e-4 + 1e-4 * np.sin(4e3 * v))!r},z,{v!r}\n" for v in map(float, x))


def test_csv_holds_out_every_fourth_row_of_a_seeded_shuffle(tmp_path: Path) -> None:
    text = write(tmp_path / "d.csv", table(40))
    task = make_task(text, [X, Y], seed=3)
    assert (len(task.inputs), len(task.score_inputs)) == (30, 10)
    together = np.sort(np.concatenate([task.inputs, task.score_inputs])[:, 0])
    assert np.array_equal(together, np.linspace(1e-3, 2e-3, 40))
    assert np.all(np.diff(task.inputs[:, 0]) > 0)
    again = make_task(text, [X, Y], seed=3)
    assert np.array_equal(again.score_inputs, task.score_inputs)
    assert not np.array_equal(make_task(text, [X, Y], seed=4).score_inputs, task.score_inputs)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x,z\n" + "1e-3,1\n" * 9, "no column y; it has x, z and needs x, y"),
        ("", "no column x, y; it has none"),
        ("x,y\n" + "1e-3,2e-4\n" * 3 + "1e-3,lots\n" * 9, ":5: column y: 'lots' is not a number"),
        ("x,y\n" + "1e-3,2e-4\n" * 3 + "1e-3\n" * 9, ":5: column y: is missing in this row"),
        ("x,y\n" + "1e-3,nan\n" * 9, ":2: column y: nan is not finite"),
        ("x,y\n" + "1,2e-4\n" * 9, ":2: column x: 1 V is outside the limits -200 µV to 3 mV"),
        ("x,y\n" + "1e-3,2e-4\n" * 7, "has 7 rows of data; at least 8"),
        ("x,y\n" + "1e-3,2e-4\n" * 9, "nothing to learn"),
    ],
)
def test_a_bad_csv_is_one_line_that_names_file_row_and_column(tmp_path: Path, text: str, complaint: str) -> None:
    task = write(tmp_path / "d.csv", text)
    with pytest.raises(TaskError) as caught:
        make_task(task, [X, Y])
    assert complaint in str(caught.value)
    assert str(tmp_path / "d.csv") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_csv_that_is_missing_or_binary(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="write csv:FILE"):
        make_task("csv:", [X, Y])
    with pytest.raises(TaskError, match="cannot be read"):
        make_task(f"csv:{tmp_path / 'none.csv'}", [X, Y])
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00x")
    with pytest.raises(TaskError, match="not a CSV file in UTF-8"):
        make_task(f"csv:{tmp_path / 'b.csv'}", [X, Y])


def test_inputs_go_over_a_log_window_in_equal_ratios_and_a_falling_output_turns_its_sine_over() -> None:
    u = Channel("u", "input", "L/s", 0.0, 1e-6, window=(1e-8, 1e-6), spacing="log", rests=True)
    y = Channel("y", "output", "OD", window=(0.37, 0.50), falling=True)
    task = make_task("sine", [u, y])
    ratios = task.score_inputs[1:, 0] / task.score_inputs[:-1, 0]
    assert ratios == pytest.approx(100 ** (1 / 200))
    quarter = task.score_targets[50, 0]
    assert quarter == pytest.approx(0.37)
    assert task.amplitude == pytest.approx(0.065)
    assert not task.increasing
    assert task.floor() == pytest.approx(
        0.7053, abs=5e-5
    )  # of an answer that only falls, towards a sine that falls first
    inputs = [Channel(n, "input", "L/s", 0.0, 1e-6, window=(1e-8, 1e-6)) for n in ("u1", "u2")]
    low = make_task("xor", [*inputs, y]).targets[:, 0] < 0.4
    assert np.array_equal(
        low, make_task("xor", [*inputs, y]).inputs[:, 0] != make_task("xor", [*inputs, y]).inputs[:, 1]
    )
    with pytest.raises(TaskError, match="begins above 0"):
        make_task("sine", [Channel("u", "input", "L/s", 0.0, 1e-6, window=(0.0, 1e-6), spacing="log"), y])


PAIR = [Channel(n, "input", "V", -1e-3, 4e-3, window=(0.9e-3, 2.7e-3)) for n in ("x1", "x2")]


def test_band_pass_is_high_in_the_middle_third() -> None:
    task = make_task("band_pass", [X, Y])
    assert (len(task.inputs), len(task.score_inputs)) == (36, 201)
    part = (task.score_inputs[:, 0] - 0.9e-3) / 1.8e-3
    assert np.array_equal(task.score_targets[:, 0] > 260e-6, (part > 1 / 3) & (part < 2 / 3))
    # high on a third, as if its last two thirds were at half height: 1/6 of the swing squared, as for XOR
    assert task.floor() == pytest.approx(2 * np.sqrt(1 / 6), abs=1e-3)
    assert task.floor_accuracy() == pytest.approx(2 / 3, abs=0.005)
    falling = make_task("band_pass", [X, Channel("y", "output", "V", window=(130e-6, 390e-6), falling=True)])
    assert np.array_equal(falling.score_targets > 260e-6, task.score_targets < 260e-6)
    assert falling.floor() == pytest.approx(task.floor())
    assert falling.floor_accuracy() == pytest.approx(task.floor_accuracy())


def test_rings_lie_about_the_middle_and_no_scored_point_was_trained_on() -> None:
    task = make_task("rings", [*PAIR, Y])
    assert (len(task.inputs), len(task.score_inputs)) == (32, 144)
    radius = np.hypot(*((task.score_inputs - 1.8e-3) / 0.9e-3).T)
    assert np.array_equal(task.score_targets[:, 0] > 260e-6, radius < 0.6)
    assert task.score_inputs.min() >= 0.9e-3
    assert task.score_inputs.max() <= 2.7e-3
    apart = np.abs(task.inputs[:, None] - task.score_inputs[None]).max(axis=2)
    assert apart.min() > 1e-5
    floor, bound = task.floor(), task.floor_accuracy()
    assert floor is not None
    assert bound is not None
    assert 0.7 < floor < 0.8
    assert 0.5 < bound < 0.85
    with pytest.raises(TaskError, match="needs two inputs"):
        make_task("rings", [X, Y])


def test_accuracy_counts_what_was_not_read_as_wrong() -> None:
    task = make_task("xor", [*PAIR, Y])
    assert task.accuracy(task.score_targets) == 1.0
    assert task.floor_accuracy() == 0.75
    answers = task.score_targets.copy()
    answers[0] = np.nan
    answers[1] = 259e-6  # of a high one: below the threshold
    assert task.score_targets[1, 0] > 260e-6
    assert task.accuracy(answers) == 14 / 16
    assert make_task("sine", [X, Y]).accuracy(np.zeros((201, 1))) is None
    assert make_task("sine", [X, Y]).floor_accuracy() is None
