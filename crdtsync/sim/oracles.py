"""What must hold, checked after every step of every replica and once more when the faults have stopped.

At every step a replica's rows say exactly what the events below its clock say (`history.expected`): nothing is
missing, nothing is ahead of the clock, nothing is there that nobody wrote, batches are whole.  In the end all replicas
are equal, nothing is lost without an excuse, and nothing dead is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from crdtsync import kernels
from crdtsync.clocks.vector import covers, join
from crdtsync.datatypes.rows import Row
from crdtsync.errors import RowDamaged
from crdtsync.sim.history import Clock, History
from crdtsync.sim.reading import fact_of, row_meaning, row_name
from crdtsync.sim.world import Violation, World

if TYPE_CHECKING:
    from crdtsync.sim.node import SimNode

NOTHING: Mapping[int, int] = MappingProxyType({})
Change = tuple[bytes, bytes | None, bytes]  # row key, image before, image after


class Oracles:
    """The judge of one run: the histories of all buckets, and the clock at which each replica was last found right."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.histories: dict[str, History] = {}
        self.actors: dict[int, tuple[str, int]] = {}  # id -> (node, start) that writes under it
        self._judged: dict[str, dict[str, Clock]] = {}
        self.steps = self.rows = 0
        self.forced = False  # whether somebody was put out by force: then two can each go on without the other

    def history(self, bucket: str) -> History:
        history = self.histories.get(bucket)
        if history is None:
            history = self.histories[bucket] = History(bucket)
        return history

    # -- writing
    def written(self, node: SimNode, bucket: str, changes: Sequence[Change]) -> None:
        """A node has written `changes` as one batch: each is an event, numbered in order."""
        own = node.own_index()
        if not changes or own is None:
            return
        facts = [fact_of(key, before, after, own, node.actor_id) for key, before, after in changes]
        self._owner(facts[0].actor, node)
        end = max(fact.seq for fact in facts)
        for fact in facts:
            fact.batch_end = end
            self.history(bucket).record(fact)

    def in_doubt(self, node: SimNode, bucket: str, changes: Sequence[Change]) -> None:
        """The process ended while it wrote `changes`: they may be there afterwards, whole, or not."""
        own = node.own_index()
        if changes and own is not None:
            before = node.clock(bucket).get(node.actor_id(own), 0)
            self.written(node, bucket, changes)
            self.history(bucket).excuse(node.actor_id(own), before)

    def _owner(self, actor: int, node: SimNode) -> None:
        """A published actor writes in one start of one replica and never again."""
        writer = (node.name, node.boots)
        if self.actors.setdefault(actor, writer) != writer and actor >= 0:
            raise Violation(f"dots: actor {actor:x} of {self.actors[actor]} writes again in {writer}")

    def published(self, node: SimNode, actor: int) -> None:
        """The private actor of a node was given its id."""
        for history in self.histories.values():
            history.rename(node.private, actor)
        if self.actors.pop(node.private, None):
            self.actors[actor] = (node.name, node.boots)
        for clock in self._judged.get(node.name, {}).values():
            if node.private in clock:
                clock[actor] = clock.pop(node.private)

    def power_lost(self, node: SimNode, bucket: str, synced: Clock) -> None:
        """What a node wrote, now or in an earlier life, and never synced may be gone with its power."""
        for actor, (name, _) in self.actors.items():
            if name == node.name:
                self.history(bucket).excuse(actor, synced.get(actor, 0))

    # -- every step
    def step(self, node: SimNode) -> None:
        """Judge the rows of a replica that its clock's last move can have touched."""
        moved = node.moved()
        if not moved and not node.touched:
            return
        judged = self._judged.setdefault(node.name, {})
        for bucket in moved:
            clock, before = node.clock(bucket), judged.get(bucket, {})
            self.steps += 1
            if not covers(clock, before):
                if not node.may_start_over():
                    raise Violation(f"clock: {bucket} went back at {node.name}: {before} to {clock}")
                self._started_over(node, bucket, before)
                continue
            rows = {fact.row for fact in self.history(bucket).between(before, clock)}
            judged[bucket] = clock
            touched = node.touched.pop(bucket, set())
            self._rows(node, bucket, clock, rows | self._touched(node, bucket, touched))
        for bucket, keys in node.touched.items():
            self._rows(node, bucket, node.clock(bucket), self._touched(node, bucket, keys))
        node.touched.clear()

    def _touched(self, node: SimNode, bucket: str, keys: set[bytes]) -> set[bytes]:
        """Names of rows that the store says have changed: nothing of them may be beyond the clock."""
        rows = [(key, image) for key in keys if (image := node.image(bucket, key)) is not None]
        self._none_beyond(node, bucket, rows)
        return {row_name(key, image, node.actor_id) for key, image in rows}

    def _rows(self, node: SimNode, bucket: str, clock: Clock, rows: set[bytes]) -> None:
        for row in sorted(rows):
            self._row(node, bucket, row, clock)

    def _started_over(self, node: SimNode, bucket: str, before: Clock) -> None:
        """A node has forgotten a bucket: what nobody else holds is in its rescue file, and gone from the cluster."""
        self.world.count("started over")
        top = self._alone(node, bucket, before)
        rescued = node.rescued(bucket)
        # Who has put all others out by force collects alone, and what it collected is in no row that could be rescued.
        collected = node.collected.get(bucket, {}) if self.forced else {}
        had = node.had.get(bucket, {})
        unreadable = node.unreadable.get(bucket, set()) | node.flipped_rows(bucket)
        for actor, seq in before.items():
            for fact in self.history(bucket).by_actor.get(actor, [])[top.get(actor, 0) : seq]:
                gone = had.get(fact.row, {}).get(actor, 0) < fact.seq <= collected.get(actor, 0)
                if gone or self.history(bucket).overwritten(fact, before):
                    continue
                if fact.row in unreadable:
                    continue
                if rescued.get(fact.row, {}).get(actor, 0) < fact.seq:
                    event = f"event {fact.seq} of actor {actor:x} on {fact.row!r}"
                    raise Violation(f"rescue: {node.name} gave up {event}, it is in no rescue file")
        self.whole(node, bucket)

    def disk_lost(self, node: SimNode) -> None:
        """A node has another disk than before."""
        for bucket, before in self._judged.pop(node.name, {}).items():
            self._alone(node, bucket, before)

    def _alone(self, node: SimNode, bucket: str, before: Clock, kept: Mapping[int, int] = NOTHING) -> Clock:
        """What a node held, has not `kept`, and nobody else has on a disk, may be gone.  Gives what is left.

        Who has left does not count: nobody can ask it any more, and it need not come again.  What only it has besides
        is to be in the rescue file of who gives it up, then.
        """
        top: Clock = dict(kept)
        for other in node.others():
            if not other.has_left:
                top = join(top, other.holding(bucket))
        for actor in before:
            self.history(bucket).excuse(actor, top.get(actor, 0))
        node.forget_promises(bucket)
        return top

    def take_over(self, twin: SimNode, node: SimNode) -> None:
        """A node goes on with the directory of another."""
        self._judged[node.name] = self._judged.pop(twin.name, {})

    def damage_accepted(self, node: SimNode, checkpointed: dict[str, Clock]) -> None:
        """A node goes on with what could be read of its journal: no less than its table had, and the others hold."""
        self._judged.pop(node.name, None)
        for bucket in self.histories:
            clock = node.clock(bucket)
            if not covers(clock, checkpointed.get(bucket, {})):
                raise Violation(f"damage: {bucket} at {node.name} is at {clock}, its table had {checkpointed[bucket]}")
            self._alone(node, bucket, self._everything(bucket), clock)
            self.histories[bucket].truncate(node.private, clock.get(node.private, 0))
        for bucket in node.buckets():
            self.whole(node, bucket)

    def _everything(self, bucket: str) -> Clock:
        """All that was ever written in a bucket."""
        return {actor: len(facts) for actor, facts in self.history(bucket).by_actor.items()}

    def whole(self, node: SimNode, bucket: str) -> None:
        """Judge all rows of a bucket: after a start, after a collection, and now and then."""
        clock, history = node.clock(bucket), self.history(bucket)
        for _ in history.between({}, clock):
            pass
        for row in history.by_row:
            self._row(node, bucket, row, clock)
        rows = node.rows(bucket)
        self._none_beyond(node, bucket, rows)
        for key, image in rows:
            if not kernels.row_dead(image) and row_name(key, image, node.actor_id) not in history.by_row:
                raise Violation(f"ghost: {bucket} at {node.name}: {key!r} was never written")
        self._judged.setdefault(node.name, {})[bucket] = dict(clock)

    def _none_beyond(self, node: SimNode, bucket: str, rows: list[Row]) -> None:
        position = kernels.rows_beyond(rows, node.local_clock(bucket))
        if position >= 0:
            raise Violation(f"clock: {bucket} at {node.name}: row {rows[position][0]!r} is ahead of the clock")

    def restarted(self, node: SimNode, promised: dict[str, Clock]) -> None:
        """A replica has started again: what it had promised to keep is there, and all of it means what it should."""
        for bucket, history in self.histories.items():
            history.truncate(node.private, node.clock(bucket).get(node.private, 0))
        judged = self._judged.pop(node.name, {})
        for bucket, clock in promised.items():
            if node.was_entering and not covers(node.clock(bucket), clock):
                self._started_over(node, bucket, judged.get(bucket, {}))
            elif not covers(node.clock(bucket), clock):
                raise Violation(f"lost: {bucket} at {node.name} came back at {node.clock(bucket)}, had kept {clock}")
        for bucket in node.buckets():
            self.whole(node, bucket)

    def _row(self, node: SimNode, bucket: str, row: bytes, clock: Clock) -> None:
        self.rows += 1
        try:
            image = node.row(bucket, row, self.history(bucket).is_cell(row))
        except RowDamaged:
            self._unreadable(node)
            return
        found = row_meaning(image, node.actor_id) if image is not None else None
        expected = self.history(bucket).expected(row, clock)
        if found != expected:
            raise Violation(f"meaning: {bucket} at {node.name}: row {row!r} is {found}, should be {expected}")

    def _unreadable(self, node: SimNode) -> None:
        """A row was set aside: only where a bit was turned over."""
        if not node.disk.flipped:
            raise Violation(f"damage: {node.name} has set a row aside, and its disk is sound")
        self.world.count("row unreadable when judged")

    def bounded(self, node: SimNode) -> None:
        """Nothing piles up."""
        for name, (size, most) in node.queues().items():
            if size > most:
                raise Violation(f"bounds: {size} {name} at {node.name}, there may be {most}")

    # -- the end
    def agreed(self, nodes: Sequence[SimNode]) -> str:
        """ "" when all replicas are equal and nothing dead is left, else what is still missing."""
        first = nodes[0]
        for node in nodes[1:]:
            if node.members() != first.members():
                return f"{node.name} knows other members than {first.name}"
            if node.buckets() != first.buckets():
                return f"buckets of {node.name} differ"
            for bucket in first.buckets():
                if node.clock(bucket) != first.clock(bucket):
                    return f"clock of {bucket} at {node.name} differs"
        for node in nodes:
            for bucket in first.buckets():
                dead = [key for key, image in node.rows(bucket) if kernels.row_dead(image)]
                if node.holds_damage(bucket):  # perhaps found only now, by reading all
                    return f"damaged rows of {bucket} at {node.name}"
                if dead:
                    return f"{len(dead)} dead rows of {bucket} at {node.name}"
        return ""

    def finish(self, nodes: Sequence[SimNode]) -> int:
        """Judge the agreed state, and account for every event.  Returns how many were lost with an excuse."""
        for bucket in nodes[0].buckets():
            digests = {node.name: node.digest(bucket) for node in nodes}
            if len(set(digests.values())) != 1:
                raise Violation(f"digest: {bucket} differs at equal clocks: {digests}")
            for node in nodes:
                self.whole(node, bucket)
                live = kernels.rows_digest(list(node.rows(bucket)))
                if live != digests[node.name]:
                    raise Violation(f"digest: {bucket} at {node.name} is {digests[node.name]}, its rows say {live}")
        lost = 0
        for bucket, history in self.histories.items():
            top: Clock = {}
            for node in nodes:
                top = join(top, node.clock(bucket))
            count, wrong = history.lost(top)
            if wrong:
                raise Violation(f"lost: {'; '.join(wrong)}")
            lost += count
        return lost
