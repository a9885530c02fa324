"""Redis: a server of its own on loopback for each sample, and redis-py in the process that writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from crdtsync.ops.bench.adapters.base import Adapter
from crdtsync.ops.bench.adapters.servers import LOOPBACK, Running, free_port, program, version_of

PIPELINE = 64  # commands that travel together, for those who pipeline


class Server:
    """One redis-server."""

    def __init__(self, directory: Path, *settings: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        arguments = ("--port", str(self.port), "--bind", LOOPBACK, "--save", "", "--dir", str(directory), *settings)
        self.running = Running("redis-server", arguments, self.answers)

    def client(self) -> Any:
        """A connection pool of redis-py."""
        redis: Any = import_module("redis")
        return redis.Redis(port=self.port)

    def answers(self) -> bool:
        """Whether it takes commands."""
        redis: Any = import_module("redis")
        try:
            self.client().ping()
        except redis.ConnectionError:
            return False
        return True

    def stop(self) -> None:
        """End it."""
        self.running.stop()


class Redis(Adapter):
    """One command a trip."""

    title = "Redis, one command a trip"
    semantics = "one server, linearizable there; replicas asynchronous"
    durability = "none: no append-only file"
    package = "redis"
    settings: tuple[str, ...] = ("--appendonly", "no")

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.server = Server(directory / "redis", *self.settings)
        self.client = self.server.client()

    @classmethod
    def missing(cls) -> str:
        """Both the server and its client are needed."""
        return super().missing() or ("" if program("redis-server") else "redis-server is not installed (apt)")

    @classmethod
    def version(cls) -> str:
        """The server's."""
        return version_of("redis-server", "v=", "--version")

    def count_up(self, rounds: int) -> int:
        """INCR, waiting for each answer."""
        for _ in range(rounds):
            self.client.incr("hot")
        return rounds

    def total(self) -> int:
        """The counter."""
        return int(self.client.get("hot") or 0)

    def put_all(self, keys: Sequence[str], value: str) -> None:
        """SET, many in a pipeline: that is how one fills Redis."""
        for first in range(0, len(keys), 1000):
            with self.client.pipeline(transaction=False) as pipe:
                for key in keys[first : first + 1000]:
                    pipe.set(key, value)
                pipe.execute()

    def make_durable(self) -> bool:
        """Without a disk there is nothing to wait for."""
        return False

    def holds(self, keys: Sequence[str]) -> dict[str, object]:
        """The values."""
        found = dict(zip(keys, self.client.mget(keys), strict=True))
        return {key: None if value is None else value.decode() for key, value in found.items()}

    def put_record(self, key: str, value: str) -> None:
        """SET, waiting for its answer."""
        self.client.set(key, value)

    def get_record(self, key: str) -> object:
        """GET."""
        value = self.client.get(key)
        return None if value is None else value.decode()

    def close(self) -> None:
        """Stop the server."""
        self.client.close()
        self.server.stop()


class RedisPipelined(Redis):
    """64 commands a trip."""

    title = "Redis, pipelines of 64"

    def count_up(self, rounds: int) -> int:
        """INCR, 64 on the way."""
        for _ in range(rounds):
            with self.client.pipeline(transaction=False) as pipe:
                for _ in range(PIPELINE):
                    pipe.incr("hot")
                pipe.execute()
        return rounds * PIPELINE


class RedisEverysec(Redis):
    """An append-only file that is synced once a second."""

    title = "Redis, appendfsync everysec"
    durability = "survives kill -9 of the server when a call returns; the disk has it within a second"
    keeps = "process"
    settings = ("--appendonly", "yes", "--appendfsync", "everysec")


class RedisAlways(Redis):
    """An append-only file that is synced before an answer leaves."""

    title = "Redis, appendfsync always"
    durability = "synced before an answer leaves"
    keeps = "disk"
    settings = ("--appendonly", "yes", "--appendfsync", "always")

    def committer(self, thread: int) -> Callable[[int], None]:
        """A pipeline on a connection of its own."""
        client = self.server.client()

        def commit(writes: int) -> None:
            with client.pipeline(transaction=False) as pipe:
                for _ in range(writes):
                    pipe.incr("committed")
                pipe.execute()

        return commit

    def committed(self) -> int:
        """The counter."""
        return int(self.client.get("committed") or 0)
