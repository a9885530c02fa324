"""Floods and silence: the node stays up and answers, takes bounded memory for it, and changes nothing.

This is the part of the list of bad input that needs raw HTTP/2.  Where the rest of it is tested:

| what | where |
|---|---|
| plaintext to a TLS port and the reverse; certificates that have ended, have not begun, name another, are of another authority or role | tests/security |
| compressed bombs, 20 KiB of metadata, 1,000 keys of it, garbage in binary metadata, unknown methods, deadlines of 1 ns and none | tests/service/test_hostile.py |
| streams cancelled, silent or not read, forged page tokens, too many calls | tests/service/test_hostile.py, test_streams.py |
| idle connections, slow handshakes and bodies, floods of pings, settings, resets and headers, streams never read or half closed, watches without end, garbage, foreign authorities | here |
"""  # noqa: E501

from __future__ import annotations

import contextlib
import json
import random
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import crdtsync
from crdtsync.security.handshake import client_context
from crdtsync.transport.pb import data_pb2 as pb
from tests.abuse import wire
from tests.abuse.wire import Connect, call, frame, hung_up, message, push
from tests.integration.waiting import until
from tests.security.support import client_pair, node_pair, settings, write

MIB = 1 << 20
PORTS = ("data", "admin", "node")
PLAIN_MEMORY = 96 * MIB  # that an attack may leave behind, whatever its size: allocators keep what they had
KEPT = ("keys", "buckets", "members")
METHODS = {"data": "/crdtsync.v1.Data/Apply", "admin": "/crdtsync.v1.Admin/Status",
           "node": "/crdtsync.v1.Replication/Exchange"}  # fmt: skip


class Victim:
    """A node in a process of its own, an honest client of each port, and an honest peer."""

    def __init__(self, place: Path, tls: bool) -> None:
        files: list[str] = []
        self.tls: dict[str, Any] = {}
        self.context: ssl.SSLContext | None = None
        if tls:
            paths = write(place / "victim", node_pair("victim"))
            files = [paths.tls_ca, paths.tls_cert, paths.tls_key]
            self.tls = settings(write(place / "client", client_pair("client")))
            peer = settings(write(place / "peer", node_pair("peer")))
            self.context = ssl.create_default_context(cafile=paths.tls_ca)
            self.context.load_cert_chain(self.tls["tls_cert"], self.tls["tls_key"])
            self.context.set_alpn_protocols(["h2"])
        else:
            peer = {}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.abuse.victim", str(place / "store"), *files],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.addresses: dict[str, str] = json.loads(self._line())
        self.client = crdtsync.connect(self.addresses["data"], timeout=60.0, **self.tls)
        self.peer = crdtsync.open(None, name="peer", listen="127.0.0.1:0", join=[self.addresses["node"]], **peer)
        self.count = 0

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the victim is gone"
        return line

    def held(self) -> dict[str, Any]:
        """What it holds and what it costs."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        held: dict[str, Any] = json.loads(self._line())
        return held

    def connect(self, port: str) -> Connect:
        """How to connect to one of its ports."""
        address = self.addresses[port]
        return wire.plain(address) if self.context is None else wire.encrypted(address, self.context, "127.0.0.1")

    def serves(self) -> None:
        """An old client, a new one and a peer are served, and what they write is right."""
        self.client.pncounter("honest").increment()
        with crdtsync.connect(self.addresses["admin"], timeout=60.0, connect_timeout=50.0, **self.tls) as fresh:
            fresh.pncounter("honest").increment()
            self.peer.pncounter("honest").increment()
            self.count += 3
            until(lambda: fresh.pncounter("honest").value == self.count, 60)
        until(lambda: self.peer.pncounter("honest").value == self.count, 60)

    def close(self) -> None:
        self.client.close()
        self.peer.close()
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        assert self.process.wait(60) == 0
        self.process.stdout.close()


@pytest.fixture(scope="module", params=["plaintext", "tls"])
def victim(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    wire.many_files()
    victim = Victim(tmp_path_factory.mktemp("victim"), request.param == "tls")
    victim.serves()
    yield victim
    victim.close()


@contextlib.contextmanager
def unharmed(victim: Victim, memory: int = 0) -> Iterator[None]:
    """Around an attack: nothing has changed, honest callers are served during and after it, and memory is bounded.

    `memory`: bytes that the attack may hold while it lasts, beyond PLAIN_MEMORY.
    """
    before = victim.held()
    yield
    during = victim.held()
    assert [during[what] for what in KEPT] == [before[what] for what in KEPT]
    assert during["rss"] < before["rss"] + PLAIN_MEMORY + memory
    victim.serves()


@contextlib.contextmanager
def lines(victim: Victim, port: str, many: int, hello: bytes = b"") -> Iterator[list[socket.socket]]:
    """Connections that all say the same."""
    with contextlib.ExitStack() as stack:
        connect, made = victim.connect(port), []
        for _ in range(many):
            made.append(stack.enter_context(connect()))
            push(made[-1], hello)
        yield made
    until(lambda: victim.held()["files"] < 200, 60)  # what was closed is let go of


def sizes(few: int, many: int) -> Any:
    """A size for every run of the suite, and the one that is meant."""
    long = pytest.param(many, marks=[pytest.mark.long, pytest.mark.timeout(900)])
    return pytest.mark.parametrize("size", [few, long])


@pytest.mark.parametrize("port", PORTS)
@sizes(200, 10_000)
def test_idle_connections(victim: Victim, port: str, size: int) -> None:
    with unharmed(victim, 64 * 1024 * size), lines(victim, port, size, wire.HELLO):
        if victim.context is None and port != "node":  # elsewhere some have been cut off by now: they answer no probe
            until(lambda: victim.held()["files"] > size // 2, 60)  # a busy process accepts them when it gets to it
        victim.serves()


@pytest.mark.parametrize("port", PORTS)
def test_a_handshake_byte_by_byte(victim: Victim, port: str) -> None:
    """Of HTTP/2, or of TLS before it: who takes longer than the handshake may is cut off."""
    hello = wire.PREFACE if victim.context is None else client_hello()
    raw = wire.plain(victim.addresses[port])
    with unharmed(victim), contextlib.ExitStack() as stack:
        slow = [stack.enter_context(raw()) for _ in range(50)]
        for byte in hello[:-1]:
            for line in slow:
                push(line, bytes((byte,)))
            time.sleep(2.5 / len(hello))  # longer in all than handshake_timeout; what is measured is not time
        assert all(map(hung_up, slow))


def client_hello() -> bytes:
    """The first flight of a TLS client."""
    out = ssl.MemoryBIO()
    side = client_context(None, False).wrap_bio(ssl.MemoryBIO(), out, server_hostname="x")
    with contextlib.suppress(ssl.SSLWantReadError):
        side.do_handshake()
    return out.read()


@pytest.mark.parametrize("port", PORTS)
@sizes(20, 400)
def test_bodies_that_never_end(victim: Victim, port: str, size: int) -> None:
    """Calls whose message has begun; its caller goes on byte by byte and acknowledges nothing, so it is cut off."""
    begun = wire.HELLO + frame(wire.HEADERS, wire.END_HEADERS, 1, call(METHODS[port]))
    with unharmed(victim, 256 * 1024 * size), lines(victim, port, size, begun) as slow:
        for byte in message(bytes(64 * 1024))[:6]:
            for line in slow:
                push(line, frame(wire.DATA, 0, 1, bytes((byte,))))
        victim.serves()
        assert all(map(hung_up, slow))


@pytest.mark.parametrize("port", PORTS)
@sizes(2000, 100_000)
def test_pings(victim: Victim, port: str, size: int) -> None:
    """Who pings too fast is sent away."""
    with unharmed(victim), lines(victim, port, 1, wire.HELLO) as (line,):
        ping = frame(wire.PING, 0, 0, b"attacked") * 100
        went = [push(line, ping) for _ in range(size // 100)]
        said = list(wire.frames(line))
        assert any(kind == wire.GOAWAY and b"too_many_pings" in payload for kind, _, payload in said) or not all(went)


@pytest.mark.parametrize("port", PORTS)
@sizes(2000, 100_000)
def test_settings_without_end(victim: Victim, port: str, size: int) -> None:
    """Each must be acknowledged, and the acknowledgements are not read."""
    one = frame(wire.SETTINGS, 0, 0, b"\0\4\0\0\xff\xff") * 100
    with unharmed(victim, 128 * size), lines(victim, port, 4, wire.HELLO) as attackers:
        for line in attackers:
            line.settimeout(5)  # a server that reads no more has done enough
            for _ in range(size // 100):
                if not push(line, one):
                    break
        victim.serves()


@pytest.mark.parametrize("port", PORTS)
@sizes(2000, 100_000)
def test_rapid_resets(victim: Victim, port: str, size: int) -> None:
    """Calls begun and reset at once (CVE-2023-44487)."""
    with unharmed(victim), lines(victim, port, 4, wire.HELLO) as attackers:
        for line in attackers:
            line.settimeout(20)
            for first in range(1, size // 2, 200):
                burst = b"".join(
                    frame(wire.HEADERS, wire.END_HEADERS, stream, call(METHODS[port]))
                    + frame(wire.RST_STREAM, 0, stream, b"\0\0\0\x08")
                    for stream in range(first, first + 200, 2)
                )
                if not push(line, burst):
                    break
        victim.serves()
    until(lambda: victim.held()["running"] == 0, 60)


@pytest.mark.parametrize("port", PORTS)
@sizes(4, 40)
def test_headers_that_go_on_and_on(victim: Victim, port: str, size: int) -> None:
    """CONTINUATION frames without an end (CVE-2024-27983 and its like), 16 MiB of them a connection.

    gRPC takes up to twice as much for them as long as the connection is open, and no more for 2 GiB than for 16 MiB.
    """
    begun = wire.HELLO + frame(wire.HEADERS, 0, 1, call(METHODS[port]))
    more = frame(wire.CONTINUATION, 0, 1, b"".join(header_of(n) for n in range(100)))
    with unharmed(victim, 40 * MIB * size), lines(victim, port, size, begun) as attackers:
        for line in attackers:
            line.settimeout(20)
            for _ in range(16 * MIB // len(more)):
                if not push(line, more):
                    break
        victim.serves()


def header_of(number: int) -> bytes:
    return wire.header(f"x-{number}", "y" * 100)


@pytest.mark.parametrize("port", PORTS)
@sizes(2, 20)
def test_metadata_of_a_megabyte(victim: Victim, port: str, size: int) -> None:
    """Thousands of headers that the compression table makes cheap to send: a megabyte from every 8 KB.

    gRPC refuses them, and holds 2 MiB for the text that says why until the caller has read it.
    """
    block = call(METHODS[port]) + b"".join(b"\x40\1a" + bytes((120,)) + b"v" * 120 + b"\xbe" * 8000 for _ in range(2))
    with unharmed(victim, 100 * MIB * size), lines(victim, port, size, wire.HELLO) as attackers:
        for line in attackers:
            line.settimeout(20)
            pieces = [block[at : at + 16_000] for at in range(0, len(block), 16_000)]
            for stream in range(1, 101, 2):
                sent = push(line, frame(wire.HEADERS, 0 if pieces[1:] else wire.END_HEADERS, stream, pieces[0]))
                for piece in pieces[1:]:
                    end = wire.END_HEADERS if piece is pieces[-1] else 0
                    sent = sent and push(line, frame(wire.CONTINUATION, end, stream, piece))
                if not sent:
                    break
        victim.serves()


@sizes(8, 200)
def test_answers_that_are_never_read(victim: Victim, size: int) -> None:
    """Scans of much, with a window of a byte or none, in half-closed streams: each is ended after stall_max."""
    for number in range(200):
        victim.client.lwwregister(f"large-{number}").set("x" * 4096)
    request = message(pb.ScanRequest(bucket="default").SerializeToString())
    tiny = wire.PREFACE + frame(wire.SETTINGS, 0, 0, b"\0\4\0\0\0\1")
    scan = frame(wire.HEADERS, wire.END_HEADERS, 1, call("/crdtsync.v1.Data/Scan"))
    scan += frame(wire.DATA, wire.END_STREAM, 1, request)
    with unharmed(victim, 2 * MIB * size), lines(victim, "data", size, tiny + scan):
        victim.serves()
    until(lambda: victim.held()["running"] == 0, 60)


@sizes(300, 100_000)
def test_watches_without_end(victim: Victim, size: int) -> None:
    """Some are taken, as many as watchers_max; the others are refused by name, and all are let go of in the end."""
    request = message(pb.WatchRequest(bucket="default").SerializeToString())
    refused = victim.held()["counters"].get("server_busy", 0)
    with unharmed(victim, 512 * size), lines(victim, "data", max(size // 400, 2), wire.HELLO) as attackers:
        each = size // len(attackers)
        for line in attackers:
            line.settimeout(20)
            for stream in range(1, 2 * each, 2):
                watch = frame(wire.HEADERS, wire.END_HEADERS, stream, call("/crdtsync.v1.Data/Watch"))
                if not push(line, watch + frame(wire.DATA, wire.END_STREAM, stream, request)):
                    break
        until(lambda: victim.held()["counters"].get("server_busy", 0) > refused, 60)
        victim.serves()
        assert victim.held()["watches"] <= 64  # fewer where attackers have been cut off meanwhile: they answer no probe
    until(lambda: victim.held()["watches"] == 0, 60)


@pytest.mark.parametrize("port", PORTS)
@sizes(200, 20_000)
def test_connections_made_and_dropped(victim: Victim, port: str, size: int) -> None:
    with unharmed(victim):
        connect = wire.plain(victim.addresses[port])
        for number in range(size):
            with connect() as line:
                push(line, wire.HELLO[: number % len(wire.HELLO)])
        victim.serves()
    until(lambda: victim.held()["files"] < 200, 60)


@pytest.mark.parametrize("port", PORTS)
@sizes(40, 2000)
def test_garbage_in_good_frames(victim: Victim, port: str, size: int) -> None:
    """Any bytes after a good beginning: frames of random kinds, streams and contents, and no frames at all."""
    rng = random.Random(size)
    with unharmed(victim), lines(victim, port, size, wire.HELLO) as attackers:
        for number, line in enumerate(attackers):
            line.settimeout(20)
            for _ in range(10):
                data = rng.randbytes(rng.randrange(200))
                if number % 2:
                    data = frame(rng.randrange(12), rng.randrange(256), rng.choice((0, 1, 2, 2**31 - 1)), data)
                if not push(line, data):
                    break
        victim.serves()


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize("authority", ["", "other.example", "127.0.0.1:1@evil", "x" * 120, "../../etc/passwd"])
def test_tricks_with_the_authority(victim: Victim, port: str, authority: str) -> None:
    """What a caller says that the server is called decides nothing."""
    block = call(METHODS[port]).replace(wire.header(":authority", "x"), wire.header(":authority", authority))
    empty = frame(wire.DATA, wire.END_STREAM, 1, message(b""))
    with unharmed(victim), lines(victim, port, 1, wire.HELLO) as (line,):
        push(line, frame(wire.HEADERS, wire.END_HEADERS, 1, block) + empty)
        assert any(kind in (wire.HEADERS, wire.RST_STREAM, wire.GOAWAY) for kind, _, _ in until_answered(line))


def until_answered(line: socket.socket) -> Iterator[tuple[int, int, bytes]]:
    """Frames up to the first that answers a call."""
    for kind, flags, payload in wire.frames(line):
        yield kind, flags, payload
        if kind in (wire.HEADERS, wire.RST_STREAM, wire.GOAWAY):
            return


