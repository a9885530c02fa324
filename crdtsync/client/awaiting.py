"""Steps taken on an event loop: grpc.aio's channels."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import grpc.aio

from crdtsync.client.calls import Caller
from crdtsync.client.channels import Dialing, method
from crdtsync.client.failures import CallFailed, failed
from crdtsync.client.nodes import Node
from crdtsync.client.steps import Ask, Collect, Look, Pause, Step, Steps
from crdtsync.errors import CrdtsyncError

T = TypeVar("T")
aio: Any = grpc.aio  # its published stubs describe another API


class Awaiting:
    """The connections of one client, and who takes its steps, on one event loop."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self._dialing = Dialing(caller.config)
        self._retired: list[Any] = []  # channels with certificates that have been replaced
        self._channels: dict[Node, Any] = {}
        self._calls: dict[tuple[Node, str], Any] = {}

    async def run(self, steps: Steps[T]) -> T:
        """Take all steps; what the generator returns or raises."""
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
            call = self.open(step.node, step.method, "unary_unary", step.request, step.timeout)
            answer: bytes = await call
            return answer
        except aio.AioRpcError as error:
            raise failed(error) from None
        except aio.UsageError as error:  # the channel was closed in between
            raise CallFailed(str(error), taken=False) from None

    async def _collect(self, step: Collect) -> tuple[list[bytes], bool]:
        answers: list[bytes] = []
        try:
            stream = self.open(step.node, step.method, "unary_stream", step.request, step.timeout)
            size = 0
            async for answer in stream:
                answers.append(answer)
                size += len(answer)
                if size >= step.most:
                    stream.cancel()
                    return answers, False
        except aio.AioRpcError as error:
            raise failed(error) from None
        except aio.UsageError as error:
            raise CallFailed(str(error), taken=False) from None
        return answers, True

    def open(self, node: Node, name: str, kind: str, request: bytes | None, timeout: float | None = None) -> Any:
        """Begin a call; a stream of requests takes None, and has them written to it."""
        return self._call(node, name, kind)(request, timeout=timeout)

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
        return channel

    def _retire(self) -> None:
        """Make all channels anew; calls on the old ones go on."""
        self._retired += self._channels.values()
        self._channels.clear()
        self._calls.clear()

    async def close(self) -> None:
        """End all connections; calls that wait are ended, too."""
        self.caller.closed = True
        channels = [*self._channels.values(), *self._retired]
        self._channels.clear()
        self._retired.clear()
        self._calls.clear()
        for channel in channels:
            await channel.close()
