"""Molecular Devices SpectraMax M5 plate reader: absorbance of a 96-well plate, or of the cuvette.

Over `pylabrobot` (extra ``plates``), unmodified. The driver is asynchronous and is run to its end within each method.
Data are read here, from the reply that the driver has transferred: its own parser makes NaN of every negative
absorbance and takes a truncated number for one. It also asks for the options with the wrong number of fields, which
leaves half a reply on the line; here they are asked directly.

A reading above 3 OD is ``overflow``, and so is a saturated well; one without a value, or taken with the drawer or the
lid open, is ``invalid``. The reader does not tell whether it was switched off; it holds nothing that could jump. What
a real one says of itself is unchecked, so whatever answers ``!OPTION`` in two fields is taken for a SpectraMax.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from instruments.serial_line import SerialLine, SerialPort
from instruments.transport import StateError, WrongModelError
from labthermo.errors import InstrumentError, LimitError, QueryError
from labthermo.instrument import Identity, Reading

if TYPE_CHECKING:
    from pylabrobot.plate_reading.molecular_devices import MolecularDevicesSpectraMaxM5Backend
    from pylabrobot.resources import Plate

_T = TypeVar("_T")

ROWS, COLUMNS = "abcdefgh", 12
CUVETTE = "cuvette"
PLATE = tuple(f"{row}{column}" for row in ROWS for column in range(1, COLUMNS + 1))
WAVELENGTHS = (200, 1000)  # nm
LINEAR = 3.0  # OD: beyond, stray light rules
NOISE = 2e-3  # OD; between 1 and 3 mOD in data sheets of this family, unchecked
DOOR_OPEN = 110  # the driver's error code
NO_SERIAL = "none"

_END = b">"
_FAIL = re.compile(r"FAIL\s+(\d+)")
_VALUE = re.compile(r"-?\d\.\d{3,4}", re.ASCII)


class SpectraMax:
    """A :class:`labthermo.instrument.PlateReader`; its wells are ``a1`` .. ``h12`` and ``cuvette``."""

    measured = frozenset({"absorbance", "temperature"})

    def __init__(
        self, name: str, address: str, *, timeout: float = 5.0, visa: str = "@py", baud_rate: int = 9600
    ) -> None:
        """Open the reader and ask what it is; nothing moves. visa is of no use on a serial line."""
        try:
            from pylabrobot.plate_reading.molecular_devices import MolecularDevicesSpectraMaxM5Backend
            from pylabrobot.resources import cor_96_wellplate_360uL_Fb
        except ImportError as error:
            what = f"its driver is not installed ({error}); install labthermo with the extra `plates`"
            raise InstrumentError(f"{name}: {what}") from None
        self.name = name
        self._ready: tuple[bool, int] | None = None  # what the reader is set up to read
        self._line = SerialLine(name, address, timeout, baud_rate, self._hello)
        self.identity = cast(Identity, self._line.identity)
        self.rebooted = False
        self.incidents = self._line.incidents
        self._loop = asyncio.new_event_loop()
        self._plate: Plate = cor_96_wellplate_360uL_Fb("plate")
        self._driver: MolecularDevicesSpectraMaxM5Backend = MolecularDevicesSpectraMaxM5Backend(address)
        self._driver.io = cast(Any, _Io(self._line.port))
        try:
            self._line.retry("set up its driver", lambda: self._run(self._driver.setup()))
        except BaseException:
            self.close()
            raise

    def wells(self) -> tuple[str, ...]:
        """Get the names of what can be read: ``a1`` .. ``h12``, ``cuvette``."""
        return (*PLATE, CUVETTE)

    def measure_absorbance(self, wells: Sequence[str], wavelength: float) -> dict[str, Reading]:
        """Measure the absorbance (OD, up to 3 OD) of `wells` at `wavelength` (m, 200 nm to 1000 nm, whole nm).

        One pass over the plate reads all its wells, whichever are asked for; the cuvette is a pass of its own.
        """
        nanometres = wavelength * 1e9
        if not WAVELENGTHS[0] - 0.1 <= nanometres <= WAVELENGTHS[1] + 0.1:
            low, high = WAVELENGTHS
            raise LimitError(f"{self.name}: {nanometres:g} nm is outside {low} to {high} nm; nothing was read")
        unknown = [well for well in wells if well not in PLATE and well != CUVETTE]
        if unknown or not wells:
            raise QueryError(
                f"{self.name}: no well {', '.join(unknown) or 'was named'}; there are a1 .. h12 and cuvette"
            )
        found: dict[str, Reading] = {}
        for cuvette in (False, True):
            if any((well == CUVETTE) is cuvette for well in wells):
                what = f"read the {'cuvette' if cuvette else 'plate'} at {round(nanometres)} nm"
                found |= self._line.retry(what, lambda c=cuvette: self._read(c, round(nanometres)))
        return {well: found[well] for well in wells}

    def absorbance_noise(self) -> float:
        """Get the standard deviation (OD) of one reading: 2 mOD."""
        return NOISE

    def measure_temperature(self) -> Reading:
        """Measure the temperature (in degrees Celsius) of the chamber, with ``!TEMP``."""

        def ask() -> float:
            fields = self._talk("!TEMP", 2)
            match = re.fullmatch(r"\s*\d+\.\d\s+(-?\d+\.\d)\s*", fields[1])
            if match is None:
                raise InstrumentError(f"{self.name}: '!TEMP' gave {fields[1]!r}")
            return float(match[1])

        return Reading(self._line.agree("!TEMP", ask))

    def set_temperature(self, temperature: float) -> None:
        """Set the temperature (in degrees Celsius, from 0 to 45) of the chamber, which can only heat; 0 is off."""
        if not 0.0 <= temperature <= 45.0:
            raise LimitError(f"{self.name}: {temperature:g} degrees Celsius is outside 0 to 45; nothing was set")
        self._line.retry("set the temperature", lambda: self._act(self._driver.set_temperature(temperature)))

    def open_drawer(self) -> None:
        """Move the plate out, with ``!OPEN``."""
        self._line.retry("open the drawer", lambda: self._act(self._driver.open()))

    def close_drawer(self) -> None:
        """Move the plate in, with ``!CLOSE``."""
        self._line.retry("close the drawer", lambda: self._act(self._driver.close()))

    def refuse_reboot(self) -> None:
        """Raise nothing: it does not tell, and nothing of it is at the sample."""

    def close(self) -> None:
        """Let go of the reader without moving anything. Closing twice does nothing."""
        self._line.close()
        if hasattr(self, "_loop") and not self._loop.is_closed():
            self._loop.close()

    # ------------------------------------------------------------------------------------------------------- talking

    def _hello(self, port: SerialPort) -> tuple[Identity, bool]:
        self._ready = None
        words = []
        for _ in range(2):  # twice, so that no wrong digit is accepted
            port.write(b"!OPTION\r")
            fields = [port.read_past(_END)[:-1].decode("latin-1").strip() for _ in range(2)]
            if fields[0] != "OK":
                raise InstrumentError(f"{self.name}: '!OPTION' gave {fields}")
            words.append(fields[1].split())
        if words[0] != words[1] or not words[0]:
            raise InstrumentError(f"{self.name}: '!OPTION' gave {words[0]}, then {words[1]}")
        simulated = next((word for word in words[0] if word.startswith("SIM-")), NO_SERIAL)
        model = words[0][0].replace("_", " ")
        if simulated != NO_SERIAL and not model.startswith("SpectraMax"):
            raise WrongModelError(f"{port.address}: expected a SpectraMax, found {model}")
        return Identity("Molecular Devices", model, simulated, words[0][-1]), False

    def _run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Run one method of the driver to its end."""
        if self._loop.is_closed():
            coroutine.close()
            raise InstrumentError(f"{self.name}: the line is closed; open the instrument again")
        return self._loop.run_until_complete(coroutine)

    def _act(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Run what is answered by a plain ``OK``; a failure that the reader states is not the line's."""
        try:
            self._run(coroutine)
        except Exception:
            if (code := self._failure()) is not None:
                raise StateError(f"{self.name}: it refuses, with error {code}; look at the reader") from None
            raise

    def _failure(self) -> int | None:
        """The error code in the last reply, if it is a whole one."""
        match = _FAIL.search(self._line.port.last_reply.decode("latin-1"))
        return int(match[1]) if match else None

    def _talk(self, command: str, fields: int) -> list[str]:
        """Send one command through the driver; the fields of its reply, the first of which is OK."""
        self._run(self._driver.send_command(command, num_res_fields=fields))
        got = self._line.port.last_reply.decode("latin-1").split(">")
        if len(got) != fields + 1 or got[0].strip() != "OK" or got[-1].strip():
            raise InstrumentError(f"{self.name}: {command!r} gave {got}")
        return got[:-1]

    def _read(self, cuvette: bool, nanometres: int) -> dict[str, Reading]:
        """One reading, by the driver; its data transferred twice, and the same both times."""
        wells = (CUVETTE,) if cuvette else PLATE
        try:
            if self._ready == (cuvette, nanometres):
                self._run(self._read_again())
            else:
                reading = self._driver.read_absorbance(self._plate, [nanometres], cuvette=cuvette, timeout=120)
                self._run(reading)
        except Exception:
            code = self._failure()
            if code == DOOR_OPEN:
                self._ready = None
                return {well: Reading(math.nan, "invalid") for well in wells}
            if code is not None and code >= 200:
                raise StateError(f"{self.name}: it cannot read, with error {code}; look at the reader") from None
            raise
        first, second = (self._talk("!TRANSFER", 2)[1] for _ in range(2))
        if first != second:
            raise InstrumentError(f"{self.name}: the same data were transferred twice, and differed")
        values = self._parse(first, cuvette, nanometres)
        self._ready = (cuvette, nanometres)
        return values

    async def _read_again(self) -> None:
        """The driver's own steps for one more reading with the same settings."""
        await self._driver._set_clear()
        await self._driver._read_now()
        await self._driver._wait_for_idle(timeout=120)

    def _parse(self, data: str, cuvette: bool, nanometres: int) -> dict[str, Reading]:
        lines = data.strip().split("\r\n")
        columns = 1 if cuvette else COLUMNS
        head = lines[0].split("\t")
        wanted = [f"L:\t{nanometres}"] * 2
        if len(lines) != 3 + columns or len(head) != 3 or lines[1:3] != wanted:
            raise InstrumentError(f"{self.name}: {len(lines)} lines beginning with {lines[:3]} are no such reading")
        found: dict[str, Reading] = {}
        for column, line in enumerate(lines[3:], start=1):
            number, *values = line.split("\t")
            if number != f"{column}:" or len(values) != (1 if cuvette else len(ROWS)):
                raise InstrumentError(f"{self.name}: {line!r} is not column {column}")
            for row, text in zip(ROWS, values, strict=False):
                found[CUVETTE if cuvette else f"{row}{column}"] = self._reading(text)
        return found

    def _reading(self, text: str) -> Reading:
        if text == "#SAT":
            return Reading(math.nan, "overflow")
        if text == "-":
            return Reading(math.nan, "invalid")
        if not _VALUE.fullmatch(text):
            raise InstrumentError(f"{self.name}: {text!r} is no absorbance")
        value = float(text)
        return Reading(value) if value <= LINEAR else Reading(math.nan, "overflow")


class _Io:
    """What the driver holds instead of its own serial port: the line's, with deadlines."""

    def __init__(self, port: SerialPort) -> None:
        self._port = port

    async def setup(self) -> None:
        """The port is open already."""

    async def stop(self) -> None:
        """Whoever opened it closes it."""

    async def write(self, data: bytes) -> None:
        self._port.write(data)

    async def readline(self) -> bytes:
        """One field; the driver's own would wait 0.2 s for a newline that does not come."""
        return self._port.read_past(_END)
