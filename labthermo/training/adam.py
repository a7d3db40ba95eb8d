"""Adam (Kingma and Ba, arXiv:1412.6980), with its state as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FIRST, SECOND, TINY = 0.9, 0.99, 1e-12


class Adam:
    """Steps for a gradient of n numbers."""

    def __init__(self, n: int) -> None:
        self._mean, self._square, self._steps = np.zeros(n), np.zeros(n), 0

    def step(self, gradient: Floats, rate: float) -> Floats:
        """What to add to the parameters, (n,): about `rate` each at first."""
        self._steps += 1
        self._mean = FIRST * self._mean + (1.0 - FIRST) * gradient
        self._square = SECOND * self._square + (1.0 - SECOND) * gradient**2
        mean = self._mean / (1.0 - FIRST**self._steps)
        square = self._square / (1.0 - SECOND**self._steps)
        return -rate * mean / (np.sqrt(square) + TINY)

    def state(self) -> dict[str, Any]:
        """JSON-able."""
        return {"mean": self._mean.tolist(), "square": self._square.tolist(), "steps": self._steps}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become the one that gave this state."""
        self._mean, self._square = np.array(state["mean"]), np.array(state["square"])
        self._steps = state["steps"]
