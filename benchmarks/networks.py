"""Seeded random networks with many stable states, for the benchmarks: conductors with NDC, and enzymes.

Each is kept twice: as a :class:`simulators.Network`, and as plain numpy arrays with formulas of their own, so that what
is compared with the engine shares no code with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from simulators import Edge, Network, Reaction, conductors

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

TERMINALS = ("x", "lo")


@dataclass(frozen=True)
class NdcNetwork:
    """Nodes of 1 pF, each with one linear lead to a terminal, and Gaussian-NDC conductors between random pairs.

    terminal: (n,), 0 or 1, where each node's lead goes; lead: (n,), S. first, second: (m,), the nodes of each
    conductor; conductance, width, leak: (m,), S, V, S: I = d (leak + conductance exp(-(d/width)^2)), d = ua - ub.

    Currents between two nodes depend on their difference alone, so the relaxation goes downhill in the sum of all
    integrals of I dd: it always ends in a fixed point, never in a cycle.
    """

    terminal: Integers
    lead: Floats
    first: Integers
    second: Integers
    conductance: Floats
    width: Floats
    leak: Floats

    scale = 1.0  # V
    capacity = 1e-12  # F
    slow = 1e-4  # s: the slowest lead alone, 1 pF over 10 nS

    @classmethod
    def random(cls, n: int, seed: int, degree: int = 6) -> NdcNetwork:
        """n nodes with `degree` conductors each on average.

        Log-uniform leads of 10 to 100 nS and peak conductances of 0.1 to 1 uS; widths uniform in 0.1 to 0.3 V; leaks
        uniform in 0 to 5 nS, less than any conductor's steepest negative slope, 2 exp(-3/2) of its conductance.
        """
        rng = np.random.default_rng([n, seed])
        m = n * degree // 2
        first = rng.integers(n, size=m)
        second = (first + rng.integers(1, n, size=m)) % n
        return cls(
            rng.integers(2, size=n), 10.0 ** rng.uniform(-8, -7, n), first, second,
            10.0 ** rng.uniform(-7, -6, m), rng.uniform(0.1, 0.3, m), rng.uniform(0.0, 5e-9, m),
        )  # fmt: skip

    def inputs(self, count: int) -> Floats:
        """(count, 2), V, uniform in +-1.5 V; the same for every network."""
        return np.random.default_rng(count).uniform(-1.5, 1.5, (count, 2))

    def network(self) -> Network:
        nodes = [f"n{i}" for i in range(len(self.lead))]
        leads = [
            Edge(TERMINALS[t], node, conductors.Linear(float(g)))
            for t, node, g in zip(self.terminal, nodes, self.lead, strict=True)
        ]
        laws = [
            conductors.GaussianNdc(*map(float, p)) for p in zip(self.conductance, self.width, self.leak, strict=True)
        ]
        pairs = [Edge(nodes[a], nodes[b], law) for a, b, law in zip(self.first, self.second, laws, strict=True)]
        return Network(dict.fromkeys(nodes, self.capacity), TERMINALS, [*leads, *pairs])

    def slope(self, u: Floats, x: Floats) -> Floats:
        """du/dt, (n,), V/s, at potentials u (n,) and inputs x (2,), V."""
        return self._flow(self._currents(u, x)) / self.capacity

    def jacobian(self, u: Floats, x: Floats) -> Floats:
        """d(du/dt)/du, (n, n), 1/s."""
        n = len(u)
        q = ((u[self.first] - u[self.second]) / self.width) ** 2
        g = self.leak + self.conductance * np.exp(-q) * (1.0 - 2.0 * q)
        a, b, i = self.first, self.second, np.arange(n)
        where = np.concatenate((i, a, b, a, b)) * n + np.concatenate((i, a, b, b, a))
        entries = np.bincount(where, np.concatenate((-self.lead, -g, -g, g, g)), n * n)
        return entries.reshape(n, n) / self.capacity

    def residual(self, u: Floats, x: Floats) -> float:
        """The largest net current into a node, as a fraction of the largest current of all conductors."""
        currents = self._currents(u, x)
        return float(np.abs(self._flow(currents)).max() / np.abs(currents).max())

    def slope_in_a_loop(self, u: Floats, x: Floats) -> list[float]:
        """`slope` as one writes it first: one conductor after the other, in plain Python."""
        v, clamped = u.tolist(), x.tolist()
        out = [g * (clamped[t] - u) for g, t, u in zip(*self._lists[:2], v, strict=True)]
        for a, b, conductance, width, leak in zip(*self._lists[2:], strict=True):
            d = v[a] - v[b]
            current = d * (leak + conductance * math.exp(-((d / width) ** 2)))
            out[a] -= current
            out[b] += current
        return [current / self.capacity for current in out]

    @cached_property
    def _lists(self) -> list[list]:
        arrays = (self.lead, self.terminal, self.first, self.second, self.conductance, self.width, self.leak)
        return [array.tolist() for array in arrays]

    def _currents(self, u: Floats, x: Floats) -> Floats:
        """(n + m,), A: of the leads into their nodes, then of the conductors from first to second."""
        d = u[self.first] - u[self.second]
        ndc = d * (self.leak + self.conductance * np.exp(-((d / self.width) ** 2)))
        return np.concatenate((self.lead * (x[self.terminal] - u), ndc))

    def _flow(self, currents: Floats) -> Floats:
        n = len(self.lead)
        ndc = currents[n:]
        return currents[:n] - np.bincount(self.first, ndc, n) + np.bincount(self.second, ndc, n)


@dataclass(frozen=True)
class EnzymeNetwork:
    """Species in one stirred vessel of 1 L, each exchanged with a stock, and reactions with substrate inhibition.

    terminal: (n,), 0 or 1, the stock of each species; exchange: (n,), L/s. first, second: (m,), what each reaction
    uses up and makes; vmax, km, ki: (m,), mol/(L s), mol/L, mol/L: v = vmax (S/km)/(1 + S/km + S^2/(km ki)).
    """

    terminal: Integers
    exchange: Floats
    first: Integers
    second: Integers
    vmax: Floats
    km: Floats
    ki: Floats

    scale = 1e-3  # mol/L
    capacity = 1.0  # L
    slow = 1e3  # s

    @classmethod
    def random(cls, n: int, seed: int, degree: int = 6) -> EnzymeNetwork:
        """n species with `degree` reactions each on average.

        Log-uniform exchange of 1 to 10 mL/s, vmax of 3 to 30 umol/(L s), km of 30 to 300 umol/L and ki of 10 to
        100 umol/L.
        """
        rng = np.random.default_rng([n, seed])
        m = n * degree // 2
        first = rng.integers(n, size=m)
        second = (first + rng.integers(1, n, size=m)) % n
        return cls(
            rng.integers(2, size=n), 10.0 ** rng.uniform(-3, -2, n), first, second,
            10.0 ** rng.uniform(-5.5, -4.5, m), 10.0 ** rng.uniform(-4.5, -3.5, m), 10.0 ** rng.uniform(-5, -4, m),
        )  # fmt: skip

    def inputs(self, count: int) -> Floats:
        """(count, 2), mol/L, uniform in 0 to 10 mmol/L; the same for every network."""
        return np.random.default_rng(count).uniform(0.0, 1e-2, (count, 2))

    def network(self) -> Network:
        species = [f"s{i}" for i in range(len(self.exchange))]
        exchanges = [
            Edge(TERMINALS[t], s, conductors.Exchange(float(q)))
            for t, s, q in zip(self.terminal, species, self.exchange, strict=True)
        ]
        laws = [conductors.SubstrateInhibition(*map(float, p)) for p in zip(self.vmax, self.km, self.ki, strict=True)]
        reactions = [
            Reaction({species[a]: -1.0, species[b]: 1.0}, law)
            for a, b, law in zip(self.first, self.second, laws, strict=True)
        ]
        return Network(dict.fromkeys(species, self.capacity), TERMINALS, [*exchanges, *reactions])

    def formulas(self) -> list[tuple[list[str], list[str], str]]:
        """Every process as (used up, made, rate law in the infix of SBML tools); the stocks are parameters."""
        exchanges = [
            ([], [f"s{i}"], f"{q!r}*({TERMINALS[t]} - s{i})")
            for i, (t, q) in enumerate(zip(self.terminal.tolist(), self.exchange.tolist(), strict=True))
        ]
        arrays = (self.first, self.second, self.vmax, self.km, self.ki)
        return exchanges + [
            ([f"s{a}"], [f"s{b}"], f"{vmax!r}*(s{a}/{km!r})/(1 + s{a}/{km!r} + s{a}*s{a}/({km!r}*{ki!r}))")
            for a, b, vmax, km, ki in zip(*(array.tolist() for array in arrays), strict=True)
        ]

    def slope(self, u: Floats, x: Floats) -> Floats:
        """dc/dt, (n,), mol/(L s), at concentrations u (n,) and inputs x (2,), mol/L."""
        return self._flow(self._rates(u, x)) / self.capacity

    def jacobian(self, u: Floats, x: Floats) -> Floats:
        """d(dc/dt)/dc, (n, n), 1/s."""
        n = len(u)
        s = u[self.first] / self.km
        bottom = 1.0 + s + s * u[self.first] / self.ki
        g = self.vmax / self.km * (1.0 - s * u[self.first] / self.ki) / bottom**2
        a, b, i = self.first, self.second, np.arange(n)
        where = np.concatenate((i, a, b)) * n + np.concatenate((i, a, a))
        entries = np.bincount(where, np.concatenate((-self.exchange, -g, g)), n * n)
        return entries.reshape(n, n) / self.capacity

    def residual(self, u: Floats, x: Floats) -> float:
        """The largest net rate of a species, as a fraction of the largest rate of all processes."""
        rates = self._rates(u, x)
        return float(np.abs(self._flow(rates)).max() / np.abs(rates).max())

    def _rates(self, u: Floats, x: Floats) -> Floats:
        """(n + m,), mol/(L s): of the exchanges, then of the reactions."""
        s = u[self.first] / self.km
        reactions = self.vmax * s / (1.0 + s + s * u[self.first] / self.ki)
        return np.concatenate((self.exchange * (x[self.terminal] - u), reactions))

    def _flow(self, rates: Floats) -> Floats:
        n = len(self.exchange)
        reactions = rates[n:]
        return rates[:n] - np.bincount(self.first, reactions, n) + np.bincount(self.second, reactions, n)
