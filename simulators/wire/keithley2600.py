"""Simulated Keithley 2614B and 2636B System SourceMeters: two channels that source and measure, over TSP.

Ports: ``<name>.smua`` and ``<name>.smub``. Commands and defaults: Series 2600B Reference Manual 2600BS-901-01 (Rev. C
and F). Checked against pages of it: limits (p. 9-244: 100 mA and 20 V by default, from 10 nA on the 2614B and 100 pA
on the 2636B, 0 gives 1102, no coupling to the measuring range), output-off states (p. 2-77: NORMAL clamps to 0 V with
`offlimiti`, 1 mA; ZERO with the programmed limit; HIGH_Z opens the relay), ranges (p. 2-84: the function that is
sourced is measured on its source range; assigning a range ends autoranging; a level beyond a fixed range is an error
only while the output is on), 9.91E+37 for an overflow (p. 9-229), the analog filter. Current accuracy of the 2614B and
its voltage accuracy are those of the data sheets; those of the 2636B below 1 uA, voltage noise, the 300 mV of a range
change, 101 % of a range to source and 102 % to measure, the time that the relay and a reading take beside the
integration: as remembered, unchecked.

A current is sourced into the world as a voltage source at the voltage limit that limits at that current.
Not simulated: trigger model, digital I/O, TSP-Link, contact check, calibration, pulses, the 1 Hz analog filter.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from simulators.wire.metrology import Range, Ranges
from simulators.wire.tsp import Bound, Reference, TspError, TspPersonality
from simulators.wire.world import World

LINE_FREQUENCY = 50  # Hz
SOURCE_OVERRANGE, MEASURE_OVERRANGE = 1.01, 1.02
OVERFLOW = 9.91e37
OVERSHOOT = 0.3  # V, of a range change with the output on
SETTLING = 200e-6  # s
RELAY_TIME = 15e-3  # s
READING_OVERHEAD = 0.5e-3  # s
SIMULTANEOUS = 1e-6  # s; the second quantity of one integration is there with the first
CAPACITY = 140_000  # readings, of all buffers that a client makes
FIRMWARE = "3.3.5"

SOURCE_VOLTAGE = (  # one year: % setting + volts; noise is RMS, a sixth of the peak to peak from 0.1 to 10 Hz
    Range(0.2, 5e-6, 0.2e-3, 375e-6, 20e-6 / 6),
    Range(2.0, 50e-6, 0.2e-3, 600e-6, 50e-6 / 6),
    Range(20.0, 500e-6, 0.2e-3, 5e-3, 300e-6 / 6),
    Range(200.0, 5e-3, 0.2e-3, 50e-3, 2e-3 / 6),
)
MEASURE_VOLTAGE = (  # noise: that of the source, whose divider it shares
    Range(0.2, 100e-9, 0.15e-3, 225e-6, 1e-6),
    Range(2.0, 1e-6, 0.2e-3, 350e-6, 2e-6),
    Range(20.0, 10e-6, 0.15e-3, 5e-3, 20e-6),
    Range(200.0, 100e-6, 0.15e-3, 50e-3, 200e-6),
)
_HIGH_CURRENT = (
    Range(10e-6, 10e-12, 0.25e-3, 1.5e-9, 60e-12 / 6),
    Range(100e-6, 100e-12, 0.2e-3, 25e-9, 3e-9 / 6),
    Range(1e-3, 1e-9, 0.2e-3, 200e-9, 6e-9 / 6),
    Range(10e-3, 10e-9, 0.2e-3, 2.5e-6, 200e-9 / 6),
    Range(100e-3, 100e-9, 0.2e-3, 20e-6, 600e-9 / 6),
    Range(1.0, 1e-6, 0.3e-3, 1.5e-3, 70e-6 / 6),
    Range(1.5, 1e-6, 0.5e-3, 3.5e-3, 150e-6 / 6),
)
MEASURE_CURRENT = {  # one year: % reading + amps; noise at one power line cycle: a sixth of the source's peak to peak
    "2614B": (
        Range(100e-9, 100e-15, 0.5e-3, 100e-12, 5e-12 / 6),
        Range(1e-6, 1e-12, 0.25e-3, 500e-12, 25e-12 / 6),
        *_HIGH_CURRENT,
    ),
    "2636B": (
        Range(100e-12, 0.1e-15, 1.5e-3, 120e-15, 40e-15),
        Range(1e-9, 1e-15, 1.5e-3, 240e-15, 800e-15 / 6),
        Range(10e-9, 10e-15, 1.5e-3, 3e-12, 2e-12 / 6),
        Range(100e-9, 100e-15, 0.6e-3, 40e-12, 5e-12 / 6),
        Range(1e-6, 1e-12, 0.25e-3, 400e-12, 25e-12 / 6),
        *_HIGH_CURRENT,
    ),
}
SMALLEST_LIMIT = {"2614B": 10e-9, "2636B": 100e-12}
_SOURCE_STEPS = 20  # a current is sourced in steps this many times those it is measured in
_VOLTS, _AMPS = 1.0, 0.0  # source.func
_NORMAL, _ZERO, _HIGH_Z = 0.0, 1.0, 2.0  # source.offmode
_CONSTANTS = {
    "OUTPUT_OFF": 0, "OUTPUT_ON": 1, "OUTPUT_HIGH_Z": 2, "OUTPUT_NORMAL": 0, "OUTPUT_ZERO": 1,
    "OUTPUT_DCAMPS": 0, "OUTPUT_DCVOLTS": 1, "SENSE_LOCAL": 0, "SENSE_REMOTE": 1, "SENSE_CALA": 3,
    "AUTORANGE_OFF": 0, "AUTORANGE_ON": 1, "AUTORANGE_FOLLOW_LIMIT": 2, "AUTOZERO_OFF": 0, "AUTOZERO_ONCE": 1,
    "AUTOZERO_AUTO": 2, "FILTER_MOVING_AVG": 0, "FILTER_REPEAT_AVG": 1, "FILTER_MEDIAN": 2, "FILTER_OFF": 0,
    "FILTER_ON": 1, "REL_OFF": 0, "REL_ON": 1, "DELAY_OFF": 0, "DELAY_AUTO": -1, "ENABLE": 1, "DISABLE": 0,
    "SETTLE_SMOOTH": 0, "SETTLE_FAST_RANGE": 1, "SETTLE_FAST_POLARITY": 2, "SETTLE_DIRECT_IRANGE": 3,
    "SETTLE_SMOOTH_100NA": 4, "SETTLE_FAST_ALL": 128,
}  # fmt: skip
_SWITCH = (0.0, 1.0)
_LIMIT_BITS = {"v": 1, "i": 2}  # of status.measurement.instrument.smuX
_OVERFLOW_BIT, _BUFFER_BIT = 128, 256
_COLUMNS = ("readings", "timestamps", "sourcevalues", "statuses", "measureranges", "sourceranges")


@dataclass
class _Buffer:
    """Readings, oldest first; a row is as `_COLUMNS` has it."""

    size: int
    rows: list[tuple[float, ...]] = field(default_factory=list)
    kept: dict[str, float] = field(default_factory=dict)
    began: float = 0.0

    def column(self, name: str) -> list[float]:
        index = _COLUMNS.index(name)
        return [row[index] for row in self.rows]


class _Channel:
    """One source-measure unit of the instrument."""

    def __init__(self, owner: Keithley2600Personality, name: str, port: str, model: str, world: World) -> None:
        self.name = name
        self._owner, self._port, self._world = owner, port, world
        currents = MEASURE_CURRENT[model]
        self._smallest_limit = SMALLEST_LIMIT[model]
        lowest = [each for each in currents if each.full_scale > 100e-12]
        sourced = [replace(each, resolution=_SOURCE_STEPS * each.resolution) for each in lowest]
        self._sources = {
            "v": Ranges(SOURCE_VOLTAGE, world, f"{port}.source"),
            "i": Ranges(sourced, world, f"{port}.current source"),
        }
        self._meters = {
            "v": Ranges(MEASURE_VOLTAGE, world, f"{port}.voltage"),
            "i": Ranges(currents, world, f"{port}.current"),
        }
        self._shocks = world.random(f"{port}.overshoot")
        self._values: dict[str, float] = {}
        self._bounds: dict[str, Bound] = {}
        self._on = False
        self._limiting: tuple[float, bool] | None = None  # when it was seen, and whether
        self._overflowed = False
        self._declare()

    # ---------------------------------------------------------------------------------------------- the output

    def reset(self) -> None:
        """Go to the defaults: output off (NORMAL), 0 V, 100 mA, autoranges on."""
        self._values.update({key: bound.default for key, bound in self._bounds.items()})
        self._ranges = {("source", "v"): 0, ("source", "i"): 0, ("measure", "v"): 0, ("measure", "i"): 0}
        self._enter_off_state()

    def _declare(self) -> None:
        name, limit, volts, amps = self.name, self._smallest_limit, 202.0, 1.515
        low = {"v": 0.2, "i": self._sources["i"][0].full_scale}
        delay = 0.0 if limit > 1e-9 else -1.0
        self._bounds = {
            "sense": Bound(0, choices=(0, 1, 3)),
            "source.func": Bound(_VOLTS, choices=_SWITCH),
            "source.levelv": Bound(0, -volts, volts),
            "source.leveli": Bound(0, -amps, amps),
            "source.limitv": Bound(20, 0.02, 200),
            "source.limiti": Bound(0.1, limit, 1.5),
            "source.limitp": Bound(0, 0, 200),
            "source.autorangev": Bound(1, choices=_SWITCH),
            "source.autorangei": Bound(1, choices=_SWITCH),
            "source.lowrangev": Bound(low["v"], 0, 200),
            "source.lowrangei": Bound(low["i"], 0, 1.5),
            "source.offmode": Bound(_NORMAL, choices=(_NORMAL, _ZERO, _HIGH_Z)),
            "source.offfunc": Bound(_VOLTS, choices=_SWITCH),
            "source.offlimiti": Bound(1e-3, limit, 1.5),
            "source.offlimitv": Bound(20, 0.02, 200),
            "source.highc": Bound(0, choices=_SWITCH),
            "source.settling": Bound(0, choices=(0, 1, 2, 3, 4, 128)),
            "source.sink": Bound(0, choices=_SWITCH),
            "source.delay": Bound(0, -1, 1e5),
            "source.outputenableaction": Bound(0, choices=(0, 1, 2)),
            "measure.nplc": Bound(1, 0.001, 25),
            "measure.autozero": Bound(2, choices=(0, 1, 2)),
            "measure.count": Bound(1, 1, CAPACITY),
            "measure.interval": Bound(0, 0, 1),
            "measure.delay": Bound(delay, -1, 1e5),
            "measure.delayfactor": Bound(1, 0, 1000),
            "measure.highcrangedelayfactor": Bound(10, 1, 99),
            "measure.autorangev": Bound(1, choices=(0, 1, 2)),
            "measure.autorangei": Bound(1, choices=(0, 1, 2)),
            "measure.lowrangev": Bound(low["v"], 0, 200),
            "measure.lowrangei": Bound(self._meters["i"][0].full_scale, 0, 1.5),
            "measure.filter.enable": Bound(0, choices=_SWITCH),
            "measure.filter.count": Bound(1, 1, 100),
            "measure.filter.type": Bound(1, choices=(0, 1, 2)),
            **{f"measure.rel.enable{kind}": Bound(0, choices=_SWITCH) for kind in "virp"},
            **{f"measure.rel.level{kind}": Bound(0) for kind in "virp"},
        }
        if limit < 1e-9:
            self._bounds["measure.analogfilter"] = Bound(1, choices=_SWITCH)
        declare = self._owner.declare
        self._owner.keep(self._values, self._bounds, f"{name}.")
        for kind in "vi":
            declare(
                f"{name}.source.level{kind}", self._value(f"source.level{kind}"), self._setter(self._set_level, kind)
            )
            declare(
                f"{name}.source.limit{kind}", self._value(f"source.limit{kind}"), self._setter(self._set_limit, kind)
            )
            for side, change in (("source", self._set_source_range), ("measure", self._set_measure_range)):
                declare(f"{name}.{side}.range{kind}", self._range_getter(side, kind), self._setter(change, kind))
            declare(
                f"{name}.source.autorange{kind}",
                self._value(f"source.autorange{kind}"),
                self._setter(self._set_source_auto, kind),
            )
        declare(f"{name}.source.func", self._value("source.func"), self._set_function)
        declare(f"{name}.source.output", lambda: float(self._on), self._set_output)
        declare(f"{name}.source.compliance", self._in_compliance)
        for key in ("source.offmode", "source.offfunc", "source.offlimiti", "source.offlimitv"):
            declare(f"{name}.{key}", self._value(key), self._setter(self._set_off_state, key))
        declare(f"{name}.measure.autozero", self._value("measure.autozero"), self._set_autozero)
        for constant, value in _CONSTANTS.items():
            declare(f"{name}.{constant}", lambda value=value: value)
        functions = self._owner.functions
        for kinds in ("v", "i", "r", "p", "iv"):
            take = self._measurement(kinds)
            functions[f"{name}.measure.{kinds}"] = functions[f"{name}.measure.overlapped{kinds}"] = take
            functions[f"{name}.measure{kinds}andstep"] = self._stepping(take)
        functions[f"{name}.reset"] = self.reset
        functions[f"{name}.abort"] = lambda: None

    def _value(self, key: str) -> Callable[[], float]:
        return lambda: self._values[key]

    def _setter(self, change: Callable[[str, Any], None], key: str) -> Callable[[Any], None]:
        return lambda value: change(key, value)

    @property
    def _kind(self) -> str:
        return "v" if self._values["source.func"] == _VOLTS else "i"

    def _set_output(self, value: Any) -> None:
        wanted = Bound(0, choices=(0, 1, 2)).check(value)
        if wanted == 1:
            self._switch_on()
            return
        if wanted == 2:  # OUTPUT_HIGH_Z
            self._values["source.offmode"] = _HIGH_Z
        self._enter_off_state()

    def _switch_on(self) -> None:
        if self._on:
            return
        kind = self._kind
        self._check_fits(kind, self._values[f"source.level{kind}"], self._ranges["source", kind])
        self._on = True
        self._drive()
        self._world.connect(self._port, True)
        if self._values["source.offmode"] == _HIGH_Z:
            self._world.wait(RELAY_TIME)

    def _enter_off_state(self) -> None:
        """What the terminals see with the output off: Reference Manual, p. 2-76."""
        self._on, self._limiting = False, None
        mode = self._values["source.offmode"]
        if mode == _HIGH_Z or (mode == _NORMAL and self._values["source.offfunc"] == _AMPS):
            self._world.connect(self._port, False)  # 0 A is as good as open
            return
        if mode == _NORMAL:
            limit = self._values["source.offlimiti"]
        elif self._kind == "v":
            limit = self._values["source.limiti"]
        else:
            scale = self._sources["i"][self._ranges["source", "i"]].full_scale
            limit = max(abs(self._values["source.leveli"]), 0.1 * scale)
        self._world.limit_current(self._port, limit)
        self._world.drive(self._port, 0.0, 0.0)
        self._world.connect(self._port, True)

    def _drive(self, shock: float = 0.0) -> None:
        """Give the world what is sourced now."""
        self._limiting = None
        kind = self._kind
        level = self._values[f"source.level{kind}"]
        actual = self._sources[kind].distort(level, self._ranges["source", kind])
        if kind == "v":
            self._world.limit_current(self._port, self._limit(abs(level)))
            self._world.drive(self._port, level, actual + shock)
        else:
            clamp = math.copysign(self._values["source.limitv"], actual)
            self._world.limit_current(self._port, abs(actual))
            self._world.drive(self._port, clamp, clamp)

    def _limit(self, volts: float) -> float:
        """The current limit in force, A: the programmed one, or the power limit's where that is smaller."""
        limit, power = self._values["source.limiti"], self._values["source.limitp"]
        return min(limit, power / volts) if power and volts else limit

    def _set_off_state(self, key: str, value: Any) -> None:
        self._values[key] = self._bounds[key].check(value)
        if not self._on:
            self._enter_off_state()

    # ---------------------------------------------------------------------------------------------- the source

    def _set_function(self, value: Any) -> None:
        wanted = self._bounds["source.func"].check(value)
        if wanted == self._values["source.func"]:
            return
        self._values["source.func"] = wanted
        if self._on:
            self._drive()

    def _set_level(self, kind: str, value: Any) -> None:
        key = f"source.level{kind}"
        level = self._bounds[key].check(value)
        now = self._on and kind == self._kind
        if self._values[f"source.autorange{kind}"]:
            lowest = self._values[f"source.lowrange{kind}"]
            index = self._sources[kind].holding(max(abs(level) / SOURCE_OVERRANGE, lowest))
            self._change_source_range(kind, len(self._sources[kind]) - 1 if index is None else index)
        elif now:
            self._check_fits(kind, level, self._ranges["source", kind])
        self._values[key] = level
        if now:
            self._drive()
            self._world.wait(max(0.0, self._values["source.delay"]))

    def _check_fits(self, kind: str, level: float, index: int) -> None:
        if abs(level) > self._sources[kind][index].full_scale * SOURCE_OVERRANGE * (1 + 1e-12):
            raise TspError(-221, f"{self.name}.source.level{kind} does not fit into the range")

    def _set_limit(self, kind: str, value: Any) -> None:
        key = f"source.limit{kind}"
        # the sign does not matter: the limit is bipolar
        positive = abs(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value
        self._values[key] = self._bounds[key].check(positive)
        self._limiting = None
        if self._on and kind != self._kind:
            if kind == "i":
                self._world.limit_current(self._port, self._limit(abs(self._values["source.levelv"])))
            else:
                self._drive()

    def _set_source_range(self, kind: str, value: Any) -> None:
        index = self._find_range(self._sources[kind], value)
        if self._on and kind == self._kind:
            self._check_fits(kind, self._values[f"source.level{kind}"], index)
        self._values[f"source.autorange{kind}"] = 0.0
        self._change_source_range(kind, index)

    def _set_source_auto(self, kind: str, value: Any) -> None:
        key = f"source.autorange{kind}"
        self._values[key] = self._bounds[key].check(value)
        if self._values[key]:
            self._set_level(kind, self._values[f"source.level{kind}"])

    def _change_source_range(self, kind: str, index: int) -> None:
        """Change the range; with the output on the terminals see an overshoot."""
        if index == self._ranges["source", kind]:
            return
        self._ranges["source", kind] = index
        if self._on and kind == self._kind == "v":
            self._drive(OVERSHOOT * self._shocks.uniform(0.2, 1.0) * self._shocks.choice((-1.0, 1.0)))
            self._world.wait(SETTLING)
            self._drive()

    def _find_range(self, ranges: Ranges, value: Any) -> int:
        asked = Bound(0, -math.inf, math.inf).check(value)
        index = ranges.holding(asked)
        if index is None:
            raise TspError(1101)
        return index

    def _in_compliance(self) -> bool:
        """Whether the source is limited, as seen by the present reading or else now."""
        if self._limiting is None or self._limiting[0] != self._world.now():
            self._observe_current(SIMULTANEOUS)
        assert self._limiting is not None
        return self._limiting[1]

    def _observe_current(self, aperture: float) -> float:
        current, limited = self._world.measure_current(self._port, aperture)
        if self._kind == "i" and self._on:  # then it is the voltage that is limited
            clamp = self._values["source.limitv"]
            limited = abs(self._world.measure_voltage(self._port, SIMULTANEOUS)) >= clamp * (1 - 1e-9)
        self._limiting = (self._world.now(), bool(limited and self._on))
        return current

    def condition(self) -> float:
        """The condition register: which limit is in force, an overflow, readings in a buffer."""
        limit = _LIMIT_BITS["i" if self._kind == "v" else "v"] if self._in_compliance() else 0
        buffers = (self._owner.buffers[f"{self.name}.nvbuffer{n}"] for n in (1, 2))
        filled = _BUFFER_BIT if any(buffer.rows for buffer in buffers) else 0
        return float(limit | filled | (_OVERFLOW_BIT if self._overflowed else 0))

    # ----------------------------------------------------------------------------------------------- measuring

    def _range_getter(self, side: str, kind: str) -> Callable[[], float]:
        def get() -> float:
            ranges = self._sources if side == "source" or kind == self._kind else self._meters
            return ranges[kind][self._range_index(side, kind)].full_scale

        return get

    def _range_index(self, side: str, kind: str) -> int:
        """The function that is sourced is measured on the source's range."""
        return self._ranges["source" if kind == self._kind else side, kind]

    def _set_measure_range(self, kind: str, value: Any) -> None:
        self._ranges["measure", kind] = self._find_range(self._meters[kind], value)
        self._values[f"measure.autorange{kind}"] = 0.0

    def _set_autozero(self, value: Any) -> None:
        self._values["measure.autozero"] = self._bounds["measure.autozero"].check(value)
        if self._values["measure.autozero"] == 1:  # once, now
            self._world.wait(2 * self._aperture())

    def _aperture(self) -> float:
        return self._values["measure.nplc"] / LINE_FREQUENCY

    def _measurement(self, kinds: str) -> Callable[..., Any]:
        def take(*buffers: object) -> Any:
            stores = [self._owner.buffer(each) for each in buffers[: len(kinds)]]
            for store in stores:
                if not store.kept["appendmode"]:
                    store.rows.clear()
            results: tuple[float, ...] = ()
            for number in range(int(self._values["measure.count"])):
                self._owner.check_time()
                began = self._world.now()
                if number == 0:
                    self._world.wait(max(0.0, self._values["measure.delay"]))
                results = self._read(kinds)
                for store, result in zip(stores, results, strict=False):
                    self._store(store, kinds, result)
                self._world.wait(max(0.0, began + self._values["measure.interval"] - self._world.now()))
            return results

        return take

    def _stepping(self, take: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any) -> Any:
            if not arguments:
                raise TspError(-109)
            results = take(*arguments[:-1])
            self._set_level(self._kind, arguments[-1])
            return results

        return step

    def _read(self, kinds: str) -> tuple[float, ...]:
        """One reading of each of `kinds`, ``v``, ``i``, ``r`` or ``p``, from one integration."""
        volts = amps = 0.0
        repeats = int(self._values["measure.filter.count"]) if self._values["measure.filter.enable"] else 1
        aperture = self._aperture()
        if self._values["measure.filter.type"] != 0:  # a moving average gives a result with every reading
            aperture *= repeats
        self._overflowed = False
        if kinds != "v":
            amps = self._show_on_range("i", self._observe_current(aperture), repeats)
        if kinds != "i":
            volts = self._world.measure_voltage(self._port, aperture if kinds == "v" else SIMULTANEOUS)
            volts = self._show_on_range("v", volts, repeats)
        self._world.wait(READING_OVERHEAD)
        if self._limiting is not None:
            self._limiting = (self._world.now(), self._limiting[1])
        overflowed = OVERFLOW in (abs(volts), abs(amps))
        found = {
            "v": volts,
            "i": amps,
            "r": OVERFLOW if overflowed or not amps else volts / amps,
            "p": OVERFLOW if overflowed else volts * amps,
        }
        return tuple(self._relative(kind, found[kind]) for kind in kinds)

    def _relative(self, kind: str, value: float) -> float:
        on = self._values[f"measure.rel.enable{kind}"] and value != OVERFLOW
        return value - self._values[f"measure.rel.level{kind}"] if on else value

    def _show_on_range(self, kind: str, value: float, repeats: int) -> float:
        meter = self._meters[kind]
        if kind == self._kind:
            scale = self._sources[kind][self._ranges["source", kind]].full_scale
            index = meter.holding(scale)
        else:
            if self._values[f"measure.autorange{kind}"]:
                wanted = max(abs(value) / MEASURE_OVERRANGE, self._values[f"measure.lowrange{kind}"])
                self._ranges["measure", kind] = len(meter) - 1 if (best := meter.holding(wanted)) is None else best
            index = self._ranges["measure", kind]
        assert index is not None
        noise = meter[index].noise / math.sqrt(self._values["measure.nplc"] * repeats)
        reading = meter.distort(value, index, noise=noise)
        if abs(reading) > MEASURE_OVERRANGE * meter[index].full_scale:
            self._overflowed = True
            return OVERFLOW
        return reading

    def _store(self, store: _Buffer, kinds: str, result: float) -> None:
        if len(store.rows) >= store.size:
            raise TspError(-223, "the buffer is full")
        if not store.rows:
            store.began = self._world.now()
        kind = self._kind
        measured = self._range_getter("measure", kinds[0])() if kinds in ("v", "i") else 0.0
        store.rows.append(
            (
                result,
                self._world.now() - store.began,
                self._values[f"source.level{kind}"],
                64.0 if self._limiting is not None and self._limiting[1] else 0.0,
                measured,
                self._range_getter("source", kind)(),
            )
        )


class Keithley2600Personality(TspPersonality):
    """The instrument's end of the wire; it sources and measures at the ports ``<name>.smua`` and ``<name>.smub``.

    model: ``2614B`` or ``2636B``.
    """

    def __init__(self, name: str, world: World, model: str) -> None:
        super().__init__(world)
        self.identity = f"Keithley Instruments Inc., Model {model}, SIM-{name}, {FIRMWARE}"
        self.buffers: dict[str, _Buffer] = {}
        self._kept: dict[str, float] = {}
        self._defaults: dict[str, Bound] = {}
        self._display = ""
        self._timer = world.now()
        self._made = 0
        self._queue: list[Any] = []
        self._channels = [_Channel(self, smu, f"{name}.{smu}", model, world) for smu in ("smua", "smub")]
        self._declare_buffers()
        self._declare_status()
        self._declare_node(f"SIM-{name}", model)
        self._declare_display()
        self.switch_on()

    def reset(self) -> None:
        self._kept.update({key: bound.default for key, bound in self._defaults.items()})
        self._queue.clear()
        for path in [path for path in self.buffers if path.startswith("buffer")]:
            self._drop(path)
        for buffer in self.buffers.values():
            buffer.rows.clear()
            buffer.kept.update(_BUFFER_DEFAULTS)
        for channel in self._channels:
            channel.reset()

    # ------------------------------------------------------------------------------------------------- buffers

    def _declare_buffers(self) -> None:
        for channel in self._channels:
            for number in (1, 2):
                self._make(f"{channel.name}.nvbuffer{number}", 60_000)
            self.functions[f"{channel.name}.makebuffer"] = self._make_buffer
            self.functions[f"{channel.name}.savebuffer"] = lambda _buffer: None

    def _make_buffer(self, size: float) -> Reference:
        wanted = int(Bound(1, 1, CAPACITY).check(size))
        made = [buffer for path, buffer in self.buffers.items() if path.startswith("buffer")]
        if sum(buffer.size for buffer in made) + wanted > CAPACITY or len(made) >= 100:
            raise TspError(-225)
        self._made += 1
        return self._make(f"buffer{self._made}", wanted)

    def _make(self, path: str, size: int) -> Reference:
        buffer = self.buffers[path] = _Buffer(size)
        self.keep(buffer.kept, _BUFFER_BOUNDS, f"{path}.")
        self.declare(f"{path}.n", lambda: float(len(buffer.rows)))
        self.declare(f"{path}.capacity", lambda: float(buffer.size))
        self.declare(f"{path}.basetimestamp", lambda: buffer.began)
        for column in _COLUMNS:
            self.arrays[f"{path}.{column}"] = lambda column=column: buffer.column(column)
        self.arrays[path] = self.arrays[f"{path}.readings"]
        self.functions[f"{path}.clear"] = lambda: buffer.rows.clear()
        self.functions[f"{path}.clearcache"] = lambda: None
        return Reference(path)

    def _drop(self, path: str) -> None:
        del self.buffers[path]
        for table in (self.attributes, self.arrays, self.functions):
            for key in [key for key in table if key == path or key.startswith(f"{path}.")]:
                del table[key]

    def buffer(self, reference: object) -> _Buffer:
        """The buffer that an argument means."""
        if not isinstance(reference, Reference) or reference.path not in self.buffers:
            raise TspError(-104, "no buffer")
        return self.buffers[reference.path]

    # ------------------------------------------------------------------------------------ what is beside the channels

    def _keep(self, bounds: dict[str, Bound]) -> None:
        self._defaults |= bounds
        self.keep(self._kept, bounds)

    def _declare_status(self) -> None:
        names = [f"measurement.{name}" for name in ("current_limit", "voltage_limit", "reading_overflow", "instrument")]
        registers = ["measurement", *names, "questionable", "operation", "standard", "system"]
        conditions: dict[str, Callable[[], float]] = {name: lambda: 0.0 for name in registers}
        for channel in self._channels:
            conditions[f"measurement.instrument.{channel.name}"] = channel.condition
        for name, condition in conditions.items():
            self.declare(f"status.{name}.condition", condition)
            self.declare(f"status.{name}.event", condition)
            self._keep({f"status.{name}.{part}": Bound(0, 0, 65535) for part in ("enable", "ntr", "ptr")})
        self.declare("status.condition", lambda: float(self._status_byte()))
        self._keep({"status.request_enable": Bound(0, 0, 255), "status.node_enable": Bound(0, 0, 255)})
        self.functions["status.reset"] = lambda: None

    def _declare_node(self, serial: str, model: str) -> None:
        for name, value in (("model", model), ("serialno", serial), ("revision", FIRMWARE), ("description", "")):
            self.declare(f"localnode.{name}", lambda value=value: value)
        self.declare("localnode.linefreq", lambda: float(LINE_FREQUENCY))
        self._keep(
            {
                "localnode.showerrors": Bound(0, choices=(0,)),  # what it would print unasked is not simulated
                "localnode.prompts": Bound(0, choices=(0,)),
                "localnode.prompts4882": Bound(1, choices=_SWITCH),
                "localnode.autolinefreq": Bound(1, choices=_SWITCH),
                "beeper.enable": Bound(1, choices=_SWITCH),
            }
        )
        self.functions |= {
            "localnode.reset": lambda: self._reset(),
            "beeper.beep": lambda _duration, _frequency: None,
            "timer.reset": self._reset_timer,
            "timer.measure.t": lambda: self._world.now() - self._timer,
            "dataqueue.add": self._queue_add,
            "dataqueue.next": lambda: self._queue.pop(0) if self._queue else None,
            "dataqueue.clear": lambda: self._queue.clear(),
        }
        self.declare("dataqueue.count", lambda: float(len(self._queue)))
        self.declare("dataqueue.CAPACITY", lambda: 128.0)

    def _reset_timer(self) -> None:
        self._timer = self._world.now()

    def _queue_add(self, value: Any) -> bool:
        if len(self._queue) >= 128 or isinstance(value, Reference):
            return False
        self._queue.append(value)
        return True

    def _declare_display(self) -> None:
        screens = {"SMUA": 0, "SMUB": 1, "SMUA_SMUB": 2, "USER": 3}
        functions = {"MEASURE_DCAMPS": 0, "MEASURE_DCVOLTS": 1, "MEASURE_OHMS": 2, "MEASURE_WATTS": 3}
        for name, value in (screens | functions | {"KEY_EXIT": 75, "DIGITS_4_5": 4, "DIGITS_6_5": 6}).items():
            self.declare(f"display.{name}", lambda value=value: value)
        self._keep(
            {
                "display.screen": Bound(2, choices=(0, 1, 2, 3)),
                "display.locallockout": Bound(0, choices=_SWITCH),
                **{f"display.{channel.name}.measure.func": Bound(0, 0, 3) for channel in self._channels},
                **{f"display.{channel.name}.digits": Bound(4, choices=(4, 5, 6)) for channel in self._channels},
            }
        )
        self.functions |= {
            "display.settext": self._set_text,
            "display.gettext": lambda: self._display,
            "display.setcursor": lambda _row, _column: None,
            "display.clear": lambda: self._set_text(""),
            "display.sendkey": lambda _key: None,
            "display.getlastkey": lambda: 0.0,
            "display.trigger.clear": lambda: None,
        }

    def _set_text(self, text: Any) -> None:
        if not isinstance(text, str):
            raise TspError(-104)
        self._display = text[:200]
        self._kept["display.screen"] = 3.0


_BUFFER_BOUNDS = {
    "appendmode": Bound(0, choices=_SWITCH),
    "cachemode": Bound(1, choices=_SWITCH),
    "collectsourcevalues": Bound(0, choices=_SWITCH),
    "collecttimestamps": Bound(1, choices=_SWITCH),
    "fillmode": Bound(0, choices=(0, 1, 2)),
    "fillcount": Bound(0, 0, CAPACITY),
    "timestampresolution": Bound(1e-6, 1e-6, 1),
}
_BUFFER_DEFAULTS = {key: bound.default for key, bound in _BUFFER_BOUNDS.items()}


def make_2614b(name: str, world: World) -> Keithley2600Personality:
    """A simulated 2614B."""
    return Keithley2600Personality(name, world, "2614B")


def make_2636b(name: str, world: World) -> Keithley2600Personality:
    """A simulated 2636B."""
    return Keithley2600Personality(name, world, "2636B")
