"""Watch: changes of state told to a caller as it can take them, resumable from a token.

A caller that reads slowly makes writing wait; meanwhile the node's watcher notes down which objects have changed, up to
`watch_pending_max`, and no value is kept anywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING, Any

from crdtsync.datatypes.registry import TypeInfo
from crdtsync.datatypes.rows import Row
from crdtsync.errors import BadRequest, Closed, ServerBusy, SlowConsumer, TokenTooOld, Unavailable, WaitTimeout
from crdtsync.handles import Change
from crdtsync.node.aio import Wake
from crdtsync.node.watching import Spot, Watcher
from crdtsync.service.answers import PACKED, PLAIN, Answers
from crdtsync.service.calls import Calls, write
from crdtsync.service.scanning import tell_value
from crdtsync.transport.pb import data_pb2 as pb

if TYPE_CHECKING:
    from crdtsync.config import ServeConfig
    from crdtsync.node.shell import Node
    from crdtsync.service.workers import Workers

CHANGES_MAX = 1000  # of one response
HEARTBEAT_MIN = 0.1  # s: a wish for more frequent responses counts as one for this


class Rows:
    """The rows of a changed object, as its "value": they are told later, in the form that the caller asked for."""

    def __init__(self, code: bytes, rows: list[Row], skip: int) -> None:
        self.code, self.rows, self.skip = code, rows, skip


class RowWatcher(Watcher):
    """A watcher whose changes have rows for values, and that does not begin with more than `backlog_max` objects."""

    def __init__(self, *arguments: Any, backlog_max: int) -> None:
        super().__init__(*arguments)
        self._backlog_max = backlog_max

    def _backlog(self, name: str, after: dict[int, int]) -> Collection[Spot]:
        changed = super()._backlog(name, after)
        if len(changed) > self._backlog_max:
            raise TokenTooOld(f"{len(changed):,} objects have changed; a watch begins with {self._backlog_max:,}.")
        return changed

    def meaning(self, info: TypeInfo, rows: list[Row], skip: int) -> Any:
        """The rows themselves."""
        return Rows(info.code, rows, skip)


class Watches:
    """All watches of one server."""

    def __init__(self, node: Node, config: ServeConfig, calls: Calls, workers: Workers) -> None:
        self._node, self._config, self._calls, self._workers = node, config, calls, workers
        self._kind = partial(RowWatcher, backlog_max=config.backlog_max)
        self.running = 0

    async def run(self, request: pb.WatchRequest, context: Any) -> None:
        """Tell changes until the caller, the node or the server ends it."""
        if request.all_buckets and request.bucket:
            raise BadRequest("all_buckets and bucket are both set.", hint="Set one of them.")
        if self.running >= self._config.watchers_max:
            raise ServerBusy(f"{self.running:,} watches are running already.")
        self.running += 1
        try:
            await self._watch(request, context)
        finally:
            self.running -= 1

    async def _watch(self, request: pb.WatchRequest, context: Any) -> None:
        watcher = await self._begin(request)
        told = Telling(watcher, request, self._config)
        wake = Wake(asyncio.get_running_loop())
        watcher.wake = wake.set
        self._calls.on_stop.add(wake.set)
        try:
            await told.send(context, await self._silence(watcher))
            while True:
                wake.clear()
                if not watcher.ready and not self._calls.stopping:
                    await wake.next(told.heartbeat)
                if self._calls.stopping:
                    raise Unavailable("The server is stopping.")
                await told.send(context, await self._next(told, watcher))
        except SlowConsumer as slow:
            slow.token = told.token
            raise
        except WaitTimeout as stalled:
            raise told.slow(stalled) from None
        finally:
            self._calls.on_stop.discard(wake.set)
            watcher.close()

    async def _begin(self, request: pb.WatchRequest) -> Watcher:
        """A watcher, made on a thread, which goes on when the caller leaves meanwhile: then it is closed at once."""
        bucket = None if request.all_buckets else request.bucket or "default"
        making = asyncio.ensure_future(
            self._workers.run(
                self._node.start_watcher, self._kind, bucket, request.prefix, request.after or None,
                not request.no_values,
            )
        )  # fmt: skip
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            making.add_done_callback(_close)
            raise

    async def _next(self, told: Telling, watcher: Watcher) -> pb.WatchResponse:
        """What there is to tell now; nothing but the token after a silence."""
        if not watcher.ready:
            return await self._silence(watcher)
        return await self._workers.run(told.gather)

    async def _silence(self, watcher: Watcher) -> pb.WatchResponse:
        """Nothing but the token, which the store's lock is needed for."""
        return await self._workers.small(lambda: pb.WatchResponse(token=watcher.token))


def _close(made: asyncio.Future[Watcher]) -> None:
    if not made.cancelled() and made.exception() is None:
        made.result().close()


class Telling:
    """The responses of one watch."""

    def __init__(self, watcher: Watcher, request: pb.WatchRequest, config: ServeConfig) -> None:
        self._watcher, self._config = watcher, config
        self._answers: Answers = PACKED if request.packed else PLAIN
        wish = request.heartbeat_ms / 1000
        self.heartbeat = max(wish, HEARTBEAT_MIN) if wish else config.heartbeat
        self.token = ""  # the last one sent

    def gather(self) -> pb.WatchResponse:
        """Changes that wait, about a page of them.  Raises SlowConsumer, Closed at the end of the node."""
        response = pb.WatchResponse()
        size = 0
        while size < self._config.page_bytes and len(response.changes) < CHANGES_MAX:
            change = self._watcher.next(0)
            if change is None:
                if self._watcher.closed:
                    raise Closed("The node has been closed.", hint="Go on at another node, from the last token.")
                break
            told = response.changes.add()
            self._tell(told, change)
            size += told.ByteSize()
            response.token = change.token
        response.token = response.token or self._watcher.token
        return response

    def _tell(self, told: pb.Change, change: Change) -> None:
        told.bucket, told.deleted = change.bucket, change.deleted
        told.place.key, told.place.type = change.key, change.type
        told.place.path.extend(change.path)
        rows = change.value
        if isinstance(rows, Rows):
            tell_value(told, self._answers, rows.code, rows.rows, rows.skip, self._config.message_bytes_max // 2)

    async def send(self, context: Any, response: pb.WatchResponse) -> None:
        """Hand it to the caller.  Raises WaitTimeout when that does not read."""
        await write(context, response.SerializeToString(), self._config.stall_max)
        self.token = response.token

    def slow(self, stalled: WaitTimeout) -> SlowConsumer:
        """The error of a caller that does not read at all."""
        error = SlowConsumer(stalled.message)
        error.token = self.token
        return error
