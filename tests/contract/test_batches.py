"""Batches: all or nothing, in their order, in one bucket, of one thread and task."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from crdtsync import Node
from crdtsync.errors import BatchMisuse, BatchTooLarge, CounterOverflow, FieldTypeError, InvalidValue
from tests.contract.conftest import Data


def everything(node: Data) -> list[Any]:
    return list(node.items())


def test_a_batch_takes_effect_at_its_end_as_one_journal_record(node: Data, backing: Node) -> None:
    node.pncounter("a").increment()
    records = backing.status()["storage"]["last_record"]
    with node.batch():
        node.pncounter("a").increment(2)
        node.orset("s").update(["x", "y"])
        node.orset("s").discard("x")
        node.map("m").lwwregister("f").set(1)
        assert node.pncounter("a").value == 1, "reads see the state before"
        assert list(node.keys()) == ["a"]
        assert len(node.orset("s")) == 0
    assert [(item.key, item.value) for item in node.items()] == [("a", 3), ("m", {"f": 1}), ("s", {"y"})]
    assert backing.status()["storage"]["last_record"] == records + 1


def test_an_empty_batch_is_nothing(node: Data, backing: Node) -> None:
    records = backing.status()["storage"]["last_record"]
    with node.batch(sync=True):
        node.orset("s").update([])
    assert backing.status()["storage"]["last_record"] == records


def test_an_exception_leaves_nothing(node: Data) -> None:
    node.pncounter("a").increment()
    before = (everything(node), node.clock(), node.digest())
    with pytest.raises(ZeroDivisionError), node.batch():
        node.pncounter("a").increment()
        node.bucket("default").flag("f").enable()
        _ = 1 / 0
    assert (everything(node), node.clock(), node.digest()) == before
    node.pncounter("a").increment()
    assert node.pncounter("a").value == 2, "the next write is a write of its own"


def failing(node: Data, how: str) -> None:
    if how == "remove":
        node.orset("s").remove("absent")
    elif how == "field":
        node.map("m").flag("f").enable()
    else:
        node.pncounter("a").increment(2**63 - 1)
        node.pncounter("a").increment(2**63 - 1)


@pytest.mark.parametrize(("how", "error"), [("remove", KeyError), ("field", FieldTypeError), ("full", CounterOverflow)])
def test_what_fails_at_the_end_leaves_nothing(node: Data, how: str, error: type[Exception]) -> None:
    node.map("m").lwwregister("f").set(1)
    before = (everything(node), node.clock(), node.digest())
    with pytest.raises(error), node.batch():
        node.pncounter("b").increment()
        failing(node, how)
        node.pncounter("c").increment()
    assert (everything(node), node.clock(), node.digest()) == before


def test_operations_see_those_before_them_at_the_end(node: Data) -> None:
    with node.batch():
        node.orset("s").add("x")
        node.orset("s").remove("x")
        node.map("m").lwwregister("f").set(1)
        node.map("m").remove("f")
        node.map("m").pncounter("f").increment()
        node.pncounter("c").increment(5)
        node.pncounter("c").reset()
        node.pncounter("c").increment(2)
        node.delete("gone")
    assert {item.key: item.value for item in node.items()} == {"m": {"f": 1}, "c": 2}
    with pytest.raises(FieldTypeError), node.batch():
        node.map("n").lwwregister("f").set(1)
        node.map("n").pncounter("f").increment()
    assert not node.map("n").exists


def test_what_is_bad_by_itself_is_refused_at_the_call(node: Data) -> None:
    with node.batch():
        with pytest.raises(InvalidValue):
            node.lwwregister("r").set(object())
        node.lwwregister("r").set(1)
    assert node.lwwregister("r").value == 1


def test_a_nested_batch_joins_the_outer_one(node: Data) -> None:
    with node.batch():
        node.pncounter("a").increment()
        with node.batch(), node.bucket("default").batch():
            node.pncounter("a").increment(10)
        assert node.pncounter("a").value == 0
    assert node.pncounter("a").value == 11


def test_a_nested_batch_that_fails_takes_back_its_own_part(node: Data) -> None:
    with node.batch():
        node.pncounter("a").increment()
        with pytest.raises(ZeroDivisionError), node.batch():
            node.pncounter("a").increment(10)
            _ = 1 / 0
        node.pncounter("a").increment(100)
    assert node.pncounter("a").value == 101
    with pytest.raises(ZeroDivisionError), node.batch(), node.batch():
        node.pncounter("a").increment()
        _ = 1 / 0
    assert node.pncounter("a").value == 101


def test_a_batch_is_bound_to_one_bucket(node: Data) -> None:
    other = node.bucket("other")
    with node.batch():
        other.pncounter("a").increment()  # the first write binds it
        with pytest.raises(BatchMisuse):
            node.pncounter("a").increment()
    assert (other.pncounter("a").value, node.pncounter("a").value) == (1, 0)
    with other.batch():
        with pytest.raises(BatchMisuse):
            node.flag("f").enable()
        with pytest.raises(BatchMisuse), node.bucket("default").batch():
            pass
    assert node.status()["counters"]["batch_misuse"] == 3


def test_batches_of_two_nodes_are_apart(node: Data, open_data: Callable[..., Data]) -> None:
    other = open_data()
    with node.batch():
        node.pncounter("a").increment()
        with other.batch():
            other.pncounter("a").increment(5)
            node.pncounter("a").increment()
        assert (node.pncounter("a").value, other.pncounter("a").value) == (0, 5)
    assert node.pncounter("a").value == 2


def test_a_batch_is_bounded(open_data: Callable[..., Data]) -> None:
    node = open_data(cluster={"batch_bytes_max": 100_000, "value_bytes_max": 10_000})
    before = node.digest()
    with pytest.raises(BatchTooLarge), node.batch():
        for number in range(11):
            node.lwwregister(f"r{number}").set("x" * 9_900)
    with pytest.raises(BatchTooLarge), node.batch():
        for number in range(1_200):
            node.map("m").map("f" * 200).pncounter(f"{number:0200}").increment()
    with pytest.raises(BatchTooLarge):
        node.orset("s").update(f"{number:060}" for number in range(1_500))
    assert node.digest() == before
    for start in range(0, 1_500, 500):
        node.orset("s").update(f"{number:060}" for number in range(start, start + 500))
    with pytest.raises(BatchTooLarge):
        node.orset("s").clear()
    with pytest.raises(BatchTooLarge):
        node.delete("s")
    assert len(node.orset("s")) == 1_500
    assert node.status()["counters"]["batch_too_large"] == 5


def test_a_batch_is_used_once(node: Data) -> None:
    batch = node.batch()
    with batch:
        node.flag("f").enable()
    with pytest.raises(BatchMisuse), batch:
        pass
    assert node.flag("f").value


def test_other_threads_are_not_in_the_batch(node: Data) -> None:
    with node.batch():
        node.pncounter("a").increment()
        thread = threading.Thread(target=lambda: node.pncounter("a").increment(10))
        thread.start()
        thread.join()
        assert node.pncounter("a").value == 10
    assert node.pncounter("a").value == 11


def test_tasks_are_not_in_each_others_batches(node: Data) -> None:
    """A task inherits the context in which it was made, with the batch in it; it writes on its own all the same."""
    steps: list[int] = []

    async def alone() -> None:
        node.pncounter("a").increment(10)
        steps.append(node.pncounter("a").value)

    async def with_batch(amount: int, ready: asyncio.Event, go: asyncio.Event) -> None:
        with node.batch():
            node.pncounter("b").increment(amount)
            ready.set()
            await go.wait()
            node.pncounter("b").increment(amount)

    async def main() -> None:
        with node.batch():
            node.pncounter("a").increment()
            await asyncio.create_task(alone())
            await asyncio.to_thread(node.pncounter("a").increment, 100)
            steps.append(node.pncounter("a").value)
        ready, go = [asyncio.Event(), asyncio.Event()], asyncio.Event()
        tasks = [asyncio.create_task(with_batch(n + 1, ready[n], go)) for n in range(2)]
        for event in ready:
            await event.wait()
        steps.append(node.pncounter("b").value)
        go.set()
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert steps == [10, 110, 0]
    assert (node.pncounter("a").value, node.pncounter("b").value) == (111, 6)


def test_a_task_that_outlives_the_batch_writes_on_its_own(node: Data) -> None:
    async def later(go: asyncio.Event) -> None:
        await go.wait()
        node.pncounter("a").increment()

    async def main() -> None:
        go = asyncio.Event()
        with node.batch():
            task = asyncio.create_task(later(go))
            await asyncio.sleep(0)
        go.set()
        await task

    asyncio.run(main())
    assert node.pncounter("a").value == 1
