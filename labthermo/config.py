"""The station file: which instruments there are, what they are wired to, and what the device may be asked.

Everything under ``device`` is at the sample: after dividers and gains, and for electrons in u = mu/e, which is
minus the voltage that an instrument shows. The file is read and checked here, and never rewritten.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    StrictBool,
    StrictInt,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from labthermo.errors import QueryError, StationFileError
from labthermo.quantity import PositiveAmperes, PositiveSeconds, PositiveVolts, Volts, format_quantity, quantity
from labthermo.yaml_file import Document, Key, Keys, Section, read_yaml, suggest, validate

Backend = Literal["real", "wire", "model"]
_NAME = r"[a-z][a-z0-9_]*"


@dataclass(frozen=True)
class Address:
    """One quantity of one channel of one instrument, ``gates.ch24.voltage`` in the file.

    Attributes
    ----------
    instrument: its name in the station file.
    channel: the instrument's name for the channel. Where the file names none (``dmm.voltage``), it is ``input``
        for a voltmeter, and ``output`` for a source or an SMU.
    quantity: ``voltage`` or ``current``.
    """

    instrument: str
    channel: str
    quantity: str

    @property
    def port(self) -> str:
        """The physical connector, e.g. ``gates.ch24``."""
        return f"{self.instrument}.{self.channel}"

    def __str__(self) -> str:
        return f"{self.port}.{self.quantity}"


def _address(text: Any, channel: str) -> Address:
    if isinstance(text, Address):
        return text
    match = re.fullmatch(rf"({_NAME})(?:\.({_NAME}))?\.(voltage|current)", text if isinstance(text, str) else "")
    if match is None:
        raise ValueError(f"{text!r} is not an address; write instrument.voltage or instrument.channel.voltage")
    return Address(match[1], match[2] or ("output" if match[3] == "current" else channel), match[3])


def _name(text: str) -> str:
    if not re.fullmatch(_NAME, text):
        raise ValueError(f"{text!r} is not a name; use small letters, digits and _, with a letter first")
    return text


def _visa(text: str) -> str:
    if not re.fullmatch(r"(TCPIP|USB|GPIB|ASRL|PXI|VXI|PRLGX)[^:\s]*(::\S+)+", text, re.IGNORECASE):
        raise ValueError(f"{text!r} is not a VISA address; write one such as TCPIP0::192.168.8.17::5025::SOCKET")
    return text


def _window(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] >= pair[1]:
        raise ValueError(f"the window {_volts(pair[0])} to {_volts(pair[1])} is empty; put the lower end first")
    return pair


Name = Annotated[str, AfterValidator(_name), Field(json_schema_extra={"pattern": f"^{_NAME}$"})]
NodeName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
_ADDRESS_SCHEMA = WithJsonSchema({"type": "string", "examples": ["gates.ch24.voltage", "dmm.voltage"]})
SourceAddress = Annotated[Address, BeforeValidator(partial(_address, channel="output")), _ADDRESS_SCHEMA]
MeterAddress = Annotated[Address, BeforeValidator(partial(_address, channel="input")), _ADDRESS_SCHEMA]
Window = Annotated[tuple[Volts, Volts], AfterValidator(_window)]
Fraction = Annotated[float, quantity("", minimum=0, maximum=1)]
NoiseDensity = Annotated[
    float,
    quantity("V/Hz**0.5", minimum=0),
    BeforeValidator(lambda value: 0.0 if value == "off" else value),
]


class InstrumentSection(Section):
    """One instrument: which driver, and where it answers."""

    driver: Name = Field(description="an entry point of the group labthermo.instruments, e.g. qdac2")
    address: Annotated[str, AfterValidator(_visa)] = Field(description="VISA resource")
    visa: str = Field(default="@py", description="VISA library; @py is pyvisa-py")
    timeout: PositiveSeconds = Field(default=5.0, description="of one query")


class Via(Section):
    """What lies between an instrument's connector and the sample.

    A source gives the sample ``source * gain / divider + offset``. A meter shows
    ``(sample + offset) * gain / divider``.
    """

    divider: Annotated[float, quantity("", above=0)] = Field(default=1.0, description="1:divider, e.g. 100")
    gain: Annotated[float, quantity("")] = Field(default=1.0, description="of an amplifier; negative if it inverts")
    offset: Volts = Field(default=0.0, description="known offset at the sample's side")
    series_resistance: Annotated[float, quantity("ohm", minimum=0)] = Field(default=0.0, description="in the line")
    input_current: Annotated[float, quantity("A")] = Field(default=0.0, description="that a meter draws from the node")
    input_resistance: Annotated[float, quantity("ohm", above=0)] | None = Field(default=None, description="of a meter")
    bandwidth: Annotated[float, quantity("Hz", above=0)] | None = Field(
        default=None, description="first-order low pass"
    )
    overload: PositiveVolts | None = Field(default=None, description="largest output of an amplifier, either sign")

    @field_validator("gain")
    @classmethod
    def _not_zero(cls, gain: float) -> float:
        if gain == 0:
            raise ValueError("a gain of 0 passes nothing; write the amplifier's gain, or leave the key out")
        return gain

    @property
    def scale(self) -> float:
        """Volts that leave per volt that enters: gain / divider."""
        return self.gain / self.divider


class InputSection(Section):
    """An input: a source that clamps a terminal of the network."""

    of: SourceAddress
    via: Via = Field(default_factory=Via)
    window: Window | None = Field(default=None, description="the range that a task maps its data to, [from, to]")
    at: NodeName = Field(default="", description="the terminal, if not the input's own name")


class OutputSection(Section):
    """An output: a meter on a reservoir of the network."""

    of: MeterAddress
    via: Via = Field(default_factory=Via)
    window: Window | None = Field(default=None, description="the range that a task asks of it, [from, to]")
    integration: PositiveSeconds = Field(default=0.02, description="of one reading")
    at: NodeName = Field(default="", description="the reservoir, if not the output's own name")


class NodeSection(Section):
    """A further reading: the current in a lead (whose SMU holds it at 0 V), or the voltage of a reservoir."""

    of: MeterAddress
    via: Via = Field(default_factory=Via)
    compliance: PositiveAmperes | None = Field(default=None, description="current limit; required for a current")
    integration: PositiveSeconds = Field(default=0.02, description="of one reading")
    at: NodeName = Field(default="", description="the lead or reservoir; default: the name less i_")


class KnobSection(Section):
    """A knob: a source on a gate."""

    of: SourceAddress
    via: Via = Field(default_factory=Via)

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, data: Any) -> Any:
        return {"of": data} if isinstance(data, str) else data

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, handler(schema)]}


class Limits(Section):
    """What one input or knob may be asked, at the sample."""

    min: Volts
    max: Volts
    max_step: PositiveVolts = Field(description="largest single step")
    slew: Annotated[float, quantity("V/s", above=0)] = Field(description="largest rate of change")


class PairLimit(Section):
    """Two channels that may not be far apart."""

    of: tuple[Name, Name]
    max_difference: PositiveVolts


class LeakageLimit(Section):
    """The largest current out of a gate before the interlock trips."""

    of: Name = Field(description="the instrument that measures it")
    max: PositiveAmperes
    blank: Annotated[float, quantity("s", minimum=0)] = Field(default=0.05, description="ignored after a step")


class LimitsSection(Section):
    """Limits by pattern (``p*``) of input and knob names, in file order, beside those of pairs and leakage."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Limits] = Field(init=False)  # pyright: ignore[reportIncompatibleVariableOverride]

    pairs: tuple[PairLimit, ...] = ()
    leakage: LeakageLimit | None = None

    @property
    def patterns(self) -> dict[str, Limits]:
        """The limits by pattern, in file order."""
        return self.__pydantic_extra__

    def pattern_for(self, channel: str) -> str | None:
        """The first pattern that matches a channel's name, or None."""
        return next((pattern for pattern in self.patterns if fnmatchcase(channel, pattern)), None)


class Settle(Section):
    """When a reading counts as settled."""

    tolerance: PositiveVolts = Field(description="largest error from not having waited longer")
    confidence: Annotated[float, quantity("", above=0, maximum=0.9999)] = 0.95
    timeout: PositiveSeconds = Field(default=20.0, description="then the status is unsettled")


class Stop(Section):
    """The safe state, inputs first."""

    inputs: Literal["zero"] = "zero"
    knobs: Literal["hold", "zero"] = "hold"


class DeviceSection(Section):
    """The device and its wiring."""

    model: str = Field(description="the network file, relative to this file")
    inputs: dict[Name, InputSection] = Field(min_length=1)
    outputs: dict[Name, OutputSection] = Field(min_length=1)
    nodes: dict[Name, NodeSection] = Field(default={})
    knobs: dict[Name, KnobSection] = Field(default={})
    uncertainty: Fraction = Field(default=0.1, description="how far a sample may be off its network file: twin's prior")
    limits: LimitsSection
    settle: Settle
    stop: Stop = Field(default_factory=Stop)

    @field_validator("inputs", "outputs", "nodes")
    @classmethod
    def _fill_in_at(cls, sections: dict[str, Any], info: Any) -> dict[str, Any]:
        prefix = "i_" if info.field_name == "nodes" else ""
        return {
            name: section.model_copy(update={"at": section.at or name.removeprefix(prefix)})
            for name, section in sections.items()
        }


class Simulation(Section):
    """What the backends `wire` and `model` add to the device as designed: the truth a twin must discover."""

    seed: Annotated[StrictInt, Field(ge=0)] = 0
    mismatch: Fraction = Field(default=0.0, description="relative standard deviation of hidden parameters")
    noise: Annotated[
        dict[str, NoiseDensity],
        BeforeValidator(lambda value: {"*": "off"} if value == "off" else value),
        WithJsonSchema({"anyOf": [{"const": "off"}, {"type": "object"}]}),
    ] = Field(
        default={}, description="density at the sample by output, V/Hz**0.5 or off; off alone silences everything"
    )
    offsets: StrictBool = Field(default=True, description="static offsets and gain errors of the instruments")
    quantisation: StrictBool = Field(default=True, description="finite resolution of the instruments")

    @property
    def noiseless(self) -> bool:
        """True when the file says ``noise: off``: no noise at all, the instruments' own included."""
        return self.noise == {"*": 0.0}

    def noise_of(self, output: str) -> float:
        """Noise density (V/Hz**0.5) that an output has at the sample, beside the meter's own; 0 if not named."""
        return self.noise.get(output, 0.0)


class StationConfig(Section):
    """A station file, checked. Made by :func:`load_station`."""

    backend: Backend = Field(description="what --backend replaces")
    instruments: dict[Name, InstrumentSection] = Field(min_length=1)
    device: DeviceSection
    simulation: Simulation = Field(default_factory=Simulation)
    _document: Document = PrivateAttr()

    @property
    def path(self) -> Path:
        """Where the file was read from."""
        return self._document.path

    @property
    def text(self) -> str:
        """The whole file as read."""
        return self._document.text

    @property
    def device_file(self) -> Path:
        """The device file, where the network is described."""
        return self.path.parent / self.device.model

    def limits_of(self, channel: str) -> Limits:
        """The limits of an input or knob: those of the first pattern in the file that matches its name.

        Raises
        ------
        QueryError: there is no such input or knob.
        """
        known = [*self.device.inputs, *self.device.knobs]
        pattern = self.device.limits.pattern_for(channel) if channel in known else None
        if pattern is None:
            raise QueryError(f"{channel!r} is not an input or knob of {self.path}; {suggest(channel, known)}")
        return self.device.limits.patterns[pattern]

    def with_seed(self, seed: int) -> StationConfig:
        """The same station with another simulated sample."""
        other = self.model_copy(update={"simulation": self.simulation.model_copy(update={"seed": seed})})
        other._document = self._document
        return other

    def error(self, keys: Sequence[Key], complaint: str) -> StationFileError:
        """An error to raise about a key of this file, e.g. ``("device", "knobs", "p1")``, with file and line."""
        return self._document.error(keys, complaint)


def load_station(path: str | Path) -> StationConfig:
    """Read and check a station file.

    Raises
    ------
    StationFileError: anything wrong with it, in one line with file, line and key.
    """
    document = read_yaml(path)
    config = validate(document, StationConfig)
    config._document = document
    for check in (_check_addresses, _check_sharing, _check_limits, _check_rest):
        for keys, complaint in check(config):
            short_form = keys[-1] == "of" and keys not in document.lines
            raise document.error(keys[:-1] if short_form else keys, complaint)
    return config


def json_schema() -> dict[str, Any]:
    """The station file's JSON schema (draft 2020-12), for editors."""
    schema = StationConfig.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "labthermo station"}


Complaints = Iterator[tuple[Keys, str]]


def _bindings(config: StationConfig) -> Iterator[tuple[Keys, str, Any]]:
    """Key path, kind and section of every channel."""
    device = config.device
    for kind, sections in (
        ("inputs", device.inputs),
        ("outputs", device.outputs),
        ("nodes", device.nodes),
        ("knobs", device.knobs),
    ):
        for name, section in sections.items():
            yield ("device", kind, name), kind, section


def _check_addresses(config: StationConfig) -> Complaints:
    for keys, kind, section in _bindings(config):
        of = section.of
        if of.instrument not in config.instruments:
            yield (*keys, "of"), f"no instrument {of.instrument!r}; {suggest(of.instrument, config.instruments)}"
        if of.quantity == "current" and kind != "nodes":
            what = f"{of} is a current, but {kind} are voltages; write {of.port}.voltage"
            yield (*keys, "of"), what
        if kind == "nodes" and of.quantity == "current" and section.compliance is None:
            yield (*keys, "compliance"), "is missing; a lead held by an SMU needs a current limit, such as 10 nA"
        if kind == "nodes" and of.quantity == "voltage" and section.compliance is not None:
            yield (*keys, "compliance"), "a voltage reading has no compliance; remove it"
    seen: dict[str, str] = {}
    for name, instrument in config.instruments.items():
        if instrument.address in seen:
            what = f"{instrument.address} is also {seen[instrument.address]}'s; give each instrument its own"
            yield ("instruments", name, "address"), what
        seen[instrument.address] = name


def _check_sharing(config: StationConfig) -> Complaints:
    names: dict[str, str] = {}
    sources: dict[str, str] = {}
    meters: dict[str, str] = {}
    clamped: dict[str, str] = {}
    for keys, kind, section in _bindings(config):
        name = str(keys[-1])
        if name in names:
            yield keys, f"{name!r} is also one of the {names[name]}; give each channel its own name"
        names[name] = kind
        current = section.of.quantity == "current"
        holds = kind in ("inputs", "knobs") or current
        used = sources if holds else meters
        port = section.of.port
        if port in used:
            yield (*keys, "of"), f"{port} is already used by {used[port]!r}; a channel serves one thing"
        used[port] = name
        if kind == "inputs" or current:
            if section.at in clamped:
                what = f"the terminal {section.at!r} is already held by {clamped[section.at]!r}; use another"
                yield (*keys, "at"), what
            clamped[section.at] = name


def _check_limits(config: StationConfig) -> Complaints:
    section, device = config.device.limits, config.device
    where = ("device", "limits")
    settable = [*device.inputs, *device.knobs]
    for pattern, limits in section.patterns.items():
        if limits.min > limits.max:
            yield (*where, pattern, "min"), f"{_volts(limits.min)} is above max, {_volts(limits.max)}; swap them"
    for name in settable:
        kind = "inputs" if name in device.inputs else "knobs"
        pattern = section.pattern_for(name)
        if pattern is None:
            yield where, f"{kind[:-1]} {name!r} has no limits; add a pattern that matches it"
            continue
        limits = section.patterns[pattern]
        if (kind == "inputs" or device.stop.knobs == "zero") and not limits.min <= 0 <= limits.max:
            span = f"{_volts(limits.min)} to {_volts(limits.max)}"
            yield (*where, pattern), f"{span} leaves out 0 V, where {name!r} is brought to stop; include it"
        window = device.inputs[name].window if kind == "inputs" else None
        if window and not (limits.min <= window[0] and window[1] <= limits.max):
            span = f"{_volts(window[0])} to {_volts(window[1])}"
            what = f"{span} is not within the limits {_volts(limits.min)} to {_volts(limits.max)} of {pattern!r}"
            yield ("device", kind, name, "window"), what + "; change one of them"
    used = {section.pattern_for(name) for name in settable}
    for pattern in section.patterns:
        if pattern not in used:
            what = "no input or knob takes its limits from this pattern (the first match in the file wins)"
            yield (*where, pattern), what + "; correct, move or remove it"
    for index, pair in enumerate(section.pairs):
        for name in pair.of:
            if name not in settable:
                yield (*where, "pairs", index, "of"), f"no input or knob {name!r}; {suggest(name, settable)}"
        if pair.of[0] == pair.of[1]:
            yield (*where, "pairs", index, "of"), f"{pair.of[0]!r} stands twice; name two channels"


def _check_rest(config: StationConfig) -> Complaints:
    leakage = config.device.limits.leakage
    if leakage and leakage.of not in config.instruments:
        what = f"no instrument {leakage.of!r}; {suggest(leakage.of, config.instruments)}"
        yield ("device", "limits", "leakage", "of"), what
    if not config.device_file.is_file():
        yield ("device", "model"), f"there is no file {config.device_file}; the path is relative to this file"
    voltages = [str(keys[-1]) for keys, kind, section in _bindings(config) if _is_voltmeter(kind, section)]
    for name in config.simulation.noise:
        if name not in voltages and not config.simulation.noiseless:
            yield ("simulation", "noise", name), f"no output {name!r}; {suggest(name, voltages)}"


def _is_voltmeter(kind: str, section: Any) -> bool:
    return kind in ("outputs", "nodes") and section.of.quantity == "voltage"


def _volts(value: float) -> str:
    return format_quantity(value, "V", 6)
