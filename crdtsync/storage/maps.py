"""The ordered-map seam: what the row table asks of LMDB, and a map that is only memory.

A map holds several named databases of ordered byte keys.  It is read through snapshots and changed by whole commits,
nothing in between; a simulated map only has to keep these two promises.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Protocol

from sortedcontainers import SortedDict

from crdtsync.kernels import Entries

Pairs = list[tuple[bytes, bytes]]
CHUNK = 256  # keys that MemoryMap reads at once


class Changes:
    """One commit: per database keys to delete, which go first, and pairs to put, in any order; no key is put twice."""

    __slots__ = ("deletes", "puts")

    def __init__(self) -> None:
        self.deletes: defaultdict[str, Entries] = defaultdict(Entries)  # their values are empty
        self.puts: defaultdict[str, Entries] = defaultdict(Entries)

    def put(self, database: str, pairs: Pairs) -> None:
        """Add pairs."""
        self.puts[database].add(pairs)

    def delete(self, database: str, keys: list[bytes]) -> None:
        """Add keys to delete; absent ones are fine."""
        self.deletes[database].add_keys(keys)

    def entries(self) -> int:
        """How many there are."""
        return sum(map(len, self.puts.values())) + sum(map(len, self.deletes.values()))


class Snapshot(Protocol):
    """One state, unmoved by later commits.  Used by one thread at a time."""

    def get(self, database: str, key: bytes) -> bytes | None: ...

    def get_many(self, database: str, keys: list[bytes]) -> Pairs:
        """The pairs that there are of some keys, in the order of these."""

    def range(self, database: str, start: bytes, stop: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Pairs with start <= key < stop in key order; None: to the end."""

    def close(self) -> None: ...


class OrderedMap(Protocol):
    """Named databases (created by their first put) of byte keys up to 511 bytes."""

    def snapshot(self) -> Snapshot: ...

    def commit(self, changes: Changes) -> None:
        """All of it or nothing, durable on return.  Raises DiskFull, TableFailed."""

    def reserve(self, size: int) -> None:
        """Make ready for a commit of about `size` bytes.  Called while no snapshot is open."""

    def must_grow(self, size: int) -> bool:
        """Whether `reserve` has to wait until no snapshot is open."""

    def maintain(self) -> None:
        """Housekeeping, to be called about once a minute."""

    def swollen(self) -> bool:
        """Whether a large commit has left memory that `slim` gives back."""

    def slim(self) -> None:
        """Give it back, unless a snapshot is open or a commit under way.

        Raises StoreDamaged when the map cannot be opened again; then whatever is called next tries it.
        """

    def used(self) -> int:
        """Bytes in use."""

    def close(self) -> None: ...


class MemoryMap:
    """An ordered map in memory.  Open snapshots are told what a commit replaces."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._databases: dict[str, SortedDict[bytes, bytes]] = {}
        self._snapshots: set[MemorySnapshot] = set()

    def database(self, name: str) -> SortedDict[bytes, bytes]:
        """The live content of one database."""
        held = self._databases.get(name)
        if held is None:
            held = self._databases[name] = SortedDict()
        return held

    def snapshot(self) -> Snapshot:
        with self._lock:
            snapshot = MemorySnapshot(self, self._lock)
            self._snapshots.add(snapshot)
            return snapshot

    def commit(self, changes: Changes) -> None:
        with self._lock:
            for name, gone in changes.deletes.items():
                held = self.database(name)
                for snapshot in self._snapshots:
                    snapshot.remember(name, gone)
                for key in gone:
                    held.pop(key, None)
            for name, entries in changes.puts.items():
                for snapshot in self._snapshots:
                    snapshot.remember(name, entries)
                self.database(name).update(entries.pairs(0, len(entries)))

    def reserve(self, size: int) -> None:
        """Memory needs no notice."""

    def must_grow(self, size: int) -> bool:
        return False

    def maintain(self) -> None:
        """Memory needs none."""

    def swollen(self) -> bool:
        return False

    def slim(self) -> None:
        """Commits leave nothing."""

    def used(self) -> int:
        with self._lock:
            return sum(len(k) + len(v) for held in self._databases.values() for k, v in held.items())

    def close(self) -> None:
        """The content stays: a store that is opened on it again finds it."""

    def forget(self, snapshot: MemorySnapshot) -> None:
        """A snapshot was closed."""
        with self._lock:
            self._snapshots.discard(snapshot)


class MemorySnapshot:
    """The live databases, with what commits have replaced since laid over them."""

    def __init__(self, owner: MemoryMap, lock: threading.Lock) -> None:
        self._owner, self._lock = owner, lock
        self._before: dict[str, SortedDict[bytes, bytes | None]] = {}

    def remember(self, name: str, keys: Iterable[bytes]) -> None:
        """Keep the values that are about to change."""
        before, live = self._before.setdefault(name, SortedDict()), self._owner.database(name)
        for key in keys:
            if key not in before:
                before[key] = live.get(key)

    def get(self, database: str, key: bytes) -> bytes | None:
        with self._lock:
            before = self._before.get(database)
            held = before if before is not None and key in before else self._owner.database(database)
            value: bytes | None = held.get(key)
            return value

    def get_many(self, database: str, keys: list[bytes]) -> Pairs:
        found = [(key, self.get(database, key)) for key in keys]
        return [(key, value) for key, value in found if value is not None]

    def range(self, database: str, start: bytes, stop: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        while True:
            with self._lock:
                chunk, following = self._chunk(database, start, stop)
            yield from chunk
            if following is None:
                return
            start = following

    def _chunk(self, database: str, start: bytes, stop: bytes | None) -> tuple[Pairs, bytes | None]:
        live, before = self._owner.database(database), self._before.get(database)
        keys = list(islice(live.irange(start, stop, (True, False)), CHUNK))
        end = keys[-1] + b"\0" if len(keys) == CHUNK else stop
        if before:
            names = sorted({*keys, *before.irange(start, end, (True, False))})
            found = [(key, before[key] if key in before else live[key]) for key in names]
            pairs = [(key, value) for key, value in found if value is not None]
        else:
            pairs = [(key, live[key]) for key in keys]
        return pairs, end if len(keys) == CHUNK else None

    def close(self) -> None:
        self._owner.forget(self)
        self._before.clear()
