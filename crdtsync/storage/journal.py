"""The journal: an append-only chain of records in segments, so that a write is safe before the row table knows it.

Not thread-safe: the store's lock guards everything, except `Cut.sync`, which runs without it.
"""

from __future__ import annotations

import logging

from crdtsync.errors import DiskFull, JournalFailed
from crdtsync.kernels import Signal, Tail
from crdtsync.storage.disk import Disk, Segment
from crdtsync.storage.records import (
    CONTINUED,
    HEADER_SIZE,
    MORE,
    RECORD_SIZE,
    SLOTS,
    Position,
    encode_header,
    encode_synced,
    segment_name,
    segment_number,
)

log = logging.getLogger("crdtsync.storage")
SPARE = "spare"  # file name of a segment that has no number yet


class Cut:
    """Everything appended up to a moment, to be synced without the lock."""

    def __init__(self, record: int, segments: list[Segment], offset: int) -> None:
        self.record, self.segments, self.offset = record, segments, offset

    def sync(self) -> None:
        """Raises OSError: then nothing is known about any of it."""
        for segment in self.segments:
            segment.sync()


class Journal:
    """The segment being written, the one prepared to follow it, and those not yet synced."""

    def __init__(
        self,
        disk: Disk,
        store: int,
        segment_bytes: int,
        number: int,
        record: int,
        seed: int,
        synced: int,
        appended: Signal,
    ) -> None:
        """Start a new segment, durable on return.

        `record` is the number of the first record to come, `synced` the last one known to be durable, as long as no
        checkpoint has taken in what lies between; `appended` is set by every record.

        Raises DiskFull, JournalFailed.
        """
        self._disk, self._store, self._size, self._appended = disk, store, segment_bytes, appended
        self._room = segment_bytes - HEADER_SIZE - RECORD_SIZE  # for the payload of one record
        self._synced_offset = self._slot = 0  # of the current segment
        self.failed = ""  # why nothing can be written any more
        self.tail = Tail(record, seed, synced)
        self._number = number - 1
        self._spare: Segment | None = None
        self._unsynced: list[Segment] = []  # full segments with records that are not known to be durable
        self._full: list[Segment] = []  # full segments, synced, kept for the header that says so
        self._segment = self._activate()
        self._sync_now()

    def _sync_now(self) -> None:
        try:
            self._segment.sync()
        except OSError as error:
            raise self.fail(error) from error

    @property
    def last(self) -> int:
        """Number of the last record appended."""
        return self.tail.next - 1

    @property
    def synced(self) -> int:
        """Number of the last record known to be durable."""
        return self.tail.synced

    def position(self) -> Position:
        """Where the next record goes; an open run is sealed, since what is before a position stays as it is."""
        tail = self.tail
        tail.seal()
        return Position(self._number, tail.offset, tail.next, tail.seed)

    def append(self, payload: bytes) -> int:
        """Append a payload, in several records when it is larger than a segment; the number of the last one.

        Raises DiskFull, JournalFailed; then the payload is not in the journal, not even after a crash.
        """
        if self.failed:
            raise JournalFailed(self.failed)
        room = self._room
        if len(payload) <= room:
            return self._append(payload, 0)
        pieces = [payload[at : at + room] for at in range(0, len(payload), room)]
        if self._disk.free() < (len(pieces) + 1) * self._size:
            raise DiskFull(f"The journal needs {len(payload):,} bytes; the disk has {self._disk.free():,}.")
        for number, piece in enumerate(pieces):
            self._append(piece, (CONTINUED if number else 0) | (MORE if number + 1 < len(pieces) else 0))
        return self.last

    def _append(self, payload: bytes, flags: int) -> int:
        tail = self.tail
        if tail.offset + RECORD_SIZE + len(payload) > self._size:
            self._segment = self._activate()
        try:
            number = tail.append(payload, flags)
        except OSError as error:
            raise self.fail(error) from error
        if not self._appended.up:
            self._appended.set()
        return number

    def _activate(self) -> Segment:
        """Turn the spare segment into the current one."""
        self.prepare()
        spare = self._spare
        assert spare is not None
        number = self._number + 1
        try:
            spare.write(0, encode_header(number, self.tail.next, self._store, self.tail.seed, self.synced))
        except OSError as error:
            raise self.fail(error) from error
        if hasattr(self, "_segment"):
            self._unsynced.append(self._segment)
        self._number, self._spare, self._synced_offset = number, None, 0
        self.tail.begin(spare, HEADER_SIZE)
        return spare

    def prepare(self) -> None:
        """Make the segment that follows, so that a full disk is met before the write that would need it.

        Raises DiskFull, JournalFailed.
        """
        if self._spare is None:
            self._spare = self._create(segment_name(self._number + 1))

    def make_spare(self) -> Segment:
        """An empty segment without a number.  Takes its time, and may run without the lock.  Raises as `prepare`."""
        return self._create(SPARE)

    def _create(self, name: str) -> Segment:
        try:
            self._disk.remove(name)
            return self._disk.create(name, self._size)
        except OSError as error:
            raise self.fail(error) from error

    def adopt(self, segment: Segment) -> None:
        """Let an empty segment be the one that follows, unless there is one by now.  Raises JournalFailed."""
        try:
            if self._spare is not None or self.failed:
                segment.close()
                self._disk.remove(SPARE)
                return
            segment.name = segment_name(self._number + 1)
            self._disk.rename(SPARE, segment.name)
        except OSError as error:
            raise self.fail(error) from error
        self._spare = segment

    def wants_spare(self) -> bool:
        """Whether the current segment is half full and nothing is prepared to follow it."""
        return self._spare is None and not self.failed and 2 * self.tail.offset > self._size

    def unsynced_bytes(self) -> int:
        """Bytes, about, that the next sync has to write."""
        return sum(segment.size for segment in self._unsynced) + self.tail.offset - self._synced_offset

    def segments(self) -> int:
        """Number of its files, the one that is to follow included."""
        return len(self._full) + len(self._unsynced) + 1 + (self._spare is not None)

    def cut(self) -> Cut:
        """Everything so far, to be synced; an open run is sealed, since what is synced stays.  Raises JournalFailed."""
        if self.failed:
            raise JournalFailed(self.failed)
        self.tail.seal()
        return Cut(self.last, [*self._unsynced, self._segment], self.tail.offset)

    def settle(self, cut: Cut) -> None:
        """A cut has been synced."""
        self.tail.synced = max(self.synced, cut.record)
        if cut.segments[-1] is self._segment:
            self._synced_offset = cut.offset
        done = [segment for segment in self._unsynced if segment in cut.segments]
        self._unsynced = [segment for segment in self._unsynced if segment not in done]
        self._full += done
        try:
            self._segment.write(SLOTS[self._slot], encode_synced(self.synced))
            self._slot = 1 - self._slot
        except (OSError, DiskFull) as error:
            log.warning("the journal's synced number could not be written: %s", error)

    def settle_until(self, record: int) -> None:
        """A checkpoint holds everything up to `record`, which is as good as a sync of it."""
        self.tail.synced = max(self.synced, record)

    def fail(self, error: OSError) -> JournalFailed:
        """No write is taken any more: after a failed sync nobody knows what the disk holds."""
        self.failed = f"The journal on the disk cannot be written: {error}."
        self.tail.let_go()
        log.error("%s", self.failed)
        return JournalFailed(self.failed)

    def release(self, position: Position) -> None:
        """A checkpoint holds everything before `position`: let go of the segments before it."""
        for held in (self._full, self._unsynced):
            gone = [segment for segment in held if (segment_number(segment.name) or 0) < position.segment]
            for segment in gone:
                held.remove(segment)
                segment.close()
        remove_before(self._disk, position.segment)

    def close(self) -> None:
        """Let go of all files; nothing is synced."""
        self.tail.let_go()
        for segment in (*self._full, *self._unsynced, self._segment, *filter(None, [self._spare])):
            segment.close()
        self._full, self._unsynced, self._spare = [], [], None
        self.failed = self.failed or "The journal is closed."


def remove_before(disk: Disk, number: int) -> None:
    """Delete all segments before `number`."""
    for name in disk.list():
        found = segment_number(name)
        if found is not None and found < number:
            disk.remove(name)
