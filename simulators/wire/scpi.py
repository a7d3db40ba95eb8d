"""SCPI as instruments speak it: parsing, dispatch, status registers and the error queue.

A personality is a subclass of :class:`ScpiPersonality` that declares what it understands in two tables: `settings`,
for values that are only kept (``SAMPle:COUNt``), and methods under :func:`command`, for what does something. Patterns
are written as manuals print them: capitals are the short form, ``[...]`` may be left out, ``{a|b}`` is one or the
other, ``#`` is a numeric suffix (1 if left out) or a channel list at the end of the arguments. A query with no
command answers nothing at all and leaves -113 in the error queue, as the real thing does.

Rules: IEEE 488.2-1992 sections 7 and 11, SCPI-99 volume 1 sections 6 (syntax, path of ``;`` compounds) and volume 2
section 21.8 (error codes).
"""

from __future__ import annotations

import logging
import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, TypeVar

import numpy as np

LINE_CAP = 64 * 1024  # bytes; a longer message is thrown away whole
REMEMBERED = 500  # messages, of at most as many characters
QUEUE_LENGTH = 20  # errors; the last one then becomes -350

MESSAGES = {
    -101: "Invalid character",
    -102: "Syntax error",
    -104: "Data type error",
    -108: "Parameter not allowed",
    -109: "Missing parameter",
    -113: "Undefined header",
    -114: "Header suffix out of range",
    -161: "Invalid block data",
    -211: "Trigger ignored",
    -214: "Trigger deadlock",
    -221: "Settings conflict",
    -222: "Data out of range",
    -224: "Illegal parameter value",
    -230: "Data corrupt or stale",
    -300: "Device-specific error",
    -350: "Queue overflow",
    -363: "Input buffer overrun",
}

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_BLOCK = re.compile(r"#([1-9])")
_CHANNELS = re.compile(r"\(@([\d,:\s]*)\)")

_F = TypeVar("_F", bound=Callable[..., Any])


class ScpiError(Exception):
    """A command that is refused; its code goes to the error queue."""

    def __init__(self, code: int, detail: str = "") -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail


# ----------------------------------------------------------------------------------------------- reading arguments


def split(text: str, separator: str) -> list[str]:
    """Split at `separator`, but not inside quotes, parentheses or a definite-length binary block.

    >>> split("(@1,2),'a,b',3", ",")
    ['(@1,2)', "'a,b'", '3']
    """
    if not any(mark in text for mark in "\"'(#"):
        return text.split(separator)
    parts, start, i, depth, quote = [], 0, 0, 0, ""
    while i < len(text):
        char = text[i]
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char == "#" and (block := _block_end(text, i)):
            i = block
            continue
        elif char in "()":
            depth += 1 if char == "(" else -1
        elif char == separator and depth == 0:
            parts.append(text[start:i])
            start = i + 1
        i += 1
    parts.append(text[start:])
    return parts


def _block_end(text: str, start: int) -> int:
    """Index just behind the block ``#<digits><length><data>`` that starts at `start`; 0 if none does."""
    head = _BLOCK.match(text, start)
    if head is None:
        return 0
    digits = int(head.group(1))
    length = text[start + 2 : start + 2 + digits]
    return start + 2 + digits + int(length) if len(length) == digits and length.isdigit() else 0


def bytes_missing(message: bytes) -> int:
    """How many bytes a message that was cut at a newline still lacks, because the newline was inside a block."""
    if b"#" not in message:
        return 0
    text = message.decode("latin-1")
    quotes = 0
    for found in _BLOCK.finditer(text):
        quotes = text.count('"', 0, found.start())
        end = _block_end(text, found.start())
        if quotes % 2 == 0 and text[found.start() - 1 : found.start()] in (" ", ",") and end:
            return max(0, end - len(text))
    return 0


def read_number(text: str, *, low: float = -np.inf, high: float = np.inf, default: float | None = None) -> float:
    """A decimal number, or MIN, MAX, DEF, INF; -104 if it is none, -222 outside of `low` .. `high`."""
    word = text.strip().upper()
    named = {"MIN": low, "MINIMUM": low, "MAX": high, "MAXIMUM": high, "INF": np.inf, "INFINITY": np.inf}
    if default is not None:
        named |= {"DEF": default, "DEFAULT": default}
    if word in named:
        value = named[word]
    elif _NUMBER.fullmatch(word):
        value = float(word)
    else:
        raise ScpiError(-104, text)
    if not low <= value <= high:
        raise ScpiError(-222, text)
    return value


def read_switch(text: str) -> bool:
    """ON, OFF, 1 or 0."""
    word = text.strip().upper()
    if word in ("ON", "OFF"):
        return word == "ON"
    return read_number(word) != 0


def read_text(text: str) -> str:
    """A string in single or double quotes."""
    text = text.strip()
    if len(text) < 2 or text[0] not in "\"'" or text[-1] != text[0]:
        raise ScpiError(-104, text)
    return text[1:-1]


def read_choice(text: str, names: tuple[str, ...]) -> str:
    """One of `names` in its short or long form; returned as the short form."""
    for name in names:
        if re.fullmatch(_pattern_expression(name), text.strip(), re.IGNORECASE):
            return short_form(name)
    raise ScpiError(-224, text)


def read_floats(arguments: tuple[str, ...]) -> list[float]:
    """Numbers in text, or one IEEE 488.2 block of little-endian 32-bit floats, as PyVISA writes it."""
    if len(arguments) == 1 and (end := _block_end(arguments[0].lstrip(), 0)):
        block = arguments[0].lstrip()
        data = block[2 + int(block[1]) : end].encode("latin-1")
        if len(data) % 4 or end > len(block):
            raise ScpiError(-161)
        return [float(value) for value in np.frombuffer(data, "<f4")]
    return [read_number(argument) for argument in arguments]


@lru_cache(1024)  # the same few are asked for again and again
def read_channels(text: str) -> tuple[int, ...] | None:
    """The channels of ``(@1,3:5)``; None if `text` is no channel list."""
    found = _CHANNELS.fullmatch(text.strip())
    if found is None:
        return None
    channels: list[int] = []
    for part in found.group(1).split(","):
        first, _, last = part.partition(":")
        if not first.strip().isdigit() or (last and not last.strip().isdigit()):
            raise ScpiError(-102, text)
        channels.extend(range(int(first), int(last or first) + 1))
    return tuple(channels)


def short_form(name: str) -> str:
    """The capitals of a name as manuals print it: ``IMMediate`` gives ``IMM``."""
    return "".join(char for char in name if not char.islower())


# ------------------------------------------------------------------------------------------- declaring commands


def _pattern_expression(pattern: str) -> str:
    """The regular expression of a header pattern: ``SOURce#[:LEVel]?`` and so on."""
    out = []
    for word in re.findall(r"[A-Za-z]+|#|\d+|.", pattern):
        if word.isalpha():
            short = short_form(word)
            out.append(f"{short}(?:{word[len(short) :]})?" if len(short) < len(word) else word)
        else:
            out.append(
                {"[": "(?:", "]": ")?", "{": "(?:", "}": ")", "|": "|", "#": r"(\d*)"}.get(word) or re.escape(word)
            )
    return "".join(out)


def command(*patterns: str) -> Callable[[_F], _F]:
    """Declare a method to be what the instrument does on these headers.

    It is called with the numeric suffixes (int) and then the arguments (str); a query returns the reply.
    """

    def mark(method: _F) -> _F:
        method.scpi_patterns = patterns  # type: ignore[attr-defined]
        return method

    return mark


@dataclass(frozen=True)
class Setting:
    """A value that is kept, and asked for with the same header and a ``?``.

    `default` is its ``*RST`` value, and its type says what it takes: bool, int, float or str. `choices` are for
    words; without them a string stands in quotes. `low` and `high` bound a number.
    """

    name: str
    pattern: str
    default: bool | float | str
    low: float = -np.inf
    high: float = np.inf
    choices: tuple[str, ...] = ()

    def read(self, text: str) -> bool | float | str:
        """The value that an argument stands for."""
        if isinstance(self.default, bool):
            return read_switch(text)
        if isinstance(self.default, str):
            return read_choice(text, self.choices) if self.choices else read_text(text)
        value = read_number(text, low=self.low, high=self.high, default=self.default)
        return int(value) if isinstance(self.default, int) and np.isfinite(value) else value


@dataclass(frozen=True)
class _Entry:
    expression: re.Pattern[str]
    query: bool
    suffixed: bool
    method: str | None
    setting: Setting | None


class ScpiPersonality(ABC):
    """One instrument's end of the wire: give :meth:`handle` a message, get its reply.

    Beside the standard event register there is one more, `event_register` with `event_mask`, for what a maker calls
    measurement or extended events; ``*CLS`` clears it. The personality sets its bits, and answers for it.
    """

    identity: str
    settings: ClassVar[tuple[Setting, ...]] = ()
    number_form: ClassVar[str] = "{:+.8E}"
    integer_form: ClassVar[str] = "{:+d}"
    error_form: ClassVar[str] = '{code:+d},"{message}"'
    no_error: ClassVar[str] = '+0,"No error"'
    terminator: ClassVar[str] = "\n"  # of a reply
    channels: ClassVar[int] = 1  # highest numeric suffix
    splits_compounds: ClassVar[bool] = True
    messages: ClassVar[Mapping[int, str]] = MESSAGES  # with the maker's own, whose codes are positive
    event_bit: ClassVar[int] = 0  # of the status byte: set while `event_register` has a bit of `event_mask`
    _table: ClassVar[tuple[_Entry, ...]] = ()
    _defaults: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        table = []
        methods = {name: method for base in reversed(cls.__mro__) for name, method in vars(base).items()}
        for name, method in methods.items():
            for pattern in getattr(method, "scpi_patterns", ()):
                table.append(_entry(pattern, method=name))
        for setting in cls.settings:
            table += [_entry(setting.pattern, setting=setting), _entry(setting.pattern + "?", setting=setting)]
        cls._table = tuple(table)
        cls._defaults = {setting.name: setting.default for setting in cls.settings}

    def __init__(self) -> None:
        self.errors: deque[int] = deque()
        self.values: dict[tuple[str, int], Any] = {}
        self._event_status = 128  # power-on bit
        self._event_enable = self._service_enable = 0
        self.event_register = self.event_mask = 0
        self._found: dict[str, tuple[_Entry, tuple[int, ...]]] = {}  # headers already matched
        self._apart: dict[str, list[tuple[str, list[str]]]] = {}  # messages already taken apart

    @abstractmethod
    def reset(self) -> None:
        """Go to the ``*RST`` state, in the world too."""

    def reboot(self) -> None:
        """A power cycle: the ``*RST`` state, an empty error queue, and the power-on bit (IEEE 488.2, section 11.5)."""
        self.reset()
        self.errors.clear()
        self._event_status = 128
        self._event_enable = self._service_enable = 0
        self.event_register = self.event_mask = 0

    # ------------------------------------------------------------------------------------------------- messages

    def handle(self, message: bytes) -> bytes | None:
        """Execute one message (without its newline); its reply with its terminator, or None if it has none."""
        if len(message) > LINE_CAP:
            self.fail(-363)
            return None
        text = message.decode("latin-1")
        if "#" not in text:
            text = text.strip()
        replies = []
        units = self._apart.get(text)
        if units is None:
            units = list(self._units(text))
            if len(text) <= REMEMBERED:
                if len(self._apart) >= REMEMBERED:
                    self._apart.clear()
                self._apart[text] = units
        for header, arguments in units:
            try:
                reply = self._execute(header, arguments)
            except ScpiError as error:
                self.fail(error.code)
                if -200 < error.code < 0:  # a command error: what follows can no longer be trusted
                    break
            except Exception:  # a defect of the simulation must show, but not kill the other instruments
                logging.getLogger("simulators.wire").exception("%s: on %r", self.identity, text)
                self.fail(-300)
            else:
                if reply is not None:
                    replies.append(reply)
        return (";".join(replies) + self.terminator).encode("latin-1") if replies else None

    def _units(self, text: str) -> Iterator[tuple[str, list[str]]]:
        """Header and arguments of each command of a message, compounds resolved to their full path."""
        path = ""
        for unit in split(text, ";") if self.splits_compounds and ";" in text else (text,):
            header, _, rest = unit.lstrip().partition(" ")
            if not header:
                continue
            if header.startswith("*"):
                full = header
            else:
                full = header[1:] if header.startswith(":") else path + header
                path = full.rpartition(":")[0]
                path = path + ":" if path else ""
            yield full, split(rest, ",") if rest.strip() else []

    def _execute(self, header: str, arguments: list[str]) -> str | None:
        if header not in self._found:
            self._found[header] = self._find(header)
        entry, suffixes = self._found[header]
        targets = [suffixes]
        if entry.suffixed and arguments and (listed := read_channels(arguments[-1])) is not None:
            arguments = arguments[:-1]
            targets = [(channel, *suffixes[1:]) for channel in listed]
        replies = []
        for target in targets:
            if any(not 1 <= suffix <= self.channels for suffix in target):
                raise ScpiError(-114, header)
            replies.append(self._call(entry, target, arguments))
        return ",".join(reply for reply in replies if reply is not None) if entry.query else None

    def _find(self, header: str) -> tuple[_Entry, tuple[int, ...]]:
        for entry in self._table:
            match = entry.expression.fullmatch(header)
            if match:
                return entry, tuple(int(suffix or 1) for suffix in match.groups())
        raise ScpiError(-113 if header.isascii() and header.isprintable() else -101, header)

    def _call(self, entry: _Entry, suffixes: tuple[int, ...], arguments: list[str]) -> str | None:
        if entry.method is not None:
            method = getattr(self, entry.method)
            if (code := _call_fault(method, len(suffixes) + len(arguments))) is not None:
                raise ScpiError(code)
            return method(*suffixes, *arguments)
        setting = entry.setting
        assert setting is not None
        key = (setting.name, suffixes[0] if suffixes else 1)
        if entry.query:
            value = setting.read(arguments[0]) if arguments else self.values.get(key, setting.default)
            return self.show(value, quoted=not setting.choices)
        if len(arguments) != 1:
            raise ScpiError(-108 if arguments else -109)
        self.values[key] = setting.read(arguments[0])
        return None

    # ---------------------------------------------------------------------------------------------------- values

    def value(self, name: str, suffix: int = 1) -> Any:
        """The present value of the setting `name`."""
        key = (name, suffix)
        return self.values[key] if key in self.values else self._defaults[name]

    def show(self, value: bool | float | str, *, quoted: bool = False) -> str:
        """A value as this instrument prints it."""
        if isinstance(value, bool):
            return "1" if value else "0"
        if isinstance(value, str):
            return f'"{value}"' if quoted else value
        if isinstance(value, int):
            return self.integer_form.format(value)
        if not np.isfinite(value):
            return self.number_form.format(9.9e37 if value > 0 else -9.9e37)
        return self.number_form.format(value)

    # ---------------------------------------------------------------------------------------------------- status

    def fail(self, code: int) -> None:
        """Put an error in the queue and set its bit of the event status register."""
        self._event_status |= {1: 32, 2: 16, 3: 8, 4: 4}[-code // 100] if -500 < code <= -100 else 8
        if len(self.errors) >= QUEUE_LENGTH:
            self.errors[-1] = -350
        else:
            self.errors.append(code)

    def show_error(self, code: int) -> str:
        """One entry of the error queue as this instrument prints it."""
        if code == 0:
            return self.no_error
        return self.error_form.format(code=code, message=self.messages.get(code, MESSAGES[-300]))

    @command("SYSTem:ERRor[:NEXT]?")
    def _next_error(self) -> str:
        return self.show_error(self.errors.popleft() if self.errors else 0)

    @command("SYSTem:ERRor:COUNt?")
    def _error_count(self) -> str:
        return self.integer_form.format(len(self.errors))

    @command("*IDN?")
    def _identify(self) -> str:
        return self.identity

    @command("*RST")
    def _reset(self) -> None:
        self.values.clear()
        self.reset()

    @command("*CLS")
    def _clear_status(self) -> None:
        self.errors.clear()
        self._event_status = self.event_register = 0

    @command("*ESR?")
    def _read_event_status(self) -> str:
        status, self._event_status = self._event_status, 0
        return self.integer_form.format(status)

    @command("*ESE")
    def _set_event_enable(self, mask: str) -> None:
        self._event_enable = int(read_number(mask, low=0, high=255))

    @command("*ESE?")
    def _get_event_enable(self) -> str:
        return self.integer_form.format(self._event_enable)

    @command("*SRE")
    def _set_service_enable(self, mask: str) -> None:
        self._service_enable = int(read_number(mask, low=0, high=255)) & ~64

    @command("*SRE?")
    def _get_service_enable(self) -> str:
        return self.integer_form.format(self._service_enable)

    @command("*STB?")
    def _read_status_byte(self) -> str:
        status = (4 if self.errors else 0) | (32 if self._event_status & self._event_enable else 0)
        status |= self.event_bit if self.event_register & self.event_mask else 0
        return self.integer_form.format(status | (64 if status & self._service_enable else 0))

    @command("*OPC")
    def _note_completion(self) -> None:
        self._event_status |= 1

    @command("*OPC?")
    def _ask_completion(self) -> str:
        return "1"

    @command("*WAI")
    def _wait_for_completion(self) -> None:
        return  # nothing overlaps here: every command is finished before the next one starts

    @command("*TST?")
    def _self_test(self) -> str:
        return self.integer_form.format(0)

    @command("*OPT?")
    def _options(self) -> str:
        return "0"


def _entry(pattern: str, *, method: str | None = None, setting: Setting | None = None) -> _Entry:
    return _Entry(
        expression=re.compile(_pattern_expression(pattern), re.IGNORECASE),
        query=pattern.endswith("?"),
        suffixed="#" in pattern,
        method=method,
        setting=setting,
    )


def _call_fault(method: Callable[..., Any], given: int) -> int | None:
    """-109 if `method` needs more positional arguments than are `given`, -108 if it takes fewer, else None."""
    code = method.__func__.__code__  # type: ignore[attr-defined]
    most = code.co_argcount - 1
    least = most - len(method.__func__.__defaults__ or ())  # type: ignore[attr-defined]
    if given < least:
        return -109
    return -108 if given > most and not code.co_flags & 0x04 else None
