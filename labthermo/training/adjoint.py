"""The exact gradient of the true device: what no lab can have, as a yardstick for the methods that it can."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from labthermo.device import Device, Response
from labthermo.errors import ParameterError
from labthermo.tangent import Tangent
from labthermo.training.knob_space import KnobSpace
from labthermo.training.levenberg_marquardt import LevenbergMarquardt
from labthermo.training.task import Task

Floats = NDArray[np.float64]


class Differentiable(Protocol):
    """A device that tells its own derivatives: a numerical one."""

    def tangent(self, knobs: Mapping[str, float], inputs: Floats) -> Tangent:
        """The device made linear where it comes to rest."""
        ...


def differentiable(device: Device) -> Differentiable:
    """The device, if it tells its own derivatives.

    Raises
    ------
    ParameterError: it does not.
    """
    if not hasattr(device, "tangent"):
        raise ParameterError(
            "the method adjoint needs the exact gradient of the true device, which only --backend model has; "
            "use calibrated_twin here"
        )
    return cast(Differentiable, device)


def adjoint(space: KnobSpace, task: Task, start: Floats, device: Differentiable) -> LevenbergMarquardt:
    """Levenberg-Marquardt with the Jacobian of the device itself."""

    def jacobian(knobs: Floats, response: Response) -> Floats:
        named = dict(zip(space.names, map(float, knobs), strict=True))
        return device.tangent(named, np.asarray(response.inputs)).outputs_by_knobs()

    return LevenbergMarquardt(space, task, start, jacobian)
