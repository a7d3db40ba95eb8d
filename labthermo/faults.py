"""Faults that a simulated bench can be told to have: in the station file, or while it runs.

Each kind has its own keys, so that a file is refused with the key that does not fit. What a fault does is in
:mod:`simulators.faults` (lines and instruments) and :mod:`simulators.disturbances` (the sample and its wiring).

A fault comes by count (`after` good replies of its instrument; `count` bad ones) or by time (`at` seconds of bench time
after it was planned; it `lasts` as long). With neither it begins at once.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field, StrictInt, TypeAdapter, ValidationError, model_validator

from labthermo.errors import ParameterError
from labthermo.quantity import PositiveSeconds, PositiveVolts, Volts, quantity
from labthermo.yaml_file import Section, dotted, first_complaint

ReplyKind = Literal["silent", "late", "truncated", "empty", "garbled", "doubled", "digit", "reset"]
REPLIES: tuple[ReplyKind, ...] = get_args(ReplyKind)
"""What may become of a reply so that it is lost or wrong."""

Fraction = Annotated[float, quantity("", minimum=0, maximum=1)]
Delay = Annotated[float, quantity("s", minimum=0, maximum=60)]
Amperes = Annotated[float, quantity("A")]


class Fault(Section):
    """What all faults have."""

    lasting: ClassVar[bool] = False
    """Whether it stays until it is said to end; else it is over after one time."""

    on: str = Field(description="the instrument, or for a fault of the sample the channel")
    after: Annotated[StrictInt, Field(ge=0)] | None = Field(default=None, description="good replies before it")
    count: Annotated[StrictInt, Field(ge=1)] | None = Field(default=None, description="how many times")
    at: Annotated[float, quantity("s", minimum=0)] | None = Field(default=None, description="bench time from now")
    lasts: PositiveSeconds | None = Field(default=None, description="bench time; default: for good")

    @model_validator(mode="after")
    def _one_clock(self) -> Fault:
        if self.by_time and (self.after is not None or self.count is not None):
            raise ValueError("a fault comes by count (after, count) or by time (at, lasts); remove one of the two")
        return self

    @property
    def by_time(self) -> bool:
        """Whether it comes by time."""
        return self.at is not None or self.lasts is not None

    @property
    def times(self) -> float:
        """How often it acts when it comes by count."""
        return self.count or (float("inf") if self.lasting else 1)


class ReplyFault(Fault):
    """A reply that does not come, or comes wrong.

    ``digit``: one digit is replaced by another, so that it is still a number. ``reset``: the connection is cut instead.
    """

    kind: Literal["silent", "truncated", "empty", "garbled", "doubled", "digit", "reset"]


class DelayedFault(Fault):
    """A reply that comes `delay` (s, wall time) too late, or byte by byte over `delay`."""

    kind: Literal["late", "trickle"]
    delay: Delay = 1.0


class RandomFault(Fault):
    """Every reply goes wrong by `chance`, in one of `kinds`, drawn alike."""

    lasting: ClassVar[bool] = True
    kind: Literal["random"]
    chance: Fraction
    kinds: tuple[ReplyKind, ...] = Field(default=REPLIES, min_length=1)
    delay: Delay = 0.1


class LineFault(Fault):
    """``torn``: the connection is cut in mid-write, and the message not executed. ``refused``: connections are cut as
    soon as they are made. ``rejected``: a set is not executed, without a word. ``reboot``: silently to ``*RST``."""

    kind: Literal["torn", "refused", "rejected", "reboot"]


class SlowFault(Fault):
    """Everything takes `factor` times as long."""

    lasting: ClassVar[bool] = True
    kind: Literal["slow"]
    factor: Annotated[float, quantity("", minimum=1, maximum=1000)] = 10.0


class OwnFault(Fault):
    """What only some instruments can have: a pump (``stall``, ``overpressure``, ``empty_syringe``, ``bubble``), a plate
    reader (``saturated``, ``lid_open``, ``missing_well``). A simulated instrument has those that it has a method
    ``fault_<kind>(begins, fault)`` for."""

    lasting: ClassVar[bool] = True
    kind: Literal["stall", "overpressure", "empty_syringe", "bubble", "saturated", "lid_open", "missing_well"]
    share: Fraction = Field(default=0.5, description="of the volume that is air, for a bubble")
    well: str | None = Field(default=None, description="for a missing well; default: the first")


class SampleFault(Fault):
    """A fault of the device or of what it is wired to, at one of its channels."""

    lasting: ClassVar[bool] = True
    roles: ClassVar[tuple[str, ...]]
    """Which channels can have it: "source" (inputs and knobs), "voltmeter", "lead"."""


class StuckFault(SampleFault):
    """The output stays where it is, while the instrument believes that it moves."""

    roles: ClassVar[tuple[str, ...]] = ("source",)
    kind: Literal["stuck"]


class SwappedFault(SampleFault):
    """The cable of this channel and of another are exchanged."""

    roles: ClassVar[tuple[str, ...]] = ("source",)
    kind: Literal["swapped"]
    other: str = Field(alias="with", description="the other input or knob")


class LeakFault(SampleFault):
    """A current flows out of the source, that its own sensor sees."""

    roles: ClassVar[tuple[str, ...]] = ("source",)
    kind: Literal["leak"]
    current: Amperes


class ComplianceFault(SampleFault):
    """The source of a lead gives no more than `limit`, whatever limit it was told."""

    roles: ClassVar[tuple[str, ...]] = ("lead",)
    kind: Literal["compliance"]
    limit: Annotated[float, quantity("A", minimum=0)] = 0.0


class OverflowFault(SampleFault):
    """What is measured is beyond every range."""

    roles: ClassVar[tuple[str, ...]] = ("voltmeter", "lead")
    kind: Literal["overflow"]
    sign: Literal["+", "-"] = "+"


class DriftFault(SampleFault):
    """Moves steadily, at the sample: what a source gives (a gate's charge), or what a voltmeter sees (an amplifier)."""

    roles: ClassVar[tuple[str, ...]] = ("source", "voltmeter")
    kind: Literal["drift"]
    rate: Annotated[float, quantity("V/s")]


class JumpFault(SampleFault):
    """A charge nearby moves for good: a step of what a source does at the sample, or of what a voltmeter sees."""

    roles: ClassVar[tuple[str, ...]] = ("source", "voltmeter")
    kind: Literal["jump"]
    size: Volts


class TelegraphFault(SampleFault):
    """A charge nearby goes back and forth: steps of `size` after random times, `dwell` on average."""

    roles: ClassVar[tuple[str, ...]] = ("source", "voltmeter")
    kind: Literal["telegraph"]
    size: Volts
    dwell: PositiveSeconds


class HysteresisFault(SampleFault):
    """The sample follows a source only after it has turned back by `width`."""

    roles: ClassVar[tuple[str, ...]] = ("source",)
    kind: Literal["hysteresis"]
    width: PositiveVolts


AnyFault = Annotated[
    ReplyFault
    | DelayedFault
    | RandomFault
    | LineFault
    | SlowFault
    | OwnFault
    | StuckFault
    | SwappedFault
    | LeakFault
    | ComplianceFault
    | OverflowFault
    | DriftFault
    | JumpFault
    | TelegraphFault
    | HysteresisFault,
    Field(discriminator="kind"),
]
_ANY: TypeAdapter[Fault] = TypeAdapter(AnyFault)


def read_fault(data: dict[str, Any]) -> Fault:
    """A fault from its keys, in SI units or with units in text.

    Raises
    ------
    ParameterError: they do not make one; in one line.
    """
    try:
        return _ANY.validate_python(data)
    except ValidationError as error:
        complaint = first_complaint(error, data)
        raise ParameterError(f"fault: {dotted(complaint.keys)}: {complaint}".replace(": : ", ": ")) from None
