"""Runs that nobody has measured, for tests of what is done with runs."""

from __future__ import annotations

from collections.abc import Sequence

from crdtsync.ops.bench import histograms
from crdtsync.ops.bench.results import Check, Measured, Run, Sample, Unit
from crdtsync.ops.bench.workload import Target, Workload

RATE = {"rate": Unit("1/s", higher=True, what="steps a second"), "wait_p99": Unit("ms", what="wait")}
TARGETS = (
    Target(id="P2", what="against a peer", figure="rate", peer="peer", least=0.5),
    Target(id="P1", what="absolute", figure="rate", least=100),
)


def sample(rate: float, right: bool = True, faults: Sequence[str] = ()) -> Sample:
    """One sample."""
    histogram = histograms.empty()
    for wait in range(1, 100):
        histograms.record(histogram, wait * 1000)
    return Sample(
        {"rate": rate, "wait_p99": 1.5}, [Check("sums <right>", right, "" if right else "1 of 2")],
        {"wait": histograms.packed(histogram)}, list(faults),
    )  # fmt: skip


def measured(rates: Sequence[float], right: bool = True, faults: Sequence[str] = ()) -> Measured:
    """One system; the last sample is the one that may be wrong or late."""
    samples = [sample(rate) for rate in rates[:-1]] + [sample(rates[-1], right, faults)]
    return Measured("System | one", "1.0", "none", "none", samples)


def run(systems: dict[str, Measured], targets: tuple[Target, ...] = TARGETS, seed: int = 1) -> Run:
    """A run of these systems."""
    workload = Workload(
        name="made", title="Made up", stands_for="Nothing.", driver="counting", systems=("crdtsync", "peer"),
        loop="closed", targets=targets,
    )  # fmt: skip
    machine = {"processor": "none", "cores": 2, "memory_bytes": 2**30, "system": "test", "file_system": "ext4",
               "load_before": 0.5, "load_after": 9.0}  # fmt: skip
    repetitions = max(len(each.samples) for each in systems.values())
    skipped = {name: "not installed" for name in workload.systems if name not in systems}
    return Run(
        workload=workload, size="quick", params={"seconds": 1.0}, seed=seed, repetitions=repetitions, warm_up=1,
        started="2026-01-01T00:00:00+00:00", seconds=1.0, command=["crdtsync", "bench", "run", "made up"],
        machine=machine, versions={"python": "3", "kernels": "native"}, commit="abc", units=RATE, systems=systems,
        skipped=skipped,
    )  # fmt: skip
