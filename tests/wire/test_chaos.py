"""A bad line never makes a wrong value: faults on every reply, right digits replaced by wrong ones included.

A point is wrong if it is called settled and lies more than 5 sigma (and the settling tolerance) from the Bench's own
truth: the steady state of its hidden network with its sources as they are when the point is committed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from labthermo import Station
from labthermo.device import Status
from labthermo.errors import LabThermoError
from labthermo.records.journal import Journal, Point
from procedures.iv_curve import IvCurve
from simulators.faults import Chance

SINE = Path(__file__).parents[2] / "examples" / "sine"
DEADLINE = 0.05  # s, of one query; in the lab it is 5 s
LONGEST = 20.0  # s, that one point may take


@dataclass
class Verdict:
    points: int = 0
    wrong: list[str] = field(default_factory=list)
    retries: int = 0  # in the record
    spoiled: int = 0  # replies, by the bench's own count
    failure: str = ""
    slowest: float = 0.0  # s, of one point


def sweep_on_a_bad_line(folder: Path, probability: float, points: int, seed: int) -> Verdict:
    """An I-V procedure of `points` points, every reply of every instrument at risk."""
    folder.mkdir()
    (folder / "ndc_dots.yaml").write_text((SINE / "ndc_dots.yaml").read_text())
    text = (SINE / "station.yaml").read_text().replace("mismatch: 10 %", "mismatch: 10 %\n  offsets: false")
    text = text.replace('::SOCKET"}', f'::SOCKET", timeout: {DEADLINE} s}}')
    assert text.count(f"timeout: {DEADLINE} s") == 3
    (folder / "station.yaml").write_text(text)
    verdict = Verdict()
    clock = time.monotonic()

    def judge(point: Point) -> None:
        nonlocal clock
        verdict.slowest, clock = max(verdict.slowest, time.monotonic() - clock), time.monotonic()
        verdict.points += 1
        if point.status is not Status.SETTLED:
            return
        is_so = world._servers.call(world.bench.truth)
        for name, value, sigma, slack in (
            ("y", point.outputs[0], point.sigma[0], tolerance),
            ("i_lo", point.nodes[0], point.node_sigma[0], 0.0),
        ):
            off = abs(value - is_so[name])
            if not off <= 5 * sigma + slack:
                verdict.wrong.append(f"point {point.number}: {name} {value:g} is {off / sigma:.1f} sigma off")

    recipe = IvCurve(points=points // 2)
    station = Station(folder / "station.yaml")
    tolerance = station.config.device.settle.tolerance
    run_folder = folder / "run"
    try:
        with station:
            world = station.world
            run = station.run(folder, {"procedure": "iv_curve", "parameters": {}}, run_id="run", on_point=judge)
            with run:
                for k, name in enumerate(station.config.instruments):
                    world.risk(name, Chance(probability, seed=100 * seed + k, delay=2 * DEADLINE))
                try:
                    recipe.execute(run)
                except LabThermoError as error:
                    verdict.failure = str(error)
                finally:
                    for name in station.config.instruments:
                        verdict.spoiled += world._instruments[name].spoiled
                        world.risk(name, Chance(0.0))
    except LabThermoError as error:  # the safe state may be out of reach, too; that is said
        verdict.failure = verdict.failure or str(error)
    journal = Journal.open(run_folder, writable=False)
    verdict.retries = len(journal.events("line"))
    journal.close()
    return verdict


def test_without_faults_nothing_is_wrong_and_nothing_is_retried(tmp_path: Path):
    verdict = sweep_on_a_bad_line(tmp_path / "lab", 0.0, 60, 0)
    assert (verdict.points, verdict.wrong, verdict.retries, verdict.failure) == (60, [], 0, "")


def check(verdict: Verdict) -> None:
    assert verdict.wrong == []
    assert verdict.slowest < LONGEST
    # one bad reply is one retry, but that a bad reply may come while the line is being mended after another
    assert 0.4 * verdict.spoiled <= verdict.retries <= verdict.spoiled


def test_five_percent_of_bad_replies_make_no_wrong_value(tmp_path: Path):
    verdict = sweep_on_a_bad_line(tmp_path / "lab", 0.05, 100, 1)
    assert verdict.points == 100
    assert verdict.failure == ""
    assert verdict.spoiled > 50
    check(verdict)


def test_a_quarter_of_bad_replies_is_reported_or_right(tmp_path: Path):
    verdict = sweep_on_a_bad_line(tmp_path / "lab", 0.25, 16, 2)
    assert verdict.points == 16 or verdict.failure
    check(verdict)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_ten_thousand_points_with_five_percent_of_bad_replies(tmp_path: Path):
    verdict = sweep_on_a_bad_line(tmp_path / "lab", 0.05, 10_000, 3)
    print(
        f"\n{verdict.points} points, {verdict.spoiled} bad replies, {verdict.retries} retries in the record, "
        f"{len(verdict.wrong)} wrong, slowest point {verdict.slowest:.1f} s; {verdict.failure or 'no failure'}"
    )
    assert verdict.points == 10_000
    assert verdict.failure == ""
    check(verdict)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_twenty_sweeps_with_a_quarter_of_bad_replies(tmp_path: Path):
    verdicts = [sweep_on_a_bad_line(tmp_path / f"lab{seed}", 0.25, 50, seed) for seed in range(10, 30)]
    points, spoiled, retries = (sum(getattr(v, name) for v in verdicts) for name in ("points", "spoiled", "retries"))
    failed = [verdict for verdict in verdicts if verdict.failure]
    print(
        f"\n{points} points, {spoiled} bad replies, {retries} retries in the record, "
        f"{sum(len(v.wrong) for v in verdicts)} wrong, slowest point {max(v.slowest for v in verdicts):.1f} s; "
        f"{len(failed)} of {len(verdicts)} sweeps failed and said so"
    )
    for verdict in verdicts:
        assert verdict.points == 50 or verdict.failure
        check(verdict)
