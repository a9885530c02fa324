"""What an addition costs in small sets and in a large one: what a set holds already should not matter."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from crdtsync.ops.bench.adapters import open_adapter
from crdtsync.ops.bench.bench import Task
from crdtsync.ops.bench.results import Check, Sample, Unit

UNITS = {
    "ratio": Unit("", what="time of an addition to the large set, to that of one to a small set"),
    "small": Unit("us", what="time of an addition to a small set"),
    "large": Unit("us", what="time of an addition to the large set"),
}
BATCH = 5000  # elements of a batch while sets are filled


class Params(msgspec.Struct, forbid_unknown_fields=True):
    """Sets of `small` elements and one of `large`; `adds` timed additions to each, in `turns`."""

    small: int
    large: int
    adds: int
    turns: int


def measure(task: Task, params: Params) -> Sample:
    """One sample."""
    system = open_adapter(task.system, task.place)
    try:
        return timed(system.node, params)
    finally:
        system.close()


def timed(node: Any, params: Params) -> Sample:
    """Fill, then add in turns: one addition to each of many small sets, as many to the large one."""
    large = node.orset("large")
    for first in range(0, params.large, BATCH):
        large.update([f"element {at:09}" for at in range(first, min(first + BATCH, params.large))])
    smalls = [node.orset(f"small:{at:06}") for at in range(params.adds)]
    for small in smalls:
        small.update([f"element {at:09}" for at in range(params.small)])
    node.sync()
    spent = {"small": 0.0, "large": 0.0}
    per_turn = params.adds // params.turns
    for turn in range(params.turns):
        chosen = range(turn * per_turn, (turn + 1) * per_turn)
        news = [f"element {params.large + at:09}" for at in chosen]
        spent["small"] += add_each([smalls[at] for at in chosen], news)
        spent["large"] += add_each([large] * per_turn, news)
    added = params.turns * per_turn
    sizes = {len(small) for small in smalls[:added]}
    checks = [
        Check("the large set has grown by all additions", len(large) == params.large + added),
        Check("each small set has grown by one", sizes == {params.small + 1}, f"sizes {sorted(sizes)}"),
    ]
    figures = {name: 1e6 * seconds / added for name, seconds in spent.items()}
    return Sample({"ratio": spent["large"] / spent["small"], **figures}, checks)


def add_each(sets: list[Any], elements: list[str]) -> float:
    """Seconds for one addition to each."""
    begin = time.perf_counter()
    for each, element in zip(sets, elements, strict=True):
        each.add(element)
    return time.perf_counter() - begin


def verify(task: Task, params: Params) -> list[Check]:
    """The node was closed."""
    return []
