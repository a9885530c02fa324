"""asyncio: `open` a node in this process, or `connect` to nodes elsewhere.

Each loads what it needs when it is called: asyncio alone is a third of what `import crdtsync` takes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crdtsync.client.aio import Connecting
    from crdtsync.node.aio import Opening


def open(path: str | os.PathLike[str] | None, **settings: Any) -> Opening:
    """As crdtsync.open; the event loop goes on while a store recovers or a sponsor is waited for."""
    from crdtsync.node.aio import Opening

    return Opening(path, settings)


def connect(addresses: str | Iterable[str], **settings: Any) -> Connecting:
    """As crdtsync.connect, for asyncio: await it, or use it with `async with`."""
    from crdtsync.client.aio import Connecting

    return Connecting(addresses, settings)
