"""How far a long command has come: a bar on a terminal, nothing anywhere else, and one line at the end."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from crdtsync.ops.cli.output import say


class Progress:
    """The progress of one command, on standard error."""

    def __init__(self, doing: str, done: str, total: int | None, begun: int = 0) -> None:
        """`doing` and `done` are verbs; `total` and `begun` bytes, None when nobody knows how many there will be."""
        self._doing, self._done, self._total, self._begun = doing, done, total, begun
        self._bar: Any = None
        self._task: Any = None
        self._began = time.monotonic()
        self.objects = 0

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            self._bar = self._make()
            self._bar.start()
            self._task = self._bar.add_task(self._doing, total=self._total, completed=self._begun, objects="0")
        return self

    def _make(self) -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = [TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[objects]} objects")]
        columns.append(TimeElapsedColumn() if self._total is None else TimeRemainingColumn())
        return Progress(*columns, console=Console(stderr=True), transient=True)

    def update(self, objects: int, done: int = 0) -> None:
        """So many objects, so many bytes of the total."""
        self.objects = objects
        if self._bar is not None:
            self._bar.update(self._task, completed=done, objects=f"{objects:,}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        seconds = time.monotonic() - self._began
        end = "." if kind is None else ", and stopped."
        say(f"{self._done} {self.objects:,} object{'' if self.objects == 1 else 's'} in {seconds:.1f} s{end}")
