"""The row image, decoded and checked in full, and encoded canonically: equal rows are equal bytes.

    u8 kind
    varint n, n x (varint actor, varint seq)          context: n >= 1, actors strictly ascending, seq >= 1
    PRESENCE  varint n, n x (varint actor, varint seq)                          live dots, each within the context
    VALUES    varint n, n x (varint actor, varint seq, varint len, payload)     live dots, each with a value
    LATEST    varint actor, varint seq, varint stamp, u8 flags (0, or 1 deleted, or 2 expires), [varint expiry],
              varint len, payload (empty when deleted); seq within the context
    CELL      varint owner, start, seq, p, n, base_seq, base_p, base_n; 1 <= start <= seq, within the context; counts
              below 2^63; the base all zero, or start <= base_seq <= seq (and at seq, within p and n)

Actors are local indexes (or, in a part, positions in its actor table), below 2^32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from crdtsync.pure.varint import varint_decode, varint_encode

PRESENCE, VALUES, LATEST, CELL = 0, 1, 2, 3
ACTOR_MAX = 2**32 - 1
COUNT_MAX = 2**63 - 1
DELETED, EXPIRES = 1, 2


class Latest(NamedTuple):
    """Body of a register: the winning write.  `payload` None: deleted.  `expiry` 0: never."""

    stamp: int
    actor: int
    seq: int
    payload: bytes | None
    expiry: int


class Cell(NamedTuple):
    """Body of a counter cell: the owner's part (start, seq, p, n) and what a reset has observed (base_*)."""

    owner: int
    start: int
    seq: int
    p: int
    n: int
    base_seq: int
    base_p: int
    base_n: int


NO_LATEST = Latest(0, 0, 0, None, 0)
NO_CELL = Cell(0, 0, 0, 0, 0, 0, 0, 0)


class Image(NamedTuple):
    """A decoded image; only the body of its kind is meaningful."""

    kind: int
    context: Mapping[int, int]
    live: Mapping[int, tuple[int, bytes]] = {}  # PRESENCE, VALUES: actor -> (seq, payload); presence payloads are empty
    latest: Latest = NO_LATEST
    cell: Cell = NO_CELL


def decode(image: bytes) -> Image:
    """The image as values.  ValueError says what is wrong and at which offset."""
    kind = decode_kind(image)
    context, at = decode_context(image)
    if kind == LATEST:
        latest, at = _decode_latest(image, at, context)
        parsed = Image(kind, context, latest=latest)
    elif kind == CELL:
        cell, at = _decode_cell(image, at, context)
        parsed = Image(kind, context, cell=cell)
    else:
        live, at = _decode_live(image, at, context, kind == VALUES)
        parsed = Image(kind, context, live)
    if at != len(image):
        raise ValueError(f"trailing bytes at offset {at}")
    return parsed


def decode_kind(image: bytes) -> int:
    """The kind alone."""
    if not isinstance(image, bytes):
        raise TypeError("image must be bytes")
    if not image:
        raise ValueError("image is empty at offset 0")
    if image[0] > CELL:
        raise ValueError(f"unknown row kind {image[0]} at offset 0")
    return image[0]


def decode_context(image: bytes) -> tuple[dict[int, int], int]:
    """The context alone, and the offset of the body."""
    count, at = varint_decode(image, 1)
    if count == 0:
        raise ValueError("context is empty at offset 1")
    context: dict[int, int] = {}
    previous = -1
    for _ in range(count):
        actor, seq, at = _decode_dot(image, at, previous)
        context[actor] = seq
        previous = actor
    return context, at


def _decode_dot(image: bytes, at: int, previous: int) -> tuple[int, int, int]:
    start = at
    actor, at = varint_decode(image, at)
    if actor > ACTOR_MAX:
        raise ValueError(f"actor is too large at offset {start}")
    if actor <= previous:
        raise ValueError(f"actors are not ascending at offset {start}")
    seq, at = varint_decode(image, at)
    if seq == 0:
        raise ValueError(f"seq is zero at offset {start}")
    return actor, seq, at


def _decode_payload(image: bytes, at: int) -> tuple[bytes, int]:
    start = at
    length, at = varint_decode(image, at)
    if length > len(image) - at:
        raise ValueError(f"payload is cut off at offset {start}")
    return image[at : at + length], at + length


def _decode_live(
    image: bytes, at: int, context: Mapping[int, int], payloads: bool
) -> tuple[dict[int, tuple[int, bytes]], int]:
    count, at = varint_decode(image, at)
    live: dict[int, tuple[int, bytes]] = {}
    previous = -1
    for _ in range(count):
        start = at
        actor, seq, at = _decode_dot(image, at, previous)
        if seq > context.get(actor, 0):
            raise ValueError(f"live dot is beyond the context at offset {start}")
        payload = b""
        if payloads:
            payload, at = _decode_payload(image, at)
        live[actor] = (seq, payload)
        previous = actor
    return live, at


def _decode_latest(image: bytes, at: int, context: Mapping[int, int]) -> tuple[Latest, int]:
    start = at
    actor, seq, at = _decode_dot(image, at, -1)
    if seq > context.get(actor, 0):
        raise ValueError(f"winner is beyond the context at offset {start}")
    stamp, at = varint_decode(image, at)
    if at >= len(image):
        raise ValueError(f"flags are cut off at offset {at}")
    flags = image[at]
    if flags > EXPIRES:
        raise ValueError(f"unknown flags {flags} at offset {at}")
    at += 1
    expiry = 0
    if flags == EXPIRES:
        start = at
        expiry, at = varint_decode(image, at)
        if expiry == 0:
            raise ValueError(f"expiry is zero at offset {start}")
    start = at
    payload, at = _decode_payload(image, at)
    if flags == DELETED and payload:
        raise ValueError(f"deleted register has a payload at offset {start}")
    return Latest(stamp, actor, seq, None if flags == DELETED else payload, expiry), at


def _decode_cell(image: bytes, at: int, context: Mapping[int, int]) -> tuple[Cell, int]:
    body = at
    numbers = []
    for _ in range(8):
        number, at = varint_decode(image, at)
        numbers.append(number)
    cell = Cell(*numbers)
    owner, start, seq, p, n, base_seq, base_p, base_n = cell
    sound = owner <= ACTOR_MAX and 1 <= start <= seq <= context.get(owner, 0) and max(p, n, base_p, base_n) <= COUNT_MAX
    if base_seq == 0:
        sound = sound and base_p == base_n == 0
    else:
        sound = sound and start <= base_seq <= seq
        if base_seq == seq:
            sound = sound and base_p <= p and base_n <= n
    if not sound:
        raise ValueError(f"cell contradicts itself at offset {body}")
    return cell, at


def encode(image: Image) -> bytes:
    """The one encoding of a row; what `decode` reads."""
    out = bytearray((image.kind,))
    out += varint_encode(len(image.context))
    for actor, seq in sorted(image.context.items()):
        out += varint_encode(actor) + varint_encode(seq)
    if image.kind == LATEST:
        _encode_latest(out, image.latest)
    elif image.kind == CELL:
        for number in image.cell:
            out += varint_encode(number)
    else:
        _encode_live(out, image.live, image.kind == VALUES)
    return bytes(out)


def _encode_live(out: bytearray, live: Mapping[int, tuple[int, bytes]], payloads: bool) -> None:
    out += varint_encode(len(live))
    for actor, (seq, payload) in sorted(live.items()):
        out += varint_encode(actor) + varint_encode(seq)
        if payloads:
            out += varint_encode(len(payload)) + payload


def _encode_latest(out: bytearray, latest: Latest) -> None:
    stamp, actor, seq, payload, expiry = latest
    out += varint_encode(actor) + varint_encode(seq) + varint_encode(stamp)
    out.append(DELETED if payload is None else EXPIRES if expiry else 0)
    if expiry:
        out += varint_encode(expiry)
    payload = payload or b""
    out += varint_encode(len(payload)) + payload


def live_dots(image: Image) -> dict[int, int]:
    """The dots that keep a row in being: actor -> seq."""
    if image.kind == LATEST:
        return {image.latest.actor: image.latest.seq}
    if image.kind == CELL:
        return {image.cell.owner: image.cell.seq}
    return {actor: seq for actor, (seq, _) in image.live.items()}


def is_dead(image: Image) -> bool:
    """No live dot, a deleted register, or a cell reset to its last event."""
    if image.kind == LATEST:
        return image.latest.payload is None
    if image.kind == CELL:
        return image.cell.base_seq >= image.cell.seq
    return not image.live
