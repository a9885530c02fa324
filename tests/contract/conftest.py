"""The same tests for a node of one's own and for a client of a node elsewhere: one interface, one behaviour."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

import crdtsync
from crdtsync.clocks.tokens import open_token
from crdtsync.clocks.vector import covers

Data = crdtsync.Node | crdtsync.Client
DEADLINE = 30.0  # s


def drain(watcher: Any, data: Data) -> list[crdtsync.Change]:
    """Everything that is to be told up to now."""
    now = data.token() if watcher.bucket is None else data.bucket(watcher.bucket).token()
    told, end = [], time.monotonic() + DEADLINE
    while not reached(watcher.token, now) or watcher.pending:
        assert time.monotonic() < end, "the watcher does not get to where the data stand"
        change = watcher.next(0.02)  # s: its token moves on in a silence, too
        if change is not None:
            told.append(change)
    return told


def reached(token: str, wanted: str) -> bool:
    """Whether a token covers another one."""
    clocks = open_token(token)[1]
    return all(covers(clocks.get(name, {}), clock) for name, clock in open_token(wanted)[1].items())


class Place:
    """Nodes of one test, each embedded or reached through a client."""

    def __init__(self, remote: bool, stack: ExitStack) -> None:
        self.remote, self.stack = remote, stack
        self.nodes: list[crdtsync.Node] = []
        self.addresses: list[str] = []  # where a remote one's are served

    def open(self, **settings: Any) -> Data:
        """A new node in memory, or a client of one."""
        node = self.stack.enter_context(crdtsync.open(None, **settings))
        self.nodes.append(node)
        if not self.remote:
            return node
        server = self.stack.enter_context(crdtsync.serve(node, stop_grace=0.1))
        self.addresses.append(server.address)
        return self.stack.enter_context(crdtsync.connect(server.address, watch_heartbeat=0.1))


@pytest.fixture(params=["embedded", "remote"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(request.param == "remote", stack)


@pytest.fixture
def open_data(place: Place) -> Callable[..., Data]:
    """Opens nodes with settings of their own."""
    return place.open


@pytest.fixture
def node(place: Place) -> Data:
    """A node, or what stands for it."""
    return place.open()


@pytest.fixture
def backing(place: Place, node: Data) -> crdtsync.Node:
    """The node that holds the data of `node`."""
    return place.nodes[0]
