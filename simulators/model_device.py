"""The `model` backend: the device as a batch of steady states, no instruments in between."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from labthermo.channel import Channel
from labthermo.config import StationConfig
from labthermo.device import Query, Response, Status
from labthermo.limits import check_query, device_channels
from simulators.sample import Chain, Sample, build_sample, hidden_truth, true_readings

Floats = NDArray[np.float64]

_STATUS = {"settled": Status.SETTLED, "oscillating": Status.OSCILLATING, "unsettled": Status.UNSETTLED}


class ModelDevice:
    """A device that is only numbers: the station's network with its hidden truth, meter loading and read noise.

    The noise of a reading is keyed by seed and query number, so that a resumed run is bit-identical.
    """

    def __init__(self, config: StationConfig, sample: Sample, control: bool) -> None:
        simulation = config.simulation
        self._sample = sample
        self._network = hidden_truth(sample, simulation.seed, simulation.mismatch, control)
        self._chain = Chain(sample)
        draw = np.random.default_rng([simulation.seed, 1]).standard_normal(len(self._chain.names))
        self._errors: Floats = draw if simulation.offsets else np.zeros(len(draw))
        self._seed = simulation.seed
        self._sigma = np.array([r.sigma for r in sample.readings])
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
        sample = self._sample
        inputs, moved = check_query(query, self._channels)
        knobs = {**self._knobs, **moved}
        setting = sample.full_knobs(np.array([list(knobs.values())]))[0]
        start = self._potentials
        if query.reset == "park":
            start = self._settle(np.zeros((1, inputs.shape[1])), setting, np.zeros_like(start)).potentials[0]
        state = self._settle(inputs, setting, start)
        truth = true_readings(sample, self._network, state)
        number = self._count if query.number is None else query.number
        streams = [np.random.default_rng([self._seed, 2, number + k]) for k in range(len(truth))]
        noise = np.array([stream.standard_normal(truth.shape[1]) for stream in streams])
        readings = self._chain.read(self._errors, truth) + noise * self._sigma
        slowest = self._network.time_constants(state)
        # time for what each input moved to decay below the tolerance; rows know nothing of their batch
        before = np.vstack([start, state.potentials[:-1]])
        moved = np.abs(state.potentials - before).max(axis=1, initial=0.0)
        decay = np.log(np.maximum(np.e, moved / self._tolerance))
        self._knobs, self._potentials = knobs, state.potentials[-1].copy()
        self._count = number + len(truth)
        n = sample.n_outputs
        sigma = np.broadcast_to(self._sigma, readings.shape)
        return Response(
            outputs=readings[:, :n],
            nodes=readings[:, n:],
            sigma=sigma[:, :n].copy(),
            node_sigma=sigma[:, n:].copy(),
            settle_time=np.where(slowest > 0, slowest * decay, np.inf),
            status=tuple(_STATUS[str(v)] for v in state.verdict),
            inputs=inputs,
            knobs=dict(knobs),
        )

    def _settle(self, inputs: Floats, setting: Floats, start: Floats):
        clamped = self._chain.clamps(self._errors, inputs)
        return self._network.steady_state(clamped, setting, start, self._sample.injected, carry=True)

    def park(self) -> None:
        if self._stop.knobs == "zero":
            self._knobs = dict.fromkeys(self._knobs, 0.0)
        setting = self._sample.full_knobs(np.array([list(self._knobs.values())]))[0]
        state = self._settle(np.zeros((1, len(self._sample.inputs))), setting, self._potentials)
        self._potentials = state.potentials[-1].copy()

    def close(self) -> None:
        """Nothing to let go of."""


def build_model_device(config: StationConfig, control: bool = False) -> ModelDevice:
    """The `model` backend of a station; `control`: its NDC-off sample."""
    return ModelDevice(config, build_sample(config, control), control)
