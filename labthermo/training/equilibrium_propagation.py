"""Equilibrium propagation (Scellier and Bengio, Front. Comput. Neurosci. 11, 24 (2017)), centred: nudged both ways.

The shifts of the nodes measure the inverse of the Jacobian, where back-propagation needs its transpose: exact where
every conductor depends on the difference of its ends, biased for dots, whose levels are fixed against ground, and for
enzymes (physics.md, section 1). The asymmetric kind (arXiv:2602.03670) adds -(J - J^T)(V - V0) to the flows in the
nudged phase, which makes it exact again. On a bench that is a feedback of currents into every free node, in proportion
to their measured shifts; it is closed here in two rounds, the first from the model's J.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labthermo.errors import ParameterError
from labthermo.tangent import Tangent

Floats = NDArray[np.float64]

NUDGE = 0.15  # of its error, by which an output is moved
CLOSED = 0.02  # largest part of the nudge by which the feedback may be off without another round


class EquilibriumPropagation:
    """The rule: a current in proportion to the error. asymmetric: with the feedback."""

    sides = (1.0, -1.0)

    def __init__(self, asymmetric: bool = False, strength: float = NUDGE) -> None:
        self._asymmetric, self._strength = asymmetric, strength

    def first(self, tangent: Tangent, error: Floats) -> Floats:
        wanted = self._wanted(tangent, error)
        if not self._asymmetric:
            return wanted
        return _through(tangent, wanted)

    def again(self, tangent: Tangent, error: Floats, injected: Floats, shift: Floats) -> Floats | None:
        if not self._asymmetric:
            return None
        wanted = self._wanted(tangent, error)
        skew = tangent.jacobian - np.swapaxes(tangent.jacobian, 1, 2)
        off = injected - wanted + np.einsum("bij,bj->bi", skew, shift)
        if np.linalg.norm(off) <= CLOSED * np.linalg.norm(wanted):
            return None
        return injected - _through(tangent, off)

    def force(self, tangent: Tangent) -> float:
        return self._strength / float(np.median(np.abs(tangent.output_resistance())))

    def _wanted(self, tangent: Tangent, error: Floats) -> Floats:
        currents = np.zeros_like(tangent.potentials)
        currents[:, tangent.nodes[: tangent.n_outputs]] = self.force(tangent) * error
        return currents


def require_all_nodes(tangent: Tangent) -> None:
    """Raises
    ------
    ParameterError: a free node is not read, so nothing can be fed back into it.
    """
    unread = tangent.potentials.shape[1] - len(set(tangent.nodes[tangent.nodes >= 0].tolist()))
    if unread:
        raise ParameterError(
            f"asymmetric equilibrium propagation feeds back into every free node, and {unread} of this device's are "
            "not read; read them (`nodes` in the station file), or use equilibrium_propagation"
        )


def _through(tangent: Tangent, wanted: Floats) -> Floats:
    """Currents that shift the nodes as `wanted` would if the Jacobian were its transpose: J J^-T wanted."""
    transposed = np.swapaxes(tangent.jacobian, 1, 2)
    return np.einsum("bij,bj->bi", tangent.jacobian, np.linalg.solve(transposed, wanted[:, :, None])[:, :, 0])
