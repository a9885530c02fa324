"""When dead rows are collected, and who holds it up."""

from __future__ import annotations

from typing import Any

from crdtsync.clocks.hybrid import stamp_of_ms
from crdtsync.clocks.members import counted
from crdtsync.clocks.vector import covers
from crdtsync.replication import peers as states
from crdtsync.replication.core import Core
from crdtsync.replication.ports import Collected


class Collection:
    """Collects each bucket now and then; the store looks at its rows only when something has moved."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.collect_at = core.now + core.jitter(core.settings.collect_interval)
        self.results: dict[str, Collected] = {}  # of the last look
        self.since: dict[tuple[str, str], float] = {}  # (bucket, member) -> since when it holds collection up

    def due(self) -> float:
        return self.collect_at

    def tick(self) -> None:
        core = self.core
        if core.now < self.collect_at:
            return
        self.collect_at = core.now + core.settings.collect_interval
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
        for name in counted(core.store.members()):
            if name == core.store.node or covers(announced.get(name, {}), synced):
                self.since.pop((bucket, name), None)
            else:
                self.since.setdefault((bucket, name), core.now)

    def status(self) -> dict[str, Any]:
        """Per bucket: rows that wait, members that they wait for and for how many seconds."""
        waiting: dict[str, Any] = {}
        for bucket, result in self.results.items():
            names = {name: self.core.now - since for (b, name), since in self.since.items() if b == bucket}
            waiting[bucket] = {
                "rows_waiting": result.waiting, "rows_in_the_future": result.future,
                "waits_for": names if result.waiting else {},
            }  # fmt: skip
        return waiting
