"""A channel: one named physical quantity of a device, with its unit and its limits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Kind = Literal["input", "knob", "output", "node"]


@dataclass(frozen=True)
class Channel:
    """One quantity of the device, as seen at the sample (after dividers and gains).

    Attributes
    ----------
    name: as in the station file, e.g. ``p1``.
    kind: ``input`` and ``knob`` can be set, ``output`` and ``node`` can be read.
    unit: SI unit, e.g. ``V`` or ``A``.
    minimum, maximum: allowed range at the sample, in `unit`.
    max_step: largest single step, in `unit`.
    slew: largest rate of change, in `unit`/s.
    resolution: smallest change that the instrument behind the channel can make or see, in `unit`.
    window: the range a task maps its data to, in `unit`; None where a task needs none.
    spacing: of an input: how the data go over the window, ``linear`` or ``log`` (equal ratios).
    rests: of a pump: 0 is allowed whatever the minimum is, for it can always be stopped.
    falling: of an output: a task's high is the low end of the window.
    noise: of a pump: relative standard deviation of its rate from one setting to the next, as far as it is known.
    """

    name: str
    kind: Kind
    unit: str
    minimum: float = -math.inf
    maximum: float = math.inf
    max_step: float = math.inf
    slew: float = math.inf
    resolution: float = 0.0
    window: tuple[float, float] | None = None
    spacing: Literal["linear", "log"] = "linear"
    rests: bool = False
    falling: bool = False
    noise: float = 0.0
