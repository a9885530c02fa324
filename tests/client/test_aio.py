"""The asyncio client: the same behaviour, awaited."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

import crdtsync
from crdtsync.client import twins
from crdtsync.client.aio import AsyncClient
from crdtsync.clocks.tokens import make_token
from crdtsync.errors import (
    BatchMisuse,
    Closed,
    CounterOverflow,
    DeadlineExceeded,
    FieldTypeError,
    InvalidKey,
    InvalidToken,
    InvalidValue,
    NegativeStep,
    OutcomeUnknown,
    Unreachable,
    WaitTimeout,
)
from tests.client.conftest import DEADLINE, Served
from tests.contract.conftest import reached
from tests.proxy import FROM_TARGET


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


@asynccontextmanager
async def connected(served: Served, **settings: Any) -> AsyncIterator[AsyncClient]:
    async with crdtsync.aio.connect(served.address, **settings) as client:
        yield client


def test_every_handle(served: Served) -> None:
    async def main() -> None:
        async with connected(served) as client:
            await client.gcounter("c").increment(4)
            both = client.pncounter("c")
            await both.increment()
            await both.decrement(3)
            assert (await client.gcounter("c").value(), await both.value()) == (4, -2)
            await both.reset()
            assert (await both.value(), await both.exists()) == (0, False)
            for handle in (client.gset("s"), client.orset("s")):
                await handle.add("x")
                await handle.update(["y", 1])
                assert (await handle.value(), await handle.count()) == ({"x", "y", 1}, 3)
                assert await handle.contains(1)
                assert not await handle.contains(True)
                assert {element async for element in handle} == {"x", "y", 1}
            tags = client.orset("s")
            await tags.discard("never")
            await tags.remove("x")
            with pytest.raises(KeyError, match="x"):
                await tags.remove("x")
            await tags.clear()
            assert await tags.count() == 0
            await client.lwwregister("r").set({"a": [1, (2,)]})
            assert await client.lwwregister("r").value() == {"a": [1, (2,)]}
            await client.lwwregister("r").clear()
            assert not await client.lwwregister("r").exists()
            owner = client.mvregister("o")
            await owner.set("ann")
            await owner.resolve("bob")
            assert await owner.value() == await owner.values() == ["bob"]
            await owner.clear()
            await client.flag("f").enable()
            assert await client.flag("f").value() is True
            await client.flag("f").disable()
            inner = client.map("m").map("in")
            await inner.gcounter("n").increment()
            assert (inner.key, inner.path, repr(inner)) == ("m", ("in",), "<async map 'm'['in']>")
            assert await client.map("m").value() == {"in": {"n": 1}}
            assert (await client.map("m").fields(), await client.map("m").contains("in")) == (["in"], True)
            await client.map("m").remove("in")
            await inner.clear()
            assert not await client.map("m").exists()

    run(main())


def test_twins_have_all_verbs_of_their_handles() -> None:
    for name in ("GCounter", "PNCounter", "GSet", "ORSet", "LWWRegister", "MVRegister", "Flag", "Map"):
        plain, twin = getattr(crdtsync, name), getattr(twins, f"Async{name}")
        assert twin.KIND is plain
        for verb, member in vars(plain).items():
            if not verb.startswith("_") and inspect.isfunction(member) and verb != "fields":
                assert inspect.iscoroutinefunction(getattr(twin, verb))
                assert getattr(twin, verb).__doc__ == member.__doc__
        assert hasattr(twin, "value")


def test_bad_calls_are_refused_before_they_are_sent(served: Served) -> None:
    async def main() -> None:
        async with connected(served) as client:
            before = served.server.status()["methods"].get("Data.Apply")
            for call, error in (
                (lambda: client.gcounter("c").increment(-1), NegativeStep),
                (lambda: client.pncounter("c").increment(2**63), CounterOverflow),
                (lambda: client.lwwregister("r").set(object()), InvalidValue),
                (lambda: client.orset("s").add([1]), InvalidValue),
                (lambda: client.map("m").remove("\0"), InvalidKey),
                (lambda: client.delete("k", "nothing"), InvalidValue),
            ):
                with pytest.raises(error):
                    await call()
            for name in ("", "\0", "x" * 256):
                with pytest.raises(InvalidKey):
                    client.flag(name)
            with pytest.raises(InvalidKey):
                client.bucket("b" * 65)
            await client.gcounter("c").increment(0)
            assert served.server.status()["methods"].get("Data.Apply") == before
            assert client.status()["counters"]["invalid_key"] == 5
            await client.map("m").flag("f").enable()
            with pytest.raises(FieldTypeError):
                await client.map("m").orset("f").add(1)

    run(main())


def test_batches(served: Served) -> None:
    async def main() -> None:
        async with connected(served) as client:
            events = sum(served.node.clock().values())
            async with client.batch(sync=True, request_id="one") as batch:
                await client.pncounter("a").increment(2)
                await client.orset("s").add("x")
                async with client.bucket("default").batch():
                    await client.orset("s").remove("x")
                await asyncio.create_task(client.pncounter("b").increment())  # another task is not in the batch
                assert await client.pncounter("a").value() == 0, "reads see the state before"
                assert await client.pncounter("b").value() == 1
                with pytest.raises(BatchMisuse):
                    await client.bucket("other").flag("f").enable()
            assert (await client.pncounter("a").value(), batch.repeated) == (2, False)
            assert reached(await client.token(), batch.token)
            async with client.batch(request_id="one") as again:
                await client.pncounter("a").increment(2)
                await client.orset("s").add("x")
                await client.orset("s").remove("x")
            assert (await client.pncounter("a").value(), again.repeated) == (2, True)
            with pytest.raises(ZeroDivisionError):
                async with client.batch():
                    await client.pncounter("a").increment()
                    _ = 1 / 0
            with pytest.raises(KeyError):
                async with client.batch():
                    await client.pncounter("a").increment()
                    await client.orset("s").remove("absent")
            async with client.batch() as nothing:
                await client.orset("s").update([])
            assert (nothing.repeated, await client.pncounter("a").value()) == (False, 2)
            assert sum(served.node.clock().values()) == events + 4

    run(main())


def test_listings_and_where_the_node_stands(served: Served) -> None:
    async def main() -> None:
        async with connected(served, page_items=10) as client:
            for number in range(35):
                await client.flag(f"k{number:02}").enable()
            await client.bucket("other").flag("f").enable()
            assert [key async for key in client.keys("k")] == [f"k{number:02}" for number in range(35)]
            items = [item async for item in client.items()]
            assert items[3] == crdtsync.Item("k03", "flag", True)
            await client.delete("k03")
            assert len([key async for key in client.keys("")]) == 34
            assert await client.buckets() == ["default", "other"]
            assert (await client.digest(), await client.clock()) == (served.node.digest(), served.node.clock())
            other = client.bucket("other")
            assert (await other.digest(), await other.clock()) == (
                served.node.bucket("other").digest(), served.node.bucket("other").clock(),
            )  # fmt: skip
            assert await client.token() == served.node.token()
            assert await other.token() == served.node.bucket("other").token()
            await client.sync()
            await client.wait_for(client.session(), timeout=DEADLINE)
            with pytest.raises(InvalidToken):
                await client.wait_for("nonsense")

    run(main())


def test_watching(served: Served) -> None:
    async def main() -> None:
        async with connected(served, backoff_max=0.1) as client:
            with client.deadline(5.0):
                changes = client.watch("k")
                assert await changes.next(0.01) is None
            with client.deadline(0.0), pytest.raises(DeadlineExceeded):
                await client.token()
            asyncio.get_running_loop().call_later(0.01, served.node.pncounter("k1").increment)
            told = [await anext(changes)]
            served.proxy.cut()
            served.node.pncounter("k2").increment()
            served.proxy.heal()
            async for change in changes:
                told.append(change)
                if change.key == "k2":
                    break
            assert {(change.key, change.value) for change in told} == {("k1", 1), ("k2", 1)}
            assert changes.token == told[-1].token
            assert client.status()["counters"]["watch_reconnects"] > 0
            with pytest.raises(InvalidKey):
                client.watch("\0")
            with pytest.raises(InvalidToken):
                client.watch(after="nonsense")
            with pytest.raises(InvalidToken):
                await client.watch(after=make_token("b", {})).next()
            await client.close()
            assert [change async for change in changes] == []

    run(main())


def test_streams(served: Served) -> None:
    async def main() -> None:
        async with connected(served, backoff_max=0.05, stream_operations=10, stream_window=8) as client:
            await client.map("m").lwwregister("f").set(1)
            async with client.stream() as stream:
                counter = stream.gcounter("k")
                for number in range(3_000):
                    await counter.increment()
                    if number % 1_000 == 500:
                        served.proxy.cut()
                        served.proxy.heal()
                await stream.cut()
                await stream.map("m").flag("f").enable()
                with pytest.raises(FieldTypeError):
                    await stream.flush()
                assert [each.first for each in stream.refused_batches] == [3_000]
                assert (stream.answered, stream.unanswered) == (3_001, [])
                with pytest.raises(BatchMisuse):
                    stream.batch()
            assert await client.gcounter("k").value() == 3_000
            assert client.status()["counters"]["stream_reconnects"] > 0
            async with client.stream() as stream:  # a call's rows go into the stream's batches
                keys = [f"bulk:{number}" for number in range(95)]
                await stream.increment_many(keys, range(95), type="gcounter")
                await stream.flush()
                assert stream.answered == 94, "a step of 0 is no operation"
            assert (await client.read_many(keys, type="gcounter")).tolist() == list(range(95))
            with pytest.raises(ZeroDivisionError):
                async with client.stream() as stream:
                    await stream.gcounter("dropped").increment()
                    _ = 1 / 0
            assert await client.gcounter("dropped").value() == 0

    run(main())


def test_what_waits_ends_when_the_client_is_closed_or_the_task_cancelled(served: Served) -> None:
    async def main() -> None:
        served.node.gcounter("k").increment()
        served.node.sessions.lost = lambda clocks: False
        future = make_token("a", {"default": {0: 99}})
        client = await crdtsync.aio.connect(served.address)
        waiting = [asyncio.create_task(client.wait_for(future)) for _ in range(2)]
        changes = client.watch()
        await changes.start()
        watching = asyncio.create_task(changes.next())
        while served.server.status()["methods"].get("Data.WaitFor", {}).get("running") != 2:
            await asyncio.sleep(0.005)
        waiting[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting[0]
        await client.flag("f").enable()
        assert (await watching).key == "f"
        watching = asyncio.create_task(changes.next())
        await client.close()
        with pytest.raises(Closed):
            await waiting[1]
        assert await watching is None

    run(main())


def test_many_calls_at_a_time(served: Served) -> None:
    async def main() -> None:
        async with connected(served) as client:
            await asyncio.gather(*(client.gcounter("c").increment() for _ in range(300)))
            assert await client.gcounter("c").value() == 300

    run(main())


def test_failures(cluster: list[Served]) -> None:
    a, b = cluster

    async def main() -> None:
        async with crdtsync.aio.connect([a.address, b.address], attempt_timeout=0.2, timeout=2.0) as client:
            await client.orset("s").add(1)
            a.proxy.cut()
            assert await client.orset("s").contains(1)
            assert client.name == "b"
            b.proxy.blackhole(FROM_TARGET)
            with pytest.raises(OutcomeUnknown) as caught:
                await client.gcounter("c").increment()
            with pytest.raises((DeadlineExceeded, Unreachable, WaitTimeout)):
                await client.gcounter("c").value()
            a.proxy.heal()
            b.proxy.heal()
            async with client.batch(request_id=caught.value.request_id) as batch:
                await client.gcounter("c").increment()
            assert batch.repeated
            assert await client.gcounter("c").value() == 1
        with pytest.raises(Closed):
            await client.gcounter("c").value()

    run(main())


def test_nobody_there(served: Served) -> None:
    async def main() -> None:
        served.proxy.close()
        with pytest.raises(Unreachable):
            await crdtsync.aio.connect(served.address)

    run(main())


def test_a_watch_that_cannot_begin_ends(served: Served) -> None:
    async def main() -> None:
        async with connected(served, timeout=0.3, backoff_max=0.05) as client, asyncio.timeout(DEADLINE):
            served.proxy.cut()
            with pytest.raises(DeadlineExceeded):
                async with client.watch():
                    pass
            with pytest.raises(DeadlineExceeded):
                await client.watch().next(DEADLINE)
            assert await client.watch().next(0.01) is None
            unused = client.watch()
            unused.close()
            assert await unused.next() is None
        with pytest.raises(Closed):
            await client.watch().start()
        async with crdtsync.aio.connect(served.server.address, timeout=DEADLINE * 10) as client:
            with client.deadline(0.0), pytest.raises(DeadlineExceeded):
                await client.watch().start()

    run(main())
