"""Lake Shore 336 temperature controller, as a monitor of up to four temperatures; its heaters are left alone.

Over `qcodes.instrument_drivers.Lakeshore.LakeshoreModel336`, unmodified. Readings are asked here: the driver's
`temperature` tells a sensor that is not there as 0 K, since it asks for the status in another parameter. Not over the
372, whose driver asks its heaters for one field more than they answer.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from instruments.transport import Line, parse_number, qcodes_driver
from labthermo.errors import InstrumentError
from labthermo.instrument import Reading

if TYPE_CHECKING:
    from qcodes.instrument_drivers.Lakeshore import LakeshoreModel336 as Driver

AGREEMENT = 0.02  # between two readings, each of which may be a new one
ATTEMPTS = 5  # to get two in a row that agree
UNDER_RANGE, OVER_RANGE = 16 | 64, 32 | 128  # status bits
_CHANNELS = {"a": "A", "b": "B", "c": "C", "d": "D"}


class LakeShore336:
    """A :class:`labthermo.instrument.Monitor`; its channels are ``a`` .. ``d``, in K."""

    measured = frozenset({"temperature"})

    def __init__(self, name: str, address: str, *, timeout: float = 5.0, visa: str = "@py") -> None:
        """Open the instrument; nothing changes."""
        from qcodes.instrument_drivers.Lakeshore import LakeshoreModel336 as Driver

        self.name = name
        make = qcodes_driver(Driver, print_connect_message=False)
        self._line: Line[Driver] = Line(name, address, timeout, "MODEL336", make, visa=visa)
        self.identity = self._line.identity
        self.rebooted = self._line.rebooted
        self.incidents = self._line.incidents

    def monitor_channels(self) -> tuple[str, ...]:
        """Get the names of the channels: ``a`` .. ``d``."""
        return tuple(_CHANNELS)

    def monitor_unit(self, channel: str) -> str:
        """Get the unit of `channel`: K."""
        _letter(channel)
        return "K"

    def read_monitor(self, channel: str) -> Reading:
        """Measure the temperature (K, up to 400 K) of a sensor with ``KRDG?``, twice, and its status with ``RDGST?``.

        ``overflow`` beyond the sensor's curve, ``invalid`` without a sensor or below its curve. The two may be two
        readings of the instrument, so they need only agree within 2 %.
        """
        letter = _letter(channel)
        status = self._line.ask_agreeing(f"RDGST? {letter}", self._parse_status)
        if status:
            return Reading(math.nan, "overflow" if status & OVER_RANGE and not status & UNDER_RANGE else "invalid")
        last = math.nan
        for _ in range(ATTEMPTS):
            before, last = last, self._line.ask(f"KRDG? {letter}", self._parse_kelvin)
            if abs(last - before) <= AGREEMENT * abs(last):
                return Reading(last)
        raise InstrumentError(f"{self.name}.{channel}: no two of {ATTEMPTS} readings agree, last {last:g} K")

    def _parse_status(self, reply: str) -> int:
        if not re.fullmatch(r"\d{3}", reply.strip(), re.ASCII) or int(reply) > 255:
            raise InstrumentError(f"{self.name}: {reply!r} is no status of a reading")
        return int(reply)

    def _parse_kelvin(self, reply: str) -> float:
        kelvin = parse_number(reply.strip(), self.name)
        if not kelvin > 0:
            raise InstrumentError(f"{self.name}: {reply.strip()} K cannot be")
        return kelvin

    def refuse_reboot(self) -> None:
        """Raise InstrumentError if it has been switched off and on since it was opened (``*ESR?``)."""
        self._line.refuse_reboot()

    def close(self) -> None:
        """Let go of the instrument without changing anything. Closing twice does nothing."""
        self._line.close()


def _letter(channel: str) -> str:
    if channel not in _CHANNELS:
        raise InstrumentError(f"a 336 has no channel {channel!r}; it has {', '.join(_CHANNELS)}")
    return _CHANNELS[channel]
