"""The tail of the journal: where records are chained on.  crdtsync/storage/FORMAT.md, "Journal", is the text.

A **run** is a record with two slots at its end, for a counter's cell that is written again and again: as long as
nothing follows it and no sync has begun, the next step of the same cell goes into the older of the two slots.  What
follows is chained on the last step: a disk that loses it, and keeps the record behind it, has lost that one, too.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

RECORD = struct.Struct("<IIQQ")  # length and flags, crc, number, synced number
SEALED = struct.Struct("<IQQ")  # what a record's crc covers before its payload
SLOT = struct.Struct("<QQQI")  # seq, ups, downs, crc of these under the record's crc
RUN = 1 << 29  # flag of a record that ends with two slots
SLOTS_SIZE = 2 * SLOT.size


def encode_record(payload: bytes, flags: int, number: int, synced: int, seed: int) -> tuple[bytes, int]:
    """(bytes of a record, its crc)."""
    length = len(payload) | flags
    crc = zlib.crc32(payload, zlib.crc32(SEALED.pack(length, number, synced), seed))
    return RECORD.pack(length, crc, number, synced) + payload, crc


def encode_run(payload: bytes, number: int, synced: int, seed: int) -> tuple[bytes, int]:
    """(bytes of a run with empty slots, its crc): the length counts the slots, the crc does not cover them."""
    length = (len(payload) + SLOTS_SIZE) | RUN
    crc = zlib.crc32(payload, zlib.crc32(SEALED.pack(length, number, synced), seed))
    return RECORD.pack(length, crc, number, synced) + payload + bytes(SLOTS_SIZE), crc


def encode_slot(seq: int, ups: int, downs: int, seed: int) -> bytes:
    """A slot of the run whose crc is `seed`."""
    body = SLOT.pack(seq, ups, downs, 0)[:-4]
    return body + zlib.crc32(body, seed).to_bytes(4, "little")


def decode_slots(data: bytes, seed: int) -> tuple[tuple[int, int, int, int], bool] | None:
    """((seq, ups, downs, crc) of the later of two slots, whether the other is sound, too); None when neither is.

    The first slot is never empty, the second is until there is a second step.
    """
    good: list[tuple[int, int, int, int]] = []
    for at in (0, SLOT.size):
        seq, ups, downs, crc = SLOT.unpack_from(data, at)
        if seq and crc == zlib.crc32(data[at : at + SLOT.size - 4], seed):
            good.append((seq, ups, downs, crc))
        elif at and len(good) == 1 and not any(data[at : at + SLOT.size]):
            return good[0], True
    return (max(good), len(good) == 2) if good else None


def _crc_of(slot: bytes) -> int:
    return int.from_bytes(slot[-4:], "little")


class Tail:
    """The open end of the journal's current segment.  Room and failures are its owner's to look after."""

    __slots__ = ("_at", "_crc", "_turn", "next", "offset", "seed", "segment", "synced")

    def __init__(self, next: int, seed: int, synced: int) -> None:
        """`next`: number of the next record; `seed`: what it is chained on; `synced`: last number known durable."""
        self.next, self.seed, self.synced = next, seed, synced
        self.segment: Any = None
        self.offset = 0
        self._at = 0  # where the slots of the open run begin; 0: no run is open
        self._turn = 0  # the slot that the next step goes into
        self._crc = 0  # of the run, which seeds its slots

    def begin(self, segment: Any, offset: int) -> None:
        """Go on in another segment."""
        self.seal()
        self.segment, self.offset = segment, offset

    def let_go(self) -> None:
        """The segment is about to be closed."""
        self.seal()
        self.segment = None

    def append(self, payload: bytes, flags: int = 0) -> int:
        """Add a record; its number.  Raises OSError: then nothing is known about it."""
        self._at = 0
        data, crc = encode_record(payload, flags, self.next, self.synced, self.seed)
        return self._added(data, crc)

    def append_run(self, payload: bytes, seq: int, ups: int, downs: int) -> int:
        """Add a run, open, with its first step; its number.  Raises OSError."""
        self._at = 0
        data, crc = encode_run(payload, self.next, self.synced, self.seed)
        slots = self.offset + len(data) - SLOTS_SIZE
        slot = encode_slot(seq, ups, downs, crc)
        number = self._added(data[:-SLOTS_SIZE] + slot + bytes(SLOT.size), _crc_of(slot))
        self._at, self._turn, self._crc = slots, 1, crc
        return number

    def _added(self, data: bytes, seed: int) -> int:
        self.segment.write(self.offset, data)
        number = self.next
        self.offset += len(data)
        self.next, self.seed = number + 1, seed
        return number

    def step(self, seq: int, ups: int, downs: int) -> None:
        """Put a step into the open run, over the older of its slots.  Raises OSError, ValueError without a run."""
        if not self._at:
            raise ValueError("no run is open")
        slot = encode_slot(seq, ups, downs, self._crc)
        self.segment.write(self._at + self._turn * SLOT.size, slot)
        self._turn, self.seed = 1 - self._turn, _crc_of(slot)

    @property
    def open(self) -> bool:
        """Whether the last record is a run that takes more steps."""
        return self._at > 0

    def seal(self) -> None:
        """The open run takes no more steps: what a sync is to make durable, or a checkpoint counts, must stay."""
        self._at = 0
