"""Writes that are acknowledged when the disk has them: threads that each wait for their own, closed loop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from crdtsync.ops.bench import histograms
from crdtsync.ops.bench.adapters import open_adapter
from crdtsync.ops.bench.bench import Task
from crdtsync.ops.bench.results import Check, Sample, Unit

UNITS = {
    "rate": Unit("1/s", higher=True, what="acknowledged writes a second", synced=True),
    "commits": Unit("1/s", higher=True, what="acknowledged batches a second", synced=True),
    "fairness": Unit("", higher=True, what="batches of the thread that had fewest, to the mean of all threads"),
    **{f"commit_{at}": Unit("ms", what=f"service time of a batch, {at}, closed loop")
       for at in ("p50", "p90", "p95", "p99", "p99.9", "max")},
}  # fmt: skip


class Params(msgspec.Struct, forbid_unknown_fields=True):
    """`threads` that commit `batch` writes at a time for `seconds`, after `warm_up` s that do not count."""

    seconds: float
    warm_up: float
    threads: int
    batch: int


def measure(task: Task, params: Params) -> Sample:
    """One sample."""
    system = open_adapter(task.system, task.place)
    workers = [Worker(system, number, params.batch) for number in range(params.threads)]
    warmed, _ = commit_for(workers, params.warm_up)
    commits, took = commit_for(workers, params.seconds)
    times = [nanoseconds for each in commits for nanoseconds in each]
    written = (sum(map(len, warmed)) + len(times)) * params.batch
    histogram = histograms.empty()
    for nanoseconds in times:
        histograms.record(histogram, nanoseconds)
    figures = {"rate": len(times) * params.batch / took, "commits": len(times) / took}
    figures["fairness"] = min(map(len, commits)) * params.threads / len(times)
    figures |= histograms.percentiles(histogram, "commit")
    found = system.committed()
    checks = [Check("every acknowledged write is there", found == written, f"{found} of {written}")]
    packed = {"commit": histograms.packed(histogram)}
    if system.survives_kill:
        return Sample(figures, checks, packed, expected={"written": written})
    system.close()
    return Sample(figures, checks, packed)


class Worker:
    """One thread's committer, and how long each of its commits took in ns."""

    def __init__(self, system: Any, number: int, batch: int) -> None:
        self.commit: Callable[[int], None] = system.committer(number)
        self.batch = batch
        self.times: list[int] = []
        self.failure: BaseException | None = None

    def run(self, end: float) -> None:
        """Commit until the end (perf_counter)."""
        try:
            while (begun := time.perf_counter()) < end:
                self.commit(self.batch)
                self.times.append(int((time.perf_counter() - begun) * 1e9))
        except BaseException as failure:  # told by the thread that waits
            self.failure = failure


def commit_for(workers: list[Worker], seconds: float) -> tuple[list[list[int]], float]:
    """(times of each worker's commits in ns, seconds that it took)."""
    begin = time.perf_counter()
    threads = [threading.Thread(target=worker.run, args=(begin + seconds,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - begin
    for worker in workers:
        if worker.failure is not None:
            raise worker.failure
    times = [worker.times for worker in workers]
    for worker in workers:
        worker.times = []
    return times, took


def verify(task: Task, params: Params) -> list[Check]:
    """Every acknowledged write is there after kill -9."""
    system = open_adapter(task.system, task.place)
    found, wanted = system.committed(), (task.expected or {})["written"]
    system.close()
    return [Check("nothing is lost with kill -9", found == wanted, f"{found} of {wanted}")]
