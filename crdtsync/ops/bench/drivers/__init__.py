"""Drivers: what is measured, each a module with `Params`, `UNITS`, `measure` and `verify`; see ops/bench/bench.py."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from crdtsync.errors import ConfigError

if TYPE_CHECKING:
    from crdtsync.ops.bench.bench import Driver

DRIVERS = {
    "curves": "crdtsync.ops.bench.drivers.curves",
    "micro": "crdtsync.ops.bench.drivers.micro",
    "ycsb": "crdtsync.ops.bench.drivers.ycsb",
    "catchup": "crdtsync.ops.bench.drivers.catchup",
    "footprint": "crdtsync.ops.bench.drivers.footprint",
    "lifetime": "crdtsync.ops.bench.drivers.lifetime",
    "gossip": "crdtsync.ops.bench.drivers.gossip",
    "merging": "crdtsync.ops.bench.drivers.merging",
    "sizes": "crdtsync.ops.bench.drivers.sizes",
    "visibility": "crdtsync.ops.bench.drivers.visibility",
    "wire": "crdtsync.ops.bench.drivers.wire",
    "calling": "crdtsync.ops.bench.drivers.calling",
    "paced": "crdtsync.ops.bench.drivers.paced",
    "bulk": "crdtsync.ops.bench.drivers.bulk",
    "counting": "crdtsync.ops.bench.drivers.counting",
    "filling": "crdtsync.ops.bench.drivers.filling",
    "committing": "crdtsync.ops.bench.drivers.committing",
}


def driver(name: str) -> Driver:
    """A driver by its name.  Raises ConfigError."""
    if name not in DRIVERS:
        raise ConfigError(f"There is no driver {name!r}; there are {', '.join(sorted(DRIVERS))}.")
    return cast("Driver", import_module(DRIVERS[name]))
