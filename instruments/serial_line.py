"""The line to an instrument on a serial port: the same care as :mod:`instruments.transport` gives to a socket.

What stock drivers over pyserial do not do: NESP-Lib reads without a timeout, so a silent pump blocks for ever; neither
driver looks whether an old reply waits before it asks, or opens the port anew after a failure. Here a driver is handed
a :class:`SerialPort` whose every read has a deadline and whose inner port can be swapped. After any failure or doubt
the port is closed and opened anew, what still arrives is thrown away, the instrument says who it is and whether it was
switched off meanwhile, and only then is the question asked again.

Unlike a socket, a serial port does not forget a late reply when it is opened anew: it may come at any time. So what
becomes a value is asked twice and must agree, and each question must find the line quiet.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from instruments.transport import ATTEMPTS, RebootError, log, may_be_mended, one_line, wire_log
from labthermo.errors import InstrumentError
from labthermo.instrument import Identity

if TYPE_CHECKING:
    import serial

_T = TypeVar("_T")

LONGEST_REPLY = 64 * 1024  # bytes
QUIET = 0.02  # s without a byte before a line that was in doubt counts as quiet
_ADDRESS = re.compile(r"ASRL(?P<port>.+?)(::INSTR)?", re.IGNORECASE)


def port_of(address: str) -> str:
    """The device behind a VISA name of a serial port: ``ASRL/dev/ttyUSB0::INSTR``, ``ASRL3::INSTR`` (COM3, ttyS2).

    Raises
    ------
    InstrumentError: it is no such name.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise InstrumentError(f"{address}: is no serial port; write one such as ASRL/dev/ttyUSB0::INSTR")
    port = match["port"]
    if not port.isdecimal():
        return port
    return f"COM{port}" if os.name == "nt" else f"/dev/ttyS{int(port) - 1}"


class SerialPort:
    """A serial port with a deadline, to be opened anew behind the back of whoever uses it.

    Every write starts the deadline: a reply must be whole within `timeout` s of it.
    """

    def __init__(self, name: str, address: str, timeout: float, baud_rate: int) -> None:
        self.name = name
        self.address = address
        self.timeout = timeout
        self.allowed = 0.0  # s more, for what itself takes time
        self.last_reply = b""  # since the last write
        self._baud_rate = baud_rate
        self._deadline = time.monotonic() + timeout
        self._ahead = bytearray()  # received and not yet asked for
        self._port: serial.Serial | None = None

    def open(self) -> None:
        """Open the port, or close it and open it anew; nothing is sent.

        Raises
        ------
        InstrumentError: there is no such port, or it cannot be used.
        """
        import serial

        self.close()
        try:
            port = serial.Serial(port_of(self.address), self._baud_rate, timeout=0.0, write_timeout=self.timeout)
        except (serial.SerialException, OSError, ValueError) as error:
            raise InstrumentError(f"{self.address}: cannot be opened ({one_line(error)}); is it plugged in?") from None
        self._port = port

    def close(self) -> None:
        """Close the port. Closing twice does nothing."""
        port, self._port = self._port, None
        if port is not None:
            with contextlib.suppress(OSError):
                port.close()
        self._ahead.clear()

    def write(self, data: bytes) -> None:
        """Send `data`; what is read from here on is its reply."""
        wire_log.debug("%s > %r", self.name, data)
        self._deadline = time.monotonic() + self.timeout + self.allowed
        self.last_reply = b""
        try:
            self._opened().write(data)
        except OSError as error:
            raise InstrumentError(f"{self.name}: cannot be written to ({one_line(error)})") from None

    @property
    def waiting(self) -> int:
        """How many bytes can be read at once."""
        self._fetch()
        return len(self._ahead)

    def read(self, count: int) -> bytes:
        """Exactly `count` bytes, within the deadline."""
        while len(self._ahead) < count:
            self._wait()
        return self._take(count)

    def read_past(self, end: bytes) -> bytes:
        """All bytes up to the first `end` and with it, within the deadline."""
        while (found := self._ahead.find(end)) < 0:
            self._wait()
        return self._take(found + len(end))

    def check_quiet(self, doing: str) -> None:
        """Raise if something waits to be read before anything was asked."""
        if self.waiting:
            waiting = self._take(len(self._ahead))
            raise InstrumentError(f"{self.name}: an unasked reply {waiting[:64]!r} waits before {doing!r}")

    def drain(self) -> None:
        """Throw away what arrives until the line is quiet, for as long as a reply may take at most."""
        deadline = time.monotonic() + self.timeout
        last = time.monotonic()
        while (now := time.monotonic()) - last < QUIET and now < deadline:
            if self.waiting:
                self._ahead.clear()
                last = now
            time.sleep(QUIET / 10)

    def _opened(self) -> serial.Serial:
        if self._port is None:
            raise InstrumentError(f"{self.name} ({self.address}): the line is closed; open the instrument again")
        return self._port

    def _take(self, count: int) -> bytes:
        taken = bytes(self._ahead[:count])
        del self._ahead[:count]
        self.last_reply += taken
        wire_log.debug("%s < %r", self.name, taken)
        return taken

    def _fetch(self) -> None:
        port = self._opened()
        try:
            self._ahead += port.read(LONGEST_REPLY)
        except OSError as error:  # pyserial's own errors are among them
            raise InstrumentError(f"{self.name}: the line is dead ({one_line(error)})") from None
        if len(self._ahead) > LONGEST_REPLY:
            raise InstrumentError(f"{self.name}: a reply of more than {LONGEST_REPLY} bytes")

    def _wait(self) -> None:
        """Wait for more bytes, and take them."""
        import select

        port = self._opened()
        left = self._deadline - time.monotonic()
        if left <= 0:
            got = bytes(self._ahead[:64])
            raise InstrumentError(f"{self.name}: no reply within {self.timeout + self.allowed:g} s, only {got!r}")
        if os.name == "nt":  # its handles cannot be waited for so
            time.sleep(1e-3)
        else:
            select.select([port.fileno()], [], [], left)
        self._fetch()


class SerialLine:
    """An open serial line to one instrument.

    hello: asks over the port who is there and whether it has been switched off and on; it is called when the line is
        opened and whenever it was opened anew.

    A set is never repeated blindly: whoever writes reads back. `incidents` says what was mended, for the record.
    """

    def __init__(
        self,
        name: str,
        address: str,
        timeout: float,
        baud_rate: int,
        hello: Callable[[SerialPort], tuple[Identity, bool]],
    ) -> None:
        self.name = name
        self.address = address
        self.incidents: deque[str] = deque()
        self.port = SerialPort(name, address, timeout, baud_rate)
        self._hello = hello
        self._closed = False
        self._was_off = False
        self._mended = 0
        self.identity: Identity | None = None
        self.port.open()
        try:
            self.port.drain()
            self.identity, self.rebooted = self.retry("who are you", lambda: hello(self.port))
        except BaseException:
            self.close()
            raise

    def retry(self, doing: str, talk: Callable[[], _T]) -> _T:
        """Do `talk`, again over a line opened anew where it failed or was in doubt; at most ATTEMPTS times."""
        for attempt in range(ATTEMPTS):
            self._refuse_closed()
            try:
                self.port.check_quiet(doing)
                return talk()
            except Exception as error:
                if not may_be_mended(error):
                    raise
                reason = one_line(error)
                if attempt == ATTEMPTS - 1:
                    self.close()
                    what = f"{doing!r} failed {ATTEMPTS} times, last: {reason}; line closed"
                    raise InstrumentError(f"{self.name} ({self.address}): {what}") from error
                self._mend(f"{doing!r}: {reason}")
            except BaseException:  # an interrupted talk leaves its reply on the way
                self.close()
                raise
        raise AssertionError("unreachable")

    def agree(self, doing: str, ask: Callable[[], _T]) -> _T:
        """Do `ask` twice; both answers must agree, or the line is in doubt."""

        def both() -> _T:
            first, second = ask(), ask()
            if first != second:
                raise InstrumentError(f"{self.name}: {doing!r} gave {first!r}, then {second!r}")
            return first

        return self.retry(doing, both)

    def set(self, doing: str, write: Callable[[], object], read: Callable[[], _T], right: Callable[[_T], bool]) -> _T:
        """Do `write` and return what `read` reads back. Repeated only where the line failed and it is not `right`."""
        for _ in range(ATTEMPTS):
            before = self._mended
            with self._guarded(doing):
                write()
            got = read()
            if self._mended == before or right(got):
                return got
        self.close()
        raise InstrumentError(f"{self.name} ({self.address}): {doing!r} failed {ATTEMPTS} times; line closed")

    def refuse_reboot(self) -> None:
        """Raise once it has been found that the instrument was switched off and on."""
        if self._was_off:
            raise self.reboot()

    def reboot(self) -> RebootError:
        """The error to raise when the instrument has said that it was switched off; it is remembered."""
        self._was_off = True
        return RebootError(
            f"{self.name} ({self.address}): was switched off and on; it stands still and nothing was moved; look at "
            "the sample, then start again"
        )

    def close(self) -> None:
        """Let go of the instrument without sending it anything. Closing twice does nothing."""
        self._closed = True
        self.port.close()

    @contextlib.contextmanager
    def _guarded(self, doing: str) -> Iterator[None]:
        self._refuse_closed()
        try:
            self.port.check_quiet(doing)
        except InstrumentError as error:
            self._mend(one_line(error))
        try:
            yield
        except Exception as error:
            if not may_be_mended(error):
                raise
            self._mend(f"{doing!r}: {one_line(error)}")
        except BaseException:
            self.close()
            raise

    def _mend(self, reason: str) -> None:
        """Open the port anew, wait until it is quiet, and make sure that the same instrument is there, never off."""
        for attempt in range(ATTEMPTS):
            try:
                self.port.open()
                self.port.drain()
                if self.identity is not None:  # else it is still being opened, and asked next
                    found, was_off = self._hello(self.port)
                    if found != self.identity:
                        raise InstrumentError(f"{self.name}: {found} answers instead of {self.identity}")
                    if was_off:
                        raise self.reboot()
            except RebootError:
                raise
            except Exception as error:
                if attempt == ATTEMPTS - 1 or not may_be_mended(error):
                    self.close()
                    what = f"{reason}; and it could not be opened anew: {one_line(error)}"
                    raise InstrumentError(f"{self.name} ({self.address}): {what}") from error
            else:
                self._mended += 1
                self.incidents.append(f"{reason}; line opened anew")
                log.warning("%s (%s): %s; line opened anew", self.name, self.address, reason)
                return

    def _refuse_closed(self) -> None:
        if self._closed:
            raise InstrumentError(f"{self.name} ({self.address}): the line is closed; open the instrument again")
