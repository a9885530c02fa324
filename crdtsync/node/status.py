"""One snapshot of a node in plain values, read by people, the command line, metrics and tests alike."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from crdtsync.clocks.hybrid import ms_of_stamp
from crdtsync.datatypes import values
from crdtsync.datatypes.keys import parse
from crdtsync.node.rescue import Rescue
from crdtsync.storage.conflicts import Conflict

if TYPE_CHECKING:
    from crdtsync.node.network import Network
    from crdtsync.node.opening import Opened
    from crdtsync.node.watching import Hub
    from crdtsync.node.writing import Local

CONFLICTS_SHOWN = 100  # latest conflicts in a snapshot
VALUE_SHOWN = 200  # characters of a value


def status(opened: Opened, local: Local, hub: Hub, network: Network, timeout: float) -> dict[str, Any]:
    """The snapshot; docs/python-api.md lists its fields.  The engine has `timeout` seconds for its part."""
    store, replication = opened.store, network.status(timeout)
    engine, transport = replication["engine"], replication["transport"]
    # What passes through two of them is counted by both under one name: the greater figure is the right one.
    counters = Counter(store.counters) | Counter(engine["counters"]) | Counter(transport["counters"])
    counters |= network.tls.counters if network.tls is not None else Counter()
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
        "engine_age": round(replication["engine_age"], 3),
        "queues": replication["queues"],
        "buckets": {name: _bucket(opened, name) for name in sorted(store.buckets())},
        "storage": store.stats(),
        "links": list(transport["links"].values()),
        "encryption": transport.get("encryption"),
        "tls": network.tls.status() if network.tls is not None else None,
        "unreachable": transport.get("unreachable", {}),
        "watchers": [{"bucket": each.bucket, "prefix": each.prefix, "pending": each.pending} for each in hub.watchers],
        "conflicts": _conflicts(opened),
        "rescue": Rescue(local).names(),
        "counters": dict(sorted(counters.items())),
    }


def _conflicts(opened: Opened) -> list[dict[str, Any]]:
    with opened.store.lock:
        latest = list(opened.store.conflicts)[-CONFLICTS_SHOWN:]
    return [_conflict(conflict) for conflict in latest]


def _conflict(conflict: Conflict) -> dict[str, Any]:
    place = parse(conflict.rowkey)
    return {
        "bucket": conflict.bucket,
        "key": place.name,
        "path": list(place.fields),
        "won": _text(conflict.won),
        "won_by": f"{conflict.winner:016x}",
        "won_at_ms": ms_of_stamp(conflict.won_stamp),
        "lost": _text(conflict.lost),
        "lost_by": f"{conflict.loser:016x}",
        "lost_at_ms": ms_of_stamp(conflict.lost_stamp),
    }


def _text(payload: bytes | None) -> str | None:
    """A value as a person reads it; None for a deletion."""
    return None if payload is None else repr(values.load(payload))[:VALUE_SHOWN]


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
            **store.counted(name),
        }
