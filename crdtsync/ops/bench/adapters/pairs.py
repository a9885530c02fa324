"""Two places that hold the same: one writes in a process of its own, what it wrote becomes visible at the other.

A **load** is made of ticks: every millisecond so many counter steps, and now and then a **probe**, a key that nobody
had, whose way is timed.  Both processes read the same monotonic clock.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import crdtsync
from crdtsync.ops.bench.adapters.base import Adapter
from crdtsync.ops.bench.adapters.redis_server import Redis, Server
from crdtsync.ops.bench.peering import fill, hosted
from crdtsync.ops.bench.processes import Other, answer_all

TICK = 0.001  # s
COUNTERS = 1000  # that the steps of a load go to, in turn
LISTEN = "127.0.0.1:0"
PROBE = "probe:"
VALUE = "a value of twenty ch."  # of a bulk transfer's rows
READY_TIMEOUT = 60.0  # s until both places are one


class Load(NamedTuple):
    """`rate` steps a second for `seconds`, and a probe every `probe_every` ticks, from number `first` on."""

    rate: float
    seconds: float
    probe_every: int
    first: int


class Written(NamedTuple):
    """What the writer tells afterwards; times in ns of the monotonic clock."""

    probes: dict[str, tuple[int, int]]  # key -> (when it was due, when its write began)
    steps: int
    behind: float  # s: how late the last tick began
    cpu_seconds: float


class Writes(Protocol):
    """How a place is written to."""

    def tick(self, steps: int, probe: str) -> None:
        """Step counters, and write the probe when there is one."""


def run_load(writes: Writes, load: Load) -> Written:
    """Make a load, open loop."""
    probes: dict[str, tuple[int, int]] = {}
    ticks, made = round(load.seconds / TICK), 0
    begin, used = time.monotonic_ns(), time.process_time()
    started = begin
    for tick in range(ticks):
        due = begin + round(tick * TICK * 1e9)
        early = due - time.monotonic_ns()
        if early > 0:
            time.sleep(early / 1e9)
        steps = round((tick + 1) * load.rate * TICK) - made
        probe = f"{PROBE}{load.first + tick:09}" if tick % load.probe_every == 0 else ""
        started = time.monotonic_ns()
        writes.tick(steps, probe)
        made += steps
        if probe:
            probes[probe] = (due, started)
    behind = max(0.0, (started - begin) / 1e9 - (ticks - 1) * TICK)
    return Written(probes, made, behind, time.process_time() - used)


class NodeWrites:
    """A node that is written to through its handles."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.counters = [node.pncounter(f"load:{at:04}").increment for at in range(COUNTERS)]
        self.at = 0

    def tick(self, steps: int, probe: str) -> None:
        """Each step a write of its own."""
        counters, at = self.counters, self.at
        for number in range(at, at + steps):
            counters[number % COUNTERS]()
        self.at = at + steps
        if probe:
            self.node.lwwregister(probe).set(probe)


def write_node(pipe: Connection, directory: str) -> None:
    """The writer's process."""
    with crdtsync.open(directory, listen=LISTEN) as node:
        writes = NodeWrites(node)
        answer_all(
            pipe,
            {
                "address": lambda: node.address, "digest": node.digest, "token": node.token,
                "load": lambda *load: run_load(writes, Load(*load)), "fill": lambda rows: fill(node, 0, rows, VALUE),
            },
        )  # fmt: skip


class NodePair(Adapter):
    """The reader's node is in this process, and watched."""

    title = "crdtsync, two nodes"
    semantics = "asynchronous, every node takes writes; seen by watch() on the other node"
    durability = "survives kill -9 when a call returns; the disk has it within milliseconds (group)"
    keeps = "process"
    package = "crdtsync"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.writer = Other(write_node, str(directory / "writer"))
        self.node = crdtsync.open(directory / "reader", listen=LISTEN, join=[self.writer.ask("address")])
        self.watcher = self.node.watch(PROBE)
        self.node.wait_for(self.writer.ask("token"), READY_TIMEOUT)

    @classmethod
    def version(cls) -> str:
        """Of the code that runs."""
        return crdtsync.__version__

    def begin_bulk(self, directory: Path, rows: int) -> Other:
        """Give both so many rows; then a third node, new, that is sent them from now on."""
        self.writer.ask("fill", rows)
        self.node.wait_for(self.writer.ask("token"), READY_TIMEOUT)
        return hosted(directory, join=[self.writer.ask("address")])

    def bulk_arrived(self, third: Other) -> bool:
        """Whether the third node has come to hold the same."""
        third.ask("wait_for", self.writer.ask("token"), READY_TIMEOUT)
        same = third.ask("digest") == self.writer.ask("digest")
        third.stop()
        return bool(same)

    def seen(self, timeout: float) -> Iterator[str]:
        """Probes as they become visible, until none comes for so many seconds."""
        while (change := self.watcher.next(timeout)) is not None:
            yield change.key

    def settled(self) -> bool:
        """Whether both hold the same, once this one has all."""
        self.node.wait_for(self.writer.ask("token"), READY_TIMEOUT)
        return self.node.digest() == str(self.writer.ask("digest"))

    def total(self) -> int:
        """Steps that this side has counted."""
        return sum(self.node.pncounter(f"load:{at:04}").value for at in range(COUNTERS))

    def close(self) -> None:
        """Both."""
        self.watcher.close()
        self.node.close()
        self.writer.stop()


class RedisWrites:
    """A Redis server that is written to, a pipeline for each tick."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.at = 0

    def tick(self, steps: int, probe: str) -> None:
        """One trip."""
        with self.client.pipeline(transaction=False) as pipe:
            for number in range(self.at, self.at + steps):
                pipe.incr(f"load:{number % COUNTERS:04}")
            if probe:
                pipe.set(probe, probe)
            pipe.execute()
        self.at += steps


def write_redis(pipe: Connection, port: int) -> None:
    """The writer's process."""
    redis: Any = import_module("redis")
    writes = RedisWrites(redis.Redis(port=port))
    answer_all(pipe, {"load": lambda *load: run_load(writes, Load(*load))})


class RedisPair(Redis):
    """A server and its replica; the replica tells of new keys by keyspace notifications."""

    title = "Redis, a replica"
    semantics = "asynchronous, one server takes writes; seen by keyspace notification at the replica"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.client.config_set("repl-diskless-sync-delay", 0)  # a replica is let in at once
        settings = ("--replicaof", "127.0.0.1", str(self.server.port), "--notify-keyspace-events", "K$")
        self.replica = Server(directory / "replica", *self.settings, *settings)
        self.reader = self.replica.client()
        deadline = time.monotonic() + READY_TIMEOUT
        while self.reader.info("replication")["master_link_status"] != "up" and time.monotonic() < deadline:
            time.sleep(0.05)
        self.events = self.reader.pubsub(ignore_subscribe_messages=True)
        self.events.psubscribe(f"__keyspace@0__:{PROBE}*")
        self.events.get_message(timeout=READY_TIMEOUT)
        self.writer = Other(write_redis, self.server.port)

    def seen(self, timeout: float) -> Iterator[str]:
        """Probes as they become visible, until none comes for so many seconds."""
        while (message := self.events.get_message(timeout=timeout)) is not None:
            yield message["channel"].decode().split(":", 1)[1]

    def settled(self) -> bool:
        """Whether both hold the same, once the replica has all."""
        self.client.wait(1, int(READY_TIMEOUT * 1000))
        names = [f"load:{at:04}" for at in range(COUNTERS)]
        return bool(self.client.dbsize() == self.reader.dbsize() and self.client.mget(names) == self.reader.mget(names))

    def total(self) -> int:
        """Steps that the replica has counted."""
        return sum(int(value or 0) for value in self.reader.mget([f"load:{at:04}" for at in range(COUNTERS)]))

    def close(self) -> None:
        """All processes."""
        self.writer.stop()
        self.events.close()
        self.reader.close()
        self.replica.stop()
        super().close()
