"""The rules, one by one, over real stores: what may be served, must be refused, counts, and goes."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from crdtsync import kernels
from crdtsync.clocks.members import EVICTED, JOINING, MEMBER, MemberRecord
from crdtsync.config import Config
from crdtsync.replication import replica as verdicts
from crdtsync.replication.replica import Incoming, Replica
from crdtsync.storage.store import Store
from tests.replication.cluster import BUCKET, row_key, shown

NEVER = 2**62


class Machine:
    """A store with its replica, and the two writes that the rules need."""

    def __init__(self, name: str, seed: int, **settings: object) -> None:
        config = Config(name=name, **settings)
        self.store = Store.open(None, config, random=random.Random(seed), now_ms=lambda: 1_700_000_000_000 + seed)
        self.store.publish(7)
        self.replica = Replica(self.store, config)

    def add(self, *elements: str) -> None:
        for element in elements:
            key = row_key("k", element)
            self.store.transact(BUCKET, lambda txn, key=key: txn.put(key, _add(txn, key)))

    def remove(self, element: str) -> None:
        key = row_key("k", element)
        self.store.transact(BUCKET, lambda txn: txn.put(key, kernels.presence_remove(txn.get(key), *txn.next_event())))

    def live(self) -> list[str]:
        rows = self.rows()
        return sorted(shown(key).removeprefix("k/") for key, image in rows if not kernels.row_dead(image))

    def rows(self) -> list[tuple[bytes, bytes]]:
        bucket = self.store.bucket(BUCKET)
        return [] if bucket is None else bucket.scan(b"", b"", 10_000)

    def clock(self) -> dict[int, int]:
        return self.store.clock(BUCKET)


def _add(txn, key):  # type: ignore[no-untyped-def]
    return kernels.presence_add(txn.get(key), *txn.next_event())


@pytest.fixture
def two() -> Iterator[tuple[Machine, Machine]]:
    one, other = Machine("a", 1), Machine("b", 2)
    yield one, other
    one.store.close()
    other.store.close()


def pull(reader: Machine, server: Machine, rows_max: int = 0) -> str:
    outgoing, staged = server.replica.open_transfer(BUCKET, reader.clock()), Incoming()
    assert outgoing is not None
    verdict = ""
    while not outgoing.done:
        part = outgoing.next_part(rows_max)
        verdict = reader.replica.receive(part, staged)
        if verdict != verdicts.STAGED:
            break
    return verdict


def introduce(*machines: Machine) -> None:
    records = [MemberRecord(node=one.store.node, epoch=1, state=MEMBER) for one in machines]
    for one in machines:
        one.store.put_members(records)


def announce(author: Machine, hearer: Machine) -> bool:
    author.store.flush()
    members = author.store.members().values()
    return hearer.replica.hear(BUCKET, author.store.node, author.store.synced_clock(BUCKET), members)


def test_a_pull_brings_rows_and_claim(two: tuple[Machine, Machine]) -> None:
    a, b = two
    a.add("1", "2", "3")
    assert pull(b, a) == verdicts.APPLIED
    assert (b.live(), b.clock()) == (["1", "2", "3"], a.clock())


def test_nothing_shows_before_the_last_part(two: tuple[Machine, Machine]) -> None:
    a, b = two
    a.add("1", "2", "3")
    outgoing, staged = a.replica.open_transfer(BUCKET, {}), Incoming()
    assert outgoing is not None
    for _ in range(2):
        part = outgoing.next_part(rows_max=1)
        assert not part.target
        assert b.replica.receive(part, staged) == verdicts.STAGED
        assert (b.live(), b.clock()) == ([], {})
    a.add("4")  # what comes later is not part of the state that was read
    last = outgoing.next_part(rows_max=1)
    assert outgoing.done
    assert last.target == dict.fromkeys(a.clock(), 3)
    assert b.replica.receive(last, staged) == verdicts.APPLIED
    assert b.live() == ["1", "2", "3"]


def test_only_what_is_lacking_is_sent(two: tuple[Machine, Machine]) -> None:
    a, b = two
    a.add("1", "2")
    pull(b, a)
    a.add("3")
    part = a.replica.push(BUCKET, b.clock())
    assert part is not None
    assert part.rows.count == 1


def test_a_push_that_starts_beyond_the_clock_is_refused(two: tuple[Machine, Machine]) -> None:
    a, b = two
    a.add("1")
    believed = a.clock()
    a.add("2")
    part = a.replica.push(BUCKET, believed)
    assert part is not None
    assert b.replica.receive(part, Incoming()) == verdicts.STALE_BASE
    assert (b.live(), b.clock()) == ([], {})


def test_a_push_arrives_twice_and_late_without_harm(two: tuple[Machine, Machine]) -> None:
    a, b = two
    a.add("1")
    late = a.replica.push(BUCKET, {})
    assert late is not None
    assert pull(b, a) == verdicts.APPLIED
    b.remove("1")
    before = b.rows(), b.clock()
    for _ in range(2):
        assert b.replica.receive(late, Incoming()) == verdicts.APPLIED
    assert (b.rows(), b.clock()) == before


def test_an_earlier_life_is_not_heard(two: tuple[Machine, Machine]) -> None:
    a, b = two
    a.add("1")
    part = a.replica.push(BUCKET, {})
    assert part is not None
    assert b.replica.later_start("a", part.start + 1)
    assert b.replica.receive(part, Incoming()) == verdicts.EARLIER_START
    assert b.live() == []


def test_a_push_too_large_for_one_part_is_not_made() -> None:
    a = Machine("a", 1, part_bytes=2048)
    a.add(*(f"{number}".ljust(100) for number in range(50)))
    assert a.replica.push(BUCKET, {}) is None
    outgoing = a.replica.open_transfer(BUCKET, {})
    assert outgoing is not None
    outgoing.next_part()
    assert not outgoing.done


def test_an_announcement_counts_once_everything_in_it_is_here(two: tuple[Machine, Machine]) -> None:
    a, b = two
    introduce(a, b)
    a.add("1")
    assert not announce(a, b)
    pull(b, a)
    assert announce(a, b)
    assert b.replica.announced[BUCKET]["a"] == a.clock()


def test_an_announcement_brings_its_authors_member_list(two: tuple[Machine, Machine]) -> None:
    a, b = two
    introduce(a, b)
    a.store.put_members([MemberRecord(node="c", epoch=1, state=JOINING)])
    assert announce(a, b)
    assert b.store.members()["c"].state == JOINING


def test_what_was_announced_in_an_earlier_epoch_counts_no_more(two: tuple[Machine, Machine]) -> None:
    a, b = two
    introduce(a, b)
    assert announce(a, b)
    b.replica.merge_members([MemberRecord(node="a", epoch=2, state=JOINING)])
    assert "a" not in b.replica.announced[BUCKET]
    assert not announce(a, b)  # its list still shows it at epoch 1


def test_nothing_is_taken_from_the_evicted(two: tuple[Machine, Machine]) -> None:
    a, b = two
    introduce(a, b)
    b.store.put_members([MemberRecord(node="a", epoch=1, state=EVICTED)])
    a.add("1")
    assert pull(b, a) == verdicts.EVICTED_SENDER
    assert b.live() == []


def test_dead_rows_go_when_every_member_has_seen_them(two: tuple[Machine, Machine]) -> None:
    a, b = two
    introduce(a, b)
    a.add("1", "2")
    a.remove("1")
    assert pull(b, a) == verdicts.APPLIED
    a.store.flush()
    waiting = a.replica.collect(BUCKET, NEVER)
    assert (waiting.rows, waiting.waiting) == (0, 1)
    assert announce(b, a)
    assert a.replica.collect(BUCKET, NEVER).rows == 1
    assert len(a.rows()) == 1
    assert a.store.floor(BUCKET)


def test_a_joiner_holds_collection_back(two: tuple[Machine, Machine]) -> None:
    a, b = two
    introduce(a, b)
    a.store.put_members([MemberRecord(node="c", epoch=1, state=JOINING)])
    a.add("1")
    a.remove("1")
    pull(b, a)
    announce(b, a)
    assert a.replica.collect(BUCKET, NEVER).rows == 0


def collected() -> tuple[Machine, Machine, Machine]:
    """Two members that have forgotten a removal which a third, unknown to them, has not seen."""
    a, b, c = Machine("a", 1), Machine("b", 2), Machine("c", 3)
    introduce(a, b)
    a.add("1", "2")
    pull(b, a)
    pull(c, a)
    a.remove("1")
    pull(b, a)
    for one, other in ((a, b), (b, a)):
        assert announce(one, other)
    assert [one.replica.collect(BUCKET, NEVER).rows for one in (a, b)] == [1, 1]
    return a, b, c


def test_who_is_below_a_floor_must_start_over() -> None:
    a, _, c = collected()
    assert pull(c, a) == verdicts.BELOW_FLOOR
    assert c.live() == ["1", "2"]


def test_who_is_below_our_floor_is_old_news() -> None:
    a, _, c = collected()
    c.add("3")
    assert pull(a, c) == verdicts.OLD_NEWS
    assert a.live() == ["2"]


def test_nothing_returns_from_the_dead() -> None:
    a, b, _ = collected()
    b.add("3")
    assert pull(a, b) == verdicts.APPLIED
    assert a.live() == ["2", "3"]


def test_an_empty_replica_inherits_the_floor() -> None:
    a, _, _ = collected()
    d = Machine("d", 4)
    assert pull(d, a) == verdicts.APPLIED
    assert d.store.floor(BUCKET) == a.store.floor(BUCKET)


def test_a_store_from_before_any_peer_may_join_below_a_floor() -> None:
    a, _, _ = collected()
    d = Machine("d", 4)
    d.add("mine")
    outgoing, staged = a.replica.open_transfer(BUCKET, d.clock()), Incoming(joining=True)
    assert outgoing is not None
    assert d.replica.receive(outgoing.next_part(), staged) == verdicts.APPLIED
    assert d.live() == ["2", "mine"]


def scan_into(reader: Machine, server: Machine, stop_after: int = 0) -> Incoming:
    staging = reader.store.staging(BUCKET)
    resume = (staging[1], staging[0]) if staging is not None else (b"", None)
    scan, staged = server.replica.open_scan(BUCKET, *resume), Incoming()
    assert scan is not None
    while not scan.done:
        assert reader.replica.receive_scan(scan.next_part(rows_max=1), staged) == verdicts.STAGED
        if stop_after and scan.number == stop_after:
            break
    return staged


def finish(reader: Machine, server: Machine, staged: Incoming) -> str:
    assert staged.scan_clock is not None
    outgoing = server.replica.open_transfer(BUCKET, reader.clock() | staged.scan_clock)
    assert outgoing is not None
    return reader.replica.receive(outgoing.next_part(), staged)


@pytest.mark.parametrize("mine", [[], ["0"]])
def test_a_long_transfer_is_ended_by_a_plain_one(two: tuple[Machine, Machine], mine: list[str]) -> None:
    a, b = two
    a.add("1", "2", "3")
    a.store.flush()
    b.add(*mine)
    before = b.clock()
    staged = scan_into(b, a)
    assert b.clock() == before
    a.add("4")
    a.remove("2")
    assert finish(b, a, staged) == verdicts.APPLIED
    assert (b.live(), b.clock()) == ([*mine, "1", "3", "4"], before | a.clock())


def test_a_long_transfer_goes_on_with_another_sender(two: tuple[Machine, Machine]) -> None:
    a, b = two
    c = Machine("c", 3)
    a.add("1", "2", "3", "4")
    pull(c, a)
    for one in (a, c):
        one.store.flush()
    scan_into(b, a, stop_after=2)
    staged = scan_into(b, c)
    assert finish(b, c, staged) == verdicts.APPLIED
    assert b.live() == ["1", "2", "3", "4"]


def test_a_long_transfer_does_not_go_on_with_who_lacks_its_start(two: tuple[Machine, Machine]) -> None:
    a, b = two
    a.add("1", "2")
    assert b.replica.open_scan(BUCKET, b"k\0", a.clock()) is None


def test_what_ends_a_scan_must_claim_all_of_it(two: tuple[Machine, Machine]) -> None:
    a, b = two
    c = Machine("c", 3)
    a.add("1")
    pull(c, a)
    for one in (a, c):
        one.store.flush()
    scan = a.replica.open_scan(BUCKET)
    assert scan is not None
    staged = Incoming()
    a.add("2")
    a.store.flush()  # read after T0: this part lies beyond it
    while not scan.done:
        assert b.replica.receive_scan(scan.next_part(rows_max=1), staged) == verdicts.STAGED
    assert finish(b, c, staged) == verdicts.SHORT
    assert b.live() == []
    pull(c, a)
    assert finish(b, c, staged) == verdicts.STALE_BASE  # the scan was dropped: without its rows, nothing is claimed
    assert (b.live(), b.clock()) == ([], {})
    assert finish(b, a, scan_into(b, a)) == verdicts.APPLIED
    assert b.live() == ["1", "2"]
