"""The reference that judges replicas, on cases small enough to know the answer."""

from __future__ import annotations

from typing import Any

import pytest

from crdtsync.kernels import CELL, LATEST, PRESENCE, VALUES
from crdtsync.sim.history import Fact, History
from crdtsync.sim.world import Violation

ROW = b"key\0o"


def history(*facts: tuple[int, int, int, set[tuple[int, int]], Any], ends: dict[int, int] | None = None) -> History:
    made = History("b")
    for actor, seq, kind, observed, payload in facts:
        made.record(Fact(actor, seq, ROW, kind, frozenset(observed), payload, (ends or {}).get(seq, seq)))
    return made


def test_an_add_survives_a_remove_that_has_not_seen_it() -> None:
    made = history((1, 1, PRESENCE, set(), True), (2, 1, PRESENCE, set(), True), (2, 2, PRESENCE, {(2, 1)}, False))
    assert made.expected(ROW, {1: 1, 2: 2}) == {(1, 1)}
    assert made.expected(ROW, {2: 2}) is None
    assert made.expected(ROW, {}) is None


def test_values_stand_beside_each_other_until_one_has_seen_both() -> None:
    made = history((1, 1, VALUES, set(), b"x"), (2, 1, VALUES, set(), b"y"), (1, 2, VALUES, {(1, 1), (2, 1)}, b"z"))
    assert made.expected(ROW, {1: 1, 2: 1}) == {(1, 1, b"x"), (2, 1, b"y")}
    assert made.expected(ROW, {1: 2, 2: 1}) == {(1, 2, b"z")}


def test_the_later_stamp_wins_and_the_greater_actor_breaks_ties() -> None:
    tie = ((1, 1, LATEST, set(), (9, b"x", 0)), (2, 1, LATEST, set(), (9, b"y", 0)))
    made = history(*tie, (1, 2, LATEST, set(), (10, None, 0)))
    assert made.expected(ROW, {1: 1, 2: 1}) == (9, 2, 1, b"y", 0)
    assert made.expected(ROW, {1: 2, 2: 1}) is None


def test_a_reset_takes_what_it_has_seen() -> None:
    made = history((1, 1, CELL, set(), 5), (1, 2, CELL, set(), 7), (2, 1, CELL, {(1, 1)}, None))
    assert made.expected(ROW, {1: 2, 2: 1}) == 7
    assert made.expected(ROW, {1: 2}) == 12
    assert made.expected(ROW, {1: 1, 2: 1}) is None


def test_a_dot_used_twice_is_found() -> None:
    made = history((1, 1, PRESENCE, set(), True))
    with pytest.raises(Violation, match="dots"):
        made.record(Fact(1, 1, ROW, PRESENCE, frozenset(), True, 1))


def test_a_claim_of_what_nobody_wrote_is_found() -> None:
    with pytest.raises(Violation, match="nobody wrote"):
        list(history((1, 1, PRESENCE, set(), True)).between({}, {1: 2}))


def test_half_a_batch_is_found() -> None:
    made = history((1, 1, PRESENCE, set(), True), (1, 2, PRESENCE, {(1, 1)}, False), ends={1: 2})
    with pytest.raises(Violation, match="batch"):
        list(made.between({}, {1: 1}))
    assert len(list(made.between({}, {1: 2}))) == 2


def test_only_what_was_never_on_a_disk_may_be_lost() -> None:
    made = history((1, 1, PRESENCE, set(), True), (1, 2, PRESENCE, set(), True))
    assert made.lost({1: 1}) == (1, ["b: events 2 to 2 of actor 1 are lost"])
    made.excuse(1, above=1)
    assert made.lost({1: 1}) == (1, [])
    assert made.lost({}) == (2, ["b: events 1 to 1 of actor 1 are lost"])


def test_a_private_actor_is_known_by_its_id_once_it_has_one() -> None:
    made = history((-1, 1, PRESENCE, set(), True), (-1, 2, PRESENCE, {(-1, 1)}, True))
    made.rename(-1, 77)
    assert made.expected(ROW, {77: 2}) == {(77, 2)}
    assert made.lost({77: 2}) == (0, [])
