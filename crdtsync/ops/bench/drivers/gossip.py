"""Many simulated nodes that all write, on a network that loses messages: rounds until all agree, and what that costs.

Time is virtual, so the figures are the same on any machine; a seed repeats them exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import msgspec

from crdtsync.ops.bench.bench import Task
from crdtsync.ops.bench.results import Check, Sample, Unit
from crdtsync.sim.cluster import Cluster
from crdtsync.sim.network import Weather
from crdtsync.sim.plan import Plan
from crdtsync.sim.settings import BASE
from crdtsync.sim.trial import undisturbed
from crdtsync.sim.world import World

UNITS = {
    "rounds": Unit("", what="gossip rounds (mean time between pulls) from the last write until all agree"),
    "redundancy": Unit("", what="rows sent to rows that were news to their receiver"),
    "messages": Unit("1/s", what="messages sent by a node in a second while all write"),
    "bytes": Unit("B/s", what="bytes sent by a node in a second while all write"),
}
DELAY = (0.001, 0.02)  # s: latency of a message, from least to most
STEP = 0.05  # s of virtual time between two looks
MOST = 300.0  # s of virtual time for anything


class Params(msgspec.Struct, forbid_unknown_fields=True):
    """`nodes` that make one write a second each, for `seconds`; a share `loss` of all messages is lost."""

    nodes: int
    seconds: float
    loss: float


def measure(task: Task, params: Params) -> Sample:
    """One sample."""
    operations = round(params.nodes * params.seconds)
    plan = Plan(
        nodes=params.nodes, operations=operations, duration=params.seconds,
        weather=Weather(delay=DELAY, loss=params.loss), skews=(0.0,), rates={}, batches=0.0,
    )  # fmt: skip
    world = World(task.seed)
    cluster = Cluster(world, plan)
    with undisturbed(), closing(cluster):
        cluster.found()
        formed = pass_time(world, lambda: not cluster.formed())
        return worked(world, cluster, plan, formed)


def worked(world: World, cluster: Cluster, plan: Plan, formed: bool) -> Sample:
    """Let all write, then wait until they agree."""
    begun, before = world.now, traffic(cluster)
    cluster.work()
    done = pass_time(world, lambda: cluster.operations >= plan.operations)
    wrote, during = world.now - begun, traffic(cluster)
    last = world.now
    agreed = pass_time(world, lambda: agree(cluster))
    rounds, after = (world.now - last) / BASE.pull_interval, traffic(cluster)
    digests = {tuple(node.digest(bucket) for bucket in node.buckets()) for node in cluster.running()}
    checks = [
        Check("the nodes become one cluster, and write all", formed and done),
        Check("all clocks are equal in time", agreed),
        Check("digests of all replicas are equal", len(digests) == 1),
    ]
    node_seconds, news = plan.nodes * wrote, max(1, after[3] - before[3])
    figures = {
        "rounds": rounds, "messages": (during[0] - before[0]) / node_seconds,
        "bytes": (during[1] - before[1]) / node_seconds, "redundancy": (after[2] - before[2]) / news,
    }  # fmt: skip
    return Sample(figures, checks)


def pass_time(world: World, reached: Callable[[], bool]) -> bool:
    """Let virtual time pass until something is reached; False when it takes too long."""
    end = world.now + MOST
    while not reached():
        if world.now >= end:
            return False
        world.run_until(world.now + STEP)
    return True


def agree(cluster: Cluster) -> bool:
    """Whether all clocks are equal."""
    first, *others = cluster.running()
    return all(
        node.buckets() == first.buckets() and all(node.clock(name) == first.clock(name) for name in first.buckets())
        for node in others
    )


def traffic(cluster: Cluster) -> tuple[int, int, int, int]:
    """(messages, bytes, rows sent, rows received that were news) of all so far."""
    counters = [node.engine.core.counters for node in cluster.running()]
    sent, news = (sum(each[name] for each in counters) for name in ("rows_sent", "rows_received"))
    return cluster.network.frames, cluster.network.bytes, sent, news


def verify(task: Task, params: Params) -> list[Check]:
    """There is no process."""
    return []
