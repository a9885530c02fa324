"""Client: the data of nodes elsewhere, through the same handles as in a node of one's own."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from crdtsync.client import verbs
from crdtsync.client.buckets import RemoteBucket
from crdtsync.client.calls import Caller
from crdtsync.client.lines import Line
from crdtsync.client.nodes import Nodes
from crdtsync.client.streaming import WriteStream
from crdtsync.client.watching import RemoteWatcher
from crdtsync.config import ConnectConfig, make_connect_config
from crdtsync.datatypes import keys
from crdtsync.errors import CrdtsyncError
from crdtsync.handles import Item, Objects
from crdtsync.handles.batches import DEFAULT_BUCKET, BatchScope
from crdtsync.handles.bulk import BulkCalls
from crdtsync.handles.maps import H


def connect(addresses: str | Iterable[str], **settings: Any) -> Client:
    """A client of the node that serves data at "host:port" or "unix:path", or of one of several.

    `settings` are the fields of crdtsync.ConnectConfig.  Each address has one try of `connect_timeout` seconds.  Raises
    ConfigError, InsecureAddress, Unreachable, Denied.
    """
    return Client(addresses, make_connect_config(settings))


class Client(Objects, BulkCalls):
    """A connection to one of several nodes.  Any thread may call; a context manager that closes it.

    The handles and listings of a client are those of the default bucket; `bucket(name)` has the same in another.
    """

    def __init__(self, addresses: str | Iterable[str], config: ConnectConfig) -> None:
        rng = random.Random()
        self.config = config
        self._caller = Caller(Nodes(addresses, config, rng), config, rng)
        self._line = Line(self._caller)
        try:
            self._line.run(self._caller.connect())
        except BaseException:
            self._line.close()
            raise
        self._buckets: dict[str, RemoteBucket] = {}
        self._default = self.bucket(DEFAULT_BUCKET)

    # -- who and where

    @property
    def name(self) -> str:
        """Name of the node that calls go to."""
        return self._caller.nodes.now.name

    @property
    def address(self) -> str:
        """The address that calls go to: one of those given."""
        return self._caller.nodes.now.address

    @property
    def closed(self) -> bool:
        """Whether the client has been closed."""
        return self._caller.closed

    def __repr__(self) -> str:
        return f"<crdtsync client of {self._caller.nodes.now}{' closed' if self.closed else ''}>"

    # -- data

    def bucket(self, name: str) -> RemoteBucket:
        """The bucket `name`: a group of keys with all the same methods.  Raises InvalidKey."""
        bucket = self._buckets.get(name)
        if bucket is None:
            try:
                bucket = RemoteBucket(self._line, keys.check_bucket(name))
            except CrdtsyncError as error:
                raise self._line.refused(error) from None
            bucket = self._buckets.setdefault(name, bucket)
        return bucket

    def buckets(self) -> list[str]:
        """Names of the buckets that have been written to, in order."""
        return self._line.run(verbs.buckets(self._caller))

    def _object(self, kind: type[H], name: str, /) -> H:
        return self._default._object(kind, name)

    @property
    def _bulk(self) -> RemoteBucket:
        return self._default

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Names that start with `prefix` and hold something, each once, in the order of their UTF-8 bytes.

        They are fetched in pages; what others change meanwhile may be told or not.
        """
        return self._default.keys(prefix)

    def items(self, prefix: str = "") -> Iterator[Item]:
        """(key, type, value) of every object whose key starts with `prefix`, in the order of keys, then of types.

        Raises ValueTooLarge at an object that is larger than one answer may be.
        """
        return self._default.items(prefix)

    def delete(self, key: str, type: str | None = None) -> None:
        """Remove every object under a key that the node knows, or only that of one type ("orset", ...)."""
        self._default.delete(key, type)

    def batch(self, *, sync: bool = False, request_id: str | None = None) -> BatchScope:
        """A context manager: all writes in it take effect together at its end, there and on every peer, or none do.

        The rules are those of Node.batch.  Nothing is sent before the end.  `request_id` makes it harmless to send the
        batch again to the same node, from another program, too; without one it gets one that only this client knows.
        """
        self._caller.check()
        return BatchScope(self._line, None, sync, request_id)

    def stream(self, bucket: str = DEFAULT_BUCKET) -> WriteStream:
        """A context manager to write much: handles of it send operations in batches, without waiting for each.

        See docs/client.md, "Writing much".
        """
        self._caller.check()
        return WriteStream(self._line, self.bucket(bucket).name)

    def deadline(self, seconds: float) -> AbstractContextManager[None]:
        """A context manager: all calls made in it end within so many seconds in all, or sooner by their own timeout.

        It holds for this thread, or task and the tasks that it starts.  Calls that begin after it raise
        DeadlineExceeded and are not sent.
        """
        return self._caller.deadline(seconds)

    # -- where the node stands

    def clock(self) -> dict[int, int]:
        """{actor id: number of its events} that the node holds of the default bucket."""
        return self._default.clock()

    def digest(self) -> str:
        """32 hex digits over all buckets of the node: equal replicas have equal digests."""
        return self._line.run(verbs.position(self._caller)).digest.hex().rjust(32, "0")

    def sync(self) -> None:
        """Return once everything that the node took so far is on its disk.  Raises JournalFailed."""
        self._line.run(verbs.position(self._caller, sync=True))

    def token(self) -> str:
        """Where the node stands, in all buckets: a string for `wait_for` and `watch` on any member."""
        return self._line.run(verbs.position(self._caller)).token

    def wait_for(self, token: str, timeout: float | None = None) -> None:
        """Return once the node holds all that `token` names; `timeout` in seconds, None waits for ever.

        The session then has it, too: a node that the client goes to later is waited for in the same way.  Raises
        WaitTimeout, InvalidToken, and TokenLost when it is known that nobody holds it any more.
        """
        self._line.run(verbs.wait_for(self._caller, token, timeout))

    def watch(
        self, prefix: str = "", *, after: str | None = None, bucket: str | None = DEFAULT_BUCKET, values: bool = True
    ) -> RemoteWatcher:
        """An iterator over changes of objects whose key starts with `prefix`, as Change(bucket, key, type, path, ...).

        As Node.watch.  When its node goes away it goes on at the next one, from the last token: everything is told at
        least once.  Raises TokenTooOld, InvalidToken; a reader that falls too far behind gets SlowConsumer.
        """
        return self._line.watch(bucket, prefix, after, values)

    # -- the session

    def session(self) -> str:
        """Token of what this client has written, and read with session="reads"; empty when that is nothing."""
        return self._caller.session.token()[0]

    def forget(self) -> None:
        """Begin a new session: nodes need not hold any more what this client has written and read so far."""
        self._caller.session.forget()

    def status(self) -> dict[str, Any]:
        """One snapshot of plain values: `node`, `address`, `nodes`, `unsettled` and `counters`."""
        return self._caller.status()

    def close(self) -> None:
        """End all connections.  Calls that wait, and iterators of `watch`, end; calls after it raise Closed."""
        self._line.close()

    def __enter__(self) -> Client:
        self._caller.check()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
