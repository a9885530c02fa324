"""The store of a replica by itself: what a node does with a part that it has received, without a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import crdtsync
from crdtsync.config import Config
from crdtsync.datatypes.rows import Answer
from crdtsync.ops.bench.adapters.base import Adapter
from crdtsync.storage.store import Store

CLUSTER = 7
NO_BOUND = 1 << 60
BATCH = 1000  # registers of a batch
BUCKET = "default"


class StoreParts(Adapter):
    """Registers are written through a node; then the store is opened alone, to give parts or to take them."""

    title = "crdtsync, the store alone"
    semantics = "replicated CRDT: rows and claim joined at once, checked byte by byte"
    durability = "survives kill -9 when the merge returns; durable_rate: the disk has it"
    keeps = "process"
    package = "crdtsync"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.opened: Store | None = None

    @classmethod
    def version(cls) -> str:
        """Of the code that runs."""
        return crdtsync.__version__

    @property
    def store(self) -> Store:
        """The store, opened when it is first needed, in a cluster that both sides belong to."""
        if self.opened is None:
            self.opened = Store.open(self.directory / "node", Config())
            self.opened.publish(CLUSTER)
        return self.opened

    def put_all(self, keys: Sequence[str], value: str) -> None:
        """Set registers, through a node that is closed then."""
        with crdtsync.open(self.directory / "node") as node:
            for first in range(0, len(keys), BATCH):
                with node.batch():
                    for key in keys[first : first + BATCH]:
                        node.lwwregister(key).set(value)

    def update(self) -> Answer:
        """All rows as parts, with their claim."""
        answer = self.store.answer(BUCKET, {}, self.store.config.part_bytes, NO_BOUND)
        assert answer is not None
        return answer

    def merge(self, update: Answer) -> None:
        """Take parts in: decode and check, join, journal."""
        staged = [self.store.stage(BUCKET, part) for part in update.parts]
        self.store.apply(BUCKET, staged, update.target, update.floor, update.stamp_floor)

    def make_durable(self) -> bool:
        """Wait for the disk."""
        self.store.flush()
        return True

    def fingerprint(self) -> object:
        """The digest: equal for equal replicas."""
        return self.store.digest()

    def close(self) -> None:
        """Close the store."""
        if self.opened is not None:
            self.opened.close()
