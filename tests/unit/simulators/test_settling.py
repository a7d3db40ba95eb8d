"""The design foretells how long a move takes, hollows on the way included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labthermo.config import StationConfig, load_station
from simulators.network_file import read_network
from simulators.settling import LONGER, SHARE, SettlingByDesign

EXAMPLES = Path(__file__).parents[3] / "examples"
UL_PER_MIN = 1e-6 / 60.0
TOLERANCE = 4e-3  # OD, as the example's station file has it


@pytest.fixture(scope="module")
def config() -> StationConfig:
    return load_station(EXAMPLES / "ldh_one_well" / "station.yaml")


def corner(u1: float, u2: float) -> dict[str, float]:
    rates = {"n": 16.5, "e": 33.0, "b": 1.0, "u1": u1, "u2": u2}
    return {name: rate * UL_PER_MIN for name, rate in rates.items()}


def watched(before: dict[str, float] | None, after: dict[str, float]) -> np.ndarray:
    """Absorbance every second of an hour."""
    network = read_network(EXAMPLES / "ldh_one_well" / "one_well.yaml").network
    none, start = np.zeros((1, 0)), None
    if before is not None:
        start = network.steady_state(none, np.array([[before[name] for name in network.knobs]])).potentials
    row = np.array([[after[name] for name in network.knobs]])
    path = network.relax(none, np.arange(3601.0), row, start)[0]
    return 6220 * 0.55 * path[:, list(network.reservoirs).index("well.nadh")]


def foretold(config: StationConfig, before: dict[str, float] | None, after: dict[str, float]) -> float:
    design = SettlingByDesign(config)
    if before is not None:
        design.elapse(before, 3600.0)
    return design.wait(after)


@pytest.mark.parametrize(
    ("before", "after"), [(None, (0.5, 0.5)), ((0.5, 0.5), (0.5, 50.0)), ((50.0, 0.5), (0.5, 0.5))]
)
def test_it_waits_until_the_design_stays_within_the_tolerance(before, after, config):
    began = None if before is None else corner(*before)
    path = watched(began, corner(*after))
    there = 1.0 + np.flatnonzero(np.abs(path - path[-1]) > SHARE * TOLERANCE)[-1]
    assert foretold(config, began, corner(*after)) == pytest.approx(LONGER * there, rel=0.04)


def test_a_hollow_on_the_way_stands_still_before_that(config):
    """What readings alone would take for the end: no change for minutes, and ten tolerances away from it."""
    path = watched(corner(50.0, 0.5), corner(0.5, 0.5))
    least = foretold(config, corner(50.0, 0.5), corner(0.5, 0.5))
    minute = np.abs(path[120:] - path[:-120])  # change within two minutes
    hollow = np.flatnonzero((minute < TOLERANCE / 4.0) & (np.abs(path[:-120] - path[-1]) > 10.0 * TOLERANCE))
    assert len(hollow)
    assert hollow[-1] + 120 < least


def test_where_nothing_moves_there_is_nothing_to_wait_for(config):
    assert foretold(config, corner(50.0, 0.5), corner(50.0, 0.5)) == 0.0


def test_small_steps_do_not_add_up(config):
    """None of them changes the answer by much; hurried through, the last one is far from its own end."""
    design, hurried = SettlingByDesign(config), SettlingByDesign(config)
    steps = [corner(0.5, u) for u in np.linspace(0.5, 3.0, 60)]
    for each in (design, hurried):
        each.elapse(steps[0], 3600.0)
    waits = []
    for step in steps[1:]:
        waits.append(design.wait(step))
        design.elapse(step, waits[-1])
        hurried.elapse(step, 1.0)
    at_rest = foretold(config, steps[-2], steps[-1])
    assert hurried.wait(steps[-1]) > 60.0 > at_rest
    assert design.wait(steps[-1]) < 60.0  # where it has waited as told, nothing is left over
    assert sum(waits) > 60.0
