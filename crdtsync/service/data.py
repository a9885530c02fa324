"""The Data service: what programs say to a node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crdtsync import __version__ as VERSION
from crdtsync.errors import BadRequest, Unavailable, ValueTooLarge
from crdtsync.service.applying import DEFAULT_BUCKET, Applying
from crdtsync.service.calls import Calls, write
from crdtsync.service.operations import Operations
from crdtsync.service.places import Places
from crdtsync.service.reading import QUICK_QUERIES, Large, Reading
from crdtsync.service.scanning import Scan
from crdtsync.service.streaming import Stream
from crdtsync.service.tokens import Tokens
from crdtsync.service.watching import Watches
from crdtsync.transport.pb import data_pb2 as pb

if TYPE_CHECKING:
    from crdtsync.config import ServeConfig
    from crdtsync.node.shell import Node
    from crdtsync.service.workers import Workers


class Data:
    """The methods of the Data service; each takes a request as bytes and gives, or writes, responses as bytes."""

    def __init__(self, node: Node, config: ServeConfig, calls: Calls, workers: Workers) -> None:
        self._node, self._config, self._calls, self._workers = node, config, calls, workers
        places = Places(node.config.cluster)
        operations = Operations(node.config.cluster, places)
        self._tokens = Tokens(node, config, calls, workers)
        self._applying = Applying(node, calls, workers, operations, self._tokens)
        self._reading = Reading(config, places, operations)
        self._watches = Watches(node, config, calls, workers)

    def handlers(self) -> dict[str, Any]:
        """{method name: handler}."""
        calls = self._calls
        return {
            "Describe": calls.unary("Data.Describe", self.describe),
            "Apply": calls.unary("Data.Apply", self.apply),
            "ApplyStream": calls.stream("Data.ApplyStream", self.apply_stream),
            "Read": calls.unary("Data.Read", self.read),
            "Scan": calls.answers("Data.Scan", self.scan),
            "Watch": calls.answers("Data.Watch", self.watch),
            "WaitFor": calls.unary("Data.WaitFor", self.wait_for),
            "Position": calls.unary("Data.Position", self.position),
        }

    @property
    def watching(self) -> int:
        """Watches that are running."""
        return self._watches.running

    # -- who serves

    async def describe(self, data: bytes, context: Any) -> bytes:
        """Who serves, and the bounds that calls must keep."""
        self._calls.read(pb.DescribeRequest, data)
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
            instance=node.local.store.instance,
            store=node.local.store.store_id,
        ).SerializeToString()

    # -- writing

    async def apply(self, data: bytes, context: Any) -> bytes:
        """One batch."""
        response, waits = await self._applying.apply(data, context)
        if waits:
            await self._workers.durable()
        return response.SerializeToString()

    async def apply_stream(self, context: Any) -> None:
        """Many batches."""
        self._calls.admit_lane(context)
        await Stream(self._config, self._applying, self._calls, self._workers, context).run()

    # -- reading

    async def read(self, data: bytes, context: Any) -> bytes:
        """Single objects, each of one state."""
        request = await self._workers.sized(len(data), self._calls.read, pb.ReadRequest, data)
        if request.after:
            await self._tokens.held(request.after, context)
        bucket = self._node.bucket(request.bucket or DEFAULT_BUCKET)
        answer = self._reading.answer
        try:
            small = self._workers.small if len(request.queries) <= QUICK_QUERIES else self._workers.run
            response = await small(answer, bucket, request, True)
        except Large:
            response = await self._workers.run(answer, bucket, request, False)
        return self._fitting(response)

    async def scan(self, data: bytes, context: Any) -> None:
        """Keys or objects in order, in pages."""
        request = await self._workers.sized(len(data), self._calls.read, pb.ScanRequest, data)
        if request.after:
            await self._tokens.held(request.after, context)
        listing = Scan(self._node.bucket(request.bucket or DEFAULT_BUCKET), request, self._config)
        while not listing.ended:
            if self._calls.stopping:
                raise Unavailable("The server is stopping.", hint="Go on at another node, from the last cursor.")
            page = await self._workers.run(listing.page)
            await write(context, page.SerializeToString(), self._config.stall_max)

    async def watch(self, data: bytes, context: Any) -> None:
        """Changes, as they come."""
        await self._watches.run(await self._workers.sized(len(data), self._calls.read, pb.WatchRequest, data), context)

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
        request = await self._workers.sized(len(data), self._calls.read, pb.WaitForRequest, data)
        if not request.token:
            raise BadRequest("token is not set.")
        await self._tokens.held(request.token, context, request.timeout_ms / 1000)
        return pb.WaitForResponse().SerializeToString()

    async def position(self, data: bytes, context: Any) -> bytes:
        """Where this node stands: token, clocks, digest."""
        request = self._calls.read(pb.PositionRequest, data)
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
