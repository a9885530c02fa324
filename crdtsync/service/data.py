"""The Data service: what programs say to a node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crdtsync import __version__ as VERSION
from crdtsync.errors import BadRequest, ValueTooLarge
from crdtsync.service.applying import carry_out, is_heavy
from crdtsync.service.calls import Calls, read
from crdtsync.service.operations import Operations
from crdtsync.service.places import Places
from crdtsync.service.reading import Large, Reading
from crdtsync.transport.pb import data_pb2 as pb

if TYPE_CHECKING:
    from crdtsync.config import ServeConfig
    from crdtsync.node.shell import Node
    from crdtsync.service.workers import Workers

DEFAULT_BUCKET = "default"


class Data:
    """The methods of the Data service; each takes a request as bytes and gives, or writes, responses as bytes."""

    def __init__(self, node: Node, config: ServeConfig, calls: Calls, workers: Workers) -> None:
        self._node, self._config, self._calls, self._workers = node, config, calls, workers
        places = Places(node.config.cluster)
        self._operations = Operations(node.config.cluster, places)
        self._reading = Reading(config, places, self._operations)

    def handlers(self) -> dict[str, Any]:
        """{method name: handler}."""
        calls = self._calls
        return {
            "Describe": calls.unary("Data.Describe", self.describe),
            "Apply": calls.unary("Data.Apply", self.apply),
            "Read": calls.unary("Data.Read", self.read),
            "WaitFor": calls.unary("Data.WaitFor", self.wait_for),
            "Position": calls.unary("Data.Position", self.position),
        }

    # -- who serves

    async def describe(self, data: bytes, context: Any) -> bytes:
        """Who serves, and the bounds that calls must keep."""
        read(pb.DescribeRequest, data)
        node, cluster = self._node, self._node.config.cluster
        return pb.DescribeResponse(
            node=node.name,
            cluster=node.local.store.cluster(),
            version=VERSION,
            state=node.state,
            depth_max=cluster.depth_max,
            key_bytes_max=cluster.key_bytes_max,
            value_bytes_max=cluster.value_bytes_max,
            batch_bytes_max=cluster.batch_bytes_max,
            message_bytes_max=self._config.message_bytes_max,
            buckets=node.buckets(),
        ).SerializeToString()

    # -- writing

    async def apply(self, data: bytes, context: Any) -> bytes:
        """One batch."""
        request, operations = await self._sized(len(data), self._batch, data)
        if request.after:
            await self._held(request.after, context)
        size = len(data) if not is_heavy(operations) else self._config.message_bytes_max
        token, repeated = await self._workers.small(
            size, carry_out, self._node, request.bucket or DEFAULT_BUCKET, operations, request.request_id
        )
        self._calls.operations += len(operations)
        if request.sync:
            await self._workers.durable()
        return pb.ApplyResponse(token=token, repeated=repeated).SerializeToString()

    def _batch(self, data: bytes) -> tuple[pb.ApplyRequest, Any]:
        request = read(pb.ApplyRequest, data)
        return request, self._operations.read(request.operations)

    async def _sized(self, size: int, call: Any, *arguments: Any) -> Any:
        """Work that needs no lock: here when it is small."""
        if size <= self._config.inline_bytes:
            return call(*arguments)
        return await self._workers.run(call, *arguments)

    # -- reading

    async def read(self, data: bytes, context: Any) -> bytes:
        """Single objects, each of one state."""
        request = await self._sized(len(data), read, pb.ReadRequest, data)
        if request.after:
            await self._held(request.after, context)
        bucket = self._node.bucket(request.bucket or DEFAULT_BUCKET)
        try:
            response = await self._workers.small(len(data), self._reading.answer, bucket, request, True)
        except Large:
            response = await self._workers.run(self._reading.answer, bucket, request, False)
        return self._fitting(response)

    def _fitting(self, response: Any) -> bytes:
        encoded: bytes = response.SerializeToString()
        if len(encoded) > self._config.message_bytes_max:
            raise ValueTooLarge(
                f"The response takes {len(encoded):,} bytes; {self._config.message_bytes_max:,} are possible.",
                hint="Ask for less at a time.",
            )
        return encoded

    # -- where this node stands

    async def wait_for(self, data: bytes, context: Any) -> bytes:
        """Return once this node holds all that a token names."""
        request = await self._sized(len(data), read, pb.WaitForRequest, data)
        if not request.token:
            raise BadRequest("token is not set.")
        await self._held(request.token, context, request.timeout_ms / 1000)
        return pb.WaitForResponse().SerializeToString()

    async def _held(self, token: str, context: Any, timeout: float = 0.0) -> None:
        """Return once this node holds all that `token` names, after at most `timeout` s (0: as long as may be)."""
        left = context.time_remaining()
        longest = self._config.wait_max if left is None else min(left, self._config.wait_max)
        wanted = await self._sized(len(token), self._node.sessions.read, token)
        await self._node.aio.wait_until(wanted, min(timeout, longest) if timeout else longest)

    async def position(self, data: bytes, context: Any) -> bytes:
        """Where this node stands: token, clocks, digest."""
        request = read(pb.PositionRequest, data)
        self._node.local.check()
        if request.sync:
            await self._workers.durable()
        return self._fitting(await self._workers.run(self._position, list(request.buckets)))

    def _position(self, wanted: list[str]) -> pb.PositionResponse:
        store = self._node.local.store
        with store.lock:  # all of one state
            names = sorted(set(wanted)) or sorted(store.buckets())
            response = pb.PositionResponse(token=self._node.sessions.token(names), digest=_digest(store.digest()))
            for name in names:
                bucket, clock = self._node.bucket(name), store.clock(name)
                response.buckets.add(
                    bucket=name, digest=_digest(int(bucket.digest(), 16)), actors=clock.keys(), seqs=clock.values()
                )
        return response


def _digest(digest: int) -> bytes:
    return digest.to_bytes(16, "big")
