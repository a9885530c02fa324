"""One bucket: its rows through all layers, its clocks, its digest.  The store's lock guards all of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from typing import Any

from crdtsync.clocks.vector import Clock, join
from crdtsync.datatypes.rows import Row
from crdtsync.errors import RowDamaged
from crdtsync.kernels import (
    LATEST,
    LOG_KEY,
    NUMBER,
    BucketState,
    layer_put,
    layer_rows,
    listings_merge,
    log_read,
    row_covered,
    row_log_dots,
)
from crdtsync.storage.cache import Cache
from crdtsync.storage.layers import Layer
from crdtsync.storage.maps import Snapshot
from crdtsync.storage.table import (
    AT_ONCE,
    DEAD,
    KEY_MAX,
    LOG,
    ROWS,
    after,
    decode_log,
    flat,
    physical,
    read_many,
    read_row,
    read_rows,
    rowkey_of,
    unflat,
)

ABSENT = b"absent"  # compared by identity: what a look-up returns that found nothing, not even a None
LIVE, HIDDEN, DROPPED = 0, 1, 2  # states: in use; taking in a scan; waiting for its rows to be deleted


class Bucket(BucketState):
    """Rows by row key, with the clock that says which events they hold.  Clocks are {actor index: seq}."""

    def __init__(
        self, number: int, name: str, lock: AbstractContextManager[Any], snapshot: Callable[[], Snapshot], cache: int
    ) -> None:
        """`lock` is the store's; `snapshot` gives the current snapshot of the row table, renewed after each commit."""
        self.lock = lock
        self.number, self.name, self.state = number, name, LIVE
        self.clock: Clock = {}
        self.synced: Clock = {}
        self.unsynced: Clock = {}  # entries of `clock` that moved since the last sync began
        self.outward: tuple[Clock, int, Clock] | None = None  # see `Serving.clock`; None once an entry of `clock` moves
        self.floor: Clock = {}
        self.stamp_floor = 0
        self.table_clock: Clock = {}  # covers every log entry of the row table: beyond it no look-up is needed
        self.active: Layer = Layer()
        self.frozen: Layer | None = None
        self.cache = Cache(cache)
        self.damaged: dict[bytes, bytes] = {}  # physical key -> row key (b"" when it is lost, too) of rows set aside
        self.mending: dict[bytes, bytes] = {}  # rows set aside whose repair waits for the claim of their events
        self._dots: dict[bytes, Clock] = {}  # physical key of a row set aside -> events under which the log lists it
        self.stale: dict[str, list[bytes]] = {}  # database -> keys that the next checkpoint deletes first
        self.rows = self.dead = 0  # in the row table
        self.staged: dict[str, Any] | None = None  # state of a staged scan, kept with the hidden bucket that holds it
        self.told: Clock | None = None  # while changes wait to be told to listeners: the clock from before them
        self.meta_dirty = False  # something besides rows is to be written by the next checkpoint
        self.table_dirty = False  # this number has, or may have, rows or log entries in the table
        self.on_damage: Callable[[Bucket], None] = _ignore
        self.table_version = 0  # number of commits that touched this bucket
        # Last whole look at the dead rows of the table: (stable clock, table version, rows that must wait).
        self.examined: tuple[Clock, int, int] | None = None
        self.walk = b""  # where the next look at dead rows begins
        self._snapshot = snapshot
        self._digest: int | None = 0  # without what the layers have pending; None: must be counted from the rows
        self.folding = threading.Lock()  # held while the frozen layer is folded without the store's lock

    # -- reading

    def get(self, rowkey: bytes) -> bytes | None:
        """Image of a row, or None.  Raises RowDamaged when it was set aside."""
        with self.lock:
            image = self.active.rows.get(rowkey, ABSENT)
            return self.below(rowkey) if image is ABSENT else image

    def below(self, rowkey: bytes) -> bytes | None:
        """As `get`, of a row that the active layer does not have; under the lock."""
        if self.frozen is not None:
            image = self.frozen.rows.get(rowkey, ABSENT)
            if image is not ABSENT:
                return image
        if not self.table_dirty:
            return None
        image = self.cache.get(rowkey, ABSENT)
        if image is not ABSENT:
            return image
        image = self.in_table(rowkey)
        self.cache.put(rowkey, image)
        return image

    def in_table(self, rowkey: bytes) -> bytes | None:
        """As `below`, of a row that neither the frozen layer nor the cache has; the cache does not get it."""
        image = read_row(self._snapshot(), self.number, rowkey, self.set_aside)
        if self.damaged and physical(self.number, rowkey) in self.damaged:
            raise RowDamaged(f"Row {rowkey!r} of bucket {self.name!r} fails its checksum.")
        return image

    def below_many(self, rowkeys: list[bytes]) -> list[bytes | None]:
        """As `below`, of many rows at once.  The cache does not get them: they are about to be written."""
        frozen = {} if self.frozen is None else self.frozen.rows
        if not self.table_dirty:
            return [frozen.get(key) for key in rowkeys]
        found: dict[bytes, bytes | None] = {}
        unknown: list[bytes] = []
        for key in rowkeys:
            image = frozen.get(key, ABSENT)
            if image is ABSENT:
                image = self.cache.get(key, ABSENT)
            if image is ABSENT:
                unknown.append(key)
            else:
                found[key] = image
        found.update(self._of_table(unknown))
        return [found.get(key) for key in rowkeys]

    def fetch(self, rowkeys: list[bytes]) -> dict[bytes, bytes | None]:
        """As `below`, of many rows that neither the layers nor the cache have; the cache gets them."""
        found: dict[bytes, bytes | None] = dict.fromkeys(rowkeys)
        found.update(self._of_table(list(found)))
        self.cache.put_many(found)
        return found

    def _of_table(self, rowkeys: list[bytes]) -> list[Row]:
        """Those rows that the table has.  Raises RowDamaged."""
        found = read_many(self._snapshot(), self.number, rowkeys, self.set_aside)
        for key in rowkeys if self.damaged else ():
            if physical(self.number, key) in self.damaged:
                raise RowDamaged(f"Row {key!r} of bucket {self.name!r} fails its checksum.")
        return found

    def layers(self) -> tuple[tuple[dict[bytes, bytes | None], ...], Callable[[bytes], bytes | None] | None]:
        """Where rows are found without asking the table, and who asks it then; under the lock, and good as long."""
        layers = [self.active.rows]
        if self.frozen is not None:
            layers.append(self.frozen.rows)
        if not self.table_dirty:
            return tuple(layers), None
        return (*layers, *self.cache.generations), self.below

    def peek(self, rowkey: bytes) -> bytes | None:
        """As `get`, but None for a row that was set aside."""
        try:
            return self.get(rowkey)
        except RowDamaged:
            return None

    def scan_rows(self, prefix: bytes, start: bytes, limit: int, skip_damaged: bool = False) -> list[Row]:
        """Up to `limit` rows that start with `prefix`, from `start` on, in order.  Raises RowDamaged."""
        start, stop = max(start, prefix), after(prefix) if prefix else None
        found: list[Row] = []
        with self.lock:
            while True:
                rows, horizon = self._slice(start, stop, limit - len(found), skip_damaged)
                found += rows
                if horizon is None or len(found) >= limit:
                    return found[:limit]
                start = horizon + b"\0"

    def scan(self, prefix: bytes, after: bytes = b"", limit: int = 1000, skip_damaged: bool = False) -> list[Row]:
        """Up to `limit` rows that start with `prefix`, beyond the row key `after`, in order, dead ones among them.

        Raises RowDamaged when a row in the range was set aside, since a value made of the others would be wrong;
        `skip_damaged` leaves such rows out.
        """
        return self.scan_rows(prefix, after + b"\0" if after else b"", limit, skip_damaged)

    def _slice(self, start: bytes, stop: bytes | None, limit: int, skip: bool) -> tuple[list[Row], bytes | None]:
        """Rows of all layers up to a horizon; None: there are no more."""
        found: list[Row] = []
        layered: list[list[tuple[bytes, bytes | None]]] = []
        ends: list[bytes] = []
        if self.table_dirty:
            found = list(islice(read_rows(self._snapshot(), self.number, start, stop, self.set_aside, limit), limit))
            if len(found) == limit:
                ends.append(found[-1][0])
        for layer in (self.frozen, self.active):
            if layer is not None and layer.rows:
                keys = list(islice(layer.keys(start, stop), limit))
                if len(keys) == limit:
                    ends.append(keys[-1])
                if keys:
                    layered.append(layer_rows(layer, keys))
        horizon = min(ends) if ends else None
        if self.damaged and not skip:
            self._refuse_damaged(start, horizon or stop)
        if not layered:
            return found, horizon
        return listings_merge([found, *layered], horizon), horizon

    def _refuse_damaged(self, start: bytes, last: bytes | None) -> None:
        for rowkey in self.damaged.values():
            if not rowkey or (start <= rowkey and (last is None or rowkey <= last)):
                raise RowDamaged(f"Row {rowkey!r} of bucket {self.name!r} fails its checksum.")

    def set_aside(self, key: bytes, value: bytes) -> None:
        """A row of the table fails its checksum."""
        if key not in self.damaged:
            rowkey = rowkey_of(key, value) or b""
            if rowkey in self.active.rows or (self.frozen is not None and rowkey in self.frozen.rows):
                return  # repaired, and not yet written to the table: a scan still meets the broken image there
            self.damaged[key] = rowkey
            self.cache.clear()  # what it has of the row would be written to, and the repair would undo that
            self.meta_dirty = True
            self.on_damage(self)

    def damaged_clock(self) -> Clock:
        """Events under which the table's log lists the rows set aside."""
        wanted = {key: self._dots.get(key) for key in self.damaged}
        if None in wanted.values():
            found: dict[bytes, Clock] = {key: {} for key in self.damaged}
            head, end = NUMBER.pack(self.number), NUMBER.pack(self.number + 1)
            for at, value in self._snapshot().range(LOG, head, end):
                _, actor, seq = LOG_KEY.unpack(at)
                row = decode_log(at, value)
                # A damaged entry may be of any of these rows: who has its event has what it led to.
                for key in found if row is None else [row]:
                    if key in found:
                        found[key][actor] = max(seq, found[key].get(actor, 0))
            self._dots = found
        clock: Clock = {}
        for key in self.damaged:
            clock = join(clock, self._dots[key])
        return clock

    def clear_damaged(self, key: bytes) -> None:
        """A row that was set aside gets a new image: the next checkpoint clears what leads to the old one."""
        if self.damaged.pop(key, None) is None:
            return
        snapshot, head = self._snapshot(), NUMBER.pack(self.number)
        entries = snapshot.range(LOG, head, NUMBER.pack(self.number + 1))
        # Damaged entries stay: they may lead to other rows, and keep `rows_beyond` from trusting the log.
        self.stale.setdefault(LOG, []).extend(at for at, value in entries if decode_log(at, value) == key)
        self.stale.setdefault(DEAD, []).append(key)
        self.rows -= 1
        self.dead -= snapshot.get(DEAD, key) is not None
        self.meta_dirty, self._digest = True, None

    # -- the log

    def few_beyond(self, clock: Clock, most: int) -> list[Row] | None:
        """These rows, when `most` log entries are enough to find them; under the lock.  Raises RowDamaged."""
        keys = list(islice(self._entries(clock), most + 1))
        if len(keys) > most or None in keys:
            return None
        images = [(key, self.get(key)) for key in dict.fromkeys(keys) if key is not None]
        return [(key, image) for key, image in images if image is not None and is_beyond(image, clock)]

    def rows_beyond(self, clock: Clock) -> Iterator[Row]:
        """All rows with a maximal event beyond `clock`, in no order, each once; under the lock.  Raises RowDamaged."""
        active = self.active.rows
        for key in self._candidates(clock):
            image = active[key] if key in active else self.below(key)
            if image is not None and is_beyond(image, clock):
                yield key, image

    def changed_since(self, clock: Clock) -> list[bytes]:
        """The keys of these rows, in order."""
        with self.lock:
            return sorted(key for key, _ in self.rows_beyond(clock))

    def _candidates(self, clock: Clock) -> Iterator[bytes]:
        """Row keys of the events beyond `clock`, each once, by the logs of all layers; some have moved on since."""
        found: dict[bytes, None] = {}
        for key in self._entries(clock):
            if key is None:  # the log is damaged: the rows alone tell the same, slower
                yield from (key for key, _ in self.all_rows() if key not in found)
                return
            if key not in found:
                found[key] = None
                yield key

    def _entries(self, clock: Clock) -> Iterator[bytes | None]:
        """What the logs say of events beyond `clock`: row keys, and None for a damaged entry.

        What waits for a checkpoint is bounded; the table may hold much more: it is read as asked.
        """
        behind = [(actor, clock.get(actor, 0)) for actor, seq in self.clock.items() if seq > clock.get(actor, 0)]
        for layer in filter(None, (self.active, self.frozen)):
            for actor, known in behind:
                yield from layer.beyond(actor, known)
        for actor, known in behind:
            if self.table_clock.get(actor, 0) > known:
                yield from self.table_beyond(self._snapshot(), actor, known)

    def table_beyond(self, snapshot: Snapshot, actor: int, known: int) -> Iterator[bytes | None]:
        """Row keys by the log in the table; None for a damaged entry."""
        start, stop = LOG_KEY.pack(self.number, actor, known + 1), LOG_KEY.pack(self.number, actor + 1, 0)
        pairs = snapshot.range(LOG, start, stop)
        while some := list(islice(pairs, AT_ONCE)):
            keys: list[bytes] = []
            done = log_read(some, KEY_MAX, keys)
            yield from keys
            for key, value in some[done:]:
                row = decode_log(key, value)
                if row is None:
                    yield None
                    return
                rowkey = self._rowkey(snapshot, row)
                if rowkey is not None:
                    yield rowkey

    def _rowkey(self, snapshot: Snapshot, key: bytes) -> bytes | None:
        """Row key of a physical key: long ones are found with the row."""
        if len(key) < KEY_MAX:
            return key[4:]
        value = snapshot.get(ROWS, key)
        return None if value is None else rowkey_of(key, value)

    def all_rows(self, skip_damaged: bool = False) -> Iterator[Row]:
        """Every row in order, slice by slice."""
        start = b""
        while True:
            rows = self.scan_rows(b"", start, 1000, skip_damaged)
            yield from rows
            if len(rows) < 1000:
                return
            start = rows[-1][0] + b"\0"

    # -- changing

    def install_events(
        self,
        actor: int,
        first: int,
        events: list[bytes],
        keys: list[bytes],
        images: list[bytes | None],
        before: list[bytes | None],
    ) -> None:
        """Take in rows that local events `first` and on have changed, each the one whose key is in `events`.

        `before` is what each of the rows was until now; None will do for what the active layer has.
        """
        active = self.active
        layer_put(active, keys, images, before)
        active.note_events(actor, first, events)
        self.clock[actor] = self.unsynced[actor] = first + len(events) - 1
        self.outward = None

    def install(self, keys: list[bytes], images: Sequence[bytes | None], before: Sequence[bytes | None]) -> None:
        """Take in rows that came from elsewhere (None: collected); `before` is what each was until now."""
        self.active.take_in(keys, list(images), list(before))

    def claim(self, clock: Clock) -> None:
        """Join events into the clock; their effects are in the rows."""
        mine, unsynced = self.clock, self.unsynced
        for actor, seq in clock.items():
            if seq > mine.get(actor, 0):
                mine[actor] = unsynced[actor] = seq
        self.outward, self.meta_dirty = None, True

    def raise_floor(self, floor: Clock, stamp_floor: int) -> None:
        """Join into the floor and the stamp floor."""
        for actor, seq in floor.items():
            if seq > self.floor.get(actor, 0):
                self.floor[actor] = seq
        self.stamp_floor = max(self.stamp_floor, stamp_floor)
        self.meta_dirty = True

    def drop(self) -> None:
        """Nothing reads or writes it any more."""
        self.state, self.staged, self.meta_dirty = DROPPED, None, True
        self.active, self.unsynced = Layer(), {}

    def is_dirty(self) -> bool:
        """Whether a checkpoint has something to write."""
        return self.meta_dirty or bool(self.active.rows)

    def count(self) -> int:
        """Number of rows in all layers."""
        total = self.rows
        for layer in (self.active, self.frozen):
            if layer is not None:
                total += sum((image is not None) - (key in layer.origin) for key, image in layer.rows.items())
        return total

    # -- the digest

    def digest(self) -> int:
        """Sum modulo 2^128 over the live rows.  Raises RowDamaged when it must be counted and a row was set aside."""
        with self.lock, self.folding:
            folded = self.active.fold() + (self.frozen.fold() if self.frozen is not None else 0)
            if self._digest is None:
                self._digest = self._count() - folded
            return (self._digest + folded) % 2**128

    def fold_frozen(self, folded: int) -> int | None:
        """The digest of the frozen state; the checkpoint, without the store's lock, has hashed the layer's rows."""
        with self.folding:
            if self.frozen is not None:
                self.frozen.take_folded(folded)
            return None if self._digest is None else (self._digest + folded) % 2**128

    def melt(self, size: int) -> None:
        """The frozen layer is in the table now; its keys and images take `size` bytes."""
        frozen = self.frozen
        if frozen is not None:
            if self._digest is not None:
                self._digest += frozen.fold()
            self.cache.replace(frozen.rows, size)
            self.table_version += 1
            self.frozen = None

    def _count(self) -> int:
        fresh = Layer()
        fresh.rows.update(self.all_rows())
        return fresh.fold()

    # -- the record of the bucket in the table

    def encode(self) -> list[Any]:
        """The bucket as the row table keeps it; digest and counts are filled in by the checkpoint."""
        return [
            None, self.rows, self.dead, self.name, self.state, flat(self.clock), flat(self.floor), self.stamp_floor,
            [item for pair in self.damaged.items() for item in pair], self.staged,
        ]  # fmt: skip

    def decode(self, record: list[Any]) -> None:
        """Take the state from a record of the row table."""
        digest, self.rows, self.dead, _, self.state, clock, floor, self.stamp_floor, damaged, self.staged = record
        self.clock, self.floor = unflat(clock), unflat(floor)
        self.synced, self.table_clock = dict(self.clock), dict(self.clock)
        self._digest = None if digest is None else int.from_bytes(digest, "big")
        self.damaged = dict(zip(damaged[::2], damaged[1::2], strict=True))
        self.table_dirty = True


def _ignore(bucket: Bucket) -> None:
    """Nobody wants to hear of damage."""


def is_beyond(image: bytes, clock: Clock) -> bool:
    """Whether a maximal event of a row lies beyond `clock`; all of a context are maximal, but of a register's one."""
    if image[0] != LATEST:
        return not row_covered(image, clock)
    actor, seq = row_log_dots(image)[0]
    return seq > clock.get(actor, 0)
