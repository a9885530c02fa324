"""Waiting until a node holds what a token names."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from crdtsync.errors import Unavailable

if TYPE_CHECKING:
    from crdtsync.config import ServeConfig
    from crdtsync.node.shell import Node
    from crdtsync.service.calls import Calls
    from crdtsync.service.workers import Workers


class Tokens:
    """The tokens that calls of one server name."""

    def __init__(self, node: Node, config: ServeConfig, calls: Calls, workers: Workers) -> None:
        self._node, self._config, self._calls, self._workers = node, config, calls, workers

    async def held(self, token: str, context: Any, timeout: float = 0.0) -> None:
        """Return once this node holds all that `token` names, after at most `timeout` s (0: as long as may be).

        Raises InvalidToken, WaitTimeout, TokenLost, Closed, and Unavailable when the server stops meanwhile.
        """
        left = context.time_remaining()
        longest = self._config.wait_max if left is None else min(left, self._config.wait_max)
        wanted = await self._workers.sized(len(token), self._node.sessions.read, token)
        if not self._node.sessions.held(wanted):
            await self._wait(self._node.aio.wait_until(wanted, min(timeout, longest) if timeout else longest))

    async def _wait(self, arrival: Coroutine[Any, Any, None]) -> None:
        waiting, stop = asyncio.ensure_future(arrival), asyncio.Event()
        stopping = asyncio.ensure_future(stop.wait())
        self._calls.on_stop.add(stop.set)
        try:
            await asyncio.wait((waiting, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                raise Unavailable("The server is stopping.")
            waiting.result()
        finally:
            self._calls.on_stop.discard(stop.set)
            waiting.cancel()
            stopping.cancel()
