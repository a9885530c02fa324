"""crdtsync over gRPC: a node served by a process of its own, and a client of it; and an empty call beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import crdtsync
from crdtsync.ops.bench.adapters.base import Adapter
from crdtsync.ops.bench.processes import Other, answer_all

EMPTY = "/bench/Nothing"


def serve_node(pipe: Connection, directory: str) -> None:
    """The server's process."""
    with crdtsync.open(directory) as node, crdtsync.serve(node) as server:
        answer_all(pipe, {"address": lambda: server.address, "digest": node.digest})


class RemoteNode(Adapter):
    """One client, through the public handles."""

    title = "crdtsync, served over gRPC"
    semantics = "replicated CRDT, no coordination; every write carries a request id"
    durability = "survives kill -9 of the node when a call returns; the disk has it within milliseconds (group)"
    keeps = "process"
    package = "grpc_health"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.server = Other(serve_node, str(directory / "node"))
        self.client = crdtsync.connect(self.server.ask("address"))
        self.step = self.client.pncounter("called").increment

    @classmethod
    def version(cls) -> str:
        """Of the code that runs."""
        return crdtsync.__version__

    def call(self) -> None:
        """One write, answered."""
        self.step()

    def stream(self, operations: int) -> None:
        """So many writes in one stream, all answered at the end."""
        with self.client.stream() as stream:
            step = stream.pncounter("called").increment
            for _ in range(operations):
                step()

    def put_all(self, keys: Sequence[str], value: str) -> None:
        """Registers, in one stream."""
        with self.client.stream() as stream:
            for key in keys:
                stream.lwwregister(key).set(value)

    def holds(self, keys: Sequence[str]) -> dict[str, object]:
        """The registers' values."""
        return {key: self.client.lwwregister(key).value for key in keys}

    def put_record(self, key: str, value: str) -> None:
        """Set a register."""
        self.client.lwwregister(key).set(value)

    def get_record(self, key: str) -> object:
        """A register's value."""
        return self.client.lwwregister(key).value

    def scan_records(self, key: str, count: int) -> int:
        """So many objects of the key's prefix; how many there were."""
        return sum(1 for _ in islice(self.client.items(key), count))

    def total(self) -> int:
        """What the node has counted."""
        return self.client.pncounter("called").value

    def close(self) -> None:
        """Close the client, end the server."""
        self.client.close()
        self.server.stop()


def serve_nothing(pipe: Connection) -> None:
    """The process of an empty call: what gRPC leaves to share out."""
    asyncio.run(offer_nothing(pipe))


async def offer_nothing(pipe: Connection) -> None:
    """A server on grpc.aio, as crdtsync's is, whose one method counts and answers nothing."""
    import grpc
    import grpc.aio

    calls = 0

    async def nothing(request: bytes, context: Any) -> bytes:
        nonlocal calls
        calls += 1
        return b""

    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(nothing)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench", {"Nothing": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    methods = {"address": lambda: f"127.0.0.1:{port}", "calls": lambda: calls}
    await asyncio.get_running_loop().run_in_executor(None, answer_all, pipe, methods)
    await server.stop(0)


class EmptyCall(Adapter):
    """A blocking channel of grpcio, and a method that does nothing."""

    title = "empty gRPC call"
    semantics = "none: a trip to another process and back"
    durability = "none: nothing is kept"
    package = "grpc"

    def __init__(self, directory: Path) -> None:
        import grpc

        super().__init__(directory)
        self.server = Other(serve_nothing)
        self.channel = grpc.insecure_channel(self.server.ask("address"))
        self.nothing = self.channel.unary_unary(EMPTY)

    @classmethod
    def version(cls) -> str:
        """Of grpcio."""
        import grpc

        return str(grpc.__version__)

    def call(self) -> None:
        """There and back."""
        self.nothing(b"")

    def total(self) -> int:
        """How often it was called."""
        return int(self.server.ask("calls"))

    def close(self) -> None:
        """Close the channel, end the server."""
        self.channel.close()
        self.server.stop()
