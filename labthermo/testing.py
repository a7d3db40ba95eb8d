"""Public conformance checks: what every device and every adapter must do, for your own tests.

    from labthermo.testing import check_device, check_instrument

    def test_my_adapter():
        check_instrument(lambda: MyAdapter("gates", "TCPIP0::127.0.0.1::5025::SOCKET"))

Each check raises AssertionError with one sentence that says what does not conform.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import re
from collections.abc import Callable, Sequence

import numpy as np

from labthermo.device import Device, Query, Response, Status, channels_of
from labthermo.errors import InstrumentError, LabThermoError, LimitError, QueryError
from labthermo.instrument import (
    GateDac,
    Instrument,
    Monitor,
    PlateReader,
    Reading,
    SourceMeter,
    SyringePump,
    VoltageSource,
    Voltmeter,
)

KINDS = (VoltageSource, Voltmeter, SyringePump, PlateReader, Monitor)
"""Protocols of which an adapter must keep at least one; GateDac and SourceMeter are VoltageSources."""


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
        each = [device.query(Query(inputs=rows, reset="each")) for rows in (table, table[::-1])]
        for response in each:
            _check_response(device, response, 3)
        apart = np.abs(each[0].outputs - each[1].outputs[::-1])
        noise = 10.0 * np.hypot(each[0].sigma, each[1].sigma[::-1]) + 1e-2 * np.nanmax(
            np.abs(each[0].outputs), initial=0.0
        )
        _assert(
            not bool(np.any(apart > noise)), f"with reset each the order of the inputs moves the outputs by {apart}"
        )
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
    _assert(0 in kinds and max(kinds) > 1, "a device needs at least one input, and an output or a node")
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
    _assert(isinstance(response.incidents, tuple), f"incidents must be a tuple: {response.incidents!r}")
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
        "infinite input": Query(inputs=np.full_like(first, np.inf)),
        "NaN in the last row": Query(inputs=np.vstack([table[-1:], np.full_like(first, np.nan)])),
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
        for value in (math.nan, math.inf):
            what = f"{knob.name}={value}"
            _refused(device, Query(knobs={knob.name: value}, inputs=first), (LimitError, QueryError), what)
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


def check_instrument(make: Callable[[], Instrument], messages: Callable[[], Sequence[object]] | None = None) -> None:
    """Check an adapter against the protocols of :mod:`labthermo.instrument`.

    make: opens the instrument; it is closed here, and opened a second time to see that nothing moved. A source's first
    and last channels are stepped by ten resolutions from where they are, and back; a source meter's output is switched
    on: disconnect the sample first. A pump runs at three rates, each for a moment, and its volumes count anew from
    there. A plate reader moves its drawer out and in.
    messages: every message that the instrument has received so far, where that is known (a simulated one tells). With
    it is checked, too, that `repr` asks nothing, that values are asked and not remembered, and that a voltage, channel
    or range that is refused is refused before anything is sent.

    Raises
    ------
    AssertionError: it does not conform.
    """
    instrument = make()
    wire = _Wire(messages)
    try:
        _check_face(instrument, wire)
        if isinstance(instrument, VoltageSource):
            _check_source(instrument, wire)
        if isinstance(instrument, SourceMeter):
            _check_source_meter(instrument, wire)
        if isinstance(instrument, GateDac):
            _check_gates(instrument, wire)
        if isinstance(instrument, Voltmeter):
            _check_voltmeter(instrument, wire)
        if isinstance(instrument, SyringePump):
            _check_pump(instrument, wire)
        if isinstance(instrument, PlateReader):
            _check_reader(instrument, wire)
        if isinstance(instrument, Monitor):
            _check_monitor(instrument, wire)
        before = _programmed(instrument)
    finally:
        instrument.close()
    instrument.close()
    _check_closed(instrument, wire)
    again = make()
    try:
        _assert(again.identity == instrument.identity, f"opened again it is {again.identity}")
        _assert(_programmed(again) == before, f"closing and opening moved it from {before} to {_programmed(again)}")
    finally:
        again.close()


class _Wire:
    """Sees what is sent, where that is known; without that everything passes."""

    def __init__(self, messages: Callable[[], Sequence[object]] | None) -> None:
        self._messages = messages

    def count(self) -> int | None:
        return None if self._messages is None else len(self._messages())

    def check_silent(self, before: int | None, what: str) -> None:
        if before is not None and self._messages is not None:
            sent = list(self._messages()[before:])
            _assert(not sent, f"{what} sent {sent}; it must not send anything")

    def check_asked(self, before: int | None, what: str) -> None:
        if before is not None and self._messages is not None:
            _assert(len(self._messages()) > before, f"{what} answered from memory; it must ask the instrument")

    def check_refused(
        self, do: Callable[[], object], what: str, kind: type[LabThermoError] = LabThermoError, *, silently: bool = True
    ) -> None:
        """It must raise an error of ours, of this `kind`, in one line, and `silently`: with nothing sent."""
        before = self.count()
        try:
            do()
        except kind as error:
            _assert("\n" not in str(error), f"{what} is refused in more than one line: {error}")
        except Exception as error:
            found = f"{type(error).__name__}: {error}"
            raise AssertionError(f"{what} must raise a {kind.__name__}, not {found}") from error
        else:
            raise AssertionError(f"{what} must raise a {kind.__name__}, not become something else")
        if silently:
            self.check_silent(before, f"{what}, which was refused,")


_FIRST_WORD = re.compile(
    r"(Set|Get|Measure|Choose|Connect|Disconnect|Let|Start|Stop|Read|Open|Prepare|Run|Switch|Pump|Infuse|Withdraw|Shake|"
    r"Close|Refuse|Raise|Ask|Check|Wait|Take|Clear|Select|Turn|Move|Home|Load|Dispense)\b"
)
_UNIT = re.compile(  # in parentheses, or behind a number: an A alone may be the article
    r"(?:\(|\d ?|\bin )(?:(?:[pnumkMG\u00b5]?(?:V|A|Hz|ohm|Ohm|s|L|l|m|K|Pa|W)|h|\u00b0C|OD|AU)\b|%|degrees|whether)"
)
_RANGE = re.compile(
    r"\.\.|\+-|\u00b1|within|up to|at most|at least|between|smallest|from |above|below|one of|compliance|span"
)


def _check_face(instrument: Instrument, wire: _Wire) -> None:
    """What everybody sees of an adapter: names, docstrings, identity, `measured`, and a `repr` without traffic."""
    wanted = {*Instrument.__annotations__, *(name for name in vars(Instrument) if not name.startswith("_"))}
    missing = sorted(name for name in wanted if not hasattr(instrument, name))
    _assert(not missing, f"every adapter has {', '.join(missing)}; this one has not")
    kinds = [k for k in KINDS if isinstance(instrument, k)]
    _assert(bool(kinds), f"an adapter must be one of {', '.join(k.__name__ for k in KINDS)}")
    identity = instrument.identity
    _assert(all((identity.maker, identity.model, identity.serial)), f"identity is incomplete: {identity}")
    _assert(
        isinstance(instrument.measured, frozenset) and all(isinstance(what, str) for what in instrument.measured),
        f"`measured` must be a frozenset of names, not {instrument.measured!r}",
    )
    _assert(isinstance(instrument.rebooted, bool), "`rebooted` must be a bool")
    before = wire.count()
    repr(instrument)
    wire.check_silent(before, "repr()")
    check_docstrings(type(instrument))


def check_docstrings(adapter: type) -> None:
    """Check that a class says what it is, and each public method what it does, in which unit and range.

    The first line opens with what is done (Get, Set, Measure, Choose, Connect, ...). A method that takes or returns a
    number names its unit; one that sets a number names its range.

    Raises
    ------
    AssertionError: a docstring does not.
    """
    _assert(bool(inspect.getdoc(adapter)), f"{adapter.__name__} needs a docstring")
    for name, method in inspect.getmembers(adapter, inspect.isfunction):
        if name.startswith("_"):
            continue
        text, where = inspect.getdoc(method) or "", f"{adapter.__name__}.{name}()"
        _assert(bool(text), f"{where} needs a docstring with unit and range")
        _assert(bool(_FIRST_WORD.match(text)), f"{where} must open with Get, Set, Measure or the like: {text!r}")
        signature = inspect.signature(method)
        numbers = [p for p in signature.parameters.values() if "float" in str(p.annotation)]
        if numbers or "float" in str(signature.return_annotation) or "Reading" in str(signature.return_annotation):
            _assert(bool(_UNIT.search(text)), f"{where} must name its unit: {text!r}")
        if numbers and name.startswith(("set_", "prepare_")):
            _assert(bool(_RANGE.search(text)), f"{where} must name its range: {text!r}")


def _programmed(instrument: Instrument) -> dict[str, float]:
    if isinstance(instrument, SyringePump):
        return {"rate": instrument.rate()}
    if not isinstance(instrument, VoltageSource):
        return {}
    channels = list(instrument.source_channels())
    return {channel: instrument.voltage(channel) for channel in (channels[0], channels[-1])}


def _check_source(source: VoltageSource, wire: _Wire) -> None:
    channels = list(source.source_channels())
    _assert(len(channels) > 0 and len(set(channels)) == len(channels), f"source channels are {channels}")
    for channel in dict.fromkeys((channels[0], channels[-1])):
        low, high = source.voltage_span(channel)
        resolution = source.voltage_resolution(channel)
        _assert(low < high and resolution > 0, f"span {low} to {high} V, resolution {resolution} V")
        before = wire.count()
        start = source.voltage(channel)
        wire.check_asked(before, f"voltage({channel!r})")
        _assert(low <= start <= high, f"{channel} reads back {start} V, outside its span {low} to {high} V")
        step = 10 * resolution * (1 if start <= 0 else -1)
        try:
            for _ in range(2):  # setting the same value again changes nothing
                source.set_voltage(channel, start + step)
                got = source.voltage(channel)
                _assert(abs(got - start - step) <= resolution, f"set {start + step} V, reads back {got} V")
        finally:
            source.set_voltage(channel, start)
        beyond = 1.0 + 0.5 * (high - low)
        for bad in (high + beyond, low - beyond, math.nan, math.inf, -math.inf):
            what = f"set_voltage({channel}, {bad})"
            wire.check_refused(lambda bad=bad, to=channel: source.set_voltage(to, bad), what, LimitError)
        _assert(abs(source.voltage(channel) - start) <= resolution, f"what was refused has moved {channel}")
    for name in ("no such channel", ""):
        wire.check_refused(lambda name=name: source.voltage(name), f"voltage({name!r})")
        wire.check_refused(lambda name=name: source.set_voltage(name, 0.0), f"set_voltage({name!r}, 0)")


def _check_source_meter(meter: SourceMeter, wire: _Wire) -> None:
    channels = list(meter.source_channels())
    for channel in dict.fromkeys((channels[0], channels[-1])):
        at = {"channel": channel}
        _assert(not meter.output_is_on(**at), f"check_instrument needs the output {channel} off to begin with")
        meter.prepare_current_range(100e-9, **at)
        for limit in (50e-9, 10e-9):
            meter.set_compliance(limit, **at)
            got = meter.compliance(**at)
            _assert(math.isclose(got, limit, rel_tol=0.01), f"a compliance of {limit} A reads back {got} A")
        before = wire.count()
        meter.compliance(**at)
        wire.check_asked(before, "compliance()")
        for bad in (math.nan, math.inf, 0.0, -10e-9, 1e3):
            what = f"set_compliance({bad})"  # its limits are the instrument's own, so it may be asked
            wire.check_refused(lambda bad=bad, at=at: meter.set_compliance(bad, **at), what, silently=False)
            got = meter.compliance(**at)
            _assert(math.isclose(got, 10e-9, rel_tol=0.01), f"a refused compliance of {bad} A left {got} A")
        for bad in (math.nan, 1e3):
            what = f"prepare_current_range({bad})"
            wire.check_refused(lambda bad=bad, at=at: meter.prepare_current_range(bad, **at), what)
        meter.set_voltage(channel, 0.0)
        meter.output_on(**at)
        try:
            meter.output_on(**at)
            _assert(meter.output_is_on(**at), "output_on() did not switch on")
            _check_reading(meter.measure_current(0.02, **at))
            short, long = meter.current_noise(0.02, **at), meter.current_noise(0.1, **at)
            _assert(0 < long <= short, f"current_noise is {short} A at 20 ms and {long} A at 100 ms")
            try:
                meter.prepare_current_range(1e-3, **at)
            except LabThermoError:
                pass
            else:
                raise AssertionError("prepare_current_range() must refuse to change the range with the output on")
        finally:
            meter.output_off(**at)
        meter.output_off(**at)
        _assert(not meter.output_is_on(**at), "output_off() did not switch off")
        _assert(
            math.isclose(meter.compliance(**at), 10e-9, rel_tol=0.01), "the compliance changed with the output's state"
        )
        try:
            reading = meter.measure_current(0.02, **at)
        except LabThermoError:
            continue
        raise AssertionError(f"measure_current() answered {reading} with the output off; it must raise")


def _check_gates(gates: GateDac, wire: _Wire) -> None:
    before = wire.count()
    _check_reading(gates.measure_leakage(gates.source_channels()[0]))
    wire.check_asked(before, "measure_leakage()")
    _assert("leakage" in gates.measured, f"it measures its leakage, but `measured` is {set(gates.measured)}")
    wire.check_refused(lambda: gates.measure_leakage("no such channel"), "measure_leakage('no such channel')")


def _check_voltmeter(meter: Voltmeter, wire: _Wire) -> None:
    _assert("voltage" in meter.measured, f"a voltmeter measures voltage, but `measured` is {set(meter.measured)}")
    meter.prepare_voltage_range(1.0)
    for bad in (math.nan, math.inf, 1e6):
        wire.check_refused(lambda bad=bad: meter.prepare_voltage_range(bad), f"prepare_voltage_range({bad})")
    before = wire.count()
    _check_reading(meter.measure_voltage(0.02))
    wire.check_asked(before, "measure_voltage()")
    short, long = meter.voltage_noise(0.004), meter.voltage_noise(0.02)
    _assert(0 < long <= short, f"voltage_noise is {short} V at 4 ms and {long} V at 20 ms")


def _check_pump(pump: SyringePump, wire: _Wire) -> None:
    before = wire.count()
    _assert(pump.rate() == 0.0, "check_instrument needs a pump that stands still to begin with")
    wire.check_asked(before, "rate()")
    low, high = pump.rate_span()
    _assert(0.0 < low < high, f"rate_span is {low} to {high} L/s")
    middle = math.sqrt(low * high)
    for bad in (math.nan, math.inf, 0.0, -middle, 1e3 * high):
        wire.check_refused(lambda bad=bad: pump.prepare_rate_range(bad), f"prepare_rate_range({bad})", LimitError)
    pump.prepare_rate_range(middle)
    low, high = pump.rate_span()
    resolution = pump.rate_resolution()
    _assert(low <= middle <= high and 0.0 < resolution < middle, f"{low} to {high} L/s in steps of {resolution} L/s")
    pump.home(0.0)
    try:
        for rate in (middle, middle - 10 * resolution, middle):
            for _ in range(2):
                pump.set_rate(rate)
                got = pump.rate()
                _assert(abs(got - rate) <= resolution, f"set to {rate} L/s, reads back {got} L/s")
        for bad in (math.nan, math.inf, -math.inf, -middle, 1e3 * high):
            wire.check_refused(lambda bad=bad: pump.set_rate(bad), f"set_rate({bad})", LimitError)
        _assert(abs(pump.rate() - middle) <= resolution, "a refused rate has changed the pump's")
        wire.check_refused(lambda: pump.home(0.0), "home() while it pumps", silently=False)
        with contextlib.suppress(InstrumentError):  # a range that it is in already may be chosen while it pumps
            pump.prepare_rate_range(middle)
        _assert(abs(pump.rate() - middle) <= resolution, "choosing its range has changed its rate while it pumps")
    finally:
        pump.set_rate(0.0)
    pump.set_rate(0.0)
    _assert(pump.rate() == 0.0, f"stopped, it pumps {pump.rate()} L/s")
    for bad in (math.nan, -1e-6):
        wire.check_refused(lambda bad=bad: pump.home(bad), f"home({bad})", LimitError)
    before = wire.count()
    _check_reading(pump.infused_volume())
    wire.check_asked(before, "infused_volume()")
    _check_reading(pump.remaining_volume())
    _assert(pump.infused_volume().flag == "ok", "homed and without an alarm, its volume must be valid")
    _assert(pump.syringe_volume >= 0.0 <= pump.refill_rate, f"{pump.syringe_volume} L, {pump.refill_rate} L/s")
    if pump.refill_rate:
        pump.home(pump.syringe_volume)
        _assert(pump.start_refill() == 0.0 == pump.rate(), "a full syringe is not filled")
    else:
        wire.check_refused(pump.start_refill, "start_refill() of a pump that nobody refills", silently=False)


def _check_reader(reader: PlateReader, wire: _Wire) -> None:
    _assert("absorbance" in reader.measured, f"a reader measures absorbance, `measured` is {set(reader.measured)}")
    wells = list(reader.wells())
    _assert(len(wells) > 0 and len(set(wells)) == len(wells), f"wells are {wells}")
    ends = list(dict.fromkeys((wells[0], wells[-1])))
    before = wire.count()
    readings = reader.measure_absorbance(ends, 340e-9)
    wire.check_asked(before, "measure_absorbance()")
    _assert(list(readings) == ends, f"asked for {ends}, it answers for {list(readings)}")
    for reading in readings.values():
        _check_reading(reading)
    _assert(reader.absorbance_noise() > 0, f"absorbance_noise is {reader.absorbance_noise()} OD")
    _check_reading(reader.measure_temperature())
    for what, names, wavelength in (
        ("an unknown well", ["no such well"], 340e-9),
        ("no well", [], 340e-9),
        ("a wavelength of NaN", ends, math.nan),
        ("a wavelength of 340 m", ends, 340.0),
    ):
        wire.check_refused(lambda names=names, at=wavelength: reader.measure_absorbance(names, at), what)
    reader.open_drawer()
    try:
        plate = [well for well in ends if well != "cuvette"]
        try:
            read = reader.measure_absorbance(plate, 340e-9)
        except LabThermoError:
            pass
        else:
            _assert(all(r.flag == "invalid" for r in read.values()), f"with the plate outside it read {read}")
    finally:
        reader.close_drawer()
    reader.close_drawer()


def _check_monitor(monitor: Monitor, wire: _Wire) -> None:
    channels = list(monitor.monitor_channels())
    _assert(len(channels) > 0 and len(set(channels)) == len(channels), f"monitor channels are {channels}")
    for channel in dict.fromkeys((channels[0], channels[-1])):
        what = {"K": "temperature", "Pa": "pressure"}.get(monitor.monitor_unit(channel))
        _assert(what is not None, f"{channel} is in {monitor.monitor_unit(channel)}; a monitor's unit is K or Pa")
        _assert(what in monitor.measured, f"{channel} is a {what}, but `measured` is {set(monitor.measured)}")
        before = wire.count()
        reading = monitor.read_monitor(channel)
        wire.check_asked(before, f"read_monitor({channel!r})")
        _check_reading(reading)
        _assert(reading.flag != "ok" or reading.value > 0, f"{channel} is at {reading.value}, which nothing can be")
    for name in ("no such channel", ""):
        wire.check_refused(lambda name=name: monitor.read_monitor(name), f"read_monitor({name!r})")
        wire.check_refused(lambda name=name: monitor.monitor_unit(name), f"monitor_unit({name!r})")


def _check_reading(reading: Reading) -> None:
    _assert(isinstance(reading, Reading), f"a measurement returns a Reading, not {type(reading).__name__}")
    sound = math.isnan(reading.value) if reading.flag in ("overflow", "invalid") else math.isfinite(reading.value)
    _assert(sound, f"a reading flagged {reading.flag} has the value {reading.value}")


def _check_closed(instrument: Instrument, wire: _Wire) -> None:
    """A closed adapter raises; it never answers from memory, and never opens the line again."""
    attempts: list[tuple[str, Callable[[], object]]] = []
    if isinstance(instrument, VoltageSource):
        channel = instrument.source_channels()[0]
        attempts += [
            ("voltage()", lambda: instrument.voltage(channel)),
            ("set_voltage()", lambda: instrument.set_voltage(channel, 0.0)),
        ]
    if isinstance(instrument, Voltmeter):
        attempts.append(("measure_voltage()", lambda: instrument.measure_voltage(0.02)))
    if isinstance(instrument, Monitor):
        attempts.append(("read_monitor()", lambda: instrument.read_monitor(instrument.monitor_channels()[0])))
    if isinstance(instrument, SyringePump):
        attempts += [("rate()", instrument.rate), ("set_rate()", lambda: instrument.set_rate(0.0))]
    if isinstance(instrument, PlateReader):
        well = instrument.wells()[0]
        attempts.append(("measure_absorbance()", lambda: instrument.measure_absorbance([well], 340e-9)))
    for what, attempt in attempts:
        wire.check_refused(attempt, f"{what} of a closed adapter")


def _assert(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)
