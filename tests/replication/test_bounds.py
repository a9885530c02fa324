"""What is taken in is bounded in bytes: dirty rows, rows of unfinished transfers, and pushes that wait."""

from __future__ import annotations

from crdtsync import kernels
from crdtsync.replication import messages as m
from crdtsync.replication import replica as verdicts
from crdtsync.replication.parking import PARKED_MAX, Parked, Parking
from crdtsync.replication.replica import Incoming
from tests.replication.cluster import BUCKET, Cluster, Node, row_key
from tests.replication.test_gossip import mesh, sent


def fill(node: Node, count: int, name: str = "k", bucket: str = BUCKET) -> None:
    """So many elements of 100 bytes, each written on its own."""
    for number in range(count):
        key = row_key(name, f"{number}".ljust(100))
        node.store.transact(
            bucket, lambda txn, key=key: txn.put(key, kernels.presence_add(txn.get(key), *txn.next_event()))
        )


def aborts(cluster: Cluster, code: str) -> int:
    return sum(isinstance(message, m.Abort) and message.code == code for _, _, message in cluster.sent)


def test_pushes_are_refused_while_a_checkpoint_has_to_make_room() -> None:
    cluster, (writer, reader) = mesh(2, dirty_bytes_max=20_000)
    for number in range(200):
        writer.add("k", f"{number}".ljust(100))
        writer.store.checkpoint()  # this one keeps up; the other does not
        cluster.run(0.01)
    cluster.run(2.0)
    assert not reader.store.has_room()
    assert reader.store.dirty < 20_000 + 2_000, "no more than the bound and one push"
    assert reader.engine.core.counters["overloaded"] > 0 and aborts(cluster, "busy") > 0
    while not cluster.equal():
        reader.store.checkpoint()
        cluster.run(1.0)
    assert len(reader.live()) == 201


def test_nothing_is_pulled_while_a_checkpoint_has_to_make_room() -> None:
    cluster, (server, reader) = mesh(2, dirty_bytes_max=20_000)
    cluster.cut("n0", "n1")
    for _ in range(5):
        fill(server, 30)
        server.store.checkpoint()
    number = 0
    while reader.store.has_room():
        fill(reader, 1, f"mine{number}")
        number += 1
    cluster.sent.clear()
    cluster.heal()
    cluster.until(lambda: reader.engine.core.counters["pulls_held_back"] > 3, 20.0)
    assert not [one for one, _, _ in sent(cluster, m.Pull) if one == "n1"]
    reader.store.checkpoint()
    cluster.until(cluster.equal, 20.0)


def test_long_transfers_go_on_where_room_ran_out() -> None:
    small = {"transfer_bytes_max": 2_000, "part_bytes": 1_000}
    cluster, (server, reader) = mesh(2, dirty_bytes_max=30_000, checkpoint_bytes=1 << 30, **small)
    cluster.cut("n0", "n1")
    for number in range(4):
        fill(server, 40, f"k{number}")
        server.store.checkpoint()
    cluster.heal()
    cluster.until(lambda: not reader.store.has_room(), 20.0)
    cluster.run(3.0)
    assert reader.store.dirty < 30_000 + 10_000, "no more than the bound and one part"
    assert not cluster.equal()
    staging = reader.store.staging(BUCKET)
    assert staging is not None
    begun = staging[0]
    for _ in range(50):
        reader.store.checkpoint()
        cluster.run(0.5)
        staging = reader.store.staging(BUCKET)
        assert staging is None or staging[0] == begun, "it is not begun anew"
        if cluster.equal():
            break
    assert cluster.equal()


def test_transfers_under_way_are_bounded_together_and_one_always_goes_on() -> None:
    cluster, (server, reader) = mesh(2, part_bytes=1_000, staged_bytes_max=6_000)
    cluster.cut("n0", "n1")
    names = ["b0", "b1", "b2"]
    for name in names:
        fill(server, 40, bucket=name)  # about 5,000 bytes each
    most = [0]

    def look(one: str, two: str, message: m.Message) -> bool:
        most[0] = max(most[0], reader.engine.transfers.staged_bytes())
        return False

    cluster.lose = look
    cluster.heal()
    cluster.until(lambda: all(reader.store.clock(name) == server.store.clock(name) for name in names), 60.0)
    counters = reader.engine.core.counters
    assert counters["transfers_held_back"] + counters["pulls_held_back"] > 0
    assert 0 < most[0] <= 6_000


def test_a_transfer_larger_than_the_bound_goes_on_alone() -> None:
    cluster, (server, reader) = mesh(2, part_bytes=1_000, staged_bytes_max=2_000)
    cluster.cut("n0", "n1")
    fill(server, 80)
    cluster.heal()
    cluster.until(cluster.equal, 60.0)
    assert reader.engine.core.counters["transfers_held_back"] == 0


def parked(bucket: str, number: int, size: int) -> Parked:
    rows = m.PackedRows((), 1, b"", bytes(size))
    fields = {"base": {}, "rows": rows, "last": True, "push": True, "node": "n", "start": 1, "number": 0}
    return Parked(None, None, m.Part(transfer=number, bucket=bucket, **fields), Incoming())  # type: ignore[arg-type]


def numbers(waiting: list[Parked]) -> list[int]:
    return [one.part.transfer for one in waiting]


def test_pushes_that_wait_are_bounded_by_number_and_by_bytes() -> None:
    parking = Parking(1_000)
    assert [parking.add(parked("a", n, 1)) for n in range(PARKED_MAX)] == [[]] * PARKED_MAX
    assert numbers(parking.add(parked("a", 100, 1))) == [0], "the oldest goes"
    assert parking.most() == parking.bytes == PARKED_MAX
    parking.clear()
    for n in range(3):
        assert parking.add(parked("a", n, 300)) == []
    assert numbers(parking.add(parked("a", 3, 600))) == [0, 1]
    assert numbers(parking.add(parked("b", 4, 200))) == [4], "another bucket's pushes do not go for it"
    assert numbers(parking.of("a")) == [2, 3] and parking.of("b") == [] and parking.bytes == 900
    taken = parking.take("a")
    assert parking.bytes == 0 and parking.take("a") == []
    parking.add(parked("a", 5, 10))
    parking.put_back("a", taken[1:])
    assert numbers(parking.of("a")) == [5, 3] and parking.bytes == 610


def test_a_push_too_large_to_wait_is_refused_and_its_events_are_pulled() -> None:
    cluster, nodes = mesh(3, parked_bytes_max=50)
    cluster.lose = lambda one, two, message: (one, two) == ("n0", "n2") and isinstance(message, m.Part)
    nodes[0].add("k", "base")  # reaches n1 alone
    cluster.run(0.003)
    nodes[1].add("k", "on top".ljust(100))
    cluster.run(0.003)
    counters = nodes[2].engine.core.counters
    assert counters["pushes_parked_refused"] == 1 and aborts(cluster, verdicts.STALE_BASE) == 1
    assert nodes[2].engine.gossip.parked.bytes == 0
    cluster.until(cluster.equal, 5.0)
