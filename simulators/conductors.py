"""Conductors: the laws that carry current between two nodes, and the knobs that shape them.

Potentials are u = mu/e in volts (electrochemical potential of the carriers over the elementary charge), currents
are in amperes and counted from high to low u. The laws of chemistry read concentrations in mol/L and give mol/s on an
edge, mol/(L s) in a reaction. The formulas stand above their kernels in :mod:`simulators.laws`; here stand the
parameters, their units and how a lab's knobs move them.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from simulators import laws

Floats = NDArray[np.float64]


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

NONE: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Linear:
    """Ohm's law, I = g (u_a - u_b).

    conductance: S, > 0.
    """

    conductance: Parameter
    code: ClassVar[int] = laws.LINEAR
    constants: ClassVar[frozenset[str]] = NONE
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
    code: ClassVar[int] = laws.GAUSSIAN_NDC
    constants: ClassVar[frozenset[str]] = NONE
    mismatch: ClassVar[dict[str, Mismatch]] = {"conductance": "scale", "width": "scale", "leak": "scale"}


LEVEL_MISMATCH: dict[str, Mismatch] = {
    "level": "level",
    "gamma_left": "scale",
    "gamma_right": "scale",
    "temperature": "fixed",
    "lead_levers": "fixed",
    "node_levers": "fixed",
}


@dataclass(frozen=True)
class SingleLevel:
    """Sequential tunnelling through one spinless level (Beenakker, Phys. Rev. B 44, 1646 (1991), one level).

    I = e GL GR/(GL+GR) [f(eps-u_a) - f(eps-u_b)]; no NDC at either terminal for lead levers in 0..1.
    level: eV; gamma_left (side of the edge's first node), gamma_right: 1/s; temperature: K;
    lead_levers: (alpha_S, alpha_D), eV/V: the level also moves by alpha_S u_a + alpha_D u_b; node_levers: eV/V, of the
    further nodes that the edge reads (a positive lever raises the level: u counts carriers, not volts on a gate).
    Valid for hbar*Gamma << kT.
    """

    level: Parameter
    gamma_left: Parameter
    gamma_right: Parameter
    temperature: Parameter
    lead_levers: tuple[Parameter, Parameter] = (0.0, 0.0)
    node_levers: tuple[Parameter, ...] = ()
    code: ClassVar[int] = laws.SINGLE_LEVEL
    constants: ClassVar[frozenset[str]] = NONE
    mismatch: ClassVar[dict[str, Mismatch]] = LEVEL_MISMATCH


@dataclass(frozen=True)
class BlockingLevel:
    """Two levels that exclude each other (empty, conducting, blocked): sequential tunnelling with NDC.

    The three-state rate equation of physics.md, section 2 (Bonet, Deshmukh and Ralph, Phys. Rev. B 65, 045317
    (2002), for the general form). For ordered, well separated levels and a far right lead there is NDC iff
    GR2 < GL1 GR1/(GL1+GR1).
    levels: (conducting, blocking), eV; gamma_left, gamma_right: (level 1, level 2), 1/s; temperature: K;
    lead_levers: (alpha_S, alpha_D), node_levers: eV/V, as for :class:`SingleLevel`.
    Valid for hbar*Gamma << kT << charging energy.
    """

    levels: tuple[Parameter, Parameter]
    gamma_left: tuple[Parameter, Parameter]
    gamma_right: tuple[Parameter, Parameter]
    temperature: Parameter
    lead_levers: tuple[Parameter, Parameter] = (0.0, 0.0)
    node_levers: tuple[Parameter, ...] = ()
    code: ClassVar[int] = laws.BLOCKING_LEVEL
    constants: ClassVar[frozenset[str]] = NONE
    mismatch: ClassVar[dict[str, Mismatch]] = {
        "levels": "level",
        "gamma_left": "scale",
        "gamma_right": "scale",
        "temperature": "fixed",
        "lead_levers": "fixed",
        "node_levers": "fixed",
    }


@dataclass(frozen=True)
class SpinfulLevel:
    """Sequential tunnelling through one spin-degenerate level that holds one carrier at most (U -> infinity).

    I = 2e GL GR (fL-fR)/[GL (1+fL) + GR (1+fR)] (Glazman and Matveev, JETP Lett. 48, 445 (1988); Beenakker, Phys.
    Rev. B 44, 1646 (1991)). Plateaus 2e GL GR/(2GL+GR) for a high left lead and 2e GL GR/(GL+2GR) for a high right
    one: it rectifies, but has no NDC for lead levers in 0..1. Parameters as for :class:`SingleLevel`; gamma: per spin.
    Valid for hbar*Gamma << kT << charging energy, no magnetic field.
    """

    level: Parameter
    gamma_left: Parameter
    gamma_right: Parameter
    temperature: Parameter
    lead_levers: tuple[Parameter, Parameter] = (0.0, 0.0)
    node_levers: tuple[Parameter, ...] = ()
    code: ClassVar[int] = laws.SPINFUL_LEVEL
    constants: ClassVar[frozenset[str]] = NONE
    mismatch: ClassVar[dict[str, Mismatch]] = LEVEL_MISMATCH

    def __post_init__(self) -> None:
        _check_positive(self, gamma_left="1/s", gamma_right="1/s", temperature="K")


@dataclass(frozen=True)
class SerialDoubleDot:
    """Two levels in series that hold one carrier at most (empty, left, right), joined by coherent tunnelling.

    I = e W GL GR (fL-fR)/[bL bR + W (bL+bR) + aL bR + aR bL + 2W (aL+aR)], a = Gamma f, b = Gamma (1-f), interdot
    rate W = t^2 Gphi/(Gphi^2/4 + d^2) with decoherence Gphi = bL + bR, detuning d = (epsL-epsR)/hbar and t in rad/s.
    At infinite bias it is Stoof and Nazarov, Phys. Rev. B 53, 1050 (1996): e t^2 GR/[t^2 (2+GR/GL) + GR^2/4 + d^2].
    Both Fermi factors are taken at the mean level (epsL+epsR)/2: with local ones, at epsL and epsR, detuning alone
    would drive a current at zero bias; to the order of the theory (d, t, Gamma << kT) the two agree. NDC where bias
    detunes (levers), and a weaker one at fixed detuning, where carriers from the faster lead blur the resonance less.

    levels: (left, right), eV; coupling: t, eV; gamma_left, gamma_right: 1/s; temperature: K; left_levers, right_levers:
    (alpha_S, alpha_D, further nodes read ...), eV/V, what each node moves the left and the right level by.
    Valid for t, hbar*Gamma << kT << charging energy (also the one between the dots).
    """

    levels: tuple[Parameter, Parameter]
    coupling: Parameter
    gamma_left: Parameter
    gamma_right: Parameter
    temperature: Parameter
    left_levers: tuple[Parameter, ...] = (0.0, 0.0)
    right_levers: tuple[Parameter, ...] = (0.0, 0.0)
    code: ClassVar[int] = laws.SERIAL_DOUBLE_DOT
    constants: ClassVar[frozenset[str]] = NONE
    mismatch: ClassVar[dict[str, Mismatch]] = {
        "levels": "level",
        "coupling": "scale",
        "gamma_left": "scale",
        "gamma_right": "scale",
        "temperature": "fixed",
        "left_levers": "fixed",
        "right_levers": "fixed",
    }

    def __post_init__(self) -> None:
        _check_positive(self, coupling="eV", gamma_left="1/s", gamma_right="1/s", temperature="K")
        left, right = len(self.left_levers), len(self.right_levers)
        if left != right or left < 2:
            raise ValueError(
                f"left_levers has {left} and right_levers {right} entries (eV/V); give both one for each node read, "
                "at least (alpha_S, alpha_D)"
            )


@dataclass(frozen=True)
class LandauerLevel:
    """Coherent transport through one broadened level, exact for carriers that do not interact (Landauer, Breit-Wigner).

    I = (e/h) integral of GL GR/[(E-eps)^2 + G^2/4] (fL-fR) dE, G = GL+GR times hbar, in closed form: (e/hbar) (GL GR /
    (pi G)) {Im psi[1/2 + (G/2+i(eps-u_b))/(2 pi kT)] - Im psi[1/2 + (G/2+i(eps-u_a))/(2 pi kT)]} with the digamma
    function psi (physics.md, section 2; Jauho, Wingreen and Meir, Phys. Rev. B 50, 5528 (1994), for the integral).
    Parameters as for :class:`SingleLevel`, which it becomes for hbar*Gamma << kT; valid for any hbar*Gamma/kT. No NDC
    for lead levers in 0..1. Good to 1e-14 of the resonant current, so not to all digits where hbar*Gamma < 1e-10 kT
    and the level is tens of kT away.
    """

    level: Parameter
    gamma_left: Parameter
    gamma_right: Parameter
    temperature: Parameter
    lead_levers: tuple[Parameter, Parameter] = (0.0, 0.0)
    node_levers: tuple[Parameter, ...] = ()
    code: ClassVar[int] = laws.LANDAUER_LEVEL
    constants: ClassVar[frozenset[str]] = NONE
    mismatch: ClassVar[dict[str, Mismatch]] = LEVEL_MISMATCH

    def __post_init__(self) -> None:
        _check_positive(self, gamma_left="1/s", gamma_right="1/s", temperature="K")


@dataclass(frozen=True)
class MetallicIsland:
    """A metallic island between two tunnel junctions: the single-electron transistor, orthodox theory.

    The n-th to n+1-th carrier enters from lead i at the rate kT g(x_i)/(e^2 R_i) and leaves at kT g(-x_i)/(e^2 R_i),
    g(x) = x/(exp(x)-1), x_i kT = Ec (2n+1-2 ng) + alpha_S u_a + alpha_D u_b + sum(node levers) - u_i; the charge states
    form a chain solved by detailed balance (Averin and Likharev, in Mesoscopic Phenomena in Solids (1991); Grabert and
    Devoret, Single Charge Tunneling (1992), chapter 2). The electrostatic energy is Ec (n-ng)^2.

    resistance_left, resistance_right: ohm, >> h/e^2 = 25.8 kohm for the theory to hold (no cotunnelling);
    charging_energy: Ec = e^2/(2 C), eV; gate_charge: ng, units of e (a gate is a knob of weight C_g/e per volt);
    temperature: K; lead_levers: (C_S/C, C_D/C), eV/V, C the island's whole capacitance, by default the junctions' only
    and equal; node_levers: C_i/C of further nodes read. Peak conductance (kT << Ec, ng = 1/2) is half the ohmic
    1/(RL+RR), threshold bias 2 Ec/e at ng = 0 and equal levers, no NDC at fixed gate charge for lead levers in 0..1.
    At most 2000 charge states are followed on each side of the most probable one.
    """

    resistance_left: Parameter
    resistance_right: Parameter
    charging_energy: Parameter
    gate_charge: Parameter
    temperature: Parameter
    lead_levers: tuple[Parameter, Parameter] = (0.5, 0.5)
    node_levers: tuple[Parameter, ...] = ()
    code: ClassVar[int] = laws.METALLIC_ISLAND
    constants: ClassVar[frozenset[str]] = NONE
    mismatch: ClassVar[dict[str, Mismatch]] = {
        "resistance_left": "scale",
        "resistance_right": "scale",
        "charging_energy": "scale",
        "gate_charge": "level",
        "temperature": "fixed",
        "lead_levers": "fixed",
        "node_levers": "fixed",
    }

    def __post_init__(self) -> None:
        _check_positive(self, resistance_left="ohm", resistance_right="ohm", charging_energy="eV", temperature="K")


@dataclass(frozen=True)
class Exchange:
    """Two stirred volumes that exchange liquid, or diffuse into each other: J = Q (c_a - c_b), mol/s.

    rate: Q, L/s, > 0.
    """

    rate: Parameter
    code: ClassVar[int] = laws.LINEAR
    constants: ClassVar[frozenset[str]] = NONE
    mismatch: ClassVar[dict[str, Mismatch]] = {"rate": "scale"}

    @classmethod
    def diffusive(cls, coefficient: float, area: float, length: float) -> Exchange:
        """Fick's first law through a channel or membrane: Q = D A/l, 1000 L to the m^3.

        coefficient: D, m^2/s (1e-9 for a small molecule in water); area: m^2; length: m; all > 0, else ValueError.
        """
        for name, value, unit in (
            ("coefficient", coefficient, "m^2/s"),
            ("area", area, "m^2"),
            ("length", length, "m"),
        ):
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value} {unit}; give a finite value above 0 {unit}")
        return cls(1000.0 * coefficient * area / length)


@dataclass(frozen=True)
class MichaelisMenten:
    """Reversible Michaelis-Menten law, v = Vf (S - P/Keq)/Ks / (1 + S/Ks + P/Kp). Reads [S, P], or S alone.

    The reverse rate follows from Haldane's relation Keq = Vf Kp/(Vr Ks), so v = 0 at P/S = Keq whatever else is set
    (Cornish-Bowden, Fundamentals of Enzyme Kinetics). Monotone. keq = km_product = inf: irreversible.
    vmax: mol/s on an edge, mol/(L s) in a reaction; km_substrate, km_product: mol/L; keq: no unit.
    """

    vmax: Parameter
    km_substrate: Parameter
    km_product: Parameter = math.inf
    keq: Parameter = math.inf
    code: ClassVar[int] = laws.MICHAELIS_MENTEN
    constants: ClassVar[frozenset[str]] = NONE
    mismatch: ClassVar[dict[str, Mismatch]] = {
        "vmax": "scale",
        "km_substrate": "scale",
        "km_product": "scale",
        "keq": "fixed",
    }

    def __post_init__(self) -> None:
        _check_positive(self, km_substrate="mol/L", km_product="mol/L", keq="")


@dataclass(frozen=True)
class SubstrateInhibition:
    """Michaelis-Menten with a dead-end complex ESS: NDC in the substrate. Reads [S, P], or S alone.

    v = Vf (S - P/Keq)/Ks / (1 + S/Ks + P/Kp + S^2/(Ks Ki)) (Haldane 1930; Andrews, Biotechnol. Bioeng. 10, 707
    (1968)); the dead end leaves Keq alone. Irreversible: peak Vf/(1 + 2 sqrt(Ks/Ki)) at S = sqrt(Ks Ki).
    Parameters as for :class:`MichaelisMenten`; ki: mol/L.
    """

    vmax: Parameter
    km_substrate: Parameter
    ki: Parameter
    km_product: Parameter = math.inf
    keq: Parameter = math.inf
    code: ClassVar[int] = laws.SUBSTRATE_INHIBITION
    constants: ClassVar[frozenset[str]] = NONE
    mismatch: ClassVar[dict[str, Mismatch]] = {
        "vmax": "scale",
        "km_substrate": "scale",
        "ki": "scale",
        "km_product": "scale",
        "keq": "fixed",
    }

    def __post_init__(self) -> None:
        _check_positive(self, km_substrate="mol/L", ki="mol/L", km_product="mol/L", keq="")


@dataclass(frozen=True)
class PartialInhibition:
    """Michaelis-Menten whose ESS complex still works, b times as fast: the cholinesterases. Reads [S, P], or S alone.

    v = Vf (S - P/Keq)/Ks / (1 + S/Ks + P/Kp) (1 + b S/Kss)/(1 + S/Kss) (physics.md, section 3; Radic et al.,
    Biochemistry 32, 12074 (1993)). b < 1 inhibits, b > 1 activates. Parameters as for :class:`MichaelisMenten`;
    kss: mol/L; b: no unit, >= 0.
    """

    vmax: Parameter
    km_substrate: Parameter
    kss: Parameter
    b: Parameter
    km_product: Parameter = math.inf
    keq: Parameter = math.inf
    code: ClassVar[int] = laws.PARTIAL_INHIBITION
    constants: ClassVar[frozenset[str]] = NONE
    mismatch: ClassVar[dict[str, Mismatch]] = {
        "vmax": "scale",
        "km_substrate": "scale",
        "kss": "scale",
        "b": "scale",
        "km_product": "scale",
        "keq": "fixed",
    }

    def __post_init__(self) -> None:
        _check_positive(self, km_substrate="mol/L", kss="mol/L", km_product="mol/L", keq="")
        if not _number(self.b) >= 0:
            raise ValueError(f"b is {_number(self.b)}; it must be 0 (no turnover in ESS) or above")


@dataclass(frozen=True)
class OrderedBiBi:
    """Ordered reversible two-substrate enzyme with dead-end complexes: lactate dehydrogenase (devices.md, section 2).

    Reads [A, B, P, Q, E] or [A, B, P, Q, E, I]: NADH, pyruvate, lactate, NAD+, enzyme sites and an inhibitor (oxamate),
    mol/L. v = E (k1 k2 k3 k4 A B - k-1 k-2 k-3 k-4 P Q)/[e0 (1+B/Keb) + ea (1+I/Kox) + ex + eq (1+B/Keqb)], mol/(L s),
    with the four King-Altman sums of E, EA, EAB = EPQ and EQ (Segel, Enzyme Kinetics, chapter 9). k-3 follows from
    Keq, so v = 0 at P Q/(A B) = Keq. NDC in B through E.B (keb, competitive with A) and EQ.B (keqb).
    k1, k2, k3r, k4r: L/(mol s); k1r, k2r, k3, k4: 1/s; keq: no unit; keb, keqb, kox: mol/L, inf for none.
    """

    k1: Parameter
    k1r: Parameter
    k2: Parameter
    k2r: Parameter
    k3: Parameter
    k4: Parameter
    k4r: Parameter
    keq: Parameter
    keb: Parameter = math.inf
    keqb: Parameter = math.inf
    kox: Parameter = math.inf
    code: ClassVar[int] = laws.ORDERED_BI_BI
    constants: ClassVar[frozenset[str]] = NONE
    mismatch: ClassVar[dict[str, Mismatch]] = {
        **dict.fromkeys(("k1", "k1r", "k2", "k2r", "k3", "k4", "k4r"), "scale"),
        "keq": "fixed",
        **dict.fromkeys(("keb", "keqb", "kox"), "scale"),
    }

    def __post_init__(self) -> None:
        second, first = "L/(mol s)", "1/s"
        _check_positive(self, k1=second, k1r=first, k2=second, k2r=first, k3=first, k4=first, k4r=second)
        _check_positive(self, keq="", keb="mol/L", keqb="mol/L", kox="mol/L")


@dataclass(frozen=True)
class MassAction:
    """Mass action, v = kf prod(substrates) - kr prod(products). Reads the substrates, then the products.

    forward: kf, mol/(L s) per (mol/L)^substrates (1/s for a decay); substrates: how many of the nodes read are
    substrates, >= 1; reverse: kr, mol/(L s) per (mol/L)^products; 0 where no product is read. Enzyme decay:
    Reaction({"well1.E": -1}, MassAction(1e-5)).
    """

    forward: Parameter
    substrates: int = 1
    reverse: Parameter = 0.0
    code: ClassVar[int] = laws.MASS_ACTION
    constants: ClassVar[frozenset[str]] = frozenset({"substrates"})
    mismatch: ClassVar[dict[str, Mismatch]] = {"forward": "scale", "reverse": "scale"}

    def __post_init__(self) -> None:
        if not 1 <= self.substrates <= laws.MAX_READS:
            raise ValueError(f"substrates is {self.substrates}; give how many nodes react, 1 to {laws.MAX_READS}")


PASSIVE = 1e-12  # of the largest current: what a tabulated law may be off from zero at zero bias


@dataclass(frozen=True)
class Curve:
    """A measured two-terminal characteristic, I = scale C(u_a - u_b).

    C runs through the points with monotone cubic pieces (PCHIP; Fritsch and Butland, SIAM J. Sci. Stat. Comput. 5, 300
    (1984)): no bump or dip that the data do not have. Beyond the ends it goes on straight, with the end slope or, where
    that falls towards zero current, flat. voltages: V, ascending, at least 3 (u_a - u_b, that is, minus the
    instrument's voltage for electrons); currents: A; scale: no unit.

    Raises
    ------
    ValueError: not ascending or not finite; no point (0 V, 0 A): subtract the offset of the meter and put it in; or
        a current against its bias: a conductor without a source of its own cannot have one.
    """

    voltages: tuple[float, ...]
    currents: tuple[float, ...]
    scale: Parameter = 1.0
    code: ClassVar[int] = laws.CURVE
    constants: ClassVar[frozenset[str]] = frozenset({"voltages", "currents"})
    mismatch: ClassVar[dict[str, Mismatch]] = {"scale": "scale"}

    def __post_init__(self) -> None:
        volts, amperes = np.asarray(self.voltages, dtype=float), np.asarray(self.currents, dtype=float)
        if volts.ndim != 1 or volts.shape != amperes.shape or len(volts) < 3:
            raise ValueError(
                f"voltages have shape {volts.shape} and currents {amperes.shape}; give two equally long columns, >= 3"
            )
        _check_finite(voltages=(volts, "V"), currents=(amperes, "A"))
        if not np.all(np.diff(volts) > 0):
            row = int(np.argmin(np.diff(volts)))
            raise ValueError(f"voltages go from {volts[row]} V to {volts[row + 1]} V; sort them, and average repeats")
        size = np.abs(amperes).max()
        if not np.any((volts == 0) & (np.abs(amperes) <= PASSIVE * size)):
            raise ValueError(
                "currents hold no 0 A at voltages of 0 V; subtract the meter's offset and add the point (0 V, 0 A)"
            )
        worst = int(np.argmin(amperes * np.sign(volts)))
        if amperes[worst] * np.sign(volts[worst]) < -PASSIVE * size:
            raise ValueError(
                f"currents are {amperes[worst]} A at {volts[worst]} V, against the bias; check the sign of the current "
                "and the offsets"
            )
        object.__setattr__(self, "voltages", tuple(volts.tolist()))
        object.__setattr__(self, "currents", tuple(np.where(volts == 0, 0.0, amperes).tolist()))


@dataclass(frozen=True)
class Table:
    """A two-terminal law tabulated over both potentials, I = scale T(u_a - s, u_b - s).

    s = level + alpha_S u_a + alpha_D u_b + sum(lever * further node), eV/e: what shifts all levels of a conductor
    together is the same as shifting both leads the other way. T is linear on triangles, each cell of the grid cut along
    its diagonal (1, 1): I is exactly 0 at u_a = u_b, and its slopes are differences of neighbouring entries, so the
    interpolation is monotone, or has NDC, in u_a and in u_b just where the table does. Beyond the grid a potential
    counts as the edge's.

    grid: V, uniform, ascending, at least 2; currents[i][j]: A, at u_a = grid[i], u_b = grid[j]; level: eV; scale: no
    unit; lead_levers, node_levers: eV/V. Make the step a fraction of kT/e: the error is about (step)^2/8 times the
    curvature.

    Raises
    ------
    ValueError: a grid that is not uniform, a current at u_a = u_b, or one against its bias.
    """

    grid: tuple[float, ...]
    currents: tuple[tuple[float, ...], ...]
    level: Parameter = 0.0
    scale: Parameter = 1.0
    lead_levers: tuple[Parameter, Parameter] = (0.0, 0.0)
    node_levers: tuple[Parameter, ...] = ()
    code: ClassVar[int] = laws.TABLE
    constants: ClassVar[frozenset[str]] = frozenset({"grid", "currents"})
    mismatch: ClassVar[dict[str, Mismatch]] = {
        "level": "level",
        "scale": "scale",
        "lead_levers": "fixed",
        "node_levers": "fixed",
    }

    def __post_init__(self) -> None:
        grid, amperes = np.asarray(self.grid, dtype=float), np.array(self.currents, dtype=float)
        if grid.ndim != 1 or len(grid) < 2 or amperes.shape != (len(grid), len(grid)):
            raise ValueError(
                f"grid has shape {grid.shape} and currents {amperes.shape}; give n and n x n numbers, n >= 2"
            )
        _check_finite(grid=(grid, "V"), currents=(amperes, "A"))
        step = (grid[-1] - grid[0]) / (len(grid) - 1)
        if not step > 0 or np.abs(np.diff(grid) - step).max() > 1e-6 * step:
            raise ValueError(f"grid is not uniform and ascending (mean step {step} V); tabulate on equal steps")
        size = np.abs(amperes).max()
        diagonal = np.abs(np.diagonal(amperes))
        if diagonal.max() > PASSIVE * size:
            row = int(np.argmax(diagonal))
            raise ValueError(
                f"currents are {amperes[row, row]} A at u_a = u_b = {grid[row]} V; equal potentials carry none: "
                "subtract the offset"
            )
        along = amperes * np.sign(grid[:, None] - grid[None, :])
        if along.min() < -PASSIVE * size:
            i, j = np.unravel_index(int(np.argmin(along)), along.shape)
            raise ValueError(
                f"currents are {amperes[i, j]} A at u_a = {grid[i]} V, u_b = {grid[j]} V, against the bias; check the "
                "sign of the current and which index is u_a"
            )
        np.fill_diagonal(amperes, 0.0)
        object.__setattr__(self, "grid", tuple(grid.tolist()))
        object.__setattr__(self, "currents", tuple(map(tuple, amperes.tolist())))


FUNCTIONS = {
    "exp": laws.EXP,
    "log": laws.LOG,
    "log10": laws.LOG10,
    "sqrt": laws.SQRT,
    "tanh": laws.TANH,
    "abs": laws.ABS,
}
EXTREMES = {"min": laws.MINIMUM, "max": laws.MAXIMUM}
OPERATORS: dict[type[ast.operator], int] = {
    ast.Add: laws.ADD,
    ast.Sub: laws.SUBTRACT,
    ast.Mult: laws.MULTIPLY,
    ast.Div: laws.DIVIDE,
    ast.Pow: laws.POWER,
}
MAX_EXPRESSION = 2000  # characters


@dataclass(frozen=True)
class Formula:
    """A law written as an arithmetic expression, such as ``"vmax*S/(km+S+S**2/ki)"``.

    expression: numbers, the names of `nodes` and `parameters`, + - * / **, exp, log (natural), log10, sqrt, tanh, abs,
    min, max. It gives A (mol/s, or mol/(L s) in a reaction). nodes: names, here, of the nodes the process reads, in
    its order; parameters: name -> value. bends_over: V, the smallest potential difference over which an electrical
    law bends (kT/e, say): sets the accuracy of the relaxation; inf for a law of concentrations.
    The derivatives are exact. Nothing guards a formula against dividing by zero, and nothing makes it passive.

    Raises
    ------
    ValueError: what is not in the list above, an unknown name, or an expression too deep or too long.
    """

    expression: str
    nodes: tuple[str, ...]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    bends_over: float = math.inf
    code: ClassVar[int] = laws.FORMULA
    constants: ClassVar[frozenset[str]] = frozenset({"expression", "nodes", "bends_over"})
    mismatch: ClassVar[dict[str, Mismatch]] = {"parameters": "scale"}

    def __post_init__(self) -> None:
        object.__setattr__(self, "nodes", tuple(self.nodes))
        object.__setattr__(self, "parameters", dict(self.parameters))
        _program(self)


Conductor = (
    Linear
    | GaussianNdc
    | SingleLevel
    | BlockingLevel
    | SpinfulLevel
    | SerialDoubleDot
    | LandauerLevel
    | MetallicIsland
    | Exchange
    | MichaelisMenten
    | SubstrateInhibition
    | PartialInhibition
    | OrderedBiBi
    | MassAction
    | Curve
    | Table
    | Formula
)
LEVELS = (SingleLevel, BlockingLevel, SpinfulLevel, LandauerLevel, MetallicIsland, Table)  # with lead and node levers
ENZYMES = (MichaelisMenten, SubstrateInhibition, PartialInhibition, OrderedBiBi)
BIOCHEMICAL = (Exchange, *ENZYMES, MassAction)  # the laws of concentrations
INFINITE = frozenset({"km_product", "keq", "ki", "kss", "keb", "keqb", "kox"})


def flat_parameters(law: Conductor) -> list[tuple[str, int | str | None, Parameter]]:
    """The law's parameters in the kernel's order: (field name, index or key within the field or None, parameter)."""
    rows: list[tuple[str, int | str | None, Parameter]] = []
    for spec in fields(law):
        value = getattr(law, spec.name)
        if spec.name in law.constants:
            continue
        if isinstance(value, tuple | list):
            rows += [(spec.name, index, item) for index, item in enumerate(value)]
        elif isinstance(value, Mapping):
            rows += [(spec.name, key, item) for key, item in value.items()]
        else:
            rows.append((spec.name, None, value))
    return rows


def node_count(law: Conductor) -> tuple[int, int]:
    """(fewest, most) nodes the law reads."""
    if isinstance(law, LEVELS):
        count = 2 + len(law.node_levers)
        return count, count
    if isinstance(law, SerialDoubleDot):
        return len(law.left_levers), len(law.left_levers)
    if isinstance(law, MichaelisMenten | SubstrateInhibition | PartialInhibition):
        irreversible = math.isinf(_number(law.keq)) and math.isinf(_number(law.km_product))
        return (1 if irreversible else 2), 2
    if isinstance(law, OrderedBiBi):
        return 5, 6
    if isinstance(law, MassAction):
        plain = isinstance(law.reverse, int | float) and law.reverse == 0
        return law.substrates + (0 if plain else 1), laws.MAX_READS
    if isinstance(law, Formula):
        return len(law.nodes), len(law.nodes)
    return 2, 2


def constants(law: Conductor) -> Floats:
    """What the law's kernel reads besides parameters: its part of `tables`, (n,), empty for most."""
    if isinstance(law, MassAction):
        return np.array([law.substrates], dtype=float)
    if isinstance(law, Curve):
        from scipy.interpolate import PchipInterpolator  # a second to import, and few networks need it

        x = np.array(law.voltages)
        curve = PchipInterpolator(x, np.array(law.currents))
        slopes = np.maximum(curve([x[0], x[-1]], nu=1), 0.0)
        return np.concatenate([[len(x)], slopes, x, curve.c.T.ravel()])
    if isinstance(law, Table):
        step = (law.grid[-1] - law.grid[0]) / (len(law.grid) - 1)
        return np.concatenate([[len(law.grid), law.grid[0], step], np.array(law.currents).ravel()])
    if isinstance(law, Formula):
        return _program(law)
    return np.zeros(0)


def bends_by(law: Conductor) -> tuple[str, float] | None:
    """(field, V per unit of it): the parameter that sets over which potential difference the law bends; None if none.

    kT/e of a dot, the width of an NDC peak.
    """
    if isinstance(law, GaussianNdc):
        return "width", 1.0
    return ("temperature", laws.BOLTZMANN_EV) if hasattr(law, "temperature") else None


def bend(law: Conductor) -> float:
    """Smallest potential difference over which a law bends whatever its parameters, V; inf for most.

    Eight steps of a tabulated law, what a :class:`Formula` says.
    """
    if isinstance(law, Table):
        return 8.0 * (law.grid[1] - law.grid[0])
    if isinstance(law, Curve):
        return 8.0 * float(np.diff(law.voltages).min())
    return law.bends_over if isinstance(law, Formula) else math.inf


def may_be_infinite(law: Conductor | type[Conductor]) -> frozenset[str]:
    """The fields of the law that may be inf: binding that never happens, a reaction that never runs back."""
    return INFINITE & {spec.name for spec in fields(law)}


def reversible(law: Conductor) -> bool:
    """Whether the rate is zero at equilibrium, so that it produces entropy and never consumes it.

    True for every electrical law but :class:`Formula`, of which nothing is known; for an enzyme iff its equilibrium
    constant is finite, for mass action iff it has a reverse rate.
    """
    if isinstance(law, ENZYMES):
        return math.isfinite(_number(law.keq))
    if isinstance(law, MassAction):
        return _number(law.reverse) > 0
    return not isinstance(law, Formula)


def equilibrium_constant(law: Conductor) -> float:
    """prod(products)/prod(substrates) at which the rate is zero, at base values; inf for an irreversible law.

    Raises
    ------
    TypeError: a law that is no chemical reaction.
    """
    if isinstance(law, ENZYMES):
        return _number(law.keq)
    if isinstance(law, Exchange):
        return 1.0
    if isinstance(law, MassAction):
        return _number(law.forward) / _number(law.reverse) if _number(law.reverse) > 0 else math.inf
    raise TypeError(f"{type(law).__name__} has no equilibrium constant; only reactions and exchange have one")


def without_ndc(law: Conductor) -> Conductor:
    """The same conductor made unable to show NDC: the ablation of training.md, section 1.

    BlockingLevel: the blocking level gets the conducting one's rates (devices.md: GR2 = GR1 and GL2 = GL1;
    barriers keep these ratios, so no gate setting can bring NDC back). GaussianNdc: the leak is raised to 0.6 g,
    above the threshold 2 exp(-3/2) g. SerialDoubleDot: both levels become their mean, knobs and levers included, so
    nothing detunes them; at zero detuning the current is monotone at both leads. SubstrateInhibition,
    PartialInhibition, OrderedBiBi: no dead-end complex (ki, kss, keb, keqb = inf). Curve, Table: unchanged if their
    data are monotone. Others have none to remove.

    Raises
    ------
    TypeError: no honest ablation: a knob on the very parameter to be removed, tabulated data with NDC, or a Formula.
    """
    if isinstance(law, BlockingLevel):
        return replace(
            law,
            gamma_left=(law.gamma_left[0], law.gamma_left[0]),
            gamma_right=(law.gamma_right[0], law.gamma_right[0]),
        )
    if isinstance(law, GaussianNdc):
        if not isinstance(law.conductance, int | float):
            raise TypeError("a GaussianNdc with a knob on its conductance has no ablation at equal knob count")
        return GaussianNdc(law.conductance, law.width, max(_number(law.leak), 0.6 * law.conductance))
    if isinstance(law, SerialDoubleDot):
        level = _mean(*law.levels)
        levers = tuple(_mean(a, b) for a, b in zip(law.left_levers, law.right_levers, strict=True))
        return replace(law, levels=(level, level), left_levers=levers, right_levers=levers)
    for kind, names in ((SubstrateInhibition, ("ki",)), (PartialInhibition, ("kss",)), (OrderedBiBi, ("keb", "keqb"))):
        if isinstance(law, kind):
            for name in names:
                if not isinstance(getattr(law, name), int | float):
                    raise TypeError(f"{kind.__name__} with a knob on {name} has no ablation at equal knob count")
            return replace(law, **dict.fromkeys(names, math.inf))
    if isinstance(law, Curve) and np.diff(law.currents).min() < 0:
        raise TypeError("a Curve whose data fall has no ablation; draw the control's curve from a device without NDC")
    if isinstance(law, Table):
        amperes = np.array(law.currents)
        still = all(isinstance(a, int | float) and 0 <= a <= 1 for a in law.lead_levers)
        if np.diff(amperes, axis=0).min() < 0 or np.diff(amperes, axis=1).max() > 0 or not still:
            raise TypeError("a Table whose data (or lead levers outside 0..1) show NDC has no ablation; tabulate one")
    if isinstance(law, Formula):
        raise TypeError("a Formula has no ablation: nothing is known of it; write the control's formula yourself")
    return law


def _number(parameter: Parameter) -> float:
    return float(parameter) if isinstance(parameter, int | float) else parameter.base


def _mean(a: Parameter, b: Parameter) -> Parameter:
    if isinstance(a, Decades) or isinstance(b, Decades):
        raise TypeError("a level or lever that moves by decades has no mean: no ablation at equal knob count")
    one, other = (dict(x.weights) if isinstance(x, Affine) else {} for x in (a, b))
    weights = {knob: 0.5 * (one.get(knob, 0.0) + other.get(knob, 0.0)) for knob in {**one, **other}}
    base = 0.5 * (_number(a) + _number(b))
    return Affine(base, weights) if weights else base


def _check_positive(law: Any, **units: str) -> None:
    """ValueError unless the base value of each field is above 0, and finite where it must be."""
    for name, unit in units.items():
        value = _number(getattr(law, name))
        if not value > 0 or (math.isinf(value) and name not in INFINITE):
            kind = "above 0" if name in INFINITE else "finite and above 0"
            raise ValueError(f"{name} is {value} {unit}".rstrip() + f"; give a value {kind}, in SI units and mol/L")


def _check_finite(**columns: tuple[Floats, str]) -> None:
    for name, (values, unit) in columns.items():
        if not np.all(np.isfinite(values)):
            raise ValueError(f"{name} hold a value that is not finite; give numbers in {unit} and leave out the others")


def _program(law: Formula) -> Floats:
    """The formula for the kernel: number of steps and of parameters, then (operation, argument) of each step."""
    nodes, parameters = law.nodes, tuple(law.parameters)
    names = (*nodes, *parameters)
    if len(nodes) > laws.MAX_READS or len(parameters) > laws.MAX_PARAMETERS:
        raise ValueError(
            f"nodes has {len(nodes)} and parameters {len(parameters)} names; at most {laws.MAX_READS} and "
            f"{laws.MAX_PARAMETERS} are possible: split the law"
        )
    for name in names:
        if not name.isidentifier() or names.count(name) > 1 or name in {*FUNCTIONS, *EXTREMES}:
            raise ValueError(f"nodes and parameters hold {name!r}; give each a different name, and none a function's")
    if len(law.expression) > MAX_EXPRESSION:
        raise ValueError(f"expression has {len(law.expression)} characters; at most {MAX_EXPRESSION}: split the law")
    try:
        tree = ast.parse(law.expression.strip(), mode="eval").body
        program: list[tuple[int, float]] = []
        depth = _emit(tree, names, len(nodes), program)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"expression {law.expression!r} is no formula: {error}") from None
    if depth > laws.MAX_STACK:
        raise ValueError(
            f"expression {law.expression!r} is nested {depth} deep; at most {laws.MAX_STACK}: take brackets out"
        )
    return np.array([len(program), len(parameters), *(number for step in program for number in step)], dtype=float)


def _emit(tree: ast.expr, names: Sequence[str], n_nodes: int, program: list[tuple[int, float]]) -> int:
    """Append the steps of `tree` to `program`; returns the deepest stack they need."""
    if isinstance(tree, ast.Constant) and isinstance(tree.value, int | float) and not isinstance(tree.value, bool):
        program.append((laws.NUMBER, float(tree.value)))
        return 1
    if isinstance(tree, ast.Name):
        if tree.id not in names:
            raise ValueError(f"expression names {tree.id!r}; known are {', '.join(names)}: add it or correct it")
        at = names.index(tree.id)
        program.append((laws.NODE, at) if at < n_nodes else (laws.PARAMETER, at - n_nodes))
        return 1
    if isinstance(tree, ast.BinOp) and type(tree.op) in OPERATORS:
        left = _emit(tree.left, names, n_nodes, program)
        right = _emit(tree.right, names, n_nodes, program)
        program.append((OPERATORS[type(tree.op)], 0.0))
        return max(left, 1 + right)
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub | ast.UAdd):
        depth = _emit(tree.operand, names, n_nodes, program)
        if isinstance(tree.op, ast.USub):
            program.append((laws.NEGATE, 0.0))
        return depth
    if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and not tree.keywords:
        name, count = tree.func.id, len(tree.args)
        if name in FUNCTIONS and count == 1:
            depth = _emit(tree.args[0], names, n_nodes, program)
            program.append((FUNCTIONS[name], 0.0))
            return depth
        if name in EXTREMES and count >= 2:
            depth = _emit(tree.args[0], names, n_nodes, program)
            for argument in tree.args[1:]:
                depth = max(depth, 1 + _emit(argument, names, n_nodes, program))
                program.append((EXTREMES[name], 0.0))
            return depth
    allowed = ", ".join((*FUNCTIONS, *EXTREMES))
    raise ValueError(
        f"expression holds {ast.unparse(tree)!r}; only names, numbers, + - * / ** and {allowed} are possible"
    )
