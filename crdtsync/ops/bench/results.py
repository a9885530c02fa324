"""What a run leaves behind: one JSON with every sample, and everything that one needs to judge or repeat it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from crdtsync.errors import ConfigError
from crdtsync.ops.bench.workload import Params, Workload

FORMAT = 1
FAILED = "it failed: "  # beginning of why a system was skipped


class Check(msgspec.Struct, frozen=True):
    """Something that must be true after a sample, or its figures mean nothing."""

    what: str
    ok: bool
    detail: str = ""


class Sample(msgspec.Struct):
    """One repetition on one system."""

    figures: dict[str, float]
    checks: list[Check]
    histograms: dict[str, str] = {}  # HdrHistogram V2, base64, in nanoseconds, by what was timed
    faults: list[str] = []  # why the sample does not count: the generator fell behind its schedule, say
    expected: dict[str, Any] | None = None  # what a fresh process must find in the directory after kill -9
    seconds: float = 0.0  # of the whole sample
    cpu_seconds: float = 0.0  # of the load generator's process
    load: float = 0.0  # the machine's load average over 1 min before it

    @property
    def right(self) -> bool:
        """Whether every check holds."""
        return all(check.ok for check in self.checks)


class Measured(msgspec.Struct):
    """All samples of one system, with what stands beside its figures."""

    title: str
    version: str
    semantics: str
    durability: str
    samples: list[Sample] = []
    keeps: str = "memory"  # memory | process | disk: what a write survives when its call has returned

    @property
    def right(self) -> bool:
        """Whether every check of every sample holds."""
        return all(sample.right for sample in self.samples)

    @property
    def faults(self) -> list[str]:
        """Why the figures do not count, each reason once."""
        return sorted({fault for sample in self.samples for fault in sample.faults})

    @property
    def counts(self) -> bool:
        """Whether the figures may be compared: right, and on schedule."""
        return bool(self.samples) and self.right and not self.faults

    def values(self, figure: str) -> list[float]:
        """The figure of every sample that has it."""
        return [sample.figures[figure] for sample in self.samples if figure in sample.figures]


class Unit(msgspec.Struct, frozen=True):
    """What a figure is measured in, and which way is better."""

    unit: str
    higher: bool = False  # whether more is better
    what: str = ""
    synced: bool = False  # whether it counts only what the disk has, whatever the system does otherwise


class Run(msgspec.Struct):
    """One workload, run once on all its systems."""

    workload: Workload
    size: str
    params: Params
    seed: int
    repetitions: int
    warm_up: int  # samples taken first and thrown away
    started: str  # UTC, ISO 8601
    seconds: float
    command: list[str]
    machine: dict[str, Any]
    versions: dict[str, str]
    commit: str
    units: dict[str, Unit]
    systems: dict[str, Measured]
    skipped: dict[str, str]  # system -> why it was not measured
    ended: str = ""  # why it ended before all repetitions; "" when it did not
    format: int = FORMAT

    @property
    def right(self) -> bool:
        """Whether every check of every system holds."""
        return all(measured.right for measured in self.systems.values())

    @property
    def figures(self) -> list[str]:
        """Names of all figures, in the order of the driver; those of a sweep are called NAME@POINT."""
        order = list(self.units)
        found = {name: None for each in self.systems.values() for sample in each.samples for name in sample.figures}
        return sorted(found, key=lambda name: order.index(name.partition("@")[0]))

    def unit(self, figure: str) -> Unit:
        """What a figure is measured in."""
        return self.units[figure.partition("@")[0]]

    @property
    def failed(self) -> bool:
        """Whether a sample of some system came to nothing."""
        return any(reason.startswith(FAILED) for reason in self.skipped.values())


def save(run: Run, path: Path) -> None:
    """Write the JSON, readable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(run), indent=1) + b"\n")


def load(path: Path) -> Run:
    """Read one JSON.  Raises ConfigError when it is none of ours."""
    try:
        run = msgspec.json.decode(path.read_bytes(), type=Run)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not the result of a benchmark: {error}.") from error
    if run.format != FORMAT:
        raise ConfigError(f"{path} has format {run.format}; this version reads {FORMAT}.")
    return run
