"""How long the device as designed takes from one setting to the next: before that, no reading proves it settled.

An answer that goes through an extremum on its way stands still there, for minutes on a flow bench, and readings alone
cannot tell it from the end. The design foretells it for each move; a real device takes a little longer or shorter.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from labthermo.config import StationConfig
from simulators.sample import Chain, build_sample

Floats = NDArray[np.float64]

LONGER = 1.5  # than the design: what is waited at least, as the sample is not the design
EARLIEST, MOMENTS = 1e-3, 240  # of the timeout: the first moment looked at; how many there are


class SettlingByDesign:
    """From a setting to the next, by the relaxation of the network as designed."""

    def __init__(self, config: StationConfig) -> None:
        """
        Raises
        ------
        StationFileError: the wiring does not fit the device file.
        """
        self._sample = build_sample(config)
        self._chain = Chain(self._sample)
        self._knobs = tuple(config.device.knobs)
        self._errors = np.zeros(len(self._chain.names))
        outputs = self._sample.readings[: self._sample.n_outputs]
        self._weights = np.array([r.weights for r in outputs if r.weights is not None]).T
        self._tolerance, self._timeout = config.device.settle.tolerance, config.device.settle.timeout

    def __call__(self, before: Mapping[str, float] | None, after: Mapping[str, float]) -> float:
        """LONGER times what every output needs to come within the tolerance of its end to stay, s.

        before, after: value of every input and knob, SI; before None: from rest, vessels without anything dissolved.
        Never more than nine tenths of the timeout, so that there is time to look.
        """
        if not self._weights.size:
            return 0.0
        start = None
        if before is not None:
            start = self._sample.network.steady_state(*self._posed(before), injected=self._sample.injected).potentials
        times = np.concatenate([[0.0], np.geomspace(EARLIEST, 1.0, MOMENTS) * self._timeout])
        inputs, knobs = self._posed(after)
        path = self._sample.network.relax(inputs, times, knobs, start, self._sample.injected)[0] @ self._weights
        away = np.flatnonzero((np.abs(path - path[-1]) > self._tolerance).any(axis=1))
        there = times[min(away[-1] + 1, len(times) - 1)] if len(away) else 0.0
        return min(LONGER * float(there), 0.9 * self._timeout)

    def _posed(self, setting: Mapping[str, float]) -> tuple[Floats, Floats]:
        """Terminals and knobs of the network, (1, n) each."""
        inputs = np.array([[setting[name] for name in self._sample.inputs]])
        knobs = np.array([[setting[name] for name in self._knobs]])
        return self._chain.clamps(self._errors, inputs), self._sample.full_knobs(knobs, inputs)
