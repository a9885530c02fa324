"""One snapshot of a node in plain values, read by people, the command line, metrics and tests alike."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crdtsync.node.network import Network
    from crdtsync.node.opening import Opened
    from crdtsync.node.watching import Hub
    from crdtsync.node.writing import Local


def status(opened: Opened, local: Local, hub: Hub, network: Network) -> dict[str, Any]:
    """The snapshot; docs/python-api.md lists its fields."""
    store, replication = opened.store, network.status()
    engine, transport = replication["engine"], replication["transport"]
    # What passes through two of them is counted by both under one name: the greater figure is the right one.
    counters = Counter(store.counters) | Counter(engine["counters"]) | Counter(transport["counters"])
    return {
        "node": store.node,
        "cluster": f"{store.cluster():016x}" if store.cluster() else None,
        "state": network.state,
        "address": network.address,
        "path": opened.path,
        "start": store.start,
        "up_seconds": round(time.monotonic() - opened.since, 3),
        "durability": local.config.durability,
        "members": engine["members"],
        "peers": engine["peers"],
        "reachable": engine["reachable"],
        "transfers": engine["transfers"],
        "collection": engine["collection"],
        "lateness": engine["lateness"],
        "buckets": {name: _bucket(opened, name) for name in sorted(store.buckets())},
        "storage": store.stats(),
        "links": list(transport["links"].values()),
        "watchers": [{"bucket": each.bucket, "prefix": each.prefix, "pending": each.pending} for each in hub.watchers],
        "counters": dict(sorted(counters.items())),
    }


def _bucket(opened: Opened, name: str) -> dict[str, Any]:
    store = opened.store
    with store.lock:
        clock, synced, floor = store.clock(name), store.synced_clock(name), store.floor(name)
        return {
            "events": sum(clock.values()),
            "unsynced_events": sum(clock.values()) - sum(synced.values()),
            "actors": len(clock),
            "floor_events": sum(floor.values()),
            "damaged_rows": len(store.damaged(name)),
        }
