"""Single rules of the join and of local operations, each with its counter-example."""

from __future__ import annotations

from typing import Any

import pytest

from crdtsync.kernels import CELL, LATEST, PRESENCE, VALUES
from tests.kernels.histories import IDS

COUNT_MAX = 2**63 - 1


# ---- the absent row: seen before, so removed and collected ----


def test_an_absent_register_that_was_seen_stays_away(kernels: Any) -> None:
    image = kernels.latest_set(kernels.latest_set(None, 0, 1, 5, b"old"), 1, 1, 9, b"new")
    assert kernels.row_join(None, image, {1: 1}, IDS) is None
    assert kernels.row_join(None, image, {0: 1}, IDS) == image


def test_an_absent_cell_that_was_seen_stays_away(kernels: Any) -> None:
    image = kernels.cell_reset(kernels.cell_add(None, 0, 3, 5, 0), 1, 1)
    assert kernels.row_join(None, image, {0: 3}, IDS) is None
    assert kernels.row_join(None, image, {0: 2, 1: 1}, IDS) == image


def test_an_absent_element_keeps_only_dots_not_seen(kernels: Any) -> None:
    both = kernels.row_mend(kernels.presence_add(None, 0, 4), kernels.presence_add(None, 1, 2), IDS)
    joined = kernels.row_join(None, both, {0: 4}, IDS)
    assert kernels.row_live_dots(joined) == [(1, 2)]
    assert kernels.row_context(joined) == [(0, 4), (1, 2)]
    values = kernels.row_mend(kernels.values_set(None, 0, 4, b"a"), kernels.values_set(None, 1, 2, b"b"), IDS)
    assert kernels.row_payloads(kernels.row_join(None, values, {1: 2}, IDS)) == [b"a"]


# ---- add wins, registers tie by id, counters by incarnation ----


def test_a_concurrent_add_survives_a_removal(kernels: Any) -> None:
    old = kernels.presence_add(None, 0, 1)
    removed, added = kernels.presence_remove(old, 1, 1), kernels.presence_add(old, 2, 1)
    for x, y in ((removed, added), (added, removed)):
        assert kernels.row_live_dots(kernels.row_join(x, y, {}, IDS)) == [(2, 1)]


def test_equal_stamps_go_to_the_greater_id_not_the_greater_index(kernels: Any) -> None:
    assert IDS[0] > IDS[1]
    zero, one = kernels.latest_set(None, 0, 1, 9, b"zero"), kernels.latest_set(None, 1, 1, 9, b"one")
    for x, y in ((zero, one), (one, zero)):
        assert kernels.row_latest(kernels.row_join(x, y, {}, IDS))[3] == b"zero"
        assert kernels.row_latest(kernels.row_join(x, y, {}, [3, 8]))[3] == b"one"
        assert kernels.row_latest(kernels.row_mend(x, y, [3, 8]))[3] == b"one"


def test_ids_are_looked_at_for_ties_alone(kernels: Any) -> None:
    zero, one = kernels.latest_set(None, 0, 1, 9, b"zero"), kernels.latest_set(None, 1, 1, 10, b"one")
    assert kernels.row_latest(kernels.row_join(zero, one, {}, []))[3] == b"one"
    with pytest.raises(IndexError):
        kernels.row_join(zero, kernels.latest_set(None, 1, 1, 9, b"one"), {}, [])


def test_increments_that_a_reset_had_not_seen_survive(kernels: Any) -> None:
    seen = kernels.cell_add(None, 0, 1, 5, 1)
    reset, more = kernels.cell_reset(seen, 1, 1), kernels.cell_add(seen, 0, 2, 3, 0)
    assert kernels.row_dead(reset) and kernels.row_cell_value(reset) == 0
    for x, y in ((reset, more), (more, reset)):
        joined = kernels.row_join(x, y, {}, IDS)
        assert kernels.row_cell_value(joined) == 3 and not kernels.row_dead(joined)


def test_a_base_from_an_earlier_incarnation_counts_as_zero(kernels: Any) -> None:
    old = kernels.cell_reset(kernels.cell_add(None, 0, 1, 5, 0), 1, 1)
    new = kernels.cell_add(None, 0, 2, 7, 0)
    for x, y in ((old, new), (new, old)):
        joined = kernels.row_join(x, y, {}, IDS)
        assert kernels.row_cell(joined) == (0, 2, 2, 7, 0, 0, 0, 0)


def test_owner_resets_under_a_dot_of_its_own(kernels: Any) -> None:
    reset = kernels.cell_reset(kernels.cell_add(None, 0, 1, 5, 2), 0, 2)
    assert kernels.row_cell(reset) == (0, 1, 2, 5, 2, 2, 5, 2)
    again = kernels.cell_add(reset, 0, 3, 0, 1)
    assert kernels.row_cell_value(again) == -1 and not kernels.row_dead(again)


def test_unequal_rows_under_one_dot_still_join_the_same_both_ways(kernels: Any) -> None:
    """No correct node makes them; a hostile one must not keep replicas apart."""
    x = kernels.cell_add(kernels.cell_add(None, 0, 1, 5, 0), 0, 2, 0, 9)
    y = kernels.cell_reset(kernels.cell_add(kernels.cell_add(None, 0, 1, 7, 0), 0, 2, 0, 1), 1, 1)
    joined = kernels.row_mend(x, y, IDS)
    assert joined == kernels.row_mend(y, x, IDS)
    assert kernels.row_cell(joined) == (0, 1, 2, 7, 9, 2, 7, 1)


# ---- kinds and owners do not mix ----


def one_of(kernels: Any, kind: int) -> bytes:
    return {
        PRESENCE: lambda: kernels.presence_add(None, 0, 1),
        VALUES: lambda: kernels.values_set(None, 0, 1, b"v"),
        LATEST: lambda: kernels.latest_set(None, 0, 1, 1, b"v"),
        CELL: lambda: kernels.cell_add(None, 0, 1, 1, 0),
    }[kind]()


def test_kinds_do_not_join(kernels: Any) -> None:
    for mine in range(4):
        for theirs in range(4):
            if mine != theirs:
                with pytest.raises(ValueError, match=f"row kinds differ: {mine} and {theirs}"):
                    kernels.row_join(one_of(kernels, mine), one_of(kernels, theirs), {}, IDS)
                assert kernels.row_conflict(one_of(kernels, mine), one_of(kernels, theirs)) is False


def test_cells_of_two_owners_do_not_join(kernels: Any) -> None:
    with pytest.raises(ValueError, match="cell owners differ: 0 and 1"):
        kernels.row_join(kernels.cell_add(None, 0, 1, 1, 0), kernels.cell_add(None, 1, 1, 1, 0), {}, IDS)


def test_readers_refuse_other_kinds(kernels: Any) -> None:
    readers = {kernels.row_payloads: VALUES, kernels.row_latest: LATEST, kernels.row_cell: CELL}
    for read, fits in readers.items():
        for kind in range(4):
            if kind != fits:
                with pytest.raises(ValueError, match=f"row kind is {kind}, not {fits}"):
                    read(one_of(kernels, kind))


# ---- local operations refuse what would break a row ----


def test_operations_refuse_other_kinds(kernels: Any) -> None:
    wrong = one_of(kernels, CELL)
    for call in (
        lambda: kernels.presence_add(wrong, 0, 2),
        lambda: kernels.presence_remove(wrong, 0, 2),
        lambda: kernels.values_set(wrong, 0, 2, b""),
        lambda: kernels.latest_set(wrong, 0, 2, 1, b""),
        lambda: kernels.cell_add(one_of(kernels, LATEST), 0, 2, 1, 0),
        lambda: kernels.cell_reset(one_of(kernels, LATEST), 0, 2),
    ):
        with pytest.raises(ValueError, match="row kind is"):
            call()


def test_an_event_comes_after_what_its_row_has_seen(kernels: Any) -> None:
    for kind in range(4):
        image = one_of(kernels, kind)
        again = {
            PRESENCE: lambda image=image: kernels.presence_add(image, 0, 1),
            VALUES: lambda image=image: kernels.values_set(image, 0, 1, None),
            LATEST: lambda image=image: kernels.latest_set(image, 0, 1, 2, None),
            CELL: lambda image=image: kernels.cell_add(image, 0, 1, 1, 0),
        }[kind]
        with pytest.raises(ValueError, match="event 1 is not after the row's context"):
            again()
    with pytest.raises(ValueError, match="event 0 is not after"):
        kernels.presence_add(None, 0, 0)


def test_a_cell_has_one_writer(kernels: Any) -> None:
    with pytest.raises(ValueError, match="owner only"):
        kernels.cell_add(kernels.cell_add(None, 0, 1, 1, 0), 1, 1, 1, 0)


def test_a_deleted_register_does_not_expire(kernels: Any) -> None:
    with pytest.raises(ValueError, match="does not expire"):
        kernels.latest_set(None, 0, 1, 1, None, 5)
    assert kernels.row_latest(kernels.latest_set(None, 0, 1, 1, b"x", 5)) == (1, 0, 1, b"x", 5)


def test_counts_end_at_2_to_the_63_less_1(kernels: Any) -> None:
    full = kernels.cell_add(None, 0, 1, COUNT_MAX, COUNT_MAX)
    assert kernels.row_cell(full)[3:5] == (COUNT_MAX, COUNT_MAX)
    for up, down in ((1, 0), (0, 1), (COUNT_MAX, 0), (2**64 - 1, 0)):
        with pytest.raises(OverflowError):
            kernels.cell_add(full, 0, 2, up, down)
    assert kernels.cell_add(full, 0, 2, 0, 0) != full
    reset = kernels.cell_reset(full, 1, 1)
    assert kernels.row_cell_value(reset) == 0


def test_cell_values_reach_both_ends(kernels: Any) -> None:
    assert kernels.row_cell_value(kernels.cell_add(None, 0, 1, COUNT_MAX, 0)) == COUNT_MAX
    assert kernels.row_cell_value(kernels.cell_add(None, 0, 1, 0, COUNT_MAX)) == -COUNT_MAX
    up = kernels.cell_reset(kernels.cell_add(None, 0, 1, COUNT_MAX, 0), 1, 1)
    assert kernels.row_cell_value(kernels.cell_add(up, 0, 2, 0, COUNT_MAX)) == -COUNT_MAX


@pytest.mark.parametrize("bad", [-1, 2**64, 2**200])
def test_numbers_out_of_range_overflow(kernels: Any, bad: int) -> None:
    for call in (
        lambda: kernels.varint_encode(bad),
        lambda: kernels.presence_add(None, bad, 1),
        lambda: kernels.presence_add(None, 1, bad),
        lambda: kernels.latest_set(None, 0, 1, bad, b""),
        lambda: kernels.latest_set(None, 0, 1, 1, b"", bad),
        lambda: kernels.cell_add(None, 0, 1, bad, 0),
    ):
        with pytest.raises(OverflowError):
            call()


def test_an_actor_is_a_32_bit_index(kernels: Any) -> None:
    assert kernels.row_context(kernels.presence_add(None, 2**32 - 1, 1)) == [(2**32 - 1, 1)]
    with pytest.raises(OverflowError, match="32 bits"):
        kernels.presence_add(None, 2**32, 1)


def test_wrong_types_are_type_errors(kernels: Any) -> None:
    image = kernels.presence_add(None, 0, 1)
    for call in (
        lambda: kernels.varint_encode("1"),
        lambda: kernels.varint_decode("1", 0),
        lambda: kernels.row_kind(None),
        lambda: kernels.row_context("text"),
        lambda: kernels.row_dead(bytearray(image)),
        lambda: kernels.presence_add("text", 0, 1),
        lambda: kernels.presence_add(None, 0.5, 1),
        lambda: kernels.presence_remove(None, 0, 2),
        lambda: kernels.cell_reset(None, 0, 2),
        lambda: kernels.values_set(None, 0, 1, "text"),
        lambda: kernels.latest_set(None, 0, 1, 1, "text"),
        lambda: kernels.row_join(image, None, {}, IDS),
        lambda: kernels.row_join(1, image, {}, IDS),
        lambda: kernels.row_mend(image, None, IDS),
        lambda: kernels.row_conflict(image, None),
        lambda: kernels.rows_join([image], [None], {}, IDS),
        lambda: kernels.rows_unpack(0, "text", b"", 0),
        lambda: kernels.keys_unpack(0, "text", 0),
        lambda: kernels.rows_actors([(b"k", None)]),
        lambda: kernels.rows_beyond([(b"k", None)], {}),
    ):
        with pytest.raises(TypeError):
            call()


def test_lists_of_two_lengths_do_not_join(kernels: Any) -> None:
    with pytest.raises(ValueError, match="differ in length"):
        kernels.rows_join([None], [], {}, IDS)
