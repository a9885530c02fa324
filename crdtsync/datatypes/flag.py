"""Flag: on or off, and on wins: an enable survives a disable that has not seen it."""

from __future__ import annotations

from collections.abc import Sequence

from crdtsync.datatypes.keys import Place
from crdtsync.datatypes.rows import Row
from crdtsync.datatypes.txn import Txn, Verb, remove_below
from crdtsync.kernels import BY_PRESENCE, presence_add, row_dead

NAME = "flag"
CODE = b"f"


def enable(txn: Txn, place: Place, nothing: None) -> None:
    """Switch on, with a new event even when it is on."""
    actor, seq = txn.next_event()
    txn.put(place.prefix, presence_add(txn.get(place.prefix), actor, seq))


def disable(txn: Txn, place: Place, nothing: None) -> None:
    """Switch off; no event when it is off."""
    remove_below(txn, place.prefix)


def value(rows: Sequence[Row], skip: int) -> bool:
    """Whether it is on."""
    return any(not row_dead(image) for _, image in rows)


VERBS = (
    ENABLE := Verb("flag.enable", enable, way=BY_PRESENCE),
    DISABLE := Verb("flag.disable", disable, writes=False),
)
