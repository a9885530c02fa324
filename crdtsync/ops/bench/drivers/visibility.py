"""From a write in one process to its being seen at another place, under a load of a fixed rate, open loop."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from crdtsync.ops.bench import histograms
from crdtsync.ops.bench.adapters import open_adapter
from crdtsync.ops.bench.adapters.pairs import Load, Written
from crdtsync.ops.bench.bench import Task
from crdtsync.ops.bench.pacing import behind_schedule
from crdtsync.ops.bench.results import Check, Sample, Unit

POINTS = ("p50", "p90", "p95", "p99", "p99.9", "max")
UNITS = {
    "behind": Unit("s", what="how late the last writes began"),
    "writer_cpu": Unit("", what="share of a core that the writer's process used"),
    **{f"due_{at}": Unit("ms", what=f"from when a write was due until it was seen, {at}") for at in POINTS},
    **{f"begun_{at}": Unit("ms", what=f"from when a write began until it was seen, {at}") for at in POINTS},
}
GLANCE = 0.05  # s without anything new after which the writer is looked after
QUIET = 10.0  # s without anything new, once the writer is done, after which no more is awaited


class Params(msgspec.Struct, forbid_unknown_fields=True):
    """`rate` writes a second for `seconds`, after `warm_up` s; every `probe_every` ms one is timed."""

    rate: float
    seconds: float
    warm_up: float
    probe_every: int
    bulk: int = 0  # rows that a third node, new, is sent meanwhile


def measure(task: Task, params: Params) -> Sample:
    """One sample."""
    pair = open_adapter(task.system, task.place)
    try:
        before, _ = observe(pair, Load(params.rate, params.warm_up, params.probe_every, 0))
        bulk = pair.begin_bulk(task.place / "third", params.bulk) if params.bulk else None
        written, seen = observe(pair, Load(params.rate, params.seconds, params.probe_every, 10**8))
        settled, total = pair.settled(), pair.total()
        bulk_there = bulk is None or pair.bulk_arrived(bulk)
    finally:
        pair.close()
    return judged(written, seen, params.seconds, [
        Check("both places hold the same", settled),
        Check("every step is counted at the reader", total == before.steps + written.steps),
        Check("the third node holds the same", bulk_there),
        Check("every probe was seen", seen.keys() >= written.probes.keys(), f"{len(seen)} of {len(written.probes)}"),
    ])  # fmt: skip


def observe(pair: Any, load: Load) -> tuple[Written, dict[str, int]]:
    """(what the writer says, when each probe was seen first) of one load."""
    seen: dict[str, int] = {}
    written: Written | None = None
    pair.writer.tell("load", *load)
    last = time.monotonic()
    while written is None or (seen.keys() < written.probes.keys() and time.monotonic() < last + QUIET):
        for key in pair.seen(GLANCE):
            seen.setdefault(key, time.monotonic_ns())
            last = time.monotonic()
        if written is None and pair.writer.answered():
            written, last = pair.writer.answer(), time.monotonic()
    return written, seen


def judged(written: Written, seen: dict[str, int], seconds: float, checks: list[Check]) -> Sample:
    """Times of the probes that were seen."""
    due, begun = histograms.empty(), histograms.empty()
    for key, (was_due, began) in written.probes.items():
        if key in seen:
            histograms.record(due, seen[key] - was_due)
            histograms.record(begun, seen[key] - began)
    figures = {
        **histograms.percentiles(due, "due"), **histograms.percentiles(begun, "begun"), "behind": written.behind,
        "writer_cpu": written.cpu_seconds / seconds,
    }  # fmt: skip
    packed = {"due": histograms.packed(due), "begun": histograms.packed(begun)}
    return Sample(figures, checks, packed, behind_schedule(written.behind, seconds))


def verify(task: Task, params: Params) -> list[Check]:
    """All were closed."""
    return []
