"""The `model` backend: the device as a batch of steady states, no instruments in between."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from labthermo.channel import Channel
from labthermo.config import StationConfig
from labthermo.device import Query, Response, Status
from labthermo.limits import check_query, device_channels
from labthermo.tangent import Tangent
from simulators.hidden_truth import HiddenTruth
from simulators.network import SteadyState
from simulators.sample import Chain, Sample, build_sample, true_readings
from simulators.tangent import tangent

Floats = NDArray[np.float64]

OVERFLOW = 3.0  # OD: beyond, stray light rules and no number is given
_STATUS = {"settled": Status.SETTLED, "oscillating": Status.OSCILLATING, "unsettled": Status.UNSETTLED}


class ModelDevice:
    """A device that is only numbers: the station's network with its hidden truth, meter loading and read noise.

    The noise of a reading is keyed by seed and query number, so that a resumed run is bit-identical.
    """

    current_sources = True  # at every output and every node that is read: takes a query's nudge

    def __init__(self, config: StationConfig, sample: Sample, control: bool) -> None:
        simulation = config.simulation
        self._sample = sample
        self._truth = HiddenTruth(sample, config, control)
        self._network = self._truth.network()
        self._chain = Chain(sample)
        draw = np.random.default_rng([simulation.seed, 1]).standard_normal(len(self._chain.names))
        self._errors: Floats = draw if simulation.offsets else np.zeros(len(draw))
        self._seed = simulation.seed
        self._sigma = np.array([r.sigma for r in sample.readings])
        photometers = [r.weights for r in sample.readings if r.light and r.weights is not None]
        # how far a node's move can be seen: its own potential, or by its absorbance
        self._seen: Floats = np.sum(photometers, axis=0) if photometers else np.ones(len(sample.network.reservoirs))
        self._highest = np.array([OVERFLOW if r.light else np.inf for r in sample.readings])
        self._flow_noise = 0.0 if simulation.noiseless else simulation.flow_noise
        self._tolerance = config.device.settle.tolerance
        self._channels = device_channels(config)
        self._stop = config.device.stop
        self._knobs = dict.fromkeys(config.device.knobs, 0.0)
        self._potentials: Floats = np.zeros(len(sample.network.reservoirs))
        self._count = 0

    @property
    def channels(self) -> tuple[Channel, ...]:
        return self._channels

    def stream(self, query: Query) -> Iterator[Response]:
        yield self.query(query)

    def query(self, query: Query) -> Response:
        inputs, _ = check_query(query, self._channels, nudged=True)
        nudge = None if query.nudge is None else self._sample.nudges(query.nudge, len(inputs))
        number = self._count if query.number is None else query.number
        parts, done = [], 0
        # a charge jump in the middle of a batch: what comes after it goes on from where the rest ended
        for stop in (*self._truth.changes(number, number + len(inputs)), number + len(inputs)):
            self._network = self._truth.network(number + done)
            reset = query.reset if done == 0 else "hold"
            rows = slice(done, stop - number)
            part = replace(query, inputs=inputs[rows], nudge=None, reset=reset, number=number + done)
            parts.append(self._answer(part, None if nudge is None else nudge[rows]))
            done = stop - number
        return Response.join(parts)

    def tangent(self, knobs: Mapping[str, float], inputs: Floats) -> Tangent:
        """The true device, hidden parameters and all, made linear where it comes to rest from its parked state.

        What no lab can have: for the method `adjoint`, the yardstick.
        """
        setting = np.array([list({**self._knobs, **knobs}.values())])
        parked = self._settle(np.zeros((1, inputs.shape[1])), setting, np.zeros_like(self._potentials))
        state = self._settle(inputs, setting, parked.potentials[0])
        full = self._sample.full_knobs(setting, inputs)
        gains = self._chain.gains(self._errors)
        return tangent(self._sample, self._network, state.inputs, full, state.potentials, gains)

    def _answer(self, query: Query, nudge: Floats | None) -> Response:
        sample = self._sample
        inputs, moved = check_query(query, self._channels)
        knobs = {**self._knobs, **moved}
        values = np.array([list(knobs.values())])
        number = query.number or 0
        streams = [np.random.default_rng([self._seed, 2, number + k]) for k in range(len(inputs))]
        start = self._potentials
        if query.reset == "park":
            start = self._settle(np.zeros((1, inputs.shape[1])), values, np.zeros_like(start)).potentials[0]
        state = self._settle(inputs, values, start, streams, nudge)
        truth = true_readings(sample, self._network, state)
        noise = np.array([stream.standard_normal(truth.shape[1]) for stream in streams])
        readings = self._chain.read(self._errors, truth) + noise * self._sigma
        slowest = self._network.time_constants(state)
        # time for what each input moved to decay below the tolerance; rows know nothing of their batch
        before = np.vstack([start, state.potentials[:-1]])
        moved = np.abs((state.potentials - before) * self._seen).max(axis=1, initial=0.0)
        decay = np.log(np.maximum(np.e, moved / self._tolerance))
        self._knobs, self._potentials = knobs, state.potentials[-1].copy()
        self._count = number + len(truth)
        n = sample.n_outputs
        sigma = np.broadcast_to(self._sigma, readings.shape)
        saturated = readings > self._highest
        status = [_STATUS[str(v)] for v in state.verdict]
        for row in np.flatnonzero(saturated.any(axis=1)):
            status[row] = Status.OVERFLOW
        readings[saturated] = np.nan
        return Response(
            outputs=readings[:, :n],
            nodes=readings[:, n:],
            sigma=sigma[:, :n].copy(),
            node_sigma=sigma[:, n:].copy(),
            settle_time=np.where(slowest > 0, slowest * decay, np.inf),
            status=tuple(status),
            inputs=inputs,
            knobs=dict(knobs),
        )

    def _settle(
        self,
        inputs: Floats,
        knobs: Floats,
        start: Floats,
        streams: Sequence[np.random.Generator] = (),
        nudge: Floats | None = None,
    ) -> SteadyState:
        """knobs: (1, n), the device's. With `streams`, one a row, every pump's rate has its noise."""
        setting = self._sample.full_knobs(knobs, inputs)
        if self._flow_noise > 0.0:
            setting *= 1.0 + self._flow_noise * np.array([s.standard_normal(setting.shape[1]) for s in streams] or 0.0)
        clamped = self._chain.clamps(self._errors, inputs)
        injected = self._sample.injected if nudge is None else self._sample.injected + nudge
        return self._network.steady_state(clamped, setting, start, injected, carry=True)

    def park(self) -> None:
        if self._stop.knobs == "zero":
            self._knobs = dict.fromkeys(self._knobs, 0.0)
        knobs = np.array([list(self._knobs.values())])
        state = self._settle(np.zeros((1, len(self._sample.inputs))), knobs, self._potentials)
        self._potentials = state.potentials[-1].copy()

    def close(self) -> None:
        """Nothing to let go of."""


def build_model_device(config: StationConfig, control: bool = False) -> ModelDevice:
    """The `model` backend of a station; `control`: its NDC-off sample."""
    return ModelDevice(config, build_sample(config, control), control)
