"""Merging: rows of a backup joined into a bucket in use, with the backup's clock as the claim.

A backup is a cut of some replica, so it merges as a transfer does, rows and claim together.  It differs from a
replica in that it cannot start over, so what a transfer would refuse is decided here:

- Deletions that the backup's source had collected and that were never seen here (its floor lies beyond our clock) could
  not be told to anybody: refused, unless nobody else is in the cluster and the bucket is empty.
- Deletions collected here that the backup has not seen: a row that is absent here, with an event that was never seen
  here, is ambiguous in two kinds, and a new event of ours settles them for everybody.  A counter cell of which some
  part was seen and deleted is deleted again, as nobody can tell how much of it that was.  A register at or below the
  stamp floor is written again above it: below, one member could take it and another not.
"""

from __future__ import annotations

import msgspec

from crdtsync.clocks.members import counted
from crdtsync.clocks.vector import Clock, covers
from crdtsync.datatypes.rows import Row
from crdtsync.errors import BackupMismatch
from crdtsync.kernels import CELL, LATEST, cell_reset, latest_set, row_cell, row_dead, row_kind, row_latest
from crdtsync.storage.bucket import Bucket
from crdtsync.storage.receiving import Receiving
from crdtsync.storage.serving import refuse_damaged
from crdtsync.storage.staging import Staged


class Merged(msgspec.Struct):
    """What merging a backup did."""

    rows: int = 0  # that changed
    conflicts: int = 0  # LWW registers where neither side had seen the other's write
    rewritten: int = 0  # registers written again, above the stamp floor
    deleted: int = 0  # counter cells that had been deleted here and were deleted again

    def add(self, other: Merged) -> None:
        """Count another bucket in."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Merging(Receiving):
    """The part of a store that takes in backups."""

    def merge(self, name: str, staged: list[Staged], clock: Clock, floor: Clock, stamp_floor: int) -> Merged:
        """Join what a backup holds of a bucket beyond our clock, at once or not at all.

        `staged`: all rows with a maximal event beyond the clock that we have, or had when they were gathered.  Raises
        BackupMismatch, BadTransfer, RowDamaged, DiskFull, JournalFailed, ValueTooLarge.
        """
        self.check_usable()
        with self.lock, self.counting():
            mine = self.clock(name)
            if covers(mine, clock):
                return Merged()
            self.check_claim(name, staged, clock, floor, stamp_floor)
            inherited = self.check_floor(name, clock, floor)
            most = self.config.actors_per_part_max
            if len(mine.keys() | clock.keys()) > most:
                raise BackupMismatch(f"The backup brings the actors of bucket {name!r} beyond {most}.")
            with self.trying_actors(self.actors.unknown(clock)):
                rows = self.local_rows(staged)
                bucket = self.named.get(name) or self.add_bucket(self.new_bucket(name))
                refuse_damaged(bucket)
                claim = self.actors.inward(clock)
                done = Merged()
                if not covers(clock, self.floor(name)):
                    rows = self._settled(bucket, rows, claim, done)
                low = self.actors.inward(floor) if inherited else {}
                applied = self.join(bucket, rows, claim, low, stamp_floor if inherited else 0, True)
            done.rows, done.conflicts = applied.rows, applied.conflicts
            return done

    def check_floor(self, name: str, clock: Clock, floor: Clock) -> bool:
        """Whether a merge takes the floor over, as whoever starts from a state does; else ours is enough.

        Raises BackupMismatch when it could do neither.
        """
        mine = self.clock(name)
        if covers(mine, floor) or covers(mine, clock):
            return False
        # RULE: nobody falls below a floor that a backup brings
        if mine or set(counted(self.members())) - {self.node}:
            raise BackupMismatch(
                f"The backup knows of deletions in bucket {name!r} that this cluster has never seen.",
                hint="It is of another cluster, or of a branch of this one: restore it into a directory of its own.",
            )
        return True

    def _settled(self, bucket: Bucket, rows: list[Row], claim: Clock, done: Merged) -> list[Row]:
        """The rows, with an event of our own on those that are ambiguous; `claim` gets these events, too."""
        settled = []
        for key, image in rows:
            if not self._is_ambiguous(bucket, key, image):
                settled.append((key, image))
                continue
            actor = self._event_actor()
            seq = claim[actor] = max(claim.get(actor, 0), bucket.clock.get(actor, 0)) + 1
            if row_kind(image) == CELL:
                done.deleted += 1
                settled.append((key, cell_reset(image, actor, seq)))
            else:
                done.rewritten += 1
                stamp, _, _, value, expiry = row_latest(image)
                stamp = self.hybrid.stamp(max(stamp, bucket.stamp_floor))
                settled.append((key, latest_set(image, actor, seq, stamp, value, expiry)))
        return settled

    def _is_ambiguous(self, bucket: Bucket, key: bytes, image: bytes) -> bool:
        kind = row_kind(image)
        if kind not in (CELL, LATEST) or row_dead(image) or bucket.get(key) is not None:
            return False
        if kind == CELL:
            owner, start, seq, *_ = row_cell(image)
            return start <= bucket.clock.get(owner, 0) < seq
        stamp, actor, seq, _, _ = row_latest(image)
        return seq > bucket.clock.get(actor, 0) and stamp <= bucket.stamp_floor

    def _event_actor(self) -> int:
        """Index of the actor of this start, which an event of ours is written under."""
        index = self._writer()
        if index != self._own:
            self.keep_actors()
            index = self._writer()
            self._settle_writer(index)
        return index
