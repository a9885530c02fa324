"""Handles of the sets.

Elements are hashable values, told apart exactly by type and content.  `len`, `in` and iteration are exact; a Python set
may take two of them for equal (1 and True), so `.value` raises in that case.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from crdtsync.datatypes import gset, orset, values
from crdtsync.datatypes.txn import Verb
from crdtsync.handles.base import SLICE, Handle


class _Set(Handle):
    """What both sets do."""

    __slots__ = ()
    ADD: Verb
    UPDATE: Verb

    def add(self, element: Any) -> None:
        """Add an element; it is a new event also when it is present.  Raises InvalidValue, ValueTooLarge."""
        self._add(self.ADD, element)

    def update(self, elements: Iterable[Any]) -> None:
        """Add every element, all or none; several equal ones count once, and none at all changes nothing."""
        encoded = list(dict.fromkeys(map(self._element, elements)))
        if encoded:
            self._write(self.UPDATE, self._place, encoded)

    @property
    def value(self) -> set[Any]:
        """The elements as a set.  Raises InvalidValue when Python takes two of them for equal."""
        elements: set[Any] = self._backend.value(self._place)
        return elements

    def __contains__(self, element: Any) -> bool:
        return self._backend.contains(self._place, self._element(element))

    def __len__(self) -> int:
        return self._backend.count(self._place)

    def __iter__(self) -> Iterator[Any]:
        """The elements in the order of their canonical bytes.

        They are read slice by slice: what others add or remove meanwhile may or may not be told, everything else is
        told once.
        """
        after = b""
        while True:
            elements = self._backend.elements(self._place, after, SLICE)
            yield from map(values.load, elements)
            if len(elements) < SLICE:
                return
            after = elements[-1]


class GSet(_Set):
    """A set that only grows."""

    __slots__ = ()
    CODE = gset.CODE
    ADD = gset.ADD
    UPDATE = gset.UPDATE


class ORSet(_Set):
    """A set whose elements come and go; an add survives a removal that has not seen it."""

    __slots__ = ()
    CODE = orset.CODE
    ADD = orset.ADD
    UPDATE = orset.UPDATE

    def discard(self, element: Any) -> None:
        """Remove an element if it is present."""
        self._add(orset.DISCARD, element)

    def remove(self, element: Any) -> None:
        """Remove an element.  Raises KeyError when it is absent (inside a batch: at its end, and nothing is done)."""
        self._add(orset.REMOVE, element)

    def clear(self) -> None:
        """Remove every element that is known here.  Raises BatchTooLarge for a set too large for one batch."""
        self._write(orset.CLEAR, self._place, None)
