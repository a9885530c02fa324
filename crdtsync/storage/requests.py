"""Requests that were answered: a write that comes again under its id is told its first answer, not made again.

The ids of a store stand in the order in which they came, numbered, and leave in that order: by count, then by age.
They belong to a bucket's name, so a bucket that starts over keeps them.  FORMAT.md, "Requests", is the text.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import Any, NamedTuple

from crdtsync.storage.maps import Changes
from crdtsync.storage.table import REQUESTS, encode_meta

DIGEST_BYTES = 8  # of a request's operations: enough to notice a mix-up
NUMBER = struct.Struct(">Q")
OVERHEAD = 200  # bytes, about, that Python needs for an id beyond its text
ENTRY = struct.Struct("<QQIQ8s")  # number, ms, actor, seq, digest


class Request(NamedTuple):
    """What a caller says of a write: its id, and a digest of its operations (`DIGEST_BYTES`)."""

    id: str
    digest: bytes


class Answer(NamedTuple):
    """What became of a write."""

    actor: int  # index of the actor of its events
    seq: int  # its last event; 0: it changed nothing
    repeated: bool = False  # the answer is that of an earlier write with the same id


class Entry(NamedTuple):
    """One request that was answered."""

    number: int
    ms: int  # wall time of the write, milliseconds since 1970
    actor: int
    seq: int
    digest: bytes


class Mark(NamedTuple):
    """Where the requests stood at the cut of a checkpoint."""

    last: int  # number that the next one was to get
    size: int  # bytes that count as dirty until those before it are saved


class Unsaved(NamedTuple):
    """What the table lacks of the requests up to a cut, and what it has too much of."""

    cut: Mark
    entries: list[tuple[bytes, bytes]]
    gone: list[int]

    def write(self, changes: Changes) -> None:
        """Add all of it to a commit.  Runs without the store's lock."""
        changes.delete(REQUESTS, [NUMBER.pack(number) for number in self.gone])
        changes.put(REQUESTS, [_row(key, Entry(*ENTRY.unpack(packed))) for key, packed in self.entries])


class Requests:
    """The ids that are known.  The store's lock guards all of it."""

    def __init__(self, most: int, age_max: float) -> None:
        """At most `most` ids are kept, none longer than `age_max` seconds."""
        self._most, self._age_ms = most, int(age_max * 1000)
        self._next = 0  # number that the next one gets
        self._held: dict[bytes, bytes] = {}
        self._order: deque[bytes] = deque()  # keys of `_held`, the oldest first
        self._saved = self._offered = 0  # numbers below are in the table; may be in it, if the commit came through
        self._pending = 0  # bytes that came since the last commit
        self._gone: list[int] = []  # numbers that the table has, or may have, and that are forgotten
        self.bytes = 0  # that memory needs for them, about

    def __len__(self) -> int:
        return len(self._held)

    def find(self, bucket: str, id: str, now_ms: int) -> Entry | None:
        """The entry of an id in a bucket, None when it is not known (any more)."""
        self.trim(now_ms)
        packed = self._held.get(_key(bucket, id))
        return None if packed is None else Entry(*ENTRY.unpack(packed))

    def age(self, now_ms: int) -> float | None:
        """Seconds for which the oldest id has been kept: at the bound, a retry is safe for that long.  None: no id."""
        if not self._order:
            return None
        return max(0, now_ms - int(ENTRY.unpack(self._held[self._order[0]])[1])) / 1000

    def note(self, request: Request, bucket: str, now_ms: int) -> list[Any]:
        """What the journal says of a request about to be answered: number, bucket, id, digest, ms."""
        return [self._next, bucket, request.id, request.digest, now_ms]

    def add(self, noted: list[Any], actor: int, seq: int) -> int:
        """Take in a request that was answered with an event, once; the bytes that wait for a checkpoint with it."""
        number, bucket, id, digest, ms = noted
        if number < self._next:  # a replay of what the table holds already
            return 0
        size = self._keep(_key(bucket, id), Entry(number, ms, actor, seq, digest))
        self._pending += size
        self.trim(ms)
        return size

    def load(self, value: list[Any]) -> None:
        """Take in what the table holds, in its order."""
        number, bucket, id, digest, ms, actor, seq = value
        self._saved = self._offered = number + 1
        self._keep(_key(bucket, id), Entry(number, ms, actor, seq, digest))

    def skip(self, number: int) -> None:
        """The table holds an entry of this number that cannot be read: the next commit deletes it."""
        self._gone.append(number)
        self._saved = self._offered = self._next = number + 1

    def _keep(self, key: bytes, entry: Entry) -> int:
        if key in self._held:  # when it came again it was forgotten already, under a bound that has been raised since
            self._order.remove(key)
            self._forget(key)
        size = len(key) + ENTRY.size + OVERHEAD
        self._held[key] = ENTRY.pack(*entry)
        self._order.append(key)
        self._next = entry.number + 1
        self.bytes += size
        return size

    def trim(self, now_ms: int) -> None:
        """Forget the oldest ones beyond the bounds."""
        while self._order:
            key = self._order[0]
            ms = ENTRY.unpack(self._held[key])[1]
            if len(self._order) <= self._most and ms + self._age_ms >= now_ms:
                return
            self._order.popleft()
            self._forget(key)

    def _forget(self, key: bytes) -> None:
        number = ENTRY.unpack(self._held.pop(key))[0]
        self.bytes -= len(key) + ENTRY.size + OVERHEAD
        if number < self._offered:
            self._gone.append(number)

    # -- checkpoints

    def is_dirty(self) -> bool:
        """Whether a checkpoint has something to write."""
        return bool(self._pending or self._gone)

    def mark(self) -> Mark:
        """Where they stand now."""
        return Mark(self._next, self._pending)

    def unsaved(self, cut: Mark) -> Unsaved:
        """What a commit of this cut is to write."""
        # RULE: no id reaches the table ahead of its write: the journal may lose what it has not synced
        entries = []
        for key in reversed(self._order):
            packed = self._held[key]
            number = ENTRY.unpack(packed)[0]
            if number < self._saved:
                break
            if number < cut.last:
                entries.append((key, packed))
        self._offered = max(self._offered, cut.last)
        return Unsaved(cut, entries, list(self._gone))

    def saved(self, written: Unsaved) -> None:
        """A commit with this came through."""
        self._saved = written.cut.last
        self._pending -= written.cut.size
        del self._gone[: len(written.gone)]


def _key(bucket: str, id: str) -> bytes:
    return f"{bucket}\0{id}".encode()


def _row(key: bytes, entry: Entry) -> tuple[bytes, bytes]:
    """Key and checked value in the row table."""
    bucket, _, id = key.decode().partition("\0")
    at = NUMBER.pack(entry.number)
    return at, encode_meta(at, [entry.number, bucket, id, entry.digest, entry.ms, entry.actor, entry.seq])
