"""crdtsync in virtual time: the engine and store of a node, on simulated networks and disks."""

from __future__ import annotations

import crdtsync
from crdtsync.ops.bench.adapters.base import Adapter


class Simulated(Adapter):
    """Nodes of the simulator; what takes time is virtual."""

    title = "crdtsync, simulated nodes"
    semantics = "replicated CRDT, no coordination; production code on a simulated network"
    durability = "a simulated disk"
    package = "crdtsync"

    @classmethod
    def version(cls) -> str:
        """Of the code that runs."""
        return crdtsync.__version__
