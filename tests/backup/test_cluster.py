"""A restored node enters its old cluster again: nothing doubled, nothing back from the dead, nothing lost."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from crdtsync import Node
from crdtsync.backup import restore
from crdtsync.clocks.members import EVICTED, JOINING, MemberRecord
from crdtsync.errors import MembershipMisuse, StartingOver
from tests.backup.helpers import SECONDS, clean, contents, fill, opened
from tests.integration.waiting import until


def listening(path: Path, *join: Node, **settings: object) -> Node:
    return opened(path, listen="127.0.0.1:0", join=[node.address for node in join], **settings)


def agree(*nodes: Node) -> None:
    until(lambda: len({node.digest() for node in nodes}) == 1, SECONDS)
    assert all(contents(node) == contents(nodes[0]) for node in nodes)


def test_it_takes_what_came_since_and_nothing_is_counted_twice(tmp_path: Path) -> None:
    with listening(tmp_path / "a", name="a") as a, listening(tmp_path / "c", a, name="c") as c:
        fill(a)
        agree(a, c)
        a.backup(tmp_path / "b")
        c.gcounter("hits").increment(10)
        done = restore(tmp_path / "b", tmp_path / "r")
        assert done.members == [a.address, c.address]
        with listening(tmp_path / "r", c) as again:
            agree(a, c, again)
            assert again.gcounter("hits").value == 13
            again.gcounter("hits").increment()
            agree(a, c, again)
            assert {name: member["state"] for name, member in a.members().items()} == {
                "a": "member", "c": "member", again.name: "member",
            }  # fmt: skip
            assert again.rescue.names() == []
            again.orset("tags").clear()
            until(lambda: all(clean(node)() for node in (a, c, again)), SECONDS)  # it is counted, and counts
            agree(a, c, again)


def test_below_the_floor_it_starts_over(tmp_path: Path) -> None:
    with listening(tmp_path / "a") as a, listening(tmp_path / "c", a) as c:
        fill(a)
        a.orset("tags").add("to go")
        agree(a, c)
        a.backup(tmp_path / "b")
        c.orset("tags").discard("to go")
        c.delete("long")
        agree(a, c)
        until(lambda: clean(a)() and clean(c)(), SECONDS)
        restore(tmp_path / "b", tmp_path / "r")
        with listening(tmp_path / "r", c) as again:
            agree(a, c, again)
            assert again.status()["counters"]["transfers_below_floor"] >= 1
            assert "to go" not in again.orset("tags") and len(again.orset("long")) == 0
            assert a.status()["state"] == c.status()["state"] == "member"
            again.orset("tags").add("new")
            agree(a, c, again)


def test_what_the_cluster_has_lost_comes_back_with_it(tmp_path: Path) -> None:
    with listening(tmp_path / "a", name="a") as a, listening(tmp_path / "c", a) as c:
        fill(a)
        agree(a, c)
    with listening(tmp_path / "a") as a:
        a.gcounter("hits").increment(100)  # nobody else hears of it
        a.orset("tags").discard("tag-5")
        a.backup(tmp_path / "b")
    shutil.rmtree(tmp_path / "a")
    with listening(tmp_path / "c") as c:
        assert c.gcounter("hits").value == 3
        restore(tmp_path / "b", tmp_path / "r", name="a")  # under the name of the node that is gone
        with listening(tmp_path / "r", c) as again:
            agree(c, again)
            assert c.gcounter("hits").value == 103 and "tag-5" not in c.orset("tags")
            assert sorted(c.members()) == ["a", c.name]
            again.delete("tags")
            until(lambda: clean(c)() and clean(again)(), SECONDS)  # the old "a" holds nothing back


def test_what_would_be_lost_by_starting_over_is_in_the_rescue_file(tmp_path: Path) -> None:
    with listening(tmp_path / "a", name="a") as a, listening(tmp_path / "c", a) as c:
        fill(a)
        agree(a, c)
    with listening(tmp_path / "a") as a:
        a.orset("tags").add("only here")
        a.backup(tmp_path / "b")
    with listening(tmp_path / "c") as c:
        c.evict("a", force=True)
        c.orset("tags").discard("tag-7")
        until(clean(c), SECONDS)
        restore(tmp_path / "b", tmp_path / "r")
        with listening(tmp_path / "r", c) as again:
            agree(c, again)
            assert "only here" not in c.orset("tags") and "tag-7" not in again.orset("tags")
            (name,) = again.rescue.names()
            assert again.rescue.replay(name)["applied"] == 1
            agree(c, again)
            assert "only here" in c.orset("tags")


@pytest.mark.parametrize(("state", "error"), [(EVICTED, StartingOver), (JOINING, MembershipMisuse)])
def test_a_node_that_is_getting_in_is_not_backed_up(tmp_path: Path, state: str, error: type[Exception]) -> None:
    with listening(tmp_path / "a") as a, listening(tmp_path / "c", a) as c:
        fill(a)
        agree(a, c)
        mine = c._store.members()[c.name]
        c._store.put_members([MemberRecord(c.name, mine.epoch + 1, state, mine.address, mine.start)])
        with pytest.raises(error):
            c.backup(tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_two_restores_of_one_backup_beside_their_source(tmp_path: Path) -> None:
    """Both enter, while others delete, collect, and merge the same backup: each of them writes under its own dots."""
    two_restores(tmp_path, 0)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 30))
def test_many_pairs_of_restores(tmp_path: Path, seed: int) -> None:
    two_restores(tmp_path, seed)


def two_restores(tmp_path: Path, seed: int) -> None:
    rng, added = random.Random(seed), 0
    with listening(tmp_path / "a", name="a") as a, listening(tmp_path / "c", a, name="c") as c:
        fill(a)
        agree(a, c)
        rng.choice([a, c]).backup(tmp_path / "b")
        dead = {f"tag-{number}" for number in rng.sample(range(2, 30), 5)}
        for tag in dead:
            rng.choice([a, c]).orset("tags").discard(tag)
        if rng.random() < 0.5:
            until(lambda: clean(a)() and clean(c)(), SECONDS)
        for name in ("r1", "r2"):
            restore(tmp_path / "b", tmp_path / name)
        with listening(tmp_path / "r1", a) as one, listening(tmp_path / "r2", c) as two:
            nodes = [a, c, one, two]
            for turn in range(20):
                node = rng.choice(nodes)
                node.gcounter("hits").increment()
                node.orset("tags").add(f"new-{turn}")
                added += 1
                if rng.random() < 0.2:
                    rng.choice(nodes).restore(tmp_path / "b")
            agree(*nodes)
            assert one.gcounter("hits").value == 3 + added
            assert not dead & two.orset("tags").value
            assert {f"new-{turn}" for turn in range(20)} <= one.orset("tags").value
            actors = [node._store.actor() for node in nodes if node._store.actor()]
            assert len(set(actors)) == len(actors)
