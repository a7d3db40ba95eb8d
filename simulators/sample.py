"""A device file wired to a bench: the network with its meters' loading, and what each instrument sees of it.

The one place where the numerical model, the wire twin's Bench and the differentiable twin agree on what is built:
potentials here are u = mu/e, and an instrument's volts are `sign` times u (physics.md: for electrons the
instrument's voltage is -u, and so is its current).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labthermo.config import StationConfig
from simulators.conductors import Linear
from simulators.mismatch import Mismatch
from simulators.network import Edge, Gradients, Network, SteadyState
from simulators.network_file import read_network

Floats = NDArray[np.float64]

GROUND = "bench ground"
LEAD_NOISE = 100e-15  # A/sqrt(Hz): Keithley 2450 data sheet, 500 fA in a reading of 20 ms on its 10 nA range


@dataclass(frozen=True)
class Reading:
    """One reading of the bench: the potential of a reservoir, or the current out of a lead's source meter.

    at: the reservoir, or the terminal; node: its column in the network's potentials, None for a current;
    noise: V/sqrt(Hz) at the sample beside the meter's own, or A/sqrt(Hz); integration: s.
    """

    name: str
    at: str
    node: int | None
    noise: float
    integration: float

    @property
    def sigma(self) -> float:
        """Standard deviation of one reading, V or A: white noise averaged over the integration time."""
        return self.noise / math.sqrt(2.0 * self.integration)


@dataclass(frozen=True)
class Sample:
    """The network as wired, its channels in the device's order.

    readings: outputs first (`n_outputs` of them), then nodes. injected: (n_free,), A, of the meters' inputs.
    knob_order: column of each device knob among the network's knobs. labels: a name for each process.
    """

    network: Network
    sign: float
    inputs: tuple[str, ...]
    input_terminals: tuple[int, ...]
    readings: tuple[Reading, ...]
    n_outputs: int
    injected: Floats
    knob_order: tuple[int, ...]
    labels: tuple[str, ...]

    @property
    def leads(self) -> tuple[str, ...]:
        """Terminals that a source meter holds at 0 V."""
        return tuple(r.at for r in self.readings if r.node is None)

    def full_knobs(self, knobs: Floats) -> Floats:
        """Device knobs (batch, n) in the network's order; knobs that are not wired stand at 0."""
        full = np.zeros((len(knobs), len(self.network.knobs)))
        full[:, list(self.knob_order)] = knobs
        return full


def build_sample(config: StationConfig, control: bool = False) -> Sample:
    """The sample of a station. `control`: the NDC-off sample of the same design.

    Raises
    ------
    StationFileError: the wiring names a terminal, reservoir or knob that the device file does not have.
    """
    device = config.device
    file = read_network(config.device_file)
    network = file.network.without_ndc() if control else file.network
    sign = -1.0 if file.carriers == "electrons" else 1.0
    nodes = tuple(network.reservoirs)

    def find(kind: str, wanted: str, known: tuple[str, ...], *keys: str) -> int:
        if wanted not in known:
            what = f"{config.device_file.name} has no {kind} {wanted!r}; it has {', '.join(known)}"
            raise config.error(("device", *keys), what)
        return known.index(wanted)

    extra: list[Edge] = []
    injected = np.zeros(len(nodes))
    readings: list[Reading] = []
    for kind, sections in (("outputs", device.outputs), ("nodes", device.nodes)):
        for name, section in sections.items():
            node, noise = None, 0.0
            if section.of.quantity == "current":
                find("terminal", section.at, network.terminals, kind, name)
                noise = 0.0 if config.simulation.noiseless else LEAD_NOISE
            else:
                node = find("reservoir", section.at, nodes, kind, name)
                injected[node] -= sign * section.via.input_current
                if section.via.input_resistance is not None:
                    extra.append(Edge(section.at, GROUND, Linear(1.0 / section.via.input_resistance)))
                noise = config.simulation.noise_of(name)
            readings.append(Reading(name, section.at, node, noise, section.integration))
    input_terminals = tuple(
        find("terminal", section.at, network.terminals, "inputs", name) for name, section in device.inputs.items()
    )
    knob_order = tuple(find("knob", name, network.knobs, "knobs", name) for name in device.knobs)
    if extra:
        network = Network(network.reservoirs, (*network.terminals, GROUND), (*network.processes, *extra), network.knobs)
    return Sample(
        network=network,
        sign=sign,
        inputs=tuple(device.inputs),
        input_terminals=input_terminals,
        readings=tuple(readings),
        n_outputs=len(device.outputs),
        injected=injected,
        knob_order=knob_order,
        labels=(*file.labels, *(f"{edge.first} meter" for edge in extra)),
    )


class Chain:
    """What stands between a sample and its readings: gains and offsets, as coordinates e ~ N(0, 1).

    Input k: u = x (1 + s e) + s' e'; a lead held by a source meter sits at s e instead of 0 V; reading r:
    value (1 + s e) + s' e'. The sizes s are those of the instruments' data sheets (a third of the limit) and of an
    ordinary divider and preamplifier: the twin's prior, and what the `model` backend draws its truth from.
    """

    INPUT_GAIN = 0.01  # a 1 % divider
    INPUT_OFFSET = 5e-6  # V at the sample: a DAC's 0.5 mV behind 1:100
    LEAD_OFFSET = 67e-6  # V: Keithley 2450, 200 mV source range, +-200 uV
    VOLTAGE_GAIN = 0.005  # of a preamplifier
    VOLTAGE_OFFSET = 10e-6  # V at a preamplifier's input, after zeroing
    CURRENT_GAIN = 0.0003  # Keithley 2450, 10 nA range, 0.1 %
    CURRENT_OFFSET = 17e-12  # A: Keithley 2450, 10 nA range, +-50 pA

    def __init__(self, sample: Sample) -> None:
        self._terminals = sample.network.terminals
        self._driven = list(sample.input_terminals)
        self._leads = [self._terminals.index(name) for name in sample.leads]
        current = np.array([r.node is None for r in sample.readings])
        self._gain_size = np.where(current, self.CURRENT_GAIN, self.VOLTAGE_GAIN)
        self._offset_size = np.where(current, self.CURRENT_OFFSET, self.VOLTAGE_OFFSET)
        n, q, m = len(sample.inputs), len(sample.leads), len(sample.readings)
        self._gain, self._offset, self._lead, self._read_gain, self._read_offset = (
            slice(stop - width, stop) for stop, width in zip(np.cumsum([n, n, q, m, m]), (n, n, q, m, m), strict=True)
        )
        self.names: tuple[str, ...] = (
            *(f"{name}: divider" for name in sample.inputs),
            *(f"{name}: offset" for name in sample.inputs),
            *(f"{name}: lead offset" for name in sample.leads),
            *(f"{r.name}: gain" for r in sample.readings),
            *(f"{r.name}: offset" for r in sample.readings),
        )

    def clamps(self, e: Floats, inputs: Floats) -> Floats:
        """Potentials of all terminals, (batch, n_terminals), for device inputs (batch, n_inputs)."""
        clamped = np.zeros((len(inputs), len(self._terminals)))
        clamped[:, self._leads] = e[self._lead] * self.LEAD_OFFSET
        clamped[:, self._driven] = (
            inputs * (1.0 + e[self._gain] * self.INPUT_GAIN) + e[self._offset] * self.INPUT_OFFSET
        )
        return clamped

    def gains(self, e: Floats) -> Floats:
        """Gain of each reading, (n_readings,), 1 for a perfect one."""
        return 1.0 + e[self._read_gain] * self._gain_size

    def read(self, e: Floats, truth: Floats) -> Floats:
        """Readings (batch, n_readings) from true values."""
        return truth * self.gains(e) + e[self._read_offset] * self._offset_size

    def pull_back(self, e: Floats, r: int, truth: Floats, inputs: Floats, gradients: Gradients) -> Floats:
        """d(reading r)/de, (batch, n), from the derivatives of its true value (batch,)."""
        out = np.zeros((len(inputs), len(self.names)))
        by_clamp = gradients.inputs * self.gains(e)[r]
        out[:, self._gain] = by_clamp[:, self._driven] * inputs * self.INPUT_GAIN
        out[:, self._offset] = by_clamp[:, self._driven] * self.INPUT_OFFSET
        out[:, self._lead] = by_clamp[:, self._leads] * self.LEAD_OFFSET
        out[:, self._read_gain.start + r] = truth * self._gain_size[r]
        out[:, self._read_offset.start + r] = self._offset_size[r]
        return out


def true_readings(sample: Sample, network: Network, state: SteadyState) -> Floats:
    """What perfect instruments would read, (batch, n_readings), in the carriers' sign.

    The current of a lead counts out of the sample into the lead, so that it rises with the bias on the other side.
    """
    flows = network.currents(state) if sample.leads else None
    columns = []
    for r in sample.readings:
        if r.node is not None:
            columns.append(state.potentials[:, r.node])
        else:
            assert flows is not None
            columns.append(-flows @ network.terminal_weights(r.at))
    return np.column_stack(columns)


def reading_gradients(sample: Sample, network: Network, state: SteadyState, r: int) -> Gradients:
    """Derivatives of true reading r by everything, one adjoint solve a row."""
    reading = sample.readings[r]
    if reading.node is None:
        return network.adjoint(state, None, -network.terminal_weights(reading.at))
    by_node = np.zeros(state.potentials.shape[1])
    by_node[reading.node] = 1.0
    return network.adjoint(state, by_node)


def hidden_truth(sample: Sample, seed: int, mismatch: float, control: bool) -> Network:
    """The network of this seed's sample: the design, off by `mismatch` as devices.md says."""
    drawn = Mismatch(sample.network, mismatch, tied_rates=control)
    rng = np.random.default_rng([seed, 0])
    return drawn.apply(rng.standard_normal(len(drawn.names)) if mismatch > 0 else np.zeros(len(drawn.names)))
