"""Cost curves: what an operation costs as a set, a counter's actors, the keys, the threads or a value grow."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

import crdtsync
from crdtsync.errors import ConfigError
from crdtsync.ops.bench.adapters.embedded import Embedded
from crdtsync.ops.bench.bench import Task
from crdtsync.ops.bench.peering import LISTEN
from crdtsync.ops.bench.results import Check, Sample, Unit

UNITS = {
    "write_us": Unit("us", what="mean time of a write"),
    "read_us": Unit("us", what="mean time of a read"),
    "rate": Unit("1/s", higher=True, what="writes a second of all threads, closed loop"),
}
JOIN_TIMEOUT = 60.0  # s
BATCH = 5000  # elements of a batch while something is filled
Figures = dict[str, float]


class Params(msgspec.Struct, forbid_unknown_fields=True):
    """`over`: set, actors, keys, threads or bytes, at the `points` (with blanks between); `operations` at each."""

    over: str
    points: str
    operations: int


def measure(task: Task, params: Params) -> Sample:
    """One sample: all points, each on a node or keys of its own."""
    if params.over not in CURVES:
        raise ConfigError(f"There is no curve over {params.over!r}; there are {', '.join(CURVES)}.")
    figures: Figures = {}
    checks = []
    for point in map(int, params.points.split()):
        place = task.place / str(point)
        place.mkdir()
        grown = params.over == "actors"
        system = Embedded(place, listen=LISTEN) if grown else Embedded(place)
        try:
            if grown:
                stepped_by_others(system.node, place, point - 1)
            found, right = CURVES[params.over](system.node, point, params.operations, task.seed)
        finally:
            system.close()
        figures |= {f"{name}@{point}": value for name, value in found.items()}
        checks.append(Check(f"what was written can be read ({params.over} {point:,})", right))
    return Sample(figures, checks)


def spent(call: Callable[[Any], Any], arguments: list[Any]) -> float:
    """Mean time of a call in us."""
    begin = time.perf_counter()
    for argument in arguments:
        call(argument)
    return (time.perf_counter() - begin) / len(arguments) * 1e6


def over_set(node: Any, size: int, operations: int, seed: int) -> tuple[Figures, bool]:
    """Additions to, and membership in, a set of so many elements."""
    members = node.orset("set")
    for first in range(0, size, BATCH):
        members.update([f"element {at:09}" for at in range(first, min(first + BATCH, size))])
    node.sync()
    chance = random.Random(seed)
    asked = [f"element {chance.randrange(size):09}" for _ in range(operations)]
    news = [f"element {size + at:09}" for at in range(operations)]
    figures = {"read_us": spent(members.__contains__, asked), "write_us": spent(members.add, news)}
    return figures, len(members) == size + operations and asked[0] in members


def over_actors(node: Any, actors: int, operations: int, seed: int) -> tuple[Figures, bool]:
    """Steps and reads of a counter that so many actors have stepped."""
    counter = node.pncounter("counter")
    figures = {"read_us": spent(lambda _: counter.value, [None] * operations)}
    figures["write_us"] = spent(lambda _: counter.increment(), [None] * operations)
    return figures, counter.value == actors - 1 + operations


def stepped_by_others(node: Any, place: Path, others: int) -> None:
    """One node after the other joins, steps the counter once and leaves: each is an actor of its own."""
    for number in range(others):
        with crdtsync.open(place / f"other {number}", listen=LISTEN, join=[node.address]) as other:
            other.pncounter("counter").increment()
            node.wait_for(other.token(), JOIN_TIMEOUT)
            other.leave()


def over_keys(node: Any, keys: int, operations: int, seed: int) -> tuple[Figures, bool]:
    """Writes and reads of random ones of so many registers."""
    for first in range(0, keys, BATCH):
        with node.batch():
            for at in range(first, min(first + BATCH, keys)):
                node.lwwregister(f"object:{at:09}").set("a value of twenty ch.")
    node.sync()
    chance = random.Random(seed)
    asked = [f"object:{chance.randrange(keys):09}" for _ in range(operations)]
    figures = {"read_us": spent(lambda key: node.lwwregister(key).value, asked)}
    figures["write_us"] = spent(lambda key: node.lwwregister(key).set("another of twenty ch"), asked)
    return figures, node.lwwregister(asked[-1]).value == "another of twenty ch"


def over_threads(node: Any, threads: int, operations: int, seed: int) -> tuple[Figures, bool]:
    """Steps of hot counters by so many threads, each with its own."""
    share = operations // threads
    ready = threading.Barrier(threads + 1)

    def work(number: int) -> None:
        step = node.pncounter(f"counter:{number}").increment
        ready.wait()
        for _ in range(share):
            step()

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    ready.wait()
    begin = time.perf_counter()
    for worker in workers:
        worker.join()
    rate = share * threads / (time.perf_counter() - begin)
    return {"rate": rate}, all(node.pncounter(f"counter:{number}").value == share for number in range(threads))


def over_bytes(node: Any, size: int, operations: int, seed: int) -> tuple[Figures, bool]:
    """Writes and reads of registers with values of so many bytes."""
    value = random.Random(seed).randbytes(size)
    handles = [node.lwwregister(f"object:{at:06}") for at in range(operations)]
    figures = {"write_us": spent(lambda handle: handle.set(value), handles)}
    figures["read_us"] = spent(lambda handle: handle.value, handles)
    return figures, all(handle.value == value for handle in handles[-10:])


CURVES: dict[str, Callable[[Any, int, int, int], tuple[Figures, bool]]] = {
    "set": over_set, "actors": over_actors, "keys": over_keys, "threads": over_threads, "bytes": over_bytes,
}  # fmt: skip


def verify(task: Task, params: Params) -> list[Check]:
    """All were closed."""
    return []
