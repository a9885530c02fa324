"""What nodes answer, as Python values: the same as an embedded node gives."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID

from google.protobuf.message import DecodeError, Message

from crdtsync.datatypes import values
from crdtsync.datatypes.gset import exact_set, set_or_list
from crdtsync.errors import BadFrame, CrdtsyncError, ValueTooLarge
from crdtsync.handles import Change, Item
from crdtsync.transport.pb import data_pb2 as pb

M = TypeVar("M", bound=Message)


def read(kind: type[M], answer: bytes) -> M:
    """An answer, decoded.  Raises BadFrame."""
    message = kind()
    try:
        message.ParseFromString(answer)
    except DecodeError:
        raise BadFrame(f"A node answers with {len(answer):,} bytes that are no {kind.__name__}.") from None
    return message


def value_of(message: pb.Value) -> Any:
    """The value of one object.  Raises InvalidValue for a set that Python cannot hold, BadFrame."""
    return _made(message, _WHOLE)


def plain(message: pb.Value) -> Any:
    """A value where it stands among others: a set that Python cannot hold is a list.  Raises BadFrame."""
    return _made(message, _READ)


def _made(message: pb.Value, kinds: dict[str | None, Callable[[pb.Value], Any]]) -> Any:
    kind = message.WhichOneof("kind")
    try:
        return kinds[kind](message)
    except CrdtsyncError:
        raise
    except (KeyError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise BadFrame(f"A node answers with a value of kind {kind} that is none: {error}.") from error


def item_of(message: pb.Item) -> Item:
    """One object of a listing.  Raises ValueTooLarge when the node left its value out."""
    if message.omitted:
        raise ValueTooLarge(
            f"The {message.type} under {message.key!r} is larger than one answer may be.",
            hint="Iterate over it, or raise message_bytes_max here and on the node.",
        )
    return Item(message.key, message.type, plain(message.value))


def change_of(message: pb.Change, token: str) -> Change:
    """One change of a watcher; a value too large for an answer is left out, as with values=False."""
    where = message.place
    value = plain(message.value) if message.HasField("value") else None
    return Change(message.bucket, where.key, where.type, tuple(where.path), value, message.deleted, token)


def _all(message: pb.Values) -> list[Any]:
    return list(map(plain, message.values))


def _fields(message: pb.Value) -> dict[str, Any]:
    fields = message.dict.fields  # a protobuf map has no order: as in an embedded node, it is that of UTF-8 bytes
    return {name: plain(fields[name]) for name in sorted(fields)}


_READ: dict[str | None, Callable[[pb.Value], Any]] = {
    "none": lambda message: None,
    "boolean": lambda message: message.boolean,
    "integer": lambda message: message.integer,
    "big_integer": lambda message: int(message.big_integer),
    "real": lambda message: message.real,
    "text": lambda message: message.text,
    "binary": lambda message: message.binary,
    "list": lambda message: _all(message.list),
    "tuple": lambda message: tuple(_all(message.tuple)),
    "set": lambda message: set_or_list(_all(message.set)),
    "dict": _fields,
    "timestamp": lambda message: datetime.fromisoformat(message.timestamp),
    "decimal": lambda message: Decimal(message.decimal),
    "uuid": lambda message: UUID(bytes=message.uuid),
    "packed": lambda message: values.load(message.packed),
}
_WHOLE = _READ | {"set": lambda message: exact_set(_all(message.set))}
