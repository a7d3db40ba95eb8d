import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from simulators.wire.scpi import LINE_CAP, ScpiPersonality, command
from simulators.wire.server import Servers


class Echo(ScpiPersonality):
    """Answers with its own name, or a lot of it."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.identity = name
        self.threads: set[int] = set()
        self.messages: list[bytes] = []

    def reset(self) -> None:
        pass

    @command("NAME?")
    def _name(self) -> str:
        self.threads.add(threading.get_ident())
        return self.identity

    @command("LONG?")
    def _long(self) -> str:
        return "x" * 10_000_000

    @command("BLOCk")
    def _block(self, data: str) -> None:
        self.messages.append(data.encode("latin-1"))


@pytest.fixture
def echoes() -> dict[str, Echo]:
    return {"one": Echo("one"), "two": Echo("two")}


@pytest.fixture
def servers(echoes) -> Iterator[Servers]:
    with Servers(echoes) as running:
        yield running


def connect(servers: Servers, name: str) -> socket.socket:
    _, host, port, _ = servers.addresses[name].split("::")
    line = socket.create_connection((host, int(port)), timeout=5)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return line


def ask(line: socket.socket, message: bytes) -> bytes:
    line.sendall(message + b"\n")
    reply = b""
    while reply.count(b"\n") < message.count(b"?\n") + 1:
        reply += line.recv(4096)
    return reply[:-1]


def test_each_instrument_has_its_own_loopback_port(servers):
    assert set(servers.addresses) == {"one", "two"}
    assert all(address.startswith("TCPIP0::127.0.0.1::") for address in servers.addresses.values())
    for name in servers.addresses:
        with connect(servers, name) as line:
            assert ask(line, b"NAME?") == name.encode()


def test_several_clients_and_messages_in_pieces(servers):
    with connect(servers, "one") as first, connect(servers, "one") as second:
        first.sendall(b"NA")
        assert ask(second, b"NAME?") == b"one"
        assert ask(first, b"ME?\r") == b"one"
        assert ask(first, b"NAME?\nNO:SUCH\nNAME?;NAME?") == b"one\none;one"


def test_a_client_that_leaves_in_mid_reply_hurts_nobody(servers):
    line = connect(servers, "one")
    line.sendall(b"LONG?\nNAME?\n")
    line.recv(10)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset, not a farewell
    line.close()
    for name in ("one", "two"):
        with connect(servers, name) as other:
            assert ask(other, b"NAME?") == name.encode()


def test_binary_nonsense_is_an_error_in_the_queue(servers, echoes):
    with connect(servers, "one") as line:
        line.sendall(bytes(range(256)) + b"\n")
        assert ask(line, b"NAME?") == b"one"
    assert set(echoes["one"].errors) <= {-101, -113}
    assert echoes["one"].errors


def test_a_message_beyond_the_cap_is_dropped_and_the_line_stays_in_step(servers, echoes):
    with connect(servers, "one") as line:
        line.sendall(b"NAME?" + b"x" * (3 * LINE_CAP) + b"\n")
        assert ask(line, b"NAME?") == b"one"
    assert list(echoes["one"].errors) == [-363]


def test_blocks_keep_their_newlines(servers, echoes):
    data = b"#15\n\n;\n,"
    with connect(servers, "one") as line:
        assert ask(line, b"BLOC " + data + b"\nNAME?") == b"one"
        line.sendall(b"BLOC #6099999lost")  # and a client that leaves in the middle of one
    assert servers.call(lambda: echoes["one"].messages) == [data]


def test_call_runs_on_the_loop_and_passes_results_and_errors(servers, echoes):
    with connect(servers, "one") as line:
        ask(line, b"NAME?")
    assert {servers.call(threading.get_ident)} == echoes["one"].threads
    with pytest.raises(ZeroDivisionError):
        servers.call(lambda: 1 / 0)


def test_start_and_stop(echoes):
    servers = Servers(echoes)
    assert servers.addresses == {}
    with pytest.raises(RuntimeError):
        servers.call(int)
    servers.start()
    with pytest.raises(RuntimeError):
        servers.start()
    with connect(servers, "two") as talking, connect(servers, "two") as silent:
        assert ask(talking, b"NAME?") == b"two"
        servers.stop()
        servers.stop()
        for line in (talking, silent):  # the connection is closed, not forgotten
            with contextlib.suppress(ConnectionResetError):
                assert line.recv(10) == b""
    servers.start()  # and it can start again
    servers.stop()
