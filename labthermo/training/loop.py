"""The training loop: it owns the budget, the record and the score; a trainer only asks and is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labthermo.device import Query, Response, Status, channels_of
from labthermo.errors import InstrumentError, LimitError
from labthermo.expressivity import find_ndc, largest_drop
from labthermo.records.journal import Journal, is_counted
from labthermo.records.replay import as_response
from labthermo.run import Run
from labthermo.training.calibrated_twin import CalibratedTwin
from labthermo.training.claim import ORDERS, order_of, weigh
from labthermo.training.methods import Material, make_trainer
from labthermo.training.task import Task
from labthermo.training.trainer import Ask
from labthermo.twin import Twin

Floats = NDArray[np.float64]
LOST = 20  # answers in a row that could not be read, after which it makes no sense to ask on
DRIFT = "drift"  # purpose of the queries that ask the first setting again


@dataclass(frozen=True)
class Plan:
    """What a training is: enough, with the station's files, to start it again from its journal.

    reference_every: device queries after which the run's first setting and input are asked once more, for drift; 0:
    never. They count.
    start: a stored twin (:class:`labthermo.stored_twin.StoredTwin`, as a mapping) to start from; None: from the design.
    ablate: whether, after the training, the barriers are detuned to measure that the device is then monotone.
    reset: where inputs start from, ``park`` or ``each`` (see :class:`Query`), in every batch and in the score.
    """

    task: Task
    method: str
    budget: int
    seed: int
    start: Mapping[str, Any] | None = None
    reset: str = "park"
    ablate: bool = False
    reference_every: int = 0

    def header(self) -> dict[str, Any]:
        """For the journal's header, JSON-able."""
        return {
            "task": self.task.name,
            "method": self.method,
            "budget": self.budget,
            "seed": self.seed,
            "start": self.start,
            "reset": self.reset,
            "ablate": self.ablate,
            "reference_every": self.reference_every,
            "task_data": {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in asdict(self.task).items()},
        }

    @staticmethod
    def of(header: Mapping[str, Any]) -> Plan:
        """The plan that a journal's header holds."""
        data: dict[str, Any] = {
            k: np.array(v, dtype=float) if isinstance(v, list) else v for k, v in header["task_data"].items()
        }
        reset = header.get("reset", "park")  # runs before 0.1.0 had no other
        start, ablate = header.get("start"), bool(header.get("ablate", False))
        every = int(header.get("reference_every", 0))
        budget, seed = int(header["budget"]), int(header["seed"])
        return Plan(Task(**data), header["method"], budget, seed, start, reset, ablate, every)


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
    pumped: Sequence[str] | None = None,
) -> Outcome:
    """Train until the trainer has finished or the budget is spent, then score on the hold-out grid.

    Goes on where the run's journal ends: the trainer is restored from its last committed state, and inputs of an
    unfinished batch that are already committed are not asked again. `tell` is called with the phase, the device
    queries so far and the newest error. pumped: for the evidence, see :func:`labthermo.training.claim.weigh`.

    Raises
    ------
    InstrumentError: LOST answers in a row could not be read; what is committed can be gone on from.
    """
    journal = run.journal
    if plan.start is not None:
        twin.restore(plan.start["twin"])
    known = plan.start["settings"] if plan.start else ()
    trainer = make_trainer(plan.method, Material(plan.task, run.device, twin, plan.seed, known))
    saved = journal.trainer_state()
    told, lost = -1, 0  # number of the last answer that the trainer knows; answers in a row that could not be read
    if saved is not None:
        trainer.restore(saved["trainer"])
        told = int(saved["told"])
    referenced = max((p.number for p in journal.points() if p.purpose == DRIFT and p.number <= told), default=0)
    reason = "the trainer has finished"
    tell("screening on the twin", journal.queries(), None)
    while (ask := trainer.ask()) is not None:
        if (reference := _reference(journal, plan.reference_every, told, referenced)) is not None:
            if told + 2 > plan.budget:
                reason = _spent(plan.budget, told + 1, 1)
                break
            response = _complete(run, Ask(-1, reference, DRIFT), told, plan.reset)
            if any(s is Status.TRIPPED for s in response.status):
                reason = "an interlock has tripped"
                break
            told = referenced = journal.last_number()
            journal.save_trainer({"trainer": trainer.state(), "told": told})
            continue
        # not counted twice: what a crash left of this very batch is in the journal already
        if told + 1 + len(np.asarray(ask.query.inputs)) > plan.budget:
            reason = _spent(plan.budget, told + 1, len(np.asarray(ask.query.inputs)))
            break
        response = _complete(run, ask, told, plan.reset)
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
        lost = lost + len(response) if set(response.status) == {Status.ABANDONED} else 0
        if lost >= LOST:
            raise InstrumentError(
                f"none of the last {lost} inputs could be answered: something cannot be read, such as a reader with "
                "its lid open; look at the bench, then resume this run"
            )
    run.record_usage("training")  # what follows is no part of its cost
    tell("scoring", journal.queries(), None)
    knobs, read_out = trainer.result(), getattr(trainer, "read_out", None)  # only a reservoir's trainer has one
    task = plan.task
    rmse = accuracy = floor = bound = None
    if reason != "an interlock has tripped":
        response = _scan(run, plan, knobs, "score", "up")
        rmse, accuracy = _score(run, task, response, read_out)
        if read_out is None and task.targets.shape[1] == 1:
            tell("asking for evidence", journal.queries(), None)
            scans = {"up": response}
            for kind in ORDERS[1:]:
                scans[kind] = _scan(run, plan, knobs, f"evidence {kind}", kind)
            tolerance = float(journal.header.get("tolerance") or 0.0)
            ablation = _ablation(run, plan, twin, knobs) if plan.ablate else None
            found = weigh(task, run.device.channels, scans, tolerance, twin.couplings(), plan.reset, pumped, ablation)
            run.event("evidence", **found)
    if read_out is None:  # what a digital layer behind the device makes of it has no floor
        floor, bound = task.floor(), task.floor_accuracy()
    if task.targets.shape[1] == 1 and read_out is None:
        _describe(run, plan, twin, control_twin, knobs)
    elif task.classes and task.targets.shape[1] > 1:
        _compare(run, plan)
    _describe_drift(run)
    run.event("end", reason=reason, knobs=knobs)
    return Outcome(rmse, floor, accuracy, bound, reason)


def _ablation(run: Run, plan: Plan, twin: Twin, knobs: Mapping[str, float]) -> Response | None:
    """The scored inputs with the barriers detuned so that the device can have no NDC, then one back at `knobs`.

    None, and an event that says why, where the knobs do not reach so far.
    """
    channels = channels_of(run.device, "knob")
    at, low, high = (np.array(v) for v in zip(*((knobs[c.name], c.minimum, c.maximum) for c in channels), strict=True))
    found = twin.detuned(at, low, high)
    if found is None:
        run.event(
            "ablation", done=False, reason="no setting of barriers within the limits leaves every dot without NDC"
        )
        return None
    try:
        response = _scan(
            run, plan, {c.name: float(v) for c, v in zip(channels, found, strict=True)}, "evidence detuned"
        )
    except LimitError as error:
        run.event("ablation", done=False, reason=str(error))
        return None
    back = Query(knobs=knobs, inputs=plan.task.score_inputs[:1])
    _complete(run, Ask(-1, back, "evidence back"), _last_training(run.journal), plan.reset)
    return response


def _scan(run: Run, plan: Plan, knobs: Mapping[str, float], purpose: str, kind: str = "up") -> Response:
    """Ask the hold-out grid (not counted) in this order; the answers with their rows as the task lists them."""
    order = order_of(kind, len(plan.task.score_inputs), plan.seed)
    query = Query(knobs=knobs, inputs=plan.task.score_inputs[order])
    found = _complete(run, Ask(-1, query, purpose), _last_training(run.journal), plan.reset)
    back = np.argsort(order)
    names = ("outputs", "nodes", "sigma", "node_sigma", "settle_time", "inputs")
    status = tuple(found.status[k] for k in back)
    return replace(found, status=status, **{name: getattr(found, name)[back] for name in names})


def _reference(journal: Journal, every: int, told: int, referenced: int) -> Query | None:
    """The run's first setting and input once more, if that is due after query `told`; last asked as `referenced`."""
    if every <= 0 or told + 1 - referenced < every:
        return None
    first = next(p for p in journal.points() if p.number == 0)
    nudge = None if first.nudge is None else np.array([first.nudge])
    return Query(first.knobs_asked, np.array([first.inputs_asked]), nudge, reset="park")


def _describe_drift(run: Run) -> None:
    """A figure of the readings of the run's first setting and input over its queries."""
    points = [p for p in run.journal.points() if p.number == 0 or p.purpose == DRIFT]
    reads = [c for kind in ("output", "node") for c in run.device.channels if c.kind == kind]
    if len(points) < 2:
        return
    found = []
    for k, read in enumerate(reads):
        value = np.array([[*p.outputs, *p.nodes][k] for p in points])
        sigma = np.array([[*p.sigma, *p.node_sigma][k] for p in points])
        width = np.sqrt(sigma[1:] ** 2 + sigma[0] ** 2)
        known = np.isfinite(value[1:] - value[0]) & (width > 0.0)  # a simulation without noise has no width
        if not known.any():
            continue
        change = np.abs(value[1:] - value[0])[known] / width[known]
        found.append((float(np.max(change)), read.name))
        numbers = [p.number for p in points]
        run.event(
            "figure", kind="curves", title=f"Drift of {read.name}",
            caption="The run's first setting and input, asked once more from time to time.",
            curves=[{"label": "measured", "x": numbers, "y": value.tolist(), "sigma": sigma.tolist()}],
            levels={"at first": float(value[0])}, x_name="device queries", x_unit="", y_name=read.name,
            y_unit=read.unit,
        )  # fmt: skip
    if found:
        largest, name = max(found)
        run.event(DRIFT, references=len(points) - 1, largest=largest, reading=name)


def _spent(budget: int, asked: int, wanted: int) -> str:
    """Why it ends, `asked` queries having been asked, where the next step takes `wanted`."""
    if asked >= budget:
        return f"the budget of {budget} device queries is spent"
    return f"the next step takes {wanted} device queries, and {budget - asked} of the budget of {budget} are left"


def _complete(run: Run, ask: Ask, told: int, reset: str) -> Response:
    """The whole answer to an ask: what the journal already has of it, then the rest from the device."""
    ask = replace(ask, query=replace(ask.query, reset=reset))
    before = [p for p in run.journal.points(after=told) if p.purpose == ask.phase]
    inputs = np.asarray(ask.query.inputs)
    parts = [as_response(before)] if before else []
    if len(before) < len(inputs):
        nudge = None if ask.query.nudge is None else np.asarray(ask.query.nudge)[len(before) :]
        rest = Query(knobs=ask.query.knobs, inputs=inputs[len(before) :], nudge=nudge, reset=ask.query.reset)
        parts.append(run.query(rest, purpose=ask.phase))
    return Response.join(parts)


def _score(
    run: Run, task: Task, response: Response, read_out: Callable[[Response], Floats] | None
) -> tuple[float | None, float | None]:
    """Record the fit on the hold-out grid; RMSE and accuracy.

    NaN readings count as the worst of the range, and as wrong. read_out: of a reservoir, from all readings.
    """
    outputs = response.outputs if read_out is None else read_out(response)
    missing = ~np.isfinite(outputs)
    if missing.all():
        return None, None
    worst = task.score_targets + task.amplitude * 2.0
    rmse, accuracy = task.score(np.where(missing, worst, outputs)), task.accuracy(outputs)
    bare = read_out is None
    floor, bound, fit = (task.floor(), task.floor_accuracy(), task.floor_fit()) if bare else (None, None, None)
    channels = run.device.channels
    for k, output in enumerate(c for c in channels if c.kind == "output"):
        run.event(
            "fit",
            input=", ".join(c.name for c in channels if c.kind == "input"),
            output=output.name,
            inputs=task.score_inputs.tolist(),
            target=task.score_targets[:, k].tolist(),
            measured=outputs[:, k].tolist(),
            sigma=response.sigma[:, k].tolist() if read_out is None else None,
            monotone=None if fit is None else fit.tolist(),
            amplitude=task.amplitude,
            rmse=rmse,
            floor=floor,
            accuracy=accuracy,
            floor_accuracy=bound,
            read_out=read_out is not None,
        )
    return rmse, accuracy


def _compare(run: Run, plan: Plan) -> None:
    """What a computer makes of a data set on the same split, for the report."""
    from labthermo.training.datasets import baselines

    found = baselines(plan.task, plan.seed)
    rows = [[name, f"{100 * share:.1f} %"] for name, share in found.items()]
    run.event("table", title="Without the device, on the same inputs and split", columns=["", "right"], rows=rows)
    run.event("baselines", accuracy=found)


def _last_training(journal: Journal) -> int:
    return max((p.number for p in journal.points() if is_counted(p.purpose)), default=-1)


def _regions(at: Floats, flow: Floats) -> list[dict[str, float]]:
    """Where a curve without noise falls."""
    return [{"start": r.start, "stop": r.stop, "confidence": r.confidence} for r in find_ndc(at, flow, 0.0)]


def _describe(run: Run, plan: Plan, twin: Twin, control_twin: Callable[[], Twin], knobs: Mapping[str, float]) -> None:
    """What the twin has learnt, its conductors' NDC, and the NDC-off ablation on a twin."""
    channels = run.device.channels
    setting = np.array([knobs[c.name] for c in channels if c.kind == "knob"])
    bias = max(abs(v) for c in channels_of(run.device, "input") for v in (c.window or (c.minimum, c.maximum)))
    for label, volts, current in twin.conductor_curves(setting, 1.5 * bias):
        curve = {"voltage": volts.tolist(), "current": current.tolist()}
        run.event("iv", label=label, **curve, sigma=None, source="twin", regions=_regions(volts, current))
    for label, substrate, amounts, rate in twin.reaction_curves(setting, plan.task.score_inputs):
        curve = {"substrate": substrate, "concentration": amounts.tolist(), "rate": rate.tolist()}
        run.event("iv", label=label, **curve, sigma=None, source="twin", regions=_regions(amounts, rate))
    run.event("parameters", **{name: list(row) for name, row in twin.parameters().items()})
    if not run.journal.header.get("control"):
        ablated = control_twin()
        best = CalibratedTwin(channels, plan.task, ablated, plan.seed).screened()
        answer = ablated.respond(np.tile(best, (len(plan.task.score_inputs), 1)), plan.task.score_inputs)
        answer = answer[:, : plan.task.score_targets.shape[1]]
        source = "a twin of the NDC-off sample as designed, with the same knobs, trained without device queries"
        drop = largest_drop(plan.task.score_inputs, answer[:, 0], 0.0, plan.task.increasing)
        run.event(
            "control",
            drop=drop.size / plan.task.amplitude,
            rmse=plan.task.score(answer),
            floor=plan.task.floor(),
            accuracy=plan.task.accuracy(answer),
            floor_accuracy=plan.task.floor_accuracy(),
            source=source,
        )
