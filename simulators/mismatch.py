"""How a real sample differs from its design: one parametrisation for the hidden truth and for the twin that finds it.

devices.md, section 1: "levels +-1.3 kT in common, +-0.65 kT each; rates, resistors, levers 10 %", where 1.3 kT is
10 % of the first level. Standard-normal coordinates z, one prior for both uses.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulators.network import Gradients, Network

Floats = NDArray[np.float64]


class Mismatch:
    """Maps z ~ N(0, 1) to a sample of `network` whose parameters are off by about `size` (0.1 is 10 %).

    Positive parameters and lever arms are scaled by exp(size*z); the levels of one conductor shift together by
    size*|first level|*z and each by half as much again. A barrier's lever is one number for all rates that it moves,
    and with `tied_rates` the rates of one side are one number too (the NDC-off sample, whose two levels have equal
    rates by construction).

    names: one name per coordinate.
    """

    def __init__(self, network: Network, size: float, tied_rates: bool = False) -> None:
        self._network = network
        self._base, self._weights = network.base, network.weights
        self.names: list[str] = []
        index: dict[str, int] = {}

        def coordinate(name: str) -> int:
            if name not in index:
                index[name] = len(self.names)
                self.names.append(name)
            return index[name]

        entries: list[tuple[int, int, float]] = []
        scaled = np.zeros(len(self._base), dtype=bool)
        for row, (process, field, position) in enumerate(network.parameters):
            edge = network.processes[process]
            kind = type(edge.law).mismatch[field]
            label = f"{process}:{edge.first}-{edge.second}.{field}"
            own = label if position is None else f"{label}[{position}]"
            if kind == "scale":
                scaled[row] = True
                entries.append((row, coordinate(label if tied_rates else own), size))
            elif kind == "level":
                first = next(r for r, name in enumerate(network.parameters) if name[:2] == (process, field))
                shift = size * abs(self._base[first])
                entries.append((row, coordinate(f"{label} (common)"), shift))
                if position is not None:
                    entries.append((row, coordinate(own), 0.5 * shift))
        levers: list[tuple[int, int, int]] = []
        for row, knob in np.argwhere(self._weights != 0):
            process, field, position = network.parameters[row]
            shared = network.exponential[row] or position is None
            part = field if shared else f"{field}[{position}]"
            levers.append((row, knob, coordinate(f"{process}:{part} lever of {network.knobs[knob]}")))
        self._size = size
        self._scaled = scaled
        self._matrix = np.zeros((len(self._base), len(self.names)))
        for row, column, amount in entries:
            self._matrix[row, column] += amount
        self._levers = np.array(levers, dtype=np.int64).reshape(-1, 3)

    def apply(self, z: Floats) -> Network:
        """The sample at coordinates z, (n,)."""
        moved = self._matrix @ z
        base = np.where(self._scaled, self._base * np.exp(np.where(self._scaled, moved, 0.0)), self._base + moved)
        weights = self._weights.copy()
        rows, knobs, columns = self._levers.T
        weights[rows, knobs] *= np.exp(self._size * z[columns])
        return self._network.with_values(base, weights)

    def pull_back(self, sample: Network, gradients: Gradients, knobs: Floats) -> Floats:
        """dL/dz (batch, n) from derivatives by the sample's parameters. knobs: (batch, n_knobs)."""
        out = (gradients.base * np.where(self._scaled, sample.base, 1.0)) @ self._matrix
        weights = sample.weights
        for row, knob, column in self._levers:
            out[:, column] += gradients.linear[:, row] * weights[row, knob] * knobs[:, knob] * self._size
        return out
