"""What an adapter must do: one method per physical intent, no toggles.

An adapter is one plain class over a driver that others maintain. It is made by
``Adapter(name, address, **options)``, identifies the instrument when it opens (a mismatch is an
:class:`~labthermo.errors.InstrumentError`), and never moves anything while it opens.
Its setters are called by :class:`labthermo.safety.guard.Guard` and by nobody else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

Flag = Literal["ok", "overflow", "compliance", "invalid"]


@dataclass(frozen=True)
class Identity:
    """The four fields of ``*IDN?`` (IEEE 488.2, section 10.14)."""

    maker: str
    model: str
    serial: str
    firmware: str

    @property
    def simulated(self) -> bool:
        """True for every instrument of a simulated bench: their serial numbers start with ``SIM``."""
        return self.serial.startswith("SIM")


@dataclass(frozen=True)
class Reading:
    """One reading.

    Attributes
    ----------
    value: SI; NaN where `flag` is ``overflow``.
    flag: ``ok``, ``overflow`` (beyond the range), ``compliance`` (the source is limiting) or ``invalid`` (not to be
        trusted: the volume of a pump that has stalled, a reader with its lid open); then the value is NaN.
    """

    value: float
    flag: Flag = "ok"


@runtime_checkable
class Instrument(Protocol):
    """Any instrument.

    `measured` names which of its values are measurements; all others are only what was programmed. `rebooted` says
    whether it had been switched off and on before it was opened. `incidents` holds what went wrong on its line and was
    mended, for the record; whoever records them takes them out.
    """

    name: str
    identity: Identity
    rebooted: bool
    measured: frozenset[str]
    incidents: deque[str]

    def refuse_reboot(self) -> None:
        """Raise InstrumentError if it has been switched off and on since it was opened."""
        ...

    def close(self) -> None:
        """Let go of the instrument without moving anything. Closing twice does nothing."""
        ...


@runtime_checkable
class VoltageSource(Instrument, Protocol):
    """Sources voltages on named channels. A single-channel source calls its channel ``output``."""

    def source_channels(self) -> tuple[str, ...]:
        """Names of the channels that can be set."""
        ...

    def set_voltage(self, channel: str, voltage: float) -> None:
        """Set `channel` to `voltage` (V); done when the instrument has confirmed that it has executed it."""
        ...

    def voltage(self, channel: str) -> float:
        """Get the programmed voltage of `channel` (V), asked from the instrument, never from a cache."""
        ...

    def voltage_span(self, channel: str) -> tuple[float, float]:
        """Get the lowest and highest voltage (V) the channel can give on its present range."""
        ...

    def voltage_resolution(self, channel: str) -> float:
        """Get the smallest step (V) of the channel on its present range."""
        ...


@runtime_checkable
class GateDac(VoltageSource, Protocol):
    """A many-channel voltage source for gates that can measure its own leakage."""

    def measure_leakage(self, channel: str) -> Reading:
        """Measure the current (A) out of `channel`."""
        ...


@runtime_checkable
class SourceMeter(VoltageSource, Protocol):
    """Sources a voltage and measures the current, with compliance and an output relay, on one or more channels."""

    def set_compliance(self, current: float, channel: str = "output") -> None:
        """Set the current limit (A). Refused by the instrument's own range rules: read it back."""
        ...

    def compliance(self, channel: str = "output") -> float:
        """Get the current limit (A) in force."""
        ...

    def prepare_current_range(self, current: float, channel: str = "output") -> None:
        """Choose the smallest current measuring range that holds `current` (A). Only with the output off."""
        ...

    def output_on(self, channel: str = "output") -> None:
        """Connect the output."""
        ...

    def output_off(self, channel: str = "output") -> None:
        """Disconnect the output, to high impedance."""
        ...

    def output_is_on(self, channel: str = "output") -> bool:
        """Get whether the output is connected."""
        ...

    def measure_current(self, integration_time: float, channel: str = "output") -> Reading:
        """Measure the current (A) out of the output, integrating for at most `integration_time` (s)."""
        ...

    def current_noise(self, integration_time: float, channel: str = "output") -> float:
        """Get the standard deviation (A) that the data sheet gives for one such reading."""
        ...


@runtime_checkable
class Voltmeter(Instrument, Protocol):
    """Measures a voltage."""

    def prepare_voltage_range(self, voltage: float) -> None:
        """Choose the smallest range that holds `voltage` (V) and the highest input resistance it has."""
        ...

    def measure_voltage(self, integration_time: float) -> Reading:
        """Measure the voltage (V), integrating for at most `integration_time` (s)."""
        ...

    def voltage_noise(self, integration_time: float) -> float:
        """Get the standard deviation (V) that the data sheet gives for one such reading."""
        ...


TOPPED_UP = 0.01
"""Of a syringe's volume: where no more is missing it counts as full, and no refill is begun."""


@runtime_checkable
class SyringePump(Instrument, Protocol):
    """Pushes a syringe at a rate, one way. Rates and volumes are the pump's own count, never a measurement.

    syringe_volume: L that the syringe holds when full; 0 where it is not to be watched. refill_rate: L/s at which it
    can be filled again from a bottle, through check valves; 0 where nobody fills it.
    """

    syringe_volume: float
    refill_rate: float

    def prepare_rate_range(self, rate: float) -> None:
        """Choose the units that resolve rates up to `rate` (L/s) best. At rest, or where that sets nothing."""
        ...

    def set_rate(self, rate: float) -> None:
        """Set the rate (L/s) at which the syringe empties, 0 to stop; done when it has been read back."""
        ...

    def rate(self) -> float:
        """Get the rate (L/s) at which it pumps now, asked from the pump; 0 at rest, negative while it refills."""
        ...

    def rate_span(self) -> tuple[float, float]:
        """Get the lowest and highest rate (L/s) above 0 that the pump can give with this syringe."""
        ...

    def rate_resolution(self) -> float:
        """Get the largest distance (L/s) between two neighbouring rates within the range chosen."""
        ...

    def home(self, volume: float) -> None:
        """Take the syringe to hold `volume` (L) now, after a refill or a stall; volumes count from here."""
        ...

    def infused_volume(self) -> Reading:
        """Get the volume (L) infused since it was homed; ``invalid`` after a stall or a power failure."""
        ...

    def remaining_volume(self) -> Reading:
        """Get the volume (L) still in the syringe; ``invalid`` as the volume infused is."""
        ...

    def start_refill(self) -> float:
        """Measure what has been pumped out of the full syringe and begin to draw as much; the time (s) it will take.

        Only at rest. It stops by itself, and :meth:`finish_refill` must follow. 0 s where it is full but for TOPPED_UP.
        """
        ...

    def finish_refill(self) -> float:
        """Measure the volume (L) that was drawn and take the syringe to be full, ready to pump out.

        Raises InstrumentError, with the pump stopped and its volumes ``invalid``, where it is not what it should be.
        """
        ...


@runtime_checkable
class Monitor(Instrument, Protocol):
    """Watches temperatures or pressures about the sample, on named channels."""

    def monitor_channels(self) -> tuple[str, ...]:
        """Names of the channels that can be read, e.g. ``a`` .. ``d``."""
        ...

    def monitor_unit(self, channel: str) -> str:
        """Get the unit of `channel`: ``K`` for a temperature, ``Pa`` for a pressure."""
        ...

    def read_monitor(self, channel: str) -> Reading:
        """Measure `channel` (in its unit); ``overflow`` beyond the sensor's range, ``invalid`` without a sensor."""
        ...


@runtime_checkable
class PlateReader(Instrument, Protocol):
    """Measures the absorbance of the wells of a plate."""

    def wells(self) -> tuple[str, ...]:
        """Names of the places that can be read, e.g. ``a1`` .. ``h12``, ``cuvette``."""
        ...

    def measure_absorbance(self, wells: Sequence[str], wavelength: float) -> dict[str, Reading]:
        """Measure the absorbance (OD) of `wells` at `wavelength` (m); ``overflow`` where it is saturated."""
        ...

    def absorbance_noise(self) -> float:
        """Get the standard deviation (OD) that the data sheet gives for one reading."""
        ...

    def measure_temperature(self) -> Reading:
        """Measure the temperature (degrees Celsius) of the chamber."""
        ...

    def open_drawer(self) -> None:
        """Move the plate out. Reading is refused until it is in again."""
        ...

    def close_drawer(self) -> None:
        """Move the plate in."""
        ...
