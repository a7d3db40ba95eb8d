"""A simulated SIM928, for the wire twin: what the adapter, or any other program, finds behind the line.

From the SIM928 manual, chapter "Remote Operation". What the manual leaves open: a refused value changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from simulators.wire.scpi import ScpiPersonality, command, read_number
from simulators.wire.world import World

SPAN = 20.0  # V
RESOLUTION = 1e-3  # V
OFFSET = 1e-3  # V, standard deviation of the static offset


class SimulatedSim928(ScpiPersonality):
    """One output, isolated; off after a reset. No compounds, as a SIM module takes one command a line."""

    splits_compounds = False
    integer_form = "{:d}"

    def __init__(self, name: str, world: World) -> None:
        super().__init__()
        self.identity = f"Stanford_Research_Systems,SIM928,SIM-{name},ver2.2"
        self._port = f"{name}.output"
        self._world = world
        wanted = OFFSET if world.imperfections.offsets else 0.0
        self._offset = wanted * float(world.random(f"{name}.offset").standard_normal())
        self._voltage, self._on = 0.0, False
        self.reset()

    def reset(self) -> None:
        """Go to 0 V, disconnected."""
        self._voltage, self._on = 0.0, False
        self._world.connect(self._port, False)
        self._drive()

    def _drive(self) -> None:
        self._world.drive(self._port, self._voltage, self._voltage + self._offset if self._on else 0.0)

    @command("VOLT")
    def _set_voltage(self, text: str) -> None:
        value = read_number(text, low=-SPAN, high=SPAN)
        self._voltage = round(value / RESOLUTION) * RESOLUTION
        self._drive()

    @command("VOLT?")
    def _get_voltage(self) -> str:
        return f"{self._voltage:.3f}"

    @command("OPON")
    def _switch_on(self) -> None:
        self._switch(True)

    @command("OPOF")
    def _switch_off(self) -> None:
        self._switch(False)

    @command("EXON")
    def _set_on(self, text: str) -> None:
        self._switch(read_number(text, low=0, high=1) == 1)

    @command("EXON?")
    def _get_on(self) -> str:
        return str(int(self._on))

    def _switch(self, on: bool) -> None:
        self._on = on
        self._world.connect(self._port, on)
        self._drive()

    @command("LEXE?")
    def _last_execution_error(self) -> str:
        return self._last(lambda code: -300 < code <= -200, "1")  # 1: illegal value

    @command("LCME?")
    def _last_command_error(self) -> str:
        return self._last(lambda code: -200 < code <= -100, "2")  # 2: undefined command

    def _last(self, wanted: Callable[[int], bool], reply: str) -> str:
        found = [code for code in self.errors if wanted(code)]
        for code in found:
            self.errors.remove(code)
        return reply if found else "0"
