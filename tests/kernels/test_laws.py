"""The laws of the join, and its meaning by the reference model, on states that histories reach."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crdtsync.kernels import CELL, LATEST, PRESENCE, VALUES
from tests.kernels.histories import IDS, KINDS, History, Step, steps
from tests.laws import check_any_order, check_join_laws

kinds = pytest.mark.parametrize("kind", KINDS, ids=["presence", "values", "latest", "cell"])


@kinds
@given(steps=steps(40))
@settings(max_examples=150, deadline=None)
def test_every_step_means_what_the_model_says(kernels: Any, kind: int, steps: list[Step]) -> None:
    history = History(kernels, kind).play(steps)
    history.heal()
    first = history.replicas[0]
    for other in history.replicas[1:]:
        assert history.digest(other) == history.digest(first)
        assert live_meaning(kernels, other.images) == live_meaning(kernels, first.images)


def live_meaning(kernels: Any, images: dict[bytes, bytes]) -> dict[bytes, Any]:
    """What readers see of each live row; contexts may differ between replicas that have all events."""
    read = {
        PRESENCE: kernels.row_live_dots,
        VALUES: lambda image: (kernels.row_live_dots(image), kernels.row_payloads(image)),
        LATEST: kernels.row_latest,
        CELL: lambda image: (kernels.row_cell(image)[1:], kernels.row_cell_value(image)),
    }
    return {key: read[kernels.row_kind(image)](image) for key, image in images.items() if not kernels.row_dead(image)}


@kinds
@given(steps=steps(), data=st.data())
@settings(max_examples=60, deadline=None)
def test_join_is_a_join(kernels: Any, kind: int, steps: list[Step], data: st.DataObject) -> None:
    history = History(kernels, kind).play(steps)
    for states in history.states.values():
        some = data.draw(st.lists(st.sampled_from(states), min_size=1, max_size=5))
        check_join_laws(lambda x, y: kernels.row_mend(x, y, IDS), some)


@kinds
@given(steps=steps(), data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_order_and_repetition_gives_equal_bytes(
    kernels: Any, kind: int, steps: list[Step], data: st.DataObject
) -> None:
    history = History(kernels, kind).play(steps)
    for states in history.states.values():
        numbers = list(range(len(states)))
        again = st.permutations(numbers + data.draw(st.lists(st.sampled_from(numbers), max_size=5)))
        orders = data.draw(st.lists(again, min_size=2, max_size=3))
        check_any_order(lambda x, y: kernels.row_mend(x, y, IDS), states, orders)


@kinds
@given(steps=steps())
@settings(max_examples=60, deadline=None)
def test_updates_inflate(kernels: Any, kind: int, steps: list[Step]) -> None:
    for before, after in History(kernels, kind).play(steps).updates:
        assert kernels.row_mend(before, after, IDS) == after
        assert kernels.row_mend(after, before, IDS) == after
        assert kernels.row_join(before, after, {}, IDS) == after
        assert kernels.row_join(after, before, {}, IDS) is None


@kinds
@given(steps=steps(), clock=st.dictionaries(st.integers(0, 5), st.integers(1, 8)))
@settings(max_examples=60, deadline=None)
def test_joining_lists_is_joining_each(kernels: Any, kind: int, steps: list[Step], clock: dict[int, int]) -> None:
    for states in History(kernels, kind).play(steps).states.values():
        current = [None, *states]
        incoming = [*reversed(states), states[0]]
        expected = [kernels.row_join(x, y, clock, IDS) for x, y in zip(current, incoming, strict=True)]
        assert kernels.rows_join(current, incoming, clock, IDS) == expected


@kinds
@given(steps=steps())
@settings(max_examples=60, deadline=None)
def test_what_a_clock_covers_changes_nothing(kernels: Any, kind: int, steps: list[Step]) -> None:
    for states in History(kernels, kind).play(steps).states.values():
        for image in states:
            clock = dict(kernels.row_context(image))
            assert kernels.row_covered(image, clock)
            assert kernels.row_join(None, image, clock, IDS) is None
            assert kernels.row_join(image, image, {}, IDS) is None
            actor = next(iter(clock))
            assert not kernels.row_covered(image, clock | {actor: clock[actor] - 1})


@given(steps=steps())
@settings(max_examples=100, deadline=None)
def test_conflict_is_symmetric_and_means_unseen(kernels: Any, steps: list[Step]) -> None:
    for states in History(kernels, LATEST).play(steps).states.values():
        for x in states[-4:]:
            for y in states[-4:]:
                _, x_actor, x_seq, _, _ = kernels.row_latest(x)
                _, y_actor, y_seq, _, _ = kernels.row_latest(y)
                seen = (
                    dict(kernels.row_context(x)).get(y_actor, 0) >= y_seq
                    or dict(kernels.row_context(y)).get(x_actor, 0) >= x_seq
                )
                assert kernels.row_conflict(x, y) is kernels.row_conflict(y, x) is (not seen)
