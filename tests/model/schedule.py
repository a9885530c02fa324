"""Random schedules: one seed, one history of everything that can happen, and then the healing."""

from __future__ import annotations

import random
from itertools import accumulate

from . import entry
from .members import is_counted
from .node import Node
from .parts import Staged
from .rows import join
from .voting import last_resort
from .world import Violation, World

HEALING_ROUNDS = 6


class Schedule:
    def __init__(self, seed, count, steps, rules=None, loss=0.3, more=None, world_class=World, node_class=Node):
        self.rng, self.steps, self.loss = random.Random(seed), steps, loss
        self.world = world_class(self.rng, count, rules, node_class)
        self.nodes, self.bound = self.world.nodes, count + 2
        self.net, self.pulls, self.cut = [], [], set()
        self.off, self.still = set(), set()  # names of those that reach nobody; of those that stand still
        self.weights = list(accumulate(weight * (more or {}).get(name, 1) for weight, name in self.STEPS))

    STEPS = (
        (40, "write"), (14, "push"), (6, "open_pull"), (14, "pull_part"), (13, "deliver"), (3, "announce"),
        (1, "pass_on"), (2.5, "collect"), (2.5, "scan"), (6, "enter"), (0.7, "arrive"), (0.3, "expire"),
        (0.3, "leave"), (1, "propose"), (5, "vote"), (4, "count"), (0.05, "force"), (0.8, "backup"), (0.25, "restore"),
        (0.4, "damage"), (3, "repair"), (1, "crash"), (2, "part_ways"), (2, "reunite"),
        (0.1, "vanish"), (0.3, "come_back"), (0.1, "stop"), (0.5, "go_on"), (0.5, "propose_absent"),
    )  # fmt: skip
    # much coming and going, in every third schedule
    RESTLESS = {
        "arrive": 3,
        "enter": 2,
        "expire": 3,
        "leave": 5,
        "propose": 3,
        "vote": 2,
        "count": 2,
        "restore": 4,
        "crash": 3,
    }
    # operators who put out each other's nodes, in every seventh
    STRIFE = {
        "propose": 4, "vote": 12, "count": 1.5, "force": 20, "enter": 6, "restore": 0.2, "part_ways": 4,
        "announce": 8, "write": 0.3,
    }  # fmt: skip
    # members that are away for long, in every fourth
    ABSENT = {
        "vanish": 15, "come_back": 1, "stop": 4, "go_on": 3, "propose_absent": 15, "vote": 10, "count": 2,
        "announce": 15, "pass_on": 4, "propose": 0.2, "part_ways": 0.2, "reunite": 2, "write": 0.3, "crash": 0.5,
    }  # fmt: skip
    NAMES = [name for _, name in STEPS]

    def run(self):
        """The schedule, then the healing.  Raises Violation."""
        for _ in range(self.steps):
            self.step()
        self.heal()
        return self.world

    def step(self):
        world, rng = self.world, self.rng
        world.now += rng.randint(0, 5)
        world.steps += 1
        running = [node for node in self.nodes.values() if node.name not in self.still]
        node = rng.choice(running or list(self.nodes.values()))
        if rng.random() < 0.3:
            node.sync()
        what = rng.choices(self.NAMES, cum_weights=self.weights)[0]
        getattr(self, what)(node)
        world.judge()
        self.look()

    def look(self):
        """Everybody that runs hears those that it is linked to."""
        for node in self.nodes.values():
            if node.name not in self.still:
                linked = [o.name for o in self.nodes.values() if o is not node and self.linked(node, o)]
                self.world.seen(node, linked)
                node.look(linked)

    def other(self, node):
        return self.rng.choice([n for n in self.nodes.values() if n is not node])

    def linked(self, node, other):
        return not self.apart(node, other) and other.private is None and node.private is None

    def apart(self, node, other):
        names = frozenset((node.name, other.name))
        return names in self.cut or not names.isdisjoint(self.off) or not names.isdisjoint(self.still)

    def meet(self, node, other):
        """Whether the two can talk; if so they have said hello."""
        if not self.linked(node, other):
            return False
        entry.contact(node, other)
        return True

    # ---- local ----

    def write(self, node):
        if node.postponed:
            rest, node.postponed = node.postponed, []
            for name, *arguments in rest:
                getattr(node, name)(*arguments)
            return
        size = 1 if self.rng.random() < 0.7 else self.rng.randint(2, 4)
        node.batch([self.operation() for _ in range(size)])

    def operation(self):
        rng = self.rng
        where = rng.random()
        if where < 0.7:
            path = (rng.choice("abc"),)
        elif where < 0.97:
            path = rng.choice((("m", "f"), ("m", "g"), ("m", "g", "h")))
        else:
            return ("clear_map", rng.choice((("m",), ("m", "g"))))
        roll = rng.random()
        if roll < 0.22:
            return ("add", path)
        if roll < 0.40:
            return ("remove", path)
        if roll < 0.60:
            return ("write", path, rng.choice([None, 1, 2, 3]))
        if roll < 0.78:
            return ("increment", path, rng.choice([1, 2, -1]))
        if roll < 0.85:
            return ("reset", path)
        return ("set_value", path, rng.choice([1, 2])) if roll < 0.95 else ("clear_values", path)

    def collect(self, node):
        if node.may_collect():
            node.collect()

    def crash(self, node):
        node.crash()

    def backup(self, node):
        if node.private is None:
            node.keep_copy()

    def restore(self, node):
        if node.backup and self.serving(but=node) >= 2:
            node.become_copy()

    def damage(self, node):
        clean = [key for key, row in node.rows.items() if node.disk["rows"].get(key) is row]
        if clean and node.serves() and self.serving(but=node) >= 2:
            node.damage(self.rng.choice(sorted(clean)))

    def serving(self, but):
        """How many are surely able to let others in.  Operators see to it that some are left: where all are damaged,
        evicted or restored from old copies, there is no state to start over from."""
        able = [n for n in self.nodes.values() if n.serves() and n.state == "member" and n is not but]
        return sum((n.name, n.epoch) not in self.world.excused for n in able)

    # ---- transfers ----

    def push(self, node):
        other = self.other(node)
        if not node.serves() or other.private is not None:
            return
        met = self.meet(node, other)
        if not node.serves():
            return
        known = node.announced.get(other.name, (0, {}))[1]
        part = node.push(self.rng.choice([other.clock, known, node.pushed.get(other.name, {})]))
        node.pushed[other.name] = join(node.pushed.get(other.name, {}), part.target)
        if met and self.rng.random() > self.loss:
            self.net += [(other, part)] * self.rng.choice([1, 1, 1, 1, 2])

    def may_pull(self, reader, server):
        return self.meet(reader, server) and server.serves() and reader.state in ("member", "leaving")

    def open_pull(self, node):
        other = self.other(node)
        if self.may_pull(node, other):
            self.pulls.append((node, other, other.open_transfer(node.clock)))

    def pull_part(self, node):
        if not self.pulls:
            return
        pull = self.rng.choice(self.pulls)
        reader, server, _ = pull
        broken = self.rng.random() < 0.1 or not self.linked(reader, server)
        if broken or self.take_part(*pull, self.rng.choice([1, 2, 5])) != "more":
            self.pulls.remove(pull)

    def take_part(self, reader, server, transfer, limit):
        part = server.next_part(transfer, limit)
        outcome = reader.receive(part, transfer.staged)
        if outcome == "applied":
            reader.hear(part.word)
        elif outcome == "below":
            reader.must_start_over("below")
        return outcome

    def deliver(self, node):
        if not self.net:
            return
        rng = self.rng
        to, message = self.net.pop(rng.randrange(len(self.net))) if rng.random() < 0.9 else rng.choice(self.net)
        if to.name in self.still:
            self.net.append((to, message))
        else:
            self.hand(to, message)

    def hand(self, to, message):
        if not hasattr(message, "rows"):
            to.hear(message)
        elif to.receive(message, Staged()) == "applied":
            to.hear(message.word)

    def announce(self, node):
        other = self.other(node)
        if self.meet(node, other) and node.serves():
            self.net.append((other, node.word()))

    def pass_on(self, node):
        other = self.other(node)
        if node.words and self.meet(node, other):
            self.net.append((other, node.words[self.rng.choice(sorted(node.words))]))

    def scan(self, node):
        other = self.other(node)
        if self.meet(node, other) and (node.scan or self.rng.random() < 0.3):
            entry.scan(node, other, self.rng.choice([2, 5, 20]))
            self.world.scans += 1

    # ---- in and out ----

    def arrive(self, node):
        if len(self.nodes) < self.bound:
            private = self.rng.random() < 0.4
            self.world.create("member" if private else "joining", private)

    def enter(self, node):
        """Somebody who is not in goes on trying."""
        out = [n for n in self.nodes.values() if n.state in ("joining", "over") or n.private is not None]
        left = [n for n in self.nodes.values() if n.state == "left"]
        if left and self.rng.random() < 0.05:
            node = self.rng.choice(left)
        elif out:
            node = self.rng.choice(out)
        else:
            return
        if node.private is not None and node.state == "member":
            if self.rng.random() < 0.2:
                node.state = "joining"
                node.sync()
            return
        self.go_in(node, self.other(node), self.rng.choice([1, 2, 5]))

    def go_in(self, node, other, limit):
        rng = self.rng
        if node.entry is None:
            last_resort(node, [one for one in self.nodes.values() if one is not node and self.linked(node, one)])
            if node.state in ("joining", "over") and self.reaches(node, other):
                entry.begin(node, other, by_scan=rng.random() < 0.4)
            return
        sponsor = self.nodes[node.entry.sponsor]
        if rng.random() < 0.05:
            node.entry.transfer = None  # it breaks off
        elif rng.random() < 0.03:
            node.entry = None
        elif self.reaches(node, sponsor):
            entry.proceed(node, sponsor, limit, reply_lost=rng.random() < 0.1)

    def reaches(self, node, other):
        if self.apart(node, other) or other.private is not None:
            return False
        if node.private is None:
            entry.contact(node, other)
        return True

    def expire(self, node):
        if node.sponsoring:
            entry.expire(node)

    def leave(self, node):
        leavers = [n for n in self.nodes.values() if n.state == "leaving"]
        node = leavers[0] if leavers and self.rng.random() < 0.9 else node
        other = self.other(node)
        if self.serving(but=node) >= 2 and self.meet(node, other):
            entry.leave(node, other, self.rng.random() < 0.3)

    def propose(self, node):
        node.propose(self.other(node).name)

    def vote(self, node):
        able = [one for one in self.nodes.values() if one.name not in self.still and one.electable() is not None]
        if able:
            self.rng.choice(able).vote()

    def count(self, node):
        running = [one for one in self.nodes.values() if one.name not in self.still]
        asking = [one for one in running if one.proposal(one.name) is not None]
        if asking:
            self.rng.choice(asking).count(patience=self.rng.random() < 0.9)

    def propose_absent(self, node):
        node.propose_absent()

    def force(self, node):
        node.force_out(self.other(node).name)

    def repair(self, node):
        damaged = [n for n in self.nodes.values() if n.damaged and n.state in ("member", "leaving")]
        if not damaged:
            return
        node = self.rng.choice(damaged)
        other = self.other(node)
        if self.meet(node, other) and node.state in ("member", "leaving"):
            self.mend(node, other, patience=0.95)

    def mend(self, node, other, patience):
        if node.repairable_by(other) and node.repair(other) == "applied":
            self.world.repairs += 1
        elif self.rng.random() > patience:
            node.must_start_over("damage")

    def part_ways(self, node):
        self.cut.add(frozenset((node.name, self.other(node).name)))

    def reunite(self, node):
        self.cut.clear()

    def vanish(self, node):
        self.off.add(node.name)

    def come_back(self, node):
        if self.off:
            self.off.remove(self.rng.choice(sorted(self.off)))

    def stop(self, node):
        """It stands still: SIGSTOP, a machine asleep."""
        self.still.add(node.name)

    def go_on(self, node):
        if self.still:
            self.still.remove(self.rng.choice(sorted(self.still)))

    # ---- the healing ----

    def heal(self):
        for apart in (self.cut, self.off, self.still):
            apart.clear()
        self.pulls.clear()
        self.world.now += 10_000
        for node in self.nodes.values():
            node.postponed = []
            node.count(patience=False)
            if node.private is not None:
                node.state = "joining"
        for turn in range(HEALING_ROUNDS):
            self.meet_all()
            self.bring_in()
            self.pull_all()
            self.settle()
            if turn == 2:
                for to, message in self.net:
                    self.hand(to, message)
                    self.world.judge()
        self.world.judge_end()

    def meet_all(self):
        for node in self.nodes.values():
            for other in self.nodes.values():
                if node is not other and self.linked(node, other):
                    entry.contact(node, other)

    def bring_in(self):
        for node in self.nodes.values():
            if node.damaged and node.state in ("member", "leaving"):
                for other in self.nodes.values():
                    if node.damaged and other is not node and self.linked(node, other):
                        self.mend(node, other, patience=1)
                if node.damaged:
                    node.must_start_over("damage")
            if node.state == "left" and is_counted(node.members, node.name):
                node.state = "over"  # it had begun to come back, and a copy from before was restored
        for node in self.nodes.values():
            last_resort(node, [one for one in self.nodes.values() if one is not node and self.linked(node, one)])
        for node in self.nodes.values():
            tries = 0
            while node.state in ("joining", "over"):
                tries += 1
                if tries > 1000:
                    raise Violation(f"{node.name} finds nobody to let it in")
                self.go_in(node, self.other(node), 5)
                self.world.judge()

    def pull_all(self):
        for reader in self.nodes.values():
            for server in self.nodes.values():
                if reader is not server and self.may_pull(reader, server):
                    transfer, outcome = server.open_transfer(reader.clock), "more"
                    while outcome == "more":
                        outcome = self.take_part(reader, server, transfer, self.rng.choice([1, 3, 100]))
                    self.world.judge()

    def settle(self):
        active = [node for node in self.nodes.values() if node.state in ("member", "leaving")]
        for node in active:
            node.sync()
        for node in active:
            for other in active:
                if node is not other and node.state == "leaving" and other.state == "member":
                    entry.leave(node, other, False)
                if node is not other and node.serves():
                    other.hear(node.word())
        for node in active:
            if node.may_collect():
                node.collect()
        self.world.judge()


def run(seed, rules=None, **classes):
    """The schedule of one seed; its world, or a Violation."""
    more = Schedule.STRIFE if seed % 7 == 3 else Schedule.ABSENT if seed % 4 == 1 else None
    more = more or (Schedule.RESTLESS if seed % 3 == 0 else None)
    steps = 100 + seed * 37 % 600 + (300 if more is Schedule.ABSENT else 0)
    return Schedule(seed, 2 + seed % 5, steps, rules, more=more, **classes).run()
