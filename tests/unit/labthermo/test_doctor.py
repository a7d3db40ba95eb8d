"""The doctor finds what is wrong, says what to do, and never raises."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from labthermo import plugins
from labthermo.check import Check
from labthermo.config import load_station
from labthermo.doctor import check_environment
from labthermo.plugins import OUR_PACKAGES
from labthermo.records.owner import Ownership, owner_of
from labthermo.station import hold, lock_of
from simulators.bench import build_wire_twin

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
    found = checks(station("backend: wire", "backend: model"))
    assert found["station file"].ok
    assert "driver of gates" not in found
    assert not any(name.startswith("instrument ") for name in found), "the backend model has no instruments"
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


def test_a_wire_station_starts_its_instruments_and_asks_them(station):
    found = checks(station())
    for name, model in (("gates", "QDevil QDAC-II"), ("dmm", "34465A"), ("drain", "MODEL 2450")):
        assert found[f"instrument {name}"].ok
        assert model in found[f"instrument {name}"].detail
        assert f"SIM-{name}" in found[f"instrument {name}"].detail


def test_the_instruments_of_a_served_bench_are_asked_unless_somebody_holds_them(station, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = station()
    with closing(build_wire_twin(load_station(path))) as twin:
        ownership = hold("dmm", twin.addresses["dmm"])
        found = checks(path, None, twin.control)
        ownership.release()
        other = station("gates: {", "more: {driver: qdac2, address: 'GPIB0::4::INSTR'}\n  gates: {")
        assert "none" in checks(other, None, twin.control)["instrument more"].detail
    assert found["instrument gates"].ok
    assert not found["instrument dmm"].ok
    assert "is held by process" in found["instrument dmm"].detail
    assert not checks(path, None, "127.0.0.1:1")["wire twin"].ok


class Listener:
    """A socket that answers every line with the same, or with nothing."""

    def __init__(self, reply: bytes) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"TCPIP0::127.0.0.1::{self._socket.getsockname()[1]}::SOCKET"
        self.heard: list[bytes] = []
        self._reply = reply
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as lines:
                for line in lines:
                    self.heard.append(line)
                    connection.sendall(self._reply)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def listen():
    with ExitStack() as stack:
        yield lambda reply: stack.enter_context(closing(Listener(reply)))


@pytest.fixture
def real(station):
    """The example as a real station, its instruments at the addresses given."""

    def write(gates="TCPIP0::127.0.0.1::1::SOCKET", dmm="TCPIP0::127.0.0.1::2::SOCKET", drain="GPIB0::5::INSTR"):
        path = station("backend: wire", "backend: real")
        text = path.read_text()
        for host, address in (("17", gates), ("18", dmm), ("19", drain)):
            text = text.replace(f"TCPIP0::192.168.8.{host}::5025::SOCKET", address)
        path.write_text(text)
        return path

    return write


def test_real_instruments_are_asked_who_they_are_and_nothing_else(real, listen):
    gates, dmm = listen(b"QDevil, QDAC-II, 1234, 13-1.57\n"), listen(b"Keysight,34465A,SIM-dmm,1.0\n")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        free = f"TCPIP0::127.0.0.1::{closed.getsockname()[1]}::SOCKET"
    found = checks(real(gates.address, dmm.address, free))
    assert found["instrument gates"].ok
    assert "QDevil QDAC-II, serial number 1234, firmware 13-1.57" in found["instrument gates"].detail
    assert "has not met it yet" in found["instrument gates"].detail
    assert gates.heard == [b"*IDN?\n"]
    assert not found["instrument dmm"].ok
    assert "simulated" in found["instrument dmm"].detail
    assert not found["instrument drain"].ok
    assert "refused" in found["instrument drain"].detail.lower()
    assert free in found["instrument drain"].detail


@pytest.mark.parametrize(("reply", "words"), [(b"", "not answered"), (b"what?\n", "four fields"), (b",,,\n", "four")])
def test_an_answer_that_is_none_is_told(real, listen, monkeypatch, reply, words):
    monkeypatch.setattr("labthermo.roll_call.PROBE_TIMEOUT", 0.2)
    found = checks(real(listen(reply).address))["instrument gates"]
    assert not found.ok
    assert words in found.detail
    assert "\n" not in found.detail


def test_one_instrument_under_two_names_is_found(real, listen):
    one, other = listen(b"QDevil,QDAC-II,1234,13-1.57\n"), listen(b"QDevil,QDAC-II,1234,13-1.57\n")
    again = one.address.replace("TCPIP0", "TCPIP").replace("127.0.0.1", "localhost")
    found = checks(real(one.address, again, other.address))
    assert not found["address of dmm"].ok
    assert "gates" in found["address of dmm"].detail
    assert not found["identity of drain"].ok
    assert "gates" in found["identity of drain"].detail


def test_what_is_set_by_hand_is_listed(station):
    found = checks(station("gain: 1000", "gain: 1000\n        manual: dial of the SR560"))
    assert found["set by hand for y"].detail == "gain 1000, bandwidth 100 Hz, with dial of the SR560"


def test_an_instrument_that_another_process_holds_is_named_with_its_holder(station, tmp_path, monkeypatch):
    """Held by this very process here: the check reads the lock, and does not ask who it is itself."""
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


def test_on_a_serial_line_an_instrument_is_asked_in_its_adapters_own_way(real, monkeypatch, tmp_path, paper):
    opened, closed = [], []

    class Serial(paper):
        def __init__(self, name, address, **options):
            super().__init__(name)
            opened.append((name, address, options, owner_of(lock_of(address)).pid))

        def close(self):
            closed.append(self.name)

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    load = plugins.load
    monkeypatch.setattr(plugins, "load", lambda group, name: Serial if name == "keithley2450" else load(group, name))
    port = tmp_path / "ttyUSB7"
    port.touch()
    path = real(drain=f"ASRL{port}::INSTR")
    path.write_text(
        path.read_text().replace('ttyUSB7::INSTR"', "ttyUSB7::INSTR\", visa: '@ivi', options: {baud: 9600}")
    )
    everything = checks(path)
    found = everything["instrument drain"]
    options = {"timeout": 2.0, "visa": "@ivi", "baud": 9600}
    assert opened == [("drain", f"ASRL{port}::INSTR", options, os.getpid())]
    assert closed == ["drain"]
    assert owner_of(lock_of(f"ASRL{port}::INSTR")) is None
    assert "simulated" in found.detail
    assert not found.ok
    assert everything["VISA library @py"].ok
    assert not everything["VISA library @ivi"].ok
    assert "choose @py" in everything["VISA library @ivi"].advice
    port.unlink()
    gone = checks(path)["instrument drain"]
    assert "no such port" in gone.detail
    assert "this computer has" in gone.advice


def test_a_gpib_instrument_needs_a_library_that_drives_the_board(real):
    found = checks(real())["instrument drain"]
    assert not found.ok
    assert found.detail == "GPIB0::5::INSTR: pyvisa-py has nothing to drive a GPIB board with"
    assert "@ivi" in found.advice
