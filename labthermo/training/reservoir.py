"""Reservoir computing: the device stays as it is, at random knobs, and a linear read-out of it is trained.

The read-out is a digital layer behind the device with weights of either sign: even a monotone device passes a monotone
floor with it (training.md, section 1). A result is reported as the read-out's, and is never evidence for NDC.
Ridge regression (Hoerl and Kennard, Technometrics 12, 55 (1970)) of the targets on all readings, its penalty chosen by
leave-one-out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labthermo.device import Query, Response
from labthermo.training.knob_space import KnobSpace
from labthermo.training.task import Task
from labthermo.training.trainer import Ask, Progress

Floats = NDArray[np.float64]

PENALTIES = 10.0 ** np.arange(-12, 3)  # of the squared readings, each scaled to unit variance


class Reservoir:
    """One batch at knobs drawn from `seed`; then it has finished."""

    def __init__(self, space: KnobSpace, task: Task, seed: int) -> None:
        self._knobs = space.named(space.draw(np.random.default_rng([seed, 6])))
        self._task = task
        self._weights: Floats | None = None  # (1 + n_readings, n_outputs), of readings as they are

    def ask(self) -> Ask | None:
        if self._weights is not None:
            return None
        return Ask(0, Query(knobs=self._knobs, inputs=self._task.inputs, reset="park"), "train")

    def tell(self, response: Response) -> Progress | None:
        from sklearn.linear_model import RidgeCV

        readings = np.hstack([response.outputs, response.nodes])
        good = response.readable & np.isfinite(readings).all(axis=1)
        n_outputs = self._task.targets.shape[1]
        weights = np.zeros((1 + readings.shape[1], n_outputs))
        weights[0] = self._task.targets.mean(axis=0)
        if good.sum() >= 3:
            middle, width = readings[good].mean(axis=0), readings[good].std(axis=0)
            width[width == 0.0] = 1.0
            targets = self._task.targets[good] / self._task.amplitude
            ridge = RidgeCV(PENALTIES).fit((readings[good] - middle) / width, targets)
            slopes = np.reshape(np.asarray(ridge.coef_), (n_outputs, -1)).T * self._task.amplitude / width[:, None]
            weights = np.vstack([np.asarray(ridge.intercept_) * self._task.amplitude - middle @ slopes, slopes])
        self._weights = weights
        error = self._task.error(self.read_out(response)) if good.all() else 2.0
        return Progress(error, error)

    def read_out(self, response: Response) -> Floats:
        """Answers (batch, n_outputs) from all readings."""
        assert self._weights is not None
        return self._weights[0] + np.hstack([response.outputs, response.nodes]) @ self._weights[1:]

    def result(self) -> dict[str, float]:
        return self._knobs

    def state(self) -> dict[str, Any]:
        return {"weights": None if self._weights is None else self._weights.tolist()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._weights = None if state["weights"] is None else np.array(state["weights"], dtype=float)
