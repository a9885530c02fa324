"""Whose directory it is: ours, another's, a newer version's, somebody's at this moment; and what is cut or garbage."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import lmdb
import pytest

from crdtsync.errors import (
    ConfigError,
    CrdtsyncError,
    ForeignDirectory,
    StoreDamaged,
    StoreInUse,
    UnsupportedFormat,
)
from crdtsync.storage import lmdb_map
from crdtsync.storage.directory import Directory
from crdtsync.storage.lmdb_map import LmdbSnapshot
from tests.storage.helpers import add, batch, open_store, rows_of, state_of

HOLD = """
import sys
from pathlib import Path
from tests.storage.helpers import open_store, add
store = open_store(Path(sys.argv[1]))
store.transact("default", lambda txn: add(txn, "s", 1))
print("open", flush=True)
sys.stdin.read()
"""


def test_a_second_open_in_one_process_is_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    (tmp_path / "link").symlink_to(tmp_path / "s")
    for path in (tmp_path / "s", tmp_path / "link"):
        with pytest.raises(StoreInUse, match="this process"):
            open_store(path)
    store.close()
    open_store(tmp_path / "s").close()


def test_a_second_process_is_refused_and_a_killed_one_leaves_its_writes(tmp_path: Path) -> None:
    path = tmp_path / "s"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "open\n"
        with pytest.raises(StoreInUse, match=str(holder.pid)):
            open_store(path)
    finally:
        holder.kill()
        holder.communicate()
    store = open_store(path)
    assert len(rows_of(store)) == 1, "what was written survives kill -9 without a sync"
    store.close()


def test_a_forked_child_is_told(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    store.transact("default", lambda txn: add(txn, "s", 1))
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        told = []
        for call in (lambda: store.transact("default", lambda txn: add(txn, "s", 2)), store.flush, store.checkpoint):
            try:
                call()
                told.append("nothing")
            except CrdtsyncError as error:
                told.append(type(error).__name__)
        store.close()
        os.write(write, " ".join(told).encode())
        os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as pipe:
        assert pipe.read() == "Forked Forked Forked"
    store.transact("default", lambda txn: add(txn, "s", 3))
    assert len(rows_of(store)) == 2
    store.close()


def test_a_foreign_directory_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("chapter one")
    with pytest.raises(ForeignDirectory, match=r"thesis\.txt"):
        open_store(tmp_path)
    assert os.listdir(tmp_path) == ["thesis.txt"]


@pytest.mark.parametrize("where", ["file", "file/below", "dangling"])
def test_a_file_in_the_way_is_a_foreign_directory(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("chapter one")
    (tmp_path / "dangling").symlink_to(tmp_path / "no" / "where")
    with pytest.raises(ForeignDirectory, match="something else"):
        open_store(tmp_path / where)
    assert (tmp_path / "file").read_text() == "chapter one"


@pytest.mark.parametrize("name", ["CRDTSYNC", "lock"])
def test_a_directory_in_a_files_place_is_foreign(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(ForeignDirectory, match="is a directory"):
        open_store(tmp_path)


@pytest.mark.parametrize("path", ["", "a\0b", 5, b"a"])
def test_what_is_no_path_is_refused(path: Any) -> None:
    with pytest.raises(ConfigError, match="path"):
        Directory(path)


def test_a_living_child_does_not_hold_the_directory(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            open_store(tmp_path / "s")
        except StoreInUse as error:
            os.write(write, str(error).encode())
        time.sleep(60)
        os._exit(0)
    try:
        assert f"another process (pid {os.getpid()})" in os.read(read, 1000).decode()
        store.close()
        open_store(tmp_path / "s").close()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(read)
        os.close(write)


def test_a_table_that_may_not_be_written_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_store(tmp_path / "s").close()
    (tmp_path / "s" / "table.mdb").chmod(0o444)
    if os.geteuid() == 0:  # who may write whatever the mode says
        really = os.open

        def refuse(path: object, *rest: Any, **more: Any) -> int:
            if str(path).endswith("table.mdb"):
                raise PermissionError(13, "Permission denied", str(path))
            return really(path, *rest, **more)  # type: ignore[arg-type]

        monkeypatch.setattr("os.open", refuse)
    with pytest.raises(PermissionError, match=r"table\.mdb"):
        open_store(tmp_path / "s")


def test_pages_that_make_no_sense_are_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise lmdb.PageNotFoundError("MDB_PAGE_NOTFOUND")

    class Broken:
        get = cursor = fail

    store = open_store(tmp_path / "s")
    store.close()
    snapshot = LmdbSnapshot(cast("Any", store.table), cast("Any", Broken()), {"rows": 1})
    for read in (lambda: snapshot.get("rows", b"k"), lambda: list(snapshot.range("rows", b""))):
        with pytest.raises(StoreDamaged, match="cannot read"):
            read()
    monkeypatch.setattr(lmdb_map, "existing", fail)
    with pytest.raises(StoreDamaged, match="cannot read"):
        open_store(tmp_path / "s")
    monkeypatch.undo()
    open_store(tmp_path / "s").close()


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    open_store(tmp_path / "s").close()
    marker = tmp_path / "s" / "CRDTSYNC"
    marker.write_text(marker.read_text().replace("format 1.3", "format 2.0"))
    with pytest.raises(UnsupportedFormat, match=r"2\.0"):
        open_store(tmp_path / "s")
    marker.write_text("crdtsync store, format 1.7; see elsewhere\n")
    open_store(tmp_path / "s").close()


def test_a_garbled_marker_is_damage(tmp_path: Path) -> None:
    open_store(tmp_path / "s").close()
    for content in (b"", b"\xff\xfe", b"crdtsync store, format x.y; \n"):
        (tmp_path / "s" / "CRDTSYNC").write_bytes(content)
        with pytest.raises(StoreDamaged) as refused:
            open_store(tmp_path / "s")
        assert "accept_damage" not in str(refused.value)  # it would not help: nobody knows what the rest means


def test_another_name_is_refused_once_published(tmp_path: Path) -> None:
    open_store(tmp_path / "s", name="before").close()
    store = open_store(tmp_path / "s", name="a")
    store.publish(7)
    store.close()
    with pytest.raises(ConfigError, match="'a'"):
        open_store(tmp_path / "s", name="b")
    store = open_store(tmp_path / "s", name="")
    assert store.node == "a"
    store.close()
    nameless = open_store(tmp_path / "t", name="")
    assert nameless.node.startswith("node-")
    nameless.close()


@pytest.mark.parametrize("seed", range(3))
def test_a_truncated_table_is_a_typed_error_and_no_sigbus(seed: int, tmp_path: Path) -> None:
    store, rng = open_store(tmp_path / "s"), random.Random(seed)
    for _ in range(50):
        batch(store, rng, 8)
        if rng.random() < 0.1:
            store.checkpoint()
    expected = state_of(store)
    store.close()
    table = tmp_path / "s" / "table.mdb"
    whole = table.read_bytes()
    for size in sorted({0, 1, 100, 4095, 4096, 8191, 8192, *(rng.randrange(len(whole)) for _ in range(10))}):
        table.write_bytes(whole[:size])
        try:
            store = open_store(tmp_path / "s")
        except StoreDamaged:
            continue
        assert state_of(store) == expected or size == 0
        store.close()
    table.write_bytes(whole)
    store = open_store(tmp_path / "s")
    assert state_of(store) == expected
    store.close()


def test_garbage_for_a_table_is_a_typed_error(tmp_path: Path) -> None:
    open_store(tmp_path / "s").close()
    rng = random.Random(1)
    for content in (b"x", rng.randbytes(100), rng.randbytes(100_000), bytes(8192), b"SQLite format 3\0" * 1000):
        (tmp_path / "s" / "table.mdb").write_bytes(content)
        with pytest.raises(StoreDamaged):
            open_store(tmp_path / "s")
