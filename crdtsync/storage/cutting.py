"""A cut: one state of a store, read from a snapshot of its row table while writers go on.

A checkpoint brings the table up to the moment, and the snapshot then holds rows, log, clocks and floors of one journal
position.  Nothing of the store is locked while it is read.  What it costs is room: pages that later checkpoints free
are not used again while the snapshot is open, so its age is bounded by `backup_time_max`, and it is given up when the
table has to grow, which LMDB does only while nobody reads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from crdtsync.clocks.members import MemberRecord
from crdtsync.clocks.vector import Clock
from crdtsync.datatypes.rows import Row
from crdtsync.errors import BackupExpired, Closed, CrdtsyncError, RowDamaged, StoreDamaged, WaitTimeout
from crdtsync.kernels import LOG_KEY, NUMBER, row_log_dots
from crdtsync.storage.actors import Actors
from crdtsync.storage.bucket import HIDDEN, LIVE
from crdtsync.storage.checkpointing import MEMBERS, Checkpointing
from crdtsync.storage.facts import members_of
from crdtsync.storage.forks import Forks, check_fork
from crdtsync.storage.maps import Snapshot
from crdtsync.storage.table import BUCKETS, LOG, META, ROWS, decode_log, decode_meta, decode_row, read_rows, unflat

SLICE = 1_000  # rows read in one hold of the cut's own lock
GROWING = "Make the backup again; if that happens often, raise map_bytes."
LOOK = 0.05  # s between looks whether a long transfer has been taken in


class CutBucket(NamedTuple):
    """A bucket as of the cut; clocks are {actor id: seq}."""

    number: int
    name: str
    clock: Clock
    floor: Clock
    stamp_floor: int
    digest: int | None  # None: not known
    rows: int


class Cut:
    """Rows and clocks of one moment.  Used by one thread at a time; any thread may close it."""

    def __init__(self, snapshot: Snapshot, actors: Actors, deadline: float) -> None:
        """`deadline`, on the monotonic clock: when the snapshot must be let go of."""
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = snapshot
        self._actors, self._deadline = actors, deadline
        self._generation = Forks.generation
        self._ended: CrdtsyncError = Closed("The cut has been closed.")
        self.unfinished = False  # a long transfer was being joined in slices: some rows lie beyond the clocks
        self.buckets: list[CutBucket] = []
        self.members: list[MemberRecord] = []

    def begin(self) -> None:
        """Read what there is besides rows.  Raises RowDamaged, StoreDamaged, BackupExpired, Closed."""
        with self._lock:
            snapshot = self._open()
            members = snapshot.get(META, MEMBERS)
            if members is not None:
                self.members = members_of(decode_meta(MEMBERS, members, "members"))
            for key, value in snapshot.range(BUCKETS, b""):
                self._take_bucket(key, value)
            self.buckets.sort(key=lambda bucket: bucket.name)

    def _take_bucket(self, key: bytes, value: bytes) -> None:
        number = NUMBER.unpack(key)[0]
        record = decode_meta(key, value, f"record of bucket {number}")
        digest, rows, _, name, state, clock, floor, stamp_floor, damaged, scan = record
        if state == HIDDEN and scan and scan["finish"]:
            self.unfinished = True
        if state == LIVE and damaged:
            raise RowDamaged(f"{len(damaged) // 2} rows of bucket {name!r} fail their checksums.")
        if state == LIVE and clock:
            known = None if digest is None else int.from_bytes(digest, "big")
            outward = self._actors.outward
            self.buckets.append(
                CutBucket(number, name, outward(unflat(clock)), outward(unflat(floor)), stamp_floor, known, rows)
            )

    # -- reading

    def _open(self) -> Snapshot:
        check_fork(self._generation)
        if self._snapshot is None:
            raise self._ended
        return self._snapshot

    def rows(self, bucket: CutBucket) -> Iterator[Row]:
        """Every row in key order, with local actor indexes.  Raises RowDamaged, BackupExpired, Closed, Forked."""
        start = b""
        while True:
            with self._lock:
                found = list(islice(read_rows(self._open(), bucket.number, start, None, _refuse_row), SLICE))
            yield from found
            if len(found) < SLICE:
                return
            start = found[-1][0] + b"\0"

    def rows_beyond(self, bucket: CutBucket, clock: Clock) -> Iterator[Row]:
        """Rows with a maximal event beyond `clock` ({actor id: seq}), each once, by the log: in no order of keys.

        Raises as `rows` does, and StoreDamaged for a log entry that fails its checksum.
        """
        known = self._actors.inward(clock)
        for actor, seq in sorted(self._actors.inward(bucket.clock).items()):
            if seq > known.get(actor, 0):
                yield from self._rows_of(bucket, actor, known)

    def _rows_of(self, bucket: CutBucket, actor: int, known: Clock) -> Iterator[Row]:
        """Rows whose least unknown event is by `actor`; a row with several such events is met once for each."""
        start = LOG_KEY.pack(bucket.number, actor, known.get(actor, 0) + 1)
        stop = LOG_KEY.pack(bucket.number, actor + 1, 0)
        while True:
            with self._lock:
                snapshot = self._open()
                entries = list(islice(snapshot.range(LOG, start, stop), SLICE))
                found = [(key, _row_of(snapshot, key, value)) for key, value in entries]
            for key, row in found:
                if row is not None:
                    dots = [dot for dot in row_log_dots(row[1]) if dot[1] > known.get(dot[0], 0)]
                    if dots and min(dots) == LOG_KEY.unpack(key)[1:]:
                        yield row
            if len(entries) < SLICE:
                return
            start = entries[-1][0] + b"\0"

    # -- the end

    def close(self) -> None:
        """Let go of the snapshot.  A second call does nothing."""
        self.end(self._ended)

    def end(self, reason: CrdtsyncError) -> None:
        """Let go of the snapshot; whoever still reads gets `reason`."""
        with self._lock:
            if self._snapshot is not None:
                self._snapshot.close()
                self._snapshot, self._ended = None, reason

    def expire(self) -> None:
        """End a cut that is over its time."""
        if time.monotonic() > self._deadline:
            self.end(BackupExpired("A backup has held its snapshot of the row table for backup_time_max."))

    @property
    def closed(self) -> bool:
        """Whether it has been let go of."""
        return self._snapshot is None


def _refuse_row(key: bytes, value: bytes) -> None:
    raise RowDamaged(f"The row under {key[4:]!r} fails its checksum.")


def _row_of(snapshot: Snapshot, key: bytes, value: bytes) -> Row | None:
    """The row that a log entry leads to; None when it has been collected."""
    physical = decode_log(key, value)
    if physical is None:
        raise StoreDamaged("A log entry of the row table fails its checksum.", hint="Make a full backup instead.")
    held = snapshot.get(ROWS, physical)
    if held is None:
        return None
    row = decode_row(physical, held)
    if row is None:
        _refuse_row(physical, held)
    return row


class Cutting(Checkpointing):
    """The part of a store that gives cuts."""

    def cut(self) -> Cut:
        """The state of this moment; everything written before the call is in it.

        Waits up to `write_stall_max` for a long transfer that is being taken in.  Raises WaitTimeout, RowDamaged,
        DiskFull, TableFailed, StoreDamaged, Closed.
        """
        deadline = time.monotonic() + self.config.write_stall_max
        while True:
            cut = self._cut_now()
            if not cut.unfinished:
                return cut
            cut.close()
            if time.monotonic() > deadline:
                raise WaitTimeout("A long transfer is being taken in.", hint="Try again when it is done.")
            time.sleep(LOOK)

    def _cut_now(self) -> Cut:
        self.checkpoint()
        with self.lock:  # known to whoever ends cuts before the snapshot is anybody's to read
            self.check_usable()
            cut = Cut(self.table.snapshot(), self.actors, time.monotonic() + self.config.backup_time_max)
            self.cuts = [*(held for held in self.cuts if not held.closed), cut]
        try:
            cut.begin()
        except BaseException:
            cut.close()
            raise
        return cut

    def maintain(self) -> None:
        super().maintain()
        for cut in list(self.cuts):
            cut.expire()

    def give_way(self) -> None:
        for cut in self.cuts:
            cut.end(BackupExpired("The row table had to grow while a backup of it was read.", hint=GROWING))
        self.cuts = []

    def close_cuts(self) -> None:
        """The store is being closed."""
        for cut in self.cuts:
            cut.end(Closed("The store has been closed."))
        self.cuts = []
