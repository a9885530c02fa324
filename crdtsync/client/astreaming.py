"""Writing much from asyncio: as `streaming`, with handles whose verbs are awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING

from crdtsync.client.aio import AsyncBatch, AsyncBucket
from crdtsync.client.awaiting import Stream
from crdtsync.client.batching import Batching, RefusedBatch
from crdtsync.client.calls import Call
from crdtsync.client.failures import CallFailed
from crdtsync.client.nodes import Instance
from crdtsync.errors import BatchMisuse
from crdtsync.handles.batches import Operation

if TYPE_CHECKING:
    from crdtsync.client.aio import AsyncLine


class AsyncWriteStream(AsyncBucket):
    """Handles that write through a stream; made by `AsyncClient.stream`, for one task."""

    __slots__ = ("_batching", "_flow")

    def __init__(self, line: AsyncLine, name: str) -> None:
        super().__init__(line, name)
        self._batching = Batching(line.caller, name)
        self._flow: AsyncFlow | None = None

    async def write(self, operation: Operation) -> None:
        """Put one operation into the current batch; every so many, it leaves."""
        if self._batching.add(*operation):
            await self.cut()

    async def write_all(self, operations: Iterable[Operation]) -> None:
        """All of them in the stream's own batches."""
        for operation in operations:
            await self.write(operation)

    def batch(self, *, sync: bool = False, request_id: str | None = None) -> AsyncBatch:
        """Raises BatchMisuse: a stream makes its own batches, see `cut`."""
        raise self.refused(BatchMisuse("A stream makes its own batches.", hint="Use client.batch(), or stream.cut()."))

    async def cut(self) -> None:
        """As WriteStream.cut."""
        batch = self._batching.cut()
        if batch is None:
            return
        if self._flow is not None:
            self._flow.send(batch.request)
        else:
            await self._begin()
        while len(self._batching.waiting) >= self._batching.window:
            await self._await_one()

    async def flush(self) -> None:
        """As WriteStream.flush."""
        await self.cut()
        while self._batching.waiting:
            await self._await_one()
        self._batching.check()

    @property
    def refused_batches(self) -> list[RefusedBatch]:
        """Batches that the node refused: the first thousand."""
        return self._batching.refused

    @property
    def unanswered(self) -> list[tuple[str, int]]:
        """(request id, number of operations) of the batches that have left and have no answer, in their order."""
        return self._batching.unanswered()

    @property
    def answered(self) -> int:
        """Operations that have been answered: carried out, or refused."""
        return self._batching.answered

    async def _begin(self) -> None:
        """Open a stream to the node that calls go to, and send what has not been sent."""
        line = self._line
        await line.run(self._batching.resume())
        there, _, _ = await line.run(line.caller.make(Call("Describe", b"")))
        self._flow = AsyncFlow(there, await line.open(there.node, "ApplyStream", "stream_stream", None))
        for batch in self._batching.waiting:
            self._flow.send(batch.request)

    async def _await_one(self) -> None:
        flow = self._flow
        if flow is None:
            await self._begin()
            return
        try:
            answer = await flow.next(self._line.caller.config.attempt_timeout)
            await self._line.run(self._batching.take(flow.there, answer))
        except CallFailed as failure:
            await self._end()
            await self._line.run(self._batching.settle(flow.there, failure))

    async def close(self) -> None:
        """Flush, and end the stream."""
        try:
            await self.flush()
        finally:
            await self._end()

    async def _end(self) -> None:
        flow, self._flow = self._flow, None
        if flow is not None:
            await flow.close()

    async def __aenter__(self) -> AsyncWriteStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """After an exception, what has not left is dropped; what has left may be carried out."""
        if kind is None:
            await self.close()
        else:
            self._batching.drop()
            await self._end()


class AsyncFlow:
    """One gRPC stream: a task sends requests, another takes the answers in."""

    def __init__(self, there: Instance, stream: Stream) -> None:
        self.there = there
        self._stream = stream
        self._requests: asyncio.Queue[bytes] = asyncio.Queue()
        self._answers: asyncio.Queue[bytes | CallFailed] = asyncio.Queue()
        self._tasks = [asyncio.create_task(self._send()), asyncio.create_task(self._take_in())]

    def send(self, request: bytes) -> None:
        """Hand a request over; it leaves when gRPC has room for it."""
        self._requests.put_nowait(request)

    async def _send(self) -> None:
        while await self._stream.write(await self._requests.get() + self.there.stamp):
            pass

    async def _take_in(self) -> None:
        try:
            while (answer := await self._stream.read()) is not None:
                self._answers.put_nowait(answer)
            self._answers.put_nowait(CallFailed("the node has ended the stream"))
        except CallFailed as failure:
            self._answers.put_nowait(failure)

    async def next(self, timeout: float) -> bytes:
        """The next answer.  Raises CallFailed."""
        try:
            async with asyncio.timeout(timeout):
                answer = await self._answers.get()
        except TimeoutError:
            raise CallFailed("no answer in time") from None
        if isinstance(answer, CallFailed):
            raise answer
        return answer

    async def close(self) -> None:
        """End the stream, whatever is on the way."""
        self._stream.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
