"""Writing much: operations leave in batches of a stream, a window of them on the way, without a wait for each.

Every batch has a request id.  When the stream is lost, the batches without an answer are sent again one by one, in
their order, as single calls to the same node, which then tells those apart that it had carried out; after that a new
stream goes on.  When the node stays away, OutcomeUnknown is raised, and `unanswered` lists what may or may not have
been carried out.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc

from crdtsync.client import requests
from crdtsync.client.buckets import RemoteBucket
from crdtsync.client.calls import Call, Sent
from crdtsync.client.failures import CallFailed, failed, rebuilt
from crdtsync.client.nodes import Node
from crdtsync.datatypes.keys import Place
from crdtsync.datatypes.txn import Verb
from crdtsync.errors import BatchMisuse, Closed, CrdtsyncError, DeadlineExceeded, Denied, OutcomeUnknown, Unreachable
from crdtsync.handles.batches import BatchScope
from crdtsync.transport.pb import data_pb2 as pb

if TYPE_CHECKING:
    from crdtsync.client.client import Line

REFUSED_KEPT = 1000  # refused batches that a stream lists


class Batch(NamedTuple):
    """A batch of a stream that has left."""

    request_id: str
    operations: int
    request: bytes


class RefusedBatch(NamedTuple):
    """A batch that the node refused: nothing of it was carried out."""

    first: int  # number, within the stream, of its first operation; the first of all is 0
    operations: int
    error: Exception


class WriteStream(RemoteBucket):
    """Handles that write through a stream; made by `Client.stream`, for one thread.

    Writes return before they have left.  `flush`, and the end of `with`, return when all have been answered.
    """

    __slots__ = (
        "_answered", "_bytes", "_flow", "_limit_bytes", "_limit_operations", "_operations", "_raised", "_unanswered",
        "_window", "refused_batches",
    )  # fmt: skip

    def __init__(self, line: Line, bucket: RemoteBucket) -> None:
        super().__init__(line, bucket.name)
        config = line.caller.config
        self._limit_operations = config.stream_operations
        self._limit_bytes = min(config.stream_bytes, line.batch_bytes_max // 2)
        self._window = config.stream_window
        self._operations: list[bytes] = []  # encoded, of the batch that is being put together
        self._bytes = 0
        self._unanswered: deque[Batch] = deque()
        self._answered = 0  # operations
        self._flow: Flow | None = None
        self.refused_batches: list[RefusedBatch] = []
        self._raised = 0  # of these

    # -- writing

    def write(self, verb: Verb, place: Place, argument: Any) -> None:
        """Put one operation into the current batch; every so many, it leaves."""
        encoded = requests.operation(verb, place, argument)
        operations = self._operations
        operations.append(encoded)
        self._bytes += len(encoded)
        if len(operations) >= self._limit_operations or self._bytes >= self._limit_bytes:
            self.cut()

    def batch(self, *, sync: bool = False, request_id: str | None = None) -> BatchScope:
        """Raises BatchMisuse: a stream makes its own batches, see `cut`."""
        raise self.refused(BatchMisuse("A stream makes its own batches.", hint="Use client.batch(), or stream.cut()."))

    def cut(self) -> None:
        """End the current batch here: what is in it takes effect together.  It leaves at once.

        Raises OutcomeUnknown, Unreachable when the node is gone.
        """
        if not self._operations:
            return
        caller = self._line.caller
        caller.check()
        request_id = caller.next_id()
        batch = Batch(request_id, len(self._operations), requests.apply(self.name, self._operations, request_id))
        self._operations, self._bytes = [], 0
        self._unanswered.append(batch)
        if self._flow is not None:
            self._flow.send(batch.request)
        else:
            self._begin()
        while len(self._unanswered) >= self._window:
            self._await_one()

    def flush(self) -> None:
        """Return when everything written so far has been answered; then raises the error of the first refused batch.

        `refused_batches` has all of them.  Raises OutcomeUnknown, Unreachable when the node is gone.
        """
        self.cut()
        while self._unanswered:
            self._await_one()
        if self._raised < len(self.refused_batches):
            error = self.refused_batches[self._raised].error
            self._raised = len(self.refused_batches)
            raise error

    @property
    def unanswered(self) -> list[tuple[str, int]]:
        """(request id, number of operations) of the batches that have left and have no answer, in their order."""
        return [(batch.request_id, batch.operations) for batch in self._unanswered]

    @property
    def answered(self) -> int:
        """Operations that have been answered: carried out, or refused."""
        return self._answered

    # -- the stream

    def _begin(self) -> None:
        """Open a stream to the node that calls go to, and send what has no answer."""
        line = self._line
        node, _, _ = line.run(line.caller.make(Call("Describe", b"")))
        self._flow = Flow(line, node)
        for batch in self._unanswered:
            self._flow.send(batch.request)

    def _await_one(self) -> None:
        if self._flow is None:
            self._begin()
        assert self._flow is not None  # just begun
        flow = self._flow
        try:
            self._take(flow.node, flow.next(self._line.caller.config.attempt_timeout))
        except CallFailed as failure:
            self._recover(flow, failure)

    def _take(self, node: Node, answer: bytes) -> None:
        response = self._line.caller.read(pb.ApplyResponse, answer)
        batch = self._unanswered.popleft()
        if response.HasField("error"):
            self._refuse(batch, rebuilt(response.error))
        else:
            self._line.run(self._line.caller.note(response.token, node))
        self._answered += batch.operations

    def _refuse(self, batch: Batch, error: Exception) -> None:
        self._line.caller.counters.of(error)
        if len(self.refused_batches) < REFUSED_KEPT:
            self.refused_batches.append(RefusedBatch(self._answered, batch.operations, error))

    def _recover(self, flow: Flow, failure: CallFailed) -> None:
        """Settle what has no answer, one by one, at the node that may have taken it."""
        caller = self._line.caller
        caller.lost(flow.node, failure)
        caller.counters.count("stream_reconnects")
        flow.close()
        self._flow = None
        if failure.taken:
            for batch in self._unanswered:
                caller.unsettled.note(batch.request_id, Sent(flow.node, flow.name))
        while self._unanswered:
            batch = self._unanswered[0]
            call = Call("Apply", batch.request, True, self.name, batch.request_id)
            try:
                node, [answer], _ = self._line.run(caller.make(call))
            except (CrdtsyncError, KeyError) as error:
                if batch.request_id in caller.unsettled or _is_lasting(error):
                    raise
                self._refuse(self._unanswered.popleft(), error)
                self._answered += batch.operations
            else:
                self._take(node, answer)

    # -- the end

    def close(self) -> None:
        """Flush, and end the stream."""
        try:
            self.flush()
        finally:
            self._end()

    def _end(self) -> None:
        if self._flow is not None:
            self._flow.close()
            self._flow = None

    def __enter__(self) -> WriteStream:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """After an exception, what has not left is dropped; what has left may be carried out."""
        if kind is None:
            self.close()
        else:
            self._operations, self._bytes = [], 0
            self._end()


def _is_lasting(error: Exception) -> bool:
    """Whether the node is the trouble, and not the batch."""
    return isinstance(error, Closed | Denied | DeadlineExceeded | OutcomeUnknown | Unreachable)


class Flow:
    """One gRPC stream: requests go out of a queue, a thread takes the answers in."""

    def __init__(self, line: Line, node: Node) -> None:
        self.node, self.name = node, node.name
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[bytes | CallFailed] = queue.SimpleQueue()
        self._stream: Any = line.open(node, "ApplyStream", "stream_stream", self._outgoing())
        self._thread = threading.Thread(target=self._take_in, name="crdtsync-stream", daemon=True)
        self._thread.start()

    def send(self, request: bytes) -> None:
        """Hand a request over; it leaves when gRPC has room for it."""
        self._requests.put(request)

    def _outgoing(self) -> Iterator[bytes]:
        while (request := self._requests.get()) is not None:
            yield request

    def _take_in(self) -> None:
        try:
            for answer in self._stream:
                self._answers.put(answer)
            self._answers.put(CallFailed("the node has ended the stream"))
        except grpc.RpcError as error:
            self._answers.put(failed(error))

    def next(self, timeout: float) -> bytes:
        """The next answer.  Raises CallFailed."""
        try:
            answer = self._answers.get(timeout=timeout)
        except queue.Empty:
            raise CallFailed("no answer in time") from None
        if isinstance(answer, CallFailed):
            raise answer
        return answer

    def close(self) -> None:
        """End the stream, whatever is on the way."""
        self._requests.put(None)
        self._stream.cancel()
        self._thread.join()
