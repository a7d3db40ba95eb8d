"""Real time passes by itself, virtual time only when told."""

from __future__ import annotations

import time

import pytest

from labthermo.clock import RealClock, VirtualClock


def test_a_virtual_clock_moves_only_when_told_and_never_back():
    clock = VirtualClock()
    begin = time.monotonic()
    clock.sleep(36_000.0)
    clock.sleep(-5.0)
    assert clock.now() == 36_000.0
    assert time.monotonic() - begin < 1.0


def test_the_real_clock_waits_and_forgives_a_negative_time():
    clock = RealClock()
    begin = clock.now()
    clock.sleep(0.02)
    clock.sleep(-1.0)
    assert 0.02 <= clock.now() - begin < 1.0
    assert clock.now() == pytest.approx(time.monotonic(), abs=0.5)
