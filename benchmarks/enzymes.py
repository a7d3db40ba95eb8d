"""Whether the enzymatic bench delivers what its pages claim: coverage of intervals, and trained devices.

    python benchmarks/enzymes.py dose_response [--backend model|wire] [--seeds N]
    python benchmarks/enzymes.py train [--backend model|wire] [--seeds N] [--jobs N]

`train`: XOR on device R1, sine and band-pass on R2, by the command line; and the control of each, the same design
without the dead-end complex, with the same knobs, budget and trainer.

Everything is simulated. A line is printed for each seed, and the summary last.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from expressivity import trained

from labthermo import Station
from labthermo.config import load_station
from procedures.dose_response import DoseResponse
from simulators.hidden_truth import HiddenTruth
from simulators.sample import build_sample

EXAMPLES = Path(__file__).parents[1] / "examples"
CONSTANTS = ("vmax", "km", "ki")
STOCK = 40e-3  # mol/L, as the example's device file has it
Z = 1.959964  # of 95 %
TRAININGS = (  # station below examples/, task, budget of device queries
    ("ldh_one_well/station.yaml", "xor", 300),
    ("ldh_two_wells/station.yaml", "sine", 400),
    ("ldh_two_wells/band.yaml", "band_pass", 160),
)


def hidden_constants(config: Any) -> np.ndarray:
    """Vmax, Km, Ki of the sample that this station hides, SI."""
    sample = build_sample(config)
    network = HiddenTruth(sample, config).network()
    fields = {field: float(base) for (_, field, _), base in zip(network.parameters, network.base, strict=True)}
    return np.array([fields["vmax"], fields["km_substrate"], fields["ki"]])


def rest(feed: float, dilution: float, vmax: float, km: float, ki: float) -> float:
    """Product at rest, mol/L: the smallest root of the cubic, by numpy (not by the code under test)."""
    # D (F - S)(km + S + S^2/ki) = vmax S
    poly = [-dilution / ki, dilution * (feed / ki - 1), dilution * (feed - km) - vmax, dilution * feed * km]
    roots = np.roots(poly)
    return feed - min(r.real for r in roots if abs(r.imag) < 1e-9 and -1e-12 <= r.real <= feed * (1 + 1e-9))


def cramer_rao(truth: np.ndarray, recipe: DoseResponse, optical: float, sigma: float) -> np.ndarray:
    """Least standard deviations of ln Vmax, ln Km, ln Ki that any unbiased fit can have with these readings.

    Nuisances (blank; errors of two pumps and of the photometer, with their priors) and flow noise included.
    """
    shares = np.geomspace(recipe.start, recipe.stop, recipe.points)
    s = np.concatenate([np.zeros(recipe.blanks), shares * recipe.flow])
    b = recipe.flow - s

    def readings(theta: np.ndarray) -> np.ndarray:
        vmax, km, ki = truth * np.exp(theta[:3])
        dose, other = s * (1 + theta[4]), b * (1 + theta[5])
        total = dose + other
        return np.array([
            theta[3] + (1 + theta[6]) * optical * (rest(STOCK * d / t, t / recipe.volume, vmax, km, ki) if d else 0.0)
            for d, t in zip(dose, total, strict=True)
        ])  # fmt: skip

    def moved(k: int, by: float) -> np.ndarray:
        return readings(np.eye(7)[k] * by)

    jacobian = np.column_stack([(moved(k, 1e-5) - moved(k, -1e-5)) / 2e-5 for k in range(7)])
    # flow noise is independent from reading to reading: d ln s and d ln b each time
    spread2 = sigma**2 + recipe.flow_noise**2 * (jacobian[:, 4] ** 2 + jacobian[:, 5] ** 2)
    information = jacobian.T @ (jacobian / spread2[:, None])
    information[np.arange(4, 7), np.arange(4, 7)] += (
        np.array([recipe.pump_error, recipe.pump_error, recipe.gain_error]) ** -2.0
    )
    return np.sqrt(np.diag(np.linalg.inv(information)))[:3]


def dose_response(backend: Any, seeds: int) -> dict[str, Any]:
    """Over seeds 1 to `seeds`: share of intervals that hold the truth, and their widths over the Cramer-Rao width."""
    path = EXAMPLES / "inhibited_well" / "station.yaml"
    recipe = DoseResponse(stock=STOCK)
    inside, widths, seconds = [], [], []
    for seed in range(1, seeds + 1):
        config = load_station(path).with_seed(seed)
        light = next(iter(config.device.outputs.values())).light
        assert light is not None
        optical = float(light.extinction["p"]) * float(light.path)
        began = time.perf_counter()
        with (
            tempfile.TemporaryDirectory() as runs,
            Station(config, backend) as station,
            station.run(Path(runs), {}) as run,
        ):
            recipe.execute(run)
            (found,) = run.journal.events("dose_response")
        truth = hidden_constants(config)
        bound = cramer_rao(truth, recipe, optical, 2e-3)
        intervals = np.array([found.detail[name] for name in CONSTANTS])
        inside.append((intervals[:, 1] <= truth) & (truth <= intervals[:, 2]))
        widths.append(np.log(intervals[:, 2] / intervals[:, 1]) / (2.0 * Z * bound))
        seconds.append(time.perf_counter() - began)
        off = intervals[:, 0] / truth - 1.0
        if backend == "wire":
            print(f"seed {seed}: off by {off.round(3)}, inside {inside[-1]}, {seconds[-1]:.0f} s", flush=True)
    return {
        "backend": backend,
        "seeds": seeds,
        "inside": dict(zip(CONSTANTS, np.sum(inside, axis=0).tolist(), strict=True)),
        "covered": dict(zip(CONSTANTS, np.mean(inside, axis=0).round(3).tolist(), strict=True)),
        "widest over Cramer-Rao": dict(zip(CONSTANTS, np.max(widths, axis=0).round(2).tolist(), strict=True)),
        "median over Cramer-Rao": dict(zip(CONSTANTS, np.median(widths, axis=0).round(2).tolist(), strict=True)),
        "seconds a seed": round(float(np.mean(seconds)), 1),
    }


def train(backend: Any, seeds: int, jobs: int) -> None:
    """XOR on R1, sine and band-pass on R2, seeds 1 to `seeds`, each beside its control: what `labthermo train` says.

    jobs: trainings at a time; over wire each waits for its lines most of the time.
    """
    print("| station, task | NDC | seed | error / amplitude | floor | right, % | floor, % | queries | reads | h | mL |")
    print("|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
    runs = [(*each, c, seed) for each in TRAININGS for c in (False, True) for seed in range(1, seeds + 1)]

    def run(station: str, task: str, queries: int, control: bool, seed: int) -> dict[str, Any]:
        return trained(station, task, seed, control, queries, backend)

    with ThreadPoolExecutor(jobs) as pool:
        for (station, task, _, control, seed), summary in zip(runs, pool.map(lambda r: run(*r), runs), strict=True):
            cells = [f"{station}, {task}", "off" if control else "on", str(seed)]
            cells += [f"{summary[key]:.3f}" for key in ("rmse", "floor")]
            shares = [summary.get(key) for key in ("accuracy", "floor_accuracy")]
            cells += ["" if share is None else f"{100 * share:.1f}" for share in shares]
            cells.append(str(summary["queries"]))
            if spent := summary.get("usage", {}).get("training"):
                litres = ", ".join(f"{pump} {1e3 * volume:.0f}" for pump, volume in spent["delivered"].items())
                cells += [str(spent["reads"]), f"{spent['seconds'] / 3600:.1f}", litres]
            print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["dose_response", "train"])
    parser.add_argument("--backend", default="model", choices=["model", "wire"])
    parser.add_argument("--seeds", type=int, default=0, help="samples; default: 200, and 3 of each training")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time")
    arguments = parser.parse_args()
    if arguments.what == "train":
        train(arguments.backend, arguments.seeds or 3, arguments.jobs)
        return
    print(json.dumps(dose_response(arguments.backend, arguments.seeds or 200), indent=1))


if __name__ == "__main__":
    sys.exit(main())
