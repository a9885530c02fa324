"""The network: one bidirectional gRPC stream per link, served and dialled on the process's transport loop.

gRPC carries frames as plain bytes (no serializers): they are encoded by the thread that sends and decoded in link.py.
Every dial has a channel of its own, so that gRPC neither shares nor delays reconnects: backing off is the engine's.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import itertools
import socket
import threading
import weakref
from collections.abc import Coroutine
from typing import Any

import grpc
import grpc.aio
import msgspec

from crdtsync.config import Config, check_address, split_address
from crdtsync.errors import Closed, ConfigError, CrdtsyncError, InvariantViolated, ListenFailed
from crdtsync.replication.messages import Message
from crdtsync.transport.base import Ledger, TransportEvents
from crdtsync.transport.link import Link, Stream, StreamLost
from crdtsync.transport.loop import LOOP_THREAD, check_process, shared_loop

aio: Any = grpc.aio  # its published stubs describe another API
SERVICE, METHOD = "crdtsync.v1.Replication", "Exchange"
LOOP_TIMEOUT = 30.0  # s: opening a port takes milliseconds, stopping at most two link_drain_timeout
HOST_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:%")

_running: weakref.WeakSet[GrpcTransport] = weakref.WeakSet()


class GrpcTransport(Ledger):
    """The Transport between processes; see base.Transport for the methods."""

    def __init__(self, config: Config) -> None:
        check_process()
        super().__init__(config)
        self._address = ""
        self._numbers = itertools.count(1)
        self._links: dict[int, Link] = {}
        self._dials: set[asyncio.Task[None]] = set()
        self._state_lock = threading.Lock()
        self._state = "new"  # new -> running -> stopped

    # -- from any thread
    @property
    def address(self) -> str:
        return self._address

    def start(self, events: TransportEvents) -> None:
        self._check_thread()
        target = bindable(self._config)
        with self._state_lock:
            if self._state != "new":
                raise Closed("The transport has been started before.")
            self._events = events
            self._loop = shared_loop()
            self._await(self._serve(target))
            self._state = "running"
        _running.add(self)

    def connect(self, address: str) -> None:
        self._soon(self._dial, address)

    def send(self, link: int, message: Message) -> bool:
        found = self._links.get(link)
        if found is None:
            return False
        frame = self.frame_of(message)
        return frame is not None and found.post(frame)

    def pause(self, link: int) -> None:
        self._soon(lambda: self._on_link(link, Link.pause))

    def resume(self, link: int) -> None:
        self._soon(lambda: self._on_link(link, Link.resume))

    def disconnect(self, link: int, reason: str = "") -> None:
        found = self._links.get(link)
        if found is not None:
            found.ask_close(reason)

    def stats(self) -> dict[str, Any]:
        links = {
            number: {"address": link.address, "outgoing": link.outgoing, "queued_bytes": link.outbox.queued_bytes,
                     **msgspec.structs.asdict(link.traffic)}
            for number, link in list(self._links.items())
        }  # fmt: skip
        return {"address": self._address, "counters": self.counted(), "links": links}

    def stop(self) -> None:
        self._check_thread()
        with self._state_lock:
            state, self._state = self._state, "stopped"
            if state == "running":
                _running.discard(self)
                self._await(self._shut_down())

    # -- towards the loop
    def _check_thread(self) -> None:
        if threading.current_thread().name == LOOP_THREAD:
            raise InvariantViolated("A transport cannot be started or stopped from within its own events.")

    def _await(self, work: Coroutine[Any, Any, None]) -> None:
        """Run on the loop and wait for the end."""
        try:
            asyncio.run_coroutine_threadsafe(work, self._loop).result(LOOP_TIMEOUT)
        except TimeoutError as error:
            raise InvariantViolated(f"The transport's loop has not answered within {LOOP_TIMEOUT} s.") from error

    def _soon(self, call: Any, *arguments: Any) -> None:
        if self._state == "running":
            self._loop.call_soon_threadsafe(call, *arguments)

    def _on_link(self, number: int, call: Any) -> None:
        link = self._links.get(number)
        if link is not None:
            call(link)

    # -- serving
    async def _serve(self, target: str) -> None:
        self._server = aio.server(options=server_options(self._config))
        self._server.add_generic_rpc_handlers((Handlers(self),))
        try:
            port = self._server.add_insecure_port(target)
        except RuntimeError as error:
            raise ListenFailed(f"Nothing can listen at {target}: {error}.") from error
        self._address = f"{target.rpartition(':')[0]}:{port}"
        await self._server.start()

    async def answer(self, context: Any) -> None:
        """Carry one incoming link."""
        incoming = sum(1 for link in self._links.values() if not link.outgoing)
        if self._state == "stopped" or incoming >= self._config.links_max:
            self.count("links_refused")
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no more links")
        await context.send_initial_metadata(())
        await self._carry(plain_address(context.peer()), False, Incoming(context))

    async def _carry(self, address: str, outgoing: bool, stream: Stream) -> None:
        link = Link(next(self._numbers), address, outgoing, stream, self._config, self._events, self.count)
        self._links[link.number] = link
        self.count("links_opened")
        try:
            await link.run()
        finally:
            del self._links[link.number]

    # -- dialling
    def _dial(self, address: str) -> None:
        task = self._loop.create_task(self._reach(address))
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    async def _reach(self, address: str) -> None:
        """Dial, then carry the link until it ends."""
        try:
            channel = aio.insecure_channel(*dialable(address, self._config))
        except CrdtsyncError as error:
            self._failed(address, error.message, error.counter)
            return
        try:
            call = channel.stream_stream(f"/{SERVICE}/{METHOD}")()
            reason = await self._greeted(call)
            if reason:
                self._failed(address, reason, "connects_failed")
            else:
                await self._carry(address, True, Outgoing(call))
        finally:
            await channel.close()

    async def _greeted(self, call: Any) -> str:
        """Wait until the other side has taken the stream; why it has not, or ""."""
        try:
            async with asyncio.timeout(self._config.connect_timeout):
                await call.initial_metadata()
                if not call.done():
                    return ""
                return f"{(await call.code()).name}: {await call.details()}"
        except TimeoutError:
            return f"no answer within {self._config.connect_timeout} s"
        except aio.AioRpcError as error:
            return lost_text(error)

    def _failed(self, address: str, reason: str, counter: str) -> None:
        self.count(counter)
        self._events.connect_failed(address, reason)

    # -- stopping
    async def _shut_down(self) -> None:
        for link in list(self._links.values()):
            link.close("stopped")
        deadline = self._loop.time() + self._config.link_drain_timeout
        while self._links and self._loop.time() < deadline:
            await asyncio.sleep(0.002)
        for dial in list(self._dials):
            dial.cancel()
        await asyncio.gather(*self._dials, return_exceptions=True)
        await self._server.stop(self._config.link_drain_timeout)  # sooner when nobody is left
        while self._links:
            await asyncio.sleep(0.002)


class Handlers:
    """Resolves the one method there is; anything else is counted and answered with UNIMPLEMENTED."""

    def __init__(self, transport: GrpcTransport) -> None:
        self._transport = weakref.ref(transport)

    def service(self, handler_call_details: Any) -> Any:
        transport = self._transport()
        if transport is None:
            return None
        if handler_call_details.method != f"/{SERVICE}/{METHOD}":
            transport.count("unknown_methods")
            return None

        async def exchange(_: Any, context: Any) -> None:
            await transport.answer(context)

        return grpc.stream_stream_rpc_method_handler(exchange)


class Incoming:
    """The serving end of a stream: it ends when its handler returns."""

    def __init__(self, context: Any) -> None:
        self._context = context

    async def read(self) -> bytes | None:
        try:
            frame = await self._context.read()
        except Exception as error:  # grpc raises its internal errors here, a different set in every release
            raise StreamLost(lost_text(error)) from error
        return None if frame is aio.EOF else frame

    async def write(self, frame: bytes) -> None:
        try:
            await self._context.write(frame)
        except Exception as error:
            raise StreamLost(lost_text(error)) from error

    async def finish(self) -> None:
        return

    def abandon(self, reason: str, orderly: bool) -> None:
        if not orderly:
            self._context.set_code(grpc.StatusCode.ABORTED)
            self._context.set_details(reason[:200].encode("ascii", "replace").decode())


class Outgoing:
    """The dialling end of a stream."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def read(self) -> bytes | None:
        try:
            frame = await self._call.read()
        except Exception as error:
            raise StreamLost(lost_text(error)) from error
        return None if frame is aio.EOF else frame

    async def write(self, frame: bytes) -> None:
        try:
            await self._call.write(frame)
        except Exception as error:
            raise StreamLost(lost_text(error)) from error

    async def finish(self) -> None:
        with contextlib.suppress(asyncio.InvalidStateError):  # the other side was first
            await self._call.done_writing()

    def abandon(self, reason: str, orderly: bool) -> None:
        self._call.cancel()


# ---- addresses, options, texts


def bindable(config: Config) -> str:
    """The one "ip:port" to listen at.  A name is resolved here: gRPC would be content with a part of its addresses."""
    check_address("listen", config.listen, config.insecure)
    host, port = split_address("listen", config.listen)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, _, _, place = min(found, key=lambda entry: entry[0] != socket.AF_INET)
        with socket.socket(family, kind) as probe:  # gRPC's own refusal does not say why
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(place)
            probe.listen(1)
    except OSError as error:
        raise ListenFailed(f"Nothing can listen at {config.listen}: {error.strerror or error}.") from error
    return f"[{place[0]}]:{port}" if family == socket.AF_INET6 else f"{place[0]}:{port}"


def dialable(address: str, config: Config) -> tuple[str, list[tuple[str, Any]]]:
    """The gRPC target and options of an address, which peers pass on: nothing that gRPC takes for a scheme gets by."""
    host, port = split_address("The address", address)
    if not port or not HOST_CHARACTERS.issuperset(host):
        raise ConfigError(f"The address {address!r} cannot be dialled.")
    check_address("The address", address, config.insecure)
    options = client_options(config)
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if not config.connect_proxy:
        return f"dns:///{target}", options
    # Said this way, and not as grpc.http_proxy, the proxy holds whatever no_proxy says in the environment.
    return f"dns:///{config.connect_proxy}", [*options, ("grpc.http_connect_server", target)]


def plain_address(peer: str) -> str:
    """host:port of gRPC's "ipv4:127.0.0.1:1234" and "ipv6:%5B::1%5D:1234"."""
    return peer.partition(":")[2].replace("%5B", "[").replace("%5D", "]")


def lost_text(error: Exception) -> str:
    """How a stream was lost, in a line."""
    if isinstance(error, aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return f"lost: {error or type(error).__name__}"


def _common_options(config: Config) -> list[tuple[str, Any]]:
    return [
        ("grpc.max_receive_message_length", config.message_bytes_max),
        ("grpc.max_send_message_length", config.message_bytes_max),
        ("grpc.max_metadata_size", 8192),
        ("grpc.absolute_max_metadata_size", 16384),
        ("grpc.keepalive_time_ms", int(config.keepalive_interval * 1000)),
        ("grpc.keepalive_timeout_ms", int(config.keepalive_timeout * 1000)),
        ("grpc.http2.ping_timeout_ms", int(config.keepalive_timeout * 1000)),  # the one that counts: a minute otherwise
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.enable_channelz", 0),
    ]


def server_options(config: Config) -> list[tuple[str, Any]]:
    """No shared ports, few streams a connection, and no patience with connections that do nothing."""
    return [
        *_common_options(config),
        ("grpc.so_reuseport", 0),
        ("grpc.max_concurrent_streams", 8),
        ("grpc.server_handshake_timeout_ms", int(config.connect_timeout * 1000)),
        ("grpc.max_connection_idle_ms", int(config.connect_timeout * 1000)),
        # Pings of our own dialers come at keepalive_interval; who pings much faster is sent away.
        ("grpc.http2.min_ping_interval_without_data_ms", int(config.keepalive_interval * 500)),
    ]


def client_options(config: Config) -> list[tuple[str, Any]]:
    """A connection of its own for every dial, with no retry, no service config and no proxy of the environment."""
    return [
        *_common_options(config),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_retries", 0),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.enable_http_proxy", 0),
    ]


@atexit.register
def _stop_all() -> None:
    for transport in list(_running):
        transport.stop()
