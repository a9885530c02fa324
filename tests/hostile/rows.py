"""Rows put together byte by byte, so that they can say what no kernel would."""

from __future__ import annotations

from crdtsync.datatypes.rows import PackedRows

Dots = list[tuple[int, int]]


def varint(number: int) -> bytes:
    """Unsigned LEB128, of any size."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def dots(pairs: Dots) -> bytes:
    return varint(len(pairs)) + b"".join(varint(actor) + varint(seq) for actor, seq in pairs)


def presence(context: Dots, live: Dots) -> bytes:
    return b"\0" + dots(context) + dots(live)


def values(context: Dots, live: list[tuple[int, int, bytes]]) -> bytes:
    body = b"".join(varint(actor) + varint(seq) + varint(len(data)) + data for actor, seq, data in live)
    return b"\1" + dots(context) + varint(len(live)) + body


def latest(context: Dots, actor: int, seq: int, stamp: int, payload: bytes, flags: int = 0) -> bytes:
    body = varint(actor) + varint(seq) + varint(stamp) + bytes([flags]) + varint(len(payload)) + payload
    return b"\2" + dots(context) + body


def cell(context: Dots, *numbers: int) -> bytes:
    """owner, start, seq, p, n, base_seq, base_p, base_n"""
    return b"\3" + dots(context) + b"".join(map(varint, numbers))


def columns(rows: list[tuple[bytes, bytes]], actors: tuple[int, ...]) -> PackedRows:
    keys = b"".join(varint(0) + varint(len(key)) + key for key, _ in rows)
    images = b"".join(varint(len(image)) + image for _, image in rows)
    return PackedRows(actors=actors, count=len(rows), keys=keys, images=images)
