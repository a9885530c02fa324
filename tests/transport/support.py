"""A network of transports of either kind, and an owner that writes down what it is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from crdtsync.config import Config
from crdtsync.replication import messages as m
from crdtsync.transport.grpc import GrpcTransport
from crdtsync.transport.memory import MemoryNetwork, MemoryTransport, Turns

DEADLINE = 20.0  # s of real time before a condition counts as never met
STEP = 0.02  # s: how finely virtual time passes

AnyTransport = GrpcTransport | MemoryTransport


class Owner:
    """TransportEvents, recorded.  `notice` is called on each, on the transport's thread."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.ups: list[tuple[int, str, bool]] = []
        self.got: dict[int, list[m.Message]] = {}
        self.downs: list[tuple[int, str]] = []
        self.failures: list[tuple[str, str]] = []
        self.log: list[tuple[Any, ...]] = []
        self.notice: Callable[..., None] = lambda *event: None

    def link_up(self, link: int, address: str, outgoing: bool, node: str = "") -> None:
        self._record(self.ups, (link, address, outgoing), "up", link)

    def message(self, link: int, message: m.Message) -> None:
        self._record(self.got.setdefault(link, []), message, "message", link, message)

    def link_down(self, link: int, reason: str) -> None:
        self._record(self.downs, (link, reason), "down", link)

    def connect_failed(self, address: str, reason: str) -> None:
        self._record(self.failures, (address, reason), "failed", address)

    def _record(self, place: list[Any], entry: Any, *event: Any) -> None:
        with self.changed:
            place.append(entry)
            self.log.append(event)
            self.changed.notify_all()
        self.notice(*event)

    def links(self) -> list[int]:
        down = {link for link, _ in self.downs}
        return [link for link, _, _ in self.ups if link not in down]


class Net:
    """Transports of one kind.  `until` waits in real time for gRPC and lets virtual time pass in memory."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.turns = Turns()
        self.memory = MemoryNetwork(self.turns)
        self.transports: list[AnyTransport] = []

    def make(self, **settings: Any) -> AnyTransport:
        config = Config(**{"listen": "127.0.0.1:0", **settings}).validate()
        transport = GrpcTransport(config) if self.kind == "grpc" else MemoryTransport(config, self.memory)
        self.transports.append(transport)
        return transport

    def started(self, **settings: Any) -> tuple[AnyTransport, Owner]:
        transport, owner = self.make(**settings), Owner()
        transport.start(owner)
        return transport, owner

    def until(self, condition: Callable[[], Any], what: str = "", deadline: float = DEADLINE) -> None:
        end = time.monotonic() + deadline
        while not condition():
            if self.kind == "memory":
                self.turns.advance(STEP)
                end -= STEP  # virtual seconds count: a condition never met is found at once
            else:
                time.sleep(0.001)
            assert time.monotonic() < end, f"never: {what or condition}"

    def pair(self, **settings: Any) -> tuple[AnyTransport, Owner, int, AnyTransport, Owner, int]:
        """Two transports with a link: the caller's with its number for it, the called one's with its own."""
        (a, ours), (b, theirs) = self.started(**settings), self.started(**settings)
        return (a, ours, *self.join(a, ours, b, theirs)[:1], b, theirs, theirs.ups[-1][0])

    def join(self, a: AnyTransport, ours: Owner, b: AnyTransport, theirs: Owner) -> tuple[int, int]:
        """Link a to b: the numbers of the link at either."""
        before = len(ours.ups), len(theirs.ups)
        a.connect(b.address)
        self.until(lambda: (len(ours.ups), len(theirs.ups)) == (before[0] + 1, before[1] + 1), "link up")
        return ours.ups[-1][0], theirs.ups[-1][0]

    def post_raw(self, transport: AnyTransport, link: int, frame: bytes) -> None:
        """Put bytes on a link that no encoder made."""
        if isinstance(transport, GrpcTransport):
            transport._links[link].post(frame)
        else:
            transport._ends[link].post(frame, 1 << 40)

    def close(self) -> None:
        for transport in self.transports:
            transport.stop()


def small(number: int) -> m.Credit:
    """A small message that carries a number."""
    return m.Credit(transfer=number, push=False, number=0, window=0)


def part(number: int, size: int) -> m.Part:
    """A message of about `size` bytes."""
    return m.Part(
        transfer=number, bucket="b", push=True, node="n", start=1, number=0, base={}, last=True,
        rows=m.PackedRows(actors=(1,), count=1, keys=b"\x00\x01", images=b"x" * size),
    )  # fmt: skip
