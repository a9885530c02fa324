"""Listeners of one node, their life and their end."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any

import grpc.aio

from crdtsync.config import ServeConfig, make_serve_config, milliseconds
from crdtsync.errors import Closed, InvariantViolated
from crdtsync.replication import peers as states
from crdtsync.security.credentials import ServerCredentials
from crdtsync.service.admin import Admin
from crdtsync.service.calls import Calls
from crdtsync.service.data import Data
from crdtsync.service.listening import Listener, bind
from crdtsync.service.standing import Health, offer_reflection
from crdtsync.service.workers import Workers
from crdtsync.transport.descriptors import connections
from crdtsync.transport.loop import LOOP_THREAD, check_process, shared_loop

if TYPE_CHECKING:
    from crdtsync.node.shell import Node

log = logging.getLogger("crdtsync.service")
aio: Any = grpc.aio  # its published stubs describe another API
PACKAGE = "crdtsync.v1"
DATA, ADMIN = f"{PACKAGE}.Data", f"{PACKAGE}.Admin"
LOOP_TIMEOUT = 30.0  # s that opening ports may take; stopping takes `grace` besides
WRITABLE = (states.MEMBER, states.SUPERSEDED)
RPCS_BEYOND = 64  # calls that gRPC lets through beyond calls_max, to be refused by name; then it refuses itself

_running: weakref.WeakSet[Server] = weakref.WeakSet()


def serve(node: Node, *, on_stop: Callable[[], None] | None = None, **settings: Any) -> Server:
    """Serve a node to programs in any language, over gRPC; docs/service.md has the calls.

    `settings` are the fields of crdtsync.ServeConfig: `serve` is the address of the Data service, "127.0.0.1:0" unless
    given; `admin` that of a listener with the Admin service, too, "unix:/path" or "host:port"; none unless given.
    `on_stop` is called, on a thread of its own, when an operator asks the process to end; without it they cannot.
    The server ends with the node, or by `stop`.  Raises ConfigError, InsecureAddress, ListenFailed, Closed, Forked.
    """
    server = Server(node, make_serve_config(settings), on_stop)
    server.start()
    return server


class Server:
    """A node being served; a context manager that stops it.  Any thread may call."""

    def __init__(self, node: Node, config: ServeConfig, on_stop: Callable[[], None] | None = None) -> None:
        check_process()
        node.local.check()
        self._node, self.config, self._on_stop = node, config, on_stop
        self.address = self.admin_address = ""
        self._workers = Workers(node.local, config.workers, config.inline_bytes)
        self._calls = Calls(node.local, config, verified=node.tls is not None)
        self._data = Data(node, config, self._calls, self._workers)
        self._listeners: list[Listener] = []
        self._servers: list[Any] = []
        self._health: list[Health] = []
        self._lock, self._process = threading.Lock(), os.getpid()
        self._state = "new"  # new -> running -> stopped

    # -- beginning

    def start(self) -> None:
        """Listen and serve; called by `serve`."""
        _check_thread()
        with self._lock:
            if self._state != "new":
                raise Closed("The server has been started before.")
            self._loop = shared_loop()
            try:
                self._await(self._open(), LOOP_TIMEOUT)
                self._node.attach(self)
            except BaseException:
                self._state = "stopped"
                self._await(self._shut_down(0.0), LOOP_TIMEOUT)
                raise
            self._state = "running"
        _running.add(self)

    async def _open(self) -> None:
        offered = {DATA: self._data.handlers()}
        if self.config.serve:
            self.address = await self._listen("serve", self.config.serve, offered)
        if self.config.admin:
            admin = Admin(self._node, self.config, self._calls, self._workers, self._on_stop)
            offered = {**offered, ADMIN: admin.handlers()}
            self.admin_address = await self._listen("admin", self.config.admin, offered)

    async def _listen(self, what: str, address: str, offered: dict[str, dict[str, Any]]) -> str:
        """One gRPC server at one address; the address that it is bound to."""
        server = aio.server(
            options=server_options(self.config, what), maximum_concurrent_rpcs=self.config.calls_max + RPCS_BEYOND
        )
        health = Health(offered)
        health.offer(server)
        offer_reflection(server, offered)
        server.add_generic_rpc_handlers((Handlers(self._node.local.store.counters, offered),))  # the last one asked
        await health.set(self._node.state in WRITABLE)
        # Each listener has credentials of its own: those that reload are good for one port.
        credentials = None if self._node.tls is None else ServerCredentials(self._node.tls).grpc
        listener = bind(server, what, address, self.config.insecure, credentials)
        self._listeners.append(listener)
        self._servers.append(server)
        self._health.append(health)
        await server.start()
        log.info("%s: serves %s at %s", self._node.name, ", ".join(offered), listener.address)
        return listener.address

    # -- the node's part (node.shell.Attached)

    def status(self) -> dict[str, Any]:
        """Its part of `Node.status()`."""
        encryption = "plaintext" if self._node.tls is None else "tls"
        return {
            "address": self.address, "admin_address": self.admin_address, "encryption": encryption,
            "watches": self._data.watching, **self._calls.status(),
        }  # fmt: skip

    def state_changed(self, state: str) -> None:
        """Tell by the health service whether the node takes writes."""
        self._loop.call_soon_threadsafe(lambda: self._loop.create_task(self._tell_health(state in WRITABLE)))

    async def _tell_health(self, serving: bool) -> None:
        for health in self._health:
            await health.set(serving and not self._calls.stopping)

    def close(self) -> None:
        """The node is being closed."""
        self.stop()

    # -- the end

    def stop(self, grace: float | None = None) -> None:
        """Take no more calls; those under way get `grace` seconds to end (`stop_grace` unless given), watches end now.

        May be called again.
        """
        _check_thread()
        if os.getpid() != self._process:
            return  # a forked child: ports, files and the loop are its parent's
        with self._lock:
            state, self._state = self._state, "stopped"
            if state != "running":
                return
            _running.discard(self)
            self._node.detach(self)
            seconds = self.config.stop_grace if grace is None else grace
            self._await(self._shut_down(seconds), seconds + LOOP_TIMEOUT)

    async def _shut_down(self, grace: float) -> None:
        deadline = self._loop.time() + grace
        self._calls.stop()
        await self._tell_health(False)
        await asyncio.gather(*(server.stop(grace) for server in self._servers))
        await self._calls.drain(deadline)
        for listener in self._listeners:
            listener.remove()
        self._workers.stop()

    def _await(self, work: Coroutine[Any, Any, None], timeout: float) -> None:
        try:
            asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)
        except TimeoutError as error:
            raise InvariantViolated(f"The transport's loop has not answered within {timeout} s.") from error

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<crdtsync server of {self._node.name!r} at {self.address or self.admin_address}>"


def _check_thread() -> None:
    if threading.current_thread().name == LOOP_THREAD:
        raise InvariantViolated("A server cannot be started or stopped from within its own calls.")


class Handlers:
    """Finds the handler of a method; what there is not is counted and answered with UNIMPLEMENTED."""

    def __init__(self, counters: Any, offered: dict[str, dict[str, Any]]) -> None:
        self._counters = counters
        self._by_path = {
            f"/{service}/{method}": handler
            for service, methods in offered.items()
            for method, handler in methods.items()
        }

    def service(self, handler_call_details: Any) -> Any:
        """The handler, or None."""
        handler = self._by_path.get(handler_call_details.method)
        if handler is None:
            self._counters["unknown_methods"] += 1
        return handler


def server_options(config: ServeConfig, what: str) -> list[tuple[str, Any]]:
    """Bounds of messages, headers and connections; no shared ports.  `what` names the setting of the address."""
    return [
        ("grpc.so_reuseport", 0),
        ("grpc.enable_channelz", 0),
        ("grpc.max_receive_message_length", config.message_bytes_max),
        ("grpc.max_send_message_length", config.message_bytes_max + config.page_bytes),
        ("grpc.max_metadata_size", config.metadata_bytes_max),
        ("grpc.absolute_max_metadata_size", config.metadata_bytes_max),
        ("grpc.max_concurrent_streams", config.streams_max),
        ("grpc.max_allowed_incoming_connections", connections(what, config.connections_max)),
        ("grpc.server_handshake_timeout_ms", milliseconds(config.handshake_timeout)),
        ("grpc.max_connection_idle_ms", milliseconds(config.connection_idle_max)),
        ("grpc.max_connection_age_ms", milliseconds(config.connection_age_max)),
        ("grpc.max_connection_age_grace_ms", milliseconds(config.connection_age_grace)),
        ("grpc.keepalive_time_ms", milliseconds(config.keepalive_interval)),
        ("grpc.keepalive_timeout_ms", milliseconds(config.keepalive_timeout)),
        ("grpc.http2.ping_timeout_ms", milliseconds(config.keepalive_timeout)),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", milliseconds(config.ping_interval_min)),
        ("grpc.http2.max_ping_strikes", 2),
    ]


@atexit.register
def _stop_all() -> None:
    for server in list(_running):
        server.stop(0.0)
