"""Rescue files and counters: a file counts once at its node, however often it is replayed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import crdtsync
from crdtsync.errors import MembershipMisuse
from tests.integration.waiting import until

SECONDS = 60.0


def opened(path: Path, *join: str, **settings: Any) -> crdtsync.Node:
    return crdtsync.open(path, listen="127.0.0.1:0", join=list(join), collect_interval=0.05, **settings)


def agree(*nodes: crdtsync.Node) -> None:
    until(lambda: all(n.clock() == nodes[0].clock() and n.digest() == nodes[0].digest() for n in nodes), SECONDS)


def with_rescue(tmp_path: Path, a: crdtsync.Node) -> Path:
    """The directory of b, which was evicted with 30 counted alone, and has started over."""
    with opened(tmp_path / "b", a.address, name="b") as b:
        b.pncounter("c").increment(7)
        agree(a, b)
    with crdtsync.open(tmp_path / "b") as b:  # nobody hears it
        b.pncounter("c").increment(30)
    a.evict("b", force=True)
    with opened(tmp_path / "b", a.address) as b:
        until(lambda: b.status()["state"] == "member" and bool(b.rescue.show()), SECONDS)
        agree(a, b)
        assert a.pncounter("c").value == 7
    return tmp_path / "b"


def test_a_replay_counts_once_and_a_second_one_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "a", name="a") as a:
        place = with_rescue(tmp_path, a)
        with opened(place, a.address) as b:
            (name,) = b.rescue.names()
            assert b.rescue.replay(name) == {"applied": 1, "skipped": 0}
            with pytest.raises(MembershipMisuse):
                b.rescue.replay(name)
            agree(a, b)
            assert a.pncounter("c").value == 37


def test_a_file_that_is_still_there_after_a_replay_counts_once(tmp_path: Path) -> None:
    """A crash between the last write of a replay and the removal of its file; the file, put back from a copy."""
    with opened(tmp_path / "a", name="a") as a:
        place = with_rescue(tmp_path, a)
        with opened(place, a.address) as b:
            (name,) = b.rescue.names()
            (file,) = place.rglob(name)
            kept = file.read_bytes()
            b.rescue.replay(name)
            file.write_bytes(kept)
            assert b.rescue.replay(name) == {"applied": 0, "skipped": 1}
            file.write_bytes(kept)
        with opened(place, a.address) as b:
            assert b.rescue.names() == [], "its mark is still there when the store is opened"
            agree(a, b)
            assert a.pncounter("c").value == 37
