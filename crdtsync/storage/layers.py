"""A layer: the rows that changed since a checkpoint, above the row table.

A bucket has an active layer, and a frozen one while a checkpoint writes it.  A row is looked up in the active layer,
the frozen one, the cache of clean rows, and the table, in this order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sortedcontainers import SortedList

from crdtsync.kernels import LayerState, Sorter, layer_note, layer_put, rows_digest

FOLD = 4096  # rows hashed at once
MANY = 1000  # keys from which on the sorter's way, which lets go of the GIL, is worth it
Run = tuple[int, int, list[bytes]]  # actor, seq of the first of consecutive local events, row key of each
Arrived = tuple[list[bytes], list[bytes | None], list[bytes | None]]  # keys, images, what the rows were until then
ROW_OVERHEAD = 300  # bytes, about, that Python needs for a dirty row besides its key and images


class Layer(LayerState):
    """Dirty rows.  `None` as an image is a row that was collected."""

    __slots__ = ()

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes | None] = {}
        self.origin: dict[bytes, bytes | None] = {}  # image below this layer, of the rows that had one
        # Rows that the digest does not count yet, as it counts them; None until it is first asked for: all of them.
        self.pending: dict[bytes, bytes | None] | None = None
        self.log: dict[int, dict[int, bytes]] = {}  # actor -> {seq: row key}; may name rows that have moved on since
        self.arrived: list[Arrived] = []  # rows from elsewhere that are not in the log yet
        self.runs: list[Run] = []  # events of batches that are not in the log yet
        self.size = 0  # bytes, about: of the journal records that brought the rows
        self._folded = 0
        self._fresh: list[bytes] = []  # keys not yet in `_order`
        self._order: SortedList[bytes] = SortedList()
        self._ragged: set[int] = set()  # actors whose log is not in the order of seq

    def take_in(self, keys: list[bytes], images: list[bytes | None], before: list[bytes | None]) -> None:
        """Take in rows that came from elsewhere.  Their events come into the log when somebody asks for it."""
        layer_put(self, keys, images, before)
        self.arrived.append((keys, images, before))

    def note_events(self, actor: int, first: int, keys: list[bytes]) -> None:
        """The log entries of consecutive local events, `first` and on.  The log gets them when somebody asks for it."""
        self.runs.append((actor, first, keys))

    def beyond(self, actor: int, seq: int) -> Iterator[bytes]:
        """Row keys of an actor's events after `seq`, latest first, rows that have moved on since among them."""
        while self.arrived:
            layer_note(self, *self.arrived[-1])
            del self.arrived[-1]
        for run in self.runs:
            self._note(*run)
        self.runs.clear()
        log = self.log.get(actor)
        if log is None:
            return
        if actor in self._ragged:
            self._ragged.discard(actor)
            log = self.log[actor] = dict(sorted(log.items()))
        for number in reversed(log):
            if number <= seq:
                return
            yield log[number]

    def _note(self, actor: int, first: int, keys: list[bytes]) -> None:
        log = self.log.setdefault(actor, {})
        if log and next(reversed(log)) > first:  # of a single write, which comes into the log at once
            self._ragged.add(actor)
        log.update(zip(range(first, first + len(keys)), keys, strict=True))

    def keys(self, start: bytes, stop: bytes | None) -> Iterable[bytes]:
        """Row keys with start <= key < stop, in order."""
        if self._fresh:
            fresh: list[bytes] = self._fresh
            if len(fresh) > MANY:
                sorter = Sorter()
                sorter.add(fresh)
                sorter.sort()
                fresh = sorter.take(len(fresh))
            self._order.update(fresh)
            self._fresh.clear()
        found: Iterable[bytes] = self._order.irange(start, stop, (True, False))
        return found

    def take_folded(self, folded: int) -> None:
        """As `fold`, of rows that change no more and have all been hashed."""
        self.pending, self._folded = {}, folded

    def fold(self) -> int:
        """What the rows add to the digest, less what the rows below them added; only what is new is hashed."""
        rows, origin = self.rows, self.origin
        counted = [(key, origin.get(key)) for key in rows] if self.pending is None else list(self.pending.items())
        for at in range(0, len(counted), FOLD):  # slices, so that other threads get a turn in between
            before = counted[at : at + FOLD]
            self._folded += rows_digest([(key, rows[key]) for key, _ in before]) - rows_digest(before)
        self.pending = {}
        return self._folded
