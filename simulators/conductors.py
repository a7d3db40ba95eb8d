"""Conductors: the laws that carry current between two nodes, and the knobs that shape them.

Potentials are u = mu/e in volts (electrochemical potential of the carriers over the elementary charge), currents
are in amperes and counted from high to low u. The formulas stand above their kernels in
:mod:`simulators.kernels`; here stand the parameters, their units and how a lab's knobs move them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal

from simulators import kernels


@dataclass(frozen=True)
class Affine:
    """A parameter that moves linearly with knobs: value = base + sum(weight * knob).

    `base` in the parameter's unit, weights in that unit per unit of the knob (a plunger's lever arm is a
    negative weight in eV/V: a positive gate voltage lowers the level).
    """

    base: float
    weights: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Decades:
    """A positive parameter that moves exponentially with knobs: value = base * 10**sum(weight * knob).

    Weights in decades per unit of the knob: a barrier of one decade per 150 mV has weight 1/0.15.
    """

    base: float
    weights: Mapping[str, float] = field(default_factory=dict)


Parameter = float | Affine | Decades
Mismatch = Literal["scale", "level", "fixed"]  # how a real sample differs: by a factor, by a shift, not at all


@dataclass(frozen=True)
class Linear:
    """Ohm's law, I = g (u_a - u_b).

    conductance: S, > 0.
    """

    conductance: Parameter
    code: ClassVar[int] = kernels.LINEAR
    mismatch: ClassVar[dict[str, Mismatch]] = {"conductance": "scale"}


@dataclass(frozen=True)
class GaussianNdc:
    """A phenomenological conductor with NDC, I = d (leak + g exp(-(d/w)^2)), d = u_a - u_b.

    conductance: S; width: V, > 0; leak: S, >= 0. Our own test law, not a model of a material. The slope has its
    minimum -2 exp(-3/2) g + leak at d = w sqrt(3/2), so there is NDC iff leak < 0.4463 g.
    """

    conductance: Parameter
    width: Parameter
    leak: Parameter = 0.0
    code: ClassVar[int] = kernels.GAUSSIAN_NDC
    mismatch: ClassVar[dict[str, Mismatch]] = {"conductance": "scale", "width": "scale", "leak": "scale"}


@dataclass(frozen=True)
class SingleLevel:
    """Sequential tunnelling through one spinless level (Beenakker, Phys. Rev. B 44, 1646 (1991), one level).

    I = e GL GR/(GL+GR) [f(eps-u_a) - f(eps-u_b)]; no NDC at either terminal for lead levers in 0..1.
    level: eV; gamma_left (side of the edge's first node), gamma_right: 1/s; temperature: K;
    lead_levers: (alpha_S, alpha_D), eV/V: the level also moves by alpha_S u_a + alpha_D u_b.
    Valid for hbar*Gamma << kT.
    """

    level: Parameter
    gamma_left: Parameter
    gamma_right: Parameter
    temperature: Parameter
    lead_levers: tuple[Parameter, Parameter] = (0.0, 0.0)
    code: ClassVar[int] = kernels.SINGLE_LEVEL
    mismatch: ClassVar[dict[str, Mismatch]] = {
        "level": "level",
        "gamma_left": "scale",
        "gamma_right": "scale",
        "temperature": "fixed",
        "lead_levers": "fixed",
    }


@dataclass(frozen=True)
class BlockingLevel:
    """Two levels that exclude each other (empty, conducting, blocked): sequential tunnelling with NDC.

    The three-state rate equation of physics.md, section 2 (Bonet, Deshmukh and Ralph, Phys. Rev. B 65, 045317
    (2002), for the general form). For ordered, well separated levels and a far right lead there is NDC iff
    GR2 < GL1 GR1/(GL1+GR1).
    levels: (conducting, blocking), eV; gamma_left, gamma_right: (level 1, level 2), 1/s; temperature: K;
    lead_levers: (alpha_S, alpha_D), eV/V. Valid for hbar*Gamma << kT << charging energy.
    """

    levels: tuple[Parameter, Parameter]
    gamma_left: tuple[Parameter, Parameter]
    gamma_right: tuple[Parameter, Parameter]
    temperature: Parameter
    lead_levers: tuple[Parameter, Parameter] = (0.0, 0.0)
    code: ClassVar[int] = kernels.BLOCKING_LEVEL
    mismatch: ClassVar[dict[str, Mismatch]] = {
        "levels": "level",
        "gamma_left": "scale",
        "gamma_right": "scale",
        "temperature": "fixed",
        "lead_levers": "fixed",
    }


Conductor = Linear | GaussianNdc | SingleLevel | BlockingLevel


def flat_parameters(law: Conductor) -> list[tuple[str, int | None, Parameter]]:
    """The law's parameters in the kernel's order: (field name, index within a tuple or None, parameter)."""
    rows: list[tuple[str, int | None, Parameter]] = []
    for spec in fields(law):
        value = getattr(law, spec.name)
        if isinstance(value, tuple | list):
            rows += [(spec.name, index, item) for index, item in enumerate(value)]
        else:
            rows.append((spec.name, None, value))
    return rows


def without_ndc(law: Conductor) -> Conductor:
    """The same conductor made unable to show NDC: the ablation of training.md, section 1.

    BlockingLevel: the blocking level gets the conducting one's rates (devices.md: GR2 = GR1 and GL2 = GL1;
    barriers keep these ratios, so no gate setting can bring NDC back). GaussianNdc: the leak is raised to 0.6 g,
    above the threshold 2 exp(-3/2) g. Others have none to remove.
    """
    if isinstance(law, BlockingLevel):
        return BlockingLevel(
            levels=law.levels,
            gamma_left=(law.gamma_left[0], law.gamma_left[0]),
            gamma_right=(law.gamma_right[0], law.gamma_right[0]),
            temperature=law.temperature,
            lead_levers=law.lead_levers,
        )
    if isinstance(law, GaussianNdc):
        if not isinstance(law.conductance, int | float):
            raise TypeError("a GaussianNdc with a knob on its conductance has no ablation at equal knob count")
        return GaussianNdc(law.conductance, law.width, max(_number(law.leak), 0.6 * law.conductance))
    return law


def _number(parameter: Parameter) -> float:
    return float(parameter) if isinstance(parameter, int | float) else parameter.base
