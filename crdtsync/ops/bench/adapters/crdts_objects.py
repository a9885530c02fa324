"""The package `crdts`: CRDTs in plain Python, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from crdtsync.ops.bench.adapters.base import Adapter

BATCH = 1000  # steps between two looks at the clock


class Crdts(Adapter):
    """A PNCounter and an LWWMap."""

    title = "crdts"
    semantics = "CRDT objects in memory; the program moves updates"
    durability = "none: in memory"
    package = "crdts"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        crdts: Any = import_module("crdts")
        self.counter: Any = crdts.PNCounter()
        self.map: Any = crdts.LWWMap()

    def count_up(self, rounds: int) -> int:
        """Increments of one counter."""
        step = self.counter.increase
        for _ in range(rounds * BATCH):
            step(1)
        return rounds * BATCH

    def total(self) -> int:
        """The counter."""
        return int(self.counter.read())

    def put_all(self, keys: Sequence[str], value: str) -> None:
        """Entries of the map."""
        put = self.map.set
        for key in keys:
            put(key, value, b"writer")

    def make_durable(self) -> bool:
        """There is no disk."""
        return False

    def holds(self, keys: Sequence[str]) -> dict[str, object]:
        """The entries."""
        found = self.map.read()
        return {key: found.get(key) for key in keys}
