"""Checking one bucket of a closed store: rows, log, dead marks, clock, counts and digest against each other."""

from __future__ import annotations

from typing import Any, Protocol

from crdtsync.clocks.vector import covers
from crdtsync.datatypes.rows import Row
from crdtsync.kernels import (
    LOG_KEY,
    encode_log,
    row_dead,
    row_log_dots,
    rows_beyond,
    rows_digest,
    rows_pack,
    rows_unpack,
)
from crdtsync.storage.maps import Snapshot
from crdtsync.storage.table import DEAD, LOG, ROWS, decode_log, decode_row, physical, prefix, unflat

SLICE = 500  # rows checked at once


class Findings(Protocol):
    """Where findings go."""

    def problem(self, text: str) -> None: ...

    def count(self, what: str, by: int = 1) -> None: ...


class BucketRecord:
    """What the row table says of a bucket."""

    def __init__(self, number: int, record: list[Any]) -> None:
        digest, self.rows, self.dead, self.name, self.state, clock, floor, self.stamp_floor, damaged, self.staged = (
            record
        )
        self.number, self.open_end = number, False
        self.digest = None if digest is None else int.from_bytes(digest, "big")
        self.clock, self.floor = unflat(clock), unflat(floor)
        self.damaged = dict(zip(damaged[::2], damaged[1::2], strict=True))


def check_bucket(snapshot: Snapshot, bucket: BucketRecord, actors: int, report: Findings) -> None:
    """Compare everything that is told twice."""
    where = f"Bucket {bucket.name!r}"
    for what, clock in (("clock", bucket.clock), ("floor", bucket.floor)):
        if any(actor >= actors or seq < 1 for actor, seq in clock.items()):
            report.problem(f"{where}: the {what} names an actor that is not in the table.")
    if not bucket.open_end and not covers(bucket.clock, bucket.floor):
        report.problem(f"{where}: the floor lies beyond the clock.")
    for key in bucket.damaged:
        report.problem(f"{where}: row {bucket.damaged[key] or key!r} was set aside, and waits for a peer to repair it.")
    looking = _Looking(snapshot, bucket, actors, report)
    looking.rows()
    looking.log()
    looking.marks()
    looking.totals()


class _Looking:
    """One walk over a bucket."""

    def __init__(self, snapshot: Snapshot, bucket: BucketRecord, actors: int, report: Findings) -> None:
        self.snapshot, self.bucket, self.actors, self.report = snapshot, bucket, actors, report
        self.where = f"Bucket {bucket.name!r}"
        self.start, self.stop = prefix(bucket.number), prefix(bucket.number + 1)
        self.found = self.dead = self.bad = self.digest = 0

    def rows(self) -> None:
        """Checksums, keys, images, clock."""
        batch: list[Row] = []
        for key, value in self.snapshot.range(ROWS, self.start, self.stop):
            row = decode_row(key, value)
            self.found += 1
            if row is None:
                self.bad += 1
                if key not in self.bucket.damaged:
                    self.report.problem(f"{self.where}: row {key[4:]!r} fails its checksum.")
                continue
            if physical(self.bucket.number, row[0]) != key:
                self.report.problem(f"{self.where}: row {row[0]!r} stands under the key of another row.")
            batch.append(row)
            if len(batch) == SLICE:
                self._batch(batch)
                batch = []
        self._batch(batch)
        self.report.count("rows", self.found)
        self.report.count("dead_rows", self.dead)

    def _batch(self, rows: list[Row]) -> None:
        if not self._well_formed(rows):
            for row in rows:
                if self._well_formed([row]):
                    self._row(row)
                else:
                    self.report.problem(f"{self.where}: row {row[0]!r} is not well formed.")
            return
        for row in rows:
            self._row(row)
        self.digest += rows_digest(list(rows))

    def _well_formed(self, rows: list[Row]) -> bool:
        """The columns of a part are checked byte by byte when they are read: so write them, and read them."""
        try:
            rows_unpack(len(rows), *rows_pack(rows, {index: index for index in range(self.actors)}), self.actors)
        except (ValueError, OverflowError):
            return False
        return True

    def _row(self, row: Row) -> None:
        rowkey, image = row
        key = physical(self.bucket.number, rowkey)
        if not self.bucket.open_end and rows_beyond([row], self.bucket.clock) >= 0:
            self.report.problem(f"{self.where}: row {rowkey!r} has events beyond the clock.")
        for actor, seq in row_log_dots(image):
            at = LOG_KEY.pack(self.bucket.number, actor, seq)
            if self.snapshot.get(LOG, at) != encode_log(at, key):
                self.report.problem(f"{self.where}: the log lacks event ({actor}, {seq}) of row {rowkey!r}.")
        marked = self.snapshot.get(DEAD, key) is not None
        dead = row_dead(image)
        self.dead += dead
        if dead != marked:
            self.report.problem(f"{self.where}: row {rowkey!r} is {'dead' if dead else 'alive'} and marked otherwise.")

    def log(self) -> None:
        """Every entry leads to a row that lists its event."""
        for at, value in self.snapshot.range(LOG, self.start, self.stop):
            self.report.count("log_entries")
            _, actor, seq = LOG_KEY.unpack(at)
            key = decode_log(at, value)
            held = self.snapshot.get(ROWS, key) if key is not None else None
            if key is None or held is None:
                what = "fails its checksum" if key is None else "leads to no row"
                self.report.problem(f"{self.where}: log entry ({actor}, {seq}) {what}.")
                continue
            row = decode_row(key, held)
            if row is not None and self._well_formed([row]) and (actor, seq) not in row_log_dots(row[1]):
                self.report.problem(f"{self.where}: log entry ({actor}, {seq}) leads to a row without that event.")

    def marks(self) -> None:
        """Every dead mark stands for a row."""
        for key, _ in self.snapshot.range(DEAD, self.start, self.stop):
            if self.snapshot.get(ROWS, key) is None:
                self.report.problem(f"{self.where}: a dead mark stands for no row.")

    def totals(self) -> None:
        """Counts and digest of the record."""
        if self.found != self.bucket.rows:
            self.report.problem(f"{self.where}: {self.found} rows, where its record tells of {self.bucket.rows}.")
        if not self.bad and self.dead != self.bucket.dead:
            self.report.problem(f"{self.where}: {self.dead} dead rows, where its record tells of {self.bucket.dead}.")
        if not self.bad and self.bucket.digest not in (None, self.digest % 2**128):
            self.report.problem(f"{self.where}: the digest of its rows is not the one in its record.")
