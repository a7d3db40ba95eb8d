"""The equations of a network, made linear at potentials that were measured."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labthermo.tangent import Tangent
from simulators.network import Network, SteadyState
from simulators.sample import Sample

Floats = NDArray[np.float64]


def measured_potentials(
    sample: Sample, network: Network, clamps: Floats, knobs: Floats, injected: Floats, readings: Floats
) -> Floats:
    """Every free node's potential, (batch, n_free): read where it is read, and solved for between those.

    clamps (batch, n_terminals); knobs (batch, n_network_knobs); injected (batch, n_free); readings (batch, n_readings):
    outputs, then nodes. A row with a reading that is NaN is the model's own state.
    """
    names = tuple(network.reservoirs)
    read = {r.node: k for k, r in enumerate(sample.readings) if r.node is not None}
    known, hidden = sorted(read), [n for n in range(len(names)) if n not in read]
    potentials = np.empty((len(clamps), len(names)))
    values = readings[:, [read[n] for n in known]]
    good = np.isfinite(values).all(axis=1)
    potentials[:, known] = values
    if hidden and good.any():
        inner = Network(
            {names[n]: network.reservoirs[names[n]] for n in hidden},
            (*network.terminals, *(names[n] for n in known)),
            network.processes,
            network.knobs,
            feeds=network.feeds,
        ).with_values(network.base, network.weights)
        state = inner.steady_state(np.hstack([clamps, values])[good], knobs[good], None, injected[good][:, hidden])
        rows = np.flatnonzero(good)
        potentials[rows[:, None], hidden] = state.potentials
    if not good.all():
        lost = ~good
        potentials[lost] = network.steady_state(clamps[lost], knobs[lost], None, injected[lost]).potentials
    return potentials


def tangent(
    sample: Sample, network: Network, clamps: Floats, knobs: Floats, potentials: Floats, gains: Floats
) -> Tangent:
    """The network's :class:`Tangent` at these potentials, (batch, n_free); the rest as in `measured_potentials`."""
    batch = len(clamps)
    nothing = np.zeros(batch)
    state = SteadyState(
        potentials, np.full(batch, "settled"), nothing, np.ones(batch, dtype=bool), clamps, knobs,
        np.zeros_like(potentials), nothing, nothing, np.zeros_like(potentials),
    )  # fmt: skip
    jacobian = network.jacobian(state)
    by_knobs = -jacobian @ network.sensitivities(state).knobs[:, :, list(sample.knob_order)]
    nodes = np.array([-1 if r.node is None else r.node for r in sample.readings])
    return Tangent(potentials, jacobian, by_knobs, nodes, gains, sample.n_outputs)
