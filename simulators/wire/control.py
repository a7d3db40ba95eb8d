"""The control port of a served bench: time, log and faults, one JSON object a line each way, on loopback.

Requests: ``{"do": "now"}``, ``{"do": "addresses"}``, ``{"do": "sleep", "seconds": 1.5}``, ``{"do": "messages"}`` (that
the instruments have got so far), ``{"do": "log", "after": 0}``,
``{"do": "fault", "on": "dmm", "kind": "silent", "after": 3, "count": 1}`` (the keys are those of
:mod:`labthermo.faults`, the same as in a station file; `instrument` is another word for `on`),
``{"do": "risk", "instrument": "dmm", "probability": 0.05, "kinds": ["digit"], "seed": 1}``.
Replies: ``{"ok": ...}`` or ``{"error": "..."}``.
"""

from __future__ import annotations

import json
import math
import socket
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Protocol

from labthermo.errors import InstrumentError
from labthermo.faults import read_fault
from simulators.faults import Chance, FaultyInstrument, FaultyWorld, inject
from simulators.wire.world import LogEntry

LONGEST_SLEEP = 1e6  # s of bench time in one request
PAGE = 20_000  # log entries in one reply


class ControlledBench(FaultyWorld, Protocol):
    """What the control port needs of a bench."""

    log: list[LogEntry]


class ControlPort:
    """Answers requests about one bench; served beside its instruments, on the same loop."""

    def __init__(
        self,
        bench: ControlledBench,
        instruments: Mapping[str, FaultyInstrument],
        addresses: Callable[[], dict[str, str]],
    ) -> None:
        self._bench = bench
        self._instruments = instruments
        self.addresses = addresses

    def handle(self, message: bytes) -> bytes | None:
        """One request, one reply; whatever is sent, the bench lives on."""
        try:
            request = json.loads(message)
            if not isinstance(request, dict):
                raise ValueError("a request is a JSON object")
            reply: dict[str, Any] = {"ok": self._do(**request)}
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        return json.dumps(reply).encode() + b"\n"

    def _do(self, do: str, **detail: Any) -> Any:
        if do == "now":
            return self._bench.now()
        if do == "messages":
            return sum(instrument.messages for instrument in self._instruments.values())
        if do == "addresses":
            return self.addresses()
        if do == "sleep":
            seconds = float(detail["seconds"])
            if not (math.isfinite(seconds) and 0 <= seconds <= LONGEST_SLEEP):
                raise ValueError(f"cannot sleep {seconds} s; it takes 0 to {LONGEST_SLEEP:g} s")
            self._bench.wait(seconds)
            return self._bench.now()
        if do == "log":
            after = int(detail.get("after", 0))
            return [asdict(entry) for entry in self._bench.log[after : after + PAGE]]
        if do == "fault":
            if "instrument" in detail:
                detail["on"] = detail.pop("instrument")
            inject(read_fault(detail), self._instruments, self._bench)
            return None
        if do == "risk":
            name = detail.pop("instrument")
            if name not in self._instruments:
                raise ValueError(f"no instrument {name!r}; there are {', '.join(self._instruments)}")
            if "kinds" in detail:
                detail["kinds"] = tuple(detail["kinds"])
            self._instruments[name].risk(Chance(**detail))
            return None
        raise ValueError(f"cannot do {do!r}; there are now, messages, addresses, sleep, log, fault and risk")


class ControlClient:
    """The other end: a served bench as a clock, for a program that attaches to it.

    address: ``HOST:PORT`` as `labthermo bench` prints it.

    Raises
    ------
    InstrumentError: nothing answers there, or something else does.
    """

    def __init__(self, address: str, timeout: float = 30.0) -> None:
        self.address = address
        host, _, port = address.rpartition(":")
        try:
            if not port.isdigit():
                raise OSError("it is not HOST:PORT")
            self._socket = socket.create_connection((host or "127.0.0.1", int(port)), timeout)
        except (OSError, OverflowError) as error:
            raise InstrumentError(f"no bench at {address}: {error}; start one with `labthermo bench`") from None
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")
        try:
            self.addresses: dict[str, str] = self._ask(do="addresses")
        except BaseException:
            self.close()
            raise

    def now(self) -> float:
        """Bench time, s."""
        return self._ask(do="now")

    def sleep(self, duration: float) -> None:
        """Let bench time pass, s."""
        self._ask(do="sleep", seconds=max(0.0, duration))

    def messages(self) -> int:
        """How many messages all instruments have been sent so far."""
        return self._ask(do="messages")

    def read_log(self) -> list[LogEntry]:
        """The Bench's own log so far."""
        entries: list[LogEntry] = []
        while page := self._ask(do="log", after=len(entries)):
            entries += [LogEntry(**entry) for entry in page]
        return entries

    def inject(self, on: str, kind: str, **detail: Any) -> None:
        """Inject a fault on an instrument or a channel; `detail` are the keys of :mod:`labthermo.faults`."""
        self._ask(do="fault", on=on, kind=kind, **detail)

    def risk(self, instrument: str, **detail: Any) -> None:
        """Let every reply go wrong by chance; see :class:`simulators.faults.Chance`."""
        self._ask(do="risk", instrument=instrument, **detail)

    def close(self) -> None:
        """Let go; the bench lives on. Closing twice does nothing."""
        self._file.close()
        self._socket.close()

    def _ask(self, **request: Any) -> Any:
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            line = self._file.readline()
            reply = json.loads(line) if line.endswith(b"\n") else None
        except (OSError, ValueError) as error:
            raise InstrumentError(f"the bench at {self.address} does not answer: {error}") from None
        if not isinstance(reply, dict) or "error" in reply or "ok" not in reply:
            what = reply.get("error", reply) if isinstance(reply, dict) else "it has gone"
            raise InstrumentError(f"the bench at {self.address}: {what}")
        return reply["ok"]
