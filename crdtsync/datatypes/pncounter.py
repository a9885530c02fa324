"""PN-Counter: a sum that goes up and down; one cell per actor with all its steps up and all its steps down.

Both sums of a cell hold up to 2^63 - 1.  A reset writes into every live cell how much of it has been seen; increments
that it has not seen survive it.
"""

from __future__ import annotations

from crdtsync.datatypes.gcounter import overflow, value
from crdtsync.datatypes.keys import Place
from crdtsync.datatypes.txn import STEP, Txn, Verb, remove_below
from crdtsync.kernels import BY_STEP, cell_add

NAME = "pncounter"
CODE = b"p"


def add(txn: Txn, place: Place, step: int) -> None:
    """Add `step` (not 0, magnitude up to STEP_MAX) to the own cell.  Raises CounterOverflow."""
    actor, seq = txn.next_event()
    rowkey = place.cell(actor)
    try:
        if step > 0:
            image = cell_add(txn.get(rowkey), actor, seq, step, 0)
        else:
            image = cell_add(txn.get(rowkey), actor, seq, 0, -step)
    except OverflowError:
        raise overflow(place) from None
    txn.put(rowkey, image)


def reset(txn: Txn, place: Place, nothing: None) -> None:
    """Write the base of every live cell: the sum becomes 0, and what others add meanwhile stays."""
    remove_below(txn, place.prefix)


VERBS = (
    ADD := Verb("pncounter.add", add, STEP, way=BY_STEP),
    RESET := Verb("pncounter.reset", reset, writes=False, bulk=True),
)

__all__ = ["ADD", "CODE", "NAME", "RESET", "VERBS", "add", "reset", "value"]
