"""Coupled learning (Stern et al., Phys. Rev. X 11, 021045 (2021)): outputs are clamped nearer to their targets.

What clamps them is the current source at the output, servoed: a first current from the model's resistance, a second
from what the first one did. It descends not the squared error but the power that clamping costs, whose minimum is the
same where the task can be learnt.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labthermo.tangent import Tangent

Floats = NDArray[np.float64]

CLAMP = 0.2  # of the error, by which a clamped output stands nearer
NEAR = 0.1  # of the clamp, within which no second current is needed


class CoupledLearning:
    """The rule: outputs moved by a fixed part of their error."""

    sides = (1.0,)

    def first(self, tangent: Tangent, error: Floats) -> Floats:
        currents = np.zeros_like(tangent.potentials)
        currents[:, tangent.nodes[: tangent.n_outputs]] = CLAMP * error / tangent.output_resistance()
        return currents

    def again(self, tangent: Tangent, error: Floats, injected: Floats, shift: Floats) -> Floats | None:
        columns = tangent.nodes[: tangent.n_outputs]
        wanted, moved = CLAMP * error, shift[:, columns] * tangent.gains[: tangent.n_outputs]
        if np.linalg.norm(moved - wanted) <= NEAR * np.linalg.norm(wanted):
            return None
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = np.nan_to_num(wanted / moved, nan=1.0, posinf=1.0, neginf=1.0)
        better = injected.copy()
        better[:, columns] *= np.clip(factor, 0.3, 3.0)
        return better

    def force(self, tangent: Tangent) -> float:
        """Per V of error; the median over the training inputs, so that the gradient's scale is that of the error's."""
        return CLAMP / float(np.median(np.abs(tangent.output_resistance())))
