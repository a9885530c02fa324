"""Hybrid logical clock for register stamps: 48 bits of milliseconds, 16 bits of counter.

After Kulkarni et al., "Logical Physical Clocks", with one difference: what a stamp must come after is passed in with
every call and never kept.  So a foreign stamp from a clock that runs hours ahead, or an own one from before the local
clock was set right, reaches no further than the registers it was written to.
"""

from __future__ import annotations

from collections.abc import Callable

COUNTER_BITS = 16
STAMP_MAX = 2**64 - 1


def stamp_of_ms(ms: int) -> int:
    """The least stamp of a millisecond since the epoch; times before it count as 0."""
    return max(ms, 0) << COUNTER_BITS


def ms_of_stamp(stamp: int) -> int:
    """The millisecond that a stamp names."""
    return stamp >> COUNTER_BITS


class HybridClock:
    """Stamps from a local wall clock."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        """`now_ms` gives milliseconds since the epoch."""
        self._now_ms = now_ms

    def now(self) -> int:
        """The stamp of the local time; a stamp not above it lies in the past."""
        return stamp_of_ms(self._now_ms())

    def stamp(self, after: int) -> int:
        """A stamp not before local time and greater than `after`.

        `after` is the greater of the stamp being replaced and the stamp floor, or -1 when there is neither.  A full
        counter carries over into the milliseconds.  OverflowError when `after` is the last stamp there is.
        """
        stamp = max(self.now(), after + 1)
        if stamp > STAMP_MAX:
            raise OverflowError("no stamp is left after the one being replaced")
        return stamp
