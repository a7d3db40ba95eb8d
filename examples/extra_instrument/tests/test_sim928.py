"""The adapter on the wire twin: the public checks, and what is the SIM928's own."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from labthermo_sim928.sim928 import Sim928

from labthermo import Station
from labthermo.config import load_station
from labthermo.errors import InstrumentError
from labthermo.testing import check_device, check_instrument
from simulators.bench import WireTwin, build_wire_twin

STATION = Path(__file__).parents[1] / "station.yaml"


@pytest.fixture
def twin() -> Iterator[WireTwin]:
    world = build_wire_twin(load_station(STATION))
    yield world
    world.close()


def test_it_conforms(twin: WireTwin) -> None:
    check_instrument(lambda: Sim928("bias", twin.addresses["bias"]))


def test_a_device_with_it_conforms() -> None:
    with Station(STATION, "wire") as station:
        check_device(lambda: station.device)


def test_an_output_that_is_off_is_connected_at_zero_only(twin: WireTwin) -> None:
    bias = Sim928("bias", twin.addresses["bias"])
    before = len(twin.read_log())
    bias.set_voltage("output", 0.25)
    seen = [(entry.quantity, round(entry.programmed, 6)) for entry in twin.read_log()[before:]]
    assert seen == [("connected", 1.0), ("voltage", 0.0), ("voltage", 0.25)]
    bias._line.write("OPOF")
    with pytest.raises(InstrumentError, match=r"off at 0\.25 V"):
        bias.set_voltage("output", 0.26)
    bias.close()


def test_a_silent_reboot_is_noticed_before_the_next_step(twin: WireTwin) -> None:
    bias = Sim928("bias", twin.addresses["bias"])
    bias.set_voltage("output", 0.25)
    twin.inject("bias", "reboot")
    with pytest.raises(InstrumentError, match="switched off and on"):
        bias.set_voltage("output", 0.26)
    assert twin.read_log()[-1].programmed == 0.0
    bias.close()


@pytest.mark.parametrize(
    ("line", "query", "reply"),
    [("VOLT 20.001", "LEXE?", "1"), ("VOLT nan", "LCME?", "2"), ("VOTL 1", "LCME?", "2"), ("VOLT 20", "LEXE?", "0")],
)
def test_what_it_refuses_it_says_once(twin: WireTwin, line: str, query: str, reply: str) -> None:
    _, host, port, _ = twin.addresses["bias"].split("::")
    with socket.create_connection((host, int(port)), 5) as connection, connection.makefile() as replies:
        connection.sendall(f"{line}\n{query}\n{query}\nVOLT?\n".encode())
        assert [replies.readline().strip() for _ in range(3)] == [
            reply,
            "0",
            "20.000" if line == "VOLT 20" else "0.000",
        ]
