"""Yokogawa GS200 (GS210) DC source, as a voltage source.

Over `qcodes.instrument_drivers.yokogawa.YokogawaGS200`, unmodified. Levels are written and read here: the driver's
`voltage` asks mode and range again for each, and takes a truncated number for a number. Its hardware ramps are not
used: they poll for the end of the program without a timeout, and Guard could not see a step of them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from instruments.transport import Line, check_span, qcodes_driver
from labthermo.errors import ComplianceError, InstrumentError, ReadbackError

if TYPE_CHECKING:
    from qcodes.instrument_drivers.yokogawa import YokogawaGS200 as Driver

# range (V): highest level (V) and smallest step (V), as remembered from the data sheet, unchecked
RANGES = {
    10e-3: (12e-3, 100e-9),
    100e-3: (120e-3, 1e-6),
    1.0: (1.2, 10e-6),
    10.0: (12.0, 100e-6),
    30.0: (32.0, 1e-3),
}
_CHANNELS = ("output",)


class YokogawaGs200:
    """A :class:`labthermo.instrument.VoltageSource`; its channel is ``output``. Nothing it tells is a measurement."""

    measured: frozenset[str] = frozenset()

    def __init__(
        self,
        name: str,
        address: str,
        *,
        timeout: float = 5.0,
        visa: str = "@py",
        source_range: float = 1.0,
        current_limit: float = 1e-3,
    ) -> None:
        """Open the instrument and read its state; nothing changes.

        `source_range` (V; 10 mV, 100 mV, 1 V, 10 V or 30 V) and `current_limit` (A, 1 mA .. 200 mA, of the built-in
        limiter) are taken when the first voltage is set, with the output off. If the output is found on, the
        instrument keeps what it has.
        """
        from qcodes.instrument_drivers.yokogawa import YokogawaGS200 as Driver

        if source_range not in RANGES:
            raise InstrumentError(f"{name}: a GS200 has no {source_range:g} V source range")
        if not 1e-3 <= current_limit <= 200e-3:
            raise ComplianceError(f"{name}: a limit of {current_limit:g} A is outside 1 mA to 200 mA")
        self.name = name
        self._asked_range, self._asked_limit = source_range, current_limit
        models = ("GS200", "GS210")
        self._line: Line[Driver] = Line(
            name, address, timeout, models, qcodes_driver(Driver), visa=visa, compounds=True
        )
        self.identity = self._line.identity
        self.rebooted = self._line.rebooted
        self.incidents = self._line.incidents
        try:
            self._range = self._asked_range
            self._prepared = self._is_on() and self._line.ask_agreeing(":SOUR:FUNC?") == "VOLT"
            if self._prepared:
                self._range = self._found_range()
        except BaseException:
            self.close()
            raise

    def _is_on(self) -> bool:
        return self._line.ask_number(":OUTP?") == 1

    def _found_range(self) -> float:
        found = abs(self._line.ask_number(":SOUR:RANG?"))
        return min(RANGES, key=lambda scale: abs(math.log(found / scale)) if found else math.inf)

    def _prepare(self) -> None:
        """Source volts on a fixed range with the current limited, and connect at 0 V; only while the output is off."""
        if not self._is_on():
            self._prepared = False  # whoever switched it off may have changed more
        if self._prepared:
            return
        if self._is_on():
            raise InstrumentError(f"{self.name}: its output is on as a current source; switch it off by hand")
        found = self.voltage("output")
        if abs(found) > 0.5 * RANGES[self._found_range()][1]:
            raise InstrumentError(f"{self.name}: its output is off at {found:g}; set it to 0 on its panel")

        def prepare() -> None:
            driver = self._line.driver
            driver.source_mode("VOLT")
            driver.voltage_range(self._asked_range)
            driver.write(f":SOUR:PROT:CURR {self._asked_limit:.6E}")

        def state() -> tuple[str, float, float]:
            function = self._line.ask_agreeing(":SOUR:FUNC?")
            return function, self._found_range(), self._line.ask_number(":SOUR:PROT:CURR?")

        self._line.drain_errors()
        function, self._range, limit = self._line.write_until("prepare", prepare, state, lambda _: False)
        errors = self._line.drain_errors()
        if errors or function != "VOLT" or self._range != self._asked_range:
            raise InstrumentError(
                f"{self.name}: could not be prepared: source {function}, range {self._range:g} V, errors: {errors}"
            )
        if not math.isclose(limit, self._asked_limit, rel_tol=0.01):
            raise ComplianceError(
                f"{self.name}: asked for a limit of {self._asked_limit:g} A, has {limit:g} A; its output stays off"
            )
        if abs(self.voltage("output")) > 0.5 * RANGES[self._range][1]:
            raise InstrumentError(f"{self.name}: is not at 0 V after choosing its range; look at its panel")
        if not self._line.set("connect", lambda: self._line.driver.on(), self._is_on, lambda is_on: is_on):
            raise ReadbackError(f"{self.name}: its output would not switch on; errors: {self._line.drain_errors()}")
        self._prepared = True

    def source_channels(self) -> tuple[str, ...]:
        """Get the names of the channels: only ``output``."""
        return _CHANNELS

    def set_voltage(self, channel: str, voltage: float) -> None:
        """Set the output to `voltage` (V) within its span; done when ``SOUR:LEV?`` reads it back.

        An output that is off is connected first, which is allowed only at 0 V.
        """
        _check(channel)
        check_span(voltage, self.voltage_span(channel), f"{self.name}.{channel}")
        self._line.refuse_reboot()
        self._prepare()
        self._line.set_voltage(
            f"{self.name}.{channel}",
            voltage,
            lambda: self._line.write(f":SOUR:LEV {voltage:.6E}"),
            lambda: self.voltage(channel),
            self.voltage_resolution(channel),
        )

    def voltage(self, channel: str) -> float:
        """Get the programmed voltage (V), from ``SOUR:LEV?``; with the output off it is not at the terminals."""
        _check(channel)
        return self._line.ask_number(":SOUR:LEV?")

    def voltage_span(self, channel: str) -> tuple[float, float]:
        """Get the lowest and highest voltage (V): +-120 % of the range, +-32 V on 30 V."""
        _check(channel)
        highest = RANGES[self._range][0]
        return -highest, highest

    def voltage_resolution(self, channel: str) -> float:
        """Get the smallest step (V) on the range, 100 nV .. 1 mV."""
        _check(channel)
        return RANGES[self._range][1]

    def refuse_reboot(self) -> None:
        """Raise InstrumentError if it has been switched off and on since it was opened (``*ESR?``)."""
        self._line.refuse_reboot()

    def close(self) -> None:
        """Let go of the instrument without moving anything. Closing twice does nothing."""
        self._line.close()


def _check(channel: str) -> None:
    if channel not in _CHANNELS:
        raise InstrumentError(f"a GS200 has no channel {channel!r}; it has output")
