"""How fast the steady states of a network are found, and how often on the right branch, beside what else one can use.

    python benchmarks/solver.py [--quick] [--json PATH]

Everything runs on one thread; rates are per second of processor time, latencies wall time, each the median of some
repetitions. The networks are the seeded ones of networks.py, relaxation is from 0. The right answer is the stable state
which that relaxation reaches: LSODA (rtol 1e-8), then Newton; an answer is right within 1e-6 V of it (1e-9 mol/L).
"""
# ruff: noqa: E402 (one thread must be asked for before numpy and numba are imported)

from __future__ import annotations

import os

for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from networks import EnzymeNetwork, Floats, NdcNetwork
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from scipy import optimize
from scipy.integrate import solve_ivp
from scipy.linalg import get_lapack_funcs

from simulators.master_equation import Dot

Problem = NdcNetwork | EnzymeNetwork
SIZES = (8, 32, 128)
RIGHT = 1e-6  # of the scale, 1 V or 1 mmol/L
CONVERGED = 1e-10  # the largest net flow into a node, as a fraction of the largest flow of all processes
GOALS = {8: 1 / 9, 32: 1 / 6, 128: 1 / 10}  # of the five-LU bound
COLD_GOALS = {8: 60.0, 32: 300.0}  # us
FIRST_CALL_GOALS = {"warm": 0.5, "empty": 20.0}  # s
GRADIENT_GOAL = 0.1  # of the forward solve


@dataclass(frozen=True)
class Effort:
    """How much is measured: networks of each size, inputs of each (for the engine, for the reference), repetitions."""

    networks: int
    engine_inputs: dict[int, int]
    inputs: dict[int, int]
    slow_inputs: dict[int, int]  # one input of each of so many networks, for what takes seconds
    repetitions: int


FULL = Effort(20, {8: 200, 32: 200, 128: 40}, {8: 25, 32: 25, 128: 10}, {8: 20, 32: 10, 128: 3}, 5)
QUICK = Effort(4, {8: 200, 32: 100, 128: 20}, {8: 10, 32: 10, 128: 3}, {8: 3, 32: 2, 128: 1}, 3)


@dataclass(frozen=True)
class Answers:
    """Where an engine ended, for a list of (problem, input) pairs: states, and processor seconds for each solve."""

    states: list[Floats]
    seconds: float


# --- engines: (problem, input) -> state, nan where none was found


def polished(problem: Problem, u: Floats, x: Floats) -> Floats:
    """The fixed point that full Newton steps reach from `u`; nan where they have not converged after 30."""
    for _ in range(30):
        if problem.residual(u, x) <= CONVERGED:
            return u
        try:
            u = u - np.linalg.solve(problem.jacobian(u, x), problem.slope(u, x))
        except np.linalg.LinAlgError:
            break
    return np.full_like(u, np.nan)


def lsoda(problem: Problem, x: Floats, rtol: float) -> Floats:
    """LSODA (Petzold, SIAM J. Sci. Stat. Comput. 4, 136 (1983)) over 10,000 slowest exchange times, then Newton."""
    u0 = np.zeros(len(problem.terminal))
    found = solve_ivp(
        lambda _, u: problem.slope(u, x), (0.0, 1e4 * problem.slow), u0, "LSODA", [1e4 * problem.slow],
        rtol=rtol, atol=1e-2 * rtol * problem.scale, jac=lambda _, u: problem.jacobian(u, x),
    )  # fmt: skip
    return polished(problem, found.y[:, -1], x) if found.success else np.full_like(u0, np.nan)


def rk45(problem: NdcNetwork, x: Floats, slope: Callable[[NdcNetwork, Floats, Floats], Any]) -> Floats:
    """`solve_ivp` as it comes: RK45 (Dormand and Prince 1980), rtol 1e-3, atol 1e-6, over ten slowest lead times."""
    span = (0.0, 10.0 * problem.slow)
    return solve_ivp(lambda _, u: slope(problem, u, x), span, np.zeros(len(problem.terminal)), t_eval=span[1:]).y[:, -1]


def hybrid(problem: Problem, x: Floats) -> Floats:
    """`scipy.optimize.root`, MINPACK's hybrid Powell method with the analytical Jacobian, from 0."""
    per_unit = problem.slow / problem.scale  # slopes of order 1
    found = optimize.root(
        lambda u: problem.slope(u, x) * per_unit, np.zeros(len(problem.terminal)),
        jac=lambda u: problem.jacobian(u, x) * per_unit, tol=1e-12,
    )  # fmt: skip
    return found.x


def answers(engine: Callable[[Any, Floats], Floats], cases: Sequence[tuple[Problem, Floats]]) -> Answers:
    states = []
    begun = time.process_time()
    for problem, x in cases:
        states.append(engine(problem, x))
    return Answers(states, (time.process_time() - begun) / len(cases))


def reference(problem: Problem, x: Floats) -> Floats:
    """The stable state that relaxation from 0 reaches; nan where LSODA and Newton do not agree on a stable one."""
    u = lsoda(problem, x, 1e-8)
    if np.isnan(u).any() or np.linalg.eigvals(problem.jacobian(u, x)).real.max() >= 0.0:
        return np.full_like(u, np.nan)
    return u


def right(problem: Problem, state: Floats, expected: Floats) -> bool:
    return bool(np.abs(state - expected).max() <= RIGHT * problem.scale)


def multistable(problems: Sequence[NdcNetwork], x: Floats, expected: Sequence[Floats]) -> float:
    """Share of the inputs with a stable state besides the expected one: relaxed to from one of ten random starts."""
    others = []
    expected_of = np.array(expected).reshape(len(problems), -1, len(expected[0]))
    for k, (problem, ends) in enumerate(zip(problems, expected_of, strict=True)):
        network = problem.network()
        starts = np.random.default_rng(k).uniform(-1.5, 1.5, (10, *ends.shape))
        states = [network.steady_state(x[: len(ends)], start=start) for start in starts]
        others.append(np.any([s.stable & (np.abs(s.potentials - ends).max(axis=1) > 1e-3) for s in states], axis=0))
    return float(np.mean(others))


def rate(work: Callable[[], Any], count: int, repetitions: int) -> float:
    """How often per second of processor time, the median of `repetitions` runs of `count` each, after one untimed."""
    work()
    seconds = []
    for _ in range(repetitions):
        begun = time.process_time()
        work()
        seconds.append(time.process_time() - begun)
    return count / float(np.median(seconds))


# --- what is measured


def five_lu(n: int, repetitions: int) -> dict[str, float]:
    """Solves per second if one took five LU factorisations with solves, and nothing else: in batch, and one by one.

    Batch: `numpy.linalg.solve` of (200, n, n). One by one: scipy's `dgesv` in a Python loop.
    """
    rng = np.random.default_rng(n)
    a, b = rng.uniform(size=(200, n, n)) + n * np.eye(n), rng.uniform(size=(200, n, 1))
    (gesv,) = get_lapack_funcs(("gesv",), (a, b))

    def batched() -> None:
        for _ in range(5):
            np.linalg.solve(a, b)

    def one_by_one() -> None:
        for matrix, column in zip(a, b, strict=True):
            for _ in range(5):
                gesv(matrix, column)

    repetitions *= max(SIZES) // n  # milliseconds each
    return {"batched": rate(batched, 200, repetitions), "one by one": rate(one_by_one, 200, repetitions)}


def steady_states(n: int, effort: Effort, tick: Callable[[], None]) -> dict[str, Any]:
    """Every engine on the NDC networks of n nodes."""
    problems = [NdcNetwork.random(n, seed) for seed in range(effort.networks)]
    networks = [problem.network() for problem in problems]
    count, many = effort.inputs[n], effort.engine_inputs[n]
    x = problems[0].inputs(many)
    cases = [(problem, row) for problem in problems for row in x[:count]]
    few = [(problem, x[k % count]) for k, problem in enumerate(problems)][: effort.slow_inputs[n]]
    expected = [reference(problem, row) for problem, row in cases]
    known = [not np.isnan(u).any() for u in expected]
    tick()

    def share(pairs: Sequence[tuple[Problem, Floats]], states: Sequence[Floats]) -> float:
        truth = {(id(p), row.tobytes()): u for (p, row), u in zip(cases, expected, strict=True)}
        found = [(p, s, truth[id(p), row.tobytes()]) for (p, row), s in zip(pairs, states, strict=True)]
        return float(np.mean([right(*triple) for triple in found if not np.isnan(triple[2]).any()]))

    out: dict[str, Any] = {
        "references": int(sum(known)),
        "asked": len(cases),
        "multistable": multistable(problems, x, expected),
    }
    tick()
    slow = {
        "RK45, loop over edges": partial(rk45, slope=NdcNetwork.slope_in_a_loop),
        "RK45, numpy": partial(rk45, slope=NdcNetwork.slope),
    }
    for name, engine in slow.items():
        found = answers(engine, few)
        ended = [polished(p, u, row) for (p, row), u in zip(few, found.states, strict=True)]
        out[name] = {
            "per second": 1.0 / found.seconds,
            "right": share(few, ended),  # after Newton, which is not timed: as it stands, no digit beyond 1e-3 is right
            "right as it stands": share(few, found.states),
            "of": len(few),
            "residual": float(np.median([p.residual(u, row) for (p, row), u in zip(few, found.states, strict=True)])),
        }
        tick()
    for name, engine in {"LSODA, then Newton": partial(lsoda, rtol=1e-6), "optimize.root": hybrid}.items():
        found = answers(engine, cases)
        out[name] = {"per second": 1.0 / found.seconds, "right": share(cases, found.states), "of": sum(known)}
        tick()

    bound = five_lu(n, effort.repetitions)
    total = many * len(networks)
    states = [network.steady_state(x) for network in networks]
    forward = rate(lambda: [network.steady_state(x) for network in networks], total, effort.repetitions)
    again = five_lu(n, effort.repetitions)
    ended = [u for state in states for u in state.potentials[:count]]
    out["labthermo"] = {
        "per second": forward,
        "right": share(cases, ended),
        "of": sum(known),
        "settled": float(np.mean([state.verdict == "settled" for state in states])),
        "residual": max(p.residual(u, row) for (p, row), u in zip(cases, ended, strict=True)),
    }
    lu = 0.5 * (bound["batched"] + again["batched"])  # before and after: the machine may have changed its speed
    out["five LU"] = {"per second": lu, "one by one": 0.5 * (bound["one by one"] + again["one by one"])}
    out["of the bound"] = forward / lu
    cotangent = np.random.default_rng(n).normal(size=n)
    pairs = list(zip(networks, states, strict=True))
    backward = rate(
        lambda: [network.gradient(state, np.tile(cotangent, (many, 1))) for network, state in pairs],
        total, effort.repetitions,
    )  # fmt: skip
    out["gradient of forward"] = forward / backward
    tick()
    return out


def cold(n: int, effort: Effort) -> float:
    """Median wall time of one call with one input, from 0, us."""
    problems = [NdcNetwork.random(n, seed) for seed in range(effort.networks)]
    seconds = []
    for problem in problems:
        network = problem.network()
        network.steady_state(problem.inputs(1))
        for row in problem.inputs(50):
            question = row[None]
            begun = time.perf_counter()
            network.steady_state(question)
            seconds.append(time.perf_counter() - begun)
    return 1e6 * float(np.median(seconds))


FIRST_CALL = """
import time
import numba
begun, used = time.perf_counter(), time.process_time()
import simulators
from simulators import Edge, Network, conductors
law = conductors.GaussianNdc(1e-6, 0.2, 1e-8)
network = Network({"h": 1e-12}, ["x", "lo"], [Edge("x", "h", law), Edge("h", "lo", conductors.Linear(1e-7))])
assert network.steady_state([[1.0, 0.0]]).verdict[0] == "settled"
print(time.perf_counter() - begun, time.process_time() - used)
"""


def first_call(cache: str | None, repetitions: int) -> dict[str, float]:
    """Import and first `steady_state` in a new process beyond importing numba, s: wall and processor time, medians.

    cache: where numba keeps what it compiled; None: where it does anyway.
    """
    environment = os.environ if cache is None else {**os.environ, "NUMBA_CACHE_DIR": cache}
    command = [sys.executable, "-c", FIRST_CALL]
    seconds = [
        [
            float(word)
            for word in subprocess.run(command, env=environment, capture_output=True, check=True).stdout.split()
        ]
        for _ in range(repetitions)
    ]
    return dict(zip(("wall", "processor"), np.median(seconds, axis=0).tolist(), strict=True))


def pauli(effort: Effort) -> float:
    """Points per second of the Pauli master equation of a spinful double dot with 16 states, 100 by 100 in bias, gate.

    Two dots of two spins, each a level of its own; 1 meV within and 0.2 meV between the dots; at 1.5 K.
    """
    within = np.kron(np.eye(2), [[0.0, 1e-3], [1e-3, 0.0]])
    dot = Dot(
        [-5e-4, -5e-4, -3e-4, -3e-4], [[1e9, 1e9, 1e8, 1e8], [1e8, 1e8, 1e9, 1e9]], 1.5,
        mutual=within + np.kron([[0.0, 2e-4], [2e-4, 0.0]], np.ones((2, 2))),
        gate_levers=[[0.1], [0.1], [0.05], [0.05]],
    )  # fmt: skip
    axis = np.linspace(-3e-3, 3e-3, 100)
    return rate(
        lambda: dot.stability_diagram(axis, 10 * axis, (0.5, -0.5, 0.0), (0.0, 0.0, 1.0)), 10_000, effort.repetitions
    )


def enzymes(effort: Effort, tick: Callable[[], None]) -> dict[str, Any]:
    """Substrate-inhibition networks of 8 species: the engine, LSODA, and libRoadRunner's CVODE if installed."""
    problems = [EnzymeNetwork.random(8, seed) for seed in range(effort.networks)]
    networks = [problem.network() for problem in problems]
    count, many = effort.inputs[8], effort.engine_inputs[8]
    x = problems[0].inputs(many)
    cases = [(problem, row) for problem in problems for row in x[:count]]
    expected = [reference(problem, row) for problem, row in cases]

    def share(states: Sequence[Floats]) -> float:
        triples = zip((p for p, _ in cases), states, expected, strict=True)
        return float(np.mean([right(p, u, e) for p, u, e in triples if not np.isnan(e).any()]))

    out: dict[str, Any] = {"references": int(sum(not np.isnan(e).any() for e in expected)), "asked": len(cases)}
    states = [network.steady_state(x) for network in networks]
    out["labthermo"] = {
        "per second": rate(
            lambda: [network.steady_state(x) for network in networks], many * len(networks), effort.repetitions
        ),
        "right": share([u for state in states for u in state.potentials[:count]]),
    }
    found = answers(partial(lsoda, rtol=1e-6), cases)
    out["LSODA, then Newton"] = {"per second": 1.0 / found.seconds, "right": share(found.states)}
    tick()
    if find_spec("roadrunner"):
        ends: list[Floats] = []
        seconds = 0.0
        for problem in problems:
            runner = road_runner(problem)
            begun = time.process_time()
            ends += [relaxed_by_cvode(runner, row) for row in x[:count]]
            seconds += time.process_time() - begun
        ends = [polished(p, u, row) for (p, row), u in zip(cases, ends, strict=True)]  # for its last digits; not timed
        out["libRoadRunner CVODE"] = {"per second": len(cases) / seconds, "right": share(ends)}
    tick()
    return out


def road_runner(problem: EnzymeNetwork) -> Any:
    """The same network in libRoadRunner (Somogyi et al., Bioinformatics 31, 3315 (2015)), CVODE at rtol 1e-6."""
    import roadrunner

    runner = roadrunner.RoadRunner()
    runner.addCompartment("vessel", 1.0, False)
    for i in range(len(problem.exchange)):
        runner.addSpeciesConcentration(f"s{i}", "vessel", 0.0, False, False)
    for stock in ("x", "lo"):
        runner.addParameter(stock, 0.0, False)
    for i, (used, made, law) in enumerate(problem.formulas()):
        runner.addReaction(f"r{i}", used, made, law, False)
    runner.regenerateModel()
    runner.setIntegrator("cvode")
    settings = {"relative_tolerance": 1e-6, "absolute_tolerance": 1e-11, "maximum_num_steps": 1_000_000}
    for name, value in settings.items():
        runner.getIntegrator().setValue(name, value)
    return runner


def relaxed_by_cvode(runner: Any, x: Floats) -> Floats:
    runner.reset()
    runner["x"], runner["lo"] = x
    runner.simulate(0.0, 1e4 * EnzymeNetwork.slow, 2)
    return np.array(runner.model.getFloatingSpeciesConcentrations())


# --- what is shown


def machine() -> dict[str, str]:
    info = Path("/proc/cpuinfo")
    models = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    packages = {name: version(name) for name in ("numpy", "scipy", "numba")}
    blas = np.show_config(mode="dicts")["Build Dependencies"]["lapack"]
    found = {"cpu": models[0], "cores": str(os.cpu_count()), "python": sys.version.split()[0], **packages}
    return {**found, "lapack": f"{blas['name']} {blas['version']}", "threads": "1", "date": date.today().isoformat()}


def significant(number: float) -> str:
    """Three digits, thousands as k."""
    return f"{number / 1e3:.3g}k" if number >= 1000 else f"{number:.3g}"


def cell(engine: dict[str, Any]) -> str:
    return f"{significant(engine['per second'])}; {engine['right']:.4g}"


def show(console: Console, result: dict[str, Any]) -> None:
    by_size = result["steady states"]
    console.print(", ".join(f"{name} {value}" for name, value in result["machine"].items()))
    table = Table(title="Solves per core-second; share on the right branch")
    for heading in ("engine", *(f"N = {n}" for n in by_size)):
        table.add_column(heading)
    for name in ("RK45, loop over edges", "RK45, numpy", "LSODA, then Newton", "optimize.root", "labthermo"):
        table.add_row(name, *(cell(found[name]) for found in by_size.values()))
    table.add_row("LAPACK, five LU in batch", *(significant(f["five LU"]["per second"]) for f in by_size.values()))
    table.add_row("  the same, one by one", *(significant(f["five LU"]["one by one"]) for f in by_size.values()))
    table.add_section()
    bounds = (f"1/{1 / found['of the bound']:.1f} (goal 1/{1 / GOALS[n]:.0f})" for n, found in by_size.items())
    table.add_row("labthermo / five LU", *bounds)
    for other in ("RK45, loop over edges", "RK45, numpy"):
        speeds = (found["labthermo"]["per second"] / found[other]["per second"] for found in by_size.values())
        table.add_row(f"labthermo / {other}", *(significant(speed) for speed in speeds))
    table.add_row(
        "largest residual, labthermo", *(f"{found['labthermo']['residual']:.0e}" for found in by_size.values())
    )
    table.add_row("inputs with another stable state", *(f"{f['multistable']:.2f}" for f in by_size.values()))
    table.add_row("residual RK45 stops at", *(f"{f['RK45, numpy']['residual']:.0e}" for f in by_size.values()))
    gradients = (f"{found['gradient of forward']:.1%} (goal {GRADIENT_GOAL:.0%})" for found in by_size.values())
    table.add_row("all gradients / forward", *gradients)
    colds = (f"{result['cold us'][n]:.0f} us (goal {COLD_GOALS[n]:.0f})" if n in COLD_GOALS else "" for n in by_size)
    table.add_row("one cold call, median", *colds)
    console.print(table)
    asked = ", ".join(f"{f['references']} of {f['asked']} (RK45 {f['RK45, numpy']['of']})" for f in by_size.values())
    console.print(f"References: {asked}. RK45 is judged by the branch that Newton finds from where it ends.")
    console.print(
        "First call in a new process, beyond importing numba: "
        + "; ".join(
            f"{name} cache {t['wall']:.2f} s, of the processor {t['processor']:.2f} s (goal {FIRST_CALL_GOALS[name]})"
            for name, t in result["first call"].items()
        )
    )
    console.print(f"Pauli master equation, 16 states: {significant(result['pauli'])} points/s.")
    found = result["enzymes"]
    engines = ", ".join(f"{name} {cell(e)}" for name, e in found.items() if isinstance(e, dict))
    console.print(f"Substrate inhibition, 8 species ({found['references']} of {found['asked']} references): {engines}.")
    for name, package in (("libRoadRunner", "roadrunner"), ("QmeQ", "qmeq")):
        if not find_spec(package):
            console.print(f"{name} is not installed: left out.")


def measure(effort: Effort, console: Console) -> dict[str, Any]:
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("NDC networks", total=7 * len(SIZES) + 4)

        def tick() -> None:
            progress.advance(task)

        first_call(None, 1)  # fills the cache where it is not
        first = {"warm": first_call(None, effort.repetitions)}
        tick()
        if effort is FULL:
            with tempfile.TemporaryDirectory() as empty:
                first["empty"] = first_call(empty, 1)
        tick()
        by_size = {n: steady_states(n, effort, tick) for n in SIZES}
        return {
            "machine": machine(),
            "steady states": by_size,
            "cold us": {n: cold(n, effort) for n in COLD_GOALS},
            "first call": first,
            "pauli": pauli(effort),
            "enzymes": enzymes(effort, tick),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="few networks: under 90 s, shares to a few per cent, no empty cache"
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="write what was measured")
    options = parser.parse_args()
    console = Console()
    begun = time.perf_counter()
    result = measure(QUICK if options.quick else FULL, console)
    show(console, result)
    console.print(f"{time.perf_counter() - begun:.0f} s in all.")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
