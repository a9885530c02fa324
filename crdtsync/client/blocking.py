"""Steps taken by threads that wait: gRPC's synchronous channels."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

import grpc

from crdtsync.client.calls import Caller
from crdtsync.client.channels import Dialing, connected, method
from crdtsync.client.direct import Direct, begin
from crdtsync.client.failures import CallFailed, failed
from crdtsync.client.flows import Flow
from crdtsync.client.lanes import METADATA, Lane
from crdtsync.client.nodes import Node
from crdtsync.client.steps import Ask, Collect, Look, Pause, Step, Steps
from crdtsync.errors import Forked

T = TypeVar("T")


class Blocking:
    """The connections of one client, and who takes its steps.  Any thread may call."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self._dialing = Dialing(caller.config)
        self._retired: list[Any] = []  # channels with certificates that have been replaced
        self._channels: dict[Node, Any] = {}
        self._calls: dict[tuple[Node, str], Any] = {}
        self._lanes: dict[Node, Lane] = {}
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def run(self, steps: Steps[T]) -> T:
        """Take all steps; what the generator returns or raises."""
        if os.getpid() != self._pid:
            error = Forked("This process was forked after the client was connected; only the parent may use it.")
            raise self.caller.counters.refused(error)
        try:
            step = next(steps)
            while True:
                try:
                    result = self._take(step)
                except CallFailed as failure:
                    step = steps.throw(failure)
                else:
                    step = steps.send(result)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        finally:
            steps.close()  # after an interruption they note down what may have been taken

    def _take(self, step: Step) -> Any:
        if type(step) is Ask:
            return self._ask(step)
        if type(step) is Collect:
            return self._collect(step)
        if type(step) is Pause:
            return time.sleep(step.seconds)
        assert type(step) is Look
        return self._dialing.look(step.node)

    def _ask(self, step: Ask) -> bytes:
        if step.method == "Describe" and self._dialing.renewed():
            self._retire()
        try:
            if step.method == "Apply" and (told := self._lane(step.node).ask(step)) is not None:
                return told
            answer: bytes = self._call(step.node, step.method, "unary_unary")(step.request, timeout=step.timeout)
            return answer
        except grpc.RpcError as error:
            raise failed(error) from None
        except ValueError as error:  # the channel was closed in between
            raise CallFailed(str(error), taken=False) from None

    def _collect(self, step: Collect) -> tuple[list[bytes], bool]:
        answers: list[bytes] = []
        try:
            stream = self._call(step.node, step.method, "unary_stream")(step.request, timeout=step.timeout)
            size = 0
            for answer in stream:
                answers.append(answer)
                size += len(answer)
                if size >= step.most:
                    stream.cancel()
                    return answers, False
        except grpc.RpcError as error:
            raise failed(error) from None
        except ValueError as error:
            raise CallFailed(str(error), taken=False) from None
        return answers, True

    def answers(self, node: Node, name: str, request: bytes) -> Iterator[bytes]:
        """All answers of a call that streams them, however long it takes.  Raises CallFailed."""
        try:
            yield from self._call(node, name, "unary_stream")(request)
        except grpc.RpcError as error:
            raise failed(error) from None

    def answer(self, node: Node, name: str, requests: Iterator[bytes]) -> bytes:
        """The answer of a call that requests are streamed to, however long it takes.  Raises CallFailed."""
        try:
            found: bytes = self._call(node, name, "stream_unary")(requests)
            return found
        except grpc.RpcError as error:
            raise failed(error) from None

    def open(self, node: Node, name: str, kind: str, *arguments: Any, **options: Any) -> Any:
        """Begin a stream; the gRPC call.  Raises Closed."""
        try:
            return self._call(node, name, kind)(*arguments, **options)
        except ValueError:  # the channel was closed in between
            self.caller.check()
            raise

    def _lane(self, node: Node) -> Lane:
        lane = self._lanes.get(node)
        if lane is None:
            lane = self._lanes.setdefault(node, Lane(partial(self._begin, node), self.caller.config.lane_idle))
        return lane

    def _begin(self, node: Node, rests: Callable[[], bool]) -> Direct | Flow:
        """A stream for a lane.  Raises Closed, ValueError when the channel was closed in between."""
        idle = self.caller.config.lane_idle
        direct = begin(self._channel(node), method("ApplyStream"), METADATA, idle, rests)
        if direct is not None:
            return direct
        return Flow(partial(self.open, node, "ApplyStream", "stream_stream", metadata=METADATA), idle, rests)

    def _call(self, node: Node, name: str, kind: str) -> Callable[..., Any]:
        call = self._calls.get((node, name))
        if call is None:
            call = self._calls[node, name] = getattr(self._channel(node), kind)(method(name))
        return call  # type: ignore[no-any-return]

    def _channel(self, node: Node) -> Any:
        with self._lock:
            self.caller.check()
            channel = self._channels.get(node)
            if channel is None:
                channel = self._channels[node] = self._dialing.channel(grpc, node)
                node.connected = partial(connected, channel)
            return channel

    def _retire(self) -> None:
        """Make all channels anew; calls on the old ones go on."""
        with self._lock:
            self._retired += self._channels.values()
            for node in self._channels:
                node.greeted = False
            self._channels.clear()
            self._calls.clear()
            self._lanes.clear()  # they end when they have been idle

    def close(self) -> None:
        """End all connections; calls that wait are ended, too."""
        with self._lock:
            self.caller.closed = True
            channels, lanes = [*self._channels.values(), *self._retired], list(self._lanes.values())
            self._channels.clear()
            self._retired.clear()
            self._calls.clear()
            self._lanes.clear()
        if os.getpid() == self._pid:
            for lane in lanes:
                lane.close()
            for channel in channels:
                channel.close()
