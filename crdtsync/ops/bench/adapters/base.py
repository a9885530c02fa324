"""What every system tells about itself, and the few things that drivers ask of one."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Protocol


class Adapter:
    """One system, opened on a directory.  Which of the capabilities below it has, its class says."""

    title = ""
    semantics = ""  # what a write means to others
    durability = ""  # what survives what
    keeps = "memory"  # memory | process | disk: what a write survives when its call has returned
    survives_kill = False  # whether what has returned must be there after kill -9
    package = ""  # what must be installed

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @classmethod
    def missing(cls) -> str:
        """Why it cannot be measured here; "" when it can."""
        if cls.package and importlib.util.find_spec(cls.package) is None:
            return f"the package {cls.package} is not installed"
        return ""

    @classmethod
    def version(cls) -> str:
        """The version that is measured."""
        return metadata.version(cls.package)

    def close(self) -> None:
        """Let go of everything, processes among it."""


class Counting(Protocol):
    """Counts."""

    def count_up(self, rounds: int) -> int:
        """So many rounds of increments in the tightest loop that the interface allows; how many there were."""

    def total(self) -> int:
        """What the counters add up to."""

    def close(self) -> None: ...


class Bulk(Protocol):
    """Counts and reads many counters in one call."""

    def column(self, keys: list[str]) -> object:
        """Keys of one call, as it takes them."""

    def count_column(self, column: object) -> None:
        """A step of each counter."""

    def sum_column(self, column: object) -> int:
        """The sum of what their values are."""

    def sum_scanned(self) -> int:
        """The sum of the values of all counters, read in order."""

    def close(self) -> None: ...


class Filling(Protocol):
    """Holds many objects."""

    def put_all(self, keys: Sequence[str], value: str) -> None:
        """Write every key, in this order."""

    def make_durable(self) -> bool:
        """Wait until the disk has everything; False for what has no disk."""

    def holds(self, keys: Sequence[str]) -> dict[str, object]:
        """What is under these keys."""

    def close(self) -> None: ...


class Committing(Protocol):
    """Acknowledges writes when the disk has them."""

    def committer(self, thread: int) -> Callable[[int], None]:
        """For one thread: a call that makes so many writes, and returns when the disk has them."""

    def committed(self) -> int:
        """How many writes it holds."""

    def close(self) -> None: ...
