"""Guard: the only way a set-point reaches an instrument (design.md, section 8)."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping

from labthermo.clock import Clock
from labthermo.config import LeakageLimit, PairLimit
from labthermo.errors import ComplianceError, LabThermoError, LimitError, QueryError, ReadbackError
from labthermo.fluidics import RateLine
from labthermo.instrument import GateDac
from labthermo.limits import check_value
from labthermo.quantity import format_quantity
from labthermo.safety.signals import deaf, shielded
from labthermo.wiring import LeadLine, SourceLine, Wiring

COMPLIANCE_TOLERANCE = 0.01  # of the asked value
REFILL_MARGIN = 1.01  # a pump's clock may be slower than ours
ROUNDING = 1e-9  # 150 mV - 100 mV is a little more than 50 mV


class TripError(LabThermoError, RuntimeError):
    """An interlock has tripped: nothing moves until an operator has re-armed it.

    surroundings: monitor -> value and unit, as far as they had been read when one of them tripped it.
    """

    def __init__(self, message: str, surroundings: dict[str, tuple[float, str]] | None = None) -> None:
        super().__init__(message)
        self.surroundings = surroundings or {}


class Guard:
    """Moves set-points: the whole move is checked first, then ramped from the values read back.

    Every step is at most the channel's `max_step`, and comes so late that no channel exceeds its `slew`; all channels
    of a move step together, so that pairs stay within their limits on the way; the end is confirmed by read-back.
    A channel that is found outside its limits, after a crash or by hand, is ramped back in like any other.
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

    def read(self, names: Iterable[str] | None = None) -> dict[str, float]:
        """What inputs and knobs read back, all of them or those named, V at the sample."""
        return {name: self._lines[name].read_back() for name in (self._lines if names is None else names)}

    def move(self, targets: Mapping[str, float]) -> dict[str, float]:
        """Ramp channels to `targets` (V at the sample) together; what they read back in the end.

        Raises
        ------
        QueryError: an unknown channel. LimitError: a target or a pair out of its limits; nothing was moved.
        ReadbackError: an instrument did not take a value. TripError: an interlock has tripped.
        """
        if self.tripped:
            raise TripError(f"{self.tripped}; nothing moves until it is re-armed")
        for name in targets:
            if name not in self._lines:
                raise QueryError(f"no input or knob {name!r}; there are {', '.join(self._lines)}")
        targets = {name: check_value(self._lines[name].channel, value) for name, value in targets.items()}
        paired = [n for pair in self._pairs if not targets.keys().isdisjoint(pair.of) for n in pair.of]
        now = self.read(dict.fromkeys((*targets, *paired)))
        self._check_pairs(now, targets)
        self._ramp(now, targets)
        reached = {name: self._confirm(self._lines[name], value) for name, value in targets.items()}
        self._check_leakage(
            line for line in self._wiring.knobs if line.channel.name in targets
            and abs(targets[line.channel.name] - now[line.channel.name]) > line.resolution
        )  # fmt: skip
        return reached

    def refill(self) -> dict[str, float]:
        """Stop every pump, fill every syringe that can be filled, all at once, and bring the pumps back to their rates.

        L that were drawn, by channel; those that are full but for a hundredth draw nothing. While they draw, nothing
        flows on the bench. Rates that were outside their limits come back within them.

        Raises
        ------
        InstrumentError: a refill went wrong: every pump is at rest, and that one's volumes are invalid.
        LimitError, ReadbackError, TripError: as :meth:`move`.
        """
        pumps = [line for line in self._lines.values() if isinstance(line, RateLine)]
        before = self.read(line.channel.name for line in pumps)
        back = {
            line.channel.name: min(max(rate, line.channel.minimum), line.channel.maximum)
            for line, rate in zip(pumps, before.values(), strict=True)
            if rate > 0.0
        }
        self.move(dict.fromkeys(before, 0.0))
        able = [line for line in pumps if line.source.refill_rate > 0.0]
        drawn: dict[str, float] = {}
        try:
            drawing: list[RateLine] = []
            longest = 0.0
            for line in able:
                with shielded():
                    lasts = line.source.start_refill()
                if lasts > 0.0:
                    drawing.append(line)
                    longest = max(longest, lasts)
            if drawing:
                self._clock.sleep(REFILL_MARGIN * longest + 1.0)
            for line in drawing:
                with shielded():
                    drawn[line.channel.name] = line.source.finish_refill()
        except BaseException:
            with deaf():
                for line in able:
                    with contextlib.suppress(Exception):  # the first failure is what is told
                        line.source.set_rate(0.0)
            raise
        self.move(back)
        return drawn

    def watch(self) -> dict[str, tuple[float, str]]:
        """Read every monitor: name -> value and its unit, NaN where there is nothing to measure it by.

        Raises
        ------
        TripError: one is beyond its limits, or has limits and cannot be measured. Then the device was made safe.
        """
        found: dict[str, tuple[float, str]] = {}
        for line in self._wiring.monitors:
            reading = line.read()
            value = reading.value if reading.flag == "ok" else math.nan
            found[line.name] = value, line.unit
            if line.limits and not line.low <= value <= line.high:
                state = "cannot be measured" if math.isnan(value) else f"is {format_quantity(value, line.unit)}"
                raise self._trip(f"{line.name} {state}; its limits are {line.limits}", surroundings=found)
        return found

    def energise(self) -> None:
        """Connect every lead at 0 V with its compliance set, and read back, before its output goes on.

        An output that is found on, after a crash, is taken over if it is at 0 V with this compliance.

        Raises
        ------
        ComplianceError: a compliance is not what was asked. ReadbackError: the lead is not at 0 V.
        Then this lead was left as it was found, and those before it are disconnected again.
        """
        for number, lead in enumerate(self._wiring.leads):
            try:
                with shielded():
                    self._connect(lead)
            except BaseException:
                self._release(self._wiring.leads[:number])
                raise

    def make_safe(self, zero_knobs: bool | None = None) -> list[str]:
        """Go to the safe state: inputs to zero, then knobs as the station says. Gone to its end, whatever comes.

        One channel that fails does not stop the others. Returns what failed, one sentence each.
        """
        failures: dict[str, str] = {}
        zero = self._zero_knobs if zero_knobs is None else zero_knobs
        with deaf():
            for group in (self._wiring.inputs, self._wiring.knobs if zero else ()):
                now: dict[str, float] = {}
                for line in group:
                    try:
                        now[line.channel.name] = line.read_back()
                    except Exception as error:  # whatever a driver may raise
                        failures[line.channel.name] = str(error)
                try:
                    self._zero(now)
                except Exception:
                    # together failed: each for itself, so that one dead instrument does not stop the others
                    for name in now:
                        try:
                            self._zero({name: self._lines[name].read_back()})
                        except Exception as error:
                            failures[name] = str(error)
        return [f"{name}: {failure}" for name, failure in failures.items()]

    def release(self) -> list[str]:
        """Disconnect every lead, to high impedance. Returns what failed."""
        return self._release(self._wiring.leads)

    def arm(self) -> None:
        """Let things move again after a trip: an operator's decision, never the program's."""
        self.tripped = None

    def _connect(self, lead: LeadLine) -> None:
        meter, name = lead.meter, lead.channel.name
        found_on = meter.output_is_on(lead.port)
        if not found_on:
            meter.prepare_current_range(lead.compliance, lead.port)
            meter.set_voltage(lead.port, 0.0)
            meter.set_compliance(lead.compliance, lead.port)
        has = meter.compliance(lead.port)
        if not math.isclose(has, lead.compliance, rel_tol=COMPLIANCE_TOLERANCE):
            raise ComplianceError(
                f"{name}: asked for a compliance of {format_quantity(lead.compliance, 'A')}, the instrument has "
                f"{format_quantity(has, 'A')}; "
                + ("its output was found on: switch it off by hand" if found_on else "its output stays off")
            )
        volts = meter.voltage(lead.port)
        if abs(volts) > meter.voltage_resolution(lead.port):
            raise ReadbackError(
                f"{name}: the lead should be held at 0 V but is programmed to {format_quantity(volts, 'V')}; "
                "bring it to 0 V by hand"
            )
        meter.output_on(lead.port)  # also where it is on: the adapter checks that it is so in a state of its own making

    def _release(self, leads: tuple[LeadLine, ...]) -> list[str]:
        failures: list[str] = []
        with deaf():
            for lead in leads:
                try:
                    lead.meter.output_off(lead.port)
                except Exception as error:
                    failures.append(f"{lead.channel.name}: {error}")
        return failures

    def _zero(self, start: Mapping[str, float]) -> None:
        self._ramp(start, dict.fromkeys(start, 0.0))
        for name in start:
            self._confirm(self._lines[name], 0.0)

    def _ramp(self, start: Mapping[str, float], targets: Mapping[str, float]) -> None:
        """Step all channels together from the values read back. start: at least those of the targets.

        A pump that is found drawing, from a refill that was broken off, is stopped at once: no vessel feels it.
        """
        drawing = [name for name in targets if isinstance(self._lines[name], RateLine) and start[name] < 0.0]
        for name in drawing:
            self._lines[name].write(0.0)
        start = {**start, **dict.fromkeys(drawing, 0.0)}
        ways = {name: targets[name] - start[name] for name in targets}
        moving = {name: way for name, way in ways.items() if abs(way) > 0.5 * self._lines[name].resolution}
        if not moving:
            return
        # wiring.connect() has made sure that max_step is at least two resolutions
        steps = max(
            math.ceil(abs(way) / (self._lines[name].channel.max_step - self._lines[name].resolution))
            for name, way in moving.items()
        )
        pause = max(
            (abs(way) / steps + self._lines[name].resolution) / self._lines[name].channel.slew
            for name, way in moving.items()
        )
        here = dict(start)
        for k in range(1, steps + 1):
            self._clock.sleep(pause)  # before the step: whatever the channel did last may have been just now
            step = {
                name: targets[name] if k == steps else start[name] + way * k / steps for name, way in moving.items()
            }
            while step:
                name = self._first(here, step)
                here[name] = step.pop(name)
                self._lines[name].write(here[name])

    def _first(self, here: Mapping[str, float], step: Mapping[str, float]) -> str:
        """Which channel goes first in a step: the one that leaves its pairs closest together."""

        def excess(name: str) -> float:
            after = {**here, name: step[name]}
            pairs = (pair for pair in self._pairs if name in pair.of and after.keys() >= set(pair.of))
            return max((abs(after[p.of[0]] - after[p.of[1]]) - p.max_difference for p in pairs), default=-math.inf)

        return min(step, key=excess) if self._pairs else next(iter(step))

    def _confirm(self, line: SourceLine | RateLine, wanted: float) -> float:
        got = line.read_back()
        if not abs(got - wanted) <= line.resolution:
            unit = line.channel.unit
            raise ReadbackError(
                f"{line.channel.name}: set to {format_quantity(wanted, unit, 6)} but reads back "
                f"{format_quantity(got, unit, 6)} (resolution {format_quantity(line.resolution, unit)}); check the "
                "instrument's range and error queue"
            )
        return got

    def _check_pairs(self, now: Mapping[str, float], targets: Mapping[str, float]) -> None:
        """The end of a move; on the way all channels step together, so a difference is never beyond the larger end's.

        A pair that is found too far apart may be brought closer.
        """
        end = {**now, **targets}
        for pair in self._pairs:
            a, b = pair.of
            if targets.keys().isdisjoint(pair.of):
                continue
            after = abs(end[a] - end[b])
            if after > pair.max_difference * (1 + ROUNDING) and after >= abs(now[a] - now[b]):
                unit = self._lines[a].channel.unit
                raise LimitError(
                    f"{a} and {b} would be {format_quantity(after, unit)} apart, at most "
                    f"{format_quantity(pair.max_difference, unit)} is allowed; nothing was moved"
                )

    def _check_leakage(self, moved: Iterable[SourceLine | RateLine]) -> None:
        """After the charging current has died away, no watched gate may leak; otherwise trip and zero the gates."""
        limit = self._leakage
        if limit is None:
            return
        watched = [
            (line, line.source) for line in moved if isinstance(line.source, GateDac) and line.source.name == limit.of
        ]
        if watched:
            self._clock.sleep(limit.blank)
        for line, source in watched:
            with shielded():
                reading = source.measure_leakage(line.port)
            if reading.flag != "ok" or abs(reading.value) > limit.max:
                leak = format_quantity(reading.value, "A") if reading.flag == "ok" else "more than can be measured"
                allowed = format_quantity(limit.max, "A")
                raise self._trip(f"{line.channel.name} leaks {leak}; at most {allowed} is allowed", zero_knobs=True)

    def _trip(
        self, reason: str, *, zero_knobs: bool = False, surroundings: dict[str, tuple[float, str]] | None = None
    ) -> TripError:
        """Let nothing move any more, and make the device safe; the error to raise.

        zero_knobs: ramp the gates to zero, whatever the station does on a stop.
        """
        self.tripped = reason
        failures = "; ".join(self.make_safe(zero_knobs=zero_knobs or None))
        goal, done = "the safe state", "the device was made safe"
        if zero_knobs:
            goal, done = "zero", "inputs and gates were ramped to zero"
        if failures:
            done = f"the way to {goal} failed ({failures})"
        return TripError(f"{reason}; {done}; find out why before re-arming", surroundings)
