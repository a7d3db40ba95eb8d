"""What a device is trained to do, and what it is held against."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labthermo.channel import Channel
from labthermo.device import Response
from labthermo.errors import TaskError
from labthermo.expressivity import monotone_accuracy, monotone_fit
from labthermo.quantity import format_quantity

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """Inputs and targets, at the sample.

    inputs: (n, n_inputs), targets: (n, n_outputs), for training; score_inputs, score_targets: the hold-out grid;
    amplitude: what errors are fractions of; increasing: the sign of the device's gain, fixed before training;
    classes: whether targets are classes: of one output two, told apart by a threshold midway between its targets; of
    several outputs one each, the largest answer's.
    """

    name: str
    inputs: Floats
    targets: Floats
    score_inputs: Floats
    score_targets: Floats
    amplitude: float
    increasing: bool = True
    classes: bool = False

    def error(self, outputs: Floats) -> float:
        """RMSE over the training grid, as a fraction of the amplitude."""
        return _rmse(outputs, self.targets) / self.amplitude

    def score(self, outputs: Floats) -> float:
        """RMSE over the hold-out grid, as a fraction of the amplitude."""
        return _rmse(outputs, self.score_targets) / self.amplitude

    def error_of(self, response: Response, rows: NDArray[np.int64] | None = None) -> float:
        """RMSE of what was read, as a fraction of the amplitude; `rows`: which of the training inputs were asked.

        An answer that overflowed, tripped or was abandoned is left out; where less than half was read the setting
        counts as off by twice the amplitude.
        """
        targets = self.targets if rows is None else self.targets[rows]
        known = response.readable[:, None] & np.isfinite(response.outputs)
        if 2 * known.sum() < known.size:
            return 2.0
        return float(np.sqrt(np.mean((response.outputs - targets)[known] ** 2))) / self.amplitude

    def floor_fit(self) -> Floats | None:
        """The best monotone answer on the scored grid, (n,); None for more than one output."""
        if self.score_targets.shape[1] != 1:
            return None
        return monotone_fit(self.score_inputs, self.score_targets[:, 0], increasing=self.increasing)

    def floor(self) -> float | None:
        """The error that no monotone device can pass on the scored grid (training.md, section 1)."""
        fit = self.floor_fit()
        return None if fit is None else self.score(fit[:, None])

    def accuracy(self, outputs: Floats) -> float | None:
        """Share of the hold-out grid that is put into its class; what was not read is wrong. None without classes."""
        if not self.classes:
            return None
        right = self._class_of(outputs) == self._class_of(self.score_targets)
        return float(np.mean(right & np.isfinite(outputs).all(axis=1)))

    def floor_accuracy(self) -> float | None:
        """The accuracy that no monotone device can pass, with any threshold; None without classes, or with several
        outputs."""
        if not self.classes or self.score_targets.shape[1] != 1:
            return None
        high = self._class_of(self.score_targets).astype(bool)
        return monotone_accuracy(self.score_inputs, high, increasing=self.increasing)

    def _class_of(self, outputs: Floats) -> NDArray[np.int64]:
        """(n,)"""
        if outputs.shape[1] > 1:
            return np.argmax(outputs, axis=1)
        threshold = (self.score_targets.min() + self.score_targets.max()) / 2.0
        return (outputs[:, 0] > threshold).astype(np.int64)


SCORE_POINTS = 201  # training.md, section 1


def _rmse(a: Floats, b: Floats) -> float:
    return float(np.sqrt(np.mean((a - b) ** 2)))


def make_task(text: str, channels: Sequence[Channel], seed: int = 0, score_points: int | None = None) -> Task:
    """A task by name: one of TASKS, ``csv:FILE``, or a data set of :mod:`labthermo.training.datasets`: ``iris``,
    ``digits``, ``digits:N`` (N images to train on), ``mnist:FOLDER``, ``fashion_mnist:FOLDER``.

    score_points: of ``sine`` and ``band_pass``, how many inputs they are scored at (11 or more), end points included;
    SCORE_POINTS if None. On a bench that needs minutes for an answer, fewer; the floor is that of the points scored.

    Raises
    ------
    TaskError: no such task, or it does not fit the device, or it has no grid of so many points.
    """
    if score_points is not None:
        if text not in ("sine", "band_pass") or score_points < 11:
            raise TaskError(f"{score_points} points to score {text!r} at: give 11 or more, and sine or band_pass")
        return (sine if text == "sine" else band_pass)(channels, score_points)
    if text in TASKS:
        return TASKS[text](channels)
    kind, _, rest = text.partition(":")
    if kind in ("csv", "mnist", "fashion_mnist"):
        if not rest:
            what = "file; write csv:FILE" if kind == "csv" else f"folder; write {kind}:FOLDER"
            raise TaskError(f"the task {kind}: needs a {what}")
        if kind == "csv":
            return from_csv(Path(rest), channels, seed)
    from labthermo.training import datasets

    if kind in ("mnist", "fashion_mnist"):
        return datasets.from_idx(kind, Path(rest), channels, seed)
    if text == "iris":
        return datasets.iris(channels, seed)
    if text == "digits":
        return datasets.digits(channels, seed)
    if kind == "digits" and rest.isdecimal():
        return datasets.digits(channels, seed, int(rest))
    raise TaskError(
        f"no task {text!r}; there are {', '.join(TASKS)}, csv:FILE, iris, digits, digits:N, mnist:FOLDER and "
        "fashion_mnist:FOLDER"
    )


def sine(channels: Sequence[Channel], score_points: int = SCORE_POINTS) -> Task:
    """One period of a sine on one input and one output: x from 0 to 2 pi over the input's window, y over the output's.

    Where the output is falling, its sine goes down first, and the floor is that of a non-increasing device. Trained
    on 33 points; scored on 201 with end points, where a non-decreasing device can do no better than 0.705.
    """
    x, y = _single(channels, "input"), _single(channels, "output")
    y0, y1 = window(y)

    def grid(n: int) -> tuple[Floats, Floats]:
        part = np.linspace(0.0, 1.0, n)
        wave = np.sin(2.0 * np.pi * part)
        return across(x, part)[:, None], ((y0 + y1) / 2.0 + (y1 - y0) / 2.0 * wave)[:, None]

    inputs, targets = grid(33)
    score_inputs, score_targets = grid(score_points)
    return Task("sine", inputs, targets, score_inputs, score_targets, abs(y1 - y0) / 2.0, not y.falling)


def band_pass(channels: Sequence[Channel], score_points: int = SCORE_POINTS) -> Task:
    """One input, one output: high in the middle third of the input's window, low on either side; a classification.

    Trained on 36 points, none of which lies on an edge, and scored on 201 with end points, where a non-decreasing
    device can do no better than 0.816 of half the swing and 66.7 % right.
    """
    x, y = _single(channels, "input"), _single(channels, "output")
    low, high = window(y)

    def grid(part: Floats) -> tuple[Floats, Floats]:
        inside = np.abs(part - 0.5) < 1.0 / 6.0
        return across(x, part)[:, None], np.where(inside, high, low)[:, None]

    inputs, targets = grid(np.arange(0.5, 36.0) / 36.0)
    score_inputs, score_targets = grid(np.linspace(0.0, 1.0, score_points))
    return Task(
        "band_pass", inputs, targets, score_inputs, score_targets, abs(high - low) / 2.0, not y.falling, classes=True
    )


RINGS = (0.25, 0.40), (0.80, 0.95)  # from and to which radius, of half a window: high inside, low outside


def rings(channels: Sequence[Channel]) -> Task:
    """Two inputs, one output: a ring about the middle of both windows is high, a wider one about it low.

    A classification. Trained on both edges of each ring at 8 angles, scored at 24 others on three radii of each.
    """
    inputs, y = _two_inputs(channels), _single(channels, "output")
    low, high = window(y)

    def grid(radii: int, angles: int) -> tuple[Floats, Floats]:
        turns = 2.0 * np.pi * (np.arange(angles) + 0.25) / angles
        at = np.array([[r, t] for t in turns for ring in RINGS for r in np.linspace(*ring, radii)])
        parts = 0.5 + 0.5 * at[:, :1] * np.column_stack([np.cos(at[:, 1]), np.sin(at[:, 1])])
        inside = at[:, 0] < RINGS[1][0]
        points = np.column_stack([across(c, p) for c, p in zip(inputs, parts.T, strict=True)])
        return points, np.where(inside, high, low)[:, None]

    points, targets = grid(2, 8)
    score_points, score_targets = grid(3, 24)
    return Task(
        "rings", points, targets, score_points, score_targets, abs(high - low) / 2.0, not y.falling, classes=True
    )


def xor(channels: Sequence[Channel]) -> Task:
    """Exclusive or of two inputs on one output: logic 0 and 1 are the ends of each window.

    Trained and scored on the four corners, each four times, in an order in which one input changes at a time. A
    non-decreasing device can do no better than 0.816 of half the swing (training.md, section 1).
    """
    inputs, y = _two_inputs(channels), _single(channels, "output")
    ends, (low, high) = [window(c) for c in inputs], window(y)
    corners = [(0, 0), (0, 1), (1, 1), (1, 0)] * 4
    grid = np.array([[ends[0][a], ends[1][b]] for a, b in corners])
    targets = np.array([[high if a != b else low] for a, b in corners])
    return Task("xor", grid, targets, grid, targets, abs(high - low) / 2.0, not y.falling, classes=True)


TASKS = {"sine": sine, "xor": xor, "band_pass": band_pass, "rings": rings}


def from_csv(path: Path, channels: Sequence[Channel], seed: int = 0) -> Task:
    """Measured data of a user's own: columns named after the device's inputs and outputs, in SI units.

    Every fourth row of a seeded shuffle is held out for the score. Many rows are trained on as they stand.

    Raises
    ------
    TaskError: no such file, a missing column, text in a number, fewer than 8 rows, or a value outside the limits.
    """
    inputs = [c for c in channels if c.kind == "input"]
    outputs = [c for c in channels if c.kind == "output"]
    columns = [*inputs, *outputs]
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            missing = [c.name for c in columns if c.name not in header]
            if missing:
                wanted = ", ".join(c.name for c in columns)
                raise TaskError(
                    f"{path}: no column {', '.join(missing)}; it has {', '.join(header) or 'none'} and needs {wanted}"
                )
            places = [header.index(c.name) for c in columns]
            rows = []
            for row in reader:
                if not row:
                    continue
                rows.append([_cell(path, reader.line_num, c, row, p) for c, p in zip(columns, places, strict=True)])
    except OSError as error:
        raise TaskError(f"{path}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise TaskError(f"{path}: is not a CSV file in UTF-8: {error}") from None
    if len(rows) < 8:
        raise TaskError(f"{path}: has {len(rows)} rows of data; at least 8 are needed to train and to hold out")
    table = np.array(rows)
    order = np.random.default_rng(seed).permutation(len(table))
    held = np.zeros(len(table), dtype=bool)
    held[order[::4]] = True
    n = len(inputs)
    train = table[~held][np.argsort(table[~held][:, 0], kind="stable")]
    score = table[held][np.argsort(table[held][:, 0], kind="stable")]
    amplitude = float(np.ptp(table[:, n:]) / 2.0)
    if amplitude == 0.0:
        raise TaskError(f"{path}: the outputs are all {table[0, n]:g}; there is nothing to learn")
    return Task(f"csv:{path}", train[:, :n], train[:, n:], score[:, :n], score[:, n:], amplitude)


def _cell(path: Path, line: int, channel: Channel, row: list[str], place: int) -> float:
    where = f"{path}:{line}: column {channel.name}"
    if place >= len(row):
        raise TaskError(f"{where}: is missing in this row")
    try:
        value = float(row[place])
    except ValueError:
        raise TaskError(
            f"{where}: {row[place]!r} is not a number; write it in {channel.unit}, such as 1.2e-3"
        ) from None
    if not np.isfinite(value):
        raise TaskError(f"{where}: {row[place]} is not finite")
    if channel.kind == "input" and not channel.minimum <= value <= channel.maximum:
        low, high = (format_quantity(v, channel.unit) for v in (channel.minimum, channel.maximum))
        raise TaskError(
            f"{where}: {format_quantity(value, channel.unit)} is outside the limits {low} to {high}; scale the data"
        )
    return value


def _single(channels: Sequence[Channel], kind: str) -> Channel:
    found = [c for c in channels if c.kind == kind]
    if len(found) != 1:
        raise TaskError(f"this task needs one {kind}; the device has {len(found)}")
    return found[0]


def _two_inputs(channels: Sequence[Channel]) -> list[Channel]:
    inputs = [c for c in channels if c.kind == "input"]
    if len(inputs) != 2:
        raise TaskError(f"this task needs two inputs; the device has {len(inputs)}")
    return inputs


def across(channel: Channel, part: Floats) -> Floats:
    """Where a share 0..1 of the channel's window lies, in equal steps or equal ratios as its spacing says."""
    low, high = window(channel)
    return low * (high / low) ** part if channel.spacing == "log" else low + (high - low) * part


def window(channel: Channel) -> tuple[float, float]:
    """From where to where a task's range is mapped; the other way round for a falling output.

    Raises
    ------
    TaskError: the channel has no window, or one with `spacing: log` begins at 0 or below.
    """
    if channel.window is None:
        raise TaskError(f"{channel.name} has no window; add `window: [from, to]` to it in the station file")
    low, high = channel.window
    if channel.spacing == "log" and low <= 0.0:
        raise TaskError(f"{channel.name}: a window with `spacing: log` begins above 0")
    return (high, low) if channel.falling else (low, high)
