"""Stores of every format version that was ever released open, and hold what they held."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from crdtsync.storage.check import check
from tests.storage.golden import GOLDEN, SETTINGS, described, make
from tests.storage.helpers import add, check_inner, open_store

STORES = sorted(path for path in GOLDEN.parent.glob("storage-v*") if path.is_dir())


def unpacked(source: Path, target: Path) -> Path:
    with tarfile.open(source / "store.tar.gz") as archive:
        archive.extractall(target, filter="data")
    return target / "store"


def plain(described: dict) -> dict:  # type: ignore[type-arg]
    """As JSON has it; the start differs with every start."""
    return {key: value for key, value in json.loads(json.dumps(described)).items() if key != "start"}


def test_there_is_a_golden_store_of_this_version() -> None:
    assert [path.name for path in STORES] == ["storage-v1", "storage-v1.1", "storage-v1.2", "storage-v1.3"]
    assert STORES[-1] == GOLDEN


@pytest.mark.parametrize("source", STORES, ids=lambda path: path.name)
def test_golden_stores_open(source: Path, tmp_path: Path) -> None:
    path = unpacked(source, tmp_path)
    expected = json.loads((source / "expected.json").read_text())
    report = check(path)
    assert report.ok, report.lines()
    assert report.figures["journal_records"] > 0 and "torn" in " ".join(report.notes)
    store = open_store(path, seed=3, **SETTINGS)
    assert plain(described(store)) == plain(expected)
    assert store.start > expected["start"]
    for name in store.buckets():
        check_inner(store, name)
    store.transact("default", lambda txn: add(txn, "s", "written by a later version"))
    store.close()
    assert check(path).ok


def test_the_golden_store_can_still_be_made(tmp_path: Path) -> None:
    make(tmp_path / "made")
    made = json.loads((tmp_path / "made" / "expected.json").read_text())
    assert plain(made) == plain(json.loads((GOLDEN / "expected.json").read_text()))
