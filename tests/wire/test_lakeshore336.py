"""The Lake Shore 336: the stock driver over a real socket, the adapter, and a station that watches a temperature."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import pytest
from qcodes.instrument_drivers.Lakeshore import LakeshoreModel336

from instruments.lakeshore336 import LakeShore336
from instruments.transport import open_resource, qcodes_driver
from labthermo import Query, Station, Status
from labthermo.bench_device import BenchDevice
from labthermo.errors import InstrumentError
from labthermo.instrument import Monitor, VoltageSource


@pytest.fixture
def driver(bench) -> Iterator[Any]:
    bench.world.temperatures |= {"cryo.a": 1.5, "cryo.b": 4.2, "cryo.c": 77.35}
    resource = open_resource(bench.addresses["cryo"], timeout=1.0)
    made = qcodes_driver(LakeshoreModel336)("stock_cryo", resource)
    yield made
    made.close()
    resource.close()


@pytest.fixture
def cryo(bench) -> Iterator[LakeShore336]:
    bench.world.temperatures |= {"cryo.a": 1.5, "cryo.b": 450.0}
    adapter = LakeShore336("cryo", bench.addresses["cryo"])
    yield adapter
    adapter.close()


def test_stock_driver_snapshots_and_reads_every_sensor(driver, bench):
    snapshot = driver.snapshot(update=True)
    unknown = {
        f"{name}.{parameter}"
        for name, module in snapshot["submodules"].items()
        for parameter, value in module.get("parameters", {}).items()
        if value.get("value") is None
    }
    assert {entry.partition(".")[2] for entry in unknown} <= {"range_limits", "blocking_t"}  # nothing that is asked
    assert snapshot["parameters"]["IDN"]["value"]["serial"].startswith("SIM")
    assert [driver.A.temperature(), driver.B.temperature(), driver.C.temperature()] == [1.5, 4.2, 77.35]
    assert (driver.A.sensor_status(), driver.D.sensor_status()) == ("OK", "Invalid Reading")
    assert driver.D.temperature() == 0.0  # no sensor at all: the driver calls it a temperature
    assert driver.A.curve_name().strip() == "User 21"
    assert not bench.personalities["cryo"].errors


def test_stock_driver_sets_what_it_can(driver, bench):
    with pytest.raises(ValueError, match="between 15 and"):  # a defect: its validator takes 15 for the least
        driver.A.sensor_name("mxc")
    driver.A.sensor_name("mixing chamber.")
    driver.A.t_limit(300.0)
    assert (driver.A.sensor_name(), driver.A.t_limit()) == ("mixing chamber.", 300.0)
    heater = driver.output_1
    heater.mode("closed_loop")
    heater.input_channel("B")
    heater.powerup_enable(True)
    heater.P(10)
    heater.I(5)
    heater.setpoint_ramp_enabled(True)
    heater.setpoint_ramp_rate(2.5)
    heater.output_heater_resistance("25ohm")
    heater.output_range("low")
    heater.setpoint(4.2)
    assert (heater.mode(), heater.input_channel(), heater.powerup_enable()) == ("closed_loop", "B", True)
    assert (heater.P(), heater.I(), heater.D(), heater.setpoint_ramp_rate(), heater.setpoint()) == (10, 5, 0, 2.5, 4.2)
    assert (heater.output_heater_resistance(), heater.output_range(), heater.output()) == ("25ohm", "low", 0.0)
    heater.wait_until_set_point_reached(0.01, 0.1, 0.02)
    assert heater.setpoint_ramp_status() is False
    driver.A.units("celsius")
    assert driver.A.units() == "celsius"
    assert not bench.personalities["cryo"].errors


def test_adapter_reads_temperatures_and_no_sensor_is_no_temperature(cryo, bench):
    assert isinstance(cryo, Monitor)
    assert not isinstance(cryo, VoltageSource)
    assert cryo.identity.simulated
    assert cryo.monitor_channels() == ("a", "b", "c", "d")
    assert cryo.monitor_unit("a") == "K"
    assert (cryo.read_monitor("a").value, cryo.read_monitor("a").flag) == (1.5, "ok")
    over, absent = cryo.read_monitor("b"), cryo.read_monitor("d")
    assert (over.flag, absent.flag) == ("overflow", "invalid")
    assert math.isnan(over.value)
    assert math.isnan(absent.value)
    with pytest.raises(InstrumentError, match="no channel 'e'; it has a, b, c, d"):
        cryo.read_monitor("e")
    assert not cryo.incidents


def test_a_wrong_digit_is_not_believed(cryo, bench, monkeypatch):
    personality = bench.personalities["cryo"]
    handle = personality.handle
    asked = 0

    def lie(message: bytes) -> bytes | None:
        nonlocal asked
        asked += message.startswith(b"KRDG")
        return b"+7.50000\r\n" if message.startswith(b"KRDG") and asked == 1 else handle(message)

    monkeypatch.setattr(personality, "handle", lie)
    assert cryo.read_monitor("a").value == 1.5
    assert asked == 3


WATCHED = (
    ("  drain: ", '  cryostat: {driver: lakeshore336, address: "TCPIP0::192.168.8.21::7777::SOCKET"}\n  drain: '),
    ("\ndevice:\n", "\ndevice:\n  monitors: {bath: {of: cryostat.a, max: 2 K}, shield: cryostat.b}\n"),
    ("  noise: {y", "  surroundings: {bath: 1.5 K}\n  noise: {y"),
)


def test_a_temperature_is_recorded_with_every_answer_and_trips_at_its_limit(edited, tmp_path):
    with Station(edited(*WATCHED)) as station:
        with station.run(tmp_path, {"task": "watch"}) as run:
            first = run.query(Query(inputs=[[0.001], [0.002]]))
            station.world.bench.temperatures["cryostat.a"] = 2.5
            second = run.query(Query(inputs=[[0.0015], [0.001]]))
            events = [e.detail for e in run.journal.events("surroundings")]
        assert first.status == (Status.SETTLED, Status.SETTLED)
        assert first.surroundings["bath"] == (pytest.approx(1.5, rel=1e-3), "K")
        assert math.isnan(first.surroundings["shield"][0])
        assert [e["number"] for e in events] == [0, 1, 2]
        assert events[2]["monitors"]["bath"][0] == pytest.approx(2.5, rel=1e-2)  # what tripped it
        assert second.status == (Status.TRIPPED, Status.TRIPPED)
        assert isinstance(station.device, BenchDevice)
        assert re.match(r"bath is 2\.\d+ K; its limits are at most 2 K", str(station.device.guard.tripped))
        # judged by the Bench's own log: warm was noticed before anything was read, and the input went to zero
        moves = [e for e in station.world.read_log() if e.channel == "x" and e.quantity == "voltage"]
        assert moves[-1].at_sample == 0.0
