"""Links: who keeps which, who is dialled when, and two lives of one node."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest

from crdtsync.errors import InvariantViolated, MembershipMisuse
from crdtsync.replication import messages as m
from crdtsync.replication import peers as states
from crdtsync.replication.effects import Disconnect, Send
from tests.replication.cluster import Cluster, Node
from tests.replication.test_gossip import mesh


def linked(cluster: Cluster) -> set[frozenset[str]]:
    """Who has a link to whom, once for every link."""
    found = []
    for link, node in cluster.ends.items():
        other = cluster.ends.get(node.links[link])
        if other is not None:
            found.append((node.name, other.name))
    assert len(found) == len(set(found)), "two links between two nodes"
    return {frozenset(pair) for pair in found}


def test_everybody_finds_everybody_from_one_address() -> None:
    cluster, nodes = mesh(5)
    assert len(linked(cluster)) == 10
    assert all(sorted(node.engine.reachable()) == sorted({n.name for n in nodes} - {node.name}) for node in nodes)


def test_two_that_dial_each_other_at_once_keep_one_link() -> None:
    cluster, nodes = mesh(2)
    for link in list(cluster.ends):
        cluster.close(link)
    cluster.at(0.0, lambda: cluster.dial(nodes[0], nodes[1].address))
    cluster.at(0.0, lambda: cluster.dial(nodes[1], nodes[0].address))
    cluster.run(1.0)
    assert linked(cluster) == {frozenset({"n0", "n1"})}
    cluster.run(5.0)
    assert linked(cluster) == {frozenset({"n0", "n1"})}


def test_a_stranger_that_dials_again_is_known_by_its_new_link() -> None:
    """Nobody's record holds it yet, and the old link, on its way out, must not take the new one's peer with it."""
    cluster = Cluster()
    sponsor, joiner = cluster.node("a"), cluster.node("b")
    sponsor.start()
    cluster.lose = lambda one, two, message: isinstance(message, m.JoinRequest)
    joiner.start(join=(sponsor.address,))
    cluster.until(lambda: "b" in sponsor.engine.core.peers, 10.0)
    old = sponsor.engine.core.peers["b"].link
    cluster.dial(joiner, sponsor.address)
    cluster.run(1.0)
    assert "b" in sponsor.engine.core.peers
    assert sponsor.engine.core.peers["b"].link not in (None, old)
    cluster.lose = lambda one, two, message: False
    cluster.until(lambda: joiner.engine.state == states.MEMBER, 60.0)
    assert linked(cluster) == {frozenset({"a", "b"})}


def test_a_node_does_not_keep_a_link_to_itself() -> None:
    cluster = Cluster()
    node = cluster.node("a")
    node.start()
    cluster.dial(node, node.address)
    cluster.run(1.0)
    assert node.engine.core.links == {}
    assert node.engine.core.peers == {}
    assert node.engine.dialer.mine == {node.address}


def test_dialling_backs_off_with_jitter_up_to_a_bound() -> None:
    cluster = Cluster()
    node = cluster.node("a", reconnect_max=2.0)
    node.start(join=("127.0.0.1:1",))
    tried: list[float] = []
    node.connect = lambda address: (tried.append(cluster.now), cluster.at(0.001, lambda: fail(address)))  # type: ignore

    def fail(address: str) -> None:
        node.engine.connect_failed(address, cluster.now)
        cluster.settle(node)

    cluster.run(60.0)
    gaps = [later - earlier for earlier, later in pairwise(tried)]
    assert gaps[0] < 0.1
    assert all(gap <= 2.01 for gap in gaps)
    late = gaps[8:]
    assert min(late) >= 1.0
    assert len({round(gap, 3) for gap in late}) > len(late) / 2


def test_who_does_not_greet_is_hung_up_on() -> None:
    cluster, nodes = mesh(2)
    nodes[0].engine.link_up(999, "127.0.0.1:1", False, cluster.now)
    cluster.settle(nodes[0])
    cluster.run(nodes[0].config.connect_timeout + 0.1)
    assert 999 not in nodes[0].engine.core.links
    assert nodes[0].engine.core.counters["handshake_timeouts"] == 1


def test_a_silent_peer_is_suspected_and_dialled_anew() -> None:
    cluster, nodes = mesh(2)
    cluster.lose = lambda one, two, message: one == "n1"
    cluster.until(lambda: nodes[0].engine.reachable() == [], 10.0)
    cluster.run(2.0)
    assert nodes[0].engine.core.counters["peers_suspected"] == 1
    cluster.lose = lambda one, two, message: False
    cluster.until(lambda: nodes[0].engine.reachable() == ["n1"], 10.0)
    assert ("peer_down", {"node": "n1", "reason": "silent"}) in nodes[0].events


def test_a_peer_is_not_suspected_for_our_own_stall() -> None:
    cluster, nodes = mesh(2)
    node = nodes[0]
    due = node.engine.next_wakeup()
    assert due is not None
    late = due + 20.0  # the process stood still; what came meanwhile waits behind this tick
    node.engine.tick(late, cluster.wall_ms())
    assert node.engine.core.counters["peers_suspected"] == 0
    assert node.engine.status()["lateness"] == pytest.approx(20.0)


def test_an_old_copy_counts_on_from_the_start_that_was_heard() -> None:
    cluster, nodes = mesh(2)
    cluster.copy("n1", "old")
    nodes[1].kill()
    cluster.run(0.5)
    cluster.now += 100.0
    nodes[1].start()
    cluster.until(lambda: nodes[0].engine.reachable() == ["n1"], 10.0)
    later = nodes[1].store.start
    nodes[1].kill()
    cluster.run(1.0)
    cluster.now -= 90.0  # its clock was set back: the copy begins at an earlier start than was heard
    old = cluster.nodes["old"]
    old.start()
    assert old.store.start < later
    cluster.until(lambda: old.engine.reachable() == ["n0"], 20.0)
    assert old.store.start > later
    old.add("k", "from the copy")
    cluster.until(lambda: cluster.equal("n0", "old"), 10.0)


def test_of_two_lives_with_one_start_one_goes_on() -> None:
    cluster, nodes = mesh(2)
    copy = cluster.copy("n1", "copy")
    copy.start()
    cluster.run(10.0)
    states_ = sorted(node.engine.state for node in (nodes[1], copy))
    assert states_ == ["member", "superseded"]
    loser = nodes[1] if nodes[1].engine.state == "superseded" else copy
    assert loser.engine.core.links == {}
    assert loser.engine.next_wakeup() is not None


def a_clone_under_a_later_start() -> tuple[Cluster, list[Node], Node]:
    """n1 greets only n0, and a clone of it, whose clock was far ahead, only n2: each has been taken by somebody."""
    cluster, nodes = mesh(3)
    clone = cluster.copy("n1", "clone")
    for pair in (("n1", "n2"), ("clone", "n0"), ("clone", "n1")):
        cluster.cut(*pair)
    cluster.until(lambda: nodes[2].engine.reachable() == ["n0"], 10.0)
    clone.start()
    clone.store.raise_start(nodes[1].store.start + 1_000)
    cluster.until(lambda: nodes[2].engine.reachable() == ["n0", "n1"], 10.0)
    return cluster, nodes, clone


def test_a_node_outlives_a_clone_of_a_later_start_that_some_have_met() -> None:
    cluster, nodes, clone = a_clone_under_a_later_start()
    clone.kill()
    cluster.run(5.0)
    cluster.heal()
    cluster.until(lambda: nodes[2].engine.core.counters["refused_old_start"] > 0, 10.0)
    assert nodes[1].store.start < clone.store.start
    cluster.until(lambda: nodes[2].engine.reachable() == ["n0", "n1"], 60.0)
    assert nodes[1].store.start == clone.store.start + 1
    assert nodes[1].engine.core.counters["start_raised"] == 1
    nodes[1].remove("k", "first")
    cluster.until(lambda: all(not node.rows() for node in nodes), 30.0)


def test_two_living_copies_do_not_outbid_each_other() -> None:
    """The link of the later one breaks for a while; the earlier one, called old meanwhile, waits for its return."""
    cluster, nodes, clone = a_clone_under_a_later_start()
    cluster.cut("clone", "n2")
    cluster.cuts.discard(frozenset(("n1", "n2")))
    cluster.until(lambda: nodes[2].engine.core.counters["refused_old_start"] >= 3, 10.0)
    cluster.heal()
    cluster.until(lambda: nodes[1].engine.state == "superseded", 30.0)
    assert clone.engine.state == "member"
    assert all(node.engine.core.counters["start_raised"] == 0 for node in (nodes[1], clone))


@pytest.mark.parametrize("own_comes", [False, True], ids=["own Hello lost", "own Hello second"])
def test_a_link_greeted_by_a_late_copy_of_a_hello_is_ended(own_comes: bool) -> None:
    """Else all that n1 announces is another start's for as long as the link stands, and nothing is ever collected."""
    cluster, nodes = mesh(2)
    copy = nodes[1].engine.sessions._hello()
    nodes[1].kill()
    cluster.run(1.0)

    def lose(sender: str, receiver: str, message: m.Message) -> bool:
        if sender != "n1" or not isinstance(message, m.Hello):
            return False
        cluster.lose = lambda one, two, message: False
        link = next(link for link in nodes[0].engine.core.links.values() if link.state == states.GREETING)
        nodes[0].engine.receive(link.number, copy, cluster.now, cluster.wall_ms())
        cluster.settle(nodes[0])
        return not own_comes

    cluster.lose = lose
    nodes[1].start()
    cluster.until(lambda: nodes[0].engine.core.counters["hellos_outdated"] == 1, 5.0)
    cluster.until(lambda: nodes[0].engine.reachable() == ["n1"], 5.0)
    nodes[1].remove("k", "first")
    cluster.until(lambda: all(not node.rows() for node in nodes), 10.0)
    assert nodes[0].engine.core.counters["hellos_outdated"] == 1


def test_a_node_that_is_superseded_on_its_way_in_rests() -> None:
    cluster = Cluster()
    node = cluster.node("a")
    node.start(join=("127.0.0.1:1",))
    cluster.run(1.0)
    node.engine.sessions.superseded()
    cluster.settle(node)
    due = node.engine.next_wakeup()
    assert due is not None
    cluster.run(max(due - cluster.now, 0.0) + 0.1)
    assert node.engine.state == "superseded"
    assert (node.engine.next_wakeup() or cluster.now) > cluster.now


def test_a_late_refusal_meant_for_an_earlier_life_is_not_ours() -> None:
    cluster, nodes = mesh(2)
    link = nodes[0].engine.core.peers["n1"].link
    assert link is not None
    refusal = m.Refuse(code="superseded", text="a later start has come", hint=f"{nodes[0].store.start - 1}:1")
    nodes[0].engine.receive(link.number, refusal, cluster.now, cluster.wall_ms())
    cluster.settle(nodes[0])
    assert nodes[0].engine.state == "member"
    cluster.until(lambda: nodes[0].engine.reachable() == ["n1"], 10.0)


def test_goodbye_ends_a_link_without_suspicion() -> None:
    cluster, nodes = mesh(2)
    engine = nodes[1].engine
    engine.close(cluster.now)
    assert engine.drained()
    engine.bye(cluster.now)
    effects = engine.take_effects()
    assert [type(effect) for effect in effects][:2] == [Send, Disconnect]
    nodes[1].driver.apply(effects)
    nodes[1].up = False
    cluster.run(0.1)
    assert nodes[0].engine.reachable() == []
    assert nodes[0].engine.core.counters["peers_suspected"] == 0


def test_states_move_only_as_their_tables_say() -> None:
    assert states.step(states.NODE_STATES, states.MEMBER, states.LEAVING) == states.LEAVING
    with pytest.raises(InvariantViolated):
        states.step(states.NODE_STATES, states.LEFT, states.MEMBER)
    for table in (states.NODE_STATES, states.LINK_STATES):
        assert {new for targets in table.values() for new in targets} <= set(table)


def test_skew_is_counted_told_once_and_shown() -> None:
    cluster, nodes = mesh(2)
    punctual = nodes[1].engine.tick

    def tick(now: float, wall_ms: int) -> None:
        punctual(now, wall_ms + 120_000)

    nodes[1].engine.tick = tick  # type: ignore[method-assign]
    cluster.run(5.0)
    status = nodes[0].engine.status()["peers"]["n1"]
    assert status["skew"] == pytest.approx(120.0, abs=0.1)
    assert status["skew_alarm"]
    assert [event for event, _ in nodes[0].events].count("skew") == 1
    assert nodes[0].engine.core.counters["clock_skew_alarm"] >= 4


def test_announcements_that_come_late_are_no_skew() -> None:
    cluster, nodes = mesh(2)
    cluster.run(3.0)
    punctual = nodes[1].engine.tick
    nodes[1].engine.tick = lambda now, wall_ms: punctual(now, wall_ms - 5_000)  # type: ignore[method-assign]
    cluster.run(3.0)
    assert abs(nodes[0].engine.status()["peers"]["n1"]["skew"]) < 1.0
    cluster.run(20.0)  # all of them: that is its clock
    assert nodes[0].engine.status()["peers"]["n1"]["skew"] == pytest.approx(-5.0, abs=0.1)


def test_a_node_alone_cannot_leave_or_evict() -> None:
    cluster = Cluster()
    node = cluster.node("a")
    node.start()
    with pytest.raises(MembershipMisuse):
        node.engine.leave(cluster.now)
    with pytest.raises(MembershipMisuse):
        node.engine.evict("b", True, cluster.now)


def test_a_members_address_with_a_later_start_wins() -> None:
    cluster, nodes = mesh(3)
    record = nodes[0].store.members()["n1"]
    moved = msgspec.structs.replace(record, address="127.0.0.1:9", start=record.start + 1)
    link = nodes[0].engine.core.peers["n2"].link
    assert link is not None
    nodes[0].engine.receive(link.number, m.MembersUpdate(members=(moved,)), cluster.now, cluster.wall_ms())
    nodes[0].engine.receive(link.number, m.MembersUpdate(members=(record,)), cluster.now, cluster.wall_ms())
    assert nodes[0].store.members()["n1"] == moved
