"""A node with data and an honest peer, and a liar among its members."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import crdtsync
from crdtsync import Node
from tests.hostile.liar import Liar
from tests.hostile.watch import DEADLINE

PATIENT = {"suspect_phi": 1e6, "listen": "127.0.0.1:0"}  # a liar sends no heartbeats


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with crdtsync.open(None, name="a", **PATIENT) as node:
        yield node


@pytest.fixture(scope="module")
def friend(node: Node) -> Iterator[Node]:
    with crdtsync.open(None, name="b", join=[node.address], **PATIENT) as friend:
        friend.orset("s").add("y")
        node.orset("s").add("x")  # from here on under an actor that peers know
        node.gcounter("g").increment(5)
        node.pncounter("p").increment(5)
        node.lwwregister("r").set("mine")
        node.mvregister("v").set("mine")
        node.map("m").flag("f").enable()
        node.wait_for(friend.token(), DEADLINE)
        yield friend


@pytest.fixture(scope="module")
def liar(node: Node, friend: Node) -> Iterator[Liar]:
    liar = Liar(node).join()
    yield liar
    liar.close()
