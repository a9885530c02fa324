"""Backups written by earlier versions restore to what they held."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crdtsync.backup import read_summary, restore, verify
from tests.backup.golden import GOLDEN, described
from tests.backup.helpers import opened


@pytest.mark.parametrize(("name", "chain"), [("full", ["full"]), ("more", ["full", "more"])])
def test_golden_backups_restore(tmp_path: Path, name: str, chain: list[str]) -> None:
    files = [GOLDEN / f"{file}.backup" for file in chain]
    assert verify(files).ok
    restore(files, tmp_path / "r", new_cluster=True)
    expected = json.loads((GOLDEN / "expected.json").read_text())[name]
    with opened(tmp_path / "r", collect_interval=1e6) as node:
        assert json.loads(json.dumps(described(node))) == expected


def test_golden_backups_are_what_they_say() -> None:
    assert read_summary(GOLDEN / "more.backup").parent == read_summary(GOLDEN / "full.backup").id
    assert verify(GOLDEN / "empty.backup").ok
