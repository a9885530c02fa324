"""The ordered map on LMDB: one file, engine 0.9, every commit fully synced."""

from __future__ import annotations

import contextlib
import os
import struct
import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from itertools import islice, repeat
from pathlib import Path
from typing import Any, cast

import lmdb

from crdtsync.errors import DiskFull, StoreDamaged, TableFailed
from crdtsync.kernels import Entries
from crdtsync.storage.files import sync_directory
from crdtsync.storage.forks import Forks, check_fork
from crdtsync.storage.maps import Changes, Snapshot
from crdtsync.storage.trust import first_problem

DATABASES = 16
READERS = 512
SWOLLEN = 10_000  # entries of a commit, each on a page of its own at worst, beyond which it is worth giving pages back
AHEAD = 256  # pairs that a range reads at once, at most
GROW_AT = 0.8  # share of the map in use at which it is doubled: even deletes need free pages
GROW_SOON, GROW_NOW = 0.05, 1.0  # s that growing waits for snapshots to be closed, and writers with it; when it is full
PAGES_PER_BYTE = 4  # bytes of pages, about, that a commit touches for each byte that it puts
HEADROOM = 4 << 20
ROOM_FOR_ERRORS = 4 << 20  # free bytes below which an I/O error of LMDB is taken for a full disk
META = struct.Struct("<IIQQ")  # magic, version, address, map size: what follows the page header of a meta page
PAGE_HEADER, MAGIC, DATA_VERSION = 16, 0xBEEFC0DE, 1
PAGE_SIZES = frozenset(1 << n for n in range(9, 17))
LAST_PAGE, PAGE_SIZE, TXNID = PAGE_HEADER + 24 + 96, PAGE_HEADER + 24, PAGE_HEADER + 24 + 104


class LmdbMap:
    """An OrderedMap in one LMDB file.  Snapshots and commits may run on any thread; commits one after another."""

    def __init__(self, path: str | os.PathLike[str], map_bytes: int) -> None:
        """Open or create.  Raises StoreDamaged for a file that LMDB would not survive, DiskFull, TableFailed."""
        self.path = os.fspath(path)
        check_file(self.path)
        check_access(self.path)
        self._generation = Forks.generation
        self._writing = threading.Lock()
        self._counting = threading.Condition()
        self._open_snapshots, self._short, self._swollen = 0, False, False
        if not os.path.exists(self.path):
            self._create(map_bytes)
        self._map_bytes = map_bytes
        self._opened: lmdb.Environment | None = None
        self._databases: dict[str, Any] = {}
        self._renew()

    @property
    def _env(self) -> lmdb.Environment:
        """The open environment.  Raises StoreDamaged when `slim` could not open it again, and it still cannot be."""
        with self._counting:
            return self._renew() if self._opened is None else self._opened

    def _renew(self) -> lmdb.Environment:
        env = self._open(self.path, self._map_bytes)
        try:
            self._databases = existing(env)
        except lmdb.Error as error:
            env.close()
            raise unreadable(self.path, error) from error
        env.reader_check()
        self._opened = env
        return env

    def _create(self, map_bytes: int) -> None:
        """Make the file whole before it gets its name, and the name durable before anything is promised.

        LMDB syncs neither its first pages nor the directory, so a power cut could leave half a file, or none.
        """
        fresh = f"{self.path}.new"
        for leftover in (fresh, f"{fresh}-lock"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(leftover)
        env = self._open(fresh, map_bytes)
        try:
            env.sync(True)
        except lmdb.Error as error:
            raise self._fault(error) from error
        finally:
            env.close()
        os.unlink(f"{fresh}-lock")
        os.replace(fresh, self.path)
        sync_directory(os.path.dirname(self.path) or ".")

    def _open(self, path: str, map_bytes: int) -> lmdb.Environment:
        existing = os.path.exists(path)
        while True:
            try:
                return lmdb.open(
                    path, subdir=False, map_size=map_bytes, max_dbs=DATABASES, max_readers=READERS, mode=0o600,
                    metasync=True, sync=True, writemap=False, readahead=False, meminit=False,
                )  # fmt: skip
            except lmdb.MemoryError:
                if map_bytes <= 1 << 30:  # an address space limit: a smaller reserve, grown later
                    raise
                map_bytes //= 2
            except lmdb.Error as error:
                if existing:
                    raise StoreDamaged(f"LMDB cannot open {path}: {error}.") from error
                raise self._fault(error) from error

    def snapshot(self) -> Snapshot:
        check_fork(self._generation)
        with self._counting:
            self._open_snapshots += 1
        try:
            return LmdbSnapshot(self, self._env.begin(buffers=False), dict(self._databases))
        except lmdb.Error as error:
            self.forget()
            raise self._fault(error) from error

    def forget(self) -> None:
        """A snapshot was closed."""
        with self._counting:
            self._open_snapshots -= 1
            self._counting.notify_all()

    def commit(self, changes: Changes) -> None:
        check_fork(self._generation)
        with self._writing:
            try:
                self._commit(changes)
            except lmdb.MapFullError as error:
                self._short = True  # the next `reserve` doubles the map, whatever it is asked for
                raise self._fault(error) from error
            except lmdb.Error as error:
                raise self._fault(error) from error
            finally:
                self._swollen |= changes.entries() > SWOLLEN

    def _commit(self, changes: Changes) -> None:
        for name, entries in changes.puts.items():
            entries.sort()
            if len(entries) and name not in self._databases:
                self._databases[name] = self._env.open_db(name.encode(), create=True)
        with self._env.begin(write=True) as txn:
            for name, gone in changes.deletes.items():
                handle = self._databases.get(name)
                if handle is not None:
                    gone.sort()
                    deque(map(txn.delete, gone, repeat(b""), repeat(handle)), maxlen=0)
            for name, entries in changes.puts.items():
                if len(entries):
                    with txn.cursor(self._databases[name]) as cursor:
                        _put(cursor, entries)

    def reserve(self, size: int) -> None:
        """Grow the map when a commit of `size` bytes might pass four fifths of it.

        The map moves when it grows, so this waits until no transaction is open, and leaves it for later in vain.
        """
        if not self.must_grow(size):
            return
        needed = self._needed(size)
        with self._counting:  # which keeps it open
            room = int(self._env.info()["map_size"])
        patience = GROW_NOW if self._short else GROW_SOON
        while needed >= GROW_AT * room or self._short:
            room, self._short = 2 * room, False
        with self._writing, self._counting:
            if self._counting.wait_for(lambda: self._open_snapshots == 0, timeout=patience):
                self._env.set_mapsize(room)
                self._map_bytes = room

    def must_grow(self, size: int) -> bool:
        """Whether a commit of `size` bytes might pass four fifths of the map, or the last one has filled it."""
        with self._counting:
            return self._short or self._needed(size) >= GROW_AT * int(self._env.info()["map_size"])

    def _needed(self, size: int) -> int:
        return self.used() + PAGES_PER_BYTE * size + HEADROOM

    def _fault(self, error: lmdb.Error) -> DiskFull | TableFailed:
        with contextlib.suppress(OSError):
            stat = os.statvfs(os.path.dirname(self.path) or ".")
            if isinstance(error, lmdb.MapFullError) or stat.f_bavail * stat.f_frsize < ROOM_FOR_ERRORS:
                return DiskFull(f"There is no room for the row table {self.path} ({error}).")
        return TableFailed(f"The row table {self.path} cannot be used: {error}.")

    def maintain(self) -> None:
        self._env.reader_check()

    def swollen(self) -> bool:
        return self._swollen

    def slim(self) -> None:
        """Open the file anew: until it is closed, LMDB keeps the pages of its largest commit, up to half a gigabyte."""
        check_fork(self._generation)
        if not self._writing.acquire(blocking=False):  # a commit, which may take its time, and leaves as much again
            return
        try:
            with self._counting:
                if self._open_snapshots == 0 and self._opened is not None:
                    self._opened.close()
                    self._opened, self._swollen = None, False
                    self._renew()
        finally:
            self._writing.release()

    def used(self) -> int:
        with self._counting:  # which keeps it open
            return int(self._env.info()["last_pgno"] + 1) * int(self._env.stat()["psize"])

    def forked(self) -> bool:
        """Whether this process is a child of the one that opened the map."""
        return self._generation != Forks.generation

    def close(self) -> None:
        if not self.forked() and self._opened is not None:
            self._opened.close()


def existing(env: lmdb.Environment) -> dict[str, Any]:
    """Handles of the databases in the file."""
    with env.begin() as txn, txn.cursor() as cursor:
        names = [bytes(key) for key in cursor.iternext(values=False)]
    return {name.decode(): env.open_db(name, create=False) for name in names}


def _put(cursor: lmdb.Cursor, entries: Entries) -> None:
    """Put sorted entries.  Those beyond the last key are appended, which leaves no page of theirs half empty."""
    beyond = entries.after(bytes(cursor.key())) if cursor.last() else 0
    cursor.putmulti(entries.pairs(0, beyond))
    taken, added = cursor.putmulti(entries.pairs(beyond, len(entries)), append=True)
    if taken != added:  # it passes over a key that does not ascend
        raise lmdb.KeyExistsError("a key comes twice")


class LmdbSnapshot:
    """A read transaction, with the databases that there were when it began."""

    def __init__(self, owner: LmdbMap, txn: lmdb.Transaction, databases: dict[str, Any]) -> None:
        self._owner, self._txn, self._databases, self._open = owner, txn, databases, True

    def get(self, database: str, key: bytes) -> bytes | None:
        handle = self._databases.get(database)
        try:
            return None if handle is None else cast("bytes | None", self._txn.get(key, None, handle))
        except lmdb.Error as error:
            raise unreadable(self._owner.path, error) from error

    def get_many(self, database: str, keys: list[bytes]) -> list[tuple[bytes, bytes]]:
        handle = self._databases.get(database)
        if handle is None:
            return []
        try:
            with self._txn.cursor(handle) as cursor:
                return cast("list[tuple[bytes, bytes]]", cursor.getmulti(keys))
        except lmdb.Error as error:
            raise unreadable(self._owner.path, error) from error

    def range(self, database: str, start: bytes, stop: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        handle = self._databases.get(database)
        if handle is None:
            return
        try:
            with self._txn.cursor(handle) as cursor:
                if not cursor.set_range(start):
                    return
                pairs = cast("Iterator[tuple[bytes, bytes]]", cursor.iternext())
                size = 1
                while some := list(islice(pairs, size)):  # few are asked for, or many
                    if stop is None or some[-1][0] < stop:
                        yield from some
                    else:
                        yield from some[: bisect_left(some, (stop, b""))]
                        return
                    size = min(2 * size, AHEAD)
        except lmdb.Error as error:
            raise unreadable(self._owner.path, error) from error

    def close(self) -> None:
        if self._open:
            self._open = False
            if not self._owner.forked():  # a child would clear the parent's place in the table of readers
                self._txn.abort()
                self._owner.forget()


def unreadable(path: str, error: lmdb.Error) -> StoreDamaged:
    """Pages that do not hang together."""
    hint = "Look with `crdtsync check DIR`, and start from a peer or a backup: nothing in the table can be relied on."
    return StoreDamaged(f"LMDB cannot read {path}: {error}.", hint=hint)


def check_file(path: str) -> None:
    """Refuse a file that is no LMDB file or is shorter than its pages: LMDB would map it and die of SIGBUS."""
    if not os.path.exists(path) or os.path.getsize(path) == 0:
        return
    with open(path, "rb") as file:
        first = file.read(PAGE_HEADER + 24 + 112)
        if len(first) < PAGE_HEADER + 24 + 112:
            raise StoreDamaged(f"{path} is cut off after {len(first)} bytes.")
        page = int.from_bytes(first[PAGE_SIZE : PAGE_SIZE + 4], "little")
        if META.unpack_from(first, PAGE_HEADER)[:2] != (MAGIC, DATA_VERSION) or page not in PAGE_SIZES:
            raise StoreDamaged(f"{path} does not start with an LMDB meta page.")
        file.seek(page)
        second = file.read(PAGE_HEADER + 24 + 112)
    metas = [meta for meta in (first, second) if len(meta) == len(first)]
    newest = max(metas, key=lambda meta: int.from_bytes(meta[TXNID : TXNID + 8], "little"))
    needed = (int.from_bytes(newest[LAST_PAGE : LAST_PAGE + 8], "little") + 1) * page
    size = os.path.getsize(path)
    if size < needed:
        _extend(path, size, needed)


def check_access(path: str) -> None:
    """Raise PermissionError for a file that may not be written: LMDB's own error looks like damage."""
    if os.path.exists(path):
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))


def _extend(path: str, size: int, needed: int) -> None:
    """LMDB may leave the last pages of a commit unwritten when they are unused; anything else is damage."""
    problem = first_problem(Path(path))
    if problem:
        raise StoreDamaged(f"{path} has {size} bytes where its pages need {needed}: {problem}.")
    os.truncate(path, needed)
