"""Open loop: operations begin when they are due, not when the one before has ended.

Both times are kept: service time from the real beginning, and response time from when the operation was due, which
also has what waiting behind slow ones cost.  A closed loop hides that (coordinated omission).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Any

from crdtsync.ops.bench import histograms

BEHIND_SHARE = 0.05  # of a run's length that its last operation may begin late
BEHIND_LEAST = 0.05  # s of lateness that never makes a run invalid: a pause of the machine


def arrivals(rate: float, seconds: float, seed: int) -> Iterator[float]:
    """Seconds from the start at which operations are due: a Poisson process, the same for a seed."""
    chance = random.Random(seed)
    due = chance.expovariate(rate)
    while due < seconds:
        yield due
        due += chance.expovariate(rate)


class Paced:
    """One open-loop run of a call."""

    def __init__(self, rate: float, seconds: float, seed: int) -> None:
        self.rate, self.seconds, self.seed = rate, seconds, seed
        self.service, self.response = histograms.empty(), histograms.empty()
        self.done = 0
        self.behind = 0.0  # s: how late the last operation began

    def run(self, call: Callable[[], Any]) -> None:
        """Call it at each arrival."""
        begin = time.perf_counter()
        for due in arrivals(self.rate, self.seconds, self.seed):
            late = time.perf_counter() - begin - due
            if late < 0:
                time.sleep(-late)
            started = time.perf_counter()
            call()
            ended = time.perf_counter()
            histograms.record(self.service, int((ended - started) * 1e9))
            histograms.record(self.response, int((ended - begin - due) * 1e9))
            self.done += 1
            self.behind = started - begin - due

    def faults(self) -> list[str]:
        """Why the run does not count; nothing when it kept to its schedule."""
        return behind_schedule(self.behind, self.seconds)

    def figures(self) -> dict[str, float]:
        """Both latencies in ms, and how far the schedule slipped in s."""
        return {
            **histograms.percentiles(self.service, "service"),
            **histograms.percentiles(self.response, "response"),
            "behind": max(0.0, self.behind),
        }

    def histograms(self) -> dict[str, str]:
        """Both, as texts."""
        return {"service": histograms.packed(self.service), "response": histograms.packed(self.response)}


def behind_schedule(behind: float, seconds: float) -> list[str]:
    """The fault of a generator whose last operation began `behind` s late, if that is too much."""
    bound = max(BEHIND_LEAST, BEHIND_SHARE * seconds)
    if behind <= bound:
        return []
    return [f"the load fell behind its schedule by more than {bound:.2f} s"]
