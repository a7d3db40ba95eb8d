"""The line to an instrument: opening it, asking over it without accepting a wrong answer, closing it.

What VISA over sockets does not do by itself (found by measuring pyvisa-py 0.8): a refused connection opens without
an error; Nagle's algorithm makes a write and a query cost 44 ms instead of 0.3 ms; after a timeout the next query gets
the previous, late reply; at end of file a read spins until its timeout; a truncated number is a valid number. Here a
refused connection is one clear error, Nagle is off, a query first looks whether the line is quiet, the first failure
closes the line for good, and a reply must match its whole grammar.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import re
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from labthermo.errors import InstrumentError, LimitError
from labthermo.instrument import Identity, Reading

if TYPE_CHECKING:
    from pyvisa.resources import MessageBasedResource
    from qcodes.instrument import VisaInstrument

    _D = TypeVar("_D", bound=VisaInstrument)
else:
    _D = TypeVar("_D")

_SOCKET_ADDRESS = re.compile(r"TCPIP\d*::(?P<host>[^:]+)::(?P<port>\d+)::SOCKET", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
# What meters answer: with an exponent of exactly two digits, so that no truncated reply is a number.
_SCIENTIFIC = re.compile(r"[+-]?\d(\.\d*)?[eE][+-]\d{2}", re.ASCII)
_NOT_A_NUMBER = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
_OVERFLOW = 9.9e37  # and beyond: 9.91e37 is SCPI's NaN, 199.999e99 and its like are makers' own

_serial = itertools.count()
log = logging.getLogger("labthermo.instruments")


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


def parse_number(reply: str, channel: str) -> float:
    """A numeric reply as a finite float; anything else raises :class:`InstrumentError`."""
    reading = parse_reading(reply, channel)
    if reading.flag != "ok":
        raise InstrumentError(f"{channel}: the reply {reply!r} is no finite number")
    return reading.value


def check_span(voltage: float, span: tuple[float, float], channel: str) -> None:
    """Refuse a voltage (V) that a source cannot give, before anything is sent.

    Raises
    ------
    LimitError: it is not finite or outside `span`. A driver's own validator, or none, would be the alternative.
    """
    if not span[0] <= voltage <= span[1]:
        raise LimitError(f"{channel}: {voltage:g} V is outside its range {span[0]:g} to {span[1]:g} V; nothing was set")


def open_resource(address: str, timeout: float = 5.0) -> MessageBasedResource:
    """Open a VISA resource with newline terminators and a timeout (s); a clear InstrumentError if nobody listens."""
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
        resource = pyvisa.ResourceManager("@py").open_resource(address, open_timeout=int(timeout * 1000))
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


class Line(Generic[_D]):
    """An open line to one instrument, and the QCoDeS driver that works over it.

    Any failure on the line closes it: what is still on its way must never be taken for the answer to a later question.
    """

    def __init__(self, name: str, address: str, timeout: float, model: str, driver: type[_D]) -> None:
        """Open `address`, check that ``*IDN?`` names `model`, and only then build the `driver` over it."""
        self.name = name
        self.address = address
        self._base_timeout = timeout
        self._resource: MessageBasedResource | None = open_resource(address, timeout)
        self._session = _session_of(self._resource)
        self._driver: _D | None = None
        try:
            with self.guarded("*IDN?"):
                self.identity = parse_identity(self._resource.query("*IDN?"), address)
                if model not in self.identity.model:
                    found = f"{self.identity.maker} {self.identity.model}"
                    raise InstrumentError(f"{address}: expected a {model}, found {found}")
                # QCoDeS names are process-global and must be identifiers; its drivers print when they connect.
                unique = f"{re.sub(r'[^0-9a-zA-Z_]', '_', name)}_{next(_serial)}"
                unique = unique if unique.isidentifier() else f"i_{unique}"
                make: Any = driver  # the drivers' own signatures do not know that an address may be None
                with contextlib.redirect_stdout(io.StringIO()):
                    self._driver = make(unique, None, resource=self._resource, timeout=timeout, device_clear=False)
            # the power-on bit of the event status register (IEEE 488.2, section 11.5.1.2.2); reading clears it
            self.rebooted = bool(int(self.ask_number("*ESR?")) & 128)
        except BaseException:
            self.close()
            raise
        if not self.identity.simulated:
            log.warning("%s (%s): this adapter has not met its hardware; check its first readings by hand", name, model)

    @property
    def driver(self) -> _D:
        """The driver, for its own methods; raises :class:`InstrumentError` once the line is closed."""
        if self._driver is None:
            raise InstrumentError(f"{self.name} ({self.address}): the line is closed; open the instrument again")
        return self._driver

    def ask(self, query: str) -> str:
        """Send `query` through the driver and return its reply."""
        driver = self.driver
        with self.guarded(query):
            return driver.ask(query)

    def ask_number(self, query: str) -> float:
        """Send `query` and return its reply, which must be one finite number."""
        reply = self.ask(query)
        with self.guarded(query):
            return parse_number(reply, self.name)

    def write(self, command: str) -> None:
        """Send `command` through the driver; nothing confirms it yet."""
        driver = self.driver
        with self.guarded(command):
            driver.write(command)

    def allow_time(self, reading_time: float) -> None:
        """Lengthen the timeout by the time (s) that a reading itself takes."""
        if self._resource is not None:
            self._resource.timeout = int((self._base_timeout + reading_time) * 1000)

    @contextlib.contextmanager
    def guarded(self, doing: str) -> Iterator[None]:
        """Turn any failure on the line into an InstrumentError and close the line; use it around driver methods."""
        from pyvisa.errors import Error as VisaError

        self._check_quiet(doing)
        try:
            yield
        except (InstrumentError, KeyboardInterrupt):  # an interrupted talk leaves its reply on the way
            self.close()
            raise
        except (VisaError, OSError, UnicodeError) as error:
            self.close()
            raise InstrumentError(f"{self.name} ({self.address}): {doing!r} failed: {error}; line closed") from error

    def _check_quiet(self, doing: str) -> None:
        """Refuse to go on if something waits to be read before anything was asked, or the other end has gone."""
        if self._session is None:
            return
        waiting = bytes(self._session._pending_buffer)  # what pyvisa-py has received beyond the last reply
        if not waiting:
            try:
                waiting = self._session.interface.recv(64, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                self.close()
                raise InstrumentError(f"{self.name} ({self.address}): lost before {doing!r}: {error}") from None
        self.close()
        state = f"an unasked reply {waiting!r} waits" if waiting else "the instrument has closed the connection"
        raise InstrumentError(f"{self.name} ({self.address}): {state} before {doing!r}; line closed")

    def drain_errors(self, query: str = "SYST:ERR?") -> list[str]:
        """Read the instrument's error queue until it is empty; what was in it."""
        errors: list[str] = []
        while len(errors) < 100:
            reply = self.ask(query)
            code = re.match(r"\s*([+-]?\d+)\s*,", reply)
            if code is None:
                self.close()
                raise InstrumentError(f"{self.name}: {query!r} gave {reply!r}, which is no error entry; line closed")
            if int(code.group(1)) == 0:
                break
            errors.append(reply)
        return errors

    def close(self) -> None:
        """Let go of the instrument without sending it anything. Closing twice does nothing."""
        driver, resource = self._driver, self._resource
        self._driver = self._resource = self._session = None
        if driver is not None:
            driver.close()
        if resource is not None:
            with contextlib.suppress(Exception):  # the driver has normally closed it already
                resource.close()
