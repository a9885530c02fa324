"""MV-Register: keeps every value that no later write has seen, for a person or a program to resolve.

Its value is the list of those values, ordered by their canonical bytes; equal values written concurrently are one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crdtsync.datatypes import values
from crdtsync.datatypes.keys import Place
from crdtsync.datatypes.rows import Row
from crdtsync.datatypes.txn import VALUE, Txn, Verb
from crdtsync.kernels import BY_VALUES, row_dead, row_payloads, values_set

NAME = "mvregister"
CODE = b"v"


def write(txn: Txn, place: Place, payload: bytes | None) -> None:
    """Replace all values seen here by one; None: by nothing."""
    actor, seq = txn.next_event()
    txn.put(place.prefix, values_set(txn.get(place.prefix), actor, seq, payload))


def resolve(txn: Txn, place: Place, payload: bytes) -> None:
    """As `write`, but no event when this value stands alone already."""
    image = txn.get(place.prefix)
    if image is None or row_payloads(image) != [payload]:
        write(txn, place, payload)


def clear(txn: Txn, place: Place, nothing: None) -> None:
    """Remove all values seen here; no event when there is none."""
    image = txn.get(place.prefix)
    if image is not None and not row_dead(image):
        write(txn, place, None)


def value(rows: Sequence[Row], skip: int) -> list[Any]:
    """The values that stand beside each other."""
    return [values.load(payload) for _, image in rows for payload in dict.fromkeys(row_payloads(image))]


VERBS = (
    SET := Verb("mvregister.set", write, VALUE, way=BY_VALUES),
    RESOLVE := Verb("mvregister.resolve", resolve, VALUE),
    CLEAR := Verb("mvregister.clear", clear, writes=False),
)
