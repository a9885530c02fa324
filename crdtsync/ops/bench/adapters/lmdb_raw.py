"""LMDB without anything above it: what the row table would cost alone."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import lmdb

from crdtsync.ops.bench.adapters.base import Adapter

BATCH = 50_000  # rows of a transaction
MAP_BYTES = 64 << 30


class Lmdb(Adapter):
    """py-lmdb, `putmulti` of sorted batches, each with a log entry beside every row, each transaction synced."""

    title = "py-lmdb"
    semantics = "one process, transactions; filled by putmulti of 50,000 sorted rows"
    durability = "synced by every transaction"
    keeps = "disk"
    package = "lmdb"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.environment = lmdb.open(str(directory / "lmdb"), map_size=MAP_BYTES, max_dbs=2)
        self.rows = self.environment.open_db(b"rows")
        self.log = self.environment.open_db(b"log")
        self.numbers = count(1)

    def put_all(self, keys: Sequence[str], value: str) -> None:
        """Rows of the same content as ours, and the same log."""
        image = bytes(12) + value.encode()
        for first in range(0, len(keys), BATCH):
            rows = sorted(key.encode() for key in keys[first : first + BATCH])
            entries = [(struct.pack(">IQ", 0, next(self.numbers)), row) for row in rows]
            with self.environment.begin(write=True) as txn:
                txn.cursor(self.rows).putmulti([(row, image) for row in rows])
                txn.cursor(self.log).putmulti(entries, append=True)

    def make_durable(self) -> bool:
        """Every transaction has done it."""
        return True

    def holds(self, keys: Sequence[str]) -> dict[str, object]:
        """The values, without what stands for our contexts."""
        with self.environment.begin(db=self.rows) as txn:
            found = {key: txn.get(key.encode()) for key in keys}
        return {key: image[12:].decode() if image is not None else None for key, image in found.items()}

    def committer(self, thread: int) -> Callable[[int], None]:
        """A transaction, under LMDB's one lock for writers."""
        numbers = count()

        def commit(writes: int) -> None:
            with self.environment.begin(write=True, db=self.rows) as txn:
                for _ in range(writes):
                    txn.put(struct.pack(">IQ", thread, next(numbers)), b"1")

        return commit

    def committed(self) -> int:
        """Rows."""
        with self.environment.begin(db=self.rows) as txn:
            return int(txn.stat(self.rows)["entries"])

    def close(self) -> None:
        """Close the environment."""
        self.environment.close()
