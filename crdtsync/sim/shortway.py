"""Single writes as handles make them: in one compiled call, and a counter's steps without the lock.

The oracles want every event with its row before and after it.  To look would end a run of steps, so what each must make
of the row is worked out beside it, by a transaction that is never carried out, and compared in the end.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from crdtsync.datatypes.keys import Place
from crdtsync.datatypes.txn import Verb
from crdtsync.handles import PNCounter
from crdtsync.handles.batches import CURRENT
from crdtsync.kernels import BY_STEP, IMPLEMENTATION, LONG_WAY, cell_add
from crdtsync.sim.disk import Gone
from crdtsync.sim.oracles import Change
from crdtsync.sim.workload import Operation
from crdtsync.sim.world import Violation
from crdtsync.storage.txn import Txn

if TYPE_CHECKING:
    from crdtsync.sim.node import SimNode

SHARE = 0.6  # of the single operations that may go the short way
STEPS = (1, 1, 2, 4, 9)  # of one counter in a row


class ShortWay:
    """The short way of one simulated node; as much of a bucket as a counter's handle needs."""

    def __init__(self, node: SimNode) -> None:
        self.node = node
        self._rng = random.Random(f"{node.world.seed} {node.name}")  # its own: the other chances fall as without it
        self.name = ""  # of the bucket that is written to

    @property
    def writer(self) -> Any:
        """The short way of its present process."""
        return self.node.store.writer

    def takes(self, bucket: str, operations: list[Operation]) -> bool:
        """Whether this is to go the short way."""
        verb, place = operations[0].plain, operations[0].place
        if IMPLEMENTATION == "pure" or len(operations) > 1 or verb is None or verb.way == LONG_WAY or place.levels:
            return False
        known = self.node.up and self.node.own_index() is not None and bucket in self.node.store.named
        return known and self._rng.random() < SHARE

    def perform(self, bucket: str, operation: Operation) -> None:
        """Do it, a counter's step several times; each event is told to the oracles."""
        verb, place, argument = operation.plain, operation.place, operation.argument
        assert verb is not None
        self.name = bucket
        change = self._foreseen(bucket, verb, place, argument)
        self._do(bucket, change, verb, place, argument)
        if verb.way <= BY_STEP:
            change = self._steps(bucket, change, place, argument)
        rowkey, _, after = change
        found = self.node.image(bucket, rowkey)
        if found != after:
            raise Violation(f"short way: {operation} should make {after!r} of {rowkey!r}, the store has {found!r}")

    def write(self, verb: Verb, place: Place, argument: Any) -> None:
        """A step that the handle could not make without the lock."""
        store = self.node.store
        if store.writer.write(self.name, verb, place, argument):
            self.node.world.count("written in one call")
        else:
            store.transact(self.name, lambda txn: verb.run(txn, place, argument))

    def _foreseen(self, bucket: str, verb: Verb, place: Place, argument: Any) -> Change:
        store = self.node.store
        with store.lock:
            txn = Txn(store.named[bucket], store.writer.own, store.hybrid)
            verb.run(txn, place, argument)
            ((rowkey, image),) = txn.rows.items()
            assert image is not None
            return rowkey, txn.before[rowkey], image

    def _do(self, bucket: str, change: Change, verb: Verb, place: Place, argument: Any) -> None:
        oracles = self.node.cluster.oracles
        try:
            self.write(verb, place, argument)
        except Gone:
            oracles.in_doubt(self.node, bucket, [change])
            raise
        oracles.written(self.node, bucket, [change])

    def _steps(self, bucket: str, change: Change, place: Place, step: int) -> Change:
        """More steps of a counter, through a handle; the last change."""
        oracles, own = self.node.cluster.oracles, self.node.store.writer.own
        self.writer.batches = CURRENT
        handle = PNCounter(self, place)
        seq = self.node.store.named[bucket].clock[own]
        for _ in range(self._rng.choice(STEPS) - 1):
            seq += 1
            rowkey, _, before = change
            change = rowkey, before, cell_add(before, own, seq, max(step, 0), max(-step, 0))
            try:
                handle.increment(step) if step > 0 else handle.decrement(-step)
            except Gone:
                oracles.in_doubt(self.node, bucket, [change])
                raise
            oracles.written(self.node, bucket, [change])
            self.node.world.count("steps in a row")
        return change
