"""Coulomb diamonds: current over bias and one gate, and from their edges lever arm and charging energy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from labthermo.channel import Channel
from labthermo.charge_analysis import Diamonds, Estimate, find_diamonds
from labthermo.choice import Readout, choose, readout, span
from labthermo.device import Query, channels_of
from labthermo.errors import ParameterError
from labthermo.procedure import Procedure
from labthermo.quantity import format_quantity, quantity
from labthermo.run import Run


class CoulombDiamonds(Procedure):
    """Sweep a bias up and down at every voltage of a gate; from the diamonds: lever arm, capacitive shares, energies.

    The other lead stands at 0 V and the other channels stay where they are. Two or more diamonds should be in sight
    for the period, and the bias should reach beyond their tips (addition energy over e) for long edges. The bias is
    taken at the device's terminal: filters and leads in series with the dot make it smaller than it is asked.
    """

    name: ClassVar[str] = "coulomb_diamonds"

    gate: str = Field(default="", description="knob to step; default: the first")
    input: str = Field(default="", description="bias to sweep; default: the first")
    reading: str = Field(default="", description="current (or voltage) to read; default: the first node, else output")
    gate_start: Annotated[float, quantity("V")] | None = Field(default=None, description="default: the gate's minimum")
    gate_stop: Annotated[float, quantity("V")] | None = Field(default=None, description="default: the gate's maximum")
    gate_points: Annotated[int, Field(ge=8, le=2000)] = Field(default=61, description="8 to 2000")
    bias_start: Annotated[float, quantity("V")] | None = Field(default=None, description="default: low end of window")
    bias_stop: Annotated[float, quantity("V")] | None = Field(default=None, description="default: high end of window")
    bias_points: Annotated[int, Field(ge=8, le=2000)] = Field(default=41, description="8 to 2000")

    def count(self, channels: Sequence[Channel]) -> int:
        self._plan(channels)
        return self.gate_points * self.bias_points

    def execute(self, run: Run) -> None:
        (column, bias_of), gate_of, read, biases, gates = self._plan(run.device.channels)
        asked = np.zeros((self.bias_points, len(channels_of(run.device, "input"))))
        asked[:, column] = biases
        flow = np.full((self.gate_points, self.bias_points), np.nan)
        sigmas: list[float] = []
        for k, gate in enumerate(gates):
            order = slice(None) if k % 2 == 0 else slice(None, None, -1)  # to and fro: no way back without a reading
            response = run.query(Query(knobs={gate_of.name: float(gate)}, inputs=asked[order]), purpose=self.name)
            flow[k, order], sigma = read.of(response)
            sigmas += sigma[np.isfinite(flow[k, order])].tolist()
        found = find_diamonds(gates, biases, flow, float(np.median(sigmas))) if sigmas else None
        edges = [] if found is None else [[list(a), list(b)] for a, b in found.edges]
        run.event(
            "figure",
            kind="map",
            title=f"Coulomb diamonds: {read.channel.name} over {gate_of.name} and {bias_of.name}",
            x=gates.tolist(),
            y=biases.tolist(),
            z=flow.T.tolist(),
            x_name=gate_of.name,
            x_unit="V",
            y_name=bias_of.name,
            y_unit="V",
            z_name=read.channel.name,
            z_unit=read.channel.unit,
            lines=edges,
        )
        run.event("coulomb_diamonds", gate=gate_of.name, input=bias_of.name, reading=read.channel.name, **_words(found))

    def _plan(
        self, channels: Sequence[Channel]
    ) -> tuple[tuple[int, Channel], Channel, Readout, np.ndarray, np.ndarray]:
        """(column, bias), gate, (place, reading), bias values, gate values (V)."""
        bias = choose(channels, ["input"], self.input, f"{self.name}: input")
        _, gate = choose(channels, ["knob"], self.gate, f"{self.name}: gate")
        read = readout(channels, self.reading, f"{self.name}: reading")
        low, high = span(bias[1], self.bias_start, self.bias_stop, f"{self.name}: bias_start, bias_stop")
        if not low < 0 < high:
            volts = f"{format_quantity(low, 'V')} to {format_quantity(high, 'V')}"
            raise ParameterError(
                f"{self.name}: bias_start: {volts} leaves out 0 V, where diamonds close; go through it"
            )
        start, stop = span(gate, self.gate_start, self.gate_stop, f"{self.name}: gate_start, gate_stop")
        return bias, gate, read, np.linspace(low, high, self.bias_points), np.linspace(start, stop, self.gate_points)


def _words(found: Diamonds | None) -> dict[str, object]:
    if found is None:
        why = "no pair of diamond edges found: is the bias beyond the blockade, does the gate reach several carriers?"
        return {"found": False, "message": why}
    values: dict[str, Estimate | None] = {
        "lever_arm": found.lever_arm,
        "source_share": found.source_share,
        "other_share": found.other_share,
        "period": found.period,
        "addition": found.addition,
    }
    message = ", ".join(f"{name.replace('_', ' ')} {estimate or 'not found'}" for name, estimate in values.items())
    return {"found": True, "message": message, **{name: e and asdict(e) for name, e in values.items()}}
