"""A run shows nothing that is not committed, and stops when it cannot commit."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from labthermo.bench_device import Usage
from labthermo.channel import Channel
from labthermo.device import Query, Response, Status
from labthermo.errors import InstrumentError, ParameterError, QueryError, RecordError
from labthermo.records.journal import Journal, Point
from labthermo.run import Run, new_run_id, run_folder


class Doubler:
    """A device with one input, one knob and one output: y = gain * x, read one input at a time."""

    channels = (Channel("x", "input", "V"), Channel("gain", "knob", ""), Channel("y", "output", "V"))

    def __init__(self, answers: int = 10**9) -> None:
        self.gain = 2.0
        self.parked = 0
        self.stopped = 0
        self.numbers: list[int | None] = []
        self.answers = answers

    def stream(self, query: Query) -> Iterator[Response]:
        self.gain = query.knobs.get("gain", self.gain)
        self.numbers.append(query.number)
        try:
            for x in query.input_array(self.channels[:1])[: self.answers]:
                y = self.gain * x.reshape(1, 1)
                yield Response(
                    outputs=y,
                    nodes=np.empty((1, 0)),
                    sigma=0 * y + 1e-6,
                    node_sigma=np.empty((1, 0)),
                    settle_time=np.array([0.1]),
                    status=(Status.SETTLED,),
                    inputs=x.reshape(1, 1),
                    knobs={"gain": self.gain},
                )
        finally:
            self.stopped += 1

    def query(self, query: Query) -> Response:
        return Response.join(list(self.stream(query)))

    def park(self) -> None:
        self.parked += 1

    def close(self) -> None:
        self.park()


@pytest.fixture
def journal(tmp_path: Path):
    made = Journal.create(tmp_path / "r1", {"backend": "model"})
    yield made
    made.close()


def test_answers_are_committed_with_what_was_asked(journal: Journal) -> None:
    device = Doubler()
    run = Run(device, journal)
    answer = run.query(Query(knobs={"gain": 3.0}, inputs=[1.0, 2.0], nudge=[1e-9, 2e-9], reset="park"), "train")
    assert answer.outputs.tolist() == [[3.0], [6.0]]
    run.query(Query(inputs=[5.0]), "score")
    points = journal.points()
    assert [(p.number, p.purpose, p.inputs_asked, p.nudge, p.reset) for p in points] == [
        (0, "train", (1.0,), (1e-9,), "park"),
        (1, "train", (2.0,), (2e-9,), "park"),
        (2, "score", (5.0,), None, "hold"),
    ]
    assert [p.outputs for p in points] == [(3.0,), (6.0,), (15.0,)]
    assert (points[2].knobs_asked, points[2].knobs) == ({}, {"gain": 3.0})
    assert device.numbers == [0, 2]


def test_numbers_go_on_from_the_journal_whatever_the_query_says(journal: Journal) -> None:
    device = Doubler()
    Run(device, journal).query(Query(inputs=[1.0, 2.0]))
    Run(device, journal).query(Query(inputs=[1.0], number=0))
    assert device.numbers == [0, 2]
    assert journal.last_number() == 2


def test_each_part_is_durable_before_anybody_sees_it(journal: Journal) -> None:
    seen: list[Point] = []

    def look(point: Point) -> None:
        reader = Journal.open(journal.folder, writable=False)
        assert reader.points() == [*seen, point]
        reader.close()
        seen.append(point)

    Run(Doubler(), journal, on_point=look).query(Query(inputs=[1.0, 2.0, 3.0]))
    assert [p.outputs for p in seen] == [(2.0,), (4.0,), (6.0,)]


def test_what_was_answered_before_an_interruption_is_kept(journal: Journal) -> None:
    device = Doubler()

    def interrupt(point: Point) -> None:
        if point.number == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Run(device, journal, on_point=interrupt).query(Query(inputs=[1.0, 2.0, 3.0]))
    assert journal.last_number() == 1
    assert device.stopped == 1


def test_a_short_answer_is_an_error_and_is_kept(journal: Journal) -> None:
    with pytest.raises(QueryError, match="answered 1 of 2 inputs"):
        Run(Doubler(answers=1), journal).query(Query(inputs=[1.0, 2.0]))
    assert journal.count() == 1


@pytest.mark.parametrize("inputs", [[], [[1.0, 2.0]], [float("nan")]])
def test_a_query_that_does_not_fit_never_reaches_the_device(inputs: list, journal: Journal) -> None:
    device = Doubler()
    with pytest.raises(QueryError):
        Run(device, journal).query(Query(inputs=inputs))
    assert device.numbers == []


def test_no_query_within_a_transaction(journal: Journal) -> None:
    run = Run(Doubler(), journal)
    with pytest.raises(RecordError, match="before it is committed"), journal.transaction():
        run.query(Query(inputs=[1.0]))
    assert journal.count() == 0


def test_closing_parks_once_then_closes_the_journal(journal: Journal) -> None:
    device = Doubler()
    with Run(device, journal) as run:
        run.event("note", text="hello")
        run.close()
    assert device.parked == 1
    with pytest.raises(RecordError, match="closed"):
        journal.count()
    again = Journal.open(journal.folder)
    assert [e.kind for e in again.events()] == ["note"]
    again.close()


def test_a_failure_to_park_is_recorded_and_raised(journal: Journal) -> None:
    class Stuck(Doubler):
        def park(self) -> None:
            raise InstrumentError("gates does not answer")

    with pytest.raises(InstrumentError):
        Run(Stuck(), journal).close()
    again = Journal.open(journal.folder)
    assert again.events("park_failed")[0].detail == {"message": "gates does not answer"}
    again.close()


FULL_DISK = """
import pathlib, resource, sys
sys.path.insert(0, sys.argv[2])
from test_run import Doubler
from labthermo.device import Query
from labthermo.errors import RecordError
from labthermo.records.journal import Journal
from labthermo.run import Run
folder = pathlib.Path(sys.argv[1])
device = Doubler()
run = Run(device, Journal.create(folder, {"backend": "model"}), on_point=lambda point: print("point", point.number))
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    for number in range(10_000):
        run.query(Query(inputs=[float(number)]))
        print("answer", number)
except RecordError as error:
    print("stopped", error)
asked = len(device.numbers)
try:
    run.query(Query(inputs=[1.0]))
except RecordError as error:
    print("refused" if len(device.numbers) == asked else "asked again", error)
"""


def test_a_full_disk_stops_the_run_and_shows_nothing_unrecorded(tmp_path: Path) -> None:
    folder = tmp_path / "r1"
    command = [sys.executable, "-c", FULL_DISK, str(folder), str(Path(__file__).parent)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert re.match("stopped run r1 cannot be written", lines[-2]), lines[-2:]
    assert lines[-1].startswith("refused this run has ended")
    shown = [int(line.split()[1]) for line in lines if line.startswith("answer")]
    points = [int(line.split()[1]) for line in lines if line.startswith("point")]
    reader = Journal.open(folder, writable=False)
    recorded = [p.number for p in reader.points()]
    reader.close()
    assert shown == points == recorded
    assert len(shown) > 5


def test_run_names(tmp_path: Path) -> None:
    name = new_run_id()
    assert re.fullmatch(r"20\d{6}-\d{6}-[0-9a-f]{4}", name)
    assert len({new_run_id() for _ in range(5)}) > 1
    assert run_folder(tmp_path, name) == tmp_path / name
    assert run_folder(tmp_path, "a" * 64).name == "a" * 64


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "/etc", "a/b", "a\\b", "-rf", ".hidden", "a" * 65, "a b", "a\n", "ä", "a\0"]
)
def test_a_name_that_could_leave_the_runs_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"run name .* is not allowed") as caught:
        run_folder(tmp_path, name)
    assert "\n" not in str(caught.value)


def recipe(run: Run) -> list[float]:
    """Two batches, the second one asked as the first has answered, and an event after each."""
    first = run.query(Query(knobs={"gain": 3.0}, inputs=[1.0, 2.0], reset="park"), "a")
    run.event("half", y=first.outputs.tolist())
    second = run.query(Query(inputs=first.outputs), "b")
    run.event("whole", y=second.outputs.tolist())
    return second.outputs[:, 0].tolist()


class Bench(Doubler):
    """A doubler that an instrument stands behind: it keeps its knob, and is brought back to where it was."""

    def __init__(self, answers: int = 10**9) -> None:
        super().__init__(answers)
        self.retraced: list[int] = []

    def retrace(self, past: Sequence[Point]) -> None:
        self.retraced.append(len(past))
        self.gain = past[-1].knobs["gain"]


@pytest.mark.parametrize("kind", [Doubler, Bench])
@pytest.mark.parametrize("cut", range(8))
def test_a_recipe_that_starts_again_goes_on_where_its_record_ends(tmp_path: Path, kind, cut: int) -> None:
    """Cut after so many commits: four points, two events, and the header before them."""

    class Cut(Exception):
        pass

    def cut_off(commits: int) -> Callable[[Point | None], None]:
        left = [commits]

        def count(_: Point | None = None) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Cut

        return count

    journal = Journal.create(tmp_path / "r", {"backend": "model"})
    count = cut_off(cut)
    run = Run(kind(), journal, on_point=count)
    record, run.event = run.event, lambda kind, /, **detail: (record(kind, **detail), count())  # type: ignore[method-assign]
    with contextlib.suppress(Cut):
        recipe(run)
    before = journal.points()
    journal.event("resumed")
    device = kind()
    assert recipe(Run(device, journal, replay=True)) == [9.0, 18.0]
    after = journal.points()
    assert after[: len(before)] == before
    assert [(p.number, p.purpose, p.inputs_asked[0], p.outputs[0], p.reset) for p in after] == [
        (0, "a", 1.0, 3.0, "park"),
        (1, "a", 2.0, 6.0, "park"),
        (2, "b", 3.0, 9.0, "hold"),
        (3, "b", 6.0, 18.0, "hold"),
    ]
    assert [e.kind for e in journal.events() if e.kind != "resumed"] == ["half", "whole"]
    journal.close()
    if kind is Bench:
        assert device.retraced == ([len(before)] if 0 < len(before) < 4 else [])
        assert len(device.numbers) <= 2


def test_a_recipe_that_asks_otherwise_than_its_record_is_refused(journal: Journal) -> None:
    Run(Doubler(), journal).query(Query(inputs=[1.0]), "a")
    for query, purpose in ((Query(inputs=[1.5]), "a"), (Query(inputs=[1.0]), "b"), (Query({"gain": 1.0}, [1.0]), "a")):
        with pytest.raises(RecordError, match="run the procedure again"):
            Run(Doubler(), journal, replay=True).query(query, purpose)
    assert journal.count() == 1


class Metered(Doubler):
    """A bench that has pumped 2 mL, in 10 s and 3 reads, with every input."""

    inputs = 0

    def stream(self, query: Query) -> Iterator[Response]:
        for part in super().stream(query):
            self.inputs += len(part)
            yield part

    def usage(self) -> Usage:
        return Usage(3 * self.inputs, 10.0 * self.inputs, {"p": 2e-3 * self.inputs})


def test_what_is_used_up_is_recorded_once_and_with_what_it_was_for(journal: Journal) -> None:
    run = Run(Metered(), journal)
    run.query(Query(inputs=[1.0, 2.0]), "train")
    run.record_usage("training")
    run.query(Query(inputs=[1.0]), "score")
    run.close()
    with contextlib.closing(Journal.open(journal.folder, writable=False)) as record:
        found = [e.detail for e in record.events("usage")]
    assert found == [
        {"of": "training", "reads": 6, "seconds": 20.0, "delivered": {"p": 4e-3}},
        {"of": "", "reads": 3, "seconds": 10.0, "delivered": {"p": pytest.approx(2e-3)}},
    ]


def test_a_model_uses_nothing_up(journal: Journal) -> None:
    run = Run(Doubler(), journal)
    run.record_usage("training")
    assert journal.events("usage") == []
