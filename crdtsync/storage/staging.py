"""A part taken in: decoded and checked byte by byte before anything is joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from crdtsync.clocks.hybrid import STAMP_LAST
from crdtsync.clocks.vector import Clock
from crdtsync.config import Config
from crdtsync.datatypes import values
from crdtsync.datatypes.keys import parse
from crdtsync.datatypes.rows import PackedRows, Row
from crdtsync.errors import BadTransfer
from crdtsync.kernels import (
    LATEST,
    PRESENCE,
    VALUES,
    row_cell,
    row_context,
    row_covered,
    row_latest,
    row_payloads,
    rows_beyond,
    rows_remap,
    rows_unpack,
)

NO_BOUND = 2**64 - 1


class Staged(NamedTuple):
    """Rows of a part, checked, with actors as positions in its table."""

    actors: tuple[int, ...]
    rows: list[Row]

    def beyond(self, clock: Clock, bound: int = 0) -> int:
        """Position of the first row with an event beyond `clock` ({actor id: seq}), or -1.

        `bound` is what actors count with that the clock does not name.
        """
        return rows_beyond(self.rows, {at: clock.get(actor, bound) for at, actor in enumerate(self.actors)})

    def most(self, clock: Clock) -> Clock:
        """Events of the rows beyond `clock` ({actor id: seq}): the last of each actor."""
        held = {at: clock.get(actor, 0) for at, actor in enumerate(self.actors)}
        found: Clock = {}
        for _, image in self.rows:
            if not row_covered(image, held):
                for at, seq in row_context(image):
                    if seq > held[at]:
                        held[at] = found[self.actors[at]] = seq
        return found

    def local(self, index: Mapping[int, int]) -> list[Row]:
        """The rows with local actor indexes."""
        return rows_remap(self.rows, [index.get(actor, 0) for actor in self.actors])


def check_part(part: PackedRows, config: Config) -> Staged:
    """Decode a part and check every byte of it.  Raises BadTransfer."""
    check_table(part.actors, config.actors_per_part_max)
    try:
        rows = rows_unpack(part.count, part.keys, part.images, len(part.actors))
        for key, image in rows:
            check_row(key, image, config)
        if len({key for key, _ in rows}) != len(rows):
            raise ValueError("a row comes twice")
    except (ValueError, OverflowError) as error:
        raise BadTransfer(f"A part does not check out: {error}.") from error
    return Staged(part.actors, rows)


def check_table(actors: Sequence[int], most: int) -> None:
    """Refuse an actor table that is not ascending, or names no actor.  Raises BadTransfer."""
    if len(actors) > most:
        raise BadTransfer(f"A part names {len(actors)} actors; {most} is the bound.")
    before = 0
    for actor in actors:
        if not before < actor < 2**64:
            raise BadTransfer("A part's actor table is not ascending, or names an impossible actor.")
        before = actor


def check_clock(clock: Clock, what: str) -> None:
    """Refuse a clock with impossible entries.  Raises BadTransfer."""
    for actor, seq in clock.items():
        if not 0 < actor < 2**64 or not 0 < seq < 2**64:
            raise BadTransfer(f"The {what} names event {seq} of actor {actor}, which cannot be.")


def check_row(key: bytes, image: bytes, config: Config) -> None:
    """What the kernels do not know: values are canonical, sums go up, all is within its bounds.  ValueError."""
    kind, bounds = image[0], config.cluster
    if kind == PRESENCE:
        _check_element(key, config)
    elif kind == LATEST:
        stamp, _, _, payload, _ = row_latest(image)
        if stamp > STAMP_LAST:  # nobody could write after it
            raise ValueError(f"stamp {stamp} is beyond {STAMP_LAST}")
        if payload is not None:
            values.decode(payload, bounds.depth_max, bounds.value_bytes_max)
    elif kind == VALUES:
        for payload in row_payloads(image):
            values.decode(payload, bounds.depth_max, bounds.value_bytes_max)
    elif key[-5:-4] == b"g":  # the type byte: a cell's tail has four bytes
        cell = row_cell(image)
        if cell[4] or cell[7]:
            raise ValueError("a gcounter has gone down")
    # Every field brings one NUL, and there is one behind the name.  A tail may have more: then fields are counted out.
    if key.count(0) > bounds.depth_max + 1 and len(parse(key).fields) > bounds.depth_max:
        raise ValueError(f"row key nests deeper than {bounds.depth_max} maps")


def _check_element(key: bytes, config: Config) -> None:
    """An element is canonical; short strings, which most are, are seen to be so at a glance."""
    at = key.index(0) + 1
    if key[at] in b"so":
        tail = key[at + 1 :]
    else:
        place = parse(key)
        if place.code == b"f":
            return
        tail = place.tail
    if 0xA0 <= tail[0] <= 0xBF and len(tail) == tail[0] - 0x9F:
        tail[1:].decode()
        return
    values.decode_element(tail, config.cluster.depth_max, config.cluster.value_bytes_max)
