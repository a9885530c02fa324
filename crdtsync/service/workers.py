"""Which thread a call is worked off on.

The event loop is shared with the gossip of every node of the process, so nothing may hold it up.  What is small is done
on the loop when the store's lock is free: that costs less than handing it over.  The rest goes to a few threads.  What
waits for the disk holds none: one sync serves all that wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from crdtsync.node.writing import Local

T = TypeVar("T")


class Workers:
    """The threads of one server, and the waiting for the disk."""

    def __init__(self, local: Local, threads: int, inline_bytes: int) -> None:
        self._local, self._store = local, local.store
        self.inline_bytes = inline_bytes  # what is smaller takes a millisecond or two at most
        self._pool = ThreadPoolExecutor(threads, "crdtsync-service")
        self._operators = ThreadPoolExecutor(threads, "crdtsync-admin")
        self._patient = ThreadPoolExecutor(threads, "crdtsync-waiting")
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []  # (record, who waits until it is on the disk)
        self._syncing: asyncio.Task[None] | None = None

    async def run(self, call: Callable[..., T], *arguments: Any) -> T:
        """On a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, call, *arguments)

    async def operate(self, call: Callable[..., T], *arguments: Any) -> T:
        """On a thread kept for operators: what they ask may take long."""
        return await asyncio.get_running_loop().run_in_executor(self._operators, call, *arguments)

    async def wait(self, call: Callable[..., T], *arguments: Any) -> T:
        """On a thread kept for what waits for other nodes, so that operators can look on meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self._patient, call, *arguments)

    async def sized(self, size: int, call: Callable[..., T], *arguments: Any) -> T:
        """Work without the store on `size` bytes: here and now if they are few, else on a thread."""
        if size <= self.inline_bytes:
            return call(*arguments)
        return await self.run(call, *arguments)

    async def small(self, call: Callable[..., T], *arguments: Any) -> T:
        """Little work on the store: here and now if its lock is free and no writer waits, else on a thread."""
        store = self._store
        if store.lock.acquire(blocking=False):
            try:
                if store.dirty < store.config.dirty_bytes_max:
                    return call(*arguments)
            finally:
                store.lock.release()
        return await self.run(call, *arguments)

    async def durable(self) -> None:
        """Return once everything written so far is on the disk.  Raises JournalFailed, Closed."""
        record = self._store.last_record
        if self._store.synced_record >= record:
            return
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append((record, waiting))
        if self._syncing is None:
            self._syncing = asyncio.get_running_loop().create_task(self._sync())
        await waiting

    async def _sync(self) -> None:
        """Sync for all that wait, again and again until nobody does."""
        try:
            while self._waiting:
                asked, self._waiting = self._waiting, []
                try:
                    await self.run(self._store.wait_durable, max(record for record, _ in asked))
                except Exception as error:
                    _tell(asked, error)
                else:
                    _tell(asked, None)
        finally:
            self._syncing = None

    def stop(self) -> None:
        """Take nothing more; what runs ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._operators.shutdown(wait=False, cancel_futures=True)
        self._patient.shutdown(wait=False, cancel_futures=True)


def _tell(asked: list[tuple[int, asyncio.Future[None]]], error: Exception | None) -> None:
    for _, waiting in asked:
        if waiting.done():
            continue
        if error is None:
            waiting.set_result(None)
        else:
            waiting.set_exception(error)
