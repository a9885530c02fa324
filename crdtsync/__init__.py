"""crdtsync: a replicated data store of CRDTs that Python services embed.

`open` gives a Node, which gives handles; docs/python-api.md has every public name with its rules.  Names are loaded
when they are asked for, so that a command line that only asks a node something does not load one.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from crdtsync import errors
from crdtsync.errors import CrdtsyncError

if TYPE_CHECKING:
    from crdtsync.client import Client, connect
    from crdtsync.config import ClusterSettings, Config, ConnectConfig, ServeConfig
    from crdtsync.datatypes.columns import Columns, Texts
    from crdtsync.handles import Flag, GCounter, GSet, LWWRegister, Map, MVRegister, ORSet, PNCounter
    from crdtsync.node import Bucket, Change, Item, Node, Watcher, open
    from crdtsync.service import Server, serve

__version__ = "0.1.0"

__all__ = [
    "Bucket",
    "Change",
    "Client",
    "ClusterSettings",
    "Columns",
    "Config",
    "ConnectConfig",
    "CrdtsyncError",
    "Flag",
    "GCounter",
    "GSet",
    "Item",
    "LWWRegister",
    "MVRegister",
    "Map",
    "Node",
    "ORSet",
    "PNCounter",
    "ServeConfig",
    "Server",
    "Texts",
    "Watcher",
    "__version__",
    "connect",
    "errors",
    "open",
    "serve",
]

_HOMES = {
    **dict.fromkeys(("ClusterSettings", "Config", "ConnectConfig", "ServeConfig"), "crdtsync.config"),
    **dict.fromkeys(
        ("Flag", "GCounter", "GSet", "LWWRegister", "Map", "MVRegister", "ORSet", "PNCounter"), "crdtsync.handles"
    ),
    **dict.fromkeys(("Bucket", "Change", "Item", "Node", "Watcher", "open"), "crdtsync.node"),
    **dict.fromkeys(("Columns", "Texts"), "crdtsync.datatypes.columns"),
    **dict.fromkeys(("Client", "connect"), "crdtsync.client"),
    **dict.fromkeys(("Server", "serve"), "crdtsync.service"),
}


def __getattr__(name: str) -> Any:
    """A public name, or `crdtsync.aio` (asyncio is a third of what the rest takes to import)."""
    if name == "aio":
        value: Any = import_module("crdtsync.aio")
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'crdtsync' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "aio"})
