"""One gRPC stream of requests and their answers, for a thread that sends and waits."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from crdtsync.client.failures import CallFailed, failed


class Flow:
    """Requests go out of a queue, a thread takes the answers in."""

    def __init__(
        self, open: Callable[[Iterator[bytes]], Any], idle: float | None = None, rests: Callable[[], bool] | None = None
    ) -> None:
        """`open` begins the call.  After every `idle` s of silence `rests` is asked whether no more requests come."""
        self.ended = False  # no answers come any more
        self._idle, self._rests = idle, rests
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[bytes | CallFailed] = queue.SimpleQueue()
        self._stream: Any = open(self._outgoing())
        self._thread = threading.Thread(target=self._take_in, name="crdtsync-stream", daemon=True)
        self._thread.start()

    def send(self, request: bytes) -> None:
        """Hand a request over; it leaves when gRPC has room for it."""
        self._requests.put(request)

    def _outgoing(self) -> Iterator[bytes]:
        while True:
            try:
                request = self._requests.get(timeout=self._idle)
            except queue.Empty:
                if self._rests is None or self._rests():
                    return
            else:
                if request is None:
                    return
                yield request

    def _take_in(self) -> None:
        try:
            for answer in self._stream:
                self._answers.put(answer)
            failure = CallFailed("the node has ended the stream")
        except grpc.RpcError as error:
            failure = failed(error)
        self.ended = True
        self._answers.put(failure)

    def next(self, timeout: float) -> bytes:
        """The next answer.  Raises CallFailed."""
        try:
            answer = self._answers.get(timeout=timeout)
        except queue.Empty:
            failure = CallFailed("no answer in time")
            failure.late = True
            raise failure from None
        if isinstance(answer, CallFailed):
            raise answer
        return answer

    def ask(self, request: bytes, timeout: float) -> bytes:
        """Send a request while none is on the way; its answer.  Raises CallFailed."""
        self.send(request)
        return self.next(timeout)

    def end(self) -> None:
        """No more requests come; the stream ends once the node has answered those that have been sent."""
        self._requests.put(None)

    def cancel(self) -> None:
        """End the stream, whatever is on the way."""
        self._requests.put(None)
        self._stream.cancel()

    def close(self) -> None:
        """As `cancel`; returns when it has ended."""
        self.cancel()
        self._thread.join()
