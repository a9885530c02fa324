"""G-Set: a set that only grows; one presence row per element.

Elements have no removal.  Deleting the object, or the field it lives in, removes every element that the deleter has
seen; adding one again makes it present again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crdtsync.datatypes import values
from crdtsync.datatypes.keys import Place
from crdtsync.datatypes.rows import Row
from crdtsync.datatypes.txn import ELEMENT, ELEMENTS, Txn, Verb
from crdtsync.errors import InvalidValue
from crdtsync.kernels import BY_ELEMENT, presence_add, row_dead

NAME = "gset"
CODE = b"s"


def add(txn: Txn, place: Place, element: bytes) -> None:
    """Make an element present, with a new event even when it is: that is what survives a concurrent deletion."""
    rowkey = place.element(element)
    actor, seq = txn.next_event()
    txn.put(rowkey, presence_add(txn.get(rowkey), actor, seq))


def update(txn: Txn, place: Place, elements: Sequence[bytes]) -> None:
    """Add each element, all or none."""
    for element in elements:
        add(txn, place, element)


def members(rows: Sequence[Row], skip: int) -> list[bytes]:
    """Canonical bytes of the present elements, in their order; `skip` is the length of the object's prefix."""
    return [rowkey[skip:] for rowkey, image in rows if not row_dead(image)]


def value(rows: Sequence[Row], skip: int) -> set[Any]:
    """The elements as a Python set.  Raises InvalidValue when Python takes two of them for one."""
    return exact_set([values.load(element) for element in members(rows, skip)])


def exact_set(present: list[Any]) -> set[Any]:
    """A Python set of these elements.  Raises InvalidValue when Python takes two of them for one."""
    elements = set(present)
    if len(elements) != len(present):
        raise InvalidValue(
            f"A set holds {len(present)} elements, but Python takes some of them for equal (as 1, 1.0 and True).",
            hint="Iterate over the set, or use len() and `in`: they are exact.",
        )
    return elements


def plain(rows: Sequence[Row], skip: int) -> set[Any] | list[Any]:
    """As `value`, but a list where a Python set cannot hold the elements apart: one such set spoils no listing."""
    return set_or_list([values.load(element) for element in members(rows, skip)])


def set_or_list(present: list[Any]) -> set[Any] | list[Any]:
    """A Python set of these elements, or the list itself when Python takes two of them for one."""
    elements = set(present)
    return elements if len(elements) == len(present) else present


VERBS = (
    ADD := Verb("gset.add", add, ELEMENT, way=BY_ELEMENT),
    UPDATE := Verb("gset.update", update, ELEMENTS, bulk=True),
)
