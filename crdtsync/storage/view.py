"""One state of a bucket, taken under the store's lock in a moment, and read without it.

Images never change, a frozen layer gets no more rows, and a snapshot of the table stays what it is; so the rows of the
active layer are all that has to be copied, as references.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TypeVar

from crdtsync.clocks.vector import Clock
from crdtsync.datatypes.rows import Row
from crdtsync.errors import RowDamaged
from crdtsync.kernels import rows_newer
from crdtsync.storage.bucket import Bucket
from crdtsync.storage.maps import Snapshot
from crdtsync.storage.table import read_many, read_rows, rowkey_of

T = TypeVar("T")
SLICE = 1000  # rows looked at at once


def in_slices(items: Iterable[T]) -> Iterator[list[T]]:
    """Items, some at a time."""
    rest = iter(items)
    while some := list(islice(rest, SLICE)):
        yield some


class View:
    """Rows of a bucket as of now.  The snapshot is the view's own, and closed with it."""

    def __init__(self, bucket: Bucket, snapshot: Snapshot) -> None:
        self._bucket, self._snapshot = bucket, snapshot
        self._clock, self._table_clock = dict(bucket.clock), dict(bucket.table_clock)
        self._active = bucket.active.rows.copy()
        self._frozen = {} if bucket.frozen is None else bucket.frozen.rows

    def close(self) -> None:
        """Let go of the snapshot."""
        self._snapshot.close()

    def rows_beyond(self, clock: Clock) -> Iterator[list[Row]]:
        """All rows with a maximal event beyond `clock`, in slices, in no order, each once.  Raises RowDamaged."""
        for rows in chain(self._of_layers(), self._of_table(clock)):
            yield rows_newer(rows, clock)

    def _of_layers(self) -> Iterator[list[Row]]:
        active = self._active
        for items in in_slices(active.items()):
            yield [(key, image) for key, image in items if image is not None]
        for items in in_slices(self._frozen.items()):
            yield [(key, image) for key, image in items if image is not None and key not in active]

    def _of_table(self, clock: Clock) -> Iterator[list[Row]]:
        """Rows that the table's log leads to and no layer has; all of the table when all are asked for.

        When the log is damaged, too: the rows alone tell the same, slower.
        """
        number, snapshot, seen = self._bucket.number, self._snapshot, set[bytes]()
        active, frozen = self._active, self._frozen
        whole = not any(clock.get(actor) for actor in self._table_clock)
        if not whole:
            for keys in in_slices(self._logged(clock)):
                fresh = {key for key in keys if key is not None and key not in seen and not self._has(key)}
                seen |= fresh
                yield read_many(snapshot, number, list(fresh), self._damaged)
                if None in keys:
                    whole = True
                    break
        if whole:
            for rows in in_slices(read_rows(snapshot, number, b"", None, self._damaged)):
                yield [r for r in rows if r[0] not in active and r[0] not in frozen and r[0] not in seen]

    def _logged(self, clock: Clock) -> Iterator[bytes | None]:
        """Row keys of the events beyond `clock` by the table's log; None for a damaged entry."""
        for actor, seq in self._clock.items():
            known = clock.get(actor, 0)
            if known < min(seq, self._table_clock.get(actor, 0)):
                yield from self._bucket.table_beyond(self._snapshot, actor, known)

    def _has(self, key: bytes) -> bool:
        """Whether a layer has the row: what the table has of it is old."""
        return key in self._active or key in self._frozen

    def _damaged(self, key: bytes, value: bytes) -> None:
        """A row fails its checksum.  It may have been repaired since: the bucket looks for itself."""
        rowkey = rowkey_of(key, value)
        if rowkey is not None and self._has(rowkey):
            return
        with self._bucket.lock:
            if rowkey is None:
                self._bucket.set_aside(key, value)
            else:
                self._bucket.peek(rowkey)
        raise RowDamaged(f"Row {rowkey!r} of bucket {self._bucket.name!r} fails its checksum.")
