"""The nodes of one run: founded, joined, written to, broken, mended, and asked whether they agree."""

from __future__ import annotations

from collections import Counter

from crdtsync.config import Config
from crdtsync.replication.peers import SUPERSEDED
from crdtsync.sim.disk import SimDisk
from crdtsync.sim.network import Network
from crdtsync.sim.node import SimNode
from crdtsync.sim.oracles import Oracles
from crdtsync.sim.plan import Plan
from crdtsync.sim.sessions import Sessions
from crdtsync.sim.settings import HEARTBEAT, node_config
from crdtsync.sim.workload import choose
from crdtsync.sim.world import Violation, World

FIRST_PORT = 7400
FOUNDER = "n0"
PATIENCE = 3.0  # s by which a clock may have been ahead without anybody having to sleep until then
AWAY = (1.5, 3.5)  # s for which a node is away that is evicted meanwhile


class Cluster:
    """All nodes that ever were, by name."""

    def __init__(self, world: World, plan: Plan) -> None:
        self.world, self.plan = world, plan
        self.network = Network(world, plan.weather.calmed())
        self.oracles = Oracles(world)
        self.sessions = Sessions(world, self)
        self.totals: Counter[str] = Counter()  # what the nodes have counted themselves
        self.nodes: dict[str, SimNode] = {}
        self.evicted: set[str] = set()  # names of all that ever were, or that came in through one of them
        self.away: set[str] = set()  # gone for so long that they are evicted
        self.clones: list[tuple[SimNode, SimNode]] = []  # a node, and another on a copy of its directory
        self.set_back = 0  # directories that were replaced, copied or cut short: they know less than was known there
        self.ahead = 0.0  # s by which some clock was ahead of the world's, at most
        self.operations = 0
        self._ports = FIRST_PORT
        self._names = self._stand_ins = 0

    # -- life
    def found(self) -> None:
        """Start the first nodes: one founds the cluster, the others join through it."""
        first = self.add(None)
        for _ in range(self.plan.nodes - 1):
            self.add(first)

    def add(self, sponsor: SimNode | None) -> SimNode:
        """A new machine with an empty disk."""
        name = f"n{self._names}"
        skew, drift = (of[self._names % len(of)] for of in (self.plan.skews, self.plan.drifts))
        self._names += 1
        node = SimNode(self, name, SimDisk(self.world.rng), sponsor)
        node.skew = skew
        node.set_rate(drift)
        self.nodes[name] = node
        node.boot()
        return node

    def stand_in(self) -> int:
        """What stands for one more private actor, until it has an id."""
        self._stand_ins -= 1
        return self._stand_ins

    def seeds(self, sponsor: SimNode | None) -> tuple[str, ...]:
        """Where a node is told to look for others: its first sponsor, and the founder, which never moves or leaves."""
        founder = self.nodes[FOUNDER].address
        return () if sponsor is None else tuple({sponsor.address: None, founder: None})

    def config(self, node: SimNode) -> Config:
        """The settings of a node's next start."""
        return node_config(self.plan, node.identity, node.address, self.seeds(node.sponsor), node.accepting)

    def opened(self, node: SimNode) -> None:
        """A node's store is open, and its engine not yet made."""

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

    def writable(self) -> list[SimNode]:
        """Nodes that take writes, in name order."""
        return [node for node in self.running() if node.writable()]

    def work(self) -> None:
        """Let users do the plan's operations, spread over its duration, in the plan's weather."""
        self.network.weather = self.plan.weather
        pace = self.plan.duration / self.plan.operations
        rng = self.world.rng

        def one() -> None:
            ready = self.writable()
            if ready:
                self._operate(rng.choice(ready))
            if self.operations < self.plan.operations:
                self.world.after(rng.expovariate(1 / pace), one)

        one()

    def _operate(self, node: SimNode) -> None:
        rng, plan = self.world.rng, self.plan
        bucket = rng.choice(plan.buckets)
        count = rng.randint(2, 6) if rng.random() < plan.batches else 1
        operations = [choose(rng, plan.cold) for _ in range(count)]
        if plan.requests and rng.random() < plan.requests:
            done = self.sessions.request(node, bucket, operations)
        else:
            done = node.write(bucket, operations) is not None
        if done:
            self.operations += 1
            self.sessions.wrote(node, bucket)

    def let_in(self, node: SimNode, sponsor: str) -> None:
        """A node is a member, and shares the fate of who let it in: the others may not know of either."""
        if sponsor in self.evicted:
            self.evicted.add(node.identity)

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
        self.set_back += 1
        self.oracles.disk_lost(node)
        node.new_disk(disk)
        others = [other for other in self.writable() if other is not node]
        if others and not disk.files:  # told whom to ask: an empty founder would found another cluster
            node.sponsor = self.world.rng.choice(others)
        self.boot_later(node)

    def wipe(self, node: SimNode) -> None:
        """The operator of a node whose disk is beyond help gives it an empty one, once others can let it in."""
        if any(other is not node for other in self.writable()):
            self.world.count("damaged disk replaced")
            self.replace_disk(node, SimDisk(self.world.rng))
        else:
            self.world.after(0.5, lambda: self.wipe(node))

    def clone(self, node: SimNode) -> None:
        """Start another process on a copy of a node's directory, under its name."""
        copy = SimDisk(self.world.rng)
        copy.copy_from(node.disk)
        twin = SimNode(self, node.name + "'", copy, node.sponsor, identity=node.identity)
        twin.skew = node.skew
        self.nodes[twin.name] = twin
        self.clones.append((node, twin))
        self.set_back += 1
        twin.boot()

    def end_clone(self) -> None:
        """One of two nodes on the same directory is shut down for good; the other is started again, and goes on."""
        for node, twin in self.clones:
            kept, gone = self.world.rng.sample((node, twin), 2)
            kept.kill()
            gone.kill()
            self.oracles.disk_lost(gone)
            if kept is twin:  # the machine stays, with the other's directory
                self.oracles.take_over(twin, node)
                node.take_over(twin)
            twin.retired = True
            del self.nodes[twin.name]
            self.boot_later(node)
        self.clones.clear()

    def send_away(self, node: SimNode) -> None:
        """A node is gone until after the others have evicted it, which they soon do."""
        node.kill()
        self.away.add(node.name)
        self.evicted.add(node.identity)
        self.world.after(self.world.rng.uniform(0.2, 0.6), lambda: self._miss(node))
        self.world.after(self.world.rng.uniform(*AWAY), lambda: self._come_back(node))

    def _miss(self, node: SimNode) -> None:
        """Some operator evicts who is away, as soon as that is possible."""
        able = [other for other in self.writable() if other is not node]
        if node.name in self.away and not (able and self.world.rng.choice(able).evict(node.identity, False)):
            self.world.after(0.3, lambda: self._miss(node))

    def _come_back(self, node: SimNode) -> None:
        self.away.discard(node.name)
        node.boot()

    def sleep(self, seconds: float) -> None:
        """All machines stand still for hours, and what was on the way for so long turns up when they are awake."""
        self.world.note("----", f"asleep for {seconds:.0f} s")
        self.world.skip(seconds)
        self.network.turn_up()

    def movable(self) -> list[SimNode]:
        """Members that are not the founder, which alone may stand at an address that everybody knows."""
        return [node for node in self.running() if node.writable() and node.name != FOUNDER]

    def below_floor(self, node: SimNode, other: str) -> None:
        """A node found that others have forgotten what it never saw removed.

        That is for who was evicted; and who knows whom is uncertain once a member's list was set back with its disk.
        """
        if node.identity not in self.evicted and not self.set_back:
            raise Violation(f"floor: {node.name} was never evicted and is below the floor of {other}")

    def boot_later(self, node: SimNode) -> None:
        """A node is started again after a while."""

        def boot() -> None:
            if node.name not in self.away:
                node.boot()

        self.world.after(self.world.rng.uniform(0.02, 0.8), boot)

    def join(self) -> bool:
        """A new node comes, by the address of some running member."""
        members = self.writable()
        if not members:
            return False
        self.add(self.world.rng.choice(members))
        return True

    def leave(self) -> bool:
        """A member leaves in good order."""
        members = self.writable()
        able = [node for node in self.movable() if node.state() != SUPERSEDED]
        if not able or len(members) < 3:
            return False
        self.world.rng.choice(able).leave()
        return True

    def evict(self, force: bool = False) -> bool:
        """An operator evicts a member, from another one; several do at once, and each knows what its node knows."""
        members = self.writable()
        if len(members) < 3:
            return False
        operator, victim = self.world.rng.sample(members, 2)
        if not operator.evict(victim.identity, force):
            return False
        self.oracles.forced |= force
        # Besides the victim: whom the operator's node has not heard of, because whoever let it in may be put out.
        known = operator.members()
        self.evicted |= {victim.identity, *(node.identity for node in members if node.identity not in known)}
        return True

    # -- the end
    def calm(self) -> None:
        """All faults stop: the network heals, disks have room and work, clocks are set, everybody is started.

        Where a clock was well ahead, the deletions that it stamped can be collected once that time has come: it comes,
        for everybody is asleep until then; and whatever is still on its way from before is hours late.
        """
        self.network.weather = self.plan.weather.calmed()
        self.network.heal()
        self.end_clone()
        ahead = self.ahead
        for node in list(self.nodes.values()):
            node.disk.full = node.disk.fail_next_sync = node.disk.fail_next_write = False
            node.disk.end_after(0, power=False)
            node.set_clock()
            node.resume()
            if not node.up and node.name not in self.away:
                node.boot()
        self.world.note("----", "calm")
        if self.network.stale or ahead > PATIENCE:
            self.sleep(max(ahead, self.world.rng.uniform(1, 3) * 3600))

    def members(self) -> list[SimNode]:
        """Nodes that are to agree: all but those that left."""
        return [self.nodes[name] for name in sorted(self.nodes) if not self.nodes[name].has_left]

    def waiting(self) -> str:
        """Who waits for a token without an answer, now that everybody agrees."""
        return self.sessions.waiting(self.members())

    def settled(self) -> str:
        """What is still missing to agreement."""
        members = self.members()
        if self.network.stale:
            return "messages are hours late"
        if self.sessions.to_repeat:
            return f"{self.sessions.to_repeat} requests will come again"
        for node in members:
            if node.state() == SUPERSEDED:  # by a clone that is gone: its operator reads so, and starts it again
                self.world.note(node.name, "started again, as it was superseded")
                node.kill()
                node.boot()
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
        self.world.counters["tokens waited for"] += len(self.sessions.tokens)

    def close(self) -> None:
        """Let go of everything."""
        for node in self.nodes.values():
            node.drop()
