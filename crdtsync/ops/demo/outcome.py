"""What one run came to: everything that the report shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from crdtsync.ops.demo.compare import Comparison


@dataclass
class Recovery:
    """What was missed, and how long it took to be there."""

    what: str
    events: int
    seconds: float


@dataclass
class Outcome:
    """Everything that the report shows."""

    rows: int
    seconds: float = 0.0  # from the first flight to the last
    settled: float = 0.0  # s from the last flight until every replica had everything
    recoveries: list[Recovery] = field(default_factory=list)
    reports: dict[str, dict[str, Any]] = field(default_factory=dict)  # airport -> reply to "report"
    comparison: Comparison = field(default_factory=Comparison)
    facts: dict[str, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Flights per second, all airports together."""
        return self.rows / self.seconds if self.seconds else 0.0

    @property
    def equal(self) -> bool:
        return not self.comparison.differences and len({report["digest"] for report in self.reports.values()}) == 1
