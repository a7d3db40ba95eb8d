"""A balance under a pump's outlet: an operator reads a real one, a simulated one knows what the bench has logged."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from labthermo.errors import InstrumentError, ParameterError
from labthermo.quantity import parse_quantity

DENSITY = 998.2  # g/L: water at 20 degrees Celsius; dilute buffers are within 1 %
NOISE = 2e-4  # g: an ordinary analytical balance, draughts included


def weigh(volume: float, random: np.random.Generator) -> float:
    """What a simulated balance shows (g) for `volume` (L) of buffer."""
    return round(volume * DENSITY + NOISE * float(random.standard_normal()), 4)


class BenchBalance:
    """Weighs what has come out of each pump of a simulated bench, by the bench's own log."""

    def __init__(self, world: Any, seed: int) -> None:
        """world: with ``read_log()`` and ``now()``."""
        self._world = world
        self._random = np.random.default_rng([seed, 5])
        self._taken: dict[str, float] = {}

    def __call__(self, pump: str) -> float:
        """Weight (g) since it was asked last."""
        flows = [e for e in self._world.read_log() if e.channel == pump and e.quantity == "flow"]
        ends = [*(e.time for e in flows[1:]), self._world.now()]
        total = sum(e.actual * (end - e.time) for e, end in zip(flows, ends, strict=True))
        fresh = total - self._taken.get(pump, 0.0)
        self._taken[pump] = total
        return weigh(fresh, self._random)


def ask_operator(pump: str) -> float:
    """What a real balance shows (g), typed in by whoever stands before it.

    Raises
    ------
    InstrumentError: there is no terminal to ask at.
    """
    if not sys.stdin.isatty():
        raise InstrumentError(f"{pump}: somebody has to read the balance; run this on a terminal")
    while True:
        try:
            return parse_quantity(input(f"{pump} has stopped. What does the balance show, such as 1.0021 g? "), "g")
        except ParameterError as error:
            print(error)
