"""Covariance matrix adaptation, by pycma's ask and tell (Hansen, arXiv:1604.00772).

A pycma object cannot be written as JSON, and a pickle is not read back here; but it is a function of its start, its
random numbers and what it was told, so those are the state, and a restored one is told the same again.
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

SPREAD = 0.15  # first standard deviation, of each knob's range


class CmaEs:
    """Evolves from `start`, (n_knobs,) in the unit cube; all randomness comes from `seed`.

    Needs two knobs or more: pycma refuses one.
    """

    def __init__(self, space: KnobSpace, task: Task, start: Floats, seed: int) -> None:
        self._space, self._task = space, task
        self._start, self._seed = np.array(start, dtype=float), seed
        self._told: list[float] = []
        self._begin()

    def ask(self) -> Ask | None:
        if self._strategy.stop():
            return None
        point = self._generation[len(self._told) % self._strategy.popsize]
        query = Query(knobs=self._space.named(point), inputs=self._task.inputs, reset="park")
        return Ask(len(self._told), query, "train")

    def tell(self, response: Response) -> Progress | None:
        error = self._task.error_of(response)
        self._take(error)
        return Progress(error, min(self._told))

    def result(self) -> dict[str, float]:
        return self._space.named(np.asarray(self._strategy.mean))

    def state(self) -> dict[str, Any]:
        return {"start": self._start.tolist(), "seed": self._seed, "told": list(self._told)}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._start, self._seed, self._told = np.array(state["start"]), state["seed"], []
        self._begin()
        for error in state["told"]:
            self._take(error)

    def _begin(self) -> None:
        import cma

        rng = np.random.default_rng([self._seed, 5])
        options = {
            "bounds": [0.0, 1.0],
            "seed": float("nan"),  # or it would seed numpy's global generator
            "randn": lambda *shape: rng.standard_normal(shape),
            "verbose": -9,
            "tolx": 1e-5,
        }
        self._strategy = cma.CMAEvolutionStrategy(self._start.tolist(), SPREAD, options)
        self._generation: list[Floats] = [np.asarray(x) for x in self._strategy.ask()]

    def _take(self, error: float) -> None:
        self._told.append(error)
        size = self._strategy.popsize
        if len(self._told) % size == 0:
            self._strategy.tell(self._generation, self._told[-size:])
            if not self._strategy.stop():
                self._generation = [np.asarray(x) for x in self._strategy.ask()]
