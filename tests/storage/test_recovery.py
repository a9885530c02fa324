"""Recovery from a journal cut or flipped at every byte: a prefix, or a typed error, and never a silent loss."""

from __future__ import annotations

import random

import pytest

from crdtsync.errors import CrdtsyncError, JournalFailed, StoreDamaged
from crdtsync.storage.disk import MemoryDisk, MemorySegment
from crdtsync.storage.maps import MemoryMap
from crdtsync.storage.records import HEADER_SIZE, segment_name, segment_number
from crdtsync.storage.requests import DIGEST_BYTES, Request
from crdtsync.storage.store import Store
from tests.storage.helpers import add, batch, check_inner, on_seams, requests_of, rows_of, set_register, state_of

SMALL = 1 << 11


def copy_of(disk: MemoryDisk, table: MemoryMap) -> tuple[MemoryDisk, MemoryMap]:
    """What another process would find."""
    copy, map_copy = MemoryDisk(), MemoryMap()
    copy.files = {name: bytearray(content) for name, content in disk.files.items()}
    for name, held in table._databases.items():
        map_copy.database(name).update(held)
    return copy, map_copy


def written(synced: bool, count: int = 6) -> tuple[MemoryDisk, MemoryMap, list[object]]:
    """A disk whose journal holds some transactions, and the states after each of them."""
    disk, table, rng = MemoryDisk(), MemoryMap(), random.Random(2)
    store = on_seams(disk, table, segment_bytes=SMALL)
    states = [whole_state_of(store)]
    for turn in range(count):
        if turn % 2:
            batch(store, rng)
        else:  # one of them changes nothing
            request = Request(f"request-{turn}", bytes(DIGEST_BYTES))
            store.transact_once("default", request, lambda txn, turn=turn: turn and add(txn, "once", turn))
        if synced:
            store.flush()
        states.append(whole_state_of(store))
    store.abandon()
    return disk, table, states


def whole_state_of(store: Store) -> tuple[object, object]:
    """Rows and request ids: a record that is lost takes both with it."""
    return state_of(store), requests_of(store)


def used_bytes(disk: MemoryDisk) -> list[tuple[str, int]]:
    """(file, number of bytes up to the last that is not zero)."""
    return [(name, len(bytes(content).rstrip(b"\0"))) for name, content in sorted(disk.files.items())]


@pytest.mark.parametrize("synced", [False, True])
def test_cut_at_every_byte(synced: bool) -> None:
    disk, table, states = written(synced)
    lost = 0
    for name, size in used_bytes(disk):
        for at in range(size):
            cut, rows = copy_of(disk, table)
            del cut.files[name][at:]
            lost += opens_to_a_prefix(cut, rows, states, synced)
    assert lost > 100


@pytest.mark.parametrize("synced", [False, True])
def test_zeroed_from_every_byte(synced: bool) -> None:
    """As a crash leaves it: the file has its size, what was not written is zero."""
    disk, table, states = written(synced)
    for name, size in used_bytes(disk):
        for at in range(size):
            cut, rows = copy_of(disk, table)
            cut.files[name][at:] = bytes(len(cut.files[name]) - at)
            opens_to_a_prefix(cut, rows, states, synced)


@pytest.mark.parametrize("synced", [False, True])
def test_every_byte_flipped(synced: bool) -> None:
    disk, table, states = written(synced)
    for name, size in used_bytes(disk):
        for at in range(size + 30):
            flipped, rows = copy_of(disk, table)
            flipped.files[name][at] ^= 0x41
            opens_to_a_prefix(flipped, rows, states, synced)


def opens_to_a_prefix(disk: MemoryDisk, table: MemoryMap, states: list[object], synced: bool) -> bool:
    """Open; True when something was lost."""
    try:
        store = on_seams(disk, table, segment_bytes=SMALL)
    except StoreDamaged as error:
        assert "Journal" in str(error) or "journal" in str(error)
        accepted = on_seams(disk, table, segment_bytes=SMALL, accept_damage=True)
        assert whole_state_of(accepted) in states
        assert accepted.counters["damage_accepted"] == 1
        accepted.transact("default", lambda txn: add(txn, "after", 1))
        return True
    state = whole_state_of(store)
    assert state in states
    if synced:
        assert state == states[-1], "a synced record was lost without a word"
    store.transact("default", lambda txn: add(txn, "after", 1))
    again = on_seams(disk, table, segment_bytes=SMALL)
    assert len(rows_of(again)) == len(rows_of(store))
    return state != states[-1]


def test_a_missing_segment_is_damage() -> None:
    disk, table, _ = written(synced=True)
    for name in sorted(disk.files):
        cut, rows = copy_of(disk, table)
        if any(cut.files.pop(name)):
            with pytest.raises(StoreDamaged):
                on_seams(cut, rows, segment_bytes=SMALL)


def test_a_header_that_was_half_written_ends_the_journal() -> None:
    """A process that ends, or a disk that fails, while a segment is begun: nothing was in it yet."""
    disk, table, states = written(synced=True)
    last = max(name for name, content in disk.files.items() if any(content))
    following = segment_name((segment_number(last) or 0) + 1)
    for at in range(1, HEADER_SIZE):
        torn, rows = copy_of(disk, table)
        torn.files[following] = bytearray(disk.files[last][:at] + bytes(SMALL - at))
        assert not opens_to_a_prefix(torn, rows, states, synced=True)


def test_a_segment_of_another_store_is_damage() -> None:
    disk, table, _ = written(synced=True)
    other, other_table = MemoryDisk(), MemoryMap()
    stranger = on_seams(other, other_table, seed=5, segment_bytes=SMALL)
    stranger.transact("default", lambda txn: add(txn, "s", 1))
    name = segment_name(2)
    disk.files[name] = other.files[name]
    with pytest.raises(StoreDamaged, match="another store"):
        on_seams(disk, table, segment_bytes=SMALL)


def test_a_journal_without_its_table_is_damage() -> None:
    disk, _, _ = written(synced=True)
    with pytest.raises(StoreDamaged):
        on_seams(disk, MemoryMap(), segment_bytes=SMALL)
    store = on_seams(disk, MemoryMap(), segment_bytes=SMALL, accept_damage=True)
    assert any(name.endswith(".damaged") for name in disk.list())
    assert rows_of(store) == {}


def test_damaged_segments_are_set_aside_whole() -> None:
    disk, table, _ = written(synced=True)
    name = sorted(disk.files)[0]
    disk.files[name][100] ^= 1
    kept = bytes(disk.files[name])
    on_seams(disk, table, segment_bytes=SMALL, accept_damage=True)
    assert disk.files[f"{name}.damaged"] == kept


def test_a_group_larger_than_a_segment_is_all_or_nothing() -> None:
    disk, table = MemoryDisk(), MemoryMap()
    store = on_seams(disk, table, segment_bytes=SMALL)
    store.transact("default", lambda txn: add(txn, "s", 0))
    small = state_of(store)
    store.transact("default", lambda txn: set_register(txn, "r", "x" * (5 * SMALL)))
    whole = state_of(store)
    store.abandon()
    assert len(disk.list()) >= 5
    seen = set()
    for name, size in used_bytes(disk):
        for at in range(80, size, 97):
            cut, rows = copy_of(disk, table)
            cut.files[name][at:] = bytes(len(cut.files[name]) - at)
            for later in sorted(cut.files):
                if later > name:
                    cut.files[later] = bytearray(len(cut.files[later]))
            found = state_of(on_seams(cut, rows, segment_bytes=SMALL))
            assert found in (small, whole) or not found[0]
            seen.add(found == whole)
    assert state_of(on_seams(disk, table, segment_bytes=SMALL)) == whole
    assert False in seen


class BadSegment(MemorySegment):
    """A segment whose disk refuses to sync when told to."""

    def sync(self) -> None:
        if BadDisk.broken:
            raise OSError(5, "Input/output error")


class BadDisk(MemoryDisk):
    broken = False

    def create(self, name: str, size: int) -> BadSegment:
        super().create(name, size)
        return BadSegment(name, self.files[name])


def test_a_failed_sync_stops_writes_until_reopened() -> None:
    disk, table = BadDisk(), MemoryMap()
    store = on_seams(disk, table)
    store.transact("default", lambda txn: add(txn, "s", 1))
    record = store.last_record
    BadDisk.broken = True
    try:
        with pytest.raises(JournalFailed):
            store.flush()
    finally:
        BadDisk.broken = False
    for call in (
        store.flush,
        lambda: store.wait_durable(record),
        lambda: store.transact("default", lambda txn: add(txn, "s", 2)),
    ):
        with pytest.raises(JournalFailed):
            call()
    assert store.synced_clock("default") == {}
    assert store.synced_record < record
    assert len(rows_of(store)) == 1
    assert store.counters["journal_failed"] >= 3
    store.abandon()
    store = on_seams(disk, table)
    store.transact("default", lambda txn: add(txn, "s", 2))
    assert len(rows_of(store)) == 2


def test_a_crash_between_any_two_steps_of_a_checkpoint_loses_nothing() -> None:
    """The table's commit fails or is done; the journal is there either way."""
    disk, table, rng = MemoryDisk(), MemoryMap(), random.Random(8)
    store = on_seams(disk, table, segment_bytes=SMALL)
    for _ in range(30):
        batch(store, rng)
    before, early = state_of(store), copy_of(disk, table)
    segments = copy_of(disk, table)[0]
    store.checkpoint()
    late = segments, copy_of(disk, table)[1]
    for files, rows in (early, late, (disk, table)):
        found = on_seams(files, rows, segment_bytes=SMALL)
        assert state_of(found) == before
        check_inner(found)


def test_a_checkpoint_that_fails_is_tried_again_and_loses_nothing() -> None:
    class Refusing(MemoryMap):
        refuse = False

        def commit(self, changes) -> None:  # type: ignore[no-untyped-def]
            if self.refuse:
                raise OSError(5, "Input/output error")
            super().commit(changes)

    disk, table, rng = MemoryDisk(), Refusing(), random.Random(4)
    store = on_seams(disk, table, segment_bytes=SMALL)
    for turn in range(6):
        batch(store, rng)
        store.transact("default", lambda txn, turn=turn: add(txn, "turn", turn))
        table.refuse = turn % 3 != 2
        if table.refuse:
            with pytest.raises(CrdtsyncError):
                store.checkpoint()
            check_inner(store)
        else:
            store.checkpoint()
        crashed = copy_of(disk, table)
        assert state_of(on_seams(*crashed, segment_bytes=SMALL)) == state_of(store)
    check_inner(store)
    assert store.counters["table_failed"] == 4
    assert not any(bucket.frozen for bucket in store.numbered.values())
