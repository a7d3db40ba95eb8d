"""The device that is only numbers: noise by number, where inputs start from, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labthermo.config import StationConfig, load_station
from labthermo.device import Query, Status
from labthermo.errors import LimitError, QueryError
from simulators.model_device import build_model_device
from simulators.network_file import read_network
from simulators.sample import build_sample

STATION = Path(__file__).parents[3] / "examples" / "sine" / "station.yaml"
CHECK_POINT = np.array(
    [-22.2, -49.9, 18.3, 23.7, -36.7, -25.4, 15.6, -18.1, -26.0, -16.6, -67.3, -37.2, 10.1, -21.1, -52.5]
) * 1e-3  # fmt: skip
KNOBS = dict(zip([f"{c}{k}" for k in range(1, 6) for c in "plr"], CHECK_POINT.tolist(), strict=True))
INPUTS = np.linspace(0.9e-3, 2.7e-3, 9)


def station(**simulation: object) -> StationConfig:
    config = load_station(STATION)
    return config.model_copy(update={"simulation": config.simulation.model_copy(update=simulation)})


def clean() -> StationConfig:
    return station(mismatch=0.0, noise={"*": 0.0}, offsets=False, quantisation=False)


def test_a_response_has_the_shapes_of_its_channels():
    device = build_model_device(station())
    assert [c.name for c in device.channels if c.kind == "input"] == ["x"]
    assert [c.name for c in device.channels if c.kind in ("output", "node")] == ["y", "i_lo"]
    r = device.query(Query(knobs=KNOBS, inputs=INPUTS))
    assert len(r) == 9
    assert r.outputs.shape == r.nodes.shape == r.sigma.shape == r.node_sigma.shape == (9, 1)
    assert r.settle_time.shape == (9,)
    assert r.status == (Status.SETTLED,) * 9
    assert r.inputs.shape == (9, 1)
    assert np.array_equal(r.inputs[:, 0], INPUTS)
    assert r.knobs == KNOBS
    assert np.all(np.isfinite(r.outputs))
    assert r.sigma == pytest.approx(np.full((9, 1), 1.3e-6))  # 260 nV/Hz**0.5 over 20 ms
    assert np.all((r.settle_time > 1e-5) & (r.settle_time < 1e-3))  # some of its 36 us
    assert sum(len(part) for part in device.stream(Query(inputs=INPUTS))) == 9


def test_a_clean_model_is_the_network_with_its_meter():
    """Nothing added but what the preamplifier does to the node: 50 fA over 3.6 Mohm is less than 0.2 uV."""
    r = build_model_device(clean()).query(Query(knobs=KNOBS, inputs=INPUTS))
    net = read_network(STATION.with_name("ndc_dots.yaml")).network
    clamped = np.column_stack([INPUTS, 0 * INPUTS])
    bare = net.steady_state(clamped, CHECK_POINT)
    loading = r.outputs[:, 0] - bare.potentials[:, 0]
    tau = net.time_constants(bare)
    assert np.abs(loading) == pytest.approx(50e-15 * tau / 10e-12, rel=1e-3)
    wired = net.steady_state(clamped, CHECK_POINT, injected=[loading[0] / abs(loading[0]) * 50e-15])
    assert r.outputs == pytest.approx(wired.potentials, rel=1e-12)
    # the lead's current counts out of the sample, in the carriers' sign: from y through the load to lo
    assert r.nodes[:, 0] == pytest.approx(net.currents(wired)[:, 0], rel=1e-9)
    assert np.all(r.nodes > 35e-12)


def test_noise_is_keyed_by_seed_and_number():
    query = Query(knobs=KNOBS, inputs=INPUTS, number=40)
    first = build_model_device(station(seed=7)).query(query)
    again = build_model_device(station(seed=7))
    again.query(Query(knobs=KNOBS, inputs=INPUTS, number=0))
    again.query(Query(inputs=[0.0]))
    assert np.array_equal(again.query(query).outputs[1:], first.outputs[1:])
    assert again.query(query).outputs == pytest.approx(first.outputs, abs=1e-15)
    other = build_model_device(station(seed=7)).query(Query(knobs=KNOBS, inputs=INPUTS, number=41))
    differences = other.outputs - first.outputs
    assert np.all(differences != 0)
    assert 0.3e-6 < np.std(differences) < 5e-6
    quiet = station(seed=7, noise={"*": 0.0})
    exact = [build_model_device(quiet).query(Query(knobs=KNOBS, inputs=INPUTS, number=n)).outputs for n in (40, 41)]
    assert np.array_equal(*exact)


def test_noise_has_its_stated_width():
    inputs = np.full(2000, 1.5e-3)
    r = build_model_device(station()).query(Query(knobs=KNOBS, inputs=inputs))
    assert np.std(r.outputs) == pytest.approx(1.3e-6, rel=0.06)
    half = r.outputs[:, 0] - r.outputs.mean()
    assert abs(np.mean(half[1:] * half[:-1])) < 0.08 * 1.3e-6**2  # one reading knows nothing of the last


def test_a_split_batch_is_the_whole_batch():
    """To the last bit: a resumed run must not differ from one that was never interrupted."""
    whole = build_model_device(station()).query(Query(knobs=KNOBS, inputs=INPUTS, number=3))
    split = build_model_device(station())
    parts = [
        split.query(Query(knobs=KNOBS, inputs=INPUTS[:4], number=3)),
        split.query(Query(inputs=INPUTS[4:5])),  # counts on by itself
        split.query(Query(inputs=INPUTS[5:])),
    ]
    for name in ("outputs", "nodes", "settle_time"):
        assert np.array_equal(np.concatenate([getattr(p, name) for p in parts]), getattr(whole, name)), name


def test_seeds_are_other_samples():
    answers = {
        build_model_device(station(seed=s, noise={"*": 0.0})).query(Query(inputs=[2e-3])).outputs.item()
        for s in range(5)
    }
    assert len(answers) == 5


def test_the_control_is_monotone_whatever_its_sample():
    rng = np.random.default_rng(0)
    inputs = np.linspace(0, 2.9e-3, 100)
    for seed in range(3):
        config = station(seed=seed, noise={"*": 0.0}, mismatch=0.1)
        knobs = {k: rng.uniform(-0.06, 0.06) for k in KNOBS}
        y = build_model_device(config, control=True).query(Query(knobs=knobs, inputs=inputs)).outputs[:, 0]
        assert np.diff(y).min() >= 0
    y = build_model_device(clean()).query(Query(knobs=KNOBS, inputs=inputs)).outputs[:, 0]
    assert np.diff(y).min() < -1e-6


def bistable(directory: Path) -> StationConfig:
    """One node behind an NDC edge, loaded weakly on purpose."""
    (directory / "fold.yaml").write_text(
        "carriers: positive\nreservoirs: {y: 10 pF}\nterminals: [x, lo]\nknobs: [g]\nprocesses:\n"
        "  - {edge: [x, y], law: GaussianNdc, conductance: 1 uS, width: 0.2 mV}\n"
        "  - {edge: [y, lo], law: Linear, conductance: {value: 100 nS, by: {g: 1 nS/V}}}\n"
    )
    text = (
        "backend: model\n"
        "instruments:\n"
        '  gates: {driver: qdac2, address: "TCPIP0::127.0.0.1::5025::SOCKET"}\n'
        '  dmm: {driver: keysight34465a, address: "TCPIP0::127.0.0.1::5026::SOCKET"}\n'
        "device:\n  model: fold.yaml\n"
        "  inputs: {x: {of: gates.ch24.voltage}}\n"
        "  outputs: {y: {of: dmm.voltage}}\n"
        "  knobs: {g: gates.ch01.voltage}\n"
        "  limits: {'*': {min: -3 mV, max: 3 mV, max_step: 1 mV, slew: 1 V/s}}\n"
        "  settle: {tolerance: 1 uV, confidence: 95 %, timeout: 1 s}\n"
        "simulation: {noise: off, offsets: false}\n"
    )
    (directory / "station.yaml").write_text(text)
    return load_station(directory / "station.yaml")


def test_hold_goes_on_and_park_starts_afresh(tmp_path: Path):
    device = build_model_device(bistable(tmp_path))
    x = 0.8e-3
    assert device.query(Query(inputs=[x])).outputs.item() < 0.1e-3  # a jump from 0 V: behind the peak
    rising = np.linspace(0.0, x, 200)
    device.park()
    held = device.query(Query(inputs=rising)).outputs
    assert held[-1].item() > 0.6e-3  # carried up on the high branch
    assert device.query(Query(inputs=[x])).outputs.item() == pytest.approx(held[-1].item())
    assert device.query(Query(inputs=[x], reset="park")).outputs.item() < 0.1e-3
    assert device.query(Query(inputs=[x])).outputs.item() < 0.1e-3  # and holds on to that


def test_park_brings_inputs_to_zero_and_leaves_knobs():
    device = build_model_device(clean())
    device.query(Query(knobs=KNOBS, inputs=[2e-3]))
    device.park()
    device.park()
    assert device.query(Query(inputs=[2e-3])).knobs == KNOBS
    config = clean()
    stop = config.device.stop.model_copy(update={"knobs": "zero"})
    zeroing = build_model_device(config.model_copy(update={"device": config.device.model_copy(update={"stop": stop})}))
    zeroing.query(Query(knobs=KNOBS, inputs=[2e-3]))
    zeroing.park()
    assert set(zeroing.query(Query(inputs=[2e-3])).knobs.values()) == {0.0}
    device.close()
    device.close()


def test_knobs_left_out_keep_their_value():
    device = build_model_device(clean())
    device.query(Query(knobs=KNOBS, inputs=[2e-3]))
    r = device.query(Query(knobs={"p1": 0.01}, inputs=[2e-3]))
    assert r.knobs == {**KNOBS, "p1": 0.01}


@pytest.mark.parametrize(
    ("knobs", "inputs", "kind", "named"),
    [
        ({"p1": 0.061}, [2e-3], LimitError, "p1.*61 mV.*60 mV"),
        ({"l2": -0.2}, [2e-3], LimitError, "l2"),
        ({"p1": float("nan")}, [2e-3], LimitError, "p1"),
        ({"q9": 0.0}, [2e-3], QueryError, "q9"),
        ({}, [2e-3, 3.1e-3], LimitError, "x.*3.1 mV"),
        ({}, [-0.3e-3], LimitError, "x"),
        ({}, [np.nan], QueryError, "row 0"),
        ({}, [1e-3, np.inf], QueryError, "row 1"),
        ({}, [[1e-3, 1e-3]], QueryError, "x"),
    ],
)
def test_what_is_refused_moves_nothing(knobs: dict[str, float], inputs: list, kind: type[Exception], named: str):
    device, untouched = build_model_device(station()), build_model_device(station())
    for d in (device, untouched):
        d.query(Query(knobs=KNOBS, inputs=[2e-3]))
    with pytest.raises(kind, match=named):
        device.query(Query(knobs={"p2": 0.02, **knobs}, inputs=inputs))
    after, expected = device.query(Query(inputs=[1e-3])), untouched.query(Query(inputs=[1e-3]))
    assert np.array_equal(after.outputs, expected.outputs)
    assert after.knobs == expected.knobs


def test_wired_sample_keeps_the_order_of_the_station_file():
    sample = build_sample(load_station(STATION))
    assert sample.inputs == ("x",)
    assert [r.name for r in sample.readings] == ["y", "i_lo"]
    assert sample.n_outputs == 1
    assert sample.leads == ("lo",)
    assert sample.sign == -1.0
    assert sample.injected == pytest.approx([50e-15])  # electrons: drawn from the node raises u
    assert np.array_equal(sample.full_knobs(CHECK_POINT[None], np.zeros((1, 1)))[0], CHECK_POINT)
