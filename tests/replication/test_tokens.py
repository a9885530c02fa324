"""A token is lost when it is known that nobody holds what it names, nor will."""

from __future__ import annotations

from crdtsync.replication.messages import Announce, Message
from tests.replication.cluster import BUCKET
from tests.replication.test_gossip import mesh

UNKNOWN = 4711  # an actor that nobody ever was


def test_an_event_of_a_living_actor_is_not_lost() -> None:
    cluster, nodes = mesh(3)
    nodes[1].add("k", "now")
    cluster.run(2.0)
    actor = nodes[1].store.actor()
    for _ in range(5):
        assert not nodes[0].engine.token_lost(BUCKET, {actor: 100})
        cluster.run(1.5)


def test_an_event_that_nobody_holds_is_lost_once_everybody_was_heard() -> None:
    cluster, nodes = mesh(3)
    assert not nodes[0].engine.token_lost(BUCKET, {UNKNOWN: 1})
    cluster.run(2.0)
    assert nodes[0].engine.token_lost(BUCKET, {UNKNOWN: 1})
    assert nodes[0].engine.lost({BUCKET: {UNKNOWN: 1}})


def test_while_a_member_is_away_nothing_is_known_to_be_lost() -> None:
    cluster, nodes = mesh(3)
    nodes[2].kill()
    for _ in range(5):
        assert not nodes[0].engine.token_lost(BUCKET, {UNKNOWN: 1})
        cluster.run(2.0)
    nodes[2].start()
    cluster.until(lambda: nodes[0].engine.token_lost(BUCKET, {UNKNOWN: 1}), 20.0)


def test_what_is_here_is_not_lost() -> None:
    cluster, nodes = mesh(2)
    cluster.run(3.0)
    assert not nodes[0].engine.token_lost(BUCKET, nodes[0].store.clock(BUCKET))


def test_an_own_event_that_was_never_written_is_lost() -> None:
    _cluster, nodes = mesh(2)
    nodes[0].add("k", "one")
    assert nodes[0].engine.token_lost(BUCKET, {nodes[0].store.actor(): 10**6})


def test_what_was_announced_before_the_question_is_no_answer() -> None:
    cluster, nodes = mesh(2)
    cluster.run(2.0)
    delayed: list[Announce] = []

    def hold(sender: str, receiver: str, message: Message) -> bool:
        if sender == "n1" and isinstance(message, Announce):
            delayed.append(message)
        return sender == "n1"

    cluster.lose = hold
    cluster.until(lambda: bool(delayed), 5.0)
    assert not nodes[0].engine.token_lost(BUCKET, {UNKNOWN: 1})
    peer = nodes[0].engine.core.peers["n1"]
    assert peer.link is not None
    nodes[0].engine.receive(peer.link.number, delayed[0], cluster.now, cluster.wall_ms())
    assert peer.announce_seq == delayed[0].seq, "it was heard"
    assert not nodes[0].engine.token_lost(BUCKET, {UNKNOWN: 1})
    cluster.lose = lambda sender, receiver, message: False
    cluster.until(lambda: nodes[0].engine.token_lost(BUCKET, {UNKNOWN: 1}), 5.0)


def test_everybody_is_asked_anew_once_a_member_has_begun_another_life() -> None:
    cluster, nodes = mesh(3)
    assert not nodes[0].engine.token_lost(BUCKET, {UNKNOWN: 1})
    cluster.until(lambda: nodes[0].engine.token_lost(BUCKET, {UNKNOWN: 1}), 5.0)
    silenced = False
    cluster.lose = lambda sender, receiver, message: silenced and sender == "n1"
    nodes[2].kill()
    nodes[2].start()
    silenced = True
    peer = nodes[0].engine.core.peers["n2"]
    cluster.until(lambda: peer.link is not None and peer.start == nodes[2].store.start, 20.0)
    for _ in range(20):
        assert not nodes[0].engine.token_lost(BUCKET, {UNKNOWN: 1})
        cluster.run(0.1)
    silenced = False
    cluster.until(lambda: nodes[0].engine.token_lost(BUCKET, {UNKNOWN: 1}), 20.0)
