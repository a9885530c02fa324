"""Deleting for good: dead rows whose whole context every member is known to hold."""

from __future__ import annotations

from collections.abc import Iterator

from crdtsync.clocks.vector import Clock
from crdtsync.datatypes.rows import Collected
from crdtsync.kernels import LATEST, row_context, row_covered, row_dead, row_kind, row_latest
from crdtsync.storage import facts
from crdtsync.storage.bucket import Bucket
from crdtsync.storage.facts import payload
from crdtsync.storage.serving import Serving
from crdtsync.storage.table import DEAD, KEY_MAX, PREFIX, ROWS, flat, physical, prefix, rowkey_of

LOOKED_AT = 20_000  # dead rows of the table that one collection looks at; the next one goes on behind them


class Collecting(Serving):
    """The part of a store that forgets."""

    def collect(self, bucket: str, stable: Clock, now_stamp: int) -> Collected:
        """Delete dead rows covered by `stable` ({actor id: seq}) whose stamps, if any, are at most `now_stamp`.

        Raises DiskFull, JournalFailed.
        """
        self.check_usable()
        with self.lock, self.counting():
            held = self.named.get(bucket)
            if held is None or held.damaged:
                return Collected()
            return self._collect(held, self.actors.inward(stable), now_stamp)

    def _collect(self, bucket: Bucket, stable: Clock, now_stamp: int) -> Collected:
        done = Collected()
        rows: dict[bytes, bytes] = {}
        for found in (self._dead_in_memory(bucket), self._dead_in_table(bucket, stable, done)):
            for key, image in found:
                # RULE: what is collected is covered by what every member has announced
                if not row_covered(image, stable):
                    done.waiting += 1
                # RULE: a deleted register waits until its stamp is in my past
                elif row_kind(image) == LATEST and row_latest(image)[0] > now_stamp:
                    done.future += 1
                else:
                    rows[key] = image
        if rows:
            self._forget(bucket, rows)
            done.rows = len(rows)
        return done

    def _forget(self, bucket: Bucket, rows: dict[bytes, bytes]) -> None:
        floor: Clock = {}
        stamp_floor = 0
        for image in rows.values():
            for actor, seq in row_context(image):
                if seq > floor.get(actor, 0):
                    floor[actor] = seq
            if row_kind(image) == LATEST:
                stamp_floor = max(stamp_floor, row_latest(image)[0])
        data = payload(facts.COLLECT, bucket.number, flat(floor), stamp_floor, list(rows))
        self.journal.append(data)
        bucket.install(list(rows), [None] * len(rows), list(rows.values()))
        bucket.raise_floor(floor, stamp_floor)
        self.add_dirty(bucket, len(data), len(rows))
        self.counters["rows_collected"] += len(rows)

    def _dead_in_memory(self, bucket: Bucket) -> Iterator[tuple[bytes, bytes]]:
        """Dead rows of the active layer, then of the frozen one."""
        active = bucket.active.rows
        for layer in filter(None, (bucket.active, bucket.frozen)):
            for key, image in layer.rows.items():
                if image is not None and row_dead(image) and (layer.rows is active or key not in active):
                    yield key, image

    def _dead_in_table(self, bucket: Bucket, stable: Clock, done: Collected) -> Iterator[tuple[bytes, bytes]]:
        """Dead rows of the table, from where the last look ended; none when nothing can have changed since."""
        if not bucket.table_dirty:
            return
        if bucket.examined is not None and bucket.examined[:2] == (stable, bucket.table_version):
            done.waiting += bucket.examined[2]
            return
        whole, before = not bucket.walk, done.waiting
        for key in self._marked(bucket):
            if key not in bucket.active.rows and (bucket.frozen is None or key not in bucket.frozen.rows):
                image = bucket.peek(key)
                if image is not None and row_dead(image):
                    yield key, image
        if bucket.walk:
            done.waiting = max(done.waiting, bucket.dead)
        elif whole and not done.future:
            bucket.examined = (stable, bucket.table_version, done.waiting - before)

    def _marked(self, bucket: Bucket) -> Iterator[bytes]:
        """Row keys that the table marks as dead, a bounded number."""
        snapshot = self.reader()
        start = max(bucket.walk, prefix(bucket.number))
        bucket.walk = b""
        for looked, (key, _) in enumerate(snapshot.range(DEAD, start, prefix(bucket.number + 1))):
            if looked == LOOKED_AT:
                bucket.walk = key
                return
            if len(key) < KEY_MAX:
                yield key[PREFIX:]
            else:
                value = snapshot.get(ROWS, key)
                rowkey = rowkey_of(key, value) if value is not None else None
                if rowkey is not None and physical(bucket.number, rowkey) == key:
                    yield rowkey
