"""Watchers on one node: what is told, in what order, coalesced, resumed, and when a reader is too slow."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from crdtsync import Change, Node
from crdtsync.errors import InvalidKey, InvalidToken, SlowConsumer
from tests.storage.helpers import PART, add, open_store, publish


def drain(watcher: Any) -> list[Change]:
    """Everything that is there to be told now."""
    told = []
    while (change := watcher.next(0)) is not None:
        told.append(change)
    return told


def seen(changes: list[Change]) -> list[tuple[Any, ...]]:
    return [(change.key, *change.path, change.type, change.value, change.deleted) for change in changes]


def test_changes_are_told_with_their_state(node: Node) -> None:
    node.pncounter("before").increment()
    with node.watch() as changes:
        assert changes.next(0) is None
        node.pncounter("a").increment(2)
        node.map("m").map("in").lwwregister("f").set([1])
        node.orset("s").update(["x", "y"])
        node.orset("s").clear()
        node.bucket("other").flag("f").enable()
        assert seen(drain(changes)) == [
            ("a", "pncounter", 2, False), ("m", "in", "f", "lwwregister", [1], False), ("s", "orset", None, True),
        ]  # fmt: skip
        node.pncounter("a").increment()
        assert changes.next(0) == Change("default", "a", "pncounter", (), 3, False, node.bucket("default").token())


def test_changes_are_coalesced_by_object(node: Node) -> None:
    with node.watch() as changes:
        for number in range(100):
            node.pncounter(f"c{number % 3}").increment()
        assert seen(drain(changes)) == [(f"c{n}", "pncounter", 34 if n == 0 else 33, False) for n in range(3)]
        node.pncounter("c1").increment()
        node.pncounter("c0").increment()
        assert [change.key for change in drain(changes)] == ["c1", "c0"]


def test_prefix_bucket_and_values(node: Node) -> None:
    other = node.bucket("other")
    watchers = {
        "prefix": node.watch("prod"), "other": other.watch(), "named": node.watch(bucket="other"),
        "all": node.watch(bucket=None), "bare": node.watch("prod", values=False),
    }  # fmt: skip
    node.orset("product").add("x")
    node.orset("pro").add("x")
    other.orset("product").add("y")
    told = {name: [(change.bucket, change.key, change.value) for change in drain(w)] for name, w in watchers.items()}
    mine, short, theirs = ("default", "product", {"x"}), ("default", "pro", {"x"}), ("other", "product", {"y"})
    assert told == {
        "prefix": [mine], "other": [theirs], "named": [theirs], "all": [mine, short, theirs],
        "bare": [("default", "product", None)],
    }  # fmt: skip
    node.delete("product")
    assert [(change.value, change.deleted) for change in drain(watchers["bare"])] == [(None, True)]
    assert len(node.status()["watchers"]) == 5
    with pytest.raises(InvalidKey):
        node.watch("\0")
    with pytest.raises(InvalidToken):
        node.watch(after="nonsense")


def test_the_token_moves_on_past_what_is_not_watched(node: Node) -> None:
    """So a watcher of a quiet prefix can be resumed from where it stands, and not from where it began."""
    with node.watch("quiet") as changes:
        node.pncounter("busy").increment()
        assert changes.token == node.token()
        node.pncounter("quiet").increment()
        assert changes.token != node.token(), "that has not been told yet"
        assert [change.token for change in drain(changes)] == [node.token()]


def test_the_token_does_not_run_ahead_of_a_long_transfer_that_is_being_told(open_node: Any) -> None:
    """Its clock is there at once, and its rows are told slice by slice: between two of them nothing waits here."""
    node, server = open_node(slice_rows=2), open_store(seed=2, name="server")
    publish(server)
    server.transact("default", lambda txn: [add(txn, f"k{number}", 1) for number in range(7)])
    store, told, tokens = node._store, list[str](), list[tuple[int, str]]()
    store.publish(server.cluster())
    clock = server.clock("default")
    part, after = server.scan("default", b"", PART)
    store.stage_scan("default", clock, store.stage("default", part), after)
    with node.watch() as changes:

        def look() -> None:
            told.extend(change.key for change in drain(changes))
            tokens.append((len(told), changes.token))

        store.let_others_in = look
        store.finish_scan("default", [], clock, {}, 0)
        look()
    assert told == [f"k{number}" for number in range(7)]
    assert any(0 < count < 7 for count, _ in tokens), "it was told in several slices"
    for count, token in tokens:
        with node.watch(after=token) as resumed:
            assert {*told[:count], *(change.key for change in drain(resumed))} == set(told)
    assert tokens[-1][1] == node.token()


def test_changes_during_the_telling_are_told_afterwards(node: Node) -> None:
    with node.watch() as changes:
        for name in "abc":
            node.pncounter(name).increment()
        first = changes.next(0)
        node.pncounter("a").increment()
        node.pncounter("c").increment()
        rest = drain(changes)
    assert first is not None
    assert [change.key for change in rest] == ["b", "c", "a", "c"]
    assert {change.key: change.value for change in rest} == {"a": 2, "b": 1, "c": 2}


def test_a_slow_reader_is_told_so_and_can_resume(open_node: Any) -> None:
    node = open_node(watch_pending_max=10)
    with node.watch() as changes:
        node.pncounter("first").increment()
        first = changes.next(0)
        assert first is not None
        for number in range(11):
            node.pncounter(f"c{number}").increment()
        with pytest.raises(SlowConsumer):
            changes.next(0)
        assert list(changes) == []
    with node.watch(after=first.token) as changes:
        assert [change.key for change in drain(changes)] == sorted(f"c{number}" for number in range(11))
    assert node.status()["counters"]["slow_consumer"] == 1


def test_a_reader_waits_and_ends_with_the_node(open_node: Any) -> None:
    node = open_node()
    told: list[Change] = []
    changes = node.watch()
    reader = threading.Thread(target=lambda: told.extend(changes))
    reader.start()
    writers = [threading.Thread(target=lambda n=n: node.orset("s").add(n)) for n in range(4)]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    while not (told and told[-1].value == {0, 1, 2, 3}):
        assert reader.is_alive()
    node.close()
    reader.join(30)
    assert not reader.is_alive()
    assert changes.closed
    assert changes.next() is None


def test_watching_in_async_code(node: Node) -> None:
    async def main() -> list[Change]:
        told = []
        async with node.aio.watch("k") as changes:
            asyncio.get_running_loop().call_later(0.01, node.pncounter("k1").increment)
            async for change in changes:
                told.append(change)
                if len(told) == 1:
                    threading.Thread(target=node.pncounter("k2").increment).start()
                else:
                    break
            assert changes.token == told[-1].token
        return told

    assert [(change.key, change.value) for change in asyncio.run(main())] == [("k1", 1), ("k2", 1)]
    assert node.status()["watchers"] == []


def test_many_async_watchers_end_with_the_node(open_node: Any) -> None:
    node = open_node()

    async def reader(started: asyncio.Event) -> list[str]:
        changes = node.aio.watch()
        started.set()
        return [change.key async for change in changes]

    async def main() -> list[list[str]]:
        events = [asyncio.Event() for _ in range(50)]
        tasks = [asyncio.create_task(reader(event)) for event in events]
        for event in events:
            await event.wait()
        node.flag("f").enable()
        await asyncio.sleep(0)
        while any(watcher.pending for watcher in node.hub.watchers):
            await asyncio.sleep(0.001)
        await node.aio.close()
        return await asyncio.gather(*tasks)

    assert asyncio.run(main()) == [["f"]] * 50


def test_no_watcher_no_listener(node: Node) -> None:
    with node.watch():
        assert node.hub.listening == 1
    assert node.hub.listening == 0
    assert node.local.store.on_change == []
