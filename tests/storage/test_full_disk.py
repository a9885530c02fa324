"""A full disk: the write fails with a typed error, what was there stays readable, and room makes it work again."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from crdtsync.errors import CrdtsyncError, DiskFull
from crdtsync.storage.disk import MemoryDisk
from crdtsync.storage.maps import MemoryMap
from crdtsync.storage.store import Store
from tests.storage.helpers import add, bucket_of, check_inner, on_seams, open_store, rows_of, set_register, state_of

SEGMENT = 1 << 16


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mount is not permitted here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(store: Store, start: int = 0) -> int:
    """Write until there is no room; the number of values that were taken."""
    for number in range(start, start + 100_000):
        try:
            store.transact("default", lambda txn, number=number: set_register(txn, f"r{number}", "x" * 3000))
        except DiskFull:
            return number
    raise AssertionError("the disk never filled")


def test_a_journal_that_cannot_grow_refuses_and_goes_on_with_room() -> None:
    disk, table = MemoryDisk(capacity=3 * SEGMENT), MemoryMap()
    store = on_seams(disk, table, segment_bytes=SEGMENT)
    taken = fill(store)
    before = state_of(store)
    assert taken == len(rows_of(store)) > 10
    with pytest.raises(DiskFull):
        store.transact("default", lambda txn: set_register(txn, "r", "x" * 3000))
    assert state_of(store) == before
    assert store.counters["disk_full"] >= 2
    store.abandon()
    disk.capacity = 4 * SEGMENT
    store = on_seams(disk, table, segment_bytes=SEGMENT)
    assert state_of(store) == before
    store.checkpoint()
    store.transact("default", lambda txn: set_register(txn, "r", "x" * 3000))
    check_inner(store)


def test_a_checkpoint_makes_room_for_the_journal() -> None:
    disk, table = MemoryDisk(capacity=3 * SEGMENT), MemoryMap()
    store = on_seams(disk, table, segment_bytes=SEGMENT)
    taken = 0
    for _ in range(4):
        taken = fill(store, taken)
        store.checkpoint()
    assert len(rows_of(store)) == taken > 60


def test_a_group_that_does_not_fit_leaves_nothing() -> None:
    disk, table = MemoryDisk(capacity=4 * SEGMENT), MemoryMap()
    store = on_seams(disk, table, segment_bytes=SEGMENT)
    store.transact("default", lambda txn: add(txn, "s", 1))
    before = state_of(store)
    with pytest.raises(DiskFull):
        store.transact("default", lambda txn: set_register(txn, "r", "x" * (6 * SEGMENT)))
    assert state_of(store) == before
    store.transact("default", lambda txn: add(txn, "s", 2))
    after = state_of(store)
    store.abandon()
    assert state_of(on_seams(disk, table, segment_bytes=SEGMENT)) == after


def test_a_real_full_disk(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2_800_000))
    store = open_store(small_disk / "s", segment_bytes=SEGMENT)
    taken, failed = 0, 0
    for _ in range(40):
        taken = fill(store, taken)
        try:
            store.checkpoint()
        except DiskFull:
            failed += 1
            break
    assert failed, "the row table never met the bound"
    before = state_of(store)
    assert len(rows_of(store)) == taken
    for number in range(taken):
        assert bucket_of(store).get(b"r%d\0l" % number) is not None
    with pytest.raises(DiskFull):
        for number in range(100):
            store.transact("default", lambda txn, number=number: set_register(txn, f"more{number}", "x" * 3000))
    before = state_of(store)
    ballast.unlink()
    store.checkpoint()
    assert state_of(store) == before
    store.transact("default", lambda txn: set_register(txn, "room", "again"))
    check_inner(store)
    after = state_of(store)
    store.close()
    store = open_store(small_disk / "s", segment_bytes=SEGMENT)
    assert state_of(store) == after
    store.close()


def test_opening_on_a_full_disk_is_a_typed_error(small_disk: Path) -> None:
    with open(small_disk / "ballast", "wb", buffering=0) as ballast:
        try:
            while ballast.write(bytes(4096)):
                pass
        except OSError:
            pass
    with pytest.raises(CrdtsyncError):
        open_store(small_disk / "s", segment_bytes=SEGMENT)
    (small_disk / "ballast").unlink()
    open_store(small_disk / "s", segment_bytes=SEGMENT).close()
