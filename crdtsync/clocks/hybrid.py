"""Hybrid logical clock for register stamps: 48 bits of milliseconds, 16 bits of counter.

After Kulkarni et al., "Logical Physical Clocks", with one difference: what a stamp must come after is passed in with
every call and never kept.  So a foreign stamp from a clock that runs hours ahead, or an own one from before the local
clock was set right, reaches no further than the registers it was written to.
"""

from __future__ import annotations

from collections.abc import Callable

from crdtsync.errors import ClockExhausted

COUNTER_BITS = 16
# A foreign stamp may lie years ahead, since whoever has seen it can write after it.  What nobody could write after any
# more is refused wherever it comes from: nodes neither issue nor take a stamp above STAMP_LAST (the year 10889; the
# kernels hold 64 bits).  A stamp floor is below all later stamps of a bucket, so it has to leave room for them: 2^40
# writes to each of its registers.
STAMP_ROOM = 2**40
STAMP_LAST = 2**64 - STAMP_ROOM
STAMP_FLOOR_LAST = STAMP_LAST - STAMP_ROOM


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
        counter carries over into the milliseconds.  Raises ClockExhausted when `after` is the last stamp there is.
        """
        stamp = max(self.now(), after + 1)
        if stamp > STAMP_LAST:
            raise ClockExhausted(f"No stamp is left after {stamp - 1}.")
        return stamp
