"""What a store keeps count of stays right: dirty bytes, what is synced, what a checkpoint still has to write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crdtsync.clocks.members import MEMBER, MemberRecord
from crdtsync.clocks.vector import covers
from crdtsync.errors import Closed, DiskFull, RowDamaged
from crdtsync.storage.disk import MemoryDisk, Segment
from crdtsync.storage.maps import Changes, MemoryMap
from crdtsync.storage.records import HEADER_SIZE, decode_header, segment_name, segment_number
from crdtsync.storage.store import Store
from crdtsync.storage.table import LOG, ROWS, physical
from tests.storage.helpers import (
    NO_BOUND,
    PART,
    add,
    bucket_of,
    increment,
    lacking,
    on_seams,
    open_store,
    publish,
    rows_of,
    set_register,
)


class Meddled(MemoryMap):
    """A map that does something before each commit."""

    before: Callable[[], None] | None = None

    def commit(self, changes: Changes) -> None:
        if self.before is not None:
            self.before()
        super().commit(changes)


def staged_reader(**settings: Any) -> tuple[Store, Store]:
    """A store with a staged scan of everything that another one has, and rows of its own."""
    server, reader = open_store(seed=1, name="s"), open_store(seed=2, name="r", **settings)
    publish(server, reader)
    for n in range(300):
        server.transact("default", lambda txn, n=n: add(txn, "s", n))  # type: ignore[misc]
    reader.transact("default", lambda txn: add(txn, "s", "mine"))
    reader.checkpoint()
    part, after = server.scan("default", b"", PART)
    reader.stage_scan("default", server.clock("default"), reader.stage("default", part), after)
    return server, reader


def test_rows_of_a_dropped_scan_are_not_dirty_any_more() -> None:
    _, reader = staged_reader()
    assert reader.dirty > 300 * 300
    reader.drop_scan("default")
    assert reader.dirty == 0
    reader.checkpoint()
    assert reader.dirty == 0


def test_rows_of_a_finished_scan_are_counted_once() -> None:
    server, reader = staged_reader()
    reader.finish_scan("default", [], server.clock("default"), {}, 0)
    assert len(rows_of(reader)) == 301
    reader.checkpoint()
    assert reader.dirty == 0


def test_rows_of_a_bucket_that_starts_over_are_not_dirty_any_more() -> None:
    disk, table = MemoryDisk(), MemoryMap()
    store = on_seams(disk, table)
    publish(store)
    store.transact("default", lambda txn: add(txn, "s", 1))
    store.give_up("default")
    store.replace("default", [], {}, {}, 0, {})
    assert store.dirty == 0
    store.abandon()
    store = on_seams(disk, table)
    assert store.dirty == 0
    assert rows_of(store) == {}


def test_a_scan_with_a_damaged_row_is_dropped() -> None:
    server, reader = staged_reader()
    reader.checkpoint()
    reader.renew_reader()
    hidden = next(bucket for bucket in reader.numbered.values() if bucket.staged is not None)
    hidden.cache.clear()
    rows = reader.table.database(ROWS)  # type: ignore[attr-defined]
    key = physical(hidden.number, next(iter(rows_of(server))))
    rows[key] = rows[key][:-1] + bytes((rows[key][-1] ^ 1,))
    with pytest.raises(RowDamaged):
        reader.finish_scan("default", [], server.clock("default"), {}, 0)
    assert reader.staging("default") is None  # or every pull from now on would come to the same end
    assert len(rows_of(reader)) == 1


def test_a_checkpoint_within_a_sync_does_not_take_back_what_is_synced() -> None:
    class SlowDisk(MemoryDisk):
        meanwhile: Callable[[], None] | None = None

        def create(self, name: str, size: int) -> Segment:
            segment, disk = super().create(name, size), self

            def sync() -> None:
                run, disk.meanwhile = disk.meanwhile, None
                if run is not None:
                    run()

            segment.sync = sync  # type: ignore[method-assign]
            return segment

    disk = SlowDisk()
    store = on_seams(disk, MemoryMap())
    store.transact("default", lambda txn: increment(txn, "c"))

    def meanwhile() -> None:
        store.transact("default", lambda txn: increment(txn, "c"))
        store._syncing = False  # a checkpoint waits for the sync at its very end; it would go on after it
        store.checkpoint()

    disk.meanwhile = meanwhile
    store.flush()
    store.flush()
    assert store.synced_clock("default") == store.clock("default") == {0: 2}


def test_a_failed_checkpoint_of_members_alone_is_tried_again() -> None:
    disk, table = MemoryDisk(), Meddled()
    store = on_seams(disk, table)

    def full() -> None:
        raise DiskFull("no room")

    table.before = full
    store.put_members([MemberRecord("n2", 1, MEMBER)])
    with pytest.raises(DiskFull):
        store.checkpoint()
    assert store.is_dirty()
    table.before = None
    assert store.checkpoint()
    assert not store.checkpoint()


def test_a_checkpoint_lets_go_of_what_it_has_written() -> None:
    store = open_store()
    store.transact("default", lambda txn: add(txn, "s", 1))
    store.checkpoint()
    assert store._cut == []


def test_a_new_start_does_not_claim_that_what_it_has_read_is_synced() -> None:
    """After `kill -9` the records are in the page cache alone; if the power then goes, a torn tail is no damage."""
    disk, table = MemoryDisk(), Meddled()
    store = on_seams(disk, table)
    store.transact("default", lambda txn: increment(txn, "c"))
    store.flush()
    known = store.synced_record
    store.transact("default", lambda txn: increment(txn, "c"))
    store.abandon()
    headers = []

    def look() -> None:
        name = segment_name(max(number for number in map(segment_number, disk.list()) if number is not None))
        header = decode_header(disk.read(name)[:HEADER_SIZE])
        assert header is not None
        headers.append(header.synced)

    table.before = look
    store = on_seams(disk, table)
    assert headers[0] == known
    assert store.synced_record == store.last_record


def test_repairing_one_row_leaves_the_damaged_log_entry_of_another() -> None:
    table = MemoryMap()
    store = on_seams(MemoryDisk(), table)
    publish(store)
    store.transact("default", lambda txn: set_register(txn, "a", 1))
    store.transact("default", lambda txn: set_register(txn, "b", 1))
    store.checkpoint()
    bucket = bucket_of(store)
    bucket.cache.clear()
    store.renew_reader()
    log, rows = table.database(LOG), table.database(ROWS)
    at = next(at for at, value in log.items() if value[4:] == b"b\0l")
    log[at] = bytes((log[at][0] ^ 1,)) + log[at][1:]
    key = physical(bucket.number, b"a\0l")
    image = rows[key][5:]
    rows[key] = rows[key][:-1] + bytes((rows[key][-1] ^ 1,))
    with pytest.raises(RowDamaged):
        bucket.get(b"a\0l")
    store._mend(bucket, {b"a\0l": image})
    store.checkpoint()
    parts = lacking(store, "default", {}, PART, NO_BOUND)
    assert parts is not None
    assert sum(part.count for part in parts) == 2
    assert covers(store.clock("default"), store.synced_clock("default"))


def test_a_reader_that_comes_too_late_is_told_that_the_store_is_closed(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.transact("default", lambda txn: set_register(txn, "a", 1))
    store.checkpoint()
    bucket = bucket_of(store)
    store.close()
    bucket.cache.clear()
    with pytest.raises(Closed):
        bucket.get(b"a\0l")
    with pytest.raises(Closed):
        bucket.scan(b"")
    with pytest.raises(Closed):
        store.stats()
