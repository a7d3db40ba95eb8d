"""What an adapter must do: one method per physical intent, no toggles.

An adapter is one plain class over a driver that others maintain. It is made by
``Adapter(name, address, **options)``, identifies the instrument when it opens (a mismatch is an
:class:`~labthermo.errors.InstrumentError`), and never moves anything while it opens.
Its setters are called by :class:`labthermo.safety.guard.Guard` and by nobody else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

Flag = Literal["ok", "overflow", "compliance"]


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
    flag: ``ok``, ``overflow`` (beyond the range) or ``compliance`` (the source is limiting).
    """

    value: float
    flag: Flag = "ok"


@runtime_checkable
class Instrument(Protocol):
    """Any instrument.

    `measured` names which of its values are measurements; all others are only what was programmed. `rebooted` says
    whether it has been switched off and on since it was last asked.
    """

    name: str
    identity: Identity
    rebooted: bool
    measured: frozenset[str]

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
    """Sources a voltage and measures the current, with compliance and an output relay."""

    def set_compliance(self, current: float) -> None:
        """Set the current limit (A). Refused by the instrument's own range rules: read it back."""
        ...

    def compliance(self) -> float:
        """Get the current limit (A) in force."""
        ...

    def prepare_current_range(self, current: float) -> None:
        """Choose the smallest current measuring range that holds `current` (A). Only with the output off."""
        ...

    def output_on(self) -> None:
        """Connect the output."""
        ...

    def output_off(self) -> None:
        """Disconnect the output, to high impedance."""
        ...

    def output_is_on(self) -> bool:
        """Get whether the output is connected."""
        ...

    def measure_current(self, integration_time: float) -> Reading:
        """Measure the current (A) out of the output, integrating for at most `integration_time` (s)."""
        ...

    def current_noise(self, integration_time: float) -> float:
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
