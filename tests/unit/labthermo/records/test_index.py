"""The list of runs follows the journals, and no damaged folder stops it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from labthermo.device import Query, Response, Status
from labthermo.records import index
from labthermo.records.index import INDEX, RunSummary, list_runs
from labthermo.records.journal import FILE, Journal


def make(runs: Path, name: str, created: str, **header: object) -> Journal:
    return Journal.create(runs / name, {"backend": "wire", "task": "sine", "created": created, **header})


def add_point(journal: Journal, purpose: str = "train") -> None:
    one = [[1.0]]
    journal.append(Query(inputs=one), Response(one, one, one, one, [0.1], (Status.SETTLED,), one, {}), purpose)  # type: ignore[arg-type]


def test_runs_newest_first_with_what_the_journal_says(tmp_path: Path) -> None:
    old = make(tmp_path, "b-old", "2026-01-01T00:00:00+00:00")
    add_point(old)
    add_point(old)
    add_point(old, "score")
    old.event("progress", queries=2, rmse=0.5, best=0.4)
    old.event("fit", rmse=0.3, floor=0.7)
    old.finish("finished")
    new = Journal.create(
        tmp_path / "a-new", {"backend": "real", "procedure": "iv_curve", "created": "2026-02-01T00:00:00+00:00"}
    )
    new.event("progress", queries=2, rmse=0.5, best=0.4)
    listed = list_runs(tmp_path)
    assert listed == [
        RunSummary("a-new", "2026-02-01T00:00:00+00:00", "procedure", "iv_curve", "real", False, 0, 0.4, "running"),
        RunSummary("b-old", "2026-01-01T00:00:00+00:00", "task", "sine", "wire", True, 2, 0.3, "finished"),
    ]
    assert list_runs(tmp_path) == listed
    new.close()
    old.close()


def test_no_folder_no_runs(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "nowhere") == []
    assert not (tmp_path / "nowhere").exists()


def test_a_change_in_the_journal_shows_at_once(tmp_path: Path) -> None:
    journal = make(tmp_path, "r", "2026-01-01T00:00:00+00:00")
    for number in range(3):
        assert list_runs(tmp_path)[0].queries == number
        add_point(journal)
    journal.close()
    assert list_runs(tmp_path)[0].queries == 3


def test_unchanged_journals_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "r", "2026-01-01T00:00:00+00:00").close()
    first = list_runs(tmp_path)
    monkeypatch.delattr(index, "_summarise")
    assert list_runs(tmp_path) == first


def test_damaged_folders_are_listed_last(tmp_path: Path) -> None:
    good = make(tmp_path, "good", "2026-01-01T00:00:00+00:00")
    good.close()
    (tmp_path / "empty").mkdir()
    (tmp_path / "rubbish").mkdir()
    (tmp_path / "rubbish" / FILE).write_bytes(b"\x00\xff" * 5000)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / FILE).mkdir()
    (tmp_path / "a file").write_text("no run")
    listed = list_runs(tmp_path)
    assert listed[0].id == "good"
    assert {s.id for s in listed[1:]} == {"empty", "rubbish", "folder"}
    assert all(s.outcome.startswith("damaged: ") and s.simulated for s in listed[1:])


@pytest.mark.parametrize("rubbish", [b"", b"no database" * 1000])
def test_a_damaged_index_is_made_anew(rubbish: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "r", "2026-01-01T00:00:00+00:00").close()
    (tmp_path / INDEX).write_bytes(rubbish)
    first = list_runs(tmp_path)
    assert [s.id for s in first] == ["r"]
    monkeypatch.delattr(index, "_summarise")
    assert list_runs(tmp_path) == first


def test_a_folder_for_an_index_only_slows_the_list(tmp_path: Path) -> None:
    make(tmp_path, "r", "2026-01-01T00:00:00+00:00").close()
    (tmp_path / INDEX).mkdir()
    assert "r" in [s.id for s in list_runs(tmp_path)]


def test_removed_runs_leave_the_list(tmp_path: Path) -> None:
    make(tmp_path, "r", "2026-01-01T00:00:00+00:00").close()
    assert len(list_runs(tmp_path)) == 1
    for file in (tmp_path / "r").iterdir():
        file.unlink()
    (tmp_path / "r").rmdir()
    assert list_runs(tmp_path) == []


def test_a_run_whose_process_died_is_interrupted(tmp_path: Path) -> None:
    code = (
        "import os, pathlib\nfrom labthermo.records.journal import Journal\n"
        f"j = Journal.create(pathlib.Path({str(tmp_path / 'r')!r}), {{'backend': 'model'}})\n"
        "os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert list_runs(tmp_path)[0].outcome == "interrupted"
    journal = Journal.open(tmp_path / "r")
    assert list_runs(tmp_path)[0].outcome == "running"
    journal.close()
