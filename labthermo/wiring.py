"""Wiring: which instrument channel is which terminal, knob or reading of the device, and through what.

Values on the device's side are at the sample, in the carriers' sign (for electrons u = -V, physics.md); values on the
instrument's side are what it is told or shows. These lines are the only place where the two meet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from labthermo.channel import Channel
from labthermo.config import InputSection, KnobSection, StationConfig, Via
from labthermo.errors import InstrumentError, LimitError
from labthermo.fluidics import AbsorbanceLine, RateLine
from labthermo.instrument import (
    GateDac,
    Instrument,
    Monitor,
    PlateReader,
    Reading,
    SourceMeter,
    SyringePump,
    VoltageSource,
    Voltmeter,
)
from labthermo.quantity import format_quantity
from labthermo.safety.signals import shielded

WATCH = 5  # watching reads are this many times shorter than the reading that counts


@dataclass(frozen=True)
class ManualElement:
    """A preamplifier or divider with a knob that no program can read; an operator says that it is set as the file says.

    channel: the device's; knob: where it is set; setting: what the station file says, e.g. ``gain 1000``.
    """

    channel: str
    knob: str
    setting: str

    def __str__(self) -> str:
        return f"{self.channel}: {self.setting} ({self.knob})"


def manual_elements(config: StationConfig) -> tuple[ManualElement, ...]:
    """Every element of a station that is set by hand (``manual:`` under ``via``), in the file's order."""
    device = config.device
    sections = {**device.inputs, **device.outputs, **device.nodes, **device.knobs}
    return tuple(
        ManualElement(name, section.via.manual, _setting(section.via))
        for name, section in sections.items()
        if section.via.manual is not None
    )


def _setting(via: Via) -> str:
    words = [f"gain {via.gain:g}"] if via.gain != 1 or via.divider == 1 else []
    words += [f"divider {via.divider:g}"] if via.divider != 1 else []
    words += [f"bandwidth {format_quantity(via.bandwidth, 'Hz')}"] if via.bandwidth else []
    return ", ".join(words)


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
        return self.channel.resolution

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

    def is_on(self) -> bool:
        """Whether the meter's output is connected."""
        with shielded():
            return self.meter.output_is_on(self.port)

    def read(self) -> Reading:
        """The current out of the sample into the lead, A, in the carriers' sign (the meter counts the other way)."""
        with shielded():
            reading = self.meter.measure_current(self.integration, self.port)
        return Reading(-reading.value * self.sign, reading.flag)

    def sigma(self) -> float:
        """Standard deviation of one reading by the data sheet, A."""
        with shielded():
            return self.meter.current_noise(self.integration, self.port)


@dataclass(frozen=True)
class VoltageLine:
    """A reservoir, the amplifier on it, and the voltmeter behind. scale: instrument volts per device volt."""

    channel: Channel
    meter: Voltmeter
    scale: float
    offset: float
    overload: float
    integration: float

    @property
    def watching(self) -> float:
        """Integration time of a reading that only watches it settle, s."""
        return self.integration / WATCH

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
        with shielded():
            return self.meter.voltage_noise(integration) / abs(self.scale)


@dataclass(frozen=True)
class MonitorLine:
    """What is watched about the sample. low, high: the limits that trip the interlock, in `unit`."""

    name: str
    monitor: Monitor
    port: str
    unit: str
    low: float
    high: float

    @property
    def limits(self) -> str:
        """What is allowed, in words; empty where everything is."""
        ends = (("at least", self.low), ("at most", self.high))
        return " and ".join(f"{word} {format_quantity(end, self.unit)}" for word, end in ends if math.isfinite(end))

    def read(self) -> Reading:
        """One reading, in `unit`."""
        with shielded():
            return self.monitor.read_monitor(self.port)


@dataclass(frozen=True)
class Wiring:
    """All lines of a station, in the device's order."""

    inputs: tuple[SourceLine | RateLine, ...]
    knobs: tuple[SourceLine | RateLine, ...]
    outputs: tuple[VoltageLine | AbsorbanceLine, ...]
    nodes: tuple[VoltageLine | LeadLine, ...]
    monitors: tuple[MonitorLine, ...] = ()

    @property
    def leads(self) -> tuple[LeadLine, ...]:
        """The nodes that are leads."""
        return tuple(line for line in self.nodes if isinstance(line, LeadLine))

    @property
    def channels(self) -> tuple[Channel, ...]:
        """Their channels, in the same order; those of sources with their resolution."""
        return tuple(line.channel for line in (*self.inputs, *self.knobs, *self.outputs, *self.nodes))


def connect(
    config: StationConfig, channels: tuple[Channel, ...], instruments: dict[str, Instrument], sign: float
) -> Wiring:
    """The lines of a station over its open instruments. sign: -1 for electrons.

    Raises
    ------
    StationFileError: an instrument cannot do what the wiring asks of it, has no such channel, cannot reach the
        channel's limits, or takes steps too coarse for its `max_step`.
    """
    by_name = {c.name: c for c in channels}
    device = config.device

    def source(kind: str, name: str, via: Via) -> SourceLine:
        of = getattr(device, kind)[name].of
        instrument = instruments[of.instrument]
        if not isinstance(instrument, VoltageSource) or of.channel not in instrument.source_channels():
            raise config.error(("device", kind, name, "of"), f"{of.instrument} has no source {of.channel!r}")
        flip = sign if kind == "inputs" else 1.0
        scale, offset = via.scale * flip, via.offset * flip
        with shielded():
            resolution = abs(scale) * instrument.voltage_resolution(of.channel)
            span = instrument.voltage_span(of.channel)
        channel = replace(by_name[name], resolution=resolution)
        where = ("device", "limits", device.limits.pattern_for(name) or name)
        if channel.max_step < 2.0 * resolution:
            what = f"is less than two steps of {of.port}, which are {format_quantity(resolution, 'V')} at {name!r}"
            raise config.error((*where, "max_step"), what)
        for key, value in (("min", channel.minimum), ("max", channel.maximum)):
            needed = (value - offset) / scale
            if not span[0] <= needed <= span[1]:
                low, high = (format_quantity(volts, "V") for volts in span)
                what = f"needs {format_quantity(needed, 'V')} of {of.port} for {name!r}, which gives {low} to {high}"
                raise config.error((*where, key), what)
        return SourceLine(channel, instrument, of.channel, scale, offset)

    def rate(kind: str, name: str) -> RateLine:
        of = getattr(device, kind)[name].of
        pump, channel = instruments[of.instrument], by_name[name]
        if not isinstance(pump, SyringePump) or of.channel != "output":
            raise config.error(
                ("device", kind, name, "of"), f"{of.instrument} is not a pump with a channel {of.channel!r}"
            )
        where = ("device", "limits", device.limits.pattern_for(name) or name)
        if channel.minimum < 0.0:
            raise config.error((*where, "min"), f"{of.port} pumps one way; write 0 L/s or more")
        with shielded():
            pumping = pump.rate() > 0.0
            try:
                pump.prepare_rate_range(channel.maximum)
            except LimitError as error:
                raise config.error((*where, "max"), f"cannot be had for {name!r}: {error}") from None
            except InstrumentError:
                if not pumping:  # found pumping in another range, it stays there until it has been stopped
                    raise
            low, high = pump.rate_span()
            resolution = pump.rate_resolution()
        for key, value in (("min", channel.minimum), ("max", channel.maximum)):
            if value > 0.0 and not low <= value <= high:
                span = " to ".join(format_quantity(end, "L/s") for end in (low, high))
                asked = format_quantity(value, "L/s")
                raise config.error((*where, key), f"{asked} is asked of {of.port} for {name!r}, which gives {span}")
        if channel.max_step < 2.0 * resolution:
            what = f"is less than two steps of {of.port}, which are {format_quantity(resolution, 'L/s')} at {name!r}"
            raise config.error((*where, "max_step"), what)
        return RateLine(replace(channel, resolution=resolution), pump, of.channel)

    def settable(kind: str, name: str, section: InputSection | KnobSection) -> SourceLine | RateLine:
        return rate(kind, name) if section.of.quantity == "rate" else source(kind, name, section.via)

    def output(name: str) -> VoltageLine | AbsorbanceLine:
        section = device.outputs[name]
        if section.light is None:
            return voltage("outputs", name)
        reader = instruments[section.of.instrument]
        if not isinstance(reader, PlateReader) or section.of.channel not in reader.wells():
            what = f"{section.of.instrument} is not a plate reader with a well {section.of.channel!r}"
            raise config.error(("device", "outputs", name, "of"), what)
        light = section.light
        return AbsorbanceLine(by_name[name], reader, section.of.channel, light.wavelength, section.integration)

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
        if not isinstance(instrument, SourceMeter) or section.of.channel not in instrument.source_channels():
            what = f"{section.of.instrument} is not a source meter with a channel {section.of.channel!r}"
            raise config.error(("device", "nodes", name, "of"), what)
        assert section.compliance is not None, "load_station() refuses a current without one"
        return LeadLine(by_name[name], instrument, section.of.channel, section.compliance, section.integration, sign)

    def monitor(name: str) -> MonitorLine:
        section, where = device.monitors[name], ("device", "monitors", name)
        of, _, port = section.of.partition(".")
        instrument = instruments[of]
        if not isinstance(instrument, Monitor) or port not in instrument.monitor_channels():
            raise config.error((*where, "of"), f"{of} is no monitor with a channel {port!r}")
        unit = instrument.monitor_unit(port)
        for key in ("min", "max"):
            written = getattr(getattr(section, key), "unit", "")
            if written not in ("", unit):
                raise config.error((*where, key), f"is in {written}, but {section.of} is read in {unit}")
        low = -math.inf if section.min is None else float(section.min)
        return MonitorLine(
            name, instrument, port, unit, low, math.inf if section.max is None else float(section.max)
        )  # fmt: skip

    leakage = device.limits.leakage
    if leakage is not None and not isinstance(instruments[leakage.of], GateDac):
        raise config.error(("device", "limits", "leakage", "of"), f"{leakage.of} cannot measure its own leakage")
    return Wiring(
        inputs=tuple(settable("inputs", name, section) for name, section in device.inputs.items()),
        knobs=tuple(settable("knobs", name, section) for name, section in device.knobs.items()),
        outputs=tuple(output(name) for name in device.outputs),
        nodes=tuple(node(name) for name in device.nodes),
        monitors=tuple(monitor(name) for name in device.monitors),
    )
