"""Without noise, offsets, quantisation and input currents, the wire twin and the model are one device."""

from __future__ import annotations

import numpy as np
import pytest

from labthermo import Query, Station

NO_CURRENT = ("input_current: 50 fA", "input_current: 0 A")
INPUTS = np.linspace(0.9e-3, 2.7e-3, 5)


def test_wire_and_model_agree_to_a_millionth_of_full_scale(edited, perfect):
    path = edited(perfect, NO_CURRENT)
    rng = np.random.default_rng(11)
    with Station(path, "wire") as wire, Station(path, "model") as model:
        names = [c.name for c in wire.device.channels if c.kind == "knob"]
        span = np.ptp(next(c.window for c in wire.device.channels if c.name == "y"))
        worst = current = 0.0
        for _ in range(10):
            knobs = dict(zip(names, rng.uniform(-0.02, 0.02, len(names)).tolist(), strict=True))
            measured, computed = (s.device.query(Query(knobs, INPUTS)) for s in (wire, model))
            assert measured.status == computed.status == 5 * ("settled",)
            assert np.ptp(computed.outputs) > 20e-6
            worst = max(worst, float(np.abs(measured.outputs - computed.outputs).max() / span))
            scale = np.abs(computed.nodes).max()
            current = max(current, float(np.abs(measured.nodes - computed.nodes).max() / scale))
    print(f"largest difference: {worst:.2e} of the output window, {current:.2e} of the lead current")
    assert worst <= 1e-6
    assert current <= 1e-6


def test_electrons_are_positive_carriers_in_a_mirror(edited, perfect, tell):
    """The same dots: the same answers at the sample; opposite voltages and currents at the instruments."""
    knobs = {"p1": 0.01, "l1": -0.02, "r3": 0.03}
    seen = {}
    for carriers in ("electrons", "positive"):
        path = edited(perfect, NO_CURRENT, device=[("carriers: electrons", f"carriers: {carriers}")])
        with Station(path) as station:
            r = station.device.query(Query(knobs, [2.5e-3]))
            log = station.world.read_log()
            addresses = station.world.addresses
            seen[carriers] = {
                "sample": [r.outputs[0, 0], r.nodes[0, 0], r.inputs[0, 0]],
                "logged": next(e for e in reversed(log) if e.channel == "x").at_sample,
                "bias": next(e for e in reversed(log) if e.channel == "x").actual,
                "gates": [next(e for e in reversed(log) if e.channel == k).actual for k in knobs],
                "dmm": float(tell(addresses["dmm"], "READ?")),
                "drain": float(tell(addresses["drain"], ":MEAS? 'defbuffer1'")),
            }
    electrons, positive = seen["electrons"], seen["positive"]
    assert electrons["sample"] == pytest.approx(positive["sample"], rel=1e-9)
    assert electrons["logged"] == positive["logged"] == pytest.approx(2.5e-3)
    assert electrons["gates"] == positive["gates"] == list(knobs.values())
    assert electrons["bias"] == -positive["bias"] == pytest.approx(-0.25)
    assert electrons["dmm"] == pytest.approx(-positive["dmm"], rel=1e-9)
    assert electrons["drain"] == pytest.approx(-positive["drain"], rel=1e-9)
    assert positive["dmm"] == pytest.approx(1000 * positive["sample"][0], rel=1e-6)
    assert positive["drain"] == pytest.approx(-positive["sample"][1], rel=1e-6)
    assert positive["sample"][1] > 1e-12
