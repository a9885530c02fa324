"""Nodes full of everything, and backups of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import crdtsync
from crdtsync import Node

SECONDS = 60.0


def opened(path: Path | None, **settings: Any) -> Node:
    """A node that collects at once what may be collected."""
    return crdtsync.open(path, **{"collect_interval": 0.02, "map_bytes": 1 << 26, "part_bytes": 2_000, **settings})


def fill(node: Node, times: int = 30) -> None:
    """Objects of every type, nested and long, in several buckets."""
    for bucket in (node, node.bucket("second"), node.bucket("ü")):
        bucket.gcounter("hits").increment(3)
        bucket.pncounter("stock").decrement(4)
        bucket.gset("seen").update(range(times))
        bucket.orset("tags").update([f"tag-{number}" for number in range(times)])
        bucket.orset("tags").discard("tag-1")
        bucket.lwwregister("price").set({"amount": 1.5, "parts": [1, None, "x"]})
        bucket.mvregister("draft").set(b"\0\xff")
        bucket.flag("on").enable()
        inner = bucket.map("product").map("inner")
        inner.lwwregister("name").set("Widget")
        inner.pncounter("views").increment(9)
        bucket.orset("long").update(["y" * 600 + str(number) for number in range(3)])
        bucket.lwwregister("k" * 255).set("v" * 3_000)


def contents(node: Node) -> dict[str, Any]:
    """Everything that a node shows."""
    return {
        name: [(item.key, item.type, shown(item.value)) for item in node.bucket(name).items()]
        for name in node.buckets()
    }


def shown(value: Any) -> str:
    """As `repr`, but the same in every process: sets have no order."""
    if isinstance(value, set):
        return "{" + ", ".join(sorted(map(shown, value))) + "}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{shown(key)}: {shown(item)}" for key, item in sorted(value.items())) + "}"
    return repr(value)


def clean(node: Node) -> Callable[[], bool]:
    """Whether no dead row is left: all that was deleted has been collected."""

    def is_clean() -> bool:
        node._store.checkpoint()  # dead rows are counted in the table
        return bool(node.status()["storage"]["dead_rows"] == 0)

    return is_clean
