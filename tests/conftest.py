"""What the tests of a whole station share: edited copies of the example, plain sockets, and a judge of the log."""

from __future__ import annotations

import itertools
import math
import os
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# Many tests start programs of a few seconds: without byte code on disk each would compile numpy and QCoDeS anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

EXAMPLE = Path(__file__).parents[1] / "examples" / "sine"
PERFECT = ("noise: {y: 260 nV/Hz**0.5}", "noise: off\n  offsets: false\n  quantisation: false")


@pytest.fixture(scope="session")
def edited(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A copy of the example's station file with texts replaced: (old, new) pairs, in `device` those of its network."""

    def edit(*changes: tuple[str, str], device: Sequence[tuple[str, str]] = ()) -> Path:
        folder = tmp_path_factory.mktemp("station")
        for name, replacements in (("station.yaml", changes), ("ndc_dots.yaml", device)):
            text = (EXAMPLE / name).read_text(encoding="utf-8")
            for old, new in replacements:
                assert old in text, f"{name} has no {old!r}"
                text = text.replace(old, new)
            (folder / name).write_text(text, encoding="utf-8")
        return folder / "station.yaml"

    return edit


@pytest.fixture(scope="session")
def perfect() -> tuple[str, str]:
    """The change that silences noise, offsets and quantisation."""
    return PERFECT


@pytest.fixture(scope="session")
def tell() -> Callable[[str, str], str]:
    """Send one line to an instrument over a plain socket, behind everybody's back; its reply if it was a question."""

    def send(address: str, line: str) -> str:
        _, host, port, _ = address.split("::")
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            # an instrument answers in order: this question makes sure that a command has been executed
            connection.sendall(f"{line}\n{'' if '?' in line else '*IDN?' + chr(10)}".encode())
            with connection.makefile() as reader:
                return reader.readline().strip()

    return send


@dataclass(frozen=True)
class Verdict:
    """Largest step over max_step and largest slew over slew, of all channels in a part of the Bench's own log."""

    step: float
    slew: float
    moves: int


@pytest.fixture(scope="session")
def judge() -> Callable[..., Verdict]:
    """Judge the voltages in a Bench's log by a station file's limits, from entry `first` on."""

    def verdict(config: Any, log: Sequence[Any], first: int = 0) -> Verdict:
        step = slew = 0.0
        moves = 0
        for channel in (*config.device.inputs, *config.device.knobs):
            limits = config.limits_of(channel)
            entries = [(n, e) for n, e in enumerate(log) if e.channel == channel and e.quantity == "voltage"]
            for (_, before), (n, after) in itertools.pairwise(entries):
                if n < first:
                    continue
                change, time = abs(after.at_sample - before.at_sample), after.time - before.time
                moves += 1
                step = max(step, change / limits.max_step)
                slew = max(slew, (change / time if time else math.inf) / limits.slew if change else 0.0)
        return Verdict(step, slew, moves)

    return verdict
