"""What a trainer may ask of a twin: a differentiable model of the device that learns from what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Twin(Protocol):
    """A model of a device at its channels.

    knobs (batch, n_knobs) and inputs (batch, n_inputs) in the device's order; readings (batch, n_readings) are the
    outputs, then the nodes.
    """

    def respond(self, knobs: Floats, inputs: Floats) -> Floats:
        """Readings, each relaxed from rest."""
        ...

    def jacobian(self, knobs: Floats, inputs: Floats) -> tuple[Floats, Floats]:
        """Outputs (batch, n_outputs) and their derivatives by the knobs, (batch, n_outputs, n_knobs)."""
        ...

    def refit(self, knobs: Floats, inputs: Floats, readings: Floats, sigma: Floats) -> float:
        """Move to the most probable device given these readings; chi-squared per reading there. NaN is left out."""
        ...

    def parameters(self) -> dict[str, tuple[float, float, float]]:
        """Name -> (estimate, prior width, posterior width)."""
        ...

    def conductor_curves(self, knobs: Floats, bias: float) -> list[tuple[str, Floats, Floats]]:
        """(label, bias, current) of each nonlinear conductor at these knobs, for biases from 0 to `bias`."""
        ...

    def state(self) -> dict[str, Any]:
        """All that :meth:`restore` needs, JSON-able."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become the twin that gave this state."""
        ...
