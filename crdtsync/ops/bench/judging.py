"""Targets against figures: a row for each, with the peer, the ratio, and whether it is met."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from crdtsync.ops.bench.drivers import driver
from crdtsync.ops.bench.results import Measured, Run
from crdtsync.ops.bench.spread import summary
from crdtsync.ops.bench.workload import Target, Workload, find, names

ENOUGH = 5  # repetitions below which a median of times is no claim
KEEPS = ("memory", "process", "disk")  # what a write survives, from least to most


class Verdict(msgspec.Struct, frozen=True):
    """One row of the table of targets."""

    id: str
    what: str
    workload: str
    wanted: str
    figure: float | None
    unit: str
    durability: str  # of the system that is judged
    peer: str  # its title, and what its writes survive
    peer_figure: float | None
    ratio: float | None
    met: str  # yes | no | not judged: ...
    size: str = ""  # of the run; empty: there is none
    samples: int = 0  # that the figure is the median of


def verdicts(runs: Iterable[Run]) -> list[Verdict]:
    """Of all targets of these runs, in the order of their ids; each of the run that fits it best."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.workload.name, []).append(run)
    return ordered(
        verdict(fitting(group, target), target) for group in groups.values() for target in group[0].workload.targets
    )


def fitting(runs: Sequence[Run], target: Target) -> Run:
    """Of runs of one workload: of the size that the target is about, then of the most repetitions."""
    return max(runs, key=lambda run: (run.size == target.size, run.repetitions))


def complete(runs: Sequence[Run]) -> list[Verdict]:
    """The same, and a row for each target of a workload of the package that none of them is of."""
    there = {run.workload.name for run in runs}
    absent = [each for each in map(find, names()) if each.name not in there]
    return ordered([*verdicts(runs), *(unmeasured(each, target) for each in absent for target in each.targets)])


def ordered(rows: Iterable[Verdict]) -> list[Verdict]:
    """In the order of their ids."""
    return sorted(rows, key=lambda row: (int("0" + "".join(filter(str.isdigit, row.id))), row.workload))


def unmeasured(workload: Workload, target: Target) -> Verdict:
    """The row of a target that there is no run of."""
    unit = driver(workload.driver).UNITS[target.figure.partition("@")[0]].unit
    bound, reason = wanted(target, unit), f"not judged: {workload.name} was not run"
    return Verdict(target.id, target.what, workload.name, bound, None, unit, "", "", None, None, reason)


def verdict(run: Run, target: Target) -> Verdict:
    """Judge one target."""
    ours, peer = run.systems.get(target.system), run.systems.get(target.peer)
    mine = median(ours, target.figure)
    theirs = median(peer, target.peer_figure or target.figure) if peer is not None and peer.counts else None
    ratio = mine / theirs if mine is not None and theirs else None
    unit = run.unit(target.figure).unit
    value = ratio if target.relative else mine
    reason = unjudged(run, target, ours, peer, value)
    met = f"not judged: {reason}" if reason else "yes" if holds(target, value) else "no"
    return Verdict(
        target.id, target.what, run.workload.name, wanted(target, unit), mine, unit,
        ours.durability if ours is not None else "", told(peer) if theirs is not None else target.peer, theirs, ratio,
        met, run.size, 0 if ours is None else len(ours.values(target.figure)),
    )  # fmt: skip


def told(peer: Measured | None) -> str:
    """A peer as it stands beside a figure."""
    return f"{peer.title} ({peer.durability})" if peer is not None else ""


def median(measured: Measured | None, figure: str) -> float | None:
    """The median of a figure, if there is one."""
    values = measured.values(figure) if measured is not None else []
    return summary(values).median if values else None


def unjudged(run: Run, target: Target, ours: Measured | None, peer: Measured | None, value: float | None) -> str:
    """Why a target cannot be judged by this run; "" when it can."""
    if target.relative and target.peer in run.skipped:
        return f"{target.peer} was skipped, {run.skipped[target.peer]}"
    if ours is None or (target.relative and peer is None):
        return f"{target.system if ours is None else target.peer} was not run"
    for measured in filter(None, (ours, peer if target.relative else None)):
        if not measured.right:
            return f"{measured.title} gave wrong results"
        if measured.faults:
            return f"{measured.title}: {measured.faults[0]}"
    if target.size and run.size != target.size:
        return f"it is about size {target.size}, this is {run.size}"
    if target.relative and kept(run, ours, target.figure) < kept(run, peer, target.peer_figure or target.figure):
        return f"{target.peer} keeps more when a call returns"
    made = min(len(measured.samples) for measured in filter(None, (ours, peer if target.relative else None)))
    if made < target.repetitions:
        return f"{made} repetitions are no claim"
    return "" if value is not None else f"there is no figure {target.figure}"


def kept(run: Run, measured: Measured | None, figure: str) -> int:
    """What the writes that a figure counts have survived: a place in KEEPS."""
    if measured is None or run.unit(figure).synced:
        return len(KEEPS) - 1
    return KEEPS.index(measured.keeps)


def holds(target: Target, value: float | None) -> bool:
    """Whether a value lies within the bounds."""
    if value is None:
        return False
    return (target.least is None or value >= target.least) and (target.most is None or value <= target.most)


def wanted(target: Target, unit: str) -> str:
    """The bound in words."""
    suffix = f" x {target.peer}" if target.relative else f" {unit}" if unit else ""
    bounds = [(">=", target.least), ("<=", target.most)]
    return " and ".join(f"{sign} {bound:,g}{suffix}" for sign, bound in bounds if bound is not None)
