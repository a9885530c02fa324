"""What the client costs: calls and streamed operations a second, and the processor time of both sides for each.

    python -m benchmarks.micro.client [--operations 200000]

Client and node are two processes on one machine.  `bound` is what they would reach if each had a core for itself: on a
busy machine it is the figure to compare.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

import crdtsync

KEYS = 1000
CALLS = 2000


def served(pipe: Connection) -> None:
    """The node's process: tells its processor time when asked."""
    with crdtsync.open(None) as node, crdtsync.serve(node) as server:
        pipe.send(server.address)
        while pipe.recv():
            pipe.send(time.process_time())


def increments(client: crdtsync.Client, count: int) -> None:
    counter = client.pncounter("call")
    for _ in range(count):
        counter.increment()


def reads(client: crdtsync.Client, count: int) -> None:
    counter = client.pncounter("call")
    for _ in range(count):
        _ = counter.value


def hot_counter(stream: crdtsync.client.WriteStream, count: int) -> None:
    counter = stream.gcounter("hot")
    for _ in range(count):
        counter.increment()


def kept_handles(stream: crdtsync.client.WriteStream, count: int) -> None:
    counters = [stream.pncounter(f"key:{number}") for number in range(KEYS)]
    for number in range(count):
        counters[number % KEYS].increment()


def new_handles(stream: crdtsync.client.WriteStream, count: int) -> None:
    for number in range(count):
        stream.pncounter(f"key:{number % KEYS}").increment()


def elements(stream: crdtsync.client.WriteStream, count: int) -> None:
    members = stream.orset("set")
    for number in range(count):
        members.add(f"member {number % KEYS}")


def registers(stream: crdtsync.client.WriteStream, count: int) -> None:
    for number in range(count):
        stream.lwwregister(f"key:{number % KEYS}").set(f"value {number}")


class Meter:
    """Wall time and processor time of both sides."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def _node(self) -> float:
        self._pipe.send(True)
        return float(self._pipe.recv())

    def line(self, what: str, count: int, work: Callable[[], object]) -> str:
        node, mine, wall = self._node(), time.process_time(), time.perf_counter()
        work()
        wall, mine = time.perf_counter() - wall, time.process_time() - mine
        node = self._node() - node
        costs = f"{mine / count * 1e6:8.2f} {node / count * 1e6:8.2f}"
        return f"{what:34} {count / wall:10,.0f} {costs} {count / max(mine, node):10,.0f}"


def measure(client: crdtsync.Client, meter: Meter, operations: int) -> Iterator[str]:
    for work in (increments, reads):
        yield meter.line(f"calls, {work.__name__}", CALLS, lambda work=work: work(client, CALLS))
    for work in (hot_counter, kept_handles, new_handles, elements, registers):
        with client.stream() as stream:

            def run(work: Callable[[crdtsync.client.WriteStream, int], None] = work) -> None:
                work(stream, operations)
                stream.flush()

            yield meter.line(f"stream, {work.__name__.replace('_', ' ')}", operations, run)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, default=200_000)
    arguments = parser.parse_args()
    mine, theirs = multiprocessing.Pipe()
    node = multiprocessing.get_context("spawn").Process(target=served, args=(theirs,))
    node.start()
    print(f"{'':34} {'a second':>10} {'client':>8} {'node':>8} {'bound':>10}   (microseconds of processor time each)")
    with crdtsync.connect(mine.recv()) as client:
        for line in measure(client, Meter(mine), arguments.operations):
            print(line, flush=True)
    mine.send(False)
    node.join()


if __name__ == "__main__":
    main()
