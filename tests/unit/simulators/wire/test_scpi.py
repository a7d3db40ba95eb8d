import struct

import pytest

from simulators.wire.keithley2450 import Keithley2450Personality
from simulators.wire.keysight34465a import Keysight34465APersonality
from simulators.wire.qdac2 import Qdac2Personality
from simulators.wire.scpi import (
    LINE_CAP,
    QUEUE_LENGTH,
    ScpiError,
    ScpiPersonality,
    Setting,
    bytes_missing,
    command,
    read_channels,
    read_floats,
    read_number,
    split,
)


class Toy(ScpiPersonality):
    """Has one of everything."""

    identity = "Maker,Toy,SIM-1,1.0"
    channels = 4
    settings = (
        Setting("range", "[SENSe:]VOLTage[:DC]:RANGe[:UPPer]", 10.0, low=0.1, high=1000.0),
        Setting("count", "SAMPle:COUNt", 1, low=1, high=100),
        Setting("auto", "[SENSe:]VOLTage[:DC]:RANGe:AUTO", True),
        Setting("mode", "SOURce#:MODE", "FIX", choices=("FIXed", "LIST")),
        Setting("label", "DISPlay:TEXT[:DATA]", ""),
    )

    def __init__(self) -> None:
        super().__init__()
        self.levels: dict[int, float] = {}

    def reset(self) -> None:
        self.levels.clear()

    @command("SOURce#:VOLTage[:LEVel]")
    def _set_level(self, number: int, level: str, delay: str = "0") -> None:
        read_number(delay)
        self.levels[number] = read_number(level, low=-1, high=1)

    @command("SOURce#:VOLTage[:LEVel]?")
    def _get_level(self, number: int) -> str:
        return self.show(self.levels.get(number, 0.0))

    @command("MEASure[:CURRent]?")
    def _measure(self, buffer: str = "'one'") -> str:
        return buffer

    @command("BROKen?")
    def _break(self) -> str:
        raise ZeroDivisionError


class NotSplitting(Toy):
    """Takes a whole message for one command."""

    splits_compounds = False


@pytest.fixture
def toy() -> Toy:
    return Toy()


def ask(personality: ScpiPersonality, message: str) -> str | None:
    reply = personality.handle(message.encode("latin-1"))
    assert reply is None or reply.endswith(b"\n")
    return None if reply is None else reply[:-1].decode("latin-1")


@pytest.mark.parametrize(
    "query",
    [
        "SENS:VOLT:DC:RANG:UPP?",
        "SENSe:VOLTage:DC:RANGe:UPPer?",
        "sense:volt:dc:range?",
        ":VOLTage:RANG?",
        "  volt:rang?  ",
        "VOLT:RANG? DEF",
        "*RST;:volt:rang?",
    ],
)
def test_long_and_short_forms_any_case_optional_nodes(toy, query):
    assert ask(toy, query) == "+1.00000000E+01"


@pytest.mark.parametrize("query", ["VOL:RANG?", "VOLTA:RANG?", "VOLT:RANG", "RANG?", "VOLT::RANG?", "::VOLT:RANG?"])
def test_a_header_in_between_the_forms_is_undefined_and_is_not_answered(toy, query):
    assert ask(toy, query) is None
    assert list(toy.errors) in ([-113], [-109])


def test_numeric_suffixes_and_channel_lists(toy):
    ask(toy, "sour3:volt 0.5")
    ask(toy, "source:volt:lev -0.25, 1")
    assert toy.levels == {3: 0.5, 1: -0.25}
    ask(toy, "sour:volt 1,(@2,4)")
    assert toy.levels == {3: 0.5, 1: -0.25, 2: 1.0, 4: 1.0}
    assert ask(toy, "sour:volt? (@1:3)") == "-2.50000000E-01,+1.00000000E+00,+5.00000000E-01"
    assert ask(toy, "sour5:volt?") is None
    assert list(toy.errors) == [-114]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("SAMP:COUN", -109),
        ("SAMP:COUN 1,2", -108),
        ("SAMP:COUN soon", -104),
        ("SAMP:COUN 1e9", -222),
        ("SAMP:COUN nan", -104),
        ("SOUR1:MODE odd", -224),
        ("DISP:TEXT bare", -104),
        ("SOUR1:VOLT", -109),
        ("SOUR1:VOLT 1,2,3", -108),
        ("SOUR1:VOLT 2", -222),
        ("MEAS? 'a','b'", -108),
        ("NO:SUCH?", -113),
        ("\x01\xff\x00", -101),
        ("BROK?", -300),
    ],
)
def test_refusals_go_to_the_error_queue_and_are_not_answered(toy, message, code):
    assert ask(toy, message) is None
    assert list(toy.errors) == [code]
    assert ask(toy, "SYST:ERR:COUN?") == "+1"
    assert ask(toy, "SYSTem:ERRor:NEXT?").startswith(f'{code},"')
    assert ask(toy, "SYST:ERR?") == '+0,"No error"'


def test_min_max_def_and_words(toy):
    for argument, shown in (("MIN", "+1"), ("MAXIMUM", "+100"), ("def", "+1"), ("5E1", "+50")):
        ask(toy, f"SAMP:COUN {argument}")
        assert ask(toy, "SAMP:COUN?") == shown
    assert ask(toy, "SAMP:COUN? MAX") == "+100"
    assert ask(toy, "SAMP:COUN?") == "+50"
    ask(toy, "sour2:mode list")
    assert ask(toy, "sour2:mode?;:sour1:mode?") == "LIST;FIX"
    ask(toy, "volt:rang:auto 0")
    assert ask(toy, "volt:rang:auto?") == "0"


def test_compounds_follow_the_path_of_the_command_before(toy):
    ask(toy, ":SENS:VOLT:RANG:UPP 1;AUTO OFF")
    assert ask(toy, "SENS:VOLT:RANG:UPP?;AUTO?;*IDN?;AUTO?") == "+1.00000000E+00;0;Maker,Toy,SIM-1,1.0;0"
    assert ask(toy, "VOLT:RANG:AUTO?;:SAMP:COUN?") == "0;+1"
    assert ask(toy, "VOLT:RANG:AUTO?;SAMP:COUN?") == "0"  # VOLT:RANG:SAMP:COUN is none
    assert list(toy.errors) == [-113]


def test_a_command_error_ends_the_message_but_an_execution_error_does_not(toy):
    assert ask(toy, "*OPC?;:NO;:SAMP:COUN?") == "1"
    assert ask(toy, "*OPC?;:SAMP:COUN 1e9;:SAMP:COUN?") == "1;+1"


def test_quotes_protect_separators(toy):
    ask(toy, "DISP:TEXT 'a;b,c'")
    assert ask(toy, "DISP:TEXT?") == '"a;b,c"'
    assert ask(toy, "MEAS? 'defbuffer1'") == "'defbuffer1'"


def test_a_personality_may_keep_compounds_together():
    toy = NotSplitting()
    assert ask(toy, "*OPC?;*IDN?") is None
    assert list(toy.errors) == [-113]


def test_status_registers_and_power_on(toy):
    assert ask(toy, "*ESR?") == "+128"
    assert ask(toy, "*ESR?") == "+0"
    ask(toy, "*ESE 32;*SRE 32;:NO:SUCH")
    assert ask(toy, "*STB?") == "+100"  # queue 4, event 32, request 64
    ask(toy, "*OPC")
    assert ask(toy, "*ESR?") == "+33"
    ask(toy, "*CLS")
    assert ask(toy, "*STB?;*ESE?;*SRE?;*OPC?;*TST?;*OPT?") == "+0;+32;+32;1;+0;0"


def test_the_queue_overflows_into_350(toy):
    for _ in range(QUEUE_LENGTH + 5):
        ask(toy, "NO:SUCH")
    assert list(toy.errors) == [-113] * (QUEUE_LENGTH - 1) + [-350]


def test_reset_restores_settings(toy):
    ask(toy, "SAMP:COUN 7;:SOUR2:VOLT 1;*RST")
    assert ask(toy, "SAMP:COUN?;:SOUR2:VOLT?") == "+1;+0.00000000E+00"


def test_a_message_beyond_the_cap_is_thrown_away(toy):
    assert toy.handle(b"*IDN?" + b" " * LINE_CAP) is None
    assert list(toy.errors) == [-363]


def test_blocks():
    data = struct.pack("<3f", 0.5, -0.25, 0.01)
    assert b"\n" in data
    message = b"list:volt #212" + data
    assert bytes_missing(message) == 0
    cut = message.index(b"\n")
    assert bytes_missing(message[:cut]) == len(message) - cut
    assert bytes_missing(b'text "a #212"') == 0
    argument = "#212" + data.decode("latin-1")
    assert read_floats((argument,)) == pytest.approx([0.5, -0.25, 0.01])
    assert split(f"{argument},2", ",") == [argument, "2"]
    with pytest.raises(ScpiError, match="-161"):
        read_floats(("#213" + data.decode("latin-1"),))


def test_channel_lists():
    assert read_channels("(@3,5:7)") == (3, 5, 6, 7)
    assert read_channels("3") is None
    with pytest.raises(ScpiError, match="-102"):
        read_channels("(@3,)")


@pytest.mark.parametrize("personality", [Qdac2Personality, Keysight34465APersonality, Keithley2450Personality])
def test_no_personality_hides_a_method_of_the_base(personality):
    """A handler with the name of another one would silently take its place in the table."""
    shared = set(vars(personality)) & {name for name, value in vars(ScpiPersonality).items() if callable(value)}
    assert {name for name in shared if callable(getattr(personality, name))} - {"__init__", "reset"} == set()


@pytest.mark.parametrize("personality", [Qdac2Personality, Keysight34465APersonality, Keithley2450Personality])
def test_no_header_is_declared_twice(personality):
    headers = [entry.expression.pattern for entry in personality._table]
    assert sorted(headers) == sorted(set(headers))
