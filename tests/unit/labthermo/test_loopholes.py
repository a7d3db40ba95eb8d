"""Ways in which an input could let a device without NDC pass are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from labthermo import Station
from labthermo.config import load_station

EXAMPLES = Path(__file__).parents[3] / "examples"
MAKEUP = """  - for: {k: [1, 2]}                   # make-up: pyruvate comes and goes without changing the dilution
    name: "makeup{k}"
    flow: [solvent, well]
    rate: {value: 50 uL/min, by: {"u{k}": -1}}
"""


def loopholes(folder: Path, *changes: tuple[str, str, str]) -> list[str]:
    for file in (EXAMPLES / "ldh_one_well").glob("*.yaml"):
        text = file.read_text(encoding="utf-8")
        for name, old, new in changes:
            if name == file.name:
                assert old in text
                text = text.replace(old, new)
        (folder / file.name).write_text(text, encoding="utf-8")
    return Station(load_station(folder / "station.yaml"), "model").loopholes()


@pytest.mark.parametrize("name", ["ldh_one_well", "ldh_two_wells", "sine"])
def test_the_examples_have_none(name):
    assert Station(EXAMPLES / name / "station.yaml", "model").loopholes() == []


def test_no_make_up_flow(tmp_path):
    found = loopholes(tmp_path, ("one_well.yaml", MAKEUP, ""))
    assert [text.split(":")[0] for text in found] == ["no make-up flow"] * 2
    assert "u1 also dilutes well" in found[0]


def test_a_complementary_feed(tmp_path):
    other = MAKEUP.replace("flow: [solvent, well]", "flow: [nadh_stock, well]")
    found = loopholes(tmp_path, ("one_well.yaml", MAKEUP, other))
    assert "complementary feed: nadh_stock brings nadh as u1 takes it away" in found[0]


def test_an_input_that_absorbs_by_itself(tmp_path):
    change = ("station.yaml", "extinction: {nadh: 6220 1/M/cm}", "extinction: {nadh: 6220 1/M/cm, pyruvate: 8 1/M/cm}")
    (first, second) = loopholes(tmp_path, change)
    assert first.startswith("pyruvate's own absorbance: u1 brings pyruvate, which absorbs at 340 nm where well is read")
    assert "u2" in second


def test_an_input_that_pumps_from_a_vessel(tmp_path):
    drain = MAKEUP + "  - {name: drain, flow: [well, waste], rate: u1}\n"
    assert loopholes(tmp_path, ("one_well.yaml", MAKEUP, drain)) == [
        "transfer: u1 moves liquid out of well, and so changes how long everything stays there; let it pump a stock"
    ]
