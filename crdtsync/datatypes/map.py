"""Map: objects of any type under field names; it has no row of its own.

A field exists while a row below it is live.  Its value is the value of the object in it; when objects of several types
live there, after concurrent writes, it is a dict from type name to value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from crdtsync.datatypes.keys import MAP, Place
from crdtsync.datatypes.rows import Row
from crdtsync.datatypes.txn import FIELD, Txn, Verb, remove_below

NAME = "map"
CODE = MAP


def remove(txn: Txn, place: Place, field: bytes) -> None:
    """Observed-remove of everything in a field; no event when it is not there."""
    remove_below(txn, place.field(field))


def clear(txn: Txn, place: Place, nothing: None) -> None:
    """Observed-remove of everything in all fields."""
    remove_below(txn, place.prefix)


def by_field(rows: Sequence[Row], skip: int) -> Iterator[tuple[bytes, list[Row], int]]:
    """(field, its rows, length of their common prefix up to before the type byte) for the rows of one map."""
    for field, below in groupby(rows, lambda row: row[0][skip : row[0].index(0, skip)]):
        yield field, list(below), skip + len(field) + 1


VERBS = (
    REMOVE := Verb("map.remove", remove, FIELD, writes=False, bulk=True),
    CLEAR := Verb("map.clear", clear, writes=False, bulk=True),
)
