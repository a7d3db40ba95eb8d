"""Keysight 34465A multimeter, as a direct-voltage meter on a fixed range.

Over `qcodes.instrument_drivers.Keysight.Keysight34465A`, unmodified. Readings are asked with ``READ?`` directly: the
driver's `volt` sets and restores function and sample count around every one, and takes a truncated number for a number.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from instruments.transport import Line, parse_reading, qcodes_driver
from labthermo.errors import InstrumentError
from labthermo.instrument import Reading

if TYPE_CHECKING:
    from qcodes.instrument_drivers.Keysight import Keysight34465A as Driver

RANGES = (0.1, 1.0, 10.0, 100.0, 1000.0)  # V
OVERRANGE = 1.2

# Power line cycles: resolution as a fraction of the range, which is also the RMS noise of a reading. Truevolt Series
# Operating and Service Guide, "Range, Resolution and Integration Time" (34465A column as in the driver, unchecked).
NOISE = {
    0.001: 30e-6,
    0.002: 15e-6,
    0.006: 6e-6,
    0.02: 3e-6,
    0.06: 1.5e-6,
    0.2: 0.7e-6,
    1.0: 0.3e-6,
    10.0: 0.1e-6,
    100.0: 0.03e-6,
}


class Keysight34465A:
    """A :class:`labthermo.instrument.Voltmeter`."""

    measured = frozenset({"voltage"})

    def __init__(self, name: str, address: str, *, timeout: float = 5.0, visa: str = "@py") -> None:
        """Open the instrument and read its state; nothing changes but its display, cleared by the driver."""
        from qcodes.instrument_drivers.Keysight import Keysight34465A as Driver

        self.name = name
        self._line: Line[Driver] = Line(
            name, address, timeout, "34465A", qcodes_driver(Driver), visa=visa, compounds=True
        )
        self.identity = self._line.identity
        self.rebooted = self._line.rebooted
        self.incidents = self._line.incidents
        try:
            self._line_frequency = self._line.ask_number("SYST:LFR?")
            self._range = self._line.ask_number("SENS:VOLT:DC:RANG?")
            self._cycles = sorted(float(cycles) for cycles in self._line.driver.NPLC_list)
        except BaseException:
            self.close()
            raise
        self._set_cycles: float | None = None

    def prepare_voltage_range(self, voltage: float) -> None:
        """Set the smallest range that holds `voltage` (V, up to 1000 V), the highest input resistance, and one zero.

        Autorange is off because a range change in mid-measurement is a step in the data. The input is > 10 Gohm up to
        the 10 V range (``VOLT:IMP:AUTO ON``; 10 Mohm above). Autozero is off because it doubles the time of every
        reading to remove a drift that is far below the noise within one measurement; the zero is taken once here, and
        by the instrument itself whenever range or integration time change.
        """
        scale = next((scale for scale in RANGES if abs(voltage) <= scale * (OVERRANGE if scale < 1000 else 1)), None)
        if scale is None:
            raise InstrumentError(f"{self.name}: no range holds {voltage:g} V; the highest is 1000 V")

        def configure() -> None:
            driver = self._line.driver
            driver.sense_function("DC Voltage")
            driver.autorange("OFF")
            driver.range(scale)
            driver.trigger.source("IMM")
            driver.trigger.count(1)
            driver.sample.count(1)
            driver.write("SENS:VOLT:DC:IMP:AUTO ON")  # the driver has no parameter for it
            driver.autozero("ONCE")

        def found_range() -> float:
            return self._line.ask_number("SENS:VOLT:DC:RANG?")

        self._line.drain_errors()
        found = self._line.write_until("configure", configure, found_range, lambda _: False)
        self._set_cycles = None
        errors = self._line.drain_errors()
        if errors or not math.isclose(found, scale):
            raise InstrumentError(f"{self.name}: asked for the {scale:g} V range, found {found:g} V; errors: {errors}")
        self._range = scale

    def measure_voltage(self, integration_time: float) -> Reading:
        """Measure the voltage (V, up to 1.2 times the range), integrating for at most `integration_time` (s)."""
        cycles = self._fitting_cycles(integration_time)
        if cycles != self._set_cycles:
            self._change_cycles(cycles)
        return self._line.ask_agreeing(
            "READ?", lambda reply: parse_reading(reply, f"{self.name} voltage", scientific=True), again="FETC?"
        )

    def refuse_reboot(self) -> None:
        """Raise InstrumentError if it has been switched off and on since it was opened (``*ESR?``)."""
        self._line.refuse_reboot()

    def voltage_noise(self, integration_time: float) -> float:
        """Get the standard deviation (V) of one such reading on the present range, from the resolution table."""
        return NOISE[self._fitting_cycles(integration_time)] * self._range

    def _fitting_cycles(self, integration_time: float) -> float:
        """The longest integration time in power line cycles that is not above `integration_time`, or the shortest."""
        longest = integration_time * self._line_frequency * (1 + 1e-9)
        return max((cycles for cycles in self._cycles if cycles <= longest), default=self._cycles[0])

    def _change_cycles(self, cycles: float) -> None:
        found = self._line.write_until(
            f"set {cycles:g} NPLC",
            lambda: self._line.write(f"SENS:VOLT:DC:NPLC {cycles:g}"),  # the driver's asks for the aperture first
            lambda: self._line.ask_number("SENS:VOLT:DC:NPLC?"),
            lambda found: math.isclose(found, cycles),
        )
        if not math.isclose(found, cycles):
            errors = self._line.drain_errors()
            raise InstrumentError(f"{self.name}: asked for {cycles:g} NPLC, found {found:g}; errors: {errors}")
        # twice for a first reading with its zero, and once more for the instrument's own overhead
        self._line.allow_time(3 * cycles / self._line_frequency)
        self._set_cycles = cycles

    def close(self) -> None:
        """Let go of the instrument without moving anything. Closing twice does nothing."""
        self._line.close()
