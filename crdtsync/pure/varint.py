"""Varints: unsigned LEB128 below 2^64, in minimal length only, so that equal values are equal bytes."""

from __future__ import annotations

U64_MAX = 2**64 - 1
ONE_BYTE = [bytes((value,)) for value in range(0x80)]


def u64(value: int) -> int:
    """`value`, if it is an int in 0..2^64-1.  TypeError, OverflowError."""
    if not isinstance(value, int):
        raise TypeError("an integer is required")
    if value < 0 or value > U64_MAX:
        raise OverflowError("int does not fit in 64 bits without sign")
    return value


def varint_encode(value: int) -> bytes:
    """`value` (0..2^64-1) as 1 to 10 bytes.  TypeError, OverflowError."""
    if type(value) is int and 0 <= value < 0x80:
        return ONE_BYTE[value]  # most varints
    rest = u64(value)
    out = bytearray()
    while rest >= 0x80:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def varint_decode(data: bytes, offset: int) -> tuple[int, int]:
    """The varint at `offset`, and the offset after it.  ValueError when cut off, longer than needed, or beyond 2^64."""
    if not isinstance(data, bytes):
        raise TypeError("data must be bytes")
    if 0 <= offset < len(data) and data[offset] < 0x80:
        return data[offset], offset + 1  # most varints
    value, at = 0, offset
    for shift in range(0, 70, 7):
        if not 0 <= at < len(data):
            raise ValueError(f"varint is cut off at offset {offset}")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if byte == 0 and shift:
                raise ValueError(f"varint is not minimal at offset {offset}")
            if value > U64_MAX:
                break
            return value, at
    raise ValueError(f"varint is too large at offset {offset}")
