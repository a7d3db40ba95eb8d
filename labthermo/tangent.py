"""A model's equations made linear at the nodes that were measured: what local learning rules work with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Tangent:
    """The net flow into every free node, to first order about given potentials.

    potentials: (batch, n_free), V. jacobian: (batch, n_free, n_free), A/V, flow into a node by a node's potential.
    by_knobs: (batch, n_free, n_knobs), A per unit of the knob, in the device's order.
    nodes: (n_readings,), which free node each reading (outputs, then nodes) sees, -1 for a current.
    gains: (n_readings,), reading per potential. n_outputs: how many of the readings are outputs.
    """

    potentials: Floats
    jacobian: Floats
    by_knobs: Floats
    nodes: NDArray[np.int64]
    gains: Floats
    n_outputs: int

    def outputs_by_knobs(self) -> Floats:
        """Derivatives of the outputs where the nodes come to rest, (batch, n_outputs, n_knobs)."""
        moved = np.asarray(-np.linalg.solve(self.jacobian, self.by_knobs), dtype=np.float64)
        columns = self.nodes[: self.n_outputs]
        return moved[:, columns] * self.gains[: self.n_outputs, None]

    def output_resistance(self) -> Floats:
        """V that an output rises per A injected there, (batch, n_outputs)."""
        columns = self.nodes[: self.n_outputs]
        inverse = np.asarray(-np.linalg.inv(self.jacobian), dtype=np.float64)
        return inverse[:, columns, columns]
