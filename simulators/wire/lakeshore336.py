"""A simulated Lake Shore 336 temperature controller: four sensors, four outputs that heat nothing.

Commands: those that `qcodes` 0.58 sends. Checked in the maker's manuals of its sister models 331, 335 and 372: fields
of ``*IDN?`` with ``serial/option``, ``CRVHDR``, ``RDGST?`` and its bits (1 invalid, 16 under and 32 over the range, 64
zero, 128 over in sensor units), ``KRDG?`` as +nnnnnn, no error queue. From the driver: CR LF behind a reply. As
remembered, unchecked: ten readings a second, a reading of 0 without a sensor, the ``*RST`` values, 400 K at most,
resolution and noise, replies of a compound joined by ``;``.

The sensors sit where the world says; no heater warms it: ``HTR?`` is 0 % unless an output is in its open loop.
"""

from __future__ import annotations

import math

from simulators.wire.scpi import ScpiError, ScpiPersonality, command, read_number, read_text
from simulators.wire.world import World

INPUTS: tuple[str, ...] = ("A", "B", "C", "D")
HIGHEST = 400.0  # K
UPDATE = 0.1  # s between two readings of one sensor
NOISE = 1e-4  # of the temperature, RMS, of one reading
INVALID, OVER = 1, 32  # status bits

_INTYPE = ("3", "1", "0", "1", "1")  # NTC resistor, autorange, range, compensation, kelvin
_CURVE = "{name:<15},{serial:<10},4,+{limit:.3f},1"


class LakeShore336Personality(ScpiPersonality):
    """The instrument's end of the wire; input A of ``cryo`` is the port ``cryo.a``."""

    integer_form = "{:d}"
    terminator = "\r\n"

    def __init__(self, name: str, world: World) -> None:
        super().__init__()
        self.identity = f"LSCI,MODEL336,SIM-{name}/SIM-{name},2.9"
        self._world = world
        self._ports = {letter: f"{name}.{letter.lower()}" for letter in INPUTS}
        self._noise = {letter: world.random(f"{port}.noise") for letter, port in self._ports.items()}
        self._readings: dict[str, tuple[float, float]] = {}  # time, K
        self.reset()

    def reset(self) -> None:
        """Go to the ``*RST`` state: every output off, every sensor a resistor read in kelvin."""
        self._names = {letter: f"Input {letter}" for letter in INPUTS}
        self._types: dict[str, tuple[str, ...]] = dict.fromkeys(INPUTS, _INTYPE)
        self._limits = dict.fromkeys(INPUTS, 0.0)
        self._curves = {letter: 21 + number for number, letter in enumerate(INPUTS)}
        self._modes: dict[int, tuple[str, ...]] = {n: ("0", "1" if n == 1 else "0", "0") for n in range(1, 5)}
        self._gains = dict.fromkeys(range(1, 5), (50.0, 20.0, 0.0))
        self._heaters: dict[int, tuple[str, ...]] = dict.fromkeys(range(1, 5), ("0", "2", "2", "+0.000", "2"))
        self._powers = dict.fromkeys(range(1, 5), 0)
        self._manual = dict.fromkeys(range(1, 5), 0.0)
        self._setpoints = dict.fromkeys(range(1, 5), 0.0)
        self._ramps: dict[int, tuple[str, float]] = dict.fromkeys(range(1, 5), ("0", 0.0))

    # ---------------------------------------------------------------------------------------------- sensors

    def _kelvin(self, letter: str) -> float:
        """The last reading, K: a new one ten times a second; 0 without a sensor."""
        now = self._world.now()
        if letter not in self._readings or now - self._readings[letter][0] >= UPDATE:
            kelvin = self._world.temperature(self._ports[letter])
            if self._world.imperfections.noise:
                kelvin *= 1.0 + NOISE * float(self._noise[letter].standard_normal())
            self._readings[letter] = now, kelvin
        return self._readings[letter][1]

    @command("KRDG?")
    def _get_kelvin(self, argument: str) -> str:
        kelvin = self._kelvin(_input(argument))
        return _six(kelvin if kelvin <= HIGHEST else 0.0)

    @command("CRDG?")
    def _get_celsius(self, argument: str) -> str:
        return _six(self._kelvin(_input(argument)) - 273.15)

    @command("SRDG?")
    def _get_sensor(self, argument: str) -> str:
        """Ohms of a thermometer that has 1 kohm at 4 K and less above, as a ruthenium oxide has."""
        kelvin = self._kelvin(_input(argument))
        return _six(1e3 * math.exp((4.0 / kelvin) ** 0.25 - 1.0) if kelvin > 4e-4 else 0.0)

    @command("RDGST?")
    def _get_status(self, argument: str) -> str:
        kelvin = self._kelvin(_input(argument))
        return f"{INVALID if kelvin <= 0 else OVER if kelvin > HIGHEST else 0:03d}"

    @command("INNAME?")
    def _get_name(self, argument: str) -> str:
        return f"{self._names[_input(argument)]:<15}"

    @command("INNAME")
    def _set_name(self, argument: str, name: str) -> None:
        self._names[_input(argument)] = read_text(name)[:15]

    @command("INTYPE?")
    def _get_type(self, argument: str) -> str:
        return ",".join(self._types[_input(argument)])

    @command("INTYPE")
    def _set_type(self, argument: str, *fields: str) -> None:
        self._types[_input(argument)] = _integers(fields, (4, 1, 8, 1, 3))

    @command("TLIMIT?")
    def _get_limit(self, argument: str) -> str:
        return _six(self._limits[_input(argument)])

    @command("TLIMIT")
    def _set_limit(self, argument: str, kelvin: str) -> None:
        self._limits[_input(argument)] = read_number(kelvin, low=0.0, high=1e4)

    @command("INCRV?")
    def _get_curve(self, argument: str) -> str:
        return f"{self._curves[_input(argument)]:02d}"

    @command("INCRV")
    def _set_curve(self, argument: str, number: str) -> None:
        self._curves[_input(argument)] = int(read_number(number, low=0, high=59))

    @command("CRVHDR?")
    def _get_curve_header(self, number: str) -> str:
        curve = int(read_number(number, low=1, high=59))
        return _CURVE.format(name=f"User {curve}" if curve > 20 else "RX-102A-AA", serial=f"SIM-{curve}", limit=HIGHEST)

    # ---------------------------------------------------------------------------------------------- outputs

    @command("OUTMODE?")
    def _get_mode(self, output: str) -> str:
        return ",".join(self._modes[_output(output)])

    @command("OUTMODE")
    def _set_mode(self, output: str, *fields: str) -> None:
        self._modes[_output(output)] = _integers(fields, (5, 4, 1))

    @command("PID?")
    def _get_gains(self, output: str) -> str:
        return ",".join(map(_six, self._gains[_output(output)]))

    @command("PID")
    def _set_gains(self, output: str, *gains: str) -> None:
        if len(gains) != 3:
            raise ScpiError(-109)
        p, i, d = (read_number(gain, low=0.0, high=1000.0) for gain in gains)
        self._gains[_output(output)] = p, i, d

    @command("HTRSET?")
    def _get_heater(self, output: str) -> str:
        return ",".join(self._heaters[_output(output)])

    @command("HTRSET")
    def _set_heater(self, output: str, *fields: str) -> None:
        if len(fields) != 5:
            raise ScpiError(-109)
        kind, resistance, most, shown = _integers((*fields[:3], fields[4]), (1, 2, 4, 2))
        own = read_number(fields[3], low=0.0, high=1.732)
        self._heaters[_output(output)] = kind, resistance, most, f"{own:+.3f}", shown

    @command("RANGE?")
    def _get_power(self, output: str) -> str:
        return self.show(self._powers[_output(output)])

    @command("RANGE")
    def _set_power(self, output: str, power: str) -> None:
        self._powers[_output(output)] = int(read_number(power, low=0, high=3))

    @command("MOUT?")
    def _get_manual(self, output: str) -> str:
        return _six(self._manual[_output(output)])

    @command("MOUT")
    def _set_manual(self, output: str, percent: str) -> None:
        self._manual[_output(output)] = read_number(percent, low=0.0, high=100.0)

    @command("HTR?")
    def _get_heat(self, output: str) -> str:
        number = _output(output)
        on = self._modes[number][0] == "3" and self._powers[number] > 0
        return f"{self._manual[number] if on else 0.0:+06.1f}"

    @command("SETP?")
    def _get_setpoint(self, output: str) -> str:
        return _six(self._setpoints[_output(output)])

    @command("SETP")
    def _set_setpoint(self, output: str, kelvin: str) -> None:
        self._setpoints[_output(output)] = read_number(kelvin, low=-273.15, high=HIGHEST)

    @command("RAMP?")
    def _get_ramp(self, output: str) -> str:
        on, rate = self._ramps[_output(output)]
        return f"{on},{_six(rate)}"

    @command("RAMP")
    def _set_ramp(self, output: str, on: str, rate: str) -> None:
        self._ramps[_output(output)] = _integers((on,), (1,))[0], read_number(rate, low=0.0, high=100.0)

    @command("RAMPST?")
    def _get_ramping(self, output: str) -> str:
        _output(output)
        return "0"


def _input(argument: str) -> str:
    letter = argument.strip().upper()
    if letter not in INPUTS:
        raise ScpiError(-224, argument)
    return letter


def _output(argument: str) -> int:
    return int(read_number(argument, low=1, high=4))


def _integers(fields: tuple[str, ...], highest: tuple[int, ...]) -> tuple[str, ...]:
    """As many whole numbers as `highest` has, each from 0 to it."""
    if len(fields) != len(highest):
        raise ScpiError(-109 if len(fields) < len(highest) else -108)
    return tuple(str(int(read_number(field, low=0, high=most))) for field, most in zip(fields, highest, strict=True))


def _six(value: float) -> str:
    """A number with its sign and six digits."""
    whole = len(str(int(abs(value))))
    return f"{value:+.{max(0, 6 - whole)}f}"
