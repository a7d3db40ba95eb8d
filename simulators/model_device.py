"""The `model` backend: the device as a batch of steady states, no instruments in between."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from labthermo.balance import weigh
from labthermo.channel import Channel
from labthermo.config import StationConfig
from labthermo.device import Query, Response, Status
from labthermo.errors import QueryError
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
        self._asked: tuple[float, ...] = ()  # inputs and knobs
        self._elapsed = math.inf  # s since one of them moved, of which the potentials know
        self._delivered: dict[str, float] = {}  # L, since it was weighed, while reading at given times
        self._balance = np.random.default_rng([simulation.seed, 5])

    @property
    def channels(self) -> tuple[Channel, ...]:
        return self._channels

    def stream(self, query: Query) -> Iterator[Response]:
        yield self.query(query)

    def query(self, query: Query) -> Response:
        inputs, _ = check_query(query, self._channels, nudged=True)
        nudge = None if query.nudge is None else self._sample.nudges(query.nudge, len(inputs))
        number = self._count if query.number is None else query.number
        if query.after is not None:
            return self._answer_in_time(query, inputs, number)
        parts, done = [], 0
        # a charge jump in the middle of a batch: what comes after it goes on from where the rest ended
        for stop in (*self._truth.changes(number, number + len(inputs)), number + len(inputs)):
            self._network = self._truth.network(number + done)
            reset = query.reset if done == 0 or query.reset == "each" else "hold"
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
        if query.reset != "hold":
            start = self._settle(np.zeros((1, inputs.shape[1])), values, np.zeros_like(start)).potentials[0]
        state = self._settle(inputs, values, start, streams, nudge, carry=query.reset != "each")
        truth = true_readings(sample, self._network, state)
        noise = np.array([stream.standard_normal(truth.shape[1]) for stream in streams])
        readings = self._chain.read(self._errors, truth) + noise * self._sigma
        slowest = self._network.time_constants(state)
        # time for what each input moved to decay below the tolerance; rows know nothing of their batch
        before = np.vstack([start, state.potentials[:-1]]) if query.reset != "each" else start
        moved = np.abs((state.potentials - before) * self._seen).max(axis=1, initial=0.0)
        decay = np.log(np.maximum(np.e, moved / self._tolerance))
        self._knobs, self._potentials = knobs, state.potentials[-1].copy()
        self._asked, self._elapsed = (*map(float, inputs[-1]), *knobs.values()), math.inf
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

    def _answer_in_time(self, query: Query, inputs: Floats, number: int) -> Response:
        """Row by row, each so long after what moved last; nothing is followed backwards."""
        if query.nudge is not None:
            raise QueryError("a nudge is for what settles; leave it or after out")
        knobs = {**self._knobs, **check_query(query, self._channels)[1]}
        values = np.array([list(knobs.values())])
        if query.reset == "park":
            self._potentials = self._settle(np.zeros((1, inputs.shape[1])), values, self._potentials).potentials[0]
            self._asked = ()
        pumps = {c.name: k for k, c in enumerate(c for c in self._channels if c.kind in ("input", "knob")) if c.rests}
        times, rows = [], []
        for row, delay in enumerate(query.delays(len(inputs))):
            asked = (*map(float, inputs[row]), *knobs.values())
            if asked != self._asked:
                self._asked, self._elapsed = asked, 0.0
            stream = np.random.default_rng([self._seed, 2, number + row])
            span = max(0.0, (delay or 0.0) - self._elapsed) if math.isfinite(self._elapsed) else 0.0
            setting = self._noisy(self._sample.full_knobs(values, inputs[row : row + 1]), [stream])
            if span > 0.0:
                self._elapsed += span
                for name, column in pumps.items():
                    self._delivered[name] = self._delivered.get(name, 0.0) + asked[column] * span * self._bore(name)
                clamped = self._chain.clamps(self._errors, inputs[row : row + 1])
                path = self._network.relax(clamped, [0.0, span], setting, self._potentials, self._sample.injected)
                self._potentials = path[0, -1].copy()
            state = self._passing(self._chain.clamps(self._errors, inputs[row : row + 1]), setting)
            truth = true_readings(self._sample, self._network, state)
            rows.append(self._chain.read(self._errors, truth) + stream.standard_normal(truth.shape) * self._sigma)
            times.append(self._elapsed if math.isfinite(self._elapsed) else delay or 0.0)
        self._knobs, self._count = knobs, number + len(inputs)
        readings, n = np.vstack(rows), self._sample.n_outputs
        saturated = readings > self._highest
        readings[saturated] = np.nan
        sigma = np.broadcast_to(self._sigma, readings.shape)
        return Response(
            outputs=readings[:, :n],
            nodes=readings[:, n:],
            sigma=sigma[:, :n].copy(),
            node_sigma=sigma[:, n:].copy(),
            settle_time=np.array(times),
            status=tuple(Status.OVERFLOW if any(row) else Status.TIMED for row in saturated),
            inputs=inputs,
            knobs=dict(knobs),
        )

    def weigh(self, pump: str) -> float:
        """Stop a pump and weigh (g) what has come out of it in timed readings since it was weighed last.

        Raises
        ------
        QueryError: there is no such pump.
        """
        pumps = [c.name for c in self._channels if c.rests]
        if pump not in pumps:
            raise QueryError(f"no pump {pump!r}; there are {', '.join(pumps) or 'none'}")
        if pump in self._knobs:
            self._knobs[pump] = 0.0
        self._asked = ()
        return weigh(self._delivered.pop(pump, 0.0), self._balance)

    def _passing(self, clamped: Floats, setting: Floats) -> SteadyState:
        """Where it is now, (1, n_free), at rest or not."""
        here = self._potentials[None, :]
        return SteadyState(
            potentials=here,
            verdict=np.array(["unsettled"]),
            residual=np.array([np.nan]),
            stable=np.array([False]),
            inputs=clamped,
            knobs=setting,
            injected=np.broadcast_to(self._sample.injected, here.shape),
            time=np.array([np.nan]),
            period=np.array([np.nan]),
            amplitude=np.zeros_like(here),
        )

    def _bore(self, pump: str) -> float:
        """What a pump gives of what it is told: the mean over the flows that it makes."""
        columns = dict(zip(self._sample.inputs, self._sample.input_knobs, strict=True))
        columns |= dict(zip(self._knobs, self._sample.knob_order, strict=True))
        design, true = (network.weights[:, columns[pump]] for network in (self._sample.network, self._network))
        return float(np.mean(true[design > 0.0] / design[design > 0.0]))

    def _noisy(self, setting: Floats, streams: Sequence[np.random.Generator]) -> Floats:
        """With the noise of every pump's rate; a row for each stream."""
        if not self._flow_noise:
            return setting
        noise = np.array([stream.standard_normal(setting.shape[1]) for stream in streams] or 0.0)
        return setting * (1.0 + self._flow_noise * noise)

    def _settle(
        self,
        inputs: Floats,
        knobs: Floats,
        start: Floats,
        streams: Sequence[np.random.Generator] = (),
        nudge: Floats | None = None,
        carry: bool = True,
    ) -> SteadyState:
        """knobs: (1, n), the device's. With `streams`, one a row, every pump's rate has its noise."""
        setting = self._sample.full_knobs(knobs, inputs)
        setting = self._noisy(setting, streams)
        clamped = self._chain.clamps(self._errors, inputs)
        injected = self._sample.injected if nudge is None else self._sample.injected + nudge
        return self._network.steady_state(clamped, setting, start, injected, carry=carry)

    def park(self) -> None:
        if self._stop.knobs == "zero":
            self._knobs = dict.fromkeys(self._knobs, 0.0)
        knobs = np.array([list(self._knobs.values())])
        state = self._settle(np.zeros((1, len(self._sample.inputs))), knobs, self._potentials)
        self._potentials = state.potentials[-1].copy()
        self._asked, self._elapsed = (), math.inf

    def close(self) -> None:
        """Nothing to let go of."""


def build_model_device(config: StationConfig, control: bool = False) -> ModelDevice:
    """The `model` backend of a station; `control`: its NDC-off sample."""
    return ModelDevice(config, build_sample(config, control), control)
