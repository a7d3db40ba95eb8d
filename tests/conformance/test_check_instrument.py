"""The public instrument check passes a sound adapter and finds each single thing that is wrong with another."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import pytest

from labthermo.errors import ComplianceError, InstrumentError, LimitError
from labthermo.instrument import Identity, Reading
from labthermo.testing import check_instrument

SPAN = (-2.0, 2.0)


class Metal:
    """What stays when the adapter is closed: the instrument itself, and every message it got."""

    def __init__(self) -> None:
        self.state = {"voltage": 0.0, "limit": 1e-4, "on": False}
        self.messages: list[str] = []

    def get(self, key: str) -> Any:
        self.messages.append(f"{key}?")
        return self.state[key]

    def set(self, key: str, value: Any) -> None:
        self.messages.append(f"{key} {value}")
        self.state[key] = value


class Sound:
    """A source meter as it should be."""

    measured = frozenset({"current", "voltage"})
    rebooted = False

    def __init__(self, metal: Metal) -> None:
        self.name = "sound"
        self.identity = Identity("Maker", "Model", "SIM-1", "1.0")
        self.incidents: deque[str] = deque()
        self._metal = metal
        self._open = True

    def _line(self) -> Metal:
        if not self._open:
            raise InstrumentError("sound: the line is closed; open it again")
        return self._metal

    def refuse_reboot(self) -> None:
        """Refuse to go on if the instrument has been switched off and on since it was opened."""

    def source_channels(self) -> tuple[str, ...]:
        """Get the names of the channels."""
        return ("output",)

    def set_voltage(self, channel: str, voltage: float) -> None:
        """Set `channel` to `voltage` (V), -2 V .. 2 V."""
        self._check(channel)
        if not SPAN[0] <= voltage <= SPAN[1]:
            raise LimitError(f"{voltage} V is outside of -2 V to 2 V; nothing was set")
        self._line().set("voltage", voltage)

    def _check(self, channel: str) -> None:
        if channel != "output":
            raise InstrumentError(f"no channel {channel!r}; there is output")

    def voltage(self, channel: str) -> float:
        """Get the programmed voltage (V) of `channel`."""
        self._check(channel)
        return self._line().get("voltage")

    def voltage_span(self, channel: str) -> tuple[float, float]:
        """Get the lowest and highest voltage (V)."""
        return SPAN

    def voltage_resolution(self, channel: str) -> float:
        """Get the smallest step (V)."""
        return 1e-4

    def set_compliance(self, current: float, channel: str = "output") -> None:
        """Set the current limit (A), 1 nA .. 1 A; read back."""
        if not 1e-9 <= current <= 1.0:
            raise ComplianceError(f"{current} A is outside of 1 nA to 1 A; nothing was set")
        self._line().set("limit", current)

    def compliance(self, channel: str = "output") -> float:
        """Get the current limit (A) in force."""
        return self._line().get("limit")

    def prepare_current_range(self, current: float, channel: str = "output") -> None:
        """Choose the smallest range that holds `current` (A, up to 1 A)."""
        if not current <= 1.0:
            raise InstrumentError(f"no range holds {current} A; the highest is 1 A")
        if self.output_is_on():
            raise InstrumentError("the range changes only with the output off")

    def output_on(self, channel: str = "output") -> None:
        """Connect the output."""
        self._line().set("on", True)

    def output_off(self, channel: str = "output") -> None:
        """Disconnect the output, to high impedance."""
        self._line().set("on", False)

    def output_is_on(self, channel: str = "output") -> bool:
        """Get whether the output is connected."""
        return self._line().get("on")

    def measure_current(self, integration_time: float, channel: str = "output") -> Reading:
        """Measure the current (A), integrating for at most `integration_time` (s)."""
        if not self.output_is_on():
            raise InstrumentError("the output is off; there is no current")
        return Reading(1e-12)

    def current_noise(self, integration_time: float, channel: str = "output") -> float:
        """Get the standard deviation (A) of one reading."""
        return 1e-12 / math.sqrt(integration_time)

    def prepare_voltage_range(self, voltage: float) -> None:
        """Choose the smallest range that holds `voltage` (V, up to 1000 V)."""
        if not abs(voltage) <= 1000:
            raise InstrumentError(f"no range holds {voltage} V; the highest is 1000 V")

    def measure_voltage(self, integration_time: float) -> Reading:
        """Measure the voltage (V), integrating for at most `integration_time` (s)."""
        return Reading(self._line().get("voltage"))

    def voltage_noise(self, integration_time: float) -> float:
        """Get the standard deviation (V) of one reading."""
        return 1e-6 / math.sqrt(integration_time)

    def close(self) -> None:
        """Let go of the instrument."""
        self._open = False


class MovesOnOpening(Sound):
    def __init__(self, metal: Metal) -> None:
        super().__init__(metal)
        metal.set("voltage", metal.state["voltage"] + 0.1)


class HasNoSerialNumber(Sound):
    def __init__(self, metal: Metal) -> None:
        super().__init__(metal)
        self.identity = Identity("Maker", "Model", "", "1.0")


class AsksToPrintItself(Sound):
    def __repr__(self) -> str:
        return f"Sound at {self._line().get('voltage')} V"


class TakesAnything(Sound):
    def set_voltage(self, channel: str, voltage: float) -> None:
        """Set `channel` to `voltage` (V), -2 V .. 2 V."""
        self._check(channel)
        self._line().set("voltage", voltage)


class ClipsLikeATruncatingValidator(Sound):
    def set_voltage(self, channel: str, voltage: float) -> None:
        """Set `channel` to `voltage` (V), -2 V .. 2 V."""
        self._check(channel)
        self._line().set("voltage", min(max(voltage, SPAN[0]), SPAN[1]))


class ChecksTooLate(Sound):
    def set_voltage(self, channel: str, voltage: float) -> None:
        """Set `channel` to `voltage` (V), -2 V .. 2 V."""
        self._line().messages.append("hello")
        super().set_voltage(channel, voltage)


class Remembers(Sound):
    _last = 0.0

    def set_voltage(self, channel: str, voltage: float) -> None:
        """Set `channel` to `voltage` (V), -2 V .. 2 V."""
        super().set_voltage(channel, voltage)
        self._last = voltage

    def voltage(self, channel: str) -> float:
        """Get the programmed voltage (V) of `channel`."""
        self._check(channel)
        self._line()
        return self._last


class AnswersWhenClosed(Sound):
    def _line(self) -> Metal:
        return self._metal


class KnowsEveryChannel(Sound):
    def _check(self, channel: str) -> None: ...


class RoundsComplianceToZero(Sound):
    def set_compliance(self, current: float, channel: str = "output") -> None:
        """Set the current limit (A), 1 nA .. 1 A; read back."""
        super().set_compliance(current)
        self._metal.state["limit"] = float(f"{current:f}")


class TakesNoLimitAtAll(Sound):
    def set_compliance(self, current: float, channel: str = "output") -> None:
        """Set the current limit (A), 1 nA .. 1 A; read back."""
        self._line().set("limit", current)


class StaysOn(Sound):
    def output_off(self, channel: str = "output") -> None:
        """Disconnect the output, to high impedance."""


class MeasuresWhenOff(Sound):
    def measure_current(self, integration_time: float, channel: str = "output") -> Reading:
        """Measure the current (A), integrating for at most `integration_time` (s)."""
        return Reading(0.0)


class ChangesRangeWhenOn(Sound):
    def prepare_current_range(self, current: float, channel: str = "output") -> None:
        """Choose the smallest range that holds `current` (A, up to 1 A)."""
        if not current <= 1.0:
            raise InstrumentError(f"no range holds {current} A; the highest is 1 A")


class CallsASentinelANumber(Sound):
    def measure_voltage(self, integration_time: float) -> Reading:
        """Measure the voltage (V), integrating for at most `integration_time` (s)."""
        self._line().get("voltage")
        return Reading(math.inf)


class SaysNothingOfItsUnit(Sound):
    def voltage_resolution(self, channel: str) -> float:
        """Get the smallest step."""
        return 1e-4


class RaisesWhatPythonRaises(Sound):
    def _check(self, channel: str) -> None:
        assert {"output": 1}[channel]


BROKEN = {
    MovesOnOpening: "closing and opening moved it",
    HasNoSerialNumber: "identity is incomplete",
    AsksToPrintItself: r"repr\(\) sent",
    TakesAnything: "must raise a LimitError",
    ClipsLikeATruncatingValidator: "must raise a LimitError",
    ChecksTooLate: "must not send anything",
    Remembers: "answered from memory",
    AnswersWhenClosed: "of a closed adapter",
    KnowsEveryChannel: "no such channel",
    RoundsComplianceToZero: "reads back 0.0 A",
    TakesNoLimitAtAll: r"set_compliance\(nan\) must raise",
    StaysOn: "did not switch off",
    MeasuresWhenOff: "with the output off",
    ChangesRangeWhenOn: "with the output on",
    CallsASentinelANumber: "has the value inf",
    SaysNothingOfItsUnit: "must name its unit",
    RaisesWhatPythonRaises: "not KeyError",
}


def check(adapter: type[Sound]) -> None:
    metal = Metal()
    check_instrument(lambda: adapter(metal), lambda: metal.messages)


def test_a_sound_one_passes_with_and_without_its_messages() -> None:
    check(Sound)
    metal = Metal()
    check_instrument(lambda: Sound(metal))
    assert metal.state == {"voltage": 0.0, "limit": 10e-9, "on": False}


def test_every_broken_one_is_tried() -> None:
    assert set(BROKEN) == set(Sound.__subclasses__())


@pytest.mark.parametrize(("broken", "complaint"), BROKEN.items(), ids=lambda c: getattr(c, "__name__", ""))
def test_a_broken_one_is_found(broken: type[Sound], complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint) as found:
        check(broken)
    assert "\n" not in str(found.value)
