"""What every call goes through: bounds, counters, and errors turned into statuses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from crdtsync.errors import BadRequest, CrdtsyncError, OtherInstance, RefusedRole, ServerBusy, Unavailable, WaitTimeout
from crdtsync.security.credentials import caller
from crdtsync.security.identity import ADMINISTRATORS, ROLES
from crdtsync.service.errors import TRAILER, Absent, details, make_error, status_of

if TYPE_CHECKING:
    from crdtsync.config import ServeConfig
    from crdtsync.node.writing import Local

log = logging.getLogger("crdtsync.service")
M = TypeVar("M", bound=Message)
T = TypeVar("T")
Unary = Callable[[bytes, Any], Awaitable[bytes]]
Stream = Callable[[Any], Awaitable[None]]
ServerStream = Callable[[bytes, Any], Awaitable[None]]
LANE = "crdtsync-lane"  # metadata of a stream that carries single writes, which may as well be calls of their own


class Tally:
    """One method: its figures, and whom it is open to where callers show certificates."""

    __slots__ = ("calls", "errors", "name", "roles", "running")

    def __init__(self, name: str) -> None:
        self.name, self.roles = name, ADMINISTRATORS if name.startswith("Admin.") else ROLES
        self.calls = self.errors = self.running = 0


class Calls:
    """The calls of one server.  Its methods run on the event loop."""

    def __init__(self, local: Local, config: ServeConfig, verified: bool) -> None:
        """`verified`: callers over TCP show a certificate, which must say who they are."""
        self._local, self._config, self._verified = local, config, verified
        self.running = 0
        self._bytes = 0  # of the requests that are being worked off, streams apart
        self.operations = 0  # carried out
        self.stopping = False
        self.on_stop: set[Callable[[], None]] = set()
        self._left: set[asyncio.Future[Any]] = set()  # work that goes on without its caller
        self.tallies: dict[str, Tally] = {}

    def stop(self) -> None:
        """Take no more calls, and end what waits for changes."""
        self.stopping = True
        for end in list(self.on_stop):
            end()

    async def drain(self, deadline: float) -> None:
        """Wait for work that goes on without its caller, until `deadline` on the loop's clock at most."""
        if self._left:
            await asyncio.wait(self._left, timeout=max(0.0, deadline - asyncio.get_running_loop().time()))
        if self._left:
            log.warning("%d calls whose callers have left still run; they end with the node.", len(self._left))

    # -- handlers

    def unary(self, name: str, handler: Unary) -> Any:
        """A handler of one request with one response, both as bytes."""
        tally = self.tallies[name] = Tally(name)

        async def call(request: bytes, context: Any) -> bytes:
            self._begin(tally)
            self._bytes += len(request)
            try:
                self._admit(tally, context)
                return await handler(request, context)
            except Exception as error:
                await self._refuse(tally, context, error)
                raise
            finally:
                self._bytes -= len(request)
                self._end(tally)

        return grpc.unary_unary_rpc_method_handler(call)

    def answers(self, name: str, handler: ServerStream) -> Any:
        """A handler of one request with a stream of responses, which it writes to its context."""
        tally = self.tallies[name] = Tally(name)

        async def call(request: bytes, context: Any) -> None:
            await self._stream(tally, context, lambda: handler(request, context))

        return grpc.unary_stream_rpc_method_handler(call)

    def stream(self, name: str, handler: Stream) -> Any:
        """A handler of a stream of requests, with a stream of responses."""
        tally = self.tallies[name] = Tally(name)

        async def call(_: Any, context: Any) -> None:
            await self._stream(tally, context, lambda: handler(context))

        return grpc.stream_stream_rpc_method_handler(call)

    def requests(self, name: str, handler: Callable[[Any], Awaitable[bytes]]) -> Any:
        """A handler of a stream of requests, with one response."""
        tally = self.tallies[name] = Tally(name)

        async def call(_: Any, context: Any) -> bytes:
            response = b""

            async def run() -> None:
                nonlocal response
                response = await handler(context)

            await self._stream(tally, context, run)
            return response

        return grpc.stream_unary_rpc_method_handler(call)

    async def _stream(self, tally: Tally, context: Any, run: Callable[[], Awaitable[None]]) -> None:
        self._begin(tally)
        try:
            self._admit(tally, context)
            await run()
        except Exception as error:
            await self._refuse(tally, context, error)
            raise
        finally:
            self._end(tally)

    async def outlast(self, name: str, work: Coroutine[Any, Any, T]) -> T:
        """Work of a call of method `name` that goes on when the caller leaves: the call then runs until it is done."""
        task = asyncio.get_running_loop().create_task(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            log.info("%s: the caller has left; what it asked for goes on", name)
            self._leave(self.tallies[name], task)
            raise

    def _leave(self, tally: Tally, task: asyncio.Task[Any]) -> None:
        """Count work as a running call until its end, and tell its error to the log, as nobody else hears of it."""

        def ended(_: Any) -> None:
            self._left.discard(task)
            self._end(tally)
            error = None if task.cancelled() else task.exception()
            if error is not None:
                tally.errors += 1
                self.noted(error)

        tally.running += 1
        self.running += 1
        self._left.add(task)
        task.add_done_callback(ended)

    def read(self, kind: type[M], data: bytes) -> M:
        """A request of the Data service, decoded.  Raises BadRequest, and OtherInstance unless it is meant for us."""
        message = read(kind, data)
        meant: int = message.instance  # type: ignore[attr-defined]  # every request of data.proto has it
        if meant and meant != self._local.store.instance:
            raise OtherInstance(f"The call was meant for another node than {self._local.store.node}, or another start.")
        return message

    # -- bounds and figures

    def _begin(self, tally: Tally) -> None:
        tally.calls += 1
        tally.running += 1
        self.running += 1

    def _end(self, tally: Tally) -> None:
        tally.running -= 1
        self.running -= 1

    def _admit(self, tally: Tally, context: Any) -> None:
        if self._verified and b"ssl" in context.auth_context().get("transport_security_type", ()):
            who = caller(context)
            if who.role not in tally.roles:
                raise RefusedRole(f"{tally.name} is for operators and nodes; the certificate is that of {who}.")
        if self.stopping:
            raise Unavailable("The server is stopping.")
        if self.running > self._config.calls_max:
            raise ServerBusy(f"{self._config.calls_max:,} calls are running already.")
        if self._bytes > self._config.work_bytes_max:
            raise ServerBusy(f"Requests of {self._bytes:,} bytes are being worked off.", hint="Try again in a moment.")

    def admit_lane(self, context: Any) -> None:
        """Refuse a stream whose caller has another way when streams may come to take the place of all other calls.

        Raises ServerBusy.
        """
        most = self._config.calls_max // 2
        if self.running > most and any(key == LANE for key, _ in context.invocation_metadata() or ()):
            raise ServerBusy(f"More than {most:,} calls are running.", hint="Make single calls.")

    async def _refuse(self, tally: Tally, context: Any, error: Exception) -> None:
        """End a call with the status of an error, counted and logged."""
        if isinstance(error, CallerGone):  # as grpc ends such a call: anything else is a bug to it, with a traceback
            raise asyncio.CancelledError
        tally.errors += 1
        message = self.noted(error)
        trailer = ((TRAILER, message.SerializeToString()),)
        await context.abort(status_of(error), details(message), trailer)

    def noted(self, error: BaseException, token: str = "") -> Any:
        """The message of an error that ends a call or a batch; it is counted and logged here."""
        if isinstance(error, CrdtsyncError):
            self._local.refused(error)
        elif isinstance(error, Absent):
            self._local.store.counters["key_error"] += 1
        else:
            self._local.store.counters["internal_error"] += 1
            log.error("a bug in crdtsync, met by a call", exc_info=error)
        return make_error(error, token or getattr(error, "token", ""))

    def status(self) -> dict[str, Any]:
        """Figures of every method that was called."""
        methods = {name: tally for name, tally in sorted(self.tallies.items()) if tally.calls}
        return {
            "running": self.running,
            "operations": self.operations,
            "methods": {
                name: {"calls": tally.calls, "errors": tally.errors, "running": tally.running}
                for name, tally in methods.items()
            },
        }


def read(kind: type[M], data: bytes) -> M:
    """A request, decoded.  Raises BadRequest."""
    message = kind()
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise BadRequest(f"{len(data):,} bytes are not a {kind.__name__}.") from None
    return message


class CallerGone(Exception):
    """Whoever made the call is not there any more: nobody to tell, and nothing went wrong here."""


async def write(context: Any, response: bytes, stall_max: float) -> None:
    """Hand a response to its reader, once there is room.  Raises WaitTimeout after `stall_max` seconds, CallerGone."""
    try:
        async with asyncio.timeout(stall_max):
            await context.write(response)
    except TimeoutError:
        raise WaitTimeout(f"The caller has not read for {stall_max:g} s.") from None
    except Exception as error:  # grpc raises its internal errors here, a different set in every release
        raise CallerGone from error


async def read_on(context: Any) -> bytes | None:
    """The next request of a stream, None at its end.  Raises CallerGone."""
    try:
        request = await context.read()
    except Exception as error:
        raise CallerGone from error
    return None if request is grpc.aio.EOF else request


async def confirm(context: Any) -> None:
    """Tell the caller that all of its requests have come.  Raises CallerGone.

    To a server a stream of requests ends the same way when its caller is done and when it is killed; only an answer
    shows which.
    """
    try:
        await context.send_initial_metadata(())
    except Exception as error:
        raise CallerGone from error
