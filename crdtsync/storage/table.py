"""The row table's bytes: keys and checked values of every database, and reading them back.  FORMAT.md, "Row table"."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from itertools import chain, groupby, islice
from typing import Any

import msgspec

from crdtsync.datatypes.rows import Row
from crdtsync.errors import StoreDamaged
from crdtsync.kernels import LENGTH, NUMBER, PLAIN_MAX, row_read, table_read
from crdtsync.storage.maps import Snapshot

META, ACTORS, BUCKETS, ROWS, LOG, DEAD = "meta", "actors", "buckets", "rows", "log", "dead"
REQUESTS = "requests"
KEY_MAX = 511  # of LMDB
AT_ONCE = 500  # rows or log entries decoded by one call
PREFIX = 4  # bytes of the bucket number that every key starts with
DIGEST = 16
STEM = KEY_MAX - PREFIX - DIGEST  # bytes that a long row key keeps before its digest: 491
assert PLAIN_MAX == KEY_MAX - PREFIX - 1  # a full-length key always holds a digest, so no plain key can pose as one

pack = msgspec.msgpack.Encoder().encode
unpack = msgspec.msgpack.Decoder().decode


def prefix(bucket: int) -> bytes:
    """What all keys of a bucket start with."""
    return NUMBER.pack(bucket)


def physical(bucket: int, rowkey: bytes) -> bytes:
    """The key of a row in the table; a row key that would pass 511 bytes is cut, with a digest of the whole behind."""
    if len(rowkey) <= PLAIN_MAX:
        return NUMBER.pack(bucket) + rowkey
    return NUMBER.pack(bucket) + rowkey[:STEM] + blake2b(rowkey, digest_size=DIGEST).digest()


def decode_row(key: bytes, value: bytes) -> Row | None:
    """(row key, image), or None when the checksum fails."""
    if len(value) < 6 or LENGTH.unpack_from(value)[0] != zlib.crc32(memoryview(value)[4:], zlib.crc32(key)):
        return None
    if value[4] == 0:
        return key[PREFIX:], value[5:]
    end = 9 + LENGTH.unpack_from(value, 5)[0]
    return value[9:end], value[end:]


def rowkey_of(key: bytes, value: bytes) -> bytes | None:
    """The row key of a row that fails its checksum, as far as it can be told; None when it is lost, too."""
    if len(key) < KEY_MAX:
        return key[PREFIX:]
    rowkey = value[9 : 9 + LENGTH.unpack_from(value, 5)[0]] if len(value) > 9 else b""
    return rowkey if physical(NUMBER.unpack_from(key)[0], rowkey) == key else None


def decode_log(key: bytes, value: bytes) -> bytes | None:
    """The physical key of the row that a log entry leads to, or None when the checksum fails."""
    row = key[:PREFIX] + value[4:]
    return row if value[:4] == LENGTH.pack(zlib.crc32(row, zlib.crc32(key))) else None


def encode_meta(key: bytes, value: Any) -> bytes:
    """A checked MessagePack value."""
    body = pack(value)
    return LENGTH.pack(zlib.crc32(body, zlib.crc32(key))) + body


def decode_meta(key: bytes, value: bytes, what: str) -> Any:
    """The value back.  Raises StoreDamaged that names `what`."""
    if len(value) < 5 or LENGTH.unpack_from(value)[0] != zlib.crc32(memoryview(value)[4:], zlib.crc32(key)):
        raise StoreDamaged(f"The row table's {what} fails its checksum.")
    try:
        return unpack(value[4:])
    except msgspec.DecodeError as error:
        raise StoreDamaged(f"The row table's {what} cannot be read: {error}.") from error


def flat(clock: dict[int, int]) -> list[int]:
    """A clock as one list: actor, seq, actor, seq, ..."""
    return [number for entry in clock.items() for number in entry]


def unflat(numbers: list[int]) -> dict[int, int]:
    """The clock back."""
    return dict(zip(numbers[::2], numbers[1::2], strict=True))


Damage = Callable[[bytes, bytes], None]  # physical key, value: told of a row that fails its checksum


def read_row(snapshot: Snapshot, bucket: int, rowkey: bytes, damage: Damage) -> bytes | None:
    """Image of a row, or None; a damaged one is reported, and told as None."""
    key = physical(bucket, rowkey)
    value = snapshot.get(ROWS, key)
    if value is None:
        return None
    image = row_read(bucket, rowkey, value)
    if image is not None:
        return image
    row = decode_row(key, value)  # a long key, or damage
    if row is None or row[0] != rowkey:
        damage(key, value)
        return None
    return row[1]


def read_many(snapshot: Snapshot, bucket: int, rowkeys: list[bytes], damage: Damage) -> list[Row]:
    """Those rows that there are, in no order; damaged ones are reported and left out."""
    head = NUMBER.pack(bucket)
    plain = sorted([head + key for key in rowkeys if len(key) < STEM])
    pairs = snapshot.get_many(ROWS, plain)
    rows: list[Row] = []
    done = table_read(pairs, PREFIX + STEM, rows)
    rows += _decoded(pairs[done:], damage)
    for key in rowkeys:
        if len(key) >= STEM:
            image = read_row(snapshot, bucket, key, damage)
            if image is not None:
                rows.append((key, image))
    return rows


def read_rows(
    snapshot: Snapshot, bucket: int, start: bytes, stop: bytes | None, damage: Damage, wanted: int = AT_ONCE
) -> Iterator[Row]:
    """Rows with start <= row key < stop in the order of row keys; damaged ones are reported and left out.

    Keys up to 490 bytes come in order by themselves.  Longer ones are read in groups that share their first 491 bytes,
    and are brought into order here.  Who has not `wanted` as many does not pay for a whole slice.
    """
    head = NUMBER.pack(bucket)
    first = head + start[:STEM]
    last = NUMBER.pack(bucket + 1) if stop is None else head + stop if len(stop) < STEM else after(head + stop[:STEM])
    pairs = snapshot.range(ROWS, first, last)
    while some := list(islice(pairs, min(wanted, AT_ONCE))):
        rows: list[Row] = []
        done = table_read(some, PREFIX + STEM, rows)
        yield from rows
        for number in range(done, len(some)):
            if len(some[number][0]) >= PREFIX + STEM:
                yield from _read_long(chain(some[number:], pairs), start, stop, damage)
                return
            yield from _decoded(some[number : number + 1], damage)


def _read_long(pairs: Iterator[tuple[bytes, bytes]], start: bytes, stop: bytes | None, damage: Damage) -> Iterator[Row]:
    """As `read_rows`, from the first long key on."""
    for long, group in groupby(pairs, key=_stem):
        decoded = _decoded(group, damage)
        for row in decoded if long is None else sorted(decoded):
            if row[0] >= start and (stop is None or row[0] < stop):
                yield row


def _stem(pair: tuple[bytes, bytes]) -> bytes | None:
    return None if len(pair[0]) < PREFIX + STEM else pair[0][: PREFIX + STEM]


def _decoded(pairs: Iterable[tuple[bytes, bytes]], damage: Damage) -> Iterator[Row]:
    for key, value in pairs:
        row = decode_row(key, value)
        if row is None:
            damage(key, value)
        else:
            yield row


def after(key: bytes) -> bytes | None:
    """The least key above all that start with `key`; None when there is none."""
    stem = key.rstrip(b"\xff")
    return stem[:-1] + bytes((stem[-1] + 1,)) if stem else None
