"""Whatever is sent to a simulated instrument, or comes back to an adapter: no traceback, no hang, no move.

Over every driver that is registered. Moves are judged by the Bench's own log; the limit of every test is its timeout.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from labthermo import plugins
from labthermo.config import load_station
from labthermo.errors import LabThermoError
from labthermo.instrument import PlateReader, Reading, SourceMeter, SyringePump, VoltageSource, Voltmeter
from simulators.bench import build_wire_twin
from simulators.wire.scpi import ScpiPersonality

from .conftest import WIRED, Bench, every_driver

DRIVERS = every_driver()
TIMEOUT = 0.05  # s, of one query of an adapter
LINES, REPLIES = 200, 30  # in the default run, for each driver
MANY = 10_000

ARGUMENTS = st.sampled_from(
    [
        *("", "1", "0", "-1", "nan", "inf", "1e999", "1e", "--1", "1.2.3", "2.0V", "MIN", "DEF", "ON OFF", "ON,OFF"),
        *("'", '"', "'a", "(@", "(@1", "(@1,2:", "(@0)", "(@99)", "(@1))", "(", ",", ",,", "\x00", "\xff"),
        *("#", "#9", "#15ab", "#900000000"),
    ]
)
DAMAGE = st.tuples(st.integers(0, 60), st.sampled_from(["", ":", "?", ";", " ", "#", "\x07", "Z", "9", "\t", "\xe9"]))


def headers(personality: ScpiPersonality) -> list[str]:
    """Every header that an instrument knows, as its manual prints it, in the long form."""
    methods = [getattr(type(personality), name, None) for name in dir(type(personality))]
    patterns = [pattern for method in methods for pattern in getattr(method, "scpi_patterns", ())]
    patterns += [setting.pattern for setting in personality.settings]
    patterns += [setting.pattern + "?" for setting in personality.settings]
    plain = [re.sub(r"\{([^|}]*)[^}]*\}", r"\1", pattern) for pattern in patterns]
    return sorted({re.sub(r"[\[\]]", "", pattern).replace("#", "1") for pattern in plain})


def damaged(known: list[str]) -> st.SearchStrategy[bytes]:
    """A known header with a letter too many, too few or wrong, or with arguments that it cannot take."""

    def build(header: str, argument: str, damage: tuple[int, str] | None) -> bytes:
        line = f"{header} {argument}" if argument else header
        if damage is not None:
            place, char = damage[0] % (len(line) + 1), damage[1]
            line = line[:place] + char + line[place + (not char) :]
        return line.encode("latin-1")

    return st.builds(build, st.sampled_from(known), ARGUMENTS, st.none() | DAMAGE)


def lines_for(personality: Any) -> st.SearchStrategy[bytes]:
    junk = st.binary(max_size=60).map(lambda data: data.replace(b"\n", b" "))
    return damaged(headers(personality)) | junk if isinstance(personality, ScpiPersonality) else junk


def complaints(personality: Any, reply: bytes | None) -> int:
    """How many errors an instrument has; for one without a queue, whether it says no."""
    if hasattr(personality, "errors"):
        return len(personality.errors)
    return int(reply is None or b"?" in reply or b"FAIL" in reply)


def fuzz_commands(bench: Bench, driver: str, wanted: int) -> None:
    personality = bench.personality(driver)
    queue = hasattr(personality, "errors")
    refused = 0

    def feed(data: bytes) -> None:
        nonlocal refused
        world = bench.twin.bench
        if queue:
            personality.errors.clear()
            messages = [data]
        else:
            received = bytearray(data + b"\r")
            messages = iter(lambda: personality.split(received), None)
        for message in messages:
            before = len(world.log)
            reply = personality.handle(message)
            assert reply is None or isinstance(reply, bytes)
            if complaints(personality, reply):
                refused += 1
                parts = message.count(b";") + message.count(b"\n")  # a compound may be right up to its end
                assert parts or len(world.log) == before, f"{message!r} was refused and moved something"

    @seed(1)
    @settings(
        max_examples=wanted,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(lines_for(personality))
    def fuzz(data: bytes) -> None:
        bench.twin._servers.call(lambda: feed(data))

    for _ in range(20):
        fuzz()
        if refused >= wanted:
            break
        fuzz = seed(refused + 2)(fuzz)
    print(f"\n{driver}: {refused} malformed lines")
    assert refused >= wanted


@pytest.fixture
def no_tracebacks(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.ERROR, "simulators.wire"):
        yield
        assert [record.getMessage() for record in caplog.records if record.name == "simulators.wire"] == []


@pytest.mark.parametrize("driver", DRIVERS)
def test_malformed_commands_move_nothing_and_raise_nothing(bench: Bench, driver: str, no_tracebacks: None) -> None:
    fuzz_commands(bench, driver, LINES)


# --------------------------------------------------------------------------------------------------------- replies


def questions(adapter: Any) -> dict[str, Callable[[], object]]:
    """What an adapter can be asked without moving anything."""
    asked: dict[str, Callable[[], object]] = {"refuse_reboot": adapter.refuse_reboot}
    if isinstance(adapter, VoltageSource):
        channel = adapter.source_channels()[0]
        asked["voltage"] = lambda: adapter.voltage(channel)
    if isinstance(adapter, SourceMeter):
        channel = adapter.source_channels()[0]
        asked["compliance"] = lambda: adapter.compliance(channel)
        asked["output_is_on"] = lambda: adapter.output_is_on(channel)
    if isinstance(adapter, Voltmeter):
        asked["measure_voltage"] = lambda: adapter.measure_voltage(0.02)
    if isinstance(adapter, SyringePump):
        asked["rate"] = adapter.rate
    if isinstance(adapter, PlateReader):
        asked["measure_temperature"] = adapter.measure_temperature
    return asked


# What is no number, list of numbers or word that an instrument might say: digits that are wrong or missing are in
# test_chaos.py, where two replies must agree.
NO_ANSWER = re.compile(rb"[-+0-9.eE,;:\s\x02\x03naifNAIFSIWPTU>OK]*")
MALFORMED = st.lists(
    (st.binary(max_size=80) | st.text("0123456789eE+-.,;", max_size=9).map(lambda t: b"\x07" + t.encode())).filter(
        lambda data: not NO_ANSWER.fullmatch(data)
    ),
    min_size=1,
    max_size=3,
)


@pytest.fixture(scope="module")
def quiet(every_station: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A bench without noise, so that a right answer is known."""
    folder = tmp_path_factory.mktemp("quiet")
    text = every_station.read_text(encoding="utf-8")
    text = text.replace("noise: {y: 260 nV/Hz**0.5}", "noise: off")
    (folder / "station.yaml").write_text(text, encoding="utf-8")
    (folder / "ndc_dots.yaml").write_bytes(every_station.with_name("ndc_dots.yaml").read_bytes())
    config = load_station(folder / "station.yaml")
    found = Bench(config, build_wire_twin(config))
    yield found
    found.twin.close()


def fuzz_replies(bench: Bench, driver: str, wanted: int) -> None:
    """Up to three replies in a row are malformed: then the right answer is found, and it is in the incidents."""
    name = WIRED.get(driver, driver)
    line = bench.twin._instruments[name]
    if hasattr(line.personality, "reply_end"):
        wanted //= 10  # a serial line is mended slowly, and has tests of its own
    kind = plugins.load("labthermo.instruments", driver)
    adapter = kind(name, bench.twin.addresses[name], timeout=TIMEOUT)
    end: bytes = getattr(line.personality, "reply_end", b"\n")
    asked = questions(adapter)
    right = {what: ask() for what, ask in asked.items()}
    pending: list[bytes] = []
    sent = 0
    respond = line.respond

    async def malform(message: bytes) -> bytes | None:
        nonlocal sent
        reply = await respond(message)
        if reply is None or not pending:
            return reply
        sent += 1
        return pending.pop(0).replace(end, b"") + end

    line.respond = malform  # type: ignore[method-assign]
    before = len(bench.twin.read_log())

    @seed(1)
    @settings(
        max_examples=wanted,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(MALFORMED, st.sampled_from(sorted(asked)))
    def fuzz(replies: list[bytes], what: str) -> None:
        if sent >= wanted:
            return
        pending[:] = replies
        answer = asked[what]()
        assert answer == right[what] or (isinstance(answer, Reading) and answer.flag == "ok")
        pending.clear()

    try:
        for again in range(20):
            fuzz()
            if sent >= wanted:
                break
            fuzz = seed(again + 2)(fuzz)
        print(f"\n{driver}: {sent} malformed replies")
        assert sent >= wanted
        assert len(bench.twin.read_log()) == before
        pending[:] = [b"\x07?"] * 100
        with pytest.raises(LabThermoError):
            asked["refuse_reboot" if driver != "spectramax" else "measure_temperature"]()
    finally:
        line.respond = respond  # type: ignore[method-assign]
        adapter.close()


@pytest.mark.parametrize("driver", DRIVERS)
def test_malformed_replies_are_never_an_answer(quiet: Bench, driver: str) -> None:
    fuzz_replies(quiet, driver, REPLIES)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("driver", DRIVERS)
def test_ten_thousand_malformed_commands_and_replies(
    bench: Bench, quiet: Bench, driver: str, no_tracebacks: None
) -> None:
    fuzz_commands(bench, driver, MANY)
    fuzz_replies(quiet, driver, MANY)
