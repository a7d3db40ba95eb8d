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
SHARE = 0.5  # of the tolerance, that the design may be away from its end by then
EARLIEST, MOMENTS = 1e-3, 240  # of the timeout: the first moment looked at; how many there are


class SettlingByDesign:
    """Follows the network as designed through the settings of the device, at the device's own pace.

    Small steps, none of which changes much, so do not add up to an answer that lags behind.
    """

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
        self._at: Floats | None = None  # potentials, (1, n_free); None: nobody knows

    def forget(self) -> None:
        """The device may be anywhere: the next move is taken to begin at rest, vessels without anything dissolved."""
        self._at = None

    def wait(self, setting: Mapping[str, float]) -> float:
        """LONGER times what every output needs to come within SHARE of the tolerance of its end to stay, s.

        setting: value of every input and knob, SI. Never more than nine tenths of the timeout, so that there is time
        to look.
        """
        if not self._weights.size:
            return 0.0
        times = np.concatenate([[0.0], np.geomspace(EARLIEST, 1.0, MOMENTS) * self._timeout])
        path = self._relax(setting, times) @ self._weights
        away = np.flatnonzero((np.abs(path - path[-1]) > SHARE * self._tolerance).any(axis=1))
        there = times[min(away[-1] + 1, len(times) - 1)] if len(away) else 0.0
        return min(LONGER * float(there), 0.9 * self._timeout)

    def elapse(self, setting: Mapping[str, float], seconds: float) -> None:
        """So long it has been at this setting."""
        self._at = self._relax(setting, np.array([seconds]))[-1:]

    def _relax(self, setting: Mapping[str, float], times: Floats) -> Floats:
        """Potentials (n_times, n_free) at `times` after the move there."""
        inputs = np.array([[setting[name] for name in self._sample.inputs]])
        knobs = np.array([[setting[name] for name in self._knobs]])
        clamped = self._chain.clamps(self._errors, inputs)
        full = self._sample.full_knobs(knobs, inputs)
        return self._sample.network.relax(clamped, times, full, self._at, self._sample.injected)[0]
