"""The figures and the numbers of docs/physics.md, computed with the laws and the solver that a simulation uses.

    python docs/physics_figures.py [--into FOLDER] [--numbers]

Without arguments the figures in docs/figures are written anew, the same bytes each time (with one version of
Matplotlib, on one machine). --numbers prints every number the page quotes instead: in the page each has its key behind
it, as in ``0.4364<!-- blocking_peak -->``, and tests/unit/simulators/test_physics_page.py compares the two.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.optimize import brentq

from simulators import Edge, Flow, Network, Reaction
from simulators.conductors import (
    BlockingLevel,
    Conductor,
    Curve,
    Exchange,
    Formula,
    GaussianNdc,
    LandauerLevel,
    Linear,
    MassAction,
    MetallicIsland,
    MichaelisMenten,
    OrderedBiBi,
    PartialInhibition,
    SerialDoubleDot,
    SingleLevel,
    SpinfulLevel,
    SubstrateInhibition,
    without_ndc,
)
from simulators.laws import BOLTZMANN_EV, ELEMENTARY_CHARGE, HBAR_EV
from simulators.master_equation import Dot, tabulate

Floats = NDArray[np.float64]

HERE = Path(__file__).parent / "figures"
STYLE = {
    "svg.hashsalt": "labthermo",  # else every run names its clip paths anew
    "svg.fonttype": "none",  # text stays text
    "path.simplify": False,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": mpl.cycler(color=["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000"]),  # Okabe and Ito
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.4,
}

ONE = 1.0 / ELEMENTARY_CHARGE  # 1/s: a rate that carries 1 A
UNIT_T = 1.0 / BOLTZMANN_EV  # K: the temperature at which kT is 1 eV, so that u counts in kT/e
GHZ = 1e9  # 1/s

# Lactate dehydrogenase; which of these are literature and which assumptions, physics.md says
LDH = {
    "k1": 50e6, "k1r": 50.0, "k2": 5e6, "k2r": 500.0, "k3": 500.0, "k4": 500.0, "k4r": 1e7 / 3, "keq": 2.5e4,
}  # fmt: skip
NADH = 20e-6  # mol/L


def current(law: Conductor, first: Floats | float, second: Floats | float = 0.0) -> Floats:
    """The law's current between two clamped nodes, (n,): A for V, mol/s for mol/L."""
    nodes = np.column_stack(np.broadcast_arrays(np.atleast_1d(first), np.atleast_1d(second)))
    net = Network({}, ["a", "b"], [Edge("a", "b", law)])
    return net.currents(net.steady_state(nodes))[:, 0]


def ldh_rate(law: OrderedBiBi, nadh: Floats | float, pyruvate: Floats | float, sites: float = 1e-7) -> Floats:
    """Rate without products, (n,), mol/(L s), at concentrations in mol/L."""
    a, b = np.broadcast_arrays(np.atleast_1d(nadh), np.atleast_1d(pyruvate))
    rows = np.column_stack([a, b, np.zeros((len(a), 2)), np.full(len(a), sites)])
    net = Network({}, ["A", "B", "P", "Q", "E"], [Reaction({"A": -1, "B": -1, "P": 1, "Q": 1}, law, ("E",))])
    return net.currents(net.steady_state(rows))[:, 0]


# --- the examples of the page


def bistable_node() -> Network:
    """One node between a conductor with NDC from x and a load to lo that is weaker than its falling slope."""
    edges = [("x", "y", GaussianNdc(1e-6, 0.2)), ("y", "lo", Linear(1e-7))]
    return Network({"y": 1e-12}, ["x", "lo"], edges=edges)


def oscillator() -> tuple[Network, list[float]]:
    """Two reservoirs about one blocking level at 1 K, and the inputs (V) at which it never rests."""
    kt = BOLTZMANN_EV  # eV, at 1 K
    unit = ELEMENTARY_CHARGE * GHZ / kt  # S
    dot = BlockingLevel((2 * kt, 12 * kt), (GHZ, GHZ), (GHZ, 0.034 * GHZ), 1.0)
    edges = [("x", "a", Linear(0.0505 * unit)), ("a", "b", dot), ("b", "lo", Linear(0.0335 * unit))]
    return Network({"a": 1e-12, "b": 1e-9}, ["x", "lo"], edges=edges), [16.856 * kt, -3.897 * kt]


def reference_blocking(gr2: float = 0.02) -> BlockingLevel:
    """kT = e = 1: levels at 2 and 12, all rates 1 but the blocking level's way out."""
    return BlockingLevel((2.0, 12.0), (ONE, ONE), (ONE, gr2 * ONE), UNIT_T)


def levered_double_dot() -> SerialDoubleDot:
    """A double dot whose levels follow the nearer lead, so that bias detunes it."""
    return SerialDoubleDot((0.0, 0.0), 2e-6, 5e9, 5e9, 0.2, (0.3, 0.0), (0.0, 0.3))


VMAX, KM = 1e-6, 1e-4  # mol/(L s), mol/L
DILUTION = 0.05 * VMAX / KM  # 1/s


def flow_vessel(km_over_ki: float = 10.0) -> Network:
    """A stirred 1 mL vessel, fed at the dilution rate DILUTION, whose enzyme is inhibited by its substrate."""
    enzyme = SubstrateInhibition(VMAX, KM, KM / km_over_ki)
    processes = [Flow("feed", "vessel", DILUTION * 1e-3), Reaction({"vessel.S": -1}, enzyme)]
    return Network({"vessel.S": 1e-3}, ["feed.S"], processes)


def double_dot(temperature: float = 0.1) -> Dot:
    """Two dots side by side, each on both leads, with 1 meV of charging energy and 0.3 meV between them."""
    return Dot(
        [0.0, 0.0], [[GHZ, GHZ], [GHZ, GHZ]], temperature, charging=[1e-3, 1e-3], mutual=[[0, 3e-4], [3e-4, 0]],
        degeneracy=[2, 2], gate_levers=[[0.1, 0.02], [0.02, 0.1]],
    )  # fmt: skip


def single_dot(temperature: float = 0.3) -> Dot:
    """One spinful level of 1 meV charging energy; half of the bias falls on each side (levers)."""
    return Dot(
        [0.0], [[GHZ], [GHZ]], temperature, charging=[1e-3], degeneracy=[2], gate_levers=[[0.1]],
        lead_levers=[[0.2, 0.2]],
    )  # fmt: skip


# --- figures: each function draws on the axes it is given


def networks(left: Axes, right: Axes) -> None:
    net = bistable_node()
    x = np.linspace(0.0, 3.0, 301)
    inputs = np.column_stack([x, 0 * x])
    up = net.steady_state(inputs, carry=True)
    down = net.steady_state(inputs[::-1], start=up.potentials[-1], carry=True)
    drop = np.linspace(0.0, 0.6, 400)
    node = 10.0 * drop * np.exp(-((drop / 0.2) ** 2))  # where the edge's current is the load's
    left.plot(drop + node, node, ":", color="0.6", label="all steady states")
    left.plot(x, up.potentials[:, 0], label="x rising")
    left.plot(x[::-1], down.potentials[:, 0], "--", label="x falling")
    left.set(xlabel="x (V)", ylabel="y (V)", xlim=(0, 3), title="two stable states")
    left.legend()

    net, at = oscillator()
    t = np.linspace(0.0, 0.2, 600)
    path = net.relax([at], t)[0]
    for column, name in enumerate(net.reservoirs):
        right.plot(1e3 * t, 1e3 * path[:, column], label=name)
    right.set(xlabel="t (ms)", ylabel="potential (mV)", title="a limit cycle")
    right.legend()


def gaussian_ndc(ax: Axes) -> None:
    d = np.linspace(-0.8, 0.8, 301)
    for leak in (0.0, 0.1, 0.4463, 0.6):
        ax.plot(d, 1e6 * current(GaussianNdc(1e-6, 0.2, leak * 1e-6), d), label=f"leak = {leak:g} g")
    ax.plot(d, 1e6 * current(Linear(1e-6), d), ":", color="0.6", label="Linear")
    ax.set(xlabel="$u_a - u_b$ (V)", ylabel="I (µA)", ylim=(-0.6, 0.6))
    ax.legend()


BIAS = np.linspace(-0.6e-3, 0.6e-3, 241)  # V


def of_bias(ax: Axes, laws: dict[str, Conductor], bias: Floats = BIAS) -> None:
    """Currents at u_a = bias/2 = -u_b, in pA over mV."""
    for label, law in laws.items():
        ax.plot(1e3 * bias, 1e12 * current(law, bias / 2, -bias / 2), label=label)
    ax.set(xlabel="$u_a - u_b$ (mV)", ylabel="I (pA)")
    ax.legend()


def single_level(ax: Axes) -> None:
    of_bias(ax, {f"{t:g} K": SingleLevel(1e-4, GHZ, GHZ, t) for t in (0.05, 0.2, 1.0)})


def spinful_level(ax: Axes) -> None:
    of_bias(
        ax,
        {f"{r:g}:1": SpinfulLevel(0.0, r * GHZ, GHZ, 0.2) for r in (0.2, 1.0, 5.0)}
        | {"SingleLevel 1:1": SingleLevel(0.0, GHZ, GHZ, 0.2)},
    )
    ax.legend(title=r"$\Gamma_L:\Gamma_R$")


def blocking_level(ax: Axes) -> None:
    u = np.linspace(-5.0, 30.0, 281)
    for gr2 in (0.02, 0.1, 0.44, 1.0):
        ax.plot(u, current(reference_blocking(gr2), u), label=f"{gr2:g}")
    ax.set(xlabel="$e u_a / kT$ ($u_b$ = 0)", ylabel=r"$I / e\Gamma$")
    ax.legend(title=r"$\Gamma_{R2}/\Gamma_{R1}$")


def serial_double_dot(left: Axes, right: Axes) -> None:
    law = levered_double_dot()
    of_bias(left, {"levels follow the leads": law, "its control": without_ndc(law)}, np.linspace(-3e-4, 3e-4, 241))
    unit = HBAR_EV * GHZ
    d = np.linspace(-10.0, 10.0, 121)
    for t in (0.3, 1.0, 3.0):
        amperes = [
            current(SerialDoubleDot((x * unit / 2, -x * unit / 2), t * unit, GHZ, GHZ, 0.2), 1e-3, -1e-3)[0] for x in d
        ]
        right.plot(d, 1e12 * np.array(amperes), label=f"{t:g}")
    right.set(xlabel=r"detuning (GHz $\cdot\hbar$)", ylabel="I (pA)", title="high bias")
    right.legend(title=r"$t/\hbar\Gamma$")


def landauer_level(ax: Axes) -> None:
    u = np.linspace(-15.0, 15.0, 241)
    for width in (0.1, 1.0, 5.0):
        g = width / HBAR_EV  # 1/s: hbar Gamma = width kT
        law = LandauerLevel(0.0, g / 2, g / 2, UNIT_T)
        ax.plot(u, current(law, u / 2, -u / 2) / (ELEMENTARY_CHARGE * g / 4), label=f"{width:g}")
    ax.plot(u, current(SingleLevel(0.0, 0.5, 0.5, UNIT_T), u / 2, -u / 2) * 4 * ONE, ":", color="0.3", label="sharp")
    ax.set(xlabel="$e (u_a - u_b) / kT$", ylabel=r"$4 I / e\Gamma$")
    ax.legend(title=r"$\hbar\Gamma/kT$")


def metallic_island(left: Axes, right: Axes) -> None:
    at = lambda ng: MetallicIsland(1e6, 1e6, 1e-3, ng, 0.3)
    of_bias(left, {f"{ng:g}": at(ng) for ng in (0.0, 0.25, 0.5)}, np.linspace(-5e-3, 5e-3, 241))
    left.legend(title="$n_g$")
    ng = np.linspace(0.0, 1.0, 121)
    for kelvin in (0.3, 1.0, 5.0):
        slope = [current(MetallicIsland(1e6, 1e6, 1e-3, x, kelvin), 5e-7, -5e-7)[0] / 1e-6 * 2e6 for x in ng]
        right.plot(ng, slope, label=f"{kelvin:g} K")
    right.set(xlabel="$n_g$", ylabel=r"$G (R_L + R_R)$ at zero bias")
    right.legend()


def _map(ax: Axes, image: Floats, extent: tuple[float, float, float, float], label: str, colours: str) -> None:
    shown = ax.imshow(image, origin="lower", extent=extent, aspect="auto", interpolation="none", cmap=colours)
    figure = ax.figure
    assert isinstance(figure, Figure)
    figure.colorbar(shown, ax=ax, label=label)


def stability(left: Axes, right: Axes) -> None:
    gates = np.linspace(-5e-3, 25e-3, 121)
    found = double_dot().stability_diagram(gates, gates, (0, 0, 1, 0), (0, 0, 0, 1), (5e-6, -5e-6, 0, 0))
    side = (1e3 * gates[0], 1e3 * gates[-1])
    _map(left, 1e12 * found.currents[..., 0], (*side, *side), "I (pA)", "viridis")
    left.set(xlabel="gate 1 (mV)", ylabel="gate 2 (mV)", title="10 µV across a double dot")
    gate, bias = np.linspace(-10e-3, 20e-3, 121), np.linspace(-2.5e-3, 2.5e-3, 121)
    found = single_dot().stability_diagram(gate, bias, (0, 0, 1), (0.5, -0.5, 0))
    slope = np.gradient(found.currents[..., 0], bias, axis=0)
    extent = (1e3 * gate[0], 1e3 * gate[-1], 1e3 * bias[0], 1e3 * bias[-1])
    _map(right, 1e6 * slope, extent, "dI/dV (µS)", "magma")
    right.set(xlabel="gate (mV)", ylabel="$u_a - u_b$ (mV)", title="Coulomb diamonds")


S = np.linspace(0.0, 10.0, 301)  # substrate in units of Km


def michaelis_menten(ax: Axes) -> None:
    ax.plot(S, current(MichaelisMenten(1.0, 1.0), S), label="irreversible, P = 0")
    for p in (0.0, 1.0, 5.0):
        law = MichaelisMenten(1.0, 1.0, 1.0, 2.0)
        ax.plot(S, current(law, S, p), label=f"$K_{{eq}}$ = 2, P = {p:g} $K_p$")
    ax.axhline(0.0, color="0.8", linewidth=0.8)
    ax.set(xlabel="$S / K_s$", ylabel="$v / V_f$")
    ax.legend()


def substrate_inhibition(left: Axes, right: Axes) -> None:
    for ratio in (0.1, 1.0, 10.0):
        left.plot(S, current(SubstrateInhibition(1.0, 1.0, 1.0 / ratio), S), label=f"{ratio:g}")
    left.set(xlabel="$S / K_s$", ylabel="$v / V_f$")
    left.legend(title="$K_s/K_i$")
    net = flow_vessel()
    feed = np.linspace(2.0, 4.0, 201)
    up = net.steady_state(KM * feed[:, None], carry=True)
    down = net.steady_state(KM * feed[::-1, None], start=up.potentials[-1], carry=True)
    right.plot(feed, up.potentials[:, 0] / KM, label="feed rising")
    right.plot(feed[::-1], down.potentials[:, 0] / KM, "--", label="feed falling")
    right.set(xlabel="feed $/ K_s$", ylabel="vessel $/ K_s$", title="stirred, $D = 0.05\\,V_f/K_s$, $K_s/K_i$ = 10")
    right.legend()


def partial_inhibition(ax: Axes) -> None:
    for b in (0.0, 0.2, 1.0, 2.0):
        ax.plot(S, current(PartialInhibition(1.0, 1.0, 1.0, b), S), label=f"b = {b:g}")
    ax.set(xlabel="$S / K_s$", ylabel="$v / V_f$")
    ax.legend(title="$K_{ss} = K_s$")


def ordered_bi_bi(ax: Axes) -> None:
    b = np.linspace(0.0, 2e-3, 201)
    for label, dead in (
        ("E.B dead end (keb = 101 µM)", {"keb": 101e-6}),
        ("EQ.B dead end (keqb = 1 mM)", {"keqb": 1e-3}),
        ("neither", {}),
    ):
        ax.plot(1e3 * b, 1e6 * ldh_rate(OrderedBiBi(**LDH, **dead), NADH, b), label=label)
    ax.set(xlabel="pyruvate (mM), NADH 20 µM", ylabel="v (µM/s), 0.1 µM sites")
    ax.legend()


def liquids(left: Axes, right: Axes) -> None:
    t = np.linspace(0.0, 300.0, 121)
    net = Network({"one.S": 2e-4, "two.S": 2e-4}, [], [Edge("one.S", "two.S", Exchange(1e-6))])  # 200 uL, 1 uL/s
    path = net.relax(np.zeros((1, 0)), t, start=[1e-3, 0.0])[0]
    left.plot(t, 1e3 * path[:, 0], label="well 1")
    left.plot(t, 1e3 * path[:, 1], label="well 2")
    left.set(xlabel="t (s)", ylabel="S (mM)", title="Exchange")
    left.legend()
    for reverse in (0.0, 0.01, 0.02):
        net = Network({"S": 1e-3, "P": 1e-3}, [], [Reaction({"S": -1, "P": 1}, MassAction(0.02, reverse=reverse))])
        path = net.relax(np.zeros((1, 0)), t, start=[1e-3, 0.0])[0]
        right.plot(t, 1e3 * path[:, 0], label=f"reverse = {reverse:g} /s")
    right.set(xlabel="t (s)", ylabel="S (mM)", title="MassAction, forward = 0.02 /s")
    right.legend()


POINTS = (-0.4, -0.2, -0.1, 0.0, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6)  # V


def measured_curve() -> Curve:
    """A curve with a dip, in ten points."""
    x = np.array(POINTS)
    return Curve(POINTS, tuple(1e-6 * x * (0.1 + np.exp(-((x / 0.2) ** 2)))))


def tabulated(left: Axes, right: Axes) -> None:
    law = measured_curve()
    d = np.linspace(-0.6, 0.8, 281)
    left.plot(d, 1e6 * current(law, d), label="Curve")
    written = Formula("(a-b)*(l + g*exp(-((a-b)/w)**2))", ("a", "b"), {"l": 1e-7, "g": 1e-6, "w": 0.2})
    left.plot(d, 1e6 * current(written, d), ":", color="0.5", label="Formula it was drawn from")
    left.plot(POINTS, 1e6 * np.array(law.currents), "o", markersize=3, color="k", label="points")
    left.set(xlabel="$u_a - u_b$ (V)", ylabel="I (µA)")
    left.legend()
    steps, errors = zip(*table_errors().values(), strict=True)
    right.loglog(steps, errors, "o-")
    right.set_xticks(steps, [f"{step:g}" for step in steps])
    right.minorticks_off()
    right.set(xlabel="step of the table (kT/e)", ylabel="largest error (of the largest current)", title="Table")


def table_errors() -> dict[int, tuple[float, float]]:
    """Points per axis -> (step in kT/e, largest error of a tabulated dot as a fraction of its largest current)."""
    kt = 0.3 * BOLTZMANN_EV
    span = (-12 * kt, 12 * kt)
    dot = Dot([kt], [[GHZ], [0.3 * GHZ]], 0.3)
    return {n: (24.0 / (n - 1), tabulate(dot, span, n)[1].relative) for n in (13, 25, 49, 97)}


FIGURES: dict[str, tuple[Callable[..., None], int]] = {  # name -> (what draws it, panels)
    "networks": (networks, 2),
    "gaussian_ndc": (gaussian_ndc, 1),
    "single_level": (single_level, 1),
    "spinful_level": (spinful_level, 1),
    "blocking_level": (blocking_level, 1),
    "serial_double_dot": (serial_double_dot, 2),
    "landauer_level": (landauer_level, 1),
    "metallic_island": (metallic_island, 2),
    "stability": (stability, 2),
    "michaelis_menten": (michaelis_menten, 1),
    "substrate_inhibition": (substrate_inhibition, 2),
    "partial_inhibition": (partial_inhibition, 1),
    "ordered_bi_bi": (ordered_bi_bi, 1),
    "liquids": (liquids, 2),
    "tabulated": (tabulated, 2),
}


def draw(name: str, folder: Path) -> Path:
    """Write one figure, `folder`/`name`.svg; returns its path."""
    function, panels = FIGURES[name]
    with mpl.rc_context({**mpl.rcParamsDefault, **STYLE, "backend": mpl.rcParams["backend"]}):
        figure = Figure(figsize=(3.6 * panels + 0.4, 2.8), layout="constrained")
        function(*np.atleast_1d(figure.subplots(1, panels)))
        path = folder / f"{name}.svg"
        figure.savefig(path, metadata={"Date": None})
    return path


# --- numbers


def width_of_thermal_peak() -> float:
    """Full width at half height of a single level's linear conductance over its energy, in kT."""
    slope = lambda level: current(SingleLevel(level, ONE, ONE, UNIT_T), 1e-5, -1e-5)[0]
    highest = slope(0.0)
    return 2.0 * brentq(lambda level: slope(level) - 0.5 * highest, 0.0, 5.0)


def numbers() -> dict[str, str]:
    """Key -> number, as the page quotes it."""
    out: dict[str, str] = {}
    for key, kelvin in (("100mk", 0.1), ("1k", 1.0), ("4k", 4.2)):
        out[f"thermal_{key}"] = f"{1e6 * BOLTZMANN_EV * kelvin:.1f}"
    out["one_ghz"] = f"{1e12 * ELEMENTARY_CHARGE * GHZ:.1f}"
    out["broadening"] = f"{HBAR_EV * GHZ / (BOLTZMANN_EV * 0.1):.3f}"

    out["ndc_leak"] = f"{2 * math.exp(-1.5):.4f}"
    d = np.linspace(0.0, 1.0, 2001)
    for leak in (0.44, 0.45):
        falls = np.any(np.diff(current(GaussianNdc(1.0, 0.2, leak), d)) < 0)
        out[f"gaussian_{round(100 * leak)}"] = "falls" if falls else "rises"

    net = bistable_node()
    two = net.steady_state([[0.6, 0.0], [0.6, 0.0]], start=[[0.0], [0.6]]).potentials[:, 0]
    out["bistable_low"], out["bistable_high"] = (f"{1e3 * y:.2f}" for y in two)
    net, inputs = oscillator()
    cycle = net.steady_state([inputs])
    out["cycle_verdict"] = str(cycle.verdict[0])
    out["cycle_period"] = f"{1e3 * cycle.period[0]:.1f}"
    out["cycle_amplitude"] = f"{1e3 * cycle.amplitude[0, 0]:.2f}"

    out["peak_width"] = f"{width_of_thermal_peak():.3f}"
    peak = current(SingleLevel(0.0, GHZ, GHZ, 0.1), 5e-9, -5e-9)[0] / 1e-8
    out["peak_conductance"] = f"{1e6 * peak:.3f}"
    high, low = current(SpinfulLevel(0.0, 3 * ONE, ONE, UNIT_T), np.array([60.0, -60.0]), np.array([-60.0, 60.0]))
    out["spinful_left"], out["spinful_right"] = f"{high:.4f}", f"{-low:.4f}"

    u = np.array([2.0, 6.0, 12.0, 20.0])
    for at, value in zip(u, current(reference_blocking(), u), strict=True):
        out[f"blocking_{at:.0f}"] = f"{value:.4f}"
    u = np.linspace(0.0, 24.0, 2401)
    curve = current(reference_blocking(), u)
    out["blocking_peak"] = f"{curve.max():.4f}"
    out["blocking_ratio"] = f"{curve.max() / curve[-1]:.1f}"
    out["blocking_plateau"] = f"{current(reference_blocking(), 100.0, -100.0)[0]:.5f}"
    u = np.linspace(0.0, 40.0, 4001)
    for gr2, ub in ((0.44, 0.0), (0.45, 0.0), (0.495, -10.0), (0.51, -10.0)):
        curve = current(reference_blocking(gr2), u, ub)
        falls = np.diff(curve).min() < -1e-13
        out[f"blocking_ndc_{round(1000 * gr2)}"] = "falls" if falls else "rises"

    for key, ub in (("", 0.0), ("_far", -10.0)):
        out[f"blocking_limit{key}"] = f"{(1 - 1 / (1 + math.exp(2.0 - ub))) / 2:.4f}"

    unit = HBAR_EV * GHZ
    double = lambda x: current(SerialDoubleDot((x * unit / 2, -x * unit / 2), unit, GHZ, GHZ, 0.2), 1e-2, -1e-2)[0]
    half = math.sqrt(3.25)  # of Stoof and Nazarov's Lorentzian, t = GL = GR = 1: t^2 (2 + GR/GL) + GR^2/4
    out["double_resonance"] = f"{1e12 * double(0.0):.2f}"
    out["double_half"] = f"{double(half) / double(0.0):.6f}"

    per_ev = 1.0 / HBAR_EV
    for key, (ul, ur, level, gl, gr) in {
        "landauer_1": (3.0, -1.0, 0.7, 0.5, 0.3), "landauer_2": (8.0, 0.0, 2.0, 0.1, 0.4),
    }.items():  # fmt: skip
        law = LandauerLevel(level, gl * per_ev, gr * per_ev, UNIT_T)
        out[key] = f"{current(law, ul, ur)[0] / (ELEMENTARY_CHARGE * per_ev):.10f}"

    out["quantum_resistance"] = f"{1e-3 * 2 * math.pi * HBAR_EV / ELEMENTARY_CHARGE:.1f}"
    island = lambda ng, bias: 2 * current(MetallicIsland(1.0, 1.0, 1.0, ng, 0.002 * UNIT_T), bias / 2, -bias / 2)[0]
    out["island_peak"] = f"{island(0.5, 1e-6) / 1e-6:.3f}"
    out["island_below"], out["island_above"] = (f"{island(0.0, v) / v:.3f}" for v in (1.9, 2.1))

    dot = double_dot()
    out["dot_states"] = str(len(dot.states))
    out["table_error"] = f"{table_errors()[97][1]:.0e}"

    for ratio in (0.1, 1.0, 10.0):
        law = SubstrateInhibition(1.0, 1.0, 1.0 / ratio)
        s = np.linspace(0.0, 20.0, 20001)
        v = current(law, s)
        key = f"{ratio:g}".replace(".", "")
        out[f"inhibited_peak_{key}"] = f"{v.max():.4f}"
        out[f"inhibited_slope_{key}"] = f"{np.diff(v).min() / s[1]:.4f}"
    vessel = flow_vessel().steady_state(KM * np.full((2, 1), 2.9), start=[[0.0], [KM * 2.9]])
    out["vessel_low"], out["vessel_high"] = (f"{s / KM:.3f}" for s in vessel.potentials[:, 0])

    saturated = OrderedBiBi(**LDH)
    fastest = ldh_rate(saturated, 1.0, 1.0)[0]
    out["ldh_kcat"] = f"{fastest / 1e-7:.0f}"
    for key, nadh, pyruvate, low in (("ka", 1e-5, 1.0, 1e-5), ("kb", 1.0, 1e-4, 1e-4)):
        out[f"ldh_{key}"] = f"{1e6 * low * (fastest / ldh_rate(saturated, nadh, pyruvate)[0] - 1):.1f}"
    out["ldh_kia"] = f"{1e6 * LDH['k1r'] / LDH['k1']:.1f}"
    b = np.linspace(1e-6, 3e-3, 3000)
    for key, dead in (("bin", {"keb": 101e-6}), ("ter", {"keqb": 1e-3})):
        v = ldh_rate(OrderedBiBi(**LDH, **dead), NADH, b)
        out[f"ldh_peak_{key}"] = f"{1e6 * b[v.argmax()]:.0f}"
        out[f"ldh_fall_{key}"] = f"{v[-1] / v.max():.2f}"
    p = LDH
    reverse = p["k1"] * p["k2"] * p["k3"] * p["k4"] / (p["keq"] * p["k1r"] * p["k2r"] * p["k4r"])
    out["ldh_k3r"] = f"{1e-6 * reverse:.4f}"
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description="Figures and numbers of docs/physics.md.")
    parser.add_argument("--into", type=Path, default=HERE, help="folder for the figures (default: docs/figures)")
    parser.add_argument("--numbers", action="store_true", help="print the numbers instead")
    arguments = parser.parse_args()
    if arguments.numbers:
        for key, number in numbers().items():
            print(f"{key:24} {number}")
        return
    arguments.into.mkdir(parents=True, exist_ok=True)
    for name in FIGURES:
        print(draw(name, arguments.into))


if __name__ == "__main__":
    main()
