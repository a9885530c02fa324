"""crdtsync: a replicated data store of CRDTs that Python services embed.

`open` gives a Node, which gives handles; docs/python-api.md has every public name with its rules.
"""

from __future__ import annotations

from typing import Any

from crdtsync import errors
from crdtsync.config import ClusterSettings, Config
from crdtsync.errors import CrdtsyncError
from crdtsync.handles import Flag, GCounter, GSet, LWWRegister, Map, MVRegister, ORSet, PNCounter
from crdtsync.node import Bucket, Change, Item, Node, Watcher, open

__version__ = "0.1.0"

__all__ = [
    "Bucket",
    "Change",
    "ClusterSettings",
    "Config",
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
    "Watcher",
    "__version__",
    "errors",
    "open",
]


def __getattr__(name: str) -> Any:
    """`crdtsync.aio`, loaded when it is asked for: asyncio is a third of what the rest takes to import."""
    if name == "aio":
        import crdtsync.node.aio as aio

        return aio
    raise AttributeError(f"module 'crdtsync' has no attribute {name!r}")
