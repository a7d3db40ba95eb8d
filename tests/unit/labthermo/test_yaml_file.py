"""YAML is read strictly, every key knows its line, and every complaint is one line that says what to do."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import pytest
from pydantic import Field

from labthermo.errors import StationFileError
from labthermo.quantity import Volts
from labthermo.yaml_file import LARGEST_FILE, Section, dotted, read_yaml, suggest, validate


@pytest.fixture
def write(tmp_path):
    def write_file(text):
        path = tmp_path / "a.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write_file


def complaint(function, *arguments):
    with pytest.raises(StationFileError) as caught:
        function(*arguments)
    text = str(caught.value)
    assert "\n" not in text
    return text.partition("a.yaml")[2]


def test_values_and_lines(write):
    document = read_yaml(write("# first\na: 1\nb:\n  - x\n  - {c: 2 mV,\n     d: [true, null]}\n"))
    assert document.data == {"a": 1, "b": ["x", {"c": "2 mV", "d": [True, None]}]}
    assert document.lines == {
        ("a",): 2,
        ("b",): 3,
        ("b", 0): 4,
        ("b", 1): 5,
        ("b", 1, "c"): 5,
        ("b", 1, "d"): 6,
        ("b", 1, "d", 0): 6,
        ("b", 1, "d", 1): 6,
    }
    assert document.line_of(("b", 1, "unknown")) == 5
    assert document.line_of(("unknown",)) == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("off", "off"),
        ("yes", "yes"),
        ("12:30", "12:30"),
        ("010", 10),
        ("1e9", 1e9),
        ("-2.5e-3", -2.5e-3),
        (".5", 0.5),
        ("2026-11-23", "2026-11-23"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("-.inf", -math.inf),
        ("1" * 400, math.inf),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("", None),
        ("~", None),
    ],
)
def test_words_stay_words_and_numbers_are_decimal(write, text, value):
    read = read_yaml(write(f"a: {text}\n")).data["a"]
    assert read == value
    assert type(read) is type(value)


def test_aliases_are_copies(write):
    document = read_yaml(write("a: &x {n: 1}\nb: *x\n"))
    assert document.data == {"a": {"n": 1}, "b": {"n": 1}}
    assert document.data["a"] is not document.data["b"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", ":3: a: this key stands twice, first in line 1; remove one"),
        ("a: {b: 1, b: 2}\n", ":1: a.b: this key stands twice"),
        ("", ":1: the file is empty; it must be a mapping"),
        ("- 1\n", ":1: the file is a sequence; it must be a mapping"),
        ("a: [1\nb: 2\n", ":2: not valid YAML"),
        ("a: 1\n\tb: 2\n", ":2: not valid YAML"),
        ("a: 1\n---\nb: 2\n", ":2: not valid YAML: expected a single document"),
        ("a: *nothing\n", ":1: not valid YAML: found undefined alias"),
        ('"a\\nb": 1\n"a\\nb": 2\n', ":2: a b: this key stands twice"),
        (b"a: 1\nb: \xff\n", ":2: is not UTF-8 text; save it as UTF-8"),
        (b"a: 1\nb: \x07\n", ":2: contains a control character"),
        (
            "a: !!python/object/apply:os.system [echo]\n",
            ":1: a: the tag !python/object/apply:os.system does not belong",
        ),
        ("a: !!binary aGk=\n", ":1: a: the tag !binary does not belong"),
        ("a: !!int x\n", ":1: a: the tag !int does not belong"),
        ("? [a]\n: 1\n", ":1: a key must be a word"),
        ("a: &a [*a]\n", ":1: a[0][0]: nested deeper than 40 levels"),
        ("a: " + "[" * 5000, ":1: not valid YAML: nested too deeply"),
        ("a: " + "[" * 60 + "]" * 60, ":1: a[0][0]: nested deeper"),
    ],
)
def test_refused(write, text, expected):
    assert complaint(read_yaml, write(text)).startswith(expected)


def test_aliases_are_bounded(write):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "more than 100000 values" in complaint(read_yaml, write("\n".join(lines)))


def test_size_is_bounded(write):
    assert complaint(read_yaml, write("a: " + "x" * LARGEST_FILE)).startswith(": is larger than 1 MiB")


def test_missing_file_and_folder(tmp_path):
    assert complaint(read_yaml, tmp_path / "a.yaml") == ": cannot be read: No such file or directory; check the path"
    (tmp_path / "a.yaml").mkdir()
    assert complaint(read_yaml, tmp_path / "a.yaml") == ": cannot be read: Is a directory; check the path"


class Circle(Section):
    shape: Literal["circle"]
    radius: Volts


class Square(Section):
    shape: Literal["square"]
    side: Volts


class Drawing(Section):
    title: str
    mode: Literal["fast", "slow"] = "fast"
    window: tuple[Volts, Volts] = (0.0, 1.0)
    shapes: dict[str, list[Annotated[Circle | Square, Field(discriminator="shape")]]] = Field(default={})


def test_valid(write):
    drawing = validate(read_yaml(write("title: t\nshapes: {s: [{shape: circle, radius: 2 mV}]}\n")), Drawing)
    assert drawing.shapes["s"][0] == Circle(shape="circle", radius=0.002)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("titel: t\n", ":1: titel: unknown key; did you mean 'title'?"),
        ("title: t\nzzz: 1\n", ":2: zzz: unknown key; known: mode, shapes, title, window"),
        ("\nmode: fast\n", ":1: title: is missing; add it"),
        ("title: t\nmode: fsat\n", ":2: mode: 'fsat' is not allowed here; did you mean 'fast'?"),
        ("title: t\nwindow: 3\n", ":2: window: 3 is not a list; write [...]"),
        ("title: t\nwindow: [1 mV,\n  1 mA]\n", ":3: window[1]: '1 mA' is not in V; write a number in V"),
        (
            "title: t\nshapes: {s: [{shape: circel}]}\n",
            ":2: shapes.s[0].shape: 'circel' is unknown; did you mean 'circle'?",
        ),
        ("title: t\nshapes: {s: [{}]}\n", ":2: shapes.s[0].shape: is missing; add it"),
        (
            "title: t\nshapes:\n  s:\n  - {shape: square,\n     sides: 1}\n",
            ":5: shapes.s[0].sides: unknown key; did you mean 'side'?",
        ),
        ("title: t\nshapes: {s: [{shape: square}]}\n", ":2: shapes.s[0].side: is missing; add it"),
        ("title: t\nshapes: {s: [5]}\n", ":2: shapes.s[0]: 5 is not a mapping; write key: value"),
        ("title: [1]\nmode: x\n", ":1: title: a list: should be a valid string (and 1 more)"),
    ],
)
def test_complaints_point_at_file_line_and_key(write, text, expected):
    assert complaint(validate, read_yaml(write(text)), Drawing).startswith(expected)


def test_long_values_do_not_flood_the_screen(write):
    assert len(complaint(validate, read_yaml(write(f"title: t\n{'x' * 1000}: 1\n")), Drawing)) < 600


def test_suggest_and_dotted():
    assert suggest("devider", ["divider", "gain"]) == "did you mean 'divider'?"
    assert suggest("zzz", ["gain", "divider"]) == "known: divider, gain"
    assert dotted(("device", "limits", "pairs", 0, "of")) == "device.limits.pairs[0].of"
