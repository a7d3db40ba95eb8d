"""Keithley 2614B and 2636B System SourceMeters: two channels, each a voltage source that measures current, over TSP.

Over `qcodes.instrument_drivers.Keithley.Keithley2614B` and `Keithley2636B`, unmodified. Readings are asked directly:
the driver's `curr` takes a truncated number for a number, and asks neither whether the output is on nor, at the same
moment, whether it is limited. Ranges and limits are sent directly, too: the driver's table of the 2636B has 10 uA where
10 mA belongs, and no 100 pA range. Commands: Series 2600B Reference Manual 2600BS-901-01, section 9; see
:mod:`simulators.wire.keithley2600` for what of it was checked.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from instruments.transport import Line, check_span, nearest, parse_number, parse_reading, qcodes_driver
from labthermo.errors import ComplianceError, InstrumentError, ReadbackError
from labthermo.instrument import Reading

if TYPE_CHECKING:
    from qcodes.instrument_drivers.Keithley import Keithley2614B as Driver

_T = TypeVar("_T")

OVERRANGE = 1.01
LONGEST_CYCLES, SHORTEST_CYCLES = 25.0, 0.001
LIMIT_TOLERANCE = 1e-4  # of a number printed with 8 digits
NEXT_ERROR = 'print(string.format("%d,%s", errorqueue.next()))'

# range (V): source resolution (V); data sheet of the series
SOURCE_RESOLUTION = {0.2: 5e-6, 2.0: 50e-6, 20.0: 500e-6, 200.0: 5e-3}
# range (A): RMS noise (A), a sixth of the data sheet's peak to peak from 0.1 to 10 Hz, which it has for sourcing (the
# 100 pA range is for measuring only: a third of its accuracy); taken for a reading of one power line cycle
_HIGH_CURRENT_NOISE = {
    100e-9: 5e-12 / 6,
    1e-6: 25e-12 / 6,
    10e-6: 60e-12 / 6,
    100e-6: 3e-9 / 6,
    1e-3: 6e-9 / 6,
    10e-3: 200e-9 / 6,
    100e-3: 600e-9 / 6,
    1.0: 70e-6 / 6,
    1.5: 150e-6 / 6,
}
CURRENT_NOISE = {
    "2614B": _HIGH_CURRENT_NOISE,
    "2636B": {100e-12: 40e-15, 1e-9: 800e-15 / 6, 10e-9: 2e-12 / 6, **_HIGH_CURRENT_NOISE},
}
_CHANNELS = ("smua", "smub")


@dataclass
class _Channel:
    """What is known of one channel: its ranges (V, A), its power line cycles, and whether its state is our making."""

    source_range: float
    current_range: float
    cycles: float | None = None
    prepared: bool = False


class _Keithley2600(ABC):
    """A :class:`labthermo.instrument.SourceMeter`; its channels are ``smua`` and ``smub``."""

    measured = frozenset({"current"})
    _model: ClassVar[str]

    def __init__(
        self, name: str, address: str, *, timeout: float = 5.0, visa: str = "@py", source_range: float = 0.2
    ) -> None:
        """Open the instrument and read its state; nothing changes.

        `source_range` (V; 200 mV, 2 V, 20 V or 200 V) is taken when a channel is first prepared, with its output off.
        A channel whose output is found on keeps the range it has.
        """
        from qcodes.instrument_drivers import Keithley as drivers

        if source_range not in SOURCE_RESOLUTION:
            raise InstrumentError(f"{name}: a {self._model} has no {source_range:g} V source range")
        self.name = name
        self._asked_range = source_range
        self._noise = CURRENT_NOISE[self._model]
        self._questions = itertools.count()
        make: Any = qcodes_driver(getattr(drivers, f"Keithley{self._model}"))
        self._line: Line[Driver] = Line(name, address, timeout, self._model, make, visa=visa)
        self.identity = self._line.identity
        self.rebooted = self._line.rebooted
        self.incidents = self._line.incidents
        try:
            (self._line_frequency,) = self._ask("localnode.linefreq")
            self._channels = {channel: self._look_at(channel) for channel in _CHANNELS}
        except BaseException:
            self.close()
            raise

    def _look_at(self, channel: str) -> _Channel:
        """A channel as it is found; one that is on is taken over if this adapter would have made it so."""
        keys = ("source.rangev", "measure.rangei", "source.output", "source.func", "source.autorangev")
        state = self._ask(*(f"{channel}.{key}" for key in (*keys, "measure.autorangei", "sense", "source.offmode")))
        found = _Channel(nearest(state[0], SOURCE_RESOLUTION), nearest(state[1], self._noise))
        found.prepared = state[2:] == (1, 1, 0, 0, 0, 2)
        return found

    def _prepare(self, channel: str) -> None:
        """Source volts, measure amps, no autorange anywhere, high impedance when off; only while the output is off."""
        state = self._find(channel)
        if state.prepared:
            return
        if self.output_is_on(channel):
            raise InstrumentError(
                f"{self.name}.{channel}: its output is on, but not as a fixed-range voltage source that measures "
                "current and lets go when it is off; look at it, and switch it off by hand"
            )

        def prepare() -> None:
            # High impedance first: in the NORMAL off state the instrument clamps the sample to 0 V. Source ranges stay
            # fixed, since a change with the output on overshoots. None of this moves anything while the output is off.
            self._line.write(f"{channel}.source.offmode={channel}.OUTPUT_HIGH_Z")
            unit = self._driver_of(channel)
            unit.mode("voltage")
            unit.sourcerange_v(self._asked_range)
            unit.measure_autorange_i_enabled(False)
            unit.four_wire_measurement(False)
            settings = ("measure.count=1", "measure.filter.enable=0", "measure.rel.enablei=0", "source.limitp=0")
            extra = ("source.highc=0", "source.delay=0")
            self._line.write(" ".join(f"{channel}.{setting}" for setting in (*settings, *extra)))
            self._line.write("format.asciiprecision=8")

        self._drain_errors()
        found = self._line.write_until("prepare", prepare, lambda: self._look_at(channel), lambda _: False)
        (off_state,) = self._ask(f"{channel}.source.offmode")
        errors = self._drain_errors()
        if errors or found.source_range != self._asked_range or off_state != 2:
            raise InstrumentError(
                f"{self.name}.{channel}: could not be prepared: range {found.source_range:g} V, off state "
                f"{off_state:g}, {errors}"
            )
        found.prepared = True
        self._channels[channel] = found

    def source_channels(self) -> tuple[str, ...]:
        """Get the names of the channels, ``smua`` and ``smub``."""
        return _CHANNELS

    def set_voltage(self, channel: str, voltage: float) -> None:
        """Set `channel` to `voltage` (V) within its span; done when ``source.levelv`` reads it back."""
        check_span(voltage, self.voltage_span(channel), f"{self.name}.{channel}")
        self._prepare(channel)
        self._line.set_voltage(
            f"{self.name}.{channel}",
            voltage,
            lambda: self._driver_of(channel).volt(voltage),
            lambda: self.voltage(channel),
            self.voltage_resolution(channel),
            self._drain_errors,
        )

    def voltage(self, channel: str) -> float:
        """Get the programmed voltage (V), from ``source.levelv``; with the output off it is not at the terminals."""
        self._find(channel)
        return self._ask(f"{channel}.source.levelv")[0]

    def voltage_span(self, channel: str) -> tuple[float, float]:
        """Get the lowest and highest voltage (V): +-101 % of the source range."""
        scale = self._range_of(channel) * OVERRANGE
        return -scale, scale

    def voltage_resolution(self, channel: str) -> float:
        """Get the smallest step (V) on the source range, 5 uV .. 5 mV."""
        return SOURCE_RESOLUTION[self._range_of(channel)]

    def set_compliance(self, current: float, channel: str = "smua") -> None:
        """Set the current limit (A, 10 nA .. 1.5 A; a 2636B from 100 pA) with ``source.limiti``; read back."""
        if not (math.isfinite(current) and current > 0):
            raise ComplianceError(f"{self.name}.{channel}: a limit of {current:g} A is none; nothing was set")
        self._prepare(channel)
        self._drain_errors()
        got = self._line.set(
            f"set a limit of {current:g} A",
            lambda: self._line.write(f"{channel}.source.limiti={current:.8e}"),
            lambda: self.compliance(channel),
            lambda got: math.isclose(got, current, rel_tol=LIMIT_TOLERANCE),
        )
        errors = self._drain_errors()
        if errors or not math.isclose(got, current, rel_tol=LIMIT_TOLERANCE):
            raise ComplianceError(
                f"{self.name}.{channel}: asked for a limit of {current:g} A, has {got:g} A; errors: {errors}"
            )

    def compliance(self, channel: str = "smua") -> float:
        """Get the current limit (A) in force, from ``source.limiti``."""
        self._find(channel)
        return self._ask(f"{channel}.source.limiti")[0]

    def prepare_current_range(self, current: float, channel: str = "smua") -> None:
        """Set the smallest current measuring range that holds `current` (A, up to 1.5 A). Only with the output off."""
        self._find(channel)
        scale = next((scale for scale in self._noise if abs(current) <= scale), None)
        if scale is None:
            raise InstrumentError(f"{self.name}.{channel}: no range holds {current:g} A; the highest is 1.5 A")
        if self.output_is_on(channel):
            raise InstrumentError(f"{self.name}.{channel}: the current range changes only with the output off")
        self._prepare(channel)
        self._drain_errors()
        found = self._line.write_until(
            f"choose the {scale:g} A range",
            lambda: self._line.write(f"{channel}.measure.rangei={scale:g}"),
            lambda: nearest(self._ask(f"{channel}.measure.rangei")[0], self._noise),
            lambda found: found == scale,
        )
        errors = self._drain_errors()
        if errors or found != scale:
            raise InstrumentError(
                f"{self.name}.{channel}: asked for the {scale:g} A range, has {found:g} A; errors: {errors}"
            )
        self._channels[channel].current_range = scale

    def output_on(self, channel: str = "smua") -> None:
        """Connect the output (``source.output``), as a voltage source at its programmed voltage."""
        self._prepare(channel)
        self._switch(channel, True, self._line.set)

    def output_off(self, channel: str = "smua") -> None:
        """Disconnect the output, to high impedance, whatever state it is in."""
        self._find(channel)
        # without it the instrument clamps to 0 V instead of letting go
        self._line.write(f"{channel}.source.offmode={channel}.OUTPUT_HIGH_Z")
        self._switch(channel, False, self._line.write_until)

    def _switch(self, channel: str, on: bool, send: Callable[..., bool]) -> None:
        is_on = send(
            f"switch {channel} {'on' if on else 'off'}",
            lambda: self._driver_of(channel).output(on),
            lambda: self.output_is_on(channel),
            lambda is_on: is_on is on,
        )
        if is_on is not on:
            errors = self._drain_errors()
            raise ReadbackError(
                f"{self.name}.{channel}: the output would not switch {'on' if on else 'off'}; errors: {errors}"
            )

    def output_is_on(self, channel: str = "smua") -> bool:
        """Get whether the output is connected (``source.output``)."""
        self._find(channel)
        return self._ask_fields(f"{channel}.source.output", parse=_switch)

    def measure_current(self, integration_time: float, channel: str = "smua") -> Reading:
        """Measure the current (A, up to 102 % of the range), integrating for at most `integration_time` (s).

        The output's state, the reading and whether the source is limited come in one round trip.
        At most 25 and at least 0.001 power line cycles.
        """
        cycles = self._fitting_cycles(integration_time)
        if cycles != self._find(channel).cycles:
            self._change_cycles(channel, cycles)
        values = (f"{channel}.source.output", f"{channel}.measure.i()", f"{channel}.source.compliance")
        is_on, reading, limiting = self._ask_fields(*values, parse=self._parse_measurement)
        if not is_on:
            raise InstrumentError(f"{self.name}.{channel}: its output is off; there is no current to measure")
        return Reading(reading.value, "compliance") if limiting and reading.flag == "ok" else reading

    def _parse_measurement(self, fields: list[str]) -> tuple[bool, Reading, bool]:
        """Whether the output is on, the reading, and whether the source is limited."""
        if fields[2] not in ("true", "false"):
            raise InstrumentError(f"{self.name}: {fields[2]!r} is neither true nor false")
        reading = parse_reading(fields[1], f"{self.name} current", scientific=True)
        return _switch(fields[:1]), reading, fields[2] == "true"

    def refuse_reboot(self) -> None:
        """Raise InstrumentError if it has been switched off and on since it was opened (``*ESR?``)."""
        self._line.refuse_reboot()

    def current_noise(self, integration_time: float, channel: str = "smua") -> float:
        """Get the standard deviation (A) of one such reading on the present range; white noise is assumed."""
        return self._noise[self._find(channel).current_range] / math.sqrt(self._fitting_cycles(integration_time))

    def close(self) -> None:
        """Let go of the instrument without moving anything. Closing twice does nothing."""
        self._line.close()

    def _fitting_cycles(self, integration_time: float) -> float:
        return min(max(integration_time * self._line_frequency, SHORTEST_CYCLES), LONGEST_CYCLES)

    def _change_cycles(self, channel: str, cycles: float) -> None:
        found = self._line.write_until(
            f"set {cycles:g} NPLC",
            lambda: self._line.write(f"{channel}.measure.nplc={cycles:.6g}"),
            lambda: self._ask(f"{channel}.measure.nplc")[0],
            lambda found: math.isclose(found, cycles, rel_tol=1e-4),
        )
        if not math.isclose(found, cycles, rel_tol=1e-4):
            errors = self._drain_errors()
            raise InstrumentError(
                f"{self.name}.{channel}: asked for {cycles:g} NPLC, found {found:g}; errors: {errors}"
            )
        self._channels[channel].cycles = cycles
        longest = max(each.cycles or 0.0 for each in self._channels.values())
        self._line.allow_time(4 * longest / self._line_frequency)

    def _ask(self, *expressions: str) -> tuple[float, ...]:
        """The values of numeric expressions."""

        def number(field: str) -> float:
            return parse_number(field, self.name, scientific=True)

        return tuple(map(number, self._ask_fields(*expressions)))

    def _ask_fields(self, *expressions: str, parse: Callable[[list[str]], _T] = list) -> _T:
        """What `parse` makes of the printed values of expressions, all evaluated at one moment.

        One reply has the number of the question and each value twice: a reply to an earlier question is known as such,
        which two replies to two questions are not where both are doubled on the way; and so is a wrong digit.
        """
        number = f"q{next(self._questions)}"
        names = ",".join(f"v{k}" for k in range(len(expressions)))
        query = f'local {names}={",".join(expressions)} print("{number}",{names},{names})'

        def check(reply: str) -> _T:
            asked, *fields = reply.split("\t")
            half = len(expressions)
            if asked != number or len(fields) != 2 * half or fields[:half] != fields[half:]:
                raise InstrumentError(f"{self.name}: {reply!r} does not answer {query!r}")
            return parse(fields[:half])

        return self._line.ask(query, check)

    def _drain_errors(self) -> list[str]:
        return self._line.drain_errors(NEXT_ERROR)

    def _find(self, channel: str) -> _Channel:
        if channel not in _CHANNELS:
            raise InstrumentError(f"{self.name}: a {self._model} has no channel {channel!r}; it has smua and smub")
        return self._channels[channel]

    def _range_of(self, channel: str) -> float:
        state = self._find(channel)
        return state.source_range if state.prepared else self._asked_range

    def _driver_of(self, channel: str) -> Any:
        return self._line.driver.submodules[channel]


class Keithley2614B(_Keithley2600):
    """A :class:`labthermo.instrument.SourceMeter` with the channels ``smua`` and ``smub``."""

    _model = "2614B"


class Keithley2636B(_Keithley2600):
    """A :class:`labthermo.instrument.SourceMeter` with the channels ``smua`` and ``smub``, and ranges from 100 pA."""

    _model = "2636B"


def _switch(fields: list[str]) -> bool:
    """One printed 0 or 1."""
    value = parse_number(fields[0], "source.output", scientific=True)
    if value not in (0.0, 1.0):
        raise InstrumentError(f"source.output is {fields[0]!r}, neither 0 nor 1")
    return value == 1.0
