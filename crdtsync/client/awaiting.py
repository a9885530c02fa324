"""Steps taken for an event loop: grpc.aio's channels, on the one loop of this process that gRPC uses.

grpc.aio tells every loop that ever used it of every completion, and with two of them some are told to nobody.  So a
call hops to the transport's loop and back.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import grpc.aio

from crdtsync.client.calls import Caller
from crdtsync.client.channels import Dialing, method
from crdtsync.client.failures import CallFailed, failed
from crdtsync.client.nodes import Node
from crdtsync.client.steps import Ask, Collect, Look, Pause, Step, Steps
from crdtsync.errors import CrdtsyncError
from crdtsync.transport.loop import shared_loop

T = TypeVar("T")
READY = grpc.ChannelConnectivity.READY
aio: Any = grpc.aio  # its published stubs describe another API


class Awaiting:
    """The connections of one client, and who takes its steps."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self._dialing = Dialing(caller.config)
        self._retired: list[Any] = []  # channels with certificates that have been replaced
        self._channels: dict[Node, Any] = {}
        self._calls: dict[tuple[Node, str], Any] = {}
        self._running: weakref.WeakSet[Any] = weakref.WeakSet()  # closing a channel does not end all that runs on it

    async def run(self, steps: Steps[T]) -> T:
        """Take all steps; what the generator returns or raises."""
        return await hop(self._run(steps))

    async def _run(self, steps: Steps[T]) -> T:
        try:
            step = next(steps)
            while True:
                try:
                    result = await self._take(step)
                except CallFailed as failure:
                    step = steps.throw(failure)
                else:
                    step = steps.send(result)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        finally:
            steps.close()  # after an interruption they note down what may have been taken

    def refused(self, error: CrdtsyncError) -> CrdtsyncError:
        """Count a refusal; gives it back, to be raised."""
        return self.caller.counters.refused(error)

    async def _take(self, step: Step) -> Any:
        if type(step) is Ask:
            return await self._ask(step)
        if type(step) is Collect:
            return await self._collect(step)
        if type(step) is Pause:
            return await asyncio.sleep(step.seconds)
        assert type(step) is Look
        return await asyncio.to_thread(self._dialing.look, step.node)

    async def _ask(self, step: Ask) -> bytes:
        if step.method == "Describe" and self._dialing.renewed():
            self._retire()
        try:
            call = self._begin(step.node, step.method, "unary_unary", step.request, step.timeout)
            answer: bytes = await call
            return answer
        except asyncio.CancelledError:
            raise self.ended() from None
        except aio.AioRpcError as error:
            raise failed(error) from None
        except aio.UsageError as error:  # the channel was closed in between
            raise CallFailed(str(error), taken=False) from None

    async def _collect(self, step: Collect) -> tuple[list[bytes], bool]:
        answers: list[bytes] = []
        try:
            stream = self._begin(step.node, step.method, "unary_stream", step.request, step.timeout)
            size = 0
            async for answer in stream:
                answers.append(answer)
                size += len(answer)
                if size >= step.most:
                    stream.cancel()
                    return answers, False
        except asyncio.CancelledError:
            raise self.ended() from None
        except aio.AioRpcError as error:
            raise failed(error) from None
        except aio.UsageError as error:
            raise CallFailed(str(error), taken=False) from None
        return answers, True

    def _begin(self, node: Node, name: str, kind: str, request: bytes | None, timeout: float | None = None) -> Any:
        call = self._call(node, name, kind)(request, timeout=timeout)
        self._running.add(call)
        return call

    async def open(self, node: Node, name: str, kind: str, request: bytes | None) -> Stream:
        """Begin a stream; one of requests takes None, and has them written to it."""

        async def begin() -> Any:
            return self._begin(node, name, kind, request)

        return Stream(await hop(begin()))

    def ended(self) -> BaseException:
        """What a cancelled call means: that `close` ended it, or that its caller was cancelled, who has to hear it."""
        task = asyncio.current_task()
        if self.caller.closed and (task is None or not task.cancelling()):
            return CallFailed("the client has been closed")
        return asyncio.CancelledError()

    def _call(self, node: Node, name: str, kind: str) -> Callable[..., Any]:
        call = self._calls.get((node, name))
        if call is None:
            call = self._calls[node, name] = getattr(self._channel(node), kind)(method(name))
        return call  # type: ignore[no-any-return]

    def _channel(self, node: Node) -> Any:
        self.caller.check()
        channel = self._channels.get(node)
        if channel is None:
            channel = self._channels[node] = self._dialing.channel(aio, node)
            node.connected = lambda: channel.get_state() is READY
        return channel

    def _retire(self) -> None:
        """Make all channels anew; calls on the old ones go on."""
        self._retired += self._channels.values()
        for node in self._channels:
            node.greeted = False
        self._channels.clear()
        self._calls.clear()

    async def close(self) -> None:
        """End all connections; calls that wait are ended, too."""
        self.caller.closed = True
        await hop(self._close())

    async def _close(self) -> None:
        channels = [*self._channels.values(), *self._retired]
        self._channels.clear()
        self._retired.clear()
        self._calls.clear()
        for call in list(self._running):
            call.cancel()
        for channel in channels:
            await channel.close()


class Stream:
    """A stream under way, for the loop of its user."""

    def __init__(self, call: Any) -> None:
        self._stream = call

    async def read(self) -> bytes | None:
        """The next answer, None at the end.  Raises CallFailed."""
        return await hop(self._read())

    async def _read(self) -> bytes | None:
        try:
            answer = await self._stream.read()
        except aio.AioRpcError as error:
            raise failed(error) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._stream.cancelled() and (task is None or not task.cancelling()):  # else nobody is there to hear it
                raise CallFailed("the stream has been ended") from None
            raise
        return None if answer is aio.EOF else answer

    async def write(self, request: bytes) -> bool:
        """Send a request; False when the stream has ended, which `read` tells more of."""

        async def write() -> bool:
            try:
                await self._stream.write(request)
            except (aio.AioRpcError, asyncio.InvalidStateError):
                return False
            return True

        return await hop(write())

    def cancel(self) -> None:
        """End it, whatever is on the way."""
        shared_loop().call_soon_threadsafe(self._stream.cancel)


async def hop(work: Coroutine[Any, Any, T]) -> T:
    """Have the loop of gRPC do it.  A task that is cancelled meanwhile cancels it there."""
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, shared_loop()))
