"""The simulated disk keeps what was synced, doubts what was not, and fails when told to."""

from __future__ import annotations

import random

import pytest

from crdtsync.datatypes import pncounter
from crdtsync.datatypes.keys import top
from crdtsync.errors import DiskFull
from crdtsync.sim.disk import SECTOR, Gone, SimDisk
from crdtsync.sim.plan import draw
from crdtsync.sim.settings import node_config
from crdtsync.storage.maps import Changes
from crdtsync.storage.store import Store


@pytest.mark.parametrize("seed", range(50))
def test_power_keeps_what_was_synced_and_doubts_the_rest(seed: int) -> None:
    disk = SimDisk(random.Random(seed))
    segment = disk.create("a", 4 * SECTOR)
    segment.write(0, b"x" * SECTOR)
    segment.sync()
    segment.write(SECTOR, b"y" * (2 * SECTOR))
    disk.crash()
    content = disk.read("a")
    assert content[:SECTOR] == b"x" * SECTOR
    assert set(content[SECTOR : 3 * SECTOR]) <= set(b"y\0")
    assert content[3 * SECTOR :] == bytes(SECTOR)


def test_every_outcome_of_an_unsynced_write_is_met() -> None:
    found = set()
    for seed in range(100):
        disk = SimDisk(random.Random(seed))
        disk.create("a", 2 * SECTOR).write(0, b"z" * (2 * SECTOR))
        disk.crash()
        halves = disk.read("a")[:SECTOR], disk.read("a")[SECTOR:]
        found.add(tuple("all" if h == b"z" * SECTOR else "none" if h == bytes(SECTOR) else "torn" for h in halves))
    assert found == {("all", "all"), ("none", "none"), ("all", "none"), ("none", "all")}


def test_the_write_that_a_process_ends_in_may_be_half_done() -> None:
    found = set()
    for seed in range(100):
        disk = SimDisk(random.Random(seed))
        segment = disk.create("a", 8)
        segment.write(0, b"1234")
        disk.end_after(1, power=False)
        with pytest.raises(Gone):
            segment.write(2, b"abcd")
        disk.next_life()
        found.add(disk.read("a"))
    assert found == {b"12" + b"abcd"[:n] + b"34\0\0"[n:] + b"\0\0" for n in range(5)}


def test_a_killed_process_loses_nothing_it_wrote() -> None:
    disk = SimDisk(random.Random(1))
    disk.create("a", 10).write(2, b"abc")
    disk.next_life()
    assert disk.read("a") == b"\0\0abc" + bytes(5)


def test_a_process_that_is_gone_writes_no_more() -> None:
    disk = SimDisk(random.Random(1))
    segment = disk.create("a", 10)
    disk.crash()
    with pytest.raises(AssertionError, match="gone"):
        segment.write(0, b"late")


def test_power_goes_at_the_chosen_operation() -> None:
    for steps in range(1, 6):
        disk = SimDisk(random.Random(1))
        segment = disk.create("a", 10)
        disk.end_after(steps, power=True)
        with pytest.raises(Gone):
            for _ in range(10):
                segment.write(0, b"1")
                segment.sync()


def test_a_full_disk_refuses_and_recovers() -> None:
    disk = SimDisk(random.Random(1))
    changes = Changes()
    changes.put("rows", [(b"k", b"v")])
    disk.full = True
    with pytest.raises(DiskFull):
        disk.create("a", 10)
    with pytest.raises(DiskFull):
        disk.map.commit(changes)
    assert disk.list() == [] and disk.free() == 0
    disk.full = False
    disk.map.commit(changes)
    assert disk.map.snapshot().get("rows", b"k") == b"v"


def test_a_failed_sync_says_so_and_leaves_the_bytes_in_doubt() -> None:
    disk = SimDisk(random.Random(1))
    segment = disk.create("a", 10)
    segment.write(0, b"1")
    disk.fail_next_sync = True
    with pytest.raises(OSError, match="refused"):
        segment.sync()
    assert disk.files["a"].pending


@pytest.mark.parametrize("synced", [False, True])
def test_a_flip_is_a_torn_tail_only_until_a_mark_tells_of_the_sync(synced: bool) -> None:
    disk = SimDisk(random.Random(1))
    store = Store.open(None, node_config(draw(1), "n", "127.0.0.1:1", ()), disk=disk, maps=lambda: disk.map)
    store.transact("default", lambda txn: pncounter.ADD.run(txn, top("stock", pncounter.CODE), 1))
    (file,) = disk.files.values()
    if synced:
        store.flush()
    assert not disk.ends_at_a_flip()
    at = file.content.rindex(b"stock")
    file.content[at] ^= 1
    disk.flipped.append((disk.list()[0], at))
    assert disk.ends_at_a_flip() == (not synced)


def test_a_copy_is_independent() -> None:
    disk, copy = SimDisk(random.Random(1)), SimDisk(random.Random(2))
    disk.create("a", 10).write(0, b"1")
    copy.copy_from(disk)
    disk.next_life()
    disk.write("a", b"other")
    assert copy.read("a")[:1] == b"1"
