"""Request ids: a write is made once, and the id lives and dies with its journal record, within its bounds."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import pytest

from crdtsync.errors import BatchMisuse, BatchTooLarge, JournalFailed, Overloaded, StoreDamaged, TableFailed
from crdtsync.sim.disk import Gone, SimDisk
from crdtsync.storage.check import check
from crdtsync.storage.disk import MemoryDisk
from crdtsync.storage.maps import Changes, MemoryMap
from crdtsync.storage.requests import DIGEST_BYTES, OVERHEAD, Answer, Request
from crdtsync.storage.store import Store
from crdtsync.storage.table import REQUESTS, encode_meta
from crdtsync.storage.txn import Txn
from tests.storage.helpers import (
    NOW,
    add,
    config,
    increment,
    on_seams,
    open_store,
    publish,
    pull,
    remove,
    requests_of,
    rows_of,
    set_register,
)

Ops = Callable[[Txn], object]


def ask(store: Store, id: str, ops: Ops | None = None, bucket: str = "default", digest: bytes = b"same ops") -> Answer:
    return store.transact_once(bucket, Request(id, digest), ops or (lambda txn: increment(txn, "c")))


def count(store: Store, bucket: str = "default") -> int:
    """Sum of the increments that the store holds."""
    return sum(store.clock(bucket).values())


def at(now: list[int], disk: MemoryDisk, table: MemoryMap, **settings: Any) -> Store:
    """A store whose clock stands at now[0]."""
    return Store.open(
        None, config(**settings), disk=disk, maps=lambda: table, random=random.Random(1), now_ms=lambda: now[0]
    )


def test_an_id_that_is_known_writes_nothing_and_gives_the_first_answer() -> None:
    store = open_store()
    publish(store)
    first = ask(store, "a")
    assert (first.repeated, first.seq, store.actors.ids[first.actor]) == (False, 1, store.actor())
    store.transact("default", lambda txn: increment(txn, "c"))
    records = store.last_record
    assert ask(store, "a") == first._replace(repeated=True)
    assert ask(store, "a", lambda txn: 1 / 0) == first._replace(repeated=True), "the operations are not even run"
    assert (store.last_record, count(store), store.counters["requests_repeated"]) == (records, 2, 2)
    assert not ask(store, "b").repeated and not ask(store, "a", bucket="other").repeated
    assert store.stats()["requests"] == 3
    assert store.stats()["request_bytes"] == 3 * (OVERHEAD + 36 + 2) + 2 * len("default") + len("other")


def test_other_operations_under_a_known_id_are_refused() -> None:
    store = open_store()
    first = ask(store, "a")
    with pytest.raises(BatchMisuse, match="'a' of bucket 'default'"):
        ask(store, "a", digest=b"another!")
    assert (count(store), store.counters["batch_misuse"]) == (1, 1)
    assert ask(store, "a") == first._replace(repeated=True)


def test_a_write_that_changes_nothing_is_remembered_and_makes_no_bucket() -> None:
    disk, table = MemoryDisk(), MemoryMap()
    store = on_seams(disk, table)
    assert ask(store, "a", lambda txn: remove(txn, "s", 1)) == Answer(0, 0)
    assert store.buckets() == []
    store.transact("default", lambda txn: add(txn, "s", 1))
    for _ in range(2):
        assert ask(store, "a", lambda txn: remove(txn, "s", 1)) == Answer(0, 0, repeated=True)
        store.abandon()
        store = on_seams(disk, table)
        assert store.checkpoint() in (True, False) and len(rows_of(store)) == 1


def test_a_write_that_is_refused_leaves_no_id() -> None:
    store = open_store()
    with pytest.raises(KeyError):
        ask(store, "a", lambda txn: [increment(txn, "c"), {}["absent"]])
    with pytest.raises(BatchTooLarge):
        ask(store, "a", lambda txn: [set_register(txn, f"r{n}", "x" * 1_000_000) for n in range(5)])
    store.journal.failed = "the test says so"
    for _ in range(2):
        with pytest.raises(JournalFailed):
            ask(store, "a", lambda txn: None)
        with pytest.raises(JournalFailed):
            ask(store, "a")
    store.journal.failed = ""
    assert requests_of(store) == {} and count(store) == 0
    assert not ask(store, "a").repeated


def test_ids_survive_kill_checkpoint_and_reopening(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    answers = {}
    for turn in range(12):
        answers[f"r{turn}"] = ask(store, f"r{turn}", None if turn % 3 else lambda txn: None)
        if turn in (4, 9):
            store.checkpoint()
        if turn in (2, 6, 10):
            store.abandon()
            store = open_store(tmp_path / "s", seed=turn + 2)
    known = requests_of(store)
    store.close()
    assert check(tmp_path / "s").figures["requests"] == 12
    store = open_store(tmp_path / "s")
    assert requests_of(store) == known and list(known) == [f"default/r{turn}" for turn in range(12)]
    for id, answer in answers.items():
        assert ask(store, id) == answer._replace(repeated=True)
    assert count(store) == 8


def test_the_oldest_ids_go_by_count_also_from_the_table() -> None:
    disk, table = MemoryDisk(), MemoryMap()
    store = on_seams(disk, table, requests_kept=5)
    for turn in range(20):
        ask(store, f"r{turn}")
        if turn % 4 == 0:
            store.checkpoint()
        if turn % 7 == 0:
            store.abandon()
            store = on_seams(disk, table, requests_kept=5)
        assert list(requests_of(store)) == [f"default/r{n}" for n in range(max(0, turn - 4), turn + 1)]
    store.checkpoint()
    assert len(table.database(REQUESTS)) == len(store.requests) == 5
    assert not ask(store, "r14").repeated and ask(store, "r19").repeated
    assert store.requests.bytes == sum(OVERHEAD + 36 + len(key) for key in requests_of(store))
    store.close()
    store = on_seams(disk, table, requests_kept=2)
    assert list(requests_of(store)) == ["default/r19", "default/r14"]
    assert len(table.database(REQUESTS)) == 2


def test_ids_go_by_age() -> None:
    disk, table, now = MemoryDisk(), MemoryMap(), [NOW]
    store = at(now, disk, table, request_age_max=10.0)
    ask(store, "old")
    now[0] += 6_000
    ask(store, "young")
    store.checkpoint()
    now[0] += 4_001
    assert ask(store, "young").repeated
    assert list(requests_of(store)) == ["default/young"]
    assert store.stats()["request_age"] == 4.001
    store.checkpoint()
    assert len(table.database(REQUESTS)) == 1
    store.abandon()
    now[0] += 10_000
    store = at(now, disk, table, request_age_max=10.0)
    assert not ask(store, "young").repeated
    assert not ask(store, "old").repeated
    now[0] += 20_000
    store.maintain()
    assert len(store.requests) == 0 and store.is_dirty() and store.stats()["request_age"] is None
    store.checkpoint()
    assert len(table.database(REQUESTS)) == 0 and not store.is_dirty()


def test_an_id_that_was_forgotten_and_came_again_is_replayed_under_wider_bounds() -> None:
    disk, table = MemoryDisk(), MemoryMap()
    store = on_seams(disk, table, requests_kept=2)
    for id in ("a", "b", "c", "a", "d", "b"):
        assert not ask(store, id).repeated
    store.abandon()
    store = on_seams(disk, table, requests_kept=100)
    assert list(requests_of(store)) == ["default/c", "default/a", "default/d", "default/b"]
    assert requests_of(store)["default/a"].seq == 4 and store.requests.bytes == 4 * (OVERHEAD + 36 + 9)
    store.checkpoint()
    store.abandon()
    assert list(requests_of(on_seams(disk, table))) == ["default/c", "default/a", "default/d", "default/b"]


class Refusing(MemoryMap):
    """A table that fails, before or after it has been written."""

    refuse: str = ""
    passes = 0  # commits that go well before

    def commit(self, changes: Changes) -> None:
        refuse, self.passes = "" if self.passes else self.refuse, max(self.passes - 1, 0)
        if refuse != "before":
            super().commit(changes)
        if refuse:
            raise OSError(5, "Input/output error")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_checkpoint_that_fails_keeps_ids_right(when: str) -> None:
    """Its second try is of the cut of the first, and a crash may come after either."""
    disk, table = MemoryDisk(), Refusing()
    store = on_seams(disk, table, requests_kept=4)
    for turn in range(30):
        ask(store, f"r{turn}")
        table.refuse = when if turn % 3 else ""
        if turn % 2 == 0:
            try:
                store.checkpoint()
            except Exception:
                assert table.refuse
        table.refuse = ""
        if turn % 5 == 4:
            known, dirty = requests_of(store), store.dirty
            assert dirty >= 0
            store.abandon()
            store = on_seams(disk, table, requests_kept=4)
            assert requests_of(store) == known
            assert count(store) == turn + 1
    store.checkpoint()
    assert len(table.database(REQUESTS)) == 4
    assert store.dirty == 0


@pytest.mark.parametrize("seed", range(8))
def test_no_id_reaches_the_table_ahead_of_its_write(seed: int) -> None:
    """The second try of a checkpoint is of an earlier cut; then the power takes what the journal had not synced."""
    disk, table = SimDisk(random.Random(seed)), Refusing()
    store = on_seams(disk, table)
    ask(store, "a")
    table.refuse = "before"
    with pytest.raises(TableFailed):
        store.checkpoint()
    ask(store, "b")
    table.refuse, table.passes = "before", 1
    with pytest.raises(TableFailed):
        store.checkpoint()
    disk.crash()
    table.refuse = ""
    store = on_seams(disk, table, seed=2)
    assert count(store) == len(requests_of(store))
    assert ask(store, "a").repeated
    ask(store, "b")
    assert count(store) == 2


def test_what_waits_for_a_checkpoint_is_counted() -> None:
    store = open_store(dirty_bytes_max=4_000, write_stall_max=0.01)
    asked = 0
    with pytest.raises(Overloaded):
        while asked < 1_000:
            ask(store, f"r{asked}", lambda txn: None)
            asked += 1
    assert 10 < asked < 20
    assert ask(store, "r3").repeated, "a repeat needs no room"
    store.checkpoint()
    assert store.dirty == 0
    assert not ask(store, "one more").repeated


def test_a_bucket_that_starts_over_keeps_its_ids() -> None:
    disk, table = MemoryDisk(), MemoryMap()
    store, other = on_seams(disk, table), open_store(seed=2, name="n2")
    publish(store, other)
    first = ask(store, "a")
    store.give_up("default")
    store.replace("default", [], {}, {}, 0, {})
    assert ask(store, "a") == first._replace(repeated=True)
    other.transact("default", lambda txn: increment(txn, "c"))
    pull(store, other)
    for _ in range(2):
        assert ask(store, "a") == first._replace(repeated=True)
        assert count(store) == 1
        store.checkpoint()
        store.abandon()
        store = on_seams(disk, table)


def test_of_many_threads_one_writes() -> None:
    store, ready, answers = open_store(), threading.Barrier(8), []

    def work() -> None:
        ready.wait(10)
        answers.extend(ask(store, f"r{turn}") for turn in range(50))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(answers), sum(not answer.repeated for answer in answers), count(store)) == (400, 50, 50)
    assert store.counters["requests_repeated"] == 350


@pytest.mark.parametrize("power", [False, True])
def test_a_process_that_ends_at_any_step_of_the_disk_keeps_both_or_neither(power: bool) -> None:
    """Whatever the step, write and id are found together afterwards, and the retry makes the write exactly once."""
    ended = 0
    for steps in range(1, 120):
        disk = SimDisk(random.Random(steps))
        store = on_seams(disk, disk.map, segment_bytes=1 << 11)
        asked = answered = 0
        disk.end_after(steps, power)
        try:
            while asked < 30:
                asked += 1
                ask(store, f"r{asked}", lambda txn, n=asked: increment(txn, "c") if n % 3 else None)  # type: ignore[misc]
                answered = asked
                if asked % 5 == 0:
                    store.flush()
                if asked % 11 == 0:
                    store.checkpoint()
        except Gone as gone:
            ended += 1
            disk.crash() if gone.power else disk.next_life()
        else:
            disk.next_life()
        store = on_seams(disk, disk.map, segment_bytes=1 << 11, seed=2)
        known = requests_of(store)
        assert count(store) == sum(entry.seq > 0 for entry in known.values())
        if not power:
            assert answered <= len(known) <= asked
        for turn in range(1, asked + 1):
            answer = ask(store, f"r{turn}", lambda txn, n=turn: increment(txn, "c") if n % 3 else None)  # type: ignore[misc]
            assert answer.repeated == (f"default/r{turn}" in known)
        assert count(store) == asked - asked // 3
    assert ended > 20


def planted(path: Path, change: Callable[[dict[bytes, bytes]], None]) -> None:
    """A store with three ids in its table, changed behind its back."""
    store = open_store(path)
    for id in "abc":
        ask(store, id)
    store.close()
    with lmdb.open(str(path / "table.mdb"), subdir=False, max_dbs=16, map_size=1 << 26) as env:
        handle = env.open_db(REQUESTS.encode())
        with env.begin(write=True) as txn:
            held = {bytes(key): bytes(value) for key, value in txn.cursor(handle)}
            change(held)
            txn.drop(handle, delete=False)
            for key, value in held.items():
                txn.put(key, value, db=handle)


def flip(held: dict[bytes, bytes]) -> None:
    key = min(held)
    held[key] = held[key][:-1] + bytes((held[key][-1] ^ 1,))


def test_a_damaged_entry_is_told_and_not_lost_in_silence(tmp_path: Path) -> None:
    planted(tmp_path, flip)
    assert [p for p in check(tmp_path).problems if "entry of request 0 fails its checksum" in p]
    with pytest.raises(StoreDamaged, match="entry of request 0"):
        open_store(tmp_path)
    store = open_store(tmp_path, accept_damage=True)
    assert store.counters["damage_accepted"] == 1
    assert list(requests_of(store)) == ["default/b", "default/c"]
    assert not ask(store, "a").repeated and ask(store, "c").repeated
    store.close()
    assert check(tmp_path).ok


def test_check_finds_entries_that_contradict_each_other(tmp_path: Path) -> None:
    def twice(held: dict[bytes, bytes]) -> None:
        _, second, third = sorted(held)
        held[second] = encode_meta(second, [1, "default", "a", bytes(DIGEST_BYTES), NOW, 0, 1])
        held[third] = encode_meta(third, [2, "default", "c", bytes(DIGEST_BYTES), NOW, 9, 1])

    planted(tmp_path, twice)
    problems = check(tmp_path).problems
    assert len(problems) == 2 and "request 1, 'a'" in problems[0] and "request 2, 'c'" in problems[1]
