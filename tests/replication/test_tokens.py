"""A token is lost when it is known that nobody holds what it names, nor will."""

from __future__ import annotations

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
