"""Wiring: which instrument channel is which terminal, knob or reading of the device, and through what.

Values on the device's side are at the sample, in the carriers' sign (for electrons u = -V, physics.md); values on the
instrument's side are what it is told or shows. These lines are the only place where the two meet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from labthermo.channel import Channel
from labthermo.config import StationConfig, Via
from labthermo.errors import StationFileError
from labthermo.instrument import GateDac, Instrument, Reading, SourceMeter, VoltageSource, Voltmeter
from labthermo.safety.signals import shielded


@dataclass(frozen=True)
class SourceLine:
    """A settable channel and the source behind it. scale: device volts per instrument volt; offset: device volts.

    Only :class:`labthermo.safety.guard.Guard` writes to it.
    """

    channel: Channel
    source: VoltageSource
    port: str
    scale: float
    offset: float

    @property
    def resolution(self) -> float:
        """Smallest step at the sample, V."""
        return abs(self.scale) * self.source.voltage_resolution(self.port)

    def read_back(self) -> float:
        """What the instrument is programmed to, V at the sample."""
        with shielded():
            return self.source.voltage(self.port) * self.scale + self.offset

    def write(self, value: float) -> None:
        """Program the instrument so that the sample sees `value`, V."""
        with shielded():
            self.source.set_voltage(self.port, (value - self.offset) / self.scale)


@dataclass(frozen=True)
class LeadLine:
    """A lead that a source meter holds at 0 V and whose current it measures."""

    channel: Channel
    meter: SourceMeter
    port: str
    compliance: float
    integration: float
    sign: float

    def read(self) -> Reading:
        """The current out of the sample into the lead, A, in the carriers' sign (the meter counts the other way)."""
        with shielded():
            reading = self.meter.measure_current(self.integration)
        return Reading(-reading.value * self.sign, reading.flag)

    def sigma(self) -> float:
        """Standard deviation of one reading by the data sheet, A."""
        return self.meter.current_noise(self.integration)


@dataclass(frozen=True)
class VoltageLine:
    """A reservoir, the amplifier on it, and the voltmeter behind. scale: instrument volts per device volt."""

    channel: Channel
    meter: Voltmeter
    scale: float
    offset: float
    overload: float
    integration: float

    def prepare(self) -> None:
        """Choose the meter's range for the amplifier's largest output (1 V where no overload is stated)."""
        with shielded():
            self.meter.prepare_voltage_range(self.overload if math.isfinite(self.overload) else 1.0)

    def read(self, integration: float) -> Reading:
        """The potential, V at the sample in the carriers' sign; ``overflow`` when the amplifier or meter is beyond."""
        with shielded():
            reading = self.meter.measure_voltage(integration)
        if reading.flag == "overflow" or abs(reading.value) >= 0.999 * self.overload:
            return Reading(math.nan, "overflow")
        return Reading(reading.value / self.scale - self.offset, reading.flag)

    def meter_sigma(self, integration: float) -> float:
        """Standard deviation that the meter alone adds to one reading, V at the sample."""
        return self.meter.voltage_noise(integration) / abs(self.scale)


@dataclass(frozen=True)
class Wiring:
    """All lines of a station, in the device's order. leakage: the sources whose own current is watched."""

    inputs: tuple[SourceLine, ...]
    knobs: tuple[SourceLine, ...]
    outputs: tuple[VoltageLine, ...]
    nodes: tuple[VoltageLine | LeadLine, ...]

    @property
    def leads(self) -> tuple[LeadLine, ...]:
        return tuple(line for line in self.nodes if isinstance(line, LeadLine))


def connect(
    config: StationConfig, channels: tuple[Channel, ...], instruments: dict[str, Instrument], sign: float
) -> Wiring:
    """The lines of a station over its open instruments. sign: -1 for electrons.

    Raises
    ------
    StationFileError: an instrument cannot do what the wiring asks of it, or has no such channel.
    """
    by_name = {c.name: c for c in channels}
    device = config.device

    def source(kind: str, name: str, via: Via) -> SourceLine:
        of = getattr(device, kind)[name].of
        instrument = instruments[of.instrument]
        if not isinstance(instrument, VoltageSource) or of.channel not in instrument.source_channels():
            raise config.error(("device", kind, name, "of"), f"{of.instrument} has no source {of.channel!r}")
        flip = sign if kind == "inputs" else 1.0
        return SourceLine(by_name[name], instrument, of.channel, via.scale * flip, via.offset * flip)

    def voltage(kind: str, name: str) -> VoltageLine:
        section = getattr(device, kind)[name]
        instrument = instruments[section.of.instrument]
        if not isinstance(instrument, Voltmeter):
            raise config.error(("device", kind, name, "of"), f"{section.of.instrument} is not a voltmeter")
        via = section.via
        return VoltageLine(
            by_name[name],
            instrument,
            via.scale * sign,
            via.offset * sign,
            via.overload or math.inf,
            section.integration,
        )

    def node(name: str) -> VoltageLine | LeadLine:
        section = device.nodes[name]
        if section.of.quantity == "voltage":
            return voltage("nodes", name)
        instrument = instruments[section.of.instrument]
        if not isinstance(instrument, SourceMeter):
            raise config.error(("device", "nodes", name, "of"), f"{section.of.instrument} is not a source meter")
        if section.compliance is None:
            raise StationFileError(f"{config.path}: device.nodes.{name}: needs a compliance")
        return LeadLine(
            by_name[name], instrument, section.of.channel, section.compliance, section.integration, sign
        )

    leakage = device.limits.leakage
    if leakage is not None and not isinstance(instruments[leakage.of], GateDac):
        raise config.error(("device", "limits", "leakage", "of"), f"{leakage.of} cannot measure its own leakage")
    return Wiring(
        inputs=tuple(source("inputs", name, section.via) for name, section in device.inputs.items()),
        knobs=tuple(source("knobs", name, section.via) for name, section in device.knobs.items()),
        outputs=tuple(voltage("outputs", name) for name in device.outputs),
        nodes=tuple(node(name) for name in device.nodes),
    )
