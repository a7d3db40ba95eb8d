"""What a trainer may ask of a twin: a differentiable model of the device that learns from what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from labthermo.tangent import Tangent

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Coupling:
    """How far an input's line moves the level of a conductor, as designed.

    lever: eV/V; touches: whether the line ends at the conductor.
    """

    input: str
    conductor: str
    lever: float
    touches: bool


class Twin(Protocol):
    """A model of a device at its channels.

    knobs (batch, n_knobs) and inputs (batch, n_inputs) in the device's order; readings (batch, n_readings) are the
    outputs, then the nodes.
    """

    def respond(self, knobs: Floats, inputs: Floats) -> Floats:
        """Readings, each relaxed from rest."""
        ...

    def jacobian(self, knobs: Floats, inputs: Floats) -> tuple[Floats, Floats]:
        """Outputs (batch, n_outputs) and their derivatives by the knobs, (batch, n_outputs, n_knobs)."""
        ...

    def inflow(self, knobs: Floats, inputs: Floats) -> Floats:
        """All that flows into the vessel of every reading, (batch, n_readings), L/s; NaN where it is of no vessel."""
        ...

    def tangent(self, knobs: Floats, inputs: Floats, readings: Floats, nudge: Floats | None = None) -> Tangent:
        """The model as it is, made linear at measured readings (batch, n_readings).

        A node that is not read is solved for between those that are. nudge: as in a query, what was injected.
        """
        ...

    def refit(
        self, knobs: Floats, inputs: Floats, readings: Floats, sigma: Floats, *, start: Floats | None = None
    ) -> float:
        """Move to the most probable device given these readings; chi-squared per reading there. NaN is left out.

        start: coordinates to begin at (see `draw`), where the present estimate may be in the wrong valley.
        """
        ...

    def condition(self, knobs: Floats, inputs: Floats, readings: Floats, sigma: Floats) -> None:
        """Take these readings for what the present estimate rests on, without moving it; sets its covariance."""
        ...

    def misfit(self, knobs: Floats, inputs: Floats, readings: Floats, sigma: Floats) -> float:
        """Chi-squared per reading as the twin is. NaN is left out."""
        ...

    def covariance(self) -> Floats:
        """Of the twin's coordinates, (n, n), as the prior and the last readings leave it."""
        ...

    def draw(self, rng: np.random.Generator, width: float) -> Floats:
        """Coordinates (n,) at random about the estimate, `width` times as far as the covariance says.

        A width of 0 gives the prior's mean.
        """
        ...

    def sensitivity(self, knobs: Floats, inputs: Floats) -> tuple[Floats, Floats]:
        """Readings (batch, n_readings) and their derivatives by the coordinates, (batch, n_readings, n)."""
        ...

    def levels(self) -> list[tuple[int, float]]:
        """The coordinates that a charge beside a dot moves, and eV per unit of each; empty without dots."""
        ...

    def loosen(self) -> None:
        """A charge may have jumped: what was learnt becomes the prior, with its levels uncertain again."""
        ...

    def parameters(self) -> dict[str, tuple[float, float, float]]:
        """Name -> (estimate, prior width, posterior width)."""
        ...

    def conductor_curves(self, knobs: Floats, bias: float) -> list[tuple[str, Floats, Floats]]:
        """(label, bias, current) of each nonlinear conductor at these knobs, for biases from 0 to `bias`."""
        ...

    def reaction_curves(self, knobs: Floats, inputs: Floats) -> list[tuple[str, str, Floats, Floats]]:
        """(label, substrate, concentration in mol/L, rate in mol/(L s)) of each reaction of what the inputs bring.

        At these knobs (n_knobs,), over the concentrations that these inputs (batch, n_inputs) lead to.
        """
        ...

    def detuned(self, knobs: Floats, low: Floats, high: Floats) -> Floats | None:
        """Knobs (n_knobs,) within `low` to `high` at which no conductor can show NDC; None where they do not suffice.

        What a bench can do for an ablation: the others stay as they are in `knobs`.
        """
        ...

    def couplings(self) -> list[Coupling]:
        """Every level that an input's own line moves: the design's coupling matrix, without its zeros."""
        ...

    def state(self) -> dict[str, Any]:
        """All that :meth:`restore` needs, JSON-able."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become the twin that gave this state."""
        ...
