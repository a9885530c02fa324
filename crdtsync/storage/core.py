"""The core of a store: the lock, buckets, actors, journal, and how a change becomes durable.

The lock guards everything.  Two things run without it: syncing the journal (`flush`) and writing a checkpoint; a
condition on the same lock keeps each of them to one thread at a time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from crdtsync.clocks.hybrid import HybridClock
from crdtsync.clocks.members import Members
from crdtsync.clocks.vector import join
from crdtsync.config import Config
from crdtsync.errors import (
    BatchTooLarge,
    Closed,
    CrdtsyncError,
    DiskFull,
    EnvironmentFault,
    Overloaded,
    ValueTooLarge,
)
from crdtsync.kernels import Signal, Writer
from crdtsync.storage import facts
from crdtsync.storage.actors import PRIVATE, Actors
from crdtsync.storage.bucket import LIVE, Bucket
from crdtsync.storage.conflicts import Conflict
from crdtsync.storage.disk import Disk
from crdtsync.storage.facts import payload
from crdtsync.storage.forks import Forks, check_fork
from crdtsync.storage.journal import Journal
from crdtsync.storage.layers import ROW_OVERHEAD
from crdtsync.storage.maps import OrderedMap, Snapshot
from crdtsync.storage.memory import give_back
from crdtsync.storage.records import Position
from crdtsync.storage.requests import Requests
from crdtsync.storage.timing import Timing
from crdtsync.storage.txn import Txn

if TYPE_CHECKING:
    from crdtsync.storage.cutting import Cut

log = logging.getLogger("crdtsync.storage")
T = TypeVar("T")
Listener = Callable[[str, list[bytes], bool], None]
EMPTY_JOURNAL = Position(1, 0, 1, 0)
TURN = 0.0001  # s of rest between two slices of long work
REST_EVERY = 0.001  # s of long work without one


class Random(Protocol):
    """What a store asks of chance."""

    def getrandbits(self, k: int, /) -> int: ...


class Core:
    """State of an open store, and the path of a local write."""

    def __init__(
        self, config: Config, disk: Disk, table: OrderedMap, random: Random, now_ms: Callable[[], int]
    ) -> None:
        self.config, self.disk, self.table = config, disk, table
        self.random, self.hybrid, self.now_ms = random, HybridClock(now_ms), now_ms
        self.named: dict[str, Bucket] = {}
        self.on_change: list[Listener] = []
        self.appended = Signal()  # set by every record; whoever syncs clears it first
        each = config.durability == "each"
        self.writer = Writer(
            self, config.dirty_bytes_max, config.cluster.batch_bytes_max, config.cluster.value_bytes_max, each
        )
        self.lock = self.writer.lock
        self.changed = threading.Condition(self.lock)  # a sync or checkpoint has ended, or room was made
        self.node, self.start, self.instance = "", 0, random.getrandbits(64)
        self.store_id = self.cluster_id = 0
        self.actors = Actors()
        self._tried: list[int] = []  # ids that have an index for the time of one transfer, not journaled yet
        self.member_records: Members = {}
        self.numbered: dict[int, Bucket] = {}
        self.counters: Counter[str] = Counter()
        self.sync_times, self.checkpoint_times = Timing(), Timing()
        self.conflicts: deque[Conflict] = deque(maxlen=config.conflicts_kept)
        self.requests = Requests(config.requests_kept, config.request_age_max)
        self.checkpoint_error: CrdtsyncError | None = None  # why the last checkpoint failed
        self._generation = Forks.generation
        self._journal: Journal | None = None
        self._position = EMPTY_JOURNAL  # where the table's state stands in the journal
        self._saved_actors = 0  # actors that are in the table
        self._meta_dirty = False
        self._syncing = self._checkpointing = False
        self._snapshot: Snapshot | None = None
        self._rested = 0.0  # when long work last let others in
        self._gone = False  # the table has been let go of
        self.cuts: list[Cut] = []  # states that backups are reading

    # -- the ways in

    @property
    def dirty(self) -> int:
        """Bytes, about, that wait for a checkpoint."""
        return self.writer.dirty

    @dirty.setter
    def dirty(self, size: int) -> None:
        self.writer.dirty = size

    @property
    def _own(self) -> int | None:
        """Actor index that this start writes under, once it has written."""
        own = self.writer.own
        return None if own < 0 else own

    @_own.setter
    def _own(self, index: int | None) -> None:
        self.writer.own = -1 if index is None else index

    @property
    def journal(self) -> Journal:
        """The open journal.  Raises Closed."""
        if self._journal is None:
            raise Closed("The store is closed.")
        return self._journal

    def check_usable(self) -> None:
        """Raises Forked, Closed.  To be called before the lock is taken: a forked child might wait for it for ever."""
        if self._generation != Forks.generation:
            check_fork(self._generation)
        if self._journal is None:
            raise Closed("The store is closed.")

    def reader(self) -> Snapshot:
        """The current snapshot of the row table, renewed after each commit; held under the lock.  Raises Closed."""
        if self._snapshot is None:
            if self._gone:
                raise Closed("The store is closed.")
            self._snapshot = self.table.snapshot()
        return self._snapshot

    def renew_reader(self) -> None:
        """The table has changed, or the snapshot has grown old and keeps pages from being used again."""
        if self._snapshot is not None:
            self._snapshot.close()
            self._snapshot = None

    def let_others_in(self) -> None:
        """Between two slices of long work, the lock let go of.

        A lock goes to nobody in particular: without a rest whoever let go of it takes it again before a waiting writer
        has woken up.  Slices that are done in no time rest once for several.
        """
        if time.monotonic() > self._rested + REST_EVERY:
            time.sleep(TURN)
            self._rested = time.monotonic()

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count and log every refusal that passes through."""
        try:
            yield
        except CrdtsyncError as error:
            self.refused(error)
            raise

    def refused(self, error: CrdtsyncError) -> None:
        """Count a refusal under its name, and log it."""
        error.counted = True
        self.counters[error.counter] += 1
        log.warning("%s: %s", self.node, error, extra={"error": error.counter})

    # -- buckets and actors

    def bucket(self, name: str, create: bool = False) -> Bucket | None:
        """The bucket of a name.  `create` makes it, durably with the next write.  Raises ValueTooLarge, DiskFull."""
        bucket = self.named.get(name)
        if bucket is None and create:
            self.check_usable()
            with self.lock, self.counting():
                bucket = self.named.get(name) or self.add_bucket(self.new_bucket(name))
        return bucket

    def new_bucket(self, name: str, state: int = LIVE) -> Bucket:
        """A bucket that nobody knows yet.  Raises ValueTooLarge."""
        if state == LIVE and len(self.named) >= self.config.buckets_max:
            raise ValueTooLarge(
                f"The store has {len(self.named)} buckets, as many as it may.", hint="Raise buckets_max."
            )
        bucket = self.make_bucket(max(self.numbered, default=0) + 1, name)
        bucket.state = state
        return bucket

    def make_bucket(self, number: int, name: str) -> Bucket:
        """The object for a bucket of this store."""
        bucket = Bucket(number, name, self.lock, self.reader, self.config.cache_bytes_max)
        bucket.on_damage = self._damaged
        return bucket

    def add_bucket(self, bucket: Bucket) -> Bucket:
        """Journal a new bucket and make it known."""
        self.journal.append(payload(facts.BUCKET, bucket.number, bucket.name, bucket.state))
        self.know_bucket(bucket)
        return bucket

    def know_bucket(self, bucket: Bucket) -> None:
        """Make a bucket known here."""
        self.numbered[bucket.number] = bucket
        bucket.meta_dirty = True
        if bucket.state == LIVE:
            self.named[bucket.name] = bucket
        for held in self.numbered.values():  # the bound is the store's: buckets share it
            held.cache.bytes_max = self.config.cache_bytes_max // len(self.numbered)

    def drop_bucket(self, bucket: Bucket) -> None:
        """A bucket's time is over: checkpoints delete what the table has of it, and write no more of it."""
        self.dirty -= bucket.active.size
        bucket.drop()

    def _damaged(self, bucket: Bucket) -> None:
        self.counters["rows_damaged"] += 1
        log.error("%s: a row of bucket %r fails its checksum and was set aside", self.node, bucket.name)

    def add_actors(self, ids: list[int]) -> None:
        """Give ids their indexes, journaled."""
        if ids:
            first = len(self.actors.ids)
            self.journal.append(payload(facts.ACTORS, first, ids))
            self.actors.add(first, ids)

    @contextmanager
    def trying_actors(self, ids: list[int]) -> Iterator[None]:
        """Ids have indexes within; unless `keep_actors` has journaled them by its end, they are forgotten again."""
        first, self._tried = len(self.actors.ids), ids
        self.actors.add(first, ids)
        try:
            yield
        finally:
            if self._tried:
                self.actors.drop(first)
                self._tried = []

    def keep_actors(self) -> None:
        """Journal the ids that are being tried."""
        if self._tried:
            self.journal.append(payload(facts.ACTORS, len(self.actors.ids) - len(self._tried), self._tried))
            self._tried = []

    def _writer(self) -> int:
        """Index that the next write goes under: the private actor before publication, else one of this start alone."""
        # RULE: an actor lives no longer than one start, so no dot is ever used twice
        if self._own is None and self.cluster_id:
            return len(self.actors.ids)
        return PRIVATE if self._own is None else self._own

    def _settle_writer(self, index: int) -> None:
        """The first write of this start: its actor gets an id."""
        if index == len(self.actors.ids):
            actor = 0
            while actor in self.actors.index:
                actor = self.random.getrandbits(64)
            self.add_actors([actor])
        self._own = index

    # -- writing

    def transact(self, name: str, ops: Callable[[Txn], T], wait: bool = True) -> T:
        """Run `ops` on a bucket: everything it puts takes effect together, or nothing after an exception.

        With durability "each" it returns once that is on the disk, unless the caller does the waiting (`wait`=False).
        Raises what `ops` raises, BatchTooLarge, DiskFull, JournalFailed, Overloaded, Closed, Forked.
        """
        self.check_usable()
        with self.lock:
            if self.dirty >= self.config.dirty_bytes_max:
                self._wait_for_room()
            bucket = self.named.get(name)
            fresh = bucket is None
            if bucket is None:
                with self.counting():
                    bucket = self.new_bucket(name)
            txn = Txn(bucket, self._writer(), self.hybrid)
            result = ops(txn)
            txn.check()
            if not txn.keys:
                return result
            record = self._commit(bucket, txn, fresh)
        if wait and self.config.durability == "each":
            self.wait_durable(record)
        return result

    def _commit(self, bucket: Bucket, txn: Txn, fresh: bool, request: list[Any] | None = None) -> int:
        try:
            head = (facts.WRITE,) if request is None else (facts.ANSWER, request)
            keys, images, before = txn.columns()
            data = facts.payload_of([(keys, images)], *head, bucket.number, txn.actor, txn.next - 1)
            if len(data) > self.config.cluster.batch_bytes_max:
                most = self.config.cluster.batch_bytes_max
                raise BatchTooLarge.fitting(
                    f"A batch of {len(keys):,} rows takes {len(data):,} bytes; batch_bytes_max is {most:,}.",
                    len(keys) * most / len(data),
                )
            if fresh:
                self.add_bucket(bucket)
            if txn.actor != self._own:
                self._settle_writer(txn.actor)
            record = self.journal.append(data)
        except CrdtsyncError as error:
            self.refused(error)
            raise
        held = len(bucket.active.rows)
        bucket.install_events(txn.actor, txn.first, txn.keys, keys, images, before)
        self.add_dirty(bucket, len(data), len(bucket.active.rows) - held)
        if self.on_change:
            self.tell(bucket, keys, True)
        return record

    def tell(self, bucket: Bucket, keys: list[bytes], local: bool) -> None:
        """Let the listeners know; a listener's error is its own.  What is hidden is not told."""
        if bucket.state != LIVE:
            return
        for listener in self.on_change:
            try:
                listener(bucket.name, keys, local)
            except Exception:
                self.counters["listener_failed"] += 1
                log.exception("%s: a change listener failed", self.node)

    def add_dirty(self, bucket: Bucket, journaled: int, rows: int) -> None:
        """Count what waits for a checkpoint: journal bytes, and what Python needs for rows that came into the layer."""
        size = journaled + ROW_OVERHEAD * rows
        bucket.active.size += size
        self.dirty += size

    def has_room(self) -> bool:
        """Whether more may be taken in before the next checkpoint."""
        return self.dirty < self.config.dirty_bytes_max

    def _wait_for_room(self) -> None:
        """Writers wait at the bound; waiting lets go of the lock, so that a checkpoint can make room."""
        self.counters["write_stalls"] += 1
        deadline = time.monotonic() + self.config.write_stall_max
        while self.dirty >= self.config.dirty_bytes_max:
            left = deadline - time.monotonic()
            if isinstance(self.checkpoint_error, DiskFull) or left <= 0:
                error: EnvironmentFault = Overloaded(
                    f"{self.dirty:,} bytes wait for a checkpoint, and have for {self.config.write_stall_max} s."
                )
                if isinstance(self.checkpoint_error, DiskFull):
                    error = DiskFull("The row table has no room to take in what was written before.")
                self.refused(error)
                raise error
            self.changed.wait(left)
            self.check_usable()

    # -- durability

    @property
    def last_record(self) -> int:
        """Number of the last journal record."""
        return self.journal.last

    @property
    def synced_record(self) -> int:
        """Number of the last journal record that is known to be durable."""
        return self.journal.synced

    def flush(self, record: int | None = None) -> None:
        """Everything so far, or everything up to `record`, is durable when this returns.

        Raises JournalFailed, Closed, Forked.
        """
        self.check_usable()
        with self.lock:
            while self._syncing:
                self.changed.wait()
                # Not when no sync is running: under load there is always another one, and a waiter would starve.
                if record is not None and self.journal.synced >= record:
                    return
            journal = self.journal
            with self.counting():
                cut = journal.cut()
            if cut.record <= journal.synced:
                return
            moved = [(bucket, bucket.unsynced) for bucket in self.numbered.values() if bucket.unsynced]
            for bucket, _ in moved:
                bucket.unsynced = {}
            self._syncing = True
        failure: BaseException | None = None
        began = time.perf_counter()
        try:
            cut.sync()
        except BaseException as error:
            failure = error
        with self.lock, self.counting():  # one hold: whoever waits finds the sync ended and what it made durable
            self._syncing = False
            self.changed.notify_all()
            if isinstance(failure, OSError):
                raise journal.fail(failure) from failure
            if failure is not None:
                raise failure
            self.sync_times.add(time.perf_counter() - began)
            journal.settle(cut)
            for bucket, entries in moved:
                bucket.synced = join(bucket.synced, entries)  # a checkpoint may have come further meanwhile

    def journal_failure(self) -> str:
        """Why the journal takes nothing any more; "" while it does."""
        return "" if self._journal is None else self._journal.failed

    def wait_durable(self, record: int) -> None:
        """Return once a record is durable; threads that wait share one sync.  Raises JournalFailed, Closed."""
        while self.synced_record < record:
            self.flush(record)

    def unflushed_bytes(self) -> int:
        """Bytes, about, that the next sync has to write."""
        return 0 if self._journal is None else self._journal.unsynced_bytes()

    def maintain(self) -> None:
        """Housekeeping, about once a minute: readers of dead processes, and our own, which keeps pages from reuse."""
        self.check_usable()
        with self.lock:
            self.renew_reader()
            self.requests.trim(self.now_ms())
            self.table.maintain()
        self.slim()

    def slim(self) -> None:
        """Give back the memory that large checkpoints have left: in a pause of writing, and now and then.

        Raises Closed, Forked, StoreDamaged.
        """
        self.check_usable()
        with self.lock, self.counting():
            if not self.table.swollen():
                return
            self.renew_reader()
            self.table.slim()
        give_back()

    def prepare(self) -> None:
        """Make the next journal segment while there is time, so that a full disk is met early.

        Writers go on meanwhile.  Called by one thread.  Raises DiskFull, JournalFailed.
        """
        journal = self._journal
        if journal is None or not journal.wants_spare():
            return
        with self.counting():
            segment = journal.make_spare()
            with self.lock:
                journal.adopt(segment)
