"""Links over messages that are late, swapped or lost: frames come in order, once, or the link ends."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from crdtsync.config import Config
from crdtsync.ops.maelstrom.lines import Addresses, LineTransport
from tests.transport.support import Owner, part, small

NODES = ["n1", "n2", "n3"]


class Post:
    """Delivers messages between transports after a random while, some twice, some never."""

    def __init__(self, loss: float, seed: int = 1) -> None:
        self.loss, self.rng, self.silent = loss, random.Random(seed), False
        self.addresses = Addresses(NODES)
        self.ends: dict[str, tuple[LineTransport, Owner]] = {}
        self._timers: list[threading.Timer] = []

    def join(self, node: str, **settings: Any) -> tuple[LineTransport, Owner]:
        config = Config(listen=self.addresses.of(node), **settings).validate()
        transport = LineTransport(config, lambda dest, body: self.send(node, dest, body), self.addresses, node)
        self.ends[node] = transport, Owner()
        transport.start(self.ends[node][1])
        return self.ends[node]

    def send(self, source: str, dest: str, body: dict[str, Any]) -> None:
        for _ in range(1 if self.rng.random() < 0.9 else 2):
            if self.rng.random() >= self.loss and not self.silent and dest in self.ends:
                timer = threading.Timer(self.rng.random() * 0.03, self.ends[dest][0].receive, (source, body))
                timer.daemon = True
                self._timers.append(timer)
                timer.start()

    def close(self) -> None:
        for transport, _ in self.ends.values():
            transport.stop()
        for timer in self._timers:
            timer.join()


@pytest.fixture
def post() -> Iterator[Callable[[float], Post]]:
    made: list[Post] = []

    def make(loss: float) -> Post:
        made.append(Post(loss))
        return made[-1]

    yield make
    for each in made:
        each.close()


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "never"
        time.sleep(0.005)


@pytest.mark.parametrize("loss", [0.0, 0.3])
def test_frames_come_in_order_and_once(post: Callable[[float], Post], loss: float) -> None:
    net = post(loss)
    (a, ours), (_, theirs) = net.join("n1"), net.join("n2")
    a.connect(net.addresses.of("n2"))
    until(lambda: ours.ups and theirs.ups)
    sent = [small(number) for number in range(60)] + [part(60, 5000)]
    for message in sent:
        assert a.send(ours.ups[0][0], message)
    until(lambda: len(theirs.got.get(theirs.ups[0][0], [])) >= len(sent))
    assert theirs.got[theirs.ups[0][0]] == sent
    a.disconnect(ours.ups[0][0], "enough")
    until(lambda: (ours.downs and theirs.downs) or net.loss)
    assert len(ours.downs) == 1 and len(theirs.downs) <= 1
    assert a.counters["frames_resent"] > 0 or not loss


def test_what_is_paused_waits(post: Callable[[float], Post]) -> None:
    net = post(0.0)
    (a, ours), (b, theirs) = net.join("n1"), net.join("n2")
    a.connect(net.addresses.of("n2"))
    until(lambda: ours.ups and theirs.ups)
    there = theirs.ups[0][0]
    b.pause(there)
    a.send(ours.ups[0][0], small(1))
    until(lambda: net.ends["n2"][0]._by_number[there].ahead)
    assert there not in theirs.got
    b.resume(there)
    assert theirs.got[there] == [small(1)]


def test_a_silent_side_ends_the_link(post: Callable[[float], Post]) -> None:
    net = post(0.0)
    (a, ours), (_, theirs) = net.join("n1", keepalive_timeout=0.3), net.join("n2")
    a.connect(net.addresses.of("n2"))
    until(lambda: ours.ups and theirs.ups)
    net.silent = True
    a.send(ours.ups[0][0], small(1))
    until(lambda: ours.downs)
    assert not a.send(ours.ups[0][0], small(2))
    net.silent = False  # the other side still has its end: it is told that it is gone
    net.ends["n2"][0].send(theirs.ups[0][0], small(3))
    until(lambda: theirs.downs)


def test_bad_dials_are_events(post: Callable[[float], Post]) -> None:
    net = post(0.0)
    a, ours = net.join("n1", connect_timeout=0.2)
    nobody, absent = "127.0.0.1:9", net.addresses.of("n3")
    for address, counter in (("nonsense", "config_error"), (nobody, "connects_failed"), (absent, "connects_failed")):
        before, told = a.counters[counter], len(ours.failures)
        a.connect(address)
        until(lambda told=told: len(ours.failures) > told)
        assert ours.failures[-1][0] == address and a.counters[counter] == before + 1
    assert not a.send(99, small(1))


def test_bad_frames_end_the_link(post: Callable[[float], Post]) -> None:
    net = post(0.0)
    (a, ours), (b, theirs) = net.join("n1"), net.join("n2")
    a.connect(net.addresses.of("n2"))
    until(lambda: ours.ups and theirs.ups)
    line = a._by_number[ours.ups[0][0]]
    b.receive("n1", {"type": "crdtsync", "line": line.name, "kind": "frame", "ack": 0, "seq": 1, "frame": "////"})
    assert theirs.downs and b.counters["bad_frame"] == 1
    until(lambda: ours.downs)
