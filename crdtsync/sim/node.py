"""One simulated node: the production store, engine and driver, with the world in place of threads, sockets and disks."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from crdtsync.config import Config
from crdtsync.errors import CrdtsyncError, EnvironmentFault
from crdtsync.replication.driver import Driver
from crdtsync.replication.engine import Engine
from crdtsync.replication.messages import Message
from crdtsync.sim.disk import Gone, SimDisk
from crdtsync.sim.history import Clock
from crdtsync.sim.network import SimTransport
from crdtsync.sim.settings import node_config
from crdtsync.sim.workload import Operation, perform
from crdtsync.sim.world import Event, Violation
from crdtsync.storage.store import Store

if TYPE_CHECKING:
    from crdtsync.sim.cluster import Cluster

FLUSH_EVERY = (0.002, 0.08)  # s between flushes of the journal
CHECKPOINT_EVERY = (0.2, 1.5)  # s between checkpoints
