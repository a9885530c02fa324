"""One seed from beginning to end: live through the faults, then calm down, agree, and be judged."""

from __future__ import annotations

import gc
import logging
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from crdtsync.sim.cluster import Cluster
from crdtsync.sim.faults import Nemesis
from crdtsync.sim.plan import Plan, draw
from crdtsync.sim.world import Violation, World

FORMING_MAX = 60.0  # s of virtual time until the first nodes are one cluster
WORKING_MAX = 120.0  # s until all operations are done, however much is down
SETTLE_MAX = 90.0  # s from the end of the faults until all replicas agree and hold nothing dead
ANSWER_MAX = 10.0  # s until who waits for a token that is lost knows it
REST = 0.9  # s in which nothing happens at the end
TAIL = 60  # lines of the trace that a failure shows


class Verdict(msgspec.Struct):
    """What became of one seed."""

    seed: int
    ok: bool
    problem: str  # "" when ok
    trace_hash: str
    operations: int
    nodes: int
    virtual_time: float  # s
    settled_in: float  # s of virtual time from the end of the faults
    counters: Counter[str]  # faults and what came of them, as the world saw it
    inside: Counter[str]  # what the nodes counted themselves
    tail: list[str]

    def summary(self) -> str:
        """One line for people."""
        told = "ok" if self.ok else f"FAILED {self.problem}"
        return (
            f"seed {self.seed}: {self.operations} operations on {self.nodes} nodes in {self.virtual_time:.1f} s, "
            f"settled in {self.settled_in:.1f} s, hash {self.trace_hash}: {told}"
        )


@contextmanager
def undisturbed() -> Iterator[None]:
    """Without cyclic garbage collection, and without the nodes' warnings.

    A run makes little garbage in cycles, and a great many objects to look at; faults are the point of it, and what the
    nodes say of them would fill any screen.
    """
    log, collecting = logging.getLogger("crdtsync"), gc.isenabled()
    level = log.level
    gc.disable()
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)
        if collecting:
            gc.enable()


def run(seed: int, trace: Callable[[str], None] | None = None, plan: Plan | None = None) -> Verdict:
    """Run one seed, by its own plan or by a given one.  Never raises for what the system under test does wrong."""
    plan = plan or draw(seed)
    world = World(seed, trace)
    cluster = Cluster(world, plan)
    problem, settled_in = "", 0.0
    with undisturbed():
        try:
            settled_in = _live(world, cluster, plan)
        except Violation as violation:
            problem = str(violation)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
        finally:
            cluster.close()
    return Verdict(
        seed=seed,
        ok=not problem,
        problem=problem,
        trace_hash=world.trace_hash(),
        operations=cluster.operations,
        nodes=len(cluster.nodes),
        virtual_time=world.awake,
        settled_in=settled_in,
        counters=world.counters,
        inside=cluster.totals,
        tail=world.lines[-TAIL:] if problem else [],
    )


def _live(world: World, cluster: Cluster, plan: Plan) -> float:
    cluster.found()
    _wait(world, cluster.formed, FORMING_MAX, "the first nodes became no cluster")
    nemesis = Nemesis(world, cluster, plan)
    nemesis.start()
    cluster.work()
    _wait(world, lambda: "" if cluster.operations >= plan.operations else "too slow", WORKING_MAX, "no progress")
    nemesis.stopped = True
    cluster.calm()
    begun = world.awake
    _wait(world, cluster.settled, SETTLE_MAX, "no agreement after the faults")
    settled_in = world.awake - begun
    _wait(world, cluster.waiting, ANSWER_MAX, "a token was waited for in vain")
    _rest(world, cluster)
    cluster.finish()
    return settled_in


def _rest(world: World, cluster: Cluster) -> None:
    """With nothing left to do the nodes say no more than their heartbeats, and go on agreeing."""
    before = cluster.network.frames
    world.run_until(world.now + REST)
    if still := cluster.settled():
        raise Violation(f"liveness: agreement did not last: {still}")
    said, most = cluster.network.frames - before, cluster.idle_frames(REST)
    if said > most:
        raise Violation(f"liveness: {said} messages in {REST} s of rest, {most} are enough")


def _wait(world: World, missing: Callable[[], str], most: float, what: str) -> None:
    """Let time pass until nothing is `missing`; a Violation when that takes longer than `most` seconds."""
    end = world.awake + most
    while still := missing():
        if world.awake >= end:
            raise Violation(f"liveness: {what} within {most:.0f} s: {still}")
        world.run_until(world.now + 0.25)
