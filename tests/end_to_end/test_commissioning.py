"""An adapter says that it has not met its hardware until somebody has walked through its checklist on that very one."""

from __future__ import annotations

import itertools
import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from labthermo import Station
from labthermo.commissioning import FILE, find_commissioning, read_commissionings, walk
from labthermo.doctor import check_environment
from labthermo.errors import BackendError, InstrumentError, ParameterError, RecordError


def labthermo(*arguments: str, answers: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "labthermo", *arguments]
    return subprocess.run(command, input=answers, capture_output=True, text=True, timeout=120)


def warned(path: Path, caplog: pytest.LogCaptureFixture) -> set[str]:
    """Which instruments say, on opening, that they have not met their hardware."""
    caplog.clear()
    with caplog.at_level(logging.WARNING, "labthermo.instruments"), Station(path).by_hand():
        pass
    found = [record.getMessage() for record in caplog.records if "has not met" in record.getMessage()]
    return {message.partition(":")[0] for message in found if "--commission" in message}


def yes(question: str) -> str:
    return "Ada" if question == "Who are you?" else "yes"


def test_the_warning_stops_for_this_instrument_with_this_firmware(looks_real, caplog):
    path = looks_real.station
    assert warned(path, caplog) == {"gates", "dmm", "drain"}
    assert "commissioned: dmm" in walk(Station(path), "dmm", yes)
    assert warned(path, caplog) == {"gates", "drain"}
    (record,) = read_commissionings(path.parent)
    assert (record.who, record.driver, record.serial, record.rehearsal) == ("Ada", "keysight34465a", "Sdmm", False)
    assert record.firmware
    assert len(record.checklist) >= 5
    looks_real.personality("dmm").identity += "b"  # an update of the firmware
    assert warned(path, caplog) == {"gates", "dmm", "drain"}


def test_every_kind_is_asked_about_what_it_can_do(looks_real):
    path = looks_real.station
    asked: list[str] = []

    def note(question: str) -> str:
        asked.append(question)
        return yes(question)

    for name in ("gates", "dmm", "drain"):
        walk(Station(path), name, note)
    text = " ".join(asked)
    for words in ("labthermo set", "x VALUE", "gate's output", "float", "compliance"):
        assert words in text
    assert "overflow" in text
    assert len(read_commissionings(path.parent)) == 3


def test_a_no_or_another_instrument_in_the_end_records_nothing(looks_real):
    path = looks_real.station
    for stop in range(5):
        count = itertools.count(-1)
        with pytest.raises(ParameterError, match="nothing was recorded"):
            walk(Station(path), "dmm", lambda q, count=count, stop=stop: "no" if next(count) == stop else yes(q))
    with pytest.raises(ParameterError, match="name"):
        walk(Station(path), "dmm", lambda q: " ")

    def swap(question: str) -> str:
        looks_real.personality("dmm").identity = looks_real.personality("dmm").identity.replace("Sdmm", "Sother")
        return yes(question)

    with pytest.raises(InstrumentError, match="Sother"):
        walk(Station(path), "dmm", swap)
    assert not (path.parent / FILE).exists()


def test_a_walk_moves_nothing_and_holds_nothing_while_it_asks(looks_real):
    path = looks_real.station

    def look(question: str) -> str:
        with Station(path).instrument("drain"):  # refused if the walk held it
            return yes(question)

    before = len(looks_real.twin.read_log())
    walk(Station(path), "drain", look)
    assert looks_real.twin.read_log()[before:] == []


def test_a_rehearsal_is_recorded_and_does_not_count(edited):
    path = edited()
    with pytest.raises(BackendError, match="simulated"):
        walk(Station(path), "gates", yes)
    assert not (path.parent / FILE).exists()
    done = labthermo("doctor", str(path), "--commission", "gates", "--rehearsal", answers="Ada\n" + 20 * "yes\n")
    assert done.returncode == 0, done.stderr
    assert "rehearsed (this does not count): gates" in done.stdout
    (record,) = read_commissionings(path.parent)
    assert record.rehearsal
    with Station(path, "wire").instrument("gates") as gates:
        assert find_commissioning(path.parent, "qdac2", gates.identity) is None


@pytest.mark.parametrize(
    ("arguments", "answers", "words"),
    [
        (("--commission", "gate", "--rehearsal"), "", "gates"),
        (("--commission", "gates", "--rehearsal"), "Ada\nyes\n", "answers ended"),
        (("--rehearsal",), "", "--commission NAME"),
    ],
)
def test_what_cannot_be_done_is_one_line(edited, arguments, answers, words):
    done = labthermo("doctor", str(edited()), *arguments, answers=answers)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert words in done.stderr


def test_a_broken_record_is_told_and_kept(looks_real):
    path = looks_real.station
    (path.parent / FILE).write_text('[{"driver": "qdac2"}]')
    with pytest.raises(RecordError, match=r"commissioning\.json"):
        walk(Station(path), "dmm", yes)
    assert (path.parent / FILE).read_text() == '[{"driver": "qdac2"}]'


def test_doctor_says_who_commissioned_what(looks_real):
    path = looks_real.station
    walk(Station(path), "dmm", yes)
    found = {check.name: check for check in check_environment(path)}
    assert "commissioned by Ada" in found["instrument dmm"].detail
    assert "has not met it yet" in found["instrument gates"].detail
    assert json.loads((path.parent / FILE).read_text())[0]["who"] == "Ada"


def test_the_backend_model_has_nothing_to_commission(edited):
    with pytest.raises(BackendError, match="no instruments"):
        walk(Station(edited(), "model"), "dmm", yes)
