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
from inspect import Parameter, signature
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
from labthermo.faults import AnyFault, SampleFault, SwappedFault
from labthermo.quantity import (
    Level,
    PositiveAmperes,
    PositiveLevel,
    PositiveSeconds,
    PositiveSlew,
    PositiveVolts,
    Surroundings,
    Volts,
    format_quantity,
    parse_is_bare,
    quantity,
)
from labthermo.yaml_file import Document, Key, Keys, Section, read_yaml, suggest, validate

Backend = Literal["real", "wire", "model"]
_NAME = r"[a-z][a-z0-9_]*"

UNITS = {"voltage": "V", "current": "A", "rate": "L/s", "absorbance": "OD"}
"""Quantities of channels, and their units."""
_SLEWS = {"V": "V/s", "L/s": "L/s**2"}
_DARK = 6.0  # OD: a millionth of the light, beyond every photometer
_ALONE = {"current": "output", "rate": "output", "absorbance": "cuvette"}  # else what the kind of channel says


@dataclass(frozen=True)
class Address:
    """One quantity of one channel of one instrument, ``gates.ch24.voltage`` in the file.

    Attributes
    ----------
    instrument: its name in the station file.
    channel: the instrument's name for the channel. Where the file names none (``dmm.voltage``), it is ``input``
        for a voltmeter, ``cuvette`` for a plate reader, and ``output`` for a source, an SMU or a pump.
    quantity: ``voltage``, ``current``, ``rate`` or ``absorbance``.
    """

    instrument: str
    channel: str
    quantity: str

    @property
    def unit(self) -> str:
        """The quantity's SI unit: V, A, L/s or OD."""
        return UNITS[self.quantity]

    @property
    def port(self) -> str:
        """The physical connector, e.g. ``gates.ch24``."""
        return f"{self.instrument}.{self.channel}"

    def __str__(self) -> str:
        return f"{self.port}.{self.quantity}"


def _address(text: Any, channel: str) -> Address:
    if isinstance(text, Address):
        return text
    grammar = rf"({_NAME})(?:\.({_NAME}))?\.({'|'.join(UNITS)})"
    match = re.fullmatch(grammar, text if isinstance(text, str) else "")
    if match is None:
        raise ValueError(f"{text!r} is not an address; write instrument.voltage or instrument.channel.voltage")
    return Address(match[1], match[2] or _ALONE.get(match[3], channel), match[3])


def _name(text: str) -> str:
    if not re.fullmatch(_NAME, text):
        raise ValueError(f"{text!r} is not a name; use small letters, digits and _, with a letter first")
    return text


def _visa(text: str) -> str:
    if not re.fullmatch(r"(TCPIP|USB|GPIB|ASRL|PXI|VXI|PRLGX)[^:\s]*(::\S+)+", text, re.IGNORECASE):
        raise ValueError(f"{text!r} is not a VISA address; write one such as TCPIP0::192.168.8.17::5025::SOCKET")
    if text.upper().startswith("GPIB") and not text.upper().endswith("::INTFC"):
        bus = re.fullmatch(r"GPIB\d*((?:::\d+){1,2})(?:::INSTR)?", text, re.IGNORECASE)
        if bus is None or any(int(number) > 30 for number in bus[1].split("::")[1:]):
            raise ValueError(f"{text!r} is not a GPIB address; write one such as GPIB0::12::INSTR, with 0 to 30")
    port = re.fullmatch(r"TCPIP\d*::.+::(\d+)::SOCKET", text, re.IGNORECASE)
    if port and not 0 < int(port[1]) < 2**16:
        raise ValueError(f"{text!r} has no port from 1 to 65535")
    return text


def _library(text: str) -> str:
    if not re.fullmatch(r"@[a-z_]+|[^@\s][^@]*(@[a-z_]+)?", text):
        raise ValueError(f"{text!r} is not a VISA library; write @py, @ivi (the vendor's), or the path of one")
    return text


def _window(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] >= pair[1]:
        low, high = (format_quantity(end, getattr(end, "unit", "") or "V", 6) for end in pair)
        raise ValueError(f"the window {low} to {high} is empty; put the lower end first")
    return pair


Name = Annotated[str, AfterValidator(_name), Field(json_schema_extra={"pattern": f"^{_NAME}$"})]
NodeName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
_ADDRESS_SCHEMA = WithJsonSchema({"type": "string", "examples": ["gates.ch24.voltage", "dmm.voltage"]})
SourceAddress = Annotated[Address, BeforeValidator(partial(_address, channel="output")), _ADDRESS_SCHEMA]
MeterAddress = Annotated[Address, BeforeValidator(partial(_address, channel="input")), _ADDRESS_SCHEMA]
Window = Annotated[tuple[Level, Level], AfterValidator(_window)]
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
    visa: Annotated[str, AfterValidator(_library)] = Field(
        default="@py", description="VISA library: @py (pyvisa-py), @ivi (the vendor's), or the path of one"
    )
    timeout: PositiveSeconds = Field(default=5.0, description="of one query")
    options: dict[Name, bool | int | float | str] = Field(default={}, description="the driver's own, SI; see its help")


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
    manual: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="the knob on a box that sets this and that no program can read"
    )

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


class Light(Section):
    """What a photometer's light goes through: absorbance = path * sum of (extinction * concentration) + blank."""

    wavelength: Annotated[float, quantity("m", above=0)]
    path: Annotated[float, quantity("m", above=0)]
    extinction: dict[NodeName, Annotated[float, quantity("1/M/m", above=0)]] = Field(
        min_length=1, description="of each species that absorbs, to the base of ten"
    )
    blank: Annotated[float, quantity("OD")] = Field(default=0.0, description="without any of them")

    @field_validator("extinction", mode="before")
    @classmethod
    def _with_units(cls, data: Any) -> Any:
        """Everybody quotes 1/M/cm, and a bare number would be 1/M/m: a hundredth of what was meant."""
        for species, value in data.items() if isinstance(data, dict) else ():
            if isinstance(value, int | float) or (isinstance(value, str) and parse_is_bare(value)):
                raise ValueError(f"{species}: {value} has no unit; write it, such as '{value} 1/M/cm'")
        return data


class InputSection(Section):
    """An input: a source that clamps a terminal of the network, or a pump whose rate is one of its knobs."""

    of: SourceAddress
    via: Via = Field(default_factory=Via)
    window: Window | None = Field(default=None, description="the range that a task maps its data to, [from, to]")
    spacing: Literal["linear", "log"] = Field(default="linear", description="how a task's data go over the window")
    at: NodeName = Field(default="", description="the terminal or knob, if not the input's own name")


class OutputSection(Section):
    """An output: a meter on a reservoir of the network, or a photometer on a vessel."""

    of: MeterAddress
    via: Via = Field(default_factory=Via)
    light: Light | None = Field(default=None, description="required for an absorbance")
    window: Window | None = Field(default=None, description="the range that a task asks of it, [from, to]")
    sense: Literal["rising", "falling"] = Field(
        default="rising", description="falling: a task's high is the window's low end"
    )
    integration: PositiveSeconds = Field(default=0.02, description="of one reading; a plate reader has its own")
    at: NodeName = Field(default="", description="the reservoir or vessel, if not the output's own name")


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


class MonitorSection(Section):
    """Something about the sample that is watched, such as its temperature: read, and recorded, with every answer."""

    of: Annotated[str, Field(pattern=rf"^{_NAME}\.{_NAME}$", examples=["cryostat.a"])]
    min: Surroundings | None = Field(default=None, description="below it the interlock trips")
    max: Surroundings | None = Field(default=None, description="above it the interlock trips")

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, data: Any) -> Any:
        return {"of": data} if isinstance(data, str) else data

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, handler(schema)]}


class Limits(Section):
    """What one input or knob may be asked, at the sample."""

    min: Level
    max: Level
    max_step: PositiveLevel = Field(description="largest single step")
    slew: PositiveSlew = Field(description="largest rate of change")


class PairLimit(Section):
    """Two channels that may not be far apart."""

    of: tuple[Name, Name]
    max_difference: PositiveLevel


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

    tolerance: PositiveLevel = Field(description="largest error from not having waited longer")
    confidence: Annotated[float, quantity("", above=0, maximum=0.9999)] = 0.95
    least: Annotated[
        Annotated[float, quantity("s", minimum=0)] | None,
        BeforeValidator(lambda value: None if value == "design" else value),
    ] = Field(
        default=0.0,
        description="not believed before, as an answer may stand still on its way, at an extremum; design: half as "
        "long again as the device as designed takes from the setting before",
    )
    timeout: PositiveSeconds = Field(default=20.0, description="then the status is unsettled")

    @model_validator(mode="after")
    def _time_to_look(self) -> Settle:
        if self.least is not None and self.least >= self.timeout:
            least, timeout = (format_quantity(value, "s") for value in (self.least, self.timeout))
            raise ValueError(
                f"least, {least}, is not below timeout, {timeout}: nothing could settle; change one of them"
            )
        return self


class Stop(Section):
    """The safe state, inputs first."""

    inputs: Literal["zero"] = "zero"
    knobs: Literal["hold", "zero"] = "hold"
    watchdog: (
        Annotated[
            float,
            quantity("s", minimum=0, maximum=60),
            BeforeValidator(lambda value: 0.0 if value == "off" else value),
        ]
        | None
    ) = Field(default=None, description="heartbeat, or off; default: 1 s on the backend real, off on wire")


class Unknowns(Section):
    """What a sample may have beside its device file, and how much: the twin's prior. 0: not considered."""

    crosstalk: Fraction = Field(default=0.0, description="share of its lever that a gate has where its neighbour acts")
    lead_levers: Fraction = Field(default=0.0, description="eV/V, by which the leads move the levels of dots")
    temperature: Fraction = Field(default=0.0, description="relative, of the electrons")


class DeviceSection(Section):
    """The device and its wiring."""

    model: str = Field(description="the network file, relative to this file")
    inputs: dict[Name, InputSection] = Field(min_length=1)
    outputs: dict[Name, OutputSection] = Field(default={}, description="may be left out where a node is read")
    nodes: dict[Name, NodeSection] = Field(default={})
    knobs: dict[Name, KnobSection] = Field(default={})
    monitors: dict[Name, MonitorSection] = Field(default={}, description="what is watched; not on the backend model")
    uncertainty: Fraction = Field(default=0.1, description="how far a sample may be off its network file: twin's prior")
    unknowns: Unknowns = Field(default_factory=Unknowns, description="what the network file does not have at all")
    flow_noise: Fraction = Field(
        default=0.001, description="relative standard deviation of a pump's rate, which a training allows for"
    )
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


class ChargeJump(Section):
    """A trap beside a dot changes its charge: all levels of a process shift, once and for good."""

    of: str = Field(description="name of a process in the device file")
    shift: Annotated[float, quantity("eV")]
    query: Annotated[StrictInt, Field(ge=0)] = Field(description="number of the first query that sees it")


PHOTOMETER_NOISE = 2e-3  # OD a reading: an ordinary plate reader has 1 to 3 mOD (physics.md, section 3)


class Hidden(Section):
    """What the simulated sample has beside its device file; the twin knows of it only what ``unknowns`` allows for."""

    crosstalk: Fraction = Field(default=0.0, description="mean share of its lever that a gate has at its neighbours")
    lead_levers: Fraction = Field(default=0.0, description="eV/V, of either lead on all levels of dots")
    temperature: Annotated[float, quantity("", minimum=-0.5, maximum=1)] = Field(
        default=0.0, description="relative, how much warmer the electrons are"
    )
    spin: StrictBool = Field(default=False, description="levels of BlockingLevel laws are spin-degenerate: another law")
    parasitic: dict[str, Annotated[float, quantity("ohm", above=0)]] = Field(
        default={}, description="a resistance across an edge of the device file, by the edge's name"
    )
    knocked_out: tuple[str, ...] = Field(
        default=(), description="edges and reactions of the device file that carry nothing"
    )
    activity: Annotated[float, quantity("", above=0, maximum=1)] = Field(
        default=1.0, description="share of their activity that all enzymes have left"
    )
    charge_jumps: tuple[ChargeJump, ...] = Field(default=(), description="backend model only, which counts queries")


class Liquids(Section):
    """What liquids do beside what the device file says; the twin knows nothing of it."""

    dead_volume: Annotated[float, quantity("L", minimum=0)] = Field(
        default=0.0, description="of the tube from a vessel to its photometer; backend wire only"
    )
    mixing_time: Annotated[float, quantity("s", minimum=0)] = Field(
        default=0.0, description="by which a photometer lags, as its cell is mixed; backend wire only"
    )
    evaporation: Annotated[float, quantity("L/s", minimum=0)] = Field(
        default=0.0, description="of water, out of each vessel"
    )
    decay: dict[str, Annotated[float, quantity("1/s", minimum=0)]] = Field(
        default={}, description="of what is in a syringe, such as {ldh_stock.ldh: 1e-6 1/s}; backend wire only"
    )
    warmer: Annotated[float, quantity("K", minimum=-25, maximum=50)] = Field(
        default=0.0, description="than the 25 degC of the device file's constants: reactions with an activation energy"
    )


class Simulation(Section):
    """What the backends `wire` and `model` add to the device as designed: the truth a twin must discover."""

    seed: Annotated[StrictInt, Field(ge=0)] = 0
    mismatch: Fraction = Field(default=0.0, description="relative standard deviation of hidden parameters")
    hidden: Hidden = Field(default_factory=Hidden, description="what the device file does not have at all")
    noise: Annotated[
        dict[str, NoiseDensity],
        BeforeValidator(lambda value: {"*": "off"} if value == "off" else value),
        WithJsonSchema({"anyOf": [{"const": "off"}, {"type": "object"}]}),
    ] = Field(
        default={}, description="density at the sample by output, V/Hz**0.5 or off; off alone silences everything"
    )
    flow_noise: Fraction = Field(default=0.0, description="relative standard deviation of every pump's rate")
    surroundings: dict[Name, Surroundings] = Field(default={}, description="what monitors find; on the backend wire")
    liquids: Liquids = Field(default_factory=Liquids, description="dead volume, mixing, evaporation, decay")
    offsets: StrictBool = Field(default=True, description="static offsets and gain errors of the instruments")
    quantisation: StrictBool = Field(default=True, description="finite resolution of the instruments")
    faults: tuple[AnyFault, ...] = Field(default=(), description="what goes wrong, when; on the backend wire only")

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
        return self.with_simulation(seed=seed)

    def as_designed(self) -> StationConfig:
        """The same station with a sample and instruments just as their files and data sheets say: nothing hidden.

        Noise and resolution stay: they are known beforehand.
        """
        other = self.with_simulation(mismatch=0.0, hidden=Hidden(), offsets=False, faults=())
        # a syringe that nobody fills and that runs empty is forecast from what it would have to deliver
        endless = {
            name: section.model_copy(update={"options": {**section.options, "syringe_volume": 0.0}})
            if "syringe_volume" in section.options and not section.options.get("refill_rate")
            else section
            for name, section in other.instruments.items()
        }
        bare = other.model_copy(update={"instruments": endless})
        bare._document = self._document
        return bare

    def with_simulation(self, **changes: Any) -> StationConfig:
        """The same station with these keys of its `simulation` section replaced by checked values."""
        other = self.model_copy(update={"simulation": self.simulation.model_copy(update=changes)})
        other._document = self._document
        return other

    def check_options(self, name: str, adapter: Any) -> None:
        """Whether an instrument's adapter takes the options of its section, before it is opened.

        Raises
        ------
        StationFileError: an option that it does not have, or text for a number.
        """
        section = self.instruments[name]
        parameters = signature(adapter).parameters.values()
        if any(p.kind is Parameter.VAR_KEYWORD for p in parameters):
            return
        known = {p.name: p.default for p in parameters if p.name not in ("name", "address", "timeout", "visa")}
        for option, value in section.options.items():
            keys = ("instruments", name, "options", option)
            if option not in known:
                what = f"the driver {section.driver} has no such option; "
                raise self.error(keys, what + (suggest(option, known) if known else "it has none"))
            default = known[option]
            if isinstance(default, int | float) and not isinstance(default, bool) and isinstance(value, str):
                raise self.error(keys, f"{value!r} is no bare number; write it without a unit, in SI (m, L, V, A, s)")

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
    for check in (
        _check_addresses,
        _check_units,
        _check_sharing,
        _check_monitors,
        _check_limits,
        _check_rest,
        _check_faults,
    ):
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
        settable = kind in ("inputs", "knobs")
        if of.quantity == "absorbance" and settable:
            yield (*keys, "of"), f"{of} is read, and cannot be set; name a source or a pump"
        if of.quantity == "rate" and not settable:
            yield (*keys, "of"), f"{of} is set, and nothing to read; name a meter or a photometer"
        if of.quantity == "absorbance" and kind == "nodes":
            yield (*keys, "of"), f"{of} is an absorbance; put it under outputs"
        if kind == "outputs" and (of.quantity == "absorbance") is not (section.light is not None):
            missing = section.light is None
            what = (
                "is missing; an absorbance needs wavelength, path and extinction" if missing else "is for absorbances"
            )
            yield (*keys, "light"), what
        if of.quantity in ("rate", "absorbance") and section.via != Via():
            yield (*keys, "via"), f"{of} goes through tubes, not through dividers and amplifiers; remove it"
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


def _check_units(config: StationConfig) -> Complaints:
    """What is written in a unit must be in the channel's; a bare number is."""
    device = config.device

    def wrong(value: Any, unit: str) -> bool:
        return getattr(value, "unit", "") not in ("", unit)

    def complaint(value: Any, unit: str, name: str) -> str:
        return f"is in {value.unit}, but {name!r} is in {unit}; write it in {unit}"

    for keys, kind, section in _bindings(config):
        name, unit = str(keys[-1]), section.of.unit
        for end in (kind in ("inputs", "outputs") and section.window) or ():
            if wrong(end, unit):
                yield (*keys, "window"), complaint(end, unit, name)
        if kind == "outputs" and wrong(device.settle.tolerance, unit):
            yield ("device", "settle", "tolerance"), complaint(device.settle.tolerance, unit, name)
        pattern = device.limits.pattern_for(name) if kind in ("inputs", "knobs") else None
        if pattern is not None:
            limits = device.limits.patterns[pattern]
            where = ("device", "limits", pattern)
            for key in ("min", "max", "max_step"):
                if wrong(getattr(limits, key), unit):
                    yield (*where, key), complaint(getattr(limits, key), unit, name)
            slew = _SLEWS.get(str(unit), str(unit))
            if wrong(limits.slew, slew):
                yield (*where, "slew"), complaint(limits.slew, slew, name)


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


def _check_monitors(config: StationConfig) -> Complaints:
    device, names = config.device, {str(keys[-1]): kind for keys, kind, _ in _bindings(config)}
    for name, section in device.monitors.items():
        where = ("device", "monitors", name)
        instrument = section.of.partition(".")[0]
        if name in names:
            yield where, f"{name!r} is also one of the {names[name]}; give each channel its own name"
        if instrument not in config.instruments:
            yield (*where, "of"), f"no instrument {instrument!r}; {suggest(instrument, config.instruments)}"
        if section.min is not None and section.max is not None and section.min >= section.max:
            yield (*where, "min"), "is not below max; nothing could ever be within"
    for name in config.simulation.surroundings:
        if name not in device.monitors:
            yield ("simulation", "surroundings", name), f"no monitor {name!r}; {suggest(name, device.monitors)}"


def _check_limits(config: StationConfig) -> Complaints:
    section, device = config.device.limits, config.device
    where = ("device", "limits")
    settable = [*device.inputs, *device.knobs]
    for pattern, limits in section.patterns.items():
        if limits.min > limits.max:
            unit = getattr(limits.min, "unit", "") or "V"
            low, high = (format_quantity(value, unit, 6) for value in (limits.min, limits.max))
            yield (*where, pattern, "min"), f"{low} is above max, {high}; swap them"
    for name in settable:
        kind = "inputs" if name in device.inputs else "knobs"
        pattern = section.pattern_for(name)
        if pattern is None:
            yield where, f"{kind[:-1]} {name!r} has no limits; add a pattern that matches it"
            continue
        limits = section.patterns[pattern]
        unit = getattr(device, kind)[name].of.unit
        allowed = " to ".join(format_quantity(value, unit, 6) for value in (limits.min, limits.max))
        stops = unit == "V" and (kind == "inputs" or device.stop.knobs == "zero")  # a pump can always be stopped
        if stops and not limits.min <= 0 <= limits.max:
            yield (*where, pattern), f"{allowed} leaves out 0 {unit}, where {name!r} is brought to stop; include it"
        window = device.inputs[name].window if kind == "inputs" else None
        if window and not (limits.min <= window[0] and window[1] <= limits.max):
            span = " to ".join(format_quantity(value, unit, 6) for value in window)
            what = f"{span} is not within the limits {allowed} of {pattern!r}"
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
    for name, output in config.device.outputs.items():
        if output.of.quantity == "absorbance" and output.window and output.window[1] > _DARK:
            top = format_quantity(output.window[1], "OD")
            yield ("device", "outputs", name, "window"), f"no photometer reads {top}; write mOD if that is meant"
    if not (config.device.outputs or config.device.nodes):
        yield ("device", "outputs"), "is missing, and so are nodes; add what the device is read by"
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


def _check_faults(config: StationConfig) -> Complaints:
    roles = {str(keys[-1]): _role(kind, section) for keys, kind, section in _bindings(config)}
    for index, fault in enumerate(config.simulation.faults):
        where = ("simulation", "faults", index)
        known = config.instruments
        if isinstance(fault, SampleFault):
            known = [name for name, role in roles.items() if role in fault.roles]
        if fault.on not in known:
            kind = "channel" if isinstance(fault, SampleFault) else "instrument"
            what = f"no {kind} {fault.on!r} that can have the fault {fault.kind}"  # pyright: ignore[reportAttributeAccessIssue]
            yield (*where, "on"), f"{what}; {suggest(fault.on, known)}"
        if isinstance(fault, SwappedFault) and (fault.other not in known or fault.other == fault.on):
            what = f"{fault.other!r} cannot be swapped with {fault.on!r}"
            yield (*where, "with"), f"{what}; {suggest(fault.other, set(known) - {fault.on})}"


def _role(kind: str, section: Any) -> str:
    if kind in ("inputs", "knobs"):
        return "source"
    return "voltmeter" if section.of.quantity == "voltage" else "lead"


def _is_voltmeter(kind: str, section: Any) -> bool:
    return kind in ("outputs", "nodes") and section.of.quantity == "voltage"
