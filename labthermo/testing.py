"""Public conformance checks: what every device and every adapter must do, for your own tests.

    from labthermo.testing import check_device, check_instrument

    def test_my_adapter():
        check_instrument(lambda: MyAdapter("gates", "TCPIP0::127.0.0.1::5025::SOCKET"))

Each check raises AssertionError with one sentence that says what does not conform.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from labthermo.device import Device, Query, Response, Status, channels_of
from labthermo.errors import InstrumentError, LabThermoError, LimitError, QueryError
from labthermo.instrument import GateDac, Instrument, Reading, SourceMeter, VoltageSource, Voltmeter


def check_device(make: Callable[[], Device]) -> None:
    """Check a device against the contract of :class:`labthermo.device.Device`.

    make: opens a fresh device; it is closed here. Some ten queries are asked within the limits of its channels (the
    knobs stay where they are), so do not pass a device with a sample that must not be touched.

    Raises
    ------
    AssertionError: it does not conform.
    """
    device = make()
    try:
        _check_channels(device)
        inputs = channels_of(device, "input")
        low, high = (np.array([c.window[k] if c.window else 0.0 for c in inputs]) for k in (0, 1))
        table = np.linspace(low, high, 3)
        whole = device.query(Query(inputs=table))
        _check_response(device, whole, 3)
        step = np.maximum(1e-3 * np.abs(high - low), 1e-6)
        _assert(
            bool(np.all(np.abs(whole.inputs - table) <= step)),
            f"read back {whole.inputs} for inputs {table} that were set",
        )
        parts = list(device.stream(Query(inputs=table)))
        _assert(sum(map(len, parts)) == 3, f"stream() answered {sum(map(len, parts))} of 3 inputs")
        for part in parts:
            _check_response(device, part, len(part))
        again = device.query(Query(knobs=whole.knobs, inputs=table[:1], reset="park"))
        _check_response(device, again, 1)
        for name, value in whole.knobs.items():
            _assert(abs(again.knobs[name] - value) <= 1e-4, f"knob {name} was asked to stay at {value} V but moved")
        _check_refusals(device, table)
        device.park()
    finally:
        device.close()
    device.close()


def _check_channels(device: Device) -> None:
    channels = device.channels
    names = [c.name for c in channels]
    _assert(len(set(names)) == len(names), f"channel names repeat: {names}")
    order = ["input", "knob", "output", "node"]
    kinds = [order.index(c.kind) for c in channels]
    _assert(kinds == sorted(kinds), "channels must come as inputs, knobs, outputs, nodes")
    _assert(0 in kinds and 2 in kinds, "a device needs at least one input and one output")
    for c in channels:
        _assert(c.unit != "", f"channel {c.name} has no unit")
        if c.kind in ("input", "knob"):
            finite = all(map(math.isfinite, (c.minimum, c.maximum, c.max_step, c.slew)))
            _assert(finite and c.minimum < c.maximum, f"channel {c.name} can be set and so needs finite limits")
            _assert(c.max_step > 0 and c.slew > 0, f"channel {c.name} needs a positive max_step and slew")


def _check_response(device: Device, response: Response, batch: int) -> None:
    n = {kind: len(channels_of(device, kind)) for kind in ("input", "output", "node")}
    for field, width in (
        ("outputs", n["output"]),
        ("sigma", n["output"]),
        ("nodes", n["node"]),
        ("node_sigma", n["node"]),
        ("inputs", n["input"]),
    ):
        shape = getattr(response, field).shape
        _assert(shape == (batch, width), f"{field} have shape {shape}, expected {(batch, width)}")
    _assert(response.settle_time.shape == (batch,), f"settle_time has shape {response.settle_time.shape}")
    _assert(len(response.status) == batch, f"{len(response.status)} statuses for {batch} inputs")
    _assert(all(isinstance(s, Status) for s in response.status), f"statuses must be Status: {response.status}")
    settled = np.array([s is Status.SETTLED for s in response.status])
    _assert(bool(np.all(np.isfinite(response.outputs[settled]))), "a settled output must be finite")
    _assert(bool(np.all(response.sigma[settled] >= 0)), "sigma must not be negative")
    knobs = {c.name for c in channels_of(device, "knob")}
    _assert(
        set(response.knobs) == knobs, f"the response tells knobs {sorted(response.knobs)}, expected {sorted(knobs)}"
    )


def _check_refusals(device: Device, table: np.ndarray) -> None:
    """What must be refused before anything moves: afterwards every channel still reads back the same."""
    settable = [c for c in device.channels if c.kind in ("input", "knob")]
    first = table[:1]
    before = device.query(Query(inputs=first))
    for bad, query in {
        "NaN input": Query(inputs=np.full_like(first, np.nan)),
        "input of wrong width": Query(inputs=np.zeros((1, first.shape[1] + 1))),
        "empty batch": Query(inputs=np.zeros((0, first.shape[1]))),
        "unknown knob": Query(knobs={"no such knob": 0.0}, inputs=first),
    }.items():
        _refused(device, query, QueryError, bad)
    for channel in settable:
        for value in (channel.minimum - channel.max_step, channel.maximum + channel.max_step):
            if channel.kind == "knob":
                _refused(
                    device, Query(knobs={channel.name: value}, inputs=first), LimitError, f"{channel.name}={value}"
                )
            else:
                column = [c.name for c in settable if c.kind == "input"].index(channel.name)
                beyond = first.copy()
                beyond[0, column] = value
                _refused(device, Query(inputs=beyond), LimitError, f"{channel.name}={value}")
    for knob in (c for c in settable if c.kind == "knob"):
        _refused(device, Query(knobs={knob.name: math.nan}, inputs=first), (LimitError, QueryError), f"{knob.name}=NaN")
    after = device.query(Query(inputs=first))
    _assert(dict(after.knobs) == dict(before.knobs), "a refused query moved a knob")


def _refused(
    device: Device, query: Query, kind: type[LabThermoError] | tuple[type[LabThermoError], ...], what: str
) -> None:
    try:
        device.query(query)
    except kind:
        return
    except Exception as error:
        raise AssertionError(f"{what} must be refused as {kind}, not as {type(error).__name__}: {error}") from error
    raise AssertionError(f"{what} must be refused")


def check_instrument(make: Callable[[], Instrument]) -> None:
    """Check an adapter against the protocols of :mod:`labthermo.instrument`.

    make: opens the instrument; it is closed here, and opened a second time to see that nothing moved. A source's first
    channel is stepped by ten resolutions from where it is, and back: disconnect the sample first.

    Raises
    ------
    AssertionError: it does not conform.
    """
    instrument = make()
    kinds = [k for k in (VoltageSource, Voltmeter) if isinstance(instrument, k)]
    try:
        _assert(isinstance(instrument, Instrument), "an adapter has name, identity, measured and close()")
        _assert(bool(kinds), "an adapter must be a VoltageSource (GateDac, SourceMeter) or a Voltmeter")
        _assert(bool(type(instrument).__doc__), "the class needs a docstring")
        identity = instrument.identity
        _assert(all((identity.maker, identity.model, identity.serial)), f"identity is incomplete: {identity}")
        _assert(bool(instrument.measured), "`measured` must name at least one value that is a measurement")
        if isinstance(instrument, VoltageSource):
            _check_source(instrument)
        if isinstance(instrument, SourceMeter):
            _check_source_meter(instrument)
        if isinstance(instrument, GateDac):
            _check_reading(instrument.measure_leakage(instrument.source_channels()[0]))
        if isinstance(instrument, Voltmeter):
            _check_voltmeter(instrument)
    finally:
        instrument.close()
    instrument.close()
    for public in (m for m in dir(type(instrument)) if not m.startswith("_") and callable(getattr(instrument, m))):
        _assert(bool(getattr(type(instrument), public).__doc__), f"{public}() needs a docstring with unit and range")
    _check_closed(instrument)


def _check_source(source: VoltageSource) -> None:
    channels: tuple[str, ...] = source.source_channels()
    _assert(len(channels) > 0 and len(set(channels)) == len(channels), f"source channels are {channels}")
    channel = next(iter(channels))
    low, high = source.voltage_span(channel)
    resolution = source.voltage_resolution(channel)
    _assert(low < high and resolution > 0, f"span {low} to {high} V, resolution {resolution} V")
    start = source.voltage(channel)
    step = 10 * resolution * (1 if start <= 0 else -1)
    try:
        for _ in range(2):  # setting the same value again changes nothing
            source.set_voltage(channel, start + step)
            got = source.voltage(channel)
            _assert(abs(got - start - step) <= resolution, f"set {start + step} V, reads back {got} V")
    finally:
        source.set_voltage(channel, start)
    for bad in (high * 1.5 + 1.0, math.nan):
        try:
            source.set_voltage(channel, bad)
        except LabThermoError:
            pass
        else:
            raise AssertionError(f"set_voltage({bad}) must raise, not become something else")
        _assert(abs(source.voltage(channel) - start) <= resolution, f"a refused {bad} V moved the output")
    for name in ("no such channel", ""):
        try:
            source.voltage(name)
        except LabThermoError:
            continue
        raise AssertionError(f"voltage({name!r}) must raise InstrumentError")


def _check_source_meter(meter: SourceMeter) -> None:
    _assert(not meter.output_is_on(), "check_instrument needs the output off to begin with")
    meter.prepare_current_range(1e-6)
    meter.set_compliance(0.5e-6)
    _assert(math.isclose(meter.compliance(), 0.5e-6, rel_tol=0.01), f"compliance reads back {meter.compliance()} A")
    meter.output_on()
    try:
        _assert(meter.output_is_on(), "output_on() did not switch on")
        _check_reading(meter.measure_current(0.02))
        _assert(meter.current_noise(0.1) <= meter.current_noise(0.02), "noise must not grow with integration time")
    finally:
        meter.output_off()
    _assert(not meter.output_is_on(), "output_off() did not switch off")


def _check_voltmeter(meter: Voltmeter) -> None:
    meter.prepare_voltage_range(1.0)
    _check_reading(meter.measure_voltage(0.02))
    short, long = meter.voltage_noise(0.004), meter.voltage_noise(0.02)
    _assert(0 < long <= short, f"voltage_noise is {short} V at 4 ms and {long} V at 20 ms")


def _check_reading(reading: Reading) -> None:
    _assert(isinstance(reading, Reading), f"a measurement returns a Reading, not {type(reading).__name__}")
    sound = math.isnan(reading.value) if reading.flag == "overflow" else math.isfinite(reading.value)
    _assert(sound, f"a reading flagged {reading.flag} has the value {reading.value}")


def _check_closed(instrument: Instrument) -> None:
    """A closed adapter raises; it never answers from memory."""
    try:
        if isinstance(instrument, Voltmeter):
            instrument.measure_voltage(0.02)
        elif isinstance(instrument, VoltageSource):
            instrument.voltage(instrument.source_channels()[0])
    except InstrumentError:
        return
    raise AssertionError("a closed adapter must raise InstrumentError, not answer")


def _assert(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)
