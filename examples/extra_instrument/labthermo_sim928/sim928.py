"""Stanford Research Systems SIM928 isolated voltage source, alone on a serial-to-Ethernet adapter.

Over QCoDeS's plain `VisaInstrument`: the community's SIM928 driver talks through a SIM900 mainframe. Commands: SIM928
manual, chapter "Remote Operation" (``VOLT``, ``OPON``, ``EXON?``, ``LEXE?``, ``LCME?``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from instruments.transport import Line, check_span, qcodes_driver
from labthermo.errors import InstrumentError, ReadbackError

if TYPE_CHECKING:
    from qcodes.instrument import VisaInstrument

SPAN = (-20.0, 20.0)  # V
RESOLUTION = 1e-3  # V
_CHANNELS = ("output",)


class Sim928:
    """A :class:`labthermo.instrument.VoltageSource`; its channel is ``output``. Nothing it tells is a measurement."""

    measured: frozenset[str] = frozenset()

    def __init__(self, name: str, address: str, *, timeout: float = 5.0, visa: str = "@py") -> None:
        """Open the instrument; nothing changes."""
        from qcodes.instrument import VisaInstrument

        self.name = name
        make = qcodes_driver(VisaInstrument)
        self._line: Line[VisaInstrument] = Line(name, address, timeout, "SIM928", make, visa=visa)
        self.incidents = self._line.incidents
        self.identity = self._line.identity
        self.rebooted = self._line.rebooted

    def refuse_reboot(self) -> None:
        """Raise InstrumentError if it has been switched off and on since it was opened."""
        self._line.refuse_reboot()

    def source_channels(self) -> tuple[str, ...]:
        """Get the names of the channels: only ``output``."""
        return _CHANNELS

    def set_voltage(self, channel: str, voltage: float) -> None:
        """Set the output to `voltage` (V), -20 V .. 20 V; done when ``VOLT?`` reads it back.

        An output that is off is connected first, which is allowed only at 0 V.
        """
        self._check(channel)
        check_span(voltage, SPAN, f"{self.name}.{channel}")
        self.refuse_reboot()
        if not self._is_on():
            self._connect()
        got = self._line.set(
            f"set {voltage:g} V",
            lambda: self._line.write(f"VOLT {voltage:.3f}"),
            lambda: self.voltage(channel),
            lambda got: abs(got - voltage) <= RESOLUTION,
        )
        if not abs(got - voltage) <= RESOLUTION:
            errors = [self._line.ask(query).strip() for query in ("LEXE?", "LCME?")]
            raise ReadbackError(f"{self.name}: set to {voltage:g} V but reads back {got:g} V; errors: {errors}")

    def _is_on(self) -> bool:
        return self._line.ask_number("EXON?") == 1

    def _connect(self) -> None:
        found = self.voltage("output")
        if abs(found) > 0.5 * RESOLUTION:
            raise InstrumentError(f"{self.name}: its output is off at {found:g} V; set it to 0 V on its panel")
        if not self._line.set("connect", lambda: self._line.write("OPON"), self._is_on, lambda is_on: is_on):
            raise ReadbackError(f"{self.name}: its output would not switch on; look at its panel")

    def voltage(self, channel: str) -> float:
        """Get the programmed voltage (V), from ``VOLT?``."""
        self._check(channel)
        return self._line.ask_number("VOLT?")

    def voltage_span(self, channel: str) -> tuple[float, float]:
        """Get the lowest and highest voltage: -20 V and 20 V."""
        self._check(channel)
        return SPAN

    def voltage_resolution(self, channel: str) -> float:
        """Get the smallest step: 1 mV."""
        self._check(channel)
        return RESOLUTION

    def close(self) -> None:
        """Let go of the instrument without moving anything. Closing twice does nothing."""
        self._line.close()

    def _check(self, channel: str) -> None:
        if channel not in _CHANNELS:
            raise InstrumentError(f"{self.name}: a SIM928 has no channel {channel!r}; it has output")
