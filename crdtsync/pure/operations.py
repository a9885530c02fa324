"""Local operations: the new image of a row after event (actor, seq).

An event comes after everything its row has seen: `seq` must lie beyond the context's entry of its actor, else
ValueError.  Bytes given as `image` are decoded and checked in full.
"""

from __future__ import annotations

from crdtsync.pure.image import (
    ACTOR_MAX,
    CELL,
    COUNT_MAX,
    LATEST,
    PRESENCE,
    VALUES,
    Cell,
    Image,
    Latest,
    decode,
    encode,
)
from crdtsync.pure.varint import u64


def _before(image: bytes | None, kind: int, actor: int, seq: int) -> tuple[Image, dict[int, int]]:
    """The decoded row (an empty one for None) and its context after the event."""
    if u64(actor) > ACTOR_MAX:
        raise OverflowError("actor does not fit in 32 bits")
    u64(seq)
    parsed = Image(kind, {}) if image is None else decode(image)
    if parsed.kind != kind:
        raise ValueError(f"row kind is {parsed.kind}, not {kind}")
    if seq <= parsed.context.get(actor, 0):
        raise ValueError(f"event {seq} is not after the row's context")
    return parsed, {**parsed.context, actor: seq}


def _payload(payload: bytes | None) -> bytes | None:
    if payload is not None and not isinstance(payload, bytes):
        raise TypeError("payload must be bytes or None")
    return payload


def presence_add(image: bytes | None, actor: int, seq: int) -> bytes:
    """The element is in: the new dot replaces the live dots that were observed."""
    _, context = _before(image, PRESENCE, actor, seq)
    return encode(Image(PRESENCE, context, {actor: (seq, b"")}))


def presence_remove(image: bytes, actor: int, seq: int) -> bytes:
    """The element is out.  A removal is an event with its own dot; without one it would be filtered as seen."""
    if image is None:
        raise TypeError("image must be bytes")
    _, context = _before(image, PRESENCE, actor, seq)
    return encode(Image(PRESENCE, context))


def values_set(image: bytes | None, actor: int, seq: int, payload: bytes | None) -> bytes:
    """One value in the place of all that were observed; None clears."""
    _payload(payload)
    _, context = _before(image, VALUES, actor, seq)
    return encode(Image(VALUES, context, {} if payload is None else {actor: (seq, payload)}))


def latest_set(image: bytes | None, actor: int, seq: int, stamp: int, payload: bytes | None, expiry: int = 0) -> bytes:
    """A write under `stamp`; payload None deletes.  `expiry` 0: never.  The caller sees to it that the stamp is new."""
    _payload(payload)
    u64(stamp)
    if u64(expiry) and payload is None:
        raise ValueError("a deleted register does not expire")
    _, context = _before(image, LATEST, actor, seq)
    return encode(Image(LATEST, context, latest=Latest(stamp, actor, seq, payload, expiry)))


def cell_add(image: bytes | None, actor: int, seq: int, p: int, n: int) -> bytes:
    """The owner adds `p` up and `n` down.  OverflowError when either sum would pass 2^63 - 1."""
    u64(p), u64(n)
    parsed, context = _before(image, CELL, actor, seq)
    cell = Cell(actor, seq, seq, 0, 0, 0, 0, 0) if image is None else parsed.cell
    if cell.owner != actor:
        raise ValueError("a cell is written by its owner only")
    if cell.p + p > COUNT_MAX or cell.n + n > COUNT_MAX:
        raise OverflowError("counter cell would pass 2^63 - 1")
    return encode(Image(CELL, context, cell=cell._replace(seq=seq, p=cell.p + p, n=cell.n + n)))


def cell_at(image: bytes, actor: int, seq: int, p: int, n: int) -> bytes:
    """The owner's cell after steps that have brought it to `p` and `n`, the last of them the event (actor, seq)."""
    if image is None:
        raise TypeError("image must be bytes")
    u64(p), u64(n)
    parsed, context = _before(image, CELL, actor, seq)
    cell = parsed.cell
    if cell.owner != actor:
        raise ValueError("a cell is written by its owner only")
    if not (cell.p <= p <= COUNT_MAX and cell.n <= n <= COUNT_MAX):
        raise ValueError("a cell only grows, up to 2^63 - 1")
    return encode(Image(CELL, context, cell=cell._replace(seq=seq, p=p, n=n)))


def cell_reset(image: bytes, actor: int, seq: int) -> bytes:
    """The base becomes what `actor` has observed, so increments that it had not seen survive."""
    if image is None:
        raise TypeError("image must be bytes")
    parsed, context = _before(image, CELL, actor, seq)
    cell = parsed.cell
    if cell.owner == actor:
        cell = cell._replace(seq=seq)
    return encode(Image(CELL, context, cell=cell._replace(base_seq=cell.seq, base_p=cell.p, base_n=cell.n)))
