"""Systems behind one interface each: crdtsync itself, and its peers, which are skipped where they are not installed."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from crdtsync.errors import ConfigError

if TYPE_CHECKING:
    from crdtsync.ops.bench.adapters.base import Adapter

ADAPTERS = {
    "crdtsync": ("crdtsync.ops.bench.adapters.embedded", "Embedded"),
    "crdtsync-batches": ("crdtsync.ops.bench.adapters.embedded", "EmbeddedBatches"),
    "crdtsync-columns": ("crdtsync.ops.bench.adapters.embedded", "EmbeddedColumns"),
    "crdtsync-each": ("crdtsync.ops.bench.adapters.embedded", "EmbeddedEach"),
    "crdtsync-turns": ("crdtsync.ops.bench.adapters.embedded", "EmbeddedTurns"),
    "crdtsync-cold": ("crdtsync.ops.bench.adapters.embedded", "EmbeddedCold"),
    "crdtsync-remote": ("crdtsync.ops.bench.adapters.remote", "RemoteNode"),
    "grpc-empty": ("crdtsync.ops.bench.adapters.remote", "EmptyCall"),
    "crdtsync-store": ("crdtsync.ops.bench.adapters.parts", "StoreParts"),
    "crdtsync-pair": ("crdtsync.ops.bench.adapters.pairs", "NodePair"),
    "redis-pair": ("crdtsync.ops.bench.adapters.pairs", "RedisPair"),
    "crdtsync-sim": ("crdtsync.ops.bench.adapters.simulated", "Simulated"),
    "fdatasync": ("crdtsync.ops.bench.adapters.bare", "Fdatasync"),
    "lmdb": ("crdtsync.ops.bench.adapters.lmdb_raw", "Lmdb"),
    "sqlite": ("crdtsync.ops.bench.adapters.sqlite", "Sqlite"),
    "redis": ("crdtsync.ops.bench.adapters.redis_server", "Redis"),
    "redis-pipelined": ("crdtsync.ops.bench.adapters.redis_server", "RedisPipelined"),
    "redis-always": ("crdtsync.ops.bench.adapters.redis_server", "RedisAlways"),
    "sqlite-normal": ("crdtsync.ops.bench.adapters.sqlite", "SqliteNormal"),
    "redis-everysec": ("crdtsync.ops.bench.adapters.redis_server", "RedisEverysec"),
    "nats": ("crdtsync.ops.bench.adapters.nats_kv", "NatsKv"),
    "etcd": ("crdtsync.ops.bench.adapters.etcd_kv", "Etcd"),
    "crdts": ("crdtsync.ops.bench.adapters.crdts_objects", "Crdts"),
    "pycrdt": ("crdtsync.ops.bench.adapters.pycrdt_doc", "Pycrdt"),
    "loro": ("crdtsync.ops.bench.adapters.loro_doc", "Loro"),
}


def adapter(name: str) -> type[Adapter]:
    """An adapter's class by the system's name.  Raises ConfigError."""
    if name not in ADAPTERS:
        raise ConfigError(f"There is no system {name!r}; there are {', '.join(ADAPTERS)}.")
    module, kind = ADAPTERS[name]
    return cast("type[Adapter]", getattr(import_module(module), kind))


def open_adapter(name: str, directory: Any) -> Any:
    """Open a system on a directory of its own; which capabilities it has, its class says."""
    return adapter(name)(directory)
