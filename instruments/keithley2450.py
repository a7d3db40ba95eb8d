"""Keithley 2450 SourceMeter, as a voltage source that measures current.

Over `qcodes.instrument_drivers.Keithley.Keithley2450`, unmodified. Readings are asked directly: the driver's `current`
asks whether the output is on in a round trip of its own and takes a truncated number for a number. Its level and limit
have no validators, so both are read back here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from instruments.transport import Line, check_span, nearest, parse_reading, parse_switch, qcodes_driver
from labthermo.errors import ComplianceError, InstrumentError, ReadbackError
from labthermo.instrument import Reading

if TYPE_CHECKING:
    from qcodes.instrument_drivers.Keithley import Keithley2450 as Driver

OVERRANGE = 1.05
LONGEST_CYCLES, SHORTEST_CYCLES = 10.0, 0.01  # reference manual; the driver would also send 0.001
LIMIT_TOLERANCE = 0.01

# range (V): source resolution (V). Data sheet SPEC-2450 Rev. A, page 2.
SOURCE_RESOLUTION = {0.02: 500e-9, 0.2: 5e-6, 2.0: 50e-6, 20.0: 500e-6, 200.0: 5e-3}
# range (A): RMS noise (A). The same page, which has it for sourcing below 10 Hz; taken for a reading of one cycle.
CURRENT_NOISE = {
    10e-9: 500e-15,
    100e-9: 500e-15,
    1e-6: 5e-12,
    10e-6: 40e-12,
    100e-6: 400e-12,
    1e-3: 5e-9,
    10e-3: 40e-9,
    100e-3: 100e-9,
    1.0: 3e-6,
}
_CHANNELS = ("output",)


class Keithley2450:
    """A :class:`labthermo.instrument.SourceMeter`; its channel is ``output``."""

    measured = frozenset({"current"})

    def __init__(
        self, name: str, address: str, *, timeout: float = 5.0, visa: str = "@py", source_range: float = 0.2
    ) -> None:
        """Open the instrument and read its state; nothing changes.

        `source_range` (V; 20 mV, 200 mV, 2 V, 20 V or 200 V) is taken when the source is first prepared, with the
        output off. If the output is found on, the instrument keeps the range it has.
        """
        from qcodes.instrument_drivers.Keithley import Keithley2450 as Driver

        if source_range not in SOURCE_RESOLUTION:
            raise InstrumentError(f"{name}: a 2450 has no {source_range:g} V source range")
        self.name = name
        self._asked_range = source_range
        self._prepared = False
        self._cycles: float | None = None
        self._line: Line[Driver] = Line(
            name, address, timeout, "2450", qcodes_driver(Driver), visa=visa, compounds=True
        )
        self.identity = self._line.identity
        self.rebooted = self._line.rebooted
        self.incidents = self._line.incidents
        try:
            if "_source_voltage" not in self._line.driver.submodules:  # the driver leaves itself half built
                raise InstrumentError(f"{name} ({address}): is not in its SCPI command set; set it on the front panel")
            self._line_frequency = self._line.ask_number(":SYST:LFR?")
            self._source_range = nearest(self._line.ask_number(":SOUR:VOLT:RANG?"), SOURCE_RESOLUTION)
            self._current_range = nearest(self._line.ask_number(":SENS:CURR:RANG?"), CURRENT_NOISE)
            if self.output_is_on():
                self._adopt()
        except BaseException:
            self.close()
            raise

    def _adopt(self) -> None:
        """Take over an output that is on, if it is in a state that this adapter would have made."""
        state = self._line.ask_agreeing(":SOUR:FUNC?;:SENS:FUNC?;:SOUR:VOLT:RANG:AUTO?;:SENS:CURR:RANG:AUTO?")
        self._prepared = state.replace('"', "") == "VOLT;CURR:DC;0;0"

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
            # High impedance first: in the NORMal off state the instrument clamps the sample to 0 V. The driver has no
            # parameter for it. Source ranges stay fixed: a change with the output on overshoots by up to 250 mV.
            driver = self._line.driver
            driver.write(":OUTP:SMOD HIMP")
            driver.sense_function("current")
            driver.source_function("voltage")
            driver.source.auto_range(False)
            driver.source.range(self._asked_range)
            driver.source.read_back_enabled(False)
            driver.sense.four_wire_measurement(False)
            driver.sense.count(1)

        def found_range() -> float:
            return nearest(self._line.ask_number(":SOUR:VOLT:RANG?"), SOURCE_RESOLUTION)

        self._line.drain_errors()
        self._source_range = self._line.write_until("prepare", prepare, found_range, lambda _: False)
        errors = self._line.drain_errors()
        off_state = self._line.ask_agreeing(":OUTP:SMOD?").strip()
        if errors or self._source_range != self._asked_range or not off_state.startswith("HIMP"):
            raise InstrumentError(
                f"{self.name}: could not be prepared: range {self._source_range:g} V, off state {off_state}, {errors}"
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
            lambda: self._line.driver.source.voltage(voltage),
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
        """Get the smallest step (V) on the source range, 500 nV .. 5 mV."""
        _check(channel)
        return SOURCE_RESOLUTION[self._source_range if self._prepared else self._asked_range]

    def set_compliance(self, current: float, channel: str = "output") -> None:
        """Set the current limit (A, 1 nA .. 1.05 A) with ``SOUR:VOLT:ILIM``; read back within 1 %."""
        self._prepare()
        self._line.drain_errors()
        got = self._line.set(
            f"set a limit of {current:g} A",
            lambda: self._line.driver.source.limit(current),
            self.compliance,
            lambda got: math.isclose(got, current, rel_tol=LIMIT_TOLERANCE),
        )
        errors = self._line.drain_errors()
        if errors or not math.isclose(got, current, rel_tol=LIMIT_TOLERANCE):
            raise ComplianceError(
                f"{self.name}: asked for a limit of {current:g} A, has {got:g} A; errors: {errors}. "
                "A limit must be more than 0.1 % of the current measuring range: prepare that first."
            )

    def compliance(self, channel: str = "output") -> float:
        """Get the current limit (A) in force, from ``SOUR:VOLT:ILIM?``."""
        return self._line.ask_number(":SOUR:VOLT:ILIM?")

    def prepare_current_range(self, current: float, channel: str = "output") -> None:
        """Set the smallest current measuring range that holds `current` (A, up to 1 A). Only with the output off."""
        scale = next((scale for scale in CURRENT_NOISE if abs(current) <= scale), None)
        if scale is None:
            raise InstrumentError(f"{self.name}: no range holds {current:g} A; the highest is 1 A")
        if self.output_is_on():
            raise InstrumentError(f"{self.name}: the current range changes only with the output off")
        self._prepare()

        def choose() -> None:
            self._line.driver.sense.auto_range(False)
            self._line.driver.sense.range(scale)

        def found_range() -> float:
            return nearest(self._line.ask_number(":SENS:CURR:RANG?"), CURRENT_NOISE)

        self._line.drain_errors()
        found = self._line.write_until(
            f"choose the {scale:g} A range", choose, found_range, lambda found: found == scale
        )
        errors = self._line.drain_errors()
        if errors or found != scale:
            raise InstrumentError(f"{self.name}: asked for the {scale:g} A range, has {found:g} A; errors: {errors}")
        self._current_range = scale

    def output_on(self, channel: str = "output") -> None:
        """Connect the output (``OUTP ON``), as a voltage source at its programmed voltage."""
        self._prepare()
        self._switch(True, self._line.set)

    def output_off(self, channel: str = "output") -> None:
        """Disconnect the output, to high impedance (``OUTP:SMOD HIMP``, ``OUTP OFF``), whatever state it is in."""
        self._line.write(":OUTP:SMOD HIMP")  # without it the instrument clamps to 0 V instead of letting go
        self._switch(False, self._line.write_until)

    def _switch(self, on: bool, send: Callable[..., bool]) -> None:
        doing = f"switch output {'on' if on else 'off'}"
        is_on = send(doing, lambda: self._line.driver.output_enabled(on), self.output_is_on, lambda is_on: is_on is on)
        if is_on is not on:
            errors = self._line.drain_errors()
            raise ReadbackError(f"{self.name}: the output would not switch {'on' if on else 'off'}; errors: {errors}")

    def output_is_on(self, channel: str = "output") -> bool:
        """Get whether the output is connected (``OUTP?``)."""
        return self._line.ask_agreeing(":OUTP?", parse_switch)

    def measure_current(self, integration_time: float, channel: str = "output") -> Reading:
        """Measure the current (A, up to 105 % of the range), integrating for at most `integration_time` (s).

        The output's state, the reading and whether the source is limiting come in one round trip. At most 10 and at
        least 0.01 power line cycles.
        """
        cycles = self._fitting_cycles(integration_time)
        if cycles != self._cycles:
            self._change_cycles(cycles)
        query, again = (f":OUTP?;:{verb}? 'defbuffer1';:SOUR:VOLT:ILIM:TRIP?" for verb in ("MEAS", "FETC"))
        measured = self._line.ask_agreeing(query, self._parse_measurement, again)
        if measured is None:
            self._line.drain_errors()  # the measurement was refused, and left an entry
            raise InstrumentError(f"{self.name}: its output is off; there is no current to measure")
        reading, limiting = measured
        return Reading(reading.value, "compliance") if limiting and reading.flag == "ok" else reading

    def _parse_measurement(self, reply: str) -> tuple[Reading, bool] | None:
        """The reading, and whether the source is limiting; None with the output off, whatever else is answered then.

        (At high impedance ``MEAS?`` answers nothing, while ``FETC?`` still has the last reading in the buffer.)
        """
        fields = reply.split(";")
        if fields[0] == "0" and len(fields) in (1, 2, 3):
            return None
        if len(fields) != 3 or fields[0] != "1" or fields[2] not in ("0", "1"):
            raise InstrumentError(f"{self.name}: {reply!r} is no measurement")
        return parse_reading(fields[1], f"{self.name} current", scientific=True), fields[2] == "1"

    def refuse_reboot(self) -> None:
        """Raise InstrumentError if it has been switched off and on since it was opened (``*ESR?``)."""
        self._line.refuse_reboot()

    def current_noise(self, integration_time: float, channel: str = "output") -> float:
        """Get the standard deviation (A) of one such reading on the present range; white noise is assumed."""
        return CURRENT_NOISE[self._current_range] / math.sqrt(self._fitting_cycles(integration_time))

    def _fitting_cycles(self, integration_time: float) -> float:
        return min(max(integration_time * self._line_frequency, SHORTEST_CYCLES), LONGEST_CYCLES)

    def _change_cycles(self, cycles: float) -> None:
        found = self._line.write_until(
            f"set {cycles:g} NPLC",
            lambda: self._line.write(f":SENS:CURR:NPLC {cycles:g}"),
            lambda: self._line.ask_number(":SENS:CURR:NPLC?"),
            lambda found: math.isclose(found, cycles, rel_tol=1e-4),
        )
        if not math.isclose(found, cycles, rel_tol=1e-4):
            errors = self._line.drain_errors()
            raise InstrumentError(f"{self.name}: asked for {cycles:g} NPLC, found {found:g}; errors: {errors}")
        self._line.allow_time(4 * cycles / self._line_frequency)
        self._cycles = cycles

    def close(self) -> None:
        """Let go of the instrument without moving anything. Closing twice does nothing."""
        self._line.close()


def _check(channel: str) -> None:
    if channel not in _CHANNELS:
        raise InstrumentError(f"a 2450 has no channel {channel!r}; it has output")
