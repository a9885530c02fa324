"""How long others have lagged behind: marks of where this node stood, compared with what they are known to hold.

A mark is taken at every collection at which something has moved.  The oldest mark that somebody does not hold is older
than the oldest event that he lacks, by the time between two marks at most.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import NamedTuple

from crdtsync.clocks.vector import covers
from crdtsync.replication.messages import Clock

MARKS = 64  # marks kept beside those that somebody lags behind

Clocks = Mapping[str, Clock]  # by bucket
Key = tuple[str, str]  # what is followed: ("peer", node) or ("frontier", bucket)


class Mark(NamedTuple):
    """Where this node stood at a moment."""

    at: float
    clocks: Clocks

    def held_by(self, clocks: Clocks) -> bool:
        """Whether `clocks` cover it."""
        for bucket, clock in self.clocks.items():
            held = clocks.get(bucket, {})
            if held != clock and not covers(held, clock):  # most often they are equal, which is seen at once
                return False
        return True


class Lags:
    """The marks, and for everybody who is followed the oldest one that he does not hold."""

    def __init__(self) -> None:
        self._marks: list[Mark] = []
        self._oldest: dict[Key, Mark] = {}

    def take(self, now: float, clocks: dict[str, Clock]) -> None:
        """Note where this node stands, if it has moved."""
        last = self._marks[-1] if self._marks else None
        if last is not None and last.clocks == clocks:
            return
        if last is not None and not last.held_by(clocks):  # it has started over, or its private actor has an id now
            self.clear()
        self._marks.append(Mark(now, clocks))
        del self._marks[:-MARKS]

    def clear(self) -> None:
        """Begin anew."""
        self._marks.clear()
        self._oldest.clear()

    def keep(self, followed: set[Key]) -> None:
        """Forget everybody else."""
        self._oldest = {key: mark for key, mark in self._oldest.items() if key in followed}

    def seconds(self, key: Key, now: float, holds: Callable[[Mark], bool]) -> float:
        """How long he has lacked something without a break, 0 for nothing; to be asked at least once between marks."""
        if not self._marks or holds(self._marks[-1]):
            self._oldest.pop(key, None)
            return 0.0
        oldest = self._oldest.get(key)
        if oldest is None or holds(oldest):
            at = bisect_left(self._marks, True, key=lambda mark: not holds(mark))
            oldest = self._oldest[key] = self._marks[at]
        return now - oldest.at
