"""The mixes of YCSB: a peak (closed loop), then latency at a fixed rate (open loop) on the same records.

A record of ten fields of 100 B is one value of 1,000 B.  Keys are drawn by the zipfian distribution of YCSB (theta
0.99, scattered over the keys), or the latest ones are the likeliest (D).
"""

from __future__ import annotations

import random
import time
from bisect import bisect
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import msgspec

from crdtsync.ops.bench.adapters import open_adapter
from crdtsync.ops.bench.bench import Task
from crdtsync.ops.bench.pacing import Paced
from crdtsync.ops.bench.results import Check, Sample, Unit

POINTS = ("p50", "p90", "p95", "p99", "p99.9", "max")
UNITS = {
    "rate": Unit("1/s", higher=True, what="operations a second, one caller, closed loop: the peak"),
    "behind": Unit("s", what="how late the last operation of the open loop began"),
    **{f"response_{at}": Unit("ms", what=f"time from when an operation was due, {at}, open loop") for at in POINTS},
    **{f"service_{at}": Unit("ms", what=f"time from when an operation began, {at}, open loop") for at in POINTS},
}
THETA = 0.99
LOOKED_AT = 1000  # records that are read afterwards
PREFIX = "user:"


class Params(msgspec.Struct, forbid_unknown_fields=True):
    """Shares of each operation; `seconds` for each loop after `warm_up` s; `rate` operations a second when paced."""

    records: int
    seconds: float
    warm_up: float
    rate: float
    value_bytes: int = 1000
    scanned: int = 50  # records of a scan
    read: float = 0.0
    update: float = 0.0
    insert: float = 0.0
    scan: float = 0.0
    modify: float = 0.0  # read, then update
    latest: bool = False


class Mix:
    """The operations of one workload on one system, and what the records should hold."""

    def __init__(self, system: Any, params: Params, seed: int) -> None:
        self.system, self.params, self.chance = system, params, random.Random(seed)
        self.written: dict[str, str] = {}
        self.wrong = 0
        weights = accumulate(1 / (rank + 1) ** THETA for rank in range(params.records))
        self.ranks = list(weights)
        self.scattered = list(range(params.records))
        self.chance.shuffle(self.scattered)
        names = ("read", "update", "insert", "scan", "modify")
        self.operations: list[Callable[[], None]] = [getattr(self, name) for name in names]
        self.shares = list(accumulate(getattr(params, name) for name in names))

    def load(self) -> None:
        """Write all records first."""
        value = self.value()
        keys = [key_of(number) for number in range(self.params.records)]
        self.system.put_all(keys, value)
        self.written = dict.fromkeys(keys, value)

    def step(self) -> None:
        """One operation."""
        self.operations[bisect(self.shares, self.chance.random() * self.shares[-1])]()

    def value(self) -> str:
        """A record's content."""
        return f"{self.chance.getrandbits(64):016x}".ljust(self.params.value_bytes, "x")

    def key(self) -> str:
        """One of the records that there are."""
        rank = min(bisect(self.ranks, self.chance.random() * self.ranks[-1]), self.params.records - 1)
        return key_of(len(self.written) - 1 - rank if self.params.latest else self.scattered[rank])

    def read(self) -> None:
        """Read one, and look whether it is what was written last."""
        key = self.key()
        self.wrong += self.system.get_record(key) != self.written[key]

    def update(self) -> None:
        """Write one that is there."""
        self.write(self.key())

    def insert(self) -> None:
        """Write a new one."""
        self.write(key_of(len(self.written)))

    def scan(self) -> None:
        """Read some in the order of keys: those whose numbers begin alike."""
        self.wrong += self.system.scan_records(self.key()[:-2], self.params.scanned) == 0

    def modify(self) -> None:
        """Read one, then write it."""
        self.read()
        self.update()

    def write(self, key: str) -> None:
        """Write one, and note it."""
        value = self.value()
        self.system.put_record(key, value)
        self.written[key] = value


def key_of(number: int) -> str:
    """A record's key."""
    return f"{PREFIX}{number:09}"


def measure(task: Task, params: Params) -> Sample:
    """One sample."""
    system = open_adapter(task.system, task.place)
    try:
        mix = Mix(system, params, task.seed)
        mix.load()
        repeat(mix.step, params.warm_up)
        done, took = repeat(mix.step, params.seconds)
        paced = Paced(params.rate, params.seconds, task.seed)
        paced.run(mix.step)
        looked_at = mix.chance.sample(sorted(mix.written), min(LOOKED_AT, len(mix.written)))
        found = system.holds(looked_at)
    finally:
        system.close()
    lost = sum(found[key] != mix.written[key] for key in looked_at)
    checks = [
        Check("every read gives what was written last", mix.wrong == 0, f"{mix.wrong} do not" if mix.wrong else ""),
        Check("what was written last is there at the end", lost == 0, f"{lost} records are not" if lost else ""),
    ]
    return Sample({"rate": done / took, **paced.figures()}, checks, paced.histograms(), paced.faults())


def repeat(step: Callable[[], None], seconds: float) -> tuple[int, float]:
    """(steps, seconds)."""
    done, begin = 0, time.perf_counter()
    while (now := time.perf_counter()) < begin + seconds:
        step()
        done += 1
    return done, now - begin


def verify(task: Task, params: Params) -> list[Check]:
    """All were closed."""
    return []
