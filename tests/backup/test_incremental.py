"""Backups that build on others: small, and nothing that was deleted comes back with the chain."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from crdtsync import Node
from crdtsync.backup import restore, verify, writing
from crdtsync.errors import BackupDamaged, BackupMismatch, InvalidToken
from tests.backup.helpers import SECONDS, clean, contents, fill, opened
from tests.integration.waiting import until


def restored(tmp_path: Path, name: str, *files: Path) -> Node:
    assert verify(list(files)).ok
    restore(list(files), tmp_path / name, new_cluster=True)
    return opened(tmp_path / name)


def test_only_what_is_new_is_written(tmp_path: Path) -> None:
    with opened(tmp_path / "a") as node:
        node.gset("s").update(range(2_000))
        full = node.backup(tmp_path / "b1")
        node.gset("s").add("one more")
        node.bucket("later").gset("s").add(1)
        by_token = node.backup(tmp_path / "b2", since=full.token)
        by_file = node.backup(tmp_path / "b3", since=tmp_path / "b1")
        nothing = node.backup(tmp_path / "b4", since=by_file.token)
        digest = node.digest()
    assert [(s.rows, s.kept, s.incremental) for s in (full, by_token, by_file, nothing)] == [
        (2_000, 0, False), (2, 0, True), (2, 0, True), (0, 0, True),
    ]  # fmt: skip
    assert (by_token.parent, by_file.parent) == ("", full.id)
    for number, files in enumerate((["b1", "b2"], ["b3", "b1"], ["b4", "b2", "b1"])):
        with restored(tmp_path, f"r{number}", *(tmp_path / name for name in files)) as node:
            assert node.digest() == digest


def test_a_row_that_several_have_touched_is_written_once(tmp_path: Path) -> None:
    since = None
    for number in range(3):  # each start has an actor of its own, and the log lists the row under each
        with opened(tmp_path / "a") as node:
            if number == 0:
                since = node.backup(tmp_path / "b1").token
            node.flag("on").enable()
            node.pncounter("c").increment()
            node.lwwregister("r").set(number)
    with opened(tmp_path / "a") as node:
        summary = node.backup(tmp_path / "b2", since=since)
        assert summary.rows == 5  # the flag, the register, and a cell for each start
        digest = node.digest()
    with restored(tmp_path, "r", tmp_path / "b1", tmp_path / "b2") as node:
        assert node.digest() == digest


def test_what_was_collected_since_does_not_come_back(tmp_path: Path) -> None:
    with opened(tmp_path / "a") as node:
        fill(node)
        node.pncounter("gone").increment(5)
        node.lwwregister("gone").set(1)
        node.backup(tmp_path / "b1")
        node.orset("tags").discard("tag-2")
        node.delete("long")
        node.delete("gone")
        node.map("product").clear()
        node.orset("tags").add("new")
        until(clean(node), SECONDS)
        second = node.backup(tmp_path / "b2", since=tmp_path / "b1")
        node.orset("tags").discard("new")
        node.pncounter("stock").increment(10)
        until(clean(node), SECONDS)
        third = node.backup(tmp_path / "b3", since=second.token)
        expected, digest = contents(node), node.digest()
    assert second.kept > 0 and second.rows < 5
    with restored(tmp_path, "r", tmp_path / "b1", tmp_path / "b2", tmp_path / "b3") as node:
        assert (contents(node), node.digest()) == (expected, digest)
        assert "tag-2" not in node.orset("tags") and node.pncounter("gone").value == 0
    assert third.incremental


def test_what_was_collected_and_written_again_has_lost_what_was_removed(tmp_path: Path) -> None:
    with opened(tmp_path / "a") as node:
        node.orset("tags").add("again")
        node.mvregister("value").set(1)
        node.backup(tmp_path / "b1")
        node.orset("tags").discard("again")
        node.delete("value")
        until(clean(node), SECONDS)
        node.orset("tags").add("again")
        node.mvregister("value").set(2)
        node.backup(tmp_path / "b2", since=tmp_path / "b1")
        expected, digest = contents(node), node.digest()
    with restored(tmp_path, "r", tmp_path / "b1", tmp_path / "b2") as node:
        assert (contents(node), node.digest()) == (expected, digest)
        assert node.mvregister("value").values == [2]


def test_a_bucket_that_the_parent_did_not_have_yet_brings_nothing_back(tmp_path: Path) -> None:
    """A backup of a parent without the bucket holds it in full; a chain may lead past another that has more of it."""
    with opened(tmp_path / "a") as node:
        node.gset("s").add(1)
        first = node.backup(tmp_path / "b1")
        late = node.bucket("late")
        late.orset("tags").update(["kept", "gone"])
        late.pncounter("gone").increment(3)
        node.backup(tmp_path / "b2", since=first.token)
        late.orset("tags").discard("gone")
        late.delete("gone")
        until(clean(node), SECONDS)
        node.backup(tmp_path / "b3", since=first.token)
        expected, digest = contents(node), node.digest()
    for number, files in enumerate((["b1", "b3"], ["b1", "b2", "b3"])):
        with restored(tmp_path, f"r{number}", *(tmp_path / name for name in files)) as node:
            assert (contents(node), node.digest()) == (expected, digest)


def test_a_chain_in_which_nobody_says_what_is_gone_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path / "a") as node:
        node.bucket("first").gset("s").add(1)
        first = node.backup(tmp_path / "b1")
        node.orset("tags").update(["kept", "gone"])
        node.backup(tmp_path / "b2", since=first.token)
        node.orset("tags").discard("gone")
        until(clean(node), SECONDS)
        section = writing._section
        monkeypatch.setattr(writing, "_section", lambda bucket, base, follows: section(bucket, base, False))
        node.backup(tmp_path / "b3", since=first.token)
    files = [tmp_path / name for name in ("b1", "b2", "b3")]
    assert "does not build on" in verify(files).problems[0]
    with pytest.raises(BackupMismatch, match="does not build on"):
        restore(files, tmp_path / "r")
    assert verify([tmp_path / "b3"]).ok


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 160))
def test_chains_of_many_lives(tmp_path: Path, seed: int) -> None:
    test_chains_of_a_random_life(tmp_path, seed)


@pytest.mark.parametrize("seed", range(3))
def test_chains_of_a_random_life(tmp_path: Path, seed: int) -> None:
    """Each link of a chain restores exactly the state of its moment, whatever was deleted and collected between."""
    rng = random.Random(seed)
    files, states, since = [], [], None
    with opened(tmp_path / "a", checkpoint_interval=0.02) as node:
        for number in range(4):
            for _ in range(60):
                act(rng, node)
            if rng.random() < 0.5:
                until(clean(node), SECONDS)
            files.append(tmp_path / f"b{number}")
            since = node.backup(files[-1], since=since).token
            states.append((node.digest(), contents(node)))
    for number, (digest, expected) in enumerate(states):
        with restored(tmp_path, f"r{number}", *files[: number + 1]) as node:
            assert (node.digest(), contents(node)) == (digest, expected)
    with restored(tmp_path, "r", *files) as node:
        assert (node.digest(), contents(node)) == states[-1]


def test_backups_that_build_on_any_earlier_one(tmp_path: Path) -> None:
    any_earlier_one(tmp_path, 0)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 40))
def test_many_backups_that_build_on_any_earlier_one(tmp_path: Path, seed: int) -> None:
    any_earlier_one(tmp_path, seed)


def any_earlier_one(tmp_path: Path, seed: int) -> None:
    """The line of parents leads to a backup's state, and so do all that came before it, in whatever order."""
    rng = random.Random(seed)
    files: list[Path] = []
    parents: dict[Path, Path] = {}
    with opened(tmp_path / "a", checkpoint_interval=0.02) as node:
        node.gset("first").add(1)
        for number in range(6):
            files.append(tmp_path / f"b{number}")
            if number:
                parents[files[-1]] = rng.choice(files[:-1])
            node.backup(files[-1], since=parents.get(files[-1]))
            last = node.digest(), contents(node)
            for _ in range(40):
                act(rng, node)
            if rng.random() < 0.5:
                until(clean(node), SECONDS)
    line = files[-1:]
    while line[-1] in parents:
        line.append(parents[line[-1]])
    for number, chain in enumerate((line, rng.sample(files, len(files)))):
        with restored(tmp_path, f"r{number}", *chain) as node:
            assert (node.digest(), contents(node)) == last


def act(rng: random.Random, node: Node) -> Any:
    """Something that a program might do."""
    bucket, key = node.bucket(rng.choice(["x", "y"])), rng.choice("abc")
    item = rng.choice([rng.randrange(15), "z" * 600 + str(rng.randrange(3))])
    return rng.choice([
        lambda: bucket.orset(key).add(item),
        lambda: bucket.orset(key).discard(item),
        lambda: bucket.pncounter(key).increment(rng.randrange(9)),
        lambda: bucket.pncounter(key).reset(),
        lambda: bucket.lwwregister(key).set(item),
        lambda: bucket.lwwregister(key).clear(),
        lambda: bucket.mvregister(key).set(item),
        lambda: bucket.map(key).orset("f").add(item),
        lambda: bucket.map(key).clear(),
        lambda: bucket.delete(key),
    ])()  # fmt: skip


def test_any_member_goes_on_with_the_chain_of_another(tmp_path: Path) -> None:
    with (
        opened(tmp_path / "a", listen="127.0.0.1:0") as a,
        opened(tmp_path / "c", listen="127.0.0.1:0", join=[a.address]) as c,
    ):
        fill(a)
        a.pncounter("shared").increment(2)
        until(lambda: a.digest() == c.digest(), SECONDS)
        a.backup(tmp_path / "b1")
        c.pncounter("shared").increment(3)
        a.orset("tags").discard("tag-3")
        until(lambda: a.digest() == c.digest() and clean(a)() and clean(c)(), SECONDS)
        second = c.backup(tmp_path / "b2", since=tmp_path / "b1")
        digest = a.digest()
        assert second.kept > 0
    with restored(tmp_path, "r", tmp_path / "b1", tmp_path / "b2") as node:
        assert node.digest() == digest
        assert node.pncounter("shared").value == 5


def test_a_parent_that_the_node_does_not_hold_is_refused(tmp_path: Path) -> None:
    with opened(None) as other:
        fill(other)
        foreign = other.backup(tmp_path / "other")
    with opened(None) as node:
        fill(node)
        node.backup(tmp_path / "b1")
        with pytest.raises(BackupMismatch, match="lacks events"):
            node.backup(tmp_path / "b2", since=tmp_path / "other")
        with pytest.raises(InvalidToken):
            node.backup(tmp_path / "b2", since=foreign.token)
        with pytest.raises(InvalidToken):
            node.backup(tmp_path / "b2", since="nonsense")
        with pytest.raises(FileNotFoundError):
            node.backup(tmp_path / "b2", since=tmp_path / "absent")
        (tmp_path / "text").write_text("text")
        with pytest.raises(BackupDamaged, match="not a crdtsync backup"):
            node.backup(tmp_path / "b2", since=tmp_path / "text")
    assert not (tmp_path / "b2").exists()


def test_chains_with_gaps_and_branches_are_refused(tmp_path: Path) -> None:
    files = [tmp_path / f"b{number}" for number in range(4)]
    with opened(None) as node:
        since = None
        for file in files:
            node.gcounter("hits").increment()
            since = node.backup(file, since=since).token
    with opened(None) as other:
        other.gcounter("hits").increment()
        other.backup(tmp_path / "other")
    refused = [
        [files[1]],  # nothing to begin with
        [files[0], files[2]],  # a gap
        [files[0], files[1], files[3]],
        [tmp_path / "other", files[1]],
        [files[0], tmp_path / "other"],  # two beginnings
        [],
    ]
    for number, chain in enumerate(refused):
        with pytest.raises(BackupMismatch):
            restore(chain, tmp_path / f"r{number}")
        assert not (tmp_path / f"r{number}").exists()
        if len(chain) > 1:
            assert not verify(chain).ok
    assert verify(list(reversed(files))).ok
