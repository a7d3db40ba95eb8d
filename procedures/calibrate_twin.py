"""Fit a twin to the device from queries of its own choice, and say how far it can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from threadpoolctl import threadpool_limits

from labthermo.channel import Channel
from labthermo.device import Query
from labthermo.errors import ParameterError
from labthermo.procedure import Procedure
from labthermo.quantity import format_quantity, quantity
from labthermo.run import Run
from labthermo.stored_twin import EVENT
from labthermo.training.calibration import AGREES, CERTAIN, Calibration, refit
from labthermo.training.evidence import Evidence
from labthermo.twin import Twin

Floats = NDArray[np.float64]

SEEN = 0.7  # of its prior width: what a parameter's width has to fall below to count as learnt
SURE = 3.0  # standard errors that a correlation must have to be structure
INPUTS = 4  # queries at each setting of the parity check


class CalibrateTwin(Procedure):
    """Fit a numerical twin to the device from queries that tell most, check it at fresh ones, and store it.

    Settings of knobs and inputs are chosen one after the other on the twin itself (D-optimal), until it knows its
    outputs to `certain` or `queries` are spent. Then it foretells settings at random, which it has not been fitted to:
    parity. What is left beyond noise is looked through for structure, and every parameter is listed with how much was
    learnt about it. The twin is stored beside the station file; `labthermo train --twin` starts from it.
    """

    name: ClassVar[str] = "calibrate_twin"

    queries: Annotated[int, Field(ge=4, le=10_000)] = Field(default=160, description="to fit to, at most, 4 to 10000")
    parity: Annotated[int, Field(ge=8, le=10_000)] = Field(default=40, description="to check at, 8 to 10000")
    certain: Annotated[float, quantity("", above=0, maximum=1)] = Field(
        default=CERTAIN, description="doubt about the outputs, of half their window, at which it is enough"
    )
    seed: Annotated[int, Field(ge=0)] = Field(default=0, description="of the choices")

    def count(self, channels: Sequence[Channel]) -> int:
        _scale(channels)
        if not any(c.kind == "knob" for c in channels):
            raise ParameterError(f"{self.name}: the device has no knobs, so there is nothing to choose")
        return self.queries + self.parity

    def execute(self, run: Run) -> None:
        with threadpool_limits(1, "blas"):  # small matrices: threads would cost more than they gain
            self._execute(run)

    def _execute(self, run: Run) -> None:
        channels = run.device.channels
        knobs = [c.name for c in channels if c.kind == "knob"]
        rng = np.random.default_rng(self.seed)
        twin, evidence = run.twin(), Evidence()
        chosen = Calibration(channels, _scale(channels), rng)
        chi = accepted = 0.0
        doubts: list[tuple[int, float]] = []
        while True:
            sigma = np.median(evidence.rows()[3], axis=0) if len(evidence) else None
            setting, inputs = chosen.choose(twin, sigma)
            if len(evidence) + len(inputs) > self.queries:
                break
            evidence.add(setting, run.query(_query(knobs, setting, inputs), purpose="calibrate"))
            chi, accepted = refit(twin, evidence, rng, accepted)
            doubts.append((len(evidence), chosen.doubt(twin)))
            if doubts[-1][1] < self.certain:
                break
        fresh = Evidence()
        for setting, inputs in chosen.at_random(self.parity, INPUTS):
            fresh.add(setting, run.query(_query(knobs, setting, inputs), purpose="parity"))
        self._report(run, twin, chi, fresh, doubts)
        run.event(EVENT, twin=twin.state(), settings=evidence.settings, doubt=doubts[-1][1])

    def _report(self, run: Run, twin: Twin, chi: float, fresh: Evidence, doubts: list[tuple[int, float]]) -> None:
        channels = run.device.channels
        reads = [c for kind in ("output", "node") for c in channels if c.kind == kind]
        settable = [c for kind in ("knob", "input") for c in channels if c.kind == kind]
        knobs, inputs, measured, sigma = fresh.rows()
        foretold, by = twin.sensitivity(knobs, inputs)
        width = np.sqrt(sigma**2 + np.einsum("brn,nm,brm->br", by, twin.covariance(), by))
        run.event(
            "figure", kind="curves", title="Doubt about the outputs, over the queries that it was fitted to",
            caption="The twin's own, median over settings at random, as a fraction of half the outputs' window.",
            curves=[{"label": "doubt", "x": [n for n, _ in doubts], "y": [d for _, d in doubts]}], log=True,
            levels={"enough": self.certain}, x_name="device queries", x_unit="", y_name="doubt", y_unit="",
        )  # fmt: skip
        rows, structure = [], []
        for k, read in enumerate(reads):
            known = np.isfinite(measured[:, k])
            if not known.any():
                continue
            run.event("figure", **_parity(read, foretold[known, k], measured[known, k], width[known, k]))
            misfit = measured[known, k] - foretold[known, k]
            run.event("figure", **_misfits(channels, read, inputs[known], misfit, width[known, k]))
            found = find_structure(
                misfit / width[known, k], np.hstack([knobs, inputs])[known], [c.name for c in settable]
            )
            structure += [f"{read.name}: {words}" for words in found]
            rows.append(
                [
                    read.name, str(int(known.sum())), format_quantity(float(np.sqrt(np.mean(misfit**2))), read.unit, 3),
                    format_quantity(float(np.median(sigma[known, k])), read.unit, 3),
                    f"{np.mean((misfit / sigma[known, k]) ** 2):.2f}",
                    f"{np.mean((misfit / width[known, k]) ** 2):.2f}",
                    "; ".join(found) or "none seen",
                ]
            )  # fmt: skip
        columns = [
            "reading", "fresh queries", "rms misfit", "read noise", "chi-squared by noise alone",
            "chi-squared with the twin's doubt", "structure",
        ]  # fmt: skip
        run.event("table", title="Parity at settings that it was not fitted to", columns=columns, rows=rows)
        found = identifiability(twin)
        run.event(
            "table", title="Identifiability: what the readings have told of each parameter", folded=True,
            columns=["parameter", "estimate", "known to", "learnt"],
            rows=[[n, f"{value:+.2f}", f"{w:.2f}", word] for n, value, w, word in found["parameters"]],
        )  # fmt: skip
        output = np.isfinite(measured[:, : len(_scale(channels))])
        relative = ((measured - foretold)[:, : output.shape[1]] / _scale(channels))[output]
        rms = float(np.sqrt(np.mean(relative**2))) if relative.size else math.nan
        enough = doubts[-1][1] < self.certain
        message = (
            f"after {doubts[-1][0]} queries the twin doubts its outputs by {format_quantity(doubts[-1][1], '%', 2)} of "
            f"half their window{'' if enough else f', more than the {self.certain:g} asked for'}, and foretells fresh "
            f"ones to {format_quantity(rms, '%', 3)}; {found['learnt']} of {found['total']} parameters are learnt, and "
            f"{found['combinations']} combinations of them"
        )
        if chi > AGREES:
            message += f"; it misses what it was fitted to by more than noise (chi-squared per reading {chi:.1f}): "
            message += "the device has something that its file and `unknowns` do not"
        elif structure:
            message += f"; structure in what it misses: {'; '.join(structure)}"
        run.event(
            self.name, message=message, queries=doubts[-1][0], doubt=doubts[-1][1], enough=enough, rms=rms,
            chi_squared=chi, structure=structure, learnt=found["learnt"], combinations=found["combinations"],
        )  # fmt: skip


def identifiability(twin: Twin) -> dict[str, Any]:
    """What readings have told of a twin's parameters, all in units of their prior widths.

    parameters: (name, estimate, width now, word) of each, best known first; learnt: how many are known to SEEN or
    better; combinations: how many directions of the covariance are, which may be more, since a combination can be
    known of parameters that are not; total: of either.
    """
    rows = sorted(twin.parameters().items(), key=lambda item: item[1][2])
    words = [(name, value, now, _word(now)) for name, (value, _, now) in rows]
    spread = np.sqrt(np.maximum(np.linalg.eigvalsh(twin.covariance()), 0.0))
    learnt = sum(now < SEEN for _, _, now, _ in words)
    return {
        "parameters": words, "learnt": learnt, "combinations": int(np.sum(spread < SEEN)), "total": len(words),
    }  # fmt: skip


def _word(width: float) -> str:
    return "well" if width < 0.2 else "somewhat" if width < SEEN else "hardly" if width < 0.95 else "not at all"


def find_structure(pull: Floats, settings: Floats, names: Sequence[str]) -> list[str]:
    """In words: which of the settable channels the pulls (batch,) go with, by rank, and whether they have a mean.

    settings: (batch, n), one column for each of `names`. A pull is a misfit over its standard deviation, the twin's own
    doubt included: what it does not know is no structure.
    Spearman's rank correlation, Bonferroni's factor for the number of channels in SURE's confidence.
    """
    from scipy.stats import norm, spearmanr

    n = len(pull)
    found = []
    if n < 8:
        return found
    mean = float(pull.mean() / (pull.std(ddof=1) / math.sqrt(n)))
    if abs(mean) > SURE:
        found.append(f"off by {pull.mean():+.1f} sigma throughout")
    limit = 2.0 * norm.sf(SURE) / len(names)
    for column, name in enumerate(names):
        if np.ptp(settings[:, column]) == 0.0:
            continue
        result: Any = spearmanr(settings[:, column], pull)
        if result.pvalue < limit:
            found.append(f"goes with {name} (rank correlation {result.statistic:+.2f})")
    return found


def _parity(read: Channel, foretold: Floats, measured: Floats, width: Floats) -> dict[str, Any]:
    ends = [float(min(foretold.min(), measured.min())), float(max(foretold.max(), measured.max()))]
    return {
        "kind": "curves", "title": f"Parity of {read.name}",
        "caption": "Fresh settings at random. Bars: read noise and the twin's own doubt together.",
        "curves": [
            {"label": "device against twin", "x": foretold.tolist(), "y": measured.tolist(), "sigma": width.tolist(),
             "join": False},
            {"label": "equal", "x": ends, "y": ends},
        ],
        "x_name": f"{read.name}, twin", "x_unit": read.unit, "y_name": f"{read.name}, device", "y_unit": read.unit,
    }  # fmt: skip


def _misfits(
    channels: Sequence[Channel], read: Channel, inputs: Floats, misfit: Floats, width: Floats
) -> dict[str, Any]:
    first = next(c for c in channels if c.kind == "input")
    return {
        "kind": "curves", "title": f"What the twin misses of {read.name}",
        "caption": "Without structure the points scatter about zero by as much as their bars.",
        "curves": [
            {"label": "device less twin", "x": inputs[:, 0].tolist(), "y": misfit.tolist(), "sigma": width.tolist(),
             "join": False},
        ],
        "levels": {"zero": 0.0}, "x_name": first.name, "x_unit": first.unit,
        "y_name": f"{read.name}, device less twin", "y_unit": read.unit,
    }  # fmt: skip


def _scale(channels: Sequence[Channel]) -> Floats:
    """(n_outputs,): half of each output's window."""
    outputs = [c for c in channels if c.kind == "output"]
    for channel in outputs:
        if channel.window is None:
            raise ParameterError(f"{channel.name} has no window; add `window: [from, to]` to it in the station file")
    if not outputs:
        raise ParameterError("calibrate_twin needs an output; the station has none")
    return np.array([abs(c.window[1] - c.window[0]) / 2.0 for c in outputs if c.window])


def _query(names: Sequence[str], setting: Floats, inputs: Floats) -> Query:
    return Query(knobs=dict(zip(names, map(float, setting), strict=True)), inputs=inputs, reset="park")
