"""The protocol model holds on random schedules, and fails when a rule is taken away."""

from __future__ import annotations

import os

import pytest

from .rules import Rules, last_heard
from .schedule import run

LONG_FIRST = int(os.environ.get("MODEL_FIRST", "0"))
LONG_COUNT = int(os.environ.get("MODEL_SEEDS", "10000"))
SEEDS_A_TEST = 30


@pytest.mark.parametrize("first", range(0, 150, SEEDS_A_TEST))
def test_every_rule_holds(first):
    for seed in range(first, first + SEEDS_A_TEST):
        run(seed)


@pytest.mark.long
@pytest.mark.timeout(0)
def test_every_rule_holds_on_many_schedules():
    for seed in range(LONG_FIRST, LONG_FIRST + LONG_COUNT):
        run(seed)


def first_violation(seeds, **broken):
    """The first of `seeds` at which the model without a rule is found out."""
    for seed in seeds:
        try:
            run(seed, Rules(**broken))
        except AssertionError as violation:  # a Violation, or an invariant asserted inside the model
            return seed, violation
    return None


BROKEN = [
    ("own_dot_of_removal", False, 10),
    ("start_check", False, 10),
    ("actor_per_start", False, 10),
    ("whole_claim", False, 10),
    ("stability", False, 10),
    ("joiner_counted", False, 120),
    ("stamp_after_replaced", False, 10),
    ("whole_batches", False, 10),
    ("listens_before_it_judges", False, 20),
    ("join_records", last_heard, 20),
]


@pytest.mark.parametrize(("rule", "broken", "within"), BROKEN, ids=[rule for rule, _, _ in BROKEN])
def test_a_rule_taken_away_is_missed(rule, broken, within):
    assert first_violation(range(within), **{rule: broken}) is not None
