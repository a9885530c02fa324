"""Long work lets writers in: it holds the lock for slices that are counted, and readers see one state all the while."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crdtsync.clocks.vector import covers, join
from crdtsync.datatypes.rows import Row
from crdtsync.storage import view
from crdtsync.storage.bucket import is_beyond
from crdtsync.storage.disk import MemoryDisk
from crdtsync.storage.maps import MemoryMap
from crdtsync.storage.store import Store
from crdtsync.storage.table import ROWS, physical
from crdtsync.storage.turns import SORTED_AT_ONCE, in_order
from crdtsync.storage.view import View
from tests.storage.helpers import (
    NO_BOUND,
    PART,
    add,
    bucket_of,
    check_inner,
    element,
    increment,
    live_meaning,
    on_seams,
    open_store,
    publish,
    pull,
    random_op,
    remove,
    rows_of,
)

SLICE = 10
PATIENCE = 30  # s until a writer that does not get the lock counts as shut out


def beside(run: Any) -> None:
    """Do something on another thread, as long as it takes."""
    thread = threading.Thread(target=run)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive(), "a writer waits for the end of the work"


def staged(*mine: int, seam: tuple[MemoryDisk, MemoryMap] | None = None) -> tuple[Store, Store]:
    """A server of 100 elements and a reader with `mine` of its own, and a whole scan staged."""
    server = open_store(seed=1, name="s")
    reader = on_seams(*(seam or (MemoryDisk(), MemoryMap())), seed=2, name="r", slice_rows=SLICE)
    publish(server, reader)
    for start in range(0, 100, 20):
        server.transact("default", lambda txn, start=start: [add(txn, "s", start + n) for n in range(20)])  # type: ignore[misc]
    if mine:
        reader.transact("default", lambda txn: [add(txn, "s", n) for n in mine])
    part, after = server.scan("default", b"", PART)
    reader.stage_scan("default", server.clock("default"), reader.stage("default", part), after)
    return server, reader


def fill_half(store: Store, name: str) -> None:
    """Two hundred events, of which fifty elements are left."""
    store.transact("default", lambda txn: [add(txn, name, n) for n in range(100)])
    store.transact("default", lambda txn: [remove(txn, name, n) for n in range(50)])


def finish(reader: Store, server: Store) -> None:
    reader.finish_scan("default", [], server.clock("default"), server.floor("default"), 0)


@pytest.mark.parametrize("mine", [(), (1, 2, 1000)], ids=["empty", "not empty"])
def test_writers_get_in_between_the_slices_of_a_long_transfer(
    monkeypatch: pytest.MonkeyPatch, mine: tuple[int, ...]
) -> None:
    server, reader = staged(*mine)
    before, expected, seen = reader.clock("default"), set(rows_of(reader)), []

    def write() -> None:
        number = 5 + 20 * len(seen)  # some of the server's elements, and some that nobody else has
        seen.append(set(rows_of(reader)))
        reader.transact("default", lambda txn: [add(txn, "s", number), increment(txn, "c")])
        if len(seen) % 3 == 0:
            reader.transact("default", lambda txn: remove(txn, "s", number))

    monkeypatch.setattr(reader, "let_others_in", lambda: beside(write))
    told: set[bytes] = set()
    reader.on_change.append(lambda bucket, keys, local: told.update(keys))
    finish(reader, server)
    counted = 100 // SLICE  # slices of staged rows
    assert len(seen) >= counted, "the lock is let go of between slices"
    own = {element("s", 5 + 20 * n) for n in range(len(seen))}
    cell = {key for key in rows_of(reader) if key.startswith(b"c\0")}
    if mine:  # at least while what was here before is folded in, readers see nothing of the transfer
        assert all(rows <= expected | own | cell for rows in seen[:counted])
    assert set(rows_of(reader)) == expected | own | cell | set(rows_of(server))
    assert covers(reader.clock("default"), join(before, server.clock("default")))
    assert told >= set(rows_of(server)) - expected, "listeners hear of all that is new"
    assert bucket_of(reader).told is None
    check_inner(reader)
    pull(server, reader)
    assert bucket_of(server).digest() == bucket_of(reader).digest() == live_meaning(server)


def test_parts_of_a_scan_are_staged_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    server, reader = staged()
    turns = []
    monkeypatch.setattr(reader, "let_others_in", lambda: turns.append(reader.staging("default")))
    reader.drop_scan("default")
    part, _ = server.scan("default", b"", PART)
    t0 = server.clock("default")
    reader.stage_scan("default", t0, reader.stage("default", part), b"on")
    assert len(turns) == 100 // SLICE - 1
    # A crash there goes on from before the part: b"" would say that the scan is whole.
    assert all(turn == (t0, b"\0") for turn in turns)
    assert server.scan("default", b"\0", PART)[0] == part
    assert reader.staging("default") == (t0, b"on")


def test_what_listeners_have_heard_lags_behind_while_they_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    server, reader = staged(1000)
    before, lag = reader.clock("default"), []

    def look() -> None:
        if reader.clock("default") != before:
            lag.append(reader.told_clock("default"))

    monkeypatch.setattr(reader, "let_others_in", look)
    reader.on_change.append(lambda bucket, keys, local: None)
    finish(reader, server)
    assert lag and all(clock == before for clock in lag)  # a watcher's token must not cover what it has not heard of
    assert reader.told_clock("default") == reader.clock("default")


@pytest.mark.parametrize("checkpoints", [0, 1, 2])
def test_an_answer_is_of_one_state_while_writers_go_on(monkeypatch: pytest.MonkeyPatch, checkpoints: int) -> None:
    server, reader = open_store(seed=1, slice_rows=SLICE), open_store(seed=2, name="r")
    publish(server, reader)
    for turn in range(3):
        fill_half(server, f"s{turn}")
        if turn < checkpoints:
            server.checkpoint()
    before, meant = server.clock("default"), live_meaning(server)
    read = View.rows_beyond

    def slow(self: View, clock: dict[int, int]) -> Iterator[list[Row]]:
        for rows in read(self, clock):
            beside(lambda: server.transact("default", lambda txn: [remove(txn, "s1", 70), add(txn, "late", 1)]))
            beside(server.checkpoint)
            yield rows

    monkeypatch.setattr(view, "SLICE", 50)
    monkeypatch.setattr(View, "rows_beyond", slow)
    answer = server.answer("default", {}, 500, NO_BOUND)
    assert answer is not None
    assert answer.target == before != server.clock("default")
    assert len(answer.parts) > 3
    parts = [reader.stage("default", part) for part in answer.parts]
    assert all(part.beyond(answer.target) < 0 for part in parts)
    reader.apply("default", parts, answer.target, answer.floor, answer.stamp_floor)
    assert bucket_of(reader).digest() == meant
    check_inner(reader)


def test_an_answer_in_turns_is_of_the_state_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    server = open_store(seed=1, slice_rows=SLICE)
    publish(server, open_store(seed=2, name="r"))
    fill_half(server, "s")
    monkeypatch.setattr(view, "SLICE", 50)
    before, whole = server.clock("default"), server.answer("default", {}, 500, NO_BOUND)
    turns, count = server.answering("default", {}, 500, NO_BOUND), 0
    try:
        while True:
            next(turns)
            count += 1
            server.transact("default", lambda txn, count=count: [remove(txn, "s", count), add(txn, "late", count)])  # type: ignore[misc]
            server.checkpoint()
    except StopIteration as end:
        answer = end.value
    assert count > 3 and answer.target == before != server.clock("default")
    assert whole is not None and answer.parts == whole.parts


def test_an_answer_that_is_not_wanted_any_more_lets_go_of_its_snapshot(tmp_path: Path) -> None:
    server = open_store(tmp_path / "server", slice_rows=1)
    for number in range(20):
        server.transact("default", lambda txn, number=number: add(txn, "set", number))  # type: ignore[misc]
    server.checkpoint()
    server.answer("default", {}, PART, NO_BOUND)  # the store's own snapshot is open from here on
    held = server.table._open_snapshots  # type: ignore[attr-defined]
    turns = server.answering("default", {}, PART, NO_BOUND)
    next(turns)
    assert server.table._open_snapshots == held + 1  # type: ignore[attr-defined]
    turns.close()
    assert server.table._open_snapshots == held  # type: ignore[attr-defined]
    server.close()


@pytest.mark.parametrize("on_disk", [False, True])
def test_what_is_beyond_a_clock_is_found_by_log_and_by_rows(tmp_path: Path, on_disk: bool) -> None:
    server = open_store(tmp_path / "server" if on_disk else None, slice_rows=1)
    publish(server, open_store(seed=2, name="r"))
    rng, clocks = random.Random(5), list[dict[int, int]]()
    for turn in range(4):
        clocks.append(server.clock("default"))
        for _ in range(30):
            item = rng.choice(("x", "x" * 480, "x" * 600)) + str(rng.randrange(9))  # some keys are too long for LMDB
            server.transact("default", lambda txn, item=item: [random_op(rng, txn), add(txn, "set", item)])  # type: ignore[misc]
        if turn < 3:
            server.checkpoint()
    bucket = bucket_of(server)
    for clock in clocks:
        inward = server.actors.inward(clock)
        answer = server.answer("default", clock, PART, NO_BOUND)
        assert answer is not None
        found = [row for part in answer.parts for row in server.stage("default", part).local(server.actors.index)]
        assert found == [row for row in rows_of(server).items() if is_beyond(row[1], inward)] and len(found) > 20
    assert bucket.few_beyond(server.actors.inward(clocks[-1]), 8) is None  # or the view is not what was asked
    server.close()


def damage(store: Store, number: int, key: bytes) -> None:
    """Flip a bit of a row in the table."""
    store.checkpoint()
    rows = store.table.database(ROWS)  # type: ignore[attr-defined]
    at = physical(number, key)
    rows[at] = rows[at][:-1] + bytes((rows[at][-1] ^ 1,))


def test_a_store_opens_with_a_damaged_row_in_a_long_transfer_that_was_interrupted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seam = MemoryDisk(), MemoryMap()
    server, reader = staged(1, 1000, seam=seam)
    before = rows_of(reader)
    hidden = next(bucket for bucket in reader.numbered.values() if bucket.staged is not None)

    def crash() -> None:
        damage(reader, hidden.number, element("s", 99))
        reader.abandon()
        raise KeyboardInterrupt  # the end of the process, in the middle of the slices

    monkeypatch.setattr(reader, "let_others_in", crash)
    with pytest.raises(KeyboardInterrupt):
        finish(reader, server)
    reader = on_seams(*seam, seed=3, name="r", slice_rows=SLICE)
    assert reader.counters["scans_dropped"] == 1 and "has to come again" in caplog.text
    assert reader.staging("default") is None
    assert rows_of(reader) == before, "nothing of it is visible"
    check_inner(reader)
    pull(reader, server)
    assert len(rows_of(reader)) == 101
    check_inner(reader)


def test_a_hidden_bucket_whose_scan_was_never_journaled_is_dropped() -> None:
    seam = MemoryDisk(), MemoryMap()
    reader = on_seams(*seam, seed=2, name="r")
    reader.add_bucket(reader.new_bucket("default", 1))
    reader.abandon()
    reader = on_seams(*seam, seed=3, name="r")
    while reader.checkpoint():
        pass
    assert not reader.numbered


def test_sorting_in_turns_sorts() -> None:
    items = [b"%d" % ((n * 7919) % 50_021) for n in range(5 * SORTED_AT_ONCE)]
    assert in_order(items) == sorted(items)
    assert in_order([(item, None) for item in items]) == [(item, None) for item in sorted(items)]
    assert in_order([]) == []
