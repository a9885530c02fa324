"""What an attack must leave alone, and what it must leave behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from crdtsync import Node
from tests.integration.waiting import until

DEADLINE = 20.0  # s


def counters(node: Node) -> dict[str, int]:
    return node.status()["counters"]


def state(node: Node) -> dict[str, Any]:
    """Everything that a refused input may not change."""
    store, status = node.local.store, node.status()
    with store.lock:
        buckets = {name: store.bucket(name) for name in sorted(store.named)}
        return {
            "digest": store.digest(),
            "clocks": {name: store.clock(name) for name in buckets},
            "floors": {name: (store.floor(name), store.stamp_floor(name)) for name in buckets},
            "rows": {name: bucket.scan(b"", b"", 10**6) for name, bucket in buckets.items() if bucket},
            "members": store.members(),
            "actors": len(store.actors.ids),
            "start": store.start,
            "state": status["state"],
        }


def works(node: Node) -> None:
    """The node takes a write and reads it."""
    before = node.pncounter("still works").value
    node.pncounter("still works").increment()
    assert node.pncounter("still works").value == before + 1
    assert not any(name in counters(node) for name in ("internal_error", "invariant_violated", "listener_failed"))


@contextmanager
def refusal(node: Node, counter: str) -> Iterator[None]:
    """What happens inside is refused: `counter` rises, nothing else changes, and the node works on."""
    before, counted = state(node), counters(node).get(counter, 0)
    yield
    until(lambda: counters(node).get(counter, 0) > counted, DEADLINE)
    after = state(node)
    for what in before:
        assert after[what] == before[what], what
    works(node)
