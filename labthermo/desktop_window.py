"""PyMeasure's desktop window over a procedure: queue, live plot, abort. `labthermo window` opens it.

PyMeasure does not check its parameters when they are assigned, and its file is not durable: here a text field is only a
text field, the procedure's own model checks it before anything is queued, Guard moves the bench, and the journal is the
record. PyMeasure's CSV file feeds the plot and goes with the window.
"""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pymeasure.display.windows import ManagedWindow
from pymeasure.experiment import BooleanParameter, Parameter, Results, unique_filename
from pymeasure.experiment import Procedure as PyMeasureProcedure

from labthermo.channel import Channel
from labthermo.errors import LabThermoError, ParameterError
from labthermo.limits import device_channels
from labthermo.procedure import Procedure, make, parameters
from labthermo.records.journal import Point
from labthermo.records.report import write_report, write_summary
from labthermo.run import Run
from labthermo.station import Station

log = logging.getLogger(__name__)

NUMBER = "number"
"""Column with the number of the device query."""


class Aborted(LabThermoError, RuntimeError):
    """The operator has pressed Abort: the bench goes to its safe state, and the run can be resumed."""


def generate(
    recipe: type[Procedure], channels: Sequence[Channel], open_station: Callable[[], Station], runs: Path, command: str
) -> type[PyMeasureProcedure]:
    """A PyMeasure procedure of the same parameters, as text with units, that runs the recipe and records it in `runs`.

    One row a point: its number, then every channel, a set-point as read back.
    """

    def execute(self: Any) -> None:
        recipe_now = wanted(recipe, self)
        with open_station() as station:
            total = recipe_now.count(station.device.channels)

            def look(point: Point) -> None:
                self.emit("results", _row(point, channels))
                self.emit("progress", 100.0 * (point.number + 1) / total)
                if self.should_stop():
                    raise Aborted("stopped by hand")

            header = {
                "procedure": recipe.name,
                "parameters": recipe_now.model_dump(mode="json"),
                "method": None,
                "seed": None,
                "command": command,
            }
            with station.run(runs, header, on_point=look) as run:
                log.info("run %s", run.journal.folder.name)
                _finish(run, recipe_now)
        page = write_report(run.journal.folder)
        write_summary(run.journal.folder, {})
        log.info("report %s", page)

    fields: dict[str, Any] = {}
    for info in parameters(recipe):
        if isinstance(recipe.model_fields[info.name].default, bool):
            fields[info.name] = BooleanParameter(info.name, default=recipe.model_fields[info.name].default)
        else:
            unit = f" ({info.unit})" if info.unit else ""
            fields[info.name] = Parameter(f"{info.name}{unit}", default=info.default, description=info.help)
    columns = [NUMBER, *map(_column, channels)]
    return type(recipe.__name__, (PyMeasureProcedure,), {"DATA_COLUMNS": columns, "execute": execute, **fields})


def wanted(recipe: type[Procedure], asked: Any) -> Procedure:
    """The recipe with what stands in the fields of a PyMeasure procedure; an empty field takes the default.

    Raises
    ------
    ParameterError: a field does not fit.
    """
    values = {name: getattr(asked, name) for name in recipe.model_fields}
    return make(recipe, {name: value for name, value in values.items() if value is not None and value != ""})


class ProcedureWindow(ManagedWindow):
    """The window of one procedure on one station."""

    def __init__(
        self, recipe: type[Procedure], channels: Sequence[Channel], open_station: Callable[[], Station], runs: Path,
        command: str,
    ) -> None:  # fmt: skip
        procedure = generate(recipe, channels, open_station, runs, command)
        self._recipe = recipe
        self._channels = channels
        self._folder = tempfile.TemporaryDirectory(prefix="labthermo-window-")
        names = [info.name for info in parameters(recipe)]
        readable = [c for kind in ("node", "output") for c in channels if c.kind == kind]
        super().__init__(
            procedure,
            x_axis=_column(next((c for c in channels if c.kind == "input"), channels[0])),
            y_axis=_column(readable[0]) if readable else NUMBER,
            inputs=names,
            displays=names,
            enable_file_input=False,
            inputs_in_scrollarea=True,
        )
        manager: Any = self.manager
        manager.port = None  # else each worker publishes pickles on every interface of this host
        self.setWindowTitle(f"{recipe.name} – labthermo")

    def queue(self, procedure: Any = None) -> None:
        """Queue what stands in the fields, if it fits the station; else say why in the log, and queue nothing."""
        asked = self.make_procedure() if procedure is None else procedure
        try:
            wanted(self._recipe, asked).count(self._channels)
        except ParameterError as error:
            log.error("%s", error)
            self.tabs.setCurrentWidget(self.log_widget)
            return
        results = Results(asked, unique_filename(self._folder.name, prefix=self._recipe.name))
        self.manager.queue(self.new_experiment(results))

    def closeEvent(self, event: Any) -> None:
        """Abort what runs and wait until the bench is safe."""
        manager: Any = self.manager
        if manager.is_running():
            manager.abort()
            manager._worker.join(60.0)
        self._folder.cleanup()
        event.accept()


def show(recipe: type[Procedure], open_station: Callable[[], Station], runs: Path, command: str) -> int:
    """Open the window and wait until it is closed; the exit code."""
    import sys

    from pymeasure.display.Qt import QtWidgets

    application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(sys.argv[:1])
    window = ProcedureWindow(recipe, device_channels(open_station().config), open_station, runs, command)
    window.show()
    return int(application.exec())


def _finish(run: Run, recipe: Procedure) -> None:
    """Execute, and write how it ended, whatever happens."""
    try:
        recipe.execute(run)
    except Aborted:
        run.journal.finish("stopped")
        log.info("stopped; to go on: labthermo resume %s --runs %s", run.journal.folder.name, run.journal.folder.parent)
    except BaseException as error:
        run.journal.finish(f"failed: {' '.join(str(error).split())[:500]}")
        raise
    else:
        run.journal.finish("finished")


def _column(channel: Channel) -> str:
    return f"{channel.name} ({channel.unit})" if channel.unit else channel.name


def _row(point: Point, channels: Sequence[Channel]) -> dict[str, float]:
    values = {"input": list(point.inputs), "output": list(point.outputs), "node": list(point.nodes)}
    row: dict[str, float] = {NUMBER: point.number}
    for channel in channels:
        row[_column(channel)] = (
            point.knobs.get(channel.name, math.nan) if channel.kind == "knob" else values[channel.kind].pop(0)
        )
    return row
