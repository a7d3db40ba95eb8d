"""What liquids do beside the device file: dead volume, mixing, evaporation, decay; each against its formula."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from labthermo import Query, Station
from labthermo.config import StationConfig, load_station
from labthermo.errors import StationFileError
from labthermo.kinetics import product_at_rest
from simulators.flow_bench import FlowBench
from simulators.hidden_truth import HiddenTruth
from simulators.sample import build_sample

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


def test_ten_kelvin_more_are_so_much_more_rate_and_the_equilibrium_stays(tmp_path):
    """Arrhenius, 50 kJ/mol: exp(50e3/8.3145 (1/298.15 - 1/308.15)) = 1.924, forwards and backwards."""
    cold, warm = (
        HiddenTruth(build_sample(config), config).network()
        for config in (bench(tmp_path, ""), bench(tmp_path, "warmer: 10 K"))
    )
    ldh = build_sample(bench(tmp_path, "")).labels.index("ldh")
    knobs = np.array([16.5, 33.0, 1.0, 50.0, 0.5]) * UL
    state = cold.steady_state(np.zeros((1, 0)), knobs)
    runs = cold.currents(state)[0, ldh]
    assert warm.currents(state)[0, ldh] / runs == pytest.approx(1.924, rel=1e-3)
    resting = {"nadh": 1e-5, "pyruvate": 2e-4, "lactate": 5e-3, "nad": 1e-2, "ldh": 3e-8}  # P Q/(A B) = 25000 = keq
    there = np.array([[resting[name.removeprefix("well.")] for name in cold.reservoirs]])
    turned = replace(state, potentials=there * [1.0 if "lact" not in n else 2.0 for n in cold.reservoirs])
    backwards = cold.currents(turned)[0, ldh]
    assert backwards < 0.0
    assert warm.currents(turned)[0, ldh] / backwards == pytest.approx(1.924, rel=1e-3)
    for network in (cold, warm):
        assert abs(network.currents(replace(state, potentials=there))[0, ldh]) < 1e-6 * abs(backwards)


@pytest.mark.parametrize("backend", ["model", "wire"])
def test_a_warm_well_makes_what_its_law_makes_at_that_rate(tmp_path, backend):
    bench(tmp_path, "warmer: 10 K", "inhibited_well")
    well = tmp_path / "well.yaml"
    well.write_text(well.read_text(encoding="utf-8").replace("ki: 1 mM", "ki: 1 mM\n    activation: 50 kJ/mol"))
    flow, share = 120.0 * UL, 0.1
    with Station(tmp_path / "station.yaml", backend) as station:
        response = station.device.query(Query({"b": (1.0 - share) * flow}, [[share * flow]]))
    cold, warm = (
        160.0 * 0.55 * float(product_at_rest(40e-3 * share, flow / 200e-6, vmax, 1e-3, 1e-3))
        for vmax in (1e-4, 1.924e-4)
    )
    assert warm - cold > 0.04
    assert float(response.outputs[0, 0]) == pytest.approx(warm, abs=3e-3)


def test_warmth_that_nothing_feels_is_refused(tmp_path):
    config = bench(tmp_path, "warmer: 10 K", "inhibited_well")
    with pytest.raises(StationFileError, match=r"liquids.warmer: no reaction of well.yaml has an `activation` energy"):
        HiddenTruth(build_sample(config), config)
