"""Reading the journal after a start: what counts, where it ends, and whether the end is a torn tail or damage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from crdtsync.errors import UnsupportedFormat
from crdtsync.storage.disk import Disk
from crdtsync.storage.facts import run_as_write
from crdtsync.storage.records import (
    CHAINED_BY_STEP,
    CONTINUED,
    HEADER_SIZE,
    MAJOR,
    MORE,
    Header,
    Position,
    Record,
    decode_header,
    decode_record,
    segment_name,
    segment_number,
    synced_after,
)


class Ending(NamedTuple):
    """Where and why a replay ended."""

    position: Position  # after the last record that counts
    bad: Position  # of what is wrong: `position`, or that of the last run when a bad slot may have held its last step
    last_segment: int  # greatest number of any segment file
    synced: int  # greatest record number known to have been synced
    records: int  # records replayed
    problem: str  # what follows the position: "" for nothing, else what is wrong there
    damaged: tuple[str, ...]  # files from the bad record on, when a synced record is among what is lost


def replay(disk: Disk, store: int, start: Position, apply: Callable[[bytes], None]) -> Ending:
    """Give every complete payload from `start` on to `apply`, in order.  Raises UnsupportedFormat, OSError.

    A bad record ends the replay.  Only when a record at or beyond it is known to have been synced it is damage: then
    `damaged` names the files, and the caller decides.  So it is with a run one of whose slots is bad, unless what
    follows is chained on the good one: a sync covers both slots, and they do not change afterwards.
    """
    reading = _Reading(disk, store, start, apply)
    for number in reading.numbers:
        if not reading.segment(number):
            break
    return reading.ending()


class _Reading:
    """State of one replay."""

    def __init__(self, disk: Disk, store: int, start: Position, apply: Callable[[bytes], None]) -> None:
        self.disk, self.store, self.at, self.apply = disk, store, start, apply
        found = sorted(number for number in map(segment_number, disk.list()) if number is not None)
        self.last = max([start.segment - 1, *found])
        self.numbers = [number for number in found if number >= start.segment]
        self.synced, self.records, self.problem = start.record - 1, 0, ""
        self.certain = False  # the problem is damage whatever the synced number says
        self.doubt: Position | None = None  # of a run that may lack its last step: nothing behind it tells otherwise
        self.group: list[bytes] = []

    def segment(self, number: int) -> bool:
        """Replay one segment; False when the replay ends here."""
        data = self.disk.read(segment_name(number))
        if not any(data[:HEADER_SIZE]):
            return self._unused(number)
        header = decode_header(data)
        if header is None:
            # Without a record behind it, it may be a header in whose writing the process ended: then nothing is lost.
            named = number == self.at.segment and self.at.offset > 0
            return self._stop("its header does not check out", certain=named or any(data[HEADER_SIZE:]))
        if header.major > MAJOR:
            raise UnsupportedFormat(f"{segment_name(number)} has journal format {header.major}.")
        self.synced = max(self.synced, header.synced)
        if not self._follows(number, header):
            return False
        return self._records(data, header.major)

    def _unused(self, number: int) -> bool:
        """A segment that was prepared and never used, unless a checkpoint has named it."""
        if number == self.at.segment and self.at.offset:
            return self._stop("its header is gone", certain=True)
        return False

    def _follows(self, number: int, header: Header) -> bool:
        if header.store != self.store:
            return self._stop("it belongs to another store", certain=True)
        if number == self.at.segment and self.at.offset:  # where the checkpoint ended
            if header.segment == number and header.first <= self.at.record:
                return True
            return self._stop("its header contradicts the checkpoint", certain=True)
        if header.segment == number and (header.first, header.seed) == (self.at.record, self.at.seed):
            self._clear_doubt(header.major)
            self.at = Position(number, HEADER_SIZE, self.at.record, self.at.seed)
            return True
        return self._stop(f"it starts at record {header.first} where {self.at.record} belongs")

    def _records(self, data: bytes, major: int) -> bool:
        while True:
            record = decode_record(data, self.at.offset, self.at.record, self.at.seed, major)
            if record is None:
                self.at = Position(self.at.segment + 1, 0, self.at.record, self.at.seed)
                return True
            if isinstance(record, str):
                self.synced = max(self.synced, synced_after(data, self.at.offset, self.at.record, major))
                return self._stop(f"the record {record}")
            self.synced = max(self.synced, record.synced)
            self._take(record)
            self._clear_doubt(major)
            if record.doubtful:
                self.doubt = self.at
            self.at = Position(self.at.segment, record.end, self.at.record + 1, record.seed)

    def _take(self, record: Record) -> None:
        """Groups are all or nothing: a group that its writer gave up is followed by a record that begins anew."""
        self.records += 1
        if not record.flags & CONTINUED:
            self.group.clear()
        self.group.append(record.payload if record.step is None else run_as_write(record.payload, record.step))
        if not record.flags & MORE:
            payload = self.group[0] if len(self.group) == 1 else b"".join(self.group)
            self.group.clear()
            self.apply(payload)

    def _clear_doubt(self, major: int) -> None:
        """What follows a run is chained on the step that was taken for its last one; formerly on the run's head."""
        if major >= CHAINED_BY_STEP:
            self.doubt = None

    def _stop(self, problem: str, certain: bool = False) -> bool:
        self.problem, self.certain = problem, certain
        return False

    def ending(self) -> Ending:
        """Look at what follows the end for signs that it had been synced."""
        for header in self._headers_beyond():
            self.synced = max(self.synced, header.synced)
        missing = self.at.offset > 0 and self.at.segment not in self.numbers
        if missing:
            self._stop("the segment is missing", certain=True)
        lost, bad = self.certain or self.synced >= self.at.record, self.at
        if lost and not self.problem:
            self.problem = "the record is gone"
        if self.doubt is not None and not lost:
            lost, bad = self.synced >= self.doubt.record, self.doubt
            self.problem = "a slot of the run fails its checksum, and may have held its last step"
        files = [segment_name(number) for number in self.numbers if number >= bad.segment or missing]
        damaged = self._damaged(files) if lost else ()
        return Ending(self.at, bad, self.last, self.synced, self.records, self.problem, damaged)

    def _damaged(self, files: list[str]) -> tuple[str, ...]:
        held = [segment_name(number) for number in self.numbers if number == self.at.segment - 1]
        return tuple(files or held) or (segment_name(self.at.segment),)

    def _headers_beyond(self) -> Iterator[Header]:
        for number in self.numbers:
            if number >= self.at.segment:
                header = decode_header(self.disk.read(segment_name(number))[:HEADER_SIZE])
                if header is not None and header.store == self.store:
                    yield header


def describe(ending: Ending) -> str:
    """Damage in a sentence: file, offset, record."""
    at = ending.bad
    return (
        f"Journal {ending.damaged[0]}, offset {at.offset}, record {at.record}: {ending.problem}, "
        f"though records up to {ending.synced} are known to have been synced."
    )


__all__ = ["Ending", "describe", "replay"]
