"""What the procedures of a flow bench find, held against what the simulated sample hides: within what they state.

Each case has two seeds, at 99 %. Over many seeds an interval of 95 % holds the truth about as often as it says:
run this file as a script, with the number of seeds.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labthermo import Station
from labthermo.config import StationConfig, load_station
from labthermo.errors import ParameterError
from labthermo.kinetics import fit_progress
from labthermo.procedure import Procedure, make
from procedures.activity_assay import ActivityAssay
from procedures.blank_and_path import BlankAndPath
from procedures.dose_response import DoseResponse
from procedures.progress_curve import ProgressCurve
from procedures.pump_calibration import PumpCalibration
from procedures.standard_curve import StandardCurve
from simulators.hidden_truth import HiddenTruth
from simulators.network import Network
from simulators.sample import Chain, build_sample

EXAMPLES = Path(__file__).parents[3] / "examples"
MICROLITRE_PER_MINUTE = 1e-6 / 60.0  # L/s
UNIT = 1e-6 / 60.0  # mol/s
VOLUME = 200e-6  # L
STANDARD = {"substrate": "n", "buffer": "b", "other": "100 uL/min", "hold": "e=0 uL/min", "stock": "2 mM"}
ASSAY = {"substrate": "e", "buffer": "b", "other": "116.5 uL/min", "hold": "n=16.5 uL/min, u1=20 uL/min"}
KINDS: dict[str, tuple[str, type[Procedure], dict[str, Any]]] = {
    "pump_calibration": ("inhibited_well", PumpCalibration, {}),
    "standard_curve": ("ldh_one_well", StandardCurve, STANDARD),
    "blank_and_path": ("ldh_one_well", BlankAndPath, STANDARD),
    "activity_assay": ("ldh_one_well", ActivityAssay, ASSAY),
    "progress_curve": ("inhibited_well", ProgressCurve, {"stock": "40 mM"}),
}
Claim = tuple[str, list[float], float]
"""What it is, [value, low, high] as stated, and the truth."""


def hidden(config: StationConfig) -> Network:
    return HiddenTruth(build_sample(config), config).network()


def bore(config: StationConfig, pump: str) -> float:
    """What a pump truly gives of what it is told, where it makes one flow."""
    design, true = (n.weights[:, n.knobs.index(pump)] for n in (build_sample(config).network, hidden(config)))
    (row,) = np.flatnonzero(design)
    return float(true[row] / design[row])


def true_blank(config: StationConfig) -> float:
    """What the photometer shows of no absorbance, OD."""
    chain = Chain(build_sample(config))
    errors = np.random.default_rng([config.simulation.seed, 1]).standard_normal(len(chain.names))
    return float(chain.read(errors, np.zeros((1, 1)))[0, 0])


def true_activity(config: StationConfig) -> float:
    """U in a mL of the enzyme's stock at the assay's flows, by the NAD+ that is made: v = flow [NAD+] / volume."""
    network = hidden(config)
    asked = {"n": 16.5, "e": 20.0, "b": 20.0, "u1": 20.0, "u2": 0.0}
    knobs = np.array([[asked[name] for name in network.knobs]]) * MICROLITRE_PER_MINUTE
    state = network.steady_state(np.zeros((1, 0)), knobs)
    nad = float(state.potentials[0, list(network.reservoirs).index("well.nad")])
    flow = network.overflow(knobs[0])["well"]
    enzyme = 20.0 * MICROLITRE_PER_MINUTE * bore(config, "e")
    return flow * nad / VOLUME * flow / enzyme / UNIT * 1e-3


def constants(config: StationConfig) -> dict[str, float]:
    """Vmax, Km, Ki of the substrate-inhibited sample, SI."""
    network = hidden(config)
    names = {"vmax": "vmax", "km": "km_substrate", "ki": "ki"}
    fields = {field: float(base) for (_, field, _), base in zip(network.parameters, network.base, strict=True)}
    return {short: fields[field] for short, field in names.items()}


def claims(name: str, seed: int, runs: Path, confidence: float) -> list[Claim]:
    """Everything that a procedure states with an interval, beside its truth; nothing where it states nothing."""
    example, procedure, values = KINDS[name]
    config = load_station(EXAMPLES / example / "station.yaml").with_seed(seed)
    with Station(config, "model") as station, station.run(runs, {}) as run:
        make(procedure, {**values, "confidence": confidence}).execute(run)
        (event,) = run.journal.events(name)
    said, light = event.detail, config.device.outputs["well"].light
    assert light is not None
    match name:
        case "pump_calibration":
            return [(pump, found, bore(config, pump)) for pump, found in said["factors"].items()]
        case "standard_curve":
            slope = ("slope", said["slope"], light.path * light.extinction["nadh"])
            return [slope, ("blank", said["blank"], true_blank(config))]
        case "blank_and_path":
            return [("path", said["path"], light.path)]
        case "activity_assay":
            return [("activity", said["activity"], true_activity(config))]
    return [(each, said[each], truth) for each, truth in constants(config).items()] if said["determined"] else []


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("name", "widest"), [
    ("pump_calibration", 2e-3), ("standard_curve", 0.08), ("blank_and_path", 0.08), ("activity_assay", 0.12),
    ("progress_curve", 2.0),
])  # fmt: skip
def test_what_is_stated_holds_the_truth_and_is_worth_stating(name, widest, seed, tmp_path):
    found = claims(name, seed, tmp_path, 0.99)
    assert found
    for what, (value, low, high), truth in found:
        assert low <= value <= high
        assert low <= truth <= high, what
        if what != "blank":
            assert (high - low) / truth <= widest, what


@pytest.mark.parametrize("example", ["ldh_one_well", "ldh_two_wells", "inhibited_well"])
def test_every_pump_is_weighed_at_shares_of_its_own_highest_rate(example):
    with Station(EXAMPLES / example / "station.yaml", "model") as station:
        channels = station.device.channels
        pumps = [c for c in channels if c.rests]
        assert make(PumpCalibration, {}).count(channels) == 2 * 3 * len(pumps)
        slowest = min(c.maximum for c in pumps) / MICROLITRE_PER_MINUTE
        with pytest.raises(ParameterError, match=r"rates: .* µL/min is outside the limits .* ask for less"):
            make(PumpCalibration, {"rates": f"50 %, {1.1 * slowest} uL/min"}).count(channels)
        with pytest.raises(ParameterError, match="rates: '5 mV' is not in L/s"):
            make(PumpCalibration, {"rates": "5 mV"}).count(channels)


def test_an_input_that_absorbs_is_a_loophole_by_name_and_as_large_as_it_is(tmp_path):
    """Pyruvate of 20 mM in one line at a third of the flow: 7.9 /M/cm on 0.55 cm are 29 mOD."""
    (tmp_path / "station.yaml").write_text(
        (EXAMPLES / "ldh_one_well" / "station.yaml").read_text()
        .replace("nadh: 6220 1/M/cm}", "nadh: 6220 1/M/cm, pyruvate: 7.9 1/M/cm}")
    )  # fmt: skip
    (tmp_path / "one_well.yaml").write_text((EXAMPLES / "ldh_one_well" / "one_well.yaml").read_text())
    with Station(tmp_path / "station.yaml", "model") as station, station.run(tmp_path / "runs", {}) as run:
        make(BlankAndPath, {**STANDARD, "species": "nadh"}).execute(run)
        (event,) = run.journal.events("blank_and_path")
    assert event.detail["loopholes"] == ["u1", "u2"]
    assert event.detail["own"] == pytest.approx(dict.fromkeys(("u1", "u2"), 7.9 * 0.55 * 20e-3 / 3.0), abs=5e-3)
    assert "LOOPHOLE: u1 absorbs" in event.detail["message"]


def test_a_curve_that_says_nothing_of_a_constant_is_not_fitted():
    """All of it far below Km: the first order that is left tells Vmax/Km only."""
    t = np.linspace(0.0, 60.0, 31)
    assert fit_progress(t, 1e-9 * t, 1e-6, 1e-6, start_error=1e-8, gain_error=0.003) is None


if __name__ == "__main__":  # python tests/unit/procedures/test_bench_constants.py 100
    import tempfile

    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            stated = [
                claim for seed in range(1, int(sys.argv[1]) + 1) for claim in claims(kind, seed, Path(folder), 0.95)
            ]
        for each in sorted({what for what, _, _ in stated}):
            held = [low <= truth <= high for what, (_, low, high), truth in stated if what == each]
            print(f"{kind} {each}: {sum(held)} of {len(held)} intervals hold the truth")


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            BlankAndPath(substrate="n", buffer="b", hold="e=0 uL/min", stock=2e-3),
            "besides is 100 µL/min, not 0 L/min; give other='100 µL/min'",
        ),
        (
            DoseResponse(substrate="u1", buffer="b", hold="n=1 uL/min, e=1 uL/min", stock=2e-3, flow=40e-6 / 60),
            r"besides is 8\d.* µL\/min to 10\d.* µL\/min; name a buffer",
        ),
    ],
)
def test_a_flow_that_the_device_file_has_and_nobody_has_named_is_asked_for(recipe, message, tmp_path):
    """Else a path of 1.8 mm was found for one of 5.5 mm, with a narrow interval."""
    station = load_station(EXAMPLES / "ldh_one_well" / "station.yaml")
    with Station(station, "model") as opened, opened.run(tmp_path, {}) as run:
        with pytest.raises(ParameterError, match=message):
            recipe.execute(run)
        assert run.journal.points() == []
