"""`batch(request_id=...)`: a retry is told what the first try did, and does nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import pytest
from msgspec.msgpack import encode

import crdtsync
from crdtsync import Node
from crdtsync.datatypes.keys import top
from crdtsync.datatypes.registry import BY_NAME, VERBS
from crdtsync.errors import BatchMisuse, Closed, InvalidKey, WaitTimeout
from crdtsync.handles.batches import Operation
from crdtsync.node.writing import digest_of
from crdtsync.storage.requests import DIGEST_BYTES


def sell(node: Node, id: str, number: int = 1) -> Any:
    """An order, as an application writes it; gives the scope that tells how it ended."""
    with node.batch(request_id=id) as batch:
        node.pncounter("stock").decrement(number)
        node.orset("orders").add(id)
    return batch


def test_a_retry_changes_nothing_and_gives_the_first_token(node: Node) -> None:
    first = sell(node, "order-1")
    node.pncounter("stock").increment(10)
    again = sell(node, "order-1")
    assert (first.repeated, again.repeated) == (False, True)
    assert first.token == again.token
    assert (node.pncounter("stock").value, len(node.orset("orders"))) == (9, 1)
    status = node.status()
    assert status["storage"]["requests"] == 1 and status["counters"]["requests_repeated"] == 1
    node.wait_for(first.token, timeout=1)


def test_a_retry_after_a_kill_is_recognised(open_node: Callable[..., Node]) -> None:
    node = open_node()
    first = sell(node, "order-1").token
    with node.batch(request_id="nothing") as nothing:
        node.orset("orders").discard("absent")
    assert not nothing.repeated
    node._opened.background.stop()
    node._store.abandon()
    with crdtsync.open(node._opened.path) as later:
        again = sell(later, "order-1")
        assert again.repeated and again.token == first
        with later.batch(request_id="nothing") as nothing:
            later.orset("orders").discard("absent")
        assert nothing.repeated
        assert later.pncounter("stock").value == -1


def test_other_operations_under_the_same_id_are_refused(node: Node) -> None:
    sell(node, "order-1")
    with pytest.raises(BatchMisuse, match="order-1"):
        sell(node, "order-1", 2)
    for write in (
        lambda: node.orset("orders").add("order-1"),
        lambda: node.orset("orders").discard("x"),
        lambda: node.map("orders").orset("x").add("order-1"),
        lambda: node.delete("orders"),
        lambda: node.orset("orders").update([]),
    ):
        with pytest.raises(BatchMisuse), node.batch(request_id="order-1"):
            write()
    with pytest.raises(BatchMisuse), node.batch(request_id="order-1"):
        pass
    assert (node.pncounter("stock").value, node.status()["counters"]["batch_misuse"]) == (-1, 7)


def test_every_kind_of_operation_can_be_retried(node: Node) -> None:
    def everything() -> Any:
        with node.batch(request_id="all") as batch:
            node.gcounter("g").increment(2**63 - 1)
            node.pncounter("p").decrement(3)
            node.pncounter("p").reset()
            node.orset("o").update([1, 1.0, True, None, "x" * 1000])
            node.orset("o").remove(1)
            node.gset("s").add(("tuple", 2))
            node.lwwregister("l").set({"a": [1.5, b"\0"]})
            node.mvregister("v").set(2**70)
            node.flag("f").enable()
            node.map("m").map("n").flag("").enable()
            node.map("m").remove("gone")
            node.delete("nothing", "orset")
        return batch

    assert not everything().repeated
    items = list(node.items())
    assert everything().repeated
    assert list(node.items()) == items


def test_an_id_belongs_to_one_bucket(node: Node) -> None:
    other = node.bucket("other")
    for bucket in (node.bucket("default"), other):
        with bucket.batch(request_id="a") as batch:
            bucket.gcounter("n").increment()
        assert not batch.repeated
    with node.batch(request_id="a") as batch:
        other.gcounter("n").increment()
    assert batch.repeated
    assert (node.gcounter("n").value, other.gcounter("n").value) == (1, 1)


def test_empty_batches_have_ids_too(node: Node) -> None:
    for repeated in (False, True):
        with node.batch(request_id="empty", sync=True) as batch:
            pass
        assert batch.repeated == repeated
    assert node.buckets() == []
    with node.batch() as batch:
        pass
    assert not batch.repeated and batch.token == node.bucket("default").token()


def test_an_exception_leaves_no_id(node: Node) -> None:
    with pytest.raises(ZeroDivisionError), node.batch(request_id="a") as batch:
        node.flag("f").enable()
        _ = 1 / 0
    with pytest.raises(KeyError), node.batch(request_id="a"):
        node.orset("s").remove("absent")
    for ask in (lambda: batch.repeated, lambda: batch.token):
        with pytest.raises(BatchMisuse, match="not ended well"):
            ask()
    with node.batch(request_id="a") as batch:
        node.flag("f").enable()
        with pytest.raises(BatchMisuse):
            _ = batch.repeated
    assert not batch.repeated


@pytest.mark.parametrize("id", ["", "x" * 65, "é" * 33, "a\0b", "\ud800", 7, b"a"])
def test_ids_that_are_none(node: Node, id: Any) -> None:
    with pytest.raises(InvalidKey, match="request id"):
        node.batch(request_id=id)
    assert node.status()["counters"]["invalid_key"] == 1


def test_nested_batches(node: Node) -> None:
    with node.batch(request_id="outer") as outer, node.batch() as plain, node.batch(request_id="outer") as same:
        node.gcounter("n").increment()
        with pytest.raises(BatchMisuse, match="'inner'"), node.batch(request_id="inner"):
            pass
    assert outer.token == plain.token == same.token and not same.repeated
    with node.batch(), pytest.raises(BatchMisuse), node.batch(request_id="inner"):
        pass
    assert node.gcounter("n").value == 1


def test_of_threads_that_come_with_one_id_one_writes(node: Node) -> None:
    ready, ended = threading.Barrier(6), []

    def work() -> None:
        ready.wait(10)
        ended.extend(sell(node, f"order-{turn}") for turn in range(20))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(not batch.repeated for batch in ended) == 20
    assert node.pncounter("stock").value == -20
    assert len({batch.token for batch in ended}) == 20


def test_async_batches_have_ids_too(node: Node) -> None:
    async def once() -> bool:
        async with node.aio.batch(sync=True, request_id="a") as batch:
            node.gcounter("n").increment()
        return batch.repeated

    assert [asyncio.run(once()) for _ in range(3)] == [False, True, True]
    assert node.gcounter("n").value == 1


def test_bounds_are_settings() -> None:
    with crdtsync.open(None, requests_kept=2) as node:
        for id in ("a", "b", "c"):
            sell(node, id)
        assert node.status()["storage"]["requests"] == 2
        assert not sell(node, "a").repeated


@pytest.mark.parametrize("durability", ["each", "os"])
def test_a_repeat_waits_for_the_disk_as_the_first_try_does(open_node: Callable[..., Node], durability: str) -> None:
    node = open_node(durability=durability)
    assert not sell(node, "a").repeated
    assert sell(node, "a").repeated
    with node.batch(request_id="a", sync=True):
        node.pncounter("stock").decrement()
        node.orset("orders").add("a")
    storage = node.status()["storage"]
    assert storage["synced_record"] == storage["last_record"]


def test_a_token_of_a_batch_waits_for_that_batch(open_node: Callable[..., Node]) -> None:
    first = open_node("a", name="a", listen="127.0.0.1:0")
    second = open_node("b", name="b", listen="127.0.0.1:0", join=[first.address])
    with first.batch() as batch:
        first.gcounter("n").increment()
    second.wait_for(batch.token, timeout=20)
    assert second.gcounter("n").value == 1
    here = sell(second, "order-1")
    first.wait_for(here.token, timeout=20)
    assert not sell(first, "order-1").repeated, "another node does not know the id"
    third = sell(first, "order-2").token
    second.close()
    with crdtsync.open(second._opened.path, name="b") as alone, pytest.raises(WaitTimeout):
        later = sell(first, "order-3").token
        assert later != third
        alone.wait_for(later, timeout=0.01)


def test_nothing_is_answered_after_the_end(node: Node) -> None:
    sell(node, "a")
    scope = node.batch(request_id="a")
    node.close()
    with pytest.raises(Closed), scope:
        pass
    with pytest.raises(Closed):
        node.batch(request_id="a")


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 65_535, 65_536])
def test_the_digest_of_a_request_is_that_of_its_operations_one_by_one(count: int) -> None:
    """Stores hold digests from before: an upgrade between two tries must not look like other operations."""
    place = top("k", BY_NAME["orset"].code)
    operations: list[Operation] = [(VERBS["orset.add"], place, b"\xcd" + n.to_bytes(2, "big")) for n in range(count)]
    digest = blake2b(digest_size=DIGEST_BYTES)
    for verb, place, argument in operations:
        digest.update(encode((verb.name, place.prefix, argument)))
    assert digest_of(operations) == digest.digest()
