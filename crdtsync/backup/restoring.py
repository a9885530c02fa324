"""Restoring a chain of backups into an empty directory.

The store that comes out has the rows and the clock of the last cut, and nothing else of its source: a name, a store id
and, with its first write, an actor of its own.  So no dot is used twice, whatever became of the source.

By default it belongs to the cluster of the backup without being a member: it is a joiner, which writes nothing and
forgets nothing before a member has let it in (`join=`).  If it turns out to lie below the cluster's floor, it
starts over by the rules, and nothing returns from the dead.  With `new_cluster` it is the first member of a cluster of
its own, which the old one refuses to talk to.  It must be one of the two: a store that went on writing and collecting
for itself, and then met its old cluster under the same id, would have forgotten deletions that nobody else has seen.

The store is built in a directory inside the target, and takes its place at the end, its marker last.  Until then the
target is not a store, and a crash leaves something that nobody opens by mistake and that the next restore clears away.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path as FilePath

import msgspec

from crdtsync.backup.chain import Chain, Path, as_list
from crdtsync.backup.content import Summary
from crdtsync.backup.reading import Backup, Rows
from crdtsync.backup.writing import Progress
from crdtsync.clocks.members import JOINING, MEMBER, MemberRecord
from crdtsync.config import Config
from crdtsync.datatypes.keys import BUCKET_MAX, check_name
from crdtsync.errors import BackupMismatch, FileThere
from crdtsync.storage.directory import LOCK, MARKER, TABLE, check_marker, check_path, lock_file, make_directory
from crdtsync.storage.files import full_disk, sync_directory
from crdtsync.storage.store import Store
from crdtsync.storage.trust import NOTE

STAGE = ".restoring"  # where the store is built, inside the target


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What a restore made."""

    node: str  # name of the restored node
    cluster: int  # that it belongs to
    rows: int
    backup: Summary  # the last of the chain
    members: list[str]  # addresses of members of the backup's cluster, as they were then


def restore(
    paths: Path | Sequence[Path],
    directory: Path,
    *,
    name: str = "",
    new_cluster: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> Restored:
    """Make a store in `directory` from a full backup and those that build on it; see the module's text.

    `name` is the node's name (empty: one is minted).  `force` replaces a closed crdtsync store that is there, never
    anything else.  `progress` is told bytes read and in all of the file at hand.  Raises FileThere, BackupMismatch,
    BackupDamaged, UnsupportedFormat, StoreInUse, ForeignDirectory, InvalidKey, DiskFull, OSError.
    """
    if name:
        check_name(name, "A node name", BUCKET_MAX)
    target = check_path(directory)
    with ExitStack() as held:
        chain = Chain(as_list(paths))
        make_directory(target)
        fresh = not (target / LOCK).exists()
        held.callback(_let_go, target, lock_file(target / LOCK), fresh)
        _prepare(target, force)
        stage = target / STAGE
        held.callback(shutil.rmtree, stage, ignore_errors=True)
        restored = _build(chain, stage, name, new_cluster, progress)
        with full_disk(str(target)):
            _put_in_place(stage, target)
    return restored


def _let_go(target: FilePath, lock: int, fresh: bool) -> None:
    """The lock kept others out; a `fresh` one goes where no store has come of it."""
    if fresh and not (target / MARKER).exists():
        (target / LOCK).unlink(missing_ok=True)
    os.close(lock)


def _prepare(target: FilePath, force: bool) -> None:
    """Refuse a target that holds something; `force` gives up a store."""
    if (target / STAGE).is_dir():
        _clear_interrupted(target)
        shutil.rmtree(target / STAGE, ignore_errors=True)
    others = sorted(entry.name for entry in os.scandir(target) if entry.name != LOCK)
    if others and not force:
        raise FileThere(f"{target} is not empty: it holds {others[0]!r}.")
    if others:
        check_marker(target)  # raises ForeignDirectory: what is no store is not overwritten even so


def _clear_interrupted(target: FilePath) -> None:
    """What a restore left that was interrupted while it put the parts of its store in place: no marker yet."""
    names = {entry.name for entry in os.scandir(target)}
    if MARKER not in names and names <= {STAGE, TABLE, f"{TABLE}-lock", NOTE, "journal", LOCK}:
        _clear(target)


def _clear(target: FilePath) -> None:
    for entry in list(os.scandir(target)):
        if entry.name in (STAGE, LOCK):
            continue
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def _put_in_place(stage: FilePath, target: FilePath) -> None:
    """The marker goes first and comes last: in between there is no store."""
    (target / MARKER).unlink(missing_ok=True)
    sync_directory(target)
    _clear(target)
    for entry in sorted(entry.name for entry in os.scandir(stage)):
        if entry not in (MARKER, LOCK, f"{TABLE}-lock"):
            os.replace(stage / entry, target / entry)
    sync_directory(target)
    os.replace(stage / MARKER, target / MARKER)
    sync_directory(target)


def _build(chain: Chain, stage: FilePath, name: str, new_cluster: bool, progress: Progress | None) -> Restored:
    header = chain.last.header
    config = msgspec.structs.replace(chain.last.config, name=name, durability="os")
    store = open_loaded(chain, stage, config, progress)
    try:
        _belong(store, header.cluster, new_cluster)
        rows = sum(bucket.count() for bucket in store.named.values())
        return Restored(
            node=store.node,
            cluster=store.cluster(),
            rows=rows,
            backup=chain.last.summary(),
            members=[address for _, state, address in header.members if state == MEMBER and address],
        )
    finally:
        store.close()


def open_loaded(chain: Chain, path: Path, config: Config, progress: Progress | None) -> Store:
    """A new store in an empty directory, filled from the chain; it belongs to no cluster yet."""
    store = Store.open(path, config)
    try:
        for backup in chain.backups:
            with backup:
                load(store, backup, progress)
        _check_digests(store, chain.last)
    except BaseException:
        store.close()
        raise
    return store


def load(store: Store, backup: Backup, progress: Progress | None) -> None:
    """Bring a store that nobody uses from what a backup builds on to what it holds."""
    sections = backup.sections
    starts = [b""] * len(sections)  # where the stretch at hand begins
    written: set[bytes] = set()  # keys of rows since it began
    for part in backup.parts():
        section = sections[part.section]
        if isinstance(part, Rows):
            keys = store.load_rows(section.name, part.staged, section.clock)
            written.update(keys if section.kept else ())
        else:
            store.load_kept(section.name, starts[part.section], part.until, part.keys, written)
            starts[part.section] = part.until
            written = set()
        if progress is not None:
            progress(backup.offset, backup.bytes)
    for section in sections:
        store.load_claim(section.name, section.clock, section.floor, section.stamp_floor)


def _check_digests(store: Store, backup: Backup) -> None:
    """The rows now mean what they meant at the source."""
    for section in backup.sections:
        bucket = store.bucket(section.name)
        if section.digest is not None and bucket is not None:
            digest = bucket.digest().to_bytes(16, "big")
            if digest != section.digest:
                raise BackupMismatch(f"The rows of bucket {section.name!r} do not make the digest of {backup.path}.")


def _belong(store: Store, cluster: int, new_cluster: bool) -> None:
    """A joiner of its old cluster, or the first member of a new one."""
    store.publish(store.random.getrandbits(64) | 1 if new_cluster else cluster)
    state = MEMBER if new_cluster else JOINING
    store.put_members([MemberRecord(node=store.node, epoch=1, state=state, start=store.start)])
