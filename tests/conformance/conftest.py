"""One station with every registered driver, on one bench that keeps every message it gets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from labthermo import plugins
from labthermo.config import StationConfig, load_station
from simulators.bench import WireTwin, build_wire_twin

EXAMPLE = Path(__file__).parents[2] / "examples" / "sine"
WIRED = {"qdac2": "gates", "keysight34465a": "dmm", "keithley2450": "drain"}
"""Drivers that the sine example has already, and under which names."""


def every_driver() -> list[str]:
    """All names in the entry-point group that come with labthermo itself."""
    points = plugins.entry_points(group="labthermo.instruments")
    return sorted({p.name for p in points if p.module.startswith("instruments.")})


@dataclass
class Bench:
    """The bench, and what each instrument was sent."""

    config: StationConfig
    twin: WireTwin
    messages: dict[str, list[bytes]] = field(default_factory=dict)

    def name_of(self, driver: str) -> str:
        """What the instrument of this driver is called."""
        return WIRED.get(driver, driver)

    def open(self, driver: str) -> Any:
        """Its adapter, over its simulated instrument."""
        name = self.name_of(driver)
        return plugins.load("labthermo.instruments", driver)(name, self.twin.addresses[name])

    def personality(self, driver: str) -> Any:
        """Its simulated instrument."""
        return self.twin._instruments[self.name_of(driver)].personality


@pytest.fixture(scope="session")
def every_station(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sine example with one instrument more for each further driver, wired to nothing."""
    folder = tmp_path_factory.mktemp("every")
    more = "".join(
        f'  {driver}: {{driver: {driver}, address: "TCPIP0::192.0.2.{number}::5025::SOCKET"}}\n'
        for number, driver in enumerate((d for d in every_driver() if d not in WIRED), start=1)
    )
    text = (EXAMPLE / "station.yaml").read_text(encoding="utf-8").replace("\ndevice:\n", f"{more}\ndevice:\n", 1)
    (folder / "station.yaml").write_text(text, encoding="utf-8")
    (folder / "ndc_dots.yaml").write_bytes((EXAMPLE / "ndc_dots.yaml").read_bytes())
    return folder / "station.yaml"


@pytest.fixture(scope="module")
def bench(every_station: Path) -> Iterator[Bench]:
    config = load_station(every_station)
    twin = build_wire_twin(config)
    found = Bench(config, twin)
    for name in config.instruments:
        found.messages[name] = _listen(twin._instruments[name].personality)
    yield found
    twin.close()


def _listen(personality: Any) -> list[bytes]:
    """Every message that a personality gets from now on."""
    heard: list[bytes] = []
    handle = personality.handle

    def hear(message: bytes) -> bytes | None:
        heard.append(message)
        return handle(message)

    personality.handle = hear
    return heard
