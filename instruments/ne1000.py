"""New Era NE-1000 syringe pump, pumping out of one syringe, one way; with check valves, it fills it from a bottle.

Over `nesp_lib` (NESP-Lib), unmodified, which constructs, runs, stops and sets up the pump over a port with deadlines.
Rates are sent and all values read here: the driver cuts numbers off instead of rounding them (17.4 becomes 17.39), it
changes the units with the size of the rate, which the pump refuses while it pumps, and its constructor acknowledges,
and so forgets, the alarm that says that the power has failed.

To refill, the pump withdraws the volume that it has infused, as a target at which it stops by itself. Both volumes stay
counted in the pump until the syringe is full again, so a program that was killed meanwhile is not missed: whoever opens
the pump next knows what is left from the two counts.

The pump has no end switch: an empty syringe, a plunger that sticks and too high a pressure all stall the motor. After a
stall or a power failure volumes are ``invalid`` until :meth:`Ne1000.home`.

A pump does not tell a serial number. A simulated one does, in reply to a word that a real one does not know.
"""

from __future__ import annotations

import binascii
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from instruments.serial_line import SerialLine, SerialPort
from instruments.transport import StateError, WrongModelError
from labthermo.errors import InstrumentError, LimitError, ReadbackError
from labthermo.instrument import TOPPED_UP, Identity, Reading
from labthermo.quantity import format_quantity

if TYPE_CHECKING:
    from nesp_lib import Pump

MODEL = "1000"
FASTEST = 5.1005 / 60.0  # cm/s of the pusher; NE-1000 manual, specifications
SLOWEST = 0.004205 / 3600.0  # cm/s
DIAMETERS = (0.1e-3, 80e-3)  # m
UNITS = {"UH": 1e-6 / 3600.0, "UM": 1e-6 / 60.0, "MH": 1e-3 / 3600.0, "MM": 1e-3 / 60.0}  # L/s
VOLUMES = {"UL": 1e-6, "ML": 1e-3}  # L
NO_SERIAL = "none"  # what a real pump has

_STX, _ETX = b"\x02", b"\x03"
_REPLY = re.compile(r"(?P<number>\d\d)(?:(?P<status>[IWSPTUX])(?P<data>.*)|A\?(?P<alarm>[RSTEO]))", re.DOTALL)
_VERSION = re.compile(r"NE(\d+)(?:X\d*)?V(\d+\.\d+)")
_RATE = re.compile(r"(\d*\.\d*)(UM|MM|UH|MH)")
_DISPENSED = re.compile(r"I(\d*\.\d*)W(\d*\.\d*)(UL|ML)")
_VOLUME = re.compile(r"(\d*\.\d*)(UL|ML)")
_DIAMETER = re.compile(r"\d*\.\d*")
_ALARMS = {
    "S": "has stalled: the syringe is empty, its plunger sticks or the pressure is too high",
    "T": "has stopped: nothing was heard from the computer in safe mode",
    "E": "has found an error in its pumping program",
    "O": "has left its pumping program",
}


class AlarmError(StateError):
    """The pump stands still with an alarm: volumes are not to be trusted until it is homed."""


class Ne1000:
    """A :class:`labthermo.instrument.SyringePump`."""

    measured: frozenset[str] = frozenset()  # a stepper motor counts its steps and measures nothing

    def __init__(
        self,
        name: str,
        address: str,
        *,
        timeout: float = 5.0,
        visa: str = "@py",
        diameter: float = 0.0,
        syringe_volume: float = 0.0,
        refill_rate: float = 0.0,
        number: int = 0,
        baud_rate: int = 19200,
    ) -> None:
        """Open the pump and read its state; nothing moves, and nothing is set but the basic mode of talking.

        diameter: of the syringe's bore, m; 0 takes what the pump has. syringe_volume: L that it holds when full; 0 if
        it is not to be watched. refill_rate: L/s at which it is filled again, from a bottle through check valves; 0
        where nobody fills it. number: 0 to 99, of the pump on its line. visa is of no use on a serial line.
        """
        from nesp_lib import Pump

        if diameter and not DIAMETERS[0] <= diameter <= DIAMETERS[1]:
            raise LimitError(f"{name}: a diameter of {diameter:g} m is outside 0.1 mm to 80 mm; give it in m")
        if not 0 <= number <= 99:
            raise LimitError(f"{name}: a pump's number is 0 to 99, not {number}")
        if not (math.isfinite(syringe_volume) and syringe_volume >= 0.0):
            raise LimitError(f"{name}: syringe_volume is {syringe_volume} L; write 0 or more, in L")
        if refill_rate and not syringe_volume:
            raise LimitError(f"{name}: refill_rate needs syringe_volume, the volume (L) of the full syringe")
        self.name = name
        self._number = number
        self._alarm = ""  # what it has said that it is, for as long as it was not homed
        self._line = SerialLine(name, address, timeout, baud_rate, self._hello)
        self.identity = cast(Identity, self._line.identity)
        self.rebooted = self._line.rebooted
        self.incidents = self._line.incidents
        self._valid = not self.rebooted and not self._alarm
        self.syringe_volume = syringe_volume
        self.refill_rate = refill_rate
        self._homed = syringe_volume  # L in the syringe when the pump's counts were 0
        self._turned = False  # it may stand at withdrawing
        self._drawing = (0.0, 0.0)  # L that were withdrawn when a refill was started, and when it will be full
        port = cast(Any, _Port(self._line.port))  # the driver's own would have no deadlines
        try:
            self._driver: Pump = self._line.retry("set up its driver", lambda: Pump(port, number))
            self._diameter = diameter or self._read_diameter()
            if refill_rate:
                self._check_rate(refill_rate, self._limits())
            self._unit, self._top = self._range_found()
        except BaseException:
            self.close()
            raise

    def prepare_rate_range(self, rate: float) -> None:
        """Choose the units that resolve rates up to `rate` (L/s, within the span) best, and set the pump up to infuse.

        The syringe's diameter, direction and an endless volume are set where they are not so already. Only at rest, or
        where nothing need be set: after a crash it may be pumping in these units, or refilling, which will be stopped.
        """
        self._check_rate(rate, self._limits())
        status = self._line.retry("status", self._status)
        best = self._best_unit(rate)
        if (status == "W" and self.refill_rate) or (
            status == "I" and self._rate_unit() == best[0] and _is_zero(self._ask("VOL"))
        ):
            self._turned = status == "W"
            self._unit, self._top = best
            return
        if status in "IWX":
            raise InstrumentError(f"{self.name}: is pumping; stop it before its range is changed")
        if not math.isclose(self._read_diameter(), self._diameter, rel_tol=1e-3):
            bore = round(self._diameter * 1e3, 2)
            found = self._line.set(
                "set the diameter",
                lambda: self._drive(lambda: setattr(self._driver, "syringe_diameter_mm", bore)),
                self._read_diameter,
                lambda found: math.isclose(found, self._diameter, rel_tol=1e-3),
            )
            if not math.isclose(found, self._diameter, rel_tol=1e-3):
                raise ReadbackError(f"{self.name}: set to {self._diameter:g} m of diameter, reads back {found:g} m")
        self._face_out()
        self._unit, self._top = best

    def set_rate(self, rate: float) -> None:
        """Set the rate (L/s, within the span, or 0 to stop) at which the syringe empties; done when it reads back."""
        if rate == 0.0:
            self._stop()
            return
        self._check_rate(rate, self.rate_span())
        self._line.refuse_reboot()
        if self._alarm:
            raise self._alarmed()
        if self._turned:
            self._stop()
            self._face_out()
        text = _number(rate / UNITS[self._unit])

        def write() -> None:
            if self._status() == "I":
                self._talk(f"RAT{text}")  # units may not even be named while it pumps
            else:
                self._talk(f"RAT{text}{self._unit}")
                self._drive(lambda: self._driver.run(wait_while_running=False))

        close = self.rate_resolution()
        got = self._line.set(f"set {_flow(rate)}", write, self.rate, lambda got: abs(got - rate) <= close)
        if not abs(got - rate) <= close:
            raise ReadbackError(f"{self.name}: set to {_flow(rate)} but reads back {_flow(got)}")

    def rate(self) -> float:
        """Get the rate (L/s) at which it pumps now, from status and ``RAT``; 0 at rest, negative if it withdraws."""
        status = self._line.agree("status", self._status)
        if status not in ("I", "X", "W"):
            return 0.0
        self._turned = self._turned or status == "W"
        match = self._line.agree("RAT", lambda: self._match("RAT", _RATE))
        return float(match[0]) * UNITS[match[1]] * (-1.0 if status == "W" else 1.0)

    def rate_span(self) -> tuple[float, float]:
        """Get the lowest and highest rate (L/s) above 0 with this syringe and in the units chosen."""
        unit = UNITS[self._unit]
        low, high = (limit / unit for limit in self._limits())
        fine, coarse = 10.0 ** _decimals(low), 10.0 ** _decimals(high)
        # to the next number that has so few digits
        return max(math.ceil(low * fine), 1) / fine * unit, min(math.floor(high * coarse) / coarse, 9999.0) * unit

    def rate_resolution(self) -> float:
        """Get the largest distance (L/s) between two rates in the range chosen: four digits, three decimals at most."""
        unit = UNITS[self._unit]
        return unit * 10.0 ** -_decimals(self._top / unit)

    def home(self, volume: float) -> None:
        """Take the syringe to hold `volume` (L, from 0 to what it holds when full) now; volumes count from here."""
        top = self.syringe_volume or math.inf
        if not 0.0 <= volume <= top:
            raise LimitError(
                f"{self.name}: {volume:g} L is outside 0 to {top:g} L, what the syringe holds; nothing was set"
            )
        if self._line.retry("status", lambda: self._status(ignore_alarm=True)) in "IWX":
            raise InstrumentError(f"{self.name}: is pumping; stop it before it is homed")
        self._clear_counts()
        self._alarm, self._valid, self._homed = "", True, volume
        if self._turned:
            self._stop()
            self._face_out()

    def infused_volume(self) -> Reading:
        """Get the volume (L) infused since it was homed, from ``DIS``; ``invalid`` after a stall or power failure."""
        return self._if_valid(self._dispensed()[0])

    def remaining_volume(self) -> Reading:
        """Get the volume (L) still in the syringe; ``invalid`` after a stall or power failure, or without its size."""
        infused, withdrawn, _ = self._dispensed()
        left = self._homed - infused + withdrawn
        possible = self._homed > 0.0 and left <= (self.syringe_volume or math.inf) * (1.0 + 1e-6)
        return self._if_valid(left if possible else math.nan)

    def start_refill(self) -> float:
        """Measure what was infused since the syringe was full and begin to withdraw as much; the time (s) it takes.

        0 s: it is full but for a hundredth, and nothing moves. It stops by itself; :meth:`finish_refill` must follow.
        """
        if not self.refill_rate:
            raise InstrumentError(f"{self.name}: is not refilled; option refill_rate says that it has check valves")
        self._line.refuse_reboot()
        if self._alarm:
            raise self._alarmed()
        left = self.remaining_volume()
        if left.flag != "ok":
            raise InstrumentError(f"{self.name}: what its syringe holds is not known; fill and home it by hand")
        if self._line.retry("status", self._status) in "IWX":
            raise InstrumentError(f"{self.name}: is pumping; stop it before it is refilled")
        _, withdrawn, unit = self._dispensed()
        # cut off, never rounded up: past its stop the plunger would stall
        amount = _cut((self.syringe_volume - left.value) / VOLUMES[unit])
        volume = amount * VOLUMES[unit]
        if volume < TOPPED_UP * self.syringe_volume:
            return 0.0
        self._valid, self._turned = False, True  # until it has been found to be full
        self._drawing = withdrawn, withdrawn + volume
        self._turn("WDR")
        self._set_volume(_number(amount), unit)
        rate_unit, _ = self._best_unit(self.refill_rate)
        rate = _number(self.refill_rate / UNITS[rate_unit])
        wanted = float(rate) * UNITS[rate_unit]

        def write() -> None:
            if self._status() != "W" and self._dispensed()[1] == withdrawn:  # never twice
                self._talk(f"RAT{rate}{rate_unit}")
                self._drive(lambda: self._driver.run(wait_while_running=False))

        got = self._line.set("refill", write, self.rate, lambda got: math.isclose(got, -wanted, rel_tol=1e-6))
        if not math.isclose(got, -wanted, rel_tol=1e-6):
            self._stop()
            raise ReadbackError(f"{self.name}: was set to withdraw {_flow(wanted)}, and reads back {_flow(-got)}")
        return volume / wanted

    def finish_refill(self) -> float:
        """Measure the volume (L) withdrawn by a refill that has come to its end, and take the syringe to be full.

        Where it has not ended, or the volume is wrong, the pump is stopped and its volumes are ``invalid``.
        """
        started, full = self._drawing
        status = self._line.agree("status", self._status)  # an alarm raises here
        _, withdrawn, unit = self._dispensed()
        step = VOLUMES[unit] * 10.0 ** -_decimals(withdrawn / VOLUMES[unit])
        if status != "S" or not abs(withdrawn - full) <= 1.5 * step:
            self._stop()
            raise InstrumentError(
                f"{self.name}: its refill did not end as it should: {withdrawn - started:g} L of {full - started:g} L "
                f"are withdrawn, and its status is {status!r}; its volumes are not to be trusted: see to it, then fill "
                "and home the pump"
            )
        self._clear_counts()
        self._face_out()
        self._valid, self._homed = True, self.syringe_volume
        return withdrawn - started

    def refuse_reboot(self) -> None:
        """Raise InstrumentError if its power has failed since it was opened, or it stands still with an alarm."""
        self._line.refuse_reboot()
        if self._alarm:
            raise self._alarmed()
        self._line.retry("status", self._status)

    def close(self) -> None:
        """Let go of the pump without moving anything: if it pumps, it pumps on. Closing twice does nothing."""
        self._line.close()

    # ------------------------------------------------------------------------------------------------------ talking

    def _hello(self, port: SerialPort) -> tuple[Identity, bool]:
        """Who is there, and whether its power has failed; from here on in basic mode, as the driver wants it."""
        body = f"{self._number}SAF0".encode()
        packet = _STX + bytes([len(body) + 4]) + body + binascii.crc_hqx(body, 0).to_bytes(2, "big") + _ETX
        was_off = False
        for _ in range(3):  # an alarm is answered once instead of what was asked
            port.write(packet)
            match = self._parse(port)
            if match["alarm"] is None:
                break
            was_off = was_off or match["alarm"] == "R"
            if match["alarm"] != "R":
                self._alarm = match["alarm"]
        words = []
        for command in ("VER", "VER", "SIM", "SIM"):  # twice, so that no wrong digit is accepted
            port.write(f"{self._number}{command}\r".encode())
            words.append(self._parse(port)["data"] or "")
        version, serial = _VERSION.fullmatch(words[0]), words[2]
        if version is None or words[0] != words[1] or words[2] != words[3] or not re.fullmatch(r"\?|[\w-]+", serial):
            raise InstrumentError(f"{self.name}: {words} are no answers of an NE pump")
        if version[1] != MODEL:
            raise WrongModelError(f"{port.address}: expected an NE-{MODEL}, found an NE-{version[1]}")
        return Identity("New Era", f"NE-{MODEL}", NO_SERIAL if serial == "?" else serial, version[2]), was_off

    def _parse(self, port: SerialPort) -> re.Match[str]:
        reply = port.read_past(_ETX)
        match = _REPLY.fullmatch(reply[1:-1].decode("latin-1")) if reply[:1] == _STX else None
        if match is None or int(match["number"]) != self._number:
            raise InstrumentError(f"{self.name}: the reply {reply[:64]!r} is none of pump {self._number}")
        return match

    def _talk(self, command: str, ignore_alarm: bool = False) -> tuple[str, str]:
        """Send one command; status and data of its reply. An alarm is remembered, and raised."""
        self._line.port.write(f"{self._number}{command}\r".encode())
        match = self._parse(self._line.port)
        if match["alarm"] == "R":
            self._valid = False
            raise self._line.reboot()
        if match["alarm"] is not None:
            self._alarm = match["alarm"]
            if not ignore_alarm:
                raise self._alarmed()
            return self._talk(command)
        if match["data"] in ("?NA", "?OOR"):
            raise StateError(f"{self.name}: {command!r} was refused with {match['data']!r}; nothing was set")
        if match["data"].startswith("?"):
            raise InstrumentError(f"{self.name}: {command!r} was refused with {match['data']!r}")
        return match["status"], match["data"]

    def _alarmed(self) -> AlarmError:
        what = _ALARMS[self._alarm]
        return AlarmError(f"{self.name}: {what}; its volumes are not to be trusted: see to it, then home the pump")

    def _status(self, ignore_alarm: bool = False) -> str:
        return self._talk("", ignore_alarm)[0]

    def _ask(self, command: str) -> str:
        return self._line.agree(command, lambda: self._talk(command)[1])

    def _match(self, command: str, grammar: re.Pattern[str], ignore_alarm: bool = False) -> tuple[str, ...]:
        data = self._talk(command, ignore_alarm)[1]
        match = grammar.fullmatch(data)
        if match is None or not any(map(str.isdigit, data)):
            raise InstrumentError(f"{self.name}: {command!r} gave {data!r}, which is no answer to it")
        return match.groups() or (match[0],)

    def _read_diameter(self) -> float:
        """What the pump has for the bore of its syringe, m."""
        return 1e-3 * float(self._line.agree("DIA", lambda: self._match("DIA", _DIAMETER))[0])

    def _dispensed(self) -> tuple[float, float, str]:
        """What it has infused and withdrawn since it was homed, L, and the units it counts in."""
        infused, withdrawn, unit = self._line.agree("DIS", lambda: self._match("DIS", _DISPENSED, ignore_alarm=True))
        return float(infused) * VOLUMES[unit], float(withdrawn) * VOLUMES[unit], unit

    def _if_valid(self, volume: float) -> Reading:
        sound = self._valid and not self._alarm and math.isfinite(volume)
        return Reading(volume) if sound else Reading(math.nan, "invalid")

    def _clear_counts(self) -> None:
        """What was infused first: a pump that has withdrawn more than it infused is full (see :meth:`_face_out`)."""
        for which, clear in enumerate((self._driver.volume_infused_clear, self._driver.volume_withdrawn_clear)):
            self._line.set(
                "clear the volume counted",
                lambda clear=clear: self._drive(clear),
                lambda which=which: self._dispensed()[which],
                lambda got: got == 0.0,
            )

    def _face_out(self) -> None:
        """At rest: to infuse, without end. What a refill that was broken off has left behind is tidied up."""
        if self._ask("DIR") != "INF":
            infused, withdrawn, _ = self._dispensed()
            if self.refill_rate and withdrawn >= infused:
                self._clear_counts()
            self._turn("INF")
        if not _is_zero(self._ask("VOL")):
            self._set_volume("0")
        self._turned = False

    def _turn(self, way: str) -> None:
        """Which way it will pump, ``INF`` or ``WDR``. Only at rest."""
        from nesp_lib import PumpingDirection

        direction = PumpingDirection.INFUSE if way == "INF" else PumpingDirection.WITHDRAW
        found = self._line.set(
            "set the direction",
            lambda: self._drive(lambda: setattr(self._driver, "pumping_direction", direction)),
            lambda: self._ask("DIR"),
            lambda found: found == way,
        )
        if found != way:
            raise ReadbackError(f"{self.name}: its direction was set to {way!r}, and reads back {found!r}")

    def _set_volume(self, number: str, unit: str = "") -> None:
        """After how much it will stop, in the units in which it counts; 0 is never."""

        def right(found: str) -> bool:
            match = _VOLUME.fullmatch(found)
            if match is None or not any(map(str.isdigit, match[1])):
                return False
            return float(match[1]) == float(number) and unit in ("", match[2])

        found = self._line.set("set the volume", lambda: self._talk(f"VOL{number}"), lambda: self._ask("VOL"), right)
        if not right(found):
            what = "pump without end" if float(number) == 0.0 else f"stop after {number} {unit}"
            raise ReadbackError(f"{self.name}: was set to {what}, and reads back {found!r}")

    def _drive(self, act: Callable[[], object]) -> None:
        """Let the driver act. An alarm that it meets is acknowledged thereby, and so must be remembered here."""
        from nesp_lib import StatusAlarmException

        try:
            act()
        except StatusAlarmException as alarm:
            letter = str(alarm.alarm_status.name)[0]  # RESET, STALLED, TIMEOUT, ERROR
            if letter == "R" and alarm.alarm_status.name == "RESET":
                self._valid = False
                raise self._line.reboot() from None
            self._alarm = "O" if alarm.alarm_status.name == "RANGE" else letter
            raise self._alarmed() from None

    def _stop(self) -> None:
        """Stop, also in an alarm or after a power failure: that must always be possible."""

        def write() -> None:
            for _ in range(2):  # the first pauses the pump, the second stops it
                if self._status(ignore_alarm=True) != "S":
                    self._drive(lambda: self._driver.stop(wait_while_running=False))

        def read() -> str:
            return self._line.retry("status", lambda: self._status(ignore_alarm=True))

        if (found := self._line.set("stop", write, read, lambda status: status == "S")) != "S":
            raise ReadbackError(f"{self.name}: was stopped and has status {found!r}; switch it off by hand")

    def _limits(self) -> tuple[float, float]:
        """Lowest and highest rate with this syringe, L/s, from the pusher's speeds."""
        area = math.pi / 4.0 * (100.0 * self._diameter) ** 2  # cm2
        return SLOWEST * area * 1e-3, FASTEST * area * 1e-3

    def _range_found(self) -> tuple[str, float]:
        """The units that it has if it runs, which it would not change now; else those for any rate."""
        fastest = self._limits()[1]
        if self._line.retry("status", lambda: self._status(ignore_alarm=True)) == "I":
            return self._rate_unit(), fastest
        return self._best_unit(fastest)

    def _rate_unit(self) -> str:
        return self._line.agree("RAT", lambda: self._match("RAT", _RATE))[1]

    def _best_unit(self, rate: float) -> tuple[str, float]:
        """The units with the smallest steps at `rate`, L/s, and that rate."""
        able = [unit for unit, factor in UNITS.items() if rate / factor < 9999.0]
        return min(able, key=lambda unit: UNITS[unit] * 10.0 ** -_decimals(rate / UNITS[unit])), rate

    def _check_rate(self, rate: float, span: tuple[float, float]) -> None:
        low, high = span
        if not low <= rate <= high:
            raise LimitError(
                f"{self.name}: {_flow(rate)} is outside {_flow(low)} to {_flow(high)}, what the pump can give with a "
                f"syringe of {1e3 * self._diameter:g} mm in its present units; nothing was set"
            )


class _Port:
    """What the driver holds instead of its own `Port`: the line's, with deadlines."""

    def __init__(self, port: SerialPort) -> None:
        self._port = port

    def _transmit(self, data: bytes) -> None:
        self._port.write(data)

    def _receive(self, data_length: int) -> bytes:
        return self._port.read(data_length)

    @property
    def _waiting_receive(self) -> int:
        return self._port.waiting

    @property
    def _waiting_transmit(self) -> int:
        return 0

    def close(self) -> None:
        self._port.close()


def _is_zero(volume: str) -> bool:
    match = _VOLUME.fullmatch(volume)
    return match is not None and any(map(str.isdigit, match[1])) and float(match[1]) == 0.0


def _number(value: float) -> str:
    """As it is sent to the pump."""
    return f"{value:.{_decimals(value)}f}"


def _cut(value: float) -> float:
    """The next number below that the pump can take."""
    scale = 10.0 ** _decimals(value)
    return math.floor(value * scale + 1e-6) / scale


def _decimals(number: float) -> int:
    """How many decimals the pump keeps of a number: four digits in all, three decimals at most."""
    return 3 if number < 9.9995 else 2 if number < 99.995 else 1 if number < 999.95 else 0


def _flow(rate: float) -> str:
    return format_quantity(rate, "L/s", 6)
