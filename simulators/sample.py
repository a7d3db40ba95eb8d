"""A device file wired to a bench: the network with its meters' loading, and what each instrument sees of it.

The one place where the numerical model, the wire twin's Bench and the differentiable twin agree on what is built:
potentials here are u = mu/e, and an instrument's volts are `sign` times u (physics.md: for electrons the
instrument's voltage is -u, and so is its current). Of molecules the nodes are concentrations, inputs and knobs are
pumps' rates, and an output is an absorbance: path times extinction times concentration, summed (Beer and Lambert).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labthermo.config import PHOTOMETER_NOISE, Light, StationConfig
from labthermo.errors import QueryError
from simulators.conductors import Linear
from simulators.network import Gradients, Network, SteadyState
from simulators.network_file import read_network
from simulators.processes import Edge

Floats = NDArray[np.float64]

GROUND = "bench ground"
LEAD_NOISE = 100e-15  # A/sqrt(Hz): Keithley 2450 data sheet, 500 fA in a reading of 20 ms on its 10 nA range


@dataclass(frozen=True)
class Reading:
    """One reading of the bench: the potential of a reservoir, an absorbance, or the current out of a lead.

    at: the reservoir, vessel, or terminal; weights: (n_nodes,), what a reading has of every node (1 for a potential,
    OD per mol/L for an absorbance), None for a current; blank: OD without anything that absorbs; noise: V/sqrt(Hz) at
    the sample beside the meter's own, or A/sqrt(Hz), or OD a reading; integration: s.
    """

    name: str
    at: str
    weights: Floats | None
    noise: float
    integration: float
    light: Light | None = None

    @property
    def node(self) -> int | None:
        """Column of the potential that is read; None for a current or an absorbance."""
        return None if self.weights is None or self.light else int(np.argmax(self.weights))

    @property
    def blank(self) -> float:
        """OD without anything that absorbs."""
        return self.light.blank if self.light else 0.0

    @property
    def sigma(self) -> float:
        """Standard deviation of one reading: white noise over the integration time; of a photometer its own."""
        return self.noise if self.light else self.noise / math.sqrt(2.0 * self.integration)


@dataclass(frozen=True)
class Sample:
    """The network as wired, its channels in the device's order.

    input_terminals: column of each input among the network's terminals, or -1 where it is a pump; input_knobs: among
    its knobs, or -1. readings: outputs first (`n_outputs` of them), then nodes. injected: (n_free,), A, of the meters'
    inputs. knob_order: column of each device knob among the network's knobs. labels: a name for each process.
    gates: rows of the network's knobs that lie side by side. activations: label -> activation energy, J/mol.
    """

    network: Network
    sign: float
    inputs: tuple[str, ...]
    input_terminals: tuple[int, ...]
    input_knobs: tuple[int, ...]
    readings: tuple[Reading, ...]
    n_outputs: int
    injected: Floats
    knob_order: tuple[int, ...]
    labels: tuple[str, ...]
    gates: tuple[tuple[str, ...], ...] = ()
    activations: Mapping[str, float] = field(default_factory=dict)

    @property
    def leads(self) -> tuple[str, ...]:
        """Terminals that a source meter holds at 0 V."""
        return tuple(r.at for r in self.readings if r.weights is None)

    def nudges(self, nudge: ArrayLike | None, batch: int) -> Floats:
        """Currents of a query's nudge at the network's free nodes, (batch, n_free), A.

        Raises
        ------
        QueryError: a wrong shape, a value that is not finite, or a current into a reading that is no potential.
        """
        free = np.zeros((batch, len(self.network.reservoirs)))
        if nudge is None:
            return free
        array = np.asarray(nudge, dtype=float)
        array = array.reshape(-1, 1) if array.ndim < 2 else array
        widths = sorted({self.n_outputs, len(self.readings)})
        if array.ndim != 2 or len(array) != batch or array.shape[1] not in widths:
            takes = " or ".join(f"({batch}, {w})" for w in widths)
            raise QueryError(f"nudge has shape {array.shape}; this device takes {takes}")
        if not np.isfinite(array).all():
            raise QueryError("nudge holds a value that is not finite")
        for reading, column in zip(self.readings, array.T, strict=False):
            if reading.node is not None:
                free[:, reading.node] += column
            elif column.any():
                what = "an absorbance" if reading.light else "the current of a held lead"
                raise QueryError(f"{reading.name} is {what}; nothing can be injected there")
        return free

    @property
    def driven(self) -> list[int]:
        """Columns of the inputs that hold a terminal, among all inputs."""
        return [k for k, terminal in enumerate(self.input_terminals) if terminal >= 0]

    def full_knobs(self, knobs: Floats, inputs: Floats) -> Floats:
        """Knobs (batch, n) or (1, n) and inputs (batch, n_inputs) as the network's knobs; what is not wired is at 0."""
        full = np.zeros((len(inputs), len(self.network.knobs)))
        full[:, list(self.knob_order)] = knobs
        pumped = [k for k, knob in enumerate(self.input_knobs) if knob >= 0]
        full[:, [self.input_knobs[k] for k in pumped]] = inputs[:, pumped]
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
            weights, noise, light = None, 0.0, getattr(section, "light", None)
            if light is not None:
                weights = _absorption(light, section.at, nodes, config, name)
                noise = 0.0 if config.simulation.noiseless else config.simulation.noise.get(name, PHOTOMETER_NOISE)
            elif section.of.quantity == "current":
                find("terminal", section.at, network.terminals, kind, name)
                noise = 0.0 if config.simulation.noiseless else LEAD_NOISE
            else:
                node = find("reservoir", section.at, nodes, kind, name)
                weights = np.zeros(len(nodes))
                weights[node] = 1.0
                injected[node] -= sign * section.via.input_current
                if section.via.input_resistance is not None:
                    extra.append(Edge(section.at, GROUND, Linear(1.0 / section.via.input_resistance)))
                noise = config.simulation.noise_of(name)
            readings.append(Reading(name, section.at, weights, noise, section.integration, light))
    input_terminals, input_knobs = [], []
    for name, section in device.inputs.items():
        pumped = section.of.quantity == "rate"
        input_terminals.append(-1 if pumped else find("terminal", section.at, network.terminals, "inputs", name))
        input_knobs.append(find("knob", section.at, network.knobs, "inputs", name) if pumped else -1)
    knob_order = tuple(find("knob", name, network.knobs, "knobs", name) for name in device.knobs)
    if extra:
        network = Network(network.reservoirs, (*network.terminals, GROUND), (*network.processes, *extra), network.knobs)
    return Sample(
        network=network,
        sign=sign,
        inputs=tuple(device.inputs),
        input_terminals=tuple(input_terminals),
        input_knobs=tuple(input_knobs),
        readings=tuple(readings),
        n_outputs=len(device.outputs),
        injected=injected,
        knob_order=knob_order,
        labels=(*file.labels, *(f"{edge.first} meter" for edge in extra)),
        gates=file.gates,
        activations=file.activations,
    )


def _absorption(light: Light, vessel: str, nodes: tuple[str, ...], config: StationConfig, name: str) -> Floats:
    """OD per mol/L of every node, (n_nodes,)."""
    weights = np.zeros(len(nodes))
    for species, extinction in light.extinction.items():
        node = f"{vessel}.{species}"
        if node not in nodes:
            what = f"{config.device_file.name} has no node {node!r}; it has {', '.join(nodes)}"
            raise config.error(("device", "outputs", name, "light", "extinction", species), what)
        weights[nodes.index(node)] = extinction * light.path
    return weights


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
    ABSORBANCE_GAIN = 0.01 / 3  # plate reader, 1 %
    ABSORBANCE_OFFSET = 2e-3  # OD: plate reader, 6 mOD

    def __init__(self, sample: Sample) -> None:
        self._terminals = sample.network.terminals
        self._held = sample.driven
        self._driven = [sample.input_terminals[k] for k in self._held]
        self._leads = [self._terminals.index(name) for name in sample.leads]
        kinds = [0 if r.weights is None else 2 if r.light else 1 for r in sample.readings]
        gains = (self.CURRENT_GAIN, self.VOLTAGE_GAIN, self.ABSORBANCE_GAIN)
        offsets = (self.CURRENT_OFFSET, self.VOLTAGE_OFFSET, self.ABSORBANCE_OFFSET)
        self._gain_size, self._offset_size = (np.array([sizes[kind] for kind in kinds]) for sizes in (gains, offsets))
        n, q, m = len(self._held), len(sample.leads), len(sample.readings)
        self._gain, self._offset, self._lead, self._read_gain, self._read_offset = (
            slice(stop - width, stop) for stop, width in zip(np.cumsum([n, n, q, m, m]), (n, n, q, m, m), strict=True)
        )
        self.names: tuple[str, ...] = (
            *(f"{sample.inputs[k]}: divider" for k in self._held),
            *(f"{sample.inputs[k]}: offset" for k in self._held),
            *(f"{name}: lead offset" for name in sample.leads),
            *(f"{r.name}: gain" for r in sample.readings),
            *(f"{r.name}: offset" for r in sample.readings),
        )

    def clamps(self, e: Floats, inputs: Floats) -> Floats:
        """Potentials of all terminals, (batch, n_terminals), for device inputs (batch, n_inputs)."""
        clamped = np.zeros((len(inputs), len(self._terminals)))
        clamped[:, self._leads] = e[self._lead] * self.LEAD_OFFSET
        clamped[:, self._driven] = (
            inputs[:, self._held] * (1.0 + e[self._gain] * self.INPUT_GAIN) + e[self._offset] * self.INPUT_OFFSET
        )
        return clamped

    def gains(self, e: Floats) -> Floats:
        """Gain of each reading, (n_readings,), 1 for a perfect one."""
        return 1.0 + e[self._read_gain] * self._gain_size

    def read(self, e: Floats, truth: Floats) -> Floats:
        """Readings (batch, n_readings) from true values."""
        return truth * self.gains(e) + e[self._read_offset] * self._offset_size

    def truth(self, e: Floats, readings: Floats) -> Floats:
        """True values (batch, n_readings) from readings."""
        return (readings - e[self._read_offset] * self._offset_size) / self.gains(e)

    def pull_back(self, e: Floats, r: int, truth: Floats, inputs: Floats, gradients: Gradients) -> Floats:
        """d(reading r)/de, (batch, n), from the derivatives of its true value (batch,)."""
        out = np.zeros((len(inputs), len(self.names)))
        by_clamp = gradients.inputs * self.gains(e)[r]
        out[:, self._gain] = by_clamp[:, self._driven] * inputs[:, self._held] * self.INPUT_GAIN
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
        if r.weights is not None:
            columns.append(state.potentials @ r.weights + r.blank)
        else:
            assert flows is not None
            columns.append(-flows @ network.terminal_weights(r.at))
    return np.column_stack(columns)


def reading_gradients(sample: Sample, network: Network, state: SteadyState, r: int) -> Gradients:
    """Derivatives of true reading r by everything, one adjoint solve a row."""
    reading = sample.readings[r]
    if reading.weights is None:
        return network.adjoint(state, None, -network.terminal_weights(reading.at))
    return network.adjoint(state, reading.weights)


def temperatures_of(config: StationConfig) -> dict[str, float]:
    """What the sensors at the station's monitors measure, by port (``cryostat.a``), K."""
    surroundings = config.simulation.surroundings
    return {section.of: surroundings[n] for n, section in config.device.monitors.items() if n in surroundings}
