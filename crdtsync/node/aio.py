"""Async twins of what can wait.  Everything else takes microseconds and is called as it is, from async code too.

async with crdtsync.aio.open("data/a") as node:
    node.pncounter("stock").increment(12)
    await node.aio.sync()
    async with node.aio.batch(sync=True): ...
    await node.aio.wait_for(token, timeout=1.0)
    async for change in node.aio.watch("product:"): ...
    await node.aio.run(node.pncounter("stock").increment)      # with durability="each", or where writers may stall
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from crdtsync.clocks.tokens import Clocks
from crdtsync.datatypes import lwwregister, orset, pncounter
from crdtsync.handles import Change
from crdtsync.handles.batches import CURRENT, DEFAULT_BUCKET, BatchScope
from crdtsync.handles.bulk import ROWS
from crdtsync.node.sessions import LOST_CHECK_INTERVAL
from crdtsync.node.shell import Node
from crdtsync.node.shell import open as open_node
from crdtsync.node.watching import Watcher

if TYPE_CHECKING:
    from crdtsync.datatypes.columns import Array, Columns

LOST_CHECK_MAX = 4.0  # s between such questions once a wait has become long
P = ParamSpec("P")
T = TypeVar("T")


class Opening:
    """A node being opened: await it, or use it with `async with`, which closes the node."""

    def __init__(self, path: str | os.PathLike[str] | None, settings: dict[str, Any]) -> None:
        self._path, self._settings = path, settings
        self._node: Node | None = None

    async def _open(self) -> Node:
        opening = asyncio.ensure_future(asyncio.to_thread(open_node, self._path, **self._settings))
        try:
            self._node = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_unwanted)  # the thread cannot be stopped: the node would stay open
            raise
        return self._node

    def __await__(self) -> Generator[Any, None, Node]:
        return self._open().__await__()

    async def __aenter__(self) -> Node:
        return await self._open()

    async def __aexit__(self, *_: object) -> None:
        if self._node is not None:
            await self._node.aio.close()


def _close_unwanted(opening: asyncio.Future[Node]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        threading.Thread(target=opening.result().close, name="crdtsync-close").start()


class AioNode:
    """The async half of a node, reached as `node.aio`."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def run(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Make any call of a node or handle in a worker thread; outside batches, which belong to their own task."""
        return await asyncio.to_thread(call, *args, **kwargs)

    async def sync(self) -> None:
        """As Node.sync."""
        await asyncio.to_thread(self._node.sync)

    async def close(self) -> None:
        """As Node.close."""
        await asyncio.to_thread(self._node.close)

    async def leave(self, timeout: float | None = None) -> None:
        """As Node.leave."""
        await asyncio.to_thread(self._node.leave, timeout)

    async def evict(self, name: str, *, force: bool = False) -> None:
        """As Node.evict."""
        await asyncio.to_thread(self._node.evict, name, force=force)

    def batch(self, *, sync: bool = False, request_id: str | None = None) -> AioBatch:
        """As Node.batch, for `async with`; waits for the disk without holding the event loop up."""
        return AioBatch(self._node, self._node.batch(sync=sync, request_id=request_id))

    async def wait_for(self, token: str, timeout: float | None = None) -> None:
        """As Node.wait_for; holds no thread."""
        await self.wait_until(self._node.sessions.read(token), timeout)

    async def wait_until(self, wanted: Clocks, timeout: float | None) -> None:
        """As `wait_for`, of a token that has been read."""
        if self._node.sessions.held(wanted):
            return
        waiting = Wake(asyncio.get_running_loop())
        hub = self._node.hub
        hub.listen(waiting.note)
        try:
            async with asyncio.timeout(timeout):
                interval = LOST_CHECK_INTERVAL
                ask_at = time.monotonic() + interval
                while not self._node.sessions.held(wanted):
                    await waiting.next(LOST_CHECK_INTERVAL)
                    self._node.local.check()
                    if time.monotonic() >= ask_at:
                        await asyncio.to_thread(self._node.sessions.give_up, wanted)
                        interval = min(2 * interval, LOST_CHECK_MAX)  # many may wait, and each asks the engine
                        ask_at = time.monotonic() + interval
        except TimeoutError as error:
            self._late(wanted, timeout, error)
        finally:
            hub.forget(waiting.note)

    def _late(self, wanted: Clocks, timeout: float | None, error: TimeoutError) -> None:
        """The deadline has passed: nothing, if what was waited for came just now; else WaitTimeout."""
        if not self._node.sessions.held(wanted):
            raise self._node.sessions.too_late(wanted, timeout or 0.0) from error

    async def increment_many(
        self, keys: Any, amounts: Any = 1, *, type: str = pncounter.NAME, bucket: str = DEFAULT_BUCKET
    ) -> None:
        """As Node.increment_many."""
        await self._in_bulk(self._node.bucket(bucket).increment_many, keys, amounts, type=type)

    async def add_many(
        self, keys: Any, elements: Any, *, type: str = orset.NAME, bucket: str = DEFAULT_BUCKET
    ) -> None:
        """As Node.add_many."""
        await self._in_bulk(self._node.bucket(bucket).add_many, keys, elements, type=type)

    async def set_many(
        self, keys: Any, values: Any, *, type: str = lwwregister.NAME, bucket: str = DEFAULT_BUCKET
    ) -> None:
        """As Node.set_many."""
        await self._in_bulk(self._node.bucket(bucket).set_many, keys, values, type=type)

    async def _in_bulk(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """In a worker thread; inside a batch, which belongs to its task, here: it is only noted down then."""
        batch = CURRENT.get()
        if batch is not None and batch.of(self._node.local) is not None:
            return call(*args, **kwargs)
        return await asyncio.to_thread(call, *args, **kwargs)

    async def read_many(self, keys: Any, *, type: str = pncounter.NAME, bucket: str = DEFAULT_BUCKET) -> Array:
        """As Node.read_many."""
        return await asyncio.to_thread(self._node.bucket(bucket).read_many, keys, type=type)

    def columns(
        self, prefix: str = "", *, type: str = pncounter.NAME, rows: int = ROWS, bucket: str = DEFAULT_BUCKET
    ) -> AsyncIterator[Columns]:
        """As Node.columns, for `async for`."""
        return _pages(self._node.bucket(bucket).columns(prefix, type=type, rows=rows))

    def watch(
        self, prefix: str = "", *, after: str | None = None, bucket: str | None = "default", values: bool = True
    ) -> AioWatcher:
        """As Node.watch, for `async for`; holds no thread."""
        return AioWatcher(self._node.watch(prefix, after=after, bucket=bucket, values=values))


async def _pages(pages: Iterator[Columns]) -> AsyncIterator[Columns]:
    while (page := await asyncio.to_thread(next, pages, None)) is not None:
        yield page


class AioBatch:
    """The async context manager behind `node.aio.batch()`."""

    def __init__(self, node: Node, scope: BatchScope) -> None:
        self._node, self._scope = node, scope

    async def __aenter__(self) -> BatchScope:
        return self._scope.__enter__()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._scope.finish(failed=kind is not None):
            await self._node.aio.sync()


class Wake:
    """An event of one loop that any thread may set, often, at little cost."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._event, self._set = loop, asyncio.Event(), False

    def set(self) -> None:
        if not self._set:
            self._set = True
            try:
                self._loop.call_soon_threadsafe(self._event.set)
            except RuntimeError:  # the loop has ended, and its waiters with it
                pass

    def note(self, bucket: str, changed: list[bytes], local: bool) -> None:
        self.set()

    def clear(self) -> None:
        self._set = False
        self._event.clear()

    async def next(self, timeout: float | None) -> None:
        """Wait until set, or for `timeout` seconds."""
        try:
            await asyncio.wait_for(self._event.wait(), timeout)
        except TimeoutError:
            pass
        self.clear()


class AioWatcher:
    """An async iterator over the changes of a Watcher; ends when it or its node is closed."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._wake: Wake | None = None

    @property
    def token(self) -> str:
        """Everything up to here has been told."""
        return self._watcher.token

    def close(self) -> None:
        """End it."""
        self._watcher.close()

    def __aiter__(self) -> AioWatcher:
        return self

    async def __anext__(self) -> Change:
        if self._wake is None:
            self._wake = Wake(asyncio.get_running_loop())
            self._watcher.wake = self._wake.set
        while True:
            self._wake.clear()
            change = self._watcher.next(0)
            if change is not None:
                return change
            if self._watcher.closed:
                raise StopAsyncIteration
            await self._wake.next(None)

    async def __aenter__(self) -> AioWatcher:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
