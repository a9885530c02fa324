"""Transactions: all or nothing, numbered, journaled; and what a checkpoint and a new start must not change."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from crdtsync.errors import BatchTooLarge, Closed, InvariantViolated, Overloaded
from crdtsync.kernels import presence_add, row_latest
from crdtsync.storage.disk import MemoryDisk
from crdtsync.storage.maps import MemoryMap
from tests.storage.helpers import (
    NOW,
    add,
    batch,
    bucket_of,
    check_inner,
    element,
    increment,
    on_seams,
    open_store,
    register,
    rows_of,
    set_register,
    state_of,
)


def test_a_transaction_is_visible_whole_and_numbered() -> None:
    store = open_store()
    store.transact("default", lambda txn: [add(txn, "s", item) for item in range(5)])
    assert store.clock("default") == {0: 5}
    assert store.buckets() == ["default"]
    assert len(rows_of(store)) == 5
    check_inner(store)


def test_a_clock_once_given_stays_and_the_next_is_that_of_now() -> None:
    store = open_store()
    store.transact("default", lambda txn: add(txn, "s", 1))
    first = store.clock("default")
    assert store.clock("default") is first  # made once for each state
    store.transact("default", lambda txn: add(txn, "s", 2))
    second = store.clock("default")
    assert (first, second) == ({0: 1}, {0: 2})
    store.publish(7)
    third = store.clock("default")
    assert third != second == {0: 2} and list(third.values()) == [2]  # the private actor has its id
    store.apply("default", [], {5: 3}, {}, 0)
    assert store.clock("default") == third | {5: 3} and 5 not in third


def test_reads_see_what_the_transaction_has_put() -> None:
    store = open_store()
    store.transact("default", lambda txn: add(txn, "s", 1))

    def ops(txn):  # type: ignore[no-untyped-def]
        add(txn, "s", 0)
        increment(txn, "c")
        increment(txn, "c")
        assert [key for key, _ in txn.scan(b"s\0")] == [element("s", 0), element("s", 1)]
        assert [key for key, _ in txn.scan(b"s\0", element("s", 0))] == [element("s", 1)]
        assert [key for key, _ in txn.scan(b"s\0", limit=1)] == [element("s", 0)]

    store.transact("default", ops)
    assert store.clock("default") == {0: 4}
    check_inner(store)


def test_an_exception_leaves_nothing() -> None:
    store = open_store()
    store.transact("default", lambda txn: add(txn, "s", 1))
    before, record = state_of(store), store.last_record

    def ops(txn):  # type: ignore[no-untyped-def]
        add(txn, "s", 2)
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        store.transact("default", ops)
    with pytest.raises(RuntimeError):
        store.transact("fresh", ops)
    assert state_of(store) == before
    assert store.last_record == record
    assert store.bucket("fresh") is None


def test_an_event_without_its_put_is_our_bug() -> None:
    store = open_store()

    def twice(txn):  # type: ignore[no-untyped-def]
        txn.next_event()
        txn.next_event()

    def bare(txn):  # type: ignore[no-untyped-def]
        txn.put(element("s", 1), presence_add(None, 0, 1))

    for ops in (twice, bare):
        with pytest.raises(InvariantViolated):
            store.transact("default", ops)
    assert store.clock("default") == {}


def test_a_batch_beyond_its_bound_is_refused_and_counted() -> None:
    store = open_store(segment_bytes=1 << 24)
    with pytest.raises(BatchTooLarge):
        store.transact("default", lambda txn: [set_register(txn, f"r{n}", "x" * 1_000_000) for n in range(5)])
    assert store.counters["batch_too_large"] == 1
    assert store.clock("default") == {}


def test_stamps_follow_time_the_replaced_stamp_and_the_floor() -> None:
    store = open_store()
    store.transact("default", lambda txn: set_register(txn, "r", 1))
    first = row_latest(rows_of(store)[register("r")])[0]
    assert first == NOW << 16
    store.transact("default", lambda txn: set_register(txn, "r", 2))
    assert row_latest(rows_of(store)[register("r")])[0] == first + 1
    bucket_of(store).raise_floor({}, first + 1000)
    store.transact("default", lambda txn: set_register(txn, "other", 2))
    assert row_latest(rows_of(store)[register("other")])[0] == first + 1001


def test_listeners_hear_what_changed_and_their_errors_are_their_own() -> None:
    store, heard = open_store(), []
    store.on_change.append(lambda *change: 1 / 0)
    store.on_change.append(lambda *change: heard.append(change))
    store.transact("default", lambda txn: add(txn, "s", 1))
    assert heard == [("default", [element("s", 1)], True)]
    assert store.counters["listener_failed"] == 1


def test_a_checkpoint_changes_nothing_that_can_be_seen() -> None:
    store, rng = open_store(), random.Random(5)
    for _ in range(40):
        batch(store, rng)
        batch(store, rng, bucket="second")
    before = state_of(store), state_of(store, "second"), store.digest()
    assert store.checkpoint()
    assert not store.checkpoint()
    assert (state_of(store), state_of(store, "second"), store.digest()) == before
    for name in ("default", "second"):
        check_inner(store, name)
    assert bucket_of(store).rows == len(rows_of(store))


@pytest.mark.parametrize("seed", range(12))
def test_against_a_dumb_model_over_checkpoints_and_starts(seed: int, tmp_path: Path) -> None:
    """Whatever happens in between, a reader sees the rows of a dict that took every put."""
    rng, path = random.Random(seed), tmp_path / "store"
    settings = {"cache_bytes_max": rng.choice([1, 4096, 1 << 20])}
    store, model = open_store(path, seed, **settings), {}
    for step in range(120):
        roll = rng.random()
        if roll < 0.75:
            changed: list[bytes] = []
            store.on_change[:] = [lambda _, keys, __, into=changed: into.extend(keys)]
            batch(store, rng, 5)
            rows = rows_of(store)
            model.update({key: rows[key] for key in changed})
        elif roll < 0.87:
            store.checkpoint()
        elif roll < 0.92:
            store.flush()
        else:
            store.abandon() if rng.random() < 0.5 else store.close()
            store = open_store(path, seed * 1000 + step, **settings)
        if rng.random() < 0.2:
            assert rows_of(store) == model
        for key in rng.sample(sorted(model), min(5, len(model))):
            assert bucket_of(store).get(key) == model[key]
    assert rows_of(store) == model
    if model:
        check_inner(store)
    store.close()


def test_scans_are_sorted_merged_and_bounded_over_all_layers() -> None:
    disk, table = MemoryDisk(), MemoryMap()
    store, keys = on_seams(disk, table), set()
    rng = random.Random(3)
    for _ in range(6):
        for item in rng.sample(range(200), 30):
            store.transact("default", lambda txn, item=item: add(txn, "s", item))
            keys.add(element("s", item))
        store.checkpoint() if rng.random() < 0.6 else None
    expected = sorted(keys)
    bucket = bucket_of(store)
    for limit in (1, 7, 1000):
        found, after = [], b""
        while True:
            rows = bucket.scan(b"s\0o", after, limit)
            found += [key for key, _ in rows]
            if len(rows) < limit:
                break
            after = rows[-1][0]
        assert found == expected
    assert [key for key, _ in bucket.scan(b"s\0", expected[10], 5)] == expected[11:16]
    assert bucket.scan(b"zzz", b"", 5) == []


def test_long_keys_keep_their_order_and_come_back(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    items = [letter * size for letter in "abc" for size in (1, 400, 480, 490, 500, 510, 600, 5000)]
    store.transact("default", lambda txn: [add(txn, "s", item) for item in items])
    stem = "d" * 495
    store.transact(
        "default", lambda txn: [add(txn, "s", stem + tail) for tail in ("z", "y" * 40, "x" * 9, "", "w" * 99)]
    )
    expected = rows_of(store)
    assert list(expected) == sorted(expected)
    store.checkpoint()
    assert rows_of(store) == expected
    store.close()
    store = open_store(tmp_path / "s")
    assert rows_of(store) == expected
    bucket = bucket_of(store)
    for key, image in expected.items():
        assert bucket.get(key) == image
        assert bucket.scan(key, b"", 1) == [(key, image)]
    found, after = [], b""
    while rows := bucket.scan(b"s\0", after, 3):
        found += rows
        after = rows[-1][0]
    assert dict(found) == expected
    check_inner(store)
    store.close()


def test_the_cache_is_bounded(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s", cache_bytes_max=50_000)
    for start in range(0, 2000, 100):
        store.transact("default", lambda txn, start=start: [add(txn, "s", start + n) for n in range(100)])
    store.checkpoint()
    bucket = bucket_of(store)
    for key in rows_of(store):
        bucket.get(key)
        assert bucket.cache.size <= 50_000
    assert len(bucket.cache) > 50
    store.close()


def test_writers_stall_at_the_bound_and_then_are_refused() -> None:
    store = open_store(dirty_bytes_max=2000, write_stall_max=0.01)
    with pytest.raises(Overloaded):
        for item in range(100):
            store.transact("default", lambda txn, item=item: add(txn, "s", item))
    assert store.counters["overloaded"] == 1
    store.checkpoint()
    store.transact("default", lambda txn: add(txn, "s", "again"))


def test_a_closed_store_says_so() -> None:
    store = open_store()
    store.close()
    store.close()
    for call in (store.flush, store.checkpoint, lambda: store.transact("default", lambda txn: None)):
        with pytest.raises(Closed):
            call()


def test_durability_each_returns_after_the_sync() -> None:
    store = open_store(durability="each")
    store.transact("default", lambda txn: add(txn, "s", 1))
    assert store.synced_record == store.last_record
    assert store.synced_clock("default") == {0: 1}


def test_the_synced_clock_moves_with_flush_and_with_checkpoint() -> None:
    store = open_store()
    store.transact("default", lambda txn: add(txn, "s", 1))
    assert store.synced_clock("default") == {}
    store.flush()
    assert store.synced_clock("default") == {0: 1}
    store.transact("default", lambda txn: add(txn, "s", 2))
    store.checkpoint()
    assert store.synced_clock("default") == {0: 2}
    store.wait_durable(store.last_record)
