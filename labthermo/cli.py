"""The command line: `labthermo --help`. Every import that costs time stands inside its command."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labthermo.training.methods import METHODS

if TYPE_CHECKING:
    from labthermo.config import StationConfig
    from labthermo.forecast import Forecast
    from labthermo.procedure import Procedure
    from labthermo.records.journal import Journal, Point
    from labthermo.run import Run
    from labthermo.station import Station
    from labthermo.study import Studied
    from labthermo.training.loop import Plan

app = typer.Typer(
    name="labthermo",
    help="Train physical devices where they stand, on the bench or on its wire twin.",
    epilog="Example: labthermo init lab, then labthermo train lab/station.yaml --task sine",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

StationFile = Annotated[Path, typer.Argument(help="the station file", show_default=False)]
BackendOption = Annotated[
    str | None, typer.Option("--backend", help="real, wire or model; default: what the station file says")
]
BenchOption = Annotated[
    str | None, typer.Option("--bench", help="HOST:PORT of a served bench to attach to (backend wire)")
]
ConfirmedOption = Annotated[
    bool, typer.Option("--confirmed", help="say that gains and dividers set by hand are as the station file has them")
]
ParameterOption = Annotated[
    list[str] | None, typer.Option("--parameter", "-p", help="name=value, with a unit; may be repeated")
]
ScorePoints = Annotated[
    int | None,
    typer.Option(
        min=11,
        help="of sine and band_pass: inputs at which the result is scored, in order and, for evidence, downwards and at"
        " random; on a slow bench 41 may do  [default: 201]",
    ),
]
RunsOption = Annotated[
    Path | None, typer.Option("--runs", help="where runs live; default: runs/ beside the station file, or here")
]
RunName = Annotated[str, typer.Argument(help="a run's name, as `labthermo runs` lists it", show_default=False)]


def main() -> None:
    """Entry point: bad input is one line on standard error and exit code 2, a signal exits with 128 + its number."""
    # typer keeps its own copy of click from some version on, and exports these classes through this one only
    usage_error: type[Exception] = typer.BadParameter.__mro__[1]
    complaint: type[Exception] = usage_error.__mro__[1]
    try:
        code = app(prog_name="labthermo", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except complaint as error:
        text = getattr(error, "format_message", error.__str__)()
        if text.startswith("Usage:"):  # no arguments at all
            print(text)
            sys.exit(2)
        _complain(f"{text.rstrip('.')}; see {_asked_command(error)} --help")
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except Exception as error:
        from labthermo.errors import LabThermoError

        if not isinstance(error, LabThermoError):
            raise
        _complain(str(error))


def _complain(message: str) -> None:
    print(f"labthermo: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


def _asked_command(error: BaseException) -> str:
    return getattr(getattr(error, "ctx", None), "command_path", "labthermo")


def _backend(name: str | None) -> Any:
    from labthermo.errors import ParameterError

    if name not in (None, "real", "wire", "model"):
        raise ParameterError(f"no backend {name!r}; there are real, wire and model")
    return name


def _runs(runs: Path | None, station: Path | None = None) -> Path:
    return runs or (station.parent if station else Path()) / "runs"


def _command() -> str:
    import shlex

    return shlex.join(["labthermo", *sys.argv[1:]])


@app.command(epilog="Example: labthermo init lab")
def init(folder: Annotated[Path, typer.Argument(help="a new or empty folder", show_default=False)]) -> None:
    """Make a working lab folder: a station file, its device file, and what to do next."""
    import shlex

    from labthermo.lab_folder import make_lab_folder

    for path in make_lab_folder(folder):
        print(path)
    print(f"next: {shlex.join(['labthermo', 'train', str(folder / 'station.yaml'), '--task', 'sine'])}")


@app.command(epilog="Example: labthermo doctor lab/station.yaml")
def doctor(
    station: Annotated[Path | None, typer.Argument(help="a station file to check as well", show_default=False)] = None,
    commission: Annotated[
        str | None, typer.Option(help="walk through the checklist for this instrument and record it")
    ] = None,
    rehearsal: Annotated[
        bool, typer.Option("--rehearsal", help="walk on a simulated instrument; recorded as such, does not count")
    ] = False,
    bench: BenchOption = None,
    runs: RunsOption = None,
) -> None:
    """Look at Python, libraries, clashes, disk, the station file and who answers at its addresses; nothing is moved.

    Exit code 1 if anything needs attention.
    """
    from labthermo.doctor import check_environment

    if commission is not None or rehearsal:
        _commission(station, commission, rehearsal, bench)
        return
    bad = 0
    for check in check_environment(station, runs, bench):
        print(f"{'ok ' if check.ok else 'BAD'}  {check.name}: {check.detail}")
        if not check.ok:
            bad += 1
            print(f"     {check.advice}")
    raise typer.Exit(1 if bad else 0)


def _commission(station: Path | None, name: str | None, rehearsal: bool, bench: str | None) -> None:
    from labthermo.commissioning import walk
    from labthermo.errors import ParameterError

    if station is None or name is None:
        raise ParameterError("a checklist needs a station file and --commission NAME")

    def ask(question: str) -> str:
        print(question, end=" ", flush=True)
        answer = sys.stdin.readline()
        if not answer:
            raise ParameterError("the answers ended before the checklist did; nothing was recorded")
        return answer

    print(walk(_open_station(station, "wire" if bench else None, bench=bench), name, ask, rehearsal))


@app.command(epilog="Example: labthermo procedures")
def procedures() -> None:
    """List what `labthermo run` can do, with parameters, units and defaults."""
    from labthermo import plugins
    from labthermo.procedure import parameters

    for name in plugins.names("labthermo.procedures"):
        procedure = plugins.load("labthermo.procedures", name)
        print(f"{name}: {(procedure.__doc__ or '').strip().splitlines()[0]}")
        for p in parameters(procedure):
            default = f" [{p.default}]" if p.default else ""
            print(f"    {p.name}{f' ({p.unit})' if p.unit else ''}{default}: {p.help}")


@app.command(epilog="Example: labthermo run iv_curve lab/station.yaml -p points=41 -p 'stop=3 mV'")
def run(
    procedure: Annotated[str, typer.Argument(help="as `labthermo procedures` lists it", show_default=False)],
    station: StationFile,
    parameter: ParameterOption = None,
    backend: BackendOption = None,
    bench: BenchOption = None,
    confirmed: ConfirmedOption = False,
    runs: RunsOption = None,
) -> None:
    """Run a measurement procedure and write its record and report."""
    from labthermo.limits import device_channels

    recipe = _recipe(procedure, parameter)
    opened = _open_station(station, _backend(backend), bench=bench, confirmed=confirmed)
    recipe.count(device_channels(opened.config))  # what does not fit is said before anything is opened
    header = {
        "procedure": procedure,
        "parameters": recipe.model_dump(mode="json"),
        "method": None,
        "seed": None,
        "command": _command(),
    }
    with _signals(), opened:
        with _new_run(opened, _runs(runs, station), header) as (started, progress):
            summary = _execute(opened, started, recipe, progress)
        _conclude(started.journal.folder, summary)


def _execute(station: Station, run: Run, recipe: Procedure, progress: _Meter) -> dict[str, Any]:
    progress.total(recipe.count(station.device.channels), f"{recipe.name}: queries")
    from labthermo.stored_twin import store_twin

    recipe.execute(run)
    stored = store_twin(run.journal)
    run.journal.finish("finished")
    if stored is None:
        return {}
    print(f"stored {stored}; `labthermo train --twin {stored}` starts from it")
    return {"twin": str(stored)}


@app.command(epilog="Example: labthermo window iv_curve lab/station.yaml")
def window(
    procedure: Annotated[str, typer.Argument(help="as `labthermo procedures` lists it", show_default=False)],
    station: StationFile,
    backend: BackendOption = None,
    bench: BenchOption = None,
    confirmed: ConfirmedOption = False,
    runs: RunsOption = None,
) -> None:
    """Open a desktop window for a procedure: fields, queue, live plot. Needs the extra `window` and a display."""
    from importlib.util import find_spec

    from labthermo import plugins
    from labthermo.errors import ParameterError
    from labthermo.station import Station

    recipe = plugins.load("labthermo.procedures", procedure)
    opened = _open_station(station, _backend(backend), bench=bench, confirmed=confirmed)
    if find_spec("PySide6") is None:
        raise ParameterError("the desktop window needs PySide6; install it with: pip install 'labthermo[window]'")
    from labthermo.desktop_window import show

    def open_again() -> Station:
        return Station(opened.config, opened.backend, bench=bench, confirmed=opened.confirmed)

    raise typer.Exit(show(recipe, open_again, _runs(runs, station), _command()))


def _recipe(procedure: str, parameter: list[str] | None) -> Procedure:
    from labthermo import plugins
    from labthermo.errors import ParameterError
    from labthermo.procedure import make

    values = {}
    for text in parameter or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise ParameterError(f"-p {text!r} is not name=value; `labthermo procedures` lists the names")
        values[name.strip()] = value.strip()
    return make(plugins.load("labthermo.procedures", procedure), values)


@app.command(epilog="Example: labthermo plan iv_curve lab/station.yaml -p points=41")
def plan(
    what: Annotated[str, typer.Argument(help="a procedure, or train", show_default=False)],
    station: StationFile,
    parameter: ParameterOption = None,
    task: Annotated[str | None, typer.Option(help="of a training: as for `labthermo train`")] = None,
    method: Annotated[str, typer.Option(help="of a training")] = "calibrated_twin",
    queries: Annotated[int, typer.Option(min=1, help="budget of a training")] = 3000,
    score_points: ScorePoints = None,
    dry_runs: Annotated[
        int | None,
        typer.Option(min=1, help="to take times and volumes from, each with other noise; default: 3, of a training 1"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="folder for plan.json and plan.svg; default: plans/ beside the station file")
    ] = None,
) -> None:
    """Dry-run a procedure or a training on the wire twin of the station as designed, in virtual time.

    Points, time on the bench, travel of every input and knob, expected signal to noise, and every limit that would be
    hit. Nothing real is opened. Exit code 1 if a limit would be hit.
    """
    import itertools
    import tempfile

    from labthermo.config import load_station
    from labthermo.errors import ParameterError
    from labthermo.forecast import forecast, write
    from labthermo.limits import device_channels
    from labthermo.run import new_run_id

    config = load_station(station)
    progress = _Meter()
    rehearsals = dry_runs or (1 if what == "train" else 3)
    if what == "train":
        if task is None:
            raise ParameterError("a training needs --task; see labthermo train --help")
        chosen = _training(config, task, method, queries, score_points=score_points)
        subject = f"train {task} by {method}, {queries} queries at most"

        def execute(run: Run, opened: Station) -> None:
            _train(opened, run, chosen, progress)

        on_point = progress.point
    else:
        if task is not None:
            raise ParameterError(f"--task is for trainings; {what} takes -p name=value")
        recipe = _recipe(what, parameter)
        chosen_values = recipe.model_dump(mode="json", exclude_defaults=True)
        subject = " ".join([what, *(f"{name}={value}" for name, value in chosen_values.items())])

        def execute(run: Run, opened: Station) -> None:
            recipe.execute(run)

        progress.total(rehearsals * recipe.count(device_channels(config)))
        done = itertools.count(1)  # over all dry runs

        def on_point(point: Point) -> None:
            progress.bar.step(done=next(done))

    with _signals(), tempfile.TemporaryDirectory() as scratch:
        found = forecast(config, subject, execute, Path(scratch), on_point, rehearsals)
        progress.close()
    _print_plan(found)
    for path in write(found, out or station.parent / "plans" / new_run_id()):
        print(path)
    raise typer.Exit(1 if found.problems else 0)


def _print_plan(found: Forecast) -> None:
    from rich.console import Console
    from rich.table import Table

    from labthermo.quantity import format_quantity

    def amount(value: float, unit: str) -> str:
        return format_quantity(value, unit, 3)

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 400
    print(f"{found.subject}, on the station as designed (simulated)")
    statuses = ", ".join(f"{count} {status}" for status, count in found.statuses.items())
    print(f"points {found.points} ({statuses})")
    print(
        f"time on the bench {_duration(found.wall_time)}, of it {_duration(found.bench_time)} ramps, settling, reading"
        + (f" ({_duration(min(spread))} to {_duration(max(spread))})" if len(spread := found.bench_times) > 1 else "")
    )
    print(f"meters read {found.reads} times")
    travels = Table("moves", "from", "to", "way", "largest step", "fastest", "delivered", "refills", box=None)
    for t in found.travels:
        travels.add_row(
            t.channel, *(amount(v, t.unit) for v in (t.lowest, t.highest, t.way, t.largest_step)),
            amount(t.fastest, f"{t.unit}/s"), "" if t.delivered is None else amount(t.delivered, "L"),
            "" if t.refills is None else str(t.refills),
        )  # fmt: skip
    console.print(travels)
    outlooks = Table("reads", "lowest", "highest", "sigma", "span / sigma", box=None)
    for o in found.outlooks:
        outlooks.add_row(
            o.channel, *(amount(v, o.unit) for v in (o.lowest, o.highest, o.sigma)), f"{o.signal_to_noise:.3g}"
        )  # fmt: skip
    console.print(outlooks)
    for problem in found.problems:
        print(f"LIMIT  {problem}")


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{minutes:.1f} min" if minutes < 120 else f"{hours:.1f} h"


_STREAK = 10  # answers of no use, one after the other, at which an operator should look

TASK_HELP = (
    "sine, band_pass, xor, rings, iris, digits, digits:N (N images to train on), mnist:FOLDER, fashion_mnist:FOLDER, "
    "or csv:FILE with columns named after inputs and outputs"
)


@app.command(epilog="Example: labthermo train lab/station.yaml --task sine --queries 3000 --seed 1")
def train(
    station: StationFile,
    task: Annotated[str, typer.Option(help=TASK_HELP)],
    method: Annotated[str, typer.Option(help=f"training method: {', '.join(METHODS)}")] = "calibrated_twin",
    queries: Annotated[int, typer.Option(min=1, help="budget of device queries; scoring does not count")] = 3000,
    score_points: ScorePoints = None,
    reset: Annotated[
        str, typer.Option(help="where inputs start from: park (the first from zero), each (every one from zero)")
    ] = "park",
    detune: Annotated[
        bool,
        typer.Option("--detune", help="then detune the barriers and measure that it is monotone: gates move far"),
    ] = False,
    backend: BackendOption = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="of the trainer and of the simulated sample; default: the station file's"),
    ] = None,
    control: Annotated[
        bool, typer.Option("--control", help="train the NDC-off sample of the same design (simulated backends only)")
    ] = False,
    twin: Annotated[
        Path | None,
        typer.Option("--twin", help="start from this calibrated twin, which `labthermo run calibrate_twin` has stored"),
    ] = None,
    reference_every: Annotated[
        int,
        typer.Option(
            min=0, help="queries after which the first one is asked again, to see drift; 0: never. They count"
        ),
    ] = 100,
    bench: BenchOption = None,
    confirmed: ConfirmedOption = False,
    runs: RunsOption = None,
) -> None:
    """Train the device on a task, score it on points it was not trained on, and write its record and report."""
    opened = _open_station(station, _backend(backend), control=control, seed=seed, bench=bench, confirmed=confirmed)
    plan = _training(opened.config, task, method, queries, reset, score_points)
    plan = replace(plan, ablate=detune, reference_every=reference_every)
    if twin is not None:
        from labthermo.errors import ParameterError
        from labthermo.stored_twin import load_twin

        if not METHODS[method].twin:
            raise ParameterError(f"--twin is of no use to {method}, which works without a twin; leave it out")
        plan = replace(plan, start=asdict(load_twin(twin, opened.header())))
    with _signals(), opened:
        with _new_run(opened, _runs(runs, station), {**plan.header(), "command": _command()}) as (started, progress):
            summary = _train(opened, started, plan, progress)
        _conclude(started.journal.folder, summary)


def _training(
    config: StationConfig, task: str, method: str, queries: int, reset: str = "park", score_points: int | None = None
) -> Plan:
    from labthermo.errors import ParameterError
    from labthermo.limits import device_channels
    from labthermo.training.loop import Plan
    from labthermo.training.methods import check_method
    from labthermo.training.task import make_task

    check_method(method)
    if reset not in ("park", "each"):
        raise ParameterError(f"--reset {reset}: where inputs start from is park or each")
    seed = config.simulation.seed
    return Plan(make_task(task, device_channels(config), seed, score_points), method, queries, seed, reset=reset)


@app.command(epilog="Example: labthermo study examples/sine/study.yaml")
def study(
    file: Annotated[Path, typer.Argument(help="the study file", show_default=False)],
    runs: RunsOption = None,
) -> None:
    """How robust a device is once trained: knock-out, noise, drift, mismatch, resolution. Simulated (`model`)."""
    from labthermo.station import Station
    from labthermo.study import Studied

    studied = Studied(file)
    header = {
        "procedure": "study",
        "study": {file.name: studied.document.text},
        "method": studied.study.method,
        "seed": None,
        "command": _command(),
    }
    _study(studied, Station(studied.config, "model").new_journal(_runs(runs, file), header))


def _study(studied: Studied, journal: Journal) -> None:
    from labthermo.progress import Progress

    folder = journal.folder
    try:
        print(f"run {folder.name}", flush=True)
        with _signals(), Progress(sum(1 for _ in studied.units()), "study: trainings and scores") as bar:
            studied.execute(journal, bar.step)
        journal.finish("finished")
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt | SystemExit)
        journal.finish("stopped" if stopped else f"failed: {' '.join(str(error).split())[:500]}")
        if stopped:
            print(f"to go on: {_resume_command(folder)}", flush=True)
        raise
    finally:
        journal.close()
    _conclude(folder, {})


@app.command(epilog="Example: labthermo resume 20261123-231502-7f3a --runs lab/runs")
def resume(
    run: RunName,
    bench: BenchOption = None,
    confirmed: ConfirmedOption = False,
    rearm: Annotated[
        bool, typer.Option("--rearm", help="go on although an instrument was switched off and on meanwhile")
    ] = False,
    runs: RunsOption = None,
) -> None:
    """Go on with an interrupted procedure, training or study, from its journal alone: nothing is asked again.

    The instruments are read before anything moves: what differs from the record is printed, and ramped back through
    Guard; after an instrument was switched off and on, only with --rearm.
    """
    import tempfile
    from contextlib import ExitStack
    from functools import partial

    from labthermo import plugins
    from labthermo.errors import RecordError
    from labthermo.procedure import make
    from labthermo.records.journal import Journal
    from labthermo.run import run_folder
    from labthermo.training.loop import Plan

    folder = run_folder(_runs(runs), run)
    with ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory())
        journal = Journal.open(folder)
        stack.callback(journal.close)
        header = journal.header
        trains = "task_data" in header
        if not trains and "procedure" not in header:
            raise RecordError(f"{run} was made by a program of its own; only that program can go on with it")
        if journal.outcome == "finished":
            raise RecordError(f"{run} has finished; `labthermo show {run}` says how")
        station = _station_of(header, Path(scratch))
        if "study" in header:
            from labthermo.study import Studied

            ((name, text),) = header["study"].items()
            (Path(scratch) / name).write_text(text, encoding="utf-8")
            _study(Studied(Path(scratch) / name, station), journal)
            return
        opened = _open_station(
            station,
            header["backend"],
            control=header["control"],
            seed=header["simulation_seed"],
            bench=bench or header["bench"],
            confirmed=confirmed,
        )
        if trains:
            go_on = partial(_train, plan=Plan.of(header))
        else:
            recipe = make(plugins.load("labthermo.procedures", header["procedure"]), header["parameters"])
            go_on = partial(_execute, recipe=recipe)
        stack.enter_context(_signals())
        stack.enter_context(opened)
        with _recording(opened, journal, replay=not trains) as (started, progress):
            _reconcile(opened, started.journal, rearm)
            summary = go_on(opened, started, progress=progress)
        _conclude(folder, summary)


def _reconcile(station: Station, journal: Journal, rearm: bool) -> None:
    """Say how the instruments differ from the record, and record it; refuse what an operator must decide."""
    from labthermo.recovery import differences, refuse_rebooted

    # a bench in this process is made anew: it has nothing to tell of the time between
    lived_on = station.backend == "real" or station.bench is not None
    rebooted = station.rebooted if lived_on else []
    found = differences(journal, *station.read_settings()) if lived_on else []
    for difference in found:
        print(f"{difference}; Guard will ramp it to where the run needs it", flush=True)
    journal.event(
        "resumed",
        command=_command(),
        points=journal.last_number() + 1,
        rebooted=rebooted,
        differences=[[d.channel, d.recorded, d.found] for d in found],
    )
    if not rearm:
        refuse_rebooted(rebooted, journal.folder.name)


def _station_of(header: dict[str, Any], scratch: Path) -> Path:
    """The station and device files of a record, written below `scratch` as they lay to each other; the station's."""
    import os.path

    import yaml

    from labthermo.errors import RecordError

    files: dict[str, str] = header["station"]
    name = Path(header["station_path"]).name
    model = Path(yaml.safe_load(files[name])["device"]["model"])
    folder = scratch.joinpath(*["lab"] * (1 + model.parts.count("..")))
    device = Path(os.path.normpath(folder / model))
    if device.is_relative_to(scratch):
        device.parent.mkdir(parents=True, exist_ok=True)
        device.write_text(files[model.name], encoding="utf-8")
    elif not device.is_file() or device.read_text(encoding="utf-8") != files[model.name]:
        raise RecordError(f"{device} is not what it was when this run began; put the old file back to resume")
    folder.mkdir(parents=True, exist_ok=True)
    station = folder / name
    station.write_text(files[name], encoding="utf-8")
    return station


@app.command(epilog="Example: labthermo stop 20261123-231502-7f3a --runs lab/runs")
def stop(run: RunName, runs: RunsOption = None) -> None:
    """Stop a run that goes on in another process: it ramps to its safe state and can be resumed."""
    from labthermo.by_hand import stop_run
    from labthermo.run import run_folder

    folder = run_folder(_runs(runs), run)
    stop_run(folder)
    print(f"stopped; to go on: {_resume_command(folder)}")


@app.command(name="runs", epilog="Example: labthermo runs --runs lab/runs")
def runs_(runs: RunsOption = None) -> None:
    """List the runs, newest first."""
    from rich.console import Console
    from rich.table import Table

    from labthermo.records.index import list_runs

    folder = _runs(runs)
    found = list_runs(folder)
    if not found:
        print(f"no runs in {folder}; `labthermo train` and `labthermo run` make them, --runs says where they are")
        return
    table = Table(box=None)
    for column in ("run", "what", "backend", "queries", "rmse", "outcome"):
        table.add_column(column, no_wrap=True)
    for r in found:
        rmse = "" if r.rmse is None else f"{r.rmse:.4f}"
        backend = f"{r.backend} (simulated)" if r.simulated and r.backend else r.backend
        table.add_row(r.id, r.subject, backend, str(r.queries), rmse, r.outcome)
    console = Console(highlight=False)
    if not console.is_terminal:  # a file or a pipe has no width
        console.width = 400
    console.print(table)


@app.command(epilog="Example: labthermo show 20261123-231502-7f3a --runs lab/runs")
def show(run: RunName, runs: RunsOption = None) -> None:
    """Print a run's summary."""
    from labthermo.records.report import write_summary
    from labthermo.run import run_folder

    print(write_summary(run_folder(_runs(runs), run), {}).read_text(), end="")


@app.command(epilog="Example: labthermo report 20261123-231502-7f3a --runs lab/runs")
def report(run: RunName, runs: RunsOption = None) -> None:
    """Write a run's report.html anew, from its journal alone."""
    from labthermo.records.report import write_report
    from labthermo.run import run_folder

    print(write_report(run_folder(_runs(runs), run)))


@app.command(name="export", epilog="Example: labthermo export 20261123-231502-7f3a --to netcdf --runs lab/runs")
def export_(
    run: RunName,
    to: Annotated[str, typer.Option(help="qcodes (a database), netcdf, parquet or csv")],
    out: Annotated[Path | None, typer.Option(help="file to write; default: in the run's folder")] = None,
    runs: RunsOption = None,
) -> None:
    """Write a run for other programs, from its journal alone; print the file's path."""
    from labthermo.records.export import export
    from labthermo.run import run_folder

    print(export(run_folder(_runs(runs), run), to, out))


@app.command(name="get", epilog="Example: labthermo get lab/station.yaml p1")
def get_(
    station: StationFile,
    channel: Annotated[str | None, typer.Argument(help="a channel; default: all of them", show_default=False)] = None,
    backend: BackendOption = None,
    bench: BenchOption = None,
) -> None:
    """Read a channel once: what inputs and knobs are set to, what outputs and nodes read. Nothing is moved."""
    from labthermo.by_hand import read_channels

    opened = _open_station(station, _backend(backend), bench=bench)
    with _signals(), opened.by_hand() as device:
        for line in read_channels(opened, device, channel):
            print(line)
    _say_simulated(opened)


@app.command(
    name="set",
    context_settings={"ignore_unknown_options": True},
    epilog="Example: labthermo set lab/station.yaml p1 '-12 mV' --bench 127.0.0.1:40123",
)
def set_(
    station: StationFile,
    channel: Annotated[str, typer.Argument(help="an input or knob", show_default=False)],
    value: Annotated[str, typer.Argument(help="with its unit, at the sample, e.g. '-12 mV'", show_default=False)],
    backend: BackendOption = None,
    bench: BenchOption = None,
    confirmed: ConfirmedOption = False,
) -> None:
    """Move one input or knob through Guard, and leave it there."""
    from labthermo.by_hand import move_channel

    opened = _open_station(station, _backend(backend), bench=bench, confirmed=confirmed)
    with _signals():
        print(move_channel(opened, channel, value))
    _say_simulated(opened)


@app.command(epilog="Example: labthermo home lab/station.yaml n1")
def home(
    station: StationFile,
    pump: Annotated[str, typer.Argument(help="an input or knob that is a pump's rate", show_default=False)],
    backend: BackendOption = None,
    bench: BenchOption = None,
) -> None:
    """Say that a pump's syringe is full now: after you changed or filled it, and after a stall. Nothing is moved.

    What it holds is the option `syringe_volume` of its driver.
    """
    from labthermo.by_hand import home_pump

    opened = _open_station(station, _backend(backend), bench=bench)
    with _signals():
        print(home_pump(opened, pump))


@app.command(epilog="Example: labthermo watch lab/station.yaml y --times 20")
def watch(
    station: StationFile,
    channel: Annotated[str | None, typer.Argument(help="a channel; default: all of them", show_default=False)] = None,
    times: Annotated[int, typer.Option(min=1, help="how often; Ctrl-C ends it before")] = 10,
    every: Annotated[float, typer.Option(min=0.0, max=3600.0, help="seconds of bench time between")] = 1.0,
    backend: BackendOption = None,
    bench: BenchOption = None,
) -> None:
    """Read a channel again and again. Nothing is moved."""
    from labthermo.by_hand import read_channels

    opened = _open_station(station, _backend(backend), bench=bench)
    _say_simulated(opened)
    with _signals(), opened.by_hand() as device:
        for k in range(times):
            if k:
                opened.clock.sleep(every)
            print("  ".join(read_channels(opened, device, channel)), flush=True)


@app.command(epilog="Example: labthermo safe lab/station.yaml --bench 127.0.0.1:40123")
def safe(
    station: StationFile,
    knobs: Annotated[bool, typer.Option("--knobs", help="ramp the knobs to zero, too: this loses a tuning")] = False,
    backend: BackendOption = None,
    bench: BenchOption = None,
) -> None:
    """The red button: inputs to zero, leads disconnected; knobs hold unless --knobs.

    A labthermo process that holds the instruments is ended first, by SIGTERM, or after 10 s by SIGKILL. Exit code 1 if
    anything could not be made safe.
    """
    from labthermo.by_hand import make_safe

    opened = _open_station(station, _backend(backend), bench=bench)
    failures = make_safe(opened, knobs)
    for failure in failures:
        print(f"NOT SAFE  {failure}")
    print("look at the bench at once" if failures else "safe: inputs at zero, leads disconnected")
    _say_simulated(opened)
    raise typer.Exit(1 if failures else 0)


@app.command(epilog="Example: labthermo bench lab/station.yaml")
def bench(
    station: StationFile,
    seed: Annotated[int | None, typer.Option(min=0, help="of the sample; default: the station file's")] = None,
    control: Annotated[bool, typer.Option("--control", help="serve the NDC-off sample of the same design")] = False,
    real_time: Annotated[
        bool, typer.Option("--real-time/--virtual-time", help="whether waiting outside is waiting on the bench")
    ] = True,
) -> None:
    """Serve the wire twin on loopback to any client: one JSON line of addresses when ready.

    It serves until Ctrl-C or SIGTERM; both are the usual way to end it, so the exit code is 0.
    """
    import json
    import time

    from labthermo import plugins
    from labthermo.config import load_station

    config = _seeded(load_station(station), seed)
    with _signals():
        world = plugins.load("labthermo.simulators", "wire")(config, control, real_time)
        try:
            print(json.dumps({"addresses": world.addresses, "control": world.control}), flush=True)
            while True:
                time.sleep(1.0)
        except KeyboardInterrupt:
            pass  # the way to end it
        finally:
            world.close()


def _say_simulated(station: Station) -> None:
    """On standard error: a channel's value stays alone on the other one, for scripts."""
    if station.backend != "real":
        print(f"simulated: the backend is {station.backend}", file=sys.stderr)


def _seeded(config: Any, seed: int | None) -> Any:
    return config if seed is None else config.with_seed(seed)


def _open_station(
    path: Path,
    backend: Any,
    *,
    control: bool = False,
    seed: int | None = None,
    bench: str | None = None,
    confirmed: bool | None = None,
) -> Station:
    """The station, read and checked but not yet open. confirmed: None where nothing is moved and nobody is asked."""
    from labthermo.config import load_station
    from labthermo.station import Station

    station = Station(_seeded(load_station(path), seed), backend, control=control, bench=bench)
    if confirmed is not None and station.unconfirmed():
        station.confirmed = "--confirmed" if confirmed else _ask_about(station)
    return station


def _ask_about(station: Station) -> str:
    """Have the operator look at every box that is set by hand; how it was confirmed. Refused off a terminal."""
    from labthermo.errors import BackendError

    if not sys.stdin.isatty():
        station.require_confirmed()
    for element in station.unconfirmed():
        if not typer.confirm(f"set by hand, {element}: is it so?"):
            raise BackendError(f"{element} is not confirmed; set it, or correct the station file; nothing was opened")
    return "asked at the terminal"


@contextmanager
def _signals() -> Iterator[None]:
    """Around an open station: SIGINT and SIGTERM go to the safe state, then end the program with 128 + their number."""
    from labthermo.safety.signals import Stopped, stop_on_signals

    with stop_on_signals():
        try:
            yield
        except Stopped as stopped:  # typer would take it for a Ctrl-C, whatever it was
            print("stopped; the device is in its safe state", file=sys.stderr)
            sys.exit(stopped.code)


class _Meter:
    """Counts committed points on a progress bar."""

    def __init__(self) -> None:
        from labthermo.progress import Progress

        self.bar: Any = None
        self._make = Progress
        self._useless = 0  # answers, one after the other

    def total(self, total: int, what: str = "queries") -> None:
        self.bar = self._make(total, what)
        self.bar.__enter__()

    def point(self, point: Point) -> None:
        from labthermo.records.journal import is_counted

        self._useless = 0 if point.status in ("settled", "timed") else self._useless + 1
        if self._useless == _STREAK:
            newest = f"{_STREAK} answers in a row are of no use, the newest {point.status}"
            print(f"LOOK  {newest}: look at the bench; Ctrl-C stops, resume goes on", flush=True)
        if self.bar is not None and is_counted(point.purpose):
            self.bar.step(done=point.number + 1)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.__exit__(None, None, None)


class _recording:
    """A run being recorded: its end is always written, and the device is always parked."""

    def __init__(self, station: Station, journal: Journal, replay: bool = False) -> None:
        self._meter = _Meter()
        self._run = station.resume(journal, on_point=self._meter.point, replay=replay)

    def __enter__(self) -> tuple[Run, _Meter]:
        try:
            print(f"run {self._run.journal.folder.name}", flush=True)
        except BaseException as error:  # whoever waits for this line may stop us at once
            self.__exit__(type(error), error, None)
            raise
        return self._run, self._meter

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._meter.close()
        try:
            if isinstance(error, KeyboardInterrupt):
                self._run.journal.finish("stopped")
                print(f"to go on: {_resume_command(self._run.journal.folder)}", flush=True)
            elif error is not None:
                self._run.journal.finish(f"failed: {' '.join(str(error).split())[:500]}")
                print(f"when it is mended, to go on: {_resume_command(self._run.journal.folder)}", flush=True)
        finally:
            self._run.close()


def _resume_command(folder: Path) -> str:
    import shlex

    return shlex.join(["labthermo", "resume", folder.name, "--runs", str(folder.parent)])


def _new_run(station: Station, runs: Path, header: dict[str, Any]) -> _recording:
    return _recording(station, station.new_journal(runs, header))


def _train(station: Station, run: Run, plan: Any, progress: _Meter) -> dict[str, Any]:
    from labthermo.station import Station
    from labthermo.training.loop import train

    progress.total(plan.budget, f"{plan.task.name}, {plan.method}: queries")
    loopholes = station.loopholes()
    for loophole in loopholes:
        print(f"LOOPHOLE  {loophole}", flush=True)
        run.event("loophole", message=loophole)

    def tell(phase: str, queries: int, rmse: float | None) -> None:
        progress.bar.step(phase if rmse is None else f"{phase}: rmse {rmse:.4f} of the amplitude", done=queries)

    for beyond in _beyond_windows(run, plan.task.targets):
        print(f"TARGETS  {beyond}", flush=True)
    if len(plan.task.inputs) > plan.budget:
        need = f"one step of training needs {len(plan.task.inputs)}"
        print(f"BUDGET  {plan.budget} device queries; {need}: the device will hardly be trained", flush=True)
    control = Station(station.config, "model", control=True)
    outcome = train(run, plan, station.twin(), control.twin, tell, loopholes)
    run.journal.finish("finished")
    found = {"rmse": outcome.rmse, "floor": outcome.floor, "reason": outcome.reason}
    if plan.task.classes:
        found |= {"accuracy": outcome.accuracy, "floor_accuracy": outcome.floor_accuracy}
    return found


def _beyond_windows(run: Run, targets: Any) -> list[str]:
    """What is wanted of outputs but lies outside what the station file says that they can reach; one sentence each."""
    from labthermo.quantity import format_quantity

    found = []
    for channel, wanted in zip((c for c in run.device.channels if c.kind == "output"), targets.T, strict=True):
        if channel.window is None:
            continue
        low, high = channel.window
        slack = 0.1 * (high - low)
        if wanted.min() < low - slack or wanted.max() > high + slack:
            ends = (wanted.min(), wanted.max(), low, high)
            first, last, start, stop = (format_quantity(float(v), channel.unit) for v in ends)
            window = f"the window {start} to {stop}"
            found.append(
                f"{channel.name}: {first} to {last} leaves {window}; scale the data, or the device cannot follow"
            )
    return found


def _conclude(folder: Path, summary: dict[str, Any]) -> None:
    """Report and summary, last."""
    import json

    from labthermo.records.report import write_report, write_summary

    page = write_report(folder)
    text = json.loads(write_summary(folder, summary).read_text())
    rmse, floor = text.get("rmse"), text.get("floor")
    for found in text.get("found", []):
        if message := str(found.get("message") or ""):
            print(message)
    monotone = f"an answer that only {text.get('monotone', 'rises')} can do no better than"
    if rmse is not None:
        floor_text = "" if floor is None else f"; {monotone} {floor:.4f}"
        print(f"rmse {rmse:.4f} of the amplitude after {text['queries']} device queries{floor_text}")
    if text.get("accuracy") is not None:
        bound = text["floor_accuracy"]
        bound_text = "" if bound is None else f"; {monotone} {100 * bound:.1f} %"
        print(f"accuracy {100 * text['accuracy']:.1f} % of points put into their class{bound_text}")
    if "task" in text and rmse is None:
        print("no score: nothing that was asked for it could be read")
    lost = {status: count for status, count in text["statuses"].items() if status not in ("settled", "timed")}
    if lost:
        shown = ", ".join(f"{count} {status}" for status, count in lost.items())
        print(f"of {sum(text['statuses'].values())} answers did not settle: {shown}")
    if text.get("reason"):
        print(f"ended: {text['reason']}")
    if text["simulated"]:
        print(f"simulated: the backend was {text['backend']}")
    print(f"report {page}")


if __name__ == "__main__":
    main()
