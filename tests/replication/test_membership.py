"""Who is in: records, sponsoring, leaving, evicting, founding anew, and what status() says of it."""

from __future__ import annotations

import msgspec
import pytest

from crdtsync import kernels
from crdtsync.clocks.members import EVICTED, EXPIRED, JOINING, LEFT, MEMBER, MemberRecord
from crdtsync.errors import MembershipMisuse, QuorumMissing
from crdtsync.replication import messages as m
from crdtsync.replication.effects import Persist, Send
from tests.replication.cluster import BUCKET, Cluster, Node
from tests.replication.test_gossip import mesh


def test_a_sponsor_counts_its_joiner_durably_before_it_answers() -> None:
    cluster, nodes = mesh(1)
    sponsor = nodes[0]
    carried_out = sponsor.driver.apply
    lists: list[list[object]] = []

    def apply(effects: object) -> None:
        lists.append(list(effects))  # type: ignore[call-overload]
        carried_out(lists[-1])

    sponsor.driver.apply = apply  # type: ignore[method-assign]
    joiner = cluster.node("j")
    joiner.start(join=(sponsor.address,))
    cluster.until(lambda: joiner.engine.state == "member")
    flat = [effect for effects in lists for effect in effects]
    answer = next(at for at, e in enumerate(flat) if isinstance(e, Send) and isinstance(e.message, m.JoinAccept))
    assert any(isinstance(effect, Persist) for effect in flat[:answer])
    accept = flat[answer].message  # type: ignore[attr-defined]
    assert {record.node: record.state for record in accept.members} == {"n0": MEMBER, "j": JOINING}


def test_a_joiner_writes_nothing_and_sends_nothing_before_it_is_whole() -> None:
    cluster, nodes = mesh(1)
    cluster.lose = lambda one, two, message: isinstance(message, m.Part)
    joiner = cluster.node("j")
    joiner.start(join=(nodes[0].address,))
    cluster.run(5.0)
    assert joiner.engine.state == "joining"
    assert not joiner.engine.writable
    said = {type(message) for one, _, message in cluster.sent if one == "j"}
    assert said <= {m.Hello, m.JoinRequest, m.Pull, m.Announce, m.Abort}
    assert not any(
        message.buckets for one, _, message in cluster.sent if one == "j" and isinstance(message, m.Announce)
    )
    assert nodes[0].engine.status()["members"]["j"]["state"] == JOINING
    cluster.lose = lambda one, two, message: False
    cluster.until(lambda: joiner.engine.state == "member", 60.0)


@pytest.mark.parametrize("kind", [m.JoinRequest, m.JoinAccept, m.JoinDone, m.MembersUpdate])
def test_a_join_survives_the_loss_of_any_of_its_messages(kind: type[m.Message]) -> None:
    cluster, nodes = mesh(2)
    left = [2]

    def lose(one: str, two: str, message: m.Message) -> bool:
        hit = isinstance(message, kind) and "j" in (one, two) and left[0] > 0
        left[0] -= hit
        return hit

    cluster.lose = lose
    joiner = cluster.node("j")
    joiner.start(join=(nodes[0].address, nodes[1].address))
    cluster.until(lambda: joiner.engine.state == "member", 60.0)
    cluster.until(cluster.equal)
    cluster.run(3.0)
    assert {node.store.members()["j"].state for node in nodes} == {MEMBER}


def test_two_joiners_at_once() -> None:
    cluster, nodes = mesh(1)
    joiners = [cluster.node(name) for name in ("j1", "j2")]
    for joiner in joiners:
        joiner.start(join=(nodes[0].address,))
    cluster.until(lambda: all(joiner.engine.state == "member" for joiner in joiners))
    joiners[0].add("k", "j1")
    joiners[1].add("k", "j2")
    cluster.until(cluster.equal)


def test_a_joiner_takes_all_buckets() -> None:
    cluster, nodes = mesh(1)
    for number in range(20):
        nodes[0].store.transact(f"b{number}", _flag)
    joiner = cluster.node("j")
    joiner.start(join=(nodes[0].address,))
    cluster.until(lambda: joiner.engine.state == "member")
    assert joiner.store.buckets() == nodes[0].store.buckets()
    assert cluster.equal()


def _flag(txn):  # type: ignore[no-untyped-def]
    txn.put(b"k\0f", kernels.presence_add(None, *txn.next_event()))


def test_leaving_waits_for_a_disk_and_not_only_a_memory() -> None:
    cluster, nodes = mesh(2)
    flush = nodes[1].store.flush
    nodes[1].store.flush = lambda: None  # type: ignore[method-assign]
    nodes[0].add("k", "last words")
    nodes[0].engine.leave(cluster.now)
    cluster.settle(nodes[0])
    cluster.run(5.0)
    assert cluster.equal()
    assert nodes[0].engine.state == "leaving"
    nodes[1].store.flush = flush  # type: ignore[method-assign]
    cluster.until(lambda: nodes[0].engine.state == "left")


def test_two_that_leave_at_once_do_not_count_on_each_other() -> None:
    cluster, nodes = mesh(3)
    cluster.cut("n0", "n2")
    cluster.cut("n1", "n2")
    cluster.run(1.0)
    for node in nodes[:2]:
        node.add("k", f"last words of {node.name}")
    cluster.run(3.0)
    for node in nodes[:2]:
        node.engine.leave(cluster.now)
        cluster.settle(node)
    cluster.run(10.0)
    assert [node.engine.state for node in nodes] == ["leaving", "leaving", "member"]
    cluster.heal()
    cluster.until(lambda: [node.engine.state for node in nodes] == ["left", "left", "member"])
    assert len(nodes[2].live()) == 3


def test_who_has_left_tells_those_who_have_forgotten_it() -> None:
    """Of those who knew, one lost its disk and the other went back to an older copy: collection would wait for ever."""
    cluster, nodes = mesh(3)
    old = cluster.copy("n0", "old copy")
    nodes[2].engine.leave(cluster.now)
    cluster.settle(nodes[2])
    cluster.until(lambda: nodes[2].engine.state == LEFT and nodes[1].store.members()["n2"].state == LEFT)
    nodes[0].kill()
    nodes[1].kill()
    old.start()
    assert old.store.members()["n2"].state == MEMBER
    cluster.until(lambda: old.store.members()["n2"].state == LEFT, 30.0)
    assert nodes[2].engine.state == LEFT
    fresh = cluster.node("n1")
    fresh.start(join=(old.address,))
    cluster.until(lambda: fresh.engine.state == "member")
    assert fresh.store.members()["n2"].state == LEFT
    old.add("k", "gone")
    old.remove("k", "gone")
    cluster.until(lambda: not any(kernels.row_dead(image) for node in (old, fresh) for _, image in node.rows()), 30.0)


def hellos(cluster: Cluster, caller: Node, callee: Node) -> list[tuple[str, str, m.Hello]]:
    """What two nodes greet each other with over a new link."""
    cluster.sent.clear()
    cluster.dial(caller, callee.address)
    cluster.run(0.1)
    return [(one, two, message) for one, two, message in cluster.sent if isinstance(message, m.Hello)]


@pytest.mark.parametrize("epoch", [1, 2])
def test_late_word_of_having_left_puts_nobody_out_who_is_in_again(epoch: int) -> None:
    cluster, nodes = mesh(3)
    nodes[2].engine.leave(cluster.now)
    cluster.settle(nodes[2])
    cluster.until(lambda: nodes[2].engine.state == LEFT)
    said = [record for record in nodes[2].store.members().values() if record.node == "n2"]
    greeting = next(message for one, _, message in hellos(cluster, nodes[0], nodes[2]) if one == "n2")
    assert list(greeting.members) == said
    nodes[2].kill()
    nodes[2].start(join=(nodes[0].address,))
    cluster.until(lambda: nodes[2].engine.state == "member")
    cluster.run(1.0)
    before = nodes[0].store.members()["n2"]
    assert (before.epoch, before.state) == (2, MEMBER)
    late = msgspec.structs.replace(greeting, members=tuple(msgspec.structs.replace(r, epoch=epoch) for r in said))
    nodes[0].engine.link_up(999, "", False, cluster.now)
    nodes[0].engine.receive(999, late, cluster.now, cluster.wall_ms())
    cluster.settle(nodes[0])
    assert 999 not in nodes[0].engine.core.links
    assert nodes[0].store.members()["n2"] == before


def test_word_of_having_left_makes_nobody_known_and_is_for_its_own_cluster() -> None:
    cluster, nodes = mesh(2)
    before = dict(nodes[0].store.members())
    stranger = MemberRecord(node="x", epoch=7, state=LEFT)
    known = msgspec.structs.replace(before["n1"], state=LEFT)
    said = next(message for one, _, message in hellos(cluster, *nodes) if one == "n1")
    for cluster_id, record in ((nodes[0].store.cluster(), stranger), (1, known)):
        greeting = msgspec.structs.replace(said, node=record.node, cluster=cluster_id, members=(record,))
        nodes[0].engine.link_up(999, "", False, cluster.now)
        nodes[0].engine.receive(999, greeting, cluster.now, cluster.wall_ms())
        assert 999 not in nodes[0].engine.core.links
        assert nodes[0].store.members() == before


def test_a_leaver_lets_others_in_where_nobody_else_can() -> None:
    """The other member must start over, and a joiner is not in: all would wait for the leaver, and it for them."""
    cluster, nodes = mesh(2)
    cluster.cut("n0", "n1")
    nodes[1].engine.leave(cluster.now)
    cluster.settle(nodes[1])
    cluster.run(1.0)
    nodes[0].engine.entry.start_over("as after damage that nobody can mend")
    cluster.settle(nodes[0])
    joiner = cluster.node("j")
    joiner.start(join=(nodes[1].address,))
    cluster.run(3.0)
    assert [node.engine.state for node in (*nodes, joiner)] == ["starting_over", "leaving", "joining"]
    cluster.heal()
    cluster.until(lambda: [n.engine.state for n in (*nodes, joiner)] == ["member", "left", "member"], 60.0)
    assert {node.store.members()["n1"].state for node in (nodes[0], joiner)} == {LEFT}
    cluster.until(lambda: nodes[0].store.clock(BUCKET) == joiner.store.clock(BUCKET))


def test_one_stays_where_the_only_other_member_has_lost_its_disk() -> None:
    """Its record says member, and it says itself that it is joining: nobody else could let either of the two in."""
    cluster, nodes = mesh(2)
    nodes[0].engine.entry.start_over("below a floor that is nowhere any more")
    nodes[1].kill()
    cluster.settle(nodes[0])
    fresh = cluster.node("n1")
    fresh.start(join=(nodes[0].address,))
    cluster.until(lambda: [nodes[0].engine.state, fresh.engine.state] == ["member"] * 2, 30.0)
    assert "k/first" in fresh.live()
    assert nodes[0].engine.core.counters["evictions_withstood"] == 1


def test_an_eviction_needs_more_than_half_of_the_members() -> None:
    cluster, nodes = mesh(4)
    for node in nodes[2:]:
        node.kill()
    cluster.until(lambda: nodes[0].engine.reachable() == ["n1"], 20.0)
    with pytest.raises(QuorumMissing):
        nodes[0].engine.evict("n3", False, cluster.now)
    nodes[0].engine.evict("n3", True, cluster.now)
    cluster.settle(nodes[0])
    cluster.run(0.1)
    assert nodes[1].store.members()["n3"].state == EVICTED
    with pytest.raises(MembershipMisuse):
        nodes[0].engine.evict("n3", True, cluster.now)
    nodes[0].engine.evict("n2", False, cluster.now)  # two of three now


def test_a_living_member_that_is_evicted_starts_over_at_once() -> None:
    cluster, nodes = mesh(3)
    nodes[0].engine.evict("n2", False, cluster.now)
    cluster.settle(nodes[0])
    cluster.until(lambda: nodes[2].engine.state == "starting_over")
    assert not nodes[2].engine.writable
    cluster.until(lambda: nodes[2].engine.state == "member")
    nodes[2].add("k", "again")
    cluster.until(cluster.equal)
    assert nodes[0].store.members()["n2"].epoch == 2


def test_a_crash_while_starting_over_goes_on_with_it() -> None:
    cluster, nodes = mesh(3)
    nodes[2].add("k", "theirs too")
    cluster.until(cluster.equal)
    nodes[0].engine.evict("n2", False, cluster.now)
    cluster.settle(nodes[0])
    cluster.until(lambda: nodes[2].engine.state == "starting_over")
    nodes[2].kill()
    nodes[2].start()
    assert nodes[2].engine.state in ("starting_over", "joining")
    assert not nodes[2].engine.writable
    cluster.until(lambda: nodes[2].engine.state == "member")
    cluster.until(cluster.equal)


@pytest.mark.parametrize("crash", [False, True])
def test_what_a_node_held_can_be_read_until_the_sponsors_state_is_whole(crash: bool) -> None:
    cluster, nodes = mesh(3)
    lone = nodes[2]
    lone.add("k", "before")
    cluster.until(cluster.equal)
    cluster.cut("n0", "n2")
    cluster.cut("n1", "n2")
    lone.add("k", "alone")
    nodes[0].add("k", "theirs")
    cluster.run(1.0)
    held = lone.live()
    nodes[0].engine.evict("n2", False, cluster.now)
    cluster.lose = lambda one, two, message: isinstance(message, m.Part) and two == "n2"
    cluster.heal()
    cluster.until(lambda: lone.engine.core.counters["started_over"] == 1)
    cluster.run(2.0)
    for _ in range(2 if crash else 1):
        assert lone.engine.state in ("starting_over", "joining") and not lone.engine.writable
        assert lone.live() == held, "the bucket is given up, and still there"
        assert lone.store.given_up(BUCKET)
        if crash:
            lone.kill()
            lone.start()
            cluster.run(2.0)
    cluster.lose = lambda one, two, message: False
    cluster.until(lambda: lone.engine.state == "member", 60.0)
    cluster.until(cluster.equal)
    assert lone.live() == nodes[0].live() != held
    assert not lone.store.given_up(BUCKET)
    assert [name for name in lone.store.disk.list() if name.startswith("rescue-")]


def test_news_of_an_uninformed_node_brings_nobody_back() -> None:
    cluster, nodes = mesh(3)
    record = nodes[0].store.members()["n2"]
    nodes[2].kill()
    cluster.run(1.0)
    nodes[0].engine.evict("n2", False, cluster.now)
    cluster.settle(nodes[0])
    cluster.until(lambda: nodes[0].store.members()["n2"].state == EVICTED)
    link = nodes[0].engine.core.peers["n1"].link
    assert link is not None
    late = msgspec.structs.replace(record, start=record.start + 5)
    nodes[0].engine.receive(link.number, m.MembersUpdate(members=(late,)), cluster.now, cluster.wall_ms())
    assert nodes[0].store.members()["n2"].state == EVICTED


def test_a_cluster_restored_from_backups_is_founded_anew() -> None:
    cluster, nodes = mesh(2)
    cluster.copy("n0", "restored")
    restored = cluster.nodes["restored"]
    restored.start(new_cluster=True)
    cluster.run(5.0)
    assert restored.engine.state == "member"
    assert restored.store.cluster() != nodes[0].store.cluster()
    assert {n: r.state for n, r in restored.store.members().items()} == {"n0": MEMBER, "n1": EVICTED}
    joiner = cluster.node("j")
    joiner.start(join=(restored.address,))
    cluster.until(lambda: joiner.engine.state == "member")
    assert joiner.live() == ["k/first"]


def test_status_says_who_everybody_is() -> None:
    cluster, nodes = mesh(3)
    nodes[2].kill()
    nodes[0].add("k", "1")
    nodes[0].add("k", "2")
    cluster.run(10.0)
    status = nodes[0].engine.status()
    assert status["state"] == "member"
    assert status["reachable"] == ["n1"]
    assert {name: peer["state"] for name, peer in status["peers"].items()} == {"n1": "up", "n2": "down"}
    assert status["peers"]["n2"]["lag"][BUCKET] == 2
    assert status["peers"]["n2"]["last_heard"] >= 9.0
    assert status["peers"]["n1"]["lag"][BUCKET] == 0
    assert msgspec.json.encode(status)  # plain values all through


def test_a_joiner_that_expired_is_not_counted() -> None:
    cluster, nodes = mesh(1, joining_expiry=10.0)
    cluster.lose = lambda one, two, message: isinstance(message, m.Part)
    joiner = cluster.node("j")
    joiner.start(join=(nodes[0].address,))
    cluster.run(3.0)
    joiner.kill()
    cluster.lose = lambda one, two, message: False
    cluster.until(lambda: nodes[0].store.members()["j"].state == EXPIRED)
    assert nodes[0].engine.core.counters["joiners_expired"] == 1
    joiner.start()
    cluster.until(lambda: joiner.engine.state == "member")
    assert {node.store.members()["j"].epoch for node in (nodes[0], joiner)} == {2}


def test_an_expiry_at_a_restored_sponsor_throws_no_member_out() -> None:
    cluster, nodes = mesh(1, joining_expiry=10.0)
    cluster.lose = lambda one, two, message: isinstance(message, m.JoinDone)
    joiner = cluster.node("j")
    joiner.start(join=(nodes[0].address,))
    cluster.run(3.0)
    assert nodes[0].store.members()["j"].state == JOINING
    copy = cluster.copy("n0", "copy")
    cluster.lose = lambda one, two, message: False
    cluster.until(lambda: joiner.engine.state == "member")
    joiner.add("k", "written as a member")
    cluster.until(lambda: cluster.equal("n0", "j"))
    nodes[0].kill()
    cluster.cut("copy", "j")
    copy.start()
    cluster.until(lambda: copy.store.members()["j"].state == EXPIRED)
    cluster.heal()
    cluster.dial(joiner, copy.address)
    cluster.until(lambda: cluster.equal("copy", "j"))
    assert {node.store.members()["j"].state for node in (copy, joiner)} == {MEMBER}
    assert not joiner.engine.core.counters["told_out"]
    assert "k/written as a member" in copy.live()


def test_private_stores_found_a_cluster_only_when_somebody_joins() -> None:
    cluster = Cluster()
    node = cluster.node("a")
    node.start()
    node.add("k", "1")
    cluster.run(5.0)
    assert node.store.cluster() == 0
    assert node.engine.writable
