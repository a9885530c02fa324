"""One contract for every disk and one for every ordered map, the simulated ones included."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest

from crdtsync.errors import DiskFull, StoreDamaged
from crdtsync.ops.bench.drivers.footprint import anonymous
from crdtsync.storage.disk import Disk, MemoryDisk
from crdtsync.storage.files import MappedDisk, PlainDisk, file_system, open_disk
from crdtsync.storage.lmdb_map import SWOLLEN, LmdbMap
from crdtsync.storage.maps import Changes, MemoryMap, OrderedMap
from crdtsync.storage.memory import give_back
from tests.storage.helpers import open_store, rows_of, set_register

TRIMS = hasattr(ctypes.CDLL(None), "malloc_trim")
DISKS: dict[str, Callable[[Path], Disk]] = {
    "memory": lambda path: MemoryDisk(),
    "plain": lambda path: PlainDisk(path / "d"),
    "mapped": lambda path: MappedDisk(path / "d"),
}
MAPS: dict[str, Callable[[Path], OrderedMap]] = {
    "memory": lambda path: MemoryMap(),
    "lmdb": lambda path: LmdbMap(path / "m", 1 << 26),
}


@pytest.fixture(params=DISKS)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    return DISKS[request.param](tmp_path)


@pytest.fixture(params=MAPS)
def table(request: pytest.FixtureRequest, tmp_path: Path) -> OrderedMap:
    return MAPS[request.param](tmp_path)


def test_a_segment_is_zeroed_and_takes_writes_anywhere(disk: Disk) -> None:
    segment = disk.create("a", 5000)
    assert (segment.name, segment.size) == ("a", 5000)
    assert disk.read("a") == bytes(5000)
    segment.write(10, b"hello")
    segment.write(4995, b"world")
    assert disk.read("a") == bytes(10) + b"hello" + bytes(4980) + b"world"
    segment.sync()
    segment.close()
    assert disk.read("a")[10:15] == b"hello"


def test_files_are_listed_put_renamed_and_removed(disk: Disk) -> None:
    disk.create("b", 100).close()
    disk.write("a", b"whole")
    disk.write("a", b"again")
    assert disk.list() == ["a", "b"]
    assert disk.read("a") == b"again"
    disk.rename("a", "b")
    assert disk.list() == ["b"] and disk.read("b") == b"again"
    disk.remove("b")
    disk.remove("b")
    assert disk.list() == []
    with pytest.raises(FileNotFoundError):
        disk.read("b")
    assert disk.free() > 0


def test_a_memory_disk_can_be_full() -> None:
    disk = MemoryDisk(capacity=100)
    disk.create("a", 60)
    with pytest.raises(DiskFull):
        disk.create("b", 41)
    with pytest.raises(DiskFull):
        disk.write("b", bytes(41))
    assert disk.list() == ["a"]


def test_the_disk_follows_the_setting_and_the_file_system(tmp_path: Path) -> None:
    assert type(open_disk(tmp_path / "a", True)) is MappedDisk
    assert type(open_disk(tmp_path / "b", False)) is PlainDisk
    assert file_system("/proc") == "proc"
    assert type(open_disk(tmp_path / "e", None, each=True)) is PlainDisk
    assert type(open_disk(tmp_path / "f", True, each=True)) is MappedDisk
    by_itself = open_disk(tmp_path / "c", None)
    assert isinstance(by_itself, MappedDisk) == (file_system(tmp_path) not in ("tmpfs", "btrfs", "zfs", "nfs4"))


def put(table: OrderedMap, pairs: dict[bytes, bytes], delete: list[bytes] = [], name: str = "rows") -> None:  # noqa: B006
    changes = Changes()
    changes.put(name, list(pairs.items()))
    changes.delete(name, delete)
    table.commit(changes)


def test_get_and_ranges(table: OrderedMap) -> None:
    put(table, {b"b": b"2", b"a": b"1", b"c": b"", b"\xff\xff": b"last"})
    snapshot = table.snapshot()
    assert snapshot.get("rows", b"a") == b"1"
    assert snapshot.get("rows", b"c") == b""
    assert snapshot.get("rows", b"d") is None
    assert snapshot.get("nothing", b"a") is None
    assert list(snapshot.range("nothing", b"")) == []
    assert [key for key, _ in snapshot.range("rows", b"")] == [b"a", b"b", b"c", b"\xff\xff"]
    assert list(snapshot.range("rows", b"a\0", b"c")) == [(b"b", b"2")]
    assert list(snapshot.range("rows", b"b", b"b")) == []
    snapshot.close()
    table.close()


def test_deletes_go_before_puts(table: OrderedMap) -> None:
    put(table, {b"a": b"1", b"b": b"1"})
    put(table, {b"a": b"2"}, delete=[b"a", b"b", b"absent"])
    snapshot = table.snapshot()
    assert list(snapshot.range("rows", b"")) == [(b"a", b"2")]
    snapshot.close()
    table.close()


def test_a_snapshot_does_not_move(table: OrderedMap) -> None:
    rng, model = random.Random(3), {}
    keys = [b"%04d" % n for n in range(700)]
    put(table, dict.fromkeys(keys[::2], b"0"))
    model = dict.fromkeys(keys[::2], b"0")
    for turn in range(8):
        snapshot, expected = table.snapshot(), sorted(model.items())
        running = snapshot.range("rows", b"")
        first = [next(running) for _ in range(10)]
        changed = dict.fromkeys(rng.sample(keys, 60), b"%d" % turn)
        gone = rng.sample(keys, 60)
        put(table, changed, gone)
        put(table, {b"x": b"y"}, name=f"later{turn}")
        assert snapshot.get(f"later{turn}", b"x") is None
        assert first + list(running) == expected
        assert list(snapshot.range("rows", b"0100", b"0500")) == [p for p in expected if b"0100" <= p[0] < b"0500"]
        assert all(snapshot.get("rows", key) == model.get(key) for key in keys)
        snapshot.close()
        model = {**{key: value for key, value in model.items() if key not in gone}, **changed}
    fresh = table.snapshot()
    assert list(fresh.range("rows", b"")) == sorted(model.items())
    fresh.close()
    table.maintain()
    assert table.used() > 0
    table.close()


def test_an_lmdb_map_gives_back_what_a_large_commit_has_left(tmp_path: Path) -> None:
    table = LmdbMap(tmp_path / "m", 1 << 30)
    put(table, {b"few": b"1"})
    assert not table.swollen()
    expected = {b"%08d" % number: bytes(3000) for number in range(SWOLLEN + 1)}  # a page of 4 KiB each
    put(table, expected)
    held = anonymous()
    snapshot = table.snapshot()
    assert table.swollen()
    table.slim()
    assert table.swollen() and snapshot.get("rows", b"00000000") == bytes(3000)  # it is still open
    snapshot.close()
    table.slim()
    give_back()
    assert not table.swollen()
    if TRIMS:
        assert anonymous() < held - 3000 * SWOLLEN
    put(table, {b"x": b"y"}, name="later")
    put(table, {b"few": b"2"}, [b"00000000"])
    snapshot = table.snapshot()
    assert snapshot.get("later", b"x") == b"y" and snapshot.get("rows", b"few") == b"2"
    del expected[b"00000000"]
    assert list(snapshot.range("rows", b"", b"a")) == list(expected.items())
    snapshot.close()
    table.close()


def test_an_lmdb_map_that_could_not_be_opened_again_is_by_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = LmdbMap(tmp_path / "m", 1 << 28)
    put(table, {b"%08d" % number: b"1" for number in range(SWOLLEN + 1)})
    opening = lmdb.open

    def refuse(*args: object, **settings: object) -> None:
        raise lmdb.DiskError("Too many open files")

    monkeypatch.setattr(lmdb, "open", refuse)
    for call in (table.slim, table.snapshot, table.used, lambda: put(table, {b"x": b"1"})):
        with pytest.raises(StoreDamaged, match="Too many open files"):
            call()
    monkeypatch.setattr(lmdb, "open", opening)
    put(table, {b"x": b"1"})
    snapshot = table.snapshot()
    assert len(list(snapshot.range("rows", b""))) == SWOLLEN + 2
    snapshot.close()
    table.close()


def test_an_lmdb_map_grows_when_told_and_says_when_it_is_full(tmp_path: Path) -> None:
    table = LmdbMap(tmp_path / "m", 1 << 20)
    for turn in range(40):
        table.reserve(100_000)
        put(table, {b"%08d" % (turn * 100 + n): bytes(1000) for n in range(100)})
    huge = {b"huge%d" % n: bytes(1 << 20) for n in range(80)}
    refused = 0
    while True:
        try:
            put(table, huge)
            break
        except DiskFull:
            refused += 1
            table.reserve(0)
    assert refused > 0
    snapshot = table.snapshot()
    assert sum(1 for _ in snapshot.range("rows", b"")) == 4080
    snapshot.close()
    table.close()
    again = LmdbMap(tmp_path / "m", 1 << 20)
    snapshot = again.snapshot()
    assert sum(1 for _ in snapshot.range("rows", b"")) == 4080
    snapshot.close()
    again.close()


def test_a_store_outgrows_a_small_map(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s", map_bytes=1 << 20)
    for turn in range(30):
        store.transact("default", lambda txn, turn=turn: set_register(txn, f"r{turn}", "x" * 500_000))
        assert len(rows_of(store)) == turn + 1
        store.checkpoint()
    store.close()
    store = open_store(tmp_path / "s", map_bytes=1 << 20)
    assert len(rows_of(store)) == 30
    store.close()


def test_lmdb_keeps_what_was_committed(tmp_path: Path) -> None:
    table = LmdbMap(tmp_path / "m", 1 << 24)
    put(table, {b"a": b"1"})
    table.close()
    again = LmdbMap(tmp_path / "m", 1 << 24)
    snapshot = again.snapshot()
    assert snapshot.get("rows", b"a") == b"1"
    snapshot.close()
    again.close()
