"""The command line as an operator meets it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import pyvisa
import typer

from labthermo import cli

REPOSITORY = Path(__file__).parents[2]
LABTHERMO = (sys.executable, "-m", "labthermo")
COMMANDS = sorted(typer.main.get_command(cli.app).commands)


def labthermo(monkeypatch, capsys, *words):
    """Run a command in this process: exit code, standard output, standard error."""
    monkeypatch.setattr(sys, "argv", ["labthermo", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    shown = capsys.readouterr()
    return stopped.value.code, shown.out, shown.err


def test_help_is_quick_because_it_imports_nothing_heavy():
    code = "import sys, labthermo.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.split())
    assert "labthermo.cli" in loaded
    assert not loaded & {"numpy", "scipy", "pydantic", "pint", "qcodes", "pyvisa", "matplotlib", "pandas", "numba"}


def test_every_command_has_help_with_an_example(monkeypatch, capsys):
    assert set(COMMANDS) >= {
        "init",
        "doctor",
        "procedures",
        "run",
        "train",
        "resume",
        "stop",
        "runs",
        "show",
        "report",
        "bench",
    }
    for command in COMMANDS:
        code, out, err = labthermo(monkeypatch, capsys, command, "--help")
        assert (code, err) == (0, "")
        assert f"Example: labthermo {command}" in " ".join(out.split())
    code, out, err = labthermo(monkeypatch, capsys, "--help")
    assert (code, err) == (0, "")
    assert "Example: labthermo init" in out


def test_init_makes_a_lab_that_works(monkeypatch, capsys, tmp_path):
    lab = tmp_path / "my lab"
    code, out, err = labthermo(monkeypatch, capsys, "init", lab)
    assert (code, err) == (0, "")
    assert sorted(path.name for path in lab.iterdir()) == ["ndc_dots.yaml", "station.yaml"]
    assert out.splitlines()[-1] == f"next: labthermo train '{lab / 'station.yaml'}' --task sine"
    code, out, err = labthermo(monkeypatch, capsys, "doctor", lab / "station.yaml")
    assert (code, err) == (0, "")
    assert "ok   station file" in out
    assert "ok   device file" in out
    assert "BAD" not in out


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A folder of runs with one I-V curve in it, measured on `wire` in another process: the folder and what it said."""
    runs = tmp_path_factory.mktemp("lab") / "runs"
    station = REPOSITORY / "examples" / "sine" / "station.yaml"
    command = (*LABTHERMO, "run", "iv_curve", station, "-p", "points=9", "-p", "stop=2.6 mV", "--runs", runs)
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return runs, done.stdout


def test_a_procedure_says_its_run_first_and_its_report_last(measured):
    runs, said = measured
    lines = said.splitlines()
    name = lines[0].removeprefix("run ")
    assert [path.name for path in runs.iterdir() if path.is_dir()] == [name]
    assert lines[-1] == f"report {runs / name / 'report.html'}"
    assert "iv_curve: queries 18 of 18" in said
    assert "\x1b" not in said
    summary = json.loads((runs / name / "summary.json").read_text())
    known = {key: summary[key] for key in ("run", "backend", "simulated", "procedure", "queries", "outcome")}
    assert known == {
        "run": name,
        "backend": "wire",
        "simulated": True,
        "procedure": "iv_curve",
        "queries": 18,
        "outcome": "finished",
    }
    page = (runs / name / "report.html").read_text()
    assert "SIMULATED" in page
    assert "Negative differential conductance, shaded" in page


def test_what_a_procedure_has_found_is_printed_and_in_the_summary(tmp_path, monkeypatch, capsys):
    station = REPOSITORY / "examples" / "inhibited_well" / "station.yaml"
    words = ("run", "dose_response", station, "--backend", "model", "-p", "stock=40 mM", "--runs", tmp_path)
    code, out, _ = labthermo(monkeypatch, capsys, *words)
    assert code == 0
    assert "Vmax " in out
    (summary,) = tmp_path.rglob("summary.json")
    (found,) = json.loads(summary.read_text())["found"]
    value, low, high = found["vmax"]
    assert low < value < high  # mol/L/s
    assert value == pytest.approx(1e-4, rel=0.5)


def test_a_stock_a_thousand_times_too_strong_is_found_to_determine_nothing(tmp_path, monkeypatch, capsys):
    station = REPOSITORY / "examples" / "inhibited_well" / "station.yaml"
    words = ("run", "dose_response", station, "--backend", "model", "-p", "stock=40", "--runs", tmp_path)
    code, out, err = labthermo(monkeypatch, capsys, *words)
    assert (code, err) == (0, "")
    assert "these readings do not determine Vmax, Km and Ki" in out


def test_answers_that_were_of_no_use_are_counted_on_the_terminal(tmp_path, monkeypatch, capsys):
    example = REPOSITORY / "examples" / "sine"
    (tmp_path / "ndc_dots.yaml").write_bytes((example / "ndc_dots.yaml").read_bytes())
    station = tmp_path / "station.yaml"
    text = (example / "station.yaml").read_text()
    assert "\nsimulation:" in text
    station.write_text(text.rstrip() + "\n  faults: [{on: y, kind: overflow}]\n")
    words = ("train", station, "--task", "sine", "--method", "spsa", "--queries", "8", "--backend", "wire")
    code, out, _ = labthermo(monkeypatch, capsys, *words)
    assert code == 0
    assert "no score: nothing that was asked for it could be read\n" in out
    assert " answers did not settle: " in out
    assert "BUDGET  8 device queries; one step of training needs 33" in out
    assert out.count("LOOK  10 answers in a row are of no use, the newest overflow: look at the bench") == 1
    assert "\nended: " in out


def test_runs_show_and_report_read_the_record(monkeypatch, capsys, measured):
    runs, said = measured
    name = said.splitlines()[0].removeprefix("run ")
    code, out, _ = labthermo(monkeypatch, capsys, "runs", "--runs", runs)
    assert code == 0
    assert [line.split() for line in out.splitlines()[1:]] == [
        [name, "iv_curve", "wire", "(simulated)", "18", "finished"]
    ]
    code, out, _ = labthermo(monkeypatch, capsys, "show", name, "--runs", runs)
    assert code == 0
    assert json.loads(out)["statuses"] == {"settled": 18}
    page = runs / name / "report.html"
    page.unlink()
    code, out, _ = labthermo(monkeypatch, capsys, "report", name, "--runs", runs)
    assert (code, out.strip()) == (0, str(page))
    assert page.is_file()


def test_a_finished_or_unknown_run_is_not_resumed(monkeypatch, capsys, measured):
    runs, said = measured
    name = said.splitlines()[0].removeprefix("run ")
    before = (runs / name / "journal.sqlite").read_bytes()
    for run, words in ((name, "has finished"), ("nothing", "no journal"), ("../x", "not allowed")):
        code, out, err = labthermo(monkeypatch, capsys, "resume", run, "--runs", runs)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert words in err
    assert (runs / name / "journal.sqlite").read_bytes() == before


def test_an_empty_folder_of_runs_says_so(monkeypatch, capsys, tmp_path):
    code, out, err = labthermo(monkeypatch, capsys, "runs", "--runs", tmp_path)
    assert (code, err) == (0, "")
    assert out.startswith(f"no runs in {tmp_path}; ")
    assert not list(tmp_path.iterdir())


def test_training_and_resuming_say_the_run_first_and_take_the_files_from_the_record(tmp_path):
    lab = tmp_path / "lab"
    (lab / "bench").mkdir(parents=True)
    (lab / "design").mkdir()
    example = REPOSITORY / "examples" / "sine"
    text = (example / "station.yaml").read_text().replace("model: ndc_dots.yaml", "model: ../design/ndc_dots.yaml")
    (lab / "bench" / "station.yaml").write_text(text)
    (lab / "design" / "ndc_dots.yaml").write_bytes((example / "ndc_dots.yaml").read_bytes())
    command = (*LABTHERMO, "train", lab / "bench" / "station.yaml", "--task", "sine", "--backend", "model")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as training:
        name = training.stdout.readline().strip().removeprefix("run ")
        while "calibrate" not in training.stdout.readline():
            assert training.poll() is None
        training.kill()
    (lab / "bench" / "station.yaml").unlink()
    (lab / "design" / "ndc_dots.yaml").unlink()
    runs = lab / "bench" / "runs"
    resumed = subprocess.run((*LABTHERMO, "resume", name, "--runs", runs), capture_output=True, text=True, timeout=120)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.startswith(f"run {name}\n")
    summary = json.loads((runs / name / "summary.json").read_text())
    assert summary["outcome"] == "finished"
    assert summary["rmse"] < 0.05 < summary["floor"]
    again = subprocess.run((*LABTHERMO, "resume", name, "--runs", runs), capture_output=True, text=True, timeout=60)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "has finished" in again.stderr


def test_a_terminal_gets_a_bar(tmp_path):
    station = REPOSITORY / "examples" / "sine" / "station.yaml"
    command = (*LABTHERMO, "run", "iv_curve", station, "-p", "points=9", "--backend", "model", "--runs", tmp_path)
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as shown:
        os.close(theirs)
        said = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # how a pty says that the other end has gone
                break
            if not part:
                break
            said += part
    os.close(ours)
    assert shown.returncode == 0, said.decode()
    assert "━" in said.decode()
    assert "18/18" in said.decode()
    assert b"queries 18 of 18" not in said


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_bench_serves_instruments_that_say_they_are_simulated(signum):
    command = (*LABTHERMO, "bench", REPOSITORY / "examples" / "sine" / "station.yaml")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as serving:
        try:
            ready = json.loads(serving.stdout.readline())
            assert set(ready["addresses"]) == {"gates", "dmm", "drain"}
            with closing(pyvisa.ResourceManager("@py")) as manager:
                for name, address in ready["addresses"].items():
                    with manager.open_resource(address) as instrument:
                        instrument.read_termination = instrument.write_termination = "\n"
                        maker, model, serial, _ = instrument.query("*IDN?").split(",")
                    assert serial.strip().startswith("SIM"), name
                    assert maker
                    assert model
        finally:
            serving.send_signal(signum)
        out, err = serving.communicate(timeout=20)
    assert (serving.returncode, out, err) == (0, "", "")


def test_targets_that_the_window_cannot_hold_are_spoken_of(tmp_path, monkeypatch, capsys):
    data = tmp_path / "data.csv"
    data.write_text("x,y\n" + "".join(f"{1 + 0.1 * k:.1f}e-3,{k}\n" for k in range(10)))  # y in mV, taken for V
    station = REPOSITORY / "examples" / "sine" / "station.yaml"
    options = ("--method", "reservoir", "--backend", "model", "--queries", "20", "--runs", tmp_path / "runs")
    code, out, _ = labthermo(monkeypatch, capsys, "train", station, "--task", f"csv:{data}", *options)
    assert code == 0
    assert "TARGETS  y: " in out
    assert "leaves the window 130 µV to 390 µV; scale the data" in out
