"""Stamps come after local time and after what they replace, and after nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdtsync.clocks.hybrid import STAMP_LAST, HybridClock, ms_of_stamp, stamp_of_ms
from crdtsync.errors import ClockExhausted

HOUR = 3_600_000


class Wall:
    """A clock that is set by hand."""

    def __init__(self, ms: int) -> None:
        self.ms = ms

    def __call__(self) -> int:
        return self.ms


@given(now=st.integers(0, 2**47), after=st.integers(-1, 2**63))
def test_a_stamp_is_the_least_that_is_late_enough(now: int, after: int) -> None:
    stamp = HybridClock(lambda: now).stamp(after)
    assert stamp > after and stamp >= stamp_of_ms(now)
    assert stamp in (after + 1, stamp_of_ms(now))


def test_a_foreign_stamp_does_not_drive_the_clock() -> None:
    wall = Wall(1_000_000_000_000)
    clock = HybridClock(wall)
    ahead = stamp_of_ms(wall.ms + HOUR)
    assert clock.stamp(ahead) == ahead + 1
    assert clock.stamp(-1) == clock.now() == stamp_of_ms(wall.ms)


def test_a_clock_set_back_disturbs_only_what_it_replaces() -> None:
    wall = Wall(1_000_000_000_000)
    clock = HybridClock(wall)
    first = clock.stamp(-1)
    wall.ms -= HOUR
    assert clock.stamp(first) == first + 1
    assert clock.stamp(-1) < first


def test_a_full_counter_carries_into_the_milliseconds() -> None:
    clock = HybridClock(Wall(5))
    assert clock.stamp(stamp_of_ms(6) - 1) == stamp_of_ms(6)
    assert ms_of_stamp(stamp_of_ms(6) - 1) == 5 and ms_of_stamp(stamp_of_ms(6)) == 6


def test_times_before_the_epoch_count_as_zero() -> None:
    assert HybridClock(Wall(-HOUR)).stamp(-1) == 0


def test_no_stamp_is_left_after_the_last() -> None:
    clock = HybridClock(Wall(5))
    assert clock.stamp(STAMP_LAST - 1) == STAMP_LAST
    with pytest.raises(ClockExhausted):
        clock.stamp(STAMP_LAST)
    with pytest.raises(ClockExhausted):
        HybridClock(Wall(2**48)).stamp(-1)
