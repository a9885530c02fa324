"""pycrdt, the Python binding of Yjs's Rust port: a document in memory."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from crdtsync.ops.bench.adapters.base import Adapter

BATCH = 1000  # entries of a transaction


class Pycrdt(Adapter):
    """A map in one document, a thousand entries a transaction."""

    title = "pycrdt, map, transactions of 1,000"
    semantics = "CRDT document in memory; the program moves updates"
    durability = "none: in memory"
    package = "pycrdt"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        pycrdt: Any = import_module("pycrdt")
        self.document: Any = pycrdt.Doc()
        self.map: Any = self.document.get("rows", type=pycrdt.Map)

    def put_all(self, keys: Sequence[str], value: str) -> None:
        """Entries of the map."""
        entries = self.map
        for first in range(0, len(keys), BATCH):
            with self.document.transaction():
                for key in keys[first : first + BATCH]:
                    entries[key] = value

    def make_durable(self) -> bool:
        """There is no disk."""
        return False

    def holds(self, keys: Sequence[str]) -> dict[str, object]:
        """The entries."""
        return {key: self.map.get(key) for key in keys}

    def update(self) -> bytes:
        """Everything as one update."""
        return bytes(self.document.get_update())

    def merge(self, update: bytes) -> None:
        """Take an update in."""
        self.document.apply_update(update)

    def fingerprint(self) -> object:
        """All entries."""
        return dict(self.map.to_py())
