"""Whether a device has changed between two settings: a charge jump beside one dot, sought in all readings together.

For every boundary between settings and every dot: by how much chi-squared would fall if that dot's levels had shifted
there (a score test, Rao (1948), on the twin made linear at its estimate; the other coordinates follow). A reading
alone says little while the twin is unsure of itself; all of them together, before and after, say much.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labthermo.training.evidence import Evidence
from labthermo.twin import Twin

Floats = NDArray[np.float64]

TELLING = 25.0  # information about a shift, per squared unit of the coordinate, below which it is not sought


@dataclass(frozen=True)
class Change:
    """The most likely change. split: index of the first setting after it; level: the coordinate that has shifted;
    gain: by how much chi-squared falls; shift: of the coordinate."""

    split: int
    level: int
    gain: float
    shift: float


def most_likely_change(twin: Twin, evidence: Evidence) -> Change | None:
    """The change that explains most, None where nothing could be seen. The twin has been fitted to the evidence."""
    settings, levels = evidence.settings, [index for index, _ in twin.levels()]
    if len(settings) < 2 or not levels:
        return None
    covariance = twin.covariance()
    score, information, mixed = [], [], []
    for setting in settings:
        one = Evidence([setting])
        knobs, inputs, measured, sigma = one.rows()
        predicted, by = twin.sensitivity(knobs, inputs)
        known = np.isfinite(measured)
        pull = ((measured - predicted) / sigma)[known]
        white = (by / sigma[:, :, None])[known]
        shifts = white[:, levels]
        score.append(pull @ shifts)
        information.append(np.sum(shifts**2, axis=0))
        mixed.append(shifts.T @ white)
    after = slice(None, 0, -1)  # sums over the settings from a split on, the last split first
    scores, informations = (np.cumsum(np.array(each)[after], axis=0) for each in (score, information))
    mixes = np.cumsum(np.array(mixed)[after], axis=0)
    left = informations - np.einsum("sln,nm,slm->sl", mixes, covariance, mixes)
    gains = np.where(left > TELLING, scores**2 / np.maximum(left, TELLING), 0.0)
    place, k = np.unravel_index(int(np.argmax(gains)), gains.shape)
    if gains[place, k] == 0.0:
        return None
    shift = float(scores[place, k] / left[place, k])
    return Change(len(settings) - 1 - int(place), levels[int(k)], float(gains[place, k]), shift)
