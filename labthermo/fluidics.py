"""The lines of a flow bench: which pump is which rate of the device, and which photometer reads which vessel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from labthermo.channel import Channel
from labthermo.config import StationConfig
from labthermo.instrument import PlateReader, Reading, SyringePump
from labthermo.safety.signals import shielded


def refuse_refilled_transfers(config: StationConfig, network: Any) -> None:
    """A pump that passes on what is in a vessel would fill its syringe from there, and not from a bottle.

    network: of the device file, with `processes` (flows have first, second and a rate's `parameter`) and `reservoirs`.

    Raises
    ------
    StationFileError: such a pump has the option `refill_rate`.
    """
    vessels = {node.partition(".")[0] for node in network.reservoirs}
    for name, section in {**config.device.inputs, **config.device.knobs}.items():
        if not config.instruments[section.of.instrument].options.get("refill_rate"):
            continue
        knob = getattr(section, "at", "") or name
        for process in network.processes:
            weights = getattr(getattr(process, "parameter", None), "weights", {})
            if knob in weights and process.first in vessels:
                raise config.error(
                    ("instruments", section.of.instrument, "options"),
                    f"refill_rate: {name} pumps out of {process.first}, and would empty it to fill its syringe; "
                    "only a pump that draws from a bottle can be refilled",
                )


@dataclass(frozen=True)
class RateLine:
    """An input or knob that is a pump's rate, L/s. Only :class:`labthermo.safety.guard.Guard` writes to it."""

    channel: Channel
    source: SyringePump
    port: str

    @property
    def resolution(self) -> float:
        """Largest distance between two rates that the pump can give, L/s."""
        return self.channel.resolution

    def read_back(self) -> float:
        """The rate at which it pumps, L/s."""
        with shielded():
            return self.source.rate()

    def write(self, value: float) -> None:
        """Let it pump at `value`, L/s. Between rest and its lowest rate it can do nothing: the nearer of the two.

        A ramp may pass there; what is to stay there reads back as something else, which Guard complains about.
        """
        lowest = self.source.rate_span()[0]
        if value < lowest:
            value = lowest if value > 0.5 * lowest else 0.0
        with shielded():
            self.source.set_rate(value)


@dataclass(frozen=True)
class AbsorbanceLine:
    """An output that a photometer reads, OD. integration: s, of a reading, as the station file has it."""

    channel: Channel
    meter: PlateReader
    well: str
    wavelength: float
    integration: float

    @property
    def watching(self) -> float:
        """Integration time of a reading that only watches it settle, s: a plate reader has one kind of reading."""
        return self.integration

    def prepare(self) -> None:
        """There is no range to choose."""

    def read(self, integration: float) -> Reading:
        """The absorbance, OD; ``overflow`` where it is saturated, ``invalid`` with the lid open or no cuvette there."""
        with shielded():
            reading = self.meter.measure_absorbance([self.well], self.wavelength)[self.well]
        return reading if reading.flag == "ok" else Reading(math.nan, reading.flag)

    def meter_sigma(self, integration: float) -> float:
        """Standard deviation of one reading by the data sheet, OD."""
        return self.meter.absorbance_noise()
