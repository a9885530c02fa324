"""Rows packed into the two columns of a part, and back.

Images column: per row varint length, image.  In a part actors are positions in the part's own table; packing and
remapping sort contexts and live dots anew.
"""

from __future__ import annotations

from crdtsync.pure.image import CELL, LATEST, Image, decode, decode_context, decode_kind, encode
from crdtsync.pure.keys import Positions, append_key, cell_tail, check_key, next_key, position, with_tail
from crdtsync.pure.varint import varint_decode, varint_encode

Clock = dict[int, int]
Rows = list[tuple[bytes, bytes]]


def rows_pack(rows: Rows, positions: dict[int, int]) -> tuple[bytes, bytes]:
    """(keys column, images column), local indexes turned into positions.  ValueError for an actor without one."""
    keys, images, previous = bytearray(), bytearray(), b""
    for key, image in rows:
        moved_key, moved = _moved(key, image, positions)
        append_key(keys, previous, moved_key)
        images += varint_encode(len(moved)) + moved
        previous = moved_key
    return bytes(keys), bytes(images)


def rows_unpack(count: int, keys: bytes, images: bytes, actors: int) -> Rows:
    """The rows of a part, every byte of them checked; positions kept as they are.  ValueError says what is wrong."""
    if not isinstance(keys, bytes) or not isinstance(images, bytes):
        raise TypeError("column must be bytes")
    rows, key_at, image_at, key = [], 0, 0, b""
    for _ in range(count):
        key, key_at = next_key(keys, key_at, key)
        kind = check_key(key)
        start = image_at
        length, image_at = varint_decode(images, image_at)
        if length > len(images) - image_at:
            raise ValueError(f"image is cut off at offset {start}")
        image = images[image_at : image_at + length]
        image_at += length
        _check_row(key, kind, image, actors)
        rows.append((key, image))
    if key_at != len(keys):
        raise ValueError(f"trailing bytes at offset {key_at}")
    if image_at != len(images):
        raise ValueError(f"trailing bytes at offset {image_at}")
    return rows


def _check_row(key: bytes, kind: int, image: bytes, actors: int) -> None:
    parsed = decode(image)
    if parsed.kind != kind:
        raise ValueError(f"row kind {parsed.kind} does not fit the key's type")
    last = max(parsed.context)  # every actor of a body is in its context
    if last >= actors:
        raise ValueError(f"actor {last} is not in the table")
    if kind == CELL and cell_tail(key) != parsed.cell.owner:
        raise ValueError("row key names another owner than the cell")


def rows_remap(rows: Rows, mapping: list[int]) -> Rows:
    """Rows with positions turned into local indexes, in keys and images."""
    return [_moved(key, image, mapping) for key, image in rows]


def _moved(key: bytes, image: bytes, positions: Positions) -> tuple[bytes, bytes]:
    parsed = decode(image)
    if parsed.kind == CELL:
        key = with_tail(key, position(positions, cell_tail(key)))
    return key, encode(_move(parsed, positions))


def _move(image: Image, positions: Positions) -> Image:
    context = {position(positions, actor): seq for actor, seq in image.context.items()}
    if len(context) != len(image.context):
        raise ValueError("two actors share a position")
    if image.kind == LATEST:
        return image._replace(
            context=context, latest=image.latest._replace(actor=position(positions, image.latest.actor))
        )
    if image.kind == CELL:
        return image._replace(context=context, cell=image.cell._replace(owner=position(positions, image.cell.owner)))
    live = {position(positions, actor): dot for actor, dot in image.live.items()}
    return image._replace(context=context, live=live)


def rows_actors(rows: Rows) -> set[int]:
    """Every actor that a row names: a context names them all."""
    actors: set[int] = set()
    for _, image in rows:
        decode_kind(image)
        actors.update(decode_context(image)[0])
    return actors


def rows_beyond(rows: Rows, clock: Clock) -> int:
    """Position of the first row with an event beyond `clock`, or -1."""
    for number, (_, image) in enumerate(rows):
        decode_kind(image)
        if any(clock.get(actor, 0) < seq for actor, seq in decode_context(image)[0].items()):
            return number
    return -1


def rows_newer(rows: Rows, clock: Clock) -> Rows:
    """The rows with a maximal event beyond `clock`: all of a context are maximal, but of a register's the winner."""
    found = []
    for key, image in rows:
        row = decode(image)
        dots = {row.latest.actor: row.latest.seq} if row.kind == LATEST else row.context
        if any(clock.get(actor, 0) < seq for actor, seq in dots.items()):
            found.append((key, image))
    return found
