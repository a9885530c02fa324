"""A gRPC stream that the thread that waits deals with itself: one request at a time, and its answer.

grpc's streams hand every request and every answer from thread to thread, four times in all, which costs more than the
message.  This one is made of what its blocking single calls are made of: operations on a call with a completion queue
of its own (`grpc._channel` has the pattern).  That layer is not public: where it is not as expected, `begin` gives
None, and grpc's own stream does as well.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import grpc

from crdtsync.client.failures import CallFailed, failed

LOOK = 0.05  # s between two looks whether an answer is late, or the stream idle
Metadata = tuple[tuple[str, str], ...]


def begin(channel: Any, method: str, metadata: Metadata, idle: float, rests: Callable[[], bool]) -> Direct | None:
    """A stream on a synchronous channel.  Raises ValueError when that is closed."""
    try:
        from grpc._cython import cygrpc

        first = (cygrpc.SendInitialMetadataOperation(metadata, 0), cygrpc.ReceiveInitialMetadataOperation(0))
        last = (cygrpc.ReceiveStatusOnClientOperation(0),)
        operations = ((first, "first"), (last, "last"))
        call = channel._channel.segregated_call(0, method.encode(), None, None, None, None, operations, None)
        return Direct(cygrpc, call, idle, rests)
    except (ImportError, AttributeError, TypeError):
        return None


class Direct:
    """One such stream; one thread at a time may ask.  Another one ends what is late, and what nobody uses."""

    ended = False  # is seen when the next request fails

    def __init__(self, cygrpc: Any, call: Any, idle: float, rests: Callable[[], bool]) -> None:
        """After `idle` s without a request `rests` is asked whether no more come."""
        self._call, self._idle, self._rests = call, idle, rests
        self._send, self._receive = cygrpc.SendMessageOperation, cygrpc.ReceiveMessageOperation(0)
        self._message = cygrpc.OperationType.receive_message
        self._status = cygrpc.OperationType.receive_status_on_client
        self._due = 2  # operations that have not ended: the first and the last
        self._until: float | None = None  # when the answer that is awaited is late
        self._used = time.monotonic()
        self._late = False
        self._over = threading.Event()
        threading.Thread(target=self._mind, name="crdtsync-lane", daemon=True).start()

    def ask(self, request: bytes, timeout: float) -> bytes:
        """Send a request; its answer.  Raises CallFailed, and is of no use from then on."""
        if not self._call.operate((self._send(request, 0), self._receive), "message"):
            raise CallFailed("the stream has ended", taken=False)
        self._due += 1
        self._until = time.monotonic() + timeout
        return self._answered()

    def _answered(self) -> bytes:
        while True:
            event = self._call.next_event()
            self._due -= 1
            for operation in event.batch_operations:
                kind = operation.type()
                if kind == self._message:
                    answer: bytes | None = operation.message()
                    if answer is not None:
                        self._until, self._used = None, time.monotonic()
                        return answer
                elif kind == self._status:
                    failure = CallFailed("no answer in time") if self._late else failed(_Status(operation))
                    failure.late = failure.late or self._late
                    raise failure

    def end(self) -> None:
        """No more requests come: nothing is on the way."""
        self.cancel()

    def cancel(self) -> None:
        """End the stream, whatever is on the way."""
        self._call.cancel(grpc.StatusCode.CANCELLED.value[0], "the client has ended the stream")
        self._over.set()

    def _mind(self) -> None:
        wait = LOOK
        while not self._over.wait(wait):
            now, until = time.monotonic(), self._until
            wait = LOOK if until is None else max(0.0, min(LOOK, until - now))
            if until is not None and now >= until:
                self._late, wait = True, LOOK
                self._call.cancel(grpc.StatusCode.CANCELLED.value[0], "no answer in time")
            elif until is None and now - self._used >= self._idle and self._rests():
                self.cancel()
        while self._due:  # nobody asks any more; what has been cancelled ends at once, and gRPC forgets the call
            self._call.next_event()
            self._due -= 1


class _Status:
    """How a call has ended, as `failed` asks for it."""

    def __init__(self, operation: Any) -> None:
        self._operation = operation

    def code(self) -> grpc.StatusCode:
        number = self._operation.code()
        return next((code for code in grpc.StatusCode if code.value[0] == number), grpc.StatusCode.UNKNOWN)

    def details(self) -> str:
        details = self._operation.details()
        return details.decode(errors="replace") if isinstance(details, bytes) else details or ""

    def trailing_metadata(self) -> Any:
        return self._operation.trailing_metadata()
