"""The scale study: what a cluster costs, and how soon it agrees, by its nodes and by the messages that are lost.

Every run has three stories.  *Load*: each node writes once a second; then all are quiet until they agree.  *Burst*:
each node writes BURST times at one moment.  *Partition*: the cluster is cut in halves, each node writes once a second,
the halves are joined, and the time until all agree is the recovery.  Time is virtual, so figures do not depend on the
machine, and a seed repeats them exactly.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import msgspec

from crdtsync.sim.crowd import CROWD, Crowd
from crdtsync.sim.trial import undisturbed
from crdtsync.sim.world import World

NODES = (10, 100, 1000)
LOSSES = (0.0, 0.05, 0.2, 0.5)
DELAY = (0.001, 0.02)  # s: latency of a message, from least to most
SETTLING = 3.0  # s that the nodes have to find each other before anything is measured
BURST = 5  # writes of each node at one moment
STEP = 0.05  # s of virtual time between two looks
MOST = 120.0  # s of virtual time for anything
FILE = "scale.json"


class Traffic(msgspec.Struct, frozen=True):
    """Sums over all nodes so far."""

    messages: int
    bytes: int
    rows_sent: int
    rows_received: int  # that were news


class Figures(msgspec.Struct, frozen=True):
    """What one run gave.  Times in s of virtual time; None for a story that was left out, or did not end."""

    nodes: int
    loss: float
    seed: int
    seconds: float  # of writing, in each story
    agreed: bool  # whether all digests were equal in the end of every story
    rounds: float | None  # gossip rounds (mean time between pulls) from the last write until all agree
    messages: float  # sent by a node in a second, while all write
    bytes: float
    redundancy: float  # rows sent to rows that were news to their receiver
    burst: float | None  # s from a burst until all agree
    partition: float | None  # s from the end of a partition until all agree
    processor_seconds: float  # of the simulator


class Study(msgspec.Struct):
    """All runs."""

    delay: tuple[float, float] = DELAY
    runs: list[Figures] = []

    def text(self) -> str:
        """A table for people."""
        head = ("nodes", "loss", "rounds", "messages/s", "bytes/s", "redundancy", "burst s", "partition s", "agreed")
        lines = ["".join(f"{name:>12}" for name in head)]
        for run in self.runs:
            cells = (
                f"{run.nodes:,}", f"{run.loss:.0%}", _told(run.rounds), f"{run.messages:.0f}", f"{run.bytes:,.0f}",
                f"{run.redundancy:.2f}", _told(run.burst), _told(run.partition), "yes" if run.agreed else "NO",
            )  # fmt: skip
            lines.append("".join(f"{cell:>12}" for cell in cells))
        return "\n".join(lines) + "\n"

    def save(self, directory: Path) -> None:
        """Write scale.json."""
        directory.mkdir(parents=True, exist_ok=True)
        encoded = msgspec.json.format(msgspec.json.encode(self))
        (directory / FILE).write_bytes(encoded + b"\n")


def _told(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def study(
    nodes: Iterable[int], losses: Iterable[float], seed: int, seconds: float,
    told: Callable[[Study], None] = lambda so_far: None,
) -> Study:  # fmt: skip
    """Run every number of nodes at every loss; `told` sees what there is after each."""
    found = Study()
    for count in nodes:
        for loss in losses:
            found.runs.append(measure(seed, count, loss, seconds))
            told(found)
    return found


def measure(seed: int, nodes: int, loss: float, seconds: float, recovery: bool = True) -> Figures:
    """One run; without `recovery` the load alone.  `seconds`: of writing, in each story."""
    begun = time.process_time()
    world = World(seed)
    crowd = Crowd(world, nodes, loss, DELAY)
    with undisturbed(), closing(crowd):
        crowd.found()
        _pass_time(world, crowd.linked)
        world.run_until(world.now + SETTLING)
        start, before = world.now, traffic(crowd)
        crowd.write_for(seconds)
        world.run_until(start + seconds)
        during = traffic(crowd)
        quiet = _pass_time(world, crowd.agree)
        after, agreed = traffic(crowd), quiet is not None and crowd.equal()
        burst = partition = None
        if recovery:
            burst = _burst(world, crowd)
            partition = _partition(world, crowd, seconds)
            agreed = agreed and burst is not None and partition is not None and crowd.equal()
    share = nodes * seconds
    return Figures(
        nodes=nodes, loss=loss, seed=seed, seconds=seconds, agreed=agreed,
        rounds=None if quiet is None else quiet / CROWD.pull_interval,
        messages=(during.messages - before.messages) / share, bytes=(during.bytes - before.bytes) / share,
        redundancy=(after.rows_sent - before.rows_sent) / max(1, after.rows_received - before.rows_received),
        burst=burst, partition=partition, processor_seconds=time.process_time() - begun,
    )  # fmt: skip


def _burst(world: World, crowd: Crowd) -> float | None:
    for node in crowd.nodes.values():
        for _ in range(BURST):
            crowd.write_one(node)
    return _pass_time(world, crowd.agree)


def _partition(world: World, crowd: Crowd, seconds: float) -> float | None:
    crowd.cut()
    crowd.write_for(seconds)
    world.run_until(world.now + seconds)
    crowd.heal()
    return _pass_time(world, crowd.agree)


def _pass_time(world: World, reached: Callable[[], bool]) -> float | None:
    """Let virtual time pass until something is reached, and say how much; None when it takes too long."""
    begun = world.now
    while not reached():
        if world.now >= begun + MOST:
            return None
        world.run_until(world.now + STEP)
    return world.now - begun


def traffic(crowd: Crowd) -> Traffic:
    """All that was sent so far."""
    network = crowd.network
    return Traffic(network.frames, network.bytes, crowd.counted("rows_sent"), crowd.counted("rows_received"))
