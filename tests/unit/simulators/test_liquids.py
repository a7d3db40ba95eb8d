"""What liquids do beside the device file: dead volume, mixing, evaporation, decay; each against its formula."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from labthermo import Query, Station
from labthermo.config import StationConfig, load_station
from labthermo.errors import StationFileError
from simulators.flow_bench import FlowBench

EXAMPLES = Path(__file__).parents[3] / "examples"
UL = 1e-6 / 60.0


def bench(folder: Path, liquids: str, example: str = "ldh_one_well") -> StationConfig:
    """An example without noise, mismatch or offsets, with these keys of `simulation.liquids`."""
    for file in (EXAMPLES / example).glob("*.yaml"):
        text = file.read_text(encoding="utf-8")
        if file.name == "station.yaml":
            text = text[: text.index("simulation:")]
            text += f"simulation: {{noise: off, offsets: false, quantisation: false, liquids: {{{liquids}}}}}\n"
        (folder / file.name).write_text(text, encoding="utf-8")
    return load_station(folder / "station.yaml")


def fill(world: FlowBench, nadh: float = 50.0) -> None:
    """NADH alone into a well with its 2 x 50 uL/min of make-up."""
    world.pump("n.output", nadh * UL, nadh * UL, math.inf)


def test_a_dead_volume_delays_by_its_volume_over_the_flow(tmp_path):
    """100 uL at 150 uL/min: 40 s; the shape stays (plug flow)."""
    plain, tube = FlowBench(bench(tmp_path, "")), FlowBench(bench(tmp_path, "dead_volume: 100 uL"))
    for world in (plain, tube):
        fill(world)
    seen = {}
    for name, world in (("plain", plain), ("tube", tube)):
        readings = []
        for _ in range(40):
            world.wait(5.0)
            readings.append(world.absorbance("reader.cuvette", 340e-9))
        seen[name] = np.array(readings)
    delay = 100e-6 / (150.0 * UL)
    assert delay == pytest.approx(40.0)
    assert seen["tube"][:8] == pytest.approx(0.0, abs=1e-9)
    assert seen["tube"][8:] == pytest.approx(seen["plain"][:-8], abs=2e-3)


def test_a_tube_stands_still_with_its_pumps(tmp_path):
    world = FlowBench(bench(tmp_path, "dead_volume: 100 uL", "inhibited_well"))
    for pump, rate in (("s", 20.0), ("b", 100.0)):
        world.pump(f"{pump}.output", rate * UL, rate * UL, math.inf)
    world.wait(600.0)
    before = world.absorbance("reader.cuvette", 405e-9)
    for pump in "sb":
        world.pump(f"{pump}.output", 0.0, 0.0, math.inf)
    world.wait(120.0)
    assert before > 0.05
    assert world.absorbance("reader.cuvette", 405e-9) == pytest.approx(before, abs=1e-6)


def test_mixing_lags_by_its_time_constant(tmp_path):
    """A slow rise lags by the time constant: 20 s."""
    plain, slow = FlowBench(bench(tmp_path, "")), FlowBench(bench(tmp_path, "mixing_time: 20 s"))
    for world in (plain, slow):
        fill(world)
    plain.wait(1000.0)
    slow.wait(1000.0)
    assert slow.absorbance("reader.cuvette", 340e-9) == pytest.approx(
        plain.absorbance("reader.cuvette", 340e-9), rel=1e-3
    )
    times = np.arange(1.0, 200.0)
    rise = []
    reference = FlowBench(bench(tmp_path, "mixing_time: 20 s"))
    fill(reference)
    for _ in times:
        reference.wait(1.0)
        rise.append(reference.absorbance("reader.cuvette", 340e-9))
    rate = 150.0 * UL / 200e-6  # of the well: 1/80 s
    end = 6220 * 0.55 * 2e-3 / 3.0
    lag = end * (1.0 - (80.0 * np.exp(-rate * times) - 20.0 * np.exp(-times / 20.0)) / 60.0)
    assert rise == pytest.approx(lag, abs=0.01 * end)


@pytest.mark.parametrize("backend", ["model", "wire"])
def test_evaporation_concentrates_what_is_dissolved(backend, tmp_path):
    """10 of 150 uL/min: what overflows is 150/140 as strong."""
    config = bench(tmp_path, "evaporation: 10 uL/min")
    with Station(config, backend) as station:
        found = station.device.query(Query({"n": 10 * UL, "e": 0.0, "b": 40 * UL}, [[0.0, 0.0]]))
    expected = 6220 * 0.55 * 2e-3 * 10.0 / 140.0
    assert found.outputs[0, 0] == pytest.approx(expected, abs=4e-3 if backend == "wire" else 1e-6)


def test_a_stock_decays_in_its_syringe(tmp_path):
    """1e-4 /s for 2 hours: half of the NADH is left. It goes in steps of 300 s, the last of them at 6900 s."""
    world = FlowBench(bench(tmp_path, "decay: {nadh_stock.nadh: 1e-4 1/s}"))
    fill(world)
    world.wait(7200.0)
    left = 6220 * 0.55 * 2e-3 / 3.0 * math.exp(-0.69)
    assert world.absorbance("reader.cuvette", 340e-9) == pytest.approx(left, rel=3e-3)


def test_what_is_in_no_syringe_cannot_decay(tmp_path):
    with pytest.raises(StationFileError, match=r"decay.*atp.*is not in a syringe; there are nadh_stock"):
        FlowBench(bench(tmp_path, "decay: {nadh_stock.atp: 1e-4 1/s}"))
