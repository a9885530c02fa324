"""Watchers: changes of state told in their order of arrival, coalesced by object, resumable from a token.

The store tells the hub which rows changed, under its lock; the hub notes the objects down for each watcher; a watcher
reads their values when it is asked for the next change.  So a slow watcher costs memory only per changed object, up to
``watch_pending_max``, and is told the newest value of each.

A change's token says: everything up to here has been told.  It moves on when all that was pending at one moment has
been told, so that resuming from it may tell some changes again, and never leaves one out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

from crdtsync.clocks.tokens import Clocks
from crdtsync.datatypes import keys
from crdtsync.datatypes.registry import TYPES, TypeInfo
from crdtsync.datatypes.rows import Row
from crdtsync.datatypes.txn import rows_below
from crdtsync.errors import SlowConsumer, TokenTooOld
from crdtsync.handles import Change
from crdtsync.kernels import row_dead

if TYPE_CHECKING:
    from crdtsync.node.sessions import Sessions
    from crdtsync.node.writing import Local
    from crdtsync.storage.store import Store

Spot = tuple[str, bytes]  # (bucket, object prefix)


class Hub:
    """All watchers and waiters of a node.  The store calls it only while there is one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._listeners: list[Callable[[str, list[bytes], bool], None]] = []
        self.watchers: list[Watcher] = []

    def listen(self, listener: Callable[[str, list[bytes], bool], None]) -> None:
        """Have `listener(bucket, changed row keys, local)` called after each change, under the store's lock."""
        with self._store.lock:
            self._listeners.append(listener)
            if len(self._listeners) == 1:
                self._store.on_change.append(self._tell)

    def forget(self, listener: Callable[[str, list[bytes], bool], None]) -> None:
        with self._store.lock:
            if listener in self._listeners:
                self._listeners.remove(listener)
                if not self._listeners:
                    self._store.on_change.remove(self._tell)

    @property
    def listening(self) -> int:
        """Watchers and waiters that hear of changes."""
        return len(self._listeners)

    def _tell(self, bucket: str, changed: list[bytes], local: bool) -> None:
        for listener in self._listeners:
            listener(bucket, changed, local)

    def close(self) -> None:
        """End all watchers."""
        for watcher in list(self.watchers):
            watcher.close()


class Watcher:
    """An iterator of changes; also a context manager.  It ends when it or its node is closed.

    Made for one reader; `close` may be called from anywhere.
    """

    def __init__(
        self, local: Local, sessions: Sessions, hub: Hub, bucket: str | None, prefix: str, values: bool
    ) -> None:
        self._prefix = keys.check_prefix(prefix)
        self._local, self._store, self._sessions, self._hub = local, local.store, sessions, hub
        self.bucket, self.prefix, self._values = bucket, prefix, values
        self._pending_max = local.config.watch_pending_max
        self._changed = threading.Condition(local.store.lock)
        self._pending: dict[Spot, None] = {}  # noted by the hub
        self._current: Iterator[Spot] = iter(())  # being told
        self._ahead: Spot | None = None  # the next of them
        self._behind = False
        self._closed = False
        self._told: Clocks = {}  # everything up to here has been told
        self._token, self._token_of = "", Clocks()  # the token of `_told`, made once
        self._aim: Clocks = {}  # and will have been told up to here after the current ones
        self.wake: Callable[[], None] | None = None  # called, under the store's lock, when there is something to tell

    # -- the hub's side

    def start(self, after: Clocks | None) -> None:
        """Begin from what `after` lacks, or from now.  Raises TokenTooOld."""
        with self._store.lock:
            now = self._sessions.told(self._buckets())
            self._told = now if after is None else after
            if after is not None:
                self._take_up([self._backlog(bucket, after.get(bucket, {})) for bucket in self._buckets()], now)
            self._hub.watchers.append(self)
            self._hub.listen(self._note)

    def _buckets(self) -> list[str]:
        return self._store.buckets() if self.bucket is None else [self.bucket]

    def _take_up(self, spots: list[Iterable[Spot]], aim: Clocks) -> None:
        """Begin to tell these, all of them up to `aim`."""
        self._current, self._aim = chain.from_iterable(spots), aim
        self._ahead = next(self._current, None)
        if self._ahead is None:
            self._told = aim

    def _backlog(self, name: str, after: dict[int, int]) -> Collection[Spot]:
        """The objects that have changed since `after`, from the log."""
        floor = self._store.floor(name)
        if any(after.get(actor, 0) < seq for actor, seq in floor.items()):
            raise TokenTooOld(f"Deletions in bucket {name!r} that the token lacks have been collected.")
        bucket = self._store.bucket(name)
        if bucket is None:
            return ()
        changed = [
            rowkey
            for rowkey in bucket.changed_since(self._store.actors.inward(after))
            if rowkey.startswith(self._prefix)
        ]
        return dict.fromkeys((name, keys.object_prefix(rowkey)) for rowkey in changed)

    def _note(self, bucket: str, changed: Any, local: bool) -> None:
        if self.bucket is not None and bucket != self.bucket:
            return
        prefix, pending = self._prefix, self._pending
        for rowkey in changed:
            if rowkey.startswith(prefix):
                pending[bucket, keys.object_prefix(rowkey)] = None
                if len(pending) > self._pending_max:
                    self._behind = True
                    pending.clear()
                    break
        if pending or self._behind:
            self._wake_up()

    def _wake_up(self) -> None:
        self._changed.notify_all()
        if self.wake is not None:
            self.wake()

    # -- the reader's side

    def next(self, timeout: float | None = None) -> Change | None:
        """The next change; None when `timeout` seconds bring none, and at the end.  Raises SlowConsumer."""
        with self._changed:
            self._changed.wait_for(self._something, timeout)
            if self._closed:
                return None
            if self._behind:
                self.close()
                raise self._local.refused(SlowConsumer(f"A watcher fell behind by {self._pending_max:,} changes."))
            return self._tell_one() if self._something() else None

    def _something(self) -> bool:
        return bool(self._closed or self._behind or self._ahead or self._pending)

    def _tell_one(self) -> Change:
        if self._ahead is None:
            pending, self._pending = self._pending, {}
            self._take_up([pending], self._sessions.told(self._buckets()))
        assert self._ahead is not None
        bucket, prefix = self._ahead
        self._ahead = next(self._current, None)
        if self._ahead is None:
            self._told = self._aim
        return self._change(bucket, prefix)

    def _change(self, bucket: str, prefix: bytes) -> Change:
        parsed = keys.parse(prefix)
        info = TYPES[parsed.code]
        rows = self._store.bucket(bucket)
        below = [] if rows is None else list(rows_below(rows, prefix))
        deleted = all(row_dead(image) for _, image in below)
        value = None if deleted or not self._values else self.meaning(info, below, len(prefix))
        return Change(bucket, parsed.name, info.name, parsed.fields, value, deleted, self.token)

    def meaning(self, info: TypeInfo, rows: list[Row], skip: int) -> Any:
        """What a change tells as its value; `skip` is the length of the object's prefix."""
        return info.plain(rows, skip)

    @property
    def ready(self) -> bool:
        """Whether `next` has something to say at once."""
        return self._something()

    @property
    def token(self) -> str:
        """Everything up to here has been told: where to resume when this watcher is lost."""
        with self._store.lock:
            if not self._something():  # what has changed since was none of its business: resuming need not look at it
                self._told = self._sessions.told(self._buckets())
            if self._token_of is not self._told:
                self._token, self._token_of = self._sessions.token_of(self._told), self._told
            return self._token

    @property
    def pending(self) -> int:
        """Objects that wait to be told, apart from those being told."""
        return len(self._pending)

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self._closed

    def close(self) -> None:
        """End it; a reader that waits is woken."""
        with self._store.lock:
            self._closed = True
            self._hub.forget(self._note)
            if self in self._hub.watchers:
                self._hub.watchers.remove(self)
            self._wake_up()

    def __iter__(self) -> Watcher:
        return self

    def __next__(self) -> Change:
        change = self.next()
        if change is None:
            raise StopIteration
        return change

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
