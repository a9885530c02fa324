"""Failure detection: phi accrual over the arrival of heartbeats, more patient while we ourselves are late.

After Hayashibara et al., "The phi accrual failure detector", with the logistic approximation of the normal tail that
Akka uses.  A peer that seems silent because this process did not get to run is not suspected: the lateness of our own
loop is taken off the silence.
"""

from __future__ import annotations

import math
from collections import deque

WINDOW = 100  # intervals remembered
LATENESS_HALF_LIFE = 10.0  # s: how long a stall of ours is held in our own disfavour
LATENESS_NOTICED = 0.05  # s: less is ordinary scheduling


class Detector:
    """Suspicion of one peer: phi is -log10 of the chance that a peer alive would have been silent for so long."""

    def __init__(self, interval: float, now: float) -> None:
        """`interval`: s between heartbeats."""
        self.expected, self.last = interval, now
        self._intervals: deque[float] = deque([interval], maxlen=WINDOW)
        self._beat = now

    def heartbeat(self, now: float) -> None:
        """A heartbeat came."""
        self._intervals.append(min(now - self._beat, 10 * self.expected))
        self._beat = now
        self.heard(now)

    def heard(self, now: float) -> None:
        """Anything came: the peer is there."""
        self.last = max(self.last, now)

    def phi(self, now: float, lateness: float = 0.0) -> float:
        """Suspicion, 0 and up; `lateness`: s for which our own loop did not run."""
        count = len(self._intervals)
        mean = max(sum(self._intervals) / count, self.expected)
        variance = sum((interval - mean) ** 2 for interval in self._intervals) / count
        deviation = max(math.sqrt(variance), self.expected / 2)
        silence = now - self.last - lateness
        y = (silence - mean) / deviation
        e = math.exp(min(max(-y * (1.5976 + 0.070566 * y * y), -600.0), 600.0))
        return -math.log10(e / (1.0 + e)) if silence > mean else -math.log10(1.0 - 1.0 / (1.0 + e))


class Lateness:
    """How far behind its own schedule this process runs; a stall is remembered and fades."""

    def __init__(self) -> None:
        self._stall, self._at = 0.0, 0.0
        self.worst = 0.0

    def ran(self, due: float | None, now: float) -> None:
        """The loop ran at `now`; it had asked to be woken at `due`."""
        late = 0.0 if due is None else now - due
        if late > LATENESS_NOTICED and late > self.current(now):
            self._stall, self._at = late, now
            self.worst = max(self.worst, late)

    def current(self, now: float) -> float:
        """s to take off the silence of others."""
        return self._stall * 0.5 ** ((now - self._at) / LATENESS_HALF_LIFE) if self._stall else 0.0
