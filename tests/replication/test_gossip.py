"""How news travels: small pushes to whom they are news, nothing else, and quiet when there is none."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from crdtsync.clocks.members import Roster
from crdtsync.replication import messages as m
from crdtsync.replication.announcer import WHOLE_EVERY
from tests.replication.cluster import BUCKET, DELAY, Cluster, Node


def mesh(count: int, **settings: object) -> tuple[Cluster, list[Node]]:
    """Members of one cluster, at rest."""
    cluster = Cluster(**settings)
    nodes = [cluster.node(f"n{number}") for number in range(count)]
    nodes[0].start()
    for node in nodes[1:]:
        node.start(join=(nodes[0].address,))
    cluster.until(lambda: all(node.engine.state == "member" for node in nodes))
    nodes[0].add("k", "first")
    cluster.until(cluster.equal)
    cluster.run(3.0)
    cluster.sent.clear()
    return cluster, nodes


def sent(cluster: Cluster, kind: type[m.Message]) -> list[tuple[str, str, m.Message]]:
    return [one for one in cluster.sent if isinstance(one[2], kind)]


def losing(cluster: Cluster, sender: str, receiver: str, kind: type[m.Message]) -> Callable[[], None]:
    """Lose all messages of a kind on one way; gives what ends it."""
    cluster.lose = lambda one, two, message: (one, two) == (sender, receiver) and isinstance(message, kind)

    def stop() -> None:
        cluster.lose = lambda one, two, message: False

    return stop


def test_a_write_is_pushed_to_every_member_at_once() -> None:
    cluster, nodes = mesh(3)
    nodes[0].add("k", "new")
    cluster.run(nodes[0].config.push_delay + 2 * DELAY)
    assert cluster.equal()
    pushes = sent(cluster, m.Part)
    assert sorted((one, two) for one, two, _ in pushes) == [("n0", "n1"), ("n0", "n2")]
    parts = [part for _, _, part in pushes if isinstance(part, m.Part)]
    assert parts[0] is parts[1]  # read and packed once
    assert (parts[0].rows.count, parts[0].members, parts[0].synced) == (1, (), {})
    assert not sent(cluster, m.Pull)


def test_writes_within_the_push_delay_leave_together() -> None:
    cluster, nodes = mesh(2, push_delay=0.05)
    nodes[0].add("k", "1")
    cluster.run(0.01)
    for element in "2345":
        nodes[0].add("k", element)
    cluster.run(0.2)
    counts = [part.rows.count for _, _, part in sent(cluster, m.Part) if isinstance(part, m.Part)]
    assert counts == [1, 4]
    assert cluster.equal()


def test_nothing_is_echoed() -> None:
    cluster, nodes = mesh(3)
    for number in range(20):
        nodes[number % 3].add("k", f"e{number}")
        cluster.run(0.01)
    cluster.run(3.0)
    assert cluster.equal()
    rows = sum(part.rows.count for _, _, part in sent(cluster, m.Part) if isinstance(part, m.Part))
    assert rows == 20 * 2  # every row once to each of the two who lack it
    assert not sent(cluster, m.Pull)


def test_an_idle_cluster_only_beats() -> None:
    cluster, nodes = mesh(3)
    cluster.run(10.0)
    assert {type(message) for _, _, message in cluster.sent} == {m.Announce}
    assert len(cluster.sent) <= 3 * 2 * 11
    told = [message.buckets for _, _, message in cluster.sent if isinstance(message, m.Announce)]
    assert sum(1 for buckets in told if buckets) <= 3 * 2 * (11 // WHOLE_EVERY + 1)
    assert all(node.engine.next_wakeup() is not None for node in nodes)


def test_a_lost_push_is_made_good() -> None:
    cluster, nodes = mesh(2)
    stop = losing(cluster, "n0", "n1", m.Part)
    nodes[0].add("k", "lost")
    cluster.run(0.1)
    assert not cluster.equal()
    stop()
    cluster.until(cluster.equal, 5.0)


def test_a_push_that_overtakes_its_base_waits_for_it() -> None:
    cluster, nodes = mesh(3)
    cluster.lose = lambda one, two, message: (one, two) == ("n0", "n2") and isinstance(message, m.Part)
    nodes[0].add("k", "base")  # reaches n1 alone
    cluster.run(0.003)
    nodes[1].add("k", "on top")
    cluster.run(0.003)
    assert nodes[2].engine.core.counters["pushes_parked"] == 1
    assert nodes[2].live() == ["k/first"]
    cluster.until(cluster.equal, 1.0)  # pulled after the grace


def test_a_peer_that_others_do_not_reach_gets_their_events_from_here() -> None:
    cluster, nodes = mesh(3)
    cluster.cut("n0", "n2")
    cluster.run(5.0)
    for number in range(5):
        nodes[0].add("k", f"e{number}")
        cluster.run(0.5)
    cluster.until(cluster.equal, 3.0)


def test_a_slow_peer_has_only_so_many_pushes_in_flight() -> None:
    cluster, nodes = mesh(2)
    stop = losing(cluster, "n1", "n0", m.Credit)
    for number in range(10):
        nodes[0].add("k", f"e{number}")
        cluster.run(0.002)
    assert len(sent(cluster, m.Part)) == nodes[0].config.credit_parts
    stop()
    cluster.until(cluster.equal, 10.0)


def test_what_is_too_large_for_a_push_is_pulled_in_parts() -> None:
    cluster, nodes = mesh(2, part_bytes=2048)
    for number in range(100):
        nodes[0].add("k", f"{number}".ljust(100))
    cluster.until(cluster.equal, 5.0)
    parts = [part for _, _, part in sent(cluster, m.Part) if isinstance(part, m.Part)]
    assert any(not part.push and not part.last for part in parts)
    assert len(sent(cluster, m.Pull)) == 1


def test_above_a_full_mesh_a_write_goes_to_a_few_and_reaches_all() -> None:
    cluster, nodes = mesh(12, full_mesh_max=4)
    before = cluster.now
    nodes[5].add("k", "news")
    cluster.run(nodes[5].config.push_delay + DELAY)
    pushes = [one for one in sent(cluster, m.Part) if isinstance(one[2], m.Part) and one[2].push]
    assert len(pushes) == nodes[5].config.fan_out
    cluster.until(cluster.equal, 3.0)
    rows = sum(part.rows.count for _, _, part in sent(cluster, m.Part) if isinstance(part, m.Part))
    assert rows <= 11 * 1.1  # nobody was sent what it had
    assert cluster.now - before < 3.0


def test_above_a_full_mesh_nobody_is_sent_what_others_bring() -> None:
    cluster, nodes = mesh(12, full_mesh_max=4)
    for number in range(5):
        for node in nodes:
            node.add("k", f"{node.name} {number}")
        cluster.run(0.1)
    cluster.until(cluster.equal, 5.0)
    rows = sum(part.rows.count for _, _, part in sent(cluster, m.Part) if isinstance(part, m.Part))
    assert rows <= 60 * 11 * 1.1
    pulls = [two for _, two, _ in sent(cluster, m.Pull)]
    assert len(pulls) < 12 * 30  # a few a second, however fast news comes


def announced(cluster: Cluster) -> list[m.Announce]:
    return [message for _, _, message in cluster.sent if isinstance(message, m.Announce)]


def test_a_member_list_is_left_out_to_who_holds_the_same() -> None:
    cluster, nodes = mesh(3)
    cluster.run(2.0)
    assert announced(cluster) and not any(announce.members for announce in announced(cluster))
    assert len({announce.members_digest for announce in announced(cluster)}) == 1
    late = cluster.node("n3")
    late.start(join=(nodes[0].address,))
    cluster.until(lambda: late.engine.state == "member")
    cluster.run(3.0)
    assert any(announce.members for announce in announced(cluster))
    assert {len(node.store.members()) for node in nodes} == {4}
    cluster.sent.clear()
    cluster.run(2.0)
    assert announced(cluster) and not any(announce.members for announce in announced(cluster))


def test_who_tells_no_digest_is_sent_every_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier version knows of no digests: it needs the list that a clock comes with."""
    monkeypatch.setattr(Roster, "digest", 0)
    cluster, _ = mesh(3)
    cluster.run(2.0)
    assert announced(cluster) and all(len(announce.members) == 3 for announce in announced(cluster))


def test_a_clock_whose_list_is_another_counts_only_with_that_list() -> None:
    cluster, nodes = mesh(2)
    engine, peer = nodes[0].engine, nodes[0].engine.core.peers["n1"]
    assert peer.link is not None
    counted = engine.core.replica.announced[BUCKET]
    counted.clear()
    announce = m.Announce(
        node="n1", start=peer.start, actor=peer.actor, wall_ms=cluster.wall_ms(), seq=10**6, members_digest=99,
        buckets=(m.BucketClocks(BUCKET, dict(peer.clock[BUCKET]), dict(peer.synced[BUCKET])),),
    )  # fmt: skip
    engine.receive(peer.link.number, announce, cluster.now, cluster.wall_ms())
    assert counted == {} and engine.core.counters["announcements_unlisted"] == 1
    engine.announcer.moved(BUCKET)
    assert counted == {}  # nor when the clock moves
    members = tuple(nodes[1].store.members().values())
    listed = msgspec.structs.replace(announce, seq=10**6 + 1, members=members, buckets=())
    engine.receive(peer.link.number, listed, cluster.now, cluster.wall_ms())
    assert counted == {"n1": peer.synced[BUCKET]}


@pytest.mark.parametrize("kind", [m.Announce, m.Credit, m.Pull, m.Part])
def test_losing_a_kind_of_message_for_a_while_delays_and_no_more(kind: type[m.Message]) -> None:
    cluster, nodes = mesh(3)
    stop = losing(cluster, "n0", "n1", kind)
    for number in range(10):
        nodes[number % 3].add("k", f"e{number}")
        cluster.run(0.3)
    stop()
    nodes[0].add("k", "last")
    cluster.until(cluster.equal, 20.0)
    nodes[0].remove("k", "last")
    cluster.until(lambda: all(len(node.rows()) == len(node.live()) for node in nodes), 60.0)


def test_a_bucket_beyond_the_bound_is_not_made() -> None:
    cluster, nodes = mesh(2)
    engine = nodes[1].engine
    engine.core.settings = engine.transfers.core.settings.__class__(name="n1", buckets_max=1)
    nodes[0].store.transact("more", lambda txn: txn.put(b"k\0f", _flag(txn)))
    nodes[0].engine.local(cluster.now, ["more"])
    cluster.wake(nodes[0])
    cluster.run(3.0)
    assert nodes[1].store.buckets() == [BUCKET]
    assert engine.core.counters["too_many_buckets"] > 0


def _flag(txn):  # type: ignore[no-untyped-def]
    from crdtsync import kernels

    return kernels.presence_add(None, *txn.next_event())
