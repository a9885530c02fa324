"""Long transfers: resumable, with any sender, over crashes, whole or not at all."""

from __future__ import annotations

import random
from typing import Any

import pytest

from crdtsync.clocks.vector import covers
from crdtsync.errors import BadTransfer
from crdtsync.storage.disk import MemoryDisk
from crdtsync.storage.maps import MemoryMap
from crdtsync.storage.store import Store
from tests.storage.helpers import (
    NO_BOUND,
    PART,
    add,
    batch,
    bucket_of,
    check_inner,
    increment,
    lacking,
    live_meaning,
    on_seams,
    open_store,
    publish,
    pull,
    rows_of,
)


def server_with(rows: int, seed: int = 1) -> Store:
    store = open_store(seed=seed, name=f"s{seed}")
    publish(store)
    store.transact("default", lambda txn: [add(txn, "s", n) for n in range(rows)])
    for _ in range(5):
        store.new_actor()
        store.transact("default", lambda txn: increment(txn, "c"))
    return store


def finish(reader: Store, server: Store, t0: dict[int, int]) -> None:
    with server.lock:
        parts = lacking(server, "default", t0, PART, NO_BOUND) or []
        target, floor = server.clock("default"), server.floor("default")
    reader.finish_scan("default", [reader.stage("default", p) for p in parts], target, floor, 0)


def test_a_scan_gives_every_row_once_and_never_cuts_a_counter() -> None:
    server = server_with(40)
    for size in (1, 60, 500, PART):
        rows, after, cursors = [], b"", []
        while True:
            part, after = server.scan("default", after, size)
            got = server.stage("default", part).local(server.actors.index)
            rows += got
            cells = [key for key, _ in got if key.startswith(b"c\0p")]
            assert len(cells) in (0, 5)
            if not after:
                break
            cursors.append(after)
        assert dict(rows) == rows_of(server) and len(rows) == len(rows_of(server))
        assert cursors == sorted(set(cursors))
    assert server.synced_record == server.last_record


@pytest.mark.parametrize("empty", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_scans_survive_crashes_writes_and_another_sender(seed: int, empty: bool) -> None:
    rng = random.Random(seed)
    first, second = server_with(60, 1), open_store(seed=2, name="s2")
    publish(second)
    pull(second, first)
    seam = MemoryDisk(), MemoryMap()
    reader = on_seams(*seam, seed=50 + seed, name="r", checkpoint_bytes=rng.choice([1, 1 << 20]))
    publish(reader)
    if not empty:
        reader.transact("default", lambda txn: [add(txn, "mine", n) for n in range(5)])
    t0, after = first.clock("default"), b""
    while True:
        server = rng.choice([first, second])
        assert covers(server.clock("default"), t0)
        part, after = server.scan("default", after, 300)
        reader.stage_scan("default", t0, reader.stage("default", part), after)
        assert reader.staging("default") == (t0, after)
        if rng.random() < 0.3:
            reader.abandon()
            reader = on_seams(*seam, seed=rng.randrange(10**6), name="r")
            assert reader.staging("default") == (t0, after)
        batch(first, rng)
        if not after:
            break
        if rng.random() < 0.3:
            pull(second, first)
    assert len(rows_of(reader)) == (0 if empty else 5), "nothing of it is visible before its end"
    finish(reader, first, t0)
    assert reader.staging("default") is None
    if not empty:
        pull(first, reader)
    assert reader.clock("default") == first.clock("default")
    assert bucket_of(reader).digest() == bucket_of(first).digest() == live_meaning(reader)
    check_inner(reader)
    while any(bucket.state == 2 for bucket in reader.numbered.values()):
        reader.checkpoint()
    reader.abandon()
    reader = on_seams(*seam, seed=77, name="r")
    assert bucket_of(reader).digest() == bucket_of(first).digest()
    check_inner(reader)


def test_a_scan_that_was_complete_is_finished_by_the_next_start() -> None:
    for empty in (True, False):
        server, seam = server_with(30), (MemoryDisk(), MemoryMap())
        reader = on_seams(*seam, seed=4, name="r")
        publish(reader)
        if not empty:
            reader.transact("default", lambda txn: add(txn, "mine", 1))
        part, after = server.scan("default", b"", PART)
        reader.stage_scan("default", server.clock("default"), reader.stage("default", part), after)
        reader._finish = lambda hidden, reader=reader: reader.abandon()  # type: ignore[assignment,method-assign]
        finish(reader, server, server.clock("default"))
        reader = on_seams(*seam, seed=5, name="r")
        assert reader.staging("default") is None
        assert covers(reader.clock("default"), server.clock("default"))
        assert len(rows_of(reader)) == len(rows_of(server)) + (not empty)
        check_inner(reader)


def test_a_scan_with_events_that_were_lost_is_dropped() -> None:
    server = server_with(10)
    reader = open_store(seed=4, name="r")
    publish(reader)
    t0 = server.clock("default")
    server.transact("default", lambda txn: add(txn, "late", 1))
    part, after = server.scan("default", b"", PART)
    reader.stage_scan("default", t0, reader.stage("default", part), after)
    with pytest.raises(BadTransfer, match="lost"):
        reader.finish_scan("default", [], t0, {}, 0)
    assert reader.staging("default") is None
    assert reader.is_empty()


def test_a_new_scan_replaces_an_old_one_and_drop_forgets() -> None:
    server, reader = server_with(10), open_store(seed=4, name="r")
    publish(reader)
    part, _ = server.scan("default", b"", PART)
    t0 = server.clock("default")
    reader.stage_scan("default", t0, reader.stage("default", part), b"x")
    server.transact("default", lambda txn: add(txn, "late", 1))
    later = server.clock("default")
    reader.stage_scan("default", later, None, b"y")
    assert reader.staging("default") == (later, b"y")
    assert reader.staged_buckets() == ["default"] and reader.buckets() == []
    reader.drop_scan("default")
    assert reader.staging("default") is None and reader.staged_buckets() == []
    reader.drop_scan("default")
    while reader.checkpoint():
        pass
    assert not [bucket for bucket in reader.numbered.values() if bucket.state]
    assert reader.is_empty()


class Guarded(dict[int, Any]):
    """The buckets of a store by number, which must not be looked through without its lock: writers add to them."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.numbered)
        self.held = store.lock._is_owned  # type: ignore[attr-defined]

    def values(self) -> Any:
        assert self.held()
        return super().values()


def test_the_hidden_bucket_is_looked_for_under_the_lock() -> None:
    """Buckets that other threads make, or a checkpoint removes, meanwhile ended the search with an exception."""
    server, reader = server_with(10), open_store(seed=4, name="r")
    publish(reader)
    reader.transact("default", lambda txn: add(txn, "mine", 1))
    reader.numbered = Guarded(reader)
    clock = server.clock("default")
    for end in (reader.finish_scan, reader.replace):
        part, after = server.scan("default", b"", PART)
        reader.stage_scan("default", clock, reader.stage("default", part), after)
        if end == reader.finish_scan:
            reader.finish_scan("default", [], clock, {}, 0)
        else:
            reader.give_up("default")
            reader.replace("default", [], clock, {}, 0, clock)
        assert reader.clock("default").items() >= clock.items()
