"""One all-or-nothing change of a bucket: an overlay that becomes a journal record, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice, takewhile
from typing import TYPE_CHECKING

from sortedcontainers import SortedList

from crdtsync.datatypes.rows import Row
from crdtsync.errors import InvariantViolated

if TYPE_CHECKING:
    from crdtsync.clocks.hybrid import HybridClock
    from crdtsync.kernels import BulkRows
    from crdtsync.storage.bucket import Bucket

BelowMany = Callable[[list[bytes]], list[bytes | None]]
FEW = 256  # rows put among which a scan looks for its own one by one; beyond, their order is kept


class Txn:
    """Reads see what has been put so far.  Every event goes into the `put` that follows it."""

    __slots__ = ("_active", "_bucket", "_hybrid", "_order", "actor", "before", "bulk", "first", "keys", "next", "rows")

    def __init__(self, bucket: Bucket, actor: int, hybrid: HybridClock) -> None:
        self._bucket, self._hybrid = bucket, hybrid
        self._active = bucket.active.rows  # the store's lock is held for the whole life of a transaction
        self._order: SortedList | None = None  # keys of `rows`, once a scan has asked for many
        self.actor = actor  # index that this transaction writes under
        self.first = self.next = bucket.clock.get(actor, 0) + 1  # seq of the first event, and of the next
        self.rows: dict[bytes, bytes | None] = {}  # what was put
        self.before: dict[bytes, bytes | None] = {}  # what was there, of all rows read or put
        self.keys: list[bytes] = []  # row key of each event
        self.bulk: BulkRows | None = None  # what the kernels of a bulk call have put, instead of all that

    def get(self, rowkey: bytes) -> bytes | None:
        """Image of a row, or None.  Raises RowDamaged."""
        rows = self.rows
        if rowkey in rows:
            return rows[rowkey]
        before = self.before
        if rowkey in before:
            return before[rowkey]
        active = self._active
        image = before[rowkey] = active[rowkey] if rowkey in active else self._bucket.below(rowkey)
        return image

    def scan(self, prefix: bytes, after: bytes = b"", limit: int = 1000) -> list[Row]:
        """Up to `limit` rows that start with `prefix`, beyond the row key `after`, in order.  Raises RowDamaged."""
        rows = self._bucket.scan(prefix, after, limit)
        self.before.update((key, image) for key, image in rows if key not in self.before)
        mine = self._mine(prefix, after, limit)
        if not mine:
            return rows
        merged: dict[bytes, bytes | None] = dict(rows)
        horizon = rows[-1][0] if len(rows) == limit else None
        merged.update((key, self.rows[key]) for key in mine if horizon is None or key <= horizon)
        return [(key, image) for key, image in sorted(merged.items()) if image is not None][:limit]

    def _mine(self, prefix: bytes, after: bytes, limit: int) -> list[bytes]:
        """The first `limit` of the keys put so far that `scan` is about."""
        if len(self.rows) <= FEW:
            first = max(prefix, after)
            found = [key for key in self.rows if key >= first and key.startswith(prefix) and key != after]
            return sorted(found)[:limit]
        if self._order is None:  # kept up from here on: a batch may scan before each of its writes
            self._order = SortedList(self.rows)
        beyond = self._order.irange(max(prefix, after), None, inclusive=(after < prefix, True))
        return list(islice(takewhile(lambda key: key.startswith(prefix), beyond), limit))

    def put(self, rowkey: bytes, image: bytes) -> None:
        """The new image of a row, made by the event just taken."""
        if rowkey not in self.before:
            self.get(rowkey)
        if self._order is not None and rowkey not in self.rows:
            self._order.add(rowkey)
        self.rows[rowkey] = image
        self.keys.append(rowkey)
        if self.first + len(self.keys) != self.next:
            raise InvariantViolated("a put without an event of its own")

    def next_event(self) -> tuple[int, int]:
        """The next (actor index, seq)."""
        seq = self.next
        self.next = seq + 1  # two events before a put are noticed by that put, and the last one by `check`
        return self.actor, seq

    def layers(self) -> tuple[tuple[dict[bytes, bytes | None], ...], BelowMany | None]:
        """As Bucket.layers: where bulk kernels find rows, and who is asked for all that these have not."""
        layers, below = self._bucket.layers()
        return layers, None if below is None else self._bucket.below_many

    def columns(self) -> tuple[list[bytes], list[bytes | None], list[bytes | None]]:
        """Keys of the rows put, each once, their images, and what was there; None may stand for what a layer has."""
        if self.bulk is not None:
            return self.bulk.keys, self.bulk.images, self.bulk.before
        return list(self.rows), list(self.rows.values()), list(map(self.before.get, self.rows))

    def stamping(self) -> tuple[int, int]:
        """(stamp of the local time, stamp floor): what `stamp` goes by."""
        return self._hybrid.now(), self._bucket.stamp_floor

    def check(self) -> None:
        """Raise InvariantViolated when an event has no put of its own."""
        if self.first + len(self.keys) != self.next:
            raise InvariantViolated("an event without a put of its own")

    def stamp(self, after: int) -> int:
        """A stamp later than `after`, not before local time, and above the stamp floor."""
        # RULE: a write is stamped after what it replaces and after every register collected so far
        return self._hybrid.stamp(max(after, self._bucket.stamp_floor))
