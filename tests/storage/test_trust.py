"""A table that was not left in good order is verified before LMDB may touch it; garbage on a page ends no process."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from crdtsync.errors import ConfigError, StoreDamaged
from crdtsync.storage import trust
from crdtsync.storage.check import check
from crdtsync.storage.store import Store
from tests.storage.helpers import add, config, open_store, state_of

PAGE = 4096


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Tables that were verified."""
    seen: list[Path] = []
    problems = trust.problems

    def look(table: Path) -> list[str]:
        seen.append(table)
        return problems(table)

    monkeypatch.setattr(trust, "problems", look)
    return seen


def closed(path: Path, count: int = 300) -> Store:
    store = open_store(path)
    for turn in range(3):
        fill(store, turn, count)
        store.checkpoint()
    store.close()
    return store


def fill(store: Store, turn: int, count: int) -> None:
    store.transact("default", lambda txn: [add(txn, f"s{turn}", n) for n in range(count)])


def opened(path: Path, verified: list[Path], **settings: Any) -> bool:
    """Whether the next open verifies the table; it is closed again."""
    verified.clear()
    open_store(path, **settings).close()
    return bool(verified)


def crash(path: Path) -> None:
    store = open_store(path)
    fill(store, 9, 1)
    store.checkpoint()
    store.abandon()


def test_a_table_that_was_closed_is_not_verified(tmp_path: Path, verified: list[Path]) -> None:
    closed(tmp_path)
    assert not opened(tmp_path, verified)
    assert check(tmp_path).ok  # which verifies, and changes nothing
    assert not opened(tmp_path, verified)
    assert opened(tmp_path, verified, verify_on_open="always")


def test_a_table_that_changed_while_it_was_closed_is_verified(tmp_path: Path, verified: list[Path]) -> None:
    closed(tmp_path)
    table = tmp_path / "table.mdb"
    table.write_bytes(table.read_bytes())  # another time stamp is all that this leaves
    assert opened(tmp_path, verified)
    assert not opened(tmp_path, verified)
    for garbled in (b'{"closed": true, "size": "', b'{"closed": true, "boot": "\xe1"}'):
        (tmp_path / trust.NOTE).write_bytes(garbled)
        assert opened(tmp_path, verified)
    (tmp_path / trust.NOTE).unlink()  # as a store of an earlier version
    assert opened(tmp_path, verified)
    assert not opened(tmp_path, verified, verify_on_open="never")


def test_of_processes_that_end_in_the_middle_every_second_has_the_table_verified(
    tmp_path: Path, verified: list[Path]
) -> None:
    closed(tmp_path)
    crash(tmp_path)
    crash(tmp_path)
    assert not verified, "the machine ran on, so nothing can have happened to the table"
    crash(tmp_path)
    assert len(verified) == 1, "unless the table is what ended them"
    crash(tmp_path)
    assert len(verified) == 1
    crash(tmp_path)
    assert len(verified) == 2


@pytest.mark.parametrize("boot", ["another", None], ids=["another start", "nobody can tell"])
def test_a_machine_that_stopped_has_the_table_verified(
    tmp_path: Path, verified: list[Path], monkeypatch: pytest.MonkeyPatch, boot: str | None
) -> None:
    closed(tmp_path / "s")
    where = tmp_path / "boot_id"
    where.write_text("one\n")
    monkeypatch.setattr(trust, "BOOT", where if boot else tmp_path / "nowhere")
    crash(tmp_path / "s")
    if boot:
        where.write_text(boot)
    assert opened(tmp_path / "s", verified)


def test_a_copy_of_a_table_in_use_is_verified(tmp_path: Path, verified: list[Path]) -> None:
    store = open_store(tmp_path / "s")
    shutil.copytree(tmp_path / "s", tmp_path / "copy")
    store.close()
    assert opened(tmp_path / "copy", verified)


def test_garbage_on_any_page_is_refused_or_harmless(tmp_path: Path) -> None:
    store = closed(tmp_path / "sound", 60)
    store = open_store(tmp_path / "sound")
    expected = state_of(store)
    store.close()
    rng, refused = random.Random(5), 0
    pages = (tmp_path / "sound" / "table.mdb").stat().st_size // PAGE
    for page in range(pages):
        path = tmp_path / f"damaged{page}"
        shutil.copytree(tmp_path / "sound", path)
        with open(path / "table.mdb", "r+b") as file:
            file.seek(page * PAGE)
            file.write(rng.randbytes(PAGE))
        try:
            damaged = open_store(path)
        except StoreDamaged as error:
            refused += 1
            assert "table.mdb" in str(error)
        else:
            assert state_of(damaged) == expected, f"page {page} was not in use"
            damaged.close()
        shutil.rmtree(path)
    assert refused >= pages // 2


def test_a_verifier_that_stumbles_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lmdb import verify

    closed(tmp_path)

    def stumble(*args: Any, **kwargs: Any) -> None:
        raise IndexError("beyond")

    monkeypatch.setattr(verify, "verify", stumble)
    with pytest.raises(StoreDamaged, match="gives up: beyond"):
        open_store(tmp_path, verify_on_open="always")
    open_store(tmp_path).close()


def test_a_note_that_cannot_be_written_costs_a_verification(
    tmp_path: Path, verified: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    closed(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        open_store(tmp_path).close()
    assert "verifies the table" in caplog.text
    assert opened(tmp_path, verified)


def test_the_setting_is_one_of_three() -> None:
    with pytest.raises(ConfigError, match="unclean, always, never"):
        config(verify_on_open="often").validate()
