"""What stands behind the claim that a device computes with NDC: scans, memory, I-V, and loopholes by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labthermo import Query, Response, Station, Status
from labthermo.channel import Channel
from labthermo.config import load_station
from labthermo.records.report import write_report, write_summary
from labthermo.run import Run
from labthermo.training.claim import ORDERS, order_of, weigh
from labthermo.training.loop import Plan, _ablation, _describe, train
from labthermo.training.task import Task, make_task
from labthermo.twin import Coupling

EXAMPLES = Path(__file__).parents[4] / "examples"
X = Channel("x", "input", "V", -1e-3, 4e-3, window=(1e-3, 2e-3))
Y = Channel("y", "output", "V", window=(100e-6, 300e-6))
LO = Channel("i_lo", "node", "A")

LATCH = """
carriers: electrons
reservoirs: {y: 10 pF}
terminals: [x, lo]
knobs: [p, q]
processes:
  - {edge: [x, y], law: Linear, resistance: 5 Mohm}
  - edge: [y, lo]
    law: GaussianNdc
    conductance: 1 uS
    width: {value: 0.2 mV, by: {p: 1e-5 V/V}}
    leak: {value: 10 nS, by: {q: 1 nS/V}}
"""
STATION = """
backend: wire
instruments:
  gates: {driver: qdac2,          address: "TCPIP0::192.168.8.17::5025::SOCKET"}
  dmm:   {driver: keysight34465a, address: "TCPIP0::192.168.8.18::5025::SOCKET"}
device:
  model: latch.yaml
  inputs:  {x: {of: gates.ch24.voltage, via: {divider: 100}, window: [0.1 mV, 1 mV]}}
  outputs:
    y: {of: dmm.voltage, via: {gain: 1000, bandwidth: 100 Hz, overload: 5 V}, window: [0 mV, 1 mV], integration: 20 ms}
  knobs: {p: gates.ch01.voltage, q: gates.ch02.voltage}
  limits:
    x: {min: -1 mV, max: 2 mV, max_step: 50 uV, slew: 50 mV/s}
    "*": {min: -1 V, max: 1 V, max_step: 0.1 V, slew: 1 V/s}
  settle: {tolerance: 5 uV, confidence: 95 %, timeout: 20 s}
simulation: {seed: 7, mismatch: 0 %, offsets: false, noise: {y: 260 nV/Hz**0.5}}
"""


@pytest.fixture
def latch(tmp_path: Path) -> Path:
    """A device with two states for x from about 0.45 to 0.57 mV, and two knobs that matter little."""
    (tmp_path / "latch.yaml").write_text(LATCH)
    (tmp_path / "station.yaml").write_text(STATION)
    return tmp_path / "station.yaml"


def trained(path: Path, folder: Path, reset: str) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """The evidence of a short training, the report's text, and the summary."""
    with Station(load_station(path), "model") as station:
        plan = Plan(make_task("sine", station.device.channels), "nelder_mead", 160, 1, reset=reset)
        journal = station.new_journal(folder, {**plan.header(), "control": True}, "run")
        train(Run(station.device, journal), plan, station.twin(), station.twin)
        assert journal.queries() <= 160
        assert {k: v for k, v in journal.purposes().items() if not k.startswith(("scout", "train"))} == {
            "score": 201,
            "evidence down": 201,
            "evidence random": 201,
        }
        (event,) = journal.events("evidence")
        detail = dict(event.detail)
        journal.finish("finished")
        journal.close()
    page = write_report(folder / "run").read_text()
    return detail, page, json.loads(write_summary(folder / "run", {}).read_text())


def test_two_states_are_said_where_they_are_and_a_reset_policy_leaves_one_score(latch: Path, tmp_path: Path) -> None:
    found, page, summary = trained(latch, tmp_path / "park", "park")
    assert found["memory"]["bistable"] is True
    ((start, stop),) = found["memory"]["spans"]
    assert start == pytest.approx(0.45e-3, abs=0.02e-3)
    assert stop == pytest.approx(0.57e-3, abs=0.02e-3)
    up, down, _ = (row["rmse"] for row in found["scans"])
    assert abs(up - down) > 0.03
    assert summary["bistable"] == [[start, stop]]
    assert "The device is bistable at x = 4" in page

    found, page, summary = trained(latch, tmp_path / "each", "each")
    assert found["memory"]["spans"] == []
    rmse = [row["rmse"] for row in found["scans"]]
    assert rmse == pytest.approx([rmse[0]] * 3, abs=0.002)
    assert summary["bistable"] == []
    assert "bistable at" not in page
    assert "every input from zero" in page


def test_on_the_wire_each_input_starts_from_zero_too(latch: Path) -> None:
    down = np.linspace(0.62e-3, 0.40e-3, 6)
    with Station(load_station(latch), "wire") as station:
        device = station.device
        kept = device.query(Query(inputs=down, reset="park")).outputs[:, 0]
        fresh = device.query(Query(inputs=down, reset="each")).outputs[:, 0]
        up = device.query(Query(inputs=down[::-1], reset="park")).outputs[::-1, 0]
    with Station(load_station(latch), "model") as station:
        modelled = station.device.query(Query(inputs=down, reset="each")).outputs[:, 0]
    assert fresh == pytest.approx(up, abs=15e-6)
    assert fresh == pytest.approx(modelled, abs=15e-6)
    assert np.abs(kept - fresh).max() > 100e-6


def answers(outputs: np.ndarray, sigma: float = 1e-6, current: np.ndarray | None = None) -> Response:
    n = len(outputs)
    nodes = np.zeros((n, 0)) if current is None else current[:, None]
    return Response(
        outputs=outputs[:, None],
        nodes=nodes,
        sigma=np.full((n, 1), sigma),
        node_sigma=np.full(nodes.shape, 1e-13),
        settle_time=np.zeros(n),
        status=(Status.SETTLED,) * n,
        inputs=np.zeros((n, 1)),
        knobs={},
    )


def judged(task: Task, channels: list[Channel], scans: dict[str, Response], couplings: tuple[Coupling, ...] = ()):
    found = weigh(task, channels, scans, 1e-6, couplings, "park")
    json.dumps(found, allow_nan=False)
    return found, {name: verdict for name, verdict, _ in found["loopholes"]}


def test_drift_in_ordered_scans_is_named_and_a_real_drop_is_not(tmp_path: Path) -> None:
    """A monotone device that drifts downwards while it is scanned, against one whose answer falls with its input."""
    task, rng = make_task("sine", [X, Y]), np.random.default_rng(0)
    n = len(task.score_inputs)
    rising, time = np.linspace(100e-6, 110e-6, n), np.arange(n) / n
    scans, honest = {}, {}
    for kind in ORDERS:
        order = order_of(kind, n, 3)
        when = np.empty(n)
        when[order] = time
        noise = 1e-6 * rng.standard_normal(n)
        scans[kind] = answers(rising - 40e-6 * when + noise)
        honest[kind] = answers(task.score_targets[:, 0] + noise)
    found, verdicts = judged(task, [X, Y], scans)
    assert verdicts["drift while inputs are scanned in order"] == "YES"
    assert found["memory"]["spans"]
    assert not found["memory"]["bistable"]  # in random order it is found in between: no two states
    found, verdicts = judged(task, [X, Y], honest)
    assert set(verdicts.values()) == {"no", "not measured"}
    assert all(row["confidence"] > 0.999 and row["ratio"] > 100 for row in found["scans"])
    assert [row["drop"] for row in found["scans"]] == pytest.approx([2.0] * 3, abs=0.1)
    assert (found["memory"]["spans"], found["iv"]) == ([], None)


def test_loopholes_are_named() -> None:
    task = make_task("sine", [X, Y])
    same = dict.fromkeys(ORDERS, answers(task.score_targets[:, 0]))
    gate = (Coupling("x", "dot1", 0.1, True), Coupling("x", "dot2", 0.05, False))
    _, verdicts = judged(task, [X, Y], same, gate)
    assert verdicts["an input line gates a dot that it does not touch"] == "YES"
    pump = Channel("u", "input", "L/s", window=(1e-9, 2e-9))
    current = Channel("i", "output", "A", window=(1e-12, 2e-12))
    _, verdicts = judged(task, [pump, current], same)
    assert verdicts["the input turns a knob"] == "not measured"
    assert verdicts["a current or a difference is read"] == "YES"
    two = np.hstack([task.inputs, 3e-3 - task.inputs])
    rails = Task("t", two, task.targets, two, task.targets, task.amplitude)
    _, verdicts = judged(rails, [X, Channel("nx", "input", "V"), Y], dict.fromkeys(ORDERS, answers(task.targets[:, 0])))
    assert verdicts["dual rail: an input beside its complement"] == "YES"


@pytest.mark.parametrize("made_up_for", [True, False])
def test_a_pumped_input_is_a_loophole_only_where_it_changes_more_than_its_substrate(
    made_up_for: bool, tmp_path: Path
) -> None:
    """Device R1, and the same without the flows of solvent that keep its dilution."""
    for file in (EXAMPLES / "ldh_one_well").glob("*.yaml"):
        text = file.read_text(encoding="utf-8")
        start, stop = text.find("  - for: {k: [1, 2]}   "), text.find("  - name: ldh")
        assert (start < stop) == (file.name == "one_well.yaml")
        (tmp_path / file.name).write_text(text if made_up_for or stop < 0 else text[:start] + text[stop:])
    station = Station(load_station(tmp_path / "station.yaml"), "model")
    with station:
        channels = station.device.channels
    task = make_task("xor", channels)
    same = dict.fromkeys(ORDERS, answers(task.score_targets[:, 0]))
    found = weigh(task, channels, same, 4e-3, (), "park", station.loopholes())
    ((_, verdict, why),) = [row for row in found["loopholes"] if row[0] == "the input turns a knob"]
    assert verdict == ("no" if made_up_for else "YES")
    assert ("makes up for the rest" if made_up_for else "no make-up flow: u1 also dilutes well") in why


def test_the_curve_is_taken_over_what_lies_between_input_and_output() -> None:
    """A current of d exp(-(d/w)^2) over d = x - y behind a load: NDC begins where d is w/sqrt(2), not where x is."""
    task = make_task("sine", [X, Y])
    across, width, load = np.linspace(0.2e-3, 1.2e-3, 201), 1e-3, 2e6
    current = 1e-6 * across * np.exp(-((across / width) ** 2))
    y = load * current
    shifted = Task("t", task.inputs, task.targets, (across + y)[:, None], task.score_targets, task.amplitude)
    found, _ = judged(shifted, [X, Y, LO], dict.fromkeys(ORDERS, answers(y, current=current)))
    for curve in found["iv"]["curves"]:
        ((start, stop, drop, sure),) = curve["regions"]
        assert start == pytest.approx(width / np.sqrt(2), abs=0.05e-3)
        assert stop == pytest.approx(1.2e-3, abs=0.02e-3)
        assert drop == pytest.approx(current.max() - current[-1], rel=0.02)
        assert sure > 0.99


@pytest.mark.parametrize("control", [False, True])
def test_device_a_shows_its_dip_and_its_control_none(control: bool) -> None:
    """At the check point of devices.md, on the numerical device with read noise."""
    point = "-22.2 -49.9 18.3 23.7 -36.7 -25.4 15.6 -18.1 -26.0 -16.6 -67.3 -37.2 10.1 -21.1 -52.5"
    with Station(load_station(EXAMPLES / "sine" / "station.yaml"), "model", control=control) as station:
        device = station.device
        task = make_task("sine", device.channels)
        names = [f"{kind}{k}" for k in range(1, 6) for kind in "plr"]
        knobs = {name: 1e-3 * float(v) for name, v in zip(names, point.split(), strict=True)}
        scans = {}
        for kind in ORDERS:
            order = order_of(kind, 201, 0)
            found = device.query(Query(knobs=knobs, inputs=task.score_inputs[order], reset="park"))
            back = np.argsort(order)
            one = answers(found.outputs[back, 0], float(found.sigma[0, 0]), found.nodes[back, 0])
            scans[kind] = replace(one, node_sigma=found.node_sigma)
        found, verdicts = judged(task, list(device.channels), scans)
    dips = [len(curve["regions"]) for curve in found["iv"]["curves"]]
    sure = [row["confidence"] > 0.95 for row in found["scans"]]
    assert (min(dips) >= 1, all(sure)) == ((False, False) if control else (True, True))
    assert control or verdicts["drift while inputs are scanned in order"] == "no"
    assert not (control and (any(sure) or max(dips)))


def test_detuned_barriers_leave_device_a_monotone_and_it_comes_back(tmp_path: Path) -> None:
    with Station(load_station(EXAMPLES / "sine" / "station.yaml"), "model") as station:
        device = station.device
        plan = Plan(make_task("sine", device.channels), "reservoir", 40, 3, ablate=True)
        journal = station.new_journal(tmp_path, {**plan.header(), "control": True}, "run")
        run = Run(device, journal)
        knobs = {c.name: 0.0 for c in device.channels if c.kind == "knob"}
        trained = device.query(Query(knobs=knobs, inputs=plan.task.score_inputs, reset="park"))
        scan = _ablation(run, plan, station.twin(), knobs)
        assert scan is not None
        found = weigh(plan.task, device.channels, dict.fromkeys(ORDERS, trained), 1e-6, (), "park", ablation=scan)
        assert found["scans"][0]["confidence"] > 0.999
        assert found["ablation"]["confidence"] < 0.95
        assert np.ptp(scan.outputs) > 50e-6  # it still answers
        last = journal.points()[-1]
        assert (last.purpose, dict(last.knobs)) == ("evidence back", knobs)
        assert journal.queries() == 0
        journal.close()


def test_where_barriers_do_not_reach_nothing_is_moved(tmp_path: Path, latch: Path) -> None:
    """Device C's blocking levels would take a ratio of 49; and the latch has no dot at all."""
    for path in (EXAMPLES / "xor" / "station.yaml", latch):
        with Station(load_station(path), "model") as station:
            knobs = [c for c in station.device.channels if c.kind == "knob"]
            low, high = (np.array([getattr(c, end) for c in knobs]) for end in ("minimum", "maximum"))
            assert station.twin().detuned(np.zeros(len(knobs)), low, high) is None


def test_the_design_s_couplings_are_found(tmp_path: Path) -> None:
    text = (EXAMPLES / "xor" / "two_dots.yaml").read_text()
    gated = "    law: BlockingLevel\n    reads: [x1]\n    node_levers: [0.05]\n    lead_levers: [0.1, 0.1]\n"
    (tmp_path / "two_dots.yaml").write_text(text.replace("    law: BlockingLevel\n", gated))
    (tmp_path / "station.yaml").write_text((EXAMPLES / "xor" / "station.yaml").read_text())
    with Station(load_station(tmp_path / "station.yaml"), "model") as station:
        assert station.twin().couplings() == [Coupling("x1", f"dot{k}", 0.05, False) for k in (1, 2)]
    sine = (EXAMPLES / "sine" / "ndc_dots.yaml").read_text()
    levers = "    lead_levers: [0.1, 0.2]\n    law: BlockingLevel"
    (tmp_path / "ndc_dots.yaml").write_text(sine.replace("    law: BlockingLevel", levers))
    (tmp_path / "station.yaml").write_text((EXAMPLES / "sine" / "station.yaml").read_text())
    with Station(load_station(tmp_path / "station.yaml"), "model") as station:
        assert station.twin().couplings() == [Coupling("x", f"dot{k}", 0.1, True) for k in range(1, 6)]


@pytest.mark.parametrize("control", [False, True])
def test_the_report_shows_where_an_enzyme_s_rate_falls(control: bool, tmp_path: Path) -> None:
    with Station(load_station(EXAMPLES / "ldh_one_well" / "station.yaml"), "model", control=control) as station:
        device = station.device
        plan = Plan(make_task("xor", device.channels), "nelder_mead", 40, 3)
        journal = station.new_journal(tmp_path, {**plan.header(), "control": True}, "run")
        knobs = {name: rate * 1e-6 / 60.0 for name, rate in (("n", 16.5), ("e", 33.0), ("b", 1.0))}
        _describe(Run(device, journal), plan, station.twin(), station.twin, knobs)
        (curve,) = [event.detail for event in journal.events("iv")]
        journal.close()
    assert (curve["source"], curve["substrate"], len(curve["regions"])) == ("twin", "pyruvate", 0 if control else 1)
    page = write_report(tmp_path / "run").read_text()
    assert "Rate against concentration" in page
    assert "calculated from the twin, not measured" in page
    assert ("Negative differential conductance, shaded: 371" in page) is not control
    assert ("No NDC found" in page) is control
    assert "could not be shown" not in page
