"""A simulated QDevil QDAC-II: 24 voltage sources that can each measure their own current.

Commands: those that `qcodes_contrib_drivers` 0.24.1 sends. Checked in the maker's online hardware page: 24 channels,
25 bits, 10 Hz / 10 kHz / 300 kHz filters, current resolution down to a few tens of pA. Checked in the driver: current
ranges 10 mA (high) and 200 nA (low), slew limits 0.01 .. 2e7 V/s. As remembered, unchecked: that ``low`` is the +-2 V
and ``high`` the +-10 V output range, ``*RST`` defaults (high range, high filter, 0 V, unlimited slew, high current
range, 1 power line cycle), accuracy, the noise of the high current range, 9.9e37 for a current beyond the range and
for an unlimited slew, and a refusal of ``sour:volt`` outside of fixed mode. A message is one command: the instrument
does not split at ``;``.

Every generator finishes within the command that starts it, and bench time passes meanwhile. Sine, square, triangle and
arbitrary waves are not simulated: their commands are refused with -113, and none ever has cycles left.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from simulators.wire.metrology import Range, Ranges
from simulators.wire.scpi import (
    ScpiError,
    ScpiPersonality,
    Setting,
    command,
    read_choice,
    read_floats,
    read_number,
    read_text,
)
from simulators.wire.world import World

LINE_FREQUENCY = 50  # Hz
CHANNELS = 24
SLEW_STEP = 1e-3  # s between two steps of a finite slew
MOST_SLEW_STEPS = 200
FASTEST_SLEW = 2e7  # V/s

# 25 bits over the span; accuracy as remembered, unchecked
VOLTAGE = {"LOW": Range(2.0, 4.0 / 2**25, 100e-6, 50e-6, 0.0), "HIGH": Range(10.0, 20.0 / 2**25, 100e-6, 250e-6, 0.0)}
# noise for one power line cycle; low from "a few tens of pA", high as remembered
CURRENT = {"LOW": Range(200e-9, 1e-12, 1e-3, 50e-12, 20e-12), "HIGH": Range(10e-3, 10e-9, 1e-3, 500e-9, 100e-9)}
_NAMES = ("LOW", "HIGH")

_TRIGGERS = (
    "IMMediate",
    "BUS",
    "HOLD",
    *(f"INT{number}" for number in range(1, 17)),
    *(f"EXT{number}" for number in range(1, 6)),
)
_MARKERS = ("STARt", "END", "SSTart", "SEND")


@dataclass
class _Channel:
    """What one channel does now."""

    output: float = 0.0  # what it was last told to give, at the end of its slew
    level: float = 0.0  # what `volt?` answers
    next_level: float = 0.0
    mode: str = "FIX"
    span: str = "HIGH"
    current_span: str = "HIGH"
    aperture: float = 1 / LINE_FREQUENCY
    voltages: list[float] = field(default_factory=lambda: [0.0])
    step: int = 0
    armed: bool = False
    readings: list[float] = field(default_factory=list)


class Qdac2Personality(ScpiPersonality):
    """The instrument's end of the wire; channel 3 of ``gates`` is the port ``gates.ch03``."""

    number_form = "{:.10g}"
    integer_form = "{:d}"
    error_form = '{code}, "{message}"'
    no_error = '0, "No error"'
    channels = CHANNELS
    splits_compounds = False
    settings = (
        Setting("filter", "SOURce#:FILTer", "HIGH", choices=("DC", "MEDium", "HIGH")),
        Setting("slew", "SOURce#[:DC]:VOLTage:SLEW", np.inf, low=0.01, high=np.inf),
        Setting("continuous", "SOURce#:DC:INITiate:CONTinuous", False),
        Setting("dc delay", "SOURce#:DC:DELay", 0.0, low=0.0, high=3600.0),
        *(Setting(f"marker {name}", f"SOURce#:DC:MARKer:{name}", 0, low=0, high=14) for name in _MARKERS),
        Setting("dwell", "SOURce#:{SWEep|LIST}:DWELl", 1e-3, low=1e-6, high=3600.0),
        Setting("repetitions", "SOURce#:{SWEep|LIST}:COUNt", 1, low=1, high=2**31),
        Setting("direction", "SOURce#:{SWEep|LIST}:DIRection", "UP", choices=("UP", "DOWN")),
        Setting("list mode", "SOURce#:LIST:TMODe", "AUTO", choices=("AUTO", "STEPped")),
        Setting("sweep start", "SOURce#:SWEep[:VOLTage]:STARt", 0.0, low=-10.0, high=10.0),
        Setting("sweep stop", "SOURce#:SWEep[:VOLTage]:STOP", 0.0, low=-10.0, high=10.0),
        Setting("sweep points", "SOURce#:SWEep:POINts", 11, low=1, high=1_000_000),
        Setting("sweep kind", "SOURce#:SWEep:GENeration", "STEP", choices=("STEPped", "ANALog")),
        Setting("sense delay", "SENSe#:DELay", 0.0, low=0.0, high=3600.0),
        Setting("sense count", "SENSe#:COUNt", 1, low=1, high=1_000_000),
        Setting("sense continuous", "SENSe#:INITiate:CONTinuous", False),
        Setting("sense trigger", "SENSe#:TRIGger:SOURce", "IMM", choices=_TRIGGERS),
        Setting("trigger", "SOURce#:DC:TRIGger:SOURce", "IMM", choices=_TRIGGERS),
        Setting("external source", "OUTPut:TRIGger#:SOURce", "HOLD", choices=_TRIGGERS),
        Setting("external width", "OUTPut:TRIGger#:WIDTh", 1e-6, low=1e-6, high=3600.0),
        Setting("external delay", "OUTPut:TRIGger#:DELay", 0.0, low=0.0, high=3600.0),
        Setting("external polarity", "OUTPut:TRIGger#:POLarity", "NORM", choices=("NORMal", "INVerted")),
    )

    def __init__(self, name: str, world: World) -> None:
        super().__init__()
        self.identity = f"QDevil, QDAC-II, SIM-{name}, 13-1.57"
        self._world = world
        self._ports = {number: f"{name}.ch{number:02d}" for number in range(1, CHANNELS + 1)}
        self._sources = {
            number: Ranges([VOLTAGE[span] for span in _NAMES], world, port) for number, port in self._ports.items()
        }
        self._meters = {
            number: Ranges([CURRENT[span] for span in _NAMES], world, f"{port}.current")
            for number, port in self._ports.items()
        }
        self._traces: dict[str, list[float]] = {}
        self.reset()
        for port in self._ports.values():
            world.connect(port, True)

    def reset(self) -> None:
        """Go to the ``*RST`` state: every output at 0 V on the high range, at once."""
        self._channels = {number: _Channel() for number in self._ports}
        for number in self._ports:
            self._drive(number, 0.0)

    # ------------------------------------------------------------------------------------------------- voltage

    @command("SOURce#[:DC]:VOLTage[:LEVel][:IMMediate][:AMPLitude]")
    def _set_voltage(self, number: int, argument: str) -> None:
        channel = self._channels[number]
        if channel.mode != "FIX":
            raise ScpiError(-221, "not in fixed mode")
        channel.level = self._read_voltage(number, argument)
        self._move(number, channel.level)

    @command("SOURce#[:DC]:VOLTage[:LEVel][:IMMediate][:AMPLitude]?")
    def _get_voltage(self, number: int, argument: str = "") -> str:
        return self.show(self._read_voltage(number, argument) if argument else self._channels[number].level)

    @command("SOURce#[:DC]:VOLTage:LAST?")
    def _get_output(self, number: int) -> str:
        return self.show(self._channels[number].output)

    @command("SOURce#[:DC]:VOLTage:TRIGgered")
    def _set_next(self, number: int, argument: str) -> None:
        self._channels[number].next_level = self._read_voltage(number, argument)

    @command("SOURce#[:DC]:VOLTage:TRIGgered?")
    def _get_next(self, number: int) -> str:
        return self.show(self._channels[number].next_level)

    @command("SOURce#[:DC]:VOLTage:MODE")
    def _set_mode(self, number: int, argument: str) -> None:
        self._channels[number].mode = read_choice(argument, ("FIXed", "LIST", "SWEep"))

    @command("SOURce#[:DC]:VOLTage:MODE?")
    def _get_mode(self, number: int) -> str:
        return self._channels[number].mode

    @command("SOURce#:RANGe")
    def _set_range(self, number: int, argument: str) -> None:
        span = read_choice(argument, _NAMES)
        channel = self._channels[number]
        if abs(channel.output) > VOLTAGE[span].full_scale:
            raise ScpiError(-221, "the present voltage does not fit into the range")
        channel.span = span
        self._drive(number, channel.output)

    @command("SOURce#:RANGe?")
    def _get_range(self, number: int) -> str:
        return self._channels[number].span

    @command("SOURce#:RANGe:LOW:MINimum?")
    def _lowest_of_low(self, number: int) -> str:
        return self.show(-VOLTAGE["LOW"].full_scale)

    @command("SOURce#:RANGe:LOW:MAXimum?")
    def _highest_of_low(self, number: int) -> str:
        return self.show(VOLTAGE["LOW"].full_scale)

    @command("SOURce#:RANGe:HIGH:MINimum?")
    def _lowest_of_high(self, number: int) -> str:
        return self.show(-VOLTAGE["HIGH"].full_scale)

    @command("SOURce#:RANGe:HIGH:MAXimum?")
    def _highest_of_high(self, number: int) -> str:
        return self.show(VOLTAGE["HIGH"].full_scale)

    def _read_voltage(self, number: int, argument: str) -> float:
        scale = VOLTAGE[self._channels[number].span].full_scale
        return read_number(argument, low=-scale, high=scale, default=0.0)

    def _move(self, number: int, target: float) -> None:
        """Go to `target` at the channel's slew: in steps of a millisecond, fewer if that would be too many."""
        slew = self.value("slew", number)
        start = self._channels[number].output
        duration = abs(target - start) / slew if slew < FASTEST_SLEW else 0.0
        steps = min(MOST_SLEW_STEPS, int(duration / SLEW_STEP))
        for step in range(1, steps + 1):
            self._world.wait(duration / (steps + 1))
            self._drive(number, start + (target - start) * step / (steps + 1), programmed=target)
        self._world.wait(duration / (steps + 1))
        self._drive(number, target)

    def _drive(self, number: int, voltage: float, programmed: float | None = None) -> None:
        channel = self._channels[number]
        channel.output = voltage
        actual = self._sources[number].distort(voltage, _NAMES.index(channel.span))
        self._world.drive(self._ports[number], voltage if programmed is None else programmed, actual)

    # ------------------------------------------------------------------------------------- lists and sweeps

    @command("SOURce#:LIST:VOLTage")
    def _set_list(self, number: int, *values: str) -> None:
        self._channels[number].voltages = self._read_list(number, values)

    @command("SOURce#:LIST:VOLTage:APPend")
    def _append_to_list(self, number: int, *values: str) -> None:
        self._channels[number].voltages += self._read_list(number, values)

    @command("SOURce#:LIST:VOLTage?")
    def _get_list(self, number: int) -> str:
        return ",".join(self.show(voltage) for voltage in self._channels[number].voltages)

    @command("SOURce#:LIST:POINts?")
    def _get_list_length(self, number: int) -> str:
        return self.show(len(self._channels[number].voltages))

    @command("SOURce#:SWEep:TIME?")
    def _get_sweep_time(self, number: int) -> str:
        return self.show(self.value("dwell", number) * self.value("sweep points", number))

    @command("SOURce#:{SWEep|LIST|SINusoid|SINE|SQUare|TRIangle|AWG}:NCLeft?", "SENSe#:NCLeft?")
    def _get_cycles_left(self, number: int) -> str:
        return "0"

    @command("SOURce#:DC:INITiate[:IMMediate]")
    def _initiate(self, number: int) -> None:
        channel = self._channels[number]
        channel.step, channel.armed = 0, True
        if self.value("trigger", number) == "IMM":
            self._run(number)

    @command("SOURce#:{DC|ALL}:ABORt")
    def _abort_channel(self, number: int) -> None:
        self._channels[number].armed = False

    @command("ABORt")
    def _abort(self) -> None:
        for channel in self._channels.values():
            channel.armed = False

    @command("*TRG")
    def _trigger_bus(self) -> None:
        self._trigger("BUS")

    @command("TINTernal[:SIGNal]")
    def _trigger_internal(self, argument: str) -> None:
        self._trigger(f"INT{int(read_number(argument, low=1, high=16))}")

    @command("OUTPut:TRIGger#:SIGNal")
    def _signal_external(self, number: int) -> None:
        """A pulse on an output trigger, which nothing on the simulated bench listens to."""

    def _trigger(self, source: str) -> None:
        for number, channel in self._channels.items():
            if self.value("trigger", number) == source and (channel.armed or self.value("continuous", number)):
                self._run(number)
            if self.value("sense trigger", number) == source:
                self._measure(number)

    def _run(self, number: int) -> None:
        """Do what a trigger starts: go to the next voltage, or through a list or sweep, or one step of a list."""
        channel = self._channels[number]
        self._world.wait(self.value("dc delay", number))
        if channel.mode == "FIX":
            channel.level = channel.next_level
            self._move(number, channel.level)
            channel.armed = False
            return
        voltages = channel.voltages
        if channel.mode == "SWE":
            ends = (self.value("sweep start", number), self.value("sweep stop", number))
            voltages = [float(voltage) for voltage in np.linspace(*ends, self.value("sweep points", number))]
        if self.value("direction", number) == "DOWN":
            voltages = voltages[::-1]
        voltages = voltages * self.value("repetitions", number)
        if channel.mode == "LIST" and self.value("list mode", number) == "STEP":
            voltages = voltages[channel.step : channel.step + 1]
            channel.step += 1
        else:
            channel.armed = False
        for voltage in voltages:
            self._drive(number, voltage)
            self._world.wait(self.value("dwell", number))
        channel.level = channel.output

    def _read_list(self, number: int, values: tuple[str, ...]) -> list[float]:
        voltages = read_floats(values)
        if not voltages:
            raise ScpiError(-109)
        if max(abs(voltage) for voltage in voltages) > VOLTAGE[self._channels[number].span].full_scale:
            raise ScpiError(-222)
        return voltages

    # ------------------------------------------------------------------------------------------------- current

    @command("SENSe#:RANGe")
    def _set_current_range(self, number: int, argument: str) -> None:
        self._channels[number].current_span = read_choice(argument, _NAMES)

    @command("SENSe#:RANGe?")
    def _get_current_range(self, number: int) -> str:
        return self._channels[number].current_span

    @command("SENSe#:APERture")
    def _set_aperture(self, number: int, argument: str) -> None:
        self._channels[number].aperture = read_number(argument, low=3e-4, high=60.0, default=0.02)

    @command("SENSe#:APERture?")
    def _get_aperture(self, number: int) -> str:
        return self.show(self._channels[number].aperture)

    @command("SENSe#:NPLCycles", "SENSe#:NPLC")
    def _set_cycles(self, number: int, argument: str) -> None:
        self._channels[number].aperture = read_number(argument, low=1, high=3000, default=1) / LINE_FREQUENCY

    @command("SENSe#:NPLCycles?", "SENSe#:NPLC?")
    def _get_cycles(self, number: int) -> str:
        return self.show(max(1, round(self._channels[number].aperture * LINE_FREQUENCY)))

    @command("SENSe#:INITiate[:IMMediate]")
    def _initiate_measurement(self, number: int) -> None:
        if self.value("sense trigger", number) == "IMM":
            self._measure(number)

    @command("SENSe#:ABORt")
    def _abort_measurement(self, number: int) -> None:
        """Nothing can be under way between two commands: every measurement is finished with its command."""

    @command("READ#?")
    def _read(self, number: int) -> str:
        self._channels[number].readings.clear()
        self._measure(number)
        return self._fetch(number)

    @command("FETCh#?")
    def _fetch(self, number: int) -> str:
        return ",".join(self._show_reading(value) for value in self._channels[number].readings)

    @command("SENSe#:DATA:LAST?")
    def _get_last(self, number: int) -> str:
        readings = self._channels[number].readings
        return self._show_reading(readings[-1] if readings else 0.0)

    @command("SENSe#:DATA:POINts?")
    def _count_readings(self, number: int) -> str:
        return self.show(len(self._channels[number].readings))

    @command("SENSe#:DATA:REMove?")
    def _remove_readings(self, number: int) -> str:
        reply = self._fetch(number)
        self._channels[number].readings.clear()
        return reply

    def _measure(self, number: int) -> None:
        channel = self._channels[number]
        index = _NAMES.index(channel.current_span)
        scale = CURRENT[channel.current_span]
        noise = scale.noise / np.sqrt(channel.aperture * LINE_FREQUENCY)
        for _ in range(self.value("sense count", number)):
            self._world.wait(self.value("sense delay", number))
            current, _limiting = self._world.measure_current(self._ports[number], channel.aperture)
            reading = self._meters[number].distort(current, index, noise=noise)
            if abs(reading) > scale.full_scale:
                reading = float(np.copysign(9.9e37, reading))
            channel.readings.append(reading)

    def _show_reading(self, value: float) -> str:
        return f"{value:.6e}" if self._world.imperfections.quantisation else f"{value:.16e}"

    # -------------------------------------------------------------------------------------------------- others

    @command("SYSTem:ERRor:ALL?")
    def _all_errors(self) -> str:
        errors = [self.show_error(code) for code in self.errors] or [self.no_error]
        self.errors.clear()
        return ",".join(errors)

    @command("SYSTem:COMMunicate:LAN:MAC?")
    def _get_mac(self) -> str:
        return '"04E9E5000000"'

    @command("TRACe:DEFine")
    def _define_trace(self, name: str, size: str) -> None:
        self._traces[read_text(name)] = [0.0] * int(read_number(size, low=1, high=1e6))

    @command("TRACe:DATA")
    def _fill_trace(self, name: str, *values: str) -> None:
        trace = read_text(name)
        if trace not in self._traces:
            raise ScpiError(-224, trace)
        voltages = read_floats(values)
        if len(voltages) != len(self._traces[trace]):
            raise ScpiError(-161)
        self._traces[trace] = voltages

    @command("TRACe:CATalog?")
    def _list_traces(self) -> str:
        return ",".join(f'"{name}"' for name in self._traces)

    @command("TRACe:REMove:ALL")
    def _remove_traces(self) -> None:
        self._traces.clear()
