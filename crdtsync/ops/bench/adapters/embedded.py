"""crdtsync itself, embedded in the process that writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import crdtsync
from crdtsync.errors import Overloaded
from crdtsync.ops.bench.adapters.base import Adapter

HOT = 16  # counters that are hot at the same time
BATCH = 1000  # operations of a batch, for those who batch
COLUMN = 50_000  # keys of a column, for those who write columns
SHARDS = 64  # counters that commits are counted in


def put(node: Any, keys: Sequence[str], values: Sequence[str]) -> None:
    """Set registers in one call; while the disk is behind, again.  The sample's timeout bounds it."""
    while True:
        try:
            node.set_many(keys, values)
            return
        except Overloaded:  # after a wait, and nothing was changed
            continue


class Embedded(Adapter):
    """A node on a directory, through the public handles, one call an operation."""

    title = "crdtsync, embedded"
    semantics = "replicated CRDT, no coordination"
    durability = "survives kill -9 when a call returns; the disk has it within milliseconds (group)"
    survives_kill = True
    keeps = "process"
    package = "crdtsync"

    def __init__(self, directory: Path, **settings: Any) -> None:
        super().__init__(directory)
        self.node = crdtsync.open(directory / "node", **settings)

    @classmethod
    def version(cls) -> str:
        """Of the code that runs, wherever it was imported from."""
        return crdtsync.__version__

    def count_up(self, rounds: int) -> int:
        """Increments of one hot counter, as the peers count."""
        step = self.node.pncounter("hot:0").increment
        for _ in range(rounds * HOT):
            step()
        return rounds * HOT

    def total(self) -> int:
        """The sum of the hot counters."""
        return sum(self.node.pncounter(f"hot:{at}").value for at in range(HOT))

    def put_all(self, keys: Sequence[str], value: str) -> None:
        """Set a register under each key."""
        register = self.node.lwwregister
        for key in keys:
            register(key).set(value)

    def put_record(self, key: str, value: str) -> None:
        """Set a register."""
        self.node.lwwregister(key).set(value)

    def get_record(self, key: str) -> object:
        """A register's value."""
        return self.node.lwwregister(key).value

    def scan_records(self, key: str, count: int) -> int:
        """So many objects of the key's prefix; how many there were."""
        return sum(1 for _ in islice(self.node.items(key), count))

    def make_durable(self) -> bool:
        """Wait for the journal's fdatasync."""
        self.node.sync()
        return True

    def holds(self, keys: Sequence[str]) -> dict[str, object]:
        """The registers' values."""
        return {key: self.node.lwwregister(key).value for key in keys}

    def committer(self, thread: int) -> Callable[[int], None]:
        """Batches that wait for the disk."""
        node, counter = self.node, self.node.gcounter(f"committed:{thread % SHARDS}")
        step = counter.increment

        def commit(writes: int) -> None:
            with node.batch(sync=True):
                for _ in range(writes):
                    step()

        return commit

    def committed(self) -> int:
        """The sum of what was committed."""
        return sum(self.node.gcounter(f"committed:{at}").value for at in range(SHARDS))

    def close(self) -> None:
        """Close the node."""
        self.node.close()


class EmbeddedEach(Embedded):
    """A node whose every write waits for the disk by itself."""

    title = "crdtsync, embedded, durability each"
    durability = "the disk has it when a call returns (each)"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, durability="each")

    def committer(self, thread: int) -> Callable[[int], None]:
        """A write, or a batch of several."""
        node, step = self.node, self.node.gcounter(f"committed:{thread % SHARDS}").increment

        def commit(writes: int) -> None:
            if writes == 1:
                step()
                return
            with node.batch():
                for _ in range(writes):
                    step()

        return commit


class EmbeddedBatches(Embedded):
    """The same, a thousand operations a batch."""

    title = "crdtsync, embedded, batches of 1,000"

    def put_all(self, keys: Sequence[str], value: str) -> None:
        """Set a register under each key, a thousand in a batch."""
        register = self.node.lwwregister
        for first in range(0, len(keys), BATCH):
            with self.node.batch():
                for key in keys[first : first + BATCH]:
                    register(key).set(value)

    def column(self, keys: list[str]) -> Any:
        """Keys of one call, made beforehand."""
        return keys

    def count_column(self, column: Any) -> None:
        """A step of each counter, a thousand in a batch."""
        counter = self.node.pncounter
        for first in range(0, len(column), BATCH):
            with self.node.batch():
                for key in column[first : first + BATCH]:
                    counter(key).increment()

    def sum_column(self, column: Any) -> int:
        """The sum of the counters' values, each read by its handle."""
        return sum(self.node.pncounter(key).value for key in column)

    def sum_scanned(self) -> int:
        """The sum of all counters."""
        return sum(item.value for item in self.node.items())


class EmbeddedColumns(Embedded):
    """The same, a call for each column of keys."""

    title = "crdtsync, embedded, columns"

    def column(self, keys: list[str]) -> Any:
        """Keys of one call, as offsets and bytes."""
        from crdtsync.datatypes.columns import keys_of  # loads numpy, which is not in the footprint of the others

        return keys_of(keys)

    def put_all(self, keys: Sequence[str], value: str) -> None:
        """Set a register under each key, so many in a call."""
        for first in range(0, len(keys), COLUMN):
            column = keys[first : first + COLUMN]
            put(self.node, column, [value] * len(column))

    def count_column(self, column: Any) -> None:
        """A step of each counter, in one call."""
        self.node.increment_many(column)

    def sum_column(self, column: Any) -> int:
        """The sum of the counters' values, read in one call."""
        return int(self.node.read_many(column).sum())

    def sum_scanned(self) -> int:
        """The sum of all counters."""
        return sum(int(page.values.sum()) for page in self.node.columns())


class EmbeddedTurns(Embedded):
    """The same, but no two steps in a row are of one counter."""

    title = f"crdtsync, embedded, {HOT} counters in turn"

    def count_up(self, rounds: int) -> int:
        """Increments of all of them, one after the other."""
        steps = [self.node.pncounter(f"hot:{at}").increment for at in range(HOT)]
        for _ in range(rounds):
            for step in steps:
                step()
        return rounds * HOT


class EmbeddedCold(Embedded):
    """The same on so many counters that a step seldom meets one that was stepped lately."""

    title = "crdtsync, embedded, 100,000 counters"
    cold = 100_000

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.at = 0

    def count_up(self, rounds: int) -> int:
        """A step of each of so many counters, in an order that jumps about; the handle is made for each."""
        counter = self.node.pncounter
        for number in range(self.at, self.at + rounds):
            counter(f"cold:{number * 61_803 % self.cold:06}").increment()
        self.at += rounds
        return rounds

    def total(self) -> int:
        """The sum of all of them."""
        return sum(item.value for item in self.node.items("cold:"))
