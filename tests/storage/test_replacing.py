"""Starting over: the old state can be read until the new one is whole, and a crash leaves one of the two, all of it."""

from __future__ import annotations

from typing import Any

import pytest

from crdtsync.datatypes.rows import Applied
from crdtsync.errors import BadTransfer, DiskFull, RowDamaged
from crdtsync.kernels import row_context
from crdtsync.storage.bucket import DROPPED
from crdtsync.storage.disk import MemoryDisk
from crdtsync.storage.maps import MemoryMap
from crdtsync.storage.rescue import decode_rescue
from crdtsync.storage.store import Store
from crdtsync.storage.table import ROWS, physical
from tests.storage.helpers import (
    NO_BOUND,
    PART,
    add,
    bucket_of,
    check_inner,
    element,
    lacking,
    on_seams,
    open_store,
    publish,
    pull,
    remove,
    rows_of,
)

SLICE = 3


def two(disk: MemoryDisk, table: MemoryMap) -> tuple[Store, Store]:
    """A store that starts over, and the member whose state it takes; each has rows that the other lacks."""
    old, member = on_seams(disk, table, name="old", slice_rows=SLICE), open_store(seed=2, name="member")
    publish(old, member)
    old.transact("default", lambda txn: [add(txn, "s", n) for n in range(10)])
    pull(member, old)
    member.transact("default", lambda txn: [remove(txn, "s", 0), *(add(txn, "theirs", n) for n in range(10))])
    old.transact("default", lambda txn: [add(txn, "unsent", n) for n in range(7)])
    old.checkpoint()
    return old, member


def again(disk: MemoryDisk, table: MemoryMap) -> Store:
    return on_seams(disk, table, seed=9, name="old", slice_rows=SLICE)


def take(old: Store, member: Store, scan_clock: dict[int, int] | None = None) -> Applied:
    """The member's state takes the bucket's place."""
    parts = lacking(member, "default", scan_clock or {}, 200, NO_BOUND)
    staged = [old.stage("default", part) for part in parts]
    return old.replace("default", staged, member.clock("default"), {}, 0, member.clock("default"))


def rescued(disk: MemoryDisk) -> set[bytes]:
    """Names of the elements in the rescue files."""
    found: set[bytes] = set()
    for name in disk.list():
        if name.startswith("rescue-"):
            for part in decode_rescue(disk.read(name)).parts:
                found |= {key for key, _ in open_store().stage("default", part).rows}
    return found


UNSENT = {element("unsent", n) for n in range(7)}


@pytest.mark.parametrize("by_scan", [False, True])
def test_a_bucket_given_up_is_read_until_the_new_one_takes_its_place(
    monkeypatch: pytest.MonkeyPatch, by_scan: bool
) -> None:
    disk, table = MemoryDisk(), MemoryMap()
    old, member = two(disk, table)
    first, before, clock = old.actor(), rows_of(old), old.clock("default")
    seen: list[Any] = []
    monkeypatch.setattr(old, "let_others_in", lambda: seen.append((rows_of(old), old.clock("default"))))
    old.give_up("default")
    assert old.given_up("default") and (rows_of(old), old.clock("default")) == (before, clock)
    scan_clock = None
    if by_scan:
        scan_clock = member.clock("default")
        part, after = member.scan("default", b"", PART)
        old.stage_scan("default", scan_clock, old.stage("default", part), after)
        member.transact("default", lambda txn: add(txn, "late", 1))
    told: set[bytes] = set()
    old.on_change.append(lambda bucket, keys, local: told.update(keys))
    assert take(old, member, scan_clock).rescued == 7
    whole = [state for state in seen if state != (before, clock)]
    assert len(whole) < len(seen), "it was looked at before"
    assert all(state == (rows_of(old), old.clock("default")) for state in whole)
    assert old.clock("default") == member.clock("default") and not old.given_up("default")
    assert bucket_of(old).digest() == bucket_of(member).digest()
    assert rescued(disk) == UNSENT and old.counters["rows_rescued"] == 7
    assert told >= UNSENT | set(rows_of(member)), "listeners hear of what is gone, too"
    old.transact("default", lambda txn: add(txn, "s", 9))
    assert old.actor() not in (0, first)
    check_inner(old)
    while old.checkpoint():
        pass
    old.close()
    old = again(disk, table)
    check_inner(old)
    assert len(rows_of(old)) == len(rows_of(member))
    assert len({key[:4] for key in table.database(ROWS)}) == 1


class Cut(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("by_scan", [False, True])
def test_a_crash_leaves_the_old_state_or_the_new_one_with_its_rescue_file(
    monkeypatch: pytest.MonkeyPatch, by_scan: bool
) -> None:
    states = []
    for steps in range(40):
        disk, table = MemoryDisk(), MemoryMap()
        old, member = two(disk, table)
        before, clock, left = rows_of(old), old.clock("default"), [steps]

        def step(run: Any, left: list[int] = left) -> Any:
            def counted(*args: Any) -> Any:
                if not left[0]:
                    raise Cut
                left[0] -= 1
                return run(*args)

            return counted

        monkeypatch.setattr(old.journal, "append", step(old.journal.append))
        monkeypatch.setattr(disk, "write", step(disk.write))
        scan_clock = member.clock("default") if by_scan else None
        try:
            old.give_up("default")
            if scan_clock:
                part, after = member.scan("default", b"", PART)
                old.stage_scan("default", scan_clock, old.stage("default", part), after)
            take(old, member, scan_clock)
            states.append("all of it")
        except Cut:
            old.abandon()
            monkeypatch.undo()
            old = again(disk, table)
            states.append("new" if rows_of(old) != before else "old")
        if states[-1] == "old":
            assert old.clock("default") == clock
            if not old.given_up("default"):
                old.give_up("default")
            old.drop_scan("default")
            assert take(old, member).rescued == 7
        assert bucket_of(old).digest() == bucket_of(member).digest()
        assert rescued(disk) == UNSENT and len([name for name in disk.list() if name.startswith("rescue")]) == 1
        check_inner(old)
        if states[-1] == "all of it":
            break
    assert states[0] == "old" and "new" in states and states[-1] == "all of it"
    assert states == sorted(states, key=["old", "new", "all of it"].index)


def test_a_damaged_bucket_is_replaced_without_the_rows_set_aside() -> None:
    disk, table = MemoryDisk(), MemoryMap()
    old, member = two(disk, table)
    bucket = bucket_of(old)
    at, rows = physical(bucket.number, element("unsent", 3)), table.database(ROWS)
    rows[at] = rows[at][:-1] + bytes((rows[at][-1] ^ 1,))
    old.renew_reader()
    bucket.cache.clear()
    with pytest.raises(RowDamaged):
        bucket.get(element("unsent", 3))
    old.give_up("default")
    assert take(old, member).rescued == 6
    assert not old.damaged("default")
    assert rescued(disk) == UNSENT - {element("unsent", 3)}
    check_inner(old)


def test_what_is_written_to_a_bucket_given_up_is_rescued(monkeypatch: pytest.MonkeyPatch) -> None:
    disk, table = MemoryDisk(), MemoryMap()
    old, member = two(disk, table)
    old.give_up("default")
    late: list[int] = []

    def write() -> None:
        if not late:
            late.append(1)
            old.transact("default", lambda txn: add(txn, "after", 1))

    monkeypatch.setattr(old, "let_others_in", write)
    assert take(old, member).rescued == 8
    assert rescued(disk) == UNSENT | {element("after", 1)}
    assert old.actor() == 0
    assert bucket_of(old).digest() == bucket_of(member).digest()


def test_a_bad_transfer_leaves_a_bucket_given_up_as_it_was() -> None:
    old, member = two(MemoryDisk(), MemoryMap())
    before = rows_of(old)
    old.give_up("default")
    (part,) = lacking(member, "default", {}, PART, NO_BOUND)
    with pytest.raises(BadTransfer):
        old.replace("default", [old.stage("default", part)], {}, {}, 0, {})
    assert old.given_up("default") and rows_of(old) == before
    assert take(old, member).rescued == 7


def test_a_bucket_given_up_stays_so_over_a_start_and_can_be_replaced_by_nothing() -> None:
    disk, table = MemoryDisk(), MemoryMap()
    old, _ = two(disk, table)
    old.give_up("default")
    old.give_up("default")
    for _ in range(2):
        old.abandon()
        old = again(disk, table)
        assert old.given_up("default") and len(rows_of(old)) == 17
        old.checkpoint()
    assert old.replace("default", [], {}, {}, 0, {}).rescued == 17
    assert old.buckets() == [] and old.is_empty() and len(rescued(disk)) == 17
    while old.checkpoint():
        pass
    assert all(bucket.state != DROPPED for bucket in old.numbered.values())


def test_a_replacement_that_failed_and_took_in_more_is_not_finished_by_what_it_noted_first() -> None:
    """A rescue file that finds no room ends the first attempt; a crash comes while a second scan is staged."""
    disk, table = MemoryDisk(), MemoryMap()
    old, member = two(disk, table)
    old.give_up("default")
    room, disk.capacity = disk.capacity, sum(map(len, disk.files.values())) + 10
    with pytest.raises(DiskFull):
        take(old, member)
    disk.capacity = room
    member.transact("default", lambda txn: [remove(txn, "theirs", n) for n in range(10)])
    part, after = member.scan("default", b"", PART)
    old.stage_scan("default", {}, old.stage("default", part), after or b"\xff")
    old.abandon()
    back = again(disk, table)
    for image in rows_of(back).values():
        assert all(seq <= bucket_of(back).clock.get(actor, 0) for actor, seq in row_context(image))
    check_inner(back)
    take(back, member)
    assert back.clock("default") == member.clock("default")
    check_inner(back)
