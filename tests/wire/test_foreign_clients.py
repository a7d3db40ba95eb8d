"""Strangers on a served bench: plain PyVISA and plain QCoDeS scripts, two at once, rude ones."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simulators.wire.control import ControlClient

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "examples" / "foreign_clients"


@pytest.fixture(scope="module")
def bench() -> Iterator[str]:
    """The one JSON line of a bench served by a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "labthermo", "bench", str(ROOT / "examples" / "sine" / "station.yaml")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    yield process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(15) in (0, 130)
    process.stdout.close()


def connect(bench: str, name: str) -> socket.socket:
    _, host, port, _ = json.loads(bench)["addresses"][name].split("::")
    return socket.create_connection((host, int(port)), 5)


def ask(line: socket.socket, query: bytes) -> bytes:
    line.sendall(query + b"\n")
    reply = b""
    while not reply.endswith(b"\n"):
        part = line.recv(4096)
        assert part, "the bench closed the line"
        reply += part
    return reply


def script(name: str, bench: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(SCRIPTS / name), bench],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("name", ["plain_pyvisa.py", "plain_qcodes.py"])
def test_a_gate_moves_the_current_and_the_potential(bench: str, name: str) -> None:
    assert "labthermo" not in (SCRIPTS / name).read_text().split('"""')[2]
    rows = script(name, bench)
    assert [r["gate"] for r in rows] == pytest.approx([2e-3 * k for k in range(-6, 7)], abs=1e-6)
    dmm, drain = [r["dmm"] for r in rows], [r["drain"] for r in rows]
    assert max(dmm) - min(dmm) > 0.05  # volts behind the gain of 1000; noise is 1.3 mV
    assert max(drain) - min(drain) > 20e-12  # noise is 0.5 pA
    # the load between y and lo is a resistor: current and potential move together
    slope = (drain[-1] - drain[0]) / (dmm[-1] - dmm[0]) * -1000
    assert 2e-7 < slope < 4e-7  # 1/3.6 Mohm, 10 % off at most thrice


def test_serial_numbers_start_with_sim(bench: str) -> None:
    for name in json.loads(bench)["addresses"]:
        with connect(bench, name) as line:
            assert ask(line, b"*IDN?").split(b",")[2].strip().startswith(b"SIM")


def test_two_clients_at_once_get_their_own_replies(bench: str) -> None:
    with connect(bench, "gates") as one, connect(bench, "gates") as two:
        one.sendall(b"sour3:volt 0.001\nsour3:volt?\n")
        two.sendall(b"sour4:volt 0.002\nsour4:volt?\n")
        assert float(ask(two, b"sour4:volt?").split(b"\n")[0]) == pytest.approx(0.002, abs=1e-6)
        assert float(ask(one, b"sour3:volt?").split(b"\n")[0]) == pytest.approx(0.001, abs=1e-6)


def test_a_rude_client_does_not_hurt_the_others(bench: str) -> None:
    with connect(bench, "dmm") as polite:
        assert ask(polite, b"*IDN?").startswith(b"Keysight")
        for nonsense in (
            b"\x00\xff\xfe\n" * 20,
            b"READ?;READ?;" * 200,
            b"#9999999999",
            b"x" * 200_000 + b"\n",
            b"*IDN?\n" * 500,
        ):
            rude = connect(bench, "dmm")
            rude.sendall(nonsense)
            rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            rude.close()  # with a reset, in the middle of whatever it is being told
            assert ask(polite, b"*IDN?").startswith(b"Keysight")
    control = ControlClient(json.loads(bench)["control"])
    try:
        assert control.now() >= 0
    finally:
        control.close()
