"""The public device check over all three forms of backend: model, wire in this process, wire attached."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labthermo import Query, Response, Station
from labthermo.testing import check_device

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def bench() -> Iterator[str]:
    """The control address of a bench with device C in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "labthermo", "bench", str(EXAMPLES / "xor" / "station.yaml"), "--virtual-time"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    yield json.loads(process.stdout.readline())["control"]
    process.send_signal(signal.SIGTERM)
    process.wait(15)
    process.stdout.close()


@pytest.mark.parametrize("example", ["sine", "xor", "hidden_nodes"])
def test_model(example: str) -> None:
    with Station(EXAMPLES / example / "station.yaml", "model") as station:
        check_device(lambda: station.device)


def test_wire_in_this_process() -> None:
    with Station(EXAMPLES / "sine" / "station.yaml", "wire") as station:
        check_device(lambda: station.device)


def test_wire_attached(bench: str) -> None:
    with Station(EXAMPLES / "xor" / "station.yaml", "wire", bench=bench) as station:
        check_device(lambda: station.device)


class Broken:
    """A device with one thing wrong, for the check to find."""

    def __init__(self, device: Any, wrong: str) -> None:
        self._device = device
        self._wrong = wrong

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)

    def query(self, query: Query) -> Response:
        if self._wrong == "takes NaN" and not np.all(np.isfinite(np.asarray(query.inputs, dtype=float))):
            query = replace(query, inputs=np.zeros_like(np.asarray(query.inputs)))
        response = self._device.query(query)
        if self._wrong == "swaps shapes":
            return replace(response, outputs=response.outputs.T)
        if self._wrong == "forgets knobs":
            return replace(response, knobs={})
        return response


@pytest.mark.parametrize("wrong", ["takes NaN", "swaps shapes", "forgets knobs"])
def test_the_check_finds_what_is_wrong(wrong: str) -> None:
    with Station(EXAMPLES / "xor" / "station.yaml", "model") as station, pytest.raises(AssertionError):
        check_device(lambda: Broken(station.device, wrong))
