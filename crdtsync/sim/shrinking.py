"""Shrinking: from a seed that fails to a small plan that fails in the same way, and can be told as a story.

A plan is made simpler step by step: a trouble less, a calmer network, right clocks, fewer nodes, fewer operations.
Each step is kept when some seed still fails under it with the same kind of problem: a change of plan changes what a
seed means, so a few are tried.  After Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input", with
steps that know what they take away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from crdtsync.sim.plan import NODES_MAX, Plan, draw
from crdtsync.sim.trial import Verdict, run

SEEDS = 12  # tried for each simpler plan, the one that failed last first
NODES_MIN, OPERATIONS_MIN = 2, 1
replace = msgspec.structs.replace


class Case(msgspec.Struct):
    """A run that can be made again: what a failure is kept as."""

    seed: int
    plan: Plan
    problem: str  # what it found; "" for a run that is to be clean

    def run(self, trace: Callable[[str], None] | None = None) -> Verdict:
        """Make the run."""
        return run(self.seed, trace, self.plan)


def kind_of(problem: str) -> str:
    """What sort of problem it is: the word before the colon."""
    return problem.partition(":")[0]


def shrink(seed: int, plan: Plan | None = None, told: Callable[[str], None] = lambda line: None) -> Case | None:
    """The smallest case found for a seed, None when it does not fail.  `told` hears of each step that is kept."""
    verdict = run(seed, plan=plan)
    if verdict.ok:
        return None
    case = Case(seed, plan or draw(seed), verdict.problem)
    told(f"seed {seed}: {verdict.problem.splitlines()[0]}")
    while (smaller := _smaller(case, told)) is not None:
        case = smaller
    return case


def _smaller(case: Case, told: Callable[[str], None]) -> Case | None:
    for what, plan in simpler(case.plan):
        for seed in (case.seed, *range(SEEDS - 1)):
            verdict = run(seed, plan=plan)
            if not verdict.ok and kind_of(verdict.problem) == kind_of(case.problem):
                told(f"{what}: still fails, with seed {seed}")
                return Case(seed, plan, verdict.problem)
    return None


def simpler(plan: Plan) -> Iterator[tuple[str, Plan]]:
    """Plans that have something less, the large steps first."""
    yield from _fewer(plan)
    for name, rate in plan.rates.items():
        if rate:
            yield f"without {name}", replace(plan, rates={**plan.rates, name: 0.0})
    calm = type(plan.weather)(delay=plan.weather.delay)
    if plan.weather != calm:
        yield "a calm network", replace(plan, weather=calm)
        for field in ("loss", "doubled", "reordered", "late", "breaks"):
            if getattr(plan.weather, field):
                yield f"nothing {field}", replace(plan, weather=replace(plan.weather, **{field: 0.0}))
    if any(plan.skews):
        yield "right clocks", replace(plan, skews=(0.0,) * NODES_MAX)
    if plan.batches:
        yield "no batches", replace(plan, batches=0.0)
    if plan.small_parts:
        yield "transfers of one part", replace(plan, small_parts=False)
    if plan.long_transfers:
        yield "no long transfers", replace(plan, long_transfers=False)
    if len(plan.buckets) > 1:
        yield "one bucket", replace(plan, buckets=plan.buckets[:1])


def _fewer(plan: Plan) -> Iterator[tuple[str, Plan]]:
    """Fewer operations in as much less time, so that they are as dense; then fewer nodes."""
    for share in (0.25, 0.5, 0.8):
        count = max(OPERATIONS_MIN, int(plan.operations * share))
        if count < plan.operations:
            shorter = plan.duration * count / plan.operations
            yield f"{count} operations", replace(plan, operations=count, duration=shorter)
    if plan.nodes > NODES_MIN:
        yield f"{plan.nodes - 1} nodes", replace(plan, nodes=plan.nodes - 1)
