"""The digest of live rows: a sum of hashes, so that it does not depend on order and can be kept up to date.

Hashed is (varint len, key without a cell's actor, meaning).  Meaning holds no actor and no context: equal replicas
have different indexes, and know of different events that changed nothing.

    PRESENCE  varint n, seqs of the live dots, ascending
    VALUES    varint n, n x (seq, len, payload), ascending by (seq, payload)
    LATEST    stamp, seq, expiry, len, payload
    CELL      seq, p, n, base_p, base_n
"""

from __future__ import annotations

import xxhash

from crdtsync.pure.image import CELL, LATEST, PRESENCE, Image, decode, is_dead
from crdtsync.pure.keys import TAIL
from crdtsync.pure.varint import varint_encode

MASK = 2**128 - 1


def rows_digest(rows: list[tuple[bytes, bytes | None]]) -> int:
    """Sum modulo 2^128 of xxh3_128 over live rows; None and dead rows give 0."""
    total = 0
    for key, image in rows:
        if image is None:
            continue
        parsed = decode(image)
        if not is_dead(parsed):
            total += xxhash.xxh3_128_intdigest(_hashed(key, parsed))
    return total & MASK


def _hashed(key: bytes, image: Image) -> bytes:
    if image.kind == CELL:
        if len(key) < TAIL:
            raise ValueError("row key of a cell is too short")
        key = key[:-TAIL]
    return varint_encode(len(key)) + key + _meaning(image)


def _meaning(image: Image) -> bytes:
    if image.kind == CELL:
        cell = image.cell
        return b"".join(map(varint_encode, (cell.seq, cell.p, cell.n, cell.base_p, cell.base_n)))
    if image.kind == LATEST:
        stamp, _, seq, payload, expiry = image.latest
        payload = payload or b""
        return b"".join(map(varint_encode, (stamp, seq, expiry, len(payload)))) + payload
    dots = sorted(image.live.values())
    out = varint_encode(len(dots))
    for seq, payload in dots:
        out += varint_encode(seq)
        if image.kind != PRESENCE:
            out += varint_encode(len(payload)) + payload
    return out
