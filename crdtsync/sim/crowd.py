"""Many nodes that are one cluster from the start: for questions of scale, not of faults.

A thousand joins one after the other are another question.  Here every disk holds the whole member list before its node
starts, as after a restart of all; each is told of a few others to dial.  Nobody judges single rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec

from crdtsync.clocks.members import MEMBER, MemberRecord
from crdtsync.config import KIB, Config
from crdtsync.datatypes import lwwregister, orset, pncounter, values
from crdtsync.datatypes.keys import top
from crdtsync.sim.cluster import Cluster
from crdtsync.sim.disk import SimDisk
from crdtsync.sim.history import Clock
from crdtsync.sim.network import Network, SimTransport, Weather
from crdtsync.sim.node import SimNode
from crdtsync.sim.oracles import Change, Oracles
from crdtsync.sim.plan import Plan
from crdtsync.sim.settings import BASE
from crdtsync.sim.workload import Operation
from crdtsync.sim.world import WALL_START_MS, World

BUCKET = "default"
VERBS = ((pncounter.ADD, pncounter.CODE), (orset.ADD, orset.CODE), (lwwregister.SET, lwwregister.CODE))
SEEDS = 2  # others that a node is told of
BOOTING = 1.0  # s within which all start
DEFAULTS = Config()
CROWD = msgspec.structs.replace(
    BASE, segment_bytes=256 * KIB, part_bytes=48 * KIB,  # room for a list of a thousand members
    heartbeat_interval=DEFAULTS.heartbeat_interval, pull_interval=DEFAULTS.pull_interval,
    collect_interval=DEFAULTS.collect_interval, push_delay=DEFAULTS.push_delay,
    reconnect_max=DEFAULTS.reconnect_max, connect_timeout=0.5,  # sooner: messages are lost for good here
).validate()  # fmt: skip


class Unjudged(Oracles):
    """Looks at nothing: agreement is judged in the end, by clocks and digests."""

    def step(self, node: SimNode) -> None:
        """Nothing."""

    def written(self, node: SimNode, bucket: str, changes: Sequence[Change]) -> None:
        """Nothing."""

    def restarted(self, node: SimNode, promised: dict[str, Clock]) -> None:
        """Nothing."""

    def whole(self, node: SimNode, bucket: str) -> None:
        """Nothing."""

    def bounded(self, node: SimNode) -> None:
        """Nothing."""


class Halves(Network):
    """A network that can be cut in two, without a list of all pairs."""

    def __init__(self, world: World, weather: Weather) -> None:
        super().__init__(world, weather)
        self.side: dict[str, int] = {}

    def passes(self, sender: SimTransport, receiver: SimTransport) -> bool:
        """Whether both are on one side."""
        return self.side.get(sender.name) == self.side.get(receiver.name)


class Crowd(Cluster):
    """All of them."""

    network: Halves

    def __init__(self, world: World, nodes: int, loss: float, delay: tuple[float, float]) -> None:
        weather = Weather(delay=delay, loss=loss)
        super().__init__(world, Plan(nodes, 1, 1.0, weather, skews=(0.0,), rates={}, drifts=(1.0,)))
        self.network, self.oracles = Halves(world, weather), Unjudged(world)
        self.id = world.rng.getrandbits(64) | 1
        self.records: list[MemberRecord] = []

    # -- life
    def found(self) -> None:
        """Give every node its disk, and start them all."""
        for number in range(self.plan.nodes):
            node = SimNode(self, f"n{number}", SimDisk(self.world.rng), None)
            self.nodes[node.name] = node
            at = self.world.rng.uniform(0.0, BOOTING)
            start = WALL_START_MS + int(at * 1000)  # as the store will number it: then nobody has news of itself
            self.records.append(MemberRecord(node.name, 1, MEMBER, node.address, start))
            self.world.at(at, node.boot)

    def config(self, node: SimNode) -> Config:
        """Settings as users have them, with a few others to dial."""
        others = [record.address for record in self.records if record.node != node.name]
        seeds = tuple(self.world.rng.sample(others, min(SEEDS, len(others))))
        return msgspec.structs.replace(CROWD, name=node.name, listen=node.address, join=seeds)

    def opened(self, node: SimNode) -> None:
        """What a member's disk holds."""
        node.store.publish(self.id)
        node.store.put_members(self.records)

    def linked(self) -> bool:
        """Whether everybody has links to others."""
        return all(node.up and node.engine.reachable() for node in self.nodes.values())

    # -- users
    def write_one(self, node: SimNode) -> None:
        """One write, of one of three types, to one of as many keys as there are nodes: rows have few writers."""
        rng = self.world.rng
        key = f"k{rng.randrange(self.plan.nodes)}"
        verb, code = rng.choice(VERBS)
        argument = rng.randint(1, 9) if verb is pncounter.ADD else values.encode(rng.randrange(1000))
        if node.write(BUCKET, [Operation(verb.name, top(key, code), argument, verb.run, verb)]) is not None:
            self.operations += 1

    def write_for(self, seconds: float) -> None:
        """Let every node write once a second, at moments of its own."""
        rng, end = self.world.rng, self.world.now + seconds

        def again(node: SimNode) -> None:
            if self.world.now < end:
                self.write_one(node)
                self.world.after(rng.uniform(0.5, 1.5), partial(again, node))

        for node in self.nodes.values():
            self.world.after(rng.uniform(0.0, min(1.0, seconds)), partial(again, node))

    # -- faults
    def cut(self) -> None:
        """Cut the nodes in halves."""
        names = list(self.nodes)
        self.network.side = dict.fromkeys(self.world.rng.sample(names, len(names) // 2), 1)

    def heal(self) -> None:
        """Everybody reaches everybody."""
        self.network.side = {}

    # -- the outcome
    def agree(self) -> bool:
        """Whether all have the same clock."""
        first, *others = self.nodes.values()
        clock = first.clock(BUCKET)
        return all(node.clock(BUCKET) == clock for node in others)

    def equal(self) -> bool:
        """Whether all replicas have the same digest."""
        return len({node.digest(BUCKET) for node in self.nodes.values()}) == 1

    def counted(self, name: str) -> int:
        """What the nodes have counted under a name, in all."""
        return sum(node.engine.core.counters[name] for node in self.nodes.values())
