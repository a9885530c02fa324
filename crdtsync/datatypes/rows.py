"""Rows as values: the pair (row key, row image), and rows packed into the columns of one part."""

from __future__ import annotations

import msgspec

Row = tuple[bytes, bytes]  # (row key, row image), both with local actor indexes


class PackedRows(msgspec.Struct, frozen=True):
    """Rows of one part as columns of bytes, with the part's own actor table.

    Actor references inside `keys` (counter cells) and `images` are positions in `actors`.
    """

    actors: tuple[int, ...]  # 64-bit actor ids, ascending
    count: int
    keys: bytes
    images: bytes

    def size(self) -> int:
        """Bytes of the columns and the actor table."""
        return len(self.keys) + len(self.images) + 8 * len(self.actors)


NO_ROWS = PackedRows(actors=(), count=0, keys=b"", images=b"")


class Answer(msgspec.Struct, frozen=True):
    """What a replica lacks, and the claim that goes with it: all of one state.  Clocks are {actor id: seq}."""

    parts: list[PackedRows]
    target: dict[int, int]  # the sender's whole clock
    floor: dict[int, int]
    stamp_floor: int
    synced: dict[int, int]


class Applied(msgspec.Struct):
    """What applying a transfer did."""

    rows: int = 0  # rows that changed
    conflicts: int = 0  # LWW registers where neither side had seen the other's write
    rescued: int = 0  # rows of a bucket given up that went to a rescue file


class Collected(msgspec.Struct):
    """What one collection did, and why dead rows stay."""

    rows: int = 0  # rows collected now
    waiting: int = 0  # dead rows that wait for a member's announcement
    future: int = 0  # deleted registers whose stamp is not in the past
