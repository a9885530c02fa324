"""Two runs of one workload, figure by figure, with the band within which a difference may be noise."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from crdtsync.errors import ConfigError
from crdtsync.ops.bench.results import Run
from crdtsync.ops.bench.spread import Difference, difference


class Compared(msgspec.Struct, frozen=True):
    """One figure of one system."""

    system: str
    figure: str
    unit: str
    difference: Difference


def compare(before: Run, after: Run) -> Iterator[Compared]:
    """Every figure that both have.  Raises ConfigError for runs that cannot be compared."""
    check_comparable(before, after)
    for name, old in before.systems.items():
        new = after.systems.get(name)
        if new is None:
            continue
        for figure in after.figures:
            unit, values = after.unit(figure), (old.values(figure), new.values(figure))
            if all(values):
                yield Compared(name, figure, unit.unit, difference(*values, unit.higher))


def check_comparable(before: Run, after: Run) -> None:
    """Refuse runs of different things, and runs whose figures do not count."""
    if before.workload.name != after.workload.name:
        raise ConfigError(f"One run is of {before.workload.name}, the other of {after.workload.name}.")
    for name in sorted(before.params.keys() | after.params.keys()):
        if before.params.get(name) != after.params.get(name):
            text = f"{name} is {before.params.get(name)} in one run and {after.params.get(name)} in the other."
            raise ConfigError(text, hint="Run both at the same --size and with the same --param.")
    for run, which in ((before, "first"), (after, "second")):
        for name, measured in run.systems.items():
            if not measured.counts:
                why = measured.faults[0] if measured.faults else "its results were wrong"
                raise ConfigError(f"The {which} run does not count: {name}: {why}.")
