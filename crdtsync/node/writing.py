"""The local half of a node: every write goes through here to the store, and every refusal is counted here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from crdtsync.config import Config
from crdtsync.datatypes.txn import Txn
from crdtsync.errors import BatchTooLarge, CrdtsyncError, MembershipMisuse, StartingOver
from crdtsync.node.batches import Operation
from crdtsync.replication.peers import LEAVING, LEFT, STARTING_OVER

if TYPE_CHECKING:
    from crdtsync.node.buckets import Bucket
    from crdtsync.node.sessions import Sessions
    from crdtsync.node.watching import Watcher
    from crdtsync.replication.engine import Engine
    from crdtsync.storage.bucket import Bucket as Rows
    from crdtsync.storage.store import Store
    from crdtsync.storage.txn import Txn as StoreTxn

log = logging.getLogger("crdtsync.node")
T = TypeVar("T")


class Local:
    """Writes and reads of one node, for all of its buckets.  Any thread may call."""

    def __init__(self, store: Store, config: Config) -> None:
        self.store = store
        self.config = config
        self.batch_bytes_max = config.cluster.batch_bytes_max
        self.buckets: dict[str, Bucket] = {}
        self.sessions: Sessions
        self.bucket: Callable[[str], Bucket]
        self.watch: Callable[[str | None, str, str | None, bool], Watcher]
        self.refusal: Callable[[], CrdtsyncError] | None = None  # why nothing may be read or written: closed
        self.write_refusal: Callable[[], CrdtsyncError] | None = None  # why nothing may be written: closing
        self.engine: Engine | None = None  # its state decides, under the store's lock, whether a write may go ahead
        self.written: Callable[[], None] | None = None  # told after every write: the engine

    def refused(self, error: CrdtsyncError) -> CrdtsyncError:
        """Count and log a refusal, once; gives the error back, to be raised."""
        if not getattr(error, "counted", False):
            error.counted = True  # type: ignore[attr-defined]
            self.store.counters[error.counter] += 1
            log.info("refused: %s", error)
        return error

    def check(self) -> None:
        """Raise Closed once the node is closed."""
        if self.refusal is not None:
            raise self.refused(self.refusal())

    def read(self, bucket: str) -> Rows | None:
        """The bucket's rows; None for one that nobody has written to."""
        if self.refusal is not None:
            self.check()
        return self.store.bucket(bucket)

    def change(self, bucket: str, run: Callable[[StoreTxn], T]) -> T:
        """Carry one transaction out; when it returns, the change is made, and durable as far as the setting says.

        The store counts the refusals of its own; those of operations are counted by Bucket.run.
        """
        if self.write_refusal is not None:
            raise self.refused(self.write_refusal())
        result = self.store.transact(bucket, run)
        if self.written is not None:
            self.written()
        return result

    def check_state(self, state: str) -> None:
        """Raise what keeps a node in this state from writing; under the store's lock, where the state cannot change."""
        if state == STARTING_OVER:
            raise StartingOver("The node takes the cluster's state anew.")
        if state in (LEAVING, LEFT):
            raise MembershipMisuse(
                "The node has left the cluster; it takes no more writes.", hint="Open it again with join= to come back."
            )

    def carry_out(self, bucket: str, operations: list[Operation]) -> tuple[int, int]:
        """The operations of a batch, or one that may touch many rows, all or none.  Raises BatchTooLarge.

        Gives (actor index, seq) of the last event; seq 0: nothing was changed.
        """
        run_all = self.bucket(bucket).run_all
        # What puts one row is measured in time by the store itself.
        bulk = any(verb.bulk for verb, _, _ in operations)

        def run(txn: StoreTxn) -> tuple[int, int]:
            run_all(Measured(txn, self.batch_bytes_max) if bulk else txn, operations)
            return (txn.actor, txn.next - 1) if txn.keys else (0, 0)

        return self.change(bucket, run)

    def wait_durable(self) -> None:
        """Return once everything written so far is on the disk."""
        self.store.wait_durable(self.store.last_record)


class Measured:
    """A transaction that refuses to grow beyond `bytes_max`: what it puts travels as one part of a transfer."""

    __slots__ = ("_left", "_put", "bytes_max", "get", "next_event", "scan", "stamp")
    ROW_BYTES = 16  # lengths and actor table entries that a row takes in a part, beyond key and image

    def __init__(self, txn: Txn, bytes_max: int) -> None:
        self.get, self.scan, self.next_event, self.stamp = txn.get, txn.scan, txn.next_event, txn.stamp
        self._put = txn.put
        self._left = self.bytes_max = bytes_max

    def put(self, rowkey: bytes, image: bytes) -> None:
        """As Txn.put.  Raises BatchTooLarge."""
        self._left -= len(rowkey) + len(image) + self.ROW_BYTES
        if self._left < 0:
            raise BatchTooLarge(f"A batch writes over {self.bytes_max:,} bytes of rows.")
        self._put(rowkey, image)
