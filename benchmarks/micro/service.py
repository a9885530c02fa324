"""What serving over gRPC costs: calls against empty calls of the same server, and streamed operations a second.

    python -m benchmarks.micro.service [--seconds 2]

Caller and server are two processes on one machine.  The empty call is a handler of grpc.aio that does nothing, in the
server's process and on the same event loop: what it reaches is what gRPC leaves to share out.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import grpc

import crdtsync
from crdtsync.transport.pb import data_pb2 as pb

SERVICE = "/crdtsync.v1.Data/"
WARM_UP = 0.3  # s before measuring
IN_FLIGHT = 16  # requests of a stream that wait for their responses
KEYS = 1000


def served(pipe: Connection) -> None:
    """The server's process: a node in memory, served, and an empty call."""
    import asyncio

    import grpc.aio

    from crdtsync.transport.loop import shared_loop

    async def nothing(request: bytes, context: Any) -> bytes:
        return b""

    async def offer_nothing() -> int:
        bare = grpc.aio.server()
        handler = grpc.unary_unary_rpc_method_handler(nothing)
        bare.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench", {"Nothing": handler}),))
        port = bare.add_insecure_port("127.0.0.1:0")
        await bare.start()
        kept.append(bare)
        return int(port)

    kept: list[Any] = []
    with crdtsync.open(None) as node, crdtsync.serve(node) as server:
        port = asyncio.run_coroutine_threadsafe(offer_nothing(), shared_loop()).result()
        pipe.send((server.address, f"127.0.0.1:{port}"))
        pipe.recv()
        asyncio.run_coroutine_threadsafe(kept[0].stop(0), shared_loop()).result()


def add(key: int) -> pb.Operation:
    return pb.Operation(
        place=pb.Place(key=f"key:{key % KEYS}", type="pncounter"), verb="pncounter.add", argument=pb.Value(integer=1)
    )


def add_to_set(key: int) -> pb.Operation:
    return pb.Operation(
        place=pb.Place(key=f"set:{key % 10}", type="orset"),
        verb="orset.add",
        argument=pb.Value(text=f"member {key % KEYS}"),
    )


def interleaved(calls: dict[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """Calls a second of each, one after the other and in turns, by the median: neighbours in time are comparable."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + WARM_UP + seconds
    while (now := time.perf_counter()) < end:
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if now > end - seconds:
                taken[name].append(time.perf_counter() - start)
    return {name: 1 / statistics.median(times) for name, times in taken.items()}


def streamed(channel: grpc.Channel, request: bytes, operations: int, seconds: float) -> float:
    """Operations a second of one ApplyStream with requests of so many operations."""
    end = time.perf_counter() + seconds

    def requests() -> Iterator[bytes]:
        while time.perf_counter() < end:
            yield request

    start, count = time.perf_counter(), 0
    for response in channel.stream_stream(SERVICE + "ApplyStream")(requests()):
        assert b"error" not in response
        count += 1
    return count * operations / (time.perf_counter() - start)


def measure(address: str, empty: str, seconds: float) -> Iterator[tuple[str, float, float]]:
    """(what, rate, share of the empty call's rate or 0)."""
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(address, options) as channel, grpc.insecure_channel(empty) as bare:
        nothing = bare.unary_unary("/bench/Nothing")
        apply, read = channel.unary_unary(SERVICE + "Apply"), channel.unary_unary(SERVICE + "Read")
        one = pb.ApplyRequest(operations=[add(1)]).SerializeToString()
        ten = pb.ApplyRequest(operations=map(add, range(10))).SerializeToString()
        query = pb.Query(place=pb.Place(key="key:1", type="pncounter"), value=True)
        asked = pb.ReadRequest(queries=[query]).SerializeToString()
        # Reads apart from writes: what a write leaves to the flusher falls into the calls behind it.
        for calls in (
            {"Read, 1 counter": lambda: read(asked)},
            {"Apply, 1 operation": lambda: apply(one), "Apply, 10 operations": lambda: apply(ten)},
        ):
            rates = interleaved({"empty call": lambda: nothing(b""), **calls}, 2 * seconds)
            for name, found in rates.items():
                yield name, found, found / rates["empty call"]
        for what, make in (("counter steps", add), ("set elements", add_to_set)):
            for count in (10, 100, 1000):
                request = pb.ApplyRequest(operations=map(make, range(count))).SerializeToString()
                yield f"stream of {what}, {count} a request", streamed(channel, request, count, seconds), 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="s for each figure")
    seconds = parser.parse_args().seconds
    spawn = multiprocessing.get_context("spawn")
    mine, theirs = spawn.Pipe()
    process = spawn.Process(target=served, args=(theirs,), daemon=True)
    process.start()
    try:
        for what, found, share in measure(*mine.recv(), seconds):
            print(f"{what:40} {found:12,.0f} /s   {f'{share:.2f} of the empty call' if share else ''}")
    finally:
        mine.send(None)
        process.join(10)


if __name__ == "__main__":
    main()
