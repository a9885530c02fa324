"""The proxy itself: forwards, cuts, holds, slows, heals, and serves HTTP CONNECT."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.proxy import FROM_TARGET, TO_TARGET, Proxy

DEADLINE = 10.0


class Echo:
    """A server that sends back what it gets."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"
        self.got = b""
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65536):
                    self.got += data
                    connection.sendall(data)
            except OSError:
                return


def call(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=DEADLINE)


def exchange(connection: socket.socket, data: bytes) -> bytes:
    connection.sendall(data)
    return receive(connection, len(data))


def receive(connection: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        chunk = connection.recv(size - len(got))
        if not chunk:
            raise ConnectionResetError("closed")
        got += chunk
    return got


def assert_reset(address: str, data: bytes = b"x") -> None:
    with pytest.raises(ConnectionError), call(address) as connection:
        exchange(connection, data)


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.socket.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy(echo.address) as proxy:
        yield proxy


def test_forwards_both_ways(proxy: Proxy) -> None:
    data = bytes(range(256)) * 1000
    with call(proxy.address) as connection:
        sender = threading.Thread(target=connection.sendall, args=(data,))
        sender.start()
        assert receive(connection, len(data)) == data
        sender.join(DEADLINE)


def test_cut_resets_what_is_and_what_comes(proxy: Proxy) -> None:
    with call(proxy.address) as connection:
        assert exchange(connection, b"before") == b"before"
        proxy.cut()
        with pytest.raises(ConnectionError):
            exchange(connection, b"after")
    assert_reset(proxy.address)
    proxy.heal()
    with call(proxy.address) as healed:
        assert exchange(healed, b"y") == b"y"


def test_black_hole_holds_and_heals(proxy: Proxy, echo: Echo) -> None:
    with call(proxy.address) as connection:
        assert exchange(connection, b"before") == b"before"
        proxy.blackhole()
        connection.sendall(b"held")
        with call(proxy.address) as unserved:
            unserved.sendall(b"too")
            connection.settimeout(0.1)
            with pytest.raises(TimeoutError):
                connection.recv(1)
            assert echo.got == b"before"
            proxy.heal()
            connection.settimeout(DEADLINE)
            assert receive(connection, 4) == b"held"
            assert receive(unserved, 3) == b"too"


def test_one_way(proxy: Proxy, echo: Echo) -> None:
    with call(proxy.address) as connection:
        assert exchange(connection, b"a") == b"a"
        proxy.blackhole(FROM_TARGET)
        connection.sendall(b"b")
        deadline = time.monotonic() + DEADLINE
        while echo.got != b"ab":
            assert time.monotonic() < deadline
        connection.settimeout(0.05)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        proxy.heal()
        connection.settimeout(DEADLINE)
        assert receive(connection, 1) == b"b"
        proxy.blackhole(TO_TARGET)
        connection.sendall(b"c")
        proxy.heal()
        assert receive(connection, 1) == b"c"


def test_delay(proxy: Proxy) -> None:
    with call(proxy.address) as connection:
        proxy.delay(0.05)
        started = time.monotonic()
        assert exchange(connection, b"slow") == b"slow"
        assert time.monotonic() - started >= 0.1  # no upper bound: only that it did wait, both ways


def test_target_may_change_and_be_missing(echo: Echo) -> None:
    with Proxy() as proxy:
        assert_reset(proxy.address)
        proxy.target = echo.address
        with call(proxy.address) as connection:
            assert exchange(connection, b"x") == b"x"


def test_connect(echo: Echo) -> None:
    with Proxy(connect=True) as proxy:
        with call(proxy.address) as connection:
            connection.sendall(f"CONNECT {echo.address} HTTP/1.1\r\nHost: {echo.address}\r\n\r\n".encode())
            answer = b"HTTP/1.1 200 Connection established\r\n\r\n"
            assert receive(connection, len(answer)) == answer
            assert exchange(connection, b"through") == b"through"
            proxy.cut()
            with pytest.raises(ConnectionError):
                exchange(connection, b"after")
        proxy.heal()
        assert_reset(proxy.address, b"GET / HTTP/1.1\r\n\r\n")
