"""Loading: a store that nobody uses yet is filled from backups, file by file.

Rows come before the claim that covers them, so in between the store is at no cut; whoever loads keeps its directory
out of use until everything is in.
"""

from __future__ import annotations

from collections.abc import Sequence

from crdtsync.clocks.vector import Clock, covers, join
from crdtsync.datatypes.rows import PackedRows
from crdtsync.errors import BackupMismatch
from crdtsync.kernels import keys_remap, keys_unpack, layer_find
from crdtsync.storage import facts
from crdtsync.storage.bucket import Bucket
from crdtsync.storage.facts import payload_of
from crdtsync.storage.repairing import Repairing
from crdtsync.storage.staging import Staged

SLICE = 2_000  # rows looked at at once


class Loading(Repairing):
    """The part of a store that is filled."""

    def load_rows(self, name: str, staged: Staged, clock: Clock) -> list[bytes]:
        """Take rows of a backup at `clock` in; their keys, with local actor indexes.  Raises DiskFull, JournalFailed.

        Where `clock` covers all that is here they are put in place of what is here: a row may have been removed,
        collected and written again since, and then it says nothing of what was removed.  Else they are joined.
        """
        self.check_usable()
        with self.lock, self.counting():
            self.add_actors(self.actors.unknown(staged.actors))
            bucket = self._loaded(name)
            keys, images = staged.columns(self.actors.index)
            joined = self.joined(bucket, keys, images)
            self.note(bucket, joined)
            if covers(clock, self.clock(name)):
                self._load(bucket, keys, images, layer_find(bucket, keys))
            else:
                self._load(bucket, joined.keys, joined.images, joined.before)
        self._make_room()
        return keys

    def load_kept(self, name: str, start: bytes, until: bytes, kept: PackedRows, written: set[bytes]) -> int:
        """Drop the rows from `start` to below `until` (b"": the end) that are neither kept nor `written`; how many.

        `kept` has been checked.  Raises BackupMismatch when a row that is to be kept is not here; DiskFull,
        JournalFailed.
        """
        self.check_usable()
        with self.lock, self.counting():
            bucket = self._loaded(name)
            wanted = self._wanted(name, kept)
            dropped: dict[bytes, bytes] = {}
            for key, image in self._range(bucket, start, until):
                if key in wanted:
                    wanted.discard(key)
                elif key not in written:
                    dropped[key] = image
            if wanted:
                raise BackupMismatch(f"{len(wanted)} rows of bucket {name!r} are to be kept and are not there.")
            if dropped:
                self._load(bucket, list(dropped), [None] * len(dropped), list(dropped.values()))
        self._make_room()
        return len(dropped)

    def _wanted(self, name: str, kept: PackedRows) -> set[bytes]:
        """Kept keys with local indexes.  Their rows are here, so their actors are known."""
        if self.actors.unknown(kept.actors):
            raise BackupMismatch(f"Rows of bucket {name!r} are to be kept whose actors are not known.")
        keys = keys_unpack(kept.count, kept.keys, len(kept.actors))
        return set(keys_remap(keys, [self.actors.index[actor] for actor in kept.actors]))

    def load_claim(self, name: str, clock: Clock, floor: Clock, stamp_floor: int) -> None:
        """All rows of a bucket are in: it holds these events."""
        self.check_usable()
        with self.lock, self.counting():
            self.add_actors(self.actors.unknown([*clock, *floor]))
            bucket = self._loaded(name)
            self.join(bucket, [], self.actors.inward(clock), self.actors.inward(floor), stamp_floor)
            bucket.table_clock = join(bucket.table_clock, bucket.clock)  # the rows came before the claim

    def _loaded(self, name: str) -> Bucket:
        return self.named.get(name) or self.add_bucket(self.new_bucket(name))

    def _load(
        self, bucket: Bucket, keys: list[bytes], images: Sequence[bytes | None], before: Sequence[bytes | None]
    ) -> None:
        if keys:
            data = payload_of([(keys, images)], facts.ROWS, bucket.number)
            self.journal.append(data)
            bucket.install(keys, images, before)
            self.add_dirty(bucket, len(data), len(keys))

    def _range(self, bucket: Bucket, start: bytes, until: bytes) -> list[tuple[bytes, bytes]]:
        """Rows in a range that holds about one part."""
        found: list[tuple[bytes, bytes]] = []
        while True:
            rows = bucket.scan_rows(b"", start, SLICE)
            inside = [row for row in rows if not until or row[0] < until]
            found += inside
            if len(rows) < SLICE or len(inside) < len(rows):
                return found
            start = rows[-1][0] + b"\0"

    def _make_room(self) -> None:
        if self.dirty > self.config.checkpoint_bytes:
            self.checkpoint()
