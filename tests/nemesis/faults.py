"""The nemesis: one to three faults at a time, each for a few seconds, then all is mended."""

from __future__ import annotations

import random
import signal
import threading
from collections import Counter
from collections.abc import Callable

from .hosts import Hosts
from .processes import Machine

Undo = Callable[[], None]


class Nemesis(threading.Thread):
    """Breaks things until it is stopped."""

    def __init__(self, hosts: Hosts, machines: dict[int, Machine], spare: Machine, seed: int) -> None:
        super().__init__(name="nemesis")
        self.hosts, self.machines, self.spare = hosts, machines, spare
        self.rng = random.Random(f"nemesis:{seed}")
        self.stopping = threading.Event()
        self.met: Counter[str] = Counter()
        self.bug: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.stopping.wait(self.rng.uniform(0.5, 2.0)):
                self.round()
        except BaseException as error:
            self.bug = error
            raise

    def round(self) -> None:
        """Some faults at once, each on machines of its own, for a while."""
        free = list(self.machines)
        self.rng.shuffle(free)
        undo: list[Undo] = []
        for fault in self.rng.sample(FAULTS, self.rng.randint(1, 3)):
            if free or fault in ON_THE_NET:
                self.met[fault.__name__] += 1
                undo.append(fault(self, free))
        self.stopping.wait(self.rng.uniform(1.0, 6.0))
        for mend in undo:
            mend()

    def others(self, number: int) -> list[str]:
        """Where a node may join through."""
        return [machine.address for other, machine in self.machines.items() if other != number]


# ---- on the net


def halves(nemesis: Nemesis, free: list[int]) -> Undo:
    """Two sides that hear nothing of each other."""
    side = [number for number in nemesis.machines if nemesis.rng.random() < 0.5]
    other = [number for number in nemesis.machines if number not in side]
    for number in nemesis.machines:
        nemesis.hosts.deafen(number, other if number in side else side)
    return nemesis.hosts.heal


def ring(nemesis: Nemesis, free: list[int]) -> Undo:
    """Each hears its two neighbours only, and no two hear the same."""
    numbers = list(nemesis.machines)
    for at, number in enumerate(numbers):
        near = {numbers[at - 1], number, numbers[(at + 1) % len(numbers)]}
        nemesis.hosts.deafen(number, [other for other in numbers if other not in near])
    return nemesis.hosts.heal


def one_way(nemesis: Nemesis, free: list[int]) -> Undo:
    """One that hears nobody, and is heard."""
    nemesis.hosts.deafen(nemesis.rng.choice(list(nemesis.machines)), nemesis.machines)
    return nemesis.hosts.heal


def loss(nemesis: Nemesis, free: list[int]) -> Undo:
    """A fifth of all packets is lost."""
    for number in nemesis.machines:
        nemesis.hosts.lose(number, 20)
    return nemesis.hosts.heal


# ---- on machines


def kill(nemesis: Nemesis, free: list[int]) -> Undo:
    """`kill -9`, and start again."""
    machine = nemesis.machines[free.pop()]
    machine.kill()
    return lambda: machine.start(nemesis.others(machine.number))


def pause(nemesis: Nemesis, free: list[int]) -> Undo:
    """A process that stands still."""
    machine = nemesis.machines[free.pop()]
    machine.send(signal.SIGSTOP)
    return lambda: machine.send(signal.SIGCONT)


def clock(nemesis: Nemesis, free: list[int]) -> Undo:
    """A wall clock that jumps by up to five minutes, or by hours."""
    machine = nemesis.machines[free.pop()]
    machine.shift(nemesis.rng.choice((-1, 1)) * nemesis.rng.choice((0.5, 20.0, 288.0, 7200.0)))
    return lambda: machine.shift(0.0)


def full_disk(nemesis: Nemesis, free: list[int]) -> Undo:
    """No room left."""
    machine = nemesis.machines[free.pop()]
    machine.fill()
    return machine.drain


def lost_disk(nemesis: Nemesis, free: list[int]) -> Undo:
    """A node is stopped in good order, so that nothing is its alone; its disk is lost; another one takes its place."""
    machine = nemesis.machines[free.pop()]
    old = machine.name
    if machine.stop() != 0:  # it could not say all that it had to: then its disk is not taken away
        return lambda: machine.start(nemesis.others(machine.number))
    machine.lose_disk()

    def replace() -> None:
        machine.start(nemesis.others(machine.number))
        evicted = machine.crdtsync("evict", old, "--force", "--yes")
        assert evicted.returncode == 0, evicted.stderr

    return replace


def flipped_bits(nemesis: Nemesis, free: list[int]) -> Undo:
    """Bits of a stopped node's files change: where a check finds that, another node takes its place."""
    machine = nemesis.machines[free.pop()]
    old = machine.name
    if machine.stop() != 0:  # as with lost disks: what it alone has must not go
        return lambda: machine.start(nemesis.others(machine.number))
    spoilt = machine.spoil(nemesis.rng)

    def mend() -> None:
        found = machine.check()
        assert b"Traceback" not in found.stderr, found.stderr
        nemesis.met[f"flipped bits in {spoilt}, {'found' if found.returncode else 'nothing wrong'}"] += 1
        if found.returncode == 0:  # where nothing is kept: what is read, is read as it was written
            machine.start(nemesis.others(machine.number))
            return
        machine.lose_disk()
        machine.start(nemesis.others(machine.number))
        evicted = machine.crdtsync("evict", old, "--force", "--yes")
        assert evicted.returncode == 0, evicted.stderr

    return mend


def join_and_leave(nemesis: Nemesis, free: list[int]) -> Undo:
    """A sixth node comes, and goes again."""
    machine = nemesis.spare
    machine.start(nemesis.others(0))

    def leave() -> None:
        machine.crdtsync("leave")
        machine.stop()
        machine.lose_disk()

    return leave


ON_THE_NET = (halves, ring, one_way, loss, join_and_leave)
FAULTS = (*ON_THE_NET, kill, kill, pause, clock, full_disk, lost_disk, flipped_bits, flipped_bits)
