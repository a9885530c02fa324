"""The judges are judged: histories that are right pass, each kind of fault is told."""

from __future__ import annotations

import pytest

from .checkers import FAIL, INFO, OK, Op, acceptable, available, check_counter, check_ids, check_set


def add(value: int, outcome: str = OK, node: str = "n1") -> Op:
    return Op(node, "add", value, outcome)


def read(value: object, node: str = "n1", final: bool = True) -> Op:
    return Op(node, "read", value, OK, final)


def test_sets_that_are_right() -> None:
    history = [add(1), add(2, INFO), add(3, FAIL), read([], final=False), read([1, 2]), read([2, 1], "n2")]
    assert check_set(history, ["n1", "n2"]) == []


@pytest.mark.parametrize(
    ("reads", "fault"),
    [
        ([read([]), read([], "n2")], "lost"),
        ([read([1]), read([1, 1], "n2")], "more than once"),
        ([read([1, 9]), read([1, 9], "n2")], "nobody added"),
        ([read([1])], "no final read"),
        ([read([1, 2]), read([1], "n2")], "differ"),
        ([read([1, 2], final=False), read([1]), read([1], "n2")], "no more"),
    ],
)
def test_sets_that_are_not(reads: list[Op], fault: str) -> None:
    assert any(fault in line for line in check_set([add(1), add(2, INFO), *reads], ["n1", "n2"]))


@pytest.mark.parametrize(
    ("steps", "sums"),
    [
        ([add(2), add(3)], {5}),
        ([add(10), add(5, INFO), add(-1, INFO), add(-1, INFO)], {8, 9, 10, 13, 14, 15}),
        ([add(1), add(7, FAIL)], {1}),
    ],
)
def test_acceptable_sums(steps: list[Op], sums: set[int]) -> None:
    assert acceptable(steps) == sums


def test_counters() -> None:
    steps = [add(2), add(3), add(1, INFO)]
    assert check_counter([*steps, read(6), read(6, "n2")], ["n1", "n2"]) == []
    assert any("differ" in line for line in check_counter([*steps, read(5), read(6, "n2")], ["n1", "n2"]))
    assert any("no outcome" in line for line in check_counter([*steps, read(4), read(4, "n2")], ["n1", "n2"]))
    assert any("no final" in line for line in check_counter([*steps, read(5)], ["n1", "n2"]))


def test_ids_and_availability() -> None:
    ids = [Op("n1", "generate", "a", OK), Op("n2", "generate", "b", OK), Op("n2", "generate", None, INFO)]
    assert check_ids(ids) == []
    assert check_ids([*ids, Op("n3", "generate", "a", OK)]) == ["a was given 2 times"]
    assert available(ids) == pytest.approx(2 / 3)
