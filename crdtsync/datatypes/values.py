"""Values as canonical MessagePack: one value, one string of bytes, whatever wrote it.

Storable are None, bool, int of any size, float, str, bytes, list, tuple, dict with str keys, datetime, Decimal and
UUID, nested as deep as ``depth_max``.  Two values have the same bytes exactly when they have the same type and content:

- 1, 1.0 and True are three values; a list and a tuple of the same items are two; NFC and NFD spellings are two.
- -0.0 is stored as 0.0; infinities are values; NaN is refused, since it does not equal itself.
- Decimals keep sign and exponent (1.0 and 1.00 are two, -0 and 0 are two); NaNs are refused, infinities are values.
- A datetime is its wall reading, to the microsecond, and its offset from UTC when it has one: naive and aware are two,
  and so are two readings of one instant.  The time zone's name and ``fold`` do not survive.
- Only these very types: subclasses (str and int enums, numpy scalars, pandas timestamps) are refused, since they would
  come back as something else.  Convert them at the call: ``int(x)``, ``x.value``, ``x.item()``.
- Dicts are sorted by key, so that equal dicts have equal bytes.

On the wire of one value: plain MessagePack in its shortest form, and five extensions:
1 int beyond 64 bits (two's complement, big-endian), 2 tuple (a MessagePack array), 3 naive datetime (microseconds since
1970-01-01T00:00 by its own wall, int64), 4 aware datetime (the same, then the offset in microseconds, int64), 5 Decimal
(``-``? digits ``E`` exponent in ASCII, or ``Infinity``), 6 UUID (16 bytes).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from crdtsync.errors import InvalidValue, ValueTooLarge

BIG_INT, TUPLE, NAIVE, AWARE, DECIMAL, UNIQUE = 1, 2, 3, 4, 5, 6
DEPTH_MAX = 16  # default of ClusterSettings.depth_max
BYTES_MAX = 1024 * 1024  # default of ClusterSettings.value_bytes_max

_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)
_INT_MIN, _INT_END = -(2**63), 2**64  # what MessagePack holds by itself
_pack = msgspec.msgpack.Encoder(order="deterministic").encode
Ext = msgspec.msgpack.Ext
pack_text: Callable[[str], bytes] = _pack  # canonical bytes of a str without lone surrogates, whatever its length


def encode(value: Any, depth_max: int = DEPTH_MAX, bytes_max: int = BYTES_MAX) -> bytes:
    """Canonical bytes of a value.

    Raises InvalidValue when its type, or one inside it, is not storable, or when it nests deeper than `depth_max`
    lists, tuples and dicts (a value that contains itself does); ValueTooLarge beyond `bytes_max` encoded bytes.
    """
    kind = type(value)
    try:
        if kind is str or kind is bytes or (kind is int and _INT_MIN <= value < _INT_END):
            packed = _pack(value)
        else:
            packed = _pack(_Plain(bytes_max).of(value, depth_max))
    except UnicodeEncodeError as error:
        raise InvalidValue(f"A string holds a lone surrogate at position {error.start}; it is not text.") from None
    if len(packed) > bytes_max:
        raise ValueTooLarge(f"A value takes {len(packed):,} bytes encoded; the bound is {bytes_max:,}.")
    return packed


def encode_element(value: Any, depth_max: int = DEPTH_MAX, bytes_max: int = BYTES_MAX) -> bytes:
    """Canonical bytes of a set element: as `encode`, and InvalidValue when it is not hashable."""
    packed = encode(value, depth_max, bytes_max)  # first, since it bounds the depth to which hash() goes down
    kind = type(value)
    if kind is not str and kind is not int and kind is not bytes:
        try:
            hash(value)
        except TypeError:
            raise InvalidValue(
                f"A set element is of type {kind.__name__} and cannot be hashed.",
                hint="Elements are hashable values: use a tuple for a list; keep dicts in a register.",
            ) from None
    return packed


class _Plain:
    """Rewrites one value into what MessagePack holds, within a budget of bytes.

    The budget also bounds the walk: a list that holds one list many times, nested, would never end.
    """

    __slots__ = ("budget", "bytes_max")

    def __init__(self, bytes_max: int) -> None:
        self.budget = self.bytes_max = bytes_max

    def of(self, value: Any, depth: int) -> Any:
        convert = _CONVERT.get(type(value))
        if convert is None:
            raise InvalidValue(f"A value of type {_full_name(type(value))} cannot be stored.")
        self.spend(1)
        return convert(self, value, depth)

    def spend(self, size: int) -> None:
        self.budget -= size
        if self.budget < 0:
            raise ValueTooLarge(f"A value takes more than {self.bytes_max:,} bytes encoded.")

    def items(self, values: Any, depth: int) -> list[Any]:
        if depth <= 0:
            raise InvalidValue("A value nests too deep, or contains itself.", hint="Flatten it, or use a map.")
        return [self.of(item, depth - 1) for item in values]

    def fields(self, value: dict[Any, Any], depth: int) -> dict[str, Any]:
        for key in value:
            if type(key) is not str:
                raise InvalidValue(f"A dict key is of type {_full_name(type(key))}; keys are str.")
            self.spend(1 + len(key))
        return dict(zip(value, self.items(value.values(), depth), strict=True))


def _full_name(kind: type) -> str:
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _text(walk: _Plain, value: Any, depth: int) -> Any:
    walk.spend(len(value))
    return value


def _same(walk: _Plain, value: Any, depth: int) -> Any:
    return value


def _int(walk: _Plain, value: int, depth: int) -> Any:
    if _INT_MIN <= value < _INT_END:
        return value
    size = _int_bytes(value)
    walk.spend(size)
    return Ext(BIG_INT, value.to_bytes(size, "big", signed=True))


def _int_bytes(value: int) -> int:
    """Bytes of the shortest two's complement form."""
    return ((value if value >= 0 else ~value).bit_length() + 8) // 8


def _float(walk: _Plain, value: float, depth: int) -> Any:
    if value != value:
        raise InvalidValue("NaN cannot be stored: it does not equal itself.", hint="Use None, or leave the value out.")
    return value + 0.0  # -0.0 becomes 0.0


def _list(walk: _Plain, value: Any, depth: int) -> Any:
    return walk.items(value, depth)


def _dict(walk: _Plain, value: Any, depth: int) -> Any:
    return walk.fields(value, depth)


def _tuple(walk: _Plain, value: Any, depth: int) -> Any:
    return Ext(TUPLE, _pack(walk.items(value, depth)))


def _datetime(walk: _Plain, value: datetime, depth: int) -> Any:
    try:
        offset = value.utcoffset()
    except Exception as error:
        raise InvalidValue(f"The time zone of a datetime does not tell its offset: {error!r}.") from error
    wall = (value.replace(tzinfo=None, fold=0) - _EPOCH) // _MICROSECOND
    if offset is None:
        return Ext(NAIVE, struct.pack(">q", wall))
    return Ext(AWARE, struct.pack(">qq", wall, offset // _MICROSECOND))


def _decimal(walk: _Plain, value: Decimal, depth: int) -> Any:
    sign, digits, exponent = value.as_tuple()
    if exponent in ("n", "N"):
        raise InvalidValue("A Decimal NaN cannot be stored: it does not equal itself.")
    text = "Infinity" if exponent == "F" else "".join(map(str, digits)) + f"E{exponent}"
    walk.spend(len(text))
    return Ext(DECIMAL, (b"-" if sign else b"") + text.encode())


def _uuid(walk: _Plain, value: UUID, depth: int) -> Any:
    return Ext(UNIQUE, value.bytes)


_CONVERT: dict[type, Callable[[_Plain, Any, int], Any]] = {
    type(None): _same, bool: _same, int: _int, float: _float, str: _text, bytes: _text, list: _list, tuple: _tuple,
    dict: _dict, datetime: _datetime, Decimal: _decimal, UUID: _uuid,
}  # fmt: skip


# ---- and back ----------------------------------------------------------------------------------------------------


def load(payload: bytes) -> Any:
    """The value of canonical bytes that this node wrote or has checked; see `decode` for bytes of strangers."""
    return _unpack(payload)


def decode(payload: bytes, depth_max: int = DEPTH_MAX, bytes_max: int = BYTES_MAX) -> Any:
    """The value of bytes that came from elsewhere; ValueError unless they are what `encode` makes of it."""
    try:
        value = _unpack(payload)
        again = encode(value, depth_max, bytes_max)
    except (ValueError, TypeError, ArithmeticError, RecursionError, MemoryError) as error:
        raise ValueError(f"not a value: {error}") from error
    if again != payload:
        raise ValueError("not in canonical form")
    return value


def decode_element(payload: bytes, depth_max: int = DEPTH_MAX, bytes_max: int = BYTES_MAX) -> Any:
    """As `decode`, for a set element: it is hashable, too."""
    value = decode(payload, depth_max, bytes_max)
    try:
        hash(value)
    except TypeError as error:
        raise ValueError(f"not a set element: {error}") from error
    return value


def _tuple_of(data: memoryview) -> Any:
    items = _unpack(data)
    if type(items) is not list:
        raise ValueError("a tuple that is not an array")
    return tuple(items)


def _naive_of(data: memoryview) -> datetime:
    (wall,) = struct.unpack(">q", data)
    return _EPOCH + timedelta(microseconds=wall)


def _aware_of(data: memoryview) -> datetime:
    wall, offset = struct.unpack(">qq", data)
    zone = timezone(timedelta(microseconds=offset)) if offset else UTC
    return (_EPOCH + timedelta(microseconds=wall)).replace(tzinfo=zone)


def _decimal_of(data: memoryview) -> Decimal:
    return Decimal(bytes(data).decode("ascii"))


_REVIVE: dict[int, Callable[[memoryview], Any]] = {
    BIG_INT: lambda data: int.from_bytes(data, "big", signed=True),
    TUPLE: _tuple_of,
    NAIVE: _naive_of,
    AWARE: _aware_of,
    DECIMAL: _decimal_of,
    UNIQUE: lambda data: UUID(bytes=bytes(data)),
}


def _revive(code: int, data: memoryview) -> Any:
    revive = _REVIVE.get(code)
    if revive is None:
        raise ValueError(f"unknown extension {code}")
    try:
        return revive(data)
    except struct.error as error:
        raise ValueError(str(error)) from error


_unpack = msgspec.msgpack.Decoder(ext_hook=_revive).decode
