"""Value messages: read strictly into Python values and canonical bytes, and made from them.

A message that is not a value (no kind set, `none` set to false, a timestamp or decimal that is none, packed bytes that
are not in canonical form) is InvalidValue, with the place in the request that it stands at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from crdtsync.datatypes import values
from crdtsync.errors import CrdtsyncError, InvalidValue, ValueTooLarge
from crdtsync.transport.pb import data_pb2 as pb

INT_DIGITS = 4300  # of an integer as text: Python's own bound against quadratic work; longer ones travel packed
DEPTH_MAX = 64  # of a packed value within another: as deep as a cluster may allow
INT_BITS = 14_000  # integers below surely have fewer digits
_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
_DECIMAL = re.compile(r"-?(([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?|Infinity)")
_TIMESTAMP = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d(:\d\d)?)?", re.ASCII
)  # fmt: skip


def at(where: str, error: CrdtsyncError, separator: str = ": ") -> CrdtsyncError:
    """The error with the place in the request in front."""
    return type(error)(f"{where}{separator}{error.message}", hint=error.hint, changed=error.changed)


class _Bad(Exception):
    """A part of a message is not a value; the path to it is made on the way out, so that good values cost nothing."""

    def __init__(self, message: str, hint: str | None = None, path: str = "") -> None:
        super().__init__(message)
        self.message, self.hint, self.path = message, hint, path

    def inside(self, step: str) -> _Bad:
        return _Bad(self.message, self.hint, step + self.path)


# ---- reading


def read_value(message: pb.Value, where: str) -> Any:
    """The Python value.  Raises InvalidValue."""
    try:
        return _read(message)
    except _Bad as bad:
        raise InvalidValue(f"{where}{bad.path}: {bad.message}", hint=bad.hint) from None


class Limits:
    """What values of one cluster may be, and the way from messages to canonical bytes."""

    __slots__ = ("bytes_max", "depth_max")

    def __init__(self, depth_max: int, bytes_max: int) -> None:
        self.depth_max, self.bytes_max = depth_max, bytes_max

    def payload(self, message: pb.Value, where: str) -> bytes:
        """Canonical bytes of a value.  Raises InvalidValue, ValueTooLarge."""
        return self._encoded(message, where, values.encode)

    def element(self, message: pb.Value, where: str) -> bytes:
        """Canonical bytes of a set element: as `payload`, and hashable."""
        return self._encoded(message, where, values.encode_element)

    def _encoded(self, message: pb.Value, where: str, encode: Callable[[Any, int, int], bytes]) -> bytes:
        packed = message.packed  # empty when another kind is set, as no value has empty bytes
        try:
            if len(packed) > self.bytes_max:
                raise ValueTooLarge(f"A value takes {len(packed):,} bytes; the bound is {self.bytes_max:,}.")
            payload = encode(_load(packed) if packed else _read(message), self.depth_max, self.bytes_max)
        except _Bad as bad:
            raise InvalidValue(f"{where}{bad.path}: {bad.message}", hint=bad.hint) from None
        except CrdtsyncError as error:
            raise at(where, error) from None
        if packed and payload != packed:
            raise InvalidValue(f"{where}: Packed bytes are not in canonical form.")
        return payload


def _read(message: pb.Value) -> Any:
    kind = message.WhichOneof("kind")
    if kind is None:
        raise _Bad("No kind of value is set.", "The value None is none=true.")
    return _READ[kind](message)


def _load(packed: bytes) -> Any:
    try:
        return values.load(packed)
    except (ValueError, TypeError, ArithmeticError, RecursionError, MemoryError) as error:
        raise _Bad(f"Packed bytes are not a value: {error}.") from None


def _packed(message: pb.Value) -> Any:
    """A packed value within another."""
    try:
        return values.decode(message.packed, DEPTH_MAX, len(message.packed))
    except ValueError as error:
        raise _Bad(f"Packed bytes are {error}.") from None


def _none(message: pb.Value) -> None:
    if not message.none:
        raise _Bad("none is false; it is always true.")


def _big_integer(message: pb.Value) -> int:
    text = message.big_integer
    if not _INTEGER.fullmatch(text) or len(text) > INT_DIGITS:
        raise _Bad(f"big_integer is not a decimal integer of at most {INT_DIGITS:,} digits.", "Send it packed.")
    return int(text)


def _timestamp(message: pb.Value) -> datetime:
    text = message.timestamp
    try:
        if _TIMESTAMP.fullmatch(text):
            return datetime.fromisoformat(text)
    except ValueError:
        pass
    raise _Bad(f"{text[:64]!r} is not a timestamp.", "Write it as 2026-01-31T23:59:59.5+02:00.")


def _decimal(message: pb.Value) -> Decimal:
    text = message.decimal
    try:
        if _DECIMAL.fullmatch(text):
            return Decimal(text)
    except ArithmeticError:
        pass
    raise _Bad(f"{text[:64]!r} is not a decimal.", "Write it as -12.50, 1E+3 or Infinity.")


def _uuid(message: pb.Value) -> UUID:
    if len(message.uuid) != 16:
        raise _Bad(f"uuid has {len(message.uuid)} bytes; it must have 16.")
    return UUID(bytes=message.uuid)


def _items(items: Iterable[pb.Value]) -> list[Any]:
    done: list[Any] = []
    try:
        for item in items:
            done.append(_read(item))  # noqa: PERF401 - its length says where an error stands
    except _Bad as bad:
        raise bad.inside(f"[{len(done)}]") from None
    return done


def _set(message: pb.Value) -> Any:
    raise _Bad("A set is not a value that can be stored.", "Use a gset or an orset.")


def _dict(message: pb.Value) -> dict[str, Any]:
    done: dict[str, Any] = {}
    name = ""
    try:
        for name, item in message.dict.fields.items():
            done[name] = _read(item)
    except _Bad as bad:
        raise bad.inside(f"[{name[:64]!r}]") from None
    return done


_READ: dict[str, Callable[[pb.Value], Any]] = {
    "none": _none,
    "boolean": lambda message: message.boolean,
    "integer": lambda message: message.integer,
    "big_integer": _big_integer,
    "real": lambda message: message.real,
    "text": lambda message: message.text,
    "binary": lambda message: message.binary,
    "list": lambda message: _items(message.list.values),
    "tuple": lambda message: tuple(_items(message.tuple.values)),
    "set": _set,
    "dict": _dict,
    "timestamp": _timestamp,
    "decimal": _decimal,
    "uuid": _uuid,
    "packed": _packed,
}


# ---- making


def make_value(value: Any) -> pb.Value:
    """The message of a Python value that the store holds, or of a counter's sum."""
    return _MAKE[type(value)](value)


def from_payload(payload: bytes) -> pb.Value:
    """The message of canonical bytes."""
    return make_value(values.load(payload))


def from_payload_packed(payload: bytes) -> pb.Value:
    """Canonical bytes as they are."""
    return pb.Value(packed=payload)


def _make_int(value: int) -> pb.Value:
    if -(2**63) <= value < 2**63:
        return pb.Value(integer=value)
    if value.bit_length() <= INT_BITS:
        return pb.Value(big_integer=str(value))
    return pb.Value(packed=values.encode(value, bytes_max=value.bit_length()))


def _make_datetime(value: datetime) -> pb.Value:
    offset = value.utcoffset()
    if offset is not None and offset.microseconds:  # Python writes such an offset, but does not read it
        return pb.Value(packed=values.encode(value))
    return pb.Value(timestamp=value.isoformat())


def _make_dict(value: dict[str, Any]) -> pb.Value:
    return pb.Value(dict=pb.Fields(fields={name: make_value(item) for name, item in value.items()}))


_MAKE: dict[type, Callable[[Any], pb.Value]] = {
    type(None): lambda value: pb.Value(none=True),
    bool: lambda value: pb.Value(boolean=value),
    int: _make_int,
    float: lambda value: pb.Value(real=value),
    str: lambda value: pb.Value(text=value),
    bytes: lambda value: pb.Value(binary=value),
    list: lambda value: pb.Value(list=pb.Values(values=map(make_value, value))),
    tuple: lambda value: pb.Value(tuple=pb.Values(values=map(make_value, value))),
    dict: _make_dict,
    datetime: _make_datetime,
    Decimal: lambda value: pb.Value(decimal=str(value)),
    UUID: lambda value: pb.Value(uuid=value.bytes),
}
