"""Version vectors are a lattice, and `missing` is what a join would add."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crdtsync.clocks.vector import covers, join, merged, missing
from tests.laws import check_join_laws

CLOCKS = st.dictionaries(st.integers(0, 4), st.integers(1, 6))


@given(st.lists(CLOCKS, min_size=1, max_size=4))
def test_join_is_a_join(clocks: list[dict[int, int]]) -> None:
    check_join_laws(join, clocks)


@given(CLOCKS, CLOCKS)
def test_covers_is_the_order_of_the_join(x: dict[int, int], y: dict[int, int]) -> None:
    assert covers(x, y) == (join(x, y) == x)
    assert covers(join(x, y), x) and covers(join(x, y), y)


@given(CLOCKS, CLOCKS)
def test_missing_is_what_the_join_adds(x: dict[int, int], y: dict[int, int]) -> None:
    assert x | missing(x, y) == join(x, y)
    assert (missing(x, y) == {}) == covers(x, y)


@given(CLOCKS, CLOCKS)
def test_merged_is_the_join_and_one_of_the_two_where_it_can_be(x: dict[int, int], y: dict[int, int]) -> None:
    found = merged(x, y)
    assert found == join(x, y)
    assert (found is x) == covers(x, y)
    assert (found is y) == (x is y or (covers(y, x) and not covers(x, y)))


def test_absent_is_zero() -> None:
    assert covers({}, {}) and not covers({}, {1: 1})
    assert covers({}, {1: 0}) and missing({}, {1: 0}) == {} and join({}, {1: 0}) == {}


def test_arguments_stay_as_they_are() -> None:
    x, y = {1: 1}, {1: 2, 2: 1}
    assert join(x, y) == {1: 2, 2: 1} and x == {1: 1} and y == {1: 2, 2: 1}
