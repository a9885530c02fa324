"""AsyncClient: the same for asyncio, with handles whose verbs are awaited.

async with crdtsync.aio.connect("127.0.0.1:7500") as client:
    await client.pncounter("stock").increment(12)
    async with client.batch(sync=True):
        await client.orset("seen").add("x")                     # noted down; sent at the end
    async for change in client.watch("product:"): ...
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Generator, Iterable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from crdtsync.client import verbs
from crdtsync.client.abulk import AsyncBulkCalls
from crdtsync.client.awaiting import Awaiting
from crdtsync.client.awatching import AsyncWatcher
from crdtsync.client.calls import Caller
from crdtsync.client.nodes import Nodes
from crdtsync.client.steps import Steps
from crdtsync.client.twins import AsyncObjects
from crdtsync.config import ConnectConfig, make_connect_config
from crdtsync.datatypes import keys
from crdtsync.datatypes.keys import Place
from crdtsync.datatypes.registry import DELETE, everything_under
from crdtsync.errors import CrdtsyncError
from crdtsync.handles import Item
from crdtsync.handles.batches import CURRENT, DEFAULT_BUCKET, BatchScope, Operation

if TYPE_CHECKING:
    from crdtsync.client.astreaming import AsyncWriteStream

P = ParamSpec("P")
T = TypeVar("T")


class AsyncLine(Awaiting):
    """What the buckets of one client share."""

    @property
    def batch_bytes_max(self) -> int:
        """ClusterSettings.batch_bytes_max of the node."""
        return int(self.caller.described.batch_bytes_max)

    def carry_out(self, bucket: str, operations: list[Operation], request_id: str | None, *, sync: bool) -> Any:
        raise NotImplementedError  # AsyncBatch does it, and awaits it

    def token_after(self, bucket: str, answer: Any) -> str:
        """The token of a batch; empty when it changed nothing."""
        return "" if answer is None else str(answer.token)

    def wait_durable(self) -> None:
        """The node has waited."""


class AsyncBatch:
    """The async context manager behind `batch()`; afterwards `repeated` and `token` tell what became of it."""

    def __init__(self, line: AsyncLine, bucket: str | None, sync: bool, request_id: str | None) -> None:
        self._line = line
        self._scope = BatchScope(line, bucket, sync, request_id)

    async def __aenter__(self) -> BatchScope:
        return self._scope.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        batch = self._scope.leave(failed=kind is not None)
        if batch is None:
            return
        if not batch.empty:
            steps = verbs.write(
                self._line.caller, batch.bucket or DEFAULT_BUCKET, batch.operations, batch.request_id, batch.sync
            )
            batch.answer = await self._line.run(steps)
        batch.ended = True


class AsyncBucket(AsyncObjects, AsyncBulkCalls):
    """A named group of keys: all handles, in this bucket.  It comes into being with its first write."""

    __slots__ = ("_line", "depth_max", "key_bytes_max", "name", "value_bytes_max")

    def __init__(self, line: AsyncLine, name: str) -> None:
        self.name = name
        self._line = line
        described = line.caller.described
        self.depth_max: int = described.depth_max
        self.key_bytes_max: int = described.key_bytes_max
        self.value_bytes_max: int = described.value_bytes_max

    def _at(self, name: str, code: bytes) -> tuple[AsyncBucket, Place]:
        return self, self._checked(keys.top, name, code, self.key_bytes_max)

    def _checked(self, check: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return check(*args, **kwargs)
        except CrdtsyncError as error:
            raise self.refused(error) from None

    def refused(self, error: CrdtsyncError) -> CrdtsyncError:
        """Count a refusal; gives it back, to be raised."""
        return self._line.refused(error)

    async def ask(self, verb: Callable[Concatenate[Caller, str, P], Steps[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Ask the node something of this bucket."""
        return await self._line.run(verb(self._line.caller, self.name, *args, **kwargs))

    async def write(self, operation: Operation) -> None:
        """Do it now, or, inside a batch, note it down for the batch's end."""
        batch = CURRENT.get()
        if batch is not None and (batch := batch.of(self._line)) is not None:
            self._checked(batch.add, self.name, *operation)
        else:
            await self.ask(verbs.write, [operation], None, False)

    async def write_all(self, operations: Iterable[Operation]) -> None:
        """Write them in a batch of their own, or in the one that is open."""
        async with self.batch():
            for operation in operations:
                await self.write(operation)

    @property
    def _bulk(self) -> AsyncBucket:
        return self

    def batch(self, *, sync: bool = False, request_id: str | None = None) -> AsyncBatch:
        """An async context manager: all writes in it take effect together at its end, or none.  See Client.batch."""
        self._line.caller.check()
        return AsyncBatch(self._line, self.name, sync, request_id)

    async def delete(self, key: str, type: str | None = None) -> None:
        """Remove every object under a key that the node knows, or only that of one type; nothing happens if absent."""
        await self.write((DELETE, self._checked(everything_under, key, type), None))

    def keys(self, prefix: str = "") -> AsyncIterator[str]:
        """Names that start with `prefix` and hold something, each once, in the order of their UTF-8 bytes."""
        self._checked(keys.check_prefix, prefix)
        return self._pages(prefix, True)

    def items(self, prefix: str = "") -> AsyncIterator[Item]:
        """(key, type, value) of every object whose key starts with `prefix`, in the order of keys, then of types."""
        self._checked(keys.check_prefix, prefix)
        return self._pages(prefix, False)

    async def _pages(self, prefix: str, keys_only: bool) -> AsyncIterator[Any]:
        cursor = b""
        while True:
            items, cursor = await self.ask(verbs.page, prefix, cursor, keys_only)
            for item in items:
                yield item
            if not cursor:
                return

    async def clock(self) -> dict[int, int]:
        """{actor id: number of its events} that the node holds of the bucket."""
        found = await self.ask(verbs.bucket_position)
        return dict(zip(found.actors, found.seqs, strict=True))

    async def digest(self) -> str:
        """32 hex digits: equal for equal contents, whoever wrote them in whatever order."""
        return (await self.ask(verbs.bucket_position)).digest.hex().rjust(32, "0")

    async def token(self) -> str:
        """Where the node stands in this bucket, for `wait_for` and `watch` on any node."""
        return (await self._line.run(verbs.position(self._line.caller, [self.name]))).token

    def watch(self, prefix: str = "", *, after: str | None = None, values: bool = True) -> AsyncWatcher:
        """Changes in this bucket.  See Client.watch."""
        self._checked(keys.check_prefix, prefix)
        return AsyncWatcher(self._line, self.name, prefix, after, values)

    def __repr__(self) -> str:
        return f"<async bucket {self.name!r} of {self._line.caller.nodes.now}>"


class AsyncClient(AsyncObjects, AsyncBulkCalls):
    """A connection to one of several nodes, for one event loop; `crdtsync.aio.connect` makes it.

    The handles and listings of a client are those of the default bucket; `bucket(name)` has the same in another.
    """

    def __init__(self, addresses: str | Iterable[str], config: ConnectConfig) -> None:
        rng = random.Random()
        self.config = config
        self._caller = Caller(Nodes(addresses, config, rng), config, rng)
        self._line = AsyncLine(self._caller)
        self._buckets: dict[str, AsyncBucket] = {}

    async def _connect(self) -> AsyncClient:
        try:
            await self._line.run(self._caller.connect())
        except BaseException:
            await self._line.close()
            raise
        return self

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
        return f"<crdtsync async client of {self._caller.nodes.now}{' closed' if self.closed else ''}>"

    def bucket(self, name: str) -> AsyncBucket:
        """The bucket `name`: a group of keys with all the same methods.  Raises InvalidKey."""
        bucket = self._buckets.get(name)
        if bucket is None:
            try:
                bucket = AsyncBucket(self._line, keys.check_bucket(name))
            except CrdtsyncError as error:
                raise self._line.refused(error) from None
            self._buckets[name] = bucket
        return bucket

    @property
    def _default(self) -> AsyncBucket:
        return self.bucket(DEFAULT_BUCKET)

    @property
    def _bulk(self) -> AsyncBucket:
        return self._default

    async def buckets(self) -> list[str]:
        """Names of the buckets that have been written to, in order."""
        return await self._line.run(verbs.buckets(self._caller))

    def _at(self, name: str, code: bytes) -> tuple[AsyncBucket, Place]:
        return self._default._at(name, code)

    def keys(self, prefix: str = "") -> AsyncIterator[str]:
        """As Client.keys, for `async for`."""
        return self._default.keys(prefix)

    def items(self, prefix: str = "") -> AsyncIterator[Item]:
        """As Client.items, for `async for`."""
        return self._default.items(prefix)

    async def delete(self, key: str, type: str | None = None) -> None:
        """As Client.delete."""
        await self._default.delete(key, type)

    def batch(self, *, sync: bool = False, request_id: str | None = None) -> AsyncBatch:
        """As Client.batch, for `async with`; it belongs to the task that opened it."""
        self._caller.check()
        return AsyncBatch(self._line, None, sync, request_id)

    def stream(self, bucket: str = DEFAULT_BUCKET) -> AsyncWriteStream:
        """As Client.stream, for `async with` and one task."""
        from crdtsync.client.astreaming import AsyncWriteStream

        self._caller.check()
        return AsyncWriteStream(self._line, self.bucket(bucket).name)

    def deadline(self, seconds: float) -> AbstractContextManager[None]:
        """As Client.deadline, with a plain `with`."""
        return self._caller.deadline(seconds)

    async def clock(self) -> dict[int, int]:
        """As Client.clock."""
        return await self._default.clock()

    async def digest(self) -> str:
        """As Client.digest."""
        return (await self._line.run(verbs.position(self._caller))).digest.hex().rjust(32, "0")

    async def sync(self) -> None:
        """As Client.sync."""
        await self._line.run(verbs.position(self._caller, sync=True))

    async def token(self) -> str:
        """As Client.token."""
        return (await self._line.run(verbs.position(self._caller))).token

    async def wait_for(self, token: str, timeout: float | None = None) -> None:
        """As Client.wait_for."""
        await self._line.run(verbs.wait_for(self._caller, token, timeout))

    def watch(
        self, prefix: str = "", *, after: str | None = None, bucket: str | None = DEFAULT_BUCKET, values: bool = True
    ) -> AsyncWatcher:
        """As Client.watch, for `async for`; it begins with `async with`, or when the first change is asked for."""
        try:
            if bucket is not None:
                keys.check_bucket(bucket)
            keys.check_prefix(prefix)
        except CrdtsyncError as error:
            raise self._line.refused(error) from None
        return AsyncWatcher(self._line, bucket, prefix, after, values)

    def session(self) -> str:
        """As Client.session."""
        return self._caller.session.token()[0]

    def forget(self) -> None:
        """As Client.forget."""
        self._caller.session.forget()

    def status(self) -> dict[str, Any]:
        """As Client.status."""
        return self._caller.status()

    async def close(self) -> None:
        """As Client.close."""
        await self._line.close()

    async def __aenter__(self) -> AsyncClient:
        self._caller.check()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class Connecting:
    """A client being connected: await it, or use it with `async with`, which closes the client."""

    def __init__(self, addresses: str | Iterable[str], settings: dict[str, Any]) -> None:
        self._addresses, self._config = addresses, make_connect_config(settings)
        self._client: AsyncClient | None = None

    async def _connect(self) -> AsyncClient:
        self._client = await AsyncClient(self._addresses, self._config)._connect()
        return self._client

    def __await__(self) -> Generator[Any, None, AsyncClient]:
        return self._connect().__await__()

    async def __aenter__(self) -> AsyncClient:
        return await self._connect()

    async def __aexit__(self, *_: object) -> None:
        if self._client is not None:
            await self._client.close()
