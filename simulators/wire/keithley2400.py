"""A simulated Keithley 2400 SourceMeter that sources voltage and measures current, voltage and ohms.

Series 2400 SourceMeter User's Manual, 2400S-900-01 Rev. K. Checked against a copy of it: ``CONFigure`` and ``MEASure?``
turn the output on (p. 17-2, 17-5), ``READ?`` with the output off is +803 unless auto output-off is on (p. 17-5, B-6),
data elements and their order, 9.9E37 and 9.91E37 (p. 18-49), the status word of the example on p. 18-53, output-off
states (p. 18-57, 13-9: NORMal holds 0 V with 0.5 % of the current range as limit; the relay of HIMPedance takes 15 ms),
measuring range by the compliance range, 100 mA at most on the 200 V source range (p. 18-62), a compliance of 0.1 % of
the present measuring range at least (p. 18-68) and 1 nA to 1.05 A (p. 6-2), compliance "real" or "range", whichever is
lower (p. 6-2), codes +800 .. +831 (p. B-6, B-7). Ranges, resolution, accuracy and noise: SPEC-2400 Rev. H (2004); noise
is a sixth of its peak-to-peak value. As remembered, unchecked: which error each refusal leaves, ``RANGe?`` as 105 % of
full scale, the ``*RST`` function (amperes only), that ``CONFigure`` leaves compliance and ohms mode alone, two further
apertures for autozero, reading overhead, range-change overshoot (that of the 6430), bits 0, 3 and 16 of the status
word, that a buffer which is full stops feeding.

Not simulated: sourcing current into the world, and so auto ohms (both are -221), limit tests, source memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulators.wire.metrology import Range, Ranges
from simulators.wire.scpi import (
    MESSAGES,
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
from simulators.wire.voltage_output import VoltageOutput
from simulators.wire.world import World

LINE_FREQUENCY = 50  # Hz
OVERRANGE = 1.05
OVERSHOOT = 0.1  # V
READING_OVERHEAD = 1e-3  # s
SMALLEST_LIMIT = 1e-9  # A
HIGHEST_AT_200_VOLTS = 0.105  # A
NOTHING = 9.91e37  # of an element that was neither sourced nor measured
BUFFER_FULL, READING_AVAILABLE = 512, 64  # of the measurement event register

SOURCE_VOLTAGE = (  # one year: % setting + volts
    Range(0.2, 5e-6, 0.2e-3, 600e-6, 5e-6 / 6),
    Range(2.0, 50e-6, 0.2e-3, 600e-6, 50e-6 / 6),
    Range(20.0, 500e-6, 0.2e-3, 2.4e-3, 500e-6 / 6),
    Range(200.0, 5e-3, 0.2e-3, 24e-3, 5e-3 / 6),
)
MEASURE_VOLTAGE = (
    Range(0.2, 1e-6, 0.12e-3, 300e-6, 5e-6 / 6),
    Range(2.0, 10e-6, 0.12e-3, 300e-6, 50e-6 / 6),
    Range(20.0, 100e-6, 0.15e-3, 1.5e-3, 500e-6 / 6),
    Range(200.0, 1e-3, 0.15e-3, 10e-3, 5e-3 / 6),
)
# The data sheet gives noise for sourcing only; the same shunts measure, so it is used for a reading of one cycle.
MEASURE_CURRENT = (
    Range(1e-6, 10e-12, 0.29e-3, 300e-12, 5e-12 / 6),
    Range(10e-6, 100e-12, 0.27e-3, 700e-12, 50e-12 / 6),
    Range(100e-6, 1e-9, 0.25e-3, 6e-9, 500e-12 / 6),
    Range(1e-3, 10e-9, 0.27e-3, 60e-9, 5e-9 / 6),
    Range(10e-3, 100e-9, 0.35e-3, 600e-9, 50e-9 / 6),
    Range(100e-3, 1e-6, 0.55e-3, 6e-6, 500e-9 / 6),
    Range(1.0, 10e-6, 2.2e-3, 570e-6, 5e-6 / 6),
)
DEFAULT_CURRENT_RANGE, DEFAULT_VOLTAGE_RANGE = 2, 2  # 100 uA, 20 V

_SENSE = "[SENSe[1]:]"
_SOURCE = "SOURce[1]:"
_ARM = "ARM[:SEQuence[1]][:LAYer[1]]"
_TRIGGER = "TRIGger[:SEQuence[1]]"
_TRACE = "{TRACe|DATA}"
_FUNCTIONS = {"VOLT:DC": "VOLTage[:DC]", "CURR:DC": "CURRent[:DC]", "RES": "RESistance"}
_ELEMENTS = ("VOLTage", "CURRent", "RESistance", "TIME", "STATus")
_LINES = ("ILINe", 1), ("OLINe", 2)


@dataclass(frozen=True)
class _Record:
    """One source-delay-measure cycle; an element that was not measured is what was sourced, or NaN."""

    volts: float
    amperes: float
    ohms: float
    time: float
    status: int


class Keithley2400Personality(ScpiPersonality):
    """The instrument's end of the wire; it sources and measures at the port ``<name>.output``."""

    number_form = "{:+.6E}"
    integer_form = "{:d}"
    no_error = '0,"No error"'
    event_bit = 1
    messages = MESSAGES | {
        802: "OUTPUT blocked by output enable",
        803: "Not permitted with OUTPUT off",
        822: "Too small for sense range",
        824: "Cannot exceed compliance range",
        826: "Attempt to exceed power limit",
    }
    settings = (
        Setting("cycles", _SENSE + "{CURRent[:DC]|VOLTage[:DC]|RESistance}:NPLCycles", 1.0, low=0.01, high=10),
        Setting("concurrent", _SENSE + "FUNCtion:CONCurrent", True),
        Setting("lowest auto", _SENSE + "CURRent[:DC]:RANGe:AUTO:LLIMit", 1e-6, low=-105e-6, high=105e-6),
        Setting("sync", _SENSE + "{CURRent|VOLTage}[:DC]:PROTection:RSYNchronize", False),
        Setting("voltage limit", _SENSE + "VOLTage[:DC]:PROTection[:LEVel]", 21.0, low=-210, high=210),
        Setting("ohms range", _SENSE + "RESistance:RANGe[:UPPer]", 2.1e5, low=0, high=2.1e8),
        Setting("ohms auto", _SENSE + "RESistance:RANGe:AUTO", True),
        Setting("ohms mode", _SENSE + "RESistance:MODE", "AUTO", choices=("AUTO", "MANual")),
        Setting("filter", _SENSE + "AVERage[:STATe]", False),
        Setting("filter count", _SENSE + "AVERage:COUNt", 10, low=1, high=100),
        Setting("filter kind", _SENSE + "AVERage:TCONtrol", "REP", choices=("REPeat", "MOVing")),
        Setting("current level", _SOURCE + "CURRent[:LEVel][:IMMediate][:AMPLitude]", 0.0, low=-1.05, high=1.05),
        Setting("current range", _SOURCE + "CURRent:RANGe", 1.05e-4, low=-1.05, high=1.05),
        Setting("current auto", _SOURCE + "CURRent:RANGe:AUTO", True),
        Setting("overvoltage", _SOURCE + "VOLTage:PROTection[:LEVel]", 210.0, low=-210, high=210),
        Setting("auto delay", _SOURCE + "DELay:AUTO", True),
        Setting("auto off", _SOURCE + "CLEar:AUTO", False),
        Setting("mode", _SOURCE + "VOLTage:MODE", "FIX", choices=("FIXed", "SWEep", "LIST")),
        Setting("start", _SOURCE + "VOLTage:STARt", 0.0, low=-210, high=210),
        Setting("stop", _SOURCE + "VOLTage:STOP", 0.0, low=-210, high=210),
        Setting("points", _SOURCE + "SWEep:POINts", 2500, low=1, high=2500),
        Setting("spacing", _SOURCE + "SWEep:SPACing", "LIN", choices=("LINear", "LOGarithmic")),
        Setting("direction", _SOURCE + "SWEep:DIRection", "UP", choices=("UP", "DOWN")),
        Setting("ranging", _SOURCE + "SWEep:RANGing", "BEST", choices=("BEST", "AUTO", "FIXed")),
        Setting("arm count", _ARM + ":COUNt", 1, low=1, high=2500),
        Setting("arm timer", _ARM + ":TIMer", 0.1, low=1e-3, high=99999.99),
        Setting("arm source", _ARM + ":SOURce", "IMM", choices=("IMMediate", "TLINk", "TIMer", "MANual", "BUS")),
        Setting("arm output", _ARM + "[:TCONfigure]:OUTPut", "NONE", choices=("TENTer", "TEXit", "NONE")),
        *(Setting(f"arm {word}", f"{_ARM}[:TCONfigure]:{word}", line, low=1, high=4) for word, line in _LINES),
        Setting("trigger count", _TRIGGER + ":COUNt", 1, low=1, high=2500),
        Setting("trigger delay", _TRIGGER + ":DELay", 0.0, low=0, high=999.9999),
        Setting("trigger source", _TRIGGER + ":SOURce", "IMM", choices=("IMMediate", "TLINk")),
        Setting(
            "trigger output", _TRIGGER + "[:TCONfigure]:OUTPut", "NONE", choices=("SOURce", "DELay", "SENSe", "NONE")
        ),
        *(Setting(f"trigger {word}", f"{_TRIGGER}[:TCONfigure]:{word}", line, low=1, high=4) for word, line in _LINES),
        Setting("feed", _TRACE + ":FEED", "SENS", choices=("SENSe", "CALCulate", "CALCulate2")),
        Setting("time format", _TRACE + ":TSTamp:FORMat", "ABS", choices=("ABSolute", "DELTa")),
        Setting("statistic", "CALCulate3:FORMat", "MEAN", choices=("MEAN", "SDEViation", "MAXimum", "MINimum", "PKPK")),
        Setting("data form", "FORMat[:DATA]", "ASC", choices=("ASCii",)),
        Setting("display", "DISPlay:ENABle", True),
        Setting("line auto", "SYSTem:LFRequency:AUTO", False),
        Setting("line", "SYSTem:LFRequency", LINE_FREQUENCY, low=50, high=60),
        Setting("four-wire", "SYSTem:RSENse", False),
        Setting("terminals", "ROUTe:TERMinals", "FRON", choices=("FRONt", "REAR")),
        Setting("operation mask", "STATus:OPERation:ENABle", 0, low=0, high=65535),
        Setting("questionable mask", "STATus:QUEStionable:ENABle", 0, low=0, high=65535),
    )

    def __init__(self, name: str, world: World) -> None:
        super().__init__()
        self.identity = f"KEITHLEY INSTRUMENTS INC.,MODEL 2400,SIM-{name},C34 Sep 21 2016 15:30:00/A02  /K/M"
        self._world = world
        self._port = f"{name}.output"
        sources = Ranges(SOURCE_VOLTAGE, world, f"{name}.source")
        self._amperes = Ranges(MEASURE_CURRENT, world, f"{name}.current")
        self._volts = Ranges(MEASURE_VOLTAGE, world, f"{name}.voltage")
        self._output = VoltageOutput(self._port, sources, world, overrange=OVERRANGE, overshoot=OVERSHOOT)
        self.reset()

    def reset(self) -> None:
        """Go to the ``*RST`` state: output off (NORMal), 0 V, 105 uA, current measured, autoranges on."""
        self._output.reset(DEFAULT_VOLTAGE_RANGE)
        self._source_function, self._functions = "VOLT", {"CURR:DC"}
        self._limit = 105e-6
        self._range, self._auto = DEFAULT_CURRENT_RANGE, True
        self._voltage_range, self._voltage_auto = DEFAULT_VOLTAGE_RANGE, True  # while it sources current
        self._delay, self._autozero = 0.0, True
        self._elements = _ELEMENTS
        self._list: list[float] = []
        self._size, self._feeding, self._buffer = 100, False, list[_Record]()
        self._latest: list[_Record] = []
        self._armed = False
        self._started = self._world.now()
        self._switch_off()

    # ---------------------------------------------------------------------------------------------- the output

    @command("OUTPut[1][:STATe]?")
    def _get_output(self) -> str:
        return self.show(self._output.on)

    @command("OUTPut[1][:STATe]")
    def _set_output(self, argument: str) -> None:
        if read_switch(argument):
            self._switch_on()
        else:
            self._switch_off()

    @command(_SOURCE + "CLEar[:IMMediate]")
    def _clear_source(self) -> None:
        self._switch_off()

    @command("OUTPut[1]:SMODe?")
    def _get_off_state(self) -> str:
        return self._output.off_state

    @command("OUTPut[1]:SMODe")
    def _set_off_state(self, argument: str) -> None:
        self._output.off_state = read_choice(argument, ("NORMal", "HIMPedance", "ZERO", "GUARd"))
        if not self._output.on:
            self._switch_off()

    def _switch_on(self) -> None:
        if self._source_function != "VOLT":
            raise ScpiError(-221, "the simulated 2400 sources voltage only")
        self._output.switch_on(self._limit_in_force())

    def _switch_off(self) -> None:
        normal = 0.005 * self._amperes[self._range].full_scale
        self._output.switch_off(normal if self._output.off_state == "NORM" else self._limit)
        self._armed = False

    def _limit_in_force(self) -> float:
        """Real compliance, or that of a fixed measuring range if it is lower."""
        return self._limit if self._auto else min(self._limit, OVERRANGE * self._amperes[self._range].full_scale)

    # ---------------------------------------------------------------------------------------------- the source

    @command(_SOURCE + "FUNCtion[:MODE]?")
    def _get_source_function(self) -> str:
        return self._source_function

    @command(_SOURCE + "FUNCtion[:MODE]")
    def _set_source_function(self, argument: str) -> None:
        function = read_choice(argument, ("VOLTage", "CURRent"))
        self._switch_off()
        self._source_function = function

    @command(_SOURCE + "VOLTage[:LEVel][:IMMediate][:AMPLitude]?")
    def _get_level(self, argument: str = "") -> str:
        return self.show(self._read_level(argument) if argument else self._output.level)

    @command(_SOURCE + "VOLTage[:LEVel][:IMMediate][:AMPLitude]")
    def _set_level(self, argument: str) -> None:
        self._go_to(self._read_level(argument))

    def _read_level(self, argument: str) -> float:
        highest = self._output.highest()
        return read_number(argument, low=-highest, high=highest, default=0.0)

    def _go_to(self, level: float) -> None:
        self._check_power(level if self._output.auto else 0.0, self._limit)
        self._output.go_to(level)

    def _check_power(self, level: float, limit: float) -> None:
        if abs(level) > 20 * OVERRANGE and limit > HIGHEST_AT_200_VOLTS:
            raise ScpiError(826)

    @command(_SOURCE + "VOLTage:RANGe?")
    def _get_source_range(self, argument: str = "") -> str:
        if argument:
            return self.show(read_number(argument, low=-210.0, high=210.0, default=21.0))
        return self.show(OVERRANGE * self._output.ranges[self._output.index].full_scale)

    @command(_SOURCE + "VOLTage:RANGe")
    def _set_source_range(self, argument: str) -> None:
        asked = read_number(argument, low=-210.0, high=210.0, default=21.0)
        index = self._output.ranges.holding(asked, overrange=OVERRANGE)
        assert index is not None
        scale = self._output.ranges[index].full_scale * OVERRANGE
        if abs(self._output.level) > scale:
            raise ScpiError(-221, "the present level does not fit into the range")
        self._check_power(scale, self._limit)
        self._output.auto = False
        self._output.change_range(index)

    @command(_SOURCE + "VOLTage:RANGe:AUTO?")
    def _get_source_auto(self) -> str:
        return self.show(self._output.auto)

    @command(_SOURCE + "VOLTage:RANGe:AUTO")
    def _set_source_auto(self, argument: str) -> None:
        self._output.auto = read_switch(argument)

    @command(_SOURCE + "DELay?")
    def _get_delay(self) -> str:
        return self.show(self._delay)

    @command(_SOURCE + "DELay")
    def _set_delay(self, argument: str) -> None:
        self._delay = read_number(argument, low=0.0, high=999.9999, default=0.0)
        self.values["auto delay", 1] = False

    @command(_SOURCE + "LIST:VOLTage?")
    def _get_list(self) -> str:
        return ",".join(map(self.show, self._list))

    @command(_SOURCE + "LIST:VOLTage")
    def _set_list(self, *levels: str) -> None:
        self._list = [read_number(level, low=-210, high=210) for level in levels]

    @command(_SOURCE + "LIST:VOLTage:POINts?")
    def _get_list_length(self) -> str:
        return self.show(len(self._list))

    @command(_SOURCE + "VOLTage:STEP?")
    def _get_step(self) -> str:
        return self.show((self.value("stop") - self.value("start")) / max(1, self.value("points") - 1))

    @command(_SOURCE + "VOLTage:STEP")
    def _set_step(self, argument: str) -> None:
        step = read_number(argument, low=-420, high=420)
        if step == 0:
            raise ScpiError(-222)
        points = round(abs((self.value("stop") - self.value("start")) / step)) + 1
        self.values["points", 1] = min(points, 2500)

    def _levels(self, count: int) -> list[float | None]:
        """The level of each of `count` source-delay-measure cycles; None leaves it."""
        mode = self.value("mode")
        if mode == "FIX":
            return [None] * count
        levels = self._list
        if mode == "SWE":
            start, stop, points = self.value("start"), self.value("stop"), self.value("points")
            levels = [float(level) for level in np.linspace(start, stop, points)]
            if self.value("spacing") == "LOG":
                if start * stop <= 0:
                    raise ScpiError(-221, "a logarithmic sweep through zero")
                levels = [float(level) for level in np.geomspace(start, stop, points)]
            if self.value("direction") == "DOWN":
                levels = levels[::-1]
        if not levels:
            raise ScpiError(-221, "the list is empty")
        return [levels[n % len(levels)] for n in range(count)]

    # -------------------------------------------------------------------------------------------- compliance

    @command(_SENSE + "CURRent[:DC]:PROTection[:LEVel]?")
    def _get_limit(self, argument: str = "") -> str:
        return self.show(read_number(argument, low=-1.05, high=1.05, default=105e-6) if argument else self._limit)

    @command(_SENSE + "CURRent[:DC]:PROTection[:LEVel]")
    def _set_limit(self, argument: str) -> None:
        limit = abs(read_number(argument, low=-1.05, high=1.05, default=105e-6))
        following = self._auto or self.value("sync")  # then the measuring range comes down with it
        index = min(self._range, self._compliance_range(limit)) if following else self._range
        if self.value("sync") and not self._auto:
            index = self._compliance_range(limit)
        if limit < max(SMALLEST_LIMIT, 0.001 * self._amperes[index].full_scale) * (1 - 1e-9):
            raise ScpiError(822)
        self._check_power(self._output.ranges[self._output.index].full_scale, limit)
        self._limit = limit
        self._range = index
        self._output.limit(self._limit_in_force())

    def _compliance_range(self, limit: float) -> int:
        index = self._amperes.holding(limit, overrange=OVERRANGE)
        assert index is not None
        return index

    @command(_SENSE + "CURRent[:DC]:PROTection:TRIPped?")
    def _get_tripped(self) -> str:
        return self.show(self._output.on and self._world.measure_current(self._port, 10e-6)[1])

    @command(_SENSE + "VOLTage[:DC]:PROTection:TRIPped?")
    def _get_voltage_tripped(self) -> str:
        return "0"

    # ----------------------------------------------------------------------------------------------- measuring

    @command(_SENSE + "FUNCtion[:ON]?")
    def _get_functions(self) -> str:
        return ",".join(f'"{function}"' for function in _FUNCTIONS if function in self._functions)

    @command(_SENSE + "FUNCtion[:ON]")
    def _set_functions(self, *names: str) -> None:
        chosen = {_function(read_text(name)) for name in names}
        if not self.value("concurrent") and len(chosen) > 1:
            raise ScpiError(-221)
        self._functions = (self._functions if self.value("concurrent") else set()) | chosen

    @command(_SENSE + "FUNCtion[:ON]:ALL")
    def _set_all_functions(self) -> None:
        self._functions = set(_FUNCTIONS)

    @command(_SENSE + "FUNCtion[:ON]:COUNt?")
    def _count_functions(self) -> str:
        return self.show(len(self._functions))

    @command(_SENSE + "FUNCtion:OFF")
    def _unset_functions(self, *names: str) -> None:
        self._functions = self._functions - {_function(read_text(name)) for name in names}

    @command(_SENSE + "FUNCtion:OFF:ALL")
    def _unset_all_functions(self) -> None:
        self._functions = set()

    @command(_SENSE + "CURRent[:DC]:RANGe[:UPPer]?")
    def _get_current_range(self, argument: str = "") -> str:
        if argument:
            return self.show(read_number(argument, low=0, high=1.05, default=1.05e-4))
        return self.show(OVERRANGE * self._amperes[self._range].full_scale)

    @command(_SENSE + "CURRent[:DC]:RANGe[:UPPer]")
    def _set_current_range(self, argument: str) -> None:
        word = argument.strip().upper()
        if word in ("UP", "DOWN"):
            index = min(max(self._range + (1 if word == "UP" else -1), 0), len(self._amperes) - 1)
        else:
            asked = read_number(argument, low=-1.05, high=1.05, default=1.05e-4)
            index = self._compliance_range(asked)
        if index > self._compliance_range(self._limit):
            raise ScpiError(824)
        self._range, self._auto = index, False
        self._output.limit(self._limit_in_force())

    @command(_SENSE + "CURRent[:DC]:RANGe:AUTO?")
    def _get_current_auto(self) -> str:
        return self.show(self._auto)

    @command(_SENSE + "CURRent[:DC]:RANGe:AUTO")
    def _set_current_auto(self, argument: str) -> None:
        self._auto = read_switch(argument)
        self._output.limit(self._limit_in_force())

    @command(_SENSE + "CURRent[:DC]:RANGe:AUTO:ULIMit?")
    def _get_highest_auto(self) -> str:
        return self.show(OVERRANGE * self._amperes[self._compliance_range(self._limit)].full_scale)

    @command(_SENSE + "VOLTage[:DC]:RANGe[:UPPer]?")
    def _get_voltage_range(self) -> str:
        index = self._output.index if self._source_function == "VOLT" else self._voltage_range
        return self.show(OVERRANGE * self._volts[index].full_scale)

    @command(_SENSE + "VOLTage[:DC]:RANGe[:UPPer]")
    def _set_voltage_range(self, argument: str) -> None:
        asked = read_number(argument, low=-210.0, high=210.0, default=21.0)
        if self._source_function == "VOLT":
            raise ScpiError(-221, "the source range determines it")
        index = self._volts.holding(asked, overrange=OVERRANGE)
        assert index is not None
        self._voltage_range, self._voltage_auto = index, False

    @command(_SENSE + "VOLTage[:DC]:RANGe:AUTO?")
    def _get_voltage_auto(self) -> str:
        return self.show(self._source_function != "VOLT" and self._voltage_auto)

    @command(_SENSE + "VOLTage[:DC]:RANGe:AUTO")
    def _set_voltage_auto(self, argument: str) -> None:
        wanted = read_switch(argument)
        if self._source_function == "VOLT" and wanted:
            raise ScpiError(-221, "the source range determines it")
        self._voltage_auto = wanted

    @command("SYSTem:AZERo[:STATe]?")
    def _get_autozero(self) -> str:
        return self.show(self._autozero)

    @command("SYSTem:AZERo[:STATe]")
    def _set_autozero(self, argument: str) -> None:
        if argument.strip().upper() == "ONCE":
            self._autozero = False
            self._world.wait(2 * self._aperture())
        else:
            self._autozero = read_switch(argument)

    def _aperture(self) -> float:
        return self.value("cycles") / LINE_FREQUENCY

    def _measure(self) -> _Record:
        """One measurement at the present level; with autozero each takes three apertures."""
        readings = self.value("filter count") if self.value("filter") and self.value("filter kind") == "REP" else 1
        aperture = readings * self._aperture()
        amperes, limiting = self._world.measure_current(self._port, aperture)
        volts = self._world.measure_voltage(self._port, 10e-6) if limiting else self._output.actual()
        self._world.wait(readings * READING_OVERHEAD + (2 * aperture if self._autozero else 0.0))
        status, noise = 1 << 14, 1 / np.sqrt(readings * self.value("cycles"))  # bit 14: V-Source
        if limiting:
            status |= 1 << (3 if self._limit_in_force() == self._limit else 16)
        if self.value("filter"):
            status |= 1 << 1
        if self.value("terminals") == "FRON":
            status |= 1 << 2
        if self.value("four-wire"):
            status |= 1 << 22
        if "CURR:DC" in self._functions:
            status |= 1 << 12
            amperes = self._show_amperes(amperes, noise)
        if "VOLT:DC" in self._functions:
            status |= 1 << 11
            index = self._output.index
            volts = self._volts.distort(volts, index, noise=self._volts[index].noise * noise)
        else:
            volts = self._output.level
        ohms = NOTHING
        if "RES" in self._functions:
            status |= 1 << 13
            ohms = volts / amperes if amperes and abs(amperes) < 9.9e37 else 9.9e37
        if abs(amperes) >= 9.9e37:
            status |= 1
        time = self._world.now() - self._started
        return _Record(volts, amperes if "CURR:DC" in self._functions else NOTHING, ohms, time, status)

    def _show_amperes(self, amperes: float, noise: float) -> float:
        if self._auto:
            lowest = self._compliance_range(abs(self.value("lowest auto")))
            holding = self._amperes.holding(amperes, overrange=OVERRANGE)
            highest = self._compliance_range(self._limit)
            self._range = min(highest, max(lowest, highest if holding is None else holding))
        scale = self._amperes[self._range]
        shown = self._amperes.distort(amperes, self._range, noise=scale.noise * noise)
        if abs(shown) > 1.055 * scale.full_scale:
            return float(np.copysign(9.9e37, shown))
        return shown

    # ----------------------------------------------------------------------------------------- trigger model

    @command("INITiate[:IMMediate]")
    def _initiate(self) -> None:
        self._check_may_measure()
        if self.value("arm source") in ("IMM", "TIM") and self.value("trigger source") == "IMM":
            self._run()
        else:
            self._armed = True

    @command("*TRG")
    def _trigger(self) -> None:
        if not (self._armed and self.value("arm source") == "BUS"):
            raise ScpiError(-211)
        self._run()

    @command("ABORt")
    def _abort(self) -> None:
        self._armed = False

    @command("TRIGger:CLEar")
    def _clear_trigger(self) -> None:
        """No trigger is ever pending: each is acted on with its command."""

    def _check_may_measure(self) -> None:
        if not self._output.on and not self.value("auto off"):
            raise ScpiError(803)
        if "RES" in self._functions and self.value("ohms mode") == "AUTO":
            raise ScpiError(-221, "the simulated 2400 sources no current, which auto ohms needs")

    def _run(self) -> None:
        """Every source-delay-measure cycle of the trigger model; bench time passes meanwhile."""
        self._armed = False
        self._latest = []
        count = self.value("trigger count")
        for arm in range(self.value("arm count")):
            begin = self._world.now()
            for level in self._levels(count):
                self._world.wait(self.value("trigger delay"))
                if level is not None:
                    self._go_to(level)
                self._cycle()
            if self.value("arm source") == "TIM" and arm + 1 < self.value("arm count"):
                self._world.wait(max(0.0, self.value("arm timer") - (self._world.now() - begin)))
        self.event_register |= READING_AVAILABLE

    def _cycle(self) -> None:
        by_itself = self.value("auto off")
        if by_itself:
            self._switch_on()
        self._world.wait(1e-3 if self.value("auto delay") else self._delay)
        record = self._measure()
        if by_itself:
            self._switch_off()
        self._latest.append(record)
        if self._feeding:
            self._buffer.append(record)
            if len(self._buffer) >= self._size:
                self._feeding = False
                self.event_register |= BUFFER_FULL

    @command("READ?")
    def _read(self) -> str:
        if self.value("arm source") not in ("IMM", "TIM") or self.value("trigger source") != "IMM":
            raise ScpiError(-214)
        self._initiate()
        return self._fetch()

    @command("FETCh?")
    def _fetch(self) -> str:
        if not self._latest:
            raise ScpiError(-230)
        return self._show_records(self._latest)

    @command("CONFigure:CURRent[:DC]")
    def _configure_current(self) -> None:
        self._configure("CURR:DC")

    @command("CONFigure:VOLTage[:DC]")
    def _configure_voltage(self) -> None:
        self._configure("VOLT:DC")

    @command("CONFigure:RESistance")
    def _configure_resistance(self) -> None:
        self._configure("RES")

    @command("CONFigure?")
    def _get_configuration(self) -> str:
        return self._get_functions()

    def _configure(self, function: str) -> None:
        """The ``*RST`` values of one function, one immediate trigger, and the output on."""
        self._functions = {function}
        for name in ("cycles", "arm count", "arm source", "trigger count", "trigger source", "trigger delay"):
            self.values.pop((name, 1), None)
        if function == "CURR:DC":
            self._auto = True
            self._output.limit(self._limit_in_force())
        self._switch_on()

    @command("MEASure:CURRent[:DC]?")
    def _measure_current(self) -> str:
        self._configure("CURR:DC")
        return self._read()

    @command("MEASure:VOLTage[:DC]?")
    def _measure_voltage(self) -> str:
        self._configure("VOLT:DC")
        return self._read()

    @command("MEASure:RESistance?")
    def _measure_resistance(self) -> str:
        self._configure("RES")
        return self._read()

    @command("MEASure?")
    def _measure_present(self) -> str:
        self._configure(next((f for f in ("CURR:DC", "VOLT:DC", "RES") if f in self._functions), "CURR:DC"))
        return self._read()

    # ------------------------------------------------------------------------------------------------- data

    @command("FORMat:ELEMents[:SENSe[1]]?")
    def _get_elements(self) -> str:
        return ",".join(map(short_form, self._elements))

    @command("FORMat:ELEMents[:SENSe[1]]")
    def _set_elements(self, *names: str) -> None:
        chosen = [read_choice(name, _ELEMENTS) for name in names]
        if not chosen:
            raise ScpiError(-109)
        self._elements = tuple(element for element in _ELEMENTS if short_form(element) in chosen)

    def _show_records(self, records: list[_Record]) -> str:
        return ",".join(self._show_element(record, element) for record in records for element in self._elements)

    def _show_element(self, record: _Record, element: str) -> str:
        match element:
            case "VOLTage":
                return self.show(record.volts)
            case "CURRent":
                return self.show(record.amperes)
            case "RESistance":
                return self.show(record.ohms)
            case "TIME":
                return self.show(record.time)
            case _:
                return self.show(float(record.status))

    @command(_TRACE + ":POINts?")
    def _get_size(self) -> str:
        return self.show(self._size)

    @command(_TRACE + ":POINts")
    def _set_size(self, argument: str) -> None:
        self._size, self._buffer = int(read_number(argument, low=1, high=2500, default=100)), []

    @command(_TRACE + ":POINts:ACTual?")
    def _get_fill(self) -> str:
        return self.show(len(self._buffer))

    @command(_TRACE + ":CLEar")
    def _clear_buffer(self) -> None:
        self._buffer = []

    @command(_TRACE + ":FREE?")
    def _get_free(self) -> str:
        return f"{(2500 - len(self._buffer)) * 24},{len(self._buffer) * 24}"

    @command(_TRACE + ":FEED:CONTrol?")
    def _get_feeding(self) -> str:
        return "NEXT" if self._feeding else "NEV"

    @command(_TRACE + ":FEED:CONTrol")
    def _set_feeding(self, argument: str) -> None:
        self._feeding = read_choice(argument, ("NEXT", "NEVer")) == "NEXT"

    @command(_TRACE + ":DATA?")
    def _get_data(self) -> str:
        if not self._buffer:
            raise ScpiError(-230)
        delta = self.value("time format") == "DELT"
        origins = [self._buffer[0], *(self._buffer[:-1] if delta else [self._buffer[0]] * (len(self._buffer) - 1))]
        return self._show_records(
            [
                _Record(r.volts, r.amperes, r.ohms, r.time - origin.time, r.status)
                for r, origin in zip(self._buffer, origins, strict=True)
            ]
        )

    @command("CALCulate3:DATA?")
    def _get_statistic(self) -> str:
        if not self._buffer:
            raise ScpiError(-230)
        reduce = {"MEAN": np.mean, "SDEV": _deviation, "MAX": np.max, "MIN": np.min, "PKPK": np.ptp}
        columns = zip(*((r.volts, r.amperes, r.ohms) for r in self._buffer), strict=True)
        chosen = reduce[self.value("statistic")]
        return ",".join(self.show(NOTHING if NOTHING in column else float(chosen(column))) for column in columns)

    # ----------------------------------------------------------------------------------------------- status

    @command("STATus:PRESet")
    def _preset_status(self) -> None:
        self.event_mask = 0
        for name in ("operation mask", "questionable mask"):
            self.values.pop((name, 1), None)

    @command("STATus:MEASurement:ENABle?")
    def _get_mask(self) -> str:
        return self.show(self.event_mask)

    @command("STATus:MEASurement:ENABle")
    def _set_mask(self, argument: str) -> None:
        self.event_mask = int(read_number(argument, low=0, high=65535))

    @command("STATus:MEASurement[:EVENt]?")
    def _get_events(self) -> str:
        events, self.event_register = self.event_register, 0
        return self.show(events)

    @command("STATus:MEASurement:CONDition?")
    def _get_condition(self) -> str:
        return self.show(BUFFER_FULL if len(self._buffer) >= self._size else 0)

    @command("STATus:{OPERation|QUEStionable}[:EVENt]?", "STATus:{OPERation|QUEStionable}:CONDition?")
    def _get_other_events(self) -> str:
        return "0"

    # ----------------------------------------------------------------------------------------------- system

    @command("SYSTem:BEEPer[:IMMediate]")
    def _beep(self, _frequency: str, _duration: str) -> None:
        """Sound a beep, which nobody hears."""

    @command("SYSTem:TIME:RESet")
    def _reset_time(self) -> None:
        self._started = self._world.now()

    @command("SYSTem:PRESet")
    def _preset(self) -> None:
        self.values.clear()
        self.reset()

    @command("SYSTem:CLEar")
    def _clear_errors(self) -> None:
        self.errors.clear()


def _deviation(column: tuple[float, ...]) -> float:
    return float(np.std(column, ddof=1)) if len(column) > 1 else 0.0


def _function(text: str) -> str:
    """The short form of a measuring function, with its ``:DC``."""
    head = text.strip().upper().removesuffix(":DC")
    for key, node in _FUNCTIONS.items():
        long = node.partition("[")[0]
        if head in (short_form(long), long.upper()):
            return key
    raise ScpiError(-224, text)
