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
import threading
from contextvars import ContextVar, Token
from hashlib import blake2b
from types import TracebackType
from typing import Any, Protocol

from msgspec.msgpack import encode

from crdtsync.datatypes.keys import REQUEST_MAX, Place, check_name
from crdtsync.datatypes.txn import Verb
from crdtsync.errors import BatchMisuse, BatchTooLarge, CrdtsyncError
from crdtsync.storage.requests import DIGEST_BYTES, Answer

Operation = tuple[Verb, Place, Any]
DEFAULT_BUCKET = "default"
OPERATION_BYTES = 64  # what a noted operation counts beyond its value; what its rows really take, the store counts


class Writer(Protocol):
    """Who carries batches out: the node's writing half."""

    batch_bytes_max: int

    def refused(self, error: CrdtsyncError) -> CrdtsyncError: ...
    def carry_out(self, bucket: str, operations: list[Operation], request_id: str | None = None) -> Answer: ...
    def token_after(self, bucket: str, answer: Answer) -> str: ...
    def wait_durable(self) -> None: ...


class Batch:
    """One open batch."""

    __slots__ = ("answer", "bucket", "bytes", "open", "operations", "outer", "owner", "request_id", "sync", "writer")

    def __init__(
        self, writer: Writer, bucket: str | None, sync: bool, outer: Batch | None, request_id: str | None = None
    ) -> None:
        self.writer, self.bucket, self.sync, self.outer = writer, bucket, sync, outer
        self.request_id = request_id
        self.answer: Answer | None = None  # what became of it, once it has ended well
        self.operations: list[Operation] = []
        self.bytes = 0
        self.open = True
        self.owner = _owner()

    def of(self, writer: object) -> Batch | None:
        """The open batch of this context that a write through `writer` belongs to."""
        batch: Batch | None = self
        while batch is not None:
            if batch.writer is writer and batch.open and batch.owner == _owner():
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
        self.bytes += OPERATION_BYTES if argument is None or type(argument) is int else _bytes_of(argument)
        if self.bytes > self.writer.batch_bytes_max:
            raise BatchTooLarge(f"A batch of {len(self.operations):,} operations takes over {self.bytes:,} bytes.")
        self.operations.append((verb, place, argument))

    def carry_out(self) -> None:
        """Do what was noted down."""
        if self.request_id is None and not self.operations:
            self.answer = Answer(0, 0)
        else:
            self.answer = self.writer.carry_out(self.bucket or DEFAULT_BUCKET, self.operations, self.request_id)


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
        return self._ended()[1].repeated

    @property
    def token(self) -> str:
        """A token for `wait_for` on any node: this batch, and all that this replica held of its bucket before it.

        A repeated batch gives the token of its first time.  One that changed nothing gives where the bucket stands now.
        Raises BatchMisuse as `repeated` does.
        """
        batch, answer = self._ended()
        return self._writer.token_after(batch.bucket or DEFAULT_BUCKET, answer)

    def _ended(self) -> tuple[Batch, Answer]:
        batch = self._batch
        if batch is None or batch.answer is None:
            raise self._writer.refused(BatchMisuse("A batch is asked how it ended, and has not ended well."))
        return batch, batch.answer

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
        batch = self._batch
        if batch is None:
            raise BatchMisuse("A batch ends that was never entered.")
        if self._before is not None:
            if failed:
                count, batch.bytes = self._before
                del batch.operations[count:]
            return False
        batch.open = False
        if self._token is not None:
            CURRENT.reset(self._token)
        if failed:
            return False
        batch.carry_out()
        return batch.sync and bool(batch.operations or batch.request_id)


CURRENT: ContextVar[Batch | None] = ContextVar("crdtsync_batch", default=None)


def check_request_id(id: str) -> None:
    """Refuse what cannot be a request id.  Raises InvalidKey."""
    check_name(id, "A request id", REQUEST_MAX)


def digest_of(operations: list[Operation]) -> bytes:
    """Tells one list of operations from another: their verbs, objects and arguments, in order."""
    digest = blake2b(digest_size=DIGEST_BYTES)
    for verb, place, argument in operations:
        digest.update(encode((verb.name, place.prefix, argument)))
    return digest.digest()


def _owner() -> tuple[int, object]:
    """The running thread and, in asyncio, task."""
    asyncio = sys.modules.get("asyncio")  # not loaded: no task
    loop = None if asyncio is None else asyncio._get_running_loop()
    return threading.get_ident(), None if asyncio is None or loop is None else asyncio.current_task(loop)


def _bytes_of(argument: Any) -> int:
    """About what rows of an operation on a payload, an element, or a list of elements take."""
    if type(argument) is list:
        return sum(map(len, argument)) + OPERATION_BYTES * len(argument)
    return len(argument) + OPERATION_BYTES
