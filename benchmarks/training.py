"""How many device queries a training takes: every method on the same devices, and the calibrated twin in hard cases.

    python benchmarks/training.py [--quick] [--seeds N] [--only TEXT ...] [--json PATH] [--write]

Simulated devices, backend `model` (one part: `wire` against `model`). After each answer the knobs that the trainer
would keep are judged on a copy of the device without read noise, on the 201 points of the hold-out grid: what the
method has reached, whatever it believes. Runs that the JSON file already has are not repeated; --write makes the page
and the figure in docs/ from it.
"""
# ruff: noqa: E402 (one thread must be asked for before numpy and numba are imported)

from __future__ import annotations

import os

for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import json
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.progress import Progress

from labthermo import Query, Station
from labthermo.config import load_station
from labthermo.errors import ParameterError
from labthermo.training.calibrated_twin import CalibratedTwin
from labthermo.training.loop import Plan, train
from labthermo.training.methods import METHODS, Material, make_trainer
from labthermo.training.task import Task, make_task

REPOSITORY = Path(__file__).parents[1]
FLAGSHIP = "calibrated_twin"
TRANSFER = "transfer"  # knobs trained on the device as designed, none of its queries used
THRESHOLDS = (0.05, 0.02)
SEEDS = 8
BUDGET = 5000


@dataclass(frozen=True)
class Condition:
    """A device to train. changes: to the station file, merged into it; goal: what is asked of the calibrated twin.

    control: the NDC-off sample of the same design.
    """

    name: str
    station: str
    task: str
    goal: str
    changes: dict[str, Any] = field(default_factory=dict)
    methods: tuple[str, ...] = (FLAGSHIP,)
    control: bool = False

    @property
    def jump(self) -> int | None:
        """Number of the query before which a charge jumps."""
        jumps = self.changes.get("simulation", {}).get("hidden", {}).get("charge_jumps")
        return jumps[0]["query"] if jumps else None


def _hidden(**more: Any) -> dict[str, Any]:
    return {"simulation": {"hidden": more}}


def _levers(size: float) -> dict[str, Any]:
    unknowns = {"unknowns": {"lead_levers": 0.1}}
    return {"device": unknowns, **_hidden(lead_levers=size)}


ALL = (TRANSFER, *METHODS)
SINE, HIDDEN_NODES, XOR = (f"examples/{name}/crosstalk.yaml" for name in ("sine", "hidden_nodes", "xor"))
CONDITIONS = (
    Condition("A, sine", SINE, "sine", "8 of 8 below .05 in 640; 7 of 8 below .02 in 1500", methods=ALL),
    Condition("B, sine, hidden nodes", HIDDEN_NODES, "sine", "tabled", methods=ALL),
    Condition("C, xor", XOR, "xor", "tabled", methods=ALL),
    Condition(
        "A, unmodelled 300 Mohm across dot 1", SINE, "sine", "6 of 8 below .05 in 2000",
        _hidden(parasitic={"dot1": "300 Mohm"}),
    ),
    Condition("A, dots with another law (spin)", SINE, "sine", "6 of 8 below .05 in 2000", _hidden(spin=True)),
    Condition("A, lead levers 0.1", SINE, "sine", "as without", _levers(0.1)),
    Condition("A, lead levers 0.3", SINE, "sine", "reported", _levers(0.3)),
    Condition("A, NDC off", SINE, "sine", "never below the floor", control=True),
    Condition(
        "A, charge jump of 30 ueV before query 120", SINE, "sine", "below .05 again within 200; jump in the report",
        _hidden(charge_jumps=[{"of": "dot3", "shift": "30 ueV", "query": 120}]),
    ),
)  # fmt: skip


def write_station(condition: Condition, folder: Path, changes: dict[str, Any] | None = None) -> Path:
    """The condition's station file, with its own and further changes, beside its device file in `folder`."""
    source = REPOSITORY / condition.station
    station = yaml.safe_load(source.read_text())
    for more in (condition.changes, changes or {}):
        _merge(station, more)
    device = source.parent / station["device"]["model"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / device.name).write_text(device.read_text())
    path = folder / source.name
    path.write_text(yaml.safe_dump(station, sort_keys=False))
    return path


def _merge(into: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


class Judge:
    """Scores knobs on the very sample, without read noise, as it is at a query's number."""

    def __init__(self, condition: Condition, seed: int, folder: Path, stack: ExitStack) -> None:
        self._jump = condition.jump
        jumps = condition.changes.get("simulation", {}).get("hidden", {}).get("charge_jumps", [])
        self._devices = []
        for name, there in (("before", []), ("after", [{**jump, "query": 0} for jump in jumps])):
            silent = {"simulation": {"noise": "off", "quantisation": False, "hidden": {"charge_jumps": there}}}
            path = write_station(condition, folder / name, silent)
            station = stack.enter_context(
                Station(load_station(path).with_seed(seed), "model", control=condition.control)
            )
            self._devices.append(station.device)

    def error(self, task: Task, knobs: dict[str, float], number: int) -> float:
        device = self._devices[self._jump is not None and number > self._jump]
        return task.score(device.query(Query(knobs=knobs, inputs=task.score_inputs, reset="park")).outputs)


def measure(condition: Condition, method: str, seed: int, budget: int) -> dict[str, Any]:
    """Train once; the record of it: the error judged after each answer, against device queries."""
    started = time.process_time()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        path = write_station(condition, folder / "device")
        config = load_station(path).with_seed(seed)
        station = stack.enter_context(Station(config, "model", control=condition.control))
        device = station.device
        task = make_task(condition.task, device.channels)
        judge = Judge(condition, seed, folder, stack)
        record: dict[str, Any] = {
            "condition": condition.name, "method": method, "seed": seed, "budget": budget, "floor": task.floor(),
        }  # fmt: skip
        if method == TRANSFER:
            names = [c.name for c in device.channels if c.kind == "knob"]
            knobs = CalibratedTwin(device.channels, task, station.twin(), seed).screened()
            error = judge.error(task, dict(zip(names, map(float, knobs), strict=True)), 0)
            return {**record, "queries": 0, "final": error, "curve": [[0, error]], "jumps": []}
        try:
            trainer = make_trainer(method, Material(task, device, station.twin(), seed))
        except ParameterError as error:
            return {**record, "refused": str(error)}
        queries, curve, jumps = 0, [], []
        while (ask := trainer.ask()) is not None and queries + len(np.asarray(ask.query.inputs)) <= budget:
            trainer.tell(device.query(replace(ask.query, number=queries)))
            queries += len(np.asarray(ask.query.inputs))
            take = getattr(trainer, "take_events", None)
            jumps += [queries for kind, _ in (take() if take else ()) if kind == "jump"]
            error = judge.error(task, trainer.result(), queries)
            if not curve or curve[-1][1] != error:
                curve.append([queries, error])
        record |= {"queries": queries, "final": curve[-1][1], "curve": curve, "jumps": jumps}
        return {**record, "finished": trainer.ask() is None, "seconds": time.process_time() - started}


def compare_backends(seed: int, budget: int) -> dict[str, Any]:
    """The same training by the loop over `wire` and over `model`, each scored by itself, read noise and all."""
    condition = CONDITIONS[0]
    record: dict[str, Any] = {"condition": "wire against model", "method": FLAGSHIP, "seed": seed, "budget": budget}
    for backend in ("model", "wire"):
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            config = load_station(write_station(condition, Path(folder))).with_seed(seed)
            with Station(config, backend) as station:
                plan = Plan(make_task(condition.task, station.device.channels), FLAGSHIP, budget, seed)
                header = {**plan.header(), "control": True}  # no ablation: it does not ask the device
                with station.run(Path(folder), header) as run:
                    outcome = train(run, plan, station.twin(), station.twin)
                    queries = run.journal.queries()
                    run.journal.finish("finished")
        record[backend] = {"rmse": outcome.rmse, "queries": queries, "seconds": time.perf_counter() - began}
    return record


def reached(record: dict[str, Any], threshold: float, after: int = 0) -> int | None:
    """Device queries (after `after`) at which what the trainer would keep was first better than `threshold`."""
    for queries, error in record["curve"]:
        if queries > after and error < threshold:
            return queries - after
    return None


def plan_of(only: Sequence[str], seeds: int, quick: bool) -> Iterator[tuple[Condition, str, int, int]]:
    """Condition, method, seed and budget of every run."""
    for condition in CONDITIONS:
        for method in condition.methods:
            if only and not any(text in f"{condition.name} {method}" for text in only):
                continue
            for seed in range(seeds):
                yield condition, method, seed, 600 if quick else BUDGET


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two seeds, 600 queries at most, nothing over wire")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--only", nargs="*", default=[], help="conditions and methods with this in their names")
    parser.add_argument("--json", type=Path, default=REPOSITORY / "benchmarks" / "training.json")
    parser.add_argument("--write", action="store_true", help="write docs/training-benchmark.md and its figure as well")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.seeds = min(chosen.seeds, 2)
        if chosen.json == parser.get_default("json"):
            parser.error("--quick needs --json PATH: the full record is not for overwriting")
    record = json.loads(chosen.json.read_text()) if chosen.json.exists() else {"runs": []}
    known = {(r["condition"], r["method"], r["seed"], r["budget"]) for r in record["runs"]}
    jobs = [job for job in plan_of(chosen.only, chosen.seeds, chosen.quick) if (job[0].name, *job[1:]) not in known]
    wire = [] if chosen.quick or (chosen.only and "wire" not in chosen.only) else list(range(min(3, chosen.seeds)))
    wire = [seed for seed in wire if ("wire against model", FLAGSHIP, seed, 1500) not in known]
    with Progress() as progress:
        bar = progress.add_task("trainings", total=len(jobs) + len(wire))
        for condition, method, seed, budget in jobs:
            progress.update(bar, description=f"{condition.name}: {method}, seed {seed}")
            _keep(record, measure(condition, method, seed, budget), chosen.json)
            progress.advance(bar)
        for seed in wire:
            progress.update(bar, description=f"wire against model, seed {seed}")
            _keep(record, compare_backends(seed, 1500), chosen.json)
            progress.advance(bar)
    print(table_of_methods(record["runs"]))
    print(table_of_conditions(record["runs"]))
    if chosen.write:
        for path in write_docs(record["runs"]):
            print(path)


def _keep(record: dict[str, Any], run: dict[str, Any], path: Path) -> None:
    record["runs"].append(run)
    record["date"] = date.today().isoformat()
    lines = ",\n".join(json.dumps(_rounded(each)) for each in record["runs"])
    path.write_text(f'{{"date": "{record["date"]}", "runs": [\n{lines}\n]}}\n')


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, list) else value


def _spread(values: Sequence[int | None]) -> str:
    """How many got there, and their queries: median (lowest to highest)."""
    there = sorted(v for v in values if v is not None)
    if not there:
        return f"0 of {len(values)}"
    return f"{len(there)} of {len(values)}: {np.median(there):.0f} ({there[0]}–{there[-1]})"


def _final(runs: Sequence[dict[str, Any]]) -> str:
    errors = [r["final"] for r in runs]
    return f"{np.median(errors):.3f} ({min(errors):.3f}–{max(errors):.3f})"


def table_of_methods(runs: Sequence[dict[str, Any]]) -> str:
    """Every method on the devices on which all were tried, as Markdown."""
    lines = ["| device | method | below .05 | below .02 | final error | queries asked |", "|---|---|---|---|---|---|"]
    for condition in (c for c in CONDITIONS if len(c.methods) > 1):
        for method in condition.methods:
            mine = [r for r in runs if (r["condition"], r["method"]) == (condition.name, method)]
            if not mine:
                continue
            if "refused" in mine[0]:
                lines.append(f"| {condition.name} | {method} | does not apply: {mine[0]['refused']} | | | |")
                continue
            cells = [_spread([reached(r, t) for r in mine]) for t in THRESHOLDS]
            asked = f"{np.median([r['queries'] for r in mine]):.0f}"
            lines.append(f"| {condition.name} | {method} | {' | '.join(cells)} | {_final(mine)} | {asked} |")
    return "\n".join(lines)


def table_of_conditions(runs: Sequence[dict[str, Any]]) -> str:
    """The calibrated twin under every condition, as Markdown; one row a condition, then what each seed needed."""
    lines = [
        "| condition | asked for | below .05 | below .02 | final error | by seed: below .05 / below .02 |",
        "|---|---|---|---|---|---|",
    ]
    for condition in CONDITIONS:
        mine = [r for r in runs if (r["condition"], r["method"]) == (condition.name, FLAGSHIP)]
        if not mine:
            continue
        after = condition.jump or 0
        found = [[reached(r, t, after) for t in THRESHOLDS] for r in mine]
        cells = [_spread([each[k] for each in found]) for k in range(2)]
        seeds = ", ".join(" / ".join("–" if q is None else str(q) for q in each) for each in found)
        if condition.jump:
            seen = [next((q - after for q in r["jumps"] if q > after), None) for r in mine]
            before = sum(any(q <= after and e < THRESHOLDS[0] for q, e in r["curve"]) for r in mine)
            seeds += f"; counted from the jump, before which {before} had been below .05; recorded by {_spread(seen)}"
        lines.append(f"| {condition.name} | {condition.goal} | {' | '.join(cells)} | {_final(mine)} | {seeds} |")
    return "\n".join(lines)


def table_of_backends(runs: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| seed | `model`: error, queries | `wire`: error, queries | difference | `wire`: wall time |",
        "|---|---|---|---|---|",
    ]
    for r in (r for r in runs if "wire" in r):
        model, wire = r["model"], r["wire"]
        lines.append(
            f"| {r['seed']} | {model['rmse']:.4f}, {model['queries']} | {wire['rmse']:.4f}, {wire['queries']} "
            f"| {abs(wire['rmse'] - model['rmse']):.4f} | {wire['seconds']:.0f} s |"
        )
    return "\n".join(lines)


def write_docs(runs: Sequence[dict[str, Any]]) -> tuple[Path, Path]:
    """The page and its figure."""
    figure = REPOSITORY / "docs" / "figures" / "training.svg"
    draw(runs, figure)
    page = REPOSITORY / "docs" / "training-benchmark.md"
    floor = next(r["floor"] for r in runs if r["condition"] == CONDITIONS[0].name)
    page.write_text(
        PAGE.format(
            methods=table_of_methods(runs), conditions=table_of_conditions(runs), backends=table_of_backends(runs),
            floor=f"{floor:.4f}", budget=BUDGET,
        )
    )  # fmt: skip
    return page, figure


PAGE = """\
# How many device queries a training takes

Made by `python benchmarks/training.py --write`; do not edit. Everything here is **simulated**: the devices A (sine,
five dots, 15 gates), B (sine, hidden nodes, 12 gates) and C (xor, 6 gates) of the examples' `crosstalk.yaml`, backend
`model`. Every hidden parameter is off by 10 %, gates act on their neighbours by 10 to 30 % of their lever and by an
amount that no method is told, and read noise is 1.3 uV: 1 % of the amplitude at each reading.

A device query is one input settled and one reading of 20 ms ([decision 3](decisions/0003-device-queries.md)); those
of calibration count. After each answer the knobs that the trainer would keep are judged on the same sample without
read noise, on the hold-out grid: RMSE over the amplitude. "8 of 8: 120 (88–154)" means that 8 of 8 seeds got there,
after 120 queries in the median, 88 to 154. A device without NDC cannot do better than {floor} on the sine.

![Error against device queries](figures/training.svg)

## The calibrated twin, condition by condition

{conditions}

* Another law and the 300 Mohm are outside the twin's family: it does not know that they may exist. Lead levers are
  within it (`unknowns: {{lead_levers: 0.1}}`); 0.3 is three of its standard deviations.
* The jump is recorded with the dot and the size that the readings speak for; on a device outside the family a false one
  may be recorded, which costs queries and not the training.
* A seed's pair is the queries at which it was first below .05 and below .02; – means never.

## Over instruments

The same training by the loop over `wire` (unmodified drivers on simulated instruments) and over `model`, each scored by
itself on 201 points, so that 1 % of read noise is in both.

{backends}

## Every method, same devices, seeds and budget

{budget} queries at most; a method that ends by itself asks fewer. `transfer` is training on the device as designed and
asking nothing. `adjoint` has the true device's own gradient, which no lab can have. Currents at nodes, which three
methods need, are for free here.

{methods}

Optimisers of other projects with a loop of their own are not in it: `cma_es` is pycma's.
"""


def draw(runs: Sequence[dict[str, Any]], path: Path) -> None:
    """Best so far, median over seeds, against device queries: methods on device A, and the twin's conditions."""
    import matplotlib
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "labthermo", "font.family": "sans-serif"}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(10.0, 4.4), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        first = CONDITIONS[0]
        for method in first.methods:
            _curve(left, [r for r in runs if (r["condition"], r["method"]) == (first.name, method)], method)
        for condition in CONDITIONS:
            mine = [r for r in runs if (r["condition"], r["method"]) == (condition.name, FLAGSHIP)]
            _curve(right, mine, condition.name, ends=condition.jump is None)
        left.set_title(f"{first.name}: methods")
        right.set_title("calibrated_twin: conditions")
        left.set_ylabel("error / amplitude, median of the seeds")
        for axes in (left, right):
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_xlabel("device queries")
            axes.grid(color="#dddddd", linewidth=0.6)
            for threshold in THRESHOLDS:
                axes.axhline(threshold, color="#9a9a9a", linestyle="--", linewidth=0.8)
            axes.legend(fontsize=7, frameon=False, loc="lower left")
        figure.savefig(path, format="svg", metadata={"Date": None})


def _curve(axes: Any, runs: Sequence[dict[str, Any]], label: str, ends: bool = True) -> None:
    runs = [r for r in runs if "curve" in r]
    if not runs:
        return
    if label == TRANSFER:
        axes.axhline(float(np.median([r["final"] for r in runs])), color="#333333", linestyle=":", label=label)
        return
    grid = np.geomspace(20, max(r["queries"] for r in runs), 300)
    values = np.array([[_at(r["curve"], q, ends) for q in grid] for r in runs])
    axes.plot(grid, np.median(values, axis=0), label=label, linewidth=2.4 if label == FLAGSHIP else 1.3)


def _at(curve: Sequence[Sequence[float]], queries: float, lowest: bool) -> float:
    """The error by then: the lowest, or (where the device changes) the last."""
    past = [error for at, error in curve if at <= queries]
    if not past:
        return math.nan
    return min(past) if lowest else past[-1]


if __name__ == "__main__":
    main()
