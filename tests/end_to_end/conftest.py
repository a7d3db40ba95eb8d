"""A bench that a station takes for a real one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from labthermo.config import load_station
from simulators.bench import WireTwin, build_wire_twin


@dataclass
class LooksReal:
    """A station of backend real, and the simulated bench behind it, which does not say that it is one."""

    station: Path
    twin: WireTwin
    identities: dict[str, str]

    def personality(self, name: str) -> Any:
        """A simulated instrument."""
        return self.twin._instruments[name].personality


@pytest.fixture(scope="module")
def served(edited: Callable[..., Path]) -> Iterator[LooksReal]:
    path = edited(("gain: 1000", 'gain: 1000\n        manual: "dial of the SR560"'))
    config = load_station(path)
    twin = build_wire_twin(config, real_time=True)
    text = path.read_text().replace("backend: wire", "backend: real")
    for name, section in config.instruments.items():
        text = text.replace(section.address, twin.addresses[name])
    path.write_text(text)
    yield LooksReal(path, twin, {n: twin._instruments[n].personality.identity for n in config.instruments})
    twin.close()


@pytest.fixture
def looks_real(served: LooksReal, tmp_path: Path) -> LooksReal:
    """In a lab folder of its own; the instruments stay as the test before has left them."""
    for name, identity in served.identities.items():
        served.personality(name).identity = identity.replace("SIM-", "S")
    for file in served.station.parent.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return replace(served, station=tmp_path / served.station.name)
