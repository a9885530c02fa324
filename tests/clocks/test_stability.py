"""Stable is what every member is known to hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crdtsync.clocks.stability import stable
from crdtsync.clocks.vector import covers

CLOCKS = st.lists(st.dictionaries(st.integers(0, 4), st.integers(1, 6)), min_size=1, max_size=4)


@given(CLOCKS)
def test_every_clock_covers_it_and_no_later_event(clocks: list[dict[int, int]]) -> None:
    result = stable(clocks, range(5))
    assert all(covers(clock, result) for clock in clocks)
    for actor in range(5):
        later = result | {actor: result.get(actor, 0) + 1}
        assert not all(covers(clock, later) for clock in clocks)


def test_a_member_not_heard_holds_everything_back() -> None:
    assert stable([{1: 5}, {}], [1]) == {}
    assert stable([], [1]) == {}


def test_only_the_actors_asked_for() -> None:
    assert stable([{1: 5, 2: 3}, {1: 4, 2: 9}], [2, 3]) == {2: 3}
