"""How long something takes that happens again and again: a count, a sum, the last one, the longest, a histogram."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import Any

# s: from what a good disk needs to sync to what no program waits for
BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Timing:
    """Durations in seconds.  Added to by one thread at a time, read by any."""

    __slots__ = ("_counts", "last", "longest", "seconds")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)  # how many lie up to each bound and above the one before; the rest
        self.seconds = self.last = self.longest = 0.0  # the sum; the last one; the longest

    def add(self, seconds: float) -> None:
        """One more."""
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds
        self.last = seconds
        self.longest = max(self.longest, seconds)

    def shown(self) -> dict[str, Any]:
        """Plain values; `buckets`: how many took at most so many seconds, by the bound as text."""
        counts = list(accumulate(self._counts))
        return {
            "count": counts[-1],
            "seconds": self.seconds,
            "last": self.last,
            "longest": self.longest,
            "buckets": {str(bound): count for bound, count in zip(BOUNDS, counts, strict=False)},
        }
