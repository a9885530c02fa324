"""One bucket of a node: where handles write and read, and the listing of its keys.

Values of one object are read at one state, under the store's lock.  Listings, `len` and iteration of sets go slice by
slice, so that they neither hold up writers nor keep old snapshots alive: what changes meanwhile may or may not be told,
everything else is told once, in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

from crdtsync.datatypes import keys
from crdtsync.datatypes.fields import FieldGuard
from crdtsync.datatypes.keys import Place
from crdtsync.datatypes.registry import DELETE, TYPES, everything_under
from crdtsync.datatypes.rows import Row
from crdtsync.datatypes.txn import SLICE, Txn, Verb, first_live, rows_below
from crdtsync.errors import CounterOverflow, CrdtsyncError, InvalidKey
from crdtsync.handles import Item, Objects
from crdtsync.handles.batches import CURRENT, BatchScope, Operation
from crdtsync.handles.bulk import BulkCalls, column_of, operations_of, scan_items, write_each
from crdtsync.kernels import Handles, operations_run, row_dead
from crdtsync.replication.peers import MEMBER
from crdtsync.storage import bulk

if TYPE_CHECKING:
    from crdtsync.datatypes.columns import Arguments, Array, Columns, Texts
    from crdtsync.node.watching import Watcher
    from crdtsync.node.writing import Local
    from crdtsync.storage.txn import Txn as StoreTxn

SINGLE = (b"f", b"l", b"v")  # types whose objects are one row
COUNTERS = (b"g", b"p")
READ_SLICE = 16_384  # objects that a bulk read looks for under one hold of the lock: about 2 ms


class Bucket(Objects, BulkCalls):
    """A named group of keys: all handles, in this bucket.  It comes into being with its first write."""

    __slots__ = (
        "_guard", "_local", "_object", "_store", "_waits", "depth_max", "key_bytes_max", "name", "value_bytes_max",
        "writer",
    )  # fmt: skip

    def __init__(self, local: Local, name: str) -> None:
        self.name = name
        self._local = local
        self._store = local.store
        self._waits = local.config.durability == "each"
        self.writer = local.store.writer
        self._guard = FieldGuard()
        self.depth_max = local.config.cluster.depth_max
        self.key_bytes_max = local.config.cluster.key_bytes_max
        self.value_bytes_max = local.config.cluster.value_bytes_max
        self._object = Handles(self, local.places).make

    def _place(self, name: str, code: bytes) -> Place:
        """The object of type `code` under a key.  Raises InvalidKey."""
        try:
            return keys.top(name, code, self.key_bytes_max)
        except InvalidKey as error:
            raise self.refused(error) from None

    def refused(self, error: CrdtsyncError) -> CrdtsyncError:
        """Count and log a refusal."""
        return self._local.refused(error)

    # -- writing

    def write(self, verb: Verb, place: Place, argument: Any) -> None:
        """Do it now, or, inside a batch, note it down for the batch's end."""
        batch = CURRENT.get()
        if batch is not None and (batch := batch.of(self._local)) is not None:
            try:
                batch.add(self.name, verb, place, argument)
            except CrdtsyncError as error:
                raise self.refused(error) from None
            return
        local = self._local
        if verb.bulk or local.write_refusal is not None:
            local.carry_out(self.name, [(verb, place, argument)])
            return
        record = self.writer.write(self.name, verb, place, argument)
        if not record:  # as Local.change, without its frames
            run = self.run
            self._store.transact(self.name, lambda txn: run(txn, verb, place, argument))
        elif self._waits:
            self._store.wait_durable(record)
        if local.written is not None:
            local.written()

    def run(self, txn: Txn, verb: Verb, place: Place, argument: Any) -> None:
        """One operation inside a transaction."""
        try:
            engine = self._local.engine
            if engine is not None and engine.core.state != MEMBER:
                self._local.check_state(engine.core.state)
            if place.levels and verb.writes:
                self._guard.check(txn, place)
            verb.run(txn, place, argument)
        except CrdtsyncError as error:
            raise self.refused(error) from None

    def _check_state(self) -> None:
        engine = self._local.engine
        if engine is not None and engine.core.state != MEMBER:
            self._local.check_state(engine.core.state)

    def run_all(self, txn: Txn, measured: Txn, operations: list[Operation]) -> None:
        """Several operations inside a transaction, as `run`.

        What may put many rows does it through `measured`; what puts one is measured in time by the store itself.
        """
        check = self._guard.check
        try:
            self._check_state()
            number, count = operations_run(txn, operations, 0), len(operations)
            while number < count:
                verb, place, argument = operations[number]
                if place.levels and verb.writes:
                    check(txn, place)
                verb.run(measured if verb.bulk else txn, place, argument)
                number = operations_run(txn, operations, number + 1)
        except CrdtsyncError as error:
            raise self.refused(error) from None

    @property
    def _bulk(self) -> Bucket:
        return self

    def write_columns(self, verb: Verb, code: bytes, keys: Texts, arguments: Arguments) -> None:
        """One operation for each key, all or none: by the kernels, unless it goes into a batch that is open."""
        batch = CURRENT.get()
        if verb.way not in bulk.KERNELS or (batch is not None and batch.of(self._local) is not None):
            write_each(self, operations_of(verb, code, keys, arguments))
            return
        given = arguments if isinstance(arguments, tuple) else (arguments,)

        def run(txn: StoreTxn) -> None:
            try:
                self._check_state()
                bulk.write_columns(txn, verb.way, code, keys.buffers, given, self._local.batch_bytes_max)
            except CrdtsyncError as error:
                raise self.refused(error) from None

        self._local.change(self.name, run)

    def batch(self, *, sync: bool = False, request_id: str | None = None) -> BatchScope:
        """A context manager: all writes in it take effect together at its end, or none.  See Node.batch."""
        return BatchScope(self._local, self.name, sync, request_id)

    def delete(self, key: str, type: str | None = None) -> None:
        """Remove every object under a key that is known here, or only that of one type; nothing happens if absent.

        It is one batch: everybody sees it whole.  Raises InvalidKey, InvalidValue for an unknown type, BatchTooLarge.
        """
        try:
            place = everything_under(key, type)
        except CrdtsyncError as error:
            raise self.refused(error) from None
        self.write(DELETE, place, None)

    # -- reading one object

    def value(self, place: Place) -> Any:
        """The object's value, of one state."""
        return TYPES[place.code].value(self.rows(place), len(place.prefix))

    def rows(self, place: Place, limit: int | None = None) -> list[Row]:
        """The object's rows, dead ones among them, of one state; at most `limit` of them."""
        with self._store.lock:  # from the look-up on: a long transfer may put another bucket in its place
            bucket = self._local.read(self.name)
            if bucket is None:
                return []
            if place.code not in SINGLE:
                prefix = place.prefix
                return list(rows_below(bucket, prefix)) if limit is None else bucket.scan(prefix, b"", limit)
            image = bucket.get(place.prefix)
        return [] if image is None else [(place.prefix, image)]

    def exists(self, place: Place) -> bool:
        """Whether any row of the object is live."""
        with self._store.lock:
            bucket = self._local.read(self.name)
            return bucket is not None and first_live(bucket, place.prefix) is not None

    def contains(self, place: Place, element: bytes) -> bool:
        """Whether a set element is present."""
        with self._store.lock:
            bucket = self._local.read(self.name)
            image = None if bucket is None else bucket.get(place.prefix + element)
        return image is not None and not row_dead(image)

    def count(self, place: Place) -> int:
        """Number of a set's elements."""
        slices = self.slices(place.prefix, b"")
        return sum(not row_dead(image) for rows in slices for _, image in rows)

    def elements(self, place: Place, after: bytes, limit: int) -> list[bytes]:
        """At most `limit` elements beyond `after`, in byte order; fewer only at the end."""
        skip, found = len(place.prefix), list[bytes]()
        for rows in self.slices(place.prefix, place.prefix + after if after else b""):
            found += [rowkey[skip:] for rowkey, image in rows if not row_dead(image)]
            if len(found) >= limit:
                break
        return found[:limit]

    def slices(self, prefix: bytes, after: bytes) -> Iterator[list[Row]]:
        """Rows that start with `prefix`, beyond the row key `after`; each slice is of one state."""
        while (rows := self._slice(prefix, after)) is not None:
            yield rows
            if len(rows) < SLICE:
                return
            after = rows[-1][0]

    def _slice(self, prefix: bytes, after: bytes) -> list[Row] | None:
        with self._store.lock:
            bucket = self._local.read(self.name)
            return None if bucket is None else bucket.scan(prefix, after, SLICE)

    def fields(self, place: Place) -> list[str]:
        """Names of a map's visible fields, in byte order."""
        prefix, found, after = place.prefix, list[str](), b""
        with self._store.lock:
            bucket = self._local.read(self.name)
            while bucket is not None and (rowkey := first_live(bucket, prefix, after)) is not None:
                field = rowkey[len(prefix) : rowkey.index(0, len(prefix))]
                found.append(field.decode())
                after = prefix + field + b"\x01"
        return found

    # -- reading many

    def read_columns(self, code: bytes, keys: Texts) -> Array:
        """Values of objects of one type, each of one state, in slices between which writers get their turn."""
        if code not in COUNTERS:
            return column_of(code, self.values_of(code, keys), keys)
        from crdtsync.datatypes import columns

        found = columns.numbers((), keys)
        for first, last in _slices(len(keys)):
            with self._store.lock:
                bucket = self._local.read(self.name)
                bad = -1 if bucket is None else bulk.read_counters(bucket, code, keys.buffers, first, last, found)
            if bad >= 0:
                raise self.refused(columns.beyond(bad, keys))
        return found

    def values_of(self, code: bytes, names: Texts) -> Iterator[Any]:
        """The same one by one."""
        if code not in SINGLE:
            plain = TYPES[code].plain
            for key in names.tolist():
                place = keys.top(key, code, self.key_bytes_max)
                yield plain(self.rows(place), len(place.prefix))
            return
        for first, last in _slices(len(names)):
            with self._store.lock:
                bucket = self._local.read(self.name)
                if bucket is None:
                    images: list[bytes | None] = [None] * (last - first)
                else:
                    images = bulk.read_images(bucket, code, names.buffers, first, last)
            yield from _meanings(code, images)

    def scan_columns(self, prefix: str, code: bytes, rows: int) -> Iterator[Columns]:
        """All objects of one type, in the order of their keys, so many at a time."""
        start = self._prefix(prefix)
        if code in COUNTERS or code in SINGLE:
            return self._scan(start, code, rows)
        return scan_items(self, prefix, code, rows)

    def _scan(self, prefix: bytes, code: bytes, rows: int) -> Iterator[Columns]:
        """Slices of objects of at most a few rows, put together to columns."""
        from crdtsync.datatypes import columns

        take = bulk.scan_counters if code in COUNTERS else bulk.scan_singles
        page, after, going_on = columns.Page(), b"", True
        while going_on:
            with self._store.lock:
                bucket = self._local.read(self.name)
                if bucket is None:
                    return
                try:
                    found, told, after = take(bucket, prefix, after, code, rows - len(page))
                except CounterOverflow as error:
                    raise self.refused(error) from None
            if take is bulk.scan_counters:
                page.add(found, columns.int64s(told))
            else:
                page.add(found, column_of(code, _meanings(code, told), told))
            going_on = after != b""
            if len(page) == rows or (len(page) and not going_on):
                yield page.columns()
                page = columns.Page()

    # -- listing

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Names that start with `prefix` and hold something, each once, in the order of their UTF-8 bytes."""
        start = self._prefix(prefix)
        return (name.decode() for name in self.names(start))

    def names(self, prefix: bytes, after: bytes = b"") -> Iterator[bytes]:
        """Names that hold something, beyond the row key `after` (see keys.after_name), in order."""
        while (rows := self._slice(prefix, after)) is not None:
            for name, below in groupby(rows, lambda row: keys.name_of(row[0])):
                after = keys.after_name(name) if any(not row_dead(image) for _, image in below) else b""
                if after:
                    yield name
            if len(rows) < SLICE:
                return
            after = after or rows[-1][0]

    def items(self, prefix: str = "") -> Iterator[Item]:
        """(key, type, value) of every object whose key starts with `prefix`, in the order of keys, then of types."""
        start = self._prefix(prefix)
        return (_item(head, rows) for head, rows in self.objects(start))

    def objects(self, prefix: bytes, after: bytes = b"") -> Iterator[tuple[bytes, list[Row]]]:
        """(prefix of an object, its rows) of what holds something, beyond `after` (see keys.after_object), in order."""
        while (rows := self._slice(prefix, after)) is not None:
            for head, below in groupby(rows, lambda row: row[0][: row[0].index(0) + 2]):
                whole = list(below)
                if len(rows) == SLICE and whole[-1] is rows[-1]:  # the slice may end inside this object
                    whole = self.rows(Place("", (), b"", head, ()))
                after = keys.after_object(head)
                if any(not row_dead(image) for _, image in whole):
                    yield head, whole
            if len(rows) < SLICE:
                return

    def _prefix(self, prefix: str) -> bytes:
        try:
            return keys.check_prefix(prefix)
        except InvalidKey as error:
            raise self.refused(error) from None

    # -- where this replica stands

    def clock(self) -> dict[int, int]:
        """{actor id: number of its events} that this replica holds of the bucket."""
        self._local.check()
        return dict(self._store.clock(self.name))

    def digest(self) -> str:
        """32 hex digits: equal for equal contents, whoever wrote them in whatever order."""
        with self._store.lock:
            bucket = self._local.read(self.name)
            return f"{0 if bucket is None else bucket.digest():032x}"

    def token(self) -> str:
        """Where this replica stands in this bucket, for `wait_for` and `watch` on any node."""
        return self._local.sessions.token([self.name])

    def watch(self, prefix: str = "", *, after: str | None = None, values: bool = True) -> Watcher:
        """Changes in this bucket.  See Node.watch."""
        return self._local.watch(self.name, prefix, after, values)

    def __repr__(self) -> str:
        return f"<bucket {self.name!r} of {self._store.node!r}>"


def _meanings(code: bytes, images: Iterable[bytes | None]) -> Iterator[Any]:
    """Values of objects that are one row, or none."""
    value = TYPES[code].value
    return (value([] if image is None else [(b"", image)], 0) for image in images)


def _slices(count: int) -> Iterator[tuple[int, int]]:
    return ((first, min(first + READ_SLICE, count)) for first in range(0, count, READ_SLICE))


def _item(head: bytes, rows: list[Row]) -> Item:
    info = TYPES[head[-1:]]
    return Item(head[:-2].decode(), info.name, info.plain(rows, len(head)))
