"""A bench on its first day: offsets, noise, continuity, preamplifier, every gate and its leakage, with advice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from labthermo.channel import Channel
from labthermo.choice import Readout, check, readouts
from labthermo.device import Query, Response, Status
from labthermo.errors import ParameterError
from labthermo.procedure import Procedure
from labthermo.quantity import format_quantity, quantity
from labthermo.run import Run

Floats = NDArray[np.float64]

SURE = 5.0  # standard deviations that a change must have to be one
NOISY = 2.0  # times the noise that the data sheets give
CLOSED = 0.05  # of the largest current along a gate: pinched off
RESISTOR = 0.25  # relative: how far a preamplifier's gain times the load may be off

Row = tuple[str, str, str, str]
_COLUMNS = ("what", "found", "verdict", "advice")


class HealthCheck(Procedure):
    """Zero, noise, continuity, preamplifier, pinch-off and leakage of every gate; a table with verdicts and advice.

    First everything is read at zero bias, then each input is stepped to `bias` and back, then each gate goes through
    its whole range at that bias, one after another, and returns to where it stood. A gate that leaks more than the
    station allows trips Guard: the check ends there and says which one it was.
    """

    name: ClassVar[str] = "health_check"

    bias: Annotated[float, quantity("V", above=0)] | None = Field(
        default=None, description="to step inputs to; default: high end of each one's window"
    )
    bias_points: Annotated[int, Field(ge=3, le=1000)] = Field(default=5, description="from zero to bias, 3 to 1000")
    gates: str = Field(default="", description="knobs to check, with commas; default: all; none: leave them alone")
    gate_points: Annotated[int, Field(ge=3, le=1000)] = Field(default=7, description="along each gate, 3 to 1000")
    repeats: Annotated[int, Field(ge=4, le=1000)] = Field(default=10, description="readings at zero, 4 to 1000")
    load: Annotated[float, quantity("ohm", above=0)] | None = Field(
        default=None, description="resistance from the output to the lead that is read; default: gain is not checked"
    )
    max_leakage: Annotated[float, quantity("A", above=0)] = Field(default=1e-9, description="of a gate")

    def count(self, channels: Sequence[Channel]) -> int:
        inputs, gates, _ = self._plan(channels)
        return self.repeats + len(inputs) * self.bias_points + len(gates) * (self.gate_points + 1)

    def execute(self, run: Run) -> None:
        inputs, gates, reads = self._plan(run.device.channels)
        rows: list[Row] = []
        zero = run.query(Query(inputs=np.zeros((self.repeats, len(inputs)))), purpose="zero")
        for r in reads:
            rows += _zero(r, zero)
        ramps = [self._ramp(run, inputs, k) for k in range(len(inputs))]
        for (volts, response), channel in zip(ramps, inputs, strict=True):
            for r in reads:
                rows += _continuity(channel, volts, r, response)
        rows += self._gain([response for _, response in ramps], reads)
        stand = {name: float(value) for name, value in zero.knobs.items()}
        high = np.array([[self._high(c) for c in inputs]])
        curves: dict[str, list[dict[str, Any]]] = {r.channel.name: [] for r in reads}
        for gate in gates:
            volts = np.linspace(gate.minimum, gate.maximum, self.gate_points)
            answers: list[Response] = []
            leaks: list[tuple[float, float | None]] = []
            for volt in volts:
                answers.append(run.query(Query({gate.name: float(volt)}, high), purpose=f"gate {gate.name}"))
                if answers[-1].status[0] is Status.TRIPPED:
                    break
                if volt in (volts[0], volts[-1]):
                    leaks.append((float(volt), run.leakage(gate.name)))
            if answers[-1].status[0] is Status.TRIPPED:
                at = format_quantity(float(volts[len(answers) - 1]), gate.unit)
                rows.append((f"{gate.name}: leakage", f"Guard tripped on the way to {at}", "BAD",
                             "it leaks more than the station allows: look at its bond and line before re-arming; "
                             "the gates after it were not checked"))  # fmt: skip
                break
            answer = Response.join(answers)
            rows += self._gate(gate, volts, reads, answer)
            rows += self._leakage(gate, leaks)
            for r in reads:
                values, _ = r.of(answer)
                curves[r.channel.name].append({"label": gate.name, "x": volts.tolist(), "y": values.tolist()})
            run.query(Query({gate.name: min(max(stand[gate.name], gate.minimum), gate.maximum)}, high), purpose="back")
        self._show(run, rows, inputs, reads, ramps, curves)

    def _show(
        self, run: Run, rows: list[Row], inputs: Sequence[Channel], reads: list[Readout],
        ramps: list[tuple[Floats, Response]], curves: dict[str, list[dict[str, Any]]],
    ) -> None:  # fmt: skip
        bad = [row for row in rows if row[2] == "BAD"]
        unsure = [row for row in rows if row[2] == "look"]
        run.event("table", title="Checks", columns=list(_COLUMNS), rows=rows)
        for r in reads:
            unit = r.channel.unit
            along = [
                {"label": c.name, "x": volts.tolist(), "y": r.of(response)[0].tolist()}
                for (volts, response), c in zip(ramps, inputs, strict=True)
            ]
            run.event("figure", kind="curves", title=f"{r.channel.name} over each input", curves=along,
                      x_name="input", x_unit="V", y_name=r.channel.name, y_unit=unit)  # fmt: skip
            if curves[r.channel.name]:
                run.event("figure", kind="curves", title=f"{r.channel.name} over each gate at full bias",
                          curves=curves[r.channel.name], x_name="gate", x_unit="V", y_name=r.channel.name,
                          y_unit=unit)  # fmt: skip
        worst = "; ".join(f"{what}: {found}" for what, found, *_ in (bad + unsure)[:5])
        count = f"{len(rows)} checks: {len(bad)} bad, {len(unsure)} to look at"
        run.event(self.name, message=f"{count}{' — ' if worst else ''}{worst}", bad=len(bad), look=len(unsure),
                  checks=[dict(zip(_COLUMNS, row, strict=True)) for row in rows])  # fmt: skip

    def _ramp(self, run: Run, inputs: Sequence[Channel], k: int) -> tuple[Floats, Response]:
        """One input from zero to its bias, the others at zero."""
        volts = np.linspace(0.0, self._high(inputs[k]), self.bias_points)
        asked = np.zeros((self.bias_points, len(inputs)))
        asked[:, k] = volts
        return volts, run.query(Query(inputs=asked), purpose=f"bias {inputs[k].name}")

    def _gain(self, ramps: list[Response], reads: list[Readout]) -> list[Row]:
        """Of the preamplifier, by the voltage over a known load and the current through it."""
        volts = next((r for r in reads if r.channel.kind == "output" and r.channel.unit == "V"), None)
        amps = next((r for r in reads if r.channel.unit == "A"), None)
        if volts is None:
            return []
        what = f"{volts.channel.name}: gain"
        if self.load is None or amps is None:
            advice = "give -p load=RESISTANCE of the load between this output and the lead that is read"
            return [(what, "not checked", "-", advice if amps else "no current is read that could be compared")]
        answer = Response.join(ramps)
        (y, _), (i, sigma) = volts.of(answer), amps.of(answer)
        known = np.isfinite(y) & np.isfinite(i)
        slope = _slope(i[known], y[known]) if known.sum() > 2 else None
        if slope is None or np.ptp(i[known]) < SURE * float(np.median(sigma)):
            return [(what, "too little current to tell", "look", "open the gates, or use a larger bias")]
        ratio = slope / self.load
        found = f"{format_quantity(ratio, '', 3)} of what the load of {format_quantity(self.load, 'ohm')} makes"
        if abs(ratio - 1.0) <= RESISTOR:
            return [(what, found, "good", "")]
        return [(what, found, "BAD", "compare the gain on the amplifier with the station file, and the load")]

    def _gate(self, gate: Channel, volts: Floats, reads: list[Readout], answer: Response) -> list[Row]:
        """Whether a gate does anything, by the reading that it moves most, and whether it closes the device."""
        moved: list[tuple[float, Readout]] = []
        for r in reads:
            values, sigma = r.of(answer)
            known = np.isfinite(values)
            if known.sum() > 1:
                moved.append((float(np.ptp(values[known])) / max(float(np.median(sigma[known])), 1e-30), r))
        what = f"{gate.name}: action"
        if not moved:
            return [(what, "nothing settled", "BAD", "look at the statuses below; is a source in compliance?")]
        times, r = max(moved, key=lambda m: m[0])
        values, _ = r.of(answer)
        if times < SURE * math.sqrt(2.0):
            advice = "its dot may be closed by another gate; else look for a broken line or swapped channels"
            return [(what, "no effect on any reading", "look", advice)]
        moves = float(np.nanmax(values) - np.nanmin(values))
        change = f"moves {r.channel.name} by {format_quantity(moves, r.channel.unit, 3)}"
        flow = np.abs(values)
        closed = flow < CLOSED * np.nanmax(flow)
        if not closed.any():
            return [(what, f"{change}, does not pinch off", "good", "")]
        where = format_quantity(float(volts[np.flatnonzero(closed)[np.argmin(np.abs(volts[closed]))]]), gate.unit)
        return [(what, f"{change}, pinches off at {where}", "good", "")]

    def _leakage(self, gate: Channel, leaks: list[tuple[float, float | None]]) -> list[Row]:
        known = [(abs(amps), amps, volts) for volts, amps in leaks if amps is not None]
        what = f"{gate.name}: leakage"
        if not known:
            return [(what, "not measured", "-", "its source cannot measure its own current")]
        _, amps, volts = max(known, key=lambda k: k[0] if math.isfinite(k[0]) else math.inf)
        at = f"at {format_quantity(volts, gate.unit)}"
        if math.isfinite(amps) and abs(amps) <= self.max_leakage:
            return [(what, f"{format_quantity(amps, 'A', 2)} {at}", "good", "")]
        leak = format_quantity(amps, "A", 3) if math.isfinite(amps) else "more than can be measured"
        return [(what, f"{leak} {at}", "BAD", "look at its bond and line; keep it within a smaller range meanwhile")]

    def _high(self, channel: Channel) -> float:
        return (channel.window or (0.0, channel.maximum))[1] if self.bias is None else self.bias

    def _plan(self, channels: Sequence[Channel]) -> tuple[list[Channel], list[Channel], list[Readout]]:
        """All inputs, the gates to check, all readings."""
        inputs = [c for c in channels if c.kind == "input"]
        for channel in inputs:
            high = check(channel, self._high(channel), f"{self.name}: bias")
            check(channel, 0.0, f"{self.name}: zero")
            if high == 0 or not math.isfinite(high):
                raise ParameterError(f"{self.name}: bias: {channel.name} needs a value; give -p bias=VALUE")
        knobs = {c.name: c for c in channels if c.kind == "knob" and c.unit == "V"}
        wanted = [n.strip() for n in self.gates.split(",") if n.strip()] or list(knobs)
        wanted = [] if self.gates.strip() == "none" else wanted
        for name in wanted:
            if name not in knobs:
                raise ParameterError(f"{self.name}: gates: no gate {name!r}; there are {', '.join(knobs) or 'none'}")
        return inputs, [knobs[name] for name in wanted], readouts(channels, "", f"{self.name}: reading")


def _zero(r: Readout, response: Response) -> list[Row]:
    """Offset and noise of one reading at zero bias."""
    values, sigma = r.of(response)
    name, unit, known = r.channel.name, r.channel.unit, np.isfinite(values)
    if known.sum() < 4:
        statuses = ", ".join(sorted({str(s) for s in response.status}))
        return [(f"{name}: zero", f"nothing settled ({statuses})", "BAD", "look at the meter, its range and its cable")]
    mean, scatter, stated = float(values[known].mean()), float(values[known].std(ddof=1)), float(np.median(sigma))
    error = max(scatter, stated) / math.sqrt(known.sum())
    offset = f"{format_quantity(mean, unit, 3)} ± {format_quantity(error, unit, 2)}"
    wide = r.channel.window and abs(mean) > 0.1 * abs(r.channel.window[1] - r.channel.window[0])
    rows: list[Row] = [
        (f"{name}: zero", offset, "look", "more than a tenth of its window: zero the amplifier")
        if wide
        else (f"{name}: zero", offset, "good", "" if abs(mean) < 3 * error else "subtract it")
    ]
    found = f"{format_quantity(scatter, unit, 2)} rms, by the data sheets {format_quantity(stated, unit, 2)}"
    if scatter > NOISY * stated:
        return [*rows, (f"{name}: noise", found, "look", "look for hum, a loose shield, a ground loop")]
    if scatter == 0 < stated:
        return [*rows, (f"{name}: noise", found, "BAD", "a reading without any noise is stuck")]
    return [*rows, (f"{name}: noise", found, "good", "")]


def _continuity(channel: Channel, volts: Floats, r: Readout, response: Response) -> list[Row]:
    """Whether a reading follows an input."""
    values, sigma = r.of(response)
    what = f"{channel.name} to {r.channel.name}: continuity"
    if Status.COMPLIANCE in response.status:
        return [(what, "a source limits its current", "BAD", "a short: look for a pinched wire before going on")]
    known = np.isfinite(values)
    if known.sum() < 3:
        return [(what, "nothing settled", "BAD", "look at the statuses below")]
    change = float(np.ptp(values[known]))
    text = f"{format_quantity(change, r.channel.unit, 3)} over {format_quantity(float(volts[-1]), channel.unit)}"
    if change < SURE * math.sqrt(2.0) * float(np.median(sigma)):
        return [(what, "no change", "look", "an open line, or all gates closed: open the gates and try again")]
    if r.channel.unit == "A" and values[known][-1] != values[known][0]:
        resistance = abs(float(np.ptp(volts[known])) / float(values[known][-1] - values[known][0]))
        text += f", {format_quantity(resistance, 'ohm', 3)} at full bias"
    return [(what, text, "good", "")]


def _slope(x: Floats, y: Floats) -> float | None:
    """Of the least-squares line of y over x; None where x does not vary."""
    away = x - x.mean()
    spread = float(np.sum(away**2))
    return float(np.sum(away * (y - y.mean()))) / spread if spread > 0 else None
