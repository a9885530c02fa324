"""Watchers of remote nodes for asyncio: a task takes responses in, the reader takes changes out."""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import Context
from typing import TYPE_CHECKING

from crdtsync.client.calls import Call
from crdtsync.client.failures import CallFailed
from crdtsync.client.telling import Telling
from crdtsync.errors import CrdtsyncError
from crdtsync.handles import Change

if TYPE_CHECKING:
    from crdtsync.client.aio import AsyncLine


class AsyncWatcher:
    """An async iterator over changes; made by `watch`, begun by `async with` or by the first `next`."""

    def __init__(self, line: AsyncLine, bucket: str | None, prefix: str, after: str | None, values: bool) -> None:
        self.bucket = bucket  # None: all
        self._line = line
        self._telling = Telling(line.caller, bucket, prefix, after, values)
        self._queue: asyncio.Queue[tuple[list[Change], str] | None] = asyncio.Queue(line.caller.config.watch_ahead)
        self._current: deque[Change] = deque()  # being told
        self._token = self._aim = after or ""  # told; told after the current ones
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._over = False  # nothing more is taken in
        self._error: Exception | None = None  # why

    async def start(self) -> None:
        """Return when the node tells from where on it tells everything.  Raises what keeps it from doing so."""
        if self._task is not None or self._closed:
            return
        patience = self._line.caller.patience()
        # It outlives the deadline() that it may have been begun in.
        self._task = asyncio.create_task(self._take_in(), context=Context())
        try:
            async with asyncio.timeout(patience):
                first = await self._queue.get()
        except TimeoutError:
            self.close()
            raise self._telling.late() from None
        if first is None and self._error is None:
            self._line.caller.check()
        self._begin(first)

    # -- the task that takes in

    async def _take_in(self) -> None:
        try:
            while not self._line.caller.closed:
                await asyncio.sleep(await self._follow())
        except Exception as error:
            if not self._line.caller.closed:  # else that is what it ends of
                self._error = error
        finally:  # a channel that is closed cancels what waits for it
            self._over = True
            if self._queue.empty():
                self._queue.put_nowait(None)

    async def _follow(self) -> float:
        """One stream, until it fails; seconds to wait before the next."""
        caller = self._line.caller
        try:
            there, _, _ = await self._line.run(caller.make(Call("Describe", b"")))
        except CrdtsyncError as error:
            return self._telling.outlast(error)
        stream = await self._line.open(there.node, "Watch", "unary_stream", self._telling.request(there))
        try:
            while (response := await stream.read()) is not None:
                changes = self._telling.take_in(response, there)
                if changes or self._queue.empty():  # else a heartbeat that nobody waits for
                    await self._queue.put((changes, self._telling.token))
        except CallFailed as failure:
            if caller.closed:
                return 0.0
            caller.lost(there.node, failure)
            return self._telling.pause(failure)
        finally:
            stream.cancel()
        return caller.backoff(1)  # the node has ended it in good order: it is stopping

    # -- the reader's side

    async def next(self, timeout: float | None = None) -> Change | None:
        """The next change; None when `timeout` seconds bring none, and at the end.  Raises SlowConsumer."""
        try:
            async with asyncio.timeout(timeout) as limit:
                await self.start()
                while not self._current:
                    if self._over and self._queue.empty():
                        self._end()
                    if self._closed:
                        return None
                    self._begin(await self._queue.get())
        except TimeoutError:
            if not limit.expired():
                raise
            return None
        change = self._current.popleft()
        if not self._current:
            self._token = self._aim
        return change

    def _end(self) -> None:
        self.close()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _begin(self, told: tuple[list[Change], str] | None) -> None:
        if told is None:
            self._end()
            return
        self._current.extend(told[0])
        self._aim = told[1]
        if not self._current:
            self._token = self._aim

    @property
    def token(self) -> str:
        """Everything up to here has been told: where to resume when this watcher is lost."""
        return self._token

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self._closed

    def close(self) -> None:
        """End it."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()

    def __aiter__(self) -> AsyncWatcher:
        return self

    async def __anext__(self) -> Change:
        change = await self.next()
        if change is None:
            raise StopAsyncIteration
        return change

    async def __aenter__(self) -> AsyncWatcher:
        try:
            await self.start()
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
