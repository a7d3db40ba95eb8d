"""Boxes that the program cannot read: the backend real wants an operator's word, the simulated ones note them."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from labthermo import Query, Station
from labthermo.by_hand import make_safe, read_channels
from labthermo.errors import BackendError

ELEMENT = "y: gain 1000, bandwidth 100 Hz (dial of the SR560)"


def labthermo(*words: str, answer: str | None = None) -> tuple[int, str, str]:
    """Exit code, output and errors; with an `answer`, at a terminal on which this is typed."""
    command = [sys.executable, "-m", "labthermo", *words]
    if answer is None:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout, done.stderr
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    done = subprocess.run(command, stdin=theirs, capture_output=True, text=True, timeout=120)
    os.close(ours)
    os.close(theirs)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def unmoved(looks_real):
    """Nothing was moved, connected or limited meanwhile."""
    before = len(looks_real.twin.read_log())
    yield looks_real
    assert looks_real.twin.read_log()[before:] == []


@pytest.mark.parametrize("words", [("run", "iv_curve"), ("train",), ("set",)])
def test_off_a_terminal_it_is_one_line_that_names_the_box(unmoved, words):
    more = {"run": (), "train": ("--task", "sine"), "set": ("p1", "1 mV")}[words[0]]
    code, out, err = labthermo(*words, str(unmoved.station), *more)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert ELEMENT in err
    assert "--confirmed" in err


def test_an_operator_who_says_no_stops_it(unmoved):
    code, out, err = labthermo("set", str(unmoved.station), "p1", "1 mV", answer="n")
    assert code == 2
    assert ELEMENT in out
    assert "nothing was opened" in err


def test_an_operator_who_says_yes_lets_it_go_on(looks_real):
    code, out, err = labthermo("set", str(looks_real.station), "p1", "1 mV", answer="y")
    assert code == 0, err
    assert ELEMENT in out
    assert "p1 = 1 mV" in out
    volts = [e.at_sample for e in looks_real.twin.read_log() if e.channel == "p1" and e.quantity == "voltage"]
    assert volts[-1] == pytest.approx(1e-3, abs=1e-6)


def test_reading_and_the_red_button_ask_nobody(looks_real):
    station = Station(looks_real.station)
    with station.by_hand() as device:
        assert read_channels(station, device, "p1")[0].startswith("p1 = ")
    assert make_safe(Station(looks_real.station), zero_knobs=False) == []


def test_so_does_the_option_off_a_terminal(looks_real):
    code, out, err = labthermo("set", str(looks_real.station), "p1", "2 mV", "--confirmed")
    assert code == 0, err
    assert "p1 = 2 mV" in out
    assert ELEMENT not in out


def test_what_was_confirmed_and_how_is_in_the_record(looks_real, tmp_path):
    with Station(looks_real.station, confirmed="asked at the terminal") as station:
        run = station.run(tmp_path, {})
        run.close()
    header = run.journal.header
    assert header["manual"] == [{"channel": "y", "knob": "dial of the SR560", "setting": "gain 1000, bandwidth 100 Hz"}]
    assert header["manual_confirmed"] == "asked at the terminal"
    assert not header["simulated"]


def test_a_program_must_say_so_too(unmoved):
    with pytest.raises(BackendError, match="dial of the SR560"):
        Station(unmoved.station).open()
    with pytest.raises(BackendError, match="dial of the SR560"):
        Station(unmoved.station).require_confirmed()
    Station(unmoved.station, confirmed="by the test").require_confirmed()


def test_simulated_backends_note_it_and_ask_nobody(looks_real):
    for backend in ("wire", "model"):
        with Station(looks_real.station, backend) as station:
            station.device.query(Query(inputs=[1e-3]))
            header = station.header()
        assert header["manual"][0]["knob"] == "dial of the SR560"
        assert header["manual_confirmed"] == "not asked: simulated"
