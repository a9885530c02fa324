"""Loro, the Python binding: a document in memory."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from crdtsync.ops.bench.adapters.base import Adapter

BATCH = 1000  # operations of a commit


class Loro(Adapter):
    """A map and a counter in one document, a thousand operations a commit."""

    title = "Loro, commits of 1,000"
    semantics = "CRDT document in memory; the program moves updates"
    durability = "none: in memory"
    package = "loro"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.loro: Any = import_module("loro")
        self.document: Any = self.loro.LoroDoc()
        self.map: Any = self.document.get_map("rows")
        self.counter: Any = self.document.get_counter("hot")

    def count_up(self, rounds: int) -> int:
        """Increments of one counter."""
        step = self.counter.increment
        for _ in range(rounds):
            for _ in range(BATCH):
                step(1)
            self.document.commit()
        return rounds * BATCH

    def total(self) -> int:
        """The counter."""
        return int(self.counter.value)

    def put_all(self, keys: Sequence[str], value: str) -> None:
        """Entries of the map."""
        put = self.map.insert
        for first in range(0, len(keys), BATCH):
            for key in keys[first : first + BATCH]:
                put(key, value)
            self.document.commit()

    def make_durable(self) -> bool:
        """There is no disk."""
        return False

    def holds(self, keys: Sequence[str]) -> dict[str, object]:
        """The entries."""
        found = self.map.get_value()
        return {key: found.get(key) for key in keys}

    def update(self) -> bytes:
        """Everything as one update, with its history, as replicas exchange it."""
        mode = self.loro.ExportMode.Updates(self.loro.VersionVector())
        return bytes(self.document.export(mode))

    def merge(self, update: bytes) -> None:
        """Take an update in."""
        self.document.import_(update)

    def fingerprint(self) -> object:
        """All entries."""
        return dict(self.map.get_value())
