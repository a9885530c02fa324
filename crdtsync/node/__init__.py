"""The node: the shell where store, replication and transport meet, and what a program embeds.

`shell.Node` is the whole.  Its parts: `writing` (every write and refusal), `buckets` (handles, reading,
listing), `sessions` (wait_for), `watching`, `looping` (the engine's thread), `network` (engine, transport,
joining), `status`, `rescue`, `aio`.
"""

from __future__ import annotations

from crdtsync.handles import Change, Item
from crdtsync.handles.batches import DEFAULT_BUCKET
from crdtsync.node.buckets import Bucket
from crdtsync.node.shell import Node, open
from crdtsync.node.watching import Watcher

__all__ = ["DEFAULT_BUCKET", "Bucket", "Change", "Item", "Node", "Watcher", "open"]
