"""What happens between the nodes of a network: conductors, flows of liquid, chemical reactions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from simulators.conductors import Affine, Conductor, Parameter


@dataclass(frozen=True)
class Edge:
    """A conductor between two nodes; its current counts from `first` to `second`.

    reads: further nodes that its law depends on, such as a third reservoir that gates a dot (they carry no current).
    """

    first: str
    second: str
    law: Conductor
    reads: tuple[str, ...] = ()


@dataclass(frozen=True)
class Flow:
    """Liquid that moves one way, with everything dissolved in it: a pump line or a pumped transfer.

    first, second: vessels, whose nodes are named ``vessel.species``, or single nodes. `first` None is plain solvent;
    `second` None takes liquid away. rate: L/s, and none where it is negative; a string is the knob that is the rate.

    A vessel keeps its volume: what flows in and is not passed on overflows to waste, max(0, inflows - transfers), with
    everything dissolved. Vessels are stirred: what leaves has the concentrations of the vessel. Nothing keeps more from
    being passed on than flows in (:meth:`simulators.Network.overflow` is 0 then): such a vessel would run dry.
    """

    first: str | None
    second: str | None
    rate: Parameter | str

    @property
    def parameter(self) -> Parameter:
        """The rate as a parameter, L/s."""
        return Affine(0.0, {self.rate: 1.0}) if isinstance(self.rate, str) else self.rate


@dataclass(frozen=True)
class Reaction:
    """A reaction among the nodes of one vessel: dc_i/dt = nu_i v.

    stoichiometry: node -> nu, negative for what is used up. law: gives v in mol/(L s) from the concentrations of the
    nodes of the stoichiometry, in their order, and then of those in `reads` (mol/L).
    """

    stoichiometry: Mapping[str, float]
    law: Conductor
    reads: tuple[str, ...] = field(default=())


Process = Edge | Flow | Reaction


def nodes_read(process: Edge | Reaction) -> tuple[str, ...]:
    """The nodes whose values the process's law takes, in the law's order."""
    if isinstance(process, Edge):
        return (process.first, process.second, *process.reads)
    return (*process.stoichiometry, *process.reads)


def description(process: Process) -> str:
    """The process in a few words, for messages."""
    if isinstance(process, Reaction):
        left = " + ".join(node for node, nu in process.stoichiometry.items() if nu < 0) or "nothing"
        right = " + ".join(node for node, nu in process.stoichiometry.items() if nu > 0) or "nothing"
        return f"{left} -> {right}"
    return f"{process.first or 'solvent'} -> {process.second or 'waste'}"
