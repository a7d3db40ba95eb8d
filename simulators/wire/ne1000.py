"""A simulated New Era NE-1000 syringe pump, on a serial line.

Written from the maker's manual (NE-1000 family, publications 1200-01 and 1200-02, firmware V3.9xx). Checked in copies
of it: the syntax of commands and replies in basic and in safe mode (9.2.1 to 9.2.4), the packet that leaves safe mode,
the errors ``?``, ``?NA``, ``?OOR``, ``?COM`` and ``?IGN`` (9.3), the alarms ``A?R`` (power was interrupted), ``A?S``
(motor stalled), ``A?T`` (safe mode time out), ``A?E`` and ``A?O``, that an alarm is acknowledged by being sent in reply
to a valid command and that nothing is changed or started before, numbers of at most four digits and three decimals,
that the rate but not its units may change while pumping, that the direction may change while pumping only with a volume
of 0, volume units UL up to 14.00 mm and ML above, that all data but a rate set while pumping outlive a power failure.
As remembered, unchecked: the pusher's speeds of 0.004205 cm/h to 5.1005 cm/min (they give the 1699 mL/h and 0.73 uL/h
of the specifications), that the first ``STP`` pauses and the second stops, that volumes dispensed start at 0 after a
power failure and a new diameter and roll over at 9999, that units repeated while pumping are accepted, and ``?`` for a
number with too many digits.

Not simulated: pumping programs (one phase only), logic inputs, several pumps on one line, the keypad. An empty syringe
is what it is to the real pump, which has no sensor for it: the plunger meets the bottom and the motor stalls. So is too
high a pressure, and a plunger that is withdrawn past the end of the barrel.

Withdrawing fills the syringe from a bottle, through a check valve, while another one keeps the vessel's side shut.
Without valves it would suck out of the vessel, which is not simulated: the start is refused with ``?NA``, which a real
pump does not do.

One command is not the maker's: ``SIM`` is answered with a serial number, which a real one (it has none to tell) answers
with ``?``, as everything that it does not know. So nobody takes this for a real pump.
"""

from __future__ import annotations

import binascii
import math
import re

from labthermo.faults import OwnFault
from simulators.wire.world import World

STX, ETX = b"\x02", b"\x03"
FIRMWARE = "NE1000V3.923"
DIAMETERS = (0.1, 80.0)  # mm
FASTEST = 5.1005 / 60.0  # cm/s of the pusher
SLOWEST = 0.004205 / 3600.0  # cm/s
SMALL = 14.0  # mm: up to this diameter volumes are in uL

RATE_UNITS = {"UM": 1e-6 / 60.0, "MM": 1e-3 / 60.0, "UH": 1e-6 / 3600.0, "MH": 1e-3 / 3600.0}  # L/s
VOLUME_UNITS = {"UL": 1e-6, "ML": 1e-3}  # L
RUNNING = ("I", "W", "X")

_COMMAND = re.compile(r"(\d{0,2})([A-Z]{3})?(.*)", re.DOTALL)
_NUMBER = re.compile(r"\d*\.?\d{0,3}")


class Refused(Exception):
    """A command that is answered with an error: ``NA``, ``OOR``, ``COM``, or nothing for one that is unknown."""


class Ne1000Personality:
    """The pump's end of the line; the syringe of ``feed`` is the port ``feed.output``.

    What the syringe holds is the simulation's business (`fill`); the pump does not know it.
    """

    reply_end = ETX

    def __init__(self, name: str, world: World) -> None:
        self._world = world
        self._port = f"{name}.output"
        self.identity = f"SIM-{name}"
        self.number = 0  # on the pump network
        errors = world.random(f"{name}.syringe")
        # the bore of a plastic syringe, 0.3 % (a third of 1 %), never more than 1 %
        error = float(min(max(errors.normal(0.0, 0.01 / 3), -0.01), 0.01))
        self._gain = 1.0 + error if world.imperfections.offsets else 1.0
        self.content = math.inf  # L that the syringe still holds
        self._size = math.inf  # L that it can hold
        self._valves = True
        self._air = 0.0  # share of what comes out
        self._blocked = False
        self.diameter = 26.59  # mm, of a plastic 60 mL syringe
        self.rate, self.units = 1.0, "MH"
        self.volume, self.volume_units = 0.0, "ML"
        self.direction = "I"
        self.status = "S"
        self.alarm = ""
        self.dispensed = {"I": 0.0, "W": 0.0}  # L, as the pump counts
        self._safe_timeout = 0  # s; 0 is basic mode
        self._heard = world.now()
        self._since = world.now()
        self._lasts = math.inf
        self._left = math.inf  # L of the volume asked for
        world.pump(self._port, 0.0, 0.0, math.inf)

    # ------------------------------------------------------------------------------------------ what happens to it

    def install(self, size: float, valves: bool) -> None:
        """Before anything runs: a full syringe of `size` L, with check valves and a bottle or directly at a vessel."""
        self.content = self._size = size
        self._valves = valves

    def fill(self, volume: float) -> None:
        """Somebody puts in a syringe that holds `volume`, L."""
        self._pass_time()
        self.content = volume
        if self.status in RUNNING:
            self._flow()

    def stall(self) -> None:
        """The motor stalls: the pressure is too high, the plunger sticks or the syringe is empty."""
        self._pass_time()
        if self.status in RUNNING:
            self._halt()
        self.status, self.alarm = "S", "S"

    def fault_stall(self, begins: bool, _: object) -> None:
        """Once: see :meth:`stall`."""
        if begins:
            self.stall()

    def fault_overpressure(self, begins: bool, _: object) -> None:
        """Something is clogged: the motor stalls whenever it is started, until it is clear again."""
        self._blocked = begins
        if begins:
            self.stall()

    def fault_empty_syringe(self, begins: bool, _: object) -> None:
        """The syringe is empty, until somebody fills it."""
        if begins:
            self.fill(0.0)

    def fault_bubble(self, begins: bool, fault: OwnFault) -> None:
        """Part of what comes out is air; the pump counts it all the same."""
        self._pass_time()
        self._air = fault.share if begins else 0.0
        if self.status in RUNNING:
            self._flow()

    def reboot(self) -> None:
        """The power fails and comes back: it stands still, and says so until somebody has read it."""
        self._pass_time()
        self._halt()
        self.status, self.alarm = "S", "R"
        self.dispensed = {"I": 0.0, "W": 0.0}

    # ------------------------------------------------------------------------------------------------ the protocol

    def split(self, received: bytearray) -> bytes | None:
        """A packet that begins with STX (its second byte counts what follows), or a line that ends with a return."""
        if received[:1] == STX:
            if len(received) < 2 or len(received) < 1 + received[1]:
                return None
            end = 1 + max(received[1], 1)
        else:
            end = received.find(b"\r") + 1
            if end == 0:
                return None
        message = bytes(received[:end])
        del received[:end]
        return message

    def handle(self, message: bytes) -> bytes | None:
        """Execute one message; nothing is said to what is meant for another pump, or is in the wrong mode."""
        self._pass_time()
        if message[:1] == STX:
            body = message[2:-3]
            checksum = binascii.crc_hqx(body, 0).to_bytes(2, "big")
            if len(message) < 5 or message[-1:] != ETX or message[-3:-1] != checksum:
                return self._frame(f"{self.number:02d}{self.status}?COM")
            text = body.decode("latin-1")
        elif self._safe_timeout:
            return None
        else:
            text = message[:-1].decode("latin-1")
        text = "".join(c for c in text if c.isprintable() and c != " ").upper()
        match = _COMMAND.fullmatch(text)
        if match is None or int(match[1] or 0) != self.number:
            return None
        self._heard = self._world.now()
        if self.alarm:
            alarm, self.alarm = self.alarm, ""
            return self._frame(f"{self.number:02d}A?{alarm}")
        try:
            data = self._execute(match[2] or "", match[3])
        except Refused as refused:
            data = f"?{refused}"
        return self._frame(f"{self.number:02d}{self.status}{data}")

    def _frame(self, text: str) -> bytes:
        body = text.encode("latin-1")
        if not self._safe_timeout:
            return STX + body + ETX
        return STX + bytes([len(body) + 4]) + body + binascii.crc_hqx(body, 0).to_bytes(2, "big") + ETX

    def _execute(self, command: str, argument: str) -> str:
        if command == "" and argument:
            raise Refused
        method = getattr(self, f"_do_{command.lower()}", None) if command else self._do_status
        if method is None:
            raise Refused
        return method(argument)

    # ------------------------------------------------------------------------------------------------- its commands

    def _do_status(self, _: str) -> str:
        return ""

    def _do_sim(self, argument: str) -> str:
        _no_more(argument)
        return self.identity

    def _do_ver(self, argument: str) -> str:
        _no_more(argument)
        return FIRMWARE

    def _do_adr(self, argument: str) -> str:
        _no_more(argument)
        return f"{self.number:02d}"

    def _do_saf(self, argument: str) -> str:
        if not argument:
            return str(self._safe_timeout)
        if not argument.isdecimal() or int(argument) > 255:
            raise Refused("OOR")
        self._safe_timeout = int(argument)
        return ""

    def _do_dia(self, argument: str) -> str:
        if not argument:
            return _show(self.diameter)
        diameter = _read(argument)
        if self.status in RUNNING:
            raise Refused("NA")
        if not DIAMETERS[0] <= diameter <= DIAMETERS[1]:
            raise Refused("OOR")
        self.diameter = diameter
        self.volume_units = "UL" if diameter <= SMALL else "ML"
        self.dispensed = {"I": 0.0, "W": 0.0}
        return ""

    def _do_rat(self, argument: str) -> str:
        if not argument:
            return f"{_show(self.rate)}{self.units}"
        units = argument[-2:] if argument[-2:] in RATE_UNITS else self.units
        rate = _read(argument.removesuffix(units))
        if self.status in RUNNING and units != self.units:
            raise Refused("NA")
        low, high = (speed * self._area() for speed in (SLOWEST, FASTEST))
        if not low <= rate * RATE_UNITS[units] <= high:
            raise Refused("OOR")
        changed = (rate, units) != (self.rate, self.units)
        self.rate, self.units = rate, units
        if changed and self.status in ("I", "W"):
            self._flow()
        return ""

    def _do_vol(self, argument: str) -> str:
        if not argument:
            return f"{_show(self.volume)}{self.volume_units}"
        if self.status in RUNNING:
            raise Refused("NA")
        if argument in VOLUME_UNITS:
            self.volume_units = argument
        else:
            self.volume = _read(argument)
        return ""

    def _do_dir(self, argument: str) -> str:
        if not argument:
            return {"I": "INF", "W": "WDR"}[self.direction]
        if argument not in ("INF", "WDR", "REV"):
            raise Refused
        if self.status in RUNNING and self.volume > 0:
            raise Refused("NA")
        other = {"I": "W", "W": "I"}[self.direction]
        direction = {"INF": "I", "WDR": "W", "REV": other}[argument]
        if self.status in RUNNING:
            self._refuse_sucking(direction)
        self.direction = direction
        if self.status in ("I", "W"):
            self.status = self.direction
            self._flow()
        return ""

    def _do_run(self, argument: str) -> str:
        _no_more(argument)
        if self.status in RUNNING or self.rate == 0:
            raise Refused("NA")
        self._refuse_sucking(self.direction)
        self.status = self.direction
        self._left = self.volume * VOLUME_UNITS[self.volume_units] if self.volume > 0 else math.inf
        self._flow()
        return ""

    def _do_pur(self, argument: str) -> str:
        _no_more(argument)
        if self.status != "S":
            raise Refused("NA")
        self._refuse_sucking(self.direction)
        self.status, self._left = "X", math.inf
        self._flow()
        return ""

    def _do_stp(self, argument: str) -> str:
        _no_more(argument)
        if self.status == "S":
            raise Refused("NA")
        purging = self.status == "X"
        if self.status in RUNNING:
            self._halt()
            self.status = "S" if purging else "P"
        else:
            self.status = "S"
        return ""

    def _do_dis(self, argument: str) -> str:
        _no_more(argument)
        unit = VOLUME_UNITS[self.volume_units]
        infused, withdrawn = (_show(self.dispensed[way] / unit % 9999.0, floor=True) for way in "IW")
        return f"I{infused}W{withdrawn}{self.volume_units}"

    def _do_cld(self, argument: str) -> str:
        if argument not in ("INF", "WDR"):
            raise Refused
        if self.status in RUNNING:
            raise Refused("NA")
        self.dispensed[argument[0]] = 0.0
        return ""

    # ---------------------------------------------------------------------------------------------------- the motor

    def _area(self) -> float:
        """Of the bore as the pump was told, in cm2; times cm/s that is mL/s, so here it is in units of L/cm."""
        return math.pi / 4.0 * (self.diameter / 10.0) ** 2 * 1e-3

    def _speed(self) -> float:
        """What the pump believes to move, L/s."""
        return FASTEST * self._area() if self.status == "X" else self.rate * RATE_UNITS[self.units]

    def _refuse_sucking(self, direction: str) -> None:
        if direction == "W" and not self._valves:
            raise Refused("NA")

    def _flow(self) -> None:
        """Begin to move at the present rate and direction, and tell the world how long this can last."""
        speed = self._speed()
        out = self.direction == "I"
        actual = speed * self._gain * (1.0 if out else -1.0)
        self._since = self._world.now()
        room = self.content if out else self._size - self.content if math.isfinite(self._size) else math.inf
        self._lasts = 0.0 if self._blocked else min(self._left / speed, room / abs(actual))
        self._world.pump(self._port, speed if out else -speed, actual * (1.0 - self._air), self._lasts)

    def _halt(self) -> None:
        if self.status in RUNNING:
            self._world.pump(self._port, 0.0, 0.0, math.inf)
        self._lasts = math.inf

    def _pass_time(self) -> None:
        """Count what has been moved since this was last asked, up to the end of the volume or of the syringe."""
        now = self._world.now()
        if self._safe_timeout and self.status in RUNNING and now - self._heard > self._safe_timeout:
            self._count(self._heard + self._safe_timeout)
            self._halt()
            self.status, self.alarm = "S", "T"
        if self.status in RUNNING:
            self._count(now)
        self._since = now

    def _count(self, until: float) -> None:
        moved = max(0.0, min(until - self._since, self._lasts))
        ends = until - self._since >= self._lasts
        volume = moved * self._speed()
        self.dispensed[self.direction] += volume
        self._left -= volume
        self._lasts -= moved
        self.content -= volume * self._gain * (1.0 if self.direction == "I" else -1.0)
        if ends:
            empty = self._left > 1e-6 * volume  # else the volume asked for is through
            self.status, self.alarm, self._lasts = "S", "S" if empty else self.alarm, math.inf


def _no_more(argument: str) -> None:
    if argument:
        raise Refused


def _read(text: str) -> float:
    if not _NUMBER.fullmatch(text) or not 1 <= sum(map(str.isdigit, text)) <= 4:
        raise Refused
    return float(text)


def _show(value: float, floor: bool = False) -> str:
    """Four digits and a point, at most three decimals: ``16.50``, ``3000.``; `floor`: cut off, as a counter does."""
    for decimals in (3, 2, 1, 0):
        cut = math.floor(value * 10**decimals + 1e-6) / 10**decimals if floor else value
        shown = f"{cut:.{decimals}f}"
        if len(shown.replace(".", "")) <= 4:
            break
    return shown if "." in shown else f"{shown}."
