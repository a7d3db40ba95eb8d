"""The training loop: it owns the budget, the record and the score; a trainer only asks and is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from labthermo.device import Query, Response, Status, channels_of
from labthermo.expressivity import find_ndc
from labthermo.records.journal import Journal
from labthermo.records.replay import as_response
from labthermo.run import Run
from labthermo.training.calibrated_twin import CalibratedTwin
from labthermo.training.methods import Material, make_trainer
from labthermo.training.task import Task
from labthermo.training.trainer import Ask
from labthermo.twin import Twin


@dataclass(frozen=True)
class Plan:
    """What a training is: enough, with the station's files, to start it again from its journal.

    start: a stored twin (:class:`labthermo.stored_twin.StoredTwin`, as a mapping) to start from; None: from the design.
    """

    task: Task
    method: str
    budget: int
    seed: int
    start: Mapping[str, Any] | None = None

    def header(self) -> dict[str, Any]:
        """For the journal's header, JSON-able."""
        return {
            "task": self.task.name,
            "method": self.method,
            "budget": self.budget,
            "seed": self.seed,
            "start": self.start,
            "task_data": {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in asdict(self.task).items()},
        }

    @staticmethod
    def of(header: Mapping[str, Any]) -> Plan:
        """The plan that a journal's header holds."""
        data: dict[str, Any] = {
            k: np.array(v, dtype=float) if isinstance(v, list) else v for k, v in header["task_data"].items()
        }
        return Plan(Task(**data), header["method"], int(header["budget"]), int(header["seed"]), header.get("start"))


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    rmse: on the hold-out grid, fraction of the amplitude, None if nothing could be scored. accuracy: share of it that
    was put into its class, None where the task has none. The floors are what no monotone device can pass.
    """

    rmse: float | None
    floor: float | None
    accuracy: float | None
    floor_accuracy: float | None
    reason: str


def train(
    run: Run,
    plan: Plan,
    twin: Twin,
    control_twin: Callable[[], Twin],
    tell: Callable[[str, int, float | None], None] = lambda phase, queries, rmse: None,
) -> Outcome:
    """Train until the trainer has finished or the budget is spent, then score on the hold-out grid.

    Goes on where the run's journal ends: the trainer is restored from its last committed state, and inputs of an
    unfinished batch that are already committed are not asked again. `tell` is called with the phase, the device
    queries so far and the newest error.
    """
    journal = run.journal
    if plan.start is not None:
        twin.restore(plan.start["twin"])
    known = plan.start["settings"] if plan.start else ()
    trainer = make_trainer(plan.method, Material(plan.task, run.device, twin, plan.seed, known))
    saved = journal.trainer_state()
    told = -1
    if saved is not None:
        trainer.restore(saved["trainer"])
        told = int(saved["told"])
    reason = "the trainer has finished"
    tell("screening on the twin", journal.queries(), None)
    while (ask := trainer.ask()) is not None:
        # not counted twice: what a crash left of this very batch is in the journal already
        if told + 1 + len(np.asarray(ask.query.inputs)) > plan.budget:
            reason = f"the budget of {plan.budget} device queries is spent"
            break
        response = _complete(run, ask, told)
        if any(s is Status.TRIPPED for s in response.status):
            reason = "an interlock has tripped"
            break
        progress = trainer.tell(response)
        told = journal.last_number()
        with journal.transaction():
            take = getattr(trainer, "take_events", None)  # what only some methods notice, such as a charge jump
            for kind, detail in take() if take is not None else ():
                journal.event(kind, queries=journal.queries(), **detail)
            journal.save_trainer({"trainer": trainer.state(), "told": told})
            if progress is not None:
                journal.event(
                    "progress", queries=journal.queries(), rmse=progress.rmse, best=progress.best, phase=ask.phase
                )
        tell(ask.phase, journal.queries(), None if progress is None else progress.rmse)
    tell("scoring", journal.queries(), None)
    knobs = trainer.result()
    rmse, accuracy = (None, None) if reason == "an interlock has tripped" else _score(run, plan.task, knobs)
    _describe(run, plan, twin, control_twin, knobs)
    run.event("end", reason=reason, knobs=knobs)
    return Outcome(rmse, plan.task.floor(), accuracy, plan.task.floor_accuracy(), reason)


def _complete(run: Run, ask: Ask, told: int) -> Response:
    """The whole answer to an ask: what the journal already has of it, then the rest from the device."""
    before = [p for p in run.journal.points(after=told) if p.purpose == ask.phase]
    inputs = np.asarray(ask.query.inputs)
    parts = [as_response(before)] if before else []
    if len(before) < len(inputs):
        nudge = None if ask.query.nudge is None else np.asarray(ask.query.nudge)[len(before) :]
        rest = Query(knobs=ask.query.knobs, inputs=inputs[len(before) :], nudge=nudge, reset=ask.query.reset)
        parts.append(run.query(rest, purpose=ask.phase))
    return Response.join(parts)


def _score(run: Run, task: Task, knobs: Mapping[str, float]) -> tuple[float | None, float | None]:
    """Ask the hold-out grid (not counted) and record the fit; RMSE and accuracy.

    NaN readings count as the worst of the range, and as wrong.
    """
    query = Query(knobs=knobs, inputs=task.score_inputs, reset="park")
    response = _complete(run, Ask(-1, query, "score"), _last_training(run.journal))
    outputs = response.outputs
    missing = ~np.isfinite(outputs)
    if missing.all():
        return None, None
    worst = task.score_targets + task.amplitude * 2.0
    rmse, accuracy = task.score(np.where(missing, worst, outputs)), task.accuracy(outputs)
    fit = task.floor_fit()
    channels = run.device.channels
    for k, output in enumerate(c for c in channels if c.kind == "output"):
        run.event(
            "fit",
            input=", ".join(c.name for c in channels if c.kind == "input"),
            output=output.name,
            inputs=task.score_inputs.tolist(),
            target=task.score_targets[:, k].tolist(),
            measured=outputs[:, k].tolist(),
            sigma=response.sigma[:, k].tolist(),
            monotone=None if fit is None else fit.tolist(),
            amplitude=task.amplitude,
            rmse=rmse,
            floor=task.floor(),
            accuracy=accuracy,
            floor_accuracy=task.floor_accuracy(),
        )
    return rmse, accuracy


def _last_training(journal: Journal) -> int:
    return max((p.number for p in journal.points() if p.purpose != "score"), default=-1)


def _describe(run: Run, plan: Plan, twin: Twin, control_twin: Callable[[], Twin], knobs: Mapping[str, float]) -> None:
    """What the twin has learnt, its conductors' NDC, and the NDC-off ablation on a twin."""
    channels = run.device.channels
    setting = np.array([knobs[c.name] for c in channels if c.kind == "knob"])
    bias = max(abs(v) for c in channels_of(run.device, "input") for v in (c.window or (c.minimum, c.maximum)))
    for label, volts, current in twin.conductor_curves(setting, 1.5 * bias):
        regions = find_ndc(volts, current, 0.0)
        run.event(
            "iv",
            label=label,
            voltage=volts.tolist(),
            current=current.tolist(),
            sigma=None,
            source="twin",
            regions=[{"start": r.start, "stop": r.stop, "confidence": r.confidence} for r in regions],
        )
    run.event("parameters", **{name: list(row) for name, row in twin.parameters().items()})
    if not run.journal.header.get("control"):
        ablated = control_twin()
        best = CalibratedTwin(channels, plan.task, ablated, plan.seed).screened()
        answer = ablated.respond(np.tile(best, (len(plan.task.score_inputs), 1)), plan.task.score_inputs)
        answer = answer[:, : plan.task.score_targets.shape[1]]
        source = "a twin of the NDC-off sample as designed, with the same knobs, trained without device queries"
        run.event(
            "control",
            rmse=plan.task.score(answer),
            floor=plan.task.floor(),
            accuracy=plan.task.accuracy(answer),
            floor_accuracy=plan.task.floor_accuracy(),
            source=source,
        )
