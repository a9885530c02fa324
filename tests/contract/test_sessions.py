"""Tokens and wait_for: where a replica stands, told and waited for."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from crdtsync import Node
from crdtsync.clocks.tokens import make_token
from crdtsync.errors import InvalidToken, TokenLost, WaitTimeout
from tests.contract.conftest import DEADLINE, Data


def test_a_token_of_the_past_is_there(node: Data) -> None:
    empty = node.token()
    node.pncounter("a").increment()
    node.bucket("b").pncounter("a").increment()
    for token in (empty, node.token(), node.bucket("b").token()):
        node.wait_for(token, timeout=0)
    assert isinstance(node.token(), str)
    assert node.token() == node.token()


def test_what_nobody_has_is_told_as_lost(node: Data) -> None:
    """A node that is alone knows that nobody else can have what it lacks."""
    node.pncounter("a").increment()
    with pytest.raises(TokenLost):
        node.wait_for(make_token(node.name, {"default": {77: 1}}), timeout=DEADLINE)
    assert node.status()["counters"]["token_lost"] == 1


def test_waiting_ends_when_it_comes_or_when_the_time_is_up(node: Data, backing: Node) -> None:
    node.pncounter("a").increment()
    backing.sessions.lost = lambda clocks: False
    with pytest.raises(WaitTimeout, match="1 event"):
        node.wait_for(make_token(node.name, {"default": {0: 2}}), timeout=0.01)
    thread = threading.Thread(target=node.wait_for, args=(make_token(node.name, {"default": {0: 2}}),))
    thread.start()
    while not backing.hub.listening:
        assert thread.is_alive()
    backing.pncounter("a").increment()
    thread.join(DEADLINE)
    assert not thread.is_alive()


def test_tokens_of_others_are_refused(node: Data, open_data: Callable[..., Data]) -> None:
    node.pncounter("a").increment()
    other = open_data()
    other.pncounter("a").increment()
    for bad in (other.token(), node.token()[:-1], "nonsense", ""):
        with pytest.raises(InvalidToken):
            node.wait_for(bad, timeout=0)
        with pytest.raises(InvalidToken):
            node.watch(after=bad)
