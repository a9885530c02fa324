"""The actor table of a store: small index <-> 64-bit id.  Index 0 is the private actor, with id 0 until published."""

from __future__ import annotations

from collections.abc import Iterable

from crdtsync.clocks.vector import Clock

PRIVATE = 0


class Actors:
    """Indexes are given out in order; once journaled they are never taken back."""

    __slots__ = ("ids", "index")

    def __init__(self) -> None:
        self.ids: list[int] = [0]
        self.index: dict[int, int] = {0: PRIVATE}

    def add(self, first: int, ids: Iterable[int]) -> None:
        """Take in ids for the indexes from `first` on; known ones stay as they are."""
        for index, actor in enumerate(ids, first):
            if index == len(self.ids):
                self.ids.append(actor)
            self.ids[index] = actor
            self.index[actor] = index

    def drop(self, first: int) -> None:
        """Take the ids from index `first` on out again: what they were for was refused."""
        for actor in self.ids[first:]:
            del self.index[actor]
        del self.ids[first:]

    def publish(self, actor: int) -> None:
        """Give the private actor its id.  Id 0 goes on to mean it here, for tokens from before."""
        self.ids[PRIVATE] = actor
        self.index[actor] = PRIVATE

    def unknown(self, ids: Iterable[int]) -> list[int]:
        """Those ids that have no index yet, each once."""
        return [actor for actor in dict.fromkeys(ids) if actor not in self.index]

    def outward(self, clock: Clock) -> Clock:
        """A clock of indexes as a clock of ids."""
        ids = self.ids
        return {ids[index]: seq for index, seq in clock.items()}

    def inward(self, clock: Clock) -> Clock:
        """A clock of ids as a clock of indexes; ids that are not known here are left out."""
        index = self.index
        return {index[actor]: seq for actor, seq in clock.items() if actor in index}
