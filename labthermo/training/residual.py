"""What a twin misses beyond noise, learnt from its misfits: a Gaussian process over knobs and inputs.

For mismatch outside the twin's family (a parasitic conductance, another law). Squared-exponential kernel (Rasmussen
and Williams, Gaussian Processes for Machine Learning (2006), chapter 2); its lengths and size are those of greatest
likelihood on a small grid. Near what was measured it follows the readings and averages them where they lie close; far
from it, it is zero, and the twin stands alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labthermo.training.evidence import Evidence
from labthermo.twin import Twin

Floats = NDArray[np.float64]

NEAREST = 400  # readings of an output that it rests on, nearest to where it is asked
KNOB_LENGTHS = (0.15, 0.4, 1.0)  # in halves of a knob's range, times the root of the number of knobs
INPUT_LENGTHS = (0.1, 0.25, 0.6)  # of the inputs' window


class Residual:
    """half: (n_knobs,), halves of the knobs' ranges; window: (n_inputs,), widths of the inputs' windows."""

    def __init__(self, half: Floats, window: Floats) -> None:
        self._half = half
        self._window = np.where(window > 0, window, 1.0)
        self._known: list[tuple[Floats, Floats, Floats, float, float] | None] = []

    def fit(self, twin: Twin, evidence: Evidence, about: Floats) -> None:
        """Learn from the misfits of `twin` to the readings nearest to the knobs `about`, (n_knobs,)."""
        knobs, inputs, readings, sigma = evidence.rows()
        misfit = readings - twin.respond(knobs, inputs)
        distance = np.sum(((knobs - about) / self._half) ** 2, axis=1)
        self._known = []
        outputs = twin.jacobian(knobs[:1], inputs[:1])[0].shape[1]
        for r in range(outputs):
            known = np.flatnonzero(np.isfinite(misfit[:, r]))
            rows = known[np.argsort(distance[known], kind="stable")[:NEAREST]]
            self._known.append(self._learn(knobs[rows], inputs[rows], misfit[rows, r], sigma[rows, r]))

    def at(self, knobs: Floats, inputs: Floats) -> tuple[Floats, Floats]:
        """What the twin misses of the outputs, (batch, n_outputs), at knobs (n_knobs,) and inputs (batch, n_inputs),
        and its derivatives by the knobs, (batch, n_outputs, n_knobs)."""
        values = np.zeros((len(inputs), len(self._known)))
        slopes = np.zeros((len(inputs), len(self._known), len(knobs)))
        for r, learnt in enumerate(self._known):
            if learnt is None:
                continue
            where, asked, weights, knob_length, input_length = learnt
            away = (where - knobs) / self._half / knob_length
            between = (asked[None] - inputs[:, None]) / self._window / input_length
            kernel = np.exp(-0.5 * (np.sum(between**2, axis=2) + np.sum(away**2, axis=1))) * weights
            values[:, r] = kernel.sum(axis=1)
            slopes[:, r] = kernel @ (away / self._half / knob_length)
        return values, slopes

    def _learn(
        self, knobs: Floats, inputs: Floats, misfit: Floats, sigma: Floats
    ) -> tuple[Floats, Floats, Floats, float, float] | None:
        excess = float(np.mean(misfit**2) - np.mean(sigma**2))
        if len(misfit) < 3 or excess <= 0.0:
            return None
        k, x = knobs / self._half, inputs / self._window
        by_knobs, by_inputs = _distances(k), _distances(x)
        best: tuple[float, Floats, float, float] | None = None
        for knob_length in np.sqrt(knobs.shape[1]) * np.array(KNOB_LENGTHS):
            for input_length in INPUT_LENGTHS:
                kernel = np.exp(-0.5 * (by_knobs / knob_length**2 + by_inputs / input_length**2))
                root = np.linalg.cholesky(excess * kernel + np.diag(sigma**2))
                white = np.linalg.solve(root, misfit)
                likelihood = -0.5 * float(white @ white) - float(np.log(np.diag(root)).sum())
                if best is None or likelihood > best[0]:
                    best = likelihood, excess * np.linalg.solve(root.T, white), float(knob_length), float(input_length)
        assert best is not None
        return knobs, inputs, best[1], best[2], best[3]


def _distances(points: Floats) -> Floats:
    """Squared distances between all rows."""
    squares = np.sum(points**2, axis=1)
    return np.maximum(squares[:, None] + squares[None] - 2.0 * points @ points.T, 0.0)
