"""The control port and the faults it injects: the bench lives on, and no fault becomes a wrong value."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from instruments.keysight34465a import Keysight34465A
from instruments.qdac2 import Qdac2
from labthermo.config import load_station
from labthermo.errors import InstrumentError, ParameterError
from labthermo.faults import REPLIES, read_fault
from simulators.bench import WireTwin, build_wire_twin
from simulators.wire.control import ControlClient

STATION = Path(__file__).parents[2] / "examples" / "sine" / "station.yaml"


@pytest.fixture
def twin() -> Iterator[WireTwin]:
    world = build_wire_twin(load_station(STATION))
    yield world
    world.close()


@pytest.fixture
def client(twin: WireTwin) -> Iterator[ControlClient]:
    control = ControlClient(twin.control)
    yield control
    control.close()


def test_it_tells_addresses_time_and_log(twin: WireTwin, client: ControlClient) -> None:
    assert client.addresses == twin.addresses
    before = client.now()
    client.sleep(12.5)
    assert client.now() == pytest.approx(before + 12.5)
    gates = Qdac2("gates", client.addresses["gates"])
    try:
        gates.set_voltage("ch01", 0.001)
    finally:
        gates.close()
    last = client.read_log()[-1]
    assert (last.port, last.channel, last.quantity) == ("gates.ch01", "p1", "voltage")
    assert last.programmed == pytest.approx(1e-3, abs=1e-6)
    assert client.read_log() == twin.read_log()


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense",
        b"[1]",
        b'{"do": "log", "after": "x"}',
        b'{"do": "sleep", "seconds": 1e99}',
        b'{"do": "sleep", "seconds": NaN}',
        b'{"do": "fault", "instrument": "none", "kind": "silent"}',
        b'{"do": "fault", "instrument": "dmm", "kind": "odd"}',
        b'{"do": "fault", "instrument": "dmm", "kind": "late", "delay": 1e9}',
        b'{"do": "eval"}',
        b"[" * 40_000,
        b"\x00\xff\xfe",
    ],
)
def test_a_bad_request_is_answered_with_an_error_and_harms_nobody(twin: WireTwin, line: bytes) -> None:
    host, port = twin.control.split(":")
    with socket.create_connection((host, int(port)), 5) as raw, raw.makefile("rb") as replies:
        raw.sendall(line + b"\n")
        assert replies.readline().startswith(b'{"error": ')
        raw.sendall(b'{"do": "now"}\n')
        assert replies.readline().startswith(b'{"ok": ')


def test_no_bench_there_is_one_clear_line() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    for bad in (address, "nowhere", "127.0.0.1:99999999"):
        with pytest.raises(InstrumentError, match=f"no bench at {bad}"):
            ControlClient(bad)


@pytest.mark.parametrize("kind", REPLIES)
def test_a_bad_reply_is_never_a_value_and_is_asked_again(twin: WireTwin, client: ControlClient, kind: str) -> None:
    meter = Keysight34465A("dmm", client.addresses["dmm"], timeout=0.3)
    try:
        meter.prepare_voltage_range(5.0)
        good = meter.measure_voltage(0.02)
        client.inject("dmm", kind, after=2, **({"delay": 0.6} if kind == "late" else {}))
        for _ in range(4):
            reading = meter.measure_voltage(0.02)
            assert reading.flag == "ok"
            assert abs(reading.value - good.value) < 0.02  # noise
        assert len(meter.incidents) == 1
        assert "line opened anew" in meter.incidents[0]
    finally:
        meter.close()


def test_a_line_that_stays_bad_is_an_error_and_closes(client: ControlClient) -> None:
    meter = Keysight34465A("dmm", client.addresses["dmm"], timeout=0.1)
    try:
        meter.prepare_voltage_range(5.0)
        client.inject("dmm", "truncated", count=1000)
        with pytest.raises(InstrumentError, match="dmm"):
            meter.measure_voltage(0.02)
        with pytest.raises(InstrumentError, match="closed"):
            meter.measure_voltage(0.02)
    finally:
        meter.close()


def test_a_reboot_is_silent_but_the_world_sees_it(twin: WireTwin, client: ControlClient) -> None:
    gates = Qdac2("gates", client.addresses["gates"])
    try:
        gates.set_voltage("ch02", 0.05)
        client.inject("gates", "reboot")
        assert gates.voltage("ch02") == 0.0
    finally:
        gates.close()
    moves = [e for e in twin.read_log() if e.port == "gates.ch02" and e.quantity == "voltage"]
    assert [round(e.programmed, 6) for e in moves[-2:]] == [0.05, 0.0]


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"kind": "silent", "count": 0}, "count"),
        ({"kind": "x"}, "'x' is unknown"),
        ({"kind": "late", "delay": "2 m"}, "delay"),
        ({"kind": "late", "factor": 3}, "unknown key"),
        ({"kind": "silent", "after": 1, "at": "1 s"}, "by count .* or by time"),
        ({"kind": "slow", "factor": 0.5}, "at least 1"),
        ({"kind": "drift"}, "rate: is missing"),
        ({}, "kind: is missing"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused_in_one_line(keys: dict[str, object], complaint: str) -> None:
    with pytest.raises(ParameterError, match=complaint) as refused:
        read_fault({"on": "dmm", **keys})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("on", "kind", "complaint"),
    [
        ("dmm", "stall", "cannot have"),
        ("none", "silent", "no fault on 'none'"),
        ("none", "stuck", "no fault on 'none'"),
    ],
)
def test_a_fault_that_cannot_be_had_is_refused(client: ControlClient, on: str, kind: str, complaint: str) -> None:
    with pytest.raises(InstrumentError, match=complaint):
        client.inject(on, kind)
