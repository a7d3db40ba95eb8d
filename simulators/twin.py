"""A differentiable twin of a device: respond, differentiate, and re-fit from what was measured.

MAP estimate of the sample's deviations z and of the instruments' gains and offsets e, both N(0, 1) a priori
(training.md, section 3: the calibrated twin).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from labthermo.config import StationConfig, Unknowns
from labthermo.quantity import format_quantity
from labthermo.tangent import Tangent
from labthermo.twin import Coupling
from simulators.conductors import Affine, BlockingLevel, MassAction
from simulators.mismatch import Mismatch
from simulators.network import Network
from simulators.processes import Edge, Flow, Reaction, nodes_read
from simulators.sample import Chain, Sample, build_sample, reading_gradients, true_readings
from simulators.tangent import measured_potentials, tangent

Floats = NDArray[np.float64]

JUMP = 1e-4  # eV; devices.md: charge jumps of 10 to 100 ueV


class NetworkTwin:
    """A twin of a wired sample. Coordinates are [z, e]; zero is the design.

    Arrays: knobs (batch, n_knobs) and inputs (batch, n_inputs) in the device's order, readings (batch, n_readings):
    outputs, then nodes.
    """

    def __init__(
        self, sample: Sample, uncertainty: float, control: bool = False, unknowns: Unknowns | None = None
    ) -> None:
        self._sample = sample
        self._mismatch = Mismatch(sample.network, uncertainty, control, unknowns, sample.gates)
        self._chain = Chain(sample)
        self._n = len(self._mismatch.names)
        self.names: tuple[str, ...] = (*self._mismatch.names, *self._chain.names)
        n = len(self.names)
        self.coordinates: Floats = np.zeros(n)
        self._covariance: Floats = np.eye(n)
        self._prior: tuple[Floats, Floats] = (np.zeros(n), np.eye(n))  # mean, and square root of the inverse covariance

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

    def inflow(self, knobs: Floats, inputs: Floats) -> Floats:
        """All that flows into the vessel of every reading, (batch, n_readings), L/s; NaN where it is of no vessel."""
        network = self._mismatch.apply(self.coordinates[: self._n])
        rows = [network.inflow(row) for row in self._sample.full_knobs(knobs, inputs)]
        return np.array([[row.get(r.at, np.nan) for r in self._sample.readings] for row in rows])

    def tangent(self, knobs: Floats, inputs: Floats, readings: Floats, nudge: Floats | None = None) -> Tangent:
        """The model made linear at measured `readings` (batch, n_readings); see :mod:`simulators.tangent`."""
        network = self._mismatch.apply(self.coordinates[: self._n])
        e = self.coordinates[self._n :]
        clamps, full = self._chain.clamps(e, inputs), self._sample.full_knobs(knobs, inputs)
        injected = self._sample.injected + self._sample.nudges(nudge, len(inputs))
        truth = self._chain.truth(e, readings)
        potentials = measured_potentials(self._sample, network, clamps, full, injected, truth)
        return tangent(self._sample, network, clamps, full, potentials, self._chain.gains(e))

    def refit(
        self,
        knobs: Floats,
        inputs: Floats,
        readings: Floats,
        sigma: Floats,
        *,
        start: Floats | None = None,
        iterations: int = 12,
    ) -> float:
        """Move the coordinates to the MAP estimate for measured `readings` (batch, n_readings) of given `sigma`.

        NaN readings are left out. Returns chi-squared per reading at the estimate. Where the twin is far off, sigma is
        taken larger at first and brought down in factors of three: a misfit of a hundred sigma would pull the fit into
        whatever valley lies nearest, not into the one that the prior prefers.

        start: where to begin, (n,), instead of the present estimate.
        """
        known = np.isfinite(readings)
        if not known.any():
            return 0.0
        if start is not None:
            self.coordinates = start
        first = self._misfits(knobs, inputs, readings, sigma, known)
        inflation = float(np.clip(np.sqrt(np.mean(first**2)) / 3.0, 1.0, 100.0))
        while True:
            self._descend(knobs, inputs, readings, sigma * inflation, known, iterations)
            if inflation == 1.0:
                break
            inflation = max(1.0, inflation / 3.0)
        self.condition(knobs, inputs, readings, sigma)
        return self.misfit(knobs, inputs, readings, sigma)

    def condition(self, knobs: Floats, inputs: Floats, readings: Floats, sigma: Floats) -> None:
        """Take these readings for what the present estimate rests on, without moving it; sets its covariance."""
        known = np.isfinite(readings)
        _, jacobian = self._residuals(self.coordinates, knobs, inputs, readings, sigma, known, [None])
        self._covariance = np.asarray(np.linalg.inv(jacobian.T @ jacobian), dtype=float)

    def misfit(self, knobs: Floats, inputs: Floats, readings: Floats, sigma: Floats) -> float:
        """Chi-squared per reading as the twin is. NaN is left out."""
        known = np.isfinite(readings)
        return float(np.mean(self._misfits(knobs, inputs, readings, sigma, known) ** 2)) if known.any() else 0.0

    def covariance(self) -> Floats:
        """Of the coordinates, (n, n), a copy."""
        return self._covariance.copy()

    def draw(self, rng: np.random.Generator, width: float) -> Floats:
        """Coordinates (n,) at random about the estimate, `width` times as far as the covariance says; 0: the prior's
        mean."""
        if width == 0:
            return self._prior[0].copy()
        return self.coordinates + width * np.linalg.cholesky(self._covariance) @ rng.standard_normal(len(self.names))

    def sensitivity(self, knobs: Floats, inputs: Floats) -> tuple[Floats, Floats]:
        """Readings (batch, n_readings) and their derivatives by the coordinates, (batch, n_readings, n)."""
        predicted, blocks, _ = self._derivatives(self.coordinates, knobs, inputs, None)
        return predicted, np.stack(blocks, axis=1)

    def levels(self) -> list[tuple[int, float]]:
        """The coordinates that a charge beside a dot moves, and eV per unit of each."""
        return list(self._mismatch.common_levels.items())

    def loosen(self) -> None:
        """A charge may have jumped: what was learnt becomes the prior, with every dot's levels uncertain again.

        By JUMP in common, about as much as a trap moves a dot that it sits beside. All else gets twice its width: what
        was learnt is a valley that bends, and a Gaussian has none of that.
        """
        spread = 4.0 * self._covariance
        for k, size in self._mismatch.common_levels.items():
            spread[k, k] += (JUMP / size) ** 2
        # contiguous: BLAS rounds a transposed view differently, and a restored twin has none
        root = np.array(np.linalg.cholesky(np.linalg.inv(spread)).T, dtype=float, order="C")
        self._prior = (self.coordinates.copy(), root)
        self._covariance = spread

    def parameters(self) -> dict[str, tuple[float, float, float]]:
        """Name -> (estimate, prior width, posterior width), in units of the prior width."""
        return {
            name: (float(value), 1.0, float(width))
            for name, value, width in zip(self.names, self.coordinates, np.sqrt(np.diag(self._covariance)), strict=True)
        }

    def state(self) -> dict[str, Any]:
        """All that :meth:`restore` needs, JSON-able; the covariance is not in it (see :meth:`condition`)."""
        mean, root = self._prior
        plain = not mean.any()
        return {
            "coordinates": self.coordinates.tolist(),
            "prior": None if plain else [mean.tolist(), root.tolist()],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become the twin that gave this state, but for its covariance, which is the prior's until `condition`."""
        n = len(self.names)
        self.coordinates = np.array(state["coordinates"], dtype=float)
        mean, root = state["prior"] or (np.zeros(n), np.eye(n))
        self._prior = (np.array(mean, dtype=float), np.array(root, dtype=float))
        self._covariance = np.asarray(np.linalg.inv(self._prior[1].T @ self._prior[1]), dtype=float)

    def conductor_curves(self, knobs: Floats, bias: float) -> list[tuple[str, Floats, Floats]]:
        """(label, bias, current) of each nonlinear conductor at these knobs (n_knobs,), from 0 to `bias` (V).

        The far side is held at 0 V; 121 points.
        """
        network = self._mismatch.apply(self.coordinates[: self._n])
        curves = []
        full = self._sample.full_knobs(np.atleast_2d(knobs), np.zeros((1, len(self._sample.inputs))))[0]
        theta = network.resolved(full)
        for p, edge in enumerate(network.processes):
            if not isinstance(edge, Edge) or edge.reads or type(edge.law).mismatch.keys() == {"conductance"}:
                continue  # a resistor's line says nothing
            alone = Network({}, ("a", "b"), [Edge("a", "b", edge.law)], network.knobs)
            alone = alone.with_values(theta[network.parameter_rows(p)], np.zeros_like(alone.weights))
            volts = np.linspace(0.0, bias, 121)
            state = alone.steady_state(np.column_stack([volts, np.zeros_like(volts)]))
            curves.append(
                (f"{self._sample.labels[p]}, {edge.first} to {edge.second}", volts, alone.currents(state)[:, 0])
            )
        return curves

    def reaction_curves(self, knobs: Floats, inputs: Floats) -> list[tuple[str, str, Floats, Floats]]:
        """(label, substrate, concentration, rate) of each reaction that uses up what an input's pump brings.

        knobs (n_knobs,), inputs (batch, n_inputs). concentration: (121,), mol/L, in equal ratios from a thousandth of
        it up to the most that the vessel has at these inputs; rate: (121,), mol/(L s). Whatever else the law reads is
        held as it is at the input that brings the vessel to the median of these concentrations.
        """
        _, state, network = self._evaluate(self.coordinates, np.tile(knobs, (len(inputs), 1)), inputs, None)
        nodes, curves = list(network.reservoirs), []
        for p, reaction in enumerate(network.processes):
            if not isinstance(reaction, Reaction) or isinstance(reaction.law, MassAction):
                continue  # mass action rises with its substrate
            for node, count in reaction.stoichiometry.items():
                vessel, _, substrate = node.partition(".")
                found = state.potentials[:, nodes.index(node)] if node in nodes else np.zeros(1)
                if count >= 0.0 or substrate not in self._brought() or found.max() <= 0.0:
                    continue
                row = np.full(121, np.argsort(found, kind="stable")[len(found) // 2])
                held = replace(
                    state, potentials=state.potentials[row], inputs=state.inputs[row], knobs=state.knobs[row]
                )
                amounts = np.geomspace(1e-3, 1.0, 121) * found.max()
                held.potentials[:, nodes.index(node)] = amounts
                others = ", ".join(
                    f"{other.partition('.')[2]} {format_quantity(held.potentials[0, nodes.index(other)], 'mol/L', 3)}"
                    for other in nodes_read(reaction)
                    if other != node and other in nodes
                )
                label = f"{self._sample.labels[p]} in {vessel}, rate against {substrate} at {others}"
                curves.append((label, substrate, amounts, network.currents(held)[:, p] / network.reservoirs[node]))
        return curves

    def _brought(self) -> set[str]:
        """What the stocks hold whose pumps are inputs."""
        network = self._sample.network
        inputs = {network.knobs[k] for k in self._sample.input_knobs if k >= 0}
        flows = [p for p in network.processes if isinstance(p, Flow) and isinstance(p.parameter, Affine)]
        stocks = {p.first for p in flows if isinstance(p.parameter, Affine) and inputs & p.parameter.weights.keys()}
        return {node.partition(".")[2] for node in network.feeds if node.partition(".")[0] in stocks}

    def detuned(self, knobs: Floats, low: Floats, high: Floats) -> Floats | None:
        """Knobs (n_knobs,) at which no dot can show NDC: right barriers open, left ones closed, as far as `high` and
        `low` let; None where that is not enough, or a conductor has no such barriers.

        A :class:`BlockingLevel` has none from GR2 = GL1 GR1/(GL1 + GR1) upwards (physics.md, section 2); a fifth more
        is asked for here.
        """
        sample, network = self._sample, self._mismatch.apply(self.coordinates[: self._n])
        place = {knob: k for k, knob in enumerate(sample.knob_order)}
        found, rates = knobs.copy(), []
        for p, process in enumerate(sample.network.processes):
            law = getattr(process, "law", None)
            if law is None or type(law).mismatch.keys() == {"conductance"}:
                continue  # a resistor has no NDC
            if not isinstance(law, BlockingLevel):
                return None
            rows = {
                (field, index): row
                for row, (q, field, index) in enumerate(sample.network.parameters)
                if q == p and field in ("gamma_left", "gamma_right")
            }
            rates.append((rows["gamma_left", 0], rows["gamma_right", 0], rows["gamma_right", 1]))
            for (field, _), row in rows.items():
                for column in np.flatnonzero(sample.network.weights[row]).tolist():
                    if column not in place:
                        return None
                    upwards = (field == "gamma_right") == (sample.network.weights[row, column] > 0.0)
                    found[place[column]] = (high if upwards else low)[place[column]]
        theta = network.resolved(sample.full_knobs(found[None], np.zeros((1, len(sample.inputs))))[0])
        far = all(theta[r2] >= 1.2 * theta[l1] * theta[r1] / (theta[l1] + theta[r1]) for l1, r1, r2 in rates)
        return found if rates and far else None

    def couplings(self) -> list[Coupling]:
        """Every level that an input's own line moves: by `lead_levers` where it ends there, by `node_levers` else."""
        sample, found = self._sample, []
        lines = {
            sample.network.terminals[t]: n for t, n in zip(sample.input_terminals, sample.inputs, strict=True) if t >= 0
        }
        base, spans = sample.network.base, sample.network.parameters
        for row, (p, field, index) in enumerate(spans):
            edge = sample.network.processes[p]
            if not isinstance(edge, Edge) or field not in ("lead_levers", "node_levers") or base[row] == 0.0:
                continue
            ends = (edge.first, edge.second) if field == "lead_levers" else edge.reads
            node = ends[int(index)]
            if node in lines:
                found.append(Coupling(lines[node], sample.labels[p], float(base[row]), field == "lead_levers"))
        return found

    def _evaluate(self, point: Floats, knobs: Floats, inputs: Floats, start: Floats | None):
        z, e = point[: self._n], point[self._n :]
        network = self._mismatch.apply(z)
        state = network.steady_state(
            self._chain.clamps(e, inputs), self._sample.full_knobs(knobs, inputs), start, self._sample.injected
        )
        truth = true_readings(self._sample, network, state)
        return self._chain.read(e, truth), state, network

    def _descend(
        self, knobs: Floats, inputs: Floats, readings: Floats, sigma: Floats, known: NDArray[np.bool_], iterations: int
    ) -> None:
        warm: list[Floats | None] = [None]
        cache: dict[bytes, tuple[Floats, Floats]] = {}

        def evaluate(point: Floats) -> tuple[Floats, Floats]:
            key = point.tobytes()
            if key not in cache:
                cache.clear()
                cache[key] = self._residuals(point, knobs, inputs, readings, sigma, known, warm)
            return cache[key]

        self.coordinates = least_squares(
            lambda p: evaluate(p)[0],
            self.coordinates,
            jac=cast(Any, lambda p: evaluate(p)[1]),  # scipy's annotation knows only the names of schemes
            method="trf",
            x_scale=1.0,
            xtol=1e-4,
            ftol=1e-4,
            gtol=1e-6,
            max_nfev=iterations,
        ).x

    def _misfits(
        self, knobs: Floats, inputs: Floats, readings: Floats, sigma: Floats, known: NDArray[np.bool_]
    ) -> Floats:
        return ((self.respond(knobs, inputs) - readings) / sigma)[known]

    def _derivatives(
        self, point: Floats, knobs: Floats, inputs: Floats, start: Floats | None
    ) -> tuple[Floats, list[Floats], Floats]:
        """Readings, their derivatives by the coordinates, one (batch, n) a reading, and the free potentials."""
        predicted, state, network = self._evaluate(point, knobs, inputs, start)
        z, e = point[: self._n], point[self._n :]
        gain = self._chain.gains(e)
        truth = true_readings(self._sample, network, state)
        blocks = []
        for r in range(len(self._sample.readings)):
            gradients = reading_gradients(self._sample, network, state, r)
            by_z = self._mismatch.pull_back(z, network, gradients, state.knobs) * gain[r]
            by_e = self._chain.pull_back(e, r, truth[:, r], inputs, gradients)
            blocks.append(np.hstack([by_z, by_e]))
        return predicted, blocks, state.potentials

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
        predicted, derivatives, warm[0] = self._derivatives(point, knobs, inputs, warm[0])
        mean, root = self._prior
        rows = [((predicted[:, r] - readings[:, r]) / sigma[:, r])[known[:, r]] for r in range(len(derivatives))]
        blocks = [(block / sigma[:, r, None])[known[:, r]] for r, block in enumerate(derivatives)]
        return np.concatenate([*rows, root @ (point - mean)]), np.vstack([*blocks, root])


def build_twin(config: StationConfig, control: bool = False) -> NetworkTwin:
    """The twin of a station's device as designed; it knows nothing of the station's `simulation` section."""
    sample, device = build_sample(config, control), config.device
    if device.unknowns.crosstalk and not sample.gates:
        what = f"{config.device_file.name} does not say which gates are neighbours; add `gates` to it"
        raise config.error(("device", "unknowns", "crosstalk"), what)
    return NetworkTwin(sample, device.uncertainty, control, device.unknowns)
