"""Bad input: one line that names it, exit code 2, nothing energised, no run left behind."""

from __future__ import annotations

import socket
import sys

import pytest

from labthermo import cli, plugins
from labthermo.config import load_station
from labthermo.safety.guard import Guard

GOOD = "x,y\n" + "1.0e-3,2.0e-4\n" * 10


@pytest.fixture
def refused(monkeypatch, capsys, tmp_path):
    """Run a command that must be refused, in an empty folder; its complaint."""
    monkeypatch.chdir(tmp_path)
    energised = []
    genuine = Guard.energise
    monkeypatch.setattr(Guard, "energise", lambda guard: (energised.append(guard), genuine(guard)))

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["labthermo", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        shown = capsys.readouterr()
        assert stopped.value.code == 2, shown
        assert shown.out == ""
        assert shown.err.startswith("labthermo: ")
        assert shown.err.count("\n") == 1
        assert "Traceback" not in shown.err
        assert energised == []
        assert not list(tmp_path.rglob("runs"))
        assert not list(tmp_path.rglob("journal*"))
        return shown.err

    return run


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("backend: wire", "backend: wire\ncolour: red"), [":8: colour: unknown key"]),
        (("[0.90 mV, 2.70 mV]", "[0.90 mA, 2.70 mV]"), ["device.inputs.x.window[0]", "'0.90 mA' is not in V"]),
        (("min: -0.2 mV, max: 3.0 mV", "min: 4 mV, max: 3.0 mV"), ["device.limits.x.min", "4 mV is above max, 3 mV"]),
        (("max_step: 0.2 mV", "max_step: .nan"), ["device.limits.x.max_step", "nan"]),
        (("driver: qdac2", "driver: qdac3"), ["instruments.gates.driver", "'qdac3'", "qdac2"]),
        (("model: ndc_dots.yaml", "model: nope.yaml"), ["device.model", "nope.yaml"]),
        (("instruments:  ", "instruments: ["), ["YAML"]),
        (("seed: 7", "seed: -7"), ["simulation.seed", "-7"]),
    ],
    ids=["unknown key", "wrong unit", "min above max", "NaN", "unknown driver", "no device file", "no YAML", "seed"],
)
def test_a_wrong_station_file(refused, edited, change, words):
    station = edited(change)
    complaint = refused("train", station, "--task", "sine")
    assert complaint.startswith(f"labthermo: {station}:")
    for word in words:
        assert word in complaint


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x,z\n" + "1e-3,2e-4\n" * 10, ["no column y", "x, z"]),
        (GOOD + "abc,2e-4\n", [":12: column x", "'abc' is not a number"]),
        (GOOD + "1e-3,nan\n", [":12: column y", "nan is not finite"]),
        (GOOD + "1e-3\n", [":12: column y", "missing"]),
        (GOOD + "1,2e-4\n", [":12: column x", "1 V is outside the limits"]),
        (GOOD, ["nothing to learn"]),
        ("x,y\n", ["0 rows"]),
        ("", ["no column"]),
        (None, ["No such file"]),
    ],
    ids=["column", "text", "NaN", "ragged", "outside", "constant", "no rows", "empty", "no file"],
)
def test_a_wrong_csv(refused, edited, tmp_path, text, words):
    data = tmp_path / "data.csv"
    if text is not None:
        data.write_text(text)
    complaint = refused("train", edited(), "--task", f"csv:{data}")
    assert complaint.startswith(f"labthermo: {data}")
    for word in words:
        assert word in complaint


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["train", "STATION", "--task", "cosine"], "'cosine'; there are sine"),
        (["train", "STATION", "--task", "sine", "--method", "adam"], "'adam'; there is"),
        (["train", "STATION", "--task", "sine", "--backend", "quantum"], "'quantum'; there are real, wire and model"),
        (["train", "STATION", "--task", "sine", "--queries", "0"], "'--queries'"),
        (["train", "STATION", "--task", "sine", "--queries", "many"], "'--queries'"),
        (["train", "STATION", "--task", "sine", "--seed", "-1"], "'--seed'"),
        (["train", "STATION", "--task", "sine", "--frobnicate"], "--frobnicate; see labthermo train --help"),
        (["train", "STATION"], "'--task'; see labthermo train --help"),
        (["train"], "'station'"),
        (["frobnicate"], "'frobnicate'; see labthermo --help"),
        (["train", "nowhere.yaml", "--task", "sine"], "nowhere.yaml: cannot be read: No such file"),
        (["train", ".", "--task", "sine"], ".: cannot be read: Is a directory"),
        (["train", "STATION", "--task", "sine", "--control", "--backend", "real"], "a real bench does not have"),
        (["run", "nothing", "STATION"], "unknown procedure 'nothing'; known: "),
        (["run", "iv_curve", "STATION", "-p", "points"], "'points' is not name=value"),
        (["run", "iv_curve", "STATION", "-p", "pionts=21"], "pionts: unknown key; did you mean 'points'?"),
        (["run", "iv_curve", "STATION", "-p", "points=2"], "points: '2'"),
        (["run", "iv_curve", "STATION", "-p", "stop=3 mA"], "stop: '3 mA' is not in V"),
        (["run", "iv_curve", "STATION", "-p", "stop=3 V"], "stop: 3 V is outside the limits -200 µV to 3 mV of x"),
        (["run", "iv_curve", "STATION", "-p", "start=1 mV", "-p", "stop=1 mV"], "start, stop: both are 1 mV"),
        (["run", "iv_curve", "STATION", "-p", "input=z"], "no input 'z'; there are x"),
        (["train", "STATION", "--task", "sine", "--method", "spsa", "--twin", "t.json"], "--twin is of no use to spsa"),
        (["bench", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
        (["show", "20260101-000000-abcd"], "20260101-000000-abcd"),
        (["report", "20260101-000000-abcd"], "20260101-000000-abcd"),
        (["resume", "20260101-000000-abcd"], "20260101-000000-abcd"),
        (["init", "."], "is not a new or empty folder"),
    ],
    ids=lambda value: " ".join(value).replace("STATION ", "") if isinstance(value, list) else "",
)
def test_a_wrong_command(refused, edited, tmp_path, words, named):
    if words[0] == "init":
        (tmp_path / "mine.txt").write_text("keep me")
    station = edited()
    assert named in refused(*(str(station) if word == "STATION" else word for word in words))


def test_an_instrument_that_refuses(refused, edited):
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # nothing listens on it, and nobody else can
        port = reserved.getsockname()[1]
        address = f"TCPIP0::127.0.0.1::{port}::SOCKET"
        station = edited(("TCPIP0::192.168.8.17::5025::SOCKET", address))
        for command in (("train", station, "--task", "sine"), ("run", "iv_curve", station)):
            assert address in refused(*command, "--backend", "real")


def served_as_real(edited, *changes):
    """A wire twin, and a station file that has its addresses as if they were the lab's."""
    world = plugins.load("labthermo.simulators", "wire")(load_station(edited()), False)
    lab = {"gates": 17, "dmm": 18, "drain": 19}
    addresses = [(f"TCPIP0::192.168.8.{lab[name]}::5025::SOCKET", to) for name, to in world.addresses.items()]
    return world, edited(*addresses, *changes)


def test_real_refuses_simulated_instruments_and_touches_none(refused, edited):
    world, station = served_as_real(edited)
    try:
        before = world.read_log()
        complaint = refused("run", "iv_curve", station, "--backend", "real")
        assert "gates is simulated (serial number SIM" in complaint
        assert world.read_log() == before
    finally:
        world.close()


def test_an_unknown_driver_is_found_before_any_instrument_is_touched(refused, edited):
    world, station = served_as_real(edited, ("driver: keithley2450", "driver: keithley2451"))
    try:
        before = world.read_log()
        assert "'keithley2451'" in refused("run", "iv_curve", station, "--backend", "real")
        assert world.read_log() == before
    finally:
        world.close()
