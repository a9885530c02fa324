"""What a data type asks of the store while it changes rows, and the walks over rows that types share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

from crdtsync.datatypes.keys import Place
from crdtsync.datatypes.rows import Row
from crdtsync.kernels import (
    CELL,
    LATEST,
    LONG_WAY,
    PRESENCE,
    cell_reset,
    latest_set,
    presence_remove,
    row_dead,
    row_kind,
    row_latest,
    values_set,
)

SLICE = 1000  # rows of one scan


class Txn(Protocol):
    """One all-or-nothing change of a bucket.  Reads see what the transaction has put so far."""

    def get(self, rowkey: bytes) -> bytes | None:
        """Image of a row, or None.  Raises RowDamaged."""

    def scan(self, prefix: bytes, after: bytes = b"", limit: int = SLICE) -> list[Row]:
        """Rows that start with `prefix`, beyond the row key `after`, in order; dead ones among them."""

    def put(self, rowkey: bytes, image: bytes) -> None: ...

    def next_event(self) -> tuple[int, int]:
        """The next (actor index, seq).  Every event goes into exactly one `put`."""

    def stamp(self, after: int) -> int:
        """A stamp later than `after`, than local time, and than the stamp floor."""


NOTHING, GROWTH, STEP, VALUE, FIELD = "nothing", "growth", "step", "value", "field"
ELEMENT, ELEMENTS = "element", "elements"


class Verb(NamedTuple):
    """One thing that can be done to objects of one type: `run(txn, place, argument)`.

    What the argument is: a positive int (GROWTH), an int but 0 (STEP), canonical bytes of a hashable value (ELEMENT), a
    list of those, each once (ELEMENTS), canonical bytes of a value (VALUE), UTF-8 of a field name (FIELD), or None
    (NOTHING).
    """

    name: str  # "orset.add": the name that it has on the wire and in the registry
    run: Callable[[Txn, Place, Any], None]
    takes: str = NOTHING
    writes: bool = True  # may make its object visible, so that a map field takes its type
    bulk: bool = False  # may put any number of rows
    way: int = LONG_WAY  # for one that always puts one row: how the compiled write path does the same


class Scanner(Protocol):
    """The reading half of `Txn`, met by a bucket, too."""

    def scan(self, prefix: bytes, after: bytes = b"", limit: int = SLICE) -> list[Row]: ...


def rows_below(source: Scanner, prefix: bytes, after: bytes = b"") -> Iterator[Row]:
    """All rows that start with `prefix`, slice by slice; a caller may put rows that have been told already."""
    while True:
        rows = source.scan(prefix, after, SLICE)
        yield from rows
        if len(rows) < SLICE:
            return
        after = rows[-1][0]


def first_live(source: Scanner, prefix: bytes, after: bytes = b"") -> bytes | None:
    """The first live row that starts with `prefix`, beyond `after`.

    Most often it is the first one, so the first slices are small.
    """
    limit = 4
    while True:
        rows = source.scan(prefix, after, limit)
        for rowkey, image in rows:
            if not row_dead(image):
                return rowkey
        if len(rows) < limit:
            return None
        after = rows[-1][0]
        limit = min(limit * 4, SLICE)


def remove_below(txn: Txn, prefix: bytes) -> None:
    """Observed-remove of everything below `prefix`: each live row gets a removal event of its own.

    What a concurrent writer adds has events that these removals have not seen, so it survives the merge.
    """
    for rowkey, image in rows_below(txn, prefix):
        if not row_dead(image):
            remove_row(txn, rowkey, image)


def remove_row(txn: Txn, rowkey: bytes, image: bytes) -> None:
    """Put the removal of one live row."""
    kind = row_kind(image)
    if kind == LATEST:
        stamp = txn.stamp(row_latest(image)[0])
        actor, seq = txn.next_event()
        txn.put(rowkey, latest_set(image, actor, seq, stamp, None))
        return
    actor, seq = txn.next_event()
    if kind == CELL:
        txn.put(rowkey, cell_reset(image, actor, seq))
    elif kind == PRESENCE:
        txn.put(rowkey, presence_remove(image, actor, seq))
    else:
        txn.put(rowkey, values_set(image, actor, seq, None))
