"""Row images read back as meanings and as events, with actors by their ids, for the oracles."""

from __future__ import annotations

from collections.abc import Callable

from crdtsync import kernels
from crdtsync.kernels import CELL, LATEST, PRESENCE, VALUES
from crdtsync.sim.history import Fact, Meaning
from crdtsync.sim.world import Violation

Ids = Callable[[int], int]  # local actor index -> id


def actor_bytes(actor: int) -> bytes:
    """Eight bytes that stand for an actor in the keys of counter cells; private actors have negative stand-ins."""
    return actor.to_bytes(8, "big", signed=actor < 0)


def row_name(key: bytes, image: bytes, ids: Ids) -> bytes:
    """The row key as all replicas would write it: a cell's local index becomes its owner's id."""
    if kernels.row_kind(image) != CELL:
        return key
    return key[:-4] + actor_bytes(ids(int.from_bytes(key[-4:], "big")))


def row_meaning(image: bytes, ids: Ids) -> Meaning:
    """What the image says, in the terms of `history.meaning_of`."""
    kind = kernels.row_kind(image)
    if kind == LATEST:
        stamp, actor, seq, payload, expiry = kernels.row_latest(image)
        return None if payload is None else (stamp, ids(actor), seq, payload, expiry)
    if kind == CELL:
        return kernels.row_cell_value(image) or None
    dots = [(ids(actor), seq) for actor, seq in kernels.row_live_dots(image)]
    if kind == PRESENCE:
        return set(dots) or None
    return {(*dot, payload) for dot, payload in zip(dots, values_of(image), strict=True)} or None


def values_of(image: bytes) -> list[bytes]:
    """Payloads of a VALUES image in the order of its live dots (the kernels give them ordered by bytes)."""
    entries, offset = kernels.varint_decode(image, 1)
    for _ in range(2 * entries):
        _, offset = kernels.varint_decode(image, offset)
    count, offset = kernels.varint_decode(image, offset)
    payloads = []
    for _ in range(count):
        _, offset = kernels.varint_decode(image, offset)
        _, offset = kernels.varint_decode(image, offset)
        size, offset = kernels.varint_decode(image, offset)
        payloads.append(image[offset : offset + size])
        offset += size
    return payloads


def fact_of(key: bytes, before: bytes | None, after: bytes, own: int, ids: Ids) -> Fact:
    """The event that turned `before` into `after`, written by the actor with index `own`."""
    actor, kind = ids(own), kernels.row_kind(after)
    seq = dict(kernels.row_context(after)).get(own, 0)
    if not seq or (before is not None and dict(kernels.row_context(before)).get(own, 0) >= seq):
        raise Violation(f"dots: a row was written without a new event of its own: {key!r}")
    observed = frozenset((ids(a), s) for a, s in kernels.row_live_dots(before)) if before is not None else frozenset()
    row = row_name(key, after, ids)
    if kind == LATEST:
        stamp, _, _, payload, expiry = kernels.row_latest(after)
        return Fact(actor, seq, row, kind, observed, (stamp, payload, expiry))
    if kind == CELL:
        return Fact(actor, seq, row, kind, observed, _step(before, after))
    mine = (own, seq) in kernels.row_live_dots(after)
    if kind == PRESENCE:
        return Fact(actor, seq, row, kind, observed, mine)
    payload = dict(zip(kernels.row_live_dots(after), values_of(after), strict=True)).get((own, seq))
    return Fact(actor, seq, row, kind, observed, payload)


def _step(before: bytes | None, after: bytes) -> int | None:
    """By how much a cell moved, or None for a reset (told by its base)."""
    _, _, _, p, n, base_seq, _, _ = kernels.row_cell(after)
    if before is None:
        return p - n
    _, _, _, old_p, old_n, old_base, _, _ = kernels.row_cell(before)
    return None if base_seq != old_base else (p - old_p) - (n - old_n)


assert VALUES == 1  # the layout that values_of reads
