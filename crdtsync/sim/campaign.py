"""Many seeds, side by side, and what they met: a histogram of faults, and of what came of them, as JSON and as text."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from statistics import median_low

import msgspec

from crdtsync.sim.plan import STRIKES, Plan
from crdtsync.sim.trial import Verdict, run

CHUNK = 20  # seeds that a process takes at a time
STARTED_AGAIN = 1000  # seeds after which a process is replaced: what one run leaves behind is no business of the next
MESSAGES = frozenset((
    "message lost", "message doubled", "message reordered", "message replayed late", "message hours late",
    "link broken",
))  # fmt: skip
FAULTS = (STRIKES - {"join", "leave"}) | MESSAGES  # what makes a seed count
Planner = Callable[[int], Plan]


class Spread(msgspec.Struct, frozen=True):
    """Least, median and greatest of something over all seeds."""

    least: float = 0
    median: float = 0
    greatest: float = 0

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Of some values."""
        found = sorted(values)
        return cls(found[0], median_low(found), found[-1]) if found else cls()


class Report(msgspec.Struct):
    """What became of a campaign."""

    first: int
    last: int
    seeds: int = 0
    without_faults: list[int] = []  # seeds that met none, and do not count
    failed: dict[str, str] = {}  # seed -> problem
    processor_seconds: float = 0.0
    operations: Spread = Spread()
    nodes: Spread = Spread()
    faults: Spread = Spread()  # met in one seed
    settled: Spread = Spread()  # s from the end of the faults to agreement
    met: dict[str, int] = {}  # faults and what came of them, over all seeds
    seeds_with: dict[str, int] = {}  # the same: in how many seeds
    inside: dict[str, int] = {}  # what the nodes counted themselves

    def text(self) -> str:
        """For people, and for docs/trust.md."""
        counted = self.seeds - len(self.without_faults)
        lines = [
            f"seeds {self.first} to {self.last}: {counted} with faults, {len(self.failed)} failed, "
            f"{self.processor_seconds / max(1, self.seeds):.3f} s of processor time each",
            *(f"seed {seed}: {problem.splitlines()[0]}" for seed, problem in self.failed.items()),
            "",
            f"{'of each seed':<28}{'least':>10}{'median':>10}{'greatest':>10}",
        ]
        for name in ("operations", "nodes", "faults", "settled"):
            spread = getattr(self, name)
            lines.append(f"{name:<28}{spread.least:>10.4g}{spread.median:>10.4g}{spread.greatest:>10.4g}")
        lines += ["", f"{'met':<28}{'times':>10}{'in seeds':>10}"]
        lines += [f"{name:<28}{count:>10}{self.seeds_with[name]:>10}" for name, count in sorted(self.met.items())]
        lines += ["", f"{'counted by the nodes':<38}{'times':>10}"]
        lines += [f"{name:<38}{count:>10}" for name, count in sorted(self.inside.items())]
        return "\n".join(lines) + "\n"

    def save(self, directory: Path) -> None:
        """Write campaign.json and campaign.txt."""
        directory.mkdir(parents=True, exist_ok=True)
        encoded = msgspec.json.format(msgspec.json.encode(self))
        (directory / "campaign.json").write_bytes(encoded + b"\n")
        (directory / "campaign.txt").write_text(self.text(), encoding="utf-8")


class Outcome(msgspec.Struct):
    """A verdict, and what it took."""

    verdict: Verdict
    processor_seconds: float


def judge(seed: int, planner: Planner) -> Outcome:
    """Run one seed."""
    begun = time.process_time()
    return Outcome(run(seed, plan=planner(seed)), time.process_time() - begun)


def outcomes(seeds: range, planner: Planner, jobs: int) -> Iterator[Outcome]:
    """The outcomes of all seeds, in their order, by `jobs` processes."""
    if jobs <= 1:
        yield from (judge(seed, planner) for seed in seeds)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(jobs, maxtasksperchild=STARTED_AGAIN // CHUNK) as pool:
        yield from pool.imap(partial(judge, planner=planner), seeds, CHUNK)


def campaign(
    first: int, last: int, planner: Planner, jobs: int = 1, told: Callable[[Verdict], None] = lambda verdict: None
) -> Report:
    """Run seeds `first` to `last`; `told` hears of each verdict."""
    report = Report(first, last)
    met: Counter[str] = Counter()
    seeds_with: Counter[str] = Counter()
    inside: Counter[str] = Counter()
    spreads: dict[str, list[float]] = {"operations": [], "nodes": [], "faults": [], "settled": []}
    for outcome in outcomes(range(first, last + 1), planner, jobs):
        verdict = outcome.verdict
        faults = sum(count for name, count in verdict.counters.items() if name in FAULTS)
        report.seeds += 1
        report.processor_seconds += outcome.processor_seconds
        met.update(verdict.counters)
        seeds_with.update(name for name, count in verdict.counters.items() if count)
        inside.update(verdict.inside)
        for name, value in (
            ("operations", verdict.operations), ("nodes", verdict.nodes), ("faults", faults),
            ("settled", verdict.settled_in),
        ):  # fmt: skip
            spreads[name].append(value)
        if not faults:
            report.without_faults.append(verdict.seed)
        if not verdict.ok:
            report.failed[str(verdict.seed)] = verdict.problem
        told(verdict)
    for name, values in spreads.items():
        setattr(report, name, Spread.of(values))
    report.met, report.seeds_with, report.inside = dict(+met), dict(seeds_with), dict(inside)
    return report
