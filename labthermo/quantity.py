"""Numbers with units, at the edge: text such as ``10 mV`` becomes an SI float, and back.

Inside labthermo every number is an SI float. Files, the command line and the console speak in text, which
pint converts here. pint takes about a second to import, so a bare number never imports it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from numbers import Real
from typing import TYPE_CHECKING, Annotated, Any

from labthermo.errors import ParameterError

if TYPE_CHECKING:
    from pint import UnitRegistry
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

# The whole text must match: pint drops characters that it does not know, so that `−60 mV` with a typographic
# minus would become +60 mV, and `1,5 mV` would become 15 mV.
_TEXT = re.compile(r"(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?)(?:\s+1(?=/)|\s*)(?P<unit>[^\d\s].*)?")
_POWER = r"(?:[A-Za-zµμΩΩ]+|%)(?:(?:\*\*|\^)-?\d?\.?\d)?"
_UNIT = re.compile(rf"(?:1\s*/\s*)?{_POWER}(?:\s*[*/ ]\s*{_POWER})*")
_ROOT = re.compile(r"(?:√|sqrt)\(?(\w+)\)?")
_PER_MINUTE = {"L/s": "L/min", "L/s/s": "L/min/s", "L/s**2": "L/min/s"}
_PREFIXES = {-18: "a", -15: "f", -12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T"}


def parse_quantity(value: str | float, unit: str) -> float:
    """`value` in `unit`, as a float.

    Parameters
    ----------
    value: a number, taken to be in `unit` already, or text such as ``10 mV``, ``3.6 MΩ``, ``260 nV/√Hz`` or
        ``95 %``.
    unit: the unit of the result, e.g. ``V``, ``eV``, ``1/s``, ``L/s``; an empty string for a plain ratio.

    Raises
    ------
    ParameterError: not a number, not finite, or in a unit that cannot be converted.
    """
    if isinstance(value, bool) or not isinstance(value, str | Real):
        raise ParameterError(f"{_short(value)} is not {_expected(unit)}")
    if isinstance(value, str):
        number = _parse_text(value, unit)
    else:
        try:
            number = float(value)
        except OverflowError:
            raise ParameterError(f"an integer beyond 1e308 is not {_expected(unit)}") from None
    if not math.isfinite(number):
        raise ParameterError(f"{_short(value)} is not a finite number; write {_expected(unit)}")
    return number


def format_quantity(value: float, unit: str, digits: int = 4) -> str:
    """`value` (in `unit`, SI without prefix) as text with an SI prefix, e.g. ``1.68 mV`` or ``3.6 MΩ``.

    `digits` significant digits are shown, without trailing zeros. Units that take no prefix (``1/s``, none)
    keep their plain number, and so do seconds above one. With the unit ``%``, 0.1 gives ``10 %``. Flows are shown per
    minute, as pumps and station files have them: 1e-6 L/s gives ``60 µL/min``.
    """
    if unit in _PER_MINUTE:
        return format_quantity(60.0 * value, _PER_MINUTE[unit], digits)
    if unit == "%":
        return f"{float(f'{100 * value:.{digits}g}'):g} %"
    shown = unit.replace("ohm", "Ω")
    if value == 0 or not math.isfinite(value) or not unit[:1].isalpha():
        return f"{value:.{digits}g} {shown}".rstrip().replace("e+0", "e").replace("e+", "e")
    rounded = float(f"{value:.{digits}g}")
    exponent = 3 * math.floor(math.log10(abs(rounded)) / 3 + 1e-12)
    exponent = min(max(exponent, -18), 0 if unit == "s" else 12)
    scaled = float(f"{rounded / 10.0**exponent:.{digits}g}")
    return f"{scaled:.{max(digits, 4)}g} {_PREFIXES[exponent]}{shown}"


@dataclass(frozen=True)
class quantity:
    """Marks a pydantic field as a number with a unit: ``Annotated[float, quantity("V", above=0)]``.

    The field takes what :func:`parse_quantity` takes. Its JSON schema carries ``unit`` and the bounds, from
    which command-line options and forms are made.

    Attributes
    ----------
    unit: the unit of the value, e.g. ``V``.
    minimum, maximum: allowed range, in `unit`.
    above: a bound that the value must exceed, in `unit`.
    """

    unit: str
    minimum: float = -math.inf
    maximum: float = math.inf
    above: float = -math.inf

    def __call__(self, value: Any) -> float:
        """`value` in `unit`, checked against the bounds.

        Raises
        ------
        ParameterError: as :func:`parse_quantity`, or out of bounds.
        """
        number = parse_quantity(value, self.unit)
        if number < self.minimum:
            raise ParameterError(self._outside(number, "at least", self.minimum))
        if number > self.maximum:
            raise ParameterError(self._outside(number, "at most", self.maximum))
        if number <= self.above:
            raise ParameterError(self._outside(number, "above", self.above))
        return number

    def _outside(self, number: float, relation: str, bound: float) -> str:
        return (
            f"{format_quantity(number, self.unit, 6)} is out of bounds; "
            f"it must be {relation} {format_quantity(bound, self.unit, 6)}"
        )

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_before_validator_function(self, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        bounds = {"minimum": self.minimum, "maximum": self.maximum, "exclusiveMinimum": self.above}
        number = {"type": "number"} | {key: bound for key, bound in bounds.items() if math.isfinite(bound)}
        example = f"a number in {self.unit} or text with a unit" if self.unit else "a ratio, or text such as 10 %"
        return {"anyOf": [number, {"type": "string"}], "unit": self.unit, "description": example}


class Written(float):
    """A number in SI as a file has it. unit: the one in which it was written, in SI; "" for a bare number."""

    unit: str

    def __new__(cls, value: float, unit: str) -> Written:
        number = super().__new__(cls, value)
        number.unit = unit
        return number


@dataclass(frozen=True)
class any_of:
    """Marks a pydantic field as a number in one of several units, such as a limit of a channel of any kind.

    Which of them is right is for whoever knows the channel to say: the value is a :class:`Written`.

    units: e.g. ``("V", "L/s")``; what is in none of them is complained about in the first one's. above: as
    :class:`quantity` has it.
    """

    units: tuple[str, ...]
    above: float = -math.inf

    def __call__(self, value: Any) -> Written:
        """`value` in SI, with the unit that it was written in."""
        if isinstance(value, Written):
            return value
        for unit in self.units:
            try:
                parse_quantity(value, unit)
            except ParameterError:
                continue
            bare = not isinstance(value, str) or parse_is_bare(value)
            return Written(quantity(unit, above=self.above)(value), "" if bare else unit)
        try:
            return Written(quantity(self.units[0], above=self.above)(value), self.units[0])
        except ParameterError as error:
            raise ParameterError(str(error).replace(f"is not in {self.units[0]};", self._none_of())) from None

    def _none_of(self) -> str:
        return f"is not in {' or '.join(self.units)};"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(self)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        bounds = {} if math.isinf(self.above) else {"exclusiveMinimum": self.above}
        example = f"a number, or text with a unit: {', '.join(self.units)}"
        return {"anyOf": [{"type": "number"} | bounds, {"type": "string"}], "units": self.units, "description": example}


Volts = Annotated[float, quantity("V")]
LEVELS = ("V", "L/s", "OD")
"""Units of what a channel is set to, or reads."""
Level = Annotated[float, any_of(LEVELS)]
PositiveLevel = Annotated[float, any_of(LEVELS, above=0)]
PositiveSlew = Annotated[float, any_of(("V/s", "L/s**2"), above=0)]
Surroundings = Annotated[float, any_of(("K", "Pa"))]
PositiveVolts = Annotated[float, quantity("V", above=0)]
PositiveAmperes = Annotated[float, quantity("A", above=0)]
PositiveSeconds = Annotated[float, quantity("s", above=0)]


def parse_is_bare(text: str) -> bool:
    """Whether a text is a number without a unit."""
    match = _TEXT.fullmatch(text.strip().replace("−", "-"))
    return match is not None and not match["unit"]


def _parse_text(text: str, unit: str) -> float:
    match = _TEXT.fullmatch(text.strip().replace("−", "-"))
    if match is None:
        raise ParameterError(f"{_short(text)} is not a number with a unit; write {_expected(unit)}")
    if not match["unit"]:
        return float(match["number"])
    try:
        factor = _factor(match["unit"], unit)
    except ValueError as error:
        raise ParameterError(f"{_short(text)} {error}; write {_expected(unit)}") from None
    return float(Decimal(match["number"]) * Decimal(repr(factor)))  # in decimals, so that 3 mV is exactly 0.003


@cache
def _factor(written: str, unit: str) -> float:
    """How many `unit` one `written` is. Raises ValueError, with the end of a sentence."""
    plain = _ROOT.sub(r"\1**0.5", "1" + written if written.startswith("/") else written)
    registry = _registry()
    try:
        source = registry.parse_units(plain) if len(plain) < 60 and _UNIT.fullmatch(plain) else None
    except Exception:  # pint raises anything from AssertionError to TypeError on text that is not a unit
        source = None
    if source is None:
        raise ValueError(f"has an unknown unit, {_short(written)} (case matters: mV, not mv)")
    target = registry.parse_units(unit)
    if source.dimensionality != target.dimensionality:
        raise ValueError(f"is not in {unit}" if unit else "has a unit where a plain ratio belongs")
    if registry.Quantity(0.0, source).to(target).magnitude != 0:
        raise ValueError("is on a scale with an offset")
    return float(f"{registry.Quantity(1.0, source).to(target).magnitude:.15g}")


@cache
def _registry() -> UnitRegistry:
    from pint import UnitRegistry

    registry = UnitRegistry()
    registry.define("@alias ohm = Ohm")
    registry.define("optical_density = [] = OD")  # of an absorbance, to the base of ten
    return registry


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:50]}..."


def _expected(unit: str) -> str:
    if not unit:
        return "a plain number or one in %, such as 0.1 or '10 %'"
    return f"a number in {unit}, such as '{f'10 m{unit}' if unit[0].isalpha() else f'1e6 {unit}'}'"
