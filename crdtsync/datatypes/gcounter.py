"""G-Counter: a sum that only grows; one cell per actor that ever incremented it.

Cells hold up to 2^63 - 1 each.  Steps are ints from 0 (bool is refused, whatever else has ``__index__`` is taken).
There is no reset: only deleting the object, or the field it lives in, takes the sum back, by what the deleter saw.
"""

from __future__ import annotations

from collections.abc import Sequence

from crdtsync.datatypes.keys import Place
from crdtsync.datatypes.rows import Row
from crdtsync.datatypes.txn import GROWTH, Txn, Verb
from crdtsync.errors import CounterOverflow
from crdtsync.kernels import BY_GROWTH, cell_add, row_cell_value

NAME = "gcounter"
CODE = b"g"


def increment(txn: Txn, place: Place, step: int) -> None:
    """Add `step` (1 to steps.STEP_MAX) to the own cell.  Raises CounterOverflow."""
    actor, seq = txn.next_event()
    rowkey = place.cell(actor)
    try:
        image = cell_add(txn.get(rowkey), actor, seq, step, 0)
    except OverflowError:
        raise overflow(place) from None
    txn.put(rowkey, image)


def overflow(place: Place) -> CounterOverflow:
    """The error of a cell that is full."""
    return CounterOverflow(
        f"The counter {place.name!r} would pass 2^63 - 1 in this node's cell.",
        hint="Reset it, or spread the sum over several counters.",
    )


def value(rows: Sequence[Row], skip: int) -> int:
    """The sum over the cells."""
    return sum(row_cell_value(image) for _, image in rows)


VERBS = (INCREMENT := Verb("gcounter.increment", increment, GROWTH, way=BY_GROWTH),)
