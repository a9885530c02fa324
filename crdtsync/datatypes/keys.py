"""Row keys: where an object lives, built from names and read back.

    rowkey := name 0x00 object
    object := 'm' field 0x00 object          a map; descends
            | type tail
    tail   := gcounter, pncounter: 4-byte big-endian actor index | gset, orset: element bytes | others: empty

So rows sort by key, then field by field, and an object's rows stand together.  Names and fields are UTF-8 without NUL
and without lone surrogates; what is typed is what is stored (NFC and NFD are two keys).  Names have 1 to 255 bytes,
fields 0 to 255, bucket names 1 to 64.  A row key in all (key, fields and element) has at most ROW_KEY_MAX bytes.
"""

from __future__ import annotations

from typing import NamedTuple

from crdtsync.errors import InvalidKey, ValueTooLarge
from crdtsync.kernels import PlaceState, name_prefix

NAME_MAX = 255
BUCKET_MAX = 64
REQUEST_MAX = 64  # UTF-8 bytes of a request id: a UUID or a ULID with room for a prefix
FIELDS_MAX = 16  # default of ClusterSettings.depth_max
ROW_KEY_MAX = 65_536  # peers refuse longer ones, see crdtsync.pure.keys
MAP = b"m"


def check_name(name: str, what: str = "A key", most: int = NAME_MAX, least: int = 1) -> bytes:
    """UTF-8 of a name.  Raises InvalidKey, with `what` as the subject, when it may not be one."""
    if type(name) is not str:
        raise InvalidKey(f"{what} is of type {type(name).__name__}; it must be a str.", hint="Convert it: str(x).")
    try:
        text = name.encode()
    except UnicodeEncodeError as error:
        raise InvalidKey(f"{what} holds a lone surrogate at position {error.start}; it is not text.") from None
    if not least <= len(text) <= most:
        size = "is empty" if not text else f"takes {len(text)} bytes of UTF-8"
        raise InvalidKey(f"{what} {size}; it may have {least} to {most}.")
    if 0 in text:
        raise InvalidKey(f"{what} contains NUL.")
    return text


def check_field(field: str, most: int = NAME_MAX) -> bytes:
    """UTF-8 of a field name, which may be empty.  Raises InvalidKey."""
    return check_name(field, "A field name", most, 0)


def check_bucket(name: str) -> str:
    """The bucket name itself.  Raises InvalidKey."""
    check_name(name, "A bucket name", BUCKET_MAX)
    return name


def check_prefix(prefix: str) -> bytes:
    """UTF-8 of the beginning of keys, which may be empty.  Raises InvalidKey."""
    return check_name(prefix, "A prefix", NAME_MAX, 0)


class Place(PlaceState):
    """Where one object lives: its rows are those whose key starts with `prefix`.

    name: the key; fields: the path inside the key's map, () for an object of its own; code: the type byte; prefix: ends
    with the type byte; levels: prefixes of the field the object lives in and of the fields around it, innermost first.
    """

    __slots__ = ()

    def element(self, element: bytes) -> bytes:
        """Row key of a set element, from its canonical bytes.  Raises ValueTooLarge."""
        rowkey = self.prefix + element
        if len(rowkey) > ROW_KEY_MAX:
            raise ValueTooLarge(
                f"An element takes {len(element):,} bytes; with its key and fields it may take {ROW_KEY_MAX:,}.",
                hint="Keep large values in a register and their names in the set.",
            )
        return rowkey

    def field(self, field: bytes) -> bytes:
        """What the row keys of one field of this map start with."""
        return self.prefix + field + b"\0"

    def slot(self, field: bytes) -> Place:
        """One field of this map whatever lives in it: a place without a type, to ask whether it exists."""
        return Place(self.name, (*self.fields, field.decode()), b"", self.field(field), ())

    def inside(self, field: str, code: bytes, depth_max: int = FIELDS_MAX, most: int = NAME_MAX) -> Place:
        """The object of type `code` in a field, of up to `most` bytes, of this map.

        Raises InvalidKey, also beyond `depth_max` fields.
        """
        if len(self.fields) >= depth_max:
            raise InvalidKey(f"A map field nests deeper than {depth_max} maps.")
        level = self.field(check_field(field, most))
        return Place(self.name, (*self.fields, field), code, level + code, (level, *self.levels))


def top(name: str, code: bytes, most: int = NAME_MAX) -> Place:
    """The object of type `code` under a key of up to `most` bytes.  Raises InvalidKey."""
    prefix = name_prefix(name, code, most)
    if prefix is None:
        prefix = check_name(name, "A key", most) + b"\0" + code  # says why not
    return Place(name, (), code, prefix, ())


class Parsed(NamedTuple):
    """A row key, read."""

    name: str
    fields: tuple[str, ...]
    code: bytes  # type byte
    prefix: bytes  # of the object
    tail: bytes  # actor index of a cell, bytes of an element, or nothing


def parse(rowkey: bytes) -> Parsed:
    """Read a row key that follows the grammar (the store checks that of all it takes in)."""
    end = rowkey.index(0)
    name, fields, at = rowkey[:end].decode(), [], end + 1
    while rowkey[at] == 0x6D:  # 'm'
        end = rowkey.index(0, at + 1)
        fields.append(rowkey[at + 1 : end].decode())
        at = end + 1
    return Parsed(name, tuple(fields), rowkey[at : at + 1], rowkey[: at + 1], rowkey[at + 1 :])


def object_prefix(rowkey: bytes) -> bytes:
    """The part of a row key that all rows of its object share."""
    at = rowkey.index(0) + 1
    while rowkey[at] == 0x6D:
        at = rowkey.index(0, at + 1) + 1
    return rowkey[: at + 1]


def name_of(rowkey: bytes) -> bytes:
    """The key's name, as UTF-8."""
    return rowkey[: rowkey.index(0)]


def after_name(name: bytes) -> bytes:
    """A row key below which all rows of `name` lie, and above which all rows of the names that follow it."""
    return name + b"\x01"


def after_object(prefix: bytes) -> bytes:
    """The same for the rows of one object or field; `prefix` ends with a type byte or NUL, both below 0xFF."""
    return prefix[:-1] + bytes((prefix[-1] + 1,))
