"""Node: one replica, opened by this process, with or without a network."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from crdtsync.config import Config, make_config
from crdtsync.datatypes import keys
from crdtsync.errors import Closed, CrdtsyncError, Forked, Misuse
from crdtsync.handles import Item, Objects
from crdtsync.handles.batches import DEFAULT_BUCKET, BatchScope
from crdtsync.handles.bulk import BulkCalls
from crdtsync.node.backups import Backups
from crdtsync.node.buckets import Bucket
from crdtsync.node.health import Health, health
from crdtsync.node.opening import load_tls, named, open_store
from crdtsync.node.rescue import Rescue
from crdtsync.node.sessions import Sessions
from crdtsync.node.status import status
from crdtsync.node.watching import Hub, Watcher
from crdtsync.node.writing import Local

if TYPE_CHECKING:
    from crdtsync.backup.content import Summary
    from crdtsync.backup.writing import Stream
    from crdtsync.node.aio import AioNode
    from crdtsync.node.network import Network
    from crdtsync.storage.merging import Merged
    from crdtsync.transport.base import Transport

STATUS_TIMEOUT = 10.0  # s that replication has for its part of status(): it may be taking in a large transfer


def open(path: str | os.PathLike[str] | None, *, transport: TransportFactory | None = None, **settings: Any) -> Node:
    """Open the replica in directory `path`, making it if it is not there; None keeps everything in memory.

    `settings` are the fields of crdtsync.Config.  With `listen`, the node takes part in a cluster; with `join`, an
    empty directory waits up to `join_timeout` seconds until a member lets it in.  `transport` makes another transport
    than gRPC, for tests.  Raises ConfigError, StoreInUse, StoreDamaged, JoinError and the other environment faults.
    """
    return Node(path, make_config(settings), transport)


class Node(Objects, BulkCalls):
    """A replica.  Any thread may call; a context manager that closes it.

    The handles and listings of a node are those of its default bucket; `bucket(name)` has the same in another.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        config: Config,
        transport: TransportFactory | None = None,
        on_open: Callable[[Node], object] = lambda node: None,
    ) -> None:
        """`on_open` is called with the node once its directory is open, before it waits for a member to let it in."""
        if config.name:
            keys.check_name(config.name, "A node name", keys.BUCKET_MAX)
        self.tls = load_tls(config)
        self.config = config = named(config, self.tls)
        self._closing = threading.Lock()
        self._closed = False
        self._opened = open_store(path, config)
        self._store = self._opened.store
        self.local = Local(self._store, config)
        self.hub = Hub(self._store)
        self.sessions = self.local.sessions = Sessions(self.local, self.hub)
        self.local.watch, self.local.bucket = self._watch, self.bucket
        self._default = self.bucket(DEFAULT_BUCKET)
        self._object = self._default._object
        self._network: Network | None = None
        self._aio: AioNode | None = None
        self._rescue = Rescue(self.local)
        self.attached: list[Attached] = []
        self.backups = Backups(self.local, self.sessions, self._opened, self._net)
        _OPEN.add(self)
        try:
            on_open(self)
            self.rescue.settle()
            self._connect(transport)
        except BaseException:
            self.close()
            raise

    def _connect(self, transport: TransportFactory | None) -> None:
        from crdtsync.node.network import Network

        self._network = Network(self.local, self.sessions, transport, self.tls)
        self._network.start()

    # -- who and where

    @property
    def name(self) -> str:
        """The node's name, unique in its cluster."""
        return self._store.node

    @property
    def address(self) -> str:
        """host:port that peers reach this node at; empty without `listen`."""
        return self._network.address if self._network is not None else ""

    @property
    def closed(self) -> bool:
        """Whether the node has been closed."""
        return self._closed

    def __repr__(self) -> str:
        return f"<crdtsync node {self.name!r}{' closed' if self._closed else ''}>"

    # -- data

    def bucket(self, name: str) -> Bucket:
        """The bucket `name`: a group of keys with all the same methods.  Raises InvalidKey."""
        bucket = self.local.buckets.get(name)
        if bucket is None:
            try:
                bucket = Bucket(self.local, keys.check_bucket(name))
            except CrdtsyncError as error:
                raise self.local.refused(error) from None
            if len(self.local.buckets) < self.config.buckets_max:  # beyond, nothing can be written to it anyway
                bucket = self.local.buckets.setdefault(name, bucket)
        return bucket

    def buckets(self) -> list[str]:
        """Names of the buckets that have been written to, in order."""
        self.local.check()
        return sorted(self._store.buckets())

    @property
    def _bulk(self) -> Bucket:
        return self._default

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Names that start with `prefix` and hold something, each once, in the order of their UTF-8 bytes.

        They are read slice by slice: it stays correct while others write, and holds nothing up.
        """
        return self._default.keys(prefix)

    def items(self, prefix: str = "") -> Iterator[Item]:
        """(key, type, value) of every object whose key starts with `prefix`, in the order of keys, then of types."""
        return self._default.items(prefix)

    def delete(self, key: str, type: str | None = None) -> None:
        """Remove every object under a key that is known here, or only that of one type ("orset", ...).

        What others add meanwhile stays.  Nothing happens when there is nothing.  Raises BatchTooLarge.
        """
        self._default.delete(key, type)

    def batch(self, *, sync: bool = False, request_id: str | None = None) -> BatchScope:
        """A context manager: all writes in it take effect together at its end, here and on every peer, or none do.

        Reads inside it see the state before it.  It is bound to the bucket of its first write, and to the thread and
        task that opened it.  Inside another batch it joins that one.  With `sync` the end waits for the disk.

        With `request_id` it takes effect once: when its bucket has answered that id before, on this node, nothing is
        written, and the scope's `repeated` is True.  See docs/python-api.md, "Retries".
        Raises BatchTooLarge beyond `cluster.batch_bytes_max`, BatchMisuse for a second bucket or an id that came with
        other operations, InvalidKey for an id that is none; whatever an operation
        raises at the end (KeyError, FieldTypeError, CounterOverflow) leaves nothing either.
        """
        self.local.check()
        return BatchScope(self.local, None, sync, request_id)

    # -- where this replica stands

    def clock(self) -> dict[int, int]:
        """{actor id: number of its events} that this replica holds of the default bucket."""
        return self._default.clock()

    def digest(self) -> str:
        """32 hex digits over all buckets: equal replicas have equal digests.  Kept up to date, so it is cheap."""
        self.local.check()
        return f"{self._store.digest():032x}"

    def sync(self) -> None:
        """Return once everything written so far is on the disk.  Raises JournalFailed."""
        self.local.check()
        self.local.wait_durable()

    def token(self) -> str:
        """Where this replica stands, in all buckets: a string for `wait_for` and `watch` on any member."""
        return self.sessions.token()

    def wait_for(self, token: str, timeout: float | None = None) -> None:
        """Return once this replica holds all that `token` names; `timeout` in seconds, None waits for ever.

        Raises WaitTimeout, InvalidToken, Closed, and TokenLost when it is known that nobody holds it any more.
        """
        self.sessions.wait_for(token, timeout)

    def watch(
        self, prefix: str = "", *, after: str | None = None, bucket: str | None = DEFAULT_BUCKET, values: bool = True
    ) -> Watcher:
        """An iterator over changes of objects whose key starts with `prefix`, as Change(bucket, key, type, path, ...).

        Without `after` it tells what changes from now on; with a token it first tells what the token lacks.  Changes
        are of state, coalesced by object: whoever reads slowly is told the latest state once.  It tells everything at
        least once, in the order in which objects first changed, and ends when the node is closed.  `bucket=None`
        watches all buckets.  `values=False` leaves values out, which saves reading large sets.
        Raises TokenTooOld, InvalidToken; a reader that falls behind `watch_pending_max` objects gets SlowConsumer.
        """
        return self._watch(bucket, prefix, after, values)

    def _watch(self, bucket: str | None, prefix: str, after: str | None, values: bool) -> Watcher:
        return self.start_watcher(Watcher, bucket, prefix, after, values)

    def start_watcher(
        self, kind: Callable[..., W], bucket: str | None, prefix: str, after: str | None, values: bool
    ) -> W:
        """As `watch`, for a watcher of another kind."""
        self.local.check()
        try:
            if bucket is not None:
                keys.check_bucket(bucket)
            clocks = None if after is None else self.sessions.read(after)
            watcher = kind(self.local, self.sessions, self.hub, bucket, prefix, values)
            watcher.start(clocks)
        except CrdtsyncError as error:
            raise self.local.refused(error) from None
        return watcher

    def status(self, timeout: float = STATUS_TIMEOUT) -> dict[str, Any]:
        """One snapshot of plain values; docs/python-api.md lists its fields.

        Replication that is busy for more than `timeout` seconds has its last figures told again (`engine_age` says how
        old they are).  Raises WaitTimeout when there are none yet.
        """
        snapshot = status(self._opened, self.local, self.hub, self._net(), timeout)
        return snapshot | {"service": [part.status() for part in list(self.attached)]}

    def health(self) -> Health:
        """Whether the node does its work (`alive`) and takes reads and writes (`ready`); waits for nothing.

        Also of a node that is closed: then `reasons` says so.
        """
        return health(self._opened, self.local, self._network)

    # -- membership

    def members(self) -> dict[str, dict[str, Any]]:
        """{node name: {state, epoch, address}} of the cluster, as known here."""
        self.local.check()
        return {
            name: {"state": record.state, "epoch": record.epoch, "address": record.address}
            for name, record in sorted(self._store.members().items())
        }

    def leave(self, timeout: float | None = None) -> None:
        """Leave the cluster in good order: returns once another member holds all that was written here.

        The node takes no more writes.  Raises WaitTimeout after `timeout` seconds, MembershipMisuse when it is alone.
        """
        self._net().leave(timeout)

    def join(self, addresses: str | Sequence[str], timeout: float | None = None) -> str:
        """Dial these addresses, too; a node in no cluster, or one that has left, joins through them, as at an open.

        Returns its state once it has joined, or, for a member, has met a member there.  What a node that was in no
        cluster holds comes along; it takes no writes meanwhile (StartingOver).  Raises JoinError after `timeout`
        seconds (None: `join_timeout`), with everything as before; MembershipMisuse without `listen` or while it leaves.
        """
        return self._net().join([addresses] if isinstance(addresses, str) else list(addresses), timeout)

    def evict(self, name: str, *, force: bool = False) -> None:
        """Declare a member gone for good, so that it no longer holds the collection of deleted data back.

        Returns once more than half of the members have voted for it.  Raises QuorumMissing when they do not within some
        seconds (`force` asks nobody), and MembershipMisuse for an unknown node or this one.
        """
        self._net().evict(name, force)

    @property
    def rescue(self) -> Rescue:
        """What this node had to set aside when it started over: show, replay or drop it."""
        self.local.check()
        return self._rescue

    # -- backups

    def backup(
        self,
        path: str | os.PathLike[str],
        *,
        since: str | os.PathLike[str] | None = None,
        force: bool = False,
        progress: Callable[[int, int | None], None] | None = None,
    ) -> Summary:
        """Write the state of this moment, of all buckets, to the file `path`; writers go on meanwhile.

        `since` is the token of an earlier backup, or a Path of its file: then only what came after it is written, and
        restoring needs both.  `force` overwrites a file, though never that of `since`; else that is FileThere.
        `progress(done, total)` is told rows.  Raises BackupMismatch for a `since` that this node does not hold,
        InvalidToken, BackupExpired, RowDamaged, StartingOver, DiskFull, OSError; `path` then is as it was.
        """
        return self.backups.write(path, since, force, progress)

    def backup_stream(self, *, since: str | os.PathLike[str] | None = None, parent: str = "") -> Stream:
        """The same as an iterator over the bytes of the file, with its `summary` at the end; to be closed (`with`).

        `parent` is the id of the backup whose token `since` is, for people who read the file later.
        """
        return self.backups.stream(since, parent)

    def restore(
        self,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        progress: Callable[[int, int | None], None] | None = None,
    ) -> Merged:
        """Merge a full backup, and those that build on it, into this node, and so into its cluster.

        What the cluster has deleted since stays deleted; what it has lost comes back; merging twice is merging once.
        To begin a store from a backup, see crdtsync.backup.restore.  `progress(done, total)` is told bytes.
        Returns the numbers of rows changed, conflicts, registers rewritten and cells deleted again.  Raises
        BackupMismatch, BackupDamaged, and what a write raises.
        """
        return self.backups.merge(paths, progress)

    def _net(self) -> Network:
        self.local.check()
        if self._network is None:
            raise Misuse("The node is still opening.")
        return self._network

    # -- what serves this node

    def attach(self, part: Attached) -> None:
        """Take in something that serves this node: it is told of changes of state, shown in status(), closed first."""
        self.local.check()
        self.attached.append(part)
        self._net().on_state.append(part.state_changed)

    def detach(self, part: Attached) -> None:
        """The end of `attach`."""
        if part in self.attached:
            self.attached.remove(part)
            if self._network is not None:
                self._network.on_state.remove(part.state_changed)

    @property
    def state(self) -> str:
        """member, joining, starting_over, leaving, left or superseded."""
        return self._net().state

    # -- async, and the end

    @property
    def aio(self) -> AioNode:
        """Async twins of what can wait."""
        if self._aio is None:
            from crdtsync.node.aio import AioNode

            self._aio = AioNode(self)
        return self._aio

    def close(self) -> None:
        """Push what peers lack, for `close_timeout` seconds at most, write everything down, let go of the directory.

        May be called again, and from any thread; iterators of `watch` end.  Calls on the node raise Closed after it.
        """
        with self._closing:
            if self._closed:
                return
            self._closed = True
            if self.local.refusal is not None:
                return  # a forked child: the parent's files, threads and sockets are none of its own
            self.local.shut(_closed)
            with self._store.lock:  # ends the short way, see Writer
                pass
            with ExitStack() as rest:  # each step is taken whatever the ones before it raise
                rest.callback(_OPEN.discard, self)
                rest.callback(self._opened.close)
                rest.callback(self.backups.close)
                rest.callback(setattr, self.local, "refusal", _closed)
                rest.callback(self.hub.close)
                if self.tls is not None:
                    rest.callback(self.tls.stop)
                if self._network is not None:
                    rest.callback(self._network.stop)
                for part in list(self.attached):
                    rest.callback(part.close)

    def __enter__(self) -> Node:
        self.local.check()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Attached(Protocol):
    """What serves a node to others; the node knows no more of it."""

    def status(self) -> dict[str, Any]:
        """Its part of `Node.status()`."""

    def state_changed(self, state: str) -> None:
        """The node's state is another one.  Returns at once."""

    def close(self) -> None:
        """The node is being closed."""


W = TypeVar("W", bound=Watcher)
TransportFactory = Callable[[Config], "Transport"]
_OPEN: weakref.WeakSet[Node] = weakref.WeakSet()


def _closed() -> CrdtsyncError:
    return Closed("The node has been closed.")


def _forked() -> CrdtsyncError:
    return Forked("This process was forked after the node was opened; only the parent may use it.")


def _mark_forked() -> None:
    """In a forked child: its copies of open nodes refuse everything."""
    for node in list(_OPEN):
        node.local.refusal = _forked
        node.local.shut(_forked)


os.register_at_fork(after_in_child=_mark_forked)
