"""coulomb_diamonds and stability_diagram: what they ask, in which order, and what they refuse before anything moves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labthermo import Station
from labthermo.errors import ParameterError
from labthermo.procedure import make
from procedures.coulomb_diamonds import CoulombDiamonds
from procedures.stability_diagram import StabilityDiagram

EXAMPLES = Path(__file__).parents[3] / "examples"
ONE, TWO = EXAMPLES / "single_dot" / "station.yaml", EXAMPLES / "double_dot" / "station.yaml"


def channels(path):
    with Station(path, "model") as station:
        return station.device.channels


@pytest.mark.parametrize(
    ("procedure", "values", "path", "message"),
    [
        (CoulombDiamonds, {"gate": "q"}, ONE, "coulomb_diamonds: gate: the device has no knob 'q'; there are p1"),
        (CoulombDiamonds, {"bias_start": "0.1 mV"}, ONE, "leaves out 0 V"),
        (CoulombDiamonds, {"bias_stop": "5 mV"}, ONE, "5 mV is outside the limits -4 mV to 4 mV of x"),
        (CoulombDiamonds, {"gate_start": "80 mV"}, ONE, "80 mV to 60 mV is no ascending sweep"),
        (CoulombDiamonds, {"reading": "y"}, ONE, "no node or output 'y'; there are i_lo"),
        (StabilityDiagram, {}, ONE, "stability_diagram: y: the device has no knob for it"),
        (StabilityDiagram, {"y": "p1"}, TWO, "no knob 'p1'; there are p2"),
        (StabilityDiagram, {"bias": "0 V"}, TWO, "0 V drives no current"),
        (StabilityDiagram, {"bias": "9 mV"}, TWO, "9 mV is outside the limits -1 mV to 2 mV of x"),
        (StabilityDiagram, {"x_stop": "1 V"}, TWO, "1 V is outside the limits -20 mV to 120 mV of p1"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_opened(procedure, values, path, message):
    with pytest.raises(ParameterError) as error:
        make(procedure, values).count(channels(path))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("procedure", "path", "axes"),
    [
        (CoulombDiamonds(gate_points=9, bias_points=8), ONE, ("p1", "x")),
        (StabilityDiagram(x_points=9, y_points=8), TWO, ("p1", "p2")),
    ],
)
def test_the_map_is_the_record_turned_the_right_way(procedure, path, axes, tmp_path):
    """Sweeps go to and fro; every point of the map is what the journal holds for that place."""
    with Station(path, "model") as station, station.run(tmp_path, {}) as run:
        procedure.execute(run)
        points = run.journal.points()
        (figure,) = [e.detail for e in run.journal.events("figure")]
    assert len(points) == procedure.count(channels(path)) == 72
    assert (figure["x_name"], figure["y_name"]) == axes
    x, y, z = (np.array(figure[name]) for name in ("x", "y", "z"))
    assert z.shape == (len(y), len(x))
    steps = []
    for before, point in zip([None, *points[:-1]], points, strict=True):
        settings = {**point.knobs, "x": point.inputs[0]}
        column = int(np.argmin(np.abs(x - settings[axes[0]])))
        row = int(np.argmin(np.abs(y - settings[axes[1]])))
        assert z[row, column] == point.nodes[0]
        if before is not None:
            previous = {**before.knobs, "x": before.inputs[0]}
            steps.append(sum(previous[name] != settings[name] for name in axes))
    assert set(steps) == {1}
