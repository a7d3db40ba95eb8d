"""Benches: served in a process of their own, or such that a station takes them for real."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from labthermo.config import load_station
from simulators.bench import WireTwin, build_wire_twin


@pytest.fixture(scope="session")
def serve() -> Callable[..., AbstractContextManager[str]]:
    """Called with what follows `labthermo bench`: the control address of such a bench, in a process of its own."""

    @contextmanager
    def serving(*words: str | Path) -> Iterator[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "labthermo", "bench", *map(str, words)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["control"]
        process.send_signal(signal.SIGINT)
        process.wait(15)
        process.stdout.close()

    return serving


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
