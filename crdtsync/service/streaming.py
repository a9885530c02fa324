"""ApplyStream: batches that follow each other without waiting for answers.

Requests are read ahead of the store up to `window_bytes`, carried out and answered in their order.  A refused one has
its error in its response, and the next one is carried out all the same; unless it was refused for what passes, as by a
node that is full or starts over.  Then so are all that follow it: the caller will send it again, and what came after
it must not be carried out before.  A caller that does not read its responses is
not read from either.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from crdtsync.errors import PASSING, Unavailable
from crdtsync.service.calls import CallerGone, Calls, read_on, write
from crdtsync.transport.pb import data_pb2 as pb

if TYPE_CHECKING:
    from crdtsync.config import ServeConfig
    from crdtsync.service.applying import Applying
    from crdtsync.service.workers import Workers


class Stream:
    """One stream of batches."""

    def __init__(self, config: ServeConfig, applying: Applying, calls: Calls, workers: Workers, context: Any) -> None:
        self._config, self._applying, self._calls, self._workers = config, applying, calls, workers
        self._context = context
        self._queue: deque[bytes] = deque()
        self._queued = 0  # bytes in the queue
        self._ended = False  # no more requests come
        self._refusal: pb.ApplyResponse | None = None  # of all that still comes
        self._moved = asyncio.Event()  # the queue or `_ended` has changed

    async def run(self) -> None:
        """Until the caller has said that it is done, and has its last response; or the server stops: what was taken
        is answered then, and nothing more is taken."""
        reading = asyncio.get_running_loop().create_task(self._read())
        self._calls.on_stop.add(self._moved.set)
        try:
            while batch := await self._take():
                await self._work(batch)
            if not self._ended:
                raise Unavailable("The server is stopping.")
            reading.result()
        finally:
            self._calls.on_stop.discard(self._moved.set)
            reading.cancel()

    async def _read(self) -> None:
        """Queue what comes, as long as there is room."""
        try:
            while (data := await read_on(self._context)) is not None:
                self._queue.append(data)
                self._queued += len(data)
                self._moved.set()
                while self._queued >= self._config.window_bytes:
                    self._moved.clear()
                    await self._moved.wait()
        finally:
            self._ended = True
            self._moved.set()

    async def _take(self) -> list[bytes]:
        """All that waits; nothing at the end, and once the server is stopping."""
        while not self._queue and not self._ended and not self._calls.stopping:
            self._moved.clear()
            await self._moved.wait()
        if self._calls.stopping:
            return []
        batch = list(self._queue)
        self._queue.clear()
        self._queued = 0
        self._moved.set()
        return batch

    async def _work(self, batch: list[bytes]) -> None:
        """Carry out and answer; one wait for the disk serves all of them."""
        done: list[tuple[pb.ApplyResponse, bool]] = []
        size = 0
        for data in batch:
            done.append(await self._one(data))
            size += len(data)
            if size > self._workers.inline_bytes:
                size = 0
                await asyncio.sleep(0)  # others have their turn on the loop
        failure = await self._durable() if any(waits for _, waits in done) else None
        for response, waits in done:
            told = failure if waits and failure is not None else response
            await write(self._context, told.SerializeToString(), self._config.stall_max)

    async def _one(self, data: bytes) -> tuple[pb.ApplyResponse, bool]:
        if self._refusal is not None:
            return self._refusal, False
        try:
            return await self._applying.apply(data, self._context)
        except CallerGone:
            raise
        except Exception as error:
            return self._refused(error), False

    def _refused(self, error: Exception) -> pb.ApplyResponse:
        response = pb.ApplyResponse(error=self._calls.noted(error))
        if isinstance(error, PASSING):
            self._refusal = response
        return response

    async def _durable(self) -> pb.ApplyResponse | None:
        """Wait for the disk; the response to give when it fails."""
        try:
            await self._workers.durable()
        except Exception as error:
            return self._refused(error)
        return None
