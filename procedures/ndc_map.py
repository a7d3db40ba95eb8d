"""Where a device has negative differential conductance (NDC): the regions of bias, at every value of a gate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from labthermo.channel import Channel
from labthermo.choice import Held, Readout, choose, held, line, readout, span
from labthermo.expressivity import find_ndc
from labthermo.procedure import Procedure
from labthermo.quantity import format_quantity, quantity
from labthermo.run import Run


class NdcMap(Procedure):
    """Sweep a bias at every voltage of a gate and mark where the current falls while the bias rises.

    Every second sweep goes down. A region counts if its drop is larger than noise would make it at the stated
    confidence. What is seen is the whole path from the input to the reading, its load included.
    """

    name: ClassVar[str] = "ndc_map"

    gate: str = Field(default="", description="knob to step; default: the first")
    input: str = Field(default="", description="bias to sweep; default: the first")
    reading: str = Field(default="", description="current (or voltage) to read; default: the first node, else output")
    gate_start: Annotated[float, quantity("V")] | None = Field(default=None, description="default: the gate's minimum")
    gate_stop: Annotated[float, quantity("V")] | None = Field(default=None, description="default: the gate's maximum")
    gate_points: Annotated[int, Field(ge=2, le=2000)] = Field(default=25, description="2 to 2000")
    bias_start: Annotated[float, quantity("V")] | None = Field(default=None, description="default: low end of window")
    bias_stop: Annotated[float, quantity("V")] | None = Field(default=None, description="default: high end of window")
    bias_points: Annotated[int, Field(ge=5, le=2000)] = Field(default=41, description="5 to 2000")
    confidence: Annotated[float, quantity("", above=0, maximum=0.9999)] = Field(
        default=0.95, description="of an NDC region"
    )
    hold: str = Field(default="", description="where others stand, such as 'l1=40 mV, r1=40 mV'")

    def count(self, channels: Sequence[Channel]) -> int:
        self._plan(channels)
        return self.gate_points * self.bias_points

    def execute(self, run: Run) -> None:
        bias, gate, read, biases, gates, stand = self._plan(run.device.channels)
        flow = np.full((self.gate_points, self.bias_points), np.nan)
        regions: list[dict[str, float]] = []
        for k, at in enumerate(gates):
            order = slice(None) if k % 2 == 0 else slice(None, None, -1)
            here = Held(stand.inputs, {**stand.knobs, gate.name: float(at)})
            (query,) = line(run.device.channels, bias, biases[order], here)
            flow[k, order], sigma = read.of(run.query(query, purpose=self.name))
            for region in find_ndc(biases[order], flow[k, order], sigma, self.confidence):
                regions.append(
                    {"gate": float(at), "start": region.start, "stop": region.stop, "drop": region.drop,
                     "confidence": region.confidence}
                )  # fmt: skip
        run.event(
            "figure",
            kind="map",
            title=f"NDC map: {read.channel.name} over {gate.name} and {bias.name}",
            caption=f"Lines: {read.channel.name} falls while {bias.name} rises." if regions else "",
            x=gates.tolist(), y=biases.tolist(), z=flow.T.tolist(),
            x_name=gate.name, x_unit=gate.unit, y_name=bias.name, y_unit=bias.unit,
            z_name=read.channel.name, z_unit=read.channel.unit,
            lines=[[[r["gate"], r["start"]], [r["gate"], r["stop"]]] for r in regions],
        )  # fmt: skip
        if regions:
            run.event(
                "table", title="NDC regions", folded=len(regions) > 12, **_table(regions, gate, bias, read.channel)
            )
        run.event(self.name, gate=gate.name, input=bias.name, regions=regions,
                  message=_sentence(regions, len(gates), gate, bias, read.channel, self.confidence))  # fmt: skip

    def _plan(self, channels: Sequence[Channel]) -> tuple[Channel, Channel, Readout, np.ndarray, np.ndarray, Held]:
        """Bias, gate, reading, bias values, gate values (V), where the others stand."""
        _, bias = choose(channels, ["input"], self.input, f"{self.name}: input")
        _, gate = choose(channels, ["knob"], self.gate, f"{self.name}: gate")
        biases = span(bias, self.bias_start, self.bias_stop, f"{self.name}: bias_start, bias_stop")
        gates = span(gate, self.gate_start, self.gate_stop, f"{self.name}: gate_start, gate_stop")
        return (
            bias, gate, readout(channels, self.reading, f"{self.name}: reading"),
            np.linspace(*biases, self.bias_points), np.linspace(*gates, self.gate_points),
            held(channels, self.hold, f"{self.name}: hold"),
        )  # fmt: skip


def _table(regions: list[dict[str, float]], gate: Channel, bias: Channel, read: Channel) -> dict[str, Any]:
    rows = [
        [
            format_quantity(r["gate"], gate.unit),
            format_quantity(r["start"], bias.unit),
            format_quantity(r["stop"], bias.unit),
            format_quantity(r["drop"], read.unit, 3),
            format_quantity(r["confidence"], "%", 6),
        ]
        for r in regions
    ]
    return {"columns": [gate.name, "from", "to", f"{read.name} falls by", "confidence"], "rows": rows}


def _sentence(
    regions: list[dict[str, float]], gates: int, gate: Channel, bias: Channel, read: Channel, confidence: float
) -> str:
    sure = format_quantity(confidence, "%")
    if not regions:
        return f"no NDC in {read.name} at any of {gates} values of {gate.name}, at a confidence of {sure}"
    deepest = max(regions, key=lambda r: r["drop"])
    return (
        f"NDC at {len({r['gate'] for r in regions})} of {gates} values of {gate.name}, at a confidence of {sure} or "
        f"more; deepest at {gate.name} = {format_quantity(deepest['gate'], gate.unit)}: {read.name} falls by "
        f"{format_quantity(deepest['drop'], read.unit, 3)} for {bias.name} from "
        f"{format_quantity(deepest['start'], bias.unit)} to {format_quantity(deepest['stop'], bias.unit)}"
    )
