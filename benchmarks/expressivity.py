"""What a device does with NDC and without, on tasks that no monotone answer can do: a table for docs/.

    python benchmarks/expressivity.py [--seeds 5] [--out docs/explanation/expressivity.md]

Every row is `labthermo train STATION --task TASK --backend model --seed SEED`, with and without `--control`: the same
design with the same knobs, budget and trainer, its NDC off. Each seed is another simulated sample (10 % mismatch, read
noise) and another trainer. The table is put between the marks in the page; its floors are exact.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TASKS = (("xor", "xor"), ("sine", "band_pass"), ("rings", "rings"))  # example, task
QUERIES = 1500
BEGIN, END = "<!-- made by benchmarks/expressivity.py -->\n", "<!-- end -->\n"


def trained(
    station: str, task: str, seed: int, control: bool, queries: int = QUERIES, backend: str = "model"
) -> dict[str, Any]:
    """The summary of one training by the command line. station: of an example, ``xor/station.yaml``."""
    command = [sys.executable, "-m", "labthermo", "train", ROOT / "examples" / station, "--task", task]
    command += ["--backend", backend, "--seed", str(seed), "--queries", str(queries)]
    with tempfile.TemporaryDirectory() as runs:
        done = [*command, "--runs", runs, *(["--control"] if control else [])]
        subprocess.run(done, check=True, capture_output=True)
        (made,) = Path(runs).glob("*/summary.json")
        return json.loads(made.read_text())


def spread(values: list[float], digits: int, scale: float = 1.0) -> str:
    """Every seed's value, lowest first."""
    return " ".join(f"{scale * v:.{digits}f}" for v in sorted(values))


def rows(example: str, task: str, seeds: int) -> list[str]:
    """Two lines of the table: with NDC and without."""
    lines = []
    for control in (False, True):
        found = [trained(f"{example}/station.yaml", task, seed, control) for seed in range(seeds)]
        floor, bound = found[0]["floor"], found[0]["floor_accuracy"]
        errors, shares = [f["rmse"] for f in found], [f["accuracy"] for f in found]
        if control:
            kept = min(errors) >= floor and max(shares) <= bound
            verdict = "none passes a floor" if kept else "A FLOOR IS PASSED"
        else:
            passed = sum(e < floor and a > bound for e, a in zip(errors, shares, strict=True))
            verdict = f"{passed} of {seeds} beyond both floors"
        queries = spread([f["queries"] for f in found], 0)
        lines.append(
            f"| {task} ({example}) | {'off' if control else 'on'} | {spread(errors, 3)} | {floor:.3f} "
            f"| {spread(shares, 1, 100.0)} | {100 * bound:.1f} | {queries} | {verdict} |"
        )
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    """Train everything and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="samples, and trainings, of each row")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/explanation/expressivity.md", help="the page")
    options = parser.parse_args()
    table = [
        "| task (example) | NDC | RMSE / amplitude, each seed | floor | right, %, each seed | floor, % | queries | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for example, task in TASKS:
        table += rows(example, task, options.seeds)
    before, _, rest = options.out.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    options.out.write_text(before + BEGIN + "\n".join(table) + "\n" + END + after)


if __name__ == "__main__":
    main()
