"""How a real sample differs from its design: one parametrisation for the hidden truth and for the twin that finds it.

devices.md, section 1: "levels +-1.3 kT in common, +-0.65 kT each; rates, resistors, levers 10 %", where 1.3 kT is
10 % of the first level. Standard-normal coordinates z, one prior for both uses. A pump is a tenth as far off as the
constants of what it feeds: its bore is known, and it can be weighed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from labthermo.config import Unknowns
from simulators.network import Gradients, Network
from simulators.processes import Edge, Flow, description

Floats = NDArray[np.float64]

PUMP = 0.1  # a pump's deviation, relative to that of other parameters


class Mismatch:
    """Maps z ~ N(0, 1) to a sample of `network` whose parameters are off by about `size` (0.1 is 10 %).

    Positive parameters and lever arms are scaled by exp(size*z); the levels of one conductor shift together by
    size*|first level|*z and each by half as much again. A barrier's lever is one number for all rates that it moves,
    and with `tied_rates` the rates of one side are one number too (the NDC-off sample, whose two levels have equal
    rates by construction). The rate of a flow is scaled as a whole, whatever knobs make it: it is one pump's.

    unknowns: what the design does not have at all, and how much of it may be there: crosstalk between neighbours in
    `gates` (each pair its own share, of either sign), lead levers common to all dots (those of each lead), the
    temperature of all electrons.

    names: one name per coordinate. common_levels: coordinate -> eV per unit of it, of all levels of one conductor.
    """

    def __init__(
        self,
        network: Network,
        size: float,
        tied_rates: bool = False,
        unknowns: Unknowns | None = None,
        gates: Sequence[Sequence[str]] = (),
    ) -> None:
        unknowns = unknowns or Unknowns()
        self._network = network
        self._base, self._weights = network.base, network.weights
        self.names: list[str] = []
        index: dict[str, int] = {}

        def coordinate(name: str) -> int:
            if name not in index:
                index[name] = len(self.names)
                self.names.append(name)
            return index[name]

        self.common_levels: dict[int, float] = {}
        entries: list[tuple[int, int, float]] = []
        scaled = np.zeros(len(self._base), dtype=bool)
        for row, (process, field, position) in enumerate(network.parameters):
            what = network.processes[process]
            kind = "scale" if isinstance(what, Flow) else type(what.law).mismatch[field]
            ends = f"{what.first}-{what.second}" if isinstance(what, Edge) else description(what)
            label = f"{process}:{ends}.{field}"
            own = label if position is None else f"{label}[{position}]"
            if isinstance(what, Flow):
                label = f"{process}:{ends} pump"
                scaled[row] = True
                entries.append((row, coordinate(label), PUMP * size))
            elif kind == "scale":
                scaled[row] = True
                entries.append((row, coordinate(label if tied_rates else own), size))
            elif kind == "level":
                first = next(r for r, name in enumerate(network.parameters) if name[:2] == (process, field))
                shift = size * abs(self._base[first])
                entries.append((row, coordinate(f"{label} (common)"), shift))
                if shift:
                    self.common_levels[index[f"{label} (common)"]] = shift
                if position is not None:
                    entries.append((row, coordinate(own), 0.5 * shift))
            elif field == "lead_levers" and unknowns.lead_levers:
                entries.append((row, coordinate(f"lead lever {position}"), unknowns.lead_levers))
            elif field == "temperature" and unknowns.temperature:
                scaled[row] = True
                entries.append((row, coordinate("temperature"), unknowns.temperature))
        levers: list[tuple[int, int, int]] = []
        sizes: list[float] = []
        for row, knob in np.argwhere(self._weights != 0):
            process, field, position = network.parameters[row]
            what = network.processes[process]
            if isinstance(what, Flow):
                levers.append((row, knob, coordinate(f"{process}:{description(what)} pump")))
                sizes.append(PUMP * size)
                continue
            sizes.append(size)
            shared = network.exponential[row] or position is None
            part = field if shared else f"{field}[{position}]"
            levers.append((row, knob, coordinate(f"{process}:{part} lever of {network.knobs[knob]}")))
        self._pairs = neighbours(gates, network.knobs) if unknowns.crosstalk else []
        self._share = unknowns.crosstalk
        self._cross = np.array(
            [coordinate(f"crosstalk of {network.knobs[k]} at {network.knobs[j]}") for j, k, _ in self._pairs], dtype=int
        )
        self._sizes = np.array(sizes)
        self._scaled = scaled
        self._matrix = np.zeros((len(self._base), len(self.names)))
        for row, column, amount in entries:
            self._matrix[row, column] += amount
        self._levers = np.array(levers, dtype=np.int64).reshape(-1, 3)

    def apply(self, z: Floats) -> Network:
        """The sample at coordinates z, (n,)."""
        moved = self._matrix @ z
        base = np.where(self._scaled, self._base * np.exp(np.where(self._scaled, moved, 0.0)), self._base + moved)
        return self._network.with_values(base, self._own(z) @ self._matrix_of_gates(z))

    def pull_back(self, z: Floats, sample: Network, gradients: Gradients, knobs: Floats) -> Floats:
        """dL/dz (batch, n) from derivatives by the parameters of `sample`, which is at z. knobs: (batch, n_knobs)."""
        unit = np.where(self._scaled & np.isfinite(sample.base), sample.base, 1.0)  # what is infinite stays so
        out = (gradients.base * unit) @ self._matrix
        own = self._own(z)
        acting = knobs @ self._matrix_of_gates(z).T  # each gate's voltage at its own place
        for (row, knob, column), size in zip(self._levers, self._sizes, strict=True):
            out[:, column] += gradients.linear[:, row] * own[row, knob] * acting[:, knob] * size
        if self._pairs:
            by_place = gradients.linear @ own
            for (place, gate, order), column in zip(self._pairs, self._cross, strict=True):
                out[:, column] += by_place[:, place] * knobs[:, gate] * self._share**order
        return out

    def _own(self, z: Floats) -> Floats:
        """What each gate's voltage at its own place does to every parameter, (n_parameters, n_knobs)."""
        weights = self._weights.copy()
        rows, knobs, columns = self._levers.T
        weights[rows, knobs] *= np.exp(self._sizes * z[columns])
        return weights

    def _matrix_of_gates(self, z: Floats) -> Floats:
        return crosstalk_matrix(len(self._network.knobs), self._pairs, self._share, z[self._cross])


def neighbours(gates: Sequence[Sequence[str]], knobs: Sequence[str]) -> list[tuple[int, int, int]]:
    """(place, gate, order) of every pair of knobs that act on each other's place, as indices into `knobs`.

    gates: rows of gates side by side. order: 1 for the next one, 2 for the next but one; farther ones are screened.
    """
    found = []
    for row in gates:
        at = [knobs.index(name) for name in row]
        found += [(at[i], at[j], abs(i - j)) for i in range(len(at)) for j in range(len(at)) if 1 <= abs(i - j) <= 2]
    return found


def crosstalk_matrix(n: int, pairs: Sequence[tuple[int, int, int]], size: float, share: Floats) -> Floats:
    """Voltages of n gates to voltages at their places, (n, n): 1 for its own, share * size**order for a pair."""
    matrix = np.eye(n)
    for (place, gate, order), part in zip(pairs, share, strict=True):
        matrix[place, gate] = part * size**order
    return matrix
