"""A station file is read whole or refused in one line that points at the mistake."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from labthermo.config import Address, json_schema, load_station
from labthermo.errors import QueryError, StationFileError
from labthermo.yaml_file import read_yaml

EXAMPLE = Path(__file__).parents[3] / "examples" / "sine" / "station.yaml"


@pytest.fixture
def edited(tmp_path):
    """The example with one text replaced by another."""
    shutil.copy(EXAMPLE.with_name("ndc_dots.yaml"), tmp_path)
    path = tmp_path / "station.yaml"

    def edit(old="", new=""):
        text = EXAMPLE.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        return path

    return edit


def test_example():
    config = load_station(EXAMPLE)
    device = config.device
    assert config.backend == "wire"
    assert config.path == EXAMPLE
    assert config.text == EXAMPLE.read_text()
    assert config.device_file == EXAMPLE.with_name("ndc_dots.yaml")
    assert {name: section.driver for name, section in config.instruments.items()} == {
        "gates": "qdac2",
        "dmm": "keysight34465a",
        "drain": "keithley2450",
    }
    assert config.instruments["dmm"].timeout == 5.0
    x = device.inputs["x"]
    assert (x.of, x.at, x.window, x.via.divider) == (Address("gates", "ch24", "voltage"), "x", (0.9e-3, 2.7e-3), 100)
    y = device.outputs["y"]
    assert (y.of.port, y.at, y.window, y.integration) == ("dmm.input", "y", (130e-6, 390e-6), 0.02)
    assert (y.via.gain, y.via.input_current, y.via.bandwidth, y.via.overload) == (1000, 50e-15, 100, 5)
    lead = device.nodes["i_lo"]
    assert (lead.of.port, lead.of.quantity, lead.at, lead.compliance) == ("drain.output", "current", "lo", 10e-9)
    assert list(device.knobs) == [f"{letter}{k}" for k in range(1, 6) for letter in "plr"]
    assert [str(knob.of) for knob in device.knobs.values()] == [f"gates.ch{n:02}.voltage" for n in range(1, 16)]
    leakage = device.limits.leakage
    assert leakage is not None
    assert (leakage.of, leakage.max, leakage.blank) == ("gates", 1e-9, 0.05)
    assert (device.settle.tolerance, device.settle.confidence, device.settle.timeout) == (5e-6, 0.95, 20)
    assert (device.stop.inputs, device.stop.knobs) == ("zero", "hold")
    simulation = config.simulation
    assert (simulation.seed, simulation.mismatch, simulation.noise_of("y"), simulation.noiseless) == (
        7,
        0.1,
        260e-9,
        False,
    )
    sigma = simulation.noise_of("y") / (2 * y.integration) ** 0.5
    assert sigma == pytest.approx(1.3e-6, rel=1e-3)


def test_limits_are_those_of_the_first_matching_pattern(edited):
    config = load_station(EXAMPLE)
    p3, x = config.limits_of("p3"), config.limits_of("x")
    assert (p3.min, p3.max, p3.max_step, p3.slew) == (-0.06, 0.06, 0.002, 0.1)
    assert (x.min, x.max, x.max_step, x.slew) == (-0.2e-3, 3e-3, 0.2e-3, 0.05)
    first = "p3: {min: -1 mV, max: 1 mV, max_step: 1 mV, slew: 1 mV/s}\n    "
    config = load_station(edited('"p*"', first + '"p*"'))
    assert config.limits_of("p3").max == 0.001
    assert config.limits_of("p4").max == 0.06
    for name in ("y", "p9", "p*"):
        with pytest.raises(QueryError, match=r"is not an input or knob of .*station\.yaml; "):
            config.limits_of(name)


def test_names_and_places(edited):
    config = load_station(edited("i_lo: {of: drain.current, at: lo,", "i_lo: {of: drain.current,"))
    assert config.device.nodes["i_lo"].at == "lo"
    config = load_station(edited("window: [130 uV", "at: other\n      window: [130 uV"))
    assert config.device.outputs["y"].at == "other"
    config = load_station(edited("p1: gates.ch01.voltage", "p1: {of: gates.ch01.voltage, via: {divider: 10}}"))
    assert config.device.knobs["p1"].via.scale == 0.1


def test_noise_off(edited):
    assert load_station(edited("{y: 260 nV/Hz**0.5}", "off")).simulation.noiseless
    quiet = load_station(edited("{y: 260 nV/Hz**0.5}", "{y: off}")).simulation
    assert (quiet.noise_of("y"), quiet.noiseless) == (0.0, False)


def test_simulation_may_be_left_out(edited):
    path = edited()
    path.write_text(path.read_text().partition("simulation:")[0])
    simulation = load_station(path).simulation
    assert (simulation.seed, simulation.mismatch, simulation.noise_of("y"), simulation.offsets) == (0, 0.0, 0.0, True)


def test_outputs_may_be_left_out_where_a_node_is_read(edited):
    path = edited()
    text = path.read_text()
    start, stop = text.index("  outputs:"), text.index("  nodes:")
    path.write_text(re.sub("  noise:.*", "", text[:start] + text[stop:]))
    config = load_station(path)
    assert not config.device.outputs
    path.write_text(re.sub("    i_lo:.*", "    {}", path.read_text()))
    with pytest.raises(
        StationFileError, match=r"device\.outputs: is missing, and so are nodes; add what the device is"
    ):
        load_station(path)


PAIR = "pairs: [{of: [p1, p2], max_difference: 100 mV}]\n    leakage:"


def test_pairs(edited):
    (pair,) = load_station(edited("leakage:", PAIR)).device.limits.pairs
    assert (pair.of, pair.max_difference) == (("p1", "p2"), 0.1)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("backend: wire", "backend: wier", "backend: 'wier' is not allowed here; did you mean 'wire'?"),
        ("backend: wire", "bakend: wire", "bakend: unknown key; did you mean 'backend'?"),
        ("of: gates.ch24", "of: gate.ch24", "device.inputs.x.of: no instrument 'gate'; did you mean 'gates'?"),
        ("ch24.voltage", "ch24.volts", "device.inputs.x.of: 'gates.ch24.volts' is not an address; write instrument"),
        ("ch24.voltage", "ch24.current", "device.inputs.x.of: gates.ch24.current is a current, but inputs are"),
        ("divider: 100", "devider: 100", "device.inputs.x.via.devider: unknown key; did you mean 'divider'?"),
        ("divider: 100", "divider: 0", "device.inputs.x.via.divider: 0 is out of bounds; it must be above 0"),
        ("divider: 100", "divider: .nan", "device.inputs.x.via.divider: nan is not a finite number"),
        ("gain: 1000", "gain: 0", "device.outputs.y.via.gain: a gain of 0 passes nothing"),
        ("of: dmm.voltage", "of: drain.current", "device.outputs.y.of: drain.output.current is a current"),
        ("min: -60 mV", "min: 70 mV", "device.limits.p*.min: 70 mV is above max, 60 mV; swap them"),
        ("min: -60 mV", "min: -60 mA", "device.limits.p*.min: '-60 mA' is not in V or L/s or OD; write a number in V"),
        ("min: -60 mV, ", "", "device.limits.p*.min: is missing; add it"),
        ("slew: 50 mV/s", "slew: 50 mV", "device.limits.x.slew: '50 mV' is not in V/s"),
        ('"p*"', '"q*"', "device.limits: knob 'p1' has no limits; add a pattern that matches it"),
        ("    x:    {min", '    "*":  {min', "device.limits.p*: no input or knob takes its limits from this pattern"),
        ("2.70 mV]", "3.70 mV]", "device.inputs.x.window: 900 µV to 3.7 mV is not within the limits -200 µV to 3 mV"),
        ("[0.90 mV", "[2.90 mV", "device.inputs.x.window: the window 2.9 mV to 2.7 mV is empty"),
        ("min: -0.2 mV", "min: 0.2 mV", "device.limits.x: 200 µV to 3 mV leaves out 0 V, where 'x' is brought to stop"),
        ("compliance: 10 nA, ", "", "device.nodes.i_lo.compliance: is missing; a lead held by an SMU"),
        ("compliance: 10 nA", "compliance: 0", "device.nodes.i_lo.compliance: 0 A is out of bounds"),
        ("p1: gates", "x: gates", "device.knobs.x: 'x' is also one of the inputs; give each channel its own name"),
        ("p1: gates", "P1: gates", "device.knobs.P1: 'P1' is not a name; use small letters"),
        ("gates.ch01", "gates.ch24", "device.knobs.p1: gates.ch24 is already used by 'x'"),
        ("gates.ch01", "gates.ch02", "device.knobs.l1: gates.ch02 is already used by 'p1'"),
        ("gates.ch01", "drain", "device.knobs.p1: drain.output is already used by 'i_lo'"),
        ("gates.ch01.voltage", "5", "device.knobs.p1: 5 is not a mapping"),
        ("i_lo: {", "v: {of: dmm.voltage}\n    i_lo: {", "device.nodes.v.of: dmm.input is already used by 'y'"),
        ("at: lo,", "at: x,", "device.nodes.i_lo.at: the terminal 'x' is already held by 'x'"),
        ("p1: gates", "p2: gates", "device.knobs.p2: this key stands twice"),
        ("ndc_dots.yaml ", "dots.yaml ", "device.model: there is no file"),
        ("of: gates, max", "of: gate, max", "device.limits.leakage.of: no instrument 'gate'; did you mean 'gates'?"),
        ("leakage:", PAIR.replace("p2", "p9"), "device.limits.pairs[0].of: no input or knob 'p9'; known: l1"),
        ("leakage:", PAIR.replace("p2", "p1"), "device.limits.pairs[0].of: 'p1' stands twice"),
        ("knobs: hold", "knobs: hodl", "device.stop.knobs: 'hodl' is not allowed here; did you mean 'hold'?"),
        ("confidence: 95 %", "confidence: 95", "device.settle.confidence: 95 is out of bounds; it must be at most"),
        ("{y: 260 nV", "{z: 260 nV", "simulation.noise.z: no output 'z'; known: y"),
        ("{y: 260 nV/Hz**0.5}", "{y: 260 nV}", "simulation.noise.y: '260 nV' is not in V/Hz**0.5"),
        ("{y: 260 nV/Hz**0.5}", "on", "simulation.noise: 'on' is not a mapping"),
        ("seed: 7", "seed: 7.5", "simulation.seed: 7.5: should be a valid integer"),
        ("seed: 7", "drift: {}", "simulation.drift: unknown key; known: "),
        ("mismatch: 10 %", "mismatch: 110 %", "simulation.mismatch: 1.1 is out of bounds; it must be at most 1"),
        ("TCPIP0::192.168.8.18::5025::SOCKET", "GPIB0::31::INSTR", "instruments.dmm.address: 'GPIB0::31::INSTR' is"),
        ("8.18::5025", "8.18::70000", "instruments.dmm.address: 'TCPIP0::192.168.8.18::70000::SOCKET' has no port"),
        ("{driver: qdac2,", "{visa: '@', driver: qdac2,", "instruments.gates.visa: '@' is not a VISA library"),
        ("192.168.8.18", "192.168.8.17", "instruments.dmm.address: TCPIP0::192.168.8.17::5025::SOCKET is also gates's"),
        ('"TCPIP0::192.168.8.18::5025::SOCKET"', "dmm.lab", "instruments.dmm.address: 'dmm.lab' is not a VISA address"),
    ],
)  # fmt: skip
def test_mistakes_point_at_their_line(edited, old, new, expected):
    path = edited(old, new)
    with pytest.raises(StationFileError) as caught:
        load_station(path)
    place, _, complaint = str(caught.value).partition(": ")
    assert complaint.startswith(expected)
    assert "\n" not in complaint
    line = int(place.removeprefix(f"{path}:"))
    named = expected.split(": ")[0].replace("[", ".").split(".")
    key = next(part for part in reversed(named) if not part.rstrip("]").isdigit())
    if not complaint.partition(": ")[2].startswith("is missing"):
        assert key in path.read_text().splitlines()[line - 1]


def test_errors_for_other_modules_point_too():
    config = load_station(EXAMPLE)
    line = next(n for n, text in enumerate(config.text.splitlines(), 1) if "p4: " in text)
    error = config.error(("device", "knobs", "p4"), "ndc_dots.yaml has no knob 'p4'")
    assert str(error) == f"{EXAMPLE}:{line}: device.knobs.p4: ndc_dots.yaml has no knob 'p4'"


def test_json_schema_accepts_the_example_and_refuses_a_typing_error():
    from jsonschema import Draft202012Validator

    schema = json.loads(json.dumps(json_schema(), allow_nan=False))
    Draft202012Validator.check_schema(schema)
    data = read_yaml(EXAMPLE).data
    assert list(Draft202012Validator(schema).iter_errors(data)) == []
    data["device"]["inputs"]["x"]["via"]["devider"] = 100
    data["device"]["limits"]["p*"].pop("slew")
    assert len(list(Draft202012Validator(schema).iter_errors(data))) == 2
