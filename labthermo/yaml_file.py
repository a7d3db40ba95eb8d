"""YAML files written by people: read strictly, with the line of every key, so that complaints can point.

Only mappings, lists and plain values are read. Numbers follow YAML 1.2: ``1e9`` is a number, ``off`` is a
word, ``010`` is ten and ``12:30`` stays text.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from labthermo.errors import StationFileError

Key = str | int
Keys = tuple[Key, ...]
Model = TypeVar("Model", bound=BaseModel)

LARGEST_FILE = 1 << 20
"""Bytes."""
MOST_VALUES = 100_000
"""Values in one file, counting what aliases repeat."""
DEEPEST = 40
"""Levels of nesting."""


@dataclass(frozen=True)
class Document:
    """A YAML file as read.

    Attributes
    ----------
    path: where it was read from.
    text: the whole file.
    data: its mapping: dicts with string keys, lists, str, int, float, bool and None.
    lines: the line (from 1) of each key path, such as ``("device", "knobs", "p1")``.
    """

    path: Path
    text: str
    data: dict[str, Any]
    lines: dict[Keys, int]

    def line_of(self, keys: Sequence[Key]) -> int:
        """The line of a key path, or of the nearest enclosing one that the file has."""
        for end in range(len(keys), 0, -1):
            if (line := self.lines.get(tuple(keys[:end]))) is not None:
                return line
        return 1

    def error(self, keys: Sequence[Key], complaint: str) -> StationFileError:
        """An error to raise: one line with file, line, dotted key and `complaint`."""
        return _error(self.path, self.line_of(keys), keys, complaint)


class Section(BaseModel):
    """A mapping of a file with known keys only; the complaint about any other names the nearest known one."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        if isinstance(data, dict) and cls.model_config.get("extra") == "forbid":
            known = [field.alias or name for name, field in cls.model_fields.items()]
            for key in data:
                if key not in known:
                    context = {"key": key, "advice": suggest(str(key), known)}
                    raise PydanticCustomError("unknown_key", "unknown key {key}; {advice}", context)
        return data


@dataclass(frozen=True)
class Complaint:
    """The first thing that a model found wrong.

    Attributes
    ----------
    keys: the key path of the offending value.
    what: what is wrong and what to do, in one line.
    more: how many further complaints there are.
    """

    keys: Keys
    what: str
    more: int

    def __str__(self) -> str:
        return self.what + (f" (and {self.more} more)" if self.more else "")


def read_yaml(path: str | Path) -> Document:
    """Read a YAML file whose top level is a mapping.

    Raises
    ------
    StationFileError: the file is missing, too large, not UTF-8, not YAML, not a mapping, or has a key twice.
    """
    path = Path(path)
    text = _read_text(path)
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 1 + (mark.line if mark else 0)
        problem = " ".join(f"{error.context or ''} {error.problem or ''}".split())
        raise StationFileError(f"{path}:{line}: not valid YAML: {problem}; check indent, quotes, brackets") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise StationFileError(f"{path}:{line}: contains a control character; remove it") from None
    except RecursionError:
        raise StationFileError(f"{path}:1: not valid YAML: nested too deeply; close the brackets") from None
    if not isinstance(node, yaml.MappingNode):
        found = "empty" if node is None else f"a {node.id}"
        raise StationFileError(f"{path}:1: the file is {found}; it must be a mapping of keys to values")
    tree = _Tree(Document(path, text, {}, {}))
    tree.document.data.update(tree.mapping(node, ()))
    return tree.document


def validate(document: Document, model: type[Model]) -> Model:
    """The document as an instance of a pydantic model.

    Raises
    ------
    StationFileError: it does not fit; the message has the first complaint, and says how many more there are.
    """
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        complaint = first_complaint(error, document.data)
        raise document.error(complaint.keys, str(complaint)) from None


def first_complaint(error: ValidationError, data: Any) -> Complaint:
    """The first complaint of a pydantic error about `data`, in plain words."""
    first = error.errors(include_url=False)[0]
    kind, context, shown = first["type"], first.get("ctx", {}), _shown(first["input"])
    keys = _keys_in(data, first["loc"], missing=kind == "missing")
    if kind == "missing":
        what = "is missing; add it"
    elif kind == "extra_forbidden":
        what = "unknown key; remove it"
    elif kind == "unknown_key":
        keys = (*keys, context["key"])
        what = f"unknown key; {context['advice']}"
    elif kind in ("union_tag_not_found", "union_tag_invalid"):
        keys = (*keys, context["discriminator"].strip("'"))
        known = re.findall(r"'([^']+)'", context.get("expected_tags", ""))
        what = f"{context['tag']!r} is unknown; {suggest(context['tag'], known)}" if known else "is missing; add it"
    elif kind == "literal_error":
        known = re.findall(r"'([^']+)'", context["expected"])
        what = f"{shown} is not allowed here; {suggest(str(first['input']), known)}"
    elif kind in ("model_type", "model_attributes_type", "dict_type"):
        what = f"{shown} is not a mapping; write key: value"
    elif kind in ("tuple_type", "list_type"):
        what = f"{shown} is not a list; write [...]"
    elif kind == "value_error":
        what = str(context["error"])
    else:
        message = first["msg"].removeprefix("Input ")
        what = f"{shown}: {message[0].lower()}{message[1:]}"
    return Complaint(keys, what, error.error_count() - 1)


def suggest(word: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?`` or, where nothing is near, the list of what is known."""
    names = sorted(set(known))
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known: {', '.join(names)}" if names else "nothing is known here"


def dotted(keys: Sequence[Key]) -> str:
    """A key path for people: ``device.limits.pairs[0].of``."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    return text.removeprefix(".")


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise StationFileError(f"{path}: cannot be read: {error.strerror}; check the path") from None
    if len(content) > LARGEST_FILE:
        raise StationFileError(f"{path}: is larger than {LARGEST_FILE >> 20} MiB; is it the right file?")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise StationFileError(f"{path}:{line}: is not UTF-8 text; save it as UTF-8") from None


class _Loader(yaml.SafeLoader):
    """PyYAML's safe scanner and parser, with YAML 1.2's idea of what is a number and what is a word."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (PyYAML's own class attribute)


for _tag, _pattern, _first_letters in (
    ("null", r"null|~|", ["n", "~", ""]),
    ("bool", r"true|false", ["t", "f"]),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})\\Z"), _first_letters)


@dataclass
class _Tree:
    """Turns PyYAML's nodes into plain data, noting the line of every key path."""

    document: Document
    values: int = 0

    def mapping(self, node: yaml.MappingNode, keys: Keys) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise self.error(keys, line, "a key must be a word, not a list or a mapping")
            key = str(key_node.value)
            if key in found:
                first = self.document.lines[(*keys, key)]
                raise self.error((*keys, key), line, f"this key stands twice, first in line {first}; remove one")
            self.document.lines[(*keys, key)] = line
            found[key] = self.value(value_node, (*keys, key))
        return found

    def value(self, node: yaml.Node, keys: Keys) -> Any:
        self.values += 1
        line = node.start_mark.line + 1
        if self.values > MOST_VALUES:
            raise self.error(keys, line, f"more than {MOST_VALUES} values; repeat less with aliases")
        if len(keys) > DEEPEST:
            raise self.error(keys[:3], line, f"nested deeper than {DEEPEST} levels; does an alias contain itself?")
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        if isinstance(node, yaml.MappingNode) and kind == "map":
            return self.mapping(node, keys)
        if isinstance(node, yaml.SequenceNode) and kind == "seq":
            items = []
            for index, item in enumerate(node.value):
                self.document.lines[(*keys, index)] = item.start_mark.line + 1
                items.append(self.value(item, (*keys, index)))
            return items
        try:
            return _SCALARS[kind](node.value)
        except (KeyError, TypeError, ValueError):
            raise self.error(keys, line, f"the tag !{kind.lstrip('!')} does not belong here; remove it") from None

    def error(self, keys: Keys, line: int, complaint: str) -> StationFileError:
        return _error(self.document.path, line, keys, complaint)


def _error(path: Path, line: int, keys: Sequence[Key], complaint: str) -> StationFileError:
    sentence = " ".join((f"{dotted(keys)}: {complaint}" if keys else complaint).split())
    return StationFileError(f"{path}:{line}: {sentence if len(sentence) <= 500 else sentence[:500] + ' ...'}")


def _integer(text: str) -> int | float:
    return int(text) if len(text) < 300 else math.inf


_SCALARS = {
    "str": str,
    "int": _integer,
    "float": lambda text: float(text.replace(".inf", "inf").replace(".nan", "nan")),
    "bool": lambda text: {"true": True, "false": False}[text],
    "null": lambda text: None,
}


def _keys_in(data: Any, location: Sequence[Key], missing: bool) -> Keys:
    """pydantic's location without the parts that are not keys of the file (names of alternatives)."""
    keys: list[Key] = []
    for part in location:
        if isinstance(data, dict) and part in data:
            keys.append(part)
            data = data[str(part)]
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            keys.append(part)
            data = data[part]
    return (*keys, location[-1]) if missing else tuple(keys)


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:50] + "..."
