"""Rescue files: what a replica held that the cluster did not, kept when the replica started over."""

from __future__ import annotations

import zlib
from typing import NamedTuple

import msgspec

from crdtsync.clocks.vector import Clock
from crdtsync.datatypes.rows import PackedRows
from crdtsync.errors import StoreDamaged
from crdtsync.storage.table import flat, pack, unflat

MAGIC = b"CRDTRSC1"


class Rescue(NamedTuple):
    """Content of a rescue file."""

    bucket: str
    node: str
    covered: Clock  # {actor id: seq}: what the member held whose state was taken
    parts: list[PackedRows]


def rescue_name(start: int, bucket: int) -> str:
    """File name: ordered by start."""
    return f"rescue-{start:016x}-{bucket:08x}"


def encode_rescue(bucket: str, node: str, covered: Clock, parts: list[PackedRows]) -> bytes:
    """The bytes of a rescue file."""
    columns = [[list(part.actors), part.count, part.keys, part.images] for part in parts]
    body = pack([bucket, node, flat(covered), columns])
    return MAGIC + zlib.crc32(body).to_bytes(4, "little") + body


def decode_rescue(data: bytes) -> Rescue:
    """The content back; its rows are to be checked like those of a stranger.  Raises StoreDamaged."""
    body = data[12:]
    if data[:8] != MAGIC or data[8:12] != zlib.crc32(body).to_bytes(4, "little"):
        raise StoreDamaged("A rescue file fails its checksum.")
    try:
        bucket, node, covered, columns = _content(body)
        return Rescue(bucket, node, unflat(covered), [PackedRows(*part) for part in columns])
    except (msgspec.DecodeError, ValueError) as error:
        raise StoreDamaged(f"A rescue file cannot be read: {error}.") from error


_Columns = tuple[tuple[int, ...], int, bytes, bytes]
_content = msgspec.msgpack.Decoder(tuple[str, str, list[int], list[_Columns]]).decode
