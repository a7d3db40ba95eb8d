"""Text with units becomes SI floats, exactly, or is refused: never silently something else."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Annotated

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from labthermo.errors import ParameterError
from labthermo.quantity import any_of, format_quantity, parse_quantity, quantity


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("10 mV", "V", 0.01),
        ("3mV", "V", 0.003),
        ("-60 mV", "V", -0.06),
        ("−60 mV", "V", -0.06),  # a typographic minus, which pint alone would drop
        ("10 %", "", 0.1),
        ("95 %", "", 0.95),
        ("50 fA", "A", 50e-15),
        ("260 nV/Hz**0.5", "V/Hz**0.5", 260e-9),
        ("260 nV/√Hz", "V/Hz**0.5", 260e-9),
        ("100 mV/s", "V/s", 0.1),
        ("1e9 1/s", "1/s", 1e9),
        ("11/s", "1/s", 11.0),
        ("1 GHz", "1/s", 1e9),
        ("1.68 meV", "eV", 1.68e-3),
        ("-0.05 eV/V", "eV/V", -0.05),
        ("1.5 K", "K", 1.5),
        ("10 pF", "F", 10e-12),
        ("3.6 Mohm", "ohm", 3.6e6),
        ("3.6 MΩ", "ohm", 3.6e6),
        ("277.8 nS", "S", 277.8e-9),
        ("130 µV", "V", 130e-6),
        ("130 μV", "V", 130e-6),
        ("20 ms", "s", 0.02),
        ("1e-3", "V", 1e-3),
        (2, "V", 2.0),
        (0.5, "V", 0.5),
        (np.float32(0.5), "V", 0.5),
        (np.int64(3), "V", 3.0),
    ],
)
def test_values_are_exact(text, unit, value):
    assert parse_quantity(text, unit) == value


def test_litres_per_minute():
    assert parse_quantity("60 uL/min", "L/s") == pytest.approx(1e-6, rel=1e-12)


@pytest.mark.parametrize(
    "value",
    [
        "10 mA",  # another dimension
        "10 mv",  # case matters
        "1,5 mV",  # pint alone would read 15 mV
        "10 mV 2",
        "10 mV + 3 mV",
        "10 V;",
        "V/√Hz",
        "9**9**9",
        "1 V**9**9**9**9",
        "1 %",
        "nan",
        "nan V",
        "inf V",
        "1e999 V",
        "0x10",
        "",
        "mV",
        "ten mV",
        True,
        None,
        math.nan,
        math.inf,
        10**400,
        [1],
        np.True_,
        1j,
    ],
)
def test_refused_in_one_line(value):
    with pytest.raises(ParameterError, match="V") as caught:
        parse_quantity(value, "V")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 220


def test_complaint_names_value_unit_and_what_to_write():
    with pytest.raises(ParameterError, match=r"^'10 mA' is not in V; write a number in V, such as '10 mV'$"):
        parse_quantity("10 mA", "V")
    with pytest.raises(ParameterError, match="scale with an offset"):
        parse_quantity("20 degC", "K")
    with pytest.raises(ParameterError, match="plain ratio"):
        parse_quantity("20 V", "")


@given(st.text(max_size=20))
def test_any_text_is_a_number_or_refused(text):
    try:
        value = parse_quantity(text, "V")
    except ParameterError:
        return
    assert math.isfinite(value)
    assert any(digit.isdigit() for digit in text)


@given(st.floats(min_value=1e-17, max_value=1e13), st.booleans(), st.sampled_from(["V", "A", "ohm", "V/s"]))
def test_format_then_parse_returns_the_value(size, negative, unit):
    value = -size if negative else size
    text = format_quantity(value, unit, digits=6)
    assert parse_quantity(text, unit) == pytest.approx(value, rel=1e-5)
    assert len(text.lstrip("-")) <= 14


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.68e-3, "V", "1.68 mV"),
        (50e-15, "A", "50 fA"),
        (3.6e6, "ohm", "3.6 MΩ"),
        (0.99999999, "V", "1 V"),
        (1e-6, "V", "1 µV"),
        (-0.06, "V", "-60 mV"),
        (3600, "s", "3600 s"),
        (0.02, "s", "20 ms"),
        (1e9, "1/s", "1e9 1/s"),
        (0.1, "%", "10 %"),
        (0.999996, "%", "100 %"),
        (0.1, "", "0.1"),
        (0, "V", "0 V"),
        (math.nan, "V", "nan V"),
        (math.inf, "A", "inf A"),
    ],
)
def test_format(value, unit, text):
    assert format_quantity(value, unit) == text


def test_bounds_are_checked_and_quoted_with_their_unit():
    adapter = TypeAdapter(Annotated[float, quantity("V", minimum=-0.06, maximum=0.06)])
    assert adapter.validate_python("60 mV") == 0.06
    with pytest.raises(ValidationError, match=r"60\.001 mV is out of bounds; it must be at most 60 mV"):
        adapter.validate_python("60.001 mV")
    with pytest.raises(ValidationError, match="at least -60 mV"):
        adapter.validate_python(-1)
    with pytest.raises(ParameterError, match="above 0 V"):
        quantity("V", above=0)("0 mV")


def test_json_schema_carries_unit_and_bounds():
    schema = TypeAdapter(Annotated[float, quantity("V", above=0, maximum=2)]).json_schema()
    assert schema["unit"] == "V"
    assert {"type": "number", "maximum": 2, "exclusiveMinimum": 0} in schema["anyOf"]
    assert {"type": "string"} in schema["anyOf"]


def test_bare_numbers_do_not_import_pint():
    code = (
        "import sys\n"
        "from labthermo.quantity import format_quantity, parse_quantity\n"
        "parse_quantity(1, 'V'), parse_quantity('0.5', 'V'), format_quantity(1e-3, 'V')\n"
        "sys.exit(sorted({'pint', 'pydantic'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (50e-6 / 60, "L/s", "50 µL/min"),
        (0.0, "L/s", "0 L/min"),
        (0.5e-6 / 60, "L/s", "500 nL/min"),
        (-6e-3 / 60, "L/s", "-6 mL/min"),
        (100e-6 / 60, "L/s/s", "100 µL/min/s"),
        (100e-6 / 60, "L/s**2", "100 µL/min/s"),
        (1e-6, "mol/L/s", "1 µmol/L/s"),
    ],
)
def test_flows_are_shown_per_minute_and_can_be_read_back(value: float, unit: str, shown: str) -> None:
    assert format_quantity(value, unit) == shown
    if unit != "L/s/s":
        assert parse_quantity(shown, unit) == pytest.approx(value, rel=1e-12)


def test_a_number_in_one_of_several_units_says_in_which_it_was_written() -> None:
    level = any_of(("V", "L/s", "OD"))
    for text, value, unit in (("2 mV", 2e-3, "V"), ("60 uL/s", 60e-6, "L/s"), ("4 mOD", 4e-3, "OD"), ("0.5", 0.5, "")):
        got = level(text)
        assert (float(got), got.unit) == (pytest.approx(value, rel=1e-12), unit)
        assert level(got) is got
    assert level(3).unit == ""
    with pytest.raises(ParameterError, match="is not in V"):
        level("1 mA")
    with pytest.raises(ParameterError, match="must be above"):
        any_of(("V", "L/s"), above=0)("0 uL/min")
    with pytest.raises(ParameterError, match="not a finite number"):
        level(math.inf)
