"""What an instrument on the wire may ask of the world it stands in.

:class:`simulators.bench.Bench` is the one world there is. A *port* is one physical connector of one instrument,
named ``instrument.channel``: ``gates.ch24``, ``drain.output``, ``dmm.input``, ``pump.output``, ``reader.a1``. Values
are at the connector: the world knows what is behind it (dividers, preamplifiers, the device), the personality knows its
own ranges, quantisation, offset and noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Imperfections:
    """Which faults of real instruments the simulation includes; all on unless a check needs them off."""

    noise: bool = True
    offsets: bool = True
    quantisation: bool = True


@dataclass(frozen=True)
class LogEntry:
    """One event at one connector.

    time: s, bench time; port: ``gates.ch01``; channel: the device channel behind it, "" if none; quantity:
    ``voltage``, ``connected``, ``limit`` or ``flow`` (L/s); programmed: as told; actual: at the connector; at_sample:
    behind dividers, in the device's own sign (V; what was programmed for a flow; else equal to `actual`).
    """

    time: float
    port: str
    channel: str
    quantity: str
    programmed: float
    actual: float
    at_sample: float


class World(Protocol):
    """The shared world, as one instrument sees it. Not thread-safe: all servers run on one event loop."""

    imperfections: Imperfections

    def now(self) -> float:
        """Bench time, s."""
        ...

    def wait(self, duration: float) -> None:
        """Let bench time pass, s (virtual benches return at once)."""
        ...

    def random(self, stream: str) -> np.random.Generator:
        """The seeded generator of this name: the same name gives the same object."""
        ...

    def drive(self, port: str, programmed: float, actual: float) -> None:
        """A source now gives `actual` volts at `port`, having been told `programmed`. Logged with its time."""
        ...

    def connect(self, port: str, on: bool) -> None:
        """The output relay of `port` closes (True) or opens to high impedance (False). Logged."""
        ...

    def limit_current(self, port: str, limit: float) -> None:
        """The source at `port` limits to +-`limit` A from now on. Logged."""
        ...

    def measure_voltage(self, port: str, aperture: float) -> float:
        """Let `aperture` seconds of bench time pass; the mean voltage at `port` meanwhile, V."""
        ...

    def measure_current(self, port: str, aperture: float) -> tuple[float, bool]:
        """Let `aperture` seconds pass; mean current out of the source at `port`, A; whether it is limiting."""
        ...

    def pump(self, port: str, programmed: float, actual: float, lasts: float) -> None:
        """`actual` L/s now flow out of the syringe at `port`, for `lasts` s at most, having been told `programmed`.

        Negative is into the syringe. Logged with its time, as is the end of a flow that ends by itself.
        """
        ...

    def temperature(self, port: str) -> float:
        """The temperature where the sensor at `port` sits, K; 0 if none is plugged in. No time passes."""
        ...

    def absorbance(self, port: str, wavelength: float) -> float:
        """The absorbance of what is in the well or cuvette at `port` now, at `wavelength` (m)."""
        ...
