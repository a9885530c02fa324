"""One snapshot of the engine as plain values: what status() shows, metrics export and people read."""

from __future__ import annotations

from typing import Any

from crdtsync.clocks.vector import missing
from crdtsync.replication.absence import Absence
from crdtsync.replication.collection import Collection
from crdtsync.replication.core import Core
from crdtsync.replication.entry import Entry
from crdtsync.replication.messages import Clock
from crdtsync.replication.peers import Peer
from crdtsync.replication.transfers import Transfers


def snapshot(
    core: Core, transfers: Transfers, collection: Collection, entry: Entry, absence: Absence
) -> dict[str, Any]:
    """Members, peers, transfers, collection and damage, as of now."""
    store = core.store
    return {
        "node": store.node, "state": core.state, "cluster": store.cluster(), "start": store.start,
        "address": core.address, "sponsor": entry.sponsor, "buckets_to_take": sorted(entry.pending),
        "members": {
            record.node: {"state": record.state, "epoch": record.epoch, "address": record.address}
            | absence.status(record.node)
            for record in sorted(store.members().values(), key=lambda record: record.node)
        },
        "peers": {
            node: _peer(core, core.peers[node]) | {"lag_seconds": collection.lag_of(core.peers[node])}
            for node in sorted(core.peers)
        },
        "reachable": core.reachable(),
        "collection": collection.status(),
        "transfers": {
            "in": [
                {"bucket": bucket, "from": asked.peer.node, "parts": asked.expected, "long": asked.scan,
                 "bytes": asked.incoming.bytes, "seconds": core.now - asked.began}
                for bucket, asked in transfers.asked.items()
            ],
            "out": [
                {"bucket": served.bucket, "to": served.peer.node, "parts": served.parts}
                for served in transfers.served.values()
            ],
        },
        "damaged": {bucket: len(rows) for bucket in store.buckets() if (rows := store.damaged(bucket))},
        "lateness": core.lateness.worst,
        "counters": dict(sorted(core.counters.items())),
    }  # fmt: skip


def _peer(core: Core, peer: Peer) -> dict[str, Any]:
    store, settings = core.store, core.settings
    buckets = sorted({*store.buckets(), *peer.clock})
    lag = {bucket: events(missing(peer.clock.get(bucket, {}), c), peer.clock.get(bucket, {})) for bucket in buckets
           if (c := store.clock(bucket))}  # fmt: skip
    behind = {bucket: events(missing(store.clock(bucket), c), store.clock(bucket)) for bucket in buckets
              if (c := peer.clock.get(bucket, {}))}  # fmt: skip
    linked = peer.link is not None
    phi = core.phi(peer) if linked else None
    state = "down" if phi is None else "suspect" if phi >= settings.suspect_phi else "up"
    alarm = abs(peer.skew_ms) > settings.max_clock_skew_alarm * 1000
    return {
        "state": state, "phi": phi, "address": peer.link.address if peer.link is not None else "",
        "lag": lag,  # events that it lacks of ours
        "behind": behind,  # events that we lack of its
        "last_heard": core.now - peer.detector.last, "skew": peer.skew_ms / 1000, "skew_alarm": alarm,
        "pushes_in_flight": sum(len(flight) for flight in peer.flight.values()),
    }  # fmt: skip


def events(beyond: Clock, held: Clock) -> int:
    """How many events lie between two clocks."""
    return sum(seq - held.get(actor, 0) for actor, seq in beyond.items())
