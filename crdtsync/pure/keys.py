"""Row keys: their grammar, and the keys column of a part.

    rowkey := name 0x00 object                       name: 1..255 bytes of UTF-8 without NUL
    object := 'm' field 0x00 object | type tail      field: 0..255 bytes, same rules
    type   := g p (cells) | s o f (presence) | l (latest) | v (values)
    tail   := g p: 4-byte big-endian actor | s o: element bytes, at least one | f l v: empty

The column: per key varint length of the prefix shared with the key before (at most 255), varint length of the rest,
the rest.  Without the cap a few hostile bytes a row would unpack into megabytes.
"""

from __future__ import annotations

from crdtsync.pure.image import ACTOR_MAX, CELL, LATEST, PRESENCE, VALUES
from crdtsync.pure.varint import varint_decode, varint_encode

ROW_KEY_MAX = 65_536 + 1024
NAME_MAX = 255
SHARED_MAX = 255
TAIL = 4  # bytes of a cell's actor
KIND_OF_TYPE = {
    ord("g"): CELL, ord("p"): CELL, ord("s"): PRESENCE, ord("o"): PRESENCE, ord("f"): PRESENCE,
    ord("l"): LATEST, ord("v"): VALUES,
}  # fmt: skip

Positions = dict[int, int] | list[int]


def name_prefix(name: object, code: bytes, most: int) -> bytes | None:
    """`name` in UTF-8, NUL and `code`: what the row keys of an object begin with.

    None when it is no str of 1 to `most` bytes without NUL and lone surrogates.
    """
    try:
        text = name.encode() if type(name) is str else b""
    except UnicodeEncodeError:
        return None
    return text + b"\0" + code if 1 <= len(text) <= most and 0 not in text else None


def check_key(key: bytes) -> int:
    """The row kind that a key is made for.  ValueError when it does not follow the grammar."""
    if len(key) > ROW_KEY_MAX:
        raise ValueError("row key is too long")
    at = _check_name(key, 0, 1)
    while at < len(key) and key[at] == ord("m"):
        at = _check_name(key, at + 1, 0)
    if at >= len(key):
        raise ValueError(f"row key has no type at offset {at}")
    if key[at] not in KIND_OF_TYPE:
        raise ValueError(f"row key has unknown type {key[at]} at offset {at}")
    kind, tail = KIND_OF_TYPE[key[at]], len(key) - at - 1
    if kind == CELL:
        fits = tail == TAIL
    elif key[at] in b"so":
        fits = tail >= 1
    else:
        fits = tail == 0
    if not fits:
        raise ValueError(f"row key has a wrong tail at offset {at + 1}")
    return kind


def _check_name(key: bytes, at: int, least: int) -> int:
    """Check the name or field at `at`; the offset after its NUL."""
    end = key.find(b"\0", at)
    if end < 0 or not least <= end - at <= NAME_MAX:
        raise ValueError(f"row key has a bad name at offset {at}")
    try:
        key[at:end].decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"row key has a bad name at offset {at}") from None
    return end + 1


def cell_tail(key: bytes) -> int:
    """The actor in the key of a cell."""
    if len(key) < TAIL:
        raise ValueError("row key of a cell is too short")
    return int.from_bytes(key[-TAIL:], "big")


def with_tail(key: bytes, actor: int) -> bytes:
    """The key of the same counter's cell of another actor."""
    return key[:-TAIL] + actor.to_bytes(TAIL, "big")


def position(positions: Positions, actor: int) -> int:
    """Where `actor` goes.  ValueError when it goes nowhere."""
    try:
        place = positions[actor]
    except LookupError:
        raise ValueError(f"actor {actor} has no position") from None
    if not 0 <= place <= ACTOR_MAX:
        raise OverflowError("actor does not fit in 32 bits")
    return place


def append_key(column: bytearray, previous: bytes, key: bytes) -> None:
    """Append one key to the column, after `previous`."""
    most = min(len(previous), len(key), SHARED_MAX)
    shared = 0
    while shared < most and previous[shared] == key[shared]:
        shared += 1
    column += varint_encode(shared) + varint_encode(len(key) - shared) + key[shared:]


def next_key(column: bytes, at: int, previous: bytes) -> tuple[bytes, int]:
    """The key at `at`, as it stands, and the offset after it."""
    start = at
    shared, at = varint_decode(column, at)
    if shared > len(previous) or shared > SHARED_MAX:
        raise ValueError(f"shared prefix is too long at offset {start}")
    rest, at = varint_decode(column, at)
    if rest > len(column) - at:
        raise ValueError(f"row key is cut off at offset {start}")
    if shared + rest > ROW_KEY_MAX:
        raise ValueError(f"row key is too long at offset {start}")
    return previous[:shared] + column[at : at + rest], at + rest


def keys_pack(keys: list[bytes], positions: dict[int, int]) -> bytes:
    """The keys column alone, cell tails turned into positions."""
    column, previous = bytearray(), b""
    for key in keys:
        moved = _moved(key, positions)
        append_key(column, previous, moved)
        previous = moved
    return bytes(column)


def keys_unpack(count: int, keys: bytes, actors: int) -> list[bytes]:
    """The keys of a column without images, checked; positions kept as they are."""
    if not isinstance(keys, bytes):
        raise TypeError("column must be bytes")
    out, at, previous = [], 0, b""
    for _ in range(count):
        previous, at = next_key(keys, at, previous)
        if check_key(previous) == CELL and cell_tail(previous) >= actors:
            raise ValueError(f"actor {cell_tail(previous)} is not in the table")
        out.append(previous)
    if at != len(keys):
        raise ValueError(f"trailing bytes at offset {at}")
    return out


def keys_remap(keys: list[bytes], mapping: list[int]) -> list[bytes]:
    """Keys with the positions in cell tails turned into local indexes."""
    return [_moved(key, mapping) for key in keys]


def _moved(key: bytes, positions: Positions) -> bytes:
    return with_tail(key, position(positions, cell_tail(key))) if check_key(key) == CELL else key
