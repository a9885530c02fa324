"""The oracle: sees every operation and what its author had observed, and judges every replica after every step.

Whatever a replica shows must be the meaning of exactly the events that its clock covers, never a part of a batch; at
the end all replicas show the meaning of all events that survived, and every event that did not survive was lost by a
crash before it was synced, or is in a rescue file.
"""

from __future__ import annotations

from collections import defaultdict

from . import members as records
from .listening import GAP
from .node import Node
from .rows import CELL, LATEST, has, join, value_key
from .rules import Rules


class Violation(AssertionError):
    """A rule of the protocol does not do what it is for."""


class World:
    def __init__(self, rng, count, rules=None, node_class=Node):
        self.rng, self.rules, self.node_class = rng, rules or Rules(), node_class
        self.now = self.collected = self.crashes = self.rescues = self.start_overs = self.evictions = 0
        self.joins = self.scans = self.repairs = self.batches = self.steps = 0
        self.skew, self.nodes, self.minted = {}, {}, defaultdict(int)
        self.events = defaultdict(list)  # value key -> [(dot, row key, what, observed or payload)]
        self.by_dot = defaultdict(dict)  # actor -> {seq: row key}
        self.inside = set()  # dots after which a batch goes on: no clock may end there
        self.lost, self.rescue = set(), defaultdict(list)  # what may be missing at the end, and what was written down
        self.aside = {}  # (node, key) -> context of a row set aside, which the node itself cannot know
        self.forced = self.forgetful = False  # somebody was put out by force; votes may be lost with a disk
        self.stood, self.decided = 0, {}  # list of counted members -> who was evicted from it
        self.excused = set()  # (node, epoch) that may find itself out: evicted, restored, or let in by such a one
        self.dirty = {}
        self.absences = 0
        self.together = defaultdict(int)  # (node, other) -> when both ran and were linked last
        self.listens = defaultdict(int)  # node -> since when it runs and is not cut off
        self.ran, self.touched = defaultdict(int), defaultdict(int)  # node -> when it ran, and reached most, last
        for _ in range(count):
            self.create()
        for node in self.nodes.values():
            node.found(dict.fromkeys(self.nodes, (1, records.MEMBER)))

    def create(self, state="member", private=False):
        name = f"n{len(self.nodes)}"
        self.skew[name] = self.rng.choice([0, 0, 0, 50, -50, 500])
        node = self.nodes[name] = self.node_class(name, self)
        node.state, node.epoch = state, 0 if state == "joining" else 1
        if private:
            node.private, node.members = [], {name: (1, records.MEMBER)}
        node.sync()
        return node

    def mint(self, name):
        self.minted[name] += 1
        return f"{name}.{self.minted[name]}"

    # ---- what nodes tell ----

    def record(self, dot, key, what, payload):
        self.events[value_key(key)].append((dot, key, what, payload))
        self.by_dot[dot[0]][dot[1]] = key

    def batch_done(self, node, before):
        self.batches += 1
        first, last = before.get(node.actor, 0), node.clock.get(node.actor, 0) + len(node.postponed)
        self.inside |= {(node.actor, seq) for seq in range(first + 1, last)}
        self.dirty.setdefault(node, set())

    def touch(self, node, key):
        self.dirty.setdefault(node, set()).add(value_key(key))

    def touch_keys(self, node, keys):
        self.dirty.setdefault(node, set()).update(map(value_key, keys))

    def touch_all(self, node):
        self.dirty[node] = set(self.events)

    def touch_news(self, node, target):
        """Objects of events that the node's clock is about to cover."""
        touched = self.dirty.setdefault(node, set())
        for actor, seq in target.items():
            known = node.clock.get(actor, 0)
            if seq > known:
                keys = self.by_dot[actor]
                touched.update(value_key(keys[s]) for s in range(known + 1, seq + 1) if s in keys)

    def lose(self, node):
        """A crash: what its author had not synced may be lost."""
        self.listens[node.name] = self.ran[node.name] = self.touched[node.name] = self.now
        synced = node.disk["clock"].get(node.actor, 0)
        lost = {(node.actor, seq) for seq in range(synced + 1, node.clock.get(node.actor, 0) + 1)}
        if node.private is None:
            self.lost |= lost
            return
        for events in self.events.values():  # nobody has seen these dots, and they will be used again
            events[:] = [event for event in events if event[0] not in lost]
        for _, seq in lost:
            self.by_dot[node.actor].pop(seq, None)
        self.inside -= lost

    def restored(self, node, disk):
        """An old copy takes a replica's place: what is newer there may be lost, and who it let in may be unknown."""
        for actor, seq in join(node.clock, node.disk["clock"]).items():
            self.lost |= {(actor, s) for s in range(disk["clock"].get(actor, 0) + 1, seq + 1)}
        self.forgetful = True
        self.excused.add((node.name, disk["epoch"]))
        self.excuse_unknown(list(self.nodes.values()))

    def seen(self, node, linked):
        """A running node and those that it is linked to, after each step."""
        for name in linked:
            self.together[node.name, name] = self.now
        reached = [name for name in linked if node.members.get(name, (0, 0))[1] == records.MEMBER]
        if 2 * len(reached) + 2 > len(records.counted(node.members)):
            self.touched[node.name] = self.now
        if self.now - min(self.ran[node.name], self.touched[node.name]) > GAP:
            self.listens[node.name] = self.now
        self.ran[node.name] = self.now

    def voted(self, node, ballot):
        """Whoever votes for an absence has been there all the time, and did not meet whom it votes against."""
        since = max(self.together[node.name, ballot.victim], self.listens[node.name])
        if ballot.absent and (self.now - since < ballot.absent or self.now - self.ran[node.name] > GAP):
            raise Violation(f"{node.name} votes that {ballot.victim} is away, of which it cannot know")

    def carried(self, ballot):
        """Evictions follow one upon the other: of those proposed in one list only one is carried."""
        if ballot.config in self.decided and not self.forgetful:
            raise Violation(f"{ballot.victim} is evicted, and {self.decided[ballot.config]} was, from one list")
        self.decided[ballot.config] = ballot.victim
        self.absences += bool(ballot.absent)
        if ballot.absent and self.now - self.together[ballot.proposer, ballot.victim] < ballot.absent:
            raise Violation(f"{ballot.victim} is evicted though it has come back to {ballot.proposer}")

    def stands(self, node):
        self.stood += 1
        self.excused.add((node.name, node.epoch))
        self.excuse_unknown(list(self.nodes.values()))

    def evicted(self, node, name):
        self.evictions += 1
        self.excused.add((name, node.members[name][0]))
        self.excuse_unknown([node])

    def excuse_unknown(self, judges):
        """Joiners of whom these have not heard: whoever could have told them may be gone."""
        for node in self.nodes.values():
            if any(judge.members.get(node.name, (0, 0))[0] < node.epoch for judge in judges):
                self.excused.add((node.name, node.epoch))

    def attempt(self, node, sponsor):
        if (sponsor.name, sponsor.epoch) in self.excused:
            self.excused.add((node.name, node.epoch))

    def starts_over(self, node, why):
        self.start_overs += 1
        if self.forced:  # who has put out all others collects alone, and what it collected is in no row to be rescued
            self.lost |= {(actor, s) for actor, seq in node.floor.items() for s in range(1, seq + 1)}
        if why != "damage" and (node.name, node.epoch) not in self.excused:
            raise Violation(f"{node.name} must start over ({why}) though nobody evicted or restored it")

    def set_aside(self, node, key):
        self.aside[node, key] = node.rows[key].ctx

    def rescued(self, node, rescue):
        self.rescues += bool(rescue)
        for key, dots in rescue.items():
            self.rescue[key].append(dots)
        self.not_missed(node)

    def not_missed(self, node):
        """Of a register set aside only the winner is known; what that had overwritten is not missed."""
        for key in node.damaged:
            if key[1] == LATEST:
                self.rescue[key].append(self.aside[node, key])

    def publish(self, node):
        """What a private store had collected has never happened, as far as the cluster is concerned."""
        for key, ctx in node.private or []:
            events = self.events[value_key(key)]
            for event in [event for event in events if event[1] == key and has(ctx, event[0])]:
                events.remove(event)
                del self.by_dot[event[0][0]][event[0][1]]

    def came_in(self, node):
        self.joins += 1

    # ---- judging ----

    def meaning(self, key, clock):
        """What the object is, by the events that the clock covers; None: nothing visible."""
        events = [event for event in self.events.get(key, ()) if event[0][1] <= clock.get(event[0][0], 0)]
        if not events:
            return None
        if key[1] == LATEST:
            body = max((payload for _, _, _, payload in events), key=lambda body: body[:2])
            return body if body[3] is not None else None
        return _sum(events) if key[1] == CELL else _survivors(events)

    def judge(self):
        """After every step: whoever changed shows what its clock says, and no part of a batch."""
        for node, keys in self.dirty.items():
            if not node.readable():
                continue
            for dot in node.clock.items():
                if dot in self.inside:
                    raise Violation(f"{node.name} is inside a batch of {dot[0]}")
            damaged = {value_key(key) for key in node.damaged}
            for key in keys - damaged:
                shown, meant = node.value(key), self.meaning(key, node.clock)
                if shown != meant:
                    raise Violation(f"{node.name} shows {key} as {shown}, its clock means {meant}")
        self.dirty.clear()

    def judge_end(self):
        top, inside = {}, [node for node in self.nodes.values() if node.state != "left"]
        for node in inside:
            top = join(top, node.clock)
        meant = {key: self.meaning(key, top) for key in self.events}
        meant = {key: value for key, value in meant.items() if value is not None}
        for node in inside:
            if node.view() != meant:
                raise Violation(f"{node.name} ends with {node.view()} instead of {meant}")
            dead = [key for key, row in node.rows.items() if row.dead()]
            if dead:
                raise Violation(f"{node.name} never collects {dead}")
        self._judge_missing(top)

    def _judge_missing(self, top):
        """Nothing is lost in silence."""
        for actor, keys in self.by_dot.items():
            for seq in range(top.get(actor, 0) + 1, max(keys, default=0) + 1):
                if (actor, seq) in self.lost or seq not in keys:
                    continue
                if not any(dots.get(actor, 0) >= seq for dots in self.rescue[keys[seq]]):
                    raise Violation(f"event {actor}, {seq} on {keys[seq]} is lost in silence")


def _sum(events):
    resets = {}
    for _, row_key, what, payload in events:
        if what == "reset":
            resets[row_key] = max(payload, resets.get(row_key, 0))
    total = sum(by for dot, row_key, what, by in events if what == "count" and dot[1] > resets.get(row_key, 0))
    return total or None


def _survivors(events):
    written, gone = {}, set()
    for dot, _, what, payload in events:
        if what == "put":
            written[dot] = payload[0]
            gone |= payload[1]
        else:
            gone |= payload
    return frozenset((dot, value) for dot, value in written.items() if dot not in gone) or None
