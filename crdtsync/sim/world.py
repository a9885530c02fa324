"""Virtual time: a heap of events, one seeded source of chance, and a hash over everything that happened."""

from __future__ import annotations

import heapq
import random
import zlib
from collections import Counter
from collections.abc import Callable

WALL_START_MS = 1_700_000_000_000  # any date will do, as long as every run has the same
BUSY_MAX = 10_000  # events at one moment before somebody is taken to loop
TRACE_KEPT = 4_000  # lines kept for the report of a failure


class Violation(AssertionError):
    """An oracle found the system wrong; the message says which promise was broken and where."""


class Event:
    """Something that will happen; cancelled by clearing `action`, since a heap gives nothing back."""

    __slots__ = ("action",)

    def __init__(self, action: Callable[[], None]) -> None:
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        self.action = None


class World:
    """The clock on the wall of a simulation.  Time is in seconds from the start, and moves from event to event."""

    def __init__(self, seed: int, trace: Callable[[str], None] | None = None) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.now = self.slept = 0.0
        self.counters: Counter[str] = Counter()  # faults and operations, by name: the histogram of a run
        self.lines: list[str] = []
        self._trace = trace
        self._hash = 0
        self._events: list[tuple[float, int, Event]] = []
        self._numbers = 0

    def at(self, time: float, action: Callable[[], None]) -> Event:
        """Let `action` happen at `time`, or next when that has passed."""
        self._numbers += 1
        event = Event(action)
        heapq.heappush(self._events, (max(time, self.now), self._numbers, event))
        return event

    def after(self, delay: float, action: Callable[[], None]) -> Event:
        """Let `action` happen `delay` seconds from now."""
        return self.at(self.now + delay, action)

    def skip(self, seconds: float) -> None:
        """Let time pass in which nothing happens: everything due is put off until after it."""
        self._events = [(time + seconds, number, event) for time, number, event in self._events]
        self.now += seconds
        self.slept += seconds

    @property
    def awake(self) -> float:
        """Seconds from the start that were not skipped."""
        return self.now - self.slept

    def run_until(self, time: float) -> None:
        """Let everything happen that is due up to `time`."""
        busy = 0
        while self._events and self._events[0][0] <= time:
            due, _, event = heapq.heappop(self._events)
            if event.action is not None:
                busy = busy + 1 if due == self.now else 0
                if busy > BUSY_MAX:
                    raise Violation(f"liveness: somebody is busy for ever at {self.now} s")
                self.now = due
                event.action()
        self.now = max(self.now, time)

    def wall_ms(self) -> int:
        """Milliseconds since 1970 by the world's own, never wrong, clock."""
        return WALL_START_MS + int(self.now * 1000)

    def note(self, who: str, what: str) -> None:
        """Add a line to the trace; its hash is what determinism is judged by."""
        line = f"{self.now:10.4f} {who:<6} {what}"
        self._hash = zlib.crc32(line.encode(), self._hash)
        if self._trace is not None:
            self._trace(line)
        self.lines.append(line)
        if len(self.lines) > 2 * TRACE_KEPT:
            del self.lines[:TRACE_KEPT]

    def count(self, what: str) -> None:
        """Count a fault or an operation under its name."""
        self.counters[what] += 1

    def trace_hash(self) -> str:
        """Hash over all lines so far, the state of chance included."""
        tail = repr((self.now, self._numbers, self.rng.random())).encode()
        return f"{self._hash:08x}{zlib.crc32(tail):08x}"
