"""A simulated Keithley 2450 SourceMeter that sources voltage and measures current or voltage.

Ranges, resolution, accuracy, source noise and the range-change overshoot: data sheet SPEC-2450 Rev. A (July 2013),
pages 2 and 4 (checked). Commands: Model 2450 Reference Manual 2450-901-01 Rev. B, section 6. Checked against a copy of
it: output-off states (p. 2-82, 6-31: NORMal clamps to 0 V with 10 % of the current range as limit; HIMPedance opens
the relay, which takes 15 ms to close), a limit must be more than 0.1 % of a fixed measuring range (p. 6-71), ``*RST``
of ``OUTPut`` (p. 6-34). As remembered, unchecked: the 105 uA ``*RST`` limit (so on the 2470), the 1 nA smallest limit,
reading overhead, scaling of noise with integration time, -221 for a measurement with the output at high impedance,
that a sweep switches the output on and off and clears its buffer, the form of the error queue.

Not simulated: sourcing current into the world (refused when the output is switched on), front or rear terminals.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from simulators.wire.metrology import Range, Ranges
from simulators.wire.scpi import (
    ScpiError,
    ScpiPersonality,
    Setting,
    command,
    read_choice,
    read_number,
    read_switch,
    read_text,
    short_form,
)
from simulators.wire.world import World

LINE_FREQUENCY = 50  # Hz
OVERRANGE = 1.05
OVERSHOOT = 0.25  # V, "range change overshoot, adjacent ranges: 250 mV typical"
SETTLING = 200e-6  # s
RELAY_TIME = 15e-3  # s
READING_OVERHEAD = 1e-3  # s
SMALLEST_LIMIT = 1e-9  # A

SOURCE_VOLTAGE = (  # one year: % setting + volts; noise is RMS below 10 Hz
    Range(0.02, 500e-9, 1e-3, 200e-6, 1e-6),
    Range(0.2, 5e-6, 0.15e-3, 200e-6, 1e-6),
    Range(2.0, 50e-6, 0.20e-3, 300e-6, 10e-6),
    Range(20.0, 500e-6, 0.15e-3, 2.4e-3, 100e-6),
    Range(200.0, 5e-3, 0.15e-3, 24e-3, 1e-3),
)
MEASURE_VOLTAGE = (
    Range(0.02, 10e-9, 1e-3, 150e-6, 1e-6),
    Range(0.2, 100e-9, 0.12e-3, 200e-6, 1e-6),
    Range(2.0, 1e-6, 0.12e-3, 300e-6, 10e-6),
    Range(20.0, 10e-6, 0.15e-3, 1e-3, 100e-6),
    Range(200.0, 100e-6, 0.15e-3, 10e-3, 1e-3),
)
# one year: % reading + amps. The data sheet gives noise for sourcing only; the same shunts measure, so it is used
# here for a reading of one power line cycle.
MEASURE_CURRENT = (
    Range(10e-9, 10e-15, 1.0e-3, 50e-12, 500e-15),
    Range(100e-9, 100e-15, 0.60e-3, 100e-12, 500e-15),
    Range(1e-6, 1e-12, 0.25e-3, 300e-12, 5e-12),
    Range(10e-6, 10e-12, 0.25e-3, 700e-12, 40e-12),
    Range(100e-6, 100e-12, 0.20e-3, 6e-9, 400e-12),
    Range(1e-3, 1e-9, 0.20e-3, 60e-9, 5e-9),
    Range(10e-3, 10e-9, 0.20e-3, 600e-9, 40e-9),
    Range(100e-3, 100e-9, 0.25e-3, 6e-6, 100e-9),
    Range(1.0, 1e-6, 0.30e-3, 500e-6, 3e-6),
)

_SENSE = "[SENSe[1]:]"
_SOURCE = "SOURce[1]:"
_MEASURED = {"CURR:DC": "CURRent[:DC]", "VOLT:DC": "VOLTage[:DC]", "RES": "RESistance"}
_UNITS = {"CURR:DC": "Amp DC", "VOLT:DC": "Volt DC", "RES": "Ohm"}
_ELEMENTS = (
    "DATE",
    "FORMatted",
    "FRACtional",
    "READing",
    "RELative",
    "SEConds",
    "SOURce",
    "SOURFORMatted",
    "SOURSTATus",
    "SOURUNIT",
    "STATus",
    "TIME",
    "TSTamp",
    "UNIT",
)


@dataclass(frozen=True)
class _Record:
    """One reading in a buffer; `time` is bench time, s."""

    time: float
    value: float
    function: str
    source: float


@dataclass
class _Buffer:
    size: int
    records: list[_Record]


@dataclass(frozen=True)
class _Sweep:
    levels: list[float]
    delay: float
    ranging: str
    abort_on_limit: bool
    buffer: str


class Keithley2450Personality(ScpiPersonality):
    """The instrument's end of the wire; it sources and measures at the port ``<name>.output``."""

    number_form = "{:.6E}"
    integer_form = "{:d}"
    error_form = '{code},"{message};1;2000/01/01 00:00:00.000"'
    no_error = '0,"No error;0;0 0"'
    channels = 5  # user delays
    settings = (
        *(
            Setting(f"{key} cycles", f"{_SENSE}{node}:NPLCycles", 1.0, low=0.01, high=10)
            for key, node in _MEASURED.items()
        ),
        *(Setting(f"{key} zero", f"{_SENSE}{node}:AZERo[:STATe]", True) for key, node in _MEASURED.items()),
        *(Setting(f"{key} four-wire", f"{_SENSE}{node}:RSENse", False) for key, node in _MEASURED.items()),
        *(
            Setting(f"{key} user delay", f"{_SENSE}{node}:DELay:USER#", 0.0, low=0, high=1e4)
            for key, node in _MEASURED.items()
        ),
        Setting("RES range", _SENSE + "RESistance:RANGe[:UPPer]", 2e5, low=20, high=2e8),
        Setting("RES auto", _SENSE + "RESistance:RANGe:AUTO", True),
        Setting("count", _SENSE + "COUNt", 1, low=1, high=300_000),
        Setting("current level", _SOURCE + "CURRent[:LEVel][:IMMediate][:AMPLitude]", 0.0, low=-1.05, high=1.05),
        Setting("current range", _SOURCE + "CURRent:RANGe", 1e-8, low=-1, high=1),
        Setting("current auto", _SOURCE + "CURRent:RANGe:AUTO", True),
        Setting("voltage limit", _SOURCE + "CURRent:VLIMit[:LEVel]", 21.0, low=-210, high=210),
        *(
            Setting(f"{word} {what}", f"{_SOURCE}{word}:{node}", default, low=0, high=1e4)
            for word in ("VOLTage", "CURRent")
            for what, node, default in (
                ("delay", "DELay", 0.0),
                ("auto delay", "DELay:AUTO", True),
                ("user delay", "DELay:USER#", 0.0),
                ("read back", "READ:BACK", True),
            )
        ),
        Setting("terminals", "ROUTe:TERMinals", "FRON", choices=("FRONt", "REAR")),
        Setting("language", "*LANG", "SCPI", choices=("SCPI", "TSP", "SCPI2400")),
    )

    def __init__(self, name: str, world: World) -> None:
        super().__init__()
        self.identity = f"KEITHLEY INSTRUMENTS,MODEL 2450,SIM-{name},1.7.12b"
        self._world = world
        self._port = f"{name}.output"
        self._sources = Ranges(SOURCE_VOLTAGE, world, f"{name}.source")
        self._meters = {
            "CURR:DC": Ranges(MEASURE_CURRENT, world, f"{name}.current"),
            "VOLT:DC": Ranges(MEASURE_VOLTAGE, world, f"{name}.voltage"),
        }
        self._shocks = world.random(f"{name}.overshoot")
        self._on = False
        self.reset()

    def reset(self) -> None:
        """Go to the ``*RST`` state: output off (NORMal), 0 V, 105 uA, current measured, autoranges on."""
        self._source_function, self._function = "VOLT", "CURR:DC"
        self._level, self._source_range, self._source_auto = 0.0, 0, True
        self._limit = 105e-6
        self._ranges = {"CURR:DC": 4, "VOLT:DC": 2}
        self._auto = {"CURR:DC": True, "VOLT:DC": True}
        self._off_state = "NORM"
        self._buffers = {"defbuffer1": _Buffer(100_000, []), "defbuffer2": _Buffer(100_000, [])}
        self._sweep: _Sweep | None = None
        self._limiting: bool | None = None
        self._started = self._world.now()
        self._enter_off_state()

    # ---------------------------------------------------------------------------------------------- the output

    @command("OUTPut[1][:STATe]?")
    def _get_output(self) -> str:
        return self.show(self._on)

    @command("OUTPut[1][:STATe]")
    def _set_output(self, argument: str) -> None:
        if read_switch(argument):
            self._switch_on()
        else:
            self._enter_off_state()

    @command("OUTPut[1]:SMODe?", "OUTPut[1]:{VOLTage|CURRent}:SMODe?")
    def _get_off_state(self) -> str:
        return self._off_state

    @command("OUTPut[1]:SMODe", "OUTPut[1]:{VOLTage|CURRent}:SMODe")
    def _set_off_state(self, argument: str) -> None:
        self._off_state = read_choice(argument, ("NORMal", "HIMPedance", "ZERO", "GUARd"))
        if not self._on:
            self._enter_off_state()

    def _switch_on(self) -> None:
        if self._on:
            return
        if self._source_function != "VOLT":
            raise ScpiError(-221, "the simulated 2450 sources voltage only")
        self._on = True
        self._world.limit_current(self._port, self._limit)
        self._drive()
        self._world.connect(self._port, True)
        if self._off_state in ("HIMP", "GUAR"):
            self._world.wait(RELAY_TIME)

    def _enter_off_state(self) -> None:
        self._on, self._limiting = False, None
        if self._off_state in ("HIMP", "GUAR"):  # a guard is a source of 0 A: as good as open
            self._world.connect(self._port, False)
            return
        share = 0.1 if self._off_state == "NORM" else 1.0
        self._world.limit_current(self._port, share * self._meters["CURR:DC"][self._ranges["CURR:DC"]].full_scale)
        self._world.drive(self._port, 0.0, 0.0)
        self._world.connect(self._port, True)

    def _drive(self) -> None:
        self._limiting = None
        self._world.drive(self._port, self._level, self._sources.distort(self._level, self._source_range))

    # ---------------------------------------------------------------------------------------------- the source

    @command(_SOURCE + "FUNCtion[:MODE]?")
    def _get_source_function(self) -> str:
        return self._source_function

    @command(_SOURCE + "FUNCtion[:MODE]")
    def _set_source_function(self, argument: str) -> None:
        function = read_choice(argument, ("VOLTage", "CURRent"))
        self._enter_off_state()  # as the manual warns: changing the function switches the output off
        self._source_function = function

    @command(_SOURCE + "VOLTage[:LEVel][:IMMediate][:AMPLitude]?")
    def _get_level(self, argument: str = "") -> str:
        return self.show(self._read_level(argument) if argument else self._level)

    @command(_SOURCE + "VOLTage[:LEVel][:IMMediate][:AMPLitude]")
    def _set_level(self, argument: str) -> None:
        self._go_to(self._read_level(argument))

    def _read_level(self, argument: str) -> float:
        scale = self._sources[len(self._sources) - 1 if self._source_auto else self._source_range].full_scale
        return read_number(argument, low=-scale * OVERRANGE, high=scale * OVERRANGE, default=0.0)

    def _go_to(self, level: float) -> None:
        if self._source_auto:
            index = self._sources.holding(level, overrange=OVERRANGE)
            assert index is not None
            self._change_source_range(index)
        self._level = level
        if self._on:
            self._drive()
            if not self.value("VOLTage auto delay"):
                self._world.wait(self.value("VOLTage delay"))

    @command(_SOURCE + "VOLTage:RANGe?")
    def _get_source_range(self, argument: str = "") -> str:
        if argument:
            return self.show(read_number(argument, low=0.02, high=200.0, default=0.02))
        return self.show(self._sources[self._source_range].full_scale)

    @command(_SOURCE + "VOLTage:RANGe")
    def _set_source_range(self, argument: str) -> None:
        index = self._sources.holding(read_number(argument, low=-200.0, high=200.0, default=0.02))
        assert index is not None
        if abs(self._level) > self._sources[index].full_scale * OVERRANGE:
            raise ScpiError(-221, "the present level does not fit into the range")
        self._source_auto = False
        self._change_source_range(index)

    @command(_SOURCE + "VOLTage:RANGe:AUTO?")
    def _get_source_auto(self) -> str:
        return self.show(self._source_auto)

    @command(_SOURCE + "VOLTage:RANGe:AUTO")
    def _set_source_auto(self, argument: str) -> None:
        self._source_auto = read_switch(argument)

    def _change_source_range(self, index: int) -> None:
        """Change the range; with the output on the terminals see an overshoot of up to 250 mV."""
        if index == self._source_range:
            return
        self._source_range = index
        if self._on:
            shock = OVERSHOOT * self._shocks.uniform(0.2, 1.0) * self._shocks.choice((-1.0, 1.0))
            self._world.drive(self._port, self._level, self._level + shock)
            self._world.wait(SETTLING)
            self._drive()

    @command(_SOURCE + "VOLTage:ILIMit[:LEVel]?")
    def _get_limit(self, argument: str = "") -> str:
        return self.show(self._read_limit(argument) if argument else self._limit)

    @command(_SOURCE + "VOLTage:ILIMit[:LEVel]")
    def _set_limit(self, argument: str) -> None:
        limit = self._read_limit(argument)
        if not self._auto["CURR:DC"] and limit <= 0.001 * self._meters["CURR:DC"][self._ranges["CURR:DC"]].full_scale:
            raise ScpiError(-221, "the limit must be more than 0.1 % of the measuring range")
        self._limit, self._limiting = limit, None
        if self._on:
            self._world.limit_current(self._port, limit)

    def _read_limit(self, argument: str) -> float:
        limit = abs(read_number(argument, low=-1.05, high=1.05, default=105e-6))
        if limit < SMALLEST_LIMIT:
            raise ScpiError(-222, argument)
        return limit

    @command(_SOURCE + "VOLTage:ILIMit[:LEVel]:TRIPped?")
    def _get_tripped(self) -> str:
        if self._limiting is None:
            self._limiting = self._on and self._world.measure_current(self._port, 10e-6)[1]
        return self.show(bool(self._limiting))

    @command(_SOURCE + "CURRent:VLIMit[:LEVel]:TRIPped?")
    def _get_voltage_tripped(self) -> str:
        return "0"

    # ----------------------------------------------------------------------------------------------- measuring

    @command(_SENSE + "FUNCtion[:ON]?")
    def _get_function(self) -> str:
        return f'"{self._function}"'

    @command(_SENSE + "FUNCtion[:ON]")
    def _set_function(self, argument: str) -> None:
        self._function = _function(read_text(argument))

    @command(_SENSE + "CURRent[:DC]:RANGe[:UPPer]?")
    def _get_current_range(self) -> str:
        return self.show(self._meters["CURR:DC"][self._ranges["CURR:DC"]].full_scale)

    @command(_SENSE + "CURRent[:DC]:RANGe[:UPPer]")
    def _set_current_range(self, argument: str) -> None:
        asked = read_number(argument, low=-1.0, high=1.0, default=1e-8)
        index = self._meters["CURR:DC"].holding(asked)
        assert index is not None
        if self._limit <= 0.001 * self._meters["CURR:DC"][index].full_scale:
            raise ScpiError(-221, "the limit must be more than 0.1 % of the measuring range")
        self._ranges["CURR:DC"], self._auto["CURR:DC"] = index, False

    @command(_SENSE + "VOLTage[:DC]:RANGe[:UPPer]?")
    def _get_voltage_range(self) -> str:
        return self.show(self._meters["VOLT:DC"][self._ranges["VOLT:DC"]].full_scale)

    @command(_SENSE + "VOLTage[:DC]:RANGe[:UPPer]")
    def _set_voltage_range(self, argument: str) -> None:
        index = self._meters["VOLT:DC"].holding(read_number(argument, low=-200.0, high=200.0, default=0.02))
        assert index is not None
        self._ranges["VOLT:DC"], self._auto["VOLT:DC"] = index, False

    @command(_SENSE + "CURRent[:DC]:RANGe:AUTO?")
    def _get_current_auto(self) -> str:
        return self.show(self._auto["CURR:DC"])

    @command(_SENSE + "CURRent[:DC]:RANGe:AUTO")
    def _set_current_auto(self, argument: str) -> None:
        self._auto["CURR:DC"] = read_switch(argument)

    @command(_SENSE + "VOLTage[:DC]:RANGe:AUTO?")
    def _get_voltage_auto(self) -> str:
        return self.show(self._auto["VOLT:DC"])

    @command(_SENSE + "VOLTage[:DC]:RANGe:AUTO")
    def _set_voltage_auto(self, argument: str) -> None:
        self._auto["VOLT:DC"] = read_switch(argument)

    @command(_SENSE + "AZERo:ONCE")
    def _zero_once(self) -> None:
        self._world.wait(2 * self._aperture())

    @command("SYSTem:LFRequency?")
    def _get_line_frequency(self) -> str:
        return self.show(LINE_FREQUENCY)

    @command("MEASure[:CURRent][:DC]?", "READ?")
    def _measure_into(self, buffer: str = "'defbuffer1'", *elements: str) -> str:
        self._take(self._buffer(buffer))
        return self._fetch(buffer, *elements)

    @command("FETCh?")
    def _fetch(self, buffer: str = "'defbuffer1'", *elements: str) -> str:
        records = self._buffer(buffer).records
        if not records:
            raise ScpiError(-230)
        return self._show_record(records[-1], elements)

    def _take(self, buffer: _Buffer) -> None:
        for _ in range(int(self.value("count"))):
            record = _Record(self._world.now(), self._sample(), self._function, self._level)
            buffer.records.append(record)
            del buffer.records[: -buffer.size]

    def _sample(self) -> float:
        if not self._on and self._off_state in ("HIMP", "GUAR"):
            raise ScpiError(-221, "nothing is connected at high impedance")
        aperture = self._aperture()
        current = voltage = 0.0
        if self._function != "VOLT:DC":
            current, self._limiting = self._world.measure_current(self._port, aperture)
        if self._function != "CURR:DC":
            voltage = self._world.measure_voltage(self._port, aperture)
        zeroing = aperture if self.value(f"{self._function} zero") else 0.0
        reading_back = aperture if self.value("VOLTage read back") else 0.0
        self._world.wait(READING_OVERHEAD + zeroing + reading_back)
        if self._function == "RES":
            return voltage / current if current else 9.9e37
        return self._show_on_range(current if self._function == "CURR:DC" else voltage)

    def _show_on_range(self, value: float) -> float:
        meter, function = self._meters[self._function], self._function
        if self._auto[function]:
            holding = meter.holding(value, overrange=OVERRANGE)
            self._ranges[function] = len(meter) - 1 if holding is None else holding
        index = self._ranges[function]
        noise = meter[index].noise / np.sqrt(self.value(f"{function} cycles"))
        reading = meter.distort(value, index, noise=noise)
        if abs(reading) > OVERRANGE * meter[index].full_scale:
            return float(np.copysign(9.9e37, reading))
        return reading

    def _aperture(self) -> float:
        return self.value(f"{self._function} cycles") / LINE_FREQUENCY

    # ------------------------------------------------------------------------------------------------- buffers

    def _buffer(self, argument: str) -> _Buffer:
        name = read_text(argument)
        if name not in self._buffers:
            raise ScpiError(-224, f"no buffer {name}")
        return self._buffers[name]

    @command("TRACe:MAKE")
    def _make_buffer(self, name: str, size: str, _style: str = "") -> None:
        self._buffers[read_text(name)] = _Buffer(int(read_number(size, low=10, high=7e6)), [])

    @command("TRACe:DELete")
    def _delete_buffer(self, name: str) -> None:
        self._buffer(name)
        if read_text(name).startswith("defbuffer"):
            raise ScpiError(-224, "the default buffers stay")
        del self._buffers[read_text(name)]

    @command("TRACe:POINts?")
    def _get_buffer_size(self, buffer: str = "'defbuffer1'") -> str:
        return self.show(self._buffer(buffer).size)

    @command("TRACe:POINts")
    def _set_buffer_size(self, size: str, buffer: str = "'defbuffer1'") -> None:
        found = self._buffer(buffer)
        found.size, found.records = int(read_number(size, low=10, high=7e6)), []

    @command("TRACe:ACTual?")
    def _get_buffer_fill(self, buffer: str = "'defbuffer1'") -> str:
        return self.show(len(self._buffer(buffer).records))

    @command("TRACe:CLEar")
    def _clear_buffer(self, buffer: str = "'defbuffer1'") -> None:
        self._buffer(buffer).records.clear()

    @command("TRACe:TRIGger")
    def _trigger_buffer(self, buffer: str = "'defbuffer1'") -> None:
        self._take(self._buffer(buffer))

    @command("TRACe:DATA?")
    def _get_buffer_data(self, first: str, last: str, buffer: str = "'defbuffer1'", *elements: str) -> str:
        records = self._buffer(buffer).records
        begin, end = (int(read_number(index, low=1, high=max(1, len(records)))) for index in (first, last))
        if begin > end or not records:
            raise ScpiError(-222)
        return ",".join(self._show_record(record, elements) for record in records[begin - 1 : end])

    def _show_record(self, record: _Record, elements: tuple[str, ...]) -> str:
        return ",".join(self._show_element(record, element) for element in elements or ("READing",))

    def _show_element(self, record: _Record, element: str) -> str:
        elapsed, moment = record.time - self._started, time.gmtime(record.time)
        unit = _UNITS[record.function]
        match read_choice(element, _ELEMENTS):
            case "READ":
                return self._show_value(record.value)
            case "SOUR":
                return self._show_value(record.source)
            case "REL":
                return f"{elapsed:.9f}"
            case "SEC":
                return f"{int(record.time)}"
            case "FRAC":
                return f"{record.time % 1:.9f}"
            case "FORM":
                return f"{record.value:+.6e} {unit}"
            case "SOURFORM":
                return f"{record.source:+.6e} Volt DC"
            case "UNIT":
                return unit
            case "SOURUNIT":
                return "Volt DC"
            case "DATE":
                return time.strftime("%m/%d/%Y", moment)
            case "TIME":
                return time.strftime("%H:%M:%S", moment)
            case "TST":
                return time.strftime("%m/%d/%Y %H:%M:%S", moment) + f"{record.time % 1:.9f}"[1:]
            case _:  # the two status words
                return "0"

    def _show_value(self, value: float) -> str:
        return self.show(value) if self._world.imperfections.quantisation else f"{value:.16E}"

    # -------------------------------------------------------------------------------------------------- sweeps

    @command(_SOURCE + "SWEep:VOLTage:LINear")
    def _set_sweep(
        self,
        start: str,
        stop: str,
        points: str,
        delay: str = "-1",
        count: str = "1",
        ranging: str = "BEST",
        fail_abort: str = "ON",
        dual: str = "OFF",
        buffer: str = "'defbuffer1'",
    ) -> None:
        self._buffer(buffer)
        ends = [read_number(end, low=-210, high=210) for end in (start, stop)]
        count_of_points = int(read_number(points, low=2, high=1e6))
        levels = [float(level) for level in np.linspace(ends[0], ends[1], count_of_points)]
        if read_switch(dual):
            levels += levels[-2::-1]
        levels *= int(read_number(count, low=1, high=268_435_455))
        self._sweep = _Sweep(
            levels=levels,
            delay=max(0.0, read_number(delay, low=-1, high=1e4)),
            ranging=read_choice(ranging, ("AUTO", "BEST", "FIXed")),
            abort_on_limit=read_switch(fail_abort),
            buffer=buffer,
        )

    @command("INITiate[:IMMediate]")
    def _initiate(self) -> None:
        sweep = self._sweep
        if sweep is None:
            raise ScpiError(-221, "no trigger model")
        buffer = self._buffer(sweep.buffer)
        buffer.records.clear()
        if sweep.ranging == "BEST":
            highest = max(sweep.levels, key=abs)
            self._change_source_range(self._sources.holding(highest, overrange=OVERRANGE) or 0)
        was_auto, self._source_auto = self._source_auto, sweep.ranging == "AUTO"
        try:
            self._switch_on()
            for level in sweep.levels:
                self._read_level(repr(level))
                self._go_to(level)
                self._world.wait(sweep.delay)
                self._take(buffer)
                if sweep.abort_on_limit and self._limiting:
                    break
        finally:
            self._source_auto = was_auto
            self._enter_off_state()

    @command("ABORt")
    def _abort(self) -> None:
        """Nothing can be under way between two commands: a sweep is finished with its command."""

    @command("STATus:CLEar")
    def _clear_event_registers(self) -> None:
        self._event_status = 0

    @command("SYSTem:CLEar")
    def _clear_events(self) -> None:
        self.errors.clear()


def _function(text: str) -> str:
    """The short form of a measuring function, with its ``:DC``."""
    head = text.upper().removesuffix(":DC")
    for key, node in _MEASURED.items():
        long = node.partition("[")[0]
        if head in (short_form(long), long.upper()):
            return key
    raise ScpiError(-224, text)
