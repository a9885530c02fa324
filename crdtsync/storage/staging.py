"""A part taken in: decoded and checked byte by byte before anything is joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from crdtsync.clocks.hybrid import STAMP_LAST
from crdtsync.clocks.vector import Clock
from crdtsync.config import Config
from crdtsync.datatypes import values
from crdtsync.datatypes.keys import parse
from crdtsync.datatypes.rows import NO_ROWS, PackedRows, Row
from crdtsync.errors import BadTransfer
from crdtsync.kernels import (
    LATEST,
    PRESENCE,
    VALUES,
    keys_unpack,
    part_check,
    part_rows,
    row_cell,
    row_latest,
    row_payloads,
    rows_beyond,
    rows_unpack,
)

NO_BOUND = 2**64 - 1
Columns = tuple[list[bytes], list[bytes]]  # row keys, and their images


class Staged(NamedTuple):
    """A part whose every byte has been checked."""

    part: PackedRows
    last: list[int]  # of each actor in its table, the last event that a row names; 0: none
    first: bytes  # key of the first row, without the actor of a cell
    final: bytes  # of the last one, likewise
    ascending: bool  # whether the keys ascend, which is seen to bring no row twice

    @property
    def actors(self) -> tuple[int, ...]:
        """The part's actor table."""
        return self.part.actors

    @property
    def rows(self) -> list[Row]:
        """The rows, with actors as positions in the table; decoded anew by every call."""
        return rows_unpack(self.part.count, self.part.keys, self.part.images, len(self.part.actors))

    def beyond(self, clock: Clock, bound: int = 0) -> int:
        """Position of the first row with an event beyond `clock` ({actor id: seq}), or -1.

        `bound` is what actors count with that the clock does not name.
        """
        if all(seq <= clock.get(actor, bound) for actor, seq in zip(self.actors, self.last, strict=True)):
            return -1
        return rows_beyond(self.rows, {at: clock.get(actor, bound) for at, actor in enumerate(self.actors)})

    def most(self, clock: Clock) -> Clock:
        """Events of the rows beyond `clock` ({actor id: seq}): the last of each actor."""
        return {actor: seq for actor, seq in zip(self.actors, self.last, strict=True) if seq > clock.get(actor, 0)}

    def columns(self, index: Mapping[int, int]) -> Columns:
        """Keys and images, with local actor indexes."""
        part = self.part
        return part_rows(part.count, part.keys, part.images, [index.get(actor, 0) for actor in part.actors])

    def local(self, index: Mapping[int, int]) -> list[Row]:
        """The rows with local actor indexes."""
        return list(zip(*self.columns(index), strict=True))


def columns_of(rows: Sequence[Row]) -> Columns:
    """Rows as columns."""
    return [key for key, _ in rows], [image for _, image in rows]


NOTHING = Staged(NO_ROWS, [], b"", b"", ascending=True)


def check_part(part: PackedRows, config: Config) -> Staged:
    """Check every byte of a part.  Raises BadTransfer."""
    check_table(part.actors, config.actors_per_part_max)
    bounds = config.cluster
    try:
        last, unclear, first, final, ascending = part_check(
            part.count, part.keys, part.images, len(part.actors),
            STAMP_LAST, bounds.depth_max, bounds.value_bytes_max,
        )  # fmt: skip
        staged = Staged(part, last, first, final, ascending)
        if unclear:
            rows = staged.rows
            for number in unclear:
                check_row(*rows[number], config)
        if not ascending and len(set(keys_unpack(part.count, part.keys, len(part.actors)))) != part.count:
            raise ValueError("a row comes twice")
    except (ValueError, OverflowError) as error:
        raise BadTransfer(f"A part does not check out: {error}.") from error
    return staged


def check_apart(staged: Sequence[Staged]) -> None:
    """Refuse a transfer in which a row comes twice.  Raises BadTransfer."""
    parts = [part for part in staged if part.part.count]
    if len(parts) < 2 or (
        all(part.ascending for part in parts) and all(one.final < other.first for one, other in pairwise(parts))
    ):
        return
    seen: set[bytes] = set()
    index = {actor: at for at, actor in enumerate(sorted({actor for part in parts for actor in part.actors}))}
    for part in parts:
        seen.update(part.columns(index)[0])
    if len(seen) != sum(part.part.count for part in parts):
        raise BadTransfer("A row comes twice in one transfer.")


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
    """What `part_check` leaves open: values are canonical, sums go up, all is within its bounds.  ValueError."""
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
    """An element is canonical."""
    place = parse(key)
    if place.code != b"f":
        values.decode_element(place.tail, config.cluster.depth_max, config.cluster.value_bytes_max)
