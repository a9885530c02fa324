"""The store of a node and the threads that keep it durable."""

from __future__ import annotations

import os
import time

from crdtsync.config import Config
from crdtsync.storage.background import Background
from crdtsync.storage.store import Store


class Opened:
    """An open store with its flusher and checkpointer."""

    def __init__(self, store: Store, path: str | None) -> None:
        self.store, self.path = store, path
        self.since = time.monotonic()
        self.background = Background(store)

    def close(self) -> None:
        """Stop the threads, write everything down, let go of the directory."""
        self.background.stop()
        self.store.close()


def open_store(path: str | os.PathLike[str] | None, config: Config) -> Opened:
    """Open or create the store and start its threads.  Raises what Store.open raises."""
    store = Store.open(path, config)
    opened = Opened(store, None if path is None else os.fspath(path))
    opened.background.start()
    return opened
