"""What a commit puts into one database of the row table, or deletes from it: keys with values, brought into order."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from operator import itemgetter

_key = itemgetter(0)


class Entries:
    """Entries are added, sorted, and read any number of times; of those with one key, the last one added comes last.

    The compiled ones keep all of them in two blocks of memory, with no object an entry.
    """

    __slots__ = ("_pairs",)

    def __init__(self) -> None:
        self._pairs: list[tuple[bytes, bytes]] = []

    def __len__(self) -> int:
        return len(self._pairs)

    def __iter__(self) -> Iterator[bytes]:
        """All keys."""
        yield from map(_key, self._pairs)

    def add(self, pairs: list[tuple[bytes, bytes]]) -> None:
        """More keys with their values."""
        for key, value in pairs:
            self._add(key, value)

    def add_keys(self, keys: list[bytes]) -> None:
        """More keys, whose values are empty."""
        for key in keys:
            self._add(key, b"")

    def _add(self, key: bytes, value: bytes) -> None:
        if not isinstance(key, bytes) or not isinstance(value, bytes):
            raise TypeError("keys and values must be bytes")
        self._pairs.append((key, value))

    def sort(self) -> None:
        """Bring them into the order of keys, without the GIL when compiled."""
        self._pairs.sort(key=_key)

    def after(self, key: bytes) -> int:
        """Number of the first sorted entry beyond `key`."""
        return bisect_right(self._pairs, key, key=_key)

    def pairs(self, start: int, stop: int) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values of those with the numbers `start` <= number < `stop`."""
        yield from self._pairs[max(start, 0) : max(stop, 0)]

