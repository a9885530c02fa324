"""Transfers between stores: exact ranges, whole claims, refusals that change nothing."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from crdtsync.datatypes.rows import NO_ROWS, PackedRows
from crdtsync.errors import BadTransfer, MembershipMisuse
from crdtsync.kernels import rows_pack
from crdtsync.storage.disk import MemoryDisk
from crdtsync.storage.maps import MemoryMap
from crdtsync.storage.store import Store
from tests.storage.helpers import (
    NO_BOUND,
    NOW,
    PART,
    add,
    batch,
    beyond,
    bucket_of,
    check_inner,
    increment,
    lacking,
    live_meaning,
    on_seams,
    open_store,
    publish,
    pull,
    remove,
    rows_of,
    set_register,
    state_of,
)


def pair(**settings: object) -> tuple[Store, Store]:
    stores = open_store(seed=1, name="a", **settings), open_store(seed=2, name="b", **settings)
    publish(*stores)
    return stores


def test_random_histories_converge_with_checkpoints_and_crashes() -> None:
    for seed in range(15):
        rng = random.Random(seed)
        seams = [(MemoryDisk(), MemoryMap()) for _ in range(3)]
        stores = [on_seams(*seam, seed=seed * 10 + n, name=f"n{n}") for n, seam in enumerate(seams)]
        publish(*stores)
        for step in range(60):
            at = rng.randrange(3)
            roll = rng.random()
            if roll < 0.5:
                batch(stores[at], rng)
            elif roll < 0.8:
                pull(stores[at], stores[rng.choice([n for n in range(3) if n != at])])
                check_inner(stores[at]) if stores[at].bucket("default") else None
            elif roll < 0.9:
                stores[at].checkpoint()
            else:
                before = state_of(stores[at])
                stores[at].abandon()
                stores[at] = on_seams(*seams[at], seed=seed * 1000 + step, name=f"n{at}", now=NOW + step)
                assert state_of(stores[at]) == before
        for _ in range(2):
            for reader in stores:
                for server in stores:
                    if reader is not server:
                        pull(reader, server)
        clocks = [store.clock("default") for store in stores]
        assert clocks[0] == clocks[1] == clocks[2]
        assert len({bucket_of(store).digest() for store in stores}) == 1
        for store in stores:
            assert bucket_of(store).digest() == live_meaning(store)
            check_inner(store)


@pytest.mark.parametrize("seed", range(8))
def test_lacking_is_what_a_brute_force_scan_finds(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    store, other = open_store(tmp_path / "a", seed=1, name="a"), open_store(seed=2, name="b")
    publish(store, other)
    for _ in range(50):
        batch(rng.choice([store, store, other]), rng)
        if rng.random() < 0.3:
            pull(store, other)
        if rng.random() < 0.2:
            store.checkpoint()
        clock = {actor: rng.randint(0, seq) for actor, seq in store.clock("default").items()}
        parts = lacking(store, "default", clock, rng.choice([50, PART]), NO_BOUND)
        assert parts is not None
        inward = store.actors.inward(clock)
        expected = sorted(row for row in rows_of(store).items() if beyond(row[1], inward))
        got = [row for part in parts for row in store.stage("default", part).local(store.actors.index)]
        assert sorted(got) == expected
    assert lacking(store, "default", {}, PART, 10) is None
    assert lacking(store, "nowhere", {}, PART, NO_BOUND) == []
    store.close()


def test_a_second_delivery_changes_nothing_and_writes_no_record() -> None:
    a, b = pair()
    a.transact("default", lambda txn: [add(txn, "s", n) for n in range(5)])
    assert pull(b, a).rows == 5
    record = b.last_record
    assert pull(b, a).rows == 0
    assert b.last_record == record


def test_parts_name_few_enough_actors() -> None:
    a, b = pair(actors_per_part_max=3)
    for start in range(6):
        a.new_actor()
        a.transact("default", lambda txn, start=start: add(txn, "s", start))
    parts = lacking(a, "default", {}, PART, NO_BOUND)
    assert parts is not None
    assert len(parts) > 1 and all(len(part.actors) <= 3 for part in parts)
    pull(b, a)
    assert bucket_of(a).digest() == bucket_of(b).digest()


def test_conflicts_are_counted_and_remembered() -> None:
    a, b = pair()
    a.transact("default", lambda txn: set_register(txn, "r", "from a"))
    b.transact("default", lambda txn: [set_register(txn, "r", "from b"), set_register(txn, "r", "again")])
    assert pull(a, b).conflicts == 1
    (conflict,) = a.conflicts
    assert conflict.winner == b.actor() and conflict.loser == a.actor()
    assert conflict.won_stamp > conflict.lost_stamp
    assert pull(b, a).conflicts == 0, "a's row has met b's write by now"
    assert rows_of(a).keys() == rows_of(b).keys()
    a.transact("default", lambda txn: set_register(txn, "r", "seen both"))
    assert pull(b, a).conflicts == 0
    assert a.counters["conflicts"] == 1


def test_rows_beyond_the_claim_are_refused() -> None:
    a, b = pair()
    a.transact("default", lambda txn: [add(txn, "s", n) for n in range(3)])
    before = state_of(b)
    (part,) = lacking(a, "default", {}, PART, NO_BOUND) or []
    for target in ({}, {a.actor(): 2}, {a.actor() + 1: 3}):
        with pytest.raises(BadTransfer):
            b.apply("default", [b.stage("default", part)], target, {}, 0)
    assert state_of(b) == before
    assert len(b.actors.ids) == 1
    assert b.counters["bad_transfer"] == 3


def test_events_of_our_own_that_we_never_wrote_are_refused() -> None:
    b = pair()[1]
    b.transact("default", lambda txn: add(txn, "s", 1))
    own = b.actor()
    for target in ({own: 2}, {own: 2**63}):
        with pytest.raises(BadTransfer, match="our own"):
            b.apply("default", [], target, {}, 0)
    b.apply("default", [], {own: 1}, {}, 0)
    forged = PackedRows((own,), *_one_row(seq=9))
    with pytest.raises(BadTransfer):
        b.apply("default", [b.stage("default", forged)], {own: 9}, {}, 0)
    assert b.clock("default") == {own: 1}


def _one_row(seq: int) -> tuple[int, bytes, bytes]:
    from crdtsync.kernels import presence_add

    return 1, *rows_pack([(b"s\0o\x01", presence_add(None, 0, seq))], {0: 0})


def test_impossible_claims_are_refused() -> None:
    _, b = pair()
    for target, floor, stamp in (
        ({0: 1}, {}, 0), ({5: 0}, {}, 0), ({5: -1}, {}, 0), ({2**64: 1}, {}, 0), ({5: 2**64}, {}, 0),
        ({5: 1}, {6: 1}, 0), ({5: 1}, {5: 2}, 0), ({5: 1}, {}, -1), ({5: 1}, {}, 2**64),
    ):  # fmt: skip
        with pytest.raises(BadTransfer):
            b.apply("default", [], target, floor, stamp)
    assert b.clock("default") == {} and b.buckets() == []


def test_parts_that_do_not_check_out_are_refused() -> None:
    a, b = pair()
    a.transact("default", lambda txn: [add(txn, "s", n) for n in range(3)] + [set_register(txn, "r", {"k": [1]})])
    (part,) = lacking(a, "default", {}, PART, NO_BOUND) or []
    bad = [
        PackedRows(part.actors, part.count + 1, part.keys, part.images),
        PackedRows(part.actors, part.count - 1, part.keys, part.images),
        PackedRows((), part.count, part.keys, part.images),
        PackedRows((0,), part.count, part.keys, part.images),
        PackedRows((5, 5), part.count, part.keys, part.images),
        PackedRows((6, 5), part.count, part.keys, part.images),
        PackedRows((2**64,), part.count, part.keys, part.images),
        PackedRows(tuple(range(1, 70_000)), part.count, part.keys, part.images),
    ]
    rng = random.Random(1)
    for _ in range(300):
        for column in ("keys", "images"):
            data = bytearray(getattr(part, column))
            data[rng.randrange(len(data))] ^= rng.randrange(1, 256)
            changed = {"keys": part.keys, "images": part.images, column: bytes(data)}
            bad.append(PackedRows(part.actors, part.count, **changed))
    refused = 0
    for candidate in bad:
        try:
            b.stage("default", candidate)
        except BadTransfer:
            refused += 1
    assert refused > 200
    assert b.counters["bad_transfer"] == refused
    assert b.clock("default") == {}


def test_values_that_are_not_canonical_are_refused() -> None:
    from crdtsync.kernels import latest_set, presence_add

    _, b = pair()
    rows = [
        (b"r\0l", latest_set(None, 0, 1, 5, b"\xcc\x05")),  # 5 in a longer form
        (b"r\0l", latest_set(None, 0, 1, 5, b"\xc1")),
        (b"s\0o\xd9\x01a", presence_add(None, 0, 1)),
        (b"s\0o\x80", presence_add(None, 0, 1)),  # a dict is no element
    ]
    for row in rows:
        with pytest.raises(BadTransfer):
            b.stage("default", PackedRows((5,), 1, *rows_pack([row], {0: 0})))


def test_a_row_that_comes_twice_is_refused() -> None:
    a, b = pair()
    a.transact("default", lambda txn: add(txn, "s", 1))
    (part,) = lacking(a, "default", {}, PART, NO_BOUND) or []
    staged = b.stage("default", part)
    with pytest.raises(BadTransfer, match="twice"):
        b.apply("default", [staged, staged], a.clock("default"), {}, 0)
    assert b.buckets() == []


def test_removed_and_collected_rows_do_not_come_back() -> None:
    a, b = pair()
    a.transact("default", lambda txn: add(txn, "s", 1))
    pull(b, a)
    old = lacking(a, "default", {}, PART, NO_BOUND), a.clock("default")
    b.transact("default", lambda txn: remove(txn, "s", 1))
    pull(a, b)
    for store in (a, b):
        assert store.collect("default", store.clock("default"), 0).rows == 1
    assert rows_of(a) == rows_of(b) == {}
    parts, target = old
    b.apply("default", [b.stage("default", part) for part in parts or []], target, {}, 0)
    assert rows_of(b) == {}
    assert a.floor("default") == b.floor("default") == b.clock("default")


def test_a_private_store_keeps_one_actor_and_publishes_it_for_good(tmp_path: Path) -> None:
    path = tmp_path / "s"
    for start in range(3):
        store = open_store(path, seed=start)
        store.transact("default", lambda txn: increment(txn, "c"))
        assert store.actor() == 0
        store.close()
    store = open_store(path, seed=9)
    assert list(rows_of(store)) == [b"c\0p\0\0\0\0"]
    store.publish(7)
    (private,) = store.clock("default")
    assert private and store.clock("default") == {private: 3}
    store.transact("default", lambda txn: increment(txn, "c"))
    assert store.actor() not in (0, private)
    store.abandon()
    store = open_store(path, seed=10)
    assert store.cluster() == 7 and store.clock("default")[private] == 3
    with pytest.raises(MembershipMisuse):
        store.publish(8)
    store.publish(7)
    store.close()


def test_every_start_of_a_published_store_writes_under_a_new_actor(tmp_path: Path) -> None:
    actors, starts = set(), []
    for start in range(4):
        store = open_store(tmp_path / "s", seed=start)
        store.publish(7)
        assert store.actor() == 0
        store.transact("default", lambda txn: increment(txn, "c"))
        actors.add(store.actor())
        starts.append(store.start)
        store.abandon() if start % 2 else store.close()
    assert len(actors) == 4
    assert starts == sorted(set(starts))
    store = open_store(tmp_path / "s", seed=9)
    assert len(store.clock("default")) == 4
    before = store.start
    store.raise_start(before + 1000)
    store.abandon()
    assert open_store(tmp_path / "s", seed=9).start > before + 1000


def test_publishing_forgets_the_private_floor() -> None:
    store = open_store()
    store.transact("default", lambda txn: add(txn, "s", 1))
    store.transact("default", lambda txn: remove(txn, "s", 1))
    assert store.collect("default", store.clock("default"), 0).rows == 1
    assert store.floor("default")
    store.publish(7)
    assert store.floor("default") == {}


def test_members_are_joined_and_kept(tmp_path: Path) -> None:
    from crdtsync.clocks.members import EVICTED, MEMBER, MemberRecord

    store = open_store(tmp_path / "s")
    old, new = MemberRecord("b", 1, EVICTED), MemberRecord("b", 2, MEMBER, "h:1", 3)
    assert store.put_members([old])
    assert store.put_members([new])
    assert not store.put_members([old, new])
    store.abandon()
    store = open_store(tmp_path / "s")
    assert store.members() == {"b": new}
    store.close()
    store = open_store(tmp_path / "s")
    assert store.members() == {"b": new}
    store.close()


def test_every_state_and_ballot_of_a_member_is_kept(tmp_path: Path) -> None:
    from crdtsync.clocks.members import RANK, Ballot, MemberRecord

    ballot = Ballot(proposer="a", epoch=2, start=3, number=4, victim="b", victim_epoch=5, config=2**64 - 1)
    records = {state: MemberRecord(state, 1, state, "h:1", 3) for state in RANK}
    records |= {"voter": MemberRecord("voter", 1, "member", "", 3, 7, ballot)}
    records |= {"free again": MemberRecord("free again", 1, "member", "", 3, 8)}
    store = open_store(tmp_path / "s")
    store.put_members(records.values())
    store.abandon()
    for _ in ("from the journal", "from the table"):
        store = open_store(tmp_path / "s")
        assert store.members() == records
        store.close()


def test_empty_parts_stage(tmp_path: Path) -> None:
    store = open_store()
    assert store.stage("default", NO_ROWS).rows == []
    assert store.is_empty()
