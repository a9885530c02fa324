"""Six hundred seeds of the simulated world, and those that have failed before."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from crdtsync import kernels
from crdtsync.sim import run

SEEDS = 600 if kernels.IMPLEMENTATION == "native" else 100  # the pure kernels are many times slower
CHUNK = 50
TROUBLE = Path(__file__).with_name("seeds.txt")
OPERATIONS_MIN, NODES_MIN = 300, 3


def failed_before() -> list[int]:
    lines = TROUBLE.read_text(encoding="utf-8").splitlines()
    return [int(line.split("#")[0]) for line in lines if line.split("#")[0].strip()]


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_seeds(first: int) -> None:
    met: Counter[str] = Counter()
    for seed in range(first, first + CHUNK):
        verdict = run(seed)
        assert verdict.ok, "\n".join([*verdict.tail, verdict.summary()])
        assert verdict.operations >= OPERATIONS_MIN and verdict.nodes >= NODES_MIN, verdict.summary()
        met.update(verdict.counters)
    for fault in ("message lost", "message doubled", "message reordered", "cut in halves", "power", "kill", "join"):
        assert met[fault], f"no seed from {first} to {first + CHUNK} met: {fault}"


@pytest.mark.parametrize("seed", failed_before())
def test_seeds_that_have_failed_before(seed: int) -> None:
    verdict = run(seed)
    assert verdict.ok, "\n".join([*verdict.tail, verdict.summary()])


@pytest.mark.long
@pytest.mark.parametrize("first", range(100_000, 120_000, 500))
def test_many_more_seeds(first: int) -> None:
    for seed in range(first, first + 500):
        verdict = run(seed)
        assert verdict.ok, "\n".join([*verdict.tail, verdict.summary()])
