"""Levenberg-Marquardt on the device's own residuals, within the knobs' limits, with ask and tell.

Whose Jacobian it is makes the method: the nominal model's at the measured nodes (`physics_aware`), or the true
device's (`adjoint`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labthermo.device import Query, Response
from labthermo.training.knob_space import KnobSpace
from labthermo.training.task import Task
from labthermo.training.trainer import Ask, Progress

Floats = NDArray[np.float64]

# knob values (n_knobs,) and the answer to the training inputs there -> (batch, n_outputs, n_knobs)
Jacobian = Callable[[Floats, Response], Floats]

FIRST_DAMPING = 1e-2
REACH = 0.25  # longest step of a knob, of its range
REJECTIONS = 6  # in a row, before it gives up
STALLED = 1e-3  # relative gain per step below which it is at the bottom, or at the noise
PATIENCE = 4  # such steps in a row


class LevenbergMarquardt:
    """Steps from `start`, (n_knobs,) in the unit cube, by the normal equations scaled as Marquardt did."""

    def __init__(self, space: KnobSpace, task: Task, start: Floats, jacobian: Jacobian) -> None:
        self._space, self._task, self._jacobian = space, task, jacobian
        self._next = np.array(start, dtype=float)
        self._base: tuple[Floats, float, Floats, Floats] | None = None  # point, error, residuals, their derivatives
        self._damping = FIRST_DAMPING
        self._rejected = 0
        self._stalled = 0
        self._asked = 0

    def ask(self) -> Ask | None:
        if self._rejected >= REJECTIONS or self._stalled >= PATIENCE:
            return None
        query = Query(knobs=self._space.named(self._next), inputs=self._task.inputs, reset="park")
        return Ask(self._asked, query, "train")

    def tell(self, response: Response) -> Progress | None:
        self._asked += 1
        error = self._task.error_of(response)
        if self._base is None or error < self._base[1]:
            gain = 1.0 if self._base is None else 1.0 - error / self._base[1]
            self._stalled = self._stalled + 1 if gain < STALLED else 0
            self._base = (self._next, error, *self._linear(response))
            self._damping = max(self._damping / 4.0, 1e-7)
            self._rejected = 0
        else:
            self._damping *= 5.0
            self._rejected += 1
        self._next = self._step()
        return Progress(error, self._base[1])

    def result(self) -> dict[str, float]:
        return self._space.named(self._next if self._base is None else self._base[0])

    def state(self) -> dict[str, Any]:
        base = None
        if self._base is not None:
            point, error, residuals, by_knobs = self._base
            base = [point.tolist(), error, residuals.tolist(), by_knobs.tolist()]
        return {
            "next": self._next.tolist(),
            "base": base,
            "damping": self._damping,
            "rejected": self._rejected,
            "stalled": self._stalled,
            "asked": self._asked,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._next = np.array(state["next"])
        self._base = None
        if state["base"] is not None:
            point, error, residuals, by_knobs = state["base"]
            n = len(self._space)
            self._base = np.array(point), error, np.array(residuals), np.array(by_knobs).reshape(-1, n)
        self._damping, self._asked = state["damping"], state["asked"]
        self._rejected, self._stalled = state["rejected"], state["stalled"]

    def _linear(self, response: Response) -> tuple[Floats, Floats]:
        """Residuals (n,) of what was read, and their derivatives (n, n_knobs) by the unit cube, of the amplitude."""
        known = (response.readable[:, None] & np.isfinite(response.outputs)).ravel()
        by_knobs = self._jacobian(self._space.values(self._next), response) * self._space.width
        by_knobs = by_knobs.reshape(-1, len(self._space))[known]
        finite = np.isfinite(by_knobs).all(axis=1)  # none at a fold, where the answer jumps
        residuals = (response.outputs - self._task.targets).ravel()[known]
        return residuals[finite] / self._task.amplitude, by_knobs[finite] / self._task.amplitude

    def _step(self) -> Floats:
        from scipy.optimize import lsq_linear

        assert self._base is not None
        point, _, residuals, by_knobs = self._base
        scale = np.sqrt(np.sum(by_knobs**2, axis=0))
        damp = np.sqrt(self._damping) * np.maximum(scale, 1e-3 * scale.max(initial=1e-12))
        rows = np.vstack([by_knobs, np.diag(damp)])
        wanted = np.concatenate([-residuals, np.zeros(len(point))])
        low, high = np.maximum(-point, -REACH), np.minimum(1.0 - point, REACH)
        tight = high - low < 1e-9
        step = lsq_linear(rows, wanted, (low - 1e-9 * tight, high + 1e-9 * tight), method="bvls").x
        return np.clip(point + step, 0.0, 1.0)
