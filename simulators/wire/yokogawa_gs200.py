"""A simulated Yokogawa GS200 voltage and current source, without the monitoring option.

User's manual IM GS210-01EN. Checked against a copy of it: syntax and compounds (p. 13-1 .. 13-4), ``LEVel:AUTO``, that
a level set while a program is edited becomes its next step, limiters of 1 mA .. 200 mA and 1 V .. 30 V (p. 13-12),
standard and extended event registers (p. 13-29, 13-30: bit 5 source change, 6 end of step, 7 end of program, 8 ready),
the error queue and its -350 (p. 13-31). From the QCoDeS driver: EES is bit 1 of the status byte. As remembered,
unchecked: ranges reach 120 % (32 V on 30 V), resolution and accuracy, ``*RST`` (output off, 10 V range, 0 V, 200 mA,
30 V), which error each refusal leaves, that the function cannot change with the output on.

A program runs within ``PROGram:RUN``, and bench time passes meanwhile; one that repeats makes a single pass and does
not end. A current source answers everything, but drives nothing in the world: its port stays open.
"""

from __future__ import annotations

from dataclasses import dataclass

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
)
from simulators.wire.world import World

LINE_FREQUENCY = 50  # Hz
SLOPE_STEP = 10e-3  # s between two steps of a slope
MOST_SLOPE_STEPS = 200
MOST_STEPS = 10_000  # of a program
SOURCE_CHANGE, END_OF_STEP, END_OF_PROGRAM, READY = 1 << 5, 1 << 6, 1 << 7, 1 << 8

VOLTAGE = (  # one year: % setting + volts
    Range(10e-3, 100e-9, 0.25e-3, 5e-6, 0.0),
    Range(100e-3, 1e-6, 0.25e-3, 10e-6, 0.0),
    Range(1.0, 10e-6, 0.16e-3, 120e-6, 0.0),
    Range(10.0, 100e-6, 0.16e-3, 240e-6, 0.0),
    Range(30.0, 1e-3, 0.16e-3, 600e-6, 0.0),
)
CURRENT = (
    Range(1e-3, 10e-9, 0.3e-3, 100e-9, 0.0),
    Range(10e-3, 100e-9, 0.3e-3, 500e-9, 0.0),
    Range(100e-3, 1e-6, 0.3e-3, 5e-6, 0.0),
    Range(200e-3, 1e-6, 0.3e-3, 30e-6, 0.0),
)
HIGHEST = {10e-3: 12e-3, 100e-3: 120e-3, 1.0: 1.2, 10.0: 12.0, 30.0: 32.0, 1e-3: 1.2e-3, 200e-3: 200e-3}


@dataclass(frozen=True)
class _Step:
    """One step of a program: its range and level."""

    index: int
    level: float


class YokogawaGs200Personality(ScpiPersonality):
    """The instrument's end of the wire; it sources at the port ``<name>.output``."""

    number_form = "{:+.5E}"
    integer_form = "{:d}"
    error_form = '{code},"{message}"'
    no_error = '0,"No error"'
    event_bit = 2
    settings = (
        Setting("voltage limit", "SOURce:PROTection:VOLTage", 30.0, low=1.0, high=30.0),
        Setting("remote", "SENSe:REMote", False),
        Setting("guard", "SENSe:GUARd", False),
        Setting("interval", "PROGram:INTerval", 1.0, low=0.1, high=3600.0),
        Setting("slope", "PROGram:SLOPe", 0.0, low=0.0, high=3600.0),
        Setting("repeat", "PROGram:REPeat", False),
        Setting("trigger", "PROGram:TRIGger", "NORM", choices=("NORMal", "MEND")),
        Setting("BNC out", "ROUTe:BNCO", "TRIG", choices=("TRIGger", "OUTPut", "READy")),
        Setting("BNC in", "ROUTe:BNCI", "TRIG", choices=("TRIGger", "OUTPut")),
        Setting("display", "SYSTem:DISPlay[:NORMal]", True),
        Setting("locked", "SYSTem:KLOCk", False),
    )

    def __init__(self, name: str, world: World) -> None:
        super().__init__()
        self.identity = f"YOKOGAWA,GS210,SIM-{name},2.02"
        self._world = world
        self._port = f"{name}.output"
        self._ranges = {
            "VOLT": Ranges(VOLTAGE, world, f"{name}.voltage"),
            "CURR": Ranges(CURRENT, world, f"{name}.current"),
        }
        self._files: dict[str, tuple[_Step, ...]] = {}
        self.reset()

    def reset(self) -> None:
        """Go to the ``*RST`` state: output off, 0 V on the 10 V range."""
        self._function, self._index, self._level, self._on = "VOLT", 3, 0.0, False
        self._limit = 200e-3
        self._steps: list[_Step] = [_Step(3, 0.0)]
        self._editing = False
        self._at = 0  # the step that is shown, or run next
        self._loaded = ""
        self._world.connect(self._port, False)
        self._world.limit_current(self._port, self._limit)
        self._drive()

    # ---------------------------------------------------------------------------------------------- the output

    @command("OUTPut[:STATe]?")
    def _get_output(self) -> str:
        return self.show(self._on)

    @command("OUTPut[:STATe]")
    def _set_output(self, argument: str) -> None:
        self._on = read_switch(argument)
        self._world.connect(self._port, self._on and self._function == "VOLT")
        self._drive()

    def _drive(self) -> None:
        """What is at the connector now; a disconnected one is at rest."""
        at_work = self._on and self._function == "VOLT"
        actual = self._ranges["VOLT"].distort(self._level, self._index) if at_work else 0.0
        self._world.drive(self._port, self._level if self._function == "VOLT" else 0.0, actual)

    # ---------------------------------------------------------------------------------------------- the source

    @command("SOURce:FUNCtion?")
    def _get_function(self) -> str:
        return self._function

    @command("SOURce:FUNCtion")
    def _set_function(self, argument: str) -> None:
        function = read_choice(argument, ("VOLTage", "CURRent"))
        if self._on and function != self._function:
            raise ScpiError(-221, "the output is on")
        self._function, self._index, self._level = function, len(self._ranges[function]) - 2, 0.0
        self._drive()

    @command("SOURce:RANGe?")
    def _get_range(self, argument: str = "") -> str:
        if argument.strip().upper().startswith("MIN"):
            return self.show(self._scales[0].full_scale)
        if argument.strip().upper().startswith("MAX"):
            return self.show(self._scales[len(self._scales) - 1].full_scale)
        return self.show(self._scales[self._index].full_scale)

    @property
    def _scales(self) -> Ranges:
        return self._ranges[self._function]

    @command("SOURce:RANGe")
    def _set_range(self, argument: str) -> None:
        """The smallest range that holds the number; a level that does not fit into it is brought down."""
        word = argument.strip().upper()
        if word in ("UP", "DOWN"):
            index = min(max(self._index + (1 if word == "UP" else -1), 0), len(self._scales) - 1)
        else:
            most = self._scales[len(self._scales) - 1].full_scale
            asked = read_number(argument, low=0.0, high=most)
            found = self._scales.holding(asked)
            assert found is not None
            index = found
        highest = _highest(self._scales[index])
        self._index = index
        self._level = min(max(self._level, -highest), highest)
        self._drive()

    @command("SOURce:LEVel[:FIXed]?", "SOURce:LEVel:AUTO?")
    def _get_level(self, argument: str = "") -> str:
        if argument:
            return self.show(self._read_level(argument))
        return self.show(self._steps[self._at].level if self._editing and self._at < len(self._steps) else self._level)

    @command("SOURce:LEVel[:FIXed]")
    def _set_level(self, argument: str) -> None:
        self._take(_Step(self._index, self._read_level(argument)))

    @command("SOURce:LEVel:AUTO")
    def _set_level_anywhere(self, argument: str) -> None:
        most = _highest(self._scales[len(self._scales) - 1])
        level = read_number(argument, low=-most, high=most)
        index = next(n for n in range(len(self._scales)) if abs(level) <= _highest(self._scales[n]) * (1 + 1e-12))
        self._take(_Step(index, level))

    def _read_level(self, argument: str) -> float:
        highest = _highest(self._scales[self._index])
        return read_number(argument, low=-highest, high=highest)

    def _take(self, step: _Step) -> None:
        """A level: the next step of a program that is edited, or what the source gives from now on."""
        if self._editing:
            if self._at >= MOST_STEPS:
                raise ScpiError(-222, "the program is full")
            self._steps[self._at :] = [step]
            self._at += 1
            return
        self._go_to(step, step.level)

    def _go_to(self, step: _Step, level: float) -> None:
        resolution = self._scales[step.index].resolution
        self._index, self._level = step.index, round(level / resolution) * resolution
        self.event_register |= SOURCE_CHANGE
        self._drive()

    @command("SOURce:PROTection:CURRent?")
    def _get_limit(self, argument: str = "") -> str:
        return self.show(read_number(argument, low=1e-3, high=200e-3) if argument else self._limit)

    @command("SOURce:PROTection:CURRent")
    def _set_limit(self, argument: str) -> None:
        self._limit = read_number(argument, low=1e-3, high=200e-3)
        self._world.limit_current(self._port, self._limit)

    # ------------------------------------------------------------------------------------------------ programs

    @command("PROGram:EDIT:STARt")
    def _start_editing(self) -> None:
        self._editing, self._at, self._steps = True, 0, []

    @command("PROGram:EDIT:END")
    def _end_editing(self) -> None:
        if not self._editing:
            raise ScpiError(-221, "no program is being edited")
        self._editing, self._at = False, 0

    @command("PROGram:COUNt?")
    def _get_count(self, argument: str = "") -> str:
        count = max(1, len(self._steps))
        return self.show(int(read_number(argument, low=1, high=count)) if argument else self._at + 1)

    @command("PROGram:COUNt")
    def _set_count(self, argument: str) -> None:
        self._at = int(read_number(argument, low=1, high=max(1, len(self._steps)))) - 1

    @command("PROGram:SAVE")
    def _save(self, name: str) -> None:
        self._files[read_text(name)] = tuple(self._steps)

    @command("PROGram:LOAD")
    def _load(self, name: str) -> None:
        if read_text(name) not in self._files:
            raise ScpiError(-224, name)
        self._loaded, self._steps, self._at = read_text(name), list(self._files[read_text(name)]), 0

    @command("PROGram:LOAD?")
    def _get_loaded(self) -> str:
        return f'"{self._loaded}"'

    @command("PROGram:RUN")
    def _run(self) -> None:
        self._run_from(0)

    @command("PROGram:STEP")
    def _run_one(self) -> None:
        self._run_from(self._at, 1)

    @command("PROGram:HOLD", "PROGram:PAUSe", "PROGram:CONTinue")
    def _hold(self) -> None:
        """Pause or resume a program; none is ever under way between two commands."""

    def _run_from(self, first: int, most: int = MOST_STEPS) -> None:
        if self._editing or not self._steps:
            raise ScpiError(-221, "there is no program, or it is being edited")
        if not self._on:
            raise ScpiError(-221, "the output is off")
        for number, step in list(enumerate(self._steps))[first : first + most]:
            self._slope(step)
            self.event_register |= END_OF_STEP
            self._at = (number + 1) % len(self._steps)
        if self._at == 0 and not self.value("repeat"):
            self.event_register |= END_OF_PROGRAM

    def _slope(self, step: _Step) -> None:
        """Go to a step's level during the slope time, and stay there for the rest of the interval."""
        start = self._level
        slope = min(self.value("slope"), self.value("interval"))
        steps = min(MOST_SLOPE_STEPS, int(slope / SLOPE_STEP))
        index = max(step.index, self._index)  # a slope stays on the larger range until its end
        for k in range(1, steps):
            self._world.wait(slope / steps)
            self._go_to(_Step(index, 0.0), start + (step.level - start) * k / steps)
        self._world.wait(slope / max(1, steps))
        self._go_to(step, step.level)
        self._world.wait(self.value("interval") - slope)

    # -------------------------------------------------------------------------------------------------- status

    @command("STATus:EVENt?")
    def _get_events(self) -> str:
        events, self.event_register = self.event_register, 0
        return self.show(events)

    @command("STATus:CONDition?")
    def _get_condition(self) -> str:
        return self.show(READY)

    @command("STATus:ENABle?")
    def _get_mask(self) -> str:
        return self.show(self.event_mask)

    @command("STATus:ENABle")
    def _set_mask(self, argument: str) -> None:
        self.event_mask = int(read_number(argument, low=0, high=65535))

    @command("SYSTem:LFRequency?")
    def _get_line_frequency(self) -> str:
        return self.show(LINE_FREQUENCY)


def _highest(scale: Range) -> float:
    return HIGHEST.get(scale.full_scale, 1.2 * scale.full_scale)
