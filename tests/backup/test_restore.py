"""Restoring into a directory: whole or not at all, over nothing that is there, and never as its source."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from crdtsync.backup import restore
from crdtsync.backup.chain import Chain
from crdtsync.backup.reading import Backup
from crdtsync.errors import BackupDamaged, FileThere, ForeignDirectory, InvalidKey, JoinError, StoreInUse
from crdtsync.storage.check import check
from tests.backup.helpers import contents, fill, opened


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    with opened(tmp_path / "source", name="source") as node:
        fill(node)
        node.backup(tmp_path / "b")
    return tmp_path / "b"


def test_the_restored_store_is_sound(backup: Path, tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    restore(backup, tmp_path / "r", new_cluster=True)
    report = check(tmp_path / "r")
    assert report.ok, report.lines()
    assert sorted(entry.name for entry in (tmp_path / "r").iterdir() if entry.name != "table.mdb-lock") == [
        "CRDTSYNC", "journal", "lock", "table.mdb", "table.state",
    ]  # fmt: skip


def test_what_is_there_stays(backup: Path, tmp_path: Path) -> None:
    target = tmp_path / "r"
    target.mkdir()
    (target / "notes").write_text("mine")
    with pytest.raises(FileThere, match="'notes'"):
        restore(backup, target)
    with pytest.raises(ForeignDirectory):
        restore(backup, target, force=True)
    assert (target / "notes").read_text() == "mine" and len(list(target.iterdir())) == 1
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ForeignDirectory):
        restore(backup, tmp_path / "file", force=True)
    with pytest.raises(InvalidKey):
        restore(backup, tmp_path / "new", name="a\0b")
    assert not (tmp_path / "new").exists()


def test_a_store_that_has_lost_its_marker_is_not_taken_for_leftovers(backup: Path, tmp_path: Path) -> None:
    (tmp_path / "source" / "CRDTSYNC").unlink()
    before = {path: path.read_bytes() for path in (tmp_path / "source").rglob("*") if path.is_file()}
    for force, error in ((False, FileThere), (True, ForeignDirectory)):
        with pytest.raises(error):
            restore(backup, tmp_path / "source", force=force)
    assert {path: path.read_bytes() for path in before if path.name != "lock"} == {
        path: data for path, data in before.items() if path.name != "lock"  # it holds the pid of who had it last
    }


def test_a_store_is_replaced_only_by_force_and_never_in_use(backup: Path, tmp_path: Path) -> None:
    with opened(tmp_path / "r") as node:
        node.gset("mine").add(1)
        for force in (False, True):
            with pytest.raises(StoreInUse):
                restore(backup, tmp_path / "r", force=force)
    with pytest.raises(FileThere):
        restore(backup, tmp_path / "r", new_cluster=True)
    with opened(tmp_path / "r") as node:
        assert 1 in node.gset("mine")
    restore(backup, tmp_path / "r", new_cluster=True, force=True)
    with opened(tmp_path / "r") as node, opened(tmp_path / "source") as source:
        assert contents(node) == contents(source)


def test_an_interrupted_restore_leaves_no_store_and_can_be_done_again(backup: Path, tmp_path: Path) -> None:
    def interrupt(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    target = tmp_path / "r"
    with pytest.raises(KeyboardInterrupt):
        restore(backup, target, progress=interrupt)
    assert list(target.iterdir()) == []
    # Killed while it was built, and while it was put in place.
    restore(backup, tmp_path / "other", new_cluster=True)
    shutil.copytree(tmp_path / "other", target / ".restoring")
    with pytest.raises(ForeignDirectory):
        opened(target)
    (target / "table.mdb").write_bytes((tmp_path / "other" / "table.mdb").read_bytes())
    with pytest.raises(ForeignDirectory):
        opened(target)
    restore(backup, target, new_cluster=True)
    with opened(target) as node, opened(tmp_path / "source") as source:
        assert node.digest() == source.digest()


def test_two_copies_alive_use_no_dot_twice(backup: Path, tmp_path: Path) -> None:
    restore(backup, tmp_path / "r", new_cluster=True)
    with opened(tmp_path / "source") as source, opened(tmp_path / "r") as copy:
        before = source.clock()
        source.gcounter("hits").increment()
        copy.gcounter("hits").increment()
        assert copy.name != source.name and copy.status()["cluster"] != source.status()["cluster"]
        ours, theirs = set(source.clock()) - set(before), set(copy.clock()) - set(before)
        assert len(ours) == len(theirs) == 1 and not ours & theirs
        assert {a: s for a, s in source.clock().items() if a in before} == before


def test_a_restored_node_is_not_a_member_until_it_is_let_in(backup: Path, tmp_path: Path) -> None:
    restore(backup, tmp_path / "r", name="again")
    with pytest.raises(JoinError):
        opened(tmp_path / "r", join_timeout=0.2)
    with opened(tmp_path / "r", new_cluster=True) as node:  # or found a new cluster
        assert node.name == "again" and node.gcounter("hits").value == 3
        cluster = node.status()["cluster"]
    with opened(tmp_path / "r", new_cluster=True) as node:  # which is founded once
        assert node.status()["cluster"] == cluster


def test_a_cluster_is_founded_again_from_a_backup(backup: Path, tmp_path: Path) -> None:
    restore(backup, tmp_path / "r", new_cluster=True)
    with (
        opened(tmp_path / "r", listen="127.0.0.1:0") as first,
        opened(tmp_path / "empty", listen="127.0.0.1:0", join=[first.address]) as second,
    ):
        assert second.digest() == first.digest()
        with pytest.raises(JoinError):  # the source belongs to the old cluster
            opened(tmp_path / "x", listen="127.0.0.1:0", join=["127.0.0.1:1"], join_timeout=0.1)
        with opened(tmp_path / "source", listen="127.0.0.1:0", join=[first.address]) as source:
            source.gcounter("hits").increment()
            assert first.gcounter("hits").value == 3
            assert source.name not in first.members()


def test_a_long_chain_does_not_keep_its_files_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files: list[Path] = []
    with opened(tmp_path / "a") as node:
        for number in range(8):
            node.gset("s").add(number)
            files.append(tmp_path / f"b{number}")
            node.backup(files[-1], since=files[-2] if number else None)
    most, parts = 0, Backup.parts

    def counted(backup: Backup) -> Any:
        nonlocal most
        for part in parts(backup):
            shown = [os.path.realpath(fd) for fd in Path("/proc/self/fd").iterdir()]
            most = max(most, sum(path.startswith(f"{tmp_path}/b") for path in shown))
            yield part

    monkeypatch.setattr(Backup, "parts", counted)
    restore(files[::-1], tmp_path / "r", new_cluster=True)
    assert most == 1
    with opened(tmp_path / "r") as node:
        assert node.gset("s").value == set(range(8))


def test_a_file_that_is_exchanged_after_the_first_look_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "a") as node:
        node.gset("s").add(1)
        node.backup(tmp_path / "b")
        node.backup(tmp_path / "other")
    chain = Chain([tmp_path / "b"])
    os.replace(tmp_path / "other", tmp_path / "b")
    with pytest.raises(BackupDamaged, match="record"), chain.last as backup:
        list(backup.parts())
