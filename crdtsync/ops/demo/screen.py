"""What one sees while the demonstration runs: a bar per airport on a terminal, plain lines elsewhere.

All of it goes to standard error; standard output is for the report.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from types import TracebackType
from typing import NamedTuple, Protocol

PLAIN_INTERVAL = 5.0  # s between two plain lines of progress
RATE_WINDOW = 3.0  # s over which rows/s are measured


class Lane(NamedTuple):
    """One airport, now."""

    airport: str
    position: int  # flights replayed
    total: int  # of so many
    behind: int  # events that others have and this replica lacks
    note: str  # "", or why it stands still


class Screen(Protocol):
    def __enter__(self) -> Screen: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def show(self, lanes: list[Lane]) -> None: ...
    def say(self, text: str) -> None: ...
    def close(self) -> None: ...


def make_screen() -> Screen:
    """Bars on a terminal, plain lines elsewhere."""
    if sys.stderr.isatty():
        from crdtsync.ops.demo.bars import BarScreen

        return BarScreen()
    return PlainScreen()


class Rates:
    """Rows per second of each airport, over the last seconds."""

    def __init__(self) -> None:
        self.points: dict[str, deque[tuple[float, int]]] = {}

    def rate(self, lane: Lane) -> float:
        now = time.monotonic()
        points = self.points.setdefault(lane.airport, deque())
        points.append((now, lane.position))
        while now - points[0][0] > RATE_WINDOW and len(points) > 2:
            points.popleft()
        elapsed = now - points[0][0]
        return (lane.position - points[0][1]) / elapsed if elapsed else 0.0


class PlainScreen:
    """A line every few seconds, and one for each thing that happens."""

    def __init__(self) -> None:
        self.rates = Rates()
        self.began = time.monotonic()
        self.next = self.began + PLAIN_INTERVAL

    def __enter__(self) -> PlainScreen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def show(self, lanes: list[Lane]) -> None:
        parts = [
            f"{lane.airport} {lane.position:,}/{lane.total:,} {self.rates.rate(lane):,.0f}/s "
            f"{lane.note or f'behind {lane.behind:,}'}"
            for lane in lanes
        ]
        if time.monotonic() >= self.next:
            self.next += PLAIN_INTERVAL
            self.say("; ".join(parts))

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.began:7.1f} s  {text}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Nothing to restore."""
