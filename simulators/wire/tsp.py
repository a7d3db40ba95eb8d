"""TSP as Keithley's instruments speak it: Lua in the instrument, scripts, printed replies, the error queue.

A personality is a subclass of :class:`TspPersonality` with two tables: `attributes` (``smua.source.levelv``) and
`functions` (``smua.measure.i``). What clients send runs in a real Lua machine, behind fences (``tsp.lua``): there is no
file, no process and no Python to reach from there, and a script that needs too much time or memory is stopped with an
error in the queue.

Rules: Series 2600B Reference Manual 2600BS-901-01, sections "TSP fundamentals", "TSP command reference" and "Common
commands". Checked against pages of it: only -286 ends a script, other errors are queued and it goes on; 9.91E+37 is an
overflow; ``format.asciiprecision`` counts the digits, one of them before the point. As remembered, unchecked: 6 digits
by default, what ``errorqueue.next`` gives when it is empty, that ``#0`` opens binary data (so the drivers expect).
The machine is Lua 5.1; the instruments have 5.0, which lacks ``#`` and ``%`` and has no ``string.match``.
"""

from __future__ import annotations

import logging
import re
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from simulators.wire.scpi import LINE_CAP

if TYPE_CHECKING:
    from simulators.wire.world import World

QUEUE_LENGTH = 100  # errors
SCRIPT_LINES = 10_000
INSTRUCTIONS = 100e6  # of one line or script
MEMORY = 16 * 2**20  # bytes that a client's values may keep
LONGEST_OUTPUT = 2**20  # bytes that one line or script may print
SECONDS = 20.0  # of wall time that a line or script may take; the whole bench waits meanwhile
_LARGEST = 4 * MEMORY  # bytes that one instruction may take on the way
_UNLIMITED = 2**50
_POWER_ON = 128

MESSAGES = {
    -104: "Data type error",
    -109: "Missing parameter",
    -203: "Command protected",
    -221: "Settings conflict",
    -222: "Parameter data out of range",
    -223: "Too much data",
    -225: "Out of memory or TSP memory allocation error",
    -285: "TSP Syntax error",
    -286: "TSP Runtime error",
    -350: "Queue overflow",
    -363: "Input buffer over-run",
    1101: "Parameter too big",
    1102: "Parameter too small",
}
_BINARY = {2: "f4", 3: "f8"}  # by format.data; 1 is ASCII
_SEVERITY = 20  # recoverable

Value = float | bool | str | None


class TspError(Exception):
    """A refusal: its code goes to the error queue. Only -286 ends the script that caused it."""

    def __init__(self, code: int, detail: str = "") -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail


@dataclass(frozen=True)
class Reference:
    """An object in the instrument, by its path: ``smua.nvbuffer1``."""

    path: str


@dataclass(frozen=True)
class Attribute:
    """What is read as `read` and assigned to as `write`; without `write` it is constant."""

    read: Callable[[], Value]
    write: Callable[[Any], None] | None = None


@dataclass(frozen=True)
class Bound:
    """A number that is kept: its default, and what it takes."""

    default: float
    low: float = -np.inf
    high: float = np.inf
    choices: tuple[float, ...] = ()

    def check(self, value: object) -> float:
        """The number, if it will do.

        Raises
        ------
        TspError: -104 for something else than a number, 1101 and 1102 for one that is too big or too small.
        """
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TspError(-104)
        if self.choices:
            if value not in self.choices:
                raise TspError(1101 if value > max(self.choices) else 1102 if value < min(self.choices) else -222)
        elif not self.low <= value <= self.high:
            raise TspError(1102 if value < self.low else 1101)
        return float(value)


class TspPersonality(ABC):
    """One instrument's end of the wire: give :meth:`handle` a line, get what it printed."""

    identity: str

    def __init__(self, world: World) -> None:
        self.errors: deque[tuple[int, str]] = deque()
        self.attributes: dict[str, Attribute] = {}
        self.functions: dict[str, Callable[..., Any]] = {}
        self.arrays: dict[str, Callable[[], Sequence[float]]] = {}
        """What can be indexed and printed with ``printbuffer``, by its path."""
        self.seconds = SECONDS
        self._world = world
        self._printed: list[bytes] = []
        self._printed_size = 0
        self._script: list[str] | None = None  # being loaded
        self._script_name, self._script_runs = "", False
        self._event_status = _POWER_ON
        self._event_enable = self._service_enable = 0
        self._deadline = 0.0
        self._digits, self._data, self._order = 6, 1, 1
        self._declare()

    @abstractmethod
    def reset(self) -> None:
        """Go to the ``reset()`` state, in the world too."""

    def switch_on(self) -> None:
        """Start the Lua machine, when all attributes and functions are declared, and reset."""
        self._start_machine()
        self._reset()

    def reboot(self) -> None:
        """A power cycle: the ``reset()`` state, no scripts, no errors, and the power-on bit."""
        self.errors.clear()
        self._printed.clear()
        self._script = None
        self._event_status = _POWER_ON
        self._event_enable = self._service_enable = 0
        self.switch_on()

    def hang_up(self) -> None:
        """The client has gone: a script that it did not finish loading is dropped."""
        self._script = None

    # ------------------------------------------------------------------------------------------------- messages

    def handle(self, message: bytes) -> bytes | None:
        """Execute one line (without its newline); all that it printed, or None."""
        if len(message) > LINE_CAP:
            self.complain(-363)
            return None
        line = message.decode("latin-1").strip()
        try:
            self._execute(line)
        except TspError as error:
            self.complain(error.code, error.detail)
        except Exception:  # a bug here must not take the bench down
            logging.getLogger("simulators.wire").exception("%s: %r", self.identity, message[:200])
            self.complain(-286, "not simulated")
        reply, self._printed_size = b"".join(self._printed), 0
        self._printed.clear()
        return reply or None

    def _execute(self, line: str) -> None:
        if self._script is not None:
            self._collect(line)
        elif line.startswith("*"):
            self._answer_common(line)
        elif found := re.fullmatch(r"load(andrun)?script(?:\s+([A-Za-z_]\w{0,254}))?", line):
            self._script, self._script_name, self._script_runs = [], found[2] or "", bool(found[1])
        elif line and line != "abort":
            self._run(line, "line", None)

    def _collect(self, line: str) -> None:
        assert self._script is not None
        if line == "abort":
            self._script = None
        elif line == "endscript":
            source, self._script = "\n".join(self._script), None
            self._run(source, self._script_name, not self._script_runs)
        elif len(self._script) >= SCRIPT_LINES:
            self._script = None
            raise TspError(-223)
        else:
            self._script.append(line)

    def _run(self, source: str, name: str, keep: bool | None) -> None:
        """Run a line (`keep` None), or load a script and run it unless it is to be kept for later."""
        self._deadline = time.monotonic() + self.seconds
        try:
            outcome, detail = self._machine(source, name, keep), ""
            if isinstance(outcome, tuple):
                outcome, detail = outcome
        except self._machine_error:  # out of memory where nothing catches it
            outcome, detail = "memory", ""
        finally:
            self._fence(False)
        if self._used() > _LARGEST or outcome == "memory":
            self._start_machine()
            raise TspError(-225)
        if outcome == "syntax":
            raise TspError(-285, _place(detail))
        if outcome == "runtime":
            raise TspError(-286, _place(detail))

    def _start_machine(self) -> None:
        """A fresh Lua machine: no names of any client in it."""
        import lupa.lua51 as lua

        runtime: Any = lua.LuaRuntime
        machine = runtime(
            encoding="latin-1",
            source_encoding="latin-1",
            register_eval=False,
            register_builtins=False,
            unpack_returned_tuples=True,
            attribute_filter=_refuse_attributes,
            max_memory=_UNLIMITED,
        )
        self._machine_error = lua.LuaError
        self._used = machine.get_memory_used
        self._fence = lambda on: machine.set_max_memory(_LARGEST if on else _UNLIMITED)
        nodes = sorted({path[:end] for path in self._paths() for end, char in enumerate(path) if char == "."})
        start: Any = machine.execute(
            (files("simulators.wire") / "tsp.lua").read_text(encoding="ascii"),
            self._read,
            self._write,
            self._invoke,
            self._print,
            self.complain,
            self._too_late,
            self._fence,
            machine.table_from(nodes),
            machine.table_from(sorted(self.functions)),
            INSTRUCTIONS,
            MEMORY / 1024,
        )
        self._machine: Callable[..., Any] = start

    def _too_late(self) -> bool:
        return time.monotonic() > self._deadline

    def check_time(self) -> None:
        """To be called in loops that a client can make long.

        Raises
        ------
        TspError: -286 if the line or script at hand has had its time.
        """
        if self._too_late():
            raise TspError(-286, "aborted: too long")

    def _paths(self) -> Iterable[str]:
        yield from (*self.attributes, *self.functions)
        yield from (f"{path}." for path in self.arrays)

    # ------------------------------------------------------------------------------------- what the machine asks for

    def _read(self, path: str, key: Value) -> tuple[Any, ...]:
        def read() -> Any:
            if isinstance(key, str):
                name = f"{path}.{key[1:]}"
                if name in self.attributes:
                    return self.attributes[name].read()
                if name in self.arrays:
                    return Reference(name)
                raise TspError(-286, f"no attribute {name}")
            array = self.arrays.get(path)
            if array is None or isinstance(key, bool) or key is None or key != int(key):
                raise TspError(-286, f"no attribute {path}[{key}]")
            values = array()
            return float(values[int(key) - 1]) if 1 <= key <= len(values) else None

        return self._answer(read)

    def _write(self, path: str, key: Value, value: Value) -> tuple[Any, ...]:
        def write() -> None:
            name = f"{path}.{key[1:]}" if isinstance(key, str) else f"{path}[{key}]"
            attribute = self.attributes.get(name)
            if attribute is None:
                raise TspError(-286, f"no attribute {name}")
            if attribute.write is None:
                raise TspError(-203, name)
            attribute.write(_argument(value))

        return self._answer(write)

    def _invoke(self, path: str, *arguments: Value) -> tuple[Any, ...]:
        def invoke() -> Any:
            function = self.functions.get(path)
            if function is None:
                raise TspError(-286, f"attempt to call {path}")
            read = [_argument(each) for each in arguments]
            most = function.__code__.co_argcount - hasattr(function, "__self__")
            least = most - len(function.__defaults__ or ())
            if len(read) < least:
                raise TspError(-109, path)
            return function(*(read if function.__code__.co_flags & 0x04 else read[:most]))

        return self._answer(invoke)

    def _print(self, *values: Value) -> tuple[Any, ...]:
        def say() -> None:
            words = [self.show(value) if not isinstance(value, str) else value[1:] for value in values]
            self.say("\t".join(words).encode("latin-1", "replace"))

        return self._answer(say)

    def _answer(self, do: Callable[[], Any]) -> tuple[Any, ...]:
        """What Lua gets: no exception and no object of Python's may reach it."""
        try:
            result = do()
        except TspError as error:
            if error.code == -286:
                return "fault", error.detail
            self.complain(error.code, error.detail)
            return ("value",)
        except Exception:
            logging.getLogger("simulators.wire").exception("%s", self.identity)
            return "fault", "not simulated"
        if isinstance(result, Reference):
            return "node", result.path
        return ("value", *result) if isinstance(result, tuple) else ("value", result)

    # ---------------------------------------------------------------------------------- output, errors, common commands

    def say(self, line: bytes) -> None:
        """Send a line to the client when the message at hand is finished."""
        self._printed_size += len(line) + 1
        if self._printed_size > LONGEST_OUTPUT:
            raise TspError(-286, "aborted: the output queue is full")
        self._printed.append(line + b"\n")

    def show(self, value: float | bool | None) -> str:
        """A value as ``print`` shows it; in full where quantisation is off."""
        if value is None or isinstance(value, bool):
            return {None: "nil", True: "true", False: "false"}[value]
        return f"{value:.{self._digits - 1 if self._world.imperfections.quantisation else 16}e}"

    def complain(self, code: int, detail: str = "") -> None:
        """Put an error into the queue."""
        self._event_status |= 32 if -200 < code <= -100 else 16 if -300 < code <= -200 else 8
        if len(self.errors) == QUEUE_LENGTH:
            self.errors[-1] = (-350, MESSAGES[-350])
        else:
            message = MESSAGES.get(code, "Device error")
            self.errors.append((code, f"{message} {detail}".strip() if detail else message))

    def next_error(self) -> tuple[float, str, float, float]:
        """Code, message, severity and node of the oldest error."""
        code, message = self.errors.popleft() if self.errors else (0, "Queue Is Empty")
        return code, message, _SEVERITY if code else 0, 1

    def _answer_common(self, line: str) -> None:
        name, _, argument = line.upper().partition(" ")
        queries: dict[str, Callable[[], object]] = {
            "*IDN?": lambda: self.identity,
            "*ESR?": self._take_event_status,
            "*ESE?": lambda: self._event_enable,
            "*SRE?": lambda: self._service_enable,
            "*STB?": self._status_byte,
            "*OPC?": lambda: 1,
            "*TST?": lambda: 0,
        }
        if name in queries:
            self.say(str(queries[name]()).encode())
        elif name == "*RST":
            self._reset()
        elif name == "*CLS":
            self.errors.clear()
            self._event_status = 0
        elif name in ("*ESE", "*SRE"):
            if not re.fullmatch(r"\d{1,3}", argument.strip()) or int(argument) > 255:
                raise TspError(-104)
            if name == "*ESE":
                self._event_enable = int(argument)
            else:
                self._service_enable = int(argument) & ~64
        elif name == "*OPC":
            self._event_status |= 1
        elif name not in ("*WAI", "*TRG"):  # nothing overlaps here, and nothing waits for a trigger
            raise TspError(-285, line[:80])

    def _take_event_status(self) -> int:
        status, self._event_status = self._event_status, 0
        return status

    def _status_byte(self) -> int:
        status = (4 if self.errors else 0) | (32 if self._event_status & self._event_enable else 0)
        return status | (64 if status & self._service_enable else 0)

    # ------------------------------------------------------------------------- what every TSP instrument has in common

    def declare(self, path: str, read: Callable[[], Value], write: Callable[[Any], None] | None = None) -> None:
        """Let `path` be an attribute."""
        self.attributes[path] = Attribute(read, write)

    def keep(self, values: dict[str, float], bounds: dict[str, Bound], prefix: str = "") -> None:
        """Let every key of `bounds` be an attribute that is kept in `values`."""
        for key, bound in bounds.items():
            values[key] = bound.default
            self.declare(prefix + key, *_kept(values, key, bound))

    def _declare(self) -> None:
        for name, value in (("ASCII", 1), ("SREAL", 2), ("REAL32", 2), ("DREAL", 3), ("REAL64", 3), ("REAL", 3)):
            self.declare(f"format.{name}", lambda value=value: value)
        for name, value in (("NORMAL", 0), ("NETWORK", 0), ("BIGENDIAN", 0), ("SWAPPED", 1), ("LITTLEENDIAN", 1)):
            self.declare(f"format.{name}", lambda value=value: value)
        for name, kept, bound in (
            ("asciiprecision", "_digits", Bound(6, choices=tuple(range(1, 17)))),
            ("data", "_data", Bound(1, choices=(1, 2, 3))),
            ("byteorder", "_order", Bound(1, choices=(0, 1))),
        ):
            self.declare(
                f"format.{name}",
                lambda kept=kept: getattr(self, kept),
                lambda value, kept=kept, bound=bound: setattr(self, kept, int(bound.check(value))),
            )
        self.declare("errorqueue.count", lambda: len(self.errors))
        self.functions |= {
            "errorqueue.next": self.next_error,
            "errorqueue.clear": lambda: self.errors.clear(),
            "printbuffer": self._print_buffer,
            "printnumber": self._print_numbers,
            "delay": self._delay,
            "waitcomplete": lambda: None,
            "opc": lambda: setattr(self, "_event_status", self._event_status | 1),
            "exit": lambda: None,
            "reset": self._reset,
        }

    def _reset(self) -> None:
        self._digits, self._data, self._order = 6, 1, 1
        self.reset()

    def _delay(self, seconds: float) -> None:
        self._world.wait(Bound(0, 0, 100_000).check(seconds))

    def _print_numbers(self, *numbers: float) -> None:
        self._say_numbers([Bound(0).check(number) for number in numbers])

    def _print_buffer(self, first: float, last: float, *buffers: Reference) -> None:
        columns = [self._column(buffer) for buffer in buffers]
        if not columns:
            raise TspError(-109, "printbuffer")
        most = min(map(len, columns))
        begin, end = (int(Bound(1, 1, most).check(index)) for index in (first, last))
        self._say_numbers([column[i] for i in range(begin - 1, end) for column in columns])

    def _column(self, buffer: object) -> Sequence[float]:
        if not isinstance(buffer, Reference):
            raise TspError(-104, "no buffer")
        found = self.arrays.get(buffer.path) or self.arrays.get(f"{buffer.path}.readings")
        if found is None:
            raise TspError(-104, f"{buffer.path} is no buffer")
        return found()

    def _say_numbers(self, numbers: Sequence[float]) -> None:
        if self._data in _BINARY:
            order = "<" if self._order else ">"
            self.say(b"#0" + np.asarray(numbers, order + _BINARY[self._data]).tobytes())
        else:
            self.say(", ".join(map(self.show, numbers)).encode())


def _kept(values: dict[str, float], key: str, bound: Bound) -> tuple[Callable[[], float], Callable[[Any], None]]:
    def write(value: object) -> None:
        values[key] = bound.check(value)

    return lambda: values[key], write


def _argument(value: Value) -> Any:
    """A value as ``tsp.lua`` packs it."""
    if not isinstance(value, str):
        return value
    return Reference(value[1:]) if value[0] == "@" else value[1:]


def _refuse_attributes(_object: object, name: object, _setting: bool) -> Any:
    raise AttributeError(name)


def _place(detail: str) -> str:
    """``line:1: what`` as the instrument words it."""
    found = re.match(r"[^:]*:(\d+): (.*)", detail, re.DOTALL)
    text = f"at line {found[1]}: {found[2]}" if found else detail
    return re.sub(r"\s+", " ", text)[:200]
