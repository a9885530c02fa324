"""HTTP/2 as bytes: as much of it as it takes to misuse it."""

from __future__ import annotations

import contextlib
import resource
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator

from crdtsync.transport.descriptors import raise_limit

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
ENOUGH = 60.0  # s that a server has to react
Connect = Callable[[], socket.socket]


def many_files() -> None:
    """Let this process open as many files as the attacks take; only root may where the hard limit is lower."""
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (100_000, 100_000))
    except (OSError, ValueError):
        raise_limit()


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


HELLO = PREFACE + frame(SETTINGS, 0, 0)


def header(name: str, value: str) -> bytes:
    """A literal header without indexing or Huffman coding; both below 127 bytes."""
    return b"\0" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()


def call(path: str) -> bytes:
    """The header block of a gRPC call."""
    pairs = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "x", "te": "trailers",
             "content-type": "application/grpc"}  # fmt: skip
    return b"".join(header(name, value) for name, value in pairs.items())


def message(payload: bytes) -> bytes:
    return b"\0" + len(payload).to_bytes(4, "big") + payload


def plain(address: str) -> Connect:
    host, port = address.rsplit(":", 1)
    return lambda: socket.create_connection((host, int(port)), 20)


def encrypted(address: str, context: ssl.SSLContext, name: str) -> Connect:
    return lambda: context.wrap_socket(plain(address)(), server_hostname=name)


def push(line: socket.socket, data: bytes) -> bool:
    """Send; False when the other side has had enough."""
    try:
        line.sendall(data)
    except OSError:
        return False
    return True


def frames(line: socket.socket) -> Iterator[tuple[int, int, bytes]]:
    """(kind, flags, payload) of what comes, until the other side hangs up or is silent for too long."""
    data = b""
    line.settimeout(ENOUGH)
    with contextlib.suppress(OSError):
        while more := line.recv(1 << 16):
            data += more
            while len(data) >= 9 and len(data) >= 9 + (size := int.from_bytes(data[:3], "big")):
                yield data[3], data[4], data[9 : 9 + size]
                data = data[9 + size :]


def hung_up(line: socket.socket) -> bool:
    """Wait until the other side ends the connection; False when it does not within ENOUGH seconds."""
    deadline = time.monotonic() + ENOUGH
    line.settimeout(1.0)
    while time.monotonic() < deadline:
        try:
            if not line.recv(1 << 16):
                return True
        except TimeoutError:
            continue
        except OSError:
            return True
    return False


def still_open(lines: list[socket.socket]) -> int:
    """How many of the connections the other side has not ended, without waiting."""
    poll = select.poll()
    for line in lines:
        poll.register(line, select.POLLRDHUP)
    return len(lines) - len(poll.poll(0))
