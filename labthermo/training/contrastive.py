"""Learning from contrast: the device at rest, and at rest again with a small current at its outputs.

The nodes' shifts are what back-propagation would have computed, as far as the device is reciprocal; a conductor's own
law, at the potentials measured at its ends, turns them into a gradient by its gates. What is injected, and whether the
shifts need mending, is the rule's own (`equilibrium_propagation`, `coupled_learning`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from labthermo.device import Query, Response
from labthermo.tangent import Tangent
from labthermo.training.adam import Adam
from labthermo.training.knob_space import KnobSpace
from labthermo.training.task import Task
from labthermo.training.trainer import Ask, Progress
from labthermo.twin import Twin

Floats = NDArray[np.float64]

RATE = 0.02  # of each knob's range, the first steps
DECAY = 60  # steps after which the rate is half
PATIENCE = 40  # steps without a lower error before it gives up


class Rule(Protocol):
    """What is injected in a nudged phase, and what its shifts mean."""

    sides: tuple[float, ...]
    """The nudged phases: +1, or +1 and -1."""

    def first(self, tangent: Tangent, error: Floats) -> Floats:
        """Currents (batch, n_free), A, for the side +1. error: (batch, n_outputs), target minus answer, V."""
        ...

    def again(self, tangent: Tangent, error: Floats, injected: Floats, shift: Floats) -> Floats | None:
        """Other currents for the side +1, where the answer `shift` (batch, n_free), V, asks for them; None where not.

        `injected` and `shift` are turned to the side +1 where they were measured on the other.
        """
        ...

    def force(self, tangent: Tangent) -> float:
        """A per V: the shifts divided by it are those for a unit of error."""
        ...


class Contrastive:
    """Descends the squared error from `start`, (n_knobs,) in the unit cube, by measured contrasts.

    model: the device as designed, never re-fitted: it gives the conductors' derivatives by their gates at the measured
    nodes, and the potentials of nodes that are not read. Every phase is a batch of device queries.
    """

    def __init__(self, space: KnobSpace, task: Task, start: Floats, model: Twin, rule: Rule) -> None:
        self._space, self._task, self._model, self._rule = space, task, model, rule
        self._x = np.array(start, dtype=float)
        self._adam = Adam(len(space))
        self._step, self._asked, self._stale = 0, 0, 0
        self._lowest = np.inf
        self._free: Floats | None = None  # readings at rest; what follows is worked out from them
        self._side = 0
        self._currents: Floats | None = None  # of the phase to come, on its own side
        self._mended = False
        self._shift: Floats | None = None  # sum over the sides so far
        self.gradient: Floats | None = None
        """Of half the sum of squared errors by the knobs, (n_knobs,), V^2 per unit: the newest."""

    def ask(self) -> Ask | None:
        if self._stale >= PATIENCE:
            return None
        query = Query(knobs=self._space.named(self._x), inputs=self._task.inputs, reset="park")
        if self._free is None:
            return Ask(self._asked, query, "train")
        nudge = self._nudge(self._tangent(self._free, None))
        return Ask(self._asked, Query(query.knobs, query.inputs, nudge, "park"), "nudge")

    def tell(self, response: Response) -> Progress | None:
        self._asked += 1
        readings = np.hstack([response.outputs, response.nodes])
        readings[~response.readable] = np.nan
        if self._free is None:
            self._free = readings
            tangent = self._tangent(readings, None)
            self._currents = self._rule.first(tangent, self._error(tangent))
            self._side, self._mended, self._shift = 0, False, np.zeros_like(tangent.potentials)
            error = self._task.error_of(response)
            self._stale = 0 if error < self._lowest else self._stale + 1
            self._lowest = min(self._lowest, error)
            return Progress(error, self._lowest)
        self._after_nudge(readings)
        return None

    def result(self) -> dict[str, float]:
        return self._space.named(self._x)

    def state(self) -> dict[str, Any]:
        def plain(array: Floats | None) -> list[Any] | None:
            return None if array is None else array.tolist()

        return {
            "x": self._x.tolist(),
            "adam": self._adam.state(),
            "step": self._step,
            "asked": self._asked,
            "stale": self._stale,
            "lowest": None if np.isinf(self._lowest) else self._lowest,
            "free": plain(self._free),
            "side": self._side,
            "currents": plain(self._currents),
            "mended": self._mended,
            "shift": plain(self._shift),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        def array(name: str) -> Floats | None:
            return None if state[name] is None else np.array(state[name], dtype=float)

        self._x = np.array(state["x"])
        self._adam.restore(state["adam"])
        self._step, self._asked, self._stale = state["step"], state["asked"], state["stale"]
        self._lowest = np.inf if state["lowest"] is None else state["lowest"]
        self._free, self._currents, self._shift = array("free"), array("currents"), array("shift")
        self._side, self._mended = state["side"], state["mended"]

    def _after_nudge(self, readings: Floats) -> None:
        assert self._free is not None
        assert self._currents is not None
        assert self._shift is not None
        tangent = self._tangent(self._free, None)
        sign = self._rule.sides[self._side]
        shift = self._tangent(readings, self._nudge(tangent)).potentials - tangent.potentials
        lost = ~(np.isfinite(readings).all(axis=1) & np.isfinite(self._free).all(axis=1))
        shift[lost] = 0.0
        if not self._mended:
            better = self._rule.again(tangent, self._error(tangent), sign * self._currents, sign * shift)
            if better is not None:
                self._currents, self._mended = sign * better, True
                return
        total = self._shift + sign * shift
        self._shift = total
        self._side += 1
        self._mended = False
        if self._side < len(self._rule.sides):
            self._currents = self._rule.sides[self._side] * self._rule.first(tangent, self._error(tangent))
            return
        contrast = total / len(self._rule.sides) / self._rule.force(tangent)
        gradient: Floats = -np.einsum("bn,bnk->k", contrast, np.nan_to_num(tangent.by_knobs))
        self.gradient = gradient
        rate = RATE / (1.0 + self._step / DECAY)
        self._x = np.clip(self._x + self._adam.step(gradient * self._space.width, rate), 0.0, 1.0)
        self._step += 1
        self._free = self._currents = self._shift = None

    def _tangent(self, readings: Floats, nudge: Floats | None) -> Tangent:
        settings = np.tile(self._space.values(self._x), (len(readings), 1))
        return self._model.tangent(settings, self._task.inputs, readings, nudge)

    def _error(self, tangent: Tangent) -> Floats:
        """Target minus answer, V; 0 where nothing was read."""
        assert self._free is not None
        return np.nan_to_num(self._task.targets - self._free[:, : tangent.n_outputs])

    def _nudge(self, tangent: Tangent) -> Floats:
        """The currents of the phase to come as a query takes them, (batch, n_readings)."""
        assert self._currents is not None
        return np.where(tangent.nodes >= 0, self._currents[:, tangent.nodes], 0.0)
