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
    ROWS,
    encode_log,
    encode_meta,
    encode_row,
    physical,
    prefix,
)

DROP_ROWS = 20_000  # rows of dropped buckets that one checkpoint deletes from each database
DROPPABLE = (ROWS, LOG, DEAD)


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
    """How the rows of the table change in number."""

    __slots__ = ("dead", "rows")

    def __init__(self) -> None:
        self.rows = self.dead = 0


def write_bucket(frozen: Frozen, changes: Changes) -> Tally:
    """Add a frozen bucket's rows, log entries, dead marks and record to a commit.  Runs without the store's lock."""
    bucket, layer, tally = frozen.bucket, frozen.layer, Tally()
    number, origin = bucket.number, layer.origin
    rows: Pairs = []
    log: Pairs = []
    marks: Pairs = []
    gone: list[bytes] = []
    stale: list[bytes] = []
    alive: list[bytes] = []
    for rowkey, image in layer.rows.items():
        old = origin[rowkey]
        key = physical(number, rowkey)
        was_dead = old is not None and row_dead(old)
        tally.rows += (image is not None) - (old is not None)
        if image is None:
            gone.append(key)
            is_dead, dots = False, []
        else:
            rows.append((key, encode_row(key, rowkey, image)))
            is_dead, dots = row_dead(image), row_log_dots(image)
        if old is not None:
            known = row_log_dots(old)
            stale += [LOG_KEY.pack(number, actor, seq) for actor, seq in known if (actor, seq) not in dots]
            dots = [dot for dot in dots if dot not in known]
        for actor, seq in dots:
            at = LOG_KEY.pack(number, actor, seq)
            log.append((at, encode_log(at, key)))
        if is_dead != was_dead:
            tally.dead += is_dead - was_dead
            (marks.append((key, b"")) if is_dead else alive.append(key))
    for database, keys in frozen.stale.items():
        changes.delete(database, keys)
    for database, keys, pairs in ((ROWS, gone, rows), (LOG, stale, log), (DEAD, alive, marks)):
        changes.delete(database, keys)
        changes.put(database, pairs)
    return tally


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
