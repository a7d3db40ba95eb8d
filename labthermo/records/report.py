"""The report of a run: one web page with plots, made from its journal alone, complete without any network."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from labthermo.errors import RecordError
from labthermo.quantity import format_quantity
from labthermo.records import figures
from labthermo.records.index import newest_rmse, outcome_now
from labthermo.records.journal import Event, Journal

TEMPLATE = "report.html.j2"
_BACKENDS = {"wire": "wire twin", "model": "model"}
_DRAWN = (
    "twin",
    "unit",
    "progress",
    "fit",
    "evidence",
    "iv",
    "control",
    "parameters",
    "figure",
    "table",
    "surroundings",
    "usage",
)
_MEANING = {
    "settled": "came to rest within the tolerance",
    "unsettled": "still moving when the time was up",
    "oscillating": "swings and does not come to rest",
    "bistable": "two resting states; the answer depends on the past",
    "overflow": "beyond the meter's range",
    "compliance": "a source was limiting its current",
    "tripped": "a protection acted",
    "abandoned": "given up before it was read",
    "timed": "read at the time that was asked for, at rest or not",
}
_SHOWN_EVENTS = 200
_SHOWN_OUTPUTS = 4
_ORDERS = {"up": "upwards, as scored", "down": "downwards", "random": "in random order"}


@dataclass
class Figure:
    """A drawing with its caption."""

    svg: str
    caption: str
    simulated: bool = False


@dataclass
class Table:
    """What a procedure has put in rows; folded: not shown before it is asked for."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    folded: bool = False


@dataclass
class Page:
    """What the template shows; empty parts are left out."""

    run: str
    banner: str
    facts: list[tuple[str, str]] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    errors: list[tuple[str, str, str]] = field(default_factory=list)
    fits: list[Figure] = field(default_factory=list)
    evidence: list[Figure | Table] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    findings: list[Figure | Table] = field(default_factory=list)
    progress: list[Figure] = field(default_factory=list)
    ivs: list[Figure] = field(default_factory=list)
    ivs_title: str = "Current against voltage"
    statuses: list[tuple[str, int, str, str]] = field(default_factory=list)
    purposes: list[tuple[str, int]] = field(default_factory=list)
    settling: list[tuple[str, str]] = field(default_factory=list)
    parameters: list[tuple[str, str, str, str]] = field(default_factory=list)
    events: list[tuple[str, str, str]] = field(default_factory=list)
    events_left_out: int = 0
    provenance: list[tuple[str, str]] = field(default_factory=list)
    tables: list[tuple[str, list[tuple[str, str]]]] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


def write_report(folder: Path) -> Path:
    """Write `report.html` into the run's folder, from its journal alone, and give its path.

    Raises
    ------
    RecordError: the journal cannot be read, or the file not written.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = Path(folder)
    journal = Journal.open(folder, writable=False)
    try:
        page = _page(journal)
    finally:
        journal.close()
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    path = folder / "report.html"
    _replace(path, environment.get_template(TEMPLATE).render(page=page))
    return path


def write_summary(folder: Path, summary: Mapping[str, Any]) -> Path:
    """Write `summary.json` into the run's folder, and give its path.

    Holds `summary`, and from the journal whatever of ``run, backend, simulated, task`` or ``procedure, method, seed,
    queries, rmse, floor, statuses, seconds, outcome`` it leaves out; of a training ``monotone``, which way an answer
    without NDC goes; of a procedure ``found``, its results in SI. ``run``, ``backend`` and ``simulated`` are always the
    journal's. A number that is not finite becomes null. The file is replaced whole or not at all.

    Raises
    ------
    RecordError: the journal cannot be read, or the file not written.
    """
    folder = Path(folder)
    journal = Journal.open(folder, writable=False)
    try:
        header = journal.header
        kind = "procedure" if "procedure" in header and "task" not in header else "task"
        known = {
            kind: header.get(kind),
            "method": header.get("method"),
            "seed": header.get("seed"),
            **_memory(journal),
            "queries": journal.queries(),
            "rmse": newest_rmse(journal),
            "floor": _newest_floor(journal),
            "statuses": journal.statuses(),
            "seconds": _seconds(journal),
            "outcome": outcome_now(folder, journal.outcome),
        }
        if "task_data" in header:
            known["monotone"] = monotone_way(header)
        if kind == "procedure" and (found := [e.detail for e in journal.events(str(header[kind]))]):
            known["found"] = found
        if usage := _usage(journal):
            known["usage"] = usage
        if (ends := journal.events("end")) and "reason" in ends[-1].detail:
            known["reason"] = ends[-1].detail["reason"]
    finally:
        journal.close()
    record = {"run": folder.name, "backend": header["backend"], "simulated": header["backend"] != "real"}
    path = folder / "summary.json"
    _replace(path, json.dumps(_strict({**record, **known, **summary, **record}), indent=2, allow_nan=False) + "\n")
    return path


def monotone_way(header: Mapping[str, Any]) -> str:
    """Which way an answer without NDC goes as its inputs rise, as the header of a training has it."""
    return "rises" if header.get("task_data", {}).get("increasing", True) else "falls"


def banner_of(backend: Any) -> str:
    """What stands in colour at the top: empty for the backend ``real`` and for nothing else."""
    return "" if backend == "real" else f"SIMULATED: {_BACKENDS.get(backend, f'unknown backend {backend!r}')}"


def _page(journal: Journal) -> Page:
    header = journal.header
    page = Page(run=journal.folder.name, banner=banner_of(header.get("backend")))
    units = _units(header)
    parts: list[tuple[str, Callable[[], None]]] = [
        ("fit", lambda: _add_fits(page, journal.events("fit"), units, monotone_way(header))),
        ("control", lambda: _add_control(page, journal.events("control"))),
        ("evidence", lambda: _add_evidence(page, journal, units)),
        ("progress", lambda: _add_progress(page, journal)),
        ("iv", lambda: _add_ivs(page, journal.events("iv"))),
        ("parameters", lambda: _add_parameters(page, journal.events("parameters"))),
        ("figure or table", lambda: _add_figures(page, journal.events())),
        (str(header.get("procedure")), lambda: _add_findings(page, journal)),
    ]
    for kind, add in parts:
        try:
            add()
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError) as error:
            page.complaints.append(f"An event '{kind}' could not be shown ({type(error).__name__}: {error}).")
    _add_facts(page, journal)
    _add_behaviour(page, journal)
    _add_events(page, journal)
    _add_provenance(page, header)
    return page


def _add_facts(page: Page, journal: Journal) -> None:
    header = journal.header
    for name in ("task", "procedure", "method"):
        if header.get(name):
            page.facts.append((name.capitalize(), str(header[name])))
    if start := header.get("start"):
        words = f"the twin that run {start['run']} calibrated with {start['queries']} queries, not counted here"
        page.facts.append(("Started from", words))
    rmse, floor = newest_rmse(journal), _newest_floor(journal)
    if rmse is not None:
        page.facts.append(("Error", percent(rmse)))
    if floor is not None:
        page.facts.append(("Floor without NDC", percent(floor)))
    page.facts.append(("Device queries", f"{journal.queries():,}".replace(",", " ")))
    page.facts.append(("Duration", duration(_seconds(journal))))
    watched = [e.detail for e in journal.events("surroundings")]
    for name, (_, unit) in (watched[-1] if watched else {}).get("monitors", {}).items():
        values = [float(d["monitors"][name][0]) for d in watched if name in d["monitors"]]
        known = [value for value in values if math.isfinite(value)]
        span = " to ".join(format_quantity(end(known), unit) for end in (min, max)) if known else "never measured"
        page.facts.append((name, span))
    if usage := _usage(journal):
        trained = usage.get("training")
        least = "" if usage["complete"] else "at least "  # a session that was killed has not told

        def add(name: str, words: Callable[[dict[str, Any]], str]) -> None:
            of_it = f", of it for training {words(trained)}" if trained else ""
            page.facts.append((name, least + words(usage) + of_it))

        add("Readings of all meters", lambda of: f"{of['reads']:,}".replace(",", " "))
        add("Time on the bench", lambda of: duration(of["seconds"]))
        for pump in usage["delivered"]:
            add(f"Pumped by {pump}", lambda of, pump=pump: format_quantity(of["delivered"][pump], "L", 3))
        for pump, refill in usage["refills"].items():
            times = "once" if refill["times"] == 1 else f"{refill['times']} times"
            page.facts.append((f"Refilled {pump}", f"{times}, {format_quantity(refill['volume'], 'L', 3)}"))
    page.facts.append(("Outcome", outcome_now(journal.folder, journal.outcome)))


def _usage(journal: Journal) -> dict[str, Any]:
    """What a run has used up: reads, seconds of bench time, and L by pump; empty without a bench.

    ``refills``: of each syringe that was refilled, how often and how much, L. ``training``: the use for the training
    alone, where there was one. ``complete``: false where a session was killed before it could say what it had used up.
    """
    events, refills = journal.events("usage"), journal.events("refill")
    if not events and not refills:
        return {}
    sessions = 1 + len(journal.events("resumed"))
    told = sum(not event.detail.get("of") for event in events)
    filled: dict[str, dict[str, float]] = {}
    for event in refills:
        for pump, volume in event.detail["volumes"].items():
            known = filled.setdefault(pump, {"times": 0, "volume": 0.0})
            known["times"] += 1
            known["volume"] += float(volume)
    found = {**_sum(events), "refills": filled, "complete": told >= sessions}
    trained = [event for event in events if event.detail.get("of") == "training"]
    return {**found, "training": _sum(trained)} if trained else found


def _sum(usages: Sequence[Event]) -> dict[str, Any]:
    found: dict[str, Any] = {"reads": 0, "seconds": 0.0, "delivered": {}}
    for event in usages:
        found["reads"] += int(event.detail["reads"])
        found["seconds"] += float(event.detail["seconds"])
        for pump, volume in event.detail["delivered"].items():
            found["delivered"][pump] = found["delivered"].get(pump, 0.0) + float(volume)
    return found


def _add_fits(page: Page, events: Sequence[Event], units: Mapping[str, str], way: str) -> None:
    newest = {str(e.detail.get("output")): e.detail for e in events}
    for name, fit in list(newest.items())[:_SHOWN_OUTPUTS]:
        several = np.ndim(fit["inputs"]) == 2 and np.shape(fit["inputs"])[1] > 1
        svg = figures.fit(fit, units)
        caption = f"{name}: measured against the target, on the hold-out grid. "
        caption += "Points on the diagonal are exact answers. " if several else ""
        if fit.get("monotone") is not None:
            caption += "Grey is the best monotone answer: all that a device without NDC could give."
        page.fits.append(Figure(svg, caption))
        rmse, floor = _number(fit.get("rmse")), _number(fit.get("floor"))
        together = len(newest) > 1 and _number(fit.get("accuracy")) is not None  # compared: one error for all
        if rmse is not None and not (together and page.errors):
            what = "The trained device" if len(newest) == 1 or together else f"The trained device, output {name},"
            sentence = f"{what} follows its target to {percent(rmse)} of the amplitude (root mean square error)."
            if floor is not None:
                verdict = "beats" if rmse < floor else "does not beat"
                verb = way.removesuffix("s")
                sentence += (
                    f" Without negative differential conductance (NDC) an answer can only {verb} as its"
                    f" input rises, and the best answer that only {way} is off by {percent(floor)}: this device"
                    f" {verdict} that floor."
                )
            page.sentences.append(sentence)
            page.errors.append((what.rstrip(","), percent(rmse), "" if floor is None else percent(floor)))
    classified = next(iter(newest.values()), {})
    accuracy, bound = _number(classified.get("accuracy")), _number(classified.get("floor_accuracy"))
    if classified.get("read_out"):
        page.sentences.append(
            "Reservoir computing: the device was left as it is, and a linear read-out of all its readings was trained, "
            "with weights of either sign. Such a read-out passes a monotone floor behind a monotone device too: this "
            "is no evidence for NDC."
        )
    if accuracy is not None:
        best = "" if bound is None else f"; the best answer that only {way}, with any threshold, {percent(bound)}"
        page.sentences.append(f"It puts {percent(accuracy)} of the points into their class{best}.")


def _add_control(page: Page, events: Sequence[Event]) -> None:
    for detail in [e.detail for e in events][-1:]:
        rmse, floor = _number(detail["rmse"]), _number(detail.get("floor"))
        source, accuracy = str(detail.get("source", "not stated")), _number(detail.get("accuracy"))
        if rmse is None:
            return
        page.sentences.append(
            f"Control: the same network with its negative differential conductance off reaches {percent(rmse)}"
            + ("" if accuracy is None else f", and {percent(accuracy)} of the points in their class")
            + f" (source: {source})."
        )
        page.errors.append(
            (f"Same network, NDC off ({source})", percent(rmse), "" if floor is None else percent(floor))
        )


def _add_evidence(page: Page, journal: Journal, units: Mapping[str, str]) -> None:
    """The newest evidence: scans in three orders beside floor and ablation, I-V, memory, couplings, loopholes."""
    events, fits, controls = (journal.events(kind) for kind in ("evidence", "fit", "control"))
    if not events or not fits:
        return
    detail, fit = events[-1].detail, fits[-1].detail
    start = "every input from zero" if detail["policy"] == "each" else "each input from where the one before it ended"

    def cells(row: Mapping[str, Any]) -> list[str]:
        shares = [_number(row.get(name)) for name in ("rmse", "accuracy", "drop")]
        ratio, sure = _number(row.get("ratio")), _number(row.get("confidence"))
        rest = ["" if ratio is None else f"{ratio:.1f}", "" if sure is None else percent(sure)]
        return ["" if share is None else percent(share) for share in shares] + rest

    rows = [[f"the device, inputs {_ORDERS[row['order']]}", *cells(row)] for row in detail["scans"]]
    if detail.get("ablation"):
        rows.append(["the device with its barriers detuned, so that no dot has NDC", *cells(detail["ablation"])])
    if controls:
        rows.append(["the same design with NDC off, on a twin", *cells(controls[-1].detail)])
    floors = {"rmse": fit.get("floor"), "accuracy": fit.get("floor_accuracy"), "drop": 0.0}
    rows.append(["the best monotone answer: the floor", *cells(floors)])
    columns = ["", "error / amplitude", "right", "largest drop / amplitude", "over its standard error", "confidence"]
    page.evidence.append(Table(f"Scans of the scored inputs, {start}", columns, rows))
    name_in, name_out = str(fit["input"]), str(fit["output"])
    memory = detail["memory"]
    if memory["spans"]:
        word = "bistable" if memory["bistable"] else "not the same up and down (a lag or a drift, not two states)"
        unit = units.get(name_in.split(", ")[0], "")
        joint = " to " if ", " not in name_in else " with "
        places = [joint.join(format_quantity(v, unit) for v in span) for span in memory["spans"][:_SHOWN_OUTPUTS]]
        left = len(memory["spans"]) - len(places)
        size = format_quantity(memory["largest"], units.get(name_out, ""), 3)
        page.warnings.append(
            f"The device is {word} at {name_in} = {'; '.join(places)}{f' and {left} more' if left else ''}: the answer "
            f"depends on the way there by up to {size}, and so does the score. "
            "Declare where inputs start from (--reset each) and train again."
        )
    for name, verdict, why in detail["loopholes"]:
        if verdict == "YES":
            page.warnings.append(f"Loophole: {name} ({why}). A score below the floor is then no evidence for NDC.")
    if detail["iv"]:
        page.evidence += _measured_curves(detail["iv"])
    if detail["couplings"]:
        touched = [[c, i, f"{lever:g}", "yes" if ends else "NO"] for i, c, lever, ends in detail["couplings"]]
        columns = ["conductor", "input", "eV/V", "the input's line ends there"]
        page.evidence.append(Table("Coupling matrix as designed: what inputs do to levels", columns, touched))
    page.evidence.append(Table("Ways for a monotone device to pass the floor", ["", "found", ""], detail["loopholes"]))


def _measured_curves(found: Mapping[str, Any]) -> list[Figure | Table]:
    """The I-V curve in both directions, and its regions of NDC."""
    curves, rows, spans = [], [], []
    for curve in found["curves"]:
        wide = [1.96 * s for s in curve["sigma"]]
        curves.append({"label": curve["direction"], "x": curve["voltage"], "y": curve["current"], "sigma": wide})
        for start, stop, drop, sure in curve["regions"]:
            spans.append((start, stop))
            ends = [format_quantity(v, "V", 3) for v in (start, stop)]
            rows.append([curve["direction"], *ends, format_quantity(drop, "A", 3), percent(sure)])
    event = {"curves": curves, "spans": spans, "x_name": f"{found['from']} less {found['to']}", "x_unit": "V"}
    svg = figures.curves({**event, "y_name": f"current into {found['lead']}", "y_unit": "A"})
    caption = (
        f"Measured with the scored inputs, up and down, bars of 95 %: the current through what lies between "
        f"{found['from']} and {found['to']}, over the voltage across it (the input's less the output's: the load line "
        "is taken off). Shaded: negative differential conductance."
    )
    if not rows:
        return [Figure(svg, f"{caption} None was found.")]
    columns = ["inputs", "from", "to", "drop", "confidence"]
    return [Figure(svg, caption), Table("Negative differential conductance as measured", columns, rows)]


def _add_progress(page: Page, journal: Journal) -> None:
    steps = [e.detail for e in journal.events("progress") if _number(e.detail.get("rmse")) is not None]
    if not steps:
        return
    svg = figures.learning_curve(steps, _newest_floor(journal))
    page.progress.append(
        Figure(
            svg,
            "Error on the way, as a fraction of the amplitude, against device queries; the line is the best so far.",
        )
    )


def _add_ivs(page: Page, events: Sequence[Event]) -> None:
    newest = {(str(e.detail.get("label")), str(e.detail.get("source"))): e.detail for e in events}
    for (label, source), detail in newest.items():
        regions, unit = detail.get("regions") or [], "mol/L" if "rate" in detail else "V"
        if "rate" in detail:
            page.ivs_title = "Rate against concentration"
        spans = ", ".join(
            f"{format_quantity(float(r['start']), unit, 3)} to {format_quantity(float(r['stop']), unit, 3)}"
            f" (confidence {percent(float(r['confidence']))})"
            for r in regions
        )
        measured = "measured on the simulated device" if page.banner else "measured"
        made = {"twin": "calculated from the twin, not measured", "measured": measured}.get(source, source)
        found = f"Negative differential conductance, shaded: {spans}." if regions else "No NDC found."
        page.ivs.append(Figure(figures.current_voltage(detail), f"{label}: {made}. {found}", source == "twin"))


def _add_figures(page: Page, events: Sequence[Event]) -> None:
    """Figures and tables of a procedure, in its order; of those with one title the newest."""
    newest = {str(e.detail.get("title")): e for e in events if e.kind in ("figure", "table")}
    for title, event in newest.items():
        detail = event.detail
        if event.kind == "table":
            rows = [[str(cell) for cell in row] for row in detail["rows"]]
            page.findings.append(Table(title, [str(c) for c in detail["columns"]], rows, bool(detail.get("folded"))))
        else:
            svg = figures.map_of(detail) if detail["kind"] == "map" else figures.curves(detail)
            page.findings.append(Figure(svg, f"{title}. {detail.get('caption') or ''}".strip()))


def _add_findings(page: Page, journal: Journal) -> None:
    """What a procedure says of its own: the `message` of the events that bear its name; and loopholes of a training."""
    for event in journal.events("loophole"):
        page.sentences.append(f"LOOPHOLE: {event.detail['message']}.")
    for event in journal.events(str(journal.header.get("procedure"))):
        message = str(event.detail.get("message") or "")
        page.sentences += [f"{message[:1].upper()}{message[1:].rstrip('.')}."] if message else []


def _add_parameters(page: Page, events: Sequence[Event]) -> None:
    for event in events[-1:]:
        for name, values in sorted(event.detail.items()):
            value, prior, fitted = (_number_text(v) for v in (*values, None, None)[:3])
            page.parameters.append((name, value, prior, fitted))


def _add_behaviour(page: Page, journal: Journal) -> None:
    total = journal.count()
    page.statuses = [
        (status, number, percent(number / total), _MEANING.get(status, ""))
        for status, number in journal.statuses().items()
    ]
    lost = {status: number for status, number in journal.statuses().items() if status not in ("settled", "timed")}
    if 2 * sum(lost.values()) > total:
        why = ", ".join(f"{number} {status} ({_MEANING.get(status, 'of no use')})" for status, number in lost.items())
        page.warnings.append(f"Most answers were of no use: of {total}, {why}. Look at the bench and run it again.")
    page.purposes = list(journal.purposes().items())
    times = journal.settle_times()
    times = times[np.isfinite(times)]
    if times.size:
        for name, value in (
            ("median", np.median(times)),
            ("99 % below", np.percentile(times, 99)),
            ("worst", times.max()),
        ):
            page.settling.append((name, format_quantity(float(value), "s", 3)))


def _add_events(page: Page, journal: Journal) -> None:
    others = [e for e in journal.events() if e.kind not in _DRAWN]
    page.events_left_out = max(0, len(others) - _SHOWN_EVENTS)
    for event in others[-_SHOWN_EVENTS:]:
        detail = ", ".join(f"{name}: {_short(value)}" for name, value in event.detail.items())
        page.events.append((moment(event.time), event.kind, detail))


def _add_provenance(page: Page, header: Mapping[str, Any]) -> None:
    for name, value in header.items():
        if name == "start":
            continue  # among the facts
        if isinstance(value, Mapping):
            texts = {k: v for k, v in value.items() if isinstance(v, str) and "\n" in v}
            page.texts += [(f"{name}: {key}", text) for key, text in texts.items()]
            rest = [(str(k), _short(v)) for k, v in value.items() if k not in texts]
            if rest:
                page.tables.append((name, rest))
        elif isinstance(value, str) and "\n" in value:
            page.texts.append((name, value))
        elif name == "channels" and isinstance(value, list):
            page.tables.append((name, [(str(c.get("name")), _channel(c)) for c in value if isinstance(c, Mapping)]))
        else:
            page.provenance.append((name, _short(value)))


def _channel(channel: Mapping[str, Any]) -> str:
    unit = str(channel.get("unit", ""))
    low, high = _number(channel.get("minimum")), _number(channel.get("maximum"))
    limits = "" if low is None or high is None else f", {format_quantity(low, unit)} to {format_quantity(high, unit)}"
    return f"{channel.get('kind', '')} in {unit}{limits}"


def _units(header: Mapping[str, Any]) -> dict[str, str]:
    channels = header.get("channels")
    if not isinstance(channels, list):
        return {}
    return {str(c["name"]): str(c.get("unit", "")) for c in channels if isinstance(c, Mapping) and "name" in c}


def _newest_floor(journal: Journal) -> float | None:
    floors = [_number(e.detail.get("floor")) for e in journal.events("fit")]
    return next((f for f in reversed(floors) if f is not None), None)


def _memory(journal: Journal) -> dict[str, Any]:
    """Where a trained device was found with two states, by the input's name; nothing where it was not looked for."""
    events = journal.events("evidence")
    if not events:
        return {}
    memory = events[-1].detail["memory"]
    return {"bistable": memory["spans"] if memory["bistable"] else []}


def _seconds(journal: Journal) -> float:
    """Wall-clock time from the first to the last entry, in s."""
    try:
        start = datetime.fromisoformat(str(journal.header.get("created"))).timestamp()
    except ValueError:
        return 0.0
    last = journal.last_time()
    return 0.0 if last is None else max(0.0, last - start)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _number_text(value: Any) -> str:
    number = _number(value)
    return "–" if number is None else format_quantity(number, "")


def percent(fraction: float) -> str:
    """A fraction as a percentage with three digits, e.g. ``0.824 %``."""
    return format_quantity(fraction, "%", 3)


def duration(seconds: float) -> str:
    """A time span in words, e.g. ``2 h 05 min``."""
    if seconds < 60:
        return format_quantity(seconds, "s", 3)
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def moment(at: float) -> str:
    """A time (s since 1970, UTC) as date and time of day."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 300 else f"{text[:300]} …"


def _strict(value: Any) -> Any:
    """`value` as plain data of strict JSON: no NaN, no infinities, no numpy."""
    if isinstance(value, Mapping):
        return {str(k): _strict(v) for k, v in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _strict(value.tolist())
    if isinstance(value, list | tuple):
        return [_strict(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _replace(path: Path, text: str) -> None:
    """Put `text` in `path`, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise RecordError(f"{path} cannot be written ({error}); free disk space or make the folder writable") from error
    finally:
        temporary.unlink(missing_ok=True)
