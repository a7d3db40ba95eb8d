"""A simulated Keysight 34465A multimeter, as a direct-voltage meter.

Commands and ``*RST`` defaults: Keysight Truevolt Series Operating and Service Guide, "SCPI Programming Reference".
Checked against a copy of it: input impedance (AUTO OFF after ``*RST``; > 10 Gohm on 100 mV .. 10 V with AUTO ON),
autorange down below 10 % and up above 120 % of the range, input bias current about 30 pA. As remembered, unchecked:
one-year accuracy (data sheet 5991-1983EN, "DC voltage"), the 34465A column of the resolution table (the same numbers
as in the QCoDeS driver), and that the resolution is also the RMS noise of a reading. The bias current is not drawn
from the world: the port is the instrument's connector, and a preamplifier's output stands behind it.
"""

from __future__ import annotations

import numpy as np

from simulators.wire.metrology import Range, Ranges
from simulators.wire.scpi import (
    ScpiError,
    ScpiPersonality,
    Setting,
    command,
    read_number,
    read_switch,
    read_text,
)
from simulators.wire.world import World

LINE_FREQUENCY = 50  # Hz
OVERRANGE = 1.2
INPUT_BIAS_CURRENT = 30e-12  # A, up to 30 degC
READING_OVERHEAD = 0.4e-3  # s beyond the aperture, autorange and autozero off; as remembered, unchecked

# power line cycles: resolution and RMS noise as a fraction of the range
RESOLUTION = {
    0.001: 30e-6,
    0.002: 15e-6,
    0.006: 6e-6,
    0.02: 3e-6,
    0.06: 1.5e-6,
    0.2: 0.7e-6,
    1.0: 0.3e-6,
    10.0: 0.1e-6,
    100.0: 0.03e-6,
}

# one year, 23 degC +- 5 K: (% of reading + % of range)
DC_VOLTAGE = (
    Range(0.1, 0.1 * 0.03e-6, 40e-6, 0.1 * 35e-6, 0.0),
    Range(1.0, 1.0 * 0.03e-6, 35e-6, 1.0 * 4e-6, 0.0),
    Range(10.0, 10.0 * 0.03e-6, 30e-6, 10.0 * 4e-6, 0.0),
    Range(100.0, 100.0 * 0.03e-6, 40e-6, 100.0 * 6e-6, 0.0),
    Range(1000.0, 1000.0 * 0.03e-6, 40e-6, 1000.0 * 6e-6, 0.0),
)

# The driver asks for these under whatever function it has selected; here they are one set for all functions.
_DC = "[SENSe:]{VOLTage|CURRent|RESistance|FRESistance}[:DC]:"
_FUNCTIONS = ("VOLT", "VOLT:AC", "CURR", "CURR:AC", "RES", "FRES")
_LONG = {"VOLTAGE": "VOLT", "CURRENT": "CURR", "RESISTANCE": "RES", "FRESISTANCE": "FRES"}


class Keysight34465APersonality(ScpiPersonality):
    """The instrument's end of the wire; it measures at the port ``<name>.input``."""

    settings = (
        Setting("trigger_count", "TRIGger:COUNt", 1.0, low=1, high=1e6),
        Setting("trigger_delay", "TRIGger:DELay", 0.0, low=0, high=3600),
        Setting("trigger_delay_auto", "TRIGger:DELay:AUTO", True),
        Setting("trigger_slope", "TRIGger:SLOPe", "NEG", choices=("POSitive", "NEGative")),
        Setting("trigger_level", "TRIGger:LEVel", 0.0, low=-1000, high=1000),
        Setting("trigger_source", "TRIGger:SOURce", "IMM", choices=("IMMediate", "EXTernal", "BUS", "INTernal")),
        Setting("sample_count", "SAMPle:COUNt", 1, low=1, high=1e9),
        Setting("pretrigger_count", "SAMPle:COUNt:PRETrigger", 0, low=0, high=49_999),
        Setting("sample_source", "SAMPle:SOURce", "IMM", choices=("IMMediate", "TIMer")),
        Setting("display", "DISPlay[:STATe]", True),
        Setting("display_text", "DISPlay:TEXT[:DATA]", ""),
        Setting("impedance_auto", _DC + "IMPedance:AUTO", False),
        Setting("aperture_enabled", _DC + "APERture:ENABled", False),
    )

    def __init__(self, name: str, world: World) -> None:
        super().__init__()
        self.identity = f"Keysight Technologies,34465A,SIM-{name},A.03.03-02.40-03.03-00.52-04-02"
        self._world = world
        self._port = f"{name}.input"
        self._ranges = Ranges(DC_VOLTAGE, world, name)
        self._memory: list[float] = []
        self.reset()

    def reset(self) -> None:
        """Go to the ``*RST`` state: DC volts, autorange, 10 PLC, autozero on."""
        self._function = "VOLT"
        self._range = len(DC_VOLTAGE) - 1
        self._autorange = True
        self._cycles = 10.0
        self._aperture = 10.0 / LINE_FREQUENCY
        self._autozero = True
        self._timer = 1.0
        self._memory = []

    # -------------------------------------------------------------------------------------- what is measured

    @command("[SENSe:]FUNCtion[:ON]?")
    def _get_function(self) -> str:
        return f'"{self._function}"'

    @command("[SENSe:]FUNCtion[:ON]")
    def _set_function(self, argument: str) -> None:
        nodes = [_LONG.get(node, node) for node in read_text(argument).upper().split(":")]
        function = ":".join(nodes).removesuffix(":DC")
        if function not in _FUNCTIONS:
            raise ScpiError(-224, argument)
        self._function = function

    @command(_DC + "RANGe[:UPPer]?")
    def _get_range(self, argument: str = "") -> str:
        if argument:
            return self.show(float(read_number(argument, low=0.1, high=1000.0, default=1000.0)))
        return self.show(self._ranges[self._range].full_scale)

    @command(_DC + "RANGe[:UPPer]")
    def _set_range(self, argument: str) -> None:
        index = self._ranges.holding(read_number(argument, low=0.0, high=1000.0, default=1000.0))
        assert index is not None
        self._range, self._autorange = index, False

    @command(_DC + "RANGe:AUTO?")
    def _get_autorange(self) -> str:
        return self.show(self._autorange)

    @command(_DC + "RANGe:AUTO")
    def _set_autorange(self, argument: str) -> None:
        if argument.strip().upper() == "ONCE":
            self._choose_range(self._world.measure_voltage(self._port, 1 / LINE_FREQUENCY))
            self._autorange = False
        else:
            self._autorange = read_switch(argument)

    # --------------------------------------------------------------------------------------- integration time

    @command(_DC + "NPLC?")
    def _get_cycles(self, argument: str = "") -> str:
        if argument:
            return self.show(float(read_number(argument, low=min(RESOLUTION), high=max(RESOLUTION), default=10)))
        return self.show(self._cycles)

    @command(_DC + "NPLC")
    def _set_cycles(self, argument: str) -> None:
        asked = read_number(argument, low=min(RESOLUTION), high=max(RESOLUTION), default=10)
        # the next longer one that there is, as the guide says for values in between
        self._cycles = min(cycles for cycles in RESOLUTION if cycles >= asked * (1 - 1e-9))
        self._aperture = self._cycles / LINE_FREQUENCY
        self.values["aperture_enabled", 1] = False

    @command(_DC + "RESolution?")
    def _get_resolution(self, argument: str = "") -> str:
        scale = self._ranges[self._range].full_scale
        low, high = (scale * fraction for fraction in (min(RESOLUTION.values()), max(RESOLUTION.values())))
        if argument:
            return self.show(float(read_number(argument, low=low, high=high, default=scale * RESOLUTION[10])))
        return self.show(scale * self._fraction())

    @command(_DC + "RESolution")
    def _set_resolution(self, argument: str) -> None:
        scale = self._ranges[self._range].full_scale
        low, high = (scale * fraction for fraction in (min(RESOLUTION.values()), max(RESOLUTION.values())))
        asked = read_number(argument, low=low * (1 - 1e-9), high=np.inf, default=scale * RESOLUTION[10])
        asked = min(asked, high)
        enough = [cycles for cycles, fraction in RESOLUTION.items() if fraction * scale <= asked * (1 + 1e-9)]
        self._set_cycles(repr(min(enough)))

    @command(_DC + "APERture?")
    def _get_aperture(self) -> str:
        return self.show(self._aperture)

    @command(_DC + "APERture")
    def _set_aperture(self, argument: str) -> None:
        self._aperture = read_number(argument, low=20e-6, high=2.0, default=0.1)
        self._cycles = max(min(RESOLUTION), self._aperture * LINE_FREQUENCY)
        self.values["aperture_enabled", 1] = True

    @command(_DC + "ZERO:AUTO?")
    def _get_autozero(self) -> str:
        return self.show(self._autozero)

    @command(_DC + "ZERO:AUTO")
    def _set_autozero(self, argument: str) -> None:
        if argument.strip().upper() == "ONCE":
            self._world.wait(max(self._aperture, 1 / LINE_FREQUENCY))
            self._autozero = False
        else:
            self._autozero = read_switch(argument)

    @command("SYSTem:LFRequency?")
    def _get_line_frequency(self) -> str:
        return self.show(LINE_FREQUENCY)

    # ------------------------------------------------------------------------------------------------ triggers

    @command("SAMPle:TIMer?")
    def _get_timer(self, argument: str = "") -> str:
        if argument:
            return self.show(float(read_number(argument, low=self._shortest_interval(), high=3600.0, default=1.0)))
        return self.show(self._timer)

    @command("SAMPle:TIMer")
    def _set_timer(self, argument: str) -> None:
        self._timer = read_number(argument, low=0.0, high=3600.0, default=1.0)

    @command("READ?")
    def _read(self) -> str:
        self._start()
        if self.value("trigger_source") not in ("IMM", "INT"):
            raise ScpiError(-221, "READ? would wait for a trigger that only the bus can give")
        return self._fetch()

    @command("INITiate[:IMMediate]")
    def _start(self) -> None:
        self._memory = []
        if self.value("trigger_source") in ("IMM", "INT"):
            for _ in range(int(self.value("trigger_count"))):
                self._measure()

    @command("*TRG")
    def _trigger(self) -> None:
        if self.value("trigger_source") == "BUS":
            self._measure()

    @command("ABORt")
    def _abort(self) -> None:
        """Nothing can be under way between two commands: every measurement is finished with its command."""

    @command("FETCh?")
    def _fetch(self) -> str:
        if not self._memory:
            raise ScpiError(-230)
        return ",".join(self._show_reading(value) for value in self._memory)

    def _measure(self) -> None:
        """Take one trigger's samples into the memory."""
        self._world.wait(0.0 if self.value("trigger_delay_auto") else self.value("trigger_delay"))
        for _ in range(int(self.value("sample_count"))):
            begin = self._world.now()
            self._memory.append(self._sample())
            if self.value("sample_source") == "TIM":
                self._world.wait(max(0.0, self._timer - (self._world.now() - begin)))

    def _sample(self) -> float:
        if self._function != "VOLT":  # nothing alternating, nothing at the current terminals, no resistance test
            self._world.wait(self._aperture)
            return 9.9e37 if self._function in ("RES", "FRES") else 0.0
        voltage = self._world.measure_voltage(self._port, self._aperture)
        self._world.wait(READING_OVERHEAD + (self._aperture if self._autozero else 0.0))
        if self._autorange:
            self._choose_range(voltage)
        scale = self._ranges[self._range].full_scale
        noise = scale * self._fraction()
        reading = self._ranges.distort(voltage, self._range, noise=noise, resolution=noise)
        if abs(reading) > min(scale * OVERRANGE, 1000.0):
            return float(np.copysign(9.9e37, reading))
        return reading

    def _choose_range(self, voltage: float) -> None:
        scale = self._ranges[self._range].full_scale
        if abs(voltage) > OVERRANGE * scale or abs(voltage) < 0.1 * scale:
            holding = self._ranges.holding(voltage, overrange=OVERRANGE)
            self._range = len(self._ranges) - 1 if holding is None else holding

    def _fraction(self) -> float:
        """Resolution as a fraction of the range, at the present integration time."""
        return float(
            np.interp(np.log(self._cycles), np.log(list(RESOLUTION)), list(RESOLUTION.values()))
            if self._cycles not in RESOLUTION
            else RESOLUTION[self._cycles]
        )

    def _shortest_interval(self) -> float:
        return self._aperture * (2 if self._autozero else 1) + READING_OVERHEAD

    def _show_reading(self, value: float) -> str:
        return self.show(value) if self._world.imperfections.quantisation else f"{value:+.16E}"

    # --------------------------------------------------------------------------------------------------- others

    @command("SYSTem:LICense:CATalog?")
    def _licences(self) -> str:
        return '"DIG","MEM"'

    @command("DISPlay:TEXT:CLEar")
    def _clear_display(self) -> None:
        self.values["display_text", 1] = ""

    @command("CONFigure[:VOLTage][:DC]")
    def _configure(self, scale: str = "DEF", _resolution: str = "DEF") -> None:
        self.values.clear()
        self._function, self._autozero, self._cycles = "VOLT", True, 10.0
        self._aperture = self._cycles / LINE_FREQUENCY
        if scale.strip().upper() in ("DEF", "AUTO"):
            self._autorange = True
        else:
            self._set_range(scale)

    @command("MEASure[:VOLTage][:DC]?")
    def _measure_directly(self, scale: str = "DEF", resolution: str = "DEF") -> str:
        self._configure(scale, resolution)
        return self._read()
