"""What replication reads: clocks, the rows that a peer lacks, and scans in key order for long transfers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import chain

import xxhash

from crdtsync.clocks.vector import Clock
from crdtsync.datatypes.keys import after_object, object_prefix
from crdtsync.datatypes.rows import NO_ROWS, Answer, PackedRows, Row
from crdtsync.errors import RowDamaged
from crdtsync.kernels import CELL, row_kind, rows_actors, rows_pack
from crdtsync.storage.actors import PRIVATE
from crdtsync.storage.bucket import Bucket
from crdtsync.storage.membership import Membership
from crdtsync.storage.turns import Turns, finished, ordering
from crdtsync.storage.view import View

TOGETHER = 500  # rows whose sizes are added up at once
FEW = 8  # slices of log entries that are followed under the lock: pushes are small, and come often


class Serving(Membership):
    """The part of a store that answers."""

    def buckets(self) -> list[str]:
        """Names of the buckets that were ever written to, sorted."""
        with self.lock:
            return sorted(name for name, bucket in self.named.items() if bucket.clock)

    def clock(self, bucket: str) -> Clock:
        """Everything that the rows hold, {actor id: seq}.  Id 0 is the private actor of an unpublished store.

        Not to be changed: asked again and again for every message, it is made anew when the clock has moved.
        """
        with self.lock:
            held = self.named.get(bucket)
            if held is None:
                return {}
            made, private = held.outward, self.actors.ids[PRIVATE]
            if made is None or made[0] is not held.clock or made[1] != private:
                made = held.outward = (held.clock, private, self.actors.outward(held.clock))
            return made[2]

    def told_clock(self, bucket: str) -> Clock:
        """Events of which listeners have been told; behind `clock` while the rows of a long transfer are being told."""
        with self.lock:
            held = self.named.get(bucket)
            return {} if held is None else self.actors.outward(held.clock if held.told is None else held.told)

    def synced_clock(self, bucket: str) -> Clock:
        """Everything that is on the disk."""
        with self.lock:
            held = self.named.get(bucket)
            return {} if held is None else self.actors.outward(held.synced)

    def floor(self, bucket: str) -> Clock:
        """Join of the contexts of all rows collected here or by whoever this store took its state from."""
        with self.lock:
            held = self.named.get(bucket)
            return {} if held is None else self.actors.outward(held.floor)

    def stamp_floor(self, bucket: str) -> int:
        """Greatest stamp of a register collected, likewise."""
        held = self.named.get(bucket)
        return 0 if held is None else held.stamp_floor

    def damaged(self, bucket: str) -> Sequence[bytes]:
        """Row keys set aside; b"" for a row whose key is lost, too, which only starting over can mend."""
        with self.lock:
            held = self.named.get(bucket)
            return [] if held is None else sorted(held.damaged.values())

    def is_empty(self) -> bool:
        """Whether there is no event and no row in any bucket."""
        with self.lock:
            return not any(bucket.clock or bucket.active.rows or bucket.rows for bucket in self.named.values())

    def digest(self) -> int:
        """One number for all buckets: equal replicas have equal ones."""
        with self.lock:
            total = 0
            for name, bucket in self.named.items():
                held = bucket.digest()
                if held:
                    total += xxhash.xxh3_128_intdigest(name.encode() + b"\0" + held.to_bytes(16, "big"))
            return total % 2**128

    def changed_since(self, bucket: str, clock: Clock) -> Iterator[bytes]:
        """Row keys, in order, of rows with an event beyond `clock` ({actor id: seq}), as of the call."""
        with self.lock:
            held = self.named.get(bucket)
            return iter([] if held is None else held.changed_since(self.actors.inward(clock)))

    def answer(self, bucket: str, clock: Clock, part_bytes: int, bytes_max: int) -> Answer | None:
        """Rows with a maximal event beyond `clock`, packed, with the claim of the same state.

        None when they pass `bytes_max` in all.  The lock is held for a few rows, or for taking a view; what many rows
        cost, they cost without it.  Raises RowDamaged while a row of the bucket is set aside: what is not whole is not
        served.
        """
        return finished(self.answering(bucket, clock, part_bytes, bytes_max))

    def answering(self, bucket: str, clock: Clock, part_bytes: int, bytes_max: int) -> Turns[Answer | None]:
        """As `answer`, in turns.  The state is that of the first one, and what there is little of takes no second.

        To be finished or closed: until then it holds a snapshot of the table.
        """
        self.check_usable()
        with self.counting():
            with self.lock:
                held = self.named.get(bucket)
                if held is None:
                    return Answer([], {}, {}, 0, {})
                refuse_damaged(held)
                inward = self.actors.inward(clock)
                few = held.few_beyond(inward, FEW * self.config.slice_rows)
                refuse_damaged(held)
                view = View(held, self.table.snapshot()) if few is None else None
                claim = self._claim(held)
            if view is None:
                rows = few if _size(few or []) <= bytes_max else None
            else:
                with closing(view):
                    rows = yield from _bounded(view.rows_beyond(inward), bytes_max)
            refuse_damaged(held)
            if rows is None:
                return None
            parts: list[PackedRows] = []
            for part in self._parts((yield from ordering(rows)), part_bytes):
                if parts:
                    yield
                parts.append(self.packed(part))
            return Answer(parts, *claim)

    def _claim(self, held: Bucket) -> tuple[Clock, Clock, int, Clock]:
        outward = self.actors.outward
        return outward(held.clock), outward(held.floor), held.stamp_floor, outward(held.synced)

    def _parts(self, rows: list[Row], part_bytes: int) -> Iterator[list[Row]]:
        """Rows cut into parts of about `part_bytes` that name few enough actors."""
        start = size = 0
        for at in range(0, len(rows), TOGETHER):
            some = rows[at : at + TOGETHER]
            whole = _size(some)
            if size + whole < part_bytes:
                size += whole
                continue
            for number, (key, image) in enumerate(some, at + 1):
                size += len(key) + len(image)
                if size >= part_bytes:
                    yield from self._few_actors(rows[start:number])
                    start, size = number, 0
        if start < len(rows):
            yield from self._few_actors(rows[start:])

    def _few_actors(self, rows: list[Row]) -> Iterator[list[Row]]:
        if len(rows) > 1 and len(rows_actors(rows)) > self.config.actors_per_part_max:
            half = len(rows) // 2
            yield from self._few_actors(rows[:half])
            yield from self._few_actors(rows[half:])
        else:
            yield rows

    def packed(self, rows: list[Row]) -> PackedRows:
        """Rows as a part, with its own actor table."""
        if not rows:
            return NO_ROWS
        ids = self.actors.ids
        order = sorted(rows_actors(rows), key=ids.__getitem__)
        positions = {index: position for position, index in enumerate(order)}
        keys, images = rows_pack(rows, positions)
        return PackedRows(tuple(ids[index] for index in order), len(rows), keys, images)

    def packed_parts(self, rows: list[Row]) -> list[PackedRows]:
        """Rows as parts that name few enough actors; no lock is needed, as indexes are never given out twice."""
        return [self.packed(part) for part in self._few_actors(rows)] if rows else []

    def scan(self, bucket: str, after: bytes, part_bytes: int) -> tuple[PackedRows, bytes]:
        """Rows of durable state in key order beyond `after`, and where to go on (b"": the end).

        A part never ends between cells of one counter, since the order of those differs from replica to replica; so
        any replica can go on.  Raises RowDamaged.
        """
        self.check_usable()
        with self.lock, self.counting():
            held = self.named.get(bucket)
            if held is None:
                return NO_ROWS, b""
            refuse_damaged(held)
        with self.counting():
            rows, cursor = self._gather(held, after, part_bytes)
            part, record = self.packed(rows), self.last_record
        self.wait_durable(record)  # rows of unsynced events would outlive them elsewhere if the power went
        return part, cursor

    def _gather(self, bucket: Bucket, after: bytes, part_bytes: int) -> tuple[list[Row], bytes]:
        """The rows of a part, slice by slice: each holds what the scan claims, whichever state it is of."""
        rows: list[Row] = []
        size, cursor, start = 0, b"", after + b"\0" if after else b""
        while True:
            some = bucket.scan_rows(b"", start, self.config.slice_rows)
            whole = _size(some)
            if size + whole < part_bytes:
                rows += some
                size += whole
                cursor = _object_end(rows[-1]) if rows else b""
            else:
                for row in some:
                    if size >= part_bytes and (not cursor or row[0] > cursor):
                        return rows, cursor or rows[-1][0]
                    rows.append(row)
                    size += len(row[0]) + len(row[1])
                    cursor = _object_end(row)
            if len(some) < self.config.slice_rows:
                return rows, b""
            start = some[-1][0] + b"\0"
            self.let_others_in()


def _object_end(row: Row) -> bytes:
    """Behind the last cell of a row's counter; b"" for other rows."""
    return after_object(object_prefix(row[0])) if row_kind(row[1]) == CELL else b""


def _bounded(slices: Iterable[list[Row]], bytes_max: int) -> Turns[list[Row] | None]:
    """The rows of all slices, a turn for each; None when they have more than `bytes_max` bytes."""
    found: list[Row] = []
    size = 0
    for rows in slices:
        size += _size(rows)
        if size > bytes_max:
            return None
        found += rows
        yield
    return found


def _size(rows: list[Row]) -> int:
    return sum(map(len, chain.from_iterable(rows)))


def refuse_damaged(bucket: Bucket) -> None:
    """Raise RowDamaged while a row is set aside."""
    if bucket.damaged:
        raise RowDamaged(f"{len(bucket.damaged)} rows of bucket {bucket.name!r} fail their checksums.")
