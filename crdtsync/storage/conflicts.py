"""Conflicts of last-writer-wins registers: two writes, neither of which had seen the other, and which one is shown."""

from __future__ import annotations

import msgspec


class Conflict(msgspec.Struct, frozen=True):
    """What lost, and to whom.  A payload of None is a deletion."""

    bucket: str
    rowkey: bytes
    winner: int  # actor id
    won_stamp: int
    won: bytes | None
    loser: int  # actor id
    lost_stamp: int
    lost: bytes | None
