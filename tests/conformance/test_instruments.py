"""Every adapter, over the wire, against the public conformance check."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from labthermo import plugins
from labthermo.config import load_station
from labthermo.testing import check_instrument
from simulators.bench import WireTwin, build_wire_twin

STATION = Path(__file__).parents[2] / "examples" / "sine" / "station.yaml"
CONFIG = load_station(STATION)


@pytest.fixture(scope="module")
def twin() -> Iterator[WireTwin]:
    world = build_wire_twin(CONFIG)
    yield world
    world.close()


@pytest.mark.parametrize("name", list(CONFIG.instruments))
def test_adapter(twin: WireTwin, name: str) -> None:
    adapter = plugins.load("labthermo.instruments", CONFIG.instruments[name].driver)
    before = len(twin.read_log())
    probe = adapter(name, twin.addresses[name])
    assert len(twin.read_log()) == before, "opening moved something"
    text = repr(probe)
    assert name in text or type(probe).__name__ in text
    probe.close()
    check_instrument(lambda: adapter(name, twin.addresses[name]))


def test_every_driver_that_is_registered_is_checked() -> None:
    assert {i.driver for i in CONFIG.instruments.values()} == set(plugins.names("labthermo.instruments"))
