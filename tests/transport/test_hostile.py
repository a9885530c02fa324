"""What arrives at an open port: not HTTP/2, not our method, too much, too slow, or gone in the middle.

Each costs at most its own connection: afterwards an honest link is made and works.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from crdtsync.config import KIB, MIB
from crdtsync.replication import messages as m
from crdtsync.transport.grpc import METHOD, SERVICE, GrpcTransport
from crdtsync.transport.wire import encode
from tests.proxy import TO_TARGET, Proxy
from tests.transport.support import Net, Owner, part, small

PATH = f"/{SERVICE}/{METHOD}"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HELLO = encode(m.Bye(reason="hello"))


class Target:
    """A transport under attack."""

    def __init__(self, net: Net, **settings: Any) -> None:
        self.net = net
        transport, self.owner = net.started(**settings)
        assert isinstance(transport, GrpcTransport)
        self.transport = transport
        self.counters = transport.counters

    def connect(self) -> socket.socket:
        host, _, port = self.transport.address.rpartition(":")
        return socket.create_connection((host, int(port)), timeout=20)

    def channel(self, *options: tuple[str, Any]) -> grpc.Channel:
        limits = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        return grpc.insecure_channel(self.transport.address, options=[*limits, *options])

    def assert_well(self) -> None:
        """An honest node gets a link, and messages go both ways."""
        friend, ours = self.net.started()
        here, there = self.net.join(friend, ours, self.transport, self.owner)
        assert friend.send(here, small(1))
        assert self.transport.send(there, small(2))
        self.net.until(lambda: ours.got.get(here) == [small(2)] and self.owner.got.get(there) == [small(1)])
        friend.stop()


@pytest.fixture
def net() -> Iterator[Net]:
    net = Net("grpc")
    yield net
    net.close()


@pytest.fixture
def target(net: Net) -> Target:
    return Target(net)


def exchange(channel: grpc.Channel, *frames: bytes, **call: Any) -> Any:
    """Open the stream with these frames and leave it open."""
    return channel.stream_stream(PATH)(iter([*frames]), **call)


# ---- not gRPC


def drained(connection: socket.socket) -> None:
    """Read until the other side closes; a reset is a close."""
    try:
        while connection.recv(65536):
            pass
    except ConnectionError:
        pass


@pytest.mark.parametrize(
    "data",
    [
        os.urandom(4096),
        b"\0" * 4096,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x55" * 512,  # how TLS begins
        PREFACE + b"\xff" * 64,
        PREFACE + os.urandom(1024),
    ],
    ids=["random", "zeros", "HTTP/1.1", "TLS", "bad frame", "random frames"],
)
def test_not_grpc(target: Target, data: bytes) -> None:
    with target.connect() as connection:
        connection.sendall(data)
        drained(connection)
    target.assert_well()
    assert len(target.owner.ups) == 1


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def headers(path: str) -> bytes:
    """A HPACK block without compression."""

    def literal(name: str, value: str) -> bytes:
        return b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()

    pairs = ((":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x"), ("te", "trailers"),
             ("content-type", "application/grpc"))  # fmt: skip
    return b"".join(literal(*pair) for pair in pairs)


def test_rapid_reset(target: Target) -> None:
    """Streams opened and reset faster than they can be served."""
    with target.connect() as connection:
        connection.sendall(PREFACE + frame(4, 0, 0))
        block = headers(PATH)
        try:
            for stream in range(1, 6001, 2):
                connection.sendall(frame(1, 4, stream, block) + frame(3, 0, stream, b"\0\0\0\x08"))
        except ConnectionError:
            pass  # it had enough of us
    target.assert_well()
    target.net.until(lambda: len(target.owner.links()) == 0)


def test_ping_flood(target: Target) -> None:
    with target.connect() as connection:
        connection.sendall(PREFACE + frame(4, 0, 0))
        try:
            for _ in range(20_000):
                connection.sendall(frame(6, 0, 0, b"12345678"))
        except ConnectionError:
            pass
    target.assert_well()


def test_headers_without_end(target: Target) -> None:
    """CONTINUATION frames that never end the header block."""
    with target.connect() as connection:
        connection.sendall(PREFACE + frame(4, 0, 0) + frame(1, 0, 1, headers(PATH)))
        try:
            for number in range(2000):
                pair = b"\x00\x05" + b"%05d" % number + b"\x64" + b"v" * 100
                connection.sendall(frame(9, 0, 1, pair * 50))
        except ConnectionError:
            pass
    target.assert_well()


def test_idle_and_half_open_connections(net: Net) -> None:
    target = Target(net, connect_timeout=0.5)
    idle = [target.connect() for _ in range(200)]
    for number, connection in enumerate(idle):
        connection.sendall(PREFACE[: number % len(PREFACE)])  # as slow as can be
    target.assert_well()
    for connection in idle:
        drained(connection)  # returns, since the server closes them
        connection.close()


# ---- gRPC, but not ours


@pytest.mark.parametrize("path", ["/crdtsync.v1.Replication/Other", "/x/y", "/grpc.health.v1.Health/Check", "/"])
def test_unknown_method(target: Target, path: str) -> None:
    with target.channel() as channel, pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary(path)(b"", timeout=20)
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert target.counters["unknown_methods"] == 1
    target.assert_well()


def test_metadata_beyond_bounds(target: Target) -> None:
    with target.channel() as channel, pytest.raises(grpc.RpcError) as raised:
        list(exchange(channel, HELLO, metadata=[("x", "v" * 20_000)], timeout=20))
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    target.assert_well()


def test_garbage_in_a_stream(target: Target) -> None:
    with target.channel() as channel, pytest.raises(grpc.RpcError) as raised:
        list(exchange(channel, HELLO, os.urandom(1000), timeout=20))
    assert raised.value.code() is grpc.StatusCode.ABORTED
    assert "bad frame" in raised.value.details()
    assert target.counters["bad_frame"] == 1
    target.assert_well()


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_oversized_frame(net: Net, compression: grpc.Compression) -> None:
    """Also one that only grows large when it is inflated."""
    target = Target(net, message_bytes_max=9 * MIB)
    with target.channel() as channel, pytest.raises(grpc.RpcError) as raised:
        list(exchange(channel, HELLO, b"\0" * (100 * MIB), compression=compression, timeout=60))
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    net.until(lambda: target.owner.downs)
    target.assert_well()


def test_a_stream_that_ends_at_once(target: Target) -> None:
    with target.channel() as channel:
        assert list(exchange(channel, timeout=20)) == []
        with contextlib.suppress(grpc.RpcError):  # the answer may be faster
            list(exchange(channel, HELLO, timeout=1e-9))
    target.net.until(lambda: not target.owner.links())
    target.assert_well()


def open_stream(target: Target, channel: grpc.Channel) -> tuple[Any, int]:
    """A stream that says hello and stays; the call, and its link at the target."""
    done = threading.Event()

    def requests() -> Iterator[bytes]:
        yield HELLO
        done.wait(60)

    before = len(target.owner.ups)
    call = channel.stream_stream(PATH)(requests())
    call.add_callback(done.set)
    target.net.until(lambda: len(target.owner.ups) > before and target.owner.ups[-1][0] in target.owner.got)
    return call, target.owner.ups[-1][0]


def test_cancel_mid_stream(target: Target) -> None:
    with target.channel() as channel:
        for _ in range(20):
            call, link = open_stream(target, channel)
            target.transport.send(link, part(1, 100_000))
            call.cancel()
        target.net.until(lambda: not target.owner.links())
    target.assert_well()
    assert len(target.owner.downs) >= 20


def test_a_stream_never_read(net: Net) -> None:
    target = Target(net, send_queue_bytes_max=1 * MIB)
    with target.channel() as channel:
        call, link = open_stream(target, channel)
        number = 0
        while target.transport.send(link, part(number, 256 * KIB)):
            number += 1
            assert number < 400
        net.until(lambda: link not in target.owner.links())
        assert target.counters["send_queue_overflow"] == 1
        target.assert_well()
        call.cancel()


def test_more_links_than_allowed(net: Net) -> None:
    target = Target(net, links_max=3)
    with target.channel() as channel:
        calls = [open_stream(target, channel)[0] for _ in range(3)]
        with pytest.raises(grpc.RpcError) as raised:
            list(exchange(channel, HELLO, timeout=20))
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert target.counters["links_refused"] == 1
        for call in calls:
            call.cancel()
    net.until(lambda: not target.owner.links())
    target.assert_well()


def test_an_owner_that_fails_costs_its_link(target: Target) -> None:
    """Events must not raise; when one does, it is our bug, and stays on its link."""

    def broken(*event: Any) -> None:
        raise RuntimeError("owner is broken")

    with target.channel() as channel:
        call, link = open_stream(target, channel)
        friend, ours = target.net.started()
        here, _ = target.net.join(friend, ours, target.transport, target.owner)
        target.owner.notice = broken
        friend.send(here, small(1))
        target.net.until(lambda: ours.downs)
        target.owner.notice = lambda *event: None
        assert target.counters["link_failures"] == 1
        assert link in target.owner.links()
        call.cancel()
    target.assert_well()


# ---- networks that fail


def through(net: Net, proxy: Proxy, **settings: Any) -> tuple[Any, Owner, int, Any, Owner, int]:
    """A pair whose link runs through a proxy."""
    (a, ours), (b, theirs) = net.started(**settings), net.started(**settings)
    proxy.target = b.address
    a.connect(proxy.address)
    net.until(lambda: ours.ups and theirs.ups)
    return a, ours, ours.ups[-1][0], b, theirs, theirs.ups[-1][0]


def test_cut_and_heal(net: Net) -> None:
    with Proxy() as proxy:
        a, ours, _, _, theirs, _ = through(net, proxy)
        proxy.cut()
        net.until(lambda: ours.downs and theirs.downs)
        a.connect(proxy.address)
        net.until(lambda: ours.failures)
        proxy.heal()
        a.connect(proxy.address)
        net.until(lambda: len(ours.ups) == 2 and len(theirs.ups) == 2)
        a.send(ours.ups[-1][0], small(1))
        net.until(lambda: theirs.got)


def test_a_short_black_hole_loses_nothing(net: Net) -> None:
    with Proxy() as proxy:
        a, ours, here, _, theirs, there = through(net, proxy)
        proxy.blackhole(TO_TARGET)
        for number in range(100):
            assert a.send(here, small(number))
        assert not theirs.got
        proxy.heal()
        net.until(lambda: len(theirs.got.get(there, [])) == 100)
        assert not ours.downs


def test_a_long_black_hole_is_found_out(net: Net) -> None:
    with Proxy() as proxy:
        quick = {"keepalive_interval": 0.2, "keepalive_timeout": 0.3, "connect_timeout": 1.0}
        a, ours, here, b, theirs, there = through(net, proxy, **quick)
        a.send(here, small(1))
        b.send(there, small(1))
        net.until(lambda: ours.got and theirs.got)
        proxy.blackhole()
        net.until(lambda: ours.downs and theirs.downs)
        a.connect(proxy.address)
        net.until(lambda: ours.failures)


def test_a_port_that_never_answers(net: Net) -> None:
    a, ours = net.started(connect_timeout=0.3)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        a.connect(f"127.0.0.1:{mute.getsockname()[1]}")
        net.until(lambda: ours.failures)
    assert a.counters["connects_failed"] == 1


def test_stopping_in_the_middle_of_a_dial(net: Net) -> None:
    a, ours = net.started()
    with socket.create_server(("127.0.0.1", 0)) as mute:
        a.connect(f"127.0.0.1:{mute.getsockname()[1]}")
        a.stop()
    assert ours.ups == []


def test_dialling_through_a_connect_proxy(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "no_grpc_proxy", "NO_PROXY"):  # common, and not about nodes
        monkeypatch.setenv(name, "localhost,127.0.0.1")
    with Proxy(connect=True) as proxy:
        a, ours = net.started(connect_proxy=proxy.address)
        b, theirs = net.started()
        here, _ = net.join(a, ours, b, theirs)
        a.send(here, small(1))
        net.until(lambda: theirs.got)
        assert proxy.connections() == 1
        proxy.cut()
        net.until(lambda: ours.downs and theirs.downs)
        a.connect(b.address)
        net.until(lambda: ours.failures)


def test_no_proxy_unless_asked(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    (a, ours), (b, theirs) = net.started(), net.started()
    net.join(a, ours, b, theirs)
