"""Keithley 2400 SourceMeter, as a voltage source that measures current.

Over `pymeasure.instruments.keithley.Keithley2400`, unmodified. Readings are asked with ``READ?``: the `current` of the
driver asks ``MEASure?``, which switches the output on, and autorange too (user's manual, p. 17-2 and 17-5). The QCoDeS
driver is not used: it writes a compliance with six decimals, and 100 nA becomes 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from instruments.transport import Line, check_span, nearest, parse_reading, parse_switch, pymeasure_driver
from labthermo.errors import ComplianceError, InstrumentError, ReadbackError
from labthermo.instrument import Reading

if TYPE_CHECKING:
    from pymeasure.instruments.keithley import Keithley2400 as Driver

OVERRANGE = 1.05
LONGEST_CYCLES, SHORTEST_CYCLES = 10.0, 0.01
LIMIT_TOLERANCE = 0.01
SMALLEST_LIMIT, LARGEST_LIMIT = 1e-9, 1.05  # A, user's manual p. 6-2
LIMITING = 1 << 3 | 1 << 16  # of the status word: real compliance, and that of the measuring range

# range (V): source resolution (V). Data sheet SPEC-2400 Rev. H, page 1.
SOURCE_RESOLUTION = {0.2: 5e-6, 2.0: 50e-6, 20.0: 500e-6, 200.0: 5e-3}
# range (A): RMS noise (A), a sixth of the peak-to-peak noise of the same page, which has it for sourcing below 10 Hz;
# taken for a reading of one cycle.
CURRENT_NOISE = {
    1e-6: 5e-12 / 6,
    10e-6: 50e-12 / 6,
    100e-6: 500e-12 / 6,
    1e-3: 5e-9 / 6,
    10e-3: 50e-9 / 6,
    100e-3: 500e-9 / 6,
    1.0: 5e-6 / 6,
}
_CHANNELS = ("output",)
_STATE = (
    ":SOUR:FUNC?;:SENS:FUNC?;:SOUR:VOLT:MODE?;:SOUR:VOLT:RANG:AUTO?;:SENS:CURR:RANG:AUTO?;:SOUR:CLE:AUTO?;:OUTP:SMOD?"
)
_OURS = 'VOLT;"CURR:DC";FIX;0;0;0;HIMP'


class Keithley2400:
    """A :class:`labthermo.instrument.SourceMeter`; its channel is ``output``."""

    measured = frozenset({"current"})

    def __init__(
        self, name: str, address: str, *, timeout: float = 5.0, visa: str = "@py", source_range: float = 0.2
    ) -> None:
        """Open the instrument and read its state; nothing changes, but that a reading has all of its five fields.

        `source_range` (V; 200 mV, 2 V, 20 V or 200 V) is taken when the source is first prepared, with the output off.
        If the output is found on, the instrument keeps the range it has.
        """
        from pymeasure.instruments.keithley import Keithley2400 as Driver

        if source_range not in SOURCE_RESOLUTION:
            raise InstrumentError(f"{name}: a 2400 has no {source_range:g} V source range")
        self.name = name
        self._asked_range = source_range
        self._prepared = False
        self._cycles: float | None = None
        make = pymeasure_driver(Driver)
        self._line: Line[Driver] = Line(name, address, timeout, "MODEL 2400", make, visa=visa, compounds=True)
        self.identity = self._line.identity
        self.rebooted = self._line.rebooted
        self.incidents = self._line.incidents
        try:
            self._line_frequency = self._line.ask_number(":SYST:LFR?")
            self._source_range = self._found_source_range()
            self._current_range = self._found_current_range()
            if self.output_is_on():  # taken over if it is in a state that this adapter would have made
                self._prepared = self._line.ask_agreeing(_STATE) == _OURS
        except BaseException:
            self.close()
            raise

    def _found_source_range(self) -> float:
        return nearest(self._line.ask_number(":SOUR:VOLT:RANG?"), SOURCE_RESOLUTION)

    def _found_current_range(self) -> float:
        return nearest(self._line.ask_number(":SENS:CURR:RANG?"), CURRENT_NOISE)

    def _prepare(self) -> None:
        """Source volts, measure amps, no autorange anywhere, high impedance when off; only while the output is off."""
        if self._prepared:
            return
        if self.output_is_on():
            raise InstrumentError(
                f"{self.name}: its output is on, but not as a fixed-range voltage source that measures current; "
                "look at it, and switch it off by hand"
            )

        def prepare() -> None:
            # High impedance first: in the NORMal off state the instrument holds the sample at 0 V.
            driver = self._line.driver
            driver.output_off_state = "HIMP"
            driver.reset_data_format()
            driver.auto_output_off_enabled = False
            driver.source_mode = "voltage"
            driver.write(":SOUR:VOLT:MODE FIX")
            driver.source_voltage_range = self._asked_range  # and autorange goes off
            driver.write(":SENS:FUNC:OFF:ALL")
            driver.write(":SENS:FUNC 'CURR'")
            driver.filter_enabled = False
            driver.wires = 2
            driver.trigger_immediately()
            driver.disable_output_triggers()
            driver.write(":TRIG:COUN 1;:ARM:COUN 1;:TRIG:DEL 0;:TRAC:FEED:CONT NEV")

        self._line.drain_errors()
        self._source_range = self._line.write_until("prepare", prepare, self._found_source_range, lambda _: False)
        errors = self._line.drain_errors()
        state: list[str] = self._line.ask_agreeing(_STATE).split(";")
        wanted = _OURS.split(";")
        state[4] = wanted[4]  # the measuring range is chosen later
        if errors or self._source_range != self._asked_range or state != wanted:
            raise InstrumentError(
                f"{self.name}: could not be prepared: range {self._source_range:g} V, state {state}, errors: {errors}"
            )
        self._prepared = True

    def source_channels(self) -> tuple[str, ...]:
        """Get the names of the channels: only ``output``."""
        return _CHANNELS

    def set_voltage(self, channel: str, voltage: float) -> None:
        """Set the output to `voltage` (V) within its span; done when ``SOUR:VOLT?`` reads it back."""
        _check(channel)
        check_span(voltage, self.voltage_span(channel), f"{self.name}.{channel}")
        self._prepare()
        self._line.set_voltage(
            f"{self.name}.{channel}",
            voltage,
            lambda: setattr(self._line.driver, "source_voltage", voltage),
            lambda: self.voltage(channel),
            self.voltage_resolution(channel),
        )

    def voltage(self, channel: str) -> float:
        """Get the programmed voltage (V), from ``SOUR:VOLT?``; with the output off it is not at the terminals."""
        _check(channel)
        return self._line.ask_number(":SOUR:VOLT?")

    def voltage_span(self, channel: str) -> tuple[float, float]:
        """Get the lowest and highest voltage (V): +-105 % of the source range."""
        _check(channel)
        scale = (self._source_range if self._prepared else self._asked_range) * OVERRANGE
        return -scale, scale

    def voltage_resolution(self, channel: str) -> float:
        """Get the smallest step (V) on the source range, 5 uV .. 5 mV."""
        _check(channel)
        return SOURCE_RESOLUTION[self._source_range if self._prepared else self._asked_range]

    def set_compliance(self, current: float, channel: str = "output") -> None:
        """Set the current limit (A, 1 nA .. 1.05 A) with ``SENS:CURR:PROT``; read back within 1 %.

        At least 0.1 % and at most 105 % of the fixed current measuring range: above it the range would limit first.
        """
        _check(channel)
        if not SMALLEST_LIMIT <= current <= LARGEST_LIMIT:
            raise ComplianceError(f"{self.name}: a limit of {current:g} A is outside 1 nA to 1.05 A; nothing was set")
        self._prepare()
        if current > OVERRANGE * self._current_range:
            raise ComplianceError(
                f"{self.name}: a limit of {current:g} A is beyond the {self._current_range:g} A measuring range, which "
                "would limit first; prepare a larger one; nothing was set"
            )
        got, errors = self._send_limit(current)
        if errors or not math.isclose(got, current, rel_tol=LIMIT_TOLERANCE):
            raise ComplianceError(
                f"{self.name}: asked for a limit of {current:g} A, has {got:g} A; errors: {errors}. "
                "A limit must be at least 0.1 % of the current measuring range: prepare that first."
            )

    def _send_limit(self, current: float) -> tuple[float, list[str]]:
        """Set the limit; what is in force then, and the errors."""
        self._line.drain_errors()
        got = self._line.set(
            f"set a limit of {current:g} A",
            lambda: setattr(self._line.driver, "compliance_current", current),
            self.compliance,
            lambda got: math.isclose(got, current, rel_tol=LIMIT_TOLERANCE),
        )
        return got, self._line.drain_errors()

    def compliance(self, channel: str = "output") -> float:
        """Get the current limit (A) in force, from ``SENS:CURR:PROT?``."""
        _check(channel)
        return self._line.ask_number(":SENS:CURR:PROT?")

    def prepare_current_range(self, current: float, channel: str = "output") -> None:
        """Set the smallest current measuring range that holds `current` (A, up to 1 A). Only with the output off.

        The limit in force may not lie a range below, nor under 0.1 % of it: where it does it is raised to the range.
        Set the compliance afterwards.
        """
        _check(channel)
        scale = next((scale for scale in CURRENT_NOISE if abs(current) <= scale), None)
        if scale is None:
            raise InstrumentError(f"{self.name}: no range holds {current:g} A; the highest is 1 A")
        if self.output_is_on():
            raise InstrumentError(f"{self.name}: the current range changes only with the output off")
        self._prepare()
        if self.compliance() < scale:
            self._send_limit(scale)

        def choose() -> None:
            self._line.driver.current_range = scale  # and autorange goes off

        self._line.drain_errors()
        found = self._line.write_until(
            f"choose the {scale:g} A range", choose, self._found_current_range, lambda found: found == scale
        )
        errors = self._line.drain_errors()
        if errors or found != scale:
            raise InstrumentError(f"{self.name}: asked for the {scale:g} A range, has {found:g} A; errors: {errors}")
        self._current_range = scale

    def output_on(self, channel: str = "output") -> None:
        """Connect the output (``OUTP ON``), as a voltage source at its programmed voltage."""
        _check(channel)
        self._prepare()
        self._switch(True, self._line.set)

    def output_off(self, channel: str = "output") -> None:
        """Disconnect the output, to high impedance (``OUTP:SMOD HIMP``, ``OUTP OFF``), whatever state it is in."""
        _check(channel)
        self._line.write(":OUTP:SMOD HIMP")  # without it the instrument holds 0 V instead of letting go
        self._switch(False, self._line.write_until)

    def _switch(self, on: bool, send: Callable[..., bool]) -> None:
        doing = f"switch output {'on' if on else 'off'}"

        def switch() -> None:
            self._line.driver.source_enabled = on

        is_on = send(doing, switch, self.output_is_on, lambda is_on: is_on is on)
        if is_on is not on:
            errors = self._line.drain_errors()
            raise ReadbackError(f"{self.name}: the output would not switch {'on' if on else 'off'}; errors: {errors}")

    def output_is_on(self, channel: str = "output") -> bool:
        """Get whether the output is connected (``OUTP?``)."""
        _check(channel)
        return self._line.ask_agreeing(":OUTP?", parse_switch)

    def measure_current(self, integration_time: float, channel: str = "output") -> Reading:
        """Measure the current (A, up to 105 % of the range), integrating for at most `integration_time` (s).

        The output's state, the five fields of a reading and whether the source is limiting come in one round trip. At
        most 10 and at least 0.01 power line cycles; autozero takes twice as long again.
        """
        _check(channel)
        cycles = self._fitting_cycles(integration_time)
        if cycles != self._cycles:
            self._change_cycles(cycles)
        query, again = (f":OUTP?;:{verb}?;:SENS:CURR:PROT:TRIP?" for verb in ("READ", "FETC"))
        measured = self._line.ask_agreeing(query, self._parse_measurement, again)
        if measured is None:
            self._line.drain_errors()  # the measurement was refused, and left an entry
            raise InstrumentError(f"{self.name}: its output is off; there is no current to measure")
        return measured

    def _parse_measurement(self, reply: str) -> Reading | None:
        """The reading of the current; None with the output off, whatever else is answered then."""
        fields = reply.split(";")
        if fields[0] == "0" and len(fields) in (2, 3):
            return None
        if len(fields) != 3 or fields[0] != "1" or fields[2] not in ("0", "1"):
            raise InstrumentError(f"{self.name}: {reply!r} is no measurement")
        elements = fields[1].split(",")
        if len(elements) != 5:
            raise InstrumentError(f"{self.name}: {fields[1]!r} has not five fields")
        _, current, _, _, status = (parse_reading(e, f"{self.name} current", scientific=True) for e in elements)
        if status.flag != "ok" or not (status.value >= 0 and status.value.is_integer()):
            raise InstrumentError(f"{self.name}: {elements[4]!r} is no status word")
        limiting = int(status.value) & LIMITING or fields[2] == "1"
        return Reading(current.value, "compliance") if limiting and current.flag == "ok" else current

    def refuse_reboot(self) -> None:
        """Raise InstrumentError if it has been switched off and on since it was opened (``*ESR?``)."""
        self._line.refuse_reboot()

    def current_noise(self, integration_time: float, channel: str = "output") -> float:
        """Get the standard deviation (A) of one such reading on the present range; white noise is assumed."""
        _check(channel)
        return CURRENT_NOISE[self._current_range] / math.sqrt(self._fitting_cycles(integration_time))

    def _fitting_cycles(self, integration_time: float) -> float:
        return min(max(integration_time * self._line_frequency, SHORTEST_CYCLES), LONGEST_CYCLES)

    def _change_cycles(self, cycles: float) -> None:
        found = self._line.write_until(
            f"set {cycles:g} NPLC",
            lambda: setattr(self._line.driver, "current_nplc", cycles),
            lambda: self._line.ask_number(":SENS:CURR:NPLC?"),
            lambda found: math.isclose(found, cycles, rel_tol=1e-4),
        )
        if not math.isclose(found, cycles, rel_tol=1e-4):
            errors = self._line.drain_errors()
            raise InstrumentError(f"{self.name}: asked for {cycles:g} NPLC, found {found:g}; errors: {errors}")
        self._line.allow_time(6 * cycles / self._line_frequency)
        self._cycles = cycles

    def close(self) -> None:
        """Let go of the instrument without moving anything. Closing twice does nothing."""
        self._line.close()


def _check(channel: str) -> None:
    if channel not in _CHANNELS:
        raise InstrumentError(f"a 2400 has no channel {channel!r}; it has output")
