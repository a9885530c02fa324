"""Engine and store do what the model does, step by step: rows, clocks, floors, members, announcements and values."""

from __future__ import annotations

import logging
import os

import pytest

from .schedule import run
from .twin import Difference, Pair, Twin

LONG_FIRST = int(os.environ.get("MODEL_FIRST", "0"))
LONG_COUNT = int(os.environ.get("MODEL_SEEDS", "10000"))
SEEDS_A_TEST = 20


@pytest.fixture(autouse=True)
def _quiet():
    """Refusals are what many of these steps are about."""
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("first", range(0, 100, SEEDS_A_TEST))
def test_engine_keeps_step_with_the_model(first):
    for seed in range(first, first + SEEDS_A_TEST):
        world = run(seed, world_class=Pair, node_class=Twin)
        assert world.compared >= 50, f"seed {seed} compared {world.compared} replicas"


@pytest.mark.long
@pytest.mark.timeout(0)
def test_engine_keeps_step_with_the_model_on_many_schedules():
    for seed in range(LONG_FIRST, LONG_FIRST + LONG_COUNT):
        run(seed, world_class=Pair, node_class=Twin)


class Forgetful(Twin):
    """A twin whose engine does not hear of collections: the comparison must notice."""

    def collect(self):
        super(Twin, self).collect()


def test_a_difference_is_noticed(monkeypatch):
    monkeypatch.setattr("tests.model.twin.Twin", Forgetful)
    with pytest.raises(Difference, match=r"row|floor"):
        for seed in range(10):
            run(seed, world_class=Pair, node_class=Forgetful)
