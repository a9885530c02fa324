"""What goes wrong in a run, as it goes: each kind of trouble at its own random moments, until it is all over."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from crdtsync.sim.disk import SimDisk
from crdtsync.sim.plan import NODES_MAX, Plan
from crdtsync.sim.world import World

if TYPE_CHECKING:
    from crdtsync.sim.cluster import Cluster
    from crdtsync.sim.node import SimNode

HOUR = 3600.0  # s


class Troubles:
    """What all kinds of trouble are made with."""

    def __init__(self, world: World, cluster: Cluster, plan: Plan) -> None:
        self.world, self.cluster, self.rates = world, cluster, plan.rates
        self.stopped = False

    def later(self, action: Callable[[], None]) -> None:
        """What is to end again ends after a while."""
        self.world.after(self.world.rng.uniform(0.1, 1.2), action)

    def some_node(self) -> SimNode:
        """Any machine, running or not."""
        return self.world.rng.choice(sorted(self.cluster.nodes.values(), key=lambda node: node.name))

    def some_running(self) -> SimNode | None:
        """A machine whose process lives."""
        victims = self.cluster.running()
        return self.world.rng.choice(victims) if victims else None


class Cuts(Troubles):
    """Partitions.  Each heals what it has cut, and nothing else."""

    def _shuffled(self) -> list[str]:
        names = sorted(self.cluster.nodes)
        self.world.rng.shuffle(names)
        return names

    def _split(self, ones: Iterable[str], others: Iterable[str]) -> bool:
        others = list(others)
        return self._cut([pair for one in ones for other in others for pair in ((one, other), (other, one))])

    def _cut(self, pairs: list[tuple[str, str]]) -> bool:
        network = self.cluster.network
        network.separate(pairs)
        self.later(lambda: network.rejoin(pairs))
        return True

    def _cut_in_halves(self) -> bool:
        names = self._shuffled()
        at = self.world.rng.randint(1, len(names) - 1)
        return self._split(names[:at], names[at:])

    def _cut_off_a_minority(self) -> bool:
        """Fewer than half of the nodes are on their own."""
        names = self._shuffled()
        at = max(1, (len(names) - 1) // 2)
        return self._split(names[:at], names[at:])

    def _cut_in_a_ring(self) -> bool:
        """Each node hears a majority, and no two hear the same one."""
        names = self._shuffled()
        heard = len(names) // 2  # besides itself
        return self._cut([
            (names[(at + distance) % len(names)], receiver)
            for at, receiver in enumerate(names)
            for distance in range(heard + 1, len(names))
        ])  # fmt: skip

    def _isolate(self) -> bool:
        name = self.world.rng.choice(sorted(self.cluster.nodes))
        return self._split([name], [other for other in sorted(self.cluster.nodes) if other != name])

    def _one_way(self) -> bool:
        sender, receiver = self.world.rng.sample(sorted(self.cluster.nodes), 2)
        return self._cut([(sender, receiver)])

    def _swizzle(self) -> bool:
        """Some nodes are cut off one after the other, and come back in another order."""
        names = self._shuffled()
        chosen = names[: self.world.rng.randint(1, len(names))]
        network, moment = self.cluster.network, 0.0
        cuts = [[pair for other in names if other != one for pair in ((one, other), (other, one))] for one in chosen]
        for pairs in cuts:
            moment += self.world.rng.uniform(0.0, 0.15)
            self.world.after(moment, lambda pairs=pairs: network.separate(pairs))  # type: ignore[misc]
        for pairs in self.world.rng.sample(cuts, len(cuts)):
            moment += self.world.rng.uniform(0.05, 0.3)
            self.world.after(moment, lambda pairs=pairs: network.rejoin(pairs))  # type: ignore[misc]
        return True

    def _break_links(self) -> bool:
        for link in list(self.cluster.network.links.values()):
            if self.world.rng.random() < 0.4:
                self.cluster.network.snap(link, "reset by peer")
        return True


class Machines(Troubles):
    """Processes that end or stand still, machines without power, and clocks that are wrong."""

    def _power(self) -> bool:
        victims = self.cluster.running()
        for node in self.world.rng.sample(victims, min(len(victims), self.world.rng.choice((1, 1, 2, len(victims))))):
            self.cluster.power_off(node)
        return bool(victims)

    def _power_in_a_write(self) -> bool:
        """The power goes within one of the next writes or syncs, in the middle of whatever asked for it."""
        return self._end_in_a_write(power=True)

    def _kill_in_a_write(self) -> bool:
        return self._end_in_a_write(power=False)

    def _end_in_a_write(self, power: bool) -> bool:
        node = self.some_running()
        if node is not None:
            node.disk.end_after(self.world.rng.randint(1, 30), power)
        return node is not None

    def _kill(self) -> bool:
        node = self.some_running()
        if node is not None:
            self.cluster.kill(node)
        return node is not None

    def _pause(self) -> bool:
        node = self.some_running()
        if node is not None:
            node.pause(self.world.rng.uniform(0.1, 1.2))
        return node is not None

    def _sleep(self) -> bool:
        """All machines are asleep for hours, as laptops are at night; then messages from before turn up."""
        self.cluster.sleep(self.world.rng.uniform(0.5, 8) * HOUR)
        return True

    def _absence(self) -> bool:
        """A machine is gone for so long that it is evicted and its rows are collected; then it is back."""
        victims = self.cluster.movable()
        if not victims or self.cluster.away or len(self.cluster.writable()) < 3:
            return False
        self.cluster.send_away(self.world.rng.choice(victims))
        return True

    def _clock_step(self) -> bool:
        self.some_node().skew += self.world.rng.choice((-1.5, -0.2, 0.2, 1.5))
        return True

    def _clock_jump(self) -> bool:
        """A clock is set wrong by hours."""
        node = self.some_node()
        node.skew = self.world.rng.choice((-1.0, 1.0)) * self.world.rng.uniform(0.5, 5) * HOUR
        return True


class Disks(Troubles):
    """Disks that refuse, lie, or are not the ones they were."""

    def _disk_full(self) -> bool:
        disk = self.some_node().disk
        disk.full = True

        def room() -> None:
            disk.full = False

        self.later(room)
        return True

    def _disk_error(self) -> bool:
        """A sync fails: the store must stop writing, and the operator opens it again."""
        node = self.some_running()
        if node is not None:
            node.disk.fail_next_sync = True
        return node is not None

    def _write_error(self) -> bool:
        """A write comes to an end too soon, with an error."""
        node = self.some_running()
        if node is not None:
            node.disk.fail_next_write = True
        return node is not None

    def _flip_in_the_journal(self) -> bool:
        return self._flip(SimDisk.flip_in_files)

    def _flip_in_the_table(self) -> bool:
        return self._flip(SimDisk.flip_in_table)

    def _flip(self, flip: Callable[[SimDisk], bool]) -> bool:
        """A bit is another than was written, on the one machine of a run whose disk does such things."""
        whole = [node for node in self.cluster.writable() if not node.disk.flipped]
        damaged = [node for node in self.cluster.nodes.values() if node.disk.flipped]
        if len(whole) < 3 and not (damaged and len(whole) >= 2):
            return False
        node = damaged[0] if damaged else self.world.rng.choice(whole)
        return node.up and node.published() and flip(node.disk)

    def _old_copy(self) -> bool:
        """A machine is set up again from a copy of its directory that was made a while ago."""
        victims = [node for node in self.cluster.running() if node.published()]
        if victims:
            node = self.world.rng.choice(victims)
            copy = SimDisk(self.world.rng)
            copy.copy_from(node.disk)
            self.later(lambda: self.cluster.replace_disk(node, copy))
        return bool(victims)

    def _clone(self) -> bool:
        """A copy of a running node's directory is started beside it; after a while one of the two is shut down."""
        victims = [node for node in self.cluster.movable() if node.published()]
        if not victims or self.cluster.clones or len(self.cluster.writable()) < 3:
            return False
        self.cluster.clone(self.world.rng.choice(victims))
        self.later(self.cluster.end_clone)
        return True

    def _lost_disk(self) -> bool:
        """A machine loses its disk, and gets in again under its name: through a member, so the last one keeps its."""
        victims = self.cluster.movable()
        if not victims or len(self.cluster.writable()) < 2:
            return False
        self.cluster.replace_disk(self.world.rng.choice(victims), SimDisk(self.world.rng))
        return True


class Crowd(Troubles):
    """Who comes and goes, and who is told to."""

    def _join(self) -> bool:
        return len(self.cluster.nodes) < NODES_MAX and self.cluster.join()

    def _leave(self) -> bool:
        return self.cluster.leave()

    def _evict(self) -> bool:
        return self.cluster.evict()

    def _evict_by_force(self) -> bool:
        return self.cluster.evict(force=True)


class Nemesis(Cuts, Machines, Disks, Crowd):
    """Brings the troubles of a plan over a cluster, until it is stopped."""

    def start(self) -> None:
        """Begin: every trouble waits for its first moment."""
        for name, rate in sorted(self.rates.items()):
            if rate > 0:
                self._wait(rate, getattr(self, "_" + name.replace(" ", "_")), name)

    def _wait(self, rate: float, trouble: Callable[[], bool], name: str) -> None:
        def strike() -> None:
            if self.stopped:
                return
            self.world.note("----", name)
            if trouble():
                self.world.count(name)
            else:
                self.world.note("----", f"no occasion for {name}")
            self._wait(rate, trouble, name)

        self.world.after(self.world.rng.expovariate(rate), strike)
