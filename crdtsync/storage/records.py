"""The bytes of a journal segment: header, records, and reading them back.  FORMAT.md, "Journal", is the text."""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from crdtsync.kernels import RECORD, RUN, SEALED, SLOTS_SIZE, decode_slots

MAGIC, MAJOR, MINOR = b"CRDTJNL1", 4, 0
CHAINED_BY_STEP = 4  # from this format on a record is chained on the last step of the run before it, not on its head
HEADER = struct.Struct("<8sHHIQQQI")  # magic, major, minor, 0, segment, first record, store, seed; then its crc
SYNCED = struct.Struct("<QI")  # last record known to be synced, crc; two slots, rewritten in place by turns
SLOTS = (HEADER.size + 4, HEADER.size + 4 + SYNCED.size)
HEADER_SIZE, RECORD_SIZE = 80, RECORD.size
MORE, CONTINUED, LENGTH = 1 << 31, 1 << 30, (1 << 29) - 1  # flags of a group (RUN lies between), mask of the length


class Position(NamedTuple):
    """A place between two records."""

    segment: int
    offset: int
    record: int  # number of the record that comes next
    seed: int  # crc of the record before


class Header(NamedTuple):
    """What a segment says of itself."""

    segment: int
    first: int
    store: int
    seed: int
    synced: int
    major: int


def segment_name(number: int) -> str:
    """File name of a segment."""
    return f"segment-{number:016x}"


def segment_number(name: str) -> int | None:
    """Number of a segment by its file name; None for other files."""
    stem, dash, digits = name.partition("-")
    if stem != "segment" or not dash or len(digits) != 16 or set(digits) - set("0123456789abcdef"):
        return None
    return int(digits, 16)


def encode_header(segment: int, first: int, store: int, seed: int, synced: int) -> bytes:
    """The first 80 bytes of a segment in use."""
    head = HEADER.pack(MAGIC, MAJOR, MINOR, 0, segment, first, store, seed)
    return (head + zlib.crc32(head).to_bytes(4, "little") + 2 * encode_synced(synced)).ljust(HEADER_SIZE, b"\0")


def encode_synced(synced: int) -> bytes:
    """The content of a slot, rewritten after each sync."""
    return SYNCED.pack(synced, zlib.crc32(synced.to_bytes(8, "little")))


def decode_header(data: bytes) -> Header | None:
    """The header, or None when it does not check out."""
    if len(data) < HEADER_SIZE:
        return None
    magic, major, _, _, segment, first, store, seed = HEADER.unpack_from(data)
    if magic != MAGIC or int.from_bytes(data[HEADER.size : SLOTS[0]], "little") != zlib.crc32(data[: HEADER.size]):
        return None
    known = [_synced(data[at : at + SYNCED.size]) for at in SLOTS]
    # A crash can tear the slot that was being written.  It cannot tear both, and it leaves no slot empty.
    if known == [None, None] or not all(any(data[at : at + SYNCED.size]) for at in SLOTS):
        return None
    return Header(segment, first, store, seed, max(number or 0 for number in known), major)


def _synced(slot: bytes) -> int | None:
    number, check = SYNCED.unpack(slot)
    return number if check == zlib.crc32(slot[:8]) else None


class Record(NamedTuple):
    """A record read back."""

    flags: int
    payload: bytes
    seed: int  # what the next record is chained on
    synced: int
    end: int  # offset of what follows
    step: tuple[int, int, int] | None = None  # of a run: seq, ups and downs of its last step
    doubtful: bool = False  # of a run: its other slot does not check out, and may have held a later step


def decode_record(data: bytes, offset: int, number: int, seed: int, major: int = MAJOR) -> Record | str | None:
    """The record at `offset` of a segment of format `major`; None at its end, or what is wrong with it."""
    if offset + RECORD_SIZE > len(data):
        return None if not any(data[offset:]) else "is cut off"
    length, crc, found, synced = RECORD.unpack_from(data, offset)
    if not (length or crc or found or synced):
        return None
    end = offset + RECORD_SIZE + (length & LENGTH)
    if end > len(data):
        return "is longer than what is left of its segment"
    if found != number:
        return f"has number {found} where {number} belongs"
    if synced >= number or length & LENGTH <= (SLOTS_SIZE if length & RUN else 0):
        return "has an impossible header"
    slots = SLOTS_SIZE if length & RUN else 0
    payload = data[offset + RECORD_SIZE : end - slots]
    if crc != zlib.crc32(payload, zlib.crc32(SEALED.pack(length, found, synced), seed)):
        return "fails its checksum"
    if not slots:
        return Record(length & ~LENGTH, payload, crc, synced, end)
    found_slots = decode_slots(data[end - slots : end], crc)
    if found_slots is None:
        return "has no step that passes its checksum"
    (*step, step_crc), sound = found_slots
    chained = step_crc if major >= CHAINED_BY_STEP else crc
    return Record(length & ~LENGTH, payload, chained, synced, end, (step[0], step[1], step[2]), not sound)


def synced_after(data: bytes, offset: int, number: int, major: int = MAJOR) -> int:
    """The greatest synced number told by intact records after a bad one at `offset`; 0 when there is none."""
    best = 0
    while offset + RECORD_SIZE <= len(data):
        length, crc, _, _ = RECORD.unpack_from(data, offset)
        end = offset + RECORD_SIZE + (length & LENGTH)
        if not length or end > len(data):
            break
        number += 1
        # After a run that is bad: whichever slot held its last step.
        steps = [int.from_bytes(data[at - 4 : at], "little") for at in (end - SLOTS_SIZE // 2, end)]
        for seed in steps if length & RUN and major >= CHAINED_BY_STEP else [crc]:
            following = decode_record(data, end, number, seed, major)
            if isinstance(following, Record):
                best = max(best, following.synced)
        offset = end
    return best
