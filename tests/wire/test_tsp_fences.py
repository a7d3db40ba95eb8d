"""Whatever a client sends to a TSP instrument: an answer or an error in bounded time, no way to Python, no move."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulators.wire.keithley2600 import make_2614b
from simulators.wire.scpi import LINE_CAP

from .conftest import ResistorWorld


@pytest.fixture
def smu() -> Any:
    return make_2614b("smu", ResistorWorld())


def is_well(smu: Any) -> bool:
    """Whether it still measures, and has moved nothing."""
    smu.errors.clear()
    answer = smu.handle(b"print(smua.source.output, smua.source.levelv, smub.measure.i())")
    return answer == b"\t".join([b"%.16e" % 0] * 3) + b"\n" and not smu.errors


ENDLESS = [
    "while true do end",
    "repeat local ok = pcall(function() while true do end end) until false",
    "while true do pcall(pcall, error) end",
    "local function f() return pcall(f) end while true do f() end",
    "local function f() return f() end f()",
    "local function f() return 1 + f() end f()",
    "local t = setmetatable({}, {__index = function(t, k) return t[k + 1] end}) return t[1]",
    "for n = 1, 1e12 do end",
    "table.sort({3, 1, 2}, function() while true do end end)",
    "string.gsub(string.rep('a', 1000), 'a', function() while true do end end)",
    "error(setmetatable({}, {__tostring = function() while true do end end}))",
    "print(setmetatable({}, {__tostring = function() while true do end end}))",
    "string.find(string.rep('a', 5000), string.rep('.-', 30) .. 'b')",
    "string.find(string.rep('a', 300000), '.-.-b')",
    "string.rep('', 1e15)",
    "table.insert({}, -2e9, 1)",
    "x = unpack({}, 1, 1e9)",
    "x = table.concat({}, '', 1, 1e9)",
]
HUGE = [
    "local s = 'x' while true do s = s .. s end",
    "big = {} for n = 1, 1e9 do big[n] = 'entry ' .. n end",
    "while true do pcall(function() local s = 'x' while true do s = s .. s end end) end",
    "local s = 'x' for n = 1, 60 do pcall(function() s = s .. s end) print(smua.source.levelv, #s) end",
    "t = {} for n = 1, 400 do pcall(function() t[n] = string.rep('x', 2 ^ (20 - n / 20)) end) beeper.beep(1, 1) end",
    "x = string.rep('x', 1e12)",
    "while true do print('flood') end",
    "while true do smua.makebuffer(1000) end",
    "while true do dataqueue.add(1) end",
    "smua.measure.count = 1e5 smua.nvbuffer1.appendmode = 1 while true do smua.measure.i(smua.nvbuffer1) end",
]
ESCAPES = [
    "os.exit()",
    "io.open('/etc/passwd')",
    "require('os')",
    "package.loadlib('x', 'y')",
    "dofile('/etc/passwd')",
    "python.eval('1')",
    "debug.getregistry()",
    "getfenv(print)",
    "string.dump(print)",
    "getmetatable(smua).__index.x = 1",
    "setmetatable(smua, {})",
    "rawset(_G, 'x', smua.measure.i.__class__)",
    "smua.__class__ = 1",
    "x = smua.source['__init__']",
    "x = smua[smub]",
    "smua[{}] = 1",
    "smua.measure.i(print)",
    "smua.measure.i({})",
    "smua.measure.i(smua)",
    "display.settext(_G)",
    "newproxy(true)",
    "coroutine.wrap(function() while true do end end)()",
    "loadstring('\\27Lua')()",
    "delay(-1)",
    "delay(0/0)",
    "delay(1e300)",
    "delay()",
    "errorqueue.next.x = 1",
]
CAUGHT = ("local s = 'x' for n = 1, 60 do pcall(function() s = s .. s end) print(smua.source.levelv, #s) end",)
"""The script itself catches what it meets."""


@pytest.mark.parametrize("line", [*ENDLESS, *HUGE, *ESCAPES])
def test_a_hostile_line_ends_in_an_error_and_the_instrument_is_well(line, smu):
    smu.seconds = 0.3
    smu.handle(line.encode())
    assert smu.errors or line in CAUGHT
    assert all("not simulated" not in message for _, message in smu.errors)
    assert is_well(smu)


def test_a_line_that_only_talks_to_the_instrument_is_ended_by_the_clock(smu):
    smu.seconds = 0.2
    smu.handle(b"while true do x = smua.source.levelv end")
    assert [code for code, _ in smu.errors] == [-286]
    smu.handle(b"smua.measure.count = 140000 while true do smua.measure.i() end")
    assert smu.errors[-1][0] == -286
    smu.handle(b"smua.measure.count = 1")
    assert is_well(smu)


def test_nothing_of_python_is_to_be_seen_in_any_value(smu):
    """Every value that Lua can reach from its globals is of Lua's own types; Python's objects would be userdata."""
    walk = """
    local seen, found = {}, 0
    local function look(value)
      if type(value) == 'userdata' or type(value) == 'thread' then found = found + 1 end
      if seen[value] then return end
      seen[value] = true
      if type(value) == 'table' then for k, v in next, value do look(k) look(v) end end
    end
    look(_G)
    local fine, problem = pcall(function() return smua.nothing end)
    look(problem)
    look(select(2, pcall(smua.measure.i, print)))
    look({errorqueue.next()})
    look(getmetatable(smua))
    look(getmetatable(''))
    print(found, type(problem), getmetatable(smua))
    """
    assert smu.handle(" ".join(walk.split()).encode()) == b"%.16e\tstring\tlocked\n" % 0


def test_a_script_without_an_end_and_a_line_without_an_end(smu):
    smu.handle(b"loadscript long")
    for _ in range(10_001):
        smu.handle(b"x = 1")
    assert smu.errors.pop()[0] == -223
    smu.handle(b"x" * (LINE_CAP + 1))
    assert smu.errors.pop()[0] == -363
    assert is_well(smu)


def test_the_names_a_client_breaks_are_whole_after_a_reboot(smu):
    smu.handle(b"print = nil smua = nil string.find = nil errorqueue = nil reset = nil")
    smu.reboot()
    assert is_well(smu)
    assert smu.handle(b"print(string.find('abc', 'c'))") == b"%.16e\t%.16e\n" % (3, 3)


_VOCABULARY = r"""
smua smub . .. ... ( ) [ ] { } = == ~= + - * / ^ % # ; , : source measure levelv limiti output i v nvbuffer1 readings
makebuffer print printbuffer errorqueue next while true do end repeat until for if then else function local return nil
pcall error 1 0 -1 1e999 0x 'text " [[ ]] --[[ -- \ loadscript endscript loadandrunscript abort *IDN? *RST *ESE
format data display settext setmetatable __index string gsub rep unpack script run
"""
_WORDS = st.sampled_from([*_VOCABULARY.split(), "\0", "\t", "\xff"])
_LINES = st.one_of(
    st.lists(_WORDS, max_size=12).map(" ".join),
    st.lists(_WORDS, max_size=12).map("".join),
    st.text(max_size=60),
)


def _feed(lines: list[str]) -> None:
    smu = make_2614b("smu", ResistorWorld())
    smu.seconds = 0.5
    for line in lines:
        reply = smu.handle(line.encode("utf-8", "replace"))
        assert reply is None or reply.endswith(b"\n")
        assert all(-1000 < code < 2000 and "not simulated" not in message for code, message in smu.errors)
    smu.reboot()
    assert is_well(smu)


@given(st.lists(_LINES, min_size=1, max_size=20))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_malformed_lines_do_no_harm(lines):
    _feed(lines)


@pytest.mark.slow
@given(st.lists(_LINES, min_size=20, max_size=20))
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_ten_thousand_malformed_lines_do_no_harm(lines):
    _feed(lines)
