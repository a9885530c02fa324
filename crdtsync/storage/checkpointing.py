"""Checkpoints of a store: freeze under the lock, write without it, then let go of what the table now holds."""

from __future__ import annotations

import time

from crdtsync.clocks.vector import join
from crdtsync.errors import CrdtsyncError, TableFailed
from crdtsync.kernels import NUMBER
from crdtsync.storage.bucket import DROPPED, Bucket
from crdtsync.storage.checkpoint import Frozen, Tally, drop_some, freeze, write_bucket, write_record
from crdtsync.storage.core import Core
from crdtsync.storage.facts import members_flat
from crdtsync.storage.maps import Changes
from crdtsync.storage.records import Position
from crdtsync.storage.requests import Mark, Unsaved
from crdtsync.storage.table import ACTORS, META, encode_meta

IDENTITY, POSITION, MEMBERS = b"identity", b"position", b"members"


class Checkpointing(Core):
    """The part of a store that writes checkpoints."""

    _cut: list[Frozen]
    _cut_position: Position
    _cut_record: int
    _cut_requests: Mark

    def checkpoint(self) -> bool:
        """Bring the row table up to this moment; False when there was nothing to write.

        Raises DiskFull, TableFailed: then the journal still holds everything, and the next call tries again.
        """
        self.check_usable()
        with self.lock:
            while self._checkpointing:
                self.changed.wait()
            retried = any(bucket.frozen is not None for bucket in self.numbered.values())
            if not (retried or self.is_dirty()):
                return False
            self._checkpointing = True
        done = False
        try:
            if retried:  # the cut that could not be written; what came since follows in a second one
                self._checkpoint(renewed=False)
            self._checkpoint(renewed=True)
            done = True
        except CrdtsyncError as error:
            self.checkpoint_error = error
            self.refused(error)
            raise
        finally:
            with self.lock:
                self._checkpointing = False
                self._meta_dirty |= not done  # members, actors and the position have still to be written
                self.changed.notify_all()
        return True

    def is_dirty(self) -> bool:
        """Whether a checkpoint has something to write."""
        return (
            self._meta_dirty
            or self.requests.is_dirty()
            or any(bucket.is_dirty() or bucket.state == DROPPED for bucket in self.numbered.values())
        )

    def _checkpoint(self, renewed: bool) -> None:
        began = time.perf_counter()
        changes = Changes()
        with self.lock:
            if renewed:
                self._cut_position = self.journal.position()
                self._cut_record = self.journal.last
                self._cut_requests = self.requests.mark()
                self._cut = [freeze(b) for b in self.numbered.values() if b.is_dirty() and b.state != DROPPED]
            cut, position, record = self._cut, self._cut_position, self._cut_record
            self.renew_reader()
            size = sum(frozen.layer.size for frozen in cut)
            if self.table.must_grow(size):
                self.give_way()
            self.table.reserve(size)
            saved_actors = self._write_meta(changes, position)
            self._meta_dirty = False
            requests = self.requests.unsaved(self._cut_requests)
            dropped = [b for b in self.numbered.values() if b.state == DROPPED] if renewed else []
        requests.write(changes)
        done = self._write_buckets(cut, changes)
        gone = self._drop(dropped, changes)
        try:
            self.table.commit(changes)
        except OSError as error:
            raise TableFailed(f"The row table cannot be written: {error}.") from error
        with self.lock:
            self._settle(done, position, record)
            self._settle_requests(requests)
            self._saved_actors = saved_actors
            for bucket in gone:
                self.numbered.pop(bucket.number, None)
        self.counters["checkpoints"] += 1
        self.checkpoint_times.add(time.perf_counter() - began)

    def give_way(self) -> None:
        """The table has to grow, which it cannot while a snapshot of it is open: writers go before readers."""

    def _write_buckets(self, cut: list[Frozen], changes: Changes) -> list[tuple[Frozen, Tally]]:
        done = []
        for frozen in cut:
            tally = write_bucket(frozen, changes)
            write_record(frozen, tally, frozen.bucket.fold_frozen(tally.digest), changes)
            done.append((frozen, tally))
        return done

    def _drop(self, dropped: list[Bucket], changes: Changes) -> list[Bucket]:
        if not dropped:
            return []
        snapshot = self.table.snapshot()
        try:
            return [bucket for bucket in dropped if drop_some(bucket, snapshot, changes)]
        finally:
            snapshot.close()

    def _write_meta(self, changes: Changes, position: Position) -> int:
        """Identity, members, new actors and the journal position; under the lock, as of the cut."""
        identity = [self.node, self.store_id, self.cluster_id, self.start, self.actors.ids[0]]
        members = members_flat([self.member_records[name] for name in sorted(self.member_records)])
        for key, value in ((IDENTITY, identity), (POSITION, list(position)), (MEMBERS, members)):
            changes.put(META, [(key, encode_meta(key, value))])
        ids = self.actors.ids
        for index in range(self._saved_actors, len(ids)):
            key = NUMBER.pack(index)
            changes.put(ACTORS, [(key, encode_meta(key, ids[index]))])
        return len(ids)

    def _settle_requests(self, written: Unsaved) -> None:
        self.requests.saved(written)
        self.dirty -= written.cut.size

    def _settle(self, done: list[tuple[Frozen, Tally]], position: Position, record: int) -> None:
        """The commit is durable: drop the frozen layers and the journal before the cut."""
        self.renew_reader()
        self.checkpoint_error = None
        for frozen, tally in done:
            bucket = frozen.bucket
            self.dirty -= frozen.layer.size
            bucket.rows += tally.rows
            bucket.dead += tally.dead
            bucket.table_dirty = True
            bucket.table_clock = join(bucket.table_clock, frozen.clock)
            bucket.synced = join(bucket.synced, frozen.clock)
            bucket.melt(tally.size)
        while self._syncing:  # a sync may be under way on the segments that go
            self.changed.wait()
        self._cut = []  # its layers are large
        self._position = position
        self.journal.settle_until(record)
        self.journal.release(position)
        self.changed.notify_all()
