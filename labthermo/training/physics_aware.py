"""Physics-aware training (Wright et al., Nature 601, 549, 2022): the device's answers, the designed model's slopes.

The model is never re-fitted. Its derivatives are taken at the nodes that were measured, not where the model itself
would come to rest: that is what makes it work on a device with hidden parameters (training.md, section 3).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labthermo.device import Response
from labthermo.training.knob_space import KnobSpace
from labthermo.training.levenberg_marquardt import LevenbergMarquardt
from labthermo.training.task import Task
from labthermo.twin import Twin

Floats = NDArray[np.float64]


def physics_aware(space: KnobSpace, task: Task, start: Floats, model: Twin) -> LevenbergMarquardt:
    """Levenberg-Marquardt with the Jacobian of `model`, the device as designed, at the measured nodes."""

    def jacobian(knobs: Floats, response: Response) -> Floats:
        readings = np.hstack([response.outputs, response.nodes])
        readings[~response.readable] = np.nan
        settings = np.tile(knobs, (len(readings), 1))
        return model.tangent(settings, np.asarray(response.inputs), readings).outputs_by_knobs()

    return LevenbergMarquardt(space, task, start, jacobian)
