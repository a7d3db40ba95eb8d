"""Every adapter that is registered, over the wire, against the public conformance check and the rules for all."""

from __future__ import annotations

import binascii
import logging
from pathlib import Path

import pytest

from labthermo import Station, plugins
from labthermo.testing import check_docstrings, check_instrument
from simulators.bench import personality_names

from .conftest import Bench, every_driver

DRIVERS = every_driver()
SAF0 = binascii.crc_hqx(b"0SAF0", 0).to_bytes(2, "big")
SENT_WHILE_OPENING: dict[str, set[bytes]] = {
    "keithley2400": {b":FORMAT:ELEMENTS VOLTAGE, CURRENT, RESISTANCE, TIME, STATUS"},  # what a reading consists of
    "keysight34465a": {b'DISPLAY:TEXT ""'},  # the stock driver clears the display
    # questions without a question mark; the packet leaves safe mode, in which the stock driver does not talk
    "ne1000": {b"\x02\x090SAF0" + SAF0 + b"\x03", *(b"0%b\r" % q for q in (b"", b"VER", b"SIM", b"DIA", b"RAT"))},
    "spectramax": {b"!\r", b"!OPTION\r"},
}
"""What an adapter's driver may send while it opens beside questions, and why it changes nothing that matters."""


@pytest.mark.parametrize("driver", DRIVERS)
def test_it_conforms(bench: Bench, driver: str) -> None:
    check_instrument(lambda: bench.open(driver), lambda: bench.messages[bench.name_of(driver)])


@pytest.mark.parametrize("driver", DRIVERS)
def test_opening_and_closing_moves_nothing(bench: Bench, driver: str) -> None:
    log, sent = len(bench.twin.read_log()), len(bench.messages[bench.name_of(driver)])
    adapter = bench.open(driver)
    text = repr(adapter)
    assert adapter.name in text or type(adapter).__name__ in text
    adapter.close()
    assert bench.twin.read_log()[log:] == []
    told = {m for m in bench.messages[bench.name_of(driver)][sent:] if b"?" not in m and b"print" not in m.lower()}
    assert told <= SENT_WHILE_OPENING.get(driver, set())


@pytest.mark.parametrize("driver", DRIVERS)
def test_its_serial_number_says_that_it_is_simulated(bench: Bench, driver: str) -> None:
    adapter = bench.open(driver)
    adapter.close()
    assert adapter.identity.simulated


def test_every_driver_has_a_simulated_instrument_and_every_one_of_these_a_driver() -> None:
    assert set(personality_names()) == set(plugins.names("labthermo.instruments"))


@pytest.mark.parametrize("driver", DRIVERS)
def test_its_docstrings_say_what_in_which_unit_and_range(driver: str) -> None:
    check_docstrings(plugins.load("labthermo.instruments", driver))


def test_every_adapter_says_that_it_has_not_met_its_hardware(
    bench: Bench, every_station: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On instruments that do not say that they are simulated; see tests/end_to_end/test_commissioning.py."""
    text = every_station.read_text(encoding="utf-8").replace("backend: wire", "backend: real")
    for name, section in bench.config.instruments.items():
        text = text.replace(f'"{section.address}"', f'"{bench.twin.addresses[name]}"')
        personality = bench.personality(section.driver)
        monkeypatch.setattr(personality, "identity", personality.identity.replace("SIM", "S"))
    (tmp_path / "station.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "ndc_dots.yaml").write_bytes(every_station.with_name("ndc_dots.yaml").read_bytes())
    with caplog.at_level(logging.WARNING, "labthermo.instruments"), Station(tmp_path / "station.yaml").by_hand():
        pass
    said = {record.getMessage().partition(":")[0] for record in caplog.records if "has not met" in record.getMessage()}
    assert said == set(bench.config.instruments)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "needs a docstring"),
        ("The voltage, from -1 V to 1 V.", "must open with"),
        ("Set the voltage, from -1 to 1.", "unit"),
        ("Set the voltage (V).", "range"),
    ],
)
def test_a_poor_docstring_is_found(text: str, complaint: str) -> None:
    def set_voltage(self: object, voltage: float) -> None: ...

    set_voltage.__doc__ = text
    poor = type("Poor", (), {"__doc__": "An adapter.", "set_voltage": set_voltage})
    with pytest.raises(AssertionError, match=complaint):
        check_docstrings(poor)
