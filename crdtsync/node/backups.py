"""Backups of a node in use: made from it, and merged into it.

A backup makes the node's data public: a node that has had no peer yet founds its cluster with the first one, so that
what a backup holds has names that are good elsewhere.  So does one that takes a backup in: it shares a history then,
and what it would collect for itself alone must never meet others who have that history, too.

A merge first restores the chain into a scratch store inside the node's directory, since only the whole chain has a
clock of its own, and then joins what that store has beyond this node, bucket by bucket.  What the node has seen
already, deletions included, is not touched: merging twice, here or on any other member, is merging once.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from crdtsync.backup.chain import Chain, as_list
from crdtsync.backup.content import Section, Summary
from crdtsync.backup.reading import Backup
from crdtsync.backup.restoring import open_loaded
from crdtsync.backup.writing import Progress, Since, Stream, check_free, write_file
from crdtsync.clocks.vector import covers
from crdtsync.errors import BackupMismatch, CrdtsyncError, MembershipMisuse
from crdtsync.replication.peers import JOINING
from crdtsync.storage.merging import Merged
from crdtsync.storage.store import Store

if TYPE_CHECKING:
    from crdtsync.node.network import Network
    from crdtsync.node.opening import Opened
    from crdtsync.node.sessions import Sessions
    from crdtsync.node.writing import Local

log = logging.getLogger("crdtsync.node")
SCRATCH = ".merging"  # where a chain is restored before it is merged, inside the node's directory
RECEIVED = ".received-"  # begins the name of a directory in there for what is sent to be merged
PathName = str | os.PathLike[str]


class Backups:
    """Backups of one node."""

    def __init__(self, local: Local, sessions: Sessions, opened: Opened, network: Callable[[], Network]) -> None:
        self._local, self._store, self._sessions, self._network = local, local.store, sessions, network
        self._path = None if opened.path is None else Path(opened.path)
        self._merging = threading.Lock()
        if self._path is not None:
            for left in [self._path / SCRATCH, *self._path.glob(f"{RECEIVED}*")]:  # by a process that was killed
                shutil.rmtree(left, ignore_errors=True)

    # -- making

    def stream(self, since: PathName | None, parent: str = "") -> Stream:
        """A backup of this moment as an iterator of bytes."""
        self._local.check()
        try:
            builds_on = self._since(since, parent)
            self._found()
            return Stream(self._store, self._sessions.token_of, builds_on)
        except CrdtsyncError as error:
            raise self._local.refused(error) from None

    def _found(self) -> None:
        """Data that exists elsewhere, or comes from there, needs a cluster: see the module's text."""
        if self._store.cluster() == 0:
            self._network().found()

    def _since(self, since: PathName | None, parent: str) -> Since | None:
        """A path object is that of the parent's file; a string is a token."""
        if since is None or since == "":
            return None
        if isinstance(since, str):
            return Since(self._sessions.read(since), parent)
        with Backup(since) as backup:
            return Since({section.name: section.clock for section in backup.sections}, backup.header.id)

    def write(self, path: PathName, since: PathName | None, force: bool, progress: Progress | None) -> Summary:
        """A backup as a file."""
        try:
            check_free(Path(path), force, None if isinstance(since, str) else since)
            with self.stream(since) as stream:
                summary = write_file(stream, path, force, progress)
        except CrdtsyncError as error:
            raise self._local.refused(error) from None
        log.info("%s: backup %s written: %d rows, %d bytes", self._store.node, summary.id, summary.rows, summary.bytes)
        return summary

    # -- merging

    def merge(self, paths: PathName | Sequence[PathName], progress: Progress | None) -> Merged:
        """Merge a chain into this node."""
        self._local.check()
        try:
            with self._merging, self._scratch() as place:
                chain = Chain(as_list(paths))
                config = msgspec.structs.replace(chain.last.config, durability="os")
                source = open_loaded(chain, place, config, self._watched(progress))
                try:
                    done = self._merge(source, chain.last)
                finally:
                    source.close()
        except CrdtsyncError as error:
            raise self._local.refused(error) from None
        self._local.wait_durable()
        self._store.counters["backups_merged"] += 1
        log.info("%s: backup merged: %s", self._store.node, done)
        return done

    def receive(self) -> tempfile.TemporaryDirectory[str]:
        """An empty directory for files that are to be merged; the next open removes what a kill leaves of it."""
        if self._path is None:
            return tempfile.TemporaryDirectory(prefix="crdtsync-restore-")
        return tempfile.TemporaryDirectory(prefix=RECEIVED, dir=self._path)

    def close(self) -> None:
        """A merge under way stops at its next part; wait for that, as its scratch store goes with it."""
        if self._merging.acquire(timeout=self._local.config.close_timeout):
            self._merging.release()

    def _watched(self, progress: Progress | None) -> Progress:
        """Tells `progress`, and stops when the node is closed meanwhile."""

        def told(done: int, total: int | None) -> None:
            self._local.check_writable()
            if progress is not None:
                progress(done, total)

        return told

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        if self._path is None:
            with tempfile.TemporaryDirectory(prefix="crdtsync-") as place:
                yield Path(place) / SCRATCH
            return
        try:
            yield self._path / SCRATCH
        finally:
            shutil.rmtree(self._path / SCRATCH, ignore_errors=True)

    def _merge(self, source: Store, last: Backup) -> Merged:
        total = Merged()
        for section in last.sections:  # refused before anything has been changed, as far as can be told now
            self._store.check_floor(section.name, section.clock, section.floor)
        self._found()
        for section in last.sections:
            total.add(self._merge_bucket(source, section))
            if self._local.written is not None:
                self._local.written()
        return total

    def _merge_bucket(self, source: Store, section: Section) -> Merged:
        store, config = self._store, self._local.config
        mine = store.clock(section.name)
        if covers(mine, section.clock):
            return Merged()
        answer = source.answer(section.name, mine, config.part_bytes, config.merge_bytes_max)
        if answer is None:
            raise BackupMismatch(
                f"The backup brings more than {config.merge_bytes_max:,} bytes to bucket {section.name!r} at once.",
                hint="Restore it into an empty directory and let that node join, or raise merge_bytes_max.",
                changed="Buckets before it in order may have been merged; merging again does them no harm.",
            )
        staged = [store.stage(section.name, part) for part in answer.parts]
        with store.lock:
            self._check_state()
            return store.merge(section.name, staged, section.clock, section.floor, section.stamp_floor)

    def _check_state(self) -> None:
        """What comes from a backup counts as a write; under the store's lock, where the state cannot change."""
        if self._local.write_refusal is not None:
            raise self._local.write_refusal()
        engine = self._local.engine
        if engine is not None and not engine.writable:
            self._local.check_state(engine.state)
            if engine.state == JOINING:
                raise MembershipMisuse("The node has not joined its cluster to the end yet.")
