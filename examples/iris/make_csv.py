"""Make iris.csv: real measurements, scaled to the windows of station.yaml, and say what a monotone fit reaches on them.

    python examples/iris/make_csv.py

The data are Anderson's irises of 1935, as scikit-learn ships them: 150 flowers, petal width (x) and sepal width (y),
in cm. Over all flowers the sepal width rises, falls and rises again while the petal width only rises: the three
species follow one another along x. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from sklearn.datasets import load_iris
from sklearn.isotonic import IsotonicRegression

from labthermo.config import load_station
from labthermo.limits import device_channels
from labthermo.training.task import Task, from_csv

HERE = Path(__file__).parent
PETAL_WIDTH, SEPAL_WIDTH = 3, 1  # columns of scikit-learn's table


def scaled(column: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """The smallest value goes to the window's low end, the largest to its high end."""
    share = (column - column.min()) / np.ptp(column)
    return window[0] + share * (window[1] - window[0])


def write_csv(path: Path, x_window: tuple[float, float], y_window: tuple[float, float]) -> None:
    """Write the flowers in their order, in volts at the sample."""
    flowers = np.asarray(load_iris(return_X_y=True)[0])
    x, y = scaled(flowers[:, PETAL_WIDTH], x_window), scaled(flowers[:, SEPAL_WIDTH], y_window)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["x", "y"])
        rows.writerows((f"{a:.6e}", f"{b:.6e}") for a, b in zip(x, y, strict=True))


def monotone(task: Task, increasing: bool) -> float:
    """A monotone curve fitted to the training rows, scored on the held-out rows."""
    curve = IsotonicRegression(increasing=increasing, out_of_bounds="clip")
    curve.fit(task.inputs[:, 0], task.targets[:, 0])
    return task.score(curve.predict(task.score_inputs[:, 0])[:, None])


def averages(task: Task) -> float:
    """The mean of the training rows with the same x (or the nearest x), scored on the held-out rows: no shape asked."""
    at, which = np.unique(task.inputs[:, 0], return_inverse=True)
    mean = np.bincount(which, task.targets[:, 0]) / np.bincount(which)
    nearest = np.argmin(np.abs(task.score_inputs - at[None, :]), axis=1)
    return task.score(mean[nearest][:, None])


def polynomial(task: Task, degree: int = 6) -> float:
    """A polynomial fitted to the training rows, scored on the held-out rows: smooth, free to go up and down."""
    curve = np.polynomial.Polynomial.fit(task.inputs[:, 0], task.targets[:, 0], degree)
    return task.score(curve(task.score_inputs))


def main() -> None:
    """Write the file, then print the errors of curves on the held-out rows, as fractions of the amplitude."""
    arguments = argparse.ArgumentParser(description="Make iris.csv and score monotone and free curves on it.")
    arguments.add_argument("--out", type=Path, default=HERE / "iris.csv", help="the file to write")
    arguments.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="each holds out other rows")
    given = arguments.parse_args()
    channels = device_channels(load_station(HERE / "station.yaml"))
    windows = {channel.name: channel.window for channel in channels if channel.window}
    write_csv(given.out, windows["x"], windows["y"])
    print(f"wrote {given.out}")
    print("seed  rows  held out  rising, fitted  rising, bound  falling, fitted  polynomial  mean at x")
    for seed in given.seeds:
        task = from_csv(given.out, channels, seed)
        rows, held = len(task.inputs), len(task.score_inputs)
        rising, falling = monotone(task, increasing=True), monotone(task, increasing=False)
        print(
            f"{seed:4d}  {rows:4d}  {held:8d}  {rising:14.3f}  {task.floor():13.3f}  {falling:15.3f}"
            f"  {polynomial(task):10.3f}  {averages(task):9.3f}"
        )


if __name__ == "__main__":
    main()
