"""A simulated Molecular Devices SpectraMax M5 plate reader, on a serial line: absorbance of a plate or of the cuvette.

There is no public manual of its protocol. The commands, the number of fields in each reply, the end of a field
(``>``), the error codes, the grammar of ``!TRANSFER`` with ``#SAT`` for a saturated well and ``-`` for one without a
value, and ``IDLE`` as the second word of ``!STATUS`` are those of the driver (pylabrobot 0.2.2, its code and its
tests). Unchecked: what ``!OPTION`` says and that it has two fields (the driver counts one and reads two), the first
word of ``!STATUS``, the form of a cuvette's data, 110 for an open drawer or lid, that data may be transferred twice,
and the reading times.

Performance, as remembered from data sheets of this family, unchecked: 200 to 1000 nm, 1 % and 6 mOD accuracy, 4 OD
range; noise of 2 mOD and stray light of 0.05 % are ordinary values (physics.md, section 3). The cuvette is a place as
any well; with a flow cell in it, it reads a stream.

Not simulated: kinetics, spectra, well scans, fluorescence and all that goes with it.
"""

from __future__ import annotations

import math
import re

from labthermo.faults import OwnFault
from simulators.wire.metrology import Range, Ranges
from simulators.wire.world import World

ROWS, COLUMNS = "abcdefgh", 12
CUVETTE = "cuvette"
WAVELENGTHS = (200, 1000)  # nm
STRAY_LIGHT = 5e-4
SATURATION = 4.0  # OD
NOISE = 2e-3  # OD
PLATE_TIME, CUVETTE_TIME = 9.0, 2.0  # s of bench time
LONGEST = 200  # bytes of a command
ABSORBANCE = Range(SATURATION, 1e-4, 0.01, 6e-3, NOISE)

_TWO_FIELDS = {"!ERROR", "!OPTION", "!QUEUE", "!READTYPE", "!SPEED", "!STATUS", "!TEMP", "!TRANSFER"}


class Failure(Exception):
    """A command that fails, with the driver's error code."""


class SpectraMaxPersonality:
    """The reader's end of the line; well A1 of ``reader`` is the port ``reader.a1``."""

    reply_end = b"\r\n>"

    def __init__(self, name: str, world: World) -> None:
        self._world = world
        self._name = name
        self.identity = f"SIM-{name}"
        self._range = Ranges([ABSORBANCE], world, f"{name}.photometer")
        self.lid_open = False  # over the cuvette: somebody has left it open
        self._door_ajar = False
        self._saturated = False
        self._missing: set[str] = set()
        self.reboot()

    def fault_lid_open(self, begins: bool, _: object) -> None:
        """Light gets in: neither plate nor cuvette can be read."""
        self._door_ajar = begins

    def fault_saturated(self, begins: bool, _: object) -> None:
        """No light gets through anything."""
        self._saturated = begins

    def fault_missing_well(self, begins: bool, fault: OwnFault) -> None:
        """There is nothing where a well should be."""
        well = fault.well or "a1"
        self._missing = self._missing | {well} if begins else self._missing - {well}

    def reboot(self) -> None:
        """Start as after switching on: drawer in, no settings, no data."""
        self.drawer_open = False
        self._settings: dict[str, str] = {}
        self._data: str | None = None
        self._set_point = 0.0

    def split(self, received: bytearray) -> bytes | None:
        """A command ends with a return."""
        end = received.find(b"\r") + 1
        if end == 0:
            return None
        message = bytes(received[:end])
        del received[:end]
        return message

    def handle(self, message: bytes) -> bytes | None:
        """Execute one command; ``OK`` and, for some, a second field, each ended by ``>``; or ``FAIL`` and a code."""
        text = message[:-1].decode("latin-1").strip()
        verb, _, argument = text.partition(" ")
        try:
            if len(text) > LONGEST:
                raise Failure(104)
            method = getattr(self, f"_do_{verb[1:].lower()}", None) if verb[:1] == "!" else None
            if verb == "!":
                second = ""
            elif method is not None:
                second = method(argument.strip())
            else:
                raise Failure(100)
        except Failure as failure:
            reply = f"FAIL\t {failure}\r\n>"
            return (f"OK\t\r\n>{reply}" if verb in _TWO_FIELDS else reply).encode("latin-1")
        return ("OK\t\r\n>" + (f"{second}\r\n>" if verb in _TWO_FIELDS else "")).encode("latin-1")

    # ------------------------------------------------------------------------------------------------------ commands

    def _do_option(self, _: str) -> str:
        return f"SpectraMax_M5 {self.identity} ROM_1.24"

    def _do_status(self, _: str) -> str:
        return "OPEN IDLE" if self.drawer_open else "CLOSED IDLE"  # a reading is over before its reply is sent

    def _do_error(self, _: str) -> str:
        return "0"

    def _do_temp(self, argument: str) -> str:
        if argument:
            if not re.fullmatch(r"\d+(\.\d+)?", argument) or not 0 <= float(argument) <= 45:
                raise Failure(101)
            self._set_point = float(argument)
        return f"{self._set_point:.1f} {self._temperature():.1f}"

    def _do_open(self, _: str) -> str:
        self._world.wait(2.0)
        self.drawer_open = True
        return ""

    def _do_close(self, _: str) -> str:
        if self.drawer_open:
            self._world.wait(2.0)
        self.drawer_open = False
        return ""

    def _do_clear(self, argument: str) -> str:
        if argument not in ("DATA", "ERROR"):
            raise Failure(101)
        if argument == "DATA":
            self._data = None
        return ""

    def _do_wavelength(self, argument: str) -> str:
        words = argument.split()
        if not words or not all(w.isdecimal() and WAVELENGTHS[0] <= int(w) <= WAVELENGTHS[1] for w in words):
            raise Failure(101)
        return self._keep("wavelength", argument)

    def _do_readtype(self, argument: str) -> str:
        if argument not in ("ABSPLA", "ABSCUV", "PLA", "CUV"):
            raise Failure(101)
        return self._keep("readtype", argument)

    def _do_mode(self, argument: str) -> str:
        if argument != "ENDPOINT":
            raise Failure(101)
        return self._keep("mode", argument)

    def _do_strip(self, argument: str) -> str:
        if not re.fullmatch(r"\d+ \d+", argument):
            raise Failure(101)
        return self._keep("strip", argument)

    def _do_xpos(self, argument: str) -> str:
        return self._position("xpos", argument)

    def _do_ypos(self, argument: str) -> str:
        return self._position("ypos", argument)

    def _position(self, name: str, argument: str) -> str:
        if not re.fullmatch(r"-?\d+\.\d{3} -?\d+\.\d{3} \d+", argument):
            raise Failure(101)
        return self._keep(name, argument)

    def _do_shake(self, argument: str) -> str:
        if not re.fullmatch(r"ON|OFF|NOW|STOP|\d+( \d+){4}", argument):
            raise Failure(101)
        return ""

    def _one_of(self, name: str, argument: str, *choices: str) -> str:
        if argument not in choices:
            raise Failure(101)
        return self._keep(name, argument)

    def _do_calibrate(self, argument: str) -> str:
        return self._one_of("calibrate", argument, "ON", "OFF", "ONCE")

    def _do_cspeed(self, argument: str) -> str:
        return self._one_of("cspeed", argument, "1", "8")

    def _do_order(self, argument: str) -> str:
        return self._one_of("order", argument, "COLUMN", "WAVELENGTH")

    def _do_speed(self, argument: str) -> str:
        return self._one_of("speed", argument, "ON", "OFF")

    def _do_tag(self, argument: str) -> str:
        return self._one_of("tag", argument, "ON", "OFF")

    def _do_nvram(self, argument: str) -> str:
        if not re.fullmatch(r"CARCOL \d+", argument):
            raise Failure(101)
        return ""

    def _do_read(self, argument: str) -> str:
        if argument:
            raise Failure(102)
        if not {"wavelength", "readtype", "mode"} <= self._settings.keys():
            raise Failure(111)
        cuvette = self._settings["readtype"].endswith("CUV")
        if self._door_ajar or (self.lid_open if cuvette else self.drawer_open):
            raise Failure(110)
        self._world.wait(CUVETTE_TIME if cuvette else PLATE_TIME)
        wavelengths = self._settings["wavelength"].split()
        lines = [
            f"{self._world.now():.1f}\t{self._temperature():.1f}\t{'cuvette' if cuvette else '96-well'}",
            "L:\t" + "\t".join(wavelengths),
        ]
        for wavelength in wavelengths:
            lines.append(f"L:\t{wavelength}")
            for column in range(1, 2 if cuvette else COLUMNS + 1):
                wells = [CUVETTE] if cuvette else [f"{row}{column}" for row in ROWS]
                lines.append(f"{column}:\t" + "\t".join(self._measure(well, int(wavelength)) for well in wells))
        self._data = "\r\n".join(lines)
        return ""

    def _do_transfer(self, argument: str) -> str:
        if argument:
            raise Failure(102)
        if self._data is None:
            raise Failure(107)
        return self._data

    # ------------------------------------------------------------------------------------------------------- physics

    def _keep(self, name: str, value: str) -> str:
        self._settings[name] = value
        return ""

    def _temperature(self) -> float:
        return max(25.0, self._set_point)  # degrees Celsius; it can only heat

    def _measure(self, well: str, wavelength: int) -> str:
        true = self._world.absorbance(f"{self._name}.{well}", wavelength * 1e-9)
        if math.isnan(true) or well in self._missing:
            return "-"  # nothing is there
        stray = STRAY_LIGHT if self._world.imperfections.offsets else 0.0
        if self._saturated:
            return "#SAT"
        seen = -math.log10((10.0 ** -min(true, 300.0) + stray) / (1.0 + stray))
        value = self._range.distort(seen, 0, noise=NOISE)
        return "#SAT" if value > SATURATION else f"{value:.4f}"
