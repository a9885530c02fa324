"""The nodes of one run: founded, joined, written to, broken, mended, and asked whether they agree."""

from __future__ import annotations

from crdtsync.sim.disk import SimDisk
from crdtsync.sim.faults import Plan
from crdtsync.sim.network import Network
from crdtsync.sim.node import SimNode
from crdtsync.sim.oracles import Oracles
from crdtsync.sim.settings import HEARTBEAT
from crdtsync.sim.workload import choose
from crdtsync.sim.world import Violation, World

FIRST_PORT = 7400
FOUNDER = "n0"


class Cluster:
    """All nodes that ever were, by name."""

    def __init__(self, world: World, plan: Plan) -> None:
        self.world, self.plan = world, plan
        self.network = Network(world, plan.weather.calmed())
        self.oracles = Oracles(world)
        self.nodes: dict[str, SimNode] = {}
        self.evicted: set[str] = set()  # names of all that ever were, or that came in through one of them
        self.disks_replaced = 0
        self.operations = 0
        self._ports = FIRST_PORT
        self._names = 0

    # -- life
    def found(self) -> None:
        """Start the first nodes: one founds the cluster, the others join through it."""
        first = self.add(None)
        for _ in range(self.plan.nodes - 1):
            self.add(first)

    def add(self, sponsor: SimNode | None) -> SimNode:
        """A new machine with an empty disk."""
        name = f"n{self._names}"
        skew = self.plan.skews[self._names % len(self.plan.skews)]
        self._names += 1
        node = SimNode(self, name, SimDisk(self.world.rng), skew, sponsor)
        self.nodes[name] = node
        node.boot()
        return node

    def seeds(self, sponsor: SimNode | None) -> tuple[str, ...]:
        """Where a node is told to look for others: its first sponsor, and the founder, which never moves or leaves."""
        founder = self.nodes[FOUNDER].address
        return () if sponsor is None else tuple({sponsor.address: None, founder: None})

    def fresh_address(self) -> str:
        """An address that nobody has had."""
        self._ports += 1
        return f"127.0.0.1:{self._ports}"

    def formed(self) -> str:
        """What the first nodes still lack to be a cluster."""
        waiting = [node.name for node in self.nodes.values() if not node.writable()]
        return f"waiting for {', '.join(waiting)}" if waiting else ""

    def running(self) -> list[SimNode]:
        """Nodes whose process lives, in name order."""
        return [self.nodes[name] for name in sorted(self.nodes) if self.nodes[name].up]

    def work(self) -> None:
        """Let users do the plan's operations, spread over its duration, in the plan's weather."""
        self.network.weather = self.plan.weather
        pace = self.plan.duration / self.plan.operations
        rng = self.world.rng

        def one() -> None:
            ready = [node for node in self.running() if node.writable()]
            if ready:
                self._operate(rng.choice(ready))
            if self.operations < self.plan.operations:
                self.world.after(rng.expovariate(1 / pace), one)

        one()

    def _operate(self, node: SimNode) -> None:
        rng, plan = self.world.rng, self.plan
        bucket = rng.choice(plan.buckets)
        count = rng.randint(2, 6) if rng.random() < plan.batches else 1
        operations = [choose(rng) for _ in range(count)]
        if node.write(bucket, operations):
            self.operations += 1

    def let_in(self, node: SimNode, sponsor: str) -> None:
        """A node is a member, and shares the fate of who let it in: the others may not know of either."""
        if sponsor in self.evicted:
            self.evicted.add(node.name)

    # -- faults
    def power_off(self, node: SimNode) -> None:
        """A machine loses its power, and gets it back after a while."""
        node.power_off()
        self.boot_later(node)

    def kill(self, node: SimNode) -> None:
        """A process is killed, and started again after a while."""
        node.kill()
        self.boot_later(node)

    def replace_disk(self, node: SimNode, disk: SimDisk) -> None:
        """A machine goes on with another disk; what only the old one held may be gone."""
        node.power_off()
        self.disks_replaced += 1
        self.oracles.disk_lost(node)
        node.disk = disk
        self.boot_later(node)

    def movable(self) -> list[SimNode]:
        """Members that are not the founder, which alone may stand at an address that everybody knows."""
        return [node for node in self.running() if node.writable() and node.name != FOUNDER]

    def below_floor(self, node: SimNode, other: str) -> None:
        """A node found that others have forgotten what it never saw removed.

        That is for who was evicted, or for who knows whom when a member's list was set back with its disk.
        """
        if node.name not in self.evicted and not self.disks_replaced:
            raise Violation(f"floor: {node.name} was never evicted and is below the floor of {other}")

    def pause(self, node: SimNode, time: float) -> None:
        """A process stands still."""
        node.pause(time)

    def boot_later(self, node: SimNode) -> None:
        """A node is started again after a while."""
        self.world.after(self.world.rng.uniform(0.02, 0.8), node.boot)

    def join(self) -> bool:
        """A new node comes, by the address of some running member."""
        members = [node for node in self.running() if node.writable()]
        if not members:
            return False
        self.add(self.world.rng.choice(members))
        return True

    def leave(self) -> bool:
        """A member leaves in good order."""
        members = [node for node in self.running() if node.writable()]
        able = self.movable()
        if not able or len(members) < 3:
            return False
        self.world.rng.choice(able).leave()
        return True

    def evict(self, force: bool = False) -> bool:
        """An operator evicts a member, from another one; several do at once, and each knows what its node knows."""
        members = [node for node in self.running() if node.writable()]
        if len(members) < 3:
            return False
        operator, victim = self.world.rng.sample(members, 2)
        if not operator.evict(victim.name, force):
            return False
        self.oracles.forced |= force
        # Besides the victim: whom the operator's node has not heard of, because whoever let it in may be put out.
        known = operator.members()
        self.evicted |= {victim.name, *(node.name for node in members if node.name not in known)}
        return True

    # -- the end
    def calm(self) -> None:
        """All faults stop: the network heals, disks have room and work, everybody is started."""
        self.network.weather = self.plan.weather.calmed()
        self.network.heal()
        for node in list(self.nodes.values()):
            node.disk.full = node.disk.fail_next_sync = False
            node.disk.end_after(0, power=False)
            node.resume()
            if not node.up:
                node.boot()
        self.world.note("----", "calm")

    def members(self) -> list[SimNode]:
        """Nodes that are to agree: all but those that left."""
        return [self.nodes[name] for name in sorted(self.nodes) if not self.nodes[name].has_left]

    def settled(self) -> str:
        """What is still missing to agreement."""
        members = self.members()
        for node in members:
            if not node.writable():
                return f"{node.name} is {node.state()}"
            if node.engine.eviction.victim_sought():
                return f"{node.name} has proposed an eviction"
        return self.oracles.agreed(members)

    def idle_frames(self, time: float) -> int:
        """Messages that a cluster with nothing to do may send in `time` seconds: heartbeats, its own and passed on."""
        links = len(self.network.links)
        return int(links * (time / HEARTBEAT + 1) * 4)

    def finish(self) -> None:
        """Judge the end."""
        lost = self.oracles.finish(self.members())
        self.world.counters["events lost with their disk"] += lost

    def close(self) -> None:
        """Let go of everything."""
        for node in self.nodes.values():
            node.drop()
