"""Increments of hot counters, one thread, closed loop: the peak, and nothing about latency."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from crdtsync.ops.bench.adapters import open_adapter
from crdtsync.ops.bench.bench import Task
from crdtsync.ops.bench.results import Check, Sample, Unit

UNITS = {"rate": Unit("1/s", higher=True, what="increments a second")}


class Params(msgspec.Struct, forbid_unknown_fields=True):
    """`seconds` of counting, after `warm_up` s that do not count; looked at the clock after every `rounds`."""

    seconds: float
    warm_up: float
    rounds: int = 10


def measure(task: Task, params: Params) -> Sample:
    """One sample."""
    system = open_adapter(task.system, task.place)
    counted, _ = count_for(system, params.warm_up, params.rounds)
    done, took = count_for(system, params.seconds, params.rounds)
    counted += done
    found = system.total()
    checks = [Check("the counters add up", found == counted, f"{found} of {counted}")]
    if system.survives_kill:
        return Sample({"rate": done / took}, checks, expected={"total": counted})
    system.close()
    return Sample({"rate": done / took}, checks)


def count_for(system: Any, seconds: float, rounds: int) -> tuple[int, float]:
    """(increments, seconds)."""
    counted, begin = 0, time.perf_counter()
    while time.perf_counter() < begin + seconds:
        counted += system.count_up(rounds)
    return counted, time.perf_counter() - begin


def verify(task: Task, params: Params) -> list[Check]:
    """The counters still add up after kill -9."""
    system = open_adapter(task.system, task.place)
    found, wanted = system.total(), (task.expected or {})["total"]
    system.close()
    return [Check("nothing is lost with kill -9", found == wanted, f"{found} of {wanted}")]
