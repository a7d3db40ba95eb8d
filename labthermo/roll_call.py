"""Who answers at a station's addresses: each instrument is asked who it is, and nothing is moved."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from importlib import metadata
from importlib.util import find_spec

from labthermo import plugins
from labthermo.check import Check
from labthermo.commissioning import find_commissioning
from labthermo.config import StationConfig
from labthermo.errors import InstrumentError, LabThermoError, OwnershipError, RecordError
from labthermo.instrument import Identity
from labthermo.records.owner import owner_of
from labthermo.station import hold, lock_of, place_of

PROBE_TIMEOUT = 2.0
"""Seconds that an instrument has to accept a connection, and to say who it is."""
_SOCKET = re.compile(r"TCPIP\d*::(.+)::(\d+)::SOCKET", re.IGNORECASE)


def call_real(config: StationConfig) -> Iterator[Check]:
    """The instruments of a real bench: who holds them, whether they answer, and who they are. Nothing is moved."""
    found: dict[str, Identity] = {}
    yield from _libraries(config)
    for name, section in config.instruments.items():
        if holder := owner_of(lock_of(section.address)):
            advice = "wait until it ends, or end it with `labthermo safe`"
            yield Check(f"instrument {name}", False, f"{section.address} is held by {holder}", advice)
            continue
        try:
            if unreachable := _unreachable(section.address, section.visa):
                complaint, advice = unreachable
                yield Check(f"instrument {name}", False, f"{section.address}: {complaint}", advice)
                continue
            identity = found[name] = identify(config, name, section.address)
        except LabThermoError as error:
            advice = "look whether its address, driver and command set are right"
            yield Check(f"instrument {name}", False, str(error), advice)
            continue
        yield _meeting(config, name, identity)
    yield from _clashes(config, found)


def call_simulated(config: StationConfig, bench: str | None = None) -> Iterator[Check]:
    """The same on the wire twin, started for this only, or on the one served at the control address `bench`."""
    try:
        world = plugins.load("labthermo.simulators", "attach" if bench else "wire")(bench or config)
    except LabThermoError as error:
        advice = "start one with `labthermo bench`" if bench else "choose drivers that have a simulated instrument"
        yield Check("wire twin", False, str(error), advice)
        return
    with closing(world):
        for name in config.instruments:
            address = world.addresses.get(name)
            if address is None:
                yield Check(f"instrument {name}", False, f"the bench at {bench} has none", "serve this station file")
                continue
            try:
                identity = identify(config, name, address)
            except LabThermoError as error:
                advice = "wait until its holder ends" if isinstance(error, OwnershipError) else "mend or reboot it"
                yield Check(f"instrument {name}", False, str(error), advice)
            else:
                yield Check(f"instrument {name}", True, f"simulated: {_words(identity)}")


def _meeting(config: StationConfig, name: str, identity: Identity) -> Check:
    section = config.instruments[name]
    detail = f"{section.address}: {_words(identity)}"
    if identity.simulated:
        advice = "correct its address: the backend real refuses simulated instruments"
        return Check(f"instrument {name}", False, f"{detail}, which is simulated", advice)
    try:
        record = find_commissioning(config.path.parent, section.driver, identity)
    except RecordError as error:
        return Check(f"instrument {name}", False, f"{detail}; {error}", "repair the record")
    if record is None:
        walk = f"labthermo doctor {config.path} --commission {name}"
        return Check(f"instrument {name}", True, f"{detail}; {section.driver} has not met it yet: `{walk}`")
    return Check(f"instrument {name}", True, f"{detail}; commissioned by {record.who} at {record.when}")


def _words(identity: Identity) -> str:
    return f"{identity.maker} {identity.model}, serial number {identity.serial}, firmware {identity.firmware}"


def _clashes(config: StationConfig, found: dict[str, Identity]) -> Iterator[Check]:
    """Two names for one thing: an address written in two ways, or one instrument at two addresses."""
    places: dict[tuple[str, ...], str] = {}
    for name, section in config.instruments.items():
        place = _place(section.address)
        if place in places:
            advice = "give each instrument its own address, and take one of the two out of the file"
            yield Check(f"address of {name}", False, f"{section.address} is where {places[place]} is, too", advice)
        places.setdefault(place, name)
    owners: dict[tuple[str, str, str], str] = {}
    for name, identity in found.items():
        thing = (identity.maker, identity.model, identity.serial)
        if thing in owners:
            advice = "it is one instrument under two names; correct an address"
            yield Check(f"identity of {name}", False, f"{_words(identity)}: {owners[thing]} is the same", advice)
        owners.setdefault(thing, name)


def _place(address: str) -> tuple[str, ...]:
    """Where an address leads: host and port of a socket, or a serial port, however written; else the address itself."""
    match = _SOCKET.fullmatch(address)
    if match is None:
        return (place_of(address).upper(),)
    try:
        return (socket.gethostbyname(match[1].strip("[]")), str(int(match[2])))
    except (OSError, UnicodeError):
        return (match[1].lower(), match[2])


def _libraries(config: StationConfig) -> Iterator[Check]:
    """Each VISA library that the station file chooses: whether it can be used, and its version."""
    import pyvisa

    for library in dict.fromkeys(section.visa for section in config.instruments.values()):
        try:
            manager = pyvisa.ResourceManager(library)
            version = {"@py": metadata.version("pyvisa-py")}.get(library, "")
            yield Check(f"VISA library {library}", True, f"{manager.visalib.library_path} {version}".strip())
        except Exception as error:  # one that is missing is an OSError, an unknown one a ValueError
            advice = "install it, or choose @py in the station file (key visa)"
            yield Check(f"VISA library {library}", False, " ".join(str(error).split()), advice)


def _unreachable(address: str, visa: str) -> tuple[str, str] | None:
    """Why nothing can answer there, and what to do; None if something may. Asks within `PROBE_TIMEOUT`."""
    if match := _SOCKET.fullmatch(address):
        try:
            socket.create_connection((match[1].strip("[]"), int(match[2])), PROBE_TIMEOUT).close()
        except (OSError, OverflowError, UnicodeError) as error:
            what = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
            return what, "check power, cable and address, and that no other program holds it"
    if match := re.fullmatch(r"ASRL(/.+?)(::INSTR)?", address, re.IGNORECASE):
        if not os.path.exists(match[1]):
            from serial.tools.list_ports import comports

            ports = ", ".join(sorted(f"ASRL{port.device}::INSTR" for port in comports())) or "no serial port at all"
            return "there is no such port", f"plug it in, or correct the address; this computer has {ports}"
        if not os.access(match[1], os.R_OK | os.W_OK):
            return (
                "this user may not open the port",
                "join the port's group (dialout on most systems), then log in again",
            )
    if address.upper().startswith("GPIB") and visa == "@py" and not any(map(find_spec, ("gpib_ctypes", "gpib"))):
        advice = "set `visa: '@ivi'` for it and install the vendor's library, or install linux-gpib and gpib_ctypes"
        return "pyvisa-py has nothing to drive a GPIB board with", advice
    return None


def identify(config: StationConfig, name: str, address: str) -> Identity:
    """Ask an instrument who it is, holding its lock meanwhile: ``*IDN?``, or on a serial line its adapter's own way.

    Not through the adapter where ``*IDN?`` will do: its opening reads, and so clears, the bit that says to the next run
    that the instrument was switched off and on.

    Raises
    ------
    InstrumentError: no answer, or none with four fields. OwnershipError: another process holds it.
    """
    section = config.instruments[name]
    visa = section.visa if address == section.address else "@py"  # a simulated one is always for pyvisa-py
    if address.upper().startswith("ASRL"):
        adapter = plugins.load("labthermo.instruments", section.driver)
        with ExitStack() as stack:
            stack.callback(hold(name, address).release)
            options = {"timeout": PROBE_TIMEOUT, "visa": visa, **section.options}
            config.check_options(name, adapter)
            return stack.enter_context(closing(adapter(name, address, **options))).identity
    ownership = hold(name, address)
    try:
        reply = _ask_visa(visa, address)
    finally:
        ownership.release()
    fields = [field.strip() for field in reply.split(",")]
    if len(fields) != 4 or not all(fields):
        raise InstrumentError(f"{name} ({address}): *IDN? gave {reply[:80]!r}, which has not four fields")
    return Identity(*fields)


def _ask_visa(visa: str, address: str) -> str:
    import pyvisa

    try:
        with closing(pyvisa.ResourceManager(visa).open_resource(address)) as resource:
            assert isinstance(resource, pyvisa.resources.MessageBasedResource)
            resource.timeout = 1000.0 * PROBE_TIMEOUT
            resource.read_termination = resource.write_termination = "\n"
            return resource.query("*IDN?")
    except Exception as error:  # pyvisa and its backends raise what they like
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InstrumentError(f"{address}: *IDN? was not answered ({reason})") from None
