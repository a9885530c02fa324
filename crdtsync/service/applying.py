"""Apply: batches carried out, all or nothing each, whether they come one by one or as a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crdtsync.datatypes import txn, values
from crdtsync.handles.batches import Operation, check_request_id
from crdtsync.service.calls import Calls
from crdtsync.service.errors import Absent
from crdtsync.transport.pb import data_pb2 as pb

if TYPE_CHECKING:
    from crdtsync.node.shell import Node
    from crdtsync.service.operations import Operations
    from crdtsync.service.tokens import Tokens
    from crdtsync.service.workers import Workers

DEFAULT_BUCKET = "default"
Done = tuple[str, bool]  # token of the last event, empty if there is none; whether it had been made before


class Applying:
    """The writing half of one server."""

    def __init__(self, node: Node, calls: Calls, workers: Workers, operations: Operations, tokens: Tokens) -> None:
        self._node, self._calls, self._workers = node, calls, workers
        self._operations, self._tokens = operations, tokens
        self._each = node.config.durability == "each"  # every write is answered from the disk

    async def apply(self, data: bytes, context: Any) -> tuple[pb.ApplyResponse, bool]:
        """Carry a request out; the response, and whether it may be given only once all so far is on the disk."""
        if len(data) <= self._workers.inline_bytes:
            request, operations = self._read(data)
            done = None
        else:
            request, operations, done = await self._workers.run(self._at_once, data)
        if done is None:
            if request.after:
                await self._tokens.held(request.after, context)
            call = self._workers.run if is_heavy(operations) else self._workers.small
            done = await call(self._carry_out, request, operations)
        self._calls.operations += len(operations)
        token, repeated = done
        return pb.ApplyResponse(token=token, repeated=repeated), request.sync or self._each

    def _read(self, data: bytes) -> tuple[pb.ApplyRequest, list[Operation]]:
        plain = self._operations.read(data)
        if plain is not None:
            rest, operations = plain
            return self._calls.read(pb.ApplyRequest, rest), operations
        request = self._calls.read(pb.ApplyRequest, data)
        return request, self._operations.of(request.operations)

    def _at_once(self, data: bytes) -> tuple[pb.ApplyRequest, list[Operation], Done | None]:
        """Read a large request, and carry it out on the same thread unless it must wait."""
        request, operations = self._read(data)
        return request, operations, None if request.after else self._carry_out(request, operations)

    def _carry_out(self, request: pb.ApplyRequest, operations: list[Operation]) -> Done:
        """Raises Absent for an `orset.remove` of what is not there, and what a batch of the Python API raises."""
        if request.request_id:
            check_request_id(request.request_id)
        local, bucket = self._node.local, request.bucket or DEFAULT_BUCKET
        try:
            answer = local.carry_out(bucket, operations, request.request_id or None, wait=False)
        except KeyError as missing:
            raise Absent(values.encode(missing.args[0])) from None
        return local.token_after(bucket, answer) if answer.seq else "", answer.repeated


def is_heavy(operations: list[Operation]) -> bool:
    """Whether a few bytes of request may change any number of rows."""
    return any(verb.bulk and verb.takes != txn.ELEMENTS for verb, _, _ in operations)
