"""The journal keeps what it acknowledged, to the last bit, whatever happens to the process or the disk."""

from __future__ import annotations

import math
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from labthermo.device import Query, Response, Status
from labthermo.errors import OwnershipError, RecordError
from labthermo.records import journal as journal_module
from labthermo.records.journal import FILE, Journal

HEADER = {"backend": "model", "task": "sine", "seed": 7, "station": "backend: model\n"}
ANY = st.floats(allow_nan=True, allow_infinity=True, allow_subnormal=True, width=64)


def response(outputs: list[float], *, knobs: dict[str, float] | None = None) -> Response:
    """One row per output; the other columns follow from it."""
    column = np.array(outputs, dtype=float).reshape(-1, 1)
    return Response(
        outputs=column,
        nodes=np.hstack([column, column]),
        sigma=column * 0.5,
        node_sigma=np.hstack([column, column]),
        settle_time=column[:, 0],
        status=(Status.SETTLED,) * len(outputs),
        inputs=column,
        knobs=knobs or {"p1": 0.1},
    )


def query(inputs: list[float], knobs: dict[str, float] | None = None) -> Query:
    return Query(knobs=knobs or {"p1": 0.1}, inputs=np.array(inputs).reshape(-1, 1))


def same(a: float, b: float) -> bool:
    """The same double, bit by bit, with one NaN as good as another."""
    return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))


@pytest.fixture
def journal(tmp_path: Path):
    made = Journal.create(tmp_path / "runs" / "r1", HEADER)
    yield made
    made.close()


@example([[-0.0, math.nan, math.inf, 5e-324, -0.0], [1.7e308, -math.inf, 0.1, -5e-324, math.nan]], {"ü": -0.0})
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.lists(ANY, min_size=5, max_size=5), min_size=1, max_size=4),
    st.dictionaries(st.text(min_size=1, max_size=8), ANY, max_size=3),
)
def test_points_read_back_to_the_last_bit(rows: list[list[float]], knobs: dict[str, float]) -> None:
    table = np.array(rows)
    batch = len(rows)
    asked = Query(knobs=knobs, inputs=table[:, :2], nudge=table[:, 2:3], reset="park")
    answer = Response(
        outputs=table[:, 1:3],
        nodes=table[:, 2:],
        sigma=table[:, :2],
        node_sigma=table[:, :3],
        settle_time=table[:, 4],
        status=tuple(list(Status)[i % len(Status)] for i in range(batch)),
        inputs=table[:, 3:],
        knobs=knobs,
    )
    folder = Path(tempfile.mkdtemp())
    try:
        with_journal = Journal.create(folder / "r", HEADER)
        with_journal.append(asked, answer, "train")
        with_journal.close()
        reader = Journal.open(folder / "r", writable=False)
        points = reader.points()
        reader.close()
    finally:
        shutil.rmtree(folder)
    assert [p.number for p in points] == list(range(batch))
    for row, point in enumerate(points):
        assert point.reset == "park"
        assert point.status is answer.status[row]
        assert same(point.settle_time, table[row, 4])
        assert point.nudge is not None
        for kept, given_ in (
            (point.inputs_asked, table[row, :2]),
            (point.nudge, table[row, 2:3]),
            (point.outputs, table[row, 1:3]),
            (point.nodes, table[row, 2:]),
            (point.sigma, table[row, :2]),
            (point.node_sigma, table[row, :3]),
            (point.inputs, table[row, 3:]),
            (point.knobs.values(), knobs.values()),
            (point.knobs_asked.values(), knobs.values()),
        ):
            assert len(kept) == len(given_)
            assert all(same(a, b) for a, b in zip(kept, given_, strict=True))
        assert list(point.knobs) == list(knobs)


def test_header_says_when_and_on_what(journal: Journal) -> None:
    assert journal.header["backend"] == "model"
    assert journal.header["simulated"] is True
    assert journal.header["station"] == HEADER["station"]
    assert journal.header["created"].endswith("+00:00")


@pytest.mark.parametrize("header", [{}, {"backend": "wire ", "task": "x"}, {"backend": "wire", "simulated": False}])
def test_a_header_must_say_its_backend_truly(header: dict, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="r: header says"):
        Journal.create(tmp_path / "r", header)
    assert not (tmp_path / "r").exists()


def test_a_run_is_never_made_twice(journal: Journal) -> None:
    with pytest.raises(RecordError, match="r1 exists already; resume"):
        Journal.create(journal.folder, HEADER)


def test_every_commit_is_synced(journal: Journal) -> None:
    journal.close()
    again = Journal.open(journal.folder)
    assert again._execute("PRAGMA synchronous") == [(2,)]
    assert again._execute("PRAGMA journal_mode") == [("wal",)]
    again.close()


def test_numbers_go_on_and_purposes_are_told_apart(journal: Journal) -> None:
    assert (journal.last_number(), journal.count(), journal.points()) == (-1, 0, [])
    journal.append(query([1.0, 2.0]), response([3.0, 4.0]), "screen")
    journal.append(query([5.0]), response([6.0]), "score")
    assert journal.last_number() == 2
    assert [p.outputs[0] for p in journal.points()] == [3.0, 4.0, 6.0]
    assert [p.number for p in journal.points("score")] == [2]
    assert [p.number for p in journal.points(after=0)] == [1, 2]
    assert journal.points("screen", after=1) == []
    assert (journal.count("screen"), journal.count("score"), journal.count()) == (2, 1, 3)
    assert journal.purposes() == {"screen": 2, "score": 1}
    assert journal.statuses() == {"settled": 3}
    assert journal.queries() == 2


def test_a_number_is_never_given_twice(journal: Journal) -> None:
    journal.append(query([1.0]), response([2.0]))
    taken = Query(knobs={}, inputs=[[7.0]], number=0)
    with pytest.raises(RecordError, match="UNIQUE"):
        journal.append(taken, response([8.0]))
    assert [p.outputs for p in journal.points()] == [(2.0,)]


def test_knobs_are_kept_once_a_query(journal: Journal) -> None:
    for knobs in ({"p1": 0.1}, {"p1": 0.1}, {"p1": 0.2}, {"p1": 0.1}):
        journal.append(query([1.0, 2.0], knobs), response([3.0, 4.0], knobs=knobs))
    assert journal._execute("SELECT count(*) FROM settings") == [(3,)]
    assert [p.knobs["p1"] for p in journal.points()] == [0.1] * 4 + [0.2] * 2 + [0.1] * 2


def test_rows_that_do_not_fit_are_refused_whole(journal: Journal) -> None:
    with pytest.raises(RecordError, match=r"inputs asked have shape \(3, 1\), the response has 2 rows"):
        journal.append(query([1.0, 2.0, 3.0]), response([1.0, 2.0]))
    odd = replace(response([1.0, 2.0]), settle_time=np.array([0.1]))
    with pytest.raises(RecordError, match=r"settle times have shape \(1,\), the response has 2 rows"):
        journal.append(query([1.0, 2.0]), odd)
    assert journal.count() == 0


def test_trainer_state_is_the_newest_and_exact(journal: Journal) -> None:
    assert journal.trainer_state() is None
    state = np.random.default_rng(3).bit_generator.state
    journal.save_trainer({"step": 1})
    journal.save_trainer({"bits": state, "knobs": np.array([0.1, math.pi, -0.0]), "best": math.inf})
    journal.close()
    reader = Journal.open(journal.folder, writable=False)
    kept = reader.trainer_state()
    reader.close()
    assert kept is not None
    assert kept == {"bits": state, "knobs": [0.1, math.pi, -0.0], "best": math.inf}
    restored = np.random.default_rng()
    restored.bit_generator.state = kept["bits"]
    assert restored.random() == np.random.default_rng(3).random()


def test_what_is_no_plain_data_is_refused(journal: Journal) -> None:
    with pytest.raises(RecordError, match=r"trainer state cannot be recorded .no plain data: object"):
        journal.save_trainer({"thing": object()})
    assert journal.trainer_state() is None


def test_events_keep_order_kind_and_details(journal: Journal) -> None:
    journal.event("trip", kind="leakage", channel="p1", current=2e-9, trace=np.array([1.0, math.nan]))
    journal.event("note", text="\ud800 ünïcode \x00")
    first, second = journal.events()
    assert (first.kind, first.detail["kind"], first.detail["current"]) == ("trip", "leakage", 2e-9)
    assert math.isnan(first.detail["trace"][1])
    assert second.detail["text"] == "\ud800 ünïcode \x00"
    assert journal.events("note") == [second]
    assert first.number < second.number


def test_outcome_runs_until_finished_and_again_after_a_further_point(journal: Journal) -> None:
    assert journal.outcome == "running"
    journal.finish("failed: the\ncryostat warmed up")
    assert journal.outcome == "failed: the cryostat warmed up"
    journal.append(query([1.0]), response([2.0]))
    assert journal.outcome == "running"
    journal.finish("finished")
    assert journal.outcome == "finished"
    with pytest.raises(RecordError, match="cannot end as 'great'"):
        journal.finish("great")


def test_a_transaction_is_all_or_nothing(journal: Journal) -> None:
    with journal.transaction():
        journal.append(query([1.0]), response([2.0]))
        journal.save_trainer({"step": 1})
        journal.event("step")
        assert journal.in_transaction
    assert not journal.in_transaction

    def fail_half_way() -> None:
        with journal.transaction():
            journal.append(query([1.0]), response([2.0]))
            journal.save_trainer({"step": 2})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert (journal.count(), journal.trainer_state(), len(journal.events())) == (1, {"step": 1}, 1)


def test_a_swallowed_failure_spoils_its_transaction(journal: Journal) -> None:
    journal.append(query([1.0]), response([2.0]))

    def swallow() -> None:
        with journal.transaction():
            journal.event("half")
            with pytest.raises(RecordError):
                journal.append(Query(inputs=[[1.0]], number=0), response([2.0]))

    with pytest.raises(RecordError, match="part of a transaction failed"):
        swallow()
    assert journal.events() == []


def test_threads_may_write_at_the_same_time(journal: Journal) -> None:
    def write(name: str) -> None:
        for _ in range(20):
            with journal.transaction():
                journal.append(query([1.0]), response([2.0]), name)
                journal.event(name)

    threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert journal.purposes() == {"a": 20, "b": 20, "c": 20}
    assert [p.purpose for p in journal.points()] == [e.kind for e in journal.events()]


def test_one_writer_many_readers(journal: Journal) -> None:
    with pytest.raises(OwnershipError, match=r"run r1 is held by process \d+, started 20\d\d-.* UTC"):
        Journal.open(journal.folder)
    journal.append(query([1.0]), response([2.0]))
    reader = Journal.open(journal.folder, writable=False)
    assert reader.count() == 1
    with pytest.raises(RecordError, match="opened for reading"):
        reader.event("no")
    reader.close()
    holder = Journal.holder(journal.folder)
    assert holder is not None
    assert holder.alive
    journal.close()
    assert Journal.holder(journal.folder) is None
    Journal.open(journal.folder).close()


def test_another_process_is_refused_with_the_holders_pid(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\nfrom labthermo.records.journal import Journal\n"
        f"j = Journal.create(pathlib.Path({str(tmp_path / 'r')!r}), {{'backend': 'model'}})\n"
        "print('ready', flush=True)\nsys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        with pytest.raises(OwnershipError, match=f"held by process {other.pid}, started"):
            Journal.open(tmp_path / "r")
        other.kill()
    Journal.open(tmp_path / "r").close()


def other_database(file: Path) -> None:
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE t (x)")
    connection.close()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda file: None, "has no journal.sqlite"),
        (lambda file: file.write_text("no database " * 1000), "damaged or no labthermo journal"),
        (lambda file: file.write_bytes(b""), "is no labthermo journal"),
        (other_database, "is no labthermo journal"),
    ],
)
@pytest.mark.parametrize("writable", [True, False])
def test_what_is_no_journal_is_named_in_one_line(make, says: str, writable: bool, tmp_path: Path) -> None:
    make(tmp_path / FILE)
    with pytest.raises(RecordError, match=says) as caught:
        Journal.open(tmp_path, writable=writable)
    assert "\n" not in str(caught.value)
    assert Journal.holder(tmp_path) is None


def test_a_damaged_page_is_found_on_opening(journal: Journal) -> None:
    for number in range(40):
        journal.append(query([float(number)]), response([1.0]))
    journal.close()
    file = journal.folder / FILE
    whole = bytearray(file.read_bytes())
    for page in range(1, len(whole) // 4096):
        whole[page * 4096 : page * 4096 + 200] = b"\xff" * 200
    file.write_bytes(whole)
    with pytest.raises(RecordError, match="damaged"):
        Journal.open(journal.folder)


def test_a_later_format_is_refused(journal: Journal) -> None:
    journal._execute("PRAGMA user_version = 99")
    journal.close()
    with pytest.raises(RecordError, match="has format 99, this labthermo reads 1"):
        Journal.open(journal.folder)


def test_a_lock_held_by_a_stranger_is_a_record_error(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = journal.folder
    journal.close()
    monkeypatch.setattr(journal_module, "_BUSY_TIMEOUT", 0.05)
    journal = Journal.open(folder)
    stranger = sqlite3.connect(folder / FILE, isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    with pytest.raises(RecordError, match="locked"):
        journal.append(query([1.0]), response([2.0]))
    stranger.execute("ROLLBACK")
    stranger.close()
    assert journal.count() == 0
    journal.append(query([1.0]), response([2.0]))
    assert journal.count() == 1
    journal.close()


WRITER = """
import sys, pathlib
import numpy as np
from labthermo.device import Query, Response, Status
from labthermo.records.journal import Journal
folder = pathlib.Path(sys.argv[1])
journal = Journal.open(folder)
number = journal.last_number() + 1
while True:
    value = np.array([[number * 0.1]])
    with journal.transaction():
        journal.append(
            Query({"p": number * 0.1}, value),
            Response(value, value, value, value, value[:, 0], (Status.SETTLED,), value, {"p": number * 0.1}),
            "train",
        )
        journal.save_trainer({"told": number, "weights": [number * 0.1] * 50})
    print(number, flush=True)
    number += 1
"""


def test_kill_9_at_any_moment_loses_nothing_acknowledged(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    Journal.create(folder, HEADER).close()
    luck = random.Random(11)
    shown = -1
    for _ in range(10):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            first = writer.stdout.readline()
            time.sleep(luck.uniform(0, 0.15))
            writer.send_signal(signal.SIGKILL)
            numbers = [int(line) for line in (first + writer.stdout.read()).split()]
        assert numbers[0] in (shown + 1, shown + 2)  # the one that was cut off may be in, whole, or not
        shown = numbers[-1]
        reader = Journal.open(folder, writable=False)
        points = reader.points()
        state = reader.trainer_state()
        reader.close()
        assert [p.number for p in points] == list(range(len(points)))
        assert len(points) in (shown + 1, shown + 2)
        assert all(p.outputs == (p.number * 0.1,) and p.knobs["p"] == p.number * 0.1 for p in points)
        assert state is not None
        assert state["told"] == points[-1].number
    assert shown >= 10
