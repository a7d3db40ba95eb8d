"""QDevil QDAC-II: 24 gate voltages, each with a sensor of its own current.

Over `qcodes_contrib_drivers.drivers.QDevil.QDAC2`, unmodified. A voltage is set with ``sourN:volt:mode fix`` and
``sourN:volt v`` and counts as set when the instrument has answered ``sour:volt? (@N,M)`` and, where a slew limit makes
the output lag behind, ``sour:volt:last? (@N,M)`` with the same number.

Its numbers have as many digits as they need, so a truncated one is a number, too; and the same part of a reply may go
missing twice. So another channel M is always asked along: only what is followed by a comma is a whole number.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from instruments.transport import Line, check_span, log, parse_number, parse_reading, qcodes_driver
from labthermo.errors import InstrumentError, ReadbackError
from labthermo.instrument import Reading

if TYPE_CHECKING:
    from qcodes_contrib_drivers.drivers.QDevil.QDAC2 import QDac2

CHANNELS = tuple(f"ch{number:02d}" for number in range(1, 25))
BITS = 25  # resolution over the whole span; maker's hardware page


class Qdac2:
    """A :class:`labthermo.instrument.GateDac`; its channels are ``ch01`` .. ``ch24``."""

    measured = frozenset({"leakage"})

    def __init__(self, name: str, address: str, *, timeout: float = 5.0, visa: str = "@py") -> None:
        """Open the instrument and read its ranges and modes; nothing moves."""
        from qcodes_contrib_drivers.drivers.QDevil.QDAC2 import QDac2

        self.name = name
        self._line: Line[QDac2] = Line(name, address, timeout, "QDAC-II", qcodes_driver(QDac2), visa=visa)
        self.identity = self._line.identity
        self.rebooted = self._line.rebooted
        self.incidents = self._line.incidents
        self._timeout = timeout
        self._leakage_ready: set[str] = set()
        self._spans: dict[str, tuple[float, float]] = {}
        self._slews: dict[str, float] = {}
        try:
            for channel in CHANNELS:
                self._read_state(channel)
        except BaseException:
            self.close()
            raise

    def _read_state(self, channel: str) -> None:
        number = _number(channel)
        span = self._line.ask_agreeing(f"sour{number}:rang?").strip().lower()
        if span not in ("low", "high"):
            raise InstrumentError(f"{self.name}.{channel}: unknown output range {span!r}")
        low, high = (self._line.ask_number(f"sour{number}:rang:{span}:{end}?") for end in ("min", "max"))
        self._spans[channel] = (low, high)
        slew = parse_reading(self._line.ask_agreeing(f"sour{number}:volt:slew?").strip(), f"{self.name}.{channel} slew")
        if slew.flag == "ok" and 0 < slew.value < 2e7:  # the instrument's fastest is 2e7 V/s: as good as none
            self._slews[channel] = slew.value
            log.info("%s.%s: has a slew limit of %g V/s of its own", self.name, channel, slew.value)

    def source_channels(self) -> tuple[str, ...]:
        """Get the names of the channels: ``ch01`` .. ``ch24``."""
        return CHANNELS

    def set_voltage(self, channel: str, voltage: float) -> None:
        """Set `channel` to `voltage` (V) within its span; done when the instrument reads it back (``sour:volt?``)."""
        number = _number(channel)
        check_span(voltage, self.voltage_span(channel), f"{self.name}.{channel}")
        parameter = self._line.driver.channel(number).dc_constant_V
        self._line.set_voltage(
            f"{self.name}.{channel}",
            voltage,
            lambda: parameter.set(voltage),
            lambda: self.voltage(channel),
            self.voltage_resolution(channel),
            lambda: self._line.drain_errors("syst:err?"),
        )
        if channel in self._slews:
            self._wait_for_output(channel, voltage)

    def _wait_for_output(self, channel: str, voltage: float) -> None:
        """Poll ``sourN:volt:last?`` until the output has slewed to `voltage`."""
        low, high = self.voltage_span(channel)
        deadline = time.monotonic() + self._timeout + (high - low) / self._slews[channel]
        while abs(self._ask_followed("sour:volt:last?", channel) - voltage) > self.voltage_resolution(channel):
            if time.monotonic() > deadline:
                raise ReadbackError(f"{self.name}.{channel}: has not arrived at {voltage:g} V in time")
            time.sleep(1e-3)

    def voltage(self, channel: str) -> float:
        """Get the programmed voltage of `channel` (V), from ``sour:volt?``."""
        return self._ask_followed("sour:volt?", channel)

    def _ask_followed(self, query: str, channel: str) -> float:
        number = _number(channel)

        def parse(reply: str) -> float:
            first, comma, _ = reply.partition(",")
            if not comma:
                raise InstrumentError(f"{self.name}.{channel}: the reply {reply!r} is not two numbers")
            return parse_number(first.strip(), f"{self.name}.{channel}")

        return self._line.ask_agreeing(f"{query} (@{number},{1 if number > 1 else 2})", parse)

    def voltage_span(self, channel: str) -> tuple[float, float]:
        """Get the lowest and highest voltage (V) of `channel`: +-2 V or +-10 V, as its range was on opening."""
        _number(channel)
        return self._spans[channel]

    def voltage_resolution(self, channel: str) -> float:
        """Get the smallest step (V) of `channel`: its span over 2**25."""
        low, high = self.voltage_span(channel)
        return (high - low) / 2**BITS

    def measure_leakage(self, channel: str) -> Reading:
        """Measure the current (A) out of `channel` on the 200 nA range, with ``readN?``; 1 power line cycle."""
        number = _number(channel)
        if channel not in self._leakage_ready:
            # The sensor starts on its 10 mA range, which cannot see a gate leak.
            found = self._line.write_until(
                f"choose the low current range of {channel}",
                lambda: self._line.write(f"sens{number}:rang low"),
                lambda: self._line.ask_agreeing(f"sens{number}:rang?").strip().lower(),
                lambda found: found == "low",
            )
            if found != "low":
                raise InstrumentError(f"{self.name}.{channel}: its current range stays {found!r}")
            self._leakage_ready.add(channel)
        # The driver's own parse takes any list of floats, truncated ones too.
        return self._line.ask_agreeing(
            f"read{number}?",
            lambda reply: parse_reading(reply.strip(), f"{self.name}.{channel} leakage"),
            again=f"fetc{number}?",
        )

    def refuse_reboot(self) -> None:
        """Raise InstrumentError if it has been switched off and on since it was opened (``*ESR?``)."""
        self._line.refuse_reboot()

    def close(self) -> None:
        """Let go of the instrument without moving anything. Closing twice does nothing."""
        self._line.close()


def _number(channel: str) -> int:
    if channel not in CHANNELS:
        raise InstrumentError(f"a QDAC-II has no channel {channel!r}; it has ch01 .. ch24")
    return int(channel[2:])
