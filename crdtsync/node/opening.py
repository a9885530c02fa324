"""The store of a node and the threads that keep it durable; the certificate that says who the node is."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import msgspec

from crdtsync.config import Config
from crdtsync.storage.background import Background
from crdtsync.storage.store import Store

if TYPE_CHECKING:
    from crdtsync.security.files import TlsFiles


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


def load_tls(config: Config) -> TlsFiles | None:
    """The TLS files that the settings name, as a node's; None without.  Raises CertificateError."""
    if not config.tls_cert:
        return None
    from crdtsync.security.files import TlsFiles
    from crdtsync.security.identity import NODE

    files = TlsFiles.of(config)
    if files is not None:
        files.require(NODE, config.name or None)
    return files


def named(config: Config, files: TlsFiles | None) -> Config:
    """The settings, with the certificate's name for a node that was given none."""
    return config if files is None else msgspec.structs.replace(config, name=files.identity.name)
