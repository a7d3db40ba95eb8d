"""Simulated physics: networks of conductors, and the Bench whose instruments speak real wire protocols about it."""

from simulators import conductors
from simulators.conductors import Affine, Decades
from simulators.network import Network
from simulators.processes import Edge, Flow, Reaction

__all__ = ["Affine", "Decades", "Edge", "Flow", "Network", "Reaction", "conductors"]
