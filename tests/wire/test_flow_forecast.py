"""What a run on a flow bench uses up: counted, reported, and forecast on the design for another sample."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labthermo import Station, Status
from labthermo.config import StationConfig, load_station
from labthermo.forecast import forecast
from labthermo.records.report import write_report, write_summary
from labthermo.training.task import make_task
from procedures.dilution_scan import DilutionScan
from procedures.dose_response import DoseResponse
from procedures.sweep import Sweep

EXAMPLES = Path(__file__).parents[2] / "examples"
INHIBITED = EXAMPLES / "inhibited_well" / "station.yaml"
R2_POINT = (
    "n1=41.78 uL/min, e1=52.49 uL/min, b1=47.25 uL/min, n2=14.33 uL/min, e2=1 uL/min, b2=99 uL/min, t12=47 uL/min"
)
SCANS: list[tuple[Path, Any]] = [
    (INHIBITED, DoseResponse(stock=40e-3, points=6, blanks=1)),
    (EXAMPLES / "ldh_two_wells" / "station.yaml", Sweep(x_points=15, hold=R2_POINT)),
]


def run_it(config: StationConfig, recipe: Any, folder: Path) -> tuple[dict[str, float], float, Path, Any]:
    """Litres by pump and seconds, by the Bench's own log; the run's folder; its counted usage."""
    with Station(config, "wire") as station:
        began = station.clock.now()
        with station.run(folder, {"procedure": recipe.name}) as run:
            recipe.execute(run)
            run.journal.finish("finished")
        lasted = station.clock.now() - began
        log = [e for e in station.world.read_log() if e.quantity == "flow"]
        end = station.clock.now()
        (usage,) = run_events(run.journal.folder)
    volumes = {}
    for pump in {e.channel for e in log}:
        mine = [e for e in log if e.channel == pump]
        until = [*(e.time for e in mine[1:]), end]
        volumes[pump] = sum(e.programmed * (t - e.time) for e, t in zip(mine, until, strict=True))
    return volumes, lasted, run.journal.folder, usage


def run_events(folder: Path) -> list[dict[str, Any]]:
    from labthermo.records.journal import Journal

    journal = Journal.open(folder, writable=False)
    found = [e.detail for e in journal.events("usage")]
    journal.close()
    return found


@pytest.mark.parametrize(("path", "recipe"), SCANS, ids=["dose_response", "sweep of R2"])
def test_a_plan_foretells_time_and_volumes_of_another_sample(path, recipe, tmp_path):
    """10 % hidden mismatch and another seed: duration within 10 %, volumes within 3 % of all that flows."""
    config = load_station(path)
    plan = forecast(config, recipe.name, lambda run, _: recipe.execute(run), tmp_path / "plan", dry_runs=3)
    assert plan.problems == ()
    assert plan.reads > plan.points
    other = config.with_seed(config.simulation.seed + 1)
    assert other.simulation.mismatch == 0.1
    volumes, lasted, folder, usage = run_it(other, recipe, tmp_path / "runs")
    assert plan.bench_time == pytest.approx(lasted, rel=0.10)
    foretold = {t.channel: t.delivered for t in plan.travels}
    assert sum(v or 0.0 for v in foretold.values()) == pytest.approx(sum(volumes.values()), rel=0.03)
    # what is counted for the report agrees with the bench's log
    assert usage["seconds"] == pytest.approx(lasted, rel=0.01)
    for pump, volume in volumes.items():
        assert usage["delivered"][pump] == pytest.approx(volume, rel=0.01, abs=2e-6)
    page = write_report(folder).read_text(encoding="utf-8")
    assert "Time on the bench" in page
    assert "Pumped by" in page
    summary = json.loads(write_summary(folder, {}).read_text())
    assert summary["usage"]["reads"] == usage["reads"] > len(volumes)


def test_a_plan_counts_refills_and_says_that_the_syringe_would_run_empty(tmp_path):
    text = INHIBITED.read_text(encoding="utf-8")
    (tmp_path / "well.yaml").write_text((INHIBITED.parent / "well.yaml").read_text(encoding="utf-8"))
    small = text.replace("diameter: 26.59e-3", "diameter: 26.59e-3, syringe_volume: 0.01")
    (tmp_path / "station.yaml").write_text(small)
    recipe = DoseResponse(stock=40e-3, points=6, blanks=1)
    plan = forecast(load_station(tmp_path / "station.yaml"), "x", lambda run, _: recipe.execute(run), tmp_path / "p")
    (buffer,) = [t for t in plan.travels if t.channel == "b"]
    assert buffer.delivered is not None
    assert buffer.refills is not None
    assert buffer.refills >= int(buffer.delivered / 0.01) >= 1
    assert any("b would run empty" in problem for problem in plan.problems)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_hours_on_the_bench_take_less_than_five_minutes(tmp_path):
    """24 doses through the stock drivers; measured: 9.6 h of bench time in about 20 s on two busy cores."""
    began = time.perf_counter()
    _, lasted, _, _ = run_it(load_station(INHIBITED), DoseResponse(stock=40e-3, points=26), tmp_path)
    assert lasted > 36_000.0
    assert time.perf_counter() - began < 300.0


def scan(path: Path, recipe: DilutionScan, folder: Path, mismatch: bool = False) -> list[dict[str, Any]]:
    config = load_station(path)
    config = config if mismatch else config.as_designed()
    with Station(config, "model") as station, station.run(folder, {}) as run:
        recipe.execute(run)
        (found,) = run.journal.events("dilution_scan")
    return found.detail["scans"]


def test_below_the_fold_a_well_has_two_states_and_the_folds_are_where_theory_has_them(tmp_path):
    slow, fast = scan(INHIBITED, DilutionScan(), tmp_path)
    flow = slow["flow"]
    # theory: along s at a constant total flow, v'(S) = -D
    substrate = np.linspace(1e-5, 60e-3, 600_001)
    rate = 1e-4 * substrate / (1e-3 + substrate + substrate**2 / 1e-3)
    feed = substrate + rate / (flow / 200e-6)
    turns = np.flatnonzero(np.diff(np.sign(np.diff(feed))))
    up, down = feed[turns] / 40e-3
    assert slow["bistable"]
    assert slow["up"][0] == pytest.approx(up, rel=0.05)
    assert slow["down"][0] == pytest.approx(down, rel=0.05)
    assert not fast["bistable"]
    assert fast["dilution"] > 0.0616 * 1e-4 / 1e-3 > slow["dilution"]  # physics.md, section 3
    assert abs(fast["gap"][0]) < 3.0 * fast["gap"][1]


@pytest.mark.parametrize(("example", "substrate", "hold", "other"), [
    ("ldh_one_well", "u1", "n=16.5 uL/min, e=33 uL/min, b=1 uL/min", "100.5 uL/min"),
    ("ldh_two_wells", "u", R2_POINT, "161.33 uL/min"),
])  # fmt: skip
def test_the_ldh_wells_have_one_state(example, substrate, hold, other, tmp_path):
    recipe = DilutionScan(
        substrate=substrate,
        buffer="none",
        flows="50 uL/min",
        start=0.02,
        stop=1.0,
        points=31,
        hold=hold,
        other=other,
    )
    (found,) = scan(EXAMPLES / example / "station.yaml", recipe, tmp_path, mismatch=True)
    assert not found["bistable"]
    assert abs(found["gap"][0]) < 3.0 * found["gap"][1]


FAULTS = {"stall": "s", "empty_syringe": "s", "overpressure": "b"}


@pytest.mark.parametrize("kind", [k if k == "stall" else pytest.param(k, marks=pytest.mark.slow) for k in FAULTS])
def test_a_pump_that_stalls_ends_a_procedure_with_its_name(kind, tmp_path):
    from labthermo.errors import InstrumentError

    recipe = DoseResponse(stock=40e-3, points=6, blanks=1)
    with Station(INHIBITED, "wire") as station, station.run(tmp_path, {}) as run:
        station.world.inject(FAULTS[kind], kind, at=3000.0)
        with pytest.raises(InstrumentError, match=f"{FAULTS[kind]}: has stalled"):
            recipe.execute(run)
        points = run.journal.points()
    assert 0 < len(points) < 7
    assert {p.status for p in points} == {Status.SETTLED}


@pytest.mark.parametrize("kind", ["lid_open", pytest.param("saturated", marks=pytest.mark.slow)])
def test_what_the_reader_cannot_read_is_no_number_and_nothing_is_trained_on_it(kind, tmp_path):
    from labthermo.training.loop import Plan, train

    with Station(EXAMPLES / "ldh_one_well" / "station.yaml", "wire") as station, station.run(tmp_path, {}) as run:
        station.world.inject("reader", kind)
        task = make_task("xor", station.device.channels)
        outcome = train(run, Plan(task, "calibrated_twin", 8, 1), station.twin(), station.twin)
        points = run.journal.points()
        state = run.journal.trainer_state()
    expected = {"lid_open": Status.ABANDONED, "saturated": Status.OVERFLOW}[kind]
    assert {p.status for p in points} == {expected}
    assert outcome.rmse is None  # nothing could be scored
    assert state is not None
    readings = [np.array(s["readings"], dtype=float) for s in state["trainer"]["settings"]]
    assert all(np.isnan(r).all() for r in readings)
