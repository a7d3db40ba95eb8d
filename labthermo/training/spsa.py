"""Simultaneous perturbation: two measurements a step, for any number of knobs (Spall, IEEE TAC 37, 332 (1992)).

Gains a/(k+1+A)^0.602 and c/(k+1)^0.101 (Spall 1998). The first steps set `a`: from the mean slope seen in them, so
that the first move is FIRST_MOVE of the knobs' ranges.
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

PERTURBATION = 0.03  # of each knob's range
FIRST_MOVE = 0.02
STABILITY = 20  # Spall's A, in steps
SLOPES = 4  # steps from which the gain is set
STEPS = 400


class Spsa:
    """Descends the squared error from `start`, (n_knobs,) in the unit cube; all randomness comes from `seed`."""

    def __init__(self, space: KnobSpace, task: Task, start: Floats, seed: int) -> None:
        self._space, self._task = space, task
        self._rng = np.random.default_rng([seed, 4])
        self._x = np.array(start, dtype=float)
        self._step = 0
        self._slopes: list[float] = []
        self._signs: Floats | None = None
        self._plus: float | None = None
        self._lowest = np.inf
        self._asked = 0

    def ask(self) -> Ask | None:
        if self._step >= STEPS:
            return None
        if self._signs is None:
            self._signs = self._rng.choice([-1.0, 1.0], len(self._x))
        side = 1.0 if self._plus is None else -1.0
        knobs = self._space.named(self._x + side * self._width() * self._signs)
        return Ask(self._asked, Query(knobs=knobs, inputs=self._task.inputs, reset="park"), "train")

    def tell(self, response: Response) -> Progress | None:
        self._asked += 1
        error = self._task.error_of(response)
        self._lowest = min(self._lowest, error)
        if self._plus is None:
            self._plus = error
        else:
            self._move(self._plus**2 - error**2)
            self._signs, self._plus = None, None
        return Progress(error, self._lowest)

    def result(self) -> dict[str, float]:
        return self._space.named(self._x)

    def state(self) -> dict[str, Any]:
        return {
            "x": self._x.tolist(),
            "step": self._step,
            "slopes": list(self._slopes),
            "signs": None if self._signs is None else self._signs.tolist(),
            "plus": self._plus,
            "lowest": None if np.isinf(self._lowest) else self._lowest,
            "asked": self._asked,
            "rng": self._rng.bit_generator.state,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._x = np.array(state["x"])
        self._step, self._slopes, self._plus = state["step"], list(state["slopes"]), state["plus"]
        self._signs = None if state["signs"] is None else np.array(state["signs"])
        self._lowest = np.inf if state["lowest"] is None else state["lowest"]
        self._asked = state["asked"]
        self._rng.bit_generator.state = state["rng"]

    def _width(self) -> float:
        return PERTURBATION / (self._step + 1) ** 0.101

    def _move(self, difference: float) -> None:
        assert self._signs is not None
        slope = difference / (2.0 * self._width())
        if len(self._slopes) < SLOPES:
            self._slopes.append(abs(slope))
        typical = float(np.mean(self._slopes))
        if typical > 0.0:
            decay = ((1 + STABILITY) / (self._step + 1 + STABILITY)) ** 0.602
            move = FIRST_MOVE * decay * slope / typical
            # one step whose slope is far above what was typical would leave the valley
            self._x = np.clip(self._x - np.clip(move, -4.0 * FIRST_MOVE, 4.0 * FIRST_MOVE) * self._signs, 0.0, 1.0)
        self._step += 1
