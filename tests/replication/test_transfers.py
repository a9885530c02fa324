"""Transfers under way: order, credits, time-outs, limits."""

from __future__ import annotations

import pytest

from crdtsync.replication import messages as m
from crdtsync.replication.effects import Send
from crdtsync.replication.transfers import TURN_LATE, TURN_PAUSE
from tests.replication.cluster import BUCKET, Cluster, Node
from tests.replication.test_gossip import mesh, sent


def behind(count: int = 40, **settings: object) -> tuple[Cluster, Node, Node]:
    """Two members of which the second lacks what makes several parts."""
    cluster, nodes = mesh(2, part_bytes=1024, **settings)
    cluster.cut("n0", "n1")
    for number in range(count):
        nodes[0].add("k", f"{number}".ljust(100))
    cluster.run(1.0)
    cluster.sent.clear()
    return cluster, nodes[0], nodes[1]


def heal(cluster: Cluster) -> None:
    cluster.heal()
    cluster.until(lambda: all(node.engine.reachable() for node in cluster.up()), 20.0)


def test_only_so_many_parts_are_under_way() -> None:
    cluster, server, _reader = behind()
    cluster.lose = lambda one, two, message: isinstance(message, m.Credit)
    heal(cluster)
    cluster.run(3.0)
    parts = [part for _, _, part in sent(cluster, m.Part) if isinstance(part, m.Part) and not part.push]
    assert [part.number for part in parts] == list(range(server.config.credit_parts))
    cluster.lose = lambda one, two, message: False
    cluster.until(cluster.equal, 60.0)
    assert server.engine.transfers.served == {}


def test_a_transfer_that_does_not_move_is_given_up_and_asked_for_again() -> None:
    cluster, _server, reader = behind()
    cluster.lose = lambda one, two, message: isinstance(message, m.Part)
    heal(cluster)
    cluster.until(lambda: reader.engine.core.counters["transfer_timeouts"] > 0, 60.0)
    cluster.lose = lambda one, two, message: False
    cluster.until(cluster.equal, 60.0)


def collect_parts(server: Node, link: int) -> list[m.Part]:
    """All parts of one pull, by playing the reader."""
    parts: list[m.Part] = []
    server.engine.take_effects()
    server.engine.receive(link, m.Pull(transfer=77, bucket=BUCKET, clock={}), server.cluster.now, 0)
    while True:
        new = parts_after_turns(server)
        parts += new
        if not new or new[-1].last:
            return parts
        credit = m.Credit(transfer=77, push=False, number=parts[-1].number, window=4)
        server.engine.receive(link, credit, server.cluster.now, 0)


def parts_after_turns(server: Node) -> list[m.Part]:
    """What it sends of what it is asked for, until it has done all that it may."""
    effects, now = server.engine.take_effects(), server.engine.core.now
    while any(served.has_turn() for served in server.engine.transfers.served.values()):
        now += TURN_PAUSE + TURN_LATE
        server.engine.tick(now, 0)
        effects += server.engine.take_effects()
    return [e.message for e in effects if isinstance(e, Send) and isinstance(e.message, m.Part) and not e.message.push]


def asking() -> tuple[Cluster, Node, list[m.Part], int]:
    """A reader that has asked for everything, the parts of the answer, and the link they come on."""
    cluster, server, reader = behind(count=100)
    cluster.lose = lambda one, two, message: isinstance(message, m.Pull)
    heal(cluster)
    link = server.engine.core.peers["n1"].link
    assert link is not None
    parts = collect_parts(server, link.number)
    cluster.until(lambda: BUCKET in reader.engine.transfers.asked, 5.0)
    asked = reader.engine.transfers.asked[BUCKET]
    first = [m.Part(**{**_fields(part), "transfer": asked.pull.transfer}) for part in parts]
    first[0] = m.Part(**{**_fields(first[0]), "base": asked.pull.clock})
    return cluster, reader, first, asked.link.number


def _fields(part: m.Part) -> dict[str, object]:
    return {name: getattr(part, name) for name in part.__struct_fields__}


def test_pushes_leave_between_the_parts_of_a_transfer() -> None:
    cluster, nodes = mesh(3, part_bytes=1024)
    server = nodes[0]
    for number in range(40):
        server.add("k", f"{number}".ljust(100))
    cluster.until(cluster.equal, 20.0)
    link = server.engine.core.peers["n2"].link
    assert link is not None
    pull = m.Pull(transfer=link.pulled[BUCKET] + 1, bucket=BUCKET, clock={})
    server.engine.receive(link.number, pull, cluster.now, cluster.wall_ms())
    server.add("k", "urgent")
    effects, now = server.engine.take_effects(), cluster.now
    for _ in range(20):
        now += server.config.push_delay
        server.engine.tick(now, cluster.wall_ms())
        effects += server.engine.take_effects()
    order = [e.message.push for e in effects if isinstance(e, Send) and isinstance(e.message, m.Part)]
    assert order.count(False) == server.config.credit_parts
    assert order.count(True) == 1 and order[-1] is False  # to the third member alone: the asker is told by the transfer


@pytest.mark.parametrize("order", ["straight", "swapped", "doubled"])
def test_parts_may_overtake_each_other_within_the_window(order: str) -> None:
    cluster, reader, parts, link = asking()
    if order == "swapped":
        parts = [part for at in range(0, len(parts), 2) for part in reversed(parts[at : at + 2])]
    elif order == "doubled":
        parts = [part for part in parts for _ in range(2)]
    for part in parts:
        assert reader.live() == ["k/first"]
        reader.engine.receive(link, part, cluster.now, cluster.wall_ms())
        if BUCKET not in reader.engine.transfers.asked:
            break
    assert len(reader.live()) == 101
    assert reader.engine.core.counters["peer_faults"] == 0


def test_a_part_far_ahead_ends_the_transfer() -> None:
    cluster, reader, parts, link = asking()
    reader.engine.receive(link, parts[-1], cluster.now, cluster.wall_ms())
    assert reader.engine.core.counters["bad_transfer"] == 1
    assert BUCKET not in reader.engine.transfers.asked
    assert reader.live() == ["k/first"]


def test_a_part_that_builds_on_another_clock_ends_the_transfer() -> None:
    cluster, reader, parts, link = asking()
    wrong = m.Part(**{**_fields(parts[0]), "base": {}})
    reader.engine.receive(link, wrong, cluster.now, cluster.wall_ms())
    assert reader.engine.core.counters["bad_transfer"] == 1
    assert BUCKET not in reader.engine.transfers.asked


def test_a_faulty_sender_is_left_alone_for_a_while() -> None:
    cluster, reader, parts, link = asking()
    cluster.lose = lambda one, two, message: False
    reader.engine.receive(link, parts[-1], cluster.now, cluster.wall_ms())
    cluster.settle(reader)
    asked = len(sent(cluster, m.Pull))
    cluster.run(0.3)
    assert len(sent(cluster, m.Pull)) == asked
    cluster.until(cluster.equal, 20.0)


def test_more_than_so_many_transfers_are_not_served_at_once() -> None:
    cluster, server, _reader = behind(transfers_out_max=1)
    cluster.lose = lambda one, two, message: isinstance(message, m.Part | m.Pull)
    heal(cluster)
    link = server.engine.core.peers["n1"].link
    assert link is not None
    server.engine.take_effects()
    for transfer, bucket in ((1, BUCKET), (2, "other")):
        pull = m.Pull(transfer=transfer, bucket=bucket, clock={})
        server.engine.receive(link.number, pull, cluster.now, cluster.wall_ms())
    aborts = [e.message for e in server.engine.take_effects() if isinstance(e, Send) and isinstance(e.message, m.Abort)]
    assert [(abort.transfer, abort.code) for abort in aborts] == [(2, "busy")]


def test_who_asks_anew_has_given_up_what_it_asked_for_before() -> None:
    cluster, server, _reader = behind()
    cluster.lose = lambda one, two, message: isinstance(message, m.Part | m.Pull)
    heal(cluster)
    link = server.engine.core.peers["n1"].link
    assert link is not None
    for transfer in range(1, 20):
        pull = m.Pull(transfer=transfer, bucket=BUCKET, clock={})
        server.engine.receive(link.number, pull, cluster.now, cluster.wall_ms())
    assert [key[1] for key in server.engine.transfers.served] == [19]


def test_an_abort_of_the_reader_ends_the_service() -> None:
    cluster, server, _reader = behind()
    cluster.lose = lambda one, two, message: isinstance(message, m.Part | m.Pull)
    heal(cluster)
    link = server.engine.core.peers["n1"].link
    assert link is not None
    server.engine.receive(link.number, m.Pull(transfer=1, bucket=BUCKET, clock={}), cluster.now, cluster.wall_ms())
    assert server.engine.transfers.served
    server.engine.receive(link.number, m.Abort(transfer=1, push=False, code="gone"), cluster.now, cluster.wall_ms())
    assert not server.engine.transfers.served


def test_status_shows_a_long_transfer_under_way() -> None:
    cluster, server, reader = behind(count=200, transfer_bytes_max=4096)
    heal(cluster)
    cluster.until(lambda: any(one["long"] for one in reader.engine.status()["transfers"]["in"]), 10.0)
    assert server.engine.status()["transfers"]["out"][0]["to"] == "n1"
    assert reader.engine.status()["peers"]["n0"]["behind"][BUCKET] == 200
    cluster.until(cluster.equal, 30.0)
    assert reader.engine.status()["peers"]["n0"]["behind"][BUCKET] == 0


def test_damage_in_what_was_given_up_does_not_begin_a_long_transfer_anew() -> None:
    """Who starts over takes a member's state in the place of the damaged one: there is nothing to give up again."""
    cluster, server, reader = behind(count=200, transfer_bytes_max=4096)
    reader.damage("k", "first")
    server.engine.evict("n1", True, cluster.now)
    cluster.settle(server)
    parts = 0

    def interrupted(one: str, two: str, message: object) -> bool:
        """After some parts nothing more of it arrives."""
        nonlocal parts
        parts += isinstance(message, m.Part) and one == "n0"
        return isinstance(message, m.Part) and parts > 6

    cluster.lose = interrupted  # type: ignore[assignment]
    cluster.heal()
    cluster.until(lambda: reader.engine.core.counters["transfer_timeouts"] > 0, 60.0)
    cluster.run(3.0)
    staged = reader.store.staging(BUCKET)
    assert staged is not None, "it goes on where it was"
    resumed = [pull for _, _, pull in sent(cluster, m.Pull) if isinstance(pull, m.Pull) and pull.scan_from]
    assert [pull.scan_from for pull in resumed] == [staged[1]]
    cluster.lose = lambda one, two, message: False
    cluster.until(lambda: reader.engine.state == "member" and cluster.equal(), 60.0)


def test_ids_grow_from_start_to_start() -> None:
    """A late copy of a Pull of an earlier start must not pass for the latest one on its link."""
    _cluster, _server, reader = behind(count=1)
    ids = []
    for _ in range(8):
        ids += [reader.engine.core.next_transfer() for _ in range(3)]
        reader.kill()
        reader.start()
    assert ids == sorted(set(ids))
