"""A differentiable twin of a device: respond, differentiate, and re-fit from what was measured.

MAP estimate of the sample's deviations z and of the instruments' gains and offsets e, both N(0, 1) a priori
(training.md, section 3: the calibrated twin).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from labthermo.config import StationConfig
from simulators.mismatch import Mismatch
from simulators.network import Edge, Network
from simulators.sample import Chain, Sample, build_sample, reading_gradients, true_readings

Floats = NDArray[np.float64]


class NetworkTwin:
    """A twin of a wired sample. Coordinates are [z, e]; zero is the design.

    Arrays: knobs (batch, n_knobs) and inputs (batch, n_inputs) in the device's order, readings (batch, n_readings):
    outputs, then nodes.
    """

    def __init__(self, sample: Sample, uncertainty: float, control: bool = False) -> None:
        self._sample = sample
        self._mismatch = Mismatch(sample.network, uncertainty, tied_rates=control)
        self._chain = Chain(sample)
        self._n = len(self._mismatch.names)
        self.names: tuple[str, ...] = (*self._mismatch.names, *self._chain.names)
        self.coordinates: Floats = np.zeros(len(self.names))
        self._widths: Floats = np.ones(len(self.names))

    def respond(self, knobs: Floats, inputs: Floats) -> Floats:
        """Readings, (batch, n_readings), each relaxed from 0."""
        readings, _, _ = self._evaluate(self.coordinates, knobs, inputs, None)
        return readings

    def jacobian(self, knobs: Floats, inputs: Floats) -> tuple[Floats, Floats]:
        """Outputs (batch, n_outputs) and their derivatives by the knobs, (batch, n_outputs, n_knobs)."""
        readings, state, network = self._evaluate(self.coordinates, knobs, inputs, None)
        gain = self._chain.gains(self.coordinates[self._n :])
        order = list(self._sample.knob_order)
        columns = [
            reading_gradients(self._sample, network, state, r).knobs[:, order] * gain[r]
            for r in range(self._sample.n_outputs)
        ]
        return readings[:, : self._sample.n_outputs], np.stack(columns, axis=1)

    def refit(self, knobs: Floats, inputs: Floats, readings: Floats, sigma: Floats, iterations: int = 12) -> float:
        """Move the coordinates to the MAP estimate for measured `readings` (batch, n_readings) of given `sigma`.

        NaN readings are left out. Returns chi-squared per reading at the estimate.
        """
        known = np.isfinite(readings)
        if not known.any():
            return 0.0
        warm: list[Floats | None] = [None]
        cache: dict[bytes, tuple[Floats, Floats]] = {}

        def evaluate(point: Floats) -> tuple[Floats, Floats]:
            key = point.tobytes()
            if key not in cache:
                cache.clear()
                cache[key] = self._residuals(point, knobs, inputs, readings, sigma, known, warm)
            return cache[key]

        result = least_squares(
            lambda p: evaluate(p)[0],
            self.coordinates,
            jac=cast(Any, lambda p: evaluate(p)[1]),  # scipy's annotation knows only the names of schemes
            method="trf",
            x_scale=1.0,
            xtol=1e-4,
            ftol=1e-4,
            gtol=1e-6,
            max_nfev=iterations,
        )
        self.coordinates = result.x
        self._widths = np.sqrt(np.diag(np.linalg.inv(result.jac.T @ result.jac)))
        misfit = result.fun[: int(known.sum())]
        return float(np.mean(misfit**2))

    def parameters(self) -> dict[str, tuple[float, float, float]]:
        """Name -> (estimate, prior width, posterior width), in units of the prior width."""
        return {
            name: (float(value), 1.0, float(width))
            for name, value, width in zip(self.names, self.coordinates, self._widths, strict=True)
        }

    def state(self) -> dict[str, list[float]]:
        """All that :meth:`restore` needs, JSON-able."""
        return {"coordinates": self.coordinates.tolist(), "widths": self._widths.tolist()}

    def restore(self, state: Mapping[str, list[float]]) -> None:
        """Become the twin that gave this state."""
        self.coordinates = np.array(state["coordinates"], dtype=float)
        self._widths = np.array(state["widths"], dtype=float)

    def conductor_curves(self, knobs: Floats, bias: float) -> list[tuple[str, Floats, Floats]]:
        """(label, bias, current) of each nonlinear conductor at these knobs (n_knobs,), from 0 to `bias` (V).

        The far side is held at 0 V; 121 points.
        """
        network = self._mismatch.apply(self.coordinates[: self._n])
        curves = []
        full = self._sample.full_knobs(np.atleast_2d(knobs))[0]
        theta = network.resolved(full)
        for p, edge in enumerate(network.processes):
            if type(edge.law).mismatch.keys() == {"conductance"}:
                continue  # a resistor's line says nothing
            alone = Network({}, ("a", "b"), [Edge("a", "b", edge.law)], network.knobs)
            alone = alone.with_values(theta[network.parameter_rows(p)], np.zeros_like(alone.weights))
            volts = np.linspace(0.0, bias, 121)
            state = alone.steady_state(np.column_stack([volts, np.zeros_like(volts)]))
            curves.append(
                (f"{self._sample.labels[p]}, {edge.first} to {edge.second}", volts, alone.currents(state)[:, 0])
            )
        return curves

    def _evaluate(self, point: Floats, knobs: Floats, inputs: Floats, start: Floats | None):
        z, e = point[: self._n], point[self._n :]
        network = self._mismatch.apply(z)
        # a coarse relaxation: the end state is polished all the same, and a re-fit needs thousands of them
        state = network.steady_state(
            self._chain.clamps(e, inputs), self._sample.full_knobs(knobs), start, self._sample.injected, tolerance=1e-2
        )
        truth = true_readings(self._sample, network, state)
        return self._chain.read(e, truth), state, network

    def _residuals(
        self,
        point: Floats,
        knobs: Floats,
        inputs: Floats,
        readings: Floats,
        sigma: Floats,
        known: NDArray[np.bool_],
        warm: list[Floats | None],
    ) -> tuple[Floats, Floats]:
        """Weighted misfits, then the prior; and their Jacobian."""
        predicted, state, network = self._evaluate(point, knobs, inputs, warm[0])
        warm[0] = state.potentials
        e = point[self._n :]
        gain = self._chain.gains(e)
        truth = true_readings(self._sample, network, state)
        rows, blocks = [], []
        for r in range(len(self._sample.readings)):
            gradients = reading_gradients(self._sample, network, state, r)
            by_z = self._mismatch.pull_back(network, gradients, state.knobs) * gain[r]
            by_e = self._chain.pull_back(e, r, truth[:, r], inputs, gradients)
            use = known[:, r]
            rows.append(((predicted[:, r] - readings[:, r]) / sigma[:, r])[use])
            blocks.append((np.hstack([by_z, by_e]) / sigma[:, r, None])[use])
        return (
            np.concatenate([*rows, point]),
            np.vstack([*blocks, np.eye(len(point))]),
        )


def build_twin(config: StationConfig, control: bool = False) -> NetworkTwin:
    """The twin of a station's device as designed; it knows nothing of the station's `simulation` section."""
    return NetworkTwin(build_sample(config, control), config.device.uncertainty, control)
