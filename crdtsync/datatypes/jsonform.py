"""The JSON form of values: what JSON has is itself, everything else is an object with one key that begins with "$".

    None, bool, int, float, str, list, dict      null, true, 12, 1.5, "text", [...], {...}
    bytes                                        {"$bytes": "AAE="}                            base64
    tuple                                        {"$tuple": [...]}
    datetime                                     {"$datetime": "2026-01-31T23:59:59.5+02:00"}  ISO 8601
    Decimal                                      {"$decimal": "12.50"}
    UUID                                         {"$uuid": "6f2c...-...."}
    infinity, and int beyond 4,000 digits        {"$float": "Infinity"}, {"$int": "0xff..."}
    a dict with a key that begins with "$"       {"$dict": {...}}
    the set within a map (in output only)        {"$set": [...]}

1 and 1.0 stay two values.  A value has one form, and every form is read back as the value that it was made of.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

from crdtsync.datatypes import values
from crdtsync.errors import CrdtsyncError, InvalidValue

INT_BITS = 13_000  # integers below have at most 4,000 digits, which Python reads and writes as they are
_DECIMAL = re.compile(r"-?([0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?|Infinity)", re.ASCII)
_FINE_OFFSET = re.compile(r"([+-])(\d\d):(\d\d):(\d\d)\.(\d{6})\Z", re.ASCII)
_HEX = re.compile(r"-?0x[0-9a-f]+")


# ---- out


def encode(value: Any) -> Any:
    """What json.dumps takes for a value."""
    convert = _ENCODE.get(type(value))
    return value if convert is None else convert(value)


def dumps(value: Any) -> str:
    """The JSON form as one line of text."""
    return json.dumps(encode(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def in_order(elements: Iterable[Any]) -> list[Any]:
    """Elements of a set in the order of their canonical bytes, the same for everybody."""
    return sorted(elements, key=lambda element: values.encode(element, 64, 2**31))


def _int(value: int) -> Any:
    return value if value.bit_length() <= INT_BITS else {"$int": hex(value)}


def _float(value: float) -> Any:
    return value if value - value == 0 else {"$float": "Infinity" if value > 0 else "-Infinity"}


def _dict(value: dict[str, Any]) -> dict[str, Any]:
    plain = {key: encode(item) for key, item in value.items()}
    return {"$dict": plain} if any(key.startswith("$") for key in plain) else plain


_ENCODE: dict[type, Callable[[Any], Any]] = {
    int: _int,
    float: _float,
    bytes: lambda value: {"$bytes": base64.b64encode(value).decode()},
    list: lambda value: [encode(item) for item in value],
    tuple: lambda value: {"$tuple": [encode(item) for item in value]},
    set: lambda value: {"$set": [encode(item) for item in in_order(value)]},
    dict: _dict,
    datetime: lambda value: {"$datetime": value.isoformat()},
    Decimal: lambda value: {"$decimal": str(value)},
    UUID: lambda value: {"$uuid": str(value)},
}


# ---- in


def decode(plain: Any) -> Any:
    """The value of what `loads` read as JSON.  Raises InvalidValue."""
    try:
        return _decode(plain)
    except RecursionError:  # the parser goes deeper than this
        raise InvalidValue("Not a value: it is nested too deeply.", hint="") from None


def _decode(plain: Any) -> Any:
    if type(plain) is list:
        return [_decode(item) for item in plain]
    if type(plain) is not dict:
        return plain
    tags = [key for key in plain if key.startswith("$")]
    if not tags:
        return {key: _decode(item) for key, item in plain.items()}
    if len(plain) > 1 or tags[0] not in _DECODE:
        raise InvalidValue(
            f"{tags[0]!r} is not the name of a kind of value.",
            hint=f'Kinds are {", ".join(_DECODE)}; a dict with such a key is written as {{"$dict": {{...}}}}.',
        )
    return _tagged(tags[0], plain[tags[0]])


def loads(text: str) -> Any:
    """The value of a JSON form.  Raises InvalidValue."""
    return decode(parse(text))


def parse(text: str) -> Any:
    """JSON as it stands: strict, no key twice, no NaN.  Raises InvalidValue."""
    try:
        return json.loads(text, parse_float=_finite, parse_constant=_constant, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise InvalidValue(f"Not JSON: {error.msg} ({where}column {error.colno}).", hint="") from None
    except (ValueError, RecursionError) as error:
        raise InvalidValue(f"Not a value: {error}.", hint="") from None


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0:
        raise ValueError(f"{text} is beyond the range of a float")
    return number


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return plain


def _tagged(tag: str, inner: Any) -> Any:
    kind, convert = _DECODE[tag]
    if type(inner) is kind:
        try:
            return convert(inner)
        except CrdtsyncError:
            raise
        except (ValueError, ArithmeticError, binascii.Error):
            pass
    raise InvalidValue(f"{json.dumps(inner)[:80]} is no {tag[1:]}.", hint="docs/data-format.md has the forms.")


def _datetime(text: str) -> datetime:
    offset = _FINE_OFFSET.search(text)
    if offset is None:
        return datetime.fromisoformat(text)
    # CPython reads an offset below a second as none at all.
    sign, hours, minutes, seconds, fraction = offset.groups()
    exact = timedelta(hours=int(hours), minutes=int(minutes), seconds=int(seconds), microseconds=int(fraction))
    return datetime.fromisoformat(text[: offset.start()]).replace(tzinfo=timezone(-exact if sign == "-" else exact))


def _decimal(text: str) -> Decimal:
    if not _DECIMAL.fullmatch(text):
        raise ValueError
    return Decimal(text)


def _integer(text: str) -> int:
    if not _HEX.fullmatch(text):
        raise ValueError
    return int(text, 16)


def _real(text: str) -> float:
    if text not in ("Infinity", "-Infinity"):
        raise ValueError
    return float(text)


def _base64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


_DECODE: dict[str, tuple[type, Callable[[Any], Any]]] = {
    "$bytes": (str, _base64),
    "$tuple": (list, lambda inner: tuple(_decode(item) for item in inner)),
    "$datetime": (str, _datetime),
    "$decimal": (str, _decimal),
    "$uuid": (str, UUID),
    "$float": (str, _real),
    "$int": (str, _integer),
    "$dict": (dict, lambda inner: {key: _decode(item) for key, item in inner.items()}),
}
