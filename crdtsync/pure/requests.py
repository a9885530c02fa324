"""Requests that write, read without a message object for each of their operations.

An ApplyRequest is split into its operations and all else (`proto/data.proto` has the fields).  The first part of an
operation, place and verb, comes again and again: what it means is looked up by its bytes.  What is not written in the
plain way, as every encoder writes it, is left to protobuf's own reader: the whole request, or one operation of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.msgpack import encode

from crdtsync.pure.parts import is_plain

# What the argument of a verb is: nothing, a step up, a step, a value.
TAKES_NOTHING, TAKES_GROWTH, TAKES_STEP, TAKES_VALUE = range(4)
OPERATIONS, PLACE, VERB, ARGUMENT = 0x12, 0x0A, 0x12, 0x1A  # tags of fields: number << 3 | wire type
INTEGER, TEXT, PACKED = 0x18, 0x32, 0x7A
TEXT_HEAD_MAX = 5  # bytes in front of a text in MessagePack
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5  # wire types

Known = tuple[Any, Any, int]  # verb, place, what its argument is
Other = Callable[[bytes, bytes | None], Any]


class _Odd(Exception):
    """Not written in the plain way."""


def operations_read(
    data: bytes, heads: dict[bytes, Known], other: Other, most: int, bytes_max: int
) -> tuple[bytes, list[Any]] | None:
    """(the fields that are no operations, the operations as (verb, place, argument)) of an ApplyRequest.

    `heads` knows places and verbs by their bytes.  Of an operation that is not known, or whose argument is not a simple
    one, `other(message, head)` gives the same, or None when it changes nothing; `head` is None when the message is not
    written plainly.  Simple values are texts, and packed ones that are no container, of up to `bytes_max` bytes.  None:
    the request is not written plainly, or has more than `most` operations.
    """
    rest = bytearray()
    found: list[Any] = []
    at = number = 0
    try:
        while at < len(data):
            begin, tag = at, data[at]
            at += 1
            if tag >= 0x80 or tag < 8:
                raise _Odd
            wire = tag & 7
            if wire == VARINT:
                _, at = _varint(data, at, len(data))
            elif wire in (FIXED64, FIXED32):
                at += 8 if wire == FIXED64 else 4
            elif wire == LENGTH:
                size, at = _varint(data, at, len(data))
                if tag == OPERATIONS:
                    if number == most or at + size > len(data):
                        raise _Odd
                    operation = _operation(data[at : at + size], heads, other, bytes_max)
                    number += 1
                    if operation is not None:
                        found.append(operation)
                    at += size
                    continue
                at += size
            else:
                raise _Odd
            if at > len(data):
                raise _Odd
            rest += data[begin:at]
    except _Odd:
        return None
    return bytes(rest), found


def _operation(message: bytes, heads: dict[bytes, Known], other: Other, bytes_max: int) -> Any:
    head = None
    try:
        end = _block(message, _block(message, 0, PLACE), VERB)
        head = message[:end]
        if head in heads:
            verb, place, takes = heads[head]
            return verb, place, _argument(message, end, takes, bytes_max)
    except _Odd:
        pass
    return other(message, head)


def _argument(message: bytes, at: int, takes: int, bytes_max: int) -> Any:
    if takes == TAKES_NOTHING:
        if at != len(message):
            raise _Odd
        return None
    if _block(message, at, ARGUMENT) != len(message):
        raise _Odd
    _, at = _varint(message, at + 1, len(message))
    if at == len(message):
        raise _Odd
    if takes != TAKES_VALUE:
        return _step(message, at, takes)
    tag = message[at]
    if tag not in (TEXT, PACKED) or _block(message, at, tag) != len(message):
        raise _Odd
    _, at = _varint(message, at + 1, len(message))
    content = message[at:]
    if tag == TEXT:
        if not content or len(content) + TEXT_HEAD_MAX > bytes_max:
            raise _Odd
        try:
            return encode(content.decode())
        except UnicodeDecodeError:
            raise _Odd from None
    if not is_plain(content, bytes_max):
        raise _Odd
    return content


def _step(message: bytes, at: int, takes: int) -> int:
    if message[at] != INTEGER:
        raise _Odd
    zigzag, at = _varint(message, at + 1, len(message))
    step = zigzag >> 1 ^ -(zigzag & 1)
    if at != len(message) or step == 0 or (step < 0 and takes == TAKES_GROWTH):
        raise _Odd
    return step


def _block(data: bytes, at: int, tag: int) -> int:
    """The end of a field with this tag that begins here."""
    if at >= len(data) or data[at] != tag:
        raise _Odd
    size, at = _varint(data, at + 1, len(data))
    if at + size > len(data):
        raise _Odd
    return at + size


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A number of up to nine bytes, 63 bits, as lengths and steps have them most often; and where it ends."""
    value = shift = 0
    while at < end and shift < 63:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _Odd


def operations_run(txn: Any, operations: list[Any], first: int) -> int:
    """Carry operations out inside a store's transaction, from the one of number `first` on, as their verbs do.

    The number of the first one that has to go its own way, `Verb.run`: it puts other than one row, stands in a map, or
    is refused.  Here that is always the first.
    """
    return first
