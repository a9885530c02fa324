"""Batches: operations noted down in their order, carried out together at the end, all or none.

The rules:
- Reads inside a batch see the state before it.  What depends on the state, such as `remove` of an absent element, a map
  field of another type, or a full counter, is judged at the end, in order, with what the batch itself has done before.
- A batch belongs to the thread and asyncio task that opened it (a context variable finds it); a thread or task started
  inside it writes on its own, even where Python hands the context on.
- It is bound to one bucket: by `bucket.batch()`, or by the first write.
- A batch inside a batch of the same node joins it.  An exception that leaves the inner one takes back what was noted
  inside it, one that leaves the outer one takes back all.
- A batch with a request id takes effect once in its bucket.  It cannot be made part of one without that id, which would
  take effect again with every retry.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar, Token
from threading import get_ident
from types import TracebackType
from typing import Any, Protocol

from crdtsync.datatypes.keys import REQUEST_MAX, Place, check_name
from crdtsync.datatypes.txn import Verb
from crdtsync.errors import BatchMisuse, BatchTooLarge, CrdtsyncError

Operation = tuple[Verb, Place, Any]
DEFAULT_BUCKET = "default"
OPERATION_BYTES = 64  # what a noted operation counts beyond its value; what its rows really take, the store counts


class Answer(Protocol):
    """What a writer says of a batch that it has carried out."""

    @property
    def repeated(self) -> bool: ...


class Writer(Protocol):
    """Who carries batches out: the node's writing half, or a client."""

    @property
    def batch_bytes_max(self) -> int: ...

    def refused(self, error: CrdtsyncError) -> CrdtsyncError: ...

    def carry_out(
        self, bucket: str, operations: list[Operation], request_id: str | None, *, sync: bool
    ) -> Answer:
        """All or none.  With `sync`, `wait_durable` is called next, unless this has waited already."""

    def token_after(self, bucket: str, answer: Any) -> str:
        """The token of an answer, or, for None, of where the bucket stands."""

    def wait_durable(self) -> None: ...


class Batch:
    """One open batch."""

    __slots__ = (
        "answer", "bucket", "bytes", "bytes_max", "ended", "open", "operations", "outer", "request_id", "sync", "task",
        "thread", "writer",
    )  # fmt: skip

    def __init__(
        self, writer: Writer, bucket: str | None, sync: bool, outer: Batch | None, request_id: str | None = None
    ) -> None:
        self.writer, self.bucket, self.sync, self.outer = writer, bucket, sync, outer
        self.request_id = request_id
        self.ended = False  # well
        self.answer: Answer | None = None  # what became of it then; None: it had nothing to do
        self.operations: list[Operation] = []
        self.bytes = 0
        self.open = True
        self.bytes_max = writer.batch_bytes_max
        self.thread, self.task = get_ident(), _task()

    def of(self, writer: object) -> Batch | None:
        """The open batch of this context that a write through `writer` belongs to."""
        batch: Batch | None = self
        while batch is not None:
            if batch.writer is writer and batch.open and batch.thread == get_ident() and batch.task is _task():
                return batch
            batch = batch.outer
        return None

    def bind(self, bucket: str | None) -> None:
        """Bind to a bucket, or check that it is the one bound to.  Raises BatchMisuse."""
        if self.bucket is None:
            self.bucket = bucket
        elif bucket is not None and bucket != self.bucket:
            raise BatchMisuse(
                f"A batch in bucket {self.bucket!r} writes to bucket {bucket!r}.", hint="Use one batch for each bucket."
            )

    def add(self, bucket: str, verb: Verb, place: Place, argument: Any) -> None:
        """Note one operation down.  Raises BatchMisuse, and BatchTooLarge when it cannot fit any more."""
        if bucket != self.bucket:
            self.bind(bucket)
        kind = type(argument)
        if kind is bytes:
            self.bytes += len(argument) + OPERATION_BYTES
        elif kind is list:
            self.bytes += sum(map(len, argument)) + OPERATION_BYTES * len(argument)
        else:
            self.bytes += OPERATION_BYTES
        if self.bytes > self.bytes_max:
            count = len(self.operations)
            raise BatchTooLarge.fitting(f"A batch of over {count:,} operations takes {self.bytes:,} bytes.", count)
        self.operations.append((verb, place, argument))

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return self.request_id is None and not self.operations

    def carry_out(self) -> None:
        """Do what was noted down."""
        if not self.empty:
            bucket = self.bucket or DEFAULT_BUCKET
            self.answer = self.writer.carry_out(bucket, self.operations, self.request_id, sync=self.sync)
        self.ended = True


class BatchScope:
    """The context manager behind `batch()`, good for one use; tells afterwards what became of the batch."""

    def __init__(self, writer: Writer, bucket: str | None, sync: bool, request_id: str | None = None) -> None:
        """Raises InvalidKey for a request id that cannot be one."""
        self._writer, self._bucket, self._sync, self._request_id = writer, bucket, sync, request_id
        if request_id is not None:
            try:
                check_request_id(request_id)
            except CrdtsyncError as error:
                raise writer.refused(error) from None
        self._batch: Batch | None = None
        self._before: tuple[int, int] | None = None  # (operations, bytes) of the outer batch that this one joined
        self._token: Token[Batch | None] | None = None

    @property
    def repeated(self) -> bool:
        """Whether the bucket had answered this request id before, so that nothing was written.

        Raises BatchMisuse unless the batch has ended well; one inside another ends with the outer one.
        """
        answer = self._ended().answer
        return answer is not None and answer.repeated

    @property
    def token(self) -> str:
        """A token for `wait_for` on any node: this batch, and all that this replica held of its bucket before it.

        A repeated batch gives the token of its first time.  One that changed nothing gives where the bucket stands now.
        Raises BatchMisuse as `repeated` does.
        """
        batch = self._ended()
        return self._writer.token_after(batch.bucket or DEFAULT_BUCKET, batch.answer)

    def _ended(self) -> Batch:
        if self._batch is None or not self._batch.ended:
            raise self._writer.refused(BatchMisuse("A batch is asked how it ended, and has not ended well."))
        return self._batch

    def __enter__(self) -> BatchScope:
        try:
            self._enter()
        except CrdtsyncError as error:
            raise self._writer.refused(error) from None
        return self

    def _enter(self) -> None:
        if self._batch is not None:
            raise BatchMisuse("A batch is entered a second time.", hint="Call batch() for each.")
        current = CURRENT.get()
        joined = None if current is None else current.of(self._writer)
        if joined is None:
            self._batch = Batch(self._writer, self._bucket, self._sync, current, self._request_id)
            self._token = CURRENT.set(self._batch)
            return
        if self._request_id not in (None, joined.request_id):
            raise BatchMisuse(
                f"Request {self._request_id!r} is part of a batch that is not under this id.",
                hint="Give the request id to the outer batch.",
            )
        joined.bind(self._bucket)
        joined.sync = joined.sync or self._sync
        self._batch, self._before = joined, (len(joined.operations), joined.bytes)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.finish(failed=kind is not None):
            self._writer.wait_durable()

    def finish(self, failed: bool) -> bool:
        """End the batch; True when its caller asked to wait for the disk, and there is something to wait for."""
        batch = self.leave(failed)
        if batch is None:
            return False
        batch.carry_out()
        return batch.sync and not batch.empty

    def leave(self, failed: bool) -> Batch | None:
        """End the noting down; the batch that is now to be carried out, if any."""
        batch = self._batch
        if batch is None:
            raise BatchMisuse("A batch ends that was never entered.")
        if self._before is not None:
            if failed:
                count, batch.bytes = self._before
                del batch.operations[count:]
            return None
        batch.open = False
        if self._token is not None:
            CURRENT.reset(self._token)
        return None if failed else batch


CURRENT: ContextVar[Batch | None] = ContextVar("crdtsync_batch", default=None)


def check_request_id(id: str) -> None:
    """Refuse what cannot be a request id.  Raises InvalidKey."""
    check_name(id, "A request id", REQUEST_MAX)


def _task() -> object:
    """The running asyncio task, if any."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None or asyncio._get_running_loop() is None:  # not loaded: no task
        return None
    return asyncio.current_task()
