"""Old copies of directories, and two copies alive at once: no dot is used twice, nothing returns, nothing is lost."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import crdtsync
from tests.integration.waiting import until

SECONDS = 60.0


def opened(path: Path, *join: str, **settings: Any) -> crdtsync.Node:
    return crdtsync.open(path, listen="127.0.0.1:0", join=list(join), collect_interval=0.05, **settings)


def count(node: crdtsync.Node, key: str, times: int) -> None:
    for _ in range(times):
        node.gcounter(key).increment()


def agree(*nodes: crdtsync.Node) -> None:
    until(lambda: all(n.clock() == nodes[0].clock() and n.digest() == nodes[0].digest() for n in nodes), SECONDS)


def test_an_old_copy_takes_back_what_it_had_said(tmp_path: Path) -> None:
    with opened(tmp_path / "b") as b:
        with opened(tmp_path / "a", b.address) as a:
            count(a, "hits", 100)
            agree(a, b)
        shutil.copytree(tmp_path / "a", tmp_path / "old")
        with opened(tmp_path / "a", b.address) as a:
            count(a, "hits", 100)
            agree(a, b)
        shutil.rmtree(tmp_path / "a")
        shutil.move(tmp_path / "old", tmp_path / "a")
        with opened(tmp_path / "a", b.address) as a:
            count(a, "hits", 50)  # at once, before it has heard what it had written after the copy was made
            agree(a, b)
            assert a.gcounter("hits").value == b.gcounter("hits").value == 250


def test_an_old_copy_without_a_peer_in_reach_at_first(tmp_path: Path) -> None:
    with opened(tmp_path / "b") as b, opened(tmp_path / "a", b.address) as a:
        count(a, "hits", 100)
        agree(a, b)
    shutil.copytree(tmp_path / "a", tmp_path / "old")
    with opened(tmp_path / "b") as b, opened(tmp_path / "a", b.address) as a:
        count(a, "hits", 100)
        agree(a, b)
    with opened(tmp_path / "old") as old:  # nobody else is up
        assert old.gcounter("hits").value == 100
        count(old, "hits", 50)
        with opened(tmp_path / "b", old.address) as b:
            agree(old, b)
            assert old.gcounter("hits").value == b.gcounter("hits").value == 250


def test_what_was_deleted_does_not_come_back_with_an_old_copy(tmp_path: Path) -> None:
    with opened(tmp_path / "b") as b:
        with opened(tmp_path / "a", b.address) as a:
            a.orset("tags").update(range(100))
            a.lwwregister("name").set("old")
            agree(a, b)
        shutil.copytree(tmp_path / "a", tmp_path / "old")
        with opened(tmp_path / "a", b.address) as a:
            a.orset("tags").clear()
            a.lwwregister("name").clear()
            agree(a, b)
            until(lambda: b.status()["storage"]["rows"] == 0 and a.status()["storage"]["rows"] == 0, SECONDS)
        with opened(tmp_path / "old", b.address) as old:
            old.gcounter("hits").increment()  # below the floor, it does not know it yet
            agree(old, b)
            assert b.orset("tags").value == old.orset("tags").value == set()
            assert b.lwwregister("name").value is None
            # What it wrote before it was told is in the cluster, or in the rescue file: never lost in silence.
            rescued = old.rescue.show()
            if b.gcounter("hits").value == 0:
                (file,) = rescued
                until(lambda: old.status()["state"] == "member", SECONDS)  # before, it takes no writes
                assert old.rescue.replay(file["name"])["applied"] == 1
                agree(old, b)
            assert b.gcounter("hits").value == old.gcounter("hits").value == 1


def test_two_live_copies_of_one_directory(tmp_path: Path) -> None:
    """The later start wins; the earlier one is told, and stops gossiping."""
    with opened(tmp_path / "b") as b:
        with opened(tmp_path / "a", b.address) as a:
            count(a, "hits", 10)
            agree(a, b)
        shutil.copytree(tmp_path / "a", tmp_path / "copy")
        with opened(tmp_path / "a", b.address) as first:
            agree(first, b)
            count(first, "hits", 5)
            agree(first, b)
            with opened(tmp_path / "copy", b.address) as second:
                agree(second, b)
                until(lambda: first.status()["state"] == "superseded", SECONDS)
                count(second, "hits", 7)
                count(first, "hits", 1)  # still writable, for itself alone
                agree(second, b)
                assert b.gcounter("hits").value == 22
                assert first.gcounter("hits").value >= 16


def test_two_live_copies_without_a_peer_in_reach_at_first(tmp_path: Path) -> None:
    with opened(tmp_path / "b") as b, opened(tmp_path / "a", b.address) as a:
        count(a, "hits", 10)
        agree(a, b)
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    with opened(tmp_path / "a") as first, opened(tmp_path / "copy") as second:
        count(first, "hits", 3)
        count(second, "hits", 4)  # two actors: what both wrote can live side by side
        with opened(tmp_path / "b", first.address, second.address) as b:
            until(lambda: "superseded" in (first.status()["state"], second.status()["state"]), SECONDS)
            winner = second if first.status()["state"] == "superseded" else first
            agree(winner, b)
            assert b.gcounter("hits").value in (13, 14, 17)
            assert first.gcounter("hits").value >= 13
            assert second.gcounter("hits").value >= 14


def test_copies_of_a_private_directory_are_two_stores(tmp_path: Path) -> None:
    with crdtsync.open(tmp_path / "a", name="a") as a:
        count(a, "hits", 10)
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    with crdtsync.open(tmp_path / "a") as a, crdtsync.open(tmp_path / "copy") as copy:
        count(a, "hits", 1)
        count(copy, "hits", 2)
    with opened(tmp_path / "a") as a, opened(tmp_path / "copy", a.address, name="b") as copy:
        agree(a, copy)
        assert a.gcounter("hits").value == 23
