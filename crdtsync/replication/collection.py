"""When dead rows are collected, and who holds it up."""

from __future__ import annotations

from typing import Any

from crdtsync.clocks.hybrid import stamp_of_ms
from crdtsync.clocks.vector import covers
from crdtsync.replication import peers as states
from crdtsync.replication.core import Core
from crdtsync.replication.lags import Key, Lags
from crdtsync.replication.peers import Peer
from crdtsync.replication.ports import Collected


class Collection:
    """Collects each bucket now and then; the store looks at its rows only when something has moved."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.collect_at = core.now + core.jitter(core.settings.collect_interval)
        self.results: dict[str, Collected] = {}  # of the last look
        self.since: dict[tuple[str, str], float] = {}  # (bucket, member) -> since when it holds collection up
        self.lags = Lags()

    def due(self) -> float:
        return self.collect_at

    def tick(self) -> None:
        core = self.core
        if core.now < self.collect_at:
            return
        self.collect_at = core.now + core.settings.collect_interval
        self._mark()
        if core.state != states.MEMBER:
            return
        for bucket in core.store.buckets():
            if core.replica.serves(bucket):
                self._collect(bucket)

    def _collect(self, bucket: str) -> None:
        core = self.core
        result = self.results[bucket] = core.replica.collect(bucket, stamp_of_ms(core.wall_ms))
        core.counters["rows_collected"] += result.rows
        self._blame(bucket)

    def _blame(self, bucket: str) -> None:
        """Who has not yet said that it holds what I have on my disk, and since when."""
        core = self.core
        synced, announced = core.store.synced_clock(bucket), core.replica.announced.get(bucket, {})
        for name in core.replica.roster().counted:
            if name == core.store.node or covers(announced.get(name, {}), synced):
                self.since.pop((bucket, name), None)
            else:
                self.since.setdefault((bucket, name), core.now)

    def _mark(self) -> None:
        """Note where this node stands, and look who lags behind."""
        core, frontiers = self.core, self.core.replica.frontiers
        self.lags.take(core.now, {bucket: core.store.clock(bucket) for bucket in core.store.buckets()})
        followed: set[Key] = {("peer", node) for node in core.peers} | {("frontier", name) for name in frontiers}
        self.lags.keep(followed)
        for peer in core.peers.values():
            self.lag_of(peer)
        for bucket in frontiers:
            self.frontier_age(bucket)

    def lag_of(self, peer: Peer) -> float:
        """Seconds for which a peer is known to have lacked something of ours, without a break."""
        return self.lags.seconds(("peer", peer.node), self.core.now, lambda mark: mark.held_by(peer.clock))

    def frontier_age(self, bucket: str) -> float:
        """Seconds since when there has been something in a bucket that some member may not have on its disk."""
        stable = self.core.replica.frontiers[bucket]
        return self.lags.seconds(
            ("frontier", bucket), self.core.now, lambda mark: covers(stable, mark.clocks.get(bucket, {}))
        )

    def forget(self) -> None:
        """This node starts over."""
        self.results.clear()
        self.since.clear()
        self.core.replica.frontiers.clear()
        self.lags.clear()

    def status(self) -> dict[str, Any]:
        """Per bucket: rows that wait, members that they wait for and for how many seconds, age of the frontier."""
        waiting: dict[str, Any] = {}
        for bucket, result in self.results.items():
            names = {name: self.core.now - since for (b, name), since in self.since.items() if b == bucket}
            waiting[bucket] = {
                "rows_waiting": result.waiting, "rows_in_the_future": result.future,
                "waits_for": names if result.waiting else {},
                "frontier_age": self.frontier_age(bucket) if bucket in self.core.replica.frontiers else 0.0,
            }  # fmt: skip
        return waiting
