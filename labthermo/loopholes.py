"""How an input of a flow bench could let a device without negative differential conductance pass, by name.

devices.md's list: an input that changes the dilution, a feed that is the complement of the input, and an input whose
own stock absorbs what is read; and an input that pumps from a vessel. What the device file does not say, an absorbance
that nobody listed, cannot be found here: `blank_and_path` measures it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from labthermo.config import StationConfig


def find_loopholes(config: StationConfig, network: Any) -> list[str]:
    """One sentence for each; none for a bench of charges.

    network: of the device file, with `processes` (flows have first, second and a rate's `parameter`) and `feeds`.
    """
    device = config.device
    found: list[str] = []
    for name, section in device.inputs.items():
        if section.of.quantity != "rate":
            continue
        into: dict[str, float] = {}
        stocks: set[str] = set()
        for first, second, weight in _flows(network, section.at):
            if second in _vessels(network):
                into[second] = into.get(second, 0.0) + weight
            solutes = _solutes(network, first)
            if weight > 0.0:
                stocks |= solutes
            elif weight < 0.0 and solutes:
                found.append(
                    f"complementary feed: {first} brings {', '.join(sorted(solutes))} as {name} takes it away; make up "
                    "the flow with plain solvent"
                )
        found += [
            f"no make-up flow: {name} also dilutes {vessel}; add a flow of solvent that makes up for it"
            for vessel, change in into.items()
            if abs(change) > 1e-9
        ]
        found += [
            f"transfer: {name} moves liquid out of {vessel}, and so changes how long everything stays there; let it "
            "pump a stock"
            for vessel in sorted(_drained(network, section.at))
        ]
        for output, reading in device.outputs.items():
            if reading.light is not None and (absorbing := sorted(stocks & reading.light.extinction.keys())):
                what = ", ".join(absorbing)
                nm = reading.light.wavelength * 1e9
                found.append(
                    f"{what}'s own absorbance: {name} brings {what}, which absorbs at {nm:.0f} nm where {output} is "
                    "read; read at another wavelength"
                )
    return found


def _vessels(network: Any) -> set[str]:
    return {node.partition(".")[0] for node in network.reservoirs}


def _solutes(network: Any, source: str | None) -> set[str]:
    """What is dissolved in a feed; nothing in plain solvent."""
    return {node.partition(".")[2] for node in network.feeds if source and node.partition(".")[0] == source}


def _drained(network: Any, knob: str) -> set[str]:
    """Vessels that a pump takes liquid from."""
    flows = [p for p in network.processes if getattr(p, "parameter", None) is not None]
    return {p.first for p in flows if p.first in _vessels(network) and getattr(p.parameter, "weights", {}).get(knob)}


def _flows(network: Any, knob: str) -> Iterator[tuple[str | None, str | None, float]]:
    """Flows from stocks and solvent that a pump changes: from, to, and L/s a L/s of the pump."""
    for process in network.processes:
        parameter = getattr(process, "parameter", None)
        if parameter is None or getattr(process, "first", "") in _vessels(network):
            continue
        weight = getattr(parameter, "weights", {}).get(knob, 0.0) if parameter is not None else 0.0
        if weight:
            yield process.first, process.second, float(weight)
