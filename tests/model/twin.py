"""A model replica with the engine's replica and store beside it: every step is done on both, and compared.

The model decides what happens; the engine does the same through `Replica` and `Store`, on a simulated disk that loses
everything unsynced in a crash.  Actor ids are the model's actor names in eight bytes, so that both order them alike.
"""

from __future__ import annotations

import random

import pytest

from crdtsync import kernels
from crdtsync.config import ClusterSettings, Config
from crdtsync.datatypes import values
from crdtsync.datatypes.registry import TYPES
from crdtsync.errors import RowDamaged
from crdtsync.replication import replica as verdicts
from crdtsync.replication.replica import Incoming, Replica
from crdtsync.sim.disk import SimDisk, SimFile
from crdtsync.storage.cache import Cache
from crdtsync.storage.store import Store
from crdtsync.storage.table import ROWS, physical

from .node import Node
from .rows import CELL, LATEST, SET, covers
from .translate import (
    STATES,
    actor_id,
    actor_name,
    model_row,
    perform,
    place,
    to_ids,
    to_members,
)
from .twin_votes import VotingTwin
from .world import Violation, World

BUCKET, CLUSTER = "default", 7
BATCH_BYTES = 16 * 1024  # small segments, so that opening a store is cheap and journals have several
SMALL = ClusterSettings(value_bytes_max=1024, batch_bytes_max=BATCH_BYTES)
OUTCOMES = {
    verdicts.STAGED: "more", verdicts.APPLIED: "applied", verdicts.EARLIER_START: "old",
    verdicts.EVICTED_SENDER: "old", verdicts.STALE_BASE: "stale", verdicts.OLD_NEWS: "behind",
    verdicts.BELOW_FLOOR: "below", verdicts.SHORT: "short",
}  # fmt: skip


class Difference(Violation):
    """Engine and model do not agree."""


class Losing(random.Random):
    """Chance as a disk meets it that keeps nothing of what was not synced."""

    def choice(self, options):
        return "none" if "none" in options else super().choice(options)

    def random(self):
        return 1.0

    def randint(self, low, high):
        return low


class Ids:
    """What a store asks of chance: the id of the actor that the model writes under."""

    def __init__(self, node):
        self.node = node

    def getrandbits(self, bits):
        return actor_id(self.node.actor)


def durable_copy(device):
    """A new disk with what is durable on another."""
    copy = SimDisk(Losing())
    copy.files = {name: SimFile(bytes(file.platter)) for name, file in device.files.items()}
    copy.map.copy_from(device.map)
    return copy


class Pair(World):
    """A world of twins.  `chance` decides when they write checkpoints, apart from the schedule."""

    ALL_EVERY = 20  # steps between comparisons of those, too, that should not have changed

    def __init__(self, rng, count, rules=None, node_class=None):
        self.chance = random.Random(count)
        self.judged = self.compared = 0
        super().__init__(rng, count, rules, Twin)

    def judge(self):
        self.judged += 1
        changed = dict(self.dirty)
        super().judge()
        for node in self.nodes.values() if self.judged % self.ALL_EVERY == 0 else changed:
            node.compare(changed.get(node, ()))
            self.compared += 1


class Twin(VotingTwin, Node):
    """A model node that drags an engine along."""

    def __init__(self, name, world):
        self.device = SimDisk(Losing())
        self.world, self.name, self.actor = world, name, name
        self.born = name  # actor of the time before publication
        bounds = {"segment_bytes": 2 * BATCH_BYTES, "cache_bytes_max": 2000, "slice_rows": 3}
        self.config = Config(name=name, cluster=SMALL, **bounds).validate()
        self.copy = None
        self.boot()
        super().__init__(name, world)
        self.starts = self.store.start
        self.sync()

    # ---- lives ----

    def boot(self):
        self.device.next_life()
        self.store = Store.open(
            None, self.config, disk=self.device, maps=lambda: self.device.map, random=Ids(self), now_ms=self.now_ms
        )
        self.replica = Replica(self.store, self.config)
        self.decoded = {}  # (row key, image) -> (key, Row): indexes of actors mean the same throughout a life

    def now_ms(self):
        return max(self.world.now + self.world.skew[self.name], 0)

    def found(self, members):
        self.store.publish(CLUSTER)
        self.store.put_members(to_members(members))
        super().found(members)

    def sync(self):
        super().sync()
        self.store.flush()
        if self.world.chance.random() < 0.3:
            self.store.checkpoint()

    def crash(self):
        self.store.abandon()
        self.device.crash()
        super().crash()

    def next_start(self):
        if self.store._journal is None:
            self.boot()
        else:
            self.store.raise_start(self.store.start)
        return self.store.start

    def raise_start(self, start):
        self.store.raise_start(start - 1)
        assert self.store.start == start
        super().raise_start(start)

    def keep_copy(self):
        super().keep_copy()
        self.copy = durable_copy(self.device)

    def become_copy(self):
        self.store.abandon()
        kept = durable_copy(self.copy)
        self.device = kept
        super().become_copy()

    # ---- local operations ----

    def batch(self, operations):
        if not self.can_write() or any(self.hits_damage(op) for op in operations):
            return
        super().batch(operations)

        def run(txn):
            for operation in operations:
                perform(txn, *operation)

        self.store.transact(BUCKET, run)

    def in_order(self, keys):
        return sorted(keys, key=self.engine_key)

    def engine_key(self, key):
        """The row key of a model's key in this store."""
        held = place(key[0], key[1])
        if key[1] == CELL:
            actors = self.store.actors
            first = len(actors.ids)  # the index that an actor gets with its first write, which may be under way
            alone = self.store.cluster() == 0 and key[2] == self.born
            return held.prefix + (0 if alone else actors.index.get(actor_id(key[2]), first)).to_bytes(4, "big")
        return held.prefix + (values.encode(key[2]) if key[1] == SET else b"")

    # ---- transfers ----

    def open_transfer(self, base):
        transfer = super().open_transfer(base)
        transfer.engine = self.replica.open_transfer(BUCKET, to_ids(base))
        self.agree("serves", transfer.engine is not None, True)
        return transfer

    def next_part(self, transfer, limit):
        part = super().next_part(transfer, limit)
        if not transfer.engine.done:
            transfer.last = transfer.engine.next_part(limit)
        part.engine = transfer.last
        self.agree("last part", part.engine.last, part.last)
        return part

    def takes_from(self, part):
        self.replica.later_start(part.sender, part.start)
        return super().takes_from(part)

    def receive(self, part, staged):
        if not self.takes():
            return super().receive(part, staged)
        scan = self.ended_by(part) if part.last else None
        if staged.engine is None:
            staged.engine = Incoming()
        if scan:
            staged.engine.scan_clock = to_ids(scan.t0)
        verdict = self.replica.receive(part.engine, staged.engine)
        outcome = super().receive(part, staged)
        if not (verdict == verdicts.STAGED and outcome == "old"):  # the engine judges an evicted sender at the end
            self.agree("verdict", OUTCOMES[verdict], outcome)
        return outcome

    # ---- long transfers ----

    def read_on(self, scan, limit):
        """Objects as the engine reads them, each from state that it makes durable first."""
        after = scan.after[0] if scan.after else b""
        served = self.replica.open_scan(BUCKET, after, to_ids(scan.t0))
        self.agree("scans", served is not None, True)
        self.sync()
        parts, keys = [], []
        while len(parts) < limit and not served.done:
            parts.append(served.next_part(rows_max=1))
            keys += [key for key, _ in self.unpacked(parts[-1].rows)]
        return {key: self.rows[key] for key in keys}, (parts[-1].scan_next, parts), served.done

    def unpacked(self, packed):
        """Rows of a part in the model's terms."""
        plain = kernels.rows_unpack(packed.count, packed.keys, packed.images, len(packed.actors))
        return [model_row(key, image, packed.actors, self.born) for key, image in plain]

    def stage(self, scan, read):
        taken = super().stage(scan, read)
        taken.parts, taken.news = [*getattr(scan, "parts", ()), *read[1][1]], read[1][1]
        return taken

    def keep_scan(self, scan):
        super().keep_scan(scan)
        self.stage_parts(scan.news, Incoming())

    def stage_parts(self, parts, incoming):
        for part in parts:
            self.agree("scan", self.replica.receive_scan(part, incoming), verdicts.STAGED)

    def drop_scan(self):
        super().drop_scan()
        self.store.drop_scan(BUCKET)

    # ---- getting in ----

    def write_rescue(self, clock):
        super().write_rescue(clock)
        self.rescued = sum(not covers(clock, row.ctx) for row in self.rows.values())

    def forget(self):
        super().forget()
        self.store.give_up(BUCKET)
        self.store.new_actor()
        self.replica = Replica(self.store, self.config)

    def publish(self):
        if self.store.cluster() == 0:
            self.store.publish(CLUSTER)
        super().publish()

    def stage_entry(self, entry, part):
        super().stage_entry(entry, part)
        staged = entry.transfer.staged
        if staged.engine is None:
            staged.engine = []
        if part.engine not in staged.engine:  # asked again when the reply was lost
            staged.engine.append(part.engine)

    def take_in(self, entry, part):
        incoming, over = Incoming(joining=True), self.store.given_up(BUCKET)
        if entry.scan:
            self.stage_parts(entry.scan.parts, incoming)
        got = [self.replica.receive(part, incoming) for part in entry.transfer.staged.engine]
        super().take_in(entry, part)
        self.agree("entry", got, [verdicts.STAGED] * (len(got) - 1) + [verdicts.APPLIED])
        self.agree("rescue", self.replica.last_applied.rescued, self.rescued if over else 0)

    def rewrite(self, writes, stamp_floor):
        Node.batch(self, writes)
        self.agree("restamped", self.store.restamp(BUCKET, [actor_id(self.born)], stamp_floor), len(writes))

    # ---- damage ----

    def damage(self, key):
        rowkey = self.engine_key(key)
        self.sync()
        self.store.checkpoint()
        bucket = self.store.bucket(BUCKET)
        at, table = physical(bucket.number, rowkey), self.device.map.database(ROWS)
        table[at] = table[at][:-1] + bytes([table[at][-1] ^ 1])
        self.store.renew_reader()
        bucket.cache = Cache(self.config.cache_bytes_max)
        with pytest.raises(RowDamaged):
            bucket.get(rowkey)
        super().damage(key)

    def repair(self, server):
        keys = self.store.damaged_keys(BUCKET)
        rows = server.store.rows_at(BUCKET, keys)
        part = server.replica.open_transfer(BUCKET, to_ids(self.clock)).next_part()
        verdict = self.replica.receive_repair(keys, rows, part, Incoming())
        outcome = super().repair(server)
        self.agree("repair", OUTCOMES[verdict], outcome)
        return outcome

    # ---- announcements, members, collection ----

    def takes_word(self, word):
        taken = super().takes_word(word)
        if taken:
            self.agree("start heard", self.replica.later_start(word.author, word.start), True)
            self.replica.hear(BUCKET, word.author, to_ids(word.clock), to_members(word.members))
        return taken

    def learn_records(self, members):
        before = self.members
        super().learn_records(members)
        if self.members != before:
            self.replica.merge_members(to_members(self.members))

    def note(self, node, record):
        super().note(node, record)
        self.store.put_members(to_members({node: record}))

    def drop_announcement(self, node):
        super().drop_announcement(node)
        self.replica.forget(node)

    def collect(self):
        super().collect()
        self.replica.collect(BUCKET, self.store.hybrid.now())

    # ---- comparing ----

    def agree(self, what, engine, model):
        if engine != model:
            raise Difference(f"{self.name}, {what}: engine {engine}, model {model}")

    def decode(self, row):
        found = self.decoded.get(row)
        if found is None:
            found = self.decoded[row] = model_row(*row, self.store.actors.ids, self.born)
        return found

    def read(self, key):
        """What a handle of the engine shows."""
        held, bucket = place(key[0], key[1]), self.store.bucket(BUCKET)
        rows = [] if bucket is None else [row for row in bucket.scan(held.prefix) if not kernels.row_dead(row[1])]
        return TYPES[held.code].value(rows, len(held.prefix))

    def meant(self, key):
        """The same by the model."""
        value = self.value(key)
        if key[1] == CELL:
            return value or 0
        if key[1] == SET:
            return set() if value is None else {key[2]}
        if key[1] == LATEST:
            return None if value is None else value[3]
        return sorted({payload for _, payload in value or ()})

    def compare(self, keys=()):
        """Everything that both have; of objects the values that readers see, too."""
        store, bucket = self.store, self.store.bucket(BUCKET)
        rows = [] if bucket is None else bucket.all_rows(skip_damaged=True)
        held = dict(self.decode(row) for row in rows)
        if held != self.rows:
            for key in sorted(held.keys() | self.rows.keys()):
                self.agree(f"row {key}", held.get(key), self.rows.get(key))
        named = lambda clock: {actor_name(actor) if actor else self.born: seq for actor, seq in clock.items()}  # noqa: E731
        self.agree("clock", named(store.clock(BUCKET)), self.clock)
        self.agree("synced clock", named(store.synced_clock(BUCKET)), self.disk["clock"])
        self.agree("floor", named(store.floor(BUCKET)), self.floor)
        self.agree("stamp floor", store.stamp_floor(BUCKET), self.stamp_floor)
        told = {node: (record.epoch, record.state) for node, record in store.members().items()}
        if self.private is None:
            self.agree("members", told, {node: (e, STATES[rank]) for node, (e, rank) in self.members.items()})
        self.agree("damaged", len(store.damaged(BUCKET)), len(self.damaged))
        announced = self.replica.announced.get(BUCKET, {})
        theirs = {node: named(clock) for node, clock in announced.items()}
        self.agree("announced", theirs, {node: clock for node, (_, clock) in self.announced.items()})
        if not self.damaged:
            for key in keys:
                self.agree(f"value of {key}", self.read(key), self.meant(key))
        staging = store.staging(BUCKET)
        self.agree("scan", staging and named(staging[0]), self.scan and self.scan.t0)
