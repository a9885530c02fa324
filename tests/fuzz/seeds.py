"""Well-formed inputs for every target, gathered from one simulated cluster: real frames, rows and journal segments."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from unittest import mock

from crdtsync import kernels
from crdtsync.clocks.tokens import make_token
from crdtsync.datatypes import values
from crdtsync.datatypes.rows import PackedRows
from crdtsync.kernels import encode_row
from crdtsync.replication.messages import Message, Part
from crdtsync.sim import run
from crdtsync.sim.disk import SimDisk
from crdtsync.storage.rescue import encode_rescue
from crdtsync.storage.table import physical
from crdtsync.transport.wire import encode

SEED = 3  # of a simulated world with every kind of message
OF_A_KIND = 12  # frames kept of each kind of message
SEGMENTS = 4
SEGMENT_BYTES = 4096
VALUES = (
    None, True, 0, -1, 2**70, 1.5, "text", "x" * 300, b"bytes", [1, [2, (3, "x")]], {"a": 1, "b": {"c": None}},
    ("tuple", 1),
)  # fmt: skip


class Harvest:
    """What one simulated run has said and stored."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.parts: list[PackedRows] = []
        self.segments: list[bytes] = []
        self._kinds: Counter[type[Message]] = Counter()

    def frame(self, message: Message) -> bytes:
        data = encode(message)
        self._kinds[type(message)] += 1
        if self._kinds[type(message)] <= OF_A_KIND:
            self.frames.append(data)
        if isinstance(message, Part) and message.rows.count and len(self.parts) < 200:
            self.parts.append(message.rows)
        return data


@lru_cache(maxsize=1)
def harvest() -> Harvest:
    """The run, made once."""
    found, disks = Harvest(), []
    opened = SimDisk.__init__

    def watched(self: SimDisk, *arguments: object) -> None:
        opened(self, *arguments)  # type: ignore[arg-type]
        disks.append(self)

    with mock.patch("crdtsync.sim.network.encode", found.frame), mock.patch.object(SimDisk, "__init__", watched):
        assert run(SEED).ok
    for disk in disks[:SEGMENTS]:
        names = [name for name in disk.list() if name.startswith("segment-")]
        found.segments += [disk.read(name)[:SEGMENT_BYTES] for name in names[:1]]
    return found


def rows() -> list[tuple[bytes, bytes]]:
    """Rows as a receiver unpacks them."""
    return [
        row
        for part in harvest().parts
        for row in kernels.rows_unpack(part.count, part.keys, part.images, len(part.actors))
    ]


def images() -> list[bytes]:
    return [image for _, image in rows()]


def row_keys() -> list[bytes]:
    return [key for key, _ in rows()]


def stored_rows() -> list[bytes]:
    """Key and value of the row table, the length of the key first."""
    stored = []
    for rowkey, image in rows():
        key = physical(1, rowkey)
        stored.append(len(key).to_bytes(2, "big") + key + encode_row(key, rowkey, image))
    return stored


def rescues() -> list[bytes]:
    return [encode_rescue("default", "node-a", {7: 3}, harvest().parts[:n]) for n in (1, 5)]


def tokens() -> list[bytes]:
    return [make_token(5, {"default": {1: 2, 2**64 - 1: 3}, "b": {}}).encode(), make_token("node-a", {}).encode()]


def payloads() -> list[bytes]:
    return [values.encode(value) for value in VALUES]


def sealed(body: bytes) -> bytes:
    """A body behind a checksum that fits: what follows the checksum is to be reached, too."""
    return b"CRDTRSC1" + zlib.crc32(body).to_bytes(4, "little") + body


def each(items: list[bytes]) -> Iterator[bytes]:
    """The distinct ones."""
    yield from dict.fromkeys(items)
