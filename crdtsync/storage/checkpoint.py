"""The checkpoint: one cut of a store, turned into one commit of the row table."""

from __future__ import annotations

from typing import Any, NamedTuple

from crdtsync.clocks.vector import Clock
from crdtsync.kernels import row_dead, row_log_dots
from crdtsync.storage.bucket import Bucket
from crdtsync.storage.layers import Layer
from crdtsync.storage.maps import Changes, Pairs, Snapshot
from crdtsync.storage.table import (
    BUCKETS,
    DEAD,
    LOG,
    LOG_KEY,
    PLAIN_MAX,
    ROWS,
    encode_log,
    encode_meta,
    encode_row,
    physical,
    prefix,
)

DROP_ROWS = 20_000  # rows of dropped buckets that one checkpoint deletes from each database
DROPPABLE = (ROWS, LOG, DEAD)
NO_DOTS: list[tuple[int, int]] = []


class Frozen(NamedTuple):
    """What a checkpoint notes of a bucket under the lock."""

    bucket: Bucket
    layer: Layer
    clock: Clock
    stale: dict[str, list[bytes]]  # database -> keys to delete first
    record: list[Any]  # what the table is to say of the bucket; counts and digest follow


def freeze(bucket: Bucket) -> Frozen:
    """Put the active layer aside and begin a new one."""
    if bucket.frozen is None:
        bucket.frozen, bucket.active = bucket.active, Layer()
    bucket.meta_dirty = False
    stale, bucket.stale = bucket.stale, {}
    return Frozen(bucket, bucket.frozen, dict(bucket.clock), stale, bucket.encode())


class Tally:
    """How the rows of the table change in number, and the bytes that memory needs for those written."""

    __slots__ = ("dead", "rows", "size")

    def __init__(self) -> None:
        self.rows = self.dead = self.size = 0


def write_bucket(frozen: Frozen, changes: Changes) -> Tally:
    """Add a frozen bucket's rows, log entries and dead marks to a commit.  Runs without the store's lock."""
    writing = _Writing(frozen.bucket.number)
    origin = frozen.layer.origin
    for rowkey, image in frozen.layer.rows.items():
        writing.row(rowkey, image, origin[rowkey])
    for database, keys in frozen.stale.items():
        changes.delete(database, keys)
    for database, keys, pairs in (
        (ROWS, writing.gone, writing.rows),
        (LOG, writing.stale, writing.log),
        (DEAD, writing.alive, writing.marks),
    ):
        changes.delete(database, keys)
        changes.put(database, pairs)
    return writing.tally


class _Writing:
    """What a commit says of one bucket.  One call a row: this is most of what a checkpoint costs."""

    def __init__(self, number: int) -> None:
        self.number, self.head, self.tally = number, prefix(number), Tally()
        self.rows: Pairs = []
        self.log: Pairs = []
        self.marks: Pairs = []
        self.gone: list[bytes] = []
        self.stale: list[bytes] = []
        self.alive: list[bytes] = []

    def row(self, rowkey: bytes, image: bytes | None, old: bytes | None) -> None:
        """A row, and the image that the table has of it."""
        tally = self.tally
        key = self.head + rowkey if len(rowkey) <= PLAIN_MAX else physical(self.number, rowkey)
        if image is None:
            self.gone.append(key)
            is_dead, dots = False, NO_DOTS
        else:
            value = encode_row(key, rowkey, image)
            self.rows.append((key, value))
            tally.size += len(rowkey) + len(image)
            is_dead, dots = row_dead(image), row_log_dots(image)
        if old is None:
            tally.rows += image is not None
            was_dead, known = False, NO_DOTS
        else:
            tally.rows -= image is None
            was_dead, known = row_dead(old), row_log_dots(old)
        for dot in known:
            if dot not in dots:
                self.stale.append(LOG_KEY.pack(self.number, *dot))
        for dot in dots:
            if dot not in known:
                at = LOG_KEY.pack(self.number, *dot)
                self.log.append((at, encode_log(at, key)))
        if is_dead != was_dead:
            tally.dead += is_dead - was_dead
            (self.marks.append((key, b"")) if is_dead else self.alive.append(key))


def write_record(frozen: Frozen, tally: Tally, digest: int | None, changes: Changes) -> None:
    """Add the bucket's record to a commit."""
    bucket, key = frozen.bucket, prefix(frozen.bucket.number)
    whole = None if digest is None else digest.to_bytes(16, "big")
    frozen.record[:3] = [whole, bucket.rows + tally.rows, bucket.dead + tally.dead]
    changes.put(BUCKETS, [(key, encode_meta(key, frozen.record))])


def drop_some(bucket: Bucket, snapshot: Snapshot, changes: Changes) -> bool:
    """Add deletes for some rows of a dropped bucket to a commit; True when nothing is left, not even its record."""
    start, stop, more = prefix(bucket.number), prefix(bucket.number + 1), False
    for database in DROPPABLE:
        keys: list[bytes] = []
        for key, _ in snapshot.range(database, start, stop):
            if len(keys) == DROP_ROWS:
                more = True
                break
            keys.append(key)
        changes.delete(database, keys)
    if more:
        changes.put(BUCKETS, [(start, encode_meta(start, bucket.encode()))])
    else:
        changes.delete(BUCKETS, [start])
    return not more
