"""The local half of a node: every write goes through here to the store, and every refusal is counted here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, TypeVar

from msgspec.msgpack import encode

from crdtsync.config import Config
from crdtsync.datatypes.keys import Place
from crdtsync.datatypes.txn import Txn
from crdtsync.errors import BatchTooLarge, CrdtsyncError, MembershipMisuse, StartingOver
from crdtsync.handles.batches import CURRENT, Operation
from crdtsync.kernels import Places
from crdtsync.replication.peers import JOINING, LEAVING, LEFT, STARTING_OVER
from crdtsync.storage.requests import DIGEST_BYTES, Answer, Request

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
PLACES_MAX = 4096  # places of objects that a node remembers


class Local:
    """Writes and reads of one node, for all of its buckets.  Any thread may call."""

    def __init__(self, store: Store, config: Config) -> None:
        self.store = store
        self.config = config
        self.batch_bytes_max = config.cluster.batch_bytes_max
        self.buckets: dict[str, Bucket] = {}
        self.places = Places(Place, config.cluster.key_bytes_max, PLACES_MAX)
        self.sessions: Sessions
        self.bucket: Callable[[str], Bucket]
        self.watch: Callable[[str | None, str, str | None, bool], Watcher]
        self.refusal: Callable[[], CrdtsyncError] | None = None  # why nothing may be read or written: closed
        self.write_refusal: Callable[[], CrdtsyncError] | None = None  # why nothing may be written, see `shut`
        self.engine: Engine | None = None  # its state decides, under the store's lock, whether a write may go ahead
        store.writer.batches = CURRENT
        self.written: Callable[[], None] | None = None  # told after every write, see `tell`

    def shut(self, refusal: Callable[[], CrdtsyncError]) -> None:
        """Take no more writes."""
        self.write_refusal, self.store.writer.shut = refusal, True

    def tell(self, written: Callable[[], None]) -> None:
        """Call `written` after every write."""
        self.written = self.store.writer.told = written

    def refused(self, error: CrdtsyncError) -> CrdtsyncError:
        """Count and log a refusal, once; gives the error back, to be raised."""
        if not error.counted:
            error.counted = True
            self.store.counters[error.counter] += 1
            log.info("refused: %s", error, extra={"error": error.counter})
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

    def change(self, bucket: str, run: Callable[[StoreTxn], T], wait: bool = True) -> T:
        """Carry one transaction out; when it returns, the change is made, and durable as far as the setting says.

        `wait`=False: the caller waits for the disk where the setting asks for it (durability "each").
        The store counts the refusals of its own; those of operations are counted by Bucket.run.
        """
        self.check_writable()
        result = self.store.transact(bucket, run, wait)
        if self.written is not None:
            self.written()
        return result

    def check_writable(self) -> None:
        """Raise Closed once the node takes no more writes."""
        if self.write_refusal is not None:
            raise self.refused(self.write_refusal())

    def check_state(self, state: str) -> None:
        """Raise what keeps a node in this state from writing; under the store's lock, where the state cannot change."""
        if state == STARTING_OVER:
            raise StartingOver("The node takes the cluster's state anew.")
        if state == JOINING:
            raise StartingOver("The node is joining a cluster.", hint="Wait until status()['state'] is 'member'.")
        if state in (LEAVING, LEFT):
            raise MembershipMisuse(
                "The node has left the cluster; it takes no more writes.", hint="Open it again with join= to come back."
            )

    def check_role(self) -> None:
        """`check_state` of the engine, for writes that do not go through Bucket.run; under the store's lock."""
        if self.engine is not None:
            try:
                self.check_state(self.engine.core.state)
            except CrdtsyncError as error:
                raise self.refused(error) from None

    def carry_out(
        self,
        bucket: str,
        operations: list[Operation],
        request_id: str | None = None,
        wait: bool = True,
        *,
        sync: bool = False,
    ) -> Answer:
        """The operations of a batch, or one that may touch many rows, all or none; `wait` as in `change`.

        `sync` is left to `wait_durable`.  With a request id: once, however often they come.  Raises BatchTooLarge, and
        BatchMisuse for an id that came with other operations.
        """
        run_all = self.bucket(bucket).run_all

        def run(txn: StoreTxn) -> Answer:
            run_all(txn, Measured(txn, self.batch_bytes_max), operations)
            return Answer(txn.actor, txn.next - 1) if txn.keys else Answer(0, 0)

        if request_id is None:
            return self.change(bucket, run, wait)
        return self._once(bucket, Request(request_id, digest_of(operations)), run, wait)

    def _once(self, bucket: str, request: Request, run: Callable[[StoreTxn], Answer], wait: bool) -> Answer:
        self.check_writable()
        answer = self.store.transact_once(bucket, request, run, wait)
        if self.written is not None and not answer.repeated:
            self.written()
        return answer

    def token_after(self, bucket: str, answer: Answer | None) -> str:
        """The token of a write: its last event, and with it all that this replica held before.

        A write that changed nothing has no event: then it is where the bucket stands now.
        """
        if answer is None or not answer.seq:
            return self.sessions.token([bucket])
        return self.sessions.token_of({bucket: {self.store.actors.ids[answer.actor]: answer.seq}})

    def wait_durable(self) -> None:
        """Return once everything written so far is on the disk."""
        self.store.wait_durable(self.store.last_record)


def digest_of(operations: list[Operation]) -> bytes:
    """Tells one list of operations from another: their verbs, objects and arguments, in order."""
    content = encode([(verb.name, place.prefix, argument) for verb, place, argument in operations])
    count = len(operations)
    head = 1 if count < 16 else 3 if count < 1 << 16 else 5  # of a list: stores hold digests of its items alone
    return blake2b(memoryview(content)[head:], digest_size=DIGEST_BYTES).digest()


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
