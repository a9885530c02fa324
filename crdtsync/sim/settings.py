"""Settings of simulated nodes: the production ones, with small segments and parts so that every path is walked."""

from __future__ import annotations

import msgspec

from crdtsync.config import KIB, ClusterSettings, Config
from crdtsync.sim.plan import Plan

CLUSTER = ClusterSettings(
    value_bytes_max=4 * KIB, key_bytes_max=255, depth_max=16, part_bytes_max=64 * KIB, batch_bytes_max=16 * KIB
)


HEARTBEAT = 0.8  # s
BASE = Config(
    listen="127.0.0.1:0",
    cluster=CLUSTER,
    segment_bytes=32 * KIB,
    heartbeat_interval=HEARTBEAT,
    pull_interval=0.8,
    collect_interval=0.6,
    push_delay=0.1,
    reconnect_max=0.5,
    connect_timeout=1.0,
    join_timeout=30.0,
    joining_expiry=20.0,
).validate()


def node_config(plan: Plan, name: str, address: str, join: tuple[str, ...], accept_damage: bool = False) -> Config:
    """The Config of one simulated node.  (Not validated each time: BASE was, and what is replaced fits.)"""
    return msgspec.structs.replace(
        BASE,
        name=name,
        listen=address,
        join=join,
        accept_damage=accept_damage,
        part_bytes=512 if plan.small_parts else 16 * KIB,
        transfer_bytes_max=KIB if plan.long_transfers else 64 * KIB,
        credit_parts=2 if plan.small_parts else 4,
    )
