"""Requests as bytes.

Those that write are put together here by hand, field by field: a loop of increments sends the same few bytes again
and again, and remembering them takes a tenth of what building protobuf messages does.  `tests/client/test_requests.py`
holds them to the generated code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crdtsync.datatypes.keys import Place
from crdtsync.datatypes.map import REMOVE
from crdtsync.datatypes.registry import TYPES
from crdtsync.datatypes.txn import Verb
from crdtsync.transport.pb import data_pb2 as pb

KEPT_MAX = 16_384  # encoded operations, and heads of operations, that are remembered; then all are forgotten
SMALL = 16  # steps up to here are remembered with their operation

# Field tags of data.proto: (number << 3) | wire type.
BUCKET, OPERATIONS, REQUEST_ID, SYNC = b"\x0a", b"\x12", b"\x1a", b"\x20\x01"
PLACE, VERB, ARGUMENT, ARGUMENTS = b"\x0a", b"\x12", b"\x1a", b"\x22"
KEY, PATH, TYPE = b"\x0a", b"\x12", b"\x1a"
INTEGER, TEXT, PACKED = b"\x18", b"\x32", b"\x7a"
INSTANCE = b"\x79"
STAMP_BYTES = 9  # of `meant_for`
VALUES = b"\x0a"

_heads: dict[tuple[bytes, str], bytes] = {}
_ready: dict[tuple[bytes, str, int | None], bytes] = {}


def varint(number: int) -> bytes:
    """A number from 0 to 2^64 - 1."""
    if number < 0x80:
        return number.to_bytes(1, "little")
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def block(tag: bytes, content: bytes) -> bytes:
    """A field of text, bytes, or a message."""
    return tag + varint(len(content)) + content


def operation(verb: Verb, place: Place, argument: Any) -> bytes:
    """One operation, as a field of ApplyRequest."""
    if argument is not None and (type(argument) is not int or not 0 < argument <= SMALL):
        return block(OPERATIONS, _head(verb, place) + _argument(verb, argument))
    ready = _ready.get((place.prefix, verb.name, argument))
    return ready if ready is not None else _keep(verb, place, argument)


def _keep(verb: Verb, place: Place, argument: int | None) -> bytes:
    ready = block(OPERATIONS, _head(verb, place) + (b"" if argument is None else _argument(verb, argument)))
    if len(_ready) >= KEPT_MAX:
        _ready.clear()
    _ready[place.prefix, verb.name, argument] = ready
    return ready


def _head(verb: Verb, place: Place) -> bytes:
    """What does not depend on the argument; the prefix of a place stands for all of it."""
    head = _heads.get((place.prefix, verb.name))
    if head is None:
        head = block(PLACE, _place(place)) + block(VERB, verb.name.encode())
        if len(_heads) >= KEPT_MAX:
            _heads.clear()
        _heads[place.prefix, verb.name] = head
    return head


def _place(place: Place) -> bytes:
    path = b"".join(block(PATH, field.encode()) for field in place.fields)
    kind = block(TYPE, TYPES[place.code].name.encode()) if place.code else b""
    return block(KEY, place.name.encode()) + path + kind


def _argument(verb: Verb, argument: Any) -> bytes:
    """A step, an element or payload in canonical bytes, several elements, or the name of a field."""
    if type(argument) is int:
        return block(ARGUMENT, INTEGER + varint(argument << 1 if argument >= 0 else ~(argument << 1)))
    if type(argument) is list:
        return block(ARGUMENTS, b"".join(block(VALUES, block(PACKED, element)) for element in argument))
    return block(ARGUMENT, block(TEXT if verb is REMOVE else PACKED, argument))


def apply(bucket: str, operations: Sequence[bytes], request_id: str = "", sync: bool = False) -> bytes:
    """ApplyRequest."""
    head = block(BUCKET, bucket.encode()) + (block(REQUEST_ID, request_id.encode()) if request_id else b"")
    return b"".join((head, SYNC if sync else b"", *operations))


def meant_for(instance: int) -> bytes:
    """The field that says which start of which node a request is for: it is put behind any request of data.proto."""
    return INSTANCE + instance.to_bytes(8, "little") if instance else b""


def place_of(place: Place) -> pb.Place:
    """The place as a message; without a type for a field of a map whatever lives in it."""
    return pb.Place(key=place.name, path=place.fields, type=TYPES[place.code].name if place.code else "")


def read(bucket: str, queries: list[pb.Query], token: bool) -> bytes:
    """ReadRequest of some queries."""
    return pb.ReadRequest(bucket=bucket, queries=queries, packed=True, token=token).SerializeToString()
