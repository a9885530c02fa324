"""LWW-Register: one value; of concurrent writes the one with the greater (stamp, actor) stays, the same everywhere.

A register set to None holds None; a cleared one holds nothing.  Setting the value that it has is a write, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crdtsync.datatypes import values
from crdtsync.datatypes.keys import Place
from crdtsync.datatypes.rows import Row
from crdtsync.datatypes.txn import VALUE, Txn, Verb
from crdtsync.kernels import BY_VALUE, latest_set, row_dead, row_latest

NAME = "lwwregister"
CODE = b"l"


def write(txn: Txn, place: Place, payload: bytes | None) -> None:
    """Put a value, stamped after the one that it replaces; None deletes."""
    image = txn.get(place.prefix)
    stamp = txn.stamp(row_latest(image)[0] if image is not None else 0)
    actor, seq = txn.next_event()
    txn.put(place.prefix, latest_set(image, actor, seq, stamp, payload))


def clear(txn: Txn, place: Place, nothing: None) -> None:
    """Delete the value; no event when there is none."""
    image = txn.get(place.prefix)
    if image is not None and not row_dead(image):
        write(txn, place, None)


def value(rows: Sequence[Row], skip: int) -> Any:
    """The value; None when there is none, too."""
    for _, image in rows:
        payload = row_latest(image)[3]
        return None if payload is None else values.load(payload)
    return None


VERBS = (
    SET := Verb("lwwregister.set", write, VALUE, way=BY_VALUE),
    CLEAR := Verb("lwwregister.clear", clear, writes=False),
)
