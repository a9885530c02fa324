"""Connections that lead to another node, or to a later start of it, without anything having failed for the client."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import Any

import pytest

import crdtsync
from crdtsync.client.aio import AsyncClient
from crdtsync.client.awaiting import hop
from crdtsync.client.steps import Ask
from crdtsync.errors import InvalidToken, OutcomeUnknown
from tests.client.conftest import Process, Served, until
from tests.proxy import FROM_TARGET


def move(client: Any, served: Served, target: Served) -> None:
    """Have connections to an address lead to another node, and gRPC connect anew before the client looks."""
    served.proxy.target = target.server.address
    served.proxy.cut()
    served.proxy.heal()
    connect_again(client)


def connect_again(client: Any) -> None:
    """Once a connection is lost: have a new one, as when another thread's call was first."""
    node = client._caller.nodes.now
    until(lambda: not node.connected(), "the end of the connection to be noticed")
    ask = Ask(node, "Describe", b"", 10.0)
    if isinstance(client, AsyncClient):
        asyncio.run(hop(client._line._take(ask)))
    else:
        client._line._take(ask)
    assert node.connected()


def moves(client: crdtsync.Client) -> int:
    return int(client.status()["counters"].get("silent_reconnects", 0))


def test_reads_and_writes_wait_for_the_session(stack: ExitStack) -> None:
    """Nodes that do not know each other: what was written at one can never be read at the other."""
    a, b = Served(stack, name="a"), Served(stack, name="b")
    with crdtsync.connect(a.address, attempts=3, backoff_max=0.02) as client:
        client.flag("f").enable()
        move(client, a, b)
        read, listed = (lambda: client.flag("f").value), (lambda: list(client.keys()))
        for call in (read, client.flag("g").enable, listed, client.token):
            with pytest.raises(InvalidToken, match=r"b at .* cannot have what this session has written"):
                call()
        assert list(b.node.keys()) == []
        assert (b.node.status()["counters"]["other_instance"], moves(client)) == (1, 1)
        client.forget()
        assert (client.flag("f").value, client.name) == (False, "b")


def test_reads_and_writes_wait_for_the_session_on_asyncio(stack: ExitStack) -> None:
    a, b = Served(stack, name="a"), Served(stack, name="b")

    async def main() -> None:
        async with crdtsync.aio.connect(a.address, attempts=3, backoff_max=0.02) as client:
            await client.flag("f").enable()
            await asyncio.to_thread(move, client, a, b)
            for call in (client.flag("f").value, client.flag("g").enable):
                with pytest.raises(InvalidToken, match="b at"):
                    await call()
            assert client.status()["counters"]["silent_reconnects"] == 1

    asyncio.run(main())
    assert list(b.node.keys()) == []


def test_you_read_your_writes_wherever_the_connection_leads(cluster: list[Served]) -> None:
    a, b = cluster
    with crdtsync.connect(a.address, timeout=30.0) as client:
        for number in range(10):
            client.orset("seen").add(number)
            move(client, a, b if client.name == "a" else a)
            assert number in client.orset("seen")
            assert client.name == "ba"[number % 2]
        assert moves(client) == 10


def test_a_write_without_an_answer_is_not_made_again_elsewhere(stack: ExitStack) -> None:
    a, b = Served(stack, name="a"), Served(stack, name="b")
    with crdtsync.connect(a.address, attempt_timeout=0.2, session="none") as client:
        client.gcounter("k").increment()
        a.proxy.blackhole(FROM_TARGET)
        with client.deadline(0.3), pytest.raises(OutcomeUnknown) as caught:
            client.gcounter("k").increment()
        move(client, a, b)
        for _ in range(2):
            with (
                pytest.raises(OutcomeUnknown, match="b answers there now, and does not know") as again,
                client.batch(request_id=caught.value.request_id),
            ):
                client.gcounter("k").increment()
            assert (again.value.node, again.value.address) == ("a", a.address)
        assert (a.node.gcounter("k").value, b.node.gcounter("k").value) == (2, 0)
        move(client, a, a)
        with client.batch(request_id=caught.value.request_id) as batch:
            client.gcounter("k").increment()
        assert (batch.repeated, a.node.gcounter("k").value) == (True, 2)


def test_a_later_start_of_the_same_directory_knows_what_was_asked(process: Process) -> None:
    with crdtsync.connect(process.address, timeout=30.0) as client:
        with client.batch(request_id="order-17"):
            client.gcounter("k").increment()
        process.kill()
        process.start()
        connect_again(client)
        with client.batch(request_id="order-17") as batch:
            client.gcounter("k").increment()
        assert (batch.repeated, client.gcounter("k").value, moves(client)) == (True, 1, 1)


@pytest.mark.parametrize("what", ["Watch", "ApplyStream"])
def test_a_stream_that_is_begun_elsewhere_is_begun_again(cluster: list[Served], what: str) -> None:
    """The node says who it is, and before the stream is there the connection leads to the other one."""
    a, b = cluster
    with crdtsync.connect(a.address, timeout=30.0) as client:
        client.gcounter("k").increment()
        begin, left = client._line.open, [1]

        def moving(node: Any, name: str, *arguments: Any) -> Any:
            if name == what and left:
                left.pop()
                move(client, a, b)
            return begin(node, name, *arguments)

        client._line.open = moving  # type: ignore[method-assign]
        if what == "Watch":
            with client.watch(after=client.token()) as watcher:
                b.node.gcounter("k").increment()
                change = watcher.next(30.0)
                assert change is not None and change.key == "k"
        else:
            with client.stream() as stream:
                stream.gcounter("k").increment()
            assert client.gcounter("k").value == 2
        assert (client.name, moves(client)) == ("b", 1)
        assert b.node.status()["counters"]["other_instance"] == 1
