"""The store of one replica: opened from a directory or in memory, and the parts put together."""

from __future__ import annotations

import os
import pathlib
import random as chance
from collections.abc import Callable
from typing import Any

from crdtsync.config import Config
from crdtsync.errors import ConfigError, CrdtsyncError
from crdtsync.kernels import wall_ms
from crdtsync.storage import trust
from crdtsync.storage.answering import Answering
from crdtsync.storage.collecting import Collecting
from crdtsync.storage.core import Random, log
from crdtsync.storage.cutting import Cutting
from crdtsync.storage.directory import Directory
from crdtsync.storage.disk import Disk, MemoryDisk
from crdtsync.storage.files import open_disk
from crdtsync.storage.forks import Forks
from crdtsync.storage.journal import Journal
from crdtsync.storage.lmdb_map import LmdbMap
from crdtsync.storage.loading import Loading
from crdtsync.storage.maps import MemoryMap, OrderedMap
from crdtsync.storage.merging import Merging
from crdtsync.storage.replacing import Replacing
from crdtsync.storage.restamping import Restamping
from crdtsync.storage.salvage import salvage

Path = str | os.PathLike[str]


class Store(Replacing, Collecting, Loading, Merging, Restamping, Cutting, Answering):
    """State of one replica.  Any thread may call; meets replication.ports.ReplicaStore."""

    _directory: Directory | None = None

    @classmethod
    def open(
        cls,
        path: Path | None,
        config: Config,
        *,
        disk: Disk | None = None,
        maps: Callable[[], OrderedMap] | None = None,
        random: Random | None = None,
        now_ms: Callable[[], int] | None = None,
    ) -> Store:
        """Open or create the store in a directory; None for memory, or for the seams given.

        Raises StoreInUse, ForeignDirectory, UnsupportedFormat, StoreDamaged, DiskFull, ConfigError.
        """
        directory = Directory(path) if path is not None else None
        table: OrderedMap | None = None
        found: dict[str, int] = {}  # counters of what opening the table brought to light
        try:
            if directory is not None:
                disk = disk or open_disk(directory.journal, config.journal_mapped, each=config.durability == "each")
                table = maps() if maps else _open_table(directory.table, config, found)
            else:
                disk, table = disk or MemoryDisk(), maps() if maps else MemoryMap()
            store = cls(config, disk, table, random or chance.SystemRandom(), now_ms or wall_ms)
            store._directory = directory
            store.counters.update(found)
            store._begin()
        except BaseException:
            if table is not None:
                table.close()
            if directory is not None:
                directory.close()
            raise
        return store

    def _begin(self) -> None:
        """Recover, then make a new start durable before anything is written under it."""
        ending = self.recover()
        self._take_name()
        self.start = max(self.start + 1, self.now_ms())
        at = ending.position
        number = max(ending.last_segment, at.segment) + 1
        size = self.config.segment_bytes
        synced = min(ending.synced, at.record - 1)  # what was replayed may lie in the page cache alone
        self._journal = Journal(self.disk, self.store_id, size, number, at.record, at.seed, synced, self.appended)
        self.writer.tail = self._journal.tail
        try:
            self._meta_dirty = True
            self.checkpoint()
            self.finish_interrupted()
        except BaseException:
            self._journal.close()
            self.renew_reader()
            raise
        text = "%s: store open, start %d, %d journal records replayed"
        log.info(text, self.node, self.start, ending.records, extra={"node": self.node})

    def _take_name(self) -> None:
        """The node's name: the one of the first open, for ever once a peer has heard it."""
        wanted = self.config.name
        if self.node and wanted and wanted != self.node and self.cluster():
            raise ConfigError(
                f"name is {wanted!r}, but the directory belongs to node {self.node!r}.",
                hint="Leave name out, use the certificate of that node, or start the new node from an empty directory.",
            )
        self.node = wanted or self.node or f"node-{self.random.getrandbits(32):08x}"

    def close(self) -> None:
        """Bring the table up to date and let go of everything.  A second call does nothing.

        When the table cannot be written the journal still holds everything that it lacks.
        """
        with self.lock:
            if self._journal is None or self._generation != Forks.generation:
                return
        clean = True
        try:
            self.checkpoint()
        except CrdtsyncError as error:
            clean = False
            log.error("%s: closing without a last checkpoint: %s", self.node, error)
        with self.lock:
            while self._syncing or self._checkpointing:
                self.changed.wait()
            journal, self._journal = self._journal, None
            if journal is not None:
                if not clean:
                    self._last_sync(journal)
                journal.close()
            self._let_go(clean)
            self.changed.notify_all()

    def _last_sync(self, journal: Journal) -> None:
        try:
            journal.cut().sync()
        except (OSError, CrdtsyncError) as error:
            log.error("%s: closing with a journal that is not known to be on the disk: %s", self.node, error)

    def abandon(self) -> None:
        """Let go of everything without writing: what `kill -9` would leave.  For tests of recovery."""
        with self.lock:
            journal, self._journal = self._journal, None
            if journal is not None:
                journal.close()
                self._let_go(clean=False)

    def _let_go(self, clean: bool) -> None:
        self.renew_reader()
        self._gone = True
        self.close_cuts()
        self.table.close()
        if self._directory is not None:
            if clean and isinstance(self.table, LmdbMap):
                trust.note_closed(self._directory.table)
            self._directory.close()

    # -- for people

    def counted(self, bucket: str) -> dict[str, int]:
        """Rows of a bucket in the row table, and how many of them are dead."""
        with self.lock:
            held = self.named.get(bucket)
            return {"rows": 0 if held is None else held.rows, "dead_rows": 0 if held is None else held.dead}

    def stats(self) -> dict[str, Any]:
        """Figures for `status()`: bytes, rows, records, times.  Raises Closed."""
        try:
            free = self.disk.free()
        except OSError:  # the directory is gone, or its file system
            free = 0
        with self.lock:
            self.check_usable()
            buckets = list(self.named.values())
            return {
                "node": self.node,
                "start": self.start,
                "buckets": len(buckets),
                "actors": len(self.actors.ids),
                "rows": sum(bucket.rows for bucket in buckets),
                "dead_rows": sum(bucket.dead for bucket in buckets),
                "dirty_rows": sum(len(bucket.active.rows) for bucket in buckets),
                "dirty_bytes": self.dirty,
                "cache_bytes": sum(bucket.cache.size for bucket in buckets),
                "damaged_rows": sum(len(bucket.damaged) for bucket in buckets),
                "table_bytes": self.table.used(),
                "last_record": self.last_record,
                "synced_record": self.synced_record,
                "unsynced_bytes": self.journal.unsynced_bytes(),
                "checkpoints": self.counters["checkpoints"],
                "checkpoint_seconds": self.checkpoint_times.last,
                "checkpoint_times": self.checkpoint_times.shown(),
                "checkpoint_error": "" if self.checkpoint_error is None else self.checkpoint_error.message,
                "sync_times": self.sync_times.shown(),
                "journal_segments": self.journal.segments(),
                "journal_bytes": self.journal.segments() * self.config.segment_bytes,
                "journal_error": self.journal_failure(),
                "disk_free_bytes": free,
                "conflicts": self.counters["conflicts"],
                "requests": len(self.requests),
                "request_bytes": self.requests.bytes,
                "request_age": self.requests.age(self.now_ms()),
            }


def _open_table(path: pathlib.Path, config: Config, found: dict[str, int]) -> LmdbMap:
    """The table in a directory, verified as far as `verify_on_open` says; a damaged one is salvaged if it may be.

    Raises StoreDamaged, DiskFull.
    """
    verified, problem = trust.find_problem(path, config.verify_on_open)
    if problem and not config.accept_damage:
        raise trust.refuse(path, problem)
    if problem:
        log.error("%s is damaged: %s.", path, problem)
        done = salvage(path)
        found |= {"tables_salvaged": 1, "rows_forgotten": done.forgotten}
    found["tables_verified"] = int(verified)
    table = LmdbMap(path, config.map_bytes)
    trust.note_open(path, verified)
    return table
