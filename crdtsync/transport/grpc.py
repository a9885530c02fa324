"""The network: one bidirectional gRPC stream per link, served and dialled on the process's transport loop.

gRPC carries frames as plain bytes (no serializers): they are encoded by the thread that sends and decoded in link.py.
Every dial has a channel of its own, so that gRPC neither shares nor delays reconnects: backing off is the engine's.
"""

from __future__ import annotations

import asyncio
import atexit
import itertools
import logging
import random
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Coroutine
from typing import Any

import grpc
import grpc.aio
import msgspec
from google.protobuf.message import DecodeError

from crdtsync.config import Config
from crdtsync.errors import BadIdentity, Closed, CrdtsyncError, InvariantViolated, ListenFailed
from crdtsync.replication.messages import Hello, Message, Part
from crdtsync.security.files import TlsFiles
from crdtsync.security.identity import NAME_BYTES
from crdtsync.transport import compression
from crdtsync.transport.addresses import bindable, dialable, server_options
from crdtsync.transport.base import Ledger, TransportEvents
from crdtsync.transport.encryption import ADDRESSES_MAX, Encryption
from crdtsync.transport.link import Link, Stream
from crdtsync.transport.loop import LOOP_THREAD, check_process, shared_loop
from crdtsync.transport.pb import replication_pb2 as pb
from crdtsync.transport.streams import Incoming, Outgoing, ascii_text, lost_text, plain_address
from crdtsync.transport.wire import encode

aio: Any = grpc.aio  # its published stubs describe another API
log = logging.getLogger("crdtsync.transport")
SERVICE, METHOD = "crdtsync.v1.Replication", "Exchange"
EXCHANGE, INTRODUCE = f"/{SERVICE}/{METHOD}", f"/{SERVICE}/Introduce"
LOOP_TIMEOUT = 30.0  # s: opening a port takes milliseconds, stopping at most two link_drain_timeout

_running: weakref.WeakSet[GrpcTransport] = weakref.WeakSet()


class GrpcTransport(Ledger):
    """The Transport between processes; see base.Transport for the methods."""

    def __init__(self, config: Config, tls: TlsFiles | None = None) -> None:
        """`tls`: as the settings ask for, if not given.  Raises CertificateError."""
        check_process()
        super().__init__(config)
        self._tls = Encryption(config, tls, self.count)
        self._zstd = compression.possible(config)
        self._address = ""
        self._unreachable: OrderedDict[str, dict[str, Any]] = OrderedDict()
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
        target = bindable("listen", self._config.listen, self._config.insecure)
        with self._state_lock:
            if self._state != "new":
                raise Closed("The transport has been started before.")
            self._events = events
            self._loop = shared_loop()
            self._await(self._serve(target))
            self._state = "running"
            self._tls.start(self._renew_soon)
        _running.add(self)

    @property
    def encrypted(self) -> bool:
        """Whether links are TLS."""
        return self._tls.files is not None

    def connect(self, address: str) -> None:
        self._soon(self._dial, address)

    def send(self, link: int, message: Message) -> bool:
        found = self._links.get(link)
        if found is None:
            return False
        if isinstance(message, Hello):
            message = msgspec.structs.replace(message, zstd=self._zstd)
        frame = self.frame_of(message)
        if frame is None:
            return False
        if self._zstd and found.takes_zstd and isinstance(message, Part) and compression.worth_it(message):
            return found.post(self._compressed(message, frame), len(frame))
        return found.post(frame)

    def _compressed(self, part: Part, plain: bytes) -> bytes:
        """The frame of a part with what of its columns became smaller compressed."""
        rows, compressed = compression.compress(part.rows)
        frame = encode(msgspec.structs.replace(part, rows=rows), compressed) if compressed else plain
        self.count("bytes_before_compression", len(plain))
        self.count("bytes_after_compression", len(frame))
        return frame

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
        return {
            "address": self._address, "counters": self.counted(), "links": links, "encryption": self._tls.kind,
            "unreachable": dict(self._unreachable),
        }  # fmt: skip

    def stop(self) -> None:
        self._check_thread()
        with self._state_lock:
            state, self._state = self._state, "stopped"
            if state == "running":
                _running.discard(self)
                self._tls.stop(self._renew_soon)
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
        self._server = aio.server(options=server_options(self._config, self.encrypted))
        self._server.add_generic_rpc_handlers((Handlers(self),))
        try:
            port = self._tls.add_port(self._server, target)
        except RuntimeError as error:
            raise ListenFailed(f"Nothing can listen at {target}: {error}.") from error
        self._address = f"{target.rpartition(':')[0]}:{port}"
        await self._server.start()
        self._watching = self._loop.create_task(self._watch())

    async def _watch(self) -> None:
        """Look after what gRPC does not tell."""
        while True:
            await asyncio.sleep(2 * self._config.connect_timeout)  # longer than a handshake may take
            self._tls.look_at_handshakes()

    async def introduce(self, request: bytes, context: Any) -> bytes:
        """Tell a node that asks for it this node's name, which it then verifies."""
        await self._caller(context)
        return pb.IntroduceResponse(node=self._tls.name).SerializeToString()

    async def _caller(self, context: Any) -> str:
        """The node that calls, or "" in plaintext; whoever may not call is told so."""
        try:
            return self._tls.caller(context)
        except BadIdentity as error:
            self.count(error.counter)
            log.warning("%s may not speak node-to-node. %s", plain_address(context.peer()), error.message)
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, ascii_text(error.message))
            raise

    async def answer(self, context: Any) -> None:
        """Carry one incoming link."""
        node = await self._caller(context)
        incoming = sum(1 for link in self._links.values() if not link.outgoing)
        if self._state == "stopped" or incoming >= self._config.links_max:
            self.count("links_refused")
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no more links")
        await context.send_initial_metadata(())
        await self._carry(plain_address(context.peer()), False, Incoming(context), node)

    async def _carry(self, address: str, outgoing: bool, stream: Stream, node: str) -> None:
        link = Link(next(self._numbers), address, outgoing, stream, self._config, self._events, self.count, node)
        self._links[link.number] = link
        self.count("links_opened")
        # The dialling side, which makes it anew, comes first.
        age = self._config.connection_age_max * (random.uniform(0.8, 0.9) if outgoing else random.uniform(0.9, 1.0))
        timer = self._loop.call_later(age, self._renew, link, "connection_age_max") if node else None
        try:
            await link.run()
        finally:
            del self._links[link.number]
            if timer is not None:
                timer.cancel()

    # -- links made anew
    def _renew_soon(self) -> None:
        """Certificates have changed: end all links in good order, not all at once; the dialling side dials again."""
        self._soon(self._renew_all)

    def _renew_all(self) -> None:
        for link in list(self._links.values()):
            self._loop.call_later(
                random.uniform(0, self._config.tls_reload_interval), self._renew, link, "the certificates have changed"
            )

    def _renew(self, link: Link, reason: str) -> None:
        if link.number in self._links:
            self.count("links_renewed")
            link.close(reason)

    # -- dialling
    def _dial(self, address: str) -> None:
        task = self._loop.create_task(self._reach(address))
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    async def _reach(self, address: str) -> None:
        """Dial, then carry the link until it ends."""
        try:
            target, options = dialable(address, self._config)
        except CrdtsyncError as error:
            self._failed(address, error.message, error.counter)
            return
        self._tls.note_plaintext("dials", address)
        node = self._tls.known(address)
        if self._tls.files is not None and not node:
            node, reason = await self._introduced(self._tls.channel(target, options, ""))
            if reason:
                await self._unlinked(address, "", reason)
                return
        await self._link(address, self._tls.channel(target, options, node), node)

    async def _introduced(self, channel: Any) -> tuple[str, str]:
        """The name of the node there, to be verified; or "" and why there is none."""
        try:
            call = channel.unary_unary(INTRODUCE)(b"", timeout=self._config.connect_timeout)
            name = pb.IntroduceResponse.FromString(await call).node
            return (name, "") if 1 <= len(name.encode()) <= NAME_BYTES else ("", f"it calls itself {name[:80]!r}")
        except aio.AioRpcError as error:
            return "", lost_text(error)
        except DecodeError:
            return "", "its introduction makes no sense"
        finally:
            await channel.close()

    async def _link(self, address: str, channel: Any, node: str) -> None:
        try:
            call = channel.stream_stream(EXCHANGE)()
            reason = await self._greeted(call)
            if reason:
                await self._unlinked(address, node, reason)
                return
            self._tls.reached(address, node)
            self._unreachable.pop(address, None)
            await self._carry(address, True, Outgoing(call), node)
        finally:
            await channel.close()

    async def _unlinked(self, address: str, node: str, reason: str) -> None:
        self._tls.forget(address)
        self._failed(address, await self._tls.explain(address, node, reason), "connects_failed")

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
        before = self._unreachable.pop(address, {"reason": "", "times": 0})
        if before["reason"] != reason:
            log.warning("No link to %s: %s", address, reason)
        self._unreachable[address] = {"reason": reason, "times": before["times"] + 1, "at": time.time()}
        if len(self._unreachable) > ADDRESSES_MAX:
            self._unreachable.popitem(last=False)
        self._events.connect_failed(address, reason)

    # -- stopping
    async def _shut_down(self) -> None:
        self._watching.cancel()
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
    """Resolves the methods there are; anything else is counted and answered with UNIMPLEMENTED."""

    def __init__(self, transport: GrpcTransport) -> None:
        self._transport = weakref.ref(transport)

    def service(self, handler_call_details: Any) -> Any:
        transport = self._transport()
        if transport is None:
            return None
        if handler_call_details.method == INTRODUCE and transport.encrypted:
            return grpc.unary_unary_rpc_method_handler(transport.introduce)
        if handler_call_details.method != EXCHANGE:
            transport.count("unknown_methods")
            return None

        async def exchange(_: Any, context: Any) -> None:
            await transport.answer(context)

        return grpc.stream_stream_rpc_method_handler(exchange)


@atexit.register
def _stop_all() -> None:
    for transport in list(_running):
        transport.stop()
