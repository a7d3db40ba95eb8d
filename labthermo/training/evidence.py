"""What a trainer has measured: settings with their readings, for re-fits of a twin."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from labthermo.device import Response, Status

Floats = NDArray[np.float64]

ROWS = 2500  # readings kept for re-fits, the newest


class Evidence:
    """Settings in the order they were measured. Readings are outputs, then nodes; NaN where nothing was read."""

    def __init__(self, settings: list[dict[str, Any]] | None = None) -> None:
        self.settings: list[dict[str, Any]] = settings or []

    def add(self, knobs: Floats, response: Response) -> None:
        """Keep a batch: knobs (n_knobs,). What overflowed, tripped or was abandoned counts as not read."""
        bad = np.array([s not in (Status.SETTLED, Status.UNSETTLED) for s in response.status])
        readings = np.hstack([response.outputs, response.nodes])
        readings[bad] = np.nan
        self.settings.append(
            {
                "knobs": knobs.tolist(),
                "inputs": np.asarray(response.inputs).tolist(),
                "readings": readings.tolist(),
                "sigma": np.hstack([response.sigma, response.node_sigma]).tolist(),
            }
        )

    def __len__(self) -> int:
        return sum(len(setting["inputs"]) for setting in self.settings)

    def rows(self, last: int | None = None) -> tuple[Floats, Floats, Floats, Floats]:
        """Knobs, inputs, readings and sigma, one row a reading, the newest ROWS, or of the `last` settings.

        No reading is trusted beyond 1e-4 of its column: a noiseless simulation would demand infinite weight.
        """
        knobs, inputs, readings, sigma = [], [], [], []
        rows = 0
        for setting in reversed(self.settings[-last:] if last else self.settings):
            n = len(setting["inputs"])
            if rows and rows + n > ROWS:
                break
            rows += n
            knobs.append(np.tile(setting["knobs"], (n, 1)))
            inputs.append(setting["inputs"])
            readings.append(setting["readings"])
            sigma.append(setting["sigma"])
        measured = np.vstack(readings).astype(float)
        floor = 1e-4 * np.nanmax(np.abs(measured), axis=0, initial=1e-15)
        return np.vstack(knobs), np.vstack(inputs), measured, np.fmax(np.vstack(sigma).astype(float), floor)
