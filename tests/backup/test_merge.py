"""Merging a backup into nodes in use: what is lost comes back, what was deleted does not, and twice is once."""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crdtsync import Node
from crdtsync.backup import restore
from crdtsync.errors import BackupDamaged, BackupMismatch, Closed
from crdtsync.storage.check import check
from tests.backup.helpers import SECONDS, clean, contents, fill, opened
from tests.backup.test_cluster import agree, listening
from tests.backup.test_incremental import act
from tests.integration.waiting import until


@contextmanager
def lost_write(tmp_path: Path, **settings: object) -> Iterator[Node]:
    """A node that has lost what its backup `b` holds: it was restored from `before`."""
    # A backup that knows of collected deletions is of another branch: nothing is collected before it is made.
    with opened(tmp_path / "a", name="a", collect_interval=3600) as node:
        node.backup(tmp_path / "first")  # from here on it writes under one actor
        fill(node)
        node.pncounter("cell").increment(7)
        node.lwwregister("old").set("old")
        node.orset("tags").add("to go")
        node.backup(tmp_path / "before")
        restore(tmp_path / "before", tmp_path / "copy", name="a", new_cluster=True)
        node.pncounter("lost").increment(5)
        node.pncounter("cell").increment(3)
        node.orset("tags").add("lost")
        node.orset("tags").discard("tag-9")
        node.lwwregister("price").set("lost")
        node.mvregister("draft").set("lost")
        node.map("product").orset("sizes").add("lost")
        node.backup(tmp_path / "b")
    with opened(tmp_path / "copy", **settings) as node:
        yield node


def test_what_is_here_already_changes_nothing(tmp_path: Path) -> None:
    with opened(tmp_path / "a") as node:
        fill(node)
        node.backup(tmp_path / "b")
        node.orset("tags").clear()
        node.gcounter("hits").increment()
        node.lwwregister("price").clear()
        node.delete("stock")
        until(clean(node), SECONDS)
        before, clock = contents(node), node.clock()
        done = node.restore(tmp_path / "b")
        assert (done.rows, done.conflicts, done.rewritten, done.deleted) == (0, 0, 0, 0)
        assert (contents(node), node.clock()) == (before, clock)
        assert node.status()["counters"]["backups_merged"] == 1
    assert not (tmp_path / "a" / ".merging").exists()


@pytest.mark.parametrize("number", [1, 2])
def test_what_was_lost_comes_back_once(tmp_path: Path, number: int) -> None:
    with lost_write(tmp_path) as node:
        for _ in range(number):
            done = node.restore(tmp_path / "b")
        assert (done.rows > 0) == (number == 1)
        assert node.pncounter("lost").value == 5 and node.pncounter("cell").value == 10
        assert "lost" in node.orset("tags") and "tag-9" not in node.orset("tags")
        assert node.lwwregister("price").value == "lost" and node.mvregister("draft").values == ["lost"]
        with opened(tmp_path / "a") as source:
            assert node.digest() == source.digest()
        node.pncounter("lost").increment()
        assert node.pncounter("lost").value == 6
    assert check(tmp_path / "copy").ok
    with opened(tmp_path / "copy") as node:
        assert node.pncounter("lost").value == 6


def test_what_was_deleted_and_forgotten_since_stays_deleted(tmp_path: Path) -> None:
    """The backup has seen none of these deletions, and holds events that were never seen here."""
    with lost_write(tmp_path) as node:
        node.orset("tags").discard("to go")
        node.lwwregister("old").clear()
        node.delete("cell")
        node.delete("long")
        node.map("product").clear()
        until(clean(node), SECONDS)
        done = node.restore(tmp_path / "b")
        assert "to go" not in node.orset("tags") and not node.lwwregister("old").exists
        assert len(node.orset("long")) == 0 and node.map("product").fields() == ["sizes"]
        assert node.pncounter("cell").value == 0 and done.deleted == 1  # 7 were deleted; of 10 nobody can tell the rest
        assert node.pncounter("lost").value == 5 and "lost" in node.orset("tags")
        assert node.lwwregister("price").value == "lost"
        digest = node.digest()
        assert node.restore(tmp_path / "b").rows == 0
        assert node.digest() == digest
        assert node.restore(tmp_path / "before").rows == 0


def test_a_register_below_the_stamp_floor_is_written_again(tmp_path: Path) -> None:
    with opened(tmp_path / "a") as node:
        node.gset("s").add(1)
        node.sync()
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    with opened(tmp_path / "copy") as node:
        node.backup(tmp_path / "shared")
    shutil.rmtree(tmp_path / "a")
    shutil.copytree(tmp_path / "copy", tmp_path / "a")
    with opened(tmp_path / "a") as node:
        node.lwwregister("lost").set("value")
        node.backup(tmp_path / "b")
    with listening(tmp_path / "copy") as node, listening(tmp_path / "d", node) as other:
        node.lwwregister("later").set(1)
        node.lwwregister("later").clear()
        until(lambda: clean(node)() and clean(other)() and node._store.stamp_floor("default") > 0, SECONDS)
        done = node.restore(tmp_path / "b")
        assert done.rewritten == 1
        agree(node, other)
        assert other.lwwregister("lost").value == "value"
        assert other.restore(tmp_path / "b").rows == 0


def test_a_cluster_takes_it_whichever_member_merges(tmp_path: Path) -> None:
    with lost_write(tmp_path, listen="127.0.0.1:0") as node, listening(tmp_path / "d", node) as other:
        other.restore([tmp_path / "b"])
        node.restore([tmp_path / "b"])
        agree(node, other)
        assert node.pncounter("cell").value == 10
        assert other.restore(tmp_path / "b").rows == node.restore(tmp_path / "b").rows == 0
        assert node.status()["state"] == other.status()["state"] == "member"


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 160))
def test_members_agree_after_many_lives(tmp_path: Path, seed: int) -> None:
    test_members_agree_whatever_happened_on_either_side(tmp_path, seed)


@pytest.mark.parametrize("seed", range(3))
def test_members_agree_whatever_happened_on_either_side(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    with opened(tmp_path / "a") as node:
        for _ in range(80):
            act(rng, node)
        node.backup(tmp_path / "shared")
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    with opened(tmp_path / "a", collect_interval=1e6) as node:  # what it deletes it does not forget
        for _ in range(60):
            act(rng, node)
        node.backup(tmp_path / "b")
    with listening(tmp_path / "copy") as node, listening(tmp_path / "d", node) as other:
        for _ in range(120):
            act(rng, rng.choice([node, other]))
        if rng.random() < 0.7:
            until(lambda: clean(node)() and clean(other)(), SECONDS)
        for _ in range(20):
            act(rng, rng.choice([node, other]))
        rng.choice([node, other]).restore(tmp_path / "b")
        for _ in range(20):
            act(rng, rng.choice([node, other]))
        agree(node, other)
        until(lambda: clean(node)() and clean(other)(), SECONDS)
        agree(node, other)
        digest = node.digest()
        assert other.restore([tmp_path / "b"]).rows == 0
        agree(node, other)
        assert node.digest() == digest
        with listening(tmp_path / "e", other) as third:
            agree(node, other, third)


def test_a_chain_is_merged_as_what_it_leads_to(tmp_path: Path) -> None:
    with opened(tmp_path / "a") as node:
        fill(node)
        node.backup(tmp_path / "b1")
        node.orset("tags").discard("tag-4")
        node.gcounter("hits").increment(4)
        until(clean(node), SECONDS)
        node.backup(tmp_path / "b2", since=tmp_path / "b1")
        digest = node.digest()
    with opened(None) as fresh:
        fresh.restore([tmp_path / "b2", tmp_path / "b1"])
        assert fresh.digest() == digest and fresh.gcounter("hits").value == 7
        assert fresh.status()["cluster"] is not None
        assert fresh.restore([tmp_path / "b1", tmp_path / "b2"]).rows == 0


def test_backups_of_another_cluster(tmp_path: Path) -> None:
    """Taken where nothing can go wrong; refused, before anything is changed, where others would fall below a floor."""
    with opened(None) as foreign:
        foreign.orset("theirs").update(range(5))
        foreign.backup(tmp_path / "plain")
        foreign.orset("theirs").discard(1)
        until(clean(foreign), SECONDS)
        foreign.backup(tmp_path / "forgetful")
    with opened(tmp_path / "a") as node:
        node.orset("mine").add(1)
        with pytest.raises(BackupMismatch, match="never seen"):
            node.restore(tmp_path / "forgetful")
        assert node.orset("theirs").value == set() and node.status()["counters"]["backup_mismatch"] == 1
        assert node.status()["cluster"] is None, "it can still join a cluster with what it holds"
        node.restore(tmp_path / "plain")
        assert node.orset("theirs").value == set(range(5)) and node.orset("mine").value == {1}
    with listening(tmp_path / "b") as node, listening(tmp_path / "c", node) as other:
        with pytest.raises(BackupMismatch):
            other.restore(tmp_path / "forgetful")
        other.restore(tmp_path / "plain")
        node.orset("mine").add(2)
        agree(node, other)


def test_a_merge_is_bounded(tmp_path: Path) -> None:
    with opened(None) as source:
        fill(source)
        source.backup(tmp_path / "b")
    with opened(None, merge_bytes_max=1_000) as node:
        with pytest.raises(BackupMismatch, match="at once"):
            node.restore(tmp_path / "b")
        assert contents(node) == {}


def test_damage_and_nonsense_change_nothing(tmp_path: Path) -> None:
    with opened(tmp_path / "a") as node:
        fill(node)
        node.backup(tmp_path / "b")
        before = contents(node)
        data = (tmp_path / "b").read_bytes()
        (tmp_path / "b").write_bytes(data[:-1])
        with pytest.raises(BackupDamaged):
            node.restore(tmp_path / "b")
        with pytest.raises(BackupMismatch):
            node.restore([])
        with pytest.raises(FileNotFoundError):
            node.restore(tmp_path / "absent")
        assert contents(node) == before
        assert not (tmp_path / "a" / ".merging").exists()


def test_a_node_that_is_closed_stops_a_merge_and_waits_for_its_end(tmp_path: Path) -> None:
    begun = threading.Event()
    with lost_write(tmp_path) as node:

        def progress(done: int, total: int | None) -> None:
            begun.set()
            until(lambda: node.closed, SECONDS)

        def merge() -> None:
            with pytest.raises(Closed):
                node.restore(tmp_path / "b", progress=progress)

        merging = threading.Thread(target=merge)
        merging.start()
        assert begun.wait(SECONDS)
        node.close()
        assert not (tmp_path / "copy" / ".merging").exists()
        merging.join(SECONDS)
        assert not merging.is_alive()
