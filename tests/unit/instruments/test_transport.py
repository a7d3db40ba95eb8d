import contextlib
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyvisa.resources import MessageBasedResource
from qcodes.instrument import VisaInstrument

from instruments.transport import Line, open_resource, parse_identity, parse_number, parse_reading, qcodes_driver
from labthermo.errors import InstrumentError


@pytest.mark.parametrize("reply", ["0", "-1", "+1.5", "1.", ".5", "1E-9", "+1.04530000E+01", "-3.2e+03"])
def test_numbers_are_read(reply):
    assert parse_number(reply, "dmm") == float(reply)
    assert parse_reading(reply, "dmm").flag == "ok"


@pytest.mark.parametrize(
    "reply",
    ["+9.9E37", "-9.9E+37", "9.91E37", "+9.91000000E+37", "199.999e99", "NAN", "nan", "INF", "-inf", "Infinity"],
)
def test_sentinels_are_overflow(reply):
    reading = parse_reading(reply, "dmm")
    assert reading.flag == "overflow"
    assert math.isnan(reading.value)
    with pytest.raises(InstrumentError, match="dmm"):
        parse_number(reply, "dmm")


@pytest.mark.parametrize(
    "reply",
    ["", " ", "1 ", "1.0E", "1.0E-", "1,2", "1;0", "1V", "--1", "1_0", "0x1", "+", "E5", "1.0\n", "１", "1\x00"],
)
def test_anything_else_is_refused_with_the_raw_reply(reply):
    with pytest.raises(InstrumentError) as error:
        parse_reading(reply, "drain current")
    assert "drain current" in str(error.value)
    assert repr(reply) in str(error.value)


@given(
    st.floats(allow_nan=False, allow_infinity=False, min_value=-1e37, max_value=1e37), st.sampled_from(["", "+", ".8E"])
)
def test_whatever_python_prints_is_read_back(value, form):
    text = f"{value:{form}}"
    assert parse_number(text, "any") == float(text)


@pytest.mark.parametrize("reply", ["+1.23456789E-03", "1.5E-12", "-9.9E+37"])
def test_no_part_of_a_scientific_reading_is_a_reading(reply):
    parse_reading(reply, "dmm", scientific=True)
    for end in range(len(reply)):
        with pytest.raises(InstrumentError):
            parse_reading(reply[:end], "dmm", scientific=True)


def test_identity():
    identity = parse_identity("QDevil, QDAC-II, SIM-7, 13-1.57", "here")
    assert (identity.maker, identity.model, identity.serial, identity.firmware) == (
        "QDevil",
        "QDAC-II",
        "SIM-7",
        "13-1.57",
    )
    assert identity.simulated
    for reply in ("A,B,C", "A,B,C,D,E", "A,,C,D", ""):
        with pytest.raises(InstrumentError, match="here"):
            parse_identity(reply, "here")


# --------------------------------------------------------------------------------------- an instrument that misbehaves


class Rogue:
    """A server: what it sends for each line it gets is up to `answer`."""

    def __init__(self) -> None:
        self.answer: Callable[[str], bytes | None] = lambda _line: b""
        self.status = 0
        self.heard: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"TCPIP0::127.0.0.1::{self._listener.getsockname()[1]}::SOCKET"
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as lines:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for line in lines:
                text = line.decode().strip()
                self.heard.append(text)
                known = {"*IDN?": b"Maker,Model 7,SIM-1,1.0\n", "*ESR?": b"%d\n" % self.status}
                reply = known[text] if text in known else self.answer(text)
                if reply is None:
                    return
                connection.sendall(reply)

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


@pytest.fixture
def rogue() -> Iterator[Rogue]:
    server = Rogue()
    yield server
    server.stop()


@pytest.fixture
def open_line(rogue) -> Iterator[Callable[..., Line[Any]]]:
    with contextlib.ExitStack() as stack:

        def make(**options: Any) -> Line[Any]:
            line = Line(
                "meter",
                rogue.address,
                **({"timeout": 0.2, "model": "Model 7", "make": qcodes_driver(VisaInstrument)} | options),
            )
            stack.callback(line.close)
            return line

        yield make


def test_a_line_asks_and_closes(rogue, open_line):
    rogue.answer = lambda line: b"1.5\n" if line == "V?" else b""
    line = open_line()
    line.write("SET 3")
    assert line.ask_number("V?") == 1.5
    line.close()
    line.close()
    with pytest.raises(InstrumentError, match="closed"):
        line.ask("V?")


def test_a_write_and_a_query_do_not_wait_for_each_other(rogue, open_line):
    rogue.answer = lambda line: b"1.5\n" if line.endswith("?") else b""
    line = open_line()
    begin = time.perf_counter()
    for _ in range(20):
        line.write("SET 3")
        line.ask("V?")
    assert time.perf_counter() - begin < 0.4  # Nagle's algorithm: 20 times 44 ms


def test_a_refused_port_is_one_clear_error_that_names_the_address():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    address = f"TCPIP0::127.0.0.1::{port}::SOCKET"
    begin = time.monotonic()
    with pytest.raises(InstrumentError, match=f"{address}: nothing listens there"):
        open_resource(address)
    assert time.monotonic() - begin < 1


@pytest.mark.parametrize(
    "address", ["TCPIP0::no-such-host.invalid::5025::SOCKET", "nonsense", "TCPIP0::127.0.0.1::99999::SOCKET"]
)
def test_an_address_that_cannot_be_opened_is_named(address):
    with pytest.raises(InstrumentError, match=address):
        open_resource(address, timeout=1)


def test_another_model_is_refused_by_name(rogue, open_line):
    with pytest.raises(InstrumentError) as error:
        open_line(model="Model 8")
    assert all(word in str(error.value) for word in (rogue.address, "Model 8", "Model 7"))


def once(bad: bytes | None, good: bytes) -> Callable[[str], bytes | None]:
    """Answers `bad` once, then `good`."""
    replies = iter([bad])
    return lambda line: next(replies, good) if line.endswith("?") else b""


def test_a_late_reply_is_never_taken_for_the_next_one(rogue, open_line):
    def late(line: str) -> bytes:
        if line == "OLD?" and rogue.heard.count("OLD?") == 1:
            time.sleep(0.4)
            return b"1.0\n"
        return b"2.0\n"

    rogue.answer = late
    line = open_line()
    assert line.ask("OLD?") == "2.0"
    time.sleep(0.4)
    assert line.ask("NEW?") == "2.0"
    assert len(line.incidents) == 1
    assert "'OLD?'" in line.incidents[0]


@pytest.mark.parametrize("reply", [b"1.0E\n", b"\n", b"\xff\xfe1.0\n", b"1.0 1.0\n", b"3.0\n", None])
def test_a_doubtful_number_is_asked_again_over_a_new_session(reply, rogue, open_line):
    rogue.answer = once(reply, b"2.0\n")
    line = open_line()
    assert line.ask_number("V?") == 2.0
    time.sleep(0.02)
    assert line.ask_number("V?") == 2.0
    assert len(line.incidents) == 1
    assert rogue.heard.count("*IDN?") == 3  # twice on opening, once on opening anew


def test_a_doubled_reply_is_not_taken_for_the_next_one(rogue, open_line):
    answers = iter([b"1.0\n1.0\n", b"1.0\n"])
    rogue.answer = lambda _line: next(answers, b"2.0\n")
    line = open_line()
    assert line.ask_number("A?") == 1.0
    time.sleep(0.02)
    assert line.ask_number("B?") == 2.0
    assert "unasked reply" in line.incidents[0]


def test_two_doubled_replies_are_not_taken_for_the_next_two(rogue, open_line):
    """They agree, and arrive when the next question has just been found on a quiet line."""
    for _ in range(20):
        answers = iter([b"1.0\n1.0\n", b"1.0\n1.0\n"])
        rogue.answer = lambda _line, answers=answers: next(answers, b"2.0\n")
        line = open_line()
        assert line.ask_number("A?") == 1.0
        assert line.ask_number("B?") == 2.0
        assert line.ask_number("A?") == 2.0
        assert line.incidents


def test_the_same_answer_to_another_question_is_made_sure_of_and_to_the_same_one_is_not(rogue, open_line):
    rogue.answer = lambda text: b"0.0\n" if text.endswith("?") else b""
    line = open_line()
    for query in ("A?", "A?", "A?", "B?", "B?"):
        assert line.ask_number(query) == 0.0
    assert rogue.heard[2:].count("*IDN?") == 1  # two identify it on opening
    line.write("SET 1")
    assert line.ask_number("B?") == 0.0
    assert rogue.heard[2:].count("*IDN?") == 2
    assert not line.incidents


def test_a_line_that_stays_bad_is_given_up_and_closed(rogue, open_line):
    rogue.answer = lambda _line: b"1.0E\n"
    line = open_line()
    with pytest.raises(InstrumentError, match=r"meter .*failed 8 times, .*'1.0E'"):
        line.ask_number("V?")
    with pytest.raises(InstrumentError, match="closed"):
        line.ask_number("V?")


def test_a_driver_goes_on_over_the_new_session(rogue, open_line):
    rogue.answer = once(None, b"2.0\n")
    line = open_line()
    assert line.ask("V?") == "2.0"
    assert line.driver.ask("V?") == "2.0"
    assert isinstance(line.driver.visa_handle, MessageBasedResource)


def test_an_instrument_that_was_switched_off_is_not_asked_again(rogue, open_line):
    rogue.answer = once(None, b"2.0\n")
    line = open_line()
    rogue.status = 128
    with pytest.raises(InstrumentError, match="switched off and on"):
        line.ask("V?")
    rogue.status = 0
    with pytest.raises(InstrumentError, match="switched off and on"):
        line.set("set", lambda: line.write("SET 1"), lambda: 1, lambda got: got == 1)
    assert "SET 1" not in rogue.heard


def test_a_set_is_repeated_only_if_it_was_not_taken(rogue, open_line):
    state = {"value": 0.0, "deaf": 1}

    def answer(line: str) -> bytes | None:
        if line.endswith("?"):
            return f"{state['value']}\n".encode()
        if state["deaf"]:
            state["deaf"] -= 1
            return None  # the connection breaks in mid-write
        state["value"] = float(line.split()[1])
        return b""

    rogue.answer = answer
    line = open_line()
    got = line.set("set", lambda: line.write("SET 3"), lambda: line.ask_number("SET?"), lambda got: got == 3.0)
    assert got == 3.0 or line.incidents  # what broke under the write was told
    state["value"] = 5.0  # and one that is not obeyed is not insisted on
    rogue.answer = lambda text: b"5.0\n" if text.endswith("?") else b""
    heard = len(rogue.heard)
    assert line.set("set", lambda: line.write("SET 4"), lambda: line.ask_number("SET?"), lambda got: got == 4.0) == 5.0
    assert rogue.heard[heard:].count("SET 4") == 1


def test_an_instrument_that_has_gone_is_noticed_at_once(rogue, open_line):
    line = open_line(timeout=3.0)
    rogue.stop()
    rogue.answer = lambda _line: None
    with contextlib.suppress(InstrumentError):
        line.write("DIE")
        time.sleep(0.05)
    begin = time.monotonic()
    with pytest.raises(InstrumentError, match="meter"):
        line.ask("V?")
    assert time.monotonic() - begin < 0.5


def test_every_message_is_in_the_wire_log(rogue, open_line, caplog):
    caplog.set_level("DEBUG", logger="labthermo.wire")
    rogue.answer = once(b"2.5\n", b"2.5\n")
    open_line().ask("V?")
    assert "meter > V?" in caplog.text
    assert "meter < 2.5" in caplog.text


def test_a_visa_library_that_is_missing_is_named(rogue):
    with pytest.raises(InstrumentError, match="'@nonesuch' cannot be used"):
        open_resource(rogue.address, visa="@nonesuch")


def test_the_error_queue_is_drained(rogue, open_line):
    replies = iter([b'-113,"Undefined header"\n', b'-222,"x"\n', b'+0,"No error"\n', b"what\n"])
    rogue.answer = lambda _line: next(replies, b"what\n")
    line = open_line()
    assert [entry[:4] for entry in line.drain_errors()] == ["-113", "-222"]
    with pytest.raises(InstrumentError, match="what"):
        line.drain_errors()


def test_a_simulated_instrument_opens_in_silence(rogue, open_line, caplog, capsys):
    open_line()
    assert not caplog.records
    assert capsys.readouterr().out == ""
