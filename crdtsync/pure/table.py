"""What the row table says of rows that have changed: checked values, log entries, marks of dead rows.

crdtsync/storage/FORMAT.md, "Row table", is the text.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

from crdtsync.pure.digest import MASK, rows_digest
from crdtsync.pure.entries import Entries
from crdtsync.pure.rows import row_dead, row_log_dots

PLAIN, LONG = b"\0", b"\1"
PLAIN_MAX = 506  # bytes of a row key that is its own physical key, behind the bucket's number
LOG_KEY = struct.Struct(">IIQ")  # bucket, actor, seq
NUMBER = struct.Struct(">I")
LENGTH = struct.Struct("<I")
PREFIX = 4  # bytes of the bucket number that every key starts with
NO_DOTS: list[tuple[int, int]] = []
Pairs = list[tuple[bytes, bytes]]


class TableChanges(NamedTuple):
    """What a commit says of rows; `table_rows` adds to it."""

    rows: Entries
    log: Entries
    marks: Entries  # of dead rows
    gone: Entries  # keys of rows to delete
    stale: Entries  # of log entries
    alive: Entries  # of marks


def encode_row(key: bytes, rowkey: bytes, image: bytes) -> bytes:
    """The checked value of a row under its physical `key`."""
    body = PLAIN + image if len(rowkey) <= PLAIN_MAX else LONG + LENGTH.pack(len(rowkey)) + rowkey + image
    return LENGTH.pack(zlib.crc32(body, zlib.crc32(key))) + body


def encode_log(key: bytes, row: bytes) -> bytes:
    """The checked value of a log entry that leads to the row with the physical key `row`."""
    return LENGTH.pack(zlib.crc32(row, zlib.crc32(key))) + row[PREFIX:]


def table_rows(
    number: int,
    rows: list[tuple[bytes, bytes | None]],
    origin: dict[bytes, bytes | None],
    changes: tuple[Entries, Entries, Entries, Entries, Entries, Entries],
    physical: Callable[[int, bytes], bytes],
) -> tuple[int, int, int, int]:
    """Add what becomes of `rows` of bucket `number`, given by keys and images; `origin` has the images in the table.

    `changes` is a TableChanges; `physical` gives the keys of rows whose own are too long.  Gives by how many the rows
    grow in number, and the dead ones among them, the bytes of all keys and images written, and what has become of the
    digest, modulo 2^128.
    """
    more = dead = size = 0
    out = TableChanges(*changes)
    for rowkey, image in rows:
        old = origin.get(rowkey)
        key = NUMBER.pack(number) + rowkey if len(rowkey) <= PLAIN_MAX else physical(number, rowkey)
        is_dead, dots = (False, NO_DOTS) if image is None else (row_dead(image), row_log_dots(image))
        was_dead, known = (False, NO_DOTS) if old is None else (row_dead(old), row_log_dots(old))
        if image is None:
            out.gone.add_keys([key])
        else:
            out.rows.add([(key, encode_row(key, rowkey, image))])
            size += len(rowkey) + len(image)
        more += (image is not None) - (old is not None)
        out.stale.add_keys([LOG_KEY.pack(number, *dot) for dot in known if dot not in dots])
        named = [LOG_KEY.pack(number, *dot) for dot in dots if dot not in known]
        out.log.add([(at, encode_log(at, key)) for at in named])
        if is_dead != was_dead:
            dead += is_dead - was_dead
            (out.marks if is_dead else out.alive).add_keys([key])
    before = [(rowkey, origin.get(rowkey)) for rowkey, _ in rows]
    return more, dead, size, (rows_digest(rows) - rows_digest(before)) & MASK


def table_read(pairs: Pairs, most: int, rows: Pairs) -> int:
    """Add the rows that these keys and values of the row table are; their number.

    Ends at the first that is damaged, or whose key has `most` bytes or more.
    """
    for number, (key, value) in enumerate(pairs):
        if not isinstance(key, bytes) or not isinstance(value, bytes):
            raise TypeError("keys and values must be bytes")
        if len(value) < 6 or not PREFIX <= len(key) < most or value[4:5] != PLAIN:
            return number
        if LENGTH.unpack_from(value)[0] != zlib.crc32(value[4:], zlib.crc32(key)):
            return number
        rows.append((key[PREFIX:], value[5:]))
    return len(pairs)


def row_read(number: int, rowkey: bytes, value: bytes) -> bytes | None:
    """Image of one row of bucket `number`, from its value in the row table; None: damaged, or the key is a long one."""
    if len(value) < 6 or len(rowkey) > PLAIN_MAX or value[4:5] != PLAIN:
        return None
    if LENGTH.unpack_from(value)[0] != zlib.crc32(value[4:], zlib.crc32(NUMBER.pack(number) + rowkey)):
        return None
    return value[5:]


def log_read(pairs: Pairs, most: int, rowkeys: list[bytes]) -> int:
    """Add the row keys that these entries of the table's log lead to; their number.

    Ends at the first that is damaged, or leads to a physical key of `most` bytes or more.
    """
    for number, (key, value) in enumerate(pairs):
        if not isinstance(key, bytes) or not isinstance(value, bytes):
            raise TypeError("keys and values must be bytes")
        row = key[:PREFIX] + value[PREFIX:]
        if len(key) < PREFIX or len(row) >= most or value[:4] != LENGTH.pack(zlib.crc32(row, zlib.crc32(key))):
            return number
        rowkeys.append(value[PREFIX:])
    return len(pairs)
