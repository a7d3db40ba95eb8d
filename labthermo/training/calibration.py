"""Which queries tell most about a device: settings of knobs and inputs, chosen one after the other on its twin.

D-optimal and greedy: of many random settings the one whose readings reduce the twin's uncertainty most (the largest
gain in the determinant of the information, Fedorov, Theory of Optimal Experiments (1972)). The twin is linear only
nearby, so a setting counts only where the twin's own prediction is not too uncertain; as it learns, more of the knobs'
range is within reach.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from labthermo.channel import Channel
from labthermo.training.evidence import Evidence
from labthermo.twin import Twin

Floats = NDArray[np.float64]

SETTINGS = 60  # candidates for each choice
INPUTS = 4  # queries at a setting
GRID = 9  # candidate inputs at a setting
REACH = 0.7  # of half the knobs' range about the middle
CERTAIN = 0.04  # of `scale`: the twin's median doubt about its outputs, below which it can be trained on
CALIBRATION = 320  # queries at most
AGREES = 1.5  # chi-squared per reading below which the twin and its readings agree
RESTARTS = (0.0, 1.0, 2.0, 2.0, 4.0)  # where a re-fit that disagrees begins again (see `Twin.draw`)


class Calibration:
    """Chooses settings on a twin.

    channels: the device's. scale: (n_outputs,), V, the size of an output that matters (half its window); a setting is
    within reach while the twin knows its outputs to about as much.
    """

    def __init__(self, channels: Sequence[Channel], scale: Floats, rng: np.random.Generator) -> None:
        knobs = [c for c in channels if c.kind == "knob"]
        inputs = [c for c in channels if c.kind == "input"]
        self._low = np.array([c.minimum for c in knobs])
        self._high = np.array([c.maximum for c in knobs])
        windows = np.array([c.window or (c.minimum, c.maximum) for c in inputs])
        self._window = windows[:, 0], windows[:, 1]
        self._scale = scale
        self._rng = rng

    def choose(self, twin: Twin, sigma: Floats | None) -> tuple[Floats, Floats]:
        """The next setting: knobs (n_knobs,) and inputs (n, n_inputs).

        sigma: (n_readings,), of one reading; None where nothing was read yet: a hundredth of what the twin expects.
        """
        knobs, inputs = self._candidates(SETTINGS)
        readings, by = self._sensitivity(twin, knobs, inputs)
        noise = 0.01 * np.sqrt(np.mean(readings**2, axis=(0, 1))) if sigma is None else sigma
        factor = np.linalg.cholesky(twin.covariance())
        spread: Floats = (
            by @ factor
        )  # (settings, inputs, readings, n): readings' deviations by unit deviations of the twin
        outputs = np.sqrt(np.sum(spread[:, :, : len(self._scale)] ** 2, axis=3))
        doubt = np.sqrt(np.mean((outputs / self._scale) ** 2, axis=(1, 2)))
        if np.all(doubt > 1.0):
            best = np.argmin(doubt)
            within = np.array([best])
        else:
            within = np.flatnonzero(doubt <= 1.0)
        white = spread / noise[:, None]
        gains, picks = zip(*(_greedy(white[s]) for s in within), strict=True)
        chosen = int(np.argmax(gains))
        setting = int(within[chosen])
        return knobs[setting], inputs[setting][np.sort(picks[chosen])]

    def at(self, twin: Twin, knobs: Floats, sigma: Floats | None) -> tuple[Floats, Floats]:
        """The inputs that tell most at given knobs (n_knobs,): a setting as `choose` gives it."""
        low, high = self._window
        inputs = low + (high - low) * self._rng.uniform(0.0, 1.0, (1, 2 * GRID, len(low)))
        readings, by = self._sensitivity(twin, knobs[None], inputs)
        noise = 0.01 * np.sqrt(np.mean(readings**2, axis=(0, 1))) if sigma is None else sigma
        _, picks = _greedy((by[0] @ np.linalg.cholesky(twin.covariance())) / noise[:, None])
        return knobs, inputs[0][np.sort(picks)]

    def at_random(self, queries: int, each: int) -> list[tuple[Floats, Floats]]:
        """Settings over the middle of the knobs' range, with `each` inputs or fewer, `queries` in all."""
        counts = [each] * (queries // each) + ([queries % each] if queries % each else [])
        knobs, inputs = self._candidates(len(counts), whole=True)
        picks = [np.sort(self._rng.permutation(GRID)[:n]) for n in counts]
        return [(k, x[pick]) for k, x, pick in zip(knobs, inputs, picks, strict=True)]

    def doubt_at(self, twin: Twin, knobs: Floats, inputs: Floats) -> float:
        """How uncertain the twin's outputs are at knobs (n_knobs,) over inputs (n, n_inputs): rms, in `scale`."""
        _, by = self._sensitivity(twin, knobs[None], inputs[None])
        spread = by[0, :, : len(self._scale)] @ np.linalg.cholesky(twin.covariance())
        return float(np.sqrt(np.mean(np.sum(spread**2, axis=2) / self._scale**2)))

    def doubt(self, twin: Twin) -> float:
        """How uncertain the twin's outputs are over the middle of the knobs' range, in units of `scale`: the median."""
        state = self._rng.bit_generator.state
        knobs, inputs = self._candidates(40, whole=True)
        self._rng.bit_generator.state = state  # asking changes nothing
        _, by = self._sensitivity(twin, knobs, inputs)
        spread = by[:, :, : len(self._scale)] @ np.linalg.cholesky(twin.covariance())
        return float(np.median(np.sqrt(np.mean(np.sum(spread**2, axis=3) / self._scale**2, axis=(1, 2)))))

    def _candidates(self, n: int, whole: bool = False) -> tuple[Floats, Floats]:
        """Settings about the knobs' zero, or what is nearest to it, at every distance; a grid of inputs for each."""
        middle, half = (self._low + self._high) / 2.0, (self._high - self._low) / 2.0
        far = middle + REACH * half * self._rng.uniform(-1.0, 1.0, (n, len(half)))
        centre = np.clip(0.0, self._low, self._high)
        part = np.ones((n, 1)) if whole else np.linspace(0.05, 1.0, n)[:, None]
        knobs = centre + part * (far - centre)
        low, high = self._window
        inputs = self._rng.uniform(0.0, 1.0, (n, GRID, len(low)))
        inputs[:, :, 0] = (np.arange(GRID) + inputs[:, :, 0]) / GRID
        return knobs, low + (high - low) * inputs

    def _sensitivity(self, twin: Twin, knobs: Floats, inputs: Floats) -> tuple[Floats, Floats]:
        n, m = inputs.shape[:2]
        readings, by = twin.sensitivity(np.repeat(knobs, m, axis=0), inputs.reshape(n * m, -1))
        return readings.reshape(n, m, -1), by.reshape(n, m, by.shape[1], -1)


def refit(twin: Twin, evidence: Evidence, rng: np.random.Generator, accepted: float) -> tuple[float, float]:
    """Fit the twin to all evidence; where it has come to disagree with it, look whether it sits in the wrong valley.

    accepted: chi-squared per reading when that was last looked for. Returns chi-squared per reading, and `accepted`
    from now on.
    """
    rows = evidence.rows()
    starts = [twin.draw(rng, width) for width in RESTARTS]
    lowest = twin.refit(*rows)
    if lowest <= max(AGREES, 1.5 * accepted):
        return lowest, accepted
    kept = twin.state()
    for start in starts:
        chi = twin.refit(*rows, start=start)
        if chi < lowest:
            lowest, kept = chi, twin.state()
        if chi < AGREES:
            break
    twin.restore(kept)
    twin.condition(*rows)
    return lowest, lowest


def _greedy(white: Floats) -> tuple[float, list[int]]:
    """INPUTS of the rows of white (inputs, readings, n) that gain most information, and ln det of the gain."""
    flat = white.reshape(-1, white.shape[2])
    m, r = white.shape[:2]
    gram = flat @ flat.T
    total, picks = 0.0, []
    for _ in range(min(INPUTS, m)):
        gains = [
            np.linalg.slogdet(np.eye(r) + gram[r * k : r * k + r, r * k : r * k + r])[1] if k not in picks else -1.0
            for k in range(m)
        ]
        k = int(np.argmax(gains))
        total += float(gains[k])
        picks.append(k)
        rows = slice(r * k, r * k + r)
        gram = gram - gram[:, rows] @ np.linalg.solve(np.eye(r) + gram[rows, rows], gram[rows])
    return total, picks
