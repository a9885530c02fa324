"""A TCP proxy that can be cut, turned into a black hole, slowed down and healed.

All proxies of a process share one event loop on one background thread.  Every method may be called from any thread and
returns when it has taken effect.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

CHUNK_BYTES = 64 * 1024
CHUNKS_IN_FLIGHT = 64  # chunks that one direction of a connection holds while they are delayed or held
CALL_TIMEOUT = 10.0  # s: only a machine in distress takes longer
NO_LINGER = struct.pack("ii", 1, 0)  # closing sends a reset
TO_TARGET, FROM_TARGET = "to_target", "from_target"


class Proxy:
    """Forwards connections at `address` to `target`, a "host:port" that may be set and changed at any time.

    With `connect=True` it is an HTTP CONNECT proxy instead: callers name the target, as with the setting connect_proxy.
    """

    def __init__(self, target: str = "", *, listen: str = "127.0.0.1:0", connect: bool = False) -> None:
        self.target = target
        self.connect = connect
        self.carried_bytes = 0  # both directions
        self._delay = 0.0
        self._is_cut = False
        self._connections: set[Connection] = set()
        self._run(self._listen(listen))

    @property
    def address(self) -> str:
        """host:port of the proxy itself."""
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    def cut(self) -> None:
        """Reset all connections, and every new one as soon as it is made."""
        self._run(self._cut())

    def blackhole(self, *directions: str) -> None:
        """Hold back all bytes, or those of one direction; connections stay, and new ones are taken but not served."""
        self._run(self._block(directions or (TO_TARGET, FROM_TARGET)))

    def delay(self, seconds: float) -> None:
        """Every byte takes this much longer, each way."""
        self._delay = seconds

    def heal(self) -> None:
        """Forward again, without delay; what a black hole held back arrives."""
        self._run(self._heal())

    def connections(self) -> int:
        """Connections being forwarded."""
        return len(self._connections)

    def close(self) -> None:
        """Reset everything and stop listening."""
        self._run(self._close())

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- on the loop
    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, shared_loop()).result(CALL_TIMEOUT)

    async def _listen(self, listen: str) -> None:
        self._open = {TO_TARGET: asyncio.Event(), FROM_TARGET: asyncio.Event()}
        for gate in self._open.values():
            gate.set()
        host, _, port = listen.rpartition(":")
        self._server = await asyncio.start_server(self._accept, host, int(port))

    async def _cut(self) -> None:
        self._is_cut = True
        for connection in list(self._connections):
            connection.reset()

    async def _block(self, directions: tuple[str, ...]) -> None:
        for direction in directions:
            self._open[direction].clear()

    async def _heal(self) -> None:
        self._is_cut, self._delay = False, 0.0
        for gate in self._open.values():
            gate.set()

    async def _close(self) -> None:
        await self._cut()
        self._server.close()
        tasks = [connection.task for connection in self._connections]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # asyncio runs this as one
        connection = Connection(task, writer)
        self._connections.add(connection)
        try:
            if not self._is_cut:
                await self._serve(reader, connection)
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # either side is gone, or asked for nonsense: it sees a reset
        finally:
            connection.reset()
            self._connections.discard(connection)

    async def _serve(self, reader: asyncio.StreamReader, connection: Connection) -> None:
        target = await self._asked(reader, connection) if self.connect else self.target
        await self._open[TO_TARGET].wait()
        host, _, port = target.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        connection.far = far_writer
        if self._is_cut:
            return
        if self.connect:
            connection.near.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        async with asyncio.TaskGroup() as group:
            group.create_task(self._carry(reader, far_writer, TO_TARGET))
            group.create_task(self._carry(far_reader, connection.near, FROM_TARGET))

    async def _asked(self, reader: asyncio.StreamReader, connection: Connection) -> str:
        """The target of a CONNECT request."""
        request = await reader.readuntil(b"\r\n\r\n")
        method, target, *_ = request.decode("ascii").split(" ", 2)
        if method != "CONNECT":
            raise ValueError(f"{method} is not CONNECT")
        return target

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: str) -> None:
        """One direction of a connection: bytes leave in order, when their delay is over and the gate is open."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_IN_FLIGHT)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._leave(queue, writer, direction))
            try:
                while chunk := await reader.read(CHUNK_BYTES):
                    await queue.put((asyncio.get_running_loop().time() + self._delay, chunk))
            except OSError:
                pass  # a reset is passed on as the end of what came before it
            await queue.put((0.0, b""))

    async def _leave(
        self, queue: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, direction: str
    ) -> None:
        now = asyncio.get_running_loop().time
        try:
            while True:
                due, chunk = await queue.get()
                if due > now():
                    await asyncio.sleep(due - now())
                await self._open[direction].wait()
                if not chunk:
                    writer.write_eof()
                    return
                writer.write(chunk)
                await writer.drain()
                self.carried_bytes += len(chunk)
        except OSError:
            writer.transport.abort()


class Connection:
    """The two sockets of one forwarded connection, and the task that serves it."""

    def __init__(self, task: asyncio.Task[None], near: asyncio.StreamWriter) -> None:
        self.task, self.near = task, near
        self.far: asyncio.StreamWriter | None = None

    def reset(self) -> None:
        """Drop both sides without a word of farewell."""
        for writer in (self.near, self.far):
            if writer is not None and not writer.transport.is_closing():
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
                writer.transport.abort()


@functools.cache
def shared_loop() -> asyncio.AbstractEventLoop:
    """The loop of all proxies, on a daemon thread that lives as long as the process."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="crdtsync-proxy", daemon=True).start()
    return loop
