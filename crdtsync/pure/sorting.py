"""Sorting of much, in turns: what is compiled sorts without the GIL, so that other threads go on."""

from __future__ import annotations

from typing import Any


def _key(item: Any) -> bytes:
    key = item[0] if type(item) is tuple else item
    if not isinstance(key, bytes):
        raise TypeError("key must be bytes")
    return key


class Sorter:
    """Items, which are bytes or tuples that begin with their key, by key; no key may come twice.

    Items are added, all of them are sorted, and they are taken.
    """

    def __init__(self) -> None:
        self._items: list[Any] = []
        self._given = 0

    def add(self, items: list[Any]) -> None:
        """More items.  TypeError for a key that is not bytes."""
        for item in items:
            _key(item)
            self._items.append(item)

    def sort(self) -> None:
        """Bring what has not been taken into order."""
        self._items[self._given :] = sorted(self._items[self._given :], key=_key)

    def take(self, most: int) -> list[Any]:
        """The next items, up to `most`; none when all have been taken."""
        found = self._items[self._given : self._given + max(most, 0)]
        self._given += len(found)
        return found
