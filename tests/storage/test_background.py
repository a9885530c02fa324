"""The two threads: everything becomes durable and reaches the table without being asked; failures do not end them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from crdtsync.errors import JournalFailed, TableFailed
from crdtsync.storage import lmdb_map
from crdtsync.storage.background import Background
from tests.storage.helpers import add, bucket_of, check_inner, increment, open_store, rows_of


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def test_writes_become_durable_and_reach_the_table(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s", checkpoint_interval=0.05)
    background = Background(store)
    background.start()
    store.transact("default", lambda txn: add(txn, "s", 1))
    wait_for(lambda: store.synced_clock("default") == {0: 1})
    wait_for(lambda: bucket_of(store).rows == 1)
    background.stop()
    background.stop()
    store.close()


def test_a_pause_of_writing_gives_memory_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmdb_map, "SWOLLEN", 100)
    store = open_store(tmp_path / "s", checkpoint_interval=0.05)
    store.transact("default", lambda txn: [add(txn, "s", number) for number in range(101)])
    rows = rows_of(store)
    store.checkpoint()
    assert store.table.swollen() and rows_of(store) == rows  # which leaves a snapshot open
    background = Background(store)
    background.start()
    wait_for(lambda: not store.table.swollen())
    assert rows_of(store) == rows
    background.stop()
    store.close()


@pytest.mark.parametrize("swollen", [10_000, 0])
def test_many_threads_write_read_and_digest_while_checkpoints_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swollen: int
) -> None:
    monkeypatch.setattr(lmdb_map, "SWOLLEN", swollen)
    store = open_store(tmp_path / "s", checkpoint_interval=0.01, segment_bytes=1 << 18, dirty_bytes_max=1 << 20)
    background, errors = Background(store), []
    background.start()

    def work(number: int) -> None:
        try:
            for turn in range(150):
                store.transact("default", lambda txn, turn=turn: [add(txn, f"s{number}", turn), increment(txn, "c")])
                bucket_of(store).scan(b"s%d\0" % number)
                if turn % 10 == 0:
                    store.digest()
                    store.wait_durable(store.last_record)
                    store.slim()
                    assert store.table.used() > 0
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    background.stop()
    assert not errors
    assert len(rows_of(store)) == 601
    assert store.clock("default") == {0: 1200}
    check_inner(store)
    store.close()


def test_a_failed_checkpoint_is_tried_again(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s", checkpoint_interval=0.01)
    commit, failures = store.table.commit, []

    def refuse(changes: object) -> None:
        failures.append(1)
        store.table.commit = commit  # type: ignore[method-assign]
        raise TableFailed("no")

    store.table.commit = refuse  # type: ignore[method-assign]
    background = Background(store)
    background.start()
    store.transact("default", lambda txn: add(txn, "s", 1))
    wait_for(lambda: bucket_of(store).rows == 1)
    assert failures and store.counters["table_failed"] == 1
    background.stop()
    store.close()


def test_a_backup_ends_in_time_while_checkpoints_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages that it holds may be what they lack."""
    monkeypatch.setattr("crdtsync.storage.background.MAINTAIN", 0.0)
    store = open_store(tmp_path / "s", checkpoint_interval=0.01, backup_time_max=0.1)
    cut, commit = store.cut(), store.table.commit

    def refuse(changes: object) -> None:
        raise TableFailed("no")

    store.table.commit = refuse  # type: ignore[method-assign]
    store.transact("default", lambda txn: add(txn, "s", 1))
    background = Background(store)
    background.start()
    wait_for(lambda: cut.closed)
    assert store.counters["table_failed"] > 0
    background.stop()
    store.table.commit = commit  # type: ignore[method-assign]
    store.close()


def test_an_unexpected_error_is_counted_and_the_thread_lives(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s", checkpoint_interval=0.01)
    checkpoint = store.checkpoint

    def broken() -> bool:
        store.checkpoint = checkpoint  # type: ignore[method-assign]
        raise ZeroDivisionError

    store.checkpoint = broken  # type: ignore[method-assign]
    background = Background(store)
    background.start()
    store.transact("default", lambda txn: add(txn, "s", 1))
    wait_for(lambda: bucket_of(store).rows == 1)
    assert store.counters["background_failed"] == 1
    background.stop()
    store.close()


def test_a_failed_journal_ends_syncing_and_stop_still_works(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s", checkpoint_interval=60)
    background = Background(store)
    background.start()
    with store.lock:
        store.journal.fail(OSError(5, "Input/output error"))
    store.appended.set()
    wait_for(lambda: store.counters["journal_failed"] > 0)
    try:
        store.transact("default", lambda txn: add(txn, "s", 1))
        raise AssertionError("a write was taken")
    except JournalFailed:
        pass
    background.stop()
    store.close()


def test_durability_os_syncs_with_checkpoints_only(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s", durability="os", checkpoint_interval=0.05)
    cuts = []
    store.journal.cut, cut = lambda: cuts.append(1) or cut(), store.journal.cut  # type: ignore[method-assign,func-returns-value]
    background = Background(store)
    background.start()
    store.transact("default", lambda txn: add(txn, "s", 1))
    wait_for(lambda: store.synced_clock("default") == {0: 1})
    background.stop()
    assert not cuts
    store.close()


def test_the_next_segment_is_made_while_writers_go_on(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s", checkpoint_interval=60, segment_bytes=1 << 14)
    background = Background(store)
    background.start()
    for number in range(300):
        store.transact("default", lambda txn, number=number: add(txn, "s", "x" * 300 + str(number)))
    wait_for(lambda: store.synced_record == store.last_record and not store.journal.wants_spare())
    background.stop()
    store.abandon()
    assert (tmp_path / "s" / "journal" / "spare").exists() is False
    store = open_store(tmp_path / "s", segment_bytes=1 << 14)
    assert len(rows_of(store)) == 300
    store.close()


def test_a_spare_that_comes_too_late_is_let_go() -> None:
    store = open_store()
    spare = store.journal.make_spare()
    store.journal.prepare()
    store.journal.adopt(spare)
    assert "spare" not in store.disk.list()
    store.transact("default", lambda txn: add(txn, "s", 1))
    store.close()
    early = open_store()
    early.journal.adopt(early.journal.make_spare())
    assert not early.journal.wants_spare() and "spare" not in early.disk.list()
    early.close()


def test_who_waits_for_a_record_goes_on_when_it_is_durable_whatever_sync_runs_then(tmp_path: Path) -> None:
    """Under load another sync is always under way: whoever waited for a moment without one would starve."""
    store = open_store(tmp_path)
    store.transact("default", lambda txn: increment(txn, "c"))
    record, waiting = store.last_record, threading.Event()
    wait = store.changed.wait

    def noted(timeout: float | None = None) -> bool:
        waiting.set()
        return wait(timeout)

    store.changed.wait = noted  # type: ignore[method-assign]
    with store.lock:
        store._syncing = True  # a sync that goes on for as long as we like
    waiter = threading.Thread(target=store.wait_durable, args=(record,))
    waiter.start()
    assert waiting.wait(20)
    with store.lock:
        store.journal.settle(store.journal.cut())
        store.changed.notify_all()
    waiter.join(20)
    assert not waiter.is_alive()
    with store.lock:
        store._syncing = False
        store.changed.notify_all()
    store.close()
