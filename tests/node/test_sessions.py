"""Tokens and wait_for on one node; across nodes see test_cluster."""

from __future__ import annotations

import asyncio
import base64
import random
import threading

import pytest

from crdtsync import Node
from crdtsync.clocks.tokens import make_token, read_token
from crdtsync.errors import Closed, InvalidToken, TokenLost, WaitTimeout


def future(node: Node, more: int = 1) -> str:
    """A token of `more` events beyond what the node has."""
    clock = dict(node.clock()) or {0: 0}
    actor = next(iter(clock))
    return make_token(node.name, {"default": {actor: clock[actor] + more}})


def test_what_nobody_has_is_told_as_lost(node: Node) -> None:
    """A node that is alone knows that nobody else can have what it lacks."""
    node.pncounter("a").increment()
    for token in (future(node), make_token(node.name, {"default": {77: 1}})):
        with pytest.raises(TokenLost):
            node.wait_for(token, timeout=30)
        with pytest.raises(TokenLost):
            asyncio.run(node.aio.wait_for(token, timeout=30))
    assert node.status()["counters"]["token_lost"] == 4


def test_waiting_has_an_end(node: Node) -> None:
    node.pncounter("a").increment()
    node.sessions.lost = lambda clocks: False
    with pytest.raises(WaitTimeout, match="3 events"):
        node.wait_for(future(node, 3), timeout=0.01)
    with pytest.raises(WaitTimeout, match="3 events"):
        asyncio.run(node.aio.wait_for(future(node, 3), timeout=0.01))
    assert node.status()["counters"]["wait_timeout"] == 2


def test_waiters_are_woken_by_what_comes(node: Node) -> None:
    node.pncounter("a").increment()
    node.sessions.lost = lambda clocks: False
    token = future(node, 3)
    waiters = [threading.Thread(target=node.wait_for, args=(token, 30.0)) for _ in range(3)]
    for thread in waiters:
        thread.start()

    async def main() -> None:
        waiting = [asyncio.create_task(node.aio.wait_for(future(node, n), timeout=30)) for n in (1, 2)]
        await asyncio.sleep(0)
        node.pncounter("a").increment()
        await node.aio.run(node.pncounter("a").increment)
        await asyncio.gather(*waiting)

    asyncio.run(main())
    assert all(thread.is_alive() for thread in waiters)
    node.pncounter("a").increment()
    for thread in waiters:
        thread.join(30)
        assert not thread.is_alive()
    assert node.hub.listening == 0


def test_a_waiter_hears_of_the_end(node: Node) -> None:
    errors: list[Exception] = []
    node.pncounter("a").increment()
    node.sessions.lost = lambda clocks: False
    token = future(node)

    def wait() -> None:
        try:
            node.wait_for(token, timeout=30)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    while not node.hub.listening:
        pass
    node.close()
    thread.join(30)
    assert isinstance(errors[0], Closed)


def test_mangled_tokens_are_refused(node: Node) -> None:
    node.pncounter("a").increment()
    token = node.token()
    rng = random.Random(3)
    for at in range(len(token)):
        with pytest.raises(InvalidToken):
            node.wait_for(token[:at], timeout=0)
    for _ in range(300):
        at, letter = rng.randrange(len(token)), rng.choice("abcXYZ019-_~= \u00e9")
        mangled = token[:at] + letter + token[at + 1 :]
        if mangled != token:
            with pytest.raises(InvalidToken):
                node.wait_for(mangled, timeout=0)
    hostile = [b"", b"x", 5, None, "c1." + base64.urlsafe_b64encode(b"\0" * 400).decode(), "c1." + "A" * 1000]
    for bad in hostile:
        with pytest.raises(InvalidToken):
            node.wait_for(bad, timeout=0)  # type: ignore[arg-type]
    for clocks in ({"b": {1: 0}}, {"b": {1: -1}}, {"b": {-1: 1}}, {"b": {2**64: 1}}, {"b": {1: 2**64}}):
        try:
            made = make_token(node.name, clocks)
        except OverflowError:
            continue
        with pytest.raises(InvalidToken):
            read_token(made, (node.name,))


def test_tokens_carry_their_clocks() -> None:
    clocks = {"b": {2**64 - 1: 2**63, 5: 1}, "a": {0: 7}}
    assert read_token(make_token(9, clocks), (9,)) == clocks
    assert make_token(9, clocks) == make_token(9, {"a": {0: 7}, "b": {5: 1, 2**64 - 1: 2**63}})
    assert read_token(make_token("name", {}), (9, "name")) == {}
