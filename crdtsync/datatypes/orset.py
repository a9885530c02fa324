"""OR-Set: a set whose elements come and go; one presence row per element, add wins over a concurrent removal."""

from __future__ import annotations

from crdtsync.datatypes import values
from crdtsync.datatypes.gset import add, members, plain, update, value
from crdtsync.datatypes.keys import Place
from crdtsync.datatypes.txn import ELEMENT, ELEMENTS, Txn, Verb, remove_below
from crdtsync.kernels import BY_ELEMENT, presence_remove, row_dead

NAME = "orset"
CODE = b"o"


def discard(txn: Txn, place: Place, element: bytes) -> None:
    """Remove an element if it is present; no event if not."""
    _take(txn, place, element)


def remove(txn: Txn, place: Place, element: bytes) -> None:
    """Remove an element.  Raises KeyError when it is absent."""
    if not _take(txn, place, element):
        raise KeyError(values.load(element))


def _take(txn: Txn, place: Place, element: bytes) -> bool:
    rowkey = place.element(element)
    image = txn.get(rowkey)
    if image is None or row_dead(image):
        return False
    actor, seq = txn.next_event()
    txn.put(rowkey, presence_remove(image, actor, seq))
    return True


def clear(txn: Txn, place: Place, nothing: None) -> None:
    """Remove every element seen here."""
    remove_below(txn, place.prefix)


VERBS = (
    ADD := Verb("orset.add", add, ELEMENT, way=BY_ELEMENT),
    UPDATE := Verb("orset.update", update, ELEMENTS, bulk=True),
    DISCARD := Verb("orset.discard", discard, ELEMENT, writes=False),
    REMOVE := Verb("orset.remove", remove, ELEMENT, writes=False),
    CLEAR := Verb("orset.clear", clear, writes=False, bulk=True),
)

__all__ = [
    "ADD",
    "CLEAR",
    "CODE",
    "DISCARD",
    "NAME",
    "REMOVE",
    "UPDATE",
    "VERBS",
    "clear",
    "discard",
    "members",
    "plain",
    "value",
]
