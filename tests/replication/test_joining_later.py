"""Joining while running: a node in no cluster, or one that has left, is let in without a new start."""

from __future__ import annotations

import pytest

from crdtsync.errors import MembershipMisuse
from crdtsync.replication import messages as m
from tests.replication.cluster import Cluster, Node
from tests.replication.test_gossip import mesh


def join(cluster: Cluster, node: Node, *addresses: str) -> list[str]:
    fresh = node.engine.join(addresses, cluster.now)
    cluster.settle(node)
    return fresh


def lone(cluster: Cluster) -> Node:
    """A node in no cluster, with a row."""
    node = cluster.node("j")
    node.start()
    node.add("its own")
    return node


@pytest.mark.parametrize("kind", [None, m.JoinRequest, m.JoinAccept, m.Part, m.JoinDone, m.MembersUpdate])
def test_a_lone_node_brings_along_what_it_holds(kind: type[m.Message] | None) -> None:
    cluster, nodes = mesh(2)
    nodes[0].add("theirs")
    left = [2]

    def lose(one: str, two: str, message: m.Message) -> bool:
        hit = kind is not None and isinstance(message, kind) and "j" in (one, two) and left[0] > 0
        left[0] -= hit
        return hit

    cluster.lose = lose
    node = lone(cluster)
    join(cluster, node, nodes[0].address)
    assert node.engine.state == "joining" and not node.engine.writable
    cluster.until(lambda: node.engine.state == "member")
    cluster.until(cluster.equal)
    assert {"its own/x", "theirs/x"} <= set(node.live())
    node.add("later")
    cluster.until(cluster.equal)
    assert node.engine.met([nodes[0].address])


def test_a_node_that_has_left_comes_back_under_a_new_actor() -> None:
    cluster, nodes = mesh(3)
    leaver = nodes[2]
    leaver.add("before")
    cluster.until(cluster.equal)
    before = set(leaver.store.clock("default"))
    leaver.engine.leave(cluster.now)
    cluster.settle(leaver)
    cluster.until(lambda: leaver.engine.state == "left")
    nodes[0].add("meanwhile")
    cluster.run(2.0)
    join(cluster, leaver, nodes[0].address)
    cluster.until(lambda: leaver.engine.state == "member")
    leaver.add("after")
    cluster.until(cluster.equal)
    assert {"after/x", "before/x", "meanwhile/x"} <= set(leaver.live())
    assert set(leaver.store.clock("default")) > before
    assert nodes[1].engine.status()["members"]["n2"]["state"] == "member"


def test_nobody_answers_and_everything_is_as_before() -> None:
    cluster = Cluster()
    node = lone(cluster)
    fresh = join(cluster, node, "127.0.0.1:1", "127.0.0.1:2")
    cluster.run(5.0)
    assert node.engine.state == "joining"
    assert node.engine.give_up_joining(fresh, cluster.now)
    cluster.settle(node)
    assert (node.engine.state, node.store.cluster()) == ("member", 0)
    node.add("more")
    joiner = cluster.node("k")
    joiner.start(join=(node.address,))
    cluster.until(lambda: joiner.engine.state == "member")
    cluster.until(cluster.equal)


def test_a_node_that_has_left_and_finds_nobody_is_still_one_that_has_left() -> None:
    cluster, nodes = mesh(2)
    nodes[1].engine.leave(cluster.now)
    cluster.settle(nodes[1])
    cluster.until(lambda: nodes[1].engine.state == "left")
    nodes[0].kill()
    fresh = join(cluster, nodes[1], "127.0.0.1:1")
    cluster.run(3.0)
    assert nodes[1].engine.give_up_joining(fresh, cluster.now)
    assert nodes[1].engine.state == "left"


def test_a_join_with_a_sponsor_is_not_given_up() -> None:
    cluster, nodes = mesh(1)
    cluster.lose = lambda one, two, message: isinstance(message, m.Part)
    node = lone(cluster)
    fresh = join(cluster, node, nodes[0].address)
    cluster.until(lambda: node.engine.entry.sponsor != "")
    assert not node.engine.give_up_joining(fresh, cluster.now)
    cluster.lose = lambda one, two, message: False
    cluster.until(lambda: node.engine.state == "member")


def test_a_member_dials_addresses_that_it_is_given() -> None:
    cluster, nodes = mesh(2)
    state, address = nodes[0].engine.state, nodes[1].address
    assert join(cluster, nodes[0], address) == [address]
    assert nodes[0].engine.state == state == "member"


def test_a_node_that_is_leaving_does_not_join() -> None:
    cluster, nodes = mesh(2)
    cluster.cut("n0", "n1")
    nodes[1].engine.leave(cluster.now)
    with pytest.raises(MembershipMisuse):
        join(cluster, nodes[1], nodes[0].address)
    assert nodes[1].engine.state == "leaving"
