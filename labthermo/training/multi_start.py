"""Several starts for a method that climbs from one: a single start succeeds about half the time (training.md, 2).

Every start is scouted with a few queries; the method climbs from the best, and when it gets no further, from the next.
It ends early where the answers agree with the targets to within read noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labthermo.device import Query, Response
from labthermo.training.knob_space import KnobSpace
from labthermo.training.task import Task
from labthermo.training.trainer import Ask, Progress, Trainer

Floats = NDArray[np.float64]

STARTS = 8
SCOUT_INPUTS = 8
GOOD = 0.002  # of the amplitude: nothing more is to be gained
TURN = 7919  # between the seeds of two climbs

Climb = Callable[[Floats, int], Trainer]


class MultiStart:
    """Scouts random starts, then climbs from the best ones in turn.

    climb: makes a trainer from a start (n_knobs,) in the unit cube and a seed. starts: how many are scouted. A climb
    asks all training inputs or some of them; only what answers all of them is a candidate for the result.
    """

    def __init__(self, space: KnobSpace, task: Task, seed: int, climb: Climb, starts: int = STARTS) -> None:
        self._space, self._task, self._seed, self._climb = space, task, seed, climb
        rng = np.random.default_rng([seed, 3])
        self._starts = [space.draw(rng) for _ in range(starts)]
        every = np.linspace(0, len(task.inputs) - 1, min(SCOUT_INPUTS, len(task.inputs))).round().astype(int)
        self._rows = np.unique(every)
        self._asked = 0
        self._scouted: list[float] = []
        self._turn = 0
        self._inner: Trainer | None = None
        self._best: tuple[float, dict[str, float]] | None = None
        self._finished = False
        self._ask: Ask | None = None

    def ask(self) -> Ask | None:
        if self._finished:
            return None
        if self._ask is None:
            self._ask = self._make_ask()
        return self._ask

    def tell(self, response: Response) -> Progress | None:
        ask = self._ask
        if ask is None:
            raise RuntimeError("tell() without ask()")
        self._ask = None
        self._asked += 1
        if len(self._scouted) < len(self._starts):
            self._scouted.append(self._task.error_of(response, self._rows))
            return None
        assert self._inner is not None
        progress = self._inner.tell(response)
        whole = ask.query.nudge is None and np.array_equal(np.asarray(ask.query.inputs), self._task.inputs)
        if not whole:
            return progress
        error = self._task.error_of(response)
        if self._best is None or error < self._best[0]:
            self._best = (error, dict(ask.query.knobs))
        self._finished = error < GOOD or agrees(self._task, response)
        return Progress(error, self._best[0])

    def result(self) -> dict[str, float]:
        if self._best is not None:
            return self._best[1]
        start = self._starts[int(np.argmin(self._scouted))] if self._scouted else self._starts[0]
        return self._space.named(start)

    def state(self) -> dict[str, Any]:
        return {
            "asked": self._asked,
            "scouted": list(self._scouted),
            "turn": self._turn,
            "inner": None if self._inner is None else self._inner.state(),
            "best": None if self._best is None else [self._best[0], self._best[1]],
            "finished": self._finished,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._asked, self._turn, self._finished = state["asked"], state["turn"], state["finished"]
        self._scouted = list(state["scouted"])
        self._best = None if state["best"] is None else (state["best"][0], dict(state["best"][1]))
        self._inner = None
        if state["inner"] is not None:
            self._inner = self._begin()
            self._inner.restore(state["inner"])
        self._ask = None

    def _begin(self) -> Trainer:
        order = np.argsort(self._scouted, kind="stable")
        return self._climb(self._starts[order[self._turn]], self._seed + TURN * self._turn)

    def _make_ask(self) -> Ask | None:
        if len(self._scouted) < len(self._starts):
            knobs = self._space.named(self._starts[len(self._scouted)])
            query = Query(knobs=knobs, inputs=self._task.inputs[self._rows], reset="park")
            return Ask(self._asked, query, "scout")
        if self._inner is None:
            self._inner = self._begin()
        while (inner := self._inner.ask()) is None:
            if self._turn + 1 == len(self._starts):
                self._finished = True
                return None
            self._turn += 1
            self._inner = self._begin()
        return Ask(self._asked, inner.query, inner.phase)


def agrees(task: Task, response: Response) -> bool:
    """Whether the answers to all training inputs fit their targets as well as read noise allows: by chi-squared.

    Chi-squared per reading is at most 1 plus two of its standard deviations, sqrt(2/n); every answer was read.
    """
    if not np.all(np.isfinite(response.outputs)) or not np.all(response.sigma > 0.0):
        return False
    chi_squared = float(np.mean(((response.outputs - task.targets) / response.sigma) ** 2))
    return chi_squared <= 1.0 + 2.0 * math.sqrt(2.0 / response.outputs.size)
