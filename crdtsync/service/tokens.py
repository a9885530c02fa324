"""Waiting until a node holds what a token names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crdtsync.config import ServeConfig
    from crdtsync.node.shell import Node
    from crdtsync.service.workers import Workers


class Tokens:
    """The tokens that calls of one server name."""

    def __init__(self, node: Node, config: ServeConfig, workers: Workers) -> None:
        self._node, self._config, self._workers = node, config, workers

    async def held(self, token: str, context: Any, timeout: float = 0.0) -> None:
        """Return once this node holds all that `token` names, after at most `timeout` s (0: as long as may be).

        Raises InvalidToken, WaitTimeout, TokenLost, Closed.
        """
        left = context.time_remaining()
        longest = self._config.wait_max if left is None else min(left, self._config.wait_max)
        wanted = await self._workers.sized(len(token), self._node.sessions.read, token)
        await self._node.aio.wait_until(wanted, min(timeout, longest) if timeout else longest)
