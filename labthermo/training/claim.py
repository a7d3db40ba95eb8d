"""What stands behind the claim that a trained device computes with NDC: asked after the training, and not counted.

The scored inputs are asked again downwards and in random order. From the three scans come the largest drop over its
standard error, where the answer depends on the way there, and, where the bench reads the current of a device with one
input, its I-V curve in both directions. Beside them stand the loopholes by name (training.md, section 1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labthermo.channel import Channel
from labthermo.device import Response
from labthermo.expressivity import find_ndc, largest_drop
from labthermo.training.task import Task
from labthermo.twin import Coupling

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
ORDERS = ("up", "down", "random")  # up: as the task lists its scored inputs
COMPLEMENTARY = 0.999  # correlation of two inputs, negative, from which they are one rail and its complement


def order_of(kind: str, n: int, seed: int) -> NDArray[np.int64]:
    """Rows of the scored inputs in the order of a scan."""
    rows = np.arange(n)
    if kind == "random":
        return np.random.default_rng([seed, 7]).permutation(n)
    return rows[::-1].copy() if kind == "down" else rows


def weigh(
    task: Task,
    channels: Sequence[Channel],
    scans: Mapping[str, Response],
    tolerance: float,
    couplings: Sequence[Coupling],
    policy: str,
    pumped: Sequence[str] | None = None,
    ablation: Response | None = None,
) -> dict[str, Any]:
    """The evidence, JSON-able. scans: by order, each with its rows put back as the task lists them.

    tolerance: of settling, in V; what two answers may differ by without being two states. policy: where each input
    started from. pumped: what :meth:`labthermo.Station.loopholes` finds, of a flow bench; None: nobody has looked.
    ablation: the scan upwards with the barriers detuned, where that can be done.
    """
    output = next(c for c in channels if c.kind == "output")
    rows = [{"order": kind, **_judged(task, scan)} for kind, scan in scans.items()]
    least = 2.0 * tolerance if output.unit == "V" else 0.0
    return {
        "policy": policy,
        "scans": rows,
        "ablation": None if ablation is None else _judged(task, ablation),
        "memory": _memory(task.score_inputs, scans, least),
        "iv": _current_voltage(task, channels, scans),
        "couplings": [[c.input, c.conductor, c.lever, c.touches] for c in couplings],
        "loopholes": [list(row) for row in loopholes(task, channels, rows, couplings, pumped)],
    }


def _judged(task: Task, scan: Response) -> dict[str, Any]:
    """Error, accuracy and the largest drop of one scan, whose rows are as the task lists them."""
    answers = np.where(scan.readable, scan.outputs[:, 0], np.nan)
    drop = largest_drop(task.score_inputs, answers, scan.sigma[:, 0], task.increasing)
    known = np.isfinite(answers)
    error = float(np.sqrt(np.mean((answers - task.score_targets[:, 0])[known] ** 2))) if known.any() else None
    return {
        "rmse": None if error is None else error / task.amplitude,
        "accuracy": task.accuracy(answers[:, None]),
        "drop": drop.size / task.amplitude,
        "ratio": drop.ratio if np.isfinite(drop.ratio) else None,
        "confidence": drop.confidence,
        "from": list(drop.start),
        "to": list(drop.stop),
    }


def _memory(inputs: Floats, scans: Mapping[str, Response], least: float) -> dict[str, Any]:
    """Where the answers upwards and downwards differ by more than `least` and noise, and what random order meets.

    spans: of one input [from, to]; of several, the inputs of every such place.
    """
    up, down, random = (np.where(s.readable, s.outputs[:, 0], np.nan) for s in (scans[k] for k in ORDERS))
    error = np.hypot(scans["up"].sigma[:, 0], scans["down"].sigma[:, 0])
    z = NormalDist().inv_cdf(1.0 - (1.0 - CONFIDENCE) / (2.0 * len(up)))
    difference = up - down
    apart = np.abs(difference) > least + z * error
    spans: list[list[float]] = []
    if inputs.shape[1] == 1:
        edges = np.flatnonzero(np.diff(np.r_[False, apart, False].astype(int)))
        spans = [[float(inputs[a, 0]), float(inputs[b - 1, 0])] for a, b in zip(edges[::2], edges[1::2], strict=True)]
    else:
        spans = np.unique(inputs[apart], axis=0).tolist()
    near = np.minimum(np.abs(random - up), np.abs(random - down))[apart] < np.abs(difference[apart]) / 5.0
    return {
        "spans": spans,
        "largest": float(np.nanmax(np.abs(difference))) if np.isfinite(difference).any() else None,
        # two states, if what is met in random order is one or the other; else it lags or drifts
        "bistable": bool(spans) and float(np.mean(near)) > 0.8,
    }


def _current_voltage(task: Task, channels: Sequence[Channel], scans: Mapping[str, Response]) -> dict[str, Any] | None:
    """Current into the only lead that is read over what lies between input and output, both ways; None without one.

    The output's voltage is taken from the input's: that is the load line's correction. NDC is looked for along the
    input: behind a load R, dI/dx = g/(1 + R g) has the sign of g = dI/dV in every stable state, and the input has no
    noise, while two neighbours on the voltage axis may be swapped by that of the output.
    """
    nodes = [c for c in channels if c.kind == "node"]
    leads = [k for k, c in enumerate(nodes) if c.unit == "A"]
    inputs, output = [c for c in channels if c.kind == "input"], next(c for c in channels if c.kind == "output")
    if len(leads) != 1 or len(inputs) != 1 or inputs[0].unit != "V" or output.unit != "V":
        return None
    curves = []
    for kind in ("up", "down"):
        scan = scans[kind]
        volts = task.score_inputs[:, 0] - np.where(scan.readable, scan.outputs[:, 0], np.nan)
        amps, sigma = scan.nodes[:, leads[0]], scan.node_sigma[:, leads[0]]
        known = np.isfinite(volts) & np.isfinite(amps)
        places = task.score_inputs[:, 0]
        regions = find_ndc(places[known], amps[known], sigma[known])
        at = dict(zip(places[known].tolist(), volts[known].tolist(), strict=True))
        curves.append(
            {
                "direction": kind,
                "voltage": volts[known].tolist(),
                "current": amps[known].tolist(),
                "sigma": sigma[known].tolist(),
                "regions": [[at[r.start], at[r.stop], r.drop, r.confidence] for r in regions],
            }
        )
    return {"from": inputs[0].name, "to": output.name, "lead": nodes[leads[0]].name, "curves": curves}


def loopholes(
    task: Task,
    channels: Sequence[Channel],
    rows: Sequence[Mapping[str, Any]],
    couplings: Sequence[Coupling],
    pumped: Sequence[str] | None = None,
) -> list[tuple[str, str, str]]:
    """Name, verdict (``no``, ``YES``, ``not measured``) and why, of each way a monotone device could pass the floor.

    pumped: as of :func:`weigh`.
    """
    inputs = [c for c in channels if c.kind == "input"]
    outputs = [c for c in channels if c.kind == "output"]
    found = []
    pair = _complementary(task.inputs, inputs)
    found.append(
        ("dual rail: an input beside its complement", "YES", f"{pair[0]} falls as {pair[1]} rises")
        if pair
        else ("dual rail: an input beside its complement", "no", "no input falls as another rises")
    )
    name = "a read-out with weights of either sign"
    found.append(
        (name, "YES", f"{len(outputs)} outputs are compared")
        if len(outputs) > 1
        else (name, "no", f"one output, {outputs[0].name}, read raw; the sign of its gain is the station file's")
    )
    name = "a current or a difference is read"
    found.append(
        (name, "YES", f"{outputs[0].name} is a current")
        if any(c.unit == "A" for c in outputs)
        else (name, "no", f"{outputs[0].name} in {outputs[0].unit}")
    )
    pumps = ", ".join(c.name for c in inputs if c.unit == "L/s")
    name = "the input turns a knob"
    if not pumps:
        found.append((name, "no", "inputs are held potentials"))
    elif pumped:
        found.append((name, "YES", "; ".join(pumped)))
    elif pumped is None:
        found.append((name, "not measured", f"{pumps}: a pump's rate; what else it dilutes or feeds was not looked at"))
    else:
        why = "by the device file, what it feeds is all that it changes: a flow of plain solvent makes up for the rest"
        found.append((name, "no", f"{pumps}: a pump's rate; {why}"))
    name = "an input line gates a dot that it does not touch"
    gated = [f"{c.input} moves {c.conductor} by {c.lever:g} eV/V" for c in couplings if not c.touches]
    found.append(
        (name, "YES", "; ".join(gated))
        if gated
        else (name, "not measured", "none as designed; a bench's cables and gates may do it: measure d eps/dx")
    )
    sure = {row["order"]: row["confidence"] >= CONFIDENCE for row in rows}
    name = "drift while inputs are scanned in order"
    if all(sure.values()):
        found.append((name, "no", "the drop is there upwards, downwards and in random order"))
    elif not any(sure.values()):
        found.append((name, "no", "no drop beyond noise in any order"))
    else:
        seen = ", ".join(kind for kind in ORDERS if sure[kind])
        found.append((name, "YES", f"there is a drop beyond noise only in this order: {seen}"))
    return found


def _complementary(points: Floats, inputs: Sequence[Channel]) -> tuple[str, str] | None:
    """Two inputs of which one is a falling linear function of the other."""
    moving = [k for k in range(points.shape[1]) if np.ptp(points[:, k]) > 0.0]
    for n, a in enumerate(moving):
        for b in moving[n + 1 :]:
            if np.corrcoef(points[:, a], points[:, b])[0, 1] < -COMPLEMENTARY:
                return inputs[a].name, inputs[b].name
    return None
