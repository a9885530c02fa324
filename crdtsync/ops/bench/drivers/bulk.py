"""Many counters in one call: columns written to new keys and to hot ones, read back by their keys, and scanned."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import msgspec

from crdtsync.ops.bench.adapters import open_adapter
from crdtsync.ops.bench.bench import Task
from crdtsync.ops.bench.results import Check, Sample, Unit

UNITS = {
    "rate": Unit("rows/s", higher=True, what="rows of new counters a second, as calls return"),
    "hot_rate": Unit("rows/s", higher=True, what="rows of counters that are in memory, as calls return"),
    "read_rate": Unit("rows/s", higher=True, what="values read by their keys, out of memory"),
    "scan_rate": Unit("rows/s", higher=True, what="counters read in the order of their keys, out of memory"),
}


class Params(msgspec.Struct, forbid_unknown_fields=True):
    """`keys` counters in calls of `rows` each; all of them are written again, and read, `rounds` times."""

    keys: int
    rows: int
    rounds: int


def measure(task: Task, params: Params) -> Sample:
    """One sample."""
    keys = [f"object:{number:09}" for number in range(params.keys)]
    random.Random(task.seed).shuffle(keys)
    system = open_adapter(task.system, task.place)
    columns = [system.column(keys[first : first + params.rows]) for first in range(0, len(keys), params.rows)]

    def write() -> int:
        for column in columns:
            system.count_column(column)
        return 0

    def rate(call: Callable[[], int], rounds: int) -> tuple[float, list[int]]:
        begin = time.perf_counter()
        found = [call() for _ in range(rounds)]
        return rounds * params.keys / (time.perf_counter() - begin), found

    figures, total = {}, params.keys * (1 + params.rounds)
    figures["rate"], _ = rate(write, 1)
    figures["hot_rate"], _ = rate(write, params.rounds)
    figures["read_rate"], read = rate(lambda: sum(map(system.sum_column, columns)), params.rounds)
    figures["scan_rate"], scanned = rate(system.sum_scanned, params.rounds)
    checks = [
        Check("what is read adds up", set(read) == {total}, f"{read} of {total}"),
        Check("what is scanned adds up", set(scanned) == {total}, f"{scanned} of {total}"),
    ]
    return Sample(figures, checks, expected={"total": total})


def verify(task: Task, params: Params) -> list[Check]:
    """The counters still add up after kill -9."""
    system = open_adapter(task.system, task.place)
    found, wanted = system.sum_scanned(), (task.expected or {})["total"]
    system.close()
    return [Check("nothing is lost with kill -9", found == wanted, f"{found} of {wanted}")]


