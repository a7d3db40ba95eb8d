"""The simplex of Nelder and Mead, with ask and tell, for few knobs.

Moves and their order: Lagarias et al., SIAM J. Optim. 9, 112 (1998); coefficients by the number of knobs: Gao and Han,
Comput. Optim. Appl. 51, 259 (2012). scipy's own owns its loop.
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

EDGE = 0.15  # of the first simplex, of each knob's range
SMALLEST = 1e-3  # of the last one


class NelderMead:
    """Moves a simplex from `start`, (n_knobs,) in the unit cube. Deterministic: `seed` only turns the first edges."""

    def __init__(self, space: KnobSpace, task: Task, start: Floats, seed: int) -> None:
        self._space, self._task = space, task
        n = len(start)
        signs = np.random.default_rng([seed, 6]).choice([-1.0, 1.0], n)
        corners = [np.array(start, dtype=float)]
        for k in range(n):
            corner = corners[0].copy()
            step = EDGE * signs[k]
            corner[k] += step if 0.0 <= corner[k] + step <= 1.0 else -step
            corners.append(corner)
        self._corners: list[Floats] = corners  # sorted, best first, once all are measured
        self._errors: list[float] = []
        self._stage = "build"  # build, reflect, expand, outside, inside
        self._reflected: tuple[list[float], float] | None = None
        self._lowest = np.inf
        self._asked = 0

    def ask(self) -> Ask | None:
        if self._stage != "build" and np.ptp(np.array(self._corners), axis=0).max() < SMALLEST:
            return None
        query = Query(knobs=self._space.named(self._point()), inputs=self._task.inputs, reset="park")
        return Ask(self._asked, query, "train")

    def tell(self, response: Response) -> Progress | None:
        error = self._task.error_of(response)
        point = np.clip(self._point(), 0.0, 1.0)
        self._asked += 1
        self._lowest = min(self._lowest, error)
        if self._stage == "build":
            self._errors.append(error)
            if len(self._errors) == len(self._corners):
                self._sort()
        elif self._stage == "reflect":
            self._after_reflection(point, error)
        else:
            self._after_second(point, error)
        return Progress(error, self._lowest)

    def result(self) -> dict[str, float]:
        return self._space.named(self._corners[0])

    def state(self) -> dict[str, Any]:
        return {
            "corners": [c.tolist() for c in self._corners],
            "errors": list(self._errors),
            "stage": self._stage,
            "reflected": None if self._reflected is None else list(self._reflected),
            "lowest": None if np.isinf(self._lowest) else self._lowest,
            "asked": self._asked,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._corners = [np.array(c) for c in state["corners"]]
        self._errors, self._stage, self._asked = list(state["errors"]), state["stage"], state["asked"]
        self._reflected = None if state["reflected"] is None else (state["reflected"][0], state["reflected"][1])
        self._lowest = np.inf if state["lowest"] is None else state["lowest"]

    def _point(self) -> Floats:
        if self._stage == "build":
            return self._corners[len(self._errors)]
        n = max(2, len(self._corners) - 1)
        centre = np.mean(self._corners[:-1], axis=0)
        away = centre - self._corners[-1]
        part = {"reflect": 1.0, "expand": 1.0 + 2.0 / n, "outside": 0.75 - 0.5 / n, "inside": -(0.75 - 0.5 / n)}
        return centre + part[self._stage] * away

    def _after_reflection(self, point: Floats, error: float) -> None:
        if self._errors[0] <= error < self._errors[-2]:
            self._replace(point, error)
            return
        self._reflected = (point.tolist(), error)
        if error < self._errors[0]:
            self._stage = "expand"
        else:
            self._stage = "outside" if error < self._errors[-1] else "inside"

    def _after_second(self, point: Floats, error: float) -> None:
        assert self._reflected is not None
        reflected, before = self._reflected
        if self._stage == "expand" and error >= before:
            self._replace(np.array(reflected), before)
        elif self._stage == "expand" or error <= min(before, self._errors[-1]):
            self._replace(point, error)
        else:
            shrink = 1.0 - 1.0 / max(2, len(self._corners) - 1)
            best = self._corners[0]
            self._corners = [best, *(best + shrink * (c - best) for c in self._corners[1:])]
            self._errors = self._errors[:1]
            self._stage, self._reflected = "build", None

    def _replace(self, point: Floats, error: float) -> None:
        self._corners[-1], self._errors[-1] = point, error
        self._sort()

    def _sort(self) -> None:
        order = np.argsort(self._errors, kind="stable")
        self._corners = [self._corners[k] for k in order]
        self._errors = [self._errors[k] for k in order]
        self._stage, self._reflected = "reflect", None
