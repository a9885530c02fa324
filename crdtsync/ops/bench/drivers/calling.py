"""Calls to another process by one caller, closed loop: the peak of single calls, and of streams."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from crdtsync.ops.bench.adapters import open_adapter
from crdtsync.ops.bench.bench import Task
from crdtsync.ops.bench.results import Check, Sample, Unit

UNITS = {
    "rate": Unit("1/s", higher=True, what="single calls a second"),
    "stream_rate": Unit("1/s", higher=True, what="operations a second in streams"),
}


class Params(msgspec.Struct, forbid_unknown_fields=True):
    """`seconds` for each figure after `warm_up` s that do not count; streams of `operations`."""

    seconds: float
    warm_up: float
    operations: int


def measure(task: Task, params: Params) -> Sample:
    """One sample."""
    system = open_adapter(task.system, task.place)
    try:
        warmed, _ = repeat(system.call, params.warm_up)
        calls, took = repeat(system.call, params.seconds)
        figures, made = {"rate": calls / took}, warmed + calls
        if hasattr(system, "stream"):
            streams, took = repeat(lambda: system.stream(params.operations), params.seconds)
            figures["stream_rate"] = streams * params.operations / took
            made += streams * params.operations
        found = system.total()
    finally:
        system.close()
    return Sample(figures, [Check("every answered call was carried out once", found == made, f"{found} of {made}")])


def repeat(call: Callable[[], Any], seconds: float) -> tuple[int, float]:
    """(calls, seconds), one call at the least."""
    count, begin = 0, time.perf_counter()
    while True:
        call()
        count += 1
        if (now := time.perf_counter()) >= begin + seconds:
            return count, now - begin


def verify(task: Task, params: Params) -> list[Check]:
    """Nothing is left: the server was ended in good order."""
    return []
