"""The join of two images of one row: total, commutative, associative, idempotent, ties included.

`clock` is the receiver's exact clock from before the transfer.  Because it is exact, a row whose whole context it
covers holds nothing new, and a live dot that it covers, on a row that is not here, was removed and stays removed.
`ids` maps local actor indexes to 64-bit ids: a tie between registers must fall the same way on every replica.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crdtsync.pure.image import (
    CELL,
    LATEST,
    NO_CELL,
    NO_LATEST,
    Cell,
    Image,
    Latest,
    decode,
    encode,
    live_dots,
)

Clock = dict[int, int]


def row_join(current: bytes | None, incoming: bytes, clock: Clock, ids: Sequence[int]) -> bytes | None:
    """The joined image, or None when nothing changes."""
    inc = decode(incoming)
    if _covers(clock, inc.context):
        return None
    if current is None:
        if inc.kind in (LATEST, CELL) and _covers(clock, live_dots(inc)):
            return None  # absent here, and seen: it was removed and collected
        return encode(_join(Image(inc.kind, {}), inc, clock, ids))
    joined = encode(_join(decode(current), inc, clock, ids))
    return None if joined == current else joined


def rows_join(
    current: list[bytes | None], incoming: list[bytes], clock: Clock, ids: Sequence[int]
) -> list[bytes | None]:
    """`row_join` over two lists of equal length."""
    if len(current) != len(incoming):
        raise ValueError("lists differ in length")
    return [row_join(mine, theirs, clock, ids) for mine, theirs in zip(current, incoming, strict=True)]


def row_mend(current: bytes | None, incoming: bytes, ids: Sequence[int]) -> bytes:
    """The join by contexts and bodies alone, for repair; always an image."""
    inc = decode(incoming)
    cur = Image(inc.kind, {}) if current is None else decode(current)
    return encode(_join(cur, inc, {}, ids))


def row_conflict(current: bytes, incoming: bytes) -> bool:
    """Whether both are registers and neither side had seen the other's winning write."""
    cur, inc = decode(current), decode(incoming)
    if cur.kind != LATEST or inc.kind != LATEST:
        return False
    return not _covers(cur.context, live_dots(inc)) and not _covers(inc.context, live_dots(cur))


def _covers(clock: Mapping[int, int], dots: Mapping[int, int]) -> bool:
    return all(clock.get(actor, 0) >= seq for actor, seq in dots.items())


def _join(cur: Image, inc: Image, clock: Clock, ids: Sequence[int]) -> Image:
    if cur.kind != inc.kind:
        raise ValueError(f"row kinds differ: {cur.kind} and {inc.kind}")
    context = dict(cur.context)
    for actor, seq in inc.context.items():
        context[actor] = max(seq, context.get(actor, 0))
    if cur.kind == LATEST:
        return Image(cur.kind, context, latest=_join_latest(cur.latest, inc.latest, ids))
    if cur.kind == CELL:
        return Image(cur.kind, context, cell=_join_cell(cur.cell, inc.cell))
    return Image(cur.kind, context, _join_live(cur, inc, clock))


def _join_live(cur: Image, inc: Image, clock: Clock) -> dict[int, tuple[int, bytes]]:
    """Keep a dot that both have, or that the other side has not seen: add wins.

    At most one dot of an actor survives: of two, the older lies within the context of the side with the newer.
    """
    kept = {
        actor: (seq, payload)
        for actor, (seq, payload) in cur.live.items()
        if inc.live.get(actor, (0, b""))[0] == seq or seq > inc.context.get(actor, 0)
    }
    new = {
        actor: (seq, payload)
        for actor, (seq, payload) in inc.live.items()
        if seq > max(cur.context.get(actor, 0), clock.get(actor, 0))
    }
    return kept | new


def _join_latest(cur: Latest, inc: Latest, ids: Sequence[int]) -> Latest:
    if cur is NO_LATEST or inc.stamp > cur.stamp:
        return inc
    if inc.stamp < cur.stamp or (inc.actor == cur.actor and inc.seq <= cur.seq):
        return cur
    return inc if inc.actor == cur.actor or ids[inc.actor] > ids[cur.actor] else cur


def _join_cell(cur: Cell, inc: Cell) -> Cell:
    """The owner's part with the greater seq, the base with the greater base_seq.

    On equal seqs correct rows are equal; the componentwise maximum keeps the join sound for rows that are not.
    """
    if cur is NO_CELL:
        return inc
    if cur.owner != inc.owner:
        raise ValueError(f"cell owners differ: {cur.owner} and {inc.owner}")
    _, start, seq, p, n, base_seq, base_p, base_n = cur
    if inc.seq > seq:
        _, start, seq, p, n, *_ = inc
    elif inc.seq == seq:
        start, p, n = max(start, inc.start), max(p, inc.p), max(n, inc.n)
    if inc.base_seq > base_seq:
        base_seq, base_p, base_n = inc.base_seq, inc.base_p, inc.base_n
    elif inc.base_seq == base_seq:
        base_p, base_n = max(base_p, inc.base_p), max(base_n, inc.base_n)
    if base_seq < start:  # a base from an earlier incarnation does not count
        base_seq = base_p = base_n = 0
    return Cell(cur.owner, start, seq, p, n, base_seq, base_p, base_n)
