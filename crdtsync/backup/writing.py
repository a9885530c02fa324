"""Writing a backup: a cut of an open store as a stream of bytes, and that stream as a file.

Memory holds one part at a time.  Writers of the store go on; see storage/cutting.py for what a cut costs.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from crdtsync import __version__
from crdtsync.backup import content, records
from crdtsync.backup.content import Header, Section, Summary, flat
from crdtsync.clocks.vector import Clock, covers
from crdtsync.datatypes.keys import after_object, object_prefix
from crdtsync.datatypes.rows import PackedRows, Row
from crdtsync.errors import BackupMismatch, FileThere, MembershipMisuse, StartingOver
from crdtsync.kernels import CELL, row_kind, row_log_dots
from crdtsync.storage import whole
from crdtsync.storage.cutting import CutBucket
from crdtsync.storage.store import Store

Clocks = dict[str, Clock]  # bucket -> {actor id: seq}
Progress = Callable[[int, int | None], None]  # rows read so far, and in all as far as that is known


class Since(NamedTuple):
    """What a backup builds on: clocks by bucket, and the id of the backup that held them ("": not known)."""

    clocks: Clocks
    parent: str = ""


class Stream(Iterator[bytes]):
    """The bytes of one backup, piece by piece, from the state of the moment it was made.

    Iterate to the end and then look at `summary`; `close` gives it up (or use `with`).  One thread at a time.
    """

    def __init__(self, store: Store, token: Callable[[Clocks], str], since: Since | None = None) -> None:
        """`store` belongs to a cluster.  `token` makes a token of clocks.

        Raises BackupMismatch for a `since` that the store does not hold, StartingOver, and what Store.cut raises.
        """
        self._store, self._cut = store, store.cut()
        try:
            self._check_whole()
            self.sections = self._contents(since)
            self._header = self._make_header(token, since)
        except BaseException:
            self._cut.close()
            raise
        self._framer = records.Framer()
        self.rows = self.kept = self.looked_at = 0
        self.summary: Summary | None = None
        self._pieces = self._make()

    def _check_whole(self) -> None:
        """A node that is getting in holds some buckets and not others."""
        state = next((record.state for record in self._cut.members if record.node == self._store.node), "member")
        if state == "evicted":
            raise StartingOver("The node takes the cluster's state anew: it has no state of its own to back up.")
        if state == "joining":
            raise MembershipMisuse("The node has not joined its cluster to the end yet.", hint="Back up a member.")

    def _contents(self, since: Since | None) -> list[Section]:
        clocks: dict[str, Clock] = {} if since is None else {name: c for name, c in since.clocks.items() if c}
        held = {bucket.name: bucket.clock for bucket in self._cut.buckets}
        for name, clock in clocks.items():
            if not covers(held.get(name, {}), clock):
                raise BackupMismatch(
                    f"Bucket {name!r} lacks events that the backup to build on holds.",
                    hint="Make a full backup, or back up a node that has caught up with it.",
                )
        return [_section(bucket, clocks.get(bucket.name, {}), since is not None) for bucket in self._cut.buckets]

    def _make_header(self, token: Callable[[Clocks], str], since: Since | None) -> Header:
        store = self._store
        return Header(
            id=secrets.token_hex(16),
            created=store.now_ms(),
            cluster=store.cluster(),
            node=store.node,
            members=[(record.node, record.state, record.address) for record in self._cut.members],
            token=token({bucket.name: bucket.clock for bucket in self._cut.buckets}),
            parent="" if since is None else since.parent,
            settings=store.config.cluster,
            actors_max=store.config.actors_per_part_max,
            version=__version__,
        )

    @property
    def total(self) -> int | None:
        """How many rows will be looked at; None when only the log knows."""
        full = all(section.kept or not section.flat_base for section in self.sections)
        return sum(section.rows for section in self.sections) if full else None

    # -- the pieces

    def __next__(self) -> bytes:
        return next(self._pieces)

    def _make(self) -> Generator[bytes, None, None]:
        with contextlib.closing(self._cut), self._store.counting():
            framer = self._framer
            yield records.MAGIC + framer.record(records.HEADER, content.encode(self._header))
            yield framer.record(records.CONTENTS, content.encode(self.sections))
            for number, bucket in enumerate(self._cut.buckets):
                yield from self._bucket(number, bucket)
            end = content.EndRecord(framer.records, self.rows, self.kept, framer.digest())
            yield framer.record(records.END, content.encode(end))
            self.summary = self._summarize()
            self._store.counters["backups_made"] += 1

    def _bucket(self, number: int, bucket: CutBucket) -> Iterator[bytes]:
        section = self.sections[number]
        if section.kept:
            yield from self._stretches(number, bucket, section.base)
            return
        rows = self._cut.rows_beyond(bucket, section.base) if section.flat_base else self._cut.rows(bucket)
        part: list[Row] = []
        size = 0
        for row in rows:
            part.append(row)
            size += len(row[0]) + len(row[1])
            if size >= self._store.config.part_bytes:
                yield from self._rows(number, part)
                part, size = [], 0
        yield from self._rows(number, part)

    def _stretches(self, number: int, bucket: CutBucket, base: Clock) -> Iterator[bytes]:
        """Rows and kept keys in key order; a stretch does not end between cells of one counter."""
        known = self._store.actors.inward(base)
        rows: list[Row] = []
        kept: list[Row] = []
        size, until = 0, b""
        for row in self._cut.rows(bucket):
            if size >= self._store.config.part_bytes and row[0] >= until:
                yield from self._stretch(number, rows, kept, until)
                rows, kept, size = [], [], 0
            key, image = row
            beyond = any(seq > known.get(actor, 0) for actor, seq in row_log_dots(image))
            (rows if beyond else kept).append(row)
            size += len(key) + len(image) if beyond else len(key)
            until = after_object(object_prefix(key)) if row_kind(image) == CELL else key + b"\0"
        yield from self._stretch(number, rows, kept, b"")

    def _stretch(self, number: int, rows: list[Row], kept: list[Row], until: bytes) -> Iterator[bytes]:
        yield from self._rows(number, rows)
        keys = self._store.packed_keys([key for key, _ in kept])
        self.kept += keys.count
        self.looked_at += keys.count
        record = content.KeptRecord(number, until, list(keys.actors), keys.count, keys.keys)
        yield self._framer.record(records.KEPT, content.encode(record))

    def _rows(self, number: int, rows: list[Row]) -> Iterator[bytes]:
        for part in self._store.packed_parts(rows):
            self.rows += part.count
            self.looked_at += part.count
            yield self._framer.record(records.ROWS, content.encode(_rows_record(number, part)))

    def _summarize(self) -> Summary:
        header = self._header
        return Summary(
            id=header.id, parent=header.parent, cluster=header.cluster, node=header.node, created=header.created,
            token=header.token, incremental=any(section.flat_base for section in self.sections),
            buckets=len(self.sections), rows=self.rows, kept=self.kept, bytes=self._framer.bytes,
        )  # fmt: skip

    # -- the end

    def close(self) -> None:
        """Give the backup up, or let go of one that is complete.  A second call does nothing."""
        self._pieces.close()
        self._cut.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _section(bucket: CutBucket, base: Clock, follows: bool) -> Section:
    """What the backup says of a bucket; `follows`: it builds on another, whose `base` may be empty for this bucket."""
    # A row that was live at `base`, or that a backup between the two holds, can be gone only if its removal, which
    # `base` does not hold, was collected here.
    gone = follows and not covers(base, bucket.floor)
    digest = None if bucket.digest is None else bucket.digest.to_bytes(16, "big")
    return Section(
        bucket.name, flat(base), flat(bucket.clock), flat(bucket.floor), bucket.stamp_floor, digest, bucket.rows, gone
    )


def _rows_record(number: int, part: PackedRows) -> content.RowsRecord:
    return content.RowsRecord(number, list(part.actors), part.count, part.keys, part.images)


def write_file(
    stream: Stream,
    path: str | os.PathLike[str],
    force: bool,
    progress: Progress | None,
    check: Callable[[Path], None] = lambda partial: None,
) -> Summary:
    """Write a backup to `path`; see `write_pieces`.  Raises what reading the cut raises, too."""

    def told() -> Iterator[bytes]:
        for piece in stream:
            yield piece
            if progress is not None:
                progress(stream.looked_at, stream.total)

    write_pieces(told(), path, force, check)
    assert stream.summary is not None, "the stream has been read to its end"
    return stream.summary


def write_pieces(
    pieces: Iterable[bytes],
    path: str | os.PathLike[str],
    force: bool,
    check: Callable[[Path], None] = lambda partial: None,
) -> None:
    """Write pieces to `path`: whole, durable and under that name, or not at all.

    `check` may refuse the complete file, under its temporary name, by raising.  Raises FileThere without `force`,
    DiskFull, OSError.
    """
    target = Path(path)
    check_free(target, force)
    whole.write_whole(target, force, lambda file: file.writelines(pieces), check)


def check_free(target: Path, force: bool, parent: str | os.PathLike[str] | None = None) -> None:
    """Raise FileThere when something is at `target`, which `force` does not overwrite or may not.

    `parent` is the file of the backup to build on: without it the new one could not be restored.
    """
    whole.check_free(target, force)
    if parent is not None and os.path.exists(target) and os.path.samefile(target, parent):
        raise FileThere(f"{target} is the backup that the new one is to build on.", hint="Choose another place.")
