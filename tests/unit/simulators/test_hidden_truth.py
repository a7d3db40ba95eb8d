"""The hidden sample: what is not asked for changes nothing; what is, does what physics says, from its query on."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest

from labthermo.config import StationConfig, load_station
from labthermo.device import Query, Response
from labthermo.errors import StationFileError
from simulators.bench import Bench
from simulators.conductors import BlockingLevel, Decades
from simulators.hidden_truth import HiddenTruth, spinful
from simulators.model_device import build_model_device
from simulators.network import Network
from simulators.processes import Edge
from simulators.sample import build_sample
from simulators.twin import build_twin

EXAMPLES = Path(__file__).parents[3] / "examples"
INPUTS = np.linspace(0.9e-3, 2.7e-3, 9)


def station(tmp_path: Path, hidden: str, file: str = "sine/station.yaml") -> StationConfig:
    source = EXAMPLES / file
    text = source.read_text().replace("mismatch: 10 %", "mismatch: 10 %\n  hidden: {" + hidden + "}")
    for device in source.parent.glob("*dots.yaml"):
        (tmp_path / device.name).write_bytes(device.read_bytes())
    path = tmp_path / "station.yaml"
    path.write_text(text)
    return load_station(path)


def truth(tmp_path: Path, hidden: str = "") -> Network:
    config = station(tmp_path, hidden)
    return HiddenTruth(build_sample(config), config).network()


def test_each_effect_changes_its_own_parameters_and_no_draw(tmp_path: Path):
    plain = truth(tmp_path)
    names = [field for _, field, _ in plain.parameters]
    levers = truth(tmp_path, "lead_levers: 0.1").base - plain.base
    assert levers == pytest.approx([0.1 if name == "lead_levers" else 0.0 for name in names])
    warmer = truth(tmp_path, "temperature: 5 %").base
    assert warmer == pytest.approx(plain.base * [1.05 if name == "temperature" else 1.0 for name in names])
    crossed = truth(tmp_path, "crosstalk: 20 %")
    assert np.array_equal(crossed.base, plain.base)
    p1, l1, l2 = (plain.knobs.index(name) for name in ("p1", "l1", "l2"))
    level = names.index("levels")
    assert 0.1 <= crossed.weights[level, l1] / plain.weights[level, p1] <= 0.3  # next to p1
    assert 0.02 <= crossed.weights[level, l2] / plain.weights[level, p1] <= 0.06  # beyond r1
    leaky = truth(tmp_path, "parasitic: {dot2: 300 Mohm}")
    assert np.array_equal(leaky.base[:-1], plain.base)
    assert leaky.base[-1] == pytest.approx(1 / 300e6)
    assert astuple(leaky.processes[-1])[:2] == ("x", "y")


def test_spin_doubles_the_ways_in():
    """physics.md, section 2: plateaus 2GLGR/(2GL+GR) and 2GLGR/(GL+2GR), one level far below the other; at no
    bias no current; and the three-state master equation, written out, where nothing comes back from the right lead."""
    gl, gr, e = 1e9, 3e8, 1.602176634e-19
    one = BlockingLevel((0.0, 1.0), (gl, 1.0), (gr, 1.0), 1.0)
    net = Network({}, ["a", "b"], [Edge("a", "b", spinful(one))])
    state = net.steady_state([[5e-3, -5e-3], [-5e-3, 5e-3], [3e-4, 3e-4]])
    current = net.currents(state)[:, 0] / e
    assert current[0] == pytest.approx(2 * gl * gr / (2 * gl + gr), rel=1e-6)
    assert current[1] == pytest.approx(-2 * gl * gr / (gl + 2 * gr), rel=1e-6)
    assert abs(current[2]) < 1.0
    two = BlockingLevel((1e-4, 4e-4), (Decades(gl), Decades(gl)), (Decades(gl), Decades(gl / 20)), 1.0)
    far = [[x, -2e-3] for x in np.linspace(-1e-4, 1e-3, 12)]  # nothing comes back from b
    net = Network({}, ["a", "b"], [Edge("a", "b", spinful(two))])
    spin = net.currents(net.steady_state(far))[:, 0]
    f = 1 / (1 + np.exp((np.array([[1e-4], [4e-4]]) - np.array(far)[:, 0]) / 8.617333262e-5))
    into, out = 2 * gl * f, np.array([[gl], [gl / 20]]) + gl * (1 - f)
    share = into / out
    expected = e * np.sum(np.array([[gl], [gl / 20]]) * share / (1 + share.sum(axis=0)), axis=0)
    assert spin == pytest.approx(expected, rel=1e-9)


def test_a_charge_jump_shifts_the_levels_of_one_dot_from_its_query_on(tmp_path: Path):
    config = station(tmp_path, "charge_jumps: [{of: dot2, shift: 30 ueV, query: 5}]")
    found = HiddenTruth(build_sample(config), config)
    shift = found.network(5).base - found.network(4).base
    moved = [(p, field) for (p, field, _), by in zip(found.network().parameters, shift, strict=True) if by]
    assert moved == [(2, "levels"), (2, "levels")]
    assert shift[shift != 0] == pytest.approx([30e-6, 30e-6])
    knobs = {"p1": 0.03, "p2": 0.03}
    before = build_model_device(station(tmp_path, "")).query(Query(knobs=knobs, inputs=INPUTS))
    after = build_model_device(config).query(Query(knobs=knobs, inputs=INPUTS))
    assert np.array_equal(after.outputs[:5], before.outputs[:5])
    assert np.abs(after.outputs[5:] - before.outputs[5:]).max() > 1e-6


def test_a_jump_in_mid_batch_does_not_depend_on_how_the_batch_is_cut(tmp_path: Path):
    config = station(
        tmp_path, "charge_jumps: [{of: dot2, shift: 30 ueV, query: 4}, {of: dot1, shift: -1 meV, query: 7}]"
    )
    whole = build_model_device(config).query(Query(knobs={"p1": 0.03}, inputs=INPUTS, number=0))
    device = build_model_device(config)
    parts = [device.query(Query(knobs={"p1": 0.03}, inputs=INPUTS[n : n + 2], number=n)) for n in range(0, 9, 2)]
    joined = Response.join(parts)
    for field in ("outputs", "nodes", "settle_time"):
        assert np.array_equal(getattr(joined, field), getattr(whole, field))


@pytest.mark.parametrize(
    ("hidden", "complaint"),
    [
        ("parasitic: {dot9: 1 Gohm}", "simulation.hidden.parasitic.dot9: no edge 'dot9'"),
        ("knocked_out: [dot1, dot9]", "simulation.hidden.knocked_out[1]: no edge or reaction 'dot9'"),
        ("charge_jumps: [{of: dots, shift: 1 ueV, query: 3}]", "simulation.hidden.charge_jumps[0].of: no edge 'dots'"),
    ],
)
def test_what_is_hidden_must_fit_the_device_file(tmp_path: Path, hidden: str, complaint: str):
    config = station(tmp_path, hidden)
    with pytest.raises(StationFileError, match=r"station.yaml:\d+: ") as caught:
        build_model_device(config)
    assert complaint in str(caught.value)


def test_crosstalk_needs_neighbours(tmp_path: Path):
    config = station(tmp_path, "crosstalk: 20 %")
    config.device_file.write_text(config.device_file.read_text().replace("gates: [[", "# [["))
    text = config.text.replace("  settle:", "  unknowns: {crosstalk: 20 %}\n  settle:").replace("hidden: {cross", "# {")
    config.path.write_text(text)
    for maker, asked in ((build_model_device, config), (build_twin, load_station(config.path))):
        with pytest.raises(
            StationFileError, match=r"crosstalk: ndc_dots\.yaml does not say which gates are neighbours"
        ):
            maker(asked)


def test_a_knocked_out_edge_conducts_nothing_and_the_others_go_on(tmp_path: Path):
    def bent(hidden: str) -> np.ndarray:
        found = truth(tmp_path, hidden)
        state = found.steady_state(np.column_stack([INPUTS, np.zeros_like(INPUTS)]))
        return found.currents(state)

    whole, cut = bent("spin: false"), bent("knocked_out: [dot2]")
    dots = slice(1, 6)
    assert np.all(np.abs(cut[:, 2]) < 1e-6 * np.abs(whole[:, dots]).max())
    others = [1, 3, 4, 5]
    assert np.all(np.abs(cut[:, others]).sum(axis=1) > np.abs(whole[:, others]).sum(axis=1))  # at a larger bias
    alone = bent("knocked_out: [dot1, dot2, dot3, dot4, dot5]")
    assert np.all(np.abs(alone[:, 0]) < 1e-6 * np.abs(whole[:, 0]))


def test_a_bench_does_not_ignore_what_it_cannot_do(tmp_path: Path):
    config = station(tmp_path, "charge_jumps: [{of: dot2, shift: 30 ueV, query: 5}]")
    with pytest.raises(StationFileError, match=r"charge_jumps: come with a query's number, which a bench does not"):
        Bench(config)


def test_an_enzyme_s_rate_is_its_activity_times_what_it_was():
    config = load_station(Path(__file__).parents[3] / "examples" / "ldh_one_well" / "station.yaml")
    sample = build_sample(config)
    hidden = config.simulation.hidden.model_copy(update={"activity": 0.6})
    whole = HiddenTruth(sample, config).network()
    less = HiddenTruth(sample, config.with_simulation(hidden=hidden)).network()
    knobs = np.array([16.5, 33.0, 1.0, 50.0, 0.5]) * 1e-6 / 60.0
    state = whole.steady_state(np.zeros((1, 0)), knobs)
    ratio = less.currents(state)[0] / whole.currents(state)[0]
    ldh = sample.labels.index("ldh")
    assert ratio[ldh] == pytest.approx(0.6, rel=1e-9)
    assert np.delete(ratio, ldh)[np.delete(whole.currents(state)[0], ldh) > 0] == pytest.approx(1.0)
