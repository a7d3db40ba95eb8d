"""How robust a trained device is: a simulated sample is trained, then disturbed in one way after another.

Backend `model` only: what is disturbed is the hidden truth, which no bench lets go of. Every error is judged on the
sample as it is, without read noise, on the task's hold-out grid. Each part's result is an event of one journal, so that
a study can be stopped and resumed, and its report comes from the record alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from labthermo.config import PHOTOMETER_NOISE, ChargeJump, Hidden, StationConfig, load_station
from labthermo.device import Query
from labthermo.plugins import load
from labthermo.quantity import format_quantity, quantity
from labthermo.records.journal import Journal
from labthermo.station import Station
from labthermo.training.methods import Material, check_method, make_trainer
from labthermo.training.task import Task, make_task
from labthermo.yaml_file import Document, Keys, Section, read_yaml, suggest, validate

Floats = NDArray[np.float64]
Factor = Annotated[float, Field(gt=0, le=1000)]
Share = Annotated[float, quantity("", minimum=0, maximum=1)]
Warmer = Annotated[float, quantity("", minimum=-0.5, maximum=1)]
Resistance = Annotated[float, quantity("ohm", above=0)]
Bits = Annotated[int, Field(ge=2, le=24)]
UNIT = "unit"  # an event: one training or score, done


class Drift(Section):
    """Every dot's levels walk at random, all of one dot together; or all enzymes lose activity."""

    levels: Annotated[float, quantity("eV", above=0)] | None = Field(
        default=None, description="of dots: standard deviation after an hour"
    )
    activity: Annotated[float, quantity("", above=0, maximum=0.5)] | None = Field(
        default=None, description="of enzymes: share lost in an hour, of what is left"
    )
    hours: Annotated[int, Field(ge=1, le=1000)] = Field(default=8, description="how long, 1 to 1000")
    queries: Annotated[int, Field(ge=1)] = Field(default=300, description="budget of each hour's re-training")


class Parasitic(Section):
    """A resistance that neither the device file nor the twin knows of."""

    across: str = Field(description="name of an edge of the device file")
    resistances: tuple[Resistance, ...] = Field(min_length=1)


class Study(Section):
    """A study file. A part that is left out is not studied."""

    station: str = Field(description="station file, relative to this file")
    task: str = Field(description="as for labthermo train")
    method: str = "calibrated_twin"
    queries: Annotated[int, Field(ge=1)] = Field(default=1500, description="budget of each training")
    seeds: Annotated[int, Field(ge=1, le=100)] = Field(default=3, description="samples, each trained anew, 1 to 100")
    knock_out: tuple[str, ...] = Field(default=(), description="edges or reactions of the device file, one at a time")
    read_noise: tuple[Factor, ...] = Field(default=(), description="times the station's noise, or the photometers'")
    drift: Drift | None = None
    mismatch: tuple[Share, ...] = Field(
        default=(), description="of the sample; the twin's prior stays: inside its family"
    )
    parasitic: Parasitic | None = Field(default=None, description="outside the twin's family")
    temperature: tuple[Warmer, ...] = Field(
        default=(), description="electrons warmer than the twin knows: outside, too"
    )
    dac_bits: tuple[Bits, ...] = Field(default=(), description="of every knob over its limits, after training")


@dataclass(frozen=True)
class Unit:
    """One training or score. part: of the study; at: where on its axis (an edge's name, or a number); seed."""

    part: str
    at: Any
    seed: int


class Studied:
    """A study file with its station, checked.

    Raises
    ------
    StationFileError, ParameterError, TaskError: anything wrong with either file, in one line.
    """

    def __init__(self, path: Path, station: Path | None = None) -> None:
        """station: instead of the one that the file names, as when it is read from a record."""
        self.document: Document = read_yaml(path)
        self.study = validate(self.document, Study)
        self.config: StationConfig = load_station(station or path.parent / self.study.station)
        check_method(self.study.method)
        for keys, complaint in self._complaints():
            raise self.document.error(keys, complaint)
        from labthermo.limits import device_channels

        self.channels = device_channels(self.config)
        self.task: Task = make_task(self.study.task, self.channels)

    def _complaints(self) -> Iterator[tuple[Keys, str]]:
        """What the study asks for and this device has not: said before anything is trained."""
        study, file = self.study, self.config.device_file.name
        for k, name in enumerate(study.knock_out):
            if name not in self.laws:
                yield ("knock_out", k), f"no edge or reaction {name!r} in {file}; {suggest(name, self.laws)}"
        if study.read_noise and not self._noise:
            yield ("read_noise",), "multiplies the station's noise, and it has none; leave it out"
        if study.drift and (study.drift.levels is None) == (study.drift.activity is None):
            yield ("drift",), "write either levels, of dots, or activity, of enzymes"
        if not self.edges:
            what = f"and {file} has none"
            if study.drift and study.drift.levels is not None:
                yield ("drift", "levels"), f"are those of dots, {what}; write activity: 1 %, what enzymes lose an hour"
            if study.parasitic:
                yield ("parasitic",), f"lies across an edge, {what}; leave it out"
            if study.temperature:
                yield ("temperature",), f"is that of electrons, {what}; leave it out"
        elif study.parasitic and study.parasitic.across not in self.edges:
            name = study.parasitic.across
            yield ("parasitic", "across"), f"no edge {name!r} in {file}; {suggest(name, self.edges)}"
        enzymes = [law for law in self.laws.values() if hasattr(law, "vmax") or hasattr(law, "k1")]
        if study.drift and study.drift.activity is not None and not enzymes:
            yield ("drift", "activity"), f"is that of enzymes, and {file} has none; write levels: 5 ueV, a dot's walk"

    @cached_property
    def _processes(self) -> dict[str, Any]:
        file = load("labthermo.simulators", "device_file")(self.config.device_file)
        return dict(zip(file.labels, file.network.processes, strict=True))

    @cached_property
    def laws(self) -> dict[str, Any]:
        """The law of each edge and reaction of the device file, by name; flows of liquid have none."""
        return {name: process.law for name, process in self._processes.items() if hasattr(process, "law")}

    @cached_property
    def edges(self) -> list[str]:
        return [name for name in self.laws if hasattr(self._processes[name], "second")]

    @cached_property
    def _noise(self) -> dict[str, float]:
        """What `read_noise` multiplies, by output: V/Hz**0.5, or OD a reading of a photometer."""
        simulation = self.config.simulation
        read = {name: PHOTOMETER_NOISE for name, output in self.config.device.outputs.items() if output.light}
        return {} if simulation.noiseless else {**read, **{n: d for n, d in simulation.noise.items() if d}}

    def units(self) -> Iterator[Unit]:
        """Everything that is to be done, in order: what later ones build on comes first."""
        study = self.study
        for seed in range(study.seeds):
            yield Unit("trained", None, seed)
            yield from (Unit("knock_out", name, seed) for name in study.knock_out)
            yield from (Unit("read_noise", factor, seed) for factor in study.read_noise)
            if study.drift:
                yield from (Unit("drift", hour, seed) for hour in range(1, study.drift.hours + 1))
            yield from (Unit("mismatch", share, seed) for share in study.mismatch)
            if study.parasitic:
                yield from (Unit("parasitic", ohms, seed) for ohms in study.parasitic.resistances)
            yield from (Unit("temperature", share, seed) for share in study.temperature)
            yield from (Unit("dac_bits", bits, seed) for bits in study.dac_bits)

    def execute(self, journal: Journal, step: Callable[[str, int], None] = lambda remark, done: None) -> None:
        """Do every unit that the journal does not have, then write figures, tables and sentences into it."""
        done = {_key(Unit(**e.detail["unit"])): e.detail for e in journal.events(UNIT)}
        for number, unit in enumerate(self.units()):
            what = unit.part.replace("_", " ") if unit.at is None else f"{unit.part.replace('_', ' ')} {unit.at}"
            step(f"{what}, seed {unit.seed}", number)
            if _key(unit) not in done:
                result = self._do(unit, done)
                journal.event(UNIT, unit={"part": unit.part, "at": unit.at, "seed": unit.seed}, **result)
                done[_key(unit)] = result
        step("report", len(list(self.units())))
        _report(journal, self, done)

    def _do(self, unit: Unit, done: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        study, trained = self.study, done.get(_key(Unit("trained", None, unit.seed)), {})
        match unit.part:
            case "trained":
                return self._train(self.config, unit.seed)
            case "knock_out":
                cut = self._hidden(knocked_out=(unit.at,))
                again = self._train(cut, unit.seed)
                return {"untrained": self._judge(cut, unit.seed, trained["knobs"]), **_brief(again)}
            case "read_noise":
                noise = {name: size * unit.at for name, size in self._noise.items()}
                return _brief(self._train(self.config.with_simulation(noise=noise), unit.seed))
            case "drift":
                assert study.drift is not None
                drifted = self._drifted(study.drift, unit.at, unit.seed)
                before = done[_key(Unit("drift", unit.at - 1, unit.seed))] if unit.at > 1 else trained
                again = self._train(drifted, unit.seed, study.drift.queries, before)
                return {"untrained": self._judge(drifted, unit.seed, trained["knobs"]), **again}
            case "mismatch":
                return _brief(self._train(self.config.with_simulation(mismatch=unit.at), unit.seed))
            case "parasitic":
                assert study.parasitic is not None
                return _brief(self._train(self._hidden(parasitic={study.parasitic.across: unit.at}), unit.seed))
            case "temperature":
                return _brief(self._train(self._hidden(temperature=unit.at), unit.seed))
        knobs = {c.name: c for c in self.channels if c.kind == "knob"}
        rounded = {name: _round(value, knobs[name].minimum, knobs[name].maximum, unit.at)
                   for name, value in trained["knobs"].items()}  # fmt: skip
        return {"rmse": self._judge(self.config, unit.seed, rounded)}

    def _hidden(self, **changes: Any) -> StationConfig:
        hidden: Hidden = self.config.simulation.hidden
        return self.config.with_simulation(hidden=hidden.model_copy(update=changes))

    def _drifted(self, drift: Drift, hour: int, seed: int) -> StationConfig:
        """After so many hours: every edge's levels at the sum of that many steps, or every enzyme's activity less."""
        if drift.levels is None:
            assert drift.activity is not None
            hidden = self.config.simulation.hidden
            return self._hidden(activity=hidden.activity * (1.0 - drift.activity) ** hour)
        steps = np.random.default_rng([seed, 5]).standard_normal((drift.hours, len(self.edges)))
        away = drift.levels * steps[:hour].sum(axis=0)
        there = self.config.simulation.hidden.charge_jumps
        jumps = (ChargeJump(of=n, shift=float(s), query=0) for n, s in zip(self.edges, away, strict=True))
        return self._hidden(charge_jumps=(*there, *jumps))

    def _train(
        self, config: StationConfig, seed: int, queries: int | None = None, start: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Train one sample, from what is known of it (`start`: an earlier result) or from the design."""
        budget, used = queries or self.study.queries, 0
        with Station(config.with_seed(seed), "model") as station:
            device, twin = station.device, station.twin()
            known: Sequence[dict[str, Any]] = ()
            if start is not None and start.get("state"):
                twin.restore(start["state"]["twin"])
                known = start["state"]["settings"]
            trainer = make_trainer(self.study.method, Material(self.task, device, twin, seed, known))
            while (ask := trainer.ask()) is not None and used + len(np.asarray(ask.query.inputs)) <= budget:
                trainer.tell(device.query(replace(ask.query, number=used)))
                used += len(np.asarray(ask.query.inputs))
            if ask is not None and used == 0:
                keys = ("queries",) if queries is None else ("drift", "queries")
                need = f"the first step of {self.study.method} takes {len(np.asarray(ask.query.inputs))} device queries"
                raise self.document.error(keys, f"{need}, and {budget} are allowed; allow more")
            knobs, state = trainer.result(), trainer.state()
        kept = {name: state[name] for name in ("twin", "settings") if name in state}
        return {
            "rmse": self._judge(config, seed, knobs), "queries": used, "knobs": knobs,
            "state": json.loads(json.dumps(kept)) if len(kept) == 2 else None,
        }  # fmt: skip

    def _judge(self, config: StationConfig, seed: int, knobs: Mapping[str, float]) -> float:
        silent = config.with_simulation(noise={"*": 0.0}, quantisation=False).with_seed(seed)
        with Station(silent, "model") as station:
            answer = station.device.query(Query(knobs=knobs, inputs=self.task.score_inputs, reset="park"))
        return self.task.score(answer.outputs)


def _key(unit: Unit) -> str:
    return json.dumps([unit.part, unit.at, unit.seed])


def _brief(result: Mapping[str, Any]) -> dict[str, Any]:
    return {name: result[name] for name in ("rmse", "queries")}


def _round(value: float, low: float, high: float, bits: int) -> float:
    """The nearest of 2**bits levels from low to high."""
    step = (high - low) / (2**bits - 1)
    return float(np.clip(low + step * round((value - low) / step), low, high))


def _report(journal: Journal, studied: Studied, done: Mapping[str, Mapping[str, Any]]) -> None:
    study, seeds = studied.study, range(studied.study.seeds)

    def of(part: str, at: Any, name: str = "rmse") -> list[float]:
        return [float(done[_key(Unit(part, at, seed))][name]) for seed in seeds]

    def curve(label: str, part: str, places: Sequence[Any], name: str = "rmse", first: Sequence[float] = ()) -> Any:
        x = [0.0, *places] if first else list(places)
        medians = [*([np.median(first)] if first else []), *(np.median(of(part, at, name)) for at in places)]
        return {"label": label, "x": x, "y": [100.0 * float(value) for value in medians]}

    def draw(title: str, caption: str, curves: list[Any], x_name: str, x_unit: str = "", **more: Any) -> None:
        drawn = {"y_name": "error, % of the amplitude", "y_unit": "", "log": True, **more}
        journal.event("figure", kind="curves", title=title, caption=f"{caption} Median of {study.seeds} samples.",
                      curves=curves, x_name=x_name, x_unit=x_unit, **drawn)  # fmt: skip

    def tabulate(title: str, what: str, part: str, places: Sequence[Any], show: Callable[[Any], str]) -> None:
        names = [n for n in ("untrained", "rmse", "queries") if n in done[_key(Unit(part, places[0], 0))]]
        heads = {"untrained": "knobs as they were", "rmse": "trained" if len(names) > 1 else "error",
                 "queries": "queries"}  # fmt: skip
        rows = [[show(at), *(_spread(of(part, at, n), n) for n in names)] for at in places]
        journal.event("table", title=title, columns=[what, *(heads[n] for n in names)], rows=rows)

    plain = of("trained", None)
    whole = (
        f"trained as it is: {_spread(plain, 'rmse')} after {_spread(of('trained', None, 'queries'), 'queries')} queries"
    )
    said = [whole]
    if edges := study.knock_out:
        tabulate("Knock-out", "without", "knock_out", edges, str)
        worst = max(edges, key=lambda name: np.median(of("knock_out", name, "untrained")))
        was, now = (_spread(of("knock_out", worst, name), "rmse") for name in ("untrained", "rmse"))
        said.append(f"it depends most on {worst}: without it {was}, and {now} once trained anew")
    if factors := sorted(study.read_noise):
        draw("Read noise", "Each sample trained anew at each noise.", [curve("error", "read_noise", factors)],
             "read noise, times the station's")  # fmt: skip
        tabulate("Read noise: errors and queries", "times", "read_noise", factors, "{:g}".format)
    if drift := study.drift:
        hours = list(range(1, drift.hours + 1))
        what = (
            f"Every dot's levels walk by {format_quantity(drift.levels, 'eV')} in an hour." if drift.levels is not None
            else f"All enzymes lose {format_quantity(drift.activity or 0.0, '%')} of their activity in an hour."
        )  # fmt: skip
        draw("Drift", f"{what} Re-training starts from what is known.",
             [curve("knobs as they were", "drift", hours, "untrained", plain),
              curve("trained again each hour", "drift", hours, "rmse", plain)], "hours")  # fmt: skip
        tabulate("Drift: errors, and queries of each re-training", "hours", "drift", hours, str)
    if shares := sorted(study.mismatch):
        draw("Mismatch inside the twin's family", f"The twin reckons with {studied.config.device.uncertainty:.0%}.",
             [_in_percent(curve("error", "mismatch", shares))], "mismatch of the sample, %")  # fmt: skip
        tabulate("Mismatch inside the family: errors and queries", "mismatch", "mismatch", shares, "{:.0%}".format)
    if outside := study.parasitic:
        ohms = sorted(outside.resistances, reverse=True)
        drawn = curve("error", "parasitic", ohms)
        drawn["x"] = [1.0 / r for r in ohms]
        draw("A conductance that the twin does not know", f"Across {outside.across}: outside the twin's family.",
             [drawn], "parasitic conductance", "S")  # fmt: skip
        tabulate("Parasitic: errors and queries", "resistance", "parasitic", ohms, lambda r: format_quantity(r, "ohm"))
    if warmer := sorted(study.temperature):
        draw("Electrons warmer than the twin knows", "Outside the twin's family, unless `unknowns` has it.",
             [_in_percent(curve("error", "temperature", warmer))], "warmer by, %")  # fmt: skip
        tabulate("Temperature: errors and queries", "warmer by", "temperature", warmer, "{:+.0%}".format)
    if bits := sorted(study.dac_bits):
        draw("Resolution of the knobs", "Knobs rounded after training, to so many bits over their limits.",
             [curve("rounded", "dac_bits", bits)], "bits",
             levels={"not rounded": 100.0 * float(np.median(plain))})  # fmt: skip
        tabulate("Resolution: errors", "bits", "dac_bits", bits, str)
    floor = studied.task.floor()
    if floor is not None:
        said.append(f"a device without NDC could do no better than {format_quantity(floor, '%', 3)}")
    journal.event("study", message="; ".join(said))


def _in_percent(curve: dict[str, Any]) -> dict[str, Any]:
    return {**curve, "x": [100.0 * at for at in curve["x"]]}


def _spread(values: Sequence[float], name: str) -> str:
    """Median, and lowest to highest where they differ."""
    show = (lambda v: f"{v:.0f}") if name == "queries" else (lambda v: format_quantity(float(v), "%", 3))
    low, middle, high = (show(f(values)) for f in (np.min, np.median, np.max))
    return middle if low == high else f"{middle} ({low} to {high})"
