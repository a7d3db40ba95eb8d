"""A report is whole without any network, says whether it is simulated, and shows nothing that runs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labthermo.device import Query, Response, Status
from labthermo.errors import RecordError
from labthermo.records import figures
from labthermo.records.journal import Journal
from labthermo.records.report import banner_of, duration, write_report, write_summary

CHANNELS = [
    {"name": "x", "kind": "input", "unit": "V", "minimum": -0.2e-3, "maximum": 3e-3},
    {"name": "y", "kind": "output", "unit": "V", "minimum": -math.inf, "maximum": math.inf},
]
EVIL = "<script>alert('owned')</script>"


class Page(HTMLParser):
    """Every tag with its attributes, every text, and whether all that was opened was closed in order."""

    EMPTY = frozenset({"meta", "br", "path", "use", "rect", "line", "circle", "image"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.EMPTY:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def ids(self) -> list[str]:
        return [a["id"] for _, a in self.tags if a.get("id")]  # type: ignore[misc]

    def sections(self) -> list[str]:
        return [a["id"] for t, a in self.tags if t == "section"]  # type: ignore[misc]


@contextmanager
def run(folder: Path, **header: Any) -> Iterator[Journal]:
    journal = Journal.create(folder, {"backend": "wire", "task": "sine", "channels": CHANNELS, **header})
    try:
        yield journal
    finally:
        journal.close()


def add_points(journal: Journal, number: int, purpose: str, status: Status, settle_time: float) -> None:
    column = np.ones((number, 1))
    answer = Response(
        column, column, column, column, settle_time * np.ones(number), (status,) * number, column, {"p1": 0.1}
    )
    journal.append(Query({"p1": 0.1}, column), answer, purpose)


def fit_event(output: str = "y", inputs: int = 1, **changes: Any) -> dict[str, Any]:
    x = np.linspace(0.9e-3, 2.7e-3, 50)
    target = 2.6e-4 + 1.3e-4 * np.sin(2 * np.pi * x / 1.8e-3)
    return {
        "input": "x",
        "output": output,
        "inputs": np.repeat(x[:, None], inputs, axis=1),
        "target": target,
        "measured": target + 1e-6,
        "sigma": np.full(50, 1e-6),
        "monotone": np.sort(target),
        "amplitude": 1.3e-4,
        "rmse": 0.0077,
        "floor": 0.7053,
    } | changes


def fill(journal: Journal) -> None:
    """All that a training run leaves."""
    for step in range(20):
        journal.event("progress", queries=32 * step, rmse=0.9 * 0.8**step, best=0.9 * 0.8**step, phase="training")
    add_points(journal, 98, "train", Status.SETTLED, 0.05)
    add_points(journal, 2, "score", Status.BISTABLE, math.nan)
    journal.event("fit", **fit_event())
    voltage = np.linspace(0, 3e-3, 40)
    for source in ("twin", "measured"):
        journal.event(
            "iv",
            label="dot 1",
            voltage=voltage,
            current=1e-9 * np.sin(1000 * voltage),
            sigma=None,
            source=source,
            regions=[{"start": 1.6e-3, "stop": 3e-3, "confidence": 0.99}],
        )
    journal.event("control", rmse=0.712, floor=0.7053, source="barriers detuned, measured")
    journal.event("parameters", gamma_1=[1e9, 1e8, 1e6], gamma_2=[2e9, 1e8, None])
    journal.event("trip", channel="p1", current=2e-9)


def report(folder: Path) -> Page:
    return Page(write_report(folder).read_text(encoding="utf-8"))


def test_a_training_run_in_full(tmp_path: Path) -> None:
    with run(tmp_path / "r1", method="calibrated twin", seed=7, station={"station.yaml": "a: b\nc: d\n"}) as journal:
        fill(journal)
        journal.finish("finished")
        page = report(tmp_path / "r1")
    assert page.sections() == ["result", "progress", "current-voltage", "behaviour", "parameters", "provenance"]
    assert sum(tag == "svg" for tag, _ in page.tags) == 4
    for words in (
        "follows its target to 0.77 % of the amplitude",
        "best answer that only rises is off by 70.5 %: this device beats that floor",
        "with its negative differential conductance off reaches 71.2 % (source: barriers detuned, measured)",
        "dot 1: calculated from the twin, not measured. Negative differential conductance, shaded: 1.6 mV to 3 mV",
        "dot 1: measured on the simulated device. Negative",
        "floor without NDC",
        "99 % below 50 ms",
        "train 98",
        "bistable",
        "a: b\nc: d\n",
        "channel: p1, current: 2e-09",
        "calibrated twin",
        "-200 µV to 3 mV",
    ):
        assert words in page.text, words
    assert len(page.ids()) == len(set(page.ids()))


def test_nothing_on_the_page_points_outside_or_runs(tmp_path: Path) -> None:
    with run(tmp_path / "r1") as journal:
        fill(journal)
        page = report(tmp_path / "r1")
    assert "://" not in (tmp_path / "r1" / "report.html").read_text(encoding="utf-8")
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "img", "object", "embed", "base", "form"}
    ids = set(page.ids())
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name not in ("src", "xlink:href", "srcset", "data", "action"), (tag, name)
            for inner in re.findall(r"url\(#(.*?)\)", value or "") + ([value[1:]] if name == "href" and value else []):
                assert inner in ids, (tag, name, value)
            assert "url(" not in re.sub(r"url\(#", "", value or "")


def test_the_error_falls_from_left_to_right_and_the_floor_is_drawn(tmp_path: Path) -> None:
    with run(tmp_path / "r1") as journal:
        fill(journal)
        text = write_report(tmp_path / "r1").read_text(encoding="utf-8")
    curve = text[text.index('id="progress"') :]
    assert ">floor without NDC</text>" in curve
    assert ">10 %</text>" in curve
    assert ">training</text>" in curve


@pytest.mark.parametrize(
    ("backend", "banner"), [("wire", "SIMULATED: wire twin"), ("model", "SIMULATED: model"), ("real", "")]
)
def test_the_banner_follows_the_backend(backend: str, banner: str, tmp_path: Path) -> None:
    with run(tmp_path / "r1", backend=backend) as journal:
        add_points(journal, 1, "train", Status.SETTLED, 0.1)
        page = report(tmp_path / "r1")
    text = (tmp_path / "r1" / "report.html").read_text(encoding="utf-8")
    assert any(a.get("class") == "banner" for _, a in page.tags) == bool(banner)
    title = re.search("<title>(.*)</title>", text)
    assert title is not None
    assert title.group(1) == (f"{banner} – run r1" if banner else "run r1")
    assert ("SIMULATED" in text) == bool(banner)
    assert json.loads(write_summary(tmp_path / "r1", {"simulated": False}).read_text())["simulated"] == bool(banner)


@pytest.mark.parametrize("backend", [None, "", "Real", "real ", "bench", 1])
def test_only_real_goes_without_a_banner(backend: Any) -> None:
    assert banner_of(backend).startswith("SIMULATED: unknown backend")


def test_an_empty_run_has_a_report(tmp_path: Path) -> None:
    with run(tmp_path / "r1", channels=None):
        page = report(tmp_path / "r1")
    assert page.sections() == ["behaviour", "provenance"]
    assert "No point was measured" in page.text


def test_a_run_that_died_says_so(tmp_path: Path) -> None:
    with run(tmp_path / "r1"):
        assert "running" in report(tmp_path / "r1").text
    assert "interrupted" in report(tmp_path / "r1").text


def test_text_from_outside_stays_text(tmp_path: Path) -> None:
    evil = f'{EVIL}"><img src=x onerror=alert(1)> $\\frac{{1}}{{0}}$ id="x" 漢字'
    header = {
        "station": f"a: {evil}\nb: c\n",
        "command": evil,
        "task": evil,
        "versions": {evil: evil},
        "channels": [{"name": evil, "kind": evil, "unit": evil}],
    }
    with run(tmp_path / "r1", **header) as journal:
        add_points(journal, 1, evil, Status.SETTLED, 0.1)
        journal.event("fit", **fit_event(evil, input=evil))
        journal.event("iv", label=evil, voltage=[0, 1], current=[0, 1], sigma=[0.1, 0.1], source=evil, regions=[])
        journal.event("progress", queries=1, rmse=0.5, best=0.5, phase=evil)
        journal.event("control", rmse=0.5, floor=0.5, source=evil)
        journal.event("parameters", **{evil: [1, 2, 3]})
        journal.event(evil, **{evil: evil})
        page = report(tmp_path / "r1")
    assert not {tag for tag, _ in page.tags} & {"script", "img"}
    assert page.text.count(EVIL) >= 10
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert "complaint" not in [a.get("class") for _, a in page.tags]


def test_names_are_not_read_as_formulas(tmp_path: Path) -> None:
    with run(tmp_path / "r1") as journal:
        journal.event("fit", **fit_event(r"_$\frac{$", input="漢字"))
        text = write_report(tmp_path / "r1").read_text(encoding="utf-8")
    assert r">$\frac{$</text>" in text
    assert ">漢字</text>" in text


def test_numbers_that_are_missing_or_not_finite_are_left_out(tmp_path: Path) -> None:
    with run(tmp_path / "r1") as journal:
        gaps = [math.nan if i % 7 == 0 else 1e-4 * i for i in range(50)]
        journal.event("fit", **fit_event(measured=gaps, sigma=[None] * 50, monotone=None, rmse=math.nan, floor=None))
        journal.event("progress", queries=0, rmse=math.inf, best=None, phase="")
        journal.event("progress", queries=1, rmse=0.0, best=0.0, phase="")
        journal.event("control", rmse=None, floor=None, source="twin")
        page = report(tmp_path / "r1")
    assert "complaint" not in [a.get("class") for _, a in page.tags]
    assert "follows its target" not in page.text
    assert sum(tag == "svg" for tag, _ in page.tags) == 2


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    with run(tmp_path / "r1") as journal:
        journal.event("fit", **fit_event("y", rmse=0.5))
        journal.event("fit", **fit_event("z", inputs=2, rmse=0.9, sigma=None))
        journal.event("fit", **fit_event("y", rmse=0.01))
        page = report(tmp_path / "r1")
    assert sum(tag == "svg" for tag, _ in page.tags) == 2
    assert "output y, follows its target to 1 %" in page.text
    assert "this device does not beat that floor" in page.text
    assert "Points on the diagonal" in page.text


def test_an_event_that_makes_no_sense_costs_only_its_own_section(tmp_path: Path) -> None:
    with run(tmp_path / "r1") as journal:
        journal.event("fit", target=[1, 2])
        journal.event("iv", label="dot", voltage=[1, 2], current=[1, 2, 3])
        journal.event("progress", queries=1, rmse=0.5)
        page = report(tmp_path / "r1")
    assert "An event 'fit' could not be shown" in page.text
    assert "An event 'iv' could not be shown" in page.text
    assert "progress" in page.sections()


def test_no_journal_no_report(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"has no journal\.sqlite"):
        write_report(tmp_path)
    with pytest.raises(RecordError, match=r"has no journal\.sqlite"):
        write_summary(tmp_path, {})


def test_the_summary_is_strict_json_with_every_key(tmp_path: Path) -> None:
    with run(tmp_path / "r1", method="spsa", seed=3) as journal:
        fill(journal)
        journal.finish("stopped")
        folder = tmp_path / "r1"
        given = {"rmse": np.float64(0.5), "floor": math.nan, "method": "cma_es", "extra": np.array([1.0, math.inf])}
        kept = json.loads(write_summary(folder, given).read_text(), parse_constant=pytest.fail)
        bare = json.loads(write_summary(folder, {"run": "other", "backend": "real"}).read_text())
    assert kept.pop("seconds") >= 0
    assert kept == {
        "run": "r1",
        "backend": "wire",
        "simulated": True,
        "task": "sine",
        "method": "cma_es",
        "seed": 3,
        "queries": 98,
        "rmse": 0.5,
        "floor": None,
        "statuses": {"settled": 98, "bistable": 2},
        "outcome": "stopped",
        "extra": [1.0, None],
    }
    assert (bare["run"], bare["backend"], bare["simulated"]) == ("r1", "wire", True)
    assert (bare["rmse"], bare["floor"], bare["method"]) == (0.0077, 0.7053, "spsa")
    assert sorted(f.name for f in folder.iterdir() if f.suffix == ".json" or f.name.startswith(".")) == ["summary.json"]


def test_a_procedure_is_named_as_one_and_its_results_are_kept(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "r1", {"backend": "real", "procedure": "dose_response"})
    journal.event("dose_response", km=[1e-3, 0.9e-3, 1.1e-3], message="Km 1 mM")
    journal.event("something_else", value=3)
    journal.close()
    kept = json.loads(write_summary(tmp_path / "r1", {}).read_text())
    assert kept["procedure"] == "dose_response"
    assert kept["found"] == [{"km": [1e-3, 0.9e-3, 1.1e-3], "message": "Km 1 mM"}]
    assert not kept.keys() & {"task", "monotone"}


def test_the_numbers_at_a_logarithmic_axis_are_plain() -> None:
    event = {"curves": [{"label": "a", "x": [1, 2, 3], "y": [0.7, 2.0, 70.0]}], "log": True}
    names = {"x_name": "bits", "x_unit": "", "y_name": "error", "y_unit": ""}
    svg = figures.curves({**event, **names})
    assert "mathdefault" not in svg
    for number in (">1<", ">2<", ">5<", ">10<", ">50<"):
        assert number in svg
    svg = figures.curves({**event, **names, "y_unit": "A"})
    assert "mathdefault" not in svg
    assert ">10 A<" in svg


def test_a_flow_is_drawn_per_minute() -> None:
    names = {"x_name": "u", "x_unit": "L/s", "y_name": "well", "y_unit": "OD"}
    flows = np.linspace(0.0, 50e-6 / 60, 11)
    svg = figures.curves({"curves": [{"label": "a", "x": flows, "y": flows * 1e6}], **names})
    for number in ("0 L/min", "10 µL/min", "50 µL/min"):
        assert f">{number}<" in svg


def test_a_run_whose_answers_were_mostly_of_no_use_says_so_at_the_top(tmp_path: Path) -> None:
    with run(tmp_path / "r1") as journal:
        add_points(journal, 9, "train", Status.ABANDONED, math.nan)
        add_points(journal, 3, "train", Status.SETTLED, 0.05)
        text = report(tmp_path / "r1").text
        assert (
            "Most answers were of no use: of 12, 9 abandoned (given up before it was read). Look at the bench" in text
        )
        add_points(journal, 6, "train", Status.SETTLED, 0.05)
        assert "Most answers" not in report(tmp_path / "r1").text


@pytest.mark.parametrize(("increasing", "way"), [(True, "rise"), (False, "fall")])
def test_the_floor_says_which_way_an_answer_without_ndc_goes(tmp_path: Path, increasing: bool, way: str) -> None:
    with run(tmp_path / "r1", task_data={"increasing": increasing}) as journal:
        journal.event("fit", **fit_event())
        text = report(tmp_path / "r1").text
        summary = json.loads(write_summary(tmp_path / "r1", {}).read_text())
    assert f"an answer can only {way} as its input rises" in text
    assert f"the best answer that only {way}s is off by" in text
    assert summary["monotone"] == f"{way}s"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.25, "250 ms"), (59.0, "59 s"), (61.4, "1 min 01 s"), (7500.0, "2 h 05 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_evidence_stands_in_a_section_and_what_weakens_it_at_the_top(tmp_path: Path) -> None:
    scans = [
        {
            "order": kind,
            "rmse": 0.02,
            "accuracy": None,
            "drop": 1.9,
            "ratio": 80.0,
            "confidence": 1.0,
            "from": [1e-3],
            "to": [2e-3],
        }
        for kind in ("up", "down", "random")
    ]
    curve = {"voltage": [0.0, 1e-3, 2e-3], "current": [0.0, 2e-12, 1e-12], "sigma": [1e-14] * 3}
    detail = {
        "policy": "park",
        "scans": scans,
        "ablation": {**scans[0], "confidence": 0.0},
        "memory": {"spans": [[1.1e-3, 1.3e-3]], "largest": 5e-5, "bistable": True},
        "iv": {
            "from": "x",
            "to": "y",
            "lead": "i_lo",
            "curves": [{"direction": d, **curve, "regions": [[1e-3, 2e-3, 1e-12, 0.99]]} for d in ("up", "down")],
        },
        "couplings": [["x", "dot1", 0.1, True], ["x", "dot2", 0.05, False]],
        "loopholes": [["an input line gates a dot", "YES", "x moves dot2"], ["dual rail", "no", "none"]],
    }
    with run(tmp_path / "r1") as journal:
        journal.event("fit", **fit_event())
        journal.event("control", rmse=0.71, floor=0.705, source="twin", drop=0.0)
        journal.event("evidence", **detail)
        page = report(tmp_path / "r1")
        summary = json.loads(write_summary(tmp_path / "r1", {}).read_text())
    assert "The device is bistable at x = 1.1 mV to 1.3 mV" in page.text
    assert "Loophole: an input line gates a dot (x moves dot2)" in page.text
    assert "Loophole: dual rail" not in page.text
    assert [a.get("class") for _, a in page.tags].count("complaint") == 2
    assert {"evidence", "result"} <= {a.get("id") for tag, a in page.tags if tag == "section"}
    for words in (
        "the device, inputs in random order",
        "with NDC off, on a twin",
        "barriers detuned",
        "the floor",
        "1 pA",
        "dot2",
        "NO",
    ):
        assert words in page.text
    assert summary["bistable"] == [[1.1e-3, 1.3e-3]]


def test_what_was_used_up_is_told_apart_from_what_the_training_took(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "r1", {"backend": "wire", "task": "xor"})
    journal.event("usage", of="training", reads=1200, seconds=7200.0, delivered={"n": 10e-3})
    journal.event("usage", of="", reads=300, seconds=3600.0, delivered={"n": 5e-3})
    text = Page(write_report(journal.folder).read_text()).text
    assert "1 500, of it for training 1 200" in text
    assert f"{duration(10_800.0)}, of it for training {duration(7200.0)}" in text
    assert "15 mL, of it for training 10 mL" in text
    usage = json.loads(write_summary(journal.folder, {}).read_text())["usage"]
    assert usage["delivered"] == {"n": pytest.approx(15e-3)}
    assert usage["training"]["delivered"] == {"n": 10e-3}
    assert usage["complete"]
    journal.event("resumed")  # and was killed before it could say what it used up
    assert "at least 1 500" in Page(write_report(journal.folder).read_text()).text
    assert not json.loads(write_summary(journal.folder, {}).read_text())["usage"]["complete"]
    journal.close()
