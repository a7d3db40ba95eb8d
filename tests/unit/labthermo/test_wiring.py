"""Between instrument and sample: scale, offset, sign; and what a station may not be wired to."""

from __future__ import annotations

import math

import pytest

from labthermo.config import load_station
from labthermo.errors import StationFileError
from labthermo.instrument import GateDac, Reading, SourceMeter, Voltmeter
from labthermo.limits import device_channels
from labthermo.wiring import connect

SIGNS = {"electrons": -1.0, "positive": 1.0}


@pytest.fixture
def wire(edited, paper):
    def make(*changes: tuple[str, str], sign: float = -1.0, **instruments):
        config = load_station(edited(*changes))
        gates = paper("gates", values={f"ch{n:02d}": 0.0 for n in range(1, 25)})
        fitted = {"gates": gates, "dmm": paper("dmm"), "drain": paper("drain", values={"output": 0.0}), **instruments}
        return connect(config, device_channels(config), fitted, sign), fitted

    return make


def test_the_papers_keep_the_protocols(paper):
    for protocol in (GateDac, Voltmeter, SourceMeter):
        assert isinstance(paper("any"), protocol)


@pytest.mark.parametrize("sign", SIGNS.values(), ids=SIGNS)
def test_an_input_passes_divider_offset_and_sign_and_reads_back_as_written(wire, sign):
    wiring, fitted = wire(("via: {divider: 100}", "via: {divider: 100, offset: 50 uV}"), sign=sign)
    line = wiring.inputs[0]
    line.write(1e-3)
    assert fitted["gates"].values["ch24"] == pytest.approx(100 * (sign * 1e-3 - 50e-6), abs=1e-6)
    assert line.read_back() == pytest.approx(1e-3, abs=1e-8)
    assert line.resolution == line.channel.resolution == pytest.approx(1e-8)


@pytest.mark.parametrize("sign", SIGNS.values(), ids=SIGNS)
def test_a_gate_keeps_the_instruments_sign(wire, sign):
    wiring, fitted = wire(sign=sign)
    wiring.knobs[1].write(-0.1)
    assert fitted["gates"].values["ch02"] == pytest.approx(-0.1)


@pytest.mark.parametrize("sign", SIGNS.values(), ids=SIGNS)
def test_an_output_passes_gain_offset_and_sign(wire, sign):
    wiring, fitted = wire(("gain: 1000", "gain: 1000\n        offset: 1 uV"), sign=sign)
    line = wiring.outputs[0]
    fitted["dmm"].shown = Reading(sign * 0.26 + 1e-3)
    assert line.read(0.02).value == pytest.approx(260e-6)
    assert line.meter_sigma(0.02) == pytest.approx(2e-8)
    line.prepare()
    assert fitted["dmm"].log[-1][1:] == ("range", "input", 5.0)


@pytest.mark.parametrize("shown", [Reading(4.9999), Reading(-4.9999), Reading(math.nan, "overflow")])
def test_an_overload_is_overflow_and_no_number(wire, shown):
    wiring, fitted = wire()
    fitted["dmm"].shown = shown
    reading = wiring.outputs[0].read(0.02)
    assert reading.flag == "overflow"
    assert math.isnan(reading.value)


@pytest.mark.parametrize("sign", SIGNS.values(), ids=SIGNS)
def test_a_lead_counts_out_of_the_sample(wire, sign):
    wiring, fitted = wire(sign=sign)
    fitted["drain"].shown = Reading(-50e-12 * sign, "compliance")
    assert wiring.leads[0].read() == Reading(50e-12, "compliance")
    assert wiring.leads == wiring.nodes


def test_channels_come_in_the_devices_order_with_resolutions(wire):
    wiring, fitted = wire()
    assert [c.kind for c in wiring.channels] == ["input"] + 15 * ["knob"] + ["output", "node"]
    assert wiring.channels[1].resolution == fitted["gates"].step


@pytest.mark.parametrize(
    ("changes", "instruments", "words"),
    [
        ([("gates.ch24.voltage", "gates.ch25.voltage")], {}, ("inputs.x.of", "ch25")),
        ([("of: drain.current", "of: drain.front.current")], {}, ("nodes.i_lo.of", "front")),
        ([("max_step: 0.2 mV", "max_step: 15 nV")], {}, ("limits.x.max_step", "10 nV", "gates.ch24")),
        ([("divider: 100", "divider: 10000")], {}, ("limits.x", "10 V", "gates.ch24")),
        ([], {"dmm": object()}, ("outputs.y.of", "voltmeter")),
        ([], {"drain": object()}, ("nodes.i_lo.of", "source meter")),
    ],
)
def test_what_cannot_work_is_refused_with_file_and_key(wire, changes, instruments, words):
    with pytest.raises(StationFileError) as error:
        wire(*changes, **instruments)
    message = str(error.value)
    assert "\n" not in message
    assert all(word in message for word in ("station.yaml", *words))
