"""What a stream of writes knows, whoever waits: the batch being put together, those without an answer, refusals."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

from crdtsync.client import requests
from crdtsync.client.calls import Call, Caller
from crdtsync.client.failures import CallFailed, refused
from crdtsync.client.nodes import Instance
from crdtsync.client.steps import Steps
from crdtsync.datatypes.keys import Place
from crdtsync.datatypes.txn import Verb
from crdtsync.errors import PASSING, CrdtsyncError, DeadlineExceeded, Denied, OutcomeUnknown, Unreachable, WaitTimeout
from crdtsync.transport.pb import data_pb2 as pb

REFUSED_KEPT = 1000  # refused batches that a stream lists
# The node is the trouble, not the batch, which is kept: a flush tries it again.
LASTING = (*PASSING, Denied, DeadlineExceeded, OutcomeUnknown, Unreachable)


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


class Batching:
    """The state of one stream."""

    def __init__(self, caller: Caller, bucket: str) -> None:
        config = caller.config
        self._caller, self._bucket = caller, bucket
        self._limit_operations = config.stream_operations
        self._limit_bytes = min(config.stream_bytes, caller.described.batch_bytes_max // 2)
        self.window = config.stream_window
        self._operations: list[bytes] = []  # encoded, of the batch that is being put together
        self._bytes = 0
        self.waiting: deque[Batch] = deque()  # for their answers
        self.answered = 0  # operations
        self.refused: list[RefusedBatch] = []
        self._raised = 0  # of these

    def add(self, verb: Verb, place: Place, argument: Any) -> bool:
        """Put one operation into the current batch; whether it is time to send it."""
        encoded = requests.operation(verb, place, argument)
        operations = self._operations
        operations.append(encoded)
        self._bytes += len(encoded)
        return len(operations) >= self._limit_operations or self._bytes >= self._limit_bytes

    def cut(self) -> Batch | None:
        """The current batch, which now waits for an answer; None when it is empty."""
        if not self._operations:
            return None
        self._caller.check()
        name = self._caller.next_id()
        batch = Batch(name, len(self._operations), requests.apply(self._bucket, self._operations, name))
        self.drop()
        self.waiting.append(batch)
        return batch

    def drop(self) -> None:
        """Forget the current batch."""
        self._operations, self._bytes = [], 0

    def take(self, there: Instance, answer: bytes) -> Steps[None]:
        """The answer of the batch that has waited longest.

        Raises CallFailed when the node cannot take it now: then it takes none of the later ones of this stream either,
        so that they can be sent again in their order.
        """
        response = self._caller.read(pb.ApplyResponse, answer)
        if response.HasField("error"):
            failure = refused(response.error)
            if not failure.final:
                raise failure
            assert failure.error is not None  # it is what the node has told
            self._refuse(failure.error)
            return
        yield from self._accept(there, response)

    def _accept(self, there: Instance, response: pb.ApplyResponse) -> Steps[None]:
        self.answered += self.waiting.popleft().operations
        yield from self._caller.note(response.token, there)

    def _refuse(self, error: Exception) -> None:
        self._caller.counters.of(error)
        batch = self.waiting.popleft()
        if len(self.refused) < REFUSED_KEPT:
            self.refused.append(RefusedBatch(self.answered, batch.operations, error))
        self.answered += batch.operations

    def settle(self, there: Instance, failure: CallFailed) -> Steps[None]:
        """After the stream is lost: settle what waits, batch by batch, at the node that may have taken it.

        What no node has taken goes to whichever node takes it, in the same order.  Raises OutcomeUnknown, Unreachable
        when it stays away, and what a node says that cannot take it now, when that lasts for the time of a call.
        """
        caller = self._caller
        caller.lost(there.node, failure)
        caller.counters.count("stream_reconnects")
        # A node that ends the stream because nobody reads its answers has carried out what these are about.
        if failure.taken or isinstance(failure.error, WaitTimeout):
            for batch in self.waiting:
                caller.unsettled.note(batch.request_id, there)
        yield from self._send_again(len(self.waiting))

    def resume(self) -> Steps[None]:
        """Before a new stream: settle what an earlier one has left open, which no other node may be sent.

        Raises as `settle`.
        """
        unsettled = self._caller.unsettled
        yield from self._send_again(sum(batch.request_id in unsettled for batch in self.waiting))

    def _send_again(self, count: int) -> Steps[None]:
        """Have the batches that have waited longest answered one by one."""
        caller = self._caller
        for _ in range(count):
            batch = self.waiting[0]
            try:
                call = Call("Apply", batch.request, True, self._bucket, batch.request_id)
                there, [answer], _ = yield from caller.make(call)
            except (CrdtsyncError, KeyError) as error:
                if batch.request_id in caller.unsettled or isinstance(error, LASTING):
                    raise
                self._refuse(error)
            else:
                yield from self._accept(there, caller.read(pb.ApplyResponse, answer))

    def check(self) -> None:
        """Raise the first refusal that has not been raised before."""
        if self._raised < len(self.refused):
            error = self.refused[self._raised].error
            self._raised = len(self.refused)
            raise error

    def unanswered(self) -> list[tuple[str, int]]:
        """(request id, number of operations) of the batches that wait."""
        return [(batch.request_id, batch.operations) for batch in self.waiting]
