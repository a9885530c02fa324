"""Rows that fail their checksum: set aside, refused, repaired."""

from __future__ import annotations

import random

import pytest

from crdtsync.errors import RowDamaged
from crdtsync.kernels import LOG_KEY
from crdtsync.storage.disk import MemoryDisk
from crdtsync.storage.maps import MemoryMap
from crdtsync.storage.store import Store
from crdtsync.storage.table import LOG, ROWS, decode_log, physical
from tests.storage.helpers import (
    NO_BOUND,
    PART,
    add,
    batch,
    bucket_of,
    check_inner,
    element,
    increment,
    lacking,
    on_seams,
    open_store,
    publish,
    pull,
    remove,
    rows_of,
    set_register,
)


def damaged_pair(keys: list[bytes], seed: int = 1) -> tuple[Store, Store, tuple[MemoryDisk, MemoryMap]]:
    """Two equal stores; the rows under `keys` of the first fail their checksums."""
    disk, table = MemoryDisk(), MemoryMap()
    a, b = on_seams(disk, table, seed=seed, name="a"), open_store(seed=seed + 1, name="b")
    publish(a, b)
    for store in (a, b):
        store.transact("default", lambda txn: [add(txn, "s", n) for n in range(10)])
        store.transact("default", lambda txn: [set_register(txn, "r", "x"), increment(txn, "c")])
    pull(a, b)
    pull(b, a)
    a.close()
    rows = table.database(ROWS)
    for key in keys:
        at = physical(1, key)
        rows[at] = rows[at][:-1] + bytes((rows[at][-1] ^ 1,))
    return on_seams(disk, table, seed=seed + 2, name="a"), b, (disk, table)


def repair(a: Store, b: Store) -> int:
    keys = a.damaged_keys("default")
    rows = b.rows_at("default", keys)
    with a.lock:
        mended = a.repair("default", keys, rows)
        pull(a, b)
    return mended


def test_a_damaged_row_is_set_aside_and_the_bucket_serves_nothing() -> None:
    key = element("s", 3)
    a, b, _ = damaged_pair([key])
    bucket = bucket_of(a)
    for call in (
        lambda: bucket.get(key),
        lambda: bucket.scan(b"s\0"),
        lambda: a.transact("default", lambda txn: add(txn, "s", 3)),
        lambda: lacking(a, "default", {}, PART, NO_BOUND),
        lambda: a.scan("default", b"", PART),
        lambda: b"" if pull(b, a) else None,
    ):
        with pytest.raises(RowDamaged):
            call()
    assert a.damaged("default") == [key]
    assert a.counters["rows_damaged"] == 1
    assert bucket.get(element("s", 4)) is not None
    assert bucket.scan(b"r\0")
    a.transact("default", lambda txn: add(txn, "s", 4))
    assert len(bucket.scan(b"s\0", skip_damaged=True)) == 9
    assert a.collect("default", a.clock("default"), 0).rows == 0


def test_damage_is_remembered_over_a_start() -> None:
    key = element("s", 3)
    a, _, seam = damaged_pair([key])
    with pytest.raises(RowDamaged):
        bucket_of(a).get(key)
    a.close()
    assert on_seams(*seam, seed=9, name="a").damaged("default") == [key]


@pytest.mark.parametrize("checkpoint", [True, False])
@pytest.mark.parametrize("change", ["nothing", "write", "remove", "collect"])
def test_repair_brings_the_row_of_a_member(change: str, checkpoint: bool) -> None:
    key = element("s", 3)
    a, b, seam = damaged_pair([key])
    with pytest.raises(RowDamaged):
        bucket_of(a).get(key)
    dots = a.damaged_clock("default")
    assert dots and all(b.clock("default").get(actor, 0) >= seq for actor, seq in dots.items())
    if change == "write":
        b.transact("default", lambda txn: add(txn, "s", 3))
    elif change != "nothing":
        b.transact("default", lambda txn: remove(txn, "s", 3))
        if change == "collect":
            assert b.collect("default", b.clock("default"), 0).rows == 1
    assert repair(a, b) == 1
    assert a.damaged("default") == []
    if checkpoint:
        a.checkpoint()
    assert (bucket_of(a).get(key) is None) == (change == "collect")
    assert bucket_of(a).digest() == bucket_of(b).digest()
    check_inner(a)
    a.abandon()
    again = on_seams(*seam, seed=9, name="a")
    assert bucket_of(again).digest() == bucket_of(b).digest()
    assert again.damaged("default") == []
    check_inner(again)
    again.checkpoint()
    assert bucket_of(again).rows == len(rows_of(again))


def test_a_transfer_from_who_has_all_mends_what_it_brings() -> None:
    key = element("s", 3)
    a, b, _ = damaged_pair([key])
    with pytest.raises(RowDamaged):
        bucket_of(a).get(key)
    b.transact("default", lambda txn: add(txn, "s", 3))
    a.transact("default", lambda txn: add(txn, "other", 1))
    with pytest.raises(RowDamaged):
        pull(a, b)
    assert a.damaged("default") == [key]
    repair(a, b)
    assert a.damaged("default") == []
    check_inner(a)


def test_a_row_set_aside_is_not_written_to_by_what_was_remembered_of_it() -> None:
    key = element("s", 3)
    disk, table = MemoryDisk(), MemoryMap()
    store = on_seams(disk, table, seed=1, name="a")
    publish(store)
    store.transact("default", lambda txn: [add(txn, "s", n) for n in range(10)])
    store.checkpoint()
    assert bucket_of(store).get(key) is not None  # from the table, into the cache
    rows, at = table.database(ROWS), physical(1, key)
    rows[at] = rows[at][:-1] + bytes((rows[at][-1] ^ 1,))
    with pytest.raises(RowDamaged):
        bucket_of(store).scan(b"s\0")
    with pytest.raises(RowDamaged):
        store.transact("default", lambda txn: add(txn, "s", 3))


def test_a_row_whose_log_entries_are_damaged_too_is_sought_where_all_of_them_are() -> None:
    key = element("s", 3)
    a, _, (_, table) = damaged_pair([key])
    log, rows = table.database(LOG), physical(1, key)
    leading = {at for at, value in log.items() if decode_log(at, value) == rows}
    assert leading
    for at in leading:
        log[at] = b"\0\0\0\0" + log[at][4:]
    with pytest.raises(RowDamaged):
        bucket_of(a).get(key)
    wanted = bucket_of(a).damaged_clock()
    for _, actor, seq in map(LOG_KEY.unpack, leading):
        assert wanted[actor] >= seq


def test_a_damaged_log_is_read_around() -> None:
    a, _, (_, table) = damaged_pair([])
    log = table.database(LOG)
    for at in list(log)[::3]:
        log[at] = b"\0\0\0\0" + log[at][4:]
    check_inner(a)


def test_random_flips_in_the_table_never_show_wrong_rows() -> None:
    rng = random.Random(6)
    for seed in range(20):
        disk, table = MemoryDisk(), MemoryMap()
        store = on_seams(disk, table, seed=seed)
        for _ in range(10):
            batch(store, rng, 6)
        expected = rows_of(store)
        store.close()
        rows = table.database(ROWS)
        at = rng.choice(list(rows))
        value = bytearray(rows[at])
        value[rng.randrange(len(value))] ^= 1 << rng.randrange(8)
        rows[at] = bytes(value)
        store = on_seams(disk, table, seed=seed)
        refused = 0
        for key, image in expected.items():
            try:
                assert bucket_of(store).get(key) == image
            except RowDamaged:
                refused += 1
        assert refused == 1


def test_restamp_lifts_registers_over_the_floor() -> None:
    store = open_store()
    store.transact("default", lambda txn: [set_register(txn, "r", 1), set_register(txn, "gone", 1)])
    store.transact("default", lambda txn: set_register(txn, "gone", None, delete=True))
    store.publish(7)
    (private,) = store.clock("default")
    from crdtsync.kernels import row_latest

    low = row_latest(rows_of(store)[b"r\0l"])[0]
    floor = low + 50
    bucket_of(store).raise_floor({}, floor)
    assert store.restamp("default", [private], low - 1) == 0
    assert store.restamp("default", [private], floor) == 1
    stamp, _, _, payload, _ = row_latest(rows_of(store)[b"r\0l"])
    assert stamp > floor and payload == b"\x01"
    assert store.restamp("default", [private], floor) == 0
