"""The line to an instrument: opening it, asking over it without accepting a wrong answer, mending it, closing it.

What VISA over sockets does not do by itself (found by measuring pyvisa-py 0.8): a refused connection opens without
an error; Nagle's algorithm makes a write and a query cost 44 ms instead of 0.3 ms; after a timeout the next query gets
the previous, late reply; at end of file a read spins until its timeout; a truncated number is a valid number, and so is
one with a wrong digit. Here a refused connection is one clear error, Nagle is off, a query first looks whether the line
is quiet, a reply must match its whole grammar, and what becomes a value is sent twice and must agree. After any failure
or doubt the session is closed and opened anew, the instrument identified and asked whether it has been switched off
meanwhile; only then is the question asked again. Drivers keep working over the new session: see :class:`ResourceProxy`.

Every message is logged by the logger ``labthermo.wire`` at the level DEBUG.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import math
import re
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from labthermo.errors import InstrumentError, LabThermoError, LimitError, ReadbackError
from labthermo.instrument import Identity, Reading

if TYPE_CHECKING:
    from pyvisa.resources import MessageBasedResource

_D = TypeVar("_D")
_T = TypeVar("_T")

_SOCKET_ADDRESS = re.compile(r"TCPIP\d*::(?P<host>[^:]+)::(?P<port>\d+)::SOCKET", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
# What meters answer: with an exponent of exactly two digits, so that no truncated reply is a number.
_SCIENTIFIC = re.compile(r"[+-]?\d(\.\d*)?[eE][+-]\d{2}", re.ASCII)
_NOT_A_NUMBER = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
_OVERFLOW = 9.9e37  # and beyond: 9.91e37 is SCPI's NaN, 199.999e99 and its like are makers' own

ATTEMPTS = 8  # at one question, with the line opened anew before each but the first
LONGEST_REPLY = 2**20  # bytes
CHUNK = 2**14  # bytes asked of the socket at once: a large buffer costs more than the reply itself
POWER_ON = 128  # the bit of the event status register; reading clears it (IEEE 488.2, section 11.5.1.2.2)

_serial = itertools.count()
log = logging.getLogger("labthermo.instruments")
wire_log = logging.getLogger("labthermo.wire")


def parse_reading(reply: str, channel: str, *, scientific: bool = False) -> Reading:
    """A numeric reply as a Reading; overflow sentinels of either sign, NaN and infinity are flagged ``overflow``.

    Parameters
    ----------
    reply: the whole reply, without its terminator.
    channel: what was read, for the message of the :class:`InstrumentError` that a reply outside the grammar raises.
    scientific: only ``1.234E-05`` and its like will do: a truncated ``1.2`` is a number too, but not this one.
    """
    if (_SCIENTIFIC if scientific else _NUMBER).fullmatch(reply):
        value = float(reply)
        return Reading(value) if abs(value) < _OVERFLOW else Reading(float("nan"), "overflow")
    if _NOT_A_NUMBER.fullmatch(reply):
        return Reading(float("nan"), "overflow")
    raise InstrumentError(f"{channel}: the reply {reply!r} is not one number")


def parse_number(reply: str, channel: str, *, scientific: bool = False) -> float:
    """A numeric reply as a finite float; anything else raises :class:`InstrumentError`."""
    reading = parse_reading(reply, channel, scientific=scientific)
    if reading.flag != "ok":
        raise InstrumentError(f"{channel}: the reply {reply!r} is no finite number")
    return reading.value


def parse_switch(reply: str) -> bool:
    """``0`` or ``1`` as a bool; anything else raises :class:`InstrumentError`."""
    if reply.strip() not in ("0", "1"):
        raise InstrumentError(f"{reply!r} is neither 0 nor 1")
    return reply.strip() == "1"


def nearest(value: float, table: Iterable[float]) -> float:
    """The entry that an instrument's rounded print of it means: the one with the nearest ratio to `value`."""
    return min(table, key=lambda entry: abs(math.log(abs(value) / entry)) if value else math.inf)


def check_span(voltage: float, span: tuple[float, float], channel: str) -> None:
    """Refuse a voltage (V) that a source cannot give, before anything is sent.

    Raises
    ------
    LimitError: it is not finite or outside `span`. A driver's own validator, or none, would be the alternative.
    """
    if not span[0] <= voltage <= span[1]:
        raise LimitError(f"{channel}: {voltage:g} V is outside its range {span[0]:g} to {span[1]:g} V; nothing was set")


def open_resource(address: str, timeout: float = 5.0, visa: str = "@py") -> MessageBasedResource:
    """Open a VISA resource with newline terminators and a timeout (s); a clear InstrumentError if nobody listens.

    visa: the VISA library, e.g. ``@py`` (pyvisa-py), ``@ivi`` (the vendor's that is installed) or the path of one.
    """
    import pyvisa
    from pyvisa.resources import MessageBasedResource

    where = _SOCKET_ADDRESS.fullmatch(address)
    if where:
        if not 0 < int(where["port"]) < 2**16:
            raise InstrumentError(f"{address}: a port is a number from 1 to 65535")
        try:
            socket.getaddrinfo(where["host"], int(where["port"]), socket.AF_INET, socket.SOCK_STREAM)
        except OSError as error:
            raise InstrumentError(f"{address}: no such host ({error})") from None
    try:
        manager = pyvisa.ResourceManager(visa)
    except Exception as error:  # a library that is missing is an OSError, an unknown one a ValueError
        raise InstrumentError(f"{address}: the VISA library {visa!r} cannot be used ({error}); try @py") from None
    try:
        resource = manager.open_resource(address, open_timeout=int(timeout * 1000))
    except Exception as error:  # pyvisa-py raises bare Exception for a connection that fails
        raise InstrumentError(f"{address}: cannot be opened ({error})") from None
    if not isinstance(resource, MessageBasedResource):
        resource.close()
        raise InstrumentError(f"{address}: is no instrument that exchanges messages")
    resource.read_termination = resource.write_termination = "\n"
    resource.timeout = int(timeout * 1000)
    session = _session_of(resource)
    if session is not None:
        try:
            session.interface.getpeername()  # a refused connection opens in pyvisa-py, but has no peer
            session.interface.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            resource.close()
            raise InstrumentError(f"{address}: nothing listens there; is the instrument on and reachable?") from None
    return resource


def _session_of(resource: MessageBasedResource) -> Any:
    """The pyvisa-py session below a resource, if it has a socket (`interface`); None on any other transport."""
    session = getattr(resource.visalib, "sessions", {}).get(resource.session)
    return session if isinstance(getattr(session, "interface", None), socket.socket) else None


def parse_identity(reply: str, address: str) -> Identity:
    """The four fields of ``*IDN?``."""
    fields = [field.strip() for field in reply.split(",")]
    if len(fields) != 4 or not all(fields):
        raise InstrumentError(f"{address}: the identity {reply!r} has not four fields")
    return Identity(*fields)


class ResourceProxy:
    """What a driver holds instead of a VISA resource: everything goes to the session that is open at present.

    A driver keeps its handle for good; without this it would hold the old one after the line was opened anew.
    """

    def __init__(self, resource: MessageBasedResource) -> None:
        self.__dict__["_resource"] = resource

    @property
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride]  # drivers ask isinstance()
        return type(self.__dict__["_resource"])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_resource"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.__dict__["_resource"], name, value)


def qcodes_driver(driver: Callable[..., _D], **options: Any) -> Callable[[str, Any], _D]:
    """How :class:`Line` builds a QCoDeS driver over its resource; `options` are the driver's own."""

    def make(unique: str, resource: Any) -> _D:
        timeout = resource.timeout / 1000
        with contextlib.redirect_stdout(io.StringIO()):  # QCoDeS drivers print when they connect
            return driver(unique, None, resource=resource, timeout=timeout, device_clear=False, **options)

    return make


def pymeasure_driver(driver: Callable[..., _D], **options: Any) -> Callable[[str, Any], _D]:
    """How :class:`Line` builds a PyMeasure driver over its resource; `options` are the driver's own."""

    def make(unique: str, resource: Any) -> _D:
        from pymeasure.adapters import VISAAdapter

        adapter = VISAAdapter.__new__(VISAAdapter)  # its own constructor would open a second session
        super(VISAAdapter, adapter).__init__()
        adapter.resource_name, adapter.manager, adapter.connection = resource.resource_name, None, resource  # type: ignore
        return driver(adapter, name=unique, **options)

    return make


class Line(Generic[_D]):
    """An open line to one instrument, and the stock driver that works over it.

    What was asked and got no answer, or a doubtful one, is asked again over a new session, at most :data:`ATTEMPTS`
    times; `incidents` says what was mended so, for the record. A set is never repeated blindly: nothing confirms a
    write, so whoever writes reads back.
    """

    def __init__(
        self,
        name: str,
        address: str,
        timeout: float,
        model: str | tuple[str, ...],
        make: Callable[[str, Any], _D],
        *,
        visa: str = "@py",
        compounds: bool = False,
    ) -> None:
        """Open `address`, check that ``*IDN?`` names one `model`, and only then `make` the driver over it.

        compounds: the instrument answers ``A?;:B?`` with one line (SCPI-99, volume 1, section 6.2.4).
        """
        self.name = name
        self.address = address
        self.incidents: deque[str] = deque()
        self._timeout = self._base_timeout = timeout
        self._visa = visa
        self._compounds = False  # until it is known what is there
        self._models = (model,) if isinstance(model, str) else model
        self._closed = False
        self._mended = 0
        self._asked, self._said = "", [""]  # the last question asked twice, until something else is sent; its replies
        self._was_off = False  # since it was opened; then it can still be read, and switched off
        self._driver: _D | None = None
        self._resource = open_resource(address, timeout, visa)
        self._session = _session_of(self._resource)
        self._proxy = ResourceProxy(self._resource)
        try:
            self.identity = self.ask_agreeing("*IDN?", self._identify)
            self._compounds = compounds
            self._driver = self._retry("set up its driver", lambda: make(_unique(name), self._proxy))
            self.rebooted = bool(self._event_status() & POWER_ON)
        except BaseException:
            self.close()
            raise

    @property
    def driver(self) -> _D:
        """The driver, for its own methods; raises :class:`InstrumentError` once the line is closed."""
        if self._driver is None:
            raise InstrumentError(f"{self.name} ({self.address}): the line is closed; open the instrument again")
        return self._driver

    def ask(self, query: str, parse: Callable[[str], _T] = str) -> _T:
        """Send `query` and return what `parse` makes of its reply; an InstrumentError of `parse` is a doubt."""
        self._asked = ""
        return self._retry(query, lambda: parse(self._talk(query)[0]))

    def ask_agreeing(self, query: str, parse: Callable[[str], _T] = str, again: str | None = None) -> _T:
        """Send `query`, and the same question once more; both replies must agree: so no wrong digit is accepted.

        They agree if they are the same, or `parse` makes the same of them.
        again: asks for the same answer without a new measurement, e.g. ``FETC?`` after ``READ?``.
        """
        second = query if again is None else again
        repeated = again is None and query == self._asked

        def both() -> _T:
            self._asked = ""
            if self._compounds:
                fields = self._talk(f"{query};:{second.removeprefix(':')}")[0].split(";")
                replies = [";".join(fields[: len(fields) // 2]), ";".join(fields[len(fields) // 2 :])]
            elif self._session:  # over a socket both are sent before the first reply is read
                replies = self._talk(query, second)
            else:  # on a bus that would interrupt the first
                replies = [*self._talk(query), *self._talk(second)]
            value = parse(replies[0])
            if replies[0] != replies[1] and value != parse(replies[1]):
                raise InstrumentError(f"{self.name}: {query!r} gave {replies[0]!r}, then {replies[1]!r}")
            if replies == self._said and not repeated and not self._compounds:
                self._check_end(query)
            self._said, self._asked = replies, query
            return value

        return self._retry(query, both)

    def _check_end(self, query: str) -> None:
        """Make sure that the replies to `query` were the last on the line, and its own.

        Two replies to the question before, both doubled on the way, leave two that agree as answers to this one.
        """
        found = self._talk("*IDN?")[0]
        if hasattr(self, "identity") and parse_identity(found, self.address) != self.identity:
            raise InstrumentError(f"{self.name}: {found!r} came behind the replies to {query!r}")

    def ask_number(self, query: str) -> float:
        """Send `query` twice and return its reply, which must be one finite number."""
        return self.ask_agreeing(query, lambda reply: parse_number(reply.strip(), self.name))

    def write(self, command: str) -> None:
        """Send `command`; nothing confirms it yet."""
        with self.guarded(command):
            self._send(command)

    def set(self, doing: str, write: Callable[[], object], read: Callable[[], _T], right: Callable[[_T], bool]) -> _T:
        """As :meth:`write_until`, unless the instrument was switched off meanwhile (:meth:`refuse_reboot`)."""
        self.refuse_reboot()
        return self.write_until(doing, write, read, right)

    def set_voltage(
        self,
        channel: str,
        voltage: float,
        write: Callable[[], object],
        read: Callable[[], float],
        resolution: float,
        errors: Callable[[], list[str]] | None = None,
    ) -> None:
        """As :meth:`set`, for a voltage (V) that must read back within `resolution` (V).

        errors: empties the instrument's error queue, for the message; :meth:`drain_errors` where none is given.

        Raises
        ------
        ReadbackError: another voltage reads back.
        """
        got = self.set(f"set {channel} to {voltage:g} V", write, read, lambda got: abs(got - voltage) <= resolution)
        if not abs(got - voltage) <= resolution:
            said = (self.drain_errors if errors is None else errors)()
            raise ReadbackError(f"{channel}: set to {voltage:g} V but reads back {got:g} V; errors: {said}")

    def write_until(
        self, doing: str, write: Callable[[], object], read: Callable[[], _T], right: Callable[[_T], bool]
    ) -> _T:
        """Do `write` and return what `read` reads back. Repeated only where the line failed and it is not `right` yet.

        Whoever sets a value calls :meth:`set`; this alone is for switching off, which must always be possible.
        """
        for _ in range(ATTEMPTS):
            before = self._mended
            with self.guarded(doing):
                write()
            got = read()
            if self._mended == before or right(got):
                return got
        self.close()
        raise InstrumentError(f"{self.name} ({self.address}): {doing!r} failed {ATTEMPTS} times; line closed")

    def allow_time(self, reading_time: float) -> None:
        """Lengthen the timeout by the time (s) that a reading itself takes."""
        self._timeout = self._base_timeout + reading_time
        self._resource.timeout = int(self._timeout * 1000)

    @contextlib.contextmanager
    def guarded(self, doing: str) -> Iterator[None]:
        """Around writes and driver methods that set: a failure opens the line anew, and the set stays unconfirmed.

        Raises
        ------
        InstrumentError: the line could not be mended. Then it is closed.
        """
        self._refuse_closed()
        self._asked = ""
        try:
            self._check_quiet(doing)
        except OSError as error:
            self._mend(f"{doing!r}: {one_line(error)}")
        try:
            yield
        except Exception as error:
            if not may_be_mended(error):
                raise
            self._mend(f"{doing!r}: {one_line(error)}")
        except BaseException:  # an interrupted talk leaves its reply on the way
            self.close()
            raise

    def refuse_reboot(self) -> None:
        """Ask whether the instrument has been switched off and on since it was last asked.

        Raises
        ------
        InstrumentError: it has. Its outputs are at their defaults, and nothing may be ramped from where they were.
        """
        if self._was_off or self._event_status() & POWER_ON:
            raise self._reboot()

    def drain_errors(self, query: str = "SYST:ERR?") -> list[str]:
        """Read the instrument's error queue until it is empty; what was in it."""
        errors: list[str] = []
        while len(errors) < 100:
            code, reply = self.ask(query, self._parse_error)
            if code == 0:
                break
            errors.append(reply)
        return errors

    def close(self) -> None:
        """Let go of the instrument without sending it anything. Closing twice does nothing."""
        driver, self._driver, self._closed = self._driver, None, True
        if driver is not None and hasattr(driver, "close"):
            with contextlib.suppress(Exception):
                driver.close()  # type: ignore[attr-defined]
        with contextlib.suppress(Exception):  # the driver has normally closed it already
            self._resource.close()

    def _parse_error(self, reply: str) -> tuple[int, str]:
        code = re.match(r"\s*([+-]?\d+)\s*,", reply)
        if code is None:
            raise InstrumentError(f"{self.name}: {reply!r} is no entry of an error queue")
        return int(code.group(1)), reply

    def _event_status(self) -> int:
        """The event status register; reading clears it, so that a reply that was lost is a doubt of its own."""

        def parse(reply: str) -> int:
            if not re.fullmatch(r"\s*\+?\d{1,3}\s*", reply, re.ASCII) or int(reply) > 255:
                raise InstrumentError(f"{self.name}: '*ESR?' gave {reply!r}")
            return int(reply)

        return self.ask("*ESR?", parse)

    def _identify(self, reply: str) -> Identity:
        identity = parse_identity(reply, self.address)
        if not any(model in identity.model for model in self._models):
            found = f"{identity.maker} {identity.model}"
            raise WrongModelError(f"{self.address}: expected a {' or '.join(self._models)}, found {found}")
        return identity

    def _retry(self, doing: str, talk: Callable[[], _T]) -> _T:
        for attempt in range(ATTEMPTS):
            self._refuse_closed()
            try:
                self._check_quiet(doing)
                return talk()
            except Exception as error:
                if not may_be_mended(error):
                    raise
                reason = one_line(error)
                if attempt == ATTEMPTS - 1:
                    self.close()
                    raise InstrumentError(
                        f"{self.name} ({self.address}): {doing!r} failed {ATTEMPTS} times, last: {reason}; line closed"
                    ) from error
                self._mend(f"{doing!r}: {reason}")
            except BaseException:
                self.close()
                raise
        raise AssertionError("unreachable")

    def _mend(self, reason: str) -> None:
        """Close the session, open another, and make sure that the same instrument is there and was not switched off."""
        for attempt in range(ATTEMPTS):
            with contextlib.suppress(Exception):
                self._resource.close()
            try:
                old, self._resource = self._resource, open_resource(self.address, self._timeout, self._visa)
                self._resource.read_termination = old.read_termination
                self._resource.write_termination = old.write_termination
                self._session = _session_of(self._resource)
                self._proxy.__dict__["_resource"] = self._resource
                if hasattr(self, "identity"):  # else it is still being opened, and asked next
                    found = parse_identity(self._talk("*IDN?")[0], self.address)
                    if found != self.identity:
                        raise InstrumentError(f"{self.name}: {found} answers instead of {self.identity}")
                    status = self._talk("*ESR?")[0].strip()
                    if not re.fullmatch(r"\+?\d{1,3}", status, re.ASCII):
                        raise InstrumentError(f"{self.name}: '*ESR?' gave {status!r}")
                    if int(status) & POWER_ON:
                        raise self._reboot()
            except RebootError:
                raise
            except Exception as error:
                if attempt == ATTEMPTS - 1 or not may_be_mended(error):
                    self.close()
                    raise InstrumentError(
                        f"{self.name} ({self.address}): {reason}; and it could not be opened anew: {one_line(error)}"
                    ) from error
            else:
                self._mended += 1
                self.incidents.append(f"{reason}; line opened anew")
                log.warning("%s (%s): %s; line opened anew", self.name, self.address, reason)
                return

    def _reboot(self) -> InstrumentError:
        self._was_off = True
        return RebootError(
            f"{self.name} ({self.address}): was switched off and on; its outputs are at their defaults and nothing was "
            "moved; look at the sample, then start again"
        )

    def _talk(self, *queries: str) -> list[str]:
        """Send queries and read as many replies, over the present session, once."""
        deadline = time.monotonic() + self._timeout
        self._send("\n".join(queries))
        replies = []
        for _ in queries:
            reply = self._resource.read() if self._session is None else self._read_line(deadline)
            wire_log.debug("%s < %s", self.name, reply)
            replies.append(reply)
        return replies

    def _read_line(self, deadline: float) -> str:
        """The next line from the socket. pyvisa-py spins at end of file, and each byte has a deadline of its own."""
        received, connection = self._session._pending_buffer, self._session.interface
        while (end := received.find(b"\n")) < 0:
            if not select.select([connection], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise InstrumentError(
                    f"{self.name}: no reply within {self._timeout:g} s, only {bytes(received[:80])!r}"
                )
            if not (data := connection.recv(CHUNK)):
                raise InstrumentError(f"{self.name}: the instrument has closed the connection")
            received += data
            if len(received) > LONGEST_REPLY:
                raise InstrumentError(f"{self.name}: a reply of more than {LONGEST_REPLY} bytes")
        line = bytes(received[:end])
        del received[: end + 1]
        return line.decode("ascii")

    def _send(self, message: str) -> None:
        wire_log.debug("%s > %s", self.name, message)
        if self._session is None:
            self._resource.write(message)
        else:
            self._session.interface.sendall(message.encode("ascii") + b"\n")

    def _refuse_closed(self) -> None:
        if self._closed:
            raise InstrumentError(f"{self.name} ({self.address}): the line is closed; open the instrument again")

    def _check_quiet(self, doing: str) -> None:
        """Raise if something waits to be read before anything was asked, or the other end has gone."""
        if self._session is None:
            return
        waiting = bytes(self._session._pending_buffer)  # what pyvisa-py has received beyond the last reply
        if not waiting:
            try:
                waiting = self._session.interface.recv(64, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
        state = f"an unasked reply {waiting!r} waits" if waiting else "the instrument has closed the connection"
        raise InstrumentError(f"{self.name}: {state} before {doing!r}")


def _unique(name: str) -> str:
    """QCoDeS names are process-global and must be identifiers."""
    unique = f"{re.sub(r'[^0-9a-zA-Z_]', '_', name)}_{next(_serial)}"
    return unique if unique.isidentifier() else f"i_{unique}"


class StateError(InstrumentError):
    """The instrument answers well, and what it says no new line can mend."""


class WrongModelError(StateError):
    """Another kind of instrument answers at this address."""


class RebootError(StateError):
    """The instrument was switched off and on: its outputs are at their defaults."""


def may_be_mended(error: Exception) -> bool:
    """Whether a failure may be the line's. Stock drivers raise anything on a reply that they do not understand."""
    if isinstance(error, LabThermoError):
        return isinstance(error, InstrumentError) and not isinstance(error, StateError)
    return True


def one_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__
