"""The control port and the faults it injects: the bench lives on, and no fault becomes a wrong value."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from instruments.keysight34465a import Keysight34465A
from instruments.qdac2 import Qdac2
from labthermo.config import load_station
from labthermo.errors import InstrumentError
from simulators.bench import WireTwin, build_wire_twin
from simulators.faults import KINDS, Fault
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


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("reboot", "doubled")])
def test_a_bad_reply_is_an_error_and_never_a_value(twin: WireTwin, client: ControlClient, kind: str) -> None:
    meter = Keysight34465A("dmm", client.addresses["dmm"], timeout=0.3)
    try:
        meter.prepare_voltage_range(5.0)
        meter.measure_voltage(0.02)
        client.inject("dmm", kind, after=1, delay=0.6)
        meter.measure_voltage(0.02)  # the good one before
        with pytest.raises(InstrumentError, match="dmm"):
            meter.measure_voltage(0.02)
        with pytest.raises(InstrumentError):  # and the line stays closed: nothing late is taken for an answer
            meter.measure_voltage(0.02)
    finally:
        meter.close()
    again = Keysight34465A("dmm", client.addresses["dmm"])
    try:
        assert again.measure_voltage(0.02).flag == "ok"
    finally:
        again.close()


def test_a_doubled_reply_is_found_out_at_the_next_query(client: ControlClient) -> None:
    meter = Keysight34465A("dmm", client.addresses["dmm"], timeout=0.3)
    try:
        meter.prepare_voltage_range(5.0)
        meter.measure_voltage(0.02)
        client.inject("dmm", "doubled")
        with pytest.raises(InstrumentError, match="dmm"):  # noqa: PT012
            for _ in range(2):  # the second reply may still be on its way at the first
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


def test_faults_queue_and_count() -> None:
    with pytest.raises(ValueError, match="count"):
        Fault("silent", count=0)
    with pytest.raises(ValueError, match="no fault 'x'"):
        Fault("x")  # type: ignore[arg-type]
