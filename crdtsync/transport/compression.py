"""Columns of parts as zstd frames, between two nodes that have both told in their Hello that they take them.

Only parts that were asked for are compressed: a push is small and in a hurry.  A frame tells its size once expanded,
which is checked before anything of that size is allocated; what all parts of a message grow to together is bounded as
the message itself is.  Without the package `zstandard` a node tells nothing, and gets plain columns.
"""

from __future__ import annotations

from typing import Any

from crdtsync.config import Config
from crdtsync.datatypes.rows import PackedRows
from crdtsync.errors import BadFrame
from crdtsync.replication.messages import Part
from crdtsync.transport.pb import replication_pb2 as pb
from crdtsync.transport.shapes import Limits

try:
    import zstandard
except ImportError:  # the extra "zstd" has not been installed
    zstandard = None  # type: ignore[assignment]

COMPRESS_FROM = 4 * 1024  # bytes of columns: smaller parts fit into a few packets, and cost as many calls
LEVEL = 1  # of zstd: columns are repetitive, and a catch-up should not wait for the processor
KEYS, IMAGES = 1, 2  # the bits of pb.PackedRows.compressed


def possible(config: Config) -> bool:
    """Whether a node with these settings compresses, and takes what is compressed."""
    return config.compression != "off" and zstandard is not None


def worth_it(part: Part) -> bool:
    """Whether to try: a large part of what somebody has asked for."""
    return not part.push and len(part.rows.keys) + len(part.rows.images) >= COMPRESS_FROM


def compress(rows: PackedRows) -> tuple[PackedRows, int]:
    """The rows with each column compressed that becomes smaller by it, and the bits of those columns."""
    compressor: Any = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True, write_content_size=True)
    keys, images = compressor.compress(rows.keys), compressor.compress(rows.images)
    bits = KEYS * (len(keys) < len(rows.keys)) | IMAGES * (len(images) < len(rows.images))
    small = PackedRows(
        actors=rows.actors, count=rows.count,
        keys=keys if bits & KEYS else rows.keys, images=images if bits & IMAGES else rows.images,
    )  # fmt: skip
    return small, bits


def expand_parts(frame: pb.Frame, limits: Limits) -> None:
    """Make all compressed columns of the parts of a frame plain, in place.

    BadFrame when one is damaged, or all of them together would grow beyond `limits.frame_bytes`.
    """
    left = limits.frame_bytes
    for message in frame.messages:
        if not message.HasField("part") or not message.part.rows.compressed:
            continue
        rows = message.part.rows
        if not limits.zstd or zstandard is None:
            raise BadFrame("part.rows is compressed, which this node has not asked for.")
        if rows.compressed & ~(KEYS | IMAGES):
            raise BadFrame(f"part.rows.compressed is {rows.compressed}; known are {KEYS} and {IMAGES}.")
        if rows.compressed & KEYS:
            rows.keys = _expanded(rows.keys, left, "part.rows.keys")
            left -= len(rows.keys)
        if rows.compressed & IMAGES:
            rows.images = _expanded(rows.images, left, "part.rows.images")
            left -= len(rows.images)
        rows.compressed = 0


def _expanded(column: bytes, size_max: int, what: str) -> bytes:
    """One zstd frame and nothing else, of a told size from 1 to `size_max`."""
    try:
        size = zstandard.frame_content_size(column)
        if size < 1:  # -1: not told; 0: also what a frame to be skipped has
            raise BadFrame(f"{what} is compressed and does not tell its size.")
        if size > size_max:
            raise BadFrame(f"{what} would grow to {size} bytes; {size_max} are left of message_bytes_max.")
        plain: bytes = zstandard.ZstdDecompressor().decompress(column, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise BadFrame(f"{what} is not a whole zstd frame of {len(column)} bytes: {error}.") from error
    return plain
