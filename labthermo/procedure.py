"""What a procedure is: a recipe with typed, unit-bearing, bounded parameters, and `execute(run)`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import ValidationError

from labthermo.channel import Channel
from labthermo.errors import ParameterError
from labthermo.run import Run
from labthermo.yaml_file import Section, dotted, first_complaint


class Procedure(Section, ABC):
    """A measurement recipe. Subclass it with one field per parameter; fields are checked and then frozen.

    name: as on the command line. The class's docstring says what it does, its first line in a few words.
    """

    name: ClassVar[str]

    @abstractmethod
    def count(self, channels: Sequence[Channel]) -> int:
        """How many device queries :meth:`execute` will make on a device with these channels.

        Called before any instrument is opened.

        Raises
        ------
        ParameterError: the parameters do not fit the device.
        """

    @abstractmethod
    def execute(self, run: Run) -> None:
        """Do it. Everything worth keeping goes through `run`: its queries, and its events for the report."""


@dataclass(frozen=True)
class ParameterInfo:
    """One parameter of a procedure, for help texts. unit is empty for a number or a name."""

    name: str
    unit: str
    default: str
    help: str


def parameters(procedure: type[Procedure]) -> Iterator[ParameterInfo]:
    """The parameters of a procedure, in order."""
    for name, schema in procedure.model_json_schema()["properties"].items():
        unit = schema.get("unit") or next((s["unit"] for s in schema.get("anyOf", ()) if "unit" in s), "")
        default = schema.get("default")
        yield ParameterInfo(name, unit, "" if default is None else str(default), schema.get("description", ""))


def make(procedure: type[Procedure], values: Mapping[str, Any]) -> Procedure:
    """The recipe with these parameter values; text with units is accepted.

    Raises
    ------
    ParameterError: an unknown parameter, a wrong unit, or a value out of bounds, in one line.
    """
    try:
        return procedure.model_validate(dict(values))
    except ValidationError as error:
        complaint = first_complaint(error, dict(values))
        raise ParameterError(f"{procedure.name}: {dotted(complaint.keys)}: {complaint.what}") from None
