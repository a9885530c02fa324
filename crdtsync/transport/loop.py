"""The event loop that all gRPC transports of a process share, on one background thread.

grpc.aio hands its completions to every loop that ever used it, so a loop for each transport would wake them all for
every message.  The thread lives as long as the process; it is a daemon and costs nothing while idle.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from typing import Any

from crdtsync.errors import Forked

log = logging.getLogger("crdtsync.transport")

LOOP_THREAD = "crdtsync-transport"

_lock = threading.Lock()
_shared: tuple[int, asyncio.AbstractEventLoop] | None = None  # (pid, loop)


def check_process() -> None:
    """Raise Forked in a child of a process that had gRPC running: it waits for threads there, or aborts."""
    if _shared is not None and _shared[0] != os.getpid():
        raise Forked("This process was forked from one that opened a node with listen=: gRPC does not survive that.")


def shared_loop() -> asyncio.AbstractEventLoop:
    """The loop, running."""
    global _shared
    check_process()
    with _lock:
        if _shared is None:
            loop = asyncio.new_event_loop()
            loop.set_exception_handler(_failed)
            threading.Thread(target=_run, args=(loop,), name=LOOP_THREAD, daemon=True).start()
            _shared = (os.getpid(), loop)
        return _shared[1]


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()


def _failed(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what nobody awaited, except for a completion that another loop of the application has already taken."""
    error = context.get("exception")
    if isinstance(error, BlockingIOError) and "PollerCompletionQueue" in str(context.get("handle", "")):
        return
    log.error("In the transport's loop: %s", context.get("message"), exc_info=error)
