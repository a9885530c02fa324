"""What goes wrong in a run, and when: drawn from the seed before the run begins, told to the cluster as it goes."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from crdtsync.sim.disk import SimDisk
from crdtsync.sim.network import Weather
from crdtsync.sim.world import World

if TYPE_CHECKING:
    from crdtsync.sim.cluster import Cluster

NODES_MAX = 6


WEATHER = frozenset(("loss", "doubled", "reordered", "breaks", "late"))
TROUBLES = WEATHER | {
    "cut in halves", "isolate", "one way", "break links", "power", "power in a write", "kill", "kill in a write",
    "pause", "disk full", "disk error", "join", "leave", "evict", "evict by force", "clock step", "old copy",
    "lost disk",
}  # fmt: skip


class Plan(msgspec.Struct):
    """One run, before it happens.  Rates are events per second of virtual time; 0: never."""

    nodes: int
    operations: int
    duration: float  # s over which the operations are spread
    weather: Weather
    skews: tuple[float, ...]  # s by which each node's wall clock is off
    rates: dict[str, float]
    buckets: tuple[str, ...] = ("default",)
    batches: float = 0.1  # share of operations that are batches
    small_parts: bool = False  # transfers in many parts
    long_transfers: bool = False  # every difference of note is a long transfer


def draw(seed: int) -> Plan:
    """The plan of a seed: at least 300 operations on at least 3 nodes, and a mixture of troubles."""
    rng = random.Random(f"plan {seed}")
    nodes = rng.choice((3, 3, 3, 3, 3, 3, 4, 5))
    duration = rng.uniform(1.5, 2.5)
    troubles = _troubles(rng) | _strife(random.Random(f"strife {seed}"))
    rates = {name: rate / duration for name, rate in troubles.items()}
    return Plan(
        nodes=nodes,
        operations=rng.randint(300, 310),
        duration=duration,
        weather=_weather(rng),
        skews=tuple(rng.choice((0.0, 0.0, 0.0, 0.05, -0.05, 0.5, -2.0)) for _ in range(NODES_MAX)),
        rates=rates,
        buckets=rng.choice((("default",), ("default",), ("default", "other"))),
        batches=rng.choice((0.0, 0.1, 0.3)),
        small_parts=rng.random() < 0.4,
        long_transfers=rng.random() < 0.15,
    )


def _weather(rng: random.Random) -> Weather:
    slow = rng.choice(((0.0005, 0.003), (0.001, 0.03), (0.01, 0.15)))
    weather = Weather(delay=slow, breaks=rng.choice((0.0, 0.2, 1.0)))
    if rng.random() < 0.6:
        weather.loss = rng.choice((0.01, 0.05, 0.2, 0.5))
        weather.breaks = min(weather.breaks, 0.05 / weather.loss)  # or no link lives long enough to say hello
    if rng.random() < 0.5:
        weather.doubled = rng.choice((0.02, 0.1, 0.3))
    if rng.random() < 0.5:
        weather.reordered = rng.choice((0.02, 0.1, 0.3))
    if rng.random() < 0.4:
        weather.late = rng.choice((0.01, 0.05))
    return weather


def _troubles(rng: random.Random) -> dict[str, float]:
    """How often each trouble comes in one run, on average."""
    often: dict[str, float] = {}
    if rng.random() < 0.6:
        often |= {"cut in halves": rng.choice((1, 3)), "isolate": rng.choice((0, 2)), "one way": rng.choice((0, 2))}
    if rng.random() < 0.4:
        often["break links"] = rng.choice((2, 6))
    if rng.random() < 0.6:
        often |= {"power": rng.choice((1, 3)), "power in a write": rng.choice((0, 2))}
    if rng.random() < 0.5:
        often |= {"kill": rng.choice((1, 3)), "kill in a write": rng.choice((0, 2)), "pause": rng.choice((0, 2))}
    if rng.random() < 0.3:
        often |= {"disk full": rng.choice((1, 2)), "disk error": rng.choice((0, 1))}
    if rng.random() < 0.4:
        often |= {"join": rng.choice((1, 2)), "leave": rng.choice((0, 1)), "evict": rng.choice((0, 1))}
    if rng.random() < 0.3:
        often["clock step"] = 2
    if rng.random() < 0.1:
        often |= {"old copy": 1, "lost disk": rng.choice((0, 0.5))}
    return often


def without(plan: Plan, trouble: str) -> Plan:
    """The plan less one of TROUBLES."""
    if trouble in WEATHER:
        return msgspec.structs.replace(plan, weather=msgspec.structs.replace(plan.weather, **{trouble: 0.0}))
    return msgspec.structs.replace(plan, rates={**plan.rates, trouble: 0.0})


def _strife(rng: random.Random) -> dict[str, float]:
    """Operators who put out each other's nodes at the same time, in few runs and then often."""
    often: dict[str, float] = {}
    if rng.random() < 0.1:
        often |= {"evict": rng.choice((3, 8)), "evict by force": rng.choice((0, 0, 2))}
    return often


class Nemesis:
    """Brings the troubles of a plan over a cluster, each kind at its own random moments, until it is stopped."""

    def __init__(self, world: World, cluster: Cluster, plan: Plan) -> None:
        self.world, self.cluster, self.rates = world, cluster, plan.rates
        self.stopped = False

    def start(self) -> None:
        """Begin: every trouble waits for its first moment."""
        for name, rate in sorted(self.rates.items()):
            if rate > 0:
                self._wait(rate, getattr(self, "_" + name.replace(" ", "_")), name)

    def _wait(self, rate: float, trouble: Callable[[], bool], name: str) -> None:
        def strike() -> None:
            if self.stopped:
                return
            if trouble():
                self.world.count(name)
                self.world.note("----", name)
            self._wait(rate, trouble, name)

        self.world.after(self.world.rng.expovariate(rate), strike)

    # -- network
    def _cut_in_halves(self) -> bool:
        names = sorted(self.cluster.nodes)
        self.world.rng.shuffle(names)
        at = self.world.rng.randint(1, len(names) - 1)
        self._cut(names[:at], names[at:])
        return True

    def _isolate(self) -> bool:
        name = self.world.rng.choice(sorted(self.cluster.nodes))
        self._cut([name], [other for other in self.cluster.nodes if other != name])
        return True

    def _cut(self, ones: list[str], others: list[str]) -> None:
        for one in ones:
            for other in others:
                self.cluster.network.separate(one, other)
                self.cluster.network.separate(other, one)
        self._later(self.cluster.network.heal)

    def _one_way(self) -> bool:
        sender, receiver = self.world.rng.sample(sorted(self.cluster.nodes), 2)
        self.cluster.network.separate(sender, receiver)
        self._later(self.cluster.network.heal)
        return True

    def _break_links(self) -> bool:
        for link in list(self.cluster.network.links.values()):
            if self.world.rng.random() < 0.4:
                self.cluster.network.snap(link, "reset by peer")
        return True

    def _later(self, action: Callable[[], None]) -> None:
        self.world.after(self.world.rng.uniform(0.1, 1.2), action)

    # -- processes and machines
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
        victims = self.cluster.running()
        if victims:
            self.world.rng.choice(victims).disk.end_after(self.world.rng.randint(1, 30), power)
        return bool(victims)

    def _kill(self) -> bool:
        victims = self.cluster.running()
        if victims:
            self.cluster.kill(self.world.rng.choice(victims))
        return bool(victims)

    def _pause(self) -> bool:
        victims = self.cluster.running()
        if victims:
            self.cluster.pause(self.world.rng.choice(victims), self.world.rng.uniform(0.1, 1.2))
        return bool(victims)

    # -- disks and clocks
    def _old_copy(self) -> bool:
        """A machine is set up again from a copy of its directory that was made a while ago."""
        victims = [node for node in self.cluster.running() if node.published()]
        if victims:
            node = self.world.rng.choice(victims)
            copy = SimDisk(self.world.rng)
            copy.copy_from(node.disk)
            self._later(lambda: self.cluster.replace_disk(node, copy))
        return bool(victims)

    def _lost_disk(self) -> bool:
        """A machine loses its disk, and gets in again under its name: through a member, so the last one keeps its."""
        victims = self.cluster.movable()
        members = [node for node in self.cluster.running() if node.writable()]
        if not victims or len(members) < 2:
            return False
        self.cluster.replace_disk(self.world.rng.choice(victims), SimDisk(self.world.rng))
        return True

    def _disk_full(self) -> bool:
        node = self.world.rng.choice(sorted(self.cluster.nodes.values(), key=lambda node: node.name))
        node.disk.full = True

        def room() -> None:
            node.disk.full = False

        self._later(room)
        return True

    def _disk_error(self) -> bool:
        """A sync fails: the store must stop writing, and the operator opens it again."""
        victims = self.cluster.running()
        if victims:
            self.world.rng.choice(victims).disk.fail_next_sync = True
        return bool(victims)

    def _clock_step(self) -> bool:
        node = self.world.rng.choice(sorted(self.cluster.nodes.values(), key=lambda node: node.name))
        node.skew += self.world.rng.choice((-1.5, -0.2, 0.2, 1.5))
        return True

    # -- membership
    def _join(self) -> bool:
        return len(self.cluster.nodes) < NODES_MAX and self.cluster.join()

    def _leave(self) -> bool:
        return self.cluster.leave()

    def _evict(self) -> bool:
        return self.cluster.evict()

    def _evict_by_force(self) -> bool:
        return self.cluster.evict(force=True)
