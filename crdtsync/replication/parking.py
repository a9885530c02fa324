"""Pushes that came before what they build on: kept for a moment, bounded by number and by bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from crdtsync.replication.messages import Part
from crdtsync.replication.peers import Link, Peer
from crdtsync.replication.replica import Incoming

PARKED_MAX = 64  # pushes per bucket that may wait


class Parked(NamedTuple):
    """A push that waits."""

    link: Link
    peer: Peer
    part: Part
    staged: Incoming


class Parking:
    """What waits, by bucket, in the order of arrival."""

    def __init__(self, bytes_max: int) -> None:
        """`bytes_max` bounds the rows of all buckets together."""
        self.bytes_max, self.bytes = bytes_max, 0
        self._waiting: dict[str, list[Parked]] = {}

    def add(self, parked: Parked) -> list[Parked]:
        """Let a push wait; gives what has to go for it: the oldest of its bucket, at last itself."""
        bucket = parked.part.bucket
        waiting = self._waiting.setdefault(bucket, [])
        waiting.append(parked)
        self.bytes += parked.part.rows.size()
        gone: list[Parked] = []
        while waiting and (len(waiting) > PARKED_MAX or self.bytes > self.bytes_max):
            gone.append(waiting.pop(0))
            self.bytes -= gone[-1].part.rows.size()
        if not waiting:
            del self._waiting[bucket]
        return gone

    def take(self, bucket: str) -> list[Parked]:
        """Everything that waits in a bucket, which is then empty."""
        waiting = self._waiting.pop(bucket, [])
        self.bytes -= sum(parked.part.rows.size() for parked in waiting)
        return waiting

    def put_back(self, bucket: str, parked: Iterable[Parked]) -> None:
        """Let go on waiting what was taken, behind what has come since."""
        waiting = list(parked)
        if waiting:
            self._waiting.setdefault(bucket, []).extend(waiting)
            self.bytes += sum(parked.part.rows.size() for parked in waiting)

    def of(self, bucket: str) -> list[Parked]:
        """What waits in a bucket."""
        return self._waiting.get(bucket, [])

    def most(self) -> int:
        """The greatest number of pushes that wait in one bucket."""
        return max(map(len, self._waiting.values()), default=0)

    def clear(self) -> None:
        """Nothing waits any more."""
        self._waiting.clear()
        self.bytes = 0
