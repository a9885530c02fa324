"""Objects by name: their places, and handles of them.

A place is remembered in the slot that its name leads to, in the place of the one before, so the memory is bounded and
nothing is ever searched through.  What is gained is a counter's cell that is remembered with its place.
"""

from __future__ import annotations

from typing import Any, TypeVar

from crdtsync.pure.keys import name_prefix
from crdtsync.pure.state import HandleState, PlaceState

H = TypeVar("H", bound=HandleState)


class Places:
    """Places of objects by name; the same for all buckets."""

    def __init__(self, kind: type[PlaceState], most: int, count: int) -> None:
        """Of class `kind`, for names of up to `most` bytes; at most `count` are remembered."""
        if not issubclass(kind, PlaceState):
            raise TypeError("places are made of a subclass of PlaceState")
        if count < 1:
            raise ValueError("there must be a slot")
        self._kind, self._most = kind, most
        self._slots: list[PlaceState | None] = [None] * count

    def of(self, name: object, code: bytes) -> PlaceState | None:
        """The place of the object of type `code` under a key; None when the name may not be one, see `name_prefix`."""
        if type(name) is not str:
            return None
        slot = (hash(name) + sum(code[:1])) % len(self._slots)
        found = self._slots[slot]
        if found is not None and found.name == name and found.code == code:
            return found
        prefix = name_prefix(name, code, self._most)
        if prefix is None:
            return None
        place = self._slots[slot] = self._kind(name, (), code, prefix, ())
        return place


class Handles:
    """Handles of one bucket's objects."""

    def __init__(self, backend: Any, places: Places) -> None:
        """`backend._place(name, code)` is asked about names that may not be one, and says why not."""
        self._backend, self._places = backend, places

    def make(self, kind: type[H], name: object, /) -> H:
        """The handle `kind` of the object under the key `name`; its type is that of the handle."""
        code: bytes = kind.CODE  # type: ignore[attr-defined]
        place = self._places.of(name, code)
        if place is None:
            place = self._backend._place(name, code)
        return kind(self._backend, place)
