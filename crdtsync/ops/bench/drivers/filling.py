"""Writes to distinct keys in random order, and writes over them: from call to return, and until the disk has it all."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from crdtsync.ops.bench.adapters import open_adapter
from crdtsync.ops.bench.bench import Task
from crdtsync.ops.bench.results import Check, Sample, Unit

UNITS = {
    "rate": Unit("1/s", higher=True, what="writes of new keys a second, as calls return"),
    "synced_rate": Unit("1/s", higher=True, what="writes of new keys a second, until the disk has all", synced=True),
    "overwrite_rate": Unit("1/s", higher=True, what="writes over keys a second, as calls return"),
    "overwrite_synced_rate": Unit("1/s", higher=True, what="overwrites a second, until the disk has all", synced=True),
}
LOOKED_AT = 1000  # keys that are read afterwards
FIRST, SECOND = "first value of twenty", "other value of twenty"


class Params(msgspec.Struct, forbid_unknown_fields=True):
    """`keys` distinct keys."""

    keys: int


def measure(task: Task, params: Params) -> Sample:
    """One sample."""
    keys = [f"object:{number:09}" for number in range(params.keys)]
    random.Random(task.seed).shuffle(keys)
    system = open_adapter(task.system, task.place)
    figures = fill(system, keys, FIRST, "")
    figures |= fill(system, keys, SECOND, "overwrite_")
    checks = [look(system, keys, "what was written last can be read")]
    if system.survives_kill:
        return Sample(figures, checks, expected={"keys": keys[: LOOKED_AT // 2] + keys[-LOOKED_AT // 2 :]})
    system.close()
    return Sample(figures, checks)


def fill(system: Any, keys: Sequence[str], value: str, prefix: str) -> dict[str, float]:
    """Write all keys; the rates."""
    begin = time.perf_counter()
    system.put_all(keys, value)
    returned = time.perf_counter()
    figures = {f"{prefix}rate": len(keys) / (returned - begin)}
    if system.make_durable():
        figures[f"{prefix}synced_rate"] = len(keys) / (time.perf_counter() - begin)
    return figures


def look(system: Any, keys: Sequence[str], what: str) -> Check:
    """Whether keys from both ends hold the second value."""
    asked = {*keys[:LOOKED_AT], *keys[-LOOKED_AT:]}
    wrong = sum(value != SECOND for value in system.holds(sorted(asked)).values())
    return Check(what, wrong == 0, f"{wrong} of {len(asked)} keys are wrong" if wrong else "")


def verify(task: Task, params: Params) -> list[Check]:
    """The keys hold the same after kill -9."""
    system = open_adapter(task.system, task.place)
    check = look(system, (task.expected or {})["keys"], "nothing is lost with kill -9")
    system.close()
    return [check]
