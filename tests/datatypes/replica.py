"""A replica in memory for tests of the data types: rows in a dict, exact clocks, joins by the kernels.

It meets the Txn and Scanner protocols; actors are small numbers that all replicas share, so rows travel as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from crdtsync.datatypes.keys import Place
from crdtsync.datatypes.registry import TYPES
from crdtsync.datatypes.rows import Row
from crdtsync.datatypes.txn import Verb
from crdtsync.kernels import row_dead, row_join

IDS = list(range(16))  # actor index -> id: the same here


class Replica:
    """One bucket of one replica; `now` is its wall clock, which tests may set to anything."""

    def __init__(self, actor: int) -> None:
        self.actor, self.now = actor, 1000
        self.clock: dict[int, int] = {}
        self.rows: dict[bytes, bytes] = {}
        self.events: list[tuple[int, int]] = []  # every event made here

    def do(self, verb: Verb, place: Place, argument: Any = None) -> None:
        """One operation, all or nothing."""
        self.transact(lambda txn: verb.run(txn, place, argument))

    def transact(self, run: Callable[[Replica], None]) -> None:
        rows, clock, events = dict(self.rows), dict(self.clock), list(self.events)
        try:
            run(self)
        except BaseException:
            self.rows, self.clock, self.events = rows, clock, events
            raise

    def value(self, place: Place) -> Any:
        return TYPES[place.code].value(self.scan(place.prefix, limit=1 << 60), len(place.prefix))

    def live(self) -> dict[bytes, bytes]:
        return {rowkey: image for rowkey, image in sorted(self.rows.items()) if not row_dead(image)}

    def merge(self, other: Replica) -> None:
        """Take in the whole state of another replica."""
        for rowkey, image in other.rows.items():
            joined = row_join(self.rows.get(rowkey), image, self.clock, IDS)
            if joined is not None:
                self.rows[rowkey] = joined
        for actor, seq in other.clock.items():
            self.clock[actor] = max(seq, self.clock.get(actor, 0))

    # -- Txn

    def get(self, rowkey: bytes) -> bytes | None:
        return self.rows.get(rowkey)

    def scan(self, prefix: bytes, after: bytes = b"", limit: int = 1000) -> list[Row]:
        found = sorted(row for row in self.rows.items() if row[0].startswith(prefix) and row[0] > after)
        return found[:limit]

    def put(self, rowkey: bytes, image: bytes) -> None:
        self.rows[rowkey] = image

    def next_event(self) -> tuple[int, int]:
        self.clock[self.actor] = self.clock.get(self.actor, 0) + 1
        self.events.append((self.actor, self.clock[self.actor]))
        return self.events[-1]

    def stamp(self, after: int) -> int:
        return max(self.now, after + 1)
