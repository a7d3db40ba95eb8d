"""The doctor finds what is wrong, says what to do, and never raises."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from labthermo.doctor import Check, check_environment
from labthermo.plugins import OUR_PACKAGES

EXAMPLE = Path(__file__).parents[3] / "examples" / "sine" / "station.yaml"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """labthermo's metadata as pip leaves them, with one requirement that is missing."""
    info = tmp_path / "installed" / "labthermo-0.0.9.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: labthermo\nVersion: 0.0.9\nRequires-Dist: numpy<3,>=2.0\n"
        "Requires-Dist: no-such-library>=1\nRequires-Dist: other-missing>=1; extra == 'window'\n"
    )
    (info / "entry_points.txt").write_text(
        "[labthermo.instruments]\nqdac2 = x:X\nkeysight34465a = x:X\n"
        "[labthermo.simulators]\ndevice_file = simulators.network_file:read_network\n"
    )
    monkeypatch.syspath_prepend(info.parent)


@pytest.fixture
def station(tmp_path):
    def write(old="", new=""):
        shutil.copy(EXAMPLE.with_name("ndc_dots.yaml"), tmp_path)
        path = tmp_path / "station.yaml"
        path.write_text(EXAMPLE.read_text().replace(old, new, 1))
        return path

    return write


def checks(*arguments) -> dict[str, Check]:
    found = check_environment(*arguments)
    assert all(isinstance(check, Check) and (check.ok or check.advice) for check in found)
    assert len({check.name for check in found}) == len(found)
    return {check.name: check for check in found}


@pytest.mark.usefixtures("installed")
def test_environment():
    found = checks()
    assert found["Python"].ok
    assert found["labthermo"].detail == "0.0.9"
    assert found["numpy"].ok
    assert found["no-such-library"] == Check(
        "no-such-library", False, "not installed (no-such-library>=1 is required)", "reinstall labthermo with pip"
    )
    assert "other-missing" not in found
    for package in OUR_PACKAGES:
        assert found[f"package {package}"].ok
    assert "qdac2" in found["known instruments"].detail
    assert "station file" not in found


def test_disk(tmp_path, monkeypatch):
    found = checks(None, tmp_path / "not" / "there" / "yet")["disk"]
    assert found.ok == (shutil.disk_usage(tmp_path).free >= 1e9)
    monkeypatch.setattr("labthermo.doctor.LEAST_DISK", 1e18)
    found = checks(None, tmp_path)["disk"]
    assert not found.ok
    assert str(tmp_path) in found.detail


@pytest.mark.usefixtures("installed")
def test_station_file(station):
    found = checks(station())
    assert found["station file"].ok
    assert "driver of gates" not in found
    assert not any(name.startswith("instrument ") for name in found), "simulated backends have no addresses to try"
    found = checks(station("driver: qdac2", "driver: qdac3"))
    assert found["driver of gates"].advice == "did you mean 'qdac2'?"
    found = checks(station("divider: 100", "devider: 100"))
    assert not found["station file"].ok
    assert "device.inputs.x.via.devider: unknown key" in found["station file"].detail
    assert found["station file"].advice == "did you mean 'divider'?"
    assert not checks(Path("no/such/station.yaml"))["station file"].ok


@pytest.mark.usefixtures("installed")
def test_device_file(station):
    path = station()
    assert checks(path)["device file"].ok
    device = path.with_name("ndc_dots.yaml")
    device.write_text(device.read_text().replace("[y, lo] ", "[y, low] ", 1))
    found = checks(path)["device file"]
    assert not found.ok
    assert "processes[0].edge: no reservoir or terminal 'low'" in found.detail
    assert found.advice == "did you mean 'lo'?"


def test_addresses_are_tried_on_the_real_backend_only(station):
    text = station("backend: wire", "backend: real").read_text()
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_server(("127.0.0.1", 0)) as closed:
        free, open_port = closed.getsockname()[1], listening.getsockname()[1]
        closed.close()
        text = text.replace("TCPIP0::192.168.8.17::5025::SOCKET", f"TCPIP0::127.0.0.1::{open_port}::SOCKET")
        text = text.replace("TCPIP0::192.168.8.18::5025::SOCKET", f"TCPIP0::127.0.0.1::{free}::SOCKET")
        text = text.replace("TCPIP0::192.168.8.19::5025::SOCKET", "ASRL/dev/ttyUSB0::INSTR")
        path = station()
        path.write_text(text)
        found = checks(path)
    assert found["instrument gates"].ok
    assert "accepts connections" in found["instrument gates"].detail
    assert not found["instrument dmm"].ok
    assert f"127.0.0.1::{free}" in found["instrument dmm"].detail
    assert "refused" in found["instrument dmm"].detail.lower()
    assert "not tried" in found["instrument drain"].detail


def test_an_instrument_that_another_process_holds_is_named_with_its_holder(station, tmp_path, monkeypatch):
    """Held by this very process here: the check reads the lock, and does not ask who it is itself."""
    import os

    from labthermo.records.owner import Ownership
    from labthermo.station import lock_of

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = station()
    text = path.read_text().replace("backend: wire", "backend: real").replace("192.168.8.", "127.0.0.")
    path.write_text(text)
    lock = lock_of("TCPIP0::127.0.0.17::5025::SOCKET")
    lock.parent.mkdir()
    ownership = Ownership(lock, "gates")
    try:
        found = checks(path)
    finally:
        ownership.release()
    assert not found["instrument gates"].ok
    assert f"process {os.getpid()}" in found["instrument gates"].detail
    assert "labthermo safe" in found["instrument gates"].advice
