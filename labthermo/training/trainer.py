"""What a trainer is: it asks and is told, and never owns the loop or touches an instrument."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from labthermo.device import Query, Response


@dataclass(frozen=True)
class Ask:
    """A batch to measure. `id` counts up from 0; `phase` says in a word or two what it is for."""

    id: int
    query: Query
    phase: str


@dataclass(frozen=True)
class Progress:
    """Where a trainer stands: measured error of its last batch and the lowest so far, as fractions of the amplitude."""

    rmse: float
    best: float


class Trainer(Protocol):
    """A training method.

    `state()` is JSON-able and complete: a trainer restored from it asks exactly what the lost one would have asked.
    """

    def ask(self) -> Ask | None:
        """The next batch; the same one until it has been told. None when the trainer has finished."""
        ...

    def tell(self, response: Response) -> Progress | None:
        """Take the answer to the last ask, any status among it. None where the batch was not for scoring."""
        ...

    def result(self) -> dict[str, float]:
        """The knobs to keep."""
        ...

    def state(self) -> dict[str, Any]:
        """Everything, JSON-able."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become the trainer that gave this state."""
        ...
