"""Evictions: carried by votes, refused, taken back; and a cluster that an operator's force cannot empty."""

from __future__ import annotations

import msgspec
import pytest

from crdtsync.clocks.ballots import binding, proposal
from crdtsync.clocks.members import EVICTED, MEMBER, MemberRecord
from crdtsync.errors import MembershipMisuse, QuorumMissing
from crdtsync.replication import messages as m
from crdtsync.replication.eviction import VOTES_TIMEOUT
from tests.replication.cluster import Cluster, Node
from tests.replication.test_gossip import mesh


def evict(node: Node, victim: Node, force: bool = False) -> None:
    node.engine.evict(victim.name, force, node.cluster.now)
    node.cluster.settle(node)


def ends(node: Node) -> list[tuple[object, bool]]:
    """(victim, whether it was evicted) of what was asked for at a node."""
    return [(details["node"], not details["refused"]) for event, details in node.events if event == "eviction"]


def states(nodes: list[Node]) -> list[str]:
    return [node.engine.state for node in nodes]


def test_members_vote_durably_before_they_tell_and_the_proposer_counts() -> None:
    cluster, nodes = mesh(3)
    evict(nodes[0], nodes[2])
    assert nodes[0].store.members()["n2"].state == MEMBER
    cluster.until(lambda: ends(nodes[0]) == [("n2", True)], 1.0)
    assert nodes[1].engine.core.counters["ballots_cast"] == 1
    assert nodes[2].engine.core.counters["ballots_cast"] == 0
    cluster.until(lambda: states(nodes) == ["member"] * 3 and nodes[0].store.members()["n2"].epoch == 2)
    assert proposal(nodes[0].store.members(), "n0") is None
    cluster.until(cluster.equal)


def test_operators_who_evict_in_a_circle_get_one_of_them() -> None:
    cluster, nodes = mesh(3)
    for node, victim in zip(nodes, [*nodes[1:], nodes[0]], strict=True):
        evict(node, victim)
    cluster.until(lambda: all(len(ends(node)) == 1 for node in nodes), VOTES_TIMEOUT + 1.0)
    assert [ends(node)[0] for node in nodes] == [("n1", True), ("n2", False), ("n0", False)]
    cluster.until(lambda: states(nodes) == ["member"] * 3, 20.0)
    assert [nodes[0].store.members()[node.name].epoch for node in nodes] == [1, 2, 1]
    cluster.until(cluster.equal)


def deaf(name: str) -> object:
    """Nothing reaches a node any more; what it says is heard."""
    return lambda one, two, message: two == name


def test_a_proposal_without_votes_is_taken_back_and_binds_nobody_any_more() -> None:
    cluster, nodes = mesh(4)
    cluster.lose = deaf("n0")  # type: ignore[assignment]
    evict(nodes[0], nodes[3])
    cluster.run(0.1)
    bound = binding(nodes[1].store.members(), "n1")
    assert bound == proposal(nodes[0].store.members(), "n0")
    assert bound is not None
    with pytest.raises(QuorumMissing, match="n1 has voted to evict n3, as n0 proposed"):
        evict(nodes[1], nodes[2])
    cluster.until(lambda: ends(nodes[0]) == [("n3", False)], VOTES_TIMEOUT + 1.0)
    cluster.lose = lambda one, two, message: False
    cluster.until(lambda: all(binding(node.store.members(), node.name) is None for node in nodes), 10.0)
    assert nodes[0].engine.core.counters["evictions_refused"] == 1
    evict(nodes[1], nodes[2])
    cluster.until(lambda: ends(nodes[1]) == [("n2", True)], 5.0)


def test_a_vote_outlives_a_kill_and_ends_with_the_proposers_next_start() -> None:
    cluster, nodes = mesh(3)
    cluster.lose = deaf("n0")  # type: ignore[assignment]
    evict(nodes[0], nodes[1])
    cluster.run(0.1)
    for node in (nodes[0], nodes[2]):
        node.kill()
    cluster.lose = lambda one, two, message: False
    nodes[2].start(join=(nodes[1].address,))
    cluster.until(lambda: nodes[2].engine.reachable() == ["n1"])
    bound = binding(nodes[2].store.members(), "n2")
    assert bound is not None and (bound.proposer, bound.victim) == ("n0", "n1")
    evict(nodes[1], nodes[0])  # for all n2 knows, n1 has been evicted: it does not vote for that
    cluster.until(lambda: ends(nodes[1]) == [("n0", False)], VOTES_TIMEOUT + 1.0)
    nodes[0].start(join=(nodes[1].address,))
    cluster.until(lambda: all(binding(node.store.members(), node.name) is None for node in nodes), 10.0)
    assert states(nodes) == ["member"] * 3


def test_who_is_bound_leaves_once_it_knows_how_that_ended() -> None:
    cluster, nodes = mesh(4)
    cluster.lose = deaf("n0")  # type: ignore[assignment]
    evict(nodes[0], nodes[3])
    cluster.run(1.0)
    nodes[1].engine.leave(cluster.now)
    cluster.settle(nodes[1])
    cluster.run(2.0)
    assert binding(nodes[1].store.members(), "n1") is not None
    assert nodes[1].engine.state == "leaving"
    cluster.lose = lambda one, two, message: False
    cluster.until(lambda: nodes[1].engine.state == "left", 20.0)
    assert binding(nodes[1].store.members(), "n1") is None


def test_a_replica_with_damage_does_not_vote() -> None:
    cluster, nodes = mesh(3)
    nodes[1].add("k", "x")
    cluster.until(cluster.equal)
    cluster.lose = lambda one, two, message: isinstance(message, m.RepairRequest)
    nodes[1].damage("k", "x")
    evict(nodes[0], nodes[2])
    cluster.until(lambda: ends(nodes[0]) == [("n2", False)], VOTES_TIMEOUT + 1.0)
    assert nodes[1].engine.core.counters["ballots_cast"] == 0


def test_who_is_counted_changes_under_a_proposal() -> None:
    cluster, nodes = mesh(3)
    cluster.lose = lambda one, two, message: one == "n0" and isinstance(message, m.MembersUpdate)
    joiner = cluster.node("j")
    evict(nodes[0], nodes[2])
    joiner.start(join=(nodes[1].address,))
    cluster.until(lambda: joiner.engine.state == "member")
    cluster.lose = lambda one, two, message: False
    cluster.until(lambda: ends(nodes[0]) == [("n2", True)], VOTES_TIMEOUT + 1.0)


def test_force_against_another_leaves_the_proposal_under_way() -> None:
    cluster, nodes = mesh(5)
    cluster.lose = deaf("n0")  # type: ignore[assignment]
    evict(nodes[0], nodes[3])
    evict(nodes[0], nodes[4], force=True)
    assert ends(nodes[0]) == [("n4", True)]
    ballot = proposal(nodes[0].store.members(), "n0")
    assert ballot is not None
    assert ballot.victim == "n3"
    cluster.lose = lambda one, two, message: False
    cluster.until(lambda: ends(nodes[0]) == [("n4", True), ("n3", True)], VOTES_TIMEOUT + 1.0)


def test_who_has_come_back_since_is_not_who_was_to_be_evicted() -> None:
    cluster, nodes = mesh(3)
    cluster.lose = deaf("n0")  # type: ignore[assignment]
    evict(nodes[0], nodes[2])
    evict(nodes[1], nodes[2], force=True)
    cluster.until(lambda: nodes[1].store.members()["n2"].epoch == 2, VOTES_TIMEOUT - 1.0)
    cluster.until(lambda: nodes[2].engine.state == "member", VOTES_TIMEOUT - 1.0)
    nodes[2].add("k", "written since")
    assert ends(nodes[0]) == []
    cluster.lose = lambda one, two, message: False
    cluster.until(lambda: ends(nodes[0]) == [("n2", False)], VOTES_TIMEOUT + 1.0)
    cluster.run(3.0)
    assert nodes[2].store.members()["n2"].epoch == 2
    assert states(nodes) == ["member"] * 3
    assert proposal(nodes[0].store.members(), "n0") is None


def test_two_that_put_out_each_other_by_force_are_one_cluster_again() -> None:
    cluster, nodes = mesh(2)
    cluster.cut("n0", "n1")
    for node, victim in ((nodes[0], nodes[1]), (nodes[1], nodes[0])):
        evict(node, victim, force=True)
        node.add("k", f"written at {node.name}, alone")
    cluster.run(3.0)
    cluster.heal()
    cluster.until(lambda: states(nodes) == ["member"] * 2 and cluster.equal(), 30.0)
    assert {name: r.epoch for name, r in nodes[0].store.members().items()} == {"n0": 2, "n1": 2}
    assert nodes[0].engine.core.counters["evictions_withstood"] == 1
    assert "k/written at n0, alone" in nodes[1].live()
    assert nodes[1].engine.core.counters["rows_rescued"] == 1


def test_one_stays_where_force_has_put_out_all() -> None:
    cluster, nodes = mesh(3)
    for node, victim in zip(nodes, [*nodes[1:], nodes[0]], strict=True):
        evict(node, victim, force=True)
    cluster.until(lambda: states(nodes) == ["starting_over"] * 3, 5.0)
    cluster.until(lambda: states(nodes) == ["member"] * 3, 60.0)
    assert sum(node.engine.core.counters["evictions_withstood"] for node in nodes) == 1
    assert {node.store.members()["n0"].state for node in nodes} == {MEMBER}
    nodes[2].add("k", "afterwards")
    cluster.until(cluster.equal)


def test_of_two_below_each_others_floor_the_greater_name_starts_over() -> None:
    """Each has collected alone, and neither is out: as after a force whose records were lost with a disk."""
    cluster, nodes = mesh(2)
    cluster.cut("n0", "n1")
    for node in nodes:
        node.add("k", f"gone at {node.name}")
        node.remove("k", f"gone at {node.name}")
        node.engine.core.replica.stable = node.store.synced_clock  # type: ignore[method-assign]
    cluster.until(lambda: all(node.store.floor("default") for node in nodes), 10.0)
    cluster.heal()
    cluster.until(lambda: nodes[1].engine.core.counters["started_over"] == 1, 30.0)
    cluster.until(lambda: states(nodes) == ["member"] * 2 and cluster.equal())
    assert nodes[0].engine.core.counters["started_over"] == 0


def test_misuse_of_evict() -> None:
    cluster, nodes = mesh(3)
    evict(nodes[0], nodes[2])
    with pytest.raises(QuorumMissing, match="n0 has voted to evict n2, as n0 proposed"):
        evict(nodes[0], nodes[1])
    cluster.until(lambda: nodes[0].store.members()["n2"].state == EVICTED, 1.0)
    with pytest.raises(MembershipMisuse):
        evict(nodes[0], nodes[0])


@pytest.mark.parametrize("lost", [m.MembersUpdate, (m.MembersUpdate, m.Hello)], ids=["update", "update and Hello"])
def test_a_joiner_that_is_evicted_hears_of_it_in_the_end(lost: type[m.Message] | tuple[type[m.Message], ...]) -> None:
    """The word itself is lost, and so is the link; from then on its sponsor turns every pull away."""
    cluster, nodes = mesh(2)
    cluster.lose = lambda one, two, message: isinstance(message, m.Part)
    joiner = cluster.node("j")
    joiner.start(join=(nodes[1].address,))
    cluster.until(lambda: joiner.engine.entry.sponsor == "n1")
    kinds = (m.Part, m.Refuse, m.MembersUpdate)
    cluster.lose = lambda one, two, message: two == "j" and isinstance(message, kinds)
    evict(nodes[1], joiner, force=True)
    cluster.run(1.0)
    end = cluster.now + 2.0
    cluster.lose = lambda one, two, message: two == "j" and isinstance(message, lost) and cluster.now < end
    cluster.until(lambda: joiner.engine.state == "member", 30.0)
    assert nodes[1].store.members()["j"].epoch == 2


def test_a_late_request_to_join_throws_no_member_out() -> None:
    cluster = Cluster()
    first = cluster.node("n0")
    first.start()
    joiner = cluster.node("n1")
    joiner.start(join=(first.address,))
    cluster.until(lambda: joiner.engine.state == "member")
    cluster.run(2.0)
    link = first.engine.core.peers["n1"].link
    assert link is not None
    late = m.JoinRequest(node="n1", address=joiner.address)
    first.engine.receive(link.number, late, cluster.now, cluster.wall_ms())
    assert first.store.members()["n1"].state == MEMBER
    assert first.engine.core.counters["joins_outdated"] == 1


def test_a_late_announcement_of_a_member_keeps_nobody_from_getting_in_again() -> None:
    cluster, nodes = mesh(2)
    cluster.lose = lambda one, two, message: isinstance(message, m.JoinRequest)
    evict(nodes[0], nodes[1], force=True)
    cluster.until(lambda: nodes[0].engine.core.peers["n1"].state == "starting_over", 5.0)
    peer = nodes[0].engine.core.peers["n1"]
    assert peer.link is not None
    record = nodes[0].store.members()["n1"]
    late = m.Announce(
        node="n1", start=peer.start, actor=0, wall_ms=cluster.wall_ms(), seq=peer.announce_seq + 1,
        members=(MemberRecord("n1", record.epoch, MEMBER),), buckets=(),
    )  # fmt: skip
    nodes[0].engine.receive(peer.link.number, late, cluster.now, cluster.wall_ms())
    assert peer.state == "member"
    nodes[1].engine.core.announce_seq += 1  # as if it had sent it
    cluster.lose = lambda one, two, message: False
    cluster.until(lambda: nodes[1].engine.state == "member", 20.0)
    cluster.until(cluster.equal)


def test_a_start_that_has_been_overtaken_neither_evicts_nor_votes() -> None:
    """What it writes into its own record is dropped, as that of the later start wins (simulator, seed 2000869)."""
    cluster, nodes = mesh(5)
    mine = nodes[0].store.members()["n0"]
    nodes[0].store.put_members([msgspec.structs.replace(mine, start=mine.start + 1)])
    with pytest.raises(MembershipMisuse, match="n0 has been started later elsewhere"):
        evict(nodes[0], nodes[4])
    nodes[0].engine.eviction.propose_absent("n4", 60)
    assert not nodes[0].engine.eviction.busy()
    evict(nodes[1], nodes[4])
    cluster.until(lambda: ends(nodes[1]) == [("n4", True)], VOTES_TIMEOUT + 1.0)
    assert nodes[0].engine.core.counters["ballots_cast"] == 0


def test_a_proposal_ends_when_its_start_has_been_overtaken() -> None:
    cluster, nodes = mesh(4)
    cluster.lose = deaf("n0")  # type: ignore[assignment]
    evict(nodes[0], nodes[3])
    mine = nodes[0].store.members()["n0"]
    nodes[0].engine.membership.put(msgspec.structs.replace(mine, start=mine.start + 1, ballot=None))
    cluster.settle(nodes[0])
    assert ends(nodes[0]) == [("n3", False)]
    assert not nodes[0].engine.eviction.busy()
