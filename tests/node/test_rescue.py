"""Rescue files on one node: when they may be replayed."""

from __future__ import annotations

from typing import Any

import pytest

from crdtsync import Node
from crdtsync.errors import CrdtsyncError
from crdtsync.replication import peers as states
from crdtsync.storage.rescue import encode_rescue, rescue_name
from tests.storage.helpers import add, bucket_of, open_store, publish

NAME = rescue_name(1, 1)


def put_rescue(node: Node) -> None:
    """A rescue file with one element of a set."""
    other = open_store(seed=7, name="other")
    publish(other)
    other.transact("default", lambda txn: add(txn, "s", "rescued"))
    part = other.packed(list(bucket_of(other).all_rows()))
    node._store.disk.write(NAME, encode_rescue("default", "other", {}, [part]))


@pytest.mark.parametrize("state", [states.STARTING_OVER, states.JOINING, states.LEAVING, states.LEFT])
def test_a_replay_is_a_write_and_waits_for_a_node_that_takes_them(open_node: Any, state: str) -> None:
    """What a leaver wrote after it had asked to go would be nowhere else, and a joiner has no event of its own."""
    node = open_node()
    put_rescue(node)
    core = node.local.engine.core
    core.state = state
    with pytest.raises(CrdtsyncError) as refused:
        node.rescue.replay(NAME)
    with pytest.raises(type(refused.value)):
        node.orset("s").add("written")
    core.state = states.MEMBER
    assert node.status()["counters"][refused.value.counter] == 2
    assert node.orset("s").value == set()
    assert node.rescue.names() == [NAME], "it is kept for later"
    assert node.rescue.replay(NAME) == {"applied": 1, "skipped": 0}
    assert node.orset("s").value == {"rescued"}
