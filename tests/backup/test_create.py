"""Backups of a node in use: one state, whole, under its name or not at all."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import crdtsync
from crdtsync.backup import read_summary, restore, verify
from crdtsync.backup.writing import Stream
from crdtsync.errors import BackupExpired, Closed, FileThere, Forked, RowDamaged, WaitTimeout
from crdtsync.storage import facts
from crdtsync.storage.bucket import HIDDEN
from crdtsync.storage.cutting import Cut
from tests.backup.helpers import contents, fill, opened


@pytest.mark.parametrize("where", ["disk", "memory"])
def test_what_comes_back_is_what_was_there(tmp_path: Path, where: str) -> None:
    with opened(tmp_path / "a" if where == "disk" else None, name="a") as node:
        fill(node)
        summary = node.backup(tmp_path / "b1")
        expected, digest, clock = contents(node), node.digest(), node.clock()
        assert summary.token == node.token()
    assert (summary.node, summary.buckets, summary.incremental) == ("a", 3, False)
    assert summary.bytes == (tmp_path / "b1").stat().st_size
    assert verify(tmp_path / "b1").ok
    done = restore(tmp_path / "b1", tmp_path / "r", new_cluster=True)
    assert done.node != "a" and done.cluster != summary.cluster and done.rows == summary.rows
    with opened(tmp_path / "r") as node:
        assert (contents(node), node.digest(), node.clock()) == (expected, digest, clock)
        fill(node)  # and it can be written to
        assert node.gcounter("hits").value == 6


def test_a_backup_of_nothing_is_one(tmp_path: Path) -> None:
    with opened(None) as node:
        assert node.backup(tmp_path / "b").rows == 0
    assert verify(tmp_path / "b").ok
    restore(tmp_path / "b", tmp_path / "r", new_cluster=True)
    with opened(tmp_path / "r") as node:
        assert node.buckets() == []


def test_what_was_written_before_the_call_is_in_and_batches_are_whole(tmp_path: Path) -> None:
    stop = threading.Event()
    with opened(tmp_path / "a", checkpoint_interval=0.05) as node:

        def write() -> None:
            while not stop.is_set():
                with node.batch():
                    node.gcounter("left").increment()
                    node.orset("elements").add(node.gcounter("left").value + 1)
                    node.gcounter("right").increment()

        writer = threading.Thread(target=write)
        writer.start()
        try:
            before = []
            for number in range(4):
                before.append(node.gcounter("left").value)
                node.backup(tmp_path / f"b{number}")
        finally:
            stop.set()
            writer.join()
    for number, least in enumerate(before):
        restore(tmp_path / f"b{number}", tmp_path / f"r{number}", new_cluster=True)
        with opened(tmp_path / f"r{number}") as node:
            left, right = node.gcounter("left").value, node.gcounter("right").value
            assert left == right == len(node.orset("elements"))
            assert left >= least


def test_a_stream_is_the_file_and_writers_go_on_while_it_is_read(tmp_path: Path) -> None:
    with opened(tmp_path / "a") as node:
        fill(node, 300)
        digest = node.digest()
        with node.backup_stream() as stream, open(tmp_path / "b", "wb") as file:
            assert isinstance(stream, Stream)
            for piece in stream:
                node.gcounter("meanwhile").increment()
                file.write(piece)
            assert node.gcounter("meanwhile").value > 3
            assert stream.summary is not None and stream.summary.bytes == file.tell()
        assert node.digest() != digest
    assert verify(tmp_path / "b").ok
    restore(tmp_path / "b", tmp_path / "r", new_cluster=True)
    with opened(tmp_path / "r") as node:
        assert node.digest() == digest


def test_nothing_is_overwritten_unless_forced(tmp_path: Path) -> None:
    with opened(None) as node:
        fill(node)
        (tmp_path / "b").write_text("mine")
        (tmp_path / "d").mkdir()
        with pytest.raises(FileThere, match="there already"):
            node.backup(tmp_path / "b")
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(FileThere, match="no file"):
            node.backup(tmp_path / "pipe", force=True)
        assert (tmp_path / "pipe").is_fifo()
        with pytest.raises(FileThere, match="directory"):
            node.backup(tmp_path / "d", force=True)
        assert (tmp_path / "b").read_text() == "mine"
        assert node.status()["counters"]["file_there"] == 3
        node.backup(tmp_path / "b", force=True)
    assert verify(tmp_path / "b").ok


def test_a_backup_does_not_take_the_place_of_the_one_that_it_builds_on(tmp_path: Path) -> None:
    with opened(None) as node:
        fill(node)
        node.backup(tmp_path / "b")
        (tmp_path / "link").symlink_to("b")
        before = (tmp_path / "b").read_bytes()
        for since in (tmp_path / "b", tmp_path / "link"):
            with pytest.raises(FileThere, match="to build on"):
                node.backup(tmp_path / "b", since=since, force=True)
        assert (tmp_path / "b").read_bytes() == before
        assert node.status()["counters"]["file_there"] == 2


def test_a_file_that_comes_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    with opened(None) as node:
        fill(node)
        with pytest.raises(FileThere):
            node.backup(tmp_path / "b", progress=lambda done, total: _touch(tmp_path / "b"))
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    assert (tmp_path / "b").read_text() == "mine"


def _touch(path: Path) -> None:
    path.write_text("mine")


def test_a_backup_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with opened(None) as node:
        fill(node)
        with pytest.raises(KeyboardInterrupt):
            node.backup(tmp_path / "b", progress=interrupt)
        assert list(tmp_path.iterdir()) == []
        assert node._store.cuts[0].closed
        assert node.backup(tmp_path / "b").rows > 0


@pytest.mark.parametrize("place", ["checkpoint", "begin"])
def test_a_node_that_is_closed_while_a_backup_begins_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    node = opened(tmp_path / "a")
    fill(node)
    node.backup(tmp_path / "b1")
    owner = node._store if place == "checkpoint" else Cut
    plain = getattr(owner, place)

    def closing(*this: Any) -> Any:
        monkeypatch.undo()
        done = plain() if place == "checkpoint" else None
        node.close()
        return done if place == "checkpoint" else plain(*this)

    monkeypatch.setattr(owner, place, closing)
    with pytest.raises(Closed):
        node.backup(tmp_path / "b2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b1"]
    opened(tmp_path / "a").close()


def test_a_forked_child_leaves_the_snapshot_to_its_parent(tmp_path: Path) -> None:
    """Without it, checkpoints would use the pages again that the parent still reads."""
    with opened(tmp_path / "a") as node:
        fill(node)
        digest = node.digest()
        with node.backup_stream() as stream:
            pieces = [next(stream), next(stream)]
            read, write = os.pipe()
            child = os.fork()
            if child == 0:
                try:
                    next(stream)
                except Forked:
                    os.write(write, b"Forked")
                stream.close()
                os._exit(0)
            os.close(write)
            os.waitpid(child, 0)
            with os.fdopen(read) as pipe:
                assert pipe.read() == "Forked"
            for turn in range(20):
                node.delete("long")
                node.orset("long").update([f"{turn}" * 300 + str(number) for number in range(50)])
                node._store.checkpoint()
            pieces += stream
    (tmp_path / "b").write_bytes(b"".join(pieces))
    assert verify(tmp_path / "b").ok
    restore(tmp_path / "b", tmp_path / "r", new_cluster=True)
    with opened(tmp_path / "r") as node:
        assert node.digest() == digest


def test_a_backup_that_takes_too_long_lets_go_of_its_snapshot(tmp_path: Path) -> None:
    with opened(tmp_path / "a", backup_time_max=0.001) as node:
        fill(node)
        with node.backup_stream() as stream:
            next(stream)
            time.sleep(0.01)
            node._store.maintain()
            with pytest.raises(BackupExpired):
                list(stream)
        assert node.status()["counters"]["backup_expired"] == 1


def test_a_table_that_has_to_grow_does_not_wait_for_a_backup(tmp_path: Path) -> None:
    with opened(tmp_path / "a", map_bytes=1 << 23) as node:
        fill(node, 300)
        with node.backup_stream() as stream:
            next(stream)
            for number in range(2_000):
                node.lwwregister(f"large {number}").set(f"{number:>3000}")
            node._store.checkpoint()
            with pytest.raises(BackupExpired, match="grow"):
                list(stream)
        node.backup(tmp_path / "b")
        digest = node.digest()
    restore(tmp_path / "b", tmp_path / "r", new_cluster=True)
    with opened(tmp_path / "r") as node:
        assert node.digest() == digest


def test_closing_the_node_ends_a_backup(tmp_path: Path) -> None:
    node = opened(tmp_path / "a")
    fill(node)
    stream = node.backup_stream()
    next(stream)
    node.close()
    with pytest.raises(Closed):
        list(stream)
    with pytest.raises(Closed):
        node.backup(tmp_path / "b")


def test_a_long_transfer_in_slices_is_waited_for(tmp_path: Path) -> None:
    """Between slices rows lie in the table beyond the clock: that is no cut."""
    with opened(None, write_stall_max=0.2) as node:
        fill(node)
        store = node._store
        with store.lock:
            hidden = store.add_bucket(store.new_bucket("default", HIDDEN))
            state = {"t0": [], "resume": b"", "direct": False, "finish": [[], [], 0]}
            store.journal.append(facts.payload(facts.STAGED, hidden.number, state, []))
            hidden.staged, hidden.meta_dirty = state, True
        with pytest.raises(WaitTimeout):
            node.backup(tmp_path / "b")
        store.drop_scan("default")
        node.backup(tmp_path / "b")


def test_a_damaged_row_is_not_left_out(tmp_path: Path) -> None:
    with opened(None) as node:
        fill(node)
        store = node._store
        store.checkpoint()
        bucket = store.bucket("default")
        assert bucket is not None
        database = store.table.database("rows")  # type: ignore[attr-defined]
        key = next(key for key in database if b"price" in key)
        database[key] = database[key][:-1] + bytes((database[key][-1] ^ 1,))
        with pytest.raises(RowDamaged):
            node.backup(tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_a_backup_makes_a_private_store_a_member_of_its_own_cluster(tmp_path: Path) -> None:
    with opened(tmp_path / "a", name="a") as node:
        node.gcounter("hits").increment()
        assert node.status()["cluster"] is None
        summary = node.backup(tmp_path / "b")
        assert node.status()["cluster"] == f"{summary.cluster:016x}"
        assert {name: member["state"] for name, member in node.members().items()} == {"a": "member"}
        assert 0 not in node.clock()
        node.gcounter("hits").increment()
        again = node.backup(tmp_path / "b2")
        assert again.cluster == summary.cluster
    with (
        opened(tmp_path / "a", listen="127.0.0.1:0") as node,
        opened(tmp_path / "c", listen="127.0.0.1:0", join=[node.address]) as other,
    ):
        assert other.gcounter("hits").value == 2  # others may join it as before


def test_a_summary_is_read_from_the_beginning_of_a_file(tmp_path: Path) -> None:
    with opened(None, name="n") as node:
        fill(node)
        written = node.backup(tmp_path / "b")
    read = read_summary(tmp_path / "b")
    assert (read.id, read.token, read.node, read.cluster) == (written.id, written.token, "n", written.cluster)
    assert read.plain()["cluster"] == f"{written.cluster:016x}"
    assert crdtsync.__version__.encode() in (tmp_path / "b").read_bytes() or read.bytes == written.bytes
