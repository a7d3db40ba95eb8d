"""Guard: the only way a set-point reaches an instrument (design.md, section 8)."""

from __future__ import annotations

import math
from collections.abc import Mapping

from labthermo.clock import Clock
from labthermo.config import LeakageLimit, PairLimit
from labthermo.errors import ComplianceError, LabThermoError, LimitError, QueryError, ReadbackError
from labthermo.instrument import GateDac
from labthermo.limits import check_value
from labthermo.quantity import format_quantity
from labthermo.safety.signals import deaf, shielded
from labthermo.wiring import SourceLine, Wiring

COMPLIANCE_TOLERANCE = 0.01  # of the asked value


class TripError(LabThermoError, RuntimeError):
    """An interlock has tripped: nothing moves until an operator has re-armed it."""


class Guard:
    """Moves set-points: the whole move is checked first, then ramped from the values read back.

    Every step is at most the channel's `max_step`, and waits so that no channel exceeds its `slew`; all channels of a
    move step together, so that pairs stay within their limits on the way; the end is confirmed by read-back.
    """

    def __init__(
        self, wiring: Wiring, clock: Clock, pairs: tuple[PairLimit, ...] = (), leakage: LeakageLimit | None = None,
        zero_knobs_on_stop: bool = False,
    ) -> None:  # fmt: skip
        self._wiring = wiring
        self._lines = {line.channel.name: line for line in (*wiring.inputs, *wiring.knobs)}
        self._clock = clock
        self._pairs = pairs
        self._leakage = leakage
        self._zero_knobs = zero_knobs_on_stop
        self.tripped: str | None = None

    def read(self) -> dict[str, float]:
        """What every input and knob reads back, V at the sample."""
        return {name: line.read_back() for name, line in self._lines.items()}

    def move(self, targets: Mapping[str, float]) -> dict[str, float]:
        """Ramp channels to `targets` (V at the sample) together; what they read back in the end.

        Raises
        ------
        QueryError: an unknown channel. LimitError: a target or a pair out of its limits; nothing was moved.
        ReadbackError: an instrument did not take a value. TripError: an interlock has tripped.
        """
        if self.tripped:
            raise TripError(f"{self.tripped}; nothing moves until it is re-armed")
        for name, value in targets.items():
            if name not in self._lines:
                raise QueryError(f"no input or knob {name!r}; there are {', '.join(self._lines)}")
            check_value(self._lines[name].channel, value)
        now = {name: self._lines[name].read_back() for name in targets}
        self._check_pairs(now, targets)
        self._ramp(now, targets)
        reached = {name: self._confirm(self._lines[name], value) for name, value in targets.items()}
        moved = [
            line for line in self._wiring.knobs if line.channel.name in targets
            and abs(targets[line.channel.name] - now[line.channel.name]) > line.resolution
        ]  # fmt: skip
        if moved:
            self._check_leakage(moved)
        return reached

    def energise(self) -> None:
        """Connect every lead at 0 V with its compliance set, and read back, before its output goes on.

        Raises
        ------
        ComplianceError: a compliance is not what was asked; that output stays off.
        """
        for lead in self._wiring.leads:
            meter, name = lead.meter, lead.channel.name
            with shielded():
                if not meter.output_is_on():
                    meter.prepare_current_range(lead.compliance)
                    meter.set_voltage(lead.port, 0.0)
                    meter.set_compliance(lead.compliance)
                if not math.isclose(meter.compliance(), lead.compliance, rel_tol=COMPLIANCE_TOLERANCE):
                    raise ComplianceError(
                        f"{name}: asked for a compliance of {format_quantity(lead.compliance, 'A')}, the instrument "
                        f"has {format_quantity(meter.compliance(), 'A')}; its output was not switched on"
                    )
                volts = meter.voltage(lead.port)
                if abs(volts) > meter.voltage_resolution(lead.port):
                    raise ReadbackError(
                        f"{name}: the lead should be held at 0 V but is programmed to {format_quantity(volts, 'V')}; "
                        "bring it to 0 V by hand"
                    )
                if not meter.output_is_on():
                    meter.output_on()

    def make_safe(self, zero_knobs: bool | None = None) -> list[str]:
        """Go to the safe state: inputs to zero, then knobs as the station says. Gone to its end, whatever comes.

        One channel that fails does not stop the others. Returns what failed, one sentence each.
        """
        failures: list[str] = []
        zero = self._zero_knobs if zero_knobs is None else zero_knobs
        with deaf():
            for group in (self._wiring.inputs, self._wiring.knobs if zero else ()):
                targets: dict[str, float] = {}
                now: dict[str, float] = {}
                for line in group:
                    try:
                        now[line.channel.name] = line.read_back()
                        targets[line.channel.name] = 0.0
                    except (LabThermoError, OSError) as error:
                        failures.append(f"{line.channel.name}: {error}")
                try:
                    self._ramp(now, targets)
                except (LabThermoError, OSError):
                    # together failed: each for itself, so that one dead instrument does not stop the others
                    for name in targets:
                        try:
                            self._ramp({name: self._lines[name].read_back()}, {name: 0.0})
                        except (LabThermoError, OSError) as error:
                            failures.append(f"{name}: {error}")
        return failures

    def release(self) -> list[str]:
        """Disconnect every lead, to high impedance. Returns what failed."""
        failures: list[str] = []
        with deaf():
            for lead in self._wiring.leads:
                try:
                    lead.meter.output_off()
                except (LabThermoError, OSError) as error:
                    failures.append(f"{lead.channel.name}: {error}")
        return failures

    def arm(self) -> None:
        """Let things move again after a trip: an operator's decision, never the program's."""
        self.tripped = None

    def _ramp(self, start: Mapping[str, float], targets: Mapping[str, float]) -> None:
        """Step all channels together from the values read back."""
        ways = {name: targets[name] - start[name] for name in targets}
        moving = {name: way for name, way in ways.items() if abs(way) > 0.5 * self._lines[name].resolution}
        if not moving:
            return
        steps = max(math.ceil(abs(way) / self._step(self._lines[name])) for name, way in moving.items())
        pause = max(abs(way) / steps / self._lines[name].channel.slew for name, way in moving.items())
        for k in range(1, steps + 1):
            for name, way in moving.items():
                self._lines[name].write(targets[name] if k == steps else start[name] + way * k / steps)
            self._clock.sleep(pause)

    @staticmethod
    def _step(line: SourceLine) -> float:
        """Largest step that still keeps `max_step` after both its ends were rounded to the instrument's resolution."""
        return max(line.channel.max_step - line.resolution, 0.5 * line.channel.max_step)

    def _confirm(self, line: SourceLine, wanted: float) -> float:
        got = line.read_back()
        if not abs(got - wanted) <= line.resolution:
            raise ReadbackError(
                f"{line.channel.name}: set to {format_quantity(wanted, 'V', 6)} but reads back "
                f"{format_quantity(got, 'V', 6)} (resolution {format_quantity(line.resolution, 'V')}); check the "
                "instrument's range and error queue"
            )
        return got

    def _check_pairs(self, now: Mapping[str, float], targets: Mapping[str, float]) -> None:
        """Both ends of a move; between them all channels step together, so a difference is never beyond the larger."""
        for pair in self._pairs:
            if not set(pair.of) & targets.keys():
                continue
            a, b = (targets[n] if n in targets else self._lines[n].read_back() for n in pair.of)
            before = abs((now[pair.of[0]] if pair.of[0] in now else a) - (now[pair.of[1]] if pair.of[1] in now else b))
            if abs(a - b) > max(pair.max_difference, min(before, abs(a - b)) if abs(a - b) < before else 0.0):
                raise LimitError(
                    f"{pair.of[0]} and {pair.of[1]} would be {format_quantity(abs(a - b), 'V')} apart, at most "
                    f"{format_quantity(pair.max_difference, 'V')} is allowed; nothing was moved"
                )

    def _check_leakage(self, moved: list[SourceLine]) -> None:
        """After the charging current has died away, no watched gate may leak; otherwise trip and zero the gates."""
        limit = self._leakage
        if limit is None:
            return
        self._clock.sleep(limit.blank)
        for line in moved:
            if not isinstance(line.source, GateDac) or line.source.name.split(".")[-1] != limit.of:
                continue
            with shielded():
                reading = line.source.measure_leakage(line.port)
            if reading.flag != "ok" or abs(reading.value) > limit.max:
                self.tripped = (
                    f"{line.channel.name} leaks {format_quantity(reading.value, 'A')}, more than "
                    f"{format_quantity(limit.max, 'A')}"
                )
                self.make_safe(zero_knobs=True)
                raise TripError(f"{self.tripped}; inputs and gates were ramped to zero; find out why before re-arming")
