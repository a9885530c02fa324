"""The checkpoint: one cut of a store, turned into one commit of the row table."""

from __future__ import annotations

from itertools import islice
from typing import Any, NamedTuple

from crdtsync.clocks.vector import Clock
from crdtsync.kernels import TableChanges, table_rows
from crdtsync.storage.bucket import Bucket
from crdtsync.storage.layers import Layer
from crdtsync.storage.maps import Changes, Snapshot
from crdtsync.storage.table import BUCKETS, DEAD, LOG, ROWS, encode_meta, physical, prefix

DROP_ROWS = 20_000  # rows of dropped buckets that one checkpoint deletes from each database
DROPPABLE = (ROWS, LOG, DEAD)
SLICE = 500  # rows that one call encodes: a millisecond


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
    """How the rows of the table change in number and digest, and the bytes of the keys and images written."""

    __slots__ = ("dead", "digest", "rows", "size")

    def __init__(self) -> None:
        self.rows = self.dead = self.size = 0
        self.digest = 0  # what the rows have done to it


def write_bucket(frozen: Frozen, changes: Changes) -> Tally:
    """Add a frozen bucket's rows, log entries and dead marks to a commit.  Runs without the store's lock."""
    number, rows, origin = frozen.bucket.number, iter(frozen.layer.rows.items()), frozen.layer.origin
    for database, stale in frozen.stale.items():
        changes.delete(database, stale)
    puts, deletes = changes.puts, changes.deletes
    said = TableChanges(puts[ROWS], puts[LOG], puts[DEAD], deletes[ROWS], deletes[LOG], deletes[DEAD])
    tally = Tally()
    while some := list(islice(rows, SLICE)):  # slices, so that other threads get a turn in between
        more, dead, size, digest = table_rows(number, some, origin, said, physical)
        tally.rows, tally.dead, tally.size = tally.rows + more, tally.dead + dead, tally.size + size
        tally.digest += digest
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
