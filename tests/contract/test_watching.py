"""Watchers: what is told in the end, and from where it goes on; for coalescing and order see tests/node."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from crdtsync import Change
from crdtsync.errors import InvalidKey, InvalidToken
from tests.contract.conftest import DEADLINE, Data, drain


def last(changes: list[Change]) -> dict[tuple[Any, ...], tuple[Any, bool]]:
    """What was told last of each object."""
    return {(each.bucket, each.key, *each.path, each.type): (each.value, each.deleted) for each in changes}


def test_changes_are_told_with_their_state(node: Data) -> None:
    node.pncounter("before").increment()
    with node.watch() as changes:
        assert changes.next(0) is None
        node.pncounter("a").increment(2)
        node.map("m").map("in").lwwregister("f").set([1])
        node.orset("s").update(["x", "y"])
        node.orset("s").clear()
        node.bucket("other").flag("f").enable()
        assert last(drain(changes, node)) == {
            ("default", "a", "pncounter"): (2, False), ("default", "m", "in", "f", "lwwregister"): ([1], False),
            ("default", "s", "orset"): (None, True),
        }  # fmt: skip
        node.pncounter("a").increment()
        token = node.bucket("default").token()
        assert changes.next(DEADLINE) == Change("default", "a", "pncounter", (), 3, False, token)


def test_prefix_bucket_and_values(node: Data) -> None:
    other = node.bucket("other")
    watchers = {
        "prefix": node.watch("prod"), "other": other.watch(), "named": node.watch(bucket="other"),
        "all": node.watch(bucket=None), "bare": node.watch("prod", values=False),
    }  # fmt: skip
    node.orset("product").add("x")
    node.orset("pro").add("x")
    other.orset("product").add("y")
    told = {name: last(drain(watcher, node)) for name, watcher in watchers.items()}
    mine, short = ("default", "product", "orset"), ("default", "pro", "orset")
    theirs = ("other", "product", "orset")
    assert told == {
        "prefix": {mine: ({"x"}, False)}, "other": {theirs: ({"y"}, False)}, "named": {theirs: ({"y"}, False)},
        "all": {mine: ({"x"}, False), short: ({"x"}, False), theirs: ({"y"}, False)}, "bare": {mine: (None, False)},
    }  # fmt: skip
    node.delete("product")
    assert last(drain(watchers["bare"], node)) == {mine: (None, True)}
    for watcher in watchers.values():
        watcher.close()
        assert (watcher.closed, watcher.next(), list(watcher)) == (True, None, [])
    with pytest.raises(InvalidKey):
        node.watch("\0")
    with pytest.raises(InvalidToken):
        node.watch(after="nonsense")


def test_resuming_from_a_token_leaves_nothing_out(node: Data) -> None:
    node.pncounter("a").increment()
    token = node.token()
    node.pncounter("b").increment()
    node.orset("s").add("x")
    node.orset("s").discard("x")
    node.pncounter("a").increment()
    with node.watch(after=token) as changes:
        assert {change.key for change in drain(changes, node)} == {"a", "b", "s"}
        told = changes.token
        node.flag("f").enable()
        assert {change.key for change in drain(changes, node)} == {"f"}
    with node.watch(after=told) as changes:
        assert {change.key for change in drain(changes, node)} == {"f"}
    with node.watch(after=node.token()) as changes:
        assert drain(changes, node) == []


def test_a_token_in_the_middle_of_a_burst_repeats_rather_than_skips(node: Data) -> None:
    for stop in range(1, 6):
        with node.watch() as changes:
            with node.batch():
                for number in range(5):
                    node.pncounter(f"c{number}").increment()
            told = [changes.next(DEADLINE) for _ in range(stop)]
        assert told[-1] is not None
        with node.watch(after=told[-1].token) as changes:
            rest = {change.key for change in drain(changes, node)}
        assert rest | {change.key for change in told if change} == {f"c{number}" for number in range(5)}
        assert rest == set() if stop == 5 else rest


def test_a_reader_that_waits_is_woken_by_changes_and_by_the_end(node: Data) -> None:
    told: list[Change] = []
    changes = node.watch()
    reader = threading.Thread(target=lambda: told.extend(changes))
    reader.start()
    for number in range(4):
        node.orset("s").add(number)
    while not (told and told[-1].value == {0, 1, 2, 3}):
        assert reader.is_alive()
    node.close()
    reader.join(DEADLINE)
    assert not reader.is_alive()
