"""One state of a bucket, taken under the store's lock in a moment, and read without it.

Images never change, a frozen layer gets no more rows, and a snapshot of the table stays what it is; so the rows of the
active layer are all that has to be copied, as references.
"""

from __future__ import annotations

from collections.abc import Iterator

from crdtsync.clocks.vector import Clock
from crdtsync.datatypes.rows import Row
from crdtsync.errors import RowDamaged
from crdtsync.storage.bucket import Bucket, is_beyond
from crdtsync.storage.maps import Snapshot
from crdtsync.storage.table import read_row, read_rows, rowkey_of


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

    def rows_beyond(self, clock: Clock) -> Iterator[Row]:
        """All rows with a maximal event beyond `clock`, in no order, each once.  Raises RowDamaged."""
        active, frozen = self._active, self._frozen
        for key, image in active.items():
            if image is not None and is_beyond(image, clock):
                yield key, image
        for key, image in frozen.items():
            if image is not None and key not in active and is_beyond(image, clock):
                yield key, image
        for key, image in self._of_table(clock):
            if is_beyond(image, clock):
                yield key, image

    def _of_table(self, clock: Clock) -> Iterator[Row]:
        """Rows that the table's log leads to and no layer has; when the log is damaged, all of the table."""
        number, snapshot, seen = self._bucket.number, self._snapshot, set[bytes]()
        for key in self._logged(clock):
            if key is None:
                rows = read_rows(snapshot, number, b"", None, self._damaged)
                yield from (row for row in rows if row[0] not in seen and not self._has(row[0]))
                return
            if key not in seen and not self._has(key):
                seen.add(key)
                image = read_row(snapshot, number, key, self._damaged)
                if image is not None:
                    yield key, image

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
