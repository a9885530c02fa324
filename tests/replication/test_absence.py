"""Evictions of members that nobody hears: voted for by those that have listened for as long, and by nobody else."""

from __future__ import annotations

import pytest

from crdtsync.clocks.ballots import absences, propose
from crdtsync.clocks.members import EVICTED, MEMBER
from crdtsync.config import ClusterSettings, Config
from crdtsync.errors import ConfigError
from crdtsync.replication import absence
from crdtsync.replication.eviction import VOTES_TIMEOUT
from tests.replication.cluster import Cluster, Node
from tests.replication.test_gossip import mesh

AFTER = 100
POLICY = {"cluster": ClusterSettings(evict_after=AFTER)}
MARGIN = 3.0  # s: looks, suspicion of a link and votes


def state(node: Node, name: str) -> str:
    return node.store.members()[name].state


def counts(node: Node, what: str) -> int:
    return node.engine.core.counters[what]


def policed(count: int) -> tuple[Cluster, list[Node]]:
    return mesh(count, **POLICY)


def test_one_that_nobody_hears_is_evicted_by_the_votes_of_all() -> None:
    cluster, nodes = policed(3)
    nodes[2].kill()
    cluster.run(AFTER - 1.0)
    assert state(nodes[0], "n2") == MEMBER
    shown = nodes[0].engine.status()["members"]["n2"]
    assert AFTER - 3.0 < shown["absent"] < AFTER and 0.0 < shown["evicted_in"] < 3.0
    assert nodes[0].engine.status()["members"]["n1"] | {"address": ""} == {
        "state": MEMBER, "epoch": 1, "address": "", "absent": None, "evicted_in": None,
    }  # fmt: skip
    cluster.run(MARGIN + VOTES_TIMEOUT)
    assert [state(node, "n2") for node in nodes[:2]] == [EVICTED] * 2
    assert sum(counts(node, "absences_evicted") for node in nodes[:2]) == 1
    assert sum(counts(node, "ballots_cast") for node in nodes[:2]) == 1
    nodes[2].start(join=(nodes[0].address,))
    cluster.until(lambda: nodes[2].engine.state == "member" and state(nodes[0], "n2") == MEMBER, 30.0)
    cluster.run(2.0 * AFTER)
    assert [node.store.members()["n2"].epoch for node in nodes] == [2, 2, 2]


def test_without_the_policy_nobody_is_evicted_for_being_away() -> None:
    cluster, nodes = mesh(3)
    nodes[2].kill()
    cluster.run(5.0 * AFTER)
    assert state(nodes[0], "n2") == MEMBER
    shown = nodes[0].engine.status()["members"]["n2"]
    assert shown["absent"] > 4.0 * AFTER and shown["evicted_in"] is None


def test_two_that_are_away_are_evicted_one_after_the_other() -> None:
    cluster, nodes = policed(5)
    for node in nodes[3:]:
        node.kill()
    cluster.run(AFTER + 2 * absence.TURN + MARGIN + 2 * VOTES_TIMEOUT)
    assert [[state(node, name) for name in ("n3", "n4")] for node in nodes[:3]] == [[EVICTED, EVICTED]] * 3


def test_all_but_one_away_and_halves_evict_nobody() -> None:
    cluster, nodes = policed(4)
    for name in ("n0", "n1"):
        for other in ("n2", "n3"):
            cluster.cut(name, other)
    cluster.run(4.0 * AFTER)
    assert all(record.state == MEMBER for node in nodes for record in node.store.members().values())
    assert nodes[0].engine.status()["members"]["n2"]["evicted_in"] is None
    for node in nodes[1:]:
        node.kill()
    cluster.run(4.0 * AFTER)
    assert all(record.state == MEMBER for record in nodes[0].store.members().values())
    assert counts(nodes[0], "absences_proposed") == 0


def test_one_cut_off_counts_from_when_it_is_back() -> None:
    """n0 was cut off for ages; what it has not heard in that time, the others may have."""
    cluster, nodes = policed(4)
    for name in ("n1", "n2", "n3"):
        cluster.cut("n0", name)
    cluster.run(3.0 * AFTER)
    assert state(nodes[1], "n0") == EVICTED
    assert counts(nodes[0], "absences_proposed") == 0
    assert counts(nodes[0], "absences_counted_anew") == 1


def test_a_voter_that_was_started_again_counts_from_then_and_declines() -> None:
    cluster, nodes = policed(3)
    nodes[2].kill()
    cluster.run(AFTER / 2)
    nodes[1].kill()
    nodes[1].start(join=(nodes[0].address,))
    cluster.run(AFTER / 2 + MARGIN + VOTES_TIMEOUT)
    assert (counts(nodes[0], "absences_proposed"), counts(nodes[0], "evictions_refused")) == (1, 1)
    assert (counts(nodes[1], "absences_disputed"), counts(nodes[1], "ballots_cast")) == (1, 0)
    assert state(nodes[0], "n2") == MEMBER
    cluster.run(AFTER)
    assert state(nodes[0], "n2") == EVICTED


def test_a_paused_voter_counts_from_when_it_runs_again() -> None:
    cluster, nodes = policed(3)
    nodes[2].kill()
    cluster.run(AFTER - 5.0)
    listener = nodes[1].engine.absence
    members = nodes[0].store.members()
    ballot = propose(members, members["n0"], "n2", AFTER - 10).ballot
    assert ballot is not None and not listener.agrees(ballot)  # by its own setting it is too early
    listener.after = AFTER - 10
    assert listener.agrees(ballot)
    nodes[1].engine.core.now += listener.gap + 2.0  # messages come in before its own loop has noticed the pause
    assert not listener.agrees(ballot)
    nodes[1].engine.tick(nodes[1].engine.core.now, cluster.wall_ms())
    assert listener.silent("n2") == 0.0
    assert counts(nodes[1], "absences_counted_anew") == 1


def test_one_heard_by_others_only_is_vouched_for() -> None:
    """n2 reaches n1 alone: n0 misses it, and n1 passes on what it has heard."""
    cluster, nodes = policed(3)
    cluster.cut("n0", "n2")
    cluster.run(3.0 * AFTER)
    assert state(nodes[0], "n2") == MEMBER
    assert counts(nodes[0], "absences_withdrawn") == counts(nodes[0], "absences_proposed") >= 1
    assert counts(nodes[1], "absences_disputed") >= 1


def test_one_that_is_back_before_the_votes_are_counted_stays() -> None:
    cluster, nodes = policed(3)
    nodes[2].kill()
    cluster.lose = lambda sender, receiver, message: sender == "n1" and nodes[0].engine.eviction.busy()
    cluster.until(lambda: nodes[0].engine.eviction.busy(), AFTER + MARGIN)
    cluster.until(lambda: bool(absences(nodes[1].store.members(), "n1")), 1.0)
    nodes[2].start(join=(nodes[0].address,))
    cluster.until(lambda: not nodes[0].engine.eviction.busy(), VOTES_TIMEOUT)
    assert counts(nodes[0], "absences_withdrawn") == 1
    cluster.lose = lambda sender, receiver, message: False
    cluster.run(AFTER)
    assert [state(node, "n2") for node in nodes] == [MEMBER] * 3
    assert [node.store.members()["n2"].epoch for node in nodes] == [1] * 3


def test_wall_clocks_that_jump_change_nothing() -> None:
    cluster, nodes = policed(3)
    nodes[2].kill()
    for node in nodes[:2]:
        node.engine.tick(cluster.now, cluster.wall_ms() + 10**9)
    cluster.run(AFTER - 5.0)
    assert state(nodes[0], "n2") == MEMBER
    assert counts(nodes[0], "absences_proposed") == 0


@pytest.mark.parametrize("after", [-1, 1, 9, 10**10])
def test_bounds_of_the_setting(after: int) -> None:
    with pytest.raises(ConfigError, match=f"cluster.evict_after is {after}"):
        Config(cluster=ClusterSettings(evict_after=after)).validate()


def test_the_setting_leaves_room_for_heartbeats() -> None:
    with pytest.raises(ConfigError, match="at least five times heartbeat_interval"):
        Config(cluster=ClusterSettings(evict_after=10), heartbeat_interval=5.0).validate()
