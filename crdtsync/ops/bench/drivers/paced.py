"""Calls to another process at a fixed mean rate, open loop: latency as callers meet it."""

from __future__ import annotations

import msgspec

from crdtsync.ops.bench.adapters import open_adapter
from crdtsync.ops.bench.bench import Task
from crdtsync.ops.bench.pacing import Paced
from crdtsync.ops.bench.results import Check, Sample, Unit

POINTS = ("p50", "p90", "p95", "p99", "p99.9", "max")
UNITS = {
    "behind": Unit("s", what="how late the last call began"),
    **{f"response_{at}": Unit("ms", what=f"time from when a call was due, {at}") for at in POINTS},
    **{f"service_{at}": Unit("ms", what=f"time from when a call began, {at}") for at in POINTS},
}


class Params(msgspec.Struct, forbid_unknown_fields=True):
    """`rate` calls a second in the mean, as a Poisson process, for `seconds` after `warm_up` s."""

    rate: float
    seconds: float
    warm_up: float


def measure(task: Task, params: Params) -> Sample:
    """One sample."""
    system = open_adapter(task.system, task.place)
    try:
        warming = Paced(params.rate, params.warm_up, task.seed + 1)
        warming.run(system.call)
        paced = Paced(params.rate, params.seconds, task.seed)
        paced.run(system.call)
        found, made = system.total(), warming.done + paced.done
    finally:
        system.close()
    checks = [Check("every answered call was carried out once", found == made, f"{found} of {made}")]
    return Sample(paced.figures(), checks, paced.histograms(), paced.faults())


def verify(task: Task, params: Params) -> list[Check]:
    """Nothing is left: the server was ended in good order."""
    return []
