"""`labthermo study`: what it does in which order, that it can be stopped and resumed, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from labthermo import Query, Station
from labthermo.config import StationConfig
from labthermo.errors import LabThermoError
from labthermo.records.journal import Journal
from labthermo.records.report import write_report
from labthermo.study import Studied, _round

XOR = Path(__file__).parents[3] / "examples" / "xor"
QUICK = """
station: crosstalk.yaml
task: xor
queries: 100
seeds: 1
knock_out: [dot1]
drift: {levels: 30 ueV, hours: 1, queries: 80}
dac_bits: [4, 16]
"""


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    for name in ("crosstalk.yaml", "two_dots.yaml"):
        (tmp_path / name).write_text((XOR / name).read_text())
    path = tmp_path / "quick.yaml"
    path.write_text(QUICK)
    return path


def new_journal(studied: Studied, folder: Path) -> Journal:
    return Station(studied.config, "model").new_journal(folder, {"procedure": "study"}, folder.name)


class Killed(BaseException):
    """Stands for SIGKILL."""


def test_a_study_killed_and_resumed_is_the_same_and_shows_what_hurts(quick: Path, tmp_path: Path) -> None:
    studied = Studied(quick)
    journal = new_journal(studied, tmp_path / "a")

    def step(remark: str, done: int) -> None:
        if done == 3:
            raise Killed

    with pytest.raises(Killed):
        studied.execute(journal, step)
    journal.close()
    journal = Journal.open(tmp_path / "a" / "a")
    again: list[str] = []
    studied._train = lambda *_, **__: again.append("trained") or {}  # type: ignore[method-assign, return-value]
    studied.execute(journal)  # only the DAC's resolution is left, which trains nothing
    assert not again
    units = {(e.detail["unit"]["part"], e.detail["unit"]["at"]): e.detail for e in journal.events("unit")}
    assert [part for part, _ in units] == ["trained", "knock_out", "drift", "dac_bits", "dac_bits"]
    trained = units["trained", None]
    assert trained["rmse"] < 0.05
    cut = units["knock_out", "dot1"]
    assert cut["untrained"] > 5.0 * trained["rmse"]  # half of the device is gone
    drifted = units["drift", 1]
    assert drifted["untrained"] > 2.0 * trained["rmse"]
    assert drifted["rmse"] < 0.5 * drifted["untrained"]
    assert drifted["queries"] < trained["queries"] + 20  # it starts from what is known
    assert units["dac_bits", 4]["rmse"] > 3.0 * units["dac_bits", 16]["rmse"]
    assert units["dac_bits", 16]["rmse"] == pytest.approx(trained["rmse"], abs=0.005)
    page = write_report(journal.folder).read_text()
    assert "it depends most on dot1" in page
    assert "SIMULATED" in page
    journal.close()


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("dot1]", "dot9]", "knock_out[0]: no edge or reaction 'dot9' in two_dots.yaml"),
        ("seeds: 1", "sedes: 1", "unknown key"),
        ("task: xor", "task: sine", "needs one input"),
        ("30 ueV", "30 mV", "drift.levels: '30 mV' is not in eV"),
        ("station: crosstalk.yaml", "station: none.yaml", "none.yaml"),
        ("task: xor", "task: xor\nmethod: magic", "no method 'magic'"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(quick: Path, old: str, new: str, complaint: str) -> None:
    quick.write_text(QUICK.replace(old, new))
    with pytest.raises(LabThermoError) as caught:
        Studied(quick)
    text = str(caught.value)
    assert complaint in text
    assert "\n" not in text


def test_noise_that_is_off_cannot_be_multiplied(quick: Path) -> None:
    station = quick.parent / "crosstalk.yaml"
    station.write_text(station.read_text().replace("noise: {y: 260 nV/Hz**0.5}", "noise: off"))
    quick.write_text(QUICK + "read_noise: [2]\n")
    with pytest.raises(LabThermoError, match="multiplies the station's noise, and it has none"):
        Studied(quick)


def test_rounding_to_bits_has_both_ends_of_the_range() -> None:
    assert [_round(v, -1.0, 1.0, 2) for v in (-1.0, -0.5, 0.2, 0.9, 1.0)] == pytest.approx(
        [-1.0, -1 / 3, 1 / 3, 1.0, 1.0]
    )


WELL = Path(__file__).parents[3] / "examples" / "ldh_one_well" / "station.yaml"
ENZYME = f"""
station: {WELL}
task: xor
queries: 12
seeds: 1
"""


@pytest.mark.parametrize(
    ("part", "complaint"),
    [
        ("drift: {levels: 5 ueV}", "drift.levels: are those of dots, and one_well.yaml has none; write activity: 1 %"),
        ("drift: {hours: 2}", "drift: write either levels, of dots, or activity, of enzymes"),
        ("drift: {activity: 1 %, levels: 5 ueV}", "drift: write either levels, of dots, or activity, of enzymes"),
        ("knock_out: [nadh_stock-well]", "knock_out[0]: no edge or reaction 'nadh_stock-well' in one_well.yaml; "),
        ("parasitic: {across: ldh, resistances: [1 Gohm]}", "parasitic: lies across an edge, and one_well.yaml has"),
        ("temperature: [5 %]", "temperature: is that of electrons, and one_well.yaml has none; leave it out"),
    ],
)
def test_what_an_enzyme_bench_has_not_is_refused_before_anything_is_trained(
    tmp_path: Path, part: str, complaint: str
) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(ENZYME + part + "\n")
    with pytest.raises(LabThermoError) as caught:
        Studied(path)
    assert str(caught.value).startswith(f"{path}:6: {complaint}")


def test_a_budget_that_buys_no_step_of_training_is_no_result(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(ENZYME.replace("queries: 12", "queries: 1"))
    studied = Studied(path)
    journal = new_journal(studied, tmp_path / "runs")
    with pytest.raises(
        LabThermoError, match=r"study\.yaml:4: queries: the first step of calibrated_twin takes \d+ dev"
    ):
        studied.execute(journal)
    journal.close()


def test_dots_lose_no_activity(quick: Path) -> None:
    quick.write_text(QUICK.replace("levels: 30 ueV", "activity: 1 %"))
    with pytest.raises(LabThermoError, match=r"drift\.activity: is that of enzymes, and two_dots\.yaml has none"):
        Studied(quick)


def test_an_enzyme_is_disturbed_by_its_own_means(tmp_path: Path) -> None:
    """Its activity, the reaction itself, and the photometer's noise; trainings are left out here."""
    path = tmp_path / "study.yaml"
    path.write_text(ENZYME + "knock_out: [ldh]\nread_noise: [3]\ndrift: {activity: 10 %, hours: 2}\n")
    studied = Studied(path)
    asked: list[StationConfig] = []
    found = {"rmse": 0.1, "queries": 4, "knobs": {"n": 2.75e-7, "e": 5.5e-7, "b": 1.7e-8}, "state": None}
    studied._train = lambda config, *_: asked.append(config) or dict(found)  # type: ignore[method-assign, return-value]
    journal = new_journal(studied, tmp_path / "runs")
    studied.execute(journal)
    units = {(e.detail["unit"]["part"], e.detail["unit"]["at"]): e.detail for e in journal.events("unit")}
    page = write_report(journal.folder).read_text()
    journal.close()
    assert [part for part, _ in units] == ["trained", "knock_out", "read_noise", "drift", "drift"]
    assert "All enzymes lose 10 % of their activity in an hour" in page
    whole, cut, noisy, _, older = asked
    sigma, nadh = [], []
    for config in (whole, cut, noisy, older):
        with Station(config, "model") as station:
            inputs = [[8.3e-7, 8.4e-9]]
            answer = station.device.query(Query(knobs=found["knobs"], inputs=inputs, reset="park"))
        sigma.append(answer.sigma[0, 0])
        nadh.append(answer.outputs[0, 0])
    assert sigma == pytest.approx([2e-3, 2e-3, 6e-3, 2e-3])
    assert nadh[1] == pytest.approx(2e-3 * 2.75e-7 / 2.51e-6 * 6220 * 0.55, rel=0.1)  # all NADH that comes in
    assert nadh[0] + 0.02 < nadh[3] < nadh[1] - 0.1  # 19 % less active
