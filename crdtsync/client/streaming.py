"""Writing much: operations leave in batches of a stream, a window of them on the way, without a wait for each.

Every batch has a request id.  When the stream is lost, the batches without an answer are sent again one by one, in
their order, as single calls to the same node, which then tells those apart that it had carried out; after that a new
stream goes on.  So it is after a node has said that it cannot take a batch now, which holds for all later ones of the
stream: none overtakes another.  When the node stays away, OutcomeUnknown is raised, and `unanswered` lists what may or
may not have been carried out.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from crdtsync.client.batching import Batching, RefusedBatch
from crdtsync.client.buckets import RemoteBucket
from crdtsync.client.calls import Call
from crdtsync.client.failures import CallFailed
from crdtsync.client.flows import Flow
from crdtsync.client.nodes import Instance
from crdtsync.datatypes.keys import Place
from crdtsync.datatypes.txn import Verb
from crdtsync.errors import BatchMisuse
from crdtsync.handles.batches import BatchScope
from crdtsync.handles.bulk import operations_of

if TYPE_CHECKING:
    from crdtsync.client.lines import Line
    from crdtsync.datatypes.columns import Arguments, Texts


class WriteStream(RemoteBucket):
    """Handles that write through a stream; made by `Client.stream`, for one thread.

    Writes return before they have left.  `flush`, and the end of `with`, return when all have been answered.
    """

    __slots__ = ("_add", "_batching", "_flow", "_there")

    def __init__(self, line: Line, name: str) -> None:
        super().__init__(line, name)
        self._batching = Batching(line.caller, name)
        self._add = self._batching.add
        self._flow: Flow | None = None
        self._there: Instance  # whom the flow goes to

    def write(self, verb: Verb, place: Place, argument: Any) -> None:
        """Put one operation into the current batch; every so many, it leaves."""
        if self._add(verb, place, argument):
            self.cut()

    def write_columns(self, verb: Verb, code: bytes, keys: Texts, arguments: Arguments) -> None:
        """One operation for each key, in the stream's own batches."""
        for operation in operations_of(verb, code, keys, arguments):
            self.write(*operation)

    def batch(self, *, sync: bool = False, request_id: str | None = None) -> BatchScope:
        """Raises BatchMisuse: a stream makes its own batches, see `cut`."""
        raise self.refused(BatchMisuse("A stream makes its own batches.", hint="Use client.batch(), or stream.cut()."))

    def cut(self) -> None:
        """End the current batch here: what is in it takes effect together.  It leaves at once.

        Raises OutcomeUnknown, Unreachable when the node is gone.
        """
        batch = self._batching.cut()
        if batch is None:
            return
        if self._flow is not None:
            self._flow.send(batch.request + self._there.stamp)
        else:
            self._begin()
        while len(self._batching.waiting) >= self._batching.window:
            self._await_one()

    def flush(self) -> None:
        """Return when everything written so far has been answered; then raises the error of the first refused batch.

        `refused_batches` has all of them.  Raises OutcomeUnknown, Unreachable when the node is gone.
        """
        self.cut()
        while self._batching.waiting:
            self._await_one()
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

    def _begin(self) -> None:
        """Open a stream to the node that calls go to, and send what has not been sent."""
        line = self._line
        line.run(self._batching.resume())
        self._there, _, _ = line.run(line.caller.make(Call("Describe", b"")))
        self._flow = Flow(partial(line.open, self._there.node, "ApplyStream", "stream_stream"))
        for batch in self._batching.waiting:
            self._flow.send(batch.request + self._there.stamp)

    def _await_one(self) -> None:
        """Take in one answer, or begin a stream, which may settle several batches."""
        flow = self._flow
        if flow is None:
            self._begin()
            return
        try:
            answer = flow.next(self._line.caller.config.attempt_timeout)
            self._line.run(self._batching.take(self._there, answer))
        except CallFailed as failure:
            self._end()
            self._line.run(self._batching.settle(self._there, failure))

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
            self._batching.drop()
            self._end()
