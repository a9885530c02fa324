"""The live screen on a terminal: a progress bar per airport, rows per second, and how far the replica is behind."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from crdtsync.ops.demo.screen import Lane, Rates


class BarScreen:
    """Bars at the bottom, what happens scrolls above them."""

    def __init__(self) -> None:
        self.rates = Rates()
        self.bars: dict[str, TaskID] = {}
        self.progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:>9,.0f}/{task.total:,.0f}"),
            TextColumn("{task.fields[rate]:>7,.0f} rows/s"),
            TextColumn("{task.fields[state]:<22}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            refresh_per_second=8,
        )

    def __enter__(self) -> BarScreen:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def show(self, lanes: list[Lane]) -> None:
        for lane in lanes:
            if lane.airport not in self.bars:
                self.bars[lane.airport] = self.progress.add_task(lane.airport, total=lane.total, rate=0.0, state="")
            state = f"[yellow]{lane.note}[/]" if lane.note else f"behind {lane.behind:,} events"
            self.progress.update(
                self.bars[lane.airport], completed=lane.position, rate=self.rates.rate(lane), state=state
            )

    def say(self, text: str) -> None:
        self.progress.console.print(text, highlight=False, markup=False)

    def close(self) -> None:
        self.progress.stop()
